/* Which kernels a CPU gets: the best set that it has, or the one asked for. What it has is told by the Linux kernel's
 * /proc/cpuinfo, or by TERN_TEST_EXPECT_CPU where an emulator shows the host's. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tern/tern.h>

#include "cpu/cpu_features.h"
#include "cpu/cpu_program.h"
#include "runtime/thread_pool.h"

extern const tern__backend_api tern__backend_cpu;

typedef struct set { uint32_t feature; const char *name, *flags; } set;

/* Best first. The flags that /proc/cpuinfo must list, all of them. */
static const set sets[] = {
#if defined(__x86_64__)
    {TERN__CPU_AVX512, "AVX-512 VNNI", "avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_bf16 avx2 fma f16c"},
    {TERN__CPU_AVX2, "AVX2 FMA F16C", "avx2 fma f16c"},
#elif defined(__aarch64__)
    {TERN__CPU_NEON_I8MM, "NEON dotprod i8mm", "i8mm asimddp asimdhp"},
    {TERN__CPU_NEON_DOTPROD, "NEON dotprod", "asimddp asimdhp"},
    {TERN__CPU_NEON, "NEON", "asimd"},
#endif
    {TERN__CPU_SCALAR, "plain C", ""},
};
enum { N_SETS = sizeof sets / sizeof *sets };
#if defined(__aarch64__)
#  define FLAGS_LINE "Features"
#else
#  define FLAGS_LINE "flags"
#endif

/* The line of flags, with a space on either side; NULL if there is none. */
static char *cpuinfo_flags(void) {
  static char line[16384];
  FILE *f = fopen("/proc/cpuinfo", "r");
  bool found = false;
  while (f && !found && fgets(line, sizeof line, f)) {
    char *end = strchr(line, '\n'), *colon = strchr(line, ':');
    found = colon && !strncmp(line, FLAGS_LINE, strlen(FLAGS_LINE));
    if (found && end) *end = ' ';
  }
  if (f) fclose(f);
  return found ? line : NULL;
}

static bool has_all(const char *line, const char *flags) {
  char wanted[64];
  for (int used; sscanf(flags, " %60s%n", wanted + 1, &used) == 1; flags += used) {
    wanted[0] = ' ';
    strcat(wanted, " ");
    if (!strstr(line, wanted)) return false;
  }
  return true;
}

static const char *expected(void) {
  const char *text = getenv("TERN_TEST_EXPECT_CPU");
  if (text) return text;
  const char *line = cpuinfo_flags();
  if (!line) return NULL;
  for (int i = 0; i < N_SETS; i++)
    if (has_all(line, sets[i].flags)) return sets[i].name;
  return NULL;
}

Test(cpu_dispatch, runtime_takes_the_best_set) {
  const char *want = expected();
  if (!want) cr_skip_test("neither /proc/cpuinfo nor TERN_TEST_EXPECT_CPU tells what this CPU has");
  tern_runtime *runtime;
  tern_device_info info = {.struct_size = sizeof info};
  cr_assert_eq(tern_runtime_create(NULL, &runtime), TERN_OK, "%s", tern_last_error());
  int found = 0;
  for (int32_t i = 0; i < tern_runtime_device_count(runtime); i++) {
    cr_assert_eq(tern_runtime_device(runtime, i, &info), TERN_OK);
    if (strcmp(info.name, "cpu")) continue;
    cr_expect_str_eq(info.description, want);
    found++;
  }
  cr_expect_eq(found, 1);
  tern_runtime_destroy(runtime);
}

static tern_status open_with(uint32_t mask, char name[64]) {
  tern__alloc alloc;
  tern__backend_env env = {.alloc = &alloc};
  tern__backend *backend = NULL;
  tern__alloc_init(&alloc, NULL, 0);
  cr_assert_eq(tern__pool_create(&alloc, 1, &env.pool), TERN_OK);
  tern_status status = tern__cpu_open_with(&env, mask, &backend);
  if (backend) snprintf(name, 64, "%s", tern__backend_cpu.describe(backend));
  if (backend) tern__backend_cpu.close(backend);
  tern__pool_destroy(env.pool);
  cr_expect_eq(alloc.live_bytes, 0);
  return status;
}

Test(cpu_dispatch, a_set_can_be_asked_for) {
  char name[64];
  for (int i = 0; i < N_SETS; i++) {
    tern_status status = open_with(sets[i].feature, name);
    if (!(tern__cpu_features() & sets[i].feature)) {
      cr_expect_eq(status, TERN_STATUS_NO_DEVICE, "%s", sets[i].name);
      continue;
    }
    cr_assert_eq(status, TERN_OK);
    cr_expect_str_eq(name, sets[i].name);
    for (int worse = i + 1; worse < N_SETS; worse++) {
      cr_assert_eq(open_with(sets[i].feature | sets[worse].feature, name), TERN_OK);
      cr_expect_str_eq(name, sets[i].name);
    }
  }
  cr_expect_eq(open_with(0, name), TERN_STATUS_NO_DEVICE);
  cr_expect(strstr(tern_last_error(), "instruction sets"), "%s", tern_last_error());
}

/* As in tern_session_desc.device, after the colon. */
Test(cpu_dispatch, a_set_has_a_name) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  tern__backend_env env = {.alloc = &alloc};
  tern__backend *backend = NULL;
  for (int i = 0; i < N_SETS; i++) {
    tern_status status = tern__backend_cpu.open(&env, sets[i].name, &backend);
    bool there = tern__cpu_features() & sets[i].feature;
    if (there) cr_expect_eq(status, TERN_OK, "%s", sets[i].name);
    if (status != TERN_OK) continue;
    if (there) cr_expect_str_eq(tern__backend_cpu.describe(backend), sets[i].name);
    tern__backend_cpu.close(backend);
  }
  cr_assert_eq(tern__backend_cpu.open(&env, "PLAIN", &backend), TERN_OK, "%s", tern_last_error());
  cr_expect_str_eq(tern__backend_cpu.describe(backend), "plain C");
  tern__backend_cpu.close(backend);
  cr_expect_eq(tern__backend_cpu.open(&env, "SSE9", &backend), TERN_STATUS_NO_DEVICE);
  cr_expect(strstr(tern_last_error(), "plain C"), "%s", tern_last_error());
  cr_expect_eq(alloc.live_bytes, 0);
}
