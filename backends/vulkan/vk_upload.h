/* Host memory into DEVICE buffers: a ring of two staging buffers, or straight where the host sees the memory.
 */
#ifndef TERN_VK_UPLOAD_H
#define TERN_VK_UPLOAD_H

#include "base/thread.h"
#include "gpu/gpu_device.h"
#include "vulkan/vk_loader.h"

enum { TERN__VK_STAGING_BYTES = 8 << 20, TERN__VK_STAGED_COPIES = 256 };

typedef struct tern__vk_staged {
  tern__gpu_buffer *to;
  VkBufferCopy copy;
} tern__vk_staged;

/* Half of the ring. Its copies are recorded when they are submitted: a failing submit loses nothing. */
typedef struct tern__vk_staging {
  tern__gpu_buffer *buffer; /* UPLOAD; made by the first write that needs it */
  VkCommandBuffer commands;
  uint64_t used;
  uint64_t ticket; /* of its last submit */
  tern__vk_staged staged[TERN__VK_STAGED_COPIES];
  uint32_t n_staged;
  uint32_t writers; /* threads that still copy into it, outside the lock: it waits for them to be submitted */
} tern__vk_staging;

typedef struct tern__vk_upload {
  tern__mutex lock; /* taken before the queue's */
  tern__cond written; /* a half has no writers any more */
  VkCommandPool pool;
  tern__vk_staging half[2];
  uint32_t current; /* the half that takes copies */
} tern__vk_upload;

tern_status tern__vk_upload_init(tern__gpu_device *device);
void tern__vk_upload_deinit(tern__gpu_device *device);

/* As tern__gpu_api.write. */
tern_status tern__vk_write(tern__gpu_device *device, tern__gpu_buffer *buffer, uint64_t offset,
                           const void *data, size_t size);
/* Submits what was staged. */
tern_status tern__vk_upload_flush(tern__gpu_device *device);
/* Before a buffer goes: drops copies not submitted, waits for those that were. */
void tern__vk_upload_forget(tern__gpu_device *device, tern__gpu_buffer *buffer);

#endif
