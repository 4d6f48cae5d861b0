/* Pipelines, results and jobs. */
#include <string.h>

#include "api/api.h"
#include "pipeline/job.h"

static tern_status read_pipeline_desc(const tern_pipeline_desc *desc, tern_pipeline_desc *out) {
  TERN_REQUIRE(desc);
  tern_status status = tern__desc_read("tern_pipeline_desc", desc, sizeof *out, out, sizeof *out);
  /* The session desc inside may be left all zero. */
  if (status == TERN_OK && out->session.struct_size) {
    tern_session_desc session;
    status = tern__desc_read("tern_pipeline_desc.session", &out->session, sizeof session, &session, sizeof session);
    if (status == TERN_OK) out->session = session;
  }
  if (status == TERN_OK && !out->path)
    status = tern__fail(TERN_STATUS_INVALID_ARGUMENT,
                        "tern_pipeline_desc: path is NULL; give a .gguf file or a model folder");
  if (status == TERN_OK && out->session.kv_cache)
    status = tern__fail(TERN_STATUS_INVALID_ARGUMENT,
                        "tern_pipeline_desc: session.kv_cache is the task's own decision; leave it 0");
  if (status == TERN_OK && out->session.cancel)
    status = tern__fail(TERN_STATUS_INVALID_ARGUMENT,
                        "tern_pipeline_desc: use its cancel (loading) or tern_run_desc.cancel");
  return status;
}

tern_status tern_pipeline_open(tern_runtime *runtime, const tern_pipeline_desc *desc, tern_pipeline **out) {
  tern_pipeline_desc d;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(runtime);
  tern_status status = read_pipeline_desc(desc, &d);
  return status == TERN_OK ? tern__pipeline_open(runtime, &d, out) : status;
}

tern_status tern_pipeline_open_async(tern_runtime *runtime, const tern_pipeline_desc *desc, tern_job **out) {
  tern_pipeline_desc d;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(runtime);
  tern_status status = read_pipeline_desc(desc, &d);
  return status == TERN_OK ? tern__job_start_open(runtime, &d, out) : status;
}

void tern_pipeline_close(tern_pipeline *pipeline) { tern__pipeline_unref(pipeline); }
const tern_tokenizer *tern_pipeline_tokenizer(const tern_pipeline *pipeline) {
  return pipeline ? pipeline->public_tokenizer : NULL;
}
tern_model *tern_pipeline_model(const tern_pipeline *pipeline) { return pipeline ? pipeline->model : NULL; }

tern_status tern_pipeline_memory(tern_pipeline *pipeline, tern_memory_plan *out) {
  tern_memory_plan plan;
  TERN_REQUIRE(pipeline);
  TERN_REQUIRE(out);
  if (atomic_exchange(&pipeline->busy, 1))
    return tern__fail(TERN_STATUS_BUSY, "this pipeline is running on another thread");
  tern_status status = pipeline->task->memory(pipeline, &plan);
  atomic_store(&pipeline->busy, 0);
  return status == TERN_OK ? tern__info_write("tern_memory_plan", out, &plan, sizeof plan) : status;
}

const char *tern_pipeline_profile(tern_pipeline *pipeline) {
  if (!pipeline) return NULL;
  const tern__session *session = pipeline->task->session(pipeline);
  tern__json_writer w = {.alloc = &pipeline->runtime->alloc};
  bool written = session && tern__session_profile(session, &w);
  tern__free(w.alloc, pipeline->profile);
  pipeline->profile = w.text;
  return written ? pipeline->profile : NULL;
}

tern_status tern_pipeline_run(tern_pipeline *pipeline, const tern_run_desc *desc, tern_result **out) {
  tern_run_desc d;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(pipeline);
  tern_status status = tern__desc_read("tern_run_desc", desc, sizeof d, &d, sizeof d);
  return status == TERN_OK ? tern__pipeline_run(pipeline, &d, out) : status;
}

tern_status tern_pipeline_run_async(tern_pipeline *pipeline, const tern_run_desc *desc, tern_job **out) {
  tern_run_desc d;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(pipeline);
  tern_status status = tern__desc_read("tern_run_desc", desc, sizeof d, &d, sizeof d);
  return status == TERN_OK ? tern__job_start_run(pipeline, &d, out) : status;
}

void tern_result_destroy(tern_result *result) { tern__result_destroy(result); }
int32_t tern_result_count(const tern_result *result) {
  return result ? (int32_t)tern__array_count(result->entries) : 0;
}

static const tern__text_entry *entry_at(const tern_result *result, int32_t index) {
  return result && index >= 0 && (size_t)index < tern__array_count(result->entries) ? &result->entries[index] : NULL;
}

const char *tern_result_text(const tern_result *result, int32_t index, size_t *size_out) {
  const tern__text_entry *e = entry_at(result, index);
  if (size_out) *size_out = e ? tern__array_count(e->text) : 0;
  return e && e->text ? e->text : "";
}

const int32_t *tern_result_tokens(const tern_result *result, int32_t index, size_t *n_out) {
  const tern__text_entry *e = entry_at(result, index);
  if (n_out) *n_out = e ? tern__array_count(e->tokens) : 0;
  return e ? e->tokens : NULL;
}

const char *tern_result_finish_reason(const tern_result *result, int32_t index) {
  const tern__text_entry *e = entry_at(result, index);
  return e ? e->finish_reason : "";
}

const tern_tensor *tern_result_tensor(const tern_result *result) { return result ? result->tensor : NULL; }

const int32_t *tern_result_row_lengths(const tern_result *result, size_t *n_out) {
  if (n_out) *n_out = result ? tern__array_count(result->row_lengths) : 0;
  return result ? result->row_lengths : NULL;
}

tern_status tern_result_timings(const tern_result *result, tern_timings *out) {
  TERN_REQUIRE(result);
  TERN_REQUIRE(out);
  return tern__info_write("tern_timings", out, &result->timings, sizeof result->timings);
}

const char *tern_result_json(const tern_result *result) { return result && result->json ? result->json : "null"; }

tern_job_state tern_job_poll(const tern_job *job) { return job ? tern__job_poll(job) : TERN_JOB_FAILED; }
void tern_job_cancel(tern_job *job) {
  if (job) tern__job_cancel(job);
}
tern_status tern_job_wait(tern_job *job, int64_t timeout_ms) {
  TERN_REQUIRE(job);
  return tern__job_wait(job, timeout_ms);
}
tern_status tern_job_result(tern_job *job, tern_result **out) {
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(job);
  return tern__job_take_result(job, out);
}
tern_status tern_job_pipeline(tern_job *job, tern_pipeline **out) {
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(job);
  return tern__job_take_pipeline(job, out);
}
void tern_job_destroy(tern_job *job) { tern__job_destroy(job); }
