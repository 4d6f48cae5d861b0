/* The backend over a GPU device: what the runtime's calls become. */
#include <stdio.h>
#include <string.h>

#include "gpu/gpu_cache.h"
#include "gpu/gpu_check.h"
#include "gpu/gpu_fuse.h"
#include "gpu/gpu_recording.h"
#include "gpu/gpu_rounded.h"

tern_status tern__gpu_open(const tern__backend_env *env, const tern__gpu_api *api, const char *which,
                           tern__backend **out) {
  tern_status status = TERN_OK;
  tern__backend *backend = tern__calloc(env->alloc, 1, sizeof *backend);
  *out = NULL;
  TERN_CHECK_ALLOC(backend);
  backend->env = *env, backend->api = api;
  TERN_TRY(api->open(&backend->env, which, &backend->device));
  backend->info = api->info(backend->device);
  snprintf(backend->description, sizeof backend->description, "%s", backend->info->name);
  tern__gpu_cache_load(backend);
  TERN_TRY(tern__gpu_check(backend));
  *out = backend, backend = NULL;
cleanup:
  tern__gpu_close(backend);
  return status;
}

void tern__gpu_close(tern__backend *backend) {
  if (!backend) return;
  if (backend->device) {
    tern__gpu_cache_close(backend);
    backend->api->close(backend->device);
  }
  tern__free(backend->env.alloc, backend);
}

const char *tern__gpu_describe(const tern__backend *backend) { return backend->description; }

tern_status tern__gpu_optimize(tern__backend *backend, tern__graph *graph, tern_numerics numerics) {
  (void)numerics;
  return tern__gpu_fuse(backend, graph);
}

bool tern__gpu_supports(const tern__backend *backend, const tern__op_def *op) {
  (void)backend;
  return tern__gpu_find_op(op) != NULL || (op->flags & TERN__OP_ALIAS);
}

static tern_status gpu_takes(tern__backend *backend, const tern__plan *plan, const tern__node *node, bool *out) {
  tern_status status = TERN_OK;
  tern__program program = {.backend = backend, .plan = plan, .dry = true};
  *out = false;
  tern__arena_init(&program.arena, backend->env.alloc);
  TERN_TRY(tern__gpu_compile_node(&program, node, out));
cleanup:
  tern__arena_deinit(&program.arena);
  return status;
}

static bool all_outputs_empty(const tern__program *program, const tern__node *node) {
  for (int32_t i = 0; i < node->n_outputs; i++) {
    const tern__view *out = tern__gpu_out(program, node, i);
    if (out && tern__gpu_elements(out) > 0) return false;
  }
  return true;
}

tern_status tern__gpu_compile(tern__backend *backend, const tern__plan *plan, tern__pack_cache *cache,
                              tern__program **out, tern__program_info *info) {
  tern_status status = TERN_OK;
  tern__program *program = tern__calloc(backend->env.alloc, 1, sizeof *program);
  *out = NULL;
  TERN_CHECK_ALLOC(program);
  program->backend = backend, program->plan = plan, program->cache = cache;
  tern__arena_init(&program->arena, backend->env.alloc);
  for (int32_t s = 0; s < plan->n_steps; s++) {
    const tern__node *node = &plan->graph->nodes[plan->steps[s]];
    bool taken = false;
    TERN_TRY(tern__cancel_check(plan->cancel, "planning"));
    if (all_outputs_empty(program, node)) continue;
    TERN_TRY(tern__gpu_compile_node(program, node, &taken));
    if (!taken)
      TERN_FAIL(TERN_STATUS_INTERNAL, "node '%s' (%s): %s took it and then did not", node->name, node->op->name,
                backend->info->name);
  }
  TERN_TRY(tern__gpu_recording_create(program));
  *info = (tern__program_info){.scratch_bytes = tern__gpu_recording_bytes(program)};
  for (size_t i = 0; i < tern__array_count(program->weights); i++) info->packed_bytes += program->weights[i].size;
  for (size_t i = 0; i < tern__array_count(program->constants); i++) info->packed_bytes += program->constants[i].size;
  *out = program, program = NULL;
cleanup:
  tern__gpu_destroy_program(program);
  return status;
}

void tern__gpu_destroy_program(tern__program *program) {
  if (!program) return;
  tern__alloc *alloc = program->backend->env.alloc;
  tern__gpu_recording_destroy(program);
  for (size_t i = 0; i < tern__array_count(program->constants); i++)
    if (program->constants[i].folded)
      program->backend->api->buffer_destroy(program->backend->device, program->constants[i].buffer);
  TERN_ARRAY_FREE(alloc, program->steps);
  TERN_ARRAY_FREE(alloc, program->weights);
  TERN_ARRAY_FREE(alloc, program->constants);
  TERN_ARRAY_FREE(alloc, program->index_checks);
  TERN_ARRAY_FREE(alloc, program->offers);
  TERN_ARRAY_FREE(alloc, program->halves);
  TERN_ARRAY_FREE(alloc, program->lanes);
  tern__arena_deinit(&program->arena);
  tern__free(alloc, program);
}

/* ---- memory ---- */

static void memory_destroy(tern__backend *backend, tern__device_memory *memory) {
  if (!memory) return;
  tern__gpu_wait_quietly(backend, memory->ahead);
  backend->api->buffer_destroy(backend->device, memory->buffer);
  for (int32_t l = 0; memory->layers && l < memory->n_layers; l++)
    if (l == 0 || memory->layers[l] != memory->layers[l - 1])
      backend->api->buffer_destroy(backend->device, memory->layers[l]);
  tern__free(backend->env.alloc, memory->layers);
  tern__free(backend->env.alloc, memory->k);
  tern__free(backend->env.alloc, memory->v);
  tern__free(backend->env.alloc, memory->bytes);
  tern__free(backend->env.alloc, memory);
}

static tern_status memory_create(tern__backend *backend, size_t bytes, tern__device_memory **out) {
  tern_status status = TERN_OK;
  tern__device_memory *memory = tern__calloc(backend->env.alloc, 1, sizeof *memory);
  *out = NULL;
  TERN_CHECK_ALLOC(memory);
  memory->id = atomic_fetch_add(&backend->n_memories, 1) + 1;
  memory->size = tern__gpu_place(bytes);
  TERN_TRY(backend->api->buffer_create(backend->device, TERN__GPU_DEVICE, memory->size, &memory->buffer));
  *out = memory, memory = NULL;
cleanup:
  memory_destroy(backend, memory);
  return status;
}

static uint64_t layer_bytes(const tern__kv_cache *layers, int32_t l) {
  return 2 * (uint64_t)layers->batch * (uint64_t)layers->kv_heads[l] * (uint64_t)layers->capacity *
         (uint64_t)layers->head_dim[l];
}

/* Makes the buffer that holds layer l and as many after it as one buffer may; *next is the first that it does not. */
static tern_status kv_buffer_create(tern__backend *backend, const tern__kv_cache *layers, int32_t l,
                                    tern__device_memory *memory, int32_t *next) {
  tern_status status = TERN_OK;
  uint64_t total = 0;
  tern__gpu_buffer *buffer = NULL;
  for (*next = l; *next < layers->n_layers; ++*next) {
    uint64_t bytes = layer_bytes(layers, *next), step = tern__gpu_place(bytes);
    if (*next > l && total + 2 * step > backend->info->max_buffer_bytes) break;
    memory->bytes[*next] = bytes;
    memory->k[*next] = total, memory->v[*next] = total + step;
    total += 2 * step;
  }
  TERN_TRY(backend->api->buffer_create(backend->device, TERN__GPU_DEVICE, total, &buffer));
  for (int32_t i = l; i < *next; i++) memory->layers[i] = buffer;
  memory->size += total;
cleanup:
  return status;
}

static tern_status kv_create(tern__backend *backend, const tern__kv_cache *layers, tern__device_memory **out) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = backend->env.alloc;
  size_t n = (size_t)layers->n_layers;
  tern__device_memory *memory = tern__calloc(alloc, 1, sizeof *memory);
  *out = NULL;
  TERN_CHECK_ALLOC(memory);
  memory->id = atomic_fetch_add(&backend->n_memories, 1) + 1;
  memory->n_layers = layers->n_layers;
  memory->layers = tern__calloc(alloc, n, sizeof *memory->layers);
  memory->k = tern__calloc(alloc, n, sizeof *memory->k);
  memory->v = tern__calloc(alloc, n, sizeof *memory->v);
  memory->bytes = tern__calloc(alloc, n, sizeof *memory->bytes);
  if (!memory->layers || !memory->k || !memory->v || !memory->bytes) TERN_CHECK_ALLOC(NULL);
  for (int32_t l = 0; l < layers->n_layers;) TERN_TRY(kv_buffer_create(backend, layers, l, memory, &l));
  *out = memory, memory = NULL;
cleanup:
  memory_destroy(backend, memory);
  return status;
}

static bool lost(tern__backend *backend) { /* no work: the question is only whether the device is there */
  return backend->api->wait(backend->device, 0, 0) == TERN_STATUS_DEVICE_LOST;
}

/* A device that multiplies matrices, and has memory for more rows, is filled by more of them. */
static int32_t prompt_rows(const tern__backend *backend, tern_numerics numerics) {
  enum { MANY = 2048 };
  const uint64_t enough = (uint64_t)8 << 30;
  bool matrices = backend->info->features & TERN__GPU_HAS_COOPERATIVE_MATRIX && numerics == TERN_NUMERICS_FAST;
  return matrices && backend->info->memory_bytes >= enough ? MANY : TERN__PROMPT_ROWS;
}

const tern__device_api tern__gpu_device_api = {
    .lost = lost,
    .prompt_rows = prompt_rows,
    .takes = gpu_takes,
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .kv_create = kv_create,
    .bind = tern__gpu_bind,
    .hold = tern__gpu_hold,
    .held = tern__gpu_held,
    .bring = tern__gpu_bring,
    .want_top = tern__gpu_want_top,
    .top = tern__gpu_get_top,
    .fetch = tern__gpu_fetch,
};
