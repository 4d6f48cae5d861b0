/* Session: plan lookup, budget, arena, run. */
#include "runtime/session.h"
#include "runtime/thread_pool.h"

#include <stdio.h>
#include <string.h>

enum {
  MAX_PLANS = 16,
  MAX_ALIKE = 4, /* plans for the same inputs, where threads are late in the others (tern__session_plan.ahead) */
  LOOKS = 3000   /* for one of them that all have left, before the oldest is waited for; some 100 microseconds */
};

/* What belongs to the device that the session is on. It moves as a whole: nothing points into it. */
typedef struct place {
  const tern__backend_api *api;
  tern__backend *backend;
  tern__arena *arena;
  tern__graph *graph;          /* as the device wants it */
  tern__kv_layout kv_layout;
  tern__kv_cache *kv;
  size_t kv_bytes;
  tern__session_plan *plans[MAX_PLANS];
  tern__session_plan *current;
  tern__session_plan *late;    /* outputs of its run may be on their way */
  uint8_t *activations;
  size_t activation_capacity;
  tern__device_memory *arena_there, *kv_there; /* of a device with memory of its own */
  size_t capacity_there;
  size_t weight_bytes;
} place;

struct tern__session {
  tern_runtime *runtime;
  tern__pack_cache *cache;
  tern__session_options options;
  const tern__graph *source;   /* as the caller gave it */
  place at;
  uint64_t clock;
  bool late;                   /* tern__session_allow_late */
  bool follows;                /* tern__session_expect_follower, of the next run */
  int32_t top_output, top_k;   /* tern__session_want_top; top_k 0 = whole outputs */
  tern_cancel cancel; /* of the session; follows the token of the call in progress */
};

static size_t constant_bytes(const tern__graph *graph) {
  size_t total = 0;
  for (size_t v = 0; v < tern__array_count(graph->values); v++) total += graph->values[v].size_bytes;
  return total;
}

static tern_status create_cache(tern__session *session) {
  tern_status status = TERN_OK;
  const tern__session_options *options = &session->options;
  tern__kv_layout *layout = &session->at.kv_layout;
  TERN_TRY(tern__kv_layout_of(session->at.graph, session->at.arena, layout));
  if (!layout->n_layers || options->kv_batch <= 0) goto cleanup;
  if (!tern__kv_cache_bytes(layout, options->kv_batch, options->kv_capacity, &session->at.kv_bytes))
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "the KV cache would be too large; use a shorter context");
  if (options->budget_bytes && session->at.kv_bytes > options->budget_bytes)
    TERN_FAIL(TERN_STATUS_OUT_OF_BUDGET,
              "the KV cache of %d positions x %d sequences takes %zu bytes, the session's budget is %llu; use a "
              "shorter context or a larger budget",
              options->kv_capacity, options->kv_batch, session->at.kv_bytes, (unsigned long long)options->budget_bytes);
  bool there = session->at.api->device != NULL;
  TERN_TRY(tern__kv_cache_create(&session->runtime->alloc, layout, options->kv_batch, options->kv_capacity, !there,
                                 &session->at.kv));
  if (there) TERN_TRY(session->at.api->device->kv_create(session->at.backend, session->at.kv, &session->at.kv_there));
cleanup:
  return status;
}

/* Takes a device: a copy of the graph as that device wants it, a KV cache there. */
static tern_status attach(tern__session *session, int32_t device) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = &session->runtime->alloc;
  place *at = &session->at;
  *at = (place){.api = session->runtime->devices[device].api, .backend = session->runtime->devices[device].backend};
  at->arena = tern__calloc(alloc, 1, sizeof *at->arena);
  TERN_CHECK_ALLOC(at->arena);
  tern__arena_init(at->arena, alloc);
  TERN_TRY(tern__graph_copy(session->source, alloc, at->arena, &at->graph));
  TERN_TRY(at->api->optimize(at->backend, at->graph, session->options.numerics));
  TERN_TRY(tern__graph_tidy(at->graph));
  at->weight_bytes = constant_bytes(at->graph);
  TERN_TRY(create_cache(session));
cleanup:
  return status;
}

static void detach(tern__alloc *alloc, place *at) {
  for (int i = 0; i < MAX_PLANS; i++) tern__plan_destroy(alloc, at->plans[i]);
  tern__free_aligned(alloc, at->activations, at->activation_capacity, 64);
  if (at->api && at->api->device) {
    at->api->device->memory_destroy(at->backend, at->arena_there);
    at->api->device->memory_destroy(at->backend, at->kv_there);
  }
  tern__kv_cache_destroy(alloc, at->kv);
  tern__graph_destroy(at->graph);
  if (at->arena) tern__arena_deinit(at->arena);
  tern__free(alloc, at->arena);
  memset(at, 0, sizeof *at);
}

static bool may_fall_back(const tern__session *session, tern_status failure) {
  return session->options.fallback && session->at.api && session->at.api->device &&
         (failure == TERN_STATUS_DEVICE_LOST || failure == TERN_STATUS_OUT_OF_MEMORY ||
          failure == TERN_STATUS_NO_DEVICE || failure == TERN_STATUS_UNSUPPORTED);
}

/* Without memory for that, the session stays as it is. */
static tern_status to_cpu(tern__session *session) {
  place failed = session->at;
  tern__log(&session->runtime->log, TERN_LOG_WARNING, "device '%s': %s; the CPU computes instead", failed.api->name,
            tern_last_error());
  tern_status status = attach(session, TERN__CPU);
  detach(&session->runtime->alloc, status == TERN_OK ? &failed : &session->at);
  if (status != TERN_OK) session->at = failed;
  return status;
}

bool tern__session_fall_back(tern__session *session, tern_status failure) {
  char reason[512];
  if (!may_fall_back(session, failure)) return false;
  snprintf(reason, sizeof reason, "%s", tern_last_error());
  bool there = to_cpu(session) == TERN_OK;
  tern__error_set(reason); /* for who reports it all the same */
  return there;
}

tern_status tern__session_create(tern_runtime *runtime, const tern__graph *graph, tern__pack_cache *cache,
                                 const tern__session_options *options, tern__session **out) {
  tern_status status = TERN_OK;
  tern__session *session = tern__calloc(&runtime->alloc, 1, sizeof *session);
  *out = NULL;
  TERN_CHECK_ALLOC(session);
  session->runtime = runtime;
  tern__runtime_ref(runtime);
  session->source = graph;
  session->cache = cache;
  session->options = *options;
  int32_t pool_threads = tern__pool_n_threads(runtime->pool);
  if (options->n_threads <= 0 || options->n_threads > pool_threads) session->options.n_threads = pool_threads;
  status = attach(session, options->device);
  if (may_fall_back(session, status)) status = to_cpu(session);
  TERN_TRY(status);
  *out = session, session = NULL;
cleanup:
  tern__session_destroy(session);
  return status;
}

void tern__session_destroy(tern__session *session) {
  if (!session) return;
  tern_runtime *runtime = session->runtime;
  detach(&runtime->alloc, &session->at);
  tern__free(&runtime->alloc, session);
  tern__runtime_unref(runtime);
}

const tern__graph *tern__session_graph(const tern__session *session) { return session->at.graph; }

/* Within a budget few rows, whose memory is less. */
int32_t tern__session_prompt_rows(const tern__session *session) {
  const tern__device_api *device = session->at.api->device;
  if (!device || session->options.budget_bytes) return TERN__PROMPT_ROWS;
  return device->prompt_rows(session->at.backend, session->options.numerics);
}

tern__kv_cache *tern__session_kv(tern__session *session) { return session->at.kv; }
void tern__session_cancel(tern__session *session) { tern_cancel_set(&session->cancel); }

static void describe(const tern__session *session, const tern__session_plan *plan, tern_memory_plan *out) {
  memset(out, 0, sizeof *out);
  out->struct_size = sizeof *out;
  out->n_steps = plan->base.n_steps;
  out->weight_bytes = session->at.weight_bytes;
  for (size_t i = 0; i < tern__array_count(plan->segments); i++) {
    out->packed_bytes += plan->segments[i].info.packed_bytes;
    out->scratch_bytes += plan->segments[i].info.scratch_bytes;
  }
  out->activation_bytes = plan->activation_bytes + plan->device_bytes;
  out->kv_bytes = session->at.kv_bytes;
  out->peak_bytes = out->packed_bytes + out->activation_bytes + out->kv_bytes + out->scratch_bytes;
}

static tern_status check_budget(const tern__session *session, const tern_memory_plan *m) {
  tern_status status = TERN_OK;
  uint64_t budget = session->options.budget_bytes;
  if (budget && m->peak_bytes > budget)
    TERN_FAIL(TERN_STATUS_OUT_OF_BUDGET,
              "this run needs %llu bytes (packed weights %llu, activations %llu, KV cache %llu, scratch "
              "%llu), the session's "
              "budget is %llu; use shorter inputs, a shorter context or a larger budget",
              (unsigned long long)m->peak_bytes, (unsigned long long)m->packed_bytes,
              (unsigned long long)m->activation_bytes, (unsigned long long)m->kv_bytes,
              (unsigned long long)m->scratch_bytes, (unsigned long long)budget);
cleanup:
  return status;
}

/* A budget has to have room for all plans that are alike, which have memory of their own, beside the session's. */
static bool budget_has_room(const tern__session *session, const tern__session_plan *plan) {
  tern_memory_plan m;
  describe(session, plan, &m);
  return !session->options.budget_bytes ||
         m.peak_bytes + 2 * MAX_ALIKE * m.activation_bytes + MAX_ALIKE * m.scratch_bytes <=
             session->options.budget_bytes;
}

/* Late threads are in all of these: most are late by microseconds, those that have lost their CPU by milliseconds. */
static tern__session_plan *first_left(tern__session_plan **plans, int n) {
  tern__session_plan *oldest = plans[0];
  for (int look = 0; look < LOOKS; look++, tern__cpu_relax())
    for (int i = 0; i < n; i++)
      if (tern__plan_left(plans[i])) return plans[i];
  for (int i = 1; i < n; i++)
    if (plans[i]->last_used < oldest->last_used) oldest = plans[i];
  return oldest;
}

/* Finds or makes the plan for these inputs; the least recently used one makes room. One that late threads are in only
 * if there are enough like it. */
static tern_status find_plan(tern__session *session, const tern__view *inputs, tern__session_plan **out) {
  tern_status status = TERN_OK;
  int slot = 0, n_alike = 0;
  tern__session_plan *plan = NULL, *alike[MAX_ALIKE];
  *out = NULL;
  for (int i = 0; i < MAX_PLANS; i++) {
    if (session->at.plans[i] && tern__plan_fits(session->at.plans[i], session->at.graph, inputs)) {
      plan = session->at.plans[i];
      if (tern__plan_left(plan)) goto found;
      alike[n_alike++] = plan;
      if (n_alike < MAX_ALIKE) continue;
      plan = first_left(alike, n_alike);
      goto found;
    }
    if (!session->at.plans[slot]) continue;
    if (!session->at.plans[i] || session->at.plans[i]->last_used < session->at.plans[slot]->last_used) slot = i;
  }
  const tern__device *cpu = &session->runtime->devices[TERN__CPU];
  bool on_host = !session->at.api->device; /* a CPU itself, maybe another one than the runtime's */
  tern__plan_options options = {.api = session->at.api,
                                .backend = session->at.backend,
                                .host_api = on_host ? session->at.api : cpu->api,
                                .host_backend = on_host ? session->at.backend : cpu->backend,
                                .cache = session->cache,
                                .kv = session->at.kv,
                                .numerics = session->options.numerics,
                                .profile = session->options.profile,
                                .n_threads = session->options.n_threads,
                                .long_run_bytes = session->options.long_run_bytes,
                                .cancel = &session->cancel};
  plan = NULL;
  TERN_TRY(tern__plan_create(&session->runtime->alloc, session->at.graph, inputs, &options, &plan));
  plan->ahead = plan->ahead && budget_has_room(session, plan);
  if (session->at.current == session->at.plans[slot]) session->at.current = NULL;
  tern__plan_destroy(&session->runtime->alloc, session->at.plans[slot]);
  session->at.plans[slot] = plan;
found:
  plan->last_used = ++session->clock;
  *out = plan;
cleanup:
  return status;
}

/* From here on `cancel` and tern__session_cancel stop what the session does. */
static void begin(tern__session *session, const tern_cancel *cancel) {
  tern_cancel_reset(&session->cancel);
  session->cancel.parent = cancel;
}

/* What is on its way arrives before memory is used for anything else. */
static tern_status finish_late(tern__session *session) {
  tern_status status = TERN_OK;
  const tern__session_plan *plan = session->at.late;
  session->at.late = NULL;
  for (size_t i = 0; plan && i < tern__array_count(plan->segments); i++) {
    const tern__segment *segment = &plan->segments[i];
    if (segment->api->device) TERN_TRY(segment->api->device->bring(segment->program, 0, NULL));
  }
cleanup:
  return status;
}

tern_status tern__session_plan_for(tern__session *session, const tern__view *inputs, const tern_cancel *cancel,
                                   tern_memory_plan *out) {
  tern_status status = TERN_OK;
  tern__session_plan *plan;
  tern_memory_plan numbers;
  begin(session, cancel);
  TERN_TRY(finish_late(session));
  TERN_TRY(find_plan(session, inputs, &plan));
  describe(session, plan, &numbers);
  if (out) *out = numbers;
  TERN_TRY(check_budget(session, &numbers));
cleanup:
  return status;
}

/* Old plans point into the old arena: they are bound again when they run next. */
static tern_status grow_host_arena(tern__session *session, size_t bytes) {
  tern_status status = TERN_OK;
  if (bytes <= session->at.activation_capacity) return TERN_OK;
  tern__free_aligned(&session->runtime->alloc, session->at.activations, session->at.activation_capacity, 64);
  session->at.activations = NULL, session->at.activation_capacity = 0;
  for (int i = 0; i < MAX_PLANS; i++)
    if (session->at.plans[i] && !session->at.plans[i]->ahead) session->at.plans[i]->bound_base = NULL;
  session->at.activations = tern__alloc_aligned(&session->runtime->alloc, bytes, 64);
  if (!session->at.activations)
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY,
              "no memory for %zu bytes of activations; use shorter inputs or a larger budget", bytes);
  session->at.activation_capacity = bytes;
cleanup:
  return status;
}

static tern_status grow_device_arena(tern__session *session, size_t bytes) {
  tern_status status = TERN_OK;
  if (bytes <= session->at.capacity_there) return TERN_OK;
  const tern__device_api *device = session->at.api->device;
  device->memory_destroy(session->at.backend, session->at.arena_there);
  session->at.arena_there = NULL, session->at.capacity_there = 0;
  TERN_TRY(device->memory_create(session->at.backend, bytes, &session->at.arena_there));
  session->at.capacity_there = bytes;
cleanup:
  return status;
}

/* ---- the largest values of an output ---- */

static bool host_reads(const tern__session_plan *plan, tern__value_id root) {
  for (size_t i = 0; i < tern__array_count(plan->segments); i++) {
    const tern__segment *segment = &plan->segments[i];
    for (int32_t n = 0; !segment->api->device && n < segment->base.n_steps; n++) {
      const tern__node *node = &plan->base.graph->nodes[segment->base.steps[n]];
      for (int32_t k = 0; k < node->n_inputs; k++)
        if (node->inputs[k] >= 0 && plan->root[node->inputs[k]] == root) return true;
    }
  }
  return false;
}

/* Tells the segment that makes the output; `plan->top` is that segment, -1 if all of it comes. */
static void tell_top(const tern__session *session, tern__session_plan *plan) {
  if (plan->top_told && plan->top_output == session->top_output && plan->top_k == session->top_k) return;
  tern__value_id value = session->at.graph->outputs[session->top_output];
  bool whole = session->top_k <= 0 || host_reads(plan, plan->root[value]);
  plan->top_told = true, plan->top_output = session->top_output, plan->top_k = session->top_k, plan->top = -1;
  for (size_t i = 0; i < tern__array_count(plan->segments); i++) {
    const tern__segment *segment = &plan->segments[i];
    if (segment->api->device && segment->api->device->want_top(segment->program, value, whole ? 0 : session->top_k))
      plan->top = whole ? -1 : (int32_t)i;
  }
}

void tern__session_want_top(tern__session *session, int32_t index, int32_t k) {
  session->top_output = index, session->top_k = k;
}

void tern__session_expect_follower(tern__session *session) { session->follows = true; }

bool tern__session_top(const tern__session *session, tern__top *out) {
  const tern__session_plan *plan = session->at.current;
  if (!plan || plan->top < 0) return false;
  const tern__segment *segment = &plan->segments[plan->top];
  return segment->api->device->top(segment->program, out);
}

tern_status tern__session_fetch(tern__session *session, const tern_cancel *cancel) {
  const tern__session_plan *plan = session->at.current;
  if (!plan || plan->top < 0) return TERN_OK;
  const tern__segment *segment = &plan->segments[plan->top];
  return segment->api->device->fetch(segment->program, cancel);
}

/* ---- outputs that stay where the device brought them ---- */

static bool is_imported(const tern__session_plan *plan, tern__value_id root) {
  for (size_t i = 0; i < tern__array_count(plan->segments); i++)
    for (int32_t k = 0; k < plan->segments[i].base.n_imports; k++)
      if (plan->segments[i].base.imports[k] == root) return true;
  return false;
}

/* Asks the segments to hold what only the caller reads: one copy of it less. */
static tern_status hold_outputs(tern__session_plan *plan) {
  tern_status status = TERN_OK;
  const tern__graph *graph = plan->base.graph;
  size_t n = tern__array_count(graph->outputs);
  if (plan->holders) return TERN_OK;
  plan->results = tern__arena_calloc(&plan->arena, n + 1, sizeof *plan->results);
  TERN_CHECK_ALLOC(plan->results);
  int32_t *holders = tern__arena_calloc(&plan->arena, n + 1, sizeof *holders);
  TERN_CHECK_ALLOC(holders);
  for (size_t o = 0; o < n; o++) {
    tern__value_id root = plan->root[graph->outputs[o]];
    bool free = !plan->ahead && !host_reads(plan, root) && !is_imported(plan, root);
    holders[o] = -1;
    for (size_t i = 0; free && i < tern__array_count(plan->segments); i++) {
      const tern__segment *segment = &plan->segments[i];
      if (segment->api->device && segment->api->device->hold(segment->program, root)) holders[o] = (int32_t)i;
    }
  }
  plan->holders = holders;
cleanup:
  return status;
}

/* After a run. */
static void find_results(tern__session_plan *plan) {
  for (size_t o = 0; o < tern__array_count(plan->base.graph->outputs); o++) {
    tern__value_id output = plan->base.graph->outputs[o];
    plan->results[o] = plan->base.views[output];
    plan->results[o].data = NULL;
    if (plan->holders[o] < 0) continue;
    const tern__segment *segment = &plan->segments[plan->holders[o]];
    plan->results[o].data = segment->api->device->held(segment->program, plan->root[output]);
  }
}

static tern_status ensure_ready(tern__session *session, tern__session_plan *plan, const tern_progress *progress) {
  tern_status status = TERN_OK;
  tern_memory_plan numbers;
  if (!plan->prepared) {
    describe(session, plan, &numbers);
    TERN_TRY(check_budget(session, &numbers));
    for (size_t i = 0; i < tern__array_count(plan->segments); i++)
      TERN_TRY(plan->segments[i].api->prepare(plan->segments[i].program, progress, &session->cancel));
    plan->prepared = true;
  }
  if (plan->ahead) TERN_TRY(tern__plan_own_memory(&session->runtime->alloc, plan));
  else TERN_TRY(grow_host_arena(session, plan->activation_bytes));
  TERN_TRY(grow_device_arena(session, plan->device_bytes));
  tell_top(session, plan);
  TERN_TRY(hold_outputs(plan));
  for (size_t i = 0; i < tern__array_count(plan->segments); i++)
    if (plan->segments[i].api->device)
      TERN_TRY(plan->segments[i].api->device->bind(plan->segments[i].program, session->at.arena_there,
                                                   session->at.kv_there));
cleanup:
  return status;
}

static tern_status run_once(tern__session *session, const tern__view *inputs, const tern_progress *progress) {
  tern_status status = TERN_OK;
  tern__session_plan *plan;
  TERN_TRY(finish_late(session));
  TERN_TRY(find_plan(session, inputs, &plan));
  TERN_TRY(ensure_ready(session, plan, progress));
  if (!plan->ahead) tern__plan_bind(plan, session->at.activations);
  for (size_t i = 0; i < tern__array_count(session->at.graph->inputs); i++)
    tern__plan_bind_input(plan, (int32_t)i, inputs[i].data);
  /* With leave to fall back a failure has to be known while the run can be repeated. */
  tern__run_args args = {.kv = session->at.kv, .cancel = &session->cancel, .ahead = plan->ahead,
                         .late = session->late && !session->options.fallback, .follows = session->follows};
  session->follows = false;
  session->at.current = plan;
  if (args.late) session->at.late = plan;
  for (size_t i = 0; i < tern__array_count(plan->segments); i++)
    TERN_TRY(plan->segments[i].api->run(plan->segments[i].program, &args));
  find_results(plan);
  if (plan->ahead) tern__plan_settle_outputs(plan);
cleanup:
  return status;
}

tern_status tern__session_run(tern__session *session, const tern__view *inputs, const tern_cancel *cancel,
                              const tern_progress *progress) {
  begin(session, cancel);
  tern_status status = run_once(session, inputs, progress);
  /* What a lost KV cache held only its owner can compute again. */
  if (status != TERN_OK && !session->at.kv && tern__session_fall_back(session, status))
    status = run_once(session, inputs, progress);
  return status;
}

bool tern__session_profile(const tern__session *session, tern__json_writer *w) {
  const tern__session_plan *plan = session->at.current;
  if (!plan) return false;
  tern__json_begin(w, NULL, '{');
  tern__json_put_string(w, "device", session->at.api->name, strlen(session->at.api->name));
  tern__json_begin(w, "segments", '[');
  for (size_t i = 0; i < tern__array_count(plan->segments); i++) {
    const tern__segment *segment = &plan->segments[i];
    tern__json_begin(w, NULL, '{');
    tern__json_put_string(w, "device", segment->api->name, strlen(segment->api->name));
    tern__json_put_int(w, "steps", segment->base.n_steps);
    tern__json_begin(w, "nodes", '[');
    for (int32_t s = 0; s < segment->base.n_steps; s++) {
      const tern__node *node = &plan->base.graph->nodes[segment->base.steps[s]];
      tern__json_begin(w, NULL, '{');
      tern__json_put_string(w, "op", node->op->name, strlen(node->op->name));
      tern__json_put_string(w, "name", node->name, strlen(node->name));
      tern__json_put_bool(w, "reference", !segment->api->supports(segment->backend, node->op));
      tern__json_end(w, '}');
    }
    tern__json_end(w, ']');
    if (segment->api->profile) segment->api->profile(segment->program, w);
    tern__json_end(w, '}');
  }
  tern__json_end(w, ']');
  tern__json_end(w, '}');
  return !w->failed;
}

tern_status tern__session_copy_output(const tern__session *session, int32_t index, void *to) {
  const tern__session_plan *plan = session->at.current;
  const tern__view *view = tern__session_output(session, index);
  if (view == &plan->results[index]) {
    const tern__segment *segment = &plan->segments[plan->holders[index]];
    return segment->api->device->bring(segment->program, plan->root[session->at.graph->outputs[index]], to);
  }
  tern__pool_touch(session->runtime->pool, session->options.n_threads, to, view->size_bytes);
  tern__pool_copy(session->runtime->pool, session->options.n_threads, to, view->data, view->size_bytes);
  return TERN_OK;
}

void tern__session_allow_late(tern__session *session) { session->late = true; }

const tern__view *tern__session_output(const tern__session *session, int32_t index) {
  const tern__session_plan *plan = session->at.current;
  if (plan->copied) return &plan->copies[index];
  return plan->results[index].data ? &plan->results[index] : &plan->base.views[session->at.graph->outputs[index]];
}

void tern__session_memory(const tern__session *session, tern_memory_plan *out) {
  memset(out, 0, sizeof *out);
  out->struct_size = sizeof *out;
  out->kv_bytes = out->peak_bytes = session->at.kv_bytes;
  for (int i = 0; i < MAX_PLANS; i++) {
    tern_memory_plan m;
    if (!session->at.plans[i]) continue;
    describe(session, session->at.plans[i], &m);
    if (m.peak_bytes > out->peak_bytes) *out = m;
  }
}
