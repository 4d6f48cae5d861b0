/* Byte-pair encoding (Sennrich et al. 2016): adjacent symbols merge, lowest rank first, leftmost on a tie.
 * Serves tokenizer.json "BPE" and GGUF "gpt2". A merge is one look-up of (left id, right id); a short word is
 * merged by scanning its ranks, a long one through a heap. Both give the same result. */
#include "text/tokenizer_internal.h"

#include <stdio.h>
#include <string.h>

enum { scan_limit = 48, no_rank = 0x7fffffff };

typedef struct merge { uint64_t pair; int32_t rank, id; } merge; /* pair UINT64_MAX = empty slot */

typedef struct bpe {
  merge *merges; /* open addressing */
  size_t mask;
  int32_t byte_ids[256];    /* of a byte's GPT-2 spelling */
  int32_t fallback_ids[256]; /* of "<0xAB>" */
  int32_t unk_id;
  const char *prefix, *suffix; /* continuing_subword_prefix, end_of_word_suffix; NULL = none */
  bool raw_bytes;       /* pieces come as raw bytes, the pre-tokenizer's ByteLevel is done here */
  bool fuse_unk, byte_fallback, ignore_merges;
  bool keeps_unknown;   /* an unknown symbol separates its neighbours and is then dropped (llama.cpp) */
  bool first_merge_wins; /* of merges named twice */
} bpe;

static inline size_t slot_of(const bpe *m, uint64_t pair) {
  return (pair * 0x9E3779B97F4A7C15u >> 20) & m->mask;
}

static inline const merge *find_merge(const bpe *m, int32_t left, int32_t right) {
  if (!m->merges || (left | right) < 0) return NULL;
  uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
  for (size_t i = slot_of(m, pair);; i = (i + 1) & m->mask) {
    if (m->merges[i].pair == pair) return &m->merges[i];
    if (m->merges[i].pair == UINT64_MAX) return NULL;
  }
}

static tern_status reserve_merges(bpe *m, tern__arena *arena, size_t count) {
  tern_status status = TERN_OK;
  size_t capacity = 16;
  if (count > SIZE_MAX / 64) TERN_FAIL(TERN_STATUS_CORRUPT, "%zu merges are too many", count);
  while (capacity < count * 2) capacity *= 2;
  m->merges = tern__arena_calloc(arena, capacity, sizeof *m->merges);
  TERN_CHECK_ALLOC(m->merges);
  for (size_t i = 0; i < capacity; i++) m->merges[i].pair = UINT64_MAX;
  m->mask = capacity - 1;
cleanup:
  return status;
}

/* False = one of the three tokens is not in the vocabulary. */
static bool add_merge(tern__tokenizer *t, bpe *m, char **key, const char *a, size_t a_size, const char *b,
                      size_t b_size, int32_t rank, tern_status *status_out) {
  tern_status status = TERN_OK;
  int32_t id = -1;
  TERN_TRY(tern__tokenizer_poll(t, (size_t)rank));
  size_t skip = m->prefix ? strlen(m->prefix) : 0;
  int32_t left = tern__model_token_id(t, a, a_size), right = tern__model_token_id(t, b, b_size);
  if (skip > b_size) left = -1;
  if (left >= 0 && right >= 0) {
    tern__array_clear(*key);
    TERN_ARRAY_APPEND(t->alloc, *key, a, a_size);
    TERN_ARRAY_APPEND(t->alloc, *key, b + skip, b_size - skip);
    id = tern__model_token_id(t, *key, tern__array_count(*key));
  }
  if (id >= 0) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = slot_of(m, pair);
    while (m->merges[i].pair != UINT64_MAX && m->merges[i].pair != pair) i = (i + 1) & m->mask;
    if (m->merges[i].pair == UINT64_MAX || !m->first_merge_wins) m->merges[i] = (merge){pair, rank, id};
  }
cleanup:
  *status_out = status;
  return id >= 0;
}

static void index_bytes(const tern__tokenizer *t, bpe *m) {
  for (int i = 0; i < 256; i++) {
    char text[8];
    m->byte_ids[i] = tern__model_token_id(t, text, tern__utf8_put(text, tern__byte_to_char((uint8_t)i)));
    snprintf(text, sizeof text, "<0x%02X>", i);
    m->fallback_ids[i] = tern__model_token_id(t, text, 6);
  }
}

static tern_status read_merge_list(tern__tokenizer *t, bpe *m, const tern__spec *merges) {
  tern_status status = TERN_OK;
  char *key = NULL;
  if (!tern__json_is_array(merges->node))
    TERN_TRY(tern__spec_fail(merges, TERN_STATUS_CORRUPT, "is not an array"));
  TERN_TRY(reserve_merges(m, &t->arena, tern__json_count(merges->node)));
  size_t index = 0;
  int32_t rank = 0;
  for (const tern__json *n = tern__json_first(merges->node); n; n = tern__json_next(n), index++) {
    tern__spec at = tern__spec_at(merges, n, index);
    const char *a = tern__json_string(n, NULL), *b = NULL;
    size_t a_size = 0;
    if (a) { /* "left right" */
      if (!strncmp(a, "#version", 8)) continue;
      const char *space = strchr(a, ' ');
      if (space && !strchr(space + 1, ' ')) a_size = (size_t)(space - a), b = space + 1;
    } else if (tern__json_is_array(n) && tern__json_count(n) == 2) {
      a = tern__json_string(tern__json_first(n), NULL),
      b = tern__json_string(tern__json_next(tern__json_first(n)), NULL);
      if (a) a_size = strlen(a);
    }
    if (!a || !b)
      TERN_TRY(tern__spec_fail(&at, TERN_STATUS_CORRUPT, "is neither \"left right\" nor [left, right]"));
    if (!add_merge(t, m, &key, a, a_size, b, strlen(b), rank++, &status) && status == TERN_OK)
      TERN_TRY(tern__spec_fail(&at, TERN_STATUS_CORRUPT,
                               "merges '%.*s' and '%s', but one of them or the result is not "
                               "in the vocabulary",
                               (int)(a_size < 200 ? a_size : 200), a, b));
    TERN_TRY(status);
  }
cleanup:
  TERN_ARRAY_FREE(t->alloc, key);
  return status;
}

static tern_status read_options(tern__tokenizer *t, bpe *m, const tern__spec *spec) {
  tern_status status = TERN_OK;
  const char *unk = NULL;
  tern__spec dropout = tern__spec_get(spec, "dropout");
  if (tern__json_number(dropout.node, 0) > 0)
    TERN_TRY(
        tern__spec_fail(&dropout, TERN_STATUS_UNSUPPORTED, "dropout makes encoding random; set it to null"));
  TERN_TRY(tern__spec_string(spec, "continuing_subword_prefix", "", &m->prefix));
  TERN_TRY(tern__spec_string(spec, "end_of_word_suffix", "", &m->suffix));
  if (!*m->prefix) m->prefix = NULL;
  if (!*m->suffix) m->suffix = NULL;
  TERN_TRY(tern__spec_bool(spec, "fuse_unk", false, &m->fuse_unk));
  TERN_TRY(tern__spec_bool(spec, "byte_fallback", false, &m->byte_fallback));
  TERN_TRY(tern__spec_bool(spec, "ignore_merges", false, &m->ignore_merges));
  TERN_TRY(tern__spec_string(spec, "unk_token", "", &unk));
  m->unk_id = *unk ? tern__model_token_id(t, unk, strlen(unk)) : -1;
  if (*unk && m->unk_id < 0) {
    tern__spec at = tern__spec_get(spec, "unk_token");
    TERN_TRY(tern__spec_fail(&at, TERN_STATUS_CORRUPT, "'%s' is not in the vocabulary", unk));
  }
  t->unk_id = m->unk_id;
cleanup:
  return status;
}

static tern_status read_json(tern__tokenizer *t, const tern__spec *spec) {
  tern_status status = TERN_OK;
  bpe *m = t->model = tern__arena_alloc(&t->arena, sizeof *m);
  TERN_CHECK_ALLOC(m);
  tern__spec vocab = tern__spec_get(spec, "vocab"), merges = tern__spec_get(spec, "merges");
  TERN_TRY(tern__tokenizer_read_vocab_object(t, &vocab));
  TERN_TRY(read_options(t, m, spec));
  TERN_TRY(read_merge_list(t, m, &merges));
  index_bytes(t, m);
  if (t->pre_tokenizer && !m->prefix && !m->suffix)
    m->raw_bytes = tern__pre_tokenizer_take_bytes(t->pre_tokenizer);
cleanup:
  return status;
}

static tern_status read_vocab(tern__tokenizer *t, const tern__vocab_source *source) {
  tern_status status = TERN_OK;
  char *key = NULL;
  bpe *m = t->model = tern__arena_alloc(&t->arena, sizeof *m);
  TERN_CHECK_ALLOC(m);
  const char *name = source->pre && *source->pre ? source->pre : "default";
  const tern__pre_kind *kind = tern__pre_kind_find(name);
  if (!kind)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "tokenizer.ggml.pre '%s' is not known; its tokens would be silently wrong, so "
              "use the model's tokenizer.json instead",
              name);
  size_t n = 0;
  while (n < 8 && kind->patterns[n]) n++;
  TERN_TRY(tern__pre_tokenizer_from_patterns(&t->arena, kind->patterns, n, true, &t->pre_tokenizer));
  m->raw_bytes = tern__pre_tokenizer_take_bytes(t->pre_tokenizer);
  m->ignore_merges = kind->ignore_merges;
  m->keeps_unknown = m->first_merge_wins = true;
  m->unk_id = -1;
  if (source->n_merges && (!source->merges || !source->merge_sizes))
    TERN_FAIL(TERN_STATUS_CORRUPT, "tokenizer.ggml.merges is missing");
  TERN_TRY(reserve_merges(m, &t->arena, source->n_merges));
  for (size_t i = 0; i < source->n_merges; i++) {
    const char *text = source->merges[i];
    size_t size = source->merge_sizes[i];
    /* A token may itself begin with a space, so the separator is looked for from the second byte on. */
    const char *space = size > 1 ? memchr(text + 1, ' ', size - 1) : NULL;
    size_t left = space ? (size_t)(space - text) : 0;
    bool known = space && add_merge(t, m, &key, text, left, space + 1, size - left - 1, (int32_t)i, &status);
    TERN_TRY(status);
    if (!known)
      TERN_FAIL(TERN_STATUS_CORRUPT,
                "tokenizer.ggml.merges[%zu] '%.*s' does not name two tokens and their union", i,
                (int)(size < 200 ? size : 200), text);
  }
  index_bytes(t, m);
  TERN_TRY(tern__decoder_for_bytes(&t->arena, &t->decoder));
cleanup:
  TERN_ARRAY_FREE(t->alloc, key);
  return status;
}

/* ---- encoding */

static tern_status push_symbol(tern__work *w, int32_t id) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(w->alloc, w->symbols, (tern__symbol){id, 0, 0, no_rank, 0});
cleanup:
  return status;
}

/* One character that may carry the prefix and suffix; unknown ones go by byte_fallback, unk (maybe pending),
 * or drop. */
static tern_status push_char(const tern__tokenizer *t, const bpe *m, tern__work *w, const char *c, size_t n,
                             bool first, bool last, bool *unk_pending) {
  tern_status status = TERN_OK;
  const char *s = c;
  size_t size = n;
  if ((m->prefix && !first) || (m->suffix && last)) {
    tern__array_clear(w->key);
    if (m->prefix && !first) TERN_ARRAY_APPEND(w->alloc, w->key, m->prefix, strlen(m->prefix));
    TERN_ARRAY_APPEND(w->alloc, w->key, c, n);
    if (m->suffix && last) TERN_ARRAY_APPEND(w->alloc, w->key, m->suffix, strlen(m->suffix));
    s = w->key, size = tern__array_count(w->key);
  }
  int32_t id = tern__model_token_id(t, s, size);
  if (id >= 0) {
    if (*unk_pending) TERN_TRY(push_symbol(w, m->unk_id));
    *unk_pending = false;
    return push_symbol(w, id);
  }
  bool all_bytes = m->byte_fallback;
  for (size_t i = 0; all_bytes && i < size; i++) all_bytes = m->fallback_ids[(uint8_t)s[i]] >= 0;
  if (all_bytes) {
    for (size_t i = 0; i < size; i++) TERN_TRY(push_symbol(w, m->fallback_ids[(uint8_t)s[i]]));
  } else if (m->unk_id >= 0) {
    if (*unk_pending && !m->fuse_unk) TERN_TRY(push_symbol(w, m->unk_id));
    *unk_pending = true;
  } else if (m->keeps_unknown) {
    TERN_TRY(push_symbol(w, -1));
  }
cleanup:
  return status;
}

static tern_status push_symbols(const tern__tokenizer *t, const bpe *m, tern__work *w, const char *text,
                                size_t size) {
  tern_status status = TERN_OK;
  bool unk_pending = false;
  tern__array_clear(w->symbols);
  TERN_ARRAY_RESERVE(w->alloc, w->symbols, size);
  if (m->raw_bytes) {
    for (size_t i = 0; i < size; i++) {
      int32_t id = m->byte_ids[(uint8_t)text[i]];
      if (id >= 0 && !unk_pending) {
        TERN_ARRAY_PUT(w->symbols, (tern__symbol){id, 0, 0, no_rank, 0});
        continue;
      }
      char spelled[4];
      size_t n = tern__utf8_put(spelled, tern__byte_to_char((uint8_t)text[i]));
      TERN_TRY(push_char(t, m, w, spelled, n, i == 0, i + 1 == size, &unk_pending));
    }
  } else {
    for (size_t at = 0; at < size;) {
      size_t n = tern__utf8_size((unsigned char)text[at]);
      if (n > size - at) n = size - at;
      TERN_TRY(push_char(t, m, w, text + at, n, at == 0, at + n == size, &unk_pending));
      at += n;
    }
  }
  if (unk_pending) TERN_TRY(push_symbol(w, m->unk_id));
cleanup:
  return status;
}

/* Short words: symbol.start holds the rank of the pair that starts there, symbol.size its merged id. */
static size_t merge_by_scan(const bpe *m, tern__symbol *s, size_t n) {
  for (size_t i = 0; i + 1 < n; i++) {
    const merge *found = find_merge(m, s[i].id, s[i + 1].id);
    s[i].start = found ? (uint32_t)found->rank : no_rank;
    s[i].size = found ? (uint32_t)found->id : 0;
  }
  s[n - 1].start = no_rank;
  for (;;) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; i++)
      if (s[i].start < s[best].start) best = i;
    if (n < 2 || s[best].start == no_rank) return n;
    s[best].id = (int32_t)s[best].size;
    memmove(s + best + 1, s + best + 2, (n - best - 2) * sizeof *s);
    n--;
    for (size_t i = best ? best - 1 : 0; i <= best; i++) {
      const merge *found = i + 1 < n ? find_merge(m, s[i].id, s[i + 1].id) : NULL;
      s[i].start = found ? (uint32_t)found->rank : no_rank;
      s[i].size = found ? (uint32_t)found->id : 0;
    }
  }
}

static tern_status offer(const bpe *m, tern__work *w, int32_t left) {
  int32_t right = left < 0 ? -1 : w->symbols[left].next;
  const merge *found = right < 0 ? NULL : find_merge(m, w->symbols[left].id, w->symbols[right].id);
  if (!found) return TERN_OK;
  tern__merge_candidate c = {found->rank, (uint32_t)left, (uint32_t)found->id};
  return tern__merge_queue_push(w->alloc, &w->merges, c);
}

static tern_status merge_by_heap(const bpe *m, tern__work *w, size_t *count) {
  tern_status status = TERN_OK;
  int32_t n = (int32_t)*count;
  tern__array_clear(w->merges);
  for (int32_t i = 0; i < n; i++)
    w->symbols[i].prev = i - 1, w->symbols[i].next = i + 1 < n ? i + 1 : -1, w->symbols[i].size = 1;
  for (int32_t i = 0; i + 1 < n; i++) TERN_TRY(offer(m, w, i));
  while (tern__array_count(w->merges)) {
    tern__merge_candidate c = tern__merge_queue_pop(w->merges);
    tern__symbol *s = &w->symbols[c.pos];
    if (!s->size || s->next < 0) continue; /* merged away meanwhile */
    tern__symbol *right = &w->symbols[s->next];
    const merge *found = find_merge(m, s->id, right->id);
    if (!found || (uint32_t)found->id != c.check) continue;
    s->id = found->id, s->next = right->next, right->size = 0;
    if (s->next >= 0) w->symbols[s->next].prev = (int32_t)c.pos;
    TERN_TRY(offer(m, w, s->prev));
    TERN_TRY(offer(m, w, (int32_t)c.pos));
  }
  size_t kept = 0;
  for (int32_t i = 0; i < n; i++)
    if (w->symbols[i].size) w->symbols[kept++].id = w->symbols[i].id;
  *count = kept;
cleanup:
  return status;
}

static tern_status whole_token(const tern__tokenizer *t, const bpe *m, tern__work *w, const char *text,
                               size_t size, int32_t *id) {
  tern_status status = TERN_OK;
  *id = -1;
  if (size > t->max_token_size) return TERN_OK;
  if (m->raw_bytes) {
    tern__array_clear(w->key);
    TERN_ARRAY_RESERVE(w->alloc, w->key, size * 2);
    size_t n = 0;
    for (size_t i = 0; i < size; i++) n += tern__utf8_put(w->key + n, tern__byte_to_char((uint8_t)text[i]));
    *id = tern__model_token_id(t, w->key, n);
  } else {
    *id = tern__model_token_id(t, text, size);
  }
cleanup:
  return status;
}

static tern_status encode(const tern__tokenizer *t, tern__work *w, const char *text, size_t size) {
  tern_status status = TERN_OK;
  const bpe *m = t->model;
  if (m->ignore_merges) {
    int32_t id;
    TERN_TRY(whole_token(t, m, w, text, size, &id));
    if (id >= 0) {
      TERN_ARRAY_PUSH(w->alloc, w->ids, id);
      return TERN_OK;
    }
  }
  TERN_TRY(push_symbols(t, m, w, text, size));
  size_t n = tern__array_count(w->symbols);
  if (n > scan_limit) TERN_TRY(merge_by_heap(m, w, &n));
  else if (n > 1) n = merge_by_scan(m, w->symbols, n);
  TERN_ARRAY_RESERVE(w->alloc, w->ids, n);
  for (size_t i = 0; i < n; i++)
    if (w->symbols[i].id >= 0) TERN_ARRAY_PUT(w->ids, w->symbols[i].id);
cleanup:
  return status;
}

const tern__model_def tern__model_bpe = {"BPE", "gpt2", read_json, read_vocab, encode};
