/* Reading JSON: the seam over cJSON. Nodes are borrowed from the document. */
#ifndef TERN_BASE_JSON_H
#define TERN_BASE_JSON_H

#include "base/memory.h"

typedef struct cJSON tern__json; /* a node; NULL is accepted everywhere and reads as "absent" */

/* `what` names the source in errors ("tokenizer.json"). Free the root with tern__json_close. */
tern_status tern__json_parse(const char *text, size_t size, const char *what, tern__json **out);
tern_status tern__json_open(const char *path, tern__json **out); /* NOT_FOUND, IO, CORRUPT */
void tern__json_close(tern__json *root);

const tern__json *tern__json_get(const tern__json *object, const char *key); /* NULL if absent or JSON null */
size_t tern__json_count(const tern__json *node);                              /* elements or members */
const tern__json *tern__json_first(const tern__json *node);                   /* iterate an array or object */
const tern__json *tern__json_next(const tern__json *node);
const char *tern__json_key(const tern__json *member);                         /* of an object's member */

bool tern__json_is_object(const tern__json *node);
bool tern__json_is_array(const tern__json *node);
bool tern__json_is_string(const tern__json *node);
bool tern__json_is_number(const tern__json *node);
bool tern__json_is_bool(const tern__json *node);
bool tern__json_is_null(const tern__json *node);  /* present and null */
const char *tern__json_string(const tern__json *node, const char *fallback);
double tern__json_number(const tern__json *node, double fallback);
int64_t tern__json_int(const tern__json *node, int64_t fallback); /* fallback also when not a whole number in range */
bool tern__json_bool(const tern__json *node, bool fallback);

/* Writing: text grows in a buffer; check `failed` once at the end. */
typedef struct tern__json_writer {
  tern__alloc *alloc;
  char *text;
  size_t size, capacity;
  bool failed;
  bool comma;
} tern__json_writer;
void tern__json_begin(tern__json_writer *w, const char *key, char bracket); /* '{' or '['; key NULL inside arrays */
void tern__json_end(tern__json_writer *w, char bracket);                    /* '}' or ']' */
void tern__json_put_string(tern__json_writer *w, const char *key, const char *text, size_t size);
void tern__json_put_int(tern__json_writer *w, const char *key, int64_t value);
void tern__json_put_number(tern__json_writer *w, const char *key, double value);
void tern__json_put_bool(tern__json_writer *w, const char *key, bool value);

#endif
