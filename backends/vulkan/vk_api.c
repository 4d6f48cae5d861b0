/* The table of backends/gpu/gpu_device.h. */
#include "vulkan/vk_api.h"
#include "vulkan/vk_device.h"

static tern_status open_device(const tern__backend_env *env, const char *which, tern__gpu_device **out) {
  return tern__vk_open(env, which, NULL, out);
}

static tern__gpu_info *info(tern__gpu_device *device) { return &device->info; }

const tern__gpu_api tern__gpu_api_vulkan = {
    .name = "vulkan",
    .open = open_device,
    .close = tern__vk_close,
    .info = info,
    .buffer_create = tern__vk_buffer_create,
    .buffer_destroy = tern__vk_buffer_destroy,
    .buffer_host = tern__vk_buffer_host,
    .flush = tern__vk_buffer_flush,
    .invalidate = tern__vk_buffer_invalidate,
    .write = tern__vk_write,
    .pipeline = tern__vk_pipeline,
    .commands_create = tern__vk_commands_create,
    .dispatch = tern__vk_dispatch,
    .copy = tern__vk_copy,
    .barrier = tern__vk_barrier,
    .commands_finish = tern__vk_commands_finish,
    .commands_destroy = tern__vk_commands_destroy,
    .submit = tern__vk_submit,
    .wait = tern__vk_wait,
    .profile = tern__vk_profile,
    .timestamps = tern__vk_timestamps,
    .cache_read = tern__vk_cache_read,
    .cache_load = tern__vk_cache_load,
};
