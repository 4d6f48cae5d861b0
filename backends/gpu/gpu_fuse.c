/* Finds groups of nodes that the GPU runs as one: fewer dispatches, and less to write and to read again. */
#include "gpu/gpu_fuse.h"
#include "ir/uses.h"

#include <string.h>

enum { MAX_GROUP = 3 };

typedef struct finder {
  tern__backend *backend;
  tern__graph *graph;
  tern__uses uses;
} finder;

static const struct { const char *name, *domain; tern__weight_read *read; } products[] = {
    {"Linear", "tern", tern__weight_read_linear},
    {"Gemm", "", tern__weight_read_gemm},
    {"MatMul", "", tern__weight_read_matmul},
    {"MatMulNBits", "com.microsoft", tern__weight_read_nbits},
    {"ChannelLinear", "tern", tern__weight_read_channel},
};

tern__weight_read *tern__gpu_product_reader(const tern__op_def *op) {
  for (size_t i = 0; i < sizeof products / sizeof *products; i++)
    if (!strcmp(op->name, products[i].name) && !strcmp(op->domain, products[i].domain)) return products[i].read;
  return NULL;
}

/* Reads a product before shapes are known: X is taken as one row that fits. */
static bool read_product(const finder *f, int32_t n, tern__weight_product *out, tern__gpu_weight_format *format) {
  const tern__node *node = &f->graph->nodes[n];
  tern__weight_read *read = tern__gpu_product_reader(node->op);
  tern__view views[TERN__WEIGHT_INPUTS];
  const tern__view *in[TERN__WEIGHT_INPUTS] = {NULL};
  const uint8_t *constants[TERN__WEIGHT_INPUTS] = {NULL};
  if (node->dead || !read || node->n_inputs > TERN__WEIGHT_INPUTS) return false;
  for (int32_t i = 0; i < node->n_inputs; i++) {
    if (node->inputs[i] < 0) continue;
    const tern__value *value = &f->graph->values[node->inputs[i]];
    views[i] = (tern__view){value->dtype, value->shape, (void *)(uintptr_t)value->data, value->size_bytes};
    if (i > 0 && !value->data) return false;
    in[i] = &views[i], constants[i] = value->data;
  }
  if (!in[0] || !in[1]) return false;
  /* K as the weights say it: Gemm wants two dimensions, the others take them. */
  bool k_last = tern__node_is(node, "Linear", "tern") ||
                (tern__node_is(node, "Gemm", "") && tern__node_int(node, "transB", 0)) ||
                (tern__node_is(node, "ChannelLinear", "tern") && !tern__node_int(node, "k_major", 0));
  int64_t k = tern__node_is(node, "MatMulNBits", "com.microsoft") ? tern__node_int(node, "K", 0)
              : in[1]->shape.rank == 2                    ? in[1]->shape.dims[k_last ? 1 : 0]
                                                          : 0;
  views[0] = (tern__view){TERN_DTYPE_F32, {2, {1, k}}, NULL, 0};
  return k > 0 && read(node, in, constants, out) && tern__gpu_weight_format_of(&out->source, format);
}

/* What alone reads the result of a product without a bias; -1 if there is no such node. */
static int32_t reader_of_product(const finder *f, int32_t n, tern__weight_product *out) {
  tern__gpu_weight_format format;
  if (!read_product(f, n, out, &format) || out->bias >= 0) return -1;
  return tern__uses_only_reader(&f->uses, f->graph, f->graph->nodes[n].outputs[0]);
}

/* Whether weights can be laid out as one: same format, same K, and what they make together fits a binding. */
static bool alike(const finder *f, const tern__weight_product *p, const tern__gpu_weight_format *formats, int n) {
  uint64_t columns = 0;
  for (int i = 0; i < n; i++) {
    if (formats[i] != formats[0] || p[i].source.k != p[0].source.k || (p[i].bias >= 0) != (p[0].bias >= 0))
      return false;
    columns += p[i].source.n;
  }
  return columns * p[0].source.k * sizeof(float) <= f->backend->info->max_binding_bytes;
}

/* ---- gate and up ---- */

static tern_status fuse_gated(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *node = &graph->nodes[n];
    tern__weight_product p[2];
    tern__gpu_weight_format formats[2];
    if (!tern__node_is(node, "SiluMul", "tern") && !tern__node_is(node, "GeluMul", "tern")) continue;
    int32_t a = graph->values[node->inputs[0]].producer, b = graph->values[node->inputs[1]].producer, fused;
    if (a < 0 || b < 0 || a == b || tern__uses_only_reader(&f->uses, graph, node->inputs[0]) < 0 ||
        tern__uses_only_reader(&f->uses, graph, node->inputs[1]) < 0 ||
        !read_product(f, a, &p[0], &formats[0]) || !read_product(f, b, &p[1], &formats[1]) ||
        graph->nodes[a].inputs[0] != graph->nodes[b].inputs[0] || p[0].source.n != p[1].source.n ||
        p[0].bias >= 0 || !alike(f, p, formats, 2))
      continue;
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){a, b, (int32_t)n}, 3, "linear_gated", &fused));
  }
cleanup:
  return status;
}

/* ---- a bias, and an activation of the sum ---- */

static const char *const activations[][2] = {
    {"Gelu", ""}, {"Gelu", "com.microsoft"}, {"FastGelu", "com.microsoft"}, {"QuickGelu", "com.microsoft"},
    {"Relu", ""}, {"Tanh", ""},              {"Sigmoid", ""},
};

static bool is_activation(const tern__node *node) {
  for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
    if (tern__node_is(node, activations[i][0], activations[i][1]) && node->n_inputs == 1) return true;
  return false;
}

static tern_status fuse_bias(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    tern__weight_product p;
    if (reader_of_product(f, (int32_t)n, &p) < 0) continue;
    int32_t add = tern__uses_bias(&f->uses, graph, graph->nodes[n].outputs[0], (int64_t)p.source.n), fused;
    if (add < 0) continue;
    int32_t parts[3] = {(int32_t)n, add}, n_parts = 2;
    int32_t next = tern__uses_only_reader(&f->uses, graph, graph->nodes[add].outputs[0]);
    if (next >= 0 && is_activation(&graph->nodes[next])) parts[n_parts++] = next;
    TERN_TRY(tern__graph_fuse(graph, parts, n_parts, "linear_bias", &fused));
  }
cleanup:
  return status;
}

/* ---- products of one X ---- */

/* The sum of product n and its constant bias, where that is a node of its own; -1 if it is not, or if an activation
 * follows, which linear_bias takes along. */
static int32_t bias_of_product(const finder *f, int32_t n, const tern__weight_product *p) {
  const tern__graph *graph = f->graph;
  int32_t add = p->bias >= 0 ? -1 : tern__uses_bias(&f->uses, graph, graph->nodes[n].outputs[0], (int64_t)p->source.n);
  int32_t next = add < 0 ? -1 : tern__uses_only_reader(&f->uses, graph, graph->nodes[add].outputs[0]);
  return next >= 0 && is_activation(&graph->nodes[next]) ? -1 : add;
}

/* Groups of products alone, or of products that each have a sum with their bias behind them. */
static tern_status find_groups(finder *f, bool sums) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    tern__weight_product p[MAX_GROUP];
    tern__gpu_weight_format formats[MAX_GROUP];
    int32_t parts[2 * MAX_GROUP], n_parts = 0, size = 0, add = -1, fused;
    if (!read_product(f, (int32_t)n, &p[0], &formats[0])) continue;
    for (size_t m = n; m < n_nodes && size < MAX_GROUP; m++) {
      if (graph->nodes[m].dead || graph->nodes[m].n_inputs < 1 || graph->nodes[m].op != graph->nodes[n].op ||
          graph->nodes[m].inputs[0] != graph->nodes[n].inputs[0] ||
          !read_product(f, (int32_t)m, &p[size], &formats[size]) || !alike(f, p, formats, size + 1) ||
          (sums && (add = bias_of_product(f, (int32_t)m, &p[size])) < 0)) {
        if (m == n) break;
        continue;
      }
      parts[n_parts++] = (int32_t)m;
      if (sums) parts[n_parts++] = add;
      size++;
    }
    if (size > 1) TERN_TRY(tern__graph_fuse(graph, parts, n_parts, "linear_group", &fused));
  }
cleanup:
  return status;
}

static tern_status fuse_groups(finder *f) { return find_groups(f, false); }
static tern_status fuse_biased_groups(finder *f) { return find_groups(f, true); }

/* ---- a product that is split ---- */

static tern_status fuse_splits(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    tern__weight_product p;
    int32_t split = reader_of_product(f, (int32_t)n, &p), fused;
    if (split < 0) continue;
    const tern__node *node = &graph->nodes[split];
    int64_t axis = tern__node_int(node, "axis", 0);
    if (!tern__node_is(node, "Split", "") || node->inputs[0] != graph->nodes[n].outputs[0] ||
        (axis != -1 && axis != 2) ||
        node->n_outputs < 2 || node->n_outputs > MAX_GROUP || (node->n_inputs > 1 && node->inputs[1] >= 0 &&
                                        !graph->values[node->inputs[1]].data))
      continue;
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){(int32_t)n, split}, 2, "linear_split", &fused));
  }
cleanup:
  return status;
}

/* ---- a product and its residual sum ---- */

static tern_status fuse_residuals(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    tern__weight_product p;
    tern__gpu_weight_format format;
    int32_t fused, add;
    if (!read_product(f, (int32_t)n, &p, &format) ||
        (add = tern__uses_only_reader(&f->uses, graph, graph->nodes[n].outputs[0])) < 0)
      continue;
    const tern__node *node = &graph->nodes[add];
    if (!tern__node_is(node, "Add", "") || node->inputs[0] == node->inputs[1]) continue;
    tern__value_id other = node->inputs[node->inputs[0] == graph->nodes[n].outputs[0]];
    if (graph->values[other].data) continue;
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){(int32_t)n, add}, 2, "linear_residual", &fused));
  }
cleanup:
  return status;
}

/* ---- a norm and what reads it ---- */

static bool takes_norm(const finder *f, int32_t n) {
  const tern__node *node = &f->graph->nodes[n];
  const char *kind = tern__node_string(node, "kind", "");
  tern__weight_product p;
  tern__gpu_weight_format format;
  if (node->n_parts) return !strcmp(kind, "linear_group") || !strcmp(kind, "linear_gated");
  return read_product(f, n, &p, &format);
}

static tern_status fuse_norms(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *node = &graph->nodes[n];
    int32_t reader, fused;
    if (node->dead || !tern__node_is_norm(node) || tern__node_is(node, "LayerNormalization", "")) continue;
    if (node->n_inputs < 2 || !graph->values[node->inputs[1]].data ||
        (reader = tern__uses_only_reader(&f->uses, graph, node->outputs[0])) < 0 || !takes_norm(f, reader) ||
        graph->nodes[reader].inputs[0] != node->outputs[0])
      continue;
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){(int32_t)n, reader}, 2, "norm_linear", &fused));
  }
cleanup:
  return status;
}

/* ---- a residual sum and its norm ---- */

static int32_t norm_of(const finder *f, tern__value_id sum) {
  for (size_t n = 0; n < tern__array_count(f->graph->nodes); n++)
    if (tern__node_is_norm(&f->graph->nodes[n]) && f->graph->nodes[n].inputs[0] == sum) return (int32_t)n;
  return -1;
}

static tern_status fuse_skip_norms(finder *f) {
  tern_status status = TERN_OK;
  tern__graph *graph = f->graph;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *add = &graph->nodes[n];
    int32_t fused, norm;
    if (!tern__node_is(add, "Add", "") || graph->values[add->inputs[0]].data || graph->values[add->inputs[1]].data ||
        (norm = norm_of(f, add->outputs[0])) < 0)
      continue;
    TERN_TRY(tern__graph_fuse(graph, (int32_t[]){(int32_t)n, norm}, 2, "skip_norm", &fused));
  }
cleanup:
  return status;
}

static const struct { const char *kind; tern_status (*run)(finder *); } families[] = {
    {"linear_gated", fuse_gated},  {"linear_group", fuse_biased_groups}, {"linear_bias", fuse_bias},
    {"linear_split", fuse_splits}, {"linear_group", fuse_groups},        {"linear_residual", fuse_residuals},
    {"norm_linear", fuse_norms},   {"skip_norm", fuse_skip_norms},
};

tern_status tern__gpu_fuse(tern__backend *backend, tern__graph *graph) {
  tern_status status = TERN_OK;
  finder f = {.backend = backend, .graph = graph};
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    if (!tern__gpu_find_fused(families[i].kind)) continue;
    TERN_TRY(tern__uses_count(&f.uses, graph));
    TERN_TRY(families[i].run(&f));
    TERN_TRY(tern__graph_tidy(graph));
  }
cleanup:
  tern__uses_free(&f.uses, graph);
  return status;
}
