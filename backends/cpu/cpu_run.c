/* Running a program: every thread of the pool walks the same phases. In a phase each thread takes the chunks of its own
 * contiguous range, in order (the hardware prefetcher likes that); one that has none left takes over the second half of
 * what another still has.
 *
 * Per thread one 64-bit word holds (phase, chunks in hand, next chunk of its range, end of its range). It only changes
 * by compare-exchange, so nobody can take a chunk of a phase that is over, and a late thread loses its range to the
 * others.
 * One counter of finished chunks joins all phases of the run: phase p is over when it reaches ends[p]. Nothing is reset
 * between phases.
 *
 * Helping: on a busy machine the system may take a thread's core away in the middle of a chunk, for longer than a token
 * takes. A thread that finds nothing left and waits too long then does again what the other has in hand, counts it for
 * the other, and all go on. The other finishes its chunk at some time: it stores the same bytes once more, which is
 * right only where a chunk stores nothing but results (step->repeatable) and where nothing that it reads or writes is
 * used for something else in this run (plan->separate).
 *
 * Ending ahead: where the caller allows it, a run ends when its work is done, not when all have left it. A late thread
 * then finishes its chunk at some time after the run, in memory that only this program uses; the next run of the
 * program waits for that, so that a caller with many short runs takes another program of the same kind meanwhile. What
 * such a thread may look at is the program's own: positions are copied, and only the caller's thread looks at the token
 * of cancellation. A step that reads what the caller changes between runs is not repeatable: it is waited for.
 *
 * That the same bytes are stored twice is a data race by the letter of C11; it is left out where ThreadSanitizer
 * looks. */
#include "cpu/cpu_program.h"
#include "runtime/thread_pool.h"

#include <string.h>

enum {
  ASK_PHASES = 8,             /* farthest that a thread looks ahead for weights, in phases */
  ASK_BYTES = 384 * 1024,     /* most that it asks for: they are to be in the core's cache when they are read */
  ASK_LINES = 8,              /* with each pause of a wait: as many as memory gives meanwhile */
  SPIN_PAUSES = 700, /* some 25 microseconds, as most steps are shorter */
  HELP_PAUSES = 150,  /* longer than what another thread may have in hand takes it */
  IN_HAND = 4,        /* most chunks that are taken at once: an atomic operation stops a stream of loads */
  CHUNK_BITS = 20,
  IN_HAND_BITS = 4,
  ERROR_TEXT = 512
};

/* `start` is where the chunks begin that the thread has done and not counted: written by the thread alone, before it
 * has chunks of them in hand. */
typedef struct range { _Alignas(64) _Atomic uint64_t word; _Atomic uint32_t start; } range;

typedef struct tern__cpu_counters {
  _Alignas(64) _Atomic uint32_t done; /* chunks finished in this run */
  _Atomic int32_t sleepers;
  _Alignas(
      64) _Atomic int32_t failed; /* also set by a cancellation: chunks are then counted without being run */
  tern_status status;                  /* of the first failure; written by the thread that set `failed` */
  char error[ERROR_TEXT];
  const tern__run_args *args, *args_of_others; /* of the caller's thread, and of the others */
  tern__run_args own_args;                     /* these are, where the run may end ahead of them: */
  tern__kv_cache own_kv;                       /* its positions lie behind the ranges */
  range ranges[];
} tern__cpu_counters;

static size_t counters_size(const tern__program *program) {
  return sizeof(tern__cpu_counters) + (size_t)program->n_threads * sizeof(range);
}
static size_t n_sequences(const tern__program *program) {
  return program->plan->kv ? (size_t)program->plan->kv->batch : 0;
}
static size_t run_size(const tern__program *program) {
  return counters_size(program) + 2 * n_sequences(program) * sizeof(int32_t);
}

tern_status tern__cpu_run_create(tern__program *program) {
  program->run = tern__alloc_aligned(program->backend->env.alloc, run_size(program), 64);
  return program->run ? TERN_OK : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a CPU program");
}

bool tern__cpu_left(const tern__program *program) {
  return tern__pool_left(program->backend->env.pool, program->ticket);
}

static void wait_for_late(tern__program *program) {
  tern__pool_wait(program->backend->env.pool, program->ticket);
  program->ticket = 0;
}

void tern__cpu_run_destroy(tern__program *program) {
  wait_for_late(program);
  if (program->run) tern__free_aligned(program->backend->env.alloc, program->run, run_size(program), 64);
}

/* The next run may have other inputs in the same place, or the same in another. */
static bool reads_input(const tern__program *program, const tern__cpu_step *step) {
  const tern__plan *plan = program->plan;
  for (int32_t i = 0; step->node && i < step->node->n_inputs; i++) {
    tern__value_id id = step->node->inputs[i];
    for (size_t g = 0; id >= 0 && g < tern__array_count(plan->graph->inputs); g++)
      if ((plan->root ? plan->root[id] : id) == plan->graph->inputs[g]) return true;
  }
  return false;
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
    if (step->repeatable && reads_input(program, step)) step->repeatable = false;
    bool group = step->beside || (s + 1 < n && program->steps[s + 1].beside);
    step->joined = s > 0 && !group && step->n_chunks == 1 && !step[-1].beside && step[-1].n_chunks == 1;
    if (step->joined) continue;
    uint32_t begin = step->beside && tern__array_count(program->ends) > 1
                         ? program->ends[tern__array_count(program->ends) - 2]
                         : end;
    end += step->n_chunks;
    if (end - begin >= 1u << CHUNK_BITS || tern__array_count(program->ends) >= 1u << CHUNK_BITS)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "node '%s' (%s): too many pieces of work", step->node->name,
                step->node->op->name);
    if (step->beside) {
      program->ends[tern__array_count(program->ends) - 1] = end;
      continue;
    }
    TERN_ARRAY_PUSH(alloc, program->starts, (uint32_t)s);
    TERN_ARRAY_PUSH(alloc, program->ends, end);
  }
  TERN_ARRAY_PUSH(alloc, program->starts, (uint32_t)n);
  size_t n_phases = tern__array_count(program->ends);
  for (size_t p = 0; p < n_phases; p++) {
    size_t next = p + 1;
    while (next < n_phases && next <= p + ASK_PHASES && !program->steps[program->starts[next]].stream) next++;
    bool found = next < n_phases && next <= p + ASK_PHASES && program->backend->kernels->asks_ahead;
    TERN_ARRAY_PUSH(alloc, program->streams, found ? (uint32_t)next : UINT32_MAX);
  }
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

static void run_chunk(tern__program *program, tern__cpu_context *context, uint32_t phase, uint32_t chunk) {
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
    context->shared = program->scratch + step->shared;
    uint64_t start = program->times ? tern__now_ns() : 0;
    tern_status status = step->run(step, context, chunk);
    if (program->times) tern__cpu_times_step(program->times, s, start);
    if (status != TERN_OK) set_failure(run, status);
  }
}

/* Phases count from 1 in words: all of a new run's ranges are behind. */
typedef struct span { uint32_t phase, in_hand, next, end; } span;

static uint64_t packed(span s) {
  return (uint64_t)s.phase << (2 * CHUNK_BITS + IN_HAND_BITS) | (uint64_t)s.in_hand << 2 * CHUNK_BITS |
         (uint64_t)s.next << CHUNK_BITS | s.end;
}
static span unpacked(uint64_t word) {
  const uint32_t chunks = (1u << CHUNK_BITS) - 1;
  return (span){(uint32_t)(word >> (2 * CHUNK_BITS + IN_HAND_BITS)),
                (uint32_t)(word >> 2 * CHUNK_BITS) & ((1u << IN_HAND_BITS) - 1),
                (uint32_t)(word >> CHUNK_BITS) & chunks, (uint32_t)word & chunks};
}

/* A phase as one thread sees it. */
typedef struct walk_phase { uint32_t phase, n_chunks; int32_t thread, n_threads; } walk_phase;

/* The range as it is in this phase: untouched ones are a share of all chunks. */
static span span_of(const walk_phase *w, int32_t owner, uint64_t word) {
  span s = unpacked(word);
  uint64_t n = w->n_chunks, threads = (uint64_t)w->n_threads, t = (uint64_t)owner;
  if (s.phase < w->phase) s = (span){w->phase, 0, (uint32_t)(n * t / threads), (uint32_t)(n * (t + 1) / threads)};
  return s;
}

/* Few of what is left at a time, so that little has to be waited for or done again. */
static void take_some(span *s) {
  uint32_t some = (s->end - s->next) / IN_HAND;
  s->in_hand = s->next == s->end ? 0 : some < 1 ? 1 : some > IN_HAND ? IN_HAND : some;
  s->next += s->in_hand;
}

/* Puts down what the thread has in hand and takes its next chunks, up to *next; 0 if it has none left. *finished:
 * chunks that it has to count then, unless a helper did. */
static uint32_t take(tern__cpu_counters *run, const walk_phase *w, uint32_t *next, uint32_t *finished) {
  range *own = &run->ranges[w->thread];
  uint64_t now = atomic_load_explicit(&own->word, memory_order_relaxed);
  for (;;) {
    span s = span_of(w, w->thread, now), then = s;
    *finished = 0;
    if (s.phase != w->phase || (s.next == s.end && !s.in_hand)) return 0;
    take_some(&then);
    if (!atomic_compare_exchange_weak_explicit(&own->word, &now, packed(then), memory_order_acq_rel,
                                               memory_order_relaxed))
      continue;
    if (!then.in_hand && s.in_hand) *finished = s.next - atomic_load_explicit(&own->start, memory_order_relaxed);
    *next = then.next;
    return then.in_hand;
  }
}

/* Makes the second half of what another thread has left the range of this one, which has none, and takes its first
 * chunks, up to *next; 0 if nobody has any left. */
static uint32_t steal(tern__cpu_counters *run, const walk_phase *w, uint32_t *next) {
  range *own = &run->ranges[w->thread];
  for (int32_t i = 1; i < w->n_threads; i++) {
    int32_t owner = (w->thread + i) % w->n_threads;
    uint64_t now = atomic_load_explicit(&run->ranges[owner].word, memory_order_relaxed);
    for (;;) {
      span s = span_of(w, owner, now);
      if (s.phase != w->phase || s.next == s.end) break;
      span mine = {w->phase, 0, s.next + (s.end - s.next) / 2, s.end};
      s.end = mine.next;
      if (!atomic_compare_exchange_weak_explicit(&run->ranges[owner].word, &now, packed(s), memory_order_relaxed,
                                                 memory_order_relaxed))
        continue;
      atomic_store_explicit(&own->start, mine.next, memory_order_relaxed);
      take_some(&mine);
      atomic_store_explicit(&own->word, packed(mine), memory_order_release);
      *next = mine.next;
      return mine.in_hand;
    }
  }
  return 0;
}

static void count(tern__program *program, const walk_phase *w, uint32_t chunks, uint32_t end) {
  tern__cpu_counters *run = program->run;
  if (!chunks || atomic_fetch_add(&run->done, chunks) + chunks < end) return;
  if (program->times) program->times->phase_end[w->phase - 1] = tern__now_ns();
  if (atomic_load(&run->sleepers)) tern__wake_address(&run->done);
}

/* Does what others have in hand, and counts it for them together with what they had done before. */
static void help(tern__program *program, tern__cpu_context *context, const walk_phase *w, uint32_t end) {
  tern__cpu_counters *run = program->run;
  for (int32_t i = 1; i < w->n_threads; i++) {
    range *other = &run->ranges[(w->thread + i) % w->n_threads];
    uint64_t word = atomic_load_explicit(&other->word, memory_order_acquire);
    span s = unpacked(word), then = s;
    if (s.phase != w->phase || !s.in_hand || s.next != s.end) continue;
    uint32_t start = atomic_load_explicit(&other->start, memory_order_relaxed);
    for (uint32_t c = s.next - s.in_hand; c < s.next; c++) {
      if (atomic_load_explicit(&run->done, memory_order_relaxed) >= end) return;
      run_chunk(program, context, w->phase - 1, c);
    }
    then.in_hand = 0;
    if (atomic_compare_exchange_strong_explicit(&other->word, &word, packed(then), memory_order_acq_rel,
                                                memory_order_relaxed))
      count(program, w, s.next - start, end);
  }
}

static bool may_help(const tern__program *program, uint32_t phase) {
#if defined(TERN__CPU_NO_HELPING)
  (void)program, (void)phase;
  return false;
#else
  if (!program->plan->separate) return false;
  for (uint32_t s = program->starts[phase]; s < program->starts[phase + 1]; s++)
    if (!program->steps[s].repeatable) return false;
  return true;
#endif
}

/* ---- asking ahead ---- */

/* A product of one row takes as long as memory gives its weights; between two of them memory has little to do. A thread
 * that waits there, or computes something else, asks for the first of what it will read next. */
typedef struct asking { tern__cpu_asking lines; uint32_t phase; } asking;

/* What the thread's own range of a phase begins with. */
static void ask_of(const tern__program *program, int32_t thread, int32_t n_threads, uint32_t phase, asking *a) {
  uint32_t s = program->starts[phase], last = program->starts[phase + 1];
  uint64_t n = program->ends[phase] - (phase ? program->ends[phase - 1] : 0);
  uint64_t chunk = n * (uint64_t)thread / (uint64_t)n_threads, end = n * (uint64_t)(thread + 1) / (uint64_t)n_threads;
  *a = (asking){.phase = phase};
  for (; s < last && chunk >= program->steps[s].n_chunks; s++) {
    chunk -= program->steps[s].n_chunks;
    end -= program->steps[s].n_chunks;
  }
  if (s == last || !program->steps[s].stream || end <= chunk) return;
  const tern__cpu_step *step = &program->steps[s];
  size_t from = (size_t)chunk * step->stream_bytes, to = (size_t)end * step->stream_bytes;
  if (to > step->stream_size) to = step->stream_size;
  if (from >= to) return;
  if (to - from > ASK_BYTES) to = from + ASK_BYTES;
  a->lines.at = (const uint8_t *)*step->stream + from, a->lines.end = (const uint8_t *)*step->stream + to;
}

static void wait_for(tern__program *program, tern__cpu_context *context, const walk_phase *w, uint32_t end) {
  tern__cpu_counters *run = program->run;
  uint32_t done;
  for (int i = 0; i < SPIN_PAUSES; i++) {
    if (atomic_load_explicit(&run->done, memory_order_acquire) >= end) return;
    if (i == HELP_PAUSES && may_help(program, w->phase - 1)) help(program, context, w, end);
    tern__cpu_relax();
    tern__cpu_ask(context->asking, ASK_LINES);
  }
  atomic_fetch_add(&run->sleepers, 1);
  while ((done = atomic_load(&run->done)) < end) tern__wait_address(&run->done, done);
  atomic_fetch_sub(&run->sleepers, 1);
}

static void walk(void *arg, int32_t thread, int32_t n_threads) {
  tern__program *program = arg;
  tern__cpu_counters *run = program->run;
  asking ahead = {.phase = UINT32_MAX};
  tern__cpu_context context = {
      .kernels = program->backend->kernels,
      .args = thread ? run->args_of_others : run->args,
      .alloc = program->backend->env.alloc,
      .scratch = program->scratch + program->shared_scratch + (size_t)thread * program->thread_scratch,
      .asking = &ahead.lines};
  size_t n_phases = tern__array_count(program->ends);
  uint32_t begin = 0;
  for (uint32_t p = 0; p < n_phases; begin = program->ends[p++]) {
    uint32_t end = program->ends[p], next, some, finished;
    walk_phase w = {p + 1, end - begin, thread, n_threads};
    if (atomic_load_explicit(&run->done, memory_order_acquire) >= end) continue;
    if (program->streams[p] != ahead.phase) {
      if (program->streams[p] == UINT32_MAX) ahead = (asking){.phase = UINT32_MAX};
      else ask_of(program, thread, n_threads, program->streams[p], &ahead);
    }
    atomic_store_explicit(&run->ranges[thread].start, span_of(&w, thread, 0).next, memory_order_relaxed);
    for (some = take(run, &w, &next, &finished); some || (some = steal(run, &w, &next)) > 0;) {
      for (uint32_t c = next - some; c < next; c++) run_chunk(program, &context, p, c);
      some = take(run, &w, &next, &finished);
      count(program, &w, finished, end);
    }
    wait_for(program, &context, &w, end);
  }
}

/* The caller's arguments for the other threads, which may need them for longer than the caller keeps them. */
static void keep_args(tern__program *program, const tern__run_args *args) {
  tern__cpu_counters *run = program->run;
  run->own_args = (tern__run_args){.kv = args->kv};
  run->args_of_others = &run->own_args;
  if (!args->kv) return;
  size_t n = n_sequences(program);
  int32_t *positions = (int32_t *)(void *)((uint8_t *)run + counters_size(program));
  memcpy(positions, args->kv->past, n * sizeof *positions);
  memcpy(positions + n, args->kv->fresh, n * sizeof *positions);
  run->own_kv = *args->kv, run->own_kv.past = positions, run->own_kv.fresh = positions + n;
  run->own_args.kv = &run->own_kv;
}

tern_status tern__cpu_run(tern__program *program, const tern__run_args *args) {
  tern__cpu_counters *run = program->run;
  tern__pool *pool = program->backend->env.pool;
  bool ahead = args->ahead && program->plan->separate && (!args->kv || args->kv == program->plan->kv);
  wait_for_late(program);
  memset(run, 0, run_size(program));
  run->args = run->args_of_others = args;
  if (ahead) keep_args(program, args);
  if (program->times) tern__cpu_times_begin(program, args);
  if (ahead) program->ticket = tern__pool_run_ahead(pool, program->n_threads, walk, program);
  else tern__pool_run(pool, program->n_threads, walk, program);
  if (!atomic_load(&run->failed)) return TERN_OK;
  tern__error_set(run->error);
  return run->status;
}
