/* Walks over tensors for kernels: see gpu_walk.h. */
#include "gpu/gpu_walk.h"

#include <string.h>

void tern__gpu_walk_add(tern__gpu_walk *walk, uint32_t dim, int32_t step0, int32_t step1, int32_t step2) {
  int32_t at = walk->rank++;
  walk->dims[at] = dim;
  walk->steps[0][at] = step0, walk->steps[1][at] = step1, walk->steps[2][at] = step2;
}

tern__gpu_walk tern__gpu_walk_over(const tern__shape *shape) {
  tern__gpu_walk walk = {0};
  for (int32_t d = 0; d < shape->rank; d++) tern__gpu_walk_add(&walk, (uint32_t)shape->dims[d], 0, 0, 0);
  return walk;
}

void tern__gpu_walk_broadcast(tern__gpu_walk *walk, int32_t i, const tern__shape *from) {
  int64_t step = 1;
  for (int32_t d = from->rank; d-- > 0; step *= from->dims[d]) {
    int32_t at = d + walk->rank - from->rank;
    walk->steps[i][at] = from->dims[d] == 1 ? 0 : (int32_t)step;
  }
}

void tern__gpu_walk_merge(tern__gpu_walk *walk) {
  tern__gpu_walk merged = {0};
  for (int32_t d = 0; d < walk->rank; d++) {
    uint32_t dim = walk->dims[d];
    int32_t outer = merged.rank - 1;
    bool even = outer >= 0;
    if (dim == 1) continue;
    for (int32_t i = 0; even && i < TERN__GPU_WALK_STEPS; i++)
      even = merged.steps[i][outer] == (int64_t)walk->steps[i][d] * dim;
    if (even) {
      merged.dims[outer] *= dim;
      for (int32_t i = 0; i < TERN__GPU_WALK_STEPS; i++) merged.steps[i][outer] = walk->steps[i][d];
    } else tern__gpu_walk_add(&merged, dim, walk->steps[0][d], walk->steps[1][d], walk->steps[2][d]);
  }
  if (merged.rank == 0) tern__gpu_walk_add(&merged, 1, 0, 0, 0);
  *walk = merged;
}

void tern__gpu_walk_inner(const tern__gpu_walk *walk, int32_t i, int32_t n, uint32_t *steps) {
  for (int32_t k = 0; k < n; k++) {
    int32_t at = walk->rank - n + k;
    steps[k] = at < 0 ? 0 : (uint32_t)walk->steps[i][at];
  }
}

tern_status tern__gpu_add_1d(tern__program *program, const tern__node *node, tern__gpu_kernel_id kernel,
                             const tern__gpu_operand *operands, const void *immediates, uint64_t count,
                             uint32_t size) {
  uint32_t groups[2];
  tern__gpu_groups_1d(program, count, size, groups);
  return tern__gpu_add_step(program, node, kernel, operands, immediates, groups[0], groups[1], 1);
}

uint32_t tern__gpu_element_bytes(tern_dtype dtype) {
  const tern__dtype_info *info = tern__dtype_info_of(dtype);
  return info && info->block_elements == 1 ? info->block_bytes : 0;
}

bool tern__gpu_fits(const tern__program *program, const tern__view *view) {
  uint64_t bytes = tern__gpu_elements(view) * tern__gpu_element_bytes(view->dtype);
  return bytes <= program->backend->info->max_binding_bytes && bytes <= INT32_MAX;
}

int32_t tern__gpu_ints(const tern__program *program, const tern__node *node, int32_t input, const char *name,
                       int64_t *values, int32_t capacity) {
  const tern__view *view = tern__gpu_in(program, node, input);
  size_t count = 0;
  if (!view) {
    const int64_t *ints = tern__node_ints(node, name, &count);
    if (!ints) return -2;
    if (count > (size_t)capacity) return -1;
    memcpy(values, ints, count * sizeof *values);
    return (int32_t)count;
  }
  const char *data = tern__gpu_constant(program, node, input);
  count = tern__gpu_elements(view);
  if ((!data && count) || count > (size_t)capacity) return -1;
  for (size_t i = 0; i < count; i++) {
    int32_t narrow;
    if (view->dtype == TERN_DTYPE_I64) memcpy(&values[i], data + i * 8, 8);
    else if (view->dtype == TERN_DTYPE_I32) memcpy(&narrow, data + i * 4, 4), values[i] = narrow;
    else return -1;
  }
  return (int32_t)count;
}

bool tern__gpu_float(const tern__program *program, const tern__node *node, int32_t input, float *value) {
  const tern__view *view = tern__gpu_in(program, node, input);
  const void *data = tern__gpu_constant(program, node, input);
  if (!view || !data || view->dtype != TERN_DTYPE_F32) return false;
  memcpy(value, data, sizeof *value);
  return true;
}
