/* 8-bit products: MatMulInteger (int32 result), QLinearMatMul, and com.microsoft's DynamicQuantizeMatMul and
 * MatMulIntegerToFloat, which scale back to float32. */
#include <math.h>
#include <string.h>

#include "ops/elements.h"

static bool is_byte(tern_dtype t) { return t == TERN_DTYPE_I8 || t == TERN_DTYPE_U8; }

/* Y = A B over the last two dims, batch dims broadcast. */
static tern_status product_shape(const tern__op_call *call, const tern__shape *x, const tern__shape *w,
                                 tern__shape *out) {
  tern__shape a = *x, b = *w;
  if (a.rank < 1 || b.rank < 1 || (b.rank == 1 ? b.dims[0] : b.dims[b.rank - 2]) != a.dims[a.rank - 1])
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the matrices do not fit");
  a.rank = a.rank > 1 ? a.rank - 2 : 0, b.rank = b.rank > 1 ? b.rank - 2 : 0;
  tern_status status = tern__op_broadcast(call, &a, &b, out);
  if (status != TERN_OK) return status;
  if (x->rank > 1) out->dims[out->rank++] = x->dims[x->rank - 2];
  if (w->rank > 1) out->dims[out->rank++] = w->dims[w->rank - 1];
  return status;
}

/* Zero point for row r or column c: a scalar, one per row or column, or one per row of every matrix. */
static int64_t zero_of(const tern__op_call *call, int32_t input, size_t per, size_t matrix, size_t i) {
  if (input < 0 || !tern__has_input(call, input)) return 0;
  size_t n = tern__view_count(&call->inputs[input]);
  return tern__view_int(&call->inputs[input], n == 1 ? 0 : n == per ? i : (matrix * per + i) % n);
}

/* Calls put(matrix, row, column, sum) with the exact integer products. */
typedef void (*put_fn)(tern__op_call *call, size_t at, size_t column, int64_t sum);

static tern_status multiply(tern__op_call *call, const tern__view *a, const tern__view *b, int32_t a_zero,
                            int32_t b_zero, const tern__shape *y, put_fn put) {
  tern_status status = TERN_OK;
  tern__shape batch = *y, ba = a->shape, bb = b->shape;
  size_t k = (size_t)a->shape.dims[a->shape.rank - 1],
         m = a->shape.rank > 1 ? (size_t)a->shape.dims[a->shape.rank - 2] : 1;
  size_t n = b->shape.rank > 1 ? (size_t)b->shape.dims[b->shape.rank - 1] : 1;
  int64_t sa[TERN_MAX_RANK], sb[TERN_MAX_RANK], index[TERN_MAX_RANK] = {0};
  int32_t *row = tern__calloc(call->alloc, n + k, sizeof *row), *left = row + n;
  TERN_CHECK_ALLOC(row);
  batch.rank -= (a->shape.rank > 1) + (b->shape.rank > 1);
  ba.rank = ba.rank > 1 ? ba.rank - 2 : 0, bb.rank = bb.rank > 1 ? bb.rank - 2 : 0;
  tern__broadcast_strides(&ba, &batch, sa);
  tern__broadcast_strides(&bb, &batch, sb);
  for (size_t matrix = 0, count = tern__dims_product(&batch, 0, batch.rank); matrix < count; matrix++) {
    size_t a0 = (size_t)tern__offset_of(index, sa, batch.rank) * m * k,
           b0 = (size_t)tern__offset_of(index, sb, batch.rank) * k * n;
    for (size_t i = 0; i < m; i++) {
      memset(row, 0, n * sizeof *row);
      for (size_t e = 0; e < k; e++)
        left[e] = (int32_t)(tern__view_int(a, a0 + i * k + e) - zero_of(call, a_zero, m, matrix, i));
      for (size_t e = 0; e < k; e++) {
        const uint8_t *from = (const uint8_t *)b->data + b0 + e * n;
        for (size_t j = 0; j < n; j++) { /* wraps as int32 does */
          int32_t q = b->dtype == TERN_DTYPE_U8 ? from[j] : (int8_t)from[j];
          q -= (int32_t)zero_of(call, b_zero, n, matrix, j);
          row[j] = (int32_t)((uint32_t)row[j] + (uint32_t)left[e] * (uint32_t)q);
        }
      }
      for (size_t j = 0; j < n; j++) put(call, (matrix * m + i) * n + j, j, row[j]);
    }
    (void)tern__next_index(batch.dims, batch.rank, index);
  }
cleanup:
  tern__free(call->alloc, row);
  return status;
}

static tern_status integer_infer(tern__op_call *call) {
  for (int32_t i = 0; i < call->n_inputs; i++)
    if (tern__has_input(call, i) && !is_byte(call->inputs[i].dtype)) return tern__op_bad_type(call, i);
  call->outputs[0].dtype = TERN_DTYPE_I32;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  return product_shape(call, &call->inputs[0].shape, &call->inputs[1].shape, &call->outputs[0].shape);
}
static void put_int(tern__op_call *call, size_t at, size_t column, int64_t sum) {
  (void)column;
  ((int32_t *)call->outputs[0].data)[at] = (int32_t)sum;
}
static tern_status integer_reference(tern__op_call *call) {
  return multiply(call, &call->inputs[0], &call->inputs[1], 2, 3, &call->outputs[0].shape, put_int);
}

/* QLinearMatMul: a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero. Scales may be one per row of a or
 * column of b. */
static tern_status qlinear_infer(tern__op_call *call) {
  static const int32_t bytes[] = {0, 2, 3, 5, 7};
  for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
    if (!is_byte(call->inputs[bytes[i]].dtype)) return tern__op_bad_type(call, bytes[i]);
  for (int32_t i = 1; i < 7; i++) { /* one scale each: what per-row forms need is not written yet */
    size_t n;
    if ((i == 1 || i == 6) && tern__shape_count(&call->inputs[i].shape, &n) && n != 1)
      return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "input %d must be a scalar", i);
  }
  call->outputs[0].dtype = call->inputs[7].dtype;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  return product_shape(call, &call->inputs[0].shape, &call->inputs[3].shape, &call->outputs[0].shape);
}
static void put_qlinear(tern__op_call *call, size_t at, size_t column, int64_t sum) {
  size_t n = tern__view_count(&call->inputs[4]);
  float scale = (float)tern__view_real(&call->inputs[1], 0) *
                (float)tern__view_real(&call->inputs[4], n == 1 ? 0 : column % n) /
                (float)tern__view_real(&call->inputs[6], 0);
  tern__view_set_real(&call->outputs[0], at,
                      rintf((float)sum * scale) + (double)tern__view_int(&call->inputs[7], 0));
}
static tern_status qlinear_reference(tern__op_call *call) {
  return multiply(call, &call->inputs[0], &call->inputs[3], 2, 5, &call->outputs[0].shape, put_qlinear);
}

/* MatMulIntegerToFloat: A, B, a_scale, b_scale, a_zero, b_zero, bias. */
static tern_status to_float_infer(tern__op_call *call) {
  for (int32_t i = 0; i < 2; i++)
    if (!is_byte(call->inputs[i].dtype)) return tern__op_bad_type(call, i);
  call->outputs[0].dtype = TERN_DTYPE_F32;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  return product_shape(call, &call->inputs[0].shape, &call->inputs[1].shape, &call->outputs[0].shape);
}
static void put_float(tern__op_call *call, size_t at, size_t column, int64_t sum) {
  size_t n = tern__view_count(&call->inputs[3]),
         bias = tern__has_input(call, 6) ? tern__view_count(&call->inputs[6]) : 0;
  float y = (float)sum * ((float)tern__view_real(&call->inputs[2], 0) *
                          (float)tern__view_real(&call->inputs[3], n == 1 ? 0 : column % n));
  tern__view_set_real(&call->outputs[0], at,
                      y + (bias ? (float)tern__view_real(&call->inputs[6], column % bias) : 0));
}
static tern_status to_float_reference(tern__op_call *call) {
  return multiply(call, &call->inputs[0], &call->inputs[1], 4, 5, &call->outputs[0].shape, put_float);
}

/* DynamicQuantizeMatMul: A (float32), B, b_scale, b_zero, bias: A is quantized to uint8 as
 * DynamicQuantizeLinear does. */
static tern_status dynamic_infer(tern__op_call *call) {
  if (call->inputs[0].dtype != TERN_DTYPE_F32) return tern__op_bad_type(call, 0);
  if (!is_byte(call->inputs[1].dtype)) return tern__op_bad_type(call, 1);
  call->outputs[0].dtype = TERN_DTYPE_F32;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  return product_shape(call, &call->inputs[0].shape, &call->inputs[1].shape, &call->outputs[0].shape);
}
static tern_status dynamic_reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0];
  size_t n = tern__view_count(x);
  float low = 0, high = 0;
  uint8_t *q = tern__malloc(call->alloc, n + 1), zero;
  TERN_CHECK_ALLOC(q);
  for (size_t i = 0; i < n; i++) {
    float v = (float)tern__view_real(x, i);
    low = v < low ? v : low, high = v > high ? v : high;
  }
  float scale = high == low ? 1.0f : (high - low) / 255.0f;
  zero = (uint8_t)rintf(fmaxf(0, fminf(255, -low / scale)));
  for (size_t i = 0; i < n; i++)
    q[i] = (uint8_t)fmaxf(0, fminf(255, rintf((float)tern__view_real(x, i) / scale) + zero));
  /* the same as MatMulIntegerToFloat from here on */
  tern__view views[7] = {{TERN_DTYPE_U8, x->shape, q, n},
                         call->inputs[1],
                         {TERN_DTYPE_F32, {.rank = 0}, &scale, 4},
                         call->inputs[2],
                         {TERN_DTYPE_U8, {.rank = 0}, &zero, 1}};
  if (tern__has_input(call, 3)) views[5] = call->inputs[3];
  if (tern__has_input(call, 4)) views[6] = call->inputs[4];
  tern__op_call inner = *call;
  inner.inputs = views, inner.n_inputs = 7;
  TERN_TRY(to_float_reference(&inner));
cleanup:
  tern__free(call->alloc, q);
  return status;
}

#define INTEGER(symbol, NAME, DOMAIN, SINCE, MIN, MAX, KIND)     \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = DOMAIN, .since = SINCE, .min_inputs = MIN, .max_inputs = MAX, \
      .min_outputs = 1, .max_outputs = 1, .infer = KIND##_infer, .reference = KIND##_reference, \
      .work = tern__op_product_work};
INTEGER(matmul_integer, "MatMulInteger", "", 10, 2, 4, integer)
INTEGER(qlinear_matmul, "QLinearMatMul", "", 10, 8, 8, qlinear)
INTEGER(matmul_integer_to_float, "MatMulIntegerToFloat", "com.microsoft", 1, 4, 7, to_float)
INTEGER(dynamic_quantize_matmul, "DynamicQuantizeMatMul", "com.microsoft", 1, 3, 5, dynamic)
