/* Decoder attention in plain operators, as the older exports of Transformers.js folders have it: present =
 * Concat(past, new) for K and V, K and V repeated for grouped heads, MatMul, mask, Softmax, MatMul. It
 * becomes tern.KvAttention. The mask is a subgraph of its own (Range, Greater, Trilu, Where ...): in place of
 * guessing at its form, it is evaluated for a small example, and the rewrite happens only if it is exactly
 * the causal mask that KvAttention applies. */
#include <stdio.h>
#include <string.h>

#include "passes/evaluate.h"
#include "passes/match_attention.h"

enum { EXAMPLE_PAST = 3, EXAMPLE_NEW = 4 };

/* From K or V as attention reads it back to Concat(past, new): through Reshape(Expand(Unsqueeze(x))), which repeats
 * heads. Gives the Concat's node. */
static int32_t find_concat(const tern__graph *graph, tern__value_id value) {
  static const char *const through[] = {"Reshape", "Expand", "Unsqueeze", NULL};
  for (int depth = 0; depth < 8; depth++) {
    int32_t p = tern__match_producer_index(graph, value);
    if (p < 0) return -1;
    const tern__node *node = &graph->nodes[p];
    if (strcmp(node->op->name, "Concat") == 0)
      return node->n_inputs == 2 && tern__match_is_input(graph, node->inputs[0]) &&
                     tern__graph_is_output(graph, node->outputs[0])
                 ? p
                 : -1;
    bool ok = false;
    for (int i = 0; through[i]; i++) ok |= strcmp(node->op->name, through[i]) == 0;
    if (!ok) return -1;
    value = node->inputs[0];
  }
  return -1;
}

/* True if the mask, for one sequence with EXAMPLE_PAST cached and EXAMPLE_NEW new positions, hides exactly
 * the future. */
static tern_status mask_is_causal(const tern__graph *graph, tern__value_id mask, bool *causal) {
  tern_status status = TERN_OK;
  tern__arena arena;
  int64_t ids[EXAMPLE_NEW] = {0}, positions[EXAMPLE_NEW], ones[EXAMPLE_PAST + EXAMPLE_NEW];
  size_t n_inputs = tern__array_count(graph->inputs), n_feeds = 0;
  tern__view out;
  *causal = false;
  tern__arena_init(&arena, graph->alloc);
  tern__feed *feeds = tern__arena_calloc(&arena, n_inputs + 1, sizeof *feeds);
  TERN_CHECK_ALLOC(feeds);
  for (int64_t i = 0; i < EXAMPLE_NEW; i++) positions[i] = EXAMPLE_PAST + i;
  for (int64_t i = 0; i < EXAMPLE_PAST + EXAMPLE_NEW; i++) ones[i] = 1;
  for (size_t i = 0; i < n_inputs; i++) {
    tern__value_id id = graph->inputs[i];
    const char *name = graph->values[id].name;
    tern__view view = {TERN_DTYPE_I64, {2, {1, EXAMPLE_NEW}}, NULL, sizeof ids};
    if (strcmp(name, "input_ids") == 0) view.data = ids;
    else if (strcmp(name, "position_ids") == 0) view.data = positions;
    else if (strcmp(name, "attention_mask") == 0) {
      view.data = ones, view.size_bytes = sizeof ones;
      view.shape.dims[1] = EXAMPLE_PAST + EXAMPLE_NEW;
    } else {
      tern__shape shape = graph->values[id].shape;
      if (shape.rank != 4) continue;
      shape.dims[0] = 1, shape.dims[2] = EXAMPLE_PAST;
      if (!tern__shape_known(&shape)) continue;
      view = (tern__view){graph->values[id].dtype, shape, NULL, 1};
    }
    feeds[n_feeds++] = (tern__feed){id, view};
  }
  tern_status evaluated = tern__evaluate(graph, mask, feeds, n_feeds, &arena, &out);
  if (evaluated == TERN_STATUS_OUT_OF_MEMORY) TERN_TRY(evaluated);
  if (evaluated != TERN_OK || out.dtype != TERN_DTYPE_F32 || out.shape.rank < 2) goto cleanup;
  size_t count;
  if (!tern__shape_count(&out.shape, &count) || count != (size_t)EXAMPLE_NEW * (EXAMPLE_PAST + EXAMPLE_NEW))
    goto cleanup;
  for (int32_t s = 0; s < EXAMPLE_NEW; s++)
    for (int32_t t = 0; t < EXAMPLE_PAST + EXAMPLE_NEW; t++) {
      float m = ((const float *)out.data)[s * (EXAMPLE_PAST + EXAMPLE_NEW) + t];
      bool visible = t <= EXAMPLE_PAST + s;
      if (visible ? m != 0.0f : !(m <= -1e4f)) goto cleanup; /* -1e4 underflows the softmax, whatever the scores */
    }
  *causal = true;
cleanup:
  tern__arena_deinit(&arena);
  return status;
}

/* [B, H, S, D] -> [B, S, H*D], the layout that KvAttention reads. */
static tern_status merge_heads(tern__graph *graph, tern__value_id value, int64_t width, tern__value_id *out) {
  static const int64_t perm[4] = {0, 2, 1, 3};
  tern_status status = TERN_OK;
  const tern__op_def *transpose = tern__op_find("Transpose", "", 13), *reshape = tern__op_find("Reshape", "", 13);
  tern__value_id moved, in[2];
  int32_t index;
  int64_t three = 3, *shape = tern__arena_calloc(graph->arena, 3, sizeof *shape);
  TERN_CHECK_ALLOC(shape);
  shape[2] = width; /* 0, 0: batch and sequence as they are */
  /* Where the value is such a transpose itself, its input already has the layout. */
  static const int64_t heads_first[4] = {0, 2, 1, 3};
  if (!tern__match_transpose(graph, value, heads_first, 4, &moved)) {
    TERN_TRY(tern__graph_add_value(graph, "", TERN_DTYPE_NONE, -1, NULL, &moved));
    TERN_TRY(tern__graph_add_node(graph, transpose, "kv_merge_heads", 13, &value, 1, &moved, 1, &index));
    TERN_TRY(tern__node_set_ints(graph, index, "perm", perm, 4));
  }
  in[0] = moved;
  TERN_TRY(tern__graph_add_constant(graph, "", TERN_DTYPE_I64, 1, &three, shape, 3 * sizeof *shape, &in[1]));
  TERN_TRY(tern__graph_add_value(graph, "", TERN_DTYPE_NONE, -1, NULL, out));
  TERN_TRY(tern__graph_add_node(graph, reshape, "kv_merge_heads", 13, in, 2, out, 1, &index));
cleanup:
  return status;
}

static tern_status fuse(tern__graph *graph, const tern__attention_match *m, int32_t concat_k,
                        int32_t concat_v, int64_t heads, int64_t layer) {
  tern_status status = TERN_OK;
  tern__value_id past_k = graph->nodes[concat_k].inputs[0], past_v = graph->nodes[concat_v].inputs[0];
  tern__value_id new_k = graph->nodes[concat_k].inputs[1], new_v = graph->nodes[concat_v].inputs[1];
  tern__value_id present_k = graph->nodes[concat_k].outputs[0], present_v = graph->nodes[concat_v].outputs[0];
  int64_t kv_heads = graph->values[past_k].shape.dims[1], dim = graph->values[past_k].shape.dims[3];
  tern__value_id in[3], out = graph->nodes[m->reshape].outputs[0];
  int32_t fused;
  TERN_TRY(merge_heads(graph, m->q, heads * dim, &in[0]));
  TERN_TRY(merge_heads(graph, new_k, kv_heads * dim, &in[1]));
  TERN_TRY(merge_heads(graph, new_v, kv_heads * dim, &in[2]));
  TERN_TRY(tern__pass_replace_node(graph, m->reshape, "KvAttention", "tern", 1, in, 3, &out, 1, &fused));
  TERN_TRY(tern__node_set_int(graph, fused, "layer", layer));
  TERN_TRY(tern__node_set_int(graph, fused, "num_heads", heads));
  TERN_TRY(tern__node_set_int(graph, fused, "kv_num_heads", kv_heads));
  TERN_TRY(tern__node_set_int(graph, fused, "head_dim", dim));
  TERN_TRY(tern__node_set_int(graph, fused, "local_window", -1));
  TERN_TRY(tern__node_set_float(graph, fused, "scale", m->scale));
  tern__pass_take_cache(graph, past_k, past_v, present_k, present_v);
cleanup:
  return status;
}

/* Heads of q: from the Reshape that split them, looking through rotary embedding (Add of two products). */
static bool query_heads(const tern__graph *graph, tern__value_id value, int64_t *heads) {
  static const int64_t heads_first[4] = {0, 2, 1, 3};
  for (int depth = 0; depth < 6; depth++) {
    tern__value_id x;
    int64_t dim;
    if (tern__match_transpose(graph, value, heads_first, 4, &x))
      return tern__match_split_heads(graph, x, &x, heads, &dim);
    int32_t p = tern__match_producer_index(graph, value);
    if (p < 0 || graph->nodes[p].n_inputs < 1) return false;
    value = graph->nodes[p].inputs[0];
  }
  return false;
}

tern_status tern__pass_fuse_kv_plain(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  int64_t layer = 0;
  tern__value_id checked_mask = -1;
  bool causal = false;
  (void)options;
  size_t n_nodes = tern__array_count(graph->nodes);
  typedef struct found { tern__attention_match m; int32_t k, v; int64_t heads; } found;
  found *matches = NULL;
  for (size_t n = 0; n < n_nodes; n++) {
    found f;
    if (strcmp(graph->nodes[n].op->name, "Softmax") != 0 || !tern__match_attention(graph, (int32_t)n, &f.m)) continue;
    if (f.m.k_transposed || f.m.mask < 0) continue;
    f.k = find_concat(graph, f.m.k), f.v = find_concat(graph, f.m.v);
    if (f.k < 0 || f.v < 0 || !query_heads(graph, f.m.q, &f.heads)) continue;
    const tern__shape *past = &graph->values[graph->nodes[f.k].inputs[0]].shape;
    if (past->rank != 4 || past->dims[1] <= 0 || past->dims[3] <= 0 || f.heads % past->dims[1]) continue;
    /* Layers often share one mask, behind a Slice of their own: each distinct one is checked. */
    if (f.m.mask != checked_mask) TERN_TRY(mask_is_causal(graph, f.m.mask, &causal));
    checked_mask = f.m.mask;
    if (causal) TERN_ARRAY_PUSH(graph->alloc, matches, f);
  }
  for (size_t i = 0; i < tern__array_count(matches); i++)
    TERN_TRY(fuse(graph, &matches[i].m, matches[i].k, matches[i].v, matches[i].heads, layer++));
  if (layer) TERN_TRY(tern__pass_drop_unused_inputs(graph));
cleanup:
  TERN_ARRAY_FREE(graph->alloc, matches);
  return status;
}
