/* MatMul, FusedMatMul and Gemm of two activations: kernels/matmul.wgsl. Constant right sides: gpu_linear.c. */
#include "gpu/gpu_program.h"

tern_status tern__gpu_compile_matmul_constant(tern__program *program, const tern__node *node, bool *taken);

enum { BATCH_DIMS = 3, COLUMNS = 128, ROWS = 4 };

typedef struct matmul_immediates {
  uint32_t m, n, k;
  float alpha;
  uint32_t a_row, a_k, b_k, b_column, dim1, dim2, a_step[BATCH_DIMS], b_step[BATCH_DIMS];
} matmul_immediates;

/* Step of dimension d of the result's batches in a matrix of `view`; 0 where it broadcasts. */
static uint64_t batch_step(const tern__view *view, int32_t out_rank, int32_t d) {
  int32_t at = d - (out_rank - view->shape.rank);
  if (at < 0 || view->shape.dims[at] == 1) return 0;
  return tern__gpu_product(&view->shape, at + 1, view->shape.rank);
}

/* Batch dimensions of `y`, those that run on into one another joined; false if more than three are left. */
static bool join_batches(const tern__view *a, const tern__view *b, const tern__view *y, matmul_immediates *p) {
  uint64_t dims[TERN_MAX_RANK], a_step[TERN_MAX_RANK], b_step[TERN_MAX_RANK];
  int32_t n = 0;
  for (int32_t d = 0; d < y->shape.rank - 2; d++) {
    uint64_t dim = (uint64_t)y->shape.dims[d];
    uint64_t sa = batch_step(a, y->shape.rank, d), sb = batch_step(b, y->shape.rank, d);
    if (dim == 1) continue;
    if (n && a_step[n - 1] == sa * dim && b_step[n - 1] == sb * dim) n--, dim *= dims[n];
    dims[n] = dim, a_step[n] = sa, b_step[n] = sb, n++;
  }
  if (n > BATCH_DIMS) return false;
  uint32_t sizes[BATCH_DIMS] = {1, 1, 1};
  for (int32_t i = 0; i < n; i++) {
    int32_t to = BATCH_DIMS - n + i;
    sizes[to] = (uint32_t)dims[i], p->a_step[to] = (uint32_t)a_step[i], p->b_step[to] = (uint32_t)b_step[i];
  }
  p->dim1 = sizes[1], p->dim2 = sizes[2];
  return true;
}

static tern_status add_matmul(tern__program *program, const tern__node *node, matmul_immediates *p, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *a = tern__gpu_in(program, node, 0), *b = tern__gpu_in(program, node, 1);
  const tern__view *y = tern__gpu_out(program, node, 0);
  uint64_t batches = tern__gpu_product(&y->shape, 0, y->shape.rank - 2), limit = program->backend->info->max_groups;
  uint32_t x = (p->n + COLUMNS - 1) / COLUMNS, rows = (p->m + ROWS - 1) / ROWS;
  tern__gpu_operand operands[] = {tern__gpu_input(node, 0), tern__gpu_input(node, 1), tern__gpu_output(node, 0)};
  if (!p->m || !p->n || !p->k || !batches || batches > limit || rows > limit || !join_batches(a, b, y, p) ||
      tern__gpu_elements(a) > UINT32_MAX || tern__gpu_elements(b) > UINT32_MAX || tern__gpu_elements(y) > UINT32_MAX)
    return TERN_OK;
  TERN_TRY(tern__gpu_add_step(program, node, TERN__KERNEL_matmul, operands, p, x, rows, (uint32_t)batches));
  tern__gpu_cost(program, 2 * batches * p->m * p->n * p->k,
                 4 * (tern__gpu_elements(a) + tern__gpu_elements(b) + tern__gpu_elements(y)));
  *taken = true;
cleanup:
  return status;
}

static tern_status compile_activations(tern__program *program, const tern__node *node, bool trans_a, bool trans_b,
                                       float alpha, bool *taken) {
  const tern__view *a = tern__gpu_in(program, node, 0), *b = tern__gpu_in(program, node, 1);
  if (a->dtype != TERN_DTYPE_F32 || b->dtype != TERN_DTYPE_F32 || a->shape.rank < 2 || b->shape.rank < 2)
    return TERN_OK;
  uint32_t a_rows = (uint32_t)a->shape.dims[a->shape.rank - 2], a_columns = (uint32_t)a->shape.dims[a->shape.rank - 1];
  uint32_t b_rows = (uint32_t)b->shape.dims[b->shape.rank - 2], b_columns = (uint32_t)b->shape.dims[b->shape.rank - 1];
  matmul_immediates p = {.m = trans_a ? a_columns : a_rows,
                         .n = trans_b ? b_rows : b_columns,
                         .k = trans_a ? a_rows : a_columns,
                         .alpha = alpha,
                         .a_row = trans_a ? 1 : a_columns,
                         .a_k = trans_a ? a_columns : 1,
                         .b_k = trans_b ? 1 : b_columns,
                         .b_column = trans_b ? b_columns : 1};
  return add_matmul(program, node, &p, taken);
}

tern_status tern__gpu_compile_matmul(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  TERN_TRY(tern__gpu_compile_matmul_constant(program, node, taken));
  if (!*taken) TERN_TRY(compile_activations(program, node, false, false, 1, taken));
cleanup:
  return status;
}

tern_status tern__gpu_compile_fused_matmul(tern__program *program, const tern__node *node, bool *taken) {
  if (tern__node_int(node, "transBatchA", 0) || tern__node_int(node, "transBatchB", 0)) return TERN_OK;
  return compile_activations(program, node, tern__node_int(node, "transA", 0) != 0,
                             tern__node_int(node, "transB", 0) != 0, tern__node_float(node, "alpha", 1), taken);
}
