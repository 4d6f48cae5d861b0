/* Tokenizers. */
#include <string.h>

#include "api/api.h"
#include "pipeline/pipeline.h"
#include "text/chat_template.h"

tern_status tern_tokenizer_open(tern_runtime *runtime, const char *path, tern_tokenizer **out) {
  tern_status status = TERN_OK;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(runtime);
  TERN_REQUIRE(path);
  tern_tokenizer *t = tern__calloc(&runtime->alloc, 1, sizeof *t);
  TERN_CHECK_ALLOC(t);
  TERN_TRY(tern__tokenizer_for_path(&runtime->alloc, path, &t->tokenizer));
  t->runtime = runtime;
  tern__runtime_ref(runtime);
  *out = t, t = NULL;
cleanup:
  tern__free(&runtime->alloc, t);
  return status;
}

void tern_tokenizer_close(tern_tokenizer *tokenizer) {
  if (!tokenizer) return;
  tern_runtime *runtime = tokenizer->runtime;
  tern__tokenizer_close(tokenizer->tokenizer);
  tern__free(&runtime->alloc, tokenizer);
  tern__runtime_unref(runtime);
}

tern_status tern_tokenizer_encode(const tern_tokenizer *tokenizer, const char *text, size_t text_size, uint32_t flags,
                                  int32_t *ids, size_t capacity, size_t *n_out) {
  tern_status status = TERN_OK;
  int32_t *all = NULL;
  TERN_REQUIRE(n_out);
  *n_out = 0;
  TERN_REQUIRE(tokenizer);
  if (text_size) TERN_REQUIRE(text);
  if (capacity) TERN_REQUIRE(ids);
  if (flags & ~(uint32_t)(TERN_TOKENIZE_NO_SPECIAL | TERN_TOKENIZE_PLAIN_SPECIAL))
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "tern_tokenizer_encode: flags 0x%x are not known", flags);
  tern__alloc *alloc = &tokenizer->runtime->alloc;
  TERN_TRY(tern__tokenizer_encode(tokenizer->tokenizer, alloc, text ? text : "", text_size, flags, &all));
  *n_out = tern__array_count(all);
  if (capacity && *n_out) memcpy(ids, all, (*n_out < capacity ? *n_out : capacity) * sizeof *ids);
cleanup:
  TERN_ARRAY_FREE(alloc, all);
  return status;
}

static void give_text(char *all, char *text, size_t capacity, size_t *n_out) {
  *n_out = tern__array_count(all);
  if (capacity && *n_out) memcpy(text, all, *n_out < capacity ? *n_out : capacity);
}

tern_status tern_tokenizer_decode(const tern_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                  uint32_t flags, char *text, size_t capacity, size_t *n_out) {
  tern_status status = TERN_OK;
  char *all = NULL;
  TERN_REQUIRE(n_out);
  *n_out = 0;
  TERN_REQUIRE(tokenizer);
  if (n_ids) TERN_REQUIRE(ids);
  if (capacity) TERN_REQUIRE(text);
  if (flags & ~(uint32_t)TERN_TOKENIZE_NO_SPECIAL)
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "tern_tokenizer_decode: flags 0x%x are not known", flags);
  tern__alloc *alloc = &tokenizer->runtime->alloc;
  TERN_TRY(tern__tokenizer_decode(tokenizer->tokenizer, alloc, ids, n_ids, flags, &all));
  give_text(all, text, capacity, n_out);
cleanup:
  TERN_ARRAY_FREE(alloc, all);
  return status;
}

int32_t tern_tokenizer_vocab_size(const tern_tokenizer *tokenizer) {
  return tokenizer ? tern__tokenizer_vocab_size(tokenizer->tokenizer) : 0;
}
const char *tern_tokenizer_token(const tern_tokenizer *tokenizer, int32_t id) {
  return tokenizer ? tern__tokenizer_token(tokenizer->tokenizer, id) : NULL;
}
int32_t tern_tokenizer_token_id(const tern_tokenizer *tokenizer, const char *token) {
  return tokenizer && token ? tern__tokenizer_token_id(tokenizer->tokenizer, token) : -1;
}

tern_status tern_tokenizer_chat(const tern_tokenizer *tokenizer, const char *messages_json,
                                int32_t add_generation_prompt, char *text, size_t capacity, size_t *n_out) {
  tern_status status = TERN_OK;
  char *all = NULL;
  TERN_REQUIRE(n_out);
  *n_out = 0;
  TERN_REQUIRE(tokenizer);
  TERN_REQUIRE(messages_json);
  if (capacity) TERN_REQUIRE(text);
  const tern__tokenizer *t = tokenizer->tokenizer;
  tern__alloc *alloc = &tokenizer->runtime->alloc;
  const char *template_text = tern__tokenizer_chat_template(t);
  if (!template_text) TERN_FAIL(TERN_STATUS_UNSUPPORTED, "this tokenizer has no chat template");
  tern__chat_inputs inputs = {.messages_json = messages_json, .add_generation_prompt = add_generation_prompt != 0};
  inputs.bos_token = tern__tokenizer_token(t, tern__tokenizer_bos(t));
  inputs.eos_token = tern__tokenizer_token(t, tern__tokenizer_eos(t));
  TERN_TRY(tern__chat_render(alloc, template_text, &inputs, &all));
  give_text(all, text, capacity, n_out);
cleanup:
  TERN_ARRAY_FREE(alloc, all);
  return status;
}
