/* The operator table and attribute access. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ir/op.h"

#define TERN__OP(symbol) extern const tern__op_def tern__op_##symbol;
#include "ir/ops.def"
#undef TERN__OP

static const tern__op_def *const ops[] = {
#define TERN__OP(symbol) &tern__op_##symbol,
#include "ir/ops.def"
#undef TERN__OP
};

const tern__op_def *const *tern__op_list(size_t *count) {
  *count = sizeof ops / sizeof *ops;
  return ops;
}

const tern__op_def *tern__op_find(const char *name, const char *domain, int32_t opset) {
  if (strcmp(domain, "ai.onnx") == 0) domain = "";
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    if (strcmp(ops[i]->name, name) == 0 && strcmp(ops[i]->domain, domain) == 0 && opset >= ops[i]->since &&
        (!ops[i]->until || opset <= ops[i]->until))
      return ops[i];
  return NULL;
}

const tern__attr *tern__node_attr(const tern__node *node, const char *name) {
  for (int32_t i = node->n_attrs; i-- > 0;) /* the last one set wins */
    if (strcmp(node->attrs[i].name, name) == 0) return &node->attrs[i];
  return NULL;
}

int64_t tern__node_int(const tern__node *node, const char *name, int64_t fallback) {
  const tern__attr *a = tern__node_attr(node, name);
  return a && a->kind == TERN__ATTR_INT ? a->i : fallback;
}

float tern__node_float(const tern__node *node, const char *name, float fallback) {
  const tern__attr *a = tern__node_attr(node, name);
  return a && a->kind == TERN__ATTR_FLOAT ? a->f : fallback;
}

const char *tern__node_string(const tern__node *node, const char *name, const char *fallback) {
  const tern__attr *a = tern__node_attr(node, name);
  return a && a->kind == TERN__ATTR_STRING ? a->s : fallback;
}

const int64_t *tern__node_ints(const tern__node *node, const char *name, size_t *count) {
  static const int64_t none[1] = {0};
  const tern__attr *a = tern__node_attr(node, name);
  *count = 0;
  if (!a || a->kind != TERN__ATTR_INTS) return NULL;
  *count = a->count;
  return a->count ? a->ints : none;
}

tern_status tern__op_fail(const tern__op_call *call, tern_status code, const char *fmt, ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return tern__fail(code, "node '%s' (%s): %s", call->node->name, call->node->op->name, text);
}

tern_status tern__op_axis(const tern__op_call *call, int64_t axis, int32_t rank, int32_t *out) {
  *out = 0;
  if (axis < -(int64_t)rank || axis >= rank)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "axis %lld is out of range for rank %d",
                         (long long)axis, rank);
  *out = (int32_t)(axis < 0 ? axis + rank : axis);
  return TERN_OK;
}

tern_status tern__op_broadcast(const tern__op_call *call, const tern__shape *a, const tern__shape *b,
                               tern__shape *out) {
  char ta[96], tb[96];
  tern__shape r = {.rank = a->rank > b->rank ? a->rank : b->rank};
  if (a->rank < 0 || b->rank < 0) {
    out->rank = -1;
    return TERN_OK;
  }
  for (int32_t i = 0; i < r.rank; i++) {
    int32_t ia = i - (r.rank - a->rank), ib = i - (r.rank - b->rank);
    int64_t da = ia < 0 ? 1 : a->dims[ia], db = ib < 0 ? 1 : b->dims[ib];
    if (da == db || db == 1) r.dims[i] = da;
    else if (da == 1) r.dims[i] = db;
    else if (da < 0 || db < 0) r.dims[i] = da < 0 ? db : da; /* the unknown one must turn out 1 or equal */
    else
      return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "shapes %s and %s do not broadcast",
                           tern__shape_text(a, ta, sizeof ta), tern__shape_text(b, tb, sizeof tb));
  }
  *out = r;
  return TERN_OK;
}

tern_status tern__op_ints(const tern__op_call *call, int32_t input, int64_t *values, int32_t capacity, int32_t *count) {
  const tern__view *v = &call->inputs[input];
  size_t n;
  *count = -1;
  if (v->shape.rank > 1) return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d must be a vector", input);
  if (v->dtype != TERN_DTYPE_I64 && v->dtype != TERN_DTYPE_I32)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d must be int64 or int32, it is %s", input,
                         tern_dtype_name(v->dtype));
  if (!tern__shape_count(&v->shape, &n)) return TERN_OK;
  if (n > (size_t)capacity)
    return tern__op_fail(call, TERN_STATUS_SHAPE_MISMATCH, "input %d has %zu entries, at most %d fit", input,
                         n, capacity);
  if (n && !v->data) return TERN_OK;
  for (size_t i = 0; i < n; i++) {
    if (v->dtype == TERN_DTYPE_I64)
      memcpy(&values[i], (const char *)v->data + i * 8, 8); /* file data may be unaligned */
    else {
      int32_t x;
      memcpy(&x, (const char *)v->data + i * 4, 4);
      values[i] = x;
    }
  }
  *count = (int32_t)n;
  return TERN_OK;
}

/* ---- what a call asks of a machine ---- */

size_t tern__op_elements(const tern__view *view) {
  size_t n;
  return tern__shape_count(&view->shape, &n) ? n : 0;
}

static uint64_t bytes_of(const tern__view *view) {
  size_t n;
  return view->dtype != TERN_DTYPE_NONE && tern__shape_bytes(view->dtype, &view->shape, &n) ? n : 0;
}

tern__op_work tern__op_work_of(const tern__op_call *call) {
  tern__op_work work = {0};
  for (int32_t i = 0; i < call->n_inputs; i++) work.bytes += bytes_of(&call->inputs[i]);
  for (int32_t i = 0; i < call->n_outputs; i++)
    if (tern__has_output(call, i))
      work.bytes += bytes_of(&call->outputs[i]), work.operations += tern__op_elements(&call->outputs[i]);
  if (call->node->op->work) call->node->op->work(call, &work);
  return work;
}

void tern__op_product_work(const tern__op_call *call, tern__op_work *work) {
  const tern__shape *x = &call->inputs[0].shape;
  int32_t last = x->rank - 1;
  if (last > 0 && tern__node_int(call->node, "transA", 0)) last--;
  work->operations = last < 0 ? 0 : 2 * (uint64_t)x->dims[last] * tern__op_elements(&call->outputs[0]);
}

void tern__op_lookup_work(const tern__op_call *call, tern__op_work *work) {
  const tern__view *table = &call->inputs[0], *y = &call->outputs[0];
  int32_t r = table->shape.rank, last = y->shape.rank - 1;
  if (r < 1 || last < 0 || table->shape.dims[0] < 1 || y->shape.dims[last] < 1) return;
  /* A table of one dimension gives elements, a larger one rows (packed ones hold more than their dimensions say). */
  double rows = (double)tern__op_elements(y) / (r > 1 ? (double)y->shape.dims[last] : 1);
  double share = rows / (double)table->shape.dims[0];
  uint64_t whole = bytes_of(table);
  if (share < 1) work->bytes -= whole - (uint64_t)(share * (double)whole);
}
