/* tern run feature-extraction: texts to vectors, as JSON, or compared with each other in a table. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct embed_options {
  cli_common common;
  bool similarity, normalize, no_normalize;
  int pooling;
} embed_options;

static double cosine(const float *a, const float *b, int64_t n) {
  double dot = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < n; ++i)
    dot += (double)a[i] * b[i], aa += (double)a[i] * a[i], bb += (double)b[i] * b[i];
  return aa > 0 && bb > 0 ? dot / sqrt(aa * bb) : 0;
}

static void print_similarity(const tern_tensor *tensor, const cli_list *texts, bool json) {
  const float *data = tern_tensor_data(tensor);
  int64_t n = tern_tensor_dims(tensor)[0], width = tern_tensor_dims(tensor)[1];
  if (json) putchar('[');
  for (int64_t i = 0; i < n; ++i) {
    if (json) printf(i ? ",[" : "[");
    for (int64_t j = 0; j < n; ++j) {
      double value = cosine(data + i * width, data + j * width, width);
      if (json) printf("%s%.6f", j ? "," : "", value);
      else printf("%8.4f", value);
    }
    if (json) putchar(']');
    else printf("  %s\n", texts->items[i]);
  }
  if (json) puts("]");
}

static int embed(const embed_options *o, const cli_list *texts) {
  cli_app app;
  tern_pipeline_desc open;
  tern_pipeline *pipeline = NULL;
  tern_result *result = NULL;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  int rc = cli_start(&o->common, true, &app);
  if (rc) goto cleanup;
  cli_fill_pipeline(&o->common, &app, "feature-extraction", &open);
  tern_status status = tern_pipeline_open(app.runtime, &open, &pipeline);
  cli_progress_clear();
  if (status == TERN_OK) {
    run.texts = texts->items;
    run.n_texts = texts->count;
    run.pooling = (tern_pooling)o->pooling;
    run.normalize = o->normalize ? 1 : o->no_normalize ? -1 : 0;
    run.cancel = app.cancel;
    status = tern_pipeline_run(pipeline, &run, &result);
  }
  if (status != TERN_OK) rc = cli_fail(status);
  else if (o->similarity) print_similarity(tern_result_tensor(result), texts, o->common.json);
  else puts(tern_result_json(result));
  if (rc == CLI_OK && o->common.verbose) {
    tern_timings t = {.struct_size = sizeof t};
    tern_result_timings(result, &t);
    fprintf(stderr, "tern: %d tokens in %.1f ms\n", t.n_prompt_tokens, t.total_ms);
  }
cleanup:
  tern_result_destroy(result);
  tern_pipeline_close(pipeline);
  cli_stop(&app);
  return rc;
}

/* Replaces "-" by the lines of stdin; `owned` holds their text. */
static int expand_stdin(cli_list *inputs, cli_list *texts, char **owned) {
  for (int i = 0; i < inputs->count; ++i) {
    if (strcmp(inputs->items[i], "-")) {
      if (!cli_list_add(texts, inputs->items[i])) return CLI_FAILED;
      continue;
    }
    if (*owned) return cli_usage("INPUT '-' (stdin) can be given once");
    if (!(*owned = cli_read_all(stdin, "stdin", NULL))) return CLI_FAILED;
    for (char *line = *owned; *line;) {
      char *end = strchr(line, '\n');
      if (end) *end = 0;
      if (!cli_list_add(texts, line)) return CLI_FAILED;
      if (!end) break;
      line = end + 1;
    }
  }
  return texts->count ? CLI_OK : cli_usage("no INPUT: give texts, or '-' to read one a line from stdin");
}

static const char about[] =
    "Turns each INPUT into a vector and prints them as JSON in the shape that Transformers.js gives. INPUT\n"
    "'-' stands for the lines of stdin. Pooling and normalization are those of the model's folder unless\n"
    "options say otherwise. --similarity prints the cosine of every pair instead.";
static const char examples[] =
    "  tern run feature-extraction --model all-MiniLM-L6-v2/ \"a text\" \"another\"\n"
    "  tern run feature-extraction --model all-MiniLM-L6-v2/ --similarity \"a cat\" \"a kitten\" \"a bus\"\n"
    "  tern run feature-extraction --model all-MiniLM-L6-v2/ --dtype q8 --pooling cls - < lines.txt";

int cli_run_embed(int argc, char **argv) {
  embed_options o = {0};
  cli_list inputs = {0}, texts = {0};
  char *owned = NULL;
  const cli_option options[] = {
      CLI_MODEL_OPTIONS(&o.common),
      {"--pooling", CLI_CHOICE, &o.pooling, "none|mean|cls|last", "tokens to one vector", 0, 0},
      {"--normalize", CLI_FLAG, &o.normalize, NULL, "scale vectors to length 1", 0, 0},
      {"--no-normalize", CLI_FLAG, &o.no_normalize, NULL, "leave their length", 0, 0},
      {"--similarity", CLI_FLAG, &o.similarity, NULL, "print a table of cosines", 0, 0},
      CLI_DEVICE_OPTION(&o.common),
      CLI_SESSION_OPTIONS(&o.common),
      CLI_JSON_OPTION(&o.common),
  };
  const cli_command command = {
      "tern run feature-extraction",   "--model PATH [options] INPUT...", about, examples, options,
      sizeof options / sizeof *options};
  int rc = cli_parse(&command, argc, argv, &inputs);
  if (rc == CLI_OK && o.normalize && o.no_normalize)
    rc = cli_usage("--normalize and --no-normalize exclude each other");
  if (rc == CLI_OK && o.similarity && o.pooling == TERN_POOLING_NONE)
    rc = cli_usage("--similarity needs one vector per text: not --pooling none");
  if (rc == CLI_OK) rc = expand_stdin(&inputs, &texts, &owned);
  if (rc == CLI_OK) rc = embed(&o, &texts);
  free(owned);
  cli_list_free(&texts);
  cli_list_free(&inputs);
  return rc < 0 ? CLI_OK : rc;
}
