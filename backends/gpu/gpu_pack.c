/* Packing: blocks of small integers (ir/weight_blocks.h) become planes of numbers, scales and high bits. */
#include "gpu/gpu_pack.h"

#include <string.h>

#include "base/half.h"

#define INLINE static inline __attribute__((always_inline))

enum {
  LAYOUT_VERSION = 0x67707531, /* never one of another backend's numbers */
  ROW_STEP = 64,               /* parts are whole multiples: no two share a word of scales */
  RUN_BYTES = 256 << 10,       /* what is packed at a time: it stays in a core's cache until it is written */
  RUN_STEP = 16                /* rows; of rows too large for that 2, which share a word of scales */
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

/* Eight at a time, one in each byte of a word; the first in the lowest. */
static uint64_t eight(const uint8_t *q) {
  uint64_t word;
  memcpy(&word, q, 8);
  return word;
}

static uint32_t nibbles_of(uint64_t q) { /* byte i holds numbers i and 4 + i */
  q &= 0x0f0f0f0f0f0f0f0f;
  return (uint32_t)q | (uint32_t)(q >> 32) << 4;
}

static uint32_t fifth_bits_of(uint64_t q) { /* each lands in a bit of its own of the highest byte */
  return (uint32_t)((q >> 4 & 0x0101010101010101) * 0x0102040810204080 >> 56);
}

static uint32_t upper_bits_of(uint64_t q) { /* two of each */
  q = q >> 4 & 0x0303030303030303;
  q = (q | q >> 6) & 0x000f000f000f000f;
  q = (q | q >> 12) & 0x000000ff000000ff;
  return (uint32_t)(q | q >> 24) & 0xffff;
}

static void put_numbers(const format_info *f, const uint8_t q[TERN__WEIGHT_BLOCK], uint8_t *numbers, uint8_t *high) {
  if (f->number_bytes == TERN__WEIGHT_BLOCK) {
    memcpy(numbers, q, TERN__WEIGHT_BLOCK);
    return;
  }
  for (int w = 0; w < 4; w++) {
    uint32_t word = nibbles_of(eight(q + 8 * w));
    memcpy(numbers + 4 * w, &word, 4);
  }
  if (f->high_bytes == 4)
    for (int w = 0; w < 4; w++) high[w] = (uint8_t)fifth_bits_of(eight(q + 8 * w));
  for (int w = 0; w < 4 && f->high_bytes == 8; w++) {
    uint16_t bits = (uint16_t)upper_bits_of(eight(q + 8 * w));
    memcpy(high + 2 * w, &bits, 2);
  }
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
  tern__gpu_weight_format format;
  uint64_t first_row, rows, blocks;
  uint64_t run_rows;
} pack_job;

/* Where rows go: the place of the first in each plane. */
typedef struct target { uint8_t *numbers, *scales, *high; } target;

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

static void pack_dense_row(const pack_job *job, const tern__weight_source *s, size_t row, uint8_t *out) {
  size_t size = s->dtype == TERN_DTYPE_F32 ? 4 : 2;
  const uint8_t *from = s->data + (s->k_major ? row : row * s->k) * size;
  if (!s->k_major) memcpy(out, from, s->k * size);
  else if (size == 4)
    for (size_t k = 0; k < s->k; k++) memcpy(out + k * 4, from + k * s->n * 4, 4);
  else
    for (size_t k = 0; k < s->k; k++) memcpy(out + k * 2, from + k * s->n * 2, 2);
  memset(out + s->k * size, 0, ((size_t)job->blocks * TERN__WEIGHT_BLOCK - s->k) * size);
}

/* Rows of one source that has them as columns, some columns of K at a time: so a line of the cache is read once for all
 * the rows that it holds, and few enough lines for a cache that keeps lines of equal distance in one place. */
INLINE void turn(const tern__weight_source *s, size_t row, size_t rows, size_t size, uint8_t *out, size_t out_row) {
  enum { COLUMNS = 8 };
  size_t k = 0;
  for (; k + COLUMNS <= s->k; k += COLUMNS)
    for (size_t r = 0; r < rows; r++)
      for (size_t c = 0; c < COLUMNS; c++)
        memcpy(out + r * out_row + (k + c) * size, s->data + ((k + c) * s->n + row + r) * size, size);
  for (size_t r = 0; r < rows; r++) {
    for (size_t c = k; c < s->k; c++)
      memcpy(out + r * out_row + c * size, s->data + (c * s->n + row + r) * size, size);
    memset(out + r * out_row + s->k * size, 0, out_row - s->k * size);
  }
}

static bool turn_rows(const pack_job *job, size_t row, size_t rows, const target *to) {
  const tern__weight_source *s = job->sources.list;
  if (job->format > TERN__GPU_WEIGHT_bf16 || !s->k_major || job->sources.n > 1) return false;
  size_t out_row = (size_t)job->blocks * infos[job->format].number_bytes;
  if (s->dtype == TERN_DTYPE_F32) turn(s, row, rows, 4, to->numbers, out_row);
  else turn(s, row, rows, 2, to->numbers, out_row);
  return true;
}

/* Blocks whose scales and numbers stay what they are. Sizes are constants where this is called: a copy of unknown size
 * costs ten times what a block does. */
INLINE void move_blocks(const uint8_t *from, uint64_t n, size_t scale_bytes, size_t number_bytes, const target *to) {
  uint8_t *scales = to->scales, *numbers = to->numbers;
  for (; n > 0; n--, from += scale_bytes + number_bytes, scales += scale_bytes, numbers += number_bytes) {
    const uint8_t *q = from + scale_bytes;
    memcpy(scales, from, scale_bytes);
    if (number_bytes == TERN__WEIGHT_BLOCK) {
      for (int w = 0; w < 4; w++) {
        uint64_t word = eight(q + 8 * w) ^ 0x8080808080808080;
        memcpy(numbers + 8 * w, &word, 8);
      }
    } else { /* byte i holds numbers i and 16 + i */
      uint64_t first = eight(q), second = eight(q + 8);
      uint64_t low = nibbles_of(first) | (uint64_t)nibbles_of(second) << 32;
      uint64_t high = nibbles_of(first >> 4) | (uint64_t)nibbles_of(second >> 4) << 32;
      memcpy(numbers, &low, 8), memcpy(numbers + 8, &high, 8);
    }
  }
}

/* GGUF's commonest: a model of these is packed at the pace of memory, where unpacking number by number would be what
 * its start waits for. */
static bool move_row(const pack_job *job, const tern__weight_source *s, size_t row, const target *to) {
  if (s->channel) return false;
  const uint64_t n = job->blocks, first = row * n;
  switch (s->dtype) {
    case TERN_DTYPE_Q4_0: move_blocks(s->data + first * 18, n, 2, 16, to); return true;
    case TERN_DTYPE_Q4_1: move_blocks(s->data + first * 20, n, 4, 16, to); return true;
    case TERN_DTYPE_Q8_0: move_blocks(s->data + first * 34, n, 2, 32, to); return true;
    default: return false;
  }
}

static void pack_row(const pack_job *job, size_t row, const target *to) {
  const format_info *f = &infos[job->format];
  const tern__weight_source *s = source_of(&job->sources, &row);
  if (job->format <= TERN__GPU_WEIGHT_bf16) {
    pack_dense_row(job, s, row, to->numbers);
    return;
  }
  if (move_row(job, s, row, to)) return;
  for (uint64_t b = 0; b < job->blocks; b++) {
    tern__weight_block block;
    uint8_t q[TERN__WEIGHT_BLOCK];
    tern__weight_unpack(s, row, (size_t)b, &block);
    for (int k = 0; k < TERN__WEIGHT_BLOCK; k++) q[k] = (uint8_t)(block.q[k] + f->offset);
    put_numbers(f, q, to->numbers + b * f->number_bytes, to->high + b * f->high_bytes);
    put_scales(f, &block, to->scales + b * f->scale_bytes);
  }
}

/* Rows from `first` on of the part. What the last word of scales has beyond them is zero. */
static void pack_rows(const pack_job *job, uint64_t first, uint64_t rows, const target *to) {
  const format_info *f = &infos[job->format];
  uint64_t scale_bytes = rows * job->blocks * f->scale_bytes;
  memset(to->scales + scale_bytes, 0, (size_t)(word_bytes(scale_bytes) - scale_bytes));
  if (turn_rows(job, (size_t)(job->first_row + first), (size_t)rows, to)) return;
  for (uint64_t r = 0; r < rows; r++) {
    uint64_t b = r * job->blocks;
    target row = {to->numbers + b * f->number_bytes, to->scales + b * f->scale_bytes, to->high + b * f->high_bytes};
    pack_row(job, (size_t)(job->first_row + first + r), &row);
  }
}

static tern_status build(void *user_data, void *packed) {
  const pack_job *job = user_data;
  planes p = planes_of(job->format, job->rows, job->blocks);
  target to = {.numbers = packed};
  to.scales = to.numbers + tern__gpu_place(p.numbers), to.high = to.scales + tern__gpu_place(p.scales);
  pack_rows(job, 0, job->rows, &to);
  return TERN_OK;
}

/* ---- runs of rows ---- */

/* As many rows as RUN_BYTES hold. */
static uint64_t rows_of_run(tern__gpu_weight_format format, uint64_t blocks) {
  const format_info *f = &infos[format];
  uint64_t rows = RUN_BYTES / (blocks * ((uint64_t)f->number_bytes + f->scale_bytes + f->high_bytes));
  uint64_t step = rows >= RUN_STEP ? RUN_STEP : 2;
  return rows < step ? step : rows / step * step;
}

uint64_t tern__gpu_weight_runs(const tern__gpu_weight *weight, size_t *scratch_bytes) {
  *scratch_bytes = 0;
  if (weight->build != build) return 0;
  const pack_job *job = weight->user_data;
  planes p = planes_of(job->format, job->rows < job->run_rows ? job->rows : job->run_rows, job->blocks);
  *scratch_bytes = (size_t)part_bytes(&p);
  return (job->rows + job->run_rows - 1) / job->run_rows;
}

void tern__gpu_pack_run(const tern__gpu_weight *weight, uint64_t run, uint8_t *scratch,
                        tern__gpu_packed out[TERN__GPU_WEIGHT_BINDINGS]) {
  const pack_job *job = weight->user_data;
  uint64_t first = run * job->run_rows, left = job->rows - first;
  uint64_t rows = left < job->run_rows ? left : job->run_rows, at = 0, offset = 0;
  planes whole = planes_of(job->format, job->rows, job->blocks), before = planes_of(job->format, first, job->blocks),
         here = planes_of(job->format, rows, job->blocks);
  uint64_t sizes[] = {whole.numbers, whole.scales, whole.high}, wanted[] = {here.numbers, here.scales, here.high};
  uint64_t skipped[] = {before.numbers, before.scales, before.high};
  target to = {scratch, scratch + tern__gpu_place(here.numbers),
               scratch + tern__gpu_place(here.numbers) + tern__gpu_place(here.scales)};
  for (int i = 0; i < TERN__GPU_WEIGHT_BINDINGS; i++) {
    out[i] = (tern__gpu_packed){scratch + at, offset + skipped[i], (size_t)wanted[i]};
    at += tern__gpu_place(wanted[i]), offset += tern__gpu_place(sizes[i]);
  }
  pack_rows(job, first, rows, &to);
}

/* ---- registration ---- */

static tern_status add_part(tern__program *program, const tern__gpu_sources *sources, const tern__gpu_weights *w,
                            uint64_t first_row, uint64_t rows, uint64_t layout, int32_t *index) {
  tern_status status = TERN_OK;
  planes p = planes_of(w->format, rows, w->blocks);
  pack_job *job = tern__gpu_params(program, sizeof *job);
  TERN_CHECK_ALLOC(job);
  job->sources = *sources, job->format = w->format;
  job->first_row = first_row, job->rows = rows, job->blocks = w->blocks;
  job->run_rows = rows_of_run(w->format, w->blocks);
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
