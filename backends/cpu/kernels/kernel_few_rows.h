/* One quantized row, or the few of a draft: weights are decoded in registers as they stream by. Part of
 * kernel_linear.h. */
/* Asks for what comes after the blocks being read. A product of one row decodes too much between two loads for the
 * hardware's prefetchers to have enough of them under way: a core of a Xeon (model 207) gets 9 GB/s of DRAM so, and
 * 15.5 of the 16.1 of a plain read with lines asked for twice, far ahead into L2 and then near into L1. What comes
 * after the last block of panels side by side is the first of as many panels further on. */
typedef struct ahead { const uint8_t *block; size_t left; /* blocks of its panel from it on */ } ahead;

INLINE void ahead_step(ahead *a, size_t n_blocks, size_t block_bytes, size_t skip) {
  a->block += block_bytes;
  if (--a->left) return;
  a->block += skip, a->left = n_blocks;
}

/* `bytes` ahead of the first block of the panel, at least. */
static ahead ahead_of(const uint8_t *panel, size_t bytes, size_t n_blocks, size_t block_bytes, size_t skip) {
  size_t blocks = (bytes + block_bytes - 1) / block_bytes, panels = blocks / n_blocks;
  return (ahead){panel + blocks * block_bytes + panels * skip, n_blocks - blocks % n_blocks};
}

typedef struct few_rows { const int16_t *q[FEW_ROWS]; const float *scales[FEW_ROWS], *sums[FEW_ROWS]; } few_rows;

/* sum += a block of a panel with n_rows rows */
INLINE void row_block(int n_rows, const tern__cpu_weight_format *f, const uint8_t *block, const few_rows *x, size_t b,
                      vf sum[FEW_ROWS][PV]) {
  const bool halves = f->scale_block == 16, mins = f->has_min || f->kind == TERN__CPU_WEIGHT_Q4;
  const int16_t *q[FEW_ROWS];
  vf d, m;
  vi acc[FEW_ROWS][PV];
  UNROLL for (int t = 0; t < n_rows; t++) {
    q[t] = x->q[t] + b * TERN__CPU_BLOCK;
    UNROLL for (int v = 0; v < PV; v++) acc[t][v] = vi_set1(0);
  }
  dot_packed_rows(n_rows, f->kind, block, 0, halves ? 4 : 8, q, acc);
  if (halves) {
    UNROLL for (int v = 0; v < PV; v++) {
      load_scales(f, block, 0, v, &d, &m);
      UNROLL for (int t = 0; t < n_rows; t++) {
        sum[t][v] = add_scaled(mins, sum[t][v], acc[t][v], d, m, vf_set1(x->scales[t][b]),
                               vf_set1(x_sum_of(x->sums[t] + 2 * b, 0)));
        acc[t][v] = vi_set1(0);
      }
    }
    dot_packed_rows(n_rows, f->kind, block, 4, 8, q, acc);
  }
  UNROLL for (int v = 0; v < PV; v++) {
    load_scales(f, block, halves, v, &d, &m);
    UNROLL for (int t = 0; t < n_rows; t++)
        sum[t][v] = add_scaled(mins, sum[t][v], acc[t][v], d, m, vf_set1(x->scales[t][b]),
                               vf_set1(x_sum_of(x->sums[t] + 2 * b, halves ? 1 : -1)));
  }
}

/* n_rows rows from `row` on over n_panels panels side by side: two streams keep more of the memory busy than one. */
INLINE void row_panels(int n_rows, int n_panels, const tern__cpu_weight_format *f, const tern__cpu_linear_call *c,
                       size_t row, size_t panel, bool ask, ahead *near, ahead *far) {
  vf sum[ROW_PANELS][FEW_ROWS][PV];
  const uint8_t *block = c->panels + panel * c->panel_bytes;
  size_t padded = tern__cpu_padded(c->k), n_blocks = padded / TERN__CPU_BLOCK, stride = c->panel_bytes;
  few_rows x;
  UNROLL for (int t = 0; t < n_rows; t++) { /* rows that are missing repeat the last one */
    size_t at = row + (size_t)t < c->m ? row + (size_t)t : c->m - 1;
    x.q[t] = c->rows.q + at * padded, x.scales[t] = c->rows.scales + at * n_blocks,
    x.sums[t] = c->rows.sums + at * 2 * n_blocks;
  }
  UNROLL for (int p = 0; p < n_panels; p++) UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < PV; v++)
      sum[p][t][v] = vf_set1(0);
  for (size_t b = 0; b < n_blocks; b++, block += f->block_bytes) {
    UNROLL for (int p = 0; p < n_panels; p++) {
      for (size_t i = 0; PREFETCH_FAR && ask && i < f->block_bytes; i += LINE) {
        __builtin_prefetch(near->block + (size_t)p * stride + i, 0, 3);
        __builtin_prefetch(far->block + (size_t)p * stride + i, 0, 2);
      }
      row_block(n_rows, f, block + (size_t)p * stride, &x, b, sum[p]);
    }
    if (PREFETCH_FAR && ask) {
      ahead_step(near, n_blocks, f->block_bytes, (size_t)(n_panels - 1) * stride);
      ahead_step(far, n_blocks, f->block_bytes, (size_t)(n_panels - 1) * stride);
    }
  }
  UNROLL for (int p = 0; p < n_panels; p++) UNROLL for (int t = 0; t < n_rows; t++) {
    float tile[TERN__CPU_PANEL];
    size_t at = panel + (size_t)p;
    if (row + (size_t)t >= c->m) break;
    UNROLL for (int v = 0; v < PV; v++) vf_store(tile + v * VF, sum[p][t][v]);
    store_tile(tile, c->y + (row + (size_t)t) * c->ldy + at * TERN__CPU_PANEL, c->ldy, 1, columns_of(c->n, at),
               bias_of(c, at));
  }
}

/* One row, or a few. All of the format but its offset is known when this is compiled: a block is decoded in a straight
 * line. Rows beyond FEW_ROWS find the panel in the cache. */
INLINE void linear_few(int n_rows, int kind, bool halves, bool f32_scales, bool has_min,
                       const tern__cpu_linear_call *c) {
  const tern__cpu_weight_format f = {
      .kind = (uint8_t)kind,
      .scale_block = halves ? 16 : 32,
      .offset = c->format.offset,
      .f32_scales = f32_scales,
      .has_min = has_min,
      .block_bytes = (uint16_t)(tern__cpu_block_lines(kind) * LINE +
                                TERN__CPU_PANEL * (halves ? 2 : 1) * (f32_scales ? 4 : 2) * (has_min ? 2 : 1))};
  const int beside = n_rows == 1 ? ROW_PANELS : 1;
  size_t p = 0, n_blocks = tern__cpu_padded(c->k) / TERN__CPU_BLOCK, skip = (size_t)(beside - 1) * c->panel_bytes;
  ahead near = ahead_of(c->panels, PREFETCH_NEAR, n_blocks, f.block_bytes, skip),
        far = ahead_of(c->panels, PREFETCH_FAR, n_blocks, f.block_bytes, skip);
  for (; beside > 1 && p + ROW_PANELS <= c->n_panels; p += ROW_PANELS)
    row_panels(n_rows, ROW_PANELS, &f, c, 0, p, true, &near, &far);
  for (; p < c->n_panels; p++) {
    size_t row = 0;
    for (; n_rows > 2 && row + 2 < c->m; row += (size_t)n_rows)
      row_panels(n_rows, 1, &f, c, row, p, row == 0, &near, &far);
    for (; row < c->m; row += (size_t)(n_rows < 2 ? n_rows : 2))
      row_panels(n_rows < 2 ? n_rows : 2, 1, &f, c, row, p, row == 0, &near, &far);
  }
}

/* name, kind, scales per 16, scales in f32, mins. In the first list those that files of language models are mostly made
 * of: they have kernels for a few rows, too. */
#define FEW_ROW_FORMATS(X)                      \
  X(q4, Q4, false, false, false)                \
  X(q4_min, Q4, false, false, true)             \
  X(q4_f32, Q4, false, true, false)             \
  X(q4_f32_min, Q4, false, true, true)          \
  X(q8, Q8, false, false, false)
#define ONE_ROW_FORMATS(X)                      \
  X(q5, Q5, false, false, false)                \
  X(q8_min, Q8, false, false, true)             \
  X(q8_f32, Q8, false, true, false)             \
  X(q8_f32_min, Q8, false, true, true)          \
  X(q8_16, Q8, true, true, false)               \
  X(q8_16_min, Q8, true, true, true)

#define ONE_ROW(name, bits, halves, f32_scales, has_min)                           \
  static void one_row_##name(const tern__cpu_linear_call *c) {                     \
    linear_few(1, TERN__CPU_WEIGHT_##bits, halves, f32_scales, has_min, c);        \
  }
FEW_ROW_FORMATS(ONE_ROW)
ONE_ROW_FORMATS(ONE_ROW)
#undef ONE_ROW
#if FEW_ROWS > 1
#  define FEW_ROWS_OF(name, bits, halves, f32_scales, has_min)                       \
    static void few_rows_##name(const tern__cpu_linear_call *c) {                    \
      linear_few(FEW_ROWS, TERN__CPU_WEIGHT_##bits, halves, f32_scales, has_min, c); \
    }
FEW_ROW_FORMATS(FEW_ROWS_OF)
#  undef FEW_ROWS_OF
#endif

typedef void linear_rows(const tern__cpu_linear_call *);

/* The kernel for so few rows; NULL if there is none. */
static linear_rows *few_rows_kernel(const tern__cpu_linear_call *c) {
  const tern__cpu_weight_format *f = &c->format;
  bool is_16 = f->scale_block == 16;
#define IS(bits, halves, f32, min) \
  (f->kind == TERN__CPU_WEIGHT_##bits && is_16 == (halves) && f->f32_scales == (f32) && f->has_min == (min))
#define ONE_ROW(name, bits, halves, f32, min) \
  if (c->m == 1 && IS(bits, halves, f32, min)) return one_row_##name;
  FEW_ROW_FORMATS(ONE_ROW)
  ONE_ROW_FORMATS(ONE_ROW)
#undef ONE_ROW
#if FEW_ROWS > 1
#  define FEW_ROWS_OF(name, bits, halves, f32, min) \
    if (c->m <= MANY_ROWS && IS(bits, halves, f32, min)) return few_rows_##name;
  FEW_ROW_FORMATS(FEW_ROWS_OF)
#  undef FEW_ROWS_OF
#endif
#undef IS
  return NULL;
}
