/* A small interpreter: nodes in topological order, only those the target needs. */
#include "passes/evaluate.h"

#include <string.h>

static void mark_needed(const tern__graph *graph, tern__value_id target, const tern__view *known, bool *needed) {
  if (graph->values[target].producer >= 0) needed[graph->values[target].producer] = true;
  for (size_t n = tern__array_count(graph->nodes); n-- > 0;) {
    if (!needed[n]) continue;
    for (int32_t i = 0; i < graph->nodes[n].n_inputs; i++) {
      tern__value_id in = graph->nodes[n].inputs[i];
      if (in >= 0 && known[in].dtype == TERN_DTYPE_NONE && graph->values[in].producer >= 0)
        needed[graph->values[in].producer] = true;
    }
  }
}

static tern_status run_node(const tern__graph *graph, const tern__node *node, tern__view *views, tern__arena *arena) {
  tern_status status = TERN_OK;
  tern__view *in = tern__arena_calloc(arena, (size_t)node->n_inputs + 1, sizeof *in);
  tern__view *out = tern__arena_calloc(arena, (size_t)node->n_outputs + 1, sizeof *out);
  bool complete = true;
  if (!in || !out) TERN_CHECK_ALLOC(NULL);
  for (int32_t i = 0; i < node->n_inputs; i++) {
    if (node->inputs[i] < 0) continue;
    in[i] = views[node->inputs[i]];
    if (in[i].dtype == TERN_DTYPE_NONE)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "node '%s' needs a value that is not known", node->name);
    complete &= in[i].data != NULL || in[i].size_bytes == 0;
  }
  for (int32_t i = 0; i < node->n_outputs; i++) out[i].shape.rank = -1;
  tern__op_call call = {node, graph, in, out, node->n_inputs, node->n_outputs, graph->alloc, NULL, NULL};
  TERN_TRY(node->op->infer(&call));
  for (int32_t i = 0; i < node->n_outputs; i++) {
    if (node->outputs[i] < 0) {
      out[i].dtype = TERN_DTYPE_NONE;
      continue;
    }
    if (!tern__shape_bytes(out[i].dtype, &out[i].shape, &out[i].size_bytes))
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "node '%s': shape not known", node->name);
    if (!complete && !(node->op->flags & TERN__OP_SHAPE_ONLY)) continue;
    out[i].data = tern__arena_alloc(arena, out[i].size_bytes + 1);
    TERN_CHECK_ALLOC(out[i].data);
  }
  if (complete || (node->op->flags & TERN__OP_SHAPE_ONLY)) TERN_TRY(node->op->reference(&call));
  for (int32_t i = 0; i < node->n_outputs; i++)
    if (node->outputs[i] >= 0) views[node->outputs[i]] = out[i];
cleanup:
  return status;
}

tern_status tern__evaluate(const tern__graph *graph, tern__value_id target, const tern__feed *feeds, size_t n_feeds,
                           tern__arena *arena, tern__view *out) {
  tern_status status = TERN_OK;
  size_t n_values = tern__array_count(graph->values), n_nodes = tern__array_count(graph->nodes);
  tern__view *views = tern__arena_calloc(arena, n_values + 1, sizeof *views);
  bool *needed = tern__arena_calloc(arena, n_nodes + 1, sizeof *needed);
  if (!views || !needed) TERN_CHECK_ALLOC(NULL);
  for (size_t v = 0; v < n_values; v++)
    if (graph->values[v].data)
      views[v] = (tern__view){graph->values[v].dtype, graph->values[v].shape, (void *)(uintptr_t)graph->values[v].data,
                              graph->values[v].size_bytes};
  for (size_t i = 0; i < n_feeds; i++) views[feeds[i].value] = feeds[i].view;
  mark_needed(graph, target, views, needed);
  for (size_t n = 0; n < n_nodes; n++)
    if (needed[n] && !graph->nodes[n].dead) TERN_TRY(run_node(graph, &graph->nodes[n], views, arena));
  if (!views[target].data)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "value '%s' could not be evaluated", graph->values[target].name);
  *out = views[target];
cleanup:
  return status;
}
