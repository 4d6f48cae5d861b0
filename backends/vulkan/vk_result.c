/* What each Vulkan error means to the person who has to act. */
#include "vulkan/vk_result.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct meaning {
  VkResult result;
  const char *name;
  tern_status status;
  const char *text;
} meaning;

static const meaning meanings[] = {
    {VK_NOT_READY, "VK_NOT_READY", TERN_STATUS_INVALID_STATE, "the work is not done; wait for it first"},
    {VK_TIMEOUT, "VK_TIMEOUT", TERN_STATUS_TIMEOUT, "it was not done in time"},
    {VK_ERROR_OUT_OF_HOST_MEMORY, "VK_ERROR_OUT_OF_HOST_MEMORY", TERN_STATUS_OUT_OF_MEMORY,
     "the driver found no host memory; close other programs or use a smaller model"},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, "VK_ERROR_OUT_OF_DEVICE_MEMORY", TERN_STATUS_OUT_OF_MEMORY,
     "the device has no memory left; use a smaller model, a shorter context or another device"},
    {VK_ERROR_INITIALIZATION_FAILED, "VK_ERROR_INITIALIZATION_FAILED", TERN_STATUS_NO_DEVICE,
     "the driver could not start; update it or choose another device"},
    {VK_ERROR_DEVICE_LOST, "VK_ERROR_DEVICE_LOST", TERN_STATUS_DEVICE_LOST,
     "the device stopped working; open it again, or use the CPU"},
    {VK_ERROR_MEMORY_MAP_FAILED, "VK_ERROR_MEMORY_MAP_FAILED", TERN_STATUS_OUT_OF_MEMORY,
     "memory of the device could not be mapped; the process may have too little address space"},
    {VK_ERROR_LAYER_NOT_PRESENT, "VK_ERROR_LAYER_NOT_PRESENT", TERN_STATUS_NO_DEVICE,
     "a layer that the environment asks for is not installed; unset VK_INSTANCE_LAYERS"},
    {VK_ERROR_EXTENSION_NOT_PRESENT, "VK_ERROR_EXTENSION_NOT_PRESENT", TERN_STATUS_NO_DEVICE,
     "the driver lacks an extension that it listed; update it"},
    {VK_ERROR_FEATURE_NOT_PRESENT, "VK_ERROR_FEATURE_NOT_PRESENT", TERN_STATUS_NO_DEVICE,
     "the driver lacks a feature that it listed; update it"},
    {VK_ERROR_INCOMPATIBLE_DRIVER, "VK_ERROR_INCOMPATIBLE_DRIVER", TERN_STATUS_NO_DEVICE,
     "no Vulkan driver is installed, or it is too old"},
    {VK_ERROR_TOO_MANY_OBJECTS, "VK_ERROR_TOO_MANY_OBJECTS", TERN_STATUS_OUT_OF_MEMORY,
     "the device allows no more objects; close sessions that are not used"},
    {VK_ERROR_FRAGMENTED_POOL, "VK_ERROR_FRAGMENTED_POOL", TERN_STATUS_OUT_OF_MEMORY, "a pool is fragmented"},
    {VK_ERROR_FRAGMENTATION, "VK_ERROR_FRAGMENTATION", TERN_STATUS_OUT_OF_MEMORY,
     "the driver's memory is fragmented"},
    {VK_ERROR_OUT_OF_POOL_MEMORY, "VK_ERROR_OUT_OF_POOL_MEMORY", TERN_STATUS_OUT_OF_MEMORY, "a pool is full"},
    {VK_ERROR_INVALID_EXTERNAL_HANDLE, "VK_ERROR_INVALID_EXTERNAL_HANDLE", TERN_STATUS_UNSUPPORTED,
     "the driver does not take this memory"},
    {VK_ERROR_UNKNOWN, "VK_ERROR_UNKNOWN", TERN_STATUS_UNSUPPORTED,
     "the driver gave no reason; update it or choose another device"},
};

static const meaning *find(VkResult result) {
  for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
    if (meanings[i].result == result) return &meanings[i];
  return &meanings[sizeof meanings / sizeof *meanings - 1];
}

const char *tern__vk_result_name(VkResult result) { return find(result)->name; }

tern_status tern__vk_status(VkResult result, const char *device_name, const char *call, ...) {
  char what[160];
  va_list args;
  va_start(args, call);
  vsnprintf(what, sizeof what, call, args);
  va_end(args);
  const meaning *m = find(result);
  if (m->result != result)
    return tern__fail(m->status, "%s: %s failed with VkResult %d; %s", device_name, what, (int)result,
                      m->text);
  return tern__fail(m->status, "%s: %s failed: %s (%s)", device_name, what, m->text, m->name);
}
