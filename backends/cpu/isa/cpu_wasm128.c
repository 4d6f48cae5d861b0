/* Kernels for WebAssembly SIMD128. */
#if defined(__wasm_simd128__)
#  include "cpu/simd/simd_wasm128.h"
#  include "cpu/kernels/kernel_table.h"

#  if defined(__wasm_relaxed_simd__)
KERNEL_TABLE(tern__cpu_kernels_wasm128, "WebAssembly SIMD128 relaxed")
#  else
KERNEL_TABLE(tern__cpu_kernels_wasm128, "WebAssembly SIMD128")
#  endif
#endif
