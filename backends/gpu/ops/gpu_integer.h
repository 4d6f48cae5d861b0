/* What the 8-bit ops share. */
#ifndef TERN_GPU_INTEGER_H
#define TERN_GPU_INTEGER_H

#include "gpu/gpu_program.h"

enum { TERN__GPU_INTEGER_BLOCK = 32 /* k is padded to it */, TERN__GPU_QUANTIZE_RANGES = 64 };

/* Adds the steps of DynamicQuantizeLinear of `count` elements; ranges: TERN__GPU_QUANTIZE_RANGES pairs of floats. */
tern_status tern__gpu_add_dynamic_quantize(tern__program *program, const tern__node *node, uint64_t count,
                                           tern__gpu_operand x, tern__gpu_operand ranges, tern__gpu_operand y,
                                           tern__gpu_operand scale, tern__gpu_operand zero);

#endif
