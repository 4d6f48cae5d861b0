/* Planning: shapes and shape arithmetic first, then kernels, then memory. */
#include "runtime/plan.h"

#include <stdio.h>
#include <string.h>

#include "runtime/memory_planner.h"

/* Values known while planning stay below this; larger ones (a causal mask for a long window) are computed in
 * the run. */
enum { MAX_FOLDED_BYTES = 1 << 20, MAX_SHAPE_INPUT_ELEMENTS = 64 };

/* Values are kept apart where threads may help one another (cpu_run.c): it costs some percent, as activations leave
 * the caches, and pays where a run takes longer than the time slice that a thread may lose, reading so many weights;
 * or where runs follow one another, as in decoding: the next one goes on while a late thread finishes the last
 * (`ahead`). */
enum { SEPARATE_BYTES = 4 << 20, LONG_RUN_BYTES = 256 << 20, LONG_DECODING_BYTES = 64 << 20 };

static bool is_shape_input(const tern__view *view) {
  size_t n;
  return (view->dtype == TERN_DTYPE_I64 || view->dtype == TERN_DTYPE_I32) && view->data &&
         tern__shape_count(&view->shape, &n) && n <= MAX_SHAPE_INPUT_ELEMENTS && view->shape.rank <= 1;
}

static tern_status seed_views(tern__session_plan *plan, const tern__graph *graph, const tern__view *inputs) {
  tern__view *views = plan->base.views;
  for (size_t v = 0; v < tern__array_count(graph->values); v++) {
    const tern__value *value = &graph->values[v];
    plan->root[v] = (tern__value_id)v;
    plan->offsets[v] = plan->device_offsets[v] = SIZE_MAX;
    if (value->producer >= 0) continue;
    views[v].dtype = value->dtype, views[v].shape = value->shape;
    views[v].data = (void *)(uintptr_t)value->data, views[v].size_bytes = value->size_bytes;
  }
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++) {
    tern__view *view = &views[graph->inputs[i]];
    *view = inputs[i];
    if (!(plan->uses_input_data && is_shape_input(&inputs[i]))) view->data = NULL;
    else {
      view->data = tern__arena_alloc(&plan->arena, view->size_bytes);
      if (!view->data) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory while planning");
      memcpy(view->data, inputs[i].data, view->size_bytes);
    }
  }
  return TERN_OK;
}

/* Infers node n; *folded tells that its results are known now. */
static tern_status infer_node(tern__session_plan *plan, const tern__graph *graph, int32_t n, tern__alloc *alloc,
                              const tern__kv_cache *kv, tern__view *in, tern__view *out, bool *folded, bool *unknown) {
  tern_status status = TERN_OK;
  const tern__node *node = &graph->nodes[n];
  tern__view *views = plan->base.views;
  bool all_known = true;
  size_t folded_bytes = 0;
  *folded = false, *unknown = false;
  for (int32_t i = 0; i < node->n_inputs; i++) {
    if (node->inputs[i] < 0) memset(&in[i], 0, sizeof in[i]);
    else in[i] = views[node->inputs[i]];
    size_t count;
    bool empty = tern__shape_count(&in[i].shape, &count) && count == 0;
    if (node->inputs[i] >= 0 && !in[i].data && !empty) all_known = false;
  }
  for (int32_t i = 0; i < node->n_outputs; i++) {
    memset(&out[i], 0, sizeof out[i]);
    out[i].shape.rank = -1;
  }
  tern__op_call call = {node, graph, in, out, node->n_inputs, node->n_outputs, alloc, kv, plan->base.cancel};
  TERN_TRY(node->op->infer(&call));
  for (int32_t i = 0; i < node->n_outputs; i++) {
    if (node->outputs[i] < 0) {
      out[i].dtype = TERN_DTYPE_NONE;
      continue;
    }
    if (!tern__shape_known(&out[i].shape)) {
      *unknown = true;
      goto cleanup;
    }
    if (!tern__shape_bytes(out[i].dtype, &out[i].shape, &out[i].size_bytes))
      TERN_FAIL(TERN_STATUS_SHAPE_MISMATCH, "node '%s' (%s): output %d is too large or has no type", node->name,
                node->op->name, i);
    if (!tern__add_size(folded_bytes, out[i].size_bytes, &folded_bytes))
      TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "node '%s' (%s): outputs too large", node->name, node->op->name);
  }
  bool shape_only = node->op->flags & TERN__OP_SHAPE_ONLY;
  if ((all_known || shape_only) && !(node->op->flags & TERN__OP_NOT_FOLDED) && folded_bytes <= MAX_FOLDED_BYTES) {
    for (int32_t i = 0; i < node->n_outputs; i++) {
      if (node->outputs[i] < 0) continue;
      out[i].data = tern__arena_alloc(&plan->arena, out[i].size_bytes);
      TERN_CHECK_ALLOC(out[i].data);
    }
    TERN_TRY(node->op->reference(&call));
    *folded = true;
  } else if ((node->op->flags & TERN__OP_ALIAS) && in[0].data) {
    out[0].data = in[0].data; /* a reshaped weight is still the weight */
    *folded = true;
  }
  for (int32_t i = 0; i < node->n_outputs; i++)
    if (node->outputs[i] >= 0) views[node->outputs[i]] = out[i];
cleanup:
  return status;
}

/* Whether a node's result is what it reads: it is no step then. */
static bool is_alias(const tern__node *node, const tern__view *in, const tern__view *out) {
  if (node->op->flags & TERN__OP_ALIAS) return true;
  if (node->op->flags & TERN__OP_ALIAS_OF_TYPE) return in->dtype == out->dtype;
  if (!(node->op->flags & TERN__OP_ALIAS_OF_ROW)) return false;
  for (int32_t d = 0; d + 1 < in->shape.rank; d++)
    if (in->shape.dims[d] != 1) return false;
  return true;
}

static tern_status infer_all(tern__session_plan *plan, const tern__graph *graph, const tern__view *inputs,
                             tern__alloc *alloc, const tern__kv_cache *kv, bool *unknown) {
  tern_status status = TERN_OK;
  size_t n_nodes = tern__array_count(graph->nodes), widest = 1;
  for (size_t n = 0; n < n_nodes; n++) {
    if ((size_t)graph->nodes[n].n_inputs > widest) widest = (size_t)graph->nodes[n].n_inputs;
    if ((size_t)graph->nodes[n].n_outputs > widest) widest = (size_t)graph->nodes[n].n_outputs;
  }
  tern__view *in = tern__calloc(alloc, widest, sizeof *in), *out = tern__calloc(alloc, widest, sizeof *out);
  int32_t *steps = tern__arena_calloc(&plan->arena, n_nodes + 1, sizeof *steps), n_steps = 0;
  *unknown = false;
  if (!in || !out || !steps) TERN_CHECK_ALLOC(NULL);
  TERN_TRY(seed_views(plan, graph, inputs));
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *node = &graph->nodes[n];
    bool folded, node_unknown;
    TERN_TRY(tern__cancel_check(plan->base.cancel, "planning"));
    TERN_TRY(infer_node(plan, graph, (int32_t)n, alloc, kv, in, out, &folded, &node_unknown));
    if (node_unknown) {
      *unknown = true;
      TERN_FAIL(
          TERN_STATUS_UNSUPPORTED,
          "node '%s' (%s): the shape of its result depends on computed data, which is not supported yet",
          node->name, node->op->name);
    }
    if (folded) continue;
    if (is_alias(node, &in[0], &out[0])) {
      plan->root[node->outputs[0]] = plan->root[node->inputs[0]];
      continue;
    }
    steps[n_steps++] = (int32_t)n;
  }
  plan->base.steps = steps, plan->base.n_steps = n_steps;
cleanup:
  tern__free(alloc, in);
  tern__free(alloc, out);
  return status;
}

/* Drops steps whose results nobody needs any more because their consumers were folded. */
static tern_status prune_steps(tern__session_plan *plan, const tern__graph *graph, tern__alloc *alloc) {
  tern_status status = TERN_OK;
  bool *needed = tern__calloc(alloc, tern__array_count(graph->values) + 1, sizeof *needed);
  int32_t *steps = (int32_t *)(uintptr_t)plan->base.steps, kept = plan->base.n_steps;
  TERN_CHECK_ALLOC(needed);
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++) needed[plan->root[graph->outputs[i]]] = true;
  for (int32_t s = plan->base.n_steps; s-- > 0;) {
    const tern__node *node = &graph->nodes[steps[s]];
    bool used = false;
    for (int32_t i = 0; i < node->n_outputs; i++) used |= node->outputs[i] >= 0 && needed[node->outputs[i]];
    if (!used) continue;
    for (int32_t i = 0; i < node->n_inputs; i++)
      if (node->inputs[i] >= 0) needed[plan->root[node->inputs[i]]] = true;
    steps[--kept] = steps[s]; /* kept steps gather at the end, in order */
  }
  memmove(steps, steps + kept, (size_t)(plan->base.n_steps - kept) * sizeof *steps);
  plan->base.n_steps -= kept;
cleanup:
  tern__free(alloc, needed);
  return status;
}

/* Lifetimes of the values in one arena: `where` tells, per value, whether it has a place there. A value that crosses
 * between devices lives in both, in either for the whole of its life. `separate`: each lives through all steps. */
static tern_status place_values(tern__session_plan *plan, tern__alloc *alloc, const bool *where, bool separate,
                                size_t alignment, size_t *offsets, size_t *total) {
  tern_status status = TERN_OK;
  const tern__graph *graph = plan->base.graph;
  size_t n_values = tern__array_count(graph->values), count = 0;
  int32_t *first = tern__calloc(alloc, n_values + 1, sizeof *first),
          *last = tern__calloc(alloc, n_values + 1, sizeof *last);
  tern__lifetime *lifetimes = tern__calloc(alloc, n_values + 1, sizeof *lifetimes);
  tern__value_id *owner = tern__calloc(alloc, n_values + 1, sizeof *owner);
  if (!first || !last || !lifetimes || !owner) TERN_CHECK_ALLOC(NULL);
  for (size_t v = 0; v < n_values; v++) first[v] = -1;
  for (int32_t s = 0; s < plan->base.n_steps; s++) {
    const tern__node *node = &graph->nodes[plan->base.steps[s]];
    for (int32_t i = 0; i < node->n_outputs; i++)
      if (node->outputs[i] >= 0) first[node->outputs[i]] = last[node->outputs[i]] = s;
    for (int32_t i = 0; i < node->n_inputs; i++)
      if (node->inputs[i] >= 0) last[plan->root[node->inputs[i]]] = s;
  }
  for (size_t i = 0; i < tern__array_count(graph->outputs); i++)
    last[plan->root[graph->outputs[i]]] = plan->base.n_steps;
  for (size_t v = 0; v < n_values; v++)
    if (where[v]) {
      size_t size = plan->base.views[v].size_bytes, padded;
      if (!tern__add_size(size, alignment - 1, &padded))
        TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "activations too large");
      lifetimes[count] = (tern__lifetime){padded / alignment * alignment, first[v] < 0 || separate ? 0 : first[v],
                                          separate ? plan->base.n_steps : last[v], 0};
      owner[count++] = (tern__value_id)v;
    }
  TERN_TRY(tern__plan_memory(alloc, lifetimes, count, total));
  for (size_t i = 0; i < count; i++) offsets[owner[i]] = lifetimes[i].offset;
cleanup:
  tern__free(alloc, first);
  tern__free(alloc, last);
  tern__free(alloc, lifetimes);
  tern__free(alloc, owner);
  return status;
}

static uint64_t all_bytes(const tern__session_plan *plan, const bool *where) {
  uint64_t all = 0;
  for (size_t v = 0; v < tern__array_count(plan->base.graph->values); v++)
    if (where[v] && plan->base.views[v].size_bytes > SEPARATE_BYTES - all) return UINT64_MAX;
    else if (where[v]) all += plan->base.views[v].size_bytes;
  return all;
}

static uint64_t weight_bytes(const tern__graph *graph) {
  uint64_t all = 0;
  for (size_t v = 0; v < tern__array_count(graph->values); v++)
    if (graph->values[v].data) all += graph->values[v].size_bytes;
  return all;
}

static tern_status place_memory(tern__session_plan *plan, tern__alloc *alloc, uint64_t long_run_bytes) {
  tern_status status = TERN_OK;
  const tern__graph *graph = plan->base.graph;
  size_t n_values = tern__array_count(graph->values);
  bool *on_host = tern__calloc(alloc, n_values + 1, sizeof *on_host);
  bool *on_device = tern__calloc(alloc, n_values + 1, sizeof *on_device);
  bool any_device = false;
  if (!on_host || !on_device) TERN_CHECK_ALLOC(NULL);
  for (size_t g = 0; g < tern__array_count(plan->segments); g++) {
    const tern__segment *segment = &plan->segments[g];
    bool device = segment->api->device != NULL;
    any_device |= device;
    for (int32_t s = 0; s < segment->base.n_steps; s++) {
      const tern__node *node = &graph->nodes[segment->base.steps[s]];
      for (int32_t i = 0; i < node->n_outputs; i++)
        if (node->outputs[i] >= 0) (device ? on_device : on_host)[node->outputs[i]] = true;
    }
    for (int32_t i = 0; i < segment->base.n_imports; i++) on_device[segment->base.imports[i]] = true;
    for (int32_t i = 0; i < segment->base.n_exports; i++) on_host[segment->base.exports[i]] = true;
  }
  uint64_t long_run = long_run_bytes ? long_run_bytes : plan->base.kv ? LONG_DECODING_BYTES : LONG_RUN_BYTES;
  plan->base.separate = all_bytes(plan, on_host) <= SEPARATE_BYTES && weight_bytes(graph) >= long_run;
  plan->ahead = plan->base.separate && !plan->base.profile && tern__array_count(plan->segments) == 1 &&
                plan->segments[0].api->left;
  for (size_t g = 0; g < tern__array_count(plan->segments); g++)
    plan->segments[g].base.separate = plan->base.separate;
  TERN_TRY(place_values(plan, alloc, on_host, plan->base.separate, 64, plan->offsets, &plan->activation_bytes));
  if (any_device)
    TERN_TRY(place_values(plan, alloc, on_device, false, 256, plan->device_offsets, &plan->device_bytes));
cleanup:
  tern__free(alloc, on_host);
  tern__free(alloc, on_device);
  return status;
}

static tern_status record_key(tern__session_plan *plan, const tern__graph *graph, const tern__view *inputs) {
  size_t n = tern__array_count(graph->inputs), bytes = 0, at = 0;
  plan->all_rows = plan->base.kv && plan->base.kv->all_rows;
  plan->input_key = tern__arena_calloc(&plan->arena, n + 1, sizeof *plan->input_key);
  for (size_t i = 0; plan->uses_input_data && i < n; i++)
    if (is_shape_input(&inputs[i])) bytes += inputs[i].size_bytes;
  plan->input_data = tern__arena_alloc(&plan->arena, bytes + 1);
  if (!plan->input_key || !plan->input_data)
    return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory while planning");
  for (size_t i = 0; i < n; i++) {
    plan->input_key[i] = inputs[i];
    if (!plan->uses_input_data || !is_shape_input(&inputs[i])) continue;
    memcpy(plan->input_data + at, inputs[i].data, inputs[i].size_bytes);
    at += inputs[i].size_bytes;
  }
  plan->input_data_size = bytes;
  return TERN_OK;
}

bool tern__plan_fits(const tern__session_plan *plan, const tern__graph *graph, const tern__view *inputs) {
  size_t at = 0;
  if (plan->all_rows != (plan->base.kv && plan->base.kv->all_rows)) return false;
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++) {
    if (plan->input_key[i].dtype != inputs[i].dtype || !tern__shape_equal(&plan->input_key[i].shape, &inputs[i].shape))
      return false;
    if (!plan->uses_input_data || !is_shape_input(&inputs[i])) continue;
    if (at + inputs[i].size_bytes > plan->input_data_size ||
        memcmp(plan->input_data + at, inputs[i].data, inputs[i].size_bytes) != 0)
      return false;
    at += inputs[i].size_bytes;
  }
  return true;
}

static tern_status begin(tern__alloc *alloc, const tern__graph *graph, const tern__plan_options *options,
                         bool uses_input_data, tern__session_plan **out) {
  tern_status status = TERN_OK;
  size_t n_values = tern__array_count(graph->values);
  tern__session_plan *plan = *out = tern__calloc(alloc, 1, sizeof *plan);
  TERN_CHECK_ALLOC(plan);
  tern__arena_init(&plan->arena, alloc);
  plan->uses_input_data = uses_input_data;
  plan->base = (tern__plan){.graph = graph, .n_threads = options->n_threads, .numerics = options->numerics,
                            .profile = options->profile, .kv = options->kv, .cancel = options->cancel};
  plan->base.views = tern__arena_calloc(&plan->arena, n_values + 1, sizeof *plan->base.views);
  plan->root = tern__arena_calloc(&plan->arena, n_values + 1, sizeof *plan->root);
  plan->offsets = tern__arena_calloc(&plan->arena, n_values + 1, sizeof *plan->offsets);
  plan->device_offsets = tern__arena_calloc(&plan->arena, n_values + 1, sizeof *plan->device_offsets);
  if (!plan->base.views || !plan->root || !plan->offsets || !plan->device_offsets) TERN_CHECK_ALLOC(NULL);
  plan->base.root = plan->root, plan->base.offsets = plan->device_offsets;
cleanup:
  return status;
}

tern_status tern__plan_create(tern__alloc *alloc, const tern__graph *graph, const tern__view *inputs,
                              const tern__plan_options *options, tern__session_plan **out) {
  tern_status status = TERN_OK;
  tern__session_plan *plan = NULL;
  *out = NULL;
  /* Second try: with the data of small integer inputs, when shapes depend on it. */
  for (int attempt = 0; attempt < 2; attempt++) {
    bool unknown = false;
    TERN_TRY(begin(alloc, graph, options, attempt == 1, &plan));
    status = infer_all(plan, graph, inputs, alloc, options->kv, &unknown);
    if (status == TERN_OK) break;
    if (!unknown || attempt == 1) goto cleanup;
    tern__plan_destroy(alloc, plan);
    plan = NULL;
  }
  TERN_TRY(record_key(plan, graph, inputs));
  TERN_TRY(prune_steps(plan, graph, alloc));
  TERN_TRY(tern__partition(plan, options, alloc));
  TERN_TRY(place_memory(plan, alloc, options->long_run_bytes));
  for (size_t i = 0; i < tern__array_count(plan->segments); i++) {
    tern__segment *segment = &plan->segments[i];
    TERN_TRY(segment->api->compile(segment->backend, &segment->base, options->cache, &segment->program,
                                   &segment->info));
    segment->base.cancel = NULL;
  }
  plan->base.cancel = NULL;
  *out = plan, plan = NULL;
cleanup:
  tern__plan_destroy(alloc, plan);
  return status;
}

/* An output that is an input or a constant is nobody's to store to. */
static bool is_computed(const tern__session_plan *plan, size_t output) {
  return plan->offsets[plan->root[plan->base.graph->outputs[output]]] != SIZE_MAX;
}

static size_t own_bytes(const tern__session_plan *plan) {
  size_t bytes = plan->activation_bytes;
  for (size_t i = 0; i < tern__array_count(plan->base.graph->outputs); i++)
    if (is_computed(plan, i)) bytes += (plan->base.views[plan->base.graph->outputs[i]].size_bytes + 63) / 64 * 64;
  return bytes;
}

tern_status tern__plan_own_memory(tern__alloc *alloc, tern__session_plan *plan) {
  tern_status status = TERN_OK;
  size_t n = tern__array_count(plan->base.graph->outputs);
  if (plan->memory) return TERN_OK;
  plan->copies = tern__arena_calloc(&plan->arena, n + 1, sizeof *plan->copies);
  TERN_CHECK_ALLOC(plan->copies);
  plan->memory = tern__alloc_aligned(alloc, own_bytes(plan), 64);
  if (!plan->memory)
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY,
              "no memory for %zu bytes of activations; use shorter inputs or a larger budget", own_bytes(plan));
  tern__plan_bind(plan, plan->memory);
  uint8_t *at = plan->memory + plan->activation_bytes;
  for (size_t i = 0; i < n; i++) {
    plan->copies[i] = plan->base.views[plan->base.graph->outputs[i]];
    if (!is_computed(plan, i)) continue;
    plan->copies[i].data = at;
    at += (plan->copies[i].size_bytes + 63) / 64 * 64;
  }
cleanup:
  return status;
}

bool tern__plan_left(const tern__session_plan *plan) {
  for (size_t i = 0; i < tern__array_count(plan->segments); i++)
    if (plan->segments[i].api->left && !plan->segments[i].api->left(plan->segments[i].program)) return false;
  return true;
}

void tern__plan_settle_outputs(tern__session_plan *plan) {
  plan->copied = !tern__plan_left(plan);
  for (size_t i = 0; plan->copied && i < tern__array_count(plan->base.graph->outputs); i++) {
    const tern__view *from = &plan->base.views[plan->base.graph->outputs[i]];
    if (is_computed(plan, i)) memcpy(plan->copies[i].data, from->data, from->size_bytes);
    else plan->copies[i].data = from->data;
  }
}

void tern__plan_destroy(tern__alloc *alloc, tern__session_plan *plan) {
  if (!plan) return;
  for (size_t i = 0; i < tern__array_count(plan->segments); i++)
    if (plan->segments[i].program) plan->segments[i].api->destroy_program(plan->segments[i].program);
  TERN_ARRAY_FREE(alloc, plan->segments);
  if (plan->memory) tern__free_aligned(alloc, plan->memory, own_bytes(plan), 64);
  tern__arena_deinit(&plan->arena);
  tern__free(alloc, plan);
}

void tern__plan_bind(tern__session_plan *plan, uint8_t *base) {
  if (plan->bound_base == base && base) return;
  size_t n_values = tern__array_count(plan->base.graph->values);
  for (size_t v = 0; v < n_values; v++) {
    size_t offset = plan->offsets[plan->root[v]];
    if (offset != SIZE_MAX) plan->base.views[v].data = base + offset;
  }
  plan->bound_base = base;
}

void tern__plan_bind_input(tern__session_plan *plan, int32_t input, void *data) {
  tern__value_id id = plan->base.graph->inputs[input];
  if (plan->uses_input_data && plan->base.views[id].data && is_shape_input(&plan->base.views[id]))
    return; /* planned in */
  size_t n_values = tern__array_count(plan->base.graph->values);
  plan->base.views[id].data = data;
  for (size_t v = 0; v < n_values; v++)
    if (plan->root[v] == id) plan->base.views[v].data = data;
}
