/* X * W^T over panels of 16 weight rows. A lane of a vector is a weight row, so every output is one chain of
 * additions in the order of k: the same for one row of X and for many, on any number of threads.
 *
 * Many rows: a piece of the panel is expanded (to f32, or to pairs of 16-bit integers) into 16 KiB that stay
 * in the L1 cache, and all rows pass over it in register tiles. One row: weights are decoded in registers as
 * they stream by. */

#if !defined(TILE_PANELS)
#  define TILE_PANELS 1 /* panels side by side in a tile of quantized rows; the tile then has fewer rows */
#endif
#if !defined(ROW_PANELS)
#  define ROW_PANELS 1 /* quantized panels that one row reads side by side */
#endif
#if !defined(PREFETCH_FAR) /* bytes; 0: nothing is asked for ahead */
#  define PREFETCH_NEAR 0
#  define PREFETCH_FAR 0
#endif
#if !defined(FEW_ROWS)
#  define FEW_ROWS 2 /* quantized rows that share a block decoded in registers; 1: each row by itself */
#endif
#if !defined(F32_PANELS)
#  define F32_PANELS 1 /* panels side by side in a tile of f32 rows */
#endif
enum {
  PV = TERN__CPU_PANEL / VF,
  F32_CHUNK = 256,          /* k in an expanded piece of 16 KiB */
  DENSE_CHUNK = 384,        /* k in a piece of weights that are f32 already */
  TILE_STEP = TERN__CPU_ROW_BLOCK * TERN__CPU_PANEL, /* floats from a panel's results to the next's */
  INT_CHUNK_BLOCKS = 16,    /* blocks of 32 k, 1 KiB each when expanded */
  PANEL_BLOCKS = TILE_PANELS == 1 ? 16 : 4, /* of each panel that quantized rows pass over at once */
  MANY_ROWS = FEW_ROWS + 2, /* more are worth expanding the weights for */
  LINE = 64                 /* bytes of a line of a Q4, Q5 or Q8 block */
};

/* ---- f32 ---- */

/* Where sums come from and go to while k runs in pieces: first nowhere and last into the result, with the bias;
 * otherwise tiles of TILE_STEP floats a panel. */
typedef struct sums_f32 {
  float *tile, *y; /* y NULL: not the last piece */
  size_t ldy;
  const float *bias; /* NULL = none */
  bool first;
} sums_f32;

/* Panels side by side share each value of X that is loaded. Their weights lie `step` floats apart. */
INLINE void tile_f32(int n_rows, int n_panels, const float *w, size_t step, const float *x, size_t ldx, size_t k,
                     const sums_f32 *sums, size_t row) {
  vf acc[TILE_F32][F32_PANELS * PV];
  float *tile = sums->tile + row * TERN__CPU_PANEL;
  UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < n_panels * PV; v++)
      acc[t][v] = sums->first ? vf_set1(0) : vf_load(tile + v / PV * TILE_STEP + t * TERN__CPU_PANEL + v % PV * VF);
  for (size_t i = 0; i < k; i++, w += TERN__CPU_PANEL) {
    vf weight[F32_PANELS * PV];
    UNROLL for (int v = 0; v < n_panels * PV; v++) {
      const float *at = w + (size_t)(v / PV) * step + v % PV * VF;
      if (PREFETCH_FAR) __builtin_prefetch(at + 4 * TERN__CPU_PANEL, 0, 3); /* f32 weights come from L2 */
      weight[v] = vf_load(at);
    }
    UNROLL for (int t = 0; t < n_rows; t++) {
      vf value = vf_set1(x[(size_t)t * ldx + i]);
      UNROLL for (int v = 0; v < n_panels * PV; v++) acc[t][v] = vf_fma(weight[v], value, acc[t][v]);
    }
  }
  if (!sums->y) {
    UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < n_panels * PV; v++)
        vf_store(tile + v / PV * TILE_STEP + t * TERN__CPU_PANEL + v % PV * VF, acc[t][v]);
    return;
  }
  UNROLL for (int v = 0; v < n_panels * PV; v++) {
    vf bias = sums->bias ? vf_load(sums->bias + v * VF) : vf_set1(0);
    UNROLL for (int t = 0; t < n_rows; t++)
        vf_store(sums->y + (row + (size_t)t) * sums->ldy + v * VF, sums->bias ? acc[t][v] + bias : acc[t][v]);
  }
}

/* Keeps one pointer per row: gcc would otherwise keep one address per load, in memory. */
#define ROW_POINTERS(rows, n_rows, x, ldx)                                     \
  const int16_t *rows[TILE_INT];                                               \
  UNROLL for (int t = 0; t < n_rows; t++) {                                    \
    rows[t] = (x) + (size_t)t * (ldx);                                         \
    __asm__("" : "+r"(rows[t]));                                               \
  }

/* t from 0 on: rows in tiles of the widest size while they fit, then in narrower ones. Each further row of a tile
 * is nearly free, as a single one waits for its own sums. */
#define ROW_TILES(widest, m, tile)                     \
  for (; t + (widest) <= (m); t += (widest)) tile(widest) \
  if ((widest) > 8)                                    \
    for (; t + 8 <= (m); t += 8) tile(((widest) > 8 ? 8 : 1)) \
  if ((widest) > 4)                                    \
    for (; t + 4 <= (m); t += 4) tile(((widest) > 4 ? 4 : 1)) \
  for (; t + 2 <= (m); t += 2) tile(2)                 \
  for (; t < (m); t++) tile(1)

/* All m rows over one expanded piece. */
static void rows_f32(const float *w, const float *x, size_t ldx, size_t m, size_t k, const sums_f32 *sums) {
  size_t t = 0;
#define TILE(n) tile_f32(n, 1, w, 0, x + t * ldx, ldx, k, sums, t);
  ROW_TILES(TILE_F32, m, TILE)
#undef TILE
}

/* The same over pieces of F32_PANELS panels. */
static void rows_f32_beside(const float *w, size_t step, const float *x, size_t ldx, size_t m, size_t k,
                            const sums_f32 *sums) {
  size_t t = 0;
#define TILE(n) tile_f32(n, F32_PANELS, w, step, x + t * ldx, ldx, k, sums, t);
  ROW_TILES(TILE_F32, m, TILE)
#undef TILE
}

INLINE vf load_weight(int kind, const uint8_t *panel, size_t i) {
  if (kind == TERN__CPU_WEIGHT_F32) return vf_load(panel + 4 * i);
  if (kind == TERN__CPU_WEIGHT_F16) return vf_load_f16(panel + 2 * i);
  return vf_load_bf16(panel + 2 * i);
}

INLINE vf load_scale(bool f32, const uint8_t *p, size_t i) {
  return f32 ? vf_load(p + 4 * i) : vf_load_f16(p + 2 * i);
}

/* The weight of row k (0 to 31) of a quantized block, before its offset. */
INLINE vi block_integer(int kind, const uint8_t *block, int k, int v) {
  int j = k / 8, n = k % 8;
  if (kind != TERN__CPU_WEIGHT_Q8) {
    vi low = (vi_load(block + j * LINE + v * VF * 4) >> (4 * (n / 2) + 16 * (n % 2))) & 15;
    if (kind == TERN__CPU_WEIGHT_Q4) return low;
    return (low | ((vi_load(block + 4 * LINE + v * VF * 4) >> (k / 2 + 16 * (k % 2))) & 1) << 4) - 16;
  }
  /* byte of k in {0, 4, 1, 5 | 2, 6, 3, 7} */
  int line = 2 * j + (n >> 1 & 1), byte = (n & 1) * 2 + (n >> 2);
  return vi_load(block + line * LINE + v * VF * 4) << (24 - 8 * byte) >> 24;
}

/* One block of 32 k of a quantized panel as f32 [32][16]; scales are decoded once for all k that share them. */
static void block_to_f32(const tern__cpu_weight_format *format, const uint8_t *block, float *out) {
  const uint8_t *scales = block + tern__cpu_block_lines(format->kind) * LINE;
  int n_scales = TERN__CPU_BLOCK / format->scale_block;
  const uint8_t *mins = scales + n_scales * TERN__CPU_PANEL * (format->f32_scales ? 4 : 2);
  for (int s = 0; s < n_scales; s++)
    for (int v = 0; v < PV; v++) {
      size_t at = (size_t)(s * TERN__CPU_PANEL + v * VF);
      vf scale = load_scale(format->f32_scales, scales, at), min = vf_set1(0);
      if (format->has_min) min = load_scale(format->f32_scales, mins, at);
      for (int k = s * format->scale_block; k < (s + 1) * format->scale_block; k++) {
        vf w = vi_to_vf(block_integer(format->kind, block, k, v) - format->offset) * scale;
        vf_store(out + k * TERN__CPU_PANEL + v * VF, format->has_min ? w + min : w);
      }
    }
}

/* k values from k0 on of a panel as f32 [k][16]; the panel's own memory if it is that already. */
static const float *expand_f32(const tern__cpu_weight_format *format, const uint8_t *panel, size_t k0,
                               size_t k, float *out) {
  size_t from = k0 * TERN__CPU_PANEL, n = k * TERN__CPU_PANEL;
  switch (format->kind) {
    case TERN__CPU_WEIGHT_F32: return (const float *)(const void *)panel + from;
    case TERN__CPU_WEIGHT_F16:
      for (size_t i = 0; i < n; i += VF)
        vf_store(out + i, load_weight(TERN__CPU_WEIGHT_F16, panel, from + i));
      return out;
    case TERN__CPU_WEIGHT_BF16:
      for (size_t i = 0; i < n; i += VF)
        vf_store(out + i, load_weight(TERN__CPU_WEIGHT_BF16, panel, from + i));
      return out;
    default:
      for (size_t b = 0; b * TERN__CPU_BLOCK < k; b++)
        block_to_f32(format, panel + (k0 / TERN__CPU_BLOCK + b) * format->block_bytes,
                     out + b * TERN__CPU_BLOCK * TERN__CPU_PANEL);
      return out;
  }
}

/* Writes a [m][16] tile into y, n columns of it, with the bias. */
static void store_tile(const float *tile, float *y, size_t ldy, size_t m, size_t n, const float *bias) {
  for (size_t t = 0; t < m; t++, tile += TERN__CPU_PANEL, y += ldy) {
    if (n == TERN__CPU_PANEL) {
      UNROLL for (int v = 0; v < PV; v++) {
        vf a = vf_load(tile + v * VF);
        vf_store(y + v * VF, bias ? a + vf_load(bias + v * VF) : a);
      }
    } else {
      for (size_t i = 0; i < n; i++) y[i] = bias ? tile[i] + bias[i] : tile[i];
    }
  }
}

/* One row over n_panels panels of a dense kind. */
INLINE void row_dense(int kind, int n_panels, const uint8_t *panels, size_t panel_bytes, size_t k,
                      const float *x, float *tile) {
  vf acc[PANELS_F32][PV];
  UNROLL for (int p = 0; p < n_panels; p++) UNROLL for (int v = 0; v < PV; v++) acc[p][v] = vf_set1(0);
  for (size_t i = 0; i < k; i++) {
    vf value = vf_set1(x[i]);
    UNROLL for (int p = 0; p < n_panels; p++) {
      const uint8_t *panel = panels + (size_t)p * panel_bytes;
      UNROLL for (int v = 0; v < PV; v++)
        acc[p][v] = vf_fma(load_weight(kind, panel, i * TERN__CPU_PANEL + (size_t)(v * VF)), value, acc[p][v]);
    }
  }
  UNROLL for (int p = 0; p < n_panels; p++)
    UNROLL for (int v = 0; v < PV; v++) vf_store(tile + p * TERN__CPU_PANEL + v * VF, acc[p][v]);
}

INLINE size_t row_dense_some(int kind, const tern__cpu_linear_call *c, size_t p, float *tile) {
  const uint8_t *panels = c->panels + p * c->panel_bytes;
  if (p + PANELS_F32 <= c->n_panels) {
    row_dense(kind, PANELS_F32, panels, c->panel_bytes, c->k, c->x, tile);
    return PANELS_F32;
  }
  row_dense(kind, 1, panels, c->panel_bytes, c->k, c->x, tile);
  return 1;
}

static size_t columns_of(size_t n, size_t panel) {
  size_t left = n - panel * TERN__CPU_PANEL;
  return left < TERN__CPU_PANEL ? left : TERN__CPU_PANEL;
}

static const float *bias_of(const tern__cpu_linear_call *c, size_t panel) {
  return c->bias ? c->bias + panel * TERN__CPU_PANEL : NULL;
}

static void linear_one_dense_row(const tern__cpu_linear_call *c) {
  float *tile = (float *)(void *)c->scratch;
  for (size_t p = 0, some; p < c->n_panels; p += some) {
    switch (c->format.kind) {
      case TERN__CPU_WEIGHT_F32: some = row_dense_some(TERN__CPU_WEIGHT_F32, c, p, tile); break;
      case TERN__CPU_WEIGHT_F16: some = row_dense_some(TERN__CPU_WEIGHT_F16, c, p, tile); break;
      default: some = row_dense_some(TERN__CPU_WEIGHT_BF16, c, p, tile);
    }
    for (size_t i = 0; i < some; i++)
      store_tile(tile + i * TERN__CPU_PANEL, c->y + (p + i) * TERN__CPU_PANEL, c->ldy, 1,
                 columns_of(c->n, p + i), bias_of(c, p + i));
  }
}

/* Pieces of k: as many as keep what is expanded within 16 KiB; weights that are read where they lie may stream from the
 * L2 cache, and longer pieces carry fewer sums. */
static size_t piece_f32(const tern__cpu_linear_call *c, size_t n_panels) {
  return c->format.kind == TERN__CPU_WEIGHT_F32 ? DENSE_CHUNK : F32_CHUNK / n_panels;
}

/* n_panels (1 or F32_PANELS) panels from p on. */
INLINE void linear_f32_panels(const tern__cpu_linear_call *c, size_t p, size_t n_panels, float *expanded, float *tile) {
  const uint8_t *panels = c->panels + p * c->panel_bytes;
  size_t chunk = piece_f32(c, n_panels), step = chunk * TERN__CPU_PANEL;
  if (c->format.kind == TERN__CPU_WEIGHT_F32) step = c->panel_bytes / sizeof(float);
  bool whole = c->n >= (p + n_panels) * TERN__CPU_PANEL; /* else the last panel has fewer columns than lanes */
  for (size_t k0 = 0; k0 < c->k; k0 += chunk) {
    size_t k = c->k - k0 < chunk ? c->k - k0 : chunk;
    sums_f32 sums = {.tile = tile, .ldy = c->ldy, .bias = bias_of(c, p), .first = k0 == 0};
    if (whole && k0 + k == c->k) sums.y = c->y + p * TERN__CPU_PANEL;
    const float *w = expand_f32(&c->format, panels, k0, k, expanded);
    for (size_t i = 1; i < n_panels; i++)
      expand_f32(&c->format, panels + i * c->panel_bytes, k0, k, expanded + i * step);
    if (n_panels == 1) rows_f32(w, c->x + k0, c->ldx, c->m, k, &sums);
    else rows_f32_beside(w, step, c->x + k0, c->ldx, c->m, k, &sums);
  }
  for (size_t i = 0; !whole && i < n_panels; i++)
    store_tile(tile + i * TILE_STEP, c->y + (p + i) * TERN__CPU_PANEL, c->ldy, c->m, columns_of(c->n, p + i),
               bias_of(c, p + i));
}

static void linear_f32(const tern__cpu_linear_call *c) {
  float *expanded = (float *)(void *)c->scratch, *tile = expanded + F32_CHUNK * TERN__CPU_PANEL;
  size_t p = 0;
  if (F32_PANELS > 1)
    for (; p + F32_PANELS <= c->n_panels; p += F32_PANELS) linear_f32_panels(c, p, F32_PANELS, expanded, tile);
  for (; p < c->n_panels; p++) linear_f32_panels(c, p, 1, expanded, tile);
}

/* ---- integers ---- */

/* Engines that compile WebAssembly spill registers in long blocks of code. */
#ifdef SMALL_LOOPS
#  define UNROLL_PAIRS _Pragma("clang loop unroll(disable)")
#else
#  define UNROLL_PAIRS UNROLL
#endif

#ifdef SPLIT_BYTES
enum { EXPANDED_BLOCK = 8 * LINE };

/* acc[row][vector] += the dot products of lines [from, to) (bytes) with rows of x, from `at` on. */
INLINE void dot_lines(int n_rows, int n_vecs, const uint8_t *w, size_t panel_stride, int from, int to,
                      const int16_t *const *rows, size_t at, vi *acc) {
  vi high[TILE_INT * PV], low[TILE_INT * PV];
  UNROLL for (int i = 0; i < n_rows * n_vecs; i++) high[i] = low[i] = vi_set1(0);
  UNROLL for (int l = from; l < to; l++) {
    UNROLL for (int t = 0; t < n_rows; t++) {
      const int8_t *bytes = (const int8_t *)(rows[t] + at) + l / 2 * 16 + l % 2 * 4;
      vi h = vi_broadcast(bytes), o = vi_broadcast(bytes + 8);
      UNROLL for (int v = 0; v < n_vecs; v++) {
        vi weight = vi_load(w + (size_t)(v / PV) * panel_stride + l * LINE + v % PV * VF * 4);
        int i = t * n_vecs + v;
        high[i] = vi_dot_bytes(high[i], weight, h), low[i] = vi_dot_bytes(low[i], weight, o);
      }
    }
  }
  UNROLL for (int i = 0; i < n_rows * n_vecs; i++) acc[i] = acc[i] + high[i] * 128 + low[i];
}

INLINE vi shifted_left(vi a, int by) { return by < 0 ? (vi)((vu)a >> -by) : a << by; }

INLINE void expand_line(int kind, const uint8_t *block, int l, vi out[PV]) {
  typedef int8_t vb __attribute__((vector_size(4 * VF)));
  UNROLL for (int v = 0; v < PV; v++) {
    if (kind == TERN__CPU_WEIGHT_Q8) {
      out[v] = vi_load(block + l * LINE + v * VF * 4);
      continue;
    }
    out[v] = (vi_load(block + l / 2 * LINE + v * VF * 4) >> (4 * (l % 2))) & 0x0f0f0f0f;
    if (kind == TERN__CPU_WEIGHT_Q5) { /* bits b, b + 2, b + 16, b + 18 to bit 4 of bytes 0 to 3 */
      vi fifth = vi_load(block + 4 * LINE + v * VF * 4);
      int b = l / 2 * 4 + l % 2;
      out[v] |= (shifted_left(fifth, 4 - b) & 0x00100010) | (shifted_left(fifth, 10 - b) & 0x10001000);
      out[v] = (vi)((vb)out[v] - 16);
    }
  }
}

static void expand_block(uint8_t kind, const uint8_t *block, uint8_t *out) {
  for (int l = 0; l < 8; l++) {
    vi line[PV];
    expand_line(kind, block, l, line);
    for (int v = 0; v < PV; v++) vi_store(out + l * LINE + v * VF * 4, line[v]);
  }
}
#else
enum { EXPANDED_BLOCK = 16 * LINE };

/* The pair of 16-bit weights for k = 2 pair and k + 1. */
INLINE void expand_pair(int kind, const uint8_t *block, int pair, vi out[PV]) {
  UNROLL for (int v = 0; v < PV; v++) {
    if (kind != TERN__CPU_WEIGHT_Q8) {
      out[v] = (vi_load(block + pair / 4 * LINE + v * VF * 4) >> (4 * (pair % 4))) & 0x000f000f;
      if (kind == TERN__CPU_WEIGHT_Q5) { /* the fifth bit, inverted, is the sign: it fills what is left of the nibble */
        vi sign = (vi)((vs)(vi_load(block + 4 * LINE + v * VF * 4) << (15 - pair)) >> 11);
        out[v] |= ~sign & (int32_t)0xfff0fff0;
      }
    } else {
      /* pairs 0, 2 of 8 k sit in bytes 0 2, 1 3 of the first line; pairs 1, 3 in those of the second. */
      vs bytes = (vs)vi_load(block + (pair / 4 * 2 + pair % 2) * LINE + v * VF * 4);
      out[v] = pair % 4 < 2 ? (vi)((vs)(bytes << 8) >> 8) : (vi)(bytes >> 8);
    }
  }
}

INLINE void dot_lines(int n_rows, int n_vecs, const uint8_t *w, size_t panel_stride, int from, int to,
                      const int16_t *const *rows, size_t at, vi *acc) {
  UNROLL_PAIRS for (int pair = 2 * from; pair < 2 * to; pair++) {
    vi weight[TILE_PANELS * PV];
    UNROLL for (int v = 0; v < n_vecs; v++)
        weight[v] = vi_load(w + (size_t)(v / PV) * panel_stride + pair * LINE + v % PV * VF * 4);
    UNROLL for (int t = 0; t < n_rows; t++) {
      vi value = vi_broadcast(rows[t] + at + 2 * pair);
      UNROLL for (int v = 0; v < n_vecs; v++)
          acc[t * n_vecs + v] = vi_madd(acc[t * n_vecs + v], weight[v], value);
    }
  }
}

INLINE void expand_pairs(int kind, const uint8_t *block, uint8_t *out) {
  UNROLL for (int pair = 0; pair < 16; pair++) {
    vi words[PV];
    expand_pair(kind, block, pair, words);
    UNROLL for (int v = 0; v < PV; v++) vi_store(out + pair * LINE + v * VF * 4, words[v]);
  }
}

#ifdef SMALL_LOOPS
/* expand_pairs for Q8, line by line. */
static void expand_bytes(const uint8_t *block, uint8_t *out) {
  UNROLL_PAIRS for (int l = 0; l < 8; l++, block += LINE) {
    uint8_t *to = out + (l / 2 * 4 + l % 2) * LINE; /* pairs 0 and 2 of 8 k, or 1 and 3 */
    UNROLL for (int v = 0; v < PV; v++) {
      vs bytes = (vs)vi_load(block + v * VF * 4);
      vi_store(to + v * VF * 4, (vi)((vs)(bytes << 8) >> 8));
      vi_store(to + 2 * LINE + v * VF * 4, (vi)(bytes >> 8));
    }
  }
}
#else
static void expand_bytes(const uint8_t *block, uint8_t *out) { expand_pairs(TERN__CPU_WEIGHT_Q8, block, out); }
#endif

static void expand_block(uint8_t kind, const uint8_t *block, uint8_t *out) {
  if (kind == TERN__CPU_WEIGHT_Q4) expand_pairs(TERN__CPU_WEIGHT_Q4, block, out);
  else if (kind == TERN__CPU_WEIGHT_Q5) expand_pairs(TERN__CPU_WEIGHT_Q5, block, out);
  else expand_bytes(block, out);
}
#endif

/* Lines [from, to) of a packed block with n_rows rows. */
INLINE void dot_packed_rows(int n_rows, int kind, const uint8_t *block, int from, int to, const int16_t *const *x,
                            vi acc[][PV]) {
#ifdef SPLIT_BYTES
  vi high[FEW_ROWS][PV], low[FEW_ROWS][PV];
  UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < PV; v++) high[t][v] = low[t][v] = vi_set1(0);
  UNROLL for (int l = from; l < to; l++) {
    vi line[PV];
    expand_line(kind, block, l, line);
    UNROLL for (int t = 0; t < n_rows; t++) {
      const int8_t *bytes = (const int8_t *)x[t] + l / 2 * 16 + l % 2 * 4;
      vi h = vi_broadcast(bytes), o = vi_broadcast(bytes + 8);
      UNROLL for (int v = 0; v < PV; v++)
        high[t][v] = vi_dot_bytes(high[t][v], line[v], h), low[t][v] = vi_dot_bytes(low[t][v], line[v], o);
    }
  }
  UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < PV; v++)
      acc[t][v] = acc[t][v] + high[t][v] * 128 + low[t][v];
#else
  /* A product has a latency of some cycles: with one vector to a panel, four sums hide it. */
  enum { CHAINS = 4 };
  int chains = PV > 1 || n_rows >= CHAINS ? 1 : CHAINS / n_rows;
  vi sums[CHAINS][FEW_ROWS][PV];
  UNROLL for (int i = 0; i < chains; i++) UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < PV; v++)
      sums[i][t][v] = i ? vi_set1(0) : acc[t][v];
  UNROLL for (int pair = 2 * from; pair < 2 * to; pair++) {
    vi words[PV];
    expand_pair(kind, block, pair, words);
    UNROLL for (int t = 0; t < n_rows; t++) {
      vi value = vi_broadcast(x[t] + 2 * pair), *sum = sums[pair % chains][t];
      UNROLL for (int v = 0; v < PV; v++) sum[v] = vi_madd(sum[v], words[v], value);
    }
  }
  UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < PV; v++) {
    acc[t][v] = sums[0][t][v];
    UNROLL for (int i = 1; i < chains; i++) acc[t][v] += sums[i][t][v];
  }
#endif
}

INLINE void dot_packed(int kind, const uint8_t *block, int from, int to, const int16_t *x, vi acc[PV]) {
  vi sums[1][PV];
  UNROLL for (int v = 0; v < PV; v++) sums[0][v] = acc[v];
  dot_packed_rows(1, kind, block, from, to, &x, sums);
  UNROLL for (int v = 0; v < PV; v++) acc[v] = sums[0][v];
}

/* Scales and mins of a block in f32: d[2][16], m[2][16]; scales per 32 k fill only the second part. The
 * offset of Q4_0 becomes a min: d (q - 8) = d q - 8 d. */
enum {
  SCALES = 2 * TERN__CPU_PANEL,
  SCALE_FLOATS = 2 * SCALES,
  CHUNK_BLOCK = EXPANDED_BLOCK + SCALE_FLOATS * 4
};

static bool uses_mins(const tern__cpu_weight_format *f) { return f->has_min || f->offset; }

INLINE void load_scales(const tern__cpu_weight_format *f, const uint8_t *block, int part, int v, vf *d,
                        vf *m) {
  const uint8_t *scales = block + tern__cpu_block_lines(f->kind) * LINE;
  size_t n_scales = TERN__CPU_BLOCK / f->scale_block, at = (size_t)(part * TERN__CPU_PANEL + v * VF);
  *d = load_scale(f->f32_scales, scales, at);
  *m = f->has_min
           ? load_scale(f->f32_scales, scales + n_scales * TERN__CPU_PANEL * (f->f32_scales ? 4 : 2), at)
           : *d * (float)-f->offset;
}

static void expand_scales(const tern__cpu_weight_format *f, const uint8_t *block, float *out) {
  bool halves = f->scale_block == 16;
  for (int part = !halves; part < 2; part++)
    for (int v = 0; v < PV; v++) {
      vf d, m;
      load_scales(f, block, halves ? part : 0, v, &d, &m);
      vf_store(out + part * TERN__CPU_PANEL + v * VF, d);
      vf_store(out + SCALES + part * TERN__CPU_PANEL + v * VF, m);
    }
}

/* sum += d x_scale acc + m x_sum */
INLINE vf add_scaled(bool mins, vf sum, vi acc, vf d, vf m, vf x_scale, vf x_sum) {
  sum = vf_fma(vi_to_vf(acc), d * x_scale, sum);
  return mins ? vf_fma(m, x_sum, sum) : sum;
}

/* Of a half of a block, or of all of it (part -1). */
INLINE float x_sum_of(const float *sums, int part) {
  return part < 0 ? sums[0] : part ? sums[1] : sums[0] - sums[1];
}

/* A tile of quantized rows: panels side by side share each value of x that is loaded. */
enum {
  TILE_VECS = TILE_PANELS * PV,
  TILE_ROWS = TILE_INT / TILE_PANELS,
  PANEL_TILE = TERN__CPU_ROW_BLOCK * TERN__CPU_PANEL
};

INLINE void tile_scaled(int n_rows, bool mins, const float *scales, size_t panel_stride, const float *x_scales,
                        const float *x_sums, size_t k, int part, vi *acc, vf *sum) {
  UNROLL for (int v = 0; v < TILE_VECS; v++) {
    const float *at = scales + (size_t)(v / PV) * panel_stride / sizeof *scales + v % PV * VF;
    vf d = vf_load(at), m = vf_load(at + SCALES);
    UNROLL for (int t = 0; t < n_rows; t++) {
      vf x_scale = vf_set1(x_scales[(size_t)t * (k / TERN__CPU_BLOCK)]);
      int i = t * TILE_VECS + v;
      sum[i] = add_scaled(mins, sum[i], acc[i], d, m, x_scale,
                          vf_set1(x_sum_of(x_sums + (size_t)t * (k / 16), part)));
      acc[i] = vi_set1(0);
    }
  }
}

/* n_rows rows over n_blocks expanded blocks of each panel. */
INLINE void tile_quantized(int n_rows, bool halves, bool mins, const uint8_t *w, size_t panel_stride,
                           size_t n_blocks, const tern__cpu_rows *x, size_t k, float *tile) {
  vf sum[TILE_ROWS * TILE_VECS];
  vi acc[TILE_ROWS * TILE_VECS];
  ROW_POINTERS(rows, n_rows, x->q, k)
  UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < TILE_VECS; v++) {
    sum[t * TILE_VECS + v] = vf_load(tile + v / PV * PANEL_TILE + t * TERN__CPU_PANEL + v % PV * VF);
    acc[t * TILE_VECS + v] = vi_set1(0);
  }
  for (size_t b = 0; b < n_blocks; b++, w += CHUNK_BLOCK) {
    const float *scales = (const float *)(const void *)(w + EXPANDED_BLOCK), *x_scales = x->scales + b,
                *x_sums = x->sums + 2 * b;
    dot_lines(n_rows, TILE_VECS, w, panel_stride, 0, 4, rows, b * TERN__CPU_BLOCK, acc);
    if (halves) tile_scaled(n_rows, mins, scales, panel_stride, x_scales, x_sums, k, 0, acc, sum);
    dot_lines(n_rows, TILE_VECS, w, panel_stride, 4, 8, rows, b * TERN__CPU_BLOCK, acc);
    tile_scaled(n_rows, mins, scales + TERN__CPU_PANEL, panel_stride, x_scales, x_sums, k, halves ? 1 : -1, acc,
                sum);
  }
  UNROLL for (int t = 0; t < n_rows; t++) UNROLL for (int v = 0; v < TILE_VECS; v++)
      vf_store(tile + v / PV * PANEL_TILE + t * TERN__CPU_PANEL + v % PV * VF, sum[t * TILE_VECS + v]);
}

static tern__cpu_rows rows_from(const tern__cpu_rows *rows, size_t row, size_t block, size_t k) {
  return (tern__cpu_rows){rows->q + row * k + block * TERN__CPU_BLOCK,
                          rows->scales + row * (k / TERN__CPU_BLOCK) + block,
                          rows->sums + row * (k / 16) + 2 * block};
}

/* Expanded blocks [b0, b0 + n) of TILE_PANELS panels, panel_stride bytes apart (0: one panel in place of all). */
typedef struct expanded_blocks { const uint8_t *w; size_t panel_stride, b0, n; } expanded_blocks;

INLINE void rows_quantized(bool halves, bool mins, const expanded_blocks *e, const tern__cpu_linear_call *c, size_t k,
                           float *tile) {
  size_t t = 0;
#define TILE(rows_of_tile)                                                                           \
  {                                                                                                  \
    tern__cpu_rows rows = rows_from(&c->rows, t, e->b0, k);                                          \
    tile_quantized(rows_of_tile, halves, mins, e->w, e->panel_stride, e->n, &rows, k,                \
                   tile + t * TERN__CPU_PANEL);                                                      \
  }
  ROW_TILES(TILE_ROWS, c->m, TILE)
#undef TILE
}

#define ROWS(name, halves, mins)                                                                             \
  static void rows_##name(const expanded_blocks *e, const tern__cpu_linear_call *c, size_t k, float *tile) { \
    rows_quantized(halves, mins, e, c, k, tile);                                                             \
  }
ROWS(32, false, false)
ROWS(32_min, false, true)
ROWS(16, true, false)
ROWS(16_min, true, true)
#undef ROWS

static void expand_blocks(const tern__cpu_weight_format *f, const uint8_t *block, size_t n, uint8_t *out) {
  for (size_t b = 0; b < n; b++, block += f->block_bytes, out += CHUNK_BLOCK) {
    expand_block(f->kind, block, out);
    expand_scales(f, block, (float *)(void *)(out + EXPANDED_BLOCK));
  }
}

static void linear_many(const tern__cpu_linear_call *c) {
  static void (*const bodies[2][2])(const expanded_blocks *, const tern__cpu_linear_call *, size_t, float *) = {
      {rows_32, rows_32_min}, {rows_16, rows_16_min}};
  const tern__cpu_weight_format *f = &c->format;
  uint8_t *expanded = c->scratch;
  float *tiles = (float *)(void *)(expanded + INT_CHUNK_BLOCKS * CHUNK_BLOCK);
  size_t all = tern__cpu_padded(c->k) / TERN__CPU_BLOCK, k = all * TERN__CPU_BLOCK;
  size_t n_chunks = (all + PANEL_BLOCKS - 1) / PANEL_BLOCKS, chunk = (all + n_chunks - 1) / n_chunks;
  for (size_t p = 0; p < c->n_panels; p += TILE_PANELS) {
    size_t panels = c->n_panels - p < TILE_PANELS ? 1 : TILE_PANELS;
    for (size_t i = 0; i < TILE_PANELS; i++) memset(tiles + i * PANEL_TILE, 0, c->m * TERN__CPU_PANEL * sizeof *tiles);
    for (size_t b0 = 0; b0 < all; b0 += chunk) {
      expanded_blocks e = {expanded, panels == 1 ? 0 : PANEL_BLOCKS * CHUNK_BLOCK, b0,
                           all - b0 < chunk ? all - b0 : chunk};
      for (size_t i = 0; i < panels; i++)
        expand_blocks(f, c->panels + (p + i) * c->panel_bytes + b0 * f->block_bytes, e.n,
                      expanded + i * PANEL_BLOCKS * CHUNK_BLOCK);
      bodies[f->scale_block == 16][uses_mins(f)](&e, c, k, tiles);
    }
    for (size_t i = 0; i < panels; i++)
      store_tile(tiles + i * PANEL_TILE, c->y + (p + i) * TERN__CPU_PANEL, c->ldy, c->m, columns_of(c->n, p + i),
                 bias_of(c, p + i));
  }
}

#include "cpu/kernels/kernel_few_rows.h"

static void linear(const tern__cpu_linear_call *c) {
  uint8_t kind = c->format.kind;
  if (kind < TERN__CPU_WEIGHT_Q4 && c->m == 1) linear_one_dense_row(c);
  else if (c->x) linear_f32(c);
  else {
    linear_rows *few = few_rows_kernel(c);
    if (few) few(c);
    else linear_many(c);
  }
}

/* ---- plain integers ---- */

INLINE void tile_i32(int n_rows, const uint8_t *w, size_t n_blocks, const int16_t *q, size_t k, int32_t *tile,
                     bool first) {
  vi acc[TILE_INT * PV];
  ROW_POINTERS(rows, n_rows, q, k)
  UNROLL for (int i = 0; i < n_rows * PV; i++) acc[i] = first ? vi_set1(0) : vi_load(tile + i * VF);
  for (size_t b = 0; b < n_blocks; b++)
    dot_lines(n_rows, PV, w + b * EXPANDED_BLOCK, 0, 0, 8, rows, b * TERN__CPU_BLOCK, acc);
  UNROLL for (int i = 0; i < n_rows * PV; i++) vi_store(tile + i * VF, acc[i]);
}

static void linear_i32_one(const tern__cpu_linear_i32_call *c) {
  for (size_t p = 0; p < c->n_panels; p++) {
    int32_t row[TERN__CPU_PANEL];
    vi acc[PV];
    UNROLL for (int v = 0; v < PV; v++) acc[v] = vi_set1(0);
    for (size_t b = 0; b < c->k / TERN__CPU_BLOCK; b++)
      dot_packed(TERN__CPU_WEIGHT_Q8, c->panels + p * c->panel_bytes + b * 8 * LINE, 0, 8,
                 c->q + b * TERN__CPU_BLOCK, acc);
    UNROLL for (int v = 0; v < PV; v++) vi_store(row + v * VF, acc[v]);
    memcpy(c->y + p * TERN__CPU_PANEL, row, columns_of(c->n, p) * sizeof *row);
  }
}

static void linear_i32(const tern__cpu_linear_i32_call *c) {
  if (c->m == 1) {
    linear_i32_one(c);
    return;
  }
  uint8_t *expanded = c->scratch;
  int32_t *tile = (int32_t *)(void *)(expanded + INT_CHUNK_BLOCKS * CHUNK_BLOCK);
  for (size_t p = 0; p < c->n_panels; p++) {
    size_t all = c->k / TERN__CPU_BLOCK, columns = columns_of(c->n, p);
    for (size_t b0 = 0; b0 < all; b0 += INT_CHUNK_BLOCKS) {
      size_t n = all - b0 < INT_CHUNK_BLOCKS ? all - b0 : INT_CHUNK_BLOCKS, t = 0;
      const int16_t *q = c->q + b0 * TERN__CPU_BLOCK;
      for (size_t b = 0; b < n; b++)
        expand_block(TERN__CPU_WEIGHT_Q8, c->panels + p * c->panel_bytes + (b0 + b) * 8 * LINE,
                     expanded + b * EXPANDED_BLOCK);
#define TILE(rows) tile_i32(rows, expanded, n, q + t * c->k, c->k, tile + t * TERN__CPU_PANEL, b0 == 0);
      ROW_TILES(TILE_INT, c->m, TILE)
#undef TILE
    }
    for (size_t t = 0; t < c->m; t++)
      memcpy(c->y + t * c->ldy + p * TERN__CPU_PANEL, tile + t * TERN__CPU_PANEL, columns * sizeof *tile);
  }
}

/* ---- two activations ---- */

/* One panel of 16 columns at a time is gathered into [k][16]; scratch as in tern__cpu_linear_call. */
static void matmul(const float *a, size_t lda, const float *b, size_t ldb_k, size_t ldb_n, float *c,
                   size_t ldc, size_t m, size_t n, size_t k, float *scratch) {
  float *tile = scratch + F32_CHUNK * TERN__CPU_PANEL;
  for (size_t n0 = 0; n0 < n; n0 += TERN__CPU_PANEL) {
    size_t columns = n - n0 < TERN__CPU_PANEL ? n - n0 : TERN__CPU_PANEL;
    for (size_t k0 = 0; k0 < k; k0 += F32_CHUNK) {
      size_t part = k - k0 < F32_CHUNK ? k - k0 : F32_CHUNK;
      const float *from = b + k0 * ldb_k + n0 * ldb_n;
      for (size_t i = 0; i < part; i++) {
        float *to = scratch + i * TERN__CPU_PANEL;
        if (ldb_n == 1 && columns == TERN__CPU_PANEL)
          memcpy(to, from + i * ldb_k, TERN__CPU_PANEL * sizeof *to);
        else
          for (size_t j = 0; j < TERN__CPU_PANEL; j++) to[j] = j < columns ? from[i * ldb_k + j * ldb_n] : 0;
      }
      sums_f32 sums = {.tile = tile, .ldy = ldc, .first = k0 == 0};
      if (columns == TERN__CPU_PANEL && k0 + part == k) sums.y = c + n0;
      rows_f32(scratch, a + k0, lda, m, part, &sums);
    }
    if (columns < TERN__CPU_PANEL) store_tile(tile, c + n0, ldc, m, columns, NULL);
  }
}
