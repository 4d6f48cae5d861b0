// tern.h as a C++11 program reads it: compiled by check_header.py.
#include <tern/tern.h>

#include <type_traits>

static_assert(std::is_standard_layout<tern_run_desc>::value, "descs are plain data");
static_assert(std::is_same<decltype(&tern_version), uint32_t (*)()>::value, "functions have C types");

int main() {
  tern_runtime_desc runtime = TERN_RUNTIME_DESC_INIT;
  tern_model_desc model = TERN_MODEL_DESC_INIT;
  tern_session_desc session = TERN_SESSION_DESC_INIT;
  tern_pipeline_desc pipeline = TERN_PIPELINE_DESC_INIT;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  run.pooling = TERN_POOLING_MEAN;
  session.numerics = TERN_NUMERICS_CONSISTENT;
  tern_status status = TERN_OK;
  return static_cast<int>(status) + (runtime.n_threads | model.reserved | static_cast<int>(session.flags) | pipeline.reserved |
                                     static_cast<unsigned>(run.n_texts)) != 0;
}
