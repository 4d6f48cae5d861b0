/* Jobs. A job copies what it was given, runs on a thread of its own, and keeps its runtime and pipeline alive. */
#include "pipeline/job.h"

#include <string.h>

enum { ERROR_SIZE = 1024 };

struct tern_job {
  tern_runtime *runtime;
  tern_pipeline *pipeline;       /* of a run; NULL for an opening */
  tern_run_desc run;             /* copies, with pointers into the arena */
  tern_pipeline_desc open;
  tern__arena arena;
  tern_cancel cancel;            /* the job's own; follows the one in the desc */
  tern__thread thread;
  tern__mutex lock;
  tern__cond done;
  _Atomic int32_t state;         /* tern_job_state */
  tern_status status;
  char error[ERROR_SIZE];
  tern_result *result;
  tern_pipeline *opened;
};

static void *job_main(void *arg) {
  tern_job *job = arg;
  tern_status status = job->pipeline ? tern__pipeline_run_claimed(job->pipeline, &job->run, &job->result)
                                     : tern__pipeline_open(job->runtime, &job->open, &job->opened);
  tern__mutex_lock(&job->lock);
  job->status = status;
  if (status != TERN_OK) strncpy(job->error, tern_last_error(), sizeof job->error - 1);
  atomic_store(&job->state, status == TERN_OK ? TERN_JOB_DONE : TERN_JOB_FAILED);
  tern__cond_broadcast(&job->done);
  tern__mutex_unlock(&job->lock);
  return NULL;
}

static tern_status create(tern_runtime *runtime, tern_job **out) {
  tern_job *job = tern__calloc(&runtime->alloc, 1, sizeof *job);
  *out = job;
  if (!job) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a job");
  job->runtime = runtime;
  tern__runtime_ref(runtime);
  tern__arena_init(&job->arena, &runtime->alloc);
  tern__mutex_init(&job->lock);
  tern__cond_init(&job->done);
  return TERN_OK;
}

static void release(tern_job *job) {
  tern_runtime *runtime = job->runtime;
  tern__result_destroy(job->result);
  tern__pipeline_unref(job->opened);
  tern__pipeline_unref(job->pipeline);
  tern__cond_deinit(&job->done);
  tern__mutex_deinit(&job->lock);
  tern__arena_deinit(&job->arena);
  tern__free(&runtime->alloc, job);
  tern__runtime_unref(runtime);
}

static tern_status copy_string(tern_job *job, const char **text) {
  if (!*text) return TERN_OK;
  *text = tern__arena_strdup(&job->arena, *text);
  return *text ? TERN_OK : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a job");
}

static tern_status copy_strings(tern_job *job, const char *const **list, int32_t count) {
  tern_status status = TERN_OK;
  if (count <= 0 || !*list) return TERN_OK;
  const char **copy = tern__arena_calloc(&job->arena, (size_t)count, sizeof *copy);
  TERN_CHECK_ALLOC(copy);
  for (int32_t i = 0; i < count; i++) {
    copy[i] = (*list)[i];
    TERN_TRY(copy_string(job, &copy[i]));
  }
  *list = copy;
cleanup:
  return status;
}

tern_status tern__job_start_run(tern_pipeline *pipeline, const tern_run_desc *desc, tern_job **out) {
  tern_status status = TERN_OK;
  tern_job *job = NULL;
  *out = NULL;
  TERN_TRY(create(pipeline->runtime, &job));
  job->run = *desc;
  TERN_TRY(copy_strings(job, &job->run.texts, desc->n_texts));
  TERN_TRY(copy_strings(job, &job->run.stop, desc->n_stop));
  TERN_TRY(copy_string(job, &job->run.chat_json));
  job->cancel.parent = desc->cancel;
  job->run.cancel = &job->cancel;
  TERN_TRY(tern__pipeline_claim(pipeline)); /* here, so that no later run overtakes this one */
  job->pipeline = pipeline;
  tern__pipeline_ref(pipeline);
  status = tern__thread_start(&job->thread, job_main, job);
  if (status != TERN_OK) atomic_store(&pipeline->busy, 0);
  TERN_TRY(status);
  *out = job, job = NULL;
cleanup:
  if (job) release(job);
  return status;
}

tern_status tern__job_start_open(tern_runtime *runtime, const tern_pipeline_desc *desc, tern_job **out) {
  tern_status status = TERN_OK;
  tern_job *job = NULL;
  *out = NULL;
  TERN_TRY(create(runtime, &job));
  job->open = *desc;
  TERN_TRY(copy_string(job, &job->open.task));
  TERN_TRY(copy_string(job, &job->open.path));
  TERN_TRY(copy_string(job, &job->open.dtype));
  TERN_TRY(copy_string(job, &job->open.file_name));
  TERN_TRY(copy_string(job, &job->open.session.device));
  job->cancel.parent = desc->cancel;
  job->open.cancel = &job->cancel;
  TERN_TRY(tern__thread_start(&job->thread, job_main, job));
  *out = job, job = NULL;
cleanup:
  if (job) release(job);
  return status;
}

tern_job_state tern__job_poll(const tern_job *job) {
  return (tern_job_state)atomic_load(&((tern_job *)(uintptr_t)job)->state);
}

void tern__job_cancel(tern_job *job) {
  tern_cancel_set(&job->cancel);
}

tern_status tern__job_wait(tern_job *job, int64_t timeout_ms) {
  tern__mutex_lock(&job->lock);
  uint64_t deadline = tern__now_ns() + (timeout_ms > 0 ? (uint64_t)timeout_ms * 1000000u : 0);
  while (atomic_load(&job->state) == TERN_JOB_RUNNING) {
    if (timeout_ms < 0) {
      tern__cond_wait(&job->done, &job->lock);
      continue;
    }
    uint64_t now = tern__now_ns();
    if (now >= deadline) break;
    tern__cond_wait_for(&job->done, &job->lock, (int64_t)((deadline - now + 999999u) / 1000000u));
  }
  bool running = atomic_load(&job->state) == TERN_JOB_RUNNING;
  tern_status status = job->status;
  tern__mutex_unlock(&job->lock);
  if (running) return tern__fail(TERN_STATUS_TIMEOUT, "the job is still running after %lld ms", (long long)timeout_ms);
  if (status != TERN_OK) tern__error_set(job->error);
  return status;
}

static tern_status finished(tern_job *job) {
  if (tern__job_poll(job) == TERN_JOB_RUNNING)
    return tern__fail(TERN_STATUS_INVALID_STATE, "the job is still running; call tern_job_wait first");
  return tern__job_wait(job, -1);
}

tern_status tern__job_take_result(tern_job *job, tern_result **out) {
  *out = NULL;
  tern_status status = finished(job);
  if (status != TERN_OK) return status;
  if (!job->result) return tern__fail(TERN_STATUS_INVALID_STATE, "the job has no result (left): it is taken once");
  *out = job->result, job->result = NULL;
  return TERN_OK;
}

tern_status tern__job_take_pipeline(tern_job *job, tern_pipeline **out) {
  *out = NULL;
  tern_status status = finished(job);
  if (status != TERN_OK) return status;
  if (!job->opened) return tern__fail(TERN_STATUS_INVALID_STATE, "the job has no pipeline (left): it is taken once");
  *out = job->opened, job->opened = NULL;
  return TERN_OK;
}

void tern__job_destroy(tern_job *job) {
  if (!job) return;
  if (tern__job_poll(job) == TERN_JOB_RUNNING) tern__job_cancel(job);
  tern__thread_join(&job->thread);
  release(job);
}
