/* com.microsoft MultiHeadAttention and Attention (which projects its input to Q, K and V first), as ONNX
 * Runtime's CPU kernels do them. MultiHeadAttention: query [B, S, H D], key, value [B, T, H D] or [B, H, T,
 * D], bias [2 H D + H Dv], key_padding_mask [B, T] or [B] (lengths), attention_bias, past_key, past_value.
 * Attention: input [B, S, I], weights [I, 3 H D], bias [3 H D], mask_index [B, P + S], [B] or [B, S, P + S],
 * past [2, B, H, P, D], attention_bias. */
#include <math.h>
#include <string.h>

#include "ops/attention_core.h"
#include "ops/elements.h"

typedef struct sizes {
  int64_t batch, heads, rows, fresh, past, keys, dim, v_dim;
  bool heads_first;
} sizes;

/* A padding mask as floats to add: mask_filter_value where a key is not to be seen. Fills [B, keys] or [B,
 * rows, keys]. */
static tern_status make_mask(const tern__op_call *call, int32_t input, const sizes *z, tern__attention *a,
                             float **out) {
  const tern__view *mask = &call->inputs[input];
  float filter = tern__node_float(call->node, "mask_filter_value", -10000.0f);
  size_t n = tern__view_count(mask), keys = (size_t)z->keys, batch = (size_t)z->batch;
  bool lengths = mask->shape.rank == 1 && n == batch, per_key = mask->shape.rank == 2 && n == batch * keys;
  bool per_row = mask->shape.rank == 3 && n == batch * (size_t)z->rows * keys;
  if (mask->dtype != TERN_DTYPE_I32) return tern__op_bad_type(call, input);
  if (!lengths && !per_key && !per_row)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "a mask of this shape is not supported");
  size_t count = per_row ? n : batch * keys;
  float *data = *out = tern__calloc(call->alloc, count + 1, sizeof *data);
  if (!data) return tern__op_fail(call, TERN_STATUS_OUT_OF_MEMORY, "out of memory for the mask");
  for (size_t i = 0; i < count; i++) {
    bool seen = lengths ? (int64_t)(i % keys) < tern__view_int(mask, i / keys) : tern__view_int(mask, i) != 0;
    data[i] = seen ? 0 : filter;
  }
  if (!per_row) a->key_bias = data;
  else a->bias = data, a->bias_step[0] = z->rows * z->keys, a->bias_step[2] = z->keys, a->bias_step[3] = 1;
  return TERN_OK;
}

static tern_status take_bias(const tern__op_call *call, int32_t input, const sizes *z, tern__attention *a) {
  tern__shape full = {4, {z->batch, z->heads, z->rows, z->keys}}, joined;
  if (a->bias)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "attention_bias beside a mask for every row");
  tern_status status = tern__op_broadcast(call, &full, &call->inputs[input].shape, &joined);
  if (status == TERN_OK && !tern__shape_equal(&full, &joined))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "attention_bias does not fit");
  tern__broadcast_strides(&call->inputs[input].shape, &full, a->bias_step);
  a->bias = call->inputs[input].data;
  return status;
}

/* rows [B, S, heads, dim] by `from` (+ bias per head and element) behind the past into [B, heads, keys, dim].
 */
static void join(const sizes *z, int64_t rows, const tern__heads *from, const float *bias,
                 const tern__heads *past, int64_t n_past, const tern__heads *to, int64_t dim) {
  for (int64_t b = 0; b < z->batch; b++)
    for (int64_t h = 0; h < z->heads; h++) {
      for (int64_t t = 0; t < n_past; t++)
        memcpy(tern__head_row(to, b, h, t), tern__head_row(past, b, h, t), (size_t)dim * sizeof(float));
      for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < dim; i++)
          tern__head_row(to, b, h, n_past + t)[i] =
              tern__head_row(from, b, h, t)[i] + (bias ? bias[h * dim + i] : 0);
    }
}

/* What sizes and attributes say; q, k and v are still to come. */
static tern__attention attention_of(const tern__op_call *call, const sizes *z) {
  tern__attention a = {.batch = z->batch,
                       .heads = z->heads,
                       .kv_heads = z->heads,
                       .rows = z->rows,
                       .keys = z->keys,
                       .dim = z->dim,
                       .v_dim = z->v_dim,
                       .causal = tern__node_int(call->node, "unidirectional", 0) != 0,
                       .ahead = z->past}; /* rows come after the past */
  a.scale = tern__node_float(call->node, "scale", 0);
  if (a.scale == 0) a.scale = 1.0f / sqrtf((float)z->dim);
  a.y = tern__heads_of_rows(call->outputs[0].data, z->rows, z->heads, z->v_dim);
  return a;
}

/* ------------------------------------------------------------------------------------------------
 * MultiHeadAttention */

enum { QUERY, KEY, VALUE, BIAS, PADDING, ATTENTION_BIAS, PAST_KEY, PAST_VALUE };

static tern_status mha_sizes(const tern__op_call *call, sizes *z) {
  const tern__shape *q = &call->inputs[QUERY].shape, *k = &call->inputs[KEY].shape,
                    *v = &call->inputs[VALUE].shape;
  *z = (sizes){.heads = tern__node_int(call->node, "num_heads", 0)};
  if (q->rank != 3 || (k->rank != 3 && k->rank != 4) || k->rank != v->rank)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "packed QKV or KV is not supported");
  z->heads_first = k->rank == 4, z->batch = q->dims[0], z->rows = q->dims[1];
  bool fits = z->heads > 0 && q->dims[2] % z->heads == 0 && q->dims[2] > 0 && k->dims[0] == z->batch &&
              v->dims[0] == z->batch;
  if (!fits)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "query, key and value do not fit num_heads");
  z->dim = q->dims[2] / z->heads, z->fresh = k->dims[z->heads_first ? 2 : 1];
  z->v_dim = z->heads_first ? v->dims[3] : v->dims[2] / z->heads;
  fits =
      z->heads_first
          ? k->dims[1] == z->heads && v->dims[1] == z->heads && k->dims[3] == z->dim && v->dims[2] == z->fresh
          : k->dims[2] == q->dims[2] && v->dims[2] == z->heads * z->v_dim && v->dims[1] == z->fresh;
  if (tern__has_input(call, BIAS))
    fits = fits && tern__view_count(&call->inputs[BIAS]) == (size_t)(z->heads * (2 * z->dim + z->v_dim));
  for (int32_t i = PAST_KEY; fits && i <= PAST_VALUE; i++) {
    if (tern__has_input(call, PAST_KEY) != tern__has_input(call, i)) fits = false;
    if (!fits || !tern__has_input(call, i)) continue;
    const tern__shape *p = &call->inputs[i].shape;
    fits = p->rank == 4 && p->dims[0] == z->batch && p->dims[1] == z->heads &&
           p->dims[3] == (i == PAST_KEY ? z->dim : z->v_dim) && (i == PAST_KEY || p->dims[2] == z->past);
    z->past = p->rank == 4 ? p->dims[2] : 0;
  }
  z->keys = z->past + z->fresh;
  return fits ? TERN_OK
              : tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH,
                              "query, key, value, bias and past do not fit num_heads");
}

static tern_status mha_infer(tern__op_call *call) {
  sizes z;
  if (!tern__has_input(call, KEY) || !tern__has_input(call, VALUE))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "packed QKV is not supported");
  for (int32_t i = 0; i < call->n_inputs; i++) {
    if (i > PAST_VALUE && tern__has_input(call, i))
      return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "a shared past buffer is not supported");
    if (i != PADDING && tern__has_input(call, i) && !tern__dtype_is_float(call->inputs[i].dtype))
      return tern__op_bad_type(call, i);
  }
  if (call->n_outputs > 3)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "the output qk is not supported");
  for (int32_t i = 0; i < call->n_outputs; i++) call->outputs[i].dtype = call->inputs[QUERY].dtype;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = mha_sizes(call, &z);
  if (status != TERN_OK) return status;
  call->outputs[0].shape = (tern__shape){3, {z.batch, z.rows, z.heads * z.v_dim}};
  for (int32_t i = 1; i < call->n_outputs; i++)
    call->outputs[i].shape = (tern__shape){4, {z.batch, z.heads, z.keys, i == 1 ? z.dim : z.v_dim}};
  return TERN_OK;
}

static tern_status mha_compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  sizes z;
  float *own[3] = {NULL, NULL, NULL}, *mask = NULL;
  TERN_TRY(mha_sizes(call, &z));
  if (call->inputs[QUERY].dtype != TERN_DTYPE_F32) TERN_TRY(tern__op_bad_type(call, QUERY));
  const float *bias = tern__has_input(call, BIAS) ? call->inputs[BIAS].data : NULL;
  tern__attention a = attention_of(call, &z);
  tern__heads *parts[3] = {&a.q, &a.k, &a.v};
  for (int32_t i = 0; i < 3; i++) {
    int64_t dim = i == 2 ? z.v_dim : z.dim, rows = i ? z.fresh : z.rows, past = i ? z.past : 0;
    float *to = i && tern__has_output(call, i) ? call->outputs[i].data : NULL;
    if (!to)
      to = own[i] =
          tern__calloc(call->alloc, (size_t)(z.batch * z.heads * (rows + past) * dim) + 1, sizeof *to);
    TERN_CHECK_ALLOC(to);
    tern__heads from = i && z.heads_first ? tern__heads_first(call->inputs[i].data, z.heads, rows, dim)
                                          : tern__heads_of_rows(call->inputs[i].data, rows, z.heads, dim);
    tern__heads old =
        tern__heads_first(past ? call->inputs[PAST_KEY + i - 1].data : NULL, z.heads, past, dim);
    *parts[i] = tern__heads_first(to, z.heads, rows + past, dim);
    join(&z, rows, &from, bias ? bias + i * z.heads * z.dim : NULL, &old, past, parts[i], dim);
  }
  if (tern__has_input(call, PADDING)) TERN_TRY(make_mask(call, PADDING, &z, &a, &mask));
  if (tern__has_input(call, ATTENTION_BIAS)) TERN_TRY(take_bias(call, ATTENTION_BIAS, &z, &a));
  TERN_TRY(tern__attention_run(call, &a));
cleanup:
  for (int i = 0; i < 3; i++) tern__free(call->alloc, own[i]);
  tern__free(call->alloc, mask);
  return status;
}
static tern_status mha_reference(tern__op_call *call) { return tern__op_plain(call, mha_compute); }

/* ------------------------------------------------------------------------------------------------ Attention
 */

enum { INPUT, WEIGHTS, WEIGHT_BIAS, MASK_INDEX, PAST, MS_ATTENTION_BIAS };

static tern_status ms_sizes(const tern__op_call *call, sizes *z, int64_t hidden[3]) {
  const tern__shape *x = &call->inputs[INPUT].shape, *w = &call->inputs[WEIGHTS].shape;
  size_t n;
  const int64_t *ints = tern__node_ints(call->node, "qkv_hidden_sizes", &n);
  *z = (sizes){.heads = tern__node_int(call->node, "num_heads", 0)};
  for (int i = 0; i < 3; i++) hidden[i] = ints && n == 3 ? ints[i] : w->rank == 2 ? w->dims[1] / 3 : 0;
  bool fits = x->rank == 3 && w->rank == 2 && z->heads > 0 && w->dims[0] == x->dims[2] && hidden[0] > 0 &&
              hidden[0] == hidden[1] && hidden[2] > 0 && hidden[0] < INT32_MAX && hidden[2] < INT32_MAX &&
              hidden[0] * 2 + hidden[2] == w->dims[1] && hidden[0] % z->heads == 0 &&
              hidden[2] % z->heads == 0;
  if (fits && tern__has_input(call, WEIGHT_BIAS))
    fits = tern__view_count(&call->inputs[WEIGHT_BIAS]) == (size_t)w->dims[1];
  if (!fits)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input, weights and bias do not fit num_heads");
  z->batch = x->dims[0], z->rows = z->fresh = x->dims[1], z->dim = hidden[0] / z->heads,
  z->v_dim = hidden[2] / z->heads;
  if (tern__has_input(call, PAST)) {
    const tern__shape *p = &call->inputs[PAST].shape;
    if (p->rank != 5 || p->dims[0] != 2 || p->dims[1] != z->batch || p->dims[2] != z->heads ||
        p->dims[4] != z->dim || z->dim != z->v_dim)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "past does not fit");
    z->past = p->dims[3];
  }
  z->keys = z->past + z->fresh;
  return TERN_OK;
}

static tern_status ms_infer(tern__op_call *call) {
  sizes z;
  int64_t hidden[3];
  if (tern__node_int(call->node, "do_rotary", 0) ||
      tern__node_int(call->node, "past_present_share_buffer", 0) || tern__has_input(call, 6))
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED,
                         "do_rotary and past_present_share_buffer are not supported");
  for (int32_t i = 0; i < call->n_inputs; i++)
    if (i != MASK_INDEX && tern__has_input(call, i) && !tern__dtype_is_float(call->inputs[i].dtype))
      return tern__op_bad_type(call, i);
  for (int32_t i = 0; i < call->n_outputs; i++) call->outputs[i].dtype = call->inputs[INPUT].dtype;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = ms_sizes(call, &z, hidden);
  if (status != TERN_OK) return status;
  call->outputs[0].shape = (tern__shape){3, {z.batch, z.rows, hidden[2]}};
  if (call->n_outputs > 1) call->outputs[1].shape = (tern__shape){5, {2, z.batch, z.heads, z.keys, z.dim}};
  return TERN_OK;
}

/* input [B S, I] times weights [I, width] plus bias. */
static void project(const tern__op_call *call, size_t rows, size_t width, float *y) {
  const float *x = call->inputs[INPUT].data, *w = call->inputs[WEIGHTS].data;
  const float *bias = tern__has_input(call, WEIGHT_BIAS) ? call->inputs[WEIGHT_BIAS].data : NULL;
  size_t inner = (size_t)call->inputs[INPUT].shape.dims[2];
  for (size_t r = 0; r < rows; r++) {
    for (size_t j = 0; j < width; j++) y[r * width + j] = bias ? bias[j] : 0;
    for (size_t e = 0; e < inner; e++)
      for (size_t j = 0; j < width; j++) y[r * width + j] += x[r * inner + e] * w[e * width + j];
  }
}

static tern_status ms_compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  sizes z;
  int64_t hidden[3];
  float *own[3] = {NULL, NULL, NULL}, *mask = NULL;
  TERN_TRY(ms_sizes(call, &z, hidden));
  if (call->inputs[INPUT].dtype != TERN_DTYPE_F32) TERN_TRY(tern__op_bad_type(call, INPUT));
  int64_t width = hidden[0] + hidden[1] + hidden[2];
  own[0] = tern__calloc(call->alloc, (size_t)(z.batch * z.rows * width) + 1, sizeof(float));
  TERN_CHECK_ALLOC(own[0]);
  project(call, (size_t)(z.batch * z.rows), (size_t)width, own[0]);
  tern__attention a = attention_of(call, &z);
  a.q = (tern__heads){own[0], z.rows * width, z.dim, width};
  for (int32_t i = 0; i < 2; i++) {
    int64_t dim = i ? z.v_dim : z.dim, count = z.batch * z.heads * z.keys * dim;
    float *to = tern__has_output(call, 1) ? (float *)call->outputs[1].data + i * count : NULL;
    if (!to) to = own[1 + i] = tern__calloc(call->alloc, (size_t)count + 1, sizeof *to);
    TERN_CHECK_ALLOC(to);
    tern__heads from = {own[0] + hidden[0] * (1 + i), z.rows * width, dim, width};
    tern__heads past = tern__heads_first(
        z.past ? (float *)call->inputs[PAST].data + i * z.batch * z.heads * z.past * dim : NULL, z.heads,
        z.past, dim);
    *(i ? &a.v : &a.k) = tern__heads_first(to, z.heads, z.keys, dim);
    join(&z, z.rows, &from, NULL, &past, z.past, i ? &a.v : &a.k, dim);
  }
  if (tern__has_input(call, MASK_INDEX)) TERN_TRY(make_mask(call, MASK_INDEX, &z, &a, &mask));
  if (tern__has_input(call, MS_ATTENTION_BIAS)) TERN_TRY(take_bias(call, MS_ATTENTION_BIAS, &z, &a));
  TERN_TRY(tern__attention_run(call, &a));
cleanup:
  for (int i = 0; i < 3; i++) tern__free(call->alloc, own[i]);
  tern__free(call->alloc, mask);
  return status;
}
static tern_status ms_reference(tern__op_call *call) { return tern__op_plain(call, ms_compute); }

static const tern__attr_def mha_attrs[] = {{"num_heads", TERN__ATTR_INT},
                                           {"mask_filter_value", TERN__ATTR_FLOAT},
                                           {"scale", TERN__ATTR_FLOAT},
                                           {"unidirectional", TERN__ATTR_INT},
                                           {NULL, 0}};
static const tern__attr_def ms_attrs[] = {{"num_heads", TERN__ATTR_INT},
                                          {"mask_filter_value", TERN__ATTR_FLOAT},
                                          {"scale", TERN__ATTR_FLOAT},
                                          {"unidirectional", TERN__ATTR_INT},
                                          {"qkv_hidden_sizes", TERN__ATTR_INTS},
                                          {"do_rotary", TERN__ATTR_INT},
                                          {"past_present_share_buffer", TERN__ATTR_INT},
                                          {"rotary_embedding_dim", TERN__ATTR_INT},
                                          {NULL, 0}};
const tern__op_def tern__op_multi_head_attention = {
    .name = "MultiHeadAttention", .domain = "com.microsoft", .since = 1, .min_inputs = 3, .max_inputs = 10,
    .min_outputs = 1, .max_outputs = 4, .attrs = mha_attrs, .infer = mha_infer, .reference = mha_reference};
const tern__op_def tern__op_ms_attention = {
    .name = "Attention", .domain = "com.microsoft", .since = 1, .min_inputs = 2, .max_inputs = 7,
    .min_outputs = 1, .max_outputs = 2, .attrs = ms_attrs, .infer = ms_infer, .reference = ms_reference};
