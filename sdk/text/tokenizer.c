/* The tokenizer as others see it: opening, encoding, decoding. The parts are in files of their own; see
 * tokenizer_internal.h for how they meet and docs/adding-a-tokenizer.md for how to add one. */
#include "text/tokenizer_internal.h"

#include "base/file_map.h"

#include <string.h>

/* A model is a line here and a file. */
const tern__model_def *const tern__model_defs[] = {&tern__model_bpe, &tern__model_wordpiece,
                                                   &tern__model_spm};
const size_t tern__model_def_count = sizeof tern__model_defs / sizeof *tern__model_defs;

enum { max_text = 1 << 30 };

tern__tokenizer *tern__tokenizer_new(tern__alloc *alloc) {
  tern__tokenizer *t = tern__calloc(alloc, 1, sizeof *t);
  if (!t) return NULL;
  t->alloc = alloc;
  tern__arena_init(&t->arena, alloc);
  t->bos_id = t->eos_id = t->pad_id = t->unk_id = -1;
  return t;
}

void tern__tokenizer_close(tern__tokenizer *t) {
  if (!t) return;
  tern__alloc *alloc = t->alloc;
  tern__added_tokens_deinit(alloc, &t->added);
  tern__map_deinit(alloc, &t->ids);
  tern__map_deinit(alloc, &t->added_ids);
  TERN_ARRAY_FREE(alloc, t->tokens);
  tern__arena_deinit(&t->arena);
  tern__free(alloc, t);
}

tern_status tern__tokenizer_add_token(tern__tokenizer *t, const char *text, size_t size, int64_t id) {
  tern_status status = tern__tokenizer_poll(t, (size_t)id);
  if (status != TERN_OK) return status;
  if (tern__map_get(&t->ids, text, size, NULL)) return TERN_STATUS_CORRUPT; /* the caller says where */
  while ((int64_t)tern__array_count(t->tokens) <= id) TERN_ARRAY_PUSH(t->alloc, t->tokens, (tern__token){0});
  tern__token *entry = &t->tokens[id];
  if (entry->flags) return TERN_STATUS_CORRUPT;
  if (!tern__map_put(t->alloc, &t->ids, text, size, id)) TERN_CHECK_ALLOC(NULL);
  *entry = (tern__token){text, text, (uint32_t)size, (uint32_t)size, TERN_TOKEN_EXISTS};
  if (tern__byte_token_value(text, size) >= 0) entry->flags |= TERN_TOKEN_BYTE;
  if (size > t->max_token_size) t->max_token_size = size;
cleanup:
  return status;
}

/* ---- opening */

/* A companion file that may be absent. */
static tern_status open_optional(tern__arena *paths, const char *folder, const char *name, tern__json **out,
                                 const char **path) {
  tern_status status = TERN_OK;
  *out = NULL;
  *path = tern__path_join(paths, folder, name);
  TERN_CHECK_ALLOC(*path);
  if (tern__path_exists(*path)) TERN_TRY(tern__json_open(*path, out));
cleanup:
  return status;
}

static void mark_end(tern__tokenizer *t, int64_t id) {
  if (id >= 0 && id < (int64_t)tern__array_count(t->tokens)) t->tokens[id].flags |= TERN_TOKEN_END;
}

/* generation_config.json: eos_token_id is an id or a list of ids. */
static void read_generation_config(tern__tokenizer *t, const tern__json *root) {
  const tern__json *eos = tern__json_get(root, "eos_token_id");
  mark_end(t, tern__json_int(eos, -1));
  for (const tern__json *n = tern__json_is_array(eos) ? tern__json_first(eos) : NULL; n;
       n = tern__json_next(n))
    mark_end(t, tern__json_int(n, -1));
}

static tern_status read_companions(tern__tokenizer *t, tern__arena *paths, const char *folder) {
  tern_status status = TERN_OK;
  tern__json *root = NULL;
  tern__file_map map = {0};
  const char *path;
  TERN_TRY(open_optional(paths, folder, "special_tokens_map.json", &root, &path));
  if (root) TERN_TRY(tern__tokenizer_read_config(t, path, root));
  tern__json_close(root), root = NULL;
  TERN_TRY(open_optional(paths, folder, "tokenizer_config.json", &root, &path));
  if (root) TERN_TRY(tern__tokenizer_read_config(t, path, root));
  tern__json_close(root), root = NULL;
  TERN_TRY(open_optional(paths, folder, "generation_config.json", &root, &path));
  read_generation_config(t, root);
  mark_end(t, t->eos_id);
  path = tern__path_join(paths, folder, "chat_template.jinja");
  TERN_CHECK_ALLOC(path);
  if (tern__path_exists(path)) {
    TERN_TRY(tern__file_map_open(path, &map));
    t->chat_template = tern__arena_strndup(&t->arena, (const char *)map.data, map.size);
    TERN_CHECK_ALLOC(t->chat_template);
  }
cleanup:
  tern__json_close(root);
  tern__file_map_close(&map);
  return status;
}

tern_status tern__tokenizer_open(tern__alloc *alloc, const char *path, const tern_cancel *cancel,
                                 tern__tokenizer **out) {
  tern_status status = TERN_OK;
  tern__json *root = NULL;
  tern__arena paths;
  *out = NULL;
  tern__arena_init(&paths, alloc);
  tern__tokenizer *t = tern__tokenizer_new(alloc);
  TERN_CHECK_ALLOC(t);
  t->cancel = cancel;
  bool is_folder = tern__path_is_dir(path);
  const char *file = is_folder ? tern__path_join(&paths, path, "tokenizer.json") : path;
  TERN_CHECK_ALLOC(file);
  if (is_folder && !tern__path_exists(file))
    TERN_FAIL(TERN_STATUS_NOT_FOUND,
              "%s is missing; a model folder for Transformers.js has one, and transformers' "
              "AutoTokenizer.save_pretrained writes one",
              file);
  TERN_TRY(tern__json_open(file, &root));
  TERN_TRY(tern__tokenizer_read_json(t, file, root));
  if (is_folder) TERN_TRY(read_companions(t, &paths, path));
  t->cancel = NULL;
  *out = t, t = NULL;
cleanup:
  tern__json_close(root);
  tern__arena_deinit(&paths);
  tern__tokenizer_close(t);
  return status;
}

/* Spellings that end a turn (llama.cpp keeps the same list). */
void tern__tokenizer_mark_ends(tern__tokenizer *t) {
  static const char *const names[] = {
      "<|eot_id|>",
      "<|im_end|>",
      "<|end|>",
      "<|return|>",
      "<|call|>",
      "<|flush|>",
      "<|calls|>",
      "<end_of_turn>",
      "<|endoftext|>",
      "</s>",
      "<|eom_id|>",
      "<EOT>",
      "_<EOT>",
      "[EOT]",
      "[EOS]",
      "<|end_of_text|>",
      "<end_of_utterance>",
      "<eos>",
      "<turn|>",
      "<|tool_response>",
      "<｜end▁of▁sentence｜>",
      "[e~[",
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    mark_end(t, tern__tokenizer_token_id(t, names[i]));
  int32_t end = tern__tokenizer_token_id(t, "<|end|>");
  bool calls = tern__tokenizer_token_id(t, "<|call|>") >= 0 && tern__tokenizer_token_id(t, "<|return|>") >= 0;
  bool flush = tern__tokenizer_token_id(t, "<|calls|>") >= 0 && tern__tokenizer_token_id(t, "<|flush|>") >= 0;
  if (end >= 0 && (calls || flush))
    t->tokens[end].flags &= ~(uint32_t)TERN_TOKEN_END; /* ends a message, not the turn */
}

/* ---- encoding */

static void work_deinit(tern__work *w) {
  TERN_ARRAY_FREE(w->alloc, w->ids);
  TERN_ARRAY_FREE(w->alloc, w->text);
  TERN_ARRAY_FREE(w->alloc, w->spare);
  TERN_ARRAY_FREE(w->alloc, w->pieces);
  TERN_ARRAY_FREE(w->alloc, w->spare_pieces);
  TERN_ARRAY_FREE(w->alloc, w->matches);
  TERN_ARRAY_FREE(w->alloc, w->points);
  TERN_ARRAY_FREE(w->alloc, w->symbols);
  TERN_ARRAY_FREE(w->alloc, w->merges);
  TERN_ARRAY_FREE(w->alloc, w->key);
  TERN_ARRAY_FREE(w->alloc, w->owner);
  tern__regex_state_free(w->regex);
}

/* A stretch of normalized text without added tokens (work->text holds it), or such a token. */
static tern_status encode_pieces(tern__work *w) {
  tern_status status = TERN_OK;
  const tern__tokenizer *t = w->tokenizer;
  TERN_TRY(tern__pre_tokenize(t->pre_tokenizer, w));
  for (size_t i = 0; i < tern__array_count(w->pieces); i++)
    TERN_TRY(t->def->encode(t, w, w->text + w->pieces[i].start, w->pieces[i].size));
cleanup:
  return status;
}

static tern_status push_token(tern__work *w, const tern__added_token *token) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(w->alloc, w->ids, token->id);
  w->after_special = true;
  w->at_origin = false;
cleanup:
  return status;
}

static tern_status on_normalized(tern__work *w, const char *text, size_t size,
                                 const tern__added_token *token) {
  tern_status status = TERN_OK;
  if (token) return push_token(w, token);
  tern__array_clear(w->text);
  TERN_ARRAY_APPEND(w->alloc, w->text, text, size);
  TERN_TRY(encode_pieces(w));
  w->after_special = w->at_origin = false;
cleanup:
  return status;
}

static tern_status on_raw(tern__work *w, const char *text, size_t size, const tern__added_token *token) {
  tern_status status = TERN_OK;
  const tern__tokenizer *t = w->tokenizer;
  char *normalized = NULL;
  if (token) return push_token(w, token);
  tern__array_clear(w->text);
  TERN_ARRAY_APPEND(w->alloc, w->text, text, size);
  TERN_TRY(tern__normalize(t->normalizer, w));
  size_t n = tern__array_count(w->text);
  if (n > max_text)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "the normalized text has %zu bytes, more than %d", n, max_text);
  if (!t->added.normalized.n_tokens) {
    if (n) TERN_TRY(encode_pieces(w));
    w->after_special = w->at_origin = false;
    return TERN_OK;
  }
  normalized = w->text, w->text = NULL;
  TERN_TRY(tern__added_tokens_split(&t->added, &t->added.normalized, w, normalized, n, on_normalized));
  w->after_special = w->at_origin = false;
cleanup:
  TERN_ARRAY_FREE(w->alloc, normalized);
  return status;
}

/* Ids of one text into w->ids, without the post-processor's. */
static tern_status encode_text(tern__work *w, const char *text, size_t size) {
  tern_status status = TERN_OK;
  char *clean = NULL;
  if (size > max_text)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "the text has %zu bytes, more than %d", size, max_text);
  if (tern__utf8_valid_prefix(text, size) != size) {
    TERN_TRY(tern__utf8_append_lossy(w->alloc, text, size, &clean));
    text = clean, size = tern__array_count(clean);
  }
  w->at_origin = w->after_special = true;
  TERN_TRY(tern__added_tokens_split(&w->tokenizer->added, &w->tokenizer->added.raw, w, text, size, on_raw));
cleanup:
  TERN_ARRAY_FREE(w->alloc, clean);
  return status;
}

static tern_status append(tern__alloc *alloc, int32_t **ids, int32_t **type_ids, const int32_t *from,
                          size_t n, int32_t type) {
  tern_status status = TERN_OK;
  TERN_ARRAY_APPEND(alloc, *ids, from, n);
  if (!type_ids) return TERN_OK;
  size_t at = tern__array_count(*type_ids);
  TERN_ARRAY_APPEND(alloc, *type_ids, NULL, n);
  for (size_t i = 0; i < n; i++) (*type_ids)[at + i] = type;
cleanup:
  return status;
}

/* Texts one after the other, or as the post-processor's template has them. */
static tern_status encode_texts(const tern__tokenizer *t, tern__alloc *alloc, const char *const *texts,
                                const size_t *sizes, size_t n_texts, uint32_t flags, int32_t **ids,
                                int32_t **type_ids) {
  tern_status status = TERN_OK;
  tern__work w = {.alloc = alloc, .tokenizer = t, .flags = flags};
  size_t ends[3] = {0}, before = tern__array_count(*ids),
         types_before = type_ids ? tern__array_count(*type_ids) : 0;
  static const tern__template_item plain[] = {{0, 0, 0}, {1, 0, 1}};
  const tern__post_processor *post = t->post_processor;
  const tern__template_item *items = !post ? plain : n_texts == 1 ? post->single : post->pair;
  size_t n_items = !post ? n_texts : n_texts == 1 ? post->n_single : post->n_pair;
  for (size_t i = 0; i < n_texts; i++) {
    TERN_TRY(encode_text(&w, texts[i], sizes[i]));
    ends[i + 1] = tern__array_count(w.ids);
  }
  for (size_t i = 0; i < n_items; i++) {
    tern__template_item item = items[i];
    if (item.sequence >= 0) {
      size_t start = ends[item.sequence], n = ends[item.sequence + 1] - start;
      TERN_TRY(append(alloc, ids, type_ids, w.ids + start, n, item.type));
    } else if (!(flags & TERN_TOKENIZE_NO_SPECIAL)) {
      TERN_TRY(append(alloc, ids, type_ids, &item.id, 1, item.type));
    }
  }
cleanup:
  if (status != TERN_OK) {
    tern__array_truncate(*ids, before);
    if (type_ids) tern__array_truncate(*type_ids, types_before);
  }
  work_deinit(&w);
  return status;
}

tern_status tern__tokenizer_encode(const tern__tokenizer *t, tern__alloc *alloc, const char *text,
                                   size_t size, uint32_t flags, int32_t **ids) {
  return encode_texts(t, alloc, &text, &size, 1, flags, ids, NULL);
}

tern_status tern__tokenizer_encode_pair(const tern__tokenizer *t, tern__alloc *alloc, const char *a,
                                        size_t a_size, const char *b, size_t b_size, uint32_t flags,
                                        int32_t **ids, int32_t **type_ids) {
  const char *texts[] = {a, b};
  size_t sizes[] = {a_size, b_size};
  return encode_texts(t, alloc, texts, sizes, 2, flags, ids, type_ids);
}

/* ---- decoding */

tern_status tern__tokenizer_decode(const tern__tokenizer *t, tern__alloc *alloc, const int32_t *ids, size_t n,
                                   uint32_t flags, char **text) {
  tern_status status = TERN_OK;
  tern__work w = {.alloc = alloc, .tokenizer = t, .flags = flags};
  for (size_t i = 0; i < n; i++) {
    if (ids[i] < 0 || (size_t)ids[i] >= tern__array_count(t->tokens)) continue;
    const tern__token *token = &t->tokens[ids[i]];
    if (!(token->flags & TERN_TOKEN_EXISTS) ||
        (flags & TERN_TOKENIZE_NO_SPECIAL && token->flags & TERN_TOKEN_SKIP))
      continue;
    size_t start = tern__array_count(w.text);
    if (!t->decoder && tern__array_count(w.pieces)) TERN_ARRAY_PUSH(alloc, w.text, ' ');
    TERN_ARRAY_APPEND(alloc, w.text, token->decoded, token->decoded_size);
    TERN_ARRAY_PUSH(alloc, w.pieces,
                    (tern__piece){(uint32_t)start, (uint32_t)(tern__array_count(w.text) - start), false});
    if (tern__array_count(w.text) > max_text)
      TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "the decoded text is too long");
  }
  if (t->decoder && tern__array_count(w.pieces)) TERN_TRY(tern__decode_pieces(t->decoder, &w));
  size_t size = 0;
  for (size_t i = 0; i < tern__array_count(w.pieces); i++) size += w.pieces[i].size;
  TERN_ARRAY_RESERVE(alloc, *text, size);
  for (size_t i = 0; i < tern__array_count(w.pieces); i++)
    TERN_ARRAY_APPEND(alloc, *text, w.text + w.pieces[i].start, w.pieces[i].size);
cleanup:
  work_deinit(&w);
  return status;
}

/* ---- asking */

int32_t tern__tokenizer_vocab_size(const tern__tokenizer *t) { return (int32_t)tern__array_count(t->tokens); }

const char *tern__tokenizer_token(const tern__tokenizer *t, int32_t id) {
  if (id < 0 || (size_t)id >= tern__array_count(t->tokens)) return NULL;
  return t->tokens[id].flags & TERN_TOKEN_EXISTS ? t->tokens[id].text : NULL;
}

int32_t tern__tokenizer_token_id(const tern__tokenizer *t, const char *token) {
  int64_t id;
  size_t size = strlen(token);
  return tern__map_get(&t->added_ids, token, size, &id) || tern__map_get(&t->ids, token, size, &id)
             ? (int32_t)id
             : -1;
}

int32_t tern__tokenizer_bos(const tern__tokenizer *t) { return t->bos_id; }
int32_t tern__tokenizer_eos(const tern__tokenizer *t) { return t->eos_id; }
int32_t tern__tokenizer_pad(const tern__tokenizer *t) { return t->pad_id; }
bool tern__tokenizer_is_end(const tern__tokenizer *t, int32_t id) {
  return id >= 0 && (size_t)id < tern__array_count(t->tokens) && t->tokens[id].flags & TERN_TOKEN_END;
}
const char *tern__tokenizer_chat_template(const tern__tokenizer *t) { return t->chat_template; }
int32_t tern__tokenizer_max_length(const tern__tokenizer *t) { return t->max_length; }
