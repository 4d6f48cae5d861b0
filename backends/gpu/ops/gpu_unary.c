/* Elementwise ops of one float32 input: unary.wgsl. */
#include <math.h>
#include <string.h>

#include "gpu/gpu_walk.h"

enum { WORKGROUP = 64 };

typedef struct unary_params { uint32_t count; float alpha, beta; uint32_t pad; } unary_params;

/* Tensors larger than a binding go in pieces: every element is on its own. */
static tern_status add_unary(tern__program *program, const tern__node *node, tern__gpu_kernel_id kernel,
                             float alpha, float beta, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  uint64_t limit = program->backend->info->max_binding_bytes, bytes;
  if (!x || !y || x->dtype != TERN_DTYPE_F32 || y->dtype != TERN_DTYPE_F32) return TERN_OK;
  bytes = tern__gpu_elements(y) * 4;
  if (limit > INT32_MAX) limit = INT32_MAX;
  limit -= limit % 256;
  for (uint64_t at = 0; at < bytes; at += limit) {
    uint64_t size = bytes - at < limit ? bytes - at : limit;
    tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0)};
    unary_params p = {(uint32_t)(size / 4), alpha, beta, 0};
    for (int i = 0; i < 2; i++) operands[i].offset = at, operands[i].size = size;
    TERN_TRY(tern__gpu_add_1d(program, node, kernel, operands, &p, p.count, WORKGROUP));
    tern__gpu_cost(program, p.count, 2 * size);
  }
  *taken = true;
cleanup:
  return status;
}

typedef struct unary_op {
  const char *name;
  tern__gpu_kernel_id kernel;
  const char *alpha, *beta; /* attributes, if any */
  float alpha_default, beta_default;
} unary_op;

static const unary_op unary_ops[] = {
    {"Abs", TERN__KERNEL_unary_abs, NULL, NULL, 0, 0},
    {"Ceil", TERN__KERNEL_unary_ceil, NULL, NULL, 0, 0},
    {"Celu", TERN__KERNEL_unary_celu, "alpha", NULL, 1, 0},
    {"Cos", TERN__KERNEL_unary_cos, NULL, NULL, 0, 0},
    {"Elu", TERN__KERNEL_unary_elu, "alpha", NULL, 1, 0},
    {"Erf", TERN__KERNEL_unary_erf, NULL, NULL, 0, 0},
    {"Exp", TERN__KERNEL_unary_exp, NULL, NULL, 0, 0},
    {"Floor", TERN__KERNEL_unary_floor, NULL, NULL, 0, 0},
    {"HardSigmoid", TERN__KERNEL_unary_hard_sigmoid, "alpha", "beta", 0.2f, 0.5f},
    {"HardSwish", TERN__KERNEL_unary_hard_swish, NULL, NULL, 0, 0},
    {"LeakyRelu", TERN__KERNEL_unary_leaky_relu, "alpha", NULL, 0.01f, 0},
    {"Log", TERN__KERNEL_unary_log, NULL, NULL, 0, 0},
    {"Mish", TERN__KERNEL_unary_mish, NULL, NULL, 0, 0},
    {"Neg", TERN__KERNEL_unary_neg, NULL, NULL, 0, 0},
    {"QuickGelu", TERN__KERNEL_unary_swish, "alpha", NULL, 1.702f, 0},
    {"Reciprocal", TERN__KERNEL_unary_reciprocal, NULL, NULL, 0, 0},
    {"Relu", TERN__KERNEL_unary_relu, NULL, NULL, 0, 0},
    {"Round", TERN__KERNEL_unary_round, NULL, NULL, 0, 0},
    {"Selu", TERN__KERNEL_unary_selu, "alpha", "gamma", 1.67326319217681884765625f,
     1.05070102214813232421875f},
    {"Sigmoid", TERN__KERNEL_unary_sigmoid, NULL, NULL, 0, 0},
    {"Sign", TERN__KERNEL_unary_sign, NULL, NULL, 0, 0},
    {"Sin", TERN__KERNEL_unary_sin, NULL, NULL, 0, 0},
    {"Softplus", TERN__KERNEL_unary_softplus, NULL, NULL, 0, 0},
    {"Softsign", TERN__KERNEL_unary_softsign, NULL, NULL, 0, 0},
    {"Sqrt", TERN__KERNEL_unary_sqrt, NULL, NULL, 0, 0},
    {"Swish", TERN__KERNEL_unary_swish, "alpha", NULL, 1, 0},
    {"Tanh", TERN__KERNEL_unary_tanh, NULL, NULL, 0, 0},
    {"ThresholdedRelu", TERN__KERNEL_unary_thresholded_relu, "alpha", NULL, 1, 0},
};

tern_status tern__gpu_compile_unary(tern__program *program, const tern__node *node, bool *taken) {
  for (size_t i = 0; i < sizeof unary_ops / sizeof *unary_ops; i++) {
    const unary_op *op = &unary_ops[i];
    if (strcmp(node->op->name, op->name) != 0) continue;
    float alpha = op->alpha ? tern__node_float(node, op->alpha, op->alpha_default) : 0;
    float beta = op->beta ? tern__node_float(node, op->beta, op->beta_default) : 0;
    return add_unary(program, node, op->kernel, alpha, beta, taken);
  }
  return TERN_OK;
}

static tern__gpu_kernel_id gelu_kernel(const tern__node *node) {
  bool tanh = strcmp(tern__node_string(node, "approximate", "none"), "tanh") == 0;
  return tanh ? TERN__KERNEL_unary_gelu_tanh : TERN__KERNEL_unary_gelu_erf;
}

tern_status tern__gpu_compile_gelu(tern__program *program, const tern__node *node, bool *taken) {
  return add_unary(program, node, gelu_kernel(node), 0, 0, taken);
}

/* FastGelu without a bias; gpu_binary.c has the one with. */
tern_status tern__gpu_compile_plain_fast_gelu(tern__program *program, const tern__node *node, bool *taken) {
  return add_unary(program, node, TERN__KERNEL_unary_gelu_tanh, 0, 0, taken);
}

/* Bounds are attributes up to opset 10, then inputs, which must be constants here. */
tern_status tern__gpu_compile_clip(tern__program *program, const tern__node *node, bool *taken) {
  float low = tern__node_float(node, "min", -INFINITY), high = tern__node_float(node, "max", INFINITY);
  if (tern__gpu_in(program, node, 1) && !tern__gpu_float(program, node, 1, &low)) return TERN_OK;
  if (tern__gpu_in(program, node, 2) && !tern__gpu_float(program, node, 2, &high)) return TERN_OK;
  return add_unary(program, node, TERN__KERNEL_unary_clip, low, high, taken);
}
