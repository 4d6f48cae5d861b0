/* AArch64 Advanced SIMD: four lanes, thirty-two registers. With the dot product extension, 16-bit activations
 * are split into two signed bytes (SPLIT_BYTES) for SDOT. */
#include <arm_neon.h>
#define VF 4
#include "cpu/simd/simd_types.h"

#define TILE_F32 6
#define TILE_INT 4
#define PANELS_F32 2

INLINE vf vf_set1(float a) { return (vf)vdupq_n_f32(a); }
INLINE vi vi_set1(int32_t a) { return (vi)vdupq_n_s32(a); }
/* The 32 bits at p in every lane. */
INLINE vi vi_broadcast(const void *p) {
  int32_t a;
  memcpy(&a, p, 4);
  return vi_set1(a);
}
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vf vf_max(vf a, vf b) { return (vf)vmaxq_f32((float32x4_t)a, (float32x4_t)b); }
INLINE vf vf_min(vf a, vf b) { return (vf)vminq_f32((float32x4_t)a, (float32x4_t)b); }
INLINE vi vf_round(vf a) { return (vi)vcvtnq_s32_f32((float32x4_t)a); }
INLINE vf vf_load_f16(const void *p) { return (vf)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
INLINE void vf_store_f16(void *p, vf a) { vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32((float32x4_t)a))); }
INLINE vf vf_load_bf16(const void *p) { return (vf)vshll_n_s16(vreinterpret_s16_u8(vld1_u8(p)), 16); }
INLINE vi vi_madd(vi acc, vi w, vi x) {
  int16x8_t a = (int16x8_t)w, b = (int16x8_t)x;
  acc += (vi)vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b));
  __asm__("" : "+w"(acc)); /* gcc would gather the additions at the end and spill every product */
  return acc;
}
INLINE float vf_sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
INLINE float vf_largest(vf a) { return vmaxvq_f32((float32x4_t)a); }
/* Lane i: the sum of a[i]'s lanes. */
INLINE vf vf_sums(const vf a[VF]) {
  return (vf)vpaddq_f32(vpaddq_f32((float32x4_t)a[0], (float32x4_t)a[1]),
                        vpaddq_f32((float32x4_t)a[2], (float32x4_t)a[3]));
}
#if defined(__ARM_FEATURE_DOTPROD)
#  define SPLIT_BYTES 1
INLINE vi vi_dot_bytes(vi acc, vi w, vi x) {
  return (vi)vdotq_s32((int32x4_t)acc, (int8x16_t)w, (int8x16_t)x);
}
#endif
