/* Packing: blocks of small integers (ir/weight_blocks.h) become planes of numbers, scales and high bits. */
#include "gpu/gpu_pack.h"

#include <stdatomic.h>
#include <string.h>

#include "base/half.h"
#include "runtime/thread_pool.h"

enum {
  LAYOUT_VERSION = 0x67707531, /* never one of another backend's numbers */
  ROW_STEP = 64,               /* parts are whole multiples: no two share a word of scales */
  JOB_ROWS = 16
};

typedef struct format_info {
  uint8_t number_bytes, scale_bytes, high_bytes; /* of a block; scale_bytes 2: two blocks share a word */
  uint8_t offset;                                /* added to make numbers unsigned */
  bool mins, halves;
} format_info;

static const format_info infos[TERN__GPU_WEIGHT_FORMAT_COUNT] = {
    [TERN__GPU_WEIGHT_f32] = {128, 0, 0, 0, false, false},
    [TERN__GPU_WEIGHT_f16] = {64, 0, 0, 0, false, false},
    [TERN__GPU_WEIGHT_bf16] = {64, 0, 0, 0, false, false},
    [TERN__GPU_WEIGHT_q4_h] = {16, 2, 0, 0, false, false},
    [TERN__GPU_WEIGHT_q4_hm] = {16, 4, 0, 0, true, false},
    [TERN__GPU_WEIGHT_q4_f] = {16, 4, 0, 0, false, false},
    [TERN__GPU_WEIGHT_q4_fm] = {16, 8, 0, 0, true, false},
    [TERN__GPU_WEIGHT_q5_h] = {16, 2, 4, 16, false, false},
    [TERN__GPU_WEIGHT_q5_hm] = {16, 4, 4, 0, true, false},
    [TERN__GPU_WEIGHT_q5_fm] = {16, 8, 4, 0, true, false},
    [TERN__GPU_WEIGHT_q6_f2] = {16, 8, 8, 32, false, true},
    [TERN__GPU_WEIGHT_q8_h] = {32, 2, 0, 128, false, false},
    [TERN__GPU_WEIGHT_q8_fm2] = {32, 16, 0, 128, true, true},
    [TERN__GPU_WEIGHT_fp4] = {16, 4, 0, 0, false, false},
    [TERN__GPU_WEIGHT_nf4] = {16, 4, 0, 0, false, false},
};

static bool nbits_format(const tern__weight_source *s, tern__gpu_weight_format *out) {
  bool half_scales = s->scale_dtype == TERN_DTYPE_F16;
  if (s->codes) {
    *out = s->codes == 1 ? TERN__GPU_WEIGHT_fp4 : TERN__GPU_WEIGHT_nf4;
    return true;
  }
  if ((s->bits != 4 && s->bits != 8) || (s->block_size != 16 && s->block_size % TERN__WEIGHT_BLOCK)) return false;
  bool one_half = half_scales && !s->zeros && s->block_size > 16; /* a float16 scale is all there is */
  if (s->bits == 8 || s->block_size == 16)
    *out = s->bits == 8 && one_half ? TERN__GPU_WEIGHT_q8_h : TERN__GPU_WEIGHT_q8_fm2;
  else if (s->zeros) *out = TERN__GPU_WEIGHT_q4_fm; /* a min is a product of the scale and does not fit f16 exactly */
  else *out = half_scales ? TERN__GPU_WEIGHT_q4_h : TERN__GPU_WEIGHT_q4_f;
  return true;
}

bool tern__gpu_weight_format_of(const tern__weight_source *source, tern__gpu_weight_format *out) {
  if (source->channel) {
    *out = TERN__GPU_WEIGHT_q8_fm2;
    return true;
  }
  switch (source->dtype) {
    case TERN_DTYPE_F32: *out = TERN__GPU_WEIGHT_f32; return true;
    case TERN_DTYPE_F16: *out = TERN__GPU_WEIGHT_f16; return true;
    case TERN_DTYPE_BF16: *out = TERN__GPU_WEIGHT_bf16; return true;
    case TERN_DTYPE_Q4_0: *out = TERN__GPU_WEIGHT_q4_h; break;
    case TERN_DTYPE_Q4_1: *out = TERN__GPU_WEIGHT_q4_hm; break;
    case TERN_DTYPE_Q5_0: *out = TERN__GPU_WEIGHT_q5_h; break;
    case TERN_DTYPE_Q5_1: *out = TERN__GPU_WEIGHT_q5_hm; break;
    case TERN_DTYPE_Q8_0: *out = TERN__GPU_WEIGHT_q8_h; break;
    case TERN_DTYPE_Q4_K: *out = TERN__GPU_WEIGHT_q4_fm; break;
    case TERN_DTYPE_Q5_K: *out = TERN__GPU_WEIGHT_q5_fm; break;
    case TERN_DTYPE_Q6_K: *out = TERN__GPU_WEIGHT_q6_f2; break;
    case TERN_DTYPE_U8: return source->bits && nbits_format(source, out);
    default: return false;
  }
  return !source->k_major;
}

/* ---- layout ---- */

static uint64_t word_bytes(uint64_t n) { return (n + 3) / 4 * 4; }

typedef struct planes { uint64_t numbers, scales, high; } planes; /* bytes of each */

static planes planes_of(tern__gpu_weight_format format, uint64_t rows, uint64_t blocks) {
  const format_info *f = &infos[format];
  uint64_t n = rows * blocks;
  return (planes){n * f->number_bytes, word_bytes(n * f->scale_bytes), n * f->high_bytes};
}

static uint64_t part_bytes(const planes *p) {
  return tern__gpu_place(p->numbers) + tern__gpu_place(p->scales) + tern__gpu_place(p->high);
}

static uint64_t rows_that_fit(const tern__program *program, tern__gpu_weight_format format, uint64_t blocks) {
  const format_info *f = &infos[format];
  uint64_t largest = f->number_bytes > f->scale_bytes ? f->number_bytes : f->scale_bytes;
  uint64_t all = (uint64_t)f->number_bytes + f->scale_bytes + f->high_bytes;
  uint64_t by_binding = program->backend->info->max_binding_bytes / (blocks * largest);
  uint64_t spare = 3 * TERN__GPU_PLACE + 4, buffer = program->backend->info->max_buffer_bytes;
  uint64_t by_buffer = buffer > spare ? (buffer - spare) / (blocks * all) : 0;
  return (by_binding < by_buffer ? by_binding : by_buffer) / ROW_STEP * ROW_STEP;
}

/* ---- blocks ---- */

static uint32_t nibbles_of(const uint8_t q[8]) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) word |= (uint32_t)((q[i] & 15) | (q[4 + i] & 15) << 4) << 8 * i;
  return word;
}

static void put_numbers(const format_info *f, const uint8_t q[TERN__WEIGHT_BLOCK], uint8_t *numbers, uint8_t *high) {
  if (f->number_bytes == TERN__WEIGHT_BLOCK) {
    memcpy(numbers, q, TERN__WEIGHT_BLOCK);
    return;
  }
  for (int w = 0; w < 4; w++) {
    uint32_t word = nibbles_of(q + 8 * w);
    memcpy(numbers + 4 * w, &word, 4);
  }
  int bits = f->high_bytes / 4; /* above four */
  uint32_t words[2] = {0, 0};
  for (int k = 0; k < TERN__WEIGHT_BLOCK && bits; k++)
    words[k * bits / 32] |= (uint32_t)(q[k] >> 4) << k * bits % 32;
  if (bits) memcpy(high, words, f->high_bytes);
}

static void put_scales(const format_info *f, const tern__weight_block *block, uint8_t *out) {
  float values[4] = {block->scales[0], 0};
  int n = 1;
  if (f->halves) values[n++] = block->scales[1];
  if (f->mins) values[n++] = block->mins[0];
  if (f->mins && f->halves) values[n++] = block->mins[1];
  if (f->scale_bytes == 4 * n) memcpy(out, values, 4 * (size_t)n);
  else
    for (int i = 0; i < n; i++) {
      uint16_t half = tern__f32_to_f16(values[i]);
      memcpy(out + 2 * i, &half, 2);
    }
}

/* ---- building ---- */

typedef struct pack_job {
  tern__gpu_sources sources;
  tern__program *program;
  tern__gpu_weight_format format;
  uint64_t first_row, rows, blocks;
  uint8_t *numbers, *scales, *high;
  _Atomic uint64_t next;
} pack_job;

/* Row `row` of the whole: its source, and its number there. */
static const tern__weight_source *source_of(const tern__gpu_sources *sources, size_t *row) {
  const tern__weight_source *s = sources->list;
  if (sources->in_turn) {
    s += *row % (size_t)sources->n, *row /= (size_t)sources->n;
    return s;
  }
  while (*row >= s->n) *row -= s->n, s++;
  return s;
}

static void pack_dense_row(const pack_job *job, const tern__weight_source *s, size_t row, uint64_t r) {
  size_t size = s->dtype == TERN_DTYPE_F32 ? 4 : 2;
  uint8_t *out = job->numbers + r * job->blocks * infos[job->format].number_bytes;
  if (s->k_major)
    for (size_t k = 0; k < s->k; k++) memcpy(out + k * size, s->data + (k * s->n + row) * size, size);
  else memcpy(out, s->data + row * s->k * size, s->k * size);
  memset(out + s->k * size, 0, ((size_t)job->blocks * TERN__WEIGHT_BLOCK - s->k) * size);
}

/* GGUF's commonest blocks, whose scales and numbers stay what they are and only move: a model of this kind is packed at
 * the pace of memory, where unpacking number by number would be what its start waits for. */
static bool move_row(const pack_job *job, const tern__weight_source *s, size_t row, uint64_t r) {
  const uint32_t low = 0x0f0f0f0f;
  if (s->channel || (s->dtype != TERN_DTYPE_Q4_0 && s->dtype != TERN_DTYPE_Q4_1 && s->dtype != TERN_DTYPE_Q8_0))
    return false;
  const format_info *f = &infos[job->format];
  size_t block_bytes = (size_t)f->scale_bytes + f->number_bytes;
  const uint8_t *from = s->data + row * job->blocks * block_bytes;
  for (uint64_t at = r * job->blocks; at < (r + 1) * job->blocks; at++, from += block_bytes) {
    uint32_t q[8], to[8];
    memcpy(job->scales + at * f->scale_bytes, from, f->scale_bytes);
    memcpy(q, from + f->scale_bytes, f->number_bytes);
    if (s->dtype == TERN_DTYPE_Q8_0) {
      for (int w = 0; w < 8; w++) to[w] = q[w] ^ 0x80808080;
    } else { /* byte i holds numbers i and 16 + i */
      to[0] = (q[0] & low) | (q[1] & low) << 4, to[1] = (q[2] & low) | (q[3] & low) << 4;
      to[2] = (q[0] >> 4 & low) | (q[1] & ~low), to[3] = (q[2] >> 4 & low) | (q[3] & ~low);
    }
    memcpy(job->numbers + at * f->number_bytes, to, f->number_bytes);
  }
  return true;
}

static void pack_row(const pack_job *job, uint64_t r) {
  const format_info *f = &infos[job->format];
  size_t row = (size_t)(job->first_row + r);
  const tern__weight_source *s = source_of(&job->sources, &row);
  if (job->format <= TERN__GPU_WEIGHT_bf16) {
    pack_dense_row(job, s, row, r);
    return;
  }
  if (move_row(job, s, row, r)) return;
  for (uint64_t b = 0; b < job->blocks; b++) {
    uint64_t at = r * job->blocks + b;
    tern__weight_block block;
    uint8_t q[TERN__WEIGHT_BLOCK];
    tern__weight_unpack(s, row, (size_t)b, &block);
    for (int k = 0; k < TERN__WEIGHT_BLOCK; k++) q[k] = (uint8_t)(block.q[k] + f->offset);
    put_numbers(f, q, job->numbers + at * f->number_bytes, job->high + at * f->high_bytes);
    put_scales(f, &block, job->scales + at * f->scale_bytes);
  }
}

/* Few rows at a time: a cancellation is seen soon. */
static void pack_some(void *arg, int32_t thread, int32_t n_threads) {
  pack_job *job = arg;
  uint64_t row;
  (void)thread, (void)n_threads;
  while ((row = atomic_fetch_add_explicit(&job->next, JOB_ROWS, memory_order_relaxed)) < job->rows)
    for (uint64_t r = row; r < job->rows && r < row + JOB_ROWS; r++) pack_row(job, r);
}

static tern_status build(void *user_data, void *packed) {
  pack_job *job = user_data;
  planes p = planes_of(job->format, job->rows, job->blocks);
  job->numbers = packed;
  job->scales = job->numbers + tern__gpu_place(p.numbers);
  job->high = job->scales + tern__gpu_place(p.scales);
  atomic_store(&job->next, 0);
  tern__pool_run(job->program->backend->env.pool, job->program->plan->n_threads, pack_some, job);
  return TERN_OK;
}

/* ---- registration ---- */

static tern_status add_part(tern__program *program, const tern__gpu_sources *sources, const tern__gpu_weights *w,
                            uint64_t first_row, uint64_t rows, uint64_t layout, int32_t *index) {
  tern_status status = TERN_OK;
  planes p = planes_of(w->format, rows, w->blocks);
  pack_job *job = tern__gpu_params(program, sizeof *job);
  TERN_CHECK_ALLOC(job);
  job->sources = *sources, job->program = program, job->format = w->format;
  job->first_row = first_row, job->rows = rows, job->blocks = w->blocks;
  uint64_t form[] = {LAYOUT_VERSION, (uint64_t)w->format, (uint64_t)sources->n, sources->in_turn, first_row, rows};
  tern__gpu_weight weight = {.key = sources->list[0].data,
                             .layout = tern__pack_hash(layout, form, sizeof form),
                             .size = part_bytes(&p),
                             .build = build,
                             .user_data = job};
  TERN_TRY(tern__gpu_add_weight(program, &weight, index));
cleanup:
  return status;
}

bool tern__gpu_weights_fit(const tern__program *program, const tern__gpu_sources *sources, tern__gpu_weights *out) {
  *out = (tern__gpu_weights){.k = sources->list[0].k};
  for (int32_t i = 0; i < sources->n; i++) {
    tern__gpu_weight_format format;
    const tern__weight_source *s = &sources->list[i];
    if (!tern__gpu_weight_format_of(s, &format) || (i && format != out->format) || s->k != out->k ||
        (sources->in_turn && s->n != sources->list[0].n))
      return false;
    out->format = format, out->n += s->n;
  }
  out->blocks = (out->k + TERN__WEIGHT_BLOCK - 1) / TERN__WEIGHT_BLOCK;
  out->part_rows = rows_that_fit(program, out->format, out->blocks);
  if (out->part_rows > out->n) out->part_rows = out->n;
  return out->part_rows > 0;
}

tern_status tern__gpu_pack_weights(tern__program *program, const tern__gpu_sources *sources, tern__gpu_weights *out) {
  tern_status status = TERN_OK;
  uint64_t layout = TERN__PACK_HASH;
  for (int32_t i = 0; i < sources->n; i++) {
    const tern__weight_source *s = &sources->list[i];
    size_t bytes;
    if (!tern__weight_source_bytes(s, &bytes))
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "weights of %zu rows of %zu are too large", s->n, s->k);
    if (program->dry) continue;
    bool in_file = tern__pack_cache_in_file(program->cache, s->data, bytes);
    uint64_t form[] = {(uint64_t)s->codes, s->n, s->k, s->k_major, in_file ? (uintptr_t)s->data : 0};
    layout = tern__pack_hash(tern__pack_hash(layout, s->data, in_file ? 0 : bytes), form, sizeof form);
  }
  out->parts = 0;
  for (uint64_t row = 0; row < out->n; row += out->part_rows, out->parts++) {
    int32_t index;
    uint64_t rows = out->n - row < out->part_rows ? out->n - row : out->part_rows;
    TERN_TRY(add_part(program, sources, out, row, rows, layout, &index));
    if (!out->parts) out->first_part = index;
    if (!program->dry && index != out->first_part + out->parts)
      TERN_FAIL(TERN_STATUS_INTERNAL, "parts of a weight are not in a row");
  }
cleanup:
  return status;
}

uint64_t tern__gpu_weight_rows(const tern__gpu_weights *w, int32_t part) {
  uint64_t first = (uint64_t)part * w->part_rows;
  return w->n - first < w->part_rows ? w->n - first : w->part_rows;
}

void tern__gpu_weight_operands(const tern__gpu_weights *w, int32_t part,
                               tern__gpu_operand operands[TERN__GPU_WEIGHT_BINDINGS]) {
  planes p = planes_of(w->format, tern__gpu_weight_rows(w, part), w->blocks);
  uint64_t offset = 0, sizes[TERN__GPU_WEIGHT_BINDINGS] = {p.numbers, p.scales, p.high};
  for (int i = 0; i < TERN__GPU_WEIGHT_BINDINGS; offset += tern__gpu_place(sizes[i]), i++)
    operands[i] = (tern__gpu_operand){sizes[i] ? TERN__GPU_WEIGHT : TERN__GPU_NONE, w->first_part + part, offset,
                                      sizes[i]};
}

bool tern__gpu_read_product(const tern__program *program, const tern__node *node, const tern__view *x,
                            tern__weight_read *read, tern__weight_product *out) {
  const tern__view *in[TERN__WEIGHT_INPUTS];
  const uint8_t *constants[TERN__WEIGHT_INPUTS];
  for (int32_t i = 0; i < TERN__WEIGHT_INPUTS; i++)
    in[i] = tern__gpu_in(program, node, i), constants[i] = tern__gpu_constant(program, node, i);
  if (x) in[0] = x;
  return read(node, in, constants, out) && out->rows && out->source.n && out->source.k;
}
