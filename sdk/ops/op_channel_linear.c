/* tern.ChannelLinear: Y = X W^T + bias with 8-bit weights that have one scale (and zero point) for all or for each row
 * of W: W = (q - zero) * scale. Inputs: X [..., K] float32; q int8 or uint8, [N, K], or [K, N] with k_major = 1;
 * scale float32, 1 or N values; zero of q's type, 1 or N values, optional; bias float32 [N], optional. Y [..., N].
 * Made by pass_channel_weights.c, which says from what. */
#include "ops/elements.h"

static tern_status sizes(const tern__op_call *call, int64_t *n, int64_t *k) {
  const tern__shape *w = &call->inputs[1].shape;
  bool k_major = tern__node_int(call->node, "k_major", 0) != 0;
  if (w->rank != 2) return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the weight has %d dimensions", w->rank);
  *n = w->dims[k_major], *k = w->dims[!k_major];
  for (int32_t i = 2; i < 5; i++) {
    size_t count;
    if (!tern__has_input(call, i) || !tern__shape_count(&call->inputs[i].shape, &count)) continue;
    if (count != (size_t)*n && (i == 4 || count != 1))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d has %zu values for %lld rows", i, count,
                           (long long)*n);
  }
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  const tern__view *x = &call->inputs[0], *w = &call->inputs[1];
  int64_t n, k;
  if (x->dtype != TERN_DTYPE_F32) return tern__op_bad_type(call, 0);
  if (w->dtype != TERN_DTYPE_I8 && w->dtype != TERN_DTYPE_U8) return tern__op_bad_type(call, 1);
  if (call->inputs[2].dtype != TERN_DTYPE_F32) return tern__op_bad_type(call, 2);
  if (tern__has_input(call, 3) && call->inputs[3].dtype != w->dtype) return tern__op_bad_type(call, 3);
  if (tern__has_input(call, 4) && call->inputs[4].dtype != TERN_DTYPE_F32) return tern__op_bad_type(call, 4);
  call->outputs[0].dtype = TERN_DTYPE_F32;
  call->outputs[0].shape.rank = -1;
  if (x->shape.rank < 0 || w->shape.rank < 0) return TERN_OK;
  tern_status status = sizes(call, &n, &k);
  if (status != TERN_OK) return status;
  int64_t have = x->shape.rank ? x->shape.dims[x->shape.rank - 1] : 0;
  if (x->shape.rank < 1 || (have >= 0 && k >= 0 && have != k))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "X's last dimension is not K = %lld", (long long)k);
  call->outputs[0].shape = x->shape;
  call->outputs[0].shape.dims[x->shape.rank - 1] = n;
  return TERN_OK;
}

static int64_t at(const tern__op_call *call, int32_t input, int64_t row) {
  return tern__view_count(&call->inputs[input]) == 1 ? 0 : row;
}

static tern_status compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  int64_t n, k;
  float *row = NULL;
  bool k_major = tern__node_int(call->node, "k_major", 0) != 0;
  TERN_TRY(sizes(call, &n, &k));
  size_t rows = 1;
  for (int32_t i = 0; i + 1 < call->inputs[0].shape.rank; i++) rows *= (size_t)call->inputs[0].shape.dims[i];
  row = tern__malloc(call->alloc, (size_t)(k ? k : 1) * sizeof *row);
  TERN_CHECK_ALLOC(row);
  for (int64_t j = 0; j < n; j++) {
    TERN_TRY(tern__op_poll(call, 0));
    float scale = (float)tern__view_real(&call->inputs[2], (size_t)at(call, 2, j));
    int64_t zero = tern__has_input(call, 3) ? tern__view_int(&call->inputs[3], (size_t)at(call, 3, j)) : 0;
    float bias = tern__has_input(call, 4) ? (float)tern__view_real(&call->inputs[4], (size_t)j) : 0;
    for (int64_t i = 0; i < k; i++)
      row[i] = (float)(tern__view_int(&call->inputs[1], (size_t)(k_major ? i * n + j : j * k + i)) - zero) * scale;
    float *y = (float *)call->outputs[0].data + j;
    tern__matmul_column(call->inputs[0].data, rows, (size_t)k, row, bias, y, (size_t)n);
  }
cleanup:
  tern__free(call->alloc, row);
  return status;
}

static tern_status reference(tern__op_call *call) { return tern__op_plain(call, compute); }

static const tern__attr_def attrs[] = {{"k_major", TERN__ATTR_INT}, {NULL, 0}};

const tern__op_def tern__op_channel_linear = {
    .name = "ChannelLinear", .domain = "tern", .since = 1, .min_inputs = 3, .max_inputs = 5, .min_outputs = 1,
    .max_outputs = 1, .attrs = attrs, .infer = infer, .reference = reference,
    .work = tern__op_product_work};
