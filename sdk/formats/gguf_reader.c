/* The container: header, metadata, tensor table. Every count, length and offset is checked against the bytes
 * that are there before it is used. */
#include "formats/gguf_reader.h"

#include <string.h>

enum { MAX_KEY = 65535, MAX_TENSOR_NAME = 255, MAX_RANK = 4, MAX_NESTING = 4 };

static const uint8_t type_sizes[TERN__GGUF_TYPES] = {
    [TERN__GGUF_U8] = 1,  [TERN__GGUF_I8] = 1,  [TERN__GGUF_U16] = 2, [TERN__GGUF_I16] = 2,
    [TERN__GGUF_U32] = 4, [TERN__GGUF_I32] = 4, [TERN__GGUF_F32] = 4, [TERN__GGUF_BOOL] = 1,
    [TERN__GGUF_U64] = 8, [TERN__GGUF_I64] = 8, [TERN__GGUF_F64] = 8,
};

/* ggml_type: the number in files, its name, and what serves it here (0: nothing yet). */
static const struct {
  const char *name;
  tern_dtype dtype;
} ggml_types[] = {
    [0] = {"F32", TERN_DTYPE_F32},
    [1] = {"F16", TERN_DTYPE_F16},
    [2] = {"Q4_0", TERN_DTYPE_Q4_0},
    [3] = {"Q4_1", TERN_DTYPE_Q4_1},
    [6] = {"Q5_0", TERN_DTYPE_Q5_0},
    [7] = {"Q5_1", TERN_DTYPE_Q5_1},
    [8] = {"Q8_0", TERN_DTYPE_Q8_0},
    [9] = {"Q8_1", 0},
    [10] = {"Q2_K", 0},
    [11] = {"Q3_K", 0},
    [12] = {"Q4_K", TERN_DTYPE_Q4_K},
    [13] = {"Q5_K", TERN_DTYPE_Q5_K},
    [14] = {"Q6_K", TERN_DTYPE_Q6_K},
    [15] = {"Q8_K", 0},
    [16] = {"IQ2_XXS", 0},
    [17] = {"IQ2_XS", 0},
    [18] = {"IQ3_XXS", 0},
    [19] = {"IQ1_S", 0},
    [20] = {"IQ4_NL", 0},
    [21] = {"IQ3_S", 0},
    [22] = {"IQ2_S", 0},
    [23] = {"IQ4_XS", 0},
    [24] = {"I8", 0},
    [25] = {"I16", 0},
    [26] = {"I32", 0},
    [27] = {"I64", 0},
    [28] = {"F64", 0},
    [29] = {"IQ1_M", 0},
    [30] = {"BF16", TERN_DTYPE_BF16},
    [34] = {"TQ1_0", 0},
    [35] = {"TQ2_0", 0},
    [39] = {"MXFP4", 0},
    [40] = {"NVFP4", 0},
};

typedef struct cursor {
  const uint8_t *data;
  size_t size, at;
} cursor;

static uint64_t load(const uint8_t *p, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
  return v;
}

static tern_status read_number(cursor *c, size_t n, const char *what, uint64_t *out) {
  *out = 0;
  if (c->size - c->at < n)
    return tern__fail(TERN_STATUS_CORRUPT,
                      "offset %zu: the file ends within %s; it may be cut off, download it again", c->at,
                      what);
  *out = load(c->data + c->at, n);
  c->at += n;
  return TERN_OK;
}

static tern_status read_string(cursor *c, const char *what, const char **text, size_t *size) {
  tern_status status = TERN_OK;
  uint64_t n;
  size_t start = c->at;
  *text = NULL, *size = 0;
  TERN_TRY(read_number(c, 8, what, &n));
  if (n > c->size - c->at)
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset %zu: %s says it has %llu bytes, the file has %zu left", start,
              what, (unsigned long long)n, c->size - c->at);
  *text = (const char *)c->data + c->at, *size = (size_t)n;
  c->at += (size_t)n;
cleanup:
  return status;
}

/* A name: short, not empty, no NUL inside; copied with a NUL behind it. */
static tern_status read_name(cursor *c, tern__arena *arena, const char *what, size_t max, const char **out) {
  tern_status status = TERN_OK;
  const char *text;
  size_t size, start = c->at;
  TERN_TRY(read_string(c, what, &text, &size));
  if (!size || size > max || memchr(text, 0, size))
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset %zu: %s is empty, has a NUL or more than %zu bytes", start, what,
              max);
  *out = tern__arena_strndup(arena, text, size);
  TERN_CHECK_ALLOC(*out);
cleanup:
  return status;
}

static tern_status read_type(cursor *c, const char *key, tern__gguf_type *out) {
  tern_status status = TERN_OK;
  uint64_t type;
  TERN_TRY(read_number(c, 4, key, &type));
  if (type >= TERN__GGUF_TYPES)
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset %zu: key '%s' has the unknown value type %llu", c->at - 4, key,
              (unsigned long long)type);
  *out = (tern__gguf_type)type;
cleanup:
  return status;
}

/* Moves over one value (recursion is bounded by MAX_NESTING). */
static tern_status skip_value(cursor *c, const char *key, tern__gguf_type type, int depth,
                              tern__gguf_entry *entry) {
  tern_status status = TERN_OK;
  const char *text;
  size_t size, start = c->at;
  uint64_t count, least;
  if (type == TERN__GGUF_STRING) {
    TERN_TRY(read_string(c, key, &text, &size));
    if (entry) entry->text = text, entry->text_size = size;
  } else if (type != TERN__GGUF_ARRAY) {
    TERN_TRY(read_number(c, type_sizes[type], key, &count));
  } else {
    tern__gguf_type element = TERN__GGUF_STRING;
    if (depth >= MAX_NESTING)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "offset %zu: key '%s' nests arrays more than %d deep", start, key,
                MAX_NESTING);
    TERN_TRY(read_type(c, key, &element));
    TERN_TRY(read_number(c, 8, key, &count));
    least = element == TERN__GGUF_STRING ? 8 : element == TERN__GGUF_ARRAY ? 12 : type_sizes[element];
    if (count > (c->size - c->at) / least)
      TERN_FAIL(TERN_STATUS_CORRUPT,
                "offset %zu: key '%s' says it has %llu elements, more than the file can hold", start, key,
                (unsigned long long)count);
    if (entry) entry->element_type = element, entry->count = count, entry->data = c->data + c->at;
    if (element == TERN__GGUF_STRING || element == TERN__GGUF_ARRAY)
      for (uint64_t i = 0; i < count; i++) TERN_TRY(skip_value(c, key, element, depth + 1, NULL));
    else
      c->at += (size_t)(count * type_sizes[element]);
  }
cleanup:
  return status;
}

static tern_status read_entry(tern__gguf *g, cursor *c, size_t index) {
  tern_status status = TERN_OK;
  tern__gguf_entry *e = &g->entries[index];
  size_t start = c->at;
  TERN_TRY(read_name(c, &g->arena, "a metadata key", MAX_KEY, &e->key));
  TERN_TRY(read_type(c, e->key, &e->type));
  e->data = c->data + c->at;
  TERN_TRY(skip_value(c, e->key, e->type, 0, e));
  if (e->text) {
    e->text = tern__arena_strndup(&g->arena, e->text, e->text_size);
    TERN_CHECK_ALLOC(e->text);
  }
  if (tern__gguf_find(g, e->key))
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset %zu: key '%s' is there twice", start, e->key);
  if (!tern__map_put(g->alloc, &g->entry_by_key, e->key, strlen(e->key), (int64_t)index))
    TERN_CHECK_ALLOC(NULL);
cleanup:
  return status;
}

static tern_status read_shape(cursor *c, tern__gguf_tensor *t) {
  tern_status status = TERN_OK;
  uint64_t rank, dim;
  size_t start = c->at;
  TERN_TRY(read_number(c, 4, t->name, &rank));
  if (rank > MAX_RANK)
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset %zu: tensor '%s' has %llu dimensions, ggml's have at most %d",
              start, t->name, (unsigned long long)rank, MAX_RANK);
  t->shape.rank = (int32_t)rank;
  for (int32_t i = t->shape.rank; i-- > 0;) {
    TERN_TRY(read_number(c, 8, t->name, &dim));
    if (!dim || dim > INT64_MAX)
      TERN_FAIL(TERN_STATUS_CORRUPT, "offset %zu: tensor '%s' has the dimension %llu", c->at - 8, t->name,
                (unsigned long long)dim);
    t->shape.dims[i] = (int64_t)dim;
  }
cleanup:
  return status;
}

/* All but the place of the data, which is known only behind the whole table: data holds the offset until
 * then. */
static tern_status read_tensor(tern__gguf *g, cursor *c, size_t index, uint64_t *offset) {
  tern_status status = TERN_OK;
  tern__gguf_tensor *t = &g->tensors[index];
  char text[96];
  uint64_t type;
  size_t start = c->at;
  TERN_TRY(read_name(c, &g->arena, "a tensor's name", MAX_TENSOR_NAME, &t->name));
  TERN_TRY(read_shape(c, t));
  TERN_TRY(read_number(c, 4, t->name, &type));
  if (type >= sizeof ggml_types / sizeof *ggml_types || !ggml_types[type].name)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "offset %zu: tensor '%s' has the unknown ggml type %llu", c->at - 4,
              t->name, (unsigned long long)type);
  if (!ggml_types[type].dtype)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "tensor '%s' has type %s, which is not supported; take a file in F32, F16, BF16, Q4_0, "
              "Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
              t->name, ggml_types[type].name);
  t->dtype = ggml_types[type].dtype;
  TERN_TRY(read_number(c, 8, t->name, offset));
  if (!tern__shape_bytes(t->dtype, &t->shape, &t->size_bytes))
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset %zu: tensor '%s' of type %s cannot have the shape %s", start,
              t->name, ggml_types[type].name, tern__shape_text(&t->shape, text, sizeof text));
  if (tern__gguf_find_tensor(g, t->name))
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset %zu: tensor '%s' is there twice", start, t->name);
  if (!tern__map_put(g->alloc, &g->tensor_by_name, t->name, strlen(t->name), (int64_t)index))
    TERN_CHECK_ALLOC(NULL);
cleanup:
  return status;
}

static tern_status place_tensors(tern__gguf *g, size_t table_end, const uint64_t *offsets) {
  tern_status status = TERN_OK;
  size_t padding = (g->alignment - table_end % g->alignment) % g->alignment;
  size_t base = g->size - table_end < padding ? g->size : table_end + padding;
  for (size_t i = 0; i < g->n_tensors; i++) {
    tern__gguf_tensor *t = &g->tensors[i];
    if (offsets[i] % g->alignment)
      TERN_FAIL(TERN_STATUS_CORRUPT,
                "tensor '%s' lies at offset %llu of the data, which is no multiple of the alignment %zu",
                t->name, (unsigned long long)offsets[i], g->alignment);
    if (offsets[i] > g->size - base || t->size_bytes > g->size - base - offsets[i])
      TERN_FAIL(TERN_STATUS_CORRUPT,
                "tensor '%s' needs %zu bytes at file offset %zu + %llu, the file has %zu; it may be cut "
                "off, download it again",
                t->name, t->size_bytes, base, (unsigned long long)offsets[i], g->size);
    t->data = g->data + base + (size_t)offsets[i];
  }
cleanup:
  return status;
}

static tern_status read_header(tern__gguf *g, cursor *c) {
  tern_status status = TERN_OK;
  uint64_t version, n_tensors, n_entries;
  if (!tern__gguf_has_magic(c->data, c->size))
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset 0: no GGUF file (it must begin with 'GGUF')");
  c->at = 4;
  TERN_TRY(read_number(c, 4, "the version", &version));
  if (!(version & 0xffff) && version)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "the GGUF file is big-endian; convert it to little-endian (gguf_convert_endian.py)");
  if (version != 2 && version != 3)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "GGUF version %llu is not supported, 2 and 3 are",
              (unsigned long long)version);
  g->version = (uint32_t)version;
  TERN_TRY(read_number(c, 8, "the tensor count", &n_tensors));
  TERN_TRY(read_number(c, 8, "the metadata count", &n_entries));
  /* The least entry has 8 + 1 + 4 + 1 bytes, the least tensor 8 + 1 + 4 + 4 + 8. */
  if (n_entries > (c->size - c->at) / 14)
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset 16: %llu metadata entries cannot fit in the file",
              (unsigned long long)n_entries);
  if (n_tensors > (c->size - c->at) / 25)
    TERN_FAIL(TERN_STATUS_CORRUPT, "offset 8: %llu tensors cannot fit in the file",
              (unsigned long long)n_tensors);
  g->n_entries = (size_t)n_entries, g->n_tensors = (size_t)n_tensors;
  g->entries = tern__calloc(g->alloc, g->n_entries, sizeof *g->entries);
  g->tensors = tern__calloc(g->alloc, g->n_tensors, sizeof *g->tensors);
  TERN_CHECK_ALLOC(g->entries);
  TERN_CHECK_ALLOC(g->tensors);
cleanup:
  return status;
}

tern_status tern__gguf_open(tern__alloc *alloc, const uint8_t *data, size_t size, tern__gguf **out) {
  tern_status status = TERN_OK;
  cursor c = {data, size, 0};
  uint64_t *offsets = NULL;
  int64_t alignment, parts;
  tern__gguf *g = tern__calloc(alloc, 1, sizeof *g);
  *out = NULL;
  TERN_CHECK_ALLOC(g);
  g->alloc = alloc, g->data = data, g->size = size;
  tern__arena_init(&g->arena, alloc);
  TERN_TRY(read_header(g, &c));
  for (size_t i = 0; i < g->n_entries; i++) TERN_TRY(read_entry(g, &c, i));
  TERN_TRY(tern__gguf_int(g, "general.alignment", 32, &alignment));
  if (alignment < 1 || alignment > 1 << 20 || (alignment & (alignment - 1)))
    TERN_FAIL(TERN_STATUS_CORRUPT, "key 'general.alignment' is %lld, not a power of two up to 2^20",
              (long long)alignment);
  g->alignment = (size_t)alignment;
  TERN_TRY(tern__gguf_int(g, "split.count", 0, &parts));
  if (parts > 1)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "the model is split over %lld files; merge them first (llama-gguf-split --merge)",
              (long long)parts);
  offsets = tern__calloc(alloc, g->n_tensors, sizeof *offsets);
  TERN_CHECK_ALLOC(offsets);
  for (size_t i = 0; i < g->n_tensors; i++) TERN_TRY(read_tensor(g, &c, i, &offsets[i]));
  TERN_TRY(place_tensors(g, c.at, offsets));
  *out = g, g = NULL;
cleanup:
  tern__free(alloc, offsets);
  tern__gguf_close(g);
  return status;
}

void tern__gguf_close(tern__gguf *gguf) {
  if (!gguf) return;
  tern__map_deinit(gguf->alloc, &gguf->entry_by_key);
  tern__map_deinit(gguf->alloc, &gguf->tensor_by_name);
  tern__free(gguf->alloc, gguf->entries);
  tern__free(gguf->alloc, gguf->tensors);
  tern__arena_deinit(&gguf->arena);
  tern__free(gguf->alloc, gguf);
}

const tern__gguf_entry *tern__gguf_find(const tern__gguf *gguf, const char *key) {
  int64_t i;
  return tern__map_get(&gguf->entry_by_key, key, strlen(key), &i) ? &gguf->entries[i] : NULL;
}

const tern__gguf_tensor *tern__gguf_find_tensor(const tern__gguf *gguf, const char *name) {
  int64_t i;
  return tern__map_get(&gguf->tensor_by_name, name, strlen(name), &i) ? &gguf->tensors[i] : NULL;
}
