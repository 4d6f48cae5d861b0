/* The order of texts in batches, against the definition: a permutation, by length, stable. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "pipeline/length_order.h"

static void check(const int32_t *lengths, int32_t n) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  int32_t *order = malloc(((size_t)n + 1) * sizeof *order);
  char *seen = calloc((size_t)n + 1, 1);
  cr_assert_eq(tern__length_order(&alloc, lengths, n, order), TERN_OK, "%s", tern_last_error());
  for (int32_t i = 0; i < n; i++) {
    cr_assert(order[i] >= 0 && order[i] < n && !seen[order[i]]++, "entry %d of %d is %d", i, n, order[i]);
    if (!i) continue;
    int32_t before = lengths[order[i - 1]], here = lengths[order[i]];
    cr_assert(before < here || (before == here && order[i - 1] < order[i]), "entries %d and %d of %d are out of order",
              i - 1, i, n);
  }
  free(order), free(seen);
}

Test(length_order, twenty_thousand_short_texts) {
  enum { N = 20000 };
  int32_t *lengths = malloc(N * sizeof *lengths);
  uint32_t random = 1;
  for (int32_t i = 0; i < N; i++) {
    random = random * 1664525u + 1013904223u;
    lengths[i] = 1 + (int32_t)(random >> 27);
  }
  check(lengths, N);
  free(lengths);
}

/* Longest first is the worst that insertion can meet: 2e12 moves, which no test's time limit allows. */
Test(length_order, two_million_texts_in_falling_order) {
  enum { N = 2000000 };
  int32_t *lengths = malloc(N * sizeof *lengths);
  for (int32_t i = 0; i < N; i++) lengths[i] = N - i;
  check(lengths, N);
  free(lengths);
}

Test(length_order, every_small_count) {
  int32_t lengths[70];
  for (int32_t i = 0; i < 70; i++) lengths[i] = i * 37 % 11;
  for (int32_t n = 0; n <= 70; n++) check(lengths, n);
}

Test(length_order, no_memory_is_an_error) {
  tern__alloc alloc;
  int32_t lengths[1000] = {0}, order[1000];
  tern__alloc_init(&alloc, NULL, 100);
  cr_assert_eq(tern__length_order(&alloc, lengths, 1000, order), TERN_STATUS_OUT_OF_MEMORY);
}
