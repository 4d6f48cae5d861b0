/* Packing: quantized weights come as blocks of small integers (ir/weight_blocks.h) and are laid out in
 * panels. */
#include "cpu/cpu_pack.h"

#include <string.h>

#include "base/half.h"
#include "runtime/thread_pool.h"

enum { LINE = 64, LAYOUT_VERSION = 1 };

bool tern__cpu_weight_format_of(const tern__weight_source *source, tern__cpu_weight_format *out) {
  tern__cpu_weight_format f = {.kind = TERN__CPU_WEIGHT_Q8, .scale_block = 32};
  switch (source->dtype) {
    case TERN_DTYPE_F32: f.kind = TERN__CPU_WEIGHT_F32; break;
    case TERN_DTYPE_F16: f.kind = TERN__CPU_WEIGHT_F16; break;
    case TERN_DTYPE_BF16: f.kind = TERN__CPU_WEIGHT_BF16; break;
    case TERN_DTYPE_Q4_0: f.kind = TERN__CPU_WEIGHT_Q4, f.offset = 8; break;
    case TERN_DTYPE_Q4_1: f.kind = TERN__CPU_WEIGHT_Q4, f.has_min = true; break;
    case TERN_DTYPE_Q5_0: f.kind = TERN__CPU_WEIGHT_Q5; break;
    case TERN_DTYPE_Q8_0: break;
    case TERN_DTYPE_Q5_1: f.has_min = true; break;
    case TERN_DTYPE_Q4_K: f.kind = TERN__CPU_WEIGHT_Q4, f.has_min = f.f32_scales = true; break;
    case TERN_DTYPE_Q5_K: f.has_min = f.f32_scales = true; break;
    case TERN_DTYPE_Q6_K: f.scale_block = 16, f.f32_scales = true; break;
    case TERN_DTYPE_U8:
      if (source->codes || (source->bits != 4 && source->bits != 8) ||
          (source->block_size != 16 && source->block_size % 32))
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
    f.block_bytes = (uint16_t)(tern__cpu_block_lines(f.kind) * LINE +
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

static void put_q5(uint8_t *block, int row, const int8_t q[TERN__CPU_BLOCK]) {
  int8_t low[TERN__CPU_BLOCK];
  uint32_t fifth = 0;
  for (int k = 0; k < TERN__CPU_BLOCK; k++) {
    int value = q[k] + 16, pair = k / 2, half = k % 2;
    low[k] = (int8_t)(value & 15);
    fifth |= (uint32_t)(value >> 4 & 1) << (pair + 16 * half);
  }
  put_q4(block, row, low);
  memcpy(block + 4 * LINE + row * 4, &fifth, sizeof fifth);
}

static void put_block(const tern__cpu_weight_format *f, uint8_t *block, int row, const tern__weight_block *u) {
  int n_scales = TERN__CPU_BLOCK / f->scale_block;
  uint8_t *scales = block + tern__cpu_block_lines(f->kind) * LINE;
  uint8_t *mins = scales + n_scales * TERN__CPU_PANEL * (f->f32_scales ? 4 : 2);
  switch (f->kind) {
    case TERN__CPU_WEIGHT_Q4: put_q4(block, row, u->q); break;
    case TERN__CPU_WEIGHT_Q5: put_q5(block, row, u->q); break;
    default: tern__cpu_put_q8(block, row, u->q); break;
  }
  for (int h = 0; h < n_scales; h++) {
    put_scale(f, scales, (size_t)(h * TERN__CPU_PANEL + row), u->scales[h]);
    if (f->has_min) put_scale(f, mins, (size_t)(h * TERN__CPU_PANEL + row), u->mins[h]);
  }
}

static void pack_dense(const tern__weight_source *s, size_t first_row, uint8_t *out) {
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

void tern__cpu_pack_panels(const tern__weight_source *s, const tern__cpu_weight_format *f, size_t panel,
                           size_t count, uint8_t *out) {
  size_t bytes = tern__cpu_panel_bytes(f, s->k), blocks = tern__cpu_padded(s->k) / TERN__CPU_BLOCK;
  for (size_t p = panel; p < panel + count; p++, out += bytes) {
    if (f->kind < TERN__CPU_WEIGHT_Q4) {
      pack_dense(s, p * TERN__CPU_PANEL, out);
      continue;
    }
    for (size_t b = 0; b < blocks; b++)
      for (size_t r = 0; r < TERN__CPU_PANEL; r++) {
        tern__weight_block u;
        memset(&u, 0, sizeof u);
        if (p * TERN__CPU_PANEL + r < s->n) tern__weight_unpack(s, p * TERN__CPU_PANEL + r, b, &u);
        put_block(f, out + b * f->block_bytes, (int)r, &u);
      }
  }
}

/* ---- registration ---- */

typedef struct pack_job {
  const tern__cpu_pack *pack;
  tern__program *program;
  uint8_t *packed; /* NULL: it was there */
  _Atomic size_t next;
} pack_job;

/* A panel at a time, so that a cancellation is seen soon. */
static void pack_some(void *arg, int32_t thread, int32_t n_threads) {
  pack_job *job = arg;
  const tern__cpu_pack *pack = job->pack;
  size_t p;
  (void)thread, (void)n_threads;
  while ((p = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed)) < pack->n_panels &&
         !tern__cancelled(job->program->cancel))
    pack->write_panel(pack->source, p, job->packed + p * pack->panel_bytes);
}

static tern_status build(void *user_data, void *packed) {
  pack_job *job = user_data;
  job->packed = packed;
  tern__pool_run(job->program->backend->env.pool, job->program->n_threads, pack_some, job);
  return tern__cancel_check(job->program->cancel, "packing weights");
}

tern_status tern__cpu_reserve_packs(tern__program *program) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = program->backend->env.alloc;
  tern__pack_request *requests = NULL;
  for (size_t i = 0; i < tern__array_count(program->packs); i++) {
    const tern__cpu_pack *p = &program->packs[i];
    TERN_ARRAY_PUSH(alloc, requests, (tern__pack_request){p->key, p->layout, p->n_panels * p->panel_bytes});
  }
  TERN_TRY(tern__pack_cache_reserve(program->cache, requests, tern__array_count(requests)));
cleanup:
  TERN_ARRAY_FREE(alloc, requests);
  return status;
}

tern_status tern__cpu_prepare_pack(tern__program *program, const tern__cpu_pack *pack) {
  pack_job job = {.pack = pack, .program = program};
  tern_status status = tern__pack_cache_get(program->cache, pack->key, pack->layout, pack->n_panels * pack->panel_bytes,
                                            build, &job, pack->out);
  if (status == TERN_OK && job.packed) tern__pack_cache_release_source(program->cache, pack->key, pack->key_bytes);
  return status;
}

uint64_t tern__cpu_layout_hash(const tern__program *program, const uint8_t *data, size_t size, uint64_t a, uint64_t b) {
  bool in_file = tern__pack_cache_in_file(program->cache, data, size);
  uint64_t form[] = {LAYOUT_VERSION, a, b, in_file ? (uintptr_t)data : 0};
  if (in_file) size = 0;
  return tern__pack_hash(tern__pack_hash(TERN__PACK_HASH, data, size), form, sizeof form);
}

typedef struct weights { tern__weight_source source; tern__cpu_weight_format format; } weights;

static void write_weights(const void *source, size_t panel, uint8_t *out) {
  const weights *w = source;
  tern__cpu_pack_panels(&w->source, &w->format, panel, 1, out);
}

tern_status tern__cpu_pack_weights(tern__program *program, const tern__weight_source *s,
                                   const tern__cpu_weight_format *f, const void **out) {
  tern_status status = TERN_OK;
  size_t size, panels = tern__cpu_divide_up(s->n, TERN__CPU_PANEL), bytes = tern__cpu_panel_bytes(f, s->k),
               source_bytes;
  weights *w = tern__cpu_params(program, sizeof *w);
  TERN_CHECK_ALLOC(w);
  *w = (weights){*s, *f};
  if (!tern__mul_size(bytes, panels, &size) ||
      !tern__weight_source_bytes(s, &source_bytes))
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "weights of %zu rows of %zu are too large", s->n, s->k);
  bool in_file = tern__pack_cache_in_file(program->cache, s->data, source_bytes);
  uint64_t layout = tern__pack_hash(TERN__PACK_HASH, s->data, in_file ? 0 : source_bytes);
  uint64_t form[] = {LAYOUT_VERSION, f->kind, f->scale_block, f->has_min,
                     f->f32_scales,  s->n,    s->k,           s->k_major};
  layout = tern__pack_hash(layout, form, sizeof form);
  TERN_TRY(tern__cpu_add_pack(
      program, &(tern__cpu_pack){s->data, layout, panels, bytes, write_weights, w, out, source_bytes}));
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

bool tern__cpu_read_product(const tern__program *program, const tern__node *node, tern__weight_read *read,
                            tern__weight_product *out) {
  const tern__view *in[TERN__WEIGHT_INPUTS];
  const uint8_t *constants[TERN__WEIGHT_INPUTS];
  for (int32_t i = 0; i < TERN__WEIGHT_INPUTS; i++)
    in[i] = tern__cpu_in(program, node, i), constants[i] = tern__cpu_constant(program, node, i);
  return read(node, in, constants, out);
}
