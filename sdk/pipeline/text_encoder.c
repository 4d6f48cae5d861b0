/* Texts through an encoder. Batches hold texts of similar length, so that little is spent on padding. */
#include "pipeline/text_encoder.h"

#include <string.h>

#include "passes/pass.h"
#include "pipeline/length_order.h"

enum { DEFAULT_MAX_LENGTH = 512 };
enum { INPUT_IDS, INPUT_MASK, INPUT_TYPES, INPUT_POSITIONS };

static tern_status read_inputs(tern__text_encoder *e, const char *task) {
  tern_status status = TERN_OK;
  static const char *const names[] = {"input_ids", "attention_mask", "token_type_ids", "position_ids"};
  size_t n = tern__array_count(e->graph->inputs);
  if (n == 0 || n > TERN__ENCODER_INPUTS) TERN_FAIL(TERN_STATUS_UNSUPPORTED, "%s with %zu graph inputs", task, n);
  for (size_t i = 0; i < n; i++) {
    const tern__value *v = &e->graph->values[e->graph->inputs[i]];
    e->input_kind[i] = -1;
    for (int32_t k = 0; k < TERN__ENCODER_INPUTS; k++)
      if (strcmp(v->name, names[k]) == 0) e->input_kind[i] = k;
    if (e->input_kind[i] < 0)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "input '%s' is not understood by %s; it takes input_ids, attention_mask, "
                "token_type_ids and position_ids", v->name, task);
    if (v->dtype != TERN_DTYPE_I64 && v->dtype != TERN_DTYPE_I32)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "input '%s' must be int64 or int32", v->name);
  }
cleanup:
  return status;
}

tern_status tern__text_encoder_open(tern__text_encoder *e, tern_pipeline *p, const tern_pipeline_desc *desc) {
  tern_status status = TERN_OK;
  tern__arena_init(&e->arena, &p->runtime->alloc);
  TERN_TRY(tern__graph_copy(p->model->graph, &p->runtime->alloc, &e->arena, &e->graph));
  tern__pass_options options = {.kv_cache = false, .float_outputs = true, .cancel = desc->cancel};
  TERN_TRY(tern__passes_run(e->graph, &options));
  TERN_TRY(read_inputs(e, p->task->name));
  int32_t limit = tern__tokenizer_max_length(p->tokenizer);
  e->max_length = p->model->context_length > 0 ? p->model->context_length : DEFAULT_MAX_LENGTH;
  if (limit > 0 && limit < e->max_length) e->max_length = limit;
  tern__session_options session = p->session_options;
  session.kv_batch = 0;
  if (p->session_options.kv_capacity > e->max_length)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "context_length %d is beyond the model's own %d",
              p->session_options.kv_capacity, e->max_length);
  if (p->session_options.kv_capacity > 0) e->max_length = p->session_options.kv_capacity;
  TERN_TRY(tern__session_create(p->runtime, e->graph, p->model->packs, &session, &e->session));
cleanup:
  return status;
}

void tern__text_encoder_close(tern__text_encoder *e) {
  tern__session_destroy(e->session);
  tern__graph_destroy(e->graph);
  if (e->arena.alloc) tern__arena_deinit(&e->arena);
}

int32_t tern__text_encoder_output(const tern__text_encoder *e, const char *const *names, size_t n) {
  for (size_t k = 0; k < n; k++)
    for (size_t i = 0; i < tern__array_count(e->graph->outputs); i++)
      if (strcmp(e->graph->values[e->graph->outputs[i]].name, names[k]) == 0) return (int32_t)i;
  return -1;
}

tern_status tern__text_encoder_check_output(const tern__text_encoder *e, int32_t output, int32_t count,
                                            int32_t rank) {
  const tern__view *view = tern__session_output(e->session, output);
  if (view->dtype == TERN_DTYPE_F32 && view->shape.rank == rank && view->shape.dims[0] == count) return TERN_OK;
  return tern__fail(TERN_STATUS_UNSUPPORTED, "output '%s' must be float32 with %d dimensions, the first the batch",
                    e->graph->values[e->graph->outputs[output]].name, rank);
}

/* Views of the graph's inputs over [batch, width] cells; `memory` holds TERN__ENCODER_INPUTS x cells int64. */
static void point_inputs(const tern__text_encoder *e, int32_t batch, int32_t width, int64_t *memory,
                         tern__view *inputs) {
  size_t cells = (size_t)batch * (size_t)width, n = tern__array_count(e->graph->inputs);
  tern__shape shape = {2, {batch, width}};
  for (size_t i = 0; i < n; i++) {
    bool narrow = e->graph->values[e->graph->inputs[i]].dtype == TERN_DTYPE_I32;
    int64_t *data = memory ? memory + cells * (size_t)e->input_kind[i] : NULL;
    if (data && narrow)
      for (size_t c = 0; c < cells; c++)
        ((int32_t *)data)[c] = (int32_t)data[c]; /* in place: never ahead of the reader */
    inputs[i] = (tern__view){narrow ? TERN_DTYPE_I32 : TERN_DTYPE_I64, shape, data, cells * (narrow ? 4 : 8)};
  }
}

tern_status tern__text_encoder_memory(tern__text_encoder *e, tern_memory_plan *out) {
  tern__view inputs[TERN__ENCODER_INPUTS];
  point_inputs(e, 1, e->max_length, NULL, inputs);
  tern_status status = tern__session_plan_for(e->session, inputs, NULL, NULL);
  tern__session_memory(e->session, out);
  return status;
}

/* Cuts to the model's length, keeping the closing special token. */
static void truncate_ids(const tern__text_encoder *e, int32_t *ids) {
  size_t n = tern__array_count(ids);
  if (n <= (size_t)e->max_length) return;
  ids[e->max_length - 1] = ids[n - 1];
  tern__array_truncate(ids, (size_t)e->max_length);
}

/* Tokens of every text, in the order of the texts. */
static tern_status tokenize(const tern__text_encoder *e, tern_pipeline *p, const tern_run_desc *d, int32_t **ids,
                            int32_t *lengths, tern_result *result) {
  tern_status status = TERN_OK;
  for (int32_t i = 0; i < d->n_texts; i++) {
    TERN_TRY(tern__tokenizer_encode(p->tokenizer, &p->runtime->alloc, d->texts[i], strlen(d->texts[i]), 0, &ids[i]));
    if (tern__array_count(ids[i]) == 0) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "texts[%d] has no tokens", i);
    truncate_ids(e, ids[i]);
    lengths[i] = (int32_t)tern__array_count(ids[i]);
    result->timings.n_prompt_tokens += lengths[i];
  }
cleanup:
  return status;
}

static tern_status run_batch(tern__text_encoder *e, tern_pipeline *p, int32_t *const *ids,
                             const tern__encoded_batch *batch, const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  int32_t pad = tern__tokenizer_pad(p->tokenizer);
  size_t width = (size_t)batch->width, cells = (size_t)batch->count * width;
  int64_t *memory = tern__calloc(&p->runtime->alloc, cells * TERN__ENCODER_INPUTS, sizeof *memory);
  tern__view inputs[TERN__ENCODER_INPUTS];
  TERN_CHECK_ALLOC(memory);
  for (int32_t b = 0; b < batch->count; b++)
    for (size_t t = 0; t < width; t++) {
      bool real = t < (size_t)batch->lengths[b];
      size_t c = (size_t)b * width + t;
      memory[cells * INPUT_IDS + c] = real ? ids[batch->texts[b]][t] : pad < 0 ? 0 : pad;
      memory[cells * INPUT_MASK + c] = real;
      memory[cells * INPUT_POSITIONS + c] = (int64_t)t;
    }
  point_inputs(e, batch->count, batch->width, memory, inputs);
  TERN_TRY(tern__session_run(e->session, inputs, cancel, NULL));
cleanup:
  tern__free(&p->runtime->alloc, memory);
  return status;
}

tern_status tern__text_encoder_run(tern__text_encoder *e, tern_pipeline *p, const tern_run_desc *d,
                                   tern__encoded_fn take, void *user_data, int32_t *lengths, tern_result *result) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = &p->runtime->alloc;
  uint64_t begin = tern__now_ns();
  size_t n = (size_t)(d->n_texts > 0 ? d->n_texts : 0);
  int32_t **ids = tern__calloc(alloc, n + 1, sizeof *ids);
  int32_t *order = tern__calloc(alloc, n + 1, sizeof *order);
  if (!ids || !order) TERN_CHECK_ALLOC(NULL);
  if (!n) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "give at least one text");
  TERN_TRY(tokenize(e, p, d, ids, lengths, result));
  uint64_t tokenized = tern__now_ns();
  TERN_TRY(tern__length_order(alloc, lengths, d->n_texts, order));
  for (int32_t i = 0; i < d->n_texts; i += TERN__ENCODER_BATCH) {
    int32_t own[TERN__ENCODER_BATCH];
    tern__encoded_batch batch = {.texts = order + i, .lengths = own, .longest = lengths[order[n - 1]]};
    batch.count = d->n_texts - i < TERN__ENCODER_BATCH ? d->n_texts - i : TERN__ENCODER_BATCH;
    for (int32_t b = 0; b < batch.count; b++) own[b] = lengths[batch.texts[b]];
    batch.width = own[batch.count - 1];
    TERN_TRY(run_batch(e, p, ids, &batch, d->cancel));
    TERN_TRY(take(user_data, &batch));
  }
  result->timings.tokenize_ms = (double)(tokenized - begin) * 1e-6;
  result->timings.prefill_ms = (double)(tern__now_ns() - tokenized) * 1e-6;
cleanup:
  for (size_t i = 0; ids && i < n; i++) TERN_ARRAY_FREE(alloc, ids[i]);
  tern__free(alloc, ids);
  tern__free(alloc, order);
  return status;
}
