/* A binary heap: the children of entry i are entries 2i+1 and 2i+2. */
#include "text/merge_queue.h"

static inline bool before(tern__merge_candidate a, tern__merge_candidate b) {
  return a.priority < b.priority || (a.priority == b.priority && a.pos < b.pos);
}

tern_status tern__merge_queue_push(tern__alloc *alloc, tern__merge_candidate **queue, tern__merge_candidate c) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(alloc, *queue, c);
  tern__merge_candidate *heap = *queue;
  size_t i = tern__array_count(heap) - 1;
  for (; i && before(c, heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
  heap[i] = c;
cleanup:
  return status;
}

tern__merge_candidate tern__merge_queue_pop(tern__merge_candidate *heap) {
  tern__merge_candidate top = heap[0], last = tern__array_pop(heap);
  size_t n = tern__array_count(heap), i = 0;
  if (!n) return top;
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
    if (!before(heap[child], last)) break;
    heap[i] = heap[child];
  }
  heap[i] = last;
  return top;
}
