/* Weights as GPU kernels read them (kernels/include/weight_decode.wgsl): blocks of 32 in planes, rows cut into parts
 * that fit a binding. */
#ifndef TERN_GPU_PACK_H
#define TERN_GPU_PACK_H

#include "gpu/gpu_program.h"
#include "ir/weight_blocks.h"

/* Formats, named as kernel variants end: bits, then the type of scales (h: float16, f: float32; 2: one per half block),
 * m with mins. The order of tern__gpu_weight_kernels. */
#define TERN__GPU_WEIGHT_FORMATS(X)                                                                          \
  X(f32) X(f16) X(bf16) X(q4_h) X(q4_hm) X(q4_f) X(q4_fm) X(q5_h) X(q5_hm) X(q5_fm) X(q6_f2) X(q8_h) X(q8_fm2) \
  X(fp4) X(nf4)

typedef enum tern__gpu_weight_format {
#define TERN_X(name) TERN__GPU_WEIGHT_##name,
  TERN__GPU_WEIGHT_FORMATS(TERN_X)
#undef TERN_X
  TERN__GPU_WEIGHT_FORMAT_COUNT
} tern__gpu_weight_format;

/* A kernel with a variant per format has them in the order above: `first` is its f32. */
static inline tern__gpu_kernel_id tern__gpu_weight_kernel(tern__gpu_kernel_id first, tern__gpu_weight_format format) {
  return (tern__gpu_kernel_id)((int)first + (int)format);
}

typedef struct tern__gpu_weights {
  tern__gpu_weight_format format;
  uint64_t n, k, blocks;     /* rows; elements and blocks of a row */
  uint64_t part_rows;        /* of every part but the last */
  int32_t first_part, parts; /* weights of the program: first_part + i */
} tern__gpu_weights;

enum {
  TERN__GPU_MAX_SOURCES = 3,
  TERN__GPU_WEIGHT_BINDINGS = 3 /* numbers, scales, what lies above four bits; a kernel has the first 1 to 3 */
};

/* False if kernels cannot read these weights. */
bool tern__gpu_weight_format_of(const tern__weight_source *source, tern__gpu_weight_format *out);
/* Weights that are laid out as one: sources one after the other, or their rows in turn (gate, up, gate, up ...). */
typedef struct tern__gpu_sources {
  tern__weight_source list[TERN__GPU_MAX_SOURCES];
  int32_t n;
  bool in_turn;
} tern__gpu_sources;

/* Fills all but the parts; false if the weights cannot be read as one or a row does not fit a binding. */
bool tern__gpu_weights_fit(const tern__program *program, const tern__gpu_sources *sources, tern__gpu_weights *out);
/* Registers weights that fit with the program. */
tern_status tern__gpu_pack_weights(tern__program *program, const tern__gpu_sources *sources, tern__gpu_weights *out);
/* A weight that was registered so is packed a run of rows at a time, by several threads at once: never all of it is in
 * the host's memory. The number of runs, and what one needs of scratch; 0: a weight of another kind, built whole. */
uint64_t tern__gpu_weight_runs(const tern__gpu_weight *weight, size_t *scratch_bytes);
/* Some bytes of a weight, and where they go in it. */
typedef struct tern__gpu_packed { const void *data; uint64_t offset; size_t size; } tern__gpu_packed;
/* Packs a run into `scratch`: one range of every plane, `size` 0 where the format has no such plane. */
void tern__gpu_pack_run(const tern__gpu_weight *weight, uint64_t run, uint8_t *scratch,
                        tern__gpu_packed out[TERN__GPU_WEIGHT_BINDINGS]);
/* Rows of part i, and its operands. */
uint64_t tern__gpu_weight_rows(const tern__gpu_weights *weights, int32_t part);
void tern__gpu_weight_operands(const tern__gpu_weights *weights, int32_t part,
                               tern__gpu_operand operands[TERN__GPU_WEIGHT_BINDINGS]);
/* Views and constants of a node's inputs, for tern__weight_read functions; `x`, if not NULL, in place of the view of
 * input 0. */
bool tern__gpu_read_product(const tern__program *program, const tern__node *node, const tern__view *x,
                            tern__weight_read *read, tern__weight_product *out);

#endif
