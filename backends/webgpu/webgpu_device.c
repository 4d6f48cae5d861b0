/* The device interface over the browser's WebGPU. All objects live in JavaScript (bindings/web/src/gpu.js); here are
 * the checks, the mirrors of host-visible buffers, and what WebGPU forbids and Vulkan does not:
 *
 * - A dispatch may not bind overlapping writable ranges, nor one buffer as both `read` and `read_write`. Activations
 *   are declared read_write even where they are only read, so that an operand that comes twice, or an alias, would be
 *   an error. Such an operand is copied before the dispatch, and the copy is bound (`separate`).
 * - Memory is never mapped for both sides: UPLOAD buffers are written from their mirror by `flush`, and a wait fills
 *   the mirrors of READBACK buffers, which no kernel may write (usage MAP_READ goes with COPY_DST alone). */
#include <string.h>

#include "base/array.h"
#include "webgpu/host_webgpu.h"
#include "webgpu/webgpu_api.h"

struct tern__gpu_buffer {
  int32_t handle;
  tern__gpu_memory memory;
  uint64_t size;
  void *host;              /* the mirror; NULL for DEVICE */
};

struct tern__gpu_pipeline {
  const tern__gpu_kernel *kernel;
  bool started, compiled;
};

struct tern__gpu_device {
  tern__alloc *alloc;
  tern__gpu_info info;
  tern__host_gpu_facts facts;
  tern__gpu_pipeline *pipelines; /* TERN__KERNEL_COUNT */
};

typedef enum state { RECORDING, FINISHED, BROKEN } state;

struct tern__gpu_commands {
  tern__gpu_device *device;
  int32_t handle;
  state state;
  tern__gpu_buffer **copies; /* of operands that a dispatch may not bind as they are; base/array.h array */
};

/* The host's failure as ours. */
static tern_status said(const tern__gpu_device *device, int32_t status) {
  char text[400];
  if (status == TERN_OK) return TERN_OK;
  tern__host_gpu_error(text, sizeof text);
  return tern__fail((tern_status)status, "%s: %s", device->info.name, text);
}

static void webgpu_close(tern__gpu_device *device) {
  if (!device) return;
  tern__free(device->alloc, device->pipelines);
  tern__free(device->alloc, device);
}

static tern_status webgpu_open(const tern__backend_env *env, const char *which, tern__gpu_device **out) {
  tern_status status = TERN_OK;
  tern__gpu_device *device = tern__calloc(env->alloc, 1, sizeof *device);
  *out = NULL;
  TERN_CHECK_ALLOC(device);
  device->alloc = env->alloc;
  device->info.name = "WebGPU";
  device->pipelines = tern__calloc(env->alloc, TERN__KERNEL_COUNT, sizeof *device->pipelines);
  TERN_CHECK_ALLOC(device->pipelines);
  for (int k = 0; k < TERN__KERNEL_COUNT; k++) device->pipelines[k].kernel = &tern__gpu_kernels[k];
  TERN_TRY(said(device, tern__host_gpu_open(which, which ? strlen(which) : 0, &device->facts)));
  const tern__host_gpu_facts *facts = &device->facts;
  device->info = (tern__gpu_info){.name = facts->name,
                                  .driver = facts->driver,
                                  .max_buffer_bytes = (uint64_t)facts->max_buffer_bytes,
                                  .max_binding_bytes = (uint64_t)facts->max_binding_bytes & ~(uint64_t)3,
                                  .binding_alignment = facts->binding_alignment,
                                  .max_groups = facts->max_groups,
                                  .max_invocations = facts->max_invocations,
                                  .shared_bytes = facts->shared_bytes,
                                  .subgroup_min = facts->subgroup_min,
                                  .subgroup_max = facts->subgroup_max,
                                  .features = facts->features,
                                  .software = facts->software != 0,
                                  .one_thread = true};
  *out = device, device = NULL;
cleanup:
  webgpu_close(device);
  return status;
}

static tern__gpu_info *webgpu_info(tern__gpu_device *device) { return &device->info; }

/* ---- buffers ---- */

static void webgpu_buffer_destroy(tern__gpu_device *device, tern__gpu_buffer *buffer) {
  if (!buffer) return;
  if (buffer->handle) tern__host_gpu_buffer_destroy(buffer->handle);
  tern__free_aligned(device->alloc, buffer->host, (size_t)buffer->size, 16);
  tern__free(device->alloc, buffer);
}

static tern_status webgpu_buffer_create(tern__gpu_device *device, tern__gpu_memory memory, uint64_t size,
                                        tern__gpu_buffer **out) {
  tern_status status = TERN_OK;
  tern__gpu_buffer *buffer = NULL;
  *out = NULL;
  if (size > device->info.max_buffer_bytes)
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY,
              "%s: a buffer of %llu bytes; one can have %llu: use a smaller model or context", device->info.name,
              (unsigned long long)size, (unsigned long long)device->info.max_buffer_bytes);
  buffer = tern__calloc(device->alloc, 1, sizeof *buffer);
  TERN_CHECK_ALLOC(buffer);
  buffer->memory = memory, buffer->size = size ? (size + 3) & ~(uint64_t)3 : 4;
  if (memory != TERN__GPU_DEVICE) {
    buffer->host = tern__alloc_aligned(device->alloc, (size_t)buffer->size, 16);
    TERN_CHECK_ALLOC(buffer->host);
    memset(buffer->host, 0, (size_t)buffer->size);
  }
  TERN_TRY(said(device, tern__host_gpu_buffer((int32_t)memory, (double)buffer->size,
                                              memory == TERN__GPU_READBACK ? buffer->host : NULL, &buffer->handle)));
  *out = buffer, buffer = NULL;
cleanup:
  webgpu_buffer_destroy(device, buffer);
  return status;
}

static void *webgpu_buffer_host(tern__gpu_buffer *buffer) { return buffer->host; }

static tern_status webgpu_flush(tern__gpu_device *device, const tern__gpu_range *range) {
  uint64_t from = range->offset & ~(uint64_t)3, to = (range->offset + range->size + 3) & ~(uint64_t)3;
  if (!range->size) return TERN_OK;
  return said(device, tern__host_gpu_write(range->buffer->handle, (double)from,
                                           (const uint8_t *)range->buffer->host + from, (size_t)(to - from)));
}

/* A wait has filled the mirror. */
static tern_status webgpu_invalidate(tern__gpu_device *device, const tern__gpu_range *range) {
  (void)device, (void)range;
  return TERN_OK;
}

/* WebGPU writes whole words: bytes beyond the last of them go in a word of their own. */
static tern_status webgpu_write(tern__gpu_device *device, tern__gpu_buffer *buffer, uint64_t offset, const void *data,
                                size_t size) {
  tern_status status = TERN_OK;
  size_t words = size & ~(size_t)3;
  if (offset % 4 || offset > buffer->size || size > buffer->size - offset)
    TERN_FAIL(TERN_STATUS_INTERNAL, "%s: %zu bytes written at %llu of a buffer of %llu", device->info.name, size,
              (unsigned long long)offset, (unsigned long long)buffer->size);
  if (words) TERN_TRY(said(device, tern__host_gpu_write(buffer->handle, (double)offset, data, words)));
  if (size > words) {
    uint8_t tail[4] = {0};
    memcpy(tail, (const uint8_t *)data + words, size - words);
    TERN_TRY(said(device, tern__host_gpu_write(buffer->handle, (double)(offset + words), tail, sizeof tail)));
  }
cleanup:
  return status;
}

/* ---- pipelines ---- */

static tern_status check_kernel(const tern__gpu_device *device, const tern__gpu_kernel *k) {
  uint32_t invocations = (uint32_t)k->workgroup[0] * k->workgroup[1] * k->workgroup[2];
  if (k->needs & ~device->info.features)
    return tern__fail(TERN_STATUS_UNSUPPORTED, "%s: kernel %s needs what the device lacks (%s)", device->info.name,
                      k->name, k->needs & TERN__GPU_HAS_SUBGROUPS & ~device->info.features ? "subgroups"
                               : k->needs & TERN__GPU_HAS_F16 & ~device->info.features     ? "shader-f16"
                                                                                           : "a feature of Vulkan's");
  for (int i = 0; i < 3; i++)
    if (k->workgroup[i] > device->facts.max_size[i] || invocations > device->info.max_invocations)
      return tern__fail(TERN_STATUS_UNSUPPORTED, "%s: kernel %s has workgroups of %u x %u x %u; the device allows %u "
                        "invocations, %u x %u x %u at most", device->info.name, k->name, (unsigned)k->workgroup[0],
                        (unsigned)k->workgroup[1], (unsigned)k->workgroup[2], (unsigned)device->info.max_invocations,
                        (unsigned)device->facts.max_size[0], (unsigned)device->facts.max_size[1],
                        (unsigned)device->facts.max_size[2]);
  return TERN_OK;
}

static tern_status webgpu_pipeline_start(tern__gpu_device *device, tern__gpu_kernel_id kernel) {
  tern_status status = TERN_OK;
  tern__gpu_pipeline *pipeline = &device->pipelines[kernel];
  const tern__gpu_kernel *k = pipeline->kernel;
  if (pipeline->started) return TERN_OK;
  TERN_TRY(check_kernel(device, k));
  TERN_TRY(said(device, tern__host_gpu_compile((int32_t)kernel, k->name, k->n_bindings, k->immediate_bytes)));
  pipeline->started = true;
cleanup:
  return status;
}

static tern_status webgpu_pipeline(tern__gpu_device *device, tern__gpu_kernel_id kernel, tern__gpu_pipeline **out) {
  tern_status status = TERN_OK;
  tern__gpu_pipeline *pipeline = &device->pipelines[kernel];
  *out = NULL;
  if (!pipeline->compiled) {
    TERN_TRY(webgpu_pipeline_start(device, kernel));
    pipeline->started = false; /* one that fails may be tried again */
    TERN_TRY(said(device, tern__host_gpu_compiled((int32_t)kernel)));
    pipeline->started = pipeline->compiled = true;
  }
  *out = pipeline;
cleanup:
  return status;
}

/* ---- commands ---- */

static void webgpu_commands_destroy(tern__gpu_commands *commands) {
  if (!commands) return;
  tern__gpu_device *device = commands->device;
  tern__host_gpu_commands_destroy(commands->handle); /* what still runs keeps what it needs */
  for (size_t i = 0; i < tern__array_count(commands->copies); i++)
    webgpu_buffer_destroy(device, commands->copies[i]);
  TERN_ARRAY_FREE(device->alloc, commands->copies);
  tern__free(device->alloc, commands);
}

static tern_status webgpu_commands_create(tern__gpu_device *device, tern__gpu_commands **out) {
  tern_status status = TERN_OK;
  *out = NULL;
  tern__gpu_commands *commands = tern__calloc(device->alloc, 1, sizeof *commands);
  TERN_CHECK_ALLOC(commands);
  commands->device = device, commands->state = RECORDING;
  commands->handle = tern__host_gpu_commands();
  *out = commands;
cleanup:
  return status;
}

static tern_status recording(const tern__gpu_commands *c) {
  if (c->state == RECORDING) return TERN_OK;
  return tern__fail(TERN_STATUS_INVALID_STATE, "%s: commands %s", c->device->info.name,
                    c->state == FINISHED ? "that are finished cannot be added to" : "whose recording failed");
}

static uint64_t size_of(const tern__gpu_buffer *buffer) { return buffer->size; }

static bool inside(const tern__gpu_range *r) { return tern__gpu_inside(r, r->buffer ? r->buffer->size : 0); }

static tern_status copy_now(tern__gpu_commands *c, const tern__gpu_range *from, const tern__gpu_range *to) {
  return said(c->device, tern__host_gpu_copy(c->handle, from->buffer->handle, (double)from->offset, to->buffer->handle,
                                             (double)to->offset, (double)from->size));
}

/* Whether WebGPU refuses the two bindings of one dispatch. */
static bool clash(const tern__gpu_kernel *k, const tern__gpu_range *ranges, int i, int j) {
  const tern__gpu_range *a = &ranges[i], *b = &ranges[j];
  bool writable_i = k->writable >> i & 1, writable_j = k->writable >> j & 1;
  if (a->buffer != b->buffer || !(writable_i || writable_j)) return false;
  if (writable_i != writable_j) return true; /* one buffer is one or the other */
  return a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

/* Binds copies of operands that are only read and that may not be bound as they are. */
static tern_status separate(tern__gpu_commands *c, const tern__gpu_kernel *k, tern__gpu_range *ranges) {
  tern_status status = TERN_OK;
  tern__gpu_buffer *copy = NULL;
  for (int i = 1; i < k->n_bindings; i++)
    for (int j = 0; j < i; j++) {
      if (!clash(k, ranges, i, j)) continue;
      bool keep_i = k->writes >> i & 1, keep_j = k->writes >> j & 1;
      if (keep_i && keep_j)
        TERN_FAIL(TERN_STATUS_INTERNAL, "%s: bindings %d and %d of kernel %s are the same memory, and both are written",
                  c->device->info.name, j, i, k->name);
      int moved = keep_i || (!keep_j && ranges[j].size < ranges[i].size) ? j : i;
      TERN_ARRAY_RESERVE(c->device->alloc, c->copies, 1);
      TERN_TRY(webgpu_buffer_create(c->device, TERN__GPU_DEVICE, ranges[moved].size, &copy));
      tern__array_put(c->copies, copy);
      tern__gpu_range to = {copy, 0, ranges[moved].size};
      TERN_TRY(copy_now(c, &ranges[moved], &to));
      ranges[moved] = to;
    }
cleanup:
  return status;
}

static tern_status webgpu_dispatch(tern__gpu_commands *c, const tern__gpu_dispatch *d) {
  tern_status status = TERN_OK;
  const tern__gpu_kernel *k = d->pipeline->kernel;
  tern__gpu_range ranges[TERN__GPU_MAX_BINDINGS];
  tern__host_gpu_range bound[TERN__GPU_MAX_BINDINGS];
  TERN_TRY(recording(c));
  TERN_TRY(tern__gpu_check_dispatch(&c->device->info, size_of, d->pipeline->kernel, d));
  memcpy(ranges, d->ranges, k->n_bindings * sizeof *ranges);
  TERN_TRY(separate(c, k, ranges));
  for (int i = 0; i < k->n_bindings; i++)
    bound[i] = (tern__host_gpu_range){(double)ranges[i].offset, (double)ranges[i].size, ranges[i].buffer->handle, 0};
  TERN_TRY(said(c->device, tern__host_gpu_dispatch(c->handle, (int32_t)(k - tern__gpu_kernels), bound, d->immediates,
                                                   d->groups[0], d->groups[1], d->groups[2])));
cleanup:
  if (status != TERN_OK && c->state == RECORDING) c->state = BROKEN;
  return status;
}

static tern_status webgpu_copy(tern__gpu_commands *c, const tern__gpu_range *from, const tern__gpu_range *to) {
  tern_status status = TERN_OK;
  TERN_TRY(recording(c));
  if (!inside(from) || !inside(to) || from->size != to->size || (from->offset | to->offset) % 4)
    TERN_FAIL(TERN_STATUS_INTERNAL, "%s: a copy of %llu bytes at %llu to %llu bytes at %llu", c->device->info.name,
              (unsigned long long)from->size, (unsigned long long)from->offset, (unsigned long long)to->size,
              (unsigned long long)to->offset);
  TERN_TRY(copy_now(c, from, to));
cleanup:
  if (status != TERN_OK && c->state == RECORDING) c->state = BROKEN;
  return status;
}

/* The browser orders dispatches and copies by what they bind. */
static tern_status webgpu_barrier(tern__gpu_commands *commands) { return recording(commands); }

static tern_status webgpu_commands_finish(tern__gpu_commands *c) {
  tern_status status = TERN_OK;
  TERN_TRY(recording(c));
  c->state = BROKEN;
  TERN_TRY(said(c->device, tern__host_gpu_finish(c->handle)));
  c->state = FINISHED;
cleanup:
  return status;
}

static tern_status webgpu_submit(tern__gpu_device *device, tern__gpu_commands *c, uint64_t *ticket) {
  tern_status status = TERN_OK;
  double number = 0;
  *ticket = 0;
  if (c->state != FINISHED)
    TERN_FAIL(TERN_STATUS_INVALID_STATE, "%s: commands are submitted before they are finished", device->info.name);
  TERN_TRY(said(device, tern__host_gpu_submit(c->handle, &number)));
  *ticket = (uint64_t)number;
cleanup:
  return status;
}

/* A promise cannot be waited for in part: a timeout that is not zero waits for the end. */
static tern_status webgpu_wait(tern__gpu_device *device, uint64_t ticket, uint64_t timeout_ns) {
  int32_t status = tern__host_gpu_poll((double)ticket);
  if (status < 0 && !timeout_ns)
    return tern__fail(TERN_STATUS_TIMEOUT, "%s: the work is not done", device->info.name);
  return said(device, status < 0 ? tern__host_gpu_wait((double)ticket) : status);
}

static void webgpu_profile(tern__gpu_commands *commands, bool on) { tern__host_gpu_profile(commands->handle, on); }

static size_t webgpu_timestamps(tern__gpu_commands *commands, uint64_t *nanoseconds, size_t capacity) {
  return tern__host_gpu_timestamps(commands->handle, nanoseconds, capacity);
}

/* Browsers keep compiled pipelines themselves. */
static tern_status webgpu_cache_read(tern__gpu_device *device, void *data, size_t *size) {
  (void)device, (void)data;
  *size = 0;
  return TERN_OK;
}
static tern_status webgpu_cache_load(tern__gpu_device *device, const void *data, size_t size) {
  (void)device, (void)data, (void)size;
  return TERN_OK;
}

const tern__gpu_api tern__gpu_api_webgpu = {
    .name = "webgpu",
    .open = webgpu_open,
    .close = webgpu_close,
    .info = webgpu_info,
    .buffer_create = webgpu_buffer_create,
    .buffer_destroy = webgpu_buffer_destroy,
    .buffer_host = webgpu_buffer_host,
    .flush = webgpu_flush,
    .invalidate = webgpu_invalidate,
    .write = webgpu_write,
    .pipeline_start = webgpu_pipeline_start,
    .pipeline = webgpu_pipeline,
    .commands_create = webgpu_commands_create,
    .dispatch = webgpu_dispatch,
    .copy = webgpu_copy,
    .barrier = webgpu_barrier,
    .commands_finish = webgpu_commands_finish,
    .commands_destroy = webgpu_commands_destroy,
    .submit = webgpu_submit,
    .wait = webgpu_wait,
    .profile = webgpu_profile,
    .timestamps = webgpu_timestamps,
    .cache_read = webgpu_cache_read,
    .cache_load = webgpu_cache_load,
};
