/* What makes halves of rows for linear_matrix.wgsl: kernels/linear_half.wgsl, and norms (below), as they are chosen only
 * before kernels that no software driver runs: alone, on any driver with subgroups. A row comes as float16 times a
 * power of two, in the order that linear_matrix.wgsl takes. */
#include <stddef.h>

#include "base/half.h"
#include "vk_rig.h"

typedef struct half_params { uint32_t rows, cells, norm; float epsilon; } half_params; /* as the kernel's */

enum { SPARE = 256 };

static float value_of(uint32_t row, uint32_t i) {
  static const float sizes[] = {1.0f, 1e-30f, 3e30f, 7e4f, 0.0f}; /* of a row's values */
  int32_t n = (int32_t)((row * 7919u + i * 104729u) % 2003u) - 1001;
  float x = (float)n / 1001.0f * sizes[row % 5];
  return i % 97 == 13 ? x * 1e-3f : x;
}

static float scale_of(uint32_t i) { return 0.25f + (float)(i * 31u % 17u) / 8.0f; }

static uint16_t half_at(const uint32_t *y, uint32_t n, uint32_t row, uint32_t i) {
  static const uint32_t order[4] = {0, 2, 1, 3};
  uint32_t at = row * n + i / 4 * 4 + order[i % 4];
  return (uint16_t)(y[at / 2] >> 16 * (at % 2));
}

static void check_row(const uint32_t *y, uint32_t rows, uint32_t n, uint32_t row, bool norm, float epsilon) {
  double squares = 0, top = 0;
  float scale;
  memcpy(&scale, &y[rows * n / 2 + row], sizeof scale);
  int exponent;
  cr_assert_eq(frexpf(scale, &exponent), 0.5f, "n %u row %u: %g is no power of two", n, row, (double)scale);
  for (uint32_t i = 0; i < n; i++) squares += (double)value_of(row, i) * value_of(row, i);
  double inverse = norm ? 1 / sqrt(squares / n + (double)epsilon) : 1;
  for (uint32_t i = 0; i < n; i++) {
    double want = value_of(row, i) * inverse * (norm ? (double)scale_of(i) : 1);
    uint16_t bits = half_at(y, n, row, i);
    double half = (double)tern__f16_to_f32(bits), got = half * (double)scale;
    top = fabs(half) > top ? fabs(half) : top;
    /* 11 bits; below float16's normal numbers half of their last place; and what float32 rounds before that. */
    double bound = fabs(want) * (0x1p-11 + 1e-6) + 0x1p-25 * (double)scale;
    cr_assert(fabs(got - want) <= bound, "n %u row %u value %u: %g, want %g", n, row, i, got, want);
  }
  bool zero = squares == 0;
  cr_expect(zero ? top == 0 : top >= 1024 && top <= 2048, "n %u row %u: the largest is %g", n, row, top);
}

static void check(rig *r, uint32_t rows, uint32_t n, bool norm) {
  uint64_t x_bytes = (uint64_t)rows * n * 4, y_bytes = (uint64_t)rows * n * 2 + (rows + 3) / 4 * 16;
  float *x = malloc(x_bytes), *scale = malloc(n * 4);
  tern__gpu_buffer *x_there, *y_there, *scale_there, *back;
  tern__gpu_pipeline *pipeline;
  tern__gpu_commands *c;
  uint64_t ticket;
  for (uint32_t row = 0; row < rows; row++)
    for (uint32_t i = 0; i < n; i++) x[row * n + i] = value_of(row, i);
  for (uint32_t i = 0; i < n; i++) scale[i] = scale_of(i);
  OK(r->api->buffer_create(r->device, TERN__GPU_DEVICE, x_bytes, &x_there));
  OK(r->api->buffer_create(r->device, TERN__GPU_DEVICE, y_bytes + SPARE, &y_there));
  OK(r->api->buffer_create(r->device, TERN__GPU_DEVICE, n * 4, &scale_there));
  OK(r->api->buffer_create(r->device, TERN__GPU_READBACK, y_bytes, &back));
  OK(r->api->write(r->device, x_there, 0, x, x_bytes));
  OK(r->api->write(r->device, scale_there, 0, scale, n * 4));
  OK(r->api->pipeline(r->device, TERN__KERNEL_linear_half, &pipeline));
  OK(r->api->commands_create(r->device, &c));
  tern__gpu_range ranges[] = {{x_there, 0, x_bytes}, {y_there, 0, y_bytes}, {scale_there, 0, n * 4}};
  half_params params = {rows, n / 4, norm, 1e-5f};
  OK(r->api->dispatch(c, &(tern__gpu_dispatch){pipeline, ranges, &params, {2, (rows + 1) / 2, 1}}));
  OK(r->api->barrier(c));
  tern__gpu_range from = {y_there, 0, y_bytes}, to = {back, 0, y_bytes};
  OK(r->api->copy(c, &from, &to));
  OK(r->api->commands_finish(c));
  OK(r->api->submit(r->device, c, &ticket));
  OK(r->api->wait(r->device, ticket, UINT64_MAX));
  OK(r->api->invalidate(r->device, &to));
  /* With a norm rows of 1e-30 vanish beside epsilon, those of 3e30 overflow in its squares, as they do in norm.wgsl. */
  for (uint32_t row = 0; row < rows; row++)
    if (!norm || row % 5 == 0 || row % 5 == 3) check_row(r->api->buffer_host(back), rows, n, row, norm, 1e-5f);
  r->api->commands_destroy(c);
  r->api->buffer_destroy(r->device, x_there);
  r->api->buffer_destroy(r->device, y_there);
  r->api->buffer_destroy(r->device, scale_there);
  r->api->buffer_destroy(r->device, back);
  free(x), free(scale);
}

Test(vk_linear_half, rows) {
  static const uint32_t sizes[][2] = {{1, 32}, {5, 576}, {7, 2048}, {10, 8192}};
  rig r;
  rig_open(&r, NULL, NULL);
  if (!(r.api->info(r.device)->features & TERN__GPU_HAS_SUBGROUPS)) {
    rig_close(&r);
    cr_skip_test("the driver has no subgroups");
  }
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int norm = 0; norm < 2; norm++) check(&r, sizes[i][0], sizes[i][1], norm);
  rig_close(&r);
}

/* ---- norms that store halves of their rows ---- */

typedef struct norm_params { uint32_t rows, cells, skip_cells, flags; float n, epsilon, up; } norm_params;

enum { NORM_ROWS = 5, NORM_N = 96, NORM_COUNT = NORM_ROWS * NORM_N, CENTRED = 1, HAS_BIAS = 2, HALVES = 16,
       NO_FLOATS = 32, MOST_BINDINGS = 8 };

/* One norm of x (and skip) with `flags`: y, then halves, into `out`. */
static void run_norm(rig *r, bool skip, uint32_t flags, float *y, uint32_t *halves) {
  const uint64_t bytes = NORM_COUNT * 4, place = 2048;
  float data[MOST_BINDINGS][NORM_COUNT];
  tern__gpu_buffer *there, *back;
  tern__gpu_pipeline *pipeline;
  tern__gpu_commands *c;
  uint64_t ticket;
  tern__gpu_range ranges[MOST_BINDINGS], to = {NULL, 0, 2 * place};
  tern__gpu_kernel_id kernel = skip ? TERN__KERNEL_skip_norm_quads : TERN__KERNEL_norm_quads;
  int last = skip ? 7 : 4;
  OK(r->api->buffer_create(r->device, TERN__GPU_DEVICE, MOST_BINDINGS * place, &there));
  OK(r->api->buffer_create(r->device, TERN__GPU_READBACK, 2 * place, &back));
  for (int b = 0; b < MOST_BINDINGS; b++) {
    for (uint32_t i = 0; i < NORM_COUNT; i++) data[b][i] = value_of((uint32_t)b * 5, i * 13 + 1);
    OK(r->api->write(r->device, there, (uint64_t)b * place, data[b], bytes));
    ranges[b] = (tern__gpu_range){there, (uint64_t)b * place, bytes};
  }
  OK(r->api->pipeline(r->device, kernel, &pipeline));
  OK(r->api->commands_create(r->device, &c));
  norm_params params = {NORM_ROWS, NORM_N / 4, NORM_COUNT / 4, flags, NORM_N, 1e-5f, 1024};
  OK(r->api->dispatch(c, &(tern__gpu_dispatch){pipeline, ranges, &params, {NORM_ROWS, 1, 1}}));
  OK(r->api->barrier(c));
  to.buffer = back, to.size = bytes;
  OK(r->api->copy(c, &ranges[3], &to));
  to.offset = place, to.size = NORM_COUNT * 2;
  OK(r->api->copy(c, &(tern__gpu_range){there, (uint64_t)last * place, NORM_COUNT * 2}, &to));
  OK(r->api->commands_finish(c));
  OK(r->api->submit(r->device, c, &ticket));
  OK(r->api->wait(r->device, ticket, UINT64_MAX));
  OK(r->api->invalidate(r->device, &(tern__gpu_range){back, 0, 2 * place}));
  memcpy(y, r->api->buffer_host(back), bytes);
  memcpy(halves, (uint8_t *)r->api->buffer_host(back) + place, NORM_COUNT * 2);
  r->api->commands_destroy(c);
  r->api->buffer_destroy(r->device, there);
  r->api->buffer_destroy(r->device, back);
}

/* Halves are y times the power of two; y itself is stored beside them, or not. */
Test(vk_linear_half, norms) {
  rig r;
  rig_open(&r, NULL, NULL);
  for (int skip = 0; skip < 2; skip++) {
    static float y[NORM_COUNT], same[NORM_COUNT], before[NORM_COUNT];
    static uint32_t halves[NORM_COUNT / 2], alone[NORM_COUNT / 2];
    uint32_t flags = CENTRED | HAS_BIAS;
    run_norm(&r, skip, flags, y, halves);
    run_norm(&r, skip, flags | HALVES, same, halves);
    cr_expect_eq(memcmp(y, same, sizeof y), 0, "y is another one beside halves");
    run_norm(&r, skip, flags | HALVES | NO_FLOATS, before, alone);
    cr_expect_eq(memcmp(alone, halves, sizeof halves), 0, "halves alone are others");
    for (uint32_t i = 0; i < NORM_COUNT; i++) {
      double want = (double)y[i] * 1024, got = (double)tern__f16_to_f32(half_at(halves, NORM_N, i / NORM_N, i % NORM_N));
      cr_assert(fabs(got - want) <= fabs(want) * 0x1p-11 + 0x1p-25, "value %u: %g, want %g", i, got, want);
      cr_assert_eq(before[i], value_of(15, i * 13 + 1), "y is stored all the same");
    }
  }
  rig_close(&r);
}
