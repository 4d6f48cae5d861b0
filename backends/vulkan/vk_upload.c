/* `write`. Where the host sees the buffer's memory and nothing runs, it is a memcpy. Else data goes through a
 * ring of two staging buffers: while the device copies out of one, the host fills the other, with all threads that
 * write: one alone copies no faster than the bus takes. Small writes are gathered: they are submitted when a half is
 * full or right before other work, on the same queue.
 *
 * Letting the device read the caller's pages instead (VK_EXT_external_memory_host) was tried on an H100: 8.1
 * GB/s against 10.3 straight and 9.2 staged, and pages of a file mapped for reading cannot be had that way at
 * all. */
#include "vulkan/vk_device.h"

#include <string.h>

/* More than this is not held back until other work comes. */
#define SUBMIT_AT ((uint64_t)1 << 20)
/* What a thread takes of a half at a time, so that others find room beside it. */
#define PIECE_BYTES ((uint64_t)512 << 10)

tern_status tern__vk_upload_init(tern__gpu_device *device) {
  tern_status status = TERN_OK;
  tern__vk_upload *u = &device->upload;
  VkCommandBuffer commands[2];
  VkCommandPoolCreateInfo pool = {VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, NULL,
                                  VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT, device->features.family};
  VkResult result = device->vk.vkCreateCommandPool(device->handle, &pool, NULL, &u->pool);
  if (result < 0) u->pool = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateCommandPool");
  VkCommandBufferAllocateInfo info = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, NULL, u->pool,
                                      VK_COMMAND_BUFFER_LEVEL_PRIMARY, 2};
  TERN_VK_TRY(device->vk.vkAllocateCommandBuffers(device->handle, &info, commands),
              "vkAllocateCommandBuffers");
  for (int i = 0; i < 2; i++) u->half[i].commands = commands[i];
cleanup:
  return status;
}

void tern__vk_upload_deinit(tern__gpu_device *device) {
  tern__vk_upload *u = &device->upload;
  for (int i = 0; i < 2; i++) {
    tern__gpu_buffer *buffer = u->half[i].buffer;
    u->half[i].buffer = NULL, u->half[i].n_staged = 0;
    tern__vk_buffer_destroy(device, buffer);
  }
  if (u->pool) device->vk.vkDestroyCommandPool(device->handle, u->pool, NULL);
}

/* The lock is held by all below, but for tern__vk_*. */

static tern_status submit_half(tern__gpu_device *device, tern__vk_staging *half) {
  tern_status status = TERN_OK;
  while (half->writers) tern__cond_wait(&device->upload.written, &device->upload.lock);
  if (!half->n_staged) return TERN_OK; /* or another thread has, meanwhile */
  tern__gpu_range range = {half->buffer, 0, half->used};
  TERN_TRY(tern__vk_buffer_flush(device, &range));
  VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                    .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  TERN_VK_TRY(device->vk.vkBeginCommandBuffer(half->commands, &begin), "vkBeginCommandBuffer");
  tern__vk_record_barrier(device, half->commands); /* after whatever still uses the buffers */
  for (uint32_t i = 0; i < half->n_staged; i++) {
    const tern__vk_staged *s = &half->staged[i];
    /* Two writes to one place happen in order. */
    for (uint32_t j = 0; j < i; j++) {
      const tern__vk_staged *t = &half->staged[j];
      if (t->to != s->to || t->copy.dstOffset >= s->copy.dstOffset + s->copy.size ||
          s->copy.dstOffset >= t->copy.dstOffset + t->copy.size)
        continue;
      tern__vk_record_barrier(device, half->commands);
      break;
    }
    device->vk.vkCmdCopyBuffer(half->commands, half->buffer->handle, s->to->handle, 1, &s->copy);
  }
  TERN_VK_TRY(device->vk.vkEndCommandBuffer(half->commands), "vkEndCommandBuffer");
  TERN_TRY(tern__vk_queue_submit(device, half->commands, &half->ticket));
  for (uint32_t i = 0; i < half->n_staged; i++) half->staged[i].to->staged = false;
  half->n_staged = 0;
cleanup:
  return status;
}

/* A half with room for at least one byte more. */
static tern_status half_with_room(tern__gpu_device *device, tern__vk_staging **out) {
  tern_status status = TERN_OK;
  tern__vk_upload *u = &device->upload;
  tern__vk_staging *half = &u->half[u->current];
  /* A submit may wait, and others go on: what is current then is looked up again. */
  while (half->n_staged && (half->used == TERN__VK_STAGING_BYTES || half->n_staged == TERN__VK_STAGED_COPIES)) {
    TERN_TRY(submit_half(device, half));
    half = &u->half[u->current];
  }
  if (!half->n_staged && half->used) { /* it was submitted: the other one's turn */
    u->current ^= 1, half = &u->half[u->current];
    if (half->ticket) TERN_TRY(tern__vk_wait(device, half->ticket, UINT64_MAX));
    half->used = 0;
  }
  if (!half->buffer)
    TERN_TRY(tern__vk_buffer_create(device, TERN__GPU_UPLOAD, TERN__VK_STAGING_BYTES, &half->buffer));
  *out = half;
cleanup:
  return status;
}

static tern_status stage(tern__gpu_device *device, tern__gpu_buffer *buffer, uint64_t offset,
                         const uint8_t *data, size_t size) {
  tern_status status = TERN_OK;
  tern__vk_upload *u = &device->upload;
  tern__vk_staging *half = NULL;
  while (size) {
    TERN_TRY(half_with_room(device, &half));
    uint64_t at = half->used, n = TERN__VK_STAGING_BYTES - at;
    if (n > size) n = size;
    if (n > PIECE_BYTES) n = PIECE_BYTES;
    half->staged[half->n_staged++] = (tern__vk_staged){buffer, {at, offset, n}};
    buffer->staged = true;
    half->used = (at + n + 15) & ~(uint64_t)15; /* the half's size is a multiple of 16 */
    half->writers++;
    tern__mutex_unlock(&u->lock);
    memcpy(half->buffer->host + at, data, n);
    tern__mutex_lock(&u->lock);
    if (!--half->writers) tern__cond_broadcast(&u->written);
    offset += n, data += n, size -= n;
    if (half->n_staged && half->used >= SUBMIT_AT) TERN_TRY(submit_half(device, half));
  }
cleanup:
  return status;
}

tern_status tern__vk_write(tern__gpu_device *device, tern__gpu_buffer *buffer, uint64_t offset,
                           const void *data, size_t size) {
  tern_status status = TERN_OK;
  TERN_TRY(tern__vk_alive(device));
  if (offset > buffer->size || size > buffer->size - offset)
    return tern__fail(TERN_STATUS_INTERNAL, "a write of %zu bytes at %llu into a buffer of %llu", size,
                      (unsigned long long)offset, (unsigned long long)buffer->size);
  tern__mutex_lock(&device->upload.lock);
  bool straight = buffer->host && !buffer->staged && tern__vk_idle(device);
  if (!straight) status = stage(device, buffer, offset, data, size);
  tern__mutex_unlock(&device->upload.lock);
  if (!straight) return status;
  memcpy(buffer->host + offset, data, size);
  tern__gpu_range range = {buffer, offset, size};
  TERN_TRY(tern__vk_buffer_flush(device, &range));
cleanup:
  return status;
}

tern_status tern__vk_upload_flush(tern__gpu_device *device) {
  tern_status status = TERN_OK;
  tern__vk_upload *u = &device->upload;
  tern__mutex_lock(&u->lock);
  /* The half that was filled first goes first: it has copies left only if its submit failed. */
  TERN_TRY(submit_half(device, &u->half[u->current ^ 1]));
  TERN_TRY(submit_half(device, &u->half[u->current]));
cleanup:
  tern__mutex_unlock(&u->lock);
  return status;
}

void tern__vk_upload_forget(tern__gpu_device *device, tern__gpu_buffer *buffer) {
  tern__vk_upload *u = &device->upload;
  uint64_t ticket = 0;
  if (buffer->memory != TERN__GPU_DEVICE) return;
  tern__mutex_lock(&u->lock);
  for (int h = 0; h < 2; h++) {
    tern__vk_staging *half = &u->half[h];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < half->n_staged; i++)
      if (half->staged[i].to != buffer) half->staged[kept++] = half->staged[i];
    half->n_staged = kept;
    if (half->ticket > ticket) ticket = half->ticket;
  }
  tern__mutex_unlock(&u->lock);
  /* Whether this buffer was among the last uploads is not remembered: they take no longer than 16 MiB's copy.
   */
  tern__vk_settle(device, ticket);
}
