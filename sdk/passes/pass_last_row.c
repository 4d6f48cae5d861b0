/* Generation needs the logits of each sequence's last position only: tern.LastRow goes in front of the output matmul,
 * which is the largest one of most language models, and of the norm before it. */
#include <string.h>

#include "ir/uses.h"
#include "passes/pass.h"

static bool one_of(const char *name, const char *const *list) {
  for (; *list; list++)
    if (strcmp(name, *list) == 0) return true;
  return false;
}

/* The value whose last row is enough for the node: what it reads, or what a norm that nobody else needs reads. */
static int32_t *read_by(tern__graph *graph, int32_t n) {
  tern__value_id in = graph->nodes[n].inputs[0];
  int32_t norm = graph->values[in].producer;
  bool alone = norm >= 0 && tern__node_is_norm(&graph->nodes[norm]) && tern__graph_use_count(graph, in) == 1 &&
               !tern__graph_is_output(graph, in);
  return alone ? &graph->nodes[norm].inputs[0] : &graph->nodes[n].inputs[0];
}

tern_status tern__pass_last_row(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  static const char *const matmuls[] = {"Linear",        "ChannelLinear", "MatMul",     "MatMulNBits",
                                        "MatMulInteger", "Gemm",          "MatMulBnb4", NULL};
  static const char *const row_wise[] = {"Cast", "Mul", "Add", "Div", "Tanh", "Identity", NULL};
  tern__value_id logits = tern__graph_find(graph, "logits");
  if (!options->last_row || logits < 0 || !tern__graph_is_output(graph, logits)) goto cleanup;
  tern__value_id at = logits;
  for (int depth = 0; depth < 8; depth++) {
    int32_t p = graph->values[at].producer;
    if (p < 0 || (at != logits && tern__graph_use_count(graph, at) != 1)) break;
    const tern__node *node = &graph->nodes[p];
    if (one_of(node->op->name, matmuls)) {
      const tern__op_def *last_row = tern__op_find("LastRow", "tern", 1);
      tern__value_id in = *read_by(graph, p), row;
      if (!last_row) TERN_FAIL(TERN_STATUS_INTERNAL, "operator LastRow is not in this build");
      TERN_TRY(tern__graph_add_value(graph, "", TERN_DTYPE_NONE, -1, NULL, &row));
      TERN_TRY(tern__graph_add_node(graph, last_row, "last_row", 1, &in, 1, &row, 1, NULL));
      *read_by(graph, p) = row;
      break;
    }
    if (!one_of(node->op->name, row_wise)) break;
    tern__value_id next =
        -1; /* the one operand that is computed from rows: the other must be constant or a scalar chain */
    for (int32_t i = 0; i < node->n_inputs; i++) {
      int32_t q = node->inputs[i] < 0 ? -1 : graph->values[node->inputs[i]].producer;
      if (q < 0) continue;
      if (one_of(graph->nodes[q].op->name, matmuls) || one_of(graph->nodes[q].op->name, row_wise))
        if (next < 0 || one_of(graph->nodes[q].op->name, matmuls) ||
            strcmp(graph->nodes[q].op->name, "Cast") == 0)
          next = node->inputs[i];
    }
    if (next < 0) break;
    at = next;
  }
cleanup:
  return status;
}
