/* Quantized weights as blocks of small integers: the one place that knows every format, for backends that
 * lay them out anew. */
#ifndef TERN_IR_WEIGHT_BLOCKS_H
#define TERN_IR_WEIGHT_BLOCKS_H

#include "ir/dtype.h"

enum { TERN__WEIGHT_BLOCK = 32 };

/* Where weights come from: N rows of K. */
typedef struct tern__weight_source {
  tern_dtype dtype;        /* U8 with bits != 0: MatMulNBits; U8, I8 otherwise: plain integers */
  const uint8_t *data;     /* may be unaligned */
  size_t n, k;
  bool k_major;            /* [K][N] instead of [N][K]; plain types only */
  /* MatMulNBits: [N][blocks][bits * block_size / 8] */
  int32_t bits, block_size;
  const uint8_t *scales;   /* [N][blocks] of scale_dtype */
  tern_dtype scale_dtype;
  const uint8_t *zeros;    /* NULL, [N][packed], or of scale_dtype [N][blocks] */
  bool float_zeros;
} tern__weight_source;

/* 32 weights of a row: w = scales[k / 16] * q + mins[k / 16]. */
typedef struct tern__weight_block {
  int8_t q[TERN__WEIGHT_BLOCK];
  float scales[2], mins[2];
} tern__weight_block;

/* Block `block` of row `row` of a GGUF block type or of MatMulNBits. q: 4-bit formats 0..15 (Q4_0, and
 * MatMulNBits of 4 bits without zero points, mean q - 8; with blocks of 16 they are centred here); Q5_0
 * -16..15; Q5_1 and Q5_K 0..31; Q6_K -32..31; 8 bits signed. What a row lacks to whole blocks is zero. */
void tern__weight_unpack(const tern__weight_source *source, size_t row, size_t block,
                         tern__weight_block *out);

#endif
