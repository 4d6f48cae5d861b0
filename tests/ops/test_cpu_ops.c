/* Every CPU kernel against the op's reference: all instruction sets of this machine, odd sizes, and the same
 * bits on 1, 2 and 4 threads. One node per case, through the real planner. */
#ifdef TERN_NO_CRITERION
#  include "unit/mini_criterion.h"
#else
#  include <criterion/criterion.h>
#  define ON_ERROR(op, isa, error) ((void)0)
#endif
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "cpu/cpu_features.h"
#include "cpu/cpu_program.h"
#include "ir/quants.h"
#include "runtime/kv_cache.h"
#include "runtime/plan.h"
#include "runtime/thread_pool.h"

extern const tern__backend_api tern__backend_cpu;

enum { MAX_INPUTS = 8 };

typedef struct one_op {
  tern__alloc alloc;
  tern__arena arena;
  tern__graph *graph;
  const tern__op_def *op;
  tern__value_id ids[MAX_INPUTS], outs[4];
  int n_inputs, n_outputs;
  tern__view feeds[MAX_INPUTS]; /* of graph inputs, in order */
  int n_feeds;
  int32_t node;
  tern__kv_cache *kv;
  tern_numerics numerics;
} one_op;

static uint32_t seed = 1;
static float noise(void) {
  seed = seed * 1664525u + 1013904223u;
  return (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
}

static void begin(one_op *t, const char *op, const char *domain, int32_t opset) {
  memset(t, 0, sizeof *t);
  tern__alloc_init(&t->alloc, NULL, 0);
  tern__arena_init(&t->arena, &t->alloc);
  cr_assert_eq(tern__graph_create(&t->alloc, &t->arena, &t->graph), TERN_OK);
  t->op = tern__op_find(op, domain, opset);
  cr_assert_not_null(t->op, "no op %s", op);
}

static void end(one_op *t) {
  tern__kv_cache_destroy(&t->alloc, t->kv);
  tern__graph_destroy(t->graph);
  tern__arena_deinit(&t->arena);
  cr_expect_eq(t->alloc.live_bytes, 0, "memory is kept");
}

static void *add(one_op *t, bool constant, tern_dtype dtype, int rank, va_list list) {
  char *name = tern__arena_printf(&t->arena, "in%d", t->n_inputs);
  tern__view v = {.dtype = dtype, .shape.rank = rank};
  for (int i = 0; i < rank; i++) v.shape.dims[i] = va_arg(list, int);
  cr_assert(tern__shape_bytes(dtype, &v.shape, &v.size_bytes));
  v.data = tern__arena_alloc(&t->arena, v.size_bytes + 64);
  tern__value_id *id = &t->ids[t->n_inputs++];
  if (constant)
    cr_assert_eq(
        tern__graph_add_constant(t->graph, name, dtype, rank, v.shape.dims, v.data, v.size_bytes, id),
        TERN_OK);
  else {
    cr_assert_eq(tern__graph_add_value(t->graph, name, dtype, rank, v.shape.dims, id), TERN_OK);
    tern__graph_add_input(t->graph, *id);
    t->feeds[t->n_feeds++] = v;
  }
  size_t n;
  tern__shape_count(&v.shape, &n);
  if (dtype == TERN_DTYPE_F32)
    for (size_t i = 0; i < n; i++) ((float *)v.data)[i] = noise();
  else if (dtype == TERN_DTYPE_F16)
    for (size_t i = 0; i < n; i++) ((uint16_t *)v.data)[i] = tern__f32_to_f16(noise());
  else if (dtype == TERN_DTYPE_BF16)
    for (size_t i = 0; i < n; i++) ((uint16_t *)v.data)[i] = tern__f32_to_bf16(noise());
  else
    for (size_t i = 0; i < v.size_bytes; i++) ((uint8_t *)v.data)[i] = (uint8_t)(noise() * 128 + 128);
  return v.data;
}
static void *input(one_op *t, tern_dtype dtype, int rank, ...) {
  va_list list;
  va_start(list, rank);
  void *data = add(t, false, dtype, rank, list);
  va_end(list);
  return data;
}
static void *constant(one_op *t, tern_dtype dtype, int rank, ...) {
  va_list list;
  va_start(list, rank);
  void *data = add(t, true, dtype, rank, list);
  va_end(list);
  return data;
}

static void node(one_op *t, int n_outputs, int32_t opset) {
  t->n_outputs = n_outputs;
  for (int i = 0; i < n_outputs; i++) {
    cr_assert_eq(tern__graph_add_value(t->graph, tern__arena_printf(&t->arena, "out%d", i), TERN_DTYPE_NONE,
                                       -1, NULL, &t->outs[i]),
                 TERN_OK);
    tern__graph_add_output(t->graph, t->outs[i]);
  }
  cr_assert_eq(
      tern__graph_add_node(t->graph, t->op, "node", opset, t->ids, t->n_inputs, t->outs, n_outputs, &t->node),
      TERN_OK);
}
static void set_int(one_op *t, const char *name, int64_t v) {
  tern__node_set_int(t->graph, t->node, name, v);
}
static void set_float(one_op *t, const char *name, float v) {
  tern__node_set_float(t->graph, t->node, name, v);
}

/* Block-quantized rows with sane scales: random bytes, f16 scales in +-2^-6. */
static void fill_blocks(void *data, tern_dtype dtype, size_t bytes) {
  const tern__dtype_info *info = tern__dtype_info_of(dtype);
  for (size_t b = 0; b < bytes; b += info->block_bytes) {
    uint8_t *block = (uint8_t *)data + b;
    uint16_t d = tern__f32_to_f16(noise() / 64), m = tern__f32_to_f16(noise() / 64);
    if (dtype == TERN_DTYPE_Q6_K) memcpy(block + 208, &d, 2);
    else memcpy(block, &d, 2);
    if (dtype == TERN_DTYPE_Q4_1 || dtype == TERN_DTYPE_Q5_1 || dtype == TERN_DTYPE_Q4_K ||
        dtype == TERN_DTYPE_Q5_K)
      memcpy(block + 2, &m, 2);
  }
}

typedef struct result { void *data[4]; tern__view views[4]; } result;

static void drop(one_op *t, result *r) {
  for (int i = 0; i < t->n_outputs; i++) free(r->data[i]);
}

typedef struct opened {
  tern__pool *pool;
  tern__backend *backend;
  tern__pack_cache *cache;
  tern__session_plan *plan;
  uint8_t *memory;
} opened;

static void open_plan(one_op *t, uint32_t isa, int32_t n_threads, opened *o) {
  cr_assert_eq(tern__pool_create(&t->alloc, n_threads, &o->pool), TERN_OK);
  tern__backend_env env = {&t->alloc, NULL, o->pool};
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

static void keep(one_op *t, const tern__session_plan *plan, result *r) {
  for (int i = 0; i < t->n_outputs; i++) {
    const tern__view *v = &plan->base.views[t->outs[i]];
    r->views[i] = *v;
    r->data[i] = malloc(v->size_bytes + 1);
    memcpy(r->data[i], v->data, v->size_bytes);
  }
}

static result run_on(one_op *t, uint32_t isa, int32_t n_threads) {
  opened o;
  result r;
  open_plan(t, isa, n_threads, &o);
  cr_assert_eq(o.plan->base.n_steps, 1);
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
  tern__op_call call = {n, t->graph, in, out, t->n_inputs, t->n_outputs, &t->alloc, t->kv};
  cr_assert_eq(t->op->reference(&call), TERN_OK, "%s", tern_last_error());
  keep(t, o.plan, &r);
  close_plan(t, &o);
  return r;
}

/* |a - b| over |b|, of whole tensors; NaN counts as infinite. */
static double distance(const result *a, const result *b, int i) {
  size_t n;
  double error = 0, norm = 0;
  tern__shape_count(&b->views[i].shape, &n);
  if (b->views[i].dtype != TERN_DTYPE_F32)
    return memcmp(a->data[i], b->data[i], b->views[i].size_bytes) ? INFINITY : 0;
  const float *x = a->data[i], *y = b->data[i];
  for (size_t e = 0; e < n; e++) {
    if (isnan(y[e]) && isnan(x[e])) continue;
    error += ((double)x[e] - y[e]) * ((double)x[e] - y[e]), norm += (double)y[e] * y[e];
  }
  return isnan(error) ? INFINITY : norm > 0 ? sqrt(error / norm) : sqrt(error);
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
  for (uint32_t isa = 1; isa <= TERN__CPU_NEON_I8MM; isa <<= 1) {
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

/* ---- products ---- */

/* Relative error of a whole result. f32: rounding of sums of some thousand terms. Quantized weights: 15-bit
 * activations per block of 32 give some 3e-5 of X's norm; sums over random signs do not enlarge that. */
static const double f32_error = 2e-6, quantized_error = 1e-4;

static void linear_case(tern_dtype dtype, int m, int k, int n, bool bias, tern_numerics numerics) {
  one_op t;
  char what[96];
  begin(&t, "Linear", "tern", 1);
  input(&t, TERN_DTYPE_F32, 3, 1, m, k);
  void *w = constant(&t, dtype, 2, n, k);
  if (tern__dtype_is_block(dtype)) fill_blocks(w, dtype, t.graph->values[t.ids[1]].size_bytes);
  if (bias) constant(&t, TERN_DTYPE_F32, 1, n);
  node(&t, 1, 1);
  t.numerics = numerics;
  snprintf(what, sizeof what, "%s m=%d k=%d n=%d numerics=%d", tern_dtype_name(dtype), m, k, n, numerics);
  check(&t, tern__dtype_is_block(dtype) && numerics == TERN_NUMERICS_FAST ? quantized_error : f32_error,
        what);
  end(&t);
}

Test(cpu_linear, dense) {
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_F16, TERN_DTYPE_BF16};
  const int sizes[][3] = {{1, 1, 1},     {1, 576, 1537}, {3, 31, 33},
                          {17, 577, 48}, {131, 300, 31}, {2, 1537, 16}};
  for (size_t i = 0; i < 3; i++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
      linear_case(types[i], sizes[s][0], sizes[s][1], sizes[s][2], s & 1, TERN_NUMERICS_FAST);
}

Test(cpu_linear, blocks) {
  for (tern_dtype d = TERN_DTYPE_Q4_0; d <= TERN_DTYPE_Q6_K; d++) {
    const int sizes[][3] = {{1, 256, 9}, {1, 768, 257}, {3, 256, 33}, {7, 1024, 31}, {130, 512, 17}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
      for (int numerics = 0; numerics < 2; numerics++)
        linear_case(d, sizes[s][0], sizes[s][1], sizes[s][2], s & 1, numerics);
  }
  linear_case(TERN_DTYPE_Q4_1, 5, 576, 1537, true, TERN_NUMERICS_FAST);
}

/* A row must not depend on how many rows are computed with it. */
Test(cpu_linear, one_row_equals_many) {
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_F16, TERN_DTYPE_Q4_0, TERN_DTYPE_Q4_K,
                              TERN_DTYPE_Q6_K};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (uint32_t isa = 1; isa <= TERN__CPU_NEON_I8MM; isa <<= 1) {
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

static void nbits_case(int bits, int block, tern_dtype scales, int zeros, int m, int k, int n) {
  one_op t;
  char what[96];
  int blocks = (k + block - 1) / block;
  begin(&t, "MatMulNBits", "com.microsoft", 1);
  input(&t, TERN_DTYPE_F32, 2, m, k);
  constant(&t, TERN_DTYPE_U8, 3, n, blocks, block * bits / 8);
  constant(&t, scales, 1, n * blocks);
  if (zeros == 1) constant(&t, TERN_DTYPE_U8, 1, n * ((blocks * bits + 7) / 8));
  else if (zeros == 2) constant(&t, scales, 1, n * blocks);
  node(&t, 1, 1);
  set_int(&t, "K", k), set_int(&t, "N", n), set_int(&t, "bits", bits), set_int(&t, "block_size", block);
  snprintf(what, sizeof what, "bits=%d block=%d scales=%s zeros=%d m=%d k=%d n=%d", bits, block,
           tern_dtype_name(scales), zeros, m, k, n);
  check(&t, quantized_error, what);
  end(&t);
}

Test(cpu_linear, nbits) {
  for (int bits = 4; bits <= 8; bits += 4)
    for (int block = 16; block <= 128; block *= 2)
      for (int zeros = 0; zeros < 3; zeros++) {
        nbits_case(bits, block, zeros == 1 ? TERN_DTYPE_F16 : TERN_DTYPE_F32, zeros, 1, 576, 33);
        nbits_case(bits, block, zeros == 0 ? TERN_DTYPE_F16 : TERN_DTYPE_F32, zeros, 19, 200, 31);
      }
}

Test(cpu_matmul, gemm_and_constant_matmul) {
  for (int transposed = 0; transposed < 2; transposed++) {
    one_op t;
    begin(&t, "Gemm", "", 13);
    input(&t, TERN_DTYPE_F32, 2, 7, 65);
    if (transposed) constant(&t, TERN_DTYPE_F32, 2, 33, 65);
    else constant(&t, TERN_DTYPE_F32, 2, 65, 33);
    constant(&t, TERN_DTYPE_F32, 1, 33);
    node(&t, 1, 13);
    set_int(&t, "transB", transposed);
    check(&t, f32_error, transposed ? "transB" : "plain");
    end(&t);
  }
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_F16, TERN_DTYPE_BF16};
  for (size_t i = 0; i < 3; i++) {
    one_op t;
    begin(&t, "MatMul", "", 13);
    input(&t, TERN_DTYPE_F32, 3, 2, 17, 31);
    constant(&t, types[i], 2, 31, 100);
    node(&t, 1, 13);
    check(&t, f32_error, tern_dtype_name(types[i]));
    end(&t);
  }
}

Test(cpu_matmul, two_activations) {
  const int sizes[][6] = {
      {2, 3, 17, 31, 33, 3}, {1, 2, 1, 64, 128, 1}, {2, 2, 70, 300, 5, 2}, {3, 1, 1, 1, 1, 1}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    const int *z = sizes[s];
    one_op t;
    begin(&t, "MatMul", "", 13);
    input(&t, TERN_DTYPE_F32, 4, z[0], z[1], z[2], z[3]);
    input(&t, TERN_DTYPE_F32, 3, z[5], z[3], z[4]);
    node(&t, 1, 13);
    check(&t, f32_error, "batched");
    end(&t);
  }
}

Test(cpu_matmul, integers_are_exact) {
  const tern_dtype types[] = {TERN_DTYPE_U8, TERN_DTYPE_I8};
  for (int a = 0; a < 2; a++)
    for (int b = 0; b < 2; b++)
      for (int zeros = 0; zeros < 4; zeros++) {
        one_op t;
        begin(&t, "MatMulInteger", "", 10);
        input(&t, types[a], 3, 1, zeros == 3 ? 1 : 37, 333);
        constant(&t, types[b], 2, 333, 49);
        if (zeros > 0) input(&t, types[a], 0);
        if (zeros == 2) constant(&t, types[b], 0);
        if (zeros == 3) constant(&t, types[b], 1, 49);
        node(&t, 1, 10);
        check(&t, 0, "");
        end(&t);
      }
}

/* ---- attention ---- */

static void kv_case(int batch, int rows, int past, int fresh, int heads, int kv_heads, int dim, int half,
                    bool interleaved, int window, float softcap) {
  one_op t;
  char what[120];
  begin(&t, "KvAttention", "tern", 1);
  input(&t, TERN_DTYPE_F32, 3, batch, rows, heads * dim);
  input(&t, TERN_DTYPE_F32, 3, batch, rows, kv_heads * dim);
  input(&t, TERN_DTYPE_F32, 3, batch, rows, kv_heads * dim);
  if (half)
    constant(&t, TERN_DTYPE_F32, 2, past + rows + 3, half),
        constant(&t, TERN_DTYPE_F32, 2, past + rows + 3, half);
  node(&t, 1, 1);
  set_int(&t, "layer", 0), set_int(&t, "num_heads", heads), set_int(&t, "kv_num_heads", kv_heads);
  set_int(&t, "rotary_interleaved", interleaved), set_int(&t, "local_window", window),
      set_float(&t, "softcap", softcap);
  tern__kv_layout layout = {1, &kv_heads, &dim};
  cr_assert_eq(tern__kv_cache_create(&t.alloc, &layout, batch, past + rows + 2, true, &t.kv), TERN_OK);
  size_t n = (size_t)batch * (size_t)kv_heads * (size_t)(past + rows + 2) * (size_t)dim;
  for (size_t i = 0; i < n; i++)
    t.kv->k[0][i] = tern__f32_to_f16(noise()), t.kv->v[0][i] = tern__f32_to_f16(noise());
  for (int b = 0; b < batch; b++)
    t.kv->past[b] = past - (b && past ? 1 : 0), t.kv->fresh[b] = b ? fresh : rows;
  snprintf(what, sizeof what, "batch=%d rows=%d past=%d heads=%d/%d dim=%d half=%d window=%d softcap=%g",
           batch, rows, past, heads, kv_heads, dim, half, window, (double)softcap);
  /* The cache holds f16 in both; exp and the order of sums differ. */
  check(&t, 3e-6, what);
  end(&t);
}

Test(cpu_attention, kv_cache) {
  kv_case(1, 1, 0, 1, 9, 3, 64, 32, false, -1, 0);
  kv_case(1, 1, 700, 1, 9, 3, 64, 32, false, -1, 0);
  kv_case(2, 1, 100, 0, 4, 1, 80, 20, true, -1, 0);
  kv_case(1, 70, 0, 70, 4, 2, 64, 32, true, -1, 0);
  kv_case(2, 33, 17, 9, 6, 6, 40, 0, false, -1, 0);
  kv_case(1, 50, 60, 50, 8, 1, 256, 128, false, 31, 0);
  kv_case(1, 1, 600, 1, 8, 1, 256, 128, false, 512, 30);
  kv_case(2, 5, 3, 2, 5, 5, 17, 8, false, 4, 5);
}

static void encoder_case(int batch, int rows, int keys, int heads, int dim, int mask_kind) {
  one_op t;
  begin(&t, "EncoderAttention", "tern", 1);
  input(&t, TERN_DTYPE_F32, 3, batch, rows, heads * dim);
  input(&t, TERN_DTYPE_F32, 3, batch, keys, heads * dim);
  input(&t, TERN_DTYPE_F32, 3, batch, keys, heads * dim);
  float *mask = NULL;
  if (mask_kind == 1) mask = input(&t, TERN_DTYPE_F32, 4, batch, 1, 1, keys);
  if (mask_kind == 2) mask = input(&t, TERN_DTYPE_F32, 4, 1, heads, rows, keys);
  if (mask_kind == 3) mask = input(&t, TERN_DTYPE_F32, 2, rows, 1);
  for (int i = 0; mask && mask_kind == 1 && i < batch * keys; i++)
    mask[i] = i % keys > keys / 2 ? -3.4e38f : 0;
  for (int i = 0; mask && mask_kind == 2 && i < keys; i++)
    mask[i] = -INFINITY; /* one query that sees nothing */
  node(&t, 1, 1);
  set_int(&t, "num_heads", heads);
  check(&t, 3e-6, mask ? "masked" : "open");
  end(&t);
}

Test(cpu_attention, encoder) {
  encoder_case(1, 16, 16, 12, 32, 0);
  encoder_case(3, 37, 37, 4, 64, 1);
  encoder_case(2, 33, 70, 3, 17, 2);
  encoder_case(1, 130, 65, 2, 48, 3);
}

/* ---- norms, softmax ---- */

static void norm_case(const char *op, const char *domain, int rows, int n, int extra, int n_outputs) {
  one_op t;
  begin(&t, op, domain, 17);
  input(&t, TERN_DTYPE_F32, 3, 2, rows, n);
  if (!strncmp(op, "Skip", 4)) input(&t, TERN_DTYPE_F32, 3, 2, rows, n);
  for (int i = 0; i < extra; i++) constant(&t, TERN_DTYPE_F32, 1, n);
  node(&t, n_outputs, 17);
  check(&t, 2e-6, "");
  end(&t);
}

Test(cpu_norm, all) {
  const int sizes[][2] = {{1, 1}, {3, 31}, {1, 576}, {40, 1537}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int rows = sizes[i][0], n = sizes[i][1];
    norm_case("SimplifiedLayerNormalization", "", rows, n, 1, 1);
    if (n > 1) norm_case("LayerNormalization", "", rows, n, 2, 1);
    norm_case("SkipSimplifiedLayerNormalization", "com.microsoft", rows, n, 1, 1);
    if (n > 1) norm_case("SkipLayerNormalization", "com.microsoft", rows, n, 2, 1);
  }
}

Test(cpu_softmax, last_axis) {
  const int sizes[][2] = {{3, 1}, {5, 31}, {70, 576}, {1, 1537}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    one_op t;
    begin(&t, "Softmax", "", 13);
    float *x = input(&t, TERN_DTYPE_F32, 2, sizes[i][0], sizes[i][1]);
    if (sizes[i][1] > 2) x[1] = -INFINITY, x[2] = 80;
    node(&t, 1, 13);
    check(&t, 1e-6, "");
    end(&t);
  }
}

/* ---- elementwise ---- */

Test(cpu_elementwise, binary) {
  const char *ops[] = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    for (int shape = 0; shape < 7; shape++) {
      one_op t;
      begin(&t, ops[i], "", 13);
      float *a = shape == 3   ? input(&t, TERN_DTYPE_F32, 0)
                 : shape == 5 ? input(&t, TERN_DTYPE_F32, 4, 2, 1, 31, 1)
                              : input(&t, TERN_DTYPE_F32, 4, 2, 5, 31, 67);
      switch (shape) {
        case 0: input(&t, TERN_DTYPE_F32, 4, 2, 5, 31, 67); break;
        case 1: input(&t, TERN_DTYPE_F32, 1, 1); break;
        case 2: input(&t, TERN_DTYPE_F32, 1, 67); break;
        case 4: input(&t, TERN_DTYPE_F32, 3, 5, 1, 67); break;
        case 6: input(&t, TERN_DTYPE_F32, 4, 2, 1, 31, 1); break;
        default: input(&t, TERN_DTYPE_F32, 4, 2, 5, 31, 67);
      }
      if (!strcmp(ops[i], "Pow"))
        for (size_t e = 0; e < t.feeds[0].size_bytes / 4; e++) a[e] = fabsf(a[e]) + 0.1f;
      node(&t, 1, 13);
      char what[32];
      snprintf(what, sizeof what, "shapes %d", shape);
      check(&t, 5e-7, what);
      end(&t);
    }
}

Test(cpu_elementwise, unary_and_gates) {
  const char *ops[] = {"Neg",     "Abs",  "Exp",      "Log",      "Sqrt", "Reciprocal",
                       "Floor",   "Ceil", "Sin",      "Cos",      "Tanh", "Erf",
                       "Sigmoid", "Relu", "Softplus", "Softsign", "Mish", "HardSwish"};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    one_op t;
    if (!tern__op_find(ops[i], "", 20)) continue;
    begin(&t, ops[i], "", 20);
    float *x = input(&t, TERN_DTYPE_F32, 2, 3, 16411);
    for (int e = 0; e < 3 * 16411; e++)
      x[e] = !strcmp(ops[i], "Log") || !strcmp(ops[i], "Sqrt") ? fabsf(x[e]) * 9 + 1e-3f : x[e] * 9;
    node(&t, 1, 20);
    check(&t, 1e-6, "");
    end(&t);
  }
  for (int i = 0; i < 2; i++) {
    one_op t;
    begin(&t, i ? "GeluMul" : "SiluMul", "tern", 1);
    input(&t, TERN_DTYPE_F32, 3, 1, 7, 1537);
    input(&t, TERN_DTYPE_F32, 3, 1, 7, 1537);
    node(&t, 1, 1);
    check(&t, 1e-6, "");
    end(&t);
  }
}

Test(cpu_layout, transpose) {
  const int64_t orders[][4] = {{0, 2, 1, 3}, {0, 2, 3, 1}, {3, 2, 1, 0}, {0, 1, 3, 2}};
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_I64, TERN_DTYPE_U8};
  for (size_t i = 0; i < 4; i++)
    for (size_t d = 0; d < 3; d++) {
      one_op t;
      begin(&t, "Transpose", "", 13);
      input(&t, types[d], 4, 2, 33, 7, 31);
      node(&t, 1, 13);
      tern__node_set_ints(t.graph, t.node, "perm", orders[i], 4);
      check(&t, 0, "");
      end(&t);
    }
}

Test(cpu_layout, dynamic_quantize) {
  if (!tern__op_find("DynamicQuantizeLinear", "", 11)) cr_skip_test("the op is not there");
  for (int i = 0; i < 3; i++) {
    one_op t;
    begin(&t, "DynamicQuantizeLinear", "", 11);
    float *x = input(&t, TERN_DTYPE_F32, 2, 37, 1000);
    for (int e = 0; i && e < 37000; e++) x[e] = i == 1 ? fabsf(x[e]) + 1 : 0;
    node(&t, 3, 11);
    check(&t, 0, "");
    end(&t);
  }
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
  for (uint32_t isa = 1; isa <= TERN__CPU_NEON_I8MM; isa <<= 1) {
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
