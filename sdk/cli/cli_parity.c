/* tern parity: whether devices give the same answer. The first device leads: text is decoded greedily by it, and every
 * other one is forced along the same tokens, so that each step compares one computation and not two texts. Models
 * without a KV cache are compared by their embeddings of a few sentences, or by their outputs. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 8 };

typedef struct parity_options {
  cli_common common;
  int64_t new_tokens;
  cli_list input;
  char list[256];
  const char *devices[MAX_DEVICES];
  int n_devices;
} parity_options;

/* What is said about a device against the first one, over all texts. */
typedef struct agreement {
  int64_t rows, top1, texts, equal_texts;
  double max_difference, min_cosine;
  int64_t first_difference; /* steps until the first other top-1 of the text where it came soonest; -1 = none */
} agreement;

enum { N_PROMPTS = 5, N_SENTENCES = 5 };
static const char *const default_prompts[N_PROMPTS] = {
    "The capital of France is", "Once upon a time, in a small village by the sea,", "def fibonacci(n):",
    "La recherche sur le climat montre que", "1, 1, 2, 3, 5, 8, 13,"};
static const char *const default_sentences[N_SENTENCES] = {
    "A cat sleeps on the sofa.", "A kitten naps on the couch.", "The stock market fell on Monday.",
    "Der Zug nach Berlin fährt um neun.", "x"};

static const float *floats_of(const tern_tensor *tensor, size_t *n) {
  *n = 0;
  if (tern_tensor_dtype(tensor) != TERN_DTYPE_F32) return NULL;
  *n = tern_tensor_size_bytes(tensor) / sizeof(float);
  return tern_tensor_data(tensor);
}

/* IEEE 754 half to single: subnormals by their value, infinity and NaN kept. */
static float half_to_float(uint16_t h) {
  int exponent = h >> 10 & 31, fraction = h & 1023;
  float size = exponent == 31  ? (fraction ? NAN : INFINITY)
               : exponent == 0 ? ldexpf((float)fraction, -24)
                               : ldexpf((float)(fraction + 1024), exponent - 25);
  return h >> 15 ? -size : size;
}

/* The last row of logits as floats of its own; free it. NULL: another type, or no memory. */
static float *last_row(const tern_tensor *logits, size_t *n) {
  *n = (size_t)tern_tensor_dims(logits)[tern_tensor_rank(logits) - 1];
  tern_dtype dtype = tern_tensor_dtype(logits);
  float *row = dtype == TERN_DTYPE_F32 || dtype == TERN_DTYPE_F16 ? malloc((*n + 1) * sizeof *row) : NULL;
  if (!row) return NULL;
  size_t total = tern_tensor_size_bytes(logits) / (dtype == TERN_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t));
  const void *data = tern_tensor_data(logits);
  for (size_t i = 0; i < *n; ++i)
    row[i] = dtype == TERN_DTYPE_F32 ? ((const float *)data)[total - *n + i]
                                     : half_to_float(((const uint16_t *)data)[total - *n + i]);
  return row;
}

static size_t argmax(const float *x, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; ++i)
    if (x[i] > x[best]) best = i;
  return best;
}

/* One row of logits or one embedding. Values that are no numbers on one side only count as an infinite difference. */
static void compare_row(agreement *a, const float *reference, const float *other, size_t n) {
  double dot = 0, x2 = 0, y2 = 0;
  for (size_t i = 0; i < n; ++i) {
    double x = reference[i], y = other[i];
    if (isnan(x) && isnan(y)) continue;
    double difference = x == y ? 0 : fabs(x - y);
    if (isnan(difference)) difference = INFINITY;
    if (difference > a->max_difference) a->max_difference = difference;
    dot += x * y, x2 += x * x, y2 += y * y;
  }
  double cosine = x2 > 0 && y2 > 0 ? dot / sqrt(x2 * y2) : x2 == y2;
  if (!(cosine >= a->min_cosine)) a->min_cosine = cosine;
  a->rows++;
  a->top1 += argmax(reference, n) == argmax(other, n);
}

/* ------------------------------------------------------------------------------------- text */

static tern_status run_tokens(tern_runtime *runtime, tern_session *session, const int64_t *tokens, int64_t n,
                              int64_t past, bool positions, tern_tensor **logits) {
  static const char *const names[] = {"input_ids", "position_ids"}, *const output[] = {"logits"};
  tern_tensor *tensors[2] = {NULL};
  int64_t dims[2] = {1, n};
  tern_status status = TERN_OK;
  *logits = NULL;
  for (int32_t i = 0; i <= positions && status == TERN_OK; ++i) {
    status = tern_tensor_create(runtime, TERN_DTYPE_I64, 2, dims, &tensors[i]);
    if (status != TERN_OK) break;
    int64_t *data = tern_tensor_data(tensors[i]);
    for (int64_t t = 0; t < n; ++t) data[t] = i ? past + t : tokens[t];
  }
  if (status == TERN_OK)
    status = tern_session_run(session, 1 + positions, names, (const tern_tensor *const *)tensors, 1, output, logits);
  for (int32_t i = 0; i < 2; ++i) tern_tensor_destroy(tensors[i]);
  return status;
}

/* Runs `n` tokens from position `past` on; `*row` is the last position's logits: free it. Some graphs take positions,
 * others know them from the cache. */
static tern_status step(tern_runtime *runtime, tern_session *session, const int64_t *tokens, int64_t n, int64_t past,
                        float **row, size_t *vocabulary) {
  tern_tensor *logits = NULL;
  tern_status status = run_tokens(runtime, session, tokens, n, past, true, &logits);
  if (status == TERN_STATUS_NOT_FOUND) status = run_tokens(runtime, session, tokens, n, past, false, &logits);
  *row = status == TERN_OK ? last_row(logits, vocabulary) : NULL;
  tern_tensor_destroy(logits);
  return status;
}

typedef struct text_run {
  tern_runtime *runtime;
  tern_session *sessions[MAX_DEVICES];
} text_run;

/* One prompt: prefill, then greedy steps led by the first device. */
static int compare_text(const parity_options *o, text_run *r, const tern_tokenizer *tokenizer, const char *text,
                        agreement *all) {
  int32_t ids[512];
  int64_t tokens[512];
  size_t n = 0;
  int64_t first[MAX_DEVICES], past = 0;
  tern_status status = tern_tokenizer_encode(tokenizer, text, strlen(text), 0, ids, 512, &n);
  if (status != TERN_OK) return cli_fail(status);
  if (n == 0 || n > 512) return cli_error("'%.40s': %zu tokens; give texts of 1 to 512", text, n);
  for (size_t i = 0; i < n; ++i) tokens[i] = ids[i];
  for (int d = 0; d < o->n_devices; ++d) {
    first[d] = -1;
    if ((status = tern_session_kv_truncate(r->sessions[d], 0)) != TERN_OK) return cli_fail(status);
  }
  for (int64_t t = 0; t < o->new_tokens; ++t) {
    float *reference = NULL, *row = NULL;
    size_t vocabulary = 0, other = 0;
    int64_t fresh = t == 0 ? (int64_t)n : 1;
    status = step(r->runtime, r->sessions[0], tokens, fresh, past, &reference, &vocabulary);
    if (status == TERN_OK && !reference) return cli_error("logits are neither float32 nor float16");
    for (int d = 1; d < o->n_devices && status == TERN_OK; ++d) {
      status = step(r->runtime, r->sessions[d], tokens, fresh, past, &row, &other);
      if (row && other == vocabulary) {
        compare_row(&all[d], reference, row, vocabulary);
        if (first[d] < 0 && argmax(reference, vocabulary) != argmax(row, vocabulary)) first[d] = t;
      }
      free(row);
    }
    if (status != TERN_OK) return free(reference), cli_fail(status);
    past += fresh;
    tokens[0] = (int64_t)argmax(reference, vocabulary);
    free(reference);
  }
  for (int d = 1; d < o->n_devices; ++d) {
    all[d].texts++, all[d].equal_texts += first[d] < 0;
    if (first[d] >= 0 && (all[d].first_difference < 0 || first[d] < all[d].first_difference))
      all[d].first_difference = first[d];
  }
  return CLI_OK;
}

static int compare_texts(const parity_options *o, const cli_app *app, tern_model *model, const char *const *texts,
                         int n_texts, agreement *all) {
  text_run r = {.runtime = app->runtime};
  tern_tokenizer *tokenizer = NULL;
  tern_status status = tern_tokenizer_open(app->runtime, o->common.model, &tokenizer);
  for (int d = 0; d < o->n_devices && status == TERN_OK; ++d) {
    tern_session_desc desc;
    cli_fill_session(&o->common, app, &desc);
    desc.device = o->devices[d], desc.kv_cache = 1;
    status = tern_session_create(model, &desc, &r.sessions[d]);
  }
  int rc = status == TERN_OK ? CLI_OK : cli_fail(status);
  for (int i = 0; i < n_texts && rc == CLI_OK; ++i) rc = compare_text(o, &r, tokenizer, texts[i], all);
  for (int d = 0; d < o->n_devices; ++d) tern_session_destroy(r.sessions[d]);
  tern_tokenizer_close(tokenizer);
  return rc;
}

/* ------------------------------------------------------------------------------------- embeddings, outputs */

static int compare_embeddings(const parity_options *o, const cli_app *app, const char *const *texts, int n_texts,
                              agreement *all) {
  tern_result *results[MAX_DEVICES] = {NULL};
  int rc = CLI_OK;
  for (int d = 0; d < o->n_devices && rc == CLI_OK; ++d) {
    tern_pipeline_desc open;
    tern_pipeline *pipeline = NULL;
    tern_run_desc run = TERN_RUN_DESC_INIT;
    cli_fill_pipeline(&o->common, app, "feature-extraction", &open);
    open.session.device = o->devices[d];
    run.texts = texts, run.n_texts = n_texts, run.cancel = app->cancel;
    tern_status status = tern_pipeline_open(app->runtime, &open, &pipeline);
    cli_progress_clear();
    if (status == TERN_OK) status = tern_pipeline_run(pipeline, &run, &results[d]);
    if (status != TERN_OK) rc = cli_fail(status);
    tern_pipeline_close(pipeline);
  }
  for (int d = 1; d < o->n_devices && rc == CLI_OK; ++d) {
    size_t n = 0, other = 0;
    const float *x = floats_of(tern_result_tensor(results[0]), &n);
    const float *y = floats_of(tern_result_tensor(results[d]), &other);
    if (!x || !y || n != other) rc = cli_error("%s gave another shape", o->devices[d]);
    size_t width = n / (size_t)n_texts;
    for (int i = 0; i < n_texts && rc == CLI_OK; ++i)
      compare_row(&all[d], x + width * (size_t)i, y + width * (size_t)i, width);
    all[d].texts = n_texts;
  }
  for (int d = 0; d < o->n_devices; ++d) tern_result_destroy(results[d]);
  return rc;
}

static int compare_outputs(const parity_options *o, const cli_app *app, tern_model *model, agreement *all) {
  int32_t n_outputs = tern_model_output_count(model);
  tern_tensor **outputs = calloc((size_t)n_outputs * MAX_DEVICES + 1, sizeof *outputs);
  cli_inputs inputs = {0};
  int rc = outputs ? CLI_OK : cli_error("out of memory");
  if (rc == CLI_OK) rc = cli_inputs_make(app->runtime, model, &(cli_list){0}, 16, false, &inputs);
  for (int d = 0; d < o->n_devices && rc == CLI_OK; ++d) {
    tern_session_desc desc;
    tern_session *session = NULL;
    cli_fill_session(&o->common, app, &desc);
    desc.device = o->devices[d];
    tern_status status = tern_session_create(model, &desc, &session);
    if (status == TERN_OK)
      status = tern_session_run(session, inputs.count, inputs.names, (const tern_tensor *const *)inputs.tensors,
                                n_outputs, NULL, outputs + (size_t)d * (size_t)n_outputs);
    if (status != TERN_OK) rc = cli_fail(status);
    tern_session_destroy(session);
  }
  for (int d = 1; d < o->n_devices && rc == CLI_OK; ++d)
    for (int32_t i = 0; i < n_outputs; ++i) {
      size_t n = 0, other = 0;
      const float *x = floats_of(outputs[i], &n), *y = floats_of(outputs[d * n_outputs + i], &other);
      if (x && y && n == other && n) compare_row(&all[d], x, y, n);
    }
  for (int32_t i = 0; outputs && i < n_outputs * o->n_devices; ++i) tern_tensor_destroy(outputs[i]);
  cli_inputs_free(&inputs);
  free((void *)outputs);
  return rc;
}

/* ------------------------------------------------------------------------------------- report */

static void report(const parity_options *o, const char *task, const agreement *all) {
  bool text = !strcmp(task, "text-generation");
  if (!o->common.json)
    printf("%s, %s: %s against\n", o->common.model, task, o->devices[0]);
  for (int d = 1; d < o->n_devices; ++d) {
    const agreement *a = &all[d];
    double top1 = a->rows ? (double)a->top1 / (double)a->rows : 0;
    if (o->common.json) {
      printf("{\"task\":\"%s\",\"reference\":\"%s\",\"device\":\"%s\",\"rows\":%lld,\"max_abs_difference\":", task,
             o->devices[0], o->devices[d], (long long)a->rows);
      cli_json_number(stdout, a->max_difference);
      printf(",\"min_cosine\":");
      cli_json_number(stdout, a->min_cosine);
      if (text)
        printf(",\"top1_agreement\":%.6g,\"texts\":%lld,\"equal_texts\":%lld,\"tokens_until_difference\":%lld", top1,
               (long long)a->texts, (long long)a->equal_texts, (long long)a->first_difference);
      printf("}\n");
      continue;
    }
    printf("  %-24s largest difference %.3g, least cosine %.9f", o->devices[d], a->max_difference, a->min_cosine);
    if (text) {
      printf(", top-1 equal in %lld of %lld steps, ", (long long)a->top1, (long long)a->rows);
      if (a->first_difference < 0) printf("all %lld texts equal", (long long)a->texts);
      else
        printf("%lld of %lld texts equal, first difference after %lld tokens", (long long)a->equal_texts,
               (long long)a->texts, (long long)a->first_difference);
    }
    printf(" (%lld rows)\n", (long long)a->rows);
  }
}

static int read_devices(parity_options *o) {
  if (!o->common.device) return cli_usage("--device A,B[,...] is missing: at least two devices to compare");
  if (snprintf(o->list, sizeof o->list, "%s", o->common.device) >= (int)sizeof o->list)
    return cli_usage("--device: the list is too long");
  for (char *device = o->list, *next; device; device = next) {
    if ((next = strchr(device, ','))) *next++ = 0;
    if (o->n_devices == MAX_DEVICES) return cli_usage("--device: at most %d devices", MAX_DEVICES);
    o->devices[o->n_devices++] = device;
  }
  return o->n_devices >= 2 ? CLI_OK : cli_usage("--device '%s': two devices are needed, as in cpu,vulkan", o->list);
}

static int parity(parity_options *o) {
  cli_app app;
  tern_model *model = NULL;
  tern_model_desc open;
  agreement all[MAX_DEVICES];
  for (int d = 0; d < MAX_DEVICES; ++d) all[d] = (agreement){.min_cosine = 1, .first_difference = -1};
  int rc = cli_start(&o->common, true, &app);
  if (rc == CLI_OK) {
    cli_fill_model(&o->common, &app, &open);
    tern_status status = tern_model_open(app.runtime, &open, &model);
    cli_progress_clear();
    if (status != TERN_OK) rc = cli_fail(status);
  }
  const char *task = "graph";
  if (rc == CLI_OK && cli_model_has_cache(model)) {
    task = "text-generation";
    rc = o->input.count
             ? compare_texts(o, &app, model, o->input.items, o->input.count, all)
             : compare_texts(o, &app, model, default_prompts, N_PROMPTS, all);
  } else if (rc == CLI_OK) {
    tern_tokenizer *tokenizer = NULL;
    if (tern_tokenizer_open(app.runtime, o->common.model, &tokenizer) == TERN_OK) {
      task = "feature-extraction";
      rc = o->input.count
               ? compare_embeddings(o, &app, o->input.items, o->input.count, all)
               : compare_embeddings(o, &app, default_sentences, N_SENTENCES, all);
    } else {
      rc = compare_outputs(o, &app, model, all);
    }
    tern_tokenizer_close(tokenizer);
  }
  if (rc == CLI_OK) report(o, task, all);
  tern_model_close(model);
  cli_stop(&app);
  return rc;
}

static const char about[] =
    "Compares devices on one model. The first device leads: it decodes greedily, the others are forced along its\n"
    "tokens, and every step's logits are compared: largest absolute difference, least cosine, how often the best\n"
    "token is the same, and after how many tokens the texts would part. Other models are compared by their\n"
    "embeddings or outputs. INPUT: texts in place of the built-in ones.";
static const char examples[] =
    "  tern parity --model SmolLM2.gguf --device cpu,vulkan --numerics consistent\n"
    "  tern parity --model all-MiniLM-L6-v2/ --dtype q8 --device cpu,vulkan:llvmpipe --json";

int cli_parity(int argc, char **argv) {
  parity_options o = {.new_tokens = 32};
  const cli_option options[] = {
      CLI_MODEL_OPTIONS(&o.common),
      {"--device", CLI_TEXT, &o.common.device, "A,B[,...]", "the devices; the first one leads", 0, 0},
      {"--new-tokens", CLI_INT, &o.new_tokens, "N", "tokens to decode for each text (32)", 1, 2048},
      CLI_CONTEXT_OPTION(&o.common),
      CLI_SESSION_OPTIONS(&o.common),
      CLI_JSON_OPTION(&o.common),
  };
  const cli_command command = {"tern parity", "--model PATH --device A,B [options] [INPUT...]", about, examples,
                               options, sizeof options / sizeof *options};
  int rc = cli_parse(&command, argc, argv, &o.input);
  if (rc == CLI_OK) rc = read_devices(&o);
  if (rc == CLI_OK) rc = parity(&o);
  cli_list_free(&o.input);
  return rc < 0 ? CLI_OK : rc;
}
