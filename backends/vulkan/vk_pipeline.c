/* SPIR-V to pipelines. Several threads may compile at once; who asks for a kernel that another thread
 * compiles waits for it. No lock is held while the driver works. */
#include "vulkan/vk_device.h"
#include "vulkan/vk_spirv.h"

#include <string.h>

static tern_status make_layouts(tern__gpu_device *device, uint32_t n) {
  tern_status status = TERN_OK;
  tern__vk_pipelines *p = &device->pipelines;
  VkDescriptorSetLayoutBinding bindings[TERN__GPU_MAX_BINDINGS];
  for (uint32_t i = 0; i < n; i++)
    bindings[i] = (VkDescriptorSetLayoutBinding){i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                                 VK_SHADER_STAGE_COMPUTE_BIT, NULL};
  VkDescriptorSetLayoutCreateInfo set = {VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, NULL, 0, n,
                                         bindings};
  if (device->features.push_descriptors) set.flags = VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR;
  VkResult result = device->vk.vkCreateDescriptorSetLayout(device->handle, &set, NULL, &p->set_layouts[n]);
  if (result < 0) p->set_layouts[n] = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateDescriptorSetLayout of %u bindings", (unsigned)n);
  VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, TERN__GPU_MAX_IMMEDIATE};
  VkPipelineLayoutCreateInfo info = {
      VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, NULL, 0, 1, &p->set_layouts[n], 1, &range};
  result = device->vk.vkCreatePipelineLayout(device->handle, &info, NULL, &p->layouts[n]);
  if (result < 0) p->layouts[n] = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreatePipelineLayout of %u bindings", (unsigned)n);
cleanup:
  return status;
}

tern_status tern__vk_pipelines_init(tern__gpu_device *device) {
  tern_status status = TERN_OK;
  tern__vk_pipelines *p = &device->pipelines;
  p->table = tern__calloc(device->alloc, TERN__KERNEL_COUNT, sizeof *p->table);
  TERN_CHECK_ALLOC(p->table);
  for (uint32_t n = 0; n <= device->features.max_bindings; n++) TERN_TRY(make_layouts(device, n));
  VkPipelineCacheCreateInfo info = {VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, NULL, 0, 0, NULL};
  VkResult result = device->vk.vkCreatePipelineCache(device->handle, &info, NULL, &p->cache);
  if (result < 0) p->cache = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreatePipelineCache");
cleanup:
  return status;
}

void tern__vk_pipelines_deinit(tern__gpu_device *device) {
  tern__vk_pipelines *p = &device->pipelines;
  for (size_t i = 0; p->table && i < TERN__KERNEL_COUNT; i++)
    if (p->table[i].handle) device->vk.vkDestroyPipeline(device->handle, p->table[i].handle, NULL);
  if (p->cache) device->vk.vkDestroyPipelineCache(device->handle, p->cache, NULL);
  for (uint32_t n = 0; n <= TERN__GPU_MAX_BINDINGS; n++) {
    if (p->layouts[n]) device->vk.vkDestroyPipelineLayout(device->handle, p->layouts[n], NULL);
    if (p->set_layouts[n]) device->vk.vkDestroyDescriptorSetLayout(device->handle, p->set_layouts[n], NULL);
  }
  tern__free(device->alloc, p->table);
}

static tern_status check_kernel(tern__gpu_device *device, const tern__gpu_kernel *k) {
  static const struct {
    uint32_t bit;
    const char *name;
  } needs[] = {{TERN__GPU_HAS_F16, "16-bit floats"},
               {TERN__GPU_HAS_SUBGROUPS, "subgroup operations"},
               {TERN__GPU_HAS_INT8_DOT, "8-bit dot products"},
               {TERN__GPU_HAS_COOPERATIVE_MATRIX, "cooperative matrices"},
               {TERN__GPU_HAS_COHERENT, "coherent buffers"}};
  for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
    if (k->needs & needs[i].bit & ~device->info.features)
      return tern__fail(TERN_STATUS_UNSUPPORTED, "%s: kernel %s needs %s, which the device lacks",
                        device->name, k->name, needs[i].name);
  if (k->n_bindings > device->features.max_bindings)
    return tern__fail(TERN_STATUS_UNSUPPORTED, "%s: kernel %s has %u bindings, the device allows %u", device->name,
                      k->name, (unsigned)k->n_bindings, (unsigned)device->features.max_bindings);
  uint32_t invocations = (uint32_t)k->workgroup[0] * k->workgroup[1] * k->workgroup[2];
  if (invocations > device->info.max_invocations)
    return tern__fail(TERN_STATUS_UNSUPPORTED, "%s: kernel %s has workgroups of %u, the device allows %u",
                      device->name, k->name, (unsigned)invocations, (unsigned)device->info.max_invocations);
  for (int i = 0; i < 3; i++)
    if (k->workgroup[i] > device->features.limits.maxComputeWorkGroupSize[i])
      return tern__fail(TERN_STATUS_UNSUPPORTED,
                        "%s: kernel %s has workgroups of %u in dimension %d, the device allows %u",
                        device->name, k->name, (unsigned)k->workgroup[i], i,
                        (unsigned)device->features.limits.maxComputeWorkGroupSize[i]);
  return TERN_OK;
}

/* The module's one entry point; the kernel compiler calls it by the kernel's name. */
static const char *entry_point(const uint32_t *spirv, size_t words) {
  const uint32_t header_words = 5, op_entry_point = 15;
  for (size_t at = header_words; at < words && spirv[at] >> 16; at += spirv[at] >> 16)
    if ((spirv[at] & 0xffff) == op_entry_point) return (const char *)&spirv[at + 3];
  return "main";
}

static tern_status compile(tern__gpu_device *device, tern__gpu_kernel_id id, VkPipeline *out) {
  tern_status status = TERN_OK;
  const tern__gpu_kernel *k = &tern__gpu_kernels[id];
  VkShaderModule module = VK_NULL_HANDLE;
  uint32_t *spirv = NULL;
  size_t words = 0;
  *out = VK_NULL_HANDLE;
  TERN_TRY(check_kernel(device, k));
  TERN_TRY(tern__vk_kernel_spirv(device->alloc, id, &spirv, &words));
  VkShaderModuleCreateInfo code = {VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, NULL, 0, words * 4, spirv};
  VkResult result = device->vk.vkCreateShaderModule(device->handle, &code, NULL, &module);
  if (result < 0) module = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateShaderModule of kernel %s", k->name);
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroups = {
      .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
      .requiredSubgroupSize = device->features.subgroup_size};
  VkComputePipelineCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
                                      .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                                                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                                                .module = module,
                                                .pName = entry_point(spirv, words)},
                                      .layout = device->pipelines.layouts[k->n_bindings]};
  if (k->needs & (TERN__GPU_HAS_SUBGROUPS | TERN__GPU_HAS_COOPERATIVE_MATRIX)) {
    uint32_t size = device->info.subgroup_max;
    bool few = (uint32_t)k->workgroup[0] * k->workgroup[1] * k->workgroup[2] <= size * device->features.max_subgroups;
    if (device->features.subgroup_size && few) info.stage.pNext = &subgroups;
    if (device->features.full_subgroups && few && size && k->workgroup[0] % size == 0)
      info.stage.flags |= VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
  }
  result = device->vk.vkCreateComputePipelines(device->handle, device->pipelines.cache, 1, &info, NULL, out);
  if (result != VK_SUCCESS) *out = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateComputePipelines of kernel %s", k->name);
cleanup:
  if (module) device->vk.vkDestroyShaderModule(device->handle, module, NULL);
  tern__free(device->alloc, spirv);
  return status;
}

tern_status tern__vk_pipeline(tern__gpu_device *device, tern__gpu_kernel_id id, tern__gpu_pipeline **out) {
  tern_status status = tern__vk_alive(device);
  tern__vk_pipelines *p = &device->pipelines;
  *out = NULL;
  if (status != TERN_OK) return status;
  if ((uint32_t)id >= TERN__KERNEL_COUNT)
    return tern__fail(TERN_STATUS_INTERNAL, "there is no kernel %d", (int)id);
  tern__gpu_pipeline *pipeline = &p->table[id];
  tern__mutex_lock(&p->lock);
  while (pipeline->compiling) tern__cond_wait(&p->changed, &p->lock);
  if (!pipeline->handle) {
    VkPipeline handle;
    pipeline->compiling = true, p->n_compiling++;
    tern__mutex_unlock(&p->lock);
    status = compile(device, id, &handle);
    tern__mutex_lock(&p->lock);
    pipeline->handle = handle, pipeline->kernel = &tern__gpu_kernels[id];
    pipeline->compiling = false, p->n_compiling--;
    tern__cond_broadcast(&p->changed);
  }
  tern__mutex_unlock(&p->lock);
  if (status == TERN_OK) *out = pipeline;
  return status;
}
