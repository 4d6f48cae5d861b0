/* The CPU tests as one program without Criterion, to be built statically and carried to other CPUs or run
 * under qemu: cc -O2 -static -DTERN_NO_CRITERION ... cpu_kernel_selftest.c; ./cpu_kernel_selftest Prints the
 * largest error of every op per instruction set; exit code 1 if any test fails. */
#define TERN_NO_CRITERION
#define ON_ERROR(op, isa, error) record(op, isa, error)
static void record(const char *op, unsigned isa, double error);
#include "ops/test_cpu_ops.c"

typedef struct line { const char *op; unsigned isa; double error; } line;
static line lines[512];
static int n_lines;

static void record(const char *op, unsigned isa, double error) {
  int i = 0;
  while (i < n_lines && (strcmp(lines[i].op, op) || lines[i].isa != isa)) i++;
  if (i == n_lines) lines[n_lines++] = (line){op, isa, 0};
  if (error > lines[i].error) lines[i].error = error;
}

int main(void) {
  printf("instruction sets found: mask %u\n", (unsigned)tern__cpu_features());
  for (mini_test *test = mini_tests; test; test = test->next) {
    int before = mini_failures;
    test->run();
    printf("%s %s\n", mini_failures == before ? "ok  " : "FAIL", test->name);
    fflush(stdout);
  }
  for (int i = 0; i < n_lines; i++)
    printf("%-34s set %-3u largest error %.2e\n", lines[i].op, lines[i].isa, lines[i].error);
  printf("%d failed checks\n", mini_failures);
  return mini_failures != 0;
}
