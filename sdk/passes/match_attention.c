/* See match_attention.h. */
#include "passes/match_attention.h"

#include <string.h>

#include "passes/evaluate.h"

bool tern__match_transpose(const tern__graph *graph, tern__value_id value, const int64_t *perm, size_t rank,
                           tern__value_id *x) {
  const tern__node *t = tern__match_producer(graph, value, "Transpose");
  size_t count;
  const int64_t *p = t ? tern__node_ints(t, "perm", &count) : NULL;
  if (!p || count != rank || memcmp(p, perm, rank * sizeof *p) != 0) return false;
  *x = t->inputs[0];
  return true;
}

static bool const_int(const tern__graph *graph, tern__value_id value, int64_t *out) {
  const tern__value *v = &graph->values[value];
  size_t count;
  if (!v->data || v->dtype != TERN_DTYPE_I64 || !tern__shape_count(&v->shape, &count) || count != 1) return false;
  memcpy(out, v->data, sizeof *out);
  return true;
}

/* Width of the last dimension of a projection: of its bias, or of the weight that it multiplies. 0 = not known. */
static int64_t projection_width(const tern__graph *graph, tern__value_id value) {
  int32_t p = tern__match_producer_index(graph, value);
  for (int32_t i = 0; p >= 0 && i < graph->nodes[p].n_inputs; i++) {
    tern__value_id in = graph->nodes[p].inputs[i];
    const tern__value *v = in < 0 ? NULL : &graph->values[in];
    bool add = strcmp(graph->nodes[p].op->name, "Add") == 0, matmul = strcmp(graph->nodes[p].op->name, "MatMul") == 0;
    if (v && v->data && ((add && v->shape.rank == 1) || (matmul && i == 1 && v->shape.rank == 2)))
      return v->shape.dims[v->shape.rank - 1];
  }
  return 0;
}

/* `value` = k with its last two dimensions swapped by way of three dimensions, Reshape(Transpose(Reshape(k))), as
 * torch.export writes it. The shapes are computed in the graph, so an example decides. Gives k [B, H, T, D]. */
static bool match_swap_by_reshapes(const tern__graph *graph, tern__value_id value, tern__value_id *k) {
  static const int64_t perm[3] = {0, 2, 1};
  enum { B = 2, H = 3, T = 5, D = 4 };
  const tern__node *outer = tern__match_producer(graph, value, "Reshape");
  tern__value_id inner_value;
  if (!outer || !tern__match_transpose(graph, outer->inputs[0], perm, 3, &inner_value)) return false;
  const tern__node *inner = tern__match_producer(graph, inner_value, "Reshape");
  if (!inner) return false;
  *k = inner->inputs[0];
  float example[B * H * T * D];
  for (int i = 0; i < B * H * T * D; i++) example[i] = (float)i;
  tern__feed feed = {*k, {TERN_DTYPE_F32, {4, {B, H, T, D}}, example, sizeof example}};
  tern__arena arena;
  tern__view out;
  tern__arena_init(&arena, graph->alloc);
  bool same = tern__evaluate(graph, value, &feed, 1, &arena, &out) == TERN_OK && out.dtype == TERN_DTYPE_F32 &&
              out.shape.rank == 4 && out.shape.dims[0] == B && out.shape.dims[1] == H && out.shape.dims[2] == D &&
              out.shape.dims[3] == T;
  for (int i = 0; same && i < B * H * T * D; i++) {
    int bh = i / (D * T), d = i / T % D, t = i % T;
    same = ((const float *)out.data)[i] == example[(bh * T + t) * D + d];
  }
  tern__arena_deinit(&arena);
  return same;
}

/* Where(IsNaN(p), 0, p) behind the softmax p turns rows that are masked entirely into zeros, as the fused operators do
 * anyway: gives the guarded value, or p itself. */
static tern__value_id skip_nan_guard(const tern__graph *graph, tern__value_id p) {
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) {
    const tern__node *where = &graph->nodes[n];
    float zero;
    if (where->dead || strcmp(where->op->name, "Where") != 0 || where->inputs[2] != p) continue;
    const tern__node *nan = tern__match_producer(graph, where->inputs[0], "IsNaN");
    if (nan && nan->inputs[0] == p && tern__match_scalar(graph, where->inputs[1], &zero) && zero == 0)
      return where->outputs[0];
  }
  return p;
}

bool tern__match_split_heads(const tern__graph *graph, tern__value_id value, tern__value_id *x,
                             int64_t *heads, int64_t *head_dim) {
  const tern__node *reshape = tern__match_producer(graph, value, "Reshape");
  if (!reshape) return false;
  const tern__value *shape = &graph->values[reshape->inputs[1]];
  const tern__node *concat = tern__match_producer(graph, reshape->inputs[1], "Concat");
  *x = reshape->inputs[0];
  if (shape->data && shape->dtype == TERN_DTYPE_I64 && shape->shape.rank == 1 && shape->shape.dims[0] == 4) {
    int64_t dims[4];
    memcpy(dims, shape->data, sizeof dims);
    *heads = dims[2], *head_dim = dims[3];
    return *heads > 0 && *head_dim > 0;
  }
  if (!concat || concat->n_inputs != 4) return false;
  if (!const_int(graph, concat->inputs[2], heads) || !const_int(graph, concat->inputs[3], head_dim) || *head_dim <= 0)
    return false;
  if (*heads == -1) *heads = projection_width(graph, *x) / *head_dim;
  return *heads > 0;
}

bool tern__match_attention(const tern__graph *graph, int32_t index, tern__attention_match *m) {
  static const int64_t back[4] = {0, 2, 1, 3}, last_two[4] = {0, 1, 3, 2}, heads_last[4] = {0, 2, 3, 1};
  const tern__node *softmax = &graph->nodes[index];
  int64_t axis = tern__node_int(softmax, "axis", softmax->opset < 13 ? 1 : -1);
  if (axis != -1 && axis != 3) return false;
  memset(m, 0, sizeof *m);
  m->softmax = index, m->scale = 1.0f, m->mask = -1;
  tern__value_id scores = softmax->inputs[0];
  const tern__node *add = tern__match_producer(graph, scores, "Add");
  if (add) { /* the mask is the operand that is no product of q and k */
    for (int32_t i = 0; i < 2; i++) {
      tern__value_id s = add->inputs[i];
      float unused;
      const tern__node *scaled = tern__match_producer(graph, s, "Div");
      if (!scaled) scaled = tern__match_producer(graph, s, "Mul");
      bool product = tern__match_producer(graph, s, "MatMul") ||
                     (scaled && (tern__match_scalar(graph, scaled->inputs[1], &unused) ||
                                 tern__match_scalar(graph, scaled->inputs[0], &unused)) &&
                      tern__match_operand(graph, scaled, "MatMul") >= 0);
      if (product) {
        scores = s, m->mask = add->inputs[1 - i];
        break;
      }
    }
    if (m->mask < 0) return false;
  }
  float c;
  const tern__node *div = tern__match_producer(graph, scores, "Div"), *mul = tern__match_producer(graph, scores, "Mul");
  if (div && tern__match_scalar(graph, div->inputs[1], &c) && c != 0) m->scale = 1.0f / c, scores = div->inputs[0];
  for (int32_t i = 0; mul && i < 2; i++)
    if (tern__match_scalar(graph, mul->inputs[i], &c)) {
      m->scale = c, scores = mul->inputs[1 - i];
      break;
    }
  const tern__node *qk = tern__match_producer(graph, scores, "MatMul");
  if (!qk) return false;
  m->q = qk->inputs[0], m->k = qk->inputs[1];
  tern__value_id k;
  /* A scale on q or k before the product. */
  for (int32_t side = 0; side < 2; side++) {
    tern__value_id *operand = side ? &m->k : &m->q;
    mul = tern__match_producer(graph, *operand, "Mul");
    for (int32_t i = 0; mul && i < 2; i++)
      if (tern__match_scalar(graph, mul->inputs[i], &c)) {
        m->scale *= c, *operand = mul->inputs[1 - i];
        break;
      }
    div = tern__match_producer(graph, *operand, "Div");
    if (div && tern__match_scalar(graph, div->inputs[1], &c) && c != 0) m->scale /= c, *operand = div->inputs[0];
  }
  if (tern__match_transpose(graph, m->k, last_two, 4, &k)) m->k = k;
  else if (tern__match_transpose(graph, m->k, heads_last, 4, &k))
    m->k_transposed = true, m->k = k; /* [B,T,H,D] before it */
  else if (match_swap_by_reshapes(graph, m->k, &k)) m->k = k;
  else return false;
  tern__value_id weights = skip_nan_guard(graph, softmax->outputs[0]);
  int32_t pv = tern__match_single_consumer(graph, weights);
  if (pv < 0 || strcmp(graph->nodes[pv].op->name, "MatMul") != 0 || graph->nodes[pv].inputs[0] != weights) return false;
  m->v = graph->nodes[pv].inputs[1];
  m->context = graph->nodes[pv].outputs[0];
  int32_t transpose = tern__match_single_consumer(graph, m->context);
  tern__value_id x;
  if (transpose < 0 || !tern__match_transpose(graph, graph->nodes[transpose].outputs[0], back, 4, &x)) return false;
  tern__value_id merged = graph->nodes[transpose].outputs[0];
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++) /* Shape may read it, too */
    if (!graph->nodes[n].dead && strcmp(graph->nodes[n].op->name, "Reshape") == 0 &&
        graph->nodes[n].inputs[0] == merged) {
      m->reshape = (int32_t)n;
      return true;
    }
  return false;
}
