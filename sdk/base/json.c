/* cJSON behind base/json.h, and a small writer. cJSON allocates from the C library's heap: documents are read at load
 * time and freed before load returns. */
#include "base/json.h"
#include "base/file_map.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

tern_status tern__json_parse(const char *text, size_t size, const char *what, tern__json **out) {
  const char *end = NULL;
  /* cJSON reads up to size bytes, stops at a NUL, and needs no terminator. */
  *out = cJSON_ParseWithLengthOpts(text, size, &end, 0);
  if (!*out) {
    size_t at = end && end >= text ? (size_t)(end - text) : 0;
    return tern__fail(TERN_STATUS_CORRUPT, "%s: not valid JSON near byte %zu (or out of memory)", what, at);
  }
  while (end < text + size && (*end == ' ' || *end == '\t' || *end == '\n' || *end == '\r')) end++;
  if (end < text + size) {
    cJSON_Delete(*out);
    *out = NULL;
    return tern__fail(TERN_STATUS_CORRUPT, "%s: more text after the JSON document, at byte %zu", what,
                      (size_t)(end - text));
  }
  return TERN_OK;
}

tern_status tern__json_open(const char *path, tern__json **out) {
  tern__file_map map;
  *out = NULL;
  tern_status status = tern__file_map_open(path, &map);
  if (status != TERN_OK) return status;
  status = tern__json_parse((const char *)map.data, map.size, path, out);
  tern__file_map_close(&map);
  return status;
}

void tern__json_close(tern__json *root) { cJSON_Delete(root); }

const tern__json *tern__json_get(const tern__json *object, const char *key) {
  const cJSON *n = cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
  return cJSON_IsNull(n) ? NULL : n;
}
size_t tern__json_count(const tern__json *node) {
  return tern__json_is_array(node) || tern__json_is_object(node) ? (size_t)cJSON_GetArraySize(node) : 0;
}
const tern__json *tern__json_first(const tern__json *node) {
  return tern__json_is_array(node) || tern__json_is_object(node) ? node->child : NULL;
}
const tern__json *tern__json_next(const tern__json *node) { return node ? node->next : NULL; }
const char *tern__json_key(const tern__json *member) { return member && member->string ? member->string : ""; }

bool tern__json_is_object(const tern__json *node) { return cJSON_IsObject(node); }
bool tern__json_is_array(const tern__json *node) { return cJSON_IsArray(node); }
bool tern__json_is_string(const tern__json *node) { return cJSON_IsString(node); }
bool tern__json_is_number(const tern__json *node) { return cJSON_IsNumber(node); }
bool tern__json_is_bool(const tern__json *node) { return cJSON_IsBool(node); }
bool tern__json_is_null(const tern__json *node) { return cJSON_IsNull(node); }
const char *tern__json_string(const tern__json *node, const char *fallback) {
  return cJSON_IsString(node) && node->valuestring ? node->valuestring : fallback;
}
double tern__json_number(const tern__json *node, double fallback) {
  return cJSON_IsNumber(node) ? node->valuedouble : fallback;
}
int64_t tern__json_int(const tern__json *node, int64_t fallback) {
  if (!cJSON_IsNumber(node)) return fallback;
  double d = node->valuedouble;
  return d >= -9007199254740992.0 && d <= 9007199254740992.0 && d == floor(d) ? (int64_t)d : fallback;
}
bool tern__json_bool(const tern__json *node, bool fallback) {
  return cJSON_IsBool(node) ? cJSON_IsTrue(node) != 0 : fallback;
}

static void put(tern__json_writer *w, const char *text, size_t size) {
  if (w->failed) return;
  if (w->size + size + 1 > w->capacity) {
    size_t capacity = (w->capacity ? w->capacity * 2 : 256) + size;
    char *grown = tern__realloc(w->alloc, w->text, capacity);
    if (!grown) {
      w->failed = true;
      return;
    }
    w->text = grown, w->capacity = capacity;
  }
  memcpy(w->text + w->size, text, size);
  w->size += size;
  w->text[w->size] = 0;
}

static void put_quoted(tern__json_writer *w, const char *text, size_t size) {
  put(w, "\"", 1);
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)text[i];
    char esc[8];
    if (c == '"' || c == '\\') snprintf(esc, sizeof esc, "\\%c", c), put(w, esc, 2);
    else if (c == '\n') put(w, "\\n", 2);
    else if (c == '\t') put(w, "\\t", 2);
    else if (c == '\r') put(w, "\\r", 2);
    else if (c < 0x20) put(w, esc, (size_t)snprintf(esc, sizeof esc, "\\u%04x", c));
    else put(w, text + i, 1);
  }
  put(w, "\"", 1);
}

static void put_key(tern__json_writer *w, const char *key) {
  if (w->comma) put(w, ",", 1);
  w->comma = true;
  if (key) put_quoted(w, key, strlen(key)), put(w, ":", 1);
}

void tern__json_begin(tern__json_writer *w, const char *key, char bracket) {
  put_key(w, key);
  put(w, &bracket, 1);
  w->comma = false;
}
void tern__json_end(tern__json_writer *w, char bracket) {
  put(w, &bracket, 1);
  w->comma = true;
}
void tern__json_put_string(tern__json_writer *w, const char *key, const char *text, size_t size) {
  put_key(w, key);
  put_quoted(w, text, size);
}
void tern__json_put_int(tern__json_writer *w, const char *key, int64_t value) {
  char text[32];
  put_key(w, key);
  put(w, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)value));
}
void tern__json_put_number(tern__json_writer *w, const char *key, double value) {
  char text[40];
  put_key(w, key);
  if (!isfinite(value)) put(w, "null", 4);
  else put(w, text, (size_t)snprintf(text, sizeof text, "%.9g", value));
}
void tern__json_put_bool(tern__json_writer *w, const char *key, bool value) {
  put_key(w, key);
  put(w, value ? "true" : "false", value ? 4 : 5);
}
