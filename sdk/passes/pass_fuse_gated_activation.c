/* (x * sigmoid(x)) * y -> SiluMul(x, y) and Gelu(x) * y -> GeluMul(x, y): the gates of Llama-like and Gemma-like MLPs,
 * one pass over memory in place of three. */
#include <string.h>

#include "passes/pass.h"

/* If `value` is x * sigmoid(x), gives x. */
static bool match_silu(const tern__graph *graph, tern__value_id value, tern__value_id *x) {
  const tern__node *mul = tern__match_producer(graph, value, "Mul");
  if (!mul || tern__graph_use_count(graph, value) != 1) return false;
  for (int32_t i = 0; i < 2; i++) {
    const tern__node *sigmoid = tern__match_producer(graph, mul->inputs[i], "Sigmoid");
    if (sigmoid && sigmoid->inputs[0] == mul->inputs[1 - i]) {
      *x = mul->inputs[1 - i];
      return true;
    }
  }
  return false;
}

tern_status tern__pass_fuse_gated_activation(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  (void)options;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *mul = &graph->nodes[n];
    if (mul->dead || strcmp(mul->op->name, "Mul") != 0) continue;
    for (int32_t i = 0; i < 2; i++) {
      tern__value_id in[2], x;
      tern__value_id out = mul->outputs[0], other = mul->inputs[1 - i];
      int32_t fused;
      if (other == mul->inputs[i] || graph->values[other].data) continue; /* a gate multiplies two activations */
      const tern__node *gelu = tern__match_producer(graph, mul->inputs[i], "Gelu");
      if (match_silu(graph, mul->inputs[i], &x)) {
        in[0] = x, in[1] = other;
        TERN_TRY(tern__pass_replace_node(graph, (int32_t)n, "SiluMul", "tern", 1, in, 2, &out, 1, &fused));
        break;
      }
      if (gelu && tern__graph_use_count(graph, mul->inputs[i]) == 1) {
        const char *approximate = tern__node_string(gelu, "approximate", "none");
        in[0] = gelu->inputs[0], in[1] = other;
        TERN_TRY(tern__pass_replace_node(graph, (int32_t)n, "GeluMul", "tern", 1, in, 2, &out, 1, &fused));
        TERN_TRY(tern__node_set_string(graph, fused, "approximate", approximate));
        break;
      }
    }
  }
cleanup:
  return status;
}
