/* WordPiece (Wu et al. 2016) as BERT reads it: the longest piece of the vocabulary from the left, again and
 * again; a word that cannot be covered, or is too long, is one unknown token. */
#include "text/tokenizer_internal.h"

#include <string.h>

typedef struct wordpiece {
  const char *prefix; /* of pieces inside a word: "##" */
  size_t prefix_size;
  int64_t max_chars;
  int32_t unk_id;
} wordpiece;

static tern_status read_json(tern__tokenizer *t, const tern__spec *spec) {
  tern_status status = TERN_OK;
  const char *unk = NULL;
  wordpiece *m = t->model = tern__arena_alloc(&t->arena, sizeof *m);
  TERN_CHECK_ALLOC(m);
  tern__spec vocab = tern__spec_get(spec, "vocab");
  TERN_TRY(tern__tokenizer_read_vocab_object(t, &vocab));
  TERN_TRY(tern__spec_string(spec, "unk_token", "[UNK]", &unk));
  TERN_TRY(tern__spec_string(spec, "continuing_subword_prefix", "##", &m->prefix));
  TERN_TRY(tern__spec_int(spec, "max_input_chars_per_word", 100, 0, INT32_MAX, &m->max_chars));
  m->prefix_size = strlen(m->prefix);
  t->unk_id = m->unk_id = tern__model_token_id(t, unk, strlen(unk));
  if (m->unk_id < 0) {
    tern__spec at = tern__spec_get(spec, "unk_token");
    TERN_TRY(tern__spec_fail(&at, TERN_STATUS_CORRUPT, "'%s' is not in the vocabulary", unk));
  }
cleanup:
  return status;
}

static tern_status encode(const tern__tokenizer *t, tern__work *w, const char *text, size_t size) {
  tern_status status = TERN_OK;
  const wordpiece *m = t->model;
  size_t first = tern__array_count(w->ids), chars = 0, start = 0;
  for (size_t i = 0; i < size; i++) chars += ((unsigned char)text[i] & 0xC0) != 0x80;
  bool covered = (int64_t)chars <= m->max_chars;
  /* Inside the word the prefix stands in front: prefix + rest, cut shorter from its end. */
  tern__array_clear(w->key);
  TERN_ARRAY_APPEND(w->alloc, w->key, m->prefix, m->prefix_size);
  TERN_ARRAY_APPEND(w->alloc, w->key, text, size);
  while (covered && start < size) {
    size_t lead = start ? m->prefix_size : 0, n = size - start;
    char *key = w->key + m->prefix_size + start - lead;
    if (lead) memcpy(key, m->prefix, lead);
    if (n + lead > t->max_token_size) n = t->max_token_size > lead ? t->max_token_size - lead : 0;
    while (n && n < size - start && ((unsigned char)text[start + n] & 0xC0) == 0x80) n--;
    int32_t id = -1;
    while (n && (id = tern__model_token_id(t, key, n + lead)) < 0) n = tern__utf8_before(text + start, n);
    if (id < 0) covered = false;
    else TERN_ARRAY_PUSH(w->alloc, w->ids, id);
    start += n;
  }
  if (!covered) {
    tern__array_truncate(w->ids, first);
    TERN_ARRAY_PUSH(w->alloc, w->ids, m->unk_id);
  }
cleanup:
  return status;
}

const tern__model_def tern__model_wordpiece = {"WordPiece", NULL, read_json, NULL, encode};
