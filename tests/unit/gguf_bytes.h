/* Writes GGUF files into memory for tests: right ones and hostile ones. */
#ifndef TERN_TESTS_GGUF_BYTES_H
#define TERN_TESTS_GGUF_BYTES_H

#include <stdlib.h>
#include <string.h>

#include "base/file_map.h"
#include "formats/arch.h"

typedef struct gguf_bytes {
  uint8_t data[65536];
  size_t size;
} gguf_bytes;

static inline void put(gguf_bytes *b, const void *data, size_t size) {
  if (b->size + size > sizeof b->data) abort();
  if (size) memcpy(b->data + b->size, data, size);
  b->size += size;
}
static inline void put_u32(gguf_bytes *b, uint32_t v) { put(b, &v, sizeof v); }
static inline void put_u64(gguf_bytes *b, uint64_t v) { put(b, &v, sizeof v); }
static inline void put_f32(gguf_bytes *b, float v) { put(b, &v, sizeof v); }
static inline void put_text(gguf_bytes *b, const char *text) {
  put_u64(b, strlen(text));
  put(b, text, strlen(text));
}
static inline void put_header(gguf_bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_entries) {
  b->size = 0;
  put(b, "GGUF", 4);
  put_u32(b, version);
  put_u64(b, n_tensors);
  put_u64(b, n_entries);
}
static inline void put_key(gguf_bytes *b, const char *key, uint32_t type) {
  put_text(b, key);
  put_u32(b, type);
}
static inline void put_key_u32(gguf_bytes *b, const char *key, uint32_t v) {
  put_key(b, key, TERN__GGUF_U32);
  put_u32(b, v);
}
static inline void put_key_f32(gguf_bytes *b, const char *key, float v) {
  put_key(b, key, TERN__GGUF_F32);
  put_f32(b, v);
}
static inline void put_key_text(gguf_bytes *b, const char *key, const char *v) {
  put_key(b, key, TERN__GGUF_STRING);
  put_text(b, v);
}
/* dims in ggml's order: the contiguous one first. */
static inline void put_tensor(gguf_bytes *b, const char *name, uint32_t rank, const uint64_t *dims,
                              uint32_t type, uint64_t offset) {
  put_text(b, name);
  put_u32(b, rank);
  for (uint32_t i = 0; i < rank && i < 4; i++) put_u64(b, dims[i]);
  put_u32(b, type);
  put_u64(b, offset);
}
static inline void put_zeros(gguf_bytes *b, size_t align, size_t extra) {
  while (b->size % align) put(b, "", 1);
  for (size_t i = 0; i < extra; i++) put(b, "", 1);
}

/* An allocator that fails at the k-th allocation (never if k is 0), and counts. */
typedef struct failing_heap {
  long calls, fail_at, live;
} failing_heap;
static inline void *failing_alloc(void *user_data, size_t size, size_t align) {
  failing_heap *h = user_data;
  if (++h->calls == h->fail_at) return NULL;
  h->live++;
  return aligned_alloc(align, (size + align - 1) / align * align);
}
static inline void failing_free(void *user_data, void *ptr, size_t size, size_t align) {
  failing_heap *h = user_data;
  (void)size, (void)align;
  h->live--;
  free(ptr);
}

static inline tern__file_map open_tiny(const char *name) {
  char path[512];
  tern__file_map map;
  snprintf(path, sizeof path, "%s/tests/models/tiny/%s", TERN_SOURCE_DIR, name);
  if (tern__file_map_open(path, &map) != TERN_OK) abort();
  return map;
}

/* What loading a GGUF model does: open, read the vocabulary, build the graph. */
static inline tern_status load_all(tern__alloc *alloc, const uint8_t *data, size_t size) {
  tern_status status = TERN_OK;
  tern__gguf *gguf = NULL;
  tern__graph *graph = NULL;
  tern__gguf_vocab vocab;
  tern__arch_info info;
  tern__arena arena;
  tern__arena_init(&arena, alloc);
  TERN_TRY(tern__gguf_open(alloc, data, size, &gguf));
  TERN_TRY(tern__gguf_read_vocab(gguf, &arena, &vocab));
  TERN_TRY(tern__arch_build(gguf, 0, alloc, &arena, &graph, &info));
cleanup:
  tern__graph_destroy(graph);
  tern__arena_deinit(&arena);
  tern__gguf_close(gguf);
  return status;
}

#endif
