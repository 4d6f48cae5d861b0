/* Ops that move elements: Transpose, Slice, Split, Expand, Tile (strided.wgsl) and Concat
 * (place_rows.wgsl). Elements are moved as words, four at once where that fits; those of one or two bytes
 * through strided_bytes.wgsl where they must. */
#include <string.h>

#include "gpu/gpu_walk.h"

enum { WORKGROUP = 64, KERNEL_RANK = 6, MAX_PIECES = 64 };

/* StridedParams of include/strided.wgsl. */
typedef struct strided_params {
  uint32_t count, first, x_first, kind, dim5, dim4, dim3, dim2, dim1, step5, step4, step3, step2, step1,
      step0;
} strided_params;

/* Takes groups of n elements for one where whole groups lie together everywhere. */
static bool group_cells(tern__gpu_walk *walk, int64_t *x_first, uint32_t n) {
  int32_t inner = walk->rank - 1;
  if (walk->steps[0][inner] != 1 || walk->dims[inner] % n || *x_first % n) return false;
  for (int32_t d = 0; d < inner; d++)
    if (walk->steps[0][d] % (int32_t)n) return false;
  for (int32_t d = 0; d < inner; d++) walk->steps[0][d] /= (int32_t)n;
  walk->dims[inner] /= n, *x_first /= n;
  tern__gpu_walk_merge(walk);
  return true;
}

/* y, dense, from x along `walk` (operand 0), starting at x's element x_first. */
static tern_status add_strided(tern__program *program, const tern__node *node, int32_t output,
                               tern__gpu_walk walk, int64_t x_first, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, output);
  uint32_t size = tern__gpu_element_bytes(y->dtype), pieces = 1, count = 1, step[KERNEL_RANK];
  uint64_t bytes = tern__gpu_elements(y) * size;
  tern__gpu_kernel_id kernel = TERN__KERNEL_strided;
  if (size == 0 || !tern__gpu_fits(program, x) || !tern__gpu_fits(program, y)) return TERN_OK;
  *taken = bytes == 0;
  if (*taken) return TERN_OK;
  if (size > 4) {
    for (int32_t d = 0; d < walk.rank; d++) walk.steps[0][d] *= (int32_t)(size / 4);
    tern__gpu_walk_add(&walk, size / 4, 1, 0, 0);
    x_first *= size / 4;
  }
  tern__gpu_walk_merge(&walk);
  bool words = size >= 4 || group_cells(&walk, &x_first, 4 / size);
  if (!words) kernel = TERN__KERNEL_strided_bytes;
  else if (group_cells(&walk, &x_first, 4)) kernel = TERN__KERNEL_strided_quads;
  int32_t outer = walk.rank > KERNEL_RANK ? walk.rank - KERNEL_RANK : 0;
  for (int32_t d = 0; d < outer; d++) pieces *= walk.dims[d];
  for (int32_t d = outer; d < walk.rank; d++) count *= walk.dims[d];
  if (pieces > MAX_PIECES || (pieces > 1 && !words)) return TERN_OK;
  tern__gpu_walk_inner(&walk, 0, KERNEL_RANK, step);
  strided_params p = {count,
                      0,
                      0,
                      size,
                      tern__gpu_walk_size(&walk, 0),
                      tern__gpu_walk_size(&walk, 1),
                      tern__gpu_walk_size(&walk, 2),
                      tern__gpu_walk_size(&walk, 3),
                      tern__gpu_walk_size(&walk, 4),
                      step[5],
                      step[4],
                      step[3],
                      step[2],
                      step[1],
                      step[0]};
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, output)};
  uint32_t per_invocation = words ? 1 : 4 / size;
  for (uint32_t piece = 0; piece < pieces; piece++) {
    uint32_t rest = piece;
    p.first = piece * count, p.x_first = (uint32_t)x_first;
    for (int32_t d = outer; d-- > 0; rest /= walk.dims[d])
      p.x_first += rest % walk.dims[d] * (uint32_t)walk.steps[0][d];
    TERN_TRY(tern__gpu_add_1d(program, node, kernel, operands, &p,
                              (count + per_invocation - 1) / per_invocation, WORKGROUP));
    tern__gpu_cost(program, 0, 2 * bytes / pieces);
  }
  *taken = true;
cleanup:
  return status;
}

/* Row-major element steps. Only for tensors that fit: see add_strided. */
static void dense_steps(const tern__shape *shape, int64_t steps[TERN_MAX_RANK]) {
  int64_t step = 1;
  for (int32_t d = shape->rank; d-- > 0; step *= shape->dims[d]) steps[d] = step;
}

tern_status tern__gpu_compile_transpose(tern__program *program, const tern__node *node, bool *taken) {
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  tern__gpu_walk walk = tern__gpu_walk_over(&y->shape);
  int64_t steps[TERN_MAX_RANK];
  size_t n;
  const int64_t *perm = tern__node_ints(node, "perm", &n);
  if (!tern__gpu_fits(program, x)) return TERN_OK;
  dense_steps(&x->shape, steps);
  for (int32_t d = 0; d < walk.rank; d++)
    walk.steps[0][d] = (int32_t)steps[perm ? tern__gpu_axis(perm[d], walk.rank) : walk.rank - 1 - d];
  return add_strided(program, node, 0, walk, 0, taken);
}

tern_status tern__gpu_compile_expand(tern__program *program, const tern__node *node, bool *taken) {
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  tern__gpu_walk walk = tern__gpu_walk_over(&y->shape);
  if (!tern__gpu_fits(program, x)) return TERN_OK;
  tern__gpu_walk_broadcast(&walk, 0, &x->shape);
  return add_strided(program, node, 0, walk, 0, taken);
}

tern_status tern__gpu_compile_tile(tern__program *program, const tern__node *node, bool *taken) {
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  tern__gpu_walk walk = {0};
  int64_t steps[TERN_MAX_RANK];
  if (!tern__gpu_fits(program, x)) return TERN_OK;
  dense_steps(&x->shape, steps);
  for (int32_t d = 0; d < x->shape.rank; d++) {
    int64_t dim = x->shape.dims[d];
    tern__gpu_walk_add(&walk, dim ? (uint32_t)(y->shape.dims[d] / dim) : 0, 0, 0, 0);
    tern__gpu_walk_add(&walk, (uint32_t)dim, (int32_t)steps[d], 0, 0);
  }
  return add_strided(program, node, 0, walk, 0, taken);
}

/* Negative positions count from the end, all are clamped (ONNX Slice-13); the result's shape is known. */
tern_status tern__gpu_compile_slice(tern__program *program, const tern__node *node, bool *taken) {
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  tern__gpu_walk walk = tern__gpu_walk_over(&y->shape);
  int64_t starts[TERN_MAX_RANK], axes[TERN_MAX_RANK], strides[TERN_MAX_RANK], dense[TERN_MAX_RANK],
      x_first = 0;
  int32_t n = tern__gpu_ints(program, node, 1, "starts", starts, TERN_MAX_RANK);
  int32_t n_axes = tern__gpu_ints(program, node, 3, "axes", axes, TERN_MAX_RANK);
  int32_t n_strides = tern__gpu_ints(program, node, 4, "steps", strides, TERN_MAX_RANK);
  if (n < 0 || n_axes == -1 || n_strides == -1 || !tern__gpu_fits(program, x)) return TERN_OK;
  dense_steps(&x->shape, dense);
  for (int32_t d = 0; d < walk.rank; d++) walk.steps[0][d] = (int32_t)dense[d];
  for (int32_t i = 0; i < n; i++) {
    int32_t axis = n_axes >= 0 ? tern__gpu_axis(axes[i], x->shape.rank) : i;
    int64_t dim = x->shape.dims[axis], stride = n_strides >= 0 ? strides[i] : 1, start = starts[i];
    int64_t last = stride > 0 ? dim : dim - 1;
    if (start < 0) start = start < -dim ? 0 : start + dim;
    if (start > last) start = last;
    if (start < 0) start = 0;
    /* With one element the step does not matter, and may be any number. */
    walk.steps[0][axis] = walk.dims[axis] > 1 ? (int32_t)(stride * dense[axis]) : 0;
    x_first += start * dense[axis];
  }
  return add_strided(program, node, 0, walk, x_first, taken);
}

/* The parts' sizes are those of the outputs; only one that nobody wants must be looked up. */
tern_status tern__gpu_compile_split(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  enum { MAX_PARTS = 64 };
  const tern__view *x = tern__gpu_in(program, node, 0);
  int64_t sizes[MAX_PARTS], dense[TERN_MAX_RANK], at = 0;
  int32_t n = tern__gpu_ints(program, node, 1, "split", sizes, MAX_PARTS), rank = x->shape.rank;
  int32_t axis = tern__gpu_axis(tern__node_int(node, "axis", 0), rank);
  if (n == -1 || node->n_outputs > MAX_PARTS || !tern__gpu_fits(program, x)) return TERN_OK;
  int64_t part = (x->shape.dims[axis] + node->n_outputs - 1) / node->n_outputs;
  dense_steps(&x->shape, dense);
  for (int32_t i = 0; i < node->n_outputs; i++) {
    const tern__view *y = tern__gpu_out(program, node, i);
    bool one = true;
    if (y) {
      tern__gpu_walk walk = tern__gpu_walk_over(&y->shape);
      for (int32_t d = 0; d < rank; d++) walk.steps[0][d] = (int32_t)dense[d];
      TERN_TRY(add_strided(program, node, i, walk, at * dense[axis], &one));
    }
    /* Parts are alike but for their sizes; a first one that was taken and a later one not would be half an
     * op. */
    if (!one && i == 0) return TERN_OK;
    if (!one) TERN_FAIL(TERN_STATUS_INTERNAL, "node '%s' (Split): part %d has no kernel", node->name, i);
    at += n >= 0 ? sizes[i] : part;
  }
  *taken = true;
cleanup:
  return status;
}

typedef struct place_params { uint32_t count, row_cells, y_step, first; } place_params;

tern_status tern__gpu_compile_concat(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *y = tern__gpu_out(program, node, 0);
  int32_t axis = tern__gpu_axis(tern__node_int(node, "axis", 0), y->shape.rank);
  uint64_t size = tern__gpu_element_bytes(y->dtype), rows = tern__gpu_product(&y->shape, 0, axis);
  uint64_t inner = tern__gpu_product(&y->shape, axis + 1, y->shape.rank) * size, at = 0;
  uint64_t row_bytes = inner * (uint64_t)y->shape.dims[axis];
  if (size == 0 || !tern__gpu_fits(program, y)) return TERN_OK;
  for (int32_t i = 0; i < node->n_inputs; i++)
    if (inner * (uint64_t)tern__gpu_in(program, node, i)->shape.dims[axis] % 4) return TERN_OK;
  for (int32_t i = 0; i < node->n_inputs; i++) {
    uint64_t piece = inner * (uint64_t)tern__gpu_in(program, node, i)->shape.dims[axis];
    uint64_t cell = piece % 16 || row_bytes % 16 || at % 16 ? 4 : 16;
    place_params p = {(uint32_t)(rows * piece / cell), (uint32_t)(piece / cell), (uint32_t)(row_bytes / cell),
                      (uint32_t)(at / cell)};
    tern__gpu_operand operands[] = {tern__gpu_input(node, i), tern__gpu_output(node, 0)};
    at += piece;
    if (p.count == 0) continue;
    TERN_TRY(tern__gpu_add_1d(program, node,
                              cell == 16 ? TERN__KERNEL_place_rows_quads : TERN__KERNEL_place_rows, operands,
                              &p, p.count, WORKGROUP));
    tern__gpu_cost(program, 0, 2 * rows * piece);
  }
  *taken = true;
cleanup:
  return status;
}

typedef struct last_row_params { uint32_t count, n, rows; } last_row_params;

tern_status tern__gpu_compile_last_row(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  uint64_t bytes = (uint64_t)x->shape.dims[2] * tern__gpu_element_bytes(x->dtype);
  if (y->shape.dims[1] != 1) return tern__gpu_compile_expand(program, node, taken); /* all rows: a copy */
  if (bytes % 4 || !tern__gpu_fits(program, x) || !program->plan->kv) return TERN_OK; /* positions are the cache's */
  last_row_params p = {(uint32_t)((uint64_t)y->shape.dims[0] * bytes / 4), (uint32_t)(bytes / 4),
                       (uint32_t)x->shape.dims[1]};
  tern__gpu_operand operands[] = {
      tern__gpu_input(node, 0), {TERN__GPU_POSITIONS, 0, 0, 0}, tern__gpu_output(node, 0)};
  *taken = true;
  if (p.count == 0) return TERN_OK;
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_last_row, operands, &p, p.count, WORKGROUP));
  tern__gpu_cost(program, 0, 8ull * p.count);
cleanup:
  return status;
}
