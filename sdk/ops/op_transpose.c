/* Rearranging whole elements: Transpose, Expand, Tile, Trilu. */
#include <string.h>

#include "ops/elements.h"

/* y[index] = x[sum index * strides], row by row along the last dimension. */
static tern_status copy_strided(const tern__op_call *call, const int64_t *strides) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  size_t size = tern__element_size(y->dtype), n = tern__view_count(y);
  int32_t rank = y->shape.rank, outer = rank > 0 ? rank - 1 : 0;
  int64_t index[TERN_MAX_RANK] = {0};
  size_t row = rank > 0 ? (size_t)y->shape.dims[outer] : 1,
         step = rank > 0 ? (size_t)strides[outer] * size : 0;
  for (size_t at = 0, r = 0; at < n; at += row, r++) {
    TERN_TRY(tern__op_poll(call, row < 64 ? r : 0));
    const char *from = (const char *)x->data + (size_t)tern__offset_of(index, strides, outer) * size;
    char *to = (char *)y->data + at * size;
    if (step == size) memcpy(to, from, row * size);
    else
      for (size_t i = 0; i < row; i++) memcpy(to + i * size, from + i * step, size);
    (void)tern__next_index(y->shape.dims, outer, index);
  }
cleanup:
  return status;
}

static tern_status read_perm(const tern__op_call *call, int32_t rank, int32_t *perm) {
  size_t n;
  const int64_t *ints = tern__node_ints(call->node, "perm", &n);
  bool seen[TERN_MAX_RANK] = {false};
  for (int32_t d = 0; d < rank; d++) perm[d] = rank - 1 - d;
  if (!ints) return TERN_OK;
  if (n != (size_t)rank)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "perm has %zu entries for rank %d", n, rank);
  for (int32_t d = 0; d < rank; d++) {
    tern_status status = tern__op_axis(call, ints[d], rank, &perm[d]);
    if (status != TERN_OK) return status;
    if (seen[perm[d]])
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "perm names axis %d twice", perm[d]);
    seen[perm[d]] = true;
  }
  return TERN_OK;
}

static tern_status transpose_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  int32_t perm[TERN_MAX_RANK];
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (x->rank < 0) return TERN_OK;
  tern_status status = read_perm(call, x->rank, perm);
  if (status != TERN_OK) return status;
  call->outputs[0].shape.rank = x->rank;
  for (int32_t d = 0; d < x->rank; d++) call->outputs[0].shape.dims[d] = x->dims[perm[d]];
  return TERN_OK;
}

static tern_status transpose_reference(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  int32_t perm[TERN_MAX_RANK];
  int64_t dense[TERN_MAX_RANK], strides[TERN_MAX_RANK];
  tern_status status = read_perm(call, x->rank, perm);
  if (status != TERN_OK) return status;
  tern__dense_strides(x, dense);
  for (int32_t d = 0; d < x->rank; d++) strides[d] = dense[perm[d]];
  return copy_strided(call, strides);
}

static tern_status expand_infer(tern__op_call *call) {
  tern__shape want = {.rank = 0};
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  tern_status status = tern__op_ints(call, 1, want.dims, TERN_MAX_RANK, &want.rank);
  if (status != TERN_OK || want.rank < 0) return status;
  for (int32_t d = 0; d < want.rank; d++)
    if (want.dims[d] < 0)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "dimension %d is negative", d);
  return tern__op_broadcast(call, &call->inputs[0].shape, &want, &call->outputs[0].shape);
}

static tern_status expand_reference(tern__op_call *call) {
  int64_t strides[TERN_MAX_RANK];
  tern__broadcast_strides(&call->inputs[0].shape, &call->outputs[0].shape, strides);
  return copy_strided(call, strides);
}

static tern_status tile_infer(tern__op_call *call) {
  int64_t repeats[TERN_MAX_RANK];
  int32_t n;
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  tern_status status = tern__op_ints(call, 1, repeats, TERN_MAX_RANK, &n);
  if (status != TERN_OK || n < 0 || !tern__op_inputs_known(call)) return status;
  tern__shape y = call->inputs[0].shape;
  if (n != y.rank)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "%d repeats for rank %d", n, y.rank);
  for (int32_t d = 0; d < n; d++)
    if (repeats[d] < 0 || __builtin_mul_overflow(y.dims[d], repeats[d], &y.dims[d]))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "repeat %lld is out of range",
                           (long long)repeats[d]);
  call->outputs[0].shape = y;
  return TERN_OK;
}

static tern_status tile_reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  int64_t strides[TERN_MAX_RANK], index[TERN_MAX_RANK] = {0};
  size_t size = tern__element_size(y->dtype);
  tern__dense_strides(&x->shape, strides);
  for (size_t i = 0, n = tern__view_count(y); i < n; i++) {
    int64_t from = 0;
    for (int32_t d = 0; d < y->shape.rank; d++) from += index[d] % x->shape.dims[d] * strides[d];
    memcpy((char *)y->data + i * size, (const char *)x->data + (size_t)from * size, size);
    (void)tern__next_index(y->shape.dims, y->shape.rank, index);
  }
  return TERN_OK;
}

/* Trilu: keeps the triangle on and above (upper) or below diagonal k of the last two dimensions. */
static tern_status trilu_infer(tern__op_call *call) {
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (call->inputs[0].shape.rank >= 0 && call->inputs[0].shape.rank < 2)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the input must have two dimensions or more");
  return tern__op_infer_same(call);
}

static tern_status trilu_reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  bool upper = tern__node_int(call->node, "upper", 1) != 0;
  int64_t k = tern__has_input(call, 1) ? tern__view_int(&call->inputs[1], 0) : 0;
  int64_t rows = x->shape.dims[x->shape.rank - 2], columns = x->shape.dims[x->shape.rank - 1];
  size_t size = tern__element_size(x->dtype), n = tern__view_count(x);
  for (size_t i = 0; i < n; i++) {
    int64_t column = (int64_t)i % columns, row = (int64_t)i / columns % rows, diagonal = column - row;
    bool keep = upper ? diagonal >= k : diagonal <= k;
    if (keep) memmove((char *)y->data + i * size, (const char *)x->data + i * size, size);
    else memset((char *)y->data + i * size, 0, size);
  }
  return TERN_OK;
}

static const tern__attr_def perm_attrs[] = {{"perm", TERN__ATTR_INTS}, {NULL, 0}};
static const tern__attr_def trilu_attrs[] = {{"upper", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_transpose = {
    .name = "Transpose", .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .attrs = perm_attrs, .infer = transpose_infer, .reference = transpose_reference};
const tern__op_def tern__op_expand = {
    .name = "Expand", .domain = "", .since = 8, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .infer = expand_infer, .reference = expand_reference};
const tern__op_def tern__op_tile = {
    .name = "Tile", .domain = "", .since = 6, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .infer = tile_infer, .reference = tile_reference};
const tern__op_def tern__op_trilu = {
    .name = "Trilu", .domain = "", .since = 14, .min_inputs = 1, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .attrs = trilu_attrs, .infer = trilu_infer, .reference = trilu_reference};
