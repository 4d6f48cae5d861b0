/* Run-time detection of instruction sets. */
#include "cpu/cpu_features.h"

#if defined(__aarch64__) && defined(__linux__)
#  include <sys/auxv.h>
#endif

#if defined(__x86_64__)
static uint32_t detect(void) {
  uint32_t found = 0;
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
    found |= TERN__CPU_AVX2;
  if (found && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16"))
    found |= TERN__CPU_AVX512;
  return found;
}
#elif defined(__aarch64__) && defined(__linux__)
/* Bits of the Linux ABI (arch/arm64/include/uapi/asm/hwcap.h). */
static uint32_t detect(void) {
  unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  const unsigned long fp16 = 1ul << 10, dotprod = 1ul << 20, i8mm = 1ul << 13;
  uint32_t found = TERN__CPU_NEON;
  if ((caps & dotprod) && (caps & fp16)) found |= TERN__CPU_NEON_DOTPROD;
  if ((found & TERN__CPU_NEON_DOTPROD) && (caps2 & i8mm)) found |= TERN__CPU_NEON_I8MM;
  return found;
}
#elif defined(__aarch64__)
static uint32_t detect(void) { return TERN__CPU_NEON | TERN__CPU_NEON_DOTPROD; }
#elif defined(__wasm_simd128__)
static uint32_t detect(void) { return TERN__CPU_WASM128; } /* or the module would not have been accepted */
#else
static uint32_t detect(void) { return 0; }
#endif

uint32_t tern__cpu_features(void) { return TERN__CPU_SCALAR | detect(); }
