/* Gather of plain data (gather.wgsl) and GatherElements (gather_elements.wgsl). Tables in blocks of
 * quantized weights are another file's. */
#include <string.h>

#include "gpu/gpu_walk.h"

enum { WORKGROUP = 64, KERNEL_RANK = 4, NOT_A_NUMBER = 0x7fc00000 };

typedef struct gather_params {
  uint32_t count, row_cells, n_indices, dim, slice_first, slice_end, index_words, fill, kind;
} gather_params;

static uint64_t gcd(uint64_t a, uint64_t b) {
  while (b) {
    uint64_t rest = a % b;
    a = b, b = rest;
  }
  return a;
}

static uint32_t index_words(const tern__view *indices) {
  return indices->dtype == TERN_DTYPE_I64 ? 2 : 1;
}

tern_status tern__gpu_compile_gather(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0), *j = tern__gpu_in(program, node, 1);
  const tern__view *y = tern__gpu_out(program, node, 0);
  int32_t axis = tern__gpu_axis(tern__node_int(node, "axis", 0), x->shape.rank);
  uint64_t size = tern__gpu_element_bytes(x->dtype), outer = tern__gpu_product(&x->shape, 0, axis);
  uint64_t inner = tern__gpu_product(&x->shape, axis + 1, x->shape.rank), dim = (uint64_t)x->shape.dims[axis];
  uint64_t row_bytes = inner * size, limit = program->backend->info->max_binding_bytes,
           n = tern__gpu_elements(j);
  bool half = (x->dtype == TERN_DTYPE_F16 || x->dtype == TERN_DTYPE_BF16) && y->dtype == TERN_DTYPE_F32;
  if (size == 0 || (!half && (row_bytes % 4 || x->dtype != y->dtype)) || dim == 0) return TERN_OK;
  if (!tern__gpu_fits(program, y) || !tern__gpu_fits(program, j) || dim > INT32_MAX || row_bytes > limit)
    return TERN_OK;
  if (limit > INT32_MAX) limit = INT32_MAX;
  uint64_t cell = half ? inner % 4 ? size : 4 * size : row_bytes % 16 ? 4 : 16, slice = dim;
  if (outer * dim * row_bytes > limit) {
    if (outer > 1 || row_bytes == 0) return TERN_OK;
    uint64_t even = 256 / gcd(row_bytes, 256); /* slices start where a binding may */
    slice = limit / (row_bytes * even) * even;
    if (slice == 0) return TERN_OK;
  }
  TERN_TRY(tern__gpu_add_index_check(program, node, 1, (int64_t)dim, taken));
  if (!*taken) return TERN_OK;
  gather_params p = {(uint32_t)(outer * n * (row_bytes / cell)), (uint32_t)(row_bytes / cell), (uint32_t)n,
                     (uint32_t)dim, 0, 0, index_words(j), y->dtype == TERN_DTYPE_F32 ? NOT_A_NUMBER : 0,
                     x->dtype == TERN_DTYPE_BF16};
  if (p.count == 0) return TERN_OK;
  for (uint64_t at = 0; at < dim; at += slice) {
    uint64_t end = dim - at < slice ? dim : at + slice;
    tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_input(node, 1),
                                    tern__gpu_output(node, 0)};
    /* Halves may end in the middle of a word, which the buffer has. */
    if (slice < dim)
      operands[0].offset = at * row_bytes, operands[0].size = ((end - at) * row_bytes + 3) & ~3ull;
    p.slice_first = (uint32_t)at, p.slice_end = (uint32_t)end;
    TERN_TRY(tern__gpu_add_1d(program, node,
                                half         ? cell == size ? TERN__KERNEL_gather_half : TERN__KERNEL_gather_half_quads
                                : cell == 16 ? TERN__KERNEL_gather_quads
                                             : TERN__KERNEL_gather_words,
                                operands, &p, p.count, WORKGROUP));
    tern__gpu_cost(program, 0, outer * n * row_bytes * (half ? 3 : 2));
  }
cleanup:
  return status;
}

typedef struct gather_elements_params {
  uint32_t count, dim1, dim2, dim3, steps[KERNEL_RANK], axis_step, dim, words, index_words, fill, pad[3];
} gather_elements_params;

tern_status tern__gpu_compile_gather_elements(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0), *j = tern__gpu_in(program, node, 1);
  const tern__view *y = tern__gpu_out(program, node, 0);
  int32_t rank = x->shape.rank, axis = tern__gpu_axis(tern__node_int(node, "axis", 0), rank);
  uint32_t words = tern__gpu_element_bytes(x->dtype) / 4;
  tern__gpu_walk walk = tern__gpu_walk_over(&y->shape);
  if (words == 0 || !tern__gpu_fits(program, x) || !tern__gpu_fits(program, j) || !tern__gpu_fits(program, y))
    return TERN_OK;
  int64_t step = 1, axis_step = 1;
  for (int32_t d = rank; d-- > 0; step *= x->shape.dims[d]) {
    if (d == axis) axis_step = step;
    walk.steps[0][d] = d == axis ? 0 : (int32_t)step;
    walk.steps[1][d] = d == axis; /* keeps the axis from being merged */
  }
  tern__gpu_walk_merge(&walk);
  if (walk.rank > KERNEL_RANK) return TERN_OK;
  gather_elements_params p = {.count = (uint32_t)tern__gpu_elements(y),
                              .dim1 = 1,
                              .dim2 = 1,
                              .dim3 = 1,
                              .axis_step = (uint32_t)axis_step,
                              .dim = (uint32_t)x->shape.dims[axis],
                              .words = words,
                              .index_words = index_words(j),
                              .fill = y->dtype == TERN_DTYPE_F32 ? NOT_A_NUMBER : 0};
  p.dim3 = walk.dims[walk.rank - 1];
  if (walk.rank > 1) p.dim2 = walk.dims[walk.rank - 2];
  if (walk.rank > 2) p.dim1 = walk.dims[walk.rank - 3];
  tern__gpu_walk_inner(&walk, 0, KERNEL_RANK, p.steps);
  TERN_TRY(tern__gpu_add_index_check(program, node, 1, x->shape.dims[axis], taken));
  if (!*taken) return TERN_OK;
  if (p.count == 0) return TERN_OK;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_input(node, 1),
                                  tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_gather_elements, operands, &p, p.count, WORKGROUP));
  tern__gpu_cost(program, 0, 4ull * p.count * (2 * words + p.index_words));
cleanup:
  return status;
}
