/* Packed weights by (address of the constant, layout). A linear list behind one lock: a model has some hundred entries
 * and they are looked up only while a program is prepared. */
#include "runtime/pack_cache.h"

#include "base/array.h"

enum { PACK_ALIGNMENT = 64, HASHED_SAMPLES = 512 };

typedef struct entry {
  const void *key;
  uint64_t layout;
  void *data;
  size_t size;
  tern__release_fn release; /* NULL: host memory of the cache's own */
  void *owner;
  bool ready; /* false while one thread builds it */
} entry;

struct tern__pack_cache {
  tern__alloc *alloc;
  tern__mutex mutex;
  tern__cond changed;
  entry *entries;
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
    else tern__free_aligned(cache->alloc, e->data, e->size, PACK_ALIGNMENT);
  }
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

static void drop(tern__pack_cache *cache, const void *key, uint64_t layout) {
  entry *e = find(cache, key, layout);
  *e = cache->entries[tern__array_count(cache->entries) - 1];
  (void)tern__array_pop(cache->entries);
}

/* Under the lock: the finished entry, or a new one that the caller has to build (*build_it). */
static tern_status claim(tern__pack_cache *cache, const void *key, uint64_t layout, void **out, bool *build_it) {
  tern_status status = TERN_OK;
  entry *e;
  *build_it = false;
  while ((e = find(cache, key, layout)) && !e->ready) tern__cond_wait(&cache->changed, &cache->mutex);
  if (e) *out = e->data;
  else {
    TERN_ARRAY_PUSH(cache->alloc, cache->entries, (entry){.key = key, .layout = layout});
    *build_it = true;
  }
cleanup:
  return status;
}

/* After building: the entry is ready, or gone. */
static void settle(tern__pack_cache *cache, tern_status status, const entry *made) {
  tern__mutex_lock(&cache->mutex);
  if (status == TERN_OK) {
    *find(cache, made->key, made->layout) = *made;
    cache->bytes += made->size;
  } else {
    drop(cache, made->key, made->layout);
  }
  tern__cond_broadcast(&cache->changed);
  tern__mutex_unlock(&cache->mutex);
}

tern_status tern__pack_cache_get(tern__pack_cache *cache, const void *key, uint64_t layout, size_t size,
                                 tern__pack_fn build, void *user_data, const void **out) {
  bool build_it;
  void *data = NULL;
  *out = NULL;
  tern__mutex_lock(&cache->mutex);
  tern_status status = claim(cache, key, layout, &data, &build_it);
  tern__mutex_unlock(&cache->mutex);
  if (status == TERN_OK && build_it) {
    data = tern__alloc_aligned(cache->alloc, size, PACK_ALIGNMENT);
    status = data ? build(user_data, data)
                  : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "no memory for %zu bytes of packed weights", size);
    settle(cache, status, &(entry){.key = key, .layout = layout, .data = data, .size = size, .ready = true});
    if (status != TERN_OK && data) tern__free_aligned(cache->alloc, data, size, PACK_ALIGNMENT);
  }
  if (status == TERN_OK) *out = data;
  return status;
}

tern_status tern__pack_cache_resource(tern__pack_cache *cache, const void *key, uint64_t layout, size_t size,
                                      tern__resource_fn make, void *user_data, tern__release_fn release, void *owner,
                                      void **out) {
  bool build_it;
  void *resource = NULL;
  *out = NULL;
  tern__mutex_lock(&cache->mutex);
  tern_status status = claim(cache, key, layout, &resource, &build_it);
  tern__mutex_unlock(&cache->mutex);
  if (status == TERN_OK && build_it) {
    status = make(user_data, &resource);
    settle(cache, status, &(entry){.key = key, .layout = layout, .data = resource, .size = size, .release = release,
                                   .owner = owner, .ready = true});
  }
  if (status == TERN_OK) *out = resource;
  return status;
}

bool tern__pack_cache_has(tern__pack_cache *cache, const void *key, uint64_t layout) {
  tern__mutex_lock(&cache->mutex);
  const entry *e = find(cache, key, layout);
  bool ready = e && e->ready;
  tern__mutex_unlock(&cache->mutex);
  return ready;
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
