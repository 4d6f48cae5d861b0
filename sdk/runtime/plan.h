/* A session plan: the graph with concrete shapes, the steps that are left to run, and where every value lives. */
#ifndef TERN_RUNTIME_PLAN_H
#define TERN_RUNTIME_PLAN_H

#include "runtime/backend.h"
#include "runtime/pack_cache.h"

typedef struct tern__session_plan {
  tern__plan base;
  tern__arena arena;              /* views, steps, folded values */
  tern__view *input_key;          /* per graph input: type and shape planned for */
  bool uses_input_data;           /* small integer inputs decided shapes: their data is part of the key */
  uint8_t *input_data;            /* that data, concatenated */
  size_t input_data_size;
  tern__value_id *root;           /* per value: the value whose memory it shares (itself, or through aliases) */
  size_t
      *offsets; /* per value that is its own root and lives in the activation arena; SIZE_MAX = not there */
  size_t activation_bytes;
  const tern__backend_api *api;
  tern__program *program;
  tern__program_info info;
  bool prepared;
  uint8_t *bound_base;            /* activation arena that views point into now */
  uint64_t last_used;
} tern__session_plan;

/* Infers shapes for these inputs (one view per graph input, in order; data may be NULL), folds what is known, compiles
 * for the backend and places memory. Errors name the node. */
tern_status tern__plan_create(tern__alloc *alloc, const tern__graph *graph, const tern__view *inputs,
                              const tern__backend_api *api, tern__backend *backend, tern__pack_cache *cache,
                              const tern__kv_cache *kv, tern_numerics numerics, int32_t n_threads,
                              const tern_cancel *cancel, tern__session_plan **out);
void tern__plan_destroy(tern__alloc *alloc, tern__session_plan *plan);
bool tern__plan_fits(const tern__session_plan *plan, const tern__graph *graph, const tern__view *inputs);
/* Points the plan's views into `base` (activation_bytes long). */
void tern__plan_bind(tern__session_plan *plan, uint8_t *base);
/* Points graph input i (and what shares its memory) at `data`. */
void tern__plan_bind_input(tern__session_plan *plan, int32_t input, void *data);

#endif
