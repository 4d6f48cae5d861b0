/* Pre-tokenizers of tokenizer.json: each cuts work->pieces finer, some rewrite the text. A new one is a
 * function and a line in the table. */
#include "text/tokenizer_internal.h"

#include <string.h>

typedef enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS } behavior;
typedef enum prepend { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } prepend;
typedef struct pre_tokenizer {
  tern__part part;
  tern__pattern *pattern;
  behavior behavior;
  bool invert;
  bool add_prefix_space, use_regex, raw_bytes; /* ByteLevel */
  prepend prepend;                             /* Metaspace */
  bool split;
  int32_t delimiter;
  int64_t length;
} pre_tokenizer;

static void swap_pieces(tern__work *w) {
  tern__piece *p = w->pieces;
  w->pieces = w->spare_pieces, w->spare_pieces = p;
}

static tern_status push_piece(tern__work *w, const tern__piece *from, uint32_t start, uint32_t end) {
  tern_status status = TERN_OK;
  if (end > start)
    TERN_ARRAY_PUSH(w->alloc, w->spare_pieces,
                    (tern__piece){from->start + start, end - start, from->at_origin && start == 0});
cleanup:
  return status;
}

/* Turns work->matches of one piece into pieces. */
static tern_status cut(tern__work *w, const tern__piece *piece, behavior how, bool invert) {
  tern_status status = TERN_OK;
  tern__match *m = w->matches;
  size_t n = tern__array_count(m);
  for (size_t i = 0; i < n; i++) m[i].hit ^= invert;
  if (how == REMOVED || how == ISOLATED) {
    for (size_t i = 0; i < n; i++)
      if (how == ISOLATED || !m[i].hit) TERN_TRY(push_piece(w, piece, m[i].start, m[i].end));
    return TERN_OK;
  }
  if (how ==
      MERGED_WITH_NEXT) { /* groups form from the right; `first` is the leftmost match of the group of i */
    for (size_t i = n; i-- > 0;) {
      bool after = i + 1 < n && m[i + 1].hit;
      if (m[i].hit && !after && i + 1 < n) m[i].end = m[i + 1].end, m[i + 1].end = m[i + 1].start;
    }
    for (size_t i = 0; i < n; i++) TERN_TRY(push_piece(w, piece, m[i].start, m[i].end));
    return TERN_OK;
  }
  bool before = false;
  for (size_t i = 0, group = 0; i < n; i++) {
    bool joins = i && (how == CONTIGUOUS ? m[i].hit == before : m[i].hit && !before);
    before = m[i].hit;
    if (joins) m[group].end = m[i].end, m[i].end = m[i].start;
    else group = i;
  }
  for (size_t i = 0; i < n; i++) TERN_TRY(push_piece(w, piece, m[i].start, m[i].end));
cleanup:
  return status;
}

static tern_status apply_split(const tern__part *part, tern__work *w) {
  const pre_tokenizer *self = (const pre_tokenizer *)part;
  tern_status status = TERN_OK;
  tern__array_clear(w->spare_pieces);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const tern__piece *p = &w->pieces[i];
    const char *text = w->text + p->start;
    if (self->pattern->scan && self->behavior == ISOLATED) { /* the usual case, without the list of matches */
      for (uint32_t at = 0; at < p->size;) {
        uint32_t n = (uint32_t)self->pattern->scan(text + at, p->size - at);
        TERN_TRY(push_piece(w, p, at, at + n));
        at += n;
      }
      continue;
    }
    TERN_TRY(tern__pattern_find(self->pattern, w, text, p->size));
    TERN_TRY(cut(w, p, self->behavior, self->invert));
  }
  swap_pieces(w);
cleanup:
  return status;
}

/* Cuts where a class of characters is; each such character is a match of its own. */
typedef bool (*class_fn)(int32_t cp);
static tern_status split_by_class(tern__work *w, class_fn is_match, behavior how) {
  tern_status status = TERN_OK;
  tern__array_clear(w->spare_pieces);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const tern__piece *p = &w->pieces[i];
    const char *text = w->text + p->start;
    size_t done = 0;
    tern__array_clear(w->matches);
    for (size_t at = 0, start = 0; at < p->size; start = at) {
      if (!is_match(tern__utf8_next(text, p->size, &at))) continue;
      if (start > done)
        TERN_ARRAY_PUSH(w->alloc, w->matches, (tern__match){(uint32_t)done, (uint32_t)start, false});
      TERN_ARRAY_PUSH(w->alloc, w->matches, (tern__match){(uint32_t)start, (uint32_t)at, true});
      done = at;
    }
    if (done < p->size) TERN_ARRAY_PUSH(w->alloc, w->matches, (tern__match){(uint32_t)done, p->size, false});
    TERN_TRY(cut(w, p, how, false));
  }
  swap_pieces(w);
cleanup:
  return status;
}

static bool is_space(int32_t cp) { return tern__unicode_flags(cp) & TERN_UNICODE_SPACE; }
static bool is_numeric(int32_t cp) { return tern__unicode_flags(cp) & TERN_UNICODE_NUMERIC; }
static bool is_number_15(int32_t cp) { return tern__unicode_flags_15(cp) & TERN_UNICODE_NUMBER; }
static bool is_punctuation(int32_t cp) {
  if (cp < 128)
    return cp > ' ' && cp < 127 && !(tern__unicode_flags(cp) & (TERN_UNICODE_LETTER | TERN_UNICODE_NUMBER));
  return tern__unicode_flags_8(cp) & TERN_UNICODE_PUNCTUATION;
}

static tern_status apply_bert(const tern__part *part, tern__work *w) {
  tern_status status = split_by_class(w, is_space, REMOVED);
  return status == TERN_OK ? split_by_class(w, is_punctuation, ISOLATED) : status;
}
static tern_status apply_whitespace_split(const tern__part *part, tern__work *w) {
  return split_by_class(w, is_space, REMOVED);
}
static tern_status apply_punctuation(const tern__part *part, tern__work *w) {
  const pre_tokenizer *self = (const pre_tokenizer *)part;
  return split_by_class(w, is_punctuation, self->behavior);
}
static tern_status apply_digits(const tern__part *part, tern__work *w) {
  const pre_tokenizer *self = (const pre_tokenizer *)part;
  return split_by_class(w, is_numeric, self->behavior);
}

static tern_status apply_numbers_15(const tern__part *part, tern__work *w) {
  const pre_tokenizer *self = (const pre_tokenizer *)part;
  return split_by_class(w, is_number_15, self->behavior);
}

/* \w+|[^\w\s]+ */
static tern_status apply_whitespace(const tern__part *part, tern__work *w) {
  tern_status status = TERN_OK;
  tern__array_clear(w->spare_pieces);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const tern__piece *p = &w->pieces[i];
    uint32_t group = 0, start = 0;
    for (size_t at = 0; at < p->size;) {
      uint32_t here = (uint32_t)at,
               flags = tern__unicode_flags(tern__utf8_next(w->text + p->start, p->size, &at));
      uint32_t kind = flags & TERN_UNICODE_WORD ? 2 : flags & TERN_UNICODE_SPACE ? 0 : 1;
      if (kind == group) continue;
      if (group) TERN_TRY(push_piece(w, p, start, here));
      group = kind, start = here;
    }
    if (group) TERN_TRY(push_piece(w, p, start, p->size));
  }
  swap_pieces(w);
cleanup:
  return status;
}

static tern_status apply_delimiter(const tern__part *part, tern__work *w) {
  const pre_tokenizer *self = (const pre_tokenizer *)part;
  tern_status status = TERN_OK;
  tern__array_clear(w->spare_pieces);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const tern__piece *p = &w->pieces[i];
    uint32_t done = 0;
    for (size_t at = 0, start = 0; at < p->size; start = at) {
      if (tern__utf8_next(w->text + p->start, p->size, &at) != self->delimiter) continue;
      TERN_TRY(push_piece(w, p, done, (uint32_t)start));
      done = (uint32_t)at;
    }
    TERN_TRY(push_piece(w, p, done, p->size));
  }
  swap_pieces(w);
cleanup:
  return status;
}

static tern_status apply_fixed_length(const tern__part *part, tern__work *w) {
  const pre_tokenizer *self = (const pre_tokenizer *)part;
  tern_status status = TERN_OK;
  tern__array_clear(w->spare_pieces);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const tern__piece *p = &w->pieces[i];
    size_t at = 0, start = 0;
    for (int64_t n = 0; at < p->size; n = 0, start = at) {
      while (n++ < self->length && at < p->size) tern__utf8_next(w->text + p->start, p->size, &at);
      TERN_TRY(push_piece(w, p, (uint32_t)start, (uint32_t)at));
    }
  }
  swap_pieces(w);
cleanup:
  return status;
}

/* Writes every piece anew into the other buffer through `write`, which appends to work->spare. */
typedef tern_status (*write_fn)(const pre_tokenizer *self, tern__work *w, const tern__piece *p);
static tern_status rewrite(const pre_tokenizer *self, tern__work *w, write_fn write) {
  tern_status status = TERN_OK;
  tern__array_clear(w->spare);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    size_t start = tern__array_count(w->spare);
    TERN_TRY(write(self, w, &w->pieces[i]));
    if (tern__array_count(w->spare) > UINT32_MAX / 2)
      TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "the text is too long");
    w->pieces[i].start = (uint32_t)start, w->pieces[i].size = (uint32_t)(tern__array_count(w->spare) - start);
  }
  char *t = w->text;
  w->text = w->spare, w->spare = t;
cleanup:
  return status;
}

static tern_status write_prefixed(const pre_tokenizer *self, tern__work *w, const tern__piece *p) {
  tern_status status = TERN_OK;
  if (w->text[p->start] != ' ') TERN_ARRAY_PUSH(w->alloc, w->spare, ' ');
  TERN_ARRAY_APPEND(w->alloc, w->spare, w->text + p->start, p->size);
cleanup:
  return status;
}

static tern_status write_spelled(const pre_tokenizer *self, tern__work *w, const tern__piece *p) {
  tern_status status = TERN_OK;
  size_t n = tern__array_count(w->spare);
  TERN_ARRAY_RESERVE(w->alloc, w->spare, (size_t)p->size * 2);
  for (uint32_t i = 0; i < p->size; i++)
    n += tern__utf8_put(w->spare + n, tern__byte_to_char((uint8_t)w->text[p->start + i]));
  tern__array_truncate(w->spare, n);
cleanup:
  return status;
}

static tern_status apply_byte_level(const tern__part *part, tern__work *w) {
  const pre_tokenizer *self = (const pre_tokenizer *)part;
  tern_status status = TERN_OK;
  static const tern__pattern gpt2 = {.scan = tern__scan_gpt2};
  static const pre_tokenizer split = {.pattern = (tern__pattern *)&gpt2, .behavior = ISOLATED};
  if (self->add_prefix_space) TERN_TRY(rewrite(self, w, write_prefixed));
  if (self->use_regex) TERN_TRY(apply_split(&split.part, w));
  if (!self->raw_bytes) TERN_TRY(rewrite(self, w, write_spelled));
cleanup:
  return status;
}

static tern_status write_metaspace(const pre_tokenizer *self, tern__work *w, const tern__piece *p) {
  tern_status status = TERN_OK;
  char mark[4];
  size_t mark_size = tern__utf8_put(mark, self->delimiter), size = p->size;
  const char *text = w->text + p->start;
  bool marked = text[0] == ' ' || (size >= mark_size && !memcmp(text, mark, mark_size));
  if (!marked && (self->prepend == PREPEND_ALWAYS || (self->prepend == PREPEND_FIRST && p->at_origin)))
    TERN_ARRAY_APPEND(w->alloc, w->spare, mark, mark_size);
  for (size_t i = 0; i < size; i++) {
    if (text[i] == ' ') TERN_ARRAY_APPEND(w->alloc, w->spare, mark, mark_size);
    else TERN_ARRAY_PUSH(w->alloc, w->spare, text[i]);
  }
cleanup:
  return status;
}

static tern_status apply_metaspace(const tern__part *part, tern__work *w) {
  const pre_tokenizer *self = (const pre_tokenizer *)part;
  tern_status status = TERN_OK;
  char mark[5] = {0};
  const tern__pattern pattern = {.literal = mark, .literal_size = tern__utf8_put(mark, self->delimiter)};
  const pre_tokenizer split = {.pattern = (tern__pattern *)&pattern, .behavior = MERGED_WITH_NEXT};
  TERN_TRY(rewrite(self, w, write_metaspace));
  if (self->split) TERN_TRY(apply_split(&split.part, w));
cleanup:
  return status;
}

tern_status tern__pre_tokenize(const tern__part *pre, tern__work *w) {
  tern_status status = TERN_OK;
  tern__array_clear(w->pieces);
  size_t size = tern__array_count(w->text);
  if (!size) return TERN_OK;
  TERN_ARRAY_PUSH(w->alloc, w->pieces, (tern__piece){0, (uint32_t)size, w->at_origin});
  if (pre) TERN_TRY(pre->apply(pre, w));
cleanup:
  return status;
}

bool tern__pre_tokenizer_take_bytes(tern__part *pre) {
  while (pre->n_children) pre = pre->children[pre->n_children - 1];
  return pre->apply == apply_byte_level && (((pre_tokenizer *)pre)->raw_bytes = true);
}

tern_status tern__pre_tokenizer_from_patterns(tern__arena *arena, const char *const *patterns, size_t n,
                                              bool with_bytes, tern__part **out) {
  tern_status status = TERN_OK;
  pre_tokenizer *all = tern__arena_calloc(arena, n + 2, sizeof *all);
  tern__part **children = tern__arena_calloc(arena, n + 1, sizeof *children);
  TERN_CHECK_ALLOC(all && children ? all : NULL);
  for (size_t i = 0; i < n; i++) {
    pre_tokenizer *one = &all[i + 1];
    bool digits = !strcmp(patterns[i], "\\p{N}"), runs = !strcmp(patterns[i], "\\p{N}+");
    one->part.apply = digits || runs ? apply_numbers_15 : apply_split;
    one->behavior = runs ? CONTIGUOUS : ISOLATED;
    if (!digits && !runs)
      TERN_TRY(tern__pattern_create(arena, patterns[i], TERN_PATTERN_LLAMA_CPP, &one->pattern));
    children[i] = &one->part;
  }
  if (with_bytes) children[n] = &all[n + 1].part, children[n]->apply = apply_byte_level;
  all[0].part = (tern__part){tern__part_apply_all, children, n + with_bytes};
  *out = &all[0].part;
cleanup:
  return status;
}

/* ---- reading */

static tern_status read_behavior(const tern__spec *spec, const char *fallback, behavior *out) {
  static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                      "Contiguous"};
  const char *name;
  tern_status status = tern__spec_string(spec, "behavior", fallback, &name);
  for (int i = 0; status == TERN_OK && i < 5; i++)
    if (!strcmp(names[i], name)) return *out = (behavior)i, TERN_OK;
  if (status != TERN_OK) return status;
  return tern__spec_fail(spec, TERN_STATUS_UNSUPPORTED, "the behavior '%s' is not supported", name);
}

static tern_status read_byte_level(const tern__spec *spec, tern__part *part) {
  pre_tokenizer *out = (pre_tokenizer *)part;
  tern_status status = tern__spec_bool(spec, "add_prefix_space", -1, &out->add_prefix_space);
  return status == TERN_OK ? tern__spec_bool(spec, "use_regex", true, &out->use_regex) : status;
}

static tern_status read_split(const tern__spec *spec, tern__part *part) {
  pre_tokenizer *out = (pre_tokenizer *)part;
  tern_status status = TERN_OK;
  TERN_TRY(tern__spec_pattern(spec, "pattern", &out->pattern));
  TERN_TRY(read_behavior(spec, NULL, &out->behavior));
  TERN_TRY(tern__spec_bool(spec, "invert", -1, &out->invert));
cleanup:
  return status;
}

static tern_status read_digits(const tern__spec *spec, tern__part *part) {
  pre_tokenizer *out = (pre_tokenizer *)part;
  bool individual = false;
  tern_status status = tern__spec_bool(spec, "individual_digits", -1, &individual);
  out->behavior = individual ? ISOLATED : CONTIGUOUS;
  return status;
}

static tern_status read_punctuation(const tern__spec *spec, tern__part *part) {
  pre_tokenizer *out = (pre_tokenizer *)part;
  return read_behavior(spec, "Isolated", &out->behavior);
}
static tern_status read_delimiter(const tern__spec *spec, tern__part *part) {
  pre_tokenizer *out = (pre_tokenizer *)part;
  return tern__spec_character(spec, "delimiter", &out->delimiter);
}
static tern_status read_fixed_length(const tern__spec *spec, tern__part *part) {
  pre_tokenizer *out = (pre_tokenizer *)part;
  return tern__spec_int(spec, "length", 5, 1, UINT32_MAX, &out->length);
}

static tern_status read_metaspace(const tern__spec *spec, tern__part *part) {
  pre_tokenizer *out = (pre_tokenizer *)part;
  tern_status status = TERN_OK;
  static const char *const schemes[] = {"always", "first", "never"};
  const char *scheme;
  bool add = true;
  TERN_TRY(tern__spec_character(spec, "replacement", &out->delimiter));
  TERN_TRY(tern__spec_bool(spec, "split", true, &out->split));
  TERN_TRY(tern__spec_bool(spec, "add_prefix_space", true, &add));
  TERN_TRY(tern__spec_string(spec, "prepend_scheme", add ? "always" : "never", &scheme));
  size_t i = 0;
  while (i < 3 && strcmp(schemes[i], scheme)) i++;
  if (i == 3)
    TERN_TRY(
        tern__spec_fail(spec, TERN_STATUS_UNSUPPORTED, "the prepend_scheme '%s' is not supported", scheme));
  out->prepend = (prepend)i;
cleanup:
  return status;
}

static const tern__part_kind kinds[] = {
    {"ByteLevel", apply_byte_level, read_byte_level},
    {"BertPreTokenizer", apply_bert, NULL},
    {"Whitespace", apply_whitespace, NULL},
    {"WhitespaceSplit", apply_whitespace_split, NULL},
    {"Punctuation", apply_punctuation, read_punctuation},
    {"Digits", apply_digits, read_digits},
    {"Split", apply_split, read_split},
    {"Metaspace", apply_metaspace, read_metaspace},
    {"CharDelimiterSplit", apply_delimiter, read_delimiter},
    {"FixedLength", apply_fixed_length, read_fixed_length},
};

const tern__part_family tern__pre_tokenizers = {"pre-tokenizer", "pretokenizers", sizeof(pre_tokenizer), kinds,
                                                sizeof kinds / sizeof *kinds};
