/* Methods of str, list, dict and the loop variable, as Python and jinja2 have them. */
#include "text/jinja_internal.h"

#include "text/unicode.h"

jvalue tern__jinja_arg(jinja *j, const jargs *args, size_t index, const char *name, jvalue fallback) {
  if (index < args->count) return args->items[index];
  jvalue *named = args->named ? tern__jinja_dict_get(j, args->named, name) : NULL;
  return named ? *named : fallback;
}

static jvalue need(jinja *j, const jargs *args, size_t index, const char *what) {
  if (index < args->count) return args->items[index];
  return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "%s: an argument is missing", what);
}

jstr tern__jinja_need_str(jinja *j, const jargs *args, size_t index, const char *what) {
  jvalue v = need(j, args, index, what);
  if (v.kind == J_STRING) return v.as.s;
  j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "%s needs a string, not %s", what, tern__jinja_type_name(v));
  return (jstr){"", 0};
}

int64_t tern__jinja_arg_whole(jinja *j, const jargs *args, size_t index, const char *name, int64_t fallback) {
  jvalue v = tern__jinja_arg(j, args, index, name, j_int(fallback));
  if (v.kind == J_INT || v.kind == J_BOOL) return j_whole(v);
  j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "%s must be a whole number, not %s", name,
         tern__jinja_type_name(v));
  return fallback;
}

/* ---- case */

static void emit_case(jinja *j, const char *p, size_t size, bool upper) {
  uint32_t c = tern__jinja_codepoint(p, size);
  int32_t lower[2];
  if (c == 0xFFFD) tern__jinja_emit(j, p, size);
  else if (upper && c == 0xDF) tern__jinja_emit(j, "SS", 2);
  else if (upper) tern__jinja_emit_codepoint(j, (uint32_t)tern__unicode_upper((int32_t)c));
  else
    for (size_t i = 0, n = tern__unicode_lower((int32_t)c, lower); i < n; i++)
      tern__jinja_emit_codepoint(j, (uint32_t)lower[i]);
}

/* `starts`: NULL, or says whether the character after `before` begins a word, which is then upper case. */
static jvalue map_case(jinja *j, jvalue self, bool upper, bool (*starts)(uint32_t before)) {
  jstr s = tern__jinja_str(j, self);
  size_t mark = tern__jinja_mark(j);
  uint32_t before = 0;
  for (const char *p = s.data, *end = p + s.size; p < end;) {
    size_t size = tern__jinja_char_size(p, end);
    emit_case(j, p, size, upper || (starts && starts(before)));
    before = tern__jinja_codepoint(p, size);
    p += size;
  }
  return tern__jinja_capture(j, mark);
}

static bool at_start(uint32_t before) { return before == 0; }
static bool after_uncased(uint32_t before) {
  return !before || !(tern__unicode_flags((int32_t)before) & TERN_UNICODE_LETTER);
}

jvalue tern__jinja_upper(jinja *j, jvalue self, const jargs *args) {
  return (void)args, map_case(j, self, true, NULL);
}
jvalue tern__jinja_lower(jinja *j, jvalue self, const jargs *args) {
  return (void)args, map_case(j, self, false, NULL);
}
jvalue tern__jinja_capitalize(jinja *j, jvalue self, const jargs *args) {
  return (void)args, map_case(j, self, false, at_start);
}
static jvalue str_title(jinja *j, jvalue self, const jargs *args) {
  return (void)args, map_case(j, self, false, after_uncased);
}

/* ---- str */

static bool strips(jstr chars, bool blanks, const char *p, size_t size) {
  if (blanks) return tern__jinja_is_space(tern__jinja_codepoint(p, size));
  return tern__jinja_find(chars, (jstr){p, size}, 0) != SIZE_MAX;
}

static jvalue strip(jinja *j, jvalue self, const jargs *args, bool left, bool right) {
  jvalue chars = tern__jinja_arg(j, args, 0, "chars", j_none());
  jstr s = tern__jinja_str(j, self), set = chars.kind == J_STRING ? chars.as.s : (jstr){"", 0};
  bool blanks = chars.kind == J_NONE;
  const char *p = s.data, *end = p + s.size;
  for (size_t n; left && p < end && strips(set, blanks, p, n = tern__jinja_char_size(p, end)); p += n) {}
  while (right && end > p) {
    size_t n = tern__jinja_last_char_size(p, end);
    if (!strips(set, blanks, end - n, n)) break;
    end -= n;
  }
  return j_string(p, (size_t)(end - p));
}

jvalue tern__jinja_strip(jinja *j, jvalue self, const jargs *args) {
  return strip(j, self, args, true, true);
}
static jvalue str_lstrip(jinja *j, jvalue self, const jargs *args) {
  return strip(j, self, args, true, false);
}
static jvalue str_rstrip(jinja *j, jvalue self, const jargs *args) {
  return strip(j, self, args, false, true);
}

static jvalue affix(jinja *j, jvalue self, const jargs *args, bool start) {
  jvalue what = need(j, args, 0, start ? "startswith" : "endswith");
  jlist one = {&what, 1, 1, false}, *list = j_is_sequence(what) ? what.as.list : &one;
  jstr s = self.as.s;
  for (size_t i = 0; i < list->count && j->status == TERN_OK; i++) {
    if (list->items[i].kind != J_STRING)
      return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "startswith and endswith need strings");
    jstr part = list->items[i].as.s;
    if (part.size <= s.size && !memcmp(start ? s.data : s.data + s.size - part.size, part.data, part.size))
      return j_bool(true);
  }
  return j_bool(false);
}
static jvalue str_startswith(jinja *j, jvalue self, const jargs *args) { return affix(j, self, args, true); }
static jvalue str_endswith(jinja *j, jvalue self, const jargs *args) { return affix(j, self, args, false); }

static jvalue remove_affix(jinja *j, jvalue self, const jargs *args, bool start) {
  jstr part = tern__jinja_need_str(j, args, 0, "removeprefix or removesuffix"), s = self.as.s;
  if (!tern__jinja_truth(affix(j, self, args, start)) || j->status != TERN_OK) return self;
  return j_string(start ? s.data + part.size : s.data, s.size - part.size);
}
static jvalue str_removeprefix(jinja *j, jvalue self, const jargs *args) {
  return remove_affix(j, self, args, true);
}
static jvalue str_removesuffix(jinja *j, jvalue self, const jargs *args) {
  return remove_affix(j, self, args, false);
}

static size_t blank_size(const char *p, const char *end) {
  if (p >= end) return 0;
  size_t n = tern__jinja_char_size(p, end);
  return tern__jinja_is_space(tern__jinja_codepoint(p, n)) ? n : 0;
}

static jvalue split_blanks(jinja *j, jstr s, int64_t limit) {
  jlist *list = tern__jinja_list(j, 0);
  const char *p = s.data, *end = p + s.size;
  for (size_t n;; limit--) {
    while ((n = blank_size(p, end))) p += n;
    if (p >= end || j->status != TERN_OK) break;
    const char *start = p;
    if (!limit) p = end;
    while (p < end && !blank_size(p, end)) p += tern__jinja_char_size(p, end);
    tern__jinja_push(j, list, j_string(start, (size_t)(p - start)));
    if (!limit) break;
  }
  return j_list(list);
}

static jvalue str_split(jinja *j, jvalue self, const jargs *args) {
  jvalue sep = tern__jinja_arg(j, args, 0, "sep", j_none());
  int64_t limit = tern__jinja_arg_whole(j, args, 1, "maxsplit", -1);
  jstr s = self.as.s;
  if (sep.kind == J_NONE) return split_blanks(j, s, limit);
  if (sep.kind != J_STRING || !sep.as.s.size)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "split needs a string that is not empty");
  jlist *list = tern__jinja_list(j, 0);
  size_t from = 0, at;
  for (; limit && (at = tern__jinja_find(s, sep.as.s, from)) != SIZE_MAX && j->status == TERN_OK; limit--) {
    tern__jinja_push(j, list, j_string(s.data + from, at - from));
    from = at + sep.as.s.size;
  }
  tern__jinja_push(j, list, j_string(s.data + from, s.size - from));
  return j_list(list);
}

static size_t find_last(jstr s, jstr part, size_t end) {
  for (size_t at = end >= part.size ? end - part.size + 1 : 0; at--;)
    if (!memcmp(s.data + at, part.data, part.size)) return at;
  return SIZE_MAX;
}

static jvalue str_rsplit(jinja *j, jvalue self, const jargs *args) {
  jvalue sep = tern__jinja_arg(j, args, 0, "sep", j_none());
  int64_t limit = tern__jinja_arg_whole(j, args, 1, "maxsplit", -1);
  if (limit < 0) return str_split(j, self, args);
  if (sep.kind != J_STRING || !sep.as.s.size)
    return j_fail(j, TERN_STATUS_UNSUPPORTED, "rsplit without a separator is not supported");
  jlist *list = tern__jinja_list(j, 0);
  size_t end = self.as.s.size, at;
  for (; limit && (at = find_last(self.as.s, sep.as.s, end)) != SIZE_MAX && j->status == TERN_OK; limit--) {
    tern__jinja_push(j, list, j_string(self.as.s.data + at + sep.as.s.size, end - at - sep.as.s.size));
    end = at;
  }
  tern__jinja_push(j, list, j_string(self.as.s.data, end));
  for (size_t i = 0; list && i < list->count / 2; i++) {
    jvalue t = list->items[i];
    list->items[i] = list->items[list->count - 1 - i], list->items[list->count - 1 - i] = t;
  }
  return j_list(list);
}

static bool is_line_end(uint32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

jlist *tern__jinja_split_lines(jinja *j, jstr s) {
  jlist *list = tern__jinja_list(j, 0);
  const char *p = s.data, *end = p + s.size, *start = p;
  while (p < end) {
    size_t n = tern__jinja_char_size(p, end);
    if (!is_line_end(tern__jinja_codepoint(p, n))) {
      p += n;
      continue;
    }
    tern__jinja_push(j, list, j_string(start, (size_t)(p - start)));
    p += *p == '\r' && p + 1 < end && p[1] == '\n' ? 2 : n;
    start = p;
  }
  if (start < end) tern__jinja_push(j, list, j_string(start, (size_t)(end - start)));
  return list;
}
static jvalue str_splitlines(jinja *j, jvalue self, const jargs *args) {
  return (void)args, j_list(tern__jinja_split_lines(j, self.as.s));
}

jvalue tern__jinja_replace(jinja *j, jvalue self, const jargs *args) {
  jstr s = tern__jinja_str(j, self), from = tern__jinja_str(j, need(j, args, 0, "replace")),
       to = tern__jinja_str(j, need(j, args, 1, "replace"));
  jvalue count = tern__jinja_arg(j, args, 2, "count", j_none());
  int64_t limit = count.kind == J_NONE ? -1 : tern__jinja_arg_whole(j, args, 2, "count", -1);
  size_t mark = tern__jinja_mark(j), start = 0, at = 0;
  for (; limit && j->status == TERN_OK && (at = tern__jinja_find(s, from, at)) != SIZE_MAX; limit--) {
    tern__jinja_emit(j, s.data + start, at - start);
    tern__jinja_emit(j, to.data, to.size);
    start = at + from.size;
    /* An empty pattern matches between all characters. */
    at = from.size      ? start
         : at == s.size ? SIZE_MAX - 1
                        : at + tern__jinja_char_size(s.data + at, s.data + s.size);
  }
  if (start < s.size) tern__jinja_emit(j, s.data + start, s.size - start);
  return tern__jinja_capture(j, mark);
}

static jvalue find(jinja *j, jvalue self, const jargs *args, bool last, bool must) {
  jstr part = tern__jinja_need_str(j, args, 0, "find"), s = self.as.s;
  if (args->count > 1) return j_fail(j, TERN_STATUS_UNSUPPORTED, "find with bounds is not supported");
  size_t at = last ? find_last(s, part, s.size) : tern__jinja_find(s, part, 0);
  if (at == SIZE_MAX && must) return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "substring not found");
  return j_int(at == SIZE_MAX ? -1 : (int64_t)tern__jinja_length((jstr){s.data, at}));
}
static jvalue str_find(jinja *j, jvalue self, const jargs *args) { return find(j, self, args, false, false); }
static jvalue str_rfind(jinja *j, jvalue self, const jargs *args) { return find(j, self, args, true, false); }
static jvalue str_index(jinja *j, jvalue self, const jargs *args) { return find(j, self, args, false, true); }

static jvalue str_count(jinja *j, jvalue self, const jargs *args) {
  jstr part = tern__jinja_need_str(j, args, 0, "count");
  if (!part.size) return j_int((int64_t)tern__jinja_length(self.as.s) + 1);
  int64_t n = 0;
  for (size_t at = 0; (at = tern__jinja_find(self.as.s, part, at)) != SIZE_MAX; at += part.size) n++;
  return j_int(n);
}

static jvalue str_join(jinja *j, jvalue self, const jargs *args) {
  const jlist *list = tern__jinja_iterate(j, need(j, args, 0, "join"));
  size_t mark = tern__jinja_mark(j);
  for (size_t i = 0; list && i < list->count && tern__jinja_step(j, 1); i++) {
    if (list->items[i].kind != J_STRING)
      return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "join: item %zu is a %s, not a string", i,
                    tern__jinja_type_name(list->items[i]));
    if (i) tern__jinja_emit_str(j, self);
    tern__jinja_emit_str(j, list->items[i]);
  }
  return tern__jinja_capture(j, mark);
}

/* str.format with {} {0} {name}; format specs and attribute paths are not supported. */
static jvalue str_format(jinja *j, jvalue self, const jargs *args) {
  size_t mark = tern__jinja_mark(j), automatic = 0;
  const char *p = self.as.s.data, *end = p + self.as.s.size;
  while (p < end && j->status == TERN_OK) {
    if ((*p == '{' || *p == '}') && p + 1 < end && p[1] == *p) {
      tern__jinja_emit(j, p, 1), p += 2;
      continue;
    }
    if (*p == '}') return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "format: single '}'");
    if (*p != '{') {
      tern__jinja_emit(j, p++, 1);
      continue;
    }
    const char *name = ++p;
    size_t index = 0;
    bool number = true;
    for (; p < end && *p != '}'; p++) {
      if (*p == ':' || *p == '!' || *p == '.' || *p == '[')
        return j_fail(j, TERN_STATUS_UNSUPPORTED, "format: '{%c' is not supported", *p);
      number = number && *p >= '0' && *p <= '9' && index < 1000;
      if (number) index = index * 10 + (size_t)(*p - '0');
    }
    if (p == end) return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "format: expected '}'");
    jvalue *found = number || !args->named
                        ? NULL
                        : tern__jinja_dict_find(j, args->named, j_string(name, (size_t)(p - name)));
    if (p == name) index = automatic++;
    if (number && index < args->count) found = &args->items[index];
    if (!found)
      return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "format: no argument for '{%.*s}'", (int)(p - name),
                    name);
    tern__jinja_emit_str(j, *found);
    p++;
  }
  return tern__jinja_capture(j, mark);
}

static jvalue all_chars(jinja *j, jvalue self, bool (*is)(uint32_t c)) {
  jstr s = self.as.s;
  (void)j;
  for (const char *p = s.data, *end = p + s.size; p < end;) {
    size_t n = tern__jinja_char_size(p, end);
    if (!is(tern__jinja_codepoint(p, n))) return j_bool(false);
    p += n;
  }
  return j_bool(s.size > 0);
}
static bool is_letter(uint32_t c) { return tern__unicode_flags((int32_t)c) & TERN_UNICODE_LETTER; }
static bool is_digit(uint32_t c) { return c >= '0' && c <= '9'; }
static bool is_alnum(uint32_t c) {
  return tern__unicode_flags((int32_t)c) & (TERN_UNICODE_LETTER | TERN_UNICODE_NUMBER);
}
static jvalue str_isalpha(jinja *j, jvalue self, const jargs *args) {
  return (void)args, all_chars(j, self, is_letter);
}
static jvalue str_isdigit(jinja *j, jvalue self, const jargs *args) {
  return (void)args, all_chars(j, self, is_digit);
}
static jvalue str_isalnum(jinja *j, jvalue self, const jargs *args) {
  return (void)args, all_chars(j, self, is_alnum);
}
static jvalue str_isspace(jinja *j, jvalue self, const jargs *args) {
  return (void)args, all_chars(j, self, tern__jinja_is_space);
}

static jvalue one_case(jinja *j, jvalue self, bool upper) {
  jargs none = {NULL, 0, NULL};
  jvalue up = tern__jinja_upper(j, self, &none), low = tern__jinja_lower(j, self, &none);
  return j_bool(!tern__jinja_equal(j, up, low) && tern__jinja_equal(j, self, upper ? up : low));
}
static jvalue str_isupper(jinja *j, jvalue self, const jargs *args) {
  return (void)args, one_case(j, self, true);
}
static jvalue str_islower(jinja *j, jvalue self, const jargs *args) {
  return (void)args, one_case(j, self, false);
}

/* ---- list and dict */

static jvalue list_index(jinja *j, jvalue self, const jargs *args) {
  jvalue what = need(j, args, 0, "index");
  for (size_t i = 0; i < self.as.list->count && tern__jinja_step(j, 1); i++)
    if (tern__jinja_equal(j, self.as.list->items[i], what)) return j_int((int64_t)i);
  return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "index: the value is not in the list");
}

static jvalue list_count(jinja *j, jvalue self, const jargs *args) {
  jvalue what = need(j, args, 0, "count");
  int64_t n = 0;
  for (size_t i = 0; i < self.as.list->count && tern__jinja_step(j, 1); i++)
    n += tern__jinja_equal(j, self.as.list->items[i], what);
  return j_int(n);
}

static jvalue dict_get(jinja *j, jvalue self, const jargs *args) {
  jvalue *found = tern__jinja_dict_find(j, self.as.dict, need(j, args, 0, "get"));
  return found ? *found : tern__jinja_arg(j, args, 1, "default", j_none());
}

static jvalue dict_list(jinja *j, jvalue self, int what) {
  jlist *list = tern__jinja_list(j, self.as.dict->count);
  for (size_t i = 0; i < self.as.dict->count && tern__jinja_step(j, 1); i++) {
    jpair *p = &self.as.dict->pairs[i];
    jlist *pair = what == 2 ? tern__jinja_list(j, 2) : NULL;
    if (pair) tern__jinja_push(j, pair, p->key), tern__jinja_push(j, pair, p->value);
    if (what < 2 || pair)
      tern__jinja_push(j, list, pair ? (jvalue){J_TUPLE, {.list = pair}} : what ? p->value : p->key);
  }
  return j_list(list);
}
static jvalue dict_keys(jinja *j, jvalue self, const jargs *args) {
  return (void)args, dict_list(j, self, 0);
}
static jvalue dict_values(jinja *j, jvalue self, const jargs *args) {
  return (void)args, dict_list(j, self, 1);
}
static jvalue dict_items(jinja *j, jvalue self, const jargs *args) {
  return (void)args, dict_list(j, self, 2);
}

static jvalue dict_copy(jinja *j, jvalue self, const jargs *args) {
  jdict *copy = tern__jinja_dict(j);
  (void)args;
  for (size_t i = 0; i < self.as.dict->count; i++)
    tern__jinja_dict_set(j, copy, self.as.dict->pairs[i].key, self.as.dict->pairs[i].value);
  return j_dict(copy);
}

static jvalue list_copy(jinja *j, jvalue self, const jargs *args) {
  return (void)args, tern__jinja_add(j, self, (jvalue){self.kind, {.list = &(jlist){NULL, 0, 0, false}}});
}

/* ---- refused by the sandbox, or not done here */

static jvalue refuse_change(jinja *j, jvalue self, const jargs *args) {
  (void)args;
  return j_fail(j, TERN_STATUS_INVALID_ARGUMENT,
                "templates must not change a %s (transformers' sandbox refuses it too)",
                tern__jinja_type_name(self));
}
static jvalue refuse_method(jinja *j, jvalue self, const jargs *args) {
  (void)args;
  return j_fail(j, TERN_STATUS_UNSUPPORTED, "this method of %s is not supported",
                tern__jinja_type_name(self));
}

static const jbuiltin str_methods[] = {{"strip", tern__jinja_strip},
                                       {"lstrip", str_lstrip},
                                       {"rstrip", str_rstrip},
                                       {"startswith", str_startswith},
                                       {"endswith", str_endswith},
                                       {"split", str_split},
                                       {"rsplit", str_rsplit},
                                       {"splitlines", str_splitlines},
                                       {"replace", tern__jinja_replace},
                                       {"upper", tern__jinja_upper},
                                       {"lower", tern__jinja_lower},
                                       {"title", str_title},
                                       {"capitalize", tern__jinja_capitalize},
                                       {"join", str_join},
                                       {"find", str_find},
                                       {"rfind", str_rfind},
                                       {"index", str_index},
                                       {"count", str_count},
                                       {"format", str_format},
                                       {"removeprefix", str_removeprefix},
                                       {"removesuffix", str_removesuffix},
                                       {"isalpha", str_isalpha},
                                       {"isdigit", str_isdigit},
                                       {"isalnum", str_isalnum},
                                       {"isspace", str_isspace},
                                       {"isupper", str_isupper},
                                       {"islower", str_islower},
                                       {"casefold", refuse_method},
                                       {"center", refuse_method},
                                       {"encode", refuse_method},
                                       {"expandtabs", refuse_method},
                                       {"format_map", refuse_method},
                                       {"isascii", refuse_method},
                                       {"isdecimal", refuse_method},
                                       {"isidentifier", refuse_method},
                                       {"isnumeric", refuse_method},
                                       {"isprintable", refuse_method},
                                       {"istitle", refuse_method},
                                       {"ljust", refuse_method},
                                       {"maketrans", refuse_method},
                                       {"partition", refuse_method},
                                       {"rindex", refuse_method},
                                       {"rjust", refuse_method},
                                       {"rpartition", refuse_method},
                                       {"swapcase", refuse_method},
                                       {"translate", refuse_method},
                                       {"zfill", refuse_method},
                                       {NULL, NULL}};
static const jbuiltin list_methods[] = {
    {"index", list_index},      {"count", list_count},    {"copy", list_copy},
    {"append", refuse_change},  {"clear", refuse_change}, {"extend", refuse_change},
    {"insert", refuse_change},  {"pop", refuse_change},   {"remove", refuse_change},
    {"reverse", refuse_change}, {"sort", refuse_change},  {NULL, NULL}};
static const jbuiltin tuple_methods[] = {{"index", list_index}, {"count", list_count}, {NULL, NULL}};
static const jbuiltin dict_methods[] = {{"get", dict_get},          {"items", dict_items},
                                        {"keys", dict_keys},        {"values", dict_values},
                                        {"copy", dict_copy},        {"fromkeys", refuse_method},
                                        {"clear", refuse_change},   {"pop", refuse_change},
                                        {"popitem", refuse_change}, {"setdefault", refuse_change},
                                        {"update", refuse_change},  {NULL, NULL}};

static jvalue loop_cycle(jinja *j, jvalue self, const jargs *args) {
  if (!args->count) return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "loop.cycle: no items");
  return args->items[self.as.loop->index % args->count];
}
static jvalue loop_changed(jinja *j, jvalue self, const jargs *args) {
  jloop *l = self.as.loop;
  jlist *now = tern__jinja_list(j, args->count);
  for (size_t i = 0; i < args->count; i++) tern__jinja_push(j, now, args->items[i]);
  jvalue v = (jvalue){now ? J_TUPLE : J_NONE, {.list = now}};
  bool changed = !l->changed || !tern__jinja_equal(j, l->last, v);
  l->changed = true, l->last = v;
  return j_bool(changed);
}
static const jbuiltin loop_methods[] = {{"cycle", loop_cycle}, {"changed", loop_changed}, {NULL, NULL}};

const jbuiltin *tern__jinja_find_builtin(const jbuiltin *table, jstr name) {
  for (; table && table->name; table++)
    if (tern__jinja_str_is(name, table->name)) return table;
  return NULL;
}

const jbuiltin *tern__jinja_find_method(jvalue self, jstr name) {
  switch (self.kind) {
    case J_STRING: return tern__jinja_find_builtin(str_methods, name);
    case J_LIST: return self.as.list->lazy ? NULL : tern__jinja_find_builtin(list_methods, name);
    case J_TUPLE: return tern__jinja_find_builtin(tuple_methods, name);
    case J_DICT: return tern__jinja_find_builtin(dict_methods, name);
    case J_LOOP: return tern__jinja_find_builtin(loop_methods, name);
    default: return NULL;
  }
}
