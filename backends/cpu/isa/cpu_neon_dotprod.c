/* Kernels for Advanced SIMD with the dot product extension. */
#if defined(__aarch64__)
#  include "cpu/simd/simd_neon.h"
#  include "cpu/kernels/kernel_table.h"

KERNEL_TABLE(tern__cpu_kernels_neon_dotprod, "NEON dotprod")
#endif
