/* tern.h as a C99 program reads it: it compiles without extensions (check_header.py), every _INIT macro sets
 * struct_size, and statuses keep their pinned values. */
#include <stdio.h>
#include <tern/tern.h>

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      return 1; \
    } \
  } while (0)

int main(void) {
  tern_runtime_desc runtime = TERN_RUNTIME_DESC_INIT;
  tern_model_desc model = TERN_MODEL_DESC_INIT;
  tern_session_desc session = TERN_SESSION_DESC_INIT;
  tern_pipeline_desc pipeline = TERN_PIPELINE_DESC_INIT;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  CHECK(runtime.struct_size == sizeof runtime && runtime.n_threads == 0 && runtime.budget_bytes == 0);
  CHECK(model.struct_size == sizeof model && !model.path && !model.cancel);
  CHECK(session.struct_size == sizeof session && !session.device && !session.cancel);
  CHECK(pipeline.struct_size == sizeof pipeline && pipeline.session.struct_size == sizeof session);
  CHECK(run.struct_size == sizeof run && !run.texts && !run.cancel && run.pooling == TERN_POOLING_DEFAULT);
  CHECK(TERN_STATUS_INVALID_ARGUMENT == 1 && TERN_STATUS_OUT_OF_BUDGET == 11 && TERN_STATUS_CORRUPT == 22);
  CHECK(TERN_STATUS_INTERNAL == 90 && TERN_OK == TERN_STATUS_OK);
  CHECK(sizeof(tern_dtype) == 4 && sizeof(tern_pooling) == 4 && sizeof(tern_job_state) == 4);
  CHECK(tern_version() >> 22 == TERN_VERSION_MAJOR);
  CHECK(tern_status_name(TERN_STATUS_CORRUPT) && tern_status_name(12345) && tern_status_text(-1));
  return 0;
}
