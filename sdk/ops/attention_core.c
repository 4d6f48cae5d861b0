/* Attention, one query row at a time. */
#include "ops/attention_core.h"

#include <math.h>
#include <string.h>

static void one_row(const tern__attention *a, int64_t b, int64_t h, int64_t s, float *scores) {
  int64_t kv = h / (a->heads / a->kv_heads), past = a->past ? a->past[b] : 0, first = 0,
          last = a->length ? a->length[b] : a->keys;
  if (a->causal && last > past + s + 1 + a->ahead) last = past + s + 1 + a->ahead;
  if (a->window > 0 && past + s + 1 > a->window) first = past + s + 1 - a->window;
  const float *q = tern__head_row(&a->q, b, h, s);
  float *y = tern__head_row(&a->y, b, h, s), top = -INFINITY, sum = 0;
  float *out = a->scores_out ? a->scores_out + ((b * a->heads + h) * a->rows + s) * a->keys : NULL;
  for (int64_t j = 0; j < a->keys; j++) {
    const float *k = tern__head_row(&a->k, b, kv, j);
    bool seen = j >= first && j < last;
    float dot = 0;
    if (seen || (out && a->scores_mode < 3))
      for (int64_t i = 0; i < a->dim; i++) dot += q[i] * k[i];
    dot *= a->scale;
    if (out && a->scores_mode == 0) out[j] = dot;
    if (a->softcap > 0) dot = a->softcap * tanhf(dot / a->softcap);
    if (out && a->scores_mode == 1) out[j] = dot;
    if (a->bias)
      dot += a->bias[b * a->bias_step[0] + h * a->bias_step[1] + s * a->bias_step[2] + j * a->bias_step[3]];
    if (a->key_bias) dot += a->key_bias[b * a->keys + j];
    scores[j] = seen ? dot : -INFINITY;
    if (out && a->scores_mode == 2) out[j] = scores[j];
    if (scores[j] > top) top = scores[j];
  }
  memset(y, 0, (size_t)a->v_dim * sizeof *y);
  for (int64_t j = 0; j < a->keys; j++) {
    scores[j] = top == -INFINITY ? 0 : expf(scores[j] - top);
    sum += scores[j];
  }
  for (int64_t j = 0; j < a->keys; j++) {
    float p = sum > 0 ? scores[j] / sum : 0;
    const float *v = tern__head_row(&a->v, b, kv, j);
    if (out && a->scores_mode == 3) out[j] = p;
    for (int64_t i = 0; p != 0 && i < a->v_dim; i++) y[i] += p * v[i];
  }
}

tern_status tern__attention_run(const tern__op_call *call, const tern__attention *a) {
  tern_status status = TERN_OK;
  float *scores = tern__calloc(call->alloc, (size_t)a->keys + 1, sizeof *scores);
  if (!scores) return tern__op_fail(call, TERN_STATUS_OUT_OF_MEMORY, "out of memory for scores");
  for (int64_t b = 0; b < a->batch; b++)
    for (int64_t h = 0; h < a->heads; h++)
      for (int64_t s = 0; s < a->rows; s++) {
        TERN_TRY(tern__op_poll(call, 0));
        one_row(a, b, h, s, scores);
      }
cleanup:
  tern__free(call->alloc, scores);
  return status;
}

void tern__rotate(const float *x, float *y, const float *cos, const float *sin, int64_t half, int64_t dim,
                  bool interleaved) {
  if (x != y) memcpy(y, x, (size_t)dim * sizeof *y);
  for (int64_t i = 0; i < half; i++) {
    int64_t p = interleaved ? 2 * i : i, r = interleaved ? p + 1 : i + half;
    float a = x[p], b = x[r];
    y[p] = a * cos[i] - b * sin[i];
    y[r] = b * cos[i] + a * sin[i];
  }
}
