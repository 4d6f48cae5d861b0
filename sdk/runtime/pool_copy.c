/* Copies in chunks, which threads take in turn. */
#include "runtime/pool_copy.h"

#include <string.h>

enum { ALONE_BYTES = 2 << 20, CHUNK_BYTES = 256 << 10 };

typedef struct copy_job { char *to; const char *from; size_t size; _Atomic size_t next; } copy_job;

static void copy_some(void *arg, int32_t thread, int32_t n_threads) {
  copy_job *job = arg;
  size_t at;
  (void)thread, (void)n_threads;
  while ((at = atomic_fetch_add_explicit(&job->next, CHUNK_BYTES, memory_order_relaxed)) < job->size)
    memcpy(job->to + at, job->from + at, job->size - at < CHUNK_BYTES ? job->size - at : CHUNK_BYTES);
}

void tern__pool_copy(tern__pool *pool, int32_t max_threads, void *to, const void *from, size_t size) {
  copy_job job = {to, from, size, 0};
  if (size > ALONE_BYTES) tern__pool_run(pool, max_threads, copy_some, &job);
  else if (size) memcpy(to, from, size);
}
