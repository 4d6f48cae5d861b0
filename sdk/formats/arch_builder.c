/* Hyperparameters, weights, and the nodes that every decoder has. */
#include "formats/arch_builder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/op.h"
#include "ir/quants.h"

enum { ONNX_OPSET = 18, MAX_LAYERS = 1024, MAX_DIM = 1 << 24 };

tern__arch_name tern__arch_layer(int32_t layer, const char *what) {
  tern__arch_name name;
  snprintf(name.text, sizeof name.text, "blk.%d.%s", layer, what);
  return name;
}

static void full_key(const tern__arch_builder *b, const char *key, char *text, size_t size) {
  snprintf(text, size, "%s.%s", b->info->architecture, key);
}

tern_status tern__arch_int(tern__arch_builder *b, const char *key, bool need, int64_t fallback, int64_t low,
                           int64_t high, int64_t *out) {
  tern_status status = TERN_OK;
  char full[160];
  full_key(b, key, full, sizeof full);
  const tern__gguf_entry *e = tern__gguf_find(b->gguf, full);
  *out = fallback;
  if (!e && need) TERN_FAIL(TERN_STATUS_CORRUPT, "key '%s' is missing", full);
  if (!e) goto cleanup;
  if (e->type == TERN__GGUF_ARRAY) {
    const int64_t *values;
    size_t count;
    TERN_TRY(tern__gguf_ints(b->gguf, full, b->graph->arena, &values, &count));
    if (!count) TERN_FAIL(TERN_STATUS_CORRUPT, "key '%s' is an empty array", full);
    for (size_t i = 1; i < count; i++)
      if (values[i] != values[0])
        TERN_FAIL(TERN_STATUS_UNSUPPORTED, "key '%s' differs between layers, which is not supported", full);
    *out = values[0];
  } else
    TERN_TRY(tern__gguf_int(b->gguf, full, fallback, out));
  if (*out < low || *out > high)
    TERN_FAIL(TERN_STATUS_CORRUPT, "key '%s' is %lld, not within %lld to %lld", full, (long long)*out,
              (long long)low, (long long)high);
cleanup:
  return status;
}

tern_status tern__arch_number(tern__arch_builder *b, const char *key, double fallback, double *out) {
  char full[160];
  full_key(b, key, full, sizeof full);
  tern_status status = tern__gguf_number(b->gguf, full, fallback, out);
  if (status == TERN_OK && !isfinite(*out))
    status = tern__fail(TERN_STATUS_CORRUPT, "key '%s' is not finite", full);
  return status;
}

tern_status tern__arch_demand(tern__arch_builder *b, const char *key, int64_t value) {
  tern_status status = TERN_OK;
  int64_t found;
  TERN_TRY(tern__arch_int(b, key, false, value, INT64_MIN, INT64_MAX, &found));
  if (found != value)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "key '%s.%s' is %lld; only %lld is supported", b->info->architecture,
              key, (long long)found, (long long)value);
cleanup:
  return status;
}

tern_status tern__arch_weight(tern__arch_builder *b, const char *name, bool need, int64_t rows,
                              int64_t columns, tern__value_id *out) {
  tern_status status = TERN_OK;
  char found[96], wanted[96];
  const tern__gguf_tensor *t = tern__gguf_find_tensor(b->gguf, name);
  *out = tern__graph_find(b->graph, name);
  if (!t && need) TERN_FAIL(TERN_STATUS_CORRUPT, "tensor '%s' is missing", name);
  if (!t) goto cleanup;
  tern__shape shape = {.rank = rows ? 2 : 1, .dims = {rows ? rows : columns, columns}};
  if (!tern__shape_equal(&shape, &t->shape))
    TERN_FAIL(TERN_STATUS_CORRUPT, "tensor '%s' has shape %s, the architecture needs %s", name,
              tern__shape_text(&t->shape, found, sizeof found),
              tern__shape_text(&shape, wanted, sizeof wanted));
  b->used[t - b->gguf->tensors] = true;
  if (*out >= 0) goto cleanup;
  const void *data = t->data;
  size_t size = t->size_bytes;
  tern_dtype dtype = t->dtype;
  if (!rows && (dtype != TERN_DTYPE_F32 || (uintptr_t)data % sizeof(float))) {
    /* Norms and biases are plain float inputs. */
    float *widened = tern__arena_calloc(b->graph->arena, (size_t)columns, sizeof *widened);
    TERN_CHECK_ALLOC(widened);
    tern__dequantize_row(dtype, data, widened, (size_t)columns);
    data = widened, size = (size_t)columns * sizeof *widened, dtype = TERN_DTYPE_F32;
  }
  TERN_TRY(tern__graph_add_constant(b->graph, t->name, dtype, shape.rank, shape.dims, data, size, out));
cleanup:
  return status;
}

static tern_status add_node(tern__arch_builder *b, const char *op_name, const char *domain, const char *name,
                            const tern__value_id *inputs, int32_t n_inputs, const tern__value_id *outputs,
                            int32_t n_outputs, int32_t *node) {
  int32_t opset = *domain ? 1 : ONNX_OPSET, index;
  const tern__op_def *op = tern__op_find(op_name, domain, opset);
  if (!op && !*domain)
    op = tern__op_find(op_name, domain, opset = 1); /* SimplifiedLayerNormalization: ONNX Runtime's, at 1 */
  if (!op) return tern__fail(TERN_STATUS_INTERNAL, "operator %s is not in this build", op_name);
  return tern__graph_add_node(b->graph, op, name, opset, inputs, n_inputs, outputs, n_outputs,
                              node ? node : &index);
}

tern_status tern__arch_node(tern__arch_builder *b, const char *op, const char *domain, const char *name,
                            const tern__value_id *inputs, int32_t n_inputs, tern__value_id *out,
                            int32_t *node) {
  tern_status status = TERN_OK;
  tern__value_id result;
  TERN_TRY(tern__graph_add_value(b->graph, "", TERN_DTYPE_NONE, -1, NULL, &result));
  TERN_TRY(add_node(b, op, domain, name, inputs, n_inputs, &result, 1, node));
  *out = result;
cleanup:
  return status;
}

tern_status tern__arch_constant(tern__arch_builder *b, tern_dtype dtype, int32_t rank, const int64_t *dims,
                                const void *data, tern__value_id *out) {
  tern_status status = TERN_OK;
  size_t size;
  tern__shape shape = {.rank = rank};
  for (int32_t i = 0; i < rank; i++) shape.dims[i] = dims[i];
  if (!tern__shape_bytes(dtype, &shape, &size)) TERN_FAIL(TERN_STATUS_INTERNAL, "a constant without a size");
  void *copy = tern__arena_alloc(b->graph->arena, size);
  TERN_CHECK_ALLOC(copy);
  memcpy(copy, data, size);
  TERN_TRY(tern__graph_add_constant(b->graph, "", dtype, rank, dims, copy, size, out));
cleanup:
  return status;
}

tern_status tern__arch_linear(tern__arch_builder *b, const char *name, tern__value_id x, int64_t n, int64_t k,
                              tern__value_id *out) {
  tern_status status = TERN_OK;
  char tensor[128];
  tern__value_id in[3] = {x, -1, -1};
  snprintf(tensor, sizeof tensor, "%s.weight", name);
  TERN_TRY(tern__arch_weight(b, tensor, true, n, k, &in[1]));
  snprintf(tensor, sizeof tensor, "%s.bias", name);
  TERN_TRY(tern__arch_weight(b, tensor, false, 0, n, &in[2]));
  TERN_TRY(tern__arch_node(b, "Linear", "tern", name, in, in[2] < 0 ? 2 : 3, out, NULL));
cleanup:
  return status;
}

tern_status tern__arch_norm(tern__arch_builder *b, const char *name, tern__value_id x, int64_t size,
                            tern__value_id *out) {
  tern_status status = TERN_OK;
  char tensor[128];
  int32_t node;
  tern__value_id in[2] = {x, -1};
  snprintf(tensor, sizeof tensor, "%s.weight", name);
  TERN_TRY(tern__arch_weight(b, tensor, true, 0, size, &in[1]));
  TERN_TRY(tern__arch_node(b, "SimplifiedLayerNormalization", "", name, in, 2, out, &node));
  TERN_TRY(tern__node_set_int(b->graph, node, "axis", -1));
  TERN_TRY(tern__node_set_float(b->graph, node, "epsilon", b->rms_epsilon));
cleanup:
  return status;
}

static tern_status reshape(tern__arch_builder *b, const char *name, tern__value_id x, int64_t heads,
                           int64_t last, tern__value_id *out) {
  tern_status status = TERN_OK;
  tern__value_id in[2] = {x, -1};
  int64_t dims[4] = {0, 0, heads ? heads : last, last}, rank = heads ? 4 : 3; /* 0 keeps the input's dim */
  TERN_TRY(tern__arch_constant(b, TERN_DTYPE_I64, 1, &rank, dims, &in[1]));
  TERN_TRY(tern__arch_node(b, "Reshape", "", name, in, 2, out, NULL));
cleanup:
  return status;
}

tern_status tern__arch_head_norm(tern__arch_builder *b, const char *name, tern__value_id x, int64_t heads,
                                 tern__value_id *out) {
  tern_status status = TERN_OK;
  TERN_TRY(reshape(b, name, x, heads, b->info->head_dim, &x));
  TERN_TRY(tern__arch_norm(b, name, x, b->info->head_dim, &x));
  TERN_TRY(reshape(b, name, x, 0, heads * b->info->head_dim, out));
cleanup:
  return status;
}

tern_status tern__arch_add(tern__arch_builder *b, const char *name, tern__value_id x, tern__value_id y,
                           tern__value_id *out) {
  return tern__arch_node(b, "Add", "", name, (tern__value_id[]){x, y}, 2, out, NULL);
}

tern_status tern__arch_scale(tern__arch_builder *b, const char *name, tern__value_id x, float by,
                             tern__value_id *out) {
  tern_status status = TERN_OK;
  tern__value_id in[2] = {x, -1};
  TERN_TRY(tern__arch_constant(b, TERN_DTYPE_F32, 0, NULL, &by, &in[1]));
  TERN_TRY(tern__arch_node(b, "Mul", "", name, in, 2, out, NULL));
cleanup:
  return status;
}

tern_status tern__arch_gated_mlp(tern__arch_builder *b, int32_t layer, tern__value_id x, const char *gate_op,
                                 tern__value_id *out) {
  tern_status status = TERN_OK;
  tern__value_id gate_up[2], y;
  int32_t node;
  int64_t width = b->info->width;
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "ffn_gate").text, x, b->n_ff, width, &gate_up[0]));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "ffn_up").text, x, b->n_ff, width, &gate_up[1]));
  TERN_TRY(
      tern__arch_node(b, gate_op, "tern", tern__arch_layer(layer, "ffn_act").text, gate_up, 2, &y, &node));
  if (strcmp(gate_op, "GeluMul") == 0) TERN_TRY(tern__node_set_string(b->graph, node, "approximate", "tanh"));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "ffn_down").text, y, width, b->n_ff, out));
cleanup:
  return status;
}

static tern_status add_present(tern__arch_builder *b, int32_t layer, const char *part, tern__value_id *past,
                               tern__value_id *present) {
  tern_status status = TERN_OK;
  char name[64];
  int64_t dims[4] = {-1, b->info->kv_heads, -1, b->info->head_dim};
  snprintf(name, sizeof name, "past_key_values.%d.%s", layer, part);
  TERN_TRY(tern__graph_add_value(b->graph, name, TERN_DTYPE_F32, 4, dims, past));
  TERN_TRY(tern__graph_add_input(b->graph, *past));
  snprintf(name, sizeof name, "present.%d.%s", layer, part);
  TERN_TRY(tern__graph_add_value(b->graph, name, TERN_DTYPE_F32, 4, dims, present));
cleanup:
  return status;
}

tern_status tern__arch_attend(tern__arch_builder *b, int32_t layer, tern__value_id q, tern__value_id k,
                              tern__value_id v, const tern__arch_attention *options, tern__value_id *out) {
  tern_status status = TERN_OK;
  int32_t node;
  tern__value_id outs[3], in[9] = {q, k, v, -1, -1, b->seqlens, b->total_length};
  in[7] = options->rotary.cos, in[8] = options->rotary.sin;
  TERN_TRY(tern__graph_add_value(b->graph, "", TERN_DTYPE_NONE, -1, NULL, &outs[0]));
  TERN_TRY(add_present(b, layer, "key", &in[3], &outs[1]));
  TERN_TRY(add_present(b, layer, "value", &in[4], &outs[2]));
  TERN_TRY(add_node(b, "GroupQueryAttention", "com.microsoft", tern__arch_layer(layer, "attn").text, in, 9,
                    outs, 3, &node));
  TERN_TRY(tern__node_set_int(b->graph, node, "num_heads", b->info->n_heads));
  TERN_TRY(tern__node_set_int(b->graph, node, "kv_num_heads", b->info->kv_heads));
  TERN_TRY(tern__node_set_float(b->graph, node, "scale", options->scale));
  TERN_TRY(tern__node_set_int(b->graph, node, "local_window_size", options->window));
  TERN_TRY(tern__node_set_int(b->graph, node, "do_rotary", 1));
  TERN_TRY(tern__node_set_int(b->graph, node, "rotary_interleaved", options->interleaved));
  TERN_TRY(tern__graph_add_output(b->graph, outs[1]));
  TERN_TRY(tern__graph_add_output(b->graph, outs[2]));
  *out = outs[0];
cleanup:
  return status;
}

static tern_status read_sizes(tern__arch_builder *b) {
  tern_status status = TERN_OK;
  int64_t v, values;
  double epsilon;
  tern__arch_info *info = b->info;
  TERN_TRY(tern__arch_int(b, "block_count", true, 0, 1, MAX_LAYERS, &v));
  info->n_layers = (int32_t)v;
  TERN_TRY(tern__arch_int(b, "context_length", true, 0, 1, INT32_MAX, &v));
  info->trained_context = (int32_t)v;
  info->context_length = v < b->max_positions ? (int32_t)v : b->max_positions;
  TERN_TRY(tern__arch_int(b, "embedding_length", true, 0, 1, MAX_DIM, &v));
  info->width = (int32_t)v;
  TERN_TRY(tern__arch_int(b, "feed_forward_length", true, 0, 1, MAX_DIM, &b->n_ff));
  TERN_TRY(tern__arch_int(b, "attention.head_count", true, 0, 1, 65536, &v));
  info->n_heads = (int32_t)v;
  TERN_TRY(tern__arch_int(b, "attention.head_count_kv", false, info->n_heads, 1, info->n_heads, &v));
  info->kv_heads = (int32_t)v;
  if (info->n_heads % info->kv_heads)
    TERN_FAIL(TERN_STATUS_CORRUPT,
              "key '%s.attention.head_count_kv' is %d, which does not divide the %d heads",
              info->architecture, info->kv_heads, info->n_heads);
  TERN_TRY(tern__arch_int(b, "attention.key_length", false, info->width / info->n_heads, 2, 65536, &v));
  info->head_dim = (int32_t)v;
  TERN_TRY(
      tern__arch_int(b, "attention.value_length", false, info->width / info->n_heads, 2, 65536, &values));
  if (values != v)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "%s: heads with keys of %lld and values of %lld are not supported",
              info->architecture, (long long)v, (long long)values);
  TERN_TRY(tern__arch_int(b, "rope.dimension_count", false, v, 2, v, &b->rotary_dim));
  if (b->rotary_dim % 2 || v % 2)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "%s: heads of odd size are not supported", info->architecture);
  TERN_TRY(tern__arch_number(b, "attention.layer_norm_rms_epsilon", -1, &epsilon));
  if (epsilon < 0)
    TERN_FAIL(TERN_STATUS_CORRUPT, "key '%s.attention.layer_norm_rms_epsilon' is missing or negative",
              info->architecture);
  b->rms_epsilon = (float)epsilon;
  TERN_TRY(tern__arch_demand(b, "expert_count", 0));
cleanup:
  return status;
}

/* GroupQueryAttention wants lengths, not a mask: seqlens_k = sum of the mask - 1, total = its width, as
 * int32. */
static tern_status add_lengths(tern__arch_builder *b, tern__value_id mask) {
  tern_status status = TERN_OK;
  enum { INT32 = 6 }; /* TensorProto.INT32 */
  int32_t node;
  int64_t one = 1;
  tern__value_id ones, index, v;
  TERN_TRY(tern__arch_constant(b, TERN_DTYPE_I64, 1, &one, &one, &ones));
  TERN_TRY(tern__arch_constant(b, TERN_DTYPE_I64, 0, NULL, &one, &index));
  TERN_TRY(tern__arch_node(b, "ReduceSum", "", "lengths.sum", (tern__value_id[]){mask, ones}, 2, &v, &node));
  TERN_TRY(tern__node_set_int(b->graph, node, "keepdims", 0));
  TERN_TRY(tern__arch_node(b, "Sub", "", "lengths.last", (tern__value_id[]){v, ones}, 2, &v, NULL));
  TERN_TRY(tern__arch_node(b, "Cast", "", "lengths", &v, 1, &b->seqlens, &node));
  TERN_TRY(tern__node_set_int(b->graph, node, "to", INT32));
  TERN_TRY(tern__arch_node(b, "Shape", "", "total.shape", &mask, 1, &v, NULL));
  TERN_TRY(tern__arch_node(b, "Gather", "", "total.width", (tern__value_id[]){v, index}, 2, &v, NULL));
  TERN_TRY(tern__arch_node(b, "Cast", "", "total", &v, 1, &b->total_length, &node));
  TERN_TRY(tern__node_set_int(b->graph, node, "to", INT32));
cleanup:
  return status;
}

tern_status tern__arch_begin(tern__arch_builder *b, tern__value_id *x) {
  tern_status status = TERN_OK;
  int64_t any[2] = {-1, -1};
  tern__value_id ids[3], in[2];
  static const char *const names[3] = {"input_ids", "attention_mask", "position_ids"};
  TERN_TRY(read_sizes(b));
  for (int i = 0; i < 3; i++) {
    TERN_TRY(tern__graph_add_value(b->graph, names[i], TERN_DTYPE_I64, 2, any, &ids[i]));
    TERN_TRY(tern__graph_add_input(b->graph, ids[i]));
  }
  TERN_TRY(add_lengths(b, ids[1]));
  const tern__gguf_tensor *table = tern__gguf_find_tensor(b->gguf, "token_embd.weight");
  if (!table) TERN_FAIL(TERN_STATUS_CORRUPT, "tensor 'token_embd.weight' is missing");
  if (table->shape.rank != 2 || table->shape.dims[0] > INT32_MAX)
    TERN_FAIL(TERN_STATUS_CORRUPT, "tensor 'token_embd.weight' is no table");
  b->info->vocabulary = (int32_t)table->shape.dims[0];
  TERN_TRY(tern__arch_weight(b, table->name, true, b->info->vocabulary, b->info->width, &in[0]));
  in[1] = ids[0];
  TERN_TRY(tern__arch_node(b, "Gather", "", "token_embd", in, 2, x, NULL));
cleanup:
  return status;
}

/* Rotary frequencies that old converters copied from checkpoints; the hyperparameters say the same. */
static bool is_redundant(const char *name) {
  return strstr(name, ".attn_rot_embd.") || strstr(name, "rotary_emb.inv_freq");
}

static tern_status check_all_used(const tern__arch_builder *b) {
  tern_status status = TERN_OK;
  for (size_t i = 0; i < b->gguf->n_tensors; i++)
    if (!b->used[i] && !is_redundant(b->gguf->tensors[i].name))
      TERN_FAIL(TERN_STATUS_UNSUPPORTED,
                "tensor '%s' has no place in architecture '%s' as tern knows it; leaving it out would "
                "give wrong results",
                b->gguf->tensors[i].name, b->info->architecture);
cleanup:
  return status;
}

tern_status tern__arch_finish(tern__arch_builder *b, tern__value_id x, float softcap) {
  tern_status status = TERN_OK;
  tern__graph *g = b->graph;
  tern__value_id in[2], logits;
  bool untied = tern__gguf_find_tensor(b->gguf, "output.weight") != NULL;
  TERN_TRY(tern__arch_norm(b, "output_norm", x, b->info->width, &in[0]));
  TERN_TRY(tern__arch_weight(b, untied ? "output.weight" : "token_embd.weight", true, b->info->vocabulary,
                             b->info->width, &in[1]));
  if (softcap > 0) {
    tern__value_id y;
    TERN_TRY(tern__arch_node(b, "Linear", "tern", "output", in, 2, &y, NULL));
    TERN_TRY(tern__arch_scale(b, "output.softcap_in", y, 1.0f / softcap, &y));
    TERN_TRY(tern__arch_node(b, "Tanh", "", "output.softcap", &y, 1, &in[0], NULL));
    TERN_TRY(tern__arch_constant(b, TERN_DTYPE_F32, 0, NULL, &softcap, &in[1]));
  }
  TERN_TRY(tern__graph_add_value(g, "logits", TERN_DTYPE_F32, 3, (int64_t[]){-1, -1, b->info->vocabulary},
                                 &logits));
  TERN_TRY(add_node(b, softcap > 0 ? "Mul" : "Linear", softcap > 0 ? "" : "tern", "logits", in, 2, &logits, 1,
                    NULL));
  TERN_TRY(tern__graph_add_output(g, logits));
  for (size_t i = tern__array_count(g->outputs) - 1; i > 0; i--)
    g->outputs[i] = g->outputs[i - 1]; /* logits come first */
  g->outputs[0] = logits;
  TERN_TRY(check_all_used(b));
cleanup:
  return status;
}
