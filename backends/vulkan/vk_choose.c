/* Which of the machine's Vulkan devices: by name, by UUID, or the best one. */
#include "vulkan/vk_features.h"
#include "vulkan/vk_result.h"

#include <stdio.h>
#include <string.h>

typedef struct candidate {
  VkPhysicalDevice handle;
  char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
  char uuid[2 * VK_UUID_SIZE + 1];
  bool usable;
  int32_t rank;
  uint64_t memory;
} candidate;

static int32_t rank_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 4;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 3;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 0;
    default: return 1;
  }
}

/* UUIDs are given with or without dashes. */
static bool is_uuid(const char *uuid, const char *given) {
  for (; *given; given++) {
    if (*given == '-') continue;
    if (tern__lower(*given) != *uuid) return false;
    uuid++;
  }
  return !*uuid;
}

static bool computes(const tern__vk_instance *instance, VkPhysicalDevice device) {
  VkQueueFamilyProperties families[16];
  uint32_t count = sizeof families / sizeof *families;
  instance->GetPhysicalDeviceQueueFamilyProperties(device, &count, families);
  for (uint32_t i = 0; i < count; i++)
    if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) return true;
  return false;
}

static void look_at(const tern__vk_instance *instance, candidate *c) {
  VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES};
  VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &id};
  instance->GetPhysicalDeviceProperties2(c->handle, &p);
  snprintf(c->name, sizeof c->name, "%s", p.properties.deviceName);
  for (size_t i = 0; i < VK_UUID_SIZE; i++) snprintf(c->uuid + 2 * i, 3, "%02x", id.deviceUUID[i]);
  c->usable = p.properties.apiVersion >= VK_API_VERSION_1_1 && computes(instance, c->handle);
  c->rank = rank_of(p.properties.deviceType);
  VkPhysicalDeviceMemoryProperties2 m = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  instance->GetPhysicalDeviceMemoryProperties2(c->handle, &m);
  for (uint32_t i = 0; i < m.memoryProperties.memoryHeapCount; i++) {
    const VkMemoryHeap *heap = &m.memoryProperties.memoryHeaps[i];
    if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap->size > c->memory) c->memory = heap->size;
  }
}

static bool better(const candidate *a, const candidate *b) {
  if (!b) return true;
  return a->rank != b->rank ? a->rank > b->rank : a->memory > b->memory;
}

static tern_status none_found(const candidate *list, uint32_t count, const char *which) {
  char names[400] = "";
  for (uint32_t i = 0; i < count; i++) {
    size_t used = strlen(names);
    snprintf(names + used, sizeof names - used, "%s\"%s\" (%s%s)", used ? ", " : "", list[i].name,
             list[i].uuid,
             list[i].usable ? "" : ", not usable: older than Vulkan 1.1 or without a compute queue");
  }
  if (which)
    return tern__fail(TERN_STATUS_NO_DEVICE, "no Vulkan device is called \"%s\"; there are: %s", which,
                      count ? names : "none");
  return tern__fail(TERN_STATUS_NO_DEVICE, "no Vulkan device that computes; there are: %s",
                    count ? names : "none");
}

tern_status tern__vk_choose(tern__alloc *alloc, const tern__vk_instance *instance, const char *which,
                            VkPhysicalDevice *out) {
  tern_status status = TERN_OK;
  candidate *list = NULL;
  const candidate *best = NULL;
  VkPhysicalDevice handles[32];
  uint32_t count = sizeof handles / sizeof *handles;
  *out = NULL;
  VkResult result = instance->EnumeratePhysicalDevices(instance->handle, &count, handles);
  if (result < 0) {
    status = tern__vk_status(result, "Vulkan", "vkEnumeratePhysicalDevices");
    goto cleanup;
  }
  list = tern__calloc(alloc, count ? count : 1, sizeof *list);
  TERN_CHECK_ALLOC(list);
  for (uint32_t i = 0; i < count; i++) {
    candidate *c = &list[i];
    c->handle = handles[i];
    look_at(instance, c);
    bool asked_for = !which || !*which || tern__is_part_of_name(which, c->name) || is_uuid(c->uuid, which);
    if (c->usable && asked_for && better(c, best)) best = c;
  }
  if (best)
    *out = best->handle;
  else
    status = none_found(list, count, which && *which ? which : NULL);
cleanup:
  tern__free(alloc, list);
  return status;
}
