/* Several threads in one CPU program: every chunk runs after what it needs, once where nobody may be helped; and a
 * thread that is late in the middle of a chunk is helped, which changes no bit. */
#include "ops/op_builder.h"

#include "cpu/cpu_program.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#if defined(TERN__CPU_NO_HELPING) || defined(__SANITIZE_ADDRESS__)
enum { SLOW = 8 };
#else
enum { SLOW = 1 };
#endif

extern const tern__backend_api tern__backend_cpu;

/* ---- the scheduler alone: steps that count */

typedef struct counted {
  _Atomic uint32_t hits[50], finished;
  struct counted *needs; /* of the phase before, or the step before if they are joined */
  uint32_t n_needs, n_chunks;
} counted;

enum { MAX_STEPS = 40 };
static counted counters[MAX_STEPS];
static _Atomic uint32_t too_early;

static tern_status count_chunk(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  counted *c = step->params;
  for (uint32_t i = 0; i < c->n_needs; i++)
    if (atomic_load(&c->needs[i].finished) < c->needs[i].n_chunks) atomic_fetch_add(&too_early, 1);
  if ((chunk * 7 + c->n_chunks) % 64 == 0) sched_yield(); /* on a busy machine others come in between */
  atomic_fetch_add(&c->hits[chunk], 1);
  atomic_fetch_add(&c->finished, 1);
  return TERN_OK;
}

static uint32_t below(uint32_t n) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % n;
}

/* Steps of 1 to 50 chunks, many of one (they are joined), some beside the one before. */
static tern_status add_steps(tern__program *program, bool repeatable) {
  tern_status status = TERN_OK;
  uint32_t n = 1 + below(MAX_STEPS), begin = 0, before = 0;
  for (uint32_t s = 0; s < n; s++) {
    counted *c = &counters[s];
    bool beside = s > 0 && below(5) == 0;
    if (!beside) before = begin, begin = s;
    c->n_chunks = below(3) ? 1 + below(50) : 1;
    c->needs = &counters[before], c->n_needs = begin - before;
    TERN_ARRAY_PUSH(program->backend->env.alloc, program->steps,
                    (tern__cpu_step){.run = count_chunk, .n_chunks = c->n_chunks, .params = c, .beside = beside,
                                     .repeatable = repeatable});
  }
  TERN_TRY(tern__cpu_phases(program));
  TERN_TRY(tern__cpu_run_create(program));
cleanup:
  return status;
}

static void run_counted(tern__program *program, bool once) {
  size_t n = tern__array_count(program->steps);
  for (size_t s = 0; s < n; s++) {
    atomic_store(&counters[s].finished, 0);
    for (uint32_t c = 0; c < counters[s].n_chunks; c++) atomic_store(&counters[s].hits[c], 0);
  }
  tern__run_args args = {0};
  cr_assert_eq(tern__backend_cpu.run(program, &args), TERN_OK, "%s", tern_last_error());
  for (size_t s = 0; s < n; s++)
    for (uint32_t c = 0; c < counters[s].n_chunks; c++) {
      uint32_t hits = atomic_load(&counters[s].hits[c]);
      cr_assert(once ? hits == 1 : hits >= 1, "%d threads, step %zu of %zu: chunk %u of %u ran %u times",
                (int)program->n_threads, s, n, (unsigned)c, (unsigned)counters[s].n_chunks, (unsigned)hits);
    }
  cr_assert_eq(atomic_load(&too_early), 0, "%d threads: %u chunks ran before what they need", (int)program->n_threads,
               (unsigned)atomic_load(&too_early));
}

static void check_schedule(bool helped, int programs, int runs) {
  for (int32_t threads = 1; threads <= 8; threads++) {
    tern__alloc alloc;
    tern__backend *backend;
    tern__backend_env env = {.alloc = &alloc};
    tern__alloc_init(&alloc, NULL, 0);
    cr_assert_eq(tern__pool_create(&alloc, threads, &env.pool), TERN_OK);
    cr_assert_eq(tern__cpu_open_with(&env, UINT32_MAX, &backend), TERN_OK);
    tern__plan plan = {.separate = helped};
    for (int i = 0; i < programs; i++) {
      tern__program *program = tern__calloc(&alloc, 1, sizeof *program);
      cr_assert_not_null(program);
      program->backend = backend, program->plan = &plan, program->n_threads = threads;
      tern__arena_init(&program->arena, &alloc);
      cr_assert_eq(add_steps(program, helped), TERN_OK, "%s", tern_last_error());
      for (int run = 0; run < runs; run++) run_counted(program, !helped);
      tern__backend_cpu.destroy_program(program);
    }
    tern__backend_cpu.close(backend);
    tern__pool_destroy(env.pool);
    cr_expect_eq(alloc.live_bytes, 0, "memory is kept");
  }
}

Test(cpu_schedule, every_chunk_runs_once) { check_schedule(false, 12, 200 / SLOW); }

Test(cpu_schedule, every_chunk_runs_where_others_help) { check_schedule(true, 12, 200 / SLOW); }

/* ---- a thread that is held in the middle of a chunk */

enum { K = 256, N = 512, LAYERS = 4, PATIENCE_MS = 20000 };
typedef enum ending { FINISHES, FAILS, IS_CANCELLED } ending;

static struct {
  const tern__cpu_kernels *real;
  tern__cpu_chunk_fn step; /* what `watched` stands for */
  ending ending;
  pthread_t caller;
  bool hold_nobody, hold_caller; /* else hold the first other thread that comes */
  int hold_ms;
  tern_cancel cancel;
  _Atomic int held, over, late; /* over: the step at the end has run; late: it had not when hold_ms were over */
  _Atomic uint32_t calls;
} hold;

static bool wait_until(_Atomic int *flag, int ms) {
  for (uint64_t end = tern__now_ns() + (uint64_t)ms * 1000000; !atomic_load(flag);) {
    if (tern__now_ns() > end) return false;
    nanosleep(&(struct timespec){0, 50000}, NULL);
  }
  return true;
}

static void held_linear(const tern__cpu_linear_call *call) {
  bool is_caller = pthread_equal(pthread_self(), hold.caller);
  int nobody = 0;
  atomic_fetch_add(&hold.calls, 1);
  if (!hold.hold_nobody && is_caller == hold.hold_caller && atomic_compare_exchange_strong(&hold.held, &nobody, 1)) {
    if (!wait_until(&hold.over, hold.hold_ms)) atomic_store(&hold.late, 1);
    if (hold.ending != FINISHES) nanosleep(&(struct timespec){0, 20000000}, NULL); /* the others come to the end */
  } else if (!hold.hold_nobody) {
    (void)wait_until(&hold.held, PATIENCE_MS); /* the thread that is to be held has to come for its chunk */
  }
  hold.real->linear(call);
}

/* In place of a step's function, of the last one unless the run is to be cancelled before. */
static tern_status watched(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  tern_status status = hold.step(step, context, chunk);
  if (hold.ending == FAILS) status = tern__fail(TERN_STATUS_INTERNAL, "made to fail at chunk %u", (unsigned)chunk);
  if (hold.ending == IS_CANCELLED) atomic_store(&hold.cancel.set, 1);
  atomic_store(&hold.over, 1);
  return status;
}

typedef struct opened {
  tern__backend *backend;
  tern__backend_env env;
  tern__pack_cache *cache;
  tern__session_plan *plan;
  tern__cpu_kernels kernels;
  uint8_t *memory;
} opened;

/* Some layers of a decoder's feed-forward part over one row; `large`: and a value beside them with which the plan is too
 * large for memory of their own for all. */
static void make_layers(one_op *t, bool large) {
  const tern_dtype types[3] = {TERN_DTYPE_Q4_0, TERN_DTYPE_Q8_0, TERN_DTYPE_Q8_0};
  tern__value_id x, norm, gate, up, in[3];
  begin(t, "Linear", "tern", 1);
  input(t, TERN_DTYPE_F32, 3, 1, 1, K);
  constant(t, TERN_DTYPE_F32, 1, K);
  for (int i = 0; i < 3; i++) {
    void *w = constant(t, types[i], 2, i < 2 ? N : K, i < 2 ? K : N);
    fill_blocks(w, types[i], t->graph->values[t->ids[2 + i]].size_bytes);
  }
  x = t->ids[0];
  for (int layer = 0; layer < LAYERS; layer++) {
    add_node(t, "SimplifiedLayerNormalization", "", (tern__value_id[]){x, t->ids[1]}, 2, 1, &norm);
    add_node(t, "Linear", "tern", (tern__value_id[]){norm, t->ids[2]}, 2, 1, &gate);
    add_node(t, "Linear", "tern", (tern__value_id[]){norm, t->ids[3]}, 2, 1, &up);
    add_node(t, "SiluMul", "tern", (tern__value_id[]){gate, up}, 2, 1, &in[1]);
    add_node(t, "Linear", "tern", (tern__value_id[]){in[1], t->ids[4]}, 2, 1, &in[1]);
    in[0] = x;
    add_node(t, "Add", "", in, 2, 1, &x);
  }
  add_output(t, x);
  if (large) {
    tern__value_id wide;
    input(t, TERN_DTYPE_F32, 2, 1, (4 << 20) / 4 + 1);
    add_output(t, add_node(t, "Relu", "", &t->ids[t->n_inputs - 1], 1, 1, &wide));
  }
}

static tern__program *program_of(opened *o) { return o->plan->segments[0].program; }

static void open_held(one_op *t, int32_t n_threads, opened *o) {
  memset(o, 0, sizeof *o);
  o->env.alloc = &t->alloc;
  cr_assert_eq(tern__pool_create(&t->alloc, n_threads, &o->env.pool), TERN_OK);
  cr_assert_eq(tern__cpu_open_with(&o->env, UINT32_MAX, &o->backend), TERN_OK);
  hold.real = o->backend->kernels;
  o->kernels = *hold.real, o->kernels.linear = held_linear;
  o->backend->kernels = &o->kernels;
  cr_assert_eq(tern__pack_cache_create(&t->alloc, &o->cache), TERN_OK);
  tern__plan_options options = {.api = &tern__backend_cpu, .backend = o->backend, .host_api = &tern__backend_cpu,
                                .host_backend = o->backend, .cache = o->cache, .n_threads = n_threads,
                                .long_run_bytes = 1};
  cr_assert_eq(tern__plan_create(&t->alloc, t->graph, t->feeds, &options, &o->plan), TERN_OK, "%s", tern_last_error());
  o->memory = aligned_alloc(64, (o->plan->activation_bytes + 127) / 64 * 64);
  tern__plan_bind(o->plan, o->memory);
  for (int i = 0; i < t->n_feeds; i++) tern__plan_bind_input(o->plan, i, t->feeds[i].data);
  cr_assert_eq(tern__array_count(o->plan->segments), 1);
  cr_assert_eq(tern__backend_cpu.prepare(program_of(o), NULL, NULL), TERN_OK, "%s", tern_last_error());
}

static void close_held(one_op *t, opened *o) {
  tern__plan_destroy(&t->alloc, o->plan);
  tern__pack_cache_destroy(o->cache);
  tern__backend_cpu.close(o->backend);
  tern__pool_destroy(o->env.pool);
  free(o->memory);
}

typedef enum who { NOBODY, CALLER, ANOTHER } who;

/* One run in which `who` is held in its first product until the end, or for hold_ms. */
static tern_status run_held(opened *o, who who, ending ending, int hold_ms) {
  tern__program *program = program_of(o);
  size_t n = tern__array_count(program->steps);
  tern__cpu_step *step = &program->steps[ending == IS_CANCELLED ? n / 2 : n - 1];
  memset(o->memory, 0xff, o->plan->activation_bytes); /* NaN: unwritten elements are seen */
  hold.step = step->run, hold.ending = ending, hold.caller = pthread_self();
  hold.hold_nobody = who == NOBODY, hold.hold_caller = who == CALLER, hold.hold_ms = hold_ms;
  atomic_store(&hold.held, 0), atomic_store(&hold.over, 0), atomic_store(&hold.late, 0), atomic_store(&hold.calls, 0);
  atomic_store(&hold.cancel.set, 0);
  step->run = watched;
  tern__run_args args = {.cancel = &hold.cancel};
  tern_status status = tern__backend_cpu.run(program, &args);
  step->run = hold.step;
  return status;
}

static void check_result(one_op *t, opened *o, const result *want, const char *what) {
  for (int i = 0; i < t->n_outputs; i++) {
    const tern__view *got = &o->plan->base.views[t->outs[i]];
    cr_assert_eq(got->size_bytes, want->views[i].size_bytes);
    cr_expect(!memcmp(got->data, want->data[i], got->size_bytes), "%s: output %d differs from one thread's", what, i);
  }
}

/* What one thread computes. */
static void run_alone(one_op *t, result *want) {
  opened o;
  open_held(t, 1, &o);
  cr_assert_eq(run_held(&o, NOBODY, FINISHES, 0), TERN_OK, "%s", tern_last_error());
  keep(t, o.plan, want);
  for (int i = 0; i < K; i++) cr_assert(isfinite(((float *)want->data[0])[i]), "element %d", i);
  close_held(t, &o);
}

#if defined(TERN__CPU_NO_HELPING)
#  define NEEDS_HELPING() cr_skip_test("no thread helps another under the thread sanitizer: it is a race by the letter")
#else
#  define NEEDS_HELPING() ((void)0)
#endif

static const char *const names[] = {"nobody", "the caller", "another"};

/* The run comes to its last step while the thread is held: the others have done its chunks and all that follow. */
Test(cpu_helping, a_held_thread_is_helped, .timeout = 600) {
  one_op t;
  result want;
  NEEDS_HELPING();
  make_layers(&t, false);
  run_alone(&t, &want);
  for (int32_t threads = 2; threads <= 4; threads++) {
    opened o;
    char what[60];
    open_held(&t, threads, &o);
    cr_assert(o.plan->base.separate && o.plan->segments[0].base.separate);
    cr_assert_eq(run_held(&o, NOBODY, FINISHES, 0), TERN_OK);
    for (int run = 0; run < 20; run++)
      for (who who = CALLER; who <= ANOTHER; who++) {
        snprintf(what, sizeof what, "%d threads, %s is held", (int)threads, names[who]);
        cr_assert_eq(run_held(&o, who, FINISHES, PATIENCE_MS), TERN_OK, "%s: %s", what, tern_last_error());
        cr_assert_eq(hold.held, 1, "%s: it was not", what);
        cr_assert_eq(hold.late, 0, "%s: nobody has helped", what);
        check_result(&t, &o, &want, what);
      }
    close_held(&t, &o);
  }
  drop(&t, &want);
  end(&t);
}

/* A step that fails, or a cancellation, while a thread is held: the run ends with that, and the next one is right. */
Test(cpu_helping, a_run_ends_early_with_a_held_thread, .timeout = 600) {
  one_op t;
  result want;
  NEEDS_HELPING();
  make_layers(&t, false);
  run_alone(&t, &want);
  for (int32_t threads = 2; threads <= 4; threads++) {
    opened o;
    char what[60];
    open_held(&t, threads, &o);
    for (int run = 0; run < 4; run++)
      for (who who = CALLER; who <= ANOTHER; who++) {
        snprintf(what, sizeof what, "%d threads, %s is held", (int)threads, names[who]);
        cr_expect_eq(run_held(&o, who, FAILS, PATIENCE_MS), TERN_STATUS_INTERNAL, "%s", what);
        cr_expect_not_null(strstr(tern_last_error(), "made to fail at chunk 0"), "%s: %s", what, tern_last_error());
        cr_expect_eq(hold.late, 0, "%s: nobody has helped", what);
        cr_expect_eq(run_held(&o, who, IS_CANCELLED, PATIENCE_MS), TERN_STATUS_CANCELLED, "%s", what);
        cr_expect_eq(hold.late, 0, "%s: nobody has helped", what);
        cr_expect_eq(run_held(&o, who, FINISHES, PATIENCE_MS), TERN_OK, "%s: %s", what, tern_last_error());
        check_result(&t, &o, &want, what);
      }
    close_held(&t, &o);
  }
  drop(&t, &want);
  end(&t);
}

/* Where values share memory a chunk must not be done again: all wait, and every chunk runs once. */
Test(cpu_helping, none_where_values_share_memory, .timeout = 600) {
  one_op t;
  result want;
  make_layers(&t, true);
  run_alone(&t, &want);
  for (int32_t threads = 2; threads <= 4; threads++) {
    opened o;
    char what[60];
    open_held(&t, threads, &o);
    cr_assert(!o.plan->base.separate && !o.plan->segments[0].base.separate);
    cr_assert_eq(run_held(&o, NOBODY, FINISHES, 0), TERN_OK);
    uint32_t calls = atomic_load(&hold.calls);
    for (int run = 0; run < 3; run++) {
      snprintf(what, sizeof what, "%d threads", (int)threads);
      cr_assert_eq(run_held(&o, ANOTHER, FINISHES, 100), TERN_OK, "%s: %s", what, tern_last_error());
      cr_expect(hold.held && hold.late, "%s: the run went on without the held thread", what);
      cr_expect_eq(atomic_load(&hold.calls), calls, "%s: %u calls for %u chunks", what,
                   (unsigned)atomic_load(&hold.calls), (unsigned)calls);
      check_result(&t, &o, &want, what);
    }
    close_held(&t, &o);
  }
  drop(&t, &want);
  end(&t);
}
