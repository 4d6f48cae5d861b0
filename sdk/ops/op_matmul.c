/* Dense products: MatMul (NumPy), Gemm, com.microsoft FusedMatMul. Sums run over k in order, in the type of
 * the result. */
#include <string.h>

#include "ops/elements.h"

/* A [m, k], B [k, n] by strides; Y [m, n] dense. */
typedef struct product {
  size_t m, n, k;
  size_t a_row, a_k, b_k, b_column;
  const tern__op_call *call;
} product;

static tern_status multiply_f32(const product *p, const float *a, const float *b, float *y) {
  tern_status status = TERN_OK;
  memset(y, 0, p->m * p->n * sizeof *y);
  for (size_t i = 0; i < p->m; i++)
    for (size_t e = 0; e < p->k; e++) {
      TERN_TRY(tern__op_poll(p->call, p->n < 64 ? e : 0));
      float x = a[i * p->a_row + e * p->a_k];
      const float *row = b + e * p->b_k;
      for (size_t j = 0; j < p->n; j++) y[i * p->n + j] += x * row[j * p->b_column];
    }
cleanup:
  return status;
}

static tern_status multiply_any(const product *p, const tern__view *a, size_t a0, const tern__view *b, size_t b0,
                                const tern__view *y, size_t y0) {
  tern_status status = TERN_OK;
  for (size_t i = 0; i < p->m; i++)
    for (size_t j = 0; j < p->n; j++) {
      TERN_TRY(tern__op_poll(p->call, p->k < 64 ? j : 0));
      double real = 0;
      uint64_t whole = 0;
      bool is_real = y->dtype == TERN_DTYPE_F64;
      for (size_t e = 0; e < p->k; e++) {
        size_t ia = a0 + i * p->a_row + e * p->a_k, ib = b0 + e * p->b_k + j * p->b_column;
        if (is_real) real += tern__view_real(a, ia) * tern__view_real(b, ib);
        else whole += (uint64_t)tern__view_int(a, ia) * (uint64_t)tern__view_int(b, ib);
      }
      if (is_real) tern__view_set_real(y, y0 + i * p->n + j, real);
      else tern__view_set_int(y, y0 + i * p->n + j, (int64_t)whole);
    }
cleanup:
  return status;
}

static tern_status multiply(const product *p, const tern__view *a, size_t a0, const tern__view *b, size_t b0,
                            const tern__view *y, size_t y0) {
  if (y->dtype == TERN_DTYPE_F32)
    return multiply_f32(p, (const float *)a->data + a0, (const float *)b->data + b0, (float *)y->data + y0);
  return multiply_any(p, a, a0, b, b0, y, y0);
}

/* Half weights meet float32 activations: the types need only be of one family then. */
static tern_status check_types(const tern__op_call *call) {
  tern_dtype a = call->inputs[0].dtype, b = call->inputs[1].dtype;
  if (!tern__dtype_is_number(a)) return tern__op_bad_type(call, 0);
  if (a == b || (a == TERN_DTYPE_F32 && tern__dtype_is_half(b))) return TERN_OK;
  return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input types %s and %s", tern_dtype_name(a),
                       tern_dtype_name(b));
}

/* Shapes as matrices: a vector on the left is a row, on the right a column; `transposed` swaps the last two
 * dims. */
static void as_matrix(const tern__shape *in, bool left, bool transposed, tern__shape *out) {
  *out = *in;
  if (in->rank == 1) {
    out->rank = 2;
    out->dims[left ? 1 : 0] = in->dims[0], out->dims[left ? 0 : 1] = 1;
  } else if (transposed) {
    int64_t last = out->dims[out->rank - 1];
    out->dims[out->rank - 1] = out->dims[out->rank - 2], out->dims[out->rank - 2] = last;
  }
}

static tern_status matmul_infer(tern__op_call *call) {
  tern_status status = TERN_OK;
  tern__shape a = call->inputs[0].shape, b = call->inputs[1].shape, y;
  char ta[96], tb[96];
  TERN_TRY(check_types(call));
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (tern__node_int(call->node, "transBatchA", 0) || tern__node_int(call->node, "transBatchB", 0))
    TERN_TRY(tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "transBatchA and transBatchB are not supported"));
  if (!tern__op_inputs_known(call)) goto cleanup;
  bool vector_a = a.rank == 1, vector_b = b.rank == 1;
  if (a.rank < 1 || b.rank < 1)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "scalars have no matrix product"));
  as_matrix(&call->inputs[0].shape, true, tern__node_int(call->node, "transA", 0) != 0, &a);
  as_matrix(&call->inputs[1].shape, false, tern__node_int(call->node, "transB", 0) != 0, &b);
  int64_t m = a.dims[a.rank - 2], k = a.dims[a.rank - 1], n = b.dims[b.rank - 1];
  if (b.dims[b.rank - 2] != k)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "%s does not fit %s",
                           tern__shape_text(&call->inputs[0].shape, ta, sizeof ta),
                           tern__shape_text(&call->inputs[1].shape, tb, sizeof tb)));
  a.rank -= 2, b.rank -= 2;
  TERN_TRY(tern__op_broadcast(call, &a, &b, &y));
  if (!vector_a) y.dims[y.rank++] = m;
  if (!vector_b) y.dims[y.rank++] = n;
  call->outputs[0].shape = y;
cleanup:
  return status;
}

static tern_status matmul_compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *y = &call->outputs[0];
  bool trans_a = tern__node_int(call->node, "transA", 0) != 0,
       trans_b = tern__node_int(call->node, "transB", 0) != 0;
  float alpha = tern__node_float(call->node, "alpha", 1);
  tern__shape a, b, batch = y->shape;
  int64_t sa[TERN_MAX_RANK], sb[TERN_MAX_RANK], index[TERN_MAX_RANK] = {0};
  as_matrix(&call->inputs[0].shape, true, trans_a, &a);
  as_matrix(&call->inputs[1].shape, false, trans_b, &b);
  batch.rank -= (call->inputs[0].shape.rank > 1) + (call->inputs[1].shape.rank > 1);
  product p = {
      .call = call, .m = (size_t)a.dims[a.rank - 2], .k = (size_t)a.dims[a.rank - 1], .n = (size_t)b.dims[b.rank - 1]};
  bool swap_a = trans_a && call->inputs[0].shape.rank > 1, swap_b = trans_b && call->inputs[1].shape.rank > 1;
  p.a_row = swap_a ? 1 : p.k, p.a_k = swap_a ? p.m : 1, p.b_k = swap_b ? 1 : p.n,
  p.b_column = swap_b ? p.k : 1;
  a.rank -= 2, b.rank -= 2;
  tern__broadcast_strides(&a, &batch, sa);
  tern__broadcast_strides(&b, &batch, sb);
  for (size_t i = 0, n = tern__dims_product(&batch, 0, batch.rank); i < n; i++) {
    TERN_TRY(multiply(&p, &call->inputs[0], (size_t)tern__offset_of(index, sa, batch.rank) * p.m * p.k,
                      &call->inputs[1], (size_t)tern__offset_of(index, sb, batch.rank) * p.k * p.n, y,
                      i * p.m * p.n));
    (void)tern__next_index(batch.dims, batch.rank, index);
  }
  for (size_t i = 0, n = tern__view_count(y); alpha != 1 && i < n; i++)
    tern__view_set_real(y, i, alpha * tern__view_real(y, i));
cleanup:
  return status;
}
static tern_status matmul_reference(tern__op_call *call) { return tern__op_plain(call, matmul_compute); }

/* Gemm: alpha A B + beta C, A and B transposed on demand, C broadcast to [M, N]. */
static tern_status gemm_infer(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__shape *a = &call->inputs[0].shape, *b = &call->inputs[1].shape;
  bool trans_a = tern__node_int(call->node, "transA", 0) != 0,
       trans_b = tern__node_int(call->node, "transB", 0) != 0;
  TERN_TRY(check_types(call));
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (!tern__op_inputs_known(call)) goto cleanup;
  if (a->rank != 2 || b->rank != 2 || a->dims[trans_a ? 0 : 1] != b->dims[trans_b ? 1 : 0])
    TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "A and B do not fit"));
  tern__shape y = {.rank = 2, .dims = {a->dims[trans_a ? 1 : 0], b->dims[trans_b ? 0 : 1]}}, with_c;
  if (tern__has_input(call, 2)) {
    if (call->inputs[2].dtype != call->inputs[0].dtype) TERN_TRY(tern__op_bad_type(call, 2));
    TERN_TRY(tern__op_broadcast(call, &y, &call->inputs[2].shape, &with_c));
    if (!tern__shape_equal(&y, &with_c))
      TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "C does not broadcast to the product"));
  }
  call->outputs[0].shape = y;
cleanup:
  return status;
}

static tern_status gemm_compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *a = &call->inputs[0], *b = &call->inputs[1], *y = &call->outputs[0];
  bool trans_a = tern__node_int(call->node, "transA", 0) != 0,
       trans_b = tern__node_int(call->node, "transB", 0) != 0;
  float alpha = tern__node_float(call->node, "alpha", 1), beta = tern__node_float(call->node, "beta", 1);
  product p = {.call = call,
               .m = (size_t)y->shape.dims[0],
               .n = (size_t)y->shape.dims[1],
               .k = (size_t)a->shape.dims[trans_a ? 0 : 1]};
  p.a_row = trans_a ? 1 : p.k, p.a_k = trans_a ? p.m : 1, p.b_k = trans_b ? 1 : p.n,
  p.b_column = trans_b ? p.k : 1;
  TERN_TRY(multiply(&p, a, 0, b, 0, y, 0));
  int64_t strides[TERN_MAX_RANK] = {0}, index[2] = {0};
  bool has_c = tern__has_input(call, 2);
  if (has_c) tern__broadcast_strides(&call->inputs[2].shape, &y->shape, strides);
  for (size_t i = 0, n = p.m * p.n; i < n; i++) {
    size_t c = (size_t)tern__offset_of(index, strides, 2);
    if (tern__dtype_is_int(y->dtype) && alpha == 1 && beta == 1) {
      if (has_c)
        tern__view_set_int(
            y, i, (int64_t)((uint64_t)tern__view_int(y, i) + (uint64_t)tern__view_int(&call->inputs[2], c)));
    } else {
      double value = alpha * tern__view_real(y, i);
      if (has_c) value += beta * tern__view_real(&call->inputs[2], c);
      tern__view_set_real(y, i, value);
    }
    (void)tern__next_index(y->shape.dims, 2, index);
  }
cleanup:
  return status;
}
static tern_status gemm_reference(tern__op_call *call) { return tern__op_plain(call, gemm_compute); }

static const tern__attr_def gemm_attrs[] = {{"alpha", TERN__ATTR_FLOAT},
                                            {"beta", TERN__ATTR_FLOAT},
                                            {"transA", TERN__ATTR_INT},
                                            {"transB", TERN__ATTR_INT},
                                            {NULL, 0}};
static const tern__attr_def fused_attrs[] = {{"alpha", TERN__ATTR_FLOAT},     {"transA", TERN__ATTR_INT},
                                             {"transB", TERN__ATTR_INT},      {"transBatchA", TERN__ATTR_INT},
                                             {"transBatchB", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_matmul = {
    .name = "MatMul", .domain = "", .since = 1, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .weight_inputs = 1u << 1, .infer = matmul_infer, .reference = matmul_reference,
    .work = tern__op_product_work};
const tern__op_def tern__op_gemm = {
    .name = "Gemm", .domain = "", .since = 7, .min_inputs = 2, .max_inputs = 3, .min_outputs = 1,
    .max_outputs = 1, .weight_inputs = 1u << 1, .attrs = gemm_attrs, .infer = gemm_infer,
    .reference = gemm_reference, .work = tern__op_product_work};
const tern__op_def tern__op_fused_matmul = {
    .name = "FusedMatMul", .domain = "com.microsoft", .since = 1, .min_inputs = 2, .max_inputs = 2,
    .min_outputs = 1, .max_outputs = 1, .weight_inputs = 1u << 1, .attrs = fused_attrs,
    .infer = matmul_infer, .reference = matmul_reference,
    .work = tern__op_product_work};
