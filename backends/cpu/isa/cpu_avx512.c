/* Kernels for AVX-512 F, BW, VL, DQ and VNNI. */
#if defined(__x86_64__)
#  include "cpu/simd/simd_avx512.h"
#  include "cpu/kernels/kernel_table.h"

KERNEL_TABLE(tern__cpu_kernels_avx512, "AVX-512 VNNI")
#endif
