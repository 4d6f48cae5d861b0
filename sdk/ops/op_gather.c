/* Gather, GatherElements, GatherND. Rows of narrow weights (float16, bfloat16, GGUF blocks) come out as
 * float32: that is how an embedding table is read. */
#include <string.h>

#include "ir/quants.h"
#include "ops/elements.h"

static bool is_index_type(tern_dtype t) { return t == TERN_DTYPE_I64 || t == TERN_DTYPE_I32; }

/* Index j of `indices` within [0, dim). */
static tern_status index_at(const tern__op_call *call, size_t j, int64_t dim, int64_t *out) {
  int64_t i = tern__view_int(&call->inputs[1], j);
  *out = i < 0 ? i + dim : i;
  if (*out >= 0 && *out < dim) return TERN_OK;
  return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "index %lld is out of range for a dimension of %lld",
                       (long long)i, (long long)dim);
}

static tern_status gather_infer(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__shape *x = &call->inputs[0].shape, *j = &call->inputs[1].shape;
  tern__shape *y = &call->outputs[0].shape;
  int32_t axis;
  bool narrow = tern__dtype_is_half(call->inputs[0].dtype) || tern__dtype_is_block(call->inputs[0].dtype);
  call->outputs[0].dtype = narrow ? TERN_DTYPE_F32 : call->inputs[0].dtype;
  if (!narrow && !tern__element_size(call->inputs[0].dtype)) TERN_TRY(tern__op_bad_type(call, 0));
  if (!is_index_type(call->inputs[1].dtype)) TERN_TRY(tern__op_bad_type(call, 1));
  if (x->rank < 0 || j->rank < 0) goto cleanup;
  TERN_TRY(tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->rank, &axis));
  if (tern__dtype_is_block(call->inputs[0].dtype) && axis == x->rank - 1)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "gathering within quantized rows"));
  if (x->rank + j->rank - 1 > TERN_MAX_RANK)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "too many dimensions"));
  y->rank = 0;
  for (int32_t d = 0; d < axis; d++) y->dims[y->rank++] = x->dims[d];
  for (int32_t d = 0; d < j->rank; d++) y->dims[y->rank++] = j->dims[d];
  for (int32_t d = axis + 1; d < x->rank; d++) y->dims[y->rank++] = x->dims[d];
cleanup:
  return status;
}

static tern_status gather_reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  int32_t axis;
  TERN_TRY(tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->shape.rank, &axis));
  const tern__dtype_info *info = tern__dtype_info_of(x->dtype);
  size_t outer = tern__dims_product(&x->shape, 0, axis),
         inner = tern__dims_product(&x->shape, axis + 1, x->shape.rank);
  size_t n = tern__view_count(&call->inputs[1]), dim = (size_t)x->shape.dims[axis];
  size_t in_bytes = inner / info->block_elements * info->block_bytes,
         out_bytes = inner * tern__element_size(y->dtype);
  for (size_t o = 0; o < outer; o++)
    for (size_t j = 0; j < n; j++) {
      int64_t index;
      TERN_TRY(tern__op_poll(call, inner < 64 ? o * n + j : 0));
      TERN_TRY(index_at(call, j, (int64_t)dim, &index));
      const char *from = (const char *)x->data + (o * dim + (size_t)index) * in_bytes;
      char *to = (char *)y->data + (o * n + j) * out_bytes;
      if (x->dtype != y->dtype) tern__dequantize_row(x->dtype, from, (float *)(void *)to, inner);
      else memcpy(to, from, out_bytes);
    }
cleanup:
  return status;
}

static tern_status elements_infer(tern__op_call *call) {
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (!is_index_type(call->inputs[1].dtype)) return tern__op_bad_type(call, 1);
  const tern__shape *x = &call->inputs[0].shape, *j = &call->inputs[1].shape;
  int32_t axis;
  call->outputs[0].dtype = call->inputs[0].dtype;
  call->outputs[0].shape = *j;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->rank, &axis);
  bool fits = x->rank == j->rank;
  for (int32_t d = 0; status == TERN_OK && fits && d < x->rank; d++)
    fits = d == axis || j->dims[d] <= x->dims[d];
  return status != TERN_OK || fits
             ? status
             : tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the indices do not fit the data");
}

static tern_status elements_reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  int64_t strides[TERN_MAX_RANK], at[TERN_MAX_RANK] = {0};
  size_t size = tern__element_size(x->dtype);
  int32_t axis;
  TERN_TRY(tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->shape.rank, &axis));
  tern__dense_strides(&x->shape, strides);
  for (size_t i = 0, n = tern__view_count(y); i < n; i++) {
    int64_t index, keep = at[axis];
    TERN_TRY(index_at(call, i, x->shape.dims[axis], &index));
    at[axis] = index;
    memcpy((char *)y->data + i * size,
           (const char *)x->data + (size_t)tern__offset_of(at, strides, x->shape.rank) * size, size);
    at[axis] = keep;
    (void)tern__next_index(y->shape.dims, y->shape.rank, at);
  }
cleanup:
  return status;
}

static tern_status nd_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape, *j = &call->inputs[1].shape;
  tern__shape *y = &call->outputs[0].shape;
  int64_t batch = tern__node_int(call->node, "batch_dims", 0);
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__element_size(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (call->inputs[1].dtype != TERN_DTYPE_I64) return tern__op_bad_type(call, 1);
  if (!tern__op_inputs_known(call)) return TERN_OK;
  bool fits = j->rank >= 1 && batch >= 0 && batch < j->rank && batch < x->rank && j->dims[j->rank - 1] >= 1 &&
              j->dims[j->rank - 1] <= x->rank - batch;
  for (int64_t d = 0; fits && d < batch; d++) fits = x->dims[d] == j->dims[d];
  int64_t depth = fits ? j->dims[j->rank - 1] : 0;
  if (!fits || j->rank - 1 + x->rank - batch - depth > TERN_MAX_RANK)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the indices do not fit the data");
  y->rank = 0;
  for (int32_t d = 0; d < j->rank - 1; d++) y->dims[y->rank++] = j->dims[d];
  for (int64_t d = batch + depth; d < x->rank; d++) y->dims[y->rank++] = x->dims[d];
  return TERN_OK;
}

static tern_status nd_reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *j = &call->inputs[1];
  int32_t batch = (int32_t)tern__node_int(call->node, "batch_dims", 0),
          depth = (int32_t)j->shape.dims[j->shape.rank - 1];
  int64_t strides[TERN_MAX_RANK];
  tern__dense_strides(&x->shape, strides);
  size_t n_batches = tern__dims_product(&j->shape, 0, batch),
         per_batch = tern__dims_product(&j->shape, batch, j->shape.rank - 1);
  size_t size = tern__element_size(x->dtype),
         run = tern__dims_product(&x->shape, batch + depth, x->shape.rank) * size;
  size_t batch_size = tern__dims_product(&x->shape, batch, x->shape.rank) * size;
  for (size_t b = 0; b < n_batches; b++)
    for (size_t i = 0; i < per_batch; i++) {
      size_t row = b * per_batch + i, offset = 0;
      for (int32_t d = 0; d < depth; d++) {
        int64_t index;
        TERN_TRY(index_at(call, row * (size_t)depth + (size_t)d, x->shape.dims[batch + d], &index));
        offset += (size_t)(index * strides[batch + d]);
      }
      if (run)
        memcpy((char *)call->outputs[0].data + row * run,
               (const char *)x->data + b * batch_size + offset * size, run);
    }
cleanup:
  return status;
}

static const tern__attr_def axis_attrs[] = {{"axis", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def nd_attrs[] = {{"batch_dims", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_gather = {
    .name = "Gather", .domain = "", .since = 1, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .weight_inputs = 1, .attrs = axis_attrs, .infer = gather_infer,
    .reference = gather_reference, .work = tern__op_lookup_work};
const tern__op_def tern__op_gather_elements = {
    .name = "GatherElements", .domain = "", .since = 11, .min_inputs = 2, .max_inputs = 2,
    .min_outputs = 1, .max_outputs = 1, .attrs = axis_attrs, .infer = elements_infer,
    .reference = elements_reference};
const tern__op_def tern__op_gather_nd = {
    .name = "GatherND", .domain = "", .since = 11, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .attrs = nd_attrs, .infer = nd_infer, .reference = nd_reference};
