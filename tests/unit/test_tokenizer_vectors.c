/* Replays tests/conformance/tokenizer/vectors.json: small tokenizer.json files and what Hugging Face
 * `tokenizers` makes of some texts (make_vectors.py). Every decode is also checked as a stream. */
#include "text/tokenizer_internal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static tern__alloc heap;
static int failures, rows;

static void fail(const char *name, const char *what, const char *detail) {
  if (failures++ < 20) cr_log_error("%s: %s: %s", name, what, detail);
}

static bool equal_ids(const int32_t *ids, const tern__json *want) {
  size_t n = tern__array_count(ids), i = 0;
  if (n != tern__json_count(want)) return false;
  for (const tern__json *w = tern__json_first(want); w; w = tern__json_next(w), i++)
    if (tern__json_int(w, -1) != ids[i]) return false;
  return true;
}

static void check_ids(const char *name, const char *what, const char *text, tern_status status, int32_t *ids,
                      const tern__json *want) {
  char detail[2000];
  int n = snprintf(detail, sizeof detail, "'%s' -> %d:", text, (int)status);
  for (size_t i = 0; i < tern__array_count(ids) && n < 1900; i++)
    n += snprintf(detail + n, sizeof detail - (size_t)n, " %d", (int)ids[i]);
  rows++;
  if (status != TERN_OK || !equal_ids(ids, want))
    fail(name, what, status == TERN_OK ? detail : tern_last_error());
}

static void check_encode(const char *name, const tern__tokenizer *t, const tern__json *row, const char *key,
                         uint32_t flags) {
  const tern__json *want = tern__json_get(row, key);
  const char *text = tern__json_string(tern__json_get(row, "text"), NULL);
  if (!want) return;
  int32_t *ids = NULL;
  tern_status status = tern__tokenizer_encode(t, &heap, text, strlen(text), flags, &ids);
  check_ids(name, key, text, status, ids, want);
  TERN_ARRAY_FREE(&heap, ids);
}

static void check_pair(const char *name, const tern__tokenizer *t, const tern__json *row) {
  const char *a = tern__json_string(tern__json_get(row, "a"), ""),
             *b = tern__json_string(tern__json_get(row, "b"), "");
  uint32_t flags = tern__json_bool(tern__json_get(row, "special"), true) ? 0 : TERN_TOKENIZE_NO_SPECIAL;
  int32_t *ids = NULL, *types = NULL;
  tern_status status = tern__tokenizer_encode_pair(t, &heap, a, strlen(a), b, strlen(b), flags, &ids, &types);
  check_ids(name, "pair", a, status, ids, tern__json_get(row, "ids"));
  check_ids(name, "type ids", a, status, types, tern__json_get(row, "types"));
  TERN_ARRAY_FREE(&heap, ids);
  TERN_ARRAY_FREE(&heap, types);
}

static void check_decode(const char *name, const tern__tokenizer *t, const tern__json *row, const char *key,
                         uint32_t flags) {
  int32_t *ids = NULL;
  char *text = NULL, *streamed = NULL, detail[1000];
  tern__text_stream stream;
  const char *want = tern__json_string(tern__json_get(row, key), NULL);
  tern__text_stream_init(&stream, t, &heap, flags);
  bool room = true;
  for (const tern__json *w = tern__json_first(tern__json_get(row, "ids")); w; w = tern__json_next(w)) {
    int32_t id = (int32_t)tern__json_int(w, -1);
    int32_t *grown = tern__array_grow(&heap, ids, sizeof *ids, 1);
    room &= grown != NULL;
    ids = grown;
    TERN_ARRAY_PUT(ids, id);
    size_t before = tern__array_count(streamed);
    room &= tern__text_stream_push(&stream, id, &streamed) == TERN_OK;
    size_t added = tern__array_count(streamed) - before;
    if (added && tern__utf8_valid_prefix(streamed + before, added) != added)
      fail(name, key, "a piece splits a character");
  }
  cr_assert(room);
  tern_status status = tern__tokenizer_decode(t, &heap, ids, tern__array_count(ids), flags, &text);
  size_t size = strlen(want);
  rows++;
  snprintf(detail, sizeof detail, "'%.*s', not '%s'", (int)tern__array_count(text), text ? text : "", want);
  if (status != TERN_OK || tern__array_count(text) != size || (size && memcmp(text, want, size)))
    fail(name, key, detail);
  cr_assert_eq(tern__text_stream_flush(&stream, &streamed), TERN_OK);
  snprintf(detail, sizeof detail, "streamed '%.*s', not '%s'", (int)tern__array_count(streamed),
           streamed ? streamed : "", want);
  if (tern__array_count(streamed) != size || (size && memcmp(streamed, want, size))) fail(name, key, detail);
  tern__text_stream_deinit(&stream);
  TERN_ARRAY_FREE(&heap, ids);
  TERN_ARRAY_FREE(&heap, text);
  TERN_ARRAY_FREE(&heap, streamed);
}

static void check_case(const tern__json *c, const tern__json *spell) {
  const char *name = tern__json_string(tern__json_get(c, "name"), "?");
  const tern__json *spec = tern__json_get(c, "spec"), *model = tern__json_get(spec, "model");
  tern__tokenizer *t = tern__tokenizer_new(&heap);
  cr_assert_not_null(t);
  if (tern__tokenizer_read_json_with(t, name, spec, tern__json_is_string(model) ? spell : model) != TERN_OK)
    fail(name, "opening", tern_last_error());
  else {
    for (const tern__json *r = tern__json_first(tern__json_get(c, "encode")); r; r = tern__json_next(r)) {
      check_encode(name, t, r, "ids", 0);
      check_encode(name, t, r, "bare", TERN_TOKENIZE_NO_SPECIAL);
      check_encode(name, t, r, "plain", TERN_TOKENIZE_PLAIN_SPECIAL);
    }
    for (const tern__json *r = tern__json_first(tern__json_get(c, "pairs")); r; r = tern__json_next(r))
      check_pair(name, t, r);
    for (const tern__json *r = tern__json_first(tern__json_get(c, "decode")); r; r = tern__json_next(r)) {
      check_decode(name, t, r, "text", 0);
      check_decode(name, t, r, "bare", TERN_TOKENIZE_NO_SPECIAL);
    }
  }
  tern__tokenizer_close(t);
}

Test(tokenizer_vectors, as_hugging_face) {
  tern__json *root;
  tern__alloc_init(&heap, NULL, 0);
  cr_assert_eq(tern__json_open(TERN_SOURCE_DIR "/tests/conformance/tokenizer/vectors.json", &root), TERN_OK,
               "%s", tern_last_error());
  int cases = 0;
  for (const tern__json *c = tern__json_first(tern__json_get(root, "cases")); c;
       c = tern__json_next(c), cases++)
    check_case(c, tern__json_get(root, "spell"));
  tern__json_close(root);
  cr_assert_eq(failures, 0, "%d of %d rows differ", failures, rows);
  cr_assert(cases > 140 && rows > 3000, "only %d cases with %d rows were there", cases, rows);
  cr_assert_eq(heap.live_bytes, 0);
}
