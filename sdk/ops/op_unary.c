/* Elementwise operators of one input. Formulas are type-generic: float32 is computed in float, float64 in
 * double. */
#include <math.h>
#include <string.h>
#include <tgmath.h>

#include "ops/elements.h"

/* Attributes of the formulas that have any. */
typedef struct params {
  float alpha, beta;
  bool exact;
} params;

#define UNARY_TYPED(symbol, T, suffix, expr)                             \
  static void symbol##_##suffix(const T *px, T *y, size_t n, params p) { \
    (void)p;                                                             \
    for (size_t i = 0; i < n; i++) {                                     \
      const T x = px[i], one = 1;                                        \
      (void)one;                                                         \
      y[i] = (T)(expr);                                                  \
    }                                                                    \
  }

/* Elements between two looks at the call's token. */
enum { SLICE = 16384 };

#define UNARY_FULL(symbol, NAME, DOMAIN, SINCE, ATTRS, ALPHA, BETA, expr)                                 \
  UNARY_TYPED(symbol, float, f32, expr)                                                                   \
  UNARY_TYPED(symbol, double, f64, expr)                                                                  \
  static tern_status symbol##_compute(tern__op_call *call) {                                              \
    const tern__view *x = &call->inputs[0], *y = &call->outputs[0];                                       \
    params p = {tern__node_float(call->node, "alpha", ALPHA), tern__node_float(call->node, "beta", BETA), \
                true};                                                                                    \
    p.exact = strcmp(tern__node_string(call->node, "approximate", "none"), "none") == 0;                  \
    tern_status status = TERN_OK;                                                                         \
    for (size_t at = 0, total = tern__view_count(y); at < total && status == TERN_OK; at += SLICE) {      \
      size_t n = total - at < SLICE ? total - at : SLICE;                                                 \
      if (x->dtype == TERN_DTYPE_F64) symbol##_f64((double *)x->data + at, (double *)y->data + at, n, p); \
      else symbol##_f32((float *)x->data + at, (float *)y->data + at, n, p);                              \
      status = tern__op_poll(call, at);                                                                   \
    }                                                                                                     \
    return status;                                                                                        \
  }                                                                                                       \
  static tern_status symbol##_reference(tern__op_call *call) {                                            \
    return tern__op_plain(call, symbol##_compute);                                                        \
  }                                                                                                       \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = DOMAIN, .since = SINCE, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1, \
      .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .attrs = ATTRS, .infer = infer_float, \
      .reference = symbol##_reference};
#define UNARY(symbol, NAME, SINCE, expr) UNARY_FULL(symbol, NAME, "", SINCE, NULL, 0, 0, expr)

static tern_status infer_float(tern__op_call *call) {
  const char *approximate = tern__node_string(call->node, "approximate", "none");
  if (!tern__dtype_is_float(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (strcmp(approximate, "none") != 0 && strcmp(approximate, "tanh") != 0)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "approximate = '%s'", approximate);
  return tern__op_infer_same(call);
}

static const tern__attr_def alpha_attrs[] = {{"alpha", TERN__ATTR_FLOAT}, {NULL, 0}};
static const tern__attr_def alpha_beta_attrs[] = {
    {"alpha", TERN__ATTR_FLOAT}, {"beta", TERN__ATTR_FLOAT}, {NULL, 0}};
static const tern__attr_def selu_attrs[] = {
    {"alpha", TERN__ATTR_FLOAT}, {"gamma", TERN__ATTR_FLOAT}, {NULL, 0}};
static const tern__attr_def gelu_attrs[] = {{"approximate", TERN__ATTR_STRING}, {NULL, 0}};

/* log(1 + e^x) without overflow */
#define SOFTPLUS(x) (fmax(x, 0 * one) + log1p(exp(-fabs(x))))
#define SIGMOID(x) (one / (one + exp(-(x))))
#define GELU_TANH(x) \
  (x * one / 2 * (one + tanh((0.7978845608028654f * one) * (x + 0.044715f * one * x * x * x))))
#define GELU_ERF(x) (x * one / 2 * (one + erf(x * (0.7071067811865476f * one))))

UNARY(sqrt, "Sqrt", 1, sqrt(x))
UNARY(reciprocal, "Reciprocal", 1, one / x)
UNARY(exp, "Exp", 1, exp(x))
UNARY(log, "Log", 1, log(x))
UNARY(sigmoid, "Sigmoid", 1, SIGMOID(x))
UNARY(tanh, "Tanh", 1, tanh(x))
UNARY(softplus, "Softplus", 1, SOFTPLUS(x))
UNARY(softsign, "Softsign", 1, x / (one + fabs(x)))
UNARY(hard_swish, "HardSwish", 14, x * fmax(0 * one, fmin(one, x / 6 + one / 2)))
UNARY(mish, "Mish", 18, x * tanh(SOFTPLUS(x)))
UNARY(erf, "Erf", 9, erf(x))
UNARY(floor, "Floor", 1, floor(x))
UNARY(ceil, "Ceil", 1, ceil(x))
UNARY(round, "Round", 11, rint(x))
UNARY(sin, "Sin", 7, sin(x))
UNARY(cos, "Cos", 7, cos(x))
UNARY(tan, "Tan", 7, tan(x))
UNARY(asin, "Asin", 7, asin(x))
UNARY(acos, "Acos", 7, acos(x))
UNARY(atan, "Atan", 7, atan(x))
UNARY(sinh, "Sinh", 9, sinh(x))
UNARY(cosh, "Cosh", 9, cosh(x))
UNARY(asinh, "Asinh", 9, asinh(x))
UNARY(acosh, "Acosh", 9, acosh(x))
UNARY(atanh, "Atanh", 9, atanh(x))
UNARY_FULL(leaky_relu, "LeakyRelu", "", 1, alpha_attrs, 0.01f, 0, x < 0 ? x * p.alpha : x)
UNARY_FULL(thresholded_relu, "ThresholdedRelu", "", 10, alpha_attrs, 1, 0, x > p.alpha ? x : 0)
UNARY_FULL(elu, "Elu", "", 1, alpha_attrs, 1, 0, x < 0 ? p.alpha * (exp(x) - one) : x)
UNARY_FULL(celu, "Celu", "", 12, alpha_attrs, 1, 0,
           fmax(x, 0 * one) + fmin(0 * one, p.alpha * (exp(x / p.alpha) - one)))
UNARY_FULL(hard_sigmoid, "HardSigmoid", "", 1, alpha_beta_attrs, 0.2f, 0.5f,
           fmax(0 * one, fmin(one, x * p.alpha + p.beta)))
UNARY_FULL(swish, "Swish", "", 24, alpha_attrs, 1, 0, x * SIGMOID(x * p.alpha))
UNARY_FULL(gelu, "Gelu", "", 20, gelu_attrs, 0, 0, p.exact ? GELU_ERF(x) : GELU_TANH(x))
UNARY_FULL(ms_gelu, "Gelu", "com.microsoft", 1, NULL, 0, 0, GELU_ERF(x))
UNARY_FULL(quick_gelu, "QuickGelu", "com.microsoft", 1, alpha_attrs, 1.702f, 0, x * SIGMOID(x * p.alpha))

/* Selu: gamma (alpha e^x - alpha) below 0, gamma x above. */
static tern_status selu_compute(tern__op_call *call) {
  double alpha = tern__node_float(call->node, "alpha", 1.67326319217681884765625f);
  double gamma = tern__node_float(call->node, "gamma", 1.05070102214813232421875f);
  for (size_t i = 0, n = tern__view_count(&call->outputs[0]); i < n; i++) {
    double x = tern__view_real(&call->inputs[0], i);
    tern__view_set_real(&call->outputs[0], i, gamma * (x > 0 ? x : alpha * (exp(x) - 1)));
  }
  return TERN_OK;
}
const tern__op_def tern__op_selu = {
    .name = "Selu", .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .attrs = selu_attrs, .infer = infer_float,
    .reference = selu_compute};

/* Shrink: x < -lambd: x + bias; x > lambd: x - bias; else 0. Any number type. */
static tern_status infer_number(tern__op_call *call) {
  if (!tern__dtype_is_number(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  return tern__op_infer_same(call);
}
static tern_status shrink_reference(tern__op_call *call) {
  double bias = tern__node_float(call->node, "bias", 0), lambd = tern__node_float(call->node, "lambd", 0.5f);
  for (size_t i = 0, n = tern__view_count(&call->outputs[0]); i < n; i++) {
    double x = tern__view_real(&call->inputs[0], i);
    tern__view_set_real(&call->outputs[0], i, x < -lambd ? x + bias : x > lambd ? x - bias : 0);
  }
  return TERN_OK;
}
static const tern__attr_def shrink_attrs[] = {
    {"bias", TERN__ATTR_FLOAT}, {"lambd", TERN__ATTR_FLOAT}, {NULL, 0}};

/* Integers are first-class in Abs, Neg, Sign and Relu. */
static tern_status each_number(tern__op_call *call, int64_t (*of_int)(int64_t), float (*of_float)(float),
                               double (*of_double)(double)) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  size_t n = tern__view_count(y);
  for (size_t i = 0; i < n; i++) {
    TERN_TRY(tern__op_poll(call, i));
    if (x->dtype == TERN_DTYPE_F32) ((float *)y->data)[i] = of_float(((const float *)x->data)[i]);
    else if (x->dtype == TERN_DTYPE_F64) ((double *)y->data)[i] = of_double(((const double *)x->data)[i]);
    else {
      int64_t v = tern__view_int(x, i);
      /* the highest uint64 values look negative */
      tern__view_set_int(
          y, i, x->dtype == TERN_DTYPE_U64 && v < 0 ? (of_int(1) == 1 && of_int(2) == 1 ? 1 : v) : of_int(v));
    }
  }
cleanup:
  return status;
}
#define NUMBER_UNARY(symbol, NAME, SINCE, INT_EXPR, EXPR)                    \
  static int64_t symbol##_int(int64_t x) { return INT_EXPR; }                \
  static float symbol##_float(float x) { return EXPR; }                      \
  static double symbol##_double(double x) { return EXPR; }                   \
  static tern_status symbol##_compute(tern__op_call *call) {                 \
    return each_number(call, symbol##_int, symbol##_float, symbol##_double); \
  }                                                                          \
  static tern_status symbol##_reference(tern__op_call *call) {               \
    return tern__op_plain(call, symbol##_compute);                           \
  }                                                                          \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = "", .since = SINCE, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1, \
      .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .infer = infer_number, \
      .reference = symbol##_reference};
NUMBER_UNARY(abs, "Abs", 1, x < 0 ? (int64_t)(0 - (uint64_t)x) : x, fabs(x))
NUMBER_UNARY(neg, "Neg", 1, (int64_t)(0 - (uint64_t)x), -x)
NUMBER_UNARY(sign, "Sign", 9, x > 0 ? 1 : x < 0 ? -1 : 0, x > 0 ? 1 : x < 0 ? -1 : 0)
NUMBER_UNARY(relu, "Relu", 1, x > 0 ? x : 0, x > 0 || isnan(x) ? x : 0)
const tern__op_def tern__op_shrink = {
    .name = "Shrink", .domain = "", .since = 9, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .attrs = shrink_attrs, .infer = infer_number,
    .reference = shrink_reference};

/* Not, BitwiseNot, IsNaN, IsInf. */
static tern_status not_infer(tern__op_call *call) {
  return call->inputs[0].dtype == TERN_DTYPE_BOOL ? tern__op_infer_same(call) : tern__op_bad_type(call, 0);
}
static tern_status not_reference(tern__op_call *call) {
  for (size_t i = 0, n = tern__view_count(&call->outputs[0]); i < n; i++)
    ((uint8_t *)call->outputs[0].data)[i] = !((const uint8_t *)call->inputs[0].data)[i];
  return TERN_OK;
}
static tern_status bitwise_not_infer(tern__op_call *call) {
  return tern__dtype_is_int(call->inputs[0].dtype) ? tern__op_infer_same(call) : tern__op_bad_type(call, 0);
}
static tern_status bitwise_not_reference(tern__op_call *call) {
  for (size_t i = 0, n = call->inputs[0].size_bytes; i < n; i++)
    ((uint8_t *)call->outputs[0].data)[i] = (uint8_t) ~((const uint8_t *)call->inputs[0].data)[i];
  return TERN_OK;
}
static tern_status is_infer(tern__op_call *call) {
  if (!tern__dtype_is_float(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  call->outputs[0].dtype = TERN_DTYPE_BOOL, call->outputs[0].shape = call->inputs[0].shape;
  return TERN_OK;
}
static tern_status is_nan_reference(tern__op_call *call) {
  for (size_t i = 0, n = tern__view_count(&call->outputs[0]); i < n; i++)
    ((uint8_t *)call->outputs[0].data)[i] = isnan(tern__view_real(&call->inputs[0], i)) != 0;
  return TERN_OK;
}
static tern_status is_inf_reference(tern__op_call *call) {
  bool negative = tern__node_int(call->node, "detect_negative", 1),
       positive = tern__node_int(call->node, "detect_positive", 1);
  for (size_t i = 0, n = tern__view_count(&call->outputs[0]); i < n; i++) {
    double x = tern__view_real(&call->inputs[0], i);
    ((uint8_t *)call->outputs[0].data)[i] = isinf(x) && (x < 0 ? negative : positive);
  }
  return TERN_OK;
}
static const tern__attr_def is_inf_attrs[] = {
    {"detect_negative", TERN__ATTR_INT}, {"detect_positive", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_not = {
    .name = "Not", .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .infer = not_infer, .reference = not_reference};
const tern__op_def tern__op_bitwise_not = {
    .name = "BitwiseNot", .domain = "", .since = 18, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .infer = bitwise_not_infer,
    .reference = bitwise_not_reference};
const tern__op_def tern__op_is_nan = {
    .name = "IsNaN", .domain = "", .since = 9, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .infer = is_infer, .reference = is_nan_reference};
const tern__op_def tern__op_is_inf = {
    .name = "IsInf", .domain = "", .since = 10, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .attrs = is_inf_attrs, .infer = is_infer, .reference = is_inf_reference};
