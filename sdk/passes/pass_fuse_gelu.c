/* x * 0.5 * (1 + erf(x / sqrt 2)), in the orders that exporters write, becomes Gelu (opset 20, exact form). */
#include <string.h>

#include "passes/pass.h"

/* erf(x / sqrt 2): gives x. */
static bool match_erf(const tern__graph *graph, tern__value_id value, tern__value_id *x) {
  const tern__node *erf = tern__match_producer(graph, value, "Erf");
  if (!erf) return false;
  const tern__node *scaled = tern__match_producer(graph, erf->inputs[0], "Div");
  if (scaled && tern__match_scalar_near(graph, scaled->inputs[1], 1.41421356f, 1e-3f)) {
    *x = scaled->inputs[0];
    return true;
  }
  scaled = tern__match_producer(graph, erf->inputs[0], "Mul");
  for (int32_t i = 0; scaled && i < 2; i++)
    if (tern__match_scalar_near(graph, scaled->inputs[i], 0.70710678f, 1e-3f)) {
      *x = scaled->inputs[1 - i];
      return true;
    }
  return false;
}

/* 1 + erf(x / sqrt 2): gives x. */
static bool match_one_plus_erf(const tern__graph *graph, tern__value_id value, tern__value_id *x) {
  const tern__node *add = tern__match_producer(graph, value, "Add");
  for (int32_t i = 0; add && i < 2; i++)
    if (tern__match_scalar_near(graph, add->inputs[i], 1.0f, 0) && match_erf(graph, add->inputs[1 - i], x)) return true;
  return false;
}

/* A product of the three factors x, 0.5 and (1 + erf): any association. */
static bool match_gelu(const tern__graph *graph, const tern__node *mul, tern__value_id *x) {
  for (int32_t i = 0; i < 2; i++) {
    tern__value_id a = mul->inputs[i], b = mul->inputs[1 - i], inner;
    const tern__node *sub = tern__match_producer(graph, b, "Mul");
    /* 0.5 * (x * (1 + erf)) */
    if (tern__match_scalar_near(graph, a, 0.5f, 0) && sub)
      for (int32_t k = 0; k < 2; k++)
        if (match_one_plus_erf(graph, sub->inputs[k], &inner) && sub->inputs[1 - k] == inner) return *x = inner, true;
    /* (0.5 * x) * (1 + erf) */
    if (match_one_plus_erf(graph, a, &inner) && sub)
      for (int32_t k = 0; k < 2; k++)
        if (tern__match_scalar_near(graph, sub->inputs[k], 0.5f, 0) && sub->inputs[1 - k] == inner)
          return *x = inner, true;
    /* x * (0.5 * (1 + erf)) */
    if (sub)
      for (int32_t k = 0; k < 2; k++)
        if (tern__match_scalar_near(graph, sub->inputs[k], 0.5f, 0) &&
            match_one_plus_erf(graph, sub->inputs[1 - k], &inner) && inner == a)
          return *x = inner, true;
  }
  return false;
}

tern_status tern__pass_fuse_gelu(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  (void)options;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    tern__value_id x;
    int32_t fused;
    if (graph->nodes[n].dead || strcmp(graph->nodes[n].op->name, "Mul") != 0 ||
        !match_gelu(graph, &graph->nodes[n], &x))
      continue;
    tern__value_id out = graph->nodes[n].outputs[0];
    TERN_TRY(tern__pass_replace_node(graph, (int32_t)n, "Gelu", "", 20, &x, 1, &out, 1, &fused));
  }
cleanup:
  return status;
}
