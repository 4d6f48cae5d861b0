/* Greedy by size: the largest value first, each at the lowest offset free over its whole lifetime
 * (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020). */
#include "runtime/memory_planner.h"

#include <string.h>

enum { ALIGN = 64 };

/* Heap sort of indices by decreasing size: in place, no recursion, n log n on any input. */
static void sift(uint32_t *order, size_t root, size_t count, const tern__lifetime *l) {
  for (;;) {
    size_t child = 2 * root + 1;
    if (child >= count) return;
    if (child + 1 < count && l[order[child + 1]].size_bytes < l[order[child]].size_bytes) child++;
    if (l[order[root]].size_bytes <= l[order[child]].size_bytes) return;
    uint32_t t = order[root];
    order[root] = order[child], order[child] = t;
    root = child;
  }
}

tern_status tern__plan_memory(tern__alloc *alloc, tern__lifetime *lifetimes, size_t count, size_t *total) {
  tern_status status = TERN_OK;
  uint32_t *order = tern__calloc(alloc, count + 1, sizeof *order);
  uint32_t *placed = tern__calloc(alloc, count + 1, sizeof *placed); /* by increasing offset */
  size_t n_placed = 0;
  *total = 0;
  TERN_CHECK_ALLOC(order);
  TERN_CHECK_ALLOC(placed);
  for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
  for (size_t i = count / 2; i-- > 0;) sift(order, i, count, lifetimes);
  for (size_t end = count; end > 1; end--) {
    uint32_t t = order[0];
    order[0] = order[end - 1], order[end - 1] = t;
    sift(order, 0, end - 1, lifetimes);
  }
  for (size_t i = 0; i < count; i++) {
    tern__lifetime *l = &lifetimes[order[i]];
    size_t size, offset = 0, at = 0;
    if (!tern__add_size(l->size_bytes, ALIGN - 1, &size)) TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "activations too large");
    size &= ~(size_t)(ALIGN - 1);
    for (size_t p = 0; p < n_placed; p++) {
      const tern__lifetime *o = &lifetimes[placed[p]];
      if (o->last < l->first || l->last < o->first) continue;
      size_t end = o->offset + ((o->size_bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1));
      if (o->offset >= offset + size) break; /* the gap before this one fits */
      if (end > offset) offset = end;
    }
    l->offset = offset;
    while (at < n_placed && lifetimes[placed[at]].offset <= offset) at++;
    memmove(placed + at + 1, placed + at, (n_placed - at) * sizeof *placed);
    placed[at] = order[i];
    n_placed++;
    if (offset + size > *total) *total = offset + size;
  }
cleanup:
  tern__free(alloc, order);
  tern__free(alloc, placed);
  return status;
}
