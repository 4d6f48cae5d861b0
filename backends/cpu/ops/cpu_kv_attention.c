/* tern.KvAttention. First rotation and the cache: queries go, rotated and scaled, to the shared scratch as
 * [batch][kv head][row][head of the group][dim]; then attention, all heads of a group together. With one row,
 * its keys are split among chunks and a last step merges; otherwise a chunk is a block of rows. The few rows of a draft
 * go the way of one: each has the bits that decoding token by token would have given. */
#include "cpu/cpu_program.h"

#include <math.h>
#include <string.h>

enum {
  SPLITS = 8,
  SPLIT_KEYS = 64, /* fewest keys of a split */
  DRAFT_ROWS = 16, /* more are no longer worth reading the keys once for each */
  QUERY_BLOCK = 32,
  MAX_DIM = 1024
};

typedef struct kv_params {
  size_t batch, rows, heads, kv_heads, group, dim, half;
  size_t row_block, row_blocks;
  int32_t layer, window;
  float scale, softcap;
  bool interleaved;
  size_t partials; /* byte offset in the shared scratch: per (b, head, split): maximum, sum, out[dim] */
} kv_params;

static uint16_t *cache_row(const tern__kv_cache *kv, uint16_t *const *side, const kv_params *p, size_t b,
                           size_t head, size_t position) {
  return side[p->layer] + ((b * p->kv_heads + head) * (size_t)kv->capacity + position) * p->dim;
}

/* What a hostile or wrong call could get wrong, checked in the first step. */
static tern_status check(const tern__cpu_step *step, const kv_params *p, const tern__kv_cache *kv, size_t b) {
  tern_status status = TERN_OK;
  if (!kv || p->layer < 0 || p->layer >= kv->n_layers || (size_t)kv->kv_heads[p->layer] != p->kv_heads ||
      (size_t)kv->head_dim[p->layer] != p->dim || (size_t)kv->batch < p->batch)
    TERN_FAIL(TERN_STATUS_INVALID_STATE, "node '%s' (KvAttention): the session has no KV cache for layer %d",
              step->node->name, (int)p->layer);
  int64_t end = (int64_t)kv->past[b] + kv->fresh[b];
  if (p->half && end > step->in[3]->shape.dims[0] && end <= kv->capacity)
    TERN_FAIL(TERN_STATUS_CONTEXT_FULL, "node '%s' (KvAttention): %lld positions: the model's rotary table has %lld",
              step->node->name, (long long)end, (long long)step->in[3]->shape.dims[0]);
  if (kv->past[b] < 0 || kv->fresh[b] < 0 || (size_t)kv->fresh[b] > p->rows || end > kv->capacity)
    TERN_FAIL(TERN_STATUS_CONTEXT_FULL, "node '%s' (KvAttention): %lld positions do not fit a context of %d",
              step->node->name, (long long)end, (int)kv->capacity);
cleanup:
  return status;
}

static void rotate(const kv_params *p, const float *cos, const float *sin, const float *x, float *y) {
  memcpy(y, x, p->dim * sizeof *y);
  if (p->interleaved)
    for (size_t i = 0; i < p->half; i++) {
      y[2 * i] = x[2 * i] * cos[i] - x[2 * i + 1] * sin[i];
      y[2 * i + 1] = x[2 * i + 1] * cos[i] + x[2 * i] * sin[i];
    }
  else
    for (size_t i = 0, r = p->half; i < p->half; i++, r++) {
      y[i] = x[i] * cos[i] - x[r] * sin[i];
      y[r] = x[r] * cos[i] + x[i] * sin[i];
    }
}

/* Chunk: (b, row, kv head). */
static tern_status run_store(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  tern_status status = TERN_OK;
  const kv_params *p = step->params;
  const tern__kv_cache *kv = context->args->kv;
  size_t h = chunk % p->kv_heads, row = chunk / p->kv_heads % p->rows, b = chunk / p->kv_heads / p->rows;
  float *turned = (float *)(void *)context->scratch, *cos = turned + p->dim, *sin = cos + p->half;
  TERN_TRY(check(step, p, kv, b));
  if (row >= (size_t)kv->fresh[b]) return TERN_OK;
  size_t position = (size_t)kv->past[b] + row;
  if (p->half) { /* tables in a file may lie at any address */
    memcpy(cos, (const char *)step->in[3]->data + position * p->half * sizeof *cos, p->half * sizeof *cos);
    memcpy(sin, (const char *)step->in[4]->data + position * p->half * sizeof *sin, p->half * sizeof *sin);
  }
  size_t at = ((b * p->rows + row) * p->kv_heads + h) * p->dim;
  rotate(p, cos, sin, (const float *)step->in[1]->data + at, turned);
  context->kernels->f32_to_f16(turned, cache_row(kv, kv->k, p, b, h, position), p->dim);
  context->kernels->f32_to_f16((const float *)step->in[2]->data + at, cache_row(kv, kv->v, p, b, h, position), p->dim);
  for (size_t g = 0; g < p->group; g++) {
    float *q = (float *)(void *)context->shared + (((b * p->kv_heads + h) * p->rows + row) * p->group + g) * p->dim;
    rotate(p, cos, sin,
           (const float *)step->in[0]->data + ((b * p->rows + row) * p->heads + h * p->group + g) * p->dim, turned);
    for (size_t i = 0; i < p->dim; i++) q[i] = turned[i] * p->scale;
  }
cleanup:
  return status;
}

static tern__cpu_attention_call call_for(const kv_params *p, const tern__cpu_context *context, size_t b,
                                         size_t head, size_t row) {
  const tern__kv_cache *kv = context->args->kv;
  const float *q = (const float *)(void *)context->shared +
                   ((b * p->kv_heads + head) * p->rows + row) * p->group * p->dim;
  return (tern__cpu_attention_call){.q = q,
                                    .q_stride = p->dim,
                                    .f16 = true,
                                    .kv_stride = p->dim,
                                    .d = p->dim,
                                    .k = cache_row(kv, kv->k, p, b, head, 0),
                                    .v = cache_row(kv, kv->v, p, b, head, 0),
                                    .softcap = p->softcap,
                                    .asking = context->asking,
                                    .out_stride = p->dim};
}

static int32_t first_visible(const kv_params *p, int64_t position) {
  return p->window > 0 && position >= p->window ? (int32_t)(position - p->window + 1) : 0;
}

/* The keys that a row sees, [first, end), in n splits of `keys` each (the last one has what is left). They follow from
 * the row's position alone, not from the threads. A row beyond the sequence's fresh ones has none. */
typedef struct row_splits { size_t first, end, keys, n; } row_splits;

static row_splits splits_of(const kv_params *p, const tern__kv_cache *kv, size_t b, size_t row) {
  int64_t position = kv->past[b] + (int64_t)row;
  row_splits s = {.first = (size_t)first_visible(p, position), .end = (size_t)position + 1};
  if (row >= (size_t)kv->fresh[b]) return (row_splits){0};
  s.keys = tern__cpu_divide_up(tern__cpu_divide_up(s.end - s.first, SPLITS), SPLIT_KEYS) * SPLIT_KEYS;
  s.n = tern__cpu_divide_up(s.end - s.first, s.keys);
  return s;
}

/* Chunk: (b, kv head, block of rows). */
static tern_status run_rows(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const kv_params *p = step->params;
  size_t block = chunk % p->row_blocks, head = chunk / p->row_blocks % p->kv_heads,
         b = chunk / p->row_blocks / p->kv_heads;
  size_t row0 = block * p->row_block, rows = p->rows - row0 < p->row_block ? p->rows - row0 : p->row_block;
  size_t fresh = (size_t)context->args->kv->fresh[b], real = fresh <= row0         ? 0
                                                             : fresh - row0 < rows ? fresh - row0
                                                                                   : rows;
  size_t capacity = p->row_block * p->group;
  float *out = (float *)(void *)(context->scratch + tern__cpu_attention_scratch(p->dim)),
        *maximum = out + capacity * p->dim, *sum = maximum + capacity;
  int32_t *first = (int32_t *)(void *)(sum + capacity), *last = first + capacity;
  int64_t past = context->args->kv->past[b];
  for (size_t i = 0; i < real * p->group; i++) {
    int64_t position = past + (int64_t)(row0 + i / p->group);
    first[i] = first_visible(p, position), last[i] = (int32_t)position + 1;
  }
  if (real) {
    tern__cpu_attention_call call = call_for(p, context, b, head, row0);
    call.n_queries = real * p->group, call.first = first, call.last = last;
    call.begin = (size_t)first[0], call.end = (size_t)last[real * p->group - 1];
    call.out = out, call.maximum = maximum, call.sum = sum;
    call.scratch = (float *)(void *)context->scratch;
    context->kernels->attention(&call);
  }
  for (size_t r = 0; r < rows; r++)
    for (size_t g = 0; g < p->group; g++) {
      float *y = (float *)step->out[0]->data +
                 ((b * p->rows + row0 + r) * p->heads + head * p->group + g) * p->dim;
      size_t i = r * p->group + g;
      float inverse = r < real ? 1.0f / sum[i] : 0;
      for (size_t e = 0; e < p->dim; e++) y[e] = r < real ? out[i * p->dim + e] * inverse : 0;
    }
  return TERN_OK;
}

/* Of a row: out[group][dim], maximum[group], sum[group]. */
static float *partial(const kv_params *p, const tern__cpu_context *context, size_t b, size_t head, size_t row,
                      size_t split) {
  return (float *)(void *)(context->shared + p->partials) +
         (((b * p->kv_heads + head) * p->rows + row) * SPLITS + split) * p->group * (p->dim + 2);
}

/* Chunk: (b, kv head, split of the keys). Sums grow in the thread's scratch: only results are shared. */
static tern_status run_split(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const kv_params *p = step->params;
  size_t split = chunk % SPLITS, head = chunk / SPLITS % p->kv_heads, b = chunk / SPLITS / p->kv_heads;
  float *out = (float *)(void *)context->scratch, *maximum = out + p->group * p->dim, *sum = maximum + p->group;
  for (size_t row = 0; row < p->rows; row++) {
    row_splits s = splits_of(p, context->args->kv, b, row);
    if (split >= s.n) continue;
    tern__cpu_attention_call call = call_for(p, context, b, head, row);
    call.n_queries = p->group;
    call.begin = s.first + split * s.keys, call.end = split + 1 < s.n ? call.begin + s.keys : s.end;
    call.out = out, call.maximum = maximum, call.sum = sum;
    const tern__kv_cache *kv = context->args->kv;
    if (split + 1 < s.n) call.next_k = cache_row(kv, kv->k, p, b, head, call.end);
    else if (head + 1 < p->kv_heads) call.next_k = cache_row(kv, kv->k, p, b, head + 1, s.first);
    context->kernels->attention(&call);
    memcpy(partial(p, context, b, head, row, split), out, p->group * (p->dim + 2) * sizeof *out);
  }
  return TERN_OK;
}

/* Chunk: (b, row, kv head). Splits in order, so the result is one and the same on any number of threads. */
static tern_status run_merge(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  const kv_params *p = step->params;
  size_t head = chunk % p->kv_heads, row = chunk / p->kv_heads % p->rows, b = chunk / p->kv_heads / p->rows;
  size_t splits = splits_of(p, context->args->kv, b, row).n;
  for (size_t g = 0; g < p->group; g++) {
    float *y = (float *)(void *)context->scratch, top = -INFINITY, total = 0;
    memset(y, 0, p->dim * sizeof *y);
    for (size_t s = 0; s < splits; s++) {
      const float *maximum = partial(p, context, b, head, row, s) + p->group * p->dim, *sum = maximum + p->group;
      if (sum[g] > 0 && maximum[g] > top) top = maximum[g];
    }
    for (size_t s = 0; s < splits; s++) {
      const float *out = partial(p, context, b, head, row, s), *maximum = out + p->group * p->dim,
                  *sum = maximum + p->group;
      if (!(sum[g] > 0)) continue;
      float weight = expf(maximum[g] - top);
      total += sum[g] * weight;
      for (size_t e = 0; e < p->dim; e++) y[e] += out[g * p->dim + e] * weight;
    }
    float inverse = total > 0 ? 1.0f / total : 0;
    float *to = (float *)step->out[0]->data + ((b * p->rows + row) * p->heads + head * p->group + g) * p->dim;
    for (size_t e = 0; e < p->dim; e++) to[e] = y[e] * inverse;
  }
  return TERN_OK;
}

tern_status tern__cpu_compile_kv_attention(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *q = tern__cpu_in(program, node, 0), *k = tern__cpu_in(program, node, 1);
  const tern__view *cos = tern__cpu_in(program, node, 3);
  kv_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  p->batch = (size_t)q->shape.dims[0], p->rows = (size_t)q->shape.dims[1];
  p->heads = (size_t)tern__node_int(node, "num_heads", 1),
  p->kv_heads = (size_t)tern__node_int(node, "kv_num_heads", 1);
  p->group = p->heads / p->kv_heads, p->dim = (size_t)q->shape.dims[2] / p->heads;
  p->half = cos ? (size_t)cos->shape.dims[1] : 0;
  p->layer = (int32_t)tern__node_int(node, "layer", -1),
  p->window = (int32_t)tern__node_int(node, "local_window", -1);
  p->scale = tern__node_float(node, "scale", 0), p->softcap = tern__node_float(node, "softcap", 0);
  if (p->scale == 0) p->scale = 1.0f / sqrtf((float)p->dim);
  p->interleaved = tern__node_int(node, "rotary_interleaved", 0) != 0;
  if (p->dim > MAX_DIM || (size_t)k->shape.dims[2] != p->dim * p->kv_heads) return TERN_OK;
  p->row_block = QUERY_BLOCK / p->group > 0 ? QUERY_BLOCK / p->group : 1;
  p->row_blocks = tern__cpu_divide_up(p->rows, p->row_block);
  size_t queries = p->batch * p->rows * p->heads, chunk_queries = p->row_block * p->group;
  p->partials = tern__cpu_divide_up(queries * p->dim * sizeof(float), 64) * 64;
  const tern__kv_cache *kv = program->plan->kv;
  bool few = p->rows == 1 || (p->rows <= DRAFT_ROWS && kv && kv->all_rows);
  size_t partial_bytes = few ? queries * SPLITS * (p->dim + 2) * sizeof(float) : 0;
  size_t store_bytes = (p->dim + 2 * p->half) * sizeof(float),
         rows_bytes = tern__cpu_attention_scratch(p->dim) + chunk_queries * (p->dim + 4) * sizeof(float);
  tern__cpu_need_scratch(program, store_bytes > rows_bytes ? store_bytes : rows_bytes,
                         p->partials + partial_bytes);
  /* What goes into the cache outlives the run: not repeatable. */
  TERN_TRY(tern__cpu_add_step(program, node, run_store, p->batch * p->rows * p->kv_heads, p));
  if (few) {
    TERN_TRY(tern__cpu_add_step(program, node, run_split, p->batch * p->kv_heads * SPLITS, p));
    tern__cpu_repeatable(program);
    TERN_TRY(tern__cpu_add_step(program, node, run_merge, p->batch * p->rows * p->kv_heads, p));
  } else {
    TERN_TRY(tern__cpu_add_step(program, node, run_rows, p->batch * p->kv_heads * p->row_blocks, p));
  }
  tern__cpu_repeatable(program);
  *taken = true;
cleanup:
  return status;
}
