/* Matrix products of the CPU backend in GB/s (one row) and GOPS (many rows), beside a plain read of memory
 * and the rate of independent multiply-adds on the same threads. Build as in CONTRIBUTING.md; run:
 * bench_cpu_linear [threads]. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "cpu/cpu_program.h"
#include "runtime/plan.h"
#include "runtime/thread_pool.h"

extern const tern__backend_api tern__backend_cpu;

enum { SAMPLES = 9 };

typedef struct setting {
  tern__alloc alloc;
  tern__pool *pool;
  tern__backend *backend;
  int32_t threads;
} setting;

static int by_value(const void *a, const void *b) {
  return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double median_seconds(void (*fn)(void *), void *arg, int repeat) {
  double samples[SAMPLES];
  fn(arg);
  for (int s = 0; s < SAMPLES; s++) {
    uint64_t start = tern__now_ns();
    for (int r = 0; r < repeat; r++) fn(arg);
    samples[s] = (double)(tern__now_ns() - start) * 1e-9 / repeat;
  }
  qsort(samples, SAMPLES, sizeof *samples, by_value);
  return samples[SAMPLES / 2];
}

/* ---- probes ---- */

typedef struct probe { setting *s; const uint64_t *data; size_t words; _Atomic uint64_t sum; } probe;

static void read_part(void *arg, int32_t thread, int32_t n) {
  probe *p = arg;
  typedef uint64_t wide __attribute__((vector_size(64)));
  const wide *data = (const wide *)(const void *)p->data;
  wide a = {0}, b = a, c = a, d = a;
  size_t all = p->words / 8 / (size_t)n, from = all * (size_t)thread;
  for (size_t i = from; i + 4 <= from + all; i += 4)
    a |= data[i], b |= data[i + 1], c |= data[i + 2], d |= data[i + 3];
  a = (a | b) | (c | d);
  atomic_fetch_or(&p->sum, a[0] | a[1] | a[2] | a[3] | a[4] | a[5] | a[6] | a[7]);
}
static void read_all(void *arg) {
  probe *p = arg;
  tern__pool_run(p->s->pool, p->s->threads, read_part, p);
}

/* ---- products: `copies` weight matrices in turn, so that the caches do not hold them ---- */

typedef struct product { tern__session_plan *plan; tern__run_args args; } product;

static void run_product(void *arg) {
  product *p = arg;
  tern__backend_cpu.run(p->plan->segments[0].program, &p->args);
}

static void bench(setting *s, tern_dtype dtype, int m, int k, int n, double read_gbs) {
  const tern__dtype_info *info = tern__dtype_info_of(dtype);
  size_t bytes = (size_t)n * (size_t)k / info->block_elements * info->block_bytes;
  int copies = m == 1 ? (int)((256u << 20) / bytes) + 1 : 1;
  tern__arena arena;
  tern__graph *graph;
  tern__pack_cache *cache;
  product p = {0};
  tern__value_id x, w, y;
  int32_t node;
  tern__arena_init(&arena, &s->alloc);
  tern__graph_create(&s->alloc, &arena, &graph);
  int64_t xd[] = {m, k}, wd[] = {n, k};
  tern__graph_add_value(graph, "x", TERN_DTYPE_F32, 2, xd, &x);
  tern__graph_add_input(graph, x);
  float *input = calloc((size_t)m * (size_t)k, sizeof *input);
  for (int i = 0; i < m * k; i++) input[i] = (float)(rand() % 2001 - 1000) / 1000;
  uint8_t **weights = calloc((size_t)copies, sizeof *weights);
  for (int c = 0; c < copies; c++) {
    char name[16];
    weights[c] = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) weights[c][i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t b = 0; b < bytes; b += info->block_bytes) {
      uint16_t one = tern__f32_to_f16(0.01f);
      memcpy(weights[c] + b + (dtype == TERN_DTYPE_Q6_K ? 208 : 0), &one, 2);
      if (dtype == TERN_DTYPE_F32) memset(weights[c] + b, 0, 4);
    }
    snprintf(name, sizeof name, "w%d", c);
    tern__graph_add_constant(graph, name, dtype, 2, wd, weights[c], bytes, &w);
    snprintf(name, sizeof name, "y%d", c);
    tern__graph_add_value(graph, name, TERN_DTYPE_NONE, -1, NULL, &y);
    tern__graph_add_output(graph, y);
    tern__graph_add_node(graph, tern__op_find("Linear", "tern", 1), "linear", 1, (tern__value_id[]){x, w}, 2,
                         &y, 1, &node);
  }
  tern__view in = {TERN_DTYPE_F32, {2, {m, k}}, input, (size_t)m * (size_t)k * 4};
  tern__pack_cache_create(&s->alloc, &cache);
  tern__plan_options options = {.api = &tern__backend_cpu, .backend = s->backend, .host_api = &tern__backend_cpu,
                                .host_backend = s->backend, .cache = cache, .numerics = TERN_NUMERICS_FAST,
                                .n_threads = s->threads};
  if (tern__plan_create(&s->alloc, graph, &in, &options, &p.plan) ||
      tern__backend_cpu.prepare(p.plan->segments[0].program, NULL, NULL)) {
    printf("failed: %s\n", tern_last_error());
    exit(1);
  }
  uint8_t *memory = aligned_alloc(64, (p.plan->activation_bytes + 127) / 64 * 64);
  tern__plan_bind(p.plan, memory);
  tern__plan_bind_input(p.plan, 0, input);
  double seconds = median_seconds(run_product, &p, m == 1 ? 1 : 3) / copies;
  printf("%-5s m %4d k %5d n %6d: %9.1f us", tern_dtype_name(dtype), m, k, n, seconds * 1e6);
  if (m == 1)
    printf("  %6.1f GB/s (%3.0f%% of a plain read)\n", (double)bytes / seconds * 1e-9,
           (double)bytes / seconds * 1e-7 / read_gbs);
  else printf("  %6.1f GOPS\n", 2.0 * m * k * n / seconds * 1e-9);
  tern__plan_destroy(&s->alloc, p.plan);
  tern__pack_cache_destroy(cache);
  tern__graph_destroy(graph);
  tern__arena_deinit(&arena);
  for (int c = 0; c < copies; c++) free(weights[c]);
  free(weights), free(input), free(memory);
}

int main(int argc, char **argv) {
  setting s = {.threads = argc > 1 ? (int32_t)strtol(argv[1], NULL, 10) : tern__online_cpus()};
  tern__alloc_init(&s.alloc, NULL, 0);
  if (tern__pool_create(&s.alloc, s.threads, &s.pool)) return 1;
  tern__backend_env env = {&s.alloc, NULL, s.pool};
  if (tern__cpu_open_with(&env, argc > 2 ? (uint32_t)strtol(argv[2], NULL, 10) : UINT32_MAX, &s.backend))
    return 1;
  probe p = {.s = &s, .words = (256u << 20) / 8};
  uint64_t *data = aligned_alloc(64, 256u << 20);
  memset(data, 1, 256u << 20);
  p.data = data;
  double read_gbs = 0.268435456 / median_seconds(read_all, &p, 1);
  free(data);
  printf("%s, %d threads; plain read %.1f GB/s\n", tern__backend_cpu.describe(s.backend), (int)s.threads,
         read_gbs);
  const tern_dtype types[] = {TERN_DTYPE_Q4_0, TERN_DTYPE_Q4_1, TERN_DTYPE_Q4_K, TERN_DTYPE_Q6_K,
                              TERN_DTYPE_Q8_0, TERN_DTYPE_F16,  TERN_DTYPE_F32};
  const int shapes[][2] = {{576, 1536}, {1536, 576}, {2048, 2048}};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (size_t i = 0; i < 3; i++) {
      if ((types[t] == TERN_DTYPE_Q4_K || types[t] == TERN_DTYPE_Q6_K) && shapes[i][0] % 256) continue;
      bench(&s, types[t], 1, shapes[i][0], shapes[i][1], read_gbs);
      if (i != 1) bench(&s, types[t], 8, shapes[i][0], shapes[i][1], read_gbs);
      bench(&s, types[t], 512, shapes[i][0], shapes[i][1], read_gbs);
    }
  tern__backend_cpu.close(s.backend);
  tern__pool_destroy(s.pool);
  return 0;
}
