/* tern.Linear against sums in double of the same (dequantized) weights, over every weight type. */
#include "one_node.h"

#include "base/half.h"
#include "ir/quants.h"

/* Random rows of a type: random bits with small scales where halves lie. */
static uint8_t *random_rows(tern_dtype dtype, size_t n, size_t k, uint32_t seed) {
  const tern__dtype_info *info = tern__dtype_info_of(dtype);
  size_t blocks = n * k / info->block_elements, size = blocks * info->block_bytes;
  uint8_t *raw = malloc(size);
  cr_assert_not_null(raw);
  for (size_t i = 0; i < size; i++) seed = seed * 1664525u + 1013904223u, raw[i] = (uint8_t)(seed >> 24);
  for (size_t b = 0; b < blocks; b++) {
    uint8_t *block = raw + b * info->block_bytes;
    float v = noise(&seed);
    uint16_t d = tern__f32_to_f16(v * 0.01f), w = tern__f32_to_f16(v), bf = tern__f32_to_bf16(v);
    if (dtype == TERN_DTYPE_F32)
      memcpy(block, &v, 4);
    else if (dtype == TERN_DTYPE_F16)
      memcpy(block, &w, 2);
    else if (dtype == TERN_DTYPE_BF16)
      memcpy(block, &bf, 2);
    else if (dtype == TERN_DTYPE_Q6_K)
      memcpy(block + 208, &d, 2);
    else {
      memcpy(block, &d, 2);
      if (dtype != TERN_DTYPE_Q4_0 && dtype != TERN_DTYPE_Q5_0 && dtype != TERN_DTYPE_Q8_0)
        memcpy(block + 2, &d, 2);
    }
  }
  return raw;
}

static void check(tern_dtype dtype, int rows, int n_out, int k, bool with_bias) {
  one_node n;
  uint8_t *raw = random_rows(dtype, (size_t)n_out, (size_t)k, 7);
  float *x = noise_array((size_t)(rows * k), 3), *bias = noise_array((size_t)n_out, 5),
        *w = noise_array((size_t)(n_out * k), 0);
  tern__dequantize_row(dtype, raw, w, (size_t)(n_out * k));
  node_init(&n, "Linear", "tern");
  node_input(&n, TERN_DTYPE_F32, x, 3, 1, rows, k);
  node_input(&n, dtype, raw, 2, n_out, k);
  if (with_bias) node_input(&n, TERN_DTYPE_F32, bias, 1, n_out);
  float *y = node_run(&n);
  cr_assert(n.out[0].shape.rank == 3 && n.out[0].shape.dims[1] == rows && n.out[0].shape.dims[2] == n_out);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < n_out; j++) {
      double sum = with_bias ? (double)bias[j] : 0, size = 1;
      for (int e = 0; e < k; e++)
        sum += (double)x[i * k + e] * (double)w[j * k + e],
            size += fabs((double)x[i * k + e] * (double)w[j * k + e]);
      /* Summing k floats in order errs by at most k/2 ulps of the sum of sizes. */
      expect_close(y[i * n_out + j], sum, size * k * 6e-8, "%s [%d,%d]: %g, expected %g",
                   tern_dtype_name(dtype), i, j, (double)y[i * n_out + j], sum);
    }
  free(raw), free(x), free(bias), free(w), free(y);
}

Test(linear, every_weight_type) {
  static const tern_dtype types[] = {TERN_DTYPE_F32,  TERN_DTYPE_F16,  TERN_DTYPE_BF16, TERN_DTYPE_Q4_0,
                                     TERN_DTYPE_Q4_1, TERN_DTYPE_Q5_0, TERN_DTYPE_Q5_1, TERN_DTYPE_Q8_0,
                                     TERN_DTYPE_Q4_K, TERN_DTYPE_Q5_K, TERN_DTYPE_Q6_K};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) check(types[i], 3, 5, 256, i % 2);
}
Test(linear, odd_and_empty_sizes) {
  check(TERN_DTYPE_F32, 1, 1, 1, true);
  check(TERN_DTYPE_F16, 2, 7, 33, false);
  check(TERN_DTYPE_F32, 0, 4, 8, false);
}
Test(linear, refuses_what_does_not_fit) {
  float x[8] = {0};
  int8_t w[8] = {0};
  one_node n;
  node_init(&n, "Linear", "tern");
  node_input(&n, TERN_DTYPE_F32, x, 2, 1, 8), node_input(&n, TERN_DTYPE_F32, x, 2, 2, 4);
  fails(&n, TERN_STATUS_SHAPE_MISMATCH, "[2, 4]");
  node_init(&n, "Linear", "tern");
  node_input(&n, TERN_DTYPE_F32, x, 2, 1, 4), node_input(&n, TERN_DTYPE_I8, w, 2, 2, 4);
  fails(&n, TERN_STATUS_UNSUPPORTED, "int8");
  node_init(&n, "Linear", "tern");
  node_input(&n, TERN_DTYPE_F32, x, 2, 1, 4), node_input(&n, TERN_DTYPE_F32, x, 2, 2, 4),
      node_input(&n, TERN_DTYPE_F32, x, 1, 3);
  fails(&n, TERN_STATUS_SHAPE_MISMATCH, "bias [3]");
}
