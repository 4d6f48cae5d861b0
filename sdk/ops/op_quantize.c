/* QuantizeLinear, DequantizeLinear (per tensor, per axis, blocked) and DynamicQuantizeLinear. Rounding is
 * half to even. */
#include <math.h>

#include "ops/elements.h"

static bool is_quantized(tern_dtype t) {
  return (t >= TERN_DTYPE_I8 && t <= TERN_DTYPE_I32) || t == TERN_DTYPE_I4 || t == TERN_DTYPE_U4;
}

/* How the scale of element i is found. */
typedef struct grid {
  size_t inner, dim, block, blocks;
  bool single;
} grid;

static tern_status read_grid(const tern__op_call *call, grid *g) {
  const tern__shape *x = &call->inputs[0].shape, *s = &call->inputs[1].shape;
  char ts[96], tx[96];
  size_t n = tern__view_count(&call->inputs[1]);
  int32_t axis = 0;
  int64_t block = tern__node_int(call->node, "block_size", 0);
  *g = (grid){.single = n == 1 && block <= 0, .inner = 1, .dim = 1, .block = 1, .blocks = 1};
  if (tern__has_input(call, 2) && !tern__shape_equal(&call->inputs[2].shape, s) &&
      tern__view_count(&call->inputs[2]) != n)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "scale and zero point differ in shape");
  if (g->single) return TERN_OK;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", 1), x->rank, &axis);
  if (status != TERN_OK) return status;
  g->inner = tern__dims_product(x, axis + 1, x->rank), g->dim = (size_t)x->dims[axis];
  bool fits = block > 0 ? s->rank == x->rank : s->rank == 1 && s->dims[0] == x->dims[axis];
  if (block > 0 && fits) {
    g->block = (size_t)block, g->blocks = (size_t)s->dims[axis];
    fits = (x->dims[axis] + block - 1) / block == s->dims[axis];
    for (int32_t d = 0; fits && d < x->rank; d++) fits = d == axis || s->dims[d] == x->dims[d];
  }
  return fits ? TERN_OK
              : tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "scale %s does not fit %s",
                              tern__shape_text(s, ts, sizeof ts), tern__shape_text(x, tx, sizeof tx));
}

static size_t scale_index(const grid *g, const tern__op_call *call, size_t i) {
  if (g->single) return 0;
  size_t along = i / g->inner % g->dim;
  if (call->inputs[1].shape.rank == 1 && g->blocks == 1 && g->block == 1) return along;
  return (i / g->inner / g->dim * g->blocks + along / g->block) * g->inner + i % g->inner;
}

static tern_status quantize_infer(tern__op_call *call) {
  tern_dtype to = tern__has_input(call, 2) ? call->inputs[2].dtype
                                           : tern__dtype_of_onnx(tern__node_int(call->node, "output_dtype", 2));
  if (!tern__dtype_is_float(call->inputs[0].dtype) && call->inputs[0].dtype != TERN_DTYPE_I32)
    return tern__op_bad_type(call, 0);
  if (!tern__dtype_is_float(call->inputs[1].dtype)) return tern__op_bad_type(call, 1);
  if (!is_quantized(to) || to == TERN_DTYPE_I32)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "this quantized type is not supported");
  call->outputs[0].dtype = to;
  call->outputs[0].shape = call->inputs[0].shape;
  grid g;
  return tern__op_inputs_known(call) ? read_grid(call, &g) : TERN_OK;
}

static tern_status quantize_reference(tern__op_call *call) {
  grid g;
  tern_status status = read_grid(call, &g);
  for (size_t i = 0, n = tern__view_count(&call->outputs[0]); status == TERN_OK && i < n; i++) {
    TERN_TRY(tern__op_poll(call, i));
    size_t s = scale_index(&g, call, i);
    float q =
        rintf((float)tern__view_real(&call->inputs[0], i) / (float)tern__view_real(&call->inputs[1], s));
    double zero = tern__has_input(call, 2) ? (double)tern__view_int(&call->inputs[2], s) : 0;
    tern__view_set_real(&call->outputs[0], i, q + zero); /* saturates */
  }
cleanup:
  return status;
}

static tern_status dequantize_infer(tern__op_call *call) {
  int64_t to = tern__node_int(call->node, "output_dtype", 0);
  if (!is_quantized(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (!tern__dtype_is_float(call->inputs[1].dtype)) return tern__op_bad_type(call, 1);
  if (tern__has_input(call, 2) && call->inputs[2].dtype != call->inputs[0].dtype)
    return tern__op_bad_type(call, 2);
  call->outputs[0].dtype = to ? tern__dtype_of_onnx(to) : call->inputs[1].dtype;
  if (!tern__dtype_is_float(call->outputs[0].dtype))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "output_dtype %lld", (long long)to);
  call->outputs[0].shape = call->inputs[0].shape;
  grid g;
  return tern__op_inputs_known(call) ? read_grid(call, &g) : TERN_OK;
}

static tern_status dequantize_reference(tern__op_call *call) {
  grid g;
  tern_status status = read_grid(call, &g);
  for (size_t i = 0, n = tern__view_count(&call->outputs[0]); status == TERN_OK && i < n; i++) {
    TERN_TRY(tern__op_poll(call, i));
    size_t s = scale_index(&g, call, i);
    int64_t q = tern__view_int(&call->inputs[0], i) -
                (tern__has_input(call, 2) ? tern__view_int(&call->inputs[2], s) : 0);
    tern__view_set_real(&call->outputs[0], i, (float)q * (float)tern__view_real(&call->inputs[1], s));
  }
cleanup:
  return status;
}

static tern_status dynamic_infer(tern__op_call *call) {
  if (call->inputs[0].dtype != TERN_DTYPE_F32) return tern__op_bad_type(call, 0);
  call->outputs[0].dtype = TERN_DTYPE_U8, call->outputs[0].shape = call->inputs[0].shape;
  for (int32_t i = 1; i < call->n_outputs; i++) {
    call->outputs[i].dtype = i == 1 ? TERN_DTYPE_F32 : TERN_DTYPE_U8;
    call->outputs[i].shape = (tern__shape){.rank = 0};
  }
  return TERN_OK;
}

static tern_status dynamic_reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0];
  float low = 0, high = 0; /* 0 must be exact */
  size_t n = tern__view_count(x);
  for (size_t i = 0; i < n; i++) {
    float v = (float)tern__view_real(x, i);
    low = v < low ? v : low, high = v > high ? v : high;
  }
  float scale = high == low ? 1.0f : (high - low) / 255.0f, zero = rintf(fmaxf(0, fminf(255, -low / scale)));
  for (size_t i = 0; i < n; i++)
    ((uint8_t *)call->outputs[0].data)[i] =
        (uint8_t)fmaxf(0, fminf(255, rintf((float)tern__view_real(x, i) / scale) + zero));
  if (tern__has_output(call, 1)) tern__view_set_real(&call->outputs[1], 0, scale);
  if (tern__has_output(call, 2)) tern__view_set_real(&call->outputs[2], 0, zero);
  return TERN_OK;
}

/* saturate concerns float8 alone; precision the type of the division, which is float32 here. */
static const tern__attr_def quantize_attrs[] = {
    {"axis", TERN__ATTR_INT},     {"block_size", TERN__ATTR_INT}, {"output_dtype", TERN__ATTR_INT},
    {"saturate", TERN__ATTR_INT}, {"precision", TERN__ATTR_INT},  {NULL, 0}};
static const tern__attr_def dequantize_attrs[] = {
    {"axis", TERN__ATTR_INT}, {"block_size", TERN__ATTR_INT}, {"output_dtype", TERN__ATTR_INT}, {NULL, 0}};
#define QUANTIZE(symbol, NAME, DOMAIN, SINCE, ATTRS, KIND)       \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = DOMAIN, .since = SINCE, .min_inputs = 2, .max_inputs = 3, .min_outputs = 1, \
      .max_outputs = 1, .attrs = ATTRS, .infer = KIND##_infer, .reference = KIND##_reference};
QUANTIZE(quantize_linear, "QuantizeLinear", "", 10, quantize_attrs, quantize)
QUANTIZE(dequantize_linear, "DequantizeLinear", "", 10, dequantize_attrs, dequantize)
QUANTIZE(ms_quantize_linear, "QuantizeLinear", "com.microsoft", 1, quantize_attrs, quantize)
QUANTIZE(ms_dequantize_linear, "DequantizeLinear", "com.microsoft", 1, dequantize_attrs, dequantize)
const tern__op_def tern__op_dynamic_quantize_linear = {
    .name = "DynamicQuantizeLinear", .domain = "", .since = 11, .min_inputs = 1, .max_inputs = 1,
    .min_outputs = 1, .max_outputs = 3, .infer = dynamic_infer, .reference = dynamic_reference};
