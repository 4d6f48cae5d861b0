/* Runs that end ahead of their threads (cpu_run.c, tern__session_plan.ahead): a thread is held in the middle of a chunk,
 * the caller gets its outputs and goes on with other inputs, and no bit changes; neither when the thread finishes its
 * chunk at last, nor in memory that the caller wrote to meanwhile. */
#include "ops/op_builder.h"

#include <pthread.h>
#include <time.h>

#include "cpu/cpu_program.h"
#include "runtime/session.h"

#if defined(TERN__CPU_NO_HELPING)
#  define NEEDS_HELPING() cr_skip_test("no run ends with a thread in a chunk under the thread sanitizer: it is a race by \
the letter")
#else
#  define NEEDS_HELPING() ((void)0)
#endif

/* How long the rows of the products are tells which one a thread is held in. */
enum { FIRST_K = 192, K = 256, LAST_K = 320, N = 512, LAYERS = 4, RUNS = 12, PATIENCE_MS = 20000 };

static struct {
  const tern__cpu_kernels *real;
  pthread_t caller;
  size_t k; /* of the product to be held in */
  _Atomic int wanted, held, let_go; /* threads to hold now; that are held; tickets to go */
  _Atomic int gone, impatient;
} hold;

static void nap(void) { nanosleep(&(struct timespec){0, 50000}, NULL); }

static bool wait_until(_Atomic int *value, int at_least) {
  for (uint64_t end = tern__now_ns() + (uint64_t)PATIENCE_MS * 1000000; atomic_load(value) < at_least; nap())
    if (tern__now_ns() > end) return false;
  return true;
}

static bool take(_Atomic int *tickets) {
  int n = atomic_load(tickets);
  while (n > 0 && !atomic_compare_exchange_weak(tickets, &n, n - 1)) continue;
  return n > 0;
}

/* The first worker that comes while one is wanted stays in its chunk; the caller waits for it to come. */
static void held_linear(const tern__cpu_linear_call *call) {
  if (call->k != hold.k) {
    hold.real->linear(call);
    return;
  }
  if (pthread_equal(pthread_self(), hold.caller)) {
    for (uint64_t end = tern__now_ns() + (uint64_t)PATIENCE_MS * 1000000; atomic_load(&hold.wanted) > 0; nap())
      if (tern__now_ns() > end) {
        atomic_store(&hold.impatient, 1), atomic_store(&hold.wanted, 0);
      }
  } else if (take(&hold.wanted)) {
    atomic_fetch_add(&hold.held, 1);
    for (uint64_t end = tern__now_ns() + (uint64_t)PATIENCE_MS * 1000000; !take(&hold.let_go); nap())
      if (tern__now_ns() > end) {
        atomic_store(&hold.impatient, 1);
        break;
      }
    hold.real->linear(call);
    atomic_fetch_add(&hold.gone, 1);
    return;
  }
  hold.real->linear(call);
}

static tern__value_id product(one_op *t, tern__value_id x, tern_dtype dtype, int n, int k) {
  tern__shape shape = {.rank = 2, .dims = {n, k}};
  size_t bytes;
  tern__value_id weight, y;
  cr_assert(tern__shape_bytes(dtype, &shape, &bytes));
  void *w = tern__arena_alloc(&t->arena, bytes);
  for (size_t i = 0; i < bytes; i++) ((uint8_t *)w)[i] = (uint8_t)(noise() * 128 + 128);
  fill_blocks(w, dtype, bytes);
  char *name = tern__arena_printf(&t->arena, "w%zu", tern__array_count(t->graph->values));
  cr_assert_eq(tern__graph_add_constant(t->graph, name, dtype, 2, shape.dims, w, bytes, &weight), TERN_OK);
  return add_node(t, "Linear", "tern", (tern__value_id[]){x, weight}, 2, 1, &y);
}

/* Some layers of a decoder's feed-forward part over one row, between a product that reads the graph's input and two
 * outputs, one of them straight from a product. */
static void make_layers(one_op *t) {
  tern__value_id x, norm, gate, up, in[3];
  begin(t, "Linear", "tern", 1);
  input(t, TERN_DTYPE_F32, 3, 1, 1, FIRST_K);
  constant(t, TERN_DTYPE_F32, 1, K);
  x = product(t, t->ids[0], TERN_DTYPE_Q8_0, K, FIRST_K);
  for (int layer = 0; layer < LAYERS; layer++) {
    add_node(t, "SimplifiedLayerNormalization", "", (tern__value_id[]){x, t->ids[1]}, 2, 1, &norm);
    gate = product(t, norm, TERN_DTYPE_Q4_0, N, K), up = product(t, norm, TERN_DTYPE_Q8_0, N, K);
    add_node(t, "SiluMul", "tern", (tern__value_id[]){gate, up}, 2, 1, &in[1]);
    in[0] = x, in[1] = product(t, in[1], TERN_DTYPE_Q8_0, K, N);
    add_node(t, "Add", "", in, 2, 1, &x);
  }
  add_output(t, x);
  x = product(t, x, TERN_DTYPE_Q8_0, LAST_K, K);
  add_output(t, product(t, x, TERN_DTYPE_Q8_0, K, LAST_K));
}

typedef struct opened {
  tern_runtime *runtime;
  tern__pack_cache *cache;
  tern__session *session;
  tern__cpu_kernels kernels;
} opened;

static void open_session(one_op *t, int32_t n_threads, uint64_t budget, opened *o) {
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  memset(o, 0, sizeof *o);
  desc.n_threads = n_threads;
  cr_assert_eq(tern_runtime_create(&desc, &o->runtime), TERN_OK, "%s", tern_last_error());
  tern__backend *backend = o->runtime->devices[TERN__CPU].backend;
  hold.real = backend->kernels, hold.caller = pthread_self();
  o->kernels = *hold.real, o->kernels.linear = held_linear;
  backend->kernels = &o->kernels;
  atomic_store(&hold.wanted, 0), atomic_store(&hold.held, 0), atomic_store(&hold.let_go, 0);
  atomic_store(&hold.gone, 0), atomic_store(&hold.impatient, 0);
  cr_assert_eq(tern__pack_cache_create(&o->runtime->alloc, &o->cache), TERN_OK);
  tern__session_options options = {.device = TERN__CPU, .n_threads = n_threads, .budget_bytes = budget,
                                   .long_run_bytes = 1};
  cr_assert_eq(tern__session_create(o->runtime, t->graph, o->cache, &options, &o->session), TERN_OK, "%s",
               tern_last_error());
}

static void close_session(opened *o) {
  tern__session_destroy(o->session);
  tern__pack_cache_destroy(o->cache);
  tern_runtime_destroy(o->runtime);
}

/* Run i has inputs of its own, in the same memory as those of all others. */
static void feed(one_op *t, int i) {
  float *x = t->feeds[0].data;
  for (int e = 0; e < FIRST_K; e++) x[e] = sinf((float)(e * (i + 1)));
}

static void nothing(void *arg, int32_t thread, int32_t n_threads) { (void)arg, (void)thread, (void)n_threads; }

/* The next worker that comes, of the next run: one that is still in the last has to leave that first. */
static void hold_one(opened *o, size_t k) {
  tern__pool_run(o->runtime->pool, tern__pool_n_threads(o->runtime->pool), nothing, NULL);
  hold.k = k;
  atomic_store(&hold.wanted, 1);
}

static float wanted_of[RUNS][2][K];

static void run(one_op *t, opened *o, int i, float got[2][K]) {
  tern_cancel *cancel; /* dies after the run: a late thread must not look at it */
  feed(t, i);
  cr_assert_eq(tern_cancel_create(&cancel), TERN_OK);
  cr_assert_eq(tern__session_run(o->session, t->feeds, cancel, NULL), TERN_OK, "%s", tern_last_error());
  tern_cancel_destroy(cancel);
  memset(t->feeds[0].data, 0xff, t->feeds[0].size_bytes);
  for (int k = 0; k < 2; k++) memcpy(got[k], tern__session_output(o->session, k)->data, sizeof got[k]);
}

static void check(one_op *t, opened *o, int i, const char *what) {
  float got[2][K];
  run(t, o, i, got);
  for (int k = 0; k < 2; k++)
    cr_expect(!memcmp(got[k], wanted_of[i][k], sizeof got[k]), "%s: output %d of run %d differs from one thread's", what,
              k, i);
}

static void run_alone(one_op *t) {
  opened o;
  open_session(t, 1, 0, &o);
  for (int i = 0; i < RUNS; i++) {
    run(t, &o, i, wanted_of[i]);
    for (int e = 0; e < K; e++) cr_assert(isfinite(wanted_of[i][0][e]) && isfinite(wanted_of[i][1][e]));
  }
  close_session(&o);
}

Test(run_ahead, the_caller_goes_on_while_a_thread_is_held, .timeout = 600) {
  one_op t;
  NEEDS_HELPING();
  make_layers(&t);
  run_alone(&t);
  for (int32_t threads = 2; threads <= 4; threads++) {
    opened o;
    char what[40];
    snprintf(what, sizeof what, "%d threads", (int)threads);
    open_session(&t, threads, 0, &o);
    check(&t, &o, 0, what);
    for (int round = 0; round < 10; round++) {
      int gone = atomic_load(&hold.gone);
      hold_one(&o, round % 3 == 0 ? K : round % 3 == 1 ? N : LAST_K);
      check(&t, &o, round % RUNS, what);
      cr_assert_eq(hold.gone, gone, "%s: the run has waited for the held thread", what);
      /* What the caller writes to its outputs stays. */
      float *mine[2];
      for (int k = 0; k < 2; k++) {
        mine[k] = tern__session_output(o.session, k)->data;
        for (int e = 0; e < K; e++) mine[k][e] = (float)(-e - k);
      }
      for (int i = 0; i < RUNS; i++) check(&t, &o, i, what);
      cr_assert_eq(hold.gone, gone);
      atomic_store(&hold.let_go, 1);
      cr_assert(wait_until(&hold.gone, gone + 1));
      for (int k = 0; k < 2; k++)
        for (int e = 0; e < K; e++)
          cr_assert_eq(mine[k][e], (float)(-e - k), "%s: a late thread has stored to output %d", what, k);
      for (int i = 0; i < RUNS; i++) check(&t, &o, i, what);
    }
    cr_expect_eq(hold.impatient, 0);
    close_session(&o);
  }
  end(&t);
}

typedef struct releaser { pthread_t thread; int n; } releaser;

static void *let_go_later(void *arg) {
  releaser *r = arg;
  for (int i = 0; i < 400; i++) nap();
  atomic_fetch_add(&hold.let_go, r->n);
  return NULL;
}

/* Threads in all four plans: the next run waits for one of them. */
Test(run_ahead, with_threads_in_all_plans_a_run_waits, .timeout = 600) {
  one_op t;
  opened o;
  NEEDS_HELPING();
  make_layers(&t);
  run_alone(&t);
  open_session(&t, 5, 0, &o);
  check(&t, &o, 0, "before");
  hold_one(&o, N);
  for (int i = 0; i < 4; i++) {
    for (int k = 0; k < 200; k++) nap(); /* others that are late leave; those held cannot come to a job that needs all */
    atomic_store(&hold.wanted, 1);
    check(&t, &o, i, "one more held");
    cr_assert_eq(hold.held, i + 1);
  }
  cr_assert_eq(hold.gone, 0);
  releaser r = {.n = 4};
  cr_assert_eq(pthread_create(&r.thread, NULL, let_go_later, &r), 0);
  check(&t, &o, 4, "four held");
  cr_assert_gt(hold.gone, 0, "it has not waited");
  pthread_join(r.thread, NULL);
  for (int i = 0; i < RUNS; i++) check(&t, &o, i, "after");
  cr_expect_eq(hold.impatient, 0);
  close_session(&o);
  end(&t);
}

/* Closing waits: nothing is freed under a late thread. */
Test(run_ahead, closing_waits_for_late_threads, .timeout = 600) {
  one_op t;
  NEEDS_HELPING();
  make_layers(&t);
  run_alone(&t);
  for (int32_t threads = 2; threads <= 4; threads++) {
    opened o;
    releaser r = {.n = 1};
    open_session(&t, threads, 0, &o);
    check(&t, &o, 0, "before");
    hold_one(&o, N);
    check(&t, &o, 1, "held");
    cr_assert_eq(hold.gone, 0);
    cr_assert_eq(pthread_create(&r.thread, NULL, let_go_later, &r), 0);
    close_session(&o);
    cr_assert_eq(hold.gone, 1, "closing has not waited");
    pthread_join(r.thread, NULL);
  }
  end(&t);
}

/* One run, the thread held in a product with rows of k: it waits until the thread is let go. */
static void check_waits(one_op *t, opened *o, size_t k) {
  releaser r = {.n = 1};
  check(t, o, 0, "before");
  hold_one(o, k);
  cr_assert_eq(pthread_create(&r.thread, NULL, let_go_later, &r), 0);
  check(t, o, 1, "held");
  cr_assert_eq(hold.gone, 1, "it has not waited");
  pthread_join(r.thread, NULL);
  close_session(o);
}

/* Where a budget has no room for plans with memory of their own, runs wait as they did. */
Test(run_ahead, a_budget_without_room, .timeout = 600) {
  one_op t;
  opened o;
  tern_memory_plan m;
  NEEDS_HELPING();
  make_layers(&t);
  run_alone(&t);
  open_session(&t, 2, 0, &o);
  check(&t, &o, 0, "no budget");
  tern__session_memory(o.session, &m);
  close_session(&o);
  open_session(&t, 2, m.peak_bytes, &o);
  check_waits(&t, &o, N);
  end(&t);
}

/* The caller writes to its inputs after the run: who reads them is waited for. */
Test(run_ahead, a_thread_that_reads_an_input_is_waited_for, .timeout = 600) {
  one_op t;
  opened o;
  NEEDS_HELPING();
  make_layers(&t);
  run_alone(&t);
  open_session(&t, 2, 0, &o);
  check_waits(&t, &o, FIRST_K);
  end(&t);
}
