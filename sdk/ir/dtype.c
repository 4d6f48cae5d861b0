/* The table of element types. Block layouts: ggml's (llama.cpp, ggml-common.h). */
#include "ir/dtype.h"

#include <stdio.h>

static const tern__dtype_info infos[] = {
    [TERN_DTYPE_F32] = {"float32", 1, 4},   [TERN_DTYPE_F16] = {"float16", 1, 2},
    [TERN_DTYPE_BF16] = {"bfloat16", 1, 2}, [TERN_DTYPE_F64] = {"float64", 1, 8},
    [TERN_DTYPE_I8] = {"int8", 1, 1},       [TERN_DTYPE_U8] = {"uint8", 1, 1},
    [TERN_DTYPE_I16] = {"int16", 1, 2},     [TERN_DTYPE_U16] = {"uint16", 1, 2},
    [TERN_DTYPE_I32] = {"int32", 1, 4},     [TERN_DTYPE_U32] = {"uint32", 1, 4},
    [TERN_DTYPE_I64] = {"int64", 1, 8},     [TERN_DTYPE_U64] = {"uint64", 1, 8},
    [TERN_DTYPE_BOOL] = {"bool", 1, 1},     [TERN_DTYPE_STRING] = {"string", 1, 0},
    [TERN_DTYPE_I4] = {"int4", 2, 1},       [TERN_DTYPE_U4] = {"uint4", 2, 1},
    [TERN_DTYPE_Q4_0] = {"q4_0", 32, 18},   [TERN_DTYPE_Q4_1] = {"q4_1", 32, 20},
    [TERN_DTYPE_Q5_0] = {"q5_0", 32, 22},   [TERN_DTYPE_Q5_1] = {"q5_1", 32, 24},
    [TERN_DTYPE_Q8_0] = {"q8_0", 32, 34},   [TERN_DTYPE_Q4_K] = {"q4_K", 256, 144},
    [TERN_DTYPE_Q5_K] = {"q5_K", 256, 176}, [TERN_DTYPE_Q6_K] = {"q6_K", 256, 210},
};

const tern__dtype_info *tern__dtype_info_of(tern_dtype dtype) {
  if ((int)dtype <= 0 || (size_t)dtype >= sizeof infos / sizeof *infos || !infos[dtype].name) return NULL;
  return &infos[dtype];
}

tern_dtype tern__dtype_of_onnx(int64_t onnx_type) {
  static const uint8_t table[] = {
      [1] = TERN_DTYPE_F32,  [2] = TERN_DTYPE_U8,    [3] = TERN_DTYPE_I8,   [4] = TERN_DTYPE_U16,
      [5] = TERN_DTYPE_I16,  [6] = TERN_DTYPE_I32,   [7] = TERN_DTYPE_I64,  [8] = TERN_DTYPE_STRING,
      [9] = TERN_DTYPE_BOOL, [10] = TERN_DTYPE_F16,  [11] = TERN_DTYPE_F64, [12] = TERN_DTYPE_U32,
      [13] = TERN_DTYPE_U64, [16] = TERN_DTYPE_BF16, [21] = TERN_DTYPE_U4,  [22] = TERN_DTYPE_I4};
  return onnx_type > 0 && onnx_type < (int64_t)sizeof table ? (tern_dtype)table[onnx_type] : TERN_DTYPE_NONE;
}

const char *tern_dtype_name(tern_dtype dtype) {
  const tern__dtype_info *info = tern__dtype_info_of(dtype);
  return info ? info->name : "unknown";
}

bool tern__shape_known(const tern__shape *shape) {
  if (shape->rank < 0) return false;
  for (int32_t i = 0; i < shape->rank; i++)
    if (shape->dims[i] < 0) return false;
  return true;
}

bool tern__shape_equal(const tern__shape *a, const tern__shape *b) {
  if (a->rank != b->rank) return false;
  for (int32_t i = 0; i < a->rank; i++)
    if (a->dims[i] != b->dims[i]) return false;
  return true;
}

bool tern__shape_repeats_over(const tern__shape *a, const tern__shape *shape) {
  int32_t first = 0, offset = shape->rank - a->rank;
  if (offset < 0) return false;
  while (first + 1 < a->rank && a->dims[first] == 1 && shape->dims[first + offset] != 1) first++;
  for (int32_t i = first; i < a->rank; i++)
    if (a->dims[i] != shape->dims[i + offset]) return false;
  return a->rank > 0;
}

bool tern__shape_count(const tern__shape *shape, size_t *out) {
  size_t n = 1;
  if (!tern__shape_known(shape)) return false;
  for (int32_t i = 0; i < shape->rank; i++)
    if ((uint64_t)shape->dims[i] > SIZE_MAX || !tern__mul_size(n, (size_t)shape->dims[i], &n)) return false;
  *out = n;
  return true;
}

bool tern__shape_bytes(tern_dtype dtype, const tern__shape *shape, size_t *out) {
  const tern__dtype_info *info = tern__dtype_info_of(dtype);
  size_t n;
  if (!info || !tern__shape_count(shape, &n)) return false;
  if (tern__dtype_is_block(dtype) && (shape->rank < 1 || shape->dims[shape->rank - 1] % info->block_elements))
    return false;
  size_t blocks = n / info->block_elements + (n % info->block_elements != 0);
  return tern__mul_size(blocks, info->block_bytes, out);
}

const char *tern__shape_text(const tern__shape *shape, char *text, size_t size) {
  if (!size) return text;
  if (shape->rank < 0) {
    snprintf(text, size, "[?]");
    return text;
  }
  size_t n = 0;
  n += (size_t)snprintf(text, size, "[");
  for (int32_t i = 0; i < shape->rank && n < size; i++)
    n += (size_t)(shape->dims[i] < 0
                      ? snprintf(text + n, size - n, "%s?", i ? ", " : "")
                      : snprintf(text + n, size - n, "%s%lld", i ? ", " : "", (long long)shape->dims[i]));
  if (n < size) snprintf(text + n, size - n, "]");
  return text;
}
