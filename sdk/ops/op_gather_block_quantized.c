/* com.microsoft.GatherBlockQuantized: rows of a block-quantized table. data: uint8 holding `bits`-wide values (low first), scales
 * per block_size values of the last axis, zero points packed like data (default 0 for signed types, 2^(bits-1) for uint8).
 * Source: onnxruntime ContribOperators.md. gather_axis 0 and quantize_axis last: what published embeddings use. */
#include "ops/elements.h"

static tern_status infer(tern__op_call *call) {
  const tern__view *data = &call->inputs[0], *ids = &call->inputs[1], *scales = &call->inputs[2];
  int64_t bits = tern__node_int(call->node, "bits", 4), block = tern__node_int(call->node, "block_size", 128);
  tern__shape *out = &call->outputs[0].shape;
  call->outputs[0].dtype = scales->dtype == TERN_DTYPE_F16 || scales->dtype == TERN_DTYPE_BF16 ? TERN_DTYPE_F32 : scales->dtype;
  if (bits != 4 && bits != 8) return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "bits is %lld; 4 and 8 are supported", (long long)bits);
  if (data->dtype != TERN_DTYPE_U8) return tern__op_bad_type(call, 0);
  if (ids->dtype != TERN_DTYPE_I64 && ids->dtype != TERN_DTYPE_I32) return tern__op_bad_type(call, 1);
  if (!tern__op_inputs_known(call)) return TERN_OK;
  int64_t quantize_axis = tern__node_int(call->node, "quantize_axis", 1), gather_axis = tern__node_int(call->node, "gather_axis", 0);
  if (data->shape.rank != 2 || gather_axis != 0 || (quantize_axis != 1 && quantize_axis != -1))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "only rows of a 2-D table quantized along its last axis are supported");
  int64_t width = data->shape.dims[1] * 8 / bits;
  if (block < 16 || scales->shape.rank != 2 || scales->shape.dims[0] != data->shape.dims[0] ||
      scales->shape.dims[1] != (width + block - 1) / block)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "scales do not fit the data and block_size %lld", (long long)block);
  if (tern__has_input(call, 3) && (call->inputs[3].dtype != TERN_DTYPE_U8 || call->inputs[3].shape.rank != 2 ||
                                   call->inputs[3].shape.dims[0] != data->shape.dims[0] ||
                                   call->inputs[3].shape.dims[1] != (scales->shape.dims[1] * bits + 7) / 8))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "zero points do not fit the scales");
  if (ids->shape.rank + 1 > TERN_MAX_RANK) return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "too many dimensions");
  *out = ids->shape;
  out->dims[out->rank++] = width;
  return TERN_OK;
}

static tern_status reference(tern__op_call *call) {
  const tern__view *data = &call->inputs[0], *ids = &call->inputs[1], *scales = &call->inputs[2];
  int64_t bits = tern__node_int(call->node, "bits", 4), block = tern__node_int(call->node, "block_size", 128);
  int64_t rows = data->shape.dims[0], row_bytes = data->shape.dims[1], width = row_bytes * 8 / bits, groups = scales->shape.dims[1];
  size_t n = tern__view_count(ids);
  float *out = call->outputs[0].data;
  for (size_t i = 0; i < n; i++) {
    int64_t id = tern__view_int(ids, i);
    if (id < 0) id += rows;
    if (id < 0 || id >= rows)
      return tern__op_fail(call, TERN_STATUS_INVALID_ARGUMENT, "index %lld is outside the table of %lld rows", (long long)id, (long long)rows);
    const uint8_t *q = (const uint8_t *)data->data + id * row_bytes;
    const uint8_t *z = tern__has_input(call, 3) ? (const uint8_t *)call->inputs[3].data + id * ((groups * bits + 7) / 8) : NULL;
    for (int64_t k = 0; k < width; k++) {
      int64_t g = k / block;
      int32_t value = bits == 8 ? q[k] : q[k / 2] >> (k % 2 * 4) & 15;
      int32_t zero = !z ? 1 << (bits - 1) : bits == 8 ? z[g] : z[g / 2] >> (g % 2 * 4) & 15;
      out[i * (size_t)width + (size_t)k] = (float)(value - zero) * (float)tern__view_real(scales, (size_t)(id * groups + g));
    }
  }
  return TERN_OK;
}

static const tern__attr_def attrs[] = {{"bits", TERN__ATTR_INT}, {"block_size", TERN__ATTR_INT}, {"gather_axis", TERN__ATTR_INT},
                                       {"quantize_axis", TERN__ATTR_INT}, {NULL, 0}};

const tern__op_def tern__op_gather_block_quantized = {
    .name = "GatherBlockQuantized", .domain = "com.microsoft", .since = 1, .min_inputs = 3, .max_inputs = 4, .min_outputs = 1, .max_outputs = 1,
    .weight_inputs = 1u << 0 | 1u << 2, .attrs = attrs, .infer = infer, .reference = reference};
