/* Norms over channels: BatchNormalization (inference), InstanceNormalization, GroupNormalization; and
 * LpNormalization. */
#include <math.h>

#include "ops/elements.h"

static tern_status check_channels(const tern__op_call *call, int32_t from, int32_t to) {
  const tern__shape *x = &call->inputs[0].shape;
  for (int32_t i = 0; i <= to; i++)
    if (tern__has_input(call, i) && !tern__dtype_is_float(call->inputs[i].dtype))
      return tern__op_bad_type(call, i);
  if (!tern__op_inputs_known(call)) return TERN_OK;
  for (int32_t i = from; i <= to; i++)
    if (x->rank < 1 || tern__view_count(&call->inputs[i]) != (size_t)(x->rank > 1 ? x->dims[1] : 1))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d must have one entry a channel", i);
  return TERN_OK;
}

static tern_status batch_infer(tern__op_call *call) {
  if (tern__node_int(call->node, "training_mode", 0) || call->n_outputs > 1)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "training_mode is not supported");
  if (!tern__node_int(call->node, "spatial", 1))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "spatial = 0 is not supported");
  tern_status status = check_channels(call, 1, 4);
  return status == TERN_OK ? tern__op_infer_same(call) : status;
}

static tern_status batch_reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0];
  size_t channels = x->shape.rank > 1 ? (size_t)x->shape.dims[1] : 1,
         inner = tern__dims_product(&x->shape, 2, x->shape.rank);
  double epsilon = tern__node_float(call->node, "epsilon", 1e-5f);
  for (size_t i = 0, n = tern__view_count(x); i < n; i++) {
    size_t c = i / inner % channels;
    double mean = tern__view_real(&call->inputs[3], c), variance = tern__view_real(&call->inputs[4], c);
    tern__view_set_real(
        &call->outputs[0], i,
        (tern__view_real(x, i) - mean) / sqrt(variance + epsilon) * tern__view_real(&call->inputs[1], c) +
            tern__view_real(&call->inputs[2], c));
  }
  return TERN_OK;
}

static tern_status group_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  bool instance = call->node->op->name[0] == 'I';
  int64_t groups = instance ? 1 : tern__node_int(call->node, "num_groups", 0);
  if (tern__shape_known(x) && (x->rank < 2 || groups < 1 || x->dims[1] % groups))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the channels do not fall into num_groups");
  tern_status status = check_channels(call, 1, 2);
  return status == TERN_OK ? tern__op_infer_same(call) : status;
}

static tern_status group_reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0];
  bool instance = call->node->op->name[0] == 'I';
  size_t channels = (size_t)x->shape.dims[1], inner = tern__dims_product(&x->shape, 2, x->shape.rank);
  size_t groups = instance ? channels : (size_t)tern__node_int(call->node, "num_groups", 1),
         per = channels / groups * inner;
  double epsilon = tern__node_float(call->node, "epsilon", 1e-5f);
  for (size_t g = 0; g < (size_t)x->shape.dims[0] * groups; g++) {
    double mean = 0, variance = 0;
    for (size_t i = 0; i < per; i++) mean += tern__view_real(x, g * per + i);
    mean /= (double)per;
    for (size_t i = 0; i < per; i++)
      variance += (tern__view_real(x, g * per + i) - mean) * (tern__view_real(x, g * per + i) - mean);
    double inverse = 1 / sqrt(variance / (double)per + epsilon);
    for (size_t i = 0; i < per; i++) {
      size_t c = (g * per + i) / inner % channels;
      tern__view_set_real(
          &call->outputs[0], g * per + i,
          (tern__view_real(x, g * per + i) - mean) * inverse * tern__view_real(&call->inputs[1], c) +
              tern__view_real(&call->inputs[2], c));
    }
  }
  return TERN_OK;
}

static tern_status lp_infer(tern__op_call *call) {
  int64_t p = tern__node_int(call->node, "p", 2);
  if (!tern__dtype_is_float(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (p != 1 && p != 2) return tern__op_fail(call, TERN_STATUS_CORRUPT, "p must be 1 or 2");
  return tern__op_infer_same(call);
}

static tern_status lp_reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0];
  bool squares = tern__node_int(call->node, "p", 2) == 2;
  int32_t axis;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", -1), x->shape.rank, &axis);
  if (status != TERN_OK) return status;
  size_t outer = tern__dims_product(&x->shape, 0, axis), n = (size_t)x->shape.dims[axis];
  size_t inner = tern__dims_product(&x->shape, axis + 1, x->shape.rank);
  for (size_t o = 0; o < outer; o++)
    for (size_t i = 0; i < inner; i++) {
      double norm = 0;
      for (size_t j = 0; j < n; j++) {
        double v = tern__view_real(x, (o * n + j) * inner + i);
        norm += squares ? v * v : fabs(v);
      }
      if (squares) norm = sqrt(norm);
      for (size_t j = 0; j < n; j++) { /* a zero vector stays zero */
        size_t e = (o * n + j) * inner + i;
        tern__view_set_real(&call->outputs[0], e, norm == 0 ? 0 : tern__view_real(x, e) / norm);
      }
    }
  return TERN_OK;
}

static const tern__attr_def batch_attrs[] = {{"epsilon", TERN__ATTR_FLOAT},
                                             {"momentum", TERN__ATTR_FLOAT},
                                             {"spatial", TERN__ATTR_INT},
                                             {"training_mode", TERN__ATTR_INT},
                                             {NULL, 0}};
static const tern__attr_def instance_attrs[] = {{"epsilon", TERN__ATTR_FLOAT}, {NULL, 0}};
static const tern__attr_def group_attrs[] = {
    {"epsilon", TERN__ATTR_FLOAT}, {"num_groups", TERN__ATTR_INT}, {"stash_type", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def lp_attrs[] = {{"axis", TERN__ATTR_INT}, {"p", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_batch_normalization = {
    .name = "BatchNormalization", .domain = "", .since = 7, .min_inputs = 5, .max_inputs = 5,
    .min_outputs = 1, .max_outputs = 5, .attrs = batch_attrs, .infer = batch_infer,
    .reference = batch_reference};
const tern__op_def tern__op_instance_normalization = {
    .name = "InstanceNormalization", .domain = "", .since = 6, .min_inputs = 3, .max_inputs = 3,
    .min_outputs = 1, .max_outputs = 1, .attrs = instance_attrs, .infer = group_infer,
    .reference = group_reference};
const tern__op_def tern__op_group_normalization = {
    .name = "GroupNormalization", .domain = "", .since = 21, .min_inputs = 3, .max_inputs = 3,
    .min_outputs = 1, .max_outputs = 1, .attrs = group_attrs, .infer = group_infer,
    .reference = group_reference};
const tern__op_def tern__op_lp_normalization = {
    .name = "LpNormalization", .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1,
    .min_outputs = 1, .max_outputs = 1, .attrs = lp_attrs, .infer = lp_infer, .reference = lp_reference};
