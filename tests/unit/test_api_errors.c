/* Every way to misuse the API that a message promises to explain: each message names what, where and what to try. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <tern/tern.h>
#include <unistd.h>

#define TINY TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf"

static tern_runtime *runtime;
static void set_up(void) { cr_assert_eq(tern_runtime_create(NULL, &runtime), TERN_OK, "%s", tern_last_error()); }
static void tear_down(void) { tern_runtime_destroy(runtime); }
TestSuite(api_errors, .init = set_up, .fini = tear_down);

static void expect(tern_status got, tern_status want, const char *const *words) {
  cr_assert_eq(got, want, "%s, not %s: %s", tern_status_name(got), tern_status_name(want), tern_last_error());
  for (; *words; words++) cr_assert(strstr(tern_last_error(), *words), "'%s' is not in: %s", *words, tern_last_error());
}
#define WORDS(...) (const char *const[]){__VA_ARGS__, NULL}

static tern_status open_pipeline(const char *task, const char *path, const char *device, tern_pipeline **out) {
  tern_pipeline_desc d = TERN_PIPELINE_DESC_INIT;
  d.task = task, d.path = path, d.session.device = device;
  return tern_pipeline_open(runtime, &d, out);
}

static const char *temporary(const char *name, const void *data, size_t size) {
  static char path[256];
  snprintf(path, sizeof path, "/tmp/tern_test_%d_%s", (int)getpid(), name);
  FILE *f = fopen(path, "wb");
  cr_assert_not_null(f);
  cr_assert_eq(fwrite(data, 1, size, f), size);
  fclose(f);
  return path;
}

Test(api_errors, missing_files_and_wrong_folders) {
  tern_model *m;
  tern_model_desc d = TERN_MODEL_DESC_INIT;
  expect(tern_model_open(runtime, &d, &m), TERN_STATUS_INVALID_ARGUMENT, WORDS("path", "data"));
  d.path = "/no/such/model.gguf";
  expect(tern_model_open(runtime, &d, &m), TERN_STATUS_NOT_FOUND, WORDS("/no/such/model.gguf", "check the path"));
  cr_assert_null(m);
  d.path = TERN_SOURCE_DIR "/docs";
  expect(tern_model_open(runtime, &d, &m), TERN_STATUS_NOT_FOUND, WORDS("docs", "onnx/", ".gguf"));
  d.dtype = "q3";
  expect(tern_model_open(runtime, &d, &m), TERN_STATUS_INVALID_ARGUMENT, WORDS("q3", "fp32", "q4f16"));
  d.path = TINY, d.dtype = "q4";
  expect(tern_model_open(runtime, &d, &m), TERN_STATUS_INVALID_ARGUMENT, WORDS("q4", "folder"));
}

Test(api_errors, files_that_are_no_models) {
  tern_model *m;
  tern_model_desc d = TERN_MODEL_DESC_INIT;
  d.path = temporary("text.txt", "hello, this is text", 19);
  expect(tern_model_open(runtime, &d, &m), TERN_STATUS_UNSUPPORTED, WORDS("text.txt", "GGUF", "ONNX"));
  unlink(d.path);
  d.path = temporary("cut.gguf", "GGUF\3\0\0\0", 8);
  expect(tern_model_open(runtime, &d, &m), TERN_STATUS_CORRUPT, WORDS("cut.gguf"));
  unlink(d.path);
  d.path = temporary("empty.onnx", "", 0);
  tern_status status = tern_model_open(runtime, &d, &m);
  cr_assert(status == TERN_STATUS_CORRUPT, "%s %s", tern_status_name(status), tern_last_error());
  cr_assert(strstr(tern_last_error(), "empty.onnx"), "%s", tern_last_error());
  unlink(d.path);
}

Test(api_errors, tasks_devices_and_options) {
  tern_pipeline *p;
  expect(open_pipeline("text-to-smell", TINY, NULL, &p), TERN_STATUS_UNSUPPORTED, 
         WORDS("text-to-smell", "this build has: text-generation, feature-extraction"));
  expect(open_pipeline("text-generation", TINY, "tpu", &p), TERN_STATUS_NO_DEVICE, WORDS("tpu", "cpu"));
  expect(open_pipeline("text-generation", NULL, NULL, &p), TERN_STATUS_INVALID_ARGUMENT, WORDS("path"));
  expect(open_pipeline("feature-extraction", TINY, NULL, &p), TERN_STATUS_UNSUPPORTED, WORDS("tiny_llama.gguf"));
  cr_assert_eq(open_pipeline("text-generation", TINY, NULL, &p), TERN_OK, "%s", tern_last_error());
  tern_run_desc d = TERN_RUN_DESC_INIT;
  tern_result *r;
  const char *texts[] = {"%&'"};
  expect(tern_pipeline_run(p, &d, &r), TERN_STATUS_INVALID_ARGUMENT, WORDS("prompts"));
  d.texts = texts, d.n_texts = 1, d.pooling = TERN_POOLING_MEAN;
  expect(tern_pipeline_run(p, &d, &r), TERN_STATUS_INVALID_ARGUMENT, WORDS("pooling", "text-generation"));
  d.pooling = 0, d.top_p = 1.5f, d.temperature = 1;
  expect(tern_pipeline_run(p, &d, &r), TERN_STATUS_INVALID_ARGUMENT, WORDS("top_p"));
  d.top_p = 0, d.temperature = -1;
  expect(tern_pipeline_run(p, &d, &r), TERN_STATUS_INVALID_ARGUMENT, WORDS("temperature"));
  d.temperature = 0, d.max_new_tokens = -5;
  expect(tern_pipeline_run(p, &d, &r), TERN_STATUS_INVALID_ARGUMENT, WORDS("max_new_tokens"));
  d.max_new_tokens = 4, d.chat_json = "[{]";
  d.n_texts = 0;
  expect(tern_pipeline_run(p, &d, &r), TERN_STATUS_INVALID_ARGUMENT, WORDS("JSON"));
  tern_pipeline_close(p);
}

Test(api_errors, budgets_are_refused_with_numbers) {
  tern_pipeline *p;
  tern_pipeline_desc d = TERN_PIPELINE_DESC_INIT;
  d.task = "text-generation", d.path = TINY, d.session.context_length = 128, d.session.budget_bytes = 1000;
  expect(tern_pipeline_open(runtime, &d, &p), TERN_STATUS_OUT_OF_BUDGET, WORDS("1000", "context"));
  tern_runtime *small;
  tern_runtime_desc rd = TERN_RUNTIME_DESC_INIT;
  rd.budget_bytes = 64 << 10;
  cr_assert_eq(tern_runtime_create(&rd, &small), TERN_OK);
  d.session.budget_bytes = 0;
  expect(tern_pipeline_open(small, &d, &p), TERN_STATUS_OUT_OF_BUDGET, WORDS("65536", "held", "larger budget"));
  tern_runtime_destroy(small);
}

Test(api_errors, descs_of_other_versions) {
  tern_pipeline *p;
  tern_runtime *older;
  tern_runtime_desc rd = TERN_RUNTIME_DESC_INIT;
  rd.struct_size = offsetof(tern_runtime_desc, cache_path); /* a program from before there was one */
  rd.cache_path = (const char *)(uintptr_t)8;              /* what lies behind its desc */
  cr_assert_eq(tern_runtime_create(&rd, &older), TERN_OK, "%s", tern_last_error());
  tern_runtime_destroy(older);
  rd.struct_size -= 8;
  cr_assert_eq(tern_runtime_create(&rd, &older), TERN_STATUS_INVALID_ARGUMENT);
  struct { tern_pipeline_desc d; uint64_t later; } longer = {TERN_PIPELINE_DESC_INIT, 0};
  longer.d.struct_size = sizeof longer;
  longer.d.task = "text-generation", longer.d.path = TINY;
  cr_assert_eq(tern_pipeline_open(runtime, &longer.d, &p), TERN_OK, "%s", tern_last_error());
  tern_pipeline_close(p);
  longer.later = 1; /* a member from the future is set: it cannot be honoured */
  expect(tern_pipeline_open(runtime, &longer.d, &p), TERN_STATUS_UNSUPPORTED, WORDS("tern_pipeline_desc"));
  longer.d.struct_size = 3;
  expect(tern_pipeline_open(runtime, &longer.d, &p), TERN_STATUS_INVALID_ARGUMENT, WORDS("struct_size", "_INIT"));
  cr_assert_eq(tern_pipeline_open(runtime, NULL, &p), TERN_STATUS_INVALID_ARGUMENT);
  cr_assert_eq(tern_pipeline_open(NULL, NULL, &p), TERN_STATUS_INVALID_ARGUMENT);
  cr_assert_eq(tern_pipeline_open(runtime, NULL, NULL), TERN_STATUS_INVALID_ARGUMENT);
}

Test(api_errors, sessions_name_what_does_not_fit) {
  tern_model *m;
  tern_session *s;
  tern_tensor *t, *out;
  tern_model_desc md = TERN_MODEL_DESC_INIT;
  md.path = TINY;
  cr_assert_eq(tern_model_open(runtime, &md, &m), TERN_OK, "%s", tern_last_error());
  tern_session_desc sd = TERN_SESSION_DESC_INIT;
  sd.kv_cache = 1;
  cr_assert_eq(tern_session_create(m, &sd, &s), TERN_OK, "%s", tern_last_error());
  int64_t dims[2] = {1, 3};
  float wrong[3] = {0};
  int64_t ids[3] = {1, 17, 5};
  const char *name = "input_ids", *other = "pixels", *logits = "logits", *nothing = "nothing";
  cr_assert_eq(tern_tensor_wrap(runtime, TERN_DTYPE_F32, 2, dims, wrong, sizeof wrong, &t), TERN_OK);
  expect(tern_session_run(s, 1, &name, (const tern_tensor *const *)&t, 1, &logits, &out), TERN_STATUS_SHAPE_MISMATCH,
         WORDS("input_ids", "float32", "int64"));
  tern_tensor_destroy(t);
  expect(tern_tensor_wrap(runtime, TERN_DTYPE_I64, 2, dims, ids, 5, &t), TERN_STATUS_INVALID_ARGUMENT, WORDS("24", "5"));
  cr_assert_eq(tern_tensor_wrap(runtime, TERN_DTYPE_I64, 2, dims, ids, sizeof ids, &t), TERN_OK);
  expect(tern_session_run(s, 1, &other, (const tern_tensor *const *)&t, 1, &logits, &out), TERN_STATUS_NOT_FOUND, WORDS("pixels"));
  expect(tern_session_run(s, 0, NULL, NULL, 1, &logits, &out), TERN_STATUS_INVALID_ARGUMENT, WORDS("input_ids", "missing"));
  expect(tern_session_run(s, 1, &name, (const tern_tensor *const *)&t, 1, &nothing, &out), TERN_STATUS_NOT_FOUND, WORDS("nothing"));
  /* With the cache inside, a session takes and gives less than its model. */
  tern_io_info io = {.struct_size = sizeof io};
  cr_assert_eq(tern_session_input_count(s), 1);
  cr_assert_eq(tern_session_output_count(s), 1);
  cr_assert_gt(tern_model_output_count(m), 1);
  cr_assert_eq(tern_session_input(s, 0, &io), TERN_OK, "%s", tern_last_error());
  cr_assert_str_eq(io.name, "input_ids");
  cr_assert(io.dtype == TERN_DTYPE_I64 && io.rank == 2);
  cr_assert_eq(tern_session_output(s, 0, &io), TERN_OK, "%s", tern_last_error());
  cr_assert_str_eq(io.name, "logits");
  expect(tern_session_input(s, 1, &io), TERN_STATUS_INVALID_ARGUMENT, WORDS("index 1", "below 1"));
  expect(tern_session_output(s, -1, &io), TERN_STATUS_INVALID_ARGUMENT, WORDS("index -1"));
  cr_assert_eq(tern_session_input(NULL, 0, &io), TERN_STATUS_INVALID_ARGUMENT);
  cr_assert_eq(tern_session_output(s, 0, NULL), TERN_STATUS_INVALID_ARGUMENT);
  cr_assert(tern_session_input_count(NULL) == 0 && tern_session_output_count(NULL) == 0);
  int32_t before = tern_session_kv_length(s);
  cr_assert_eq(tern_session_run(s, 1, &name, (const tern_tensor *const *)&t, 1, &logits, &out), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(tern_session_kv_length(s), before + 3);
  tern_tensor_destroy(out);
  expect(tern_session_kv_truncate(s, 4000), TERN_STATUS_INVALID_ARGUMENT, WORDS("4000"));
  cr_assert_eq(tern_session_wait(s, 0, NULL, NULL), TERN_STATUS_INVALID_STATE);
  tern_tensor_destroy(t);
  tern_session_destroy(s);
  tern_model_close(m);
}

Test(api_errors, closing_in_any_order_and_null) {
  tern_pipeline *p;
  tern_runtime *r;
  cr_assert_eq(tern_runtime_create(NULL, &r), TERN_OK);
  tern_pipeline_desc d = TERN_PIPELINE_DESC_INIT;
  d.task = "text-generation", d.path = TINY;
  cr_assert_eq(tern_pipeline_open(r, &d, &p), TERN_OK, "%s", tern_last_error());
  tern_runtime_destroy(r);
  cr_assert_gt(tern_tokenizer_vocab_size(tern_pipeline_tokenizer(p)), 0);
  tern_pipeline_close(p);
  tern_runtime_destroy(NULL), tern_pipeline_close(NULL), tern_model_close(NULL), tern_session_destroy(NULL);
  tern_tensor_destroy(NULL), tern_result_destroy(NULL), tern_job_destroy(NULL), tern_tokenizer_close(NULL), tern_cancel_destroy(NULL);
}
