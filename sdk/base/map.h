/* A map from byte strings to int64: names to ids. Open addressing, keys borrowed (they must outlive the map). */
#ifndef TERN_BASE_MAP_H
#define TERN_BASE_MAP_H

#include "base/memory.h"

typedef struct tern__map_slot { const char *key; uint32_t key_size; uint32_t hash; int64_t value; } tern__map_slot;
typedef struct tern__map { tern__map_slot *slots; size_t capacity, count; } tern__map; /* zero = empty */

/* Sets or replaces. False = no memory. */
bool tern__map_put(tern__alloc *alloc, tern__map *map, const char *key, size_t key_size, int64_t value);
/* False = absent. `value` may be NULL. */
bool tern__map_get(const tern__map *map, const char *key, size_t key_size, int64_t *value);
bool tern__map_reserve(tern__alloc *alloc, tern__map *map, size_t count);
void tern__map_deinit(tern__alloc *alloc, tern__map *map);

uint32_t tern__hash_bytes(const void *data, size_t size);

#endif
