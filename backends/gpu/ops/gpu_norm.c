/* LayerNormalization, RMSNormalization, SimplifiedLayerNormalization and their Skip forms: norm.wgsl,
 * skip_norm_rows.wgsl. Float32, but that an operand of a sum may come as float16 from the product that made it. */
#include <stddef.h>
#include <string.h>

#include "gpu/gpu_fuse.h"
#include "gpu/gpu_halves.h"
#include "gpu/gpu_walk.h"
#include "gpu/ops/gpu_product.h"

/* Where scale, bias, skip and the input's bias are among the inputs, and the extra outputs (-1: the op has
 * none). */
typedef struct norm_layout {
  int32_t scale, bias, skip, input_bias, mean, deviation, sum;
  bool centred;
} norm_layout;

typedef struct norm_params {
  uint32_t rows, cells;
  union {
    uint32_t skip_cells;
    float x_scale; /* of skip_norm_rows.wgsl */
  };
  uint32_t flags;
  float n, epsilon, up;
  uint32_t skip_rows; /* of skip_norm_rows.wgsl */
} norm_params;
typedef struct statistics_params { uint32_t rows, cells, flags; float epsilon; } statistics_params;

enum { CENTRED = 1, HAS_BIAS = 2, HAS_INPUT_BIAS = 4, KEEP_SUM = 8, HALVES = 16, NO_FLOATS = 32,
       X_HALVES = 64, ROWS_FEWEST = 256, ROWS_SUBGROUP = 32, ROWS_INVOCATIONS = 256, ROWS_AT_ONCE = 8,
       WANT_MEAN = 2, WANT_DEVIATION = 4 };

static bool all_f32(const tern__program *program, const tern__node *node) {
  for (int32_t i = 0; i < node->n_inputs; i++) {
    const tern__view *view = tern__gpu_in(program, node, i);
    if (view && (view->dtype != TERN_DTYPE_F32 || !tern__gpu_fits(program, view))) return false;
  }
  for (int32_t i = 0; i < node->n_outputs; i++) {
    const tern__view *view = tern__gpu_out(program, node, i);
    if (view && view->dtype != TERN_DTYPE_F32) return false;
  }
  return true;
}

static tern__gpu_operand optional_output(const tern__node *node, int32_t i) {
  return i < 0 ? (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0} : tern__gpu_output(node, i);
}

/* A norm of `n` values in whole quads, the last step added, can store its rows as halves; `halves`: the binding. */
static tern_status offer_halves(tern__program *program, const norm_params *p, uint64_t n, int32_t halves,
                                tern__gpu_operand y, const float *scale, const float *bias) {
  if (program->dry || n % 4 || !scale || (p->flags & HAS_BIAS && !bias)) return TERN_OK;
  return tern__gpu_offer_halves(program, &(tern__gpu_halves){.y = y,
                                                             .rows = p->rows,
                                                             .width = n,
                                                             .bound = tern__gpu_norm_bound(scale, bias, n, p->epsilon),
                                                             .plain = 3,
                                                             .halves = halves,
                                                             .flags = offsetof(norm_params, flags) / 4,
                                                             .factor = offsetof(norm_params, up) / 4,
                                                             .alone = HALVES | NO_FLOATS,
                                                             .beside = HALVES});
}

/* Mean and inverse deviation of the rows of `x`, if somebody wants them. */
static tern_status add_statistics(tern__program *program, const tern__node *node, const norm_layout *layout,
                                  tern__gpu_operand x, statistics_params p) {
  tern_status status = TERN_OK;
  tern__gpu_operand operands[] = {x, optional_output(node, layout->mean),
                                  optional_output(node, layout->deviation)};
  p.flags = (layout->centred ? CENTRED : 0) | (operands[1].kind ? WANT_MEAN : 0) |
            (operands[2].kind ? WANT_DEVIATION : 0);
  if (!(p.flags & (WANT_MEAN | WANT_DEVIATION))) return TERN_OK;
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_norm_statistics, operands, &p, p.rows, 1));
  tern__gpu_cost(program, 4ull * p.rows * p.cells, 4ull * p.rows * p.cells);
cleanup:
  return status;
}

static tern_status add_norm(tern__program *program, const tern__node *node, const norm_layout *layout,
                            bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__gpu_in(program, node, 0);
  const tern__view *skip = layout->skip >= 0 ? tern__gpu_in(program, node, layout->skip) : NULL;
  int32_t rank = x->shape.rank;
  int32_t axis = tern__gpu_axis(skip ? -1 : tern__node_int(node, "axis", -1), rank);
  uint64_t rows = tern__gpu_product(&x->shape, 0, axis), n = tern__gpu_product(&x->shape, axis, rank);
  float epsilon = tern__node_float(node, "epsilon", skip ? 1e-12f : 1e-5f);
  tern__gpu_operand bias = layout->bias < 0 ? (tern__gpu_operand){0} : tern__gpu_input(node, layout->bias);
  tern__gpu_operand sum = optional_output(node, layout->sum);
  bool statistics = optional_output(node, layout->mean).kind || optional_output(node, layout->deviation).kind;
  if (!all_f32(program, node) || (skip && tern__gpu_same_input(node, 0, layout->skip))) return TERN_OK;
  *taken = true;
  if (rows * n == 0) return TERN_OK;
  if (skip && statistics && !sum.kind) { /* they are the sum's */
    sum = tern__gpu_scratch(0, rows * n * 4);
    tern__gpu_need_scratch(program, rows * n * 4);
  }
  bool quads = n % 4 == 0;
  norm_params p = {(uint32_t)rows, (uint32_t)(quads ? n / 4 : n), {0}, layout->centred ? CENTRED : 0, (float)n,
                   epsilon, 0, 0};
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS] = {
      tern__gpu_input(node, 0), tern__gpu_input(node, layout->scale), bias, tern__gpu_output(node, 0)};
  if (bias.kind) p.flags |= HAS_BIAS;
  if (skip) {
    operands[4] = tern__gpu_input(node, layout->skip);
    operands[5] = tern__gpu_input(node, layout->input_bias);
    operands[6] = sum;
    p.skip_cells = (uint32_t)(tern__gpu_elements(skip) / (quads ? 4 : 1));
    p.flags |= (operands[5].kind ? HAS_INPUT_BIAS : 0) | (sum.kind ? KEEP_SUM : 0);
  }
  tern__gpu_kernel_id kernel = skip ? (quads ? TERN__KERNEL_skip_norm_quads : TERN__KERNEL_skip_norm)
                                    : (quads ? TERN__KERNEL_norm_quads : TERN__KERNEL_norm);
  TERN_TRY(tern__gpu_add_1d(program, node, kernel, operands, &p, rows, 1));
  tern__gpu_cost(program, 6 * rows * n, (2 + (skip ? 2 : 0)) * 4 * rows * n);
  if (tern__gpu_elements(tern__gpu_in(program, node, layout->scale)) == n)
    TERN_TRY(offer_halves(program, &p, n, skip ? 7 : 4, operands[3], tern__gpu_constant(program, node, layout->scale),
                          bias.kind ? tern__gpu_constant(program, node, layout->bias) : NULL));
  TERN_TRY(add_statistics(program, node, layout, skip ? sum : tern__gpu_input(node, 0),
                          (statistics_params){(uint32_t)rows, (uint32_t)n, 0, epsilon}));
cleanup:
  return status;
}

tern_status tern__gpu_compile_layer_norm(tern__program *program, const tern__node *node, bool *taken) {
  static const norm_layout layout = {1, 2, -1, -1, 1, 2, -1, true};
  return add_norm(program, node, &layout, taken);
}

/* SimplifiedLayerNormalization has the inverse deviation as its second output; RMSNormalization has one
 * output. */
tern_status tern__gpu_compile_rms_norm(tern__program *program, const tern__node *node, bool *taken) {
  static const norm_layout layout = {1, -1, -1, -1, -1, 1, -1, false};
  return add_norm(program, node, &layout, taken);
}

tern_status tern__gpu_compile_skip_layer_norm(tern__program *program, const tern__node *node, bool *taken) {
  static const norm_layout layout = {2, 3, 1, 4, 1, 2, 3, true};
  return add_norm(program, node, &layout, taken);
}

tern_status tern__gpu_compile_skip_rms_norm(tern__program *program, const tern__node *node, bool *taken) {
  static const norm_layout layout = {2, -1, 1, 3, 1, 2, 3, false};
  return add_norm(program, node, &layout, taken);
}

/* ---- as part of a product ---- */

bool tern__gpu_is_rms_norm(const tern__program *program, const tern__node *node, uint64_t n) {
  const tern__view *x = tern__gpu_in(program, node, 0), *scale = tern__gpu_in(program, node, 1);
  if (!x || !scale || x->dtype != TERN_DTYPE_F32 || scale->dtype != TERN_DTYPE_F32 || x->shape.rank < 1) return false;
  int32_t rank = x->shape.rank;
  return tern__gpu_axis(tern__node_int(node, "axis", -1), rank) == rank - 1 &&
         (uint64_t)x->shape.dims[rank - 1] == n && tern__gpu_elements(scale) == n && tern__gpu_fits(program, x) &&
         tern__gpu_constant(program, node, 1);
}

tern_status tern__gpu_add_rms_norm(tern__program *program, const tern__node *node, const tern__node *norm,
                                   tern__gpu_operand x, tern__gpu_operand y, uint64_t rows, uint64_t n) {
  tern_status status = TERN_OK;
  bool quads = n % 4 == 0;
  norm_params p = {(uint32_t)rows, (uint32_t)(quads ? n / 4 : n), {0}, 0, (float)n,
                   tern__node_float(norm, "epsilon", 1e-5f), 0, 0};
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS] = {x, tern__gpu_input(norm, 1), {TERN__GPU_NONE, -1, 0, 0}, y};
  TERN_TRY(tern__gpu_add_1d(program, node, quads ? TERN__KERNEL_norm_quads : TERN__KERNEL_norm, operands, &p, rows, 1));
  tern__gpu_cost(program, 6 * rows * n, 8 * rows * n);
cleanup:
  return status;
}

/* ---- tern.Fused, skip_norm: a sum and its norm ---- */

/* The variant of skip_norm_rows.wgsl for rows of n values; `otherwise` if it cannot. */
static tern__gpu_kernel_id rows_kernel(const tern__program *program, const norm_params *p, uint64_t n, bool whole_rows,
                                       tern__gpu_kernel_id otherwise) {
  const tern__gpu_info *info = program->backend->info;
  if (!whole_rows || n % 4 || n > 1024 || p->rows < ROWS_FEWEST || program->plan->numerics != TERN_NUMERICS_FAST ||
      info->software || !(info->features & TERN__GPU_HAS_SUBGROUPS) || info->subgroup_min != ROWS_SUBGROUP ||
      info->subgroup_max != ROWS_SUBGROUP || info->max_invocations < ROWS_INVOCATIONS)
    return otherwise;
  return n <= 512 ? TERN__KERNEL_skip_norm_rows_512 : TERN__KERNEL_skip_norm_rows_1024;
}

/* Has skip_norm_rows.wgsl, whose operands these are, read the sum's one or other operand as halves, if a product offers
 * them and nobody else reads it. */
static tern_status take_halves(tern__program *program, const tern__node *node, norm_params *p, uint64_t n,
                               tern__gpu_operand *operands) {
  tern_status status = TERN_OK;
  static const int places[2] = {0, 4};
  tern__gpu_halves halves = {.at = {TERN__GPU_NONE, -1, 0, 0}};
  for (int i = 0; i < 2 && halves.at.kind == TERN__GPU_NONE; i++) {
    TERN_TRY(tern__gpu_take_own_halves(program, node, operands[places[i]], p->rows, n, &halves));
    if (halves.at.kind == TERN__GPU_NONE) continue;
    operands[5] = halves.at, p->x_scale = halves.back, p->flags |= X_HALVES;
    operands[4] = operands[places[!i]];
    operands[0] = (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
  }
cleanup:
  return status;
}

static tern__gpu_operand value_operand(tern__value_id id) {
  return (tern__gpu_operand){TERN__GPU_VALUE, id, 0, 0};
}

tern_status tern__gpu_compile_skip_norm(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__node *add = &node->parts[0], *part = &node->parts[1];
  const tern__view *y = &program->plan->views[part->outputs[0]], *a = tern__gpu_in(program, add, 0);
  const tern__view *b = tern__gpu_in(program, add, 1), *scale = tern__gpu_in(program, part, 1);
  const tern__view *bias = tern__gpu_in(program, part, 2);
  bool swap = tern__gpu_elements(a) < tern__gpu_elements(b), centred = !strcmp(part->op->name, "LayerNormalization");
  const tern__view *whole = swap ? b : a, *skip = swap ? a : b;
  int32_t rank = y->shape.rank;
  uint64_t n = rank > 0 ? (uint64_t)y->shape.dims[rank - 1] : 0, count = tern__gpu_elements(y);
  if (node->n_parts != 2 || add->inputs[0] == add->inputs[1] || !count || y->dtype != TERN_DTYPE_F32 ||
      tern__gpu_elements(whole) != count || whole->dtype != TERN_DTYPE_F32 || skip->dtype != TERN_DTYPE_F32 ||
      !tern__shape_repeats_over(&whole->shape, &y->shape) || !tern__shape_repeats_over(&skip->shape, &y->shape) ||
      !tern__gpu_fits(program, y) || !scale || scale->dtype != TERN_DTYPE_F32 || tern__gpu_elements(scale) != n ||
      (bias && (bias->dtype != TERN_DTYPE_F32 || tern__gpu_elements(bias) != n)))
    return TERN_OK;
  *taken = true;
  bool keeps = false, quads = n % 4 == 0;
  for (int32_t i = 0; i < node->n_outputs; i++) keeps |= node->outputs[i] == add->outputs[0];
  norm_params p = {.rows = (uint32_t)(count / n), .cells = (uint32_t)(quads ? n / 4 : n),
                   .skip_cells = (uint32_t)(tern__gpu_elements(skip) / (quads ? 4 : 1)),
                   .flags = (centred ? CENTRED : 0) | (bias ? HAS_BIAS : 0) | (keeps ? KEEP_SUM : 0), .n = (float)n,
                   .epsilon = tern__node_float(part, "epsilon", 1e-5f)};
  tern__gpu_operand none = {TERN__GPU_NONE, -1, 0, 0};
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS] = {
      value_operand(add->inputs[swap ? 1 : 0]), tern__gpu_input(part, 1), bias ? tern__gpu_input(part, 2) : none,
      value_operand(part->outputs[0]),          value_operand(add->inputs[swap ? 0 : 1]), none,
      keeps ? value_operand(add->outputs[0]) : none};
  tern__gpu_kernel_id usual = quads ? TERN__KERNEL_skip_norm_quads : TERN__KERNEL_skip_norm;
  tern__gpu_kernel_id kernel = rows_kernel(program, &p, n, tern__gpu_elements(skip) % n == 0, usual);
  if (kernel != usual) p.skip_rows = (uint32_t)(tern__gpu_elements(skip) / n);
  if (p.skip_rows == p.rows) TERN_TRY(take_halves(program, node, &p, n, operands));
  TERN_TRY(tern__gpu_add_1d(program, node, kernel, operands, &p, p.rows, kernel != usual ? ROWS_AT_ONCE : 1));
  tern__gpu_cost(program, 7 * count, (3 + keeps) * 4 * count - (p.flags & X_HALVES ? 2 * count : 0));
  TERN_TRY(offer_halves(program, &p, n, 7, operands[3], tern__gpu_constant(program, part, 1),
                        bias ? tern__gpu_constant(program, part, 2) : NULL));
cleanup:
  return status;
}
