/* tern.Linear: Y = X W^T + bias, W [N, K] row-major in any float or block type. X [..., K] -> Y [..., N]. */
#include "ir/op.h"
#include "ir/quants.h"

static tern_status infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape, *w = &call->inputs[1].shape;
  tern__shape *y = &call->outputs[0].shape;
  char tx[96], tw[96];
  call->outputs[0].dtype = TERN_DTYPE_F32;
  y->rank = -1;
  if (call->inputs[0].dtype != TERN_DTYPE_F32 || !tern__dequantize_known(call->inputs[1].dtype))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "input types %s and %s",
                         tern_dtype_name(call->inputs[0].dtype), tern_dtype_name(call->inputs[1].dtype));
  if (tern__has_input(call, 2) && call->inputs[2].dtype != TERN_DTYPE_F32)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "bias of type %s",
                         tern_dtype_name(call->inputs[2].dtype));
  if (x->rank < 0 || w->rank < 0) return TERN_OK;
  int64_t k = x->rank ? x->dims[x->rank - 1] : 0, n = w->dims[0];
  if (x->rank < 1 || w->rank != 2 || (k >= 0 && w->dims[1] >= 0 && k != w->dims[1]))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %s does not fit the weight %s",
                         tern__shape_text(x, tx, sizeof tx), tern__shape_text(w, tw, sizeof tw));
  if (tern__has_input(call, 2)) {
    const tern__shape *bias = &call->inputs[2].shape;
    if (bias->rank >= 0 && (bias->rank != 1 || (n >= 0 && bias->dims[0] >= 0 && bias->dims[0] != n)))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "bias %s does not fit the weight %s",
                           tern__shape_text(bias, tx, sizeof tx), tern__shape_text(w, tw, sizeof tw));
  }
  *y = *x;
  y->dims[y->rank - 1] = n;
  return TERN_OK;
}

static tern_status reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *w = &call->inputs[1];
  size_t n = (size_t)w->shape.dims[0], k = (size_t)w->shape.dims[1], rows, row_bytes;
  float *y = call->outputs[0].data, *row = NULL, *bias = NULL;
  tern__shape one = {.rank = 1, .dims = {w->shape.dims[1]}}, lead = call->inputs[0].shape;
  lead.rank--;
  if (!tern__shape_count(&lead, &rows) || !tern__shape_bytes(w->dtype, &one, &row_bytes))
    TERN_FAIL(TERN_STATUS_INTERNAL, "Linear: the weight's rows are not whole blocks");
  row = tern__malloc(call->alloc, k * sizeof *row);
  bias = tern__calloc(call->alloc, n, sizeof *bias);
  TERN_CHECK_ALLOC(row);
  TERN_CHECK_ALLOC(bias);
  if (tern__has_input(call, 2))
    tern__dequantize_row(TERN_DTYPE_F32, call->inputs[2].data, bias, n); /* may be unaligned */
  for (size_t j = 0; j < n; j++) {
    TERN_TRY(tern__op_poll(call, 0));
    tern__dequantize_row(w->dtype, (const uint8_t *)w->data + j * row_bytes, row, k);
    for (size_t i = 0; i < rows; i++) {
      const float *x = (const float *)call->inputs[0].data + i * k;
      float sum = 0;
      for (size_t e = 0; e < k; e++) sum += x[e] * row[e];
      y[i * n + j] = sum + bias[j];
    }
  }
cleanup:
  tern__free(call->alloc, row);
  tern__free(call->alloc, bias);
  return status;
}

const tern__op_def tern__op_linear = {
    .name = "Linear",
    .domain = "tern",
    .since = 1,
    .min_inputs = 2,
    .max_inputs = 3,
    .min_outputs = 1,
    .max_outputs = 1,
    .weight_inputs = 1u << 1,
    .infer = infer,
    .reference = reference,
    .work = tern__op_product_work,
};
