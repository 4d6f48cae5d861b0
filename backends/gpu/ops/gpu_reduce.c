/* Reductions over any axes: reduce_rows.wgsl and reduce_lines.wgsl for float32, reduce_int.wgsl for int32
 * and int64. */
#include <string.h>

#include "gpu/gpu_walk.h"

enum { WORKGROUP = 64, KERNEL_RANK = 3, LONG_ROW = 64, WIDE = 256 };

/* ReduceParams of include/reduce_place.wgsl; `kind` is reduce_int.wgsl's alone. */
typedef struct reduce_params {
  uint32_t count, n, kept2, kept1, kept_step2, kept_step1, kept_step0, dim2, dim1, step2, step1, step0, kind;
} reduce_params;

/* In the order of the shaders' `op`. `whole`: integers have it, too. */
typedef struct reduction { const char *name; tern__gpu_kernel_id rows, lines; bool whole; } reduction;
static const reduction reductions[] = {
    {"ReduceSum", TERN__KERNEL_reduce_rows_sum, TERN__KERNEL_reduce_lines_sum, true},
    {"ReduceMean", TERN__KERNEL_reduce_rows_mean, TERN__KERNEL_reduce_lines_mean, true},
    {"ReduceMax", TERN__KERNEL_reduce_rows_max, TERN__KERNEL_reduce_lines_max, true},
    {"ReduceMin", TERN__KERNEL_reduce_rows_min, TERN__KERNEL_reduce_lines_min, true},
    {"ReduceProd", TERN__KERNEL_reduce_rows_prod, TERN__KERNEL_reduce_lines_prod, true},
    {"ReduceSumSquare", TERN__KERNEL_reduce_rows_sum_square, TERN__KERNEL_reduce_lines_sum_square, true},
    {"ReduceL1", TERN__KERNEL_reduce_rows_l1, TERN__KERNEL_reduce_lines_l1, true},
    {"ReduceL2", TERN__KERNEL_reduce_rows_l2, TERN__KERNEL_reduce_lines_l2, false},
    {"ReduceLogSum", TERN__KERNEL_reduce_rows_log_sum, TERN__KERNEL_reduce_lines_log_sum, false},
    {"ReduceLogSumExp", TERN__KERNEL_reduce_rows_log_sum_exp, TERN__KERNEL_reduce_lines_log_sum_exp, false},
};

/* The kept and the reduced dimensions, merged; false if the axes are not known or nothing is reduced. */
static bool read_dims(const tern__program *program, const tern__node *node, tern__gpu_walk *kept,
                      tern__gpu_walk *reduced) {
  const tern__shape *shape = &tern__gpu_in(program, node, 0)->shape;
  int64_t axes[TERN_MAX_RANK], step = 1, steps[TERN_MAX_RANK];
  int32_t n = tern__gpu_ints(program, node, 1, "axes", axes, TERN_MAX_RANK);
  bool is_reduced[TERN_MAX_RANK] = {false};
  if (n == -1 || (n <= 0 && tern__node_int(node, "noop_with_empty_axes", 0))) return false;
  for (int32_t i = 0; i < n; i++) is_reduced[tern__gpu_axis(axes[i], shape->rank)] = true;
  for (int32_t d = shape->rank; d-- > 0; step *= shape->dims[d]) steps[d] = step;
  for (int32_t d = 0; d < shape->rank; d++)
    tern__gpu_walk_add(n <= 0 || is_reduced[d] ? reduced : kept, (uint32_t)shape->dims[d], (int32_t)steps[d],
                       0, 0);
  tern__gpu_walk_merge(kept);
  tern__gpu_walk_merge(reduced);
  return true;
}

static uint32_t walk_count(const tern__gpu_walk *walk) {
  uint32_t n = 1;
  for (int32_t d = 0; d < walk->rank; d++) n *= walk->dims[d];
  return n;
}

tern_status tern__gpu_compile_reduce(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0);
  tern__gpu_walk kept = {0}, reduced = {0};
  uint32_t op = 0, outer_steps[KERNEL_RANK], steps[KERNEL_RANK];
  bool real = x->dtype == TERN_DTYPE_F32, whole = x->dtype == TERN_DTYPE_I32 || x->dtype == TERN_DTYPE_I64;
  while (op < sizeof reductions / sizeof *reductions && strcmp(node->op->name, reductions[op].name) != 0)
    op++;
  if (op == sizeof reductions / sizeof *reductions || !tern__gpu_fits(program, x)) return TERN_OK;
  if ((!real && !(whole && reductions[op].whole)) || !read_dims(program, node, &kept, &reduced))
    return TERN_OK;
  if (kept.rank > KERNEL_RANK || reduced.rank > KERNEL_RANK || walk_count(&reduced) == 0) return TERN_OK;
  tern__gpu_walk_inner(&kept, 0, KERNEL_RANK, outer_steps);
  tern__gpu_walk_inner(&reduced, 0, KERNEL_RANK, steps);
  reduce_params p = {walk_count(&kept),
                     walk_count(&reduced),
                     tern__gpu_walk_size(&kept, 0),
                     tern__gpu_walk_size(&kept, 1),
                     outer_steps[2],
                     outer_steps[1],
                     outer_steps[0],
                     tern__gpu_walk_size(&reduced, 0),
                     tern__gpu_walk_size(&reduced, 1),
                     steps[2],
                     steps[1],
                     steps[0],
                     op | (x->dtype == TERN_DTYPE_I64 ? WIDE : 0)};
  *taken = true;
  if (p.count == 0) return TERN_OK;
  bool rows = real && p.n >= LONG_ROW;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node,
                              !real  ? TERN__KERNEL_reduce_int
                              : rows ? reductions[op].rows
                                     : reductions[op].lines,
                              operands, &p, p.count, rows ? 1 : WORKGROUP));
  tern__gpu_cost(program, (uint64_t)p.count * p.n,
                 (uint64_t)p.count * p.n * tern__gpu_element_bytes(x->dtype));
cleanup:
  return status;
}
