/* The first program: load a model, ask it something, print the answer.
 *   build/samples/hello SmolLM2-135M-Instruct-Q4_1.gguf */
#include <stdio.h>
#include <tern/tern.h>

int main(int argc, char **argv) {
  tern_runtime *runtime = NULL;
  tern_pipeline *pipeline = NULL;
  tern_result *result = NULL;
  tern_pipeline_desc open = TERN_PIPELINE_DESC_INIT;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  open.task = "text-generation";
  open.path = argc > 1 ? argv[1] : "model.gguf";
  run.chat_json = "[{\"role\":\"user\",\"content\":\"Why is the sky blue?\"}]";
  if (tern_runtime_create(NULL, &runtime) || tern_pipeline_open(runtime, &open, &pipeline) ||
      tern_pipeline_run(pipeline, &run, &result)) {
    fprintf(stderr, "%s\n", tern_last_error());
    return 1;
  }
  puts(tern_result_text(result, 0, NULL));
  tern_result_destroy(result);
  tern_pipeline_close(pipeline);
  tern_runtime_destroy(runtime);
  return 0;
}
