/* WebAssembly SIMD128: four lanes; engines keep about fifteen vectors in registers on x86-64, thirty on 64-bit ARM.
 * A build with relaxed SIMD fuses multiply and add where the CPU does. */
#include <wasm_simd128.h>
#define VF 4
#include "cpu/simd/simd_types.h"

#define TILE_F32 2
#define TILE_INT 2
#define FEW_ROWS 1
#define PANELS_F32 2
#define SMALL_LOOPS 1

INLINE vf vf_set1(float a) { return (vf)wasm_f32x4_splat(a); }
INLINE vi vi_set1(int32_t a) { return (vi)wasm_i32x4_splat(a); }
/* The 32 bits at p in every lane. */
INLINE vi vi_broadcast(const void *p) { return (vi)wasm_v128_load32_splat(p); }
#if defined(__wasm_relaxed_simd__)
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)wasm_f32x4_relaxed_madd((v128_t)a, (v128_t)b, (v128_t)c); }
#else
INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
#endif
INLINE vf vf_max(vf a, vf b) { return (vf)wasm_f32x4_pmax((v128_t)b, (v128_t)a); }
INLINE vf vf_min(vf a, vf b) { return (vf)wasm_f32x4_pmin((v128_t)b, (v128_t)a); }
/* Nearest, ties to even; |a| < 2^22: an addition is cheaper than f32x4.nearest and a saturating conversion. */
INLINE vi vf_round(vf a) { return (vi)(a + 12582912.0f) - 0x4b400000; }
/* Widened by integer arithmetic: exponent and fraction move up by 13, a product with 2^112 sets the bias right (and
 * subnormals, too); infinity and NaN get the largest exponent. */
INLINE vf vf_load_f16(const void *p) {
  vi h = (vi)wasm_u32x4_load16x4(p);
  vi sign = (h & 0x8000) << 16, rest = (h & 0x7fff) << 13;
  vf scaled = (vf)rest * vf_set1(0x1p112f);
  vi special = rest >= 0x0f800000;
  return (vf)(((vi)scaled | (special & 0x7f800000)) | sign);
}
INLINE void vf_store_f16(void *p, vf a) {
  uint16_t h[VF];
  for (int i = 0; i < VF; i++) h[i] = tern__f32_to_f16(a[i]);
  memcpy(p, h, sizeof h);
}
INLINE vf vf_load_bf16(const void *p) { return (vf)((vi)wasm_u32x4_load16x4(p) << 16); }
/* acc + products of the two signed 16-bit halves of each lane. */
INLINE vi vi_madd(vi acc, vi w, vi x) {
  acc += (vi)wasm_i32x4_dot_i16x8((v128_t)w, (v128_t)x);
  __asm__("" : "+r"(acc)); /* LLVM would sum along k first, and engines would spill every value of X */
  return acc;
}
INLINE float vf_sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
INLINE float vf_largest(vf a) {
  vf b = vf_max(a, (vf)wasm_i32x4_shuffle((v128_t)a, (v128_t)a, 2, 3, 0, 1));
  b = vf_max(b, (vf)wasm_i32x4_shuffle((v128_t)b, (v128_t)b, 1, 0, 3, 2));
  return b[0];
}
/* Lane i: the sum of a[i]'s lanes. */
INLINE vf vf_sums(const vf a[VF]) { return (vf){vf_sum(a[0]), vf_sum(a[1]), vf_sum(a[2]), vf_sum(a[3])}; }
