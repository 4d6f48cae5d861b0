/* The backend "webgpu": the GPU backend over a browser. */
#include "gpu/gpu_program.h"
#include "webgpu/webgpu_api.h"

static tern_status webgpu_open(const tern__backend_env *env, const char *which, tern__backend **out) {
  return tern__gpu_open(env, &tern__gpu_api_webgpu, which, out);
}

const tern__backend_api tern__backend_webgpu = {
    .name = "webgpu",
    .open = webgpu_open,
    .close = tern__gpu_close,
    .describe = tern__gpu_describe,
    .optimize = tern__gpu_optimize,
    .supports = tern__gpu_supports,
    .compile = tern__gpu_compile,
    .prepare = tern__gpu_prepare,
    .run = tern__gpu_run,
    .destroy_program = tern__gpu_destroy_program,
    .profile = tern__gpu_profile,
    .device = &tern__gpu_device_api,
};
