/* Activations to 15-bit integers per block of 32. Eight bits are not enough: on SmolLM2-135M and Gemma 3 270M
 * the cosine of a token's logits to the exact ones falls to 0.995-0.997, with 15 bits it is 1.000000. */

/* The order that the dot products read: as it is, or per 8 values the high bytes, then the low bytes, each in
 * the order of the weights' lines. */
static void arrange(int16_t *q, size_t padded_k) {
#ifdef SPLIT_BYTES
  static const uint8_t order[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (size_t k = 0; k < padded_k; k += 8) {
    int8_t bytes[16];
    for (int i = 0; i < 8; i++) {
      int high = (q[k + order[i]] + 64) >> 7;
      bytes[i] = (int8_t)high, bytes[8 + i] = (int8_t)(q[k + order[i]] - high * 128);
    }
    memcpy(q + k, bytes, 16);
  }
#else
  (void)q, (void)padded_k;
#endif
}

static void quantize_row(const float *x, size_t k, size_t padded_k, int16_t *q, float *scales, float *sums) {
  for (size_t b = 0; b < padded_k; b += TERN__CPU_BLOCK) {
    float part[TERN__CPU_BLOCK];
    int32_t integers[TERN__CPU_BLOCK];
    const float *from = x + b;
    if (b + TERN__CPU_BLOCK > k) {
      memset(part, 0, sizeof part);
      memcpy(part, x + b, (k - b) * sizeof *part);
      from = part;
    }
    vf largest = vf_set1(0), poison = largest;
    for (int i = 0; i < TERN__CPU_BLOCK; i += VF) {
      vf a = vf_load(from + i);
      largest = vf_max(vf_abs(a), largest);
      poison = vf_fma(a, vf_set1(0),
                      poison); /* NaN and infinity must not become numbers: the scale carries them */
    }
    float m = vf_largest(largest), inverse = m > 0 ? TERN__CPU_X_MAX / m : 0;
    if (!(inverse <= 3e38f)) inverse = 0; /* values too small to divide by, and NaN */
    for (int i = 0; i < TERN__CPU_BLOCK; i += VF)
      vi_store(integers + i, vf_round(vf_load(from + i) * inverse));
    float scale = m * (1.0f / TERN__CPU_X_MAX) + vf_sum(poison);
    uint32_t half[2] = {0, 0}; /* NaN rounds to the least integer, and sums of those wrap */
#ifdef SPLIT_BYTES
    int16_t block[TERN__CPU_BLOCK], *to = block;
#else
    int16_t *to = q + b;
#endif
    for (int h = 0; h < 2; h++)
      for (int i = 16 * h; i < 16 * h + 16; i++) to[i] = (int16_t)integers[i], half[h] += (uint32_t)integers[i];
#ifdef SPLIT_BYTES
    arrange(block, TERN__CPU_BLOCK);
    memcpy(q + b, block, sizeof block);
#endif
    sums[b / 16] = scale * (float)(int32_t)(half[0] + half[1]);
    sums[b / 16 + 1] = scale * (float)(int32_t)half[1];
    scales[b / TERN__CPU_BLOCK] = scale;
  }
}
