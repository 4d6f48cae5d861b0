/* What architectures share: hyperparameters with checks, weights by name, and the nodes that every decoder
 * has. All functions need a builder that tern__arch_begin set up. */
#ifndef TERN_FORMATS_ARCH_BUILDER_H
#define TERN_FORMATS_ARCH_BUILDER_H

#include "formats/arch.h"

typedef struct tern__arch_builder {
  const tern__gguf *gguf;
  tern__alloc *alloc;
  tern__graph *graph;
  tern__arch_info *info;
  bool *used; /* per tensor of the file */
  int32_t max_positions;
  int64_t n_ff;
  float rms_epsilon;
  int64_t rotary_dim;
  tern__value_id input_ids, seqlens, total_length;
} tern__arch_builder;

/* A node's place: "blk.3.attn_q". */
typedef struct tern__arch_name {
  char text[96];
} tern__arch_name;
tern__arch_name tern__arch_layer(int32_t layer, const char *what);

/* Keys below the architecture's own name: "attention.head_count" is llama.attention.head_count. An array is
 * accepted if all its entries are equal, because then it says the same; otherwise UNSUPPORTED. Out of [low,
 * high]: CORRUPT. need = absence is CORRUPT. */
tern_status tern__arch_int(tern__arch_builder *b, const char *key, bool need, int64_t fallback, int64_t low,
                           int64_t high, int64_t *out);
tern_status tern__arch_number(tern__arch_builder *b, const char *key, double fallback, double *out);
/* UNSUPPORTED, naming the key, unless it is absent or equal to `value`. */
tern_status tern__arch_demand(tern__arch_builder *b, const char *key, int64_t value);

/* A tensor as a constant named as in the file; the same one again gives the same value. Optional and absent:
 * -1. The shape must be [rows, columns], or [columns] for vectors (rows 0). Vectors become aligned float32.
 */
tern_status tern__arch_weight(tern__arch_builder *b, const char *name, bool need, int64_t rows,
                              int64_t columns, tern__value_id *out);

/* Nodes with one output. Optional inputs are -1. */
tern_status tern__arch_node(tern__arch_builder *b, const char *op, const char *domain, const char *name,
                            const tern__value_id *inputs, int32_t n_inputs, tern__value_id *out,
                            int32_t *node);
tern_status tern__arch_constant(tern__arch_builder *b, tern_dtype dtype, int32_t rank, const int64_t *dims,
                                const void *data, tern__value_id *out); /* data is copied */
/* x W^T + bias with `name`.weight [n, k] and, if the file has it, `name`.bias [n]. */
tern_status tern__arch_linear(tern__arch_builder *b, const char *name, tern__value_id x, int64_t n, int64_t k,
                              tern__value_id *out);
/* RMSNorm over the last dim with `name`.weight [size]. */
tern_status tern__arch_norm(tern__arch_builder *b, const char *name, tern__value_id x, int64_t size,
                            tern__value_id *out);
/* RMSNorm of each head of x [B, S, heads * head_dim]. */
tern_status tern__arch_head_norm(tern__arch_builder *b, const char *name, tern__value_id x, int64_t heads,
                                 tern__value_id *out);
tern_status tern__arch_add(tern__arch_builder *b, const char *name, tern__value_id x, tern__value_id y,
                           tern__value_id *out);
tern_status tern__arch_scale(tern__arch_builder *b, const char *name, tern__value_id x, float by,
                             tern__value_id *out);
/* down(gate_op(gate x) * up x); gate_op is "SiluMul" or "GeluMul" (tanh). */
tern_status tern__arch_gated_mlp(tern__arch_builder *b, int32_t layer, tern__value_id x, const char *gate_op,
                                 tern__value_id *out);

/* cos and sin tables [positions, rotary_dim / 2]. Angle i of position p is p * base^(-2i / rotary_dim) *
 * scale, divided by rope_freqs.weight [i] where the file has it and with_factors is set. */
typedef struct tern__arch_rotary {
  tern__value_id cos, sin;
} tern__arch_rotary;
tern_status tern__arch_rotary_tables(tern__arch_builder *b, double base, double scale, bool with_factors,
                                     tern__arch_rotary *out);
/* 1 / the linear scaling factor of the file; UNSUPPORTED for yarn and longrope. */
tern_status tern__arch_rotary_scale(tern__arch_builder *b, double *out);

typedef struct tern__arch_attention {
  float scale;      /* 0 = 1 / sqrt(head_dim) */
  int64_t window;   /* keys that a query sees, itself included; -1 = all */
  bool interleaved; /* rotary pairs (2i, 2i+1), as in llama's GGUF files, not (i, i + half) */
  tern__arch_rotary rotary;
} tern__arch_attention;
/* q [B, S, H D], k and v [B, S, Hkv D] -> [B, S, H D]; adds the layer's past inputs and present outputs. */
tern_status tern__arch_attend(tern__arch_builder *b, int32_t layer, tern__value_id q, tern__value_id k,
                              tern__value_id v, const tern__arch_attention *options, tern__value_id *out);

/* Reads the common hyperparameters, adds inputs and the embedding lookup: *x is [B, S, width]. */
tern_status tern__arch_begin(tern__arch_builder *b, tern__value_id *x);
/* Final norm, output matmul (tied to the embedding if the file has no output.weight), soft cap (0 = none),
 * the output "logits"; then every tensor of the file must have been used: UNSUPPORTED names one that was not.
 */
tern_status tern__arch_finish(tern__arch_builder *b, tern__value_id x, float softcap);

/* A whole model in Llama's shape (arch_llama.c): rotary pairs interleaved or not, RMSNorm of the heads of Q
 * and K or not. */
tern_status tern__arch_build_like_llama(tern__arch_builder *b, bool interleaved, bool head_norms);

#endif
