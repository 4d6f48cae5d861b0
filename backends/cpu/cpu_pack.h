/* Weights into panels of 16 rows (layouts: cpu_kernels.h). */
#ifndef TERN_CPU_PACK_H
#define TERN_CPU_PACK_H

#include "cpu/cpu_program.h"

/* Where the weights come from: N rows of K. */
typedef struct tern__cpu_weight_source {
  tern_dtype dtype;        /* U8 with bits != 0: MatMulNBits; U8, I8 otherwise: plain integers */
  const uint8_t *data;     /* may be unaligned */
  size_t n, k;
  bool k_major;            /* [K][N] instead of [N][K]; plain types only */
  /* MatMulNBits: [N][blocks][bits * block_size / 8] */
  int32_t bits, block_size;
  const uint8_t *scales;   /* [N][blocks] of scale_dtype */
  tern_dtype scale_dtype;
  const uint8_t *zeros;    /* NULL, [N][packed], or of scale_dtype [N][blocks] */
  bool float_zeros;
} tern__cpu_weight_source;

/* False if these weights have no panel form. */
bool tern__cpu_weight_format_of(const tern__cpu_weight_source *source, tern__cpu_weight_format *out);
size_t tern__cpu_panel_bytes(const tern__cpu_weight_format *format, size_t k);
/* Packs `count` panels from `panel` on to `out`, their first byte. */
void tern__cpu_pack_panels(const tern__cpu_weight_source *source, const tern__cpu_weight_format *format,
                           size_t panel, size_t count, uint8_t *out);
/* Registers the packing of all panels with the program; *out is set in prepare. */
tern_status tern__cpu_pack_weights(tern__program *program, const tern__cpu_weight_source *source,
                                   const tern__cpu_weight_format *format, const void **out);
/* Puts 32 weights of row `row` (of 16) into a Q8 block without scales. */
void tern__cpu_put_q8(uint8_t *block, int row, const int8_t q[TERN__CPU_BLOCK]);
/* A layout number for the pack cache from samples of the data and what else decides the packed form. */
uint64_t tern__cpu_layout_hash(const uint8_t *data, size_t size, uint64_t a, uint64_t b);
/* The value, if it is a constant of the graph (through reshapes): memory that outlives the plan. NULL
 * otherwise. */
const uint8_t *tern__cpu_constant(const tern__program *program, const tern__node *node, int32_t input);

#endif
