/* Streaming detokenization. A decoder may look at neighbours (spaces, bytes of one character), so the new
 * token is decoded together with the tokens of the last text given out, and only what they add is new. (A
 * BPEDecoder's suffix inside a token, which no trained vocabulary has, would change text that is already
 * out.) */
#include "text/tokenizer_internal.h"

#include <string.h>

void tern__text_stream_init(tern__text_stream *s, const tern__tokenizer *tokenizer, tern__alloc *alloc,
                            uint32_t flags) {
  *s = (tern__text_stream){.tokenizer = tokenizer, .alloc = alloc, .flags = flags};
}

void tern__text_stream_deinit(tern__text_stream *s) {
  TERN_ARRAY_FREE(s->alloc, s->ids);
  TERN_ARRAY_FREE(s->alloc, s->scratch_a);
  TERN_ARRAY_FREE(s->alloc, s->scratch_b);
}

static bool ends_in_replacement(const char *text, size_t size) {
  return size >= 3 && !memcmp(text + size - 3, "\xEF\xBF\xBD", 3);
}

/* Gives out what the ids from s->read on add to those of the window; keeps back text that may still change.
 */
static tern_status advance(tern__text_stream *s, bool keep_back, char **text) {
  tern_status status = TERN_OK;
  size_t n = tern__array_count(s->ids);
  tern__array_clear(s->scratch_a);
  tern__array_clear(s->scratch_b);
  TERN_TRY(tern__tokenizer_decode(s->tokenizer, s->alloc, s->ids + s->prefix, s->read - s->prefix, s->flags,
                                  &s->scratch_a));
  TERN_TRY(tern__tokenizer_decode(s->tokenizer, s->alloc, s->ids + s->prefix, n - s->prefix, s->flags,
                                  &s->scratch_b));
  size_t old = tern__array_count(s->scratch_a), new = tern__array_count(s->scratch_b);
  if (new <= old || (keep_back && ends_in_replacement(s->scratch_b, new))) return TERN_OK;
  TERN_ARRAY_APPEND(s->alloc, *text, s->scratch_b + old, new - old);
  s->prefix = s->read, s->read = n;
  if (s->prefix > 64) {
    memmove(s->ids, s->ids + s->prefix, (n - s->prefix) * sizeof *s->ids);
    tern__array_truncate(s->ids, n - s->prefix);
    s->read -= s->prefix, s->prefix = 0;
  }
cleanup:
  return status;
}

tern_status tern__text_stream_push(tern__text_stream *s, int32_t id, char **text) {
  tern_status status = TERN_OK;
  const tern__tokenizer *t = s->tokenizer;
  TERN_ARRAY_PUSH(s->alloc, s->ids, id);
  /* Whether a run of byte tokens is text is known only at its end. */
  bool is_byte =
      id >= 0 && (size_t)id < tern__array_count(t->tokens) && t->tokens[id].flags & TERN_TOKEN_BYTE;
  if (is_byte && tern__decoder_has_byte_fallback(t->decoder)) return TERN_OK;
  TERN_TRY(advance(s, true, text));
cleanup:
  return status;
}

tern_status tern__text_stream_flush(tern__text_stream *s, char **text) {
  tern_status status = advance(s, false, text);
  tern__array_clear(s->ids);
  s->prefix = s->read = 0;
  return status;
}
