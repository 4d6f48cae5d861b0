/* Speculative decoding by prompt lookup: the search, how long drafts get, and that a run with it gives what a run without it
 * gives, wherever a draft meets the end of the run. tests/models/test_prompt_lookup_models.py does it on a real model. */
#include "base/memory.h"
#include "pipeline/prompt_lookup.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <tern/tern.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define ok(call)                                                                                    \
  do {                                                                                              \
    tern_status status_ = (call);                                                                   \
    cr_assert(status_ == TERN_OK, "%s: %s: %s", #call, tern_status_name(status_), tern_last_error()); \
  } while (0)

/* ---- the search ---- */

static void expect_draft(int32_t ngram, const int32_t *tokens, size_t n, const int32_t *want, int32_t n_want) {
  int32_t draft[8] = {0};
  cr_expect_eq(tern__prompt_lookup_find(tokens, n, ngram, draft, 4), n_want);
  for (int32_t i = 0; i < n_want; i++) cr_expect_eq(draft[i], want[i], "[%d] is %d, not %d", i, draft[i], want[i]);
  cr_expect_eq(draft[4], 0, "one too many");
}
#define EXPECT_DRAFT(ngram, tokens, want) expect_draft(ngram, tokens, COUNT(tokens), want, COUNT(want))
#define T(...) ((const int32_t[]){__VA_ARGS__})

Test(prompt_lookup, finds_what_followed) {
  EXPECT_DRAFT(2, T(1, 2, 3, 4, 5, 6, 9, 1, 2), T(3, 4, 5, 6));
  EXPECT_DRAFT(2, T(1, 2, 3, 1, 2, 7, 8, 9, 6, 1, 2), T(7, 8, 9, 6)); /* the latest of two */
  EXPECT_DRAFT(2, T(1, 2, 3, 4, 5, 6, 2, 9, 9, 8, 1, 2), T(3, 4, 5, 6)); /* two tokens before one, though it is later */
  EXPECT_DRAFT(1, T(1, 2, 3, 4, 5, 6, 2, 9, 9, 8, 1, 2), T(9, 9, 8, 1));
  EXPECT_DRAFT(2, T(7, 2, 3, 4, 5, 6, 1, 2), T(3, 4, 5, 6)); /* only the last one stands earlier */
  EXPECT_DRAFT(3, T(0, 1, 2, 5, 3, 1, 2, 6, 0, 1, 2), T(5, 3, 1, 2));
  EXPECT_DRAFT(3, T(2, 8, 9, 4, 5, 2), T(8, 9, 4, 5)); /* at the very beginning, where no more than it can stand */
}

Test(prompt_lookup, goes_on_repeating_itself) {
  EXPECT_DRAFT(2, T(5, 1, 2, 1, 2), T(1, 2, 1, 2));
  EXPECT_DRAFT(2, T(3, 9, 9), T(9, 9, 9, 9));
  EXPECT_DRAFT(2, T(4, 4), T(4, 4, 4, 4));
}

Test(prompt_lookup, finds_nothing_new) {
  int32_t draft[4];
  cr_expect_eq(tern__prompt_lookup_find(T(1, 2, 3), 3, 2, draft, 4), 0);
  cr_expect_eq(tern__prompt_lookup_find(T(1), 1, 2, draft, 4), 0);
  cr_expect_eq(tern__prompt_lookup_find(NULL, 0, 2, draft, 4), 0);
  cr_expect_eq(tern__prompt_lookup_find(T(4, 4), 2, 2, draft, 0), 0);
}

/* ---- how long ---- */

Test(prompt_lookup, lengths_are_few) {
  tern__prompt_lookup l = {.num_tokens = 10};
  const int32_t want[] = {0, 1, 1, 3, 3, 3, 3, 7, 7, 7, 10, 10};
  for (int32_t most = 0; most < (int32_t)COUNT(want); most++)
    cr_expect_eq(tern__prompt_lookup_fit(&l, most), want[most], "%d", most);
  l.num_tokens = 1;
  cr_expect(tern__prompt_lookup_fit(&l, 0) == 0 && tern__prompt_lookup_fit(&l, 9) == 1);
}

static int32_t next(tern__prompt_lookup *l, int32_t room, int32_t right) {
  static const int32_t same[] = {6, 6, 6};
  tern__prompt_lookup_propose(l, same, 3, room);
  int32_t n_run = l->n_run;
  cr_expect(n_run == 0 || l->n == n_run);
  tern__prompt_lookup_settle(l, right);
  return n_run;
}

Test(prompt_lookup, drafts_grow_while_they_are_right) {
  tern__prompt_lookup l = {.num_tokens = 10, .ngram_size = 2};
  cr_expect_eq(next(&l, 99, 0), 0); /* watched, and wrong */
  cr_expect_eq(next(&l, 99, 1), 0); /* watched, and right */
  cr_expect_eq(next(&l, 99, 1), 1);
  cr_expect_eq(next(&l, 99, 3), 3);
  cr_expect_eq(next(&l, 99, 7), 7);
  cr_expect_eq(next(&l, 99, 10), 10);
  cr_expect_eq(next(&l, 99, 5), 10); /* wrong in the middle: as long as it was right */
  cr_expect_eq(next(&l, 2, 1), 1);   /* no more room */
  cr_expect_eq(next(&l, 0, 0), 0);   /* no room teaches nothing */
  cr_expect_eq(next(&l, 99, 0), 3);
  cr_expect_eq(next(&l, 99, 0), 0);
  cr_expect(l.n_drafted == 1 + 3 + 7 + 10 + 10 + 1 + 3 && l.n_accepted == 1 + 3 + 7 + 10 + 5 + 1, "%d of %d",
            l.n_accepted, l.n_drafted);
}

/* ---- runs ---- */

static const char *const models[] = {"tiny_llama", "tiny_qwen2", "tiny_qwen3", "tiny_gemma3"};
static const char repeats[] = "ABCDEFG.HIJK.ABCDEFG.HI";

static tern_runtime *new_runtime(void) {
  tern_runtime *runtime;
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  desc.n_threads = 2;
  ok(tern_runtime_create(&desc, &runtime));
  return runtime;
}

static tern_pipeline *open_tiny(tern_runtime *runtime, const char *model, int32_t context) {
  char path[4096];
  tern_pipeline *p;
  tern_pipeline_desc d = TERN_PIPELINE_DESC_INIT;
  snprintf(path, sizeof path, TERN_SOURCE_DIR "/tests/models/tiny/%s.gguf", model);
  d.task = "text-generation", d.path = path, d.session.context_length = context;
  ok(tern_pipeline_open(runtime, &d, &p));
  return p;
}

static tern_run_desc desc_of(const char *const *text, int32_t max_new_tokens) {
  tern_run_desc d = TERN_RUN_DESC_INIT;
  d.texts = text, d.n_texts = 1, d.max_new_tokens = max_new_tokens, d.ignore_eos = 1;
  return d;
}

/* What a callback saw, and what it does: stop or cancel at a piece. */
typedef struct pieces {
  char text[4096];
  size_t size;
  int32_t ids[256], n, stop_at;
  tern_cancel *cancel;
} pieces;

static int32_t collect(void *user_data, const char *text, size_t size, int32_t id) {
  pieces *c = user_data;
  cr_assert(c->size + size < sizeof c->text && c->n < (int32_t)COUNT(c->ids));
  memcpy(c->text + c->size, text, size), c->size += size;
  c->ids[c->n++] = id;
  if (c->n != c->stop_at) return 0;
  if (c->cancel) tern_cancel_set(c->cancel);
  return !c->cancel;
}

/* Runs `d` without and with a draft of `num` tokens; everything must be equal. Returns how many were accepted. */
static int32_t expect_same(tern_pipeline *p, const tern_run_desc *d, int32_t num, int32_t stop_at, const char *what) {
  static pieces seen[2];
  tern_result *r[2];
  tern_timings t = {.struct_size = sizeof t};
  size_t n[2];
  const int32_t *ids[2];
  memset(seen, 0, sizeof seen);
  for (int i = 0; i < 2; i++) {
    tern_run_desc run = *d;
    seen[i].stop_at = stop_at;
    run.prompt_lookup_num_tokens = i ? num : 0, run.on_text = (tern_on_text){collect, &seen[i]};
    ok(tern_pipeline_run(p, &run, &r[i]));
    ok(tern_result_timings(r[i], &t));
    ids[i] = tern_result_tokens(r[i], 0, &n[i]);
    cr_expect(i || t.n_drafted_tokens == 0);
  }
  cr_assert_eq(n[0], n[1], "%s, drafts of %d: %zu tokens, %zu without", what, num, n[1], n[0]);
  for (size_t k = 0; k < n[0]; k++) cr_assert_eq(ids[0][k], ids[1][k], "%s, drafts of %d: token %zu", what, num, k);
  cr_assert_str_eq(tern_result_text(r[0], 0, NULL), tern_result_text(r[1], 0, NULL), "%s", what);
  cr_assert_str_eq(tern_result_finish_reason(r[0], 0), tern_result_finish_reason(r[1], 0), "%s", what);
  cr_assert(seen[0].n == seen[1].n && seen[0].size == seen[1].size, "%s", what);
  cr_assert_arr_eq(seen[0].text, seen[1].text, seen[0].size, "%s", what);
  cr_assert_arr_eq(seen[0].ids, seen[1].ids, (size_t)seen[0].n * sizeof *seen[0].ids, "%s", what);
  cr_assert(t.n_accepted_tokens <= t.n_drafted_tokens && t.n_accepted_tokens <= (int32_t)n[1] + 1, "%s", what);
  tern_result_destroy(r[0]), tern_result_destroy(r[1]);
  return t.n_accepted_tokens;
}

Test(prompt_lookup, greedy_tokens_are_those_of_plain_decoding) {
  const char *text[] = {repeats};
  tern_runtime *runtime = new_runtime();
  int32_t accepted = 0;
  for (size_t m = 0; m < COUNT(models); m++) {
    tern_pipeline *p = open_tiny(runtime, models[m], 0);
    tern_run_desc d = desc_of(text, 90);
    for (int32_t num = 1; num <= 64; num = 3 * num + 1) accepted += expect_same(p, &d, num, 0, models[m]);
    tern_pipeline_close(p);
  }
  cr_expect_gt(accepted, 100);
  tern_runtime_destroy(runtime);
}

/* A prompt as long as a draft and its token: the plan of the one is not the other's. */
Test(prompt_lookup, short_prompts) {
  char letters[20];
  const char *text[] = {letters};
  tern_runtime *runtime = new_runtime();
  for (size_t m = 0; m < COUNT(models); m++) {
    tern_pipeline *p = open_tiny(runtime, models[m], 0);
    int32_t accepted = 0;
    for (int n = 1; n < 14; n++) { /* each begins otherwise: nothing of the last one's cache is used */
      snprintf(letters, sizeof letters, "%c%.*s", 'A' + n, n, "BCBCBCBCBCBCBC");
      tern_run_desc d = desc_of(text, 80);
      accepted += expect_same(p, &d, 10, 0, letters);
    }
    cr_expect_gt(accepted, 0, "%s", models[m]);
    tern_pipeline_close(p);
  }
  tern_runtime_destroy(runtime);
}

Test(prompt_lookup, sampled_tokens_are_those_of_plain_decoding) {
  const char *text[] = {repeats};
  tern_runtime *runtime = new_runtime();
  for (size_t m = 0; m < COUNT(models); m++) {
    int32_t accepted = 0;
    tern_pipeline *p = open_tiny(runtime, models[m], 0);
    for (uint64_t seed = 1; seed <= 8; seed++) {
      tern_run_desc d = desc_of(text, 60);
      d.seed = seed, d.temperature = seed % 2 ? 0.5f : 0.9f;
      d.top_k = seed % 4 ? 8 : 0, d.top_p = seed > 4 ? 0.95f : 0, d.repetition_penalty = seed % 3 ? 0 : 1.05f;
      d.ignore_eos = seed % 5 != 0;
      accepted += expect_same(p, &d, 1 + (int32_t)seed, 0, models[m]);
    }
    cr_expect_gt(accepted, 0, "%s", models[m]);
    tern_pipeline_close(p);
  }
  tern_runtime_destroy(runtime);
}

Test(prompt_lookup, ends_where_plain_decoding_ends) {
  const char *text[] = {repeats};
  tern_runtime *runtime = new_runtime();
  tern_pipeline *p = open_tiny(runtime, "tiny_llama", 0);
  int32_t accepted = 0;
  for (int32_t limit = 1; limit <= 40; limit++) {
    tern_run_desc d = desc_of(text, limit);
    accepted += expect_same(p, &d, 10, 0, "max_new_tokens");
    d.max_new_tokens = 60;
    (void)expect_same(p, &d, 10, limit, "a callback that stops");
  }
  cr_expect_gt(accepted, 0);
  /* Stop texts that end within a draft: each text that begins somewhere in what is generated. */
  tern_result *r;
  tern_run_desc d = desc_of(text, 60);
  ok(tern_pipeline_run(p, &d, &r));
  for (size_t at = 0; at + 3 < strlen(tern_result_text(r, 0, NULL)); at++) {
    char stop[4] = {0};
    memcpy(stop, tern_result_text(r, 0, NULL) + at, 3);
    const char *stops[] = {stop, "never there"};
    d.stop = stops, d.n_stop = 2;
    (void)expect_same(p, &d, 10, 0, "stop");
  }
  tern_result_destroy(r);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

/* The end token stands in the prompt: lookups give it, too. (That drafts do: tests/models/test_prompt_lookup_models.py) */
Test(prompt_lookup, an_end_token_ends_it) {
  const char *text[] = {"AB</s>AB</s>AB</s>AB</s>A"};
  tern_runtime *runtime = new_runtime();
  tern_pipeline *p = open_tiny(runtime, "tiny_gemma3", 0);
  int32_t ended = 0;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    tern_result *r;
    tern_run_desc d = desc_of(text, 40);
    d.temperature = 1.5f, d.seed = seed, d.ignore_eos = 0;
    (void)expect_same(p, &d, 10, 0, "an end token");
    ok(tern_pipeline_run(p, &d, &r));
    ended += !strcmp(tern_result_finish_reason(r, 0), "stop");
    tern_result_destroy(r);
  }
  cr_expect_gt(ended, 5);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(prompt_lookup, a_full_window_ends_or_shifts_as_without) {
  const char *text[] = {repeats};
  tern_runtime *runtime = new_runtime();
  for (size_t m = 0; m < COUNT(models); m += 3)
    for (int32_t context = 26; context <= 40; context++) {
      tern_pipeline *p = open_tiny(runtime, models[m], context);
      tern_run_desc d = desc_of(text, 60);
      (void)expect_same(p, &d, 10, 0, "context_full");
      d.context_policy = TERN_CONTEXT_SHIFT;
      cr_expect_gt(expect_same(p, &d, 10, 0, "shift"), 0);
      tern_pipeline_close(p);
    }
  tern_runtime_destroy(runtime);
}

Test(prompt_lookup, a_cancelled_run_stops_within_a_draft_and_leaves_the_cache_right) {
  const char *text[] = {repeats};
  static pieces seen;
  tern_runtime *runtime = new_runtime();
  tern_pipeline *p = open_tiny(runtime, "tiny_llama", 0);
  for (int32_t at = 1; at < 40; at++) {
    tern_cancel *cancel;
    tern_result *r;
    tern_run_desc d = desc_of(text, 60);
    ok(tern_cancel_create(&cancel));
    memset(&seen, 0, sizeof seen);
    seen.stop_at = at, seen.cancel = cancel;
    d.cancel = cancel, d.on_text = (tern_on_text){collect, &seen}, d.prompt_lookup_num_tokens = 16;
    cr_assert_eq(tern_pipeline_run(p, &d, &r), TERN_STATUS_CANCELLED);
    cr_assert_eq(seen.n, at, "pieces after the cancellation");
    tern_cancel_destroy(cancel);
    d = desc_of(text, 60);
    (void)expect_same(p, &d, 16, 0, "after a cancelled run");
  }
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

/* Of a rejected draft nothing is left: what follows a run is as from an empty cache. */
Test(prompt_lookup, the_cache_holds_what_was_accepted) {
  char longer[256];
  const char *text[] = {repeats}, *more[] = {longer};
  tern_runtime *runtime = new_runtime();
  for (size_t m = 0; m < COUNT(models); m++) {
    tern_pipeline *p = open_tiny(runtime, models[m], 0);
    tern_pipeline *fresh = open_tiny(runtime, models[m], 0);
    tern_result *a, *b;
    tern_timings t = {.struct_size = sizeof t};
    size_t na, nb;
    tern_run_desc d = desc_of(text, 21);
    d.prompt_lookup_num_tokens = 10;
    ok(tern_pipeline_run(p, &d, &a));
    snprintf(longer, sizeof longer, "%s%.12s!?", repeats, tern_result_text(a, 0, NULL));
    tern_result_destroy(a);
    d = desc_of(more, 30);
    ok(tern_pipeline_run(p, &d, &a));
    ok(tern_pipeline_run(fresh, &d, &b));
    ok(tern_result_timings(a, &t));
    cr_expect_gt(t.n_reused_tokens, (int32_t)strlen(repeats));
    const int32_t *ta = tern_result_tokens(a, 0, &na), *tb = tern_result_tokens(b, 0, &nb);
    cr_assert_eq(na, nb);
    cr_assert_arr_eq(ta, tb, na * sizeof *ta, "%s", models[m]);
    tern_result_destroy(a), tern_result_destroy(b);
    tern_pipeline_close(p), tern_pipeline_close(fresh);
  }
  tern_runtime_destroy(runtime);
}

static void expect_error(tern_pipeline *p, const tern_run_desc *d, tern_status status, const char *const *words) {
  tern_result *r;
  cr_assert_eq(tern_pipeline_run(p, d, &r), status, "%s", tern_last_error());
  for (; *words; words++) cr_expect(strstr(tern_last_error(), *words), "'%s' is not in: %s", *words, tern_last_error());
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

Test(prompt_lookup, wrong_values_are_refused) {
  const char *text[] = {"ABC", "ABD"};
  tern_runtime *runtime = new_runtime();
  tern_pipeline *p = open_tiny(runtime, "tiny_llama", 0);
  const int32_t bad[] = {-1, 65, INT32_MAX};
  for (size_t i = 0; i < COUNT(bad); i++) {
    tern_run_desc d = desc_of(text, 4);
    d.prompt_lookup_num_tokens = bad[i];
    expect_error(p, &d, TERN_STATUS_INVALID_ARGUMENT, WORDS("prompt_lookup_num_tokens", "64", "off"));
    d.prompt_lookup_num_tokens = 4, d.max_matching_ngram_size = bad[i];
    expect_error(p, &d, TERN_STATUS_INVALID_ARGUMENT, WORDS("max_matching_ngram_size", "64"));
  }
  tern_run_desc d = desc_of(text, 4);
  d.max_matching_ngram_size = 3;
  expect_error(p, &d, TERN_STATUS_INVALID_ARGUMENT, WORDS("max_matching_ngram_size", "prompt_lookup_num_tokens"));
  d = desc_of(text, 4);
  d.n_texts = 2, d.prompt_lookup_num_tokens = 4;
  expect_error(p, &d, TERN_STATUS_UNSUPPORTED, WORDS("prompt_lookup_num_tokens", "one prompt"));
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(prompt_lookup, a_budget_is_kept_or_refused_before_anything_runs) {
  const char *text[] = {"ABC"};
  static pieces seen;
  tern_runtime *runtime = new_runtime();
  tern_pipeline *p;
  tern_result *r;
  tern_run_desc d = desc_of(text, 8);
  tern_pipeline_desc open = TERN_PIPELINE_DESC_INIT;
  bool refused = false;
  /* A prompt of three tokens needs less than drafts of 64: the smallest budget that is enough for it. */
  open.task = "text-generation", open.path = TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf";
  open.session.context_length = 128;
  for (uint64_t budget = 64 << 10; budget < 8 << 20 && !refused; budget += 16 << 10) {
    open.session.budget_bytes = budget;
    if (tern_pipeline_open(runtime, &open, &p) != TERN_OK) continue;
    d.prompt_lookup_num_tokens = 0;
    tern_status plain = tern_pipeline_run(p, &d, &r);
    tern_result_destroy(r);
    if (plain == TERN_OK) {
      refused = true;
      memset(&seen, 0, sizeof seen);
      d.prompt_lookup_num_tokens = 64, d.on_text = (tern_on_text){collect, &seen};
      expect_error(p, &d, TERN_STATUS_OUT_OF_BUDGET, WORDS("prompt_lookup_num_tokens 64", "budget"));
      cr_expect_eq(seen.n, 0);
    }
    tern_pipeline_close(p);
  }
  cr_expect(refused);
  tern_runtime_destroy(runtime);
}
