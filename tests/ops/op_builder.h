/* Graphs of one node with random operands, for tests that hold backends to an op's reference. */
#ifndef TERN_TESTS_OP_BUILDER_H
#define TERN_TESTS_OP_BUILDER_H

#ifdef TERN_NO_CRITERION
#  include "unit/mini_criterion.h"
#else
#  include <criterion/criterion.h>
#endif
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "ir/quants.h"
#include "runtime/kv_cache.h"
#include "runtime/plan.h"
#include "runtime/thread_pool.h"

enum { MAX_INPUTS = 24 };

typedef struct one_op {
  tern__alloc alloc;
  tern__arena arena;
  tern__graph *graph;
  const tern__op_def *op;
  tern__value_id ids[MAX_INPUTS], outs[4];
  int n_inputs, n_outputs;
  tern__view feeds[MAX_INPUTS]; /* of graph inputs, in order */
  int n_feeds;
  int32_t node;
  tern__kv_cache *kv;
  tern_numerics numerics;
  uint64_t binding_limit; /* a GPU's max_binding_bytes is taken to be this; 0 = what it is */
  uint32_t groups_limit;  /* its max_groups likewise */
} one_op;

static uint32_t seed = 1;
static float noise(void) {
  seed = seed * 1664525u + 1013904223u;
  return (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
}

static void begin(one_op *t, const char *op, const char *domain, int32_t opset) {
  memset(t, 0, sizeof *t);
  tern__alloc_init(&t->alloc, NULL, 0);
  tern__arena_init(&t->arena, &t->alloc);
  cr_assert_eq(tern__graph_create(&t->alloc, &t->arena, &t->graph), TERN_OK);
  t->op = tern__op_find(op, domain, opset);
  cr_assert_not_null(t->op, "no op %s", op);
}

static void end(one_op *t) {
  tern__kv_cache_destroy(&t->alloc, t->kv);
  tern__graph_destroy(t->graph);
  tern__arena_deinit(&t->arena);
  cr_expect_eq(t->alloc.live_bytes, 0, "memory is kept");
}

static void *add(one_op *t, bool constant, tern_dtype dtype, int rank, va_list list) {
  cr_assert(t->n_inputs < MAX_INPUTS);
  char *name = tern__arena_printf(&t->arena, "in%d", t->n_inputs);
  tern__view v = {.dtype = dtype, .shape.rank = rank};
  for (int i = 0; i < rank; i++) v.shape.dims[i] = va_arg(list, int);
  cr_assert(tern__shape_bytes(dtype, &v.shape, &v.size_bytes));
  v.data = tern__arena_alloc(&t->arena, v.size_bytes + 64);
  tern__value_id *id = &t->ids[t->n_inputs++];
  if (constant)
    cr_assert_eq(
        tern__graph_add_constant(t->graph, name, dtype, rank, v.shape.dims, v.data, v.size_bytes, id),
        TERN_OK);
  else {
    cr_assert_eq(tern__graph_add_value(t->graph, name, dtype, rank, v.shape.dims, id), TERN_OK);
    tern__graph_add_input(t->graph, *id);
    t->feeds[t->n_feeds++] = v;
  }
  size_t n;
  tern__shape_count(&v.shape, &n);
  if (dtype == TERN_DTYPE_F32)
    for (size_t i = 0; i < n; i++) ((float *)v.data)[i] = noise();
  else if (dtype == TERN_DTYPE_F16)
    for (size_t i = 0; i < n; i++) ((uint16_t *)v.data)[i] = tern__f32_to_f16(noise());
  else if (dtype == TERN_DTYPE_BF16)
    for (size_t i = 0; i < n; i++) ((uint16_t *)v.data)[i] = tern__f32_to_bf16(noise());
  else
    for (size_t i = 0; i < v.size_bytes; i++) ((uint8_t *)v.data)[i] = (uint8_t)(noise() * 128 + 128);
  return v.data;
}
static inline void *input(one_op *t, tern_dtype dtype, int rank, ...) {
  va_list list;
  va_start(list, rank);
  void *data = add(t, false, dtype, rank, list);
  va_end(list);
  return data;
}
static inline void *constant(one_op *t, tern_dtype dtype, int rank, ...) {
  va_list list;
  va_start(list, rank);
  void *data = add(t, true, dtype, rank, list);
  va_end(list);
  return data;
}

static inline void absent(one_op *t) { t->ids[t->n_inputs++] = -1; }

static inline void node(one_op *t, int n_outputs, int32_t opset) {
  t->n_outputs = n_outputs;
  for (int i = 0; i < n_outputs; i++) {
    cr_assert_eq(tern__graph_add_value(t->graph, tern__arena_printf(&t->arena, "out%d", i), TERN_DTYPE_NONE,
                                       -1, NULL, &t->outs[i]),
                 TERN_OK);
    tern__graph_add_output(t->graph, t->outs[i]);
  }
  cr_assert_eq(
      tern__graph_add_node(t->graph, t->op, "node", opset, t->ids, t->n_inputs, t->outs, n_outputs, &t->node),
      TERN_OK);
}
static inline void set_int(one_op *t, const char *name, int64_t v) {
  tern__node_set_int(t->graph, t->node, name, v);
}
static inline void set_float(one_op *t, const char *name, float v) {
  tern__node_set_float(t->graph, t->node, name, v);
}

/* Block-quantized rows with sane scales: random bytes, f16 scales in +-2^-6. */
static inline void fill_blocks(void *data, tern_dtype dtype, size_t bytes) {
  const tern__dtype_info *info = tern__dtype_info_of(dtype);
  for (size_t b = 0; b < bytes; b += info->block_bytes) {
    uint8_t *block = (uint8_t *)data + b;
    uint16_t d = tern__f32_to_f16(noise() / 64), m = tern__f32_to_f16(noise() / 64);
    if (dtype == TERN_DTYPE_Q6_K) memcpy(block + 208, &d, 2);
    else memcpy(block, &d, 2);
    if (dtype == TERN_DTYPE_Q4_1 || dtype == TERN_DTYPE_Q5_1 || dtype == TERN_DTYPE_Q4_K ||
        dtype == TERN_DTYPE_Q5_K)
      memcpy(block + 2, &m, 2);
  }
}

typedef struct result { void *data[4]; tern__view views[4]; } result;

static inline void drop(one_op *t, result *r) {
  for (int i = 0; i < t->n_outputs; i++) free(r->data[i]);
}

static inline void keep(one_op *t, const tern__session_plan *plan, result *r) {
  for (int i = 0; i < t->n_outputs; i++) {
    const tern__view *v = &plan->base.views[t->outs[i]];
    r->views[i] = *v;
    r->data[i] = malloc(v->size_bytes + 1);
    memcpy(r->data[i], v->data, v->size_bytes);
  }
}

/* |a - b| over |b|, of whole tensors; NaN counts as infinite. */
static inline double distance(const result *a, const result *b, int i) {
  size_t n;
  double error = 0, norm = 0;
  tern__shape_count(&b->views[i].shape, &n);
  if (b->views[i].dtype != TERN_DTYPE_F32)
    return memcmp(a->data[i], b->data[i], b->views[i].size_bytes) ? INFINITY : 0;
  const float *x = a->data[i], *y = b->data[i];
  for (size_t e = 0; e < n; e++) {
    if ((isnan(y[e]) && isnan(x[e])) || (isinf(y[e]) && x[e] == y[e])) continue;
    error += ((double)x[e] - y[e]) * ((double)x[e] - y[e]), norm += (double)y[e] * y[e];
  }
  return isnan(error) ? INFINITY : norm > 0 ? sqrt(error / norm) : sqrt(error);
}

/* For graphs of several nodes: a node over values, the first of its new outputs. */
static inline tern__value_id add_node(one_op *t, const char *op, const char *domain, const tern__value_id *in, int n_in,
                               int n_out, tern__value_id *outs) {
  tern__value_id first = 0;
  const tern__op_def *def = tern__op_find(op, domain, 20);
  cr_assert_not_null(def, "no op %s", op);
  for (int i = 0; i < n_out; i++) {
    char *name = tern__arena_printf(&t->arena, "v%zu", tern__array_count(t->graph->values));
    cr_assert_eq(tern__graph_add_value(t->graph, name, TERN_DTYPE_NONE, -1, NULL, &outs[i]), TERN_OK);
  }
  cr_assert_eq(tern__graph_add_node(t->graph, def, op, 20, in, n_in, outs, n_out, &t->node), TERN_OK);
  first = outs[0];
  return first;
}

static inline void add_output(one_op *t, tern__value_id id) {
  t->outs[t->n_outputs++] = id;
  tern__graph_add_output(t->graph, id);
}

#endif
