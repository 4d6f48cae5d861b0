/* From a GGUF file to a graph: one builder per architecture, found by the file's general.architecture. The
 * graph has the inputs and outputs of a Transformers.js folder (docs/adding-an-architecture.md). */
#ifndef TERN_FORMATS_ARCH_H
#define TERN_FORMATS_ARCH_H

#include "formats/gguf_reader.h"
#include "ir/graph.h"

typedef struct tern__arch_info {
  const char *architecture; /* borrowed from the gguf */
  int32_t context_length; /* positions that the graph's rotary tables cover; a session's context cannot exceed
                             it */
  int32_t trained_context; /* as the file says */
  int32_t n_layers, n_heads, kv_heads, head_dim, width, vocabulary;
} tern__arch_info;

/* Tables grow with the context; 0 = TERN__ARCH_MAX_POSITIONS. */
enum { TERN__ARCH_MAX_POSITIONS = 8192 };

/* The graph lives in `arena` and *gguf's file: both must outlive it. UNSUPPORTED names the architecture, key
 * or tensor that has no place here, CORRUPT what is missing or has an impossible value. */
tern_status tern__arch_build(const tern__gguf *gguf, int32_t max_positions, tern__alloc *alloc,
                             tern__arena *arena, tern__graph **out, tern__arch_info *info);

/* "gemma3, llama, ...": for messages and listings. */
const char *tern__arch_names(void);

#endif
