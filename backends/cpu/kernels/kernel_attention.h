/* Attention over a range of keys, in one pass with an online softmax; keys are read in blocks. First for a few
 * queries: four of them share each key and value that is loaded (the heads of a group). */

enum {
  QUERIES = 4,
  ASK_LINES = 1, /* of the next product's weights, with each key and each value */
  KEYS = TERN__CPU_ATTENTION_KEYS,
#if VF == 16 /* 32 registers: vectors of columns of QUERIES that they hold */
  COLUMNS_AT_ONCE = 4
#else
  COLUMNS_AT_ONCE = 2
#endif
};

/* Fewer queries are rare, and code for them costs as many bytes. How many columns go together changes no sum. */
#define COLUMNS_OF(n, fewest) ((n) == QUERIES ? COLUMNS_AT_ONCE : (fewest))

INLINE vf load_kv(bool f16, const void *p, size_t i) {
  return f16 ? vf_load_f16((const char *)p + 2 * i) : vf_load((const char *)p + 4 * i);
}
INLINE float load_kv_one(bool f16, const void *p, size_t i) {
  return f16 ? tern__f16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}
INLINE const void *kv_row(const tern__cpu_attention_call *c, const void *base, size_t j, bool f16) {
  return (const char *)base + j * c->kv_stride * (f16 ? 2 : 4);
}

/* Few queries read the cache as fast as memory gives it: each pass over a block asks for what the next one reads, the
 * scores for the values, the values for the keys of the next block, or of the next call's first. */
INLINE void ask_for(bool f16, const tern__cpu_attention_call *c, const void *base, size_t j) {
  size_t bytes = c->d * (f16 ? 2 : 4);
  const char *row = kv_row(c, base, j, f16);
  for (size_t i = 0; PREFETCH_FAR && i < bytes; i += 64) __builtin_prefetch(row + i, 0, 3);
}

/* Adds columns [i, i + n_vecs VF) of a vector of keys to the sums in `part`. Queries stay in registers. */
INLINE void dot_columns(int n, int n_vecs, bool f16, const tern__cpu_attention_call *c, const float *q, size_t j,
                        size_t keys, size_t i, vf part[QUERIES][VF]) {
  vf query[QUERIES][COLUMNS_AT_ONCE];
  UNROLL for (int t = 0; t < n; t++)
    UNROLL for (int v = 0; v < n_vecs; v++) query[t][v] = vf_load(q + (size_t)t * c->q_stride + i + (size_t)(v * VF));
  for (size_t s = 0; s < keys; s++) {
    const void *k = kv_row(c, c->k, j + s, f16);
    vf acc[QUERIES];
    if (i == 0) ask_for(f16, c, c->v, j + s);
    if (PREFETCH_FAR && i == 0 && c->asking) tern__cpu_ask(c->asking, ASK_LINES);
    UNROLL for (int t = 0; t < n; t++) acc[t] = part[t][s];
    UNROLL for (int v = 0; v < n_vecs; v++) {
      vf key = load_kv(f16, k, i + (size_t)(v * VF));
      UNROLL for (int t = 0; t < n; t++) acc[t] = vf_fma(key, query[t][v], acc[t]);
    }
    UNROLL for (int t = 0; t < n; t++) part[t][s] = acc[t];
  }
}

/* A vector of keys at a time, so that sums across lanes are taken together. */
INLINE void dot_keys(int n, bool f16, const tern__cpu_attention_call *c, const float *q, size_t j0, size_t j1,
                     float scores[QUERIES][KEYS]) {
  const int at_once = COLUMNS_OF(n, 1);
  const size_t step = (size_t)(at_once * VF);
  for (size_t j = j0; j < j1; j += VF) {
    vf part[QUERIES][VF];
    size_t keys = j1 - j < VF ? j1 - j : VF, whole = c->d / VF * VF, i = 0;
    for (size_t s = 0; s < VF; s++) UNROLL for (int t = 0; t < n; t++) part[t][s] = vf_set1(0);
    for (; i + step <= whole; i += step) dot_columns(n, at_once, f16, c, q, j, keys, i, part);
    for (; at_once > 1 && i < whole; i += VF) dot_columns(n, 1, f16, c, q, j, keys, i, part);
    UNROLL for (int t = 0; t < n; t++) vf_store(&scores[t][j - j0], vf_sums(part[t]));
    for (size_t s = 0; whole < c->d && s < keys; s++)
      for (int t = 0; t < n; t++)
        for (size_t e = whole; e < c->d; e++)
          scores[t][j - j0 + s] +=
              load_kv_one(f16, kv_row(c, c->k, j + s, f16), e) * q[(size_t)t * c->q_stride + e];
  }
}

/* out = out * rescale + p * V over a block of keys in columns [i, i + n_vecs VF). */
INLINE void add_columns(int n, int n_vecs, bool f16, const tern__cpu_attention_call *c, size_t j0, size_t j1, size_t i,
                        float scores[QUERIES][KEYS], const float *rescale, float *out) {
  vf acc[QUERIES][COLUMNS_AT_ONCE];
  UNROLL for (int t = 0; t < n; t++)
    UNROLL for (int h = 0; h < n_vecs; h++)
      acc[t][h] = vf_load(out + (size_t)t * c->out_stride + i + (size_t)(h * VF)) * rescale[t];
  for (size_t j = j0; j < j1; j++) {
    const void *row = kv_row(c, c->v, j, f16);
    vf value[COLUMNS_AT_ONCE];
    if (i == 0 && j + KEYS < c->end) ask_for(f16, c, c->k, j + KEYS);
    else if (i == 0 && c->next_k) ask_for(f16, c, c->next_k, j - j0);
    if (PREFETCH_FAR && i == 0 && c->asking) tern__cpu_ask(c->asking, ASK_LINES);
    UNROLL for (int h = 0; h < n_vecs; h++) value[h] = load_kv(f16, row, i + (size_t)(h * VF));
    UNROLL for (int t = 0; t < n; t++) {
      vf p = vf_set1(scores[t][j - j0]);
      UNROLL for (int h = 0; h < n_vecs; h++) acc[t][h] = vf_fma(p, value[h], acc[t][h]);
    }
  }
  UNROLL for (int t = 0; t < n; t++) UNROLL for (int h = 0; h < n_vecs; h++)
      vf_store(out + (size_t)t * c->out_stride + i + (size_t)(h * VF), acc[t][h]);
}

INLINE void add_values(int n, bool f16, const tern__cpu_attention_call *c, size_t j0, size_t j1,
                       float scores[QUERIES][KEYS], const float *rescale, float *out) {
  size_t i = 0;
  const int at_once = COLUMNS_OF(n, 2);
  for (; i + (size_t)(at_once * VF) <= c->d; i += (size_t)(at_once * VF))
    add_columns(n, at_once, f16, c, j0, j1, i, scores, rescale, out);
  for (; at_once > 2 && i + 2 * VF <= c->d; i += 2 * VF)
    add_columns(n, 2, f16, c, j0, j1, i, scores, rescale, out);
  for (; i < c->d; i++)
    for (int t = 0; t < n; t++) {
      float sum = out[(size_t)t * c->out_stride + i] * rescale[t];
      for (size_t j = j0; j < j1; j++)
        sum += scores[t][j - j0] * load_kv_one(f16, kv_row(c, c->v, j, f16), i);
      out[(size_t)t * c->out_stride + i] = sum;
    }
}

/* Softcap, mask and visibility of one query's block of scores; fills up to whole vectors. Returns the
 * largest. */
static float finish_scores(const tern__cpu_attention_call *c, size_t query, size_t j0, size_t j1,
                           float *scores) {
  size_t n = j1 - j0;
  if (c->softcap > 0)
    for (size_t j = 0; j < n; j++) scores[j] = c->softcap * tern__math_tanh(scores[j] / c->softcap);
  if (c->mask)
    for (size_t j = 0; j < n; j++) scores[j] += c->mask[query * c->mask_stride + (j0 + j) * c->mask_step];
  if (c->first) {
    int32_t first = c->first[query], last = c->last[query];
    if ((int64_t)j0 < first || (int64_t)j1 > last)
      for (size_t j = 0; j < n; j++)
        if ((int64_t)(j0 + j) < first || (int64_t)(j0 + j) >= last) scores[j] = -INFINITY;
  }
  for (size_t j = n; j < KEYS; j++) scores[j] = -INFINITY;
  vf m = vf_load(scores);
  for (int j = VF; j < KEYS; j += VF) m = vf_max(m, vf_load(scores + j));
  return vf_largest(m);
}

INLINE void attend(int n, bool f16, const tern__cpu_attention_call *c, size_t query) {
  float scores[QUERIES][KEYS], rescale[QUERIES], maximum[QUERIES], sum[QUERIES];
  const float *q = c->q + query * c->q_stride;
  float *out = c->out + query * c->out_stride;
  for (int t = 0; t < n; t++) {
    maximum[t] = -INFINITY, sum[t] = 0;
    memset(out + (size_t)t * c->out_stride, 0, c->d * sizeof *out);
  }
  for (size_t j0 = c->begin; j0 < c->end; j0 += KEYS) {
    size_t j1 = j0 + KEYS < c->end ? j0 + KEYS : c->end;
    bool any = false;
    for (int t = 0; t < n; t++)
      any |= !c->first ||
             ((int64_t)j1 > c->first[query + (size_t)t] && (int64_t)j0 < c->last[query + (size_t)t]);
    if (!any) continue;
    dot_keys(n, f16, c, q, j0, j1, scores);
    for (int t = 0; t < n; t++) {
      float m = finish_scores(c, query + (size_t)t, j0, j1, scores[t]);
      m = m > maximum[t] ? m : maximum[t];
      /* Nothing visible yet: any finite maximum makes every p zero. */
      float base = m == -INFINITY ? 0 : m;
      vf total = vf_set1(0), change = exp_negative(vf_set1(maximum[t] - base));
      for (int j = 0; j < KEYS; j += VF) {
        vf p = exp_negative(vf_load(scores[t] + j) - base);
        vf_store(scores[t] + j, p);
        total = total + p;
      }
      rescale[t] = change[0];
      sum[t] = sum[t] * rescale[t] + vf_sum(total);
      maximum[t] = m;
    }
    add_values(n, f16, c, j0, j1, scores, rescale, out);
  }
  for (int t = 0; t < n; t++) c->maximum[query + (size_t)t] = maximum[t], c->sum[query + (size_t)t] = sum[t];
}

/* Where a query stands among others must not change its result: one and four queries do the same sums in the
 * same order. */
#define ATTEND(n) \
  static void attend_f16_##n(const tern__cpu_attention_call *c, size_t i) { attend(n, true, c, i); }
ATTEND(1)
ATTEND(2)
ATTEND(3)
ATTEND(4)
#undef ATTEND
/* Keys in f32 are an encoder's: here only with heads that are no whole vectors. */
static void attend_f32_1(const tern__cpu_attention_call *c, size_t i) { attend(1, false, c, i); }
static void attend_f32_4(const tern__cpu_attention_call *c, size_t i) { attend(4, false, c, i); }

/* ---- many queries ---- */

/* A group of up to 32 queries against blocks of 64 keys. A lane is a query: scores are kept as [key][query], so that
 * nothing is summed across lanes. K and V are widened to f32 in slabs of 64 columns, which stay in the L1 cache while
 * all queries pass over them. */
enum {
  GROUP = TERN__CPU_ATTENTION_GROUP,
  SLAB = TERN__CPU_ATTENTION_SLAB,
#if VF == 16
  KEY_ROWS = 8, COLUMN_VECS = 4,
#elif VF == 8
  KEY_ROWS = 6, COLUMN_VECS = 2,
#elif TILE_F32 >= 6
  KEY_ROWS = 8, COLUMN_VECS = 4,
#else
  KEY_ROWS = 4, COLUMN_VECS = 2,
#endif
  QUERY_VECS = 2,
  QUERY_ROWS = KEY_ROWS > 6 ? 6 : KEY_ROWS
};

/* y = X B, or y + X B, or y * factors + X B over a tile of rows and vectors of columns; X(r, i) is
 * x[r * row_step + i * step]. */
typedef struct tile_call {
  const float *x;
  size_t row_step, step, k;
  const float *b;
  size_t ldb;
  float *y;
  size_t ldy;
  bool fresh;
  const float *factors; /* per row; NULL: ones */
} tile_call;

INLINE void attention_tile(int n_rows, int n_vecs, bool rows_adjoin, const tile_call *c, size_t row, size_t column) {
  vf acc[8][4];
  const float *x = c->x + row * (rows_adjoin ? 1 : c->row_step), *b = c->b + column;
  float *y = c->y + row * c->ldy + column;
  UNROLL for (int r = 0; r < n_rows; r++) UNROLL for (int v = 0; v < n_vecs; v++) {
    const float *at = y + (size_t)r * c->ldy + (size_t)(v * VF);
    acc[r][v] = c->fresh ? vf_set1(0) : c->factors ? vf_load(at) * c->factors[row + (size_t)r] : vf_load(at);
  }
  for (size_t i = 0; i < c->k; i++, b += c->ldb, x += rows_adjoin ? c->step : 1) {
    vf columns[4];
    UNROLL for (int v = 0; v < n_vecs; v++) columns[v] = vf_load(b + v * VF);
    UNROLL for (int r = 0; r < n_rows; r++) {
      vf value = vf_set1(x[(size_t)r * (rows_adjoin ? 1 : c->row_step)]);
      UNROLL for (int v = 0; v < n_vecs; v++) acc[r][v] = vf_fma(columns[v], value, acc[r][v]);
    }
  }
  UNROLL for (int r = 0; r < n_rows; r++)
    UNROLL for (int v = 0; v < n_vecs; v++) vf_store(y + (size_t)r * c->ldy + (size_t)(v * VF), acc[r][v]);
}

INLINE void attention_tiles(int most_rows, int most_vecs, bool rows_adjoin, const tile_call *c, size_t rows,
                            size_t vecs) {
  for (size_t v = 0; v < vecs;) {
    bool wide = v + (size_t)most_vecs <= vecs;
    size_t r = 0, column = v * VF;
    for (; r + (size_t)most_rows <= rows; r += (size_t)most_rows)
      if (wide) attention_tile(most_rows, most_vecs, rows_adjoin, c, r, column);
      else attention_tile(most_rows, 1, rows_adjoin, c, r, column);
    for (; r + 2 <= rows; r += 2)
      if (wide) attention_tile(2, most_vecs, rows_adjoin, c, r, column);
      else attention_tile(2, 1, rows_adjoin, c, r, column);
    for (; r < rows; r++)
      if (wide) attention_tile(1, most_vecs, rows_adjoin, c, r, column);
      else attention_tile(1, 1, rows_adjoin, c, r, column);
    v += wide ? (size_t)most_vecs : 1;
  }
}

/* scores [keys][GROUP] from K [keys][k] and queries [k][GROUP] */
static void score_tiles(const tile_call *c, size_t keys, size_t vecs) {
  attention_tiles(KEY_ROWS, QUERY_VECS, false, c, keys, vecs);
}
/* out [queries][...] from weights [keys][GROUP] and V [keys][...] */
static void value_tiles(const tile_call *c, size_t queries, size_t vecs) {
  attention_tiles(QUERY_ROWS, COLUMN_VECS, true, c, queries, vecs);
}

/* Columns [from, from + n) of rows j0 on as f32; rows that are f32 already are used where they lie. */
static const float *widened(const tern__cpu_attention_call *c, const void *base, size_t j0, size_t rows,
                            size_t from, size_t n, float *slab, size_t *stride) {
  *stride = c->f16 ? SLAB : c->kv_stride;
  if (!c->f16) return (const float *)base + j0 * c->kv_stride + from;
  for (size_t j = 0; j < rows; j++) {
    const char *row = (const char *)base + 2 * ((j0 + j) * c->kv_stride + from);
    for (size_t i = 0; i < n; i += VF) vf_store(slab + j * SLAB + i, vf_load_f16(row + 2 * i));
  }
  return slab;
}

typedef struct group_state {
  float *queries, *scores, *slab;         /* [d][GROUP], [KEYS][GROUP], [KEYS][SLAB] */
  float maximum[GROUP], sum[GROUP], rescale[GROUP];
  int32_t first[GROUP], last[GROUP];
  size_t n, vecs;                         /* queries; vectors of them */
  size_t query;                           /* the first one */
} group_state;

static void load_queries(const tern__cpu_attention_call *c, group_state *g) {
  for (size_t i = 0; i < g->vecs * VF; i++) {
    bool real = i < g->n;
    const float *q = c->q + (g->query + i) * c->q_stride;
    for (size_t e = 0; e < c->d; e++) g->queries[e * GROUP + i] = real ? q[e] : 0;
    g->first[i] = real && c->first ? c->first[g->query + i] : 0;
    g->last[i] = real && c->last ? c->last[g->query + i] : INT32_MAX;
    g->maximum[i] = -INFINITY, g->sum[i] = 0;
  }
}

/* Softcap, mask and visibility of a block's scores. */
static void adjust_scores(const tern__cpu_attention_call *c, const group_state *g, size_t j0, size_t keys) {
  size_t lanes = g->vecs * VF;
  bool hidden = false;
  for (size_t i = 0; i < g->n; i++)
    hidden |= (int64_t)j0 < g->first[i] || (int64_t)(j0 + keys) > g->last[i];
  for (size_t j = 0; j < keys; j++) {
    float *row = g->scores + j * GROUP;
    if (c->softcap > 0)
      for (size_t i = 0; i < lanes; i++) row[i] = c->softcap * tern__math_tanh(row[i] / c->softcap);
    if (c->mask) {
      const float *mask = c->mask + g->query * c->mask_stride + (j0 + j) * c->mask_step;
      for (size_t i = 0; i < g->n; i++) row[i] += mask[i * c->mask_stride];
    }
    if (hidden)
      for (size_t i = 0; i < lanes; i += VF) {
        vi key = vi_set1((int32_t)(j0 + j));
        vi seen = (vi)(key >= vi_load(g->first + i)) & (vi)(key < vi_load(g->last + i));
        vf_store(row + i, vf_select(seen, vf_load(row + i), vf_set1(-INFINITY)));
      }
  }
}

/* Scores to weights; rescale is what sums so far are to be multiplied by. */
static void weigh(group_state *g, size_t keys) {
  for (size_t i = 0; i < g->vecs * VF; i += VF) {
    vf before = vf_load(g->maximum + i), top = before, total = vf_set1(0);
    for (size_t j = 0; j < keys; j++) top = vf_max(vf_load(g->scores + j * GROUP + i), top);
    /* Nothing visible yet: any finite maximum makes every weight zero. */
    vf base = vf_select(top == -INFINITY, vf_set1(0), top), change = exp_negative(before - base);
    for (size_t j = 0; j < keys; j++) {
      float *at = g->scores + j * GROUP + i;
      vf p = exp_negative(vf_load(at) - base);
      vf_store(at, p);
      total = total + p;
    }
    vf_store(g->sum + i, vf_load(g->sum + i) * change + total);
    vf_store(g->rescale + i, change);
    vf_store(g->maximum + i, top);
  }
}

static bool sees_any(const group_state *g, size_t j0, size_t j1) {
  for (size_t i = 0; i < g->n; i++)
    if ((int64_t)j1 > g->first[i] && (int64_t)j0 < g->last[i]) return true;
  return false;
}

static void attend_group(const tern__cpu_attention_call *c, size_t query) {
  group_state g = {.queries = c->scratch, .query = query};
  g.scores = g.queries + c->d * GROUP, g.slab = g.scores + KEYS * GROUP;
  g.n = c->n_queries - query < GROUP ? c->n_queries - query : GROUP;
  g.vecs = (g.n + VF - 1) / VF;
  load_queries(c, &g);
  float *out = c->out + query * c->out_stride;
  bool fresh = true;
  for (size_t j0 = c->begin; j0 < c->end; j0 += KEYS) {
    size_t j1 = j0 + KEYS < c->end ? j0 + KEYS : c->end, keys = j1 - j0, stride;
    if (!sees_any(&g, j0, j1)) continue;
    for (size_t e = 0, n; e < c->d; e += n) {
      n = c->d - e < SLAB ? c->d - e : SLAB;
      const float *k = widened(c, c->k, j0, keys, e, n, g.slab, &stride);
      tile_call call = {k, stride, 1, n, g.queries + e * GROUP, GROUP, g.scores, GROUP, e == 0, NULL};
      score_tiles(&call, keys, g.vecs);
    }
    adjust_scores(c, &g, j0, keys);
    weigh(&g, keys);
    for (size_t e = 0, n; e < c->d; e += n) {
      n = c->d - e < SLAB ? c->d - e : SLAB;
      const float *v = widened(c, c->v, j0, keys, e, n, g.slab, &stride);
      tile_call call = {g.scores, 1, GROUP, keys, v, stride, out + e, c->out_stride, fresh, g.rescale};
      value_tiles(&call, g.n, n / VF);
    }
    fresh = false;
  }
  for (size_t i = 0; i < g.n; i++) {
    if (fresh) memset(out + i * c->out_stride, 0, c->d * sizeof *out);
    c->maximum[query + i] = g.maximum[i], c->sum[query + i] = g.sum[i];
  }
}

static void attention(const tern__cpu_attention_call *c) {
  static void (*const attends[QUERIES])(const tern__cpu_attention_call *, size_t) = {attend_f16_1, attend_f16_2,
                                                                                     attend_f16_3, attend_f16_4};
  if (c->scratch && c->d % VF == 0) {
    for (size_t i = 0; i < c->n_queries; i += GROUP) attend_group(c, i);
    return;
  }
  for (size_t i = 0, n; i < c->n_queries; i += n) {
    n = c->n_queries - i < QUERIES ? c->n_queries - i : QUERIES;
    if (!c->f16 && n < QUERIES) n = 1;
    if (c->f16) attends[n - 1](c, i);
    else (n == 1 ? attend_f32_1 : attend_f32_4)(c, i);
  }
}
