/* The passes, in their order. */
#include "passes/pass.h"

#define TERN__PASSES(X)                                                                             \
  X(transposed_weights, false)    /* MatMul(x, Transpose(W)) -> Linear, W as it lies */              \
  X(fold_constants, false)        /* nodes over constants become constants */                      \
  X(channel_weights, false)       /* int8 weights with a scale a column stay bytes */               \
  X(dequantize_weights, false)    /* other int8 weights with a scale -> float32 constants */         \
  X(remove_identity, false)       /* Identity, inference-time Dropout, casts to the same type */    \
  X(fuse_norm, false)             /* Pow/ReduceMean/Sqrt/Div chains -> LayerNormalization, RMS */   \
  X(fuse_gelu, false)             /* Div/Erf/Add/Mul/Mul -> Gelu */                                 \
  X(fuse_kv_attention, true)      /* GroupQueryAttention with past/present -> KvAttention */        \
  X(fuse_kv_plain, true)          /* Concat past/MatMul/Softmax/MatMul -> KvAttention */            \
  X(fuse_encoder_attention, false) /* MatMul/scale/mask/Softmax/MatMul -> EncoderAttention */       \
  X(widen_half, false)            /* float16 activations are computed in float32 */                 \
  X(fuse_gated_activation, false) /* x * sigmoid(x) * y -> SiluMul; gelu(x) * y -> GeluMul */       \
  X(last_row, true)               /* logits for the last position only */

#define TERN_X(name, kv_only) tern_status tern__pass_##name(tern__graph *graph, const tern__pass_options *options);
TERN__PASSES(TERN_X)
#undef TERN_X

static const tern__pass passes[] = {
#define TERN_X(name, kv_only) {#name, kv_only, tern__pass_##name},
    TERN__PASSES(TERN_X)
#undef TERN_X
};

tern_status tern__passes_run(tern__graph *graph, const tern__pass_options *options) {
  tern_status status = TERN_OK;
  TERN_TRY(tern__graph_tidy(graph));
  TERN_TRY(tern__graph_verify(graph));
  for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
    if (passes[i].kv_only && !options->kv_cache) continue;
    TERN_TRY(tern__cancel_check(options->cancel, "rewriting the graph"));
    status = passes[i].run(graph, options);
    if (status == TERN_OK) status = tern__graph_tidy(graph);
    if (status == TERN_OK) status = tern__graph_verify(graph);
    if (status != TERN_OK) return tern__fail_context(status, "pass %s", passes[i].name);
  }
cleanup:
  return status;
}
