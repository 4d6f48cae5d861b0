/* Rows that the step which computes them stores as float16 for the matrix products that read them
 * (kernels/linear_matrix.wgsl), so that no dispatch only rounds (linear_half.wgsl), or for an encoder's attention and
 * its norms. The step offers it, the reader takes it: instead of float32 in the value's own memory where that node
 * alone reads the value, beside it otherwise.
 *
 * Halves are the row times a power of two that is one for all rows, found before anything runs from what bounds them
 * (weights, and what a norm leaves): they cannot overflow. */
#ifndef TERN_GPU_HALVES_H
#define TERN_GPU_HALVES_H

#include "gpu/gpu_program.h"
#include "ir/weight_blocks.h"

/* What values of a row do not exceed; 0 = not known. */
typedef struct tern__gpu_bound {
  double each;  /* |y| */
  double total; /* of a row's |y|, added up */
} tern__gpu_bound;

/* What the last step added can do: `y` is a value of `rows` of `width`, which a multiple of 32 divides. */
struct tern__gpu_halves {
  tern__gpu_operand y;
  uint64_t rows, width;
  tern__gpu_bound bound;
  const tern__weight_source *weights; /* NULL, or: |y| is at most bound.each more than bound.total times the largest
                                         |weight|, which are looked at where somebody wants the halves */
  int32_t plain, halves;              /* bindings: of y as float32; where halves go */
  int32_t flags, factor;              /* 32-bit words of the parameters: gets these bits, and the power of two (-1 = the
                                         kernel has its own, `fixed`): */
  uint32_t alone, beside;             /* in place of y; beside it, 0 = it cannot */
  float fixed;
  int32_t kernel;                     /* that stores halves alone, in place of the step's; 0 = the step's own does */
  size_t step;                        /* set by tern__gpu_offer_halves, as all below */
  tern__gpu_operand at;               /* where they were put; NONE = nobody wanted them yet */
  float back;                         /* what halves are to be multiplied by */
  bool gone;                          /* another step's halves have that memory now */
};

tern_status tern__gpu_offer_halves(tern__program *program, const tern__gpu_halves *offer);
/* x as halves, for `node`, and what is known of them; out->at is NONE if no step offers them. */
tern_status tern__gpu_take_halves(tern__program *program, const tern__node *node, tern__gpu_operand x, uint64_t rows,
                                  uint64_t width, tern__gpu_halves *out);
/* The same for `n` values, all of them or none; out[0].at says which. */
tern_status tern__gpu_take_all_halves(tern__program *program, const tern__node *node, const tern__gpu_operand *x,
                                      const uint64_t *rows, uint64_t width, int32_t n, tern__gpu_halves *out);
/* The same where the node alone reads x, so that nothing is stored twice. */
tern_status tern__gpu_take_own_halves(tern__program *program, const tern__node *node, tern__gpu_operand x,
                                      uint64_t rows, uint64_t width, tern__gpu_halves *out);
/* The bound of the values of a layer norm (`bias` not NULL) or an RMS norm, of n values with this scale. */
tern__gpu_bound tern__gpu_norm_bound(const float *scale, const float *bias, uint64_t n, float epsilon);
/* Largest absolute value of n floats; infinity if one is NaN. */
double tern__gpu_largest(const float *x, uint64_t n);

#endif
