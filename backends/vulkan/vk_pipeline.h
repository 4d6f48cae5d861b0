/* Kernels as pipelines, each compiled once; the driver's pipeline cache. */
#ifndef TERN_VK_PIPELINE_H
#define TERN_VK_PIPELINE_H

#include "base/thread.h"
#include "gpu/gpu_device.h"
#include "vulkan/vk_loader.h"

struct tern__gpu_pipeline {
  VkPipeline handle;           /* none = not compiled */
  const tern__gpu_kernel *kernel;
  bool compiling;              /* by some thread */
};

typedef struct tern__vk_pipelines {
  tern__mutex lock;
  tern__cond changed;
  uint32_t n_compiling;
  VkPipelineCache cache;
  /* By number of bindings: storage buffers 0..n-1 of set 0, and the largest immediate. Shared by all kernels.
   */
  VkDescriptorSetLayout set_layouts[TERN__GPU_MAX_BINDINGS + 1];
  VkPipelineLayout layouts[TERN__GPU_MAX_BINDINGS + 1];
  tern__gpu_pipeline *table;   /* by kernel id */
} tern__vk_pipelines;

tern_status tern__vk_pipelines_init(tern__gpu_device *device);
void tern__vk_pipelines_deinit(tern__gpu_device *device);

/* As the members of tern__gpu_api; the cache's are in vk_cache.c. */
tern_status tern__vk_pipeline(tern__gpu_device *device, tern__gpu_kernel_id id, tern__gpu_pipeline **out);
tern_status tern__vk_cache_read(tern__gpu_device *device, void *data, size_t *size);
tern_status tern__vk_cache_load(tern__gpu_device *device, const void *data, size_t size);

#endif
