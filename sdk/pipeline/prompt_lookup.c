/* The n-gram search, and how long a draft is worth its rows. */
#include "pipeline/prompt_lookup.h"

int32_t tern__prompt_lookup_find(const int32_t *tokens, size_t n_tokens, int32_t ngram_size, int32_t *draft,
                                 int32_t n_draft) {
  size_t after = 0, longest = 0, most = (size_t)ngram_size;
  if (n_tokens < 2 || n_draft < 1) return 0;
  const int32_t *last = tokens + n_tokens - 1;
  for (size_t end = n_tokens - 1; end > 0 && longest < most; end--) {
    size_t same = 0;
    while (same < most && same < end && tokens[end - 1 - same] == *(last - same)) same++;
    if (same > longest) longest = same, after = end;
  }
  if (!longest) return 0;
  for (int32_t i = 0; i < n_draft; i++) {
    size_t at = after + (size_t)i;
    draft[i] = at < n_tokens ? tokens[at] : draft[at - n_tokens]; /* a text that repeats itself goes on doing so */
  }
  return n_draft;
}

int32_t tern__prompt_lookup_fit(const tern__prompt_lookup *lookup, int32_t most) {
  int32_t length = 0;
  if (most >= lookup->num_tokens) return lookup->num_tokens;
  while (2 * length + 1 <= most) length = 2 * length + 1;
  return length;
}

void tern__prompt_lookup_propose(tern__prompt_lookup *lookup, const int32_t *tokens, size_t n_tokens, int32_t room) {
  lookup->n = lookup->n_run = 0;
  if (room < 1) return;
  int32_t length = lookup->length < room ? lookup->length : room;
  int32_t n_run = tern__prompt_lookup_fit(lookup, length);
  lookup->n = tern__prompt_lookup_find(tokens, n_tokens, lookup->ngram_size, lookup->draft, n_run ? n_run : 1);
  if (lookup->n) lookup->n_run = n_run;
}

void tern__prompt_lookup_settle(tern__prompt_lookup *lookup, int32_t n_right) {
  lookup->n_drafted += lookup->n_run;
  if (lookup->n_run) lookup->n_accepted += n_right;
  if (lookup->n) /* without a lookup nothing was learnt */
    lookup->length = tern__prompt_lookup_fit(lookup, lookup->n_run && n_right == lookup->n ? 2 * n_right + 1 : n_right);
  lookup->n = lookup->n_run = 0;
}
