/* What a device can do, and what of it the logical device is made with. Nothing is enabled that is not there.
 */
#include "vulkan/vk_features.h"
#include "vulkan/vk_result.h"

#include <stdio.h>
#include <string.h>

typedef struct extensions {
  const VkExtensionProperties *list;
  uint32_t count;
} extensions;

static bool has(const extensions *e, const char *name) {
  for (uint32_t i = 0; i < e->count; i++)
    if (!strcmp(e->list[i].extensionName, name)) return true;
  return false;
}

/* True if what became core with `core` can be used; asks for the extension where it did not yet. */
static bool want(tern__vk_features *f, const extensions *e, uint32_t core, const char *name) {
  if (f->version >= core) return true;
  if (!has(e, name)) return false;
  f->extensions[f->n_extensions++] = name;
  return true;
}
#define NEVER_CORE UINT32_MAX

typedef struct chain_link {
  VkStructureType sType;
  void *pNext;
} chain_link;

static void link_in(void *head, void *structure, VkStructureType type) {
  chain_link *h = head, *s = structure;
  s->sType = type;
  s->pNext = h->pNext;
  h->pNext = s;
}

static void query_features(const tern__vk_instance *instance, VkPhysicalDevice physical, tern__vk_features *f,
                           const extensions *e) {
  f->root.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  link_in(&f->root, &f->storage16, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES);
  if (want(f, e, VK_API_VERSION_1_2, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME))
    link_in(&f->root, &f->float16, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
  if (want(f, e, VK_API_VERSION_1_2, VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME))
    link_in(&f->root, &f->timeline_feature, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES);
  if (want(f, e, VK_API_VERSION_1_2, VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME))
    link_in(&f->root, &f->memory_model, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES);
  if (want(f, e, VK_API_VERSION_1_2, VK_KHR_SHADER_SUBGROUP_EXTENDED_TYPES_EXTENSION_NAME))
    link_in(&f->root, &f->subgroup_types,
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SUBGROUP_EXTENDED_TYPES_FEATURES);
  if (want(f, e, VK_API_VERSION_1_3, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME))
    link_in(&f->root, &f->dot, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
  if (want(f, e, VK_API_VERSION_1_3, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
    link_in(&f->root, &f->subgroup_control, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
  /* Its kernels are SPIR-V 1.6, which is Vulkan 1.3. */
  if (f->version >= VK_API_VERSION_1_3 && instance->GetPhysicalDeviceCooperativeMatrixPropertiesKHR &&
      want(f, e, NEVER_CORE, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME))
    link_in(&f->root, &f->matrix, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
  f->push_descriptors = want(f, e, NEVER_CORE, VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME);
  f->memory_budget = want(f, e, NEVER_CORE, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  (void)want(f, e, NEVER_CORE, "VK_KHR_portability_subset"); /* must be asked for where it is listed */
  instance->GetPhysicalDeviceFeatures2(physical, &f->root);
}

/* What was found but has no use here is not asked for. */
static void keep_what_is_used(tern__vk_features *f) {
  f->root.features = (VkPhysicalDeviceFeatures){0};
  f->storage16.storageInputOutput16 = f->storage16.storagePushConstant16 = VK_FALSE;
  /* naga declares the capability of both in every module with a half in it. */
  if (!f->storage16.storageBuffer16BitAccess || !f->storage16.uniformAndStorageBuffer16BitAccess)
    f->float16.shaderFloat16 = f->storage16.storageBuffer16BitAccess =
        f->storage16.uniformAndStorageBuffer16BitAccess = VK_FALSE;
  f->memory_model.vulkanMemoryModelAvailabilityVisibilityChains = VK_FALSE;
  f->matrix.cooperativeMatrixRobustBufferAccess = VK_FALSE;
  f->timeline = f->timeline_feature.timelineSemaphore;
}

static bool has_matrix_16x16x16(tern__alloc *alloc, const tern__vk_instance *instance,
                                VkPhysicalDevice physical) {
  bool found = false;
  uint32_t count = 0;
  VkCooperativeMatrixPropertiesKHR *list = NULL;
  if (instance->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &count, NULL) < 0 || !count)
    return false;
  list = tern__calloc(alloc, count, sizeof *list);
  if (!list) return false; /* the kernels without it do the same, more slowly */
  for (uint32_t i = 0; i < count; i++) list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
  if (instance->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &count, list) < 0) count = 0;
  for (uint32_t i = 0; i < count && !found; i++) {
    const VkCooperativeMatrixPropertiesKHR *p = &list[i];
    found = p->MSize == 16 && p->NSize == 16 && p->KSize == 16 && p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->scope == VK_SCOPE_SUBGROUP_KHR;
  }
  tern__free(alloc, list);
  return found;
}

typedef struct properties {
  VkPhysicalDeviceProperties2 root;
  VkPhysicalDeviceIDProperties id;
  VkPhysicalDeviceSubgroupProperties subgroup;
  VkPhysicalDeviceMaintenance3Properties maintenance3;
  VkPhysicalDeviceMaintenance4Properties maintenance4;
  VkPhysicalDeviceDriverProperties driver;
  VkPhysicalDeviceSubgroupSizeControlProperties subgroup_control;
  VkPhysicalDeviceShaderIntegerDotProductProperties dot;
} properties;

static void query_properties(const tern__vk_instance *instance, VkPhysicalDevice physical,
                             tern__vk_features *f, const extensions *e, properties *p) {
  p->root.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  link_in(&p->root, &p->id, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES);
  link_in(&p->root, &p->subgroup, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES);
  link_in(&p->root, &p->maintenance3, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES);
  if (f->version >= VK_API_VERSION_1_3)
    link_in(&p->root, &p->maintenance4, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
  if (f->version >= VK_API_VERSION_1_2 || has(e, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME))
    link_in(&p->root, &p->driver, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES);
  if (f->subgroup_control.sType)
    link_in(&p->root, &p->subgroup_control,
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
  if (f->dot.sType)
    link_in(&p->root, &p->dot, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES);
  instance->GetPhysicalDeviceProperties2(physical, &p->root);
}

static void choose_subgroups(tern__vk_features *f, const properties *p, tern__gpu_info *info) {
  const VkSubgroupFeatureFlags needed = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_VOTE_BIT |
                                        VK_SUBGROUP_FEATURE_ARITHMETIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
  if ((p->subgroup.supportedOperations & needed) != needed ||
      !(p->subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
    return;
  info->features |= TERN__GPU_HAS_SUBGROUPS;
  info->subgroup_min = info->subgroup_max = p->subgroup.subgroupSize;
  if (!f->subgroup_control.subgroupSizeControl) return;
  f->full_subgroups = f->subgroup_control.computeFullSubgroups;
  f->max_subgroups = p->subgroup_control.maxComputeWorkgroupSubgroups;
  /* Drivers with several sizes pick one per shader and may call it by another number: the usual size is
   * required. */
  if (p->subgroup_control.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT)
    f->subgroup_size = p->subgroup.subgroupSize;
}

static void fill_limits(tern__vk_features *f, const properties *p, tern__gpu_info *info) {
  const VkPhysicalDeviceLimits *l = &p->root.properties.limits;
  f->limits = *l;
  f->timestamp_period = l->timestampPeriod;
  f->max_allocation_bytes = p->maintenance3.maxMemoryAllocationSize;
  info->max_buffer_bytes = f->max_allocation_bytes;
  if (p->maintenance4.maxBufferSize && p->maintenance4.maxBufferSize < info->max_buffer_bytes)
    info->max_buffer_bytes = p->maintenance4.maxBufferSize;
  info->max_binding_bytes = l->maxStorageBufferRange & ~(uint64_t)3;
  if (info->max_binding_bytes > info->max_buffer_bytes) info->max_binding_bytes = info->max_buffer_bytes;
  info->binding_alignment = (uint32_t)l->minStorageBufferOffsetAlignment;
  if (info->binding_alignment < 16) info->binding_alignment = 16; /* kernels read vec4 */
  info->max_groups = l->maxComputeWorkGroupCount[0];
  for (int i = 1; i < 3; i++)
    if (l->maxComputeWorkGroupCount[i] < info->max_groups) info->max_groups = l->maxComputeWorkGroupCount[i];
  f->max_bindings = TERN__GPU_MAX_BINDINGS;
  if (f->max_bindings > l->maxPerStageDescriptorStorageBuffers)
    f->max_bindings = l->maxPerStageDescriptorStorageBuffers;
  if (f->max_bindings > l->maxPerStageResources) f->max_bindings = l->maxPerStageResources;
  /* Vulkan has no such feature: every device orders memory between workgroups, as far as it is right (gpu_check.c). */
  if (f->max_bindings == TERN__GPU_MAX_BINDINGS) info->features |= TERN__GPU_HAS_COHERENT;
  info->max_invocations = l->maxComputeWorkGroupInvocations;
  info->shared_bytes = l->maxComputeSharedMemorySize;
  memcpy(info->uuid, p->id.deviceUUID, sizeof info->uuid);
}

static void fill_memory(const tern__vk_instance *instance, VkPhysicalDevice physical, tern__vk_features *f,
                        tern__gpu_info *info) {
  VkPhysicalDeviceMemoryProperties2 m = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  instance->GetPhysicalDeviceMemoryProperties2(physical, &m);
  f->memory = m.memoryProperties;
  info->unified = f->type != VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  for (uint32_t i = 0; i < f->memory.memoryHeapCount; i++) {
    const VkMemoryHeap *heap = &f->memory.memoryHeaps[i];
    if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) continue;
    if (heap->size > info->memory_bytes) info->memory_bytes = heap->size;
  }
}

static bool choose_family(const tern__vk_instance *instance, VkPhysicalDevice physical,
                          tern__vk_features *f) {
  VkQueueFamilyProperties families[16];
  uint32_t count = sizeof families / sizeof *families;
  instance->GetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
  for (uint32_t i = 0; i < count; i++) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
    f->family = i;
    f->timestamp_bits = families[i].timestampValidBits;
    return true;
  }
  return false;
}

tern_status tern__vk_probe(tern__alloc *alloc, const tern__vk_instance *instance, VkPhysicalDevice physical,
                           tern__vk_features *f, tern__gpu_info *info, char *name, size_t name_size,
                           char *driver, size_t driver_size) {
  tern_status status = TERN_OK;
  VkExtensionProperties *list = NULL;
  properties p = {0};
  uint32_t count = 0;
  memset(f, 0, sizeof *f);
  memset(info, 0, sizeof *info);
  VkPhysicalDeviceProperties2 basic = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  instance->GetPhysicalDeviceProperties2(physical, &basic);
  snprintf(name, name_size, "%s", basic.properties.deviceName);
  f->type = basic.properties.deviceType;
  f->version = VK_MAKE_API_VERSION(0, VK_API_VERSION_MAJOR(basic.properties.apiVersion),
                                   VK_API_VERSION_MINOR(basic.properties.apiVersion), 0);
  if (f->version > VK_API_VERSION_1_3) f->version = VK_API_VERSION_1_3;
  if (!choose_family(instance, physical, f))
    TERN_FAIL(TERN_STATUS_NO_DEVICE, "%s: it has no queue that computes", name);

  VkResult result = instance->EnumerateDeviceExtensionProperties(physical, NULL, &count, NULL);
  if (result >= 0) {
    list = tern__calloc(alloc, count ? count : 1, sizeof *list);
    TERN_CHECK_ALLOC(list);
    result = instance->EnumerateDeviceExtensionProperties(physical, NULL, &count, list);
  }
  if (result < 0) TERN_TRY(tern__vk_status(result, name, "vkEnumerateDeviceExtensionProperties"));
  extensions e = {list, count};
  query_features(instance, physical, f, &e);
  keep_what_is_used(f);
  query_properties(instance, physical, f, &e, &p);
  fill_limits(f, &p, info);
  fill_memory(instance, physical, f, info);
  choose_subgroups(f, &p, info);
  if (f->float16.shaderFloat16) info->features |= TERN__GPU_HAS_F16;
  /* A software device has the kernels' other forms, but runs these, too, where a test takes it for hardware. */
  if (f->dot.shaderIntegerDotProduct &&
      (p.dot.integerDotProduct4x8BitPackedSignedAccelerated || f->type == VK_PHYSICAL_DEVICE_TYPE_CPU))
    info->features |= TERN__GPU_HAS_INT8_DOT;
  if (f->matrix.cooperativeMatrix && f->memory_model.vulkanMemoryModel && f->float16.shaderFloat16 &&
      has_matrix_16x16x16(alloc, instance, physical))
    info->features |= TERN__GPU_HAS_COOPERATIVE_MATRIX;
  snprintf(driver, driver_size, "%s%s%s (%u.%u.%u)", p.driver.driverName, *p.driver.driverName ? " " : "",
           p.driver.driverInfo, VK_API_VERSION_MAJOR(basic.properties.driverVersion),
           VK_API_VERSION_MINOR(basic.properties.driverVersion),
           VK_API_VERSION_PATCH(basic.properties.driverVersion));
  info->name = name, info->driver = driver;
  info->software = f->type == VK_PHYSICAL_DEVICE_TYPE_CPU;
  info->binds_readback = true; /* all buffers have every use, whatever their memory */
cleanup:
  tern__free(alloc, list);
  return status;
}
