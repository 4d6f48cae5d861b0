/* Preparing a program: weights and constants go to the device, pipelines are compiled; all threads of the pool take
 * from one list of tasks, the largest weights first. */
#include <string.h>

#include "gpu/gpu_cache.h"
#include "gpu/gpu_recording.h"
#include "runtime/thread_pool.h"

enum { ERROR_TEXT = 512, RAW_LAYOUT = 0x72617721 };

typedef struct preparation {
  tern__program *program;
  const tern_progress *progress;
  size_t n_weights, n_constants, n_kernels;
  tern__gpu_kernel_id kernels[TERN__KERNEL_COUNT];
  _Atomic size_t next, done;
  _Atomic int32_t failed;
  tern_status status;
  char error[ERROR_TEXT];
} preparation;

static void release(void *owner, void *resource) {
  tern__backend *backend = owner;
  backend->api->buffer_destroy(backend->device, resource);
}

static tern_status upload(tern__backend *backend, const void *data, uint64_t size, tern__gpu_buffer **out) {
  tern_status status = TERN_OK;
  tern__gpu_buffer *buffer = NULL;
  *out = NULL;
  /* Kernels read whole words: the tail of a type narrower than a word is padded. */
  TERN_TRY(backend->api->buffer_create(backend->device, TERN__GPU_DEVICE, tern__gpu_place(size), &buffer));
  TERN_TRY(backend->api->write(backend->device, buffer, 0, data, (size_t)size));
  *out = buffer, buffer = NULL;
cleanup:
  backend->api->buffer_destroy(backend->device, buffer);
  return status;
}

typedef struct weight_job { tern__backend *backend; const tern__gpu_weight *weight; } weight_job;

static tern_status make_weight(void *user_data, void **resource) {
  tern_status status = TERN_OK;
  const weight_job *job = user_data;
  tern__alloc *alloc = job->backend->env.alloc;
  size_t size = (size_t)job->weight->size;
  void *packed = tern__alloc_aligned(alloc, size, 64);
  tern__gpu_buffer *buffer = NULL;
  if (!packed) TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "no memory to pack a weight of %zu bytes", size);
  TERN_TRY(job->weight->build(job->weight->user_data, packed));
  TERN_TRY(upload(job->backend, packed, size, &buffer));
  *resource = buffer;
cleanup:
  tern__free_aligned(alloc, packed, size, 64);
  return status;
}

typedef struct constant_job { tern__backend *backend; const tern__gpu_constant_value *constant; } constant_job;

static tern_status make_constant(void *user_data, void **resource) {
  const constant_job *job = user_data;
  tern__gpu_buffer *buffer;
  tern_status status = upload(job->backend, job->constant->data, job->constant->size, &buffer);
  *resource = buffer;
  return status;
}

/* Part of the key: a session's own constants may come to lie where those of an earlier session were. */
static uint64_t content_hash(const uint8_t *data, uint64_t size) {
  return tern__pack_hash(TERN__PACK_HASH ^ RAW_LAYOUT, data, size);
}

/* A model may be open on two devices. */
static uint64_t of_device(const tern__backend *backend, uint64_t layout) {
  return (layout ^ (uint64_t)(uintptr_t)backend) * TERN__HASH_PRIME;
}

static tern_status run_task(preparation *p, size_t task) {
  tern_status status = TERN_OK;
  tern__program *program = p->program;
  tern__backend *backend = program->backend;
  void *resource = NULL;
  TERN_TRY(tern__cancel_check(program->cancel, "preparing the device"));
  if (task < p->n_weights) {
    tern__gpu_weight *weight = &program->weights[task];
    weight_job job = {backend, weight};
    TERN_TRY(tern__pack_cache_resource(program->cache, weight->key, of_device(backend, weight->layout),
                                       (size_t)weight->size, make_weight, &job, release, backend, &resource));
    weight->buffer = resource;
    goto cleanup;
  }
  task -= p->n_weights;
  if (task < p->n_constants) {
    tern__gpu_constant_value *constant = &program->constants[task];
    constant_job job = {backend, constant};
    if (constant->folded) {
      if (!constant->buffer) TERN_TRY(make_constant(&job, &resource));
      if (resource) constant->buffer = resource;
      goto cleanup;
    }
    TERN_TRY(tern__pack_cache_resource(program->cache, constant->data,
                                       of_device(backend, content_hash(constant->data, constant->size)),
                                       (size_t)constant->size, make_constant, &job, release, backend, &resource));
    constant->buffer = resource;
    goto cleanup;
  }
  tern__gpu_pipeline *pipeline;
  TERN_TRY(backend->api->pipeline(backend->device, p->kernels[task - p->n_constants], &pipeline));
cleanup:
  return status;
}

static void set_failure(preparation *p, tern_status status) {
  int32_t unset = 0;
  if (!atomic_compare_exchange_strong(&p->failed, &unset, 1)) return;
  p->status = status;
  const char *text = tern_last_error();
  size_t size = strlen(text);
  if (size >= ERROR_TEXT) size = ERROR_TEXT - 1;
  memcpy(p->error, text, size);
  p->error[size] = 0;
}

static void work(void *arg, int32_t thread, int32_t n_threads) {
  preparation *p = arg;
  size_t n = p->n_weights + p->n_constants + p->n_kernels, task;
  (void)n_threads;
  while (!atomic_load(&p->failed) && (task = atomic_fetch_add(&p->next, 1)) < n) {
    tern_status status = run_task(p, task);
    if (status != TERN_OK) set_failure(p, status);
    size_t done = atomic_fetch_add(&p->done, 1) + 1;
    if (thread == 0 && p->progress && p->progress->fn && !atomic_load(&p->failed) &&
        p->progress->fn(p->progress->user_data, "upload", done, n)) {
      (void)tern__fail(TERN_STATUS_CANCELLED, "cancelled by the progress callback");
      set_failure(p, TERN_STATUS_CANCELLED);
    }
  }
}

tern_status tern__gpu_prepare(tern__program *program, const tern_progress *progress, const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  tern__backend *backend = program->backend;
  bool used[TERN__KERNEL_COUNT] = {false};
  preparation p = {.program = program, .progress = progress, .n_weights = tern__array_count(program->weights),
                   .n_constants = tern__array_count(program->constants)};
  for (size_t i = 0; i < tern__array_count(program->steps); i++) used[program->steps[i].kernel] = true;
  used[TERN__KERNEL_sample_top] |= tern__gpu_may_rank(program); /* gpu_top.c */
  for (int k = 0; k < TERN__KERNEL_COUNT; k++)
    if (used[k]) p.kernels[p.n_kernels++] = (tern__gpu_kernel_id)k;
  if (backend->api->pipeline_start)
    for (size_t k = 0; k < p.n_kernels; k++)
      TERN_TRY(backend->api->pipeline_start(backend->device, p.kernels[k]));
  program->cancel = cancel;
  tern__pool_run(backend->env.pool, backend->info->one_thread ? 1 : tern__pool_n_threads(backend->env.pool), work, &p);
  program->cancel = NULL;
  if (!atomic_load(&p.failed)) {
    if (p.n_kernels) tern__gpu_cache_save(program->backend, false);
    return TERN_OK;
  }
  tern__error_set(p.error);
  status = p.status;
cleanup:
  return status;
}
