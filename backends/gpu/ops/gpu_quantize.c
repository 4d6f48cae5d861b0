/* QuantizeLinear, DequantizeLinear (8 bits, per tensor or axis) and DynamicQuantizeLinear: kernels/quantize_*.wgsl. */
#include "gpu/ops/gpu_integer.h"

enum { WORKGROUP = 64, RANGE_ELEMENTS = 4096 /* fewest of a workgroup */ };

tern_status tern__gpu_add_dynamic_quantize(tern__program *program, const tern__node *node, uint64_t count,
                                           tern__gpu_operand x, tern__gpu_operand ranges, tern__gpu_operand y,
                                           tern__gpu_operand scale, tern__gpu_operand zero) {
  tern_status status = TERN_OK;
  uint64_t parts = (count + RANGE_ELEMENTS - 1) / RANGE_ELEMENTS;
  uint32_t n = (uint32_t)(parts < TERN__GPU_QUANTIZE_RANGES ? parts : TERN__GPU_QUANTIZE_RANGES), groups[2];
  uint32_t range[4] = {(uint32_t)count}, quantize[4] = {(uint32_t)count, n};
  TERN_TRY(tern__gpu_add_step(program, node, TERN__KERNEL_quantize_range, (tern__gpu_operand[]){x, ranges}, range, n, 1,
                              1));
  tern__gpu_cost(program, 2 * count, 4 * count);
  tern__gpu_groups_1d(program, (count + 3) / 4, WORKGROUP, groups);
  TERN_TRY(tern__gpu_add_step(program, node, TERN__KERNEL_quantize_dynamic,
                              (tern__gpu_operand[]){x, ranges, y, scale, zero}, quantize, groups[0], groups[1], 1));
  tern__gpu_cost(program, 30 * count, 5 * count);
cleanup:
  return status;
}

tern_status tern__gpu_compile_dynamic_quantize(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0);
  uint64_t count = tern__gpu_elements(x);
  if (x->dtype != TERN_DTYPE_F32 || !count || count > UINT32_MAX / 4) return TERN_OK;
  tern__gpu_operand ranges = tern__gpu_scratch(0, TERN__GPU_QUANTIZE_RANGES * 8);
  tern__gpu_need_scratch(program, ranges.size);
  TERN_TRY(tern__gpu_add_dynamic_quantize(program, node, count, tern__gpu_input(node, 0), ranges,
                                          tern__gpu_output(node, 0), tern__gpu_output(node, 1),
                                          tern__gpu_output(node, 2)));
  *taken = true;
cleanup:
  return status;
}

typedef struct linear_immediates { uint32_t count, inner, dim, flags, pad[4]; } linear_immediates;
enum { IS_SIGNED = 1, HAS_ZERO = 2, IS_INT32 = 4 };

/* One scale, or one per element of an axis; blocked scales are left to the CPU. */
static bool read_grid(tern__program *program, const tern__node *node, linear_immediates *p) {
  const tern__view *x = tern__gpu_in(program, node, 0), *scale = tern__gpu_in(program, node, 1);
  const tern__view *zero = tern__gpu_in(program, node, 2);
  uint64_t count = tern__gpu_elements(x), n = tern__gpu_elements(scale);
  int64_t axis = tern__node_int(node, "axis", 1);
  if (axis < 0) axis += x->shape.rank;
  if (scale->dtype != TERN_DTYPE_F32 || tern__node_int(node, "block_size", 0) > 0 || !count || count > UINT32_MAX / 4 ||
      (zero && tern__gpu_elements(zero) != n))
    return false;
  *p = (linear_immediates){.count = (uint32_t)count, .inner = 1, .dim = 1, .flags = zero ? HAS_ZERO : 0};
  if (n == 1) return true;
  if (scale->shape.rank != 1 || axis < 0 || axis >= x->shape.rank || (uint64_t)x->shape.dims[axis] != n) return false;
  p->dim = (uint32_t)n, p->inner = (uint32_t)tern__gpu_product(&x->shape, (int32_t)axis + 1, x->shape.rank);
  return true;
}

static tern_status add_linear(tern__program *program, const tern__node *node, tern__gpu_kernel_id kernel,
                              const linear_immediates *p, uint32_t per_invocation) {
  tern_status status = TERN_OK;
  uint32_t groups[2];
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0), tern__gpu_input(node, 1),
                                  tern__gpu_input(node, 2)};
  tern__gpu_groups_1d(program, (p->count + per_invocation - 1) / per_invocation, WORKGROUP, groups);
  TERN_TRY(tern__gpu_add_step(program, node, kernel, operands, p, groups[0], groups[1], 1));
  tern__gpu_cost(program, 8 * (uint64_t)p->count, 5 * (uint64_t)p->count);
cleanup:
  return status;
}

tern_status tern__gpu_compile_quantize_linear(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  linear_immediates p;
  tern_dtype to = tern__gpu_out(program, node, 0)->dtype;
  if (tern__gpu_in(program, node, 0)->dtype != TERN_DTYPE_F32 || (to != TERN_DTYPE_U8 && to != TERN_DTYPE_I8) ||
      !read_grid(program, node, &p))
    return TERN_OK;
  if (to == TERN_DTYPE_I8) p.flags |= IS_SIGNED;
  TERN_TRY(add_linear(program, node, TERN__KERNEL_quantize_linear, &p, 4));
  *taken = true;
cleanup:
  return status;
}

tern_status tern__gpu_compile_dequantize_linear(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  linear_immediates p;
  tern_dtype of = tern__gpu_in(program, node, 0)->dtype;
  if (tern__gpu_out(program, node, 0)->dtype != TERN_DTYPE_F32 ||
      (of != TERN_DTYPE_U8 && of != TERN_DTYPE_I8 && of != TERN_DTYPE_I32) || !read_grid(program, node, &p))
    return TERN_OK;
  if (of == TERN_DTYPE_I8) p.flags |= IS_SIGNED;
  if (of == TERN_DTYPE_I32) p.flags |= IS_INT32;
  TERN_TRY(add_linear(program, node, TERN__KERNEL_dequantize_linear, &p, 1));
  *taken = true;
cleanup:
  return status;
}
