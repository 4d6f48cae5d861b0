/* Filters of jinja2 ("x|trim"), as a table of functions. */
#include "text/jinja_internal.h"

#include <math.h>
#include <stdio.h>

#define NO_ARGS (&(jargs){NULL, 0, NULL})
static jvalue arg(jinja *j, const jargs *args, size_t i, const char *name, jvalue fallback) {
  return tern__jinja_arg(j, args, i, name, fallback);
}
static bool flag(jinja *j, const jargs *args, size_t i, const char *name) {
  return tern__jinja_truth(arg(j, args, i, name, j_bool(false)));
}
static jlist *lazy(jlist *list) {
  if (list) list->lazy = true;
  return list;
}
static jvalue fold(jinja *j, jvalue v) { return v.kind == J_STRING ? tern__jinja_lower(j, v, NO_ARGS) : v; }

/* "a.b.0": jinja2's make_attrgetter. */
static jvalue get_path(jinja *j, jvalue v, jvalue path) {
  if (path.kind != J_STRING) return path.kind == J_NONE ? v : tern__jinja_item(j, v, path);
  const char *p = path.as.s.data, *end = p + path.as.s.size;
  for (;;) {
    const char *start = p;
    int64_t number = 0;
    bool digits = true;
    for (; p < end && *p != '.'; p++) {
      digits = digits && *p >= '0' && *p <= '9' && number < 100000000;
      if (digits) number = number * 10 + (*p - '0');
    }
    v = tern__jinja_item(j, v, digits && p > start ? j_int(number) : j_string(start, (size_t)(p - start)));
    if (p == end || j->status != TERN_OK) return v;
    p++;
  }
}

/* The key to sort by: attribute may be "a,b". */
static jvalue sort_key(jinja *j, jvalue item, jvalue attribute, bool exact) {
  if (attribute.kind != J_STRING || tern__jinja_find(attribute.as.s, JSTR(","), 0) == SIZE_MAX) {
    jvalue v = get_path(j, item, attribute);
    return exact ? v : fold(j, v);
  }
  jlist *key = tern__jinja_list(j, 2);
  const char *p = attribute.as.s.data, *end = p + attribute.as.s.size;
  while (key && j->status == TERN_OK) {
    const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
    jvalue v = get_path(j, item, j_string(p, (size_t)(stop - p)));
    tern__jinja_push(j, key, exact ? v : fold(j, v));
    if (!comma) break;
    p = comma + 1;
  }
  return (jvalue){key ? J_TUPLE : J_UNDEFINED, {.list = key}};
}

/* Stable merge sort of items by keys, from the bottom up. */
static jlist *sort_by(jinja *j, const jlist *items, const jlist *keys, bool reverse) {
  size_t n = items->count;
  size_t *a = tern__jinja_alloc(j, n ? n : 1, sizeof *a), *b = tern__jinja_alloc(j, n ? n : 1, sizeof *b);
  jlist *out = tern__jinja_list(j, n);
  if (!a || !b || !out) return NULL;
  for (size_t i = 0; i < n; i++) a[i] = i;
  for (size_t width = 1; width < n && j->status == TERN_OK; width *= 2) {
    for (size_t low = 0; low < n; low += 2 * width) {
      size_t mid = low + width < n ? low + width : n, high = low + 2 * width < n ? low + 2 * width : n;
      for (size_t x = low, y = mid, k = low; k < high && tern__jinja_step(j, 1); k++) {
        int order = x < mid && y < high ? tern__jinja_order(j, keys->items[a[y]], keys->items[a[x]]) : 0;
        bool right = x >= mid || (y < high && (reverse ? order > 0 && order != 2 : order < 0));
        b[k] = right ? a[y++] : a[x++];
      }
    }
    size_t *t = a;
    a = b, b = t;
  }
  for (size_t i = 0; i < n && j->status == TERN_OK; i++) tern__jinja_push(j, out, items->items[a[i]]);
  return out;
}

static jlist *keys_of(jinja *j, const jlist *items, jvalue attribute, bool exact) {
  jlist *keys = items ? tern__jinja_list(j, items->count) : NULL;
  for (size_t i = 0; keys && i < items->count && j->status == TERN_OK; i++)
    tern__jinja_push(j, keys, sort_key(j, items->items[i], attribute, exact));
  return j->status == TERN_OK ? keys : NULL;
}

static jvalue f_sort(jinja *j, jvalue self, const jargs *args) {
  const jlist *items = tern__jinja_iterate(j, self);
  const jlist *keys = keys_of(j, items, arg(j, args, 2, "attribute", j_none()),
                              flag(j, args, 1, "case_sensitive"));
  return keys ? j_list(sort_by(j, items, keys, flag(j, args, 0, "reverse"))) : j_none();
}

static jvalue f_dictsort(jinja *j, jvalue self, const jargs *args) {
  if (self.kind != J_DICT)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "dictsort needs a dict, not %s",
                  tern__jinja_type_name(self));
  jvalue by = arg(j, args, 1, "by", j_string("key", 3));
  jvalue items = tern__jinja_find_method(self, JSTR("items"))->fn(j, self, NO_ARGS);
  if (items.kind != J_LIST || j->status != TERN_OK) return j_none();
  bool value = by.kind == J_STRING && tern__jinja_str_is(by.as.s, "value");
  const jlist *keys = keys_of(j, items.as.list, j_int(value), flag(j, args, 0, "case_sensitive"));
  return keys ? j_list(sort_by(j, items.as.list, keys, flag(j, args, 2, "reverse"))) : j_none();
}

static jvalue f_unique(jinja *j, jvalue self, const jargs *args) {
  const jlist *items = tern__jinja_iterate(j, self);
  const jlist *keys = keys_of(j, items, arg(j, args, 1, "attribute", j_none()),
                              flag(j, args, 0, "case_sensitive"));
  jlist *out = tern__jinja_list(j, 0);
  jdict *seen = tern__jinja_dict(j);
  for (size_t i = 0; keys && out && seen && i < keys->count && j->status == TERN_OK; i++) {
    size_t before = seen->count;
    tern__jinja_dict_set(j, seen, keys->items[i], j_none());
    if (seen->count > before) tern__jinja_push(j, out, items->items[i]);
  }
  return j_list(lazy(out));
}

static jvalue extreme(jinja *j, jvalue self, const jargs *args, int sign) {
  const jlist *items = tern__jinja_iterate(j, self);
  const jlist *keys = keys_of(j, items, arg(j, args, 1, "attribute", j_none()),
                              flag(j, args, 0, "case_sensitive"));
  if (!keys || !keys->count) return j_undefined(JSTR("the extreme of nothing"));
  size_t best = 0;
  for (size_t i = 1; i < keys->count && tern__jinja_step(j, 1); i++)
    if (sign * tern__jinja_order(j, keys->items[i], keys->items[best]) > 0) best = i;
  return items->items[best];
}
static jvalue f_min(jinja *j, jvalue self, const jargs *args) { return extreme(j, self, args, -1); }
static jvalue f_max(jinja *j, jvalue self, const jargs *args) { return extreme(j, self, args, 1); }

static jvalue f_sum(jinja *j, jvalue self, const jargs *args) {
  jvalue attribute = arg(j, args, 0, "attribute", j_none()), sum = arg(j, args, 1, "start", j_int(0));
  const jlist *items = tern__jinja_iterate(j, self);
  for (size_t i = 0; items && i < items->count && tern__jinja_step(j, 1); i++) {
    jvalue v = get_path(j, items->items[i], attribute);
    if (!j_is_number(sum) || !j_is_number(v)) sum = tern__jinja_add(j, sum, v);
    else if (sum.kind == J_FLOAT || v.kind == J_FLOAT)
      sum = j_float((sum.kind == J_FLOAT ? sum.as.f : (double)j_whole(sum)) +
                    (v.kind == J_FLOAT ? v.as.f : (double)j_whole(v)));
    else {
      int64_t total;
      if (__builtin_add_overflow(j_whole(sum), j_whole(v), &total))
        return j_fail(j, TERN_STATUS_UNSUPPORTED, "whole numbers beyond 64 bits are not supported");
      sum = j_int(total);
    }
  }
  return sum;
}

/* ---- text */

static jvalue f_title(jinja *j, jvalue self, const jargs *args) {
  jstr s = tern__jinja_str(j, self);
  size_t mark = tern__jinja_mark(j);
  bool start = true;
  (void)args;
  for (const char *p = s.data, *end = p + s.size; p < end;) {
    size_t n = tern__jinja_char_size(p, end);
    uint32_t c = tern__jinja_codepoint(p, n);
    jvalue one = j_string(p, n);
    tern__jinja_emit_str(j, start ? tern__jinja_upper(j, one, NO_ARGS) : tern__jinja_lower(j, one, NO_ARGS));
    start = tern__jinja_is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    p += n;
  }
  return tern__jinja_capture(j, mark);
}

static jvalue f_indent(jinja *j, jvalue self, const jargs *args) {
  jvalue width = arg(j, args, 0, "width", j_int(4));
  bool first = flag(j, args, 1, "first"), blank = flag(j, args, 2, "blank");
  jstr s = tern__jinja_str(j, self), pad = {NULL, 0};
  if (width.kind == J_STRING) pad = width.as.s;
  else if (width.kind != J_INT || width.as.i > 10000)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "indent: bad width");
  size_t mark = tern__jinja_mark(j);
  if (!pad.data) {
    for (int64_t i = 0; i < width.as.i; i++) tern__jinja_emit(j, " ", 1);
    pad = tern__jinja_str(j, tern__jinja_capture(j, mark));
  }
  tern__jinja_emit(j, s.data, s.size);
  tern__jinja_emit(j, "\n", 1); /* jinja2's quirk, for its split into lines */
  jvalue whole = tern__jinja_capture(j, mark);
  const jlist *lines = whole.kind == J_STRING ? tern__jinja_split_lines(j, whole.as.s) : NULL;
  for (size_t i = 0; lines && i < lines->count && tern__jinja_step(j, 1); i++) {
    jstr line = lines->items[i].as.s;
    if (i) tern__jinja_emit(j, "\n", 1);
    if (i ? blank || line.size : first) tern__jinja_emit(j, pad.data, pad.size);
    tern__jinja_emit(j, line.data, line.size);
  }
  return tern__jinja_capture(j, mark);
}

static jvalue f_join(jinja *j, jvalue self, const jargs *args) {
  jvalue separator = arg(j, args, 0, "d", j_string("", 0)),
         attribute = arg(j, args, 1, "attribute", j_none());
  const jlist *items = tern__jinja_iterate(j, self);
  jstr between = tern__jinja_str(j, separator);
  size_t mark = tern__jinja_mark(j);
  for (size_t i = 0; items && i < items->count && tern__jinja_step(j, 1); i++) {
    if (i) tern__jinja_emit(j, between.data, between.size);
    jvalue v = items->items[i];
    tern__jinja_emit_str(j, attribute.kind == J_NONE ? v : get_path(j, v, attribute));
  }
  return tern__jinja_capture(j, mark);
}

static jvalue f_string(jinja *j, jvalue self, const jargs *args) {
  jstr s = tern__jinja_str(j, self);
  return (void)args, j_string(s.data, s.size);
}

static jvalue f_format(jinja *j, jvalue self, const jargs *args) {
  if (args->named)
    return j_fail(j, TERN_STATUS_UNSUPPORTED, "format with keyword arguments is not supported");
  jlist list = {args->items, args->count, args->count, false};
  return tern__jinja_percent(j, self, (jvalue){J_TUPLE, {.list = &list}});
}

/* One conversion of "..." % values, from after '%'; returns the byte after it. */
static const char *percent_one(jinja *j, const char *p, const char *end, jvalue v) {
  char spec[16] = "%", text[400];
  size_t n = 1;
  while (p < end && n < 10 && strchr("-0 +123456789.", *p) && *p) spec[n++] = *p++;
  double f = v.kind == J_FLOAT ? v.as.f : j_is_number(v) ? (double)j_whole(v) : 0;
  int size = 0;
  char c = p < end ? *p : 0;
  for (size_t i = 1, digits = 0; i < n; i++)
    if ((digits = spec[i] >= '0' && spec[i] <= '9' ? digits + 1 : 0) > 2) c = 0; /* bounded width */
  if ((c == 's' || c == 'r') && n == 1) {
    if (c == 's') tern__jinja_emit_str(j, v);
    else tern__jinja_emit_repr(j, v);
  } else if ((c == 'd' || c == 'i' || c == 'x') && j_is_number(v) && (v.kind != J_FLOAT || fabs(f) < 9e18)) {
    snprintf(spec + n, sizeof spec - n, "ll%c", c == 'i' ? 'd' : c);
    size = snprintf(text, sizeof text, spec, (long long)(v.kind == J_FLOAT ? (int64_t)f : j_whole(v)));
  } else if (c == 'f' && j_is_number(v) && fabs(f) < 1e200) {
    snprintf(spec + n, sizeof spec - n, "f");
    size = snprintf(text, sizeof text, spec, f);
    for (char *q = text; *q; q++)
      if (*q == ',') *q = '.'; /* another locale's decimal point */
  } else
    j_fail(j, TERN_STATUS_UNSUPPORTED, "'%%' formatting of a %s this way is not supported",
           tern__jinja_type_name(v));
  if (size > 0 && (size_t)size < sizeof text) tern__jinja_emit(j, text, (size_t)size);
  return p + 1;
}

jvalue tern__jinja_percent(jinja *j, jvalue format, jvalue values) {
  jstr s = tern__jinja_str(j, format);
  jlist one = {&values, 1, 1, false};
  const jlist *list = values.kind == J_TUPLE ? values.as.list : &one;
  size_t mark = tern__jinja_mark(j), used = 0;
  for (const char *p = s.data, *end = p + s.size; p < end && j->status == TERN_OK;) {
    if (*p != '%') {
      tern__jinja_emit(j, p++, 1);
      continue;
    }
    if (p + 1 < end && p[1] == '%') {
      tern__jinja_emit(j, p, 1), p += 2;
      continue;
    }
    if (used == list->count)
      return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "not enough arguments for format string");
    p = percent_one(j, p + 1, end, list->items[used++]);
  }
  if (values.kind == J_TUPLE && used < list->count)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "not all arguments converted during string formatting");
  return tern__jinja_capture(j, mark);
}

/* ---- numbers */

static bool parse_int(jstr s, int64_t *out) {
  const char *p = s.data, *end = p + s.size;
  while (p < end && tern__jinja_is_space((unsigned char)*p)) p++;
  while (end > p && tern__jinja_is_space((unsigned char)end[-1])) end--;
  bool negative = p < end && *p == '-';
  if (p < end && (*p == '-' || *p == '+')) p++;
  int64_t v = 0;
  bool any = false;
  for (; p < end && *p >= '0' && *p <= '9'; p++, any = true)
    if (__builtin_mul_overflow(v, (int64_t)10, &v) || __builtin_sub_overflow(v, (int64_t)(*p - '0'), &v))
      return false;
  if (p != end || !any || (!negative && v == INT64_MIN)) return false;
  *out = negative ? v : -v;
  return true;
}

static jvalue f_int(jinja *j, jvalue self, const jargs *args) {
  jvalue fallback = arg(j, args, 0, "default", j_int(0)), base = arg(j, args, 1, "base", j_int(10));
  int64_t i;
  double f = self.kind == J_FLOAT ? self.as.f : NAN;
  if (self.kind == J_STRING && (base.kind != J_INT || base.as.i != 10))
    return j_fail(j, TERN_STATUS_UNSUPPORTED, "int with another base than 10 is not supported");
  if (self.kind == J_INT || self.kind == J_BOOL) return j_int(j_whole(self));
  if (self.kind == J_STRING && parse_int(self.as.s, &i)) return j_int(i);
  if (self.kind == J_STRING && !tern__jinja_parse_float(self.as.s, &f)) return fallback;
  if (self.kind == J_UNDEFINED)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "'%.*s' is undefined",
                  (int)(self.as.s.size > 80 ? 80 : self.as.s.size), self.as.s.data);
  if (isnan(f) || fabs(f) >= 9.2e18) return fallback;
  return j_int((int64_t)f);
}

static jvalue f_float(jinja *j, jvalue self, const jargs *args) {
  jvalue fallback = arg(j, args, 0, "default", j_float(0));
  double f;
  if (self.kind == J_FLOAT) return self;
  if (j_is_number(self)) return j_float((double)j_whole(self));
  return self.kind == J_STRING && tern__jinja_parse_float(self.as.s, &f) ? j_float(f) : fallback;
}

static jvalue f_abs(jinja *j, jvalue self, const jargs *args) {
  (void)args;
  if (self.kind == J_FLOAT) return j_float(fabs(self.as.f));
  if (!j_is_number(self) || j_whole(self) == INT64_MIN)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "abs needs a number, not %s", tern__jinja_type_name(self));
  return j_int(j_whole(self) < 0 ? -j_whole(self) : j_whole(self));
}

static jvalue f_round(jinja *j, jvalue self, const jargs *args) {
  jvalue precision = arg(j, args, 0, "precision", j_int(0)),
         method = arg(j, args, 1, "method", j_string("common", 6));
  if (!j_is_number(self) || precision.kind != J_INT || precision.as.i < 0 || precision.as.i > 15 ||
      method.kind != J_STRING)
    return j_fail(j, TERN_STATUS_UNSUPPORTED, "round of a %s with this precision is not supported",
                  tern__jinja_type_name(self));
  if (tern__jinja_str_is(method.as.s, "common")) {
    if (self.kind != J_FLOAT) return j_int(j_whole(self));
    char text[400];
    double f = self.as.f;
    if (!isfinite(f) || fabs(f) > 1e22) return self;
    /* printf rounds the exact binary value to even, as Python does. */
    int n = snprintf(text, sizeof text, "%.*f", (int)precision.as.i, f);
    for (char *q = text; *q; q++)
      if (*q == ',') *q = '.';
    tern__jinja_parse_float((jstr){text, (size_t)n}, &f);
    return j_float(f);
  }
  double scale = pow(10, (double)precision.as.i),
         f = (self.kind == J_FLOAT ? self.as.f : (double)j_whole(self)) * scale;
  return j_float((tern__jinja_str_is(method.as.s, "ceil") ? ceil(f) : floor(f)) / scale);
}

/* ---- sequences */

static jvalue f_length(jinja *j, jvalue self, const jargs *args) {
  (void)args;
  if (self.kind == J_STRING) return j_int((int64_t)tern__jinja_length(self.as.s));
  if (self.kind == J_DICT) return j_int((int64_t)self.as.dict->count);
  if (self.kind == J_UNDEFINED) return j_int(0);
  if (j_is_sequence(self)) return j_int((int64_t)self.as.list->count);
  return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "a %s has no length",
                self.kind == J_LIST ? "generator" : tern__jinja_type_name(self));
}

static jvalue f_list(jinja *j, jvalue self, const jargs *args) {
  const jlist *items = tern__jinja_iterate(j, self);
  jlist *copy = items ? tern__jinja_list(j, items->count) : NULL;
  (void)args;
  for (size_t i = 0; copy && i < items->count && tern__jinja_push(j, copy, items->items[i]); i++) {}
  return j_list(copy);
}

static jvalue f_first(jinja *j, jvalue self, const jargs *args) {
  const jlist *items = tern__jinja_iterate(j, self);
  return (void)args,
         items && items->count ? items->items[0] : j_undefined(JSTR("the first item of an empty sequence"));
}

static jvalue f_last(jinja *j, jvalue self, const jargs *args) {
  (void)args;
  if (self.kind == J_LIST && self.as.list->lazy)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "last needs a sequence, not a generator");
  const jlist *items = tern__jinja_iterate(j, self);
  return items && items->count ? items->items[items->count - 1]
                               : j_undefined(JSTR("the last item of an empty sequence"));
}

static jvalue f_reverse(jinja *j, jvalue self, const jargs *args) {
  const jlist *items = tern__jinja_iterate(j, self);
  jlist *out = items ? tern__jinja_list(j, items->count) : NULL;
  (void)args;
  for (size_t i = items ? items->count : 0; out && i-- && tern__jinja_push(j, out, items->items[i]);) {}
  return self.kind == J_STRING && out ? f_join(j, j_list(out), NO_ARGS) : j_list(lazy(out));
}

static jvalue f_items(jinja *j, jvalue self, const jargs *args) {
  if (self.kind == J_UNDEFINED) return j_list(lazy(tern__jinja_list(j, 0)));
  if (self.kind != J_DICT)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "items needs a dict, not %s", tern__jinja_type_name(self));
  jvalue v = tern__jinja_find_method(self, JSTR("items"))->fn(j, self, args);
  if (v.kind == J_LIST) lazy(v.as.list);
  return v;
}

static jvalue f_default(jinja *j, jvalue self, const jargs *args) {
  jvalue fallback = arg(j, args, 0, "default_value", j_string("", 0));
  return self.kind == J_UNDEFINED || (flag(j, args, 1, "boolean") && !tern__jinja_truth(self)) ? fallback
                                                                                               : self;
}

/* Without autoescape jinja2's Markup only shows when it meets `+` or a method, which then escape HTML: not
 * done here. */
static jvalue f_safe(jinja *j, jvalue self, const jargs *args) { return f_string(j, self, args); }

static jargs rest(const jargs *args, size_t from) {
  return (jargs){args->count > from ? args->items + from : NULL, args->count > from ? args->count - from : 0,
                 args->named};
}

static jvalue f_map(jinja *j, jvalue self, const jargs *args) {
  const jlist *items = tern__jinja_truth(self) ? tern__jinja_iterate(j, self)
                                               : NULL; /* as jinja2: `if value:` */
  jlist *out = tern__jinja_list(j, 0);
  jvalue attribute = args->count ? j_none() : arg(j, args, 99, "attribute", j_none()),
         fallback = arg(j, args, 99, "default", j_none());
  if (!args->count && attribute.kind == J_NONE)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "map needs a filter's name or attribute=");
  jargs more = rest(args, 1);
  if (args->count && args->items[0].kind != J_STRING)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "map needs a filter's name");
  for (size_t i = 0; items && i < items->count && tern__jinja_step(j, 1); i++) {
    jvalue v = args->count ? tern__jinja_apply_filter(j, args->items[0].as.s, items->items[i], &more)
                           : get_path(j, items->items[i], attribute);
    if (!args->count && v.kind == J_UNDEFINED && fallback.kind != J_NONE) v = fallback;
    tern__jinja_push(j, out, v);
  }
  return j_list(lazy(out));
}

/* select, reject, selectattr and rejectattr: [attribute,] test, arguments of the test. */
static jvalue choose(jinja *j, jvalue self, const jargs *args, bool attribute, bool keep) {
  const jlist *items = tern__jinja_truth(self) ? tern__jinja_iterate(j, self)
                                               : NULL; /* as jinja2: `if seq:` */
  jlist *out = tern__jinja_list(j, 0);
  size_t k = attribute ? 1 : 0;
  if (args->count < k)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "selectattr and rejectattr need an attribute");
  if (args->count > k && args->items[k].kind != J_STRING)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "select and reject need a test's name");
  jargs more = rest(args, k + 1);
  for (size_t i = 0; items && i < items->count && tern__jinja_step(j, 1); i++) {
    jvalue v = attribute ? get_path(j, items->items[i], args->items[0]) : items->items[i];
    bool yes = args->count > k ? tern__jinja_apply_test(j, args->items[k].as.s, v, &more)
                               : tern__jinja_truth(v);
    if (yes == keep) tern__jinja_push(j, out, items->items[i]);
  }
  return j_list(lazy(out));
}
static jvalue f_select(jinja *j, jvalue self, const jargs *args) {
  return choose(j, self, args, false, true);
}
static jvalue f_reject(jinja *j, jvalue self, const jargs *args) {
  return choose(j, self, args, false, false);
}
static jvalue f_selectattr(jinja *j, jvalue self, const jargs *args) {
  return choose(j, self, args, true, true);
}
static jvalue f_rejectattr(jinja *j, jvalue self, const jargs *args) {
  return choose(j, self, args, true, false);
}

jvalue tern__jinja_apply_filter(jinja *j, jstr name, jvalue self, const jargs *args) {
  static const jbuiltin filters[] = {{"abs", f_abs},
                                     {"capitalize", tern__jinja_capitalize},
                                     {"count", f_length},
                                     {"d", f_default},
                                     {"default", f_default},
                                     {"dictsort", f_dictsort},
                                     {"first", f_first},
                                     {"float", f_float},
                                     {"format", f_format},
                                     {"indent", f_indent},
                                     {"int", f_int},
                                     {"items", f_items},
                                     {"join", f_join},
                                     {"last", f_last},
                                     {"length", f_length},
                                     {"list", f_list},
                                     {"lower", tern__jinja_lower},
                                     {"map", f_map},
                                     {"max", f_max},
                                     {"min", f_min},
                                     {"reject", f_reject},
                                     {"rejectattr", f_rejectattr},
                                     {"replace", tern__jinja_replace},
                                     {"reverse", f_reverse},
                                     {"round", f_round},
                                     {"safe", f_safe},
                                     {"select", f_select},
                                     {"selectattr", f_selectattr},
                                     {"sort", f_sort},
                                     {"string", f_string},
                                     {"sum", f_sum},
                                     {"title", f_title},
                                     {"tojson", tern__jinja_to_json},
                                     {"trim", tern__jinja_strip},
                                     {"unique", f_unique},
                                     {"upper", tern__jinja_upper},
                                     {NULL, NULL}};
  for (const jbuiltin *f = filters; f->name; f++)
    if (tern__jinja_str_is(name, f->name)) {
      jvalue v = j_none();
      if (tern__jinja_enter(j)) v = f->fn(j, self, args);
      tern__jinja_leave(j);
      return v;
    }
  return j_fail(j, TERN_STATUS_UNSUPPORTED, "the filter '%.*s' is not supported",
                (int)(name.size > 60 ? 60 : name.size), name.data);
}
