/* THE backend interface: what the runtime asks of a device. Order of calls for a session:
 *   optimize(graph copy) once -> per set of input shapes: compile -> (runtime places memory) -> prepare ->
 * run, run, ... */
#ifndef TERN_RUNTIME_BACKEND_H
#define TERN_RUNTIME_BACKEND_H

#include "base/log.h"
#include "base/thread.h"
#include "ir/graph.h"
#include "ir/op.h"

typedef struct tern__pool tern__pool;             /* runtime/thread_pool.h */
typedef struct tern__pack_cache tern__pack_cache; /* runtime/pack_cache.h */

typedef struct tern__backend_env {
  tern__alloc *alloc;
  const tern_log *log;
  tern__pool *pool;
} tern__backend_env;

/* Concrete shapes for one set of inputs, made by the runtime. */
typedef struct tern__plan {
  const tern__graph *graph;
  tern__view
      *views; /* per value id. dtype and shape are set for every value that the steps touch; data is set from
                 the start for constants and values known while planning, and before each run for the rest */
  const int32_t *steps;    /* node indices to run, in order */
  int32_t n_steps;
  int32_t n_threads;       /* at most this many */
  tern_numerics numerics;
  const tern_cancel *cancel; /* of the call that plans: compile looks at it; may be NULL, and is after compile */
} tern__plan;

typedef struct tern__program tern__program; /* a compiled plan; defined by the backend */

typedef struct tern__program_info {
  size_t scratch_bytes;    /* what the program allocates for itself in prepare */
  size_t packed_bytes; /* weights in this device's layout, counted once per model however many programs share
                          them */
} tern__program_info;

typedef struct tern__run_args {
  const tern__kv_cache *kv;   /* NULL unless the session has one */
  const tern_cancel *cancel;  /* may be NULL */
} tern__run_args;

typedef struct tern__backend tern__backend; /* an opened device; defined by the backend */

typedef struct tern__backend_api {
  const char *name; /* as tern_session_desc.device names it */
  tern_status (*open)(const tern__backend_env *env, tern__backend **out);
  void (*close)(tern__backend *backend);
  const char *(*describe)(const tern__backend *backend); /* "AVX2 FMA F16C" */
  /* Rewrites the graph in ways that only this device wants (its own fused ops). */
  tern_status (*optimize)(tern__backend *backend, tern__graph *graph, tern_numerics numerics);
  /* True if the device has a kernel better than the reference for the op. */
  bool (*supports)(const tern__backend *backend, const tern__op_def *op);
  /* Chooses kernels. `plan` outlives the program. `cache` holds the model's packed weights. */
  tern_status (*compile)(tern__backend *backend, const tern__plan *plan, tern__pack_cache *cache, tern__program **out,
                         tern__program_info *info);
  /* Packs weights not packed yet and allocates scratch. */
  tern_status (*prepare)(tern__program *program, const tern_progress *progress, const tern_cancel *cancel);
  /* Runs all steps over plan->views; returns when outputs are written. Allocates nothing. CANCELLED within 20 ms. */
  tern_status (*run)(tern__program *program, const tern__run_args *args);
  void (*destroy_program)(tern__program *program);
} tern__backend_api;

/* All backends of this build, best last resort ("cpu") first. The only place where sdk names a backend. */
const tern__backend_api *const *tern__backend_list(size_t *count);

#endif
