/* JSON for chat templates: messages and tools in, tojson out as Python's json.dumps writes it. base/json.h is
 * not enough here: templates see the difference between 1 and 1.0, and must give numbers back as they were
 * written. */
#include "text/jinja_internal.h"

#include <math.h>
#include <stdio.h>

enum { JSON_DEPTH = 128 };

typedef struct reader {
  jinja *j;
  const char *text, *p, *what;
  int depth;
} reader;

static jvalue bad(reader *r, const char *expected) {
  return j_fail(r->j, TERN_STATUS_INVALID_ARGUMENT, "%s: not valid JSON at byte %zu: expected %s", r->what,
                (size_t)(r->p - r->text), expected);
}

static void skip_space(reader *r) {
  while (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r') r->p++;
}

static bool read_hex(reader *r, uint32_t *out) {
  uint32_t v = 0;
  for (int i = 0; i < 4; i++, r->p++) {
    char c = *r->p;
    int d = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : -1;
    if (d < 0) return bad(r, "four hexadecimal digits"), false;
    v = v << 4 | (uint32_t)d;
  }
  *out = v;
  return true;
}

static bool read_escape(reader *r) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  char c = *r->p;
  if (c == 'u') {
    uint32_t v, low;
    r->p++;
    if (!read_hex(r, &v)) return false;
    if (v >= 0xD800 && v < 0xDC00 && r->p[0] == '\\' && r->p[1] == 'u') {
      const char *back = r->p;
      r->p += 2;
      if (!read_hex(r, &low)) return false;
      if (low >= 0xDC00 && low < 0xE000) v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
      else r->p = back;
    }
    /* A surrogate alone has no UTF-8 form. */
    tern__jinja_emit_codepoint(r->j, v >= 0xD800 && v < 0xE000 ? 0xFFFD : v);
    return true;
  }
  const char *at = c ? strchr(from, c) : NULL;
  if (!at) return bad(r, "an escape"), false;
  tern__jinja_emit(r->j, &to[at - from], 1);
  r->p++;
  return true;
}

static jvalue read_string(reader *r) {
  size_t mark = tern__jinja_mark(r->j);
  for (r->p++; *r->p != '"';) {
    const char *run = r->p;
    while (*r->p != '"' && *r->p != '\\' && (unsigned char)*r->p >= 0x20) r->p++;
    tern__jinja_emit(r->j, run, (size_t)(r->p - run));
    if (*r->p == '\\') {
      r->p++;
      if (!read_escape(r)) return j_none();
    } else if (*r->p != '"') return bad(r, "a closing quote");
  }
  r->p++;
  return tern__jinja_capture(r->j, mark);
}

static jvalue read_number(reader *r) {
  const char *start = r->p;
  bool whole = true, negative = *r->p == '-';
  int64_t i = 0;
  r->p += negative;
  if (!(*r->p >= '0' && *r->p <= '9')) return bad(r, "a value");
  bool fits = true;
  for (; *r->p >= '0' && *r->p <= '9'; r->p++)
    fits = fits && !__builtin_mul_overflow(i, (int64_t)10, &i) &&
           !__builtin_sub_overflow(i, (int64_t)(*r->p - '0'), &i);
  for (; (*r->p >= '0' && *r->p <= '9') || (*r->p && strchr(".eE+-", *r->p)); r->p++) whole = false;
  if (whole && (!fits || (!negative && i == INT64_MIN)))
    return j_fail(r->j, TERN_STATUS_UNSUPPORTED, "%s: whole numbers beyond 64 bits are not supported",
                  r->what);
  if (whole) return j_int(negative ? i : -i);
  double f;
  if (!tern__jinja_parse_float((jstr){start, (size_t)(r->p - start)}, &f)) return bad(r, "a number");
  return j_float(f);
}

static jvalue read_value(reader *r);

static jvalue read_container(reader *r) {
  bool object = *r->p++ == '{';
  char close = object ? '}' : ']';
  jlist *list = object ? NULL : tern__jinja_list(r->j, 0);
  jdict *dict = object ? tern__jinja_dict(r->j) : NULL;
  skip_space(r);
  for (bool first = true; *r->p != close && r->j->status == TERN_OK; first = false) {
    jvalue key = j_none();
    if (!first && *r->p++ != ',') return r->p--, bad(r, "a comma or the closing bracket");
    if (object) {
      skip_space(r);
      if (*r->p != '"') return bad(r, "a key");
      key = read_string(r);
      skip_space(r);
      if (*r->p != ':') return bad(r, "a colon");
      r->p++;
    }
    jvalue v = read_value(r);
    if (object) tern__jinja_dict_set(r->j, dict, key, v);
    else tern__jinja_push(r->j, list, v);
    skip_space(r);
  }
  if (r->j->status != TERN_OK) return j_none();
  r->p++;
  return object ? j_dict(dict) : j_list(list);
}

static bool take_word(reader *r, const char *word) {
  size_t n = strlen(word);
  if (strncmp(r->p, word, n)) return false;
  r->p += n;
  return true;
}

static jvalue read_value(reader *r) {
  skip_space(r);
  if (!tern__jinja_step(r->j, 1)) return j_none();
  switch (*r->p) {
    case '{':
    case '[': {
      if (++r->depth > JSON_DEPTH) return bad(r, "less nesting");
      jvalue v = read_container(r);
      r->depth--;
      return v;
    }
    case '"': return read_string(r);
    case 't':
      if (take_word(r, "true")) return j_bool(true);
      break;
    case 'f':
      if (take_word(r, "false")) return j_bool(false);
      break;
    case 'n':
      if (take_word(r, "null")) return j_none();
      break;
    default: return read_number(r);
  }
  return bad(r, "a value");
}

jvalue tern__jinja_from_json(jinja *j, const char *text, const char *what) {
  reader r = {j, text, text, what, 0};
  jvalue v = read_value(&r);
  if (j->status != TERN_OK) return v;
  skip_space(&r);
  if (*r.p) return bad(&r, "the end");
  return v;
}

/* ---- writing */

typedef struct writer {
  jinja *j;
  jstr indent, comma, colon;
  bool pretty, ascii, sorted;
} writer;

static void write_string(writer *w, jstr s) {
  static const char plain[] = "\"\\\n\r\t\f\b", letter[] = "\"\\nrtfb";
  jinja *j = w->j;
  char text[16];
  tern__jinja_emit(j, "\"", 1);
  for (const char *p = s.data, *end = p + s.size, *run = p; p < end || run < end;) {
    size_t size = p < end ? tern__jinja_char_size(p, end) : 0;
    uint32_t c = size ? tern__jinja_codepoint(p, size) : 0;
    const char *at = size && c ? memchr(plain, (int)(c < 0x80 ? c : 'x'), sizeof plain - 1) : NULL;
    if (size && !at && c >= 0x20 && (c < 0x7f || !w->ascii)) {
      p += size;
      continue;
    }
    tern__jinja_emit(j, run, (size_t)(p - run));
    if (!size) break;
    int n;
    if (at) n = snprintf(text, sizeof text, "\\%c", letter[at - plain]);
    else if (c >= 0x10000)
      n = snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + (c & 0x3ff));
    else n = snprintf(text, sizeof text, "\\u%04x", c);
    tern__jinja_emit(j, text, (size_t)n);
    run = p += size;
  }
  tern__jinja_emit(j, "\"", 1);
}

static void write_break(writer *w, uint32_t level) {
  if (!w->pretty) return;
  tern__jinja_emit(w->j, "\n", 1);
  while (level--) tern__jinja_emit(w->j, w->indent.data, w->indent.size);
}

static void write_scalar(writer *w, jvalue v) {
  jinja *j = w->j;
  if (v.kind == J_STRING) write_string(w, v.as.s);
  else if (v.kind == J_NONE) tern__jinja_emit(j, "null", 4);
  else if (v.kind == J_BOOL) tern__jinja_emit(j, v.as.b ? "true" : "false", v.as.b ? 4 : 5);
  else if (v.kind == J_FLOAT && isnan(v.as.f)) tern__jinja_emit(j, "NaN", 3);
  else if (v.kind == J_FLOAT && isinf(v.as.f))
    tern__jinja_emit(j, v.as.f < 0 ? "-Infinity" : "Infinity", v.as.f < 0 ? 9 : 8);
  else if (v.kind == J_INT || v.kind == J_FLOAT) tern__jinja_emit_str(j, v);
  else
    j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "tojson: a %s is not JSON serializable",
           tern__jinja_type_name(v));
}

static void write_key(writer *w, jvalue key) {
  if (key.kind == J_STRING) {
    write_string(w, key.as.s);
    return;
  }
  tern__jinja_emit(w->j, "\"", 1);
  write_scalar(w, key);
  tern__jinja_emit(w->j, "\"", 1);
}

static void sort_keys(jinja *j, jdict *dict) {
  for (size_t i = 1; i < dict->count && tern__jinja_step(j, 1 + i / 16); i++) {
    jpair p = dict->pairs[i];
    size_t k = i;
    for (; k && tern__jinja_order(j, p.key, dict->pairs[k - 1].key) < 0; k--)
      dict->pairs[k] = dict->pairs[k - 1];
    dict->pairs[k] = p;
  }
}

static const jdict *sorted_copy(jinja *j, const jdict *dict) {
  jdict *copy = tern__jinja_dict(j);
  if (!copy || !dict->count) return dict;
  *copy = (jdict){tern__jinja_alloc(j, dict->count, sizeof(jpair)), dict->count, dict->count};
  if (!copy->pairs) return dict;
  memcpy(copy->pairs, dict->pairs, dict->count * sizeof(jpair));
  sort_keys(j, copy);
  return copy;
}

static void write_value(writer *w, jvalue v, uint32_t level) {
  jinja *j = w->j;
  if (v.kind != J_DICT && !j_is_sequence(v)) {
    write_scalar(w, v);
    return;
  }
  bool object = v.kind == J_DICT;
  size_t count = object ? v.as.dict->count : v.as.list->count;
  if (!tern__jinja_enter(j)) count = 0;
  const jdict *dict = object ? w->sorted ? sorted_copy(j, v.as.dict) : v.as.dict : NULL;
  tern__jinja_emit(j, object ? "{" : "[", 1);
  for (size_t i = 0; i < count && tern__jinja_step(j, 1); i++) {
    if (i) tern__jinja_emit(j, w->comma.data, w->comma.size);
    write_break(w, level + 1);
    if (object) {
      write_key(w, dict->pairs[i].key);
      tern__jinja_emit(j, w->colon.data, w->colon.size);
      write_value(w, dict->pairs[i].value, level + 1);
    } else write_value(w, v.as.list->items[i], level + 1);
  }
  if (count) write_break(w, level);
  tern__jinja_emit(j, object ? "}" : "]", 1);
  tern__jinja_leave(j);
}

jvalue tern__jinja_to_json(jinja *j, jvalue self, const jargs *args) {
  static const char blanks[] = "                                ";
  jvalue ascii = tern__jinja_arg(j, args, 0, "ensure_ascii", j_bool(false));
  jvalue indent = tern__jinja_arg(j, args, 1, "indent", j_none());
  jvalue separators = tern__jinja_arg(j, args, 2, "separators", j_none());
  jvalue sorted = tern__jinja_arg(j, args, 3, "sort_keys", j_bool(false));
  writer w = {j,
              {"", 0},
              JSTR(", "),
              JSTR(": "),
              indent.kind != J_NONE,
              tern__jinja_truth(ascii),
              tern__jinja_truth(sorted)};
  if (indent.kind == J_STRING) w.indent = indent.as.s;
  else if (indent.kind == J_INT || indent.kind == J_BOOL) {
    int64_t n = j_whole(indent) < 0 ? 0 : j_whole(indent);
    if (n >= (int64_t)sizeof blanks)
      return j_fail(j, TERN_STATUS_UNSUPPORTED, "tojson: indent above 32 is not supported");
    w.indent = (jstr){blanks, (size_t)n};
  } else if (w.pretty)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "tojson: indent must be a number or a string");
  if (w.pretty) w.comma = JSTR(",");
  if (j_is_sequence(separators) && separators.as.list->count == 2) {
    w.comma = tern__jinja_str(j, separators.as.list->items[0]);
    w.colon = tern__jinja_str(j, separators.as.list->items[1]);
  } else if (separators.kind != J_NONE)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "tojson: separators must be (item, key)");
  size_t mark = tern__jinja_mark(j);
  write_value(&w, self, 0);
  return tern__jinja_capture(j, mark);
}
