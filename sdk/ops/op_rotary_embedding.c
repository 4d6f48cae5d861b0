/* RotaryEmbedding of ONNX (23) and com.microsoft: turns pairs within each head by the angle of the row's
 * position (arXiv:2104.09864). X is [B, S, N D] or [B, N, S, D]. */
#include "ops/attention_core.h"
#include "ops/elements.h"

typedef struct rotary {
  int64_t batch, rows, heads, dim, half, table_rows;
  bool interleaved, heads_first, direct; /* direct: the tables are [B, S, half], no positions */
  int32_t positions, cos;                /* inputs */
} rotary;

static bool is_ms(const tern__op_call *call) { return call->node->op->domain[0] != 0; }

static tern_status read_call(const tern__op_call *call, rotary *r) {
  const tern__shape *x = &call->inputs[0].shape;
  char tx[96], tc[96];
  r->positions = is_ms(call) ? 1 : 3, r->cos = is_ms(call) ? 2 : 1;
  const tern__shape *cos = &call->inputs[r->cos].shape;
  int64_t heads = tern__node_int(call->node, "num_heads", 0),
          width = tern__node_int(call->node, "rotary_embedding_dim", 0);
  r->interleaved = tern__node_int(call->node, "interleaved", 0) != 0;
  r->heads_first = x->rank == 4;
  if ((x->rank != 3 && x->rank != 4) || (cos->rank != 2 && cos->rank != 3) ||
      !tern__shape_equal(cos, &call->inputs[r->cos + 1].shape))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %s and tables %s do not fit",
                         tern__shape_text(x, tx, sizeof tx), tern__shape_text(cos, tc, sizeof tc));
  r->half = cos->dims[cos->rank - 1], r->direct = cos->rank == 3, r->table_rows = cos->dims[0];
  r->batch = x->dims[0], r->rows = x->dims[r->heads_first ? 2 : 1];
  if (r->heads_first) r->heads = x->dims[1], r->dim = x->dims[3];
  else {
    r->dim = heads > 0 ? x->dims[2] / heads : is_ms(call) ? (width ? 0 : 2 * r->half) : 0;
    r->heads = r->dim > 0 ? x->dims[2] / r->dim : 0;
  }
  if (r->dim < 1 || (!r->heads_first && r->heads * r->dim != x->dims[2]) || 2 * r->half > r->dim ||
      (width && width != 2 * r->half) || (!width && 2 * r->half != r->dim) ||
      (r->direct && (cos->dims[0] != r->batch || cos->dims[1] != r->rows)))
    return tern__op_fail(
        call, TERN_STATUS_SHAPE_MISMATCH, "input %s with %lld heads and tables %s do not fit",
        tern__shape_text(x, tx, sizeof tx), (long long)heads, tern__shape_text(cos, tc, sizeof tc));
  if (r->direct == tern__has_input(call, r->positions))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "position_ids go with tables of two dimensions");
  if (!r->direct) {
    size_t n = tern__view_count(&call->inputs[r->positions]);
    if (call->inputs[r->positions].dtype != TERN_DTYPE_I64) return tern__op_bad_type(call, r->positions);
    if (n != (size_t)(r->batch * r->rows) && !(is_ms(call) && n == 1))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "%zu position_ids for %lld x %lld rows", n,
                           (long long)r->batch, (long long)r->rows);
  }
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  rotary r;
  if (tern__node_int(call->node, "is_packed_batching", 0))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "is_packed_batching");
  if (tern__node_float(call->node, "scale", 1) != 1)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "a scale other than 1");
  if (!tern__dtype_is_float(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  if (tern__op_inputs_known(call)) {
    tern_status status = read_call(call, &r);
    if (status != TERN_OK) return status;
  }
  return tern__op_infer_same(call);
}

static tern_status compute(tern__op_call *call) {
  rotary r;
  tern_status status = read_call(call, &r);
  if (status != TERN_OK) return status;
  if (call->inputs[0].dtype != TERN_DTYPE_F32) return tern__op_bad_type(call, 0);
  tern__heads x = r.heads_first ? tern__heads_first(call->inputs[0].data, r.heads, r.rows, r.dim)
                                : tern__heads_of_rows(call->inputs[0].data, r.rows, r.heads, r.dim),
              y = x;
  y.data = call->outputs[0].data;
  bool offset = !r.direct && tern__view_count(&call->inputs[r.positions]) == 1 && r.batch * r.rows != 1;
  for (int64_t b = 0; b < r.batch; b++)
    for (int64_t s = 0; s < r.rows; s++) {
      int64_t at = b * r.rows + s,
              position = r.direct ? at
                                  : tern__view_int(&call->inputs[r.positions], offset ? 0 : (size_t)at) +
                                        (offset ? s : 0);
      if (!r.direct && (position < 0 || position >= r.table_rows))
        return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "position %lld is beyond the tables' %lld",
                             (long long)position, (long long)r.table_rows);
      const float *cos = (const float *)call->inputs[r.cos].data + position * r.half;
      const float *sin = (const float *)call->inputs[r.cos + 1].data + position * r.half;
      for (int64_t h = 0; h < r.heads; h++)
        tern__rotate(tern__head_row(&x, b, h, s), tern__head_row(&y, b, h, s), cos, sin, r.half, r.dim,
                     r.interleaved);
    }
  return TERN_OK;
}
static tern_status reference(tern__op_call *call) { return tern__op_plain(call, compute); }

static const tern__attr_def attrs[] = {{"interleaved", TERN__ATTR_INT},
                                       {"num_heads", TERN__ATTR_INT},
                                       {"rotary_embedding_dim", TERN__ATTR_INT},
                                       {NULL, 0}};
static const tern__attr_def ms_attrs[] = {{"interleaved", TERN__ATTR_INT},
                                          {"num_heads", TERN__ATTR_INT},
                                          {"rotary_embedding_dim", TERN__ATTR_INT},
                                          {"is_packed_batching", TERN__ATTR_INT},
                                          {"scale", TERN__ATTR_FLOAT},
                                          {NULL, 0}};
const tern__op_def tern__op_rotary_embedding = {
    .name = "RotaryEmbedding", .domain = "", .since = 23, .min_inputs = 3, .max_inputs = 4,
    .min_outputs = 1, .max_outputs = 1, .attrs = attrs, .infer = infer, .reference = reference};
const tern__op_def tern__op_ms_rotary_embedding = {
    .name = "RotaryEmbedding", .domain = "com.microsoft", .since = 1, .min_inputs = 4, .max_inputs = 4,
    .min_outputs = 1, .max_outputs = 1, .attrs = ms_attrs, .infer = infer, .reference = reference};
