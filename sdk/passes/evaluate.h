/* Evaluates one value of a graph with the references: for passes that must know what a subgraph computes. */
#ifndef TERN_PASSES_EVALUATE_H
#define TERN_PASSES_EVALUATE_H

#include "passes/pass.h"

typedef struct tern__feed { tern__value_id value; tern__view view; } tern__feed; /* view.data may be NULL: shape only */

/* *out: dtype, shape and data (in `arena`). UNSUPPORTED if the value needs something that was not fed. */
tern_status tern__evaluate(const tern__graph *graph, tern__value_id target, const tern__feed *feeds, size_t n_feeds,
                           tern__arena *arena, tern__view *out);

#endif
