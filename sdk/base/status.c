/* Status names and the thread-local error sentence. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_TEXT_SIZE = 1024 };
/* The one mutable global of the library: per thread, fixed size, so that recording an error cannot fail. */
static _Thread_local char error_text[ERROR_TEXT_SIZE];

tern_status tern__fail(tern_status code, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(error_text, sizeof error_text, fmt, args);
  va_end(args);
  return code;
}

tern_status tern__fail_context(tern_status code, const char *fmt, ...) {
  char joined[ERROR_TEXT_SIZE];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(joined, sizeof joined, fmt, args);
  va_end(args);
  if (n < 0) n = 0;
  if ((size_t)n < sizeof joined)
    snprintf(joined + n, sizeof joined - (size_t)n, ": %.*s", (int)(sizeof joined - 3), error_text);
  memcpy(error_text, joined, sizeof joined);
  return code;
}

void tern__error_set(const char *text) { snprintf(error_text, sizeof error_text, "%s", text); }
void tern__error_clear(void) { error_text[0] = 0; }

const char *tern_last_error(void) { return error_text; }

const char *tern_status_name(tern_status status) {
  switch (status) {
#define TERN_X(name, value, text) \
  case value: return #name;
    TERN_STATUS_LIST(TERN_X)
#undef TERN_X
  }
  return "UNKNOWN";
}

const char *tern_status_text(tern_status status) {
  switch (status) {
#define TERN_X(name, value, text) \
  case value: return text;
    TERN_STATUS_LIST(TERN_X)
#undef TERN_X
  }
  return "unknown status";
}

uint32_t tern_version(void) {
  return TERN_VERSION_PACK(TERN_VERSION_MAJOR, TERN_VERSION_MINOR, TERN_VERSION_PATCH);
}
