/* What the thread sanitizer watches: eight threads on one model, on one runtime that they load and pack with, and on one
 * tokenizer; jobs; cancelling from another thread. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <tern/tern.h>
#include <time.h>

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

/* ---- eight threads load, chat, and load again over one runtime's pool ---- */

typedef struct chatter { tern_runtime *runtime; int32_t tokens[2][6]; size_t n[2]; tern_status status; } chatter;

static tern_status answer(chatter *c, int round) {
  tern_pipeline *p = NULL;
  tern_result *r = NULL;
  tern_job *job = NULL;
  tern_pipeline_desc d = TERN_PIPELINE_DESC_INIT;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  d.task = "text-generation", d.path = TINY, d.session.context_length = 64;
  run.chat_json = "[{\"role\":\"user\",\"content\":\"%&'(\"}]", run.max_new_tokens = 6, run.ignore_eos = 1;
  tern_status status = tern_pipeline_open_async(c->runtime, &d, &job);
  while (status == TERN_OK && tern_job_poll(job) == TERN_JOB_RUNNING) (void)tern_job_wait(job, 1);
  if (status == TERN_OK) status = tern_job_wait(job, -1);
  if (status == TERN_OK) status = tern_job_pipeline(job, &p);
  tern_job_destroy(job), job = NULL;
  if (status == TERN_OK) status = tern_pipeline_run_async(p, &run, &job);
  if (status == TERN_OK) status = tern_job_wait(job, -1);
  if (status == TERN_OK) status = tern_job_result(job, &r);
  tern_job_destroy(job);
  if (status == TERN_OK) {
    const int32_t *tokens = tern_result_tokens(r, 0, &c->n[round]);
    memcpy(c->tokens[round], tokens, (c->n[round] < 6 ? c->n[round] : 6) * sizeof *tokens);
  }
  tern_result_destroy(r);
  tern_pipeline_close(p);
  return status;
}

static void *chat(void *arg) {
  chatter *c = arg;
  for (int round = 0; round < 2 && c->status == TERN_OK; round++) c->status = answer(c, round);
  return NULL;
}

Test(threads, eight_threads_load_and_answer_with_one_runtime) {
  tern_runtime *runtime;
  pthread_t threads[THREADS];
  static chatter chatters[THREADS];
  tern_runtime_desc rd = TERN_RUNTIME_DESC_INIT;
  rd.n_threads = 4;
  cr_assert_eq(tern_runtime_create(&rd, &runtime), TERN_OK);
  for (int i = 0; i < THREADS; i++) {
    chatters[i] = (chatter){.runtime = runtime};
    cr_assert_eq(pthread_create(&threads[i], NULL, chat, &chatters[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    cr_assert_eq(chatters[i].status, TERN_OK, "thread %d: %s", i, tern_status_name(chatters[i].status));
    for (int round = 0; round < 2; round++) {
      cr_assert_eq(chatters[i].n[round], 6);
      cr_assert_arr_eq(chatters[i].tokens[round], chatters[0].tokens[0], sizeof chatters[0].tokens[0]);
    }
  }
  tern_runtime_destroy(runtime);
}

/* ---- one token stops what many threads are at ---- */

typedef struct stopped {
  tern_runtime *runtime;
  tern_cancel *cancel;
  _Atomic int *enough;
  int done, cancelled;
  tern_status status;
} stopped;

static tern_status load_and_run(stopped *t) {
  tern_model *model = NULL;
  tern_model_desc md = TERN_MODEL_DESC_INIT;
  tern_session_desc sd = TERN_SESSION_DESC_INIT;
  tern_session *s = NULL;
  tern_tensor *ids = NULL, *out = NULL;
  int64_t dims[2] = {1, 3}, values[3] = {1, 17, 5};
  const char *name = "input_ids";
  md.path = TINY, md.cancel = t->cancel;
  sd.kv_cache = 1, sd.context_length = 64, sd.cancel = t->cancel;
  tern_status status = tern_model_open(t->runtime, &md, &model);
  if (status == TERN_OK) status = tern_session_create(model, &sd, &s);
  if (status == TERN_OK) status = tern_tensor_wrap(t->runtime, TERN_DTYPE_I64, 2, dims, values, sizeof values, &ids);
  if (status == TERN_OK) status = tern_session_run(s, 1, &name, (const tern_tensor *const *)&ids, 1, NULL, &out);
  tern_tensor_destroy(out), tern_tensor_destroy(ids);
  tern_session_destroy(s);
  tern_model_close(model);
  return status;
}

static void *load_and_run_often(void *arg) {
  stopped *t = arg;
  while (!atomic_load(t->enough) && t->status == TERN_OK) {
    tern_status status = load_and_run(t);
    if (status == TERN_STATUS_CANCELLED) t->cancelled++;
    else t->status = status, t->done++;
  }
  return NULL;
}

Test(threads, one_token_stops_loads_and_runs_of_many_threads) {
  tern_runtime *runtime;
  tern_cancel *cancel;
  pthread_t threads[4];
  static stopped workers[4];
  static _Atomic int enough;
  int done = 0, cancelled = 0;
  tern_runtime_desc rd = TERN_RUNTIME_DESC_INIT;
  rd.n_threads = 2;
  cr_assert_eq(tern_runtime_create(&rd, &runtime), TERN_OK);
  cr_assert_eq(tern_cancel_create(&cancel), TERN_OK);
  for (int i = 0; i < 4; i++) {
    workers[i] = (stopped){.runtime = runtime, .cancel = cancel, .enough = &enough};
    cr_assert_eq(pthread_create(&threads[i], NULL, load_and_run_often, &workers[i]), 0);
  }
  for (int i = 0; i < 30; i++) {
    nanosleep(&(struct timespec){0, 1000000 * (i % 10)}, NULL);
    tern_cancel_set(cancel);
    nanosleep(&(struct timespec){0, 1000000}, NULL);
    tern_cancel_reset(cancel);
  }
  atomic_store(&enough, 1);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
    cr_assert_eq(workers[i].status, TERN_OK, "thread %d: %s", i, tern_status_name(workers[i].status));
    done += workers[i].done, cancelled += workers[i].cancelled;
  }
  cr_expect_gt(cancelled, 0, "%d loads and runs were finished, none cancelled", done);
  cr_expect_eq(load_and_run(&workers[0]), TERN_OK, "after all that: %s", tern_last_error());
  tern_cancel_destroy(cancel);
  tern_runtime_destroy(runtime);
}

/* ---- one tokenizer ---- */

typedef struct speller {
  const tern_tokenizer *tokenizer;
  int32_t ids[64];
  char text[256];
  size_t n, size;
  tern_status status;
} speller;

static void *spell(void *arg) {
  static const char input[] = "%&'()*+ and %&'( again";
  speller *s = arg;
  for (int i = 0; i < 50 && s->status == TERN_OK; i++) {
    s->status = tern_tokenizer_encode(s->tokenizer, input, sizeof input - 1, 0, s->ids, 64, &s->n);
    if (s->status == TERN_OK)
      s->status = tern_tokenizer_decode(s->tokenizer, s->ids, s->n, 0, s->text, sizeof s->text, &s->size);
    if (s->status == TERN_OK && tern_tokenizer_vocab_size(s->tokenizer) < 1) s->status = TERN_STATUS_INTERNAL;
  }
  return NULL;
}

Test(threads, eight_threads_share_a_tokenizer) {
  tern_runtime *runtime;
  tern_tokenizer *tokenizer;
  pthread_t threads[THREADS];
  static speller spellers[THREADS];
  cr_assert_eq(tern_runtime_create(NULL, &runtime), TERN_OK);
  cr_assert_eq(tern_tokenizer_open(runtime, TINY, &tokenizer), TERN_OK, "%s", tern_last_error());
  for (int i = 0; i < THREADS; i++) {
    spellers[i].tokenizer = tokenizer;
    cr_assert_eq(pthread_create(&threads[i], NULL, spell, &spellers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    cr_assert_eq(spellers[i].status, TERN_OK, "thread %d: %s", i, tern_status_name(spellers[i].status));
    cr_assert(spellers[i].n > 0 && spellers[i].n == spellers[0].n && spellers[i].n <= 64);
    cr_assert_arr_eq(spellers[i].ids, spellers[0].ids, spellers[0].n * sizeof *spellers[0].ids);
    cr_assert_eq(spellers[i].size, spellers[0].size);
    cr_assert_arr_eq(spellers[i].text, spellers[0].text, spellers[0].size);
  }
  tern_tokenizer_close(tokenizer);
  tern_runtime_destroy(runtime);
}
