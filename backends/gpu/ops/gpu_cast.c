/* Cast and CastLike: cast.wgsl. */
#include "gpu/gpu_walk.h"

typedef struct cast_params { uint32_t count, from_type, to_type, pad; } cast_params;

/* cast.wgsl's number of a type; -1 = none. */
static int32_t cast_type(tern_dtype dtype) {
  switch (dtype) {
    case TERN_DTYPE_F32: return 0;
    case TERN_DTYPE_F16: return 1;
    case TERN_DTYPE_I32: return 2;
    case TERN_DTYPE_I64: return 3;
    case TERN_DTYPE_U8: return 4;
    case TERN_DTYPE_BOOL: return 5;
    case TERN_DTYPE_I8: return 6;
    default: return -1;
  }
}

tern_status tern__gpu_compile_cast(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  enum { WORKGROUP = 64, PER_INVOCATION = 4 };
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  int32_t from_type = cast_type(x->dtype), to_type = cast_type(y->dtype);
  if (from_type < 0 || to_type < 0 || !tern__gpu_fits(program, x) || !tern__gpu_fits(program, y))
    return TERN_OK;
  cast_params p = {(uint32_t)tern__gpu_elements(y), (uint32_t)from_type, (uint32_t)to_type, 0};
  *taken = true;
  if (p.count == 0) return TERN_OK;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_cast, operands, &p,
                            (p.count + PER_INVOCATION - 1) / PER_INVOCATION, WORKGROUP));
  tern__gpu_cost(program, p.count,
                 (uint64_t)p.count * (tern__gpu_element_bytes(x->dtype) + tern__gpu_element_bytes(y->dtype)));
cleanup:
  return status;
}
