/* tern.Fused: what the kinds of cpu_fuse.h become. */
#include "cpu/cpu_fuse.h"
#include "cpu/cpu_pack.h"

#include <string.h>

int32_t tern__cpu_fused_input(const tern__node *node, tern__value_id id) {
  for (int32_t i = 0; id >= 0 && i < node->n_inputs; i++)
    if (node->inputs[i] == id) return i;
  return -1;
}

/* The product's own step, with the other operand of Add for its bias, and maybe an activation. */
static tern_status compile_linear_bias(tern__program *program, const tern__node *node, bool *taken) {
  const tern__node *part = &node->parts[0], *add = &node->parts[1];
  tern__weight_product product;
  tern__weight_read *read = tern__cpu_product_reader(part->op);
  if (!read || !tern__cpu_read_product(program, part, read, &product)) return TERN_OK;
  product.bias = tern__cpu_fused_input(node, add->inputs[add->inputs[0] == part->outputs[0]]);
  tern__cpu_unary activation = TERN__CPU_UNARY_COUNT;
  if (node->n_parts > 2) tern__cpu_unary_of(&node->parts[2], &activation);
  if (product.source.channel) return tern__cpu_add_channel_linear(program, node, &product, activation, taken);
  return tern__cpu_add_linear(program, node, &product, activation, taken);
}

tern_status tern__cpu_compile_fused(tern__program *program, const tern__node *node, bool *taken) {
  const char *kind = tern__node_string(node, "kind", "");
  if (!strcmp(kind, "linear_bias")) return compile_linear_bias(program, node, taken);
  if (!strcmp(kind, "skip_norm")) return tern__cpu_compile_skip_norm(program, node, taken);
  return TERN_OK;
}
