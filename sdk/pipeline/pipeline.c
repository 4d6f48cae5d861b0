/* What all tasks share: opening, checking a run's members, taking turns. */
#include "pipeline/pipeline.h"

#include <stdio.h>
#include <string.h>

tern_status tern__result_create(tern_runtime *runtime, tern_result **out) {
  tern_result *result = tern__calloc(&runtime->alloc, 1, sizeof *result);
  *out = result;
  if (!result) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a result");
  result->runtime = runtime;
  result->timings.struct_size = sizeof result->timings;
  tern__runtime_ref(runtime);
  return TERN_OK;
}

void tern__result_destroy(tern_result *result) {
  if (!result) return;
  tern_runtime *runtime = result->runtime;
  tern__alloc *alloc = &runtime->alloc;
  for (size_t i = 0; i < tern__array_count(result->entries); i++) {
    TERN_ARRAY_FREE(alloc, result->entries[i].text);
    TERN_ARRAY_FREE(alloc, result->entries[i].tokens);
  }
  TERN_ARRAY_FREE(alloc, result->entries);
  TERN_ARRAY_FREE(alloc, result->row_lengths);
  tern__tensor_destroy(result->tensor);
  tern__free(alloc, result->json);
  tern__free(alloc, result);
  tern__runtime_unref(runtime);
}

/* All but the device. */
static tern_status read_options(const tern_session_desc *desc, tern__session_options *out) {
  tern_status status = TERN_OK;
  memset(out, 0, sizeof *out);
  const uint32_t known = TERN_SESSION_FALLBACK_CPU | TERN_SESSION_PROFILE;
  if (desc->flags & ~known)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "tern_session_desc: flags 0x%x are not known",
              (unsigned)(desc->flags & ~known));
  out->fallback = desc->flags & TERN_SESSION_FALLBACK_CPU, out->profile = desc->flags & TERN_SESSION_PROFILE;
  if (desc->numerics != TERN_NUMERICS_FAST && desc->numerics != TERN_NUMERICS_CONSISTENT)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "numerics %d is neither FAST nor CONSISTENT", (int)desc->numerics);
  if (desc->n_threads < 0) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "n_threads is %d; give 0 or more", desc->n_threads);
  if (desc->context_length < 0)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "context_length is %d; give 0 or more", desc->context_length);
  out->numerics = desc->numerics;
  out->n_threads = desc->n_threads;
  out->budget_bytes = desc->budget_bytes;
  out->kv_capacity = desc->context_length;
cleanup:
  return status;
}

/* What came of looking for the device; the CPU takes the place of one that is not to be had, where it may. */
static tern_status or_cpu(tern_runtime *runtime, const char *device, tern_status status, tern__session_options *out) {
  if (status == TERN_OK || !out->fallback || status == TERN_STATUS_INVALID_ARGUMENT) return status;
  tern__log(&runtime->log, TERN_LOG_WARNING, "device '%s': %s; the CPU computes instead", device, tern_last_error());
  out->device = TERN__CPU;
  return TERN_OK;
}

tern_status tern__session_options_read(tern_runtime *runtime, const tern_session_desc *desc,
                                       tern__session_options *out) {
  tern_status status = TERN_OK;
  TERN_TRY(read_options(desc, out));
  status = tern__runtime_find_device(runtime, desc->device, &out->device);
  TERN_TRY(or_cpu(runtime, desc->device, status, out));
cleanup:
  return status;
}

/* After the model was opened, or was not (`status`): waits for the device. One that is not to be had is what is said in
 * either case; but who cancelled does not wait for a driver. */
static tern_status end_device(tern_runtime *runtime, const char *name, tern__opening *opening, tern_status status,
                              tern__session_options *out) {
  char before[1024];
  if (!opening) return status;
  if (status == TERN_STATUS_CANCELLED) {
    tern__runtime_leave_device(runtime, opening);
    return status;
  }
  snprintf(before, sizeof before, "%s", tern_last_error());
  tern_status device = tern__runtime_end_device(runtime, opening, &out->device);
  device = or_cpu(runtime, name, device, out);
  if (device != TERN_OK) return device;
  tern__error_set(before);
  return status;
}

static tern_status open_model(tern_pipeline *p, const tern_pipeline_desc *desc) {
  tern_status status = TERN_OK;
  tern_runtime *runtime = p->runtime;
  tern_model_desc model_desc = TERN_MODEL_DESC_INIT;
  model_desc.path = desc->path, model_desc.dtype = desc->dtype, model_desc.file_name = desc->file_name;
  model_desc.progress = desc->progress, model_desc.cancel = desc->cancel;
  TERN_TRY(tern__model_open(runtime, &model_desc, &p->model));
  TERN_TRY(tern__model_tokenizer(p->model, desc->cancel, &p->tokenizer));
  p->public_tokenizer = tern__calloc(&runtime->alloc, 1, sizeof *p->public_tokenizer);
  TERN_CHECK_ALLOC(p->public_tokenizer);
  *p->public_tokenizer = (struct tern_tokenizer){runtime, p->tokenizer};
cleanup:
  return status;
}

tern_status tern__pipeline_open(tern_runtime *runtime, const tern_pipeline_desc *desc, tern_pipeline **out) {
  tern_status status = TERN_OK;
  char names[512];
  tern__opening *opening;
  tern_pipeline *p = tern__calloc(&runtime->alloc, 1, sizeof *p);
  *out = NULL;
  TERN_CHECK_ALLOC(p);
  atomic_init(&p->refs, 1);
  p->runtime = runtime;
  tern__runtime_ref(runtime);
  if (!desc->task || !(p->task = tern__task_find(desc->task)))
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "no task '%s'; this build has: %s", desc->task ? desc->task : "",
              tern__task_names(names, sizeof names));
  TERN_TRY(read_options(&desc->session, &p->session_options));
  /* A driver takes longer than the model: it has a thread of its own meanwhile. */
  status = tern__runtime_begin_device(runtime, desc->session.device, &p->session_options.device, &opening);
  TERN_TRY(or_cpu(runtime, desc->session.device, status, &p->session_options));
  status = open_model(p, desc);
  TERN_TRY(end_device(runtime, desc->session.device, opening, status, &p->session_options));
  p->state = tern__calloc(&runtime->alloc, 1, p->task->state_size);
  TERN_CHECK_ALLOC(p->state);
  status = p->task->open(p, desc);
  if (status != TERN_OK) {
    tern__fail_context(status, "%s", p->model->file);
    goto cleanup;
  }
  *out = p, p = NULL;
cleanup:
  status = tern__alloc_explain(&runtime->alloc, status);
  tern__pipeline_unref(p);
  return status;
}

void tern__pipeline_ref(tern_pipeline *pipeline) { atomic_fetch_add(&pipeline->refs, 1); }

void tern__pipeline_unref(tern_pipeline *pipeline) {
  if (!pipeline || atomic_fetch_sub(&pipeline->refs, 1) != 1) return;
  tern_runtime *runtime = pipeline->runtime;
  if (pipeline->state) pipeline->task->close(pipeline);
  tern__free(&runtime->alloc, pipeline->state);
  tern__free(&runtime->alloc, pipeline->profile);
  tern__free(&runtime->alloc, pipeline->public_tokenizer);
  tern__tokenizer_close(pipeline->tokenizer);
  tern__model_unref(pipeline->model);
  tern__free(&runtime->alloc, pipeline);
  tern__runtime_unref(runtime);
}

static tern_status check_members(const tern__task *task, const tern_run_desc *d) {
  tern_status status = TERN_OK;
  struct { bool set; uint32_t member; const char *name; } rules[] = {
      {d->n_texts != 0, TERN__RUN_TEXTS, "texts"},
      {d->chat_json != NULL, TERN__RUN_CHAT, "chat_json"},
      {d->max_new_tokens != 0, TERN__RUN_GENERATION, "max_new_tokens"},
      {d->temperature != 0, TERN__RUN_GENERATION, "temperature"},
      {d->top_k != 0, TERN__RUN_GENERATION, "top_k"},
      {d->top_p != 0, TERN__RUN_GENERATION, "top_p"},
      {d->min_p != 0, TERN__RUN_GENERATION, "min_p"},
      {d->repetition_penalty != 0, TERN__RUN_GENERATION, "repetition_penalty"},
      {d->seed != 0, TERN__RUN_GENERATION, "seed"},
      {d->n_stop != 0, TERN__RUN_GENERATION, "stop"},
      {d->context_policy != 0, TERN__RUN_GENERATION, "context_policy"},
      {d->ignore_eos != 0, TERN__RUN_GENERATION, "ignore_eos"},
      {d->return_full_text != 0, TERN__RUN_GENERATION, "return_full_text"},
      {d->on_text.fn != NULL, TERN__RUN_GENERATION, "on_text"},
      {d->prompt_lookup_num_tokens != 0, TERN__RUN_GENERATION, "prompt_lookup_num_tokens"},
      {d->max_matching_ngram_size != 0, TERN__RUN_GENERATION, "max_matching_ngram_size"},
      {d->pooling != 0, TERN__RUN_EMBEDDING, "pooling"},
      {d->normalize != 0, TERN__RUN_EMBEDDING, "normalize"},
  };
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (rules[i].set && !(task->members & rules[i].member))
      TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "task %s does not take %s", task->name, rules[i].name);
  if (d->n_texts < 0 || (d->n_texts > 0 && !d->texts)) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "n_texts without texts");
  for (int32_t i = 0; i < d->n_texts; i++)
    if (!d->texts[i]) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "texts[%d] is NULL", i);
  if (d->n_stop < 0 || (d->n_stop > 0 && !d->stop)) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "n_stop without stop");
  for (int32_t i = 0; i < d->n_stop; i++)
    if (!d->stop[i] || !*d->stop[i]) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "stop[%d] is empty", i);
cleanup:
  return status;
}

tern_status tern__pipeline_claim(tern_pipeline *pipeline) {
  if (!atomic_exchange(&pipeline->busy, 1)) return TERN_OK;
  return tern__fail(TERN_STATUS_BUSY, "this pipeline is running on another thread; open a second one or wait");
}

tern_status tern__pipeline_run(tern_pipeline *pipeline, const tern_run_desc *desc, tern_result **out) {
  *out = NULL;
  tern_status status = tern__pipeline_claim(pipeline);
  return status == TERN_OK ? tern__pipeline_run_claimed(pipeline, desc, out) : status;
}

tern_status tern__pipeline_run_claimed(tern_pipeline *pipeline, const tern_run_desc *desc, tern_result **out) {
  tern_status status = TERN_OK;
  tern_result *result = NULL;
  *out = NULL;
  TERN_TRY(check_members(pipeline->task, desc));
  TERN_TRY(tern__result_create(pipeline->runtime, &result));
  uint64_t begin = tern__now_ns();
  TERN_TRY(pipeline->task->run(pipeline, desc, result));
  result->timings.total_ms = (double)(tern__now_ns() - begin) * 1e-6;
  *out = result, result = NULL;
cleanup:
  status = tern__alloc_explain(&pipeline->runtime->alloc, status);
  tern__result_destroy(result);
  atomic_store(&pipeline->busy, 0);
  return status;
}
