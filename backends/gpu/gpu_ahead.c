/* The step after the one that runs, submitted before the host knows the token that it is of: greedy decoding without a
 * round trip between two steps. The last pass over the logits leaves the best token, and where it goes, in `next`;
 * commands that read these there in place of what the host sends are recorded twice, so that the host may read what one
 * step gave while the other runs. When the host asks for its next run, that is compared with what was begun: equal, it
 * waits for what is on its way already; otherwise what was begun is dropped. Its keys and values lie behind those that
 * are of use and are written again. */
#include "gpu/gpu_chain.h"

enum { NEXT_ID = 256, NEXT_BYTES = NEXT_ID + TERN__GPU_PLACE }; /* kernels/include/sample_next.wgsl */

/* A CPU that plays the device has nothing to gain, and its steps are cut into pieces. */
bool tern__gpu_may_go_ahead(const tern__program *program) {
  const tern__plan *plan = program->plan;
  const tern__gpu_info *info = program->backend->info;
  if (!tern__gpu_may_rank(program) || plan->kv->batch != 1 || plan->n_imports != 1 || plan->n_exports != 1 ||
      plan->profile || !info->binds_readback || info->one_thread || info->software)
    return false;
  const tern__view *ids = &plan->views[plan->imports[0]];
  return (ids->dtype == TERN_DTYPE_I64 || ids->dtype == TERN_DTYPE_I32) && tern__gpu_elements(ids) == 1;
}

void tern__gpu_ahead_plan(tern__program *program) {
  tern__gpu_recording *r = program->recording;
  if (!tern__gpu_may_go_ahead(program)) return;
  r->ahead.next_bytes = 2 * NEXT_BYTES;
  r->ahead.back_at = r->readback_bytes;
  r->readback_bytes += TERN__GPU_PLACE;
}

bool tern__gpu_ahead_follows(const tern__gpu_recording *r) {
  return r->ahead.next && r->top.k == 1 && r->top.rows == 1;
}

tern__gpu_range tern__gpu_ahead_positions(const tern__gpu_recording *r, int turn) {
  if (!turn) return (tern__gpu_range){r->upload, 0, r->positions_bytes};
  return (tern__gpu_range){r->ahead.next, turn == 1 ? 0 : NEXT_BYTES, NEXT_ID};
}

tern__gpu_range tern__gpu_ahead_ids(const tern__gpu_recording *r, int turn, uint64_t size) {
  return (tern__gpu_range){r->ahead.next, (turn == 1 ? 0 : NEXT_BYTES) + NEXT_ID, size};
}

tern__gpu_range tern__gpu_ahead_next(const tern__gpu_recording *r, int turn) {
  return (tern__gpu_range){r->ahead.next, turn == 1 ? NEXT_BYTES : 0, NEXT_BYTES};
}

uint64_t tern__gpu_ahead_back(const tern__gpu_recording *r, int turn) {
  return turn == 1 ? r->ahead.back_at : r->export_at[r->top.export];
}

static int turn_after(int turn) { return turn == 1 ? 2 : 1; }

/* ---- commands ---- */

static tern_status record_turn(tern__program *program, int turn) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  const tern__backend *backend = program->backend;
  tern__gpu_recorder rec = {.program = program, .turn = turn};
  TERN_TRY(backend->api->commands_create(backend->device, &r->ahead.turns[turn]));
  rec.commands = r->ahead.turns[turn];
  r->counters = 0;
  TERN_TRY(tern__gpu_record_steps(&rec));
  TERN_TRY(tern__gpu_top_record(&rec, r->top.export));
  TERN_TRY(tern__gpu_chain_watch(&rec));
  TERN_TRY(backend->api->commands_finish(rec.commands));
cleanup:
  return status;
}

static void destroy_turns(tern__program *program) {
  tern__gpu_ahead *a = &program->recording->ahead;
  for (int turn = 1; turn <= 2; turn++) {
    program->backend->api->commands_destroy(a->turns[turn]);
    a->turns[turn] = NULL;
  }
}

/* Both, while the device is busy with the first step. A run's counts are those of either. */
static tern_status ensure_turns(tern__program *program) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  uint64_t dispatches = r->dispatches, barriers = r->barriers, bytes_back = r->bytes_back;
  uint32_t counters = r->counters;
  if (r->ahead.turns[1]) return TERN_OK;
  for (int turn = 1; turn <= 2; turn++) TERN_TRY(record_turn(program, turn));
cleanup:
  r->dispatches = dispatches, r->barriers = barriers, r->bytes_back = bytes_back, r->counters = counters;
  if (status != TERN_OK) destroy_turns(program);
  return status;
}

void tern__gpu_ahead_drop(tern__program *program) {
  tern__gpu_ahead_settle(program);
  destroy_turns(program);
  program->recording->ahead.turn = 0;
}

/* ---- running ---- */

static bool is_it(const tern__program *program, const tern__run_args *args) {
  const tern__gpu_recording *r = program->recording;
  const tern__gpu_ahead *a = &r->ahead;
  const tern__view *ids = &program->plan->views[program->plan->imports[0]];
  tern__top last;
  if (a->runs != r->kv->runs || args->kv->past[0] != a->past || args->kv->fresh[0] != 1) return false;
  if (!tern__gpu_get_top(program, &last)) return false;
  int64_t id = ids->dtype == TERN_DTYPE_I64 ? *(const int64_t *)ids->data : *(const int32_t *)ids->data;
  return id == last.places[0];
}

bool tern__gpu_ahead_take(tern__program *program, const tern__run_args *args, uint64_t *ticket) {
  tern__gpu_recording *r = program->recording;
  tern__gpu_ahead *a = &r->ahead;
  bool it = a->ticket && is_it(program, args);
  if (it) {
    *ticket = a->ticket, a->ticket = 0, a->turn = turn_after(a->turn);
  } else {
    tern__gpu_ahead_settle(program);
    a->turn = 0;
  }
  if (r->kv) r->kv->runs++;
  return it;
}

/* Whether the run's successor has room, and is what is recorded. */
static bool may_follow(const tern__program *program, const tern__run_args *args) {
  const tern__gpu_recording *r = program->recording;
  if (!args->follows || !tern__gpu_ahead_follows(r) || tern__array_count(r->pieces) != 1 || args->kv->fresh[0] != 1)
    return false;
  int64_t end = (int64_t)args->kv->past[0] + 2, table = program->rotary_positions;
  return end <= args->kv->capacity && (!table || end <= table) && (!r->brief || end <= program->brief_positions);
}

tern_status tern__gpu_ahead_begin(tern__program *program, const tern__run_args *args) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = program->recording;
  tern__gpu_ahead *a = &r->ahead;
  const tern__backend *backend = program->backend;
  uint64_t ticket;
  if (!may_follow(program, args)) return TERN_OK;
  TERN_TRY(ensure_turns(program));
  TERN_TRY(backend->api->submit(backend->device, a->turns[turn_after(a->turn)], &ticket));
  a->ticket = r->arena->ahead = r->kv->ahead = ticket;
  a->past = args->kv->past[0] + 1, a->runs = r->kv->runs;
cleanup:
  return status == TERN_STATUS_DEVICE_LOST ? status : TERN_OK;
}

void tern__gpu_ahead_settle(tern__program *program) {
  tern__gpu_ahead *a = &program->recording->ahead;
  tern__gpu_wait_quietly(program->backend, a->ticket);
  a->ticket = 0;
}

/* The host's inputs are sent with each run, also where a step did not need them. */
tern_status tern__gpu_ahead_undo(tern__program *program) {
  if (!program->recording->ahead.ticket) return TERN_OK;
  tern__gpu_ahead_settle(program);
  return tern__gpu_run_sent(program, &(tern__run_args){.kv = program->plan->kv});
}
