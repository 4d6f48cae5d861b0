/* How kernels walk tensors: the dimensions of a result and the steps that operands take along them, merged
 * until few remain. And the small questions that ops ask of shapes, types and constants. */
#ifndef TERN_GPU_WALK_H
#define TERN_GPU_WALK_H

#include "gpu/gpu_program.h"

enum { TERN__GPU_WALK_RANK = 2 * TERN_MAX_RANK + 1, TERN__GPU_WALK_STEPS = 3 };

typedef struct tern__gpu_walk {
  int32_t rank;
  uint32_t dims[TERN__GPU_WALK_RANK];
  int32_t steps[TERN__GPU_WALK_STEPS][TERN__GPU_WALK_RANK]; /* per operand, in elements */
} tern__gpu_walk;

/* Adds a dimension inside those there are. */
void tern__gpu_walk_add(tern__gpu_walk *walk, uint32_t dim, int32_t step0, int32_t step1, int32_t step2);
/* A walk over `shape`, all steps 0. */
tern__gpu_walk tern__gpu_walk_over(const tern__shape *shape);
/* Sets operand `i`'s steps: `from` broadcasts to the walk's shape, unmerged. */
void tern__gpu_walk_broadcast(tern__gpu_walk *walk, int32_t i, const tern__shape *from);
/* Drops dimensions of 1 and merges neighbours that all operands step through evenly. Rank 1 at least. */
void tern__gpu_walk_merge(tern__gpu_walk *walk);
/* Steps of operand `i` along the innermost `n` dimensions, innermost last, 0 where there are fewer. */
void tern__gpu_walk_inner(const tern__gpu_walk *walk, int32_t i, int32_t n, uint32_t *steps);
/* Size of dimension `k` counted from the innermost (0), or 0 if there is none outside it: kernels then
 * need not divide. */
static inline uint32_t tern__gpu_walk_size(const tern__gpu_walk *walk, int32_t k) {
  return k + 1 < walk->rank ? walk->dims[walk->rank - 1 - k] : 0;
}

/* Adds a dispatch of `count` invocations (or rows), `size` of them to a workgroup: tern__gpu_groups_1d, then
 * tern__gpu_add_step. */
tern_status tern__gpu_add_1d(tern__program *program, const tern__node *node, tern__gpu_kernel_id kernel,
                             const tern__gpu_operand *operands, const void *immediates, uint64_t count,
                             uint32_t size);

/* Bytes of an element of a plain type; 0 for types whose elements are no whole bytes. */
uint32_t tern__gpu_element_bytes(tern_dtype dtype);
/* Whether one binding holds the tensor, and 32-bit words count its bytes: what most kernels ask for. */
bool tern__gpu_fits(const tern__program *program, const tern__view *view);
/* Whether inputs a and b are one value: WebGPU forbids binding it twice where it may be written. */
static inline bool tern__gpu_same_input(const tern__node *node, int32_t a, int32_t b) {
  return a < node->n_inputs && b < node->n_inputs && node->inputs[a] >= 0 &&
         node->inputs[a] == node->inputs[b];
}
/* The integers of an axes-like argument: constant input `input`, else attribute `name`. -1: given, but not
 * known while planning (or more than `capacity`); -2: not given. */
int32_t tern__gpu_ints(const tern__program *program, const tern__node *node, int32_t input, const char *name,
                       int64_t *values, int32_t capacity);
/* Element 0 of a constant float32 input; false if it is computed. */
bool tern__gpu_float(const tern__program *program, const tern__node *node, int32_t input, float *value);
/* Axis in [0, rank) from one that may be negative. Inference has checked the range. */
static inline int32_t tern__gpu_axis(int64_t axis, int32_t rank) {
  return (int32_t)(axis < 0 ? axis + rank : axis);
}

#endif
