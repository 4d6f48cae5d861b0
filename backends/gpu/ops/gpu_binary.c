/* Elementwise ops of two inputs with broadcasting: binary.wgsl for float32, binary_int.wgsl for int32 and
 * int64, compare.wgsl for results of bool; and Where. */
#include <string.h>

#include "gpu/gpu_walk.h"

enum { WORKGROUP = 64, KERNEL_RANK = 4, MAX_PIECES = 64 };

/* BroadcastParams of include/broadcast.wgsl. */
typedef struct broadcast_params {
  uint32_t count, first, a_first, b_first, kind, dim1, dim2, dim3, a_steps[4], b_steps[4];
} broadcast_params;

/* Dispatches for the innermost dimensions that a kernel knows, one for each position of those outside
 * them. */
static tern_status add_broadcast(tern__program *program, const tern__node *node, tern__gpu_kernel_id kernel,
                                 uint32_t kind, bool same, uint32_t per_invocation, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *a = tern__gpu_in(program, node, 0), *b = tern__gpu_in(program, node, same ? 0 : 1);
  const tern__view *y = tern__gpu_out(program, node, 0);
  broadcast_params p = {.kind = kind, .count = 1};
  uint32_t pieces = 1;
  if (!tern__gpu_fits(program, a) || !tern__gpu_fits(program, b) || !tern__gpu_fits(program, y))
    return TERN_OK;
  *taken = tern__gpu_elements(y) == 0;
  if (*taken) return TERN_OK;
  tern__gpu_walk walk = tern__gpu_walk_over(&y->shape);
  tern__gpu_walk_broadcast(&walk, 0, &a->shape);
  tern__gpu_walk_broadcast(&walk, 1, &b->shape);
  tern__gpu_walk_merge(&walk);
  int32_t outer = walk.rank > KERNEL_RANK ? walk.rank - KERNEL_RANK : 0;
  for (int32_t d = 0; d < outer; d++) pieces *= walk.dims[d];
  for (int32_t d = outer; d < walk.rank; d++) p.count *= walk.dims[d];
  if (pieces > MAX_PIECES || (pieces > 1 && p.count % per_invocation)) return TERN_OK;
  tern__gpu_walk_inner(&walk, 0, KERNEL_RANK, p.a_steps);
  tern__gpu_walk_inner(&walk, 1, KERNEL_RANK, p.b_steps);
  p.dim3 = tern__gpu_walk_size(&walk, 0), p.dim2 = tern__gpu_walk_size(&walk, 1);
  p.dim1 = tern__gpu_walk_size(&walk, 2);
  tern__gpu_operand none = {TERN__GPU_NONE, -1, 0, 0};
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), same ? none : tern__gpu_input(node, 1),
                                  tern__gpu_output(node, 0)};
  for (uint32_t piece = 0; piece < pieces; piece++) {
    uint32_t rest = piece;
    p.first = piece * p.count, p.a_first = p.b_first = 0;
    for (int32_t d = outer; d-- > 0; rest /= walk.dims[d]) {
      p.a_first += rest % walk.dims[d] * (uint32_t)walk.steps[0][d];
      p.b_first += rest % walk.dims[d] * (uint32_t)walk.steps[1][d];
    }
    TERN_TRY(tern__gpu_add_1d(program, node, kernel, operands, &p,
                              (p.count + per_invocation - 1) / per_invocation, WORKGROUP));
    tern__gpu_cost(program, p.count, 3ull * p.count * tern__gpu_element_bytes(a->dtype));
  }
  *taken = true;
cleanup:
  return status;
}

static bool both_have(const tern__program *program, const tern__node *node, tern_dtype dtype) {
  const tern__view *a = tern__gpu_in(program, node, 0), *b = tern__gpu_in(program, node, 1);
  return node->n_inputs == 2 && a && b && a->dtype == dtype && b->dtype == dtype;
}

static tern_status add_float(tern__program *program, const tern__node *node, tern__gpu_kernel_id kernel,
                             bool *taken) {
  bool same = tern__gpu_same_input(node, 0, 1);
  if (!both_have(program, node, TERN_DTYPE_F32)) return TERN_OK;
  return add_broadcast(program, node, kernel, same, same, 1, taken);
}

/* `whole`: the case of binary_int.wgsl; -1 = floats alone. */
typedef struct binary_op { const char *name; int32_t kernel, whole; } binary_op;

static const binary_op binary_ops[] = {
    {"Add", TERN__KERNEL_binary_add, 0},   {"Sub", TERN__KERNEL_binary_sub, 1},
    {"Mul", TERN__KERNEL_binary_mul, 2},   {"Div", TERN__KERNEL_binary_div, 3},
    {"Max", TERN__KERNEL_binary_max, 4},   {"Min", TERN__KERNEL_binary_min, 5},
    {"Sum", TERN__KERNEL_binary_add, 0},   {"Pow", TERN__KERNEL_binary_pow, -1},
    {"PRelu", TERN__KERNEL_binary_prelu, -1}, {"Mod", -1, 6},
    {"BitwiseAnd", -1, 8},                 {"BitwiseOr", -1, 9},
    {"BitwiseXor", -1, 10},
};
enum { INT_MOD = 6, INT_REMAINDER = 7, INT_WIDE = 256, INT_SAME = 512 };

tern_status tern__gpu_compile_binary(tern__program *program, const tern__node *node, bool *taken) {
  for (size_t i = 0; i < sizeof binary_ops / sizeof *binary_ops; i++) {
    const binary_op *op = &binary_ops[i];
    if (strcmp(node->op->name, op->name) != 0) continue;
    bool wide = both_have(program, node, TERN_DTYPE_I64), same = tern__gpu_same_input(node, 0, 1);
    if (op->whole >= 0 && (wide || both_have(program, node, TERN_DTYPE_I32))) {
      int32_t whole = op->whole == INT_MOD && tern__node_int(node, "fmod", 0) ? INT_REMAINDER : op->whole;
      uint32_t kind = (uint32_t)whole | (wide ? INT_WIDE : 0) | (same ? INT_SAME : 0);
      return add_broadcast(program, node, TERN__KERNEL_binary_int, kind, same, 1, taken);
    }
    return op->kernel < 0 ? TERN_OK : add_float(program, node, (tern__gpu_kernel_id)op->kernel, taken);
  }
  return TERN_OK;
}

tern_status tern__gpu_compile_silu_mul(tern__program *program, const tern__node *node, bool *taken) {
  return add_float(program, node, TERN__KERNEL_binary_silu_mul, taken);
}

tern_status tern__gpu_compile_gelu_mul(tern__program *program, const tern__node *node, bool *taken) {
  bool tanh = strcmp(tern__node_string(node, "approximate", "none"), "tanh") == 0;
  return add_float(program, node, tanh ? TERN__KERNEL_binary_gelu_tanh_mul : TERN__KERNEL_binary_gelu_erf_mul,
                   taken);
}

tern_status tern__gpu_compile_bias_gelu(tern__program *program, const tern__node *node, bool *taken) {
  return add_float(program, node, TERN__KERNEL_binary_add_gelu_erf, taken);
}

tern_status tern__gpu_compile_plain_fast_gelu(tern__program *program, const tern__node *node, bool *taken);

tern_status tern__gpu_compile_fast_gelu(tern__program *program, const tern__node *node, bool *taken) {
  return tern__gpu_in(program, node, 1) ? add_float(program, node, TERN__KERNEL_binary_add_gelu_tanh, taken)
                                        : tern__gpu_compile_plain_fast_gelu(program, node, taken);
}

/* ---- results of bool ---- */

enum { COMPARE_F32, COMPARE_I32, COMPARE_I64, COMPARE_BYTES, COMPARE_NOTHING, COMPARE_SAME = 65536 };

static uint32_t compare_type(const tern__view *view) {
  switch (view->dtype) {
    case TERN_DTYPE_F32: return COMPARE_F32;
    case TERN_DTYPE_I32: return COMPARE_I32;
    case TERN_DTYPE_I64: return COMPARE_I64;
    case TERN_DTYPE_BOOL:
    case TERN_DTYPE_U8: return COMPARE_BYTES;
    default: return COMPARE_NOTHING;
  }
}

tern_status tern__gpu_compile_compare(tern__program *program, const tern__node *node, bool *taken) {
  static const char *const names[] = {"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And",
                                      "Or",    "Xor",     "Not",  "IsNaN"};
  enum { EQUAL, NOT = 8, IS_NAN, EQUAL_BOOL };
  uint32_t op = 0;
  const tern__view *a = tern__gpu_in(program, node, 0);
  while (op < sizeof names / sizeof *names && strcmp(node->op->name, names[op]) != 0) op++;
  if (op == sizeof names / sizeof *names || !a) return TERN_OK;
  bool one = op == NOT || op == IS_NAN, same = one || tern__gpu_same_input(node, 0, 1);
  if (compare_type(a) == COMPARE_NOTHING || (!one && !both_have(program, node, a->dtype))) return TERN_OK;
  if (op == IS_NAN && a->dtype != TERN_DTYPE_F32) return TERN_OK;
  if (op == EQUAL && a->dtype == TERN_DTYPE_BOOL) op = EQUAL_BOOL;
  uint32_t kind = op | compare_type(a) << 8 | (same ? COMPARE_SAME : 0);
  return add_broadcast(program, node, TERN__KERNEL_compare, kind, same, 4, taken);
}

/* ---- Where ---- */

typedef struct where_params {
  uint32_t count, dim1, dim2, dim3, condition_steps[4], a_steps[4], b_steps[4];
} where_params;

tern_status tern__gpu_compile_where(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *y = tern__gpu_out(program, node, 0), *in[3];
  uint32_t words = tern__gpu_element_bytes(y->dtype) / 4;
  where_params p = {.dim1 = 1, .dim2 = 1, .dim3 = 1};
  tern__gpu_walk walk = tern__gpu_walk_over(&y->shape);
  if (words == 0 || !tern__gpu_fits(program, y) || tern__gpu_same_input(node, 1, 2)) return TERN_OK;
  for (int32_t i = 0; i < 3; i++) {
    in[i] = tern__gpu_in(program, node, i);
    if (!tern__gpu_fits(program, in[i])) return TERN_OK;
    tern__gpu_walk_broadcast(&walk, i, &in[i]->shape);
  }
  for (int32_t d = 0; d < walk.rank; d++)
    walk.steps[1][d] *= (int32_t)words, walk.steps[2][d] *= (int32_t)words;
  tern__gpu_walk_add(&walk, words, 0, 1, 1);
  tern__gpu_walk_merge(&walk);
  if (walk.rank > KERNEL_RANK) return TERN_OK;
  p.count = (uint32_t)tern__gpu_elements(y) * words;
  *taken = true;
  if (p.count == 0) return TERN_OK;
  if (walk.rank > 0) p.dim3 = walk.dims[walk.rank - 1];
  if (walk.rank > 1) p.dim2 = walk.dims[walk.rank - 2];
  if (walk.rank > 2) p.dim1 = walk.dims[walk.rank - 3];
  tern__gpu_walk_inner(&walk, 0, KERNEL_RANK, p.condition_steps);
  tern__gpu_walk_inner(&walk, 1, KERNEL_RANK, p.a_steps);
  tern__gpu_walk_inner(&walk, 2, KERNEL_RANK, p.b_steps);
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_input(node, 1),
                                  tern__gpu_input(node, 2), tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_where_words, operands, &p, p.count, WORKGROUP));
  tern__gpu_cost(program, p.count, 12ull * p.count);
cleanup:
  return status;
}
