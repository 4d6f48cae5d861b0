/* The counting allocator and arenas. */
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__wasm__)
#  include "base/heap_wasm.h"
static void *libc_alloc(void *user_data, size_t size, size_t align) {
  (void)user_data;
  return tern__heap_alloc(size, align);
}
static void libc_free(void *user_data, void *ptr, size_t size, size_t align) {
  (void)user_data;
  tern__heap_free(ptr, size, align);
}
#else
#  if defined(__linux__)
#    include <sys/mman.h>
#    include <unistd.h>

static size_t whole_pages(size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (size + page - 1) / page * page;
}

/* Pages of its own, as advice given about the C library's heap would outlive what was allocated there. A system without
 * large pages says no to the advice, which is no fault. */
static void *large_alloc(size_t size) {
  size_t pages = whole_pages(size), all = pages + TERN__LARGE_ALIGN;
  if (pages < size || all < pages) return NULL;
  uint8_t *at = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return NULL;
  size_t before = (TERN__LARGE_ALIGN - (uintptr_t)at % TERN__LARGE_ALIGN) % TERN__LARGE_ALIGN;
  if (before) munmap(at, before);
  munmap(at + before + pages, all - before - pages);
  madvise(at + before, pages, MADV_HUGEPAGE);
  return at + before;
}
#  endif
static void *libc_alloc(void *user_data, size_t size, size_t align) {
  (void)user_data;
#  if defined(__linux__)
  if (align == TERN__LARGE_ALIGN) return large_alloc(size);
#  endif
  if (align <= 16) return malloc(size); /* tern: the one call site of the C library's heap */
  size_t padded = (size + align - 1) & ~(align - 1);
  return padded < size ? NULL : aligned_alloc(align, padded);
}

static void libc_free(void *user_data, void *ptr, size_t size, size_t align) {
  (void)user_data, (void)size, (void)align;
#  if defined(__linux__)
  if (align == TERN__LARGE_ALIGN) {
    munmap(ptr, whole_pages(size));
    return;
  }
#  endif
  free(ptr);
}
#endif

void tern__alloc_init(tern__alloc *alloc, const tern_allocator *fns, uint64_t budget_bytes) {
  memset(alloc, 0, sizeof *alloc);
  if (fns && fns->alloc && fns->free) alloc->fns = *fns;
  else alloc->fns = (tern_allocator){libc_alloc, libc_free, NULL};
  alloc->budget_bytes = budget_bytes;
}

tern_status tern__alloc_explain(tern__alloc *alloc, tern_status status) {
  uint64_t refused = atomic_exchange(&alloc->refused_bytes, 0);
  if (status != TERN_STATUS_OUT_OF_MEMORY || !refused) return status;
  return tern__fail_context(
      tern__fail(TERN_STATUS_OUT_OF_BUDGET, "give a larger budget, a shorter context or a smaller model"),
      "the runtime's budget of %llu bytes is used up: %llu are held and %llu more were needed",
      (unsigned long long)alloc->budget_bytes, (unsigned long long)atomic_load(&alloc->live_bytes),
      (unsigned long long)refused);
}

void *tern__alloc_aligned(tern__alloc *alloc, size_t size, size_t align) {
  uint64_t live = atomic_fetch_add(&alloc->live_bytes, size) + size;
  void *ptr = NULL;
  if (!alloc->budget_bytes || live <= alloc->budget_bytes)
    ptr = alloc->fns.alloc(alloc->fns.user_data, size ? size : 1, align);
  else
    atomic_store(&alloc->refused_bytes, size ? size : 1);
  if (!ptr) {
    atomic_fetch_sub(&alloc->live_bytes, size);
    return NULL;
  }
  uint64_t peak = atomic_load(&alloc->peak_bytes);
  while (live > peak && !atomic_compare_exchange_weak(&alloc->peak_bytes, &peak, live)) {}
  return ptr;
}

void tern__free_aligned(tern__alloc *alloc, void *ptr, size_t size, size_t align) {
  if (!ptr) return;
  alloc->fns.free(alloc->fns.user_data, ptr, size ? size : 1, align);
  atomic_fetch_sub(&alloc->live_bytes, size);
}

/* A header of 16 bytes remembers the size, so that callers need not, and keeps the alignment. */
typedef struct header { _Alignas(16) size_t size; } header;

void *tern__malloc(tern__alloc *alloc, size_t size) {
  size_t total;
  if (!tern__add_size(size, sizeof(header), &total)) return NULL;
  header *h = tern__alloc_aligned(alloc, total, 16);
  if (!h) return NULL;
  h->size = size;
  return h + 1;
}

void *tern__calloc(tern__alloc *alloc, size_t count, size_t size) {
  size_t total;
  if (!tern__mul_size(count, size, &total)) return NULL;
  void *ptr = tern__malloc(alloc, total);
  if (ptr) memset(ptr, 0, total);
  return ptr;
}

void *tern__realloc(tern__alloc *alloc, void *ptr, size_t size) {
  if (!ptr) return tern__malloc(alloc, size);
  size_t old = ((header *)ptr - 1)->size;
  void *grown = tern__malloc(alloc, size);
  if (!grown) return NULL;
  memcpy(grown, ptr, old < size ? old : size);
  tern__free(alloc, ptr);
  return grown;
}

void tern__free(tern__alloc *alloc, void *ptr) {
  if (!ptr) return;
  header *h = (header *)ptr - 1;
  tern__free_aligned(alloc, h, h->size + sizeof(header), 16);
}

char *tern__strndup(tern__alloc *alloc, const char *text, size_t size) {
  size_t total;
  if (!tern__add_size(size, 1, &total)) return NULL;
  char *copy = tern__malloc(alloc, total);
  if (!copy) return NULL;
  memcpy(copy, text, size);
  copy[size] = 0;
  return copy;
}

char *tern__strdup(tern__alloc *alloc, const char *text) { return tern__strndup(alloc, text, strlen(text)); }

struct tern__arena_block {
  struct tern__arena_block *next;
  size_t used, capacity, pad;
};

void tern__arena_init(tern__arena *arena, tern__alloc *alloc) {
  *arena = (tern__arena){alloc, NULL, 4096};
}

void tern__arena_deinit(tern__arena *arena) {
  for (struct tern__arena_block *b = arena->blocks, *next; b; b = next) {
    next = b->next;
    tern__free_aligned(arena->alloc, b, sizeof *b + b->capacity, 16);
  }
  arena->blocks = NULL;
}

void *tern__arena_alloc_raw(tern__arena *arena, size_t size) {
  if (size > SIZE_MAX / 2) return NULL;
  size = (size + 15) & ~(size_t)15;
  struct tern__arena_block *b = arena->blocks;
  if (!b || b->capacity - b->used < size) {
    size_t capacity = arena->next_block_size > size ? arena->next_block_size : size;
    b = tern__alloc_aligned(arena->alloc, sizeof *b + capacity, 16);
    if (!b) return NULL;
    b->used = 0, b->capacity = capacity;
    /* An oversized block goes behind the current one, whose free space stays usable. */
    if (arena->blocks && size > arena->next_block_size / 2) b->next = arena->blocks->next, arena->blocks->next = b;
    else b->next = arena->blocks, arena->blocks = b;
    if (arena->next_block_size < (1u << 20)) arena->next_block_size *= 2;
  }
  void *ptr = (char *)(b + 1) + b->used;
  b->used += size;
  return ptr;
}

void *tern__arena_alloc(tern__arena *arena, size_t size) {
  void *ptr = tern__arena_alloc_raw(arena, size);
  if (ptr) memset(ptr, 0, size);
  return ptr;
}

void *tern__arena_calloc(tern__arena *arena, size_t count, size_t size) {
  size_t total;
  return tern__mul_size(count, size, &total) ? tern__arena_alloc(arena, total) : NULL;
}

char *tern__arena_strndup(tern__arena *arena, const char *text, size_t size) {
  size_t total;
  char *copy = tern__add_size(size, 1, &total) ? tern__arena_alloc(arena, total) : NULL;
  if (copy && size) memcpy(copy, text, size);
  return copy;
}

char *tern__arena_strdup(tern__arena *arena, const char *text) {
  return tern__arena_strndup(arena, text, strlen(text));
}

char *tern__arena_printf(tern__arena *arena, const char *fmt, ...) {
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  va_end(args);
  char *text = n < 0 ? NULL : tern__arena_alloc(arena, (size_t)n + 1);
  if (text) vsnprintf(text, (size_t)n + 1, fmt, again);
  va_end(again);
  return text;
}
