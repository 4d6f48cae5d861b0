/* tern.KvAttention: new rows enter the cache (kernels/kv_store.wgsl), then attention over it: in tiles of queries
 * (attention_kv.wgsl, or attention_matrix_kv.wgsl), or for few queries in shares of the keys (attention_split.wgsl,
 * attention_step.wgsl), or for one row of a short context without (attention_row.wgsl). Few new rows, as in decoding,
 * are stored by the attention itself (attention_fresh.wgsl, attention_step.wgsl), and a single one by the product that
 * makes it where that can (linear_dot_rotary.wgsl). A cache that one binding does not hold is bound some heads at a
 * time. Positions are read from a buffer: what is recorded serves every position. */
#include <math.h>
#include <stddef.h>

#include "gpu/gpu_chain.h"
#include "gpu/gpu_rounded.h"
#include "gpu/gpu_walk.h"
#include "gpu/ops/gpu_attention.h"
#include "gpu/ops/gpu_product.h"

enum {
  STORE_WORKGROUP = 64,
  SPLIT_QUERIES = 4,     /* of a workgroup of attention_split.wgsl */
  SPLIT_KEYS = 64,       /* fewest of a share */
  MAX_SPLIT_QUERIES = 8, /* of a head of keys: beyond, tiles of queries are better */
  MAX_SPLITS = 32,       /* as attention_merge.wgsl has room for */
  MAX_FRESH_ROWS = 4,    /* that attention stores itself, as attention_fresh.wgsl has room for */
  WANTED_WORKGROUPS = 256,
  STEP_WORKGROUPS = 256, /* the same of attention_step.wgsl */
  STEP_SHARES = 64,      /* at most, as it has room for */
  ROW_POSITIONS = 1536,  /* beyond which shares are faster (on an H200) */
  ROW_VALUES = 16,       /* of a workgroup of attention_row.wgsl */
  STEP_CHAIN = 7         /* operand of attention_step_kept.wgsl: a chain's counters */
};

typedef struct store_immediates {
  uint32_t count, rows, kv_heads, dim, half_rotary, positions, flags, first_head, end_head;
} store_immediates;

/* Part of a layer's cache: heads of keys, counted over the batch, and their bytes of keys (of values as many). */
typedef struct cache_part { uint32_t first, n; uint64_t offset, size; } cache_part;

static tern__gpu_operand cache_operand(tern__gpu_operand_kind kind, int32_t layer, const cache_part *part) {
  return (tern__gpu_operand){kind, layer, part->offset, part->size};
}

static tern_status add_store(tern__program *program, const tern__node *node, const tern__gpu_attention *a,
                             uint64_t batch, int32_t layer, const cache_part *part) {
  tern_status status = TERN_OK;
  bool odd = a->dim % 2 != 0;
  uint64_t count = batch * a->rows * a->kv_heads * a->dim / (odd ? 1 : 2);
  uint32_t groups[2];
  store_immediates immediates = {(uint32_t)count, a->rows, a->kv_heads, a->dim, a->half_rotary,
                                 a->keys,         a->flags, part->first, part->first + part->n};
  tern__gpu_operand operands[] = {tern__gpu_input(node, 1),
                                  tern__gpu_input(node, 2),
                                  {TERN__GPU_POSITIONS, 0, 0, 0},
                                  tern__gpu_input(node, 3),
                                  tern__gpu_input(node, 4),
                                  cache_operand(TERN__GPU_KV_KEYS, layer, part),
                                  cache_operand(TERN__GPU_KV_VALUES, layer, part)};
  tern__gpu_groups_1d(program, count, STORE_WORKGROUP, groups);
  TERN_TRY(tern__gpu_add_step(program, node, odd ? TERN__KERNEL_kv_store_odd : TERN__KERNEL_kv_store, operands,
                              &immediates, groups[0], groups[1], 1));
  tern__gpu_cost(program, 4 * count, 24 * count);
cleanup:
  return status;
}

/* Operands of the kernels that read the cache, `out` is the second; those of the kernels that store in it, too, if `a`
 * says where its values lie. */
static void cache_operands(const tern__node *node, const tern__gpu_attention *a, int32_t layer, const cache_part *part,
                           tern__gpu_operand out, tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS]) {
  bool fresh = a->values != 0;
  operands[0] = tern__gpu_input(node, 0), operands[1] = out;
  operands[2] = fresh ? tern__gpu_input(node, 1) : cache_operand(TERN__GPU_KV_KEYS, layer, part);
  operands[3] = fresh ? tern__gpu_input(node, 2) : cache_operand(TERN__GPU_KV_VALUES, layer, part);
  operands[4] = (tern__gpu_operand){TERN__GPU_POSITIONS, 0, 0, 0};
  operands[5] = tern__gpu_input(node, 3), operands[6] = tern__gpu_input(node, 4);
  operands[7] = (tern__gpu_operand){TERN__GPU_KV_BOTH, layer, 0, 0};
}

static void count_cost(tern__program *program, const tern__gpu_attention *a, uint64_t heads) {
  uint64_t queries = heads * a->rows * a->group;
  tern__gpu_cost(program, 2 * queries * a->keys * a->dim, 4 * heads * a->keys * a->dim);
}

static tern_status add_attention(tern__program *program, const tern__node *node, const tern__gpu_attention *wanted,
                                 int32_t layer, const cache_part *part) {
  tern_status status = TERN_OK;
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS];
  tern__gpu_attention a = *wanted;
  tern__gpu_kernel_id kernel = a.values ? TERN__KERNEL_attention_kv_fresh : TERN__KERNEL_attention_kv;
  bool matrix = !a.values && tern__gpu_attention_matrix(program, &a, TERN__KERNEL_attention_matrix_kv_32, &kernel);
  uint32_t blocks = tern__gpu_attention_blocks(&a);
  cache_operands(node, &a, layer, part, tern__gpu_output(node, 0), operands);
  TERN_TRY(tern__gpu_add_step(program, node, kernel, operands, &a, matrix ? part->n : blocks,
                              matrix ? blocks : part->n, 1));
  count_cost(program, &a, part->n);
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
  uint64_t values = tern__gpu_place(cache_bytes); /* as gpu_backend.c has them */
  bool fits = values + cache_bytes <= program->backend->info->max_binding_bytes;
  return fits && a->rows <= MAX_FRESH_ROWS && a->dim % 4 == 0 ? (uint32_t)(values / 4) : 0;
}

typedef struct merge_immediates { uint32_t count, rows, kv_heads, group, dim, splits, pad[2]; } merge_immediates;

static uint64_t parts_bytes(const tern__gpu_attention *a, uint64_t batch) {
  return batch * a->kv_heads * a->rows * a->group * a->splits * (a->dim + 2) * sizeof(float);
}

static tern_status add_split(tern__program *program, const tern__node *node, const tern__gpu_attention *a,
                             uint64_t batch, int32_t layer, const cache_part *part) {
  tern_status status = TERN_OK;
  uint32_t blocks = (a->rows * a->group + SPLIT_QUERIES - 1) / SPLIT_QUERIES;
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS], parts = tern__gpu_scratch(0, parts_bytes(a, batch));
  cache_operands(node, a, layer, part, parts, operands);
  TERN_TRY(tern__gpu_add_step(program, node,
                              a->values ? TERN__KERNEL_attention_split_fresh : TERN__KERNEL_attention_split, operands,
                              a, blocks * a->splits, part->n, 1));
  count_cost(program, a, part->n);
cleanup:
  return status;
}

static tern_status add_merge(tern__program *program, const tern__node *node, const tern__gpu_attention *a,
                             uint64_t batch) {
  tern_status status = TERN_OK;
  uint64_t count = batch * a->rows * a->group * a->kv_heads;
  merge_immediates merge = {(uint32_t)count, a->rows, a->kv_heads, a->group, a->dim, a->splits, {0, 0}};
  tern__gpu_operand operands[] = {tern__gpu_scratch(0, parts_bytes(a, batch)), tern__gpu_output(node, 0)};
  TERN_TRY(tern__gpu_add_1d(program, node, TERN__KERNEL_attention_merge, operands, &merge, count, 1));
  tern__gpu_cost(program, 2 * count * a->dim * a->splits, 4 * count * a->dim * a->splits);
cleanup:
  return status;
}

/* Bytes of workgroup memory that attention_step.wgsl has for heads of that size. */
static uint32_t step_shared_bytes(uint32_t dim) { return dim > 64 ? 32768 : 16384; }

/* The kernel for them; `kept`: the new row is in the cache, and queries are rotated. */
static tern__gpu_kernel_id step_kernel(uint32_t dim, bool kept) {
  static const tern__gpu_kernel_id kernels[2][3] = {
      {TERN__KERNEL_attention_step_64, TERN__KERNEL_attention_step_128, TERN__KERNEL_attention_step_256},
      {TERN__KERNEL_attention_step_kept_64, TERN__KERNEL_attention_step_kept_128,
       TERN__KERNEL_attention_step_kept_256}};
  return kernels[kept][(dim > 64) + (dim > 128)];
}

/* Whether attention_row.wgsl takes a kept row while positions are few: on a card of its own memory, as those have the
 * caches to read keys once for every 16 values of a query head. */
static bool takes_row(const tern__program *program, const tern__gpu_attention *a) {
  const tern__gpu_info *info = program->backend->info;
  uint32_t lanes = a->dim <= 64 ? 8 : a->dim <= 128 ? 16 : 32;
  return !info->unified && a->dim % ROW_VALUES == 0 && a->unit >= lanes &&
         info->max_invocations >= tern__gpu_kernels[TERN__KERNEL_attention_row_64].workgroup[0];
}

/* The step as it is while positions are few: q, y, positions and cache, and the rounded row. */
static tern__gpu_brief row_of(const tern__gpu_attention *a, int32_t rounded) {
  return (tern__gpu_brief){.positions = ROW_POSITIONS,
                           .kernel = a->dim <= 64    ? TERN__KERNEL_attention_row_64
                                     : a->dim <= 128 ? TERN__KERNEL_attention_row_128
                                                     : TERN__KERNEL_attention_row_256,
                           .groups = {a->dim / ROW_VALUES, a->group, a->kv_heads},
                           .operands = {0, 1, 2, 3, (uint8_t)rounded, STEP_CHAIN},
                           .link = {.word = 1 + offsetof(tern__gpu_attention, block_queries) / 4}};
}

static uint32_t step_blocks(const tern__gpu_attention *a) {
  return (a->rows * a->group + SPLIT_QUERIES - 1) / SPLIT_QUERIES;
}

/* Whether attention_step.wgsl computes so much; then in how many shares, and what it knows of subgroups. The shares
 * depend neither on the batch nor on the rows. */
static bool takes_step(const tern__program *program, tern__gpu_attention *a) {
  const tern__gpu_info *info = program->backend->info;
  uint32_t needs = TERN__GPU_HAS_SUBGROUPS | TERN__GPU_HAS_COHERENT;
  uint32_t unit = tern__gpu_attention_unit(info);
  uint32_t tile = a->dim > 128 ? SPLIT_KEYS / 2 : SPLIT_KEYS, most = (a->keys + tile - 1) / tile;
  bool fast = program->plan->numerics == TERN_NUMERICS_FAST;
  if (!fast || info->software || (info->features & needs) != needs || !a->values || a->dim % 8 || a->half_rotary % 4 ||
      a->rows * a->group > MAX_SPLIT_QUERIES || !unit || info->shared_bytes < step_shared_bytes(a->dim))
    return false;
  a->unit = unit;
  a->splits = STEP_WORKGROUPS / a->kv_heads;
  if (a->splits > STEP_SHARES) a->splits = STEP_SHARES;
  if (a->splits > most) a->splits = most;
  if (!a->splits) a->splits = 1;
  return true;
}

/* Whether the product that makes the only new row now stores it, and rotates its queries. */
static tern_status take_rotary(tern__program *program, const tern__node *node, const tern__gpu_attention *a,
                               uint64_t batch, int32_t layer, bool *kept) {
  *kept = false;
  if (batch != 1 || a->rows != 1) return TERN_OK;
  return tern__gpu_take_rotary(
      program, node,
      &(tern__gpu_rotary){.qkv = {tern__gpu_input(node, 0), tern__gpu_input(node, 1), tern__gpu_input(node, 2)},
                          .cos = tern__gpu_input(node, 3),
                          .sin = tern__gpu_input(node, 4),
                          .layer = layer,
                          .heads = a->kv_heads * a->group,
                          .kv_heads = a->kv_heads,
                          .dim = a->dim,
                          .half_rotary = a->half_rotary,
                          .interleaved = a->flags & TERN__GPU_ATTENTION_INTERLEAVED,
                          .positions = a->keys,
                          .values = a->values},
      kept);
}

static tern_status add_step(tern__program *program, const tern__node *node, const tern__gpu_attention *a,
                            uint64_t batch, int32_t layer) {
  tern_status status = TERN_OK;
  tern__gpu_attention immediates = *a;
  immediates.block_queries = 0; /* the chain's word */
  uint64_t blocks = batch * a->kv_heads * step_blocks(a), bytes = blocks * 4 * a->splits * (a->dim + 4) * sizeof(float);
  cache_part all = {0, (uint32_t)(batch * a->kv_heads), 0, 0};
  tern__gpu_operand operands[TERN__GPU_MAX_BINDINGS];
  bool kept;
  TERN_TRY(take_rotary(program, node, a, batch, layer, &kept));
  int32_t end = kept ? 4 : 8, rounded = end + 2; /* ATTENTION_STEP_END */
  cache_operands(node, a, layer, &all, tern__gpu_output(node, 0), operands);
  if (kept) operands[2] = operands[4], operands[3] = operands[7];
  bool row = kept && takes_row(program, a);
  tern__gpu_brief brief = row_of(a, rounded);
  if (row && a->keys <= ROW_POSITIONS) { /* never more */
    operands[rounded = 4] = (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
    operands[5] = tern__gpu_chain_counters();
    TERN_TRY(tern__gpu_add_step(program, node, brief.kernel, operands, &immediates, brief.groups[0], brief.groups[1],
                                brief.groups[2]));
    tern__gpu_set_link(program, brief.link);
  } else {
    tern__gpu_need_scratch(program, bytes);
    operands[end] = tern__gpu_scratch(0, bytes);
    operands[end + 1] = tern__gpu_keep(program, blocks * sizeof(uint32_t));
    operands[rounded] = (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0};
    if (kept) operands[STEP_CHAIN] = tern__gpu_chain_counters();
    TERN_TRY(tern__gpu_add_step(program, node, step_kernel(a->dim, kept), operands, &immediates, a->splits,
                                all.n, step_blocks(a)));
    if (kept) tern__gpu_set_link(program, (tern__gpu_link){.word = brief.link.word, .last_of_x = true});
    if (row) tern__gpu_set_brief(program, &brief);
  }
  count_cost(program, a, all.n);
  if (batch == 1 && a->rows == 1 && a->dim % 16 == 0) /* halves of blocks */
    TERN_TRY(tern__gpu_offer_rounded(program, &(tern__gpu_offer){.y = operands[1],
                                                                 .width = (uint64_t)a->kv_heads * a->group * a->dim,
                                                                 .rounded = rounded,
                                                                 .scale = -1,
                                                                 .immediate = offsetof(tern__gpu_attention, flags) / 4,
                                                                 .plain = TERN__GPU_ATTENTION_ROUND}));
cleanup:
  return status;
}

/* The most heads of keys, each of `head_bytes`, that one binding holds, so that any multiple of them begins where a
 * binding may; 0 = none. */
static uint64_t heads_of_part(uint64_t head_bytes, uint64_t limit) {
  uint64_t step = 1;
  while (step * head_bytes % TERN__GPU_PLACE) step *= 2;
  return limit / head_bytes / step * step;
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
  uint64_t head_bytes = (uint64_t)a.keys * a.dim * 2, used = batch * a.kv_heads;
  uint64_t bytes = (uint64_t)kv->batch * a.kv_heads * head_bytes, n = used;
  if (bytes > info->max_binding_bytes) n = heads_of_part(head_bytes, info->max_binding_bytes);
  if (!n)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "node '%s' (KvAttention): %llu bytes of a head's keys for %d positions are beyond what %s binds at once, "
              "%llu; use a shorter context or device 'cpu'",
              node->name, (unsigned long long)head_bytes, (int)kv->capacity, info->name,
              (unsigned long long)info->max_binding_bytes);
  if (a.scale == 0) a.scale = 1.0f / sqrtf((float)a.dim);
  tern__gpu_attention_tile(&a);
  if (tern__gpu_attention_blocks(&a) > info->max_groups) return TERN_OK;
  a.values = values_at(program, &a, bytes);
  if (takes_step(program, &a)) {
    TERN_TRY(add_step(program, node, &a, batch, (int32_t)layer));
    *taken = true;
    goto cleanup;
  }
  a.unit = 0;
  a.splits = splits_of(program, &a);
  if (a.splits) tern__gpu_need_scratch(program, parts_bytes(&a, batch));
  for (uint64_t first = 0; first < used; first += n) {
    cache_part part = {(uint32_t)first, (uint32_t)(used - first < n ? used - first : n), 0, 0};
    if (bytes > info->max_binding_bytes) part.offset = first * head_bytes, part.size = part.n * head_bytes;
    a.first_head = part.first;
    if (!a.values) TERN_TRY(add_store(program, node, &a, batch, (int32_t)layer, &part));
    TERN_TRY(a.splits ? add_split(program, node, &a, batch, (int32_t)layer, &part)
                      : add_attention(program, node, &a, (int32_t)layer, &part));
  }
  if (a.splits) TERN_TRY(add_merge(program, node, &a, batch));
  *taken = true;
cleanup:
  return status;
}
