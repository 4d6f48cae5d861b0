/* Reductions. The axes are an attribute up to opset 17 (12 for ReduceSum) and an input after; none means all,
 * or nothing with noop_with_empty_axes. Floats are summed in double: the yardstick for kernels that sum in
 * another order. */
#include <math.h>
#include <string.h>

#include "ops/elements.h"

typedef enum kind { SUM, MEAN, MAXIMUM, MINIMUM, PRODUCT, SUM_SQUARE, L1, L2, LOG_SUM, LOG_SUM_EXP } kind;

static tern_status read_axes(const tern__op_call *call, bool *reduced, bool *known, bool *noop) {
  tern_status status = TERN_OK;
  int64_t axes[TERN_MAX_RANK];
  int32_t n, rank = call->inputs[0].shape.rank;
  TERN_TRY(tern__op_ints_or_attr(call, 1, "axes", axes, TERN_MAX_RANK, &n));
  *known = n != -1;
  *noop = (n == -2 || n == 0) && tern__node_int(call->node, "noop_with_empty_axes", 0);
  for (int32_t d = 0; d < rank; d++) reduced[d] = (n == -2 || n == 0) && !*noop;
  for (int32_t i = 0; i < n; i++) {
    int32_t axis;
    TERN_TRY(tern__op_axis(call, axes[i], rank, &axis));
    reduced[axis] = true;
  }
cleanup:
  return status;
}

static tern_status infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  tern_dtype t = call->inputs[0].dtype;
  bool reduced[TERN_MAX_RANK], known, noop, keep = tern__node_int(call->node, "keepdims", 1) != 0;
  tern__shape y = {.rank = 0};
  if (!tern__dtype_is_number(t) && t != TERN_DTYPE_BOOL) return tern__op_bad_type(call, 0);
  call->outputs[0].dtype = t;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = read_axes(call, reduced, &known, &noop);
  if (status != TERN_OK || !known) return status;
  for (int32_t d = 0; d < x->rank; d++)
    if (!reduced[d]) y.dims[y.rank++] = x->dims[d];
    else if (keep) y.dims[y.rank++] = 1;
  call->outputs[0].shape = y;
  return TERN_OK;
}

/* What a row gathers: floats in `real`, integers in `whole`; `top` is the largest value for LOG_SUM_EXP. */
typedef struct gathered {
  double real, top;
  int64_t whole;
  size_t count;
} gathered;

static void gather(kind what, bool is_real, const tern__view *x, size_t i, gathered *g) {
  if (is_real) {
    double v = tern__view_real(x, i);
    switch (what) {
      case SUM:
      case MEAN:
      case LOG_SUM: g->real += v; break;
      case MAXIMUM: g->real = !g->count || v > g->real || isnan(v) ? v : g->real; break;
      case MINIMUM: g->real = !g->count || v < g->real || isnan(v) ? v : g->real; break;
      case PRODUCT: g->real = g->count ? g->real * v : v; break;
      case SUM_SQUARE:
      case L2: g->real += v * v; break;
      case L1: g->real += fabs(v); break;
      case LOG_SUM_EXP: g->real += exp(v - g->top); break;
    }
  } else {
    int64_t v = tern__view_int(x, i);
    uint64_t u = (uint64_t)v, flip = x->dtype == TERN_DTYPE_U64 ? (uint64_t)1 << 63 : 0; /* orders uint64 as
                                                                                            int64 */
    bool greater = (int64_t)(u ^ flip) > (int64_t)((uint64_t)g->whole ^ flip);
    switch (what) {
      case MAXIMUM: g->whole = !g->count || greater ? v : g->whole; break;
      case MINIMUM: g->whole = !g->count || !greater ? v : g->whole; break;
      case PRODUCT: g->whole = g->count ? (int64_t)((uint64_t)g->whole * u) : v; break;
      case SUM_SQUARE:
      case L2: g->whole = (int64_t)((uint64_t)g->whole + u * u); break;
      case L1: g->whole = (int64_t)((uint64_t)g->whole + (v < 0 && !flip ? 0 - u : u)); break;
      case LOG_SUM_EXP: g->real += exp((double)v - g->top); break;
      default: g->whole = (int64_t)((uint64_t)g->whole + u); break;
    }
  }
  g->count++;
}

static void finish(kind what, bool is_real, const tern__view *y, size_t i, gathered *g) {
  bool root = what == L2, logarithm = what == LOG_SUM || what == LOG_SUM_EXP;
  if (!g->count) { /* nothing to reduce */
    if (what == PRODUCT) g->real = 1, g->whole = 1;
    if (what == MAXIMUM || what == MINIMUM) {
      if (y->dtype == TERN_DTYPE_BOOL) tern__view_set_int(y, i, what == MINIMUM);
      else tern__view_set_real(y, i, what == MAXIMUM ? -INFINITY : INFINITY);
      return;
    }
    g->top = -INFINITY;
  }
  if (!is_real && !logarithm && !root) {
    tern__view_set_int(y, i, what == MEAN && g->count ? g->whole / (int64_t)g->count : g->whole);
    return;
  }
  double v = is_real || what == LOG_SUM_EXP ? g->real : (double)g->whole;
  if (what == MEAN) v /= (double)g->count;
  if (root) v = sqrt(v);
  if (what == LOG_SUM) v = log(v);
  if (what == LOG_SUM_EXP) v = g->count && isfinite(g->top) ? log(v) + g->top : g->top;
  tern__view_set_real(y, i, v);
}

static tern_status reduce(tern__op_call *call, kind what) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  bool reduced[TERN_MAX_RANK], known, noop, is_real = tern__dtype_is_float(x->dtype);
  int64_t dense[TERN_MAX_RANK], kept_dims[TERN_MAX_RANK], kept_steps[TERN_MAX_RANK], dims[TERN_MAX_RANK],
      steps[TERN_MAX_RANK];
  int64_t at[TERN_MAX_RANK] = {0};
  int32_t n_kept = 0, n = 0;
  TERN_TRY(read_axes(call, reduced, &known, &noop));
  tern__dense_strides(&x->shape, dense);
  for (int32_t d = 0; d < x->shape.rank; d++)
    if (reduced[d]) dims[n] = x->shape.dims[d], steps[n++] = dense[d];
    else kept_dims[n_kept] = x->shape.dims[d], kept_steps[n_kept++] = dense[d];
  size_t row = 1;
  for (int32_t d = 0; d < n; d++) row *= (size_t)dims[d];
  for (size_t i = 0, count = tern__view_count(y); i < count; i++) {
    TERN_TRY(tern__op_poll(call, row < 64 ? i : 0));
    gathered g = {.top = -INFINITY};
    size_t base = (size_t)tern__offset_of(at, kept_steps, n_kept);
    for (int pass = what == LOG_SUM_EXP ? 0 : 1; pass < 2; pass++) {
      int64_t index[TERN_MAX_RANK] = {0};
      for (size_t j = 0; j < row; j++) {
        size_t from = base + (size_t)tern__offset_of(index, steps, n);
        if (pass) gather(what, is_real, x, from, &g);
        else if (tern__view_real(x, from) > g.top) g.top = tern__view_real(x, from);
        (void)tern__next_index(dims, n, index);
      }
    }
    if (noop && what != SUM_SQUARE && what != L1 && what != L2 && what != LOG_SUM) { /* one element each:
                                                                                        itself */
      if (is_real) tern__view_set_real(y, i, tern__view_real(x, base));
      else tern__view_set_int(y, i, tern__view_int(x, base));
    } else finish(what, is_real, y, i, &g);
    (void)tern__next_index(kept_dims, n_kept, at);
  }
cleanup:
  return status;
}

static const tern__attr_def old_attrs[] = {
    {"axes", TERN__ATTR_INTS}, {"keepdims", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def attrs[] = {
    {"keepdims", TERN__ATTR_INT}, {"noop_with_empty_axes", TERN__ATTR_INT}, {NULL, 0}};
#define REDUCTION(symbol, NAME, KIND, SINCE)                                                \
  static tern_status symbol##_reference(tern__op_call *call) { return reduce(call, KIND); } \
  const tern__op_def tern__op_##symbol##_1 = { \
      .name = NAME, .domain = "", .since = 1, .until = SINCE - 1, .min_inputs = 1, .max_inputs = 1, \
      .min_outputs = 1, .max_outputs = 1, .attrs = old_attrs, .infer = infer, \
      .reference = symbol##_reference};             \
  const tern__op_def tern__op_##symbol = { \
      .name = NAME, .domain = "", .since = SINCE, .min_inputs = 1, .max_inputs = 2, .min_outputs = 1, \
      .max_outputs = 1, .attrs = attrs, .infer = infer, .reference = symbol##_reference};
REDUCTION(reduce_sum, "ReduceSum", SUM, 13)
REDUCTION(reduce_mean, "ReduceMean", MEAN, 18)
REDUCTION(reduce_max, "ReduceMax", MAXIMUM, 18)
REDUCTION(reduce_min, "ReduceMin", MINIMUM, 18)
REDUCTION(reduce_prod, "ReduceProd", PRODUCT, 18)
REDUCTION(reduce_sum_square, "ReduceSumSquare", SUM_SQUARE, 18)
REDUCTION(reduce_l1, "ReduceL1", L1, 18)
REDUCTION(reduce_l2, "ReduceL2", L2, 18)
REDUCTION(reduce_log_sum, "ReduceLogSum", LOG_SUM, 18)
REDUCTION(reduce_log_sum_exp, "ReduceLogSumExp", LOG_SUM_EXP, 18)
