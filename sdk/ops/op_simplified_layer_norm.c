/* RMS normalization as ONNX Runtime names it:
 *   SimplifiedLayerNormalization: y = x / sqrt(mean(x^2) + epsilon) * gamma over the last axis (also in the default domain)
 *   com.microsoft.SkipSimplifiedLayerNormalization: the same of x + skip (+ bias); output 3 is that sum.
 * Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; onnxruntime ContribOperators.md. */
#include <math.h>

#include "ops/elements.h"

static void normalize_rows(const float *x, const tern__view *gamma, size_t rows, size_t width, float epsilon, float *y) {
  for (size_t r = 0; r < rows; r++) {
    double square = 0;
    for (size_t i = 0; i < width; i++) square += (double)x[r * width + i] * x[r * width + i];
    float scale = (float)(1.0 / sqrt(square / (double)width + epsilon));
    for (size_t i = 0; i < width; i++) y[r * width + i] = x[r * width + i] * scale * (float)tern__view_real(gamma, i);
  }
}

static tern_status check_gamma(tern__op_call *call, int32_t gamma) {
  const tern__shape *x = &call->inputs[0].shape, *g = &call->inputs[gamma].shape;
  if (x->rank < 0 || g->rank < 0) return TERN_OK;
  if (x->rank < 1 || g->rank != 1 || (g->dims[0] >= 0 && x->dims[x->rank - 1] >= 0 && g->dims[0] != x->dims[x->rank - 1]))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the scale does not fit the last dimension");
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  int64_t axis = tern__node_int(call->node, "axis", -1);
  if (axis != -1 && axis != call->inputs[0].shape.rank - 1)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "axis %lld; only the last one is supported", (long long)axis);
  if (call->n_outputs > 1 && call->node->outputs[1] >= 0)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "the inverse standard deviation output (training) is not supported");
  tern_status status = check_gamma(call, 1);
  return status == TERN_OK ? tern__op_infer_same(call) : status;
}

static tern_status compute(tern__op_call *call) {
  size_t width = (size_t)call->inputs[0].shape.dims[call->inputs[0].shape.rank - 1], n = tern__view_count(&call->inputs[0]);
  if (width) normalize_rows(call->inputs[0].data, &call->inputs[1], n / width, width, tern__node_float(call->node, "epsilon", 1e-5f), call->outputs[0].data);
  return TERN_OK;
}

static tern_status skip_infer(tern__op_call *call) {
  if (!tern__shape_equal(&call->inputs[0].shape, &call->inputs[1].shape))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "input and skip must have one shape");
  for (int32_t i = 1; i < 3 && i < call->n_outputs; i++)
    if (call->node->outputs[i] >= 0) return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "the mean and inverse deviation outputs (training) are not supported");
  tern_status status = check_gamma(call, 2);
  if (status == TERN_OK) status = tern__op_infer_same(call);
  if (call->n_outputs > 3) call->outputs[3].dtype = call->inputs[0].dtype, call->outputs[3].shape = call->inputs[0].shape;
  return status;
}

static tern_status skip_compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  size_t n = tern__view_count(&call->inputs[0]), width = (size_t)call->inputs[0].shape.dims[call->inputs[0].shape.rank - 1];
  const float *x = call->inputs[0].data, *skip = call->inputs[1].data;
  float *own = NULL, *sum = tern__has_output(call, 3) ? call->outputs[3].data : NULL;
  if (!width) goto cleanup;
  if (!sum) {
    sum = own = tern__malloc(call->alloc, n * sizeof *sum);
    TERN_CHECK_ALLOC(sum);
  }
  for (size_t i = 0; i < n; i++)
    sum[i] = x[i] + skip[i] + (tern__has_input(call, 3) ? (float)tern__view_real(&call->inputs[3], i % width) : 0.0f);
  normalize_rows(sum, &call->inputs[2], n / width, width, tern__node_float(call->node, "epsilon", 1e-5f), call->outputs[0].data);
cleanup:
  tern__free(call->alloc, own);
  return status;
}

static tern_status reference(tern__op_call *call) { return tern__op_plain(call, compute); }
static tern_status skip_reference(tern__op_call *call) { return tern__op_plain(call, skip_compute); }

static const tern__attr_def attrs[] = {{"axis", TERN__ATTR_INT}, {"epsilon", TERN__ATTR_FLOAT}, {"stash_type", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def skip_attrs[] = {{"epsilon", TERN__ATTR_FLOAT}, {NULL, 0}};

const tern__op_def tern__op_simplified_layer_norm = {
    .name = "SimplifiedLayerNormalization", .domain = "", .since = 1, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1, .max_outputs = 2,
    .attrs = attrs, .infer = infer, .reference = reference};
const tern__op_def tern__op_ms_simplified_layer_norm = {
    .name = "SimplifiedLayerNormalization", .domain = "com.microsoft", .since = 1, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 2, .attrs = attrs, .infer = infer, .reference = reference};
const tern__op_def tern__op_skip_simplified_layer_norm = {
    .name = "SkipSimplifiedLayerNormalization", .domain = "com.microsoft", .since = 1, .min_inputs = 3, .max_inputs = 4, .min_outputs = 1,
    .max_outputs = 4, .attrs = skip_attrs, .infer = skip_infer, .reference = skip_reference};
