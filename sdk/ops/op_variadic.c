/* Max, Min, Sum, Mean of any number of inputs with NumPy broadcasting. Max and Min carry NaN on, as NumPy
 * does. */
#include <math.h>

#include "ops/elements.h"

typedef enum fold { FOLD_MAX, FOLD_MIN, FOLD_SUM, FOLD_MEAN } fold;

static tern_status infer(tern__op_call *call) {
  tern__shape shape = call->inputs[0].shape;
  call->outputs[0].dtype = call->inputs[0].dtype;
  for (int32_t i = 0; i < call->n_inputs; i++) {
    if (!tern__dtype_is_number(call->inputs[i].dtype)) return tern__op_bad_type(call, i);
    if (call->inputs[i].dtype != call->inputs[0].dtype)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the types of inputs 0 and %d differ", i);
    tern_status status = tern__op_broadcast(call, &shape, &call->inputs[i].shape, &shape);
    if (status != TERN_OK) return status;
  }
  call->outputs[0].shape = shape;
  return TERN_OK;
}

static float fold_float(fold kind, float y, float x) {
  if (kind == FOLD_SUM || kind == FOLD_MEAN) return y + x;
  if (isnan(y) || isnan(x)) return NAN;
  return kind == FOLD_MAX ? (x > y ? x : y) : x < y ? x : y;
}

static void fold_any(fold kind, const tern__view *y, size_t i, const tern__view *x, size_t j) {
  if (y->dtype == TERN_DTYPE_F64) {
    double a = tern__view_real(y, i), b = tern__view_real(x, j);
    bool sum = kind == FOLD_SUM || kind == FOLD_MEAN;
    tern__view_set_real(y, i,
                        sum                    ? a + b
                        : isnan(a) || isnan(b) ? NAN
                        : kind == FOLD_MAX     ? (b > a ? b : a)
                        : b < a                ? b
                                               : a);
    return;
  }
  int64_t a = tern__view_int(y, i), b = tern__view_int(x, j);
  bool greater = y->dtype == TERN_DTYPE_U64 ? (uint64_t)b > (uint64_t)a : b > a;
  if (kind == FOLD_SUM || kind == FOLD_MEAN) tern__view_set_int(y, i, (int64_t)((uint64_t)a + (uint64_t)b));
  else tern__view_set_int(y, i, greater == (kind == FOLD_MAX) ? b : a);
}

static tern_status compute(tern__op_call *call, fold kind) {
  const tern__view *y = &call->outputs[0];
  size_t n = tern__view_count(y);
  for (int32_t k = 0; k < call->n_inputs; k++) {
    const tern__view *x = &call->inputs[k];
    int64_t strides[TERN_MAX_RANK], index[TERN_MAX_RANK] = {0};
    tern__broadcast_strides(&x->shape, &y->shape, strides);
    for (size_t i = 0; i < n; i++, (void)tern__next_index(y->shape.dims, y->shape.rank, index)) {
      size_t j = (size_t)tern__offset_of(index, strides, y->shape.rank);
      if (y->dtype == TERN_DTYPE_F32) {
        float v = ((const float *)x->data)[j], *at = (float *)y->data + i;
        *at = k ? fold_float(kind, *at, v) : v;
      } else if (k) fold_any(kind, y, i, x, j);
      else if (y->dtype == TERN_DTYPE_F64) tern__view_set_real(y, i, tern__view_real(x, j));
      else tern__view_set_int(y, i, tern__view_int(x, j));
    }
  }
  for (size_t i = 0; i < n && kind == FOLD_MEAN; i++)
    tern__view_set_real(y, i, tern__view_real(y, i) / call->n_inputs);
  return TERN_OK;
}

#define VARIADIC(symbol, NAME, KIND)                                                       \
  static tern_status symbol##_compute(tern__op_call *call) { return compute(call, KIND); } \
  static tern_status symbol##_reference(tern__op_call *call) {                             \
    return tern__op_plain(call, symbol##_compute);                                         \
  }                                                                                        \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = "", .since = 7, .min_inputs = 1, .max_inputs = -1, .min_outputs = 1, \
      .max_outputs = 1, .infer = infer, .reference = symbol##_reference};
VARIADIC(max, "Max", FOLD_MAX)
VARIADIC(min, "Min", FOLD_MIN)
VARIADIC(sum, "Sum", FOLD_SUM)
VARIADIC(mean, "Mean", FOLD_MEAN)
