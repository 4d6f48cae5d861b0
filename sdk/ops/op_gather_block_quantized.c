/* com.microsoft.GatherBlockQuantized: rows of a block-quantized table. data: int4/uint4, or uint8 holding
 * `bits`-wide values (low bits first); scales per block_size values of the last axis; zero points packed like
 * data (default 0 for int4 and uint4, 2^(bits-1) for uint8). gather_axis 0 and quantize_axis last: what
 * published embeddings use. Half scales come out as float32. Source: onnxruntime ContribOperators.md. */
#include "ops/elements.h"

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Value i of a run of `bits`-wide values, lowest bits first. */
static unsigned unpack(const uint8_t *data, int64_t i, int64_t bits) {
  int64_t per_byte = 8 / bits;
  return data[i / per_byte] >> (i % per_byte * bits) & ((1u << bits) - 1);
}

typedef struct table {
  int64_t rows, columns, bits, block, blocks;
  bool bytes;
} table;

static tern_status read_table(const tern__op_call *call, table *t) {
  const tern__shape *data = &call->inputs[0].shape, *scales = &call->inputs[2].shape;
  bool bytes = call->inputs[0].dtype == TERN_DTYPE_U8;
  t->bits = bytes ? tern__node_int(call->node, "bits", 4) : 4, t->bytes = bytes;
  t->block = tern__node_int(call->node, "block_size", 128);
  int64_t quantize_axis = tern__node_int(call->node, "quantize_axis", 1),
          gather_axis = tern__node_int(call->node, "gather_axis", 0);
  if (data->rank != 2 || scales->rank != 2 || gather_axis != 0 || (quantize_axis != 1 && quantize_axis != -1))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED,
                         "only rows of a matrix that is quantized along its columns can be gathered");
  if ((t->bits != 2 && t->bits != 4 && t->bits != 8) || t->block < 16 || (t->block & (t->block - 1)) ||
      t->block > 65536)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "bits %lld, block_size %lld", (long long)t->bits,
                         (long long)t->block);
  t->rows = data->dims[0], t->columns = bytes ? data->dims[1] * (8 / t->bits) : data->dims[1];
  t->blocks = divide_up(t->columns, t->block);
  if (scales->dims[0] != t->rows || scales->dims[1] != t->blocks)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the scales do not fit the table");
  size_t zeros = (size_t)(t->rows * (bytes ? divide_up(t->blocks * t->bits, 8) : t->blocks));
  if (tern__has_input(call, 3) && tern__view_count(&call->inputs[3]) != zeros)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the zero points do not fit the table");
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  tern_dtype data = call->inputs[0].dtype;
  table t;
  if (data != TERN_DTYPE_U8 && data != TERN_DTYPE_I4 && data != TERN_DTYPE_U4)
    return tern__op_bad_type(call, 0);
  if (call->inputs[1].dtype != TERN_DTYPE_I64 && call->inputs[1].dtype != TERN_DTYPE_I32)
    return tern__op_bad_type(call, 1);
  if (!tern__dtype_is_float(call->inputs[2].dtype)) return tern__op_bad_type(call, 2);
  if (tern__has_input(call, 3) && call->inputs[3].dtype != data) return tern__op_bad_type(call, 3);
  call->outputs[0].dtype =
      tern__dtype_is_half(call->inputs[2].dtype) ? TERN_DTYPE_F32 : call->inputs[2].dtype;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = read_table(call, &t);
  if (status != TERN_OK) return status;
  if (call->inputs[1].shape.rank >= TERN_MAX_RANK)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "too many dimensions");
  call->outputs[0].shape = call->inputs[1].shape;
  call->outputs[0].shape.dims[call->outputs[0].shape.rank++] = t.columns;
  return TERN_OK;
}

static tern_status reference(tern__op_call *call) {
  table t;
  tern_status status = read_table(call, &t);
  const tern__view *data = &call->inputs[0], *zeros = tern__has_input(call, 3) ? &call->inputs[3] : NULL;
  for (size_t j = 0, n = tern__view_count(&call->inputs[1]); status == TERN_OK && j < n; j++) {
    int64_t row = tern__view_int(&call->inputs[1], j),
            zero_row = t.bytes ? divide_up(t.blocks * t.bits, 8) : t.blocks;
    if (row < 0) row += t.rows;
    if (row < 0 || row >= t.rows)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "index %lld is out of range", (long long)row);
    for (int64_t e = 0; e < t.columns; e++) {
      int64_t block = e / t.block, zero = t.bytes ? 1 << (t.bits - 1) : 0;
      int64_t q =
          t.bytes ? (int64_t)unpack((const uint8_t *)data->data + row * (t.columns * t.bits / 8), e, t.bits)
                  : tern__view_int(data, (size_t)(row * t.columns + e));
      if (zeros && t.bytes)
        zero = (int64_t)unpack((const uint8_t *)zeros->data + row * zero_row, block, t.bits);
      else if (zeros) zero = tern__view_int(zeros, (size_t)(row * t.blocks + block));
      double scale = tern__view_real(&call->inputs[2], (size_t)(row * t.blocks + block));
      tern__view_set_real(&call->outputs[0], j * (size_t)t.columns + (size_t)e,
                          (float)(q - zero) * (float)scale);
    }
  }
  return status;
}

static const tern__attr_def attrs[] = {{"bits", TERN__ATTR_INT},
                                       {"block_size", TERN__ATTR_INT},
                                       {"gather_axis", TERN__ATTR_INT},
                                       {"quantize_axis", TERN__ATTR_INT},
                                       {NULL, 0}};
const tern__op_def tern__op_gather_block_quantized = {
    .name = "GatherBlockQuantized", .domain = "com.microsoft", .since = 1, .min_inputs = 3,
    .max_inputs = 4, .min_outputs = 1, .max_outputs = 1, .weight_inputs = 1u << 0 | 1u << 2,
    .attrs = attrs, .infer = infer, .reference = reference,
    .work = tern__op_lookup_work};
