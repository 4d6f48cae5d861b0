/* A runtime whose device 'vulkan' is reached through the hooks of vk_hooks.h, with a log and an allocator that
 * are looked at. */
#ifndef TERN_TESTS_VK_HOOKED_RUNTIME_H
#define TERN_TESTS_VK_HOOKED_RUNTIME_H

#include "vk_hooks.h"

#include "gpu/gpu_program.h"
#include "runtime/runtime.h"

extern const tern__backend_api tern__backend_vulkan;

typedef struct hooked {
  tern_runtime *runtime;
  const char *device_name;
  char warnings[4096];         /* lines */
  _Atomic long live;           /* allocations */
} hooked;

static void *hooked_alloc(void *user_data, size_t size, size_t align) {
  hooked *h = user_data;
  if (align < sizeof(void *)) align = sizeof(void *);
  h->live++;
  return aligned_alloc(align, (size + align - 1) / align * align);
}

static void hooked_free(void *user_data, void *ptr, size_t size, size_t align) {
  (void)size, (void)align;
  if (ptr) ((hooked *)user_data)->live--;
  free(ptr);
}

static void hooked_message(void *user_data, tern_log_level level, const char *text) {
  hooked *h = user_data;
  size_t used = strlen(h->warnings);
  if (level <= TERN_LOG_WARNING) snprintf(h->warnings + used, sizeof h->warnings - used, "%s\n", text);
}

static tern_status hooked_device(const tern__backend_env *env, const char *which, tern__gpu_device **out) {
  return tern__vk_open(env, which, &hook_table, out);
}

/* A runtime without the device. */
static inline void hooked_start(hooked *h, const char *cache_path) {
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  desc.cache_path = cache_path;
  memset(h, 0, sizeof *h);
  desc.allocator = (tern_allocator){hooked_alloc, hooked_free, h};
  desc.log.message = hooked_message, desc.log.user_data = h;
  desc.n_threads = 2;
  OK(tern_runtime_create(&desc, &h->runtime));
}

/* Opens the device into the runtime's table, as asking for "vulkan" would. */
static inline tern_status hooked_try_device(hooked *h) {
  static tern__gpu_api api;
  tern__backend_env env = {&h->runtime->alloc, &h->runtime->log, h->runtime->pool, h->runtime->cache_path};
  tern__device *device = &h->runtime->devices[1];
  api = tern__gpu_api_vulkan, api.open = hooked_device;
  tern_status status = tern__gpu_open(&env, &api, NULL, &device->backend);
  if (status != TERN_OK) return status;
  device->api = &tern__backend_vulkan;
  h->runtime->n_devices = 2;
  h->device_name = device->backend->info->name;
  return TERN_OK;
}

static inline void hooked_open(hooked *h) {
  hooked_start(h, NULL);
  OK(hooked_try_device(h));
}

static inline void hooked_close(hooked *h) {
  tern_runtime_destroy(h->runtime);
  cr_assert_eq((long)h->live, 0, "%ld allocations leaked", (long)h->live);
  cr_assert_eq(hook.card_used, 0u);
}

#endif
