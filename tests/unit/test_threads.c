/* One model, eight threads, and a cancel from outside: what the thread sanitizer watches. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <tern/tern.h>

#define TINY TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf"
enum { THREADS = 8 };

typedef struct worker { tern_model *model; tern_runtime *runtime; float logits[3 * 64]; tern_status status; } worker;

/* A session of its own over the shared model; several runs. */
static void *run_session(void *arg) {
  worker *w = arg;
  tern_session *s = NULL;
  tern_tensor *t = NULL, *out = NULL;
  tern_session_desc sd = TERN_SESSION_DESC_INIT;
  int64_t dims[2] = {1, 3}, ids[3] = {1, 17, 5};
  const char *name = "input_ids";
  sd.kv_cache = 1, sd.context_length = 64;
  w->status = tern_session_create(w->model, &sd, &s);
  for (int i = 0; i < 4 && w->status == TERN_OK; i++) {
    w->status = tern_tensor_wrap(w->runtime, TERN_DTYPE_I64, 2, dims, ids, sizeof ids, &t);
    if (w->status == TERN_OK) w->status = tern_session_kv_truncate(s, 0);
    if (w->status == TERN_OK) w->status = tern_session_run(s, 1, &name, (const tern_tensor *const *)&t, 1, NULL, &out);
    if (w->status == TERN_OK) memcpy(w->logits, tern_tensor_data(out), sizeof w->logits);
    tern_tensor_destroy(out), tern_tensor_destroy(t);
    out = t = NULL;
  }
  tern_session_destroy(s);
  return NULL;
}

Test(threads, eight_sessions_on_one_model_agree) {
  tern_runtime *runtime;
  tern_model *model;
  pthread_t threads[THREADS];
  static worker workers[THREADS];
  tern_runtime_desc rd = TERN_RUNTIME_DESC_INIT;
  rd.n_threads = 4;
  cr_assert_eq(tern_runtime_create(&rd, &runtime), TERN_OK);
  tern_model_desc md = TERN_MODEL_DESC_INIT;
  md.path = TINY;
  cr_assert_eq(tern_model_open(runtime, &md, &model), TERN_OK, "%s", tern_last_error());
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.model = model, .runtime = runtime};
    cr_assert_eq(pthread_create(&threads[i], NULL, run_session, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    cr_assert_eq(workers[i].status, TERN_OK, "thread %d: %s", i, tern_status_name(workers[i].status));
    cr_assert_arr_eq(workers[i].logits, workers[0].logits, sizeof workers[0].logits);
  }
  tern_model_close(model);
  tern_runtime_destroy(runtime);
}

static int32_t begun(void *user_data, const char *text, size_t size, int32_t token) {
  (void)text, (void)size, (void)token;
  atomic_store((_Atomic int *)user_data, 1);
  return 0;
}

/* Odd rounds cancel a job that is surely running, and run another meanwhile; even rounds whatever state it has reached. */
Test(threads, jobs_are_cancelled_from_another_thread) {
  tern_runtime *runtime;
  tern_pipeline *p;
  tern_runtime_desc rd = TERN_RUNTIME_DESC_INIT;
  rd.n_threads = 2;
  cr_assert_eq(tern_runtime_create(&rd, &runtime), TERN_OK);
  tern_pipeline_desc d = TERN_PIPELINE_DESC_INIT;
  d.task = "text-generation", d.path = TINY;
  cr_assert_eq(tern_pipeline_open(runtime, &d, &p), TERN_OK, "%s", tern_last_error());
  const char *texts[] = {"%&'()*+"};
  static _Atomic int running;
  tern_run_desc run = TERN_RUN_DESC_INIT, again = TERN_RUN_DESC_INIT;
  run.texts = texts, run.n_texts = 1, run.ignore_eos = 1, run.max_new_tokens = 1000000, run.context_policy = TERN_CONTEXT_SHIFT;
  run.on_text = (tern_on_text){begun, (void *)&running};
  again.texts = texts, again.n_texts = 1;
  for (int i = 0; i < 10; i++) {
    tern_job *job;
    tern_result *other;
    atomic_store(&running, 0);
    cr_assert_eq(tern_pipeline_run_async(p, &run, &job), TERN_OK);
    cr_assert_eq(tern_job_wait(job, i), TERN_STATUS_TIMEOUT);
    if (i & 1) {
      while (!atomic_load(&running)) cr_assert_eq(tern_job_wait(job, 1), TERN_STATUS_TIMEOUT, "%s", tern_last_error());
      cr_assert_eq(tern_pipeline_run(p, &again, &other), TERN_STATUS_BUSY);
    }
    tern_job_cancel(job);
    cr_assert_eq(tern_job_wait(job, -1), TERN_STATUS_CANCELLED, "%s", tern_last_error());
    tern_job_destroy(job);
  }
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}
