/* Whether a device does what chains take for granted (gpu_chain.h; kernels/chain_check.wgsl). Tried before the first
 * chain is recorded, not when the device is opened: most of what runs on it has none. */
#include "gpu/gpu_chain.h"

#include <stdio.h>

enum {
  /* More workgroups than a device runs at a time (an H200 a thousand of these), so that some of a dispatch start when
   * those of the next one would be waiting. A driver on the CPU runs as many as it has threads. */
  MANY = 2048, MANY_IN_SOFTWARE = 32,
  STEPS = 4,
  COUNTERS = (STEPS + 1) * TERN__GPU_COUNTER_BYTES
};

/* As in chain_check.wgsl. */
typedef struct immediates { uint32_t chain, groups, from_row, to_row; } immediates;

typedef struct trial {
  uint32_t groups;
  uint64_t rows_bytes;             /* of both; the counters, from the alarm on, follow */
  tern__gpu_buffer *data, *back;
  tern__gpu_commands *commands;
} trial;

static tern_status run(tern__backend *backend, trial *t) {
  tern_status status = TERN_OK;
  const tern__gpu_api *api = backend->api;
  tern__gpu_device *device = backend->device;
  uint64_t bytes = t->rows_bytes + COUNTERS, ticket;
  tern__gpu_pipeline *pipeline = NULL;
  void *zeros = tern__calloc(backend->env.alloc, 1, (size_t)bytes);
  TERN_CHECK_ALLOC(zeros);
  TERN_TRY(api->pipeline(device, TERN__KERNEL_chain_check, &pipeline));
  TERN_TRY(api->buffer_create(device, TERN__GPU_DEVICE, bytes, &t->data));
  TERN_TRY(api->buffer_create(device, TERN__GPU_READBACK, bytes, &t->back));
  TERN_TRY(api->write(device, t->data, 0, zeros, (size_t)bytes));
  TERN_TRY(api->commands_create(device, &t->commands));
  tern__gpu_range all = {t->data, 0, bytes}, to = {t->back, 0, bytes};
  tern__gpu_range ranges[] = {{t->data, 0, t->rows_bytes}, {t->data, t->rows_bytes, COUNTERS}};
  for (uint32_t i = 1; i <= STEPS; i++) {
    immediates im = {tern__gpu_chain_word(i, i > 1 ? t->groups : 0, i < STEPS), t->groups, 1 - i % 2, i % 2};
    TERN_TRY(api->dispatch(t->commands, &(tern__gpu_dispatch){.pipeline = pipeline, .ranges = ranges,
                                                              .immediates = &im, .groups = {t->groups, 1, 1}}));
  }
  TERN_TRY(api->barrier(t->commands));
  TERN_TRY(api->copy(t->commands, &all, &to));
  TERN_TRY(api->commands_finish(t->commands));
  TERN_TRY(api->submit(device, t->commands, &ticket));
  TERN_TRY(api->wait(device, ticket, UINT64_MAX));
  TERN_TRY(api->invalidate(device, &to));
cleanup:
  tern__free(backend->env.alloc, zeros);
  return status;
}

/* Says what is wrong; empty where nothing is. */
static void judge(const trial *t, const uint32_t *words, char *text, size_t size) {
  const uint32_t *last = words + STEPS % 2 * t->groups, *counters = words + t->rows_bytes / 4;
  *text = 0;
  if (counters[0]) {
    snprintf(text, size, "workgroups waited in vain for those of the dispatch before");
    return;
  }
  for (uint32_t i = 0; i < t->groups && !*text; i++)
    if (last[i] != STEPS)
      snprintf(text, size, "kernel %s gave %u where %d is right", tern__gpu_kernels[TERN__KERNEL_chain_check].name,
               last[i], STEPS);
  for (uint32_t i = 0; i < COUNTERS / 4 && !*text; i++)
    if (counters[i]) snprintf(text, size, "a counter is %u at the end", counters[i]);
}

tern_status tern__gpu_chain_check(tern__backend *backend) {
  tern_status status = TERN_OK;
  const tern__gpu_api *api = backend->api;
  trial t = {.groups = backend->info->software ? MANY_IN_SOFTWARE : MANY};
  char wrong[512];
  if (atomic_load(&backend->no_chains) || atomic_load(&backend->chains_checked)) return TERN_OK;
  t.rows_bytes = 2 * (uint64_t)t.groups * sizeof(uint32_t);
  status = run(backend, &t);
  if (status == TERN_STATUS_OUT_OF_MEMORY || status == TERN_STATUS_DEVICE_LOST) goto cleanup;
  if (status == TERN_OK) judge(&t, api->buffer_host(t.back), wrong, sizeof wrong);
  else snprintf(wrong, sizeof wrong, "%s", tern_last_error());
  status = TERN_OK;
  if (*wrong) tern__gpu_chain_refuse(backend, wrong);
  atomic_store(&backend->chains_checked, true); /* two sessions may have tried it at once */
cleanup:
  api->commands_destroy(t.commands);
  api->buffer_destroy(backend->device, t.data);
  api->buffer_destroy(backend->device, t.back);
  return status;
}
