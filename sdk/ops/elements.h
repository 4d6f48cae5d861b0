/* What operator references share: inputs in a form that plain C can index, typed element access, and walking
 * shapes. */
#ifndef TERN_OPS_ELEMENTS_H
#define TERN_OPS_ELEMENTS_H

#include "ir/op.h"

/* Plain numeric types as X(dtype suffix, C type). */
#define TERN__FLOAT_TYPES(X) X(F32, float) X(F64, double)
#define TERN__INT_TYPES(X)                                                                         \
  X(I8, int8_t)                                                                                    \
  X(U8, uint8_t) X(I16, int16_t) X(U16, uint16_t) X(I32, int32_t) X(U32, uint32_t) X(I64, int64_t) \
      X(U64, uint64_t)

/* Calls `compute` with every input aligned and float16/bfloat16 inputs and outputs as float32 (rounded back
 * after). */
tern_status tern__op_plain(tern__op_call *call, tern_status (*compute)(tern__op_call *call));

/* Whether every present input's shape is known. If not, infer leaves its outputs' shapes unknown. */
bool tern__op_inputs_known(const tern__op_call *call);
/* UNSUPPORTED naming input `i` and its type. */
tern_status tern__op_bad_type(const tern__op_call *call, int32_t i);

static inline bool tern__dtype_is_half(tern_dtype t) { return t == TERN_DTYPE_F16 || t == TERN_DTYPE_BF16; }
static inline bool tern__dtype_is_int(tern_dtype t) { return t >= TERN_DTYPE_I8 && t <= TERN_DTYPE_U64; }
static inline bool tern__dtype_is_number(tern_dtype t) {
  return tern__dtype_is_float(t) || tern__dtype_is_int(t);
}
/* Bytes of an element that has whole bytes; 0 for the others. */
size_t tern__element_size(tern_dtype dtype);
/* Elements of a view whose shape is known. */
size_t tern__view_count(const tern__view *view);
/* Product of dims[from .. to). */
size_t tern__dims_product(const tern__shape *shape, int32_t from, int32_t to);

/* Element i of a view of any type that is no block type, whatever its alignment. */
double tern__view_real(const tern__view *view, size_t i);
int64_t tern__view_int(const tern__view *view, size_t i); /* floats are truncated and saturate; uint64 wraps
                                                           */
void tern__view_set_real(const tern__view *view, size_t i, double value); /* integers: truncates and saturates
                                                                           */
void tern__view_set_int(const tern__view *view, size_t i, int64_t value); /* integers: wraps */

/* Element strides with which `from` is read along `to`'s dimensions: 0 where it broadcasts. */
void tern__broadcast_strides(const tern__shape *from, const tern__shape *to, int64_t *strides);
/* Row-major element strides. */
void tern__dense_strides(const tern__shape *shape, int64_t *strides);
/* Steps a row-major index over the first `rank` dims; false after the last. */
bool tern__next_index(const int64_t *dims, int32_t rank, int64_t *index);
static inline int64_t tern__offset_of(const int64_t *index, const int64_t *strides, int32_t rank) {
  int64_t offset = 0;
  for (int32_t i = 0; i < rank; i++) offset += index[i] * strides[i];
  return offset;
}

/* One column of a [rows, k] times a matrix: y[r * y_step] = a[r] . column + bias. */
void tern__matmul_column(const float *a, size_t rows, size_t k, const float *column, float bias, float *y,
                         size_t y_step);

/* infer for ops whose output 0 has input 0's type and shape. */
tern_status tern__op_infer_same(tern__op_call *call);

/* The integers of an axes-like argument: input `input` if present, else attribute `name`. *count = -1: not
 * known yet; -2: given by neither. */
tern_status tern__op_ints_or_attr(const tern__op_call *call, int32_t input, const char *name, int64_t *values,
                                  int32_t capacity, int32_t *count);

#endif
