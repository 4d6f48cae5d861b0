 *
 * The elementwise formulas that GPU and CPU share, one function a WGSL function; math_exp there is
 * tern__math_exp here. Compile with -ffp-contract=off -fno-math-errno -fno-trapping-math: the first keeps
 * a*b+c from being fused where the formula does not say fma, the others let the compiler vectorise. Not with
 * -ffast-math: it breaks NaN and rounding. Loops over these functions vectorise at -O3 for whatever ISA the
 * file is compiled for, with the same results bit for bit as the scalar form under the same TERN__MATH_FMA.
 */
#ifndef TERN_KERNEL_MATH_H
#define TERN_KERNEL_MATH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A loop vectorises only if the whole formula is inlined; the longer ones are past the
 * compiler's own limit. */
#if defined(__GNUC__)
#define TERN__MATH_INLINE static inline __attribute__((always_inline))
#else
#define TERN__MATH_INLINE static inline
#endif

/* WGSL lets a device fuse fma or round twice. Here: fused where it is one instruction (elsewhere fmaf is a
 * slow library call), else multiply and add. The bounds hold for both. TERN__MATH_CONSISTENT, defined before
 * the include, forces multiply and add everywhere: the same bits on every ISA, and on devices that do not
 * fuse. */
#ifndef TERN__MATH_FMA
#if (defined(__FMA__) || defined(__ARM_FEATURE_FMA)) && !defined(TERN__MATH_CONSISTENT)
#define TERN__MATH_FMA(a, b, c) __builtin_fmaf((a), (b), (c))
#else
#define TERN__MATH_FMA(a, b, c) ((a) * (b) + (c))
#endif
#endif

#define TERN__MATH_SQRT(x) sqrtf(x)

/* Ties to even; floor. One instruction on these ISAs, elsewhere (baseline x86-64) written out so that it
 * vectorises too; both give the same bits. */
#if defined(__SSE4_1__) || defined(__aarch64__) || defined(__wasm_simd128__)
#define TERN__MATH_ROUND(x) rintf(x)
#define TERN__MATH_FLOOR(x) floorf(x)
#else
#define TERN__MATH_ROUND(x) tern__math_round_written_out(x)
#define TERN__MATH_FLOOR(x) tern__math_floor_written_out(x)
#endif

TERN__MATH_INLINE uint32_t tern__math_bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

TERN__MATH_INLINE float tern__math_float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Adding and taking away 2^23 rounds any |x| < 2^23; larger ones are whole already. */
TERN__MATH_INLINE float tern__math_round_written_out(float x) {
  const uint32_t sign = tern__math_bits_of(x) & 0x80000000u;
  const float magnitude = tern__math_float_of(tern__math_bits_of(x) ^ sign);
  const float rounded = (magnitude + 8388608.0f) - 8388608.0f;
  return tern__math_float_of(tern__math_bits_of(magnitude < 8388608.0f ? rounded : magnitude) | sign);
}

TERN__MATH_INLINE float tern__math_floor_written_out(float x) {
  const float rounded = tern__math_round_written_out(x);
  const float lower = rounded - 1.0f;
  return rounded > x ? lower : rounded;
}

TERN__MATH_INLINE int32_t tern__math_min_i32(int32_t a, int32_t b) { return a < b ? a : b; }
TERN__MATH_INLINE int32_t tern__math_max_i32(int32_t a, int32_t b) { return a > b ? a : b; }
TERN__MATH_INLINE uint32_t tern__math_min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
TERN__MATH_INLINE uint32_t tern__math_max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

TERN__MATH_INLINE int32_t tern__math_clamp_i32(int32_t x, int32_t low, int32_t high) {
  return tern__math_min_i32(tern__math_max_i32(x, low), high);
}

TERN__MATH_INLINE uint32_t tern__math_clamp_u32(uint32_t x, uint32_t low, uint32_t high) {
  return tern__math_min_u32(tern__math_max_u32(x, low), high);
}
