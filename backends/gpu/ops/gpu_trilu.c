/* Trilu: trilu.wgsl. */
#include "gpu/gpu_walk.h"

/* TriluParams of trilu.wgsl. */
typedef struct trilu_params { uint32_t count, words, rows, columns; int32_t diagonal; uint32_t upper; } trilu_params;

tern_status tern__gpu_compile_trilu(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  enum { WORKGROUP = 64 };
  const tern__view *x = tern__gpu_in(program, node, 0);
  int64_t k = 0, rows = x->shape.dims[x->shape.rank - 2], columns = x->shape.dims[x->shape.rank - 1];
  uint32_t words = tern__gpu_element_bytes(x->dtype) / 4;
  if (tern__gpu_in(program, node, 1) && tern__gpu_ints(program, node, 1, NULL, &k, 1) != 1) return TERN_OK;
  if (words == 0 || !tern__gpu_fits(program, x)) return TERN_OK;
  if (k > columns) k = columns; /* beyond the corners nothing changes */
  if (k < -rows) k = -rows;
  trilu_params p = {(uint32_t)tern__gpu_elements(x) * words, words, (uint32_t)rows, (uint32_t)columns, (int32_t)k,
                    tern__node_int(node, "upper", 1) != 0};
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0)};
  *taken = true;
  if (p.count == 0) return TERN_OK;
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_trilu, operands, &p, p.count, WORKGROUP));
  tern__gpu_cost(program, 0, 8ull * p.count);
cleanup:
  return status;
}
