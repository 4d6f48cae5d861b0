/* Patterns of Split and Replace, and scanners: hand-written stand-ins for the regular expressions that most
 * models use. tests/unit/test_text_pattern.c holds each scanner to its regex. */
#include "text/tokenizer_internal.h"

#include <string.h>

enum { letter = TERN_UNICODE_LETTER, number = TERN_UNICODE_NUMBER, space = TERN_UNICODE_SPACE };

/* The scanners are written once for a Unicode version and a way to read contractions, and compiled for each.
 */
typedef enum letter_case { AS_WRITTEN, ASCII_CASE, UNICODE_CASE } letter_case;
typedef uint32_t (*flags_fn)(int32_t cp);
#define INLINE static inline __attribute__((always_inline))

/* Class of the character at `at` (0 at the end) and where the next one starts. */
INLINE uint32_t class_at(const char *text, size_t size, size_t at, size_t *next, flags_fn flags) {
  *next = at;
  if (at >= size) return 0;
  unsigned char c = (unsigned char)text[at];
  if (c >= 0x80) return flags(tern__utf8_next(text, size, next)) & (letter | number | space);
  *next = at + 1;
  if ((unsigned char)((c | 32) - 'a') < 26) return letter;
  if ((unsigned char)(c - '0') < 10) return number;
  return c == ' ' || (unsigned char)(c - 9) < 5 ? space : 0;
}

INLINE size_t run(const char *text, size_t size, size_t at, uint32_t wanted, size_t limit, flags_fn flags) {
  for (size_t next; limit-- && at < size && class_at(text, size, at, &next, flags) == wanted;) at = next;
  return at;
}

/* 's 't 're 've 'm 'll 'd at text, else 0. */
INLINE size_t contraction(const char *text, size_t size, letter_case how) {
  if (size < 2 || text[0] != '\'') return 0;
  int32_t fold = how == AS_WRITTEN ? 0 : 32, a = text[1] | fold, b = size > 2 ? text[2] | fold : 0;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  /* Under (?i), U+017F (long s) matches s. */
  return how == UNICODE_CASE && size > 2 && (uint8_t)text[1] == 0xC5 && (uint8_t)text[2] == 0xBF ? 3 : 0;
}

/* White space at text: all of it, or without its last character where text follows: \s+(?!\S)|\s+ */
INLINE size_t spaces(const char *text, size_t size, flags_fn flags) {
  size_t at = 0, last = 0, next;
  while (at < size && class_at(text, size, at, &next, flags) == space) last = at, at = next;
  return at == size || !last ? at : last;
}

INLINE size_t scan_gpt2(const char *text, size_t size, flags_fn flags) {
  size_t n = contraction(text, size, AS_WRITTEN), next;
  if (n) return n;
  size_t at = text[0] == ' ';
  uint32_t c = class_at(text, size, at, &next, flags);
  if (at < size && c != space) return run(text, size, next, c, SIZE_MAX, flags);
  return spaces(text, size, flags);
}

/* The llama3 / cl100k pattern and its family differ in how many digits go together. */
INLINE size_t scan_family(const char *text, size_t size, size_t digits, letter_case how, flags_fn flags) {
  size_t n = contraction(text, size, how), next, after;
  if (n) return n;
  uint32_t c = class_at(text, size, 0, &next, flags);
  if (c == letter) return run(text, size, next, letter, SIZE_MAX, flags);
  if (c == number) return run(text, size, 0, number, digits, flags);
  bool newline = text[0] == '\r' || text[0] == '\n';
  if (!newline && class_at(text, size, next, &after, flags) == letter)
    return run(text, size, after, letter, SIZE_MAX, flags);
  size_t at = text[0] == ' ';
  if (at < size && !class_at(text, size, at, &next, flags)) {
    at = run(text, size, next, 0, SIZE_MAX, flags);
    while (at < size && (text[at] == '\r' || text[at] == '\n')) at++;
    return at;
  }
  /* \s*[\r\n]+ reaches to the last line break of the white space. */
  size_t end = 0;
  for (at = 0; at < size && class_at(text, size, at, &next, flags) == space; at = next)
    if (text[at] == '\r' || text[at] == '\n') end = next;
  return end ? end : spaces(text, size, flags);
}

size_t tern__scan_gpt2(const char *text, size_t size) { return scan_gpt2(text, size, tern__unicode_flags); }
static size_t scan_gpt2_15(const char *text, size_t size) {
  return scan_gpt2(text, size, tern__unicode_flags_15);
}
static size_t scan_llama3(const char *text, size_t size) {
  return scan_family(text, size, 3, UNICODE_CASE, tern__unicode_flags);
}
static size_t scan_qwen2(const char *text, size_t size) {
  return scan_family(text, size, 1, UNICODE_CASE, tern__unicode_flags);
}
static size_t scan_llama3_15(const char *text, size_t size) {
  return scan_family(text, size, 3, ASCII_CASE, tern__unicode_flags_15);
}
static size_t scan_qwen2_15(const char *text, size_t size) {
  return scan_family(text, size, 1, ASCII_CASE, tern__unicode_flags_15);
}

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define CONTRACTIONS_SPELLED "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define FAMILY(digits)                                                                                       \
  "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
static const struct { const char *regex; tern__pattern_kind kind; tern__scanner scan; } scanners[] = {
  {GPT2, TERN_PATTERN_REGEX, tern__scan_gpt2},
  {GPT2, TERN_PATTERN_LLAMA_CPP, scan_gpt2_15},
  {CONTRACTIONS FAMILY("\\p{N}{1,3}"), TERN_PATTERN_REGEX, scan_llama3},
  {CONTRACTIONS FAMILY("\\p{N}"), TERN_PATTERN_REGEX, scan_qwen2},
  {CONTRACTIONS_SPELLED FAMILY("\\p{N}{1,3}"), TERN_PATTERN_LLAMA_CPP, scan_llama3_15},
  {CONTRACTIONS_SPELLED FAMILY("\\p{N}"), TERN_PATTERN_LLAMA_CPP, scan_qwen2_15},
};

tern__scanner tern__scanner_for(const char *regex, tern__pattern_kind kind) {
  for (size_t i = 0; i < sizeof scanners / sizeof *scanners; i++)
    if (scanners[i].kind == kind && !strcmp(scanners[i].regex, regex)) return scanners[i].scan;
  return NULL;
}

tern_status tern__pattern_create(tern__arena *arena, const char *text, tern__pattern_kind kind,
                                 tern__pattern **out) {
  tern_status status = TERN_OK;
  tern__pattern *p = tern__arena_alloc(arena, sizeof *p);
  TERN_CHECK_ALLOC(p);
  size_t size = strlen(text);
  if (kind == TERN_PATTERN_STRING && size) { /* an empty one matches everywhere, as the empty regex */
    p->literal = tern__arena_strndup(arena, text, size), p->literal_size = size;
    TERN_CHECK_ALLOC(p->literal);
  } else if (!(p->scan = tern__scanner_for(text, kind))) {
    TERN_TRY(tern__regex_compile(arena, text, size, &p->regex));
  }
  *out = p;
cleanup:
  return status;
}

/* A hit of `p` at or after `from`. */
static tern_status find_one(const tern__pattern *p, tern__work *w, const char *text, size_t size, size_t from,
                            tern__regex_match *m) {
  *m = (tern__regex_match){0};
  if (p->regex) return tern__regex_find(p->regex, w->alloc, &w->regex, text, size, from, m);
  if (p->scan) {
    if (from < size) *m = (tern__regex_match){true, from, from + p->scan(text + from, size - from)};
    return TERN_OK;
  }
  for (size_t at = from; p->literal_size && at + p->literal_size <= size; at++) {
    const char *found = memchr(text + at, p->literal[0], size - p->literal_size + 1 - at);
    if (!found) break;
    at = (size_t)(found - text);
    if (!memcmp(found, p->literal, p->literal_size)) {
      *m = (tern__regex_match){true, at, at + p->literal_size};
      break;
    }
  }
  return TERN_OK;
}

tern_status tern__pattern_find(const tern__pattern *pattern, tern__work *w, const char *text, size_t size) {
  tern_status status = TERN_OK;
  tern__regex_match m;
  size_t done = 0, from = 0;
  bool any = false;
  tern__array_clear(w->matches);
  while (from <= size) {
    TERN_TRY(find_one(pattern, w, text, size, from, &m));
    if (!m.found) break;
    if (m.end == m.start && any && m.end == done) { /* an empty match right after a match does not count */
      if (from >= size) break;
      from += tern__utf8_size((unsigned char)text[from]);
      continue;
    }
    if (m.start > done)
      TERN_ARRAY_PUSH(w->alloc, w->matches, (tern__match){(uint32_t)done, (uint32_t)m.start, false});
    TERN_ARRAY_PUSH(w->alloc, w->matches, (tern__match){(uint32_t)m.start, (uint32_t)m.end, true});
    done = from = m.end;
    any = true;
  }
  if (done < size)
    TERN_ARRAY_PUSH(w->alloc, w->matches, (tern__match){(uint32_t)done, (uint32_t)size, false});
cleanup:
  return status;
}
