/* Softmax and LogSoftmax along any axis: softmax.wgsl. Before opset 13 everything from `axis` on is one
 * row. */
#include <string.h>

#include "gpu/gpu_walk.h"

typedef struct softmax_params { uint32_t rows, cells, inner, logarithm; } softmax_params;

tern_status tern__gpu_compile_softmax(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0);
  const tern__shape *shape = &x->shape;
  bool flat = node->opset < 13;
  int64_t attr = tern__node_int(node, "axis", flat ? 1 : -1);
  int32_t axis = shape->rank == 0 || attr == shape->rank ? shape->rank : tern__gpu_axis(attr, shape->rank);
  flat = flat || axis == shape->rank;
  uint64_t outer = tern__gpu_product(shape, 0, axis);
  uint64_t n = flat ? tern__gpu_product(shape, axis, shape->rank) : (uint64_t)shape->dims[axis];
  uint64_t inner = flat ? 1 : tern__gpu_product(shape, axis + 1, shape->rank);
  if (x->dtype != TERN_DTYPE_F32 || !tern__gpu_fits(program, x)) return TERN_OK;
  *taken = true;
  if (outer * n * inner == 0) return TERN_OK;
  bool quads = inner == 1 && n % 4 == 0;
  softmax_params p = {(uint32_t)(outer * inner), (uint32_t)(quads ? n / 4 : n), (uint32_t)inner,
                      strcmp(node->op->name, "LogSoftmax") == 0};
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node, quads ? TERN__KERNEL_softmax_quads : TERN__KERNEL_softmax,
                            operands, &p, p.rows, 1));
  tern__gpu_cost(program, 20 * outer * n * inner, 8 * outer * n * inner);
cleanup:
  return status;
}
