/* tern.ChannelLinear: products with signed bytes of one scale a row. Rows of X are quantized first, to 15 bits in
 * groups of up to 1024 (numerics FAST); CONSISTENT widens weights to f32 instead. */
#include "cpu/cpu_pack.h"

#include <string.h>

enum { CHUNK_BYTES = 24 * 1024, CHUNK_PRODUCTS = 1 << 19, QUANTIZE_ROWS = 8 };

typedef struct channel_params {
  const void *panels;
  size_t panel_bytes, m, n, k, padded_k, group, groups;
  size_t n_panels, chunk_panels, panel_chunks;
  bool quantized, has_min;
  tern__cpu_unary activation; /* TERN__CPU_UNARY_COUNT = none */
  int32_t bias;          /* index into step->in, -1 = none */
  size_t scales, sums;   /* byte offsets in the shared scratch */
} channel_params;

/* ---- packing ---- */

typedef struct channel_weights { tern__weight_source source; bool has_min; } channel_weights;

/* 32 k of 16 rows, whole cache lines of the file at a time where it is [K][N]. */
static void read_block(const tern__weight_source *s, size_t first, size_t rows, size_t k0,
                       int8_t q[][TERN__CPU_BLOCK]) {
  size_t n = s->k - k0 < TERN__CPU_BLOCK ? s->k - k0 : TERN__CPU_BLOCK;
  uint8_t flip = s->dtype == TERN_DTYPE_U8 ? 128 : 0;
  memset(q, 0, TERN__CPU_PANEL * TERN__CPU_BLOCK);
  if (s->k_major)
    for (size_t i = 0; i < n; i++) {
      const uint8_t *line = s->data + (k0 + i) * s->n + first;
      for (size_t r = 0; r < rows; r++) q[r][i] = (int8_t)(line[r] ^ flip);
    }
  else
    for (size_t r = 0; r < rows; r++) {
      const uint8_t *line = s->data + (first + r) * s->k + k0;
      for (size_t i = 0; i < n; i++) q[r][i] = (int8_t)(line[i] ^ flip);
    }
}

static void write_panel(const void *source, size_t panel, uint8_t *out) {
  const channel_weights *w = source;
  const tern__weight_source *s = &w->source;
  size_t first = panel * TERN__CPU_PANEL, rows = s->n - first < TERN__CPU_PANEL ? s->n - first : TERN__CPU_PANEL;
  float scales[TERN__CPU_PANEL] = {0}, mins[TERN__CPU_PANEL] = {0};
  for (size_t k0 = 0; k0 < tern__cpu_padded(s->k); k0 += TERN__CPU_BLOCK, out += TERN__CPU_BLOCK * TERN__CPU_PANEL) {
    int8_t q[TERN__CPU_PANEL][TERN__CPU_BLOCK];
    read_block(s, first, rows, k0, q);
    for (int r = 0; r < TERN__CPU_PANEL; r++) tern__cpu_put_q8(out, r, q[r]);
  }
  for (size_t r = 0; r < rows; r++) tern__weight_channel_scale(s, first + r, &scales[r], &mins[r]);
  memcpy(out, scales, sizeof scales);
  if (w->has_min) memcpy(out + sizeof scales, mins, sizeof mins);
}

static tern_status add_pack(tern__program *program, channel_params *p, const tern__weight_source *s) {
  tern_status status = TERN_OK;
  channel_weights *w = tern__cpu_params(program, sizeof *w);
  size_t bytes, packed;
  TERN_CHECK_ALLOC(w);
  *w = (channel_weights){*s, p->has_min};
  if (!tern__weight_source_bytes(s, &bytes) || !tern__mul_size(p->panel_bytes, p->n_panels, &packed))
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "weights of %zu rows of %zu are too large", s->n, s->k);
  size_t scale_bytes = (s->scale_step ? s->n : 1) * sizeof(float);
  uint64_t scales = tern__cpu_layout_hash(program, s->scales, scale_bytes, s->dtype, s->k_major);
  if (s->zeros) scales = tern__cpu_layout_hash(program, s->zeros, s->zero_step ? s->n : 1, scales, 1);
  uint64_t layout = tern__cpu_layout_hash(program, s->data, bytes, s->n, scales);
  TERN_TRY(tern__cpu_add_pack(program, &(tern__cpu_pack){s->data, layout, p->n_panels, p->panel_bytes, write_panel, w,
                                                         &p->panels, bytes}));
cleanup:
  return status;
}

/* ---- running ---- */

static int16_t *row_of(const channel_params *p, const tern__cpu_context *context, size_t row) {
  return (int16_t *)(void *)context->shared + row * p->padded_k;
}
static float *scales_of(const channel_params *p, const tern__cpu_context *context, size_t row) {
  return (float *)(void *)(context->shared + p->scales) + row * p->groups;
}
static float *sums_of(const channel_params *p, const tern__cpu_context *context, size_t row) {
  return (float *)(void *)(context->shared + p->sums) + row * p->groups;
}

static tern_status run_quantize(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const channel_params *p = step->params;
  const float *x = step->in[0]->data;
  size_t row = (size_t)chunk * QUANTIZE_ROWS, end = row + QUANTIZE_ROWS < p->m ? row + QUANTIZE_ROWS : p->m;
  for (; row < end; row++)
    context->kernels->quantize_channel(x + row * p->k, p->k, p->group, row_of(p, context, row),
                                       scales_of(p, context, row), sums_of(p, context, row));
  return TERN_OK;
}

/* Chunks go through the panels for one block of rows, then for the next. */
static tern_status run_channel(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const channel_params *p = step->params;
  size_t row = chunk / p->panel_chunks * TERN__CPU_ROW_BLOCK, panel = chunk % p->panel_chunks * p->chunk_panels;
  size_t panels = p->n_panels - panel < p->chunk_panels ? p->n_panels - panel : p->chunk_panels;
  size_t first = panel * TERN__CPU_PANEL, n = p->n - first;
  tern__cpu_channel_call call = {
      .panels = (const uint8_t *)p->panels + panel * p->panel_bytes,
      .panel_bytes = p->panel_bytes,
      .n_panels = panels,
      .k = p->k,
      .has_min = p->has_min,
      .x = p->quantized ? NULL : (const float *)step->in[0]->data + row * p->k,
      .ldx = p->k,
      .group = p->group,
      .groups = p->groups,
      .m = p->m - row < TERN__CPU_ROW_BLOCK ? p->m - row : TERN__CPU_ROW_BLOCK,
      .y = (float *)step->out[0]->data + row * p->n + first,
      .ldy = p->n,
      .n = n < panels * TERN__CPU_PANEL ? n : panels * TERN__CPU_PANEL,
      .bias = p->bias >= 0 ? (const float *)step->in[p->bias]->data + first : NULL,
      .scratch = context->scratch};
  if (p->quantized)
    call.q = row_of(p, context, row), call.scales = scales_of(p, context, row), call.sums = sums_of(p, context, row);
  context->kernels->channel(&call);
  tern__cpu_activate(context->kernels, p->activation, call.y, call.ldy, call.m, call.n);
  return TERN_OK;
}

/* ---- compiling ---- */

static size_t align64(size_t n) { return (n + 63) / 64 * 64; }

/* True if the step before is a product of the same X too (cpu_linear.c: follows_sibling). */
static bool follows_sibling(const tern__program *program, const tern__node *node, int32_t bias) {
  size_t n = tern__array_count(program->steps);
  if (!n || program->steps[n - 1].run != run_channel || (bias >= 0 && !tern__cpu_constant(program, node, bias)))
    return false;
  const tern__cpu_step *before = &program->steps[n - 1];
  const channel_params *p = before->params;
  return before->in[0] == tern__cpu_in(program, node, 0) &&
         (p->bias < 0 || tern__cpu_constant(program, before->node, p->bias));
}

static tern_status add_quantize(tern__program *program, const tern__node *node, channel_params *p) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, 0);
  p->scales = align64(p->m * p->padded_k * sizeof(int16_t));
  p->sums = p->scales + align64(p->m * p->groups * sizeof(float));
  bool again = program->shared_holds == x && program->shared_by == run_quantize; /* Q, K and V of one input */
  if (!again) {
    tern__cpu_need_scratch(program, 0, p->sums + align64(p->m * p->groups * sizeof(float)));
    TERN_TRY(tern__cpu_add_step(program, node, run_quantize, tern__cpu_divide_up(p->m, QUANTIZE_ROWS), p));
  }
  program->shared_holds = x, program->shared_by = run_quantize;
cleanup:
  return status;
}

tern_status tern__cpu_add_channel_linear(tern__program *program, const tern__node *node,
                                         const tern__weight_product *product, tern__cpu_unary activation,
                                         bool *taken) {
  tern_status status = TERN_OK;
  const tern__weight_source *s = &product->source;
  if (!product->rows || !s->n || !s->k) return TERN_OK;
  channel_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  *p = (channel_params){.m = product->rows, .n = s->n, .k = s->k, .bias = product->bias,
                        .activation = activation};
  p->has_min = s->zeros || s->dtype == TERN_DTYPE_U8;
  p->padded_k = tern__cpu_padded(p->k);
  p->groups = tern__cpu_divide_up(p->padded_k, TERN__CPU_GROUP);
  p->group = tern__cpu_padded(tern__cpu_divide_up(p->padded_k, p->groups));
  p->groups = tern__cpu_divide_up(p->padded_k, p->group);
  p->panel_bytes = (p->padded_k + (p->has_min ? 2 : 1) * sizeof(float)) * TERN__CPU_PANEL;
  p->n_panels = tern__cpu_divide_up(p->n, TERN__CPU_PANEL);
  p->quantized = program->plan->numerics == TERN_NUMERICS_FAST;
  size_t rows = p->m < TERN__CPU_ROW_BLOCK ? p->m : TERN__CPU_ROW_BLOCK;
  p->chunk_panels = p->m == 1 ? CHUNK_BYTES / p->panel_bytes : CHUNK_PRODUCTS / (rows * p->k * TERN__CPU_PANEL);
  if (p->chunk_panels < 1) p->chunk_panels = 1;
  p->panel_chunks = tern__cpu_divide_up(p->n_panels, p->chunk_panels);
  TERN_TRY(add_pack(program, p, s));
  if (p->quantized) TERN_TRY(add_quantize(program, node, p));
  tern__cpu_need_scratch(program, TERN__CPU_CHANNEL_SCRATCH, 0);
  bool beside = follows_sibling(program, node, product->bias);
  TERN_TRY(tern__cpu_add_step(program, node, run_channel,
                              p->panel_chunks * tern__cpu_divide_up(p->m, TERN__CPU_ROW_BLOCK), p));
  if (p->m == 1 && activation == TERN__CPU_UNARY_COUNT) tern__cpu_repeatable(program);
  program->steps[tern__array_count(program->steps) - 1].beside = beside;
  *taken = true;
cleanup:
  return status;
}

tern_status tern__cpu_compile_channel_linear(tern__program *program, const tern__node *node, bool *taken) {
  tern__weight_product product;
  if (!tern__cpu_read_product(program, node, tern__weight_read_channel, &product)) return TERN_OK;
  return tern__cpu_add_channel_linear(program, node, &product, TERN__CPU_UNARY_COUNT, taken);
}
