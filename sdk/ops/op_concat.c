/* Concat along an axis, and Split, its inverse. Any type of whole bytes. */
#include <string.h>

#include "ops/elements.h"

static tern_status concat_infer(tern__op_call *call) {
  tern_status status = TERN_OK;
  tern__view *y = &call->outputs[0];
  int32_t axis;
  char ta[96], tb[96];
  y->dtype = call->inputs[0].dtype;
  if (!tern__element_size(y->dtype)) return tern__op_bad_type(call, 0);
  if (!tern__node_attr(call->node, "axis"))
    return tern__op_fail(call, TERN_STATUS_CORRUPT, "attribute 'axis' is missing");
  if (!tern__op_inputs_known(call)) return TERN_OK;
  tern__shape shape = call->inputs[0].shape;
  TERN_TRY(tern__op_axis(call, tern__node_int(call->node, "axis", 0), shape.rank, &axis));
  for (int32_t i = 1; i < call->n_inputs; i++) {
    const tern__view *x = &call->inputs[i];
    bool fits = x->shape.rank == shape.rank && x->dtype == y->dtype;
    for (int32_t d = 0; fits && d < shape.rank; d++) fits = d == axis || x->shape.dims[d] == shape.dims[d];
    if (!fits || __builtin_add_overflow(shape.dims[axis], x->shape.dims[axis], &shape.dims[axis]))
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d (%s %s) does not fit %s %s", i,
                           tern_dtype_name(x->dtype), tern__shape_text(&x->shape, ta, sizeof ta),
                           tern_dtype_name(y->dtype), tern__shape_text(&shape, tb, sizeof tb));
  }
  y->shape = shape;
cleanup:
  return status;
}

static tern_status concat_reference(tern__op_call *call) {
  const tern__view *y = &call->outputs[0];
  int32_t axis;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", 0), y->shape.rank, &axis);
  size_t size = tern__element_size(y->dtype), outer = tern__dims_product(&y->shape, 0, axis);
  size_t row = tern__dims_product(&y->shape, axis, y->shape.rank) * size, at = 0;
  for (int32_t k = 0; status == TERN_OK && k < call->n_inputs; k++) {
    const tern__view *x = &call->inputs[k];
    size_t piece = tern__dims_product(&x->shape, axis, x->shape.rank) * size;
    for (size_t i = 0; i < outer && piece; i++)
      memcpy((char *)y->data + i * row + at, (const char *)x->data + i * piece, piece);
    at += piece;
  }
  return status;
}

/* Sizes of the parts: input 1 or attribute `split`, or equal parts (the last smaller from opset 18 on). */
static tern_status split_sizes(const tern__op_call *call, int64_t dim, int64_t *sizes, bool *known) {
  tern_status status = TERN_OK;
  int32_t n = call->n_outputs;
  int64_t total = 0;
  *known = true;
  const tern__view *split = tern__has_input(call, 1) ? &call->inputs[1] : NULL;
  size_t n_attr;
  const int64_t *attr = tern__node_ints(call->node, "split", &n_attr);
  if (!split && !attr) {
    int64_t part = (dim + n - 1) / n;
    if (dim % n && call->node->opset < 18)
      TERN_FAIL(TERN_STATUS_SHAPE_MISMATCH, "node '%s' (Split): %lld is no multiple of %d parts",
                call->node->name, (long long)dim, n);
    for (int32_t i = 0; i < n; i++, dim -= part) sizes[i] = dim < 0 ? 0 : dim < part ? dim : part;
    goto cleanup;
  }
  size_t count = split ? tern__view_count(split) : n_attr;
  if (split && split->dtype != TERN_DTYPE_I64) TERN_TRY(tern__op_bad_type(call, 1));
  if (count != (size_t)n)
    TERN_TRY(tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "%zu sizes for %d outputs", count, n));
  if (split && !split->data) {
    *known = false;
    goto cleanup;
  }
  for (int32_t i = 0; i < n; i++) {
    sizes[i] = split ? tern__view_int(split, (size_t)i) : attr[i];
    if (sizes[i] < 0 || sizes[i] > dim - total)
      TERN_TRY(
          tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the sizes do not add up to %lld", (long long)dim));
    total += sizes[i];
  }
  if (total != dim)
    TERN_TRY(
        tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "the sizes do not add up to %lld", (long long)dim));
cleanup:
  return status;
}

static tern_status split_infer(tern__op_call *call) {
  tern_status status = TERN_OK;
  const tern__view *x = &call->inputs[0];
  int32_t axis;
  bool known;
  int64_t *sizes = NULL;
  if (!tern__element_size(x->dtype)) return tern__op_bad_type(call, 0);
  for (int32_t i = 0; i < call->n_outputs; i++) call->outputs[i].dtype = x->dtype;
  if (!tern__op_inputs_known(call)) return TERN_OK;
  sizes = tern__calloc(call->alloc, (size_t)call->n_outputs, sizeof *sizes);
  TERN_CHECK_ALLOC(sizes);
  TERN_TRY(tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->shape.rank, &axis));
  TERN_TRY(split_sizes(call, x->shape.dims[axis], sizes, &known));
  for (int32_t i = 0; known && i < call->n_outputs; i++) {
    call->outputs[i].shape = x->shape;
    call->outputs[i].shape.dims[axis] = sizes[i];
  }
cleanup:
  tern__free(call->alloc, sizes);
  return status;
}

static tern_status split_reference(tern__op_call *call) {
  const tern__view *x = &call->inputs[0];
  int32_t axis;
  tern_status status = tern__op_axis(call, tern__node_int(call->node, "axis", 0), x->shape.rank, &axis);
  size_t size = tern__element_size(x->dtype), outer = tern__dims_product(&x->shape, 0, axis), at = 0;
  size_t inner = tern__dims_product(&x->shape, axis + 1, x->shape.rank) * size,
         row = inner * (size_t)x->shape.dims[axis];
  int64_t *sizes = tern__calloc(call->alloc, (size_t)call->n_outputs, sizeof *sizes);
  bool known;
  if (status == TERN_OK) TERN_CHECK_ALLOC(sizes);
  if (status == TERN_OK) TERN_TRY(split_sizes(call, x->shape.dims[axis], sizes, &known));
  for (int32_t k = 0; status == TERN_OK && k < call->n_outputs; k++) {
    size_t piece = (size_t)sizes[k] * inner; /* an output that nobody wants is skipped */
    for (size_t i = 0; i < outer && piece && call->outputs[k].dtype != TERN_DTYPE_NONE; i++)
      memcpy((char *)call->outputs[k].data + i * piece, (const char *)x->data + i * row + at, piece);
    at += piece;
  }
cleanup:
  tern__free(call->alloc, sizes);
  return status;
}

static const tern__attr_def axis_attrs[] = {{"axis", TERN__ATTR_INT}, {NULL, 0}};
static const tern__attr_def split_11_attrs[] = {
    {"axis", TERN__ATTR_INT}, {"split", TERN__ATTR_INTS}, {NULL, 0}};
static const tern__attr_def split_attrs[] = {
    {"axis", TERN__ATTR_INT}, {"num_outputs", TERN__ATTR_INT}, {NULL, 0}};
const tern__op_def tern__op_concat = {
    .name = "Concat", .domain = "", .since = 4, .min_inputs = 1, .max_inputs = -1, .min_outputs = 1,
    .max_outputs = 1, .attrs = axis_attrs, .infer = concat_infer, .reference = concat_reference};
const tern__op_def tern__op_split_2 = {
    .name = "Split", .domain = "", .since = 2, .until = 12, .min_inputs = 1, .max_inputs = 1,
    .min_outputs = 1, .max_outputs = -1, .attrs = split_11_attrs, .infer = split_infer,
    .reference = split_reference};
const tern__op_def tern__op_split = {
    .name = "Split", .domain = "", .since = 13, .min_inputs = 1, .max_inputs = 2, .min_outputs = 1,
    .max_outputs = -1, .attrs = split_attrs, .infer = split_infer, .reference = split_reference};
