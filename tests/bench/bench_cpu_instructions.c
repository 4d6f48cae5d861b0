/* How many instructions the CPU backend's hot paths take, for count_instructions.py, which says how they are counted:
 *
 *   bench_cpu_instructions list              a line a case: its name, and its multiply-adds
 *   bench_cpu_instructions CASE SET REPEAT   runs it so often; SET as in cpu_features.h
 *   bench_cpu_instructions CASE SET step     runs it once, one instruction after the other, and prints how many (Linux)
 *
 * One thread, the shapes of one layer of a small model; the case is compiled, packed and run once before. */
#ifndef TERN_NO_CRITERION
#  define TERN_NO_CRITERION
#endif
#include "ops/op_builder.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#  include <sys/ptrace.h>
#endif

#include "cpu/cpu_features.h"
#include "cpu/cpu_program.h"

extern const tern__backend_api tern__backend_cpu;

typedef enum path { BLOCKS, CHANNEL, ENCODER, CACHE } path;

typedef struct instruction_case {
  const char *name;
  path path;
  tern_dtype dtype;                     /* of the weights */
  int m, k, n;                          /* of a product: rows, columns, rows of the weights */
  int heads, kv_heads, dim, rows, past; /* of attention */
} instruction_case;

#define PRODUCTS(name, path, dtype) \
  {name " matvec", path, dtype, 1, 1024, 1024, 0, 0, 0, 0, 0}, {name " GEMM", path, dtype, 64, 512, 512, 0, 0, 0, 0, 0}

static const instruction_case cases[] = {
    PRODUCTS("Q4_0", BLOCKS, TERN_DTYPE_Q4_0),
    PRODUCTS("Q4_1", BLOCKS, TERN_DTYPE_Q4_1),
    PRODUCTS("Q8_0", BLOCKS, TERN_DTYPE_Q8_0),
    PRODUCTS("f32", BLOCKS, TERN_DTYPE_F32),
    PRODUCTS("int8 per channel", CHANNEL, TERN_DTYPE_I8),
    {"attention, encoder of 128 tokens", ENCODER, TERN_DTYPE_F32, 0, 0, 0, 12, 12, 32, 128, 0},
    {"attention, prefill of 128 tokens", CACHE, TERN_DTYPE_F32, 0, 0, 0, 9, 3, 64, 128, 0},
    {"attention, decode behind 511 tokens", CACHE, TERN_DTYPE_F32, 0, 0, 0, 9, 3, 64, 1, 511},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static double multiply_adds(const instruction_case *c) {
  if (c->path == BLOCKS || c->path == CHANNEL) return (double)c->m * c->k * c->n;
  double keys = c->path == ENCODER ? (double)c->rows * c->rows : c->rows * (c->past + (c->rows + 1) / 2.0);
  return 2 * keys * c->heads * c->dim; /* scores, and the sum over the values */
}

static void build_product(one_op *t, const instruction_case *c) {
  begin(t, c->path == CHANNEL ? "ChannelLinear" : "Linear", "tern", 1);
  input(t, TERN_DTYPE_F32, 2, c->m, c->k);
  void *w = constant(t, c->dtype, 2, c->n, c->k);
  if (tern__dtype_is_block(c->dtype)) fill_blocks(w, c->dtype, t->graph->values[t->ids[1]].size_bytes);
  if (c->path == CHANNEL) constant(t, TERN_DTYPE_F32, 1, c->n);
  node(t, 1, 1);
}

static void build_attention(one_op *t, const instruction_case *c) {
  bool cached = c->path == CACHE;
  begin(t, cached ? "KvAttention" : "EncoderAttention", "tern", 1);
  input(t, TERN_DTYPE_F32, 3, 1, c->rows, c->heads * c->dim);
  for (int i = 0; i < 2; i++) input(t, TERN_DTYPE_F32, 3, 1, c->rows, c->kv_heads * c->dim);
  for (int i = 0; i < 2 && cached; i++) constant(t, TERN_DTYPE_F32, 2, c->past + c->rows, c->dim / 2); /* cos, sin */
  node(t, 1, 1);
  set_int(t, "num_heads", c->heads);
  if (!cached) return;
  int32_t *sizes = tern__arena_alloc(&t->arena, 2 * sizeof *sizes); /* the cache keeps a pointer to them */
  sizes[0] = c->kv_heads, sizes[1] = c->dim;
  tern__kv_layout layout = {1, &sizes[0], &sizes[1]};
  set_int(t, "layer", 0), set_int(t, "kv_num_heads", c->kv_heads);
  cr_assert_eq(tern__kv_cache_create(&t->alloc, &layout, 1, c->past + c->rows, true, &t->kv), TERN_OK);
  size_t n = (size_t)c->kv_heads * (size_t)(c->past + c->rows) * (size_t)c->dim;
  for (size_t i = 0; i < n; i++)
    t->kv->k[0][i] = tern__f32_to_f16(noise()), t->kv->v[0][i] = tern__f32_to_f16(noise());
  t->kv->past[0] = c->past, t->kv->fresh[0] = c->rows;
}

typedef struct opened { tern__session_plan *plan; tern__run_args args; } opened;

static void run(const opened *o) {
  if (tern__backend_cpu.run(o->plan->segments[0].program, &o->args) == TERN_OK) return;
  printf("%s\n", tern_last_error());
  exit(1);
}

#ifdef __linux__
/* Instructions between the two stops of a child that is moved on one by one. */
static long step_through(const opened *o, bool empty) {
  int state;
  long count = 0;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(1);
    raise(SIGSTOP);
    if (!empty) run(o);
    raise(SIGSTOP);
    _exit(0);
  }
  if (child < 0 || waitpid(child, &state, 0) < 0 || !WIFSTOPPED(state)) return -1;
  do {
    count++;
    if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) || waitpid(child, &state, 0) < 0) return -1;
  } while (WIFSTOPPED(state) && WSTOPSIG(state) == SIGTRAP);
  bool stopped = WIFSTOPPED(state) && WSTOPSIG(state) == SIGSTOP;
  kill(child, SIGKILL);
  waitpid(child, &state, 0);
  return stopped ? count : -1;
}

static int print_steps(const opened *o) {
  long all = step_through(o, false), around = step_through(o, true);
  if (all < 0 || around < 0) return 77; /* where processes may not be traced */
  printf("%ld\n", all - around);
  return 0;
}
#else
static int print_steps(const opened *o) { return (void)o, 77; }
#endif

static int count(const instruction_case *c, uint32_t set, const char *how) {
  one_op t;
  opened o;
  tern__pool *pool;
  tern__backend *backend;
  tern__pack_cache *cache;
  if (!(tern__cpu_features() & set)) return 77;
  (c->path == BLOCKS || c->path == CHANNEL ? build_product : build_attention)(&t, c);
  cr_assert_eq(tern__pool_create(&t.alloc, 1, &pool), TERN_OK);
  tern__backend_env env = {.alloc = &t.alloc, .pool = pool};
  cr_assert_eq(tern__cpu_open_with(&env, set, &backend), TERN_OK);
  cr_assert_eq(tern__pack_cache_create(&t.alloc, &cache), TERN_OK);
  tern__plan_options options = {.api = &tern__backend_cpu, .backend = backend, .host_api = &tern__backend_cpu,
                                .host_backend = backend, .cache = cache, .kv = t.kv,
                                .numerics = TERN_NUMERICS_FAST, .n_threads = 1};
  cr_assert_eq(tern__plan_create(&t.alloc, t.graph, t.feeds, &options, &o.plan), TERN_OK, "%s", tern_last_error());
  uint8_t *memory = aligned_alloc(64, (o.plan->activation_bytes + 127) / 64 * 64);
  tern__plan_bind(o.plan, memory);
  for (int i = 0; i < t.n_feeds; i++) tern__plan_bind_input(o.plan, i, t.feeds[i].data);
  cr_assert_eq(tern__backend_cpu.prepare(o.plan->segments[0].program, NULL, NULL), TERN_OK, "%s", tern_last_error());
  o.args = (tern__run_args){.kv = t.kv};
  run(&o);
  int rc = 0;
  if (!strcmp(how, "step")) rc = print_steps(&o);
  else
    for (long i = strtol(how, NULL, 10); i > 0; i--) run(&o);
  tern__plan_destroy(&t.alloc, o.plan);
  tern__pack_cache_destroy(cache);
  tern__backend_cpu.close(backend);
  tern__pool_destroy(pool);
  free(memory);
  end(&t);
  return rc;
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "list")) {
    for (int i = 0; i < N_CASES; i++) printf("%s\t%.0f\n", cases[i].name, multiply_adds(&cases[i]));
    return 0;
  }
  for (int i = 0; i < N_CASES && argc == 4; i++)
    if (!strcmp(cases[i].name, argv[1])) return count(&cases[i], (uint32_t)strtoul(argv[2], NULL, 10), argv[3]);
  fputs("usage: bench_cpu_instructions list | CASE SET REPEAT|step\n", stderr);
  return 2;
}
