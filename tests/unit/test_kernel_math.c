// The formulas of backends/kernels/math, as C, against libm in double precision.
//
// A case states its bound as the WGSL comment does: an error of at most `ulps` units in the last place of the
// exact result, or of at most `absolute`. Inputs: every TERN_KERNEL_MATH_STRIDE-th float by bits (all
// exponents, both signs, denormals, NaN, infinities; set it to 1 for the exhaustive run, which takes
// minutes), and a dense random range.

#include <criterion/criterion.h>
#include <float.h>
#include <stdlib.h>

#include "kernel_math.h"

typedef struct {
  const char *name;
  float (*function)(float);
  double (*oracle)(double);
  double ulps;
  double absolute;
  float largest; // inputs beyond +-largest are outside the function's domain; 0: all are in
} unary_case;

// x sigmoid(x): where the sigmoid is denormal, it has lost digits that the product would show.
#define TINY 1e-37

static float ref_float_infinity(double exact) {
  return exact > 0 ? HUGE_VALF : -HUGE_VALF;
}

/// Error of `got` in ulps of `exact`; 0 for equal infinities and for NaN meeting NaN, huge for any other
/// mismatch.
static double ulp_error(float got, double exact, double absolute) {
  if (isnan(exact) || isnan(got))
    return isnan(exact) && isnan(got) ? 0.0 : 1e30;
  if (isinf(exact))
    return got == ref_float_infinity(exact) ? 0.0 : 1e30;
  double value = isinf(got) ? copysign(ldexp(1.0, 128), got) : (double)got;
  if (isinf((float)exact) && isinf(got))
    return (exact > 0) == (got > 0) ? 0.0 : 1e30;
  double error = fabs(value - exact);
  if (error <= absolute)
    return 0.0;
  int exponent = -126;
  if (exact != 0.0)
    exponent = ilogb(exact) > 127 ? 127 : ilogb(exact) < -126 ? -126 : ilogb(exact);
  return error / ldexp(1.0, exponent - 23);
}

static uint32_t next_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  return *state ^= *state << 5;
}

static float random_between(uint32_t *state, float low, float high) {
  return low + (high - low) * ((float)(next_random(state) >> 8) * 0x1p-24f);
}

static uint64_t stride(void) {
  const char *text = getenv("TERN_KERNEL_MATH_STRIDE");
  unsigned long value = text ? strtoul(text, NULL, 10) : 0;
  return value ? value : 16381; // prime: no low bit pattern repeats
}

/// A call that no compiler can vectorise, or fold.
static float scalar_call(float (*volatile function)(float), float x) {
  return function(x);
}

typedef struct {
  double worst;
  float at;
} worst_error;

static void measure(const unary_case *c, float x, worst_error *worst) {
  if (c->largest > 0 && !(fabsf(x) <= c->largest))
    return;
  double exact = c->oracle((double)x);
  if (isinf(x) && isnan(exact))
    return; // the limit: asserted by the tests of special values
  double error = ulp_error(c->function(x), exact, c->absolute);
  if (error > worst->worst)
    *worst = (worst_error){error, x};
}

static void check(const unary_case *cases, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const unary_case *c = &cases[i];
    worst_error worst = {0};
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride())
      measure(c, tern__math_float_of((uint32_t)bits), &worst);
    uint32_t state = 12345;
    for (int n = 0; n < 200000; n++)
      measure(c, random_between(&state, -16.0f, 16.0f), &worst);
    cr_log_info("%s: %.3f ulp at %a", c->name, worst.worst, (double)worst.at);
    cr_expect(worst.worst <= c->ulps, "%s(%a = %g): %.3f ulp, allowed %.3f", c->name, (double)worst.at,
              (double)worst.at, worst.worst, c->ulps);
  }
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double silu(double x) { return x * sigmoid(x); }
static double gelu_erf(double x) { return 0.5 * x * erfc(-x * 0.70710678118654752440); }
static double gelu_tanh(double x) { return x * sigmoid(1.59576912160573071176 * (x + 0.044715 * x * x * x)); }
static double gelu_sigmoid(double x) { return x * sigmoid(1.702 * x); }
static double softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))) + (x - x); }
static double softsign(double x) { return x / (1.0 + fabs(x)); }
static double mish(double x) { return x * tanh(softplus(x)); }
static double rsqrt(double x) { return 1.0 / sqrt(x); }
static double relu(double x) { return x < 0 ? 0.0 : x; }
static double hard_swish(double x) { return x * fmin(fmax(x / 6.0 + 0.5, 0.0), 1.0) + (x - x); }
static double elu(double x) { return x < 0 ? 1.5 * expm1(x) : x; }
static double selu(double x) { return 1.0507 * (x < 0 ? 1.67326 * expm1(x) : x); }
static double celu(double x) { return x < 0 ? 2.0 * expm1(x / 2.0) : x; }
static double leaky_relu(double x) { return x < 0 ? 0.125 * x : x; }
static double hard_sigmoid(double x) { return x != x ? x : fmin(fmax(0.25 * x + 0.5, 0.0), 1.0); }
static double erfc_positive(double a) { return a > 4.0 ? 0.0 : erfc(a); }

static float math_elu(float x) { return tern__math_elu(x, 1.5f); }
static float math_selu(float x) { return tern__math_selu(x, 1.67326f, 1.0507f); }
static float math_celu(float x) { return tern__math_celu(x, 2.0f); }
static float math_leaky_relu(float x) { return tern__math_leaky_relu(x, 0.125f); }
static float math_hard_sigmoid(float x) { return tern__math_hard_sigmoid(x, 0.25f, 0.5f); }
static float math_erfc_positive(float x) { return tern__math_erfc_positive(tern__math_abs(x)); }
static double erfc_of_abs(double x) { return erfc_positive(fabs(x)); }

Test(kernel_math, exponentials) {
  const unary_case cases[] = {
    {"exp", tern__math_exp, exp, 1.2, 0, 0},
    {"expm1", tern__math_expm1, expm1, 1.8, 0, 0},
    {"log", tern__math_log, log, 1.0, 0, 0},
    {"log1p", tern__math_log1p, log1p, 1.7, 0, 0},
  };
  check(cases, COUNT(cases));
}

Test(kernel_math, sigmoids) {
  const unary_case cases[] = {
    {"tanh", tern__math_tanh, tanh, 3.0, 0, 0},
    {"sigmoid", tern__math_sigmoid, sigmoid, 2.6, 0, 0},
    {"erf", tern__math_erf, erf, 1.2, 0, 0},
    {"erfc_positive", math_erfc_positive, erfc_of_abs, 4.5, 3e-8, FLT_MAX},
  };
  check(cases, COUNT(cases));
}

Test(kernel_math, roots_and_trigonometry) {
  const unary_case cases[] = {
    {"sqrt", tern__math_sqrt, sqrt, 0.5, 0, 0},
    {"rsqrt", tern__math_rsqrt, rsqrt, 1.5, 0, 0},
    {"sin", tern__math_sin, sin, 3.5, 0, 0},
    {"cos", tern__math_cos, cos, 3.5, 0, 0},
  };
  check(cases, COUNT(cases));
}

Test(kernel_math, activations) {
  const unary_case cases[] = {
    {"relu", tern__math_relu, relu, 0, 0, 0},
    {"silu", tern__math_silu, silu, 3.5, TINY, 0},
    {"gelu_erf", tern__math_gelu_erf, gelu_erf, 4.0, 5e-8, 0},
    {"gelu_tanh", tern__math_gelu_tanh, gelu_tanh, 2.6, 5e-8, 0},
    {"gelu_sigmoid", tern__math_gelu_sigmoid, gelu_sigmoid, 2.6, 5e-8, 0},
    {"softplus", tern__math_softplus, softplus, 2.0, 0, 0},
    {"softsign", tern__math_softsign, softsign, 1.5, 0, 0},
    {"mish", tern__math_mish, mish, 4.6, TINY, 0},
    {"hard_swish", tern__math_hard_swish, hard_swish, 0.5, 4e-7, 0},
    {"elu", math_elu, elu, 2.0, 0, 0},
    {"selu", math_selu, selu, 3.5, 0, 0},
    {"celu", math_celu, celu, 2.0, 0, 0},
    {"leaky_relu", math_leaky_relu, leaky_relu, 0.5, 0, 0},
    {"hard_sigmoid", math_hard_sigmoid, hard_sigmoid, 0.5, 0, 0},
  };
  check(cases, COUNT(cases));
}

Test(kernel_math, power) {
  // 18 ulp were seen at the ends of the range (|y log x| near 88), 1.7 for |y log x| < 40.
  uint32_t state = 99;
  for (int n = 0; n < 600000; n++) {
    float x, y;
    double bound = 2.0;
    if (n % 3 == 0) {
      x = random_between(&state, 0.0f, 8.0f), y = random_between(&state, -16.0f, 16.0f);
    } else if (n % 3 == 1) {
      x = random_between(&state, 0.7f, 1.42f), y = random_between(&state, -300.0f, 300.0f), bound = 24.0;
    } else {
      x = tern__math_float_of(next_random(&state)), y = tern__math_float_of(next_random(&state));
      bound = 24.0;
    }
    double error = ulp_error(tern__math_pow(x, y), pow((double)x, (double)y), 0);
    cr_assert(error <= bound, "pow(%a, %a): %.2f ulp, allowed %.2f", (double)x, (double)y, error, bound);
  }
  const float values[] = {
    0.0f,   -0.0f,  1.0f,        -1.0f,       2.0f,       -2.0f,        3.0f,        -3.0f,
    0.5f,   -0.5f,  1e38f,       -1e38f,      1e-40f,     -1e-40f,      1e9f,        0.99999994f,
    1e-20f, -1e-20f, 16777215.0f, 16777216.0f, 8388607.0f, -8388607.0f, 1.0000001f, HUGE_VALF,
    -HUGE_VALF, NAN,
  };
  for (size_t i = 0; i < COUNT(values); i++) {
    for (size_t j = 0; j < COUNT(values); j++) {
      double exact = pow((double)values[i], (double)values[j]);
      float got = tern__math_pow(values[i], values[j]);
      cr_expect(ulp_error(got, exact, 0) <= 24.0 && (isnan(exact) || !signbit(exact) == !signbit(got)),
                "pow(%g, %g) = %g, expected %g", (double)values[i], (double)values[j], (double)got, exact);
    }
  }
}

Test(kernel_math, limits_and_nan) {
  const float inf = HUGE_VALF;
  const struct {
    const char *name;
    float (*function)(float);
    float at_minus_infinity, at_zero, at_infinity;
  } cases[] = {
    {"exp", tern__math_exp, 0, 1, inf},          {"expm1", tern__math_expm1, -1, 0, inf},
    {"log", tern__math_log, NAN, -inf, inf},     {"log1p", tern__math_log1p, NAN, 0, inf},
    {"tanh", tern__math_tanh, -1, 0, 1},         {"sigmoid", tern__math_sigmoid, 0, 0.5f, 1},
    {"erf", tern__math_erf, -1, 0, 1},           {"relu", tern__math_relu, 0, 0, inf},
    {"silu", tern__math_silu, 0, 0, inf},        {"gelu_erf", tern__math_gelu_erf, 0, 0, inf},
    {"gelu_tanh", tern__math_gelu_tanh, 0, 0, inf}, {"gelu_sigmoid", tern__math_gelu_sigmoid, 0, 0, inf},
    {"softplus", tern__math_softplus, 0, 0.693147182f, inf}, {"softsign", tern__math_softsign, -1, 0, 1},
    {"mish", tern__math_mish, 0, 0, inf},        {"hard_swish", tern__math_hard_swish, 0, 0, inf},
    {"elu", math_elu, -1.5f, 0, inf},            {"sqrt", tern__math_sqrt, NAN, 0, inf},
    {"rsqrt", tern__math_rsqrt, NAN, inf, 0},    {"sin", tern__math_sin, NAN, 0, NAN},
    {"cos", tern__math_cos, NAN, 1, NAN},        {"hard_sigmoid", math_hard_sigmoid, 0, 0.5f, 1},
    {"round", tern__math_round, -inf, 0, inf},   {"floor", tern__math_floor, -inf, 0, inf},
    {"ceil", tern__math_ceil, -inf, 0, inf},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    const float inputs[] = {-inf, 0, inf, NAN, -NAN};
    const float expected[] = {cases[i].at_minus_infinity, cases[i].at_zero, cases[i].at_infinity, NAN, NAN};
    for (size_t j = 0; j < COUNT(inputs); j++) {
      float got = cases[i].function(inputs[j]);
      cr_expect(isnan(expected[j]) ? isnan(got) : got == expected[j], "%s(%g) = %a, expected %a",
                cases[i].name, (double)inputs[j], (double)got, (double)expected[j]);
    }
  }
  cr_expect(isnan(tern__math_clip(NAN, -1, 1)));
  cr_expect(tern__math_clip(-5, -1, 1) == -1 && tern__math_clip(5, -1, 1) == 1);
  cr_expect(tern__math_thresholded_relu(1, 1) == 0 && tern__math_thresholded_relu(1.5f, 1) == 1.5f);
  cr_expect(tern__math_abs(-3) == 3 && tern__math_copy_sign(3, -0.0f) == -3);
}

Test(kernel_math, rounding_matches_libm) {
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride()) {
    float x = tern__math_float_of((uint32_t)bits);
    if (isnan(x))
      continue;
    cr_assert(tern__math_round(x) == rintf(x) && tern__math_round_written_out(x) == rintf(x), "%a", x);
    cr_assert(tern__math_floor(x) == floorf(x) && tern__math_floor_written_out(x) == floorf(x), "%a", x);
    cr_assert(tern__math_ceil(x) == ceilf(x), "%a", x);
  }
  for (int i = -1000; i <= 1000; i++) {
    float half = (float)i + 0.5f;
    cr_assert(tern__math_round(half) == rintf(half) && tern__math_round_written_out(half) == rintf(half));
    double level = fmin(fmax(rint((double)half) + 3, -128), 127);
    cr_assert(tern__math_quantize(half, 3, -128, 127) == (int)level);
    cr_assert(tern__math_dequantize(i, 3, 0.25f) == 0.25f * (float)(i - 3));
  }
  cr_expect(tern__math_quantize(1e30f, 0, -128, 127) == 127);
  cr_expect(tern__math_quantize(-HUGE_VALF, 5, -128, 127) == -128);
  cr_expect(tern__math_quantize(NAN, 0, -128, 127) == -128);
}

/// The nearest binary16 value of x, ties to even, by division into quanta in double.
static double nearest_half(double x) {
  if (isnan(x) || isinf(x) || x == 0.0)
    return x;
  double quantum = ldexp(1.0, (ilogb(x) < -14 ? -14 : ilogb(x)) - 10);
  double rounded = rint(x / quantum) * quantum;
  return fabs(rounded) >= 65536.0 ? copysign(HUGE_VAL, x) : rounded;
}

Test(kernel_math, half_and_bfloat16) {
  for (uint32_t h = 0; h < 65536; h++) {
    int exponent = (h >> 10) & 31, fraction = h & 1023;
    double value = exponent == 0    ? ldexp(fraction, -24)
                   : exponent < 31  ? ldexp(1024 + fraction, exponent - 25)
                   : fraction == 0  ? HUGE_VAL
                                    : (double)NAN;
    value = h & 0x8000 ? -value : value;
    float got = tern__math_f16_to_f32(h);
    cr_assert(isnan(value) ? isnan(got) : got == value && !signbit(got) == !signbit(value), "half %04x", h);
    if (!isnan(value)) {
      cr_assert(tern__math_f32_to_f16(got) == h, "half %04x", h);
      cr_assert(tern__math_f32_to_bf16(tern__math_bf16_to_f32(h)) == h || isnan(tern__math_bf16_to_f32(h)));
    }
  }
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride()) {
    float x = tern__math_float_of((uint32_t)bits);
    float half = tern__math_f16_to_f32(tern__math_f32_to_f16(x));
    float brain = tern__math_bf16_to_f32(tern__math_f32_to_bf16(x));
    double exact = nearest_half((double)x);
    cr_assert(isnan(x) ? isnan(half) : half == exact && !signbit(half) == !signbit(x), "%a", (double)x);
    if (isnan(x)) {
      cr_assert(isnan(brain));
    } else {
      // bfloat16 is binary32 with 16 bits less: the nearest, and of two equally near the even one.
      float below = tern__math_float_of((uint32_t)bits & 0xffff0000u);
      float above = tern__math_float_of(((uint32_t)bits & 0xffff0000u) + 0x10000u);
      uint32_t low = (uint32_t)bits & 0xffffu;
      bool up = low > 0x8000u || (low == 0x8000u && ((uint32_t)bits & 0x10000u));
      cr_assert(brain == (up ? above : below), "%a", (double)x);
    }
  }
}

Test(kernel_math, quant_block_fields) {
  // The 12 bytes of Q4_K scales and minima, packed here from known values as GGUF lays them out: eight 6-bit
  // scales and minima, of which 0..3 lie in the low six bits of bytes 0..7, and 4..7 in the nibbles of bytes
  // 8..11 with their upper two bits in the upper bits of bytes 0..7.
  uint32_t state = 5;
  for (int n = 0; n < 1000; n++) {
    uint32_t scale[8], minimum[8], byte[12], word[3] = {0};
    for (int j = 0; j < 8; j++)
      scale[j] = next_random(&state) % 64, minimum[j] = next_random(&state) % 64;
    for (int j = 0; j < 4; j++) {
      byte[j] = scale[j] | ((scale[j + 4] >> 4) << 6);
      byte[j + 4] = minimum[j] | ((minimum[j + 4] >> 4) << 6);
      byte[j + 8] = (scale[j + 4] & 15) | ((minimum[j + 4] & 15) << 4);
    }
    for (int i = 0; i < 12; i++)
      word[i / 4] |= byte[i] << (8 * (i % 4));
    for (uint32_t j = 0; j < 8; j++) {
      cr_assert_eq(tern__math_k_scale(word[0], word[2], j), scale[j]);
      cr_assert_eq(tern__math_k_min(word[1], word[2], j), minimum[j]);
    }
    for (uint32_t i = 0; i < 4; i++) {
      cr_assert_eq(tern__math_byte(word[0], i), byte[i]);
      cr_assert_eq(tern__math_signed_byte(word[0], i), (int)byte[i] - (byte[i] > 127 ? 256 : 0));
      cr_assert_eq(tern__math_nibble(word[0], 2 * i), byte[i] % 16);
      cr_assert_eq(tern__math_nibble(word[0], 2 * i + 1), byte[i] / 16);
    }
  }
  cr_expect_eq(tern__math_q4_0(3, 0.5f), -2.5f);
  cr_expect_eq(tern__math_q4_1(3, 0.5f, -1.0f), 0.5f);
  cr_expect_eq(tern__math_q5(3, 1u << 31, 31), 19);
  cr_expect_eq(tern__math_q5(3, ~(1u << 31), 31), 3);
  cr_expect_eq(tern__math_q6(5, 3), 53 - 32);
}

// Has a meaning in optimised builds, where the loop is vectorised and the calls are not.
Test(kernel_math, loops_give_the_bits_of_single_calls) {
  enum { COUNT_OF_INPUTS = 1003 };
  static float x[COUNT_OF_INPUTS], y[COUNT_OF_INPUTS];
  uint32_t state = 3;
  for (int i = 0; i < COUNT_OF_INPUTS; i++)
    x[i] = i % 2 ? tern__math_float_of(next_random(&state)) : random_between(&state, -20.0f, 20.0f);
#define SAME(function) \
  do { \
    for (int i = 0; i < COUNT_OF_INPUTS; i++) \
      y[i] = function(x[i]); \
    for (int i = 0; i < COUNT_OF_INPUTS; i++) { \
      float single = scalar_call(function, x[i]); \
      bool same = tern__math_bits_of(single) == tern__math_bits_of(y[i]) || (isnan(single) && isnan(y[i])); \
      cr_assert(same, #function "(%a): %a alone, %a in a loop", (double)x[i], (double)single, (double)y[i]); \
    } \
  } while (0)
  SAME(tern__math_exp);
  SAME(tern__math_log);
  SAME(tern__math_tanh);
  SAME(tern__math_sigmoid);
  SAME(tern__math_erf);
  SAME(tern__math_silu);
  SAME(tern__math_gelu_erf);
  SAME(tern__math_gelu_tanh);
  SAME(tern__math_softplus);
  SAME(tern__math_sin);
#undef SAME
}
