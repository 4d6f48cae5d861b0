/* The table of architectures: one line each. */
#include <string.h>

#include "formats/arch_builder.h"

#define ARCHITECTURES(X) \
  X(gemma3)              \
  X(llama)               \
  X(qwen2)               \
  X(qwen3)

#define X(name) tern_status tern__arch_build_##name(tern__arch_builder *builder);
ARCHITECTURES(X)
#undef X

static const struct {
  const char *name;
  tern_status (*build)(tern__arch_builder *builder);
} architectures[] = {
#define X(name) {#name, tern__arch_build_##name},
    ARCHITECTURES(X)
#undef X
};

const char *tern__arch_names(void) {
#define X(name) ", " #name
  static const char names[] = ARCHITECTURES(X);
#undef X
  return names + 2;
}

tern_status tern__arch_build(const tern__gguf *gguf, int32_t max_positions, tern__alloc *alloc,
                             tern__arena *arena, tern__graph **out, tern__arch_info *info) {
  tern_status status = TERN_OK;
  const char *name;
  tern__arch_builder b = {.gguf = gguf, .alloc = alloc, .info = info};
  *out = NULL;
  memset(info, 0, sizeof *info);
  b.max_positions = max_positions > 0 ? max_positions : TERN__ARCH_MAX_POSITIONS;
  TERN_TRY(tern__gguf_string(gguf, "general.architecture", NULL, &name));
  if (!name) TERN_FAIL(TERN_STATUS_CORRUPT, "key 'general.architecture' is missing");
  info->architecture = name;
  size_t i = 0, n = sizeof architectures / sizeof *architectures;
  while (i < n && strcmp(architectures[i].name, name) != 0) i++;
  if (i == n)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "architecture '%.64s' is not supported; these are: %s", name,
              tern__arch_names());
  b.used = tern__calloc(alloc, gguf->n_tensors, sizeof *b.used);
  TERN_CHECK_ALLOC(b.used);
  TERN_TRY(tern__graph_create(alloc, arena, &b.graph));
  TERN_TRY(architectures[i].build(&b));
  *out = b.graph, b.graph = NULL;
cleanup:
  tern__free(alloc, b.used);
  tern__graph_destroy(b.graph);
  return status;
}
