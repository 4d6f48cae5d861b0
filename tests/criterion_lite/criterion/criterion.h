/* Criterion's interface for cross builds and sanitizers, as far as these tests use it. Criterion starts tests by executing
 * its own program anew, which an emulator of one process cannot follow; here a test is a fork. Each program has one source
 * file that includes this header, and gets its main from it, unless it defines TERN_CRITERION_NO_MAIN. */
#ifndef TERN_TESTS_CRITERION_LITE_H
#define TERN_TESTS_CRITERION_LITE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if !defined(__wasm__)
#  include <sys/wait.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#  include <sanitizer/lsan_interface.h> /* gcc's; clang says it by __has_feature */
#endif

typedef struct lite_options { void (*init)(void), (*fini)(void); double timeout; const char *description; } lite_options;
typedef struct lite_suite { const char *name; lite_options options; struct lite_suite *next; } lite_suite;
typedef struct lite_test {
  const char *suite, *name;
  void (*run)(void);
  lite_options options;
  struct lite_test *next;
} lite_test;

enum { LITE_FAILED = 1, LITE_SKIPPED = 77 };
static lite_suite *lite_suites __attribute__((unused));
static lite_test *lite_tests __attribute__((unused)), **lite_last __attribute__((unused)) = &lite_tests;
static int lite_failures; /* of the test that runs in this process */

#define TestSuite(suite, ...)                                                          \
  __attribute__((constructor)) static void lite_suite_##suite(void) {                  \
    static lite_suite self = {#suite, {__VA_ARGS__}, NULL};                            \
    self.next = lite_suites, lite_suites = &self;                                      \
  }                                                                                    \
  struct lite_semicolon_##suite

#define Test(suite, name, ...)                                                         \
  static void suite##_##name##_test(void);                                             \
  __attribute__((constructor)) static void lite_add_##suite##_##name(void) {           \
    static lite_test self = {#suite, #name, suite##_##name##_test, {__VA_ARGS__}, NULL}; \
    *lite_last = &self, lite_last = &self.next;                                        \
  }                                                                                    \
  static void suite##_##name##_test(void)

/* Leaves the test, running the fixtures' ends would hide what failed. */
static inline void lite_fail(bool fatal, const char *file, int line, const char *what) {
  printf("[----] %s:%d: Assertion failed: %s", file, line, what);
  lite_failures++;
  if (fatal) printf("\n"), fflush(stdout), _exit(LITE_FAILED);
}

#define LITE_CHECK(fatal, condition, text, ...)                                        \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      printf(" " __VA_ARGS__), printf("\n");                                           \
      lite_fail(fatal, __FILE__, __LINE__, text);                                      \
      printf("\n");                                                                    \
    }                                                                                  \
  } while (0)
#define LITE_STR(a, op, b) (strcmp((a), (b)) op 0)
#define LITE_FLOAT(a, b, eps) (fabs((double)(a) - (double)(b)) <= (double)(eps))

#define cr_assert(c, ...) LITE_CHECK(1, c, #c, __VA_ARGS__)
#define cr_expect(c, ...) LITE_CHECK(0, c, #c, __VA_ARGS__)
#define cr_assert_not(c, ...) LITE_CHECK(1, !(c), "not " #c, __VA_ARGS__)
#define cr_expect_not(c, ...) LITE_CHECK(0, !(c), "not " #c, __VA_ARGS__)
#define cr_assert_null(p, ...) LITE_CHECK(1, (p) == NULL, #p " is NULL", __VA_ARGS__)
#define cr_expect_null(p, ...) LITE_CHECK(0, (p) == NULL, #p " is NULL", __VA_ARGS__)
#define cr_assert_not_null(p, ...) LITE_CHECK(1, (p) != NULL, #p " is not NULL", __VA_ARGS__)
#define cr_expect_not_null(p, ...) LITE_CHECK(0, (p) != NULL, #p " is not NULL", __VA_ARGS__)
#define cr_assert_eq(a, b, ...) LITE_CHECK(1, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) LITE_CHECK(0, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) LITE_CHECK(1, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) LITE_CHECK(0, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) LITE_CHECK(1, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) LITE_CHECK(0, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) LITE_CHECK(1, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...) LITE_CHECK(0, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) LITE_CHECK(1, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) LITE_CHECK(0, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) LITE_CHECK(1, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) LITE_CHECK(0, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) LITE_CHECK(1, LITE_STR(a, ==, b), #a " is the text " #b, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) LITE_CHECK(0, LITE_STR(a, ==, b), #a " is the text " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) LITE_CHECK(1, LITE_STR(a, !=, b), #a " is not the text " #b, __VA_ARGS__)
#define cr_expect_str_neq(a, b, ...) LITE_CHECK(0, LITE_STR(a, !=, b), #a " is not the text " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) LITE_CHECK(1, !memcmp((a), (b), (size)), #a " holds " #b, __VA_ARGS__)
#define cr_expect_arr_eq(a, b, size, ...) LITE_CHECK(0, !memcmp((a), (b), (size)), #a " holds " #b, __VA_ARGS__)
#define cr_assert_float_eq(a, b, eps, ...) LITE_CHECK(1, LITE_FLOAT(a, b, eps), #a " is near " #b, __VA_ARGS__)
#define cr_expect_float_eq(a, b, eps, ...) LITE_CHECK(0, LITE_FLOAT(a, b, eps), #a " is near " #b, __VA_ARGS__)
#define cr_assert_fail(...) LITE_CHECK(1, false, "reached", __VA_ARGS__)
#define cr_expect_fail(...) LITE_CHECK(0, false, "reached", __VA_ARGS__)
#define cr_log_info(...) (printf(__VA_ARGS__), (void)printf("\n"))
#define cr_log_warn(...) cr_log_info(__VA_ARGS__)
#define cr_log_error(...) cr_log_info(__VA_ARGS__)
#define cr_skip_test(...) (printf(" " __VA_ARGS__), printf("\n"), fflush(stdout), _exit(LITE_SKIPPED))

#if !defined(TERN_CRITERION_NO_MAIN)
static void lite_run(const lite_test *test) {
  const lite_suite *suite = lite_suites;
  while (suite && strcmp(suite->name, test->suite)) suite = suite->next;
  if (suite && suite->options.init) suite->options.init();
  if (test->options.init) test->options.init();
  test->run();
  if (test->options.fini) test->options.fini();
  if (suite && suite->options.fini) suite->options.fini();
  fflush(stdout);
#if defined(__SANITIZE_ADDRESS__)
  if (!lite_failures) __lsan_do_leak_check(); /* _exit would not; it does nothing where ASAN_OPTIONS has detect_leaks=0 */
#endif
  _exit(lite_failures ? LITE_FAILED : 0);
}

static const lite_test *lite_find(const char *filter) {
  for (const lite_test *test = lite_tests; test; test = test->next) {
    size_t length = strlen(test->suite);
    if (!strncmp(filter, test->suite, length) && filter[length] == '/' && !strcmp(filter + length + 1, test->name)) return test;
  }
  return NULL;
}

#if defined(__wasm__)
__attribute__((export_name("criterion_lite"))) int lite_version(void) { return 1; }

/* No processes here: whoever runs the module lists its tests and gives each an instance of its own
 * (tests/web/run_wasm.mjs). */
int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "--filter")) {
    const lite_test *test = lite_find(argv[2]);
    if (!test) return printf("no test %s\n", argv[2]), 1;
    lite_run(test);
  }
  for (const lite_test *test = lite_tests; test; test = test->next) printf("%s/%s\n", test->suite, test->name);
  return 0;
}
#else
/* --filter suite/name runs one test, in this process; other arguments of Criterion are taken and have no effect. */
int main(int argc, char **argv) {
  int tested = 0, skipped = 0, failed = 0, crashed = 0;
  const lite_test *one = argc == 3 && !strcmp(argv[1], "--filter") ? lite_find(argv[2]) : NULL;
  if (one) lite_run(one);
  for (const lite_test *test = lite_tests; test; test = test->next) {
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) return perror("fork"), 1;
    if (child == 0) lite_run(test);
    int status = 0;
    waitpid(child, &status, 0);
    tested++;
    if (WIFEXITED(status) && WEXITSTATUS(status) == LITE_SKIPPED) skipped++;
    else if (WIFSIGNALED(status)) printf("[----] %s::%s: signal %d\n", test->suite, test->name, WTERMSIG(status)), crashed++;
    else if (status) printf("[FAIL] %s::%s\n", test->suite, test->name), failed++;
  }
  printf("[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d | Skipped: %d\n", tested,
         tested - skipped - failed - crashed, failed, crashed, skipped);
  return tested == 0 || failed || crashed;
}
#endif
#endif /* TERN_CRITERION_NO_MAIN */

#endif
