/* Matrix products with constant weights: Linear, MatMul, Gemm, MatMulNBits. Rows of X are quantized first
 * where the weights are (numerics FAST); CONSISTENT widens weights to f32 instead. */
#include "cpu/cpu_pack.h"

#include <string.h>

/* A chunk of a one-row product reads about this much: long enough to stream, short enough to share out. */
enum {
  CHUNK_BYTES = 24 * 1024,
  CHUNK_PRODUCTS = 1 << 19,
  QUANTIZE_ROWS = 8,
  QUANTIZE_SHARE = 2 * 1024, /* fewest elements of one row that another thread gets a part of */
  PANEL_GROUP = 8, /* dense panels that one row reads at once */
  PANEL_PAIR = 2   /* quantized panels that are read at once, of many rows with AVX-512 alone */
};

typedef struct linear_params {
  tern__cpu_weight_format format;
  const void *panels;
  size_t panel_bytes, m, n, k, padded_k;
  size_t n_panels, chunk_panels, panel_chunks;
  size_t quantize_piece;              /* elements of one row that are quantized at once */
  bool quantized;
  tern__cpu_unary activation;         /* TERN__CPU_UNARY_COUNT = none */
  int32_t bias;                       /* index into step->in, -1 = none */
  size_t rows_scales, rows_sums;      /* byte offsets in the shared scratch */
} linear_params;

void tern__cpu_activate(const tern__cpu_kernels *kernels, tern__cpu_unary activation, float *y, size_t ldy, size_t m,
                        size_t n) {
  enum { TOGETHER = 1024 };
  float block[TOGETHER];
  if (activation == TERN__CPU_UNARY_COUNT) return;
  size_t rows = n * 4 <= TOGETHER ? TOGETHER / n : 1;
  for (size_t row = 0; row < m; row += rows) {
    size_t some = m - row < rows ? m - row : rows;
    if (some == 1) {
      kernels->unary[activation](y + row * ldy, y + row * ldy, n);
      continue;
    }
    for (size_t r = 0; r < some; r++) memcpy(block + r * n, y + (row + r) * ldy, n * sizeof *y);
    kernels->unary[activation](block, block, some * n);
    for (size_t r = 0; r < some; r++) memcpy(y + (row + r) * ldy, block + r * n, n * sizeof *y);
  }
}

static tern__cpu_rows rows_in(const linear_params *p, const tern__cpu_context *context, size_t row) {
  return (tern__cpu_rows){
      (int16_t *)(void *)context->shared + row * p->padded_k,
      (float *)(void *)(context->shared + p->rows_scales) + row * (p->padded_k / TERN__CPU_BLOCK),
      (float *)(void *)(context->shared + p->rows_sums) + row * (p->padded_k / 16)};
}

static tern_status run_quantize(const tern__cpu_step *step, const tern__cpu_context *context,
                                uint32_t chunk) {
  const linear_params *p = step->params;
  const float *x = step->in[0]->data;
  if (p->m == 1) {
    size_t from = chunk * p->quantize_piece, left = p->k - from;
    size_t n = left < p->quantize_piece ? left : p->quantize_piece;
    tern__cpu_rows row = rows_in(p, context, 0);
    for (size_t end = from + n; from < end; from += TERN__CPU_ASK_ELEMENTS) {
      size_t some = end - from < TERN__CPU_ASK_ELEMENTS ? end - from : TERN__CPU_ASK_ELEMENTS;
      tern__cpu_ask(context->asking, TERN__CPU_ASK_LINES);
      context->kernels->quantize_row(x + from, some, from + some < p->k ? some : p->padded_k - from, row.q + from,
                                     row.scales + from / TERN__CPU_BLOCK, row.sums + from / 16);
    }
    return TERN_OK;
  }
  for (size_t row = (size_t)chunk * QUANTIZE_ROWS; row < p->m && row < ((size_t)chunk + 1) * QUANTIZE_ROWS;
       row++) {
    tern__cpu_rows rows = rows_in(p, context, row);
    context->kernels->quantize_row(x + row * p->k, p->k, p->padded_k, rows.q, rows.scales, rows.sums);
  }
  return TERN_OK;
}

/* Chunks go through the panels for one block of rows, then for the next. */
static tern_status run_linear(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const linear_params *p = step->params;
  size_t row = chunk / p->panel_chunks * TERN__CPU_ROW_BLOCK,
         panel = chunk % p->panel_chunks * p->chunk_panels;
  size_t m = p->m - row < TERN__CPU_ROW_BLOCK ? p->m - row : TERN__CPU_ROW_BLOCK;
  size_t panels = p->n_panels - panel < p->chunk_panels ? p->n_panels - panel : p->chunk_panels;
  size_t first = panel * TERN__CPU_PANEL, n = p->n - first;
  tern__cpu_linear_call call = {
      .format = p->format,
      .panels = (const uint8_t *)p->panels + panel * p->panel_bytes,
      .panel_bytes = p->panel_bytes,
      .n_panels = panels,
      .k = p->k,
      .x = p->quantized ? NULL : (const float *)step->in[0]->data + row * p->k,
      .ldx = p->k,
      .m = m,
      .y = (float *)step->out[0]->data + row * p->n + first,
      .ldy = p->n,
      .n = n < panels * TERN__CPU_PANEL ? n : panels * TERN__CPU_PANEL,
      .bias = p->bias >= 0 ? (const float *)step->in[p->bias]->data + first : NULL,
      .scratch = context->scratch};
  if (p->quantized) call.rows = rows_in(p, context, row);
  context->kernels->linear(&call);
  tern__cpu_activate(context->kernels, p->activation, call.y, call.ldy, call.m, call.n);
  return TERN_OK;
}

static size_t align64(size_t n) { return (n + 63) / 64 * 64; }

/* True if the step before is a product of the same X too (projections to Q, K and V, gate and up). Memory
 * that dies after that step may hold our result, so nothing may: it reads X, which we keep alive, and
 * constants. */
static bool follows_sibling(const tern__program *program, const tern__node *node, int32_t bias) {
  size_t n = tern__array_count(program->steps);
  if (!n || program->steps[n - 1].run != run_linear ||
      (bias >= 0 && !tern__cpu_constant(program, node, bias)))
    return false;
  const tern__cpu_step *before = &program->steps[n - 1];
  const linear_params *p = before->params;
  return before->in[0] == tern__cpu_in(program, node, 0) &&
         (p->bias < 0 || tern__cpu_constant(program, before->node, p->bias));
}

/* Panels of a chunk of one row: about CHUNK_BYTES, an even number (they are read in pairs), and if possible as many
 * chunks as all threads share evenly. */
static size_t row_chunk(size_t n_panels, size_t panel_bytes, size_t n_threads) {
  size_t most = CHUNK_BYTES / panel_bytes / PANEL_PAIR * PANEL_PAIR;
  if (most < PANEL_PAIR) most = PANEL_PAIR;
  for (size_t c = most; 2 * c >= most && c > 0; c -= PANEL_PAIR)
    if (n_panels % c == 0 && n_panels / c % n_threads == 0) return c;
  return most;
}

tern_status tern__cpu_add_linear(tern__program *program, const tern__node *node, const tern__weight_product *product,
                                 tern__cpu_unary activation, bool *taken) {
  tern_status status = TERN_OK;
  const tern__weight_source *source = &product->source;
  size_t m = product->rows;
  int32_t bias = product->bias;
  tern__cpu_weight_format format;
  if (!source->n || !source->k || !m || !tern__cpu_weight_format_of(source, &format)) return TERN_OK;
  linear_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  *p = (linear_params){.format = format, .m = m, .n = source->n, .k = source->k, .bias = bias,
                       .activation = activation};
  p->padded_k = tern__cpu_padded(p->k);
  p->panel_bytes = tern__cpu_panel_bytes(&format, p->k);
  p->n_panels = tern__cpu_divide_up(p->n, TERN__CPU_PANEL);
  p->quantized = format.kind >= TERN__CPU_WEIGHT_Q4 && program->plan->numerics == TERN_NUMERICS_FAST;
  size_t rows = m < TERN__CPU_ROW_BLOCK ? m : TERN__CPU_ROW_BLOCK;
  p->chunk_panels = m == 1 ? row_chunk(p->n_panels, p->panel_bytes, (size_t)program->n_threads)
                           : CHUNK_PRODUCTS / (rows * p->k * TERN__CPU_PANEL);
  if (m == 1 && format.kind < TERN__CPU_WEIGHT_Q4)
    p->chunk_panels = tern__cpu_divide_up(p->chunk_panels, PANEL_GROUP) * PANEL_GROUP; /* read side by side */
  if (p->chunk_panels < 1) p->chunk_panels = 1;
  if (m > 1) p->chunk_panels = tern__cpu_divide_up(p->chunk_panels, PANEL_PAIR) * PANEL_PAIR;
  if (m == 1 && format.kind < TERN__CPU_WEIGHT_Q4 && p->chunk_panels < PANEL_GROUP)
    p->chunk_panels = PANEL_GROUP;
  p->panel_chunks = tern__cpu_divide_up(p->n_panels, p->chunk_panels);
  TERN_TRY(tern__cpu_pack_weights(program, source, &format, &p->panels));
  if (p->quantized) {
    p->rows_scales = align64(m * p->padded_k * sizeof(int16_t));
    p->rows_sums = p->rows_scales + align64(m * (p->padded_k / TERN__CPU_BLOCK) * sizeof(float));
    const tern__view *x = tern__cpu_in(program, node, 0);
    /* Q, K and V projections of one input */
    p->quantize_piece = tern__cpu_share(program, p->k, QUANTIZE_SHARE);
    bool again = program->shared_holds == x && program->shared_by == run_quantize;
    if (!again) {
      tern__cpu_need_scratch(program, 0, p->rows_sums + align64(m * (p->padded_k / 16) * sizeof(float)));
      size_t chunks = m == 1 ? tern__cpu_divide_up(p->k, p->quantize_piece) : tern__cpu_divide_up(m, QUANTIZE_ROWS);
      TERN_TRY(tern__cpu_add_step(program, node, run_quantize, chunks, p));
      tern__cpu_repeatable(program);
    }
    program->shared_holds = x, program->shared_by = run_quantize;
  }
  tern__cpu_need_scratch(program, TERN__CPU_LINEAR_SCRATCH, 0);
  bool beside = follows_sibling(program, node, bias);
  TERN_TRY(tern__cpu_add_step(program, node, run_linear,
                              p->panel_chunks * tern__cpu_divide_up(m, TERN__CPU_ROW_BLOCK), p));
  if (activation == TERN__CPU_UNARY_COUNT) tern__cpu_repeatable(program);
  tern__cpu_step *step = &program->steps[tern__array_count(program->steps) - 1];
  step->beside = beside;
  if (m == 1)
    step->stream = &p->panels, step->stream_bytes = p->chunk_panels * p->panel_bytes,
    step->stream_size = p->n_panels * p->panel_bytes;
  *taken = true;
cleanup:
  return status;
}

static tern_status compile_product(tern__program *program, const tern__node *node, tern__weight_read *read,
                                   bool *taken) {
  tern__weight_product product;
  if (!tern__cpu_read_product(program, node, read, &product)) return TERN_OK;
  return tern__cpu_add_linear(program, node, &product, TERN__CPU_UNARY_COUNT, taken);
}

tern_status tern__cpu_compile_linear(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_linear, taken);
}

tern_status tern__cpu_compile_gemm(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_gemm, taken);
}

/* MatMul with a constant right side of two dimensions; cpu_matmul.c calls it first. */
tern_status tern__cpu_compile_matmul_constant(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_matmul, taken);
}

tern_status tern__cpu_compile_matmul_nbits(tern__program *program, const tern__node *node, bool *taken) {
  return compile_product(program, node, tern__weight_read_nbits, taken);
}
