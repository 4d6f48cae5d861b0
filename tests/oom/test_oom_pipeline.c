/* Every allocation of opening a model and running a pipeline fails once: the right status, nothing leaked, and the runtime
 * works afterwards. (cJSON's allocations are the C library's: tests/unit covers what a failed parse does.) */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tern/tern.h>

typedef struct failing { long count, fail_at, live; } failing;

static void *failing_alloc(void *user_data, size_t size, size_t align) {
  failing *f = user_data;
  if (__atomic_add_fetch(&f->count, 1, __ATOMIC_SEQ_CST) == f->fail_at) return NULL;
  __atomic_add_fetch(&f->live, 1, __ATOMIC_SEQ_CST);
  if (align < sizeof(void *)) align = sizeof(void *);
  return aligned_alloc(align, (size + align - 1) / align * align);
}

static void failing_free(void *user_data, void *ptr, size_t size, size_t align) {
  failing *f = user_data;
  (void)size, (void)align;
  __atomic_sub_fetch(&f->live, 1, __ATOMIC_SEQ_CST);
  free(ptr);
}

/* Opens and runs; everything is closed again whatever happens. */
static tern_status whole_life(const char *path, failing *f) {
  tern_runtime *runtime = NULL;
  tern_pipeline *pipeline = NULL;
  tern_result *result = NULL;
  tern_runtime_desc r = TERN_RUNTIME_DESC_INIT;
  r.n_threads = 2;
  r.allocator = (tern_allocator){failing_alloc, failing_free, f};
  tern_status status = tern_runtime_create(&r, &runtime);
  if (status != TERN_OK) goto done;
  tern_pipeline_desc d = TERN_PIPELINE_DESC_INIT;
  d.task = "text-generation", d.path = path, d.session.context_length = 64;
  status = tern_pipeline_open(runtime, &d, &pipeline);
  if (status != TERN_OK) goto done;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  run.chat_json = "[{\"role\":\"user\",\"content\":\"%&'(\"}]";
  run.max_new_tokens = 3, run.ignore_eos = 1, run.temperature = 0.8f, run.top_k = 5, run.seed = 1;
  status = tern_pipeline_run(pipeline, &run, &result);
  if (status != TERN_OK) goto done;
  tern_result_destroy(result);
  result = NULL;
  run.max_new_tokens = 30, run.temperature = 0, run.prompt_lookup_num_tokens = 4; /* drafts: their plans, their rows */
  status = tern_pipeline_run(pipeline, &run, &result);
  tern_timings t = {.struct_size = sizeof t};
  if (status == TERN_OK && tern_result_timings(result, &t) == TERN_OK) cr_expect_gt(t.n_drafted_tokens, 0);
done:
  if (status != TERN_OK) cr_assert(strlen(tern_last_error()) > 0);
  tern_result_destroy(result);
  tern_pipeline_close(pipeline);
  tern_runtime_destroy(runtime);
  return status;
}

static void fail_each(const char *name) {
  char path[4096];
  snprintf(path, sizeof path, TERN_SOURCE_DIR "/tests/models/tiny/%s", name);
  failing f = {0};
  tern_status status = whole_life(path, &f);
  cr_assert_eq(status, TERN_OK, "%s: %s", name, tern_last_error());
  cr_assert_eq(f.live, 0);
  long total = f.count;
  cr_assert_gt(total, 50);
  for (long k = 1; k <= total; k++) {
    f = (failing){.fail_at = k};
    status = whole_life(path, &f);
    cr_assert_eq(f.live, 0, "%s: allocation %ld of %ld failed and %ld blocks leaked", name, k, total, f.live);
    /* Fewer allocations may be needed in another run (threads that never started): then nothing failed. */
    if (f.count >= k)
      cr_assert(status == TERN_STATUS_OUT_OF_MEMORY, "%s: allocation %ld of %ld failed: %s: %s", name, k, total,
                tern_status_name(status), tern_last_error());
  }
}

Test(oom, llama) { fail_each("tiny_llama.gguf"); }
Test(oom, gemma3) { fail_each("tiny_gemma3.gguf"); }
