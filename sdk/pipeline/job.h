/* Asynchronous runs: a thread per job, its outcome, and the error sentence carried to whoever waits. */
#ifndef TERN_PIPELINE_JOB_H
#define TERN_PIPELINE_JOB_H

#include "pipeline/pipeline.h"

tern_status tern__job_start_run(tern_pipeline *pipeline, const tern_run_desc *desc, tern_job **out);
tern_status tern__job_start_open(tern_runtime *runtime, const tern_pipeline_desc *desc, tern_job **out);
tern_job_state tern__job_poll(const tern_job *job);
void tern__job_cancel(tern_job *job);
tern_status tern__job_wait(tern_job *job, int64_t timeout_ms);
tern_status tern__job_take_result(tern_job *job, tern_result **out);
tern_status tern__job_take_pipeline(tern_job *job, tern_pipeline **out);
void tern__job_destroy(tern_job *job);

#endif
