/* Running a program: memory is bound and commands are recorded once; a run copies what crosses, submits and waits.
 *
 * Commands are cut into pieces of bounded work, so that a cancellation needs to wait for at most two of them and the
 * device is never idle between: the next piece is submitted before the last one is waited for. */
#include <stdio.h>
#include <string.h>

#include "gpu/gpu_chain.h"
#include "runtime/thread_pool.h"

enum {
  DIRECT_BYTES = 16 * 1024,    /* an input up to this size is read by kernels where the host left it */
  POLL_NS = 4 * 1000 * 1000,
  TAIL_BYTES = 12 * 1024 * 1024, /* of a large output, that come at once */
  HELD_BYTES = 1024 * 1024,    /* an output from this size on is left where it arrives, if nobody minds */
};
/* Work of one piece: some ten milliseconds of a slow device of each kind. */
static const uint64_t matrix_piece_operations = 200000000000, piece_operations = 20000000000,
                      software_piece_operations = 40000000;

tern_status tern__gpu_recording_create(tern__program *program) {
  tern_status status = TERN_OK;
  const tern__plan *plan = program->plan;
  tern__gpu_recording *r = tern__arena_calloc(&program->arena, 1, sizeof *r);
  TERN_CHECK_ALLOC(r);
  program->recording = r;
  r->import_at = tern__arena_calloc(&program->arena, (size_t)plan->n_imports + 1, sizeof *r->import_at);
  r->export_at = tern__arena_calloc(&program->arena, (size_t)plan->n_exports + 1, sizeof *r->export_at);
  r->held = tern__arena_calloc(&program->arena, (size_t)plan->n_exports + 1, sizeof *r->held);
  if (!r->import_at || !r->export_at || !r->held) TERN_CHECK_ALLOC(NULL);
  /* Positions come first: sequences of a run are at most what its inputs' first dimension says. */
  r->batch = 1;
  for (size_t i = 0; i < tern__array_count(plan->graph->inputs); i++) {
    const tern__shape *shape = &plan->views[plan->graph->inputs[i]].shape;
    if (shape->rank > 0 && shape->dims[0] > r->batch && shape->dims[0] < 65536) r->batch = (int32_t)shape->dims[0];
  }
  r->positions_bytes = tern__gpu_place((uint64_t)r->batch * 8);
  r->upload_bytes = r->positions_bytes;
  for (int32_t i = 0; i < plan->n_imports; i++) {
    r->import_at[i] = r->upload_bytes;
    r->upload_bytes += tern__gpu_place(plan->views[plan->imports[i]].size_bytes);
  }
  for (int32_t i = 0; i < plan->n_exports; i++) {
    r->export_at[i] = r->readback_bytes;
    r->readback_bytes += tern__gpu_place(plan->views[plan->exports[i]].size_bytes);
  }
  r->chain_bytes = tern__gpu_chain_bytes(program);
  if (r->chain_bytes) {
    r->chain_at = tern__gpu_keep(program, r->chain_bytes).offset;
    r->alarm_at = r->readback_bytes, r->readback_bytes += tern__gpu_place(sizeof(uint32_t));
  }
  r->scratch_bytes = tern__gpu_place(program->scratch_bytes) + program->lane_bytes;
  tern__gpu_ahead_plan(program);
cleanup:
  return status;
}

uint64_t tern__gpu_recording_bytes(const tern__program *program) {
  const tern__gpu_recording *r = program->recording;
  return r->upload_bytes + r->readback_bytes + r->scratch_bytes + program->kept_bytes +
         r->ahead.next_bytes;
}

static void drop_pieces(tern__program *program) {
  tern__gpu_recording *r = program->recording;
  tern__gpu_ahead_drop(program);
  for (size_t i = 0; i < tern__array_count(r->pieces); i++)
    program->backend->api->commands_destroy(r->pieces[i]);
  tern__array_clear(r->pieces);
  for (size_t i = 0; i < tern__array_count(r->tails); i++)
    program->backend->api->commands_destroy(r->tails[i].commands);
  tern__array_clear(r->tails);
  r->late = false;
  tern__gpu_top_drop(program);
  r->arena = r->kv = NULL;
  r->counters = 0;
  r->dispatches = r->barriers = r->bytes_back = 0;
}

void tern__gpu_recording_destroy(tern__program *program) {
  tern__gpu_recording *r = program->recording;
  tern__backend *backend = program->backend;
  if (!r) return;
  drop_pieces(program);
  TERN_ARRAY_FREE(backend->env.alloc, r->pieces);
  TERN_ARRAY_FREE(backend->env.alloc, r->tails);
  backend->api->buffer_destroy(backend->device, r->upload);
  backend->api->buffer_destroy(backend->device, r->readback);
  backend->api->buffer_destroy(backend->device, r->scratch);
  backend->api->buffer_destroy(backend->device, r->kept);
  for (int i = 0; i < 2; i++) backend->api->buffer_destroy(backend->device, r->none[i]);
  backend->api->buffer_destroy(backend->device, r->top.buffer);
  backend->api->buffer_destroy(backend->device, r->ahead.next);
}

/* ---- recording ---- */

static int32_t import_of(const tern__plan *plan, tern__value_id root) {
  for (int32_t i = 0; i < plan->n_imports; i++)
    if (plan->imports[i] == root) return i;
  return -1;
}

static tern_status slice(const tern__gpu_step *step, const tern__gpu_operand *operand, tern__gpu_range whole,
                         tern__gpu_range *out) {
  tern_status status = TERN_OK;
  uint64_t size = operand->size ? operand->size : whole.size - operand->offset;
  if (operand->offset > whole.size || size > tern__gpu_place(whole.size) - operand->offset)
    TERN_FAIL(TERN_STATUS_INTERNAL, "node '%s' (%s): an operand of kernel %s goes beyond its memory", step->node->name,
              step->node->op->name, tern__gpu_kernels[step->kernel].name);
  *out = (tern__gpu_range){whole.buffer, whole.offset + operand->offset, (size + 3) / 4 * 4};
  if (!out->size) out->size = 4;
cleanup:
  return status;
}

/* Where a value that has memory lies; no buffer if it has none. */
static tern__gpu_range range_of_value(const tern__gpu_recorder *rec, tern__value_id root) {
  const tern__gpu_recording *r = rec->program->recording;
  const tern__plan *plan = rec->program->plan;
  int32_t import = import_of(plan, root);
  uint64_t size = plan->views[root].size_bytes;
  if (import >= 0 && rec->turn) return tern__gpu_ahead_ids(r, rec->turn, size);
  if (import >= 0 && size <= DIRECT_BYTES) return (tern__gpu_range){r->upload, r->import_at[import], size};
  if (plan->offsets[root] == SIZE_MAX) return (tern__gpu_range){NULL, 0, size};
  return (tern__gpu_range){r->arena->buffer, plan->offsets[root], size};
}

/* Where the bytes of an operand are. */
static tern_status range_of(const tern__gpu_recorder *rec, const tern__gpu_step *step, int index,
                            tern__gpu_range *out) {
  tern_status status = TERN_OK;
  const tern__program *program = rec->program;
  const tern__gpu_recording *r = program->recording;
  const tern__plan *plan = program->plan;
  const tern__gpu_operand *operand = &step->operands[index];
  tern__gpu_range whole = {0};
  switch (operand->kind) {
    case TERN__GPU_NONE:
      whole = (tern__gpu_range){r->none[tern__gpu_kernels[step->kernel].writable >> index & 1],
                                (uint64_t)index * TERN__GPU_PLACE, TERN__GPU_PLACE};
      break;
    case TERN__GPU_VALUE: whole = range_of_value(rec, plan->root[operand->index]); break;
    case TERN__GPU_WEIGHT: {
      const tern__gpu_weight *weight = &program->weights[operand->index];
      whole = (tern__gpu_range){weight->buffer, 0, weight->size};
      break;
    }
    case TERN__GPU_CONSTANT: {
      const tern__gpu_constant_value *constant = &program->constants[operand->index];
      whole = (tern__gpu_range){constant->buffer, 0, constant->size};
      break;
    }
    case TERN__GPU_SCRATCH: whole = (tern__gpu_range){r->scratch, 0, r->scratch_bytes - program->lane_bytes}; break;
    case TERN__GPU_LANE:
      whole = (tern__gpu_range){r->scratch, r->scratch_bytes - program->lane_bytes, program->lane_bytes};
      break;
    case TERN__GPU_KEPT: whole = (tern__gpu_range){r->kept, 0, program->kept_bytes}; break;
    case TERN__GPU_CHAIN: whole = (tern__gpu_range){r->kept, r->chain_at, r->chain_bytes}; break;
    case TERN__GPU_KV_KEYS: case TERN__GPU_KV_VALUES: case TERN__GPU_KV_BOTH:
      if (r->kv && operand->index < r->kv->n_layers) {
        uint64_t k = r->kv->k[operand->index], v = r->kv->v[operand->index], bytes = r->kv->bytes[operand->index];
        bool both = operand->kind == TERN__GPU_KV_BOTH;
        whole = (tern__gpu_range){r->kv->layers[operand->index], operand->kind == TERN__GPU_KV_VALUES ? v : k,
                                  both ? v - k + bytes : bytes};
      }
      break;
    case TERN__GPU_POSITIONS: whole = tern__gpu_ahead_positions(r, rec->turn); break;
  }
  if (!whole.buffer)
    TERN_FAIL(operand->kind >= TERN__GPU_KV_KEYS && operand->kind <= TERN__GPU_KV_BOTH ? TERN_STATUS_INVALID_STATE
                                                                                       : TERN_STATUS_INTERNAL,
              "node '%s' (%s): operand %d of kernel %s has no memory on the device", step->node->name,
              step->node->op->name, index, tern__gpu_kernels[step->kernel].name);
  TERN_TRY(slice(step, operand, whole, out));
  if (out->size > program->backend->info->max_binding_bytes)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "node '%s' (%s): an operand of %llu bytes is beyond the %llu that %s binds at once; use device 'cpu'",
              step->node->name, step->node->op->name, (unsigned long long)out->size,
              (unsigned long long)program->backend->info->max_binding_bytes, program->backend->info->name);
cleanup:
  return status;
}

static bool overlap(const tern__gpu_range *a, const tern__gpu_range *b) {
  return a->buffer == b->buffer && a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

bool tern__gpu_conflicts(const tern__gpu_recorder *rec, const tern__gpu_range *ranges, const bool *writes, int n) {
  bool conflict = rec->unlisted || rec->n_pending + n > TERN__GPU_MAX_PENDING;
  for (int i = 0; i < n && !conflict; i++)
    for (int p = 0; p < rec->n_pending && !conflict; p++)
      conflict = (writes[i] || rec->list[p].write) && overlap(&ranges[i], &rec->list[p].range);
  return conflict;
}

tern_status tern__gpu_wait_for_all(tern__gpu_recorder *rec) {
  tern_status status = TERN_OK;
  TERN_TRY(rec->program->backend->api->barrier(rec->commands));
  rec->program->recording->barriers++;
  rec->n_pending = 0, rec->unlisted = false;
cleanup:
  return status;
}

void tern__gpu_list(tern__gpu_recorder *rec, const tern__gpu_range *ranges, const bool *writes, int n) {
  for (int i = 0; i < n; i++) rec->list[rec->n_pending++] = (tern__gpu_pending){ranges[i], writes[i]};
}

tern_status tern__gpu_order(tern__gpu_recorder *rec, const tern__gpu_range *ranges, const bool *writes, int n) {
  tern_status status = TERN_OK;
  TERN_TRY(tern__gpu_chain_end(rec));
  if (tern__gpu_conflicts(rec, ranges, writes, n)) TERN_TRY(tern__gpu_wait_for_all(rec));
  tern__gpu_list(rec, ranges, writes, n);
cleanup:
  return status;
}

tern_status tern__gpu_record_copy(tern__gpu_recorder *rec, const tern__gpu_range *from, const tern__gpu_range *to) {
  tern_status status = TERN_OK;
  TERN_TRY(tern__gpu_order(rec, (tern__gpu_range[]){*from, *to}, (bool[]){false, true}, 2));
  TERN_TRY(rec->program->backend->api->copy(rec->commands, from, to));
cleanup:
  return status;
}

tern_status tern__gpu_put_dispatch(tern__gpu_recorder *rec, tern__gpu_kernel_id kernel, const tern__gpu_range *ranges,
                                   const void *immediates, const uint32_t groups[3]) {
  tern_status status = TERN_OK;
  const tern__backend *backend = rec->program->backend;
  tern__gpu_dispatch dispatch = {.ranges = ranges, .immediates = immediates};
  memcpy(dispatch.groups, groups, sizeof dispatch.groups);
  TERN_TRY(backend->api->pipeline(backend->device, kernel, &dispatch.pipeline));
  TERN_TRY(backend->api->dispatch(rec->commands, &dispatch));
  rec->program->recording->dispatches++;
cleanup:
  return status;
}

tern_status tern__gpu_record_dispatch(tern__gpu_recorder *rec, tern__gpu_kernel_id kernel,
                                      const tern__gpu_range *ranges, const void *immediates,
                                      const uint32_t groups[3]) {
  tern_status status = TERN_OK;
  const tern__gpu_kernel *facts = &tern__gpu_kernels[kernel];
  bool writes[TERN__GPU_MAX_BINDINGS];
  for (int i = 0; i < facts->n_bindings; i++) writes[i] = facts->writes >> i & 1;
  TERN_TRY(tern__gpu_order(rec, ranges, writes, facts->n_bindings));
  TERN_TRY(tern__gpu_put_dispatch(rec, kernel, ranges, immediates, groups));
cleanup:
  return status;
}

static bool is_brief(const tern__gpu_recording *r, const tern__gpu_step *step) {
  return r->brief && step->brief.positions;
}

tern__gpu_kernel_id tern__gpu_recorded_kernel(const tern__gpu_recording *r, const tern__gpu_step *step) {
  return is_brief(r, step) ? step->brief.kernel : step->kernel;
}

/* Whether the next run's positions are few enough for what steps are then. */
static bool wants_brief(const tern__program *program) {
  const tern__kv_cache *kv = program->plan->kv;
  if (!kv || !program->brief_positions) return false;
  for (int32_t b = 0; b < kv->batch; b++)
    if (kv->fresh[b] > 0 && kv->past[b] > program->brief_positions - kv->fresh[b]) return false;
  return true;
}

static tern_status begin_piece(tern__gpu_recorder *rec) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = rec->program->recording;
  const tern__gpu_api *api = rec->program->backend->api;
  TERN_ARRAY_RESERVE(rec->program->backend->env.alloc, r->pieces, 1);
  TERN_TRY(api->commands_create(rec->program->backend->device, &rec->commands));
  tern__array_put(r->pieces, rec->commands);
  api->profile(rec->commands, rec->program->plan->profile);
  rec->n_pending = 0, rec->unlisted = false, rec->operations = 0;
cleanup:
  return status;
}

static tern_status finish_piece(tern__gpu_recorder *rec) {
  tern_status status = TERN_OK;
  TERN_TRY(tern__gpu_chain_end(rec));
  TERN_TRY(rec->program->backend->api->commands_finish(rec->commands));
cleanup:
  return status;
}

static tern_status record_step(tern__gpu_recorder *rec, const tern__gpu_step *step) {
  tern_status status = TERN_OK;
  const tern__gpu_recording *r = rec->program->recording;
  bool brief = is_brief(r, step);
  tern__gpu_kept_back dispatch = {.kernel = tern__gpu_recorded_kernel(r, step),
                                  .link = brief ? step->brief.link : step->link};
  tern__backend *backend = rec->program->backend;
  uint64_t limit = backend->info->software                                     ? software_piece_operations
                   : backend->info->features & TERN__GPU_HAS_COOPERATIVE_MATRIX ? matrix_piece_operations
                                                                                 : piece_operations;
  if (rec->operations && rec->operations + step->operations > limit) {
    TERN_TRY(finish_piece(rec));
    TERN_TRY(begin_piece(rec));
  }
  for (int i = 0; i < tern__gpu_kernels[dispatch.kernel].n_bindings; i++)
    TERN_TRY(range_of(rec, step, brief ? step->brief.operands[i] : i, &dispatch.ranges[i]));
  memcpy(dispatch.groups, brief ? step->brief.groups : step->groups, sizeof dispatch.groups);
  memcpy(dispatch.immediates, step->immediates, sizeof dispatch.immediates);
  if (tern__gpu_chains(rec->program, step, dispatch.link)) TERN_TRY(tern__gpu_chain_dispatch(rec, &dispatch));
  else TERN_TRY(tern__gpu_record_dispatch(rec, dispatch.kernel, dispatch.ranges, dispatch.immediates, dispatch.groups));
  rec->operations += step->operations;
cleanup:
  return status;
}

tern_status tern__gpu_record_steps(tern__gpu_recorder *rec) {
  tern_status status = TERN_OK;
  const tern__gpu_step *steps = rec->program->steps;
  for (size_t s = 0; s < tern__array_count(steps); s++) TERN_TRY(record_step(rec, &steps[s]));
cleanup:
  return status;
}

tern_status tern__gpu_record_export(tern__gpu_recorder *rec, int32_t i) {
  tern__gpu_recording *r = rec->program->recording;
  const tern__plan *plan = rec->program->plan;
  tern__value_id root = plan->exports[i];
  uint64_t size = (plan->views[root].size_bytes + 3) / 4 * 4;
  if (!size) return TERN_OK;
  r->bytes_back += size;
  return tern__gpu_record_copy(rec, &(tern__gpu_range){r->arena->buffer, plan->offsets[root], size},
                               &(tern__gpu_range){r->readback, r->export_at[i], size});
}

/* A browser's buffer is mapped once a submit copies into it: there all of an export comes with the last piece. */
static bool has_tails(const tern__program *program, int32_t export) {
  return program->recording->held[export] && !program->backend->info->one_thread &&
         !tern__gpu_top_replaces(program, export);
}

static tern_status record_tails(tern__program *program, int32_t export) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__gpu_api *api = program->backend->api;
  tern__value_id root = program->plan->exports[export];
  uint64_t size = (program->plan->views[root].size_bytes + 3) / 4 * 4, from = program->plan->offsets[root];
  for (uint64_t at = 0; at < size; at += TAIL_BYTES) {
    tern__gpu_tail tail = {.export = export, .offset = at, .size = size - at < TAIL_BYTES ? size - at : TAIL_BYTES};
    TERN_ARRAY_RESERVE(program->backend->env.alloc, r->tails, 1);
    TERN_TRY(api->commands_create(program->backend->device, &tail.commands));
    tern__array_put(r->tails, tail);
    TERN_TRY(api->copy(tail.commands, &(tern__gpu_range){r->arena->buffer, from + at, tail.size},
                       &(tern__gpu_range){r->readback, r->export_at[export] + at, tail.size}));
    TERN_TRY(api->commands_finish(tail.commands));
    r->bytes_back += tail.size;
  }
cleanup:
  return status;
}

static tern_status record(tern__program *program) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__plan *plan = program->plan;
  tern__gpu_recorder rec = {.program = program};
  TERN_TRY(begin_piece(&rec));
  for (int32_t i = 0; i < plan->n_imports; i++) {
    tern__value_id root = plan->imports[i];
    uint64_t size = (plan->views[root].size_bytes + 3) / 4 * 4;
    if (size <= DIRECT_BYTES) continue;
    TERN_TRY(tern__gpu_record_copy(&rec, &(tern__gpu_range){r->upload, r->import_at[i], size},
                  &(tern__gpu_range){r->arena->buffer, plan->offsets[root], size}));
  }
  TERN_TRY(tern__gpu_record_steps(&rec));
  for (int32_t i = 0; i < plan->n_exports; i++) {
    if (tern__gpu_top_replaces(program, i)) TERN_TRY(tern__gpu_top_record(&rec, i));
    else if (!has_tails(program, i)) TERN_TRY(tern__gpu_record_export(&rec, i));
  }
  TERN_TRY(tern__gpu_chain_watch(&rec));
  TERN_TRY(finish_piece(&rec));
  for (int32_t i = 0; i < plan->n_exports; i++)
    if (has_tails(program, i)) TERN_TRY(record_tails(program, i));
cleanup:
  return status;
}

static tern_status ensure_buffer(tern__backend *backend, tern__gpu_memory memory, uint64_t bytes,
                                 tern__gpu_buffer **buffer) {
  if (*buffer || !bytes) return TERN_OK;
  return backend->api->buffer_create(backend->device, memory, bytes, buffer);
}

static tern_status ensure_kept(tern__program *program) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  tern__backend *backend = program->backend;
  uint64_t bytes = program->kept_bytes;
  void *zeros = NULL;
  if (r->kept || !bytes) return TERN_OK;
  zeros = tern__calloc(backend->env.alloc, 1, (size_t)bytes);
  TERN_CHECK_ALLOC(zeros);
  TERN_TRY(backend->api->buffer_create(backend->device, TERN__GPU_DEVICE, bytes, &r->kept));
  TERN_TRY(backend->api->write(backend->device, r->kept, 0, zeros, (size_t)bytes));
cleanup:
  if (status != TERN_OK) {
    backend->api->buffer_destroy(backend->device, r->kept);
    r->kept = NULL;
  }
  tern__free(backend->env.alloc, zeros);
  return status;
}

static tern_status bind_to(tern__program *program, tern__device_memory *arena, tern__device_memory *kv) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  tern__backend *backend = program->backend;
  uint64_t arena_id = arena ? arena->id : 0, kv_id = kv ? kv->id : 0;
  bool brief = wants_brief(program);
  if (tern__array_count(r->pieces) && r->arena_id == arena_id && r->kv_id == kv_id && r->brief == brief &&
      !(r->counters && atomic_load(&backend->no_chains)) && tern__gpu_top_recorded(program))
    return TERN_OK;
  drop_pieces(program);
  TERN_TRY(ensure_buffer(backend, TERN__GPU_UPLOAD, r->upload_bytes, &r->upload));
  TERN_TRY(ensure_buffer(backend, TERN__GPU_READBACK, r->readback_bytes, &r->readback));
  TERN_TRY(ensure_buffer(backend, TERN__GPU_DEVICE, r->scratch_bytes, &r->scratch));
  TERN_TRY(ensure_buffer(backend, TERN__GPU_DEVICE, r->ahead.next_bytes, &r->ahead.next));
  TERN_TRY(ensure_kept(program));
  for (int i = 0; i < 2; i++)
    TERN_TRY(ensure_buffer(backend, TERN__GPU_DEVICE, TERN__GPU_MAX_BINDINGS * TERN__GPU_PLACE, &r->none[i]));
  r->arena = arena, r->kv = kv, r->arena_id = arena_id, r->kv_id = kv_id, r->brief = brief;
  if (r->chain_bytes && !program->plan->profile) TERN_TRY(tern__gpu_chain_check(backend));
  TERN_TRY(record(program));
cleanup:
  if (status != TERN_OK) drop_pieces(program);
  return status;
}

tern_status tern__gpu_bind(tern__program *program, tern__device_memory *arena, tern__device_memory *kv) {
  return bind_to(program, arena, kv);
}

/* ---- running ---- */

static tern_status send_inputs(tern__program *program, const tern__run_args *args) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__plan *plan = program->plan;
  uint8_t *host = program->backend->api->buffer_host(r->upload);
  if (args->kv) {
    int32_t *positions = (int32_t *)(void *)host, n = args->kv->batch < r->batch ? args->kv->batch : r->batch;
    for (int32_t b = 0; b < n; b++) positions[2 * b] = args->kv->past[b], positions[2 * b + 1] = args->kv->fresh[b];
  }
  for (int32_t i = 0; i < plan->n_imports; i++) {
    const tern__view *view = &plan->views[plan->imports[i]];
    if (view->size_bytes) memcpy(host + r->import_at[i], view->data, view->size_bytes);
  }
  TERN_TRY(program->backend->api->flush(program->backend->device, &(tern__gpu_range){r->upload, 0, r->upload_bytes}));
cleanup:
  return status;
}

static tern_status fetch_outputs(tern__program *program) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__plan *plan = program->plan;
  if (!r->readback) return TERN_OK;
  TERN_TRY(program->backend->api->invalidate(program->backend->device,
                                             &(tern__gpu_range){r->readback, 0, r->readback_bytes}));
  const uint8_t *host = program->backend->api->buffer_host(r->readback);
  for (int32_t i = 0; i < plan->n_exports; i++) {
    const tern__view *view = &plan->views[plan->exports[i]];
    if (!tern__gpu_top_replaces(program, i) && !r->held[i])
      tern__pool_copy(program->backend->env.pool, plan->n_threads, view->data, host + r->export_at[i],
                      view->size_bytes);
  }
cleanup:
  return status;
}

static int32_t export_of(const tern__plan *plan, tern__value_id root) {
  for (int32_t i = 0; i < plan->n_exports; i++)
    if (plan->exports[i] == root) return i;
  return -1;
}

bool tern__gpu_hold(tern__program *program, tern__value_id value) {
  const tern__plan *plan = program->plan;
  int32_t i = export_of(plan, plan->root[value]);
  if (i < 0 || plan->views[plan->exports[i]].size_bytes < HELD_BYTES) return false;
  if (!program->recording->held[i]) drop_pieces(program); /* recorded otherwise */
  return program->recording->held[i] = true;
}

/* The largest of a value in its place, and what is fetched after them, are not held. */
void *tern__gpu_held(const tern__program *program, tern__value_id value) {
  const tern__gpu_recording *r = program->recording;
  int32_t i = export_of(program->plan, program->plan->root[value]);
  if (i < 0 || !r->held[i] || !r->readback || tern__gpu_top_replaces(program, i)) return NULL;
  return (uint8_t *)program->backend->api->buffer_host(r->readback) + r->export_at[i];
}

/* Waits for the ticket, whatever happens: memory that the device still uses must not be touched. */
tern_status tern__gpu_wait_for(tern__program *program, uint64_t ticket) {
  for (;;) {
    tern_status status = program->backend->api->wait(program->backend->device, ticket, POLL_NS);
    if (status != TERN_STATUS_TIMEOUT) return status;
  }
}

void tern__gpu_wait_quietly(tern__backend *backend, uint64_t ticket) {
  char before[512];
  if (!ticket) return;
  snprintf(before, sizeof before, "%s", tern_last_error());
  (void)backend->api->wait(backend->device, ticket, UINT64_MAX);
  tern__error_set(before);
}

/* Positions that do not fit would be written past the cache, or rotated by what lies behind the table. */
static tern_status check_positions(const tern__program *program, const tern__run_args *args) {
  tern_status status = TERN_OK;
  for (int32_t b = 0; args->kv && b < args->kv->batch; b++) {
    int64_t end = (int64_t)args->kv->past[b] + args->kv->fresh[b], table = program->rotary_positions;
    if (end > args->kv->capacity)
      TERN_FAIL(TERN_STATUS_CONTEXT_FULL, "%lld positions do not fit a context of %d", (long long)end,
                args->kv->capacity);
    if (table && end > table)
      TERN_FAIL(TERN_STATUS_CONTEXT_FULL, "%lld positions: the model's rotary table has %lld", (long long)end,
                (long long)table);
  }
cleanup:
  return status;
}

/* Only what the host has: the rest is not worth a wait. */
static tern_status check_indices(const tern__program *program) {
  tern_status status = TERN_OK;
  const tern__plan *plan = program->plan;
  for (size_t i = 0; i < tern__array_count(program->index_checks); i++) {
    const tern__gpu_index_check *check = &program->index_checks[i];
    tern__value_id root = plan->root[check->indices];
    if (import_of(plan, root) >= 0) TERN_TRY(tern__gpu_check_indices(check, &plan->views[root]));
  }
cleanup:
  return status;
}

tern_status tern__gpu_bring(tern__program *program, tern__value_id value, void *to) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__backend *backend = program->backend;
  int32_t export = to ? export_of(program->plan, program->plan->root[value]) : -1;
  uint8_t *host = to ? tern__gpu_held(program, value) : NULL;
  size_t n_tails = tern__array_count(r->tails), n_copied = 0;
  if (to) /* while the first part is on its way */
    tern__pool_touch(backend->env.pool, program->plan->n_threads, to,
                     program->plan->views[program->plan->exports[export]].size_bytes);
  for (size_t i = 0; i < n_tails; i++) {
    const tern__gpu_tail *tail = &r->tails[i];
    if (to && tail->export != export) continue;
    if (r->late) {
      TERN_TRY(tern__gpu_wait_for(program, tail->ticket));
      tern__gpu_range range = {r->readback, r->export_at[tail->export] + tail->offset, tail->size};
      TERN_TRY(backend->api->invalidate(backend->device, &range));
    }
    if (!to) continue;
    uint64_t left = program->plan->views[program->plan->exports[export]].size_bytes - tail->offset;
    tern__pool_copy(backend->env.pool, program->plan->n_threads, (uint8_t *)to + tail->offset, host + tail->offset,
                    tail->size < left ? tail->size : left);
    n_copied++;
  }
  if (to && !n_copied)
    tern__pool_copy(backend->env.pool, program->plan->n_threads, to, host,
                    program->plan->views[program->plan->exports[export]].size_bytes);
  if (!to) r->late = false;
cleanup:
  return status;
}

/* Whether nothing of a run is looked at before its tails are: then nobody has to wait for it either. */
static bool ends_in_tails(const tern__program *program) {
  for (int32_t i = 0; i < program->plan->n_exports; i++)
    if (!has_tails(program, i)) return false;
  return !program->recording->counters && !program->plan->profile;
}

static tern_status run_once(tern__program *program, const tern__run_args *args) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__gpu_api *api = program->backend->api;
  uint64_t last = 0, before = 0, computed = 0;
  bool begun = tern__gpu_ahead_take(program, args, &last);
  for (size_t i = 0; i < tern__array_count(r->pieces) && !begun; i++) {
    uint64_t ticket;
    if (tern__cancelled(args->cancel)) TERN_FAIL(TERN_STATUS_CANCELLED, "cancelled");
    TERN_TRY(api->submit(program->backend->device, r->pieces[i], &ticket));
    before = last, last = ticket;
    if (before && tern__array_count(r->pieces) > 2) TERN_TRY(tern__gpu_wait_for(program, before));
  }
  computed = last;
  TERN_TRY(tern__gpu_ahead_begin(program, args));
  for (size_t i = 0; i < tern__array_count(r->tails); i++) {
    TERN_TRY(api->submit(program->backend->device, r->tails[i].commands, &r->tails[i].ticket));
    last = r->tails[i].ticket;
  }
  r->late = args->late && tern__array_count(r->tails);
cleanup:
  if (status != TERN_OK) tern__gpu_wait_quietly(program->backend, last);
  else if (last && !(r->late && ends_in_tails(program)))
    status = tern__gpu_wait_for(program, r->late ? computed : last);
  if (status == TERN_OK && tern__cancelled(args->cancel)) status = tern__fail(TERN_STATUS_CANCELLED, "cancelled");
  return status;
}

tern_status tern__gpu_run_sent(tern__program *program, const tern__run_args *args) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  TERN_TRY(run_once(program, args));
  TERN_TRY(fetch_outputs(program));
  if (tern__gpu_chain_raised(program)) { /* keys and values of its rows are written again */
    if (r->late) TERN_TRY(tern__gpu_bring(program, 0, NULL));
    tern__gpu_chain_refuse(program->backend, "workgroups of a run waited in vain for those of the dispatch before");
    TERN_TRY(bind_to(program, r->arena, r->kv));
    TERN_TRY(run_once(program, args));
    TERN_TRY(fetch_outputs(program));
  }
cleanup:
  return status;
}

tern_status tern__gpu_run(tern__program *program, const tern__run_args *args) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  r->top.fetched = false;
  if (r->late) TERN_TRY(tern__gpu_bring(program, 0, NULL));
  TERN_TRY(check_positions(program, args));
  TERN_TRY(check_indices(program));
  TERN_TRY(send_inputs(program, args));
  TERN_TRY(tern__gpu_run_sent(program, args));
cleanup:
  if (status != TERN_OK) tern__gpu_ahead_settle(program);
  return status;
}

/* ---- what a run did ---- */

typedef struct kernel_sum {
  const char *op;
  uint64_t count, nanoseconds, operations, bytes;
} kernel_sum;

/* Adds the times of each dispatch, in recording order, to its kernel's and op's sum. */
static bool add_times(tern__program *program, kernel_sum **sums, int32_t **kernels) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__gpu_api *api = program->backend->api;
  tern__alloc *alloc = program->backend->env.alloc;
  uint64_t *times = NULL;
  size_t step = 0, n_steps = tern__array_count(program->steps);
  times = tern__calloc(alloc, n_steps + 1, sizeof *times);
  TERN_CHECK_ALLOC(times);
  for (size_t i = 0; i < tern__array_count(r->pieces); i++) {
    size_t n = api->timestamps(r->pieces[i], times, n_steps);
    for (size_t d = 0; d < n && step < n_steps; d++, step++) {
      const tern__gpu_step *s = &program->steps[step];
      size_t at = 0, count = tern__array_count(*sums);
      int32_t kernel = (int32_t)tern__gpu_recorded_kernel(r, s);
      while (at < count && ((*kernels)[at] != kernel || (*sums)[at].op != s->node->op->name)) at++;
      if (at == count) {
        TERN_ARRAY_PUSH(alloc, *kernels, kernel);
        TERN_ARRAY_PUSH(alloc, *sums, (kernel_sum){.op = s->node->op->name});
      }
      kernel_sum *sum = &(*sums)[at];
      sum->count++, sum->nanoseconds += times[d], sum->operations += s->operations, sum->bytes += s->bytes;
    }
  }
cleanup:
  tern__free(alloc, times);
  return status == TERN_OK;
}

void tern__gpu_profile(tern__program *program, tern__json_writer *w) {
  tern__gpu_recording *r = program->recording;
  tern__alloc *alloc = program->backend->env.alloc;
  uint64_t operations = 0, bytes = 0;
  kernel_sum *sums = NULL;
  int32_t *kernels = NULL;
  for (size_t s = 0; s < tern__array_count(program->steps); s++)
    operations += program->steps[s].operations, bytes += program->steps[s].bytes;
  tern__json_put_int(w, "dispatches", (int64_t)r->dispatches);
  tern__json_put_int(w, "barriers", (int64_t)r->barriers);
  tern__json_put_int(w, "submits", (int64_t)(tern__array_count(r->pieces) + tern__array_count(r->tails)));
  tern__json_put_int(w, "bytes_to_device", (int64_t)r->upload_bytes);
  tern__json_put_int(w, "bytes_from_device", (int64_t)r->bytes_back);
  tern__json_put_int(w, "operations", (int64_t)operations);
  tern__json_put_int(w, "bytes", (int64_t)bytes);
  if (program->plan->profile && add_times(program, &sums, &kernels)) {
    tern__json_begin(w, "kernels", '[');
    for (size_t i = 0; i < tern__array_count(sums); i++) {
      const char *name = tern__gpu_kernels[kernels[i]].name;
      tern__json_begin(w, NULL, '{');
      tern__json_put_string(w, "kernel", name, strlen(name));
      tern__json_put_string(w, "op", sums[i].op, strlen(sums[i].op));
      tern__json_put_int(w, "count", (int64_t)sums[i].count);
      tern__json_put_int(w, "ns", (int64_t)sums[i].nanoseconds);
      tern__json_put_int(w, "operations", (int64_t)sums[i].operations);
      tern__json_put_int(w, "bytes", (int64_t)sums[i].bytes);
      tern__json_end(w, '}');
    }
    tern__json_end(w, ']');
  }
  TERN_ARRAY_FREE(alloc, sums);
  TERN_ARRAY_FREE(alloc, kernels);
}
