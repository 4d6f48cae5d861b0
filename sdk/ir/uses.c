#include "ir/uses.h"

#include <string.h>

#include "ir/op.h"

void tern__uses_free(tern__uses *uses, const tern__graph *graph) {
  tern__free(graph->alloc, uses->count);
  tern__free(graph->alloc, uses->reader);
  *uses = (tern__uses){NULL, NULL};
}

tern_status tern__uses_count(tern__uses *uses, const tern__graph *graph) {
  tern_status status = TERN_OK;
  size_t n = tern__array_count(graph->values) + 1;
  tern__uses_free(uses, graph);
  uses->count = tern__calloc(graph->alloc, n, sizeof *uses->count);
  uses->reader = tern__calloc(graph->alloc, n, sizeof *uses->reader);
  if (!uses->count || !uses->reader) TERN_CHECK_ALLOC(NULL);
  for (size_t i = 0; i < tern__array_count(graph->nodes); i++) {
    const tern__node *node = &graph->nodes[i];
    for (int32_t k = 0; !node->dead && k < node->n_inputs; k++)
      if (node->inputs[k] >= 0) uses->count[node->inputs[k]]++, uses->reader[node->inputs[k]] = (int32_t)i;
  }
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++) uses->count[graph->outputs[i]]++;
cleanup:
  return status;
}

int32_t tern__uses_only_reader(const tern__uses *uses, const tern__graph *graph, tern__value_id id) {
  return uses->count[id] == 1 && !tern__graph_is_output(graph, id) ? uses->reader[id] : -1;
}

bool tern__node_is(const tern__node *node, const char *name, const char *domain) {
  return !node->dead && !strcmp(node->op->name, name) && !strcmp(node->op->domain, domain);
}

bool tern__node_is_norm(const tern__node *node) {
  bool rms = tern__node_is(node, "SimplifiedLayerNormalization", "") || tern__node_is(node, "RMSNormalization", "") ||
             tern__node_is(node, "SimplifiedLayerNormalization", "com.microsoft");
  return (rms || tern__node_is(node, "LayerNormalization", "")) && tern__node_int(node, "axis", -1) == -1 &&
         node->n_outputs == 1;
}

int32_t tern__uses_bias(const tern__uses *uses, const tern__graph *graph, tern__value_id product, int64_t n) {
  int32_t add = tern__uses_only_reader(uses, graph, product);
  if (add < 0 || !tern__node_is(&graph->nodes[add], "Add", "")) return -1;
  const tern__node *sum = &graph->nodes[add];
  const tern__value *bias = &graph->values[sum->inputs[sum->inputs[0] == product]];
  return bias->data && bias->dtype == TERN_DTYPE_F32 && bias->shape.rank == 1 && bias->shape.dims[0] == n ? add : -1;
}
