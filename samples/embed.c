/* Which sentences mean the same? Embeds them and prints the cosine of every pair.
 *   build/samples/embed all-MiniLM-L6-v2/ "a cat sleeps" "a kitten naps" "stocks fell" */
#include <stdio.h>
#include <tern/tern.h>

static const char *const defaults[] = { "A cat sleeps on the sofa.", "A kitten naps on the couch.",
                                        "The stock market fell on Monday." };

static float dot(const float *a, const float *b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

int main(int argc, char **argv) {
  tern_runtime *runtime = NULL;
  tern_pipeline *pipeline = NULL;
  tern_result *result = NULL;
  tern_pipeline_desc open = TERN_PIPELINE_DESC_INIT;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  open.task = "feature-extraction";
  open.path = argc > 1 ? argv[1] : "all-MiniLM-L6-v2";
  run.n_texts = argc > 2 ? argc - 2 : 3;
  run.texts = argc > 2 ? (const char *const *)argv + 2 : defaults;
  run.normalize = 1; /* vectors of length 1: their dot product is the cosine */
  if (tern_runtime_create(NULL, &runtime) || tern_pipeline_open(runtime, &open, &pipeline) ||
      tern_pipeline_run(pipeline, &run, &result)) {
    fprintf(stderr, "%s\n", tern_last_error());
    return 1;
  }
  const tern_tensor *vectors = tern_result_tensor(result); /* float32 [n_texts, width] */
  const float *data = tern_tensor_data(vectors);
  int64_t width = tern_tensor_dims(vectors)[1];
  for (int i = 0; i < run.n_texts; ++i) {
    for (int j = 0; j < run.n_texts; ++j) printf("%7.3f", dot(data + i * width, data + j * width, width));
    printf("   %s\n", run.texts[i]);
  }
  tern_result_destroy(result);
  tern_pipeline_close(pipeline);
  tern_runtime_destroy(runtime);
  return 0;
}
