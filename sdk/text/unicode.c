/* utf8proc behind text/unicode.h. */
#include "text/unicode.h"

#include <utf8proc.h>

/* ASCII is most of most texts: class bits per character, no call. */
static uint32_t ascii_flags(int32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return TERN_UNICODE_LETTER | TERN_UNICODE_WORD;
  if (c >= '0' && c <= '9') return TERN_UNICODE_NUMBER | TERN_UNICODE_NUMERIC | TERN_UNICODE_WORD;
  if (c == ' ') return TERN_UNICODE_SPACE;
  if (c >= 9 && c <= 13) return TERN_UNICODE_SPACE | TERN_UNICODE_OTHER;
  if (c < 32 || c == 127) return TERN_UNICODE_OTHER;
  if (c == '_') return TERN_UNICODE_PUNCTUATION | TERN_UNICODE_WORD;
  /* $+<=>^`|~ are symbols, the rest of ASCII is punctuation. */
  return c == '$' || c == '+' || (c >= '<' && c <= '>') || c == '^' || c == '`' || c == '|' || c == '~'
             ? 0 : TERN_UNICODE_PUNCTUATION;
}

/* Alphabetic characters that are neither L, M nor Nl: the circled and squared letters (PropList,
 * Other_Alphabetic). */
static bool is_circled_letter(int32_t cp) {
  return (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
         (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
}

static const tern__unicode_range *find_range(const tern__unicode_range *ranges, size_t n, int32_t cp) {
  size_t low = 0;
  while (n) {
    const tern__unicode_range *r = &ranges[low + n / 2];
    if ((uint32_t)cp > r->last) low += n / 2 + 1, n -= n / 2 + 1;
    else if ((uint32_t)cp < r->first) n /= 2;
    else return r;
  }
  return NULL;
}

uint32_t tern__unicode_flags_15(int32_t cp) {
  if (cp < 128) return ascii_flags(cp);
  switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return TERN_UNICODE_LETTER | TERN_UNICODE_WORD;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
      return TERN_UNICODE_NUMBER | TERN_UNICODE_NUMERIC | TERN_UNICODE_WORD;
    case UTF8PROC_CATEGORY_NO: return TERN_UNICODE_NUMBER | TERN_UNICODE_NUMERIC;
    case UTF8PROC_CATEGORY_MN: return TERN_UNICODE_MARK | TERN_UNICODE_NONSPACING | TERN_UNICODE_WORD;
    case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME: return TERN_UNICODE_MARK | TERN_UNICODE_WORD;
    case UTF8PROC_CATEGORY_PC: return TERN_UNICODE_PUNCTUATION | TERN_UNICODE_WORD;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF: case UTF8PROC_CATEGORY_PO: return TERN_UNICODE_PUNCTUATION;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return TERN_UNICODE_SPACE;
    case UTF8PROC_CATEGORY_CC: return TERN_UNICODE_OTHER | (cp == 0x85 ? TERN_UNICODE_SPACE : 0);
    case UTF8PROC_CATEGORY_CF:
      return TERN_UNICODE_OTHER | (cp == 0x200C || cp == 0x200D ? TERN_UNICODE_WORD : 0);
    case UTF8PROC_CATEGORY_CS: case UTF8PROC_CATEGORY_CO: return TERN_UNICODE_OTHER;
    case UTF8PROC_CATEGORY_SO: return is_circled_letter(cp) ? TERN_UNICODE_WORD : 0;
    /* CJK extension I came with 15.1; utf8proc 2.8 is at 15.0. */
    default: return cp >= 0x2EBF0 && cp <= 0x2EE5D ? TERN_UNICODE_LETTER | TERN_UNICODE_WORD : 0;
  }
}

uint32_t tern__unicode_flags(int32_t cp) {
  uint32_t flags = tern__unicode_flags_15(cp);
  if (flags || cp < 128) return flags;
  const tern__unicode_range *r = find_range(tern__unicode_newer, tern__unicode_newer_count, cp);
  return r ? r->flags : 0;
}

uint32_t tern__unicode_flags_8(int32_t cp) {
  enum {
    covered = TERN_UNICODE_MARK | TERN_UNICODE_NONSPACING | TERN_UNICODE_PUNCTUATION | TERN_UNICODE_OTHER |
              TERN_UNICODE_SPACE
  };
  uint32_t flags = tern__unicode_flags_15(cp) & covered;
  const tern__unicode_range *r =
      cp < 128 ? NULL : find_range(tern__unicode_older, tern__unicode_older_count, cp);
  return r ? flags ^ r->flags : flags;
}

/* Size of the well-formed character at p, or 0 and *bad = the size of the maximal subpart to replace. */
static size_t valid_char(const unsigned char *p, size_t left, size_t *bad) {
  unsigned char c = p[0], low = 0x80, high = 0xBF;
  size_t n;
  *bad = 1;
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF) n = 2;
  else if (c >= 0xE0 && c <= 0xEF) n = 3, low = c == 0xE0 ? 0xA0 : 0x80, high = c == 0xED ? 0x9F : 0xBF;
  else if (c >= 0xF0 && c <= 0xF4) n = 4, low = c == 0xF0 ? 0x90 : 0x80, high = c == 0xF4 ? 0x8F : 0xBF;
  else return 0;
  for (size_t i = 1; i < n; i++, low = 0x80, high = 0xBF) {
    if (i >= left || p[i] < low || p[i] > high) return *bad = i, 0;
  }
  return n;
}

size_t tern__utf8_valid_prefix(const char *text, size_t size) {
  const unsigned char *p = (const unsigned char *)text;
  size_t i = 0, bad;
  while (i < size) {
    uint64_t word;
    if (size - i >= 8 && (memcpy(&word, p + i, 8), !(word & 0x8080808080808080u))) { i += 8; continue; }
    size_t n = valid_char(p + i, size - i, &bad);
    if (!n) break;
    i += n;
  }
  return i;
}

tern_status tern__utf8_append_lossy(tern__alloc *alloc, const char *text, size_t size, char **out) {
  tern_status status = TERN_OK;
  while (size) {
    size_t good = tern__utf8_valid_prefix(text, size), bad = 0;
    TERN_ARRAY_APPEND(alloc, *out, text, good);
    text += good, size -= good;
    if (!size) break;
    valid_char((const unsigned char *)text, size, &bad);
    TERN_ARRAY_APPEND(alloc, *out, "\xEF\xBF\xBD", 3);
    text += bad, size -= bad;
  }
cleanup:
  return status;
}

size_t tern__unicode_lower(int32_t cp, int32_t out[2]) {
  if (cp < 128) return out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp, 1;
  if (cp == 0x130)
    return out[0] = 'i', out[1] = 0x307, 2; /* the only lower case of two (SpecialCasing.txt) */
  const tern__unicode_range *r = find_range(tern__unicode_lower_newer, tern__unicode_lower_newer_count, cp);
  return out[0] = r ? (int32_t)(r->flags + ((uint32_t)cp - r->first)) : utf8proc_tolower(cp), 1;
}

int32_t tern__unicode_upper(int32_t cp) { return utf8proc_toupper(cp); }

/* Appends the normalized text to *out. */
static tern_status normalize_part(tern__alloc *alloc, tern__unicode_form form, const char *text, size_t size,
                                  int32_t **points, char **out) {
  static const utf8proc_option_t options[] = {
    [TERN_UNICODE_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
    [TERN_UNICODE_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
    [TERN_UNICODE_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
    [TERN_UNICODE_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
  };
  tern_status status = TERN_OK;
  size_t room = size + 16;
  utf8proc_ssize_t n;
  tern__array_clear(*points);
  for (;;) { /* one more round only for text that decomposes to more characters than it has bytes */
    TERN_ARRAY_RESERVE(alloc, *points, room);
    n = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, *points,
                           (utf8proc_ssize_t)room, options[form]);
    if (n < 0) TERN_FAIL(TERN_STATUS_INTERNAL, "Unicode normalization failed: %s", utf8proc_errmsg(n));
    if ((size_t)n <= room) break;
    room = (size_t)n + 1;
  }
  if (options[form] & UTF8PROC_COMPOSE) {
    n = utf8proc_normalize_utf32(*points, n, options[form]);
    if (n < 0) TERN_FAIL(TERN_STATUS_INTERNAL, "Unicode normalization failed: %s", utf8proc_errmsg(n));
  }
  TERN_ARRAY_RESERVE(alloc, *out, (size_t)n * 4);
  size_t at = tern__array_count(*out);
  for (utf8proc_ssize_t i = 0; i < n; i++) at += tern__utf8_put(*out + at, (*points)[i]);
  tern__array_truncate(*out, at);
cleanup:
  return status;
}

tern_status tern__unicode_normalize(tern__alloc *alloc, tern__unicode_form form, const char *text,
                                    size_t size, int32_t **points, char **out) {
  tern_status status = TERN_OK;
  size_t done = 0;
  tern__array_clear(*out);
  for (size_t at = 0, start = 0; at < size; start = at) {
    int32_t cp = tern__utf8_next(text, size, &at);
    const tern__unicode_range *r =
        cp < 0x300 ? NULL : find_range(tern__unicode_undecomposed, tern__unicode_undecomposed_count, cp);
    if (!r || !(r->flags >> form & 1)) continue;
    if (start > done) TERN_TRY(normalize_part(alloc, form, text + done, start - done, points, out));
    TERN_ARRAY_APPEND(alloc, *out, text + start, at - start);
    done = at;
  }
  if (done < size) TERN_TRY(normalize_part(alloc, form, text + done, size - done, points, out));
cleanup:
  return status;
}
