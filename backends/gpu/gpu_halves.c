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

static tern_status fill(tern__program *program, tern__gpu_halves *offer, const tern__node *node) {
  tern_status status = TERN_OK;
  tern__value_id root = program->plan->root[offer->y.index];
  bool alone = tern__gpu_only_reader(program, root, node);
  float factor = offer->factor < 0 ? offer->fixed : 0;
  uint32_t word;
  if (!alone && !offer->beside) return TERN_OK;
  if (offer->factor >= 0) {
    if (offer->weights) {
      offer->bound.each += offer->bound.total * largest_weight(offer->weights);
      offer->bound.total = offer->bound.each * (double)offer->width;
      offer->weights = NULL;
    }
    factor = factor_of(offer->bound.each);
  }
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
  offer->back = 1 / factor;
cleanup:
  return status;
}

tern_status tern__gpu_take_halves(tern__program *program, const tern__node *node, tern__gpu_operand x, uint64_t rows,
                                  uint64_t width, tern__gpu_halves *out) {
  tern_status status = TERN_OK;
  *out = (tern__gpu_halves){.at = {TERN__GPU_NONE, -1, 0, 0}};
  if (program->dry || x.kind != TERN__GPU_VALUE || x.offset || x.size) return TERN_OK;
  const tern__value_id *root = program->plan->root; /* a reshaped value is the same */
  for (size_t i = tern__array_count(program->halves); i-- > 0;) {
    tern__gpu_halves *offer = &program->halves[i];
    if (root[x.index] != root[offer->y.index]) continue;
    if (offer->rows != rows || offer->width != width || offer->gone) return TERN_OK;
    if (offer->at.kind == TERN__GPU_NONE) TERN_TRY(fill(program, offer, node));
    if (offer->at.kind == TERN__GPU_NONE) return TERN_OK;
    use_lane(program, offer, node);
    *out = *offer;
    return TERN_OK;
  }
cleanup:
  return status;
}
