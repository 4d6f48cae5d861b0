/* A thread opens the device while a pipeline opens its model: there is one device however many ask, nothing is left
 * behind, and who cancels does not wait. The driver is the real one, without hooks. */
#include "vk_hooks.h"
#include "vk_hooked_runtime.h"

#define MODEL TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf"

static tern_status open_pipeline(hooked *h, const char *path, const tern_cancel *cancel, tern_pipeline **out) {
  tern_pipeline_desc desc = TERN_PIPELINE_DESC_INIT;
  desc.task = "text-generation", desc.path = path, desc.cancel = (tern_cancel *)(uintptr_t)cancel;
  desc.session.device = "vulkan";
  return tern_pipeline_open(h->runtime, &desc, out);
}

static void generate(tern_pipeline *pipeline, int32_t ids[4]) {
  const char *text = "abc";
  tern_run_desc desc = TERN_RUN_DESC_INIT;
  tern_result *result;
  size_t n;
  desc.texts = &text, desc.n_texts = 1, desc.max_new_tokens = 4, desc.ignore_eos = 1;
  OK(tern_pipeline_run(pipeline, &desc, &result));
  const int32_t *tokens = tern_result_tokens(result, 0, &n);
  cr_assert_eq(n, 4u);
  memcpy(ids, tokens, 4 * sizeof *ids);
  tern_result_destroy(result);
}

Test(vk_opening, gives_what_finding_gives) {
  hooked h;
  tern__opening *first, *second;
  int32_t index = -1, other = -1, found = -1;
  hooked_start(&h, NULL);
  OK(tern__runtime_begin_device(h.runtime, "cpu", &index, &first));
  cr_assert(!first && index == TERN__CPU, "nothing takes its time here");
  OK(tern__runtime_begin_device(h.runtime, NULL, &index, &first));
  cr_assert(!first && index == TERN__CPU);
  OK(tern__runtime_begin_device(h.runtime, "vulkan", &index, &first));
  OK(tern__runtime_begin_device(h.runtime, "vulkan", &other, &second)); /* rarely the first one is done by now */
  cr_assert_not_null(first);
  OK(tern__runtime_find_device(h.runtime, "vulkan", &found));
  OK(tern__runtime_end_device(h.runtime, first, &index));
  if (second) OK(tern__runtime_end_device(h.runtime, second, &other));
  cr_assert(index == 1 && other == 1 && found == 1 && h.runtime->n_devices == 2);
  OK(tern__runtime_begin_device(h.runtime, "vulkan", &index, &first));
  cr_assert(!first && index == 1, "it is open");
  cr_assert_eq(tern__runtime_begin_device(h.runtime, "nothing", &index, &first), TERN_STATUS_NO_DEVICE);
  OK(tern__runtime_begin_device(h.runtime, "vulkan:no such card", &index, &first));
  tern__error_set("");
  cr_assert_eq(tern__runtime_end_device(h.runtime, first, &index), TERN_STATUS_NO_DEVICE);
  cr_assert_not_null(strstr(tern_last_error(), "no such card"), "%s", tern_last_error());
  for (int i = 0; i < 3; i++) { /* nobody waits for these */
    OK(tern__runtime_begin_device(h.runtime, i ? "vulkan:no such card" : "vulkan:", &index, &first));
    if (first) tern__runtime_leave_device(h.runtime, first);
  }
  hooked_close(&h);
}

Test(vk_opening, pipelines) {
  hooked h;
  tern_pipeline *a, *b, *none;
  int32_t first[4], second[4];
  hooked_start(&h, NULL);
  OK(open_pipeline(&h, MODEL, NULL, &a));
  OK(open_pipeline(&h, MODEL, NULL, &b));
  cr_assert_eq(h.runtime->n_devices, 2);
  cr_assert_eq(open_pipeline(&h, MODEL "x", NULL, &none), TERN_STATUS_NOT_FOUND);
  cr_assert_not_null(strstr(tern_last_error(), MODEL "x"), "%s", tern_last_error());
  generate(a, first);
  generate(b, second);
  cr_assert_arr_eq(first, second, sizeof first);
  tern_pipeline_close(a);
  tern_pipeline_close(b);
  hooked_close(&h);
}

/* The model fails first, or the caller has had enough: with the device still on its way. */
Test(vk_opening, without_a_model) {
  for (int i = 0; i < 4; i++) {
    hooked h;
    tern_pipeline *pipeline;
    tern_cancel *cancel;
    int32_t ids[4];
    OK(tern_cancel_create(&cancel));
    hooked_start(&h, NULL);
    if (i % 2) cr_assert_eq(open_pipeline(&h, MODEL "x", NULL, &pipeline), TERN_STATUS_NOT_FOUND);
    tern_cancel_set(cancel);
    cr_assert_eq(open_pipeline(&h, MODEL, cancel, &pipeline), TERN_STATUS_CANCELLED);
    cr_assert_null(pipeline);
    tern_cancel_reset(cancel);
    if (i / 2) {
      OK(open_pipeline(&h, MODEL, cancel, &pipeline));
      generate(pipeline, ids);
      tern_pipeline_close(pipeline);
    }
    hooked_close(&h); /* waits for the driver, and nothing is leaked */
    tern_cancel_destroy(cancel);
  }
}

/* Jobs that are given up at any moment, several of them at once on one runtime. */
Test(vk_opening, jobs_at_once) {
  enum { JOBS = 3, ROUNDS = 6 };
  for (int round = 0; round < ROUNDS; round++) {
    hooked h;
    tern_job *jobs[JOBS];
    hooked_start(&h, NULL);
    for (int i = 0; i < JOBS; i++) {
      tern_pipeline_desc desc = TERN_PIPELINE_DESC_INIT;
      desc.task = "text-generation", desc.path = MODEL, desc.session.device = "vulkan";
      OK(tern_pipeline_open_async(h.runtime, &desc, &jobs[i]));
    }
    for (int i = 0; i < JOBS; i++) {
      tern_pipeline *pipeline = NULL;
      tern_status status = i == round % JOBS ? TERN_OK : tern_job_wait(jobs[i], -1); /* this one is not waited for */
      cr_assert_eq(status, TERN_OK, "%s", tern_last_error());
      if (i != round % JOBS) OK(tern_job_pipeline(jobs[i], &pipeline));
      tern_pipeline_close(pipeline);
      tern_job_destroy(jobs[i]);
    }
    cr_assert_leq(h.runtime->n_devices, 2);
    hooked_close(&h);
  }
}
