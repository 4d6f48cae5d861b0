/* The candidates of a tokenizer that merges adjacent symbols: the smallest priority comes first, leftmost on a tie.
 * Candidates are never removed when their symbols change; whoever takes one checks that it still holds. */
#ifndef TERN_TEXT_MERGE_QUEUE_H
#define TERN_TEXT_MERGE_QUEUE_H

#include "base/array.h"

typedef struct tern__merge_candidate {
  double priority; /* a rank, or a negated score */
  uint32_t pos;    /* of the left symbol */
  uint32_t check;  /* what tells whether the pair is still the one that was offered */
} tern__merge_candidate;

/* `*queue` is a base/array.h array (NULL = empty) in heap order; clear it with tern__array_clear. */
tern_status tern__merge_queue_push(tern__alloc *alloc, tern__merge_candidate **queue, tern__merge_candidate c);
tern__merge_candidate tern__merge_queue_pop(tern__merge_candidate *queue); /* must not be empty */

#endif
