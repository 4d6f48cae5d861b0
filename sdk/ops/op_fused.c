/* tern.Fused: several nodes that a backend runs as one (tern__graph_fuse). The plain reference runs the parts one after
 * the other; what only they see lives in scratch memory. */
#include <string.h>

#include "ir/op.h"

typedef struct inner { tern__value_id id; tern__view view; } inner;

typedef struct fused {
  tern__op_call *call;
  inner *values;        /* what the parts hand to one another; base/array.h array */
  tern__view *in, *out; /* of the widest part */
  uint64_t *operations; /* adds those of the parts; may be NULL */
} fused;

static tern__view *find_inner(const fused *f, tern__value_id id) {
  for (size_t i = 0; i < tern__array_count(f->values); i++)
    if (f->values[i].id == id) return &f->values[i].view;
  return NULL;
}

static int32_t position(const tern__value_id *list, int32_t n, tern__value_id id) {
  for (int32_t i = 0; i < n; i++)
    if (list[i] == id) return i;
  return -1;
}

static void read_inputs(const fused *f, const tern__node *part) {
  const tern__node *node = f->call->node;
  for (int32_t i = 0; i < part->n_inputs; i++) {
    f->in[i] = (tern__view){.dtype = TERN_DTYPE_NONE};
    if (part->inputs[i] < 0) continue;
    int32_t at = position(node->inputs, node->n_inputs, part->inputs[i]);
    int32_t made = position(node->outputs, node->n_outputs, part->inputs[i]);
    const tern__view *view = find_inner(f, part->inputs[i]);
    if (at >= 0) f->in[i] = f->call->inputs[at];
    else if (made >= 0) f->in[i] = f->call->outputs[made];
    else if (view) f->in[i] = *view;
  }
}

/* Infers or runs one part; memory of inner values is taken in a run alone. */
static tern_status run_part(fused *f, const tern__node *part, bool infer_only) {
  tern_status status = TERN_OK;
  const tern__node *node = f->call->node;
  tern__op_call call = {part, f->call->graph, f->in, f->out, part->n_inputs, part->n_outputs, f->call->alloc,
                        f->call->kv, f->call->cancel};
  read_inputs(f, part);
  for (int32_t i = 0; i < part->n_outputs; i++) {
    f->out[i] = (tern__view){.dtype = TERN_DTYPE_NONE};
    f->out[i].shape.rank = -1;
  }
  TERN_TRY(part->op->infer(&call));
  for (int32_t i = 0; i < part->n_outputs; i++) {
    int32_t at = position(node->outputs, node->n_outputs, part->outputs[i]);
    if (part->outputs[i] < 0) {
      f->out[i].dtype = TERN_DTYPE_NONE;
    } else if (at >= 0) {
      if (infer_only) f->call->outputs[at].dtype = f->out[i].dtype, f->call->outputs[at].shape = f->out[i].shape;
      else f->out[i] = f->call->outputs[at];
    } else {
      if (!infer_only) {
        if (!tern__shape_bytes(f->out[i].dtype, &f->out[i].shape, &f->out[i].size_bytes))
          TERN_TRY(tern__op_fail(f->call, TERN_STATUS_SHAPE_MISMATCH, "part '%s' (%s): a result without a size",
                                 part->name, part->op->name));
        f->out[i].data = tern__alloc_aligned(f->call->alloc, f->out[i].size_bytes + 1, 64);
        TERN_CHECK_ALLOC(f->out[i].data);
      }
      status = TERN_OK;
      TERN_ARRAY_PUSH(f->call->alloc, f->values, (inner){part->outputs[i], f->out[i]});
    }
  }
  if (!infer_only) TERN_TRY(part->op->reference(&call));
  if (f->operations) *f->operations += tern__op_work_of(&call).operations;
cleanup:
  return status;
}

static tern_status run_parts(tern__op_call *call, bool infer_only, uint64_t *operations) {
  tern_status status = TERN_OK;
  const tern__node *node = call->node;
  fused f = {.call = call, .operations = operations};
  int32_t widest_in = 1, widest_out = 1;
  for (int32_t p = 0; p < node->n_parts; p++) {
    if (node->parts[p].n_inputs > widest_in) widest_in = node->parts[p].n_inputs;
    if (node->parts[p].n_outputs > widest_out) widest_out = node->parts[p].n_outputs;
  }
  f.in = tern__calloc(call->alloc, (size_t)widest_in, sizeof *f.in);
  f.out = tern__calloc(call->alloc, (size_t)widest_out, sizeof *f.out);
  if (!f.in || !f.out) TERN_CHECK_ALLOC(NULL);
  for (int32_t p = 0; p < node->n_parts; p++) TERN_TRY(run_part(&f, &node->parts[p], infer_only));
cleanup:
  for (size_t i = 0; i < tern__array_count(f.values); i++)
    tern__free_aligned(call->alloc, f.values[i].view.data, f.values[i].view.size_bytes + 1, 64);
  TERN_ARRAY_FREE(call->alloc, f.values);
  tern__free(call->alloc, f.in);
  tern__free(call->alloc, f.out);
  return status;
}

static tern_status infer(tern__op_call *call) { return run_parts(call, true, NULL); }
static tern_status reference(tern__op_call *call) { return run_parts(call, false, NULL); }

/* What the parts hand to one another need not touch memory: the bytes are those of the whole. */
static void work(const tern__op_call *call, tern__op_work *out) {
  tern__op_call again = *call; /* its outputs are inferred once more, to what they are */
  out->operations = 0;
  (void)run_parts(&again, true, &out->operations);
}

static const tern__attr_def attrs[] = {{"kind", TERN__ATTR_STRING}, {NULL, 0}};

const tern__op_def tern__op_fused = {
    .name = "Fused",
    .domain = "tern",
    .since = 1,
    .flags = TERN__OP_NOT_FOLDED,
    .min_inputs = 0,
    .max_inputs = -1,
    .min_outputs = 1,
    .max_outputs = -1,
    .weight_inputs = UINT32_MAX,
    .attrs = attrs,
    .infer = infer,
    .reference = reference,
    .work = work,
};
