/* Scaled dot-product attention as a plain loop, which the attention operators of ONNX and com.microsoft
 * share. */
#ifndef TERN_OPS_ATTENTION_CORE_H
#define TERN_OPS_ATTENTION_CORE_H

#include "ir/op.h"

/* A [batch, heads, rows, dim] array by element steps; the last dimension is dense. */
typedef struct tern__heads {
  float *data;
  int64_t batch_step, head_step, row_step;
} tern__heads;

typedef struct tern__attention {
  int64_t batch, heads, kv_heads, rows, keys, dim, v_dim; /* heads is a multiple of kv_heads: head h reads h /
                                                             (heads / kv_heads) */
  tern__heads q, k, v, y;
  float scale, softcap; /* softcap 0 = none; it applies before masks */
  const float *bias;    /* added; NULL = none. Steps over batch, head, row, key */
  int64_t bias_step[4];
  const float *key_bias; /* [batch][keys], added; NULL = none */
  bool causal;           /* row s sees keys up to past[b] + s + ahead */
  int64_t ahead;
  int64_t window;        /* > 0: and only those from past[b] + s - window + 1 on */
  const int64_t *past;   /* [batch]; NULL = 0 */
  const int64_t *length; /* [batch]: keys in use; NULL = all */
  float *scores_out;     /* [batch][heads][rows][keys] as `scores_mode` says; NULL = none */
  int32_t scores_mode;   /* 0: q k^T scale, 1: after softcap, 2: with masks, 3: after softmax */
} tern__attention;

/* Rows that see no key become zeros. */
tern_status tern__attention_run(const tern__op_call *call, const tern__attention *a);

/* [batch, rows, heads * dim] */
static inline tern__heads tern__heads_of_rows(void *data, int64_t rows, int64_t heads, int64_t dim) {
  return (tern__heads){data, rows * heads * dim, dim, heads * dim};
}
/* [batch, heads, rows, dim] */
static inline tern__heads tern__heads_first(void *data, int64_t heads, int64_t rows, int64_t dim) {
  return (tern__heads){data, heads * rows * dim, rows * dim, dim};
}
static inline float *tern__head_row(const tern__heads *h, int64_t batch, int64_t head, int64_t row) {
  return h->data + batch * h->batch_step + head * h->head_step + row * h->row_step;
}

/* Turns the first 2 * half values of a head by the angles in cos and sin [half]; the rest is copied. x may be
 * y. */
void tern__rotate(const float *x, float *y, const float *cos, const float *sin, int64_t half, int64_t dim,
                  bool interleaved);

#endif
