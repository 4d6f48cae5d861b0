/* The driver's pipeline cache, kept by the caller. Drivers check what they get back in their own ways, and a
 * damaged byte that one overlooks is a kernel that computes something else: ours comes with its size and a
 * hash. */
#include "base/hash.h"
#include "vulkan/vk_device.h"
#include "vulkan/vk_spirv.h"

#include <string.h>

typedef struct envelope {
  char magic[8];
  uint64_t size, hash;         /* of the driver's data, which follows */
  uint64_t kernels;            /* the code that it was made from */
} envelope;

static const char magic[8] = {'t', 'e', 'r', 'n', 'v', 'k', 'p', '2'};

static uint64_t hash_of(const void *data, size_t size) { return tern__hash(TERN__HASH_START, data, size); }

/* Data of other kernels is of no use, and would be kept with ours for ever. */
static uint64_t hash_of_kernels(void) {
  return tern__hash(hash_of(tern__vk_packed_bytes, tern__vk_packed_size), tern__vk_packed_modules,
                   TERN__KERNEL_COUNT * sizeof *tern__vk_packed_modules);
}

tern_status tern__vk_cache_read(tern__gpu_device *device, void *data, size_t *size) {
  tern_status status = TERN_OK;
  size_t inner = data && *size > sizeof(envelope) ? *size - sizeof(envelope) : 0;
  uint8_t *to = data ? (uint8_t *)data + sizeof(envelope) : NULL;
  TERN_TRY(tern__vk_alive(device));
  if (data && !inner)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "%s: %zu bytes are no room for a pipeline cache", device->name,
              *size);
  /* VK_INCOMPLETE: it grew since it was asked for its size; what fits is a valid cache. */
  TERN_VK_TRY(device->vk.vkGetPipelineCacheData(device->handle, device->pipelines.cache, &inner, to),
              "vkGetPipelineCacheData");
  *size = inner + sizeof(envelope);
  if (!data) goto cleanup;
  envelope e = {.size = inner, .hash = hash_of(to, inner), .kernels = hash_of_kernels()};
  memcpy(e.magic, magic, sizeof magic);
  memcpy(data, &e, sizeof e);
cleanup:
  return status;
}

/* Whole, undamaged, and of this device and driver by Vulkan's own header. */
static bool is_ours(const tern__gpu_device *device, const uint8_t *data, size_t size) {
  envelope e;
  VkPipelineCacheHeaderVersionOne header;
  VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  if (!data || size < sizeof e + sizeof header) return false;
  memcpy(&e, data, sizeof e);
  if (memcmp(e.magic, magic, sizeof magic) || e.size != size - sizeof e) return false;
  if (hash_of(data + sizeof e, e.size) != e.hash || e.kernels != hash_of_kernels()) return false;
  memcpy(&header, data + sizeof e, sizeof header);
  device->instance.GetPhysicalDeviceProperties2(device->physical, &p);
  return header.headerSize == sizeof header && header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
         header.vendorID == p.properties.vendorID && header.deviceID == p.properties.deviceID &&
         !memcmp(header.pipelineCacheUUID, p.properties.pipelineCacheUUID, VK_UUID_SIZE);
}

tern_status tern__vk_cache_load(tern__gpu_device *device, const void *data, size_t size) {
  tern_status status = TERN_OK;
  tern__vk_pipelines *p = &device->pipelines;
  VkPipelineCache loaded = VK_NULL_HANDLE;
  TERN_TRY(tern__vk_alive(device));
  if (!is_ours(device, data, size)) return TERN_OK;
  VkPipelineCacheCreateInfo info = {VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, NULL, 0,
                                    size - sizeof(envelope), (const uint8_t *)data + sizeof(envelope)};
  VkResult result = device->vk.vkCreatePipelineCache(device->handle, &info, NULL, &loaded);
  if (result < 0) loaded = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreatePipelineCache of %zu bytes", size);
  tern__mutex_lock(&p->lock);
  while (p->n_compiling) tern__cond_wait(&p->changed, &p->lock);
  result = device->vk.vkMergePipelineCaches(device->handle, p->cache, 1, &loaded);
  tern__mutex_unlock(&p->lock);
  TERN_VK_TRY(result, "vkMergePipelineCaches");
cleanup:
  if (loaded) device->vk.vkDestroyPipelineCache(device->handle, loaded, NULL);
  return status;
}
