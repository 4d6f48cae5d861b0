/* Matrix products with constant weights: Linear, Gemm, MatMul, MatMulNBits, MatMulBnb4. Kernels: kernels/linear*.wgsl. Parts of the
 * weights and blocks of rows are dispatches of their own, so that each fits the device's bindings. */
#include "gpu/gpu_pack.h"

enum { ROW_STEP = 64 /* rows of a block: keeps offsets aligned */, PAD_WORKGROUP = 64 };

typedef struct linear_immediates {
  uint32_t rows, columns, blocks, x_stride, y_stride, y_first, has_bias, lanes;
} linear_immediates;

typedef struct linear_call {
  tern__program *program;
  const tern__node *node;
  tern__gpu_weights weights;
  size_t rows;
  int32_t bias;
} linear_call;

static uint32_t divide_up(uint64_t a, uint64_t b) { return (uint32_t)((a + b - 1) / b); }

/* Rows of x and y that fit a binding; 0 if not even ROW_STEP do. */
static uint64_t block_rows(const linear_call *call) {
  uint64_t width = call->weights.blocks * TERN__WEIGHT_BLOCK;
  if (call->weights.n > width) width = call->weights.n;
  uint64_t limit = call->program->backend->info->max_binding_bytes / (width * sizeof(float));
  uint64_t by_grid = (uint64_t)call->program->backend->info->max_groups * 4;
  if (limit > by_grid) limit = by_grid;
  return limit >= call->rows ? call->rows : limit / ROW_STEP * ROW_STEP;
}

/* x with rows of whole blocks, in scratch. */
static tern_status add_pad(const linear_call *call, uint64_t row, uint64_t rows, tern__gpu_operand *x) {
  tern_status status = TERN_OK;
  uint64_t width = call->weights.k, padded = call->weights.blocks * TERN__WEIGHT_BLOCK, count = rows * padded;
  uint32_t groups[2], immediates[4] = {(uint32_t)count, (uint32_t)width, (uint32_t)padded, 0};
  tern__gpu_operand padded_x = tern__gpu_scratch(0, count * sizeof(float)), from = tern__gpu_input(call->node, 0);
  from.offset = row * width * sizeof(float), from.size = rows * width * sizeof(float);
  tern__gpu_need_scratch(call->program, padded_x.size);
  tern__gpu_groups_1d(call->program, count, PAD_WORKGROUP, groups);
  TERN_TRY(tern__gpu_add_step(call->program, call->node, TERN__KERNEL_linear_pad,
                              (tern__gpu_operand[]){from, padded_x}, immediates, groups[0], groups[1], 1));
  *x = padded_x;
cleanup:
  return status;
}

static tern_status add_product(const linear_call *call, uint64_t row, uint64_t rows, tern__gpu_operand x, int32_t part) {
  tern_status status = TERN_OK;
  const tern__gpu_weights *w = &call->weights;
  uint64_t columns = tern__gpu_weight_rows(w, part);
  linear_immediates immediates = {.rows = (uint32_t)rows,
                                  .columns = (uint32_t)columns,
                                  .blocks = (uint32_t)w->blocks,
                                  .x_stride = (uint32_t)(w->blocks * TERN__WEIGHT_BLOCK / 4),
                                  .y_stride = (uint32_t)w->n,
                                  .y_first = (uint32_t)((uint64_t)part * w->part_rows),
                                  .has_bias = call->bias >= 0};
  tern__gpu_operand operands[3 + TERN__GPU_WEIGHT_BINDINGS] = {x, tern__gpu_output(call->node, 0),
                                                               {TERN__GPU_NONE, -1, 0, 0}};
  operands[1].offset = row * w->n * sizeof(float), operands[1].size = rows * w->n * sizeof(float);
  if (call->bias >= 0) operands[2] = tern__gpu_input(call->node, call->bias);
  tern__gpu_weight_operands(w, part, operands + 3);
  tern__gpu_kernel_id kernel = tern__gpu_weight_kernel(
      rows == 1 ? TERN__KERNEL_linear_direct1_f32 : TERN__KERNEL_linear_direct4_f32, w->format);
  uint32_t width = tern__gpu_kernels[kernel].workgroup[0] * 4;
  TERN_TRY(tern__gpu_add_step(call->program, call->node, kernel, operands, &immediates, divide_up(columns, width),
                              rows == 1 ? 1 : divide_up(rows, 4), 1));
  tern__gpu_cost(call->program, 2 * rows * columns * w->k,
                 (operands[3].size + operands[4].size + operands[5].size) + rows * (w->k + columns) * sizeof(float));
cleanup:
  return status;
}

static tern_status compile_product(tern__program *program, const tern__node *node, tern__weight_read *read,
                                   bool *taken) {
  tern_status status = TERN_OK;
  tern__weight_product product;
  linear_call call = {.program = program, .node = node};
  if (!tern__gpu_read_product(program, node, read, &product) ||
      !tern__gpu_weights_fit(program, &product.source, &call.weights))
    return TERN_OK;
  call.rows = product.rows, call.bias = product.bias;
  uint64_t step = block_rows(&call);
  if (!step) return TERN_OK;
  TERN_TRY(tern__gpu_pack_weights(program, &product.source, &call.weights));
  for (uint64_t row = 0; row < call.rows; row += step) {
    uint64_t rows = call.rows - row < step ? call.rows - row : step, k = call.weights.k;
    tern__gpu_operand x = tern__gpu_input(node, 0);
    x.offset = row * k * sizeof(float), x.size = rows * k * sizeof(float);
    if (k % TERN__WEIGHT_BLOCK) TERN_TRY(add_pad(&call, row, rows, &x));
    for (int32_t part = 0; part < call.weights.parts; part++) TERN_TRY(add_product(&call, row, rows, x, part));
  }
  *taken = true;
cleanup:
  return status;
}

tern_status tern__gpu_compile_linear(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_linear, taken);
}

tern_status tern__gpu_compile_gemm(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_gemm, taken);
}

/* MatMul with a constant right side of two dimensions; gpu_matmul.c calls it first. */
tern_status tern__gpu_compile_matmul_constant(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_matmul, taken);
}

tern_status tern__gpu_compile_matmul_nbits(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_nbits, taken);
}

tern_status tern__gpu_compile_matmul_bnb4(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_bnb4, taken);
}
