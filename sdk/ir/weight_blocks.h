/* Quantized weights as blocks of small integers: the one place that knows every format, for backends that
 * lay them out anew. */
#ifndef TERN_IR_WEIGHT_BLOCKS_H
#define TERN_IR_WEIGHT_BLOCKS_H

#include "ir/op.h"

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
  /* MatMulBnb4: bits 4, codes 1 (FP4) or 2 (NF4); [N * K / 2], the high half of a byte first; one scale per
   * block_size of the flattened values, of F32 */
  int32_t codes;
  /* tern.ChannelLinear: I8 or U8, either orientation, scales and zeros (of the weights' type, or NULL) are one for all
   * (step 0) or one a row (step 1); scales of F32. */
  bool channel;
  size_t scale_step, zero_step;
} tern__weight_source;

/* 32 weights of a row: w = scales[k / 16] * q + mins[k / 16]. */
typedef struct tern__weight_block {
  int8_t q[TERN__WEIGHT_BLOCK];
  float scales[2], mins[2];
} tern__weight_block;

/* Block `block` of row `row` of a GGUF block type or of MatMulNBits. q: 4-bit formats 0..15 (Q4_0, and
 * MatMulNBits of 4 bits without zero points, mean q - 8; with blocks of 16 they are centred here); Q5_0
 * -16..15; Q5_1 and Q5_K 0..31; Q6_K -32..31; 8 bits signed (unsigned ones less 128); codes as they are.
 * What a row lacks to whole blocks is zero. */
void tern__weight_unpack(const tern__weight_source *source, size_t row, size_t block,
                         tern__weight_block *out);

/* What tern__weight_unpack gives for the scale and min of a row of tern.ChannelLinear. */
void tern__weight_channel_scale(const tern__weight_source *source, size_t row, float *scale, float *min);

/* Bytes of source->data; false if too large for size_t or if rows are not whole blocks. */
bool tern__weight_source_bytes(const tern__weight_source *source, size_t *out);

/* A product Y [rows, n] = X W^T + bias with constant weights. */
typedef struct tern__weight_product {
  tern__weight_source source;
  size_t rows;
  int32_t bias;            /* input with n float32 values, or -1 */
} tern__weight_product;

enum { TERN__WEIGHT_INPUTS = 6 };

/* Reads a node as such a product; false if it is none that these backends share a form of (the op's reference then says
 * what is wrong, or computes it). in[i], constants[i]: view and bytes of input i, NULL where it is absent or computed;
 * TERN__WEIGHT_INPUTS of each. linear: tern.Linear. gemm: Gemm. matmul: MatMul whose right side has two dimensions.
 * channel: tern.ChannelLinear. nbits: com.microsoft.MatMulNBits. bnb4: com.microsoft.MatMulBnb4, whole blocks of 32
 * that share a scale. */
typedef bool tern__weight_read(const tern__node *node, const tern__view *const *in, const uint8_t *const *constants,
                               tern__weight_product *out);
tern__weight_read tern__weight_read_linear, tern__weight_read_gemm, tern__weight_read_matmul, tern__weight_read_nbits,
    tern__weight_read_bnb4, tern__weight_read_channel;

#endif
