/* The sampler: its processed scores against transformers' logits processors (tests/conformance/sampler), its
 * draws against the softmax of those scores (chi-square), and what it promises about seeds and bad logits. */
#include "base/json.h"
#include "text/sampler.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef TERN_SOURCE_DIR
#  define TERN_SOURCE_DIR "."
#endif

static tern__alloc heap;

static tern__sampler *create(tern__sampler_options options, int32_t vocab_size) {
  tern__sampler *s;
  tern__alloc_init(&heap, NULL, 0);
  cr_assert(tern__sampler_create(&heap, &options, vocab_size, &s) == TERN_OK, "%s", tern_last_error());
  return s;
}

static void destroy(tern__sampler *s) {
  tern__sampler_destroy(s);
  cr_expect(atomic_load(&heap.live_bytes) == 0, "memory leaked");
}

static size_t read_floats(const tern__json *array, float *out) {
  size_t n = 0;
  for (const tern__json *v = tern__json_first(array); v; v = tern__json_next(v))
    out[n++] = tern__json_is_null(v) ? -INFINITY : (float)tern__json_number(v, NAN);
  return n;
}

static float option(const tern__json *c, const char *name, float fallback) {
  return (float)tern__json_number(tern__json_get(c, name), fallback);
}

static void check_case(const tern__json *c) {
  float logits[512], want[512];
  const char *name = tern__json_string(tern__json_get(c, "name"), "?");
  size_t n = read_floats(tern__json_get(c, "logits"), logits);
  cr_assert(read_floats(tern__json_get(c, "scores"), want) == n && n > 0 && n <= 512);
  tern__sampler *s = create((tern__sampler_options){.temperature = option(c, "temperature", 1),
                                                    .top_k = (int32_t)option(c, "top_k", 0),
                                                    .top_p = option(c, "top_p", 0),
                                                    .min_p = option(c, "min_p", 0),
                                                    .repetition_penalty = option(c, "penalty", 0),
                                                    .seed = 1},
                            (int32_t)n);
  for (const tern__json *v = tern__json_first(tern__json_get(c, "seen")); v; v = tern__json_next(v))
    cr_assert(tern__sampler_accept(s, (int32_t)tern__json_int(v, -1)) == TERN_OK);
  int32_t id = -1;
  cr_assert(tern__sampler_pick(s, logits, &id) == TERN_OK, "%s: %s", name, tern_last_error());
  for (size_t i = 0; i < n; i++)
    cr_expect(logits[i] == want[i], "%s: score %zu is %.9g, transformers has %.9g", name, i,
              (double)logits[i], (double)want[i]);
  cr_expect(id >= 0 && (size_t)id < n && want[id] > -INFINITY, "%s: token %d was filtered out", name, id);
  destroy(s);
}

Test(sampler, scores_equal_transformers) {
  tern__json *root;
  tern_status status = tern__json_open(TERN_SOURCE_DIR "/tests/conformance/sampler/vectors.json", &root);
  cr_assert(status == TERN_OK, "%s", tern_last_error());
  const tern__json *cases = tern__json_get(root, "cases");
  cr_assert(tern__json_count(cases) >= 40);
  for (const tern__json *c = tern__json_first(cases); c; c = tern__json_next(c)) check_case(c);
  tern__json_close(root);
}

/* 0.999 quantile of chi-square by Wilson and Hilferty's approximation (3.0902: that of the normal
 * distribution). */
static double chi_square_limit(int degrees) {
  double k = degrees, t = 1 - 2 / (9 * k) + 3.0902 * sqrt(2 / (9 * k));
  return k * t * t * t;
}

/* Chi-square of draws with `options` over its limit, against the softmax of the scores, whose temperature is
 * taken to be off by the factor `wrong` (1: the test itself; else: how far off the test notices). */
static double chi_square_ratio(const char *name, tern__sampler_options options, const float *logits,
                               int32_t n, double wrong) {
  enum { DRAWS = 40000 };
  int count[256] = {0};
  float scores[256];
  tern__sampler *s = create(options, n);
  for (int d = 0; d < DRAWS; d++) {
    int32_t id;
    memcpy(scores, logits, (size_t)n * sizeof *scores);
    cr_assert(tern__sampler_pick(s, scores, &id) == TERN_OK);
    count[id]++;
  }
  destroy(s);
  /* Scores are held to transformers' above; here the draws are held to their softmax. Rare tokens share a
   * bin. */
  double sum = 0, chi = 0, rare = 0, rare_count = 0;
  int bins = 0;
  for (int32_t i = 0; i < n; i++) sum += exp(wrong * (double)scores[i]);
  for (int32_t i = 0; i < n; i++) {
    double expected = DRAWS * exp(wrong * (double)scores[i]) / sum;
    cr_expect(expected > 0 || count[i] == 0, "%s: token %d has probability 0 and was drawn", name, i);
    if (expected < 20) {
      rare += expected, rare_count += count[i];
      continue;
    }
    chi += (count[i] - expected) * (count[i] - expected) / expected;
    bins++;
  }
  if (rare > 5) chi += (rare_count - rare) * (rare_count - rare) / rare, bins++;
  cr_assert(bins > 1, "%s: nothing to test", name);
  return chi / chi_square_limit(bins - 1);
}

static void check_distribution(const char *name, tern__sampler_options options, const float *logits,
                               int32_t n) {
  double ratio = chi_square_ratio(name, options, logits, n, 1);
  cr_expect(ratio < 1, "%s: chi-square is %.2f times its limit", name, ratio);
}

Test(sampler, draws_follow_the_softmax) {
  float logits[200];
  for (int i = 0; i < 200; i++) logits[i] = (float)((i * 7919) % 200) * 0.05f - 3;
  check_distribution("plain", (tern__sampler_options){.temperature = 1, .seed = 101}, logits, 200);
  check_distribution("two tokens", (tern__sampler_options){.temperature = 1, .seed = 102}, logits, 2);
  check_distribution("temperature", (tern__sampler_options){.temperature = 0.6f, .seed = 103}, logits, 200);
  check_distribution("top-k", (tern__sampler_options){.temperature = 1, .top_k = 10, .seed = 104}, logits,
                     200);
  check_distribution("top-p", (tern__sampler_options){.temperature = 1.5f, .top_p = 0.8f, .seed = 105},
                     logits, 200);
  check_distribution("min-p", (tern__sampler_options){.temperature = 1, .min_p = 0.2f, .seed = 106}, logits,
                     200);
  check_distribution(
      "all",
      (tern__sampler_options){.temperature = 2, .top_k = 100, .top_p = 0.9f, .min_p = 0.05f, .seed = 107},
      logits, 200);
}

Test(sampler, the_chi_square_test_can_fail) {
  float logits[50];
  for (int i = 0; i < 50; i++) logits[i] = (float)i * 0.05f;
  cr_expect(chi_square_ratio("off", (tern__sampler_options){.temperature = 1, .seed = 9}, logits, 50, 1.05) >
                1,
            "a temperature that is off by 5 % goes unnoticed");
}

Test(sampler, equal_seeds_give_equal_tokens) {
  float base[64], scores[64];
  for (int i = 0; i < 64; i++) base[i] = (float)((i * 37) % 64) * 0.1f;
  int32_t first[100], id;
  int same[3] = {0, 0, 0};
  for (uint64_t round = 0; round < 3; round++) {
    tern__sampler *s = create((tern__sampler_options){.temperature = 1, .seed = round == 2 ? 43 : 42}, 64);
    for (int i = 0; i < 100; i++) {
      memcpy(scores, base, sizeof scores);
      cr_assert(tern__sampler_pick(s, scores, &id) == TERN_OK);
      if (!round) first[i] = id;
      same[round] += first[i] == id;
    }
    destroy(s);
  }
  cr_expect(same[1] == 100, "the same seed differs");
  cr_expect(same[2] < 30, "another seed gives the same tokens");
  /* The ids that a second implementation draws (tests/conformance/sampler/draws.py): the same on every
   * platform. */
  static const int32_t pinned[8] = {50, 29, 62, 50, 31, 43, 3, 57};
  for (int i = 0; i < 8; i++)
    cr_expect(first[i] == pinned[i], "id %d of seed 42 is %d, was %d", i, first[i], pinned[i]);
}

Test(sampler, greedy_takes_the_first_best_and_penalty_counts_once) {
  float logits[5] = {1, 4, 4, -2, 3.5f};
  int32_t id;
  tern__sampler *s = create((tern__sampler_options){.repetition_penalty = 2}, 5);
  cr_assert(tern__sampler_pick(s, logits, &id) == TERN_OK && id == 1);
  for (int i = 0; i < 3; i++)
    cr_assert(tern__sampler_accept(s, 1) == TERN_OK && tern__sampler_accept(s, 3) == TERN_OK);
  cr_assert(tern__sampler_pick(s, logits, &id) == TERN_OK && id == 2);
  cr_expect(logits[1] == 2 && logits[3] == -4);
  destroy(s);
  float cold[3] = {1, 2, 1e30f}, warm[3] = {0, 5, 0};
  s = create((tern__sampler_options){.temperature = 1e-30f, .seed = 1}, 3);
  cr_expect(tern__sampler_pick(s, cold, &id) == TERN_OK && id == 2, "scaled logits that overflow are greedy");
  cr_expect(tern__sampler_pick(s, warm, &id) == TERN_OK && id == 1);
  destroy(s);
}

/* Every length and place around the lanes that the search works in. */
Test(sampler, greedy_looks_at_every_logit) {
  for (int32_t n = 1; n <= 70; n++) {
    tern__sampler *s = create((tern__sampler_options){.temperature = 0}, n);
    for (int32_t at = 0; at < n; at++) {
      float logits[70];
      int32_t id = -1;
      for (int32_t i = 0; i < n; i++) logits[i] = i > at ? 2.0f : -1.0f - (float)i;
      logits[at] = 2;
      cr_expect(tern__sampler_pick(s, logits, &id) == TERN_OK && id == at, "%d of %d: token %d", at, n, id);
      logits[at] = NAN;
      cr_expect(tern__sampler_pick(s, logits, &id) == TERN_STATUS_INTERNAL, "NaN at %d of %d", at, n);
      logits[at] = INFINITY;
      cr_expect(tern__sampler_pick(s, logits, &id) == TERN_STATUS_INTERNAL, "infinity at %d of %d", at, n);
    }
    destroy(s);
  }
}

Test(sampler, bad_logits_are_errors) {
  static const float bad[][3] = {
      {0, NAN, 1}, {NAN, NAN, NAN}, {INFINITY, 0, 0}, {-INFINITY, -INFINITY, -INFINITY}};
  for (size_t i = 0; i < 4; i++)
    for (int greedy = 0; greedy < 2; greedy++) {
      float logits[3];
      int32_t id = 77;
      memcpy(logits, bad[i], sizeof logits);
      tern__sampler *s = create((tern__sampler_options){.temperature = greedy ? 0 : 1, .seed = 1}, 3);
      cr_expect(tern__sampler_pick(s, logits, &id) == TERN_STATUS_INTERNAL && id == 77,
                "logits %zu gave token %d", i, id);
      destroy(s);
    }
}

Test(sampler, bad_options_are_named) {
  static const struct {
    tern__sampler_options options;
    int32_t vocab_size;
    const char *name;
  } bad[] = {{{.temperature = NAN}, 8, "temperature"},
             {{.temperature = INFINITY}, 8, "temperature"},
             {{.top_p = NAN}, 8, "top_p"},
             {{.min_p = 1.5f}, 8, "min_p"},
             {{.min_p = NAN}, 8, "min_p"},
             {{.repetition_penalty = -1}, 8, "repetition_penalty"},
             {{.repetition_penalty = NAN}, 8, "repetition_penalty"},
             {{.temperature = 1}, 0, "vocab_size"},
             {{.temperature = 1}, -5, "vocab_size"}};
  tern__alloc_init(&heap, NULL, 0);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    tern__sampler *s;
    cr_expect(tern__sampler_create(&heap, &bad[i].options, bad[i].vocab_size, &s) ==
                  TERN_STATUS_INVALID_ARGUMENT &&
              !s);
    cr_expect(strstr(tern_last_error(), bad[i].name), "%zu: %s", i, tern_last_error());
  }
  tern__sampler *s = create((tern__sampler_options){.temperature = 1, .top_k = 4}, 8);
  cr_expect(tern__sampler_accept(s, 8) == TERN_STATUS_INVALID_ARGUMENT &&
            tern__sampler_accept(s, -1) == TERN_STATUS_INVALID_ARGUMENT);
  destroy(s);
  for (uint64_t budget = 1; budget < 4000; budget += 13) {
    tern__alloc_init(&heap, NULL, budget);
    tern_status status = tern__sampler_create(&heap, &(tern__sampler_options){.temperature = 1, .top_k = 4},
                                              64, &s);
    cr_expect(status == TERN_OK ? s != NULL : status == TERN_STATUS_OUT_OF_MEMORY && !s);
    tern__sampler_destroy(s);
    cr_expect(atomic_load(&heap.live_bytes) == 0);
  }
}

/* ---- from the largest logits alone ---- */

enum { MANY = 1500 };

static const float *compared;
static int by_logit(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  if (compared[x] != compared[y]) return compared[x] > compared[y] ? -1 : 1;
  return x < y ? -1 : 1;
}

/* Logits on a coarse grid, so that many are equal; every seventh is out. */
static void make_logits(float *logits, uint64_t *state, float step) {
  for (int i = 0; i < MANY; i++) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    logits[i] = (float)(int32_t)(*state >> 40 & 1023) * step - 4;
    if (i % 7 == 3) logits[i] = -INFINITY;
  }
}

/* Both samplers see the same logits; one of them the largest first. Returns how often those decided. */
static int pick_both(tern__sampler_options options, float step, int rounds) {
  tern__sampler *all = create(options, MANY), *few;
  cr_assert_eq(tern__sampler_create(&heap, &options, MANY, &few), TERN_OK);
  int32_t wants = tern__sampler_wants(few), order[MANY], ids[256];
  uint64_t state = options.seed;
  int decided = 0;
  cr_assert(wants >= 0 && wants <= 256);
  for (int r = 0; r < rounds; r++) {
    float logits[MANY], top[256];
    int32_t want = -1, got = -1;
    bool enough = false;
    make_logits(logits, &state, step);
    for (int i = 0; i < MANY; i++) order[i] = i;
    compared = logits;
    qsort(order, MANY, sizeof *order, by_logit);
    for (int i = 0; i < wants; i++) ids[i] = order[i], top[i] = logits[order[i]];
    if (wants) cr_assert_eq(tern__sampler_pick_top(few, top, ids, wants, &got, &enough), TERN_OK, "%s", tern_last_error());
    decided += enough;
    if (!enough) {
      float copy[MANY];
      memcpy(copy, logits, sizeof copy);
      cr_assert_eq(tern__sampler_pick(few, copy, &got), TERN_OK);
    }
    cr_assert_eq(tern__sampler_pick(all, logits, &want), TERN_OK);
    cr_assert_eq(got, want, "round %d: %d, from all logits %d", r, got, want);
    cr_assert(tern__sampler_accept(all, want) == TERN_OK && tern__sampler_accept(few, want) == TERN_OK);
  }
  tern__sampler_destroy(all);
  destroy(few);
  return decided;
}

Test(sampler, largest_logits_give_the_same_tokens) {
  enum { ROUNDS = 40 };
  const float fine = 0.00731f, coarse = 0.5f; /* coarse: the k-th largest has many equals */
  const tern__sampler_options often[] = {
      {.temperature = 0},
      {.temperature = 0, .repetition_penalty = 1.3f},
      {.temperature = 0.8f, .top_k = 40, .seed = 1},
      {.temperature = 1.7f, .top_k = 50, .top_p = 0.9f, .seed = 2},
      {.temperature = 0.7f, .top_k = 20, .top_p = 0.95f, .min_p = 0.05f, .repetition_penalty = 1.1f, .seed = 3},
      {.temperature = 1, .top_k = 1, .seed = 4},
      {.temperature = 0.3f, .min_p = 0.5f, .seed = 5},
      {.temperature = 1e-38f, .top_k = 3, .seed = 6},
  };
  for (size_t i = 0; i < sizeof often / sizeof *often; i++) {
    int decided = pick_both(often[i], fine, ROUNDS);
    cr_expect(decided >= ROUNDS * 3 / 4, "options %zu: the largest decided %d of %d times", i, decided, ROUNDS);
    (void)pick_both(often[i], coarse, ROUNDS);
  }
  /* What needs all of them says so. */
  const tern__sampler_options never[] = {{.temperature = 1, .seed = 1},
                                         {.temperature = 1, .top_p = 0.9f, .seed = 1},
                                         {.temperature = 1, .top_p = 0.9f, .min_p = 0.1f, .seed = 1},
                                         {.temperature = 0, .repetition_penalty = 0.9f},
                                         {.temperature = 1, .top_k = 400, .seed = 1}};
  for (size_t i = 0; i < sizeof never / sizeof *never; i++) cr_expect_eq(pick_both(never[i], fine, 3), 0);
}

Test(sampler, largest_logits_that_are_no_numbers) {
  tern__sampler *s = create((tern__sampler_options){.temperature = 1, .top_k = 2, .seed = 1}, 100);
  float logits[32] = {NAN, 3, 2};
  int32_t ids[32] = {70, 5, 9}, n = tern__sampler_wants(s), id;
  bool enough;
  for (int i = 3; i < n; i++) logits[i] = -(float)i, ids[i] = 10 + i;
  cr_expect_eq(tern__sampler_pick_top(s, logits, ids, n, &id, &enough), TERN_STATUS_INTERNAL);
  cr_expect(strstr(tern_last_error(), "70"), "%s", tern_last_error());
  logits[0] = INFINITY;
  cr_expect_eq(tern__sampler_pick_top(s, logits, ids, n, &id, &enough), TERN_STATUS_INTERNAL);
  for (int i = 0; i < n; i++) logits[i] = -INFINITY;
  cr_expect_eq(tern__sampler_pick_top(s, logits, ids, n, &id, &enough), TERN_STATUS_INTERNAL);
  logits[0] = 1, ids[0] = 100; /* no such token */
  cr_expect(tern__sampler_pick_top(s, logits, ids, n, &id, &enough) == TERN_OK && !enough);
  destroy(s);
}
