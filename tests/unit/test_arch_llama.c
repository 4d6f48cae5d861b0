/* The llama builder: the logits of a tiny model, the graph's contract, and what it refuses. */
#include "arch_logits.h"

/* Twelve positions in float32 against double: some 1e-6 of logits of up to 4. */
Test(arch_llama, tiny_logits) { check_logits("tiny_llama", 2e-5); }

typedef struct tiny_spec {
  const char *architecture;
  const char *drop;  /* a key that is left out */
  const char *extra; /* a tensor of layer 0 that nothing uses */
  const char *key_text, *text;
  const char *key_int;
  uint32_t value;
  bool two_head_counts; /* attention.head_count as an array that differs between layers */
} tiny_spec;

static gguf_bytes file;
static tern__alloc heap;

static void key_int(const tiny_spec *s, const char *key, uint32_t v, uint32_t *count) {
  char full[96];
  snprintf(full, sizeof full, "llama.%s", key);
  if (s->drop && strcmp(s->drop, full) == 0) return;
  if (s->key_int && strcmp(s->key_int, full) == 0) v = s->value;
  put_key_u32(&file, full, v);
  ++*count;
}

/* Writes a model of one layer, width 4, with `s`'s change; weights are zero. */
static void write_model(const tiny_spec *s) {
  static const struct {
    const char *name;
    int rank;
    uint64_t dims[2];
  } tensors[] = {{"token_embd.weight", 2, {4, 3}},        {"output_norm.weight", 1, {4}},
                 {"blk.0.attn_norm.weight", 1, {4}},      {"blk.0.attn_q.weight", 2, {4, 4}},
                 {"blk.0.attn_k.weight", 2, {4, 4}},      {"blk.0.attn_v.weight", 2, {4, 4}},
                 {"blk.0.attn_output.weight", 2, {4, 4}}, {"blk.0.ffn_norm.weight", 1, {4}},
                 {"blk.0.ffn_gate.weight", 2, {4, 8}},    {"blk.0.ffn_up.weight", 2, {4, 8}},
                 {"blk.0.ffn_down.weight", 2, {8, 4}}};
  uint32_t keys = 0, n_tensors = 0;
  put_header(&file, 3, 0, 0);
  put_key_text(&file, "general.architecture", s->architecture ? s->architecture : "llama"), keys++;
  key_int(s, "block_count", 1, &keys), key_int(s, "context_length", 32, &keys),
      key_int(s, "embedding_length", 4, &keys);
  key_int(s, "feed_forward_length", 8, &keys), key_int(s, "attention.head_count_kv", 1, &keys);
  if (s->two_head_counts) {
    put_key(&file, "llama.attention.head_count", TERN__GGUF_ARRAY), keys++;
    put_u32(&file, TERN__GGUF_U32), put_u64(&file, 2), put_u32(&file, 1), put_u32(&file, 2);
  } else
    key_int(s, "attention.head_count", 1, &keys);
  if (!s->drop || strcmp(s->drop, "llama.attention.layer_norm_rms_epsilon") != 0)
    put_key_f32(&file, "llama.attention.layer_norm_rms_epsilon", 1e-5f), keys++;
  if (s->key_text) put_key_text(&file, s->key_text, s->text), keys++;
  if (s->key_int && strcmp(s->key_int, "llama.expert_count") == 0)
    put_key_u32(&file, s->key_int, s->value), keys++;
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
    if (!s->drop || strcmp(s->drop, tensors[i].name) != 0)
      put_tensor(&file, tensors[i].name, (uint32_t)tensors[i].rank, tensors[i].dims, 0, 0), n_tensors++;
  if (s->extra) put_tensor(&file, s->extra, 2, (uint64_t[]){4, 4}, 0, 0), n_tensors++;
  put_zeros(&file, 32, 256);
  memcpy(file.data + 8, &(uint64_t){n_tensors}, 8), memcpy(file.data + 16, &(uint64_t){keys}, 8);
}

static tern_status build(const tiny_spec *s) {
  tern__arena arena;
  tern__gguf *gguf = NULL;
  tern__graph *graph = NULL;
  tern__arch_info info;
  tern__alloc_init(&heap, NULL, 0);
  tern__arena_init(&arena, &heap);
  write_model(s);
  cr_assert_eq(tern__gguf_open(&heap, file.data, file.size, &gguf), TERN_OK, "%s", tern_last_error());
  tern_status status = tern__arch_build(gguf, 0, &heap, &arena, &graph, &info);
  cr_expect_eq(graph != NULL, status == TERN_OK);
  tern__graph_destroy(graph);
  tern__arena_deinit(&arena);
  tern__gguf_close(gguf);
  cr_expect_eq(heap.live_bytes, 0);
  return status;
}

static void refused(tern_status want, const char *part, tiny_spec s) {
  tern_status got = build(&s);
  cr_expect_eq(got, want, "%s: %s", tern_status_name(got), tern_last_error());
  cr_expect_not_null(strstr(tern_last_error(), part), "'%s' does not say '%s'", tern_last_error(), part);
}

Test(arch_llama, refusals_name_what_is_wrong) {
  cr_assert_eq(build(&(tiny_spec){0}), TERN_OK, "%s", tern_last_error());
  refused(TERN_STATUS_UNSUPPORTED, "architecture 'mamba' is not supported; these are: gemma3, llama",
          (tiny_spec){.architecture = "mamba"});
  refused(TERN_STATUS_CORRUPT, "'llama.block_count' is missing", (tiny_spec){.drop = "llama.block_count"});
  refused(TERN_STATUS_CORRUPT, "llama.attention.layer_norm_rms_epsilon",
          (tiny_spec){.drop = "llama.attention.layer_norm_rms_epsilon"});
  refused(TERN_STATUS_CORRUPT, "'blk.0.ffn_up.weight' is missing",
          (tiny_spec){.drop = "blk.0.ffn_up.weight"});
  refused(TERN_STATUS_CORRUPT, "'token_embd.weight' is missing", (tiny_spec){.drop = "token_embd.weight"});
  refused(TERN_STATUS_UNSUPPORTED, "'blk.0.attn_strange.weight' has no place",
          (tiny_spec){.extra = "blk.0.attn_strange.weight"});
  refused(TERN_STATUS_UNSUPPORTED, "is 'yarn'",
          (tiny_spec){.key_text = "llama.rope.scaling.type", .text = "yarn"});
  refused(TERN_STATUS_UNSUPPORTED, "expert_count", (tiny_spec){.key_int = "llama.expert_count", .value = 8});
  refused(TERN_STATUS_UNSUPPORTED, "'llama.attention.head_count' differs between layers",
          (tiny_spec){.two_head_counts = true});
  refused(TERN_STATUS_CORRUPT, "llama.embedding_length",
          (tiny_spec){.key_int = "llama.embedding_length", .value = 0});
  refused(TERN_STATUS_CORRUPT, "has shape", (tiny_spec){.key_int = "llama.embedding_length", .value = 8});
  refused(TERN_STATUS_CORRUPT, "has shape", (tiny_spec){.key_int = "llama.feed_forward_length", .value = 16});
  refused(TERN_STATUS_CORRUPT, "'blk.1.attn_norm.weight' is missing",
          (tiny_spec){.key_int = "llama.block_count", .value = 2});
  refused(TERN_STATUS_CORRUPT, "llama.block_count",
          (tiny_spec){.key_int = "llama.block_count", .value = 4000000000u});
}

Test(arch_llama, graph_has_the_contract_of_a_transformers_js_folder) {
  static const char *const inputs[] = {"input_ids",
                                       "attention_mask",
                                       "position_ids",
                                       "past_key_values.0.key",
                                       "past_key_values.0.value",
                                       "past_key_values.1.key",
                                       "past_key_values.1.value"};
  static const char *const outputs[] = {"logits", "present.0.key", "present.0.value", "present.1.key",
                                        "present.1.value"};
  tern__file_map map = open_tiny("tiny_llama.gguf");
  tern__arena arena;
  tern__gguf *gguf;
  tern__graph *g;
  tern__arch_info info;
  tern__alloc_init(&heap, NULL, 0);
  tern__arena_init(&arena, &heap);
  cr_assert_eq(tern__gguf_open(&heap, map.data, map.size, &gguf), TERN_OK);
  cr_assert_eq(tern__arch_build(gguf, 40, &heap, &arena, &g, &info), TERN_OK, "%s", tern_last_error());
  cr_assert(tern__array_count(g->inputs) == 7 && tern__array_count(g->outputs) == 5);
  for (int i = 0; i < 7; i++) cr_expect_str_eq(g->values[g->inputs[i]].name, inputs[i]);
  for (int i = 0; i < 5; i++) cr_expect_str_eq(g->values[g->outputs[i]].name, outputs[i]);
  cr_expect(info.context_length == 40 && info.trained_context == 128 && info.n_layers == 2 &&
            info.n_heads == 4);
  cr_expect(info.kv_heads == 2 && info.head_dim == 16 && info.width == 64 && info.vocabulary == 64);
  /* Weights are views into the file. */
  const tern__value *w = &g->values[tern__graph_find(g, "blk.0.attn_q.weight")];
  cr_expect((const uint8_t *)w->data >= map.data && (const uint8_t *)w->data < map.data + map.size);
  tern__graph_destroy(g);
  tern__arena_deinit(&arena);
  tern__gguf_close(gguf);
  tern__file_map_close(&map);
}

/* Angles as llama.cpp's ggml_rope_cache_init makes them, cos and sin to the last bit of float or next to it.
 */
Test(arch_llama, rotary_tables) {
  tern__file_map map = open_tiny("tiny_llama.gguf");
  tern__arena arena;
  tern__gguf *gguf;
  tern__graph *g;
  tern__arch_info info;
  const float factors[8] = {1, 1, 1, 1, 1.5f, 2.5f, 8, 8};
  tern__alloc_init(&heap, NULL, 0);
  tern__arena_init(&arena, &heap);
  cr_assert_eq(tern__gguf_open(&heap, map.data, map.size, &gguf), TERN_OK);
  cr_assert_eq(tern__arch_build(gguf, 0, &heap, &arena, &g, &info), TERN_OK, "%s", tern_last_error());
  const tern__value *cosine = &g->values[tern__graph_find(g, "cos_cache.10000.1")],
                    *sine = &g->values[tern__graph_find(g, "sin_cache.10000.1")];
  cr_assert(cosine->shape.dims[0] == 128 && cosine->shape.dims[1] == 8);
  float ratio = powf(10000.0f, -2.0f / 16);
  for (int p = 0; p < 128; p++) {
    float theta = (float)p;
    for (int i = 0; i < 8; i++, theta *= ratio) {
      double angle = (double)(theta / factors[i]);
      cr_assert(fabs((double)((const float *)cosine->data)[p * 8 + i] - cos(angle)) < 6e-8, "cos at %d, %d",
                p, i);
      cr_assert(fabs((double)((const float *)sine->data)[p * 8 + i] - sin(angle)) < 6e-8, "sin at %d, %d", p,
                i);
    }
  }
  tern__graph_destroy(g);
  tern__arena_deinit(&arena);
  tern__gguf_close(gguf);
  tern__file_map_close(&map);
}
