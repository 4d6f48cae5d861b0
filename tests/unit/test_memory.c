/* sdk/base: the counting allocator and its budget, arenas, arrays, the string map, 16-bit floats. */
#include "base/array.h"
#include "base/half.h"
#include "base/map.h"
#include "base/memory.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t live(tern__alloc *alloc) { return atomic_load(&alloc->live_bytes); }

/* ---- allocator */

Test(memory, counts_live_and_peak_bytes) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  char *a = tern__malloc(&alloc, 1000), *b = tern__calloc(&alloc, 10, 100);
  cr_assert(a && b && (uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0);
  uint64_t both = live(&alloc);
  cr_expect(both >= 2000);
  for (int i = 0; i < 1000; i++) cr_assert(b[i] == 0);
  tern__free(&alloc, a);
  cr_expect(live(&alloc) < both && atomic_load(&alloc.peak_bytes) == both);
  tern__free(&alloc, b);
  tern__free(&alloc, NULL);
  cr_expect(live(&alloc) == 0 && atomic_load(&alloc.peak_bytes) == both);
}

Test(memory, realloc_keeps_the_bytes) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 4096);
  char *p = tern__realloc(&alloc, NULL, 8);
  memcpy(p, "1234567", 8);
  p = tern__realloc(&alloc, p, 1000);
  cr_assert(p && !strcmp(p, "1234567"));
  cr_expect(tern__realloc(&alloc, p, 100000) == NULL && !strcmp(p, "1234567"),
            "a refused realloc must leave the block");
  p = tern__realloc(&alloc, p, 4);
  cr_expect(!memcmp(p, "1234", 4));
  tern__free(&alloc, p);
  cr_expect(live(&alloc) == 0);
}

Test(memory, keeps_to_its_budget) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 10000);
  void *p = tern__alloc_aligned(&alloc, 10000, 64);
  cr_assert(p && (uintptr_t)p % 64 == 0);
  cr_expect(tern__alloc_aligned(&alloc, 1, 16) == NULL, "one byte over the budget");
  tern__free_aligned(&alloc, p, 10000, 64);
  cr_expect(tern__alloc_aligned(&alloc, 10001, 16) == NULL && live(&alloc) == 0);
  cr_expect(atomic_load(&alloc.peak_bytes) == 10000, "a refused request is no peak");
}

/* ---- memory on large pages: the system's, not the C library's heap */

static const size_t odd_sizes[] = {0, 1, 64, 4095, 4096, 4097,
                                   (2 << 20) - 1, 2 << 20, (2 << 20) + 1, (5 << 20) + 12345};
enum { ODD_SIZES = sizeof odd_sizes / sizeof *odd_sizes };

Test(memory, large_pages_of_odd_sizes) {
  tern__alloc alloc;
  uint8_t *blocks[ODD_SIZES];
  uint64_t all = 0;
  tern__alloc_init(&alloc, NULL, 0);
  for (int i = 0; i < ODD_SIZES; i++) {
    blocks[i] = tern__alloc_aligned(&alloc, odd_sizes[i], TERN__LARGE_ALIGN);
    cr_assert_not_null(blocks[i], "%zu bytes", odd_sizes[i]);
    cr_expect_eq((uintptr_t)blocks[i] % TERN__LARGE_ALIGN, 0, "%zu bytes", odd_sizes[i]);
    memset(blocks[i], i + 1, odd_sizes[i]);
    all += odd_sizes[i];
    cr_expect_eq(live(&alloc), all, "%zu bytes", odd_sizes[i]);
  }
  for (int i = ODD_SIZES - 1; i >= 0; i--) {
    for (size_t k = 0; k < odd_sizes[i]; k++) cr_assert_eq(blocks[i][k], i + 1, "block %d was overwritten", i);
    tern__free_aligned(&alloc, blocks[i], odd_sizes[i], TERN__LARGE_ALIGN);
    all -= odd_sizes[i];
    cr_expect_eq(live(&alloc), all);
  }
  tern__free_aligned(&alloc, NULL, 5, TERN__LARGE_ALIGN);
  cr_expect_eq(live(&alloc), 0);
  cr_expect_null(tern__alloc_aligned(&alloc, SIZE_MAX, TERN__LARGE_ALIGN));
  cr_expect_null(tern__alloc_aligned(&alloc, SIZE_MAX - 2 * TERN__LARGE_ALIGN, TERN__LARGE_ALIGN));
  if (sizeof(size_t) > 4) /* 32 bits may have as many addresses */
    cr_expect_null(tern__alloc_aligned(&alloc, SIZE_MAX / 2, TERN__LARGE_ALIGN), "more than there are addresses");
  cr_expect_eq(live(&alloc), 0);
}

#if defined(__linux__)
/* Pages that are mapped, from the system. */
static long mapped_pages(void) {
  long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f && fscanf(f, "%ld", &pages) != 1) pages = 0;
  if (f) fclose(f);
  return pages;
}

Test(memory, large_pages_go_back_to_the_system) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  long before = mapped_pages();
  if (!before) cr_skip_test("there is no /proc/self/statm");
  for (int i = 0; i < 1000; i++) {
    size_t size = odd_sizes[i % ODD_SIZES];
    void *p = tern__alloc_aligned(&alloc, size, TERN__LARGE_ALIGN);
    cr_assert_not_null(p);
    tern__free_aligned(&alloc, p, size, TERN__LARGE_ALIGN);
  }
  /* Kept, these would be 1100 MiB, and the alignment's rest as much again; an emulator's own memory moves by some MiB. */
  long more = mapped_pages() - before;
  cr_expect_lt(more, 20000, "%ld pages more than before", more);
}
#endif

Test(memory, large_pages_keep_to_the_budget) {
  enum { BUDGET = (3 << 20) + 7 };
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, BUDGET);
  void *p = tern__alloc_aligned(&alloc, BUDGET, TERN__LARGE_ALIGN); /* whole pages are not counted: what was asked is */
  cr_assert_not_null(p);
  cr_expect_null(tern__alloc_aligned(&alloc, 1, TERN__LARGE_ALIGN), "one byte over the budget");
  cr_expect_eq(tern__alloc_explain(&alloc, TERN_STATUS_OUT_OF_MEMORY), TERN_STATUS_OUT_OF_BUDGET);
  cr_expect_eq(live(&alloc), BUDGET);
  tern__free_aligned(&alloc, p, BUDGET, TERN__LARGE_ALIGN);
  cr_expect_eq(live(&alloc), 0);
  cr_expect_null(tern__alloc_aligned(&alloc, BUDGET + 1, TERN__LARGE_ALIGN));
  cr_expect(live(&alloc) == 0 && atomic_load(&alloc.peak_bytes) == BUDGET);
}

Test(memory, refuses_sizes_that_overflow) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  tern__arena arena;
  tern__arena_init(&arena, &alloc);
  cr_expect(!tern__malloc(&alloc, SIZE_MAX) && !tern__malloc(&alloc, SIZE_MAX - 15));
  cr_expect(!tern__calloc(&alloc, SIZE_MAX / 2, 3) &&
            !tern__calloc(&alloc, (size_t)1 << 33, (size_t)1 << 33));
  cr_expect(!tern__arena_alloc(&arena, SIZE_MAX) && !tern__arena_calloc(&arena, SIZE_MAX / 8, 16));
  cr_expect(live(&alloc) == 0);
  size_t n;
  cr_expect(!tern__mul_size(SIZE_MAX, 2, &n) && !tern__add_size(SIZE_MAX, 1, &n) &&
            tern__mul_size(6, 7, &n) && n == 42);
  tern__arena_deinit(&arena);
}

static int calls;
static void *own_alloc(void *user_data, size_t size, size_t align) {
  cr_expect(user_data == &calls && size > 0 && align >= 16 && (align & (align - 1)) == 0);
  calls++;
  return aligned_alloc(align, (size + align - 1) / align * align);
}
static void own_free(void *user_data, void *ptr, size_t size, size_t align) {
  (void)align;
  cr_expect(user_data == &calls && ptr && size > 0);
  calls--;
  free(ptr);
}

Test(memory, calls_the_users_allocator) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, &(tern_allocator){own_alloc, own_free, &calls}, 0);
  void *a = tern__malloc(&alloc, 0), *b = tern__malloc(&alloc, 0);
  cr_assert(a && b && a != b, "size 0 gives pointers of its own");
  cr_expect(calls == 2);
  tern__free(&alloc, a), tern__free(&alloc, b);
  cr_expect(calls == 0);
}

/* ---- arenas */

Test(arena, gives_zeroed_aligned_memory_that_does_not_overlap) {
  tern__alloc alloc;
  tern__arena arena;
  tern__alloc_init(&alloc, NULL, 0);
  tern__arena_init(&arena, &alloc);
  enum { N = 3000 };
  static unsigned char *blocks[N];
  static size_t sizes[N];
  for (int i = 0; i < N; i++) {
    sizes[i] = i % 500 == 499 ? 300000 : (size_t)(i * 37) % 400;
    blocks[i] = tern__arena_alloc(&arena, sizes[i]);
    cr_assert(blocks[i] && (uintptr_t)blocks[i] % 16 == 0);
    for (size_t k = 0; k < sizes[i]; k++) cr_assert(blocks[i][k] == 0, "block %d is not zeroed", i);
    memset(blocks[i], i & 0xff, sizes[i]);
  }
  for (int i = 0; i < N; i++)
    for (size_t k = 0; k < sizes[i]; k++)
      cr_assert(blocks[i][k] == (i & 0xff), "block %d was overwritten", i);
  char *text = tern__arena_printf(&arena, "%s-%d", "layer", 17),
       *copy = tern__arena_strndup(&arena, "abcdef", 3);
  cr_expect_str_eq(text, "layer-17");
  cr_expect_str_eq(copy, "abc");
  cr_expect_str_eq(tern__arena_strdup(&arena, ""), "");
  tern__arena_deinit(&arena);
  cr_expect(live(&alloc) == 0);
}

Test(arena, gives_null_without_memory) {
  tern__alloc alloc;
  tern__arena arena;
  tern__alloc_init(&alloc, NULL, 9000);
  tern__arena_init(&arena, &alloc);
  char *first = tern__arena_strdup(&arena, "kept");
  cr_expect(first && !tern__arena_alloc(&arena, 20000) && tern__arena_alloc(&arena, 16) &&
            !strcmp(first, "kept"));
  tern__arena_deinit(&arena);
  cr_expect(live(&alloc) == 0);
}

/* ---- arrays */

static tern_status push_numbers(tern__alloc *alloc, int **array, int from, int to) {
  tern_status status = TERN_OK;
  for (int i = from; i < to; i++) TERN_ARRAY_PUSH(alloc, *array, i);
cleanup:
  return status;
}

static tern_status append_numbers(tern__alloc *alloc, int **array, const int *from, size_t n) {
  tern_status status = TERN_OK;
  TERN_ARRAY_APPEND(alloc, *array, from, n);
cleanup:
  return status;
}

Test(array, grows_and_keeps_its_elements) {
  tern__alloc alloc;
  int *a = NULL;
  tern__alloc_init(&alloc, NULL, 0);
  cr_expect(tern__array_count(a) == 0);
  cr_assert(push_numbers(&alloc, &a, 0, 100000) == TERN_OK && tern__array_count(a) == 100000);
  for (int i = 0; i < 100000; i++) cr_assert(a[i] == i);
  cr_expect(tern__array_pop(a) == 99999 && tern__array_count(a) == 99999);
  tern__array_truncate(a, 10);
  cr_assert(append_numbers(&alloc, &a, (int[]){7, 8}, 2) == TERN_OK && tern__array_count(a) == 12 &&
            a[10] == 7 && a[11] == 8);
  cr_assert(append_numbers(&alloc, &a, NULL, 5) == TERN_OK && tern__array_count(a) == 17 && a[11] == 8);
  tern__array_clear(a);
  cr_expect(tern__array_count(a) == 0);
  TERN_ARRAY_FREE(&alloc, a);
  cr_expect(a == NULL && live(&alloc) == 0);
}

Test(array, growth_can_fail_with_a_status) {
  tern__alloc alloc;
  int *a = NULL;
  tern__alloc_init(&alloc, NULL, 4000);
  cr_expect(push_numbers(&alloc, &a, 0, 100000) == TERN_STATUS_OUT_OF_MEMORY);
  size_t n = tern__array_count(a);
  cr_assert(n > 10 && n < 1000);
  for (size_t i = 0; i < n; i++) cr_assert(a[i] == (int)i, "a refused growth must leave the array");
  cr_expect(tern__array_grow(&alloc, a, sizeof *a, SIZE_MAX) == NULL &&
            tern__array_grow(&alloc, a, sizeof *a, SIZE_MAX / 5) == NULL);
  cr_expect(tern__array_count(a) == n);
  TERN_ARRAY_FREE(&alloc, a);
  cr_expect(live(&alloc) == 0);
}

/* ---- map */

Test(map, finds_what_was_put) {
  enum { N = 50000 };
  static char keys[N][16];
  tern__alloc alloc;
  tern__map map = {0};
  int64_t v = -1;
  tern__alloc_init(&alloc, NULL, 0);
  cr_expect(!tern__map_get(&map, "x", 1, &v) && v == -1, "an empty map");
  for (int i = 0; i < N; i++) {
    snprintf(keys[i], sizeof keys[i], "key.%d", i);
    cr_assert(tern__map_put(&alloc, &map, keys[i], strlen(keys[i]), i));
  }
  for (int i = 0; i < N; i++) cr_assert(tern__map_get(&map, keys[i], strlen(keys[i]), &v) && v == i);
  cr_expect(map.count == N && !tern__map_get(&map, "key.", 4, NULL) &&
            !tern__map_get(&map, "key.99999999", 12, NULL));
  cr_assert(tern__map_put(&alloc, &map, "key.5", 5, -5) && map.count == N, "put replaces");
  cr_expect(tern__map_get(&map, "key.5", 5, &v) && v == -5);
  tern__map_deinit(&alloc, &map);
  cr_expect(live(&alloc) == 0 && map.count == 0);
}

Test(map, keys_are_bytes) {
  tern__alloc alloc;
  tern__map map = {0};
  int64_t v;
  tern__alloc_init(&alloc, NULL, 0);
  cr_assert(tern__map_put(&alloc, &map, "a\0b", 3, 1) && tern__map_put(&alloc, &map, "a\0c", 3, 2));
  cr_assert(tern__map_put(&alloc, &map, "a", 1, 3) && tern__map_put(&alloc, &map, "", 0, 4));
  cr_expect(tern__map_get(&map, "a\0b", 3, &v) && v == 1);
  cr_expect(tern__map_get(&map, "a\0c", 3, &v) && v == 2);
  cr_expect(tern__map_get(&map, "a", 1, &v) && v == 3);
  cr_expect(tern__map_get(&map, "", 0, &v) && v == 4);
  cr_expect(!tern__map_get(&map, "a\0", 2, &v));
  tern__map_deinit(&alloc, &map);
}

Test(map, survives_a_refused_growth) {
  static char keys[4000][16];
  tern__alloc alloc;
  tern__map map = {0};
  tern__alloc_init(&alloc, NULL, 5000);
  int n = 0;
  for (; n < 4000; n++) {
    snprintf(keys[n], sizeof keys[n], "%d", n);
    if (!tern__map_put(&alloc, &map, keys[n], strlen(keys[n]), n)) break;
  }
  cr_assert(n > 8 && n < 4000, "the budget was never felt");
  for (int i = 0; i < n; i++) {
    int64_t v;
    cr_assert(tern__map_get(&map, keys[i], strlen(keys[i]), &v) && v == i);
  }
  cr_expect(!tern__map_reserve(&alloc, &map, SIZE_MAX / 2));
  tern__map_deinit(&alloc, &map);
  cr_expect(live(&alloc) == 0);
}

/* ---- 16-bit floats */

Test(half, every_f16_survives_the_round_trip) {
  for (uint32_t h = 0; h < 0x10000; h++) {
    float f = tern__f16_to_f32((uint16_t)h);
    uint16_t back = tern__f32_to_f16(f);
    if ((h & 0x7fff) > 0x7c00)
      cr_assert(isnan(f) && (back & 0x7fff) > 0x7c00, "NaN %04x became %04x", h, back);
    else cr_assert(back == h, "%04x became %g became %04x", h, (double)f, back);
  }
  cr_expect(tern__f16_to_f32(0x3c00) == 1 && tern__f16_to_f32(0xc000) == -2 &&
            tern__f16_to_f32(0x7bff) == 65504);
  cr_expect(tern__f16_to_f32(1) == 0x1p-24f && tern__f16_to_f32(0x400) == 0x1p-14f &&
            tern__f16_to_f32(0x7c00) == INFINITY);
}

/* `h` is the 16-bit float nearest to f, ties to even; `next` the 16-bit values around it, as doubles. */
static void check_nearest(float f, uint16_t h, float (*widen)(uint16_t), uint16_t infinity, double limit,
                          const char *name) {
  if (isnan(f)) {
    cr_assert((h & 0x7fff) > infinity, "%s: NaN became %04x", name, h);
    return;
  }
  cr_assert((h >> 15) == (tern__f32_bits(f) >> 31), "%s: %a lost its sign", name, (double)f);
  double x = fabs((double)f);
  uint16_t m = h & 0x7fff;
  if (x >= limit) { /* half a step above the largest: infinity */
    cr_assert(m == infinity, "%s: %a became %04x", name, (double)f, h);
    return;
  }
  cr_assert(m < infinity, "%s: %a became %04x", name, (double)f, h);
  double at = fabs((double)widen(m)), up = m + 1 < infinity ? fabs((double)widen((uint16_t)(m + 1)))
                                                            : 2 * at - fabs((double)widen((uint16_t)(m - 1)));
  double down = m ? fabs((double)widen((uint16_t)(m - 1))) : -1, error = fabs(x - at);
  cr_assert(error < up - x || (error == up - x && m % 2 == 0), "%s: %a became %04x, not the value above",
            name, (double)f, h);
  cr_assert(error < x - down || (error == x - down && m % 2 == 0), "%s: %a became %04x, not the value below",
            name, (double)f, h);
}

static float widen_f16(uint16_t h) { return tern__f16_to_f32(h); }
static float widen_bf16(uint16_t h) { return tern__bf16_to_f32(h); }

static void check_both(uint32_t bits) {
  float f = tern__bits_f32(bits);
  check_nearest(f, tern__f32_to_f16(f), widen_f16, 0x7c00, 65520, "f16");
  check_nearest(f, tern__f32_to_bf16(f), widen_bf16, 0x7f80, 0x1.ffp127, "bf16");
}

Test(half, narrowing_rounds_to_nearest_even) {
  /* Floats all over the range, then each value between two neighbours and its neighbours. */
  for (uint64_t bits = 0; bits < 0x100000000u; bits += 4099) check_both((uint32_t)bits);
  for (uint32_t h = 0; h < 0x7c00; h++) {
    float middle = (float)(((double)tern__f16_to_f32((uint16_t)h) +
                            (h + 1 < 0x7c00 ? (double)tern__f16_to_f32((uint16_t)(h + 1)) : 65536)) /
                           2);
    for (int32_t d = -1; d <= 1; d++)
      check_both(tern__f32_bits(middle) + (uint32_t)d),
          check_both((tern__f32_bits(middle) + (uint32_t)d) | 0x80000000u);
  }
  for (uint32_t h = 0; h < 0x8000; h++)
    for (uint32_t low = 0x7fff; low <= 0x8001; low++) check_both(h << 16 | low);
}

Test(half, every_bf16_survives_the_round_trip) {
  for (uint32_t h = 0; h < 0x10000; h++) {
    float f = tern__bf16_to_f32((uint16_t)h);
    uint16_t back = tern__f32_to_bf16(f);
    cr_assert(isnan(f) ? (back & 0x7fff) > 0x7f80 : back == h, "%04x became %04x", h, back);
  }
}
