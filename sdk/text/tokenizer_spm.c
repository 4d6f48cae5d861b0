/* SentencePiece BPE as GGUF's "llama" vocabularies hold it (Kudo & Richardson 2018; llama.cpp's
 * llm_tokenizer_spm): the adjacent pair whose union is the token of the highest score merges first, leftmost
 * on a tie; what stays outside the vocabulary goes byte by byte. There is no pre-tokenizer: a fragment is one
 * piece. */
#include "text/tokenizer_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct spm {
  float *scores;
  int32_t byte_ids[256];
  bool add_space_prefix;
} spm;

static tern_status read_vocab(tern__tokenizer *t, const tern__vocab_source *source) {
  tern_status status = TERN_OK;
  spm *m = t->model = tern__arena_alloc(&t->arena, sizeof *m);
  TERN_CHECK_ALLOC(m);
  m->scores = tern__arena_calloc(&t->arena, source->n_tokens, sizeof *m->scores);
  TERN_CHECK_ALLOC(m->scores);
  if (source->scores) memcpy(m->scores, source->scores, source->n_tokens * sizeof *m->scores);
  for (size_t i = 0; i < source->n_tokens; i++)
    if (isnan(m->scores[i])) TERN_FAIL(TERN_STATUS_CORRUPT, "tokenizer.ggml.scores[%zu] is not a number", i);
  for (int i = 0; i < 256; i++) {
    char text[8] = {(char)i};
    snprintf(text, sizeof text, "<0x%02X>", i);
    m->byte_ids[i] = tern__model_token_id(t, text, 6);
    text[0] = (char)i;
    if (m->byte_ids[i] < 0) m->byte_ids[i] = tern__model_token_id(t, text, 1);
  }
  m->add_space_prefix = source->add_space_prefix != 0; /* true when not stated */
  TERN_TRY(tern__decoder_for_spm(&t->arena, m->add_space_prefix, &t->decoder));
cleanup:
  return status;
}

/* " " -> U+2581, with the leading one. */
static tern_status escape(const spm *m, tern__work *w, const char *text, size_t size) {
  tern_status status = TERN_OK;
  tern__array_clear(w->key);
  size_t spaces = m->add_space_prefix && w->after_special, bytes;
  bool lead = spaces;
  for (size_t i = 0; i < size; i++) spaces += text[i] == ' ';
  bytes = size + spaces * 3;
  TERN_ARRAY_RESERVE(w->alloc, w->key, bytes);
  size_t n = 0;
  if (lead) memcpy(w->key, "\xE2\x96\x81", 3), n = 3;
  for (size_t i = 0; i < size; i++) {
    if (text[i] == ' ') memcpy(w->key + n, "\xE2\x96\x81", 3), n += 3;
    else w->key[n++] = text[i];
  }
  tern__array_truncate(w->key, n);
cleanup:
  return status;
}

static tern_status offer(const tern__tokenizer *t, tern__work *w, int32_t left) {
  int32_t right = left < 0 ? -1 : w->symbols[left].next;
  if (right < 0) return TERN_OK;
  uint32_t size = w->symbols[left].size + w->symbols[right].size;
  if (size > t->max_token_size) return TERN_OK;
  int32_t id = tern__model_token_id(t, w->key + w->symbols[left].start, size);
  if (id < 0) return TERN_OK;
  tern__merge_candidate c = {-(double)((const spm *)t->model)->scores[id], (uint32_t)left, size};
  return tern__merge_queue_push(w->alloc, &w->merges, c);
}

static tern_status split_characters(tern__work *w) {
  tern_status status = TERN_OK;
  size_t size = tern__array_count(w->key);
  tern__array_clear(w->symbols);
  TERN_ARRAY_RESERVE(w->alloc, w->symbols, size);
  for (size_t at = 0; at < size;) {
    size_t n = tern__utf8_size((unsigned char)w->key[at]);
    if (n > size - at) n = size - at;
    int32_t index = (int32_t)tern__array_count(w->symbols);
    TERN_ARRAY_PUT(w->symbols,
                   (tern__symbol){0, index - 1, at + n == size ? -1 : index + 1, (uint32_t)at, (uint32_t)n});
    at += n;
  }
cleanup:
  return status;
}

static tern_status encode(const tern__tokenizer *t, tern__work *w, const char *text, size_t size) {
  tern_status status = TERN_OK;
  const spm *m = t->model;
  TERN_TRY(escape(m, w, text, size));
  TERN_TRY(split_characters(w));
  tern__array_clear(w->merges);
  size_t n = tern__array_count(w->symbols);
  for (size_t i = 0; i + 1 < n; i++) TERN_TRY(offer(t, w, (int32_t)i));
  while (tern__array_count(w->merges)) {
    tern__merge_candidate c = tern__merge_queue_pop(w->merges);
    tern__symbol *s = &w->symbols[c.pos];
    if (!s->size || s->next < 0 || s->size + w->symbols[s->next].size != c.check) continue; /* out of date */
    tern__symbol *right = &w->symbols[s->next];
    s->size += right->size, s->next = right->next, right->size = 0;
    if (s->next >= 0) w->symbols[s->next].prev = (int32_t)c.pos;
    TERN_TRY(offer(t, w, s->prev));
    TERN_TRY(offer(t, w, (int32_t)c.pos));
  }
  for (int32_t i = n ? 0 : -1; i >= 0; i = w->symbols[i].next) {
    tern__symbol s = w->symbols[i];
    int32_t id = tern__model_token_id(t, w->key + s.start, s.size);
    if (id >= 0) TERN_ARRAY_PUSH(w->alloc, w->ids, id);
    else /* only single characters can be outside the vocabulary: a merge needs its result inside */
      for (uint32_t k = 0; k < s.size; k++) {
        int32_t byte = m->byte_ids[(uint8_t)w->key[s.start + k]];
        if (byte < 0) byte = t->unk_id;
        if (byte >= 0) TERN_ARRAY_PUSH(w->alloc, w->ids, byte);
      }
  }
cleanup:
  return status;
}

const tern__model_def tern__model_spm = {NULL, "llama", NULL, read_vocab, encode};
