/* Block formats: llama.cpp, ggml-common.h; MatMulNBits: onnxruntime, ContribOperators.md. */
#include "ir/weight_blocks.h"

#include <string.h>

#include "base/half.h"
#include "ir/quants.h"

static uint16_t load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static float load_f16(const uint8_t *p) { return tern__f16_to_f32(load_u16(p)); }

/* Loops of one simple step each and a known length: compilers make vectors of those, and packing a model's weights is
 * mostly this. */
static void low_nibbles(const uint8_t *from, int8_t *q) {
  for (int k = 0; k < 16; k++) q[k] = (int8_t)(from[k] & 15);
}
static void high_nibbles(const uint8_t *from, int8_t *q) {
  for (int k = 0; k < 16; k++) q[k] = (int8_t)(from[k] >> 4);
}
static void nibbles_of_32(const uint8_t *from, bool high, int8_t *q) {
  for (int k = 0; k < 32; k += 16)
    if (high) high_nibbles(from + k, q + k);
    else low_nibbles(from + k, q + k);
}

/* What is not so simple for a compiler: eight numbers at a time, one in each byte of a word. */
#define EACH(byte) ((uint64_t)(byte) * 0x0101010101010101u)
static uint64_t load_8(const void *p) {
  uint64_t word;
  memcpy(&word, p, 8);
  return word;
}
/* Puts `high`, of up to 4 bits, above the low four of q. */
static uint64_t above(const int8_t *q, uint64_t high) { return load_8(q) | high << 4; }
/* Two's complement of `bits` bits, 5 or 6, of a number that is 2 ^ (bits - 1) less. */
static uint64_t centred(uint64_t word, int bits) {
  word ^= EACH(1 << (bits - 1));
  uint64_t sign = word & EACH(1 << (bits - 1));
  for (int k = bits; k < 8; k++) word |= sign << (k - bits + 1);
  return word;
}
/* Bit k of `bits` into byte k. */
static uint64_t spread_8(uint32_t bits) {
  uint64_t word = EACH(bits & 255) & 0x8040201008040201u;
  return (word + EACH(127)) >> 7 & EACH(1);
}

/* The 6-bit scale and min of sub-block j of a Q4_K or Q5_K block (ggml-quants.c, get_scale_min_k4). */
static void scale_min_k4(const uint8_t *s, int j, int *scale, int *min) {
  if (j < 4) *scale = s[j] & 63, *min = s[j + 4] & 63;
  else *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4, *min = s[j + 4] >> 4 | (s[j] >> 6) << 4;
}

static void unpack_k45(const uint8_t *block, int j, bool five, tern__weight_block *u) {
  int scale, min;
  const uint8_t *high = block + 16, *low = block + (five ? 48 : 16) + j / 2 * 32;
  scale_min_k4(block + 4, j, &scale, &min);
  u->scales[0] = u->scales[1] = load_f16(block) * (float)scale;
  u->mins[0] = u->mins[1] = -(load_f16(block + 2) * (float)min);
  nibbles_of_32(low, j & 1, u->q);
  for (int k = 0; five && k < 32; k += 8) {
    uint64_t word = above(u->q + k, load_8(high + k) >> j & EACH(1));
    memcpy(u->q + k, &word, 8);
  }
}

static void unpack_k6(const uint8_t *block, int j, tern__weight_block *u) {
  const uint8_t *low = block + j / 4 * 64 + (j & 1) * 32, *high = block + 128 + j / 4 * 32;
  float d = load_f16(block + 208);
  for (int h = 0; h < 2; h++) u->scales[h] = d * (float)(int8_t)block[192 + 2 * j + h], u->mins[h] = 0;
  nibbles_of_32(low, j / 2 & 1, u->q);
  for (int k = 0; k < 32; k += 8) {
    uint64_t word = centred(above(u->q + k, load_8(high + k) >> j % 4 * 2 & EACH(3)), 6);
    memcpy(u->q + k, &word, 8);
  }
}

static void unpack_nbits(const tern__weight_source *s, size_t row, size_t b, tern__weight_block *u) {
  size_t size = (size_t)s->block_size, blocks = (s->k + size - 1) / size, blob = size * (size_t)s->bits / 8;
  size_t zero_row = (blocks * (size_t)s->bits + 7) / 8;
  bool centred = s->bits == 8 || size == 16; /* stored as signed: q - centre */
  int centre = s->bits == 8 ? 128 : 8;
  for (int h = 0; h < 2; h++) {
    size_t k0 = b * TERN__WEIGHT_BLOCK + (size_t)h * 16, block = k0 / size, at = row * blocks + block;
    memset(u->q + h * 16, 0, 16);
    u->scales[h] = u->mins[h] = 0;
    if (block >= blocks) continue;
    tern__dequantize_row(s->scale_dtype, s->scales + at * (s->scale_dtype == TERN_DTYPE_F32 ? 4 : 2),
                         &u->scales[h], 1);
    float zero = (float)centre;
    if (s->float_zeros)
      tern__dequantize_row(s->scale_dtype, s->zeros + at * (s->scale_dtype == TERN_DTYPE_F32 ? 4 : 2), &zero,
                           1);
    else if (s->zeros && s->bits == 8) zero = s->zeros[row * zero_row + block];
    else if (s->zeros) zero = s->zeros[row * zero_row + block / 2] >> (block & 1) * 4 & 15;
    if (s->zeros) u->mins[h] = ((centred ? (float)centre : 0) - zero) * u->scales[h];
    const uint8_t *from = s->data + at * blob + k0 % size * (size_t)s->bits / 8; /* sizes are multiples of 16 */
    int8_t *q = u->q + h * 16;
    if (s->bits == 8)
      for (int i = 0; i < 16; i++) q[i] = (int8_t)from[i];
    else
      for (int i = 0; i < 8; i++) q[2 * i] = (int8_t)(from[i] & 15), q[2 * i + 1] = (int8_t)(from[i] >> 4);
    for (int i = 0; centred && i < 16; i++) q[i] = (int8_t)((uint8_t)q[i] - centre);
  }
}

static void unpack_codes(const tern__weight_source *s, size_t row, size_t b, tern__weight_block *u) {
  size_t first = row * s->k + b * TERN__WEIGHT_BLOCK;
  memcpy(&u->scales[0], s->scales + first / (size_t)s->block_size * sizeof(float), sizeof(float));
  u->scales[1] = u->scales[0], u->mins[0] = u->mins[1] = 0;
  for (int k = 0; k < TERN__WEIGHT_BLOCK; k += 2) {
    uint8_t pair = s->data[(first + (size_t)k) / 2];
    u->q[k] = (int8_t)(pair >> 4), u->q[k + 1] = (int8_t)(pair & 15);
  }
}

void tern__weight_channel_scale(const tern__weight_source *s, size_t row, float *scale, float *min) {
  bool bytes = s->dtype == TERN_DTYPE_U8;
  int zero = 0;
  memcpy(scale, s->scales + row * s->scale_step * sizeof *scale, sizeof *scale);
  if (s->zeros) zero = bytes ? s->zeros[row * s->zero_step] : (int8_t)s->zeros[row * s->zero_step];
  *min = (float)((bytes ? 128 : 0) - zero) * *scale;
}

static void unpack_channel(const tern__weight_source *s, size_t row, size_t b, tern__weight_block *u) {
  size_t k0 = b * TERN__WEIGHT_BLOCK, n = s->k - k0 < TERN__WEIGHT_BLOCK ? s->k - k0 : TERN__WEIGHT_BLOCK;
  const uint8_t *data = s->data + (s->k_major ? k0 * s->n + row : row * s->k + k0);
  size_t step = s->k_major ? s->n : 1;
  uint8_t flip = s->dtype == TERN_DTYPE_U8 ? 128 : 0;
  memset(u->q, 0, sizeof u->q);
  for (size_t i = 0; i < n; i++) u->q[i] = (int8_t)(data[i * step] ^ flip);
  tern__weight_channel_scale(s, row, &u->scales[0], &u->mins[0]);
  u->scales[1] = u->scales[0], u->mins[1] = u->mins[0];
}

void tern__weight_unpack(const tern__weight_source *s, size_t row, size_t b, tern__weight_block *u) {
  if (s->channel) {
    unpack_channel(s, row, b, u);
    return;
  }
  if (s->dtype == TERN_DTYPE_U8) {
    (s->codes ? unpack_codes : unpack_nbits)(s, row, b, u);
    return;
  }
  const tern__dtype_info *info = tern__dtype_info_of(s->dtype);
  size_t per_block = info->block_elements / TERN__WEIGHT_BLOCK;
  size_t blocks = per_block == 1 ? s->k / TERN__WEIGHT_BLOCK : s->k / info->block_elements;
  const uint8_t *block = s->data + (row * blocks + (per_block == 1 ? b : b / per_block)) * info->block_bytes;
  bool has_m = s->dtype == TERN_DTYPE_Q4_1 || s->dtype == TERN_DTYPE_Q5_1;
  const uint8_t *after = block + (has_m ? 4 : 2); /* the scales */
  uint32_t high = 0;
  if (s->dtype == TERN_DTYPE_Q4_K || s->dtype == TERN_DTYPE_Q5_K) {
    unpack_k45(block, (int)(b % per_block), s->dtype == TERN_DTYPE_Q5_K, u);
    return;
  }
  if (s->dtype == TERN_DTYPE_Q6_K) {
    unpack_k6(block, (int)(b % per_block), u);
    return;
  }
  u->scales[0] = u->scales[1] = load_f16(block);
  u->mins[0] = u->mins[1] = has_m ? load_f16(block + 2) : 0;
  if (s->dtype == TERN_DTYPE_Q8_0) {
    memcpy(u->q, after, 32);
    return;
  }
  if (s->dtype == TERN_DTYPE_Q5_0 || s->dtype == TERN_DTYPE_Q5_1)
    high = (uint32_t)load_u16(after) | (uint32_t)load_u16(after + 2) << 16, after += 4;
  low_nibbles(after, u->q);
  high_nibbles(after, u->q + 16);
  for (int k = 0; k < 32 && (s->dtype == TERN_DTYPE_Q5_0 || s->dtype == TERN_DTYPE_Q5_1); k += 8) {
    uint64_t word = above(u->q + k, spread_8(high >> k));
    if (s->dtype == TERN_DTYPE_Q5_0) word = centred(word, 5);
    memcpy(u->q + k, &word, 8);
  }
}

bool tern__weight_source_bytes(const tern__weight_source *s, size_t *out) {
  tern__shape shape = {.rank = 2, .dims = {(int64_t)s->n, (int64_t)s->k}};
  size_t bits;
  if (!s->bits) return tern__shape_bytes(s->dtype, &shape, out);
  size_t size = s->codes ? 1 : (size_t)s->block_size;
  if (!tern__mul_size((s->k + size - 1) / size * size, s->n, &bits) || !tern__mul_size(bits, (size_t)s->bits, &bits))
    return false;
  *out = bits / 8;
  return true;
}
