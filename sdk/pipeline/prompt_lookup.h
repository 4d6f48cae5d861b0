/* Drafts for speculative decoding by prompt lookup: what followed the last tokens where they stood before.
 *
 * A. Saxena, "Prompt Lookup Decoding", 2023; Hugging Face transformers has it as prompt_lookup_num_tokens. The model
 * evaluates the last token and the draft in one run; the sampler then decides row by row, so that a draft changes how
 * fast tokens come and not which ones. */
#ifndef TERN_PIPELINE_PROMPT_LOOKUP_H
#define TERN_PIPELINE_PROMPT_LOOKUP_H

#include "base/memory.h"

enum { TERN__PROMPT_LOOKUP_MOST = 64, TERN__PROMPT_LOOKUP_NGRAM = 2 /* transformers' default */ };

typedef struct tern__prompt_lookup {
  int32_t num_tokens;   /* most tokens of a draft; 0 = off */
  int32_t ngram_size;   /* most tokens that are looked up; at least 1 */
  int32_t length;       /* of the next draft; 0: a lookup is compared with what is decoded, and nothing more */
  int32_t draft[TERN__PROMPT_LOOKUP_MOST];
  int32_t n;            /* tokens in `draft` */
  int32_t n_run;        /* of them that the model evaluates: all, or none */
  int32_t n_drafted, n_accepted; /* so far */
} tern__prompt_lookup;

/* Looks up the longest run of the last tokens, of at most `ngram_size`, that stands earlier, too, the latest one of
 * several. What followed there goes to draft[0..n_draft); where that is not enough, the draft itself goes on. Returns
 * n_draft, or 0 if the last token is new. */
int32_t tern__prompt_lookup_find(const int32_t *tokens, size_t n_tokens, int32_t ngram_size, int32_t *draft,
                                 int32_t n_draft);
/* The longest draft of at most `most` tokens that is made: 1, 3, 7, 15 ... or num_tokens. Few lengths, because each has
 * a plan of its own. */
int32_t tern__prompt_lookup_fit(const tern__prompt_lookup *lookup, int32_t most);
/* Drafts what may follow, `room` tokens at most. */
void tern__prompt_lookup_propose(tern__prompt_lookup *lookup, const int32_t *tokens, size_t n_tokens, int32_t room);
/* The first n_right tokens of the draft were what the sampler picked; the draft is used up. The next one is longer if
 * all were, shorter if not. After a draft that was wrong from its first token on, none is evaluated until a lookup is
 * right again, so that a text which does not repeat itself costs next to nothing. */
void tern__prompt_lookup_settle(tern__prompt_lookup *lookup, int32_t n_right);

#endif
