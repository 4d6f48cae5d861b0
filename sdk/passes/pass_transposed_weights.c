/* Exporters write a Linear layer as MatMul(x, Transpose(W)) where W is shared with an embedding table. tern.Linear
 * reads W as it lies: otherwise folding constants would copy it, transposed. Float32 only: before a half graph is
 * widened its activations are no float32, which tern.Linear wants. */
#include <string.h>

#include "passes/pass.h"

tern_status tern__pass_transposed_weights(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  size_t n_nodes = tern__array_count(graph->nodes);
  (void)options;
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *node = &graph->nodes[n];
    size_t count;
    int32_t made;
    if (node->dead || strcmp(node->op->name, "MatMul") != 0) continue;
    const tern__node *transpose = tern__match_producer(graph, node->inputs[1], "Transpose");
    if (!transpose) continue;
    const tern__value *w = &graph->values[transpose->inputs[0]];
    const int64_t *order = tern__node_ints(transpose, "perm", &count);
    if (!w->data || w->dtype != TERN_DTYPE_F32 || w->shape.rank != 2 ||
        (order && (count != 2 || order[0] != 1 || order[1] != 0)))
      continue;
    tern__value_id in[2] = {node->inputs[0], transpose->inputs[0]}, out = node->outputs[0];
    TERN_TRY(tern__pass_replace_node(graph, (int32_t)n, "Linear", "tern", 1, in, 2, &out, 1, &made));
  }
cleanup:
  return status;
}
