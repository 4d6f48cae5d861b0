/* Chains: steps that wait for each other in their kernels instead of behind a barrier (kernels/include/chain.wgsl). */
#ifndef TERN_GPU_CHAIN_H
#define TERN_GPU_CHAIN_H

#include "gpu/gpu_recording.h"

/* As in kernels/include/chain.wgsl: from one counter to the next; and the word of a dispatch that counts on its counter
 * (from 1 on) where it is followed, and before that waits for so many arrivals on the counter before. */
enum { TERN__GPU_COUNTER_BYTES = 128, TERN__GPU_MOST_COUNTERS = 1 << 15, TERN__GPU_MOST_ARRIVALS = (1 << 16) - 1 };
static inline uint32_t tern__gpu_chain_word(uint32_t counter, uint32_t arrivals, bool followed) {
  return arrivals << 16 | counter << 1 | (followed ? 1 : 0);
}

/* Tries once whether the device can have chains; if not, it gets none, and the log has a warning. Fails where memory is
 * missing or the device is lost. */
tern_status tern__gpu_chain_check(tern__backend *backend);

/* The operand of a kernel's counters, and how many bytes they take for all steps. */
tern__gpu_operand tern__gpu_chain_counters(void);
uint64_t tern__gpu_chain_bytes(const tern__program *program);

/* Whether a step, as that link says, is recorded as one that may take part. */
bool tern__gpu_chains(const tern__program *program, const tern__gpu_step *step, tern__gpu_link link);
/* Holds a dispatch of such a step back until it is known whether the next one waits for it. */
tern_status tern__gpu_chain_dispatch(tern__gpu_recorder *rec, const tern__gpu_kept_back *dispatch);
/* Records what is held back, if anything is: it ends its chain. Comes before anything else is recorded. */
tern_status tern__gpu_chain_end(tern__gpu_recorder *rec);
/* Brings the alarm to readback, if there is a chain; and whether a run has raised it: what it gave is void. */
tern_status tern__gpu_chain_watch(tern__gpu_recorder *rec);
bool tern__gpu_chain_raised(const tern__program *program);
/* No chain is recorded on the device any more; the log has it why. */
void tern__gpu_chain_refuse(tern__backend *backend, const char *why);

#endif
