/* Element types: sizes, names, blocks. */
#ifndef TERN_IR_DTYPE_H
#define TERN_IR_DTYPE_H

#include "base/memory.h"

typedef struct tern__dtype_info {
  const char *name;       /* "float32", "q4_0" */
  uint16_t block_elements; /* 1 for plain types */
  uint16_t block_bytes;
} tern__dtype_info;

/* NULL for values that are no type. */
const tern__dtype_info *tern__dtype_info_of(tern_dtype dtype);
/* Of an ONNX TensorProto.DataType; NONE for types that tern does not have. */
tern_dtype tern__dtype_of_onnx(int64_t onnx_type);
static inline bool tern__dtype_is_block(tern_dtype dtype) {
  return dtype >= TERN_DTYPE_Q4_0 && dtype <= TERN_DTYPE_Q6_K;
}
static inline bool tern__dtype_is_float(tern_dtype dtype) {
  return dtype == TERN_DTYPE_F32 || dtype == TERN_DTYPE_F16 || dtype == TERN_DTYPE_BF16 || dtype == TERN_DTYPE_F64;
}

typedef struct tern__shape {
  int32_t rank;                 /* -1 = unknown */
  int64_t dims[TERN_MAX_RANK];  /* -1 = unknown */
} tern__shape;

bool tern__shape_known(const tern__shape *shape);
bool tern__shape_equal(const tern__shape *a, const tern__shape *b);
/* True if `a` is the whole of `shape`, or its last dimensions, repeated over the leading ones:
 * never one value for a whole row. */
bool tern__shape_repeats_over(const tern__shape *a, const tern__shape *shape);
/* Product of the dims; false if unknown or too large for size_t. */
bool tern__shape_count(const tern__shape *shape, size_t *out);
/* Bytes of a dense tensor; false if unknown, too large, or rows are not whole blocks. */
bool tern__shape_bytes(tern_dtype dtype, const tern__shape *shape, size_t *out);
/* "[2, 7, 384]" into text; returns text. */
const char *tern__shape_text(const tern__shape *shape, char *text, size_t size);

#endif
