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
