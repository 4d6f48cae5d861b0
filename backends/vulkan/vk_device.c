/* Opens and closes a device. */
#include "vulkan/vk_device.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

tern_status tern__vk_fail(tern__gpu_device *device, VkResult result, const char *call, ...) {
  char what[160];
  va_list args;
  va_start(args, call);
  vsnprintf(what, sizeof what, call, args);
  va_end(args);
  if (result == VK_ERROR_DEVICE_LOST) atomic_store(&device->lost, true);
  return tern__vk_status(result, device->name, "%s", what);
}

tern_status tern__vk_alive(tern__gpu_device *device) {
  if (!atomic_load_explicit(&device->lost, memory_order_relaxed)) return TERN_OK;
  return tern__fail(TERN_STATUS_DEVICE_LOST, "%s: the device was lost earlier; open it again, or use the CPU",
                    device->name);
}

static tern_status make_device(tern__gpu_device *device) {
  tern_status status = TERN_OK;
  const float priority = 1.0f;
  tern__vk_features *f = &device->features;
  VkDeviceQueueCreateInfo queue = {
      VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, NULL, 0, f->family, 1, &priority};
  VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                             .pNext = &f->root,
                             .queueCreateInfoCount = 1,
                             .pQueueCreateInfos = &queue,
                             .enabledExtensionCount = f->n_extensions,
                             .ppEnabledExtensionNames = f->extensions};
  VkResult result = device->instance.CreateDevice(device->physical, &info, NULL, &device->handle);
  if (result < 0) device->handle = NULL;
  TERN_VK_TRY(result, "vkCreateDevice");
  tern__vk_load_device_table(&device->instance, device->handle, &device->vk);
  if (!device->vk.vkGetSemaphoreCounterValue) { /* from the extension */
    device->vk.vkGetSemaphoreCounterValue = device->vk.vkGetSemaphoreCounterValueKHR;
    device->vk.vkWaitSemaphores = device->vk.vkWaitSemaphoresKHR;
  }
  f->root.pNext = NULL; /* the chain was for this call */
cleanup:
  return status;
}

tern_status tern__vk_open(const tern__backend_env *env, const char *which, const tern__vk_hooks *hooks,
                          tern__gpu_device **out) {
  tern_status status = TERN_OK;
  *out = NULL;
  tern__gpu_device *device = tern__calloc(env->alloc, 1, sizeof *device);
  TERN_CHECK_ALLOC(device);
  device->alloc = env->alloc, device->log = env->log;
  tern__vk_memory_init(device);
  tern__mutex_init(&device->queue.lock);
  tern__mutex_init(&device->upload.lock);
  tern__cond_init(&device->upload.written);
  tern__mutex_init(&device->pipelines.lock);
  tern__cond_init(&device->pipelines.changed);
  TERN_TRY(tern__vk_instance_open(hooks, &device->instance));
  TERN_TRY(tern__vk_choose(device->alloc, &device->instance, which, &device->physical));
  TERN_TRY(tern__vk_probe(device->alloc, &device->instance, device->physical, &device->features,
                          &device->info, device->name, sizeof device->name, device->driver,
                          sizeof device->driver));
  TERN_TRY(make_device(device));
  TERN_TRY(tern__vk_queue_init(device));
  TERN_TRY(tern__vk_upload_init(device));
  TERN_TRY(tern__vk_pipelines_init(device));
  *out = device, device = NULL;
cleanup:
  tern__vk_close(device);
  return status;
}

void tern__vk_close(tern__gpu_device *device) {
  if (!device) return;
  if (device->handle) {
    tern__vk_settle(device, device->queue.submitted);
    tern__vk_pipelines_deinit(device);
    tern__vk_upload_deinit(device);
    tern__vk_queue_deinit(device);
    device->vk.vkDestroyDevice(device->handle, NULL);
  }
  tern__vk_memory_deinit(device);
  tern__vk_instance_close(&device->instance);
  tern__cond_deinit(&device->pipelines.changed);
  tern__mutex_deinit(&device->pipelines.lock);
  tern__cond_deinit(&device->upload.written);
  tern__mutex_deinit(&device->upload.lock);
  tern__mutex_deinit(&device->queue.lock);
  tern__free(device->alloc, device);
}
