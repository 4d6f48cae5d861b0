/* All memory of the library comes from here: the runtime's allocator with counting and a budget, and arenas on it. */
#ifndef TERN_BASE_MEMORY_H
#define TERN_BASE_MEMORY_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct tern__alloc {
  tern_allocator fns;
  uint64_t budget_bytes; /* 0 = none */
  _Atomic uint64_t live_bytes, peak_bytes;
  _Atomic uint64_t refused_bytes; /* size of the last request that the budget, not the allocator, refused */
} tern__alloc;

/* `fns` NULL or zero = the C library. */
void tern__alloc_init(tern__alloc *alloc, const tern_allocator *fns, uint64_t budget_bytes);

/* Turns OUT_OF_MEMORY into OUT_OF_BUDGET with the numbers if it was the budget that refused; other statuses pass. */
tern_status tern__alloc_explain(tern__alloc *alloc, tern_status status);

/* 16-byte aligned; size 0 gives a unique pointer; NULL when there is no memory or no budget left. */
void *tern__malloc(tern__alloc *alloc, size_t size);
void *tern__calloc(tern__alloc *alloc, size_t count, size_t size); /* checks the product */
void *tern__realloc(tern__alloc *alloc, void *ptr, size_t size);   /* on NULL the old block is untouched */
void tern__free(tern__alloc *alloc, void *ptr);                    /* NULL is fine */
char *tern__strdup(tern__alloc *alloc, const char *text);
char *tern__strndup(tern__alloc *alloc, const char *text, size_t size);

/* For weights and activations: any alignment, the size must be given back. What is aligned to TERN__LARGE_ALIGN comes
 * on large pages where the system has them (transparent huge pages, unless the runtime has its own allocator). */
#if defined(__linux__)
#  define TERN__LARGE_ALIGN ((size_t)2 << 20)
#else
#  define TERN__LARGE_ALIGN ((size_t)64)
#endif
void *tern__alloc_aligned(tern__alloc *alloc, size_t size, size_t align);
void tern__free_aligned(tern__alloc *alloc, void *ptr, size_t size, size_t align);

/* False on overflow. */
static inline bool tern__mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool tern__add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

/* Objects that live and die together (a graph, a tokenizer). Blocks double up to 1 MiB. */
typedef struct tern__arena {
  tern__alloc *alloc;
  struct tern__arena_block *blocks;
  size_t next_block_size;
} tern__arena;

void tern__arena_init(tern__arena *arena, tern__alloc *alloc);
void tern__arena_deinit(tern__arena *arena);
void *tern__arena_alloc(tern__arena *arena, size_t size); /* zeroed, 16-byte aligned, NULL = no memory */
void *tern__arena_alloc_raw(tern__arena *arena, size_t size); /* not zeroed: for large constants, all of it written */
void *tern__arena_calloc(tern__arena *arena, size_t count, size_t size);
char *tern__arena_strndup(tern__arena *arena, const char *text, size_t size);
char *tern__arena_strdup(tern__arena *arena, const char *text);
char *tern__arena_printf(tern__arena *arena, const char *fmt, ...) TERN_PRINTF(2, 3);

#endif
