/* Pad: constant, edge, reflect, wrap. Pads and value are attributes up to opset 10, inputs after; negative
 * pads crop. */
#include <string.h>

#include "ops/elements.h"

typedef enum mode { CONSTANT, EDGE, REFLECT, WRAP, UNKNOWN } mode;

static mode read_mode(const tern__op_call *call) {
  static const char *const names[] = {"constant", "edge", "reflect", "wrap"};
  const char *name = tern__node_string(call->node, "mode", "constant");
  int i = 0;
  while (i < UNKNOWN && strcmp(name, names[i]) != 0) i++;
  return (mode)i;
}

static tern_status read_pads(const tern__op_call *call, int64_t *before, int64_t *after, bool *known) {
  tern_status status = TERN_OK;
  int64_t pads[2 * TERN_MAX_RANK], axes[TERN_MAX_RANK];
  int32_t n, n_axes = -2, rank = call->inputs[0].shape.rank;
  *known = false;
  TERN_TRY(tern__op_ints_or_attr(call, 1, "pads", pads, 2 * TERN_MAX_RANK, &n));
  if (tern__has_input(call, 3)) TERN_TRY(tern__op_ints(call, 3, axes, TERN_MAX_RANK, &n_axes));
  if (n == -1 || n_axes == -1) goto cleanup;
  int32_t count = n_axes >= 0 ? n_axes : rank;
  if (n != 2 * count)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "%d pads for %d axes", n, count));
  for (int32_t d = 0; d < rank; d++) before[d] = after[d] = 0;
  for (int32_t i = 0; i < count; i++) {
    int32_t axis;
    TERN_TRY(tern__op_axis(call, n_axes >= 0 ? axes[i] : i, rank, &axis));
    before[axis] = pads[i], after[axis] = pads[i + count];
    if (pads[i] < -INT32_MAX || pads[i] > INT32_MAX || pads[i + count] < -INT32_MAX ||
        pads[i + count] > INT32_MAX)
      TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "pads are out of range"));
  }
  *known = true;
cleanup:
  return status;
}

static tern_status infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  int64_t before[TERN_MAX_RANK], after[TERN_MAX_RANK];
  bool known;
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (tern__has_input(call, 2) && call->inputs[2].dtype != call->inputs[0].dtype)
    return tern__op_bad_type(call, 2);
  if (read_mode(call) == UNKNOWN)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "mode '%s'",
                         tern__node_string(call->node, "mode", ""));
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = read_pads(call, before, after, &known);
  if (status != TERN_OK || !known) return status;
  tern__shape y = *x;
  for (int32_t d = 0; d < x->rank; d++) {
    y.dims[d] += before[d] + after[d];
    bool reflects = read_mode(call) == REFLECT && (before[d] >= x->dims[d] || after[d] >= x->dims[d]) &&
                    (before[d] > 0 || after[d] > 0);
    if (y.dims[d] < 0 || reflects || (x->dims[d] == 0 && y.dims[d] && read_mode(call) != CONSTANT))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "pads do not fit dimension %d", d);
  }
  call->outputs[0].shape = y;
  return TERN_OK;
}

/* Where position p of the padded axis comes from; -1: the constant. */
static int64_t source(mode how, int64_t p, int64_t before, int64_t dim) {
  int64_t i = p - before;
  if (i >= 0 && i < dim) return i;
  if (how == CONSTANT) return -1;
  if (how == EDGE) return i < 0 ? 0 : dim - 1;
  if (how == WRAP) return (i % dim + dim) % dim;
  return i < 0 ? -i : 2 * (dim - 1) - i;
}

static tern_status reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  int64_t before[TERN_MAX_RANK], after[TERN_MAX_RANK], strides[TERN_MAX_RANK], index[TERN_MAX_RANK] = {0};
  bool known;
  tern_status status = read_pads(call, before, after, &known);
  if (status != TERN_OK) return status;
  size_t size = tern__element_size(x->dtype);
  mode how = read_mode(call);
  uint8_t fill[16] = {0};
  if (tern__has_input(call, 2) && call->inputs[2].size_bytes >= size)
    memcpy(fill, call->inputs[2].data, size);
  else if (tern__node_attr(call->node, "value")) {
    tern__view one = {x->dtype, {.rank = 0}, fill, size};
    tern__view_set_real(&one, 0, tern__node_float(call->node, "value", 0));
  }
  tern__dense_strides(&x->shape, strides);
  for (size_t i = 0, n = tern__view_count(y); i < n; i++) {
    int64_t from = 0;
    for (int32_t d = 0; d < x->shape.rank && from >= 0; d++) {
      int64_t s = source(how, index[d], before[d], x->shape.dims[d]);
      from = s < 0 ? -1 : from + s * strides[d];
    }
    memcpy((char *)y->data + i * size, from < 0 ? fill : (const uint8_t *)x->data + (size_t)from * size,
           size);
    (void)tern__next_index(y->shape.dims, y->shape.rank, index);
  }
  return TERN_OK;
}

static const tern__attr_def attrs_2[] = {
    {"mode", TERN__ATTR_STRING}, {"pads", TERN__ATTR_INTS}, {"value", TERN__ATTR_FLOAT}, {NULL, 0}};
static const tern__attr_def attrs[] = {{"mode", TERN__ATTR_STRING}, {NULL, 0}};
const tern__op_def tern__op_pad_2 = {
    .name = "Pad", .domain = "", .since = 2, .until = 10, .min_inputs = 1, .max_inputs = 1,
    .min_outputs = 1, .max_outputs = 1, .attrs = attrs_2, .infer = infer, .reference = reference};
const tern__op_def tern__op_pad = {
    .name = "Pad", .domain = "", .since = 11, .min_inputs = 2, .max_inputs = 4, .min_outputs = 1,
    .max_outputs = 1, .attrs = attrs, .infer = infer, .reference = reference};
