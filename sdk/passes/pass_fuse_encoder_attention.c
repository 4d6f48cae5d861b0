/* Attention over whole sequences without a past (BERT and its family) becomes tern.EncoderAttention on [B, S, H*D]: the
 * head transposes and the score matrix never reach memory. */
#include <string.h>

#include "passes/match_attention.h"

tern_status tern__pass_fuse_encoder_attention(tern__graph *graph, const tern__pass_options *options) {
  static const int64_t heads_first[4] = {0, 2, 1, 3};
  tern_status status = TERN_OK;
  (void)options;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    tern__attention_match m;
    tern__value_id x, in[4] = {-1, -1, -1, -1};
    int64_t heads[3], dim[3];
    if (graph->nodes[n].dead || strcmp(graph->nodes[n].op->name, "Softmax") != 0 ||
        !tern__match_attention(graph, (int32_t)n, &m))
      continue;
    if (!tern__match_transpose(graph, m.q, heads_first, 4, &x) ||
        !tern__match_split_heads(graph, x, &in[0], &heads[0], &dim[0]))
      continue;
    tern__value_id k = m.k;
    if (!m.k_transposed && !tern__match_transpose(graph, m.k, heads_first, 4, &k)) continue;
    if (!tern__match_split_heads(graph, k, &in[1], &heads[1], &dim[1])) continue;
    if (!tern__match_transpose(graph, m.v, heads_first, 4, &x) ||
        !tern__match_split_heads(graph, x, &in[2], &heads[2], &dim[2]))
      continue;
    if (heads[0] != heads[1] || heads[0] != heads[2] || dim[0] != dim[1] || dim[0] != dim[2]) continue;
    in[3] = m.mask;
    tern__value_id out = graph->nodes[m.reshape].outputs[0];
    int32_t fused;
    TERN_TRY(tern__pass_replace_node(graph, m.reshape, "EncoderAttention", "tern", 1, in, m.mask >= 0 ? 4 : 3,
                                     &out, 1, &fused));
    TERN_TRY(tern__node_set_int(graph, fused, "num_heads", heads[0]));
    TERN_TRY(tern__node_set_float(graph, fused, "scale", m.scale));
  }
cleanup:
  return status;
}
