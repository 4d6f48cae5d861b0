/* Which of a device's memory types serves which use. */
#include "vulkan/vk_device.h"

enum {
  LOCAL = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
  VISIBLE = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
  COHERENT = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
  CACHED = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
  NEVER = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |
      VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD
};

/* How well a type serves; 0 = not at all. */
static int32_t score(const tern__gpu_device *device, tern__gpu_memory use, const VkMemoryType *type) {
  VkMemoryPropertyFlags p = type->propertyFlags;
  const VkMemoryHeap *heap = &device->features.memory.memoryHeaps[type->heapIndex];
  int32_t points = 1;
  if (p & NEVER) return 0;
  switch (use) {
    case TERN__GPU_DEVICE:
      if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) return 0;
      if (p & LOCAL) points += 8;
      /* On a card only the first 256 MiB may be visible: those are for uploads. Where all of it is, or memory
       * is the host's anyway, `write` needs no staging. */
      if (p & VISIBLE) points += device->info.unified || heap->size >= device->info.memory_bytes ? 4 : -4;
      if ((p & VISIBLE) && (p & COHERENT)) points += 2;
      return points;
    case TERN__GPU_UPLOAD:
      if (!(p & VISIBLE)) return 0;
      if (p & LOCAL) points += 4; /* kernels read it without crossing the bus */
      if (p & COHERENT) points += 2;
      return points;
    case TERN__GPU_READBACK:
      if (!(p & VISIBLE)) return 0;
      if (p & CACHED) points += 8; /* the host reads uncached memory a hundred times slower */
      if (p & COHERENT) points += 2;
      if (!(p & LOCAL)) points += 1;
      return points;
  }
  return 0;
}

uint32_t tern__vk_memory_types(const tern__gpu_device *device, tern__gpu_memory use, uint32_t allowed,
                               uint32_t types[VK_MAX_MEMORY_TYPES]) {
  const VkPhysicalDeviceMemoryProperties *memory = &device->features.memory;
  int32_t scores[VK_MAX_MEMORY_TYPES];
  uint32_t n = 0;
  for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
    int32_t points = allowed >> i & 1 ? score(device, use, &memory->memoryTypes[i]) : 0;
    if (points <= 0) continue;
    uint32_t at = n++;
    for (; at > 0 && scores[at - 1] < points; at--) scores[at] = scores[at - 1], types[at] = types[at - 1];
    scores[at] = points, types[at] = i;
  }
  return n;
}

uint64_t tern__vk_memory_left(tern__gpu_device *device, uint32_t heap) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 m = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  uint64_t size = device->features.memory.memoryHeaps[heap].size, used = device->memory.held_bytes[heap];
  if (device->features.memory_budget) {
    m.pNext = &budget;
    device->instance.GetPhysicalDeviceMemoryProperties2(device->physical, &m);
    size = budget.heapBudget[heap], used = budget.heapUsage[heap];
  }
  return size > used ? size - used : 0;
}
