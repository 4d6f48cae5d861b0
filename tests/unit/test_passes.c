/* Rewrites on graphs made here: the pattern is found, an almost-pattern is left alone, and results stay. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "passes/evaluate.h"
#include "passes/pass.h"

typedef struct fixture { tern__alloc alloc; tern__arena arena; tern__graph *graph; } fixture;

static void begin(fixture *f) {
  tern__alloc_init(&f->alloc, NULL, 0);
  tern__arena_init(&f->arena, &f->alloc);
  cr_assert_eq(tern__graph_create(&f->alloc, &f->arena, &f->graph), TERN_OK);
}
static void end(fixture *f) {
  tern__graph_destroy(f->graph);
  tern__arena_deinit(&f->arena);
  cr_assert_eq(f->alloc.live_bytes, 0);
}
static tern__value_id input(fixture *f, const char *name) {
  int64_t dims[3] = {-1, -1, 8};
  tern__value_id v;
  cr_assert_eq(tern__graph_add_value(f->graph, name, TERN_DTYPE_F32, 3, dims, &v), TERN_OK);
  cr_assert_eq(tern__graph_add_input(f->graph, v), TERN_OK);
  return v;
}
static tern__value_id constant(fixture *f, const float *data, int64_t n) {
  tern__value_id v;
  cr_assert_eq(tern__graph_add_constant(f->graph, "", TERN_DTYPE_F32, n ? 1 : 0, &n, data, (size_t)(n ? n : 1) * 4, &v), TERN_OK);
  return v;
}
static tern__value_id node(fixture *f, const char *op, int32_t opset, tern__value_id a, tern__value_id b) {
  tern__value_id in[2] = {a, b}, out;
  const tern__op_def *def = tern__op_find(op, "", opset);
  cr_assert_not_null(def, "%s", op);
  cr_assert_eq(tern__graph_add_value(f->graph, "", TERN_DTYPE_NONE, -1, NULL, &out), TERN_OK);
  cr_assert_eq(tern__graph_add_node(f->graph, def, op, opset, in, b < 0 ? 1 : 2, &out, 1, NULL), TERN_OK, "%s", tern_last_error());
  return out;
}
static tern__value_id mean(fixture *f, tern__value_id x) {
  static const int64_t axes[1] = {-1};
  tern__value_id out = node(f, "ReduceMean", 13, x, -1);
  cr_assert_eq(tern__node_set_ints(f->graph, f->graph->values[out].producer, "axes", axes, 1), TERN_OK);
  return out;
}
static int count(const tern__graph *g, const char *op) {
  int n = 0;
  for (size_t i = 0; i < tern__array_count(g->nodes); i++) n += strcmp(g->nodes[i].op->name, op) == 0;
  return n;
}

/* Evaluates the only output for fixed inputs into out[32]. */
static void evaluate(fixture *f, float *out) {
  static float data[2][32];
  tern__arena arena;
  tern__feed feeds[2];
  tern__view view;
  for (int i = 0; i < 32; i++) data[0][i] = sinf((float)i * 1.7f) * 2, data[1][i] = cosf((float)i * 0.9f);
  size_t n = tern__array_count(f->graph->inputs);
  for (size_t i = 0; i < n; i++)
    feeds[i] = (tern__feed){f->graph->inputs[i], {TERN_DTYPE_F32, {3, {2, 2, 8}}, data[i], sizeof data[i]}};
  tern__arena_init(&arena, &f->alloc);
  cr_assert_eq(tern__evaluate(f->graph, f->graph->outputs[0], feeds, n, &arena, &view), TERN_OK, "%s", tern_last_error());
  memcpy(out, view.data, 32 * sizeof *out);
  tern__arena_deinit(&arena);
}

/* Runs all passes and holds the results to those before, within rounding of the fused formulas. */
static void rewrite(fixture *f, tern__value_id output) {
  float before[32], after[32];
  tern__pass_options options = {0};
  cr_assert_eq(tern__graph_add_output(f->graph, output), TERN_OK);
  evaluate(f, before);
  cr_assert_eq(tern__passes_run(f->graph, &options), TERN_OK, "%s", tern_last_error());
  evaluate(f, after);
  for (int i = 0; i < 32; i++) cr_assert_float_eq(before[i], after[i], 4e-6f * (1 + fabsf(before[i])), "%d: %g %g", i, before[i], after[i]);
}

static const float gamma_[8] = {1, 2, 0.5f, 1, 1, -1, 3, 1}, beta_[8] = {0, 1, 0, 0, -2, 0, 0, 0.25f};
static const float half = 0.5f, one = 1, two = 2, sqrt2 = 1.41421356f, eps = 1e-5f, three = 3;

static tern__value_id layer_norm(fixture *f, tern__value_id x, const float *power) {
  tern__value_id d = node(f, "Sub", 13, x, mean(f, x));
  tern__value_id variance = mean(f, node(f, "Pow", 13, d, constant(f, power, 0)));
  tern__value_id root = node(f, "Sqrt", 13, node(f, "Add", 13, variance, constant(f, &eps, 0)), -1);
  tern__value_id scaled = node(f, "Mul", 13, node(f, "Div", 13, d, root), constant(f, gamma_, 8));
  return node(f, "Add", 13, scaled, constant(f, beta_, 8));
}

Test(passes, layer_norm_is_found) {
  fixture f;
  begin(&f);
  rewrite(&f, layer_norm(&f, input(&f, "x"), &two));
  cr_assert_eq(count(f.graph, "LayerNormalization"), 1);
  cr_assert_eq(tern__array_count(f.graph->nodes), 1);
  end(&f);
}

Test(passes, a_norm_of_another_variable_is_left_alone) {
  fixture f;
  begin(&f);
  tern__value_id x = input(&f, "x"), y = input(&f, "y");
  tern__value_id d = node(&f, "Sub", 13, x, mean(&f, y)); /* the mean of something else */
  tern__value_id root = node(&f, "Sqrt", 13, node(&f, "Add", 13, mean(&f, node(&f, "Mul", 13, d, d)), constant(&f, &eps, 0)), -1);
  tern__value_id out = node(&f, "Mul", 13, node(&f, "Div", 13, d, root), constant(&f, gamma_, 8));
  rewrite(&f, node(&f, "Add", 13, out, constant(&f, beta_, 8)));
  cr_assert_eq(count(f.graph, "LayerNormalization"), 0);
  end(&f);
}

Test(passes, rms_norm_is_found_in_both_spellings) {
  for (int reciprocal = 0; reciprocal < 2; reciprocal++) {
    fixture f;
    begin(&f);
    tern__value_id x = input(&f, "x");
    tern__value_id root = node(&f, "Sqrt", 13, node(&f, "Add", 13, mean(&f, node(&f, "Pow", 13, x, constant(&f, &two, 0))), constant(&f, &eps, 0)), -1);
    tern__value_id n = reciprocal ? node(&f, "Mul", 13, x, node(&f, "Div", 13, constant(&f, &one, 0), root)) : node(&f, "Div", 13, x, root);
    rewrite(&f, node(&f, "Mul", 13, constant(&f, gamma_, 8), n));
    cr_assert_eq(count(f.graph, "SimplifiedLayerNormalization"), 1);
    cr_assert_eq(tern__array_count(f.graph->nodes), 1);
    end(&f);
  }
}

Test(passes, gelu_is_found_and_a_wrong_constant_is_not) {
  for (int wrong = 0; wrong < 2; wrong++) {
    fixture f;
    begin(&f);
    tern__value_id x = input(&f, "x");
    tern__value_id erf = node(&f, "Erf", 13, node(&f, "Div", 13, x, constant(&f, wrong ? &three : &sqrt2, 0)), -1);
    tern__value_id gate = node(&f, "Mul", 13, x, node(&f, "Add", 13, erf, constant(&f, &one, 0)));
    rewrite(&f, node(&f, "Mul", 13, gate, constant(&f, &half, 0)));
    cr_assert_eq(count(f.graph, "Gelu"), !wrong);
    end(&f);
  }
}

Test(passes, silu_gate_is_found) {
  fixture f;
  begin(&f);
  tern__value_id x = input(&f, "x"), y = input(&f, "y");
  rewrite(&f, node(&f, "Mul", 13, node(&f, "Mul", 13, x, node(&f, "Sigmoid", 13, x, -1)), y));
  cr_assert_eq(count(f.graph, "SiluMul"), 1);
  cr_assert_eq(tern__array_count(f.graph->nodes), 1);
  end(&f);
}

Test(passes, constants_are_folded_and_identities_removed) {
  fixture f;
  begin(&f);
  tern__value_id sum = node(&f, "Add", 13, constant(&f, gamma_, 8), constant(&f, beta_, 8));
  tern__value_id x = node(&f, "Identity", 13, input(&f, "x"), -1);
  rewrite(&f, node(&f, "Add", 13, x, sum));
  cr_assert_eq(tern__array_count(f.graph->nodes), 1);
  end(&f);
}

Test(passes, a_cycle_is_an_error) {
  fixture f;
  begin(&f);
  tern__value_id x = input(&f, "x"), a, b;
  const tern__op_def *add = tern__op_find("Add", "", 13);
  cr_assert_eq(tern__graph_add_value(f.graph, "a", TERN_DTYPE_NONE, -1, NULL, &a), TERN_OK);
  cr_assert_eq(tern__graph_add_value(f.graph, "b", TERN_DTYPE_NONE, -1, NULL, &b), TERN_OK);
  cr_assert_eq(tern__graph_add_node(f.graph, add, "first", 13, (tern__value_id[]){x, b}, 2, &a, 1, NULL), TERN_OK);
  cr_assert_eq(tern__graph_add_node(f.graph, add, "second", 13, (tern__value_id[]){a, x}, 2, &b, 1, NULL), TERN_OK);
  cr_assert_eq(tern__graph_add_output(f.graph, b), TERN_OK);
  tern__pass_options options = {0};
  cr_assert_eq(tern__passes_run(f.graph, &options), TERN_STATUS_CORRUPT);
  cr_assert(strstr(tern_last_error(), "cycle"), "%s", tern_last_error());
  end(&f);
}

/* A norm is computed of the last row only, unless something else reads it. */
static void last_row_and_norm(bool read_twice) {
  static const float weight[8 * 8] = {1, 2, 3}, ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  const tern__op_def *norm = tern__op_find("SimplifiedLayerNormalization", "", 1), *multiply = tern__op_find("MatMul", "", 13);
  int64_t dims[2] = {8, 8};
  fixture f;
  begin(&f);
  tern__graph *g = f.graph;
  tern__value_id in[2] = {input(&f, "x")}, normed, logits;
  cr_assert_eq(tern__graph_add_constant(g, "", TERN_DTYPE_F32, 1, dims, ones, sizeof ones, &in[1]), TERN_OK);
  cr_assert_eq(tern__graph_add_value(g, "", TERN_DTYPE_NONE, -1, NULL, &normed), TERN_OK);
  cr_assert_eq(tern__graph_add_node(g, norm, "norm", 1, in, 2, &normed, 1, NULL), TERN_OK);
  tern__value_id factors[2] = {normed};
  cr_assert_eq(tern__graph_add_constant(g, "", TERN_DTYPE_F32, 2, dims, weight, sizeof weight, &factors[1]), TERN_OK);
  cr_assert_eq(tern__graph_add_value(g, "logits", TERN_DTYPE_NONE, -1, NULL, &logits), TERN_OK);
  cr_assert_eq(tern__graph_add_node(g, multiply, "product", 13, factors, 2, &logits, 1, NULL), TERN_OK);
  cr_assert_eq(tern__graph_add_output(g, logits), TERN_OK);
  if (read_twice) cr_assert_eq(tern__graph_add_output(g, node(&f, "Tanh", 13, normed, -1)), TERN_OK);
  tern__pass_options options = {.kv_cache = true, .last_row = true};
  cr_assert_eq(tern__passes_run(g, &options), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(count(g, "LastRow"), 1);
  for (size_t i = 0; i < tern__array_count(g->nodes); i++) {
    int32_t producer = g->values[g->nodes[i].inputs[0]].producer;
    if (strcmp(g->nodes[i].op->name, "LastRow") == 0) cr_expect_eq(producer < 0, !read_twice);
  }
  end(&f);
}

Test(passes, last_row_goes_in_front_of_the_norm) {
  last_row_and_norm(false);
  last_row_and_norm(true);
}

/* DynamicQuantizeLinear's range is over all rows: the last one is taken behind it, never in front. */
Test(passes, last_row_goes_behind_dynamic_quantization) {
  static const uint8_t weight[8 * 8] = {1, 2, 3}, weight_zero = 128;
  const tern__op_def *quantize = tern__op_find("DynamicQuantizeLinear", "", 13),
                     *multiply = tern__op_find("MatMulInteger", "", 13), *scale = tern__op_find("Mul", "", 13);
  int64_t dims[2] = {8, 8};
  fixture f;
  begin(&f);
  tern__graph *g = f.graph;
  tern__value_id x = input(&f, "x"), q[3], w, zero, product;
  cr_assert_eq(tern__graph_add_constant(g, "", TERN_DTYPE_U8, 2, dims, weight, sizeof weight, &w), TERN_OK);
  cr_assert_eq(tern__graph_add_constant(g, "", TERN_DTYPE_U8, 0, dims, &weight_zero, 1, &zero), TERN_OK);
  for (int i = 0; i < 3; i++)
    cr_assert_eq(tern__graph_add_value(g, "", TERN_DTYPE_NONE, -1, NULL, &q[i]), TERN_OK);
  cr_assert_eq(tern__graph_add_node(g, quantize, "quantize", 13, &x, 1, q, 3, NULL), TERN_OK);
  cr_assert_eq(tern__graph_add_value(g, "", TERN_DTYPE_NONE, -1, NULL, &product), TERN_OK);
  tern__value_id factors[4] = {q[0], w, q[2], zero};
  cr_assert_eq(tern__graph_add_node(g, multiply, "product", 13, factors, 4, &product, 1, NULL), TERN_OK);
  tern__value_id real = node(&f, "Cast", 13, product, -1);
  cr_assert_eq(tern__node_set_int(g, g->values[real].producer, "to", 1 /* float32 */), TERN_OK);
  tern__value_id scaled[2] = {real, node(&f, "Mul", 13, q[1], constant(&f, &half, 0))}, logits;
  cr_assert_eq(tern__graph_add_value(g, "logits", TERN_DTYPE_NONE, -1, NULL, &logits), TERN_OK);
  cr_assert_eq(tern__graph_add_node(g, scale, "scale", 13, scaled, 2, &logits, 1, NULL), TERN_OK);
  cr_assert_eq(tern__graph_add_output(g, logits), TERN_OK);
  tern__pass_options options = {.kv_cache = true, .last_row = true};
  cr_assert_eq(tern__passes_run(g, &options), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(count(g, "LastRow"), 1);
  for (size_t i = 0; i < tern__array_count(g->nodes); i++) {
    const tern__node *n = &g->nodes[i];
    int32_t producer = g->values[n->inputs[0]].producer;
    if (n->op == quantize) cr_assert_eq(producer, -1, "the input itself is quantized");
    if (strcmp(n->op->name, "LastRow") == 0) cr_assert(g->nodes[producer].op == quantize);
  }
  end(&f);
}
