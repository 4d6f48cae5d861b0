/* AVX2, FMA, F16C: eight lanes, sixteen registers. */
#include <immintrin.h>
#define VF 8
#include "cpu/simd/simd_types.h"

#define TILE_F32 6
#define TILE_INT 4
#define PANELS_F32 4
#define ROW_PANELS 2
#define PREFETCH_NEAR 2048 /* of weights that stream by: see kernel_few_rows.h */
#define PREFETCH_FAR 8192

INLINE vf vf_set1(float a) { return _mm256_set1_ps(a); }
INLINE vi vi_set1(int32_t a) { return (vi)_mm256_set1_epi32(a); }
/* The 32 bits at p in every lane: as a float, or gcc takes the way through a general register. */
INLINE vi vi_broadcast(const void *p) { return (vi)_mm256_broadcast_ss(p); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vi vf_round(vf a) { return (vi)_mm256_cvtps_epi32(a); }
INLINE vf vf_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
INLINE void vf_store_f16(void *p, vf a) {
  _mm_storeu_si128(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_bf16(const void *p) {
  return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16);
}
INLINE vi vi_madd(vi acc, vi w, vi x) {
  acc += (vi)_mm256_madd_epi16((__m256i)w, (__m256i)x);
  __asm__("" : "+x"(acc)); /* gcc would gather the additions at the end and spill every product */
  return acc;
}
INLINE float vf_sum(vf a) {
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
INLINE float vf_largest(vf a) {
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
/* Lane i: the sum of a[i]'s lanes. */
INLINE vf vf_sums(const vf a[VF]) {
  __m256 half[2];
  UNROLL for (int h = 0; h < 2; h++) half[h] = _mm256_hadd_ps(_mm256_hadd_ps(a[4 * h], a[4 * h + 1]),
                                                              _mm256_hadd_ps(a[4 * h + 2], a[4 * h + 3]));
  return _mm256_add_ps(_mm256_permute2f128_ps(half[0], half[1], 0x20),
                       _mm256_permute2f128_ps(half[0], half[1], 0x31));
}
