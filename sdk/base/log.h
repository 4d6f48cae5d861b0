/* The runtime's log. */
#ifndef TERN_BASE_LOG_H
#define TERN_BASE_LOG_H
#include "base/status.h"
void tern__log(const tern_log *log, tern_log_level level, const char *fmt, ...) TERN_PRINTF(3, 4);
#endif
