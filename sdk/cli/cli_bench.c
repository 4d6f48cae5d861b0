/* tern bench: speed and memory of a model on this machine. A model with a KV cache is measured as text
 * generation (prefill and decode), any other as the latency of one run of its graph. One JSON object per
 * device. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct bench_options {
  cli_common common;
  int64_t prompt_tokens, new_tokens, repeat, warm_up, lookup;
  bool profile;
  cli_roof roof;
  cli_list input;
} bench_options;

typedef struct spread {
  double median, min, max;
} spread;

typedef struct bench_report {
  const char *device;
  const char *task; /* "text-generation" or "graph" */
  double load_ms;
  uint64_t weight_bytes, peak_rss_bytes;
  int32_t n_threads;
  int64_t n_prompt, n_new, n_drafted, n_accepted;
  spread first_token_ms, prefill, decode, latency_ms;
  char *profile; /* JSON of the last run, with --profile; free it */
} bench_report;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static uint64_t peak_rss(void) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage)) return 0;
#ifdef __APPLE__
  return (uint64_t)usage.ru_maxrss;
#else
  return (uint64_t)usage.ru_maxrss * 1024;
#endif
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static spread summarize(double *values, int64_t n) {
  qsort(values, (size_t)n, sizeof *values, by_value);
  double median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
  return (spread){median, values[0], values[n - 1]};
}

static void keep_profile(bench_report *report, const char *json) {
  size_t size = json ? strlen(json) + 1 : 0;
  report->profile = size ? malloc(size) : NULL;
  if (report->profile) memcpy(report->profile, json, size);
}

/* ------------------------------------------------------------------------------------- text generation */

/* A text of `n_tokens` tokens (or as near as words allow). Each `variant` begins with a word of its own, so
 * that nothing of the last run's KV cache can be used again. Free it. */
static char *make_prompt(const tern_tokenizer *tokenizer, int64_t n_tokens, int64_t variant) {
  static const char *const words[] = {"time",  "water", "house", "light", "people", "music",
                                      "paper", "river", "stone", "night", "world",  "green",
                                      "early", "small", "story", "north"};
  enum { N_WORDS = sizeof words / sizeof *words, LONGEST = 8 };
  char *text = malloc((size_t)n_tokens * 2 * LONGEST + 1);
  int64_t n_words = n_tokens;
  if (!text) return cli_error("out of memory"), NULL;
  for (int attempt = 0; attempt < 8; ++attempt) {
    size_t size = 0, n = 0;
    for (int64_t i = 0; i < n_words; ++i) {
      const char *word = words[(i * 5 + variant) % N_WORDS];
      size += (size_t)snprintf(text + size, LONGEST, i ? " %s" : "%s", word);
    }
    if (tern_tokenizer_encode(tokenizer, text, size, 0, NULL, 0, &n) != TERN_OK) break;
    int64_t next = n_words + n_tokens - (int64_t)n;
    if (next == n_words || next < 1 || next > 2 * n_tokens) return text;
    n_words = next;
  }
  return text;
}

static int generate_once(tern_pipeline *pipeline, const cli_app *app, const bench_options *o, int64_t variant,
                         tern_timings *timings) {
  tern_run_desc run = TERN_RUN_DESC_INIT;
  tern_result *result = NULL;
  char *prompt = make_prompt(tern_pipeline_tokenizer(pipeline), o->prompt_tokens, variant);
  if (!prompt) return CLI_FAILED;
  const char *texts[] = {prompt};
  run.texts = texts;
  run.n_texts = 1;
  run.max_new_tokens = (int32_t)o->new_tokens;
  run.ignore_eos = 1;
  run.prompt_lookup_num_tokens = (int32_t)o->lookup;
  run.cancel = app->cancel;
  tern_status status = tern_pipeline_run(pipeline, &run, &result);
  *timings = (tern_timings){.struct_size = sizeof *timings};
  if (status == TERN_OK) status = tern_result_timings(result, timings);
  int rc = status == TERN_OK ? CLI_OK : cli_fail(status);
  tern_result_destroy(result);
  free(prompt);
  return rc;
}

static int measure_generation(const cli_app *app, const bench_options *o, bench_report *report) {
  tern_pipeline_desc open;
  tern_pipeline *pipeline = NULL;
  double *samples = calloc((size_t)o->repeat * 3, sizeof *samples);
  if (!samples) return cli_error("out of memory");
  double *first = samples, *prefill = samples + o->repeat, *decode = samples + 2 * o->repeat;
  cli_fill_pipeline(&o->common, app, "text-generation", &open);
  if (o->profile) open.session.flags |= TERN_SESSION_PROFILE;
  double begin = now_ms();
  tern_status status = tern_pipeline_open(app->runtime, &open, &pipeline);
  report->load_ms = now_ms() - begin;
  cli_progress_clear();
  int rc = status == TERN_OK ? CLI_OK : cli_fail(status);
  for (int64_t i = -o->warm_up; rc == CLI_OK && i < o->repeat; ++i) {
    tern_timings t;
    rc = generate_once(pipeline, app, o, i + o->warm_up, &t);
    if (rc || i < 0) continue;
    report->n_prompt = t.n_prompt_tokens;
    report->n_new = t.n_new_tokens;
    report->n_drafted = t.n_drafted_tokens, report->n_accepted = t.n_accepted_tokens;
    first[i] = t.first_token_ms;
    prefill[i] = (t.n_prompt_tokens - t.n_reused_tokens) * 1e3 / t.prefill_ms;
    /* The first token comes out of the prefill: decoding made the others. */
    decode[i] = t.n_new_tokens > 1 ? (t.n_new_tokens - 1) * 1e3 / t.decode_ms : 0;
  }
  if (rc == CLI_OK) {
    report->weight_bytes = tern_model_weight_bytes(tern_pipeline_model(pipeline));
    report->first_token_ms = summarize(first, o->repeat);
    report->prefill = summarize(prefill, o->repeat);
    report->decode = summarize(decode, o->repeat);
    if (o->profile) keep_profile(report, tern_pipeline_profile(pipeline));
  }
  tern_pipeline_close(pipeline);
  free(samples);
  return rc;
}

/* ------------------------------------------------------------------------------------- any graph */

static int run_once(tern_session *session, const cli_inputs *inputs, int32_t n_outputs,
                    tern_tensor **outputs) {
  tern_status status =
      tern_session_run(session, inputs->count, inputs->names, (const tern_tensor *const *)inputs->tensors,
                       n_outputs, NULL, outputs);
  if (status != TERN_OK) return cli_fail(status);
  for (int32_t i = 0; i < n_outputs; ++i) tern_tensor_destroy(outputs[i]);
  return CLI_OK;
}

static int measure_graph(const cli_app *app, const bench_options *o, tern_model *model,
                         bench_report *report) {
  tern_session_desc create;
  tern_session *session = NULL;
  cli_inputs inputs = {0};
  int32_t n_outputs = tern_model_output_count(model);
  double *samples = calloc((size_t)o->repeat, sizeof *samples);
  tern_tensor **outputs = calloc((size_t)n_outputs + 1, sizeof *outputs);
  int rc = samples && outputs ? CLI_OK : cli_error("out of memory");
  if (rc == CLI_OK) rc = cli_inputs_make(app->runtime, model, &o->input, o->prompt_tokens, false, &inputs);
  if (rc == CLI_OK) {
    cli_fill_session(&o->common, app, &create);
    if (o->profile) create.flags |= TERN_SESSION_PROFILE;
    double begin = now_ms();
    tern_status status = tern_session_create(model, &create, &session);
    report->load_ms += now_ms() - begin;
    if (status != TERN_OK) rc = cli_fail(status);
  }
  for (int64_t i = -o->warm_up; rc == CLI_OK && i < o->repeat; ++i) {
    double begin = now_ms();
    rc = run_once(session, &inputs, n_outputs, outputs);
    if (rc == CLI_OK && i >= 0) samples[i] = now_ms() - begin;
  }
  if (rc == CLI_OK) {
    report->weight_bytes = tern_model_weight_bytes(model);
    report->latency_ms = summarize(samples, o->repeat);
    if (o->profile) keep_profile(report, tern_session_profile(session));
  }
  cli_inputs_free(&inputs);
  tern_session_destroy(session);
  free((void *)outputs);
  free(samples);
  return rc;
}

/* ------------------------------------------------------------------------------------- report */

static void json_spread(const char *name, const spread *s) {
  printf(",\"%s\":{\"median\":%.6g,\"min\":%.6g,\"max\":%.6g}", name, s->median, s->min, s->max);
}

static void print_json(const bench_options *o, const bench_report *r) {
  printf("{\"device\":\"%s\",\"model\":", r->device);
  cli_json_string(stdout, o->common.model, strlen(o->common.model));
  printf(",\"task\":\"%s\",\"threads\":%d,\"repeat\":%d,\"load_ms\":%.6g", r->task, r->n_threads,
         (int)o->repeat, r->load_ms);
  if (!strcmp(r->task, "graph")) {
    json_spread("latency_ms", &r->latency_ms);
  } else {
    printf(",\"prompt_tokens\":%d,\"new_tokens\":%d,\"first_token_ms\":%.6g,\"prefill_tokens_per_s\":%.6g",
           (int)r->n_prompt, (int)r->n_new, r->first_token_ms.median, r->prefill.median);
    if (r->n_new > 1) printf(",\"decode_tokens_per_s\":%.6g", r->decode.median);
    if (o->lookup)
      printf(",\"drafted_tokens\":%d,\"accepted_tokens\":%d", (int)r->n_drafted, (int)r->n_accepted);
    printf(",\"range\":{\"repeat\":%d", (int)o->repeat);
    json_spread("first_token_ms", &r->first_token_ms);
    json_spread("prefill_tokens_per_s", &r->prefill);
    json_spread("decode_tokens_per_s", &r->decode);
    putchar('}');
  }
  printf(",\"peak_rss_bytes\":%llu,\"weight_bytes\":%llu", (unsigned long long)r->peak_rss_bytes,
         (unsigned long long)r->weight_bytes);
  if (r->profile) {
    printf(",\"profile\":%s", r->profile);
    cli_json_roof(r->profile, &o->roof);
  }
  puts("}");
}

static void print_row(const char *name, const spread *s, const char *unit) {
  printf("  %-14s %9.1f %s  (min %.1f, max %.1f)\n", name, s->median, unit, s->min, s->max);
}

static void print_table(const bench_options *o, const bench_report *r) {
  char text[32];
  printf("%s on %s, %d threads, %d runs after %d to warm up\n", o->common.model, r->device, r->n_threads,
         (int)o->repeat, (int)o->warm_up);
  printf("  %-14s %9.1f ms\n", "load", r->load_ms);
  if (!strcmp(r->task, "graph")) {
    print_row("latency", &r->latency_ms, "ms");
  } else {
    printf("  prompt of %d tokens, %d new ones\n", (int)r->n_prompt, (int)r->n_new);
    print_row("first token", &r->first_token_ms, "ms");
    print_row("prefill", &r->prefill, "tokens/s");
    if (r->n_new > 1) print_row("decode", &r->decode, "tokens/s");
    if (o->lookup)
      printf("  %-14s %9d tokens, %d accepted (last run)\n", "drafted", (int)r->n_drafted, (int)r->n_accepted);
  }
  printf("  %-14s %12s\n", "peak memory", cli_bytes(r->peak_rss_bytes, text, sizeof text));
  printf("  %-14s %12s\n", "weights", cli_bytes(r->weight_bytes, text, sizeof text));
  if (r->profile) cli_print_profile(r->profile, &o->roof);
}

static int bench_device(const bench_options *o, const char *device) {
  cli_app app;
  tern_model *model = NULL;
  tern_model_desc open;
  bench_options own = *o;
  bench_report report = {.device = device ? device : "cpu"};
  own.common.device = device;
  int rc = cli_start(&own.common, true, &app);
  if (rc == CLI_OK) {
    cli_fill_model(&own.common, &app, &open);
    double begin = now_ms();
    tern_status status = tern_model_open(app.runtime, &open, &model);
    report.load_ms = now_ms() - begin;
    cli_progress_clear();
    if (status != TERN_OK) rc = cli_fail(status);
  }
  if (rc == CLI_OK) {
    report.n_threads = tern_runtime_n_threads(app.runtime);
    bool generation = cli_model_has_cache(model) && !own.input.count;
    report.task = generation ? "text-generation" : "graph";
    if (generation) {
      tern_model_close(model);
      model = NULL;
      rc = measure_generation(&app, &own, &report);
    } else {
      rc = measure_graph(&app, &own, model, &report);
    }
  }
  report.peak_rss_bytes = peak_rss();
  if (rc == CLI_OK) (o->common.json ? print_json : print_table)(&own, &report);
  free(report.profile);
  tern_model_close(model);
  cli_stop(&app);
  return rc;
}

/* Each of several devices is measured in a process of its own: peak memory belongs to a process. */
static int bench_devices(const bench_options *o) {
  char devices[256];
  int rc = CLI_OK;
  if (!o->common.device || !strchr(o->common.device, ',')) return bench_device(o, o->common.device);
  if (snprintf(devices, sizeof devices, "%s", o->common.device) >= (int)sizeof devices)
    return cli_usage("--device: the list is too long");
  for (char *device = devices, *next; device && rc == CLI_OK; device = next) {
    int state = 0;
    if ((next = strchr(device, ','))) *next++ = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) return cli_error("cannot start a process for device %s", device);
    if (child == 0) {
      int child_rc = bench_device(o, device);
      fflush(stdout);
      _exit(child_rc);
    }
    if (waitpid(child, &state, 0) < 0) return cli_error("lost the process for device %s", device);
    rc =
        WIFEXITED(state) ? WEXITSTATUS(state) : cli_error("device %s: the process ended by a signal", device);
  }
  return rc;
}

static const char about[] =
    "Measures a model: prefill and decode of text generation if it has a KV cache, else the latency of its\n"
    "graph with made-up inputs. Open shapes of input_ids and its like are [1, --prompt-tokens]; others need\n"
    "--input. Figures are medians. --json prints one object per device.";
static const char examples[] =
    "  tern bench --model SmolLM2.gguf --prompt-tokens 256 --new-tokens 64\n"
    "  tern bench --model all-MiniLM-L6-v2/ --dtype q8 --prompt-tokens 32 --repeat 20 --json\n"
    "  tern bench --model detector.onnx --input image=1x3x640x640:float32\n"
    "  tern bench --model SmolLM2.gguf --profile --roof-gbps 31 --roof-gops 1400";

int cli_bench(int argc, char **argv) {
  bench_options o = {.prompt_tokens = 128, .new_tokens = 64, .repeat = 5, .warm_up = 1};
  cli_list positional = {0};
  const cli_option options[] = {
      CLI_MODEL_OPTIONS(&o.common),
      {"--device", CLI_TEXT, &o.common.device, "D[,D]", "devices, one after the other", 0, 0},
      {"--prompt-tokens", CLI_INT, &o.prompt_tokens, "P", "length of the prompt (128)", 1, 1 << 20},
      {"--new-tokens", CLI_INT, &o.new_tokens, "N", "tokens to generate (64)", 1, 1 << 20},
      {"--prompt-lookup-num-tokens", CLI_INT, &o.lookup, "N",
       "evaluate up to N tokens ahead (the prompt repeats itself); 0 = off", 0, 64},
      {"--input", CLI_LIST, &o.input, "NAME=1x128:int64", "shape and type of a graph's input", 0, 0},
      {"--repeat", CLI_INT, &o.repeat, "R", "measured runs (5)", 1, 1 << 20},
      {"--warm-up", CLI_INT, &o.warm_up, "W", "runs before them (1)", 0, 1 << 20},
      {"--profile", CLI_FLAG, &o.profile, NULL, "kernels of the last run: time, bytes, operations", 0, 0},
      {"--roof-gbps", CLI_REAL, &o.roof.gbps, "X", "with --profile: shares of this memory bandwidth", 0, 1e6},
      {"--roof-gops", CLI_REAL, &o.roof.gops, "X", "and of this peak; a multiply-add is two", 0, 1e9},
      CLI_CONTEXT_OPTION(&o.common),
      CLI_SESSION_OPTIONS(&o.common),
      CLI_JSON_OPTION(&o.common),
  };
  const cli_command command = {"tern bench", "--model PATH [options]", about, examples,
                               options, sizeof options / sizeof *options};
  int rc = cli_parse(&command, argc, argv, &positional);
  if (rc == CLI_OK && positional.count)
    rc = cli_usage("'%s' is no option; did you mean --model?", positional.items[0]);
  if (rc == CLI_OK && !o.profile && (o.roof.gbps > 0 || o.roof.gops > 0))
    rc = cli_usage("--roof-gbps and --roof-gops need --profile");
  if (rc == CLI_OK) rc = bench_devices(&o);
  cli_list_free(&o.input);
  cli_list_free(&positional);
  return rc < 0 ? CLI_OK : rc;
}
