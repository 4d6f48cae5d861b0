/* Hostile and unsupported tokenizers: the right status, and a message that names the place. Failing
 * allocations: the right status and no leak, at each of them. */
#include "text/tokenizer_internal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tern_status open_text(tern__alloc *heap, const char *text, tern__tokenizer **out) {
  tern__json *root;
  *out = NULL;
  tern_status status = tern__json_parse(text, strlen(text), "tokenizer.json", &root);
  if (status != TERN_OK) return status;
  tern__tokenizer *t = tern__tokenizer_new(heap);
  status = t ? tern__tokenizer_read_json(t, "tokenizer.json", root) : TERN_STATUS_OUT_OF_MEMORY;
  tern__json_close(root);
  if (status == TERN_OK) *out = t;
  else tern__tokenizer_close(t);
  return status;
}

#define BPE(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}"
#define SMALL BPE("{\"a\":0,\"b\":1,\"ab\":2}", "[\"a b\"]")
#define CORRUPT TERN_STATUS_CORRUPT
#define UNSUPPORTED TERN_STATUS_UNSUPPORTED
static const struct { const char *text; tern_status status; const char *place;
} bad[] = {
    {"", CORRUPT, "tokenizer.json"},
    {"[]", CORRUPT, "not a JSON object"},
    {"{}", CORRUPT, "model"},
    {"{\"model\":[]}", CORRUPT, "model"},
    {"{\"model\":{\"type\":\"Unigram\"}}", UNSUPPORTED, "Unigram"},
    {"{\"model\":{\"type\":\"BPE\"}}", CORRUPT, "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", CORRUPT, "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", CORRUPT, "model.merges"},
    {"{" BPE("{\"a\":-1}", "[]") "}", CORRUPT, "model.vocab.a"},
    {"{" BPE("{\"a\":\"0\"}", "[]") "}", CORRUPT, "model.vocab.a"},
    {"{" BPE("{\"a\":0.5}", "[]") "}", CORRUPT, "model.vocab.a"},
    {"{" BPE("{\"a\":4294967296}", "[]") "}", CORRUPT, "model.vocab.a"},
    {"{" BPE("{\"a\":99999999}", "[]") "}", CORRUPT, "model.vocab.a"},
    {"{" BPE("{\"a\":0,\"b\":0}", "[]") "}", CORRUPT, "model.vocab.b"},
    {"{" BPE("{\"a\":0,\"a\":1}", "[]") "}", CORRUPT, "model.vocab.a"},
    {"{" BPE("{\"a\":0,\"b\":1}", "[\"a b\"]") "}", CORRUPT, "model.merges[0]"},
    {"{" BPE("{\"a\":0,\"b\":1,\"ab\":2}", "[\"a b\",\"a x\"]") "}", CORRUPT, "model.merges[1]"},
    {"{" BPE("{\"a\":0}", "[\"a\"]") "}", CORRUPT, "model.merges[0]"},
    {"{" BPE("{\"a\":0}", "[\"a b c\"]") "}", CORRUPT, "model.merges[0]"},
    {"{" BPE("{\"a\":0}", "[[\"a\"]]") "}", CORRUPT, "model.merges[0]"},
    {"{" BPE("{\"a\":0}", "[[\"a\",1]]") "}", CORRUPT, "model.merges[0]"},
    {"{" BPE("{\"a\":0}", "[7]") "}", CORRUPT, "model.merges[0]"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", UNSUPPORTED,
     "model.dropout"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}", CORRUPT,
     "model.unk_token"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"fuse_unk\":1}}", CORRUPT,
     "model.fuse_unk"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a "
     "b\"],\"continuing_subword_prefix\":\"###\"}}",
     CORRUPT, "model.merges[0]"},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", CORRUPT, "model.unk_token"},
    {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0},\"max_input_chars_per_word\":-1}}", CORRUPT,
     "max_input_chars_per_word"},
    {"{\"normalizer\":7," SMALL "}", CORRUPT, "normalizer"},
    {"{\"normalizer\":{}," SMALL "}", CORRUPT, "normalizer.type"},
    {"{\"normalizer\":{\"type\":\"Precompiled\"}," SMALL "}", UNSUPPORTED, "Precompiled"},
    {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Zap\"}]}," SMALL
     "}",
     UNSUPPORTED, "normalizer.normalizers[1]"},
    {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[null]}," SMALL "}", CORRUPT,
     "normalizer.normalizers[0]"},
    {"{\"normalizer\":{\"type\":\"Sequence\"}," SMALL "}", CORRUPT, "normalizer.normalizers"},
    {"{\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true}," SMALL "}", CORRUPT,
     "normalizer.strip_right"},
    {"{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}," SMALL "}",
     CORRUPT, "normalizer.pattern"},
    {"{\"normalizer\":{\"type\":\"Replace\",\"pattern\":\"x\",\"content\":\"\"}," SMALL "}", CORRUPT,
     "normalizer.pattern.String"},
    {"{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," SMALL "}", UNSUPPORTED, "UnicodeScripts"},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Odd\",\"invert\":"
     "false}," SMALL "}",
     UNSUPPORTED, "Odd"},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":\"Removed\","
     "\"invert\":false}," SMALL "}",
     UNSUPPORTED, "pre_tokenizer.pattern"},
    {"{\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"ab\"}," SMALL "}", CORRUPT,
     "delimiter"},
    {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\"}," SMALL "}", CORRUPT, "replacement"},
    {"{\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":0}," SMALL "}", CORRUPT,
     "pre_tokenizer.length"},
    {"{\"decoder\":{\"type\":\"Odd\"}," SMALL "}", UNSUPPORTED, "Odd"},
    {"{\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}," SMALL "}", CORRUPT,
     "decoder.start"},
    {"{\"added_tokens\":{}," SMALL "}", CORRUPT, "added_tokens"},
    {"{\"added_tokens\":[5]," SMALL "}", CORRUPT, "added_tokens[0]"},
    {"{\"added_tokens\":[{\"content\":\"x\"}]," SMALL "}", CORRUPT, "added_tokens[0].id"},
    {"{\"added_tokens\":[{\"id\":3}]," SMALL "}", CORRUPT, "added_tokens[0].content"},
    {"{\"added_tokens\":[{\"id\":-3,\"content\":\"x\"}]," SMALL "}", CORRUPT, "added_tokens[0].id"},
    {"{\"added_tokens\":[{\"id\":2000000000,\"content\":\"x\"}]," SMALL "}", CORRUPT, "added_tokens[0].id"},
    {"{\"added_tokens\":[{\"id\":0,\"content\":\"x\"}]," SMALL "}", CORRUPT, "added_tokens[0]"},
    {"{\"added_tokens\":[{\"id\":9,\"content\":\"a\"}]," SMALL "}", CORRUPT, "added_tokens[0]"},
    {"{\"post_processor\":{\"type\":\"Odd\"}," SMALL "}", UNSUPPORTED, "Odd"},
    {"{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\",3],\"cls\":[\"y\",0]}," SMALL "}",
     CORRUPT, "post_processor.sep"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\","
     "\"type_id\":0}}],\"pair\":[]}," SMALL "}",
     CORRUPT, "post_processor.single[0]"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\",\"type_"
     "id\":0}}],\"pair\":[]}," SMALL "}",
     CORRUPT, "post_processor.single[0]"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{}],\"pair\":[]}," SMALL "}", CORRUPT,
     "post_processor.single[0]"},
};

Test(tokenizer_errors, hostile_json) {
  tern__alloc heap;
  tern__alloc_init(&heap, NULL, 0);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    tern__tokenizer *t;
    tern_status status = open_text(&heap, bad[i].text, &t);
    cr_expect_eq(status, bad[i].status, "%s -> %s: %s", bad[i].text, tern_status_name(status),
                 tern_last_error());
    cr_expect(strstr(tern_last_error(), bad[i].place), "%s: '%s' does not name %s", bad[i].text,
              tern_last_error(), bad[i].place);
    cr_expect_null(t);
  }
  cr_assert_eq(heap.live_bytes, 0);
}

Test(tokenizer_errors, deep_nesting) {
  tern__alloc heap;
  tern__tokenizer *t;
  tern__alloc_init(&heap, NULL, 0);
  char *text = calloc(1, 1 << 16);
  strcat(text, "{" SMALL ",\"normalizer\":");
  for (int i = 0; i < 300; i++) strcat(text, "{\"type\":\"Sequence\",\"normalizers\":[");
  for (int i = 0; i < 300; i++) strcat(text, "]}");
  strcat(text, "}");
  cr_assert_eq(open_text(&heap, text, &t), CORRUPT, "%s", tern_last_error());
  cr_assert(strstr(tern_last_error(), "deeply"), "%s", tern_last_error());
  free(text);
  cr_assert_eq(heap.live_bytes, 0);
}

Test(tokenizer_errors, files) {
  tern__alloc heap;
  tern__tokenizer *t;
  tern__alloc_init(&heap, NULL, 0);
  cr_assert_eq(tern__tokenizer_open(&heap, "/no/such/file.json", NULL, &t), TERN_STATUS_NOT_FOUND);
  cr_assert_eq(tern__tokenizer_open(&heap, TERN_SOURCE_DIR "/tests/unit", NULL, &t), TERN_STATUS_NOT_FOUND);
  cr_assert(strstr(tern_last_error(), "tokenizer.json"), "%s", tern_last_error());
  cr_assert_eq(heap.live_bytes, 0);
}

/* Truncated anywhere, or with a byte changed: an error or a tokenizer, never a crash. */
Test(tokenizer_errors, damaged_json) {
  static const char whole[] = "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true}],"
                              "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
                              "\"NFC\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\" "
                              "\"}]},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                              "\"add_prefix_space\":false},\"post_processor\":{\"type\":\"BertProcessing\","
                              "\"sep\":[\"b\",1],\"cls\":[\"a\",0]},\"decoder\":{"
                              "\"type\":\"ByteLevel\"}," SMALL "}";
  tern__alloc heap;
  tern__tokenizer *t;
  char text[sizeof whole];
  tern__alloc_init(&heap, NULL, 0);
  for (size_t i = 0; i + 1 < sizeof whole; i++)
    for (int change = 0; change < 5; change++) {
      memcpy(text, whole, sizeof whole);
      text[i] = change == 0 ? 0 : change == 1 ? text[i] ^ 1 : change == 2 ? '9' : change == 3 ? '{' : '"';
      if (open_text(&heap, text, &t) != TERN_OK) continue;
      int32_t *ids = NULL;
      char *out = NULL;
      tern__tokenizer_encode(t, &heap, "ab <s> ba \xff", 10, 0, &ids);
      tern__tokenizer_decode(t, &heap, ids, tern__array_count(ids), 0, &out);
      TERN_ARRAY_FREE(&heap, ids);
      TERN_ARRAY_FREE(&heap, out);
      tern__tokenizer_close(t);
    }
  cr_assert_eq(heap.live_bytes, 0);
}

/* ---- GGUF metadata */
static const char *const tokens[] = {"<unk>",
                                     "<s>",
                                     "</s>",
                                     "a",
                                     "b",
                                     "ab",
                                     "\xE2\x96\x81",
                                     "<0x41>",
                                     "\xE2\x96\x81"
                                     "a"};
static const size_t token_sizes[] = {5, 3, 4, 1, 1, 2, 3, 6, 4};
static const float scores[] = {0, 0, 0, -4, -5, -1, -3, 0, -2};
static const int32_t types[] = {2, 3, 3, 1, 1, 1, 1, 6, 1};
static const char *const merges[] = {"a b"};
static const size_t merge_sizes[] = {3};
static tern__vocab_source source(const char *model) {
  bool bpe = !strcmp(model, "gpt2");
  return (tern__vocab_source){.model = model,
                              .pre = bpe ? "gpt-2" : NULL,
                              .n_tokens = 9,
                              .tokens = tokens,
                              .token_sizes = token_sizes,
                              .scores = scores,
                              .types = types,
                              .n_merges = bpe,
                              .merges = merges,
                              .merge_sizes = merge_sizes,
                              .bos_id = 1,
                              .eos_id = 2,
                              .eot_id = -1,
                              .unk_id = 0,
                              .pad_id = -1,
                              .add_bos = 1,
                              .add_eos = -1,
                              .add_space_prefix = -1,
                              .remove_extra_whitespaces = -1};
}

static void expect_vocab(tern__vocab_source s, tern_status want, const char *place) {
  tern__alloc heap;
  tern__tokenizer *t;
  tern__alloc_init(&heap, NULL, 0);
  tern_status status = tern__tokenizer_from_vocab(&heap, &s, &t);
  cr_expect_eq(status, want, "%s: %s", place, tern_last_error());
  cr_expect(status == TERN_OK || strstr(tern_last_error(), place), "'%s' does not name %s", tern_last_error(),
            place);
  tern__tokenizer_close(t);
  cr_assert_eq(heap.live_bytes, 0);
}

Test(tokenizer_errors, gguf_vocabularies) {
  expect_vocab(source("llama"), TERN_OK, "");
  expect_vocab(source("gpt2"), TERN_OK, "");
  tern__vocab_source s = source("t5");
  expect_vocab(s, UNSUPPORTED, "'t5'");
  s = source("gpt2"), s.pre = "brand-new";
  expect_vocab(s, UNSUPPORTED, "'brand-new'");
  s = source("gpt2"), s.merges = (const char *const[]){"a x"};
  expect_vocab(s, CORRUPT, "merges[0]");
  s = source("gpt2"), s.merges = (const char *const[]){"abc"};
  expect_vocab(s, CORRUPT, "merges[0]");
  s = source("llama"), s.bos_id = 9;
  expect_vocab(s, CORRUPT, "bos_token_id");
  s = source("gpt2"), s.bos_id = -1;
  expect_vocab(s, CORRUPT, "bos_token_id");
  s = source("llama"), s.n_tokens = 0;
  expect_vocab(s, CORRUPT, "tokens");
  s = source("llama"), s.tokens = (const char *const[]){"a", "a", "a", "a", "a", "a", "a", "a", "a"};
  s.token_sizes = (const size_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1};
  expect_vocab(s, CORRUPT, "tokens[1]");
  s = source("llama"), s.scores = (const float[]){0, 0, 0, __builtin_nanf(""), 0, 0, 0, 0, 0};
  expect_vocab(s, CORRUPT, "scores[3]");
}

/* ---- failing allocations */
typedef struct budget { long left; } budget;
static void *limited_alloc(void *user, size_t size, size_t align) {
  budget *b = user;
  return b->left-- > 0 ? aligned_alloc(align < sizeof(void *) ? sizeof(void *) : align,
                                       (size + align - 1) / align * align)
                       : NULL;
}
static void limited_free(void *user, void *ptr, size_t size, size_t align) {
  (void)user, (void)size, (void)align, free(ptr);
}

static tern_status use(tern__alloc *heap, const tern__tokenizer *t) {
  tern_status status;
  int32_t *ids = NULL, *types = NULL;
  char *text = NULL;
  tern__text_stream stream;
  static const char in[] = "It's <s> abab\xF0\x9F\x91\x8B\xff caf\xC3\xA9 2024  "
                           "ababababababababababababababababababababababababababab";
  tern__text_stream_init(&stream, t, heap, 0);
  TERN_TRY(tern__tokenizer_encode(t, heap, in, sizeof in - 1, 0, &ids));
  TERN_TRY(tern__tokenizer_encode_pair(t, heap, in, 20, in, 5, 0, &ids, &types));
  TERN_TRY(tern__tokenizer_decode(t, heap, ids, tern__array_count(ids), 0, &text));
  for (size_t i = 0; i < tern__array_count(ids); i++)
    TERN_TRY(tern__text_stream_push(&stream, ids[i], &text));
  TERN_TRY(tern__text_stream_flush(&stream, &text));
cleanup:
  tern__text_stream_deinit(&stream);
  TERN_ARRAY_FREE(heap, ids);
  TERN_ARRAY_FREE(heap, types);
  TERN_ARRAY_FREE(heap, text);
  return status;
}

static const char *const rich =
    "{\"added_tokens\":[{\"id\":20,\"content\":\"<s>\",\"special\":true},{\"id\":21,\"content\":"
    "\"caf\xC3\xA9\",\"normalized\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":\"Lowercase\"},{"
    "\"type\":\"Replace\",\"pattern\":{"
    "\"Regex\":\" +\"},\"content\":\" \"},{\"type\":\"Prepend\",\"prepend\":\" "
    "\"}]},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\d\"},\"behavior\":\"MergedWithNext\",\"invert\":false},"
    "{\"type\":\"ByteLevel\","
    "\"add_prefix_space\":true}]},\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
    "\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
    "{\"SpecialToken\":{\"id\":\"e\",\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{"
    "\"Sequence\":{\"id\":\"B\","
    "\"type_id\":1}}],\"special_tokens\":{\"e\":{\"ids\":[20]}}},\"decoder\":{\"type\":\"Sequence\","
    "\"decoders\":[{\"type\":\"Replace\","
    "\"pattern\":{\"Regex\":\"b+\"},\"content\":\"c\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{"
    "\"type\":\"ByteLevel\"}]}," SMALL "}";

static tern_status run_json(tern__alloc *heap) {
  tern__tokenizer *t;
  tern_status status = open_text(heap, rich, &t);
  if (status == TERN_OK) status = use(heap, t);
  tern__tokenizer_close(t);
  return status;
}
static tern_status run_vocab(tern__alloc *heap, const char *model) {
  tern__tokenizer *t;
  tern__vocab_source s = source(model);
  s.chat_template = "{{ messages }}";
  tern_status status = tern__tokenizer_from_vocab(heap, &s, &t);
  if (status == TERN_OK) status = use(heap, t);
  tern__tokenizer_close(t);
  return status;
}
static tern_status run_llama(tern__alloc *heap) { return run_vocab(heap, "llama"); }
static tern_status run_gpt2(tern__alloc *heap) { return run_vocab(heap, "gpt2"); }

static void fail_each(const char *name, tern_status (*run)(tern__alloc *), long at_least) {
  long k = 0;
  for (tern_status status = TERN_STATUS_OUT_OF_MEMORY; status != TERN_OK; k++) {
    budget b = {k};
    tern_allocator fns = {limited_alloc, limited_free, &b};
    tern__alloc heap;
    tern__alloc_init(&heap, &fns, 0);
    status = run(&heap);
    cr_assert(status == TERN_OK || status == TERN_STATUS_OUT_OF_MEMORY, "%s, allocation %ld: %s: %s", name, k,
              tern_status_name(status), tern_last_error());
    cr_assert_eq(heap.live_bytes, 0, "%s, allocation %ld: %llu bytes leaked", name, k,
                 (unsigned long long)heap.live_bytes);
    cr_assert_lt(k, 10000);
  }
  cr_assert_gt(k, at_least, "only %ld allocations", k);
}

Test(tokenizer_errors, every_allocation_may_fail) {
  fail_each("json", run_json, 50);
  fail_each("llama", run_llama, 15);
  fail_each("gpt2", run_gpt2, 15);
}
