/* Packed weights by (address of the constant, layout). A linear list behind one lock: a model has some hundred entries
 * and they are looked up only while a program is prepared. */
#include "runtime/pack_cache.h"

#include "base/array.h"

enum {
  PACK_ALIGNMENT = 64,
  SLAB_BYTES = 64 << 20, /* many large pages, and not so much in one piece that a full memory refuses it */
  HASHED_SAMPLES = 512
};

typedef enum state { RESERVED /* has memory, nobody builds it */, BUILDING, READY } state;

typedef struct entry {
  const void *key;
  uint64_t layout;
  void *data;
  size_t size;
  tern__release_fn release; /* NULL: host memory of the cache's own */
  void *owner;
  state state;
  bool in_slab;             /* data is part of a slab */
} entry;

/* Memory of many weights. One by one they would lie on pages of 4 KiB, and a product of one row, which streams them
 * all, would be some 10 % slower. */
typedef struct slab { void *data; size_t size; } slab;

struct tern__pack_cache {
  tern__alloc *alloc;
  tern__mutex mutex;
  tern__cond changed;
  entry *entries;
  slab *slabs;
  tern__file_map *files;
  uint64_t bytes;
};

tern_status tern__pack_cache_create(tern__alloc *alloc, tern__pack_cache **out) {
  *out = tern__calloc(alloc, 1, sizeof **out);
  if (!*out) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for the cache of packed weights");
  (*out)->alloc = alloc;
  tern__mutex_init(&(*out)->mutex);
  tern__cond_init(&(*out)->changed);
  return TERN_OK;
}

void tern__pack_cache_destroy(tern__pack_cache *cache) {
  if (!cache) return;
  for (size_t i = 0; i < tern__array_count(cache->entries); i++) {
    entry *e = &cache->entries[i];
    if (e->release) e->release(e->owner, e->data);
    else if (!e->in_slab) tern__free_aligned(cache->alloc, e->data, e->size, PACK_ALIGNMENT);
  }
  for (size_t i = 0; i < tern__array_count(cache->slabs); i++)
    tern__free_aligned(cache->alloc, cache->slabs[i].data, cache->slabs[i].size, TERN__LARGE_ALIGN);
  TERN_ARRAY_FREE(cache->alloc, cache->slabs);
  TERN_ARRAY_FREE(cache->alloc, cache->files);
  TERN_ARRAY_FREE(cache->alloc, cache->entries);
  tern__cond_deinit(&cache->changed);
  tern__mutex_deinit(&cache->mutex);
  tern__free(cache->alloc, cache);
}

static entry *find(tern__pack_cache *cache, const void *key, uint64_t layout) {
  for (size_t i = 0; i < tern__array_count(cache->entries); i++)
    if (cache->entries[i].key == key && cache->entries[i].layout == layout) return &cache->entries[i];
  return NULL;
}

/* Under the lock: the finished entry, or one that the caller has to build (*build_it); a copy, as entries move. One
 * that another thread builds is waited for. */
static tern_status claim(tern__pack_cache *cache, const void *key, uint64_t layout, entry *out, bool *build_it) {
  tern_status status = TERN_OK;
  entry *e;
  while ((e = find(cache, key, layout)) && e->state == BUILDING) tern__cond_wait(&cache->changed, &cache->mutex);
  if (!e) {
    TERN_ARRAY_PUSH(cache->alloc, cache->entries, (entry){.key = key, .layout = layout});
    e = &cache->entries[tern__array_count(cache->entries) - 1];
  }
  *build_it = e->state != READY;
  if (*build_it) e->state = BUILDING;
  *out = *e;
cleanup:
  return status;
}

/* After building: the entry is ready, or as it was. */
static void settle(tern__pack_cache *cache, tern_status status, entry *made) {
  tern__mutex_lock(&cache->mutex);
  entry *e = find(cache, made->key, made->layout);
  if (status == TERN_OK) {
    made->state = READY;
    *e = *made;
    cache->bytes += made->size;
  } else if (made->in_slab) {
    e->state = RESERVED;
  } else {
    *e = cache->entries[tern__array_count(cache->entries) - 1];
    (void)tern__array_pop(cache->entries);
  }
  tern__cond_broadcast(&cache->changed);
  tern__mutex_unlock(&cache->mutex);
}

static size_t in_slab(size_t size) { return (size + PACK_ALIGNMENT - 1) / PACK_ALIGNMENT * PACK_ALIGNMENT; }

/* Under the lock: gives the entries from `first` on a slab. */
static tern_status add_slab(tern__pack_cache *cache, size_t first, size_t size) {
  tern_status status = TERN_OK;
  slab made = {.size = size};
  if (!size) return TERN_OK;
  made.data = tern__alloc_aligned(cache->alloc, size, TERN__LARGE_ALIGN);
  if (!made.data) TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "no memory for %zu bytes of packed weights", size);
  TERN_ARRAY_PUSH(cache->alloc, cache->slabs, made);
  uint8_t *at = made.data;
  made.data = NULL;
  for (size_t i = first; i < tern__array_count(cache->entries); i++) {
    cache->entries[i].data = at;
    at += in_slab(cache->entries[i].size);
  }
cleanup:
  tern__free_aligned(cache->alloc, made.data, size, TERN__LARGE_ALIGN);
  return status;
}

tern_status tern__pack_cache_reserve(tern__pack_cache *cache, const tern__pack_request *requests, size_t n) {
  tern_status status = TERN_OK;
  tern__mutex_lock(&cache->mutex);
  size_t first = tern__array_count(cache->entries), bytes = 0;
  for (size_t i = 0; i < n; i++) {
    const tern__pack_request *r = &requests[i];
    if (find(cache, r->key, r->layout)) continue;
    if (bytes && bytes + r->size > SLAB_BYTES) {
      TERN_TRY(add_slab(cache, first, bytes));
      first = tern__array_count(cache->entries), bytes = 0;
    }
    TERN_ARRAY_PUSH(cache->alloc, cache->entries,
                    (entry){.key = r->key, .layout = r->layout, .size = r->size, .in_slab = true});
    bytes += in_slab(r->size);
  }
  TERN_TRY(add_slab(cache, first, bytes));
  first = tern__array_count(cache->entries);
cleanup:
  while (tern__array_count(cache->entries) > first) (void)tern__array_pop(cache->entries);
  tern__mutex_unlock(&cache->mutex);
  return status;
}

tern_status tern__pack_cache_get(tern__pack_cache *cache, const void *key, uint64_t layout, size_t size,
                                 tern__pack_fn build, void *user_data, const void **out) {
  bool build_it = false;
  entry e = {0};
  *out = NULL;
  tern__mutex_lock(&cache->mutex);
  tern_status status = claim(cache, key, layout, &e, &build_it);
  tern__mutex_unlock(&cache->mutex);
  if (status == TERN_OK && build_it) {
    if (!e.in_slab) e.size = size, e.data = tern__alloc_aligned(cache->alloc, size, PACK_ALIGNMENT);
    status = e.data ? build(user_data, e.data)
                    : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "no memory for %zu bytes of packed weights", size);
    settle(cache, status, &e);
    if (status != TERN_OK && !e.in_slab) tern__free_aligned(cache->alloc, e.data, size, PACK_ALIGNMENT);
  }
  if (status == TERN_OK) *out = e.data;
  return status;
}

tern_status tern__pack_cache_resource(tern__pack_cache *cache, const void *key, uint64_t layout, size_t size,
                                      tern__resource_fn make, void *user_data, tern__release_fn release, void *owner,
                                      void **out) {
  bool build_it = false;
  entry e = {0};
  *out = NULL;
  tern__mutex_lock(&cache->mutex);
  tern_status status = claim(cache, key, layout, &e, &build_it);
  tern__mutex_unlock(&cache->mutex);
  if (status == TERN_OK && build_it) {
    status = make(user_data, &e.data);
    e.size = size, e.release = release, e.owner = owner;
    settle(cache, status, &e);
  }
  if (status == TERN_OK) *out = e.data;
  return status;
}

tern_status tern__pack_cache_claim(tern__pack_cache *cache, const void *key, uint64_t layout, tern__pack_claim *out,
                                   void **there) {
  tern_status status = TERN_OK;
  bool build_it = false;
  entry e = {0};
  *out = TERN__PACK_BUSY, *there = NULL;
  tern__mutex_lock(&cache->mutex);
  const entry *found = find(cache, key, layout);
  if (found && found->state == BUILDING) goto cleanup;
  TERN_TRY(claim(cache, key, layout, &e, &build_it));
  *out = build_it ? TERN__PACK_OURS : TERN__PACK_THERE;
  if (!build_it) *there = e.data;
cleanup:
  tern__mutex_unlock(&cache->mutex);
  return status;
}

void tern__pack_cache_settle(tern__pack_cache *cache, const void *key, uint64_t layout, tern_status status,
                             void *resource, size_t size, tern__release_fn release, void *owner) {
  entry made = {.key = key, .layout = layout, .data = resource, .size = size, .release = release, .owner = owner};
  settle(cache, status, &made);
}

tern_status tern__pack_cache_add_file(tern__pack_cache *cache, const tern__file_map *file) {
  tern_status status = TERN_OK;
  tern__mutex_lock(&cache->mutex);
  TERN_ARRAY_PUSH(cache->alloc, cache->files, *file);
cleanup:
  tern__mutex_unlock(&cache->mutex);
  return status;
}

/* Under the lock. */
static const tern__file_map *file_of(tern__pack_cache *cache, const void *source, size_t bytes, size_t *offset) {
  for (size_t i = 0; i < tern__array_count(cache->files); i++) {
    const tern__file_map *file = &cache->files[i];
    *offset = (uintptr_t)source - (uintptr_t)file->data;
    if (*offset < file->size && bytes <= file->size - *offset) return file;
  }
  return NULL;
}

bool tern__pack_cache_in_file(tern__pack_cache *cache, const void *source, size_t bytes) {
  size_t offset;
  tern__mutex_lock(&cache->mutex);
  bool in_file = file_of(cache, source, bytes, &offset) != NULL;
  tern__mutex_unlock(&cache->mutex);
  return in_file;
}

void tern__pack_cache_release_source(tern__pack_cache *cache, const void *source, size_t bytes) {
  size_t offset;
  tern__mutex_lock(&cache->mutex);
  const tern__file_map *file = file_of(cache, source, bytes, &offset);
  if (file) tern__file_map_release_pages(file, offset, bytes);
  tern__mutex_unlock(&cache->mutex);
}

bool tern__pack_cache_has(tern__pack_cache *cache, const void *key, uint64_t layout) {
  tern__mutex_lock(&cache->mutex);
  const entry *e = find(cache, key, layout);
  bool has = e && e->data;
  tern__mutex_unlock(&cache->mutex);
  return has;
}

uint64_t tern__pack_cache_bytes(tern__pack_cache *cache) {
  tern__mutex_lock(&cache->mutex);
  uint64_t bytes = cache->bytes;
  tern__mutex_unlock(&cache->mutex);
  return bytes;
}

uint64_t tern__pack_hash(uint64_t hash, const void *data, size_t size) {
  hash = tern__hash_steps(hash, data, data ? size : 0, size / HASHED_SAMPLES + 1);
  return (hash ^ size) * TERN__HASH_PRIME;
}
