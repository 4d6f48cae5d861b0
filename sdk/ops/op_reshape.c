/* Operators that keep the bytes and change the shape: Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout
 * (inference). */
#include <string.h>

#include "ops/elements.h"

static tern_status copy_bytes(tern__op_call *call) {
  if (call->outputs[0].size_bytes && call->outputs[0].data != call->inputs[0].data)
    memmove(call->outputs[0].data, call->inputs[0].data, call->outputs[0].size_bytes);
  return TERN_OK;
}

/* 0 copies the input's dimension (unless allowzero), one -1 takes what is left. */
static tern_status reshape_infer(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__shape *x = &call->inputs[0].shape;
  tern__shape y = {.rank = 0};
  size_t total, rest = 1;
  int32_t unknown = -1;
  char ta[96], tb[96];
  call->outputs[0].dtype = call->inputs[0].dtype;
  TERN_TRY(tern__op_ints(call, 1, y.dims, TERN_MAX_RANK, &y.rank));
  if (y.rank < 0 || !tern__shape_count(x, &total)) goto cleanup;
  bool allow_zero = tern__node_int(call->node, "allowzero", 0) != 0;
  for (int32_t d = 0; d < y.rank; d++) {
    if (y.dims[d] == 0 && !allow_zero) {
      if (d >= x->rank)
        TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH,
                               "dimension %d is to be copied, the input has none", d));
      y.dims[d] = x->dims[d];
    }
    if (y.dims[d] == -1 && unknown < 0) unknown = d;
    else if (y.dims[d] < 0 || !tern__mul_size(rest, (size_t)y.dims[d], &rest))
      TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "impossible shape %s",
                             tern__shape_text(&y, ta, sizeof ta)));
  }
  if (unknown >= 0) y.dims[unknown] = rest ? (int64_t)(total / rest) : 0;
  if (unknown >= 0 ? rest == 0 ? total != 0 : total % rest != 0 : rest != total)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "%s cannot become %s",
                           tern__shape_text(x, ta, sizeof ta), tern__shape_text(&y, tb, sizeof tb)));
  call->outputs[0].shape = y;
cleanup:
  return status;
}

static tern_status flatten_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  int32_t axis;
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__shape_known(x)) return TERN_OK;
  int64_t at = tern__node_int(call->node, "axis", 1);
  tern_status status = tern__op_axis(call, at == x->rank ? 0 : at, x->rank ? x->rank : 1, &axis);
  if (status != TERN_OK) return status;
  if (at == x->rank) axis = x->rank;
  call->outputs[0].shape.rank = 2;
  call->outputs[0].shape.dims[0] = (int64_t)tern__dims_product(x, 0, axis);
  call->outputs[0].shape.dims[1] = (int64_t)tern__dims_product(x, axis, x->rank);
  return TERN_OK;
}

/* Marks the axes (input 1 or attribute) of a shape of `rank` dims. *known false: not given yet; *n -2: none
 * given. */
static tern_status mark_axes(const tern__op_call *call, int32_t rank, bool *marked, int32_t *n) {
  tern_status status = TERN_OK;
  int64_t axes[TERN_MAX_RANK];
  memset(marked, 0, TERN_MAX_RANK * sizeof *marked);
  TERN_TRY(tern__op_ints_or_attr(call, 1, "axes", axes, TERN_MAX_RANK, n));
  for (int32_t i = 0; i < *n; i++) {
    int32_t axis;
    TERN_TRY(tern__op_axis(call, axes[i], rank, &axis));
    if (marked[axis])
      TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "axis %d is given twice", axis));
    marked[axis] = true;
  }
cleanup:
  return status;
}

static tern_status squeeze_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  tern__shape y = {.rank = 0};
  bool marked[TERN_MAX_RANK];
  int32_t n;
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__shape_known(x)) return TERN_OK;
  tern_status status = mark_axes(call, x->rank, marked, &n);
  if (status != TERN_OK || n == -1) return status;
  for (int32_t d = 0; d < x->rank; d++) {
    if (n == -2 ? x->dims[d] == 1 : marked[d]) {
      if (x->dims[d] != 1)
        return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "dimension %d is %lld, not 1", d,
                             (long long)x->dims[d]);
    } else y.dims[y.rank++] = x->dims[d];
  }
  call->outputs[0].shape = y;
  return TERN_OK;
}

static tern_status unsqueeze_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  tern__shape y = {.rank = 0};
  bool marked[TERN_MAX_RANK];
  int32_t n, from = 0;
  int64_t axes[TERN_MAX_RANK];
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__shape_known(x)) return TERN_OK;
  tern_status status = tern__op_ints_or_attr(call, 1, "axes", axes, TERN_MAX_RANK, &n);
  if (status != TERN_OK || n == -1) return status;
  if (n < 0) return tern__op_fail(call, TERN_STATUS_CORRUPT, "the axes are missing");
  if (x->rank + n > TERN_MAX_RANK)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "more than %d dimensions", TERN_MAX_RANK);
  status = mark_axes(call, x->rank + n, marked, &n);
  if (status != TERN_OK) return status;
  for (y.rank = 0; y.rank < x->rank + n; y.rank++) y.dims[y.rank] = marked[y.rank] ? 1 : x->dims[from++];
  call->outputs[0].shape = y;
  return TERN_OK;
}

/* Dropout outside of training passes its input on; the mask is all true. */
static tern_status dropout_infer(tern__op_call *call) {
  if (tern__has_input(call, 2) && call->inputs[2].data && *(const uint8_t *)call->inputs[2].data)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "training_mode is not supported");
  if (call->n_outputs > 1) {
    call->outputs[1].dtype = call->node->opset >= 10 ? TERN_DTYPE_BOOL : call->inputs[0].dtype;
    call->outputs[1].shape = call->inputs[0].shape;
  }
  return tern__op_infer_same(call);
}

static tern_status dropout_reference(tern__op_call *call) {
  if (tern__has_input(call, 2) && *(const uint8_t *)call->inputs[2].data)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "training_mode is not supported");
  if (tern__has_output(call, 1))
    for (size_t i = 0, n = tern__view_count(&call->outputs[1]); i < n; i++)
      tern__view_set_int(&call->outputs[1], i, 1);
  return copy_bytes(call);
}

static const tern__attr_def reshape_attrs[] = {{"allowzero", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def axis_attrs[] = {{"axis", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def axes_attrs[] = {{"axes", TERN__ATTR_INTS}, {NULL, 0}};
static const tern__attr_def dropout_attrs[] = {
    {"ratio", TERN__ATTR_FLOAT}, {"seed", TERN__ATTR_INT}, {NULL, 0}};
#define ALIAS(symbol, NAME, SINCE, UNTIL, INPUTS, ATTRS, INFER)    \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = "", .since = SINCE, .until = UNTIL, .min_inputs = INPUTS, \
      .max_inputs = INPUTS, .min_outputs = 1, .max_outputs = 1, .flags = TERN__OP_ALIAS, .attrs = ATTRS, \
      .infer = INFER, .reference = copy_bytes};
ALIAS(reshape, "Reshape", 5, 0, 2, reshape_attrs, reshape_infer)
ALIAS(flatten, "Flatten", 1, 0, 1, axis_attrs, flatten_infer)
ALIAS(squeeze_1, "Squeeze", 1, 12, 1, axes_attrs, squeeze_infer)
ALIAS(unsqueeze_1, "Unsqueeze", 1, 12, 1, axes_attrs, unsqueeze_infer)
ALIAS(unsqueeze, "Unsqueeze", 13, 0, 2, NULL, unsqueeze_infer)
ALIAS(identity, "Identity", 1, 0, 1, NULL, tern__op_infer_same)
const tern__op_def tern__op_squeeze = {
    .name = "Squeeze", .domain = "", .since = 13, .min_inputs = 1, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .flags = TERN__OP_ALIAS, .infer = squeeze_infer, .reference = copy_bytes};
const tern__op_def tern__op_dropout = {
    .name = "Dropout", .domain = "", .since = 7, .min_inputs = 1, .max_inputs = 3, .min_outputs = 1,
    .max_outputs = 2, .attrs = dropout_attrs, .infer = dropout_infer, .reference = dropout_reference};
