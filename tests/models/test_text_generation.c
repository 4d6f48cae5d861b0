/* text-generation on SmolLM2 (GGUF): what a run promises beyond its tokens being right (tests/models/test_parity.py holds
 * those against llama.cpp and ONNX Runtime). */
#include <pthread.h>
#include <time.h>

#include "models/model_fixture.h"

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static tern_run_desc greedy(const char *const *texts, int32_t n, int32_t max_new_tokens) {
  tern_run_desc d = TERN_RUN_DESC_INIT;
  d.texts = texts, d.n_texts = n, d.max_new_tokens = max_new_tokens;
  return d;
}

static void expect_same(const tern_result *a, int32_t ia, const tern_result *b, int32_t ib) {
  size_t na, nb;
  const int32_t *ta = tern_result_tokens(a, ia, &na), *tb = tern_result_tokens(b, ib, &nb);
  cr_assert_eq(na, nb);
  cr_assert_arr_eq(ta, tb, na * sizeof *ta);
  cr_assert_str_eq(tern_result_text(a, ia, NULL), tern_result_text(b, ib, NULL));
}

typedef struct collected { char text[65536]; size_t size; int32_t calls, stop_after; } collected;
static int32_t collect(void *user_data, const char *text, size_t size, int32_t id) {
  collected *c = user_data;
  (void)id;
  /* Every piece is whole UTF-8: it does not begin with a continuation byte. */
  cr_assert(size > 0 && ((unsigned char)text[0] & 0xC0) != 0x80);
  memcpy(c->text + c->size, text, size);
  c->size += size;
  return c->stop_after && ++c->calls >= c->stop_after;
}

Test(text_generation, chat_answers_and_streams_the_same_text) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 0);
  tern_run_desc d = TERN_RUN_DESC_INIT;
  static collected c;
  tern_result *r;
  d.chat_json = "[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]";
  d.max_new_tokens = 32;
  d.on_text = (tern_on_text){collect, &c};
  ok(tern_pipeline_run(p, &d, &r));
  size_t size;
  const char *text = tern_result_text(r, 0, &size);
  cr_assert(strstr(text, "Paris"), "%s", text);
  cr_assert_eq(size, c.size);
  cr_assert_arr_eq(text, c.text, size);
  cr_assert_str_eq(tern_result_finish_reason(r, 0), "stop");
  cr_assert(strncmp(tern_result_json(r), "[{\"generated_text\":", 19) == 0);
  tern_result_destroy(r);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(text_generation, a_prefix_in_the_cache_changes_nothing) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 0);
  const char *first[] = {"Once upon a time there was a small fox who"};
  const char *longer[] = {"Once upon a time there was a small fox who lived in"};
  tern_result *a, *b, *c;
  tern_timings t = {.struct_size = sizeof t};
  tern_run_desc d = greedy(longer, 1, 12);
  ok(tern_pipeline_run(p, &d, &a)); /* cold */
  ok(tern_pipeline_run(p, &d, &b)); /* all but the last prompt token is cached */
  ok(tern_result_timings(b, &t));
  cr_assert(t.n_reused_tokens > 0);
  expect_same(a, 0, b, 0);
  tern_run_desc e = greedy(first, 1, 3);
  ok(tern_pipeline_run(p, &e, &c));
  tern_result_destroy(c);
  ok(tern_pipeline_run(p, &d, &c)); /* shares a part */
  expect_same(a, 0, c, 0);
  tern_result_destroy(a), tern_result_destroy(b), tern_result_destroy(c);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(text_generation, a_batch_of_different_lengths_gives_what_each_alone_gives) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 0);
  const char *texts[] = {"The capital of France is", "In 1969, astronauts walked on", "Hi",
                         "A list of fruits: apple, banana, cherry,"};
  tern_result *batch, *alone;
  tern_run_desc d = greedy(texts, 4, 10);
  ok(tern_pipeline_run(p, &d, &batch));
  cr_assert_eq(tern_result_count(batch), 4);
  for (int32_t i = 0; i < 4; i++) {
    tern_run_desc one = greedy(&texts[i], 1, 10);
    ok(tern_pipeline_run(p, &one, &alone));
    expect_same(batch, i, alone, 0);
    tern_result_destroy(alone);
  }
  tern_result_destroy(batch);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(text_generation, results_do_not_depend_on_the_number_of_threads) {
  const char *texts[] = {"The three primary colours are"};
  tern_result *r[2];
  tern_runtime *runtime[2];
  for (int i = 0; i < 2; i++) {
    runtime[i] = new_runtime(i ? 3 : 1);
    tern_pipeline *p = open_task(runtime[i], "text-generation", SMOLLM2_GGUF, NULL, 0);
    tern_run_desc d = greedy(texts, 1, 24);
    ok(tern_pipeline_run(p, &d, &r[i]));
    tern_pipeline_close(p);
  }
  expect_same(r[0], 0, r[1], 0);
  for (int i = 0; i < 2; i++) tern_result_destroy(r[i]), tern_runtime_destroy(runtime[i]);
}

Test(text_generation, stop_texts_end_it_before_they_show) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 0);
  const char *texts[] = {"Count: one, two, three, four,"};
  const char *stop[] = {"seven", "never to be seen"};
  static collected c;
  tern_result *r;
  tern_run_desc d = greedy(texts, 1, 40);
  d.stop = stop, d.n_stop = 2, d.on_text = (tern_on_text){collect, &c};
  ok(tern_pipeline_run(p, &d, &r));
  cr_assert_str_eq(tern_result_finish_reason(r, 0), "stop");
  cr_assert(strstr(tern_result_text(r, 0, NULL), "six") && !strstr(tern_result_text(r, 0, NULL), "seven"));
  c.text[c.size] = 0;
  cr_assert_str_eq(c.text, tern_result_text(r, 0, NULL));
  tern_result_destroy(r);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(text_generation, a_seed_repeats_and_sampling_differs_from_greedy) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 0);
  const char *texts[] = {"My favourite thing about the sea is"};
  tern_result *a, *b, *c;
  tern_run_desc d = greedy(texts, 1, 24);
  d.temperature = 1.2f, d.top_k = 50, d.top_p = 0.95f, d.min_p = 0.01f, d.repetition_penalty = 1.1f, d.seed = 7;
  ok(tern_pipeline_run(p, &d, &a));
  ok(tern_pipeline_run(p, &d, &b));
  expect_same(a, 0, b, 0);
  d.seed = 8;
  ok(tern_pipeline_run(p, &d, &c));
  cr_assert(strcmp(tern_result_text(a, 0, NULL), tern_result_text(c, 0, NULL)) != 0);
  tern_result_destroy(a), tern_result_destroy(b), tern_result_destroy(c);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(text_generation, the_end_of_the_window_is_told_or_shifted) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 64);
  char words[2048] = "";
  for (int i = 0; i < 100; i++) strcat(words, "word ");
  const char *long_text[] = {words}, *short_text[] = {"Tell me a very long story about the sea."};
  tern_result *r;
  tern_run_desc d = greedy(long_text, 1, 8);
  cr_assert_eq(tern_pipeline_run(p, &d, &r), TERN_STATUS_CONTEXT_FULL);
  cr_assert(strstr(tern_last_error(), "tokens") && strstr(tern_last_error(), "64"), "%s", tern_last_error());
  d = greedy(short_text, 1, 120);
  d.ignore_eos = 1;
  ok(tern_pipeline_run(p, &d, &r));
  cr_assert_str_eq(tern_result_finish_reason(r, 0), "context_full");
  tern_result_destroy(r);
  d.context_policy = TERN_CONTEXT_SHIFT;
  ok(tern_pipeline_run(p, &d, &r));
  size_t n, size, decoded;
  const int32_t *tokens = tern_result_tokens(r, 0, &n);
  const char *text = tern_result_text(r, 0, &size);
  cr_assert_eq(n, 120);
  cr_assert_str_eq(tern_result_finish_reason(r, 0), "length");
  /* The window has moved several times, and yet these are all the tokens, and the text is theirs. */
  char *again = malloc(size + 1);
  ok(tern_tokenizer_decode(tern_pipeline_tokenizer(p), tokens, n, TERN_TOKENIZE_NO_SPECIAL, again, size, &decoded));
  cr_assert(decoded == size && memcmp(again, text, size) == 0, "%zu bytes of tokens, %zu of text", decoded, size);
  tern_result *full;
  d.return_full_text = 1;
  ok(tern_pipeline_run(p, &d, &full));
  const char *whole = tern_result_text(full, 0, NULL);
  size_t prompt = strlen(short_text[0]);
  cr_assert(strncmp(whole, short_text[0], prompt) == 0 && strncmp(whole + prompt, text, size) == 0, "%s", whole);
  free(again);
  tern_result_destroy(full), tern_result_destroy(r);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(text_generation, cancel_from_another_thread_is_quick) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 0);
  static char words[16384];
  for (int i = 0; i < 1200; i++) strcat(words, "sea ");
  const char *texts[] = {words};
  tern_job *job;
  tern_result *r;
  tern_run_desc d = greedy(texts, 1, 400);
  d.ignore_eos = 1;
  /* Cancelled at different points: in the prefill, and in the decoding after a shorter prompt. */
  for (int i = 0; i < 4; i++) {
    const char *brief[] = {"The sea"};
    if (i == 3) d.texts = brief;
    ok(tern_pipeline_run_async(p, &d, &job));
    cr_assert_eq(tern_job_wait(job, 30 + 40 * i), TERN_STATUS_TIMEOUT);
    cr_assert_eq(tern_job_poll(job), TERN_JOB_RUNNING);
    double begin = now_ms();
    tern_job_cancel(job);
    cr_assert_eq(tern_job_wait(job, -1), TERN_STATUS_CANCELLED);
    double took = now_ms() - begin;
    /* The promise is 20 ms on an idle machine; this bound only catches a cancel that is not looked at. */
    cr_assert(took < 1000, "cancel took %.1f ms", took);
    printf("cancel %d took %.1f ms\n", i, took);
    cr_assert_neq(tern_job_result(job, &r), TERN_OK);
    cr_assert_null(r);
    tern_job_destroy(job);
  }
  d = greedy((const char *[]){"The capital of France is"}, 1, 3);
  ok(tern_pipeline_run(p, &d, &r)); /* it still works */
  cr_assert(strstr(tern_result_text(r, 0, NULL), "Paris"));
  tern_result_destroy(r);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(text_generation, jobs_open_run_and_outlive_their_parents) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline_desc desc = TERN_PIPELINE_DESC_INIT;
  tern_job *opening, *job;
  tern_pipeline *p;
  tern_result *r;
  desc.task = "text-generation", desc.path = cached_model(SMOLLM2_GGUF);
  ok(tern_pipeline_open_async(runtime, &desc, &opening));
  ok(tern_job_wait(opening, -1));
  ok(tern_job_pipeline(opening, &p));
  tern_pipeline *again;
  cr_assert_eq(tern_job_pipeline(opening, &again), TERN_STATUS_INVALID_STATE);
  tern_job_destroy(opening);
  const char *texts[] = {"The capital of France is"};
  tern_run_desc d = greedy(texts, 1, 4);
  ok(tern_pipeline_run_async(p, &d, &job));
  tern_pipeline_close(p); /* the job keeps what it needs */
  tern_runtime_destroy(runtime);
  ok(tern_job_wait(job, -1));
  ok(tern_job_result(job, &r));
  tern_job_destroy(job);
  cr_assert(strstr(tern_result_text(r, 0, NULL), "Paris"));
  tern_result_destroy(r);
}

Test(text_generation, a_callback_can_stop_it) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 0);
  static collected c = {.stop_after = 5};
  const char *texts[] = {"One two three"};
  tern_result *r;
  tern_run_desc d = greedy(texts, 1, 50);
  d.on_text = (tern_on_text){collect, &c};
  ok(tern_pipeline_run(p, &d, &r));
  cr_assert_str_eq(tern_result_finish_reason(r, 0), "cancelled");
  cr_assert_eq(c.calls, 5);
  tern_result_destroy(r);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(text_generation, the_memory_plan_holds_and_a_budget_is_kept_or_refused) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 256);
  tern_memory_plan plan = {.struct_size = sizeof plan};
  uint64_t live, peak;
  ok(tern_pipeline_memory(p, &plan));
  cr_assert(plan.kv_bytes == 2ull * 30 * 3 * 64 * 256 * 2, "%llu", (unsigned long long)plan.kv_bytes);
  tern_runtime_memory(runtime, &live, NULL);
  const char *texts[] = {"The capital of France is"};
  tern_result *r;
  tern_run_desc d = greedy(texts, 1, 20);
  ok(tern_pipeline_run(p, &d, &r));
  tern_runtime_memory(runtime, NULL, &peak);
  cr_assert(peak <= live + plan.peak_bytes + (16 << 20), "peak %llu, before %llu, planned %llu", (unsigned long long)peak,
            (unsigned long long)live, (unsigned long long)plan.peak_bytes);
  tern_result_destroy(r);
  tern_pipeline_close(p);
  tern_pipeline_desc desc = TERN_PIPELINE_DESC_INIT;
  desc.task = "text-generation", desc.path = cached_model(SMOLLM2_GGUF);
  desc.session.context_length = 2048, desc.session.budget_bytes = 8 << 20;
  cr_assert_eq(tern_pipeline_open(runtime, &desc, &p), TERN_STATUS_OUT_OF_BUDGET);
  cr_assert(strstr(tern_last_error(), "8388608") && strstr(tern_last_error(), "context"), "%s", tern_last_error());
  tern_runtime_destroy(runtime);
}

static void *generate_on_own_pipeline(void *arg) {
  tern_pipeline *p = arg;
  const char *texts[] = {"The capital of France is"};
  tern_run_desc d = greedy(texts, 1, 6);
  tern_result *r = NULL;
  if (tern_pipeline_run(p, &d, &r) != TERN_OK) return NULL;
  return r;
}

Test(text_generation, eight_pipelines_on_one_runtime_give_the_same) {
  tern_runtime *runtime = new_runtime(2);
  tern_pipeline *p[8];
  pthread_t threads[8];
  tern_result *results[8];
  for (int i = 0; i < 8; i++) p[i] = open_task(runtime, "text-generation", SMOLLM2_GGUF, NULL, 128);
  for (int i = 0; i < 8; i++) cr_assert_eq(pthread_create(&threads[i], NULL, generate_on_own_pipeline, p[i]), 0);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], (void **)&results[i]);
  for (int i = 0; i < 8; i++) {
    cr_assert_not_null(results[i]);
    expect_same(results[0], 0, results[i], 0);
  }
  for (int i = 0; i < 8; i++) tern_pipeline_close(p[i]);
  for (int i = 0; i < 8; i++) tern_result_destroy(results[i]);
  tern_runtime_destroy(runtime);
}
