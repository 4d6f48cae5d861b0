/* What the passes find in real exports: every attention, norm, GELU and gate of MiniLM's and SmolLM2's files. */
#include "models/model_fixture.h"
#include "passes/pass.h"
#include "pipeline/model.h"

static int count(const tern__graph *g, const char *op) {
  int n = 0;
  for (size_t i = 0; i < tern__array_count(g->nodes); i++) n += strcmp(g->nodes[i].op->name, op) == 0;
  return n;
}

static tern__graph *rewritten(tern_runtime *runtime, const char *model, const char *dtype, bool kv, tern_model **out) {
  tern_model_desc d = TERN_MODEL_DESC_INIT;
  tern__graph *graph;
  d.path = cached_model(model), d.dtype = dtype;
  ok(tern_model_open(runtime, &d, out));
  ok(tern__graph_copy((*out)->graph, &runtime->alloc, &(*out)->arena, &graph));
  tern__pass_options options = {.kv_cache = kv, .last_row = kv, .float_outputs = true};
  ok(tern__passes_run(graph, &options));
  return graph;
}

Test(model_passes, minilm) {
  static const char *const dtypes[] = {"fp32", "fp16", "q8", "int8", "uint8", "q4", "q4f16", "bnb4"};
  tern_runtime *runtime = new_runtime(1);
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
    tern_model *m;
    tern__graph *g = rewritten(runtime, MINILM_FOLDER, dtypes[i], false, &m);
    cr_expect_eq(count(g, "EncoderAttention"), 6, "%s: %d", dtypes[i], count(g, "EncoderAttention"));
    cr_expect_eq(count(g, "Gelu"), 6, "%s: %d", dtypes[i], count(g, "Gelu"));
    cr_expect_eq(count(g, "LayerNormalization"), 13, "%s: %d", dtypes[i], count(g, "LayerNormalization"));
    cr_expect_eq(count(g, "Softmax") + count(g, "Erf"), 0, "%s", dtypes[i]);
    tern__graph_destroy(g);
    tern_model_close(m);
  }
  tern_runtime_destroy(runtime);
}

static void expect_decoder(const tern__graph *g, const char *what) {
  cr_expect_eq(count(g, "KvAttention"), 30, "%s: %d", what, count(g, "KvAttention"));
  cr_expect_eq(count(g, "SiluMul"), 30, "%s: %d", what, count(g, "SiluMul"));
  cr_expect_eq(count(g, "LastRow"), 1, "%s", what);
  cr_expect_eq(count(g, "Softmax") + count(g, "GroupQueryAttention"), 0, "%s", what);
  cr_expect_leq(tern__array_count(g->inputs), 2, "%s", what);
  cr_expect_eq(tern__array_count(g->outputs), 1, "%s", what);
}

Test(model_passes, smollm2_in_every_form) {
  static const char *const dtypes[] = {"fp32", "fp16", "q8", "q4", "q4f16"};
  tern_runtime *runtime = new_runtime(1);
  tern_model *m;
  tern__graph *g = rewritten(runtime, SMOLLM2_GGUF, NULL, true, &m);
  expect_decoder(g, "gguf");
  tern__graph_destroy(g);
  tern_model_close(m);
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
    g = rewritten(runtime, SMOLLM2_FOLDER, dtypes[i], true, &m);
    expect_decoder(g, dtypes[i]);
    tern__graph_destroy(g);
    tern_model_close(m);
  }
  g = rewritten(runtime, SMOLLM2_FOLDER "/onnx/model_plain.onnx", NULL, true, &m);
  expect_decoder(g, "plain operators");
  cr_expect_eq(count(g, "SimplifiedLayerNormalization"), 61);
  tern__graph_destroy(g);
  tern_model_close(m);
  tern_runtime_destroy(runtime);
}

Test(model_passes, gemma) {
  tern_runtime *runtime = new_runtime(1);
  tern_model *m;
  tern__graph *g = rewritten(runtime, GEMMA_GGUF, NULL, true, &m);
  cr_expect_eq(count(g, "KvAttention"), 18);
  cr_expect_eq(count(g, "GeluMul"), 18);
  tern__graph_destroy(g);
  tern_model_close(m);
  tern_runtime_destroy(runtime);
}
