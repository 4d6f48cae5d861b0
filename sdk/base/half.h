/* 16-bit floats to and from float, in plain C. */
#ifndef TERN_BASE_HALF_H
#define TERN_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t tern__f32_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static inline float tern__bits_f32(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }

static inline float tern__f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
  if (mag >= 0x7c00) return tern__bits_f32(sign | 0x7f800000 | (mag & 0x3ff) << 13);
  if (mag >= 0x0400) return tern__bits_f32(sign | ((mag << 13) + 0x38000000));
  /* Subnormal: mag * 2^-24 is exact. */
  float f = (float)mag * 5.9604644775390625e-8f;
  return sign ? -f : f;
}

/* Round to nearest, ties to even; overflow to infinity; NaN stays NaN. */
static inline uint16_t tern__f32_to_f16(float f) {
  uint32_t u = tern__f32_bits(f), sign = (u >> 16) & 0x8000, mag = u & 0x7fffffff;
  if (mag > 0x7f800000) return (uint16_t)(sign | 0x7e00 | ((mag >> 13) & 0x3ff));
  if (mag >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (mag >= 0x38800000) {
    mag += 0xfff + ((mag >> 13) & 1) - 0x38000000;
    return (uint16_t)(sign | mag >> 13);
  }
  /* Adding 0.5 lines the subnormal's bits up with the low end of the significand and rounds to even. */
  float t = tern__bits_f32(mag) + 0.5f;
  return (uint16_t)(sign | (tern__f32_bits(t) - 0x3f000000));
}

static inline float tern__bf16_to_f32(uint16_t h) { return tern__bits_f32((uint32_t)h << 16); }
static inline uint16_t tern__f32_to_bf16(float f) {
  uint32_t u = tern__f32_bits(f);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
  return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

#endif
