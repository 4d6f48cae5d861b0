/* Attention (ONNX 23 on): Q, K, V as [B, S, N D] or [B, N, S, D], a mask, a cache that comes and goes (past,
 * present), or the lengths of keys that a static cache holds. Query heads share key heads in groups. Source:
 * ONNX's operator text and onnx/reference/ops/op_attention.py. */
#include <math.h>
#include <string.h>

#include "ops/attention_core.h"
#include "ops/elements.h"

enum { Q, K, V, MASK, PAST_KEY, PAST_VALUE, LENGTHS };

typedef struct sizes {
  int64_t batch, heads, kv_heads, rows, fresh, past, keys, dim, v_dim;
  bool heads_first;
} sizes;

static tern_status read_sizes(const tern__op_call *call, sizes *z) {
  const tern__shape *q = &call->inputs[Q].shape, *k = &call->inputs[K].shape, *v = &call->inputs[V].shape;
  *z = (sizes){.heads = tern__node_int(call->node, "q_num_heads", 0),
               .kv_heads = tern__node_int(call->node, "kv_num_heads", 0)};
  z->heads_first = q->rank == 4;
  if (q->rank != k->rank || q->rank != v->rank || (q->rank != 3 && q->rank != 4))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH,
                         "Q, K and V must all have three or all four dimensions");
  z->batch = q->dims[0];
  if (z->heads_first) {
    z->heads = q->dims[1], z->kv_heads = k->dims[1], z->rows = q->dims[2], z->fresh = k->dims[2],
    z->dim = q->dims[3], z->v_dim = v->dims[3];
  } else if (z->heads > 0 && z->kv_heads > 0) {
    z->rows = q->dims[1], z->fresh = k->dims[1], z->dim = q->dims[2] / z->heads,
    z->v_dim = v->dims[2] / z->kv_heads;
  }
  bool fits = z->heads > 0 && z->kv_heads > 0 && z->heads % z->kv_heads == 0 && k->dims[0] == z->batch &&
              v->dims[0] == z->batch;
  if (fits && z->heads_first)
    fits = v->dims[1] == z->kv_heads && v->dims[2] == z->fresh && k->dims[3] == z->dim;
  else if (fits)
    fits = q->dims[2] == z->heads * z->dim && k->dims[2] == z->kv_heads * z->dim &&
           v->dims[2] == z->kv_heads * z->v_dim && v->dims[1] == z->fresh;
  for (int32_t i = PAST_KEY; fits && i <= PAST_VALUE; i++) {
    if (tern__has_input(call, PAST_KEY) != tern__has_input(call, i)) fits = false;
    if (!fits || !tern__has_input(call, i)) continue;
    const tern__shape *p = &call->inputs[i].shape;
    fits = p->rank == 4 && p->dims[0] == z->batch && p->dims[1] == z->kv_heads &&
           p->dims[3] == (i == PAST_KEY ? z->dim : z->v_dim) && (i == PAST_KEY || p->dims[2] == z->past);
    z->past = p->rank == 4 ? p->dims[2] : 0;
  }
  z->keys = z->past + z->fresh;
  return fits ? TERN_OK
              : tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "Q, K, V and the cache do not fit the heads");
}

static tern_status infer(tern__op_call *call) {
  sizes z;
  for (int32_t i = Q; i < call->n_inputs; i++)
    if (tern__has_input(call, i) &&
        !(i == LENGTHS ? call->inputs[i].dtype == TERN_DTYPE_I64
                       : tern__dtype_is_float(call->inputs[i].dtype) ||
                             (i == MASK && call->inputs[i].dtype == TERN_DTYPE_BOOL)))
      return tern__op_bad_type(call, i);
  int64_t mode = tern__node_int(call->node, "qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3)
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "qk_matmul_output_mode %lld", (long long)mode);
  for (int32_t i = 0; i < call->n_outputs; i++) call->outputs[i].dtype = call->inputs[i == 2 ? V : Q].dtype;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = read_sizes(call, &z);
  if (status != TERN_OK) return status;
  tern__shape *y = &call->outputs[0].shape;
  *y = call->inputs[Q].shape;
  y->dims[y->rank - 1] = z.heads_first ? z.v_dim : z.heads * z.v_dim;
  for (int32_t i = 1; i < call->n_outputs; i++)
    call->outputs[i].shape = i == 3
                                 ? (tern__shape){4, {z.batch, z.heads, z.rows, z.keys}}
                                 : (tern__shape){4, {z.batch, z.kv_heads, z.keys, i == 1 ? z.dim : z.v_dim}};
  return TERN_OK;
}

static tern__heads heads_of(const sizes *z, void *data, int64_t heads, int64_t rows, int64_t dim) {
  return z->heads_first ? tern__heads_first(data, heads, rows, dim)
                        : tern__heads_of_rows(data, rows, heads, dim);
}

/* The mask as floats to add, its last dimension as long as the keys: what is not given is not seen. */
static tern_status make_mask(const tern__op_call *call, const sizes *z, tern__attention *a, float **out) {
  const tern__view *mask = &call->inputs[MASK];
  tern__shape full = {4, {z->batch, z->heads, z->rows, z->keys}}, own = mask->shape, joined;
  if (own.rank < 1 || own.dims[own.rank - 1] > z->keys)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the mask does not fit");
  size_t given = (size_t)own.dims[own.rank - 1], width = given == 1 && z->keys != 1 ? 1 : (size_t)z->keys;
  size_t rows = tern__dims_product(&own, 0, own.rank - 1);
  own.dims[own.rank - 1] = (int64_t)width;
  tern_status status = tern__op_broadcast(call, &full, &own, &joined);
  if (status != TERN_OK) return status;
  if (!tern__shape_equal(&full, &joined))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the mask does not fit");
  float *data = *out = tern__calloc(call->alloc, rows * width + 1, sizeof *data);
  if (!data) return tern__op_fail(call, TERN_STATUS_OUT_OF_MEMORY, "out of memory for the mask");
  for (size_t r = 0; r < rows; r++)
    for (size_t j = 0; j < width; j++) {
      double value = j < given ? tern__view_real(mask, r * given + j) : -INFINITY;
      if (mask->dtype == TERN_DTYPE_BOOL) value = j < given && value != 0 ? 0 : -INFINITY;
      data[r * width + j] = (float)value;
    }
  tern__broadcast_strides(&own, &full, a->bias_step);
  a->bias = data;
  return TERN_OK;
}

/* Past and new rows, one after the other, [B, N, keys, dim]. */
static void join(const sizes *z, const tern__op_call *call, int32_t past, const tern__heads *fresh,
                 const tern__heads *to, int64_t dim) {
  tern__heads old = tern__heads_first(z->past ? call->inputs[past].data : NULL, z->kv_heads, z->past, dim);
  for (int64_t b = 0; b < z->batch; b++)
    for (int64_t h = 0; h < z->kv_heads; h++)
      for (int64_t t = 0; t < z->keys; t++)
        memcpy(tern__head_row(to, b, h, t),
               t < z->past ? tern__head_row(&old, b, h, t) : tern__head_row(fresh, b, h, t - z->past),
               (size_t)dim * sizeof(float));
}

static tern_status compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  sizes z;
  float *mask = NULL, *own[2] = {NULL, NULL};
  int64_t *lengths = NULL;
  TERN_TRY(read_sizes(call, &z));
  if (call->inputs[Q].dtype != TERN_DTYPE_F32) TERN_TRY(tern__op_bad_type(call, Q));
  int64_t left = tern__node_int(call->node, "left_window_size", -1),
          right = tern__node_int(call->node, "right_window_size", -1);
  bool causal = tern__node_int(call->node, "is_causal", 0) != 0;
  tern__attention a = {.batch = z.batch,
                       .heads = z.heads,
                       .kv_heads = z.kv_heads,
                       .rows = z.rows,
                       .keys = z.keys,
                       .dim = z.dim,
                       .v_dim = z.v_dim,
                       .causal = causal || right >= 0,
                       .ahead = causal ? 0 : right,
                       .window = left >= 0 ? left + 1 : 0};
  a.q = heads_of(&z, call->inputs[Q].data, z.heads, z.rows, z.dim);
  a.y = heads_of(&z, call->outputs[0].data, z.heads, z.rows, z.v_dim);
  a.scale = tern__node_float(call->node, "scale", 0), a.softcap = tern__node_float(call->node, "softcap", 0);
  if (!tern__node_attr(call->node, "scale")) a.scale = 1.0f / sqrtf((float)z.dim);
  tern__heads *sides[2] = {&a.k, &a.v};
  for (int32_t i = 0; i < 2; i++) {
    int64_t dim = i ? z.v_dim : z.dim;
    tern__heads fresh = heads_of(&z, call->inputs[K + i].data, z.kv_heads, z.fresh, dim);
    float *to = tern__has_output(call, 1 + i) ? call->outputs[1 + i].data : NULL;
    if (!to)
      to = own[i] = tern__calloc(call->alloc, (size_t)(z.batch * z.kv_heads * z.keys * dim) + 1, sizeof *to);
    TERN_CHECK_ALLOC(to);
    *sides[i] = tern__heads_first(to, z.kv_heads, z.keys, dim);
    join(&z, call, PAST_KEY + i, &fresh, sides[i], dim);
  }
  if (tern__has_input(call, MASK)) TERN_TRY(make_mask(call, &z, &a, &mask));
  lengths = tern__calloc(call->alloc, 2 * (size_t)z.batch + 1, sizeof *lengths);
  TERN_CHECK_ALLOC(lengths);
  if (tern__has_input(call, LENGTHS) && tern__view_count(&call->inputs[LENGTHS]) != (size_t)z.batch)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "nonpad_kv_seqlen must have one entry a batch"));
  for (int64_t b = 0; b < z.batch; b++) {
    int64_t used =
        tern__has_input(call, LENGTHS) ? tern__view_int(&call->inputs[LENGTHS], (size_t)b) : z.keys;
    if (used < 0 || used > z.keys)
      TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "nonpad_kv_seqlen is out of range"));
    lengths[b] = tern__has_input(call, LENGTHS) ? used - z.rows : z.past, lengths[z.batch + b] = used;
  }
  a.past = lengths, a.length = lengths + z.batch;
  if (tern__has_output(call, 3))
    a.scores_out = call->outputs[3].data,
    a.scores_mode = (int32_t)tern__node_int(call->node, "qk_matmul_output_mode", 0);
  TERN_TRY(tern__attention_run(call, &a));
cleanup:
  tern__free(call->alloc, mask);
  tern__free(call->alloc, own[0]);
  tern__free(call->alloc, own[1]);
  tern__free(call->alloc, lengths);
  return status;
}
static tern_status reference(tern__op_call *call) { return tern__op_plain(call, compute); }

/* softmax_precision asks for at most float32 of what is computed in float32 anyway. */
static const tern__attr_def attrs[] = {
    {"is_causal", TERN__ATTR_INT},         {"kv_num_heads", TERN__ATTR_INT},
    {"q_num_heads", TERN__ATTR_INT},       {"qk_matmul_output_mode", TERN__ATTR_INT},
    {"scale", TERN__ATTR_FLOAT},           {"softcap", TERN__ATTR_FLOAT},
    {"softmax_precision", TERN__ATTR_INT}, {"left_window_size", TERN__ATTR_INT},
    {"right_window_size", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_attention = {
    .name = "Attention", .domain = "", .since = 23, .min_inputs = 3, .max_inputs = 7, .min_outputs = 1,
    .max_outputs = 4, .attrs = attrs, .infer = infer, .reference = reference};
