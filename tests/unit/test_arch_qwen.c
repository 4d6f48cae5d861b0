/* The qwen2 and qwen3 builders: the logits of tiny models. qwen3's heads are wider than width / heads, and
 * its output is tied to the embedding. */
#include "arch_logits.h"

/* Float32 against double: some 1e-6 of the largest logit, 3 and 48. */
Test(arch_qwen, tiny_qwen2_logits) { check_logits("tiny_qwen2", 2e-5); }
Test(arch_qwen, tiny_qwen3_logits) { check_logits("tiny_qwen3", 2e-4); }
