/* Buffers. */
#include "vulkan/vk_device.h"

tern_status tern__vk_buffer_create(tern__gpu_device *device, tern__gpu_memory memory, uint64_t size,
                                   tern__gpu_buffer **out) {
  tern_status status = TERN_OK;
  tern__gpu_buffer *buffer = NULL;
  *out = NULL;
  TERN_TRY(tern__vk_alive(device));
  if (size > UINT64_MAX - 3 || ((size + 3) & ~(uint64_t)3) > device->info.max_buffer_bytes)
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY,
              "%s: a buffer of %llu bytes; one can have %llu: use a smaller model or context", device->name,
              (unsigned long long)size, (unsigned long long)device->info.max_buffer_bytes);
  buffer = tern__calloc(device->alloc, 1, sizeof *buffer);
  TERN_CHECK_ALLOC(buffer);
  buffer->size = size ? (size + 3) & ~(uint64_t)3 : 4;
  buffer->memory = memory;
  VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                             .size = buffer->size,
                             .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                      VK_BUFFER_USAGE_TRANSFER_DST_BIT};
  VkResult result = device->vk.vkCreateBuffer(device->handle, &info, NULL, &buffer->handle);
  if (result < 0) buffer->handle = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateBuffer of %llu bytes", (unsigned long long)size);
  VkMemoryRequirements needs;
  device->vk.vkGetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
  TERN_TRY(tern__vk_memory_take(device, memory, &needs, &buffer->slice));
  TERN_VK_TRY(device->vk.vkBindBufferMemory(device->handle, buffer->handle, buffer->slice->block->memory,
                                            buffer->slice->offset),
              "vkBindBufferMemory of %llu bytes", (unsigned long long)size);
  if (buffer->slice->block->host) buffer->host = buffer->slice->block->host + buffer->slice->offset;
  *out = buffer, buffer = NULL;
cleanup:
  tern__vk_buffer_destroy(device, buffer);
  return status;
}

void tern__vk_buffer_destroy(tern__gpu_device *device, tern__gpu_buffer *buffer) {
  if (!buffer) return;
  tern__vk_upload_forget(device, buffer);
  if (buffer->handle) device->vk.vkDestroyBuffer(device->handle, buffer->handle, NULL);
  tern__vk_memory_give(device, buffer->slice);
  tern__free(device->alloc, buffer);
}

void *tern__vk_buffer_host(tern__gpu_buffer *buffer) {
  return buffer->memory == TERN__GPU_DEVICE ? NULL : buffer->host;
}

/* The whole atoms around a range; the slice begins and ends at atoms. */
static VkMappedMemoryRange atoms(const tern__gpu_device *device, const tern__gpu_range *range) {
  const tern__vk_slice *slice = range->buffer->slice;
  uint64_t atom = device->features.limits.nonCoherentAtomSize;
  uint64_t from = (slice->offset + range->offset) / atom * atom;
  uint64_t to = (slice->offset + range->offset + range->size + atom - 1) / atom * atom;
  if (to > slice->block->size) to = slice->block->size;
  return (VkMappedMemoryRange){VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE, NULL, slice->block->memory, from,
                               to - from};
}

tern_status tern__vk_buffer_flush(tern__gpu_device *device, const tern__gpu_range *range) {
  tern_status status = TERN_OK;
  if (range->buffer->slice->block->coherent || !range->size) return TERN_OK;
  VkMappedMemoryRange r = atoms(device, range);
  TERN_VK_TRY(device->vk.vkFlushMappedMemoryRanges(device->handle, 1, &r),
              "vkFlushMappedMemoryRanges of %llu bytes", (unsigned long long)range->size);
cleanup:
  return status;
}

tern_status tern__vk_buffer_invalidate(tern__gpu_device *device, const tern__gpu_range *range) {
  tern_status status = TERN_OK;
  if (range->buffer->slice->block->coherent || !range->size) return TERN_OK;
  VkMappedMemoryRange r = atoms(device, range);
  TERN_VK_TRY(device->vk.vkInvalidateMappedMemoryRanges(device->handle, 1, &r),
              "vkInvalidateMappedMemoryRanges of %llu bytes", (unsigned long long)range->size);
cleanup:
  return status;
}
