/* Along one axis: ArgMax and ArgMin (arg_extreme.wgsl), TopK of few (top_k.wgsl), CumSum (cum_sum.wgsl). */
#include <string.h>

#include "gpu/gpu_walk.h"

enum { WORKGROUP = 64, MAX_K = 64, SMALLEST = 1, LAST = 2, WANT_VALUES = 2, WANT_INDICES = 4 };

typedef struct axis_dims { uint64_t outer, n, inner; } axis_dims;

static axis_dims around(const tern__shape *shape, int64_t attr) {
  int32_t axis = tern__gpu_axis(attr, shape->rank);
  return (axis_dims){tern__gpu_product(shape, 0, axis), (uint64_t)shape->dims[axis],
                     tern__gpu_product(shape, axis + 1, shape->rank)};
}

typedef struct arg_params { uint32_t rows, n, inner, flags; } arg_params;

tern_status tern__gpu_compile_arg(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0);
  axis_dims d = around(&x->shape, tern__node_int(node, "axis", 0));
  if (x->dtype != TERN_DTYPE_F32 || !tern__gpu_fits(program, x)) return TERN_OK;
  arg_params p = {(uint32_t)(d.outer * d.inner), (uint32_t)d.n, (uint32_t)d.inner,
                  (strcmp(node->op->name, "ArgMin") == 0 ? SMALLEST : 0) |
                      (tern__node_int(node, "select_last_index", 0) ? LAST : 0)};
  *taken = true;
  if (p.rows == 0) return TERN_OK;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_arg_extreme, operands, &p, p.rows, 1));
  tern__gpu_cost(program, (uint64_t)p.rows * p.n, 4ull * p.rows * p.n);
cleanup:
  return status;
}

typedef struct top_k_params { uint32_t rows, n, inner, k, flags; } top_k_params;

tern_status tern__gpu_compile_top_k(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0);
  axis_dims d = around(&x->shape, tern__node_int(node, "axis", -1));
  int64_t k = tern__node_int(node, "k", -1);
  if (k < 0 && tern__gpu_ints(program, node, 1, "k", &k, 1) != 1) return TERN_OK;
  if (x->dtype != TERN_DTYPE_F32 || k < 0 || k > MAX_K || !tern__gpu_fits(program, x)) return TERN_OK;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0),
                                  tern__gpu_output(node, 1)};
  top_k_params p = {(uint32_t)(d.outer * d.inner), (uint32_t)d.n, (uint32_t)d.inner, (uint32_t)k,
                    (tern__node_int(node, "largest", 1) ? 0 : SMALLEST) |
                        (operands[1].kind ? WANT_VALUES : 0) | (operands[2].kind ? WANT_INDICES : 0)};
  *taken = true;
  if (p.rows == 0 || k == 0) return TERN_OK;
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_top_k, operands, &p, p.rows, 1));
  tern__gpu_cost(program, (uint64_t)p.rows * p.n * p.k, 4ull * p.rows * p.n);
cleanup:
  return status;
}

typedef struct cum_sum_params { uint32_t lines, n, inner, flags, dtype; } cum_sum_params;

tern_status tern__gpu_compile_cum_sum(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0);
  int64_t axis;
  uint32_t dtype = x->dtype == TERN_DTYPE_F32 ? 0 : x->dtype == TERN_DTYPE_I32 ? 1 : 2;
  if (dtype == 2 && x->dtype != TERN_DTYPE_I64) return TERN_OK;
  if (tern__gpu_ints(program, node, 1, "axis", &axis, 1) != 1 || !tern__gpu_fits(program, x)) return TERN_OK;
  axis_dims d = around(&x->shape, axis);
  cum_sum_params p = {
      (uint32_t)(d.outer * d.inner), (uint32_t)d.n, (uint32_t)d.inner,
      (tern__node_int(node, "exclusive", 0) ? 1 : 0) | (tern__node_int(node, "reverse", 0) ? 2 : 0), dtype};
  *taken = true;
  if (p.lines == 0 || p.n == 0) return TERN_OK;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_cum_sum, operands, &p, p.lines, WORKGROUP));
  tern__gpu_cost(program, (uint64_t)p.lines * p.n, 2ull * p.lines * p.n * tern__gpu_element_bytes(x->dtype));
cleanup:
  return status;
}
