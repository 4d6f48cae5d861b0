/* Tests of jinja2 ("x is string"), as a table of functions. */
#include "text/jinja_internal.h"

static jvalue other(jinja *j, const jargs *args) {
  return args->count ? args->items[0]
                     : j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "a test's argument is missing");
}
static bool ordered(jinja *j, jvalue self, const jargs *args, bool less, bool more, bool same) {
  int c = tern__jinja_order(j, self, other(j, args));
  return c == 2 ? false : c < 0 ? less : c > 0 ? more : same;
}
static int64_t whole_of(jinja *j, jvalue v) {
  if (v.kind == J_INT || v.kind == J_BOOL) return j_whole(v);
  return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "this test needs a whole number, not %s",
                tern__jinja_type_name(v)),
         1;
}

#define TEST(name, value)                                            \
  static jvalue t_##name(jinja *j, jvalue self, const jargs *args) { \
    return (void)j, (void)self, (void)args, j_bool(value);           \
  }
TEST(defined, self.kind != J_UNDEFINED)
TEST(undefined, self.kind == J_UNDEFINED)
TEST(none, self.kind == J_NONE)
TEST(boolean, self.kind == J_BOOL)
TEST(true, self.kind == J_BOOL && self.as.b)
TEST(false, self.kind == J_BOOL && !self.as.b)
TEST(integer, self.kind == J_INT)
TEST(float, self.kind == J_FLOAT)
TEST(number, j_is_number(self))
TEST(string, self.kind == J_STRING)
TEST(mapping, self.kind == J_DICT)
TEST(sequence,
     self.kind == J_STRING || self.kind == J_DICT || self.kind == J_UNDEFINED || j_is_sequence(self))
TEST(iterable, self.kind == J_STRING || self.kind == J_DICT || self.kind == J_UNDEFINED ||
                   self.kind == J_LIST || self.kind == J_TUPLE || self.kind == J_LOOP)
TEST(callable,
     self.kind == J_MACRO || self.kind == J_FUNCTION || self.kind == J_METHOD || self.kind == J_UNDEFINED)
TEST(odd, whole_of(j, self) % 2 != 0)
TEST(even, whole_of(j, self) % 2 == 0)
TEST(lower, tern__jinja_truth(tern__jinja_equal(j, self, tern__jinja_lower(j, self, args)) ? self : j_none()))
TEST(upper, tern__jinja_truth(tern__jinja_equal(j, self, tern__jinja_upper(j, self, args)) ? self : j_none()))
TEST(in, tern__jinja_contains(j, other(j, args), self))
TEST(eq, tern__jinja_equal(j, self, other(j, args)))
TEST(ne, !tern__jinja_equal(j, self, other(j, args)))
TEST(lt, ordered(j, self, args, true, false, false))
TEST(le, ordered(j, self, args, true, false, true))
TEST(gt, ordered(j, self, args, false, true, false))
TEST(ge, ordered(j, self, args, false, true, true))

static jvalue t_divisibleby(jinja *j, jvalue self, const jargs *args) {
  int64_t by = whole_of(j, other(j, args)), v = whole_of(j, self);
  if (!by) return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "division by zero");
  return j_bool(by == -1 || v % by == 0);
}

bool tern__jinja_apply_test(jinja *j, jstr name, jvalue self, const jargs *args) {
  static const jbuiltin tests[] = {{"!=", t_ne},
                                   {"<", t_lt},
                                   {"<=", t_le},
                                   {"==", t_eq},
                                   {">", t_gt},
                                   {">=", t_ge},
                                   {"boolean", t_boolean},
                                   {"callable", t_callable},
                                   {"defined", t_defined},
                                   {"divisibleby", t_divisibleby},
                                   {"eq", t_eq},
                                   {"equalto", t_eq},
                                   {"even", t_even},
                                   {"false", t_false},
                                   {"float", t_float},
                                   {"ge", t_ge},
                                   {"greaterthan", t_gt},
                                   {"gt", t_gt},
                                   {"in", t_in},
                                   {"integer", t_integer},
                                   {"iterable", t_iterable},
                                   {"le", t_le},
                                   {"lessthan", t_lt},
                                   {"lower", t_lower},
                                   {"lt", t_lt},
                                   {"mapping", t_mapping},
                                   {"ne", t_ne},
                                   {"none", t_none},
                                   {"number", t_number},
                                   {"odd", t_odd},
                                   {"sequence", t_sequence},
                                   {"string", t_string},
                                   {"true", t_true},
                                   {"undefined", t_undefined},
                                   {"upper", t_upper},
                                   {NULL, NULL}};
  for (const jbuiltin *t = tests; t->name; t++)
    if (tern__jinja_str_is(name, t->name)) {
      jvalue v = t->fn(j, self, args);
      return v.kind == J_BOOL && v.as.b;
    }
  j_fail(j, TERN_STATUS_UNSUPPORTED, "the test '%.*s' is not supported",
         (int)(name.size > 60 ? 60 : name.size), name.data);
  return false;
}
