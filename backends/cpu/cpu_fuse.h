/* Groups of nodes that the CPU runs as one (tern.Fused, by its `kind`), made by cpu_fuse.c when a session opens: fewer
 * steps for all threads to meet after, and less to write and to read again.
 *
 *   linear_bias  a product with constant weights and without a bias, then Add of a constant of its width: parts 0, 1;
 *                maybe an elementwise function of the sum: part 2
 *   skip_norm    Add of two computed values, then a norm of the sum over the last axis: parts 0, 1. The sum is an
 *                output, too, if others read it
 *
 * ops/cpu_fused.c compiles them. */
#ifndef TERN_CPU_FUSE_H
#define TERN_CPU_FUSE_H

#include "cpu/cpu_program.h"
#include "ir/weight_blocks.h"

/* `activations`: into products, too. */
tern_status tern__cpu_fuse(tern__graph *graph, bool activations);

/* The kernel of a node that is an elementwise function of one float32; false for other ops. */
bool tern__cpu_unary_of(const tern__node *node, tern__cpu_unary *out);
/* The way in which such a product is read; NULL for other ops. */
tern__weight_read *tern__cpu_product_reader(const tern__op_def *op);

/* ops/: the input of a fused node that has this value, -1 if none has; what the kinds become. */
int32_t tern__cpu_fused_input(const tern__node *node, tern__value_id id);
tern_status tern__cpu_compile_skip_norm(tern__program *program, const tern__node *node, bool *taken);

#endif
