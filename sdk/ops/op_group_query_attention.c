/* com.microsoft.GroupQueryAttention as ONNX Runtime's CPU provider computes it with separate past and present buffers.
 * query [B,S,H*D] (or packed with key and value: [B,S,(H+2Hkv)*D]), key/value [B,S,Hkv*D], past [B,Hkv,P,D], seqlens_k [B] = total
 * length - 1 per sequence, total_sequence_length scalar, cos/sin caches [M,R/2]. present [B,Hkv,max(P,total),D].
 * A sequence's new rows start at position total - S (0 for a first prompt). Source: onnxruntime ContribOperators.md and
 * contrib_ops/cpu/bert/group_query_attention.cc. */
#include <math.h>
#include <string.h>

#include "ops/elements.h"

typedef struct gqa {
  int64_t batch, rows, heads, kv_heads, dim, past, total, present, window, rotary_half;
  float scale, softcap;
  bool packed, rotary, interleaved;
} gqa;

static tern_status read_sizes(const tern__op_call *call, gqa *g, bool *known) {
  const tern__shape *q = &call->inputs[0].shape;
  memset(g, 0, sizeof *g);
  if (!tern__has_input(call, 5) || !tern__has_input(call, 6))
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "seqlens_k or total_sequence_length is missing");
  g->heads = tern__node_int(call->node, "num_heads", 0), g->kv_heads = tern__node_int(call->node, "kv_num_heads", 0);
  g->packed = !tern__has_input(call, 1);
  g->rotary = tern__node_int(call->node, "do_rotary", 0) != 0;
  g->interleaved = tern__node_int(call->node, "rotary_interleaved", 0) != 0;
  g->window = tern__node_int(call->node, "local_window_size", -1);
  g->softcap = tern__node_float(call->node, "softcap", 0.0f);
  if (g->heads < 1 || g->kv_heads < 1 || g->heads % g->kv_heads)
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "num_heads %lld must be a multiple of kv_num_heads %lld", (long long)g->heads, (long long)g->kv_heads);
  static const char *const unsupported[] = {"smooth_softmax", "k_quant_type", "v_quant_type", "qk_output"};
  for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
    if (tern__node_int(call->node, unsupported[i], 0) > 0) return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "%s is not supported", unsupported[i]);
  for (int32_t i = 9; i < call->n_inputs; i++)
    if (tern__has_input(call, i)) return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "input %d (position_ids, attention_bias, head_sink) is not supported", i);
  *known = tern__op_inputs_known(call);
  if (!*known) return TERN_OK;
  if (q->rank != 3) return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "query must have three dimensions");
  int64_t width = g->packed ? g->heads + 2 * g->kv_heads : g->heads;
  g->batch = q->dims[0], g->rows = q->dims[1], g->dim = q->dims[2] / width;
  if (g->dim < 1 || g->dim * width != q->dims[2]) return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "query's width is no multiple of the heads");
  for (int32_t i = 1; i < 3 && !g->packed; i++) {
    const tern__shape *k = &call->inputs[i].shape;
    if (!tern__has_input(call, i) || k->rank != 3 || k->dims[0] != g->batch || k->dims[1] != g->rows || k->dims[2] != g->dim * g->kv_heads)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d does not fit query and kv_num_heads", i);
  }
  g->scale = tern__node_float(call->node, "scale", 0.0f);
  if (g->scale == 0.0f) g->scale = (float)(1.0 / sqrt((double)g->dim));
  for (int32_t i = 3; i < 5; i++) {
    const tern__shape *p = &call->inputs[i].shape;
    if (tern__has_input(call, i) && (p->rank != 4 || p->dims[0] != g->batch || p->dims[1] != g->kv_heads || p->dims[3] != g->dim))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d (past) does not fit the heads", i);
  }
  g->past = tern__has_input(call, 3) ? call->inputs[3].shape.dims[2] : 0;
  if (tern__view_count(&call->inputs[5]) != (size_t)g->batch || tern__view_count(&call->inputs[6]) != 1)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "seqlens_k or total_sequence_length has the wrong size");
  g->total = call->inputs[6].data ? tern__view_int(&call->inputs[6], 0) : g->past + g->rows;
  if (g->total < g->rows || g->total > INT32_MAX) return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "total_sequence_length is %lld", (long long)g->total);
  g->present = g->total > g->past ? g->total : g->past;
  if (g->rotary) {
    if (!tern__has_input(call, 7) || !tern__has_input(call, 8)) return tern__op_fail(call, TERN_STATUS_CORRUPT, "do_rotary needs cos and sin caches");
    const tern__shape *c = &call->inputs[7].shape;
    if (c->rank != 2 || !tern__shape_equal(c, &call->inputs[8].shape) || 2 * c->dims[1] > g->dim || c->dims[0] < g->total)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the cos and sin caches do not cover %lld positions of heads of %lld",
                           (long long)g->total, (long long)g->dim);
    g->rotary_half = c->dims[1];
  }
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  gqa g;
  bool known;
  tern_status status = read_sizes(call, &g, &known);
  for (int32_t i = 0; i < call->n_outputs; i++) call->outputs[i].dtype = call->inputs[0].dtype;
  if (status != TERN_OK || !known) return status;
  call->outputs[0].shape = (tern__shape){3, {g.batch, g.rows, g.heads * g.dim}};
  for (int32_t i = 1; i < call->n_outputs && i < 3; i++) call->outputs[i].shape = (tern__shape){4, {g.batch, g.kv_heads, g.present, g.dim}};
  return TERN_OK;
}

static void rotate(const tern__op_call *call, const gqa *g, int64_t position, const float *x, float *y) {
  memcpy(y, x, (size_t)g->dim * sizeof *y);
  for (int64_t i = 0; i < g->rotary_half; i++) {
    size_t at = (size_t)(position * g->rotary_half + i);
    float c = (float)tern__view_real(&call->inputs[7], at), s = (float)tern__view_real(&call->inputs[8], at);
    int64_t a = g->interleaved ? 2 * i : i, b = g->interleaved ? 2 * i + 1 : i + g->rotary_half;
    y[a] = x[a] * c - x[b] * s;
    y[b] = x[b] * c + x[a] * s;
  }
}

/* Head h of row s of query (part 0), key (1) or value (2). */
static const float *head_of(const tern__op_call *call, const gqa *g, int part, int64_t b, int64_t s, int64_t h) {
  if (!g->packed) return (const float *)call->inputs[part].data + ((b * g->rows + s) * (part ? g->kv_heads : g->heads) + h) * g->dim;
  int64_t before = part == 0 ? 0 : part == 1 ? g->heads : g->heads + g->kv_heads;
  return (const float *)call->inputs[0].data + ((b * g->rows + s) * (g->heads + 2 * g->kv_heads) + before + h) * g->dim;
}

static void attend(const gqa *g, const float *q, const float *k, const float *v, int64_t first, int64_t last, float *scores, float *out) {
  float max = -INFINITY, sum = 0;
  for (int64_t t = first; t <= last; t++) {
    float dot = 0;
    for (int64_t d = 0; d < g->dim; d++) dot += q[d] * k[t * g->dim + d];
    dot *= g->scale;
    if (g->softcap > 0) dot = g->softcap * tanhf(dot / g->softcap);
    scores[t] = dot;
    if (dot > max) max = dot;
  }
  memset(out, 0, (size_t)g->dim * sizeof *out);
  for (int64_t t = first; t <= last; t++) {
    float p = expf(scores[t] - max);
    sum += p;
    for (int64_t d = 0; d < g->dim; d++) out[d] += p * v[t * g->dim + d];
  }
  for (int64_t d = 0; d < g->dim; d++) out[d] /= sum;
}

static tern_status compute(tern__op_call *call) {
  tern_status status = TERN_OK;
  gqa g;
  bool known;
  float *scratch = NULL, *own[2] = {NULL, NULL}, *present[2];
  TERN_TRY(read_sizes(call, &g, &known));
  size_t kv_size = (size_t)(g.batch * g.kv_heads * g.present * g.dim);
  for (int i = 0; i < 2; i++) {
    present[i] = tern__has_output(call, i + 1) ? call->outputs[i + 1].data : (own[i] = tern__malloc(call->alloc, kv_size * sizeof(float)));
    TERN_CHECK_ALLOC(present[i]);
    memset(present[i], 0, kv_size * sizeof(float));
  }
  scratch = tern__malloc(call->alloc, (size_t)(g.present + g.dim) * sizeof *scratch);
  TERN_CHECK_ALLOC(scratch);
  for (int64_t b = 0; b < g.batch; b++) {
    int64_t total = tern__view_int(&call->inputs[5], (size_t)b) + 1, begin = g.total > g.rows ? total - g.rows : 0;
    if (total < 0 || total > g.present || begin < 0 || begin > g.past)
      TERN_TRY(tern__op_fail(call, TERN_STATUS_INVALID_ARGUMENT, "seqlens_k[%lld] + 1 = %lld does not fit %lld past and %lld new positions",
                             (long long)b, (long long)total, (long long)g.past, (long long)g.rows));
    for (int64_t h = 0; h < g.kv_heads; h++) {
      size_t at = (size_t)((b * g.kv_heads + h) * g.present * g.dim), from = (size_t)((b * g.kv_heads + h) * g.past * g.dim);
      for (int i = 0; i < 2; i++) {
        if (begin) memcpy(present[i] + at, (const float *)call->inputs[3 + i].data + from, (size_t)(begin * g.dim) * sizeof(float));
        for (int64_t s = 0; s < g.rows && begin + s < g.present; s++) {
          float *to = present[i] + at + (size_t)((begin + s) * g.dim);
          const float *x = head_of(call, &g, i + 1, b, s, h);
          if (i == 0 && g.rotary) rotate(call, &g, begin + s, x, to);
          else memcpy(to, x, (size_t)g.dim * sizeof *to);
        }
      }
    }
    for (int64_t h = 0; h < g.heads; h++) {
      size_t at = (size_t)((b * g.kv_heads + h / (g.heads / g.kv_heads)) * g.present * g.dim);
      for (int64_t s = 0; s < g.rows; s++) {
        int64_t position = begin + s, first = g.window > 0 && position >= g.window ? position - g.window + 1 : 0;
        float *out = (float *)call->outputs[0].data + ((b * g.rows + s) * g.heads + h) * g.dim, *q = scratch + g.present;
        if (g.rotary) rotate(call, &g, position, head_of(call, &g, 0, b, s, h), q);
        else memcpy(q, head_of(call, &g, 0, b, s, h), (size_t)g.dim * sizeof *q);
        attend(&g, q, present[0] + at, present[1] + at, first, position, scratch, out);
      }
    }
  }
cleanup:
  tern__free(call->alloc, scratch);
  tern__free(call->alloc, own[0]);
  tern__free(call->alloc, own[1]);
  return status;
}

static tern_status reference(tern__op_call *call) { return tern__op_plain(call, compute); }

static const tern__attr_def attrs[] = {
    {"num_heads", TERN__ATTR_INT}, {"kv_num_heads", TERN__ATTR_INT}, {"scale", TERN__ATTR_FLOAT}, {"softcap", TERN__ATTR_FLOAT},
    {"do_rotary", TERN__ATTR_INT}, {"rotary_interleaved", TERN__ATTR_INT}, {"local_window_size", TERN__ATTR_INT},
    {"smooth_softmax", TERN__ATTR_INT}, {"qk_output", TERN__ATTR_INT}, {"k_quant_type", TERN__ATTR_INT}, {"v_quant_type", TERN__ATTR_INT}, {NULL, 0}};

const tern__op_def tern__op_group_query_attention = {
    .name = "GroupQueryAttention", .domain = "com.microsoft", .since = 1, .min_inputs = 1, .max_inputs = 14, .min_outputs = 1, .max_outputs = 4,
    .attrs = attrs, .infer = infer, .reference = reference};
