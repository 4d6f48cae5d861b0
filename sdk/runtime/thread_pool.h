/* One pool of threads per runtime. Idle threads sleep; waiting threads spin for microseconds, then sleep. */
#ifndef TERN_RUNTIME_THREAD_POOL_H
#define TERN_RUNTIME_THREAD_POOL_H

#include "base/thread.h"

typedef struct tern__pool tern__pool;

/* n_threads counts the calling thread: n_threads - 1 workers are started on first use. */
tern_status tern__pool_create(tern__alloc *alloc, int32_t n_threads, tern__pool **out);
void tern__pool_destroy(tern__pool *pool); /* NULL is fine; joins the workers */
int32_t tern__pool_n_threads(const tern__pool *pool);

/* Calls fn(arg, thread, n_threads) once on each of up to max_threads threads, thread 0 being the caller, and returns
 * when all have returned. If another caller holds the workers, fn runs on this thread alone with n_threads = 1: so fn
 * must not depend on a count, only use the one it is given. */
void tern__pool_run(tern__pool *pool, int32_t max_threads, void (*fn)(void *arg, int32_t thread, int32_t n_threads),
                    void *arg);

/* memcpy by all threads: one alone moves large results at a fraction of what memory gives, least of all into pages that
 * the system has to find first. Small ones are made by the caller alone. */
void tern__pool_copy(tern__pool *pool, int32_t max_threads, void *to, const void *from, size_t size);

/* Has the system find the pages of memory that is about to be filled, and whose contents may be lost, each by one
 * thread: where several come to a large page at once, each clears one and all but one are thrown away. */
void tern__pool_touch(tern__pool *pool, int32_t max_threads, void *memory, size_t size);

/* As tern__pool_run, but it returns as soon as the caller's fn has: others may still be in theirs, on a busy machine
 * for as long as the system gives their core to somebody else, and those that have not begun by then never do. fn
 * must bring all work to its end whoever takes part. What it uses has to stay until all have left. */
typedef uint32_t tern__pool_ticket; /* 0: only the caller took part */
tern__pool_ticket tern__pool_run_ahead(tern__pool *pool, int32_t max_threads,
                                       void (*fn)(void *arg, int32_t thread, int32_t n_threads), void *arg);
bool tern__pool_left(const tern__pool *pool, tern__pool_ticket ticket); /* everybody has */
void tern__pool_wait(tern__pool *pool, tern__pool_ticket ticket);       /* until everybody has */

#endif
