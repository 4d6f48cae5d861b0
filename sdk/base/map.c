/* String map: linear probing at a load of at most 1/2. Names come from files, so probing is bounded by a full
 * comparison of hash, size and bytes; a crafted set of colliding names costs time, not memory or correctness. */
#include "base/map.h"

#include <string.h>

uint32_t tern__hash_bytes(const void *data, size_t size) {
  const unsigned char *p = data;
  uint64_t h = 0x9E3779B97F4A7C15u ^ size;
  for (; size >= 8; size -= 8, p += 8) {
    uint64_t v;
    memcpy(&v, p, 8);
    h = (h ^ v) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
  }
  for (; size; size--) h = (h ^ *p++) * 0x100000001B3u;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93u;
  return (uint32_t)(h >> 32);
}

static tern__map_slot *find(const tern__map *map, const char *key, size_t size, uint32_t hash) {
  size_t mask = map->capacity - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    tern__map_slot *s = &map->slots[i];
    if (!s->key || (s->hash == hash && s->key_size == size && memcmp(s->key, key, size) == 0)) return s;
  }
}

bool tern__map_reserve(tern__alloc *alloc, tern__map *map, size_t count) {
  size_t capacity = map->capacity ? map->capacity : 16;
  while (capacity / 2 < count) {
    if (capacity > SIZE_MAX / 4) return false;
    capacity *= 2;
  }
  if (capacity == map->capacity) return true;
  tern__map grown = {tern__calloc(alloc, capacity, sizeof(tern__map_slot)), capacity, map->count};
  if (!grown.slots) return false;
  for (size_t i = 0; i < map->capacity; i++) {
    const tern__map_slot *s = &map->slots[i];
    if (s->key) *find(&grown, s->key, s->key_size, s->hash) = *s;
  }
  tern__free(alloc, map->slots);
  *map = grown;
  return true;
}

bool tern__map_put(tern__alloc *alloc, tern__map *map, const char *key, size_t key_size, int64_t value) {
  if (key_size > UINT32_MAX || !tern__map_reserve(alloc, map, map->count + 1)) return false;
  uint32_t hash = tern__hash_bytes(key, key_size);
  tern__map_slot *s = find(map, key, key_size, hash);
  if (!s->key) {
    *s = (tern__map_slot){key, (uint32_t)key_size, hash, 0};
    map->count++;
  }
  s->value = value;
  return true;
}

bool tern__map_get(const tern__map *map, const char *key, size_t key_size, int64_t *value) {
  if (!map->count) return false;
  const tern__map_slot *s = find(map, key, key_size, tern__hash_bytes(key, key_size));
  if (!s->key) return false;
  if (value) *value = s->value;
  return true;
}

void tern__map_deinit(tern__alloc *alloc, tern__map *map) {
  tern__free(alloc, map->slots);
  *map = (tern__map){0};
}
