/* Chains: see gpu_chain.h. */
#include "gpu/gpu_chain.h"

#include <string.h>

tern__gpu_operand tern__gpu_chain_counters(void) { return (tern__gpu_operand){TERN__GPU_CHAIN, 0, 0, 0}; }

uint64_t tern__gpu_chain_bytes(const tern__program *program) {
  size_t n = tern__array_count(program->steps);
  for (size_t i = 0; i < n; i++)
    if (program->steps[i].link.word || program->steps[i].brief.link.word) return (n + 1) * TERN__GPU_COUNTER_BYTES;
  return 0;
}

/* Timestamps tell nothing of dispatches that run at once: a profile has none of it. */
bool tern__gpu_chains(const tern__program *program, const tern__gpu_step *step, tern__gpu_link link) {
  for (int i = 0; i < TERN__GPU_MAX_BINDINGS; i++)
    if (link.early >> i & 1 && step->operands[i].kind == TERN__GPU_VALUE) return false;
  return link.word && !program->plan->profile && !atomic_load(&program->backend->no_chains);
}

void tern__gpu_chain_refuse(tern__backend *backend, const char *why) {
  if (atomic_exchange(&backend->no_chains, true)) return;
  tern__log(backend->env.log, TERN_LOG_WARNING, "device '%s' (%s): kernels that wait for each other are not used: %s",
            backend->info->name, backend->info->driver, why);
}

static tern_status put(tern__gpu_recorder *rec, tern__gpu_kept_back *held) {
  memcpy(held->immediates + 4 * (held->link.word - 1), &held->word, sizeof held->word);
  held->link.word = 0;
  return tern__gpu_put_dispatch(rec, held->kernel, held->ranges, held->immediates, held->groups);
}

tern_status tern__gpu_chain_end(tern__gpu_recorder *rec) {
  return rec->held.link.word ? put(rec, &rec->held) : TERN_OK;
}

tern_status tern__gpu_chain_dispatch(tern__gpu_recorder *rec, const tern__gpu_kept_back *dispatch) {
  tern_status status = TERN_OK;
  tern__gpu_recording *r = rec->program->recording;
  const tern__gpu_kernel *facts = &tern__gpu_kernels[dispatch->kernel];
  tern__gpu_range ranges[TERN__GPU_MAX_BINDINGS];
  bool writes[TERN__GPU_MAX_BINDINGS];
  int n = 0;
  uint32_t word = 0;
  for (int i = 0; i < facts->n_bindings; i++) {
    const tern__gpu_range *range = &dispatch->ranges[i];
    if (range->buffer == r->kept && range->offset == r->chain_at) continue;
    ranges[n] = *range, writes[n++] = facts->writes >> i & 1;
  }
  const uint32_t *before = rec->held.groups;
  uint64_t arrivals = (uint64_t)(rec->held.link.last_of_x ? 1 : before[0]) * before[1] * before[2];
  bool first = !rec->n_pending && !rec->unlisted, conflict = tern__gpu_conflicts(rec, ranges, writes, n);
  bool room = arrivals <= TERN__GPU_MOST_ARRIVALS && r->counters + 2 < TERN__GPU_MOST_COUNTERS;
  if (conflict && rec->held.link.word && rec->held.last && room) {
    if (!rec->held.word) rec->held.word = tern__gpu_chain_word(++r->counters, 0, false);
    rec->held.word |= tern__gpu_chain_word(0, 0, true);
    word = tern__gpu_chain_word(++r->counters, (uint32_t)arrivals, false);
    TERN_TRY(put(rec, &rec->held));
    rec->n_pending = 0, rec->unlisted = true;
  } else {
    TERN_TRY(tern__gpu_chain_end(rec));
    if (conflict) TERN_TRY(tern__gpu_wait_for_all(rec));
  }
  tern__gpu_list(rec, ranges, writes, n);
  rec->held = *dispatch;
  rec->held.word = word, rec->held.last = first || conflict;
cleanup:
  return status;
}

tern_status tern__gpu_chain_watch(tern__gpu_recorder *rec) {
  tern_status status = TERN_OK;
  tern__program *program = rec->program;
  tern__gpu_recording *r = program->recording;
  if (!r->counters) return TERN_OK;
  TERN_TRY(tern__gpu_chain_end(rec));
  if (rec->unlisted) TERN_TRY(tern__gpu_wait_for_all(rec));
  TERN_TRY(program->backend->api->copy(rec->commands,
                                       &(tern__gpu_range){r->kept, r->chain_at, 4},
                                       &(tern__gpu_range){r->readback, r->alarm_at, 4}));
cleanup:
  return status;
}

bool tern__gpu_chain_raised(const tern__program *program) {
  const tern__gpu_recording *r = program->recording;
  uint32_t alarm = 0;
  if (r->counters)
    memcpy(&alarm, (const uint8_t *)program->backend->api->buffer_host(r->readback) + r->alarm_at, sizeof alarm);
  return alarm != 0;
}
