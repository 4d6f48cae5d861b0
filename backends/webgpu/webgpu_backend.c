/* The backend "webgpu": the GPU backend over a browser. */
#include "gpu/gpu_program.h"
#include "webgpu/webgpu_api.h"

static tern_status webgpu_open(const tern__backend_env *env, const char *which, tern__backend **out) {
  return tern__gpu_open(env, &tern__gpu_api_webgpu, which, out);
}

const tern__backend_api tern__backend_webgpu = TERN__GPU_BACKEND("webgpu", webgpu_open);
