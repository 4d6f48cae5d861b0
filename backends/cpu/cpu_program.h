/* A compiled plan on the CPU: steps that all threads walk together, and what ops need to add theirs. */
#ifndef TERN_CPU_PROGRAM_H
#define TERN_CPU_PROGRAM_H

#include "cpu/cpu_kernels.h"
#include "runtime/backend.h"
#include "runtime/pack_cache.h"

/* Threads that help one another store the same bytes twice (cpu_run.c), a data race by the letter. */
#if defined(__has_feature)
#  if __has_feature(thread_sanitizer)
#    define TERN__CPU_NO_HELPING
#  endif
#endif
#if defined(__SANITIZE_THREAD__) && !defined(TERN__CPU_NO_HELPING)
#  define TERN__CPU_NO_HELPING
#endif

typedef struct tern__cpu_step tern__cpu_step;

/* What a step's function gets to know about the run and its thread. */
typedef struct tern__cpu_context {
  const tern__cpu_kernels *kernels;
  const tern__run_args *args;
  tern__alloc *alloc;
  uint8_t *scratch;  /* of this thread, 64-byte aligned; undefined when a chunk starts */
  uint8_t *shared;   /* of the program; a step may leave results there for the next steps of its node */
  tern__cpu_asking *asking; /* the thread's: what steps that leave memory idle may ask for */
} tern__cpu_context;

/* Does chunk `chunk` of the step. Chunks of a step run in any order on any thread; the split into chunks must
 * not change results. */
typedef tern_status (*tern__cpu_chunk_fn)(const tern__cpu_step *step, const tern__cpu_context *context,
                                          uint32_t chunk);

struct tern__cpu_step {
  tern__cpu_chunk_fn run;
  uint32_t n_chunks;
  bool joined;               /* runs in one piece with the step before it: both have one chunk */
  bool beside;               /* needs nothing of the step before it: their chunks run together */
  bool repeatable;           /* a chunk stores nothing but results, and reads and writes nothing that outlives the run:
                                it may run twice, at the same time and, the second time, after the run */
  size_t shared;             /* byte offset of its node's shared scratch */
  const void *const *stream; /* what its chunks read once, one after the other, stream_bytes each and stream_size in
                                all: it is known after prepare where; NULL = no such thing */
  size_t stream_bytes, stream_size;
  const tern__node *node;
  const tern__view **in;     /* NULL entries: absent */
  const tern__view **out;
  void *params;              /* of the op; lives in the program's arena */
};

/* Writes panel number `panel` of the weights that `source` describes to `out`. */
typedef void (*tern__cpu_panel_fn)(const void *source, size_t panel, uint8_t *out);

/* A weight to be packed in prepare, panels by all threads; *out is set then. */
typedef struct tern__cpu_pack {
  const void *key;
  uint64_t layout;
  size_t n_panels, panel_bytes;
  tern__cpu_panel_fn write_panel;
  const void *source;
  const void **out;
  size_t key_bytes;          /* that `key` points to, and that nothing else reads when they are packed, or seldom */
} tern__cpu_pack;

/* What a profile keeps of a run; times are there only if the plan asks for them. */
typedef struct tern__cpu_times {
  _Atomic uint64_t *step_ns; /* per step: of its chunks, on whichever thread they ran */
  uint64_t *phase_end;       /* per phase: when its last chunk was counted, by the thread that did so */
  tern__op_work *work;       /* per step: its node's, at the first step of that */
  uint64_t begin;            /* of the run */
} tern__cpu_times;

struct tern__program {
  tern__backend *backend;
  const tern__plan *plan;
  tern__pack_cache *cache;
  tern__arena arena;
  tern__cpu_step *steps;     /* base/array.h arrays */
  tern__cpu_pack *packs;
  uint32_t *ends;            /* per phase (steps between two joins): chunks of the run up to its end */
  uint32_t *starts;          /* per phase: its first step */
  uint32_t *streams;         /* per phase: the next one after it that streams; UINT32_MAX = none soon */
  const tern_cancel *cancel; /* while preparing */
  size_t thread_scratch, shared_scratch;
  size_t shared_at;               /* while compiling: of the node's shared scratch; others' if the plan is separate */
  const tern__view *shared_holds; /* while compiling: the X whose quantized rows the shared scratch has, */
  tern__cpu_chunk_fn shared_by;   /* and the function that writes them there, in its form */
  uint8_t *scratch;          /* shared_scratch, then n_threads times thread_scratch */
  size_t scratch_size;
  int32_t n_threads;
  struct tern__cpu_counters *run; /* counters of the run in progress */
  uint32_t ticket;           /* tern__pool_ticket of the last run, if it may have ended ahead of its threads */
  tern__cpu_times *times;    /* NULL without a profile */
};

struct tern__backend {
  tern__backend_env env;
  const tern__cpu_kernels *kernels;
};

/* ---- for ops/ ---- */

/* Compiles a node: adds steps, and sets *taken. Left false, the op's reference runs. */
typedef tern_status (*tern__cpu_compile_fn)(tern__program *program, const tern__node *node, bool *taken);
/* NULL if there is none for the op. */
tern__cpu_compile_fn tern__cpu_find_op(const tern__op_def *op);

/* Adds a step of the node with its views filled in; fails with OUT_OF_MEMORY. */
tern_status tern__cpu_add_step(tern__program *program, const tern__node *node, tern__cpu_chunk_fn run,
                               size_t n_chunks, void *params);
/* Of the step added last: its chunks store nothing but results, never something on the way to them, and nothing in the
 * KV cache. (That they read no input of the graph is seen in tern__cpu_phases.) */
void tern__cpu_repeatable(tern__program *program);
void *tern__cpu_params(tern__program *program, size_t size); /* zeroed; NULL = no memory */
void tern__cpu_need_scratch(tern__program *program, size_t thread_bytes, size_t shared_bytes);
tern_status tern__cpu_add_pack(tern__program *program, const tern__cpu_pack *pack);
/* The step that runs the op's reference. */
tern_status tern__cpu_compile_reference(tern__program *program, const tern__node *node);

static inline const tern__view *tern__cpu_in(const tern__program *program, const tern__node *node,
                                             int32_t i) {
  return i < node->n_inputs && node->inputs[i] >= 0 ? &program->plan->views[node->inputs[i]] : NULL;
}
static inline const tern__view *tern__cpu_out(const tern__program *program, const tern__node *node,
                                              int32_t i) {
  return i < node->n_outputs && node->outputs[i] >= 0 ? &program->plan->views[node->outputs[i]] : NULL;
}
/* Elements of a view whose shape is known (all are when a program is compiled). */
static inline size_t tern__cpu_elements(const tern__view *view) {
  size_t n = 1;
  for (int32_t i = 0; i < view->shape.rank; i++) n *= (size_t)view->shape.dims[i];
  return n;
}
/* Product of dims [from, to). */
static inline size_t tern__cpu_product(const tern__shape *shape, int32_t from, int32_t to) {
  size_t n = 1;
  for (int32_t i = from; i < to; i++) n *= (size_t)shape->dims[i];
  return n;
}
static inline size_t tern__cpu_divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/* A step over a single row asks for so many lines of the next product's weights with so many elements. */
enum { TERN__CPU_ASK_ELEMENTS = 256, TERN__CPU_ASK_LINES = 16 };

/* Elements of each thread's part of `n`, but at least `fewest`: a multiple of 1024 unless it is all of them. */
static inline size_t tern__cpu_share(const tern__program *program, size_t n, size_t fewest) {
  size_t share = tern__cpu_divide_up(n, (size_t)program->n_threads);
  if (share < fewest) share = fewest;
  share = tern__cpu_divide_up(share, 1024) * 1024;
  return share < n ? share : n;
}

/* cpu_run.c */
tern_status tern__cpu_phases(tern__program *program);
tern_status tern__cpu_run(tern__program *program, const tern__run_args *args);
bool tern__cpu_left(const tern__program *program);
void tern__cpu_run_destroy(tern__program *program);
tern_status tern__cpu_run_create(tern__program *program);
/* cpu_profile.c: around a run, its chunks and phases; and what is to be said about it. */
tern_status tern__cpu_times_create(tern__program *program);
void tern__cpu_times_destroy(tern__program *program);
void tern__cpu_times_begin(tern__program *program, const tern__run_args *args);
static inline void tern__cpu_times_step(tern__cpu_times *times, size_t step, uint64_t begin) {
  atomic_fetch_add_explicit(&times->step_ns[step], tern__now_ns() - begin, memory_order_relaxed);
}
void tern__cpu_profile(tern__program *program, tern__json_writer *w);

/* A backend with the best kernels among those in the mask; for tests, which try each in turn. */
tern_status tern__cpu_open_with(const tern__backend_env *env, uint32_t isa_mask, tern__backend **out);

#endif
