/* Graph rewrites. Each is one file pass_*.c with one function, and a line in pass_list.c, which is also the order. */
#ifndef TERN_PASSES_PASS_H
#define TERN_PASSES_PASS_H

#include "ir/graph.h"
#include "ir/op.h"

typedef struct tern__pass_options {
  bool kv_cache;  /* past_key_values.* / present.* become a cache inside the session */
  bool last_row;  /* only the logits of each sequence's last position are wanted (needs kv_cache) */
  bool float_outputs; /* outputs that the model declares as float16 are given as float32, as they are computed */
  const tern_cancel *cancel; /* may be NULL */
} tern__pass_options;

typedef struct tern__pass {
  const char *name;
  bool kv_only;   /* runs only with options->kv_cache */
  tern_status (*run)(tern__graph *graph, const tern__pass_options *options);
} tern__pass;

/* Runs all passes in order and tidies and verifies the graph after each. An error names the pass. */
tern_status tern__passes_run(tern__graph *graph, const tern__pass_options *options);

/* Matching helpers (pass_match.c). Node pointers are valid until a node is added. */
const tern__node *tern__match_producer(const tern__graph *graph, tern__value_id value,
                                       const char *op_name);                        /* NULL = other */
int32_t tern__match_producer_index(const tern__graph *graph, tern__value_id value); /* -1 = none */
/* The only consumer of a value that is no graph output; -1 if there are several or none. */
int32_t tern__match_single_consumer(const tern__graph *graph, tern__value_id value);
/* A constant of one element, as float. */
bool tern__match_scalar(const tern__graph *graph, tern__value_id value, float *out);
bool tern__match_scalar_near(const tern__graph *graph, tern__value_id value, float expected, float relative);
bool tern__match_is_input(const tern__graph *graph, tern__value_id value);
/* For commutative ops: which input (0 or 1) is produced by `op_name`; -1 if none. */
int32_t tern__match_operand(const tern__graph *graph, const tern__node *node, const char *op_name);
/* Replaces node `index` by a new one that makes the same outputs; the old node is dead. Returns the new index. */
tern_status tern__pass_replace_node(tern__graph *graph, int32_t index, const char *op_name,
                                    const char *domain, int32_t opset, const tern__value_id *inputs,
                                    int32_t n_inputs, const tern__value_id *outputs, int32_t n_outputs,
                                    int32_t *out);
/* past and present leave the graph's inputs and outputs: the session's cache holds them from here on. */
void tern__pass_take_cache(tern__graph *graph, tern__value_id past_k, tern__value_id past_v,
                           tern__value_id present_k, tern__value_id present_v);
/* Tidies the graph and drops the inputs that nothing reads any more. */
tern_status tern__pass_drop_unused_inputs(tern__graph *graph);

#endif
