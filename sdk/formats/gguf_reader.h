/* Reading a GGUF file (v2, v3, little-endian) that lies in memory. Tensor data and array elements stay views
 * into it; names and scalar strings are NUL-terminated copies. Source: ggml/docs/gguf.md and llama.cpp's
 * ggml/src/gguf.cpp. */
#ifndef TERN_FORMATS_GGUF_READER_H
#define TERN_FORMATS_GGUF_READER_H

#include "base/map.h"
#include "base/thread.h"
#include "ir/dtype.h"

typedef enum tern__gguf_type {
  TERN__GGUF_U8,
  TERN__GGUF_I8,
  TERN__GGUF_U16,
  TERN__GGUF_I16,
  TERN__GGUF_U32,
  TERN__GGUF_I32,
  TERN__GGUF_F32,
  TERN__GGUF_BOOL,
  TERN__GGUF_STRING,
  TERN__GGUF_ARRAY,
  TERN__GGUF_U64,
  TERN__GGUF_I64,
  TERN__GGUF_F64,
  TERN__GGUF_TYPES
} tern__gguf_type;

typedef struct tern__gguf_entry {
  const char *key;
  tern__gguf_type type;         /* of the value; arrays: ARRAY */
  tern__gguf_type element_type; /* of arrays */
  uint64_t count;               /* of arrays */
  const uint8_t *data;          /* the value's, or the first element's, bytes in the file */
  const char *text;             /* of strings: NUL-terminated */
  size_t text_size;
} tern__gguf_entry;

typedef struct tern__gguf_tensor {
  const char *name;
  tern_dtype dtype;
  tern__shape shape; /* row-major as everywhere in tern: the reverse of ggml's order, last dim contiguous */
  const uint8_t *data;
  size_t size_bytes;
} tern__gguf_tensor;

typedef struct tern__gguf {
  tern__alloc *alloc;
  tern__arena arena;
  const uint8_t *data; /* the file; borrowed */
  size_t size;
  uint32_t version;
  size_t alignment;
  tern__gguf_entry *entries;
  tern__gguf_tensor *tensors;
  size_t n_entries, n_tensors;
  tern__map entry_by_key, tensor_by_name;
  const tern_cancel *cancel; /* stops what is built from the file; NULL = nothing does */
} tern__gguf;

/* `data` must outlive *out. CORRUPT names the file offset and the key or tensor; UNSUPPORTED the version,
 * byte order or tensor type. */
tern_status tern__gguf_open(tern__alloc *alloc, const uint8_t *data, size_t size, tern__gguf **out);
void tern__gguf_close(tern__gguf *gguf);
static inline bool tern__gguf_has_magic(const uint8_t *data, size_t size) {
  return size >= 4 && data[0] == 'G' && data[1] == 'G' && data[2] == 'U' && data[3] == 'F';
}

const tern__gguf_entry *tern__gguf_find(const tern__gguf *gguf, const char *key);          /* NULL = absent */
const tern__gguf_tensor *tern__gguf_find_tensor(const tern__gguf *gguf, const char *name); /* NULL = absent */

/* Metadata by key. Absent: the fallback and OK. Another type than asked for: CORRUPT naming the key. int
 * takes every integer type and bool, number also floats. */
tern_status tern__gguf_string(const tern__gguf *gguf, const char *key, const char *fallback,
                              const char **out);
tern_status tern__gguf_int(const tern__gguf *gguf, const char *key, int64_t fallback, int64_t *out);
tern_status tern__gguf_number(const tern__gguf *gguf, const char *key, double fallback, double *out);
tern_status tern__gguf_bool(const tern__gguf *gguf, const char *key, bool fallback, bool *out);
/* Arrays, with pointers in `arena`; absent: NULL, 0 and OK. ints takes every integer type and bool. */
tern_status tern__gguf_ints(const tern__gguf *gguf, const char *key, tern__arena *arena, const int64_t **out,
                            size_t *count);
tern_status tern__gguf_floats(const tern__gguf *gguf, const char *key, tern__arena *arena, const float **out,
                              size_t *count);
/* The strings are views into the file and not NUL-terminated. */
tern_status tern__gguf_strings(const tern__gguf *gguf, const char *key, tern__arena *arena,
                               const char *const **out, const size_t **sizes, size_t *count);

/* tokenizer.ggml.* gathered. Members mean what those of tern__vocab_source (text/tokenizer.h) do: formats do
 * not know text, so whoever knows both copies member by member. Arrays live in the arena, strings in the
 * file. */
typedef struct tern__gguf_vocab {
  const char *model, *pre;
  size_t n_tokens;
  const char *const *tokens;
  const size_t *token_sizes;
  const float *scores;
  const int32_t *types;
  size_t n_merges;
  const char *const *merges;
  const size_t *merge_sizes;
  int32_t bos_id, eos_id, eot_id, unk_id, pad_id;
  int32_t add_bos, add_eos, add_space_prefix, remove_extra_whitespaces;
  const char *chat_template;
} tern__gguf_vocab;
/* NOT_FOUND if the file has no tokenizer; CORRUPT if arrays differ in length or an id is no token. */
tern_status tern__gguf_read_vocab(const tern__gguf *gguf, tern__arena *arena, tern__gguf_vocab *out);

#endif
