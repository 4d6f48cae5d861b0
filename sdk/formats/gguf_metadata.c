/* Typed access to GGUF metadata, and the tokenizer's part of it. */
#include <string.h>

#include "base/half.h"
#include "formats/gguf_reader.h"

static const char *const type_names[TERN__GGUF_TYPES] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                         "int32",  "float32", "bool",   "string", "array",
                                                         "uint64", "int64",   "float64"};

static tern_status wrong_type(const tern__gguf_entry *e, const char *wanted) {
  bool array = e->type == TERN__GGUF_ARRAY;
  return tern__fail(TERN_STATUS_CORRUPT, "key '%s' holds %s%s, not %s", e->key, array ? "an array of " : "",
                    type_names[array ? e->element_type : e->type], wanted);
}

static bool is_float(tern__gguf_type t) { return t == TERN__GGUF_F32 || t == TERN__GGUF_F64; }
static bool is_int(tern__gguf_type t) {
  return t != TERN__GGUF_STRING && t != TERN__GGUF_ARRAY && !is_float(t);
}

static uint64_t load_le(const uint8_t *p, int n) {
  uint64_t v = 0;
  for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
  return v;
}

/* The bytes of an element, and its value. */
static size_t load_int(const uint8_t *p, tern__gguf_type type, int64_t *out) {
  switch (type) {
    case TERN__GGUF_I8: return *out = (int8_t)p[0], 1;
    case TERN__GGUF_U16: return *out = (int64_t)load_le(p, 2), 2;
    case TERN__GGUF_I16: return *out = (int16_t)load_le(p, 2), 2;
    case TERN__GGUF_U32: return *out = (int64_t)load_le(p, 4), 4;
    case TERN__GGUF_I32: return *out = (int32_t)load_le(p, 4), 4;
    case TERN__GGUF_U64:
    case TERN__GGUF_I64: return *out = (int64_t)load_le(p, 8), 8;
    case TERN__GGUF_BOOL: return *out = p[0] != 0, 1;
    default: return *out = p[0], 1;
  }
}

static double load_float(const uint8_t *p, tern__gguf_type type) {
  double d;
  uint64_t bits = load_le(p, type == TERN__GGUF_F64 ? 8 : 4);
  if (type == TERN__GGUF_F32) return (double)tern__bits_f32((uint32_t)bits);
  memcpy(&d, &bits, sizeof d);
  return d;
}

tern_status tern__gguf_string(const tern__gguf *gguf, const char *key, const char *fallback,
                              const char **out) {
  const tern__gguf_entry *e = tern__gguf_find(gguf, key);
  *out = fallback;
  if (!e) return TERN_OK;
  if (e->type != TERN__GGUF_STRING) return wrong_type(e, "a string");
  *out = e->text;
  return TERN_OK;
}

tern_status tern__gguf_int(const tern__gguf *gguf, const char *key, int64_t fallback, int64_t *out) {
  const tern__gguf_entry *e = tern__gguf_find(gguf, key);
  *out = fallback;
  if (!e) return TERN_OK;
  if (!is_int(e->type)) return wrong_type(e, "an integer");
  load_int(e->data, e->type, out);
  if (e->type == TERN__GGUF_U64 && *out < 0)
    return tern__fail(TERN_STATUS_CORRUPT, "key '%s' is out of range", key);
  return TERN_OK;
}

tern_status tern__gguf_number(const tern__gguf *gguf, const char *key, double fallback, double *out) {
  const tern__gguf_entry *e = tern__gguf_find(gguf, key);
  int64_t i;
  *out = fallback;
  if (!e) return TERN_OK;
  if (is_float(e->type))
    *out = load_float(e->data, e->type);
  else if (is_int(e->type))
    load_int(e->data, e->type, &i), *out = (double)i;
  else
    return wrong_type(e, "a number");
  return TERN_OK;
}

tern_status tern__gguf_bool(const tern__gguf *gguf, const char *key, bool fallback, bool *out) {
  const tern__gguf_entry *e = tern__gguf_find(gguf, key);
  *out = fallback;
  if (!e) return TERN_OK;
  if (e->type != TERN__GGUF_BOOL) return wrong_type(e, "a bool");
  *out = e->data[0] != 0;
  return TERN_OK;
}

tern_status tern__gguf_ints(const tern__gguf *gguf, const char *key, tern__arena *arena, const int64_t **out,
                            size_t *count) {
  tern_status status = TERN_OK;
  const tern__gguf_entry *e = tern__gguf_find(gguf, key);
  *out = NULL, *count = 0;
  if (!e) goto cleanup;
  if (e->type != TERN__GGUF_ARRAY || !is_int(e->element_type))
    TERN_TRY(wrong_type(e, "an array of integers"));
  int64_t *values = tern__arena_calloc(arena, (size_t)e->count, sizeof *values);
  TERN_CHECK_ALLOC(values);
  const uint8_t *p = e->data;
  for (size_t i = 0; i < e->count; i++) p += load_int(p, e->element_type, &values[i]);
  *out = values, *count = (size_t)e->count;
cleanup:
  return status;
}

tern_status tern__gguf_floats(const tern__gguf *gguf, const char *key, tern__arena *arena, const float **out,
                              size_t *count) {
  tern_status status = TERN_OK;
  const tern__gguf_entry *e = tern__gguf_find(gguf, key);
  *out = NULL, *count = 0;
  if (!e) goto cleanup;
  if (e->type != TERN__GGUF_ARRAY || !is_float(e->element_type))
    TERN_TRY(wrong_type(e, "an array of floats"));
  float *values = tern__arena_calloc(arena, (size_t)e->count, sizeof *values);
  TERN_CHECK_ALLOC(values);
  size_t step = e->element_type == TERN__GGUF_F64 ? 8 : 4;
  for (size_t i = 0; i < e->count; i++) values[i] = (float)load_float(e->data + i * step, e->element_type);
  *out = values, *count = (size_t)e->count;
cleanup:
  return status;
}

tern_status tern__gguf_strings(const tern__gguf *gguf, const char *key, tern__arena *arena,
                               const char *const **out, const size_t **sizes, size_t *count) {
  tern_status status = TERN_OK;
  const tern__gguf_entry *e = tern__gguf_find(gguf, key);
  *out = NULL, *sizes = NULL, *count = 0;
  if (!e) goto cleanup;
  if (e->type != TERN__GGUF_ARRAY || e->element_type != TERN__GGUF_STRING)
    TERN_TRY(wrong_type(e, "an array of strings"));
  const char **texts = tern__arena_calloc(arena, (size_t)e->count, sizeof *texts);
  size_t *lengths = tern__arena_calloc(arena, (size_t)e->count, sizeof *lengths);
  TERN_CHECK_ALLOC(texts);
  TERN_CHECK_ALLOC(lengths);
  const uint8_t *p = e->data; /* lengths were checked when the file was opened */
  for (size_t i = 0; i < e->count; i++) {
    lengths[i] = (size_t)load_le(p, 8);
    texts[i] = (const char *)p + 8;
    p += 8 + lengths[i];
  }
  *out = texts, *sizes = lengths, *count = (size_t)e->count;
cleanup:
  return status;
}

static tern_status read_id(const tern__gguf *gguf, const char *key, size_t n_tokens, int32_t *out) {
  tern_status status = TERN_OK;
  int64_t id;
  TERN_TRY(tern__gguf_int(gguf, key, -1, &id));
  if (id == UINT32_MAX) id = -1; /* LLAMA_TOKEN_NULL written as a uint32 */
  if (id < -1 || (id >= 0 && (uint64_t)id >= n_tokens))
    TERN_FAIL(TERN_STATUS_CORRUPT, "key '%s' is %lld, but there are %zu tokens", key, (long long)id,
              n_tokens);
  *out = (int32_t)id;
cleanup:
  return status;
}

static tern_status read_flag(const tern__gguf *gguf, const char *key, int32_t *out) {
  tern_status status = TERN_OK;
  bool value;
  *out = -1;
  if (!tern__gguf_find(gguf, key)) goto cleanup;
  TERN_TRY(tern__gguf_bool(gguf, key, false, &value));
  *out = value;
cleanup:
  return status;
}

static tern_status read_tokens(const tern__gguf *gguf, tern__arena *arena, tern__gguf_vocab *v) {
  tern_status status = TERN_OK;
  const int64_t *types;
  size_t n_types, n_scores;
  TERN_TRY(
      tern__gguf_strings(gguf, "tokenizer.ggml.tokens", arena, &v->tokens, &v->token_sizes, &v->n_tokens));
  if (!v->n_tokens) TERN_FAIL(TERN_STATUS_CORRUPT, "key 'tokenizer.ggml.tokens' is absent or empty");
  if (v->n_tokens > INT32_MAX)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "key 'tokenizer.ggml.tokens': too many tokens");
  TERN_TRY(
      tern__gguf_strings(gguf, "tokenizer.ggml.merges", arena, &v->merges, &v->merge_sizes, &v->n_merges));
  TERN_TRY(tern__gguf_floats(gguf, "tokenizer.ggml.scores", arena, &v->scores, &n_scores));
  TERN_TRY(tern__gguf_ints(gguf, "tokenizer.ggml.token_type", arena, &types, &n_types));
  if ((v->scores && n_scores != v->n_tokens) || (types && n_types != v->n_tokens))
    TERN_FAIL(
        TERN_STATUS_CORRUPT,
        "keys 'tokenizer.ggml.scores' (%zu) and 'tokenizer.ggml.token_type' (%zu) do not have one entry "
        "for each of the %zu tokens",
        n_scores, n_types, v->n_tokens);
  if (types) {
    int32_t *narrow = tern__arena_calloc(arena, n_types, sizeof *narrow);
    TERN_CHECK_ALLOC(narrow);
    for (size_t i = 0; i < n_types; i++) narrow[i] = types[i] >= 0 && types[i] <= 6 ? (int32_t)types[i] : 0;
    v->types = narrow;
  }
cleanup:
  return status;
}

tern_status tern__gguf_read_vocab(const tern__gguf *gguf, tern__arena *arena, tern__gguf_vocab *out) {
  tern_status status = TERN_OK;
  tern__gguf_vocab v = {0};
  memset(out, 0, sizeof *out);
  TERN_TRY(tern__gguf_string(gguf, "tokenizer.ggml.model", NULL, &v.model));
  if (!v.model)
    TERN_FAIL(TERN_STATUS_NOT_FOUND, "the GGUF file holds no tokenizer (key 'tokenizer.ggml.model')");
  TERN_TRY(tern__gguf_string(gguf, "tokenizer.ggml.pre", NULL, &v.pre));
  TERN_TRY(tern__gguf_string(gguf, "tokenizer.chat_template", NULL, &v.chat_template));
  TERN_TRY(read_tokens(gguf, arena, &v));
  TERN_TRY(read_id(gguf, "tokenizer.ggml.bos_token_id", v.n_tokens, &v.bos_id));
  TERN_TRY(read_id(gguf, "tokenizer.ggml.eos_token_id", v.n_tokens, &v.eos_id));
  TERN_TRY(read_id(gguf, "tokenizer.ggml.eot_token_id", v.n_tokens, &v.eot_id));
  TERN_TRY(read_id(gguf, "tokenizer.ggml.unknown_token_id", v.n_tokens, &v.unk_id));
  TERN_TRY(read_id(gguf, "tokenizer.ggml.padding_token_id", v.n_tokens, &v.pad_id));
  TERN_TRY(read_flag(gguf, "tokenizer.ggml.add_bos_token", &v.add_bos));
  TERN_TRY(read_flag(gguf, "tokenizer.ggml.add_eos_token", &v.add_eos));
  TERN_TRY(read_flag(gguf, "tokenizer.ggml.add_space_prefix", &v.add_space_prefix));
  TERN_TRY(read_flag(gguf, "tokenizer.ggml.remove_extra_whitespaces", &v.remove_extra_whitespaces));
  *out = v;
cleanup:
  return status;
}
