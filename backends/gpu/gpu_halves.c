/* Which steps store halves, where, and times which power of two. */
#include "gpu/gpu_halves.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

enum { HALVES_BLOCK = 32, TOP = 15 /* 2^15: the largest float16 is nearly twice that */ };

tern_status tern__gpu_offer_halves(tern__program *program, const tern__gpu_halves *offer) {
  tern_status status = TERN_OK;
  tern__gpu_halves made = *offer;
  const tern__gpu_info *info = program->backend->info;
  if (program->dry || offer->y.kind != TERN__GPU_VALUE || offer->y.offset || !offer->width ||
      offer->width % HALVES_BLOCK || program->plan->numerics != TERN_NUMERICS_FAST ||
      !(info->features & TERN__GPU_HAS_COOPERATIVE_MATRIX) || offer->rows * offer->width * 2 > info->max_binding_bytes)
    return TERN_OK;
  made.step = tern__array_count(program->steps) - 1;
  made.at = (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
  made.back = 0, made.gone = false;
  TERN_ARRAY_PUSH(program->backend->env.alloc, program->halves, made);
cleanup:
  return status;
}

/* ---- bounds ---- */

double tern__gpu_largest(const float *x, uint64_t n) {
  double top = 0;
  for (uint64_t i = 0; i < n; i++) {
    float value;
    memcpy(&value, (const char *)x + i * sizeof value, sizeof value); /* of any alignment */
    if (value != value) return INFINITY;
    if (fabs((double)value) > top) top = fabs((double)value);
  }
  return top;
}

/* What a norm leaves before its scale has a mean square of at most 1: no value is beyond sqrt(n), and by Cauchy and
 * Schwarz the scaled ones add up to at most sqrt(n) |scale|. Squares that vanish in float32 are as good as none beside
 * an epsilon that does not. */
tern__gpu_bound tern__gpu_norm_bound(const float *scale, const float *bias, uint64_t n, float epsilon) {
  double squares = 0, total = 0, top = tern__gpu_largest(scale, n), top_bias = bias ? tern__gpu_largest(bias, n) : 0;
  for (uint64_t i = 0; i < n; i++) {
    float s, b = 0;
    memcpy(&s, (const char *)scale + i * sizeof s, sizeof s);
    if (bias) memcpy(&b, (const char *)bias + i * sizeof b, sizeof b);
    squares += (double)s * (double)s, total += fabs((double)b);
  }
  if (!(epsilon >= 1e-20f) || !isfinite(top + top_bias)) return (tern__gpu_bound){0, 0};
  return (tern__gpu_bound){sqrt((double)n) * top + top_bias, sqrt((double)n * squares) + total};
}

/* Of plain halves, all of them; infinity for anything else. */
static double largest_weight(const tern__weight_source *source) {
  uint16_t top = 0;
  bool half = source->dtype == TERN_DTYPE_F16;
  if ((!half && source->dtype != TERN_DTYPE_BF16) || source->bits || source->channel) return INFINITY;
  for (size_t i = 0; i < source->n * source->k; i++) {
    uint16_t bits;
    memcpy(&bits, source->data + 2 * i, sizeof bits);
    bits &= 0x7fff;
    top = bits > top ? bits : top;
  }
  double found = half ? (double)tern__f16_to_f32(top) : (double)tern__bf16_to_f32(top);
  return found == found ? found : INFINITY;
}

/* The power of two that brings what is bounded to at most 2^TOP, rounding errors included; 0 if there is none. */
static float factor_of(double bound) {
  int exponent;
  if (!(bound >= 0x1p-60) || !(bound <= 0x1p60)) return 0;
  (void)frexp(bound * 1.01, &exponent);
  return ldexpf(1.0f, TOP - exponent);
}

/* ---- taking ---- */

/* Memory beside the values: that of halves which nobody reads any more when this step writes, or more of it. */
static tern_status place(tern__program *program, tern__gpu_halves *offer) {
  tern_status status = TERN_OK;
  uint64_t bytes = offer->rows * offer->width * 2;
  const tern__node *by = program->steps[offer->step].node;
  size_t n = tern__array_count(program->lanes), at = n;
  for (size_t i = 0; i < n && at == n; i++)
    if (program->lanes[i].size >= bytes && program->lanes[i].until <= offer->step && program->lanes[i].reader != by)
      at = i;
  if (at == n) {
    tern__gpu_lane lane = {.offset = program->lane_bytes, .size = bytes};
    TERN_ARRAY_PUSH(program->backend->env.alloc, program->lanes, lane);
    program->lane_bytes += tern__gpu_place(bytes);
  }
  offer->at = (tern__gpu_operand){TERN__GPU_LANE, 0, program->lanes[at].offset, bytes};
  for (size_t i = 0; i < tern__array_count(program->halves); i++) {
    tern__gpu_halves *other = &program->halves[i];
    if (other != offer && other->at.kind == TERN__GPU_LANE && other->at.offset == offer->at.offset) other->gone = true;
  }
cleanup:
  return status;
}

static void use_lane(tern__program *program, const tern__gpu_halves *offer, const tern__node *reader) {
  for (size_t i = 0; i < tern__array_count(program->lanes); i++)
    if (offer->at.kind == TERN__GPU_LANE && program->lanes[i].offset == offer->at.offset)
      program->lanes[i].until = tern__array_count(program->steps), program->lanes[i].reader = reader;
}

static bool is_alone(const tern__program *program, const tern__gpu_halves *offer, const tern__node *node) {
  return tern__gpu_only_reader(program, program->plan->root[offer->y.index], node);
}

/* What halves for the node are multiplied by; 0: there can be none. */
static float factor_for(const tern__program *program, tern__gpu_halves *offer, const tern__node *node) {
  if (!offer->beside && !is_alone(program, offer, node)) return 0;
  if (offer->factor < 0) return offer->fixed;
  if (offer->weights) {
    offer->bound.each += offer->bound.total * largest_weight(offer->weights);
    offer->bound.total = offer->bound.each * (double)offer->width;
    offer->weights = NULL;
  }
  return factor_of(offer->bound.each);
}

static tern_status fill(tern__program *program, tern__gpu_halves *offer, const tern__node *node) {
  tern_status status = TERN_OK;
  bool alone = is_alone(program, offer, node);
  float factor = factor_for(program, offer, node);
  uint32_t word;
  if (factor == 0) return TERN_OK;
  if (alone) offer->at = offer->y;
  else TERN_TRY(place(program, offer));
  tern__gpu_step *step = &program->steps[offer->step];
  TERN_TRY(tern__gpu_set_operand(program, step, offer->halves, offer->at));
  if (alone) step->operands[offer->plain] = (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
  if (alone && offer->kernel) step->kernel = (tern__gpu_kernel_id)offer->kernel;
  memcpy(&word, step->immediates + 4 * offer->flags, sizeof word);
  word |= alone ? offer->alone : offer->beside;
  memcpy(step->immediates + 4 * offer->flags, &word, sizeof word);
  if (offer->factor >= 0) memcpy(step->immediates + 4 * offer->factor, &factor, sizeof factor);
  if (alone && step->bytes > offer->rows * offer->width * 2) step->bytes -= offer->rows * offer->width * 2;
  offer->back = 1 / factor;
cleanup:
  return status;
}

/* The last offer of x; NULL if there is none. */
static tern__gpu_halves *find(const tern__program *program, tern__gpu_operand x, uint64_t rows, uint64_t width) {
  if (program->dry || x.kind != TERN__GPU_VALUE || x.offset || x.size) return NULL;
  const tern__value_id *root = program->plan->root; /* a reshaped value is the same */
  for (size_t i = tern__array_count(program->halves); i-- > 0;) {
    tern__gpu_halves *offer = &program->halves[i];
    if (root[x.index] != root[offer->y.index]) continue;
    return offer->rows == rows && offer->width == width && !offer->gone ? offer : NULL;
  }
  return NULL;
}

tern_status tern__gpu_take_halves(tern__program *program, const tern__node *node, tern__gpu_operand x, uint64_t rows,
                                  uint64_t width, tern__gpu_halves *out) {
  return tern__gpu_take_all_halves(program, node, &x, &rows, width, 1, out);
}

tern_status tern__gpu_take_all_halves(tern__program *program, const tern__node *node, const tern__gpu_operand *x,
                                      const uint64_t *rows, uint64_t width, int32_t n, tern__gpu_halves *out) {
  tern_status status = TERN_OK;
  for (int32_t i = 0; i < n; i++) out[i] = (tern__gpu_halves){.at = {TERN__GPU_NONE, -1, 0, 0}};
  for (int32_t i = 0; i < n; i++) {
    tern__gpu_halves *offer = find(program, x[i], rows[i], width);
    if (!offer || (offer->at.kind == TERN__GPU_NONE && factor_for(program, offer, node) == 0)) return TERN_OK;
  }
  for (int32_t i = 0; i < n; i++) {
    tern__gpu_halves *offer = find(program, x[i], rows[i], width);
    if (offer->at.kind == TERN__GPU_NONE) TERN_TRY(fill(program, offer, node));
    use_lane(program, offer, node);
    out[i] = *offer;
  }
cleanup:
  return status;
}

tern_status tern__gpu_take_own_halves(tern__program *program, const tern__node *node, tern__gpu_operand x,
                                      uint64_t rows, uint64_t width, tern__gpu_halves *out) {
  tern__gpu_halves *offer = find(program, x, rows, width);
  *out = (tern__gpu_halves){.at = {TERN__GPU_NONE, -1, 0, 0}};
  return offer && is_alone(program, offer, node) ? tern__gpu_take_halves(program, node, x, rows, width, out) : TERN_OK;
}
