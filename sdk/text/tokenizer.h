/* Text to token ids and back. A tokenizer is immutable after creation and may be used from any thread. */
#ifndef TERN_TEXT_TOKENIZER_H
#define TERN_TEXT_TOKENIZER_H

#include "base/thread.h"

typedef struct tern__tokenizer tern__tokenizer;

/* From a folder (tokenizer.json, tokenizer_config.json, special_tokens_map.json) or a tokenizer.json file.
 * NOT_FOUND, CORRUPT (file and JSON path), UNSUPPORTED (names the model / normalizer / pre-tokenizer type).
 * `cancel` may be NULL; the JSON parser itself does not look at it. */
tern_status tern__tokenizer_open(tern__alloc *alloc, const char *path, const tern_cancel *cancel,
                                 tern__tokenizer **out);

/* What a GGUF file's tokenizer.ggml.* metadata says; everything is borrowed during the call only. */
typedef struct tern__vocab_source {
  const char *model;            /* tokenizer.ggml.model: "gpt2", "llama", ... */
  const char *pre;              /* tokenizer.ggml.pre: "smollm", "default", ...; may be NULL */
  size_t n_tokens;
  const char *const *tokens;    /* not NUL-terminated: sizes beside them */
  const size_t *token_sizes;
  const float *scores;          /* NULL if absent */
  const int32_t
      *types; /* ggml token types: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte */
  size_t n_merges;
  const char *const *merges;
  const size_t *merge_sizes;
  int32_t bos_id, eos_id, eot_id, unk_id, pad_id; /* -1 = absent */
  int32_t add_bos, add_eos, add_space_prefix;      /* -1 = not stated */
  int32_t remove_extra_whitespaces;                /* -1 = not stated */
  const char *chat_template;    /* NULL if absent; NUL-terminated */
  const tern_cancel *cancel;    /* may be NULL */
} tern__vocab_source;
tern_status tern__tokenizer_from_vocab(tern__alloc *alloc, const tern__vocab_source *source,
                                       tern__tokenizer **out);

void tern__tokenizer_close(tern__tokenizer *tokenizer);

/* Appends ids to *ids, a base/array.h array. flags: TERN_TOKENIZE_*. Invalid UTF-8 is read as U+FFFD per
 * maximal subpart. */
tern_status tern__tokenizer_encode(const tern__tokenizer *tokenizer, tern__alloc *alloc, const char *text,
                                   size_t size, uint32_t flags, int32_t **ids);
/* As encode, for a pair (sentence A, sentence B); type_ids may be NULL, else an array of segment ids is
 * appended. */
tern_status tern__tokenizer_encode_pair(const tern__tokenizer *tokenizer, tern__alloc *alloc, const char *a,
                                        size_t a_size, const char *b, size_t b_size, uint32_t flags,
                                        int32_t **ids, int32_t **type_ids);
/* Appends bytes to *text, a base/array.h char array (not NUL-terminated). */
tern_status tern__tokenizer_decode(const tern__tokenizer *tokenizer, tern__alloc *alloc, const int32_t *ids,
                                   size_t n, uint32_t flags, char **text);

int32_t tern__tokenizer_vocab_size(const tern__tokenizer *tokenizer);
const char *tern__tokenizer_token(const tern__tokenizer *tokenizer, int32_t id); /* NULL = no such id */
int32_t tern__tokenizer_token_id(const tern__tokenizer *tokenizer, const char *token); /* -1 = absent */
int32_t tern__tokenizer_bos(const tern__tokenizer *tokenizer);                   /* -1 = none */
int32_t tern__tokenizer_eos(const tern__tokenizer *tokenizer);
int32_t tern__tokenizer_pad(const tern__tokenizer *tokenizer);
bool tern__tokenizer_is_end(const tern__tokenizer *tokenizer,
                            int32_t id); /* eos, eot, <|im_end|>, <end_of_turn> ... */
const char *tern__tokenizer_chat_template(const tern__tokenizer *tokenizer);     /* NULL = none */
/* tokenizer_config.json's model_max_length where it is a real limit, truncation of tokenizer.json, or 0. */
int32_t tern__tokenizer_max_length(const tern__tokenizer *tokenizer);

/* Streaming detokenization: push ids, get only whole UTF-8 characters; what tern__tokenizer_decode would give
 * for the whole sequence, in pieces. flush gives what is left (U+FFFD for bytes that never became a
 * character). */
typedef struct tern__text_stream {
  const tern__tokenizer *tokenizer;
  tern__alloc *alloc;
  uint32_t flags;
  int32_t *ids;         /* base/array.h arrays */
  size_t prefix, read;  /* window of ids still needed as context, and of those already given out */
  char *scratch_a, *scratch_b;
} tern__text_stream;
void tern__text_stream_init(tern__text_stream *stream, const tern__tokenizer *tokenizer, tern__alloc *alloc,
                            uint32_t flags);
void tern__text_stream_deinit(tern__text_stream *stream);
/* Appends the new text to *text (may append nothing). */
tern_status tern__text_stream_push(tern__text_stream *stream, int32_t id, char **text);
tern_status tern__text_stream_flush(tern__text_stream *stream, char **text);

#endif
