/* Where(condition, X, Y) with NumPy broadcasting, and Clip(x, min, max) with bounds as attributes (6-10) or
 * inputs. */
#include <math.h>
#include <string.h>

#include "ops/elements.h"

static tern_status where_infer(tern__op_call *call) {
  tern_status status = TERN_OK;
  tern__shape shape;
  if (call->inputs[0].dtype != TERN_DTYPE_BOOL) return tern__op_bad_type(call, 0);
  if (!tern__element_size(call->inputs[1].dtype)) return tern__op_bad_type(call, 1);
  if (call->inputs[1].dtype != call->inputs[2].dtype)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the branches have types %s and %s",
                         tern_dtype_name(call->inputs[1].dtype), tern_dtype_name(call->inputs[2].dtype));
  call->outputs[0].dtype = call->inputs[1].dtype;
  TERN_TRY(tern__op_broadcast(call, &call->inputs[0].shape, &call->inputs[1].shape, &shape));
  TERN_TRY(tern__op_broadcast(call, &shape, &call->inputs[2].shape, &call->outputs[0].shape));
cleanup:
  return status;
}

/* n neighbours along the last dimension; steps are 0 or 1. */
static void where_row(const uint8_t *yes, const char *a, const char *b, const int64_t step[3], size_t n, size_t size,
                      char *y) {
  for (size_t i = 0; i < n; i++) {
    const char *from = yes[i * (size_t)step[0]] ? a + i * (size_t)step[1] * size : b + i * (size_t)step[2] * size;
    if (size == 4) memcpy(y + i * 4, from, 4); /* a size that is known is a move */
    else memcpy(y + i * size, from, size);
  }
}

static tern_status where_reference(tern__op_call *call) {
  const tern__view *in = call->inputs, *y = &call->outputs[0];
  int64_t strides[3][TERN_MAX_RANK], index[TERN_MAX_RANK] = {0}, step[3] = {0};
  size_t size = tern__element_size(y->dtype), count = tern__view_count(y), n = 1;
  int32_t rank = y->shape.rank > 0 ? y->shape.rank - 1 : 0;
  for (int i = 0; i < 3; i++) tern__broadcast_strides(&in[i].shape, &y->shape, strides[i]);
  if (y->shape.rank > 0) {
    n = (size_t)y->shape.dims[rank];
    for (int i = 0; i < 3; i++) step[i] = strides[i][rank];
  }
  for (size_t i = 0; i < count; i += n) {
    where_row((const uint8_t *)in[0].data + tern__offset_of(index, strides[0], rank),
              (const char *)in[1].data + (size_t)tern__offset_of(index, strides[1], rank) * size,
              (const char *)in[2].data + (size_t)tern__offset_of(index, strides[2], rank) * size, step, n, size,
              (char *)y->data + i * size);
    (void)tern__next_index(y->shape.dims, rank, index);
  }
  return TERN_OK;
}

const tern__op_def tern__op_where = {
    .name = "Where", .domain = "", .since = 9, .min_inputs = 3, .max_inputs = 3, .min_outputs = 1,
    .max_outputs = 1, .infer = where_infer, .reference = where_reference};

static tern_status clip_infer(tern__op_call *call) {
  if (!tern__dtype_is_number(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  for (int32_t i = 1; i < 3; i++)
    if (tern__has_input(call, i) && call->inputs[i].dtype != call->inputs[0].dtype)
      return tern__op_bad_type(call, i);
  for (int32_t i = 1; i < 3; i++) {
    size_t n;
    if (tern__has_input(call, i) && tern__shape_count(&call->inputs[i].shape, &n) && n != 1)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the bounds must be scalars");
  }
  return tern__op_infer_same(call);
}

static tern_status clip_compute(tern__op_call *call) {
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  size_t n = tern__view_count(y);
  bool has_low = tern__has_input(call, 1), has_high = tern__has_input(call, 2);
  if (tern__dtype_is_float(x->dtype)) {
    double low =
        has_low ? tern__view_real(&call->inputs[1], 0) : tern__node_float(call->node, "min", -INFINITY);
    double high =
        has_high ? tern__view_real(&call->inputs[2], 0) : tern__node_float(call->node, "max", INFINITY);
    for (size_t i = 0; i < n; i++) {
      double v = tern__view_real(x, i);
      v = v < low ? low : v;
      tern__view_set_real(y, i, v > high ? high : v);
    }
    return TERN_OK;
  }
  bool is_unsigned = x->dtype == TERN_DTYPE_U64;
  uint64_t flip = is_unsigned ? (uint64_t)1 << 63 : 0; /* orders uint64 as int64 */
  int64_t low = has_low ? (int64_t)((uint64_t)tern__view_int(&call->inputs[1], 0) ^ flip) : INT64_MIN;
  int64_t high = has_high ? (int64_t)((uint64_t)tern__view_int(&call->inputs[2], 0) ^ flip) : INT64_MAX;
  for (size_t i = 0; i < n; i++) {
    int64_t v = (int64_t)((uint64_t)tern__view_int(x, i) ^ flip);
    v = v < low ? low : v;
    v = v > high ? high : v;
    tern__view_set_int(y, i, (int64_t)((uint64_t)v ^ flip));
  }
  return TERN_OK;
}
static tern_status clip_reference(tern__op_call *call) { return tern__op_plain(call, clip_compute); }

static const tern__attr_def clip_attrs[] = {{"min", TERN__ATTR_FLOAT}, {"max", TERN__ATTR_FLOAT}, {NULL, 0}};
const tern__op_def tern__op_clip_6 = {
    .name = "Clip", .domain = "", .since = 6, .until = 10, .min_inputs = 1, .max_inputs = 1,
    .min_outputs = 1, .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .attrs = clip_attrs,
    .infer = clip_infer, .reference = clip_reference};
const tern__op_def tern__op_clip = {
    .name = "Clip", .domain = "", .since = 11, .min_inputs = 1, .max_inputs = 3, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .infer = clip_infer, .reference = clip_reference};
