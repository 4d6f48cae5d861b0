/* Groups of nodes that the GPU runs as one (tern.Fused, by its `kind`), made by gpu_fuse.c when a session opens:
 *
 *   linear_group  2 or 3 products of one X with constant weights of one format: projections to Q, K and V. Either each
 *                 part is a product, or each second one is the Add of a constant of its width to the product before it.
 *                 Outputs are those of the products or sums, in order.
 *   linear_gated  the products of gate and up, then SiluMul or GeluMul: parts 0, 1, 2
 *   linear_bias   a product without a bias, then Add of a constant of its width: parts 0, 1; and maybe an activation
 *                 (Gelu, FastGelu, Relu, ...) of the sum: part 2
 *   linear_residual  a product, then Add of a computed value of its size: parts 0, 1
 *   norm_linear   an RMS norm over the last axis, then what alone reads it, which is a product, a linear_group or a
 *                 linear_gated: parts 0, 1
 *   linear_split  a product, then Split of its last axis into 2 or 3: parts 0, 1
 *   skip_norm     Add of two computed values, then a norm of the sum over the last axis: parts 0, 1. The sum is an
 *                 output, too, if others read it
 *
 * ops/gpu_fused.c has a line per kind; a kind without one is not made. */
#ifndef TERN_GPU_FUSE_H
#define TERN_GPU_FUSE_H

#include "gpu/gpu_pack.h"

/* As tern__gpu_find_op, for a kind of tern.Fused. */
tern__gpu_compile_fn tern__gpu_find_fused(const char *kind);

tern_status tern__gpu_fuse(tern__backend *backend, tern__graph *graph);

/* The way in which the node multiplies by constant weights; NULL if it does not. */
tern__weight_read *tern__gpu_product_reader(const tern__op_def *op);

#endif
