/* What the Vulkan tests share: a device, and a kernel to run on it. */
#ifndef TERN_TESTS_VK_RIG_H
#define TERN_TESTS_VK_RIG_H

#include "vulkan/vk_api.h"
#include "base/array.h"
#include "vulkan/vk_device.h"

#include "vk_chains.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rig {
  tern__alloc alloc;
  tern__backend_env env;
  const tern__gpu_api *api;
  tern__gpu_device *device;
} rig;

/* As unary.wgsl's. */
typedef struct unary_params {
  uint32_t count;
  float alpha, beta;
  uint32_t pad;
} unary_params;

static inline tern_status rig_try_open(rig *r, const char *which, const tern__vk_hooks *hooks) {
  memset(r, 0, sizeof *r);
  tern__alloc_init(&r->alloc, NULL, 0);
  r->env.alloc = &r->alloc;
  r->api = &tern__gpu_api_vulkan;
  return tern__vk_open(&r->env, which, hooks ? hooks : &chains_table, &r->device);
}

static inline void rig_open(rig *r, const char *which, const tern__vk_hooks *hooks) {
  cr_assert_eq(rig_try_open(r, which, hooks), TERN_OK, "%s", tern_last_error());
}

static inline void rig_close(rig *r) {
  r->api->close(r->device);
  r->device = NULL;
  cr_assert_eq(atomic_load(&r->alloc.live_bytes), 0u, "%llu bytes leaked",
               (unsigned long long)r->alloc.live_bytes);
}

#define OK(call) cr_assert_eq((call), TERN_OK, "%s: %s", #call, tern_last_error())

/* Adds y = op(x) over `count` floats. */
static inline tern_status rig_add_unary(rig *r, tern__gpu_commands *c, tern__gpu_kernel_id kernel,
                                        tern__gpu_buffer *x, tern__gpu_buffer *y, uint32_t count) {
  tern__gpu_pipeline *pipeline;
  tern_status status = r->api->pipeline(r->device, kernel, &pipeline);
  if (status != TERN_OK) return status;
  tern__gpu_range ranges[2] = {{x, 0, count * 4u}, {y, 0, count * 4u}};
  unary_params params = {count, 0, 0, 0};
  tern__gpu_dispatch d = {pipeline, ranges, &params, {(count + 63) / 64, 1, 1}};
  return r->api->dispatch(c, &d);
}

/* y[i] = op(x[i]), from a buffer to the host; asserts. */
static inline void rig_run_unary(rig *r, tern__gpu_kernel_id kernel, tern__gpu_buffer *x, float *y,
                                 uint32_t count) {
  tern__gpu_buffer *out, *back;
  tern__gpu_commands *c;
  uint64_t ticket;
  OK(r->api->buffer_create(r->device, TERN__GPU_DEVICE, count * 4u, &out));
  OK(r->api->buffer_create(r->device, TERN__GPU_READBACK, count * 4u, &back));
  OK(r->api->commands_create(r->device, &c));
  OK(rig_add_unary(r, c, kernel, x, out, count));
  OK(r->api->barrier(c));
  tern__gpu_range from = {out, 0, count * 4u}, to = {back, 0, count * 4u};
  OK(r->api->copy(c, &from, &to));
  OK(r->api->commands_finish(c));
  OK(r->api->submit(r->device, c, &ticket));
  OK(r->api->wait(r->device, ticket, UINT64_MAX));
  OK(r->api->invalidate(r->device, &to));
  memcpy(y, r->api->buffer_host(back), count * 4u);
  r->api->commands_destroy(c);
  r->api->buffer_destroy(r->device, out);
  r->api->buffer_destroy(r->device, back);
}

#endif
