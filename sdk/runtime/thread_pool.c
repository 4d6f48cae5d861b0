/* The pool. Workers watch one word, `job`: its low bits say how many threads the job wants, the rest counts jobs.
 * A worker outside the wanted number never touches fn and arg, so the next job may overwrite them while it looks. */
#include "runtime/thread_pool.h"

#include <string.h>

enum {
  COUNT_BITS = 10,
  COUNT_MASK = (1 << COUNT_BITS) - 1,
  MAX_THREADS = COUNT_MASK,
  /* About 20 microseconds: longer than the gap between two runs of a decode loop, short enough to cost nothing idle. */
  SPIN_PAUSES = 600
};

typedef struct worker { tern__pool *pool; tern__thread thread; int32_t index; } worker;

struct tern__pool {
  tern__alloc *alloc;
  worker *workers;                /* n_threads - 1 */
  int32_t n_threads;
  int32_t n_started, limit;       /* workers running, workers possible; touched under `busy` */
  void (*fn)(void *arg, int32_t thread, int32_t n_threads);
  void *arg;
  _Alignas(64) _Atomic uint32_t job;
  _Atomic int32_t sleepers;
  _Atomic int32_t stop;
  _Alignas(64) _Atomic uint32_t running; /* workers still inside fn */
  _Atomic int32_t caller_sleeps;
  _Alignas(64) _Atomic int32_t busy;
};

/* The value of job once it differs from `seen`. */
static uint32_t next_job(tern__pool *pool, uint32_t seen) {
  uint32_t job;
  for (int i = 0; i < SPIN_PAUSES; i++) {
    if ((job = atomic_load_explicit(&pool->job, memory_order_acquire)) != seen) return job;
    tern__cpu_relax();
  }
  atomic_fetch_add(&pool->sleepers, 1);
  while ((job = atomic_load(&pool->job)) == seen) tern__wait_address(&pool->job, seen);
  atomic_fetch_sub(&pool->sleepers, 1);
  return job;
}

static void *work(void *arg) {
  worker *self = arg;
  tern__pool *pool = self->pool;
  uint32_t seen = 0;
  for (;;) {
    seen = next_job(pool, seen);
    if (atomic_load(&pool->stop)) return NULL;
    int32_t n_threads = (int32_t)(seen & COUNT_MASK);
    if (self->index >= n_threads) continue;
    pool->fn(pool->arg, self->index, n_threads);
    if (atomic_fetch_sub(&pool->running, 1) == 1 && atomic_load(&pool->caller_sleeps))
      tern__wake_address(&pool->running);
  }
}

tern_status tern__pool_create(tern__alloc *alloc, int32_t n_threads, tern__pool **out) {
  tern_status status = TERN_OK;
  tern__pool *pool = NULL;
  *out = NULL;
  if (n_threads < 1) n_threads = 1;
  if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
  pool = tern__alloc_aligned(alloc, sizeof *pool, 64);
  TERN_CHECK_ALLOC(pool);
  memset(pool, 0, sizeof *pool);
  pool->alloc = alloc;
  pool->n_threads = n_threads, pool->limit = n_threads - 1;
  pool->workers = tern__calloc(alloc, (size_t)n_threads, sizeof *pool->workers);
  TERN_CHECK_ALLOC(pool->workers);
  *out = pool, pool = NULL;
cleanup:
  tern__pool_destroy(pool);
  return status;
}

static void post(tern__pool *pool, int32_t n_threads) {
  uint32_t job = atomic_load_explicit(&pool->job, memory_order_relaxed);
  atomic_store(&pool->job, ((job >> COUNT_BITS) + 1) << COUNT_BITS | (uint32_t)n_threads);
  if (atomic_load(&pool->sleepers)) tern__wake_address(&pool->job);
}

void tern__pool_destroy(tern__pool *pool) {
  if (!pool) return;
  atomic_store(&pool->stop, 1);
  post(pool, 0);
  for (int32_t i = 0; i < pool->n_started; i++) tern__thread_join(&pool->workers[i].thread);
  tern__free(pool->alloc, pool->workers);
  tern__free_aligned(pool->alloc, pool, sizeof *pool, 64);
}

int32_t tern__pool_n_threads(const tern__pool *pool) { return pool->n_threads; }

/* A thread that the system refuses leaves the pool smaller; work goes on. */
static void start_workers(tern__pool *pool, int32_t n_threads) {
  while (pool->n_started < n_threads - 1 && pool->n_started < pool->limit) {
    worker *w = &pool->workers[pool->n_started];
    w->pool = pool, w->index = pool->n_started + 1;
    if (tern__thread_start(&w->thread, work, w) != TERN_OK) {
      pool->limit = pool->n_started;
      return;
    }
    pool->n_started++;
  }
}

static void wait_for_workers(tern__pool *pool) {
  uint32_t left;
  for (int i = 0; i < SPIN_PAUSES; i++) {
    if (atomic_load_explicit(&pool->running, memory_order_acquire) == 0) return;
    tern__cpu_relax();
  }
  atomic_store(&pool->caller_sleeps, 1);
  while ((left = atomic_load(&pool->running)) != 0) tern__wait_address(&pool->running, left);
  atomic_store(&pool->caller_sleeps, 0);
}

void tern__pool_run(tern__pool *pool, int32_t max_threads, void (*fn)(void *arg, int32_t thread, int32_t n_threads),
                    void *arg) {
  int32_t free_now = 0;
  if (max_threads <= 1 || pool->n_threads == 1 || !atomic_compare_exchange_strong(&pool->busy, &free_now, 1)) {
    fn(arg, 0, 1);
    return;
  }
  int32_t n_threads = max_threads < pool->n_threads ? max_threads : pool->n_threads;
  start_workers(pool, n_threads);
  if (n_threads > pool->n_started + 1) n_threads = pool->n_started + 1;
  pool->fn = fn, pool->arg = arg;
  atomic_store(&pool->running, (uint32_t)(n_threads - 1));
  if (n_threads > 1) post(pool, n_threads);
  fn(arg, 0, n_threads);
  wait_for_workers(pool);
  atomic_store(&pool->busy, 0);
}
