/* tern.EncoderAttention: a chunk is a block of queries of one head. */
#include "cpu/cpu_program.h"

#include <math.h>

enum { QUERY_BLOCK = 32 };

typedef struct encoder_params {
  size_t batch, rows, keys, heads, dim, blocks;
  size_t mask_step[4]; /* elements per step of [b, h, s, t]; 0 where the mask broadcasts */
  float scale;
} encoder_params;

static tern_status run_encoder(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const encoder_params *p = step->params;
  size_t block = chunk % p->blocks, h = chunk / p->blocks % p->heads, b = chunk / p->blocks / p->heads;
  size_t row = block * QUERY_BLOCK, n = p->rows - row < QUERY_BLOCK ? p->rows - row : QUERY_BLOCK;
  size_t width = p->heads * p->dim, at = (b * p->rows + row) * width + h * p->dim;
  float *q = (float *)(void *)(context->scratch + tern__cpu_attention_scratch(p->dim)),
        *maximum = q + QUERY_BLOCK * p->dim, *sum = maximum + QUERY_BLOCK;
  const float *from = (const float *)step->in[0]->data + at;
  for (size_t i = 0; i < n; i++)
    for (size_t e = 0; e < p->dim; e++) q[i * p->dim + e] = from[i * width + e] * p->scale;
  tern__cpu_attention_call call = {
      .q = q, .q_stride = p->dim, .n_queries = n, .d = p->dim, .kv_stride = width, .end = p->keys,
      .k = (const float *)step->in[1]->data + b * p->keys * width + h * p->dim,
      .v = (const float *)step->in[2]->data + b * p->keys * width + h * p->dim,
      .out = (float *)step->out[0]->data + at, .out_stride = width, .maximum = maximum, .sum = sum,
      .scratch = (float *)(void *)context->scratch};
  if (step->in[3]) {
    call.mask = (const float *)step->in[3]->data + b * p->mask_step[0] + h * p->mask_step[1] +
                row * p->mask_step[2];
    call.mask_stride = p->mask_step[2], call.mask_step = p->mask_step[3];
  }
  context->kernels->attention(&call);
  for (size_t i = 0; i < n; i++) {
    float inverse = sum[i] > 0 ? 1.0f / sum[i] : 0;
    for (size_t e = 0; e < p->dim; e++) call.out[i * width + e] *= inverse;
  }
  return TERN_OK;
}

tern_status tern__cpu_compile_encoder_attention(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *q = tern__cpu_in(program, node, 0), *k = tern__cpu_in(program, node, 1);
  const tern__view *mask = tern__cpu_in(program, node, 3);
  encoder_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  if (mask && ((uintptr_t)mask->data & 3)) return TERN_OK; /* a misaligned mask from a file */
  p->batch = (size_t)q->shape.dims[0], p->rows = (size_t)q->shape.dims[1], p->keys = (size_t)k->shape.dims[1];
  p->heads = (size_t)tern__node_int(node, "num_heads", 1), p->dim = (size_t)q->shape.dims[2] / p->heads;
  p->scale = tern__node_float(node, "scale", 0);
  if (p->scale == 0) p->scale = 1.0f / sqrtf((float)p->dim);
  p->blocks = tern__cpu_divide_up(p->rows, QUERY_BLOCK);
  size_t stride = 1;
  for (int32_t i = mask ? mask->shape.rank : 0; i-- > 0; stride *= (size_t)mask->shape.dims[i])
    if (mask->shape.dims[i] != 1) p->mask_step[i + 4 - mask->shape.rank] = stride;
  tern__cpu_need_scratch(
      program, tern__cpu_attention_scratch(p->dim) + QUERY_BLOCK * (p->dim + 2) * sizeof(float), 0);
  TERN_TRY(tern__cpu_add_step(program, node, run_encoder, p->batch * p->heads * p->blocks, p));
  *taken = true;
cleanup:
  return status;
}
