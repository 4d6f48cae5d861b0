/* Nodes that multiply by constant weights: Linear, ChannelLinear, Gemm, MatMul, MatMulNBits, MatMulBnb4. */
#include "gpu/ops/gpu_product.h"

static tern_status compile(tern__program *program, const tern__node *node, tern__weight_read *read, bool *taken) {
  tern__gpu_linear product;
  if (!tern__gpu_product_of(program, node, NULL, read, &product)) return TERN_OK;
  return tern__gpu_add_product(program, &product, taken);
}

tern_status tern__gpu_compile_linear(tern__program *program, const tern__node *node, bool *taken) {
  return compile(program, node, tern__weight_read_linear, taken);
}

tern_status tern__gpu_compile_gemm(tern__program *program, const tern__node *node, bool *taken) {
  return compile(program, node, tern__weight_read_gemm, taken);
}

/* MatMul with a constant right side of two dimensions; gpu_matmul.c calls it first. */
tern_status tern__gpu_compile_matmul_constant(tern__program *program, const tern__node *node, bool *taken) {
  return compile(program, node, tern__weight_read_matmul, taken);
}

tern_status tern__gpu_compile_matmul_nbits(tern__program *program, const tern__node *node, bool *taken) {
  return compile(program, node, tern__weight_read_nbits, taken);
}

tern_status tern__gpu_compile_channel_linear(tern__program *program, const tern__node *node, bool *taken) {
  return compile(program, node, tern__weight_read_channel, taken);
}

tern_status tern__gpu_compile_matmul_bnb4(tern__program *program, const tern__node *node, bool *taken) {
  return compile(program, node, tern__weight_read_bnb4, taken);
}
