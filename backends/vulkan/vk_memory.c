/* Blocks of device memory and their division. A block is a list of slices by offset, used and free;
 * neighbours that are free are one. Blocks grow from 4 to 64 MiB; what is larger than half of that gets
 * memory of its own. */
#include "vulkan/vk_device.h"

#include <string.h>

#define FIRST_BLOCK ((uint64_t)4 << 20)
#define LARGEST_BLOCK ((uint64_t)64 << 20)

void tern__vk_memory_init(tern__gpu_device *device) { tern__mutex_init(&device->memory.lock); }

static void free_block(tern__gpu_device *device, tern__vk_block *block) {
  if (block->memory) {
    device->vk.vkFreeMemory(device->handle, block->memory, NULL); /* unmaps it, too */
    device->memory.n_allocations--;
    device->memory.held_bytes[device->features.memory.memoryTypes[block->type].heapIndex] -= block->size;
  }
  tern__free(device->alloc, block->slices);
  tern__free(device->alloc, block);
}

void tern__vk_memory_deinit(tern__gpu_device *device) { tern__mutex_deinit(&device->memory.lock); }

/* A failure's VkResult in *result tells apart what another size or type may cure. */
static tern_status new_block(tern__gpu_device *device, uint32_t type, uint64_t size, tern__vk_block **out,
                             VkResult *result) {
  tern_status status = TERN_OK;
  tern__vk_memory *m = &device->memory;
  const VkMemoryType *t = &device->features.memory.memoryTypes[type];
  *result = VK_SUCCESS;
  *out = NULL;
  tern__vk_block *block = tern__calloc(device->alloc, 1, sizeof *block);
  TERN_CHECK_ALLOC(block);
  block->size = size, block->type = type;
  block->coherent = t->propertyFlags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  block->slices = tern__calloc(device->alloc, 1, sizeof *block->slices);
  TERN_CHECK_ALLOC(block->slices);
  *block->slices = (tern__vk_slice){block, 0, size, true, NULL, NULL};
  VkMemoryAllocateInfo info = {VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, NULL, size, type};
  *result = device->vk.vkAllocateMemory(device->handle, &info, NULL, &block->memory);
  if (*result < 0) block->memory = VK_NULL_HANDLE;
  TERN_VK_TRY(*result, "vkAllocateMemory of %llu bytes (memory type %u)", (unsigned long long)size,
              (unsigned)type);
  m->n_allocations++;
  m->held_bytes[t->heapIndex] += size;
  if (t->propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) {
    void *host = NULL;
    *result = device->vk.vkMapMemory(device->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &host);
    TERN_VK_TRY(*result, "vkMapMemory of %llu bytes", (unsigned long long)size);
    block->host = host;
  }
  block->next = m->blocks, m->blocks = block;
  *out = block, block = NULL;
cleanup:
  if (block) free_block(device, block);
  return status;
}

static uint64_t padding(const tern__vk_slice *slice, uint64_t alignment) {
  return (alignment - slice->offset % alignment) % alignment;
}

/* Turns the free `slice` into used and free ones; NULL = no memory for that. Both new slices are made first,
 * so that nothing is to be undone. */
static tern__vk_slice *carve(tern__gpu_device *device, tern__vk_slice *slice, uint64_t size,
                             uint64_t alignment) {
  uint64_t before = padding(slice, alignment);
  tern__vk_slice *head = NULL, *tail = NULL;
  if (before && !(head = tern__calloc(device->alloc, 1, sizeof *head))) return NULL;
  if (slice->size - before > size && !(tail = tern__calloc(device->alloc, 1, sizeof *tail))) {
    tern__free(device->alloc, head);
    return NULL;
  }
  if (head) {
    *head = (tern__vk_slice){slice->block, slice->offset, before, true, slice->prev, slice};
    if (slice->prev)
      slice->prev->next = head;
    else
      slice->block->slices = head;
    slice->prev = head;
    slice->offset += before, slice->size -= before;
  }
  if (tail) {
    *tail =
        (tern__vk_slice){slice->block, slice->offset + size, slice->size - size, true, slice, slice->next};
    if (slice->next) slice->next->prev = tail;
    slice->next = tail;
    slice->size = size;
  }
  slice->free = false;
  return slice;
}

/* The smallest free slice of a type in which `size` fits. */
static tern__vk_slice *find_slice(tern__vk_memory *m, uint32_t type, uint64_t size, uint64_t alignment) {
  tern__vk_slice *best = NULL;
  for (tern__vk_block *b = m->blocks; b; b = b->next) {
    if (b->type != type || b->dedicated) continue;
    for (tern__vk_slice *s = b->slices; s; s = s->next)
      if (s->free && s->size >= size + padding(s, alignment) && (!best || s->size < best->size)) best = s;
  }
  return best;
}

/* A block in which `size` fits: of the usual size, or, where there is no memory for that, of just this size.
 */
static tern_status add_block(tern__gpu_device *device, uint32_t type, uint64_t size, tern__vk_block **out,
                             VkResult *result) {
  tern__vk_memory *m = &device->memory;
  uint64_t usual = m->next_block[type] ? m->next_block[type] : FIRST_BLOCK;
  const VkMemoryHeap *heap =
      &device->features.memory.memoryHeaps[device->features.memory.memoryTypes[type].heapIndex];
  while (usual > heap->size / 16 && usual > size) usual /= 2;
  bool dedicated = size > LARGEST_BLOCK / 2;
  tern_status status;
  if (!dedicated && usual > size) {
    status = new_block(device, type, usual, out, result);
    if (status == TERN_OK && usual < LARGEST_BLOCK) m->next_block[type] = usual * 2;
    if (*result != VK_ERROR_OUT_OF_DEVICE_MEMORY) return status;
  }
  status = new_block(device, type, size, out, result);
  if (status == TERN_OK) (*out)->dedicated = dedicated;
  return status;
}

static tern_status explain(tern__gpu_device *device, tern_status status, uint32_t type, uint64_t size) {
  if (status != TERN_STATUS_OUT_OF_MEMORY) return status;
  uint32_t heap = device->features.memory.memoryTypes[type].heapIndex;
  return tern__fail_context(status,
                            "%llu MiB wanted, %llu of %llu MiB left, %llu MiB held by this session's device",
                            (unsigned long long)((size + 0xfffff) >> 20),
                            (unsigned long long)(tern__vk_memory_left(device, heap) >> 20),
                            (unsigned long long)(device->features.memory.memoryHeaps[heap].size >> 20),
                            (unsigned long long)(device->memory.held_bytes[heap] >> 20));
}

static tern_status take(tern__gpu_device *device, uint32_t type, uint64_t size, uint64_t alignment,
                        tern__vk_slice **out, VkResult *result) {
  tern_status status = TERN_OK;
  tern__vk_memory *m = &device->memory;
  tern__vk_block *block = NULL;
  *result = VK_SUCCESS;
  tern__vk_slice *slice = size > LARGEST_BLOCK / 2 ? NULL : find_slice(m, type, size, alignment);
  if (!slice) {
    if (m->n_allocations >= device->features.limits.maxMemoryAllocationCount)
      TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY,
                "%s: it allows %u allocations of memory and all are in use; close sessions", device->name,
                (unsigned)device->features.limits.maxMemoryAllocationCount);
    TERN_TRY(add_block(device, type, size, &block, result));
    slice = block->slices;
  }
  slice = carve(device, slice, size, alignment);
  if (!slice && block) m->blocks = block->next, free_block(device, block);
  TERN_CHECK_ALLOC(slice);
  *out = slice;
cleanup:
  return status;
}

tern_status tern__vk_memory_take(tern__gpu_device *device, tern__gpu_memory use,
                                 const VkMemoryRequirements *needs, tern__vk_slice **out) {
  tern_status status = TERN_OK;
  uint32_t types[VK_MAX_MEMORY_TYPES];
  uint32_t n = tern__vk_memory_types(device, use, needs->memoryTypeBits, types);
  VkResult result = VK_SUCCESS;
  *out = NULL;
  if (!n)
    return tern__fail(TERN_STATUS_UNSUPPORTED, "%s: it has no memory for this kind of buffer", device->name);
  uint64_t alignment = needs->alignment, size = needs->size;
  if (use != TERN__GPU_DEVICE && alignment < device->features.limits.nonCoherentAtomSize)
    alignment = device->features.limits.nonCoherentAtomSize;
  if (alignment < 256) alignment = 256;
  if (size > UINT64_MAX - alignment)
    return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "%s: a buffer too large", device->name);
  size = (size + alignment - 1) / alignment * alignment;
  tern__mutex_lock(&device->memory.lock);
  for (uint32_t i = 0; i < n; i++) {
    status = take(device, types[i], size, alignment, out, &result);
    if (status == TERN_OK || result != VK_ERROR_OUT_OF_DEVICE_MEMORY) break;
  }
  if (status != TERN_OK) status = explain(device, status, types[0], needs->size);
  tern__mutex_unlock(&device->memory.lock);
  return status;
}

/* Joins `slice` with its right neighbour. */
static void merge_right(tern__gpu_device *device, tern__vk_slice *slice) {
  tern__vk_slice *right = slice->next;
  slice->size += right->size;
  slice->next = right->next;
  if (right->next) right->next->prev = slice;
  tern__free(device->alloc, right);
}

void tern__vk_memory_give(tern__gpu_device *device, tern__vk_slice *slice) {
  if (!slice) return;
  tern__vk_memory *m = &device->memory;
  tern__mutex_lock(&m->lock);
  tern__vk_block *block = slice->block;
  slice->free = true;
  if (slice->next && slice->next->free) merge_right(device, slice);
  if (slice->prev && slice->prev->free) slice = slice->prev, merge_right(device, slice);
  if (!slice->prev && !slice->next) { /* nobody is left in the block */
    tern__vk_block **at = &m->blocks;
    while (*at != block) at = &(*at)->next;
    *at = block->next;
    free_block(device, block);
  }
  tern__mutex_unlock(&m->lock);
}
