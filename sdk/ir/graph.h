/* The one graph that ONNX and GGUF end in. Everything in it lives in its arena; weights are views into a file map. */
#ifndef TERN_IR_GRAPH_H
#define TERN_IR_GRAPH_H

#include "base/array.h"
#include "base/map.h"
#include "ir/dtype.h"

typedef struct tern__op_def tern__op_def;
typedef struct tern__graph tern__graph;
typedef int32_t tern__value_id; /* index into graph->values; -1 = absent (optional input or output) */

typedef struct tern__value {
  const char *name;      /* may be "" for values that passes make */
  tern_dtype dtype;      /* NONE = not declared */
  tern__shape shape;     /* as declared; rank -1 = not declared */
  const void *data;      /* constant: dense little-endian bytes; else NULL */
  size_t size_bytes;     /* of data */
  int32_t producer;      /* node index, -1 for graph inputs and constants */
  int32_t aux;           /* for passes */
} tern__value;

typedef struct tern__attr {
  const char *name;
  int32_t kind;          /* tern__attr_kind */
  int64_t i;
  float f;
  const char *s;         /* NUL-terminated copy; s_size is its length */
  size_t s_size;
  const int64_t *ints;
  const float *floats;
  const char *const *strings;
  size_t count;          /* of ints, floats, strings */
  tern__value_id tensor; /* a constant value of the same graph */
  tern__graph *graph;    /* subgraph; its `parent` is this graph: outer values are found by name there */
} tern__attr;

typedef struct tern__node tern__node;
struct tern__node {
  const tern__op_def *op;
  const char *name;
  tern__value_id *inputs, *outputs;
  int32_t n_inputs, n_outputs;
  tern__attr *attrs;
  int32_t n_attrs;
  int32_t opset;         /* version of the op's domain that the file imports */
  int32_t n_parts;
  const tern__node *parts; /* tern.Fused: the nodes that it stands for, in order; their ids are of the same graph */
  bool dead;             /* removed by a pass; tern__graph_tidy drops it */
};

/* A value of an enclosing graph that a subgraph reads. */
typedef struct tern__capture { tern__value_id inner, outer; } tern__capture;

struct tern__graph {
  tern__alloc *alloc;
  tern__arena *arena;        /* owned by the model (or by the session for its copy) */
  const char *name;
  const tern__graph *parent;
  tern__value *values;       /* base/array.h arrays */
  tern__node *nodes;
  tern__value_id *inputs, *outputs;
  tern__capture *captures;
  tern__map by_name;         /* value name -> id */
};

tern_status tern__graph_create(tern__alloc *alloc, tern__arena *arena, tern__graph **out);
void tern__graph_destroy(tern__graph *graph); /* frees arrays and map; the arena is the owner's. Subgraphs too */
/* A graph with its own nodes and values that shares names, attributes and constant data with `graph`, whose arena must
 * outlive it. */
tern_status tern__graph_copy(const tern__graph *graph, tern__alloc *alloc, tern__arena *arena, tern__graph **out);

/* Adds a value. A non-empty name must be new: CORRUPT otherwise. dims may be NULL with rank -1. */
tern_status tern__graph_add_value(tern__graph *graph, const char *name, tern_dtype dtype, int32_t rank,
                                  const int64_t *dims, tern__value_id *out);
tern_status tern__graph_add_constant(tern__graph *graph, const char *name, tern_dtype dtype, int32_t rank,
                                     const int64_t *dims, const void *data, size_t size_bytes, tern__value_id *out);
tern__value_id tern__graph_find(const tern__graph *graph, const char *name); /* -1 = none */
tern_status tern__graph_add_input(tern__graph *graph, tern__value_id value);
tern_status tern__graph_add_output(tern__graph *graph, tern__value_id value);

/* Adds a node; arrays are copied. Sets the producer of its outputs. Attributes are added to the returned index. */
tern_status tern__graph_add_node(tern__graph *graph, const tern__op_def *op, const char *name, int32_t opset,
                                 const tern__value_id *inputs, int32_t n_inputs, const tern__value_id *outputs,
                                 int32_t n_outputs, int32_t *out);
tern_status tern__node_set_int(tern__graph *graph, int32_t node, const char *name, int64_t value);
tern_status tern__node_set_float(tern__graph *graph, int32_t node, const char *name, float value);
tern_status tern__node_set_string(tern__graph *graph, int32_t node, const char *name, const char *value);
tern_status tern__node_set_ints(tern__graph *graph, int32_t node, const char *name, const int64_t *values,
                                size_t count);
tern_status tern__node_add_attr(tern__graph *graph, int32_t node, const tern__attr *attr);

/* Every use of `from` (node inputs, graph outputs) becomes `to`. */
void tern__graph_replace_uses(tern__graph *graph, tern__value_id from, tern__value_id to);
/* How many node inputs and graph outputs use the value. */
int32_t tern__graph_use_count(const tern__graph *graph, tern__value_id value);
bool tern__graph_is_output(const tern__graph *graph, tern__value_id value);
/* Replaces nodes (in the order in which they run) by one tern.Fused node of this `kind`: its inputs are what they read
 * from outside, its outputs what others read of theirs. The caller makes sure that nothing outside lies on a way from
 * one of them to another. Backends do this for groups that they run as one; everyone else runs the parts. */
tern_status tern__graph_fuse(tern__graph *graph, const int32_t *nodes, int32_t n, const char *kind, int32_t *out);
/* Drops dead nodes and nodes whose results nobody uses, and sorts topologically (stable). CORRUPT on a cycle. */
tern_status tern__graph_tidy(tern__graph *graph);
/* Structural check: ids in range, every input has a producer, input or constant; arities fit. CORRUPT names
 * the node. */
tern_status tern__graph_verify(const tern__graph *graph);

#endif
