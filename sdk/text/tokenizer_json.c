/* tokenizer.json, tokenizer_config.json and their companions -> a tokenizer. */
#include "text/tokenizer_internal.h"

#include <string.h>

/* Ids may have gaps, but not such that a small file asks for a huge table. */
enum { spare_ids = 1 << 16, max_ids = 1 << 24 };

tern_status tern__tokenizer_read_vocab_object(tern__tokenizer *t, const tern__spec *vocab) {
  tern_status status = TERN_OK;
  if (!tern__json_is_object(vocab->node))
    TERN_TRY(tern__spec_fail(vocab, TERN_STATUS_CORRUPT, "is not an object"));
  size_t count = tern__json_count(vocab->node);
  int64_t limit = count > max_ids / 4 ? max_ids : (int64_t)count * 4 + spare_ids;
  if (!tern__map_reserve(t->alloc, &t->ids, count)) TERN_CHECK_ALLOC(NULL);
  for (const tern__json *n = tern__json_first(vocab->node); n; n = tern__json_next(n)) {
    const char *key = tern__json_key(n);
    int64_t id = tern__json_int(n, -1);
    tern__spec at = {vocab, key, 0, vocab->file, n, vocab->arena, vocab->depth + 1};
    if (id < 0 || id > limit)
      TERN_TRY(tern__spec_fail(&at, TERN_STATUS_CORRUPT, "is not an id from 0 to %lld", (long long)limit));
    size_t size = strlen(key);
    const char *text = tern__arena_strndup(&t->arena, key, size);
    TERN_CHECK_ALLOC(text);
    status = tern__tokenizer_add_token(t, text, size, id);
    if (status == TERN_STATUS_CORRUPT) TERN_TRY(tern__spec_fail(&at, status, "repeats a token or an id"));
    TERN_TRY(status);
  }
cleanup:
  return status;
}

/* What the normalizer makes of an added token that is looked for after it. */
static tern_status normalize_token(tern__tokenizer *t, tern__added_token *token) {
  tern_status status = TERN_OK;
  tern__work w = {.alloc = t->alloc, .tokenizer = t};
  TERN_ARRAY_APPEND(w.alloc, w.text, token->text, token->size);
  TERN_TRY(tern__normalize(t->normalizer, &w));
  token->match_size = tern__array_count(w.text);
  token->match = tern__arena_strndup(&t->arena, w.text, token->match_size);
  TERN_CHECK_ALLOC(token->match);
cleanup:
  TERN_ARRAY_FREE(w.alloc, w.text);
  TERN_ARRAY_FREE(w.alloc, w.spare);
  TERN_ARRAY_FREE(w.alloc, w.matches);
  TERN_ARRAY_FREE(w.alloc, w.points);
  tern__regex_state_free(w.regex);
  return status;
}

static tern_status read_added_token(tern__tokenizer *t, const tern__spec *spec) {
  tern_status status = TERN_OK;
  tern__added_token token = {0};
  int64_t id, known;
  if (!tern__json_is_object(spec->node))
    TERN_TRY(tern__spec_fail(spec, TERN_STATUS_CORRUPT, "is not an object"));
  TERN_TRY(tern__spec_string(spec, "content", NULL, &token.text));
  int64_t limit = (int64_t)tern__array_count(t->tokens) + spare_ids;
  TERN_TRY(tern__spec_int(spec, "id", -1, 0, limit < max_ids ? limit : max_ids, &id));
  TERN_TRY(tern__spec_bool(spec, "special", false, &token.special));
  TERN_TRY(tern__spec_bool(spec, "single_word", false, &token.single_word));
  TERN_TRY(tern__spec_bool(spec, "lstrip", false, &token.lstrip));
  TERN_TRY(tern__spec_bool(spec, "rstrip", false, &token.rstrip));
  TERN_TRY(tern__spec_bool(spec, "normalized", !token.special, &token.normalized));
  token.size = token.match_size = strlen(token.text);
  token.id = (int32_t)id, token.match = token.text, token.plain_keeps = !token.special;
  if (!token.size) return TERN_OK;
  if ((tern__map_get(&t->ids, token.text, token.size, &known) ||
       tern__map_get(&t->added_ids, token.text, token.size, &known)) &&
      known != id)
    TERN_TRY(tern__spec_fail(spec, TERN_STATUS_CORRUPT, "'%s' has id %lld here and %lld before", token.text,
                             (long long)id, (long long)known));
  while ((int64_t)tern__array_count(t->tokens) <= id) TERN_ARRAY_PUSH(t->alloc, t->tokens, (tern__token){0});
  tern__token *entry = &t->tokens[id];
  if (entry->flags & TERN_TOKEN_EXISTS && strcmp(entry->text, token.text))
    TERN_TRY(
        tern__spec_fail(spec, TERN_STATUS_CORRUPT, "id %lld is already '%s'", (long long)id, entry->text));
  if (token.normalized && t->normalizer) TERN_TRY(normalize_token(t, &token));
  if (!tern__map_put(t->alloc, &t->added_ids, token.text, token.size, id)) TERN_CHECK_ALLOC(NULL);
  entry->text = token.text, entry->size = (uint32_t)token.size;
  entry->decoded = token.match, entry->decoded_size = (uint32_t)token.match_size;
  entry->flags |= TERN_TOKEN_EXISTS;
  TERN_ARRAY_PUSH(t->alloc, t->added.tokens, token);
cleanup:
  return status;
}

/* Skipping goes by spelling: a token is special if a special token is spelled as it decodes. */
static void mark_special(tern__tokenizer *t) {
  for (size_t i = 0; i < tern__array_count(t->added.tokens); i++) {
    const tern__added_token *a = &t->added.tokens[i];
    tern__token *entry = &t->tokens[a->id];
    int64_t id;
    if (!a->special || !tern__map_get(&t->added_ids, entry->decoded, entry->decoded_size, &id)) continue;
    for (size_t k = 0; k < tern__array_count(t->added.tokens); k++)
      if (t->added.tokens[k].id == id && t->added.tokens[k].special) entry->flags |= TERN_TOKEN_SKIP;
  }
}

static tern_status read_added_tokens(tern__tokenizer *t, const tern__spec *root) {
  tern_status status = TERN_OK;
  tern__spec list = tern__spec_get(root, "added_tokens");
  if (list.node && !tern__json_is_array(list.node))
    TERN_TRY(tern__spec_fail(&list, TERN_STATUS_CORRUPT, "is not an array"));
  size_t i = 0;
  for (const tern__json *n = tern__json_first(list.node); n; n = tern__json_next(n), i++) {
    tern__spec at = tern__spec_at(&list, n, i);
    TERN_TRY(tern__tokenizer_poll(t, i));
    TERN_TRY(read_added_token(t, &at));
  }
  mark_special(t);
  TERN_TRY(tern__added_tokens_index(t->alloc, &t->added));
cleanup:
  return status;
}

/* Older files have no model type: BPE has merges, WordPiece a prefix. */
static const char *guess_model(const tern__json *model) {
  if (tern__json_get(model, "merges")) return "BPE";
  return tern__json_get(model, "continuing_subword_prefix") ? "WordPiece" : "";
}

tern_status tern__tokenizer_read_json(tern__tokenizer *t, const char *path, const tern__json *node) {
  return tern__tokenizer_read_json_with(t, path, node, tern__json_get(node, "model"));
}

tern_status tern__tokenizer_read_json_with(tern__tokenizer *t, const char *path, const tern__json *node,
                                           const tern__json *model_node) {
  tern_status status = TERN_OK;
  tern__spec root = {.file = path, .node = node, .arena = &t->arena};
  if (!tern__json_is_object(node))
    TERN_TRY(tern__spec_fail(&root, TERN_STATUS_CORRUPT, "is not a JSON object"));
  tern__spec normalizer = tern__spec_get(&root, "normalizer"), pre = tern__spec_get(&root, "pre_tokenizer");
  tern__spec model = tern__spec_get(&root, "model"), post = tern__spec_get(&root, "post_processor");
  tern__spec decoder = tern__spec_get(&root, "decoder"), truncation = tern__spec_get(&root, "truncation");
  model.node = model_node;
  TERN_TRY(tern__part_read(&tern__normalizers, &normalizer, &t->normalizer));
  TERN_TRY(tern__part_read(&tern__pre_tokenizers, &pre, &t->pre_tokenizer));
  TERN_TRY(tern__part_read(&tern__decoders, &decoder, &t->decoder));
  if (!tern__json_is_object(model.node))
    TERN_TRY(tern__spec_fail(&model, TERN_STATUS_CORRUPT, "is not an object"));
  const char *type = tern__json_string(tern__json_get(model.node, "type"), NULL);
  if (!type) type = guess_model(model.node);
  for (size_t i = 0; i < tern__model_def_count && !t->def; i++)
    if (tern__model_defs[i]->json_type && !strcmp(tern__model_defs[i]->json_type, type))
      t->def = tern__model_defs[i];
  if (!t->def)
    TERN_TRY(tern__spec_fail(&model, TERN_STATUS_UNSUPPORTED, "the model type '%s' is not supported", type));
  TERN_TRY(t->def->read_json(t, &model));
  TERN_TRY(read_added_tokens(t, &root));
  TERN_TRY(tern__post_processor_read(&post, (int32_t)tern__array_count(t->tokens), &t->post_processor));
  t->max_length = (int32_t)tern__json_int(tern__json_get(truncation.node, "max_length"), 0);
  if (t->max_length < 0) t->max_length = 0;
  tern__tokenizer_mark_ends(t);
cleanup:
  return status;
}

/* "eos_token": "</s>" or {"content": "</s>"} */
static int32_t config_token(const tern__tokenizer *t, const tern__json *root, const char *key,
                            int32_t fallback) {
  const tern__json *n = tern__json_get(root, key);
  const char *text = tern__json_string(n, tern__json_string(tern__json_get(n, "content"), NULL));
  int32_t id = text ? tern__tokenizer_token_id(t, text) : -1;
  return id >= 0 ? id : fallback;
}

/* A template, or a list of named ones of which "default" is meant. */
static const char *config_template(const tern__json *root) {
  const tern__json *n = tern__json_get(root, "chat_template");
  const char *text = tern__json_string(n, NULL);
  for (const tern__json *e = tern__json_is_array(n) ? tern__json_first(n) : NULL; e; e = tern__json_next(e))
    if (!text || !strcmp(tern__json_string(tern__json_get(e, "name"), ""), "default"))
      text = tern__json_string(tern__json_get(e, "template"), text);
  return text;
}

tern_status tern__tokenizer_read_config(tern__tokenizer *t, const char *path, const tern__json *root) {
  tern_status status = TERN_OK;
  if (!tern__json_is_object(root)) TERN_FAIL(TERN_STATUS_CORRUPT, "%s: is not a JSON object", path);
  t->bos_id = config_token(t, root, "bos_token", t->bos_id);
  t->eos_id = config_token(t, root, "eos_token", t->eos_id);
  t->pad_id = config_token(t, root, "pad_token", t->pad_id);
  t->unk_id = config_token(t, root, "unk_token", t->unk_id);
  /* 1e30 stands for "none" in published files. */
  int64_t limit = tern__json_int(tern__json_get(root, "model_max_length"), 0);
  if (limit > 0 && limit <= 1 << 30) t->max_length = (int32_t)limit;
  const char *text = config_template(root);
  if (text) {
    t->chat_template = tern__arena_strdup(&t->arena, text);
    TERN_CHECK_ALLOC(t->chat_template);
  }
cleanup:
  return status;
}
