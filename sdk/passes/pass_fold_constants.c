/* Evaluates nodes whose inputs are all constants, once, at load. Results that would blow weights up (dequantized or
 * widened matrices) stay in the graph for the kernels to read as they are. */
#include <string.h>

#include "passes/pass.h"

enum { SMALL_BYTES = 64 << 10 };

static tern_status fold_node(tern__graph *graph, int32_t index, const tern_cancel *cancel, bool *folded) {
  tern_status status = TERN_OK;
  tern__node *node = &graph->nodes[index];
  tern__alloc *alloc = graph->alloc;
  size_t in_bytes = 0, out_bytes = 0;
  *folded = false;
  tern__view *in = tern__calloc(alloc, (size_t)node->n_inputs + 1, sizeof *in);
  tern__view *out = tern__calloc(alloc, (size_t)node->n_outputs + 1, sizeof *out);
  if (!in || !out) TERN_CHECK_ALLOC(NULL);
  for (int32_t i = 0; i < node->n_inputs; i++) {
    if (node->inputs[i] < 0) continue;
    const tern__value *v = &graph->values[node->inputs[i]];
    in[i] = (tern__view){v->dtype, v->shape, (void *)(uintptr_t)v->data, v->size_bytes};
    in_bytes += v->size_bytes;
  }
  for (int32_t i = 0; i < node->n_outputs; i++) out[i].shape.rank = -1;
  tern__op_call call = {node, graph, in, out, node->n_inputs, node->n_outputs, alloc, NULL, cancel};
  TERN_TRY(node->op->infer(&call));
  for (int32_t i = 0; i < node->n_outputs; i++) {
    if (node->outputs[i] < 0) {
      out[i].dtype = TERN_DTYPE_NONE;
      continue;
    }
    if (!tern__shape_bytes(out[i].dtype, &out[i].shape, &out[i].size_bytes)) goto cleanup; /* shape depends on data */
    if (!tern__add_size(out_bytes, out[i].size_bytes, &out_bytes)) goto cleanup;
  }
  if (out_bytes > SMALL_BYTES && out_bytes > in_bytes) goto cleanup;
  for (int32_t i = 0; i < node->n_outputs; i++) {
    if (node->outputs[i] < 0) continue;
    out[i].data = tern__arena_alloc_raw(graph->arena, out[i].size_bytes);
    TERN_CHECK_ALLOC(out[i].data);
  }
  TERN_TRY(node->op->reference(&call));
  for (int32_t i = 0; i < node->n_outputs; i++) {
    if (node->outputs[i] < 0) continue;
    tern__value *v = &graph->values[node->outputs[i]];
    v->dtype = out[i].dtype, v->shape = out[i].shape, v->data = out[i].data, v->size_bytes = out[i].size_bytes;
    v->producer = -1;
  }
  node->dead = true;
  *folded = true;
cleanup:
  tern__free(alloc, in);
  tern__free(alloc, out);
  return status;
}

tern_status tern__pass_fold_constants(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) { /* in topological order: one sweep is enough */
    const tern__node *node = &graph->nodes[n];
    bool constant = !(node->op->flags & TERN__OP_NOT_FOLDED), folded;
    for (int32_t i = 0; i < node->n_inputs; i++)
      constant &= node->inputs[i] < 0 || graph->values[node->inputs[i]].data != NULL;
    for (int32_t i = 0; i < node->n_attrs; i++) constant &= node->attrs[i].graph == NULL;
    if (constant) TERN_TRY(fold_node(graph, (int32_t)n, options->cancel, &folded));
  }
cleanup:
  return status;
}
