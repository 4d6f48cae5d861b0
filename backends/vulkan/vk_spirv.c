/* Unpacks SPIR-V when a pipeline is made: a fraction of what the driver then takes. */
#include "vulkan/vk_spirv.h"

#include <string.h>

enum { HEADER_WORDS = 5, OP_FUNCTION = 54 };

typedef struct reader { const uint8_t *at, *end; bool failed; } reader;

static uint64_t number(reader *r) {
  uint64_t v = 0;
  for (int shift = 0; shift < 42; shift += 7) {
    if (r->at == r->end) break;
    uint8_t byte = *r->at++;
    v |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return v;
  }
  r->failed = true;
  return 0;
}

/* LZ77: appends a module of `size` bytes to what of its family is there. */
static bool unpack(reader *r, uint8_t *all, size_t *n, size_t size) {
  size_t end = *n + size, distance = 0, at = *n;
  while (at < end && !r->failed) {
    uint64_t literals = number(r);
    if (literals > end - at || literals > (uint64_t)(r->end - r->at)) return false;
    memcpy(all + at, r->at, (size_t)literals);
    at += (size_t)literals, r->at += literals;
    uint64_t length = number(r), given = length ? number(r) : 0;
    if (given) distance = (size_t)given;
    if (length > end - at || (length && (!distance || distance > at))) return false;
    for (uint64_t i = 0; i < length; i++, at++) all[at] = all[at - distance];
  }
  *n = at;
  return at == end && !r->failed;
}

/* Bytes to words. */
static bool decode(reader *r, uint32_t *words, size_t n) {
  size_t at = 0;
  uint32_t last = 0;
  if (n < HEADER_WORDS) return false;
  for (; at < HEADER_WORDS; at++) words[at] = (uint32_t)number(r);
  while (at < n && !r->failed) {
    uint32_t op = (uint32_t)number(r), length = (uint32_t)number(r);
    if (!length || length > n - at) return false;
    words[at] = length << 16 | op;
    for (uint32_t k = 1; k < length; k++) {
      uint64_t v = number(r);
      uint32_t x = (uint32_t)(v >> 1);
      if (v & 1) x = last + (x >> 1 ^ (0 - (x & 1)));
      words[at + k] = x;
      if (k == 2 && op >= OP_FUNCTION && x < words[3]) last = x;
    }
    at += length;
  }
  return at == n && r->at == r->end && !r->failed;
}

tern_status tern__vk_kernel_spirv(tern__alloc *alloc, tern__gpu_kernel_id id, uint32_t **words, size_t *n) {
  tern_status status = TERN_OK;
  const tern__vk_packed_module *modules = tern__vk_packed_modules;
  size_t total = 0, done = 0;
  uint8_t *all = NULL;
  bool good = true;
  *words = NULL, *n = modules[id].words;
  for (int32_t m = (int32_t)id; m >= 0; m = modules[m].before) total += modules[m].coded;
  TERN_CHECK_ALLOC(all = tern__calloc(alloc, total, 1));
  TERN_CHECK_ALLOC(*words = tern__calloc(alloc, *n, sizeof **words));
  /* From the family's first on; each finds its successor's place by walking back, families being short. */
  for (int32_t next = -1; good && next != (int32_t)id;) {
    int32_t m = (int32_t)id;
    while (modules[m].before != next) m = modules[m].before;
    reader packed = {tern__vk_packed_bytes + modules[m].at, tern__vk_packed_bytes + tern__vk_packed_size, false};
    good = unpack(&packed, all, &done, modules[m].coded);
    next = m;
  }
  reader coded = {all + total - modules[id].coded, all + total, false};
  if (!good || !decode(&coded, *words, *n))
    TERN_FAIL(TERN_STATUS_INTERNAL, "kernel %s: its module does not unpack", tern__gpu_kernels[id].name);
cleanup:
  tern__free(alloc, all);
  if (status != TERN_OK) tern__free(alloc, *words), *words = NULL;
  return status;
}
