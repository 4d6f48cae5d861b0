/* A large write without a copy on the host: the device reads the caller's pages (VK_EXT_external_memory_host). */
#include "vulkan/vk_device.h"

typedef struct import {
  VkBuffer buffer;
  VkDeviceMemory memory;
  VkCommandPool pool;
} import;

static tern_status import_pages(tern__gpu_device *device, const uint8_t *from, uint64_t size, import *out) {
  tern_status status = TERN_OK;
  const VkExternalMemoryHandleTypeFlagBits type = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
  void *host = (void *)(uintptr_t)from; /* it is only read */
  VkMemoryHostPointerPropertiesEXT pages = {.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
  TERN_VK_TRY(device->vk.vkGetMemoryHostPointerPropertiesEXT(device->handle, type, host, &pages),
              "vkGetMemoryHostPointerPropertiesEXT");
  VkExternalMemoryBufferCreateInfo external = {VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, NULL, type};
  VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                             .pNext = &external,
                             .size = size,
                             .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT};
  VkResult result = device->vk.vkCreateBuffer(device->handle, &info, NULL, &out->buffer);
  if (result < 0) out->buffer = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateBuffer of %llu bytes", (unsigned long long)size);
  VkMemoryRequirements needs;
  device->vk.vkGetBufferMemoryRequirements(device->handle, out->buffer, &needs);
  uint32_t types = needs.memoryTypeBits & pages.memoryTypeBits, index = 0;
  if (!types || needs.size > size) return tern__fail(TERN_STATUS_UNSUPPORTED, "these pages cannot be imported");
  while (!(types >> index & 1)) index++;
  VkImportMemoryHostPointerInfoEXT pointer = {VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT, NULL, type,
                                              host};
  VkMemoryAllocateInfo memory = {VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &pointer, size, index};
  result = device->vk.vkAllocateMemory(device->handle, &memory, NULL, &out->memory);
  if (result < 0) out->memory = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkAllocateMemory of %llu imported bytes", (unsigned long long)size);
  TERN_VK_TRY(device->vk.vkBindBufferMemory(device->handle, out->buffer, out->memory, 0), "vkBindBufferMemory");
cleanup:
  return status;
}

static tern_status copy_and_wait(tern__gpu_device *device, import *from, const tern__gpu_range *to,
                                 const VkBufferCopy *copy) {
  tern_status status = TERN_OK;
  VkCommandBuffer commands;
  uint64_t ticket;
  VkCommandPoolCreateInfo pool = {VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, NULL, 0, device->features.family};
  VkResult result = device->vk.vkCreateCommandPool(device->handle, &pool, NULL, &from->pool);
  if (result < 0) from->pool = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateCommandPool");
  VkCommandBufferAllocateInfo info = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, NULL, from->pool,
                                      VK_COMMAND_BUFFER_LEVEL_PRIMARY, 1};
  TERN_VK_TRY(device->vk.vkAllocateCommandBuffers(device->handle, &info, &commands), "vkAllocateCommandBuffers");
  VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                    .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  TERN_VK_TRY(device->vk.vkBeginCommandBuffer(commands, &begin), "vkBeginCommandBuffer");
  tern__vk_record_barrier(device, commands);
  device->vk.vkCmdCopyBuffer(commands, from->buffer, to->buffer->handle, 1, copy);
  TERN_VK_TRY(device->vk.vkEndCommandBuffer(commands), "vkEndCommandBuffer");
  TERN_TRY(tern__vk_upload_flush(device)); /* earlier writes come first */
  TERN_TRY(tern__vk_queue_submit(device, commands, &ticket));
  status = tern__vk_wait(device, ticket, UINT64_MAX);
  if (status != TERN_OK) tern__vk_settle(device, ticket);
cleanup:
  return status;
}

tern_status tern__vk_import_write(tern__gpu_device *device, const tern__gpu_range *to, const void *data) {
  import from = {0};
  uint64_t page = device->features.import_alignment;
  uint64_t before = (uintptr_t)data % page, size = (before + to->size + page - 1) / page * page;
  VkBufferCopy copy = {before, to->offset, to->size};
  tern_status status = import_pages(device, (const uint8_t *)data - before, size, &from);
  if (status == TERN_OK) status = copy_and_wait(device, &from, to, &copy);
  if (from.pool) device->vk.vkDestroyCommandPool(device->handle, from.pool, NULL);
  if (from.buffer) device->vk.vkDestroyBuffer(device->handle, from.buffer, NULL);
  if (from.memory) device->vk.vkFreeMemory(device->handle, from.memory, NULL);
  return status;
}
