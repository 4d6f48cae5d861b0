/* Slice: starts, ends, axes, steps as attributes (opset 1-9) or inputs. Negative positions count from the
 * end, all are clamped (ONNX: Slice-13). */
#include <string.h>

#include "ops/elements.h"

typedef struct range {
  int64_t start[TERN_MAX_RANK], step[TERN_MAX_RANK], count[TERN_MAX_RANK];
} range;

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

static tern_status read_ranges(const tern__op_call *call, range *r, bool *known) {
  tern_status status = TERN_OK;
  const tern__shape *shape = &call->inputs[0].shape;
  int64_t starts[TERN_MAX_RANK], ends[TERN_MAX_RANK], axes[TERN_MAX_RANK], steps[TERN_MAX_RANK];
  int32_t n, n_ends, n_axes, n_steps;
  *known = false;
  TERN_TRY(tern__op_ints_or_attr(call, 1, "starts", starts, TERN_MAX_RANK, &n));
  TERN_TRY(tern__op_ints_or_attr(call, 2, "ends", ends, TERN_MAX_RANK, &n_ends));
  TERN_TRY(tern__op_ints_or_attr(call, 3, "axes", axes, TERN_MAX_RANK, &n_axes));
  TERN_TRY(tern__op_ints_or_attr(call, 4, "steps", steps, TERN_MAX_RANK, &n_steps));
  if (n == -1 || n_ends == -1 || n_axes == -1 || n_steps == -1) goto cleanup;
  if (n < 0 || n_ends != n || (n_axes >= 0 && n_axes != n) || (n_steps >= 0 && n_steps != n) ||
      n > shape->rank)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH,
                           "starts, ends, axes and steps do not fit each other"));
  for (int32_t d = 0; d < shape->rank; d++) r->start[d] = 0, r->step[d] = 1, r->count[d] = shape->dims[d];
  for (int32_t i = 0; i < n; i++) {
    int32_t axis;
    TERN_TRY(tern__op_axis(call, n_axes >= 0 ? axes[i] : i, shape->rank, &axis));
    int64_t dim = shape->dims[axis], step = n_steps >= 0 ? steps[i] : 1;
    if (step == 0) TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "a step of 0"));
    if (step < -INT32_MAX) step = -INT32_MAX; /* INT64_MIN: one element, as any step beyond the size */
    if (step > INT32_MAX && dim < INT32_MAX) step = INT32_MAX;
    int64_t start = starts[i] < 0 ? clamp(starts[i], -dim - 1, -1) + dim : starts[i];
    int64_t end = ends[i] < 0 ? clamp(ends[i], -dim - 1, -1) + dim : ends[i];
    start = step > 0 ? clamp(start, 0, dim) : clamp(start, 0, dim - 1);
    end = step > 0 ? clamp(end, 0, dim) : clamp(end, -1, dim - 1);
    int64_t span = step > 0 ? end - start : start - end, width = step > 0 ? step : -step;
    r->start[axis] = start, r->step[axis] = step,
    r->count[axis] = span <= 0 || dim == 0 ? 0 : (span + width - 1) / width;
  }
  *known = true;
cleanup:
  return status;
}

static tern_status infer(tern__op_call *call) {
  range r;
  bool known;
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = read_ranges(call, &r, &known);
  if (status != TERN_OK || !known) return status;
  call->outputs[0].shape.rank = call->inputs[0].shape.rank;
  memcpy(call->outputs[0].shape.dims, r.count, sizeof r.count);
  return TERN_OK;
}

static tern_status reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  range r;
  bool known;
  int64_t strides[TERN_MAX_RANK], index[TERN_MAX_RANK] = {0}, base = 0;
  size_t size = tern__element_size(x->dtype), n = tern__view_count(y);
  tern_status status = read_ranges(call, &r, &known);
  if (status != TERN_OK) return status;
  int32_t rank = x->shape.rank;
  tern__dense_strides(&x->shape, strides);
  for (int32_t d = 0; d < rank; d++) base += r.start[d] * strides[d], strides[d] *= r.step[d];
  while (rank > 0 && strides[rank - 1] == (int64_t)tern__dims_product(&y->shape, rank, y->shape.rank))
    rank--; /* whole runs */
  size_t run = tern__dims_product(&y->shape, rank, y->shape.rank);
  for (size_t at = 0; at < n; at += run) {
    memcpy((char *)y->data + at * size,
           (const char *)x->data + (size_t)(base + tern__offset_of(index, strides, rank)) * size, run * size);
    (void)tern__next_index(y->shape.dims, rank, index);
  }
  return TERN_OK;
}

static const tern__attr_def attrs_1[] = {
    {"starts", TERN__ATTR_INTS}, {"ends", TERN__ATTR_INTS}, {"axes", TERN__ATTR_INTS}, {NULL, 0}};
const tern__op_def tern__op_slice_1 = {
    .name = "Slice", .domain = "", .since = 1, .until = 9, .min_inputs = 1, .max_inputs = 1,
    .min_outputs = 1, .max_outputs = 1, .attrs = attrs_1, .infer = infer, .reference = reference};
const tern__op_def tern__op_slice = {
    .name = "Slice", .domain = "", .since = 10, .min_inputs = 3, .max_inputs = 5, .min_outputs = 1,
    .max_outputs = 1, .infer = infer, .reference = reference};
