/* feature-extraction on MiniLM: batches, pooling, truncation. Agreement with the float32 reference is test_parity.py's. */
#include <math.h>

#include "models/model_fixture.h"

static float cosine(const float *a, const float *b, int64_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < n; i++) ab += (double)a[i] * b[i], aa += (double)a[i] * a[i], bb += (double)b[i] * b[i];
  return (float)(ab / sqrt(aa * bb));
}

static tern_result *embed(tern_pipeline *p, const char *const *texts, int32_t n, tern_pooling pooling, int32_t normalize) {
  tern_run_desc d = TERN_RUN_DESC_INIT;
  tern_result *r;
  d.texts = texts, d.n_texts = n, d.pooling = pooling, d.normalize = normalize;
  ok(tern_pipeline_run(p, &d, &r));
  return r;
}

static const char *const sentences[] = {"A man is eating food.", "A man eats something.", "The girl is carrying a baby.",
                                        "x", "Der Himmel ist heute sehr blau und die Vögel singen in den Bäumen."};

Test(feature_extraction, similar_sentences_are_close_and_batches_match_singles) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "feature-extraction", MINILM_FOLDER, "fp32", 0);
  tern_result *batch = embed(p, sentences, 5, TERN_POOLING_DEFAULT, 0);
  const tern_tensor *t = tern_result_tensor(batch);
  cr_assert_eq(tern_tensor_rank(t), 2);
  cr_assert_eq(tern_tensor_dims(t)[0], 5);
  cr_assert_eq(tern_tensor_dims(t)[1], 384);
  const float *v = tern_tensor_data(t);
  cr_assert_gt(cosine(v, v + 384, 384), cosine(v, v + 2 * 384, 384) + 0.3f);
  for (int i = 0; i < 5; i++) {
    tern_result *one = embed(p, sentences + i, 1, TERN_POOLING_DEFAULT, 0);
    const float *w = tern_tensor_data(tern_result_tensor(one));
    double norm = 0;
    /* Padding is masked with a large negative number, not cut out: rounding of the softmax sum may differ. */
    for (int k = 0; k < 384; k++) {
      cr_assert_float_eq(w[k], v[i * 384 + k], 2e-6, "sentence %d, entry %d: %g and %g", i, k, w[k], v[i * 384 + k]);
      norm += (double)w[k] * w[k];
    }
    cr_assert_float_eq(norm, 1.0, 1e-5); /* the folder's modules.json normalizes */
    tern_result_destroy(one);
  }
  tern_result_destroy(batch);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(feature_extraction, pooling_modes_are_what_they_say) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "feature-extraction", MINILM_FOLDER, "fp32", 0);
  tern_result *none = embed(p, sentences, 1, TERN_POOLING_NONE, -1), *cls = embed(p, sentences, 1, TERN_POOLING_CLS, -1);
  tern_result *last = embed(p, sentences, 1, TERN_POOLING_LAST, -1), *mean = embed(p, sentences, 1, TERN_POOLING_MEAN, -1);
  const tern_tensor *all = tern_result_tensor(none);
  cr_assert_eq(tern_tensor_rank(all), 3);
  int64_t length = tern_tensor_dims(all)[1];
  const float *rows = tern_tensor_data(all);
  cr_assert_arr_eq(tern_tensor_data(tern_result_tensor(cls)), rows, 384 * sizeof *rows);
  cr_assert_arr_eq(tern_tensor_data(tern_result_tensor(last)), rows + (length - 1) * 384, 384 * sizeof *rows);
  const float *m = tern_tensor_data(tern_result_tensor(mean));
  for (int k = 0; k < 384; k++) {
    double sum = 0;
    for (int64_t t = 0; t < length; t++) sum += rows[t * 384 + k];
    cr_assert_float_eq(m[k], sum / (double)length, 1e-6);
  }
  tern_result_destroy(none), tern_result_destroy(cls), tern_result_destroy(last), tern_result_destroy(mean);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(feature_extraction, without_pooling_the_rows_of_each_text_are_counted) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "feature-extraction", MINILM_FOLDER, "fp32", 0);
  tern_result *all = embed(p, sentences, 5, TERN_POOLING_NONE, 0), *pooled = embed(p, sentences, 5, TERN_POOLING_CLS, 0);
  const tern_tensor *t = tern_result_tensor(all);
  const float *rows = tern_tensor_data(t);
  int64_t longest = tern_tensor_dims(t)[1];
  size_t n, most = 0;
  const int32_t *lengths = tern_result_row_lengths(all, &n);
  cr_assert_eq(n, 5);
  for (int i = 0; i < 5; i++) {
    size_t tokens;
    ok(tern_tokenizer_encode(tern_pipeline_tokenizer(p), sentences[i], strlen(sentences[i]), 0, NULL, 0, &tokens));
    cr_assert_eq((size_t)lengths[i], tokens, "sentence %d has %d rows, but %zu tokens", i, lengths[i], tokens);
    if (tokens > most) most = tokens;
    for (int64_t r = 0; r < longest; r++) {
      bool zero = true;
      for (int k = 0; k < 384; k++) zero &= rows[(i * longest + r) * 384 + k] == 0;
      cr_assert_eq(zero, r >= lengths[i], "sentence %d, row %lld of %d", i, (long long)r, lengths[i]);
    }
  }
  cr_assert_eq((size_t)longest, most);
  cr_assert_null(tern_result_row_lengths(pooled, &n));
  cr_assert_eq(n, 0);
  cr_assert_null(tern_result_row_lengths(NULL, &n));
  tern_result_destroy(all), tern_result_destroy(pooled);
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}

Test(feature_extraction, every_dtype_of_the_folder_opens_and_agrees) {
  static const struct { const char *dtype; float least; } dtypes[] = {
      /* Least cosine to fp32. ONNX Runtime's own least over these sentences and files is 1.0000, 0.9985, 0.9124, 0.9597,
         0.9516, 0.9477, 0.9427: what the quantization of each file costs. Sentence by sentence: test_parity.py. */
      {"fp16", 0.9999f}, {"q8", 0.998f}, {"int8", 0.90f}, {"uint8", 0.95f}, {"q4", 0.94f}, {"q4f16", 0.94f}, {"bnb4", 0.94f}};
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "feature-extraction", MINILM_FOLDER, "fp32", 0);
  tern_result *exact = embed(p, sentences, 5, TERN_POOLING_DEFAULT, 0);
  tern_pipeline_close(p);
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
    p = open_task(runtime, "feature-extraction", MINILM_FOLDER, dtypes[i].dtype, 0);
    tern_result *r = embed(p, sentences, 5, TERN_POOLING_DEFAULT, 0);
    const float *a = tern_tensor_data(tern_result_tensor(exact)), *b = tern_tensor_data(tern_result_tensor(r));
    for (int s = 0; s < 5; s++)
      cr_assert_geq(cosine(a + s * 384, b + s * 384, 384), dtypes[i].least, "%s, sentence %d: %f", dtypes[i].dtype, s,
                    cosine(a + s * 384, b + s * 384, 384));
    tern_result_destroy(r);
    tern_pipeline_close(p);
  }
  tern_result_destroy(exact);
  tern_runtime_destroy(runtime);
}

Test(feature_extraction, long_texts_are_cut_and_options_of_other_tasks_refused) {
  tern_runtime *runtime = new_runtime(0);
  tern_pipeline *p = open_task(runtime, "feature-extraction", MINILM_FOLDER, "fp32", 0);
  static char words[40000];
  for (int i = 0; i < 3000; i++) strcat(words, "sea ");
  const char *texts[] = {words};
  tern_result *r = embed(p, texts, 1, TERN_POOLING_NONE, 0);
  cr_assert_leq(tern_tensor_dims(tern_result_tensor(r))[1], 512);
  tern_result_destroy(r);
  tern_run_desc d = TERN_RUN_DESC_INIT;
  d.texts = texts, d.n_texts = 1, d.temperature = 0.5f;
  cr_assert_eq(tern_pipeline_run(p, &d, &r), TERN_STATUS_INVALID_ARGUMENT);
  cr_assert(strstr(tern_last_error(), "temperature"), "%s", tern_last_error());
  tern_pipeline_close(p);
  tern_runtime_destroy(runtime);
}
