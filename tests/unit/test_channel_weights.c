/* pass_channel_weights and pass_transposed_weights: every form in which files hold int8 weights, forms that only look
 * like one, and equal results before and after. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "passes/evaluate.h"
#include "passes/pass.h"

/* Large enough that fold_constants leaves casts of the matrix alone (64 KiB). */
enum { K = 160, N = 208, ROWS = 3, VALUES = 4096 };

typedef struct fixture {
  tern__alloc alloc;
  tern__arena arena;
  tern__graph *graph;
  tern__value_id x, ids;
} fixture;

static uint8_t bytes[K * N], zeros[N];
static float floats[K * N], scales[N], whole[N], broken[N], bias[N];

static tern__value_id value(fixture *f, const char *name, tern_dtype dtype, int32_t rank, const int64_t *dims) {
  tern__value_id v;
  cr_assert_eq(tern__graph_add_value(f->graph, name, dtype, rank, dims, &v), TERN_OK);
  return v;
}
static tern__value_id constant(fixture *f, tern_dtype dtype, const void *data, int32_t rank, int64_t a, int64_t b) {
  int64_t dims[2] = {a, b};
  size_t size = (size_t)(rank > 0 ? a : 1) * (size_t)(rank > 1 ? b : 1) * (dtype == TERN_DTYPE_F32 ? 4 : 1);
  tern__value_id v;
  cr_assert_eq(tern__graph_add_constant(f->graph, "", dtype, rank, dims, data, size, &v), TERN_OK);
  return v;
}
static tern__value_id node(fixture *f, const char *op, int n, tern__value_id a, tern__value_id b, tern__value_id c) {
  tern__value_id in[3] = {a, b, c}, out = value(f, "", TERN_DTYPE_NONE, -1, NULL);
  cr_assert_eq(tern__graph_add_node(f->graph, tern__op_find(op, "", 17), op, 17, in, n, &out, 1, NULL), TERN_OK, "%s",
               tern_last_error());
  return out;
}
static void set_int(fixture *f, tern__value_id out, const char *name, int64_t to) {
  cr_assert_eq(tern__node_set_int(f->graph, f->graph->values[out].producer, name, to), TERN_OK);
}
static tern__value_id cast(fixture *f, tern__value_id x) {
  tern__value_id out = node(f, "Cast", 1, x, -1, -1);
  set_int(f, out, "to", 1);
  return out;
}
static tern__value_id transpose(fixture *f, tern__value_id x) {
  static const int64_t order[2] = {1, 0};
  tern__value_id out = node(f, "Transpose", 1, x, -1, -1);
  cr_assert_eq(tern__node_set_ints(f->graph, f->graph->values[out].producer, "perm", order, 2), TERN_OK);
  return out;
}

static void begin(fixture *f) {
  int64_t x[2] = {-1, K}, ids[1] = {-1};
  tern__alloc_init(&f->alloc, NULL, 0);
  tern__arena_init(&f->arena, &f->alloc);
  cr_assert_eq(tern__graph_create(&f->alloc, &f->arena, &f->graph), TERN_OK);
  f->x = value(f, "x", TERN_DTYPE_F32, 2, x), f->ids = value(f, "ids", TERN_DTYPE_I64, 1, ids);
  tern__graph_add_input(f->graph, f->x), tern__graph_add_input(f->graph, f->ids);
  for (int i = 0; i < K * N; i++) bytes[i] = (uint8_t)(i * 89 + i / 7), floats[i] = sinf((float)i);
  for (int i = 0; i < N; i++) {
    scales[i] = 0.001f * (float)(i + 1), zeros[i] = (uint8_t)(i % 100), bias[i] = cosf((float)i);
    whole[i] = (float)(i % 100), broken[i] = whole[i] + 0.5f;
  }
}
static void end(fixture *f) {
  tern__graph_destroy(f->graph);
  tern__arena_deinit(&f->arena);
  cr_assert_eq(f->alloc.live_bytes, 0);
}
static int count(const fixture *f, const char *op) {
  int n = 0;
  for (size_t i = 0; i < tern__array_count(f->graph->nodes); i++) n += strcmp(f->graph->nodes[i].op->name, op) == 0;
  return n;
}

static size_t evaluate(fixture *f, float *out) {
  static float x[ROWS * K];
  static int64_t ids[ROWS] = {5, 0, K - 1};
  tern__arena arena;
  tern__view view;
  for (int i = 0; i < ROWS * K; i++) x[i] = sinf((float)i * 1.7f);
  tern__feed feeds[2] = {{f->x, {TERN_DTYPE_F32, {2, {ROWS, K}}, x, sizeof x}},
                         {f->ids, {TERN_DTYPE_I64, {1, {ROWS}}, ids, sizeof ids}}};
  tern__arena_init(&arena, &f->alloc);
  cr_assert_eq(tern__evaluate(f->graph, f->graph->outputs[0], feeds, 2, &arena, &view), TERN_OK, "%s", tern_last_error());
  cr_assert_leq(view.size_bytes, VALUES * sizeof *out);
  memcpy(out, view.data, view.size_bytes);
  tern__arena_deinit(&arena);
  return view.size_bytes / sizeof *out;
}

/* Runs all passes; results stay, and `op` is there or not. Ends the fixture. */
static void rewrite(fixture *f, tern__value_id output, const char *op, bool found, const char *what) {
  static float before[VALUES], after[VALUES];
  tern__pass_options options = {0};
  cr_assert_eq(tern__graph_add_output(f->graph, output), TERN_OK);
  size_t n = evaluate(f, before);
  cr_assert_eq(tern__passes_run(f->graph, &options), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(evaluate(f, after), n);
  for (size_t i = 0; i < n; i++)
    cr_assert_float_eq(before[i], after[i], 1e-5f * (1 + fabsf(before[i])), "%s, %zu: %g %g", what, i, (double)before[i],
                       (double)after[i]);
  cr_expect_eq(count(f, op), found, "%s: %d of %s", what, count(f, op), op);
  end(f);
}

static tern__value_id matrix(fixture *f, tern_dtype dtype) { return constant(f, dtype, bytes, 2, K, N); }
static tern__value_id product(fixture *f, tern__value_id w) { return node(f, "MatMul", 2, f->x, w, -1); }

Test(channel_weights, cast_and_scale) {
  static const tern_dtype types[] = {TERN_DTYPE_I8, TERN_DTYPE_U8};
  for (int t = 0; t < 2; t++)
    for (int form = 0; form < 4; form++) {
      fixture f;
      begin(&f);
      tern__value_id q = cast(&f, matrix(&f, types[t]));
      tern__value_id scale = constant(&f, TERN_DTYPE_F32, scales, form == 3 ? 0 : form == 2 ? 1 : 2, form == 2 ? N : 1, N);
      tern__value_id w = form == 1 ? node(&f, "Mul", 2, scale, q, -1) : node(&f, "Mul", 2, q, scale, -1);
      rewrite(&f, product(&f, w), "ChannelLinear", true, "Mul(Cast(q), scale)");
    }
}

Test(channel_weights, cast_less_zero_points) {
  for (int form = 0; form < 4; form++) {
    fixture f;
    begin(&f);
    /* 0: a column each, 1: one for all, 2: no whole number, 3: not in range of int8 */
    if (form == 3) whole[1] = 128;
    tern__value_id zero = form == 1 ? constant(&f, TERN_DTYPE_F32, whole + 7, 0, 1, 1)
                                    : constant(&f, TERN_DTYPE_F32, form == 2 ? broken : whole, 1, N, 1);
    tern__value_id shifted = node(&f, "Sub", 2, cast(&f, matrix(&f, TERN_DTYPE_I8)), zero, -1);
    tern__value_id w = node(&f, "Mul", 2, shifted, constant(&f, TERN_DTYPE_F32, scales, 1, N, 1), -1);
    rewrite(&f, product(&f, w), "ChannelLinear", form < 2, "Mul(Sub(Cast(q), zero), scale)");
  }
}

Test(channel_weights, dequantize_linear) {
  static const tern_dtype types[] = {TERN_DTYPE_I8, TERN_DTYPE_U8};
  for (int t = 0; t < 2; t++)
    for (int form = 0; form < 5; form++) {
      bool wrong = form == 3; /* scales along the rows of [K, N] */
      int64_t n = wrong ? K : N;
      fixture f;
      begin(&f);
      tern__value_id scale = constant(&f, TERN_DTYPE_F32, scales, form == 2 ? 0 : 1, n, 1);
      tern__value_id zero = form == 1   ? constant(&f, types[t], zeros, 1, n, 1)
                            : form == 2 ? constant(&f, types[t], zeros + 3, 0, 1, 1)
                                        : -1;
      tern__value_id w = node(&f, "DequantizeLinear", zero < 0 ? 2 : 3, matrix(&f, types[t]), scale, zero);
      set_int(&f, w, "axis", wrong ? 0 : form == 4 ? -1 : 1);
      rewrite(&f, product(&f, w), "ChannelLinear", !wrong, "DequantizeLinear");
    }
}

Test(channel_weights, transposed_and_gemm) {
  for (int gemm = 0; gemm < 5; gemm++) {
    fixture f;
    begin(&f);
    tern__value_id w = node(&f, "DequantizeLinear", 2, constant(&f, TERN_DTYPE_I8, bytes, 2, N, K),
                            constant(&f, TERN_DTYPE_F32, scales, 1, N, 1), -1);
    set_int(&f, w, "axis", 0);
    if (!gemm) {
      rewrite(&f, product(&f, transpose(&f, w)), "ChannelLinear", true, "MatMul(x, Transpose(w))");
      continue;
    }
    tern__value_id b = constant(&f, TERN_DTYPE_F32, bias, gemm == 2 ? 0 : 1, N, 1); /* 2: a scalar is no column's */
    tern__value_id y = node(&f, "Gemm", 3, f.x, w, b);
    set_int(&f, y, "transB", 1);
    if (gemm == 3) tern__node_set_float(f.graph, f.graph->values[y].producer, "alpha", 2);
    if (gemm == 4) tern__node_set_float(f.graph, f.graph->values[y].producer, "beta", 2);
    rewrite(&f, y, "ChannelLinear", gemm == 1, "Gemm");
  }
}

Test(channel_weights, a_matrix_that_is_used_otherwise_becomes_floats) {
  fixture f;
  begin(&f);
  tern__value_id w = node(&f, "Mul", 2, cast(&f, matrix(&f, TERN_DTYPE_I8)), constant(&f, TERN_DTYPE_F32, scales, 1, N, 1), -1);
  tern__value_id sum = node(&f, "ReduceMean", 1, w, -1, -1);
  rewrite(&f, node(&f, "Add", 2, product(&f, w), sum, -1), "ChannelLinear", true, "both");
}

Test(channel_weights, tables) {
  static const tern_dtype types[] = {TERN_DTYPE_I8, TERN_DTYPE_U8};
  for (int t = 0; t < 2; t++)
    for (int form = 0; form < 4; form++) {
      /* 0: Cast and Mul, a scale a row; 1: DequantizeLinear with zero points; 2: one for all; 3: along the columns */
      fixture f;
      begin(&f);
      tern__value_id q = matrix(&f, types[t]), w;
      if (form == 0) w = node(&f, "Mul", 2, cast(&f, q), constant(&f, TERN_DTYPE_F32, scales, 2, K, 1), -1);
      else {
        int64_t n = form == 3 ? N : K;
        tern__value_id scale = constant(&f, TERN_DTYPE_F32, scales, form == 2 ? 0 : 1, n, 1);
        tern__value_id zero = constant(&f, types[t], zeros, form == 2 ? 0 : 1, n, 1);
        w = node(&f, "DequantizeLinear", 3, q, scale, zero);
        set_int(&f, w, "axis", form == 3 ? 1 : 0);
      }
      rewrite(&f, node(&f, "Gather", 2, w, f.ids, -1), "GatherBlockQuantized", form < 3, "Gather");
    }
}

Test(transposed_weights, matmul_becomes_linear) {
  for (int form = 0; form < 2; form++) {
    fixture f;
    begin(&f);
    tern__value_id w = constant(&f, TERN_DTYPE_F32, floats, 2, form ? K : N, form ? N : K);
    tern__value_id y = node(&f, "MatMul", 2, f.x, form ? w : transpose(&f, w), -1);
    rewrite(&f, y, "Linear", !form, "MatMul(x, Transpose(W))");
  }
}
