/* Makes the mistake that TERN_PROBE names, so that the sanitizers have something to find: shows that their silence about the
 * tests means something, and that a finding in a test's process fails the test.
 *   race        two threads write one variable
 *   over-read   a byte behind a block of the library's allocator
 *   overflow    of a signed integer
 *   leak        a block that nobody frees */
#include <criterion/criterion.h>
#include <pthread.h>

#include "base/memory.h"

static volatile int shared, most = INT32_MAX;
static const char *volatile asked;

static void *count(void *unused) {
  for (int i = 0; i < 1000; i++) shared = shared + 1;
  return unused;
}

static void race(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) cr_assert_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static void over_read(void) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  volatile const char *block = tern__calloc(&alloc, 24, 1);
  cr_assert_not_null(block);
  shared = block[24];
  tern__free(&alloc, (void *)(uintptr_t)block);
}

static void leak(void) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  volatile char *block = tern__calloc(&alloc, 24, 1);
  cr_assert_not_null(block);
}

Test(probe, makes_its_mistake) {
  asked = getenv("TERN_PROBE");
  cr_assert_not_null(asked);
  if (!strcmp(asked, "race")) race();
  else if (!strcmp(asked, "over-read")) over_read();
  else if (!strcmp(asked, "overflow")) shared = most + 1;
  else if (!strcmp(asked, "leak")) leak();
  else cr_assert_fail("no probe '%s'", asked);
}
