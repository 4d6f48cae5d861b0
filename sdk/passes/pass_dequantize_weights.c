/* Weight-only int8 files hold Mul(Cast(q), scale) or DequantizeLinear(q, scale, zero point) in front of every
 * matmul. The result is a constant: it is computed once here, in float32, in place of at every run. */
#include <string.h>

#include "passes/pass.h"

enum { LARGEST = 1 << 30 };

static tern_status evaluate(tern__graph *graph, const tern__node *node, const tern__view *in,
                            const tern_cancel *cancel, tern__view *out, bool *done) {
  tern_status status = TERN_OK;
  out->shape.rank = -1;
  tern__op_call call = {node, graph, in, out, node->n_inputs, 1, graph->alloc, NULL, cancel};
  *done = false;
  TERN_TRY(node->op->infer(&call));
  if (out->dtype != TERN_DTYPE_F32 || !tern__shape_bytes(out->dtype, &out->shape, &out->size_bytes) ||
      out->size_bytes > LARGEST)
    goto cleanup;
  if (!out->data) out->data = tern__arena_alloc_raw(graph->arena, out->size_bytes);
  TERN_CHECK_ALLOC(out->data);
  TERN_TRY(node->op->reference(&call));
  *done = true;
cleanup:
  return status;
}

static tern__view view_of(const tern__graph *graph, tern__value_id id) {
  if (id < 0) return (tern__view){0};
  const tern__value *v = &graph->values[id];
  return (tern__view){v->dtype, v->shape, (void *)(uintptr_t)v->data, v->size_bytes};
}

static void make_constant(tern__graph *graph, tern__node *node, const tern__view *out) {
  tern__value *v = &graph->values[node->outputs[0]];
  v->dtype = out->dtype, v->shape = out->shape, v->data = out->data, v->size_bytes = out->size_bytes, v->producer = -1;
  node->dead = true;
}

tern_status tern__pass_dequantize_weights(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  void *scratch = NULL;
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) {
    tern__node *node = &graph->nodes[n];
    tern__view in[3] = {{0}}, out = {0};
    bool done = false;
    if (tern__graph_is_output(graph, node->outputs[0])) continue;
    if (strcmp(node->op->name, "DequantizeLinear") == 0) {
      bool constant = node->n_inputs <= 3;
      for (int32_t i = 0; i < node->n_inputs && constant; i++) {
        in[i] = view_of(graph, node->inputs[i]);
        constant = node->inputs[i] < 0 || in[i].data;
      }
      if (constant) TERN_TRY(evaluate(graph, node, in, options->cancel, &out, &done));
    } else if (strcmp(node->op->name, "Mul") == 0) {
      int32_t side = tern__match_operand(graph, node, "Cast");
      const tern__node *cast = side < 0 ? NULL : tern__match_producer(graph, node->inputs[side], "Cast");
      if (!cast || !graph->values[cast->inputs[0]].data || !graph->values[node->inputs[1 - side]].data) continue;
      tern__view q = view_of(graph, cast->inputs[0]), wide = {0};
      size_t count, bytes;
      if ((q.dtype != TERN_DTYPE_I8 && q.dtype != TERN_DTYPE_U8) || !tern__shape_count(&q.shape, &count) ||
          !tern__mul_size(count, 4, &bytes) || bytes > LARGEST)
        continue;
      scratch = wide.data = tern__malloc(graph->alloc, bytes);
      TERN_CHECK_ALLOC(scratch);
      TERN_TRY(evaluate(graph, cast, &q, options->cancel, &wide, &done));
      in[side] = wide, in[1 - side] = view_of(graph, node->inputs[1 - side]);
      if (done) TERN_TRY(evaluate(graph, node, in, options->cancel, &out, &done));
      tern__free(graph->alloc, scratch);
      scratch = NULL;
    }
    if (done) make_constant(graph, node, &out);
  }
cleanup:
  tern__free(graph->alloc, scratch);
  return status;
}
