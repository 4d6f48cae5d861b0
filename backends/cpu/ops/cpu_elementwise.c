/* Elementwise ops in float32. Two inputs broadcast: dimensions are merged until rows of one stride remain. */
#include "cpu/cpu_fuse.h"

#include <string.h>

enum {
  CHUNK_ELEMENTS = 16 * 1024,
  SHARE_ELEMENTS = 2 * 1024 /* fewest of a row that another thread gets a part of: handing over takes a microsecond */
};

/* ---- one input ---- */

typedef struct unary_params { size_t n; tern__cpu_unary op; } unary_params;

static tern_status run_unary(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const unary_params *p = step->params;
  size_t from = (size_t)chunk * CHUNK_ELEMENTS,
         n = p->n - from < CHUNK_ELEMENTS ? p->n - from : CHUNK_ELEMENTS;
  context->kernels->unary[p->op]((const float *)step->in[0]->data + from, (float *)step->out[0]->data + from,
                                 n);
  return TERN_OK;
}

static tern_status add_unary(tern__program *program, const tern__node *node, tern__cpu_unary op,
                             bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, 0);
  if (x->dtype != TERN_DTYPE_F32 || tern__cpu_out(program, node, 0)->dtype != TERN_DTYPE_F32) return TERN_OK;
  unary_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  *p = (unary_params){tern__cpu_elements(x), op};
  TERN_TRY(tern__cpu_add_step(program, node, run_unary, tern__cpu_divide_up(p->n, CHUNK_ELEMENTS), p));
  tern__cpu_repeatable(program);
  *taken = true;
cleanup:
  return status;
}

bool tern__cpu_unary_of(const tern__node *node, tern__cpu_unary *out) {
  static const struct { const char *name; tern__cpu_unary op; } names[] = {
      {"Neg", TERN__CPU_NEG},   {"Abs", TERN__CPU_ABS},           {"Exp", TERN__CPU_EXP},
      {"Log", TERN__CPU_LOG},   {"Sqrt", TERN__CPU_SQRT},         {"Reciprocal", TERN__CPU_RECIPROCAL},
      {"Floor", TERN__CPU_FLOOR}, {"Ceil", TERN__CPU_CEIL},       {"Sin", TERN__CPU_SIN},
      {"Cos", TERN__CPU_COS},   {"Tanh", TERN__CPU_TANH},         {"Erf", TERN__CPU_ERF},
      {"Sigmoid", TERN__CPU_SIGMOID}, {"Relu", TERN__CPU_RELU},   {"Softplus", TERN__CPU_SOFTPLUS},
      {"Softsign", TERN__CPU_SOFTSIGN}, {"Mish", TERN__CPU_MISH}, {"HardSwish", TERN__CPU_HARD_SWISH}};
  if (!strcmp(node->op->name, "Gelu")) {
    bool tanh = !strcmp(tern__node_string(node, "approximate", "none"), "tanh");
    *out = tanh ? TERN__CPU_GELU_TANH : TERN__CPU_GELU_ERF;
    return true;
  }
  for (size_t i = 0; !*node->op->domain && i < sizeof names / sizeof *names; i++)
    if (!strcmp(node->op->name, names[i].name)) {
      *out = names[i].op;
      return true;
    }
  return false;
}

tern_status tern__cpu_compile_unary(tern__program *program, const tern__node *node, bool *taken) {
  tern__cpu_unary op;
  return tern__cpu_unary_of(node, &op) ? add_unary(program, node, op, taken) : TERN_OK;
}

/* ---- two inputs ---- */

typedef struct binary_params {
  tern__cpu_binary op;
  size_t n, rows, pieces, piece; /* elements of a row, cut into pieces where rows are long */
  size_t rows_per_chunk, at_once;
  int32_t rank;                                    /* of the rows' index */
  size_t dims[TERN_MAX_RANK], a_steps[TERN_MAX_RANK], b_steps[TERN_MAX_RANK];
  size_t a_step, b_step;                           /* within a row: 1 or 0 */
} binary_params;

static tern_status run_binary(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const binary_params *p = step->params;
  size_t from = chunk % p->pieces * p->piece, n = p->n - from < p->piece ? p->n - from : p->piece;
  size_t row = chunk / p->pieces * p->rows_per_chunk, end = row + p->rows_per_chunk;
  const float *a = step->in[0]->data, *b = step->in[1]->data;
  for (; row < p->rows && row < end; row++) {
    size_t a_at = from * p->a_step, b_at = from * p->b_step, rest = row;
    for (int32_t i = p->rank; i-- > 0; rest /= p->dims[i])
      a_at += rest % p->dims[i] * p->a_steps[i], b_at += rest % p->dims[i] * p->b_steps[i];
    float *y = (float *)step->out[0]->data + row * p->n + from;
    for (size_t i = 0, some; i < n; i += some) {
      some = n - i < p->at_once ? n - i : p->at_once;
      tern__cpu_ask(context->asking, TERN__CPU_ASK_LINES);
      context->kernels->binary[p->op](a + a_at + i * p->a_step, p->a_step, b + b_at + i * p->b_step, p->b_step, y + i,
                                      some);
    }
  }
  return TERN_OK;
}

/* Element steps of a view over the dimensions of the result; 0 where it broadcasts. */
static void broadcast_steps(const tern__view *view, const tern__shape *out, size_t steps[TERN_MAX_RANK]) {
  size_t stride = 1;
  for (int32_t i = 0; i < out->rank; i++) steps[i] = 0;
  for (int32_t i = view->shape.rank; i-- > 0; stride *= (size_t)view->shape.dims[i])
    if (view->shape.dims[i] != 1) steps[i + out->rank - view->shape.rank] = stride;
}

/* Merges a dimension into the one after it where both inputs step through the pair evenly. */
static void merge_dims(const tern__shape *out, binary_params *p) {
  int32_t rank = 0;
  for (int32_t i = 0; i < out->rank; i++) {
    size_t d = (size_t)out->dims[i];
    if (d == 1) continue;
    if (rank && p->a_steps[rank - 1] == p->a_steps[i] * d && p->b_steps[rank - 1] == p->b_steps[i] * d) {
      p->dims[rank - 1] *= d, p->a_steps[rank - 1] = p->a_steps[i], p->b_steps[rank - 1] = p->b_steps[i];
      continue;
    }
    p->dims[rank] = d, p->a_steps[rank] = p->a_steps[i], p->b_steps[rank] = p->b_steps[i];
    rank++;
  }
  p->rank = rank;
}

static tern_status add_binary(tern__program *program, const tern__node *node, tern__cpu_binary op,
                              bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *a = tern__cpu_in(program, node, 0), *b = tern__cpu_in(program, node, 1);
  const tern__view *y = tern__cpu_out(program, node, 0);
  if (!a || !b || a->dtype != TERN_DTYPE_F32 || b->dtype != TERN_DTYPE_F32 || y->dtype != TERN_DTYPE_F32 ||
      node->n_inputs != 2)
    return TERN_OK;
  binary_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  p->op = op, p->n = 1;
  broadcast_steps(a, &y->shape, p->a_steps);
  broadcast_steps(b, &y->shape, p->b_steps);
  merge_dims(&y->shape, p);
  if (p->rank) {
    p->rank--;
    p->n = p->dims[p->rank], p->a_step = p->a_steps[p->rank], p->b_step = p->b_steps[p->rank];
  }
  p->rows = tern__cpu_elements(y) / p->n;
  p->piece = p->n < CHUNK_ELEMENTS ? p->n : CHUNK_ELEMENTS;
  if (p->rows == 1) p->piece = tern__cpu_share(program, p->piece, SHARE_ELEMENTS);
  p->at_once = p->rows == 1 ? TERN__CPU_ASK_ELEMENTS : p->piece;
  p->pieces = tern__cpu_divide_up(p->n, p->piece);
  p->rows_per_chunk = CHUNK_ELEMENTS / p->piece;
  TERN_TRY(tern__cpu_add_step(program, node, run_binary,
                              p->pieces * tern__cpu_divide_up(p->rows, p->rows_per_chunk), p));
  tern__cpu_repeatable(program);
  *taken = true;
cleanup:
  return status;
}

tern_status tern__cpu_compile_binary(tern__program *program, const tern__node *node, bool *taken) {
  static const struct { const char *name; tern__cpu_binary op; } names[] = {
      {"Add", TERN__CPU_ADD}, {"Sub", TERN__CPU_SUB}, {"Mul", TERN__CPU_MUL}, {"Div", TERN__CPU_DIV},
      {"Max", TERN__CPU_MAX}, {"Min", TERN__CPU_MIN}, {"Pow", TERN__CPU_POW}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(node->op->name, names[i].name)) return add_binary(program, node, names[i].op, taken);
  return TERN_OK;
}

tern_status tern__cpu_compile_silu_mul(tern__program *program, const tern__node *node, bool *taken) {
  return add_binary(program, node, TERN__CPU_SILU_MUL, taken);
}

tern_status tern__cpu_compile_gelu_mul(tern__program *program, const tern__node *node, bool *taken) {
  bool tanh = !strcmp(tern__node_string(node, "approximate", "none"), "tanh");
  return add_binary(program, node, tanh ? TERN__CPU_GELU_TANH_MUL : TERN__CPU_GELU_ERF_MUL, taken);
}

tern_status tern__cpu_compile_bias_gelu(tern__program *program, const tern__node *node, bool *taken) {
  return add_binary(program, node, TERN__CPU_ADD_GELU_ERF, taken);
}

tern_status tern__cpu_compile_fast_gelu(tern__program *program, const tern__node *node, bool *taken) {
  return tern__cpu_in(program, node, 1) ? add_binary(program, node, TERN__CPU_ADD_GELU_TANH, taken)
                                        : add_unary(program, node, TERN__CPU_GELU_TANH, taken);
}
