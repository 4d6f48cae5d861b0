/* THE backend interface: what the runtime asks of a device. Order of calls for a session:
 *   optimize(graph copy) once -> per set of input shapes: compile -> (runtime places memory) -> prepare ->
 * run, run, ...
 * A backend either works on the host's memory in place (the CPU) or has memory of its own (`device` is set): the
 * runtime then also plans an arena there and tells which values cross. */
#ifndef TERN_RUNTIME_BACKEND_H
#define TERN_RUNTIME_BACKEND_H

#include "base/json.h"
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
  const char *cache_path; /* a folder for what can be made again; NULL = none. Lives as long as the backend */
} tern__backend_env;

/* Concrete shapes for one set of inputs, made by the runtime; the steps are those that one backend runs in a row. */
typedef struct tern__plan {
  const tern__graph *graph;
  tern__view
      *views; /* per value id. dtype and shape are set for every value that the steps touch; data is set from
                 the start for constants and values known while planning, and before each run for the rest */
  const int32_t *steps;    /* node indices to run, in order */
  int32_t n_steps;
  int32_t n_threads;       /* at most this many */
  tern_numerics numerics;
  bool profile;            /* the caller wants times of single kernels */
  bool separate;              /* no two values on the host share memory: all fit a small size, and runs are long */
  const tern__kv_cache *kv;   /* NULL = none; its sizes do not change, its positions do */
  const tern_cancel *cancel; /* of the call that plans: compile looks at it; may be NULL, and is after compile */
  const tern__value_id *root; /* per value: the value whose memory it shares (itself, or through aliases) */
  /* For backends with memory of their own: */
  const size_t *offsets;      /* per root: where in the session's device arena; SIZE_MAX = not there. 256-aligned */
  const tern__value_id *imports, *exports; /* roots whose bytes go from views' data to the device before the steps,
                                              and back after them; views' data is set for both */
  int32_t n_imports, n_exports;
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
  bool late;                  /* run may return while values that a device holds are on their way (tern__device_api) */
  bool follows;               /* as far as the caller knows the next run is of one more token, the largest of what is
                                 wanted the top of. A device may begin it; if it is not, what that gave is dropped */
  bool ahead;                 /* run may return while threads are still in the program (tern__backend_api.left) */
} tern__run_args;

typedef struct tern__backend tern__backend; /* an opened device; defined by the backend */
typedef struct tern__device_memory tern__device_memory; /* an arena or a KV cache there; defined by the backend */

/* The k largest values of each row of a float32 value, largest first, of equal ones the first first; NaN comes before
 * everything. Where a row has fewer, places end with -1. */
typedef struct tern__top {
  int32_t rows, k;
  const float *values;    /* [rows][k] */
  const int32_t *places;  /* in the row */
} tern__top;

enum { TERN__PROMPT_ROWS = 512 }; /* of a long prompt, that are run together unless a device says otherwise */

/* What backends with memory of their own answer beyond the rest. */
typedef struct tern__device_api {
  bool (*lost)(tern__backend *backend); /* it stays so: who needs the device opens another */
  /* How many rows of a long prompt are best run together: TERN__PROMPT_ROWS, or more where they fill a large device.
   * Each takes memory. */
  int32_t (*prompt_rows)(const tern__backend *backend, tern_numerics numerics);
  /* True if the device runs this node of the plan; else the CPU does. Adds nothing. */
  tern_status (*takes)(tern__backend *backend, const tern__plan *plan, const tern__node *node, bool *out);
  tern_status (*memory_create)(tern__backend *backend, size_t bytes, tern__device_memory **out);
  void (*memory_destroy)(tern__backend *backend, tern__device_memory *memory); /* NULL is fine */
  /* The KV cache: `layers` as in tern__kv_cache, keys and values of a layer one after the other in one memory. */
  tern_status (*kv_create)(tern__backend *backend, const tern__kv_cache *layers, tern__device_memory **out);
  /* Points a prepared program at the session's memory; cheap if it is the same as before. `kv` may be NULL. */
  tern_status (*bind)(tern__program *program, tern__device_memory *arena, tern__device_memory *kv);
  /* From now on `value`, exported by the program and read by the caller alone, is not copied into its view after a run.
   * False: it is all the same, as the program has no such export, or a small one. */
  bool (*hold)(tern__program *program, tern__value_id value);
  /* Where such a value's bytes are, after a run and until the next one or the program's end; NULL: in its view. */
  void *(*held)(const tern__program *program, tern__value_id value);
  /* Copies such a value to `to`, each part as it arrives; NULL: waits until all that the program holds is there. After
   * a late run the latter comes before anything else that uses the memory of the run. */
  tern_status (*bring)(tern__program *program, tern__value_id value, void *to);
  /* From the next bind on, of `value` (float32, exported by the program, read by the caller alone) the k largest of
   * each row come back in place of all; k = 0: all again. False: the program cannot, all of it comes. */
  bool (*want_top)(tern__program *program, tern__value_id value, int32_t k);
  /* What came of the last run; false: the whole value. Valid until fetch or the next run. */
  bool (*top)(const tern__program *program, tern__top *out);
  /* After a run that brought the largest: the whole value all the same, into its view. */
  tern_status (*fetch)(tern__program *program, const tern_cancel *cancel);
} tern__device_api;

typedef struct tern__backend_api {
  const char *name; /* as tern_session_desc.device names it */
  /* `which`: a device among several of this backend, by part of its name or by its UUID; NULL = the best. */
  tern_status (*open)(const tern__backend_env *env, const char *which, tern__backend **out);
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
  /* False: after a run that was allowed to end ahead of its threads some are still in the program. All results are
   * there; the late threads may store the same bytes once more. The next run and destroy_program wait for them, whoever
   * else would change what the program works on has to. NULL: none ever are. */
  bool (*left)(const tern__program *program);
  /* Writes members about the program's last run: counts, and kernels with their times if the plan asks for them. NULL:
   * nothing to say. */
  void (*profile)(tern__program *program, tern__json_writer *w);
  const tern__device_api *device; /* NULL: works on the host's memory */
} tern__backend_api;

/* How a caller names one of several devices: by part of its name; case does not matter. */
static inline char tern__lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }
static inline bool tern__is_part_of_name(const char *part, const char *name) {
  for (; *name; name++) {
    size_t i = 0;
    while (part[i] && tern__lower(name[i]) == tern__lower(part[i])) i++;
    if (!part[i]) return true;
  }
  return false;
}

/* All backends of this build, the CPU first. The only place where sdk names a backend. */
const tern__backend_api *const *tern__backend_list(size_t *count);

#endif
