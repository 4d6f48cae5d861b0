/* tern.Fused: the table of its kinds (gpu_fused.def). */
#include "gpu/gpu_fuse.h"

#include <string.h>

#define GPU_FUSED(kind) \
  tern_status tern__gpu_compile_##kind(tern__program *program, const tern__node *node, bool *taken);
#include "gpu/gpu_fused.def"
#undef GPU_FUSED

static const struct { const char *kind; tern__gpu_compile_fn compile; } kinds[] = {
#define GPU_FUSED(kind) {#kind, tern__gpu_compile_##kind},
#include "gpu/gpu_fused.def"
#undef GPU_FUSED
    {NULL, NULL},
};

tern__gpu_compile_fn tern__gpu_find_fused(const char *kind) {
  for (size_t i = 0; kinds[i].kind; i++)
    if (!strcmp(kinds[i].kind, kind)) return kinds[i].compile;
  return NULL;
}

tern_status tern__gpu_compile_fused(tern__program *program, const tern__node *node, bool *taken) {
  tern__gpu_compile_fn compile = tern__gpu_find_fused(tern__node_string(node, "kind", ""));
  return compile ? compile(program, node, taken) : TERN_OK;
}
