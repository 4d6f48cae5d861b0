/* Formats one message and hands it to the caller's function. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void tern__log(const tern_log *log, tern_log_level level, const char *fmt, ...) {
  if (!log || !log->message || level > (log->max_level ? log->max_level : TERN_LOG_WARNING)) return;
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  log->message(log->user_data, level, text);
}
