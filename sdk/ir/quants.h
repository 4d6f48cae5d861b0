/* Rows of weights as float: plain types and ggml's quantized blocks. Layouts: quants.c. */
#ifndef TERN_IR_QUANTS_H
#define TERN_IR_QUANTS_H

#include "ir/dtype.h"

/* Whether tern__dequantize_row knows the type: F32, F16, BF16 and the block types. */
bool tern__dequantize_known(tern_dtype dtype);

/* Writes n elements that start at `src`, which needs no alignment. n is a multiple of the type's block. For
 * finite scales the result equals ggml's dequantize_row_* and Python's gguf.quants.dequantize in every bit.
 */
void tern__dequantize_row(tern_dtype dtype, const void *src, float *dst, size_t n);

#endif
