/* tern.EncoderAttention: softmax(q k^T scale + mask) v per head, every query sees every key. Inputs q [B, S,
 * H D], k and v [B, T, H D], mask (optional) float32 added to the scores, any shape that broadcasts to [B, H,
 * S, T]; output [B, S, H D]. */
#include <math.h>
#include <string.h>

#include "ir/op.h"

static tern_status check_mask(const tern__op_call *call, const int64_t *full) {
  const tern__view *mask = &call->inputs[3];
  char text[96];
  if (mask->dtype != TERN_DTYPE_F32)
    return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "mask of type %s", tern_dtype_name(mask->dtype));
  for (int32_t i = 0; i < mask->shape.rank; i++) {
    int32_t at = i + 4 - mask->shape.rank;
    int64_t d = mask->shape.dims[i];
    if (at < 0 || (d >= 0 && d != 1 && full[at] >= 0 && d != full[at]))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "mask %s does not broadcast to the scores",
                           tern__shape_text(&mask->shape, text, sizeof text));
  }
  return TERN_OK;
}

static tern_status infer(tern__op_call *call) {
  const tern__shape *q = &call->inputs[0].shape, *k = &call->inputs[1].shape, *v = &call->inputs[2].shape;
  int64_t heads = tern__node_int(call->node, "num_heads", 0);
  char tq[96], tk[96];
  call->outputs[0].dtype = TERN_DTYPE_F32;
  call->outputs[0].shape = *q;
  for (int i = 0; i < 3; i++)
    if (call->inputs[i].dtype != TERN_DTYPE_F32)
      return tern__op_fail(call, TERN_STATUS_UNSUPPORTED, "input %d of type %s", i,
                           tern_dtype_name(call->inputs[i].dtype));
  if (heads < 1) return tern__op_fail(call, TERN_STATUS_CORRUPT, "num_heads is missing");
  if (q->rank < 0 || k->rank < 0 || v->rank < 0) return TERN_OK;
  bool known = tern__shape_known(q) && tern__shape_known(k) && tern__shape_known(v);
  if (q->rank != 3 || k->rank != 3 || v->rank != 3 ||
      (known && (q->dims[2] % heads || q->dims[2] < 1 || k->dims[2] != q->dims[2] ||
                 k->dims[0] != q->dims[0] || !tern__shape_equal(k, v))))
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "q %s and k %s do not fit %lld heads",
                         tern__shape_text(q, tq, sizeof tq), tern__shape_text(k, tk, sizeof tk),
                         (long long)heads);
  return tern__has_input(call, 3) ? check_mask(call, (int64_t[]){q->dims[0], heads, q->dims[1], k->dims[1]})
                                  : TERN_OK;
}

static tern_status reference(tern__op_call *call) {
  const int64_t *qd = call->inputs[0].shape.dims;
  int64_t heads = tern__node_int(call->node, "num_heads", 1), dim = qd[2] / heads,
          n_keys = call->inputs[1].shape.dims[1];
  float scale = tern__node_float(call->node, "scale", 0);
  int64_t step[4] = {0}, stride = 1; /* of the mask, 0 where it broadcasts */
  float *scores = tern__calloc(call->alloc, (size_t)n_keys, sizeof *scores);
  if (!scores)
    return tern__op_fail(call, TERN_STATUS_OUT_OF_MEMORY, "out of memory for %lld scores", (long long)n_keys);
  if (scale == 0) scale = 1.0f / sqrtf((float)dim);
  if (tern__has_input(call, 3))
    for (int32_t i = call->inputs[3].shape.rank; i-- > 0; stride *= call->inputs[3].shape.dims[i])
      if (call->inputs[3].shape.dims[i] != 1) step[i + 4 - call->inputs[3].shape.rank] = stride;
  for (int64_t b = 0; b < qd[0]; b++)
    for (int64_t h = 0; h < heads; h++)
      for (int64_t s = 0; s < qd[1]; s++) {
        size_t at = (size_t)((b * qd[1] + s) * qd[2] + h * dim);
        const float *q = (const float *)call->inputs[0].data + at;
        float *y = (float *)call->outputs[0].data + at, top = -INFINITY, sum = 0;
        for (int64_t t = 0; t < n_keys; t++) {
          const float *k = (const float *)call->inputs[1].data + (b * n_keys + t) * qd[2] + h * dim;
          float dot = 0, add = 0;
          for (int64_t i = 0; i < dim; i++) dot += q[i] * k[i];
          /* A mask in a file may lie at any address. */
          if (tern__has_input(call, 3))
            memcpy(
                &add,
                (const float *)call->inputs[3].data + (b * step[0] + h * step[1] + s * step[2] + t * step[3]),
                sizeof add);
          scores[t] = dot * scale + add;
          if (scores[t] > top) top = scores[t];
        }
        memset(y, 0, (size_t)dim * sizeof *y);
        if (top == -INFINITY) top = 0; /* everything masked away: zeros below, not NaN */
        for (int64_t t = 0; t < n_keys; t++) sum += scores[t] = expf(scores[t] - top);
        for (int64_t t = 0; t < n_keys && sum > 0; t++) {
          const float *v = (const float *)call->inputs[2].data + (b * n_keys + t) * qd[2] + h * dim;
          for (int64_t i = 0; i < dim; i++) y[i] += scores[t] / sum * v[i];
        }
      }
  tern__free(call->alloc, scores);
  return TERN_OK;
}

static const tern__attr_def attrs[] = {{"num_heads", TERN__ATTR_INT}, {"scale", TERN__ATTR_FLOAT}, {NULL, 0}};

static void work(const tern__op_call *call, tern__op_work *out) {
  out->operations = 4 * tern__op_elements(&call->inputs[0]) * (uint64_t)call->inputs[1].shape.dims[1];
}

const tern__op_def tern__op_encoder_attention = {
    .name = "EncoderAttention",
    .domain = "tern",
    .since = 1,
    .min_inputs = 3,
    .max_inputs = 4,
    .min_outputs = 1,
    .max_outputs = 1,
    .attrs = attrs,
    .infer = infer,
    .reference = reference,
    .work = work,
};
