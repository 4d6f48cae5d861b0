/* Reading parts of tokenizer.json with errors that name the file and the JSON path. */
#include "text/tokenizer_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

tern__spec tern__spec_get(const tern__spec *spec, const char *key) {
  return (tern__spec){spec,           key, 0, spec->file, tern__json_get(spec->node, key), spec->arena,
                      spec->depth + 1};
}
tern__spec tern__spec_at(const tern__spec *spec, const tern__json *node, size_t index) {
  if (tern__json_is_null(node)) node = NULL;
  return (tern__spec){spec, NULL, index, spec->file, node, spec->arena, spec->depth + 1};
}

static size_t write_path(const tern__spec *spec, char *out, size_t size) {
  size_t n = spec->parent ? write_path(spec->parent, out, size) : 0;
  int wrote = 0;
  if (n >= size) return n;
  if (spec->key) wrote = snprintf(out + n, size - n, n ? ".%s" : "%s", spec->key);
  else if (spec->parent) wrote = snprintf(out + n, size - n, "[%zu]", spec->index);
  return wrote < 0 ? n : n + (size_t)wrote;
}

tern_status tern__spec_fail(const tern__spec *spec, tern_status code, const char *fmt, ...) {
  char path[256] = "", message[512];
  va_list args;
  va_start(args, fmt);
  vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  write_path(spec, path, sizeof path);
  return tern__fail(code, "%s: %s%s%s", spec->file, path, *path ? ": " : "", message);
}

tern_status tern__spec_string(const tern__spec *spec, const char *key, const char *fallback,
                              const char **out) {
  tern__spec at = tern__spec_get(spec, key);
  const char *text = at.node ? tern__json_string(at.node, NULL) : fallback;
  if (!text) return tern__spec_fail(&at, TERN_STATUS_CORRUPT, at.node ? "is not a string" : "is missing");
  *out = tern__arena_strdup(spec->arena, text);
  return *out ? TERN_OK : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory in %s", __func__);
}

tern_status tern__spec_bool(const tern__spec *spec, const char *key, int32_t fallback, bool *out) {
  tern__spec at = tern__spec_get(spec, key);
  if (at.node ? !tern__json_is_bool(at.node) : fallback < 0)
    return tern__spec_fail(&at, TERN_STATUS_CORRUPT, at.node ? "is neither true nor false" : "is missing");
  *out = tern__json_bool(at.node, fallback == 1);
  return TERN_OK;
}

tern_status tern__spec_int(const tern__spec *spec, const char *key, int64_t fallback, int64_t min,
                           int64_t max, int64_t *out) {
  tern__spec at = tern__spec_get(spec, key);
  int64_t value = at.node ? tern__json_int(at.node, INT64_MIN) : fallback;
  if (value < min || value > max)
    return tern__spec_fail(&at, TERN_STATUS_CORRUPT,
                           at.node ? "is not a whole number in range" : "is missing");
  *out = value;
  return TERN_OK;
}

tern_status tern__spec_character(const tern__spec *spec, const char *key, int32_t *out) {
  const char *text;
  tern_status status = tern__spec_string(spec, key, NULL, &text);
  if (status != TERN_OK) return status;
  size_t at = 0, size = strlen(text);
  bool valid = size && tern__utf8_valid_prefix(text, size) == size;
  *out = valid ? tern__utf8_next(text, size, &at) : 0;
  return valid && at == size ? TERN_OK
                             : tern__spec_fail(spec, TERN_STATUS_CORRUPT, "%s is not one character", key);
}

tern_status tern__spec_type(const tern__spec *spec, const char **type) {
  *type = NULL;
  if (spec->depth > TERN_SPEC_MAX_DEPTH)
    return tern__spec_fail(spec, TERN_STATUS_CORRUPT, "is nested too deeply");
  if (!tern__json_is_object(spec->node))
    return tern__spec_fail(spec, TERN_STATUS_CORRUPT, "is not an object");
  return tern__spec_string(spec, "type", NULL, type);
}

/* {"String": "..."} or {"Regex": "..."} */
tern_status tern__spec_pattern(const tern__spec *spec, const char *key, tern__pattern **out) {
  tern_status status = TERN_OK;
  const char *text;
  tern__spec at = tern__spec_get(spec, key);
  bool is_regex = tern__json_get(at.node, "Regex") != NULL;
  TERN_TRY(tern__spec_string(&at, is_regex ? "Regex" : "String", NULL, &text));
  status = tern__pattern_create(spec->arena, text, is_regex ? TERN_PATTERN_REGEX : TERN_PATTERN_STRING, out);
  if (status == TERN_STATUS_CORRUPT || status == TERN_STATUS_UNSUPPORTED) {
    char path[256] = "";
    write_path(&at, path, sizeof path);
    tern__fail_context(status, "%s: %s", spec->file, path);
  }
cleanup:
  return status;
}
