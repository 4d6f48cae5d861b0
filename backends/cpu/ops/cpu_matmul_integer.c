/* MatMulInteger with a constant right side, and DynamicQuantizeLinear before it. Exact: activations less
 * their zero point are 16-bit integers, weights signed bytes, sums wrap in int32 as the standard's do. */
#include "cpu/cpu_pack.h"

#include <string.h>

enum { ROWS = 8, CHUNK_PRODUCTS = 1 << 19, CHUNK_BYTES = 24 * 1024 };

typedef struct integer_params {
  const void *panels;
  size_t m, n, k, padded_k, panel_bytes, n_panels, chunk_panels, panel_chunks;
  size_t sums;              /* byte offset in the shared scratch: int32 per row */
  int32_t shift;            /* what packing subtracted from the weights: 128 for uint8 */
} integer_params;

typedef struct integer_weights { const uint8_t *data; size_t n, k; int32_t shift; } integer_weights;

static int32_t zero_at(const tern__view *view, size_t i) {
  if (!view) return 0;
  return view->dtype == TERN_DTYPE_I8 ? ((const int8_t *)view->data)[i] : ((const uint8_t *)view->data)[i];
}

static void write_panel(const void *source, size_t panel, uint8_t *out) {
  const integer_weights *w = source;
  size_t padded = tern__cpu_padded(w->k);
  for (size_t k0 = 0; k0 < padded; k0 += TERN__CPU_BLOCK, out += TERN__CPU_BLOCK * TERN__CPU_PANEL)
    for (size_t r = 0; r < TERN__CPU_PANEL; r++) {
      int8_t q[TERN__CPU_BLOCK] = {0};
      size_t row = panel * TERN__CPU_PANEL + r;
      for (size_t i = 0; i < TERN__CPU_BLOCK && row < w->n && k0 + i < w->k; i++)
        q[i] = (int8_t)(w->shift ? w->data[(k0 + i) * w->n + row] - w->shift
                                 : (int8_t)w->data[(k0 + i) * w->n + row]);
      tern__cpu_put_q8(out, (int)r, q);
    }
}

static tern_status run_rows(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const integer_params *p = step->params;
  int32_t zero = zero_at(step->node->n_inputs > 2 ? step->in[2] : NULL, 0),
          is_signed = step->in[0]->dtype == TERN_DTYPE_I8;
  for (size_t r = (size_t)chunk * ROWS; r < p->m && r < ((size_t)chunk + 1) * ROWS; r++) {
    const uint8_t *x = (const uint8_t *)step->in[0]->data + r * p->k;
    int16_t *q = (int16_t *)(void *)context->shared + r * p->padded_k;
    int32_t sum = 0;
    if (is_signed)
      for (size_t i = 0; i < p->k; i++) q[i] = (int16_t)((int8_t)x[i] - zero);
    else
      for (size_t i = 0; i < p->k; i++) q[i] = (int16_t)(x[i] - zero);
    for (size_t i = 0; i < p->k; i++) sum += q[i];
    memset(q + p->k, 0, (p->padded_k - p->k) * sizeof *q);
    ((int32_t *)(void *)(context->shared + p->sums))[r] = sum;
    context->kernels->arrange(q, p->padded_k);
  }
  return TERN_OK;
}

static tern_status run_products(const tern__cpu_step *step, const tern__cpu_context *context,
                                uint32_t chunk) {
  const integer_params *p = step->params;
  const tern__view *zeros = step->node->n_inputs > 3 ? step->in[3] : NULL;
  size_t row = chunk / p->panel_chunks * TERN__CPU_ROW_BLOCK,
         panel = chunk % p->panel_chunks * p->chunk_panels;
  size_t m = p->m - row < TERN__CPU_ROW_BLOCK ? p->m - row : TERN__CPU_ROW_BLOCK;
  size_t panels = p->n_panels - panel < p->chunk_panels ? p->n_panels - panel : p->chunk_panels;
  size_t first = panel * TERN__CPU_PANEL,
         n = p->n - first < panels * TERN__CPU_PANEL ? p->n - first : panels * TERN__CPU_PANEL;
  int32_t *y = (int32_t *)step->out[0]->data + row * p->n + first;
  tern__cpu_linear_i32_call call = {.panels = (const uint8_t *)p->panels + panel * p->panel_bytes,
                                    .panel_bytes = p->panel_bytes,
                                    .n_panels = panels,
                                    .k = p->padded_k,
                                    .q = (const int16_t *)(void *)context->shared + row * p->padded_k,
                                    .m = m,
                                    .y = y,
                                    .ldy = p->n,
                                    .n = n,
                                    .scratch = context->scratch};
  context->kernels->linear_i32(&call);
  const int32_t *sums = (const int32_t *)(void *)(context->shared + p->sums) + row;
  bool many = zeros && tern__cpu_elements(zeros) > 1;
  for (size_t r = 0; r < m; r++)
    for (size_t i = 0; i < n; i++) {
      uint32_t zero = (uint32_t)(zero_at(zeros, many ? first + i : 0) - p->shift);
      y[r * p->n + i] = (int32_t)((uint32_t)y[r * p->n + i] - zero * (uint32_t)sums[r]);
    }
  return TERN_OK;
}

static bool zero_fits(const tern__view *zero, size_t n) {
  return !zero || tern__cpu_elements(zero) == 1 || tern__cpu_elements(zero) == n;
}

tern_status tern__cpu_compile_matmul_integer(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, 0), *w = tern__cpu_in(program, node, 1);
  const uint8_t *data = tern__cpu_constant(program, node, 1);
  if (!data || w->shape.rank != 2 || x->shape.rank < 2 || !zero_fits(tern__cpu_in(program, node, 2), 1) ||
      !zero_fits(tern__cpu_in(program, node, 3), (size_t)w->shape.dims[1]))
    return TERN_OK;
  integer_params *p = tern__cpu_params(program, sizeof *p);
  integer_weights *weights = tern__cpu_params(program, sizeof *weights);
  if (!p || !weights) TERN_CHECK_ALLOC(NULL);
  p->k = (size_t)w->shape.dims[0], p->n = (size_t)w->shape.dims[1];
  p->m = tern__cpu_product(&x->shape, 0, x->shape.rank - 1);
  if (!p->k) return TERN_OK;
  p->padded_k = tern__cpu_padded(p->k), p->panel_bytes = p->padded_k * TERN__CPU_PANEL;
  p->n_panels = tern__cpu_divide_up(p->n, TERN__CPU_PANEL);
  p->shift = w->dtype == TERN_DTYPE_U8 ? 128 : 0;
  size_t rows = p->m < TERN__CPU_ROW_BLOCK ? p->m : TERN__CPU_ROW_BLOCK;
  p->chunk_panels =
      (p->m == 1 ? CHUNK_BYTES / p->panel_bytes : CHUNK_PRODUCTS / (rows * p->k * TERN__CPU_PANEL)) + 1;
  p->panel_chunks = tern__cpu_divide_up(p->n_panels, p->chunk_panels);
  p->sums = tern__cpu_divide_up(p->m * p->padded_k * sizeof(int16_t), 64) * 64;
  *weights = (integer_weights){data, p->n, p->k, p->shift};
  tern__cpu_need_scratch(program, TERN__CPU_LINEAR_SCRATCH, p->sums + p->m * sizeof(int32_t));
  TERN_TRY(tern__cpu_add_pack(
      program, &(tern__cpu_pack){data, tern__cpu_layout_hash(program, data, p->n * p->k, p->n, w->dtype),
                                 p->n_panels, p->panel_bytes, write_panel, weights, &p->panels, p->n * p->k}));
  TERN_TRY(tern__cpu_add_step(program, node, run_rows, tern__cpu_divide_up(p->m, ROWS), p));
  TERN_TRY(tern__cpu_add_step(program, node, run_products,
                              p->panel_chunks * tern__cpu_divide_up(p->m, TERN__CPU_ROW_BLOCK), p));
  *taken = true;
cleanup:
  return status;
}

/* ---- DynamicQuantizeLinear ---- */

enum { RANGE_ELEMENTS = 16 * 1024 };

static tern_status run_ranges(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  size_t from = (size_t)chunk * RANGE_ELEMENTS, n = tern__cpu_elements(step->in[0]) - from;
  float *range = (float *)(void *)context->shared + 2 * (size_t)chunk;
  context->kernels->range((const float *)step->in[0]->data + from, n < RANGE_ELEMENTS ? n : RANGE_ELEMENTS,
                          &range[0], &range[1]);
  return TERN_OK;
}

/* To nearest, ties to even, for |x| < 2^22; a form that vectorises on any CPU. */
static float round_even(float x) { return (x + 12582912.0f) - 12582912.0f; }

static tern_status run_dynamic(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  size_t from = (size_t)chunk * RANGE_ELEMENTS, all = tern__cpu_elements(step->in[0]), n = all - from;
  const float *x = (const float *)step->in[0]->data + from, *ranges = (const float *)(void *)context->shared;
  uint8_t *y = (uint8_t *)step->out[0]->data + from;
  float low = 0, high = 0;
  for (size_t c = 0; c < tern__cpu_divide_up(all, RANGE_ELEMENTS); c++) {
    if (ranges[2 * c] < low) low = ranges[2 * c];
    if (ranges[2 * c + 1] > high) high = ranges[2 * c + 1];
  }
  float scale = high == low ? 1.0f : (high - low) / 255.0f, zero = round_even(-low / scale);
  zero = zero < 0 ? 0 : zero > 255 ? 255 : zero;
  if (chunk == 0) {
    *(float *)step->out[1]->data = scale;
    *(uint8_t *)step->out[2]->data = (uint8_t)zero;
  }
  for (size_t i = 0; i < n && i < RANGE_ELEMENTS; i++) {
    float q = round_even(x[i] / scale) + zero;
    y[i] = (uint8_t)(q > 0 ? (q < 255 ? q : 255) : 0); /* NaN: 0 */
  }
  return TERN_OK;
}

tern_status tern__cpu_compile_dynamic_quantize(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, 0);
  for (int32_t i = 0; i < 3; i++)
    if (!tern__cpu_out(program, node, i)) return TERN_OK;
  if (x->dtype != TERN_DTYPE_F32 || tern__cpu_out(program, node, 0)->dtype != TERN_DTYPE_U8) return TERN_OK;
  size_t chunks = tern__cpu_divide_up(tern__cpu_elements(x), RANGE_ELEMENTS);
  tern__cpu_need_scratch(program, 0, chunks * 2 * sizeof(float));
  TERN_TRY(tern__cpu_add_step(program, node, run_ranges, chunks, NULL));
  TERN_TRY(tern__cpu_add_step(program, node, run_dynamic, chunks, NULL));
  *taken = true;
cleanup:
  return status;
}
