/* Kinds of tern.Fused around products with constant weights (gpu_fuse.h says what their parts are). */
#include "gpu/gpu_fuse.h"
#include "gpu/ops/gpu_product.h"

#include <string.h>

static bool read_part(const tern__program *program, const tern__node *node, int32_t part, const tern__node *norm,
                      tern__gpu_linear *out) {
  const tern__node *of = &node->parts[part];
  tern__weight_read *read = tern__gpu_product_reader(of->op);
  const tern__view *x = norm ? tern__gpu_in(program, norm, 0) : NULL; /* a norm's result looks like what it reads */
  if (!read || !tern__gpu_product_of(program, of, x, read, out)) return false;
  out->node = node;
  return true;
}

/* The product, after a norm of its X (NULL = none). */
static tern_status add_after(tern__program *program, tern__gpu_linear *product, const tern__node *norm, bool *taken) {
  if (norm) {
    if (!tern__gpu_is_rms_norm(program, norm, product->sources.list[0].k)) return TERN_OK;
    product->norm = norm, product->x = tern__gpu_input(norm, 0);
  }
  return tern__gpu_add_product(program, product, taken);
}

/* ---- several products of one X ---- */

typedef struct bias_job { const void *parts[TERN__GPU_MAX_SOURCES]; size_t counts[TERN__GPU_MAX_SOURCES]; } bias_job;

static tern_status build_biases(void *user_data, void *packed) {
  const bias_job *job = user_data;
  float *out = packed;
  for (int i = 0; i < TERN__GPU_MAX_SOURCES; out += job->counts[i], i++)
    if (job->counts[i]) memcpy(out, job->parts[i], job->counts[i] * sizeof *out); /* of any alignment */
  return TERN_OK;
}

/* Constant biases one after the other, as a weight of its own. */
static tern_status join_biases(tern__program *program, const void *const *biases, int32_t n,
                               const tern__gpu_linear *product, tern__gpu_operand *out) {
  tern_status status = TERN_OK;
  uint64_t layout = TERN__PACK_HASH, count = 0;
  int32_t index;
  bias_job *job = tern__gpu_params(program, sizeof *job);
  TERN_CHECK_ALLOC(job);
  for (int32_t i = 0; i < n; i++) {
    job->parts[i] = biases[i], job->counts[i] = product->widths[i];
    layout = tern__pack_hash(layout, job->parts[i], job->counts[i] * sizeof(float));
    count += job->counts[i];
  }
  tern__gpu_weight weight = {.key = job->parts[0], .layout = layout, .size = count * sizeof(float),
                             .build = build_biases, .user_data = job};
  TERN_TRY(tern__gpu_add_weight(program, &weight, &index));
  *out = (tern__gpu_operand){TERN__GPU_WEIGHT, index, 0, count * sizeof(float)};
cleanup:
  return status;
}

static int32_t bias_input(const tern__node *part) {
  if (!strcmp(part->op->name, "ChannelLinear")) return 4;
  return !strcmp(part->op->name, "MatMulNBits") ? 5 : 2;
}

/* What compiles a fused product: adds its steps, after those of `norm` of its X (NULL = none), which belong to `node`,
 * too. */
typedef tern_status (*compile_after)(tern__program *program, const tern__node *node, const tern__node *norm,
                                     bool *taken);

/* The next product of a group and its bias, which may be a part of its own; moves `part` behind both. */
static bool read_member(const tern__program *program, const tern__node *node, const tern__node *norm, int32_t *part,
                        tern__gpu_linear *out, const void **bias) {
  const tern__node *of = &node->parts[*part], *add = of + 1;
  if (!read_part(program, node, (*part)++, norm, out)) return false;
  *bias = NULL;
  if (out->bias.kind != TERN__GPU_NONE) return (*bias = tern__gpu_constant(program, of, bias_input(of))) != NULL;
  if (*part == node->n_parts || strcmp(add->op->name, "Add") != 0) return true;
  (*part)++;
  out->outputs[0] = tern__gpu_output(add, 0);
  return (*bias = tern__gpu_constant(program, add, add->inputs[0] == of->outputs[0])) != NULL;
}

static tern_status compile_group(tern__program *program, const tern__node *node, const tern__node *norm, bool *taken) {
  tern_status status = TERN_OK;
  tern__gpu_linear product = {0}, more;
  const void *biases[TERN__GPU_MAX_SOURCES];
  int32_t n = 0, n_biases = 0;
  for (int32_t part = 0; part < node->n_parts; n++) {
    const void *bias;
    if (n == TERN__GPU_MAX_SOURCES || !read_member(program, node, norm, &part, &more, &bias)) return TERN_OK;
    if (!n) product = more;
    if (more.x.index != product.x.index || more.rows != product.rows) return TERN_OK;
    if (bias) biases[n_biases++] = bias;
    product.biases[n] = bias;
    product.sources.list[n] = more.sources.list[0], product.outputs[n] = more.outputs[0];
    product.widths[n] = more.widths[0];
  }
  product.sources.n = n;
  if (n_biases && n_biases != n) return TERN_OK;
  if (n_biases) TERN_TRY(join_biases(program, biases, n, &product, &product.bias));
  TERN_TRY(add_after(program, &product, norm, taken));
cleanup:
  return status;
}

tern_status tern__gpu_compile_linear_group(tern__program *program, const tern__node *node, bool *taken) {
  return compile_group(program, node, NULL, taken);
}

static tern_status compile_gated(tern__program *program, const tern__node *node, const tern__node *norm, bool *taken) {
  tern__gpu_linear product, up;
  const tern__node *gate = &node->parts[2];
  if (!read_part(program, node, 0, norm, &product) || !read_part(program, node, 1, norm, &up) ||
      up.x.index != product.x.index || up.widths[0] != product.widths[0] || product.bias.kind != TERN__GPU_NONE ||
      up.bias.kind != TERN__GPU_NONE)
    return TERN_OK;
  bool swapped = gate->inputs[0] == node->parts[1].outputs[0]; /* the part that comes second is the gate */
  product.sources.list[swapped] = product.sources.list[0];
  product.sources.list[!swapped] = up.sources.list[0];
  product.sources.n = 2, product.sources.in_turn = true;
  product.outputs[0] = tern__gpu_output(gate, 0);
  product.ending = !strcmp(gate->op->name, "SiluMul")                                 ? TERN__GPU_GATED_SILU
                   : !strcmp(tern__node_string(gate, "approximate", "none"), "tanh") ? TERN__GPU_GATED_GELU_TANH
                                                                                      : TERN__GPU_GATED_GELU_ERF;
  return add_after(program, &product, norm, taken);
}

tern_status tern__gpu_compile_linear_gated(tern__program *program, const tern__node *node, bool *taken) {
  return compile_gated(program, node, NULL, taken);
}

/* ---- an RMS norm, and the product or products that read it ---- */

static tern_status compile_one(tern__program *program, const tern__node *node, const tern__node *norm, bool *taken) {
  tern__gpu_linear product;
  tern__weight_read *read = tern__gpu_product_reader(node->op);
  if (!read || !tern__gpu_product_of(program, node, tern__gpu_in(program, norm, 0), read, &product)) return TERN_OK;
  return add_after(program, &product, norm, taken);
}

tern_status tern__gpu_compile_norm_linear(tern__program *program, const tern__node *node, bool *taken) {
  const tern__node *norm = &node->parts[0], *then = &node->parts[1];
  const char *kind = tern__node_string(then, "kind", "");
  compile_after compile = !then->n_parts                   ? compile_one
                          : !strcmp(kind, "linear_group")  ? compile_group
                          : !strcmp(kind, "linear_gated") ? compile_gated
                                                           : NULL;
  return compile ? compile(program, then, norm, taken) : TERN_OK;
}

/* ---- what follows a product ---- */

/* The ending that an activation is; false if kernels have none. */
static bool ending_of(const tern__node *node, tern__gpu_ending *out) {
  const char *name = node->op->name;
  bool tanh_form = !strcmp(name, "FastGelu") || !strcmp(tern__node_string(node, "approximate", "none"), "tanh");
  if (!strcmp(name, "Gelu") || !strcmp(name, "FastGelu")) *out = tanh_form ? TERN__GPU_GELU_TANH : TERN__GPU_GELU_ERF;
  else if (!strcmp(name, "QuickGelu") && tern__node_float(node, "alpha", 1.702f) == 1.702f)
    *out = TERN__GPU_GELU_SIGMOID;
  else if (!strcmp(name, "Relu")) *out = TERN__GPU_RELU;
  else if (!strcmp(name, "Tanh")) *out = TERN__GPU_TANH;
  else if (!strcmp(name, "Sigmoid")) *out = TERN__GPU_SIGMOID;
  else return false;
  return true;
}

tern_status tern__gpu_compile_linear_bias(tern__program *program, const tern__node *node, bool *taken) {
  tern__gpu_linear product;
  const tern__node *add = &node->parts[1], *last = &node->parts[node->n_parts - 1];
  if (!read_part(program, node, 0, NULL, &product) || product.bias.kind != TERN__GPU_NONE ||
      (node->n_parts > 2 && !ending_of(last, &product.ending)))
    return TERN_OK;
  product.bias = tern__gpu_input(add, add->inputs[0] == node->parts[0].outputs[0]);
  product.outputs[0] = tern__gpu_output(last, 0);
  return tern__gpu_add_product(program, &product, taken);
}

tern_status tern__gpu_compile_linear_residual(tern__program *program, const tern__node *node, bool *taken) {
  tern__gpu_linear product;
  const tern__node *add = &node->parts[1];
  int32_t other = add->inputs[0] == node->parts[0].outputs[0];
  const tern__view *residual = tern__gpu_in(program, add, other), *y = tern__gpu_out(program, add, 0);
  if (!read_part(program, node, 0, NULL, &product) || !residual || !y || residual->dtype != TERN_DTYPE_F32 ||
      tern__gpu_elements(residual) != tern__gpu_elements(y) ||
      tern__gpu_elements(y) != product.rows * product.widths[0])
    return TERN_OK;
  product.residual = tern__gpu_input(add, other);
  product.outputs[0] = tern__gpu_output(add, 0);
  return tern__gpu_add_product(program, &product, taken);
}

tern_status tern__gpu_compile_linear_split(tern__program *program, const tern__node *node, bool *taken) {
  tern__gpu_linear product;
  const tern__node *split = &node->parts[1];
  uint64_t width = 0;
  if (!read_part(program, node, 0, NULL, &product) || split->n_outputs > TERN__GPU_MAX_SOURCES) return TERN_OK;
  for (int32_t i = 0; i < split->n_outputs; i++) {
    const tern__view *y = tern__gpu_out(program, split, i);
    if (!y || y->shape.rank < 1) return TERN_OK;
    product.outputs[i] = tern__gpu_output(split, i);
    width += product.widths[i] = (uint64_t)y->shape.dims[y->shape.rank - 1];
  }
  if (width != product.sources.list[0].n) return TERN_OK; /* split along another axis */
  return tern__gpu_add_product(program, &product, taken);
}
