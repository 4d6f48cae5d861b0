/* Which of this build's kernel sets this CPU can run. */
#ifndef TERN_CPU_FEATURES_H
#define TERN_CPU_FEATURES_H

#include <stdint.h>

enum {
  TERN__CPU_SCALAR = 1,
  TERN__CPU_AVX2 = 2,
  TERN__CPU_AVX512 = 4,
  TERN__CPU_NEON = 8,
  TERN__CPU_NEON_DOTPROD = 16,
  TERN__CPU_NEON_I8MM = 32,
  TERN__CPU_WASM128 = 64
};

uint32_t tern__cpu_features(void);

#endif
