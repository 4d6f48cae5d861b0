/* OneHot: one_hot.wgsl. */
#include "gpu/gpu_walk.h"

/* OneHotParams of one_hot.wgsl. */
typedef struct one_hot_params { uint32_t count, n, inner, size, index_size, index_kind; } one_hot_params;

enum { UNSIGNED, SIGNED, FLOAT, BFLOAT };

static uint32_t index_kind(tern_dtype dtype) {
  switch (dtype) {
    case TERN_DTYPE_F32:
    case TERN_DTYPE_F16: return FLOAT;
    case TERN_DTYPE_BF16: return BFLOAT;
    case TERN_DTYPE_I8:
    case TERN_DTYPE_I16:
    case TERN_DTYPE_I32:
    case TERN_DTYPE_I64: return SIGNED;
    default: return UNSIGNED;
  }
}

tern_status tern__gpu_compile_one_hot(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  enum { WORKGROUP = 64 };
  const tern__view *indices = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  int32_t axis = tern__gpu_axis(tern__node_int(node, "axis", -1), y->shape.rank);
  one_hot_params p = {(uint32_t)tern__gpu_elements(y), (uint32_t)y->shape.dims[axis],
                      (uint32_t)tern__gpu_product(&y->shape, axis + 1, y->shape.rank),
                      tern__gpu_element_bytes(y->dtype), tern__gpu_element_bytes(indices->dtype),
                      index_kind(indices->dtype)};
  if (p.size == 0 || p.index_size == 0 || indices->dtype == TERN_DTYPE_F64) return TERN_OK;
  if (!tern__gpu_fits(program, indices) || !tern__gpu_fits(program, y)) return TERN_OK;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_input(node, 2), tern__gpu_output(node, 0)};
  *taken = true;
  if (p.count == 0) return TERN_OK;
  uint64_t words = ((uint64_t)p.count * p.size + 3) / 4;
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_one_hot, operands, &p, words, WORKGROUP));
  tern__gpu_cost(program, 0, 4 * words + tern__gpu_elements(indices) * p.index_size);
cleanup:
  return status;
}
