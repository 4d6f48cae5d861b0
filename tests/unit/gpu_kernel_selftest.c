/* The GPU op tests as one program without Criterion, to be carried to a machine with a real GPU: cc -O2 -Itests -Isdk
 * -Isdk/include -Ibackends -Ibackends/kernels/generated gpu_kernel_selftest.c libtern.a ...; TERN_TEST_DEVICE= ./a.out
 * [NAME...] runs the tests whose name holds a NAME, or all. Exit code 1 if any test fails. */
#ifndef TERN_NO_CRITERION
#  define TERN_NO_CRITERION
#endif
#include "ops/test_gpu_ops.c"

static bool wanted(const char *name, int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (strstr(name, argv[i])) return true;
  return argc < 2;
}

int main(int argc, char **argv) {
  for (mini_test *test = mini_tests; test; test = test->next) {
    int before = mini_failures;
    if (!wanted(test->name, argc, argv)) continue;
    seed = 1; /* as in a process of its own: which tests run does not change their numbers */
    test->run();
    printf("%s %s\n", mini_failures == before ? "ok  " : "FAIL", test->name);
    fflush(stdout);
  }
  close_machine(); /* before the driver's own end */
  printf("%d failed checks\n", mini_failures);
  return mini_failures != 0;
}
