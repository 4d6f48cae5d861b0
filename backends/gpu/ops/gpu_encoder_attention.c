/* tern.EncoderAttention: kernels/attention_encoder.wgsl, or attention_matrix_encoder.wgsl, for which products may store
 * queries, keys and values as float16, and of those attention_matrix_whole.wgsl where keys are few. */
#include <math.h>
#include <stddef.h>

#include "gpu/gpu_halves.h"
#include "gpu/ops/gpu_attention.h"

/* Has cooperative matrices read halves, if those that make queries, keys and values, which are operands 0, 2 and 3, all
 * offer them. What comes out are means of values, and have their bound. */
static tern_status take_halves(tern__program *program, const tern__node *node, uint64_t batch, tern__gpu_attention *a,
                               tern__gpu_operand *operands, tern__gpu_bound *bound, bool *taken) {
  tern_status status = TERN_OK;
  tern__gpu_operand from[3] = {operands[0], operands[2], operands[3]};
  uint64_t keys = batch * a->keys, rows[3] = {batch * a->rows, keys, keys};
  tern__gpu_halves halves[3];
  a->product_scale = a->value_scale = 1;
  TERN_TRY(tern__gpu_take_all_halves(program, node, from, rows, (uint64_t)a->kv_heads * a->dim, 3, halves));
  if (halves[0].at.kind == TERN__GPU_NONE) return TERN_OK;
  operands[0] = halves[0].at, operands[2] = halves[1].at, operands[3] = halves[2].at;
  *bound = (tern__gpu_bound){halves[2].bound.each, halves[2].bound.each * (double)a->kv_heads * a->dim};
  a->product_scale = a->scale * halves[0].back * halves[1].back, a->value_scale = halves[2].back, a->scale = 1;
  *taken = true;
cleanup:
  return status;
}

tern_status tern__gpu_compile_encoder_attention(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *q = tern__gpu_in(program, node, 0), *k = tern__gpu_in(program, node, 1);
  const tern__view *mask = tern__gpu_in(program, node, 3);
  uint64_t heads = (uint64_t)tern__node_int(node, "num_heads", 1), batch = (uint64_t)q->shape.dims[0];
  tern__gpu_attention a = {.rows = (uint32_t)q->shape.dims[1],
                           .keys = (uint32_t)k->shape.dims[1],
                           .kv_heads = (uint32_t)heads,
                           .group = 1,
                           .dim = (uint32_t)((uint64_t)q->shape.dims[2] / heads),
                           .flags = mask ? TERN__GPU_ATTENTION_MASK : 0,
                           .scale = tern__node_float(node, "scale", 0)};
  uint64_t width = (uint64_t)q->shape.dims[2], limit = program->backend->info->max_groups;
  if (!batch || !a.rows || !a.keys || a.dim > TERN__GPU_ATTENTION_MAX_DIM || batch * heads > limit ||
      batch * a.rows * width > UINT32_MAX || batch * a.keys * width > UINT32_MAX)
    return TERN_OK;
  if (a.scale == 0) a.scale = 1.0f / sqrtf((float)a.dim);
  uint32_t stride = 1;
  for (int32_t i = mask ? mask->shape.rank : 0; i-- > 0; stride *= (uint32_t)mask->shape.dims[i])
    if (mask->shape.dims[i] != 1) a.mask_step[i + 4 - mask->shape.rank] = stride;
  tern__gpu_attention_tile(&a);
  tern__gpu_kernel_id kernel = TERN__KERNEL_attention_encoder;
  bool matrix = tern__gpu_attention_matrix(program, &a, TERN__KERNEL_attention_matrix_encoder_32, &kernel);
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS] = {tern__gpu_input(node, 0), tern__gpu_output(node, 0),
                                                        tern__gpu_input(node, 1), tern__gpu_input(node, 2),
                                                        tern__gpu_input(node, 3)};
  if (tern__gpu_attention_blocks(&a) > limit) return TERN_OK;
  tern__gpu_bound bound = {0, 0};
  bool halves = false;
  if (matrix) TERN_TRY(take_halves(program, node, batch, &a, operands, &bound, &halves));
  if (halves) /* the same variant of those that read them */
    kernel = (tern__gpu_kernel_id)(kernel - TERN__KERNEL_attention_matrix_encoder_32 +
                                   TERN__KERNEL_attention_matrix_encoder_halves_32);
  uint32_t sharers = halves ? tern__gpu_attention_whole(program, &a, batch, &kernel) : 0; /* batches are in z then */
  uint64_t element = halves ? 2 : sizeof(float); /* of q, k, v */
  TERN_TRY(tern__gpu_add_step(program, node, kernel, operands, &a, tern__gpu_attention_blocks(&a),
                              sharers ? sharers : (uint32_t)(batch * heads), sharers ? (uint32_t)batch : 1));
  tern__gpu_cost(program, 4 * batch * a.rows * a.keys * width,
                 batch * width * (a.rows * (element + sizeof(float)) + 2 * a.keys * element));
  if (matrix)
    TERN_TRY(tern__gpu_offer_halves(
        program, &(tern__gpu_halves){.y = operands[1], .rows = batch * a.rows, .width = width, .bound = bound,
                                     .plain = 1, .halves = 5, .flags = offsetof(tern__gpu_attention, flags) / 4,
                                     .factor = -1, .fixed = 0.5f, .alone = TERN__GPU_ATTENTION_HALVES}));
  *taken = true;
cleanup:
  return status;
}
