/* Steps of products with constant weights (kernels/linear_*.wgsl). Parts of the weights and blocks of rows are
 * dispatches of their own, so that each fits the device's bindings. */
#include <stddef.h>
#include <string.h>

#include "gpu/gpu_chain.h"
#include "gpu/gpu_halves.h"
#include "gpu/gpu_rounded.h"
#include "gpu/gpu_walk.h"
#include "gpu/ops/gpu_product.h"

enum {
  ROW_STEP = 64,      /* rows of a block: keeps offsets aligned */
  PAD_WORKGROUP = 64,
  CHAIN_WORKGROUPS = 512, /* most of a product in a chain */
  CHAIN_STAGED = 1408 * 16, /* bytes of a rounded row that linear_dot.wgsl has room for in a chain, */
  ROTARY_STAGED = 928 * 16, /* and linear_dot_rotary.wgsl always */
  FEW_ROWS = 8,       /* up to here rows are taken by fours, beyond in tiles */
  GROUP_BLOCKS = 4,   /* of linear.wgsl */
  VEC_INVOCATIONS = 64,
  TILE = 64,
  TILE_INVOCATIONS = 256,
  DOT_SUBGROUP = 8,    /* fewest invocations of a subgroup for linear_dot*.wgsl: they share a block of x, or have a
                          row each */
  DOT_ROUNDS = 32,     /* most invocations of a subgroup where linear_dot.wgsl rounds what it gives */
  DOT_VALUES = 2,      /* of a row, that subgroups of linear_dot.wgsl with a run of blocks each make; */
  DOT_RUN = 32,        /* fewest blocks of one, and */
  DOT_WORKGROUPS = 200, /* as many as keep a large device busy: columns beyond are not shared */
  MATRIX_SUBGROUP = 32, /* of linear_matrix.wgsl */
  MATRIX_SHARED = 47616, /* bytes of workgroup memory */
  MATRIX_SIDE = 16,      /* of a matrix */
  MATRIX_ROWS = 128,   /* of a tile */
  MATRIX_TILES = 90,   /* of 128 columns that keep a large device busy: fewer are halved */
  ROUND_BLOCKS = 32    /* of a row, that a workgroup of linear_round.wgsl rounds */
};

typedef struct plan {
  tern__program *program;
  const tern__gpu_linear *product;
  tern__gpu_weights weights;
  bool dot;          /* few rows of 15 bits, rounded before: one by linear_dot.wgsl, more by linear_dot_rows.wgsl */
  bool matrix;       /* many rows, by linear_matrix.wgsl, after linear_half.wgsl, which norms, too */
  tern__gpu_halves halves; /* of x, where the step that made it stored them: at is NONE if not */
  uint64_t scratch;  /* bytes of it that are taken */
} plan;

static tern__gpu_operand none(void) { return (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0}; }

static uint32_t divide_up(uint64_t a, uint64_t b) { return (uint32_t)((a + b - 1) / b); }

/* Rows of x and y that fit a binding; 0 if not even ROW_STEP do. */
static uint64_t block_rows(const plan *p) {
  const tern__gpu_info *info = p->program->backend->info;
  uint64_t width = p->weights.blocks * TERN__WEIGHT_BLOCK;
  for (int i = 0; i < TERN__GPU_MAX_SOURCES; i++)
    if (p->product->widths[i] > width) width = p->product->widths[i];
  uint64_t limit = info->max_binding_bytes / (width * sizeof(float)), by_grid = (uint64_t)info->max_groups * 4;
  if (limit > by_grid) limit = by_grid;
  return limit >= p->product->rows ? p->product->rows : limit / ROW_STEP * ROW_STEP;
}

/* Whether linear_dot.wgsl can, and linear_dot_rows.wgsl, which gives each of few rows the bits that it has alone. */
static bool dot_fits(const plan *p) {
  const tern__gpu_info *info = p->program->backend->info;
  const tern__gpu_linear *product = p->product;
  const tern__gpu_kernel *kernel = &tern__gpu_kernels[TERN__KERNEL_linear_dot_q4_h];
  return product->rows <= FEW_ROWS && !info->software && p->program->plan->numerics == TERN_NUMERICS_FAST &&
         (info->features & kernel->needs) == kernel->needs && info->subgroup_min >= DOT_SUBGROUP &&
         info->max_invocations >= kernel->workgroup[0] &&
         p->weights.format >= TERN__GPU_WEIGHT_q4_h && p->weights.format <= TERN__GPU_WEIGHT_q8_fm2 &&
         p->weights.k % TERN__WEIGHT_BLOCK == 0;
}

/* Whether linear_matrix.wgsl can: its invocations share their work as subgroups of 32 do. A file whose weights are
 * float32 keeps float32 products. */
static bool matrix_fits(const plan *p) {
  const tern__gpu_info *info = p->program->backend->info;
  const tern__gpu_kernel *kernel = &tern__gpu_kernels[TERN__KERNEL_linear_matrix64_f16];
  uint32_t needs = kernel->needs | tern__gpu_kernels[TERN__KERNEL_linear_half].needs;
  return p->product->rows > FEW_ROWS && p->weights.format != TERN__GPU_WEIGHT_f32 &&
         p->program->plan->numerics == TERN_NUMERICS_FAST &&
         (info->features & needs) == needs && info->subgroup_min == MATRIX_SUBGROUP &&
         info->subgroup_max == MATRIX_SUBGROUP && info->max_invocations >= kernel->workgroup[0] &&
         info->shared_bytes >= MATRIX_SHARED;
}

static tern__gpu_operand take_scratch(plan *p, uint64_t bytes) {
  tern__gpu_operand operand = tern__gpu_scratch(p->scratch, bytes);
  p->scratch += tern__gpu_place(bytes);
  tern__gpu_need_scratch(p->program, p->scratch);
  return operand;
}

/* x normed, in scratch. */
static tern_status add_norm(plan *p, uint64_t rows, tern__gpu_operand *x) {
  tern_status status = TERN_OK;
  tern__gpu_operand y = take_scratch(p, rows * p->weights.k * sizeof(float));
  TERN_TRY(tern__gpu_add_rms_norm(p->program, p->product->node, p->product->norm, *x, y, rows, p->weights.k));
  *x = y;
cleanup:
  return status;
}


/* x rounded, and multiplied by the scale of a norm before it: by the step that made it, or in scratch. */
static tern_status add_round(plan *p, uint64_t rows, tern__gpu_operand *x) {
  tern_status status = TERN_OK;
  const tern__node *norm = p->product->norm;
  uint64_t width = p->weights.k;
  uint32_t immediates[4] = {(uint32_t)p->weights.blocks, norm != NULL, 0, 0};
  tern__gpu_operand scale = norm ? tern__gpu_input(norm, 1) : none();
  tern__gpu_operand y = none();
  if (rows == 1) TERN_TRY(tern__gpu_take_rounded(p->program, *x, width, scale, &y));
  if (y.kind != TERN__GPU_NONE) {
    *x = y;
    return TERN_OK;
  }
  y = take_scratch(p, tern__gpu_rounded_bytes(rows, width));
  TERN_TRY(tern__gpu_add_step(p->program, p->product->node, TERN__KERNEL_linear_round,
                              (tern__gpu_operand[]){*x, y, scale}, immediates,
                              divide_up(p->weights.blocks, ROUND_BLOCKS), (uint32_t)rows, 1));
  tern__gpu_cost(p->program, 8 * rows * width, rows * width * sizeof(float) + y.size);
  *x = y;
cleanup:
  return status;
}

/* Whether tiles of linear_matrix.wgsl are 128 columns wide. */
static bool is_wide(uint64_t rows, uint64_t columns) {
  return (uint64_t)divide_up(columns, 128) * divide_up(rows, MATRIX_ROWS) >= MATRIX_TILES;
}

/* A row that linear_dot.wgsl has just made may be wanted rounded. */
static tern_status offer_round(const plan *p) {
  const tern__gpu_linear *product = p->product;
  const tern__gpu_info *info = p->program->backend->info;
  if (product->rows != 1 || p->weights.parts != 1 || product->widths[1] || info->subgroup_max > DOT_ROUNDS)
    return TERN_OK;
  return tern__gpu_offer_rounded(
      p->program, &(tern__gpu_offer){.y = product->outputs[0],
                                     .width = product->widths[0],
                                     .rounded = 4,
                                     .scale = product->bias.kind == TERN__GPU_NONE ? 2 : -1,
                                     .immediate = offsetof(tern__gpu_linear_immediates, round) / 4,
                                     .plain = 1, .scaled = 2 /* LINEAR_ROUND_* */});
}

/* The variant of linear_matrix.wgsl that stores halves, of so many columns and this format; 0: there is none. */
static int32_t halves_kernel(bool wide, tern__gpu_weight_format format) {
  if (format != TERN__GPU_WEIGHT_f16 && format != TERN__GPU_WEIGHT_bf16) return 0;
  if (format == TERN__GPU_WEIGHT_f16)
    return wide ? TERN__KERNEL_linear_matrix128_halves_f16 : TERN__KERNEL_linear_matrix64_halves_f16;
  return wide ? TERN__KERNEL_linear_matrix128_halves_bf16 : TERN__KERNEL_linear_matrix64_halves_bf16;
}

/* The host's bias of output i, or of all outputs if they have one source; false if it is not known. */
static bool host_bias(const plan *p, int i, const void **data, uint64_t *count) {
  const tern__gpu_linear *product = p->product;
  bool own = product->sources.n > 1;
  *data = NULL, *count = own ? product->widths[i] : product->sources.list[0].n;
  if (product->bias.kind == TERN__GPU_NONE) return true;
  if (own) *data = product->biases[i];
  else if (product->bias.kind == TERN__GPU_VALUE) *data = p->program->plan->views[product->bias.index].data;
  return *data != NULL;
}

/* linear_matrix.wgsl can store halves of what it makes in place of float32: of output i, whose columns, in tiles that
 * are wide or not, the last step makes alone. Without an activation, and with those that make nothing larger, a value
 * is at most the row's |x|, added up, times the largest weight, and its bias. */
static tern_status offer_halves(const plan *p, int i, bool wide) {
  tern_status status = TERN_OK;
  const tern__gpu_linear *product = p->product;
  const void *data;
  uint64_t count;
  int32_t kernel = halves_kernel(wide, p->weights.format);
  if (!kernel || p->program->dry || !p->halves.bound.total || p->weights.parts != 1 || product->sources.in_turn ||
      product->ending >= TERN__GPU_GATED_SILU || product->residual.kind != TERN__GPU_NONE ||
      !host_bias(p, i, &data, &count))
    return TERN_OK;
  double bias = data ? tern__gpu_largest(data, count) : 0;
  if (product->ending == TERN__GPU_SIGMOID) bias += 1; /* of 0 it is a half */
  tern__weight_source *weights = tern__gpu_params(p->program, sizeof *weights);
  TERN_CHECK_ALLOC(weights);
  *weights = product->sources.list[product->sources.n > 1 ? i : 0];
  TERN_TRY(tern__gpu_offer_halves(
      p->program, &(tern__gpu_halves){.y = product->outputs[i],
                                      .rows = product->rows,
                                      .width = product->widths[i],
                                      .bound = {bias, p->halves.bound.total},
                                      .weights = weights,
                                      .plain = 1,
                                      .halves = 4,
                                      .flags = offsetof(tern__gpu_linear_immediates, round) / 4,
                                      .factor = offsetof(tern__gpu_linear_immediates, epsilon) / 4,
                                      .kernel = kernel}));
cleanup:
  return status;
}

/* x with rows of whole blocks, in scratch. */
static tern_status add_pad(plan *p, uint64_t rows, tern__gpu_operand *x) {
  tern_status status = TERN_OK;
  uint64_t width = p->weights.k, padded = p->weights.blocks * TERN__WEIGHT_BLOCK, count = rows * padded;
  uint32_t groups[2], immediates[4] = {(uint32_t)count, (uint32_t)width, (uint32_t)padded, 0};
  tern__gpu_operand padded_x = take_scratch(p, count * sizeof(float));
  tern__gpu_groups_1d(p->program, count, PAD_WORKGROUP, groups);
  TERN_TRY(tern__gpu_add_step(p->program, p->product->node, TERN__KERNEL_linear_pad,
                              (tern__gpu_operand[]){*x, padded_x}, immediates, groups[0], groups[1], 1));
  *x = padded_x;
cleanup:
  return status;
}

typedef struct half_immediates { uint32_t rows, cells, norm; float epsilon; } half_immediates;

/* x, rows of whole blocks, as float16 and a scale a row, in scratch; of x normed if `norm` is not NULL. */
static tern_status add_half(plan *p, uint64_t rows, const tern__node *norm, tern__gpu_operand *x) {
  tern_status status = TERN_OK;
  uint64_t width = p->weights.blocks * TERN__WEIGHT_BLOCK;
  half_immediates immediates = {(uint32_t)rows, (uint32_t)(width / 4), norm != NULL,
                                norm ? tern__node_float(norm, "epsilon", 1e-5f) : 0};
  tern__gpu_operand y = take_scratch(p, rows * width * 2 + (rows + 3) / 4 * 16);
  tern__gpu_operand scale = norm ? tern__gpu_input(norm, 1) : none();
  tern__gpu_operand operands[] = {*x, y, scale};
  TERN_TRY(tern__gpu_add_1d(p->program, p->product->node, TERN__KERNEL_linear_half, operands, &immediates, rows, 1));
  tern__gpu_cost(p->program, 4 * rows * width, 6 * rows * width);
  *x = y;
cleanup:
  return status;
}

/* How many subgroups of linear_dot.wgsl share a column, whatever the number of rows: two, where columns alone are too
 * few for a large device. */
static uint32_t dot_runs(const plan *p, uint64_t columns) {
  const tern__gpu_info *info = p->program->backend->info;
  uint32_t subgroups = tern__gpu_kernels[TERN__KERNEL_linear_dot_q4_h].workgroup[0] / info->subgroup_max;
  bool few = subgroups >= 2 && columns / subgroups / DOT_VALUES < DOT_WORKGROUPS;
  return few && p->weights.blocks >= 2 * DOT_RUN ? 2 : 1;
}

/* Whether a row's product in so many workgroups may wait for the one before it (include/chain.wgsl): its x goes through
 * workgroup memory then, which the many workgroups of a wide product had better not wait for. */
static bool may_chain(const plan *p, uint32_t workgroups) {
  const tern__gpu_info *info = p->program->backend->info;
  const tern__gpu_kernel *kernel = &tern__gpu_kernels[TERN__KERNEL_linear_dot_chain_q4_h];
  return workgroups <= CHAIN_WORKGROUPS && tern__gpu_rounded_bytes(1, p->weights.k) <= CHAIN_STAGED &&
         (info->features & kernel->needs) == kernel->needs && info->shared_bytes >= kernel->shared_bytes;
}

static bool is_chained(tern__gpu_kernel_id kernel) {
  return kernel >= TERN__KERNEL_linear_dot_chain_q4_h && kernel <= TERN__KERNEL_linear_dot_chain_q8_fm2;
}

/* Where a product's weights begin among its operands: a chain's counters come before them. */
static int32_t first_weight(tern__gpu_kernel_id kernel) { return is_chained(kernel) ? 6 : 5; }

/* The kernel for so many rows, its grid, and what else it wants to know. */
static tern__gpu_kernel_id choose(const plan *p, uint64_t rows, uint64_t columns,
                                  tern__gpu_linear_immediates *immediates, uint32_t grid[2]) {
  const tern__gpu_info *info = p->program->backend->info;
  uint32_t groups = divide_up(p->weights.blocks, GROUP_BLOCKS), lanes = 1;
  tern__gpu_kernel_id first;
  grid[1] = rows == 1 ? 1 : divide_up(rows, 4);
  if (info->software) {
    first = rows == 1 ? TERN__KERNEL_linear_direct1_f32 : TERN__KERNEL_linear_direct4_f32;
    grid[0] = divide_up(columns, (uint64_t)tern__gpu_kernels[first].workgroup[0] * 4);
  } else if (p->dot && rows > 1) {
    lanes = dot_runs(p, columns);
    first = (tern__gpu_kernel_id)((rows <= 4 ? TERN__KERNEL_linear_dot4_q4_h : TERN__KERNEL_linear_dot8_q4_h) -
                                  TERN__GPU_WEIGHT_q4_h);
    uint32_t subgroups = tern__gpu_kernels[TERN__KERNEL_linear_dot8_q4_h].workgroup[0] / info->subgroup_max;
    uint32_t all = divide_up(columns, (uint64_t)(subgroups ? subgroups : 1) * 2);
    grid[1] = divide_up(all, info->max_groups), grid[0] = divide_up(all, grid[1]);
  } else if (p->dot) {
    first = (tern__gpu_kernel_id)(TERN__KERNEL_linear_dot_q4_h - TERN__GPU_WEIGHT_q4_h);
    uint32_t subgroups = tern__gpu_kernels[TERN__KERNEL_linear_dot_q4_h].workgroup[0] / info->subgroup_max;
    uint64_t values = p->product->ending >= TERN__GPU_GATED_SILU ? columns / 2 : columns;
    lanes = dot_runs(p, columns);
    uint32_t all = divide_up(values, (uint64_t)(subgroups > lanes ? subgroups / lanes : 1) * DOT_VALUES);
    grid[1] = divide_up(all, info->max_groups), grid[0] = divide_up(all, grid[1]);
    if (may_chain(p, all)) first = (tern__gpu_kernel_id)(TERN__KERNEL_linear_dot_chain_q4_h - TERN__GPU_WEIGHT_q4_h);
  } else if (p->matrix) {
    bool wide = is_wide(rows, columns);
    first = wide ? TERN__KERNEL_linear_matrix128_f16 : TERN__KERNEL_linear_matrix64_f16;
    first = (tern__gpu_kernel_id)(first - TERN__GPU_WEIGHT_f16);
    grid[0] = divide_up(columns, wide ? 128 : 64), grid[1] = divide_up(rows, MATRIX_ROWS);
  } else if (rows > FEW_ROWS && info->max_invocations >= TILE_INVOCATIONS) {
    first = TERN__KERNEL_linear_tiled_f32;
    grid[0] = divide_up(columns, TILE), grid[1] = divide_up(rows, TILE);
  } else if (p->program->plan->numerics == TERN_NUMERICS_FAST && info->features & TERN__GPU_HAS_SUBGROUPS) {
    first = rows == 1 ? TERN__KERNEL_linear_subgroup1_f32 : TERN__KERNEL_linear_subgroup4_f32;
    uint32_t subgroups = tern__gpu_kernels[first].workgroup[0] / info->subgroup_max;
    grid[0] = divide_up(columns, (uint64_t)(subgroups ? subgroups : 1) * 2);
  } else {
    first = rows == 1 ? TERN__KERNEL_linear_vec1_f32 : TERN__KERNEL_linear_vec4_f32;
    while (lanes < groups && lanes < VEC_INVOCATIONS) lanes *= 2;
    grid[0] = divide_up(columns, (uint64_t)(VEC_INVOCATIONS / lanes) * 4);
  }
  immediates->lanes = lanes;
  return tern__gpu_weight_kernel(first, p->weights.format);
}

/* Whether sums are all there is to store, in whole matrices: LINEAR_END_STRAIGHT of linear_matrix.wgsl. It has one
 * output, so that several of one X are a dispatch each, of their rows of the weights. */
static bool is_straight(const plan *p, uint64_t rows) {
  const tern__gpu_linear *product = p->product;
  if (!p->matrix || p->halves.at.kind == TERN__GPU_NONE || p->weights.parts != 1 || product->sources.in_turn ||
      (p->weights.format != TERN__GPU_WEIGHT_f16 && p->weights.format != TERN__GPU_WEIGHT_bf16) ||
      product->ending != TERN__GPU_PLAIN || product->residual.kind != TERN__GPU_NONE || rows % MATRIX_SIDE)
    return false;
  uint64_t all = 0, block = TERN__WEIGHT_BLOCK * 2; /* bytes */
  for (int i = 0; i < TERN__GPU_MAX_SOURCES && product->widths[i]; i++) {
    uint64_t width = product->widths[i];
    if (width % MATRIX_SIDE || all * p->weights.blocks * block % TERN__GPU_PLACE) return false;
    all += width;
  }
  return all == tern__gpu_weight_rows(&p->weights, 0);
}

static tern_status add_straight(const plan *p, uint64_t row, uint64_t rows, tern__gpu_operand x) {
  tern_status status = TERN_OK;
  const tern__gpu_linear *product = p->product;
  const tern__gpu_weights *w = &p->weights;
  bool wide = is_wide(rows, tern__gpu_weight_rows(w, 0));
  tern__gpu_kernel_id kernel =
      wide ? TERN__KERNEL_linear_matrix128_straight_f16 : TERN__KERNEL_linear_matrix64_straight_f16;
  uint64_t first = 0;
  if (w->format == TERN__GPU_WEIGHT_bf16)
    kernel = wide ? TERN__KERNEL_linear_matrix128_straight_bf16 : TERN__KERNEL_linear_matrix64_straight_bf16;
  for (int i = 0; i < TERN__GPU_MAX_SOURCES && product->widths[i]; first += product->widths[i], i++) {
    uint64_t columns = product->widths[i], column_bytes = w->blocks * TERN__WEIGHT_BLOCK * 2;
    tern__gpu_linear_immediates immediates = {.rows = (uint32_t)rows,
                                              .columns = (uint32_t)columns,
                                              .blocks = (uint32_t)w->blocks,
                                              .x_stride = (uint32_t)(w->blocks * TERN__WEIGHT_BLOCK / 8),
                                              .has_bias = product->bias.kind != TERN__GPU_NONE,
                                              .width = {(uint32_t)columns},
                                              .x_scale = p->halves.back};
    tern__gpu_operand operands[5 + TERN__GPU_WEIGHT_BINDINGS] = {x, product->outputs[i], product->bias, none(), none()};
    immediates.first = (uint32_t)first;
    if (rows < product->rows)
      operands[1].offset += row * columns * sizeof(float), operands[1].size = rows * columns * sizeof(float);
    tern__gpu_weight_operands(w, 0, operands + 5);
    operands[5].offset += first * column_bytes, operands[5].size = columns * column_bytes;
    TERN_TRY(tern__gpu_add_step(p->program, product->node, kernel, operands, &immediates,
                                divide_up(columns, wide ? 128 : 64), divide_up(rows, MATRIX_ROWS), 1));
    tern__gpu_cost(p->program, 2 * rows * columns * w->k,
                   operands[5].size + rows * w->k * 2 + rows * columns * sizeof(float));
    if (rows == product->rows) TERN_TRY(offer_halves(p, i, wide));
  }
cleanup:
  return status;
}

static tern_status add_part(const plan *p, uint64_t row, uint64_t rows, tern__gpu_operand x, int32_t part) {
  tern_status status = TERN_OK;
  const tern__gpu_linear *product = p->product;
  const tern__gpu_weights *w = &p->weights;
  uint64_t columns = tern__gpu_weight_rows(w, part);
  uint32_t grid[2];
  tern__gpu_linear_immediates immediates = {.rows = (uint32_t)rows,
                                  .columns = (uint32_t)columns,
                                  .blocks = (uint32_t)w->blocks,
                                  .x_stride = (uint32_t)(w->blocks * TERN__WEIGHT_BLOCK / (p->matrix ? 8 : 4)),
                                  .first = (uint32_t)((uint64_t)part * w->part_rows),
                                  .has_bias = product->bias.kind != TERN__GPU_NONE,
                                  .ending = (uint32_t)product->ending};
  tern__gpu_operand operands[6 + TERN__GPU_WEIGHT_BINDINGS] = {x, none(), product->bias};
  if (p->halves.at.kind != TERN__GPU_NONE) immediates.x_scale = p->halves.back;
  if (p->dot && product->norm)
    immediates.norm = 1, immediates.epsilon = tern__node_float(product->norm, "epsilon", 1e-5f);
  static const int places[TERN__GPU_MAX_SOURCES] = {1, 3, 4};
  for (int i = 0; i < TERN__GPU_MAX_SOURCES; i++) {
    operands[places[i]] = product->widths[i] ? product->outputs[i] : none();
    immediates.width[i] = (uint32_t)product->widths[i];
    if (!product->widths[i] || rows == product->rows) continue;
    operands[places[i]].offset += row * product->widths[i] * sizeof(float);
    operands[places[i]].size = rows * product->widths[i] * sizeof(float);
  }
  if (product->residual.kind != TERN__GPU_NONE) {
    immediates.residual = 1;
    operands[3] = product->residual;
    if (rows < product->rows) {
      operands[3].offset += row * product->widths[0] * sizeof(float);
      operands[3].size = rows * product->widths[0] * sizeof(float);
    }
  }
  tern__gpu_kernel_id kernel = choose(p, rows, columns, &immediates, grid);
  bool chained = is_chained(kernel);
  if (chained) immediates.x_stride = 0, operands[5] = tern__gpu_chain_counters();
  tern__gpu_operand *weights = operands + first_weight(kernel);
  tern__gpu_weight_operands(w, part, weights);
  TERN_TRY(tern__gpu_add_step(p->program, product->node, kernel, operands, &immediates, grid[0], grid[1], 1));
  tern__gpu_cost(p->program, 2 * rows * columns * w->k,
                 weights[0].size + weights[1].size + weights[2].size + rows * (w->k + columns) * sizeof(float));
  if (chained)
    tern__gpu_set_link(p->program, (tern__gpu_link){.word = 1 + offsetof(tern__gpu_linear_immediates, x_stride) / 4,
                                                    .early = 1 << 2});
cleanup:
  return status;
}

tern_status tern__gpu_add_product(tern__program *program, tern__gpu_linear *product, bool *taken) {
  tern_status status = TERN_OK;
  plan p = {.program = program, .product = product};
  uint64_t step;
  if (!product->rows || !tern__gpu_weights_fit(program, &product->sources, &p.weights) || !(step = block_rows(&p)))
    return TERN_OK;
  p.dot = dot_fits(&p);
  p.matrix = matrix_fits(&p);
  bool norms = p.dot || (p.matrix && p.weights.k % TERN__WEIGHT_BLOCK == 0);
  TERN_TRY(tern__gpu_pack_weights(program, &product->sources, &p.weights));
  if (p.matrix && !product->norm && p.weights.k % TERN__WEIGHT_BLOCK == 0)
    TERN_TRY(tern__gpu_take_halves(program, product->node, product->x, product->rows, p.weights.k, &p.halves));
  for (uint64_t row = 0; row < product->rows; row += step) {
    uint64_t rows = product->rows - row < step ? product->rows - row : step, k = p.weights.k;
    tern__gpu_operand x = product->x;
    if (rows < product->rows) x.offset += row * k * sizeof(float), x.size = rows * k * sizeof(float);
    p.scratch = 0;
    if (p.dot) TERN_TRY(add_round(&p, rows, &x));
    else if (product->norm && !norms) TERN_TRY(add_norm(&p, rows, &x));
    if (k % TERN__WEIGHT_BLOCK) TERN_TRY(add_pad(&p, rows, &x));
    if (p.halves.at.kind != TERN__GPU_NONE) {
      x = p.halves.at;
      x.offset += row * k * 2, x.size = rows * k * 2;
    } else if (p.matrix) {
      TERN_TRY(add_half(&p, rows, norms ? product->norm : NULL, &x));
    }
    bool straight = is_straight(&p, rows);
    if (straight) TERN_TRY(add_straight(&p, row, rows, x));
    for (int32_t part = 0; !straight && part < p.weights.parts; part++) TERN_TRY(add_part(&p, row, rows, x, part));
  }
  if (p.dot) TERN_TRY(offer_round(&p));
  if (p.matrix && step == product->rows && !product->widths[1] && !is_straight(&p, product->rows))
    TERN_TRY(offer_halves(&p, 0, is_wide(product->rows, product->widths[0])));
  *taken = true;
cleanup:
  return status;
}

/* ---- what attention wants of the product before it ---- */

typedef struct rotary_immediates {
  uint32_t columns, blocks, has_bias, lanes, norm;
  float epsilon;
  uint32_t heads, kv_heads, dim, half_rotary, interleaved, positions, values, chain;
} rotary_immediates;

static bool reads_layer(const tern__gpu_step *step, int32_t layer) {
  for (int i = 0; i < tern__gpu_kernels[step->kernel].n_bindings; i++) {
    tern__gpu_operand o = step->operands[i];
    if (o.index == layer &&
        (o.kind == TERN__GPU_KV_KEYS || o.kind == TERN__GPU_KV_VALUES || o.kind == TERN__GPU_KV_BOTH))
      return true;
  }
  return false;
}

/* Whether the step is one row of linear_dot.wgsl that makes what is wanted, and nothing besides. */
static bool makes_rotary(const tern__program *program, const tern__gpu_step *step, const tern__gpu_rotary *wanted) {
  static const int places[3] = {1, 3, 4};
  const tern__value_id *root = program->plan->root;
  tern__gpu_linear_immediates p;
  if (!is_chained(step->kernel) &&
      (step->kernel < TERN__KERNEL_linear_dot_q4_h || step->kernel > TERN__KERNEL_linear_dot_q8_fm2))
    return false;
  memcpy(&p, step->immediates, sizeof p);
  uint32_t keys = wanted->kv_heads * wanted->dim, width[3] = {wanted->heads * wanted->dim, keys, keys};
  for (int i = 0; i < 3; i++) {
    tern__gpu_operand y = step->operands[places[i]];
    if (y.kind != TERN__GPU_VALUE || y.offset || y.size || root[y.index] != root[wanted->qkv[i].index] ||
        p.width[i] != width[i])
      return false;
  }
  return p.rows == 1 && !p.first && p.columns == width[0] + 2 * keys && p.ending == TERN__GPU_PLAIN && !p.residual &&
         !p.round;
}

tern_status tern__gpu_take_rotary(tern__program *program, const tern__node *node, const tern__gpu_rotary *wanted,
                                  bool *done) {
  tern_status status = TERN_OK;
  size_t at = tern__array_count(program->steps);
  uint32_t needs = tern__gpu_kernels[TERN__KERNEL_linear_dot_rotary_q4_h].needs;
  *done = false;
  if (program->dry || (program->backend->info->features & needs) != needs) return TERN_OK;
  if (wanted->half_rotary && (!tern__gpu_constant(program, node, 3) || !tern__gpu_constant(program, node, 4)))
    return TERN_OK; /* tables that may not be there yet */
  for (int i = 0; i < 3; i++) {
    tern__gpu_operand x = wanted->qkv[i];
    if (x.kind != TERN__GPU_VALUE || !tern__gpu_only_reader(program, program->plan->root[x.index], node))
      return TERN_OK;
  }
  do {
    if (!at || reads_layer(&program->steps[at - 1], wanted->layer)) return TERN_OK;
    at--;
  } while (!makes_rotary(program, &program->steps[at], wanted));
  tern__gpu_step *step = &program->steps[at];
  tern__gpu_linear_immediates p;
  memcpy(&p, step->immediates, sizeof p);
  if (tern__gpu_rounded_bytes(1, (uint64_t)p.blocks * TERN__WEIGHT_BLOCK) > ROTARY_STAGED) return TERN_OK;
  int32_t format = (int32_t)step->kernel - (is_chained(step->kernel) ? TERN__KERNEL_linear_dot_chain_q4_h
                                                                     : TERN__KERNEL_linear_dot_q4_h);
  const tern__gpu_operand *weights = step->operands + first_weight(step->kernel);
  rotary_immediates immediates = {.columns = p.columns, .blocks = p.blocks, .has_bias = p.has_bias, .lanes = p.lanes,
                                  .norm = p.norm, .epsilon = p.epsilon, .heads = wanted->heads,
                                  .kv_heads = wanted->kv_heads, .dim = wanted->dim,
                                  .half_rotary = wanted->half_rotary, .interleaved = wanted->interleaved,
                                  .positions = wanted->positions, .values = wanted->values};
  tern__gpu_operand operands[] = {step->operands[0], step->operands[1], step->operands[2],
                                  {TERN__GPU_POSITIONS, 0, 0, 0}, wanted->cos, wanted->sin,
                                  {TERN__GPU_KV_BOTH, wanted->layer, 0, 0},
                                  tern__gpu_chain_counters(),
                                  weights[0], weights[1], weights[2]};
  step->kernel = (tern__gpu_kernel_id)(TERN__KERNEL_linear_dot_rotary_q4_h + format);
  for (int i = 0; i < tern__gpu_kernels[step->kernel].n_bindings; i++)
    TERN_TRY(tern__gpu_set_operand(program, step, i, operands[i]));
  memcpy(step->immediates, &immediates, sizeof immediates);
  step->link = (tern__gpu_link){.word = 1 + offsetof(rotary_immediates, chain) / 4,
                                .early = 1 << 2 | 1 << 4 | 1 << 5};
  *done = true;
cleanup:
  return status;
}

bool tern__gpu_product_of(const tern__program *program, const tern__node *node, const tern__view *x,
                          tern__weight_read *read, tern__gpu_linear *out) {
  tern__weight_product product;
  if (!tern__gpu_read_product(program, node, x, read, &product)) return false;
  *out = (tern__gpu_linear){.node = node,
                             .sources = {.list = {product.source}, .n = 1},
                             .x = tern__gpu_input(node, 0),
                             .bias = {TERN__GPU_NONE, -1, 0, 0},
                             .outputs = {tern__gpu_output(node, 0)},
                             .widths = {product.source.n},
                             .rows = product.rows};
  if (product.bias >= 0) out->bias = tern__gpu_input(node, product.bias);
  return true;
}
