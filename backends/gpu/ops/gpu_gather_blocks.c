/* Rows of tables of quantized weights: Gather of GGUF blocks, GatherBlockQuantized (kernels/gather_blocks.wgsl; a row
 * that a product wants rounded, kernels/gather_blocks_round.wgsl). A table that is a Linear's weight too is one on the
 * device. */
#include "gpu/gpu_pack.h"
#include "gpu/gpu_rounded.h"

enum {
  WORKGROUP = 64, NOT_A_NUMBER = 0x7fc00000,
  ROUND_SUBGROUP = 4,  /* fewest invocations of a subgroup that rounds: they share half a block */
  ROUND_BLOCKS = 32    /* of a workgroup of gather_blocks_round.wgsl */
};

/* gather_blocks_round.wgsl has `round` behind them. */
typedef struct gather_immediates { uint32_t count, blocks, k, index_words, rows, first, end, nan; } gather_immediates;

static tern__gpu_kernel_id kernel_of(tern__gpu_kernel_id first, const tern__gpu_weights *w) {
  return (tern__gpu_kernel_id)((int)first + (int)w->format - (int)TERN__GPU_WEIGHT_q4_h);
}

/* Of one row a product may want it rounded: what embeds a decoded token. */
static tern_status offer_round(tern__program *program, const tern__node *node, const tern__gpu_weights *w, uint64_t n) {
  const tern__gpu_info *info = program->backend->info;
  tern__gpu_kernel_id kernel = kernel_of(TERN__KERNEL_gather_blocks_round_q4_h, w);
  const tern__gpu_kernel *facts = &tern__gpu_kernels[kernel];
  if (n != 1 || w->parts != 1 || (info->features & facts->needs) != facts->needs ||
      info->subgroup_min < ROUND_SUBGROUP || info->max_invocations < facts->workgroup[0])
    return TERN_OK;
  return tern__gpu_offer_rounded(
      program, &(tern__gpu_offer){.y = tern__gpu_output(node, 0),
                                  .width = w->k,
                                  .rounded = 2,
                                  .scale = 3,
                                  .immediate = sizeof(gather_immediates) / 4,
                                  .plain = 1, .scaled = 2 /* GATHER_ROUND_* */,
                                  .kernel = (int32_t)kernel,
                                  .groups = (uint32_t)((w->blocks + ROUND_BLOCKS - 1) / ROUND_BLOCKS)});
}

static tern_status add_gather(tern__program *program, const tern__node *node, const tern__weight_source *source,
                              bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *indices = tern__gpu_in(program, node, 1);
  tern__gpu_sources sources = {.list = {*source}, .n = 1};
  tern__gpu_weights w;
  uint64_t n = tern__gpu_elements(indices);
  uint32_t groups[2];
  if (!n || !source->n || !source->k || source->n > INT32_MAX || !tern__gpu_weights_fit(program, &sources, &w) ||
      w.format < TERN__GPU_WEIGHT_q4_h || n * w.blocks * TERN__WEIGHT_BLOCK > UINT32_MAX ||
      n * w.k * sizeof(float) > program->backend->info->max_binding_bytes)
    return TERN_OK;
  TERN_TRY(tern__gpu_add_index_check(program, node, 1, (int64_t)source->n, taken));
  if (!*taken) return TERN_OK;
  TERN_TRY(tern__gpu_pack_weights(program, &sources, &w));
  tern__gpu_kernel_id kernel = kernel_of(TERN__KERNEL_gather_blocks_q4_h, &w);
  gather_immediates p = {.count = (uint32_t)(n * w.blocks * 2), .blocks = (uint32_t)w.blocks, .k = (uint32_t)w.k,
                         .index_words = indices->dtype == TERN_DTYPE_I64 ? 2 : 1, .rows = (uint32_t)w.n,
                         .nan = NOT_A_NUMBER};
  tern__gpu_groups_1d(program, p.count, WORKGROUP, groups);
  for (int32_t part = 0; part < w.parts; part++, p.first = p.end) {
    tern__gpu_operand operands[2 + TERN__GPU_WEIGHT_BINDINGS] = {tern__gpu_input(node, 1), tern__gpu_output(node, 0)};
    tern__gpu_weight_operands(&w, part, operands + 2);
    p.end = p.first + (uint32_t)tern__gpu_weight_rows(&w, part);
    TERN_TRY(tern__gpu_add_step(program, node, kernel, operands, &p, groups[0], groups[1], 1));
    tern__gpu_cost(program, 0, n * w.k * 5);
  }
  TERN_TRY(offer_round(program, node, &w, n));
  *taken = true;
cleanup:
  return status;
}

tern_status tern__gpu_compile_gather_blocks(tern__program *program, const tern__node *node, bool *taken) {
  const tern__view *x = tern__gpu_in(program, node, 0);
  const uint8_t *data = tern__gpu_constant(program, node, 0);
  int64_t axis = tern__node_int(node, "axis", 0);
  if (!data || !tern__dtype_is_block(x->dtype) || x->shape.rank != 2 || (axis != 0 && axis != -2)) return TERN_OK;
  tern__weight_source source = {
      .dtype = x->dtype, .data = data, .n = (size_t)x->shape.dims[0], .k = (size_t)x->shape.dims[1]};
  return add_gather(program, node, &source, taken);
}

tern_status tern__gpu_compile_gather_block_quantized(tern__program *program, const tern__node *node, bool *taken) {
  const tern__view *x = tern__gpu_in(program, node, 0), *scales = tern__gpu_in(program, node, 2);
  const tern__view *zeros = tern__gpu_in(program, node, 3);
  tern__weight_source source = {.dtype = TERN_DTYPE_U8,
                                .data = tern__gpu_constant(program, node, 0),
                                .bits = (int32_t)tern__node_int(node, "bits", 4),
                                .block_size = (int32_t)tern__node_int(node, "block_size", 128),
                                .scales = tern__gpu_constant(program, node, 2),
                                .scale_dtype = scales->dtype,
                                .zeros = zeros ? tern__gpu_constant(program, node, 3) : NULL};
  if (x->dtype != TERN_DTYPE_U8 || x->shape.rank != 2 || (source.bits != 4 && source.bits != 8) || !source.data ||
      !source.scales || (zeros && !source.zeros) ||
      (scales->dtype != TERN_DTYPE_F32 && scales->dtype != TERN_DTYPE_F16) ||
      tern__gpu_out(program, node, 0)->dtype != TERN_DTYPE_F32)
    return TERN_OK;
  source.n = (size_t)x->shape.dims[0], source.k = (size_t)x->shape.dims[1] * (size_t)(8 / source.bits);
  /* A row's values are packed without gaps; with a last block that is not whole, MatMulNBits' are not. */
  if (source.k % (size_t)source.block_size) return TERN_OK;
  return add_gather(program, node, &source, taken);
}
