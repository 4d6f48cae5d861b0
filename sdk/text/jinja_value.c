/* Values of the Jinja interpreter: Python's str, repr, truth, equality, order and containers. */
#include "text/jinja_internal.h"

#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

jvalue tern__jinja_fail(jinja *j, tern_status code, const char *fmt, ...) {
  if (j->status == TERN_OK) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    j->status = tern__fail(code, "chat template, line %u: %s", j->line, text);
  }
  return j_undefined((jstr){"", 0});
}

void *tern__jinja_alloc(jinja *j, size_t count, size_t size) {
  size_t bytes;
  void *ptr = NULL;
  if (j->status != TERN_OK) return NULL;
  if (tern__mul_size(count, size, &bytes) && bytes <= JINJA_MAX_ARENA - j->arena_bytes) {
    j->arena_bytes += bytes;
    ptr = tern__arena_alloc(&j->arena, bytes);
  }
  if (!ptr)
    j_fail(j, TERN_STATUS_OUT_OF_MEMORY, "out of memory, or the template's values take more than 256 MiB");
  return ptr;
}

bool tern__jinja_step(jinja *j, size_t cost) {
  if (j->status != TERN_OK) return false;
  j->steps += cost;
  if (j->steps <= JINJA_MAX_STEPS) return true;
  j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "more than %d steps; the template loops without end",
         JINJA_MAX_STEPS);
  return false;
}

bool tern__jinja_enter(jinja *j) {
  if (++j->depth <= JINJA_EVAL_DEPTH) return true;
  j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "nested deeper than %d (a macro that calls itself?)",
         JINJA_EVAL_DEPTH);
  return false;
}

/* ---- text */

static tern_status append(jinja *j, const char *data, size_t size) {
  tern_status status = TERN_OK;
  TERN_ARRAY_APPEND(j->alloc, j->out, data, size);
cleanup:
  return status;
}

void tern__jinja_emit(jinja *j, const char *data, size_t size) {
  if (j->status != TERN_OK || !size) return;
  if (size > JINJA_MAX_OUTPUT - tern__array_count(j->out))
    j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "the text would be longer than %d bytes", JINJA_MAX_OUTPUT);
  else if (append(j, data, size) != TERN_OK) j->status = TERN_STATUS_OUT_OF_MEMORY;
}

void tern__jinja_emit_codepoint(jinja *j, uint32_t c) {
  char b[4];
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  if (n == 1) b[0] = (char)c;
  else {
    static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t k = n - 1; k; k--, c >>= 6) b[k] = (char)(0x80 | (c & 0x3f));
    b[0] = (char)(lead[n] | c);
  }
  tern__jinja_emit(j, b, n);
}

jvalue tern__jinja_capture(jinja *j, size_t mark) {
  size_t size = tern__array_count(j->out);
  if (j->status != TERN_OK || size < mark) return j_undefined((jstr){"", 0});
  size -= mark;
  char *copy = tern__jinja_alloc(j, size + 1, 1);
  if (copy && size) memcpy(copy, j->out + mark, size);
  tern__array_truncate(j->out, mark);
  return copy ? j_string(copy, size) : j_undefined((jstr){"", 0});
}

jstr tern__jinja_str(jinja *j, jvalue v) {
  if (v.kind == J_STRING) return v.as.s;
  size_t mark = tern__jinja_mark(j);
  tern__jinja_emit_str(j, v);
  jvalue s = tern__jinja_capture(j, mark);
  return s.kind == J_STRING ? s.as.s : (jstr){"", 0};
}

static void emit_text(jinja *j, const char *text) { tern__jinja_emit(j, text, strlen(text)); }

/* The shortest decimal that reads back as the same double, laid out as Python's float.__repr__ does. */
static void emit_float(jinja *j, double f) {
  char digits[40], text[64];
  if (isnan(f)) {
    emit_text(j, "nan");
    return;
  }
  if (isinf(f)) {
    emit_text(j, f < 0 ? "-inf" : "inf");
    return;
  }
  for (int precision = 0; precision < 17; precision++) {
    double back;
    snprintf(digits, sizeof digits, "%.*e", precision, f);
    for (char *p = digits; *p; p++) /* another locale's decimal point */
      if (*p != '-' && *p != '+' && *p != 'e' && (*p < '0' || *p > '9')) *p = '.';
    if (tern__jinja_parse_float((jstr){digits, strlen(digits)}, &back) && back == f) break;
  }
  char mantissa[24];
  size_t n = 0;
  const char *p = digits;
  bool negative = *p == '-';
  for (p += negative; *p && *p != 'e'; p++)
    if (*p != '.') mantissa[n++] = *p;
  int exponent = 0, sign = 1;
  if (*p == 'e') p++;
  if (*p == '-') sign = -1, p++;
  else if (*p == '+') p++;
  for (; *p; p++) exponent = exponent * 10 + (*p - '0');
  exponent *= sign;
  while (n > 1 && mantissa[n - 1] == '0') n--;
  mantissa[n] = 0;
  const char *minus = negative ? "-" : "";
  int m = (int)n;
  if (exponent < -4 || exponent >= 16)
    snprintf(text, sizeof text, "%s%c%s%se%c%02d", minus, mantissa[0], n > 1 ? "." : "", mantissa + 1,
             exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
  else if (exponent < 0) snprintf(text, sizeof text, "%s0.%.*s%s", minus, -exponent - 1, "0000", mantissa);
  else if (m <= exponent + 1)
    snprintf(text, sizeof text, "%s%s%.*s.0", minus, mantissa, exponent + 1 - m, "0000000000000000");
  else snprintf(text, sizeof text, "%s%.*s.%s", minus, exponent + 1, mantissa, mantissa + exponent + 1);
  emit_text(j, text);
}

static void emit_quoted(jinja *j, jstr s) {
  const char *end = s.data + s.size;
  bool single = memchr(s.data, '\'', s.size) != NULL, twice = memchr(s.data, '"', s.size) != NULL;
  char quote = single && !twice ? '"' : '\'', text[16];
  tern__jinja_emit(j, &quote, 1);
  for (const char *p = s.data; p < end;) {
    size_t size = tern__jinja_char_size(p, end);
    uint32_t c = tern__jinja_codepoint(p, size);
    if (c == (unsigned char)quote || c == '\\')
      snprintf(text, sizeof text, "\\%c", (char)c), emit_text(j, text);
    else if (c == '\n') emit_text(j, "\\n");
    else if (c == '\r') emit_text(j, "\\r");
    else if (c == '\t') emit_text(j, "\\t");
    else if (c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad)
      snprintf(text, sizeof text, "\\x%02x", c), emit_text(j, text);
    else tern__jinja_emit(j, p, size);
    p += size;
  }
  tern__jinja_emit(j, &quote, 1);
}

static void emit_items(jinja *j, const jlist *list, const char *open, const char *close) {
  emit_text(j, open);
  for (size_t i = 0; i < list->count && tern__jinja_step(j, 1); i++) {
    if (i) emit_text(j, ", ");
    tern__jinja_emit_repr(j, list->items[i]);
  }
  emit_text(j, close);
}

void tern__jinja_emit_repr(jinja *j, jvalue v) {
  if (v.kind == J_STRING) {
    emit_quoted(j, v.as.s);
    return;
  }
  if (v.kind == J_UNDEFINED) {
    emit_text(j, "Undefined");
    return;
  }
  tern__jinja_emit_str(j, v);
}

void tern__jinja_emit_str(jinja *j, jvalue v) {
  char text[32];
  if (j->status != TERN_OK) return;
  if (tern__jinja_enter(j)) switch (v.kind) {
      case J_UNDEFINED: break;
      case J_NONE: emit_text(j, "None"); break;
      case J_BOOL: emit_text(j, v.as.b ? "True" : "False"); break;
      case J_INT: snprintf(text, sizeof text, "%lld", (long long)v.as.i), emit_text(j, text); break;
      case J_FLOAT: emit_float(j, v.as.f); break;
      case J_STRING: tern__jinja_emit(j, v.as.s.data, v.as.s.size); break;
      case J_LIST: emit_items(j, v.as.list, "[", "]"); break;
      case J_TUPLE: emit_items(j, v.as.list, "(", v.as.list->count == 1 ? ",)" : ")"); break;
      case J_DICT:
        emit_text(j, "{");
        for (size_t i = 0; i < v.as.dict->count && tern__jinja_step(j, 1); i++) {
          if (i) emit_text(j, ", ");
          tern__jinja_emit_repr(j, v.as.dict->pairs[i].key);
          emit_text(j, ": ");
          tern__jinja_emit_repr(j, v.as.dict->pairs[i].value);
        }
        emit_text(j, "}");
        break;
      default:
        j_fail(j, TERN_STATUS_UNSUPPORTED, "the text of a %s is not supported", tern__jinja_type_name(v));
    }
  tern__jinja_leave(j);
}

/* ---- containers */

jlist *tern__jinja_list(jinja *j, size_t capacity) {
  jlist *list = tern__jinja_alloc(j, 1, sizeof *list);
  if (!list) return NULL;
  list->capacity = capacity;
  list->items = tern__jinja_alloc(j, capacity ? capacity : 1, sizeof *list->items);
  return list->items ? list : NULL;
}

bool tern__jinja_push(jinja *j, jlist *list, jvalue v) {
  if (!list || j->status != TERN_OK) return false;
  if (list->count >= list->capacity) {
    size_t capacity = list->capacity ? list->capacity * 2 : 4;
    jvalue *grown = tern__jinja_alloc(j, capacity, sizeof *grown);
    if (!grown) return false;
    memcpy(grown, list->items, list->count * sizeof *grown);
    list->items = grown, list->capacity = capacity;
  }
  list->items[list->count++] = v;
  return true;
}

jdict *tern__jinja_dict(jinja *j) { return tern__jinja_alloc(j, 1, sizeof(jdict)); }

jvalue *tern__jinja_dict_find(jinja *j, const jdict *dict, jvalue key) {
  if (!dict || !tern__jinja_step(j, 1 + dict->count / 16)) return NULL;
  for (size_t i = 0; i < dict->count; i++) {
    jpair *p = &dict->pairs[i];
    bool same = p->key.kind == J_STRING && key.kind == J_STRING
                    ? p->key.as.s.size == key.as.s.size &&
                          !memcmp(p->key.as.s.data, key.as.s.data, key.as.s.size)
                    : p->key.kind != J_STRING && key.kind != J_STRING && tern__jinja_equal(j, p->key, key);
    if (same) return &p->value;
  }
  return NULL;
}

jvalue *tern__jinja_dict_get(jinja *j, const jdict *dict, const char *key) {
  return tern__jinja_dict_find(j, dict, j_string(key, strlen(key)));
}

bool tern__jinja_dict_set(jinja *j, jdict *dict, jvalue key, jvalue value) {
  if (!dict || j->status != TERN_OK) return false;
  if (key.kind == J_LIST || key.kind == J_DICT)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "a %s cannot be a key", tern__jinja_type_name(key)), false;
  jvalue *found = tern__jinja_dict_find(j, dict, key);
  if (found) *found = value;
  if (found || j->status != TERN_OK) return found != NULL;
  if (dict->count == dict->capacity) {
    size_t capacity = dict->capacity ? dict->capacity * 2 : 4;
    jpair *grown = tern__jinja_alloc(j, capacity, sizeof *grown);
    if (!grown) return false;
    if (dict->count) memcpy(grown, dict->pairs, dict->count * sizeof *grown);
    dict->pairs = grown, dict->capacity = capacity;
  }
  dict->pairs[dict->count++] = (jpair){key, value};
  return true;
}

/* ---- Python's semantics */

bool tern__jinja_truth(jvalue v) {
  switch (v.kind) {
    case J_UNDEFINED:
    case J_NONE: return false;
    case J_BOOL: return v.as.b;
    case J_INT: return v.as.i != 0;
    case J_FLOAT: return v.as.f != 0;
    case J_STRING: return v.as.s.size != 0;
    case J_LIST:
    case J_TUPLE: return v.as.list->lazy || v.as.list->count;
    case J_DICT: return v.as.dict->count != 0;
    default: return true;
  }
}

static int order_numbers(jvalue a, jvalue b) {
  if (a.kind != J_FLOAT && b.kind != J_FLOAT) return (j_whole(a) > j_whole(b)) - (j_whole(a) < j_whole(b));
  double x = a.kind == J_FLOAT ? a.as.f : (double)j_whole(a),
         y = b.kind == J_FLOAT ? b.as.f : (double)j_whole(b);
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; /* 2: NaN */
}

static bool equal_dicts(jinja *j, const jdict *a, const jdict *b) {
  if (a->count != b->count) return false;
  for (size_t i = 0; i < a->count && tern__jinja_step(j, 1); i++) {
    const jvalue *other = tern__jinja_dict_find(j, b, a->pairs[i].key);
    if (!other || !tern__jinja_equal(j, a->pairs[i].value, *other)) return false;
  }
  return true;
}

bool tern__jinja_equal(jinja *j, jvalue a, jvalue b) {
  if (j_is_number(a) && j_is_number(b)) return order_numbers(a, b) == 0;
  if (a.kind != b.kind) return false;
  bool same = true;
  switch (a.kind) {
    case J_UNDEFINED:
    case J_NONE: return true;
    case J_STRING: return a.as.s.size == b.as.s.size && !memcmp(a.as.s.data, b.as.s.data, a.as.s.size);
    case J_LIST:
    case J_TUPLE: {
      if (a.as.list == b.as.list) return true;
      if (a.as.list->count != b.as.list->count || !tern__jinja_step(j, 1)) return false;
      if (tern__jinja_enter(j))
        for (size_t i = 0; same && i < a.as.list->count && tern__jinja_step(j, 1); i++)
          same = tern__jinja_equal(j, a.as.list->items[i], b.as.list->items[i]);
      tern__jinja_leave(j);
      return same;
    }
    case J_DICT:
      if (tern__jinja_enter(j)) same = equal_dicts(j, a.as.dict, b.as.dict);
      tern__jinja_leave(j);
      return same;
    default: return a.as.loop == b.as.loop;
  }
}

int tern__jinja_order(jinja *j, jvalue a, jvalue b) {
  if (j_is_number(a) && j_is_number(b)) return order_numbers(a, b);
  if (a.kind == J_STRING && b.kind == J_STRING) {
    size_t n = a.as.s.size < b.as.s.size ? a.as.s.size : b.as.s.size;
    int c = memcmp(a.as.s.data, b.as.s.data, n); /* UTF-8 sorts as its code points do */
    return c ? c : (a.as.s.size > b.as.s.size) - (a.as.s.size < b.as.s.size);
  }
  if (a.kind == b.kind && j_is_sequence(a) && j_is_sequence(b)) {
    const jlist *x = a.as.list, *y = b.as.list;
    int c = 0;
    if (tern__jinja_enter(j))
      for (size_t i = 0; !c && i < x->count && i < y->count && tern__jinja_step(j, 1); i++)
        if (!tern__jinja_equal(j, x->items[i], y->items[i]))
          c = tern__jinja_order(j, x->items[i], y->items[i]);
    tern__jinja_leave(j);
    return c ? c : (x->count > y->count) - (x->count < y->count);
  }
  j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "no order between %s and %s", tern__jinja_type_name(a),
         tern__jinja_type_name(b));
  return 0;
}

size_t tern__jinja_find(jstr text, jstr part, size_t from) {
  if (!part.size) return from <= text.size ? from : SIZE_MAX;
  while (from + part.size <= text.size) {
    const char *p = memchr(text.data + from, part.data[0], text.size - part.size - from + 1);
    if (!p) break;
    if (!memcmp(p, part.data, part.size)) return (size_t)(p - text.data);
    from = (size_t)(p - text.data) + 1;
  }
  return SIZE_MAX;
}

bool tern__jinja_contains(jinja *j, jvalue container, jvalue item) {
  if (container.kind == J_STRING) {
    if (item.kind == J_STRING) return tern__jinja_find(container.as.s, item.as.s, 0) != SIZE_MAX;
    j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "'in <string>' needs a string, not %s",
           tern__jinja_type_name(item));
    return false;
  }
  if (container.kind == J_DICT) return tern__jinja_dict_find(j, container.as.dict, item) != NULL;
  const jlist *list = tern__jinja_iterate(j, container);
  for (size_t i = 0; list && i < list->count && tern__jinja_step(j, 1); i++)
    if (tern__jinja_equal(j, list->items[i], item)) return true;
  return false;
}

jlist *tern__jinja_iterate(jinja *j, jvalue v) {
  if (v.kind == J_LIST || v.kind == J_TUPLE) {
    if (!v.as.list->lazy) return v.as.list;
    jlist *once = tern__jinja_list(j, 0);
    if (once) *once = *v.as.list, once->lazy = false;
    v.as.list->count = 0;
    return once;
  }
  jlist *list = NULL;
  if (v.kind == J_UNDEFINED) list = tern__jinja_list(j, 0);
  else if (v.kind == J_DICT && (list = tern__jinja_list(j, v.as.dict->count)))
    for (size_t i = 0; i < v.as.dict->count; i++) tern__jinja_push(j, list, v.as.dict->pairs[i].key);
  else if (v.kind == J_STRING && (list = tern__jinja_list(j, v.as.s.size))) {
    const char *p = v.as.s.data, *end = p + v.as.s.size;
    for (size_t size; p < end; p += size)
      size = tern__jinja_char_size(p, end), tern__jinja_push(j, list, j_string(p, size));
  }
  if (!list) j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "'%s' is not iterable", tern__jinja_type_name(v));
  return list;
}

const char *tern__jinja_type_name(jvalue v) {
  static const char *const names[] = {"undefined", "NoneType", "bool",   "int",  "float",
                                      "str",       "list",     "tuple",  "dict", "namespace",
                                      "macro",     "function", "method", "loop"};
  return names[v.kind];
}

/* ---- UTF-8 and numbers */

size_t tern__jinja_char_size(const char *p, const char *end) {
  unsigned char c = (unsigned char)*p;
  size_t n = c < 0xC2 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 1;
  if (n > (size_t)(end - p)) return 1;
  for (size_t i = 1; i < n; i++)
    if (((unsigned char)p[i] & 0xC0) != 0x80) return 1;
  return n;
}

size_t tern__jinja_last_char_size(const char *start, const char *end) {
  const char *p = end - 1;
  while (p > start && end - p < 4 && ((unsigned char)*p & 0xC0) == 0x80) p--;
  return tern__jinja_char_size(p, end) == (size_t)(end - p) ? (size_t)(end - p) : 1;
}

uint32_t tern__jinja_codepoint(const char *p, size_t size) {
  unsigned char c = (unsigned char)*p;
  if (size == 1) return c < 0x80 ? c : 0xFFFD;
  uint32_t v = c & (0x7fu >> size);
  for (size_t i = 1; i < size; i++) v = v << 6 | ((unsigned char)p[i] & 0x3f);
  return v;
}

size_t tern__jinja_length(jstr s) {
  size_t n = 0;
  for (const char *p = s.data, *end = p + s.size; p < end; n++) p += tern__jinja_char_size(p, end);
  return n;
}

size_t tern__jinja_byte_offset(jstr s, size_t character) {
  const char *p = s.data, *end = p + s.size;
  while (character-- && p < end) p += tern__jinja_char_size(p, end);
  return (size_t)(p - s.data);
}

bool tern__jinja_is_space(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

/* Brings Python's spelling into JSON's, whose reader rounds correctly whatever the locale. */
bool tern__jinja_parse_float(jstr s, double *out) {
  char text[60];
  size_t n = 0, digits = 0;
  const char *p = s.data, *end = p + s.size;
  int dropped = 0;
  while (p < end && tern__jinja_is_space((unsigned char)*p)) p++;
  while (end > p && tern__jinja_is_space((unsigned char)end[-1])) end--;
  if (p < end && (*p == '-' || *p == '+')) {
    if (*p == '-') text[n++] = '-';
    p++;
  }
  while (p + 1 < end && *p == '0' && p[1] >= '0' && p[1] <= '9') p++;
  for (; p < end && *p >= '0' && *p <= '9'; p++, digits++) {
    if (n < 40) text[n++] = *p;
    else dropped++;
  }
  if (!digits) text[n++] = '0';
  if (p < end && *p == '.') {
    text[n++] = '.';
    size_t fraction = 0;
    for (p++; p < end && *p >= '0' && *p <= '9'; p++, digits++, fraction++)
      if (n < 44) text[n++] = *p;
    if (!fraction) text[n++] = '0';
  }
  if (!digits) return false;
  int exponent = 0, sign = 1;
  if (p < end && (*p == 'e' || *p == 'E')) {
    if (++p < end && (*p == '-' || *p == '+')) sign = *p++ == '-' ? -1 : 1;
    if (p == end) return false;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
      if (exponent < 100000) exponent = exponent * 10 + (*p - '0');
  }
  if (p != end) return false;
  if (dropped > 100000) return false;
  n += (size_t)snprintf(text + n, sizeof text - n, "e%d", sign * exponent + dropped);
  tern__json *number;
  if (tern__json_parse(text, n, "number", &number) != TERN_OK) return false;
  *out = tern__json_number(number, 0);
  tern__json_close(number);
  return true;
}
