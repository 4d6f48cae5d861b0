/* Operators of Jinja expressions, with Python's meaning. */
#include "text/jinja_internal.h"

#include <math.h>

static jvalue no_operator(jinja *j, int op, jvalue a, jvalue b) {
  if (a.kind == J_UNDEFINED) return tern__jinja_undefined_use(j, a);
  if (b.kind == J_UNDEFINED) return tern__jinja_undefined_use(j, b);
  return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "operator '%s' does not take %s and %s",
                op == OP_FLOORDIV ? "//"
                : op == OP_POW    ? "**"
                                  : (char[2]){(char)op, 0},
                tern__jinja_type_name(a), tern__jinja_type_name(b));
}

jvalue tern__jinja_add(jinja *j, jvalue a, jvalue b) {
  if (a.kind == J_STRING && b.kind == J_STRING) {
    size_t mark = tern__jinja_mark(j);
    tern__jinja_emit(j, a.as.s.data, a.as.s.size);
    tern__jinja_emit(j, b.as.s.data, b.as.s.size);
    return tern__jinja_capture(j, mark);
  }
  if (a.kind == b.kind && j_is_sequence(a) && j_is_sequence(b)) {
    jlist *list = tern__jinja_list(j, a.as.list->count + b.as.list->count);
    if (!list || !tern__jinja_step(j, 1 + list->capacity / 16)) return j_none();
    memcpy(list->items, a.as.list->items, a.as.list->count * sizeof *list->items);
    memcpy(list->items + a.as.list->count, b.as.list->items, b.as.list->count * sizeof *list->items);
    list->count = list->capacity;
    return (jvalue){a.kind, {.list = list}};
  }
  return no_operator(j, '+', a, b);
}

static jvalue repeat(jinja *j, jvalue v, int64_t times) {
  size_t mark = tern__jinja_mark(j);
  jlist *list = v.kind == J_STRING ? NULL : tern__jinja_list(j, 0);
  for (; times > 0 && tern__jinja_step(j, 1); times--) {
    if (v.kind == J_STRING) tern__jinja_emit(j, v.as.s.data, v.as.s.size);
    else
      for (size_t i = 0; i < v.as.list->count && tern__jinja_push(j, list, v.as.list->items[i]); i++) {}
  }
  if (v.kind == J_STRING) return tern__jinja_capture(j, mark);
  return (jvalue){list ? v.kind : J_UNDEFINED, {.list = list}};
}

static jvalue whole_power(jinja *j, int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (bool over = false; exponent > 0; exponent >>= 1) {
    if (exponent & 1) over = over || __builtin_mul_overflow(result, base, &result);
    if (exponent > 1) over = over || __builtin_mul_overflow(base, base, &base);
    if (over) return j_fail(j, TERN_STATUS_UNSUPPORTED, "whole numbers beyond 64 bits are not supported");
  }
  return j_int(result);
}

static jvalue whole_arithmetic(jinja *j, int op, int64_t x, int64_t y) {
  int64_t r = 0;
  bool over = false;
  if (op == '+') over = __builtin_add_overflow(x, y, &r);
  else if (op == '-') over = __builtin_sub_overflow(x, y, &r);
  else if (op == '*') over = __builtin_mul_overflow(x, y, &r);
  else if (!y) return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "division by zero");
  else if (y == -1) { /* INT64_MIN / -1 traps */
    if (op == OP_FLOORDIV) over = __builtin_sub_overflow((int64_t)0, x, &r);
  } else {
    int64_t m = x % y;
    bool adjust = m && ((m < 0) != (y < 0)); /* Python rounds down */
    r = op == '%' ? m + (adjust ? y : 0) : x / y - adjust;
  }
  if (over) return j_fail(j, TERN_STATUS_UNSUPPORTED, "whole numbers beyond 64 bits are not supported");
  return j_int(r);
}

jvalue tern__jinja_arithmetic(jinja *j, int op, jvalue a, jvalue b) {
  bool numbers = j_is_number(a) && j_is_number(b), whole = numbers && a.kind != J_FLOAT && b.kind != J_FLOAT;
  if (!numbers) {
    if (op == '+') return tern__jinja_add(j, a, b);
    if (op == '%' && a.kind == J_STRING) return tern__jinja_percent(j, a, b);
    if (op == '*' && (a.kind == J_STRING || j_is_sequence(a)) && (b.kind == J_INT || b.kind == J_BOOL))
      return repeat(j, a, j_whole(b));
    if (op == '*' && (b.kind == J_STRING || j_is_sequence(b)) && (a.kind == J_INT || a.kind == J_BOOL))
      return repeat(j, b, j_whole(a));
    return no_operator(j, op, a, b);
  }
  if (whole && op == OP_POW && j_whole(b) >= 0) return whole_power(j, j_whole(a), j_whole(b));
  if (whole && op != '/' && op != OP_POW) return whole_arithmetic(j, op, j_whole(a), j_whole(b));
  double x = a.kind == J_FLOAT ? a.as.f : (double)j_whole(a),
         y = b.kind == J_FLOAT ? b.as.f : (double)j_whole(b), r;
  if (y == 0 && (op == '/' || op == '%' || op == OP_FLOORDIV))
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "division by zero");
  switch (op) {
    case '+': return j_float(x + y);
    case '-': return j_float(x - y);
    case '*': return j_float(x * y);
    case '/': return j_float(x / y);
    case OP_POW: return j_float(pow(x, y));
    default: break;
  }
  r = fmod(x, y);
  if (op == '%') return j_float(r && (r < 0) != (y < 0) ? r + y : r);
  return j_float(floor((x - r) / y + 0.5) - (r && (r < 0) != (y < 0)));
}

bool tern__jinja_compare(jinja *j, int op, jvalue a, jvalue b) {
  if (op == OP_EQ) return tern__jinja_equal(j, a, b);
  if (op == OP_NE) return !tern__jinja_equal(j, a, b);
  if (op == OP_IN) return tern__jinja_contains(j, b, a);
  if (op == OP_NOT_IN) return !tern__jinja_contains(j, b, a);
  if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED)
    return tern__jinja_undefined_use(j, a.kind == J_UNDEFINED ? a : b), false;
  int c = tern__jinja_order(j, a, b);
  if (c == 2) return false; /* NaN */
  return op == '<' ? c < 0 : op == '>' ? c > 0 : op == OP_LE ? c <= 0 : c >= 0;
}
