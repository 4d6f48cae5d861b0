/* Free runs of pages are a list in the order of addresses, kept in the free pages themselves; neighbours are
 * joined. Memory is taken from the module's by growing it, and is never given back to the host: a host cannot
 * take it. */
#if defined(__wasm__)
#  include "base/heap_wasm.h"

#  include <stdint.h>
#  include <stdlib.h>

enum { PAGE = 65536, LARGE = 4 * PAGE };

typedef struct run { struct run *next; size_t n_pages; } run;

/* The only mutable globals of the library: one heap belongs to one module. */
static run *free_runs;
#  if defined(__wasm_atomics__)
static _Atomic uint32_t heap_lock;

static void lock(void) {
  while (__c11_atomic_exchange(&heap_lock, 1, __ATOMIC_ACQUIRE))
    __builtin_wasm_memory_atomic_wait32((int *)(uintptr_t)&heap_lock, 1, 50000);
}
static void unlock(void) {
  __c11_atomic_store(&heap_lock, 0, __ATOMIC_RELEASE);
  __builtin_wasm_memory_atomic_notify((int *)(uintptr_t)&heap_lock, 1);
}
#  else
static void lock(void) {}
static void unlock(void) {}
#  endif

static char *end_of(const run *r) { return (char *)(uintptr_t)r + r->n_pages * PAGE; }

/* Puts pages on the list and joins them with the runs that they touch. */
static void give(void *pages, size_t n_pages) {
  run *r = pages, **link = &free_runs, *before = NULL;
  while (*link && (uintptr_t)*link < (uintptr_t)r) before = *link, link = &(*link)->next;
  *r = (run){*link, n_pages};
  *link = r;
  if (r->next && end_of(r) == (char *)r->next) r->n_pages += r->next->n_pages, r->next = r->next->next;
  if (before && end_of(before) == (char *)r) before->n_pages += r->n_pages, before->next = r->next;
}

/* The smallest run that fits. */
static void *take(size_t n_pages) {
  run **best = NULL;
  for (run **link = &free_runs; *link; link = &(*link)->next)
    if ((*link)->n_pages >= n_pages && (!best || (*link)->n_pages < (*best)->n_pages)) best = link;
  if (!best) return NULL;
  run *r = *best;
  if (r->n_pages == n_pages) *best = r->next;
  else {
    run *rest = (run *)(void *)((char *)r + n_pages * PAGE);
    *rest = (run){r->next, r->n_pages - n_pages};
    *best = rest;
  }
  return r;
}

static void *take_pages(size_t n_pages) {
  void *pages = take(n_pages);
  if (pages) return pages;
  size_t missing = n_pages, pages_now = __builtin_wasm_memory_size(0);
  for (const run *r = free_runs; r; r = r->next) /* a run at the end of memory needs only the rest */
    if ((uintptr_t)end_of(r) / PAGE == pages_now) missing = n_pages - r->n_pages;
  size_t at = __builtin_wasm_memory_grow(0, missing);
  if (at == SIZE_MAX) return NULL;
  give((void *)(at * PAGE), missing);
  return take(n_pages);
}

void *tern__heap_alloc(size_t size, size_t align) {
  size_t padded = (size + align - 1) & ~(align - 1);
  if (padded < size || size > SIZE_MAX - 2 * PAGE || align > PAGE) return NULL;
  lock();
  void *ptr = size >= LARGE ? take_pages((size + PAGE - 1) / PAGE) : align <= 16 ? malloc(size)
                                                                                 : aligned_alloc(align, padded);
  unlock();
  return ptr;
}

void tern__heap_free(void *ptr, size_t size, size_t align) {
  (void)align;
  if (!ptr) return;
  lock();
  if (size >= LARGE) give(ptr, (size + PAGE - 1) / PAGE);
  else free(ptr);
  unlock();
}
#endif
