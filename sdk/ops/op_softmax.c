/* Softmax, LogSoftmax, Hardmax. Before opset 13 the input is flattened to a matrix at `axis` (default 1) and
 * rows are normalised; from 13 on one axis (default -1) is. */
#include <math.h>

#include "ops/elements.h"

typedef enum kind { PLAIN, LOGARITHM, HARD } kind;

static tern_status read_axis(const tern__op_call *call, int32_t *axis) {
  bool flat = call->node->opset < 13;
  int32_t rank = call->inputs[0].shape.rank;
  int64_t value = tern__node_int(call->node, "axis", flat ? 1 : -1);
  if (rank == 0 || (flat && value == rank)) {
    *axis = rank;
    return TERN_OK;
  }
  return tern__op_axis(call, value, rank, axis);
}

static tern_status infer(tern__op_call *call) {
  int32_t axis;
  if (!tern__dtype_is_float(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (call->inputs[0].shape.rank >= 0) {
    tern_status status = read_axis(call, &axis);
    if (status != TERN_OK) return status;
  }
  return tern__op_infer_same(call);
}

static void one_row(kind what, const tern__view *x, const tern__view *y, size_t at, size_t step, size_t n) {
  double top = -INFINITY, sum = 0;
  size_t first = 0;
  for (size_t i = 0; i < n; i++) {
    double v = tern__view_real(x, at + i * step);
    if (v > top || isnan(v)) top = v, first = i;
  }
  for (size_t i = 0; what != HARD && i < n; i++) sum += exp(tern__view_real(x, at + i * step) - top);
  for (size_t i = 0; i < n; i++) {
    double v = tern__view_real(x, at + i * step) - top;
    tern__view_set_real(y, at + i * step,
                        what == HARD    ? i == first
                        : what == PLAIN ? exp(v) / sum
                                        : v - log(sum));
  }
}

static tern_status compute(tern__op_call *call, kind what) {
  const tern__shape *shape = &call->inputs[0].shape;
  int32_t axis;
  tern_status status = read_axis(call, &axis);
  if (status != TERN_OK) return status;
  bool flat = call->node->opset < 13 || axis == shape->rank;
  size_t outer = tern__dims_product(shape, 0, axis),
         n = flat ? tern__dims_product(shape, axis, shape->rank) : (size_t)shape->dims[axis];
  size_t inner = flat ? 1 : tern__dims_product(shape, axis + 1, shape->rank);
  for (size_t o = 0; o < outer; o++)
    for (size_t i = 0; i < inner; i++)
      one_row(what, &call->inputs[0], &call->outputs[0], o * n * inner + i, inner, n);
  return TERN_OK;
}

#define SOFTMAX(symbol, NAME, KIND)                                                          \
  static tern_status symbol##_reference(tern__op_call *call) { return compute(call, KIND); } \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1, \
      .max_outputs = 1, .flags = TERN__OP_ELEMENTWISE, .attrs = attrs, .infer = infer, \
      .reference = symbol##_reference};
static const tern__attr_def attrs[] = {{"axis", TERN__ATTR_INT}, {NULL, 0}};
SOFTMAX(softmax, "Softmax", PLAIN)
SOFTMAX(log_softmax, "LogSoftmax", LOGARITHM)
SOFTMAX(hardmax, "Hardmax", HARD)
