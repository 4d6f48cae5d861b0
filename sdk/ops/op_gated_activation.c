/* tern.SiluMul(gate, up) = silu(gate) * up and tern.GeluMul(gate, up) = gelu(gate) * up: the gate of GLU-like
 * MLPs (arXiv:2002.05202). GeluMul's `approximate` is "tanh" or "none" as in ONNX Gelu. */
#include <math.h>
#include <string.h>

#include "ir/op.h"

static tern_status infer(tern__op_call *call) {
  const tern__view *gate = &call->inputs[0], *up = &call->inputs[1];
  char ta[96], tb[96];
  call->outputs[0].dtype = TERN_DTYPE_F32;
  call->outputs[0].shape = gate->shape;
  if (gate->dtype != TERN_DTYPE_F32 || up->dtype != TERN_DTYPE_F32)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "input types %s and %s", tern_dtype_name(gate->dtype),
                         tern_dtype_name(up->dtype));
  if (tern__shape_known(&gate->shape) && tern__shape_known(&up->shape) &&
      !tern__shape_equal(&gate->shape, &up->shape))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "gate %s and up %s differ",
                         tern__shape_text(&gate->shape, ta, sizeof ta),
                         tern__shape_text(&up->shape, tb, sizeof tb));
  return TERN_OK;
}

static tern_status infer_gelu(tern__op_call *call) {
  const char *approximate = tern__node_string(call->node, "approximate", "none");
  if (strcmp(approximate, "none") != 0 && strcmp(approximate, "tanh") != 0)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "approximate = '%s'", approximate);
  return infer(call);
}

static float silu(float x) { return x / (1.0f + expf(-x)); }
static float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }
static float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}

static tern_status apply(tern__op_call *call, float (*f)(float)) {
  const float *gate = call->inputs[0].data, *up = call->inputs[1].data;
  float *y = call->outputs[0].data;
  size_t n;
  if (!tern__shape_count(&call->outputs[0].shape, &n))
    return tern__op_fail(call, TERN_STATUS_INTERNAL, "unknown shape");
  for (size_t i = 0; i < n; i++) y[i] = f(gate[i]) * up[i];
  return TERN_OK;
}

static tern_status reference_silu(tern__op_call *call) { return apply(call, silu); }
static tern_status reference_gelu(tern__op_call *call) {
  return apply(call,
               strcmp(tern__node_string(call->node, "approximate", "none"), "tanh") == 0 ? gelu_tanh : gelu);
}

static const tern__attr_def gelu_attrs[] = {{"approximate", TERN__ATTR_STRING}, {NULL, 0}};

const tern__op_def tern__op_silu_mul = {
    .name = "SiluMul",
    .domain = "tern",
    .since = 1,
    .flags = TERN__OP_ELEMENTWISE,
    .min_inputs = 2,
    .max_inputs = 2,
    .min_outputs = 1,
    .max_outputs = 1,
    .infer = infer,
    .reference = reference_silu,
};
const tern__op_def tern__op_gelu_mul = {
    .name = "GeluMul",
    .domain = "tern",
    .since = 1,
    .flags = TERN__OP_ELEMENTWISE,
    .min_inputs = 2,
    .max_inputs = 2,
    .min_outputs = 1,
    .max_outputs = 1,
    .attrs = gelu_attrs,
    .infer = infer_gelu,
    .reference = reference_gelu,
};
