/* tern.KvAttention: new rows enter the cache (kernels/kv_store.wgsl), then attention over it: in tiles of queries
 * (attention_kv.wgsl), or for few queries in shares of the keys (attention_split.wgsl). Few new rows, as in decoding,
 * are stored by the attention itself (include/attention_fresh.wgsl).
 * Positions are read from a buffer: what is recorded serves every position. */
#include <math.h>

#include "gpu/ops/gpu_attention.h"

enum {
  STORE_WORKGROUP = 64,
  SPLIT_QUERIES = 4,     /* of a workgroup of attention_split.wgsl */
  SPLIT_KEYS = 64,       /* fewest of a share */
  MAX_SPLIT_QUERIES = 8, /* of a head of keys: beyond, tiles of queries are better */
  MAX_SPLITS = 32,
  MAX_FRESH_ROWS = 4,    /* that attention stores itself: every workgroup of a head rotates them */
  WANTED_WORKGROUPS = 256
};

typedef struct store_immediates {
  uint32_t count, rows, kv_heads, dim, half_rotary, positions, flags, pad;
} store_immediates;

static tern__gpu_operand cache_operand(tern__gpu_operand_kind kind, int32_t layer) {
  return (tern__gpu_operand){kind, layer, 0, 0};
}

static tern_status add_store(tern__program *program, const tern__node *node, const tern__gpu_attention *a,
                             uint64_t batch, int32_t layer) {
  tern_status status = TERN_OK;
  bool odd = a->dim % 2 != 0;
  uint64_t count = batch * a->rows * a->kv_heads * a->dim / (odd ? 1 : 2);
  uint32_t groups[2];
  store_immediates immediates = {(uint32_t)count, a->rows, a->kv_heads, a->dim, a->half_rotary, a->keys, a->flags, 0};
  tern__gpu_operand operands[] = {tern__gpu_input(node, 1),
                                  tern__gpu_input(node, 2),
                                  {TERN__GPU_POSITIONS, 0, 0, 0},
                                  tern__gpu_input(node, 3),
                                  tern__gpu_input(node, 4),
                                  cache_operand(TERN__GPU_KV_KEYS, layer),
                                  cache_operand(TERN__GPU_KV_VALUES, layer)};
  tern__gpu_groups_1d(program, count, STORE_WORKGROUP, groups);
  TERN_TRY(tern__gpu_add_step(program, node, odd ? TERN__KERNEL_kv_store_odd : TERN__KERNEL_kv_store, operands,
                              &immediates, groups[0], groups[1], 1));
  tern__gpu_cost(program, 4 * count, 24 * count);
cleanup:
  return status;
}

/* Operands of the kernels that read the cache, `out` is the second; those of the kernels that store in it, too, if `a`
 * says where its values lie. */
static void cache_operands(const tern__node *node, const tern__gpu_attention *a, int32_t layer, tern__gpu_operand out,
                           tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS]) {
  bool fresh = a->values != 0;
  operands[0] = tern__gpu_input(node, 0), operands[1] = out;
  operands[2] = fresh ? tern__gpu_input(node, 1) : cache_operand(TERN__GPU_KV_KEYS, layer);
  operands[3] = fresh ? tern__gpu_input(node, 2) : cache_operand(TERN__GPU_KV_VALUES, layer);
  operands[4] = (tern__gpu_operand){TERN__GPU_POSITIONS, 0, 0, 0};
  operands[5] = tern__gpu_input(node, 3), operands[6] = tern__gpu_input(node, 4);
  operands[7] = cache_operand(TERN__GPU_KV_BOTH, layer);
}

static void count_cost(tern__program *program, const tern__gpu_attention *a, uint64_t batch) {
  uint64_t queries = batch * a->rows * a->group * a->kv_heads;
  tern__gpu_cost(program, 2 * queries * a->keys * a->dim, 4 * batch * a->keys * a->kv_heads * a->dim);
}

static tern_status add_attention(tern__program *program, const tern__node *node, const tern__gpu_attention *a,
                                 uint64_t batch, int32_t layer) {
  tern_status status = TERN_OK;
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS];
  cache_operands(node, a, layer, tern__gpu_output(node, 0), operands);
  TERN_TRY(tern__gpu_add_step(program, node, a->values ? TERN__KERNEL_attention_kv_fresh : TERN__KERNEL_attention_kv,
                              operands, a, tern__gpu_attention_blocks(a), (uint32_t)(batch * a->kv_heads), 1));
  count_cost(program, a, batch);
cleanup:
  return status;
}

/* Few queries on a GPU: keys are shared out, so that all of it has work. The number of shares does not depend on the
 * batch, so that a sequence's result does not. */
static uint32_t splits_of(const tern__program *program, const tern__gpu_attention *a) {
  uint32_t queries = a->rows * a->group, blocks = (queries + SPLIT_QUERIES - 1) / SPLIT_QUERIES;
  uint32_t splits = WANTED_WORKGROUPS / (a->kv_heads * blocks), most = a->keys / SPLIT_KEYS;
  if (program->backend->info->software || queries > MAX_SPLIT_QUERIES) return 0;
  if (splits > MAX_SPLITS) splits = MAX_SPLITS;
  if (splits > most) splits = most;
  return splits ? splits : 1;
}

/* Where a layer's values begin, in words of what KV_BOTH binds; 0 = the new rows need kernels of their own: many of
 * them, heads that are not whole quads, or a cache that one binding does not hold. */
static uint32_t values_at(const tern__program *program, const tern__gpu_attention *a, uint64_t cache_bytes) {
  uint64_t values = (cache_bytes + 255) / 256 * 256; /* as gpu_backend.c places them */
  bool fits = values + cache_bytes <= program->backend->info->max_binding_bytes;
  return fits && a->rows <= MAX_FRESH_ROWS && a->dim % 4 == 0 ? (uint32_t)(values / 4) : 0;
}

typedef struct merge_immediates { uint32_t count, rows, kv_heads, group, dim, splits, pad[2]; } merge_immediates;

static tern_status add_split(tern__program *program, const tern__node *node, tern__gpu_attention *a, uint64_t batch,
                             int32_t layer, uint32_t splits) {
  tern_status status = TERN_OK;
  uint64_t queries = a->rows * a->group, count = batch * queries * a->kv_heads * a->dim;
  uint64_t bytes = batch * a->kv_heads * queries * splits * (a->dim + 2) * sizeof(float);
  uint32_t groups[2], blocks = (uint32_t)((queries + SPLIT_QUERIES - 1) / SPLIT_QUERIES);
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS], parts = tern__gpu_scratch(0, bytes);
  merge_immediates merge = {(uint32_t)count, a->rows, a->kv_heads, a->group, a->dim, splits, {0, 0}};
  tern__gpu_need_scratch(program, bytes);
  a->splits = splits;
  cache_operands(node, a, layer, parts, operands);
  TERN_TRY(tern__gpu_add_step(program, node,
                              a->values ? TERN__KERNEL_attention_split_fresh : TERN__KERNEL_attention_split, operands,
                              a, blocks * splits, (uint32_t)(batch * a->kv_heads), 1));
  count_cost(program, a, batch);
  tern__gpu_groups_1d(program, count, STORE_WORKGROUP, groups);
  TERN_TRY(tern__gpu_add_step(program, node, TERN__KERNEL_attention_merge,
                              (tern__gpu_operand[]){parts, tern__gpu_output(node, 0)}, &merge, groups[0], groups[1],
                              1));
  tern__gpu_cost(program, 2 * count * splits, 4 * count * splits);
cleanup:
  return status;
}

tern_status tern__gpu_compile_kv_attention(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *q = tern__gpu_in(program, node, 0), *cos = tern__gpu_in(program, node, 3);
  const tern__kv_cache *kv = program->plan->kv;
  const tern__gpu_info *info = program->backend->info;
  int64_t layer = tern__node_int(node, "layer", -1), window = tern__node_int(node, "local_window", -1);
  uint64_t heads = (uint64_t)tern__node_int(node, "num_heads", 1), batch = (uint64_t)q->shape.dims[0];
  tern__gpu_attention a = {.rows = (uint32_t)q->shape.dims[1],
                           .kv_heads = (uint32_t)tern__node_int(node, "kv_num_heads", 1),
                           .dim = (uint32_t)((uint64_t)q->shape.dims[2] / heads),
                           .half_rotary = cos ? (uint32_t)cos->shape.dims[1] : 0,
                           .flags = tern__node_int(node, "rotary_interleaved", 0) ? TERN__GPU_ATTENTION_INTERLEAVED : 0,
                           .window = window > 0 ? (uint32_t)window : 0,
                           .scale = tern__node_float(node, "scale", 0),
                           .softcap = tern__node_float(node, "softcap", 0)};
  if (!kv || layer < 0 || layer >= kv->n_layers || !batch || !a.rows || !a.dim ||
      a.dim > TERN__GPU_ATTENTION_MAX_DIM || (uint32_t)kv->kv_heads[layer] != a.kv_heads ||
      (uint32_t)kv->head_dim[layer] != a.dim || (uint64_t)kv->batch < batch || batch * a.kv_heads > info->max_groups ||
      batch * a.rows * heads * a.dim > UINT32_MAX || (cos && !cos->shape.dims[0]))
    return TERN_OK;
  /* A table shorter than the cache is fine as far as it goes: runs beyond it are refused. */
  if (cos && (!program->rotary_positions || cos->shape.dims[0] < program->rotary_positions))
    program->rotary_positions = cos->shape.dims[0];
  a.group = (uint32_t)heads / a.kv_heads, a.keys = (uint32_t)kv->capacity;
  uint64_t bytes = (uint64_t)kv->batch * a.kv_heads * a.keys * a.dim * 2;
  if (bytes > info->max_binding_bytes)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "node '%s' (KvAttention): %llu bytes of keys for %d positions are beyond the %llu that %s binds at once; "
              "use a shorter context or device 'cpu'",
              node->name, (unsigned long long)bytes, (int)kv->capacity, (unsigned long long)info->max_binding_bytes,
              info->name);
  if (a.scale == 0) a.scale = 1.0f / sqrtf((float)a.dim);
  tern__gpu_attention_tile(&a);
  if (tern__gpu_attention_blocks(&a) > info->max_groups) return TERN_OK;
  a.values = values_at(program, &a, bytes);
  if (!a.values) TERN_TRY(add_store(program, node, &a, batch, (int32_t)layer));
  uint32_t splits = splits_of(program, &a);
  TERN_TRY(splits ? add_split(program, node, &a, batch, (int32_t)layer, splits)
                  : add_attention(program, node, &a, batch, (int32_t)layer));
  *taken = true;
cleanup:
  return status;
}
