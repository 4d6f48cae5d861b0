/* A program's commands: what gpu_run.c records and runs, and gpu_top.c adds to. */
#ifndef TERN_GPU_RECORDING_H
#define TERN_GPU_RECORDING_H

#include "gpu/gpu_program.h"

enum { TERN__GPU_MAX_PENDING = 64 }; /* ranges remembered between two barriers */

/* The largest values of an export in place of all of it (gpu_top.c). */
typedef struct tern__gpu_top {
  tern__value_id value;        /* wanted of; k 0 = nothing is */
  int32_t k;
  int32_t rows, recorded_k;    /* as recorded: 0 = whole exports */
  int32_t export;
  tern__gpu_buffer *buffer;    /* between passes */
  uint64_t capacity;
  tern__gpu_commands *whole;   /* copies the export after all */
  bool fetched;                /* the last run's candidates are gone */
} tern__gpu_top;

/* The step after the one that runs (gpu_ahead.c). Turn 0, a program's pieces, takes what the host sends; 1 and 2 take
 * alternately what the ones before them left in `next`, and the host reads what the one gave while the other runs. */
typedef struct tern__gpu_ahead {
  uint64_t next_bytes;             /* 0: not of this program */
  tern__gpu_buffer *next;          /* two of what a step needs of the host: turn 1 reads the first, writes the second */
  uint64_t back_at;                /* in readback: what turn 1 gives, of one value's size; the others at export_at */
  tern__gpu_commands *turns[3];    /* [0] is not used */
  int turn;                        /* whose results the last run's are */
  uint64_t ticket;                 /* of the step after it; 0 = there is none */
  int32_t past;                    /* where that one takes place, */
  uint64_t runs;                   /* and how often the cache had been written to before (tern__device_memory.runs) */
} tern__gpu_ahead;

/* Brings a part of a held export, after the pieces: the host takes one while the next is on its way. */
typedef struct tern__gpu_tail {
  tern__gpu_commands *commands;
  int32_t export;
  uint64_t offset, size;           /* in the export */
  uint64_t ticket;                 /* of the last run */
} tern__gpu_tail;

typedef struct tern__gpu_recording {
  tern__gpu_buffer *upload, *readback, *scratch, *kept;
  tern__gpu_buffer *none[2];       /* bound for absent operands: declared read, and read_write */
  uint64_t upload_bytes, readback_bytes, scratch_bytes, positions_bytes;
  uint64_t *import_at, *export_at; /* offsets in upload and readback */
  bool *held;                      /* per export: it stays in readback */
  bool late;                       /* tails of the last run were not waited for */
  tern__gpu_commands **pieces;     /* base/array.h arrays */
  tern__gpu_tail *tails;
  tern__device_memory *arena, *kv;
  uint64_t arena_id, kv_id;        /* theirs: another one may lie where one was */
  uint64_t dispatches, barriers;   /* recorded in all pieces */
  uint64_t bytes_back;             /* that a run brings to readback */
  uint64_t chain_at, chain_bytes;  /* in kept memory: counters of chains */
  uint64_t alarm_at;               /* in readback: a chain's alarm */
  uint32_t counters;               /* of chains, as recorded: 0 = there is none */
  bool brief;                      /* recorded for few positions (tern__gpu_brief) */
  int32_t batch;                   /* sequences that there is room for in the positions */
  tern__gpu_top top;
  tern__gpu_ahead ahead;
} tern__gpu_recording;

typedef struct tern__gpu_pending { tern__gpu_range range; bool write; } tern__gpu_pending;

/* A dispatch that is not recorded yet: whether the next one waits for it in a chain is part of its immediates. */
typedef struct tern__gpu_kept_back {
  tern__gpu_kernel_id kernel;
  tern__gpu_range ranges[TERN__GPU_MAX_BINDINGS];
  uint8_t immediates[TERN__GPU_MAX_IMMEDIATE];
  uint32_t groups[3];
  tern__gpu_link link;          /* word 0: nothing is held */
  uint32_t word;                /* so far */
  bool last;                    /* all that was recorded before is done when it is */
} tern__gpu_kept_back;

typedef struct tern__gpu_recorder {
  tern__program *program;
  tern__gpu_commands *commands; /* the piece being recorded */
  int turn;                     /* whose commands they are: tern__gpu_ahead */
  uint64_t operations;          /* in it */
  tern__gpu_pending list[TERN__GPU_MAX_PENDING]; /* since the last barrier */
  int n_pending;
  bool unlisted;                /* there is more behind the last barrier than the list says */
  tern__gpu_kept_back held;
} tern__gpu_recorder;

/* Whether what comes next must wait for what was recorded since the last barrier; a barrier; and what comes next, to be
 * asked about later. */
bool tern__gpu_conflicts(const tern__gpu_recorder *rec, const tern__gpu_range *ranges, const bool *writes, int n);
tern_status tern__gpu_wait_for_all(tern__gpu_recorder *rec);
void tern__gpu_list(tern__gpu_recorder *rec, const tern__gpu_range *ranges, const bool *writes, int n);
/* All three: a barrier, if there must be one. */
tern_status tern__gpu_order(tern__gpu_recorder *rec, const tern__gpu_range *ranges, const bool *writes, int n);
tern_status tern__gpu_record_copy(tern__gpu_recorder *rec, const tern__gpu_range *from, const tern__gpu_range *to);
tern_status tern__gpu_record_dispatch(tern__gpu_recorder *rec, tern__gpu_kernel_id kernel,
                                      const tern__gpu_range *ranges, const void *immediates, const uint32_t groups[3]);
/* The same where nothing has to be waited for. */
tern_status tern__gpu_put_dispatch(tern__gpu_recorder *rec, tern__gpu_kernel_id kernel, const tern__gpu_range *ranges,
                                   const void *immediates, const uint32_t groups[3]);
tern_status tern__gpu_record_steps(tern__gpu_recorder *rec);
tern_status tern__gpu_record_export(tern__gpu_recorder *rec, int32_t i); /* all of export i to readback */
/* As which kernel the step was recorded. */
tern__gpu_kernel_id tern__gpu_recorded_kernel(const tern__gpu_recording *r, const tern__gpu_step *step);
/* Runs with the inputs that the host sent last. */
tern_status tern__gpu_run_sent(tern__program *program, const tern__run_args *args);
/* Waits for the ticket, whatever happens: memory that the device still uses must not be touched. */
tern_status tern__gpu_wait_for(tern__program *program, uint64_t ticket);
void tern__gpu_wait_quietly(tern__backend *backend, uint64_t ticket); /* the last error stays; ticket 0: no wait */

/* ---- gpu_top.c ---- */

/* Whether the largest values may be asked of this program later: what generates text. */
bool tern__gpu_may_rank(const tern__program *program);
bool tern__gpu_want_top(tern__program *program, tern__value_id value, int32_t k);
bool tern__gpu_get_top(const tern__program *program, tern__top *out);
tern_status tern__gpu_fetch(tern__program *program, const tern_cancel *cancel);
bool tern__gpu_top_recorded(const tern__program *program);                 /* what is wanted is what is recorded */
bool tern__gpu_top_replaces(const tern__program *program, int32_t export); /* while recording, and as recorded */
tern_status tern__gpu_top_record(tern__gpu_recorder *rec, int32_t export);
void tern__gpu_top_drop(tern__program *program);

/* ---- gpu_ahead.c ---- */

bool tern__gpu_may_go_ahead(const tern__program *program);
void tern__gpu_ahead_plan(tern__program *program); /* takes room in readback, if it may */
/* Whether a step may follow those that are recorded, or being recorded. */
bool tern__gpu_ahead_follows(const tern__gpu_recording *r);
tern__gpu_range tern__gpu_ahead_positions(const tern__gpu_recording *r, int turn); /* what the turn reads, */
tern__gpu_range tern__gpu_ahead_ids(const tern__gpu_recording *r, int turn, uint64_t size);
tern__gpu_range tern__gpu_ahead_next(const tern__gpu_recording *r, int turn);      /* and leaves to the one after it */
uint64_t tern__gpu_ahead_back(const tern__gpu_recording *r, int turn); /* where its results are in readback */
/* True if the run that is asked for is the step that was begun: *ticket is its. Otherwise nothing is on its way. */
bool tern__gpu_ahead_take(tern__program *program, const tern__run_args *args, uint64_t *ticket);
/* Begins the step after the run that was submitted last, if there may be one. It is no matter if that fails, but for
 * DEVICE_LOST. */
tern_status tern__gpu_ahead_begin(tern__program *program, const tern__run_args *args);
void tern__gpu_ahead_settle(tern__program *program); /* waits; what the step gave is dropped */
void tern__gpu_ahead_drop(tern__program *program);   /* its commands, too */
/* The last run's values are where they were before the step after it wrote there. */
tern_status tern__gpu_ahead_undo(tern__program *program);

#endif
