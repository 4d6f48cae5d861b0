/* Kernels for Advanced SIMD of Armv8.6 (dot product; scheduled for its cores). */
#if defined(__aarch64__)
#  include "cpu/simd/simd_neon.h"
#  include "cpu/kernels/kernel_table.h"

KERNEL_TABLE(tern__cpu_kernels_neon_i8mm, "NEON dotprod i8mm")
#endif
