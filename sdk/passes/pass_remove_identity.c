/* Takes out nodes that pass their input on: Identity, Dropout without its mask (inference), Cast to the type the value
 * already has. A graph output keeps its name: the producer writes it directly. */
#include <string.h>

#include "passes/pass.h"

static bool is_identity(const tern__graph *graph, const tern__node *node) {
  if (strcmp(node->op->name, "Identity") == 0) return true;
  if (strcmp(node->op->name, "Dropout") == 0) {
    if (node->n_outputs > 1 && node->outputs[1] >= 0 && tern__graph_use_count(graph, node->outputs[1])) return false;
    if (node->n_inputs > 2 && node->inputs[2] >= 0) { /* training_mode must be a known false */
      const tern__value *mode = &graph->values[node->inputs[2]];
      return mode->data && *(const uint8_t *)mode->data == 0;
    }
    return true;
  }
  if (strcmp(node->op->name, "Cast") == 0) {
    tern_dtype to = tern__dtype_of_onnx(tern__node_int(node, "to", 0)), from = graph->values[node->inputs[0]].dtype;
    return to != TERN_DTYPE_NONE && to == from;
  }
  return false;
}

tern_status tern__pass_remove_identity(tern__graph *graph, const tern__pass_options *options) {
  (void)options;
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) {
    tern__node *node = &graph->nodes[n];
    if (!is_identity(graph, node)) continue;
    tern__value_id in = node->inputs[0], out = node->outputs[0];
    bool output = tern__graph_is_output(graph, out);
    if (!output) {
      tern__graph_replace_uses(graph, out, in);
      node->dead = true;
      continue;
    }
    /* The output's name must stay. Possible when `in` is an ordinary intermediate value. */
    int32_t p = graph->values[in].producer;
    if (p < 0 || tern__graph_is_output(graph, in)) continue;
    for (int32_t i = 0; i < graph->nodes[p].n_outputs; i++)
      if (graph->nodes[p].outputs[i] == in) graph->nodes[p].outputs[i] = out;
    node->dead = true;
    graph->values[out].producer = p;
    graph->values[in].producer = -1;
    tern__graph_replace_uses(graph, in, out);
  }
  return TERN_OK;
}
