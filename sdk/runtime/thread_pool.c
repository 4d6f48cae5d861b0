/* The pool. Workers watch one word, `job`: its low bits say how many threads the job wants and whether it needs them
 * all, the rest is its serial number, which leads to its slot. A worker outside the wanted number never touches the
 * slot. One that comes to a job that waits for nobody enters by compare-exchange, while the job is open: so a slot that
 * nobody is in after closing is free, and what its function works on is, too.
 *
 * Where another program keeps a CPU busy, the system likes to put a worker that it wakes on the CPU of the thread that
 * woke it, and leaves it there: two threads then share one CPU, and each waits for the other. So a worker that finds
 * itself on the CPU of another thread of the job moves off it, once; no thread is bound to a CPU. */
#include "runtime/thread_pool.h"

#include <string.h>

enum {
  COUNT_BITS = 10,
  COUNT_MASK = (1 << COUNT_BITS) - 1,
  FLAG = 1 << COUNT_BITS,         /* of `job`: all threads are wanted; of a slot's state: nobody may enter any more */
  SERIAL_BITS = 32 - COUNT_BITS - 1,
  SERIAL_MASK = (1 << SERIAL_BITS) - 1,
  MAX_THREADS = COUNT_MASK,
  SLOTS = 8,                      /* a worker is in one at most: where few are late, one is free */
  /* About 20 microseconds: longer than the gap between two runs of a decode loop, short enough to cost nothing idle. */
  SPIN_PAUSES = 600,
  LOOK_NS = 1000000,              /* workers look at most this often where the others are, */
  LOOK_THREADS = 64               /* at so many of them */
};

typedef struct slot {
  _Alignas(64) _Atomic uint32_t state; /* serial number, FLAG, workers that are in fn (or are to come) */
  _Atomic int32_t sleepers;            /* who waits until that is nobody */
  void (*fn)(void *arg, int32_t thread, int32_t n_threads);
  void *arg;
} slot;

typedef struct worker {
  _Alignas(64) _Atomic int32_t cpu; /* that it was on last; -1 = not known */
  tern__pool *pool;
  tern__thread thread;
  int32_t index;
} worker;

struct tern__pool {
  tern__alloc *alloc;
  worker *workers;                /* n_threads - 1 */
  int32_t n_threads;
  int32_t n_started, limit;       /* workers running, workers possible; touched under `busy` */
  uint32_t serial;                /* of the last job; touched under `busy` */
  _Atomic int32_t caller_cpu;     /* of the last job's caller */
  _Alignas(64) _Atomic uint32_t job;
  _Atomic int32_t sleepers;
  _Atomic int32_t stop;
  _Alignas(64) _Atomic int32_t busy;
  slot slots[SLOTS];
};

static uint32_t word(uint32_t serial, bool flag, int32_t count) {
  return serial << (COUNT_BITS + 1) | (flag ? FLAG : 0) | (uint32_t)count;
}
static uint32_t serial_of(uint32_t word) { return word >> (COUNT_BITS + 1); }
static int32_t count_of(uint32_t word) { return (int32_t)(word & COUNT_MASK); }

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

static bool enter(slot *s, uint32_t serial) {
  uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
  do {
    if (state & FLAG || serial_of(state) != serial) return false;
  } while (!atomic_compare_exchange_weak_explicit(&s->state, &state, state + 1, memory_order_acquire,
                                                  memory_order_relaxed));
  return true;
}

static void leave(slot *s) {
  if (count_of(atomic_fetch_sub(&s->state, 1)) == 1 && atomic_load(&s->sleepers)) tern__wake_address(&s->state);
}

/* Of two threads on one CPU the one with the higher index moves. */
static void part_from_others(worker *self, int32_t n_threads) {
  tern__pool *pool = self->pool;
  int32_t cpus[LOOK_THREADS], n = n_threads < LOOK_THREADS ? n_threads : LOOK_THREADS, own = tern__this_cpu();
  bool shared = false;
  atomic_store_explicit(&self->cpu, own, memory_order_relaxed);
  for (int32_t i = 0; i < n; i++) {
    cpus[i] = atomic_load_explicit(i ? &pool->workers[i - 1].cpu : &pool->caller_cpu, memory_order_relaxed);
    shared |= i < self->index && own >= 0 && cpus[i] == own;
  }
  if (shared && tern__leave_cpus(cpus, n))
    atomic_store_explicit(&self->cpu, tern__this_cpu(), memory_order_relaxed);
}

static void *work(void *arg) {
  worker *self = arg;
  tern__pool *pool = self->pool;
  uint32_t job = 0;
  uint64_t looked = 0;
  for (;;) {
    job = next_job(pool, job);
    if (atomic_load(&pool->stop)) return NULL;
    slot *s = &pool->slots[serial_of(job) % SLOTS];
    if (self->index >= count_of(job) || !(job & FLAG || enter(s, serial_of(job)))) continue;
    uint64_t now = tern__now_ns();
    if (now - looked > LOOK_NS) {
      part_from_others(self, count_of(job));
      looked = now;
    }
    s->fn(s->arg, self->index, count_of(job));
    leave(s);
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
  for (int i = 0; i < SLOTS; i++) atomic_store(&pool->slots[i].state, word(0, true, 0));
  pool->workers = tern__alloc_aligned(alloc, (size_t)n_threads * sizeof *pool->workers, 64);
  TERN_CHECK_ALLOC(pool->workers);
  for (int32_t i = 0; i < n_threads; i++) atomic_store(&pool->workers[i].cpu, -1);
  *out = pool, pool = NULL;
cleanup:
  tern__pool_destroy(pool);
  return status;
}

static void post(tern__pool *pool, uint32_t job) {
  atomic_store(&pool->job, job);
  if (atomic_load(&pool->sleepers)) tern__wake_address(&pool->job);
}

void tern__pool_destroy(tern__pool *pool) {
  if (!pool) return;
  atomic_store(&pool->stop, 1);
  post(pool, word(pool->serial + 1, false, 0));
  for (int32_t i = 0; i < pool->n_started; i++) tern__thread_join(&pool->workers[i].thread);
  if (pool->workers)
    tern__free_aligned(pool->alloc, pool->workers, (size_t)pool->n_threads * sizeof *pool->workers, 64);
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

static void wait_until_left(slot *s, uint32_t serial) {
  uint32_t state;
  for (int i = 0; i < SPIN_PAUSES; i++) {
    state = atomic_load_explicit(&s->state, memory_order_acquire);
    if (serial_of(state) != serial || count_of(state) == 0) return;
    tern__cpu_relax();
  }
  atomic_fetch_add(&s->sleepers, 1);
  while (serial_of(state = atomic_load(&s->state)) == serial && count_of(state)) tern__wait_address(&s->state, state);
  atomic_fetch_sub(&s->sleepers, 1);
}

/* The next slot that nobody is in; with late workers in all of them the next one is waited for. */
static slot *next_slot(tern__pool *pool) {
  for (int i = 0;; i++) {
    do pool->serial = (pool->serial + 1) & SERIAL_MASK;
    while (pool->serial == 0);
    slot *s = &pool->slots[pool->serial % SLOTS];
    uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);
    if (count_of(state) && i < SLOTS) continue;
    wait_until_left(s, serial_of(state));
    return s;
  }
}

/* Runs the job; its ticket, or 0 if only this thread took part. */
static tern__pool_ticket run(tern__pool *pool, int32_t max_threads, bool all,
                             void (*fn)(void *arg, int32_t thread, int32_t n_threads), void *arg) {
  int32_t free_now = 0, n_threads = max_threads < pool->n_threads ? max_threads : pool->n_threads;
  if (n_threads <= 1 || !atomic_compare_exchange_strong(&pool->busy, &free_now, 1)) {
    fn(arg, 0, 1);
    return 0;
  }
  start_workers(pool, n_threads);
  if (n_threads > pool->n_started + 1) n_threads = pool->n_started + 1;
  slot *s = next_slot(pool);
  uint32_t serial = pool->serial;
  s->fn = fn, s->arg = arg;
  atomic_store_explicit(&pool->caller_cpu, tern__this_cpu(), memory_order_relaxed);
  atomic_store(&s->state, word(serial, all, all ? n_threads - 1 : 0));
  post(pool, word(serial, all, n_threads));
  fn(arg, 0, n_threads);
  if (all) wait_until_left(s, serial);
  else atomic_fetch_or(&s->state, FLAG);
  atomic_store(&pool->busy, 0);
  return serial;
}

void tern__pool_run(tern__pool *pool, int32_t max_threads, void (*fn)(void *arg, int32_t thread, int32_t n_threads),
                    void *arg) {
  run(pool, max_threads, true, fn, arg);
}

tern__pool_ticket tern__pool_run_ahead(tern__pool *pool, int32_t max_threads,
                                       void (*fn)(void *arg, int32_t thread, int32_t n_threads), void *arg) {
  return run(pool, max_threads, false, fn, arg);
}

bool tern__pool_left(const tern__pool *pool, tern__pool_ticket ticket) {
  uint32_t state = atomic_load_explicit(&pool->slots[ticket % SLOTS].state, memory_order_acquire);
  return !ticket || serial_of(state) != ticket || count_of(state) == 0;
}

void tern__pool_wait(tern__pool *pool, tern__pool_ticket ticket) {
  if (ticket) wait_until_left(&pool->slots[ticket % SLOTS], ticket);
}

/* ---- copies ---- */

enum { ALONE_BYTES = 2 << 20, COPY_BYTES = 256 << 10, LARGE_PAGE = 2 << 20 };

typedef struct copy_job { char *to; const char *from; size_t size; _Atomic size_t next; } copy_job;

static void copy_some(void *arg, int32_t thread, int32_t n_threads) {
  copy_job *job = arg;
  size_t at;
  (void)thread, (void)n_threads;
  while ((at = atomic_fetch_add_explicit(&job->next, COPY_BYTES, memory_order_relaxed)) < job->size)
    memcpy(job->to + at, job->from + at, job->size - at < COPY_BYTES ? job->size - at : COPY_BYTES);
}

static void touch_some(void *arg, int32_t thread, int32_t n_threads) {
  copy_job *job = arg;
  size_t before = (uintptr_t)job->to % LARGE_PAGE, at;
  (void)thread, (void)n_threads;
  while ((at = atomic_fetch_add_explicit(&job->next, LARGE_PAGE, memory_order_relaxed)) < before + job->size)
    *(volatile char *)(job->to + (at < before ? 0 : at - before)) = 0;
}

void tern__pool_touch(tern__pool *pool, int32_t max_threads, void *memory, size_t size) {
  copy_job job = {memory, NULL, size, 0};
  if (size > ALONE_BYTES) tern__pool_run(pool, max_threads, touch_some, &job);
}

void tern__pool_copy(tern__pool *pool, int32_t max_threads, void *to, const void *from, size_t size) {
  copy_job job = {to, from, size, 0};
  if (size > ALONE_BYTES) tern__pool_run(pool, max_threads, copy_some, &job);
  else if (size) memcpy(to, from, size);
}
