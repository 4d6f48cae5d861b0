/* Elementwise loops over the formulas generated from backends/kernels/math; the compiler vectorises them. */
#include "kernel_math.h"

#define UNARY(name, formula)                                        \
  static void unary_##name(const float *p, float *y, size_t n) {    \
    for (size_t i = 0; i < n; i++) {                                \
      float x = p[i];                                               \
      y[i] = (formula);                                             \
    }                                                               \
  }
UNARY(NEG, -x)
UNARY(ABS, tern__math_abs(x))
UNARY(EXP, tern__math_exp(x))
UNARY(LOG, tern__math_log(x))
UNARY(SQRT, tern__math_sqrt(x))
UNARY(RECIPROCAL, 1.0f / x)
UNARY(FLOOR, tern__math_floor(x))
UNARY(CEIL, tern__math_ceil(x))
UNARY(SIN, tern__math_sin(x))
UNARY(COS, tern__math_cos(x))
UNARY(TANH, tern__math_tanh(x))
UNARY(ERF, tern__math_erf(x))
UNARY(SIGMOID, tern__math_sigmoid(x))
UNARY(SILU, tern__math_silu(x))
UNARY(GELU_ERF, tern__math_gelu_erf(x))
UNARY(GELU_TANH, tern__math_gelu_tanh(x))
UNARY(GELU_SIGMOID, tern__math_gelu_sigmoid(x))
UNARY(RELU, tern__math_relu(x))
UNARY(SOFTPLUS, tern__math_softplus(x))
UNARY(SOFTSIGN, tern__math_softsign(x))
UNARY(MISH, tern__math_mish(x))
UNARY(HARD_SWISH, tern__math_hard_swish(x))
#undef UNARY

/* A side that is one value for all becomes a block of that value, so that one loop serves all. */
enum { SAME = 128 };

INLINE const float *same_value(const float *value, size_t step, size_t n, float block[SAME]) {
  if (step) return value;
  for (size_t i = 0; i < n && i < SAME; i++) block[i] = *value;
  return block;
}

#define BINARY(name, formula)                                                                                \
  INLINE float formula_##name(float a, float b) { return formula; }                                          \
  static void binary_##name(const float *p, size_t p_step, const float *q, size_t q_step, float *y,          \
                            size_t n) {                                                                      \
    float p_same[SAME], q_same[SAME];                                                                        \
    size_t block = p_step && q_step ? n : SAME;                                                              \
    p = same_value(p, p_step, n, p_same), q = same_value(q, q_step, n, q_same);                              \
    for (size_t at = 0; at < n; at += block) {                                                               \
      size_t some = n - at < block ? n - at : block;                                                         \
      for (size_t i = 0; i < some; i++) y[at + i] = formula_##name(p[i], q[i]);                              \
      p += p_step * some, q += q_step * some;                                                                \
    }                                                                                                        \
  }
BINARY(ADD, a + b)
BINARY(SUB, a - b)
BINARY(MUL, a * b)
BINARY(DIV, a / b)
BINARY(MAX, tern__math_is_nan(a) || a > b ? a : b)
BINARY(MIN, tern__math_is_nan(a) || a < b ? a : b)
BINARY(POW, tern__math_pow(a, b))
BINARY(SILU_MUL, tern__math_silu(a) * b)
BINARY(GELU_ERF_MUL, tern__math_gelu_erf(a) * b)
BINARY(GELU_TANH_MUL, tern__math_gelu_tanh(a) * b)
BINARY(ADD_GELU_ERF, tern__math_gelu_erf(a + b))
BINARY(ADD_GELU_TANH, tern__math_gelu_tanh(a + b))
#undef BINARY

static void f16_to_f32(const void *x, float *y, size_t n) {
  const uint16_t *h = x;
  size_t i = 0;
  for (; i + VF <= n; i += VF) vf_store(y + i, vf_load_f16((const char *)x + 2 * i));
  for (; i < n; i++) y[i] = tern__f16_to_f32(h[i]);
}

static void f32_to_f16(const float *x, void *y, size_t n) {
  uint16_t *h = y;
  size_t i = 0;
  for (; i + VF <= n; i += VF) vf_store_f16((char *)y + 2 * i, vf_load(x + i));
  for (; i < n; i++) h[i] = tern__f32_to_f16(x[i]);
}
