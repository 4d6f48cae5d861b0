/* ScatterElements and ScatterND: a copy of the data with updates at indices; `reduction` combines instead of
 * replacing. */
#include <string.h>

#include "ops/elements.h"

typedef enum combine { REPLACE, ADD, MULTIPLY, LARGER, SMALLER, UNKNOWN } combine;

static combine read_reduction(const tern__op_call *call) {
  static const char *const names[] = {"none", "add", "mul", "max", "min"};
  const char *name = tern__node_string(call->node, "reduction", "none");
  int i = 0;
  while (i < UNKNOWN && strcmp(name, names[i]) != 0) i++;
  return (combine)i;
}

static tern_status check(const tern__op_call *call) {
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (call->inputs[1].dtype != TERN_DTYPE_I64 && call->inputs[1].dtype != TERN_DTYPE_I32)
    return tern__op_bad_type(call, 1);
  if (call->inputs[2].dtype != call->inputs[0].dtype) return tern__op_bad_type(call, 2);
  if (read_reduction(call) == UNKNOWN)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "reduction '%s'",
                         tern__node_string(call->node, "reduction", ""));
  return TERN_OK;
}

static void put(combine how, const tern__view *y, size_t to, const tern__view *u, size_t from) {
  size_t size = tern__element_size(y->dtype);
  if (how == REPLACE) memcpy((char *)y->data + to * size, (const char *)u->data + from * size, size);
  else if (tern__dtype_is_float(y->dtype)) {
    double a = tern__view_real(y, to), b = tern__view_real(u, from);
    tern__view_set_real(y, to,
                        how == ADD        ? a + b
                        : how == MULTIPLY ? a * b
                        : how == LARGER   ? (b > a ? b : a)
                        : b < a           ? b
                                          : a);
  } else {
    int64_t a = tern__view_int(y, to), b = tern__view_int(u, from);
    tern__view_set_int(y, to,
                       how == ADD        ? (int64_t)((uint64_t)a + (uint64_t)b)
                       : how == MULTIPLY ? (int64_t)((uint64_t)a * (uint64_t)b)
                       : how == LARGER   ? (b > a ? b : a)
                       : b < a           ? b
                                         : a);
  }
}

static tern_status index_at(const tern__op_call *call, size_t j, int64_t dim, int64_t *out) {
  int64_t i = tern__view_int(&call->inputs[1], j);
  *out = i < 0 ? i + dim : i;
  if (*out >= 0 && *out < dim) return TERN_OK;
  return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "index %lld is out of range for a dimension of %lld",
                       (long long)i, (long long)dim);
}

static tern_status elements_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape, *j = &call->inputs[1].shape;
  int32_t axis;
  tern_status status = check(call);
  if (status != TERN_OK) return status;
  if (tern__op_inputs_known(call)) {
    status = tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->rank, &axis);
    if (status != TERN_OK) return status;
    bool fits = x->rank == j->rank && tern__shape_equal(j, &call->inputs[2].shape);
    for (int32_t d = 0; fits && d < x->rank; d++) fits = d == axis || j->dims[d] <= x->dims[d];
    if (!fits)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "indices and updates do not fit the data");
  }
  return tern__op_infer_same(call);
}

static tern_status elements_reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  int64_t strides[TERN_MAX_RANK], at[TERN_MAX_RANK] = {0};
  int32_t axis;
  TERN_TRY(tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->shape.rank, &axis));
  memmove(y->data, x->data, y->size_bytes);
  tern__dense_strides(&x->shape, strides);
  for (size_t i = 0, n = tern__view_count(&call->inputs[1]); i < n; i++) {
    int64_t index, keep = at[axis];
    TERN_TRY(index_at(call, i, x->shape.dims[axis], &index));
    at[axis] = index;
    put(read_reduction(call), y, (size_t)tern__offset_of(at, strides, x->shape.rank), &call->inputs[2], i);
    at[axis] = keep;
    (void)tern__next_index(call->inputs[1].shape.dims, x->shape.rank, at);
  }
cleanup:
  return status;
}

static tern_status nd_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape, *j = &call->inputs[1].shape, *u = &call->inputs[2].shape;
  tern_status status = check(call);
  if (status != TERN_OK) return status;
  if (tern__op_inputs_known(call)) {
    bool fits = j->rank >= 1 && j->dims[j->rank - 1] >= 1 && j->dims[j->rank - 1] <= x->rank;
    int32_t depth = fits ? (int32_t)j->dims[j->rank - 1] : 0;
    fits = fits && u->rank == j->rank - 1 + x->rank - depth;
    for (int32_t d = 0; fits && d < u->rank; d++)
      fits = u->dims[d] == (d < j->rank - 1 ? j->dims[d] : x->dims[depth + d - (j->rank - 1)]);
    if (!fits)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "indices and updates do not fit the data");
  }
  return tern__op_infer_same(call);
}

static tern_status nd_reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *j = &call->inputs[1], *y = &call->outputs[0];
  int64_t strides[TERN_MAX_RANK];
  int32_t depth = (int32_t)j->shape.dims[j->shape.rank - 1];
  size_t rows = tern__dims_product(&j->shape, 0, j->shape.rank - 1),
         run = tern__dims_product(&x->shape, depth, x->shape.rank);
  memmove(y->data, x->data, y->size_bytes);
  tern__dense_strides(&x->shape, strides);
  for (size_t r = 0; r < rows; r++) {
    size_t offset = 0;
    for (int32_t d = 0; d < depth; d++) {
      int64_t index;
      TERN_TRY(index_at(call, r * (size_t)depth + (size_t)d, x->shape.dims[d], &index));
      offset += (size_t)(index * strides[d]);
    }
    for (size_t i = 0; i < run; i++) put(read_reduction(call), y, offset + i, &call->inputs[2], r * run + i);
  }
cleanup:
  return status;
}

static const tern__attr_def elements_attrs[] = {
    {"axis", TERN__ATTR_INT}, {"reduction", TERN__ATTR_STRING}, {NULL, 0}};
static const tern__attr_def nd_attrs[] = {{"reduction", TERN__ATTR_STRING}, {NULL, 0}};
const tern__op_def tern__op_scatter_elements = {
    .name = "ScatterElements", .domain = "", .since = 11, .min_inputs = 3, .max_inputs = 3,
    .min_outputs = 1, .max_outputs = 1, .attrs = elements_attrs, .infer = elements_infer,
    .reference = elements_reference};
const tern__op_def tern__op_scatter_nd = {
    .name = "ScatterND", .domain = "", .since = 11, .min_inputs = 3, .max_inputs = 3, .min_outputs = 1,
    .max_outputs = 1, .attrs = nd_attrs, .infer = nd_infer, .reference = nd_reference};
