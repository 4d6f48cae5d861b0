/* The thread pool: every thread once, several callers at once, idle costs nothing, destruction joins. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "runtime/thread_pool.h"

typedef struct job { _Atomic int calls[16]; _Atomic int total, wrong; int32_t most; } job;

static void count(void *arg, int32_t thread, int32_t n_threads) {
  job *j = arg;
  if (thread < 0 || thread >= n_threads || n_threads > j->most) atomic_fetch_add(&j->wrong, 1);
  else atomic_fetch_add(&j->calls[thread], 1);
  atomic_fetch_add(&j->total, 1);
}

static tern__pool *make(tern__alloc *alloc, int32_t n) {
  tern__pool *pool;
  tern__alloc_init(alloc, NULL, 0);
  cr_assert_eq(tern__pool_create(alloc, n, &pool), TERN_OK);
  return pool;
}

Test(thread_pool, each_thread_once_per_run) {
  tern__alloc alloc;
  tern__pool *pool = make(&alloc, 4);
  cr_expect_eq(tern__pool_n_threads(pool), 4);
  for (int run = 0; run < 20000; run++) {
    job j = {.most = 1 + run % 4};
    tern__pool_run(pool, j.most, count, &j);
    cr_assert_eq(j.total, j.most, "run %d: %d calls for %d threads", run, j.total, j.most);
    cr_assert_eq(j.wrong, 0);
    for (int t = 0; t < j.most; t++) cr_assert_eq(j.calls[t], 1);
  }
  tern__pool_destroy(pool);
  cr_expect_eq(alloc.live_bytes, 0);
}

Test(thread_pool, sleeps_between_runs_and_wakes) {
  tern__alloc alloc;
  tern__pool *pool = make(&alloc, 3);
  for (int run = 0; run < 30; run++) {
    job j = {.most = 3};
    tern__pool_run(pool, 3, count, &j);
    cr_assert_eq(j.total, 3);
    nanosleep(&(struct timespec){0, 3000000}, NULL); /* long past the spinning */
  }
  tern__pool_destroy(pool);
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

Test(thread_pool, idle_costs_nothing) {
  tern__alloc alloc;
  tern__pool *pool = make(&alloc, 4);
  job j = {.most = 4};
  tern__pool_run(pool, 4, count, &j);
  nanosleep(&(struct timespec){0, 20000000}, NULL);
  double before = cpu_seconds();
  nanosleep(&(struct timespec){0, 300000000}, NULL);
  double used = cpu_seconds() - before;
  cr_expect(used < 0.003, "%.4f s of CPU time in 0.3 s of idleness", used);
  tern__pool_destroy(pool);
}

typedef struct caller { tern__pool *pool; tern__thread thread; _Atomic int bad; } caller;

static void *call_often(void *arg) {
  caller *c = arg;
  for (int run = 0; run < 3000; run++) {
    job j = {.most = 4};
    tern__pool_run(c->pool, 4, count, &j);
    /* With the workers taken by another caller the function ran here alone. */
    if (j.wrong || (j.total != 4 && j.total != 1)) atomic_fetch_add(&c->bad, 1);
  }
  return NULL;
}

Test(thread_pool, several_callers) {
  tern__alloc alloc;
  tern__pool *pool = make(&alloc, 4);
  caller callers[3];
  memset(callers, 0, sizeof callers);
  for (int i = 0; i < 3; i++) {
    callers[i].pool = pool;
    cr_assert_eq(tern__thread_start(&callers[i].thread, call_often, &callers[i]), TERN_OK);
  }
  for (int i = 0; i < 3; i++) {
    tern__thread_join(&callers[i].thread);
    cr_expect_eq(callers[i].bad, 0);
  }
  tern__pool_destroy(pool);
}

/* ---- jobs that end ahead of their threads */

typedef struct held_job {
  _Atomic int calls[16], held, over;
  int32_t most;
  bool hold; /* workers stay in it until it is `over` */
} held_job;

static void hold_workers(void *arg, int32_t thread, int32_t n_threads) {
  held_job *j = arg;
  (void)n_threads;
  atomic_fetch_add(&j->calls[thread], 1);
  if (thread) atomic_fetch_add(&j->held, 1);
  while (j->hold && !thread && atomic_load(&j->held) < j->most - 1) tern__cpu_relax(); /* they have to be there */
  while (j->hold && thread && !atomic_load(&j->over)) nanosleep(&(struct timespec){0, 20000}, NULL);
}

Test(thread_pool, a_job_ends_ahead_of_its_threads, .timeout = 300) {
  tern__alloc alloc;
  tern__pool *pool = make(&alloc, 4);
  static held_job jobs[300];
  for (int round = 0; round < 300; round++) {
    held_job *j = &jobs[round];
    *j = (held_job){.most = 2 + round % 3, .hold = true};
    tern__pool_ticket ticket = tern__pool_run_ahead(pool, j->most, hold_workers, j);
    cr_assert_neq(ticket, 0);
    cr_assert(!tern__pool_left(pool, ticket), "round %d: workers are held, and have left", round);
    /* More jobs than slots meanwhile: who is not held takes part, who is late never comes to them. */
    for (int k = 0; k < 20; k++) {
      held_job other = {.most = 4};
      tern__pool_ticket second = tern__pool_run_ahead(pool, 4, hold_workers, &other);
      cr_assert_neq(second, ticket);
      tern__pool_wait(pool, second);
      cr_assert(tern__pool_left(pool, second));
      for (int t = 0; t < 4; t++)
        cr_assert_leq(other.calls[t], t == 0 || t >= j->most ? 1 : 0, "thread %d took part while it was held", t);
      cr_assert_eq(other.calls[0], 1);
    }
    cr_assert(!tern__pool_left(pool, ticket));
    atomic_store(&j->over, 1);
    if (round % 2) { /* a job that needs all waits for the late ones */
      job all = {.most = 4};
      tern__pool_run(pool, 4, count, &all);
      cr_assert_eq(all.total, 4);
      cr_assert(tern__pool_left(pool, ticket));
    }
    tern__pool_wait(pool, ticket);
    cr_assert(tern__pool_left(pool, ticket));
    for (int t = 0; t < 4; t++) cr_assert_eq(j->calls[t], t < j->most ? 1 : 0);
  }
  tern__pool_destroy(pool);
  cr_expect_eq(alloc.live_bytes, 0);
}

/* Many short jobs: nobody comes to one that is over, or twice to one. */
Test(thread_pool, nobody_is_in_a_job_that_all_have_left, .timeout = 300) {
  tern__alloc alloc;
  tern__pool *pool = make(&alloc, 4);
  for (int run = 0; run < 30000; run++) {
    held_job j = {.most = 4};
    tern__pool_wait(pool, tern__pool_run_ahead(pool, 4, hold_workers, &j));
    cr_assert_eq(j.calls[0], 1);
    for (int t = 1; t < 4; t++) cr_assert_leq(j.calls[t], 1, "run %d: thread %d came %d times", run, t, j.calls[t]);
    memset(&j, 0xff, sizeof j); /* who comes late counts on here */
    for (int t = 0; t < 4; t++) cr_assert_eq(j.calls[t], -1);
  }
  tern__pool_destroy(pool);
  cr_expect_eq(alloc.live_bytes, 0);
}

#if defined(__linux__)
#  include <sched.h>

typedef struct places { _Atomic int cpu[2]; cpu_set_t may[2]; bool gather; int target; } places;

static void where(void *arg, int32_t thread, int32_t n_threads) {
  places *p = arg;
  if (n_threads < 2) return;
  sched_getaffinity(0, sizeof p->may[thread], &p->may[thread]);
  if (p->gather) { /* both to one CPU */
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)p->target, &one);
    sched_setaffinity(0, sizeof one, &one);
    sched_setaffinity(0, sizeof p->may[thread], &p->may[thread]);
  }
  atomic_store(&p->cpu[thread], sched_getcpu());
}

/* Two threads that were put on one CPU part, and may go on where they could before. The system may move threads itself,
 * so what counts is that they part most of the time. */
Test(thread_pool, threads_on_one_cpu_part, .timeout = 300) {
  tern__alloc alloc;
  cpu_set_t may;
  int parted = 0, gathered = 0, rounds = 60;
  cr_assert_eq(sched_getaffinity(0, sizeof may, &may), 0);
  if (CPU_COUNT(&may) < 2) cr_skip_test("one CPU");
  tern__pool *pool = make(&alloc, 2);
  for (int round = 0; round < rounds; round++) {
    places p = {.gather = true, .target = sched_getcpu()};
    tern__pool_run(pool, 2, where, &p);
    gathered += p.cpu[0] == p.cpu[1];
    for (uint64_t end = tern__now_ns() + 2000000; tern__now_ns() < end;) continue; /* they look once a millisecond */
    p.gather = false;
    tern__pool_run(pool, 2, where, &p);
    parted += p.cpu[0] != p.cpu[1];
    for (int t = 0; t < 2; t++) cr_assert(CPU_EQUAL(&p.may[t], &may), "thread %d is bound", t);
  }
  cr_expect_gt(parted * 2, rounds, "%d of %d rounds (%d on one CPU before)", parted, rounds, gathered);
  tern__pool_destroy(pool);
}
#endif

Test(thread_pool, unused_and_single) {
  tern__alloc alloc;
  tern__pool_destroy(NULL);
  tern__pool *pool = make(&alloc, 8);
  tern__pool_destroy(pool);
  pool = make(&alloc, 1);
  job j = {.most = 1};
  tern__pool_run(pool, 8, count, &j);
  cr_expect_eq(j.total, 1);
  tern__pool_destroy(pool);
  cr_expect_eq(alloc.live_bytes, 0);
}

Test(thread_pool, copies) {
  enum { MOST = (5 << 20) + 3 };
  static const size_t sizes[] = {0, 1, 2 << 20, (2 << 20) + 1, (3 << 20) + 4097, MOST};
  tern__alloc alloc;
  tern__pool *pool = make(&alloc, 3);
  uint8_t *from = malloc(MOST), *to = malloc(MOST + 1);
  for (size_t i = 0; i < MOST; i++) from[i] = (uint8_t)(i * 2654435761u >> 13);
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    memset(to, 0, MOST + 1);
    tern__pool_copy(pool, 3, to, from, sizes[s]);
    cr_expect_eq(memcmp(to, from, sizes[s]), 0, "%zu bytes", sizes[s]);
    cr_expect_eq(to[sizes[s]], 0, "%zu bytes: one more was written", sizes[s]);
  }
  /* A byte of each page is written: the first, and those on boundaries of 2 MiB. */
  for (size_t shift = 0; shift < 2; shift++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      size_t n = sizes[s] > 5 ? sizes[s] - 5 : 0, touched = 0, pages = 0;
      memset(to, 7, MOST + 1);
      tern__pool_touch(pool, 3, to + shift, n);
      for (size_t i = 0; i < MOST + 1; i++) {
        bool there = n > 2 << 20 && i >= shift && i < shift + n;
        bool page = there && (i == shift || (uintptr_t)(to + i) % (2 << 20) == 0);
        pages += page, touched += to[i] == 0;
        if (to[i] != (page ? 0 : 7)) cr_assert_fail("byte %zu of %zu from %zu is %d", i, n, shift, to[i]);
      }
      cr_expect_eq(touched, pages);
    }
  free(from), free(to);
  tern__pool_destroy(pool);
  cr_expect_eq(alloc.live_bytes, 0);
}
