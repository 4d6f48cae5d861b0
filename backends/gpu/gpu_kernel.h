/* Facts about every kernel variant, from generated/kernel_table.def, which the kernel compiler writes. */
#ifndef TERN_GPU_KERNEL_H
#define TERN_GPU_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* What a device may be able to do beyond plain WebGPU; a kernel names what it needs in kernels.def (`needs`). */
enum {
  TERN__GPU_HAS_F16 = 1,             /* half floats in arithmetic and in storage: `enable f16` */
  TERN__GPU_HAS_SUBGROUPS = 2,       /* subgroupAdd, subgroupMax, shuffles */
  TERN__GPU_HAS_INT8_DOT = 4,        /* a packed 8-bit dot product instruction */
  TERN__GPU_HAS_COOPERATIVE_MATRIX = 8, /* f16 16x16x16 with f32 accumulators */
  TERN__GPU_HAS_COHERENT = 16        /* memory that one workgroup reads as another of the dispatch wrote it, between
                                        barriers and atomics; and TERN__GPU_MAX_BINDINGS of bindings */
};

typedef enum tern__gpu_kernel_id {
#define TERN_X(name, ...) TERN__KERNEL_##name,
#include "kernels/generated/kernel_table.def"
#undef TERN_X
  TERN__KERNEL_COUNT
} tern__gpu_kernel_id;

typedef struct tern__gpu_kernel {
  const char *name;             /* as in kernels.def; the browser finds text and overrides by it */
  uint16_t workgroup[3];
  uint8_t n_bindings;
  uint8_t immediate_bytes;
  uint32_t shared_bytes;        /* workgroup memory */
  uint32_t writable;            /* bit i: binding i is declared read_write */
  uint32_t writes;              /* bit i: the kernel stores to binding i. Activations are declared read_write even
                                   where they are only read (WebGPU forbids both of one buffer in a dispatch): the
                                   compiler finds the stores (naga's GlobalUse), and barriers follow from them */
  uint32_t needs;               /* TERN__GPU_HAS_* */
} tern__gpu_kernel;

extern const tern__gpu_kernel tern__gpu_kernels[TERN__KERNEL_COUNT]; /* backends/gpu/gpu_kernel.c */

#endif
