/* Finds groups of nodes that the CPU runs as one step. */
#include "cpu/cpu_fuse.h"
#include "ir/uses.h"

#include <string.h>

/* Products whose rank does not decide whether they have kernels: what is fused must not fall back to the reference. */
static const struct { const char *name, *domain; tern__weight_read *read; int32_t bias; } products[] = {
    {"Linear", "tern", tern__weight_read_linear, 2},
    {"MatMul", "", tern__weight_read_matmul, 2},
    {"ChannelLinear", "tern", tern__weight_read_channel, 4},
};

enum { N_PRODUCTS = sizeof products / sizeof *products };

tern__weight_read *tern__cpu_product_reader(const tern__op_def *op) {
  for (int i = 0; i < N_PRODUCTS; i++)
    if (!strcmp(op->name, products[i].name) && !strcmp(op->domain, products[i].domain)) return products[i].read;
  return NULL;
}

/* Types are not always known before a run. */
static bool may_be_float(const tern__value *value) {
  return !value->data && (value->dtype == TERN_DTYPE_F32 || value->dtype == TERN_DTYPE_NONE);
}

/* ---- linear_bias ---- */

/* Columns of the product that node n is, if it has kernels and no bias; 0 if it is none. */
static int64_t columns_of(const tern__graph *graph, const tern__node *node) {
  for (int i = 0; i < N_PRODUCTS; i++) {
    if (!tern__node_is(node, products[i].name, products[i].domain)) continue;
    if (node->n_inputs > products[i].bias && node->inputs[products[i].bias] >= 0) return 0;
    for (int32_t k = 1; k < node->n_inputs; k++)
      if (node->inputs[k] >= 0 && !graph->values[node->inputs[k]].data) return 0;
    const tern__value *w = &graph->values[node->inputs[1]];
    bool rows_first = i == 0 || (i == 2 && !tern__node_int(node, "k_major", 0));
    if (!may_be_float(&graph->values[node->inputs[0]]) || w->shape.rank != 2 || (i < 2 && w->dtype != TERN_DTYPE_F32))
      return 0;
    return w->shape.dims[0] > 0 && w->shape.dims[1] > 0 ? w->shape.dims[rows_first ? 0 : 1] : 0;
  }
  return 0;
}

static tern_status fuse_biases(tern__graph *graph, const tern__uses *uses, bool activations) {
  tern_status status = TERN_OK;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    int64_t columns = columns_of(graph, &graph->nodes[n]);
    int32_t add = columns ? tern__uses_bias(uses, graph, graph->nodes[n].outputs[0], columns) : -1, fused;
    if (add < 0) continue;
    int32_t after = tern__uses_only_reader(uses, graph, graph->nodes[add].outputs[0]);
    tern__cpu_unary activation;
    bool active = activations && after >= 0 && tern__cpu_unary_of(&graph->nodes[after], &activation);
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){(int32_t)n, add, after}, active ? 3 : 2, "linear_bias", &fused));
  }
cleanup:
  return status;
}

/* ---- skip_norm ---- */

static tern_status fuse_skip_norms(tern__graph *graph) {
  tern_status status = TERN_OK;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *norm = &graph->nodes[n];
    int32_t fused;
    if (!tern__node_is_norm(norm)) continue;
    int32_t add = graph->values[norm->inputs[0]].producer;
    if (add < 0 || !tern__node_is(&graph->nodes[add], "Add", "")) continue;
    const tern__value_id *sum = graph->nodes[add].inputs;
    if (!may_be_float(&graph->values[sum[0]]) || !may_be_float(&graph->values[sum[1]])) continue;
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){add, (int32_t)n}, 2, "skip_norm", &fused));
  }
cleanup:
  return status;
}

tern_status tern__cpu_fuse(tern__graph *graph, bool activations) {
  tern_status status = TERN_OK;
  tern__uses uses = {NULL, NULL};
  TERN_TRY(tern__uses_count(&uses, graph));
  TERN_TRY(fuse_biases(graph, &uses, activations));
  TERN_TRY(fuse_skip_norms(graph));
  TERN_TRY(tern__graph_tidy(graph));
cleanup:
  tern__uses_free(&uses, graph);
  return status;
}
