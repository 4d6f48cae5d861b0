/* The attention core that exporters write with plain operators, found from its Softmax:
 *   MatMul(Softmax(scale * MatMul(q, k^T) + mask), v) -> Transpose -> Reshape */
#ifndef TERN_PASSES_MATCH_ATTENTION_H
#define TERN_PASSES_MATCH_ATTENTION_H

#include "passes/pass.h"

typedef struct tern__attention_match {
  tern__value_id q, k, v;  /* q [B,H,S,D]; k as stored before the last transpose: see k_transposed; v [B,H,T,D] */
  bool k_transposed;       /* k is [B,H,D,T] already (its own Transpose made it so) */
  float scale;             /* on the product of q and k */
  tern__value_id mask;     /* added before the softmax; -1 = none */
  int32_t softmax;         /* node */
  tern__value_id context;  /* the second MatMul's result [B,H,S,D] */
  int32_t reshape;         /* node that makes [B,S,H*D] of it */
} tern__attention_match;

bool tern__match_attention(const tern__graph *graph, int32_t softmax, tern__attention_match *out);
/* `value` = Transpose(x, perm): gives x. */
bool tern__match_transpose(const tern__graph *graph, tern__value_id value, const int64_t *perm, size_t rank,
                           tern__value_id *x);
/* `value` = Reshape(x) to [..., heads, head_dim] with both known: gives x, heads, head_dim. */
bool tern__match_split_heads(const tern__graph *graph, tern__value_id value, tern__value_id *x,
                             int64_t *heads, int64_t *head_dim);

#endif
