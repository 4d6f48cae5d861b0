/* A bottom-up merge sort of indices: the C library's qsort is not stable and allocates behind our back. */
#include "pipeline/length_order.h"

#include <string.h>

static void merge(const int32_t *lengths, const int32_t *from, int32_t begin, int32_t middle, int32_t end,
                  int32_t *to) {
  int32_t left = begin, right = middle;
  for (int32_t i = begin; i < end; i++) {
    bool take_left = left < middle && (right == end || lengths[from[left]] <= lengths[from[right]]);
    to[i] = take_left ? from[left++] : from[right++];
  }
}

tern_status tern__length_order(tern__alloc *alloc, const int32_t *lengths, int32_t n, int32_t *order) {
  tern_status status = TERN_OK;
  int32_t *spare = tern__calloc(alloc, (size_t)n + 1, sizeof *spare), *from = order, *to = spare;
  TERN_CHECK_ALLOC(spare);
  for (int32_t i = 0; i < n; i++) order[i] = i;
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t at = 0; at < n; at += 2 * width) {
      int64_t middle = at + width < n ? at + width : n, end = at + 2 * width < n ? at + 2 * width : n;
      merge(lengths, from, (int32_t)at, (int32_t)middle, (int32_t)end, to);
    }
    int32_t *merged = to;
    to = from, from = merged;
  }
  if (from != order) memcpy(order, from, (size_t)n * sizeof *order);
cleanup:
  tern__free(alloc, spare);
  return status;
}
