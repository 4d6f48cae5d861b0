/* Drivers give wrong results without a word (docs/vulkan.md). When a device is opened, it multiplies two small matrices
 * whose product is known: by a plain kernel, which decides whether it is used at all, and by a kernel of each optional
 * feature, which decides whether that one is. All numbers are small integers, so that the product is exact in any
 * order of additions. Memory that workgroups exchange is tried by attention to keys that are all alike, whose result is
 * the mean of the values. One submit for all of them; the kernels are among those that models need anyway. */
#include "gpu/gpu_check.h"
#include "gpu/ops/gpu_attention.h"
#include "gpu/ops/gpu_product.h"
#include "runtime/thread_pool.h"

#include "base/half.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 2, COLUMNS = 6, BLOCK = 32, BLOCKS = 6, K = BLOCK * BLOCKS, PLACE = TERN__GPU_PLACE, MAX_TRIES = 5,
       /* float16 arithmetic is what kernels with matrices do, and nothing else: one probe for both */
       MATRIX = TERN__GPU_HAS_COOPERATIVE_MATRIX | TERN__GPU_HAS_F16 };

static int x_of(int row, int k) { return (k * 7 + row * 3) % 11 - 5; }
static int w_of(int column, int k) { return (k * 5 + column * 13) % 9 - 4; }

/* Attention: value d of key k is w_of(d, k); keys and queries are zero. A key is new, the others are in the cache. */
enum { KEYS = 512, DIM = 8, QUERIES = 4, SHARES = 8 };

/* Places in `data`: x, for each try ranges that bindings without a use get, and a result; in `weights` likewise. */
enum {
  SPARES = MAX_TRIES * TERN__GPU_MAX_BINDINGS * PLACE,
  X_AT = 0,
  SPARE_AT = X_AT + (ROWS * K * 4 + PLACE - 1) / PLACE * PLACE,
  Y_AT = SPARE_AT + SPARES,
  Y_BYTES = ROWS * COLUMNS * 4,
  /* x for linear_matrix.wgsl, as linear_half.wgsl writes it: doubled, then what halves each row */
  HALF_AT = Y_AT + MAX_TRIES * PLACE,
  HALF_BYTES = ROWS * K * 2 + 16,
  /* a row for linear_dot.wgsl (kernels/include/linear_round.wgsl), by 64, whose halves' scales are 1 / 64 */
  ROUNDED_AT = HALF_AT + (HALF_BYTES + PLACE - 1) / PLACE * PLACE,
  ROUNDED_BYTES = BLOCKS * 80 + (BLOCKS + 1) / 2 * 16,
  /* of attention: queries and the new key, the new value, the cache, parts, a counter */
  ZERO_AT = ROUNDED_AT + (ROUNDED_BYTES + PLACE - 1) / PLACE * PLACE,
  NEW_AT = ZERO_AT + PLACE,
  CACHE_AT = NEW_AT + PLACE,
  VALUES_AT = KEYS * DIM * 2, /* in the cache */
  PARTS_AT = CACHE_AT + 2 * VALUES_AT,
  PARTS_BYTES = QUERIES * SHARES * (DIM + 4) * 4,
  COUNTER_AT = PARTS_AT + PARTS_BYTES,
  TOTAL = COUNTER_AT + PLACE,
  W_BYTES = COLUMNS * K * 4,
  W8_AT = (W_BYTES + PLACE - 1) / PLACE * PLACE, /* the same as bytes, 128 more; and their scales, 1 */
  W8_BYTES = COLUMNS * K,
  S8_AT = W8_AT + (W8_BYTES + PLACE - 1) / PLACE * PLACE,
  S8_BYTES = COLUMNS * BLOCKS * 2,
  W4_AT = S8_AT + (S8_BYTES + PLACE - 1) / PLACE * PLACE, /* the same in 4 bits, 8 more, with those scales */
  W4_BYTES = COLUMNS * K / 2,
  W_SPARE_AT = W4_AT + (W4_BYTES + PLACE - 1) / PLACE * PLACE,
  POSITIONS_AT = W_SPARE_AT + SPARES, /* of attention */
  W_TOTAL = POSITIONS_AT + PLACE,
  GROUPS = COLUMNS / 2 /* enough for subgroups of any size; what lies beyond the columns does nothing */
};

/* Where an operand lies, in bytes. */
typedef struct place { uint32_t at, bytes; } place;

typedef struct probe {
  uint32_t feature;            /* 0: a plain kernel */
  const char *name;            /* as in a sentence */
  tern__gpu_kernel_id kernel;  /* binds as include/linear.wgsl says, with a format of numbers and maybe scales */
  int rows;                    /* that it computes */
  place x;                     /* in `data` */
  uint32_t x_stride;
  place numbers, scales;       /* of its weights, in `weights`; no bytes: the format has none */
  bool attention;              /* attention_step.wgsl instead: rows are queries, of DIM values */
} probe;

#define FLOATS .x = {X_AT, ROWS * K * 4}, .x_stride = K / 4, .numbers = {0, W_BYTES}

/* One row of x at a time: y of the grid. */
static const probe probes[] = {
    {TERN__GPU_HAS_SUBGROUPS, "subgroup operations", TERN__KERNEL_linear_subgroup1_f32, ROWS, FLOATS},
    {TERN__GPU_HAS_INT8_DOT, "8-bit dot products", TERN__KERNEL_linear_dot_q8_h, 1,
     .x = {ROUNDED_AT, ROUNDED_BYTES}, .x_stride = 0, .numbers = {W8_AT, W8_BYTES}, .scales = {S8_AT, S8_BYTES}},
    {MATRIX, "cooperative matrices", TERN__KERNEL_linear_matrix64_q4_h, ROWS,
     .x = {HALF_AT, HALF_BYTES}, .x_stride = K / 8, .numbers = {W4_AT, W4_BYTES}, .scales = {S8_AT, S8_BYTES}},
    {TERN__GPU_HAS_COHERENT, "coherent buffers", TERN__KERNEL_attention_step_64, QUERIES, .attention = true},
};
const uint32_t tern__gpu_probed_features =
    TERN__GPU_HAS_SUBGROUPS | TERN__GPU_HAS_INT8_DOT | MATRIX | TERN__GPU_HAS_COHERENT;

/* What is tried: the plain kernel first. */
typedef struct trial {
  tern__backend *backend;
  const probe *list[MAX_TRIES];
  tern__gpu_pipeline *pipelines[MAX_TRIES];
  int n;
  tern__gpu_buffer *data, *weights, *back; /* of what kernels declare read_write, and read: WebGPU keeps them apart */
  tern__gpu_commands *commands;
} trial;

/* Row 0 of x, times 64, as 128 upper + lower. */
static void round_row(uint8_t *row) {
  float *scales = (float *)(void *)(row + BLOCKS * 64);
  for (int k = 0; k < K; k++) {
    int q = x_of(0, k) * 64, upper = (q + 64) >> 7, half = k / (BLOCK / 2);
    uint8_t *at = row + (half % 2 * BLOCKS + half / 2) * 16 + k % 16;
    at[0] = (uint8_t)upper, at[BLOCKS * 32] = (uint8_t)(q - 128 * upper);
    scales[2 * half] = 1.0f / 64, scales[2 * half + 1] += (float)x_of(0, k);
  }
}

static tern_status send(trial *t) {
  tern_status status = TERN_OK;
  const tern__gpu_api *api = t->backend->api;
  tern__gpu_device *device = t->backend->device;
  float *host = tern__calloc(t->backend->env.alloc, TOTAL / 4, sizeof *host), weights[COLUMNS * K];
  uint8_t bytes[W8_BYTES], nibbles[W4_BYTES] = {0};
  uint16_t scales[S8_BYTES / 2];
  TERN_CHECK_ALLOC(host);
  uint16_t *half = (uint16_t *)(host + HALF_AT / 4);
  for (int k = 0; k < K; k++) {
    for (int r = 0; r < ROWS; r++) {
      host[X_AT / 4 + r * K + k] = (float)x_of(r, k);
      half[r * K + (k & ~3) + "\0\2\1\3"[k & 3]] = tern__f32_to_f16((float)(2 * x_of(r, k)));
    }
    for (int c = 0; c < COLUMNS; c++) {
      weights[c * K + k] = (float)w_of(c, k);
      bytes[c * K + k] = (uint8_t)(w_of(c, k) + 128);
      /* weight_decode.wgsl: of eight, the first four are low */
      nibbles[(c * K + k) / 8 * 4 + k % 4] |= (uint8_t)((w_of(c, k) + 8) << (k % 8 < 4 ? 0 : 4));
    }
  }
  round_row((uint8_t *)host + ROUNDED_AT);
  for (int r = 0; r < ROWS; r++) host[(HALF_AT + ROWS * K * 2) / 4 + r] = 0.5f;
  uint16_t *values = (uint16_t *)(host + (CACHE_AT + VALUES_AT) / 4);
  for (int d = 0; d < DIM; d++) {
    host[NEW_AT / 4 + d] = (float)w_of(d, KEYS - 1);
    for (int k = 0; k < KEYS - 1; k++) values[k * DIM + d] = tern__f32_to_f16((float)w_of(d, k));
  }
  for (int i = PARTS_AT / 4; i < COUNTER_AT / 4; i++) host[i] = -12345.0f;
  for (int i = 0; i < S8_BYTES / 2; i++) scales[i] = 0x3c00;
  /* What a kernel that does nothing leaves: no result of anything. */
  for (int i = Y_AT / 4; i < HALF_AT / 4; i++) host[i] = -12345.0f;
  TERN_TRY(api->buffer_create(device, TERN__GPU_DEVICE, TOTAL, &t->data));
  TERN_TRY(api->buffer_create(device, TERN__GPU_DEVICE, W_TOTAL, &t->weights));
  TERN_TRY(api->buffer_create(device, TERN__GPU_READBACK, MAX_TRIES * PLACE, &t->back));
  TERN_TRY(api->write(device, t->data, 0, host, TOTAL));
  TERN_TRY(api->write(device, t->weights, 0, weights, sizeof weights));
  TERN_TRY(api->write(device, t->weights, W8_AT, bytes, sizeof bytes));
  TERN_TRY(api->write(device, t->weights, S8_AT, scales, sizeof scales));
  TERN_TRY(api->write(device, t->weights, W4_AT, nibbles, sizeof nibbles));
  TERN_TRY(api->write(device, t->weights, POSITIONS_AT, (int32_t[]){KEYS - 1, 1}, 8));
cleanup:
  tern__free(t->backend->env.alloc, host);
  return status;
}

static tern_status add_attention(trial *t, int i) {
  tern_status status = TERN_OK;
  const tern__gpu_info *info = t->backend->info;
  tern__gpu_range zero = {t->data, ZERO_AT, PLACE};
  tern__gpu_range ranges[] = {zero, {t->data, Y_AT + (uint64_t)i * PLACE, QUERIES * DIM * 4}, zero,
                              {t->data, NEW_AT, PLACE}, {t->weights, POSITIONS_AT, 8}, zero, zero,
                              {t->data, CACHE_AT, 2 * VALUES_AT}, {t->data, PARTS_AT, PARTS_BYTES},
                              {t->data, COUNTER_AT, 4}, {t->data, SPARE_AT, PLACE}};
  tern__gpu_attention a = {.rows = 1, .keys = KEYS, .kv_heads = 1, .group = QUERIES, .dim = DIM, .scale = 1};
  tern__gpu_attention_tile(&a);
  a.values = VALUES_AT / 4, a.splits = SHARES, a.unit = tern__gpu_attention_unit(info);
  TERN_TRY(t->backend->api->dispatch(t->commands, &(tern__gpu_dispatch){.pipeline = t->pipelines[i],
                                                                       .ranges = ranges,
                                                                       .immediates = &a,
                                                                       .groups = {SHARES, 1, 1}}));
cleanup:
  return status;
}

static tern_status add(trial *t, int i) {
  tern_status status = TERN_OK;
  tern__gpu_range ranges[TERN__GPU_MAX_BINDINGS];
  const probe *p = t->list[i];
  if (p->attention) return add_attention(t, i);
  tern__gpu_linear_immediates immediates = {.rows = ROWS, .columns = COLUMNS, .blocks = BLOCKS,
                                            .x_stride = p->x_stride, .lanes = 1, .width = {COLUMNS, 0, 0}};
  for (int b = 0; b < TERN__GPU_MAX_BINDINGS; b++) {
    uint64_t spare = ((uint64_t)i * TERN__GPU_MAX_BINDINGS + (uint64_t)b) * PLACE;
    bool writable = tern__gpu_kernels[p->kernel].writable >> b & 1;
    ranges[b] = (tern__gpu_range){writable ? t->data : t->weights, (writable ? SPARE_AT : W_SPARE_AT) + spare, PLACE};
  }
  ranges[0] = (tern__gpu_range){t->data, p->x.at, p->x.bytes};
  ranges[1] = (tern__gpu_range){t->data, Y_AT + (uint64_t)i * PLACE, Y_BYTES};
  ranges[5] = (tern__gpu_range){t->weights, p->numbers.at, p->numbers.bytes};
  if (p->scales.bytes) ranges[6] = (tern__gpu_range){t->weights, p->scales.at, p->scales.bytes};
  TERN_TRY(t->backend->api->dispatch(t->commands, &(tern__gpu_dispatch){.pipeline = t->pipelines[i],
                                                                       .ranges = ranges,
                                                                       .immediates = &immediates,
                                                                       .groups = {GROUPS, ROWS, 1}}));
cleanup:
  return status;
}

static tern_status run(trial *t) {
  tern_status status = TERN_OK;
  const tern__gpu_api *api = t->backend->api;
  tern__gpu_device *device = t->backend->device;
  uint64_t ticket;
  TERN_TRY(send(t));
  TERN_TRY(api->commands_create(device, &t->commands));
  for (int i = 0; i < t->n; i++) TERN_TRY(add(t, i));
  TERN_TRY(api->barrier(t->commands));
  tern__gpu_range from = {t->data, Y_AT, MAX_TRIES * PLACE}, to = {t->back, 0, MAX_TRIES * PLACE};
  TERN_TRY(api->copy(t->commands, &from, &to));
  TERN_TRY(api->commands_finish(t->commands));
  TERN_TRY(api->submit(device, t->commands, &ticket));
  TERN_TRY(api->wait(device, ticket, UINT64_MAX));
  TERN_TRY(api->invalidate(device, &to));
cleanup:
  return status;
}

static float right_value(const probe *p, int r, int c) {
  int sum = 0;
  for (int k = 0; k < (p->attention ? KEYS : K); k++) sum += (p->attention ? 1 : x_of(r, k)) * w_of(c, k);
  return p->attention ? (float)sum / KEYS : (float)sum;
}

/* Says what is wrong; empty where nothing is. */
static void judge(const trial *t, int i, char *text, size_t size) {
  const float *y = (const float *)t->backend->api->buffer_host(t->back) + i * PLACE / 4;
  const probe *p = t->list[i];
  int columns = p->attention ? DIM : COLUMNS;
  /* The exponentials in a mean are the device's: half of what one value more or less makes. */
  float slack = p->attention ? 0.5f / KEYS : 0;
  *text = 0;
  for (int r = 0; r < p->rows; r++)
    for (int c = 0; c < columns; c++) {
      float right = right_value(p, r, c);
      if (fabsf(y[r * columns + c] - right) <= slack) continue;
      snprintf(text, size, "kernel %s gave %g where %g is right", tern__gpu_kernels[p->kernel].name,
               (double)y[r * columns + c], (double)right);
      return;
    }
}

static void switch_off(tern__backend *backend, const probe *p, const char *why) {
  size_t used = strlen(backend->description);
  backend->info->features &= ~p->feature;
  tern__log(backend->env.log, TERN_LOG_WARNING, "device '%s' (%s): %s are not used: %s", backend->info->name,
            backend->info->driver, p->name, why);
  snprintf(backend->description + used, sizeof backend->description - used, ", without %s (a probe failed)", p->name);
}

/* A device that lacks what else the kernel needs has no use for the feature. */
static bool probe_fits(const tern__gpu_info *info, const probe *p) {
  const tern__gpu_kernel *kernel = &tern__gpu_kernels[p->kernel];
  uint32_t needs = kernel->needs;
  if (info->max_invocations < kernel->workgroup[0]) return false;
  return (info->features & needs) == needs && (!p->attention || tern__gpu_attention_unit(info));
}

enum { N_PROBES = sizeof probes / sizeof *probes, ERROR_TEXT = 512 };

/* Kernels that compile side by side: where nothing is cached they take long. */
typedef struct compiling {
  tern__backend *backend;
  bool wanted[N_PROBES];
  tern__gpu_pipeline *pipelines[N_PROBES];
  tern_status status[N_PROBES];
  char errors[N_PROBES][ERROR_TEXT];
  _Atomic size_t next;
} compiling;

static void compile_probes(void *arg, int32_t thread, int32_t n_threads) {
  compiling *c = arg;
  (void)thread, (void)n_threads;
  for (size_t i; (i = atomic_fetch_add(&c->next, 1)) < N_PROBES;) {
    if (!c->wanted[i]) continue;
    c->status[i] = c->backend->api->pipeline(c->backend->device, probes[i].kernel, &c->pipelines[i]);
    if (c->status[i] != TERN_OK) snprintf(c->errors[i], ERROR_TEXT, "%s", tern_last_error());
  }
}

/* Those that there is a use for are tried. A kernel that cannot be compiled is as good as a wrong one, unless the
 * device is out of something or gone. */
static tern_status take_probes(trial *t) {
  tern_status status = TERN_OK;
  tern__backend *backend = t->backend;
  compiling c = {.backend = backend};
  for (size_t i = 0; i < N_PROBES; i++)
    c.wanted[i] = backend->info->features & probes[i].feature && probe_fits(backend->info, &probes[i]);
  if (backend->info->one_thread) compile_probes(&c, 0, 1);
  else tern__pool_run(backend->env.pool, tern__pool_n_threads(backend->env.pool), compile_probes, &c);
  for (size_t i = 0; i < N_PROBES && status == TERN_OK; i++) {
    if (!c.wanted[i]) continue;
    if (c.status[i] == TERN_OK) {
      t->pipelines[t->n] = c.pipelines[i], t->list[t->n++] = &probes[i];
    } else if (c.status[i] != TERN_STATUS_OUT_OF_MEMORY && c.status[i] != TERN_STATUS_DEVICE_LOST) {
      switch_off(backend, &probes[i], c.errors[i]);
    } else {
      tern__error_set(c.errors[i]);
      status = c.status[i];
    }
  }
  return status;
}

tern_status tern__gpu_check(tern__backend *backend) {
  tern_status status = TERN_OK;
  const tern__gpu_api *api = backend->api;
  const probe plain = {
      0, "", backend->info->software ? TERN__KERNEL_linear_direct1_f32 : TERN__KERNEL_linear_vec1_f32, ROWS, FLOATS};
  trial t = {.backend = backend};
  char wrong[200];
  backend->info->features &= tern__gpu_probed_features;
  if ((backend->info->features & MATRIX) != MATRIX) backend->info->features &= ~(uint32_t)MATRIX;
  TERN_TRY(api->pipeline(backend->device, plain.kernel, &t.pipelines[0]));
  t.list[t.n++] = &plain;
  TERN_TRY(take_probes(&t));
  TERN_TRY(run(&t));
  for (int i = 0; i < t.n; i++) {
    judge(&t, i, wrong, sizeof wrong);
    if (*wrong && t.list[i]->feature) switch_off(backend, t.list[i], wrong);
    else if (*wrong)
      TERN_FAIL(TERN_STATUS_NO_DEVICE,
                "device '%s' (%s) computes wrong results: %s; update its driver, or use device 'cpu'",
                backend->info->name, backend->info->driver, wrong);
  }
cleanup:
  api->commands_destroy(t.commands);
  api->buffer_destroy(backend->device, t.data);
  api->buffer_destroy(backend->device, t.weights);
  api->buffer_destroy(backend->device, t.back);
  return status;
}
