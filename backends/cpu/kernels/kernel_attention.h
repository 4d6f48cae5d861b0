/* Attention of a few queries over a range of keys, in one pass with an online softmax. Keys are read in
 * blocks; four queries share each key and value that is loaded (grouped-query heads, or neighbouring
 * positions). */

enum { QUERIES = 4, KEYS = 64 };

INLINE vf load_kv(bool f16, const void *p, size_t i) {
  return f16 ? vf_load_f16((const char *)p + 2 * i) : vf_load((const char *)p + 4 * i);
}
INLINE float load_kv_one(bool f16, const void *p, size_t i) {
  return f16 ? tern__f16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}
INLINE const void *kv_row(const tern__cpu_attention_call *c, const void *base, size_t j, bool f16) {
  return (const char *)base + j * c->kv_stride * (f16 ? 2 : 4);
}

INLINE void dot_keys(int n, bool f16, const tern__cpu_attention_call *c, const float *q, size_t j0, size_t j1,
                     float scores[QUERIES][KEYS]) {
  for (size_t j = j0; j < j1; j++) {
    const void *k = kv_row(c, c->k, j, f16);
    vf acc[QUERIES];
    size_t i = 0;
    UNROLL for (int t = 0; t < n; t++) acc[t] = vf_set1(0);
    for (; i + VF <= c->d; i += VF) {
      vf key = load_kv(f16, k, i);
      UNROLL for (int t = 0; t < n; t++)
          acc[t] = vf_fma(key, vf_load(q + (size_t)t * c->q_stride + i), acc[t]);
    }
    UNROLL for (int t = 0; t < n; t++) {
      float sum = vf_sum(acc[t]);
      for (size_t r = i; r < c->d; r++) sum += load_kv_one(f16, k, r) * q[(size_t)t * c->q_stride + r];
      scores[t][j - j0] = sum;
    }
  }
}

/* out = out * rescale + p * V over a block of keys, two vectors of a row at a time. */
INLINE void add_values(int n, bool f16, const tern__cpu_attention_call *c, size_t j0, size_t j1,
                       float scores[QUERIES][KEYS], const float *rescale, float *out) {
  size_t i = 0;
  for (; i + 2 * VF <= c->d; i += 2 * VF) {
    vf acc[QUERIES][2];
    UNROLL for (int t = 0; t < n; t++)
      UNROLL for (int h = 0; h < 2; h++)
        acc[t][h] = vf_load(out + (size_t)t * c->out_stride + i + (size_t)(h * VF)) * rescale[t];
    for (size_t j = j0; j < j1; j++) {
      const void *v = kv_row(c, c->v, j, f16);
      vf v0 = load_kv(f16, v, i), v1 = load_kv(f16, v, i + VF);
      UNROLL for (int t = 0; t < n; t++) {
        vf p = vf_set1(scores[t][j - j0]);
        acc[t][0] = vf_fma(p, v0, acc[t][0]), acc[t][1] = vf_fma(p, v1, acc[t][1]);
      }
    }
    UNROLL for (int t = 0; t < n; t++) UNROLL for (int h = 0; h < 2; h++)
        vf_store(out + (size_t)t * c->out_stride + i + (size_t)(h * VF), acc[t][h]);
  }
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
#define ATTEND(n)                                                                                        \
  static void attend_f16_##n(const tern__cpu_attention_call *c, size_t i) { attend(n, true, c, i); }    \
  static void attend_f32_##n(const tern__cpu_attention_call *c, size_t i) { attend(n, false, c, i); }
ATTEND(1)
ATTEND(2)
ATTEND(3)
ATTEND(4)
#undef ATTEND

static void attention(const tern__cpu_attention_call *c) {
  static void (*const attends[2][QUERIES])(const tern__cpu_attention_call *, size_t) = {
      {attend_f32_1, attend_f32_2, attend_f32_3, attend_f32_4},
      {attend_f16_1, attend_f16_2, attend_f16_3, attend_f16_4}};
  for (size_t i = 0, n; i < c->n_queries; i += n) {
    n = c->n_queries - i < QUERIES ? c->n_queries - i : QUERIES;
    attends[c->f16][n - 1](c, i);
  }
}
