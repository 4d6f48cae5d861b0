/* Building, editing and ordering the graph. */
#include <stdio.h>
#include <string.h>

#include "ir/graph.h"
#include "ir/op.h"

tern_status tern__graph_create(tern__alloc *alloc, tern__arena *arena, tern__graph **out) {
  tern__graph *g = tern__calloc(alloc, 1, sizeof *g);
  *out = g;
  if (!g) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a graph");
  g->alloc = alloc, g->arena = arena, g->name = "";
  return TERN_OK;
}

void tern__graph_destroy(tern__graph *graph) {
  if (!graph) return;
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++)
    for (int32_t a = 0; a < graph->nodes[n].n_attrs; a++) {
      tern__graph *sub = graph->nodes[n].attrs[a].graph;
      if (sub && sub->parent == graph) tern__graph_destroy(sub);
    }
  TERN_ARRAY_FREE(graph->alloc, graph->values);
  TERN_ARRAY_FREE(graph->alloc, graph->nodes);
  TERN_ARRAY_FREE(graph->alloc, graph->inputs);
  TERN_ARRAY_FREE(graph->alloc, graph->outputs);
  TERN_ARRAY_FREE(graph->alloc, graph->captures);
  tern__map_deinit(graph->alloc, &graph->by_name);
  tern__free(graph->alloc, graph);
}

tern_status tern__graph_copy(const tern__graph *graph, tern__alloc *alloc, tern__arena *arena, tern__graph **out) {
  tern_status status = TERN_OK;
  tern__graph *g = NULL;
  *out = NULL;
  TERN_TRY(tern__graph_create(alloc, arena, &g));
  g->name = graph->name, g->parent = graph->parent;
  TERN_ARRAY_APPEND(alloc, g->values, graph->values, tern__array_count(graph->values));
  TERN_ARRAY_APPEND(alloc, g->nodes, graph->nodes, tern__array_count(graph->nodes));
  TERN_ARRAY_APPEND(alloc, g->inputs, graph->inputs, tern__array_count(graph->inputs));
  TERN_ARRAY_APPEND(alloc, g->outputs, graph->outputs, tern__array_count(graph->outputs));
  TERN_ARRAY_APPEND(alloc, g->captures, graph->captures, tern__array_count(graph->captures));
  for (size_t n = 0; n < tern__array_count(g->nodes); n++) {
    tern__node *node = &g->nodes[n];
    tern__value_id *in = tern__arena_calloc(arena, (size_t)node->n_inputs, sizeof *in);
    tern__value_id *o = tern__arena_calloc(arena, (size_t)node->n_outputs, sizeof *o);
    TERN_CHECK_ALLOC(in);
    TERN_CHECK_ALLOC(o);
    if (node->n_inputs) memcpy(in, node->inputs, (size_t)node->n_inputs * sizeof *in);
    if (node->n_outputs) memcpy(o, node->outputs, (size_t)node->n_outputs * sizeof *o);
    node->inputs = in, node->outputs = o;
  }
  for (size_t v = 0; v < tern__array_count(g->values); v++) {
    const char *name = g->values[v].name;
    if (*name && !tern__map_put(alloc, &g->by_name, name, strlen(name), (int64_t)v)) TERN_CHECK_ALLOC(NULL);
  }
  *out = g, g = NULL;
cleanup:
  tern__graph_destroy(g);
  return status;
}

tern_status tern__graph_add_value(tern__graph *graph, const char *name, tern_dtype dtype, int32_t rank,
                                  const int64_t *dims, tern__value_id *out) {
  tern_status status = TERN_OK;
  *out = -1;
  if (rank > TERN_MAX_RANK)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "value '%s' has %d dimensions; at most %d are supported", name, rank,
              TERN_MAX_RANK);
  if (*name && tern__map_get(&graph->by_name, name, strlen(name), NULL))
    TERN_FAIL(TERN_STATUS_CORRUPT, "value '%s' is defined twice", name);
  size_t id = tern__array_count(graph->values);
  if (id >= INT32_MAX) TERN_FAIL(TERN_STATUS_UNSUPPORTED, "too many values in the graph");
  tern__value value = {.dtype = dtype, .producer = -1, .aux = -1};
  value.name = *name ? tern__arena_strdup(graph->arena, name) : "";
  TERN_CHECK_ALLOC(value.name);
  value.shape.rank = rank;
  for (int32_t i = 0; i < rank; i++) value.shape.dims[i] = dims[i];
  TERN_ARRAY_PUSH(graph->alloc, graph->values, value);
  if (*name && !tern__map_put(graph->alloc, &graph->by_name, value.name, strlen(value.name), (int64_t)id))
    TERN_CHECK_ALLOC(NULL);
  *out = (tern__value_id)id;
cleanup:
  return status;
}

tern_status tern__graph_add_constant(tern__graph *graph, const char *name, tern_dtype dtype, int32_t rank,
                                     const int64_t *dims, const void *data, size_t size_bytes, tern__value_id *out) {
  tern_status status = TERN_OK;
  size_t need;
  TERN_TRY(tern__graph_add_value(graph, name, dtype, rank, dims, out));
  tern__value *v = &graph->values[*out];
  if (!tern__shape_bytes(dtype, &v->shape, &need))
    TERN_FAIL(TERN_STATUS_CORRUPT, "constant '%s' has an impossible shape or type", name);
  if (need != size_bytes)
    TERN_FAIL(TERN_STATUS_CORRUPT, "constant '%s' needs %zu bytes, the file gives %zu", name, need, size_bytes);
  v->data = data, v->size_bytes = size_bytes;
cleanup:
  return status;
}

tern__value_id tern__graph_find(const tern__graph *graph, const char *name) {
  int64_t id;
  return tern__map_get(&graph->by_name, name, strlen(name), &id) ? (tern__value_id)id : -1;
}

tern_status tern__graph_add_input(tern__graph *graph, tern__value_id value) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(graph->alloc, graph->inputs, value);
cleanup:
  return status;
}

tern_status tern__graph_add_output(tern__graph *graph, tern__value_id value) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(graph->alloc, graph->outputs, value);
cleanup:
  return status;
}

tern_status tern__graph_add_node(tern__graph *graph, const tern__op_def *op, const char *name, int32_t opset,
                                 const tern__value_id *inputs, int32_t n_inputs, const tern__value_id *outputs,
                                 int32_t n_outputs, int32_t *out) {
  tern_status status = TERN_OK;
  tern__node node = {.op = op, .opset = opset, .n_inputs = n_inputs, .n_outputs = n_outputs};
  size_t index = tern__array_count(graph->nodes);
  node.name = tern__arena_strdup(graph->arena, name ? name : "");
  node.inputs = tern__arena_calloc(graph->arena, (size_t)n_inputs, sizeof *inputs);
  node.outputs = tern__arena_calloc(graph->arena, (size_t)n_outputs, sizeof *outputs);
  if (!node.name || !node.inputs || !node.outputs) TERN_CHECK_ALLOC(NULL);
  if (n_inputs) memcpy(node.inputs, inputs, (size_t)n_inputs * sizeof *inputs);
  if (n_outputs) memcpy(node.outputs, outputs, (size_t)n_outputs * sizeof *outputs);
  for (int32_t i = 0; i < n_outputs; i++) {
    if (outputs[i] < 0) continue;
    if (graph->values[outputs[i]].producer >= 0 || graph->values[outputs[i]].data)
      TERN_FAIL(TERN_STATUS_CORRUPT, "node '%s' (%s): its output '%s' already has a producer", node.name, op->name,
                graph->values[outputs[i]].name);
  }
  TERN_ARRAY_PUSH(graph->alloc, graph->nodes, node);
  for (int32_t i = 0; i < n_outputs; i++)
    if (outputs[i] >= 0) graph->values[outputs[i]].producer = (int32_t)index;
  if (out) *out = (int32_t)index;
cleanup:
  return status;
}

tern_status tern__node_add_attr(tern__graph *graph, int32_t index, const tern__attr *attr) {
  tern_status status = TERN_OK;
  tern__node *node = &graph->nodes[index];
  tern__attr *attrs = tern__arena_calloc(graph->arena, (size_t)node->n_attrs + 1, sizeof *attrs);
  TERN_CHECK_ALLOC(attrs);
  if (node->n_attrs) memcpy(attrs, node->attrs, (size_t)node->n_attrs * sizeof *attrs);
  attrs[node->n_attrs] = *attr;
  attrs[node->n_attrs].name = tern__arena_strdup(graph->arena, attr->name);
  TERN_CHECK_ALLOC(attrs[node->n_attrs].name);
  node->attrs = attrs, node->n_attrs++;
cleanup:
  return status;
}

tern_status tern__node_set_int(tern__graph *graph, int32_t node, const char *name, int64_t value) {
  return tern__node_add_attr(graph, node,
                             &(tern__attr){.name = name, .kind = TERN__ATTR_INT, .i = value, .tensor = -1});
}
tern_status tern__node_set_float(tern__graph *graph, int32_t node, const char *name, float value) {
  return tern__node_add_attr(graph, node,
                             &(tern__attr){.name = name, .kind = TERN__ATTR_FLOAT, .f = value, .tensor = -1});
}
tern_status tern__node_set_string(tern__graph *graph, int32_t node, const char *name, const char *value) {
  char *copy = tern__arena_strdup(graph->arena, value);
  if (!copy) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for an attribute");
  return tern__node_add_attr(graph, node, &(tern__attr){.name = name, .kind = TERN__ATTR_STRING, .s = copy,
                                                        .s_size = strlen(copy), .tensor = -1});
}
tern_status tern__node_set_ints(tern__graph *graph, int32_t node, const char *name, const int64_t *values,
                                size_t count) {
  int64_t *copy = tern__arena_calloc(graph->arena, count, sizeof *copy);
  if (!copy) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for an attribute");
  if (count) memcpy(copy, values, count * sizeof *copy);
  return tern__node_add_attr(
      graph, node,
      &(tern__attr){.name = name, .kind = TERN__ATTR_INTS, .ints = copy, .count = count, .tensor = -1});
}

void tern__graph_replace_uses(tern__graph *graph, tern__value_id from, tern__value_id to) {
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++)
    for (int32_t i = 0; i < graph->nodes[n].n_inputs; i++)
      if (graph->nodes[n].inputs[i] == from) graph->nodes[n].inputs[i] = to;
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++)
    if (graph->outputs[i] == from) graph->outputs[i] = to;
}

int32_t tern__graph_use_count(const tern__graph *graph, tern__value_id value) {
  int32_t uses = 0;
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++)
    if (!graph->nodes[n].dead)
      for (int32_t i = 0; i < graph->nodes[n].n_inputs; i++) uses += graph->nodes[n].inputs[i] == value;
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++) uses += graph->outputs[i] == value;
  return uses;
}

bool tern__graph_is_output(const tern__graph *graph, tern__value_id value) {
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++)
    if (graph->outputs[i] == value) return true;
  return false;
}

static bool listed(const tern__value_id *list, int32_t n, tern__value_id id) {
  for (int32_t i = 0; i < n; i++)
    if (list[i] == id) return true;
  return false;
}

static bool one_of(const int32_t *nodes, int32_t n, int32_t node) { return listed(nodes, n, node); }

/* True if a node beside these, or the caller, reads the value. */
static bool read_outside(const tern__graph *graph, tern__value_id id, const int32_t *nodes, int32_t n) {
  for (size_t m = 0; m < tern__array_count(graph->nodes); m++)
    if (!graph->nodes[m].dead && !one_of(nodes, n, (int32_t)m) &&
        listed(graph->nodes[m].inputs, graph->nodes[m].n_inputs, id))
      return true;
  return tern__graph_is_output(graph, id);
}

tern_status tern__graph_fuse(tern__graph *graph, const int32_t *nodes, int32_t n, const char *kind, int32_t *out) {
  tern_status status = TERN_OK;
  const tern__op_def *op = tern__op_find("Fused", "tern", 1);
  tern__node *parts = tern__arena_calloc(graph->arena, (size_t)n, sizeof *parts);
  tern__value_id *inputs = NULL, *outputs = NULL;
  if (!op || !parts) TERN_CHECK_ALLOC(NULL);
  for (int32_t i = 0; i < n; i++) {
    const tern__node *node = &graph->nodes[nodes[i]];
    parts[i] = *node;
    for (int32_t k = 0; k < node->n_inputs; k++) {
      tern__value_id id = node->inputs[k];
      if (id < 0 || one_of(nodes, n, graph->values[id].producer) ||
          listed(inputs, (int32_t)tern__array_count(inputs), id))
        continue;
      TERN_ARRAY_PUSH(graph->alloc, inputs, id);
    }
    for (int32_t k = 0; k < node->n_outputs; k++)
      if (node->outputs[k] >= 0 && read_outside(graph, node->outputs[k], nodes, n))
        TERN_ARRAY_PUSH(graph->alloc, outputs, node->outputs[k]);
  }
  for (int32_t i = 0; i < n; i++) graph->nodes[nodes[i]].dead = true;
  for (size_t i = 0; i < tern__array_count(outputs); i++) graph->values[outputs[i]].producer = -1;
  TERN_TRY(tern__graph_add_node(graph, op, parts[n - 1].name, 1, inputs, (int32_t)tern__array_count(inputs), outputs,
                                (int32_t)tern__array_count(outputs), out));
  TERN_TRY(tern__node_set_string(graph, *out, "kind", kind));
  graph->nodes[*out].parts = parts, graph->nodes[*out].n_parts = n;
cleanup:
  TERN_ARRAY_FREE(graph->alloc, inputs);
  TERN_ARRAY_FREE(graph->alloc, outputs);
  return status;
}

/* Depth-first order over producers with an explicit stack (a file decides the depth). state: 0 new, 1 open, 2 done. */
static tern_status visit(tern__graph *graph, int32_t root, uint8_t *state, int32_t **stack, int32_t **order) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(graph->alloc, *stack, root);
  while (tern__array_count(*stack)) {
    int32_t n = (*stack)[tern__array_count(*stack) - 1];
    const tern__node *node = &graph->nodes[n];
    if (state[n] == 2) {
      (void)tern__array_pop(*stack);
      continue;
    }
    if (state[n] == 1) { /* all producers are done */
      state[n] = 2;
      TERN_ARRAY_PUSH(graph->alloc, *order, n);
      (void)tern__array_pop(*stack);
      continue;
    }
    state[n] = 1;
    for (int32_t i = node->n_inputs; i-- > 0;) {
      if (node->inputs[i] < 0) continue;
      int32_t p = graph->values[node->inputs[i]].producer;
      if (p < 0 || state[p] == 2) continue;
      if (state[p] == 1)
        TERN_FAIL(TERN_STATUS_CORRUPT, "the graph has a cycle through node '%s' (%s)", node->name, node->op->name);
      TERN_ARRAY_PUSH(graph->alloc, *stack, p);
    }
    for (int32_t a = 0; a < node->n_attrs; a++) { /* what a subgraph captures is an input, too */
      const tern__graph *sub = node->attrs[a].graph;
      for (size_t c = 0; sub && c < tern__array_count(sub->captures); c++) {
        int32_t p = graph->values[sub->captures[c].outer].producer;
        if (p < 0 || state[p] == 2) continue;
        if (state[p] == 1)
          TERN_FAIL(TERN_STATUS_CORRUPT, "the graph has a cycle through node '%s' (%s)", node->name, node->op->name);
        TERN_ARRAY_PUSH(graph->alloc, *stack, p);
      }
    }
  }
cleanup:
  return status;
}

tern_status tern__graph_tidy(tern__graph *graph) {
  tern_status status = TERN_OK;
  size_t n_nodes = tern__array_count(graph->nodes);
  uint8_t *state = tern__calloc(graph->alloc, n_nodes + 1, 1);
  int32_t *stack = NULL, *order = NULL;
  tern__node *nodes = NULL;
  TERN_CHECK_ALLOC(state);
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++) {
    int32_t p = graph->values[graph->outputs[i]].producer;
    if (p >= 0 && state[p] != 2) TERN_TRY(visit(graph, p, state, &stack, &order));
  }
  for (size_t i = 0; i < tern__array_count(order); i++) {
    if (graph->nodes[order[i]].dead)
      TERN_FAIL(TERN_STATUS_INTERNAL, "a pass removed node '%s' (%s), whose result is still used",
                graph->nodes[order[i]].name, graph->nodes[order[i]].op->name);
    TERN_ARRAY_PUSH(graph->alloc, nodes, graph->nodes[order[i]]);
  }
  for (size_t n = 0; n < n_nodes; n++) { /* dropped nodes: their subgraphs go, their outputs have no producer */
    if (state[n] == 2) continue;
    for (int32_t i = 0; i < graph->nodes[n].n_outputs; i++)
      if (graph->nodes[n].outputs[i] >= 0 && graph->values[graph->nodes[n].outputs[i]].producer == (int32_t)n)
        graph->values[graph->nodes[n].outputs[i]].producer = -1;
    for (int32_t a = 0; a < graph->nodes[n].n_attrs; a++) {
      tern__graph *sub = graph->nodes[n].attrs[a].graph;
      if (sub && sub->parent == graph) tern__graph_destroy(sub);
    }
  }
  TERN_ARRAY_FREE(graph->alloc, graph->nodes);
  graph->nodes = nodes, nodes = NULL;
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++)
    for (int32_t i = 0; i < graph->nodes[n].n_outputs; i++)
      if (graph->nodes[n].outputs[i] >= 0) graph->values[graph->nodes[n].outputs[i]].producer = (int32_t)n;
cleanup:
  tern__free(graph->alloc, state);
  TERN_ARRAY_FREE(graph->alloc, stack);
  TERN_ARRAY_FREE(graph->alloc, order);
  TERN_ARRAY_FREE(graph->alloc, nodes);
  return status;
}

static bool is_source(const tern__graph *graph, tern__value_id id) {
  if (graph->values[id].data || graph->values[id].producer >= 0) return true;
  if (graph->values[id].shape.rank >= 0) { /* an empty constant has no bytes */
    size_t count;
    if (tern__shape_count(&graph->values[id].shape, &count) && count == 0) return true;
  }
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++)
    if (graph->inputs[i] == id) return true;
  for (size_t i = 0; i < tern__array_count(graph->captures); i++)
    if (graph->captures[i].inner == id) return true;
  return false;
}

tern_status tern__graph_verify(const tern__graph *graph) {
  tern_status status = TERN_OK;
  size_t n_values = tern__array_count(graph->values);
  bool *known = tern__calloc(graph->alloc, n_values + 1, sizeof *known);
  TERN_CHECK_ALLOC(known);
  for (size_t v = 0; v < n_values; v++) known[v] = graph->values[v].data || graph->values[v].producer >= 0;
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++) known[graph->inputs[i]] = true;
  for (size_t i = 0; i < tern__array_count(graph->captures); i++) known[graph->captures[i].inner] = true;
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) {
    const tern__node *node = &graph->nodes[n];
    const tern__op_def *op = node->op;
    if (node->n_inputs < op->min_inputs || (op->max_inputs >= 0 && node->n_inputs > op->max_inputs) ||
        node->n_outputs < op->min_outputs || (op->max_outputs >= 0 && node->n_outputs > op->max_outputs))
      TERN_FAIL(TERN_STATUS_CORRUPT, "node '%s' (%s) has %d inputs and %d outputs, which the operator does not take",
                node->name, op->name, node->n_inputs, node->n_outputs);
    for (int32_t i = 0; i < node->n_inputs; i++) {
      tern__value_id id = node->inputs[i];
      if (id < 0) {
        if (i < op->min_inputs && !(i < 32 && op->optional_inputs >> i & 1))
          TERN_FAIL(TERN_STATUS_CORRUPT, "node '%s' (%s): its required input %d is missing", node->name, op->name, i);
        continue;
      }
      if ((size_t)id >= n_values) TERN_FAIL(TERN_STATUS_INTERNAL, "node '%s': value id out of range", node->name);
      if (!known[id] && !is_source(graph, id))
        TERN_FAIL(TERN_STATUS_CORRUPT, "node '%s' (%s): nothing produces its input '%s'", node->name, op->name,
                  graph->values[id].name);
    }
  }
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++)
    if (!known[graph->outputs[i]] && !is_source(graph, graph->outputs[i]))
      TERN_FAIL(TERN_STATUS_CORRUPT, "nothing produces the graph's output '%s'", graph->values[graph->outputs[i]].name);
cleanup:
  tern__free(graph->alloc, known);
  return status;
}
