/* Along one axis: ArgMax, ArgMin, TopK, CumSum, CumProd. And OneHot and NonZero, which speak of positions,
 * too. */
#include <math.h>
#include <string.h>

#include "ops/elements.h"

/* Order of two elements: < 0, 0, > 0. NaN is above everything. */
static int compare(const tern__view *x, size_t i, size_t j) {
  if (tern__dtype_is_float(x->dtype)) {
    double a = tern__view_real(x, i), b = tern__view_real(x, j);
    if (isnan(a) || isnan(b)) return isnan(a) - isnan(b);
    return (a > b) - (a < b);
  }
  int64_t a = tern__view_int(x, i), b = tern__view_int(x, j);
  if (x->dtype == TERN_DTYPE_U64) return ((uint64_t)a > (uint64_t)b) - ((uint64_t)a < (uint64_t)b);
  return (a > b) - (a < b);
}

static tern_status arg_infer(tern__op_call *call) {
  const tern__shape *x = &call->inputs[0].shape;
  tern__shape y = {.rank = 0};
  int32_t axis;
  if (!tern__dtype_is_number(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  call->outputs[0].dtype = TERN_DTYPE_I64;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->rank, &axis);
  if (status != TERN_OK) return status;
  if (x->dims[axis] == 0) return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "axis %d is empty", axis);
  for (int32_t d = 0; d < x->rank; d++)
    if (d != axis) y.dims[y.rank++] = x->dims[d];
    else if (tern__node_int(call->node, "keepdims", 1)) y.dims[y.rank++] = 1;
  call->outputs[0].shape = y;
  return TERN_OK;
}

static tern_status arg(tern__op_call *call, int sign) {
  const tern__view *x = &call->inputs[0];
  bool last = tern__node_int(call->node, "select_last_index", 0) != 0;
  int32_t axis;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->shape.rank, &axis);
  if (status != TERN_OK) return status;
  size_t outer = tern__dims_product(&x->shape, 0, axis), n = (size_t)x->shape.dims[axis];
  size_t inner = tern__dims_product(&x->shape, axis + 1, x->shape.rank);
  for (size_t o = 0; o < outer; o++)
    for (size_t i = 0; i < inner; i++) {
      size_t base = o * n * inner + i, best = 0;
      for (size_t j = 1; j < n; j++) {
        int order = sign * compare(x, base + j * inner, base + best * inner);
        if (order > 0 || (order == 0 && last)) best = j;
      }
      tern__view_set_int(&call->outputs[0], o * inner + i, (int64_t)best);
    }
  return TERN_OK;
}
static tern_status arg_max(tern__op_call *call) { return arg(call, 1); }
static tern_status arg_min(tern__op_call *call) { return arg(call, -1); }

/* k: attribute up to opset 9, then input 1; -1 = not known yet. */
static tern_status read_k(const tern__op_call *call, int64_t *k, int32_t *axis) {
  const tern__shape *x = &call->inputs[0].shape;
  int32_t n = 1;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", -1), x->rank, axis);
  *k = tern__node_int(call->node, "k", -1);
  if (status == TERN_OK && tern__has_input(call, 1)) status = tern__op_ints(call, 1, k, 1, &n);
  if (status != TERN_OK) return status;
  if (n < 0) *k = -1;
  else if (n != 1 || *k < 0 || *k > x->dims[*axis])
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "k is out of range for a dimension of %lld",
                         (long long)x->dims[*axis]);
  return TERN_OK;
}

static tern_status top_k_infer(tern__op_call *call) {
  int64_t k;
  int32_t axis;
  if (!tern__dtype_is_number(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  call->outputs[0].dtype = call->inputs[0].dtype;
  if (call->n_outputs > 1) call->outputs[1].dtype = TERN_DTYPE_I64;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern_status status = read_k(call, &k, &axis);
  for (int32_t i = 0; status == TERN_OK && k >= 0 && i < call->n_outputs; i++) {
    call->outputs[i].shape = call->inputs[0].shape;
    call->outputs[i].shape.dims[axis] = k;
  }
  return status;
}

/* Merge sort of n positions, stable: equal elements stay in the order of their index. */
static void sort(const tern__view *x, size_t base, size_t step, int sign, size_t *order, size_t *room,
                 size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t at = 0; at < n; at += 2 * width) {
      size_t middle = at + width < n ? at + width : n, end = at + 2 * width < n ? at + 2 * width : n, a = at,
             b = middle;
      for (size_t i = at; i < end; i++) {
        bool left = a < middle &&
                    (b >= end || sign * compare(x, base + order[b] * step, base + order[a] * step) <= 0);
        room[i] = order[left ? a++ : b++];
      }
    }
    memcpy(order, room, n * sizeof *order);
  }
}

static tern_status top_k_reference(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0];
  int sign = tern__node_int(call->node, "largest", 1) ? 1 : -1;
  int64_t k;
  int32_t axis;
  size_t *order = NULL;
  TERN_TRY(read_k(call, &k, &axis));
  size_t outer = tern__dims_product(&x->shape, 0, axis), n = (size_t)x->shape.dims[axis],
         count = k < 0 ? 0 : (size_t)k;
  size_t inner = tern__dims_product(&x->shape, axis + 1, x->shape.rank), size = tern__element_size(x->dtype);
  order = tern__calloc(call->alloc, 2 * n + 1, sizeof *order);
  TERN_CHECK_ALLOC(order);
  for (size_t o = 0; o < outer; o++)
    for (size_t i = 0; i < inner; i++) {
      for (size_t j = 0; j < n; j++) order[j] = j;
      sort(x, o * n * inner + i, inner, sign, order, order + n, n);
      for (size_t j = 0; j < count; j++) {
        size_t to = (o * count + j) * inner + i, from = (o * n + order[j]) * inner + i;
        if (tern__has_output(call, 0))
          memcpy((char *)call->outputs[0].data + to * size, (const char *)x->data + from * size, size);
        if (tern__has_output(call, 1)) tern__view_set_int(&call->outputs[1], to, (int64_t)order[j]);
      }
    }
cleanup:
  tern__free(call->alloc, order);
  return status;
}

static tern_status cumulate_infer(tern__op_call *call) {
  if (!tern__dtype_is_number(call->inputs[0].dtype)) return tern__op_bad_type(call, 0);
  return tern__op_infer_same(call);
}

static tern_status cumulate(tern__op_call *call, bool product) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0], *y = &call->outputs[0];
  bool exclusive = tern__node_int(call->node, "exclusive", 0) != 0,
       reverse = tern__node_int(call->node, "reverse", 0) != 0;
  int64_t at;
  int32_t axis, count;
  TERN_TRY(tern__op_ints(call, 1, &at, 1, &count));
  if (count != 1) TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the axis must be a scalar"));
  TERN_TRY(tern__op_axis(call, at, x->shape.rank, &axis));
  size_t outer = tern__dims_product(&x->shape, 0, axis), n = (size_t)x->shape.dims[axis];
  size_t inner = tern__dims_product(&x->shape, axis + 1, x->shape.rank);
  for (size_t o = 0; o < outer; o++)
    for (size_t i = 0; i < inner; i++) {
      double real = product;
      uint64_t whole = product;
      for (size_t j = 0; j < n; j++) {
        size_t e = (o * n + (reverse ? n - 1 - j : j)) * inner + i;
        double r = tern__view_real(x, e), r_new = product ? real * r : real + r;
        uint64_t w = (uint64_t)tern__view_int(x, e), w_new = product ? whole * w : whole + w;
        if (tern__dtype_is_float(x->dtype)) tern__view_set_real(y, e, exclusive ? real : r_new);
        else tern__view_set_int(y, e, (int64_t)(exclusive ? whole : w_new));
        real = r_new, whole = w_new;
      }
    }
cleanup:
  return status;
}
static tern_status cum_sum(tern__op_call *call) { return cumulate(call, false); }
static tern_status cum_prod(tern__op_call *call) { return cumulate(call, true); }

static tern_status one_hot_infer(tern__op_call *call) {
  const tern__view *indices = &call->inputs[0], *depth = &call->inputs[1];
  int32_t axis;
  if (!tern__dtype_is_number(indices->dtype)) return tern__op_bad_type(call, 0);
  if (!tern__dtype_is_number(depth->dtype)) return tern__op_bad_type(call, 1);
  if (!tern__element_size(call->inputs[2].dtype)) return tern__op_bad_type(call, 2);
  call->outputs[0].dtype = call->inputs[2].dtype;
  if (!tern__op_inputs_known(call) || !depth->data) return TERN_OK;
  int64_t n = tern__view_count(depth) == 1 ? tern__view_int(depth, 0) : -1;
  tern_status status =
      tern__op_axis(call, tern__node_int(call->node, "axis", -1), indices->shape.rank + 1, &axis);
  if (status != TERN_OK) return status;
  if (n < 1 || n > INT32_MAX || tern__view_count(&call->inputs[2]) != 2 ||
      indices->shape.rank >= TERN_MAX_RANK)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "depth or values are out of range");
  tern__shape y = {.rank = indices->shape.rank + 1};
  for (int32_t d = 0; d < y.rank; d++) y.dims[d] = d == axis ? n : indices->shape.dims[d - (d > axis)];
  call->outputs[0].shape = y;
  return TERN_OK;
}

static tern_status one_hot_reference(tern__op_call *call) {
  const tern__view *y = &call->outputs[0];
  int32_t axis;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", -1), y->shape.rank, &axis);
  if (status != TERN_OK) return status;
  size_t outer = tern__dims_product(&y->shape, 0, axis), n = (size_t)y->shape.dims[axis],
         size = tern__element_size(y->dtype);
  size_t inner = tern__dims_product(&y->shape, axis + 1, y->shape.rank);
  for (size_t o = 0; o < outer; o++)
    for (size_t i = 0; i < inner; i++) {
      int64_t hot = tern__view_int(&call->inputs[0], o * inner + i);
      if (hot < 0) hot += (int64_t)n;
      for (size_t j = 0; j < n; j++)
        memcpy((char *)y->data + ((o * n + j) * inner + i) * size,
               (const char *)call->inputs[2].data + (hot == (int64_t)j ? size : 0), size);
    }
  return TERN_OK;
}

/* NonZero: [rank, n], the indices of elements that are not 0, in row-major order. Its shape depends on the
 * data. */
static tern_status non_zero_infer(tern__op_call *call) {
  const tern__view *x = &call->inputs[0];
  int64_t count = 0;
  call->outputs[0].dtype = TERN_DTYPE_I64;
  if (!tern__dtype_is_number(x->dtype) && x->dtype != TERN_DTYPE_BOOL) return tern__op_bad_type(call, 0);
  if (!tern__op_inputs_known(call) || (!x->data && tern__view_count(x))) return TERN_OK;
  for (size_t i = 0, n = tern__view_count(x); i < n; i++) count += tern__view_real(x, i) != 0;
  call->outputs[0].shape = (tern__shape){.rank = 2, .dims = {x->shape.rank, count}};
  return TERN_OK;
}

static tern_status non_zero_reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0];
  int64_t index[TERN_MAX_RANK] = {0}, count = call->outputs[0].shape.dims[1], found = 0;
  for (size_t i = 0, n = tern__view_count(x); i < n && found < count; i++) {
    if (tern__view_real(x, i) != 0) {
      for (int32_t d = 0; d < x->shape.rank; d++)
        tern__view_set_int(&call->outputs[0], (size_t)(d * count + found), index[d]);
      found++;
    }
    (void)tern__next_index(x->shape.dims, x->shape.rank, index);
  }
  return TERN_OK;
}

static const tern__attr_def arg_attrs[] = {
    {"axis", TERN__ATTR_INT}, {"keepdims", TERN__ATTR_INT}, {"select_last_index", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def top_k_1_attrs[] = {{"axis", TERN__ATTR_INT}, {"k", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def top_k_attrs[] = {
    {"axis", TERN__ATTR_INT}, {"largest", TERN__ATTR_INT}, {"sorted", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def cumulate_attrs[] = {
    {"exclusive", TERN__ATTR_INT}, {"reverse", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def one_hot_attrs[] = {{"axis", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_arg_max = {
    .name = "ArgMax", .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .attrs = arg_attrs, .infer = arg_infer, .reference = arg_max};
const tern__op_def tern__op_arg_min = {
    .name = "ArgMin", .domain = "", .since = 1, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .attrs = arg_attrs, .infer = arg_infer, .reference = arg_min};
const tern__op_def tern__op_top_k_1 = {
    .name = "TopK", .domain = "", .since = 1, .until = 9, .min_inputs = 1, .max_inputs = 1,
    .min_outputs = 1, .max_outputs = 2, .attrs = top_k_1_attrs, .infer = top_k_infer,
    .reference = top_k_reference};
const tern__op_def tern__op_top_k = {
    .name = "TopK", .domain = "", .since = 10, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 2, .attrs = top_k_attrs, .infer = top_k_infer, .reference = top_k_reference};
const tern__op_def tern__op_cum_sum = {
    .name = "CumSum", .domain = "", .since = 11, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .attrs = cumulate_attrs, .infer = cumulate_infer, .reference = cum_sum};
const tern__op_def tern__op_cum_prod = {
    .name = "CumProd", .domain = "", .since = 26, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = 1, .attrs = cumulate_attrs, .infer = cumulate_infer, .reference = cum_prod};
const tern__op_def tern__op_one_hot = {
    .name = "OneHot", .domain = "", .since = 9, .min_inputs = 3, .max_inputs = 3, .min_outputs = 1,
    .max_outputs = 1, .attrs = one_hot_attrs, .infer = one_hot_infer, .reference = one_hot_reference};
const tern__op_def tern__op_non_zero = {
    .name = "NonZero", .domain = "", .since = 9, .min_inputs = 1, .max_inputs = 1, .min_outputs = 1,
    .max_outputs = 1, .infer = non_zero_infer, .reference = non_zero_reference};
