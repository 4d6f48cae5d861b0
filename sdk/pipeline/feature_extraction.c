/* Task feature-extraction: text -> tokens -> encoder -> pooling -> one vector per text, as sentence-transformers does.
 * Texts run in batches of similar length, so that little is spent on padding. */
#include <math.h>
#include <string.h>

#include "passes/pass.h"
#include "pipeline/length_order.h"
#include "pipeline/pipeline.h"

enum { BATCH = 32, MAX_INPUTS = 4, DEFAULT_MAX_LENGTH = 512 };
enum { INPUT_IDS, INPUT_MASK, INPUT_TYPES, INPUT_POSITIONS };

typedef struct state {
  tern__arena arena;
  tern__graph *graph;
  tern__session *session;
  int32_t input_kind[MAX_INPUTS];
  int32_t output;              /* the token embeddings */
  int32_t max_length;          /* tokens per text; longer ones are cut, as the model's own tokenizer does */
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
  const char *pooling = tern__path_join(&s->arena, p->model->folder, "1_Pooling/config.json");
  const char *modules = tern__path_join(&s->arena, p->model->folder, "modules.json");
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

static tern_status read_inputs(tern_pipeline *p) {
  tern_status status = TERN_OK;
  state *s = p->state;
  static const char *const names[] = {"input_ids", "attention_mask", "token_type_ids", "position_ids"};
  size_t n = tern__array_count(s->graph->inputs);
  if (n == 0 || n > MAX_INPUTS) TERN_FAIL(TERN_STATUS_UNSUPPORTED, "feature-extraction with %zu graph inputs", n);
  for (size_t i = 0; i < n; i++) {
    const tern__value *v = &s->graph->values[s->graph->inputs[i]];
    s->input_kind[i] = -1;
    for (int32_t k = 0; k < 4; k++)
      if (strcmp(v->name, names[k]) == 0) s->input_kind[i] = k;
    if (s->input_kind[i] < 0)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "input '%s' is not understood by feature-extraction; it takes input_ids, "
                "attention_mask, token_type_ids and position_ids", v->name);
    if (v->dtype != TERN_DTYPE_I64 && v->dtype != TERN_DTYPE_I32)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "input '%s' must be int64 or int32", v->name);
  }
  static const char *const outputs[] = {"last_hidden_state", "token_embeddings"};
  for (size_t k = 0; k < 2; k++)
    for (size_t i = 0; i < tern__array_count(s->graph->outputs); i++)
      if (strcmp(s->graph->values[s->graph->outputs[i]].name, outputs[k]) == 0) {
        s->output = (int32_t)i;
        goto cleanup;
      }
  s->output = 0;
cleanup:
  return status;
}

static tern_status feature_extraction_open(tern_pipeline *p, const tern_pipeline_desc *desc) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__arena_init(&s->arena, &p->runtime->alloc);
  TERN_TRY(read_pooling(p));
  TERN_TRY(tern__graph_copy(p->model->graph, &p->runtime->alloc, &s->arena, &s->graph));
  tern__pass_options options = {.kv_cache = false, .float_outputs = true, .cancel = desc->cancel};
  TERN_TRY(tern__passes_run(s->graph, &options));
  TERN_TRY(read_inputs(p));
  int32_t limit = tern__tokenizer_max_length(p->tokenizer);
  s->max_length = p->model->context_length > 0 ? p->model->context_length : DEFAULT_MAX_LENGTH;
  if (limit > 0 && limit < s->max_length) s->max_length = limit;
  tern__session_options session = p->session_options;
  session.kv_batch = 0;
  if (p->session_options.kv_capacity > s->max_length)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "context_length %d is beyond the model's own %d",
              p->session_options.kv_capacity, s->max_length);
  if (p->session_options.kv_capacity > 0) s->max_length = p->session_options.kv_capacity;
  TERN_TRY(tern__session_create(p->runtime, s->graph, p->model->packs, &session, &s->session));
cleanup:
  return status;
}

static void feature_extraction_close(tern_pipeline *p) {
  state *s = p->state;
  tern__session_destroy(s->session);
  tern__graph_destroy(s->graph);
  if (s->arena.alloc) tern__arena_deinit(&s->arena);
}

/* Views of the graph's inputs over `cells` = batch x width ids and mask; `memory` holds 2 x cells int64. */
static void fill_inputs(const state *s, int32_t batch, int32_t width, int64_t *memory, tern__view *inputs) {
  size_t cells = (size_t)batch * (size_t)width, n = tern__array_count(s->graph->inputs);
  tern__shape shape = {2, {batch, width}};
  for (size_t i = 0; i < n; i++) {
    bool narrow = s->graph->values[s->graph->inputs[i]].dtype == TERN_DTYPE_I32;
    int64_t *data = memory ? memory + cells * (size_t)s->input_kind[i] : NULL;
    if (data && narrow)
      for (size_t c = 0; c < cells; c++)
        ((int32_t *)data)[c] = (int32_t)data[c]; /* in place: never ahead of the reader */
    inputs[i] = (tern__view){narrow ? TERN_DTYPE_I32 : TERN_DTYPE_I64, shape, data, cells * (narrow ? 4 : 8)};
  }
}

static tern_status feature_extraction_memory(tern_pipeline *p, tern_memory_plan *out) {
  state *s = p->state;
  tern__view inputs[MAX_INPUTS];
  fill_inputs(s, 1, s->max_length, NULL, inputs);
  tern_status status = tern__session_plan_for(s->session, inputs, NULL, NULL);
  tern__session_memory(s->session, out);
  return status;
}

typedef struct entry { int32_t *ids; int32_t index; } entry;

/* Cuts to the model's length, keeping the closing special token. */
static void truncate_ids(const state *s, int32_t *ids) {
  size_t n = tern__array_count(ids);
  if (n <= (size_t)s->max_length) return;
  ids[s->max_length - 1] = ids[n - 1];
  tern__array_truncate(ids, (size_t)s->max_length);
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
  tern_pooling pooling;
  bool normalize;
  int32_t n_texts, longest; /* longest: rows of each text without pooling */
  const tern_cancel *cancel;
  tern_result *result;
} request;

/* One batch of entries [0, count), all at least one token long. */
static tern_status run_batch(tern_pipeline *p, const entry *entries, int32_t count, const request *r) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__alloc *alloc = &p->runtime->alloc;
  int32_t width = 1, pad = tern__tokenizer_pad(p->tokenizer);
  for (int32_t b = 0; b < count; b++)
    if ((int32_t)tern__array_count(entries[b].ids) > width) width = (int32_t)tern__array_count(entries[b].ids);
  size_t cells = (size_t)count * (size_t)width;
  int64_t *memory = tern__calloc(alloc, cells * 4, sizeof *memory);
  tern__view inputs[MAX_INPUTS];
  TERN_CHECK_ALLOC(memory);
  for (int32_t b = 0; b < count; b++)
    for (int32_t t = 0; t < width; t++) {
      bool real = t < (int32_t)tern__array_count(entries[b].ids);
      size_t c = (size_t)b * (size_t)width + (size_t)t;
      memory[cells * INPUT_IDS + c] = real ? entries[b].ids[t] : pad < 0 ? 0 : pad;
      memory[cells * INPUT_MASK + c] = real;
      memory[cells * INPUT_POSITIONS + c] = t;
    }
  fill_inputs(s, count, width, memory, inputs);
  TERN_TRY(tern__session_run(s->session, inputs, r->cancel, NULL));
  const tern__view *hidden = tern__session_output(s->session, s->output);
  if (hidden->dtype != TERN_DTYPE_F32 || hidden->shape.rank != 3 || hidden->shape.dims[0] != count ||
      hidden->shape.dims[1] != width)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "output '%s' must be float32 [batch, sequence, hidden]",
              s->graph->values[s->graph->outputs[s->output]].name);
  int64_t dim = hidden->shape.dims[2], rows = r->pooling == TERN_POOLING_NONE ? r->longest : 1;
  if (!r->result->tensor) {
    tern__shape shape = r->pooling == TERN_POOLING_NONE ? (tern__shape){3, {r->n_texts, r->longest, dim}}
                                                        : (tern__shape){2, {r->n_texts, dim}};
    TERN_TRY(tern__tensor_create(p->runtime, TERN_DTYPE_F32, &shape, &r->result->tensor));
  }
  for (int32_t b = 0; b < count; b++) {
    const float *tokens = (const float *)hidden->data + (int64_t)b * width * dim;
    int32_t length = (int32_t)tern__array_count(entries[b].ids), own = r->pooling == TERN_POOLING_NONE ? length : 1;
    float *out = (float *)r->result->tensor->view.data + entries[b].index * rows * dim;
    if (r->pooling == TERN_POOLING_NONE) memcpy(out, tokens, (size_t)length * (size_t)dim * sizeof *out);
    else pool_row(tokens, length, dim, r->pooling, out);
    for (int64_t row = 0; r->normalize && row < own; row++) normalize_row(out + row * dim, dim);
  }
cleanup:
  tern__free(alloc, memory);
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

/* Tokens of every text, in the order of the texts. */
static tern_status tokenize(tern_pipeline *p, const tern_run_desc *d, entry *entries, int32_t *lengths,
                            tern_result *result) {
  tern_status status = TERN_OK;
  for (int32_t i = 0; i < d->n_texts; i++) {
    entries[i].index = i;
    TERN_TRY(tern__tokenizer_encode(p->tokenizer, &p->runtime->alloc, d->texts[i], strlen(d->texts[i]), 0,
                                    &entries[i].ids));
    if (tern__array_count(entries[i].ids) == 0)
      TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "texts[%d] has no tokens", i);
    truncate_ids(p->state, entries[i].ids);
    lengths[i] = (int32_t)tern__array_count(entries[i].ids);
    result->timings.n_prompt_tokens += lengths[i];
  }
cleanup:
  return status;
}

/* Runs batches of texts of similar length. */
static tern_status run_batches(tern_pipeline *p, const tern_run_desc *d, const entry *entries,
                               const int32_t *lengths, tern_result *result) {
  tern_status status = TERN_OK;
  state *s = p->state;
  request r = {.pooling = d->pooling ? d->pooling : s->pooling,
               .normalize = d->normalize ? d->normalize > 0 : s->normalize,
               .n_texts = d->n_texts, .cancel = d->cancel, .result = result};
  int32_t *order = tern__calloc(&p->runtime->alloc, (size_t)d->n_texts, sizeof *order);
  TERN_CHECK_ALLOC(order);
  TERN_TRY(tern__length_order(&p->runtime->alloc, lengths, d->n_texts, order));
  r.longest = lengths[order[d->n_texts - 1]];
  for (int32_t i = 0; i < d->n_texts; i += BATCH) {
    entry batch[BATCH];
    int32_t count = d->n_texts - i < BATCH ? d->n_texts - i : BATCH;
    for (int32_t b = 0; b < count; b++) batch[b] = entries[order[i + b]];
    TERN_TRY(run_batch(p, batch, count, &r));
  }
  if (r.pooling == TERN_POOLING_NONE)
    TERN_ARRAY_APPEND(&p->runtime->alloc, result->row_lengths, lengths, (size_t)d->n_texts);
cleanup:
  tern__free(&p->runtime->alloc, order);
  return status;
}

static tern_status feature_extraction_run(tern_pipeline *p, const tern_run_desc *d, tern_result *result) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = &p->runtime->alloc;
  entry *entries = NULL;
  int32_t *lengths = NULL;
  if (d->n_texts < 1) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "give at least one text");
  if ((int)d->pooling < 0 || d->pooling > TERN_POOLING_LAST)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "pooling %d is not one of default, none, mean, cls, last", (int)d->pooling);
  uint64_t begin = tern__now_ns();
  entries = tern__calloc(alloc, (size_t)d->n_texts, sizeof *entries);
  lengths = tern__calloc(alloc, (size_t)d->n_texts, sizeof *lengths);
  if (!entries || !lengths) TERN_CHECK_ALLOC(NULL);
  TERN_TRY(tokenize(p, d, entries, lengths, result));
  uint64_t tokenized = tern__now_ns();
  TERN_TRY(run_batches(p, d, entries, lengths, result));
  result->timings.tokenize_ms = (double)(tokenized - begin) * 1e-6;
  result->timings.prefill_ms = (double)(tern__now_ns() - tokenized) * 1e-6;
  tern__json_writer w = {.alloc = alloc};
  const float *data = result->tensor->view.data;
  write_rows(&w, &data, result->tensor->view.shape.dims, result->tensor->view.shape.rank);
  result->json = w.text;
  if (w.failed) TERN_CHECK_ALLOC(NULL);
cleanup:
  for (int32_t i = 0; entries && i < d->n_texts; i++) TERN_ARRAY_FREE(alloc, entries[i].ids);
  tern__free(alloc, entries);
  tern__free(alloc, lengths);
  return status;
}

static const tern__session *feature_extraction_session(const tern_pipeline *p) {
  const state *s = p->state;
  return s->session;
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
