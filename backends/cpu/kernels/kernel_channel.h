/* X * W^T with signed bytes that have one scale a row of W (an output column). Nothing but integers in the inner loop:
 * a group of X's row, up to TERN__CPU_GROUP values, shares a scale, and its sum of products fits 32 bits. Sums are
 * exact, so one row and many give the same bits. Panels: Q8 blocks without scales, then scales[16], then mins[16]. */

typedef int16_t vh __attribute__((vector_size(2 * VF)));
typedef int16_t vh_any __attribute__((vector_size(2 * VF), aligned(1), may_alias));

/* n values, padded with zeros to a multiple of 32 -> q; *sum: of x itself. Weights with a zero point are q plus a
 * constant, which multiplies that sum: rounding of X reaches the centred q alone. */
static void quantize_group(const float *x, size_t n, size_t padded, int16_t *q, float *scale, float *sum) {
  float tail[TERN__CPU_BLOCK];
  size_t whole = n / TERN__CPU_BLOCK * TERN__CPU_BLOCK;
  memset(tail, 0, sizeof tail);
  if (whole < n) memcpy(tail, x + whole, (n - whole) * sizeof *tail);
  enum { PARTS = 4 };
  vf largest[PARTS], total[PARTS], poison = vf_set1(0);
  UNROLL for (int j = 0; j < PARTS; j++) largest[j] = total[j] = vf_set1(0);
  for (size_t i = 0; i < padded; i += TERN__CPU_BLOCK) {
    const float *from = i < whole ? x + i : tail;
    UNROLL for (int j = 0; j < TERN__CPU_BLOCK / VF; j++) {
      vf a = vf_load(from + j * VF);
      largest[j % PARTS] = vf_max(vf_abs(a), largest[j % PARTS]);
      total[j % PARTS] = total[j % PARTS] + a;
      poison = vf_fma(a, vf_set1(0), poison); /* NaN and infinity must not become numbers: the scale carries them */
    }
  }
  float m = vf_largest(vf_max(vf_max(largest[0], largest[1]), vf_max(largest[2], largest[3])));
  float inverse = m > 0 ? TERN__CPU_X_MAX / m : 0;
  if (!(inverse <= 3e38f)) inverse = 0; /* values too small to divide by, and NaN */
  for (size_t i = 0; i < padded; i += TERN__CPU_BLOCK) {
    const float *from = i < whole ? x + i : tail;
    UNROLL for (int j = 0; j < TERN__CPU_BLOCK / VF; j++) {
      vi a = vf_round(vf_load(from + j * VF) * inverse);
      *(vh_any *)(q + i + j * VF) = __builtin_convertvector(a, vh);
    }
  }
  *scale = m * (1.0f / TERN__CPU_X_MAX) + vf_sum(poison);
  *sum = vf_sum((total[0] + total[2]) + (total[1] + total[3]));
}

static void quantize_channel(const float *x, size_t k, size_t group, int16_t *q, float *scales, float *sums) {
  size_t padded = tern__cpu_padded(k);
  for (size_t at = 0, g = 0; at < padded; at += group, g++) {
    size_t size = padded - at < group ? padded - at : group;
    quantize_group(x + at, k - at < size ? k - at : size, size, q + at, scales + g, sums + g);
  }
  arrange(q, padded);
}

/* What a tile of rows does with its sums: they go on in the next piece of the group (in `integers`), are scaled and go
 * on in the next group (in `sums`), or are the result. */
typedef struct channel_piece {
  const uint8_t *w;     /* expanded blocks */
  size_t n_blocks, k;   /* k: int16 from a row to the next */
  const int16_t *q;
  bool first, last;     /* piece of its group */
  bool first_group, last_group;
  const float *x_scales, *x_sums;
  size_t groups;        /* step of those */
  const float *scales, *mins, *bias; /* of the panel's 16 columns; mins, bias may be NULL */
  int32_t *integers;    /* [m][16] */
  float *sums;          /* [m][16]; where results of panels with fewer columns go too */
  float *y;             /* NULL: sums */
  size_t ldy;
} channel_piece;

INLINE float row_sum(const float *sums, size_t groups) {
  float sum = sums[0];
  for (size_t g = 1; g < groups; g++) sum += sums[g];
  return sum;
}

INLINE void finish_channel(const channel_piece *c, size_t t, const vi acc[PV]) {
  const float *x_scales = c->x_scales + t * c->groups;
  float *sums = c->sums + t * TERN__CPU_PANEL, *to = c->last_group && c->y ? c->y + t * c->ldy : sums;
  vf x_scale = vf_set1(*x_scales), x_sum = vf_set1(0);
  if (c->last_group && c->mins) x_sum = vf_set1(row_sum(c->x_sums + t * c->groups, c->groups));
  UNROLL for (int v = 0; v < PV; v++) {
    vf a = vi_to_vf(acc[v]) * x_scale;
    if (!c->first_group) a = a + vf_load(sums + v * VF);
    if (c->last_group) {
      a = a * vf_load(c->scales + v * VF);
      if (c->mins) a = vf_fma(vf_load(c->mins + v * VF), x_sum, a);
      if (c->bias) a = a + vf_load(c->bias + v * VF);
    }
    vf_store(to + v * VF, a);
  }
}

/* acc += the products of all expanded blocks with n_rows rows. */
INLINE void dot_blocks(int n_rows, const channel_piece *c, const int16_t *const *rows, vi *acc) {
#ifdef SMALL_LOOPS
  /* Pairs of k follow one another through the blocks. Engines that compile WebAssembly spill in longer loops. */
  const uint8_t *w = c->w, *end = w + c->n_blocks * EXPANDED_BLOCK;
  const int16_t *q = rows[0];
  for (; w < end; w += LINE, q += 2) {
    vi weight[PV];
    UNROLL for (int v = 0; v < PV; v++) weight[v] = vi_load(w + v * VF * 4);
    UNROLL for (int r = 0; r < n_rows; r++) {
      vi value = vi_broadcast(q + (size_t)r * c->k);
      UNROLL for (int v = 0; v < PV; v++) acc[r * PV + v] = vi_madd(acc[r * PV + v], weight[v], value);
    }
  }
#else
  for (size_t b = 0; b < c->n_blocks; b++)
    dot_lines(n_rows, PV, c->w + b * EXPANDED_BLOCK, 0, 0, 8, rows, b * TERN__CPU_BLOCK, acc);
#endif
}

INLINE void tile_channel(int n_rows, const channel_piece *c, size_t t) {
  vi acc[TILE_INT * PV];
  const int16_t *rows[TILE_INT];
  int32_t *integers = c->integers + t * TERN__CPU_PANEL;
  UNROLL for (int r = 0; r < n_rows; r++) {
    rows[r] = c->q + (t + (size_t)r) * c->k;
    UNROLL for (int v = 0; v < PV; v++)
        acc[r * PV + v] = c->first ? vi_set1(0) : vi_load(integers + r * TERN__CPU_PANEL + v * VF);
  }
  dot_blocks(n_rows, c, rows, acc);
  if (c->last) {
    UNROLL for (int r = 0; r < n_rows; r++) finish_channel(c, t + (size_t)r, acc + r * PV);
    return;
  }
  UNROLL for (int r = 0; r < n_rows; r++)
    UNROLL for (int v = 0; v < PV; v++) vi_store(integers + r * TERN__CPU_PANEL + v * VF, acc[r * PV + v]);
}

/* Tiles of even heights rather than one of all registers and single rows: a low tile waits for its sums. */
static void rows_channel(const channel_piece *c, size_t m) {
  size_t t = 0;
#if TILE_INT >= 12
  for (; m - t == 12 || m - t >= 20; t += 12) tile_channel(12, c, t);
  for (; t + 8 <= m; t += 8) tile_channel(8, c, t);
#endif
#if TILE_INT >= 4
  for (; t + 4 <= m; t += 4) tile_channel(4, c, t);
#endif
  for (; t + 2 <= m; t += 2) tile_channel(2, c, t);
  if (t < m) tile_channel(1, c, t);
}

static void copy_columns(const float *from, float *y, size_t ldy, size_t m, size_t columns) {
  for (size_t t = 0; t < m; t++) memcpy(y + t * ldy, from + t * TERN__CPU_PANEL, columns * sizeof *y);
}

/* The columns' scales, mins and bias in whole vectors; a last panel may have fewer columns than that. */
typedef struct channel_columns {
  float scales[TERN__CPU_PANEL], mins[TERN__CPU_PANEL], bias[TERN__CPU_PANEL];
} channel_columns;

static void read_columns(const tern__cpu_channel_call *c, size_t panel, size_t columns, channel_columns *out) {
  const uint8_t *scales = c->panels + panel * c->panel_bytes + tern__cpu_padded(c->k) * TERN__CPU_PANEL;
  memcpy(out->scales, scales, sizeof out->scales);
  if (c->has_min) memcpy(out->mins, scales + sizeof out->scales, sizeof out->mins);
  if (!c->bias) return;
  memset(out->bias, 0, sizeof out->bias);
  memcpy(out->bias, c->bias + panel * TERN__CPU_PANEL, columns * sizeof *out->bias);
}

/* One row: weights are widened in registers as they stream by. */
static void channel_one(const tern__cpu_channel_call *c) {
  size_t blocks = tern__cpu_padded(c->k) / TERN__CPU_BLOCK, per_group = c->group / TERN__CPU_BLOCK;
  for (size_t p = 0; p < c->n_panels; p++) {
    size_t columns = columns_of(c->n, p);
    channel_columns of;
    float sums[TERN__CPU_PANEL];
    read_columns(c, p, columns, &of);
    channel_piece piece = {.x_sums = c->sums, .groups = c->groups, .scales = of.scales, .sums = sums,
                           .mins = c->has_min ? of.mins : NULL, .bias = c->bias ? of.bias : NULL};
    for (size_t g = 0; g < c->groups; g++) {
      vi acc[PV];
      UNROLL for (int v = 0; v < PV; v++) acc[v] = vi_set1(0);
      for (size_t b = g * per_group; b < blocks && b < (g + 1) * per_group; b++)
        dot_packed(TERN__CPU_WEIGHT_Q8, c->panels + p * c->panel_bytes + b * 8 * LINE, 0, 8,
                   c->q + b * TERN__CPU_BLOCK, acc);
      piece.first_group = g == 0, piece.last_group = g + 1 == c->groups, piece.x_scales = c->scales + g;
      finish_channel(&piece, 0, acc);
    }
    memcpy(c->y + p * TERN__CPU_PANEL, sums, columns * sizeof *sums);
  }
}

static void channel_many(const tern__cpu_channel_call *c) {
  uint8_t *expanded = c->scratch;
  int32_t *integers = (int32_t *)(void *)(expanded + INT_CHUNK_BLOCKS * EXPANDED_BLOCK);
  float *sums = (float *)(void *)(integers + TERN__CPU_ROW_BLOCK * TERN__CPU_PANEL);
  size_t k = tern__cpu_padded(c->k), blocks = k / TERN__CPU_BLOCK, per_group = c->group / TERN__CPU_BLOCK;
  for (size_t p = 0; p < c->n_panels; p++) {
    size_t columns = columns_of(c->n, p);
    const uint8_t *panel = c->panels + p * c->panel_bytes;
    channel_columns of;
    read_columns(c, p, columns, &of);
    channel_piece piece = {.w = expanded, .k = k, .x_sums = c->sums, .groups = c->groups, .scales = of.scales,
                           .mins = c->has_min ? of.mins : NULL, .bias = c->bias ? of.bias : NULL, .integers = integers,
                           .sums = sums, .ldy = c->ldy};
    if (columns == TERN__CPU_PANEL) piece.y = c->y + p * TERN__CPU_PANEL;
    for (size_t g = 0; g < c->groups; g++) {
      size_t from = g * per_group, all = blocks - from < per_group ? blocks - from : per_group;
      size_t pieces = (all + INT_CHUNK_BLOCKS - 1) / INT_CHUNK_BLOCKS, size = (all + pieces - 1) / pieces;
      piece.first_group = g == 0, piece.last_group = g + 1 == c->groups, piece.x_scales = c->scales + g;
      for (size_t at = 0; at < all; at += size) {
        piece.n_blocks = all - at < size ? all - at : size;
        piece.first = at == 0, piece.last = at + size >= all;
        piece.q = c->q + (from + at) * TERN__CPU_BLOCK;
        for (size_t b = 0; b < piece.n_blocks; b++)
          expand_block(TERN__CPU_WEIGHT_Q8, panel + (from + at + b) * 8 * LINE, expanded + b * EXPANDED_BLOCK);
        rows_channel(&piece, c->m);
      }
    }
    if (!piece.y) copy_columns(sums, c->y + p * TERN__CPU_PANEL, c->ldy, c->m, columns);
  }
}

/* CONSISTENT: weights as float32, X as it is. */
static void channel_f32(const tern__cpu_channel_call *c) {
  float *expanded = (float *)(void *)c->scratch, *tile = expanded + F32_CHUNK * TERN__CPU_PANEL;
  for (size_t p = 0; p < c->n_panels; p++) {
    size_t columns = columns_of(c->n, p);
    const uint8_t *panel = c->panels + p * c->panel_bytes;
    channel_columns of;
    read_columns(c, p, columns, &of);
    for (size_t k0 = 0; k0 < c->k; k0 += F32_CHUNK) {
      size_t k = c->k - k0 < F32_CHUNK ? c->k - k0 : F32_CHUNK;
      for (size_t i = 0; i < k; i++) {
        const uint8_t *block = panel + (k0 + i) / TERN__CPU_BLOCK * 8 * LINE;
        int at = (int)((k0 + i) % TERN__CPU_BLOCK);
        UNROLL for (int v = 0; v < PV; v++) {
          vf w = vi_to_vf(block_integer(TERN__CPU_WEIGHT_Q8, block, at, v)) * vf_load(of.scales + v * VF);
          vf_store(expanded + i * TERN__CPU_PANEL + v * VF, c->has_min ? w + vf_load(of.mins + v * VF) : w);
        }
      }
      rows_f32(expanded, c->x + k0, c->ldx, c->m, k, &(sums_f32){.tile = tile, .first = k0 == 0});
    }
    store_tile(tile, c->y + p * TERN__CPU_PANEL, c->ldy, c->m, columns, c->bias ? c->bias + p * TERN__CPU_PANEL : NULL);
  }
}

static void channel(const tern__cpu_channel_call *c) {
  if (c->x) channel_f32(c);
  else if (c->m > 1) channel_many(c);
  else channel_one(c);
}
