/* AVX-512 F/BW/VL/DQ with VNNI: sixteen lanes, thirty-two registers. */
#include <immintrin.h>
#define VF 16
#include "cpu/simd/simd_types.h"

#define TILE_F32 12
#define F32_PANELS 2
#define TILE_INT 12
#define TILE_PANELS 2
#define PANELS_F32 8
#define ROW_PANELS 2
#define FEW_ROWS 4
#define PREFETCH_NEAR 2048 /* of weights that stream by: see kernel_few_rows.h */
#define PREFETCH_FAR 8192

INLINE vf vf_set1(float a) { return _mm512_set1_ps(a); }
INLINE vi vi_set1(int32_t a) { return (vi)_mm512_set1_epi32(a); }
typedef float float_any __attribute__((aligned(1), may_alias));
/* The 32 bits at p in every lane: as a float, or gcc takes the way through a general register. */
INLINE vi vi_broadcast(const void *p) { return (vi)_mm512_set1_ps(*(const float_any *)p); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vi vf_round(vf a) { return (vi)_mm512_cvtps_epi32(a); }
INLINE vf vf_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
INLINE void vf_store_f16(void *p, vf a) {
  _mm256_storeu_si256(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_bf16(const void *p) {
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16);
}
INLINE vi vi_madd(vi acc, vi w, vi x) {
  return (vi)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)w, (__m512i)x);
}
INLINE float vf_sum(vf a) { return _mm512_reduce_add_ps(a); }
INLINE float vf_largest(vf a) { return _mm512_reduce_max_ps(a); }
/* Lane i: the sum of a[i]'s lanes. */
INLINE vf vf_sums(const vf a[VF]) {
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0),
                odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  vf b[VF];
  UNROLL for (int i = 0; i < VF; i++) b[i] = a[i];
  UNROLL for (int n = VF / 2; n > 0; n /= 2) UNROLL for (int i = 0; i < n; i++)
      b[i] = (vf)_mm512_permutex2var_ps(b[2 * i], even, b[2 * i + 1]) +
             (vf)_mm512_permutex2var_ps(b[2 * i], odd, b[2 * i + 1]);
  return b[0];
}
