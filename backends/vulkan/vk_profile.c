/* How long each dispatch took on the device: two timestamps around it. */
#include "vulkan/vk_device.h"

#include "base/array.h"

void tern__vk_profile(tern__gpu_commands *c, bool on) {
  c->profile = on && c->device->features.timestamp_bits;
}

static uint32_t first_query(const tern__gpu_commands *c) {
  return (uint32_t)(c->n_timed % TERN__VK_TIMED_PER_POOL) * 2;
}

tern_status tern__vk_timer_start(tern__gpu_commands *c) {
  tern_status status = TERN_OK;
  tern__gpu_device *device = c->device;
  if (!c->profile) return TERN_OK;
  if (c->n_timed == tern__array_count(c->timers) * TERN__VK_TIMED_PER_POOL) {
    if (!c->ticks) c->ticks = tern__calloc(device->alloc, TERN__VK_TIMED_PER_POOL * 2, sizeof *c->ticks);
    TERN_CHECK_ALLOC(c->ticks);
    TERN_ARRAY_RESERVE(device->alloc, c->timers, 1);
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = TERN__VK_TIMED_PER_POOL * 2};
    VkQueryPool pool;
    TERN_VK_TRY(device->vk.vkCreateQueryPool(device->handle, &info, NULL, &pool), "vkCreateQueryPool");
    TERN_ARRAY_PUT(c->timers, pool);
    device->vk.vkCmdResetQueryPool(c->handle, pool, 0, TERN__VK_TIMED_PER_POOL * 2); /* in every run */
  }
  VkQueryPool pool = c->timers[tern__array_count(c->timers) - 1];
  device->vk.vkCmdWriteTimestamp(c->handle, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, pool, first_query(c));
cleanup:
  return status;
}

void tern__vk_timer_stop(tern__gpu_commands *c) {
  if (!c->profile) return;
  VkQueryPool pool = c->timers[tern__array_count(c->timers) - 1];
  c->device->vk.vkCmdWriteTimestamp(c->handle, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool,
                                    first_query(c) + 1);
  c->n_timed++;
}

void tern__vk_timers_deinit(tern__gpu_commands *c) {
  tern__gpu_device *device = c->device;
  for (size_t i = 0; i < tern__array_count(c->timers); i++)
    device->vk.vkDestroyQueryPool(device->handle, c->timers[i], NULL);
  TERN_ARRAY_FREE(device->alloc, c->timers);
  tern__free(device->alloc, c->ticks);
}

size_t tern__vk_timestamps(tern__gpu_commands *c, uint64_t *nanoseconds, size_t capacity) {
  tern__gpu_device *device = c->device;
  uint32_t bits = device->features.timestamp_bits;
  uint64_t mask = bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
  if (!c->n_timed || !c->ticket || tern__vk_wait(device, c->ticket, 0) != TERN_OK) return 0;
  for (size_t done = 0; done < c->n_timed && done < capacity;) {
    size_t n = c->n_timed - done < TERN__VK_TIMED_PER_POOL ? c->n_timed - done : TERN__VK_TIMED_PER_POOL;
    VkResult result = device->vk.vkGetQueryPoolResults(
        device->handle, c->timers[done / TERN__VK_TIMED_PER_POOL], 0, (uint32_t)n * 2,
        n * 2 * sizeof *c->ticks, c->ticks, sizeof *c->ticks, VK_QUERY_RESULT_64_BIT);
    if (result != VK_SUCCESS) return 0;
    for (size_t i = 0; i < n && done + i < capacity; i++) {
      uint64_t ticks = (c->ticks[2 * i + 1] - c->ticks[2 * i]) & mask;
      nanoseconds[done + i] = (uint64_t)((double)ticks * (double)device->features.timestamp_period);
    }
    done += n;
  }
  return c->n_timed;
}
