/* Every GPU kernel against the op's reference, on the device that TERN_TEST_DEVICE names ("llvmpipe", "SwiftShader", a
 * real GPU's name; empty: the best one). One node per case, through the real planner; it must not fall back to the
 * CPU. Skipped (77) where there is no such device. */
#include "gpu/gpu_fuse.h"
#include "gpu/gpu_halves.h"
#include "gpu/ops/gpu_attention.h"
#include "gpu/ops/gpu_product.h"
#include "gpu/gpu_recording.h"
#include "ops/op_builder.h"
#include "vulkan/validated.h"

#if defined(__wasm__)
#  define GPU_BACKEND tern__backend_webgpu
#else
#  define GPU_BACKEND tern__backend_vulkan
#endif
extern const tern__backend_api tern__backend_cpu, GPU_BACKEND;

typedef struct machine {
  tern__alloc alloc;
  tern__pool *pool;
  tern__backend_env env;
  tern__backend *cpu, *gpu;
  uint64_t binding_limit;
  uint32_t groups_limit;
  bool software, unified;
} machine;

static machine m;
/* Bytes of a binding that the device is said to have at most; 0 = its own. */
static uint64_t binding_limit;
/* Whether a software device is taken for a real one: for the kernels that only those get. */
static bool as_hardware;
/* Whether the device is taken for one with memory of its own, and which it is. */
static enum { AS_IT_IS, AS_CARD, AS_UNIFIED } as_memory;
/* Where the sequence stands in the first of a case's two runs, if not where it stands in the second; -1 = there. */
static int32_t first_past = -1;
/* The first and the last dispatch of the last run. */
static tern__gpu_kernel_id first_kernel, last_kernel;
/* Dispatches of it that only round rows, or make halves of them. */
static int n_rounds, n_halves;
/* Those whose product stores a row in the cache, and those that are part of a chain. */
static int n_rotary, n_links;
static bool raise_alarm; /* before each run, as who waits in vain does */
static const double fast_error = 2e-4; /* 15-bit activations; gate and up are two such products multiplied */
/* Cooperative matrices, which only FAST gets: operands are halves, rounded to 11 bits, which moves a value by 2e-4 of
 * itself in the mean square, and a sum of products of two with random signs by 3e-4. Of attention's, scores, about 1 in the
 * cases that round them, are off by as much once more. */
static const double matrix_product_error = 5e-4, matrix_attention_error = 1e-3;
static bool by_matrices; /* whether what ran last was computed so */

/* When a test's process ends: what is still held then was leaked, and the test crashes. */
static void close_machine(void) {
  if (!m.gpu) return;
  GPU_BACKEND.close(m.gpu);
  tern__backend_cpu.close(m.cpu);
  tern__pool_destroy(m.pool);
  m.gpu = NULL;
  if (!m.alloc.live_bytes) return;
  fprintf(stderr, "the device keeps %llu bytes\n", (unsigned long long)m.alloc.live_bytes);
  abort();
}

/* A case may make the device look smaller than it is. */
static machine *with_limits(const one_op *t) {
  uint64_t limit = t->binding_limit ? t->binding_limit : binding_limit;
  m.gpu->info->max_binding_bytes = limit ? limit : m.binding_limit;
  m.gpu->info->software = m.software && !as_hardware;
  m.gpu->info->unified = as_memory == AS_IT_IS ? m.unified : as_memory == AS_UNIFIED;
  m.gpu->info->max_groups = t->groups_limit ? t->groups_limit : m.groups_limit;
  return &m;
}

/* Opened once: some drivers do not like many instances, one after the other. */
static machine *open_machine(const one_op *t) {
  const char *which = getenv("TERN_TEST_DEVICE");
  if (m.gpu) return with_limits(t);
  tern__alloc_init(&m.alloc, NULL, 0);
  cr_assert_eq(tern__pool_create(&m.alloc, 2, &m.pool), TERN_OK);
  m.env = (tern__backend_env){.alloc = &m.alloc, .pool = m.pool};
  cr_assert_eq(tern__backend_cpu.open(&m.env, NULL, &m.cpu), TERN_OK);
  cr_assert_eq(GPU_BACKEND.open(&m.env, which && which[0] ? which : NULL, &m.gpu), TERN_OK, "%s",
               tern_last_error());
  atexit(close_machine); /* before the handlers that the driver registered while it was opened */
  m.binding_limit = m.gpu->info->max_binding_bytes, m.groups_limit = m.gpu->info->max_groups;
  m.software = m.gpu->info->software;
  atomic_store(&m.gpu->no_chains, synchronization_is_validated());
  m.unified = m.gpu->info->unified;
  return with_limits(t);
}

static result run_reference(one_op *t) {
  result r;
  machine *at = open_machine(t);
  tern__pack_cache *cache;
  tern__session_plan *plan;
  tern__view in[MAX_INPUTS], out[4];
  cr_assert_eq(tern__pack_cache_create(&t->alloc, &cache), TERN_OK);
  tern__plan_options options = {.api = &tern__backend_cpu, .backend = at->cpu, .host_api = &tern__backend_cpu,
                                .host_backend = at->cpu, .cache = cache, .kv = t->kv, .numerics = t->numerics,
                                .n_threads = 1};
  cr_assert_eq(tern__plan_create(&t->alloc, t->graph, t->feeds, &options, &plan), TERN_OK, "%s", tern_last_error());
  uint8_t *memory = malloc(plan->activation_bytes + 64);
  tern__plan_bind(plan, memory);
  for (int i = 0; i < t->n_feeds; i++) tern__plan_bind_input(plan, i, t->feeds[i].data);
  memset(in, 0, sizeof in);
  for (int i = 0; i < t->n_inputs; i++)
    if (t->ids[i] >= 0) in[i] = plan->base.views[t->ids[i]];
  for (int i = 0; i < t->n_outputs; i++) out[i] = plan->base.views[t->outs[i]];
  tern__op_call call = {&t->graph->nodes[t->node], t->graph, in, out, t->n_inputs, t->n_outputs, &t->alloc, t->kv, NULL};
  cr_assert_eq(t->op->reference(&call), TERN_OK, "%s", tern_last_error());
  keep(t, plan, &r);
  tern__plan_destroy(&t->alloc, plan);
  tern__pack_cache_destroy(cache);
  free(memory);
  return r;
}

/* Whether the run stores half i of a layer of the cache. */
static bool is_fresh(const tern__kv_cache *kv, int l, size_t i) {
  size_t row = i / (size_t)kv->head_dim[l], position = row % (size_t)kv->capacity;
  size_t b = row / (size_t)kv->capacity / (size_t)kv->kv_heads[l];
  return position >= (size_t)kv->past[b] && position < (size_t)(kv->past[b] + kv->fresh[b]);
}

/* Others only ask the cache for positions. */
static bool stores(const one_op *t) { return !strcmp(t->op->name, "KvAttention"); }

/* The cache as the reference left it, without what it stored: NaN, which must not be read. */
static void send_layer(const machine *at, const tern__kv_cache *cache, int l, const uint16_t *halves,
                       tern__gpu_buffer *buffer, uint64_t offset, uint64_t bytes) {
  uint16_t *sent = malloc(bytes);
  for (size_t i = 0; i < bytes / 2; i++) sent[i] = is_fresh(cache, l, i) ? 0xffff : halves[i];
  cr_assert_eq(at->gpu->api->write(at->gpu->device, buffer, offset, sent, bytes), TERN_OK);
  free(sent);
}

static tern__device_memory *send_cache(one_op *t, const machine *at) {
  tern__device_memory *kv = NULL;
  if (!t->kv) return NULL;
  cr_assert_eq(GPU_BACKEND.device->kv_create(at->gpu, t->kv, &kv), TERN_OK, "%s", tern_last_error());
  for (int l = 0; l < t->kv->n_layers; l++) {
    send_layer(at, t->kv, l, t->kv->k[l], kv->layers[l], kv->k[l], kv->bytes[l]);
    send_layer(at, t->kv, l, t->kv->v[l], kv->layers[l], kv->v[l], kv->bytes[l]);
  }
  return kv;
}

static int32_t in_order(uint16_t half) { return half & 0x8000 ? -(half & 0x7fff) : half; }

/* The device's half of a layer. */
static uint16_t *bring_layer(const machine *at, tern__gpu_buffer *buffer, uint64_t offset, uint64_t bytes) {
  const tern__gpu_api *api = at->gpu->api;
  tern__gpu_buffer *back;
  tern__gpu_commands *commands;
  uint64_t ticket, size = (bytes + 3) / 4 * 4;
  cr_assert_eq(api->buffer_create(at->gpu->device, TERN__GPU_READBACK, size, &back), TERN_OK);
  cr_assert_eq(api->commands_create(at->gpu->device, &commands), TERN_OK);
  cr_assert_eq(api->copy(commands, &(tern__gpu_range){buffer, offset, size}, &(tern__gpu_range){back, 0, size}), TERN_OK);
  cr_assert_eq(api->commands_finish(commands), TERN_OK);
  cr_assert_eq(api->submit(at->gpu->device, commands, &ticket), TERN_OK);
  cr_assert_eq(api->wait(at->gpu->device, ticket, UINT64_MAX), TERN_OK);
  cr_assert_eq(api->invalidate(at->gpu->device, &(tern__gpu_range){back, 0, size}), TERN_OK);
  uint16_t *got = malloc(size);
  memcpy(got, api->buffer_host(back), size);
  api->commands_destroy(commands);
  api->buffer_destroy(at->gpu->device, back);
  return got;
}

/* What the device stored is what the reference did, but for the last bit of a half: rotations round differently. */
static void check_layer(const machine *at, const tern__kv_cache *cache, int l, const uint16_t *want,
                        tern__gpu_buffer *buffer, uint64_t offset, uint64_t bytes) {
  uint16_t *got = bring_layer(at, buffer, offset, bytes);
  for (size_t i = 0; i < bytes / 2; i++)
    cr_assert(abs(in_order(got[i]) - in_order(want[i])) <= is_fresh(cache, l, i), "half %zu of the cache: %04x, not %04x",
              i, got[i], want[i]);
  free(got);
}

static void check_cache(one_op *t, const machine *at, const tern__device_memory *kv) {
  for (int l = 0; t->kv && l < t->kv->n_layers; l++) {
    check_layer(at, t->kv, l, t->kv->k[l], kv->layers[l], kv->k[l], kv->bytes[l]);
    check_layer(at, t->kv, l, t->kv->v[l], kv->layers[l], kv->v[l], kv->bytes[l]);
  }
}

/* In place of what the host's cache had. */
static void bring_cache(one_op *t, const machine *at, const tern__device_memory *kv) {
  for (int l = 0; l < t->kv->n_layers; l++)
    for (int values = 0; values < 2; values++) {
      uint16_t *got = bring_layer(at, kv->layers[l], values ? kv->v[l] : kv->k[l], kv->bytes[l]);
      memcpy(values ? t->kv->v[l] : t->kv->k[l], got, kv->bytes[l]);
      free(got);
    }
}

static bool uses_matrices(const tern__program *program) {
  for (size_t i = 0; i < tern__array_count(program->steps); i++)
    if (tern__gpu_kernels[program->steps[i].kernel].needs & TERN__GPU_HAS_COOPERATIVE_MATRIX) return true;
  return false;
}

static result run_on_gpu(one_op *t, const char *what) {
  result r;
  machine *at = open_machine(t);
  tern__pack_cache *cache;
  tern__session_plan *plan;
  tern__device_memory *arena = NULL, *kv;
  const tern__device_api *device = GPU_BACKEND.device;
  cr_assert_eq(tern__pack_cache_create(&t->alloc, &cache), TERN_OK);
  tern__plan_options options = {.api = &GPU_BACKEND, .backend = at->gpu, .host_api = &tern__backend_cpu,
                                .host_backend = at->cpu, .cache = cache, .kv = t->kv, .numerics = t->numerics,
                                .n_threads = 2, .all_on_device = true};
  cr_assert_eq(tern__plan_create(&t->alloc, t->graph, t->feeds, &options, &plan), TERN_OK, "%s", tern_last_error());
  cr_assert(tern__array_count(plan->segments) == 1 && plan->segments[0].api == &GPU_BACKEND,
            "%s %s has no kernel on the device", t->op->name, what);
  tern__program *program = plan->segments[0].program;
  by_matrices = uses_matrices(program);
  size_t n_steps = tern__array_count(program->steps);
  first_kernel = n_steps ? program->steps[0].kernel : TERN__KERNEL_COUNT;
  n_rounds = n_halves = n_rotary = 0;
  for (size_t s = 0; s < n_steps; s++) {
    n_rounds += program->steps[s].kernel == TERN__KERNEL_linear_round;
    n_halves += program->steps[s].kernel == TERN__KERNEL_linear_half;
    n_rotary += !strncmp(tern__gpu_kernels[program->steps[s].kernel].name, "linear_dot_rotary_", 18);
  }
  cr_assert_eq(tern__gpu_prepare(program, NULL, NULL), TERN_OK, "%s", tern_last_error());
  if (plan->device_bytes)
    cr_assert_eq(device->memory_create(at->gpu, plan->device_bytes, &arena), TERN_OK, "%s", tern_last_error());
  kv = send_cache(t, at);
  cr_assert_eq(device->bind(program, arena, kv), TERN_OK, "%s", tern_last_error());
  uint8_t *memory = malloc(plan->activation_bytes + 64);
  memset(memory, 0xff, plan->activation_bytes + 64);
  tern__plan_bind(plan, memory);
  for (int i = 0; i < t->n_feeds; i++) tern__plan_bind_input(plan, i, t->feeds[i].data);
  tern__run_args args = {.kv = t->kv};
  for (int twice = 0; twice < 2; twice++) {
    int32_t past = t->kv ? t->kv->past[0] : 0;
    if (t->kv && !twice && first_past >= 0) t->kv->past[0] = first_past;
    cr_assert_eq(device->bind(program, arena, kv), TERN_OK, "%s", tern_last_error());
    if (raise_alarm)
      cr_assert_eq(at->gpu->api->write(at->gpu->device, program->recording->kept, program->recording->chain_at,
                                       &(uint32_t){1}, sizeof(uint32_t)), TERN_OK);
    cr_assert_eq(tern__gpu_run(program, &args), TERN_OK, "%s", tern_last_error());
    if (t->kv) t->kv->past[0] = past;
  }
  n_links = (int)program->recording->counters;
  last_kernel = TERN__KERNEL_COUNT;
  if (n_steps) last_kernel = tern__gpu_recorded_kernel(program->recording, &program->steps[n_steps - 1]);
  keep(t, plan, &r);
  if (stores(t)) check_cache(t, at, kv);
  else if (t->kv && !strcmp(t->op->name, "Fused")) bring_cache(t, at, kv);
  tern__plan_destroy(&t->alloc, plan);
  tern__pack_cache_destroy(cache);
  device->memory_destroy(at->gpu, arena);
  device->memory_destroy(at->gpu, kv);
  free(memory);
  return r;
}

/* Ops with kernels of their own for devices that are no CPU. */
static bool has_hardware_kernels(const tern__op_def *op) {
  static const char *const names[] = {"Linear", "Gemm", "MatMulNBits", "MatMulBnb4", "KvAttention", "EncoderAttention",
                                      "Fused"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(op->name, names[i])) return true;
  return false;
}

static void compare(one_op *t, const result *want, double tolerance, const char *what) {
  result got = run_on_gpu(t, what);
  if (by_matrices) {
    cr_expect_eq(t->numerics, TERN_NUMERICS_FAST);
    tolerance = strstr(t->op->name, "Attention") ? matrix_attention_error : matrix_product_error;
  }
  for (int i = 0; i < t->n_outputs; i++) {
    double d = distance(&got, want, i);
    cr_expect(d <= tolerance, "%s %s%s, output %d: error %.3g > %.3g", t->op->name, what,
              as_hardware ? " as hardware" : "", i, d, tolerance);
  }
  drop(t, &got);
}

static void check(one_op *t, double tolerance, const char *what) {
  result want = run_reference(t);
  compare(t, &want, tolerance, what);
  as_hardware = has_hardware_kernels(t->op);
  if (as_hardware) compare(t, &want, tolerance, what);
  as_hardware = false;
  drop(t, &want);
}

/* A graph of several nodes, on the CPU as it is. */
static result run_on_cpu(one_op *t) {
  machine *at = open_machine(t);
  tern__pack_cache *cache;
  tern__session_plan *plan;
  result r;
  cr_assert_eq(tern__pack_cache_create(&t->alloc, &cache), TERN_OK);
  tern__plan_options options = {.api = &tern__backend_cpu, .backend = at->cpu, .host_api = &tern__backend_cpu,
                                .host_backend = at->cpu, .cache = cache, .numerics = TERN_NUMERICS_CONSISTENT,
                                .n_threads = 1};
  cr_assert_eq(tern__plan_create(&t->alloc, t->graph, t->feeds, &options, &plan), TERN_OK, "%s", tern_last_error());
  uint8_t *memory = aligned_alloc(64, (plan->activation_bytes + 127) / 64 * 64);
  tern__plan_bind(plan, memory);
  for (int i = 0; i < t->n_feeds; i++) tern__plan_bind_input(plan, i, t->feeds[i].data);
  cr_assert_eq(tern__backend_cpu.prepare(plan->segments[0].program, NULL, NULL), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(tern__backend_cpu.run(plan->segments[0].program, &(tern__run_args){0}), TERN_OK, "%s",
               tern_last_error());
  keep(t, plan, &r);
  tern__plan_destroy(&t->alloc, plan);
  tern__pack_cache_destroy(cache);
  free(memory);
  return r;
}

/* Then fused on the GPU, which must leave one node. */
static void check_fused(one_op *t, const char *kind, double tolerance) {
  machine *at = open_machine(t);
  result want = run_on_cpu(t);
  t->numerics = TERN_NUMERICS_CONSISTENT;
  cr_assert_eq(tern__gpu_fuse(at->gpu, t->graph), TERN_OK, "%s", tern_last_error());
  size_t fused = 0;
  for (size_t n = 0; n < tern__array_count(t->graph->nodes); n++)
    fused += !t->graph->nodes[n].dead && !strcmp(t->graph->nodes[n].op->name, "Fused") &&
             !strcmp(tern__node_string(&t->graph->nodes[n], "kind", ""), kind);
  cr_assert(fused == 1 && tern__array_count(t->graph->nodes) == 1, "no %s was made", kind);
  for (int hardware = 0; hardware < 2; hardware++) {
    as_hardware = hardware;
    compare(t, &want, tolerance, kind);
  }
  t->numerics = TERN_NUMERICS_FAST; /* kernels of its own: 15-bit activations, as on the CPU */
  compare(t, &want, fast_error, kind);
  as_hardware = false;
  drop(t, &want);
}

#include "ops/op_cases_gpu.h"
