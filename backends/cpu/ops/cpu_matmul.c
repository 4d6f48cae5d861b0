/* MatMul: a constant right side goes to packed panels (cpu_linear.c); two activations are multiplied batch by
 * batch. */
#include "cpu/cpu_program.h"

tern_status tern__cpu_compile_matmul_constant(tern__program *program, const tern__node *node, bool *taken);

enum { ROW_BLOCK = 64 };

typedef struct matmul_params {
  size_t m, n, k, row_blocks;
  int32_t rank;
  size_t dims[TERN_MAX_RANK], a_steps[TERN_MAX_RANK], b_steps[TERN_MAX_RANK]; /* over batches */
} matmul_params;

static tern_status run_matmul(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const matmul_params *p = step->params;
  size_t batch = chunk / p->row_blocks, row = chunk % p->row_blocks * ROW_BLOCK, rest = batch;
  size_t m = p->m - row < ROW_BLOCK ? p->m - row : ROW_BLOCK, a_at = 0, b_at = 0;
  for (int32_t i = p->rank; i-- > 0; rest /= p->dims[i])
    a_at += rest % p->dims[i] * p->a_steps[i], b_at += rest % p->dims[i] * p->b_steps[i];
  context->kernels->matmul((const float *)step->in[0]->data + a_at + row * p->k, p->k,
                           (const float *)step->in[1]->data + b_at, p->n, 1,
                           (float *)step->out[0]->data + (batch * p->m + row) * p->n, p->n, m, p->n, p->k,
                           (float *)(void *)context->scratch);
  return TERN_OK;
}

static void batch_steps(const tern__view *view, const tern__shape *out, size_t steps[TERN_MAX_RANK]) {
  size_t stride = (size_t)view->shape.dims[view->shape.rank - 1] *
                  (size_t)view->shape.dims[view->shape.rank - 2];
  for (int32_t i = view->shape.rank - 2; i-- > 0; stride *= (size_t)view->shape.dims[i])
    steps[i + out->rank - view->shape.rank] = view->shape.dims[i] == 1 ? 0 : stride;
}

tern_status tern__cpu_compile_matmul(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *a = tern__cpu_in(program, node, 0), *b = tern__cpu_in(program, node, 1);
  const tern__view *y = tern__cpu_out(program, node, 0);
  TERN_TRY(tern__cpu_compile_matmul_constant(program, node, taken));
  if (*taken || a->dtype != TERN_DTYPE_F32 || b->dtype != TERN_DTYPE_F32 || a->shape.rank < 2 ||
      b->shape.rank < 2)
    return TERN_OK;
  matmul_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  p->m = (size_t)a->shape.dims[a->shape.rank - 2], p->k = (size_t)a->shape.dims[a->shape.rank - 1];
  p->n = (size_t)b->shape.dims[b->shape.rank - 1];
  if (!p->k) return TERN_OK;
  p->rank = y->shape.rank - 2;
  for (int32_t i = 0; i < p->rank; i++) p->dims[i] = (size_t)y->shape.dims[i];
  batch_steps(a, &y->shape, p->a_steps);
  batch_steps(b, &y->shape, p->b_steps);
  p->row_blocks = tern__cpu_divide_up(p->m, ROW_BLOCK);
  tern__cpu_need_scratch(program, TERN__CPU_LINEAR_SCRATCH, 0);
  TERN_TRY(tern__cpu_add_step(program, node, run_matmul,
                              tern__cpu_product(&y->shape, 0, p->rank) * p->row_blocks, p));
  *taken = true;
cleanup:
  return status;
}
