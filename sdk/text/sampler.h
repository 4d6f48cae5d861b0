/* Picks the next token from logits. */
#ifndef TERN_TEXT_SAMPLER_H
#define TERN_TEXT_SAMPLER_H

#include "base/memory.h"

typedef struct tern__sampler_options {
  float temperature;         /* <= 0: greedy */
  int32_t top_k;             /* <= 0: off */
  float top_p;               /* <= 0 or >= 1: off */
  float min_p;               /* <= 0: off */
  float repetition_penalty;  /* 0 or 1: off; CTRL's rule as in transformers: l > 0 ? l / p : l * p */
  uint64_t seed;
} tern__sampler_options;

typedef struct tern__sampler tern__sampler;

/* INVALID_ARGUMENT names the option and its range. */
tern_status tern__sampler_create(tern__alloc *alloc, const tern__sampler_options *options, int32_t vocab_size,
                                 tern__sampler **out);
void tern__sampler_destroy(tern__sampler *sampler);
/* Tells the sampler of a token in the context (prompt or generated), for the repetition penalty. */
tern_status tern__sampler_accept(tern__sampler *sampler, int32_t id);
/* Order as in transformers: penalty, temperature, top-k, top-p, min-p; logits[vocab_size] become the processed scores,
 * -INFINITY where a filter took a token out (greedy: the penalty alone). The same seed and logits give the same ids on
 * every platform. NaN or +INFINITY logits, or -INFINITY alone: INTERNAL error, never an arbitrary token. */
tern_status tern__sampler_pick(tern__sampler *sampler, float *logits, int32_t *id_out);

/* The same pick from the largest logits alone, where a device gives no others. How many of them are worth asking for;
 * 0: all logits are needed. */
int32_t tern__sampler_wants(const tern__sampler *sampler);
/* `n` logits, largest first, equal ones by ids, NaN before everything; no logit left out comes before the last of them.
 * *enough: they decide, and *id_out is what tern__sampler_pick would give; else nothing has happened, and all logits
 * must be asked for. Errors as above. */
tern_status tern__sampler_pick_top(tern__sampler *sampler, const float *logits, const int32_t *ids, int32_t n,
                                   int32_t *id_out, bool *enough);

#endif
