/* Plain C, four lanes: whatever the compiler makes of it. Also the oracle for the other widths. */
#define VF 4
#define UNROLL /* small code rather than fast */
#include "cpu/simd/simd_types.h"

#define TILE_F32 4   /* rows of a register tile */
#define TILE_INT 4
#define FEW_ROWS 1
#define PANELS_F32 2 /* panels that a single row reads at once */

INLINE vf vf_set1(float a) { return (vf){a, a, a, a}; }
INLINE vi vi_set1(int32_t a) { return (vi){a, a, a, a}; }
/* The 32 bits at p in every lane. */
INLINE vi vi_broadcast(const void *p) {
  int32_t a;
  memcpy(&a, p, 4);
  return vi_set1(a);
}
INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf vf_max(vf a, vf b) { return vf_select(a > b, a, b); }
INLINE vf vf_min(vf a, vf b) { return vf_select(a < b, a, b); }
/* Nearest, ties to even; |a| < 2^22. */
INLINE vi vf_round(vf a) { return (vi)(a + 12582912.0f) - 0x4b400000; }
INLINE vf vf_load_f16(const void *p) {
  uint16_t h[VF];
  vf a = {0, 0, 0, 0};
  memcpy(h, p, sizeof h);
  for (int i = 0; i < VF; i++) a[i] = tern__f16_to_f32(h[i]);
  return a;
}
INLINE void vf_store_f16(void *p, vf a) {
  uint16_t h[VF];
  for (int i = 0; i < VF; i++) h[i] = tern__f32_to_f16(a[i]);
  memcpy(p, h, sizeof h);
}
INLINE vf vf_load_bf16(const void *p) {
  uint16_t h[VF];
  vf a = {0, 0, 0, 0};
  memcpy(h, p, sizeof h);
  for (int i = 0; i < VF; i++) a[i] = tern__bf16_to_f32(h[i]);
  return a;
}
/* acc + products of the two signed 16-bit halves of each lane. */
INLINE vi vi_madd(vi acc, vi w, vi x) {
  return acc + ((w << 16) >> 16) * ((x << 16) >> 16) + (w >> 16) * (x >> 16);
}
INLINE float vf_sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
INLINE float vf_largest(vf a) {
  float m = a[0];
  for (int i = 1; i < VF; i++) m = a[i] > m ? a[i] : m;
  return m;
}
/* Lane i: the sum of a[i]'s lanes. */
INLINE vf vf_sums(const vf a[VF]) { return (vf){vf_sum(a[0]), vf_sum(a[1]), vf_sum(a[2]), vf_sum(a[3])}; }
