/* What the command says: messages, JSON pieces, sizes. */
#include "cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int cli_error(const char *format, ...) {
  va_list args;
  cli_progress_clear();
  fputs("tern: ", stderr);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  return CLI_FAILED;
}

int cli_usage(const char *format, ...) {
  va_list args;
  fputs("tern: ", stderr);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  return CLI_USAGE;
}

int cli_fail(tern_status status) {
  const char *sentence = tern_last_error();
  if (status == TERN_STATUS_CANCELLED) {
    cli_error("cancelled");
    return CLI_INTERRUPTED;
  }
  return cli_error("%s", *sentence ? sentence : tern_status_text(status));
}

void cli_json_string(FILE *to, const char *text, size_t size) {
  fputc('"', to);
  for (size_t i = 0; i < size; ++i) {
    unsigned char c = (unsigned char)text[i];
    if (c == '"' || c == '\\') fprintf(to, "\\%c", c);
    else if (c == '\n') fputs("\\n", to);
    else if (c == '\t') fputs("\\t", to);
    else if (c < 0x20 || c == 0x7f) fprintf(to, "\\u%04x", c);
    else fputc(c, to);
  }
  fputc('"', to);
}

void cli_json_number(FILE *to, double value) {
  if (isfinite(value)) fprintf(to, "%.9g", value);
  else fputs("null", to);
}

const char *cli_bytes(uint64_t bytes, char *buffer, size_t capacity) {
  const char *units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = (double)bytes;
  int unit = 0;
  while (value >= 1000 && unit < 4) value /= 1000, ++unit;
  snprintf(buffer, capacity, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return buffer;
}

char *cli_read_all(FILE *from, const char *name, size_t *size) {
  size_t used = 0, capacity = 1 << 16;
  char *text = malloc(capacity);
  while (text) {
    used += fread(text + used, 1, capacity - used - 1, from);
    if (used + 1 < capacity) break;
    char *larger = capacity < ((size_t)1 << 32) ? realloc(text, capacity *= 2) : NULL;
    if (!larger) free(text);
    text = larger;
  }
  if (!text) return cli_error("no memory for all of %s", name), NULL;
  if (ferror(from)) return cli_error("reading %s failed", name), free(text), NULL;
  text[used] = 0;
  if (size) *size = used;
  return text;
}
