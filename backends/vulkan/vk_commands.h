/* Recorded work. */
#ifndef TERN_VK_COMMANDS_H
#define TERN_VK_COMMANDS_H

#include "gpu/gpu_device.h"
#include "vulkan/vk_loader.h"

enum { TERN__VK_TIMED_PER_POOL = 256 };

struct tern__gpu_commands {
  tern__gpu_device *device;
  VkCommandPool pool;
  VkCommandBuffer handle;
  enum { TERN__VK_RECORDING, TERN__VK_FINISHED, TERN__VK_BROKEN } state;
  VkDescriptorPool *set_pools; /* array; sets come from the last */
  uint32_t sets_left;
  VkPipeline bound;
  VkQueryPool *timers;         /* array; two timestamps a dispatch */
  uint64_t *ticks;             /* room to read one pool */
  size_t n_timed;
  bool profile;
  uint64_t ticket;             /* of the last submit; 0 = never */
};

/* As the members of tern__gpu_api. */
tern_status tern__vk_commands_create(tern__gpu_device *device, tern__gpu_commands **out);
tern_status tern__vk_dispatch(tern__gpu_commands *commands, const tern__gpu_dispatch *dispatch);
tern_status tern__vk_copy(tern__gpu_commands *commands, const tern__gpu_range *from,
                          const tern__gpu_range *to);
tern_status tern__vk_barrier(tern__gpu_commands *commands);
tern_status tern__vk_commands_finish(tern__gpu_commands *commands);
void tern__vk_commands_destroy(tern__gpu_commands *commands);
tern_status tern__vk_submit(tern__gpu_device *device, tern__gpu_commands *commands, uint64_t *ticket);

/* vk_profile.c */
void tern__vk_profile(tern__gpu_commands *commands, bool on);
size_t tern__vk_timestamps(tern__gpu_commands *commands, uint64_t *nanoseconds, size_t capacity);
/* Around a dispatch; does nothing unless profiling. */
tern_status tern__vk_timer_start(tern__gpu_commands *commands);
void tern__vk_timer_stop(tern__gpu_commands *commands);
void tern__vk_timers_deinit(tern__gpu_commands *commands);

/* All writes of kernels and copies before it are seen by all kernels and copies after it. */
void tern__vk_record_barrier(tern__gpu_device *device, VkCommandBuffer commands);

#endif
