/* Products with constant weights, as all ops that make them see them: Y = ending(X W^T + bias), Y in up to three
 * values. */
#ifndef TERN_GPU_PRODUCT_H
#define TERN_GPU_PRODUCT_H

#include "gpu/gpu_pack.h"

/* What becomes of a sum; numbers of kernels/include/linear.wgsl. Gated: two weights' rows in turn. */
typedef enum tern__gpu_ending {
  TERN__GPU_PLAIN, TERN__GPU_GELU_ERF, TERN__GPU_GELU_TANH, TERN__GPU_GELU_SIGMOID, TERN__GPU_RELU, TERN__GPU_TANH,
  TERN__GPU_SIGMOID, TERN__GPU_GATED_SILU = 8, TERN__GPU_GATED_GELU_ERF, TERN__GPU_GATED_GELU_TANH
} tern__gpu_ending;

/* The parameters of kernels/include/linear.wgsl. */
typedef struct tern__gpu_linear_immediates {
  uint32_t rows, columns, blocks, x_stride, first, has_bias, ending, lanes, width[TERN__GPU_MAX_SOURCES];
  uint32_t residual, norm;
  float epsilon; /* or what halves of y are multiplied by */
  uint32_t round;
  float x_scale;
} tern__gpu_linear_immediates;

typedef struct tern__gpu_linear {
  const tern__node *node;
  tern__gpu_sources sources;
  tern__gpu_operand x;                              /* [rows, k] */
  tern__gpu_operand bias;                           /* kind NONE = none */
  const void *biases[TERN__GPU_MAX_SOURCES];        /* of each output, as the host has it; NULL = none, or not known */
  tern__gpu_operand outputs[TERN__GPU_MAX_SOURCES]; /* [rows, widths[i]] */
  uint64_t widths[TERN__GPU_MAX_SOURCES];           /* 0 = no such output; their sum is that of the weights' rows, or
                                                       half of it if gated */
  uint64_t rows;
  tern__gpu_ending ending;
  tern__gpu_operand residual;                       /* [rows, widths[0]], added to the only output; NONE = none */
  const tern__node *norm;                           /* an RMS norm that comes before, of x; NULL = none */
} tern__gpu_linear;

/* Adds its steps; *taken stays false if no kernel fits. */
tern_status tern__gpu_add_product(tern__program *program, tern__gpu_linear *product, bool *taken);
/* Reads a node (linear, gemm ...) into a product with one source and output. `x`: what its X looks like, where that is
 * no value of the plan's (a part's result); NULL otherwise. */
bool tern__gpu_product_of(const tern__program *program, const tern__node *node, const tern__view *x,
                          tern__weight_read *read, tern__gpu_linear *out);

/* What attention of one new row wants of the product before it (kernels/linear_dot_rotary.wgsl): queries rotated, and
 * the new key and value in the cache. */
typedef struct tern__gpu_rotary {
  tern__gpu_operand qkv[3], cos, sin; /* of the attention; kind NONE = no rotation */
  int32_t layer;                      /* of the cache */
  uint32_t heads, kv_heads, dim, half_rotary, interleaved, positions, values;
} tern__gpu_rotary;

/* Has the product that makes Q, K and V do so, in place of storing all three; `node`: the attention. *done stays false
 * where it cannot: another step makes them, somebody else reads them, or the cache is read before. */
tern_status tern__gpu_take_rotary(tern__program *program, const tern__node *node, const tern__gpu_rotary *wanted,
                                  bool *done);

/* gpu_norm.c: steps of an RMS norm over the last axis, on behalf of `node`: y = x's rows of n normed. */
tern_status tern__gpu_add_rms_norm(tern__program *program, const tern__node *node, const tern__node *norm,
                                   tern__gpu_operand x, tern__gpu_operand y, uint64_t rows, uint64_t n);
/* Whether the node is one that tern__gpu_add_rms_norm can be asked for: over the last axis of X, whose size is n. */
bool tern__gpu_is_rms_norm(const tern__program *program, const tern__node *node, uint64_t n);

#endif
