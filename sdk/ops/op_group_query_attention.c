/* com.microsoft GroupQueryAttention: causal attention with fewer key than query heads, rotary positions and a
 * cache that comes in as past_key/past_value and goes out, longer, as present_key/present_value. As ONNX
 * Runtime's CPU kernel does it with separate past and present buffers. Inputs: query [B, S, H D] (or Q, K, V
 * packed along the last dimension), key, value [B, S, Hkv D], past_key, past_value [B, Hkv, P, D], seqlens_k
 * [B] (keys in use minus 1), total_sequence_length, cos_cache, sin_cache [max, R / 2], position_ids,
 * attention_bias [B|1, H|1, S, T]. */
#include <math.h>
#include <string.h>

#include "ops/attention_core.h"
#include "ops/elements.h"

enum {
  QUERY,
  KEY,
  VALUE,
  PAST_KEY,
  PAST_VALUE,
  SEQLENS,
  TOTAL,
  COS,
  SIN,
  POSITIONS,
  BIAS,
  SINK,
  K_SCALE,
  V_SCALE
};

typedef struct gqa {
  int64_t batch, rows, heads, kv_heads, dim, past, total, present;
  bool packed, known;
} gqa;

static tern_status read_call(const tern__op_call *call, gqa *g) {
  const tern__shape *q = &call->inputs[QUERY].shape;
  char tq[96];
  *g = (gqa){.heads = tern__node_int(call->node, "num_heads", 0),
             .kv_heads = tern__node_int(call->node, "kv_num_heads", 0)};
  g->packed = !tern__has_input(call, KEY);
  if (g->heads < 1 || g->kv_heads < 1 || g->heads > INT32_MAX || g->heads % g->kv_heads)
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "num_heads must be a multiple of kv_num_heads");
  if (q->rank != 3)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "query must have three dimensions");
  g->batch = q->dims[0], g->rows = q->dims[1];
  int64_t slots = g->packed ? g->heads + 2 * g->kv_heads : g->heads;
  g->dim = q->dims[2] / slots;
  bool fits = g->dim > 0 && q->dims[2] == slots * g->dim;
  for (int32_t i = KEY; fits && !g->packed && i <= VALUE; i++) {
    const tern__shape *k = &call->inputs[i].shape;
    fits =
        k->rank == 3 && k->dims[0] == g->batch && k->dims[1] == g->rows && k->dims[2] == g->kv_heads * g->dim;
  }
  for (int32_t i = PAST_KEY; fits && tern__has_input(call, i) && i <= PAST_VALUE; i++) {
    const tern__shape *p = &call->inputs[i].shape;
    fits = p->rank == 4 && p->dims[0] == g->batch && p->dims[1] == g->kv_heads && p->dims[3] == g->dim &&
           (i == PAST_KEY || p->dims[2] == g->past);
    g->past = fits ? p->dims[2] : 0;
  }
  if (!fits || tern__view_count(&call->inputs[SEQLENS]) != (size_t)g->batch ||
      tern__view_count(&call->inputs[TOTAL]) != 1)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH,
                         "the inputs do not fit query %s with %lld and %lld heads",
                         tern__shape_text(q, tq, sizeof tq), (long long)g->heads, (long long)g->kv_heads);
  g->known = call->inputs[TOTAL].data != NULL;
  if (g->known) g->total = tern__view_int(&call->inputs[TOTAL], 0);
  if (g->known && (g->total < 1 || g->total > INT32_MAX || g->total < g->rows))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "total_sequence_length %lld is out of range",
                         (long long)g->total);
  g->present = g->past > g->total ? g->past : g->total;
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  tern_status status = TERN_OK;
  gqa g;
  if (tern__node_int(call->node, "smooth_softmax", 0) || tern__has_input(call, SINK))
    TERN_TRY(tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "smooth_softmax and head_sink are not supported"));
  if (tern__has_input(call, K_SCALE) || tern__has_input(call, V_SCALE) ||
      tern__node_int(call->node, "kv_cache_bit_width", 0))
    TERN_TRY(tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "a quantized cache is not supported"));
  if (tern__node_int(call->node, "qk_output", 0))
    TERN_TRY(tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "qk_output is not supported"));
  for (int32_t i = QUERY; i <= SINK; i++)
    if (tern__has_input(call, i) && (i == SEQLENS || i == TOTAL ? call->inputs[i].dtype != TERN_DTYPE_I32
                                     : i == POSITIONS           ? call->inputs[i].dtype != TERN_DTYPE_I64
                                                      : !tern__dtype_is_float(call->inputs[i].dtype)))
      TERN_TRY(tern__op_bad_type(call, i));
  if (tern__node_int(call->node, "do_rotary", 0) &&
      !(tern__has_input(call, COS) && tern__has_input(call, SIN)))
    TERN_TRY(tern__op_fail(call, TERN_STATUS_CORRUPT, "do_rotary needs cos_cache and sin_cache"));
  for (int32_t i = 0; i < call->n_outputs; i++) call->outputs[i].dtype = call->inputs[QUERY].dtype;
  if (!tern__op_inputs_known(call)) goto cleanup;
  TERN_TRY(read_call(call, &g));
  call->outputs[0].shape = (tern__shape){.rank = 3, .dims = {g.batch, g.rows, g.heads * g.dim}};
  for (int32_t i = 1; g.known && i < call->n_outputs; i++)
    call->outputs[i].shape = (tern__shape){.rank = 4, .dims = {g.batch, g.kv_heads, g.present, g.dim}};
cleanup:
  return status;
}

/* Copies the valid past and the new rows of one side of the cache. */
static void fill_present(const gqa *g, const tern__heads *fresh, const tern__heads *past,
                         const tern__heads *present, const int64_t *before) {
  for (int64_t b = 0; b < g->batch; b++)
    for (int64_t h = 0; h < g->kv_heads; h++) {
      int64_t kept = before[b] < g->past ? before[b] : g->past;
      for (int64_t p = 0; p < kept; p++)
        memcpy(tern__head_row(present, b, h, p), tern__head_row(past, b, h, p),
               (size_t)g->dim * sizeof(float));
      for (int64_t s = 0; s < g->rows && before[b] + s < g->present; s++)
        memcpy(tern__head_row(present, b, h, before[b] + s), tern__head_row(fresh, b, h, s),
               (size_t)g->dim * sizeof(float));
    }
}

static tern_status rotate_rows(const tern__op_call *call, const gqa *g, const tern__heads *from,
                               const tern__heads *to, int64_t heads, const int64_t *before,
                               const int64_t *length) {
  const tern__shape *table = &call->inputs[COS].shape;
  bool interleaved = tern__node_int(call->node, "rotary_interleaved", 0) != 0;
  if (table->rank != 2 || !tern__shape_equal(table, &call->inputs[SIN].shape) || 2 * table->dims[1] > g->dim)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the rotary tables do not fit");
  for (int64_t b = 0; b < g->batch; b++)
    for (int64_t s = 0; s < g->rows; s++) {
      int64_t position = before[b] + s < length[b] ? before[b] + s : 0; /* beyond: padding, whatever it holds
                                                                         */
      if (tern__has_input(call, POSITIONS))
        position = tern__view_int(&call->inputs[POSITIONS], (size_t)(b * g->rows + s));
      if (position < 0 || position >= table->dims[0])
        return tern__op_fail(call, TERN_STATUS_CONTEXT_FULL,
                             "position %lld is beyond the rotary tables' %lld", (long long)position,
                             (long long)table->dims[0]);
      for (int64_t h = 0; h < heads; h++)
        tern__rotate(tern__head_row(from, b, h, s), tern__head_row(to, b, h, s),
                     (const float *)call->inputs[COS].data + position * table->dims[1],
                     (const float *)call->inputs[SIN].data + position * table->dims[1], table->dims[1],
                     g->dim, interleaved);
    }
  return TERN_OK;
}

static tern_status read_lengths(const tern__op_call *call, const gqa *g, int64_t *before, int64_t *length) {
  for (int64_t b = 0; b < g->batch; b++) {
    length[b] = tern__view_int(&call->inputs[SEQLENS], (size_t)b) + 1;
    /* A first prompt may be padded on the right: its keys begin at 0 whatever the length. */
    before[b] = g->rows == g->total ? 0 : length[b] - g->rows;
    if (length[b] < 1 || length[b] > g->present || before[b] < 0 || before[b] > g->past)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "seqlens_k %lld is out of range",
                           (long long)length[b] - 1);
  }
  return TERN_OK;
}

static tern_status compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  gqa g;
  float *turned = NULL, *own[2] = {NULL, NULL};
  int64_t *lengths = NULL;
  TERN_TRY(read_call(call, &g));
  if (call->inputs[QUERY].dtype != TERN_DTYPE_F32) TERN_TRY(tern__op_bad_type(call, QUERY));
  int64_t dense = g.packed ? (g.heads + 2 * g.kv_heads) * g.dim : g.heads * g.dim,
          kv_dense = g.packed ? dense : g.kv_heads * g.dim;
  float *query = call->inputs[QUERY].data;
  tern__heads q = {query, g.rows * dense, g.dim, dense};
  tern__heads k = {g.packed ? query + g.heads * g.dim : (float *)call->inputs[KEY].data, g.rows * kv_dense,
                   g.dim, kv_dense},
              v = k;
  v.data = g.packed ? k.data + g.kv_heads * g.dim : (float *)call->inputs[VALUE].data;
  lengths = tern__calloc(call->alloc, 2 * (size_t)g.batch + 1, sizeof *lengths);
  TERN_CHECK_ALLOC(lengths);
  int64_t *before = lengths, *length = lengths + g.batch;
  TERN_TRY(read_lengths(call, &g, before, length));
  size_t q_count = (size_t)(g.batch * g.rows * g.heads * g.dim),
         kv_count = (size_t)(g.batch * g.rows * g.kv_heads * g.dim);
  if (tern__node_int(call->node, "do_rotary", 0)) {
    turned = tern__calloc(call->alloc, q_count + kv_count + 1, sizeof *turned);
    TERN_CHECK_ALLOC(turned);
    tern__heads q2 = tern__heads_of_rows(turned, g.rows, g.heads, g.dim);
    tern__heads k2 = tern__heads_of_rows(turned + q_count, g.rows, g.kv_heads, g.dim);
    TERN_TRY(rotate_rows(call, &g, &q, &q2, g.heads, before, length));
    TERN_TRY(rotate_rows(call, &g, &k, &k2, g.kv_heads, before, length));
    q = q2, k = k2;
  }
  tern__heads present[2];
  for (int32_t i = 0; i < 2; i++) {
    size_t count = (size_t)(g.batch * g.kv_heads * g.present * g.dim);
    bool out = tern__has_output(call, 1 + i), has_past = tern__has_input(call, PAST_KEY + i);
    if (!out) own[i] = tern__calloc(call->alloc, count + 1, sizeof(float));
    if (!out) TERN_CHECK_ALLOC(own[i]);
    if (out) memset(call->outputs[1 + i].data, 0, count * sizeof(float));
    present[i] = tern__heads_first(out ? call->outputs[1 + i].data : own[i], g.kv_heads, g.present, g.dim);
    tern__heads past =
        tern__heads_first(has_past ? call->inputs[PAST_KEY + i].data : NULL, g.kv_heads, g.past, g.dim);
    fill_present(&g, i ? &v : &k, &past, &present[i], before);
  }
  tern__attention a = {.batch = g.batch,
                       .heads = g.heads,
                       .kv_heads = g.kv_heads,
                       .rows = g.rows,
                       .keys = g.total,
                       .dim = g.dim,
                       .v_dim = g.dim,
                       .q = q,
                       .k = present[0],
                       .v = present[1],
                       .causal = true,
                       .past = before,
                       .length = length,
                       .y = tern__heads_of_rows(call->outputs[0].data, g.rows, g.heads, g.dim)};
  a.scale = tern__node_float(call->node, "scale", 0), a.softcap = tern__node_float(call->node, "softcap", 0);
  if (a.scale == 0) a.scale = 1.0f / sqrtf((float)g.dim);
  a.window = tern__node_int(call->node, "local_window_size", -1);
  if (tern__has_input(call, BIAS)) {
    tern__shape full = {.rank = 4, .dims = {g.batch, g.heads, g.rows, g.total}}, joined;
    TERN_TRY(tern__op_broadcast(call, &full, &call->inputs[BIAS].shape, &joined));
    if (!tern__shape_equal(&full, &joined))
      TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "attention_bias does not fit"));
    tern__broadcast_strides(&call->inputs[BIAS].shape, &full, a.bias_step);
    a.bias = call->inputs[BIAS].data;
  }
  TERN_TRY(tern__attention_run(call, &a));
cleanup:
  tern__free(call->alloc, turned);
  tern__free(call->alloc, own[0]);
  tern__free(call->alloc, own[1]);
  tern__free(call->alloc, lengths);
  return status;
}
static tern_status reference(tern__op_call *call) { return tern__op_plain(call, compute); }

static const tern__attr_def attrs[] = {{"do_rotary", TERN__ATTR_INT},
                                       {"kv_num_heads", TERN__ATTR_INT},
                                       {"num_heads", TERN__ATTR_INT},
                                       {"local_window_size", TERN__ATTR_INT},
                                       {"rotary_interleaved", TERN__ATTR_INT},
                                       {"scale", TERN__ATTR_FLOAT},
                                       {"softcap", TERN__ATTR_FLOAT},
                                       {"smooth_softmax", TERN__ATTR_INT},
                                       {"qk_output", TERN__ATTR_INT},
                                       {"kv_cache_bit_width", TERN__ATTR_INT},
                                       {"k_quant_type", TERN__ATTR_STRING},
                                       {"v_quant_type", TERN__ATTR_STRING},
                                       {NULL, 0}};
const tern__op_def tern__op_group_query_attention = {
    .name = "GroupQueryAttention", .domain = "com.microsoft", .since = 1, .min_inputs = 7,
    .optional_inputs = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4, .max_inputs = 14, .min_outputs = 1,
    .max_outputs = 4, .attrs = attrs, .infer = infer, .reference = reference};
