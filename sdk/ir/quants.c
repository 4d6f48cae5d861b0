/* Decoding of ggml's block formats (llama.cpp, ggml-common.h). Every product here is exact in float (11 bits
 * of a half times at most 13 bits of integers), so fused multiply-add or not gives the same bits. */
#include "ir/quants.h"

#include <string.h>

#include "base/half.h"

/* The structs mirror the files: members of one or two bytes without padding. Halves are read by f16() because
 * a block may lie at any address. */
typedef struct half_bytes {
  uint8_t b[2];
} half_bytes;

typedef struct q4_0 {
  half_bytes d;
  uint8_t q[16];
} q4_0; /* x = d * (q - 8) */
typedef struct q4_1 {
  half_bytes d, m;
  uint8_t q[16];
} q4_1; /* x = d * q + m */
typedef struct q5_0 {
  half_bytes d;
  uint8_t high[4], q[16];
} q5_0; /* x = d * (q - 16); bit i of high: 5th bit of q[i] */
typedef struct q5_1 {
  half_bytes d, m;
  uint8_t high[4], q[16];
} q5_1; /* x = d * q + m */
typedef struct q8_0 {
  half_bytes d;
  int8_t q[32];
} q8_0; /* x = d * q */
/* K-quants: 256 elements in sub-blocks. q4_K and q5_K: 8 of 32, x = d * scale * q - dmin * min, scale and min
 * of 6 bits packed in 12 bytes. q6_K: 16 of 16, x = d * scale * (q - 32). */
typedef struct q4_k {
  half_bytes d, dmin;
  uint8_t scales[12], q[128];
} q4_k;
typedef struct q5_k {
  half_bytes d, dmin;
  uint8_t scales[12], high[32], q[128];
} q5_k;
typedef struct q6_k {
  uint8_t low[128], high[64];
  int8_t scales[16];
  half_bytes d;
} q6_k;

_Static_assert(sizeof(q4_0) == 18 && sizeof(q4_1) == 20 && sizeof(q5_0) == 22 && sizeof(q5_1) == 24,
               "block sizes");
_Static_assert(sizeof(q8_0) == 34 && sizeof(q4_k) == 144 && sizeof(q5_k) == 176 && sizeof(q6_k) == 210,
               "block sizes");

static float f16(half_bytes h) { return tern__f16_to_f32((uint16_t)(h.b[0] | h.b[1] << 8)); }

/* 32-element blocks: element i is the low nibble of q[i], element 16 + i the high one. */
static void nibbles(const uint8_t *q, uint32_t high, float d, int32_t offset, float m, float *x) {
  for (int i = 0; i < 16; i++) {
    int32_t a = (q[i] & 15) | (int32_t)(high >> i & 1) << 4, b = q[i] >> 4 | (int32_t)(high >> (i + 16) & 1)
                                                                                 << 4;
    x[i] = d * (float)(a - offset);
    x[i + 16] = d * (float)(b - offset);
    if (!offset) x[i] += m, x[i + 16] += m;
  }
}

static uint32_t bits32(const uint8_t *b) {
  return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void decode_q4_0(const void *src, float *x) {
  const q4_0 *b = src;
  nibbles(b->q, 0, f16(b->d), 8, 0, x);
}
static void decode_q4_1(const void *src, float *x) {
  const q4_1 *b = src;
  nibbles(b->q, 0, f16(b->d), 0, f16(b->m), x);
}
static void decode_q5_0(const void *src, float *x) {
  const q5_0 *b = src;
  nibbles(b->q, bits32(b->high), f16(b->d), 16, 0, x);
}
static void decode_q5_1(const void *src, float *x) {
  const q5_1 *b = src;
  nibbles(b->q, bits32(b->high), f16(b->d), 0, f16(b->m), x);
}
static void decode_q8_0(const void *src, float *x) {
  const q8_0 *b = src;
  float d = f16(b->d);
  for (int i = 0; i < 32; i++) x[i] = (float)b->q[i] * d;
}

/* Scale and min of sub-block j: six bits each; those of the last four share bytes 8..11 and take the two top
 * bits of bytes 0..7. */
static void scale_min(const uint8_t *s, int j, float *scale, float *min) {
  *scale = (float)(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
  *min = (float)(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4);
}

/* Sub-blocks 2g and 2g+1 are the low and the high nibbles of q[32g .. 32g+31]; bit j of high[i] belongs to
 * sub-block j. */
static void decode_k(half_bytes d_, half_bytes dmin_, const uint8_t *scales, const uint8_t *high,
                     const uint8_t *q, float *x) {
  float d = f16(d_), dmin = f16(dmin_);
  for (int j = 0; j < 8; j++) {
    float scale, min;
    scale_min(scales, j, &scale, &min);
    scale *= d, min *= dmin;
    for (int i = 0; i < 32; i++) {
      int v =
          (j & 1 ? q[j / 2 * 32 + i] >> 4 : q[j / 2 * 32 + i] & 15) | (high ? (high[i] >> j & 1) << 4 : 0);
      x[j * 32 + i] = scale * (float)v - min;
    }
  }
}
static void decode_q4_k(const void *src, float *x) {
  const q4_k *b = src;
  decode_k(b->d, b->dmin, b->scales, NULL, b->q, x);
}
static void decode_q5_k(const void *src, float *x) {
  const q5_k *b = src;
  decode_k(b->d, b->dmin, b->scales, b->high, b->q, x);
}

/* Two halves of 128: of each, elements 32p + i (p = 0..3) take their low four bits from low[32 (p & 1) + i],
 * shifted by 4 (p >> 1), and their two high bits from high[i] shifted by 2p. */
static void decode_q6_k(const void *src, float *x) {
  const q6_k *b = src;
  float d = f16(b->d);
  for (int e = 0; e < 256; e++) {
    int half = e >> 7, p = e >> 5 & 3, i = e & 31;
    int low = b->low[half * 64 + (p & 1) * 32 + i] >> (p >> 1) * 4 & 15;
    int high = b->high[half * 32 + i] >> 2 * p & 3;
    x[e] = d * (float)b->scales[e >> 4] * (float)((low | high << 4) - 32);
  }
}

typedef void decode_fn(const void *src, float *x);
static decode_fn *const decoders[] = {
    [TERN_DTYPE_Q4_0] = decode_q4_0, [TERN_DTYPE_Q4_1] = decode_q4_1, [TERN_DTYPE_Q5_0] = decode_q5_0,
    [TERN_DTYPE_Q5_1] = decode_q5_1, [TERN_DTYPE_Q8_0] = decode_q8_0, [TERN_DTYPE_Q4_K] = decode_q4_k,
    [TERN_DTYPE_Q5_K] = decode_q5_k, [TERN_DTYPE_Q6_K] = decode_q6_k,
};

bool tern__dequantize_known(tern_dtype dtype) {
  return dtype == TERN_DTYPE_F32 || dtype == TERN_DTYPE_F16 || dtype == TERN_DTYPE_BF16 ||
         tern__dtype_is_block(dtype);
}

void tern__dequantize_row(tern_dtype dtype, const void *src, float *dst, size_t n) {
  const uint8_t *at = src;
  if (dtype == TERN_DTYPE_F32) {
    if (n) memcpy(dst, src, n * sizeof *dst);
  } else if (dtype == TERN_DTYPE_F16 || dtype == TERN_DTYPE_BF16) {
    for (size_t i = 0; i < n; i++, at += 2) {
      uint16_t h = (uint16_t)(at[0] | at[1] << 8);
      dst[i] = dtype == TERN_DTYPE_F16 ? tern__f16_to_f32(h) : tern__bf16_to_f32(h);
    }
  } else if (tern__dtype_is_block(dtype)) {
    const tern__dtype_info *info = tern__dtype_info_of(dtype);
    for (size_t i = 0; i + info->block_elements <= n; i += info->block_elements, at += info->block_bytes)
      decoders[dtype](at, dst + i);
  }
}
