/* com.microsoft.GroupQueryAttention whose past is a graph input and whose present is a graph output becomes
 * tern.KvAttention: the cache lives in the session, positions are parameters, and a decode step keeps its shapes. */
#include <stdio.h>
#include <string.h>

#include "passes/pass.h"

/* One packed [B, S, (H + 2 Hkv) D] input is cut into query, key and value. */
static tern_status split_packed(tern__graph *graph, const char *name, tern__value_id packed, int64_t heads,
                                int64_t kv_heads, int64_t head_dim, tern__value_id *qkv) {
  tern_status status = TERN_OK;
  const tern__op_def *split = tern__op_find("Split", "", 13);
  if (!split) TERN_FAIL(TERN_STATUS_INTERNAL, "operator Split is not in this build");
  int64_t *sizes = tern__arena_calloc(graph->arena, 3, sizeof *sizes), dims = 3;
  TERN_CHECK_ALLOC(sizes);
  sizes[0] = heads * head_dim, sizes[1] = sizes[2] = kv_heads * head_dim;
  tern__value_id in[2] = {packed, -1};
  TERN_TRY(tern__graph_add_constant(graph, "", TERN_DTYPE_I64, 1, &dims, sizes, 3 * sizeof *sizes, &in[1]));
  for (int i = 0; i < 3; i++) TERN_TRY(tern__graph_add_value(graph, "", TERN_DTYPE_NONE, -1, NULL, &qkv[i]));
  int32_t index;
  TERN_TRY(tern__graph_add_node(graph, split, name, 13, in, 2, qkv, 3, &index));
  TERN_TRY(tern__node_set_int(graph, index, "axis", -1));
cleanup:
  return status;
}

static tern_status fuse(tern__graph *graph, int32_t index, int64_t layer) {
  tern_status status = TERN_OK;
  tern__node gqa = graph->nodes[index];
  tern__value_id past_k = gqa.inputs[3], past_v = gqa.inputs[4], present_k = gqa.outputs[1], present_v = gqa.outputs[2];
  int64_t heads = tern__node_int(&gqa, "num_heads", 0), kv_heads = tern__node_int(&gqa, "kv_num_heads", 0);
  const tern__shape *past = &graph->values[past_k].shape;
  if (heads <= 0 || kv_heads <= 0 || past->rank != 4 || past->dims[3] <= 0)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "node '%s' (GroupQueryAttention): '%s' must be declared as [batch, %lld, past, head size] for "
              "an in-place cache",
              gqa.name, graph->values[past_k].name, (long long)kv_heads);
  if (tern__node_int(&gqa, "smooth_softmax", 0) > 0)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "node '%s' (GroupQueryAttention): smooth_softmax is not supported", gqa.name);
  tern__value_id in[5] = {gqa.inputs[0], gqa.inputs[1], gqa.inputs[2], -1, -1};
  if (in[1] < 0) TERN_TRY(split_packed(graph, gqa.name, gqa.inputs[0], heads, kv_heads, past->dims[3], in));
  bool rotary = tern__node_int(&gqa, "do_rotary", 0) != 0;
  int32_t n_inputs = 3;
  if (rotary) {
    if (gqa.n_inputs < 9 || gqa.inputs[7] < 0 || gqa.inputs[8] < 0)
      TERN_FAIL(TERN_STATUS_CORRUPT, "node '%s' (GroupQueryAttention): do_rotary without cos and sin caches", gqa.name);
    in[3] = gqa.inputs[7], in[4] = gqa.inputs[8], n_inputs = 5;
  }
  int64_t head_dim = graph->values[past_k].shape.dims[3];
  graph->values[present_k].producer = graph->values[present_v].producer = -1;
  int32_t fused;
  TERN_TRY(tern__pass_replace_node(graph, index, "KvAttention", "tern", 1, in, n_inputs, gqa.outputs, 1, &fused));
  TERN_TRY(tern__node_set_int(graph, fused, "layer", layer));
  TERN_TRY(tern__node_set_int(graph, fused, "num_heads", heads));
  TERN_TRY(tern__node_set_int(graph, fused, "kv_num_heads", kv_heads));
  TERN_TRY(tern__node_set_int(graph, fused, "head_dim", head_dim));
  TERN_TRY(tern__node_set_int(graph, fused, "rotary_interleaved", tern__node_int(&gqa, "rotary_interleaved", 0)));
  TERN_TRY(tern__node_set_int(graph, fused, "local_window", tern__node_int(&gqa, "local_window_size", -1)));
  TERN_TRY(tern__node_set_float(graph, fused, "scale", tern__node_float(&gqa, "scale", 0.0f)));
  TERN_TRY(tern__node_set_float(graph, fused, "softcap", tern__node_float(&gqa, "softcap", 0.0f)));
  tern__pass_take_cache(graph, past_k, past_v, present_k, present_v);
cleanup:
  return status;
}

tern_status tern__pass_fuse_kv_attention(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  int64_t layer = 0;
  (void)options;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *node = &graph->nodes[n];
    if (node->dead || strcmp(node->op->name, "GroupQueryAttention") != 0) continue;
    if (node->n_inputs < 7 || node->n_outputs < 3 || !tern__match_is_input(graph, node->inputs[3]) ||
        !tern__match_is_input(graph, node->inputs[4]) || !tern__graph_is_output(graph, node->outputs[1]) ||
        !tern__graph_is_output(graph, node->outputs[2]))
      continue;
    TERN_TRY(fuse(graph, (int32_t)n, layer++));
  }
  /* What only fed the old nodes (attention_mask, often position_ids) is no input any more. */
  if (layer) TERN_TRY(tern__pass_drop_unused_inputs(graph));
cleanup:
  return status;
}
