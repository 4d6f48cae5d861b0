/* Real models of the cache folder for Criterion tests; a missing one skips the test and says so. */
#ifndef TERN_TESTS_MODEL_FIXTURE_H
#define TERN_TESTS_MODEL_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tern/tern.h>
#include <unistd.h>

#define SMOLLM2_GGUF "SmolLM2-135M-Instruct-Q4_1.gguf"
#define GEMMA_GGUF "gemma-3-270m-Q4_K_M.gguf"
#define SMOLLM2_FOLDER "SmolLM2-135M-Instruct-ONNX"
#define MINILM_FOLDER "all-MiniLM-L6-v2"

static inline const char *cached_model(const char *name) {
  static char path[4096];
  const char *cache = getenv("TERN_MODEL_CACHE");
  snprintf(path, sizeof path, "%s/%s", cache && *cache ? cache : TERN_MODEL_CACHE, name);
  if (access(path, R_OK) != 0) cr_skip_test("no model '%s': run tests/models/fetch_models.py", path);
  return path;
}

#define ok(call)                                                                                    \
  do {                                                                                              \
    tern_status status_ = (call);                                                                   \
    cr_assert(status_ == TERN_OK, "%s: %s: %s", #call, tern_status_name(status_), tern_last_error()); \
  } while (0)

static inline tern_runtime *new_runtime(int32_t n_threads) {
  tern_runtime *runtime;
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  desc.n_threads = n_threads;
  ok(tern_runtime_create(&desc, &runtime));
  return runtime;
}

static inline tern_pipeline *open_task(tern_runtime *runtime, const char *task, const char *model, const char *dtype, int32_t context) {
  tern_pipeline *pipeline;
  tern_pipeline_desc desc = TERN_PIPELINE_DESC_INIT;
  desc.task = task, desc.path = cached_model(model), desc.dtype = dtype;
  desc.session.context_length = context;
  ok(tern_pipeline_open(runtime, &desc, &pipeline));
  return pipeline;
}

#endif
