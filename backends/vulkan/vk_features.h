/* Which physical device, and what of it is used. */
#ifndef TERN_VK_FEATURES_H
#define TERN_VK_FEATURES_H

#include "gpu/gpu_device.h"
#include "vulkan/vk_loader.h"

enum { TERN__VK_MAX_EXTENSIONS = 16 };

typedef struct tern__vk_features {
  uint32_t version;            /* of the device, at most 1.3 */
  uint32_t family;             /* queue family that computes */
  uint32_t timestamp_bits;     /* of that family; 0 = none */
  float timestamp_period;      /* nanoseconds a tick */
  VkPhysicalDeviceType type;
  VkPhysicalDeviceLimits limits;
  VkPhysicalDeviceMemoryProperties memory;
  uint64_t max_allocation_bytes;
  uint32_t max_bindings;       /* of a kernel: at most TERN__GPU_MAX_BINDINGS */
  uint32_t subgroup_size;      /* that pipelines are made with; 0 = the driver's choice */
  uint32_t max_subgroups;      /* of a workgroup, with subgroup_size or full_subgroups */
  bool full_subgroups;         /* pipelines may ask for whole subgroups */
  bool timeline;               /* timeline semaphores; else fences */
  bool memory_budget;
  bool push_descriptors;       /* bindings are part of the commands; else descriptor sets */
  /* What vkCreateDevice is asked for: every structure is there for the whole open, chained where it is
   * supported. */
  const char *extensions[TERN__VK_MAX_EXTENSIONS];
  uint32_t n_extensions;
  VkPhysicalDeviceFeatures2 root;
  VkPhysicalDevice16BitStorageFeatures storage16;
  VkPhysicalDeviceShaderFloat16Int8Features float16;
  VkPhysicalDeviceTimelineSemaphoreFeatures timeline_feature;
  VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot;
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_control;
  VkPhysicalDeviceShaderSubgroupExtendedTypesFeatures subgroup_types;
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
} tern__vk_features;

/* `which` as in tern__gpu_api.open. */
tern_status tern__vk_choose(tern__alloc *alloc, const tern__vk_instance *instance, const char *which,
                            VkPhysicalDevice *out);
/* Fills features and info (its names point into `name` and `driver`). */
tern_status tern__vk_probe(tern__alloc *alloc, const tern__vk_instance *instance, VkPhysicalDevice physical,
                           tern__vk_features *features, tern__gpu_info *info, char *name, size_t name_size,
                           char *driver, size_t driver_size);

#endif
