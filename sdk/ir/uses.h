/* Who reads a graph's values: what backends share in finding nodes that they run as one (tern__graph_fuse). */
#ifndef TERN_IR_USES_H
#define TERN_IR_USES_H

#include "ir/graph.h"

typedef struct tern__uses {
  int32_t *count;  /* per value: inputs that read it, and graph outputs */
  int32_t *reader; /* per value: the last node that reads it */
} tern__uses;

/* Counts anew; what fusing does not change stays right meanwhile: a reader may be dead. */
tern_status tern__uses_count(tern__uses *uses, const tern__graph *graph);
void tern__uses_free(tern__uses *uses, const tern__graph *graph);
/* The node that alone reads the value, which is no graph output; -1 if there is no such node. */
int32_t tern__uses_only_reader(const tern__uses *uses, const tern__graph *graph, tern__value_id id);

bool tern__node_is(const tern__node *node, const char *name, const char *domain); /* and alive */
/* A norm over the last axis with one output: LayerNormalization, or one of the names of RMS. */
bool tern__node_is_norm(const tern__node *node);
/* The Add of a float32 constant [n] that alone reads `product`; -1 if there is none. */
int32_t tern__uses_bias(const tern__uses *uses, const tern__graph *graph, tern__value_id product, int64_t n);

#endif
