/* float16 and bfloat16 graphs are computed in float32: kernels see f32 activations, weights stay as narrow as they are
 * where the operator reads them so (op->weight_inputs), and casts stand at inputs and outputs that the model declares
 * as float16. This is at least as exact as the file asks, and no intermediate can overflow float16. */
#include <string.h>

#include "base/half.h"
#include "passes/pass.h"

enum { ONNX_FLOAT = 1, ONNX_FLOAT16 = 10, ONNX_BFLOAT16 = 16 };

static bool is_half(tern_dtype dtype) { return dtype == TERN_DTYPE_F16 || dtype == TERN_DTYPE_BF16; }

static tern_status add_cast(tern__graph *graph, tern__value_id from, tern__value_id to, int64_t onnx_type) {
  tern_status status = TERN_OK;
  const tern__op_def *cast = tern__op_find("Cast", "", 19);
  int32_t index;
  if (!cast) TERN_FAIL(TERN_STATUS_INTERNAL, "operator Cast is not in this build");
  TERN_TRY(tern__graph_add_node(graph, cast, "widen_half", 19, &from, 1, &to, 1, &index));
  TERN_TRY(tern__node_set_int(graph, index, "to", onnx_type));
cleanup:
  return status;
}

/* A float32 twin of a half constant; made once per constant (value.aux). */
static tern_status widened(tern__graph *graph, tern__value_id id, tern__value_id *out) {
  tern_status status = TERN_OK;
  size_t count, bytes;
  if (graph->values[id].aux >= 0) {
    *out = graph->values[id].aux;
    goto cleanup;
  }
  if (!tern__shape_count(&graph->values[id].shape, &count) || !tern__mul_size(count, sizeof(float), &bytes))
    TERN_FAIL(TERN_STATUS_CORRUPT, "constant '%s' is too large", graph->values[id].name);
  float *data = tern__arena_alloc_raw(graph->arena, bytes);
  TERN_CHECK_ALLOC(data);
  for (size_t i = 0; i < count; i++) {
    uint16_t h;
    memcpy(&h, (const char *)graph->values[id].data + 2 * i, 2);
    data[i] = graph->values[id].dtype == TERN_DTYPE_F16 ? tern__f16_to_f32(h) : tern__bf16_to_f32(h);
  }
  tern__shape shape = graph->values[id].shape;
  TERN_TRY(tern__graph_add_constant(graph, "", TERN_DTYPE_F32, shape.rank, shape.dims, data, bytes, out));
  graph->values[id].aux = *out;
cleanup:
  return status;
}

static tern_status widen_node(tern__graph *graph, size_t n) {
  tern_status status = TERN_OK;
  for (int32_t i = 0; i < graph->nodes[n].n_inputs; i++) {
    tern__value_id id = graph->nodes[n].inputs[i];
    if (id < 0 || !graph->values[id].data || !is_half(graph->values[id].dtype)) continue;
    if (i < 32 && (graph->nodes[n].op->weight_inputs >> i & 1)) continue;
    tern__value_id wide;
    TERN_TRY(widened(graph, id, &wide));
    graph->nodes[n].inputs[i] = wide;
  }
  /* What names a half type as its result names float32 now. Attributes may be shared with the model's own graph, so a
   * later one is added: the last one set wins. */
  static const char *const type_attrs[] = {"to", "dtype"};
  for (size_t a = 0; a < sizeof type_attrs / sizeof *type_attrs; a++) {
    int64_t type = tern__node_int(&graph->nodes[n], type_attrs[a], 0);
    if (type == ONNX_FLOAT16 || type == ONNX_BFLOAT16)
      TERN_TRY(tern__node_set_int(graph, (int32_t)n, type_attrs[a], ONNX_FLOAT));
  }
  const tern__attr *value = tern__node_attr(&graph->nodes[n], "value");
  if (value && value->kind == TERN__ATTR_TENSOR && value->tensor >= 0 && is_half(graph->values[value->tensor].dtype)) {
    tern__attr wide = *value;
    TERN_TRY(widened(graph, value->tensor, &wide.tensor));
    TERN_TRY(tern__node_add_attr(graph, (int32_t)n, &wide));
  }
cleanup:
  return status;
}

tern_status tern__pass_widen_half(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t v = 0; v < tern__array_count(graph->values); v++) graph->values[v].aux = -1;
  for (size_t n = 0; n < n_nodes; n++) {
    TERN_TRY(tern__cancel_check(options->cancel, "widening float16 constants"));
    TERN_TRY(widen_node(graph, n));
  }
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++) {
    tern__value_id in = graph->inputs[i], wide;
    if (!is_half(graph->values[in].dtype)) continue;
    tern__shape shape = graph->values[in].shape;
    TERN_TRY(tern__graph_add_value(graph, "", TERN_DTYPE_F32, shape.rank, shape.dims, &wide));
    tern__graph_replace_uses(graph, in, wide);
    TERN_TRY(add_cast(graph, in, wide, ONNX_FLOAT));
  }
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++) {
    tern__value_id out = graph->outputs[i], wide;
    int32_t p = graph->values[out].producer;
    if (!is_half(graph->values[out].dtype) || p < 0) continue;
    if (options->float_outputs) {
      graph->values[out].dtype = TERN_DTYPE_F32;
      continue;
    }
    int64_t type = graph->values[out].dtype == TERN_DTYPE_F16 ? ONNX_FLOAT16 : ONNX_BFLOAT16;
    TERN_TRY(tern__graph_add_value(graph, "", TERN_DTYPE_F32, -1, NULL, &wide));
    for (int32_t o = 0; o < graph->nodes[p].n_outputs; o++)
      if (graph->nodes[p].outputs[o] == out) graph->nodes[p].outputs[o] = wide;
    graph->values[wide].producer = p;
    graph->values[out].producer = -1;
    for (size_t n = 0; n < n_nodes; n++)
      for (int32_t k = 0; k < graph->nodes[n].n_inputs; k++)
        if (graph->nodes[n].inputs[k] == out) graph->nodes[n].inputs[k] = wide;
    TERN_TRY(add_cast(graph, wide, out, type));
  }
  for (size_t v = 0; v < tern__array_count(graph->values); v++) /* declared types of what is computed are stale now */
    if (graph->values[v].producer >= 0 && is_half(graph->values[v].dtype) &&
        !tern__graph_is_output(graph, (tern__value_id)v))
      graph->values[v].dtype = TERN_DTYPE_F32;
cleanup:
  return status;
}
