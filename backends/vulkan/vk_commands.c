/* Recording: each object has a command pool and descriptor pools of its own, so that threads record without
 * locks. */
#include "vulkan/vk_device.h"

#include "base/array.h"

enum { FIRST_SETS = 32, MOST_SETS = 1024 };

void tern__vk_record_barrier(tern__gpu_device *device, VkCommandBuffer commands) {
  const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  VkMemoryBarrier barrier = {VK_STRUCTURE_TYPE_MEMORY_BARRIER, NULL,
                             VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                             VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                                 VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
  device->vk.vkCmdPipelineBarrier(commands, stages, stages, 0, 1, &barrier, 0, NULL, 0, NULL);
}

/* The host reads results after it waited. */
static void record_host_barrier(tern__gpu_device *device, VkCommandBuffer commands) {
  VkMemoryBarrier barrier = {VK_STRUCTURE_TYPE_MEMORY_BARRIER, NULL,
                             VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                             VK_ACCESS_HOST_READ_BIT};
  device->vk.vkCmdPipelineBarrier(commands,
                                  VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                                  VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
}

tern_status tern__vk_commands_create(tern__gpu_device *device, tern__gpu_commands **out) {
  tern_status status = TERN_OK;
  tern__gpu_commands *c = NULL;
  *out = NULL;
  TERN_TRY(tern__vk_alive(device));
  c = tern__calloc(device->alloc, 1, sizeof *c);
  TERN_CHECK_ALLOC(c);
  c->device = device;
  VkCommandPoolCreateInfo pool = {VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, NULL, 0,
                                  device->features.family};
  VkResult result = device->vk.vkCreateCommandPool(device->handle, &pool, NULL, &c->pool);
  if (result < 0) c->pool = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateCommandPool");
  VkCommandBufferAllocateInfo info = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, NULL, c->pool,
                                      VK_COMMAND_BUFFER_LEVEL_PRIMARY, 1};
  TERN_VK_TRY(device->vk.vkAllocateCommandBuffers(device->handle, &info, &c->handle),
              "vkAllocateCommandBuffers");
  VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  TERN_VK_TRY(device->vk.vkBeginCommandBuffer(c->handle, &begin), "vkBeginCommandBuffer");
  tern__vk_record_barrier(device, c->handle); /* what earlier submits wrote is seen */
  *out = c, c = NULL;
cleanup:
  tern__vk_commands_destroy(c);
  return status;
}

void tern__vk_commands_destroy(tern__gpu_commands *c) {
  if (!c) return;
  tern__gpu_device *device = c->device;
  tern__vk_settle(device, c->ticket);
  tern__vk_timers_deinit(c);
  for (size_t i = 0; i < tern__array_count(c->set_pools); i++)
    device->vk.vkDestroyDescriptorPool(device->handle, c->set_pools[i], NULL);
  TERN_ARRAY_FREE(device->alloc, c->set_pools);
  if (c->pool) device->vk.vkDestroyCommandPool(device->handle, c->pool, NULL);
  tern__free(device->alloc, c);
}

static tern_status recording(const tern__gpu_commands *c) {
  if (c->state == TERN__VK_RECORDING) return TERN_OK;
  return tern__fail(TERN_STATUS_INVALID_STATE, "%s: commands %s", c->device->name,
                    c->state == TERN__VK_FINISHED ? "that are finished cannot be added to"
                                                  : "whose recording failed");
}

static tern_status add_set_pool(tern__gpu_commands *c) {
  tern_status status = TERN_OK;
  tern__gpu_device *device = c->device;
  TERN_ARRAY_RESERVE(device->alloc, c->set_pools, 1);
  size_t n = tern__array_count(c->set_pools);
  uint32_t sets = n > 5 ? MOST_SETS : FIRST_SETS << n;
  VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, sets * TERN__GPU_MAX_BINDINGS};
  VkDescriptorPoolCreateInfo info = {VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, NULL, 0, sets, 1, &size};
  VkDescriptorPool pool;
  TERN_VK_TRY(device->vk.vkCreateDescriptorPool(device->handle, &info, NULL, &pool),
              "vkCreateDescriptorPool of %u sets", (unsigned)sets);
  TERN_ARRAY_PUT(c->set_pools, pool);
  c->sets_left = sets;
cleanup:
  return status;
}

static tern_status allocate_set(tern__gpu_commands *c, uint32_t n_bindings, VkDescriptorSet *out) {
  tern_status status = TERN_OK;
  tern__gpu_device *device = c->device;
  if (!c->sets_left) TERN_TRY(add_set_pool(c));
  VkDescriptorSetAllocateInfo info = {VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO, NULL,
                                      c->set_pools[tern__array_count(c->set_pools) - 1], 1,
                                      &device->pipelines.set_layouts[n_bindings]};
  TERN_VK_TRY(device->vk.vkAllocateDescriptorSets(device->handle, &info, out), "vkAllocateDescriptorSets");
  c->sets_left--;
cleanup:
  return status;
}

/* The kernel's bindings: in the commands themselves where that can be, as a GPU has those at hand when a dispatch
 * begins, while sets lie in memory. */
static tern_status bind_ranges(tern__gpu_commands *c, const tern__gpu_dispatch *d, VkPipelineLayout layout) {
  tern_status status = TERN_OK;
  tern__gpu_device *device = c->device;
  uint32_t n = d->pipeline->kernel->n_bindings;
  bool push = device->features.push_descriptors;
  VkDescriptorSet set = VK_NULL_HANDLE;
  VkDescriptorBufferInfo buffers[TERN__GPU_MAX_BINDINGS];
  VkWriteDescriptorSet writes[TERN__GPU_MAX_BINDINGS];
  if (!n) return TERN_OK;
  if (!push) TERN_TRY(allocate_set(c, n, &set));
  for (uint32_t i = 0; i < n; i++) {
    buffers[i] =
        (VkDescriptorBufferInfo){d->ranges[i].buffer->handle, d->ranges[i].offset, d->ranges[i].size};
    writes[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                       .dstSet = set,
                                       .dstBinding = i,
                                       .descriptorCount = 1,
                                       .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                       .pBufferInfo = &buffers[i]};
  }
  if (push) {
    device->vk.vkCmdPushDescriptorSetKHR(c->handle, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, n, writes);
  } else {
    device->vk.vkUpdateDescriptorSets(device->handle, n, writes, 0, NULL);
    device->vk.vkCmdBindDescriptorSets(c->handle, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &set, 0, NULL);
  }
cleanup:
  return status;
}

static uint64_t size_of(const tern__gpu_buffer *buffer) { return buffer->size; }

static bool inside(const tern__gpu_range *r) { return tern__gpu_inside(r, r->buffer ? r->buffer->size : 0); }

tern_status tern__vk_dispatch(tern__gpu_commands *c, const tern__gpu_dispatch *d) {
  tern_status status = TERN_OK;
  tern__gpu_device *device = c->device;
  const tern__gpu_kernel *k = d->pipeline->kernel;
  TERN_TRY(recording(c));
  TERN_TRY(tern__gpu_check_dispatch(&device->info, size_of, d->pipeline->kernel, d));
  VkPipelineLayout layout = device->pipelines.layouts[k->n_bindings];
  TERN_TRY(bind_ranges(c, d, layout));
  TERN_TRY(tern__vk_timer_start(c));
  if (c->bound != d->pipeline->handle)
    device->vk.vkCmdBindPipeline(c->handle, VK_PIPELINE_BIND_POINT_COMPUTE, d->pipeline->handle);
  c->bound = d->pipeline->handle;
  if (k->immediate_bytes)
    device->vk.vkCmdPushConstants(c->handle, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                  (k->immediate_bytes + 3u) & ~3u, d->immediates);
  device->vk.vkCmdDispatch(c->handle, d->groups[0], d->groups[1], d->groups[2]);
  tern__vk_timer_stop(c);
cleanup:
  if (status != TERN_OK && c->state == TERN__VK_RECORDING) c->state = TERN__VK_BROKEN;
  return status;
}

tern_status tern__vk_copy(tern__gpu_commands *c, const tern__gpu_range *from, const tern__gpu_range *to) {
  tern__gpu_device *device = c->device;
  tern_status status = recording(c);
  if (status != TERN_OK) return status;
  if (!inside(from) || !inside(to) || from->size != to->size || (from->offset | to->offset) % 4) {
    c->state = TERN__VK_BROKEN;
    return tern__fail(TERN_STATUS_INTERNAL, "%s: a copy of %llu bytes at %llu to %llu bytes at %llu",
                      device->name, (unsigned long long)from->size, (unsigned long long)from->offset,
                      (unsigned long long)to->size, (unsigned long long)to->offset);
  }
  VkBufferCopy copy = {from->offset, to->offset, from->size};
  device->vk.vkCmdCopyBuffer(c->handle, from->buffer->handle, to->buffer->handle, 1, &copy);
  return TERN_OK;
}

tern_status tern__vk_barrier(tern__gpu_commands *c) {
  tern_status status = recording(c);
  if (status == TERN_OK) tern__vk_record_barrier(c->device, c->handle);
  return status;
}

tern_status tern__vk_commands_finish(tern__gpu_commands *c) {
  tern_status status = TERN_OK;
  tern__gpu_device *device = c->device;
  TERN_TRY(tern__vk_alive(device));
  TERN_TRY(recording(c));
  record_host_barrier(device, c->handle);
  c->state = TERN__VK_BROKEN;
  TERN_VK_TRY(device->vk.vkEndCommandBuffer(c->handle), "vkEndCommandBuffer");
  c->state = TERN__VK_FINISHED;
cleanup:
  return status;
}

tern_status tern__vk_submit(tern__gpu_device *device, tern__gpu_commands *c, uint64_t *ticket) {
  tern_status status = TERN_OK;
  *ticket = 0;
  TERN_TRY(tern__vk_alive(device));
  if (c->state != TERN__VK_FINISHED)
    TERN_FAIL(TERN_STATUS_INVALID_STATE, "%s: commands are submitted before they are finished", device->name);
  if (c->ticket) TERN_TRY(tern__vk_wait(device, c->ticket, UINT64_MAX)); /* one run of them at a time */
  TERN_TRY(tern__vk_upload_flush(device));
  TERN_TRY(tern__vk_queue_submit(device, c->handle, ticket));
  c->ticket = *ticket;
cleanup:
  return status;
}
