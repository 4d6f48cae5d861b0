/* Runs a tiny model's graph node by node with the operators' references, and compares its logits with the
 * ones that models/tiny/make_tiny_gguf.py computed in double (and checked against llama.cpp). */
#ifndef TERN_TESTS_ARCH_LOGITS_H
#define TERN_TESTS_ARCH_LOGITS_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "gguf_bytes.h"
#include "ir/op.h"

typedef struct graph_run {
  const tern__graph *graph;
  tern__view *views;
  tern__alloc *alloc;
} graph_run;

static inline void set_view(tern__view *v, tern_dtype dtype, int32_t rank, const int64_t *dims) {
  *v = (tern__view){.dtype = dtype, .shape = {.rank = rank}};
  for (int32_t i = 0; i < rank; i++) v->shape.dims[i] = dims[i];
  cr_assert(tern__shape_bytes(dtype, &v->shape, &v->size_bytes));
  v->data = calloc(v->size_bytes + 1, 1);
}

static inline void run_node(graph_run *r, const tern__node *node) {
  tern__view in[16] = {0}, out[8] = {0};
  tern__op_call call = {.node = node,
                        .graph = r->graph,
                        .inputs = in,
                        .outputs = out,
                        .n_inputs = node->n_inputs,
                        .n_outputs = node->n_outputs,
                        .alloc = r->alloc};
  cr_assert(node->n_inputs <= 16 && node->n_outputs <= 8);
  for (int32_t i = 0; i < node->n_inputs; i++)
    if (node->inputs[i] >= 0) in[i] = r->views[node->inputs[i]];
  for (int32_t i = 0; i < node->n_outputs; i++)
    if (node->outputs[i] >= 0) out[i].dtype = TERN_DTYPE_F32, out[i].shape.rank = -1;
  cr_assert_eq(node->op->infer(&call), TERN_OK, "%s", tern_last_error());
  for (int32_t i = 0; i < node->n_outputs; i++)
    if (node->outputs[i] >= 0) {
      tern__shape shape = out[i].shape;
      cr_assert(tern__shape_known(&shape), "output %d of '%s' (%s) has no known shape", i, node->name,
                node->op->name);
      set_view(&out[i], out[i].dtype, shape.rank, shape.dims);
    }
  cr_assert_not_null(node->op->reference, "%s has no reference", node->op->name);
  cr_assert_eq(node->op->reference(&call), TERN_OK, "%s", tern_last_error());
  for (int32_t i = 0; i < node->n_outputs; i++)
    if (node->outputs[i] >= 0) r->views[node->outputs[i]] = out[i];
}

static inline void check_logits(const char *name, double bound) {
  char file[64];
  snprintf(file, sizeof file, "%s.gguf", name);
  tern__file_map map = open_tiny(file);
  snprintf(file, sizeof file, "%s.logits", name);
  tern__file_map golden = open_tiny(file);
  uint32_t count;
  memcpy(&count, golden.data, sizeof count);
  const int32_t *prompt = (const int32_t *)(golden.data + 4);
  const float *want = (const float *)(golden.data + 4 + 4 * count);

  tern__alloc alloc;
  tern__arena arena;
  tern__gguf *gguf;
  graph_run run = {.alloc = &alloc};
  tern__graph *graph;
  tern__arch_info info;
  tern__alloc_init(&alloc, NULL, 0);
  tern__arena_init(&arena, &alloc);
  cr_assert_eq(tern__gguf_open(&alloc, map.data, map.size, &gguf), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(tern__arch_build(gguf, 0, &alloc, &arena, &graph, &info), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(tern__graph_verify(graph), TERN_OK, "%s", tern_last_error());
  size_t n_values = tern__array_count(graph->values);
  run.graph = graph, run.views = calloc(n_values, sizeof *run.views);
  for (size_t i = 0; i < n_values; i++) {
    const tern__value *v = &graph->values[i];
    if (v->data) run.views[i] = (tern__view){v->dtype, v->shape, (void *)(uintptr_t)v->data, v->size_bytes};
  }
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++) {
    const tern__value *v = &graph->values[graph->inputs[i]];
    int64_t ids[2] = {1, count}, past[4] = {1, info.kv_heads, 0, info.head_dim};
    tern__view *view = &run.views[graph->inputs[i]];
    if (v->dtype == TERN_DTYPE_F32)
      set_view(view, TERN_DTYPE_F32, 4, past);
    else
      set_view(view, TERN_DTYPE_I64, 2, ids);
    for (uint32_t p = 0; v->dtype == TERN_DTYPE_I64 && p < count; p++)
      ((int64_t *)view->data)[p] = v->name[0] == 'i' ? prompt[p] : v->name[0] == 'a' ? 1 : (int64_t)p;
  }
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) run_node(&run, &graph->nodes[n]);
  tern__view *logits = &run.views[tern__graph_find(graph, "logits")];
  cr_assert(logits->shape.rank == 3 && logits->shape.dims[1] == (int64_t)count &&
            logits->shape.dims[2] == info.vocabulary);
  cr_assert_eq(golden.size, 4 + 4 * count + logits->size_bytes);
  for (size_t i = 0; i < logits->size_bytes / 4; i++) {
    double got = (double)((float *)logits->data)[i];
    cr_assert(fabs(got - (double)want[i]) <= bound, "logit %zu is %.7g, expected %.7g", i, got,
              (double)want[i]);
  }
  for (size_t i = 0; i < n_values; i++)
    if (!graph->values[i].data) free(run.views[i].data);
  free(run.views);
  tern__graph_destroy(graph);
  tern__arena_deinit(&arena);
  tern__gguf_close(gguf);
  cr_expect_eq(alloc.live_bytes, 0);
  tern__file_map_close(&map), tern__file_map_close(&golden);
}

#endif
