/* The thread pool: every thread once, several callers at once, idle costs nothing, destruction joins. */
#include <criterion/criterion.h>
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
