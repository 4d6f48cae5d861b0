/* Finding added tokens in a text, through a trie over their bytes. Two orders are in use:
 * tokenizer.json: leftmost, longest at that place, with single_word / lstrip / rstrip;
 * GGUF (llama.cpp): the longest token first, in the whole text, then the next shorter one in what is left. */
#include "text/tokenizer_internal.h"

#include <string.h>

static tern_status trie_insert(tern__alloc *alloc, tern__trie *trie, const char *text, size_t size,
                               int32_t token) {
  tern_status status = TERN_OK;
  if (!trie->nodes) TERN_ARRAY_PUSH(alloc, trie->nodes, (tern__trie_node){0, 0, -1, 0}); /* 0 = none */
  uint32_t node = 0;
  for (size_t i = 0; i < size; i++) {
    uint8_t byte = (uint8_t)text[i];
    uint32_t first = i ? trie->nodes[node].child : trie->root[byte], next = first;
    while (next && trie->nodes[next].byte != byte) next = trie->nodes[next].sibling;
    if (!next) {
      next = (uint32_t)tern__array_count(trie->nodes);
      TERN_ARRAY_PUSH(alloc, trie->nodes, (tern__trie_node){0, i ? first : 0, -1, byte});
      if (i) trie->nodes[node].child = next;
      else trie->root[byte] = next;
    }
    node = next;
  }
  if (node && trie->nodes[node].token < 0) trie->nodes[node].token = token, trie->n_tokens++;
cleanup:
  return status;
}

tern_status tern__added_tokens_index(tern__alloc *alloc, tern__added_tokens *added) {
  tern_status status = TERN_OK;
  for (size_t i = 0; i < tern__array_count(added->tokens); i++) {
    const tern__added_token *t = &added->tokens[i];
    TERN_TRY(trie_insert(alloc, t->normalized ? &added->normalized : &added->raw, t->match, t->match_size,
                         (int32_t)i));
  }
cleanup:
  return status;
}

void tern__added_tokens_deinit(tern__alloc *alloc, tern__added_tokens *added) {
  TERN_ARRAY_FREE(alloc, added->tokens);
  TERN_ARRAY_FREE(alloc, added->raw.nodes);
  TERN_ARRAY_FREE(alloc, added->normalized.nodes);
}

static inline uint32_t step(const tern__trie *trie, uint32_t node, size_t depth, uint8_t byte) {
  if (!depth) return trie->root[byte];
  node = trie->nodes[node].child;
  while (node && trie->nodes[node].byte != byte) node = trie->nodes[node].sibling;
  return node;
}

/* PLAIN_SPECIAL: spellings of special tokens are ordinary text. */
static inline bool is_plain(const tern__added_token *token, const tern__work *w) {
  return w->flags & TERN_TOKENIZE_PLAIN_SPECIAL && !token->plain_keeps;
}

static const tern__added_token *longest_at(const tern__added_tokens *added, const tern__trie *trie,
                                           const char *text, size_t size) {
  const tern__added_token *best = NULL;
  uint32_t node = 0;
  for (size_t i = 0; i < size && (node = step(trie, node, i, (uint8_t)text[i])); i++)
    if (trie->nodes[node].token >= 0) best = &added->tokens[trie->nodes[node].token];
  return best;
}

static bool word_before(const char *text, size_t at) {
  if (!at) return false;
  size_t start = tern__utf8_before(text, at);
  return tern__unicode_flags(tern__utf8_next(text, at, &start)) & TERN_UNICODE_WORD;
}
static bool word_after(const char *text, size_t size, size_t at) {
  return at < size && tern__unicode_flags(tern__utf8_next(text, size, &at)) & TERN_UNICODE_WORD;
}

static size_t spaces_start(const char *text, size_t at) {
  while (at) {
    size_t start = tern__utf8_before(text, at), next = start;
    if (!(tern__unicode_flags(tern__utf8_next(text, at, &next)) & TERN_UNICODE_SPACE)) break;
    at = start;
  }
  return at;
}
static size_t spaces_end(const char *text, size_t size, size_t at) {
  for (size_t next = at; at < size; at = next)
    if (!(tern__unicode_flags(tern__utf8_next(text, size, &next)) & TERN_UNICODE_SPACE)) break;
  return at;
}

static tern_status split_leftmost(const tern__added_tokens *added, const tern__trie *trie, tern__work *w,
                                  const char *text, size_t size, tern__fragment_fn fn) {
  tern_status status = TERN_OK;
  size_t done = 0;
  for (size_t at = 0; at < size;) {
    if (!trie->root[(uint8_t)text[at]]) { at++; continue; }
    const tern__added_token *token = longest_at(added, trie, text + at, size - at);
    if (!token) { at++; continue; }
    size_t start = at, end = at + token->match_size;
    at = end;
    if (is_plain(token, w)) continue;
    if (token->single_word && (word_before(text, start) || word_after(text, size, end))) continue;
    if (token->lstrip) start = spaces_start(text, start);
    if (start < done) start = done; /* the token before took these spaces */
    if (token->rstrip) end = spaces_end(text, size, end);
    if (start > done) TERN_TRY(fn(w, text + done, start - done, NULL));
    TERN_TRY(fn(w, text + start, end - start, token));
    done = end;
  }
  if (done < size) TERN_TRY(fn(w, text + done, size - done, NULL));
cleanup:
  return status;
}

enum {
  max_length_class = 512
}; /* added tokens that are longer are found last, in the class of this length */

/* The token of exactly this length (class) at text, if `room` bytes are free. */
static int32_t exact_at(const tern__added_tokens *added, const tern__trie *trie, const tern__work *w,
                        const char *text, size_t room, size_t length) {
  uint32_t node = 0;
  if (room < length) return -1;
  for (size_t i = 0; i < length; i++)
    if (!(node = step(trie, node, i, (uint8_t)text[i]))) return -1;
  int32_t token = trie->nodes[node].token;
  return token >= 0 && !is_plain(&added->tokens[token], w) ? token : -1;
}

/* Which token lengths begin anywhere in the text. */
static bool lengths_present(const tern__trie *trie, const char *text, size_t size,
                            bool present[max_length_class + 1]) {
  bool any = false;
  for (size_t at = 0; at < size; at++) {
    uint32_t node = 0;
    for (size_t i = 0;
         at + i < size && i < max_length_class && (node = step(trie, node, i, (uint8_t)text[at + i])); i++)
      if (trie->nodes[node].token >= 0) any = present[i + 1] = true;
  }
  return any;
}

static tern_status split_longest_first(const tern__added_tokens *added, const tern__trie *trie, tern__work *w,
                                       const char *text, size_t size, tern__fragment_fn fn) {
  tern_status status = TERN_OK;
  bool present[max_length_class + 1] = {false};
  if (!lengths_present(trie, text, size, present)) return size ? fn(w, text, size, NULL) : TERN_OK;
  tern__array_clear(w->owner);
  TERN_ARRAY_APPEND(w->alloc, w->owner, NULL,
                    size); /* -1 free, -2 inside a token, else the token that starts here */
  for (size_t i = 0; i < size; i++) w->owner[i] = -1;
  for (size_t length = max_length_class; length > 0; length--) {
    if (!present[length]) continue;
    for (size_t at = 0, end = 0; at < size;) {
      if (w->owner[at] != -1) { at++; continue; }
      if (end <= at) for (end = at; end < size && w->owner[end] == -1;) end++;
      int32_t token = exact_at(added, trie, w, text + at, end - at, length);
      if (token < 0) { at++; continue; }
      for (size_t i = 1; i < length; i++) w->owner[at + i] = -2;
      w->owner[at] = token;
      at += length;
    }
  }
  for (size_t at = 0, start = 0; at < size; start = at) {
    int32_t token = w->owner[at];
    if (token >= 0) at += added->tokens[token].match_size;
    else while (at < size && w->owner[at] == -1) at++;
    TERN_TRY(fn(w, text + start, at - start, token >= 0 ? &added->tokens[token] : NULL));
  }
cleanup:
  return status;
}

tern_status tern__added_tokens_split(const tern__added_tokens *added, const tern__trie *trie,
                                     tern__work *work, const char *text, size_t size, tern__fragment_fn fn) {
  if (!size) return TERN_OK;
  if (!trie->n_tokens) return fn(work, text, size, NULL);
  return added->longest_first ? split_longest_first(added, trie, work, text, size, fn)
                              : split_leftmost(added, trie, work, text, size, fn);
}
