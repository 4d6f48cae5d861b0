/* Kernels in plain C, for any CPU. */
#include "cpu/simd/simd_scalar.h"
#include "cpu/kernels/kernel_table.h"

KERNEL_TABLE(tern__cpu_kernels_scalar, "plain C")
