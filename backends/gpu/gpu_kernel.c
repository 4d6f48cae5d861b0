/* The fact table of the kernel variants, as the kernel compiler found the facts. */
#include "gpu/gpu_kernel.h"

const tern__gpu_kernel tern__gpu_kernels[TERN__KERNEL_COUNT] = {
#define TERN_X(name, x, y, z, bindings, immediates, shared, writable, writes, needs) \
  {#name, {x, y, z}, bindings, immediates, shared, writable, writes, needs},
#include "kernels/generated/kernel_table.def"
#undef TERN_X
};
