/* A pipeline is a task over a model: one file a task, one line in pipeline_list.c. */
#ifndef TERN_PIPELINE_PIPELINE_H
#define TERN_PIPELINE_PIPELINE_H

#include "pipeline/model.h"
#include "runtime/session.h"

typedef struct tern__text_entry {
  char *text;                 /* base/array.h char array, NUL-terminated behind its count */
  int32_t *tokens;            /* base/array.h */
  const char *finish_reason;
} tern__text_entry;

struct tern_result {
  tern_runtime *runtime;
  tern__text_entry *entries;  /* base/array.h; text tasks */
  tern_tensor *tensor;        /* embeddings */
  int32_t *row_lengths;       /* base/array.h: valid rows per text when there is no pooling */
  tern_timings timings;
  char *json;
};
tern_status tern__result_create(tern_runtime *runtime, tern_result **out);
void tern__result_destroy(tern_result *result);

/* Members of tern_run_desc that a task reads; any other that is set is refused by name. */
typedef enum tern__run_member {
  TERN__RUN_TEXTS = 1, TERN__RUN_CHAT = 2, TERN__RUN_GENERATION = 4, TERN__RUN_EMBEDDING = 8
} tern__run_member;

typedef struct tern__task {
  const char *name;
  uint32_t members;           /* tern__run_member */
  size_t state_size;          /* zeroed state per pipeline */
  tern_status (*open)(tern_pipeline *pipeline, const tern_pipeline_desc *desc);
  tern_status (*run)(tern_pipeline *pipeline, const tern_run_desc *desc, tern_result *result);
  void (*close)(tern_pipeline *pipeline);
  tern_status (*memory)(tern_pipeline *pipeline, tern_memory_plan *out);
  const tern__session *(*session)(const tern_pipeline *pipeline); /* that ran last; NULL = none yet */
} tern__task;

struct tern_pipeline {
  _Atomic int32_t refs;
  const tern__task *task;
  tern_runtime *runtime;
  tern_model *model;
  tern__tokenizer *tokenizer;
  struct tern_tokenizer *public_tokenizer; /* the handle that tern_pipeline_tokenizer gives */
  tern__session_options session_options;
  _Atomic int32_t busy;       /* one run at a time */
  char *profile;              /* what tern_pipeline_profile gave last */
  void *state;
};

struct tern_tokenizer {
  tern_runtime *runtime;
  tern__tokenizer *tokenizer;
};

tern_status tern__pipeline_open(tern_runtime *runtime, const tern_pipeline_desc *desc, tern_pipeline **out);
void tern__pipeline_ref(tern_pipeline *pipeline);
void tern__pipeline_unref(tern_pipeline *pipeline);
/* Takes the pipeline for one run: BUSY if another has it. A run gives it back. */
tern_status tern__pipeline_claim(tern_pipeline *pipeline);
tern_status tern__pipeline_run_claimed(tern_pipeline *pipeline, const tern_run_desc *desc, tern_result **out);
/* Claims, checks the desc against the task, runs. */
tern_status tern__pipeline_run(tern_pipeline *pipeline, const tern_run_desc *desc, tern_result **out);

const tern__task *tern__task_find(const char *name); /* NULL = unknown */
/* "text-generation, feature-extraction" into text, cut to size; returns text. */
const char *tern__task_names(char *text, size_t size);

/* Reads a session desc into options: device, threads, budget. */
tern_status tern__session_options_read(tern_runtime *runtime, const tern_session_desc *desc,
                                       tern__session_options *out);

#endif
