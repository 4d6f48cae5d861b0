/* Cast and CastLike between all plain types (no float8). Float to integer truncates toward zero; out of
 * range, where ONNX leaves the result open, it saturates. Integer to narrower integer wraps. */
#include <string.h>

#include "base/half.h"
#include "ops/elements.h"

static bool castable(tern_dtype t) {
  return tern__dtype_is_number(t) || t == TERN_DTYPE_BOOL || t == TERN_DTYPE_I4 || t == TERN_DTYPE_U4;
}

static tern_status infer_to(tern__op_call *call, tern_dtype to) {
  if (!castable(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (!castable(to))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "casting to this type is not supported");
  call->outputs[0].dtype = to;
  call->outputs[0].shape = call->inputs[0].shape;
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  int64_t onnx_type = tern__node_int(call->node, "to", 0);
  tern_dtype to = tern__dtype_of_onnx(onnx_type);
  if (!castable(to))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "casting to ONNX type %lld is not supported",
                         (long long)onnx_type);
  return infer_to(call, to);
}

static tern_status infer_like(tern__op_call *call) { return infer_to(call, call->inputs[1].dtype); }

static tern_status reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  size_t n = tern__view_count(y);
  /* Four-bit integers wrap also from floats: so do ONNX's own tests. */
  bool exact = !tern__dtype_is_float(y->dtype) &&
               (!tern__dtype_is_float(x->dtype) || y->dtype == TERN_DTYPE_I4 || y->dtype == TERN_DTYPE_U4);
  if (x->dtype == y->dtype) memmove(y->data, x->data, y->size_bytes);
  else if (x->dtype == TERN_DTYPE_F16 && y->dtype == TERN_DTYPE_F32)
    for (size_t i = 0; i < n; i++) {
      TERN_TRY(tern__op_poll(call, i));
      uint16_t h;
      memcpy(&h, (const char *)x->data + 2 * i, 2);
      ((float *)y->data)[i] = tern__f16_to_f32(h);
    }
  else if (x->dtype == TERN_DTYPE_I32 && y->dtype == TERN_DTYPE_F32)
    for (size_t i = 0; i < n; i++) {
      TERN_TRY(tern__op_poll(call, i));
      int32_t v;
      memcpy(&v, (const char *)x->data + 4 * i, 4);
      ((float *)y->data)[i] = (float)v;
    }
  else if (x->dtype == TERN_DTYPE_I64 && y->dtype == TERN_DTYPE_BOOL) /* masks */
    for (size_t i = 0; i < n; i++) {
      TERN_TRY(tern__op_poll(call, i));
      int64_t v;
      memcpy(&v, (const char *)x->data + 8 * i, 8);
      ((uint8_t *)y->data)[i] = v != 0;
    }
  else if (x->dtype == TERN_DTYPE_I8 && y->dtype == TERN_DTYPE_F32) /* weights of a quantized file */
    for (size_t i = 0; i < n; i++) ((float *)y->data)[i] = ((const int8_t *)x->data)[i];
  else if (x->dtype == TERN_DTYPE_U8 && y->dtype == TERN_DTYPE_F32)
    for (size_t i = 0; i < n; i++) ((float *)y->data)[i] = ((const uint8_t *)x->data)[i];
  else
    for (size_t i = 0; i < n; i++) {
      TERN_TRY(tern__op_poll(call, i));
      if (exact) tern__view_set_int(y, i, tern__view_int(x, i));
      else tern__view_set_real(y, i, tern__view_real(x, i));
    }
cleanup:
  return status;
}

/* saturate and round_mode concern float8 alone. */
static const tern__attr_def attrs[] = {
    {"to", TERN__ATTR_INT}, {"saturate", TERN__ATTR_INT}, {"round_mode", TERN__ATTR_STRING}, {NULL, 0}};
static const tern__attr_def like_attrs[] = {
    {"saturate", TERN__ATTR_INT}, {"round_mode", TERN__ATTR_STRING}, {NULL, 0}};

const tern__op_def tern__op_cast = {
    .name = "Cast", .domain = "", .since = 6, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ALIAS_OF_TYPE, .attrs = attrs, .infer = infer, .reference = reference};
const tern__op_def tern__op_cast_like = {
    .name = "CastLike", .domain = "", .since = 15, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ALIAS_OF_TYPE, .attrs = like_attrs, .infer = infer_like,
    .reference = reference};
