/* com.microsoft.MatMulBnb4: Y = A dequantize(B)^T, B as bitsandbytes' 4-bit codes: N*K values in blocks of
 * block_size along the flattened [N, K], two to a byte, the high half first; one absmax per block. quant_type
 * 0 = FP4, 1 = NF4. Source: onnxruntime ContribOperators.md, core/mlas/lib/q4_dq /
 * contrib_ops/cpu/quantization/blockwise_quant_block_bnb4.h. */
#include "ops/elements.h"

/* The 16 values of QLoRA's NF4 (Dettmers et al. 2023, appendix E) and of bitsandbytes' FP4. */
static const float code_books[2][16] = {
    {0.0f, 0.0052083333f, 0.66666667f, 1.0f, 0.33333333f, 0.5f, 0.16666667f, 0.25f, -0.0f, -0.0052083333f,
     -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f},
    {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
     -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
     0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
     0.7229568362236023f, 1.0f}};

static tern_status infer(tern__op_call *call) {
  int64_t n = tern__node_int(call->node, "N", 0), k = tern__node_int(call->node, "K", 0);
  int64_t block = tern__node_int(call->node, "block_size", 0),
          type = tern__node_int(call->node, "quant_type", 1);
  const tern__view *a = &call->inputs[0];
  size_t bytes, scales;
  if (n < 1 || k < 1 || n > INT32_MAX || k > INT32_MAX || block < 2 || block > 65536 ||
      (type != 0 && type != 1))
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "N %lld, K %lld, block_size %lld, quant_type %lld",
                         (long long)n, (long long)k, (long long)block, (long long)type);
  if (tern__node_int(call->node, "transB", 1) != 1)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "transB 0 is not supported");
  if (call->inputs[1].dtype != TERN_DTYPE_U8) return tern__op_bad_type(call, 1);
  if ((tern__shape_count(&call->inputs[1].shape, &bytes) && bytes != (size_t)((n * k + 1) / 2)) ||
      (tern__shape_count(&call->inputs[2].shape, &scales) && scales != (size_t)((n * k + block - 1) / block)))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "B or absmax do not fit N %lld, K %lld",
                         (long long)n, (long long)k);
  call->outputs[0].dtype = a->dtype;
  call->outputs[0].shape = a->shape;
  if (a->shape.rank < 0) return TERN_OK;
  if (a->shape.rank < 1 || (a->shape.dims[a->shape.rank - 1] >= 0 && a->shape.dims[a->shape.rank - 1] != k))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "A's last dimension is not K = %lld",
                         (long long)k);
  call->outputs[0].shape.dims[a->shape.rank - 1] = n;
  return TERN_OK;
}

static tern_status compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  int64_t n_rows = tern__node_int(call->node, "N", 0), k_size = tern__node_int(call->node, "K", 0);
  int64_t block = tern__node_int(call->node, "block_size", 0);
  const float *book = code_books[tern__node_int(call->node, "quant_type", 1)], *a = call->inputs[0].data;
  const uint8_t *q = call->inputs[1].data;
  float *y = call->outputs[0].data;
  size_t rows = tern__view_count(&call->inputs[0]) / (size_t)k_size;
  float *row = tern__malloc(call->alloc, (size_t)k_size * sizeof *row);
  TERN_CHECK_ALLOC(row);
  for (int64_t n = 0; n < n_rows; n++) {
    TERN_TRY(tern__op_poll(call, 0));
    for (int64_t k = 0; k < k_size; k++) {
      int64_t i = n * k_size + k;
      row[k] = book[i % 2 ? q[i / 2] & 15 : q[i / 2] >> 4] *
               (float)tern__view_real(&call->inputs[2], (size_t)(i / block));
    }
    tern__matmul_column(a, rows, (size_t)k_size, row, 0, y + n, (size_t)n_rows);
  }
cleanup:
  tern__free(call->alloc, row);
  return status;
}

static tern_status reference(tern__op_call *call) { return tern__op_plain(call, compute); }

static const tern__attr_def attrs[] = {{"K", TERN__ATTR_INT},
                                       {"N", TERN__ATTR_INT},
                                       {"block_size", TERN__ATTR_INT},
                                       {"quant_type", TERN__ATTR_INT},
                                       {"transB", TERN__ATTR_INT},
                                       {"training_mode", TERN__ATTR_INT},
                                       {NULL, 0}};

const tern__op_def tern__op_matmul_bnb4 = {
    .name = "MatMulBnb4", .domain = "com.microsoft", .since = 1, .min_inputs = 3, .max_inputs = 3,
    .min_outputs = 1, .max_outputs = 1, .weight_inputs = 1u << 1 | 1u << 2, .attrs = attrs, .infer = infer,
    .reference = reference, .work = tern__op_product_work};
