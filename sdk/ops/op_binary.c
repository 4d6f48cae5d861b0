/* Elementwise operators of two inputs with NumPy broadcasting. One row loop per operator and type; rows run
 * along the last dimension. Integers wrap; integer division by zero gives 0. */
#include <math.h>
#include <string.h>

#include "ops/elements.h"

/* y[i] = a[i * sa] op b[i * sb]; steps are 0 or 1. */
typedef void (*row_fn)(const void *a, int64_t sa, const void *b, int64_t sb, void *y, size_t n);
typedef row_fn row_table[TERN_DTYPE_BOOL + 1];

#define ROW(name, T, R, expr)                                                                    \
  static void name(const void *ap, int64_t sa, const void *bp, int64_t sb, void *yp, size_t n) { \
    const T *pa = ap, *pb = bp;                                                                  \
    R *y = yp;                                                                                   \
    for (size_t i = 0; i < n; i++) {                                                             \
      T a = pa[(int64_t)i * sa], b = pb[(int64_t)i * sb];                                        \
      y[i] = (R)(expr);                                                                          \
    }                                                                                            \
  }

/* Signed overflow is undefined in C: integers are added as unsigned. */
#define U(x) ((uint64_t)(x))
#define FLOAT_ARITHMETIC(S, T)                         \
  ROW(add_##S, T, T, a + b)                            \
  ROW(sub_##S, T, T, a - b)                            \
  ROW(mul_##S, T, T, a *b)                             \
  ROW(div_##S, T, T, a / b)                            \
  ROW(fmod_##S, T, T, fmod((double)a, (double)b))      \
  ROW(mod_##S, T, T, python_mod((double)a, (double)b)) \
  ROW(prelu_##S, T, T, a < 0 ? a * b : a)
#define INT_ARITHMETIC(S, T)                                                               \
  ROW(add_##S, T, T, U(a) + U(b))                                                          \
  ROW(sub_##S, T, T, U(a) - U(b))                                                          \
  ROW(mul_##S, T, T, U(a) * U(b))                                                          \
  ROW(div_##S, T, T, b == 0 ? 0 : b == (T)-1 && (T)-1 < (T)1 ? (T)(0 - U(a)) : (T)(a / b)) \
  ROW(fmod_##S, T, T, b == 0 || (b == (T)-1 && (T)-1 < (T)1) ? 0 : a % b)                  \
  ROW(mod_##S, T, T,                                                                       \
      b == 0 || (b == (T)-1 && (T)-1 < (T)1) ? 0                                           \
      : a % b != 0 && (a % b < 0) != (b < 0) ? a % b + b                                   \
                                             : a % b)                                      \
  ROW(prelu_##S, T, T, a < 0 ? U(a) * U(b) : U(a))                                         \
  ROW(bit_and_##S, T, T, a &b)                                                             \
  ROW(bit_or_##S, T, T, a | b)                                                             \
  ROW(bit_xor_##S, T, T, a ^ b)
/* The remainder with the divisor's sign. */
static double python_mod(double a, double b) {
  double r = fmod(a, b);
  if (r == 0) return copysign(0, b);
  return (r < 0) != (b < 0) ? r + b : r;
}

#define COMPARISON(S, T)                        \
  ROW(equal_##S, T, uint8_t, a == b)            \
  ROW(greater_##S, T, uint8_t, a > b)           \
  ROW(less_##S, T, uint8_t, a < b)              \
  ROW(greater_or_equal_##S, T, uint8_t, a >= b) \
  ROW(less_or_equal_##S, T, uint8_t, a <= b)

#if defined(__GNUC__) /* comparing unsigned values with 0 is meant: the templates serve both signs */
#pragma GCC diagnostic ignored "-Wtype-limits"
#endif
TERN__FLOAT_TYPES(FLOAT_ARITHMETIC)
TERN__INT_TYPES(INT_ARITHMETIC)
TERN__FLOAT_TYPES(COMPARISON)
TERN__INT_TYPES(COMPARISON)
ROW(and_BOOL, uint8_t, uint8_t, a &&b)
ROW(or_BOOL, uint8_t, uint8_t, a || b)
ROW(xor_BOOL, uint8_t, uint8_t, !a != !b)
ROW(equal_BOOL, uint8_t, uint8_t, !a == !b)
/* Signed values shift right arithmetically; a shift by the width or more leaves the sign. */
#define SHIFTS(S, T)                                               \
  ROW(shift_left_##S, T, T, U(b) >= sizeof(T) * 8 ? 0 : U(a) << b) \
  ROW(shift_right_##S, T, T, U(b) >= sizeof(T) * 8 ? (a < 0 ? (T)-1 : 0) : a >> b)
TERN__INT_TYPES(SHIFTS)

#define ENTRY(S, name) [TERN_DTYPE_##S] = name##_##S,
#define INT_ENTRIES(name)                                                                              \
  ENTRY(I8, name)                                                                                      \
  ENTRY(U8, name) ENTRY(I16, name) ENTRY(U16, name) ENTRY(I32, name) ENTRY(U32, name) ENTRY(I64, name) \
      ENTRY(U64, name)
#define ENTRIES(name) ENTRY(F32, name) ENTRY(F64, name) INT_ENTRIES(name)

/* Which table entry serves an input type: half types compute in float32 (tern__op_plain). */
static row_fn find_row(const row_table table, tern_dtype dtype) {
  if (tern__dtype_is_half(dtype)) dtype = TERN_DTYPE_F32;
  return dtype <= TERN_DTYPE_BOOL ? table[dtype] : NULL;
}

static tern_status infer_binary(tern__op_call *call, const row_table table, bool to_bool) {
  const tern__view *a = &call->inputs[0], *b = &call->inputs[1];
  if (a->dtype != b->dtype)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input types %s and %s differ",
                         tern_dtype_name(a->dtype), tern_dtype_name(b->dtype));
  if (!find_row(table, a->dtype)) return tern__op_bad_type(call, 0);
  call->outputs[0].dtype = to_bool ? TERN_DTYPE_BOOL : a->dtype;
  return tern__op_broadcast(call, &a->shape, &b->shape, &call->outputs[0].shape);
}

static tern_status run_rows(tern__op_call *call, row_fn row) {
  tern_status status = TERN_OK;
  const tern__view *a = &call->inputs[0], *b = &call->inputs[1], *y = &call->outputs[0];
  int64_t sa[TERN_MAX_RANK + 1], sb[TERN_MAX_RANK + 1], index[TERN_MAX_RANK] = {0};
  size_t size_in = tern__element_size(a->dtype), size_out = tern__element_size(y->dtype), at = 0, r = 0;
  int32_t outer = y->shape.rank > 0 ? y->shape.rank - 1 : 0;
  size_t n = y->shape.rank > 0 ? (size_t)y->shape.dims[outer] : 1;
  if (!tern__view_count(y)) return TERN_OK;
  sa[0] = sb[0] = 0;
  tern__broadcast_strides(&a->shape, &y->shape, sa);
  tern__broadcast_strides(&b->shape, &y->shape, sb);
  do {
    TERN_TRY(tern__op_poll(call, n < 64 ? r++ : 0));
    row((const char *)a->data + (size_t)tern__offset_of(index, sa, outer) * size_in, sa[outer],
        (const char *)b->data + (size_t)tern__offset_of(index, sb, outer) * size_in, sb[outer],
        (char *)y->data + at * size_out, n);
    at += n;
  } while (tern__next_index(y->shape.dims, outer, index));
cleanup:
  return status;
}

static tern_status run_binary(tern__op_call *call, const row_table table) {
  row_fn row = find_row(table, call->inputs[0].dtype);
  if (!row) return tern__op_bad_type(call, 0);
  return run_rows(call, row);
}

#define BINARY(symbol, NAME, SINCE, TO_BOOL, ...)                                                      \
  static const row_table symbol##_rows = {__VA_ARGS__};                                                \
  static tern_status symbol##_infer(tern__op_call *call) {                                             \
    return infer_binary(call, symbol##_rows, TO_BOOL);                                                 \
  }                                                                                                    \
  static tern_status symbol##_compute(tern__op_call *call) { return run_binary(call, symbol##_rows); } \
  static tern_status symbol##_reference(tern__op_call *call) {                                         \
    return tern__op_plain(call, symbol##_compute);                                                     \
  }                                                                                                    \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = "", .since = SINCE, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1, \
      .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .infer = symbol##_infer, \
      .reference = symbol##_reference};

BINARY(add, "Add", 7, false, ENTRIES(add))
BINARY(sub, "Sub", 7, false, ENTRIES(sub))
BINARY(mul, "Mul", 7, false, ENTRIES(mul))
BINARY(div, "Div", 7, false, ENTRIES(div))
BINARY(prelu, "PRelu", 7, false, ENTRIES(prelu))
BINARY(equal, "Equal", 7, true, ENTRIES(equal) ENTRY(BOOL, equal))
BINARY(greater, "Greater", 7, true, ENTRIES(greater))
BINARY(less, "Less", 7, true, ENTRIES(less))
BINARY(greater_or_equal, "GreaterOrEqual", 12, true, ENTRIES(greater_or_equal))
BINARY(less_or_equal, "LessOrEqual", 12, true, ENTRIES(less_or_equal))
BINARY(and, "And", 7, false, ENTRY(BOOL, and))
BINARY(or, "Or", 7, false, ENTRY(BOOL, or))
BINARY(xor, "Xor", 7, false, ENTRY(BOOL, xor))
BINARY(bitwise_and, "BitwiseAnd", 18, false, INT_ENTRIES(bit_and))
BINARY(bitwise_or, "BitwiseOr", 18, false, INT_ENTRIES(bit_or))
BINARY(bitwise_xor, "BitwiseXor", 18, false, INT_ENTRIES(bit_xor))

/* Mod: attribute fmod = 1 takes the sign of the dividend (C), 0 that of the divisor (Python). */
static const row_table mod_rows = {ENTRIES(mod)}, fmod_rows = {ENTRIES(fmod)};
static tern_status mod_infer(tern__op_call *call) { return infer_binary(call, mod_rows, false); }
static tern_status mod_compute(tern__op_call *call) {
  return tern__node_int(call->node, "fmod", 0) ? run_binary(call, fmod_rows) : run_binary(call, mod_rows);
}
static tern_status mod_reference(tern__op_call *call) { return tern__op_plain(call, mod_compute); }
static const tern__attr_def mod_attrs[] = {{"fmod", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_mod = {
    .name = "Mod", .domain = "", .since = 10, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .attrs = mod_attrs, .infer = mod_infer,
    .reference = mod_reference};

/* BitShift: attribute direction = LEFT or RIGHT. */
static const row_table left_rows = {INT_ENTRIES(shift_left)}, right_rows = {INT_ENTRIES(shift_right)};
static tern_status shift_infer(tern__op_call *call) {
  const char *direction = tern__node_string(call->node, "direction", "");
  if (strcmp(direction, "LEFT") != 0 && strcmp(direction, "RIGHT") != 0)
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "direction '%s' is neither LEFT nor RIGHT", direction);
  return infer_binary(call, left_rows, false);
}
static tern_status shift_reference(tern__op_call *call) {
  return *tern__node_string(call->node, "direction", "") == 'L' ? run_binary(call, left_rows)
                                                                : run_binary(call, right_rows);
}
static tern_status shift_aligned(tern__op_call *call) { return tern__op_plain(call, shift_reference); }
static const tern__attr_def shift_attrs[] = {{"direction", TERN__ATTR_STRING}, {NULL, 0}};
const tern__op_def tern__op_bit_shift = {
    .name = "BitShift", .domain = "", .since = 11, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .attrs = shift_attrs, .infer = shift_infer,
    .reference = shift_aligned};

/* Pow: base and exponent may have different types; the result has the base's. */
static tern_status pow_infer(tern__op_call *call) {
  for (int32_t i = 0; i < 2; i++)
    if (!tern__dtype_is_number(call->inputs[i].dtype)) return tern__op_bad_type(call, i);
  call->outputs[0].dtype = call->inputs[0].dtype;
  return tern__op_broadcast(call, &call->inputs[0].shape, &call->inputs[1].shape, &call->outputs[0].shape);
}

static int64_t power_of_int(int64_t base, int64_t exponent) {
  uint64_t result = 1, factor = (uint64_t)base;
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  for (; exponent; exponent >>= 1, factor *= factor)
    if (exponent & 1) result *= factor;
  return (int64_t)result;
}

static tern_status pow_compute(tern__op_call *call) {
  const tern__view *a = &call->inputs[0], *b = &call->inputs[1], *y = &call->outputs[0];
  int64_t sa[TERN_MAX_RANK], sb[TERN_MAX_RANK], index[TERN_MAX_RANK] = {0};
  tern__broadcast_strides(&a->shape, &y->shape, sa);
  tern__broadcast_strides(&b->shape, &y->shape, sb);
  bool ints = tern__dtype_is_int(a->dtype) && tern__dtype_is_int(b->dtype),
       floats = a->dtype == TERN_DTYPE_F32;
  for (size_t i = 0, n = tern__view_count(y); i < n; i++) {
    size_t ia = (size_t)tern__offset_of(index, sa, y->shape.rank),
           ib = (size_t)tern__offset_of(index, sb, y->shape.rank);
    if (ints) tern__view_set_int(y, i, power_of_int(tern__view_int(a, ia), tern__view_int(b, ib)));
    else if (floats)
      ((float *)y->data)[i] = powf(((const float *)a->data)[ia], (float)tern__view_real(b, ib));
    else tern__view_set_real(y, i, pow(tern__view_real(a, ia), tern__view_real(b, ib)));
    (void)tern__next_index(y->shape.dims, y->shape.rank, index);
  }
  return TERN_OK;
}
static tern_status pow_reference(tern__op_call *call) { return tern__op_plain(call, pow_compute); }
const tern__op_def tern__op_pow = {
    .name = "Pow", .domain = "", .since = 7, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .infer = pow_infer, .reference = pow_reference};
