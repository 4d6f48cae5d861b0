/* Prints, for each code point, what sdk/text/unicode.h says: the flags of Unicode 15.1, newer and older,
 * lower case, NFC NFD NFKC NFKD (hexadecimal UTF-8), and utf8proc's combining class. */
#include "text/unicode.h"

#include <stdio.h>
#include <utf8proc.h>

static void hex(const char *text, size_t size) {
  putchar(' ');
  for (size_t i = 0; i < size; i++) printf("%02x", (unsigned char)text[i]);
}

int main(void) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  int32_t *points = NULL;
  char *out = NULL;
  for (int32_t cp = 0; cp < 0x110000; cp++) {
    if (cp >= 0xD800 && cp < 0xE000) continue;
    char text[8], lower[8];
    int32_t low[2];
    size_t size = tern__utf8_put(text, cp), n = tern__unicode_lower(cp, low), lower_size = 0;
    for (size_t i = 0; i < n; i++) lower_size += tern__utf8_put(lower + lower_size, low[i]);
    printf("%x %x %x %x", (unsigned)cp, (unsigned)tern__unicode_flags_15(cp),
           (unsigned)tern__unicode_flags(cp), (unsigned)tern__unicode_flags_8(cp));
    hex(lower, lower_size);
    for (int form = 0; form < 4; form++) {
      if (tern__unicode_normalize(&alloc, (tern__unicode_form)form, text, size, &points, &out) != TERN_OK)
        return 1;
      hex(out, tern__array_count(out));
    }
    printf(" %d\n", (int)utf8proc_get_property(cp)->combining_class);
  }
  return 0;
}
