/* Sessions over any graph, tensors by name. */
#include <string.h>

#include "api/api.h"
#include "passes/pass.h"
#include "pipeline/pipeline.h"

struct tern_session {
  tern_model *model;
  tern__session *session;
  tern__arena arena;
  tern__graph *graph;
  tern_cancel *cancel;
  char *profile;             /* what tern_session_profile gave last */
  tern__view *inputs;        /* per graph input, for the run under way */
  _Atomic int32_t busy;
  bool submitted;
  tern_status run_status;    /* of the submitted run */
};

tern_status tern_session_create(tern_model *model, const tern_session_desc *desc, tern_session **out) {
  tern_status status = TERN_OK;
  tern_session_desc d;
  tern__session_options options;
  tern_session *s = NULL;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(model);
  TERN_TRY(tern__desc_read("tern_session_desc", desc, sizeof d, &d, sizeof d));
  TERN_TRY(tern__session_options_read(model->runtime, &d, &options));
  s = tern__calloc(&model->runtime->alloc, 1, sizeof *s);
  TERN_CHECK_ALLOC(s);
  s->model = model;
  tern__model_ref(model);
  s->cancel = d.cancel;
  tern__arena_init(&s->arena, &model->runtime->alloc);
  TERN_TRY(tern__graph_copy(model->graph, &model->runtime->alloc, &s->arena, &s->graph));
  tern__pass_options passes = {.kv_cache = d.kv_cache != 0, .cancel = d.cancel};
  TERN_TRY(tern__passes_run(s->graph, &passes));
  options.kv_batch = d.kv_cache != 0;
  if (!options.kv_capacity)
    options.kv_capacity =
        model->context_length > 0 && model->context_length < 4096 ? model->context_length : 4096;
  TERN_TRY(tern__session_create(model->runtime, s->graph, model->packs, &options, &s->session));
  tern__session_allow_late(s->session);
  if (d.kv_cache && !tern__session_kv(s->session))
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "kv_cache was asked for, but the graph has no attention over past_key_values in a known form");
  s->inputs = tern__calloc(&model->runtime->alloc, tern__array_count(s->graph->inputs) + 1, sizeof *s->inputs);
  TERN_CHECK_ALLOC(s->inputs);
  *out = s, s = NULL;
cleanup:
  tern_session_destroy(s);
  return status;
}

void tern_session_destroy(tern_session *session) {
  if (!session) return;
  tern_model *model = session->model;
  tern__session_destroy(session->session);
  tern__free(&model->runtime->alloc, session->inputs);
  tern__free(&model->runtime->alloc, session->profile);
  tern__graph_destroy(session->graph);
  tern__arena_deinit(&session->arena);
  tern__free(&model->runtime->alloc, session);
  tern__model_unref(model);
}

int32_t tern_session_input_count(const tern_session *session) {
  return session ? (int32_t)tern__array_count(tern__session_graph(session->session)->inputs) : 0;
}
int32_t tern_session_output_count(const tern_session *session) {
  return session ? (int32_t)tern__array_count(tern__session_graph(session->session)->outputs) : 0;
}

tern_status tern_session_input(const tern_session *session, int32_t index, tern_io_info *out) {
  TERN_REQUIRE(session);
  TERN_REQUIRE(out);
  const tern__graph *graph = tern__session_graph(session->session);
  return tern__io_info(graph, graph->inputs, index, out);
}

tern_status tern_session_output(const tern_session *session, int32_t index, tern_io_info *out) {
  TERN_REQUIRE(session);
  TERN_REQUIRE(out);
  const tern__graph *graph = tern__session_graph(session->session);
  return tern__io_info(graph, graph->outputs, index, out);
}

/* Puts the caller's tensors in graph order; every input must be there, with a fitting type and rank. */
static tern_status gather_inputs(tern_session *s, int32_t n, const char *const *names,
                                 const tern_tensor *const *tensors) {
  tern_status status = TERN_OK;
  const tern__graph *g = tern__session_graph(s->session);
  size_t n_inputs = tern__array_count(g->inputs);
  if (n < 0 || (n > 0 && (!names || !tensors)))
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "inputs or their names are NULL");
  memset(s->inputs, 0, n_inputs * sizeof *s->inputs);
  for (int32_t i = 0; i < n; i++) {
    size_t at = 0;
    if (!names[i] || !tensors[i]) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "input %d or its name is NULL", i);
    while (at < n_inputs && strcmp(g->values[g->inputs[at]].name, names[i]) != 0) at++;
    if (at == n_inputs) TERN_FAIL(TERN_STATUS_NOT_FOUND, "the model has no input '%s'", names[i]);
    const tern__value *v = &g->values[g->inputs[at]];
    const tern__view *view = &tensors[i]->view;
    if (v->dtype != TERN_DTYPE_NONE && v->dtype != view->dtype)
      TERN_FAIL(TERN_STATUS_SHAPE_MISMATCH, "input '%s' is %s, the model takes %s", names[i],
                tern_dtype_name(view->dtype), tern_dtype_name(v->dtype));
    if (v->shape.rank >= 0 && v->shape.rank != view->shape.rank)
      TERN_FAIL(TERN_STATUS_SHAPE_MISMATCH, "input '%s' has %d dimensions, the model takes %d", names[i],
                view->shape.rank, v->shape.rank);
    for (int32_t d = 0; d < v->shape.rank; d++)
      if (v->shape.dims[d] >= 0 && v->shape.dims[d] != view->shape.dims[d])
        TERN_FAIL(TERN_STATUS_SHAPE_MISMATCH, "input '%s': dimension %d is %lld, the model takes %lld", names[i], d,
                  (long long)view->shape.dims[d], (long long)v->shape.dims[d]);
    s->inputs[at] = *view;
    if (!s->inputs[at].data) s->inputs[at].data = s->inputs; /* an empty tensor: never read */
  }
  for (size_t i = 0; i < n_inputs; i++)
    if (s->inputs[i].dtype == TERN_DTYPE_NONE)
      TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "input '%s' is missing", g->values[g->inputs[i]].name);
  tern__kv_cache *kv = tern__session_kv(s->session);
  if (kv) { /* every position of this run is new */
    int64_t fresh = n_inputs && s->inputs[0].shape.rank > 1 ? s->inputs[0].shape.dims[1] : 1;
    if (s->inputs[0].shape.dims[0] != 1)
      TERN_FAIL(TERN_STATUS_SHAPE_MISMATCH, "a session with kv_cache takes batches of 1");
    if (kv->past[0] + fresh > kv->capacity)
      TERN_FAIL(TERN_STATUS_CONTEXT_FULL,
                "%d positions are cached and %lld are new, the context holds %d; truncate it or open a "
                "session with a larger context_length",
                kv->past[0], (long long)fresh, kv->capacity);
    kv->fresh[0] = (int32_t)fresh;
  }
cleanup:
  return status;
}

tern_status tern_session_plan(tern_session *session, int32_t n_inputs, const char *const *names,
                              const tern_tensor *const *inputs, tern_memory_plan *out) {
  tern_memory_plan plan;
  TERN_REQUIRE(session);
  TERN_REQUIRE(out);
  tern_status status = gather_inputs(session, n_inputs, names, inputs);
  if (status == TERN_OK) status = tern__session_plan_for(session->session, session->inputs, session->cancel, &plan);
  if (status == TERN_OK) status = tern__info_write("tern_memory_plan", out, &plan, sizeof plan);
  return status;
}

/* What a lost device's cache held only the caller can evaluate again; a run that found it empty is simply repeated. */
static tern_status run(tern_session *s) {
  tern_status status = tern__session_run(s->session, s->inputs, s->cancel, NULL);
  tern__kv_cache *kv = tern__session_kv(s->session);
  if (status == TERN_OK || !kv) return status;
  int32_t past = kv->past[0], fresh = kv->fresh[0];
  if (!tern__session_fall_back(s->session, status)) return status;
  if (past)
    return tern__fail_context(status, "the CPU goes on with an empty KV cache: evaluate its %d positions again", past);
  tern__session_kv(s->session)->fresh[0] = fresh;
  return tern__session_run(s->session, s->inputs, s->cancel, NULL);
}

tern_status tern_session_submit(tern_session *session, int32_t n_inputs, const char *const *input_names,
                                const tern_tensor *const *inputs) {
  TERN_REQUIRE(session);
  if (atomic_exchange(&session->busy, 1))
    return tern__fail(TERN_STATUS_BUSY, "this session is running; one run at a time, and wait ends it");
  tern_status status = gather_inputs(session, n_inputs, input_names, inputs);
  if (status == TERN_OK) {
    /* The CPU computes here; devices with a queue of their own return earlier. */
    status = run(session);
    tern__kv_cache *kv = tern__session_kv(session->session);
    if (status == TERN_OK && kv) kv->past[0] += kv->fresh[0], kv->fresh[0] = 0;
    session->submitted = status == TERN_OK;
  }
  if (status != TERN_OK) atomic_store(&session->busy, 0);
  return status;
}

static tern_status copy_output(tern_session *s, int32_t index, tern_tensor **out) {
  const tern__view *view = tern__session_output(s->session, index);
  tern_status status = tern__tensor_create_unset(s->model->runtime, view->dtype, &view->shape, out);
  if (status == TERN_OK) status = tern__session_copy_output(s->session, index, (*out)->view.data);
  return status;
}

tern_status tern_session_wait(tern_session *session, int32_t n_outputs, const char *const *output_names,
                              tern_tensor **outputs) {
  tern_status status = TERN_OK;
  TERN_REQUIRE(session);
  if (n_outputs > 0) TERN_REQUIRE(outputs);
  for (int32_t i = 0; i < n_outputs; i++) outputs[i] = NULL;
  if (!session->submitted) return tern__fail(TERN_STATUS_INVALID_STATE, "nothing was submitted to this session");
  const tern__graph *g = tern__session_graph(session->session);
  size_t total = tern__array_count(g->outputs);
  if (!output_names && (size_t)n_outputs != total)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "without names, n_outputs must be %zu, not %d", total, n_outputs);
  for (int32_t i = 0; i < n_outputs; i++) {
    size_t at = (size_t)i;
    if (output_names) {
      if (!output_names[i]) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "output name %d is NULL", i);
      for (at = 0; at < total && strcmp(g->values[g->outputs[at]].name, output_names[i]) != 0;) at++;
      if (at == total) TERN_FAIL(TERN_STATUS_NOT_FOUND, "the model has no output '%s'", output_names[i]);
    }
    TERN_TRY(copy_output(session, (int32_t)at, &outputs[i]));
  }
cleanup:
  if (status != TERN_OK)
    for (int32_t i = 0; i < n_outputs; i++) tern__tensor_destroy(outputs[i]), outputs[i] = NULL;
  session->submitted = false;
  atomic_store(&session->busy, 0);
  return status;
}

tern_status tern_session_run(tern_session *session, int32_t n_inputs, const char *const *input_names,
                             const tern_tensor *const *inputs, int32_t n_outputs, const char *const *output_names,
                             tern_tensor **outputs) {
  if (outputs)
    for (int32_t i = 0; i < n_outputs; i++) outputs[i] = NULL;
  tern_status status = tern_session_submit(session, n_inputs, input_names, inputs);
  return status == TERN_OK ? tern_session_wait(session, n_outputs, output_names, outputs) : status;
}

void tern_session_cancel(tern_session *session) {
  if (session) tern__session_cancel(session->session);
}

const char *tern_session_profile(tern_session *session) {
  if (!session) return NULL;
  tern__json_writer w = {.alloc = &session->model->runtime->alloc};
  bool written = tern__session_profile(session->session, &w);
  tern__free(w.alloc, session->profile);
  session->profile = w.text;
  return written ? session->profile : NULL;
}

int32_t tern_session_kv_length(const tern_session *session) {
  tern__kv_cache *kv = session ? tern__session_kv(session->session) : NULL;
  return kv ? kv->past[0] : 0;
}

tern_status tern_session_kv_truncate(tern_session *session, int32_t length) {
  TERN_REQUIRE(session);
  tern__kv_cache *kv = tern__session_kv(session->session);
  if (!kv) return tern__fail(TERN_STATUS_INVALID_STATE, "this session was created without kv_cache");
  if (length < 0 || length > kv->past[0])
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "length %d is not between 0 and the %d cached positions",
                      length, kv->past[0]);
  tern__kv_cache_truncate(kv, 0, length);
  return TERN_OK;
}
