/* tern.KvAttention: causal attention over a session's KV cache, with grouped heads, rotary positions, a
 * sliding window and a soft cap. Inputs q [B, S, H D], k and v [B, S, Hkv D], cos and sin [P, R/2] (optional:
 * no rotation); output [B, S, H D]. Row s of sequence b is position past[b] + s; its rotated K and its V
 * enter the cache as float16, and all of the sequence's rows, new ones too, are read from there. Rows from
 * fresh[b] on are padding: zeros, nothing stored. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "ir/op.h"

typedef struct attention {
  int64_t batch, rows, heads, kv_heads, dim, rotary_half, positions, window;
  float scale, softcap;
  bool interleaved;
  const float *cos, *sin;
} attention;

/* Fills what the shapes say; false where they are not known yet. */
static tern_status read_sizes(const tern__op_call *call, attention *a, bool *known) {
  const tern__shape *q = &call->inputs[0].shape, *k = &call->inputs[1].shape, *v = &call->inputs[2].shape;
  a->heads = tern__node_int(call->node, "num_heads", 0),
  a->kv_heads = tern__node_int(call->node, "kv_num_heads", 0);
  *known = q->rank >= 0 && k->rank >= 0 && v->rank >= 0;
  if (a->heads < 1 || a->kv_heads < 1 || a->heads % a->kv_heads)
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "num_heads %lld must be a multiple of kv_num_heads %lld",
                         (long long)a->heads, (long long)a->kv_heads);
  for (int i = 0; i < 3; i++)
    if (call->inputs[i].dtype != TERN_DTYPE_F32)
      return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "input %d of type %s", i,
                           tern_dtype_name(call->inputs[i].dtype));
  if (!*known) return TERN_OK;
  if (q->rank != 3 || k->rank != 3 || v->rank != 3)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "q, k and v must have three dimensions");
  a->batch = q->dims[0], a->rows = q->dims[1], a->dim = q->dims[2] / a->heads;
  *known = tern__shape_known(q) && tern__shape_known(k) && tern__shape_known(v);
  if (!*known) return TERN_OK;
  char tq[96], tk[96];
  if (a->dim < 1 || q->dims[2] != a->dim * a->heads || k->dims[2] != a->dim * a->kv_heads ||
      k->dims[0] != a->batch || k->dims[1] != a->rows || !tern__shape_equal(k, v))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "q %s and k %s do not fit %lld and %lld heads",
                         tern__shape_text(q, tq, sizeof tq), tern__shape_text(k, tk, sizeof tk),
                         (long long)a->heads, (long long)a->kv_heads);
  if (tern__has_input(call, 3) != tern__has_input(call, 4))
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "cos without sin");
  if (tern__has_input(call, 3)) {
    const tern__shape *c = &call->inputs[3].shape;
    if (c->rank != 2 || !tern__shape_equal(c, &call->inputs[4].shape) || c->dims[1] < 1 ||
        2 * c->dims[1] > a->dim)
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "rotary tables %s do not fit heads of %lld",
                           tern__shape_text(c, tq, sizeof tq), (long long)a->dim);
    a->positions = c->dims[0], a->rotary_half = c->dims[1];
  }
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  attention a = {0};
  bool known;
  call->outputs[0].dtype = TERN_DTYPE_F32;
  call->outputs[0].shape = call->inputs[0].shape;
  return read_sizes(call, &a, &known);
}

static void rotate(const attention *a, int64_t position, const float *x, float *y) {
  memcpy(y, x, (size_t)a->dim * sizeof *y);
  for (int64_t i = 0; i < a->rotary_half; i++) {
    int64_t p = a->interleaved ? 2 * i : i, r = a->interleaved ? p + 1 : i + a->rotary_half;
    float cos, sin; /* tables in a file may lie at any address */
    memcpy(&cos, a->cos + position * a->rotary_half + i, sizeof cos);
    memcpy(&sin, a->sin + position * a->rotary_half + i, sizeof sin);
    y[p] = x[p] * cos - x[r] * sin;
    y[r] = x[r] * cos + x[p] * sin;
  }
}

static uint16_t *cache_row(const tern__kv_cache *kv, uint16_t **side, int64_t layer, int64_t b, int64_t head,
                           int64_t position) {
  return side[layer] + (((size_t)b * (size_t)kv->kv_heads[layer] + (size_t)head) * (size_t)kv->capacity +
                        (size_t)position) *
                           (size_t)kv->head_dim[layer];
}

static void store(const attention *a, const tern__op_call *call, int64_t layer, int64_t b, int64_t row,
                  float *turned) {
  int64_t position = call->kv->past[b] + row;
  for (int64_t h = 0; h < a->kv_heads; h++) {
    size_t at = (size_t)(((b * a->rows + row) * a->kv_heads + h) * a->dim);
    const float *k = (const float *)call->inputs[1].data + at, *v = (const float *)call->inputs[2].data + at;
    uint16_t *k_out = cache_row(call->kv, call->kv->k, layer, b, h, position);
    uint16_t *v_out = cache_row(call->kv, call->kv->v, layer, b, h, position);
    rotate(a, position, k, turned);
    for (int64_t i = 0; i < a->dim; i++)
      k_out[i] = tern__f32_to_f16(turned[i]), v_out[i] = tern__f32_to_f16(v[i]);
  }
}

/* One query against the keys first .. position; scores has room for them. */
static void attend(const attention *a, const tern__kv_cache *kv, int64_t layer, int64_t b, int64_t kv_head,
                   int64_t position, const float *q, float *scores, float *y) {
  int64_t first = a->window > 0 && position >= a->window ? position - a->window + 1 : 0;
  float top = -INFINITY, sum = 0;
  for (int64_t j = first; j <= position; j++) {
    const uint16_t *k = cache_row(kv, kv->k, layer, b, kv_head, j);
    float dot = 0;
    for (int64_t i = 0; i < a->dim; i++) dot += q[i] * tern__f16_to_f32(k[i]);
    dot *= a->scale;
    if (a->softcap > 0) dot = a->softcap * tanhf(dot / a->softcap);
    scores[j] = dot;
    if (dot > top) top = dot;
  }
  memset(y, 0, (size_t)a->dim * sizeof *y);
  for (int64_t j = first; j <= position; j++) sum += scores[j] = expf(scores[j] - top);
  for (int64_t j = first; j <= position; j++) {
    const uint16_t *v = cache_row(kv, kv->v, layer, b, kv_head, j);
    float p = scores[j] / sum;
    for (int64_t i = 0; i < a->dim; i++) y[i] += p * tern__f16_to_f32(v[i]);
  }
}

static tern_status read_call(const tern__op_call *call, attention *a, int64_t layer) {
  tern_status status = TERN_OK;
  bool known;
  const tern__kv_cache *kv = call->kv;
  TERN_TRY(read_sizes(call, a, &known));
  if (!known) TERN_FAIL(TERN_STATUS_INTERNAL, "KvAttention: shapes are not known");
  a->scale = tern__node_float(call->node, "scale", 0),
  a->softcap = tern__node_float(call->node, "softcap", 0);
  if (a->scale == 0) a->scale = 1.0f / sqrtf((float)a->dim);
  a->window = tern__node_int(call->node, "local_window", -1);
  a->interleaved = tern__node_int(call->node, "rotary_interleaved", 0) != 0;
  if (a->rotary_half) a->cos = call->inputs[3].data, a->sin = call->inputs[4].data;
  if (!kv || layer < 0 || layer >= kv->n_layers || kv->kv_heads[layer] != a->kv_heads ||
      kv->head_dim[layer] != a->dim || kv->batch < a->batch)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_INVALID_STATE, "the session has no KV cache for layer %lld",
                           (long long)layer));
  for (int64_t b = 0; b < a->batch; b++) {
    int64_t end = (int64_t)kv->past[b] + kv->fresh[b];
    if (a->rotary_half && end > a->positions && end <= kv->capacity)
      TERN_TRY(tern__op_fail(call, TERN_STATUS_CONTEXT_FULL, "%lld positions: the model's rotary table has %lld",
                             (long long)end, (long long)a->positions));
    if (kv->fresh[b] > a->rows || end > kv->capacity)
      TERN_TRY(tern__op_fail(call, TERN_STATUS_CONTEXT_FULL, "%lld positions do not fit a context of %d",
                             (long long)end, kv->capacity));
  }
cleanup:
  return status;
}

static tern_status reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  attention a = {0};
  float *turned = NULL, *scores = NULL;
  int64_t layer = tern__node_int(call->node, "layer", -1);
  TERN_TRY(read_call(call, &a, layer));
  turned = tern__calloc(call->alloc, (size_t)a.dim, sizeof *turned);
  scores = tern__calloc(call->alloc, (size_t)call->kv->capacity, sizeof *scores);
  TERN_CHECK_ALLOC(turned);
  TERN_CHECK_ALLOC(scores);
  for (int64_t b = 0; b < a.batch; b++) {
    for (int64_t s = 0; s < call->kv->fresh[b]; s++) store(&a, call, layer, b, s, turned);
    for (int64_t s = 0; s < a.rows; s++)
      for (int64_t h = 0; h < a.heads; h++) {
        size_t at = (size_t)(((b * a.rows + s) * a.heads + h) * a.dim);
        float *y = (float *)call->outputs[0].data + at;
        if (s >= call->kv->fresh[b]) {
          memset(y, 0, (size_t)a.dim * sizeof *y);
          continue;
        }
        rotate(&a, call->kv->past[b] + s, (const float *)call->inputs[0].data + at, turned);
        attend(&a, call->kv, layer, b, h / (a.heads / a.kv_heads), call->kv->past[b] + s, turned, scores, y);
      }
  }
cleanup:
  tern__free(call->alloc, turned);
  tern__free(call->alloc, scores);
  return status;
}

static const tern__attr_def attrs[] = {
    {"layer", TERN__ATTR_INT},        {"num_heads", TERN__ATTR_INT}, {"kv_num_heads", TERN__ATTR_INT},
    {"head_dim", TERN__ATTR_INT},     {"scale", TERN__ATTR_FLOAT},   {"rotary_interleaved", TERN__ATTR_INT},
    {"local_window", TERN__ATTR_INT}, {"softcap", TERN__ATTR_FLOAT}, {NULL, 0},
};

/* Scores, and their sum over the values, of the keys that each row sees. Of the cache the keys and values that some row
 * sees are read; new ones are written. Of the rotary tables the new rows' positions are read. */
static void work(const tern__op_call *call, tern__op_work *out) {
  attention a = {0};
  bool known;
  uint64_t seen = 0, read = 0;
  if (!call->kv || read_sizes(call, &a, &known) != TERN_OK || !known) return;
  int64_t window = tern__node_int(call->node, "local_window", -1);
  for (int64_t b = 0; b < a.batch; b++) {
    int64_t fresh = call->kv->fresh[b] < a.rows ? call->kv->fresh[b] : a.rows, past = call->kv->past[b];
    for (int64_t s = 0; s < fresh; s++)
      seen += (uint64_t)(window > 0 && past + s + 1 > window ? window : past + s + 1);
    read += (uint64_t)(window > 0 && past + fresh > window + fresh - 1 ? window + fresh - 1 : past + fresh) +
            (uint64_t)fresh;
  }
  uint64_t row = (uint64_t)(a.kv_heads * a.dim), rows = (uint64_t)(a.batch * a.rows);
  out->operations = 4 * seen * (uint64_t)(a.heads * a.dim);
  out->bytes = 2 * sizeof(uint16_t) * row * read + rows * sizeof(float) * (2 * (uint64_t)(a.heads * a.dim) + 2 * row +
                                                                           2 * (uint64_t)a.rotary_half);
}

const tern__op_def tern__op_kv_attention = {
    .name = "KvAttention",
    .domain = "tern",
    .since = 1,
    .flags = TERN__OP_NOT_FOLDED,
    .min_inputs = 3,
    .max_inputs = 5,
    .min_outputs = 1,
    .max_outputs = 1,
    .attrs = attrs,
    .infer = infer,
    .reference = reference,
    .work = work,
};
