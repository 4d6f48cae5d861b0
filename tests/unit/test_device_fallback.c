/* A device that is not there: an error that names it, or the CPU with a warning where the caller allows it. */
#include <criterion/criterion.h>
#include <string.h>
#include <tern/tern.h>

#define MODEL TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf"
static const char missing[] = "vulkan:no such card";

static char warning[512];
static void keep(void *user_data, tern_log_level level, const char *text) {
  (void)user_data;
  if (level == TERN_LOG_WARNING) strncpy(warning, text, sizeof warning - 1);
}

static tern_model *open_model(tern_runtime **runtime) {
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  tern_model_desc open = TERN_MODEL_DESC_INIT;
  tern_model *model;
  desc.log.message = keep;
  cr_assert_eq(tern_runtime_create(&desc, runtime), TERN_OK, "%s", tern_last_error());
  open.path = MODEL;
  cr_assert_eq(tern_model_open(*runtime, &open, &model), TERN_OK, "%s", tern_last_error());
  return model;
}

Test(device_fallback, absent_device) {
  tern_runtime *runtime;
  tern_session *session;
  tern_session_desc desc = TERN_SESSION_DESC_INIT;
  tern_model *model = open_model(&runtime);
  desc.device = missing;
  cr_expect_eq(tern_session_create(model, &desc, &session), TERN_STATUS_NO_DEVICE);
  cr_expect_not_null(strstr(tern_last_error(), "ulkan"), "%s", tern_last_error());
  cr_expect_eq(warning[0], 0, "no warning without leave to fall back");
  desc.flags = TERN_SESSION_FALLBACK_CPU;
  cr_assert_eq(tern_session_create(model, &desc, &session), TERN_OK, "%s", tern_last_error());
  cr_expect_not_null(strstr(warning, missing), "'%s' does not name the device", warning);
  cr_expect_not_null(strstr(warning, "CPU"), "'%s' does not say what computes instead", warning);
  cr_expect_null(tern_session_profile(session), "nothing ran yet");
  tern_session_destroy(session);
  tern_model_close(model);
  tern_runtime_destroy(runtime);
}

Test(device_fallback, unknown_flags) {
  tern_runtime *runtime;
  tern_session *session;
  tern_session_desc desc = TERN_SESSION_DESC_INIT;
  tern_model *model = open_model(&runtime);
  desc.flags = 0x40;
  cr_expect_eq(tern_session_create(model, &desc, &session), TERN_STATUS_INVALID_ARGUMENT);
  cr_expect_not_null(strstr(tern_last_error(), "0x40"), "%s", tern_last_error());
  tern_model_close(model);
  tern_runtime_destroy(runtime);
}

/* A pipeline looks for its device while it opens the model: what is said, and whether the CPU computes, is as above;
 * where neither is there, it is the device that is missed. */
static tern_status open_pipeline(tern_runtime *runtime, const char *path, const char *device, uint32_t flags,
                                 const tern_cancel *cancel, tern_pipeline **out) {
  tern_pipeline_desc desc = TERN_PIPELINE_DESC_INIT;
  desc.task = "text-generation", desc.path = path, desc.cancel = (tern_cancel *)(uintptr_t)cancel;
  desc.session.device = device, desc.session.flags = flags;
  warning[0] = 0;
  return tern_pipeline_open(runtime, &desc, out);
}

Test(device_fallback, absent_device_of_a_pipeline) {
  static const char no_model[] = TERN_SOURCE_DIR "/tests/models/tiny/none.gguf";
  tern_runtime *runtime;
  tern_pipeline *pipeline;
  tern_cancel *cancel;
  tern_model_close(open_model(&runtime));
  for (int again = 0; again < 2; again++) {
    cr_expect_eq(open_pipeline(runtime, MODEL, missing, 0, NULL, &pipeline), TERN_STATUS_NO_DEVICE);
    cr_expect(strstr(tern_last_error(), "ulkan") && !pipeline, "%s", tern_last_error());
    cr_expect_eq(warning[0], 0, "%s", warning);
    cr_expect_eq(open_pipeline(runtime, no_model, missing, 0, NULL, &pipeline), TERN_STATUS_NO_DEVICE);
    cr_expect_not_null(strstr(tern_last_error(), "ulkan"), "%s", tern_last_error());
    cr_expect_eq(open_pipeline(runtime, MODEL, "no such backend", 0, NULL, &pipeline), TERN_STATUS_NO_DEVICE);
    cr_expect_not_null(strstr(tern_last_error(), "this build has"), "%s", tern_last_error());
    cr_expect_eq(open_pipeline(runtime, no_model, missing, TERN_SESSION_FALLBACK_CPU, NULL, &pipeline),
                 TERN_STATUS_NOT_FOUND);
    cr_expect_not_null(strstr(tern_last_error(), "none.gguf"), "%s", tern_last_error());
    cr_assert_eq(open_pipeline(runtime, MODEL, missing, TERN_SESSION_FALLBACK_CPU, NULL, &pipeline), TERN_OK, "%s",
                 tern_last_error());
    cr_expect(strstr(warning, missing) && strstr(warning, "the CPU computes instead"), "'%s'", warning);
    tern_pipeline_close(pipeline);
  }
  cr_assert_eq(tern_cancel_create(&cancel), TERN_OK);
  tern_cancel_set(cancel);
  tern_status status = open_pipeline(runtime, MODEL, missing, 0, cancel, &pipeline);
  cr_expect(status == TERN_STATUS_CANCELLED || status == TERN_STATUS_NO_DEVICE /* a build without Vulkan */);
  cr_expect_eq(open_pipeline(runtime, MODEL, NULL, 0, cancel, &pipeline), TERN_STATUS_CANCELLED);
  tern_runtime_destroy(runtime); /* waits for whoever still looks */
  tern_cancel_destroy(cancel);
}
