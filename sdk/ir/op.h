/* What an operator is: name, attributes, shape inference and a plain reference. One tern__op_def per op, in
 * sdk/ops/op_*.c, listed in ops.def. */
#ifndef TERN_IR_OP_H
#define TERN_IR_OP_H

#include "base/thread.h"
#include "ir/graph.h"

/* A tensor at plan or run time. */
typedef struct tern__view {
  tern_dtype dtype;
  tern__shape shape;
  void *data;         /* NULL at inference time unless the value is known (constants, shape arithmetic) */
  size_t size_bytes;
} tern__view;

/* The KV cache of a session, as op tern.KvAttention sees it. Layer l, sequence b: K and V are
 * [kv_heads[l]][capacity][head_dim[l]] float16 at k(l, b) and v(l, b). */
typedef struct tern__kv_cache {
  int32_t n_layers, batch, capacity;
  int32_t *kv_heads, *head_dim;   /* per layer */
  uint16_t **k, **v;              /* per layer: base of [batch][kv_heads][capacity][head_dim] */
  int32_t *past;                  /* per sequence: positions already in the cache when a run starts */
  int32_t *fresh;                 /* per sequence: new positions in this run, <= S; rows beyond are padding */
  bool all_rows;                  /* this run wants the logits of all positions, not of each sequence's last alone */
} tern__kv_cache;

/* One evaluation. infer: sets outputs[i].dtype and .shape from the inputs (an output whose shape depends on data
 * that is not there yet gets rank -1). reference: outputs have shape and data, and it fills them. An absent optional
 * input or output has dtype NONE. */
typedef struct tern__op_call {
  const tern__node *node;
  const tern__graph *graph;
  const tern__view *inputs;
  tern__view *outputs;
  int32_t n_inputs, n_outputs;
  tern__alloc *alloc;             /* scratch for references: free what you take */
  const tern__kv_cache *kv;       /* NULL unless the session has one */
  const tern_cancel *cancel;      /* may be NULL: references that take long look at it, see tern__op_poll */
} tern__op_call;

/* What a call asks of a machine, for profiles: operations (a multiply-add is two), and bytes read and written. */
typedef struct tern__op_work { uint64_t operations, bytes; } tern__op_work;

typedef enum tern__attr_kind {
  TERN__ATTR_INT = 1, TERN__ATTR_FLOAT, TERN__ATTR_STRING, TERN__ATTR_INTS, TERN__ATTR_FLOATS, TERN__ATTR_STRINGS,
  TERN__ATTR_TENSOR, TERN__ATTR_GRAPH
} tern__attr_kind;

/* Attributes that an op understands. Any other in a file is a load error that names it. */
typedef struct tern__attr_def { const char *name; tern__attr_kind kind; } tern__attr_def;

enum {
  TERN__OP_ELEMENTWISE = 1,  /* output 0 may share the memory of an input of the same type and shape */
  TERN__OP_NOT_FOLDED = 2,   /* never evaluated at load time (random, stateful) */
  TERN__OP_ALIAS = 4,        /* output 0 is input 0's bytes with another shape (Reshape, Identity, ...) */
  TERN__OP_ALIAS_OF_ROW = 16, /* the same where input 0 is one row: all its dimensions but the last are 1 */
  TERN__OP_ALIAS_OF_TYPE = 32, /* the same where it is to have input 0's type (Cast) */
  TERN__OP_SHAPE_ONLY = 8    /* the result depends on the inputs' shapes alone (Shape, Size): known while planning */
};

struct tern__op_def {
  const char *name;            /* ONNX op_type */
  const char *domain;          /* "" = ai.onnx, "com.microsoft", "tern" (internal, made by passes and GGUF) */
  int32_t since, until;        /* opset versions that this definition serves, both included; until 0 = newest known */
  int32_t min_inputs, max_inputs;   /* max -1 = any number */
  int32_t min_outputs, max_outputs;
  uint32_t flags;
  uint32_t optional_inputs;    /* bit i: input i may be absent though it lies below min_inputs */
  uint32_t weight_inputs;      /* bit i: input i may be a constant of a narrow type (f16, bf16, block types) as it is */
  const tern__attr_def *attrs; /* ends with name NULL; NULL = none */
  tern_status (*infer)(tern__op_call *call);
  tern_status (*reference)(tern__op_call *call);
  void (*work)(const tern__op_call *call, tern__op_work *work); /* corrects what tern__op_work_of takes for granted */
};

/* NULL if no definition serves this (name, domain, opset). Domain "ai.onnx" is "". */
const tern__op_def *tern__op_find(const char *name, const char *domain, int32_t opset);
/* All definitions, for listings. */
const tern__op_def *const *tern__op_list(size_t *count);

/* Attributes of a node; the fallback where absent. */
int64_t tern__node_int(const tern__node *node, const char *name, int64_t fallback);
float tern__node_float(const tern__node *node, const char *name, float fallback);
const char *tern__node_string(const tern__node *node, const char *name, const char *fallback);
const int64_t *tern__node_ints(const tern__node *node, const char *name, size_t *count); /* NULL = absent */
const tern__attr *tern__node_attr(const tern__node *node, const char *name);             /* NULL = absent */

/* Fails with "node 'name' (Op): ..." and the given code. */
tern_status tern__op_fail(const tern__op_call *call, tern_status code, const char *fmt, ...) TERN_PRINTF(3, 4);

/* From shapes alone. An op without `work` is taken to read its inputs and to write its outputs once, with one operation
 * for each element of these; constants count as the file stores them. */
tern__op_work tern__op_work_of(const tern__op_call *call);
/* For `work`. Of products: 2 K operations an element of the result, K being what input 0 is summed over. Of look-ups:
 * as many bytes of the table, input 0, as the result takes of its rows. */
void tern__op_product_work(const tern__op_call *call, tern__op_work *work);
void tern__op_lookup_work(const tern__op_call *call, tern__op_work *work);
size_t tern__op_elements(const tern__view *view); /* 0 where the shape is not known */

/* Helpers for infer and reference. */
static inline bool tern__has_input(const tern__op_call *call, int32_t i) {
  return i < call->n_inputs && call->inputs[i].dtype != TERN_DTYPE_NONE;
}
static inline bool tern__has_output(const tern__op_call *call, int32_t i) {
  return i < call->n_outputs && call->outputs[i].dtype != TERN_DTYPE_NONE;
}
/* For loops that may take long: CANCELLED if the call's token is set. Looks at it when i is a multiple of 16384, which
 * takes a plain loop about a millisecond. */
static inline tern_status tern__op_poll(const tern__op_call *call, size_t i) {
  return i & 0x3fff ? TERN_OK : tern__cancel_check(call->cancel, "computing constants or a reference");
}
/* Axis in [0, rank) from one that may be negative; SHAPE_MISMATCH if out of range. `rank` counts valid positions. */
tern_status tern__op_axis(const tern__op_call *call, int64_t axis, int32_t rank, int32_t *out);
/* NumPy broadcasting of two shapes; unknown dims stay unknown. */
tern_status tern__op_broadcast(const tern__op_call *call, const tern__shape *a, const tern__shape *b, tern__shape *out);
/* Reads a known 1-D (or scalar) integer input (int64 or int32) of at most `capacity` entries. *count = -1:
 * not known yet. */
tern_status tern__op_ints(const tern__op_call *call, int32_t input, int64_t *values, int32_t capacity, int32_t *count);

#endif
