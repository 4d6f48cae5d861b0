/* Weight-only int8 files: a matrix of bytes becomes floats, by Mul(Cast(q), scale), Mul(Sub(Cast(q), zero), scale) or
 * DequantizeLinear(q, scale, zero), in front of a MatMul, a Gemm or a Gather, perhaps through a Transpose. With one
 * scale for all or one a column of the product (a row of the table) it stays bytes: MatMul and Gemm become
 * tern.ChannelLinear, Gather becomes GatherBlockQuantized. Whatever else is done with such a matrix, and whatever form
 * its scales have beside these, is left to pass_dequantize_weights.c. */
#include <string.h>

#include "passes/pass.h"

/* A matrix (q - zero) * scale; all constants of the graph. */
typedef struct channel_matrix {
  tern__value_id q, scale, zero; /* zero: -1 = none */
  const float *zero_floats;      /* set in place of `zero` by Sub: integers of q's range, as many as scale has */
  size_t scales, zeros;          /* how many */
  int32_t axis;                  /* of q [d0, d1] that scales go along; -1: one for all */
  bool transposed;               /* the graph uses [d1, d0] */
} channel_matrix;

static const tern__value *constant_of(const tern__graph *graph, tern__value_id id) {
  return id >= 0 && graph->values[id].data ? &graph->values[id] : NULL;
}

/* Which axis of [d0, d1] a broadcast operand goes along, by its shape: -1 for one element. */
static bool broadcast_axis(const tern__value *v, const tern__shape *matrix, int32_t *axis, size_t *count) {
  if (v->shape.rank > 2 || !tern__shape_count(&v->shape, count)) return false;
  if (*count == 1) return *axis = -1, true;
  for (int32_t i = 0; i < v->shape.rank; i++) {
    int32_t to = i + 2 - v->shape.rank;
    if (v->shape.dims[i] == 1) continue;
    if (v->shape.dims[i] != matrix->dims[to] || *count != (size_t)matrix->dims[to]) return false;
    *axis = to;
  }
  return true;
}

static bool is_bytes(const tern__value *v) {
  return v && v->shape.rank == 2 && (v->dtype == TERN_DTYPE_I8 || v->dtype == TERN_DTYPE_U8);
}

/* Cast(q) to float32. */
static bool match_cast(const tern__graph *graph, tern__value_id value, channel_matrix *m) {
  const tern__node *cast = tern__match_producer(graph, value, "Cast");
  if (!cast || tern__node_int(cast, "to", 0) != 1 /* float32 */ || !is_bytes(constant_of(graph, cast->inputs[0])))
    return false;
  m->q = cast->inputs[0];
  return true;
}

/* Cast(q) - zero, with whole numbers that q's type holds. */
static bool match_shifted(const tern__graph *graph, tern__value_id value, channel_matrix *m, int32_t *axis) {
  const tern__node *sub = tern__match_producer(graph, value, "Sub");
  if (!sub || !match_cast(graph, sub->inputs[0], m)) return false;
  const tern__value *zero = constant_of(graph, sub->inputs[1]), *q = &graph->values[m->q];
  float low = q->dtype == TERN_DTYPE_I8 ? -128 : 0;
  if (!zero || zero->dtype != TERN_DTYPE_F32 || !broadcast_axis(zero, &q->shape, axis, &m->zeros)) return false;
  for (size_t i = 0; i < m->zeros; i++) {
    float z;
    memcpy(&z, (const char *)zero->data + i * sizeof z, sizeof z);
    if (!(z >= low && z <= low + 255) || z != (float)(int32_t)z) return false;
  }
  m->zero_floats = zero->data;
  return true;
}

static bool match_mul(const tern__graph *graph, tern__value_id value, channel_matrix *m) {
  const tern__node *mul = tern__match_producer(graph, value, "Mul");
  for (int32_t i = 0; mul && i < 2; i++) {
    int32_t zero_axis = -1;
    m->zero = -1, m->zeros = 0, m->zero_floats = NULL;
    if (!match_cast(graph, mul->inputs[i], m) && !match_shifted(graph, mul->inputs[i], m, &zero_axis)) continue;
    m->scale = mul->inputs[1 - i];
    const tern__value *scale = constant_of(graph, m->scale);
    if (!scale || scale->dtype != TERN_DTYPE_F32 ||
        !broadcast_axis(scale, &graph->values[m->q].shape, &m->axis, &m->scales))
      return false;
    if (m->axis < 0) m->axis = zero_axis;
    return m->axis < 0 || zero_axis < 0 || zero_axis == m->axis;
  }
  return false;
}

static bool match_dequantize(const tern__graph *graph, tern__value_id value, channel_matrix *m) {
  const tern__node *node = tern__match_producer(graph, value, "DequantizeLinear");
  if (!node || tern__node_int(node, "block_size", 0) || tern__node_int(node, "output_dtype", 0)) return false;
  m->q = node->inputs[0], m->scale = node->inputs[1], m->zero = node->n_inputs > 2 ? node->inputs[2] : -1;
  m->zero_floats = NULL, m->zeros = 0;
  const tern__value *q = constant_of(graph, m->q), *scale = constant_of(graph, m->scale),
                    *zero = constant_of(graph, m->zero);
  int64_t axis = tern__node_int(node, "axis", 1);
  if (!is_bytes(q) || !scale || scale->dtype != TERN_DTYPE_F32 || scale->shape.rank > 1 || (m->zero >= 0 && !zero) ||
      !tern__shape_count(&scale->shape, &m->scales))
    return false;
  if (axis < 0) axis += 2;
  if (axis < 0 || axis > 1 || (m->scales != 1 && m->scales != (size_t)q->shape.dims[axis])) return false;
  if (zero && (zero->dtype != q->dtype || !tern__shape_count(&zero->shape, &m->zeros) || m->zeros != m->scales))
    return false;
  m->axis = m->scales == 1 ? -1 : (int32_t)axis;
  return true;
}

static bool match_matrix(const tern__graph *graph, tern__value_id value, channel_matrix *m) {
  size_t count;
  const tern__node *transpose = tern__match_producer(graph, value, "Transpose");
  m->transposed = transpose != NULL;
  if (transpose) {
    const int64_t *order = tern__node_ints(transpose, "perm", &count);
    if (order && (count != 2 || order[0] != 1 || order[1] != 0)) return false;
    value = transpose->inputs[0];
  }
  return match_mul(graph, value, m) || match_dequantize(graph, value, m);
}

/* Zero points in q's type; -1 if there are none. */
static tern_status zero_of(tern__graph *graph, const channel_matrix *m, tern__value_id *out) {
  tern_status status = TERN_OK;
  *out = m->zero;
  if (!m->zero_floats) goto cleanup;
  int64_t n = (int64_t)m->zeros;
  uint8_t *bytes = tern__arena_alloc_raw(graph->arena, m->zeros);
  TERN_CHECK_ALLOC(bytes);
  for (size_t i = 0; i < m->zeros; i++) {
    float z;
    memcpy(&z, (const char *)m->zero_floats + i * sizeof z, sizeof z);
    bytes[i] = (uint8_t)(int32_t)z;
  }
  TERN_TRY(tern__graph_add_constant(graph, "", graph->values[m->q].dtype, 1, &n, bytes, m->zeros, out));
cleanup:
  return status;
}

static tern_status add_product(tern__graph *graph, int32_t index, tern__value_id x, const channel_matrix *m,
                               bool k_major, tern__value_id bias) {
  tern_status status = TERN_OK;
  tern__value_id in[5] = {x, m->q, m->scale, -1, bias}, out = graph->nodes[index].outputs[0];
  int32_t node;
  TERN_TRY(zero_of(graph, m, &in[3]));
  int32_t n_in = bias >= 0 ? 5 : in[3] >= 0 ? 4 : 3;
  TERN_TRY(tern__pass_replace_node(graph, index, "ChannelLinear", "tern", 1, in, n_in, &out, 1, &node));
  TERN_TRY(tern__node_set_int(graph, node, "k_major", k_major));
cleanup:
  return status;
}

/* Scales must go along the axis of q that is the product's column. */
static bool fits_product(const channel_matrix *m, bool k_major) { return m->axis < 0 || m->axis == (k_major ? 1 : 0); }

static bool is_vector_of(const tern__value *v, int64_t n) {
  return v && v->dtype == TERN_DTYPE_F32 && v->shape.rank == 1 && v->shape.dims[0] == n;
}

static tern_status rewrite_product(tern__graph *graph, int32_t index) {
  const tern__node *node = &graph->nodes[index];
  bool gemm = strcmp(node->op->name, "Gemm") == 0;
  tern__value_id bias = -1;
  channel_matrix m;
  if (!match_matrix(graph, node->inputs[1], &m)) return TERN_OK;
  bool k_major = !m.transposed;
  if (gemm) {
    if (tern__node_int(node, "transA", 0) || tern__node_float(node, "alpha", 1) != 1 ||
        tern__node_float(node, "beta", 1) != 1)
      return TERN_OK;
    if (tern__node_int(node, "transB", 0)) k_major = !k_major;
    bias = node->n_inputs > 2 ? node->inputs[2] : -1;
    if (bias >= 0 && !is_vector_of(constant_of(graph, bias), graph->values[m.q].shape.dims[k_major])) return TERN_OK;
  }
  return fits_product(&m, k_major) ? add_product(graph, index, node->inputs[0], &m, k_major, bias) : TERN_OK;
}

/* ---- tables ---- */

enum { SMALLEST_BLOCK = 16, LARGEST_BLOCK = 4096 };

static tern_status bytes_constant(tern__graph *graph, const void *from, size_t n, uint8_t flip, int32_t rank,
                                  const int64_t *dims, tern__value_id *out) {
  tern_status status = TERN_OK;
  uint8_t *to = tern__arena_alloc_raw(graph->arena, n);
  TERN_CHECK_ALLOC(to);
  for (size_t i = 0; i < n; i++) to[i] = ((const uint8_t *)from)[i] ^ flip;
  TERN_TRY(tern__graph_add_constant(graph, "", TERN_DTYPE_U8, rank, dims, to, n, out));
cleanup:
  return status;
}

/* GatherBlockQuantized wants unsigned bytes and blocks of a power of two, so a row's scale and zero point repeat. */
static tern_status add_table(tern__graph *graph, int32_t index, tern__value_id ids, const channel_matrix *m) {
  tern_status status = TERN_OK;
  const tern__value q = graph->values[m->q], scale = graph->values[m->scale];
  int64_t rows = q.shape.dims[0], columns = q.shape.dims[1], block = SMALLEST_BLOCK;
  while (block < LARGEST_BLOCK && block < columns && columns % (2 * block) == 0) block *= 2;
  while (columns % block && block < columns) block *= 2; /* no whole blocks at all: one that covers a row */
  int64_t blocks = (columns + block - 1) / block, dims[2] = {rows, blocks};
  size_t n = (size_t)(rows * blocks);
  uint8_t flip = q.dtype == TERN_DTYPE_I8 ? 128 : 0, *zeros = NULL;
  tern__value_id in[4] = {m->q, ids, -1, -1}, out = graph->nodes[index].outputs[0], zero;
  int32_t node;
  TERN_TRY(zero_of(graph, m, &zero));
  float *scales = tern__arena_alloc_raw(graph->arena, n * sizeof *scales);
  TERN_CHECK_ALLOC(scales);
  for (size_t i = 0; i < n; i++)
    memcpy(&scales[i], (const char *)scale.data + (m->scales == 1 ? 0 : i / (size_t)blocks) * sizeof *scales,
           sizeof *scales);
  if (zero >= 0 || !flip) {
    const uint8_t *from = zero >= 0 ? graph->values[zero].data : NULL;
    zeros = tern__arena_alloc_raw(graph->arena, n);
    TERN_CHECK_ALLOC(zeros);
    for (size_t i = 0; i < n; i++) zeros[i] = from ? from[m->zeros == 1 ? 0 : i / (size_t)blocks] ^ flip : 0;
    TERN_TRY(tern__graph_add_constant(graph, "", TERN_DTYPE_U8, 2, dims, zeros, n, &in[3]));
  }
  TERN_TRY(tern__graph_add_constant(graph, "", TERN_DTYPE_F32, 2, dims, scales, n * sizeof *scales, &in[2]));
  if (flip) TERN_TRY(bytes_constant(graph, q.data, q.size_bytes, flip, 2, q.shape.dims, &in[0]));
  TERN_TRY(tern__pass_replace_node(graph, index, "GatherBlockQuantized", "com.microsoft", 1, in, zeros ? 4 : 3, &out, 1,
                                   &node));
  TERN_TRY(tern__node_set_int(graph, node, "bits", 8));
  TERN_TRY(tern__node_set_int(graph, node, "block_size", block));
  TERN_TRY(tern__node_set_int(graph, node, "gather_axis", 0));
  TERN_TRY(tern__node_set_int(graph, node, "quantize_axis", 1));
cleanup:
  return status;
}

static tern_status rewrite_gather(tern__graph *graph, int32_t index) {
  const tern__node *node = &graph->nodes[index];
  int64_t axis = tern__node_int(node, "axis", 0);
  channel_matrix m;
  if ((axis != 0 && axis != -2) || !match_matrix(graph, node->inputs[0], &m) || m.transposed || m.axis == 1)
    return TERN_OK;
  const tern__shape *shape = &graph->values[m.q].shape;
  if (shape->dims[0] < 1 || shape->dims[1] < 1 || shape->dims[1] > INT32_MAX) return TERN_OK;
  return add_table(graph, index, node->inputs[1], &m);
}

tern_status tern__pass_channel_weights(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  size_t n_nodes = tern__array_count(graph->nodes);
  for (size_t n = 0; n < n_nodes; n++) {
    const tern__node *node = &graph->nodes[n];
    if (node->dead) continue;
    TERN_TRY(tern__cancel_check(options->cancel, "rewriting int8 weights"));
    if (strcmp(node->op->name, "MatMul") == 0 || strcmp(node->op->name, "Gemm") == 0)
      TERN_TRY(rewrite_product(graph, (int32_t)n));
    else if (strcmp(node->op->name, "Gather") == 0) TERN_TRY(rewrite_gather(graph, (int32_t)n));
  }
cleanup:
  return status;
}
