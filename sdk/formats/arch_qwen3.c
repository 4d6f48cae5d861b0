/* Qwen 3, dense: Llama's shape with RMSNorm of each head of Q and K before the rotation of pairs (i, i +
 * half). Source: llama.cpp, src/models/qwen3.cpp; arXiv:2505.09388. */
#include "formats/arch_builder.h"

tern_status tern__arch_build_qwen3(tern__arch_builder *b) {
  return tern__arch_build_like_llama(b, false, true);
}
