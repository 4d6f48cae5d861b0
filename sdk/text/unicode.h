/* UTF-8, character classes, case and normalization: the seam over utf8proc. */
#ifndef TERN_TEXT_UNICODE_H
#define TERN_TEXT_UNICODE_H

#include "base/array.h"

/* Classes of a code point; a code point may have several. */
enum {
  TERN_UNICODE_LETTER = 1,       /* L* */
  TERN_UNICODE_NUMBER = 2,       /* N* */
  TERN_UNICODE_MARK = 4,         /* M* */
  TERN_UNICODE_NONSPACING = 8,   /* Mn */
  TERN_UNICODE_PUNCTUATION = 16, /* P* */
  TERN_UNICODE_SPACE = 32,       /* White_Space */
  TERN_UNICODE_OTHER = 64,       /* Cc Cf Cs Co (not Cn) */
  TERN_UNICODE_WORD = 128,       /* \w of UTS 18: Alphabetic, M, Nd, Pc, Join_Control */
  TERN_UNICODE_NUMERIC = 256     /* N* of a newer Unicode still: Rust's char::is_numeric */
};
/* Tokenizers see a character with the Unicode version that their first implementation was built with:
 * Hugging Face's regular expressions and Rust's char (16 and later), llama.cpp (15.1), and the tables behind
 * its Bert parts and StripAccents (about 8). Where the versions differ, generated tables say so
 * (unicode_tables.c). */
uint32_t tern__unicode_flags(int32_t cp);
uint32_t tern__unicode_flags_15(int32_t cp);
uint32_t tern__unicode_flags_8(int32_t cp); /* MARK, NONSPACING, PUNCTUATION, OTHER and SPACE only */

/* Decodes the character at text[*pos] of valid UTF-8 and moves *pos past it. */
static inline int32_t tern__utf8_next(const char *text, size_t size, size_t *pos) {
  const unsigned char *p = (const unsigned char *)text + *pos;
  size_t left = size - *pos;
  if (p[0] < 0x80 || left < 2) return *pos += 1, p[0];
  if (p[0] < 0xE0 || left < 3) return *pos += 2, (p[0] & 0x1F) << 6 | (p[1] & 0x3F);
  if (p[0] < 0xF0 || left < 4) return *pos += 3, (p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
  return *pos += 4, (p[0] & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

/* The start of the character before text[pos], pos > 0. */
static inline size_t tern__utf8_before(const char *text, size_t pos) {
  do pos--;
  while (pos && ((unsigned char)text[pos] & 0xC0) == 0x80);
  return pos;
}

/* Bytes of the character that starts with `lead` in valid UTF-8. */
static inline size_t tern__utf8_size(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* Writes 1 to 4 bytes. */
static inline size_t tern__utf8_put(char *out, int32_t cp) {
  if (cp < 0x80) return out[0] = (char)cp, 1;
  if (cp < 0x800) return out[0] = (char)(0xC0 | cp >> 6), out[1] = (char)(0x80 | (cp & 0x3F)), 2;
  if (cp < 0x10000) {
    out[0] = (char)(0xE0 | cp >> 12), out[1] = (char)(0x80 | (cp >> 6 & 0x3F)),
    out[2] = (char)(0x80 | (cp & 0x3F));
    return 3;
  }
  out[0] = (char)(0xF0 | cp >> 18), out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
  out[2] = (char)(0x80 | (cp >> 6 & 0x3F)), out[3] = (char)(0x80 | (cp & 0x3F));
  return 4;
}

/* Bytes of the valid UTF-8 at the start of text; equal to size when all of it is valid. */
size_t tern__utf8_valid_prefix(const char *text, size_t size);
/* Appends text to *out with U+FFFD for each maximal subpart of an ill-formed sequence (Unicode 3.9, table
 * 3-8), as Python's errors="replace" and Rust's from_utf8_lossy do. */
tern_status tern__utf8_append_lossy(tern__alloc *alloc, const char *text, size_t size, char **out);

/* Full lower case of one character, without context: 1 or 2 code points. */
size_t tern__unicode_lower(int32_t cp, int32_t out[2]);
int32_t tern__unicode_upper(int32_t cp); /* simple upper case */

typedef enum tern__unicode_form {
  TERN_UNICODE_NFC,
  TERN_UNICODE_NFD,
  TERN_UNICODE_NFKC,
  TERN_UNICODE_NFKD
} tern__unicode_form;
/* Replaces *out by the normalized text. Characters that got a decomposition or a combining class after
 * Hugging Face's tables (about Unicode 9) stay and part the text, as they do there. *points is working space,
 * a base/array.h array. */
tern_status tern__unicode_normalize(tern__alloc *alloc, tern__unicode_form form, const char *text,
                                    size_t size, int32_t **points, char **out);

/* unicode_tables.c, generated */
typedef struct tern__unicode_range { uint32_t first, last, flags; } tern__unicode_range;
extern const tern__unicode_range tern__unicode_newer[], tern__unicode_older[], tern__unicode_undecomposed[],
    tern__unicode_lower_newer[];
extern const size_t tern__unicode_newer_count, tern__unicode_older_count, tern__unicode_undecomposed_count,
                    tern__unicode_lower_newer_count;

#endif
