/* Packing: every quantized type is unpacked to 32 small integers with one or two scales and mins, then laid
 * out. */
#include "cpu/cpu_pack.h"

#include <string.h>

#include "base/half.h"
#include "ir/quants.h"
#include "runtime/thread_pool.h"

enum { LINE = 64, LAYOUT_VERSION = 1, HASHED_SAMPLES = 512 };

/* 32 weights of a row: w = scales[k / 16] * q + mins[k / 16]. */
typedef struct unpacked { int8_t q[TERN__CPU_BLOCK]; float scales[2], mins[2]; } unpacked;

static uint16_t load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static float load_f16(const uint8_t *p) { return tern__f16_to_f32(load_u16(p)); }

bool tern__cpu_weight_format_of(const tern__cpu_weight_source *source, tern__cpu_weight_format *out) {
  tern__cpu_weight_format f = {.kind = TERN__CPU_WEIGHT_Q8, .scale_block = 32};
  switch (source->dtype) {
    case TERN_DTYPE_F32: f.kind = TERN__CPU_WEIGHT_F32; break;
    case TERN_DTYPE_F16: f.kind = TERN__CPU_WEIGHT_F16; break;
    case TERN_DTYPE_BF16: f.kind = TERN__CPU_WEIGHT_BF16; break;
    case TERN_DTYPE_Q4_0: f.kind = TERN__CPU_WEIGHT_Q4, f.offset = 8; break;
    case TERN_DTYPE_Q4_1: f.kind = TERN__CPU_WEIGHT_Q4, f.has_min = true; break;
    case TERN_DTYPE_Q5_0: case TERN_DTYPE_Q8_0: break;
    case TERN_DTYPE_Q5_1: f.has_min = true; break;
    case TERN_DTYPE_Q4_K: f.kind = TERN__CPU_WEIGHT_Q4, f.has_min = f.f32_scales = true; break;
    case TERN_DTYPE_Q5_K: f.has_min = f.f32_scales = true; break;
    case TERN_DTYPE_Q6_K: f.scale_block = 16, f.f32_scales = true; break;
    case TERN_DTYPE_U8:
      if ((source->bits != 4 && source->bits != 8) || (source->block_size != 16 && source->block_size % 32))
        return false;
      f.has_min = source->zeros != NULL;
      /* A min is a product of the scale and does not fit f16 exactly. */
      f.f32_scales = f.has_min || source->scale_dtype != TERN_DTYPE_F16 || source->block_size == 16;
      if (source->block_size == 16) f.scale_block = 16;
      else if (source->bits == 4) f.kind = TERN__CPU_WEIGHT_Q4, f.offset = f.has_min ? 0 : 8;
      break;
    default: return false;
  }
  if (f.kind >= TERN__CPU_WEIGHT_Q4)
    f.block_bytes = (uint16_t)((f.kind == TERN__CPU_WEIGHT_Q4 ? 4 : 8) * LINE +
                               TERN__CPU_BLOCK / f.scale_block * TERN__CPU_PANEL * (f.f32_scales ? 4 : 2) *
                                   (f.has_min ? 2 : 1));
  if (source->k_major && f.kind >= TERN__CPU_WEIGHT_Q4) return false;
  *out = f;
  return true;
}

size_t tern__cpu_panel_bytes(const tern__cpu_weight_format *format, size_t k) {
  switch (format->kind) {
    case TERN__CPU_WEIGHT_F32: return k * TERN__CPU_PANEL * 4;
    case TERN__CPU_WEIGHT_F16: case TERN__CPU_WEIGHT_BF16: return k * TERN__CPU_PANEL * 2;
    default: return tern__cpu_padded(k) / TERN__CPU_BLOCK * format->block_bytes;
  }
}

/* ---- unpacking ---- */

/* The 6-bit scale and min of sub-block j of a Q4_K or Q5_K block (ggml-quants.c, get_scale_min_k4). */
static void scale_min_k4(const uint8_t *s, int j, int *scale, int *min) {
  if (j < 4) *scale = s[j] & 63, *min = s[j + 4] & 63;
  else *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4, *min = s[j + 4] >> 4 | (s[j] >> 6) << 4;
}

static void unpack_k45(const uint8_t *block, int j, bool five, unpacked *u) {
  int scale, min;
  const uint8_t *high = block + 16, *low = block + (five ? 48 : 16) + j / 2 * 32;
  scale_min_k4(block + 4, j, &scale, &min);
  u->scales[0] = u->scales[1] = load_f16(block) * (float)scale;
  u->mins[0] = u->mins[1] = -(load_f16(block + 2) * (float)min);
  for (int k = 0; k < 32; k++)
    u->q[k] = (int8_t)((low[k] >> (j & 1) * 4 & 15) | (five ? (high[k] >> j & 1) << 4 : 0));
}

static void unpack_k6(const uint8_t *block, int j, unpacked *u) {
  const uint8_t *low = block + j / 4 * 64 + (j & 1) * 32, *high = block + 128 + j / 4 * 32;
  float d = load_f16(block + 208);
  for (int h = 0; h < 2; h++) u->scales[h] = d * (float)(int8_t)block[192 + 2 * j + h], u->mins[h] = 0;
  for (int k = 0; k < 32; k++)
    u->q[k] = (int8_t)((low[k] >> (j / 2 & 1) * 4 & 15) + (high[k] >> j % 4 * 2 & 3) * 16 - 32);
}

static void unpack_nbits(const tern__cpu_weight_source *s, size_t row, size_t b, unpacked *u) {
  size_t size = (size_t)s->block_size, blocks = (s->k + size - 1) / size, blob = size * (size_t)s->bits / 8;
  size_t zero_row = (blocks * (size_t)s->bits + 7) / 8;
  bool centred = s->bits == 8 || size == 16; /* stored as signed: q - centre */
  int centre = s->bits == 8 ? 128 : 8;
  for (int h = 0; h < 2; h++) {
    size_t k0 = b * TERN__CPU_BLOCK + (size_t)h * 16, block = k0 / size, at = row * blocks + block;
    memset(u->q + h * 16, 0, 16);
    u->scales[h] = u->mins[h] = 0;
    if (block >= blocks) continue;
    tern__dequantize_row(s->scale_dtype, s->scales + at * (s->scale_dtype == TERN_DTYPE_F32 ? 4 : 2),
                         &u->scales[h], 1);
    float zero = (float)centre;
    if (s->float_zeros)
      tern__dequantize_row(s->scale_dtype, s->zeros + at * (s->scale_dtype == TERN_DTYPE_F32 ? 4 : 2), &zero,
                           1);
    else if (s->zeros && s->bits == 8) zero = s->zeros[row * zero_row + block];
    else if (s->zeros) zero = s->zeros[row * zero_row + block / 2] >> (block & 1) * 4 & 15;
    if (s->zeros) u->mins[h] = ((centred ? (float)centre : 0) - zero) * u->scales[h];
    const uint8_t *q = s->data + at * blob;
    for (int i = 0; i < 16; i++) {
      size_t k = k0 % size + (size_t)i;
      int value = s->bits == 8 ? q[k] : q[k / 2] >> (k & 1) * 4 & 15;
      u->q[h * 16 + i] = (int8_t)(centred ? value - centre : value);
    }
  }
}

static void unpack(const tern__cpu_weight_source *s, size_t row, size_t b, unpacked *u) {
  if (s->dtype == TERN_DTYPE_U8) {
    unpack_nbits(s, row, b, u);
    return;
  }
  const tern__dtype_info *info = tern__dtype_info_of(s->dtype);
  size_t per_block = info->block_elements / TERN__CPU_BLOCK;
  const uint8_t *block = s->data + (row * (s->k / info->block_elements) + b / per_block) * info->block_bytes;
  bool has_m = s->dtype == TERN_DTYPE_Q4_1 || s->dtype == TERN_DTYPE_Q5_1;
  const uint8_t *after = block + (has_m ? 4 : 2); /* the scales */
  uint32_t high = 0;
  if (s->dtype == TERN_DTYPE_Q4_K || s->dtype == TERN_DTYPE_Q5_K) {
    unpack_k45(block, (int)(b % per_block), s->dtype == TERN_DTYPE_Q5_K, u);
    return;
  }
  if (s->dtype == TERN_DTYPE_Q6_K) {
    unpack_k6(block, (int)(b % per_block), u);
    return;
  }
  u->scales[0] = u->scales[1] = load_f16(block);
  u->mins[0] = u->mins[1] = has_m ? load_f16(block + 2) : 0;
  if (s->dtype == TERN_DTYPE_Q8_0) {
    memcpy(u->q, after, 32);
    return;
  }
  if (s->dtype == TERN_DTYPE_Q5_0 || s->dtype == TERN_DTYPE_Q5_1)
    high = (uint32_t)load_u16(after) | (uint32_t)load_u16(after + 2) << 16, after += 4;
  for (int k = 0; k < 32; k++)
    u->q[k] = (int8_t)((after[k % 16] >> k / 16 * 4 & 15) | (int)(high >> k & 1) << 4);
  if (s->dtype == TERN_DTYPE_Q5_0)
    for (int k = 0; k < 32; k++) u->q[k] = (int8_t)(u->q[k] - 16);
}

/* ---- laying out ---- */

static void put_scale(const tern__cpu_weight_format *f, uint8_t *at, size_t i, float value) {
  if (f->f32_scales) memcpy(at + 4 * i, &value, 4);
  else {
    uint16_t half = tern__f32_to_f16(value);
    memcpy(at + 2 * i, &half, 2);
  }
}

static const uint8_t line_order[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* of 8 k, over the bytes of two lines */

void tern__cpu_put_q8(uint8_t *block, int row, const int8_t q[TERN__CPU_BLOCK]) {
  for (int l = 0; l < 8; l++)
    for (int i = 0; i < 4; i++)
      block[l * LINE + row * 4 + i] = (uint8_t)q[l / 2 * 8 + line_order[l % 2 * 4 + i]];
}

static void put_q4(uint8_t *block, int row, const int8_t q[TERN__CPU_BLOCK]) {
  for (int j = 0; j < 4; j++)
    for (int i = 0; i < 4; i++)
      block[j * LINE + row * 4 + i] = (uint8_t)(q[8 * j + line_order[i]] | q[8 * j + line_order[4 + i]] << 4);
}

static void put_block(const tern__cpu_weight_format *f, uint8_t *block, int row, const unpacked *u) {
  bool q4 = f->kind == TERN__CPU_WEIGHT_Q4;
  int n_scales = TERN__CPU_BLOCK / f->scale_block;
  uint8_t *scales = block + (q4 ? 4 : 8) * LINE;
  uint8_t *mins = scales + n_scales * TERN__CPU_PANEL * (f->f32_scales ? 4 : 2);
  (q4 ? put_q4 : tern__cpu_put_q8)(block, row, u->q);
  for (int h = 0; h < n_scales; h++) {
    put_scale(f, scales, (size_t)(h * TERN__CPU_PANEL + row), u->scales[h]);
    if (f->has_min) put_scale(f, mins, (size_t)(h * TERN__CPU_PANEL + row), u->mins[h]);
  }
}

static void pack_dense(const tern__cpu_weight_source *s, size_t first_row, uint8_t *out) {
  size_t size = s->dtype == TERN_DTYPE_F32 ? 4 : 2, rows = s->n - first_row;
  if (rows > TERN__CPU_PANEL) rows = TERN__CPU_PANEL;
  for (size_t k = 0; k < s->k; k++, out += TERN__CPU_PANEL * size) {
    if (s->k_major) memcpy(out, s->data + (k * s->n + first_row) * size, rows * size);
    else
      for (size_t r = 0; r < rows; r++)
        memcpy(out + r * size, s->data + ((first_row + r) * s->k + k) * size, size);
    memset(out + rows * size, 0, (TERN__CPU_PANEL - rows) * size);
  }
}

void tern__cpu_pack_panels(const tern__cpu_weight_source *s, const tern__cpu_weight_format *f, size_t panel,
                           size_t count, uint8_t *out) {
  size_t bytes = tern__cpu_panel_bytes(f, s->k), blocks = tern__cpu_padded(s->k) / TERN__CPU_BLOCK;
  for (size_t p = panel; p < panel + count; p++, out += bytes) {
    if (f->kind < TERN__CPU_WEIGHT_Q4) {
      pack_dense(s, p * TERN__CPU_PANEL, out);
      continue;
    }
    for (size_t b = 0; b < blocks; b++)
      for (size_t r = 0; r < TERN__CPU_PANEL; r++) {
        unpacked u;
        memset(&u, 0, sizeof u);
        if (p * TERN__CPU_PANEL + r < s->n) unpack(s, p * TERN__CPU_PANEL + r, b, &u);
        put_block(f, out + b * f->block_bytes, (int)r, &u);
      }
  }
}

/* ---- registration ---- */

typedef struct pack_job {
  tern__cpu_weight_source source;
  tern__cpu_weight_format format;
  tern__program *program;
  uint8_t *packed;
  _Atomic size_t next;
} pack_job;

/* A panel at a time, so that a cancellation is seen soon. */
static void pack_some(void *arg, int32_t thread, int32_t n_threads) {
  pack_job *job = arg;
  size_t n = tern__cpu_divide_up(job->source.n, TERN__CPU_PANEL), p;
  size_t bytes = tern__cpu_panel_bytes(&job->format, job->source.k);
  (void)thread, (void)n_threads;
  while ((p = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed)) < n &&
         !tern__cancelled(job->program->cancel))
    tern__cpu_pack_panels(&job->source, &job->format, p, 1, job->packed + p * bytes);
}

static tern_status build(void *user_data, void *packed) {
  pack_job *job = user_data;
  job->packed = packed;
  atomic_store(&job->next, 0);
  tern__pool_run(job->program->backend->env.pool, job->program->n_threads, pack_some, job);
  return tern__cancel_check(job->program->cancel, "packing weights");
}

/* Part of the cache key: a session's own constants may come to lie where those of an earlier session were. */
static uint64_t sample_hash(uint64_t hash, const uint8_t *data, size_t size) {
  size_t step = size / HASHED_SAMPLES + 1;
  for (size_t i = 0; data && i < size; i += step) hash = (hash ^ data[i]) * 1099511628211u;
  return (hash ^ size) * 1099511628211u;
}

uint64_t tern__cpu_layout_hash(const uint8_t *data, size_t size, uint64_t a, uint64_t b) {
  uint64_t form[] = {LAYOUT_VERSION, a, b};
  return sample_hash(sample_hash(14695981039346656037u, data, size), (const uint8_t *)form, sizeof form);
}

tern_status tern__cpu_pack_weights(tern__program *program, const tern__cpu_weight_source *s,
                                   const tern__cpu_weight_format *f, const void **out) {
  tern_status status = TERN_OK;
  size_t size, panels = tern__cpu_divide_up(s->n, TERN__CPU_PANEL), source_bytes;
  tern__shape shape = {.rank = 2, .dims = {(int64_t)s->n, (int64_t)s->k}};
  pack_job *job = tern__cpu_params(program, sizeof *job);
  TERN_CHECK_ALLOC(job);
  job->source = *s, job->format = *f, job->program = program;
  if (!tern__mul_size(tern__cpu_panel_bytes(f, s->k), panels, &size) ||
      !tern__shape_bytes(s->dtype, &shape, &source_bytes))
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "weights of %zu rows of %zu are too large", s->n, s->k);
  if (s->bits)
    source_bytes = s->n * ((s->k + (size_t)s->block_size - 1) / (size_t)s->block_size) *
                   (size_t)s->block_size * (size_t)s->bits / 8;
  uint64_t layout = sample_hash(14695981039346656037u, s->data, source_bytes);
  uint64_t form[] = {LAYOUT_VERSION, f->kind, f->scale_block, f->has_min,
                     f->f32_scales,  s->n,    s->k,           s->k_major};
  layout = sample_hash(layout, (const uint8_t *)form, sizeof form);
  TERN_TRY(tern__cpu_add_pack(program, &(tern__cpu_pack){s->data, layout, size, build, job, out}));
cleanup:
  return status;
}

const uint8_t *tern__cpu_constant(const tern__program *program, const tern__node *node, int32_t input) {
  const tern__graph *graph = program->plan->graph;
  const tern__view *view = tern__cpu_in(program, node, input);
  if (!view || !view->data) return NULL;
  for (tern__value_id id = node->inputs[input]; id >= 0;) {
    const tern__value *value = &graph->values[id];
    if (value->data) return view->data;
    if (value->producer < 0) return NULL;
    const tern__node *producer = &graph->nodes[value->producer];
    if (!(producer->op->flags & TERN__OP_ALIAS)) return NULL;
    id = producer->inputs[0];
  }
  return NULL;
}
