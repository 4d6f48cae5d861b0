/* A session plan: the graph with concrete shapes, the steps that are left to run, on which device each runs, and where
 * every value lives. */
#ifndef TERN_RUNTIME_PLAN_H
#define TERN_RUNTIME_PLAN_H

#include "runtime/backend.h"
#include "runtime/pack_cache.h"

typedef struct tern__plan_options {
  const tern__backend_api *api;       /* the session's device */
  tern__backend *backend;
  const tern__backend_api *host_api;  /* the CPU: runs what the device has no kernel for */
  tern__backend *host_backend;
  tern__pack_cache *cache;
  const tern__kv_cache *kv;           /* NULL = none */
  tern_numerics numerics;
  int32_t n_threads;
  bool profile;                       /* programs keep times of their kernels */
  const tern_cancel *cancel;          /* may be NULL */
  bool all_on_device;                 /* tests: small integer work goes to the device, too */
  uint64_t long_run_bytes;            /* tests: weights that make a run a long one (plan.c); 0 = as it is */
} tern__plan_options;

/* Steps that one backend runs in a row, as one program. */
typedef struct tern__segment {
  tern__plan base;
  const tern__backend_api *api;
  tern__backend *backend;
  tern__program *program;
  tern__program_info info;
} tern__segment;

typedef struct tern__session_plan {
  tern__plan base;                /* all steps, whichever backend runs them */
  tern__arena arena;              /* views, steps, folded values */
  tern__view *input_key;          /* per graph input: type and shape planned for */
  bool all_rows;                  /* planned for the logits of all positions (tern__kv_cache); part of the key */
  bool uses_input_data;           /* small integer inputs decided shapes: their data is part of the key */
  uint8_t *input_data;            /* that data, concatenated */
  size_t input_data_size;
  tern__value_id *root;           /* per value: the value whose memory it shares (itself, or through aliases) */
  size_t *offsets;                /* per root that lives in the host's activation arena; SIZE_MAX = not there */
  size_t *device_offsets;         /* the same of the device's arena */
  size_t activation_bytes, device_bytes;
  bool ahead;                     /* its runs may end ahead of their threads: it has memory of its own, */
  uint8_t *memory;                /* activation_bytes, then the outputs; and where late threads still store these, */
  tern__view *copies;             /* the caller gets copies: per output; */
  bool copied;                    /* of the last run */
  tern__view *results;            /* per output: data NULL, or where the device holds it (tern__device_api.held); */
  int32_t *holders;               /* the segment that may, -1 = none. NULL = not asked yet */
  tern__segment *segments;        /* base/array.h array, in the order of running */
  bool top_told;                  /* the segments know which output's largest values are wanted: */
  int32_t top_output, top_k, top; /* top: the segment that brings them; -1 = the whole output comes */
  bool prepared;
  uint8_t *bound_base;            /* activation arena that views point into now */
  uint64_t last_used;
} tern__session_plan;

/* Infers shapes for these inputs (one view per graph input, in order; data may be NULL), folds what is known, compiles
 * for the backends and places memory. Errors name the node. */
tern_status tern__plan_create(tern__alloc *alloc, const tern__graph *graph, const tern__view *inputs,
                              const tern__plan_options *options, tern__session_plan **out);
void tern__plan_destroy(tern__alloc *alloc, tern__session_plan *plan);
bool tern__plan_fits(const tern__session_plan *plan, const tern__graph *graph, const tern__view *inputs);
/* Points the plan's views into `base` (activation_bytes long). */
void tern__plan_bind(tern__session_plan *plan, uint8_t *base);
/* Of a plan whose runs may end ahead: allocates its memory and binds it there. Idempotent. */
tern_status tern__plan_own_memory(tern__alloc *alloc, tern__session_plan *plan);
bool tern__plan_left(const tern__session_plan *plan); /* no thread is in it any more */
/* After a run of such a plan: outputs that nobody else stores to. */
void tern__plan_settle_outputs(tern__session_plan *plan);
/* Points graph input i (and what shares its memory) at `data`. */
void tern__plan_bind_input(tern__session_plan *plan, int32_t input, void *data);

/* partition.c: gives every step to the device or the CPU, reorders steps so that runs of one device are long, and
 * fills segments with their steps, imports and exports. */
tern_status tern__partition(tern__session_plan *plan, const tern__plan_options *options, tern__alloc *alloc);

#endif
