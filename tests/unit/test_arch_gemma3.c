/* The gemma3 builder: the logits of a tiny model, and which layers see a window. */
#include "arch_logits.h"

/* Twelve positions in float32 against double: some 1e-6 of logits of up to 10. */
Test(arch_gemma3, tiny_logits) { check_logits("tiny_gemma3", 4e-5); }

Test(arch_gemma3, windows_and_rotary_bases) {
  tern__file_map map = open_tiny("tiny_gemma3.gguf");
  tern__alloc heap;
  tern__arena arena;
  tern__gguf *gguf;
  tern__graph *g;
  tern__arch_info info;
  tern__alloc_init(&heap, NULL, 0);
  tern__arena_init(&arena, &heap);
  cr_assert_eq(tern__gguf_open(&heap, map.data, map.size, &gguf), TERN_OK);
  cr_assert_eq(tern__arch_build(gguf, 0, &heap, &arena, &g, &info), TERN_OK, "%s", tern_last_error());
  cr_expect(info.head_dim == 32 && info.kv_heads == 1 && info.n_layers == 4);
  int layer = 0;
  for (size_t n = 0; n < tern__array_count(g->nodes); n++) {
    const tern__node *node = &g->nodes[n];
    if (strcmp(node->op->name, "GroupQueryAttention") != 0) continue;
    bool local = layer++ != 2; /* a period of three: local, local, global, local */
    cr_expect_eq(tern__node_int(node, "local_window_size", 0), local ? 4 : -1);
    cr_expect_str_eq(g->values[node->inputs[7]].name, local ? "cos_cache.10000.1" : "cos_cache.1e+06.0.125");
    cr_expect_eq(tern__node_int(node, "rotary_interleaved", 1), 0);
    cr_expect_float_eq(tern__node_float(node, "scale", 0), 1.0f / sqrtf(32), 1e-7);
  }
  cr_expect_eq(layer, 4);
  tern__graph_destroy(g);
  tern__arena_deinit(&arena);
  tern__gguf_close(gguf);
  tern__file_map_close(&map);
}
