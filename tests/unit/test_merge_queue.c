/* The merge queue gives what a sort by (priority, position) would. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "text/merge_queue.h"

static int by_priority_and_position(const void *left, const void *right) {
  const tern__merge_candidate *a = left, *b = right;
  if (a->priority != b->priority) return a->priority < b->priority ? -1 : 1;
  return (a->pos > b->pos) - (a->pos < b->pos);
}

Test(merge_queue, smallest_priority_leftmost_first) {
  enum { N = 1000 };
  tern__alloc alloc;
  tern__merge_candidate *queue = NULL, expected[N];
  uint32_t random = 1;
  tern__alloc_init(&alloc, NULL, 0);
  for (uint32_t i = 0; i < N; i++) {
    random = random * 1664525u + 1013904223u;
    /* few priorities, so that ties are many; positions are all different and in no order */
    expected[i] = (tern__merge_candidate){(double)(random >> 28) - 8.0, i * 367u % N, i};
    cr_assert_eq(tern__merge_queue_push(&alloc, &queue, expected[i]), TERN_OK);
  }
  qsort(expected, N, sizeof *expected, by_priority_and_position);
  for (uint32_t i = 0; i < N; i++) {
    tern__merge_candidate got = tern__merge_queue_pop(queue);
    cr_assert(got.priority == expected[i].priority && got.pos == expected[i].pos && got.check == expected[i].check,
              "entry %u is (%g, %u), not (%g, %u)", i, got.priority, got.pos, expected[i].priority, expected[i].pos);
  }
  cr_assert_eq(tern__array_count(queue), 0);
  TERN_ARRAY_FREE(&alloc, queue);
}
