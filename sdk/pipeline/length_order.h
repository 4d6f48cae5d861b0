/* The order in which texts are batched: by length, so that little of a batch is padding. */
#ifndef TERN_PIPELINE_LENGTH_ORDER_H
#define TERN_PIPELINE_LENGTH_ORDER_H

#include "base/memory.h"

/* order[0..n) becomes the indices of `lengths`, shortest first; equal lengths stay in their order. */
tern_status tern__length_order(tern__alloc *alloc, const int32_t *lengths, int32_t n, int32_t *order);

#endif
