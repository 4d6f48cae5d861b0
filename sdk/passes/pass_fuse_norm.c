/* Layer and RMS normalization as exporters spell them out become one node each:
 *   d = x - mean(x); d / sqrt(mean(d^2) + eps) * gamma + beta   -> LayerNormalization
 *   x * (1 / sqrt(mean(x^2) + eps)) * gamma, or x / sqrt(...)   -> SimplifiedLayerNormalization (RMS) */
#include <string.h>

#include "passes/pass.h"

/* ReduceMean over the last axis with kept dims: gives its input. Axes: an attribute up to opset 17, then an input. */
static bool match_mean(const tern__graph *graph, tern__value_id value, tern__value_id *x) {
  const tern__node *mean = tern__match_producer(graph, value, "ReduceMean");
  if (!mean || tern__node_int(mean, "keepdims", 1) != 1) return false;
  size_t count;
  const int64_t *axes = tern__node_ints(mean, "axes", &count);
  int64_t axis = 0;
  int32_t rank = graph->values[mean->inputs[0]].shape.rank;
  if (axes && count == 1) axis = axes[0];
  else if (!axes && mean->n_inputs > 1 && mean->inputs[1] >= 0) {
    float f;
    if (!tern__match_scalar(graph, mean->inputs[1], &f)) return false;
    axis = (int64_t)f;
  } else return false;
  if (axis != -1 && !(rank > 0 && axis == rank - 1)) return false;
  *x = mean->inputs[0];
  return true;
}

/* v^2 as Pow(v, 2) or Mul(v, v): gives v. */
static bool match_square(const tern__graph *graph, tern__value_id value, tern__value_id *v) {
  const tern__node *pow = tern__match_producer(graph, value, "Pow"), *mul = tern__match_producer(graph, value, "Mul");
  if (pow && tern__match_scalar_near(graph, pow->inputs[1], 2.0f, 0)) return *v = pow->inputs[0], true;
  if (mul && mul->inputs[0] == mul->inputs[1]) return *v = mul->inputs[0], true;
  return false;
}

/* sqrt(mean(v^2) + eps): gives v and eps. */
static bool match_rms(const tern__graph *graph, tern__value_id value, tern__value_id *v, float *eps) {
  const tern__node *sqrt = tern__match_producer(graph, value, "Sqrt");
  const tern__node *add = sqrt ? tern__match_producer(graph, sqrt->inputs[0], "Add") : NULL;
  tern__value_id square;
  for (int32_t i = 0; add && i < 2; i++)
    if (tern__match_scalar(graph, add->inputs[i], eps) && match_mean(graph, add->inputs[1 - i], &square) &&
        match_square(graph, square, v))
      return true;
  return false;
}

/* v / rms(v), directly or times a reciprocal: gives v and eps. */
static bool match_normalized(const tern__graph *graph, tern__value_id value, tern__value_id *v, float *eps) {
  const tern__node *div = tern__match_producer(graph, value, "Div"), *mul = tern__match_producer(graph, value, "Mul");
  if (div && match_rms(graph, div->inputs[1], v, eps) && div->inputs[0] == *v) return true;
  for (int32_t i = 0; mul && i < 2; i++) {
    const tern__node *one = tern__match_producer(graph, mul->inputs[i], "Div");
    const tern__node *reciprocal = tern__match_producer(graph, mul->inputs[i], "Reciprocal");
    tern__value_id rms = one && tern__match_scalar_near(graph, one->inputs[0], 1.0f, 0) ? one->inputs[1]
                         : reciprocal                                                  ? reciprocal->inputs[0]
                                                                                       : -1;
    if (rms >= 0 && match_rms(graph, rms, v, eps) && mul->inputs[1 - i] == *v) return true;
  }
  return false;
}

/* d = x - mean(x): gives x. */
static bool match_centered(const tern__graph *graph, tern__value_id d, tern__value_id *x) {
  const tern__node *sub = tern__match_producer(graph, d, "Sub");
  tern__value_id mean_of;
  if (!sub || !match_mean(graph, sub->inputs[1], &mean_of) || mean_of != sub->inputs[0]) return false;
  *x = mean_of;
  return true;
}

static bool is_vector_constant(const tern__graph *graph, tern__value_id value) {
  return value >= 0 && graph->values[value].data && graph->values[value].shape.rank == 1;
}

static tern_status replace(tern__graph *graph, int32_t index, const char *op, int32_t opset, const tern__value_id *in,
                           int32_t n_in, float eps) {
  tern_status status = TERN_OK;
  int32_t fused;
  tern__value_id out = graph->nodes[index].outputs[0];
  TERN_TRY(tern__pass_replace_node(graph, index, op, "", opset, in, n_in, &out, 1, &fused));
  TERN_TRY(tern__node_set_int(graph, fused, "axis", -1));
  TERN_TRY(tern__node_set_float(graph, fused, "epsilon", eps));
cleanup:
  return status;
}

tern_status tern__pass_fuse_norm(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  (void)options;
  size_t n_nodes = tern__array_count(graph->nodes);
  /* Two sweeps: whole layer norms end in an Add, which must be seen before the Mul inside it. */
  for (int sweep = 0; sweep < 2; sweep++)
    for (size_t n = 0; n < n_nodes; n++) {
      const tern__node *node = &graph->nodes[n];
      if (node->dead || strcmp(node->op->name, sweep == 0 ? "Add" : "Mul") != 0) continue;
      for (int32_t i = 0; i < 2; i++) {
        tern__value_id v, x;
        float eps;
        if (!is_vector_constant(graph, node->inputs[i])) continue;
        if (sweep == 0) {
          const tern__node *mul = tern__match_producer(graph, node->inputs[1 - i], "Mul");
          bool done = false;
          for (int32_t k = 0; mul && k < 2 && !done; k++)
            if (is_vector_constant(graph, mul->inputs[k]) && match_normalized(graph, mul->inputs[1 - k], &v, &eps) &&
                match_centered(graph, v, &x)) {
              tern__value_id in[3] = {x, mul->inputs[k], node->inputs[i]};
              TERN_TRY(replace(graph, (int32_t)n, "LayerNormalization", 17, in, 3, eps));
              done = true;
            }
          if (done) break;
        } else if (match_normalized(graph, node->inputs[1 - i], &v, &eps) && !match_centered(graph, v, &x)) {
          tern__value_id in[2] = {v, node->inputs[i]};
          TERN_TRY(replace(graph, (int32_t)n, "SimplifiedLayerNormalization", 1, in, 2, eps));
          break;
        }
      }
    }
cleanup:
  return status;
}
