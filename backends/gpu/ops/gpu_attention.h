/* What the attention ops share: parameters of kernels/include/attention_params.wgsl, and which kernels take them. */
#ifndef TERN_GPU_ATTENTION_H
#define TERN_GPU_ATTENTION_H

#include "gpu/gpu_program.h"

enum { TERN__GPU_ATTENTION_MAX_DIM = 256, TERN__GPU_ATTENTION_INTERLEAVED = 1, TERN__GPU_ATTENTION_MASK = 2,
       TERN__GPU_ATTENTION_ROUND = 4,   /* attention_step.wgsl: y is written rounded, too */
       TERN__GPU_ATTENTION_HALVES = 8 /* attention_matrix_encoder.wgsl: y is written as float16 alone */ };

typedef struct tern__gpu_attention {
  uint32_t rows, keys, kv_heads, group, dim, quad_lanes, block_queries, half_rotary, flags;
  union {
    uint32_t window;
    float value_scale; /* attention_matrix_encoder.wgsl, as next: */
  };
  float scale;
  union {
    float softcap;
    float product_scale;
  };
  union {
    uint32_t mask_step[4]; /* batch, head, row, key */
    struct { uint32_t values, first_head, unit, splits; };
  };
} tern__gpu_attention;

/* Sets quad_lanes and block_queries from dim. */
static inline void tern__gpu_attention_tile(tern__gpu_attention *a) {
  uint32_t quads = (a->dim + 3) / 4, lanes = 1;
  while (lanes < quads) lanes *= 2;
  a->quad_lanes = lanes, a->block_queries = lanes > 32 ? 8 : 16;
}
static inline uint32_t tern__gpu_attention_blocks(const tern__gpu_attention *a) {
  return (a->rows * a->group + a->block_queries - 1) / a->block_queries;
}

/* How many invocations of a subgroup attention_step.wgsl has work together; 0: it cannot run. */
static inline uint32_t tern__gpu_attention_unit(const tern__gpu_info *info) {
  uint32_t size = info->subgroup_max;
  if (info->subgroup_min != size || size < 8 || size > 128) return 0;
  return size < 32 ? size : 32;
}

/* Whether cooperative matrices compute so much attention (kernels/include/attention_matrix.wgsl), and then
 * block_queries and the kernel: of the variants from `first` (heads of up to 32) on, that for the heads' size. */
bool tern__gpu_attention_matrix(const tern__program *program, tern__gpu_attention *a, tern__gpu_kernel_id first,
                                tern__gpu_kernel_id *kernel);
/* How many workgroups share the heads of a block of queries if a variant of attention_matrix_whole.wgsl has an
 * encoder's attention of halves that tern__gpu_attention_matrix can, and then which, and block_queries; 0: keys are
 * many, or a mask has queries of its own. */
uint32_t tern__gpu_attention_whole(const tern__program *program, tern__gpu_attention *a, uint64_t batch,
                                   tern__gpu_kernel_id *kernel);

#endif
