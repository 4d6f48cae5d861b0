/* Which steps round their results, and for whom. */
#include "gpu/gpu_rounded.h"

#include <string.h>

enum { ROUND_BLOCK = 32 };

uint64_t tern__gpu_rounded_bytes(uint64_t rows, uint64_t width) {
  uint64_t blocks = width / ROUND_BLOCK;
  return rows * (blocks * 5 + (blocks + 1) / 2) * 16;
}

tern_status tern__gpu_offer_rounded(tern__program *program, const tern__gpu_offer *offer) {
  tern_status status = TERN_OK;
  tern__gpu_offer made = *offer;
  if (program->dry || offer->y.kind != TERN__GPU_VALUE || !offer->width || offer->width % ROUND_BLOCK) return TERN_OK;
  made.step = tern__array_count(program->steps) - 1;
  made.row = made.by = (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
  TERN_ARRAY_PUSH(program->backend->env.alloc, program->offers, made);
cleanup:
  return status;
}

static bool same(tern__gpu_operand a, tern__gpu_operand b) {
  return a.kind == b.kind && a.index == b.index && a.offset == b.offset && a.size == b.size;
}

/* Makes the step one of a kernel with two bindings more, from the rounded row's on. */
static void change_kernel(tern__gpu_step *step, const tern__gpu_offer *offer) {
  int32_t at = offer->rounded, more = 2;
  memmove(step->operands + at + more, step->operands + at,
          (size_t)(TERN__GPU_MAX_BINDINGS - at - more) * sizeof *step->operands);
  for (int32_t i = at; i < at + more; i++) step->operands[i] = (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
  step->kernel = (tern__gpu_kernel_id)offer->kernel;
  step->groups[0] = offer->groups, step->groups[1] = step->groups[2] = 1;
}

static tern_status fill(tern__program *program, tern__gpu_offer *offer, tern__gpu_operand scale) {
  tern_status status = TERN_OK;
  tern__gpu_step *step = &program->steps[offer->step];
  bool scaled = scale.kind != TERN__GPU_NONE;
  uint32_t word;
  offer->row = tern__gpu_keep(program, tern__gpu_rounded_bytes(1, offer->width)), offer->by = scale;
  if (offer->kernel) change_kernel(step, offer);
  TERN_TRY(tern__gpu_set_operand(program, step, offer->rounded, offer->row));
  if (scaled) TERN_TRY(tern__gpu_set_operand(program, step, offer->scale, scale));
  memcpy(&word, step->immediates + 4 * offer->immediate, sizeof word);
  word |= scaled ? offer->scaled : offer->plain;
  memcpy(step->immediates + 4 * offer->immediate, &word, sizeof word);
cleanup:
  return status;
}

tern_status tern__gpu_take_rounded(tern__program *program, tern__gpu_operand x, uint64_t width,
                                   tern__gpu_operand scale, tern__gpu_operand *out) {
  tern_status status = TERN_OK;
  *out = (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
  if (program->dry || x.kind != TERN__GPU_VALUE || x.offset || x.size) return TERN_OK;
  const tern__value_id *root = program->plan->root; /* a reshaped value is the same */
  for (size_t i = tern__array_count(program->offers); i-- > 0;) {
    tern__gpu_offer *offer = &program->offers[i];
    if (offer->width != width || root[x.index] != root[offer->y.index]) continue;
    bool free = offer->row.kind == TERN__GPU_NONE, can = scale.kind == TERN__GPU_NONE || offer->scale >= 0;
    if (!(free ? can : same(offer->by, scale))) return TERN_OK;
    if (free) TERN_TRY(fill(program, offer, scale));
    *out = offer->row;
    return TERN_OK;
  }
cleanup:
  return status;
}
