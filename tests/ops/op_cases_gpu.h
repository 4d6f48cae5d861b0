/* Cases of ops that the GPU has kernels for and the CPU backend has not (it runs their references): quantization,
 * products of 8 bits in all forms, tables of quantized rows. And what is special to a GPU: rows that must not depend
 * on their number, and operands beyond one binding. Included after op_cases.h. */
#ifndef TERN_TESTS_OP_CASES_GPU_H
#define TERN_TESTS_OP_CASES_GPU_H

#include "ops/op_cases.h"

static void set_values(float *x, size_t n, float factor, float add) {
  for (size_t i = 0; i < n; i++) x[i] = x[i] * factor + add;
}

Test(quantize, linear) {
  const tern_dtype types[] = {TERN_DTYPE_U8, TERN_DTYPE_I8};
  for (int kind = 0; kind < 2; kind++)
    for (int per_axis = 0; per_axis < 2; per_axis++)
      for (int zero = 0; zero < 2; zero++) {
        one_op t;
        begin(&t, "QuantizeLinear", "", 13);
        float *x = input(&t, TERN_DTYPE_F32, 3, 5, 7, 33);
        set_values(x, 5 * 7 * 33, 40, 0);
        float *scale = per_axis ? constant(&t, TERN_DTYPE_F32, 1, 7) : constant(&t, TERN_DTYPE_F32, 0);
        for (int i = 0; i < (per_axis ? 7 : 1); i++) scale[i] = fabsf(scale[i]) + 0.03125f;
        for (int i = 0; i < 33; i++) x[i] = ((float)(i - 16) + 0.5f) * scale[0]; /* ties go to even */
        x[40] = 1e30f, x[41] = -1e30f;
        if (kind || zero) per_axis ? constant(&t, types[kind], 1, 7) : constant(&t, types[kind], 0);
        node(&t, 1, 13);
        check(&t, 0, per_axis ? "per axis" : "per tensor");
        end(&t);
      }
}

Test(quantize, back) {
  const tern_dtype types[] = {TERN_DTYPE_U8, TERN_DTYPE_I8, TERN_DTYPE_I32};
  for (int kind = 0; kind < 3; kind++)
    for (int per_axis = 0; per_axis < 2; per_axis++)
      for (int zero = 0; zero < 2; zero++) {
        one_op t;
        begin(&t, "DequantizeLinear", "", 13);
        int32_t *x = input(&t, types[kind], 3, 5, 7, 33);
        for (int i = 0; kind == 2 && i < 5 * 7 * 33; i++) x[i] %= 1 << 20; /* sums of a product: exact as floats */
        per_axis ? constant(&t, TERN_DTYPE_F32, 1, 7) : constant(&t, TERN_DTYPE_F32, 0);
        if (zero && kind < 2) per_axis ? constant(&t, types[kind], 1, 7) : constant(&t, types[kind], 0);
        node(&t, 1, 13);
        check(&t, 0, per_axis ? "per axis" : "per tensor");
        end(&t);
      }
}

Test(quantize, product_of_computed_bytes) {
  const tern_dtype types[] = {TERN_DTYPE_U8, TERN_DTYPE_I8};
  for (int a = 0; a < 2; a++)
    for (int b = 0; b < 2; b++)
      for (int zeros = 0; zeros < 2; zeros++) {
        one_op t;
        begin(&t, "MatMulInteger", "", 10);
        input(&t, types[a], 2, 13, 70);
        input(&t, types[b], 2, 70, 131);
        if (zeros) input(&t, types[a], 1, 13), input(&t, types[b], 1, 131);
        node(&t, 1, 10);
        check(&t, 0, zeros ? "a zero point per row and column" : "no zero points");
        end(&t);
      }
}

Test(quantize, product_to_float) {
  for (int many = 0; many < 2; many++) {
    one_op t;
    begin(&t, "MatMulIntegerToFloat", "com.microsoft", 1);
    input(&t, TERN_DTYPE_U8, 3, 2, 7, 65);
    constant(&t, TERN_DTYPE_I8, 2, 65, 33);
    input(&t, TERN_DTYPE_F32, 0);
    if (many) constant(&t, TERN_DTYPE_F32, 1, 33);
    else constant(&t, TERN_DTYPE_F32, 0);
    input(&t, TERN_DTYPE_U8, 0);
    if (many) constant(&t, TERN_DTYPE_I8, 1, 33);
    else constant(&t, TERN_DTYPE_I8, 0);
    constant(&t, TERN_DTYPE_F32, 1, 33);
    node(&t, 1, 1);
    check(&t, 1e-7, many ? "per column" : "per tensor"); /* one rounding more or less: scale, sum */
    end(&t);
    begin(&t, "DynamicQuantizeMatMul", "com.microsoft", 1);
    input(&t, TERN_DTYPE_F32, 3, 2, 7, 65);
    constant(&t, many ? TERN_DTYPE_I8 : TERN_DTYPE_U8, 2, 65, 33);
    if (many) constant(&t, TERN_DTYPE_F32, 1, 33);
    else constant(&t, TERN_DTYPE_F32, 0);
    node(&t, 1, 1);
    check(&t, 1e-7, many ? "per column" : "per tensor");
    end(&t);
  }
}

Test(quantize, bitsandbytes) {
  const int sizes[][4] = {{1, 64, 19, 64}, {7, 96, 33, 32}, {3, 384, 5, 128}};
  for (int type = 0; type < 2; type++)
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      const int *z = sizes[s];
      one_op t;
      begin(&t, "MatMulBnb4", "com.microsoft", 1);
      input(&t, TERN_DTYPE_F32, 2, z[0], z[1]);
      constant(&t, TERN_DTYPE_U8, 1, z[1] * z[2] / 2);
      constant(&t, TERN_DTYPE_F32, 1, z[1] * z[2] / z[3] + (z[1] * z[2] % z[3] != 0));
      node(&t, 1, 1);
      set_int(&t, "N", z[2]), set_int(&t, "K", z[1]), set_int(&t, "block_size", z[3]), set_int(&t, "quant_type", type);
      check(&t, f32_error, type ? "NF4" : "FP4");
      end(&t);
    }
}

/* ---- tables ---- */

static void table_case(tern_dtype dtype, tern_dtype index, int rows, int k) {
  one_op t;
  begin(&t, "Gather", "", 13);
  void *table = constant(&t, dtype, 2, rows, k);
  if (tern__dtype_is_block(dtype)) fill_blocks(table, dtype, t.graph->values[t.ids[0]].size_bytes);
  uint8_t *indices = input(&t, index, 2, 3, 4);
  for (int i = 0; i < 12; i++) {
    int64_t wide = i == 5 ? -1 : i == 7 ? -rows : (i * 37) % rows;
    int32_t narrow = (int32_t)wide;
    if (index == TERN_DTYPE_I64) memcpy(indices + 8 * i, &wide, 8);
    else memcpy(indices + 4 * i, &narrow, 4);
  }
  node(&t, 1, 13);
  check(&t, 1e-7, tern_dtype_name(dtype)); /* scale * q + min rounds once or twice */
  end(&t);
}

Test(table, blocks) {
  for (tern_dtype d = TERN_DTYPE_Q4_0; d <= TERN_DTYPE_Q6_K; d++)
    table_case(d, d % 2 ? TERN_DTYPE_I64 : TERN_DTYPE_I32, 200, 512);
}

Test(table, block_quantized) {
  for (int bits = 4; bits <= 8; bits += 4)
    for (int block = 16; block <= 128; block *= 2)
      for (int zeros = 0; zeros < 2; zeros++) {
        one_op t;
        begin(&t, "GatherBlockQuantized", "com.microsoft", 1);
        constant(&t, TERN_DTYPE_U8, 2, 50, 384 * bits / 8);
        int64_t *indices = input(&t, TERN_DTYPE_I64, 2, 2, 3);
        for (int i = 0; i < 6; i++) indices[i] = i == 4 ? -3 : i * 9;
        constant(&t, zeros ? TERN_DTYPE_F16 : TERN_DTYPE_F32, 2, 50, 384 / block);
        if (zeros) constant(&t, TERN_DTYPE_U8, 2, 50, (384 / block * bits + 7) / 8);
        node(&t, 1, 1);
        set_int(&t, "bits", bits), set_int(&t, "block_size", block), set_int(&t, "gather_axis", 0),
            set_int(&t, "quantize_axis", 1);
        check(&t, 3e-7, zeros ? "zero points" : "centred"); /* as above; less cancels with zero points */
        end(&t);
      }
}

/* ---- beyond one binding ---- */

Test(split, weights_and_outputs) {
  binding_limit = 64 * 1024;
  linear_case(TERN_DTYPE_F32, 1, 96, 700, true, TERN_NUMERICS_CONSISTENT);
  linear_case(TERN_DTYPE_F32, 150, 96, 70, true, TERN_NUMERICS_CONSISTENT);
  linear_case(TERN_DTYPE_F16, 3, 33, 3000, false, TERN_NUMERICS_CONSISTENT);
  linear_case(TERN_DTYPE_Q4_0, 200, 96, 200, true, TERN_NUMERICS_CONSISTENT);
  linear_case(TERN_DTYPE_Q5_1, 5, 96, 3100, true, TERN_NUMERICS_CONSISTENT);
  linear_case(TERN_DTYPE_Q6_K, 1, 256, 1000, true, TERN_NUMERICS_CONSISTENT);
  linear_case(TERN_DTYPE_Q8_0, 1, 96, 1000, false, TERN_NUMERICS_CONSISTENT);
  table_case(TERN_DTYPE_Q4_1, TERN_DTYPE_I64, 700, 512);
  one_op t;
  begin(&t, "MatMulInteger", "", 10);
  input(&t, TERN_DTYPE_U8, 2, 5, 333);
  constant(&t, TERN_DTYPE_I8, 2, 333, 490);
  input(&t, TERN_DTYPE_U8, 0);
  constant(&t, TERN_DTYPE_I8, 1, 490);
  node(&t, 1, 10);
  check(&t, 0, "columns of 360 bytes");
  end(&t);
  binding_limit = 0;
}

/* A layer's keys are bound some heads at a time, of several sequences or within one. */
static void kv_split_case(uint64_t limit, int batch, int rows, int past, int heads, int kv_heads, int dim, int half) {
  binding_limit = limit;
  kv_case(batch, rows, past, rows, heads, kv_heads, dim, half, false, -1, 0);
  binding_limit = 0;
}

Test(split, kv_cache) {
  kv_split_case(200000, 3, 1, 700, 6, 3, 64, 32);  /* 2 of 9 at a time: 90 KB each, and every other one is aligned */
  kv_split_case(100000, 1, 5, 697, 9, 3, 64, 32);  /* 1 of 3 */
  kv_split_case(100000, 2, 2, 300, 12, 12, 17, 8); /* 8 of 24: an odd number of values */
  kv_split_case(90000, 2, 20, 234, 4, 2, 128, 64); /* 1 of 4, many new rows */
}

Test(split, a_head_of_keys_beyond_a_binding_is_refused) {
  one_op t;
  tern__pack_cache *cache;
  tern__session_plan *plan;
  kv_build(&t, &(kv_shape){1, 1, 300, 1, 2, 1, 64, 0, false, -1, 0});
  t.binding_limit = 303 * 64 * 2 - 4;
  machine *at = open_machine(&t);
  cr_assert_eq(tern__pack_cache_create(&t.alloc, &cache), TERN_OK);
  tern__plan_options options = {.api = &GPU_BACKEND, .backend = at->gpu, .host_api = &tern__backend_cpu,
                                .host_backend = at->cpu, .cache = cache, .kv = t.kv, .n_threads = 1,
                                .all_on_device = true};
  cr_assert_eq(tern__plan_create(&t.alloc, t.graph, t.feeds, &options, &plan), TERN_STATUS_UNSUPPORTED);
  for (int i = 0; i < 3; i++) {
    static const char *const parts[] = {"KvAttention", "of a head's keys for 303 positions", "shorter context"};
    cr_expect(strstr(tern_last_error(), parts[i]), "no '%s' in: %s", parts[i], tern_last_error());
  }
  tern__pack_cache_destroy(cache);
  end(&t);
}

Test(split, kv_layers_over_several_buffers) {
  enum { LAYERS = 5 };
  one_op t = {0};
  int32_t heads[LAYERS] = {1, 1, 2, 1, 3}, dim[LAYERS] = {64, 64, 64, 64, 64}; /* 2, 2, 4, 2, 6 KiB */
  const int wanted[LAYERS] = {0, 0, 1, 1, 2}; /* with 6 KiB a buffer */
  tern__kv_layout layout = {LAYERS, heads, dim};
  tern__kv_cache *cache;
  tern__device_memory *memory;
  machine *at = open_machine(&t);
  uint64_t limit = at->gpu->info->max_buffer_bytes;
  cr_assert_eq(tern__kv_cache_create(&m.alloc, &layout, 1, 8, false, &cache), TERN_OK);
  at->gpu->info->max_buffer_bytes = 6 * 1024;
  cr_assert_eq(GPU_BACKEND.device->kv_create(at->gpu, cache, &memory), TERN_OK, "%s", tern_last_error());
  at->gpu->info->max_buffer_bytes = limit;
  for (int l = 0, n = 0; l < LAYERS; l++) {
    if (l && memory->layers[l] != memory->layers[l - 1]) n++;
    cr_expect_eq(n, wanted[l], "layer %d lies in buffer %d", l, n);
    cr_expect_eq(memory->v[l], memory->k[l] + 1024u * (uint64_t)heads[l]);
  }
  cr_expect_eq(memory->size, 16 * 1024);
  GPU_BACKEND.device->memory_destroy(at->gpu, memory);
  tern__kv_cache_destroy(&m.alloc, cache);
}

/* ---- the largest of rows in place of all ---- */

typedef struct ranked { float value; int32_t place; } ranked;

/* NaN first, then the larger, then the first. */
static int compare_ranked(const void *x, const void *y) {
  const ranked *a = x, *b = y;
  int nan = isnan(b->value) - isnan(a->value);
  if (nan) return nan;
  if (a->value != b->value && !isnan(a->value)) return a->value < b->value ? 1 : -1;
  return a->place < b->place ? -1 : a->place > b->place;
}

static void check_largest(const float *x, const tern__top *got, int rows, int width, int k, const char *what) {
  ranked *want = malloc((size_t)width * sizeof *want);
  cr_assert(got->rows == rows && got->k == k, "%s: %d of %d rows", what, got->k, got->rows);
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < width; i++) want[i] = (ranked){x[(size_t)r * (size_t)width + (size_t)i], i};
    qsort(want, (size_t)width, sizeof *want, compare_ranked);
    for (int i = 0; i < k; i++) {
      float value = got->values[r * k + i];
      cr_assert_eq(got->places[r * k + i], want[i].place, "%s, %d x %d: number %d of row %d is at %d, not at %d", what,
                   rows, width, i, r, got->places[r * k + i], want[i].place);
      cr_assert(value == want[i].value || (isnan(value) && isnan(want[i].value)), "%s: %g, not %g", what, value,
                want[i].value);
    }
  }
  free(want);
}

enum { PLAIN_VALUES, TIES, ALL_LOW, ONE_NAN, MANY_NANS, VALUE_KINDS };

static void fill_to_rank(float *x, size_t n, int kind) {
  for (size_t i = 0; i < n; i++) {
    uint32_t dice = (uint32_t)((noise() + 1) * 4096);
    if (kind == TIES) x[i] = (float)(dice % 3) - 1, x[i] = dice % 3 == 1 && dice & 64 ? -0.0f : x[i];
    else if (kind == ALL_LOW) x[i] = INFINITY; /* negated */
    else if (kind == ONE_NAN) x[i] = i == n - 1 ? NAN : noise();
    else if (kind == MANY_NANS) x[i] = dice % 97 == 5 ? (dice & 1 ? NAN : -NAN) : dice % 89 == 4 ? INFINITY : noise();
  }
}

static void rank_case(int rows, int width, int k, int kind) {
  one_op t;
  machine *at;
  tern__pack_cache *cache;
  tern__session_plan *plan;
  tern__device_memory *arena = NULL;
  tern__top top;
  const tern__device_api *device = GPU_BACKEND.device;
  begin(&t, "Neg", "", 13);
  float *x = input(&t, TERN_DTYPE_F32, 2, rows, width);
  size_t n = (size_t)rows * (size_t)width;
  fill_to_rank(x, n, kind);
  node(&t, 1, 13);
  at = open_machine(&t);
  tern__gpu_info *info = at->gpu->info;
  bool binds = info->binds_readback;
  cr_assert_eq(tern__pack_cache_create(&t.alloc, &cache), TERN_OK);
  tern__plan_options options = {.api = &GPU_BACKEND, .backend = at->gpu, .host_api = &tern__backend_cpu,
                                .host_backend = at->cpu, .cache = cache, .n_threads = 1, .all_on_device = true};
  cr_assert_eq(tern__plan_create(&t.alloc, t.graph, t.feeds, &options, &plan), TERN_OK, "%s", tern_last_error());
  tern__program *program = plan->segments[0].program;
  cr_assert_eq(tern__gpu_prepare(program, NULL, NULL), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(device->memory_create(at->gpu, plan->device_bytes, &arena), TERN_OK, "%s", tern_last_error());
  uint8_t *memory = malloc(plan->activation_bytes + 64);
  float *want = malloc(n * sizeof *want);
  tern__plan_bind(plan, memory);
  tern__plan_bind_input(plan, 0, t.feeds[0].data);
  const float *y = plan->base.views[t.outs[0]].data;
  for (size_t i = 0; i < n; i++) want[i] = -x[i];
  /* With a copy to the host, without one where that can be, and all of it once more. */
  for (int way = 0; way < (binds ? 3 : 2); way++) {
    const char *what = way == 0 ? "copied" : way == 1 ? "all" : "where the host reads";
    tern__run_args args = {0};
    info->binds_readback = way == 2;
    cr_assert_eq(device->want_top(program, t.outs[0], way == 1 ? 0 : k), way != 1);
    cr_assert_eq(device->bind(program, arena, NULL), TERN_OK, "%s", tern_last_error());
    memset(memory, 0xff, plan->activation_bytes);
    for (int twice = 0; twice < 2; twice++)
      cr_assert_eq(tern__gpu_run(program, &args), TERN_OK, "%s", tern_last_error());
    cr_assert_eq(device->top(program, &top), way != 1);
    if (way != 1) check_largest(want, &top, rows, width, k, what);
    if (way != 1) cr_assert_eq(device->fetch(program, NULL), TERN_OK, "%s", tern_last_error());
    for (size_t i = 0; i < n; i++)
      cr_assert(y[i] == want[i] || (isnan(y[i]) && isnan(want[i])), "%s: value %zu is %g, not %g", what, i, y[i],
                want[i]);
  }
  info->binds_readback = binds;
  tern__plan_destroy(&t.alloc, plan);
  tern__pack_cache_destroy(cache);
  device->memory_destroy(at->gpu, arena);
  free(memory), free(want);
  end(&t);
}

Test(largest, one) {
  const int sizes[][2] = {{1, 4}, {1, 255}, {1, 257}, {3, 1024}, {2, 1025}, {5, 4095}, {1, 4096}, {3, 4097},
                          {7, 5003}, {256, 40}, {1, 49152}, {1, 262147}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int kind = 0; kind < VALUE_KINDS; kind++) rank_case(sizes[s][0], sizes[s][1], 1, kind);
  rank_case(1, 1100003, 1, TIES); /* more than 256 are left to the second pass */
}

Test(largest, several) {
  const int sizes[][3] = {{1, 8, 2}, {1, 1000, 250}, {3, 1024, 7}, {2, 4099, 56}, {4, 2047, 256}, {1, 49152, 65},
                          {200, 260, 2}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int kind = 0; kind < VALUE_KINDS; kind++) rank_case(sizes[s][0], sizes[s][1], sizes[s][2], kind);
}

/* ---- which kernel ---- */

/* What attention would be computed by, were the device one of so many invocations a subgroup with all features and
 * `shared` bytes of workgroup memory: it only plans. */
typedef struct planned { bool matrices, step; } planned;

static planned plan_attention(one_op *t, uint32_t subgroup, uint32_t shared, uint32_t features) {
  tern__pack_cache *cache;
  tern__session_plan *plan;
  machine *at = open_machine(t);
  tern__gpu_info *info = at->gpu->info, before = *info;
  info->software = false, info->subgroup_min = info->subgroup_max = subgroup, info->shared_bytes = shared;
  info->max_invocations = 256, info->features = features;
  cr_assert_eq(tern__pack_cache_create(&t->alloc, &cache), TERN_OK);
  tern__plan_options options = {.api = &GPU_BACKEND, .backend = at->gpu, .host_api = &tern__backend_cpu,
                                .host_backend = at->cpu, .cache = cache, .kv = t->kv, .numerics = t->numerics,
                                .n_threads = 1, .all_on_device = true};
  cr_assert_eq(tern__plan_create(&t->alloc, t->graph, t->feeds, &options, &plan), TERN_OK, "%s", tern_last_error());
  tern__program *program = plan->segments[0].program;
  bool step = !strncmp(tern__gpu_kernels[program->steps[0].kernel].name, "attention_step", 14);
  cr_expect(!step || (tern__array_count(program->steps) == 1 && program->kept_bytes > 0));
  planned by = {uses_matrices(program), step};
  tern__plan_destroy(&t->alloc, plan);
  tern__pack_cache_destroy(cache);
  *info = before;
  return by;
}

Test(attention, matrices_are_chosen) {
  static const struct {
    kv_shape s;
    tern_numerics numerics;
    uint32_t subgroup, shared;
    bool wanted;
  } cases[] = {
      {{1, 16, 0, 16, 1, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 32, 49152, true},
      {{2, 5, 90, 5, 12, 3, 32, 16, true, 20, 5}, TERN_NUMERICS_FAST, 32, 49152, true},
      {{1, 70, 0, 70, 8, 1, 128, 64, false, -1, 0}, TERN_NUMERICS_FAST, 32, 32768, true},
      {{1, 70, 0, 70, 8, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 32, 32768, false}, /* memory */
      {{1, 70, 0, 70, 8, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 64, 65536, false}, /* subgroups */
      {{1, 70, 0, 70, 8, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_CONSISTENT, 32, 49152, false},
      {{1, 15, 0, 15, 2, 2, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 32, 49152, false}, /* few queries, */
      {{1, 4, 0, 4, 8, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 32, 49152, false},   /* or rows that it stores */
      {{1, 70, 0, 70, 2, 1, 80, 40, false, -1, 0}, TERN_NUMERICS_FAST, 32, 32768, true},
      {{1, 70, 0, 70, 2, 1, 36, 18, false, -1, 0}, TERN_NUMERICS_FAST, 32, 49152, false}, /* heads */
      {{1, 70, 0, 70, 2, 1, 256, 128, false, -1, 0}, TERN_NUMERICS_FAST, 32, 49152, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    one_op t;
    kv_shape s = cases[i].s;
    kv_build(&t, &s);
    t.numerics = cases[i].numerics;
    planned by = plan_attention(&t, cases[i].subgroup, cases[i].shared, ~0u);
    cr_expect_eq(by.matrices, cases[i].wanted, "case %zu", i);
    end(&t);
  }
}

Test(attention, one_dispatch_is_chosen) {
  static const struct {
    kv_shape s;
    tern_numerics numerics;
    uint32_t subgroup, shared, features;
    bool wanted;
  } cases[] = {
      {{1, 1, 600, 1, 32, 8, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 32, 16384, ~0u, true},
      {{3, 2, 600, 2, 8, 2, 128, 64, true, 90, 5}, TERN_NUMERICS_FAST, 64, 32768, ~0u, true},
      {{1, 1, 0, 1, 8, 1, 80, 0, false, -1, 0}, TERN_NUMERICS_FAST, 8, 32768, ~0u, true},
      {{1, 1, 600, 1, 8, 1, 256, 128, false, -1, 0}, TERN_NUMERICS_FAST, 32, 32768, ~0u, true},
      {{1, 1, 600, 1, 8, 1, 256, 128, false, -1, 0}, TERN_NUMERICS_FAST, 32, 16384, ~0u, false}, /* memory */
      {{1, 1, 600, 1, 8, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 4, 16384, ~0u, false},    /* subgroups */
      {{1, 1, 600, 1, 8, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 32, 16384,
       ~(uint32_t)TERN__GPU_HAS_COHERENT, false},
      {{1, 1, 600, 1, 8, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_CONSISTENT, 32, 16384, ~0u, false},
      {{1, 1, 600, 1, 9, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 32, 16384, ~0u, false},   /* queries */
      {{1, 5, 600, 5, 1, 1, 64, 32, false, -1, 0}, TERN_NUMERICS_FAST, 32, 16384, ~0u, false},   /* rows */
      {{1, 1, 600, 1, 8, 1, 36, 16, false, -1, 0}, TERN_NUMERICS_FAST, 32, 16384, ~0u, false},   /* heads */
      {{1, 1, 600, 1, 8, 1, 64, 10, false, -1, 0}, TERN_NUMERICS_FAST, 32, 16384, ~0u, false},   /* rotation */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    one_op t;
    kv_shape s = cases[i].s;
    kv_build(&t, &s);
    t.numerics = cases[i].numerics;
    planned by = plan_attention(&t, cases[i].subgroup, cases[i].shared, cases[i].features);
    cr_expect_eq(by.step, cases[i].wanted, "case %zu", i);
    end(&t);
  }
}

/* ---- several nodes as one ---- */

/* Linear of X and a new weight. */
static tern__value_id add_linear_of(one_op *t, tern__value_id x, tern_dtype dtype, int n, int k, bool bias) {
  tern__value_id out, in[3] = {x};
  void *w = constant(t, dtype, 2, n, k);
  in[1] = t->ids[t->n_inputs - 1];
  if (tern__dtype_is_block(dtype)) fill_blocks(w, dtype, t->graph->values[in[1]].size_bytes);
  if (bias) constant(t, TERN_DTYPE_F32, 1, n), in[2] = t->ids[t->n_inputs - 1];
  return add_node(t, "Linear", "tern", in, bias ? 3 : 2, 1, &out);
}

/* Of the case's first input. */
static tern__value_id add_linear(one_op *t, tern_dtype dtype, int n, int k, bool bias) {
  return add_linear_of(t, t->ids[0], dtype, n, k, bias);
}

static const int fused_rows[] = {1, 5, 70};

Test(fused, group) {
  for (int r = 0; r < 3; r++)
    for (int bias = 0; bias < 2; bias++) {
      one_op t;
      begin(&t, "Fused", "tern", 1);
      input(&t, TERN_DTYPE_F32, 3, 1, fused_rows[r], 96);
      add_output(&t, add_linear(&t, TERN_DTYPE_Q4_1, 66, 96, bias));
      add_output(&t, add_linear(&t, TERN_DTYPE_Q4_1, 19, 96, bias));
      add_output(&t, add_linear(&t, TERN_DTYPE_Q4_1, 33, 96, bias));
      check_fused(&t, "linear_group", f32_error);
      end(&t);
    }
}

/* Biases that are sums of their own, as exporters write them, first or second, of weights that lie either way. */
Test(fused, group_of_sums) {
  const tern_dtype types[] = {TERN_DTYPE_F16, TERN_DTYPE_F32, TERN_DTYPE_Q4_0};
  const int widths[] = {66, 19, 33};
  for (int r = 0; r < 3; r++)
    for (int form = 0; form < 6; form++) {
      one_op t;
      tern_dtype dtype = types[form % 3];
      begin(&t, "Fused", "tern", 1);
      input(&t, TERN_DTYPE_F32, 3, 1, fused_rows[r], 96);
      for (int i = 0; i < (form < 3 ? 3 : 2); i++) {
        tern__value_id in[2] = {t.ids[0]}, out;
        if (form % 3 == 0) {
          constant(&t, dtype, 2, 96, widths[i]), in[1] = t.ids[t.n_inputs - 1];
          out = add_node(&t, "MatMul", "", in, 2, 1, &out);
        } else {
          out = add_linear(&t, dtype, widths[i], 96, false);
        }
        constant(&t, TERN_DTYPE_F32, 1, widths[i]);
        in[i & 1] = out, in[!(i & 1)] = t.ids[t.n_inputs - 1];
        add_output(&t, add_node(&t, "Add", "", in, 2, 1, &out));
      }
      check_fused(&t, "linear_group", f32_error);
      end(&t);
    }
}

Test(fused, gated) {
  for (int r = 0; r < 3; r++)
    for (int form = 0; form < 3; form++) {
      one_op t;
      tern__value_id in[2], out;
      begin(&t, "Fused", "tern", 1);
      input(&t, TERN_DTYPE_F32, 3, 1, fused_rows[r], 100);
      in[form == 1] = add_linear(&t, TERN_DTYPE_F16, 77, 100, false);
      in[form != 1] = add_linear(&t, TERN_DTYPE_F16, 77, 100, false);
      out = add_node(&t, form ? "GeluMul" : "SiluMul", "tern", in, 2, 1, &out);
      if (form == 2) tern__node_set_string(t.graph, t.node, "approximate", "tanh");
      add_output(&t, out);
      check_fused(&t, "linear_gated", f32_error);
      end(&t);
    }
}

Test(fused, bias_and_activation) {
  const char *const activations[][2] = {{NULL, NULL}, {"Gelu", ""}, {"FastGelu", "com.microsoft"}, {"Relu", ""},
                                        {"Tanh", ""}, {"Sigmoid", ""}, {"QuickGelu", "com.microsoft"}};
  for (int r = 0; r < 3; r++)
    for (size_t a = 0; a < sizeof activations / sizeof *activations; a++) {
      one_op t;
      tern__value_id in[2], out;
      begin(&t, "Fused", "tern", 1);
      input(&t, TERN_DTYPE_F32, 3, 1, fused_rows[r], 64);
      in[0] = add_linear(&t, TERN_DTYPE_F32, 45, 64, false);
      constant(&t, TERN_DTYPE_F32, 1, 45), in[1] = t.ids[t.n_inputs - 1];
      out = add_node(&t, "Add", "", in, 2, 1, &out);
      if (activations[a][0])
        out = add_node(&t, activations[a][0], activations[a][1], (tern__value_id[]){out}, 1, 1, in);
      add_output(&t, out);
      check_fused(&t, "linear_bias", f32_error);
      end(&t);
    }
}

Test(fused, split) {
  for (int r = 0; r < 3; r++) {
    one_op t;
    tern__value_id in[2], outs[3];
    begin(&t, "Fused", "tern", 1);
    input(&t, TERN_DTYPE_F32, 3, 1, fused_rows[r], 64);
    in[0] = add_linear(&t, TERN_DTYPE_Q8_0, 90, 64, false);
    int64_t *sizes = constant(&t, TERN_DTYPE_I64, 1, 3);
    sizes[0] = 40, sizes[1] = 30, sizes[2] = 20, in[1] = t.ids[t.n_inputs - 1];
    add_node(&t, "Split", "", in, 2, 3, outs);
    tern__node_set_int(t.graph, t.node, "axis", -1);
    for (int i = 0; i < 3; i++) add_output(&t, outs[i]);
    check_fused(&t, "linear_split", f32_error);
    end(&t);
  }
}

/* A residual, which may come first or second; columns beyond one binding. */
Test(fused, residual) {
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_Q4_0, TERN_DTYPE_Q6_K};
  for (int r = 0; r < 3; r++)
    for (int form = 0; form < 6; form++) {
      one_op t;
      tern_dtype dtype = types[form % 3];
      tern__value_id in[2], out;
      begin(&t, "Fused", "tern", 1);
      input(&t, TERN_DTYPE_F32, 3, 1, fused_rows[r], 256);
      input(&t, TERN_DTYPE_F32, 3, 1, fused_rows[r], 77);
      in[form & 1] = t.ids[1];
      in[!(form & 1)] = add_linear(&t, dtype, 77, 256, form >= 3);
      if (form == 0) t.binding_limit = 64 * 1024; /* two parts of the weights, and of 70 rows */
      add_output(&t, add_node(&t, "Add", "", in, 2, 1, &out));
      check_fused(&t, "linear_residual", f32_error);
      end(&t);
    }
}

/* An RMS norm before a product, a group of them, gate and up; rows that are no whole blocks. */
Test(fused, norm) {
  const tern_dtype types[] = {TERN_DTYPE_F16, TERN_DTYPE_Q4_0, TERN_DTYPE_Q4_1, TERN_DTYPE_Q8_0};
  for (int r = 0; r < 3; r++)
    for (int form = 0; form < 4; form++)
      for (size_t d = 0; d < sizeof types / sizeof *types; d++) {
        one_op t;
        int k = types[d] == TERN_DTYPE_F16 ? 100 : form == 3 ? 4160 : 96;
        tern__value_id in[2], norm;
        begin(&t, "Fused", "tern", 1);
        float *x = input(&t, TERN_DTYPE_F32, 3, 1, fused_rows[r], k);
        for (int e = 0; e < k; e++) x[e] *= e % 32 == 3 ? 3.0f : 1.0f; /* one of a block is the largest by far */
        constant(&t, TERN_DTYPE_F32, 1, k);
        add_node(&t, "SimplifiedLayerNormalization", "", (tern__value_id[]){t.ids[0], t.ids[1]}, 2, 1, &norm);
        tern__node_set_float(t.graph, t.node, "epsilon", 1e-5f);
        if (form == 0 || form == 3) add_output(&t, add_linear_of(&t, norm, types[d], 70, k, form == 3 && d == 1));
        else if (form == 1) {
          add_output(&t, add_linear_of(&t, norm, types[d], 66, k, false));
          add_output(&t, add_linear_of(&t, norm, types[d], 19, k, false));
          add_output(&t, add_linear_of(&t, norm, types[d], 33, k, false));
        } else {
          in[0] = add_linear_of(&t, norm, types[d], 77, k, false);
          in[1] = add_linear_of(&t, norm, types[d], 77, k, false);
          add_output(&t, add_node(&t, "SiluMul", "tern", in, 2, 1, &norm));
        }
        check_fused(&t, "norm_linear", f32_error);
        end(&t);
      }
}

/* A norm that others read something of stays a node. */
Test(fused, norm_that_others_read) {
  for (int form = 0; form < 2; form++) {
    one_op t;
    tern__value_id norm[2], y;
    begin(&t, "Fused", "tern", 1);
    input(&t, TERN_DTYPE_F32, 3, 1, 1, 96);
    constant(&t, TERN_DTYPE_F32, 1, 96);
    add_node(&t, "SimplifiedLayerNormalization", "", (tern__value_id[]){t.ids[0], t.ids[1]}, 2, form ? 2 : 1, norm);
    y = add_linear_of(&t, norm[0], TERN_DTYPE_Q4_0, 70, 96, false);
    add_output(&t, y);
    add_output(&t, norm[form]);
    cr_assert_eq(tern__gpu_fuse(open_machine(&t)->gpu, t.graph), TERN_OK, "%s", tern_last_error());
    cr_expect_eq(tern__array_count(t.graph->nodes), 2);
    end(&t);
  }
}

/* A row must not depend on how many rows are computed with it. */
Test(consistent, one_row_equals_many) {
  enum { M = 70, K = 1280, N = 50 };
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_F16, TERN_DTYPE_Q4_0, TERN_DTYPE_Q4_K, TERN_DTYPE_Q6_K};
  const int rows[] = {1, 3, 8, 33};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
      as_hardware = (i + r) % 2;
      one_op many, few;
      uint32_t start = seed;
      begin(&many, "Linear", "tern", 1);
      float *x = input(&many, TERN_DTYPE_F32, 2, M, K);
      void *w = constant(&many, types[i], 2, N, K);
      size_t bytes = many.graph->values[many.ids[1]].size_bytes;
      if (tern__dtype_is_block(types[i])) fill_blocks(w, types[i], bytes);
      node(&many, 1, 1);
      many.numerics = TERN_NUMERICS_CONSISTENT;
      seed = start;
      begin(&few, "Linear", "tern", 1);
      memcpy(input(&few, TERN_DTYPE_F32, 2, rows[r], K), x + 17 * K, (size_t)(rows[r] * K) * sizeof *x);
      memcpy(constant(&few, types[i], 2, N, K), w, bytes);
      node(&few, 1, 1);
      few.numerics = TERN_NUMERICS_CONSISTENT;
      result a = run_on_gpu(&many, "70 rows"), b = run_on_gpu(&few, "few rows");
      cr_expect(!memcmp((float *)a.data[0] + 17 * N, b.data[0], (size_t)(rows[r] * N) * sizeof(float)),
                "%s: %d rows of 70 are not the same as alone", tern_dtype_name(types[i]), rows[r]);
      drop(&many, &a), drop(&few, &b);
      end(&many), end(&few);
    }
  as_hardware = false;
}

/* So many rows that subgroups have one each, under FAST, of sizes that they can have and others; the sum read by others
 * or not. */
Test(fused, skip_norm_rows) {
  static const int sizes[] = {4, 128, 384, 512, 516, 768, 1020, 1024, 1028, 130};
  for (int i = 0; i < (int)(sizeof sizes / sizeof *sizes); i++)
    for (int form = 0; form < 4; form++) {
      one_op t;
      tern__value_id in[3], out;
      begin(&t, "Fused", "tern", 1);
      input(&t, TERN_DTYPE_F32, 3, 3, 101, sizes[i]);
      input(&t, TERN_DTYPE_F32, 3, i % 2 ? 3 : 1, 101, sizes[i]); /* repeats over the batch or not */
      tern__value_id sum = add_node(&t, "Add", "", t.ids, 2, 1, &out);
      for (int k = 1; k < 3; k++) constant(&t, TERN_DTYPE_F32, 1, sizes[i]), in[k] = t.ids[t.n_inputs - 1];
      in[0] = sum;
      if (form & 1) add_node(&t, "LayerNormalization", "", in, 3, 1, &out);
      else add_node(&t, "SimplifiedLayerNormalization", "", in, 2, 1, &out);
      add_output(&t, out);
      if (form & 2) add_output(&t, sum);
      check_fused(&t, "skip_norm", 2e-6);
      end(&t);
    }
}

/* A residual and its norm; the sum read by others or not; an operand that repeats over the batch. */
Test(fused, skip_norm) {
  static const struct { const char *op; int inputs; } norms[] = {
      {"SimplifiedLayerNormalization", 1}, {"LayerNormalization", 2}};
  for (size_t k = 0; k < sizeof norms / sizeof *norms; k++)
    for (int form = 0; form < 4; form++) {
      one_op t;
      int n = form & 1 ? 67 : 96;
      tern__value_id in[3], sum, out;
      begin(&t, "Fused", "tern", 1);
      input(&t, TERN_DTYPE_F32, 3, 2, 5, n);
      if (form == 3) input(&t, TERN_DTYPE_F32, 3, 1, 5, n);
      else input(&t, TERN_DTYPE_F32, 3, 2, 5, n);
      sum = add_node(&t, "Add", "", t.ids, 2, 1, &sum);
      in[0] = sum;
      for (int i = 0; i < norms[k].inputs; i++)
        constant(&t, TERN_DTYPE_F32, 1, n), in[1 + i] = t.ids[t.n_inputs - 1];
      out = add_node(&t, norms[k].op, "", in, 1 + norms[k].inputs, 1, &out);
      if (form < 2) add_output(&t, sum);
      add_output(&t, out);
      check_fused(&t, "skip_norm", 2e-6);
      end(&t);
    }
}

/* ---- few rows of weights of 4 to 8 bits ---- */

typedef struct few_weights { tern_dtype dtype; int bits, zeros; } few_weights; /* bits: of MatMulNBits with f32 scales */

/* A product of x with new weights [n, k]. */
static tern__value_id add_few(one_op *t, tern__value_id x, const few_weights *w, int n, int k, bool bias) {
  tern__value_id in[6] = {x}, out;
  if (!w->bits) return add_linear_of(t, x, w->dtype, n, k, bias);
  constant(t, TERN_DTYPE_U8, 3, n, k / 32, 4 * w->bits), in[1] = t->ids[t->n_inputs - 1];
  constant(t, TERN_DTYPE_F32, 1, n * k / 32), in[2] = t->ids[t->n_inputs - 1];
  in[3] = in[4] = in[5] = -1;
  if (w->zeros) constant(t, TERN_DTYPE_U8, 1, n * ((k / 32 * w->bits + 7) / 8)), in[3] = t->ids[t->n_inputs - 1];
  if (bias) constant(t, TERN_DTYPE_F32, 1, n), in[5] = t->ids[t->n_inputs - 1];
  add_node(t, "MatMulNBits", "com.microsoft", in, bias ? 6 : w->zeros ? 4 : 3, 1, &out);
  tern__node_set_int(t->graph, t->node, "K", k), tern__node_set_int(t->graph, t->node, "N", n);
  tern__node_set_int(t->graph, t->node, "bits", w->bits), tern__node_set_int(t->graph, t->node, "block_size", 32);
  return out;
}

enum { FEW_PLAIN, FEW_NORM, FEW_GROUP, FEW_GATED, FEW_RESIDUAL, FEW_GELU, FEW_FORMS,
       FEW_N = 37, FEW_MANY = 1201,
       FEW_K = 5376 }; /* so that invocations of linear_dot.wgsl ask ahead more than once */

/* Rows [first, first + rows) of `x` [8, k], and of `sum` [8, n] for a residual; weights are the same every time. */
static result run_few(one_op *t, int form, const few_weights *w, int n, int k, const float *x, const float *sum,
                      int first, int rows) {
  tern__value_id in[2], last;
  begin(t, "Fused", "tern", 1);
  memcpy(input(t, TERN_DTYPE_F32, 3, 1, rows, k), x + first * k, (size_t)(rows * k) * sizeof *x);
  if (form == FEW_RESIDUAL)
    memcpy(input(t, TERN_DTYPE_F32, 3, 1, rows, n), sum + first * n, (size_t)(rows * n) * sizeof *sum);
  seed = 7;
  last = t->ids[0];
  if (form == FEW_NORM || form == FEW_GROUP || form == FEW_GATED) {
    constant(t, TERN_DTYPE_F32, 1, k);
    add_node(t, "SimplifiedLayerNormalization", "", (tern__value_id[]){t->ids[0], t->ids[1]}, 2, 1, &last);
    tern__node_set_float(t->graph, t->node, "epsilon", 1e-5f);
  }
  in[0] = add_few(t, last, w, form == FEW_GROUP ? n - 16 : n, k, form == FEW_PLAIN);
  if (form == FEW_GROUP) {
    add_output(t, in[0]);
    add_output(t, add_few(t, last, w, 6, k, false));
    in[0] = add_few(t, last, w, 10, k, false);
  }
  if (form == FEW_GATED) {
    in[1] = add_few(t, last, w, n, k, false);
    in[0] = add_node(t, "SiluMul", "tern", in, 2, 1, &last);
  }
  if (form == FEW_GELU) constant(t, TERN_DTYPE_F32, 1, n), in[1] = t->ids[t->n_inputs - 1];
  if (form == FEW_RESIDUAL) in[1] = t->ids[1];
  if (form == FEW_RESIDUAL || form == FEW_GELU) in[0] = add_node(t, "Add", "", in, 2, 1, &last);
  if (form == FEW_GELU) in[0] = add_node(t, "Gelu", "", (tern__value_id[]){last}, 1, 1, &in[1]);
  add_output(t, in[0]);
  t->numerics = TERN_NUMERICS_FAST;
  cr_assert_eq(tern__gpu_fuse(open_machine(t)->gpu, t->graph), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(tern__array_count(t->graph->nodes), 1, "form %d is not one node", form);
  return run_on_gpu(t, "few rows");
}

static bool last_kernel_is(const char *prefix) {
  return !strncmp(tern__gpu_kernels[last_kernel].name, prefix, strlen(prefix));
}

/* Whether the kernels were those that multiply in whole numbers. */
static bool few_rows_case(int form, const few_weights *w, int n, int k) {
  static const int counts[] = {2, 3, 5, 8};
  static float x[8 * FEW_K], sum[8 * FEW_MANY];
  one_op alone[8], many;
  result one[8], all;
  for (int i = 0; i < 8 * k; i++) x[i] = noise() * (i % 32 == 3 ? 3.0f : 1.0f) * (float)(1 + i / k);
  for (int i = 0; i < 8 * n; i++) sum[i] = noise();
  for (int r = 0; r < 8; r++) one[r] = run_few(&alone[r], form, w, n, k, x, sum, r, 1);
  const tern__gpu_info *info = m.gpu->info;
  const uint32_t needs = TERN__GPU_HAS_SUBGROUPS | TERN__GPU_HAS_INT8_DOT;
  bool dot = (info->features & needs) == needs && info->subgroup_min >= 8;
  cr_expect_eq(last_kernel_is("linear_dot_"), dot);
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    int first = 8 - counts[c];
    all = run_few(&many, form, w, n, k, x, sum, first, counts[c]);
    cr_expect_eq(last_kernel_is(counts[c] > 4 ? "linear_dot8_" : "linear_dot4_"), dot, "%d rows ran in %s", counts[c],
                 tern__gpu_kernels[last_kernel].name);
    for (int i = 0; i < many.n_outputs; i++)
      for (int r = 0; r < counts[c]; r++) {
        size_t bytes = all.views[i].size_bytes / (size_t)counts[c];
        cr_expect(!memcmp((uint8_t *)all.data[i] + (size_t)r * bytes, one[first + r].data[i], bytes),
                  "form %d, %s bits %d, k %d: row %d of %d, output %d, is not the same as alone", form,
                  tern_dtype_name(w->dtype), w->bits, k, r, counts[c], i);
      }
    drop(&many, &all);
    end(&many);
  }
  for (int r = 0; r < 8; r++) drop(&alone[r], &one[r]), end(&alone[r]);
  return dot;
}

/* FAST: sequences decoded together, and drafts, have the bits of a sequence decoded alone. Where there are no whole
 * numbers a few formats will do: each has cases of its own for those kernels. */
Test(consistent, few_rows_equal_one) {
  const few_weights weights[] = {{TERN_DTYPE_Q4_0, 0, 0}, {TERN_DTYPE_Q4_1, 0, 0}, {TERN_DTYPE_Q5_0, 0, 0},
                                 {TERN_DTYPE_Q5_1, 0, 0}, {TERN_DTYPE_Q8_0, 0, 0}, {TERN_DTYPE_Q4_K, 0, 0},
                                 {TERN_DTYPE_Q5_K, 0, 0}, {TERN_DTYPE_Q6_K, 0, 0}, {TERN_DTYPE_U8, 4, 0},
                                 {TERN_DTYPE_U8, 4, 1},   {TERN_DTYPE_U8, 8, 0}};
  as_hardware = true;
  bool dot = few_rows_case(FEW_PLAIN, &weights[0], FEW_N, 32);
  for (size_t w = 0; w < (dot ? sizeof weights / sizeof *weights : 3); w++)
    for (int form = 0; form < FEW_FORMS; form++) {
      bool whole = weights[w].dtype >= TERN_DTYPE_Q4_K && weights[w].dtype <= TERN_DTYPE_Q6_K; /* 256 at a time */
      few_rows_case(form, &weights[w], FEW_N, whole ? 768 : 544);
      if (dot && (w + (size_t)form) % 3 == 0) few_rows_case(form, &weights[w], FEW_N, FEW_K); /* each of both meets it */
    }
  binding_limit = 64 * 1024; /* several parts of the weights; those that lie together are never so many */
  for (int form = 0; form < FEW_FORMS; form++)
    if (form != FEW_GROUP && form != FEW_GATED) few_rows_case(form, &weights[form], FEW_MANY, 512);
  binding_limit = 0;
  as_hardware = false;
}

enum { LAYER_K = 544, LAYER_INNER = 1056, LAYER_OUT = 37, LAYER_ROWS = 5 };

static tern__value_id add_norm_of(one_op *t, tern__value_id x, int k) {
  tern__value_id y;
  constant(t, TERN_DTYPE_F32, 1, k);
  add_node(t, "SimplifiedLayerNormalization", "", (tern__value_id[]){x, t->ids[t->n_inputs - 1]}, 2, 1, &y);
  tern__node_set_float(t->graph, t->node, "epsilon", 1e-5f);
  return y;
}

/* What follows attention in a layer, and the product after it, for rows [first, first + rows) of x. */
static result run_layer(one_op *t, const few_weights *w, const float *x, int first, int rows) {
  tern__value_id y, sum, gate[2];
  begin(t, "Fused", "tern", 1);
  memcpy(input(t, TERN_DTYPE_F32, 3, 1, rows, LAYER_K), x + first * LAYER_K, (size_t)(rows * LAYER_K) * sizeof *x);
  seed = 7;
  y = add_few(t, t->ids[0], w, LAYER_K, LAYER_K, false);
  add_node(t, "Add", "", (tern__value_id[]){t->ids[0], y}, 2, 1, &sum);
  y = add_norm_of(t, sum, LAYER_K);
  for (int i = 0; i < 2; i++) gate[i] = add_few(t, y, w, LAYER_INNER, LAYER_K, false);
  add_node(t, "SiluMul", "tern", gate, 2, 1, &y);
  y = add_few(t, y, w, LAYER_K, LAYER_INNER, false);
  add_node(t, "Add", "", (tern__value_id[]){y, sum}, 2, 1, &sum);
  add_output(t, sum);
  add_output(t, add_few(t, add_norm_of(t, sum, LAYER_K), w, LAYER_OUT, LAYER_K, true));
  t->numerics = TERN_NUMERICS_FAST;
  cr_assert_eq(tern__gpu_fuse(open_machine(t)->gpu, t->graph), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(tern__array_count(t->graph->nodes), 4);
  return run_on_gpu(t, "a layer");
}

/* FAST: a row that a product rounds for the next one has the bits that linear_round.wgsl gives it. */
Test(consistent, rounded_by_products) {
  const few_weights weights[] = {{TERN_DTYPE_Q4_0, 0, 0}, {TERN_DTYPE_Q5_1, 0, 0}, {TERN_DTYPE_Q8_0, 0, 0},
                                 {TERN_DTYPE_U8, 4, 1}};
  static float x[LAYER_ROWS * LAYER_K];
  as_hardware = true;
  for (int i = 0; i < LAYER_ROWS * LAYER_K; i++) x[i] = noise();
  for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) {
    one_op alone, many;
    result all = run_layer(&many, &weights[w], x, 0, LAYER_ROWS);
    const tern__gpu_info *info = m.gpu->info;
    bool dot = last_kernel_is("linear_dot8_");
    cr_expect_eq(n_rounds, dot ? 4 : 0);
    for (int r = 0; r < LAYER_ROWS; r++) {
      result one = run_layer(&alone, &weights[w], x, r, 1);
      cr_expect_eq(n_rounds, !dot ? 0 : info->subgroup_max <= 32 ? 1 : 4, "%d dispatches only round", n_rounds);
      for (int i = 0; i < alone.n_outputs; i++)
        cr_expect(!memcmp((uint8_t *)all.data[i] + (size_t)r * one.views[i].size_bytes, one.data[i],
                          one.views[i].size_bytes), "%s: row %d, output %d, is not the same as alone",
                  tern_dtype_name(weights[w].dtype), r, i);
      drop(&alone, &one), end(&alone);
    }
    drop(&many, &all), end(&many);
  }
  as_hardware = false;
}

/* ---- rows that their product stores in the cache ---- */

typedef struct rotary_shape {
  int32_t heads, kv_heads, dim, half;
  bool interleaved;
  int window, k;
  bool norm, bias;
} rotary_shape;

enum { ROTARY_POSITIONS = 130, ROTARY_MANY = 1200, ROTARY_MOST = 1600, /* that the cache has room for */
       ROTARY_BRIEF = 1536, /* ROW_POSITIONS of gpu_kv_attention.c */
       ROTARY_ROUNDED = 1, ROTARY_KEYS_ARE_READ = 2, ROTARY_TABLES_ARE_COMPUTED = 4 };

static int rotary_positions(int past) {
  return past < ROTARY_POSITIONS ? ROTARY_POSITIONS : past < ROTARY_MANY ? ROTARY_MANY : ROTARY_MOST;
}

/* Products of a row, then attention; maybe a product of that one, others that read the new keys, or tables that a node
 * makes. */
static result run_rotary(one_op *t, rotary_shape *s, const few_weights *w, int past, int fresh, int form) {
  int positions = rotary_positions(past), widths[3] = {s->heads * s->dim, s->kv_heads * s->dim, s->kv_heads * s->dim};
  tern__value_id in[5], x, out;
  seed = 11;
  begin(t, "Fused", "tern", 1);
  input(t, TERN_DTYPE_F32, 3, 1, 1, s->k);
  int zero = t->n_inputs;
  if (form & ROTARY_TABLES_ARE_COMPUTED) *(float *)input(t, TERN_DTYPE_F32, 1, 1) = 0;
  seed = 7;
  x = s->norm ? add_norm_of(t, t->ids[0], s->k) : t->ids[0];
  for (int i = 0; i < 3; i++) in[i] = add_few(t, x, w, widths[i], s->k, s->bias);
  for (int i = 3; s->half && i < 5; i++) {
    constant(t, TERN_DTYPE_F32, 2, positions + 2, s->half);
    in[i] = t->ids[t->n_inputs - 1];
    if (form & ROTARY_TABLES_ARE_COMPUTED)
      in[i] = add_node(t, "Sub", "", (tern__value_id[]){in[i], t->ids[zero]}, 2, 1, &out);
  }
  x = add_node(t, "KvAttention", "tern", in, s->half ? 5 : 3, 1, &out);
  tern__node_set_int(t->graph, t->node, "layer", 0), tern__node_set_int(t->graph, t->node, "num_heads", s->heads);
  tern__node_set_int(t->graph, t->node, "kv_num_heads", s->kv_heads);
  tern__node_set_int(t->graph, t->node, "rotary_interleaved", s->interleaved);
  tern__node_set_int(t->graph, t->node, "local_window", s->window);
  add_output(t, form & ROTARY_ROUNDED ? add_few(t, x, w, 40, widths[0], false) : x);
  if (form & ROTARY_KEYS_ARE_READ) add_output(t, in[1]);
  tern__kv_layout layout = {1, &s->kv_heads, &s->dim}; /* the cache goes on pointing there */
  cr_assert_eq(tern__kv_cache_create(&t->alloc, &layout, 1, positions, true, &t->kv), TERN_OK);
  size_t n = (size_t)(s->kv_heads * positions * s->dim);
  for (size_t i = 0; i < n; i++)
    t->kv->k[0][i] = tern__f32_to_f16(noise()), t->kv->v[0][i] = tern__f32_to_f16(noise());
  t->kv->past[0] = past, t->kv->fresh[0] = fresh;
  t->numerics = TERN_NUMERICS_FAST;
  cr_assert_eq(tern__gpu_fuse(open_machine(t)->gpu, t->graph), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(tern__array_count(t->graph->nodes),
               2u + !!(form & ROTARY_ROUNDED) + (form & ROTARY_TABLES_ARE_COMPUTED ? 2u : 0));
  return run_on_gpu(t, "products and attention");
}

/* Keys and values before the row, and the row, are those of the other's cache. */
static bool same_cache(const one_op *a, const one_op *b) {
  size_t bytes = (size_t)(a->kv->kv_heads[0] * (int32_t)a->kv->capacity * a->kv->head_dim[0]) * 2;
  return !memcmp(a->kv->k[0], b->kv->k[0], bytes) && !memcmp(a->kv->v[0], b->kv->v[0], bytes);
}

/* attention_row.wgsl adds up to 1536 products of a value near 1 in another order than attention_step.wgsl, and what a
 * product rounds to 15 bits of them then may be a step off. */
static const double short_context_error = 4e-6, rounded_short_context_error = 2e-4;

static double largest_difference(const float *a, const float *b, size_t n) {
  double most = 0;
  for (size_t i = 0; i < n; i++)
    if (!(fabs((double)a[i] - b[i]) <= most)) most = fabs((double)a[i] - b[i]);
  return most;
}

/* `as`: how else the same is computed. False where the device has no other way. */
static bool rotary_case_on(rotary_shape *s, const few_weights *w, int past, int fresh, int form, int as) {
  one_op alone, other;
  result got = run_rotary(&alone, s, w, past, fresh, form);
  const tern__gpu_info *info = m.gpu->info;
  const uint32_t needs = TERN__GPU_HAS_SUBGROUPS | TERN__GPU_HAS_INT8_DOT | TERN__GPU_HAS_COHERENT;
  bool can = (info->features & needs) == needs && info->subgroup_min == info->subgroup_max && info->subgroup_min >= 8 &&
             info->subgroup_max <= 128 && info->max_invocations >= 512;
  uint32_t lanes = s->dim <= 64 ? 8 : s->dim <= 128 ? 16 : 32;
  bool row = can && as_memory == AS_CARD && s->dim % 16 == 0 && info->subgroup_max >= lanes &&
             past + fresh <= ROTARY_BRIEF;
  cr_expect_eq(n_rotary, can, "%d products store rows", n_rotary);
  bool three = form & ROTARY_ROUNDED && s->dim % 16 == 0; /* attention rounds for the product behind it */
  cr_expect_eq(n_links, !can || synchronization_is_validated() ? 0 : three ? 3 : 2, "%d dispatches in chains", n_links);
  cr_expect(!n_links || atomic_load(&m.gpu->chains_checked));
  if (can && !form)
    cr_expect(last_kernel_is(row ? "attention_row_" : "attention_step_kept_"), "%s",
              tern__gpu_kernels[last_kernel].name);
  result want = run_rotary(&other, s, w, past, fresh, form | as);
  cr_expect_eq(n_rotary, 0);
  for (int i = 0; i < alone.n_outputs; i++) {
    size_t bytes = want.views[i].size_bytes;
    double off = row ? largest_difference(got.data[i], want.data[i], bytes / 4) : 0;
    bool alike = row ? off <= (form & ROTARY_ROUNDED ? rounded_short_context_error : short_context_error)
                     : !memcmp(got.data[i], want.data[i], bytes);
    cr_expect(alike, "%s bits %d, heads %d/%d of %d, half %d, past %d, fresh %d: output %d differs by %g",
              tern_dtype_name(w->dtype), w->bits, s->heads, s->kv_heads, s->dim, s->half, past, fresh, i, off);
  }
  cr_expect(same_cache(&alone, &other), "%s bits %d, heads %d/%d of %d, half %d, past %d, fresh %d: the caches differ",
            tern_dtype_name(w->dtype), w->bits, s->heads, s->kv_heads, s->dim, s->half, past, fresh);
  drop(&alone, &got), drop(&other, &want);
  end(&alone), end(&other);
  return can;
}

static bool rotary_case(rotary_shape *s, const few_weights *w, int past, int fresh, int form, int as) {
  as_memory = AS_UNIFIED;
  bool can = rotary_case_on(s, w, past, fresh, form, as);
  as_memory = AS_CARD;
  if (can) rotary_case_on(s, w, past, fresh, form, as);
  as_memory = AS_IT_IS;
  return can;
}

/* FAST: a row that its product rotates and stores has the bits that attention would have given it. */
Test(consistent, rotated_by_products) {
  const few_weights weights[] = {{TERN_DTYPE_Q4_0, 0, 0}, {TERN_DTYPE_Q4_1, 0, 0}, {TERN_DTYPE_Q5_0, 0, 0},
                                 {TERN_DTYPE_Q5_1, 0, 0}, {TERN_DTYPE_Q8_0, 0, 0}, {TERN_DTYPE_Q4_K, 0, 0},
                                 {TERN_DTYPE_Q5_K, 0, 0}, {TERN_DTYPE_Q6_K, 0, 0}, {TERN_DTYPE_U8, 4, 0},
                                 {TERN_DTYPE_U8, 4, 1},   {TERN_DTYPE_U8, 8, 0}};
  rotary_shape shapes[] = {
      {9, 3, 64, 32, false, -1, 768, true, false},   {4, 1, 128, 64, false, -1, 768, false, true},
      {4, 2, 80, 40, false, -1, 768, true, true},    {6, 6, 80, 20, false, 31, 768, true, false},
      {4, 2, 64, 32, true, -1, 768, true, false},    {8, 1, 80, 12, true, -1, 768, false, true},
      {2, 1, 64, 0, false, -1, 768, true, true},     {2, 1, 256, 128, false, 64, 768, true, false},
      {3, 3, 40, 20, false, -1, 5376, true, true},   {4, 4, 8, 4, false, -1, 2304, true, false}};
  const int pasts[] = {0, 1, 63, 64, ROTARY_POSITIONS - 1, ROTARY_MANY - 1};
  enum { N_SHAPES = sizeof shapes / sizeof *shapes, N_WEIGHTS = sizeof weights / sizeof *weights };
  as_hardware = true;
  bool can = rotary_case(&shapes[0], &weights[1], 7, 1, 0, ROTARY_TABLES_ARE_COMPUTED);
  for (size_t s = 0; can && s < N_SHAPES; s++)
    for (size_t p = 0; p < sizeof pasts / sizeof *pasts; p++) {
      bool whole = shapes[s].heads * shapes[s].dim % 32 == 0;
      rotary_case(&shapes[s], &weights[(s + p) % 5], pasts[p], 1, p % 2 && whole ? ROTARY_ROUNDED : 0,
                  ROTARY_KEYS_ARE_READ);
    }
  for (size_t w = 0; can && w < N_WEIGHTS; w++)
    rotary_case(&shapes[w % N_SHAPES], &weights[w], 64, 1, 0, ROTARY_KEYS_ARE_READ);
  for (size_t s = 0; can && s < N_SHAPES; s++)
    for (int beyond = 0; beyond < 2; beyond++) { /* fewer positions than that, then more, and the other way */
      first_past = beyond ? 40 : ROTARY_MOST - 5;
      rotary_case(&shapes[s], &weights[s % 5], ROTARY_BRIEF - 1 + beyond, 1, 0, ROTARY_KEYS_ARE_READ);
      first_past = -1;
    }
  for (size_t s = 0; can && s < N_SHAPES; s++) /* the row is padding: nothing is stored */
    rotary_case(&shapes[s], &weights[s % 5], 40, 0, 0, ROTARY_KEYS_ARE_READ);
  as_hardware = false;
}

/* A chain that waits in vain raises an alarm, and the run is done again without one. */
Test(consistent, chains_alarm) {
  const few_weights weights = {TERN_DTYPE_Q4_1, 0, 0};
  rotary_shape shape = {9, 3, 64, 32, false, -1, 768, true, false};
  one_op plain, alarmed;
  as_hardware = true;
  result want = run_rotary(&plain, &shape, &weights, 64, 1, ROTARY_ROUNDED);
  int links = n_links;
  raise_alarm = links > 0;
  result got = run_rotary(&alarmed, &shape, &weights, 64, 1, ROTARY_ROUNDED);
  raise_alarm = false;
  if (links) cr_expect_eq(n_links, 0, "%d dispatches in chains after the alarm", n_links);
  for (int i = 0; i < plain.n_outputs; i++)
    cr_expect(!memcmp(got.data[i], want.data[i], want.views[i].size_bytes), "output %d differs", i);
  cr_expect(same_cache(&plain, &alarmed));
  atomic_store(&m.gpu->no_chains, synchronization_is_validated());
  drop(&plain, &want), drop(&alarmed, &got);
  end(&plain), end(&alarmed);
  as_hardware = false;
}

/* Nobody counts on the counter that a product waits for: it gives up, says so, and ends. */
Test(consistent, chains_give_up) {
  enum { WORDS = 4096, WAITS_FOR_5 = 5 << 16 | 2 << 1, ALARM_AT = 0 };
  one_op t;
  begin(&t, "Fused", "tern", 1);
  tern__backend *gpu = open_machine(&t)->gpu;
  const tern__gpu_kernel *kernel = &tern__gpu_kernels[TERN__KERNEL_linear_dot_chain_q4_h];
  const tern__gpu_info *info = gpu->info;
  if ((info->features & kernel->needs) == kernel->needs && info->max_invocations >= kernel->workgroup[0] &&
      info->shared_bytes >= kernel->shared_bytes) {
    static const uint32_t zeros[WORDS];
    tern__gpu_linear_immediates immediates = {.rows = 1, .columns = 16, .blocks = 2, .width = {16}, .lanes = 1};
    tern__gpu_buffer *buffers[8] = {0}, *back = NULL;
    tern__gpu_range ranges[8];
    tern__gpu_commands *commands = NULL;
    tern__gpu_pipeline *pipeline;
    uint64_t ticket;
    immediates.x_stride = WAITS_FOR_5;
    cr_assert_eq(gpu->api->buffer_create(gpu->device, TERN__GPU_READBACK, 256, &back), TERN_OK);
    for (int i = 0; i < kernel->n_bindings; i++) {
      cr_assert_eq(gpu->api->buffer_create(gpu->device, TERN__GPU_DEVICE, sizeof zeros, &buffers[i]), TERN_OK);
      cr_assert_eq(gpu->api->write(gpu->device, buffers[i], 0, zeros, sizeof zeros), TERN_OK);
      ranges[i] = (tern__gpu_range){buffers[i], 0, sizeof zeros};
    }
    cr_assert_eq(gpu->api->pipeline(gpu->device, TERN__KERNEL_linear_dot_chain_q4_h, &pipeline), TERN_OK);
    cr_assert_eq(gpu->api->commands_create(gpu->device, &commands), TERN_OK);
    cr_assert_eq(gpu->api->dispatch(commands, &(tern__gpu_dispatch){.pipeline = pipeline, .ranges = ranges,
                                                                    .immediates = &immediates, .groups = {1, 1, 1}}),
                 TERN_OK, "%s", tern_last_error());
    cr_assert_eq(gpu->api->barrier(commands), TERN_OK);
    cr_assert_eq(gpu->api->copy(commands, &(tern__gpu_range){buffers[5], 0, 256}, &(tern__gpu_range){back, 0, 256}),
                 TERN_OK);
    cr_assert_eq(gpu->api->commands_finish(commands), TERN_OK);
    cr_assert_eq(gpu->api->submit(gpu->device, commands, &ticket), TERN_OK);
    cr_assert_eq(gpu->api->wait(gpu->device, ticket, UINT64_MAX), TERN_OK, "%s", tern_last_error());
    cr_assert_eq(gpu->api->invalidate(gpu->device, &(tern__gpu_range){back, 0, 256}), TERN_OK);
    cr_expect_eq(((const uint32_t *)gpu->api->buffer_host(back))[ALARM_AT], 1, "no alarm");
    gpu->api->commands_destroy(commands);
    for (int i = 0; i < kernel->n_bindings; i++) gpu->api->buffer_destroy(gpu->device, buffers[i]);
    gpu->api->buffer_destroy(gpu->device, back);
  }
  end(&t);
}

enum { TABLE_ROWS = 150, TABLE_PLAIN = 0, TABLE_NORM, TABLE_MULTIPLIED, TABLE_FORMS };

/* Rows of a table of quantized weights, int32 or int64 indices, and a product of them: as they are, normed, or
 * multiplied by a number and normed. */
static result run_table(one_op *t, int form, const few_weights *table, bool wide, int k, const int64_t *indices,
                        int n) {
  static const few_weights q4_0 = {TERN_DTYPE_Q4_0, 0, 0};
  tern__value_id in[4], x, y;
  begin(t, "Fused", "tern", 1);
  int64_t *list = input(t, wide ? TERN_DTYPE_I64 : TERN_DTYPE_I32, 2, 1, n);
  for (int i = 0; i < n; i++)
    if (wide) list[i] = indices[i];
    else ((int32_t *)list)[i] = (int32_t)indices[i];
  seed = 7;
  if (table->bits) {
    constant(t, TERN_DTYPE_U8, 2, TABLE_ROWS, k * table->bits / 8), in[0] = t->ids[t->n_inputs - 1], in[1] = t->ids[0];
    constant(t, TERN_DTYPE_F32, 2, TABLE_ROWS, k / 32), in[2] = t->ids[t->n_inputs - 1];
    if (table->zeros)
      constant(t, TERN_DTYPE_U8, 2, TABLE_ROWS, (k / 32 * table->bits + 7) / 8), in[3] = t->ids[t->n_inputs - 1];
    add_node(t, "GatherBlockQuantized", "com.microsoft", in, table->zeros ? 4 : 3, 1, &x);
    tern__node_set_int(t->graph, t->node, "bits", table->bits);
    tern__node_set_int(t->graph, t->node, "block_size", 32);
    tern__node_set_int(t->graph, t->node, "gather_axis", 0), tern__node_set_int(t->graph, t->node, "quantize_axis", 1);
  } else {
    void *data = constant(t, table->dtype, 2, TABLE_ROWS, k);
    fill_blocks(data, table->dtype, t->graph->values[t->ids[1]].size_bytes);
    add_node(t, "Gather", "", (tern__value_id[]){t->ids[1], t->ids[0]}, 2, 1, &x);
  }
  add_output(t, x);
  y = x;
  if (form == TABLE_MULTIPLIED) {
    constant(t, TERN_DTYPE_F32, 0);
    add_node(t, "Mul", "", (tern__value_id[]){x, t->ids[t->n_inputs - 1]}, 2, 1, &y);
  }
  if (form != TABLE_PLAIN) y = add_norm_of(t, y, k);
  add_output(t, add_few(t, y, &q4_0, FEW_N, k, false));
  t->numerics = TERN_NUMERICS_FAST;
  cr_assert_eq(tern__gpu_fuse(open_machine(t)->gpu, t->graph), TERN_OK, "%s", tern_last_error());
  return run_on_gpu(t, "a table");
}

static void table_rounds_case(int form, const few_weights *table, bool wide, int k) {
  static const int64_t indices[] = {0, 41, -1, TABLE_ROWS - 1, -TABLE_ROWS};
  one_op alone, many;
  result all = run_table(&many, form, table, wide, k, indices, 5);
  bool dot = last_kernel_is("linear_dot8_");
  cr_expect_eq(n_rounds, dot);
  cr_expect(!strncmp(tern__gpu_kernels[first_kernel].name, "gather_blocks_q", 15));
  for (int r = 0; r < 5; r++) {
    result one = run_table(&alone, form, table, wide, k, indices + r, 1);
    bool rounds = dot && form != TABLE_MULTIPLIED; /* what multiplies offers nothing */
    cr_expect_eq(n_rounds, dot && !rounds);
    cr_expect_eq(!strncmp(tern__gpu_kernels[first_kernel].name, "gather_blocks_round_", 20), rounds, "%s",
                 tern__gpu_kernels[first_kernel].name);
    for (int i = 0; i < 2; i++)
      cr_expect(!memcmp((uint8_t *)all.data[i] + (size_t)r * one.views[i].size_bytes, one.data[i],
                        one.views[i].size_bytes),
                "form %d, %s bits %d, k %d: row %d, output %d, is not the same as alone", form,
                tern_dtype_name(table->dtype), table->bits, k, r, i);
    drop(&alone, &one), end(&alone);
  }
  drop(&many, &all), end(&many);
}

/* FAST: a row of a table that is rounded as it is read has the bits that linear_round.wgsl gives it. */
Test(consistent, rounded_by_gathers) {
  const few_weights tables[] = {{TERN_DTYPE_Q4_0, 0, 0}, {TERN_DTYPE_Q4_1, 0, 0}, {TERN_DTYPE_Q5_0, 0, 0},
                                {TERN_DTYPE_Q5_1, 0, 0}, {TERN_DTYPE_Q8_0, 0, 0}, {TERN_DTYPE_Q4_K, 0, 0},
                                {TERN_DTYPE_Q5_K, 0, 0}, {TERN_DTYPE_Q6_K, 0, 0}, {TERN_DTYPE_U8, 4, 0},
                                {TERN_DTYPE_U8, 4, 1},   {TERN_DTYPE_U8, 8, 1}};
  as_hardware = true;
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (int form = 0; form < TABLE_FORMS; form++) {
      bool whole = tables[i].dtype >= TERN_DTYPE_Q4_K && tables[i].dtype <= TERN_DTYPE_Q6_K; /* 256 at a time */
      table_rounds_case(form, &tables[i], form % 2, whole ? 768 : 544);
      table_rounds_case(form, &tables[i], form % 2 == 0, 2304); /* three workgroups, the last one in part */
    }
  as_hardware = false;
}

/* Tables of several parts, and devices whose subgroups cannot round, are read as before. */
Test(consistent, rounded_by_few_gathers) {
  static const few_weights q4_0 = {TERN_DTYPE_Q4_0, 0, 0};
  static const int64_t index = 41;
  one_op t;
  as_hardware = true;
  for (int limited = 0; limited < 2; limited++) {
    tern__gpu_info *info = open_machine(&(one_op){0})->gpu->info, before = *info;
    if (limited) info->features &= ~(uint32_t)TERN__GPU_HAS_SUBGROUPS;
    else binding_limit = 64 * 1024; /* a table of 82 KB */
    result r = run_table(&t, TABLE_NORM, &q4_0, false, 544 * 2, &index, 1);
    cr_expect(!strncmp(tern__gpu_kernels[first_kernel].name, "gather_blocks_q", 15));
    drop(&t, &r), end(&t);
    info->features = before.features, binding_limit = 0;
  }
  as_hardware = false;
}

/* ---- halves that one step stores for the next ---- */

/* MANY_ROWS: in whole matrices, and enough for skip_norm_rows.wgsl */
enum { ENCODER_ROWS = 35, ENCODER_MANY_ROWS = 136, ENCODER_WIDTH = 96, ENCODER_INNER = 160,
       ENCODER_PLAIN = 0, ENCODER_INNER_IS_READ, ENCODER_MANY, ENCODER_INFINITE, ENCODER_FORMS };

static tern__value_id add_half_product(one_op *t, tern__value_id x, int n, int k) {
  tern__value_id in[2] = {x}, out;
  uint16_t *w = constant(t, TERN_DTYPE_F16, 2, k, n);
  in[1] = t->ids[t->n_inputs - 1];
  for (int i = 0; i < n * k; i++) w[i] = tern__f32_to_f16(tern__f16_to_f32(w[i]) / 8);
  in[0] = add_node(t, "MatMul", "", in, 2, 1, &out);
  constant(t, TERN_DTYPE_F32, 1, n), in[1] = t->ids[t->n_inputs - 1];
  return add_node(t, "Add", "", in, 2, 1, &out);
}

static tern__value_id add_wide_sum_and_norm(one_op *t, tern__value_id a, tern__value_id b, int width) {
  tern__value_id in[3] = {a, b}, out;
  in[0] = add_node(t, "Add", "", in, 2, 1, &out);
  for (int i = 1; i < 3; i++) constant(t, TERN_DTYPE_F32, 1, width), in[i] = t->ids[t->n_inputs - 1];
  add_node(t, "LayerNormalization", "", in, 3, 1, &out);
  tern__node_set_float(t->graph, t->node, "epsilon", 1e-12f);
  return out;
}

static tern__value_id add_sum_and_norm(one_op *t, tern__value_id a, tern__value_id b) {
  return add_wide_sum_and_norm(t, a, b, ENCODER_WIDTH);
}

/* A layer of an encoder behind its embeddings' norm, and a product of what it gives. */
static void build_encoder(one_op *t, int form) {
  tern__value_id x, qkv[3], y, out;
  begin(t, "Fused", "tern", 1);
  int rows = form == ENCODER_MANY ? ENCODER_MANY_ROWS : ENCODER_ROWS;
  for (int i = 0; i < 2; i++) input(t, TERN_DTYPE_F32, 3, 2, rows, ENCODER_WIDTH);
  x = add_sum_and_norm(t, t->ids[0], t->ids[1]);
  for (int i = 0; i < 3; i++) qkv[i] = add_half_product(t, x, ENCODER_WIDTH, ENCODER_WIDTH);
  y = add_node(t, "EncoderAttention", "tern", qkv, 3, 1, &out);
  tern__node_set_int(t->graph, t->node, "num_heads", 3);
  x = add_sum_and_norm(t, add_half_product(t, y, ENCODER_WIDTH, ENCODER_WIDTH), x);
  y = add_half_product(t, x, ENCODER_INNER, ENCODER_WIDTH);
  if (form == ENCODER_INFINITE) ((uint16_t *)t->graph->values[t->ids[t->n_inputs - 2]].data)[7] = 0x7c00;
  y = add_node(t, "Gelu", "", (tern__value_id[]){y}, 1, 1, &out);
  if (form == ENCODER_INNER_IS_READ) add_output(t, y);
  x = add_sum_and_norm(t, add_half_product(t, y, ENCODER_WIDTH, ENCODER_INNER), x);
  add_output(t, x);
  add_output(t, add_half_product(t, x, 33, ENCODER_WIDTH));
}

/* FAST, with cooperative matrices: no dispatch makes halves of rows but of those that others want as float32, too. The
 * errors of four products and of attention come together. */
Test(halves, encoder_layer) {
  const double f32_chain_error = 1e-5, matrix_chain_error = 1e-3;
  for (int form = 0; form < ENCODER_INFINITE; form++) {
    one_op t;
    build_encoder(&t, form);
    result want = run_on_cpu(&t);
    cr_assert_eq(tern__gpu_fuse(open_machine(&t)->gpu, t.graph), TERN_OK, "%s", tern_last_error());
    cr_assert_eq(tern__array_count(t.graph->nodes), 9);
    t.numerics = TERN_NUMERICS_FAST;
    as_hardware = true;
    result got = run_on_gpu(&t, "an encoder's layer");
    as_hardware = false;
    if (by_matrices) cr_expect_eq(n_halves, form == ENCODER_INNER_IS_READ);
    for (int i = 0; i < t.n_outputs; i++) {
      double d = distance(&got, &want, i), most = by_matrices ? matrix_chain_error : f32_chain_error;
      cr_expect(d <= most, "form %d, output %d: error %.3g > %.3g", form, i, d, most);
    }
    drop(&t, &want), drop(&t, &got), end(&t);
  }
}

/* Of each of two sequences: 91 tiles of 128 rows, the last one of 16, which are enough for wide ones; one of 80. */
static const int straight_rows[2] = {5768, 40};

/* A norm, three products of it, and two more one behind the other. */
static void build_straight_products(one_op *t, int rows) {
  tern__value_id x, y, out;
  begin(t, "Fused", "tern", 1);
  for (int i = 0; i < 2; i++) input(t, TERN_DTYPE_F32, 3, 2, rows, ENCODER_WIDTH);
  x = add_sum_and_norm(t, t->ids[0], t->ids[1]);
  for (int i = 0; i < 3; i++) add_output(t, add_half_product(t, x, i == 1 ? 80 : 64, ENCODER_WIDTH));
  y = add_half_product(t, x, ENCODER_INNER, ENCODER_WIDTH);
  y = add_node(t, "Gelu", "", (tern__value_id[]){y}, 1, 1, &out);
  add_output(t, add_half_product(t, y, ENCODER_WIDTH, ENCODER_INNER));
}

static tern__gpu_kernel_id straight_kernel(int wide) {
  return wide ? TERN__KERNEL_linear_matrix128_straight_f16 : TERN__KERNEL_linear_matrix64_straight_f16;
}

Test(halves, straight_products) {
  const double f32_chain_error = 1e-5, matrix_chain_error = 1e-3;
  for (int r = 0; r < 2; r++) {
    one_op t;
    build_straight_products(&t, straight_rows[r]);
    result want = run_on_cpu(&t);
    cr_assert_eq(tern__gpu_fuse(open_machine(&t)->gpu, t.graph), TERN_OK, "%s", tern_last_error());
    cr_assert_eq(tern__array_count(t.graph->nodes), 4);
    t.numerics = TERN_NUMERICS_FAST;
    as_hardware = true;
    result got = run_on_gpu(&t, "products of whole matrices");
    as_hardware = false;
    if (by_matrices) cr_expect_eq(last_kernel, straight_kernel(!r));
    for (int i = 0; i < t.n_outputs; i++) {
      double d = distance(&got, &want, i), most = by_matrices ? matrix_chain_error : f32_chain_error;
      cr_expect(d <= most, "%d rows, output %d: error %.3g > %.3g", straight_rows[r], i, d, most);
    }
    drop(&t, &want), drop(&t, &got), end(&t);
  }
}

static const tern__gpu_linear_immediates *product_of(const tern__program *program, size_t step) {
  cr_assert_eq(strncmp(tern__gpu_kernels[program->steps[step].kernel].name, "linear_matrix", 13), 0, "step %zu is %s",
               step, tern__gpu_kernels[program->steps[step].kernel].name);
  return (const tern__gpu_linear_immediates *)(const void *)program->steps[step].immediates;
}

static bool same_place(tern__gpu_operand a, tern__gpu_operand b) {
  return a.kind == b.kind && a.index == b.index && a.offset == b.offset;
}

static void check_norm_halves(const tern__program *program, size_t norm, size_t reader) {
  const tern__gpu_step *step = &program->steps[norm];
  uint32_t flags;
  float up;
  cr_expect_eq(step->kernel, TERN__KERNEL_skip_norm_quads);
  memcpy(&flags, step->immediates + 12, sizeof flags), memcpy(&up, step->immediates + 24, sizeof up);
  cr_expect_eq(flags & 48, 16, "both are stored");
  cr_expect_eq(step->operands[3].kind, TERN__GPU_VALUE);
  cr_expect_eq(step->operands[7].kind, TERN__GPU_LANE);
  cr_expect(same_place(step->operands[7], program->steps[reader].operands[0]));
  /* sqrt(96) times a scale below 1, and a bias below 1 */
  cr_expect(up >= 2048 && up <= 8192, "rows of a norm are multiplied by %g", (double)up);
  cr_expect_eq(product_of(program, reader)->x_scale * up, 1.0f);
}

/* Plans for `t`, whose graph is fused, were the device one with matrices. */
static tern__session_plan *plan_for_matrices(one_op *t, tern__pack_cache **cache) {
  machine *at = open_machine(t);
  tern__session_plan *plan;
  tern__gpu_info *info = at->gpu->info, before = *info;
  cr_assert_eq(tern__gpu_fuse(at->gpu, t->graph), TERN_OK, "%s", tern_last_error());
  info->software = false, info->subgroup_min = info->subgroup_max = 32, info->shared_bytes = 49152;
  info->max_invocations = 256, info->features = ~0u;
  cr_assert_eq(tern__pack_cache_create(&t->alloc, cache), TERN_OK);
  tern__plan_options options = {.api = &GPU_BACKEND, .backend = at->gpu, .host_api = &tern__backend_cpu,
                                .host_backend = at->cpu, .cache = *cache, .numerics = TERN_NUMERICS_FAST,
                                .n_threads = 1, .all_on_device = true};
  cr_assert_eq(tern__plan_create(&t->alloc, t->graph, t->feeds, &options, &plan), TERN_OK, "%s", tern_last_error());
  *info = before;
  return plan;
}

/* Sums that nothing follows go straight to their outputs, one of a group's after the other. */
Test(halves, straight_products_are_planned) {
  const uint32_t first[3] = {0, 64, 144}, widths[3] = {64, 80, 64};
  for (int r = 0; r < 2; r++) {
    one_op t;
    tern__pack_cache *cache;
    build_straight_products(&t, straight_rows[r]);
    tern__session_plan *plan = plan_for_matrices(&t, &cache);
    const tern__program *program = plan->segments[0].program;
    const tern__gpu_step *steps = program->steps;
    cr_assert_eq(tern__array_count(steps), 6);
    for (size_t i = 0; i < 3; i++) {
      const tern__gpu_step *step = &steps[1 + i];
      const tern__gpu_linear_immediates *p = product_of(program, 1 + i);
      cr_expect_eq(step->kernel, straight_kernel(!r));
      cr_expect_eq(p->rows, 2 * (uint32_t)straight_rows[r]);
      cr_expect(p->first == first[i] && p->columns == widths[i] && p->width[0] == widths[i]);
      cr_expect_eq(step->operands[5].offset, first[i] * ENCODER_WIDTH * 2);
      cr_expect_eq(step->operands[5].size, widths[i] * ENCODER_WIDTH * 2);
      cr_expect(step->groups[0] == (r && widths[i] > 64 ? 2u : 1u) && step->groups[1] == (r ? 1u : 91u));
      cr_expect(same_place(step->operands[0], steps[0].operands[7]));
    }
    cr_expect_eq(steps[4].kernel,
                 r ? TERN__KERNEL_linear_matrix64_halves_f16 : TERN__KERNEL_linear_matrix128_halves_f16);
    cr_expect_eq(steps[4].operands[1].kind, TERN__GPU_NONE);
    cr_expect_eq(steps[5].kernel, straight_kernel(!r));
    cr_expect(same_place(steps[5].operands[0], steps[4].operands[4]));
    cr_expect_eq(product_of(program, 5)->x_scale * product_of(program, 4)->epsilon, 1.0f);
    tern__plan_destroy(&t.alloc, plan);
    tern__pack_cache_destroy(cache);
    end(&t);
  }
}

/* Attention between products whose rows come in whole matrices: they store its halves, and it reads them. */
typedef struct halves_attention {
  int rows, heads, dim;
  int mask;       /* 1: the second half of keys is far away; 2: one sequence sees no key, the other one the last two;
                     3: one for each query; 4: all alike, however low; 0: none */
  bool product;   /* a product reads what comes out */
  bool read;      /* values are an output, too, so that no halves are stored */
  tern__gpu_kernel_id kernel;
} halves_attention;

static const halves_attention halves_attentions[] = {
    {40, 3, 32, 0, true, false, TERN__KERNEL_attention_matrix_whole_short_32},
    {40, 2, 64, 1, false, false, TERN__KERNEL_attention_matrix_whole_short_64},
    {128, 2, 32, 1, true, false, TERN__KERNEL_attention_matrix_whole_32},
    {72, 2, 64, 2, true, false, TERN__KERNEL_attention_matrix_whole_64},
    {104, 3, 32, 2, false, false, TERN__KERNEL_attention_matrix_whole_32},
    {24, 3, 32, 3, true, false, TERN__KERNEL_attention_matrix_encoder_halves_32},
    {136, 1, 64, 1, false, false, TERN__KERNEL_attention_matrix_encoder_halves_64},
    {200, 2, 32, 2, true, false, TERN__KERNEL_attention_matrix_encoder_halves_32},
    {64, 2, 48, 1, true, false, TERN__KERNEL_attention_matrix_encoder_halves_64},
    {16, 2, 32, 0, false, false, TERN__KERNEL_attention_matrix_whole_short_32},
    {128, 1, 64, 0, false, false, TERN__KERNEL_attention_matrix_whole_64},
    {64, 3, 32, 4, true, false, TERN__KERNEL_attention_matrix_whole_short_32},
    {120, 1, 64, 4, true, false, TERN__KERNEL_attention_matrix_whole_64},
    {40, 1, 96, 0, true, false, TERN__KERNEL_attention_matrix_encoder_halves_96},
    {40, 1, 128, 1, false, false, TERN__KERNEL_attention_matrix_encoder_halves_128},
    {40, 3, 32, 0, true, true, TERN__KERNEL_attention_matrix_encoder_32},
};
enum { HALVES_ATTENTIONS = sizeof halves_attentions / sizeof *halves_attentions };

static void build_halves_attention(one_op *t, const halves_attention *of) {
  int width = of->heads * of->dim;
  tern__value_id x, y, in[4], out;
  begin(t, "Fused", "tern", 1);
  for (int i = 0; i < 2; i++) input(t, TERN_DTYPE_F32, 3, 2, of->rows, width);
  float *mask = NULL;
  if (of->mask == 3) input(t, TERN_DTYPE_F32, 2, of->rows, 1);
  else if (of->mask) mask = input(t, TERN_DTYPE_F32, 4, 2, 1, 1, of->rows);
  for (int i = 0; mask && i < 2 * of->rows; i++) {
    int key = i % of->rows;
    if (of->mask == 1) mask[i] = key > of->rows / 2 ? -3.4e38f : 0;
    else if (of->mask == 4) mask[i] = -3.4028234663852886e38f;
    else mask[i] = i < of->rows || key < of->rows - 2 ? -INFINITY : 0;
  }
  tern__value_id mask_id = of->mask ? t->ids[2] : -1;
  x = add_wide_sum_and_norm(t, t->ids[0], t->ids[1], width);
  for (int i = 0; i < 3; i++) in[i] = add_half_product(t, x, width, width);
  in[3] = mask_id;
  y = add_node(t, "EncoderAttention", "tern", in, of->mask ? 4 : 3, 1, &out);
  tern__node_set_int(t->graph, t->node, "num_heads", of->heads);
  if (of->read) add_output(t, in[2]);
  add_output(t, of->product ? add_half_product(t, y, 40, width) : y);
}

Test(halves, attention) {
  const double f32_chain_error = 1e-5, matrix_chain_error = 1e-3;
  for (int c = 0; c < HALVES_ATTENTIONS; c++) {
    one_op t;
    build_halves_attention(&t, &halves_attentions[c]);
    result want = run_on_cpu(&t);
    cr_assert_eq(tern__gpu_fuse(open_machine(&t)->gpu, t.graph), TERN_OK, "%s", tern_last_error());
    t.numerics = TERN_NUMERICS_FAST;
    as_hardware = true;
    result got = run_on_gpu(&t, "attention of halves");
    as_hardware = false;
    if (by_matrices) cr_expect_eq(n_halves, 0);
    for (int i = 0; i < t.n_outputs; i++) {
      double d = distance(&got, &want, i), most = by_matrices ? matrix_chain_error : f32_chain_error;
      cr_expect(d <= most, "case %d, output %d: error %.3g > %.3g", c, i, d, most);
    }
    drop(&t, &want), drop(&t, &got), end(&t);
  }
}

/* Queries of one sequence, keys and values of another one. */
Test(halves, cross_attention) {
  static const struct { int batch, heads, rows, keys, dim; tern__gpu_kernel_id kernel; } cases[] = {
      {2, 2, 24, 112, 32, TERN__KERNEL_attention_matrix_whole_32},
      {2, 2, 72, 16, 64, TERN__KERNEL_attention_matrix_whole_short_64},
      {2, 2, 40, 72, 64, TERN__KERNEL_attention_matrix_whole_64},
      {2, 2, 136, 8, 32, TERN__KERNEL_attention_matrix_whole_short_32},
      {2, 2, 200, 104, 32, TERN__KERNEL_attention_matrix_whole_32},
      {512, 3, 16, 8, 32, TERN__KERNEL_attention_matrix_whole_short_32}}; /* two heads a workgroup, or one */
  const double f32_chain_error = 1e-5, matrix_chain_error = 1e-3;
  for (int c = 0; c < (int)(sizeof cases / sizeof *cases); c++) {
    int width = cases[c].heads * cases[c].dim;
    one_op t;
    tern__value_id x[2], in[3], out;
    begin(&t, "Fused", "tern", 1);
    for (int i = 0; i < 4; i++)
      input(&t, TERN_DTYPE_F32, 3, cases[c].batch, i < 2 ? cases[c].rows : cases[c].keys, width);
    for (int i = 0; i < 2; i++) x[i] = add_wide_sum_and_norm(&t, t.ids[2 * i], t.ids[2 * i + 1], width);
    for (int i = 0; i < 3; i++) in[i] = add_half_product(&t, x[i > 0], width, width);
    tern__value_id y = add_node(&t, "EncoderAttention", "tern", in, 3, 1, &out);
    tern__node_set_int(t.graph, t.node, "num_heads", cases[c].heads);
    add_output(&t, y);
    result want = run_on_cpu(&t);
    cr_assert_eq(tern__gpu_fuse(open_machine(&t)->gpu, t.graph), TERN_OK, "%s", tern_last_error());
    t.numerics = TERN_NUMERICS_FAST;
    as_hardware = true;
    result got = run_on_gpu(&t, "attention of halves, two sequences");
    as_hardware = false;
    for (int i = 0; i < t.n_outputs; i++) {
      double d = distance(&got, &want, i), most = by_matrices ? matrix_chain_error : f32_chain_error;
      cr_expect(d <= most, "case %d, output %d: error %.3g > %.3g", c, i, d, most);
    }
    if (by_matrices) cr_expect_eq(last_kernel, cases[c].kernel);
    drop(&t, &want), drop(&t, &got), end(&t);
  }
}

/* A product that stores halves for attention's operand; what they are multiplied by. */
static float check_attention_operand(const tern__program *program, size_t product, size_t attention, int operand,
                                     uint32_t width) {
  const tern__gpu_step *step = &program->steps[product];
  const tern__gpu_linear_immediates *p = product_of(program, product);
  cr_expect_eq(step->kernel, TERN__KERNEL_linear_matrix64_halves_f16);
  cr_expect(step->operands[1].kind == TERN__GPU_NONE && step->operands[4].kind == TERN__GPU_VALUE);
  cr_expect(same_place(step->operands[4], program->steps[attention].operands[operand]));
  cr_expect(p->columns == width && p->first == (uint32_t)(product - 1) * width);
  /* A row of a norm adds up to at most sqrt(width) times |scale|, and width; weights are below 1/8 */
  cr_expect(p->epsilon >= 256 && p->epsilon <= 8192, "%g", (double)p->epsilon);
  return p->epsilon;
}

Test(halves, attention_is_planned) {
  for (int c = 0; c < HALVES_ATTENTIONS; c++) {
    const halves_attention *of = &halves_attentions[c];
    const uint32_t width = (uint32_t)(of->heads * of->dim);
    const int operands[3] = {0, 2, 3};
    one_op t;
    tern__pack_cache *cache;
    tern__gpu_attention a;
    float up[3];
    build_halves_attention(&t, of);
    tern__session_plan *plan = plan_for_matrices(&t, &cache);
    const tern__program *program = plan->segments[0].program;
    cr_assert_eq(tern__array_count(program->steps), of->product ? 6 : 5);
    const tern__gpu_step *step = &program->steps[4];
    cr_expect_eq(step->kernel, of->kernel, "case %d: %s", c, tern__gpu_kernels[step->kernel].name);
    memcpy(&a, step->immediates, sizeof a);
    if (of->read) {
      cr_expect(a.product_scale == 1 && a.value_scale == 1);
      for (size_t i = 1; i < 4; i++)
        cr_expect_eq(program->steps[i].kernel, TERN__KERNEL_linear_matrix64_straight_f16);
    } else {
      for (int i = 0; i < 3; i++) up[i] = check_attention_operand(program, (size_t)i + 1, 4, operands[i], width);
      cr_expect_eq(a.scale, 1.0f);
      cr_expect_eq(a.product_scale * up[0] * up[1], 1.0f / sqrtf((float)of->dim));
      cr_expect_eq(a.value_scale * up[2], 1.0f);
    }
    cr_expect(step->operands[1].kind == (of->product ? TERN__GPU_NONE : TERN__GPU_VALUE));
    tern__plan_destroy(&t.alloc, plan);
    tern__pack_cache_destroy(cache);
    end(&t);
  }
}

/* Which steps store halves, and where, were the device one with matrices: it only plans. */
Test(halves, are_planned) {
  for (int form = 0; form < ENCODER_FORMS; form++) {
    one_op t;
    tern__pack_cache *cache;
    if (form == ENCODER_MANY) continue;
    build_encoder(&t, form);
    tern__session_plan *plan = plan_for_matrices(&t, &cache);
    const tern__program *program = plan->segments[0].program;
    const tern__gpu_step *steps = program->steps;
    size_t inner = 5, outer = form == ENCODER_PLAIN ? 6 : 7, n = outer + 3;
    cr_assert_eq(tern__array_count(steps), n, "form %d: %zu steps", form, tern__array_count(steps));
    check_norm_halves(program, 0, 1), check_norm_halves(program, 4, inner), check_norm_halves(program, n - 2, n - 1);
    cr_expect_eq(tern__array_count(program->lanes), 1, "they are not needed at once");
    cr_expect_eq(program->lane_bytes, tern__gpu_place(2 * ENCODER_ROWS * ENCODER_WIDTH * 2));
    /* Attention's, and the inner product's, are in the values' own memory. */
    cr_expect_eq(steps[2].kernel, TERN__KERNEL_attention_matrix_encoder_32);
    cr_expect_eq(steps[2].operands[1].kind, TERN__GPU_NONE);
    cr_expect(same_place(steps[2].operands[5], steps[3].operands[0]) && steps[3].operands[0].kind == TERN__GPU_VALUE);
    cr_expect_eq(product_of(program, 3)->x_scale, 2.0f);
    if (form == ENCODER_PLAIN) {
      cr_expect_eq(steps[inner].kernel, TERN__KERNEL_linear_matrix64_halves_f16);
      cr_expect_eq(steps[inner].operands[1].kind, TERN__GPU_NONE);
      cr_expect_eq(steps[inner].operands[4].kind, TERN__GPU_VALUE);
      cr_expect(same_place(steps[inner].operands[4], steps[outer].operands[0]));
      cr_expect_eq(product_of(program, outer)->x_scale * product_of(program, inner)->epsilon, 1.0f);
    } else { /* others read it, or no bound is known */
      cr_expect_eq(steps[inner].kernel, TERN__KERNEL_linear_matrix64_f16);
      cr_expect_eq(steps[inner].operands[1].kind, TERN__GPU_VALUE);
      cr_expect_eq(steps[inner + 1].kernel, TERN__KERNEL_linear_half);
      cr_expect_eq(product_of(program, outer)->x_scale, 0.0f);
    }
    tern__plan_destroy(&t.alloc, plan);
    tern__pack_cache_destroy(cache);
    end(&t);
  }
}

/* Many rows in whole matrices: what products make for a norm's sum is stored as halves, too. */
Test(halves, many_rows_are_planned) {
  static const tern__gpu_kernel_id kernels[] = {
      TERN__KERNEL_skip_norm_rows_512,          TERN__KERNEL_linear_matrix64_halves_f16,
      TERN__KERNEL_linear_matrix64_halves_f16,  TERN__KERNEL_linear_matrix64_halves_f16,
      TERN__KERNEL_attention_matrix_encoder_halves_32, TERN__KERNEL_linear_matrix64_halves_f16,
      TERN__KERNEL_skip_norm_rows_512,          TERN__KERNEL_linear_matrix64_halves_f16,
      TERN__KERNEL_linear_matrix64_halves_f16,  TERN__KERNEL_skip_norm_rows_512,
      TERN__KERNEL_linear_matrix64_f16};
  enum { N = sizeof kernels / sizeof *kernels };
  one_op t;
  tern__pack_cache *cache;
  build_encoder(&t, ENCODER_MANY);
  tern__session_plan *plan = plan_for_matrices(&t, &cache);
  const tern__program *program = plan->segments[0].program;
  const tern__gpu_step *steps = program->steps;
  cr_assert_eq(tern__array_count(steps), N);
  for (size_t i = 0; i < N; i++)
    cr_expect_eq(steps[i].kernel, kernels[i], "step %zu is %s", i, tern__gpu_kernels[steps[i].kernel].name);
  for (size_t i = 0; i < N; i++) {
    uint32_t flags;
    float scale;
    if (kernels[i] != TERN__KERNEL_skip_norm_rows_512) continue;
    memcpy(&scale, steps[i].immediates + 8, sizeof scale), memcpy(&flags, steps[i].immediates + 12, sizeof flags);
    cr_expect_eq(flags & 112, i ? 80 : 16);
    cr_expect_eq(steps[i].groups[0], 2 * ENCODER_MANY_ROWS / 8);
    if (!i) continue;
    cr_expect(steps[i].operands[0].kind == TERN__GPU_NONE && steps[i].operands[4].kind == TERN__GPU_VALUE);
    cr_expect(same_place(steps[i].operands[5], steps[i - 1].operands[4]));
    cr_expect(same_place(steps[i].operands[4], steps[i == 6 ? 0 : 6].operands[3]), "the residual is a norm's");
    cr_expect_eq(scale * product_of(program, i - 1)->epsilon, 1.0f);
  }
  tern__plan_destroy(&t.alloc, plan);
  tern__pack_cache_destroy(cache);
  end(&t);
}

#endif
