/* What depends on shapes and sizes alone: Shape, Size, ConstantOfShape, Range, EyeLike. */
#include <math.h>
#include <string.h>

#include "ops/elements.h"

static void shape_bounds(const tern__op_call *call, int64_t *start, int64_t *end) {
  int64_t rank = call->inputs[0].shape.rank;
  *start = tern__node_int(call->node, "start", 0), *end = tern__node_int(call->node, "end", rank);
  if (*start < 0) *start += rank;
  if (*end < 0) *end += rank;
  *start = *start < 0 ? 0 : *start > rank ? rank : *start;
  *end = *end < *start ? *start : *end > rank ? rank : *end;
}

static tern_status shape_infer(tern__op_call *call) {
  int64_t start, end;
  call->outputs[0].dtype = TERN_DTYPE_I64;
  if (call->inputs[0].shape.rank < 0) return TERN_OK;
  shape_bounds(call, &start, &end);
  call->outputs[0].shape = (tern__shape){.rank = 1, .dims = {end - start}};
  return TERN_OK;
}

static tern_status shape_reference(tern__op_call *call) {
  int64_t start, end;
  shape_bounds(call, &start, &end);
  if (end > start)
    memcpy(call->outputs[0].data, call->inputs[0].shape.dims + start,
           (size_t)(end - start) * sizeof(int64_t));
  return TERN_OK;
}

static tern_status size_infer(tern__op_call *call) {
  call->outputs[0].dtype = TERN_DTYPE_I64;
  call->outputs[0].shape = (tern__shape){.rank = 0};
  return TERN_OK;
}

static tern_status size_reference(tern__op_call *call) {
  *(int64_t *)call->outputs[0].data = (int64_t)tern__view_count(&call->inputs[0]);
  return TERN_OK;
}

static const tern__value *fill_value(const tern__op_call *call) {
  const tern__attr *a = tern__node_attr(call->node, "value");
  return a && a->kind == TERN__ATTR_TENSOR && a->tensor >= 0 ? &call->graph->values[a->tensor] : NULL;
}

static tern_status fill_infer(tern__op_call *call) {
  const tern__value *value = fill_value(call);
  tern__shape shape = {.rank = 0};
  call->outputs[0].dtype = value ? value->dtype : TERN_DTYPE_F32;
  if (value && (value->size_bytes == 0 || !tern__element_size(value->dtype)))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "the value has type %s",
                         tern_dtype_name(value->dtype));
  tern_status status = tern__op_ints(call, 0, shape.dims, TERN_MAX_RANK, &shape.rank);
  for (int32_t d = 0; status == TERN_OK && d < shape.rank; d++)
    if (shape.dims[d] < 0)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "dimension %d is negative", d);
  call->outputs[0].shape = shape;
  return status;
}

static tern_status fill_reference(tern__op_call *call) {
  const tern__value *value = fill_value(call);
  size_t size = tern__element_size(call->outputs[0].dtype), n = tern__view_count(&call->outputs[0]);
  if (!value) memset(call->outputs[0].data, 0, n * size);
  else
    for (size_t i = 0; i < n; i++) memcpy((char *)call->outputs[0].data + i * size, value->data, size);
  return TERN_OK;
}

static tern_status range_infer(tern__op_call *call) {
  tern_dtype t = call->inputs[0].dtype;
  call->outputs[0].dtype = t;
  if (!tern__dtype_is_number(t)) return tern__op_bad_type(call, 0);
  bool known = true;
  for (int32_t i = 0; i < 3; i++) {
    size_t n;
    if (call->inputs[i].dtype != t) return tern__op_bad_type(call, i);
    if (tern__shape_count(&call->inputs[i].shape, &n) && n != 1)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d must be a scalar", i);
    known &= call->inputs[i].data != NULL;
  }
  if (!known) return TERN_OK;
  double count, delta = tern__view_real(&call->inputs[2], 0);
  if (delta == 0 || isnan(delta)) return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "a step of 0");
  count = ceil((tern__view_real(&call->inputs[1], 0) - tern__view_real(&call->inputs[0], 0)) / delta);
  if (!(count < 0x1p53)) return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the range is too long");
  call->outputs[0].shape = (tern__shape){.rank = 1, .dims = {count > 0 ? (int64_t)count : 0}};
  return TERN_OK;
}

static tern_status range_reference(tern__op_call *call) {
  bool ints = tern__dtype_is_int(call->inputs[0].dtype);
  for (size_t i = 0, n = tern__view_count(&call->outputs[0]); i < n; i++) {
    if (ints)
      tern__view_set_int(&call->outputs[0], i,
                         (int64_t)((uint64_t)tern__view_int(&call->inputs[0], 0) +
                                   i * (uint64_t)tern__view_int(&call->inputs[2], 0)));
    else
      tern__view_set_real(
          &call->outputs[0], i,
          tern__view_real(&call->inputs[0], 0) + (double)i * tern__view_real(&call->inputs[2], 0));
  }
  return TERN_OK;
}

/* EyeLike: ones on the k-th diagonal. `dtype` is a TensorProto.DataType. */
static tern_status eye_infer(tern__op_call *call) {
  int64_t onnx_type = tern__node_int(call->node, "dtype", 0);
  tern_dtype type = onnx_type ? tern__dtype_of_onnx(onnx_type) : call->inputs[0].dtype;
  if (!tern__dtype_is_number(type) && type != TERN_DTYPE_BOOL)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "ONNX type %lld", (long long)onnx_type);
  call->outputs[0].dtype = type;
  call->outputs[0].shape = call->inputs[0].shape;
  if (call->inputs[0].shape.rank >= 0 && call->inputs[0].shape.rank != 2)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the input must be a matrix");
  return TERN_OK;
}

static tern_status eye_reference(tern__op_call *call) {
  const tern__view *y = &call->outputs[0];
  int64_t k = tern__node_int(call->node, "k", 0);
  memset(y->data, 0, y->size_bytes);
  for (int64_t r = 0; r < y->shape.dims[0]; r++)
    if (k >= -r && k < y->shape.dims[1] - r)
      tern__view_set_real(y, (size_t)(r * y->shape.dims[1] + r + k), 1);
  return TERN_OK;
}

static const tern__attr_def shape_attrs[] = {{"start", TERN__ATTR_INT}, {"end", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def fill_attrs[] = {{"value", TERN__ATTR_TENSOR}, {NULL, 0}};
static const tern__attr_def range_attrs[] = {{"stash_type", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def eye_attrs[] = {{"dtype", TERN__ATTR_INT}, {"k", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_shape = {
    .name = "Shape", .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_SHAPE_ONLY, .attrs = shape_attrs, .infer = shape_infer,
    .reference = shape_reference};
const tern__op_def tern__op_size = {
    .name = "Size", .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_SHAPE_ONLY, .infer = size_infer, .reference = size_reference};
const tern__op_def tern__op_constant_of_shape = {
    .name = "ConstantOfShape", .domain = "", .since = 9, .min_inputs = 1, .max_inputs = 1,
    .min_outputs = 1, .max_outputs = 1, .attrs = fill_attrs, .infer = fill_infer,
    .reference = fill_reference};
const tern__op_def tern__op_range = {
    .name = "Range", .domain = "", .since = 11, .min_inputs = 3, .max_inputs = 3, .min_outputs = 1,
    .max_outputs = 1, .attrs = range_attrs, .infer = range_infer, .reference = range_reference};
const tern__op_def tern__op_eye_like = {
    .name = "EyeLike", .domain = "", .since = 9, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_SHAPE_ONLY, .attrs = eye_attrs, .infer = eye_infer,
    .reference = eye_reference};
