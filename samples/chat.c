/* A chat in the terminal: streamed answers, and a history that the KV cache makes cheap (each turn only evaluates
 * what is new).   build/samples/chat SmolLM2-135M-Instruct-Q4_1.gguf */
#include <stdio.h>
#include <string.h>
#include <tern/tern.h>

/* The whole talk as a JSON array, without its closing bracket. */
static char history[1 << 16] = "[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"}";

/* Appends {"role":role,"content":text}; returns 0 if the history is full. */
static int add_message(const char *role, const char *text) {
  size_t n = strlen(history), end = sizeof history - 16;
  n += (size_t)snprintf(history + n, sizeof history - n, ",{\"role\":\"%s\",\"content\":\"", role);
  for (; *text && n < end; ++text) {
    unsigned char c = (unsigned char)*text;
    if (c < 0x20) n += (size_t)snprintf(history + n, sizeof history - n, "\\u%04x", c);
    else n += (size_t)snprintf(history + n, sizeof history - n, c == '"' || c == '\\' ? "\\%c" : "%c", c);
  }
  snprintf(history + n, sizeof history - n, "\"}");
  return !*text;
}

static int32_t print_piece(void *user_data, const char *text, size_t size, int32_t token) {
  (void)user_data, (void)token;
  fwrite(text, 1, size, stdout);
  fflush(stdout);
  return 0; /* nonzero would stop the answer */
}

int main(int argc, char **argv) {
  tern_runtime *runtime = NULL;
  tern_pipeline *pipeline = NULL;
  tern_pipeline_desc open = TERN_PIPELINE_DESC_INIT;
  char line[4096], messages[sizeof history + 2];
  open.task = "text-generation";
  open.path = argc > 1 ? argv[1] : "model.gguf";
  int failed = tern_runtime_create(NULL, &runtime) || tern_pipeline_open(runtime, &open, &pipeline);
  while (!failed && printf("> ") && !fflush(stdout) && fgets(line, sizeof line, stdin)) {
    tern_run_desc run = TERN_RUN_DESC_INIT;
    tern_result *result = NULL;
    line[strcspn(line, "\n")] = 0;
    if (!add_message("user", line)) break;
    snprintf(messages, sizeof messages, "%s]", history);
    run.chat_json = messages;
    run.on_text.fn = print_piece;
    failed = tern_pipeline_run(pipeline, &run, &result) || !add_message("assistant", tern_result_text(result, 0, NULL));
    puts("");
    tern_result_destroy(result);
  }
  if (failed) fprintf(stderr, "%s\n", tern_last_error());
  tern_pipeline_close(pipeline);
  tern_runtime_destroy(runtime);
  return failed;
}
