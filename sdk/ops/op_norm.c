/* Norms over the last dimensions: LayerNormalization, RMSNormalization, com.microsoft's
 * SimplifiedLayerNormalization (RMS; ONNX Runtime also writes it into the ONNX domain) and their Skip forms,
 * which add a residual first. */
#include <math.h>
#include <string.h>

#include "ops/elements.h"

/* Where scale, bias, skip and the input's bias are among the inputs (-1: the op has none), and the extra
 * outputs. */
typedef struct layout {
  int32_t scale, bias, skip, input_bias, mean, deviation, sum;
  bool centred;
} layout;
static const layout layer_norm = {1, 2, -1, -1, 1, 2, -1, true},
                    rms_norm = {1, -1, -1, -1, -1, -1, -1, false},
                    simplified = {1, -1, -1, -1, -1, 1, -1, false}, skip_layer = {2, 3, 1, 4, 1, 2, 3, true},
                    skip_simplified = {2, -1, 1, 3, 1, 2, 3, false};

static tern_status read_axis(const tern__op_call *call, const layout *l, int32_t *axis) {
  int32_t rank = call->inputs[0].shape.rank;
  return tern__op_axis(call, l->skip >= 0 ? -1 : tern__node_int(call->node, "axis", -1), rank, axis);
}

static tern_status infer(tern__op_call *call, const layout *l) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0];
  int32_t axis;
  size_t inner, n;
  for (int32_t i = 0; i < call->n_inputs; i++)
    if (tern__has_input(call, i) && !tern__dtype_is_float(call->inputs[i].dtype))
      TERN_TRY(tern__op_bad_type(call, i));
  for (int32_t i = 0; i < call->n_outputs; i++) {
    call->outputs[i].dtype = i == 0 || i == l->sum ? x->dtype : TERN_DTYPE_F32;
    call->outputs[i].shape = x->shape;
  }
  if (l == &rms_norm || l == &simplified || l == &layer_norm) call->outputs[0].dtype = x->dtype;
  if (!tern__op_inputs_known(call)) goto cleanup;
  TERN_TRY(read_axis(call, l, &axis));
  inner = tern__dims_product(&x->shape, axis, x->shape.rank);
  for (int32_t k = 0; k < 3; k++) {
    int32_t i = k == 0 ? l->scale : k == 1 ? l->bias : l->input_bias;
    if (i < 0 || !tern__has_input(call, i)) continue;
    if (!tern__shape_count(&call->inputs[i].shape, &n) || n != inner)
      TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH,
                             "input %d has %zu elements, %zu are normalised together", i, n, inner));
  }
  if (l->skip >= 0) {
    size_t total = tern__view_count(x), skip = tern__view_count(&call->inputs[l->skip]);
    if (!skip ? total != 0 : total % skip || skip % inner)
      TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the skip input does not fit"));
  }
  for (int32_t i = 1; i < call->n_outputs; i++)
    for (int32_t d = axis; i != l->sum && d < x->shape.rank; d++) call->outputs[i].shape.dims[d] = 1;
cleanup:
  return status;
}

static void put_statistic(const tern__op_call *call, int32_t output, size_t row, double value) {
  if (output >= 0 && tern__has_output(call, output)) tern__view_set_real(&call->outputs[output], row, value);
}

static double parameter(const tern__op_call *call, int32_t input, size_t i, double none) {
  return input >= 0 && tern__has_input(call, input) ? tern__view_real(&call->inputs[input], i) : none;
}

static tern_status compute(tern__op_call *call, const layout *l) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0];
  int32_t axis;
  double epsilon = tern__node_float(call->node, "epsilon", l->skip >= 0 ? 1e-12f : 1e-5f), *row = NULL;
  TERN_TRY(read_axis(call, l, &axis));
  size_t rows = tern__dims_product(&x->shape, 0, axis),
         n = tern__dims_product(&x->shape, axis, x->shape.rank);
  size_t skip_count = l->skip >= 0 ? tern__view_count(&call->inputs[l->skip]) : 0;
  row = tern__calloc(call->alloc, n, sizeof *row);
  TERN_CHECK_ALLOC(row);
  for (size_t r = 0; r < rows; r++) {
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++) {
      row[i] = tern__view_real(x, r * n + i);
      if (skip_count) row[i] += tern__view_real(&call->inputs[l->skip], (r * n + i) % skip_count);
      row[i] += parameter(call, l->input_bias, i, 0);
      if (l->sum >= 0) put_statistic(call, l->sum, r * n + i, row[i]);
      if (l->centred) mean += row[i];
    }
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) variance += (row[i] - mean) * (row[i] - mean);
    double inverse = 1 / sqrt(variance / (double)n + epsilon);
    for (size_t i = 0; i < n; i++)
      tern__view_set_real(
          &call->outputs[0], r * n + i,
          (row[i] - mean) * inverse * parameter(call, l->scale, i, 1) + parameter(call, l->bias, i, 0));
    put_statistic(call, l->mean, r, mean);
    put_statistic(call, l->deviation, r, inverse);
  }
cleanup:
  tern__free(call->alloc, row);
  return status;
}

static const tern__attr_def attrs[] = {
    {"axis", TERN__ATTR_INT}, {"epsilon", TERN__ATTR_FLOAT}, {"stash_type", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def skip_attrs[] = {{"epsilon", TERN__ATTR_FLOAT}, {NULL, 0}};
#define NORM(symbol, NAME, DOMAIN, SINCE, LAYOUT, MIN, MAX, OUTPUTS, ATTRS)                     \
  static tern_status symbol##_infer(tern__op_call *call) { return infer(call, &LAYOUT); }       \
  static tern_status symbol##_reference(tern__op_call *call) { return compute(call, &LAYOUT); } \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = DOMAIN, .since = SINCE, .min_inputs = MIN, .max_inputs = MAX, \
      .min_outputs = 1, .max_outputs = OUTPUTS, .attrs = ATTRS, .infer = symbol##_infer, \
      .reference = symbol##_reference};
NORM(layer_normalization, "LayerNormalization", "", 1, layer_norm, 2, 3, 3, attrs)
NORM(rms_normalization, "RMSNormalization", "", 23, rms_norm, 2, 2, 1, attrs)
NORM(simplified_layer_normalization, "SimplifiedLayerNormalization", "", 1, simplified, 2, 2, 2, attrs)
NORM(ms_simplified_layer_normalization, "SimplifiedLayerNormalization", "com.microsoft", 1, simplified, 2, 2,
     2, attrs)
NORM(skip_layer_normalization, "SkipLayerNormalization", "com.microsoft", 1, skip_layer, 3, 5, 4, skip_attrs)
NORM(skip_simplified_layer_normalization, "SkipSimplifiedLayerNormalization", "com.microsoft", 1,
     skip_simplified, 3, 4, 4, skip_attrs)
