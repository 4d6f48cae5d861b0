/* Rows that the step which computes them also rounds for the product that reads them
 * (kernels/include/linear_round.wgsl), so that no dispatch only rounds. The step offers it; the product that wants it
 * fills the offer in. */
#ifndef TERN_GPU_ROUNDED_H
#define TERN_GPU_ROUNDED_H

#include "gpu/gpu_program.h"

/* What the last step added can do: `y` is a value of one row of `width`, which a multiple of 32 divides. */
typedef struct tern__gpu_offer {
  tern__gpu_operand y;
  uint64_t width;
  int32_t rounded, scale;      /* bindings: where the rounded row goes; an RMS norm's scale, -1 = cannot be applied */
  int32_t immediate;           /* which 32-bit word gets these bits: */
  uint32_t plain, scaled;      /* the row is written rounded; and with the scale */
  int32_t kernel;              /* the step becomes one of this kernel, which has these two bindings more, in so many */
  uint32_t groups;             /* workgroups; 0 = its own kernel can */
  size_t step;                 /* set by tern__gpu_offer_rounded, as all below */
  tern__gpu_operand row, by;   /* where it was put and by which scale; NONE = nobody wanted it yet */
} tern__gpu_offer;

tern_status tern__gpu_offer_rounded(tern__program *program, const tern__gpu_offer *offer);
/* The rounded row of x, of `width`, multiplied by `scale` (NONE = as it is); *out is NONE if no step offers it. */
tern_status tern__gpu_take_rounded(tern__program *program, tern__gpu_operand x, uint64_t width,
                                   tern__gpu_operand scale, tern__gpu_operand *out);
/* Bytes of rounded rows. */
uint64_t tern__gpu_rounded_bytes(uint64_t rows, uint64_t width);

#endif
