/* Kernels for AVX2, FMA and F16C. */
#if defined(__x86_64__)
#  include "cpu/simd/simd_avx2.h"
#  include "cpu/kernels/kernel_table.h"

KERNEL_TABLE(tern__cpu_kernels_avx2, "AVX2 FMA F16C")
#endif
