/* Gemma 3, text only. Source: llama.cpp, src/models/gemma3.cpp, and arXiv:2503.19786. Norm weights are stored
 * with the 1 already added. Five of six layers see a sliding window and rotate with base 10000; every sixth
 * sees all. */
#include <math.h>

#include "formats/arch_builder.h"

typedef struct layer_kinds {
  tern__arch_attention local, global;
  int64_t period;
} layer_kinds;

static tern_status add_layer(tern__arch_builder *b, int32_t layer, const layer_kinds *kinds,
                             tern__value_id *x) {
  tern_status status = TERN_OK;
  const tern__arch_info *m = b->info;
  int64_t d = m->width, q_size = (int64_t)m->n_heads * m->head_dim,
          kv_size = (int64_t)m->kv_heads * m->head_dim;
  bool is_local = kinds->period == 0 || layer % kinds->period < kinds->period - 1;
  tern__value_id h, q, k, v;
  TERN_TRY(tern__arch_norm(b, tern__arch_layer(layer, "attn_norm").text, *x, d, &h));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "attn_q").text, h, q_size, d, &q));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "attn_k").text, h, kv_size, d, &k));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "attn_v").text, h, kv_size, d, &v));
  TERN_TRY(tern__arch_head_norm(b, tern__arch_layer(layer, "attn_q_norm").text, q, m->n_heads, &q));
  TERN_TRY(tern__arch_head_norm(b, tern__arch_layer(layer, "attn_k_norm").text, k, m->kv_heads, &k));
  TERN_TRY(tern__arch_attend(b, layer, q, k, v, is_local ? &kinds->local : &kinds->global, &h));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "attn_output").text, h, d, q_size, &h));
  TERN_TRY(tern__arch_norm(b, tern__arch_layer(layer, "post_attention_norm").text, h, d, &h));
  TERN_TRY(tern__arch_add(b, tern__arch_layer(layer, "attn_residual").text, *x, h, x));
  TERN_TRY(tern__arch_norm(b, tern__arch_layer(layer, "ffn_norm").text, *x, d, &h));
  TERN_TRY(tern__arch_gated_mlp(b, layer, h, "GeluMul", &h));
  TERN_TRY(tern__arch_norm(b, tern__arch_layer(layer, "post_ffw_norm").text, h, d, &h));
  TERN_TRY(tern__arch_add(b, tern__arch_layer(layer, "ffn_residual").text, *x, h, x));
cleanup:
  return status;
}

static tern_status read_kinds(tern__arch_builder *b, layer_kinds *kinds) {
  tern_status status = TERN_OK;
  double base, local_base, scale;
  int64_t window;
  const tern__arch_info *m = b->info;
  /* The 27B model, told by its 62 layers, scales by width / heads instead of the head size. */
  float scale_dim = (float)(m->n_layers == 62 ? m->width / m->n_heads : m->head_dim);
  TERN_TRY(tern__arch_number(b, "rope.freq_base", 10000, &base));
  TERN_TRY(tern__arch_number(b, "rope.freq_base_swa", 10000, &local_base));
  TERN_TRY(tern__arch_rotary_scale(b, &scale));
  TERN_TRY(tern__arch_int(b, "attention.sliding_window", false, 0, 0, INT32_MAX, &window));
  TERN_TRY(tern__arch_int(b, "attention.sliding_window_pattern", false, 6, 0, 1024, &kinds->period));
  if (!window) kinds->period = 1; /* every layer sees all */
  kinds->global = (tern__arch_attention){.scale = 1.0f / sqrtf(scale_dim), .window = -1};
  kinds->local = kinds->global;
  kinds->local.window = window;
  TERN_TRY(tern__arch_rotary_tables(b, base, scale, false, &kinds->global.rotary));
  kinds->local.rotary = kinds->global.rotary;
  if (window && (base != local_base || scale != 1)) /* scaling is for the global layers alone */
    TERN_TRY(tern__arch_rotary_tables(b, local_base, 1, false, &kinds->local.rotary));
cleanup:
  return status;
}

tern_status tern__arch_build_gemma3(tern__arch_builder *b) {
  tern_status status = TERN_OK;
  layer_kinds kinds;
  tern__value_id x;
  double softcap;
  TERN_TRY(tern__arch_begin(b, &x));
  TERN_TRY(read_kinds(b, &kinds));
  TERN_TRY(tern__arch_number(b, "final_logit_softcapping", 0, &softcap));
  TERN_TRY(tern__arch_scale(b, "embed_scale", x, sqrtf((float)b->info->width), &x));
  for (int32_t layer = 0; layer < b->info->n_layers; layer++) TERN_TRY(add_layer(b, layer, &kinds, &x));
  TERN_TRY(tern__arch_finish(b, x, (float)softcap));
cleanup:
  return status;
}
