/* A GGUF file's tokenizer.ggml.* metadata -> a tokenizer that gives llama.cpp's tokens. */
#include "text/tokenizer_internal.h"

#include <stdio.h>
#include <string.h>

enum { TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4 };

static tern_status add_tokens(tern__tokenizer *t, const tern__vocab_source *source) {
  tern_status status = TERN_OK;
  if (!source->n_tokens || source->n_tokens > INT32_MAX || !source->tokens || !source->token_sizes)
    TERN_FAIL(TERN_STATUS_CORRUPT, "tokenizer.ggml.tokens is missing or has %zu entries", source->n_tokens);
  TERN_ARRAY_RESERVE(t->alloc, t->tokens, source->n_tokens);
  if (!tern__map_reserve(t->alloc, &t->ids, source->n_tokens)) TERN_CHECK_ALLOC(NULL);
  for (size_t i = 0; i < source->n_tokens; i++) {
    size_t size = source->token_sizes[i];
    if (size > UINT32_MAX / 2)
      TERN_FAIL(TERN_STATUS_CORRUPT, "tokenizer.ggml.tokens[%zu] has %zu bytes", i, size);
    char *text = size ? tern__arena_strndup(&t->arena, source->tokens[i], size)
                      : tern__arena_printf(&t->arena, "[EMPTY_%zu]", i);
    TERN_CHECK_ALLOC(text);
    status = tern__tokenizer_add_token(t, text, size ? size : strlen(text), (int64_t)i);
    if (status == TERN_STATUS_CORRUPT)
      TERN_FAIL(status, "tokenizer.ggml.tokens[%zu] '%s' is a second token of this spelling", i, text);
    TERN_TRY(status);
  }
cleanup:
  return status;
}

/* Spellings that llama.cpp takes for control tokens whatever type the file gives them: those that end a turn
 * ... */
static bool is_control(const tern__tokenizer *t, const tern__vocab_source *source, size_t id) {
  static const char *const fim[] = {
      /* ... and the fill-in-the-middle ones */
      "<|fim_prefix|>", "<fim-prefix>",    "<fim_prefix>",    "<｜fim▁begin｜>", "<PRE>",
      "▁<PRE>",         "<|code_prefix|>", "<|prefix|>",      "<|fim_suffix|>",  "<fim-suffix>",
      "<fim_suffix>",   "<｜fim▁hole｜>",  "<SUF>",           "▁<SUF>",          "<|code_suffix|>",
      "<|suffix|>",     "<|fim_middle|>",  "<fim-middle>",    "<fim_middle>",    "<｜fim▁end｜>",
      "<MID>",          "▁<MID>",          "<|code_middle|>", "<|middle|>",      "<|fim_pad|>",
      "<fim-pad>",      "<fim_pad>",       "<PAD>",           "[PAD]",           "<|fim_repo|>",
      "<|repo_name|>",  "<fim-repo>",      "<REPO>",          "<reponame>",      "<|file_sep|>",
  };
  if (source->types && source->types[id] == TYPE_CONTROL) return true;
  if (t->tokens[id].flags & TERN_TOKEN_END) return true;
  for (size_t i = 0; i < sizeof fim / sizeof *fim; i++)
    if (!strcmp(fim[i], t->tokens[id].text)) return true;
  return false;
}

static tern_status add_special_tokens(tern__tokenizer *t, const tern__vocab_source *source) {
  tern_status status = TERN_OK;
  static const char *const always_text[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};
  for (size_t i = 0; i < source->n_tokens; i++) {
    int32_t type = source->types ? source->types[i] : 1;
    TERN_TRY(tern__tokenizer_poll(t, i));
    bool control = is_control(t, source, i), shown = false;
    for (size_t k = 0; k < 4; k++) shown |= !strcmp(always_text[k], t->tokens[i].text);
    if (shown) control = false, type = TYPE_USER_DEFINED;
    if (!control && type != TYPE_UNKNOWN && type != TYPE_USER_DEFINED) continue;
    bool special = control || type == TYPE_UNKNOWN;
    if (special) t->tokens[i].flags |= TERN_TOKEN_SKIP;
    TERN_ARRAY_PUSH(t->alloc, t->added.tokens,
                    (tern__added_token){.text = t->tokens[i].text,
                                        .match = t->tokens[i].text,
                                        .size = t->tokens[i].size,
                                        .match_size = t->tokens[i].size,
                                        .id = (int32_t)i,
                                        .special = special,
                                        .plain_keeps = !special});
  }
  t->added.longest_first = true;
  TERN_TRY(tern__added_tokens_index(t->alloc, &t->added));
cleanup:
  return status;
}

static tern_status checked_id(const tern__vocab_source *source, const char *key, int32_t id, int32_t fallback,
                              int32_t *out) {
  if (id < 0) id = (size_t)fallback < source->n_tokens ? fallback : -1;
  if (id >= 0 && (size_t)id >= source->n_tokens)
    return tern__fail(TERN_STATUS_CORRUPT, "tokenizer.ggml.%s is %d of %zu tokens", key, id,
                      source->n_tokens);
  *out = id;
  return TERN_OK;
}

/* BOS text EOS, as add_bos_token and add_eos_token say; without them as the kind of vocabulary has it. */
static tern_status make_template(tern__tokenizer *t, bool add_bos, bool add_eos) {
  tern_status status = TERN_OK;
  if (!add_bos && !add_eos) return TERN_OK;
  if (add_bos && t->bos_id < 0)
    TERN_FAIL(TERN_STATUS_CORRUPT, "tokenizer.ggml.bos_token_id is missing, but BOS is to be added");
  if (add_eos && t->eos_id < 0)
    TERN_FAIL(TERN_STATUS_CORRUPT, "tokenizer.ggml.eos_token_id is missing, but EOS is to be added");
  tern__post_processor *post = tern__arena_alloc(&t->arena, sizeof *post);
  tern__template_item *items = tern__arena_calloc(&t->arena, 8, sizeof *items);
  TERN_CHECK_ALLOC(post && items ? post : NULL);
  size_t n = 0;
  for (int32_t sequence = 0; sequence < 2; sequence++) {
    if (add_bos) items[n++] = (tern__template_item){-1, t->bos_id, sequence};
    items[n++] = (tern__template_item){sequence, 0, sequence};
    if (add_eos) items[n++] = (tern__template_item){-1, t->eos_id, sequence};
    if (!sequence) post->n_single = n;
  }
  post->single = post->pair = items, post->n_pair = n;
  t->post_processor = post;
cleanup:
  return status;
}

tern_status tern__tokenizer_from_vocab(tern__alloc *alloc, const tern__vocab_source *source,
                                       tern__tokenizer **out) {
  tern_status status = TERN_OK;
  *out = NULL;
  tern__tokenizer *t = tern__tokenizer_new(alloc);
  TERN_CHECK_ALLOC(t);
  t->cancel = source->cancel;
  const char *model = source->model ? source->model : "";
  for (size_t i = 0; i < tern__model_def_count && !t->def; i++)
    if (tern__model_defs[i]->gguf_model && !strcmp(tern__model_defs[i]->gguf_model, model))
      t->def = tern__model_defs[i];
  if (!t->def)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "tokenizer.ggml.model '%s' is not supported; gpt2 and llama are",
              model);
  TERN_TRY(add_tokens(t, source));
  bool is_spm = t->def == &tern__model_spm;
  const tern__pre_kind *kind =
      is_spm ? NULL : tern__pre_kind_find(source->pre && *source->pre ? source->pre : "default");
  TERN_TRY(checked_id(source, "bos_token_id", source->bos_id, is_spm ? 1 : -1, &t->bos_id));
  TERN_TRY(checked_id(source, "eos_token_id", source->eos_id, is_spm ? 2 : -1, &t->eos_id));
  TERN_TRY(checked_id(source, "unknown_token_id", source->unk_id, is_spm ? 0 : -1, &t->unk_id));
  TERN_TRY(checked_id(source, "padding_token_id", source->pad_id, -1, &t->pad_id));
  TERN_TRY(t->def->read_vocab(t, source));
  tern__tokenizer_mark_ends(t);
  if (t->eos_id >= 0) t->tokens[t->eos_id].flags |= TERN_TOKEN_END;
  TERN_TRY(add_special_tokens(t, source));
  if (source->eot_id >= 0 && (size_t)source->eot_id < source->n_tokens)
    t->tokens[source->eot_id].flags |= TERN_TOKEN_END;
  bool add_bos = source->add_bos >= 0 ? source->add_bos > 0 : is_spm || (kind && kind->add_bos);
  TERN_TRY(make_template(t, add_bos, source->add_eos > 0));
  if (source->chat_template) {
    t->chat_template = tern__arena_strdup(&t->arena, source->chat_template);
    TERN_CHECK_ALLOC(t->chat_template);
  }
  t->cancel = NULL;
  *out = t, t = NULL;
cleanup:
  tern__tokenizer_close(t);
  return status;
}
