/* tern.LastRow: X [B, S, d] -> [B, 1, d], of each sequence the row of its last new position. A sequence
 * without new positions gives zeros; without a cache every row is new. A run that wants all rows (a draft's, which are
 * checked one by one) gets X itself. */
#include <string.h>

#include "ir/op.h"

static tern_status infer(tern__op_call *call) {
  call->outputs[0].dtype = call->inputs[0].dtype;
  call->outputs[0].shape = call->inputs[0].shape;
  if (call->inputs[0].shape.rank < 0) return TERN_OK;
  if (call->inputs[0].shape.rank != 3)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the input must have three dimensions");
  if (!call->kv || !call->kv->all_rows) call->outputs[0].shape.dims[1] = 1;
  return TERN_OK;
}

static tern_status reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0];
  const int64_t *dims = x->shape.dims;
  size_t row = (size_t)dims[2] * tern__dtype_info_of(x->dtype)->block_bytes;
  if (call->outputs[0].shape.dims[1] != 1) {
    memcpy(call->outputs[0].data, x->data, (size_t)(dims[0] * dims[1]) * row);
    return TERN_OK;
  }
  for (int64_t b = 0; b < dims[0]; b++) {
    int64_t fresh = call->kv && b < call->kv->batch ? call->kv->fresh[b] : dims[1];
    uint8_t *y = (uint8_t *)call->outputs[0].data + (size_t)b * row;
    if (fresh > dims[1]) return tern__op_fail(call, TERN_STATUS_INTERNAL, "more new positions than rows");
    if (fresh < 1)
      memset(y, 0, row);
    else
      memcpy(y, (const uint8_t *)x->data + (size_t)(b * dims[1] + fresh - 1) * row, row);
  }
  return TERN_OK;
}

const tern__op_def tern__op_last_row = {
    .name = "LastRow",
    .domain = "tern",
    .since = 1,
    .flags = TERN__OP_NOT_FOLDED | TERN__OP_ALIAS_OF_ROW,
    .min_inputs = 1,
    .max_inputs = 1,
    .min_outputs = 1,
    .max_outputs = 1,
    .infer = infer,
    .reference = reference,
};
