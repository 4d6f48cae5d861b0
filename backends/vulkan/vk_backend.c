/* The backend "vulkan": the GPU backend over volk. */
#include "gpu/gpu_program.h"
#include "vulkan/vk_api.h"

static tern_status vulkan_open(const tern__backend_env *env, const char *which, tern__backend **out) {
  return tern__gpu_open(env, &tern__gpu_api_vulkan, which, out);
}

const tern__backend_api tern__backend_vulkan = TERN__GPU_BACKEND("vulkan", vulkan_open);
