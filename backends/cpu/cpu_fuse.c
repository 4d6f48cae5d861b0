/* Finds groups of nodes that the CPU runs as one step. */
#include "cpu/cpu_fuse.h"

#include <string.h>

/* Products whose rank does not decide whether they have kernels: what is fused must not fall back to the reference. */
static const struct { const char *name, *domain; tern__weight_read *read; int32_t bias; } products[] = {
    {"Linear", "tern", tern__weight_read_linear, 2},
    {"MatMul", "", tern__weight_read_matmul, 2},
    {"ChannelLinear", "tern", tern__weight_read_channel, 4},
};

enum { N_PRODUCTS = sizeof products / sizeof *products };

static bool is_op(const tern__node *node, const char *name, const char *domain) {
  return !node->dead && !strcmp(node->op->name, name) && !strcmp(node->op->domain, domain);
}

tern__weight_read *tern__cpu_product_reader(const tern__op_def *op) {
  for (int i = 0; i < N_PRODUCTS; i++)
    if (!strcmp(op->name, products[i].name) && !strcmp(op->domain, products[i].domain)) return products[i].read;
  return NULL;
}

/* Types are not always known before a run. */
static bool may_be_float(const tern__value *value) {
  return !value->data && (value->dtype == TERN_DTYPE_F32 || value->dtype == TERN_DTYPE_NONE);
}

typedef struct finder {
  tern__graph *graph;
  int32_t *uses;     /* per value: inputs that read it, and graph outputs */
  int32_t *consumer; /* per value: the last node that reads it */
} finder;

static tern_status count_uses(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n = tern__array_count(graph->values) + 1;
  f->uses = tern__calloc(graph->alloc, n, sizeof *f->uses);
  f->consumer = tern__calloc(graph->alloc, n, sizeof *f->consumer);
  if (!f->uses || !f->consumer) TERN_CHECK_ALLOC(NULL);
  for (size_t i = 0; i < tern__array_count(graph->nodes); i++) {
    const tern__node *node = &graph->nodes[i];
    for (int32_t k = 0; !node->dead && k < node->n_inputs; k++)
      if (node->inputs[k] >= 0) f->uses[node->inputs[k]]++, f->consumer[node->inputs[k]] = (int32_t)i;
  }
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++) f->uses[graph->outputs[i]]++;
cleanup:
  return status;
}

/* ---- linear_bias ---- */

/* Columns of the product that node n is, if it has kernels and no bias; 0 if it is none. */
static int64_t columns_of(const tern__graph *graph, const tern__node *node) {
  for (int i = 0; i < N_PRODUCTS; i++) {
    if (!is_op(node, products[i].name, products[i].domain)) continue;
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

static tern_status fuse_bias(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    int64_t columns = columns_of(graph, &graph->nodes[n]);
    if (!columns) continue;
    tern__value_id product = graph->nodes[n].outputs[0];
    if (f->uses[product] != 1 || tern__graph_is_output(graph, product)) continue;
    int32_t add = f->consumer[product], fused;
    const tern__node *sum = &graph->nodes[add];
    if (!is_op(sum, "Add", "")) continue;
    const tern__value *bias = &graph->values[sum->inputs[sum->inputs[0] == product]];
    if (!bias->data || bias->dtype != TERN_DTYPE_F32 || bias->shape.rank != 1 || bias->shape.dims[0] != columns)
      continue;
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){(int32_t)n, add}, 2, "linear_bias", &fused));
  }
cleanup:
  return status;
}

/* ---- skip_norm ---- */

static bool is_norm(const tern__node *node) {
  bool rms = is_op(node, "SimplifiedLayerNormalization", "") || is_op(node, "RMSNormalization", "") ||
             is_op(node, "SimplifiedLayerNormalization", "com.microsoft");
  return (rms || is_op(node, "LayerNormalization", "")) && tern__node_int(node, "axis", -1) == -1 &&
         node->n_outputs == 1;
}

static tern_status fuse_skip_norms(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *norm = &graph->nodes[n];
    int32_t fused;
    if (norm->dead || !is_norm(norm)) continue;
    int32_t add = graph->values[norm->inputs[0]].producer;
    if (add < 0 || !is_op(&graph->nodes[add], "Add", "")) continue;
    const tern__value_id *sum = graph->nodes[add].inputs;
    if (!may_be_float(&graph->values[sum[0]]) || !may_be_float(&graph->values[sum[1]])) continue;
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){add, (int32_t)n}, 2, "skip_norm", &fused));
  }
cleanup:
  return status;
}

tern_status tern__cpu_fuse(tern__graph *graph) {
  tern_status status = TERN_OK;
  finder f = {.graph = graph};
  TERN_TRY(count_uses(&f));
  TERN_TRY(fuse_bias(&f));
  TERN_TRY(fuse_skip_norms(&f));
  TERN_TRY(tern__graph_tidy(graph));
cleanup:
  tern__free(graph->alloc, f.uses);
  tern__free(graph->alloc, f.consumer);
  return status;
}
