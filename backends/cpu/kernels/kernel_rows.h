/* Norms, softmax and extremes of one row. */
#include <math.h>

INLINE float sum_row(const float *x, size_t n, float shift, bool squares) {
  vf part[4] = {vf_set1(0), vf_set1(0), vf_set1(0), vf_set1(0)};
  size_t i = 0;
  for (; i + 4 * VF <= n; i += 4 * VF)
    UNROLL for (int j = 0; j < 4; j++) {
      vf a = vf_load(x + i + (size_t)(j * VF)) - vf_set1(shift);
      part[j] = squares ? vf_fma(a, a, part[j]) : part[j] + a;
    }
  float sum = vf_sum((part[0] + part[2]) + (part[1] + part[3]));
  for (; i < n; i++) sum += squares ? (x[i] - shift) * (x[i] - shift) : x[i] - shift;
  return sum;
}

static void rms_norm(const float *x, const float *weight, float *y, size_t n, float epsilon) {
  float scale = 1.0f / sqrtf(sum_row(x, n, 0, true) / (float)n + epsilon);
  if (weight)
    for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
  else
    for (size_t i = 0; i < n; i++) y[i] = x[i] * scale;
}

static void layer_norm(const float *x, const float *weight, const float *bias, float *y, size_t n,
                       float epsilon, float *mean, float *inverse_deviation) {
  float m = sum_row(x, n, 0, false) / (float)n;
  float scale = 1.0f / sqrtf(sum_row(x, n, m, true) / (float)n + epsilon);
  if (mean) *mean = m;
  if (inverse_deviation) *inverse_deviation = scale;
  if (weight && bias)
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - m) * scale * weight[i] + bias[i];
  else
    for (size_t i = 0; i < n; i++)
      y[i] = (x[i] - m) * scale * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
}

static void range(const float *x, size_t n, float *low, float *high) {
  float a = x[0], b = x[0];
  size_t i = 0;
  if (n >= VF) {
    vf lowest = vf_load(x), highest = lowest;
    for (; i + VF <= n; i += VF)
      lowest = vf_min(lowest, vf_load(x + i)), highest = vf_max(highest, vf_load(x + i));
    a = -vf_largest(-lowest), b = vf_largest(highest);
  }
  for (; i < n; i++) a = x[i] < a ? x[i] : a, b = x[i] > b ? x[i] : b;
  *low = a, *high = b;
}

/* e^x for x <= 0; 0 below -87. Cephes' polynomial, relative error 2e-7. */
INLINE vf exp_negative(vf x) {
  vf clamped = vf_max(x, vf_set1(-87.0f));
  vi n = vf_round(clamped * 1.44269504088896341f);
  vf nf = vi_to_vf(n), r = vf_fma(nf, vf_set1(-0.693359375f), clamped);
  r = vf_fma(nf, vf_set1(2.12194440e-4f), r);
  vf p = vf_set1(1.9875691500e-4f);
  p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
  p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
  p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
  p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
  p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
  p = vf_fma(p, r * r, r) + 1.0f;
  return vf_select(x < -87.0f, vf_set1(0), (vf)((vi)p + (n << 23)));
}

static void softmax(const float *x, float *y, size_t n) {
  float low, m, sum = 0;
  range(x, n, &low, &m);
  if (m == -INFINITY) m = 0; /* all masked: NaN as the formula gives */
  size_t i = 0;
  vf total = vf_set1(0);
  for (; i + VF <= n; i += VF) {
    vf e = exp_negative(vf_load(x + i) - m);
    vf_store(y + i, e);
    total = total + e;
  }
  if (i < n) {
    float tail[VF];
    for (size_t j = 0; j < VF; j++) tail[j] = i + j < n ? x[i + j] - m : -1000.0f;
    vf e = exp_negative(vf_load(tail));
    vf_store(tail, e);
    total = total + e;
    memcpy(y + i, tail, (n - i) * sizeof *y);
  }
  sum = vf_sum(total);
  float inverse = 1.0f / sum;
  for (i = 0; i < n; i++) y[i] *= inverse;
}
