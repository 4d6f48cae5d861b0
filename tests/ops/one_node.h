/* Runs one operator's infer and reference on tensors that a test made, without a graph. */
#ifndef TERN_TESTS_ONE_NODE_H
#define TERN_TESTS_ONE_NODE_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ir/op.h"

typedef struct one_node {
  tern__alloc alloc;
  tern__graph graph;
  tern__node node;
  tern__attr attrs[8];
  tern__view in[8], out[1];
  tern__op_call call;
} one_node;

static inline void node_init(one_node *n, const char *op, const char *domain) {
  memset(n, 0, sizeof *n);
  tern__alloc_init(&n->alloc, NULL, 0);
  n->node.op = tern__op_find(op, domain, 1);
  cr_assert_not_null(n->node.op);
  n->node.name = "test", n->node.attrs = n->attrs;
  n->out[0].dtype = TERN_DTYPE_F32, n->out[0].shape.rank = -1;
  n->call = (tern__op_call){.node = &n->node,
                            .graph = &n->graph,
                            .inputs = n->in,
                            .outputs = n->out,
                            .n_outputs = 1,
                            .alloc = &n->alloc};
}
static inline void node_int(one_node *n, const char *name, int64_t v) {
  n->attrs[n->node.n_attrs++] = (tern__attr){.name = name, .kind = TERN__ATTR_INT, .i = v};
}
static inline void node_float(one_node *n, const char *name, float v) {
  n->attrs[n->node.n_attrs++] = (tern__attr){.name = name, .kind = TERN__ATTR_FLOAT, .f = v};
}
static inline void node_text(one_node *n, const char *name, const char *v) {
  n->attrs[n->node.n_attrs++] =
      (tern__attr){.name = name, .kind = TERN__ATTR_STRING, .s = v, .s_size = strlen(v)};
}
/* Adds an input; rank dims follow as int. A NULL dtype-NONE input: node_absent. */
static inline void node_input(one_node *n, tern_dtype dtype, const void *data, int rank, ...) {
  tern__view *v = &n->in[n->call.n_inputs++];
  va_list dims;
  v->dtype = dtype, v->shape.rank = rank, v->data = (void *)(uintptr_t)data;
  va_start(dims, rank);
  for (int i = 0; i < rank; i++) v->shape.dims[i] = va_arg(dims, int);
  va_end(dims);
  cr_assert(tern__shape_bytes(dtype, &v->shape, &v->size_bytes));
}
static inline tern_status node_infer(one_node *n) { return n->node.op->infer(&n->call); }
/* Infers, allocates the output, runs; the caller frees the result with free(). */
static inline void *node_run(one_node *n) {
  cr_assert_eq(node_infer(n), TERN_OK, "%s", tern_last_error());
  cr_assert(tern__shape_bytes(n->out[0].dtype, &n->out[0].shape, &n->out[0].size_bytes),
            "the output's shape is not known");
  n->out[0].data = malloc(n->out[0].size_bytes + 1);
  cr_assert_not_null(n->out[0].data);
  memset(n->out[0].data, 0xff,
         n->out[0].size_bytes); /* NaN, so that an element that is not written is seen */
  cr_assert_eq(n->node.op->reference(&n->call), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(n->alloc.live_bytes, 0, "the reference keeps memory");
  return n->out[0].data;
}
static inline void fails(one_node *n, tern_status want, const char *part) {
  tern_status got = node_infer(n);
  cr_expect_eq(got, want, "%s", tern_status_name(got));
  cr_expect_not_null(strstr(tern_last_error(), part), "'%s' does not say '%s'", tern_last_error(), part);
}

/* Reproducible numbers in [-1, 1). */
static inline float noise(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return (float)(*state >> 8) / (float)(1 << 23) - 1.0f;
}
static inline float *noise_array(size_t n, uint32_t seed) {
  float *x = malloc((n + 1) * sizeof *x);
  cr_assert_not_null(x);
  for (size_t i = 0; i < n; i++) x[i] = noise(&seed);
  return x;
}
#define expect_close(got, want, bound, ...) cr_expect(fabs((double)(got) - (want)) <= (bound), __VA_ARGS__)

#endif
