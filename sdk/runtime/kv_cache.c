/* One block of float16 for all layers; see tern__kv_cache in ir/op.h for the layout. */
#include "runtime/kv_cache.h"

#include <string.h>

tern_status tern__kv_layout_of(const tern__graph *graph, tern__arena *arena, tern__kv_layout *out) {
  tern_status status = TERN_OK;
  memset(out, 0, sizeof *out);
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++)
    if (strcmp(graph->nodes[n].op->name, "KvAttention") == 0) {
      int64_t layer = tern__node_int(&graph->nodes[n], "layer", -1);
      if (layer < 0 || layer > 4096)
        TERN_FAIL(TERN_STATUS_CORRUPT, "node '%s': layer out of range", graph->nodes[n].name);
      if (layer >= out->n_layers) out->n_layers = (int32_t)layer + 1;
    }
  if (!out->n_layers) goto cleanup;
  out->kv_heads = tern__arena_calloc(arena, (size_t)out->n_layers, sizeof(int32_t));
  out->head_dim = tern__arena_calloc(arena, (size_t)out->n_layers, sizeof(int32_t));
  TERN_CHECK_ALLOC(out->kv_heads);
  TERN_CHECK_ALLOC(out->head_dim);
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) {
    const tern__node *node = &graph->nodes[n];
    if (strcmp(node->op->name, "KvAttention") != 0) continue;
    int64_t layer = tern__node_int(node, "layer", 0), heads = tern__node_int(node, "kv_num_heads", 0);
    int64_t dim = tern__node_int(node, "head_dim", 0);
    if (heads <= 0 || heads > 65536 || dim <= 0 || dim > 65536)
      TERN_FAIL(TERN_STATUS_CORRUPT, "node '%s': impossible head counts", node->name);
    out->kv_heads[layer] = (int32_t)heads, out->head_dim[layer] = (int32_t)dim;
  }
cleanup:
  return status;
}

bool tern__kv_cache_bytes(const tern__kv_layout *layout, int32_t batch, int32_t capacity, size_t *out) {
  size_t total = 0;
  for (int32_t l = 0; l < layout->n_layers; l++) {
    size_t n = 2 * sizeof(uint16_t);
    if (!tern__mul_size(n, (size_t)layout->kv_heads[l], &n) || !tern__mul_size(n, (size_t)layout->head_dim[l], &n) ||
        !tern__mul_size(n, (size_t)batch, &n) || !tern__mul_size(n, (size_t)capacity, &n) ||
        !tern__add_size(total, n, &total))
      return false;
  }
  *out = total;
  return true;
}

typedef struct owner { tern__kv_cache cache; size_t bytes; void *block; } owner;

tern_status tern__kv_cache_create(tern__alloc *alloc, const tern__kv_layout *layout, int32_t batch, int32_t capacity,
                                  bool on_host, tern__kv_cache **out) {
  tern_status status = TERN_OK;
  owner *o = tern__calloc(alloc, 1, sizeof *o);
  *out = NULL;
  TERN_CHECK_ALLOC(o);
  size_t layers = (size_t)layout->n_layers;
  if (!tern__kv_cache_bytes(layout, batch, capacity, &o->bytes))
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "the KV cache would be too large; use a shorter context");
  tern__kv_cache *c = &o->cache;
  c->n_layers = layout->n_layers, c->batch = batch, c->capacity = capacity;
  c->kv_heads = layout->kv_heads, c->head_dim = layout->head_dim;
  c->past = tern__calloc(alloc, (size_t)batch, sizeof *c->past);
  c->fresh = tern__calloc(alloc, (size_t)batch, sizeof *c->fresh);
  if (!c->past || !c->fresh) TERN_CHECK_ALLOC(NULL);
  if (!on_host) {
    o->bytes = 0;
    *out = c, o = NULL;
    goto cleanup;
  }
  c->k = tern__calloc(alloc, layers, sizeof *c->k);
  c->v = tern__calloc(alloc, layers, sizeof *c->v);
  if (!c->k || !c->v) TERN_CHECK_ALLOC(NULL);
  o->block = tern__alloc_aligned(alloc, o->bytes, 64);
  if (!o->block)
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "no memory for a KV cache of %zu bytes (%d positions); use a shorter context",
              o->bytes, capacity);
  uint16_t *p = o->block;
  for (size_t l = 0; l < layers; l++) {
    size_t n = (size_t)batch * (size_t)layout->kv_heads[l] * (size_t)capacity * (size_t)layout->head_dim[l];
    c->k[l] = p, p += n;
    c->v[l] = p, p += n;
  }
  *out = c, o = NULL;
cleanup:
  if (o) tern__kv_cache_destroy(alloc, &o->cache);
  return status;
}

void tern__kv_cache_destroy(tern__alloc *alloc, tern__kv_cache *cache) {
  if (!cache) return;
  owner *o = (owner *)cache;
  tern__free_aligned(alloc, o->block, o->bytes, 64);
  tern__free(alloc, cache->k);
  tern__free(alloc, cache->v);
  tern__free(alloc, cache->past);
  tern__free(alloc, cache->fresh);
  tern__free(alloc, o);
}

void tern__kv_cache_truncate(tern__kv_cache *cache, int32_t b, int32_t length) {
  if (length >= 0 && length < cache->past[b]) cache->past[b] = length;
}
