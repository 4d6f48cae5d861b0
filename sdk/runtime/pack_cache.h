/* Weights in a device's layout, kept once per model and shared by all its sessions. */
#ifndef TERN_RUNTIME_PACK_CACHE_H
#define TERN_RUNTIME_PACK_CACHE_H

#include "base/file_map.h"
#include "base/hash.h"
#include "base/thread.h"

typedef struct tern__pack_cache tern__pack_cache;

tern_status tern__pack_cache_create(tern__alloc *alloc, tern__pack_cache **out);
void tern__pack_cache_destroy(tern__pack_cache *cache); /* NULL is fine */

/* The packed form of the constant(s) at `key` in `layout` (a number that the backend chooses; part of the
 * key). Built by `build` into `size` bytes, 64-byte aligned, on the first call; other callers of the same key
 * wait. */
typedef tern_status (*tern__pack_fn)(void *user_data, void *packed);
tern_status tern__pack_cache_get(tern__pack_cache *cache, const void *key, uint64_t layout, size_t size,
                                 tern__pack_fn build, void *user_data, const void **out);
/* The same for something that is no host memory, a buffer on a device: `make` creates it, `release` frees it when the
 * cache goes. `size` counts in the cache's bytes. `release` and its owner must outlive the cache. */
typedef tern_status (*tern__resource_fn)(void *user_data, void **resource);
typedef void (*tern__release_fn)(void *owner, void *resource);
tern_status tern__pack_cache_resource(tern__pack_cache *cache, const void *key, uint64_t layout, size_t size,
                                      tern__resource_fn make, void *user_data, tern__release_fn release, void *owner,
                                      void **out);
/* The same in two steps, for who makes several at a time: claim never waits. After OURS the caller makes the resource
 * and settles, with what came of it; until then others find it BUSY, or wait for it. Who waits for one of those (with
 * tern__pack_cache_resource) must have settled all of its own. */
typedef enum tern__pack_claim { TERN__PACK_THERE, TERN__PACK_OURS, TERN__PACK_BUSY } tern__pack_claim;
tern_status tern__pack_cache_claim(tern__pack_cache *cache, const void *key, uint64_t layout, tern__pack_claim *claim,
                                   void **there);
void tern__pack_cache_settle(tern__pack_cache *cache, const void *key, uint64_t layout, tern_status status,
                             void *resource, size_t size, tern__release_fn release, void *owner);
/* Memory for the host weights that are to be got next, together: large pages, where the system has them, need large
 * pieces. Those that are there already are left alone. Kept when building one fails, for the next attempt. */
typedef struct tern__pack_request { const void *key; uint64_t layout; size_t size; } tern__pack_request;
tern_status tern__pack_cache_reserve(tern__pack_cache *cache, const tern__pack_request *requests, size_t n);

/* A file that constants lie in; it must stay open as long as the cache is asked. What was packed out of it is not read
 * there again, or seldom, so that its pages are given back: the process does not hold weights twice. */
tern_status tern__pack_cache_add_file(tern__pack_cache *cache, const tern__file_map *file);
bool tern__pack_cache_in_file(tern__pack_cache *cache, const void *source, size_t bytes);
void tern__pack_cache_release_source(tern__pack_cache *cache, const void *source, size_t bytes);

/* True if it has its memory already (for counting what a plan will still allocate). */
bool tern__pack_cache_has(tern__pack_cache *cache, const void *key, uint64_t layout);
uint64_t tern__pack_cache_bytes(tern__pack_cache *cache);

/* For layout numbers: mixes samples of the data into `hash`, first TERN__PACK_HASH. They are part of the key
 * because a session's own constants may come to lie where those of an earlier session were. Those of a file stay where
 * they are and need none: samples would read all of its pages again. */
#define TERN__PACK_HASH TERN__HASH_START
uint64_t tern__pack_hash(uint64_t hash, const void *data, size_t size);

#endif
