/* An opened Vulkan device: its functions, facts, memory, queue and caches. Internal to backends/vulkan and
 * its tests. */
#ifndef TERN_VK_DEVICE_H
#define TERN_VK_DEVICE_H

#include "gpu/gpu_device.h"
#include "vulkan/vk_commands.h"
#include "vulkan/vk_features.h"
#include "vulkan/vk_memory.h"
#include "vulkan/vk_pipeline.h"
#include "vulkan/vk_queue.h"
#include "vulkan/vk_result.h"
#include "vulkan/vk_upload.h"

struct tern__gpu_device {
  tern__alloc *alloc;
  const tern_log *log;
  tern__vk_instance instance;
  VkPhysicalDevice physical;
  VkDevice handle;
  struct VolkDeviceTable vk;   /* this device's functions */
  tern__vk_features features;
  tern__gpu_info info;
  char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
  char driver[VK_MAX_DRIVER_NAME_SIZE + VK_MAX_DRIVER_INFO_SIZE + 32];
  _Atomic bool lost;           /* set by the first VK_ERROR_DEVICE_LOST, never cleared */
  tern__vk_memory memory;
  tern__vk_queue queue;
  tern__vk_pipelines pipelines;
  tern__vk_upload upload;
};

/* As tern__gpu_api.open; `hooks` sees every function that is loaded. */
tern_status tern__vk_open(const tern__backend_env *env, const char *which, const tern__vk_hooks *hooks,
                          tern__gpu_device **out);
void tern__vk_close(tern__gpu_device *device);

/* tern__vk_status of this device; notes its loss. Statuses other than the mapped ones: give them to
 * tern__fail. */
tern_status tern__vk_fail(tern__gpu_device *device, VkResult result, const char *call, ...) TERN_PRINTF(3, 4);
/* DEVICE_LOST with a sentence once the device is lost. */
tern_status tern__vk_alive(tern__gpu_device *device);

/* TERN_TRY for VkResults: needs `device`, `status` and a `cleanup:` label in scope. The rest names the call.
 */
#define TERN_VK_TRY(expression, ...)                        \
  do {                                                      \
    VkResult result_ = (expression);                        \
    if (result_ < 0) {                                      \
      status = tern__vk_fail(device, result_, __VA_ARGS__); \
      goto cleanup;                                         \
    }                                                       \
  } while (0)

#endif
