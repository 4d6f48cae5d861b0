/* Weights into panels of 16 rows (layouts: cpu_kernels.h). */
#ifndef TERN_CPU_PACK_H
#define TERN_CPU_PACK_H

#include "cpu/cpu_program.h"
#include "ir/weight_blocks.h"

/* False if these weights have no panel form. */
bool tern__cpu_weight_format_of(const tern__weight_source *source, tern__cpu_weight_format *out);
size_t tern__cpu_panel_bytes(const tern__cpu_weight_format *format, size_t k);
/* Packs `count` panels from `panel` on to `out`, their first byte. */
void tern__cpu_pack_panels(const tern__weight_source *source, const tern__cpu_weight_format *format,
                           size_t panel, size_t count, uint8_t *out);
/* Registers the packing of all panels with the program; *out is set in prepare. */
tern_status tern__cpu_pack_weights(tern__program *program, const tern__weight_source *source,
                                   const tern__cpu_weight_format *format, const void **out);
/* Memory for all registered weights that the model's cache has not. */
tern_status tern__cpu_reserve_packs(tern__program *program);
/* What prepare does with a registered weight: packs it unless the model's cache has it. */
tern_status tern__cpu_prepare_pack(tern__program *program, const tern__cpu_pack *pack);
/* Puts 32 weights of row `row` (of 16) into a Q8 block without scales. */
void tern__cpu_put_q8(uint8_t *block, int row, const int8_t q[TERN__CPU_BLOCK]);
/* A layout number for the pack cache from samples of the data (the address, if it lies in a file) and what else decides
 * the packed form. */
uint64_t tern__cpu_layout_hash(const tern__program *program, const uint8_t *data, size_t size, uint64_t a, uint64_t b);
/* The value, if it is a constant of the graph (through reshapes): memory that outlives the plan. NULL
 * otherwise. */
const uint8_t *tern__cpu_constant(const tern__program *program, const tern__node *node, int32_t input);
/* Reads a node as a product with constant weights; false if it is none. */
bool tern__cpu_read_product(const tern__program *program, const tern__node *node, tern__weight_read *read,
                            tern__weight_product *out);

/* ops/: steps of a product with constant weights; X is the node's first input, product->bias one of its inputs. Results
 * go through `activation`, a tern__cpu_unary, unless it is TERN__CPU_UNARY_COUNT. */
tern_status tern__cpu_add_linear(tern__program *program, const tern__node *node, const tern__weight_product *product,
                                 tern__cpu_unary activation, bool *taken);
tern_status tern__cpu_add_channel_linear(tern__program *program, const tern__node *node,
                                         const tern__weight_product *product, tern__cpu_unary activation,
                                         bool *taken);
/* The same on the results of a chunk, which are in the cache yet: m rows of n columns. Short rows go together, as a
 * function costs more to enter than some columns take it. */
void tern__cpu_activate(const tern__cpu_kernels *kernels, tern__cpu_unary activation, float *y, size_t ldy, size_t m,
                        size_t n);

#endif
