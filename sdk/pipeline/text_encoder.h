/* What tasks over text encoders share (feature-extraction, and any that reads a label or a token from an encoder):
 * texts -> tokens -> batches of similar length -> the graph -> one of its outputs, batch by batch. */
#ifndef TERN_PIPELINE_TEXT_ENCODER_H
#define TERN_PIPELINE_TEXT_ENCODER_H

#include "pipeline/pipeline.h"

enum { TERN__ENCODER_BATCH = 32, TERN__ENCODER_INPUTS = 4 };

typedef struct tern__text_encoder {
  tern__arena arena;                         /* what a task reads at opening may live here, too */
  tern__graph *graph;
  tern__session *session;
  int32_t input_kind[TERN__ENCODER_INPUTS];
  int32_t max_length;                        /* tokens a text; longer ones are cut */
} tern__text_encoder;

/* Takes the graph through the passes, checks its inputs by name, and makes the session. Close it on failure, too; a
 * zeroed one may be closed. */
tern_status tern__text_encoder_open(tern__text_encoder *encoder, tern_pipeline *p, const tern_pipeline_desc *desc);
void tern__text_encoder_close(tern__text_encoder *encoder);
/* The graph's first output of one of these names; -1 if there is none. */
int32_t tern__text_encoder_output(const tern__text_encoder *encoder, const char *const *names, size_t n);
/* Plans one text of the greatest length. */
tern_status tern__text_encoder_memory(tern__text_encoder *encoder, tern_memory_plan *out);

typedef struct tern__encoded_batch {
  const int32_t *texts;    /* [count] indices of the caller's texts */
  const int32_t *lengths;  /* [count] their tokens */
  int32_t count, width;    /* the graph ran on [count, width] tokens, the rest of each row being padding */
  int32_t longest;         /* tokens of the longest text of the whole run */
} tern__encoded_batch;

/* Called once a batch, when the session holds its outputs. */
typedef tern_status (*tern__encoded_fn)(void *user_data, const tern__encoded_batch *batch);

/* Runs all texts of the desc, shortest first. `lengths` [n_texts] receives the tokens of each text. Fills the
 * result's timings. */
tern_status tern__text_encoder_run(tern__text_encoder *encoder, tern_pipeline *p, const tern_run_desc *desc,
                                   tern__encoded_fn take, void *user_data, int32_t *lengths, tern_result *result);

/* float32 [count, ...] of this rank, or an error that names the output. */
tern_status tern__text_encoder_check_output(const tern__text_encoder *encoder, int32_t output, int32_t count,
                                            int32_t rank);

#endif
