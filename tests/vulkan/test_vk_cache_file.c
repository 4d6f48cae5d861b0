/* Compiled kernels kept in a folder: a second runtime gets them back; damaged, foreign and unwritable files do no
 * harm. */
#include "vk_hooks.h"
#include "vk_hooked_runtime.h"

#include "base/file_write.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], cache[128];

static void make_folder(void) {
  snprintf(folder, sizeof folder, "/tmp/tern-cache-XXXXXX");
  cr_assert(mkdtemp(folder) != NULL);
  snprintf(cache, sizeof cache, "%s/a/b", folder); /* made when it is needed */
}

/* The one file in the cache; "" if there is none. Nothing unfinished may lie beside it. */
static const char *the_file(void) {
  static char path[512];
  DIR *dir = opendir(cache);
  struct dirent *entry;
  path[0] = 0;
  while (dir && (entry = readdir(dir))) {
    if (entry->d_name[0] == '.') continue;
    size_t n = strlen(entry->d_name);
    cr_assert_eq(path[0], 0, "%s lies beside %s", entry->d_name, path);
    cr_assert(n > 8 && !strcmp(entry->d_name + n - 8, ".kernels"), "%s", entry->d_name);
    snprintf(path, sizeof path, "%s/%s", cache, entry->d_name);
  }
  if (dir) closedir(dir);
  return path;
}

static size_t read_file(const char *path, char *data, size_t room) {
  FILE *f = fopen(path, "rb");
  cr_assert(f != NULL, "%s", path);
  size_t n = fread(data, 1, room, f);
  fclose(f);
  return n;
}

static void write_file(const char *path, const char *data, size_t size) {
  FILE *f = fopen(path, "wb");
  cr_assert(f && fwrite(data, 1, size, f) == size);
  fclose(f);
}

/* A runtime's life, with no more to compile than opening the device takes; how many caches were taken over. */
static uint32_t open_and_close(char *warnings, size_t size) {
  hooked h;
  hook.fail_name = "MergePipelineCaches", hook.fail_nth = UINT32_MAX, hook.named_calls = 0;
  hooked_start(&h, cache);
  OK(hooked_try_device(&h));
  hooked_close(&h); /* which writes what there is */
  if (warnings) snprintf(warnings, size, "%.*s", (int)size - 1, h.warnings);
  else cr_expect_eq(h.warnings[0], 0, "%s", h.warnings);
  return hook.named_calls;
}

/* The same, and a model runs. */
static uint32_t live(void) {
  hooked h;
  tern_pipeline *pipeline;
  tern_pipeline_desc open = TERN_PIPELINE_DESC_INIT;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  tern_result *result;
  const char *text = "abc";
  hook.fail_name = "MergePipelineCaches", hook.fail_nth = UINT32_MAX, hook.named_calls = 0;
  hooked_start(&h, cache);
  OK(hooked_try_device(&h));
  open.task = "text-generation", open.path = TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf";
  open.session.device = "vulkan";
  run.texts = &text, run.n_texts = 1, run.max_new_tokens = 3;
  OK(tern_pipeline_open(h.runtime, &open, &pipeline));
  OK(tern_pipeline_run(pipeline, &run, &result));
  tern_result_destroy(result);
  tern_pipeline_close(pipeline);
  cr_expect_eq(h.warnings[0], 0, "%s", h.warnings);
  cr_expect(the_file()[0], "what was compiled is not kept before the end");
  hooked_close(&h);
  return hook.named_calls;
}

static void clean(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_assert_eq(system(command), 0);
}

Test(vk_cache_file, is_written_and_taken_over) {
  static char first[4 << 20], second[4 << 20];
  make_folder();
  cr_expect_eq(live(), 0u, "there was nothing to take over");
  cr_assert(the_file()[0], "nothing was kept");
  size_t n = read_file(the_file(), first, sizeof first);
  cr_expect_eq(live(), 1u, "what was kept was not taken over");
  cr_expect_gt(read_file(the_file(), second, sizeof second), 0u);
  cr_expect_eq(live(), 1u);
  cr_expect_gt(n, 0u);
  struct stat st;
  cr_expect(stat(the_file(), &st) == 0 && (st.st_mode & 0777) == 0600);
  clean();
}

/* Each damage: the run is right, nothing is taken over, and the file is a good one again. */
Test(vk_cache_file, damage_is_ignored) {
  static char good[4 << 20], bad[4 << 20];
  make_folder();
  open_and_close(NULL, 0);
  char path[512];
  snprintf(path, sizeof path, "%s", the_file());
  size_t n = read_file(path, good, sizeof good);
  for (int damage = 0; damage < 6; damage++) {
    size_t size = n;
    memcpy(bad, good, n);
    switch (damage) {
      case 0: bad[n - 1] ^= 1; break;            /* the driver's data */
      case 1: bad[0] ^= 1; break;                /* no cache of ours */
      case 2: bad[24] ^= 1; break;               /* of other kernels */
      case 3: size = n / 2; break;
      case 4: size = 0; break;
      default: memset(bad, 0xff, n);
    }
    write_file(path, bad, size);
    cr_expect_eq(open_and_close(NULL, 0), 0u, "damage %d was taken over", damage);
    cr_expect_eq(open_and_close(NULL, 0), 1u, "damage %d was not repaired", damage);
  }
  clean();
}

/* A device that another driver is behind: by the header of its data. */
Test(vk_cache_file, foreign_is_ignored) {
  static char data[4 << 20];
  make_folder();
  open_and_close(NULL, 0);
  char path[512];
  snprintf(path, sizeof path, "%s", the_file());
  size_t n = read_file(path, data, sizeof data);
  uint64_t hash = 14695981039346656037u;
  data[32 + 16] ^= 1; /* pipelineCacheUUID */
  for (size_t i = 32; i < n; i++) hash = (hash ^ (uint8_t)data[i]) * 1099511628211u;
  memcpy(data + 16, &hash, sizeof hash); /* intact, but not this driver's */
  write_file(path, data, n);
  cr_expect_eq(open_and_close(NULL, 0), 0u);
  cr_expect_eq(open_and_close(NULL, 0), 1u);
  clean();
}

static void check_harmless(const char *what) {
  char warnings[1000];
  cr_expect_eq(open_and_close(warnings, sizeof warnings), 0u, "%s", what);
  const char *said = strstr(warnings, "compiled kernels are not kept");
  cr_expect(said && !strstr(said + 1, "compiled kernels"), "%s: once, and not \"%s\"", what, warnings);
}

Test(vk_cache_file, no_folder_to_write_to) {
  make_folder();
  snprintf(cache, sizeof cache, "%s/file/folder", folder);
  char file[128];
  snprintf(file, sizeof file, "%s/file", folder);
  write_file(file, "x", 1); /* where a folder should be: also root cannot write there */
  check_harmless("a file where the folder should be");
  snprintf(cache, sizeof cache, "/proc/tern");
  check_harmless("a file system that nothing can be written to");
  clean();
}

/* /dev/full as a disk: what is written ends in ENOSPC, and the file that was there stays. */
Test(vk_cache_file, full_disk) {
  cr_expect_neq(tern__file_replace("/dev/full/x", "abc", 3), TERN_OK);
  make_folder();
  char path[128], data[8] = {0};
  snprintf(path, sizeof path, "%s/file", folder);
  OK(tern__file_replace(path, "old", 3));
  struct rlimit limit, small = {2, 2};
  getrlimit(RLIMIT_FSIZE, &limit);
  small.rlim_max = limit.rlim_max;
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  tern_status status = tern__file_replace(path, "newer", 5);
  setrlimit(RLIMIT_FSIZE, &limit);
  cr_expect_eq(status, TERN_STATUS_IO);
  cr_expect(strstr(tern_last_error(), path), "%s", tern_last_error());
  cr_expect_eq(read_file(path, data, sizeof data), 3u);
  cr_expect(!memcmp(data, "old", 3));
  snprintf(cache, sizeof cache, "%s", folder);
  clean();
}
