/* Pad: pad.wgsl. */
#include <string.h>

#include "gpu/gpu_walk.h"

enum { WORKGROUP = 64, KERNEL_RANK = 4 };

typedef struct pad_params {
  uint32_t count, mode, fill_even, fill_odd, dim1, dim2, dim3, pad, x_dims[KERNEL_RANK];
  int32_t before[KERNEL_RANK];
} pad_params;

/* Padding before each axis; false if it is not known while planning. */
static bool read_before(const tern__program *program, const tern__node *node, int32_t rank, int64_t *before) {
  int64_t pads[2 * TERN_MAX_RANK], axes[TERN_MAX_RANK];
  int32_t n = tern__gpu_ints(program, node, 1, "pads", pads, 2 * TERN_MAX_RANK);
  int32_t n_axes = tern__gpu_ints(program, node, 3, "axes", axes, TERN_MAX_RANK);
  if (n < 0 || n_axes == -1) return false;
  memset(before, 0, (size_t)rank * sizeof *before);
  for (int32_t i = 0; i < n / 2; i++) before[n_axes >= 0 ? tern__gpu_axis(axes[i], rank) : i] = pads[i];
  return true;
}

/* The constant as the words of an element; false if it is computed. */
static bool read_fill(const tern__program *program, const tern__node *node, tern_dtype dtype,
                      uint32_t words[2]) {
  uint32_t size = tern__gpu_element_bytes(dtype);
  float value = tern__node_float(node, "value", 0);
  words[0] = words[1] = 0;
  if (tern__gpu_in(program, node, 2)) {
    const void *data = tern__gpu_constant(program, node, 2);
    if (!data) return false;
    memcpy(words, data, size);
  } else if (dtype == TERN_DTYPE_F32) memcpy(words, &value, 4);
  else if (value != 0) return false;
  if (size == 4) words[1] = words[0];
  return true;
}

tern_status tern__gpu_compile_pad(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  static const char *const modes[] = {"constant", "edge", "reflect", "wrap"};
  const tern__view *x = tern__gpu_in(program, node, 0), *y = tern__gpu_out(program, node, 0);
  const char *name = tern__node_string(node, "mode", "constant");
  uint32_t words = tern__gpu_element_bytes(y->dtype) / 4, fill[2], mode = 0;
  int64_t before[TERN_MAX_RANK + 1], x_dims[KERNEL_RANK], y_dims[KERNEL_RANK], starts[KERNEL_RANK];
  int32_t rank = 0;
  while (mode < 4 && strcmp(name, modes[mode]) != 0) mode++;
  if (mode == 4 || words == 0 || words > 2 || !tern__gpu_fits(program, x) || !tern__gpu_fits(program, y))
    return TERN_OK;
  if (!read_before(program, node, x->shape.rank, before) || !read_fill(program, node, y->dtype, fill))
    return TERN_OK;
  for (int32_t d = 0; d <= x->shape.rank; d++) {
    bool inner = d == x->shape.rank; /* the words of an element */
    if (inner && words == 1 && rank) break;
    int64_t from = inner ? words : x->shape.dims[d], to = inner ? words : y->shape.dims[d],
            at = inner ? 0 : before[d];
    bool whole = from == to && at == 0;
    if (rank && whole && x_dims[rank - 1] == y_dims[rank - 1] && starts[rank - 1] == 0) {
      x_dims[rank - 1] *= from, y_dims[rank - 1] *= to;
      continue;
    }
    if (rank == KERNEL_RANK) return TERN_OK;
    x_dims[rank] = from, y_dims[rank] = to, starts[rank++] = at;
  }
  /* A merged innermost dimension has the words of an element in order still: even and odd ones. */
  pad_params p = {.count = (uint32_t)tern__gpu_elements(y) * words, .mode = mode, .fill_even = fill[0],
                  .fill_odd = fill[1], .dim1 = 1, .dim2 = 1, .dim3 = 1, .x_dims = {1, 1, 1, 1}};
  for (int32_t k = 0; k < rank; k++) {
    p.x_dims[KERNEL_RANK - rank + k] = (uint32_t)x_dims[k];
    p.before[KERNEL_RANK - rank + k] = (int32_t)starts[k];
  }
  if (rank > 0) p.dim3 = (uint32_t)y_dims[rank - 1];
  if (rank > 1) p.dim2 = (uint32_t)y_dims[rank - 2];
  if (rank > 2) p.dim1 = (uint32_t)y_dims[rank - 3];
  *taken = true;
  if (p.count == 0) return TERN_OK;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_pad, operands, &p, p.count, WORKGROUP));
  tern__gpu_cost(program, 0, 8ull * p.count);
cleanup:
  return status;
}
