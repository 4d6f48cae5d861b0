/* Task feature-extraction: text -> tokens -> encoder -> pooling -> one vector per text, as
 * sentence-transformers does. */
#include <math.h>
#include <string.h>

#include "pipeline/text_encoder.h"

typedef struct state {
  tern__text_encoder encoder;
  int32_t output;              /* the token embeddings */
  tern_pooling pooling;        /* of the folder */
  bool normalize;
} state;

/* sentence-transformers: 1_Pooling/config.json and a Normalize module in modules.json. */
static tern_status read_pooling(tern_pipeline *p) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__json *json = NULL;
  s->pooling = TERN_POOLING_MEAN;
  if (!p->model->folder) goto cleanup;
  const char *pooling = tern__path_join(&s->encoder.arena, p->model->folder, "1_Pooling/config.json");
  const char *modules = tern__path_join(&s->encoder.arena, p->model->folder, "modules.json");
  if (!pooling || !modules) TERN_CHECK_ALLOC(NULL);
  if (tern__path_exists(pooling)) {
    static const struct { const char *key; tern_pooling mode; } modes[] = {
        {"pooling_mode_cls_token", TERN_POOLING_CLS}, {"pooling_mode_mean_tokens", TERN_POOLING_MEAN},
        {"pooling_mode_lasttoken", TERN_POOLING_LAST}};
    static const char *const unsupported[] = {"pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens",
                                              "pooling_mode_weightedmean_tokens"};
    TERN_TRY(tern__json_open(pooling, &json));
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
      if (tern__json_bool(tern__json_get(json, unsupported[i]), false))
        TERN_FAIL(TERN_STATUS_UNSUPPORTED, "%s: %s is not supported; mean, cls and last-token pooling are",
                  pooling, unsupported[i]);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
      if (tern__json_bool(tern__json_get(json, modes[i].key), false)) s->pooling = modes[i].mode;
    tern__json_close(json);
    json = NULL;
  }
  if (tern__path_exists(modules)) {
    TERN_TRY(tern__json_open(modules, &json));
    for (const tern__json *m = tern__json_first(json); m; m = tern__json_next(m))
      if (strstr(tern__json_string(tern__json_get(m, "type"), ""), "Normalize")) s->normalize = true;
  }
cleanup:
  tern__json_close(json);
  return status;
}

static tern_status feature_extraction_open(tern_pipeline *p, const tern_pipeline_desc *desc) {
  static const char *const outputs[] = {"last_hidden_state", "token_embeddings"};
  tern_status status = TERN_OK;
  state *s = p->state;
  TERN_TRY(tern__text_encoder_open(&s->encoder, p, desc));
  TERN_TRY(read_pooling(p));
  int32_t output = tern__text_encoder_output(&s->encoder, outputs, 2);
  s->output = output < 0 ? 0 : output;
cleanup:
  return status;
}

static void feature_extraction_close(tern_pipeline *p) { tern__text_encoder_close(&((state *)p->state)->encoder); }

static tern_status feature_extraction_memory(tern_pipeline *p, tern_memory_plan *out) {
  return tern__text_encoder_memory(&((state *)p->state)->encoder, out);
}

static void pool_row(const float *tokens, int32_t length, int64_t hidden, tern_pooling pooling, float *out) {
  if (pooling == TERN_POOLING_CLS) memcpy(out, tokens, (size_t)hidden * sizeof *out);
  if (pooling == TERN_POOLING_LAST) memcpy(out, tokens + (int64_t)(length - 1) * hidden, (size_t)hidden * sizeof *out);
  if (pooling != TERN_POOLING_MEAN) return;
  for (int64_t h = 0; h < hidden; h++) {
    double sum = 0;
    for (int32_t t = 0; t < length; t++) sum += tokens[(int64_t)t * hidden + h];
    out[h] = (float)(sum / length);
  }
}

static void normalize_row(float *row, int64_t hidden) {
  double square = 0;
  for (int64_t h = 0; h < hidden; h++) square += (double)row[h] * row[h];
  float scale = (float)(1.0 / fmax(sqrt(square), 1e-12)); /* torch.nn.functional.normalize's eps */
  for (int64_t h = 0; h < hidden; h++) row[h] *= scale;
}

/* What all batches of a run share. */
typedef struct request {
  tern_pipeline *pipeline;
  tern_pooling pooling;
  bool normalize;
  int32_t n_texts;
  tern_result *result;
} request;

static tern_status take_batch(void *user_data, const tern__encoded_batch *batch) {
  tern_status status = TERN_OK;
  request *r = user_data;
  const state *s = r->pipeline->state;
  TERN_TRY(tern__text_encoder_check_output(&s->encoder, s->output, batch->count, 3));
  const tern__view *hidden = tern__session_output(s->encoder.session, s->output);
  bool all = r->pooling == TERN_POOLING_NONE;
  int64_t width = batch->width, dim = hidden->shape.dims[2], rows = all ? batch->longest : 1;
  if (hidden->shape.dims[1] != width)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "the output has %lld rows for %lld tokens", (long long)hidden->shape.dims[1],
              (long long)width);
  if (!r->result->tensor) {
    tern__shape shape = all ? (tern__shape){3, {r->n_texts, batch->longest, dim}}
                            : (tern__shape){2, {r->n_texts, dim}};
    TERN_TRY(tern__tensor_create(r->pipeline->runtime, TERN_DTYPE_F32, &shape, &r->result->tensor));
  }
  for (int32_t b = 0; b < batch->count; b++) {
    const float *tokens = (const float *)hidden->data + b * width * dim;
    float *out = (float *)r->result->tensor->view.data + batch->texts[b] * rows * dim;
    int32_t own = all ? batch->lengths[b] : 1;
    if (all) memcpy(out, tokens, (size_t)own * (size_t)dim * sizeof *out);
    else pool_row(tokens, batch->lengths[b], dim, r->pooling, out);
    for (int64_t row = 0; r->normalize && row < own; row++) normalize_row(out + row * dim, dim);
  }
cleanup:
  return status;
}

static void write_rows(tern__json_writer *w, const float **data, const int64_t *dims, int32_t rank) {
  tern__json_begin(w, NULL, '[');
  for (int64_t i = 0; i < dims[0]; i++) {
    if (rank > 1) write_rows(w, data, dims + 1, rank - 1);
    else tern__json_put_number(w, NULL, *(*data)++);
  }
  tern__json_end(w, ']');
}

static tern_status feature_extraction_run(tern_pipeline *p, const tern_run_desc *d, tern_result *result) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__alloc *alloc = &p->runtime->alloc;
  int32_t *lengths = NULL;
  if ((int)d->pooling < 0 || d->pooling > TERN_POOLING_LAST)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "pooling %d is not one of default, none, mean, cls, last", (int)d->pooling);
  request r = {.pipeline = p,
               .pooling = d->pooling ? d->pooling : s->pooling,
               .normalize = d->normalize ? d->normalize > 0 : s->normalize,
               .n_texts = d->n_texts,
               .result = result};
  lengths = tern__calloc(alloc, (size_t)d->n_texts + 1, sizeof *lengths);
  TERN_CHECK_ALLOC(lengths);
  TERN_TRY(tern__text_encoder_run(&s->encoder, p, d, take_batch, &r, lengths, result));
  if (r.pooling == TERN_POOLING_NONE) TERN_ARRAY_APPEND(alloc, result->row_lengths, lengths, (size_t)d->n_texts);
  tern__json_writer w = {.alloc = alloc};
  const float *data = result->tensor->view.data;
  write_rows(&w, &data, result->tensor->view.shape.dims, result->tensor->view.shape.rank);
  result->json = w.text;
  if (w.failed) TERN_CHECK_ALLOC(NULL);
cleanup:
  tern__free(alloc, lengths);
  return status;
}

static const tern__session *feature_extraction_session(const tern_pipeline *p) {
  return ((const state *)p->state)->encoder.session;
}

const tern__task tern__task_feature_extraction = {
    .name = "feature-extraction",
    .members = TERN__RUN_TEXTS | TERN__RUN_EMBEDDING,
    .state_size = sizeof(state),
    .open = feature_extraction_open,
    .run = feature_extraction_run,
    .close = feature_extraction_close,
    .memory = feature_extraction_memory,
    .session = feature_extraction_session,
};
