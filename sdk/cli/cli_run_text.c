/* tern run text-generation: a prompt, or a chat message through the model's template, streamed as it is
 * generated. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct text_options {
  cli_common common;
  bool prompt, chat, ignore_eos, full_text;
  const char *system;
  int64_t max_new_tokens, top_k, seed, lookup, ngram;
  double temperature, top_p, min_p, repetition_penalty;
  int context_policy;
  cli_list stop;
} text_options;

/* Streaming: `open_line` is true while the terminal's line has text. */
typedef struct text_stream {
  bool open_line;
} text_stream;

static int32_t on_text(void *user_data, const char *text, size_t size, int32_t token_id) {
  text_stream *stream = user_data;
  (void)token_id;
  if (!size) return 0;
  fwrite(text, 1, size, stdout);
  stream->open_line = text[size - 1] != '\n';
  return fflush(stdout) ? 1 : 0; /* nobody reads any more: stop */
}

/* The message as [{"role","content"}...]; free it. */
static char *chat_messages(const char *system, const char *user) {
  char *json = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&json, &size);
  if (!out) return cli_error("out of memory"), NULL;
  fputc('[', out);
  if (system) {
    fputs("{\"role\":\"system\",\"content\":", out);
    cli_json_string(out, system, strlen(system));
    fputs("},", out);
  }
  fputs("{\"role\":\"user\",\"content\":", out);
  cli_json_string(out, user, strlen(user));
  fputs("}]", out);
  if (fclose(out)) return cli_error("out of memory"), free(json), NULL;
  return json;
}

static void print_json(const tern_result *result, int32_t index) {
  tern_timings t = {.struct_size = sizeof t};
  size_t size = 0, n_tokens = 0;
  const char *text = tern_result_text(result, index, &size);
  const int32_t *tokens = tern_result_tokens(result, index, &n_tokens);
  tern_result_timings(result, &t);
  printf("{\"text\":");
  cli_json_string(stdout, text, size);
  printf(",\"tokens\":[");
  for (size_t i = 0; i < n_tokens; ++i) printf("%s%d", i ? "," : "", tokens[i]);
  printf("],\"finish_reason\":\"%s\",\"timings\":{\"n_prompt_tokens\":%d,\"n_reused_tokens\":%d,\"n_new_"
         "tokens\":%d",
         tern_result_finish_reason(result, index), t.n_prompt_tokens, t.n_reused_tokens, t.n_new_tokens);
  printf(",\"n_drafted_tokens\":%d,\"n_accepted_tokens\":%d", t.n_drafted_tokens, t.n_accepted_tokens);
  printf(",\"tokenize_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,\"first_token_ms\":%.3f,\"total_ms\":%"
         ".3f}}",
         t.tokenize_ms, t.prefill_ms, t.decode_ms, t.first_token_ms, t.total_ms);
}

static void print_timings(const tern_result *result) {
  tern_timings t = {.struct_size = sizeof t};
  if (tern_result_timings(result, &t) != TERN_OK) return;
  fprintf(stderr,
          "tern: %d prompt tokens (%d reused) in %.1f ms, %d new tokens in %.1f ms, first after %.1f ms\n",
          t.n_prompt_tokens, t.n_reused_tokens, t.prefill_ms, t.n_new_tokens, t.decode_ms, t.first_token_ms);
  if (t.n_drafted_tokens)
    fprintf(stderr, "tern: %d tokens drafted by prompt lookup, %d of them accepted\n", t.n_drafted_tokens,
            t.n_accepted_tokens);
}

static int generate(tern_pipeline *pipeline, const text_options *o, const tern_run_desc *desc) {
  text_stream stream = {false};
  tern_run_desc run = *desc;
  tern_result *result = NULL;
  bool streamed = !o->common.json && !o->full_text && run.n_texts <= 1;
  if (streamed) run.on_text = (tern_on_text){on_text, &stream};
  tern_status status = tern_pipeline_run(pipeline, &run, &result);
  if (stream.open_line) putchar('\n');
  if (status != TERN_OK) {
    fflush(stdout);
    return cli_fail(status);
  }
  int32_t n = tern_result_count(result);
  bool cancelled = false;
  if (o->common.json && n > 1) putchar('[');
  for (int32_t i = 0; i < n; ++i) {
    if (o->common.json) {
      if (i) putchar(',');
      print_json(result, i);
    } else if (!streamed) {
      size_t size = 0;
      const char *text = tern_result_text(result, i, &size);
      fwrite(text, 1, size, stdout);
      putchar('\n');
    }
    cancelled |= !strcmp(tern_result_finish_reason(result, i), "cancelled");
  }
  if (o->common.json) puts(n > 1 ? "]" : "");
  if (o->common.verbose) print_timings(result);
  tern_result_destroy(result);
  if (fflush(stdout)) return cli_error("writing to stdout failed");
  return cancelled ? (cli_error("cancelled"), CLI_INTERRUPTED) : CLI_OK;
}

static int run_prompts(const text_options *o, const cli_list *inputs) {
  cli_app app;
  tern_pipeline_desc open;
  tern_pipeline *pipeline = NULL;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  char *messages = NULL;
  int rc = cli_start(&o->common, true, &app);
  if (rc) goto cleanup;
  if (o->chat && !(messages = chat_messages(o->system, inputs->items[0]))) {
    rc = CLI_FAILED;
    goto cleanup;
  }
  cli_fill_pipeline(&o->common, &app, "text-generation", &open);
  tern_status status = tern_pipeline_open(app.runtime, &open, &pipeline);
  cli_progress_clear();
  if (status != TERN_OK) {
    rc = cli_fail(status);
    goto cleanup;
  }
  if (o->chat) run.chat_json = messages;
  else run.texts = inputs->items, run.n_texts = inputs->count;
  run.max_new_tokens = (int32_t)o->max_new_tokens;
  run.temperature = (float)o->temperature;
  run.top_k = (int32_t)o->top_k;
  run.top_p = (float)o->top_p;
  run.min_p = (float)o->min_p;
  run.repetition_penalty = (float)o->repetition_penalty;
  run.seed = (uint64_t)o->seed;
  run.stop = o->stop.items;
  run.n_stop = o->stop.count;
  run.context_policy = o->context_policy ? o->context_policy - 1 : 0;
  run.ignore_eos = o->ignore_eos;
  run.return_full_text = o->full_text;
  run.prompt_lookup_num_tokens = (int32_t)o->lookup;
  run.max_matching_ngram_size = (int32_t)o->ngram;
  run.cancel = app.cancel;
  rc = generate(pipeline, o, &run);
cleanup:
  tern_pipeline_close(pipeline);
  free(messages);
  cli_stop(&app);
  return rc;
}

/* "-" stands for all of stdin. */
static int read_stdin(cli_list *inputs, char **owned) {
  for (int i = 0; i < inputs->count; ++i) {
    if (strcmp(inputs->items[i], "-")) continue;
    if (*owned) return cli_usage("INPUT '-' (stdin) can be given once");
    size_t size = 0;
    if (!(*owned = cli_read_all(stdin, "stdin", &size))) return CLI_FAILED;
    if (strlen(*owned) != size) return cli_error("stdin has a NUL byte, which a prompt cannot hold");
    inputs->items[i] = *owned;
  }
  return CLI_OK;
}

static const char about[] =
    "Continues each INPUT (--prompt, the default), or answers it as a chat message through the model's own\n"
    "chat template (--chat). INPUT '-' is read from stdin. Text is printed as it is generated; Ctrl-C stops\n"
    "it, a second Ctrl-C ends the program. Without --temperature, decoding is greedy: the same input gives\n"
    "the same text. --json prints {\"text\", \"tokens\", \"finish_reason\", \"timings\"} when done (an\n"
    "array of these for several INPUTs).";
static const char examples[] =
    "  tern run text-generation --model SmolLM2.gguf --chat \"Why is the sky blue?\"\n"
    "  tern run text-generation --model SmolLM2.gguf --chat --system \"Be brief.\" \"Who are you?\"\n"
    "  tern run text-generation --model SmolLM2/ --dtype q4 --temperature 0.8 --top-p 0.95 \"Once upon\"\n"
    "  cat notes.txt | tern run text-generation --model SmolLM2.gguf --max-new-tokens 64 --json -";

int cli_run_text(int argc, char **argv) {
  text_options o = {0};
  cli_list inputs = {0};
  char *owned = NULL;
  const cli_option options[] = {
      CLI_MODEL_OPTIONS(&o.common),
      {"--prompt", CLI_FLAG_TEXT, &o.prompt, NULL, "INPUT is raw text to continue (default)", 0, 0},
      {"--chat", CLI_FLAG_TEXT, &o.chat, NULL, "INPUT is a user's message, put through the chat template", 0,
       0},
      {"--system", CLI_TEXT, &o.system, "TEXT", "system message before it (with --chat)", 0, 0},
      {"--max-new-tokens", CLI_INT, &o.max_new_tokens, "N", "stop after N tokens (256)", 1, 1 << 24},
      {"--temperature", CLI_REAL, &o.temperature, "T", "0 = greedy (default); higher is more varied", 0, 100},
      {"--top-k", CLI_INT, &o.top_k, "K", "sample from the K likeliest tokens; 0 = off (default)", 0,
       1 << 24},
      {"--top-p", CLI_REAL, &o.top_p, "P", "sample from the likeliest tokens of total probability P; 0 = off",
       0, 1},
      {"--min-p", CLI_REAL, &o.min_p, "P", "drop tokens less likely than P times the likeliest; 0 = off", 0,
       1},
      {"--repetition-penalty", CLI_REAL, &o.repetition_penalty, "R", "make seen tokens less likely; 1 = off",
       0, 100},
      {"--seed", CLI_INT, &o.seed, "N", "repeat a sampled text; 0 = from the clock (default)", 0, 9e15},
      {"--stop", CLI_LIST, &o.stop, "TEXT", "end before TEXT", 0, 0},
      {"--ignore-eos", CLI_FLAG, &o.ignore_eos, NULL, "go on past the end-of-sequence token", 0, 0},
      {"--prompt-lookup-num-tokens", CLI_INT, &o.lookup, "N",
       "evaluate up to N tokens ahead where the text repeats itself; 0 = off (default)", 0, 64},
      {"--max-matching-ngram-size", CLI_INT, &o.ngram, "N", "the last tokens to look up, at most (2)", 1, 64},
      {"--full-text", CLI_FLAG, &o.full_text, NULL, "print the prompt before the generated text", 0, 0},
      {"--context-policy", CLI_CHOICE, &o.context_policy, "error|shift", "when the window is full (error)", 0,
       0},
      CLI_CONTEXT_OPTION(&o.common),
      CLI_DEVICE_OPTION(&o.common),
      CLI_SESSION_OPTIONS(&o.common),
      CLI_JSON_OPTION(&o.common),
  };
  const cli_command command = {
      "tern run text-generation",      "--model PATH [options] INPUT...", about, examples, options,
      sizeof options / sizeof *options};
  int rc = cli_parse(&command, argc, argv, &inputs);
  if (rc == CLI_OK && o.prompt && o.chat) rc = cli_usage("--prompt and --chat exclude each other");
  if (rc == CLI_OK && o.ngram && !o.lookup)
    rc = cli_usage("--max-matching-ngram-size needs --prompt-lookup-num-tokens");
  if (rc == CLI_OK && o.system && !o.chat) rc = cli_usage("--system needs --chat");
  if (rc == CLI_OK && !inputs.count) rc = cli_usage("no INPUT: give a text, or '-' to read it from stdin");
  if (rc == CLI_OK && o.chat && inputs.count > 1)
    rc = cli_usage("--chat takes one INPUT, not %d: put the message in quotes", inputs.count);
  if (rc == CLI_OK) rc = read_stdin(&inputs, &owned);
  if (rc == CLI_OK) rc = run_prompts(&o, &inputs);
  free(owned);
  cli_list_free(&o.stop);
  cli_list_free(&inputs);
  return rc < 0 ? CLI_OK : rc;
}
