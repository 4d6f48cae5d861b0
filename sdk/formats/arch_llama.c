/* Llama and the many models in its shape (SmolLM2, TinyLlama, Mistral 7B ...). Source: llama.cpp,
 * src/models/llama.cpp. Converters store the rows of Q and K for rotary pairs (2i, 2i+1). Biases are used
 * where the file has them. */
#include "formats/arch_builder.h"

static tern_status add_layer(tern__arch_builder *b, int32_t layer, const tern__arch_attention *attention,
                             bool head_norms, tern__value_id *x) {
  tern_status status = TERN_OK;
  const tern__arch_info *m = b->info;
  int64_t d = m->width, q_size = (int64_t)m->n_heads * m->head_dim,
          kv_size = (int64_t)m->kv_heads * m->head_dim;
  tern__value_id h, q, k, v;
  TERN_TRY(tern__arch_norm(b, tern__arch_layer(layer, "attn_norm").text, *x, d, &h));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "attn_q").text, h, q_size, d, &q));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "attn_k").text, h, kv_size, d, &k));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "attn_v").text, h, kv_size, d, &v));
  if (head_norms) {
    TERN_TRY(tern__arch_head_norm(b, tern__arch_layer(layer, "attn_q_norm").text, q, m->n_heads, &q));
    TERN_TRY(tern__arch_head_norm(b, tern__arch_layer(layer, "attn_k_norm").text, k, m->kv_heads, &k));
  }
  TERN_TRY(tern__arch_attend(b, layer, q, k, v, attention, &h));
  TERN_TRY(tern__arch_linear(b, tern__arch_layer(layer, "attn_output").text, h, d, q_size, &h));
  TERN_TRY(tern__arch_add(b, tern__arch_layer(layer, "attn_residual").text, *x, h, x));
  TERN_TRY(tern__arch_norm(b, tern__arch_layer(layer, "ffn_norm").text, *x, d, &h));
  TERN_TRY(tern__arch_gated_mlp(b, layer, h, "SiluMul", &h));
  TERN_TRY(tern__arch_add(b, tern__arch_layer(layer, "ffn_residual").text, *x, h, x));
cleanup:
  return status;
}

tern_status tern__arch_build_like_llama(tern__arch_builder *b, bool interleaved, bool head_norms) {
  tern_status status = TERN_OK;
  tern__arch_attention attention = {.window = -1, .interleaved = interleaved};
  tern__value_id x;
  double base, scale;
  TERN_TRY(tern__arch_begin(b, &x));
  TERN_TRY(tern__arch_number(b, "rope.freq_base", 10000, &base));
  TERN_TRY(tern__arch_rotary_scale(b, &scale));
  TERN_TRY(tern__arch_rotary_tables(b, base, scale, true, &attention.rotary));
  for (int32_t layer = 0; layer < b->info->n_layers; layer++)
    TERN_TRY(add_layer(b, layer, &attention, head_norms, &x));
  TERN_TRY(tern__arch_finish(b, x, 0));
cleanup:
  return status;
}

tern_status tern__arch_build_llama(tern__arch_builder *b) {
  return tern__arch_build_like_llama(b, true, false);
}
