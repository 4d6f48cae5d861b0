/* Which attention cooperative matrices compute: kernels/include/attention_matrix.wgsl, attention_matrix_whole.wgsl. */
#include "gpu/ops/gpu_attention.h"

enum {
  QUERIES = 64,        /* of a workgroup */
  FEWEST_QUERIES = 16, /* of a head of keys: below, most of a block would be padding */
  SUBGROUP = 32,       /* the kernels know which invocation has which query */
  PART = 8,            /* values that an invocation moves at once */
  ENOUGH_GROUPS = 768  /* workgroups that keep a large device busy: of more, fewer that read ahead are better */
};

/* Of each variant: the largest heads, and the workgroup memory that kernels.def lets it use. */
static const struct { uint32_t dim, shared_bytes; } variants[] = {{32, 49152}, {64, 49152}, {96, 32768}, {128, 32768}};

bool tern__gpu_attention_matrix(const tern__program *program, tern__gpu_attention *a, tern__gpu_kernel_id first,
                                tern__gpu_kernel_id *kernel) {
  const tern__gpu_info *info = program->backend->info;
  if (program->plan->numerics != TERN_NUMERICS_FAST || info->software || info->subgroup_min != SUBGROUP ||
      info->subgroup_max != SUBGROUP || a->rows * a->group < FEWEST_QUERIES || a->dim % PART)
    return false;
  for (uint32_t i = 0; i < sizeof variants / sizeof *variants; i++) {
    const tern__gpu_kernel *k = &tern__gpu_kernels[first + i];
    if (variants[i].dim < a->dim) continue;
    if ((info->features & k->needs) != k->needs || info->max_invocations < k->workgroup[0] ||
        info->shared_bytes < variants[i].shared_bytes)
      return false;
    a->block_queries = QUERIES;
    *kernel = (tern__gpu_kernel_id)(first + i);
    return true;
  }
  return false;
}

/* Of each variant of attention_matrix_whole.wgsl: heads, the most keys (fewer come first), and whether a workgroup may
 * have several heads. As much workgroup memory as the variants above for those heads may take is enough for it. Its
 * subgroups have 16 queries each. */
static const struct { uint32_t dim, keys; bool ahead; tern__gpu_kernel_id kernel; } wholes[] = {
    {32, 64, true, TERN__KERNEL_attention_matrix_whole_short_32},
    {32, 128, true, TERN__KERNEL_attention_matrix_whole_32},
    {64, 64, false, TERN__KERNEL_attention_matrix_whole_short_64},
    {64, 128, false, TERN__KERNEL_attention_matrix_whole_64}};

uint32_t tern__gpu_attention_whole(const tern__program *program, tern__gpu_attention *a, uint64_t batch,
                                   tern__gpu_kernel_id *kernel) {
  if ((a->flags & TERN__GPU_ATTENTION_MASK) && a->mask_step[2]) return 0;
  for (uint32_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
    uint32_t invocations = tern__gpu_kernels[wholes[i].kernel].workgroup[0];
    if (a->dim != wholes[i].dim || a->keys > wholes[i].keys || program->backend->info->max_invocations < invocations)
      continue;
    a->block_queries = invocations / SUBGROUP * 16;
    *kernel = wholes[i].kernel;
    uint64_t each = batch * tern__gpu_attention_blocks(a) * a->kv_heads / ENOUGH_GROUPS; /* heads of a workgroup */
    if (!wholes[i].ahead || each <= 1) return a->kv_heads;
    return each >= a->kv_heads ? 1 : (uint32_t)((a->kv_heads + each - 1) / each);
  }
  return 0;
}
