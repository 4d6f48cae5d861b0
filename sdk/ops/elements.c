/* Element access and shape walking for the references. */
#include "ops/elements.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

size_t tern__element_size(tern_dtype dtype) {
  const tern__dtype_info *info = tern__dtype_info_of(dtype);
  return info && info->block_elements == 1 ? info->block_bytes : 0;
}

size_t tern__view_count(const tern__view *view) {
  return tern__dims_product(&view->shape, 0, view->shape.rank);
}

size_t tern__dims_product(const tern__shape *shape, int32_t from, int32_t to) {
  size_t n = 1;
  for (int32_t i = from; i < to; i++) n *= (size_t)shape->dims[i];
  return n;
}

bool tern__op_inputs_known(const tern__op_call *call) {
  for (int32_t i = 0; i < call->n_inputs; i++)
    if (tern__has_input(call, i) && !tern__shape_known(&call->inputs[i].shape)) return false;
  return true;
}

tern_status tern__op_bad_type(const tern__op_call *call, int32_t i) {
  return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "input %d has type %s, which is not supported here", i,
                       tern_dtype_name(call->inputs[i].dtype));
}

/* ------------------------------------------------------------------------------------------------ plain
 * calls */

static bool needs_copy(const tern__view *v) {
  size_t size = tern__element_size(v->dtype);
  return tern__dtype_is_half(v->dtype) || (size > 1 && (uintptr_t)v->data % size != 0);
}

static tern_status copy_in(tern__op_call *call, const tern__view *from, tern__view *to) {
  size_t count = tern__view_count(from);
  bool half = tern__dtype_is_half(from->dtype);
  to->size_bytes = half ? count * sizeof(float) : from->size_bytes;
  to->data = tern__malloc(call->alloc, count * (half ? sizeof(float) : tern__element_size(from->dtype)) + 1);
  if (!to->data) return tern__op_fail(call, TERN_STATUS_OUT_OF_MEMORY, "out of memory for an aligned copy");
  if (!half) {
    if (count) memcpy(to->data, from->data, count * tern__element_size(from->dtype));
    return TERN_OK;
  }
  to->dtype = TERN_DTYPE_F32;
  for (size_t i = 0; i < count; i++) {
    uint16_t h;
    memcpy(&h, (const char *)from->data + 2 * i, 2);
    ((float *)to->data)[i] = from->dtype == TERN_DTYPE_F16 ? tern__f16_to_f32(h) : tern__bf16_to_f32(h);
  }
  return TERN_OK;
}

static void copy_out(const tern__view *from, const tern__view *to) {
  for (size_t i = 0, n = tern__view_count(to); i < n; i++) {
    float f = ((const float *)from->data)[i];
    ((uint16_t *)to->data)[i] = to->dtype == TERN_DTYPE_F16 ? tern__f32_to_f16(f) : tern__f32_to_bf16(f);
  }
}

tern_status tern__op_plain(tern__op_call *call, tern_status (*compute)(tern__op_call *call)) {
  tern_status status = TERN_OK;
  bool any = false;
  for (int32_t i = 0; i < call->n_inputs; i++)
    any |= tern__has_input(call, i) && needs_copy(&call->inputs[i]);
  for (int32_t i = 0; i < call->n_outputs; i++) any |= tern__dtype_is_half(call->outputs[i].dtype);
  if (!any) return compute(call);
  tern__op_call plain = *call;
  size_t n = (size_t)call->n_inputs + (size_t)call->n_outputs;
  tern__view *views = tern__calloc(call->alloc, n + 1, sizeof *views);
  void **owned = tern__calloc(call->alloc, n + 1, sizeof *owned);
  if (!views || !owned) TERN_CHECK_ALLOC(NULL);
  if (call->n_inputs) memcpy(views, call->inputs, (size_t)call->n_inputs * sizeof *views);
  memcpy(views + call->n_inputs, call->outputs, (size_t)call->n_outputs * sizeof *views);
  for (int32_t i = 0; i < call->n_inputs; i++)
    if (tern__has_input(call, i) && needs_copy(&call->inputs[i])) {
      status = copy_in(call, &call->inputs[i], &views[i]);
      if (views[i].data != call->inputs[i].data) owned[i] = views[i].data;
      if (status != TERN_OK) goto cleanup;
    }
  plain.inputs = views, plain.outputs = views + call->n_inputs;
  for (int32_t i = 0; i < call->n_outputs; i++) {
    tern__view *v = &plain.outputs[i];
    if (!tern__dtype_is_half(v->dtype)) continue;
    v->size_bytes = tern__view_count(v) * sizeof(float);
    v->dtype = TERN_DTYPE_F32;
    v->data = owned[call->n_inputs + i] = tern__calloc(call->alloc, v->size_bytes + 1, 1);
    TERN_CHECK_ALLOC(v->data);
  }
  TERN_TRY(compute(&plain));
  for (int32_t i = 0; i < call->n_outputs; i++)
    if (owned[call->n_inputs + i]) copy_out(&plain.outputs[i], &call->outputs[i]);
cleanup:
  for (size_t i = 0; owned && i < n; i++) tern__free(call->alloc, owned[i]);
  tern__free(call->alloc, owned);
  tern__free(call->alloc, views);
  return status;
}

/* ------------------------------------------------------------------------------------------------ elements
 */

static int nibble(const tern__view *v, size_t i) {
  return ((const uint8_t *)v->data)[i / 2] >> (i % 2 * 4) & 15;
}

static void set_nibble(const tern__view *v, size_t i, unsigned value) {
  uint8_t *at = (uint8_t *)v->data + i / 2;
  *at = (uint8_t)(i % 2 ? (*at & 15) | (value & 15) << 4 : (*at & 0xf0) | (value & 15));
}

int64_t tern__view_int(const tern__view *view, size_t i) {
  switch (view->dtype) {
#define TERN_X(dtype, T)                                           \
  case TERN_DTYPE_##dtype: {                                       \
    T x;                                                           \
    memcpy(&x, (const char *)view->data + i * sizeof x, sizeof x); \
    return (int64_t)x;                                             \
  }
    TERN__INT_TYPES(TERN_X)
#undef TERN_X
    case TERN_DTYPE_BOOL: return ((const uint8_t *)view->data)[i] != 0;
    case TERN_DTYPE_U4: return nibble(view, i);
    case TERN_DTYPE_I4: return (nibble(view, i) ^ 8) - 8;
    default: break;
  }
  double x = tern__view_real(view, i);
  if (isnan(x)) return 0;
  return x >= 0x1p63 ? INT64_MAX : x <= -0x1p63 ? INT64_MIN : (int64_t)x;
}

double tern__view_real(const tern__view *view, size_t i) {
  float f;
  double d;
  uint16_t h;
  switch (view->dtype) {
    case TERN_DTYPE_F32: memcpy(&f, (const char *)view->data + i * 4, 4); return f;
    case TERN_DTYPE_F64: memcpy(&d, (const char *)view->data + i * 8, 8); return d;
    case TERN_DTYPE_F16: memcpy(&h, (const char *)view->data + i * 2, 2); return tern__f16_to_f32(h);
    case TERN_DTYPE_BF16: memcpy(&h, (const char *)view->data + i * 2, 2); return tern__bf16_to_f32(h);
    case TERN_DTYPE_U64: return (double)(uint64_t)tern__view_int(view, i);
    default: return (double)tern__view_int(view, i);
  }
}

void tern__view_set_int(const tern__view *view, size_t i, int64_t value) {
  switch (view->dtype) {
#define TERN_X(dtype, T)                                     \
  case TERN_DTYPE_##dtype: {                                 \
    T x = (T)value;                                          \
    memcpy((char *)view->data + i * sizeof x, &x, sizeof x); \
    return;                                                  \
  }
    TERN__INT_TYPES(TERN_X)
#undef TERN_X
    case TERN_DTYPE_BOOL: ((uint8_t *)view->data)[i] = value != 0; return;
    case TERN_DTYPE_U4:
    case TERN_DTYPE_I4: set_nibble(view, i, (unsigned)value); return;
    default: tern__view_set_real(view, i, (double)value);
  }
}

void tern__view_set_real(const tern__view *view, size_t i, double value) {
  float f = (float)value;
  uint16_t h;
  switch (view->dtype) {
    case TERN_DTYPE_F32: memcpy((char *)view->data + i * 4, &f, 4); return;
    case TERN_DTYPE_F64: memcpy((char *)view->data + i * 8, &value, 8); return;
    case TERN_DTYPE_F16:
      h = tern__f32_to_f16(f);
      memcpy((char *)view->data + i * 2, &h, 2);
      return;
    case TERN_DTYPE_BF16:
      h = tern__f32_to_bf16(f);
      memcpy((char *)view->data + i * 2, &h, 2);
      return;
#define TERN_X(dtype, T)                                                                                \
  case TERN_DTYPE_##dtype: {                                                                            \
    const double low = (T)-1 < (T)1 ? -ldexp(1, (int)sizeof(T) * 8 - 1) : 0;                            \
    const double end = ldexp(1, (int)sizeof(T) * 8 - ((T)-1 < (T)1)); /* first value above the range */ \
    T x = isnan(value)   ? 0                                                                            \
          : value <= low ? (T)low                                                                       \
          : value >= end ? (T)((T)-1 < (T)1 ? ~((uint64_t)1 << (sizeof(T) * 8 - 1)) : ~(uint64_t)0)     \
                         : (T)value;                                                                    \
    memcpy((char *)view->data + i * sizeof x, &x, sizeof x);                                            \
    return;                                                                                             \
  }
      TERN__INT_TYPES(TERN_X)
#undef TERN_X
    case TERN_DTYPE_BOOL: ((uint8_t *)view->data)[i] = value != 0; return;
    case TERN_DTYPE_U4: set_nibble(view, i, (unsigned)(!(value > 0) ? 0 : value > 15 ? 15 : value)); return;
    case TERN_DTYPE_I4:
      set_nibble(view, i, (unsigned)(int)(isnan(value) ? 0 : value < -8 ? -8 : value > 7 ? 7 : value));
      return;
    default: return;
  }
}

/* ------------------------------------------------------------------------------------------------ shapes */

/* Unsigned: an empty tensor may have other dimensions whose product overflows. */
void tern__dense_strides(const tern__shape *shape, int64_t *strides) {
  uint64_t step = 1;
  for (int32_t i = shape->rank; i-- > 0; step *= (uint64_t)shape->dims[i]) strides[i] = (int64_t)step;
}

void tern__broadcast_strides(const tern__shape *from, const tern__shape *to, int64_t *strides) {
  uint64_t step = 1;
  for (int32_t i = 0; i < to->rank; i++) strides[i] = 0;
  for (int32_t i = from->rank; i-- > 0; step *= (uint64_t)from->dims[i])
    if (from->dims[i] != 1) strides[i + to->rank - from->rank] = (int64_t)step;
}

bool tern__next_index(const int64_t *dims, int32_t rank, int64_t *index) {
  for (int32_t i = rank; i-- > 0;) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

void tern__matmul_column(const float *a, size_t rows, size_t k, const float *column, float bias, float *y,
                         size_t y_step) {
  for (size_t r = 0; r < rows; r++) {
    float sum = 0;
    for (size_t i = 0; i < k; i++) sum += a[r * k + i] * column[i];
    y[r * y_step] = sum + bias;
  }
}

tern_status tern__op_infer_same(tern__op_call *call) {
  call->outputs[0].dtype = call->inputs[0].dtype;
  call->outputs[0].shape = call->inputs[0].shape;
  return TERN_OK;
}

tern_status tern__op_ints_or_attr(const tern__op_call *call, int32_t input, const char *name, int64_t *values,
                                  int32_t capacity, int32_t *count) {
  *count = -2;
  if (tern__has_input(call, input)) return tern__op_ints(call, input, values, capacity, count);
  size_t n;
  const int64_t *ints = tern__node_ints(call->node, name, &n);
  if (!ints) return TERN_OK;
  if (n > (size_t)capacity)
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "attribute '%s' has too many entries", name);
  memcpy(values, ints, n * sizeof *values);
  *count = (int32_t)n;
  return TERN_OK;
}
