/* From options to a runtime and descs; the progress line; the log. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Width of the progress line on the terminal, 0 if there is none. Only the loading thread draws; errors clear
 * it after loading has ended. */
static int progress_width;

static int32_t draw_progress(void *user_data, const char *phase, uint64_t done, uint64_t total) {
  (void)user_data;
  char line[80];
  int width = total ? snprintf(line, sizeof line, "loading: %s %" PRIu64 "%%", phase, done * 100 / total)
                    : snprintf(line, sizeof line, "loading: %s", phase);
  fprintf(stderr, "\r%s%*s", line, progress_width > width ? progress_width - width : 0, "");
  fflush(stderr);
  progress_width = width;
  return 0;
}

tern_progress cli_progress(void) {
  return (tern_progress){isatty(STDERR_FILENO) ? draw_progress : NULL, NULL};
}

void cli_progress_clear(void) {
  if (!progress_width) return;
  fprintf(stderr, "\r%*s\r", progress_width, "");
  fflush(stderr);
  progress_width = 0;
}

static void log_line(void *user_data, tern_log_level level, const char *text) {
  (void)user_data;
  static const char *const names[] = {"", "error", "warning", "info", "debug"};
  fprintf(stderr, "tern: %s: %s\n", level >= 1 && level <= 4 ? names[level] : "log", text);
}

/* Where compiled kernels are kept: TERN_CACHE (empty: nowhere), else the user's cache folder. */
static const char *cache_folder(char *path, size_t size) {
  const char *own = getenv("TERN_CACHE"), *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int n = -1;
  if (own) return *own ? own : NULL;
  if (base && *base) n = snprintf(path, size, "%s/tern", base);
  else if (home && *home) n = snprintf(path, size, "%s/.cache/tern", home);
  return n > 0 && (size_t)n < size ? path : NULL;
}

int cli_start(const cli_common *common, bool interruptible, cli_app *app) {
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  tern_status status;
  char folder[1024];
  *app = (cli_app){0};
  if (!common->model)
    return cli_usage("--model PATH is missing: a .gguf or .onnx file, or a Transformers.js folder");
  desc.n_threads = (int32_t)common->threads;
  desc.budget_bytes = common->memory_budget;
  desc.cache_path = cache_folder(folder, sizeof folder);
  desc.log.message = log_line;
  desc.log.max_level = common->verbose ? TERN_LOG_DEBUG : TERN_LOG_WARNING;
  if ((status = tern_runtime_create(&desc, &app->runtime)) != TERN_OK) return cli_fail(status);
  if (!interruptible) return CLI_OK;
  if ((status = tern_cancel_create(&app->cancel)) != TERN_OK) return cli_fail(status);
  if (!cli_signal_start(app->cancel)) return cli_error("cannot set up the handling of Ctrl-C");
  return CLI_OK;
}

void cli_stop(cli_app *app) {
  cli_progress_clear();
  cli_signal_stop(); /* after this, nothing else holds the token */
  tern_cancel_destroy(app->cancel);
  tern_runtime_destroy(app->runtime);
  *app = (cli_app){0};
}

void cli_fill_model(const cli_common *common, const cli_app *app, tern_model_desc *desc) {
  *desc = (tern_model_desc)TERN_MODEL_DESC_INIT;
  desc->path = common->model;
  desc->dtype = common->dtype;
  desc->file_name = common->file_name;
  desc->progress = cli_progress();
  desc->cancel = app->cancel;
}

void cli_fill_session(const cli_common *common, const cli_app *app, tern_session_desc *desc) {
  *desc = (tern_session_desc)TERN_SESSION_DESC_INIT;
  desc->device = common->device;
  desc->context_length = (int32_t)common->context;
  if (common->numerics) desc->numerics = (tern_numerics)(common->numerics - 1);
  desc->cancel = app->cancel;
}

void cli_fill_pipeline(const cli_common *common, const cli_app *app, const char *task,
                       tern_pipeline_desc *desc) {
  *desc = (tern_pipeline_desc)TERN_PIPELINE_DESC_INIT;
  desc->task = task;
  desc->path = common->model;
  desc->dtype = common->dtype;
  desc->file_name = common->file_name;
  cli_fill_session(common, app, &desc->session);
  desc->session.cancel = NULL; /* a pipeline has one token for loading and one for each run */
  desc->progress = cli_progress();
  desc->cancel = app->cancel;
}
