/* Normalizers of tokenizer.json: each rewrites work->text. A new one is a function and a line in the table.
 */
#include "text/tokenizer_internal.h"

#include <string.h>

typedef struct normalizer {
  tern__part part;
  tern__unicode_form form;
  tern__pattern *pattern;
  const char *content;
  size_t content_size;
  bool clean_text, handle_chinese_chars, strip_accents, lowercase;
  bool left, right;
} normalizer;

/* work->spare becomes the text. */
static void swap_text(tern__work *w) {
  char *t = w->text;
  w->text = w->spare, w->spare = t;
}

static bool is_ascii(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if ((unsigned char)text[i] >= 0x80) return false;
  return true;
}

/* Rewrites the text character by character. `map` writes at most 12 bytes for a character and returns how
 * many. */
typedef size_t (*map_fn)(int32_t cp, char *out);
static tern_status map_characters(tern__work *w, map_fn map) {
  tern_status status = TERN_OK;
  size_t size = tern__array_count(w->text), n = 0;
  tern__array_clear(w->spare);
  TERN_ARRAY_RESERVE(w->alloc, w->spare, size * 2 + 16);
  size_t room = size * 2 + 16;
  for (size_t at = 0; at < size;) {
    bool first = at == 0;
    if (n + 12 > room) { /* rare: many characters that grow more than twofold */
      tern__array_truncate(w->spare, n);
      TERN_ARRAY_RESERVE(w->alloc, w->spare, (size - at) * 4 + 16);
      room = n + (size - at) * 4 + 16;
    }
    size_t wrote = map(tern__utf8_next(w->text, size, &at), w->spare + n);
    /* With its first character gone the text no longer begins where the caller's does (Metaspace asks). */
    if (first && !wrote) w->at_origin = false;
    n += wrote;
  }
  tern__array_truncate(w->spare, n);
  swap_text(w);
cleanup:
  return status;
}

static tern_status apply_form(const tern__part *part, tern__work *w) {
  const normalizer *self = (const normalizer *)part;
  if (is_ascii(w->text, tern__array_count(w->text))) return TERN_OK;
  tern_status status = tern__unicode_normalize(w->alloc, self->form, w->text, tern__array_count(w->text),
                                               &w->points, &w->spare);
  if (status == TERN_OK) swap_text(w);
  return status;
}

static size_t map_lower(int32_t cp, char *out) {
  int32_t lower[2];
  size_t n = tern__unicode_lower(cp, lower), size = tern__utf8_put(out, lower[0]);
  return n > 1 ? size + tern__utf8_put(out + size, lower[1]) : size;
}
static tern_status apply_lowercase(const tern__part *part, tern__work *w) {
  return map_characters(w, map_lower);
}

static size_t map_no_mark(int32_t cp, char *out) {
  return tern__unicode_flags_8(cp) & TERN_UNICODE_MARK ? 0 : tern__utf8_put(out, cp);
}
static tern_status apply_strip_accents(const tern__part *part, tern__work *w) {
  return map_characters(w, map_no_mark);
}

static size_t map_nmt(int32_t cp, char *out) {
  if ((cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F || cp == 0x8F ||
      cp == 0x9F)
    return 0;
  bool space = cp == 9 || cp == 0xA || cp == 0xC || cp == 0xD || cp == 0x1680 ||
               (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
               cp == 0xFEFF || cp == 0xFFFD;
  return tern__utf8_put(out, space ? ' ' : cp);
}
static tern_status apply_nmt(const tern__part *part, tern__work *w) {
  return map_characters(w, map_nmt);
}

/* BertNormalizer, in its order: clean_text, handle_chinese_chars, strip_accents (NFD without Mn), lowercase.
 */
static size_t map_clean(int32_t cp, char *out) {
  if (cp == '\t' || cp == '\n' || cp == '\r') return *out = ' ', 1;
  uint32_t flags = tern__unicode_flags_8(cp);
  if (cp == 0 || cp == 0xFFFD || flags & TERN_UNICODE_OTHER) return 0;
  return tern__utf8_put(out, flags & TERN_UNICODE_SPACE ? ' ' : cp);
}
static size_t map_chinese(int32_t c, char *out) {
  bool chinese = (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
                 (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
                 (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
                 (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
  if (!chinese) return tern__utf8_put(out, c);
  size_t n = tern__utf8_put(out + 1, c);
  out[0] = out[n + 1] = ' ';
  return n + 2;
}
static size_t map_no_nonspacing(int32_t cp, char *out) {
  return tern__unicode_flags_8(cp) & TERN_UNICODE_NONSPACING ? 0 : tern__utf8_put(out, cp);
}
static tern_status apply_bert(const tern__part *part, tern__work *w) {
  const normalizer *self = (const normalizer *)part;
  tern_status status = TERN_OK;
  static const normalizer nfd = {.form = TERN_UNICODE_NFD};
  if (self->clean_text) TERN_TRY(map_characters(w, map_clean));
  bool ascii = is_ascii(w->text, tern__array_count(w->text));
  if (self->handle_chinese_chars && !ascii) TERN_TRY(map_characters(w, map_chinese));
  if (self->strip_accents && !ascii) {
    TERN_TRY(apply_form(&nfd.part, w));
    TERN_TRY(map_characters(w, map_no_nonspacing));
  }
  if (self->lowercase) TERN_TRY(map_characters(w, map_lower));
cleanup:
  return status;
}

static tern_status apply_strip(const tern__part *part, tern__work *w) {
  const normalizer *self = (const normalizer *)part;
  size_t start = 0, end = tern__array_count(w->text), size = end;
  while (self->left && start < end) {
    size_t next = start;
    if (!(tern__unicode_flags(tern__utf8_next(w->text, size, &next)) & TERN_UNICODE_SPACE)) break;
    start = next;
  }
  while (self->right && end > start) {
    size_t last = tern__utf8_before(w->text, end), at = last;
    if (!(tern__unicode_flags(tern__utf8_next(w->text, size, &at)) & TERN_UNICODE_SPACE)) break;
    end = last;
  }
  if (start) {
    memmove(w->text, w->text + start, end - start);
    w->at_origin = false;
  }
  tern__array_truncate(w->text, end - start);
  return TERN_OK;
}

static tern_status apply_replace(const tern__part *part, tern__work *w) {
  const normalizer *self = (const normalizer *)part;
  tern_status status = TERN_OK;
  TERN_TRY(tern__pattern_find(self->pattern, w, w->text, tern__array_count(w->text)));
  tern__array_clear(w->spare);
  for (size_t i = 0; i < tern__array_count(w->matches); i++) {
    tern__match m = w->matches[i];
    if (m.hit) TERN_ARRAY_APPEND(w->alloc, w->spare, self->content, self->content_size);
    else TERN_ARRAY_APPEND(w->alloc, w->spare, w->text + m.start, m.end - m.start);
    if (m.hit && m.start == 0 && m.end && !self->content_size) w->at_origin = false;
  }
  swap_text(w);
cleanup:
  return status;
}

static tern_status apply_prepend(const tern__part *part, tern__work *w) {
  const normalizer *self = (const normalizer *)part;
  tern_status status = TERN_OK;
  size_t size = tern__array_count(w->text);
  if (!size) return TERN_OK;
  TERN_ARRAY_APPEND(w->alloc, w->text, NULL, self->content_size);
  memmove(w->text + self->content_size, w->text, size);
  memcpy(w->text, self->content, self->content_size);
cleanup:
  return status;
}

static tern_status apply_byte_level(const tern__part *part, tern__work *w) {
  tern_status status = TERN_OK;
  size_t size = tern__array_count(w->text), n = 0;
  tern__array_clear(w->spare);
  TERN_ARRAY_RESERVE(w->alloc, w->spare, size * 2);
  for (size_t i = 0; i < size; i++)
    n += tern__utf8_put(w->spare + n, tern__byte_to_char((uint8_t)w->text[i]));
  tern__array_truncate(w->spare, n);
  swap_text(w);
cleanup:
  return status;
}

tern_status tern__normalize(const tern__part *normalizer, tern__work *work) {
  return normalizer ? normalizer->apply(normalizer, work) : TERN_OK;
}

/* ---- reading */

static tern_status set_form(tern__part *part, tern__unicode_form form) {
  return ((normalizer *)part)->form = form, TERN_OK;
}
static tern_status read_nfc(const tern__spec *s, tern__part *part) { return set_form(part, TERN_UNICODE_NFC); }
static tern_status read_nfd(const tern__spec *s, tern__part *part) { return set_form(part, TERN_UNICODE_NFD); }
static tern_status read_nfkc(const tern__spec *s, tern__part *part) { return set_form(part, TERN_UNICODE_NFKC); }
static tern_status read_nfkd(const tern__spec *s, tern__part *part) { return set_form(part, TERN_UNICODE_NFKD); }

static tern_status read_bert(const tern__spec *spec, tern__part *part) {
  normalizer *out = (normalizer *)part;
  tern_status status = TERN_OK;
  TERN_TRY(tern__spec_bool(spec, "clean_text", -1, &out->clean_text));
  TERN_TRY(tern__spec_bool(spec, "handle_chinese_chars", -1, &out->handle_chinese_chars));
  TERN_TRY(tern__spec_bool(spec, "lowercase", -1, &out->lowercase));
  TERN_TRY(tern__spec_bool(spec, "strip_accents", out->lowercase,
                           &out->strip_accents)); /* null follows lowercase */
cleanup:
  return status;
}

static tern_status read_strip(const tern__spec *spec, tern__part *part) {
  normalizer *out = (normalizer *)part;
  tern_status status = tern__spec_bool(spec, "strip_left", -1, &out->left);
  return status == TERN_OK ? tern__spec_bool(spec, "strip_right", -1, &out->right) : status;
}

static tern_status read_replace(const tern__spec *spec, tern__part *part) {
  normalizer *out = (normalizer *)part;
  tern_status status = TERN_OK;
  TERN_TRY(tern__spec_pattern(spec, "pattern", &out->pattern));
  TERN_TRY(tern__spec_string(spec, "content", NULL, &out->content));
  out->content_size = strlen(out->content);
cleanup:
  return status;
}

static tern_status read_prepend(const tern__spec *spec, tern__part *part) {
  normalizer *out = (normalizer *)part;
  tern_status status = tern__spec_string(spec, "prepend", NULL, &out->content);
  if (status == TERN_OK) out->content_size = strlen(out->content);
  return status;
}

static const tern__part_kind kinds[] = {
    {"NFC", apply_form, read_nfc},
    {"NFD", apply_form, read_nfd},
    {"NFKC", apply_form, read_nfkc},
    {"NFKD", apply_form, read_nfkd},
    {"Lowercase", apply_lowercase, NULL},
    {"Strip", apply_strip, read_strip},
    {"StripAccents", apply_strip_accents, NULL},
    {"BertNormalizer", apply_bert, read_bert},
    {"Replace", apply_replace, read_replace},
    {"Prepend", apply_prepend, read_prepend},
    {"ByteLevel", apply_byte_level, NULL},
    {"Nmt", apply_nmt, NULL},
};

const tern__part_family tern__normalizers = {"normalizer", "normalizers", sizeof(normalizer), kinds,
                                            sizeof kinds / sizeof *kinds};
