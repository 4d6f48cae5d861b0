/* Kernels for Advanced SIMD. */
#if defined(__aarch64__)
#  include "cpu/simd/simd_neon.h"
#  include "cpu/kernels/kernel_table.h"

KERNEL_TABLE(tern__cpu_kernels_neon, "NEON")
#endif
