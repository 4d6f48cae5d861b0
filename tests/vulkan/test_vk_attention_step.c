/* kernels/attention_step.wgsl, which is chosen on GPUs alone: here alone, on any driver whose subgroups have 8 to 128
 * invocations, against attention in double precision. What no query may see is NaN, in the cache, in padding, and in the
 * memory of parts; every case runs several times, since the counters must come back to zero. */
#include "base/half.h"
#include "gpu/gpu_rounded.h"
#include "gpu/ops/gpu_attention.h"
#include "vk_rig.h"

enum { MAX_BATCH = 3, RUNS = 3, NAN_HALF = 0x7e00 };

typedef struct shape {
  uint32_t kv_heads, group, dim, past, rows, window, half, shares;
  float softcap;
  bool interleaved;
} shape;

/* One dispatch: sequences by number, which is what their data depends on. */
typedef struct step {
  shape s;
  uint32_t batch, first, capacity;
  uint32_t past[MAX_BATCH], fresh[MAX_BATCH];
  uint64_t q_n, k_n, table_n, cache_n, values_at, parts_n, counters_n; /* floats, halves of keys, words */
  float *q, *k, *v, *cos, *sin, *y;
  uint16_t *cache;                     /* keys, then values from 2 values_at on; as sent, then as it came back */
} step;

static float noise(uint32_t kind, uint32_t sequence, uint32_t i) {
  uint32_t x = kind * 0x9e3779b9u ^ sequence * 0x85ebca6bu ^ (i + 1) * 0xc2b2ae35u;
  x ^= x >> 15, x *= 0x2c1b3c6du, x ^= x >> 12, x *= 0x297a2d39u, x ^= x >> 15;
  return (float)(int32_t)x * 0x1p-31f;
}

static float scale_of(const shape *s) { return 3.0f / sqrtf((float)s->dim); }

static bool sees(const step *t, uint32_t b, uint32_t row, uint32_t key) {
  uint32_t end = t->past[b] + row + 1;
  return key < end && (!t->s.window || key + t->s.window >= end);
}

/* Past rows that no query sees are NaN, and so is what lies behind. */
static void fill_cache(step *t) {
  const shape *s = &t->s;
  for (uint32_t b = 0; b < t->batch; b++)
    for (uint32_t h = 0; h < s->kv_heads; h++)
      for (uint32_t key = 0; key < t->capacity; key++) {
        bool visible = key < t->past[b] && t->fresh[b] && sees(t, b, 0, key);
        uint64_t at = ((uint64_t)(b * s->kv_heads + h) * t->capacity + key) * s->dim;
        for (uint32_t d = 0; d < s->dim; d++) {
          uint32_t i = (h * 8192 + key) * 256 + d;
          t->cache[at + d] = visible ? tern__f32_to_f16(noise(4, t->first + b, i)) : NAN_HALF;
          t->cache[2 * t->values_at + at + d] = visible ? tern__f32_to_f16(noise(5, t->first + b, i)) : NAN_HALF;
        }
      }
}

static float *floats(uint64_t n) {
  float *data = malloc((n + 4) * sizeof *data);
  for (uint64_t i = 0; i < n; i++) data[i] = NAN;
  return data;
}

static void begin(step *t, const shape *s, uint32_t batch, uint32_t first) {
  *t = (step){.s = *s, .batch = batch, .first = first};
  uint32_t width = s->kv_heads * s->dim, blocks = (s->rows * s->group + 3) / 4;
  t->capacity = s->past + s->rows + 70;
  for (uint32_t b = 0; b < batch; b++) {
    /* A sequence of its own length, and in a batch of several one that is shorter, and one of padding alone. */
    uint32_t number = first + b;
    t->past[b] = number == 0 ? s->past : s->past / (number + 1);
    t->fresh[b] = number == 2 && s->rows > 1 ? s->rows - 1 : s->rows;
  }
  t->q_n = (uint64_t)batch * s->rows * width * s->group, t->k_n = (uint64_t)batch * s->rows * width;
  t->table_n = (uint64_t)t->capacity * (s->half ? s->half : 4);
  t->cache_n = (uint64_t)batch * s->kv_heads * t->capacity * s->dim;
  t->values_at = tern__gpu_place(t->cache_n * 2) / 4;
  t->counters_n = (uint64_t)batch * s->kv_heads * blocks;
  t->parts_n = t->counters_n * 4 * s->shares * (s->dim + 4);
  t->q = floats(t->q_n), t->k = floats(t->k_n), t->v = floats(t->k_n), t->y = floats(t->q_n);
  t->cos = floats(t->table_n), t->sin = floats(t->table_n);
  t->cache = calloc(2 * t->values_at + t->cache_n, 2);
  for (uint32_t position = 0; position < t->capacity; position++)
    for (uint32_t i = 0; i < s->half; i++) {
      double angle = position * pow(10000, -(double)i / s->half);
      t->cos[position * s->half + i] = (float)cos(angle), t->sin[position * s->half + i] = (float)sin(angle);
    }
  for (uint32_t b = 0; b < batch; b++)
    for (uint32_t row = 0; row < t->fresh[b]; row++)
      for (uint32_t i = 0; i < width * s->group; i++) {
        uint64_t at = (b * s->rows + row);
        uint32_t value = (t->past[b] + row) * 8192 + i;
        t->q[at * width * s->group + i] = noise(1, first + b, value);
        if (i < width) t->k[at * width + i] = noise(2, first + b, value), t->v[at * width + i] = noise(3, first + b, value);
      }
  fill_cache(t);
}

static void end(step *t) {
  free(t->q), free(t->k), free(t->v), free(t->y), free(t->cos), free(t->sin), free(t->cache);
}

static tern__gpu_range send(rig *r, const void *data, uint64_t bytes) {
  tern__gpu_range range = {NULL, 0, (bytes + 15) / 16 * 16};
  uint8_t *padded = calloc(1, range.size);
  memcpy(padded, data, bytes);
  OK(r->api->buffer_create(r->device, TERN__GPU_DEVICE, range.size, &range.buffer));
  OK(r->api->write(r->device, range.buffer, 0, padded, range.size));
  free(padded);
  return range;
}

static void fetch(rig *r, const tern__gpu_range *range, void *data, uint64_t bytes) {
  tern__gpu_range to = {NULL, 0, range->size};
  tern__gpu_commands *c;
  uint64_t ticket;
  OK(r->api->buffer_create(r->device, TERN__GPU_READBACK, range->size, &to.buffer));
  OK(r->api->commands_create(r->device, &c));
  OK(r->api->copy(c, range, &to));
  OK(r->api->commands_finish(c));
  OK(r->api->submit(r->device, c, &ticket));
  OK(r->api->wait(r->device, ticket, UINT64_MAX));
  OK(r->api->invalidate(r->device, &to));
  memcpy(data, r->api->buffer_host(to.buffer), bytes);
  r->api->commands_destroy(c);
  r->api->buffer_destroy(r->device, to.buffer);
}

static tern__gpu_kernel_id kernel_of(uint32_t dim) {
  return dim > 128  ? TERN__KERNEL_attention_step_256
         : dim > 64 ? TERN__KERNEL_attention_step_128
                    : TERN__KERNEL_attention_step_64;
}

/* y's only row as kernels/include/linear_round.wgsl says. */
static void expect_rounded(const float *y, const uint8_t *rounded, uint32_t width) {
  uint32_t blocks = width / 32;
  const float *scales = (const float *)(const void *)(rounded + blocks * 64);
  const float *squares = (const float *)(const void *)(rounded + blocks * 80);
  for (uint32_t half = 0; half < width / 16; half++) {
    const int8_t *upper = (const int8_t *)rounded + (half % 2 * blocks + half / 2) * 16, *lower = upper + blocks * 32;
    double square = 0, scale = (double)scales[2 * half], sum = 0, most = 0;
    for (int i = 0; i < 16; i++) {
      double x = (double)y[half * 16 + i], q = 128.0 * upper[i] + lower[i];
      square += x * x, sum += q, most = fmax(most, fabs(x));
      /* Half a step, and float32's part of 16256 in the scale and in what numbers are divided by. */
      cr_assert(fabs(q * scale - x) <= 0.505 * scale, "value %u is %g, rounded %g of %g", half * 16 + i, x, q, scale);
    }
    cr_assert(fabs(scale * 16256 - most) <= 1e-6 * most, "scale %g of %g", scale, most);
    cr_assert(fabs(scale * sum - (double)scales[2 * half + 1]) <= 1e-6 * scale * 16256 * 16);
    cr_assert(fabs(square - (double)squares[half]) <= 1e-5 * square);
  }
}

/* Runs t; y and the cache come back. */
static void run(rig *r, step *t) {
  const shape *s = &t->s;
  uint32_t blocks = (s->rows * s->group + 3) / 4;
  int32_t positions[2 * MAX_BATCH];
  uint64_t ticket, cache_bytes = (2 * t->values_at + t->cache_n) * 2, y_bytes = t->q_n * 4;
  tern__gpu_pipeline *pipeline;
  tern__gpu_commands *c;
  uint32_t *counters = calloc(t->counters_n, 4);
  float *parts = floats(t->parts_n), *again = floats(t->q_n);
  uint32_t width = s->kv_heads * s->group * s->dim;
  uint8_t *rounded = calloc(1, tern__gpu_rounded_bytes(1, width) + 16);
  bool rounds = t->batch == 1 && s->rows == 1 && width % 32 == 0 && s->dim % 16 == 0;
  for (uint32_t b = 0; b < t->batch; b++) positions[2 * b] = (int32_t)t->past[b], positions[2 * b + 1] = (int32_t)t->fresh[b];
  tern__gpu_range ranges[] = {send(r, t->q, t->q_n * 4),     send(r, t->y, y_bytes),
                              send(r, t->k, t->k_n * 4),     send(r, t->v, t->k_n * 4),
                              send(r, positions, 8 * t->batch), send(r, t->cos, t->table_n * 4),
                              send(r, t->sin, t->table_n * 4),  send(r, t->cache, cache_bytes),
                              send(r, parts, t->parts_n * 4),   send(r, counters, t->counters_n * 4),
                              send(r, rounded, tern__gpu_rounded_bytes(1, width) + 16)};
  tern__gpu_attention a = {.rows = s->rows, .keys = t->capacity, .kv_heads = s->kv_heads, .group = s->group, .dim = s->dim,
                           .half_rotary = s->half, .flags = s->interleaved ? TERN__GPU_ATTENTION_INTERLEAVED : 0,
                           .window = s->window, .scale = scale_of(s), .softcap = s->softcap};
  if (rounds) a.flags |= TERN__GPU_ATTENTION_ROUND;
  tern__gpu_attention_tile(&a);
  a.values = (uint32_t)t->values_at, a.splits = s->shares, a.unit = tern__gpu_attention_unit(r->api->info(r->device));
  OK(r->api->pipeline(r->device, kernel_of(s->dim), &pipeline));
  OK(r->api->commands_create(r->device, &c));
  OK(r->api->dispatch(c, &(tern__gpu_dispatch){pipeline, ranges, &a, {s->shares, t->batch * s->kv_heads, blocks}}));
  OK(r->api->barrier(c));
  OK(r->api->commands_finish(c));
  for (int n = 0; n < RUNS; n++) {
    OK(r->api->submit(r->device, c, &ticket));
    OK(r->api->wait(r->device, ticket, UINT64_MAX));
    fetch(r, &ranges[1], n ? again : t->y, y_bytes);
    cr_assert(!n || !memcmp(again, t->y, y_bytes), "run %d differs from the first", n);
  }
  fetch(r, &ranges[7], t->cache, cache_bytes);
  fetch(r, &ranges[10], rounded, tern__gpu_rounded_bytes(1, width));
  if (rounds) expect_rounded(t->y, rounded, width);
  fetch(r, &ranges[9], counters, t->counters_n * 4);
  for (uint64_t i = 0; i < t->counters_n; i++) cr_assert_eq(counters[i], 0u, "counter %llu", (unsigned long long)i);
  r->api->commands_destroy(c);
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) r->api->buffer_destroy(r->device, ranges[i].buffer);
  free(counters), free(parts), free(again), free(rounded);
}

/* Value d of a head, turned as the kernels round it. */
static float turned(const step *t, const float *x, uint32_t d, uint32_t position) {
  uint32_t half = t->s.half, pair = t->s.interleaved ? d / 2 : d % (half ? half : 1);
  if (d >= 2 * half) return x[d];
  bool first = t->s.interleaved ? d % 2 == 0 : d < half;
  float partner = t->s.interleaved ? x[d ^ 1] : x[first ? d + half : d - half];
  volatile float a = x[d] * t->cos[position * half + pair], b = partner * t->sin[position * half + pair];
  return first ? a - b : a + b;
}

/* The cache as it must be afterwards. */
static void expect_cache(const step *t, const uint16_t *sent) {
  const shape *s = &t->s;
  for (uint32_t b = 0; b < t->batch; b++)
    for (uint32_t h = 0; h < s->kv_heads; h++)
      for (uint32_t key = 0; key < t->capacity; key++)
        for (uint32_t d = 0; d < s->dim; d++) {
          uint64_t at = ((uint64_t)(b * s->kv_heads + h) * t->capacity + key) * s->dim + d;
          uint16_t want_k = sent[at], want_v = sent[2 * t->values_at + at];
          if (key >= t->past[b] && key < t->past[b] + t->fresh[b]) {
            uint64_t row = ((uint64_t)(b * s->rows + key - t->past[b]) * s->kv_heads + h) * s->dim;
            want_k = tern__f32_to_f16(turned(t, t->k + row, d, key)), want_v = tern__f32_to_f16(t->v[row + d]);
          }
          cr_assert(t->cache[at] == want_k && t->cache[2 * t->values_at + at] == want_v,
                    "sequence %u head %u key %u value %u: %04x %04x, want %04x %04x", b, h, key, d, t->cache[at],
                    t->cache[2 * t->values_at + at], want_k, want_v);
        }
}

static double score_of(const step *t, const float *q, const uint16_t *k) {
  double score = 0;
  for (uint32_t d = 0; d < t->s.dim; d++) score += (double)q[d] * (double)tern__f16_to_f32(k[d]);
  score *= (double)scale_of(&t->s);
  return t->s.softcap > 0 ? (double)t->s.softcap * tanh(score / (double)t->s.softcap) : score;
}

/* One query's output; NULL: padding. */
static void expect_query(const step *t, uint32_t b, uint32_t row, uint32_t head, double *worst) {
  const shape *s = &t->s;
  uint64_t at = ((uint64_t)(b * s->rows + row) * s->kv_heads * s->group + head) * s->dim;
  const uint16_t *keys = t->cache + (uint64_t)(b * s->kv_heads + head / s->group) * t->capacity * s->dim;
  const uint16_t *values = keys + 2 * t->values_at;
  double sum[256] = {0}, total = 0;
  float q[256];
  if (row < t->fresh[b]) {
    for (uint32_t d = 0; d < s->dim; d++) q[d] = turned(t, t->q + at, d, t->past[b] + row);
    for (uint32_t key = 0; key < t->past[b] + t->fresh[b]; key++) {
      if (!sees(t, b, row, key)) continue;
      double weight = exp(score_of(t, q, keys + (uint64_t)key * s->dim));
      total += weight;
      for (uint32_t d = 0; d < s->dim; d++)
        sum[d] += weight * (double)tern__f16_to_f32(values[(uint64_t)key * s->dim + d]);
    }
  }
  for (uint32_t d = 0; d < s->dim; d++) {
    double want = total > 0 ? sum[d] / total : 0, error = fabs((double)t->y[at + d] - want);
    /* Values are below 1: float32's rounding of scores and sums. A NaN is no number within it. */
    cr_assert(error <= 5e-6, "sequence %u row %u head %u value %u of %u: %g, want %g", b, row, head, d, s->dim,
              (double)t->y[at + d], want);
    if (error > *worst) *worst = error;
  }
}

static double worst_seen;

static void check(rig *r, const shape *s, uint32_t batch) {
  step t;
  begin(&t, s, batch, 0);
  uint64_t halves = 2 * t.values_at + t.cache_n;
  uint16_t *sent = malloc(halves * 2);
  memcpy(sent, t.cache, halves * 2);
  run(r, &t);
  expect_cache(&t, sent);
  for (uint32_t b = 0; b < batch; b++)
    for (uint32_t row = 0; row < s->rows; row++)
      for (uint32_t head = 0; head < s->kv_heads * s->group; head++) expect_query(&t, b, row, head, &worst_seen);
  free(sent);
  end(&t);
}

static void open_device(rig *r) {
  rig_open(r, NULL, NULL);
  const tern__gpu_info *info = r->api->info(r->device);
  uint32_t needs = TERN__GPU_HAS_SUBGROUPS | TERN__GPU_HAS_COHERENT;
  if ((info->features & needs) == needs && tern__gpu_attention_unit(info)) return;
  printf("skipped: %s has subgroups of %u, features %x; the kernel needs 8 to 128 and %x\n", info->name,
         (unsigned)info->subgroup_max, (unsigned)info->features, (unsigned)needs);
  rig_close(r);
  cr_skip_test("the device cannot run the kernel");
}

Test(vk_attention_step, shapes) {
  static const uint32_t dims[] = {32, 64, 80, 96, 128, 256}, groups[] = {1, 3, 4, 8}, heads[] = {1, 3, 8};
  static const uint32_t pasts[] = {0, 62, 63, 64, 500}; /* contexts are one longer, at least */
  rig r;
  open_device(&r);
  uint32_t n = 0;
  for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
      for (size_t p = 0; p < sizeof pasts / sizeof *pasts; p++, n++) {
        shape s = {.kv_heads = heads[n % 3], .group = groups[g], .dim = dims[d], .past = pasts[p], .rows = 1,
                   .half = dims[d] / 2, .shares = (uint32_t[]){8, 1, 3, 64}[n % 4]};
        check(&r, &s, n % 2 ? 3 : 1);
      }
  printf("worst error %g\n", worst_seen);
  rig_close(&r);
}

Test(vk_attention_step, rows) {
  static const uint32_t queries[][2] = {{2, 1}, {2, 3}, {2, 4}, {3, 1}, {4, 1}, {4, 2}}; /* rows, group */
  static const uint32_t pasts[] = {0, 61, 63, 190};
  rig r;
  open_device(&r);
  for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
    for (size_t p = 0; p < sizeof pasts / sizeof *pasts; p++)
      for (uint32_t shares = 1; shares <= 5; shares += 2)
        for (uint32_t window = 0; window <= 70; window = window ? window * 35 : 2) {
          shape s = {.kv_heads = 2, .group = queries[i][1], .dim = i % 2 ? 64 : 128, .past = pasts[p],
                     .rows = queries[i][0], .half = 16, .shares = shares, .window = window, .interleaved = p % 2};
          check(&r, &s, p % 2 ? 3 : 1);
        }
  printf("worst error %g\n", worst_seen);
  rig_close(&r);
}

Test(vk_attention_step, rotations_windows_caps) {
  rig r;
  open_device(&r);
  uint32_t n = 0;
  for (uint32_t dim = 8; dim <= 256; dim += dim < 16 ? 8 : dim < 128 ? 24 : 64)
    for (uint32_t kind = 0; kind < 6; kind++, n++) {
      shape s = {.kv_heads = 2, .group = 1 + n % 4, .dim = dim, .past = 130 + n, .rows = 1 + n % 2,
                 .shares = 1 + n % 7, .half = kind == 0 ? 0 : kind % 2 ? dim / 2 / 4 * 4 : dim / 8 * 4 / 4 * 4,
                 .interleaved = kind > 3, .window = kind == 2 ? 1 : kind == 3 ? 100 : kind == 5 ? 64 : 0,
                 .softcap = kind == 1 ? 2.5f : kind == 4 ? 30.0f : 0};
      check(&r, &s, 1);
    }
  printf("worst error %g\n", worst_seen);
  rig_close(&r);
}

Test(vk_attention_step, shares) {
  rig r;
  open_device(&r);
  for (uint32_t shares = 1; shares <= 64; shares++) {
    shape s = {.kv_heads = 1, .group = 4, .dim = shares % 3 ? 64 : 32, .past = 40 * shares, .rows = 1,
               .half = 16, .shares = shares};
    check(&r, &s, 1);
  }
  static const uint32_t dims[] = {64, 128, 256};
  for (uint32_t i = 0; i < 3; i++)
    for (uint32_t shares = 16; shares <= 64; shares *= 2) {
      shape s = {.kv_heads = i ? 1 : 3, .group = 4, .dim = dims[i], .past = 4095, .rows = 1, .half = dims[i] / 2,
                 .shares = shares};
      check(&r, &s, 1);
    }
  printf("worst error %g\n", worst_seen);
  rig_close(&r);
}

/* A sequence alone, and in a batch. */
Test(vk_attention_step, the_batch_does_not_matter) {
  static const uint32_t dims[] = {64, 96, 256};
  rig r;
  open_device(&r);
  for (uint32_t i = 0; i < 3; i++) {
    shape s = {.kv_heads = 3, .group = 3, .dim = dims[i], .past = 300, .rows = 2, .half = 16, .shares = 4};
    step all;
    begin(&all, &s, 3, 0);
    run(&r, &all);
    for (uint32_t b = 0; b < 3; b++) {
      step alone;
      begin(&alone, &s, 1, b);
      run(&r, &alone);
      cr_assert(!memcmp(alone.y, all.y + alone.q_n * b, alone.q_n * 4), "sequence %u, heads of %u", b, dims[i]);
      end(&alone);
    }
    end(&all);
  }
  rig_close(&r);
}

/* Several rows at once, and one after the other. */
Test(vk_attention_step, the_rows_do_not_matter) {
  static const uint32_t queries[][2] = {{2, 3}, {2, 4}, {4, 1}, {4, 2}}; /* rows, group */
  rig r;
  open_device(&r);
  for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
    for (uint32_t past = 60; past < 190; past += 64) {
      uint32_t rows = queries[i][0];
      shape s = {.kv_heads = 2, .group = queries[i][1], .dim = 64, .past = past, .rows = rows, .half = 32, .shares = 3};
      step all;
      begin(&all, &s, 1, 0);
      run(&r, &all);
      for (uint32_t row = 0; row < rows; row++) {
        shape one = s;
        one.rows = 1, one.past = past + row;
        step alone;
        begin(&alone, &one, 1, 0);
        for (uint32_t h = 0; h < s.kv_heads; h++) /* the rows before it are in the cache */
          for (uint32_t part = 0; part < 2; part++)
            memcpy(alone.cache + part * 2 * alone.values_at + (uint64_t)h * alone.capacity * s.dim,
                   all.cache + part * 2 * all.values_at + (uint64_t)h * all.capacity * s.dim, one.past * s.dim * 2);
        run(&r, &alone);
        cr_assert(!memcmp(alone.y, all.y + alone.q_n * row, alone.q_n * 4), "row %u of %u, %u a head of keys, past %u", row,
                  rows, s.group, past);
        end(&alone);
      }
      end(&all);
    }
  rig_close(&r);
}
