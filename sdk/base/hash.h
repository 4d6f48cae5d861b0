/* FNV-1a, 64 bits (Fowler, Noll, Vo): tells files and constants apart; not meant to resist anyone. */
#ifndef TERN_BASE_HASH_H
#define TERN_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define TERN__HASH_START 14695981039346656037u
#define TERN__HASH_PRIME 1099511628211u

/* Mixes every `step`-th byte into `hash`, first TERN__HASH_START. */
static inline uint64_t tern__hash_steps(uint64_t hash, const void *data, size_t size, size_t step) {
  const uint8_t *bytes = (const uint8_t *)data;
  for (size_t i = 0; i < size; i += step) hash = (hash ^ bytes[i]) * TERN__HASH_PRIME;
  return hash;
}
static inline uint64_t tern__hash(uint64_t hash, const void *data, size_t size) {
  return tern__hash_steps(hash, data, size, 1);
}

#endif
