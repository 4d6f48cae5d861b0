/* com.microsoft BiasGelu(x, bias) = gelu(x + bias) with erf, and FastGelu(x, bias) with tanh (bias optional).
 */
#include <math.h>

#include "ops/elements.h"

static tern_status infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  if (!tern__dtype_is_float(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (tern__has_input(call, 1) && tern__op_inputs_known(call)) {
    const tern__shape *b = &call->inputs[1].shape;
    if (call->inputs[1].dtype != call->inputs[0].dtype) return tern__op_bad_type(call, 1);
    if (b->rank != 1 || x->rank < 1 || b->dims[0] != x->dims[x->rank - 1])
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the bias does not fit the last dimension");
  }
  return tern__op_infer_same(call);
}

static tern_status apply(tern__op_call *call, bool fast) {
  size_t n = tern__view_count(&call->outputs[0]),
         width = tern__has_input(call, 1) ? tern__view_count(&call->inputs[1]) : 0;
  for (size_t i = 0; i < n; i++) {
    double x =
        tern__view_real(&call->inputs[0], i) + (width ? tern__view_real(&call->inputs[1], i % width) : 0);
    double gate =
        fast ? tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)) : erf(x * 0.70710678118654752);
    tern__view_set_real(&call->outputs[0], i, 0.5 * x * (1 + gate));
  }
  return TERN_OK;
}
static tern_status bias_gelu(tern__op_call *call) { return apply(call, false); }
static tern_status fast_gelu(tern__op_call *call) { return apply(call, true); }

const tern__op_def tern__op_bias_gelu = {
    .name = "BiasGelu", .domain = "com.microsoft", .since = 1, .min_inputs = 2, .max_inputs = 2,
    .min_outputs = 1, .max_outputs = 1, .infer = infer, .reference = bias_gelu};
const tern__op_def tern__op_fast_gelu = {
    .name = "FastGelu", .domain = "com.microsoft", .since = 1, .min_inputs = 1, .max_inputs = 2,
    .min_outputs = 1, .max_outputs = 1, .infer = infer, .reference = fast_gelu};
