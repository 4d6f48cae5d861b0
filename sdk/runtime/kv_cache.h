/* Memory of the KV cache of a session. */
#ifndef TERN_RUNTIME_KV_CACHE_H
#define TERN_RUNTIME_KV_CACHE_H

#include "ir/op.h"

typedef struct tern__kv_layout { int32_t n_layers; int32_t *kv_heads, *head_dim; } tern__kv_layout;

/* Reads the layout off a graph's tern.KvAttention nodes; n_layers = 0 if there are none. Arrays live in `arena`. */
tern_status tern__kv_layout_of(const tern__graph *graph, tern__arena *arena, tern__kv_layout *out);
/* Bytes of a cache for `batch` sequences of `capacity` positions; false on overflow. */
bool tern__kv_cache_bytes(const tern__kv_layout *layout, int32_t batch, int32_t capacity, size_t *out);
/* `on_host` false: only the positions; keys and values lie on a device, and k and v are NULL. */
tern_status tern__kv_cache_create(tern__alloc *alloc, const tern__kv_layout *layout, int32_t batch, int32_t capacity,
                                  bool on_host, tern__kv_cache **out);
void tern__kv_cache_destroy(tern__alloc *alloc, tern__kv_cache *cache);
/* Forgets the positions of sequence b from `length` on. */
void tern__kv_cache_truncate(tern__kv_cache *cache, int32_t b, int32_t length);

#endif
