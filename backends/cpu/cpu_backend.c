/* The CPU backend: how the runtime's calls map to steps, packed weights and scratch memory. */
#include "cpu/cpu_features.h"
#include "cpu/cpu_fuse.h"
#include "cpu/cpu_pack.h"
#include "cpu/cpu_program.h"
#include "runtime/thread_pool.h"

#include <stdio.h>
#include <string.h>

typedef struct isa { uint32_t feature; const tern__cpu_kernels *kernels; } isa;

/* The name that users of Transformers.js know this device by. */
#if defined(__wasm__)
#  define DEVICE_NAME "wasm"
#else
#  define DEVICE_NAME "cpu"
#endif

/* Best first. */
static const isa isas[] = {
#if defined(__x86_64__)
    {TERN__CPU_AVX512, &tern__cpu_kernels_avx512},
    {TERN__CPU_AVX2, &tern__cpu_kernels_avx2},
#elif defined(__aarch64__)
    {TERN__CPU_NEON_I8MM, &tern__cpu_kernels_neon_i8mm},
    {TERN__CPU_NEON_DOTPROD, &tern__cpu_kernels_neon_dotprod},
    {TERN__CPU_NEON, &tern__cpu_kernels_neon},
#elif defined(__wasm_simd128__)
    {TERN__CPU_WASM128, &tern__cpu_kernels_wasm128},
#endif
    {TERN__CPU_SCALAR, &tern__cpu_kernels_scalar},
};

tern_status tern__cpu_open_with(const tern__backend_env *env, uint32_t isa_mask, tern__backend **out) {
  tern_status status = TERN_OK;
  uint32_t usable = tern__cpu_features() & isa_mask;
  *out = tern__calloc(env->alloc, 1, sizeof **out);
  TERN_CHECK_ALLOC(*out);
  (*out)->env = *env;
  for (size_t i = 0; i < sizeof isas / sizeof *isas && !(*out)->kernels; i++)
    if (isas[i].feature & usable) (*out)->kernels = isas[i].kernels;
  if (!(*out)->kernels) {
    tern__free(env->alloc, *out);
    *out = NULL;
    TERN_FAIL(TERN_STATUS_NO_DEVICE, "this CPU has none of the instruction sets asked for (mask %u)",
              (unsigned)isa_mask);
  }
cleanup:
  return status;
}

/* `which` takes a worse instruction set than the best one, by part of its name: what another machine would compute. */
static tern_status cpu_open(const tern__backend_env *env, const char *which, tern__backend **out) {
  tern_status status = TERN_OK;
  uint32_t usable = tern__cpu_features(), wanted = which ? 0 : UINT32_MAX;
  char list[96] = "";
  size_t at = 0;
  *out = NULL;
  for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
    if (!(isas[i].feature & usable)) continue;
    const char *name = isas[i].kernels->name; /* "NEON" is part of two others: a whole name goes first */
    if (which && tern__is_part_of_name(which, name) && (!wanted || strlen(which) == strlen(name)))
      wanted = isas[i].feature;
    at += (size_t)snprintf(list + at, sizeof list - at, "%s'%s'", at ? ", " : "", name);
  }
  if (!wanted)
    TERN_FAIL(TERN_STATUS_NO_DEVICE,
              "device '" DEVICE_NAME ":%s': this CPU has the instruction sets %s; use part of such a name, or '"
              DEVICE_NAME "'", which, list);
  TERN_TRY(tern__cpu_open_with(env, wanted, out));
cleanup:
  return status;
}

static void cpu_close(tern__backend *backend) {
  if (backend) tern__free(backend->env.alloc, backend);
}

static const char *cpu_describe(const tern__backend *backend) { return backend->kernels->name; }

static tern_status cpu_optimize(tern__backend *backend, tern__graph *graph, tern_numerics numerics) {
  bool activations = true;
  (void)backend, (void)numerics;
#if defined(__wasm__)
  activations = false; /* V8 takes longer so: MiniLM q8 with 100 tokens 61 ms in place of 48 */
#endif
  return tern__cpu_fuse(graph, activations);
}

static bool cpu_supports(const tern__backend *backend, const tern__op_def *op) {
  (void)backend;
  return tern__cpu_find_op(op) != NULL;
}

static void cpu_destroy_program(tern__program *program) {
  if (!program) return;
  tern__alloc *alloc = program->backend->env.alloc;
  tern__cpu_run_destroy(program);
  tern__cpu_times_destroy(program);
  if (program->scratch) tern__free_aligned(alloc, program->scratch, program->scratch_size, 64);
  TERN_ARRAY_FREE(alloc, program->steps);
  TERN_ARRAY_FREE(alloc, program->packs);
  TERN_ARRAY_FREE(alloc, program->starts);
  TERN_ARRAY_FREE(alloc, program->streams);
  TERN_ARRAY_FREE(alloc, program->ends);
  tern__arena_deinit(&program->arena);
  tern__free(alloc, program);
}

/* Nodes whose results are all empty need no step; most kernels would divide by their counts. */
static bool all_outputs_empty(const tern__program *program, const tern__node *node) {
  for (int32_t i = 0; i < node->n_outputs; i++) {
    const tern__view *out = tern__cpu_out(program, node, i);
    if (out && tern__cpu_elements(out) > 0) return false;
  }
  return true;
}

static tern_status compile_node(tern__program *program, const tern__node *node) {
  tern_status status = TERN_OK;
  if (all_outputs_empty(program, node)) return TERN_OK;
  tern__cpu_compile_fn compile = tern__cpu_find_op(node->op);
  bool taken = false;
  if (compile) TERN_TRY(compile(program, node, &taken));
  if (!taken) TERN_TRY(tern__cpu_compile_reference(program, node));
cleanup:
  return status;
}

static tern_status cpu_compile(tern__backend *backend, const tern__plan *plan, tern__pack_cache *cache,
                               tern__program **out, tern__program_info *info) {
  tern_status status = TERN_OK;
  tern__program *program = tern__calloc(backend->env.alloc, 1, sizeof *program);
  *out = NULL;
  TERN_CHECK_ALLOC(program);
  program->backend = backend, program->plan = plan, program->cache = cache;
  tern__arena_init(&program->arena, backend->env.alloc);
  program->n_threads = tern__pool_n_threads(backend->env.pool);
  if (plan->n_threads > 0 && plan->n_threads < program->n_threads) program->n_threads = plan->n_threads;
  for (int32_t s = 0; s < plan->n_steps; s++) {
    TERN_TRY(tern__cancel_check(plan->cancel, "planning"));
    TERN_TRY(compile_node(program, &plan->graph->nodes[plan->steps[s]]));
  }
  TERN_TRY(tern__cpu_phases(program));
  program->thread_scratch = tern__cpu_divide_up(program->thread_scratch, 64) * 64;
  program->shared_scratch = tern__cpu_divide_up(program->shared_scratch, 64) * 64;
  size_t all_threads;
  if (!tern__mul_size(program->thread_scratch, (size_t)program->n_threads, &all_threads) ||
      !tern__add_size(all_threads, program->shared_scratch, &program->scratch_size))
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "scratch memory of this program is too large");
  *info = (tern__program_info){.scratch_bytes = program->scratch_size};
  for (size_t i = 0; i < tern__array_count(program->packs); i++)
    info->packed_bytes += program->packs[i].n_panels * program->packs[i].panel_bytes;
  *out = program, program = NULL;
cleanup:
  cpu_destroy_program(program);
  return status;
}

static tern_status cpu_prepare(tern__program *program, const tern_progress *progress,
                               const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  (void)progress;
  program->cancel = cancel;
  TERN_TRY(tern__cpu_reserve_packs(program));
  for (size_t i = 0; i < tern__array_count(program->packs); i++) {
    TERN_TRY(tern__cancel_check(cancel, "packing weights"));
    TERN_TRY(tern__cpu_prepare_pack(program, &program->packs[i]));
  }
  if (!program->run) TERN_TRY(tern__cpu_run_create(program));
  if (!program->times && program->plan->profile) TERN_TRY(tern__cpu_times_create(program));
  if (!program->scratch && program->scratch_size) {
    program->scratch = tern__alloc_aligned(program->backend->env.alloc, program->scratch_size, 64);
    TERN_CHECK_ALLOC(program->scratch);
  }
cleanup:
  program->cancel = NULL;
  return status;
}

const tern__backend_api tern__backend_cpu = {
    .name = DEVICE_NAME,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .optimize = cpu_optimize,
    .supports = cpu_supports,
    .compile = cpu_compile,
    .prepare = cpu_prepare,
    .run = tern__cpu_run,
    .left = tern__cpu_left,
    .destroy_program = cpu_destroy_program,
    .profile = tern__cpu_profile,
};
