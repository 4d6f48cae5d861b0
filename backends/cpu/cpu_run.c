/* Running a program: every thread of the pool walks the same phases. In a phase each thread takes the chunks
 * of its own contiguous range, in order (the hardware prefetcher likes that), then takes what is left of the
 * others' ranges.
 *
 * Per thread one 64-bit word holds (phase, next chunk of its range). It only grows and only changes by
 * compare-exchange, so nobody can take a chunk of a phase that is over, and a late thread loses its range to
 * the others. One counter of finished chunks joins all phases of the run: phase p is over when it reaches
 * ends[p]. Nothing is reset between phases. */
#include "cpu/cpu_program.h"
#include "runtime/thread_pool.h"

#include <string.h>

enum { SPIN_PAUSES = 1000 /* some 30 microseconds, as most steps are shorter */, ERROR_TEXT = 512 };

typedef struct range { _Alignas(64) _Atomic uint64_t word; } range;

typedef struct tern__cpu_counters {
  _Alignas(64) _Atomic uint32_t done; /* chunks finished in this run */
  _Atomic int32_t sleepers;
  _Alignas(
      64) _Atomic int32_t failed; /* also set by a cancellation: chunks are then counted without being run */
  tern_status status;                  /* of the first failure; written by the thread that set `failed` */
  char error[ERROR_TEXT];
  const tern__run_args *args;
  range ranges[];
} tern__cpu_counters;

static size_t run_size(const tern__program *program) {
  return sizeof(tern__cpu_counters) + (size_t)program->n_threads * sizeof(range);
}

tern_status tern__cpu_run_create(tern__program *program) {
  program->run = tern__alloc_aligned(program->backend->env.alloc, run_size(program), 64);
  return program->run ? TERN_OK : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a CPU program");
}

void tern__cpu_run_destroy(tern__program *program) {
  if (program->run) tern__free_aligned(program->backend->env.alloc, program->run, run_size(program), 64);
}

/* A phase is a chain of steps of one chunk each (handing such a step over costs more than it does), or steps
 * that need nothing of one another. */
tern_status tern__cpu_phases(tern__program *program) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = program->backend->env.alloc;
  size_t n = tern__array_count(program->steps);
  uint32_t end = 0;
  for (size_t s = 0; s < n; s++) {
    tern__cpu_step *step = &program->steps[s];
    bool group = step->beside || (s + 1 < n && program->steps[s + 1].beside);
    step->joined = s > 0 && !group && step->n_chunks == 1 && !step[-1].beside && step[-1].n_chunks == 1;
    if (step->joined) continue;
    end += step->n_chunks;
    if (step->beside) {
      program->ends[tern__array_count(program->ends) - 1] = end;
      continue;
    }
    TERN_ARRAY_PUSH(alloc, program->starts, (uint32_t)s);
    TERN_ARRAY_PUSH(alloc, program->ends, end);
  }
  TERN_ARRAY_PUSH(alloc, program->starts, (uint32_t)n);
cleanup:
  return status;
}

/* The first failure wins. */
static void set_failure(tern__cpu_counters *run, tern_status status) {
  int32_t unset = 0;
  if (!atomic_compare_exchange_strong(&run->failed, &unset, 1)) return;
  run->status = status;
  const char *text = tern_last_error();
  size_t size = strlen(text);
  if (size >= ERROR_TEXT) size = ERROR_TEXT - 1;
  memcpy(run->error, text, size);
  run->error[size] = 0;
}

static void run_chunk(tern__program *program, const tern__cpu_context *context, uint32_t phase,
                      uint32_t chunk) {
  tern__cpu_counters *run = program->run;
  uint32_t s = program->starts[phase], last = program->starts[phase + 1];
  if (s + 1 < last && program->steps[s + 1].beside) {
    while (chunk >= program->steps[s].n_chunks) chunk -= program->steps[s++].n_chunks;
    last = s + 1;
  }
  for (; s < last; s++) {
    if (atomic_load_explicit(&run->failed, memory_order_relaxed)) return;
    if (tern__cancelled(context->args->cancel)) {
      set_failure(run, tern__fail(TERN_STATUS_CANCELLED, "cancelled"));
      return;
    }
    const tern__cpu_step *step = &program->steps[s];
    uint64_t start = program->times ? tern__now_ns() : 0;
    tern_status status = step->run(step, context, chunk);
    if (program->times) tern__cpu_times_step(program->times, s, start);
    if (status != TERN_OK) set_failure(run, status);
  }
}

static uint64_t word_of(uint32_t phase, uint32_t chunk) { return (uint64_t)phase << 32 | chunk; }

/* Takes the next chunk of the range [begin, end) of `owner` in this phase (phases count from 1 in words). */
static bool take(tern__cpu_counters *run, int32_t owner, uint32_t phase, uint32_t begin, uint32_t end,
                 uint32_t *chunk) {
  _Atomic uint64_t *word = &run->ranges[owner].word;
  uint64_t now = atomic_load_explicit(word, memory_order_relaxed);
  for (;;) {
    uint32_t at = (uint32_t)(now >> 32), next = at < phase ? begin : (uint32_t)now;
    if (at > phase || next >= end) return false;
    if (atomic_compare_exchange_weak_explicit(word, &now, word_of(phase, next + 1), memory_order_relaxed,
                                              memory_order_relaxed)) {
      *chunk = next;
      return true;
    }
  }
}

static void wait_for(tern__cpu_counters *run, uint32_t end) {
  uint32_t done;
  for (int i = 0; i < SPIN_PAUSES; i++) {
    if (atomic_load_explicit(&run->done, memory_order_acquire) >= end) return;
    tern__cpu_relax();
  }
  atomic_fetch_add(&run->sleepers, 1);
  while ((done = atomic_load(&run->done)) < end) tern__wait_address(&run->done, done);
  atomic_fetch_sub(&run->sleepers, 1);
}

static void walk(void *arg, int32_t thread, int32_t n_threads) {
  tern__program *program = arg;
  tern__cpu_counters *run = program->run;
  tern__cpu_context context = {
      .kernels = program->backend->kernels, .args = run->args, .alloc = program->backend->env.alloc,
      .shared = program->scratch,
      .scratch = program->scratch + program->shared_scratch + (size_t)thread * program->thread_scratch};
  size_t n_phases = tern__array_count(program->ends);
  uint32_t start = 0;
  for (uint32_t p = 0; p < n_phases; start = program->ends[p++]) {
    uint32_t end = program->ends[p], taken = 0, chunk;
    uint64_t n = end - start;
    if (atomic_load_explicit(&run->done, memory_order_acquire) >= end) continue;
    for (int32_t i = 0; i < n_threads; i++) {
      uint64_t owner = (uint64_t)((thread + i) % n_threads);
      uint32_t from = (uint32_t)(n * owner / (uint64_t)n_threads),
               to = (uint32_t)(n * (owner + 1) / (uint64_t)n_threads);
      while (take(run, (int32_t)owner, p + 1, from, to, &chunk)) {
        run_chunk(program, &context, p, chunk);
        taken++;
      }
    }
    if (taken && atomic_fetch_add(&run->done, taken) + taken >= end) {
      if (program->times) program->times->phase_end[p] = tern__now_ns();
      if (atomic_load(&run->sleepers)) tern__wake_address(&run->done);
    }
    wait_for(run, end);
  }
}

tern_status tern__cpu_run(tern__program *program, const tern__run_args *args) {
  tern__cpu_counters *run = program->run;
  memset(run, 0, run_size(program));
  run->args = args;
  if (program->times) tern__cpu_times_begin(program, args);
  tern__pool_run(program->backend->env.pool, program->n_threads, walk, program);
  if (!atomic_load(&run->failed)) return TERN_OK;
  tern__error_set(run->error);
  return run->status;
}
