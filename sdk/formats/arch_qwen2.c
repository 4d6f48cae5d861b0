/* Qwen 2 and 2.5, dense: Llama's shape with biases on Q, K and V, and rotary pairs (i, i + half). Source:
 * llama.cpp, src/models/qwen2.cpp; arXiv:2407.10671. */
#include "formats/arch_builder.h"

tern_status tern__arch_build_qwen2(tern__arch_builder *b) {
  return tern__arch_build_like_llama(b, false, false);
}
