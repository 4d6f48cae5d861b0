/* The largest values of an output in place of all of it (kernels/sample_top.wgsl): of a vocabulary's logits a sampler
 * needs a few. They take the place of the whole export in the readback buffer: values, then places. The whole can still
 * be had from the arena. */
#include <string.h>

#include "gpu/gpu_recording.h"

enum { CHUNK = 1024, CHUNK_OF_ONE = 4096, MOST = 256, MOST_ROWS = 256 };

typedef struct top_immediates { uint32_t count, k, has_places, pad[5]; } top_immediates;

/* What a workgroup ranks, for the k largest. */
static uint64_t chunks_of(uint64_t count, uint64_t k) {
  uint64_t chunk = k == 1 ? CHUNK_OF_ONE : CHUNK;
  return (count + chunk - 1) / chunk;
}

/* Bytes of rows of `count` candidates: values and places. */
static uint64_t bytes_of(int32_t rows, uint64_t count) { return (uint64_t)rows * count * 8; }

/* Values in a row of what is ranked. */
static uint64_t width_of(const tern__view *view) {
  return view->shape.rank > 0 ? (uint64_t)view->shape.dims[view->shape.rank - 1] : 0;
}

static bool has_room(const tern__gpu_info *info) {
  return tern__gpu_kernels[TERN__KERNEL_sample_top].workgroup[0] <= info->max_invocations;
}

bool tern__gpu_may_rank(const tern__program *program) {
  return program->plan->kv && program->plan->n_exports > 0 && has_room(program->backend->info);
}

bool tern__gpu_want_top(tern__program *program, tern__value_id value, int32_t k) {
  tern__gpu_recording *r = program->recording;
  const tern__plan *plan = program->plan;
  const tern__view *view = &plan->views[value];
  const tern__gpu_info *info = program->backend->info;
  uint64_t width = width_of(view), rows = width ? tern__gpu_elements(view) / width : 0;
  int32_t export = -1;
  r->top.k = 0;
  for (int32_t i = 0; i < plan->n_exports; i++)
    if (plan->exports[i] == plan->root[value]) export = i;
  if (export < 0 || k <= 0 || k > MOST || view->dtype != TERN_DTYPE_F32 || !rows || rows > MOST_ROWS ||
      width / 4 < (uint64_t)k || chunks_of(width, (uint64_t)k) > info->max_groups ||
      view->size_bytes > info->max_binding_bytes || !has_room(info))
    return false;
  r->top.value = value, r->top.k = k, r->top.rows = (int32_t)rows, r->top.export = export;
  return true;
}

bool tern__gpu_top_recorded(const tern__program *program) {
  return program->recording->top.recorded_k == program->recording->top.k;
}

bool tern__gpu_top_replaces(const tern__program *program, int32_t export) {
  const tern__gpu_top *top = &program->recording->top;
  return top->k > 0 && top->export == export;
}

void tern__gpu_top_drop(tern__program *program) {
  tern__gpu_top *top = &program->recording->top;
  program->backend->api->commands_destroy(top->whole);
  top->whole = NULL, top->recorded_k = 0;
}

/* Two buffers' worth of candidates: passes go from one to the other. */
static tern_status ensure_buffer(tern__program *program, uint64_t bytes) {
  tern_status status = TERN_OK;
  tern__gpu_top *top = &program->recording->top;
  const tern__backend *backend = program->backend;
  if (top->buffer && top->capacity >= bytes) return TERN_OK;
  backend->api->buffer_destroy(backend->device, top->buffer);
  top->buffer = NULL;
  TERN_TRY(backend->api->buffer_create(backend->device, TERN__GPU_DEVICE, bytes, &top->buffer));
  top->capacity = bytes;
cleanup:
  return status;
}

static tern_status record_whole(tern__program *program, int32_t export) {
  tern_status status = TERN_OK;
  const tern__backend *backend = program->backend;
  tern__gpu_recording *r = program->recording;
  tern__gpu_recorder rec = {.program = program};
  uint64_t bytes_back = r->bytes_back;
  TERN_TRY(backend->api->commands_create(backend->device, &r->top.whole));
  rec.commands = r->top.whole;
  TERN_TRY(tern__gpu_record_export(&rec, export));
  TERN_TRY(backend->api->commands_finish(rec.commands));
cleanup:
  r->bytes_back = bytes_back; /* only where it is fetched */
  return status;
}

/* The last pass writes where the host reads, if it may: a copy waits for it, and takes as long as a small dispatch. It
 * also writes what a step after needs. */
tern_status tern__gpu_top_record(tern__gpu_recorder *rec, int32_t export) {
  tern_status status = TERN_OK;
  tern__program *program = rec->program;
  tern__gpu_recording *r = program->recording;
  tern__gpu_top *top = &r->top;
  const tern__plan *plan = program->plan;
  bool straight = program->backend->info->binds_readback;
  uint64_t count = width_of(&plan->views[top->value]), k = (uint64_t)top->k;
  uint64_t side = tern__gpu_place(bytes_of(top->rows, chunks_of(count, k) * k));
  tern__gpu_range from = {r->arena->buffer, plan->offsets[plan->root[top->value]],
                          plan->views[top->value].size_bytes};
  tern__gpu_range back = {r->readback, tern__gpu_ahead_back(r, rec->turn), bytes_of(top->rows, k)};
  TERN_TRY(ensure_buffer(program, 2 * side));
  for (uint32_t pass = 0, chunks = 0; chunks != 1; pass++) {
    chunks = (uint32_t)chunks_of(count, k);
    top_immediates immediates = {(uint32_t)count, (uint32_t)k, pass > 0, {0}};
    tern__gpu_range to = {top->buffer, pass % 2 * side, bytes_of(top->rows, chunks * k)};
    if (chunks == 1 && straight) to = back;
    bool last = chunks == 1 && tern__gpu_ahead_follows(r);
    tern__gpu_range ranges[] = {from, to, tern__gpu_ahead_positions(r, rec->turn), tern__gpu_ahead_next(r, rec->turn)};
    TERN_TRY(tern__gpu_record_dispatch(rec, last ? TERN__KERNEL_sample_top_next : TERN__KERNEL_sample_top, ranges,
                                       &immediates, (uint32_t[3]){chunks, (uint32_t)top->rows, 1}));
    from = to, count = chunks * k;
  }
  if (!straight) TERN_TRY(tern__gpu_record_copy(rec, &from, &back));
  r->bytes_back += back.size;
  if (!rec->turn) TERN_TRY(record_whole(program, export));
  top->recorded_k = top->k;
cleanup:
  return status;
}

bool tern__gpu_get_top(const tern__program *program, tern__top *out) {
  const tern__gpu_recording *r = program->recording;
  const tern__gpu_top *top = &r->top;
  if (!top->recorded_k || top->fetched) return false;
  const uint8_t *host = program->backend->api->buffer_host(r->readback);
  host += tern__gpu_ahead_back(r, r->ahead.turn);
  uint64_t places = bytes_of(top->rows, (uint64_t)top->recorded_k) / 2;
  *out = (tern__top){.rows = top->rows, .k = top->recorded_k, .values = (const float *)(const void *)host,
                     .places = (const int32_t *)(const void *)(host + places)};
  return true;
}

tern_status tern__gpu_fetch(tern__program *program, const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__backend *backend = program->backend;
  uint64_t ticket;
  if (!r->top.recorded_k || r->top.fetched) return TERN_OK;
  if (tern__cancelled(cancel)) TERN_FAIL(TERN_STATUS_CANCELLED, "cancelled");
  const tern__view *view = &program->plan->views[program->plan->exports[r->top.export]];
  tern__gpu_range range = {r->readback, r->export_at[r->top.export], tern__gpu_place(view->size_bytes)};
  r->top.fetched = true;
  TERN_TRY(tern__gpu_ahead_undo(program));
  TERN_TRY(backend->api->submit(backend->device, r->top.whole, &ticket));
  TERN_TRY(tern__gpu_wait_for(program, ticket));
  TERN_TRY(backend->api->invalidate(backend->device, &range));
  memcpy(view->data, (const uint8_t *)backend->api->buffer_host(r->readback) + range.offset, view->size_bytes);
cleanup:
  return status;
}
