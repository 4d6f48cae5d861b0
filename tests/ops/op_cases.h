/* THE table of op cases: every backend runs each of them against the op's reference (test_cpu_ops.c, test_gpu_ops.c).
 * Before including it, a test defines
 *   static void check(one_op *t, double tolerance, const char *what);
 * Odd sizes on purpose; a tolerance is the relative error of a whole result and has its reason beside it. */
#ifndef TERN_TESTS_OP_CASES_H
#define TERN_TESTS_OP_CASES_H

#include "ops/op_builder.h"

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

Test(linear, dense) {
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_F16, TERN_DTYPE_BF16};
  const int sizes[][3] = {{1, 1, 1},     {1, 576, 1537}, {3, 31, 33},
                          {17, 577, 48}, {131, 300, 31}, {2, 1537, 16}};
  for (size_t i = 0; i < 3; i++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
      linear_case(types[i], sizes[s][0], sizes[s][1], sizes[s][2], s & 1, TERN_NUMERICS_FAST);
}

Test(linear, blocks) {
  for (tern_dtype d = TERN_DTYPE_Q4_0; d <= TERN_DTYPE_Q6_K; d++) {
    const int sizes[][3] = {{1, 256, 9}, {1, 768, 257}, {3, 256, 33}, {7, 1024, 31}, {130, 512, 17}, {1, 4352, 35}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
      for (int numerics = 0; numerics < 2; numerics++)
        linear_case(d, sizes[s][0], sizes[s][1], sizes[s][2], s & 1, numerics);
  }
  linear_case(TERN_DTYPE_Q4_1, 5, 576, 1537, true, TERN_NUMERICS_FAST);
}

/* Enough rows and columns for the largest tiles, and ends that are no whole tile. */
Test(linear, tiles) {
  const tern_dtype types[] = {TERN_DTYPE_F16, TERN_DTYPE_BF16, TERN_DTYPE_Q4_0, TERN_DTYPE_Q4_1, TERN_DTYPE_Q5_1,
                              TERN_DTYPE_Q8_0};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    linear_case(types[i], 1537, 64, 1930, i & 1, TERN_NUMERICS_FAST);
    linear_case(types[i], 70, 160, 100, !(i & 1), TERN_NUMERICS_FAST);
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

Test(linear, nbits) {
  for (int bits = 4; bits <= 8; bits += 4)
    for (int block = 16; block <= 128; block *= 2)
      for (int zeros = 0; zeros < 3; zeros++) {
        nbits_case(bits, block, zeros == 1 ? TERN_DTYPE_F16 : TERN_DTYPE_F32, zeros, 1, 576, 33);
        nbits_case(bits, block, zeros == 0 ? TERN_DTYPE_F16 : TERN_DTYPE_F32, zeros, 19, 200, 31);
      }
}

#include "ops/op_cases_channel.h"

Test(matmul, gemm_and_constant_matmul) {
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

Test(matmul, two_activations) {
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

Test(matmul, integers_are_exact) {
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

typedef struct kv_shape {
  int batch, rows, past, fresh, heads, kv_heads, dim, half;
  bool interleaved;
  int window;
  float softcap;
} kv_shape;

static void kv_build(one_op *t, kv_shape *s) {
  int positions = s->past + s->rows + 2;
  begin(t, "KvAttention", "tern", 1);
  input(t, TERN_DTYPE_F32, 3, s->batch, s->rows, s->heads * s->dim);
  input(t, TERN_DTYPE_F32, 3, s->batch, s->rows, s->kv_heads * s->dim);
  input(t, TERN_DTYPE_F32, 3, s->batch, s->rows, s->kv_heads * s->dim);
  if (s->half)
    constant(t, TERN_DTYPE_F32, 2, positions + 1, s->half), constant(t, TERN_DTYPE_F32, 2, positions + 1, s->half);
  node(t, 1, 1);
  set_int(t, "layer", 0), set_int(t, "num_heads", s->heads), set_int(t, "kv_num_heads", s->kv_heads);
  set_int(t, "rotary_interleaved", s->interleaved), set_int(t, "local_window", s->window),
      set_float(t, "softcap", s->softcap);
  tern__kv_layout layout = {1, &s->kv_heads, &s->dim};
  cr_assert_eq(tern__kv_cache_create(&t->alloc, &layout, s->batch, positions, true, &t->kv), TERN_OK);
  size_t n = (size_t)s->batch * (size_t)s->kv_heads * (size_t)positions * (size_t)s->dim;
  for (size_t i = 0; i < n; i++)
    t->kv->k[0][i] = tern__f32_to_f16(noise()), t->kv->v[0][i] = tern__f32_to_f16(noise());
  for (int b = 0; b < s->batch; b++)
    t->kv->past[b] = s->past - (b && s->past ? 1 : 0), t->kv->fresh[b] = b ? s->fresh : s->rows;
}

static void kv_check(kv_shape s, tern_numerics numerics, float exact) {
  one_op t;
  char what[160];
  kv_build(&t, &s);
  t.numerics = numerics;
  /* Queries of few bits, large enough that scores differ by dozens: exact as halves, too. */
  float *q = (float *)t.feeds[0].data;
  for (int i = 0; exact > 0 && i < s.batch * s.rows * s.heads * s.dim; i++) q[i] = roundf(q[i] * exact);
  snprintf(what, sizeof what,
           "batch=%d rows=%d past=%d heads=%d/%d dim=%d half=%d window=%d softcap=%g numerics=%d times %g", s.batch,
           s.rows, s.past, s.heads, s.kv_heads, s.dim, s.half, s.window, (double)s.softcap, (int)numerics,
           (double)exact);
  /* The cache holds f16 in both; exp and the order of sums differ. */
  check(&t, 3e-6, what);
  end(&t);
}

static void kv_case(int batch, int rows, int past, int fresh, int heads, int kv_heads, int dim, int half,
                    bool interleaved, int window, float softcap) {
  for (int numerics = 0; numerics < 2; numerics++)
    kv_check((kv_shape){batch, rows, past, fresh, heads, kv_heads, dim, half, interleaved, window, softcap},
             (tern_numerics)numerics, 0);
}

Test(attention, kv_cache) {
  kv_case(1, 1, 0, 1, 9, 3, 64, 32, false, -1, 0);
  kv_case(1, 1, 700, 1, 9, 3, 64, 32, false, -1, 0);
  kv_case(2, 1, 100, 0, 4, 1, 80, 20, true, -1, 0);
  kv_case(1, 70, 0, 70, 4, 2, 64, 32, true, -1, 0);
  kv_case(2, 33, 17, 9, 6, 6, 40, 0, false, -1, 0);
  kv_case(1, 50, 60, 50, 8, 1, 256, 128, false, 31, 0);
  kv_case(1, 1, 600, 1, 8, 1, 256, 128, false, 512, 30);
  kv_case(2, 5, 3, 2, 5, 5, 17, 8, false, 4, 5);
  /* Few rows, whichever way they enter the cache. */
  kv_case(1, 1, 130, 1, 6, 2, 17, 8, false, -1, 0);
  kv_case(1, 2, 67, 2, 2, 1, 34, 0, false, -1, 0);
  kv_case(2, 4, 200, 3, 2, 1, 64, 32, false, 20, 0);
  kv_case(2, 4, 0, 4, 8, 2, 128, 64, true, -1, 0);
  kv_case(3, 3, 65, 1, 12, 12, 36, 10, false, -1, 2);
  kv_case(1, 4, 126, 4, 2, 1, 64, 32, false, -1, 0); /* new rows on both sides of a share's end */
}

/* 16 queries of a head of keys and more: where cooperative matrices are, they do these. */
Test(attention, kv_cache_many_rows) {
  static const int dims[] = {32, 64, 128, 96, 80, 40};
  for (int i = 0; i < 6; i++) {
    int dim = dims[i], half = dims[i] / 2;
    kv_case(1, 16, 0, 16, 1, 1, dim, 0, false, -1, 0);
    kv_case(1, 5, 100, 5, 4, 1, dim, half, false, -1, 0);
    kv_case(2, 37, 100, 30, 9, 3, dim, half, false, 64, 5);
    kv_case(1, 130, 3, 130, 2, 1, dim, half, true, -1, 0);
    kv_case(3, 21, 64, 0, 6, 2, dim, half / 2, false, 100, 0);
    kv_case(1, 66, 0, 66, 8, 8, dim, half, false, -1, 20);
    for (int numerics = 0; numerics < 2; numerics++) {
      kv_check((kv_shape){1, 200, 65, 200, 3, 1, dim, 0, false, -1, 0}, (tern_numerics)numerics, 32);
      kv_check((kv_shape){2, 70, 130, 65, 2, 2, dim, 0, false, 90, 0}, (tern_numerics)numerics, 64);
    }
  }
}

static void encoder_check(int batch, int rows, int keys, int heads, int dim, int mask_kind, tern_numerics numerics) {
  one_op t;
  char what[120];
  begin(&t, "EncoderAttention", "tern", 1);
  input(&t, TERN_DTYPE_F32, 3, batch, rows, heads * dim);
  input(&t, TERN_DTYPE_F32, 3, batch, keys, heads * dim);
  input(&t, TERN_DTYPE_F32, 3, batch, keys, heads * dim);
  float *mask = NULL;
  if (mask_kind == 1) mask = input(&t, TERN_DTYPE_F32, 4, batch, 1, 1, keys);
  if (mask_kind == 2) mask = input(&t, TERN_DTYPE_F32, 4, 1, heads, rows, keys);
  if (mask_kind == 3) mask = input(&t, TERN_DTYPE_F32, 2, rows, 1);
  if (mask_kind >= 4) mask = input(&t, TERN_DTYPE_F32, 4, batch, 1, 1, keys);
  for (int i = 0; mask && mask_kind == 1 && i < batch * keys; i++)
    mask[i] = i % keys > keys / 2 ? -3.4e38f : 0;
  for (int i = 0; mask && mask_kind == 2 && i < keys; i++)
    mask[i] = -INFINITY; /* one query that sees nothing */
  for (int i = 0; mask && mask_kind == 4 && i < batch * keys; i++)
    mask[i] = -3.4028234663852886e38f; /* all alike: even weights */
  for (int i = 0; mask && mask_kind == 5 && i < batch * keys; i++)
    mask[i] = i < keys || i % keys < keys - 2 ? -INFINITY : 0; /* a sequence that sees nothing, others the end */
  node(&t, 1, 1);
  set_int(&t, "num_heads", heads);
  t.numerics = numerics;
  snprintf(what, sizeof what, "batch=%d rows=%d keys=%d heads=%d dim=%d mask=%d numerics=%d", batch, rows, keys, heads,
           dim, mask_kind, (int)numerics);
  check(&t, 3e-6, what);
  end(&t);
}

static void encoder_case(int batch, int rows, int keys, int heads, int dim, int mask_kind) {
  for (int numerics = 0; numerics < 2; numerics++)
    encoder_check(batch, rows, keys, heads, dim, mask_kind, (tern_numerics)numerics);
}

Test(attention, encoder) {
  encoder_case(1, 16, 16, 12, 32, 0);
  encoder_case(3, 37, 37, 4, 64, 1);
  encoder_case(2, 33, 70, 3, 17, 2);
  encoder_case(1, 130, 65, 2, 48, 3);
  static const int dims[] = {32, 64, 128, 96, 72};
  for (int i = 0; i < 5; i++) {
    encoder_case(2, 33, 70, 3, dims[i], 2);
    encoder_case(1, 130, 65, 2, dims[i], 3);
    encoder_case(2, 64, 128, 2, dims[i], 1);
    encoder_case(2, 20, 67, 2, dims[i], 4);
    encoder_case(2, 70, 130, 2, dims[i], 5);
  }
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

Test(norm, all) {
  const int sizes[][2] = {{1, 1}, {3, 31}, {1, 576}, {40, 1537}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int rows = sizes[i][0], n = sizes[i][1];
    norm_case("SimplifiedLayerNormalization", "", rows, n, 1, 1);
    if (n > 1) norm_case("LayerNormalization", "", rows, n, 2, 1);
    norm_case("SkipSimplifiedLayerNormalization", "com.microsoft", rows, n, 1, 1);
    if (n > 1) norm_case("SkipLayerNormalization", "com.microsoft", rows, n, 2, 1);
  }
}

Test(softmax, last_axis) {
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

Test(elementwise, binary) {
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

Test(elementwise, unary_and_gates) {
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

Test(layout, transpose) {
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

Test(layout, dynamic_quantize) {
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

/* The table goes on: */
#include "ops/op_cases_elementwise.h"
#include "ops/op_cases_layout.h"
#include "ops/op_cases_rows.h"

#endif
