/* The table of backends in this build. */
#include "runtime/backend.h"

extern const tern__backend_api tern__backend_cpu;

#ifdef TERN_WITH_VULKAN
extern const tern__backend_api tern__backend_vulkan;
#endif
#ifdef TERN_WITH_WEBGPU
extern const tern__backend_api tern__backend_webgpu;
#endif

static const tern__backend_api *const backends[] = {
    &tern__backend_cpu,
#ifdef TERN_WITH_VULKAN
    &tern__backend_vulkan,
#endif
#ifdef TERN_WITH_WEBGPU
    &tern__backend_webgpu,
#endif
};

const tern__backend_api *const *tern__backend_list(size_t *count) {
  *count = sizeof backends / sizeof *backends;
  return backends;
}
