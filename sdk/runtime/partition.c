/* Which step runs where. The device takes what it has kernels for. Two kinds of steps stay with the CPU all the same:
 * those the device lacks, and small integer work on what the host has anyway (masks made of attention_mask): computing
 * it costs less than sending its operands. Steps are then reordered, within their dependencies, into few long runs of
 * one device each; every change of device costs a wait. */
#include <string.h>

#include "runtime/plan.h"

enum { SMALL_ELEMENTS = 1 << 16, SMALL_CONSTANT = 1 << 16, SMALL_FLOATS = 1 << 10 };

static bool small(const tern__view *view) {
  size_t n;
  return tern__shape_count(&view->shape, &n) && n <= SMALL_ELEMENTS;
}

static bool is_integer(tern_dtype dtype) {
  return dtype == TERN_DTYPE_I64 || dtype == TERN_DTYPE_I32 || dtype == TERN_DTYPE_BOOL;
}

/* True for small work on integers, or on what such work gave, that the host has: `hosted` per root. */
static bool stays_on_host(const tern__session_plan *plan, const tern__node *node, const bool *hosted) {
  const tern__view *views = plan->base.views;
  bool any = false;
  for (int32_t i = 0; i < node->n_inputs; i++) {
    if (node->inputs[i] < 0) continue;
    const tern__view *view = &views[node->inputs[i]];
    if (view->data) { /* a constant; one of floats beyond a few is a weight, however small the model */
      if (view->size_bytes > (is_integer(view->dtype) ? SMALL_CONSTANT : SMALL_FLOATS)) return false;
      continue;
    }
    if (!hosted[plan->root[node->inputs[i]]] || !small(view)) return false;
    any = true;
  }
  for (int32_t i = 0; i < node->n_outputs; i++)
    if (node->outputs[i] >= 0 && !small(&views[node->outputs[i]])) return false;
  return any || node->n_inputs == 0;
}

/* on_device[s] for step s. A value is hosted if it is an integer input of the graph or a CPU step gave it. */
static tern_status choose(tern__session_plan *plan, const tern__plan_options *options, tern__alloc *alloc,
                          bool *on_device) {
  tern_status status = TERN_OK;
  const tern__graph *graph = plan->base.graph;
  bool *hosted = tern__calloc(alloc, tern__array_count(graph->values) + 1, sizeof *hosted);
  TERN_CHECK_ALLOC(hosted);
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++)
    hosted[graph->inputs[i]] = is_integer(plan->base.views[graph->inputs[i]].dtype);
  for (int32_t s = 0; s < plan->base.n_steps; s++) {
    const tern__node *node = &graph->nodes[plan->base.steps[s]];
    bool cached = options->kv && strcmp(node->op->name, "KvAttention") == 0; /* the cache lies there */
    if (options->all_on_device || cached || !stays_on_host(plan, node, hosted))
      TERN_TRY(options->api->device->takes(options->backend, &plan->base, node, &on_device[s]));
    if (cached && !on_device[s])
      TERN_FAIL(TERN_STATUS_UNSUPPORTED,
                "node '%s': device '%s' has no kernel for attention with these sizes, and a KV cache is not shared "
                "with the CPU; use device 'cpu'", node->name, options->api->name);
    for (int32_t i = 0; i < node->n_outputs; i++)
      if (node->outputs[i] >= 0) hosted[node->outputs[i]] = !on_device[s];
  }
cleanup:
  tern__free(alloc, hosted);
  return status;
}

/* Stable: takes, in turn, every step of one device that is ready, in the given order. `ends` gets each run's end. */
static tern_status reorder(tern__session_plan *plan, tern__alloc *alloc, const bool *on_device, int32_t **ends) {
  tern_status status = TERN_OK;
  const tern__graph *graph = plan->base.graph;
  int32_t n = plan->base.n_steps, n_done = 0, *steps = (int32_t *)(uintptr_t)plan->base.steps;
  int32_t *order = tern__calloc(alloc, (size_t)n + 1, sizeof *order);
  bool *done = tern__calloc(alloc, (size_t)n + 1, sizeof *done);
  bool *waiting = tern__calloc(alloc, tern__array_count(graph->values) + 1, sizeof *waiting); /* for its producer */
  if (!order || !done || !waiting) TERN_CHECK_ALLOC(NULL);
  for (int32_t s = 0; s < n; s++)
    for (int32_t i = 0; i < graph->nodes[steps[s]].n_outputs; i++)
      if (graph->nodes[steps[s]].outputs[i] >= 0) waiting[graph->nodes[steps[s]].outputs[i]] = true;
  for (bool device = false; n_done < n; device = !device) {
    for (int32_t s = 0; s < n; s++) {
      const tern__node *node = &graph->nodes[steps[s]];
      bool ready = !done[s] && on_device[s] == device;
      for (int32_t i = 0; ready && i < node->n_inputs; i++)
        ready = node->inputs[i] < 0 || !waiting[plan->root[node->inputs[i]]];
      if (!ready) continue;
      for (int32_t i = 0; i < node->n_outputs; i++)
        if (node->outputs[i] >= 0) waiting[node->outputs[i]] = false;
      done[s] = true;
      order[n_done++] = steps[s];
    }
    TERN_ARRAY_PUSH(alloc, *ends, n_done);
  }
  memcpy(steps, order, (size_t)n * sizeof *steps);
cleanup:
  tern__free(alloc, order);
  tern__free(alloc, done);
  tern__free(alloc, waiting);
  return status;
}

static tern_status add_segment(tern__session_plan *plan, const tern__plan_options *options, tern__alloc *alloc,
                               bool device, int32_t begin, int32_t end) {
  tern_status status = TERN_OK;
  tern__segment segment = {.base = plan->base,
                           .api = device ? options->api : options->host_api,
                           .backend = device ? options->backend : options->host_backend};
  segment.base.steps = plan->base.steps + begin, segment.base.n_steps = end - begin;
  TERN_ARRAY_PUSH(alloc, plan->segments, segment);
cleanup:
  return status;
}

typedef struct crossing { tern__value_id *list; int32_t n; } crossing;

static tern_status grow(tern__session_plan *plan, size_t capacity, crossing *c) {
  c->list = tern__arena_calloc(&plan->arena, capacity + 1, sizeof *c->list);
  return c->list ? TERN_OK : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory while planning");
}

/* What each segment of the device needs from the host, and what the host or the caller needs of it. */
static tern_status find_crossings(tern__session_plan *plan, tern__alloc *alloc) {
  tern_status status = TERN_OK;
  const tern__graph *graph = plan->base.graph;
  size_t n_values = tern__array_count(graph->values);
  bool *there = tern__calloc(alloc, n_values + 1, sizeof *there); /* on the device by now */
  bool *wanted = tern__calloc(alloc, n_values + 1, sizeof *wanted); /* by the host, from here on */
  if (!there || !wanted) TERN_CHECK_ALLOC(NULL);
  for (size_t g = 0; g < tern__array_count(plan->segments); g++) {
    tern__segment *segment = &plan->segments[g];
    crossing imports = {0};
    if (!segment->api->device) continue;
    TERN_TRY(grow(plan, n_values, &imports));
    for (int32_t s = 0; s < segment->base.n_steps; s++) {
      const tern__node *node = &graph->nodes[segment->base.steps[s]];
      for (int32_t i = 0; i < node->n_inputs; i++) {
        if (node->inputs[i] < 0) continue;
        tern__value_id root = plan->root[node->inputs[i]];
        if (there[root] || plan->base.views[root].data) continue; /* constants travel with the program */
        there[root] = true, imports.list[imports.n++] = root;
      }
      for (int32_t i = 0; i < node->n_outputs; i++)
        if (node->outputs[i] >= 0) there[node->outputs[i]] = true;
    }
    segment->base.imports = imports.list, segment->base.n_imports = imports.n;
  }
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++) wanted[plan->root[graph->outputs[i]]] = true;
  for (size_t g = tern__array_count(plan->segments); g-- > 0;) {
    tern__segment *segment = &plan->segments[g];
    crossing exports = {0};
    if (segment->api->device) TERN_TRY(grow(plan, n_values, &exports));
    for (int32_t s = 0; s < segment->base.n_steps; s++) {
      const tern__node *node = &graph->nodes[segment->base.steps[s]];
      for (int32_t i = 0; segment->api->device && i < node->n_outputs; i++)
        if (node->outputs[i] >= 0 && wanted[node->outputs[i]]) exports.list[exports.n++] = node->outputs[i];
      for (int32_t i = 0; !segment->api->device && i < node->n_inputs; i++)
        if (node->inputs[i] >= 0) wanted[plan->root[node->inputs[i]]] = true;
    }
    segment->base.exports = exports.list, segment->base.n_exports = exports.n;
  }
cleanup:
  tern__free(alloc, there);
  tern__free(alloc, wanted);
  return status;
}

tern_status tern__partition(tern__session_plan *plan, const tern__plan_options *options, tern__alloc *alloc) {
  tern_status status = TERN_OK;
  bool *on_device = NULL;
  int32_t *ends = NULL, begin = 0;
  if (!options->api->device) {
    TERN_TRY(add_segment(plan, options, alloc, true, 0, plan->base.n_steps));
    goto cleanup;
  }
  on_device = tern__calloc(alloc, (size_t)plan->base.n_steps + 1, sizeof *on_device);
  TERN_CHECK_ALLOC(on_device);
  TERN_TRY(choose(plan, options, alloc, on_device));
  TERN_TRY(reorder(plan, alloc, on_device, &ends));
  for (size_t i = 0; i < tern__array_count(ends); i++) { /* runs alternate, the CPU's first */
    if (ends[i] > begin) TERN_TRY(add_segment(plan, options, alloc, i % 2 == 1, begin, ends[i]));
    begin = ends[i];
  }
  TERN_TRY(find_crossings(plan, alloc));
cleanup:
  tern__free(alloc, on_device);
  TERN_ARRAY_FREE(alloc, ends);
  return status;
}
