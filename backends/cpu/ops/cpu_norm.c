/* Norms over the last dimensions, with and without a residual sum before: a chunk is a block of rows. */
#include "cpu/cpu_fuse.h"

#include <string.h>

enum { CHUNK_ELEMENTS = 16 * 1024 };

typedef struct norm_params {
  size_t rows, n, block;
  float epsilon;
  bool mean;                       /* layer norm */
  int32_t x, weight, bias, skip, skip_bias; /* inputs, -1 = none */
  size_t skip_rows;                /* rows of the skip input: it repeats over the batch if there are fewer */
  int32_t y, mean_out, deviation_out, sum_out; /* outputs */
} norm_params;

static const float *input_of(const tern__cpu_step *step, int32_t i) {
  return i >= 0 && step->in[i] ? step->in[i]->data : NULL;
}
static float *output_of(const tern__cpu_step *step, int32_t i) {
  return i >= 0 && step->out[i] ? step->out[i]->data : NULL;
}

static tern_status run_norm(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const norm_params *p = step->params;
  const tern__cpu_kernels *kernels = context->kernels;
  const float *skip = input_of(step, p->skip), *skip_bias = input_of(step, p->skip_bias);
  float *mean = output_of(step, p->mean_out), *deviation = output_of(step, p->deviation_out),
        *sum = output_of(step, p->sum_out);
  size_t end = ((size_t)chunk + 1) * p->block;
  for (size_t r = (size_t)chunk * p->block; r < p->rows && r < end; r++) {
    const float *x = input_of(step, p->x) + r * p->n;
    float *y = output_of(step, p->y) + r * p->n;
    if (skip) {
      float *to = sum ? sum + r * p->n : (float *)(void *)context->scratch;
      kernels->binary[TERN__CPU_ADD](x, 1, skip + r % p->skip_rows * p->n, 1, to, p->n);
      if (skip_bias) kernels->binary[TERN__CPU_ADD](to, 1, skip_bias, 1, to, p->n);
      x = to;
    }
    if (p->mean)
      kernels->layer_norm(x, input_of(step, p->weight), input_of(step, p->bias), y, p->n, p->epsilon,
                          mean ? mean + r : NULL, deviation ? deviation + r : NULL);
    else
      kernels->rms_norm(x, input_of(step, p->weight), y, p->n, p->epsilon);
  }
  return TERN_OK;
}

static tern_status add_norm(tern__program *program, const tern__node *node, const norm_params *from,
                            int32_t axis, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, from->x);
  if (axis < 0) axis += x->shape.rank;
  if (x->dtype != TERN_DTYPE_F32 || axis < 0 || axis > x->shape.rank) return TERN_OK;
  norm_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  *p = *from;
  p->rows = tern__cpu_product(&x->shape, 0, axis), p->n = tern__cpu_product(&x->shape, axis, x->shape.rank);
  const int32_t vectors[] = {p->weight, p->bias, p->skip_bias};
  for (int i = 0; i < 3; i++) {
    const tern__view *v = vectors[i] >= 0 ? tern__cpu_in(program, node, vectors[i]) : NULL;
    if (v && (v->dtype != TERN_DTYPE_F32 || tern__cpu_elements(v) != p->n)) return TERN_OK;
  }
  for (int32_t i = 0; i < node->n_outputs; i++) {
    const tern__view *out = tern__cpu_out(program, node, i);
    if (out && out->dtype != TERN_DTYPE_F32) return TERN_OK;
  }
  if (p->skip >= 0) {
    size_t count = tern__cpu_elements(tern__cpu_in(program, node, p->skip));
    if (count % p->n || !count) return TERN_OK;
    p->skip_rows = count / p->n;
    tern__cpu_need_scratch(program, p->n * sizeof(float), 0);
  }
  p->block = CHUNK_ELEMENTS / p->n > 0 ? CHUNK_ELEMENTS / p->n : 1;
  TERN_TRY(tern__cpu_add_step(program, node, run_norm, tern__cpu_divide_up(p->rows, p->block), p));
  bool sum_grows = p->sum_out >= 0 && p->skip_bias >= 0 && tern__cpu_out(program, node, p->sum_out) &&
                   tern__cpu_in(program, node, p->skip_bias);
  if (!sum_grows) tern__cpu_repeatable(program);
  *taken = true;
cleanup:
  return status;
}

static const norm_params plain = {.weight = 1,
                                  .bias = -1,
                                  .skip = -1,
                                  .skip_bias = -1,
                                  .mean_out = -1,
                                  .deviation_out = -1,
                                  .sum_out = -1,
                                  .epsilon = 1e-5f};

/* SimplifiedLayerNormalization and RMSNormalization. A second output (1 / deviation) is left to the
 * reference. */
tern_status tern__cpu_compile_rms_norm(tern__program *program, const tern__node *node, bool *taken) {
  norm_params p = plain;
  p.epsilon = tern__node_float(node, "epsilon", 1e-5f);
  if (tern__cpu_out(program, node, 1)) return TERN_OK;
  return add_norm(program, node, &p, (int32_t)tern__node_int(node, "axis", -1), taken);
}

tern_status tern__cpu_compile_layer_norm(tern__program *program, const tern__node *node, bool *taken) {
  norm_params p = plain;
  p.epsilon = tern__node_float(node, "epsilon", 1e-5f);
  p.mean = true, p.bias = 2, p.mean_out = 1, p.deviation_out = 2;
  return add_norm(program, node, &p, (int32_t)tern__node_int(node, "axis", -1), taken);
}

/* com.microsoft: input, skip, gamma, [beta,] bias -> output, mean, inverse deviation, sum. */
tern_status tern__cpu_compile_skip_rms_norm(tern__program *program, const tern__node *node, bool *taken) {
  norm_params p = plain;
  p.epsilon = tern__node_float(node, "epsilon", 1e-12f);
  p.skip = 1, p.weight = 2, p.skip_bias = 3, p.sum_out = 3;
  if (tern__cpu_out(program, node, 1) || tern__cpu_out(program, node, 2)) return TERN_OK;
  return add_norm(program, node, &p, -1, taken);
}

tern_status tern__cpu_compile_skip_layer_norm(tern__program *program, const tern__node *node, bool *taken) {
  norm_params p = plain;
  p.epsilon = tern__node_float(node, "epsilon", 1e-12f);
  p.mean = true, p.skip = 1, p.weight = 2, p.bias = 3, p.skip_bias = 4, p.mean_out = 1, p.deviation_out = 2,
  p.sum_out = 3;
  return add_norm(program, node, &p, -1, taken);
}

/* tern.Fused: Add and the norm of the sum (cpu_fuse.h). */
tern_status tern__cpu_compile_skip_norm(tern__program *program, const tern__node *node, bool *taken) {
  const tern__node *add = &node->parts[0], *norm = &node->parts[1];
  const tern__view *a = tern__cpu_in(program, add, 0), *b = tern__cpu_in(program, add, 1);
  int32_t small = tern__cpu_elements(a) < tern__cpu_elements(b) ? 0 : 1; /* may repeat over leading dimensions */
  norm_params p = plain;
  if (!tern__shape_repeats_over(small ? &b->shape : &a->shape, small ? &a->shape : &b->shape) ||
      b->dtype != TERN_DTYPE_F32)
    return TERN_OK;
  p.epsilon = tern__node_float(norm, "epsilon", 1e-5f);
  p.mean = !strcmp(norm->op->name, "LayerNormalization");
  p.x = tern__cpu_fused_input(node, add->inputs[!small]), p.skip = tern__cpu_fused_input(node, add->inputs[small]);
  p.weight = tern__cpu_fused_input(node, norm->inputs[1]);
  if (norm->n_inputs > 2) p.bias = tern__cpu_fused_input(node, norm->inputs[2]);
  for (int32_t i = 0; i < node->n_outputs; i++) {
    if (node->outputs[i] == norm->outputs[0]) p.y = i;
    if (node->outputs[i] == add->outputs[0]) p.sum_out = i;
  }
  return add_norm(program, node, &p, -1, taken);
}

/* ---- Softmax over the last dimension ---- */

static tern_status run_softmax(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const norm_params *p = step->params;
  size_t end = ((size_t)chunk + 1) * p->block;
  for (size_t r = (size_t)chunk * p->block; r < p->rows && r < end; r++)
    context->kernels->softmax((const float *)step->in[0]->data + r * p->n,
                              (float *)step->out[0]->data + r * p->n, p->n);
  return TERN_OK;
}

tern_status tern__cpu_compile_softmax(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, 0);
  int64_t axis = tern__node_int(node, "axis", node->opset < 13 ? 1 : -1);
  if (axis < 0) axis += x->shape.rank;
  /* Before opset 13 all dimensions from `axis` on are one. */
  if (x->dtype != TERN_DTYPE_F32 || axis < 0 || axis >= x->shape.rank ||
      (node->opset >= 13 && axis != x->shape.rank - 1))
    return TERN_OK;
  norm_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  p->rows = tern__cpu_product(&x->shape, 0, (int32_t)axis),
  p->n = tern__cpu_product(&x->shape, (int32_t)axis, x->shape.rank);
  p->block = CHUNK_ELEMENTS / p->n > 0 ? CHUNK_ELEMENTS / p->n : 1;
  TERN_TRY(tern__cpu_add_step(program, node, run_softmax, tern__cpu_divide_up(p->rows, p->block), p));
  *taken = true;
cleanup:
  return status;
}
