/* Device memory: few large blocks, divided among buffers. */
#ifndef TERN_VK_MEMORY_H
#define TERN_VK_MEMORY_H

#include "base/thread.h"
#include "gpu/gpu_device.h"
#include "vulkan/vk_loader.h"

typedef struct tern__vk_block tern__vk_block;

/* A part of a block, in a list of all parts by offset. */
typedef struct tern__vk_slice {
  tern__vk_block *block;
  uint64_t offset, size;
  bool free;
  struct tern__vk_slice *prev, *next;
} tern__vk_slice;

struct tern__vk_block {
  VkDeviceMemory memory;
  uint64_t size;
  uint32_t type;
  bool coherent;
  bool dedicated;              /* made for one buffer */
  uint8_t *host;               /* where it is mapped; NULL = not visible to the host */
  tern__vk_slice *slices;
  tern__vk_block *next;
};

typedef struct tern__vk_memory {
  tern__mutex lock;
  tern__vk_block *blocks;
  uint32_t n_allocations;      /* of vkAllocateMemory, alive */
  uint64_t held_bytes[VK_MAX_MEMORY_HEAPS];
  uint64_t next_block[VK_MAX_MEMORY_TYPES]; /* size of the next block; 0 = the first one's */
} tern__vk_memory;

struct tern__gpu_buffer {
  VkBuffer handle;
  tern__vk_slice *slice;
  uint64_t size;
  tern__gpu_memory memory;
  uint8_t *host;               /* NULL = not mapped, or DEVICE memory on a device of its own */
  bool staged;                 /* a write waits in the upload ring; guarded by the ring's lock */
};

void tern__vk_memory_init(tern__gpu_device *device);
void tern__vk_memory_deinit(tern__gpu_device *device); /* everything in it was freed */

/* Memory for `needs`, of the best type for `use`. */
tern_status tern__vk_memory_take(tern__gpu_device *device, tern__gpu_memory use,
                                 const VkMemoryRequirements *needs, tern__vk_slice **out);
void tern__vk_memory_give(tern__gpu_device *device, tern__vk_slice *slice); /* NULL is fine */

/* vk_memory_types.c: which types serve `use`, best first; the number of them. */
uint32_t tern__vk_memory_types(const tern__gpu_device *device, tern__gpu_memory use, uint32_t allowed,
                               uint32_t types[VK_MAX_MEMORY_TYPES]);
/* Bytes that the driver still grants of a heap, or its whole size less what we hold where the driver does not
 * say. */
uint64_t tern__vk_memory_left(tern__gpu_device *device, uint32_t heap);

/* vk_buffer.c */
tern_status tern__vk_buffer_create(tern__gpu_device *device, tern__gpu_memory memory, uint64_t size,
                                   tern__gpu_buffer **out);
void tern__vk_buffer_destroy(tern__gpu_device *device, tern__gpu_buffer *buffer);
void *tern__vk_buffer_host(tern__gpu_buffer *buffer);
tern_status tern__vk_buffer_flush(tern__gpu_device *device, const tern__gpu_range *range);
tern_status tern__vk_buffer_invalidate(tern__gpu_device *device, const tern__gpu_range *range);

#endif
