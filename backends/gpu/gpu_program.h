/* A compiled plan on a GPU: dispatches over operands, and what ops need to add theirs. Memory is bound, and commands
 * are recorded, when the runtime has placed every value; until then operands name what they mean. */
#ifndef TERN_GPU_PROGRAM_H
#define TERN_GPU_PROGRAM_H

#include "base/array.h"
#include "gpu/gpu_device.h"
#include "runtime/pack_cache.h"

typedef enum tern__gpu_operand_kind {
  TERN__GPU_NONE,      /* an absent optional operand: any valid range is bound */
  TERN__GPU_VALUE,     /* a value of the graph: in the arena, a constant on the device, or an input */
  TERN__GPU_WEIGHT,    /* a packed weight: index from tern__gpu_add_weight */
  TERN__GPU_SCRATCH,   /* part of the program's scratch memory */
  TERN__GPU_LANE,      /* part of what halves live in between steps: gpu_halves.h */
  TERN__GPU_KEPT,      /* part of what one node leaves to a later one or to its next run (tern__gpu_keep) */
  TERN__GPU_KV_KEYS,   /* index: layer. [batch][kv_heads][capacity][head_dim] float16 */
  TERN__GPU_KV_VALUES,
  TERN__GPU_KV_BOTH,   /* the layer's keys, and its values 256-aligned after them */
  TERN__GPU_POSITIONS, /* i32 pairs (past, fresh) per sequence of the run */
  TERN__GPU_CHAIN,     /* counters of chains (gpu_chain.h): steps do not conflict by them */
  TERN__GPU_CONSTANT   /* index into program->constants; add_step makes it of a VALUE */
} tern__gpu_operand_kind;

/* `offset` and `size` in bytes within the whole; size 0 = all of it. */
typedef struct tern__gpu_operand {
  tern__gpu_operand_kind kind;
  int32_t index;       /* value id, weight, layer */
  uint64_t offset, size;
} tern__gpu_operand;

/* How a step may be part of a chain (gpu_chain.h): which word of its immediates is the chain's, 1 + its number (0: it
 * takes no part); which operands its kernel reads before it waits, bit by bit, that a step of the run might make; and
 * whether of all workgroups along x only one says that it is done, the last. */
typedef struct tern__gpu_link {
  uint32_t word, early;
  bool last_of_x;
} tern__gpu_link;

/* What a step is instead while no sequence goes beyond so many positions (0 = nothing else): a kernel that takes the
 * same parameters, and of the step's operands those named here. */
typedef struct tern__gpu_brief {
  int32_t positions;
  tern__gpu_kernel_id kernel;
  uint32_t groups[3];
  uint8_t operands[TERN__GPU_MAX_BINDINGS];
  tern__gpu_link link;         /* operands are the step's */
} tern__gpu_brief;

typedef struct tern__gpu_step {
  tern__gpu_kernel_id kernel;
  const tern__node *node;      /* whose work it is, for messages and profiles */
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS];
  uint8_t immediates[TERN__GPU_MAX_IMMEDIATE];
  uint32_t groups[3];
  uint64_t operations, bytes;  /* multiply-adds x 2 and bytes moved, for profiles and for cutting submits */
  tern__gpu_brief brief;
  tern__gpu_link link;
} tern__gpu_step;

/* A weight in a layout of the GPU's, made on the host by `build` into `size` bytes and then uploaded. Key and layout as
 * in pack_cache.h: shared by the programs of a model. */
typedef struct tern__gpu_weight {
  const void *key;
  uint64_t layout;
  uint64_t size;
  tern__pack_fn build;
  void *user_data;             /* lives in the program's arena */
  tern__gpu_buffer *buffer;    /* after prepare */
} tern__gpu_weight;

/* A constant of the graph, or a value known while planning, as it is. */
typedef struct tern__gpu_constant_value {
  const void *data;
  uint64_t size;
  bool folded;                 /* known while planning: the program's own */
  tern__gpu_buffer *buffer;    /* after prepare */
} tern__gpu_constant_value;

/* Indices into a dimension of `dim`, counted from the end where negative, as ONNX's Gather has them. */
typedef struct tern__gpu_index_check {
  const tern__node *node;
  tern__value_id indices;
  int64_t dim;
} tern__gpu_index_check;

typedef struct tern__gpu_recording tern__gpu_recording; /* gpu_run.c */
typedef struct tern__gpu_offer tern__gpu_offer;
typedef struct tern__gpu_halves tern__gpu_halves;

/* Memory of halves: free again for a step from number `until` on, unless it is the reader's own. */
typedef struct tern__gpu_lane {
  uint64_t offset, size;
  size_t until;
  const tern__node *reader;
} tern__gpu_lane;

struct tern__program {
  tern__backend *backend;
  const tern__plan *plan;
  tern__pack_cache *cache;
  tern__arena arena;
  tern__gpu_step *steps;       /* base/array.h arrays */
  tern__gpu_weight *weights;
  tern__gpu_constant_value *constants;
  tern__gpu_index_check *index_checks;
  tern__gpu_offer *offers;     /* gpu_rounded.h */
  tern__gpu_halves *halves;    /* gpu_halves.h, and where they live: */
  tern__gpu_lane *lanes;
  uint64_t lane_bytes;         /* of all lanes */
  uint64_t scratch_bytes;      /* the largest need of one node */
  uint64_t kept_bytes;         /* the needs of all nodes together */
  int32_t brief_positions;     /* up to which steps are what `brief` says; 0 = none has that */
  int64_t rotary_positions;    /* of the shortest rotary table; 0 = no table */
  bool dry;                    /* asking only: nothing is added */
  const tern_cancel *cancel;   /* while preparing */
  tern__gpu_recording *recording;
};

/* An arena or a KV cache. */
struct tern__device_memory {
  uint64_t id;                 /* of its own, unlike its address */
  tern__gpu_buffer *buffer;    /* an arena's */
  uint64_t size;
  int32_t n_layers;            /* of a KV cache */
  tern__gpu_buffer **layers;   /* per layer: its buffer, which neighbours may share */
  uint64_t *k, *v, *bytes;     /* per layer: offsets in it, and the size of either */
  uint64_t runs;               /* of a KV cache: that wrote to it */
  uint64_t ahead;              /* ticket of a step that may use it while nobody waits (gpu_ahead.c) */
};

/* The file that the device's compiled kernels are kept in: gpu_cache.h. */
typedef struct tern__gpu_cache {
  char *path;                  /* NULL = none */
  size_t size;                 /* of what is in it, as far as known; 0 = nothing */
  uint64_t hash;
  _Atomic int32_t busy;
  bool failed;                 /* it cannot be written */
} tern__gpu_cache;

/* The one backend over two device APIs: backends/vulkan and backends/webgpu each define a tern__backend_api that opens
 * it with theirs. */
struct tern__backend {
  tern__backend_env env;
  const tern__gpu_api *api;
  tern__gpu_device *device;
  tern__gpu_info *info;
  _Atomic uint64_t n_memories; /* made so far */
  tern__gpu_cache cache;
  _Atomic bool no_chains;      /* this device lets chains wait in vain (gpu_chain.h): none are recorded */
  _Atomic bool chains_checked; /* it was tried whether it does */
  char description[400];       /* the device's name, and what of it is not used */
};

/* ---- for ops/ ---- */

/* Compiles a node: adds dispatches and sets *taken. Left false, the node runs on the CPU. Must decide from shapes,
 * dtypes, attributes and constants alone, the same whether `dry` or not. */
typedef tern_status (*tern__gpu_compile_fn)(tern__program *program, const tern__node *node, bool *taken);
/* NULL if there is none for the op; the first if there are several lines in gpu_ops.def. */
tern__gpu_compile_fn tern__gpu_find_op(const tern__op_def *op);
/* Compiles a node by the first of its op's functions that takes it. */
tern_status tern__gpu_compile_node(tern__program *program, const tern__node *node, bool *taken);

/* Adds a dispatch. `operands`: one per binding of the kernel. Hazards between dispatches are found from the operands'
 * ranges: barriers are not the op's business. Fails if groups exceed the device's limits. */
tern_status tern__gpu_add_step(tern__program *program, const tern__node *node, tern__gpu_kernel_id kernel,
                               const tern__gpu_operand *operands, const void *immediates, uint32_t x, uint32_t y,
                               uint32_t z);
/* Gives a step that was added before another operand. */
tern_status tern__gpu_set_operand(tern__program *program, tern__gpu_step *step, int32_t binding,
                                  tern__gpu_operand operand);
/* Sets what the last step added costs. */
void tern__gpu_cost(tern__program *program, uint64_t operations, uint64_t bytes);
/* Reserves scratch for the node being compiled; offsets within it are the op's to divide (multiples of 256). */
void tern__gpu_need_scratch(tern__program *program, uint64_t bytes);
/* Memory that no other node uses, zero before the first run. */
tern__gpu_operand tern__gpu_keep(tern__program *program, uint64_t bytes);
/* The index of a weight, for TERN__GPU_WEIGHT. Weights with the same key and layout are one. */
tern_status tern__gpu_add_weight(tern__program *program, const tern__gpu_weight *weight, int32_t *index);
/* Input i of the node holds indices into a dimension of `dim`. A run looks at those that come from the host before it
 * starts, so that one out of range is the error that it is on the CPU; one that the device computed gives NaN or 0.
 * False if they are known already and one is out of range: the node is the CPU's, to say so. */
tern_status tern__gpu_add_index_check(tern__program *program, const tern__node *node, int32_t i, int64_t dim,
                                      bool *good);
/* SHAPE_MISMATCH, naming the node and the first index that is out of range. */
tern_status tern__gpu_check_indices(const tern__gpu_index_check *check, const tern__view *indices);
/* The last step added is another one up to so many positions; one number for all steps of a program. */
void tern__gpu_set_brief(tern__program *program, const tern__gpu_brief *brief);
/* The last step added may be part of a chain. */
void tern__gpu_set_link(tern__program *program, tern__gpu_link link);
void *tern__gpu_params(tern__program *program, size_t size); /* zeroed, lives with the program; NULL = no memory */

/* Whether the node alone reads the value, once, and the host nothing of it; `root`: of what it is called there. */
bool tern__gpu_only_reader(const tern__program *program, tern__value_id root, const tern__node *node);

/* Groups for `count` invocations of a kernel with workgroup size `size` in x: x fills up to the device's limit and
 * continues in y; kernels compute i = id.y * groups.x * size + id.x. */
void tern__gpu_groups_1d(const tern__program *program, uint64_t count, uint32_t size, uint32_t groups[2]);

static inline const tern__view *tern__gpu_in(const tern__program *program, const tern__node *node, int32_t i) {
  return i < node->n_inputs && node->inputs[i] >= 0 ? &program->plan->views[node->inputs[i]] : NULL;
}
static inline const tern__view *tern__gpu_out(const tern__program *program, const tern__node *node, int32_t i) {
  return i < node->n_outputs && node->outputs[i] >= 0 ? &program->plan->views[node->outputs[i]] : NULL;
}
/* The operand of input or output i; TERN__GPU_NONE if absent. */
static inline tern__gpu_operand tern__gpu_input(const tern__node *node, int32_t i) {
  if (i >= node->n_inputs || node->inputs[i] < 0) return (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
  return (tern__gpu_operand){TERN__GPU_VALUE, node->inputs[i], 0, 0};
}
static inline tern__gpu_operand tern__gpu_output(const tern__node *node, int32_t i) {
  if (i >= node->n_outputs || node->outputs[i] < 0) return (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
  return (tern__gpu_operand){TERN__GPU_VALUE, node->outputs[i], 0, 0};
}
static inline tern__gpu_operand tern__gpu_scratch(uint64_t offset, uint64_t size) {
  return (tern__gpu_operand){TERN__GPU_SCRATCH, 0, offset, size};
}
/* Bytes of a constant input, NULL if it is computed. */
const void *tern__gpu_constant(const tern__program *program, const tern__node *node, int32_t i);
/* Elements of a view whose shape is known (all are when a program is compiled). */
static inline uint64_t tern__gpu_elements(const tern__view *view) {
  uint64_t n = 1;
  for (int32_t i = 0; i < view->shape.rank; i++) n *= (uint64_t)view->shape.dims[i];
  return n;
}
/* Product of dims [from, to). */
static inline uint64_t tern__gpu_product(const tern__shape *shape, int32_t from, int32_t to) {
  uint64_t n = 1;
  for (int32_t i = from; i < to; i++) n *= (uint64_t)shape->dims[i];
  return n;
}

/* ---- the backend's parts ---- */

/* gpu_backend.c: what a tern__backend_api of a GPU is made of. */
tern_status tern__gpu_open(const tern__backend_env *env, const tern__gpu_api *api, const char *which,
                           tern__backend **out);
void tern__gpu_close(tern__backend *backend);
const char *tern__gpu_describe(const tern__backend *backend);
tern_status tern__gpu_optimize(tern__backend *backend, tern__graph *graph, tern_numerics numerics);
bool tern__gpu_supports(const tern__backend *backend, const tern__op_def *op);
tern_status tern__gpu_compile(tern__backend *backend, const tern__plan *plan, tern__pack_cache *cache,
                              tern__program **out, tern__program_info *info);
void tern__gpu_destroy_program(tern__program *program);
extern const tern__device_api tern__gpu_device_api;

/* gpu_prepare.c: weights, constants and pipelines, by all threads of the pool. */
tern_status tern__gpu_prepare(tern__program *program, const tern_progress *progress, const tern_cancel *cancel);

/* gpu_run.c: memory, recording, running. */
tern_status tern__gpu_bind(tern__program *program, tern__device_memory *arena, tern__device_memory *kv);
tern_status tern__gpu_run(tern__program *program, const tern__run_args *args);
tern_status tern__gpu_recording_create(tern__program *program);
void tern__gpu_recording_destroy(tern__program *program);
bool tern__gpu_hold(tern__program *program, tern__value_id value);
void *tern__gpu_held(const tern__program *program, tern__value_id value);
tern_status tern__gpu_bring(tern__program *program, tern__value_id value, void *to);
void tern__gpu_profile(tern__program *program, tern__json_writer *w);
uint64_t tern__gpu_recording_bytes(const tern__program *program); /* staging, scratch, kept */

/* A tern__backend_api over a device API: its name, and the function that opens it by tern__gpu_open. */
#define TERN__GPU_BACKEND(device_name, open_device)                                                                \
  {.name = device_name, .open = open_device, .close = tern__gpu_close, .describe = tern__gpu_describe,             \
   .optimize = tern__gpu_optimize, .supports = tern__gpu_supports, .compile = tern__gpu_compile,                   \
   .prepare = tern__gpu_prepare, .run = tern__gpu_run, .destroy_program = tern__gpu_destroy_program,               \
   .profile = tern__gpu_profile, .device = &tern__gpu_device_api}

#endif
