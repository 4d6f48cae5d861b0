/* The few Criterion macros that the CPU tests use, in plain C: for machines and emulators without the
 * library. */
#ifndef TERN_TESTS_MINI_CRITERION_H
#define TERN_TESTS_MINI_CRITERION_H

#include <stdio.h>
#include <stdlib.h>

typedef struct mini_test { const char *name; void (*run)(void); struct mini_test *next; } mini_test;
static mini_test *mini_tests;
static int mini_failures;

#define Test(suite, name)                                                                                  \
  static void suite##_##name##_run(void);                                                                  \
  __attribute__((constructor)) static void suite##_##name##_add(void) {                                    \
    static mini_test test = {#suite "::" #name, suite##_##name##_run, NULL};                               \
    test.next = mini_tests, mini_tests = &test;                                                            \
  }                                                                                                        \
  static void suite##_##name##_run(void)

#define MINI_CHECK(fatal, condition, ...)                                                                  \
  do {                                                                                                     \
    if (!(condition)) {                                                                                    \
      mini_failures++;                                                                                     \
      printf("%s:%d: %s ", __FILE__, __LINE__, #condition);                                                \
      printf("" __VA_ARGS__);                                                                              \
      printf("\n");                                                                                        \
      if (fatal) exit(1);                                                                                  \
    }                                                                                                      \
  } while (0)
#define cr_assert(condition, ...) MINI_CHECK(1, condition, __VA_ARGS__)
#define cr_expect(condition, ...) MINI_CHECK(0, condition, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) MINI_CHECK(1, (a) == (b), __VA_ARGS__)
#define cr_expect_eq(a, b, ...) MINI_CHECK(0, (a) == (b), __VA_ARGS__)
#define cr_assert_not_null(a, ...) MINI_CHECK(1, (a) != NULL, __VA_ARGS__)
#define cr_expect_not_null(a, ...) MINI_CHECK(0, (a) != NULL, __VA_ARGS__)
#define cr_skip_test(...) return

#endif
