/* All bodies in one translation unit, and the table of them: KERNEL_TABLE(name of the table, text). */
#include "cpu/cpu_kernels.h"

#include "cpu/kernels/kernel_quantize.h"
#include "cpu/kernels/kernel_linear.h"
#include "cpu/kernels/kernel_channel.h"
#include "cpu/kernels/kernel_rows.h"
#include "cpu/kernels/kernel_elementwise.h"
#include "cpu/kernels/kernel_attention.h"

#define KERNEL_TABLE(table, text)                                                                            \
  const tern__cpu_kernels table = {                                                                          \
      .name = text,                                                                                          \
      .asks_ahead = PREFETCH_FAR != 0,                                                                       \
      .quantize_row = quantize_row,                                                                          \
      .arrange = arrange,                                                                                    \
      .linear = linear,                                                                                      \
      .linear_i32 = linear_i32,                                                                              \
      .quantize_channel = quantize_channel,                                                                  \
      .channel = channel,                                                                                    \
      .attention = attention,                                                                                \
      .rms_norm = rms_norm,                                                                                  \
      .layer_norm = layer_norm,                                                                              \
      .softmax = softmax,                                                                                    \
      .matmul = matmul,                                                                                      \
      .f16_to_f32 = f16_to_f32,                                                                              \
      .f32_to_f16 = f32_to_f16,                                                                              \
      .range = range,                                                                                        \
      .unary = {unary_NEG,        unary_ABS,          unary_EXP,     unary_LOG,      unary_SQRT,             \
                unary_RECIPROCAL, unary_FLOOR,        unary_CEIL,    unary_SIN,      unary_COS,              \
                unary_TANH,       unary_ERF,          unary_SIGMOID, unary_SILU,     unary_GELU_ERF,         \
                unary_GELU_TANH,  unary_GELU_SIGMOID, unary_RELU,    unary_SOFTPLUS, unary_SOFTSIGN,         \
                unary_MISH,       unary_HARD_SWISH},                                                         \
      .binary = {binary_ADD, binary_SUB, binary_MUL, binary_DIV, binary_MAX, binary_MIN, binary_POW,         \
                 binary_SILU_MUL, binary_GELU_ERF_MUL, binary_GELU_TANH_MUL, binary_ADD_GELU_ERF,            \
                 binary_ADD_GELU_TANH}};
