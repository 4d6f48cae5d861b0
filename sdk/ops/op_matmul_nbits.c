/* com.microsoft.MatMulNBits: Y = A dequantize(B)^T (+ bias). B [N, blocks, block_size * bits / 8] holds 2, 4
 * or 8-bit values, low bits first; scales [N, blocks]; zero points per block, packed like B in bytes per row,
 * or as floats; default 2^(bits-1). Source: onnxruntime ContribOperators.md. accuracy_level only allows
 * rounder arithmetic: the reference computes in f32. */
#include "base/half.h"
#include "ops/elements.h"

#include <string.h>

typedef struct nbits {
  int64_t n, k, bits, block, blocks;
} nbits;

static tern_status read_sizes(const tern__op_call *call, nbits *b) {
  b->n = tern__node_int(call->node, "N", 0), b->k = tern__node_int(call->node, "K", 0);
  b->bits = tern__node_int(call->node, "bits", 4), b->block = tern__node_int(call->node, "block_size", 0);
  if (b->n < 1 || b->k < 1 || b->n > INT32_MAX || b->k > INT32_MAX)
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "N is %lld and K %lld", (long long)b->n, (long long)b->k);
  if (b->bits != 2 && b->bits != 4 && b->bits != 8)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "bits is %lld; 2, 4 and 8 are supported",
                         (long long)b->bits);
  if (b->block < 16 || b->block > 4096 || (b->block & (b->block - 1)))
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "block_size %lld is no power of two from 16 on",
                         (long long)b->block);
  b->blocks = (b->k + b->block - 1) / b->block;
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  nbits b;
  tern_status status = read_sizes(call, &b);
  if (status != TERN_OK) return status;
  const tern__view *a = &call->inputs[0], *q = &call->inputs[1];
  if (tern__has_input(call, 4)) return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "g_idx is not supported");
  if (q->dtype != TERN_DTYPE_U8) return tern__op_bad_type(call, 1);
  size_t have, scales;
  if (tern__shape_count(&q->shape, &have) && have != (size_t)(b.n * b.blocks * (b.block * b.bits / 8)))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "B has %zu bytes for N %lld, K %lld", have,
                         (long long)b.n, (long long)b.k);
  if (tern__shape_count(&call->inputs[2].shape, &scales) && scales != (size_t)(b.n * b.blocks))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "%zu scales for %lld blocks", scales,
                         (long long)(b.n * b.blocks));
  if (tern__has_input(call, 3) && tern__shape_count(&call->inputs[3].shape, &have)) {
    size_t packed = (size_t)(b.n * ((b.blocks * b.bits + 7) / 8));
    if (have != (call->inputs[3].dtype == TERN_DTYPE_U8 ? packed : (size_t)(b.n * b.blocks)))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "%zu zero points do not fit", have);
  }
  call->outputs[0].dtype = a->dtype;
  call->outputs[0].shape = a->shape;
  if (a->shape.rank < 0) return TERN_OK;
  if (a->shape.rank < 1 || (a->shape.dims[a->shape.rank - 1] >= 0 && a->shape.dims[a->shape.rank - 1] != b.k))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "A's last dimension is not K = %lld",
                         (long long)b.k);
  call->outputs[0].shape.dims[a->shape.rank - 1] = b.n;
  return TERN_OK;
}

static uint32_t packed_at(const uint8_t *data, int64_t i, int64_t bits) {
  int64_t bit = i * bits;
  return (uint32_t)(data[bit / 8] >> (bit % 8)) & ((1u << bits) - 1);
}

static float zero_point(const tern__op_call *call, const nbits *b, int64_t row, int64_t block) {
  if (!tern__has_input(call, 3)) return (float)(1 << (b->bits - 1));
  const tern__view *z = &call->inputs[3];
  if (z->dtype != TERN_DTYPE_U8) return (float)tern__view_real(z, (size_t)(row * b->blocks + block));
  return (float)packed_at((const uint8_t *)z->data + row * ((b->blocks * b->bits + 7) / 8), block, b->bits);
}

static tern_status compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  nbits b;
  float *row = NULL;
  TERN_TRY(read_sizes(call, &b));
  const float *a = call->inputs[0].data;
  float *y = call->outputs[0].data;
  size_t rows = tern__view_count(&call->inputs[0]) / (size_t)b.k, blob = (size_t)(b.block * b.bits / 8);
  row = tern__malloc(call->alloc, (size_t)b.k * sizeof *row);
  TERN_CHECK_ALLOC(row);
  for (int64_t n = 0; n < b.n; n++) {
    TERN_TRY(tern__op_poll(call, 0));
    for (int64_t g = 0; g < b.blocks; g++) {
      const uint8_t *q = (const uint8_t *)call->inputs[1].data + (size_t)(n * b.blocks + g) * blob;
      float scale = (float)tern__view_real(&call->inputs[2], (size_t)(n * b.blocks + g)),
            zero = zero_point(call, &b, n, g);
      for (int64_t i = 0; i < b.block && g * b.block + i < b.k; i++)
        row[g * b.block + i] = ((float)packed_at(q, i, b.bits) - zero) * scale;
    }
    float bias = tern__has_input(call, 5) ? (float)tern__view_real(&call->inputs[5], (size_t)n) : 0.0f;
    tern__matmul_column(a, rows, (size_t)b.k, row, bias, y + n, (size_t)b.n);
  }
cleanup:
  tern__free(call->alloc, row);
  return status;
}

static tern_status reference(tern__op_call *call) { return tern__op_plain(call, compute); }

static const tern__attr_def attrs[] = {{"K", TERN__ATTR_INT},
                                       {"N", TERN__ATTR_INT},
                                       {"bits", TERN__ATTR_INT},
                                       {"block_size", TERN__ATTR_INT},
                                       {"accuracy_level", TERN__ATTR_INT},
                                       {NULL, 0}};

const tern__op_def tern__op_matmul_nbits = {
    .name = "MatMulNBits", .domain = "com.microsoft", .since = 1, .min_inputs = 3, .max_inputs = 6,
    .min_outputs = 1, .max_outputs = 1, .weight_inputs = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5,
    .attrs = attrs, .infer = infer, .reference = reference, .work = tern__op_product_work};
