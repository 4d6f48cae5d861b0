/* Small questions that rewrites ask about the graph. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "passes/pass.h"

int32_t tern__match_producer_index(const tern__graph *graph, tern__value_id value) {
  return value < 0 ? -1 : graph->values[value].producer;
}

const tern__node *tern__match_producer(const tern__graph *graph, tern__value_id value, const char *op_name) {
  int32_t p = tern__match_producer_index(graph, value);
  return p >= 0 && !graph->nodes[p].dead && strcmp(graph->nodes[p].op->name, op_name) == 0 ? &graph->nodes[p] : NULL;
}

int32_t tern__match_single_consumer(const tern__graph *graph, tern__value_id value) {
  int32_t found = -1;
  if (tern__graph_is_output(graph, value)) return -1;
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) {
    if (graph->nodes[n].dead) continue;
    for (int32_t i = 0; i < graph->nodes[n].n_inputs; i++)
      if (graph->nodes[n].inputs[i] == value) {
        if (found >= 0) return -1;
        found = (int32_t)n;
      }
  }
  return found;
}

bool tern__match_is_input(const tern__graph *graph, tern__value_id value) {
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++)
    if (graph->inputs[i] == value) return true;
  return false;
}

bool tern__match_scalar(const tern__graph *graph, tern__value_id value, float *out) {
  size_t count;
  if (value < 0) return false;
  const tern__value *v = &graph->values[value];
  if (!v->data || !tern__shape_count(&v->shape, &count) || count != 1) return false;
  switch ((int)v->dtype) {
    case TERN_DTYPE_F32: memcpy(out, v->data, 4); return true;
    case TERN_DTYPE_F16: {
      uint16_t h;
      memcpy(&h, v->data, 2);
      *out = tern__f16_to_f32(h);
      return true;
    }
    case TERN_DTYPE_F64: {
      double d;
      memcpy(&d, v->data, 8);
      *out = (float)d;
      return true;
    }
    case TERN_DTYPE_I64: {
      int64_t i;
      memcpy(&i, v->data, 8);
      *out = (float)i;
      return true;
    }
    case TERN_DTYPE_I32: {
      int32_t i;
      memcpy(&i, v->data, 4);
      *out = (float)i;
      return true;
    }
  }
  return false;
}

bool tern__match_scalar_near(const tern__graph *graph, tern__value_id value, float expected, float relative) {
  float x;
  return tern__match_scalar(graph, value, &x) && fabsf(x - expected) <= relative * fabsf(expected);
}

int32_t tern__match_operand(const tern__graph *graph, const tern__node *node, const char *op_name) {
  for (int32_t i = 0; i < node->n_inputs && i < 2; i++)
    if (tern__match_producer(graph, node->inputs[i], op_name)) return i;
  return -1;
}

tern_status tern__pass_replace_node(tern__graph *graph, int32_t index, const char *op_name,
                                    const char *domain, int32_t opset, const tern__value_id *inputs,
                                    int32_t n_inputs, const tern__value_id *outputs, int32_t n_outputs,
                                    int32_t *out) {
  tern_status status = TERN_OK;
  const tern__op_def *op = tern__op_find(op_name, domain, opset);
  if (!op) TERN_FAIL(TERN_STATUS_INTERNAL, "operator %s is not in this build", op_name);
  graph->nodes[index].dead = true;
  for (int32_t i = 0; i < n_outputs; i++)
    if (outputs[i] >= 0) graph->values[outputs[i]].producer = -1;
  TERN_TRY(tern__graph_add_node(graph, op, graph->nodes[index].name, opset, inputs, n_inputs, outputs, n_outputs, out));
cleanup:
  return status;
}

static void remove_from(tern__value_id *list, tern__value_id id) {
  size_t n = tern__array_count(list), kept = 0;
  for (size_t i = 0; i < n; i++)
    if (list[i] != id) list[kept++] = list[i];
  tern__array_truncate(list, kept);
}

void tern__pass_take_cache(tern__graph *graph, tern__value_id past_k, tern__value_id past_v,
                           tern__value_id present_k, tern__value_id present_v) {
  remove_from(graph->inputs, past_k);
  remove_from(graph->inputs, past_v);
  remove_from(graph->outputs, present_k);
  remove_from(graph->outputs, present_v);
}

tern_status tern__pass_drop_unused_inputs(tern__graph *graph) {
  tern_status status = TERN_OK;
  size_t kept = 0;
  TERN_TRY(tern__graph_tidy(graph));
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++)
    if (tern__graph_use_count(graph, graph->inputs[i])) graph->inputs[kept++] = graph->inputs[i];
  tern__array_truncate(graph->inputs, kept);
cleanup:
  return status;
}
