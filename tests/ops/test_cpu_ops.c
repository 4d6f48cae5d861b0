/* Every CPU kernel against the op's reference: all instruction sets of this machine, odd sizes, and the same
 * bits on 1, 2 and 4 threads. One node per case, through the real planner. */
#include "ops/op_builder.h"

#ifndef TERN_NO_CRITERION
#  define ON_ERROR(op, isa, error) ((void)0)
#endif
#include "cpu/cpu_features.h"
#include "cpu/cpu_fuse.h"
#include "cpu/cpu_program.h"

extern const tern__backend_api tern__backend_cpu;

typedef struct opened {
  tern__pool *pool;
  tern__backend *backend;
  tern__pack_cache *cache;
  tern__session_plan *plan;
  uint8_t *memory;
} opened;

static void open_plan(one_op *t, uint32_t isa, int32_t n_threads, opened *o) {
  cr_assert_eq(tern__pool_create(&t->alloc, n_threads, &o->pool), TERN_OK);
  tern__backend_env env = {.alloc = &t->alloc, .pool = o->pool};
  cr_assert_eq(tern__cpu_open_with(&env, isa, &o->backend), TERN_OK);
  cr_assert_eq(tern__pack_cache_create(&t->alloc, &o->cache), TERN_OK);
  tern__plan_options options = {.api = &tern__backend_cpu, .backend = o->backend, .host_api = &tern__backend_cpu,
                                .host_backend = o->backend, .cache = o->cache, .kv = t->kv,
                                .numerics = t->numerics, .n_threads = n_threads};
  cr_assert_eq(tern__plan_create(&t->alloc, t->graph, t->feeds, &options, &o->plan), TERN_OK, "%s",
               tern_last_error());
  o->memory = aligned_alloc(64, (o->plan->activation_bytes + 127) / 64 * 64);
  memset(o->memory, 0xff, o->plan->activation_bytes); /* NaN: unwritten elements are seen */
  tern__plan_bind(o->plan, o->memory);
  for (int i = 0; i < t->n_feeds; i++) tern__plan_bind_input(o->plan, i, t->feeds[i].data);
}

static void close_plan(one_op *t, opened *o) {
  tern__plan_destroy(&t->alloc, o->plan);
  tern__pack_cache_destroy(o->cache);
  tern__backend_cpu.close(o->backend);
  tern__pool_destroy(o->pool);
  free(o->memory);
}

static result run_graph(one_op *t, uint32_t isa, int32_t n_threads) {
  opened o;
  result r;
  open_plan(t, isa, n_threads, &o);
  cr_assert_eq(tern__backend_cpu.prepare(o.plan->segments[0].program, NULL, NULL), TERN_OK, "%s", tern_last_error());
  tern__run_args args = {.kv = t->kv};
  uint64_t before = t->alloc.live_bytes;
  for (int twice = 0; twice < 2; twice++)
    cr_assert_eq(tern__backend_cpu.run(o.plan->segments[0].program, &args), TERN_OK, "%s", tern_last_error());
  (void)before;
  keep(t, o.plan, &r);
  close_plan(t, &o);
  return r;
}

static result run_on(one_op *t, uint32_t isa, int32_t n_threads) {
  size_t alive = 0;
  for (size_t i = 0; i < tern__array_count(t->graph->nodes); i++) alive += !t->graph->nodes[i].dead;
  cr_assert_eq(alive, 1);
  return run_graph(t, isa, n_threads);
}

static result run_reference(one_op *t) {
  opened o;
  result r;
  tern__view in[MAX_INPUTS], out[4];
  open_plan(t, TERN__CPU_SCALAR, 1, &o);
  const tern__node *n = &t->graph->nodes[t->node];
  memset(in, 0, sizeof in);
  for (int i = 0; i < t->n_inputs; i++)
    if (t->ids[i] >= 0) in[i] = o.plan->base.views[t->ids[i]];
  for (int i = 0; i < t->n_outputs; i++) out[i] = o.plan->base.views[t->outs[i]];
  tern__op_call call = {n, t->graph, in, out, t->n_inputs, t->n_outputs, &t->alloc, t->kv, NULL};
  cr_assert_eq(t->op->reference(&call), TERN_OK, "%s", tern_last_error());
  keep(t, o.plan, &r);
  close_plan(t, &o);
  return r;
}

/* This machine's instruction sets, or those of them in TERN_TEST_SETS (a mask): emulated CPUs need not repeat
 * each other. */
static uint32_t sets(void) {
  const char *mask = getenv("TERN_TEST_SETS");
  uint32_t found = tern__cpu_features() & (mask ? (uint32_t)strtoul(mask, NULL, 0) : UINT32_MAX);
  cr_assert(found, "this CPU has none of the instruction sets %s", mask);
  return found;
}

/* The op must have a kernel (not fall back), agree with its reference, and not depend on threads. */
static void check(one_op *t, double tolerance, const char *what) {
  result want = run_reference(t);
  for (uint32_t isa = 1; isa <= TERN__CPU_WASM128; isa <<= 1) {
    if (!(sets() & isa)) continue;
    result first = run_on(t, isa, 1);
    for (int i = 0; i < t->n_outputs; i++) {
      double d = distance(&first, &want, i);
      ON_ERROR(t->op->name, isa, d);
      cr_expect(d <= tolerance, "%s %s, instruction set %u, output %d: error %.3g > %.3g", t->op->name, what,
                isa, i, d, tolerance);
    }
    for (int32_t threads = 2; threads <= 4; threads += 2) {
      result more = run_on(t, isa, threads);
      for (int i = 0; i < t->n_outputs; i++)
        cr_expect(!memcmp(first.data[i], more.data[i], first.views[i].size_bytes),
                  "%s %s, instruction set %u: %d threads differ", t->op->name, what, isa, threads);
      drop(t, &more);
    }
    drop(t, &first);
  }
  drop(t, &want);
}

#include "ops/op_cases.h"

/* A row must not depend on how many rows are computed with it. */
Test(cpu_linear, one_row_equals_many) {
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_F16, TERN_DTYPE_Q4_0, TERN_DTYPE_Q4_K,
                              TERN_DTYPE_Q6_K};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (uint32_t isa = 1; isa <= TERN__CPU_WASM128; isa <<= 1) {
      enum { M = 29, K = 512, N = 50 };
      one_op many, one;
      if (!(sets() & isa)) continue;
      begin(&many, "Linear", "tern", 1);
      float *x = input(&many, TERN_DTYPE_F32, 2, M, K);
      void *w = constant(&many, types[i], 2, N, K);
      if (tern__dtype_is_block(types[i]))
        fill_blocks(w, types[i], many.graph->values[many.ids[1]].size_bytes);
      node(&many, 1, 1);
      result all = run_on(&many, isa, 2);
      for (int row = 0; row < M; row += 7) {
        begin(&one, "Linear", "tern", 1);
        memcpy(input(&one, TERN_DTYPE_F32, 2, 1, K), x + row * K, K * sizeof *x);
        memcpy(constant(&one, types[i], 2, N, K), w, many.graph->values[many.ids[1]].size_bytes);
        node(&one, 1, 1);
        result r = run_on(&one, isa, 1);
        cr_expect(!memcmp(r.data[0], (float *)all.data[0] + row * N, N * sizeof(float)),
                  "%s row %d, instruction set %u", tern_dtype_name(types[i]), row, isa);
        drop(&one, &r);
        end(&one);
      }
      drop(&many, &all);
      end(&many);
    }
}

/* ---- several nodes as one ---- */

/* The graph fused gives the bits of the graph as it was, on every instruction set, for one thread and for four. */
static void check_fused(one_op *t, const char *kind, const char *what) {
  enum { SETS = 16 };
  result want[SETS];
  int n = 0;
  for (uint32_t isa = 1; isa <= TERN__CPU_WASM128; isa <<= 1)
    if (sets() & isa) want[n++] = run_graph(t, isa, 1);
  cr_assert_eq(tern__cpu_fuse(t->graph, true), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(tern__array_count(t->graph->nodes), 1, "%s: not one node", what);
  cr_assert_str_eq(tern__node_string(&t->graph->nodes[0], "kind", ""), kind);
  n = 0;
  for (uint32_t isa = 1; isa <= TERN__CPU_WASM128; isa <<= 1) {
    if (!(sets() & isa)) continue;
    for (int32_t threads = 1; threads <= 4; threads += 3) {
      result got = run_on(t, isa, threads);
      for (int i = 0; i < t->n_outputs; i++)
        cr_expect(!memcmp(got.data[i], want[n].data[i], want[n].views[i].size_bytes),
                  "%s, instruction set %u, %d threads: output %d differs", what, isa, threads, i);
      drop(t, &got);
    }
    drop(t, &want[n++]);
  }
}

enum { FUSED_LINEAR, FUSED_MATMUL, FUSED_CHANNELS, FUSED_CHANNELS_K_MAJOR, FUSED_PRODUCTS };

static tern__value_id add_product(one_op *t, int form, int n, int k) {
  static const char *const names[] = {"Linear", "MatMul", "ChannelLinear", "ChannelLinear"};
  bool channels = form >= FUSED_CHANNELS, k_major = form == FUSED_MATMUL || form == FUSED_CHANNELS_K_MAJOR;
  tern__value_id in[3] = {t->ids[0]}, out;
  constant(t, channels ? TERN_DTYPE_I8 : TERN_DTYPE_F32, 2, k_major ? k : n, k_major ? n : k);
  in[1] = t->ids[t->n_inputs - 1];
  if (channels) constant(t, TERN_DTYPE_F32, 1, n), in[2] = t->ids[t->n_inputs - 1];
  out = add_node(t, names[form], form == FUSED_MATMUL ? "" : "tern", in, channels ? 3 : 2, 1, &out);
  if (channels) tern__node_set_int(t->graph, t->node, "k_major", k_major);
  return out;
}

Test(cpu_fused, linear_bias) {
  static const int rows[] = {1, 2, 29, 150};
  for (int form = 0; form < FUSED_PRODUCTS; form++)
    for (int r = 0; r < 4; r++)
      for (int swapped = 0; swapped < 2; swapped++) {
        one_op t;
        char what[80];
        tern__value_id in[2], out;
        begin(&t, "Fused", "tern", 1);
        input(&t, TERN_DTYPE_F32, 3, 1, rows[r], 75);
        in[swapped] = add_product(&t, form, 77, 75);
        constant(&t, TERN_DTYPE_F32, 1, 77), in[!swapped] = t.ids[t.n_inputs - 1];
        add_output(&t, add_node(&t, "Add", "", in, 2, 1, &out));
        snprintf(what, sizeof what, "product %d, %d rows%s", form, rows[r], swapped ? ", bias first" : "");
        check_fused(&t, "linear_bias", what);
        end(&t);
      }
}

static tern__value_id add_sum(one_op *t, int form, bool swapped) {
  tern__value_id in[2], out;
  in[swapped] = add_product(t, form, 77, 75);
  constant(t, TERN_DTYPE_F32, 1, 77), in[!swapped] = t->ids[t->n_inputs - 1];
  return add_node(t, "Add", "", in, 2, 1, &out);
}

/* An elementwise function of the sum belongs to it. Each kernel works on rows of a chunk here, on pieces of all rows
 * where it is a step of its own. */
Test(cpu_fused, linear_bias_and_activation) {
  static const struct { const char *op, *domain, *approximate; } functions[] = {
      {"Gelu", "", NULL}, {"Gelu", "", "none"}, {"Gelu", "", "tanh"}, {"Gelu", "com.microsoft", NULL},
      {"Relu", "", NULL}, {"Sigmoid", "", NULL}, {"Tanh", "", NULL}, {"Erf", "", NULL}, {"Softplus", "", NULL},
      {"Mish", "", NULL}, {"HardSwish", "", NULL}, {"Softsign", "", NULL}, {"Exp", "", NULL}, {"Neg", "", NULL}};
  static const int rows[] = {1, 2, 29, 150};
  for (size_t f = 0; f < sizeof functions / sizeof *functions; f++)
    for (int form = 0; form < FUSED_PRODUCTS; form++)
      for (int r = 0; r < 4; r++) {
        one_op t;
        char what[100];
        tern__value_id sum, out;
        begin(&t, "Fused", "tern", 1);
        input(&t, TERN_DTYPE_F32, 3, 1, rows[r], 75);
        sum = add_sum(&t, form, r & 1);
        add_output(&t, add_node(&t, functions[f].op, functions[f].domain, &sum, 1, 1, &out));
        if (functions[f].approximate) tern__node_set_string(t.graph, t.node, "approximate", functions[f].approximate);
        snprintf(what, sizeof what, "product %d, %d rows, %s %s", form, rows[r], functions[f].op,
                 functions[f].approximate ? functions[f].approximate : "");
        check_fused(&t, "linear_bias", what);
        cr_expect_eq(t.graph->nodes[0].n_parts, 3, "%s: %d parts", what, (int)t.graph->nodes[0].n_parts);
        end(&t);
      }
}

/* The nodes that are left and the parts of the first one; the bits stay. */
static void check_left(one_op *t, size_t n_nodes, int32_t n_parts, const char *what) {
  enum { SETS = 16 };
  result want[SETS];
  int n = 0;
  for (uint32_t isa = 1; isa <= TERN__CPU_WASM128; isa <<= 1)
    if (sets() & isa) want[n++] = run_graph(t, isa, 1);
  cr_assert_eq(tern__cpu_fuse(t->graph, true), TERN_OK, "%s", tern_last_error());
  size_t nodes = tern__array_count(t->graph->nodes);
  cr_expect_eq(nodes, n_nodes, "%s: %zu nodes", what, nodes);
  cr_expect_eq(t->graph->nodes[0].n_parts, n_parts, "%s: %d parts", what, (int)t->graph->nodes[0].n_parts);
  n = 0;
  for (uint32_t isa = 1; isa <= TERN__CPU_WASM128; isa <<= 1) {
    if (!(sets() & isa)) continue;
    result got = run_graph(t, isa, 2);
    for (int i = 0; i < t->n_outputs; i++)
      cr_expect(!memcmp(got.data[i], want[n].data[i], want[n].views[i].size_bytes),
                "%s, instruction set %u: output %d differs", what, isa, i);
    drop(t, &got), drop(t, &want[n++]);
  }
}

Test(cpu_fused, not_an_activation_of_the_sum) {
  enum { SUM_IS_OUTPUT, SUM_READ_TWICE, BY_ONE_NODE, WITH_ALPHA, NO_ADD, BEFORE_ADD, KINDS };
  static const struct { const char *what; size_t n_nodes; int32_t n_parts; } left[KINDS] = {
      {"the sum is an output", 2, 2}, {"two read the sum", 3, 2}, {"one reads it twice", 2, 2},
      {"a function with a parameter", 2, 2}, {"no Add", 2, 0}, {"before Add", 3, 0}};
  for (int kind = 0; kind < KINDS; kind++) {
    one_op t;
    tern__value_id in[2], out;
    begin(&t, "Fused", "tern", 1);
    input(&t, TERN_DTYPE_F32, 3, 1, 5, 75);
    if (kind < NO_ADD) {
      in[0] = in[1] = add_sum(&t, FUSED_LINEAR, false);
      if (kind == SUM_IS_OUTPUT) add_output(&t, in[0]);
      if (kind == BY_ONE_NODE) add_output(&t, add_node(&t, "Mul", "", in, 2, 1, &out));
      else add_output(&t, add_node(&t, kind == WITH_ALPHA ? "LeakyRelu" : "Relu", "", in, 1, 1, &out));
      if (kind == SUM_READ_TWICE) add_output(&t, add_node(&t, "Sigmoid", "", in, 1, 1, &out));
    } else {
      in[0] = add_product(&t, FUSED_LINEAR, 77, 75);
      in[0] = add_node(&t, "Relu", "", in, 1, 1, &out);
      constant(&t, TERN_DTYPE_F32, 1, 77), in[1] = t.ids[t.n_inputs - 1];
      add_output(&t, kind == NO_ADD ? in[0] : add_node(&t, "Add", "", in, 2, 1, &out));
    }
    check_left(&t, left[kind].n_nodes, left[kind].n_parts, left[kind].what);
    end(&t);
  }
}

/* What must stay as it is. */
Test(cpu_fused, not_a_bias) {
  enum { WIDER, USED_TWICE, COMPUTED, KINDS };
  for (int kind = 0; kind < KINDS; kind++) {
    one_op t;
    tern__value_id in[2], out;
    begin(&t, "Fused", "tern", 1);
    input(&t, TERN_DTYPE_F32, 3, 2, 3, 32);
    in[0] = add_product(&t, FUSED_LINEAR, 1, 32);
    if (kind == COMPUTED) input(&t, TERN_DTYPE_F32, 1, 1);
    else constant(&t, TERN_DTYPE_F32, 1, kind == WIDER ? 8 : 1);
    in[1] = t.ids[t.n_inputs - 1];
    add_output(&t, add_node(&t, "Add", "", in, 2, 1, &out));
    if (kind == USED_TWICE) add_output(&t, in[0]);
    cr_assert_eq(tern__cpu_fuse(t.graph, true), TERN_OK);
    cr_expect_eq(tern__array_count(t.graph->nodes), 2, "kind %d was fused", kind);
    end(&t);
  }
}

Test(cpu_fused, skip_norm) {
  static const char *const norms[] = {"LayerNormalization", "SimplifiedLayerNormalization"};
  for (int norm = 0; norm < 2; norm++)
    for (int shape = 0; shape < 4; shape++) /* the same; one sequence for all, second or first; one row for all */
      for (int sum_too = 0; sum_too < 2; sum_too++) {
        one_op t;
        char what[80];
        tern__value_id in[3], sum, out;
        begin(&t, "Fused", "tern", 17);
        input(&t, TERN_DTYPE_F32, 3, shape == 2 ? 1 : 3, 5, 99), in[0] = t.ids[0];
        if (shape == 3) input(&t, TERN_DTYPE_F32, 1, 99);
        else input(&t, TERN_DTYPE_F32, 3, shape == 1 ? 1 : 3, 5, 99);
        in[1] = t.ids[1];
        sum = add_node(&t, "Add", "", in, 2, 1, &out);
        in[0] = sum;
        for (int i = 1; i < 3; i++) constant(&t, TERN_DTYPE_F32, 1, 99), in[i] = t.ids[t.n_inputs - 1];
        add_output(&t, add_node(&t, norms[norm], "", in, norm ? 2 : 3, 1, &out));
        tern__node_set_float(t.graph, t.node, "epsilon", 0.01f);
        if (sum_too) add_output(&t, sum);
        snprintf(what, sizeof what, "%s, shapes %d%s", norms[norm], shape, sum_too ? ", and the sum" : "");
        check_fused(&t, "skip_norm", what);
        end(&t);
      }
}

Test(cpu_fused, what_repeats_over_a_shape) {
  const tern__shape whole = {3, {2, 5, 9}}, row = {1, {9}}, one = {1, {1}}, ones = {3, {1, 1, 1}}, rows = {2, {5, 9}},
                    columns = {3, {2, 5, 1}}, sequence = {3, {1, 5, 9}};
  cr_expect(tern__shape_repeats_over(&whole, &whole) && tern__shape_repeats_over(&row, &whole) &&
            tern__shape_repeats_over(&rows, &whole) && tern__shape_repeats_over(&sequence, &whole));
  cr_expect(!tern__shape_repeats_over(&one, &whole) && !tern__shape_repeats_over(&ones, &whole) &&
            !tern__shape_repeats_over(&columns, &whole) && !tern__shape_repeats_over(&whole, &row));
}

/* ---- failures ---- */

typedef struct failing { tern_allocator fns; int left; } failing;
static void *fail_alloc(void *user, size_t size, size_t align) {
  failing *f = user;
  (void)align;
  return f->left-- > 0 ? aligned_alloc(64, (size + 127) / 64 * 64) : NULL;
}
static void fail_free(void *user, void *ptr, size_t size, size_t align) {
  (void)user, (void)size, (void)align;
  free(ptr);
}

/* Allocation k = 0, 1, ... fails in compile and prepare: always OUT_OF_MEMORY, nothing kept. */
Test(cpu_failures, out_of_memory) {
  one_op t;
  begin(&t, "Linear", "tern", 1);
  input(&t, TERN_DTYPE_F32, 2, 3, 256);
  fill_blocks(constant(&t, TERN_DTYPE_Q4_K, 2, 33, 256), TERN_DTYPE_Q4_K, 33 * 144);
  node(&t, 1, 1);
  opened base;
  open_plan(&t, UINT32_MAX, 1, &base);
  bool worked = false;
  for (int k = 0; k < 200 && !worked; k++) {
    failing f = {.left = k};
    tern__alloc limited;
    tern__alloc_init(&limited, &(tern_allocator){fail_alloc, fail_free, &f}, 0);
    tern__pack_cache *cache = NULL;
    tern__program *program = NULL;
    tern__program_info info;
    tern__backend backend = *base.backend;
    backend.env.alloc = &limited;
    tern_status status = tern__pack_cache_create(&limited, &cache);
    if (status == TERN_OK)
      status = tern__backend_cpu.compile(&backend, &base.plan->base, cache, &program, &info);
    if (status == TERN_OK) status = tern__backend_cpu.prepare(program, NULL, NULL);
    worked = status == TERN_OK;
    cr_expect(worked || status == TERN_STATUS_OUT_OF_MEMORY, "allocation %d: %s", k,
              tern_status_name(status));
    tern__backend_cpu.destroy_program(program);
    tern__pack_cache_destroy(cache);
    cr_expect_eq(limited.live_bytes, 0, "allocation %d: memory is kept", k);
  }
  cr_expect(worked);
  close_plan(&t, &base);
  end(&t);
}

Test(cpu_failures, cancelled_and_allocation_free_run) {
  one_op t;
  opened o;
  begin(&t, "Linear", "tern", 1);
  input(&t, TERN_DTYPE_F32, 2, 64, 512);
  constant(&t, TERN_DTYPE_F32, 2, 512, 512);
  node(&t, 1, 1);
  open_plan(&t, UINT32_MAX, 2, &o);
  cr_assert_eq(tern__backend_cpu.prepare(o.plan->segments[0].program, NULL, NULL), TERN_OK);
  tern_cancel cancel = {0};
  tern__run_args args = {.cancel = &cancel};
  cr_expect_eq(tern__backend_cpu.run(o.plan->segments[0].program, &args), TERN_OK);
  t.alloc.budget_bytes = 1; /* from here on any allocation fails */
  cr_expect_eq(tern__backend_cpu.run(o.plan->segments[0].program, &args), TERN_OK);
  atomic_store(&cancel.set, 1);
  cr_expect_eq(tern__backend_cpu.run(o.plan->segments[0].program, &args), TERN_STATUS_CANCELLED);
  atomic_store(&cancel.set, 0);
  cr_expect_eq(tern__backend_cpu.run(o.plan->segments[0].program, &args), TERN_OK);
  t.alloc.budget_bytes = 0;
  close_plan(&t, &o);
  end(&t);
}

/* Rows that are evaluated together, as those of a draft are, have the bits of decoding row by row. */
static void check_few_rows(int rows, int window, float softcap) {
  enum { PAST = 700, HEADS = 6, KV_HEADS = 2, DIM = 48, HALF = 16 };
  static const int widths[] = {HEADS * DIM, KV_HEADS * DIM, KV_HEADS * DIM};
  for (uint32_t isa = 1; isa <= TERN__CPU_WASM128; isa <<= 1) {
    if (!(sets() & isa)) continue;
    one_op many, one;
    kv_build(&many, &(kv_shape){1, rows, PAST, rows, HEADS, KV_HEADS, DIM, HALF, false, window, softcap});
    kv_build(&one, &(kv_shape){1, 1, PAST + rows - 1, 1, HEADS, KV_HEADS, DIM, HALF, false, window, softcap});
    for (int i = 3; i < 5; i++) { /* the same tables */
      const tern__value *from = &many.graph->values[many.ids[i]], *to = &one.graph->values[one.ids[i]];
      cr_assert_eq(from->size_bytes, to->size_bytes);
      memcpy((void *)(uintptr_t)to->data, from->data, from->size_bytes);
    }
    many.kv->all_rows = true;
    result together = run_on(&many, isa, 2);
    size_t cells = (size_t)KV_HEADS * (size_t)(PAST + rows + 2) * DIM;
    memcpy(one.kv->k[0], many.kv->k[0], cells * sizeof(uint16_t));
    memcpy(one.kv->v[0], many.kv->v[0], cells * sizeof(uint16_t));
    for (int row = 0; row < rows; row++) {
      for (int i = 0; i < 3; i++)
        memcpy(one.feeds[i].data, (const float *)many.feeds[i].data + row * widths[i],
               (size_t)widths[i] * sizeof(float));
      one.kv->past[0] = PAST + row;
      result alone = run_on(&one, isa, 1);
      cr_expect(!memcmp(alone.data[0], (const float *)together.data[0] + row * widths[0],
                        (size_t)widths[0] * sizeof(float)),
                "instruction set %u: row %d of %d has other bits alone", isa, row, rows);
      drop(&one, &alone);
    }
    drop(&many, &together);
    end(&many), end(&one);
  }
}

Test(cpu_attention, few_rows_have_the_bits_of_one) {
  check_few_rows(2, -1, 0);
  check_few_rows(5, 100, 30);
  check_few_rows(16, -1, 0);
}

/* What was reserved for weights serves the next attempt. */
Test(cpu_failures, preparing_is_cancelled_and_repeated) {
  one_op t;
  opened o;
  begin(&t, "Linear", "tern", 1);
  input(&t, TERN_DTYPE_F32, 2, 3, 512);
  fill_blocks(constant(&t, TERN_DTYPE_Q8_0, 2, 200, 512), TERN_DTYPE_Q8_0, 200 * 512 / 32 * 34);
  node(&t, 1, 1);
  result want = run_on(&t, UINT32_MAX, 1);
  open_plan(&t, UINT32_MAX, 2, &o);
  tern_cancel cancel = {.set = 1};
  tern__program *program = o.plan->segments[0].program;
  cr_expect_eq(tern__backend_cpu.prepare(program, NULL, &cancel), TERN_STATUS_CANCELLED);
  uint64_t reserved = t.alloc.live_bytes;
  cr_expect_eq(tern__backend_cpu.prepare(program, NULL, &cancel), TERN_STATUS_CANCELLED);
  cr_expect_eq(t.alloc.live_bytes, reserved, "reserved once more");
  cr_expect_eq(tern__pack_cache_bytes(o.cache), 0, "nothing is packed");
  atomic_store(&cancel.set, 0);
  cr_assert_eq(tern__backend_cpu.prepare(program, NULL, &cancel), TERN_OK, "%s", tern_last_error());
  cr_expect_gt(tern__pack_cache_bytes(o.cache), 0);
  tern__run_args args = {0};
  cr_assert_eq(tern__backend_cpu.run(program, &args), TERN_OK, "%s", tern_last_error());
  cr_expect(!memcmp(o.plan->base.views[t.outs[0]].data, want.data[0], want.views[0].size_bytes));
  close_plan(&t, &o);
  drop(&t, &want);
  end(&t);
}

/* A failing step ends the run with its status and sentence, on whichever thread it ran. */
Test(cpu_failures, error_of_a_step) {
  one_op t;
  opened o;
  begin(&t, "KvAttention", "tern", 1);
  for (int i = 0; i < 3; i++) input(&t, TERN_DTYPE_F32, 3, 1, 4, 32);
  node(&t, 1, 1);
  set_int(&t, "layer", 0), set_int(&t, "num_heads", 2), set_int(&t, "kv_num_heads", 2);
  open_plan(&t, UINT32_MAX, 2, &o);
  cr_assert_eq(tern__backend_cpu.prepare(o.plan->segments[0].program, NULL, NULL), TERN_OK);
  tern__run_args args = {0};
  cr_expect_eq(tern__backend_cpu.run(o.plan->segments[0].program, &args), TERN_STATUS_INVALID_STATE);
  cr_expect_not_null(strstr(tern_last_error(), "KV cache"), "%s", tern_last_error());
  close_plan(&t, &o);
  end(&t);
}

/* Quantizing X must not turn NaN or infinity into numbers. */
Test(cpu_linear, not_a_number_stays) {
  enum { M = 3, K = 256, N = 20 };
  for (uint32_t isa = 1; isa <= TERN__CPU_WASM128; isa <<= 1) {
    one_op t;
    if (!(tern__cpu_features() & isa)) continue;
    begin(&t, "Linear", "tern", 1);
    float *x = input(&t, TERN_DTYPE_F32, 2, M, K);
    fill_blocks(constant(&t, TERN_DTYPE_Q8_0, 2, N, K), TERN_DTYPE_Q8_0, (size_t)N * K / 32 * 34);
    x[5] = NAN, x[2 * K + 77] = INFINITY;
    node(&t, 1, 1);
    result r = run_on(&t, isa, 2);
    for (int i = 0; i < M * N; i++) {
      float y = ((float *)r.data[0])[i];
      cr_expect(i / N == 1 ? isfinite(y) : !isfinite(y), "instruction set %u: row %d has %g", isa, i / N,
                (double)y);
    }
    drop(&t, &r);
    end(&t);
  }
}

/* Projections of one X run in one phase: all right on any number of threads, and nobody's memory is
 * overwritten. */
Test(cpu_linear, siblings_run_together) {
  enum { K = 256, N = 200, COUNT = 3 };
  const tern_dtype types[COUNT] = {TERN_DTYPE_Q4_1, TERN_DTYPE_Q8_0, TERN_DTYPE_F32};
  for (int m = 1; m <= 9; m += 8) {
    one_op t;
    tern__value_id weights[COUNT], sums[2];
    int32_t last = -1;
    begin(&t, "Linear", "tern", 1);
    input(&t, TERN_DTYPE_F32, 2, m, K);
    for (int i = 0; i < COUNT; i++) {
      void *w = constant(&t, types[i], 2, N, K);
      if (tern__dtype_is_block(types[i])) fill_blocks(w, types[i], t.graph->values[t.ids[i + 1]].size_bytes);
      weights[i] = t.ids[i + 1];
    }
    for (int i = 0; i < COUNT; i++) {
      tern__graph_add_value(t.graph, tern__arena_printf(&t.arena, "y%d", i), TERN_DTYPE_NONE, -1, NULL,
                            &t.outs[i]);
      tern__graph_add_node(t.graph, t.op, "product", 1, (tern__value_id[]){t.ids[0], weights[i]}, 2,
                           &t.outs[i], 1, &last);
    }
    const tern__op_def *plus = tern__op_find("Add", "", 13);
    for (int i = 0; i < 2; i++) {
      tern__graph_add_value(t.graph, i ? "sum" : "part", TERN_DTYPE_NONE, -1, NULL, &sums[i]);
      tern__graph_add_node(t.graph, plus, "add", 13,
                           (tern__value_id[]){i ? sums[0] : t.outs[0], t.outs[i + 1]}, 2, &sums[i], 1, &last);
    }
    tern__graph_add_output(t.graph, sums[1]);
    t.outs[0] = sums[1], t.n_outputs = 1;
    float want[9 * N] = {0};
    for (int i = 0; i < COUNT; i++)
      for (int n = 0; n < N; n++) {
        float row[K];
        const tern__value *w = &t.graph->values[weights[i]];
        tern__dequantize_row(types[i], (const uint8_t *)w->data + (size_t)n * (w->size_bytes / N), row, K);
        for (int r = 0; r < m; r++)
          for (int k = 0; k < K; k++) want[r * N + n] += row[k] * ((float *)t.feeds[0].data)[r * K + k];
      }
    for (int threads = 1; threads <= 4; threads++) {
      opened o;
      double error = 0, norm = 0;
      open_plan(&t, UINT32_MAX, threads, &o);
      cr_assert_eq(tern__backend_cpu.prepare(o.plan->segments[0].program, NULL, NULL), TERN_OK);
      cr_expect_eq(tern__array_count(o.plan->segments[0].program->ends), 3, "quantize, products, sums");
      for (int run = 0; run < 50; run++)
        cr_assert_eq(tern__backend_cpu.run(o.plan->segments[0].program, &(tern__run_args){0}), TERN_OK);
      const float *y = o.plan->base.views[sums[1]].data;
      for (int e = 0; e < m * N; e++) error += (y[e] - want[e]) * (y[e] - want[e]), norm += want[e] * want[e];
      cr_expect(sqrt(error / norm) < quantized_error, "m %d, %d threads: error %g", m, threads,
                sqrt(error / norm));
      close_plan(&t, &o);
    }
    end(&t);
  }
}
