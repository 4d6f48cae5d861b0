/* tern.EncoderAttention against the formula in double. */
#include "one_node.h"

/* mask: dims of a mask that broadcasts to [B, H, S, T], or NULL. */
static void check(int batch, int rows, int keys, int heads, int dim, const int *mask_dims, float scale) {
  one_node n;
  int width = heads * dim;
  float *q = noise_array((size_t)(batch * rows * width), 1),
        *k = noise_array((size_t)(batch * keys * width), 2);
  float *v = noise_array((size_t)(batch * keys * width), 3),
        *mask = noise_array((size_t)(batch * heads * rows * keys), 4);
  node_init(&n, "EncoderAttention", "tern");
  node_int(&n, "num_heads", heads);
  if (scale != 0) node_float(&n, "scale", scale);
  node_input(&n, TERN_DTYPE_F32, q, 3, batch, rows, width),
      node_input(&n, TERN_DTYPE_F32, k, 3, batch, keys, width);
  node_input(&n, TERN_DTYPE_F32, v, 3, batch, keys, width);
  if (mask_dims)
    node_input(&n, TERN_DTYPE_F32, mask, 4, mask_dims[0], mask_dims[1], mask_dims[2], mask_dims[3]);
  float *y = node_run(&n);
  double *p = malloc((size_t)(keys + 1) * sizeof *p), s = scale != 0 ? (double)scale : 1 / sqrt(dim);
  for (int b = 0; b < batch; b++)
    for (int h = 0; h < heads; h++)
      for (int i = 0; i < rows; i++) {
        double sum = 0;
        for (int t = 0; t < keys; t++) {
          double dot = 0;
          for (int e = 0; e < dim; e++)
            dot += (double)q[(b * rows + i) * width + h * dim + e] *
                   (double)k[(b * keys + t) * width + h * dim + e];
          if (mask_dims) {
            const int *m = mask_dims;
            dot =
                dot * s + (double)mask[(((b % m[0]) * m[1] + h % m[1]) * m[2] + i % m[2]) * m[3] + t % m[3]];
          } else
            dot *= s;
          sum += p[t] = exp(dot);
        }
        for (int e = 0; e < dim; e++) {
          double want = 0;
          for (int t = 0; t < keys; t++) want += p[t] / sum * (double)v[(b * keys + t) * width + h * dim + e];
          expect_close(y[(b * rows + i) * width + h * dim + e], want, 2e-6, "b %d h %d row %d: expected %g",
                       b, h, i, want);
        }
      }
  free(q), free(k), free(v), free(mask), free(y), free(p);
}

Test(encoder_attention, plain) { check(2, 5, 5, 3, 8, NULL, 0); }
Test(encoder_attention, cross_and_scaled) { check(1, 3, 7, 2, 4, NULL, 0.7f); }
Test(encoder_attention, padding_mask) { check(2, 4, 4, 2, 8, (int[]){2, 1, 1, 4}, 0); }
Test(encoder_attention, bias_per_head) { check(2, 4, 6, 2, 8, (int[]){1, 2, 4, 6}, 0); }
Test(encoder_attention, full_mask) { check(2, 4, 6, 2, 8, (int[]){2, 2, 4, 6}, 0); }
Test(encoder_attention, all_masked_is_finite) {
  float x[4] = {1, 2, 3, 4}, mask[2] = {-INFINITY, -INFINITY};
  one_node n;
  node_init(&n, "EncoderAttention", "tern");
  node_int(&n, "num_heads", 1);
  for (int i = 0; i < 3; i++) node_input(&n, TERN_DTYPE_F32, x, 3, 1, 2, 2);
  node_input(&n, TERN_DTYPE_F32, mask, 4, 1, 1, 1, 2);
  float *y = node_run(&n);
  cr_expect(y[0] == 0 && y[3] == 0);
  free(y);
}
Test(encoder_attention, refuses_what_does_not_fit) {
  float x[24] = {0};
  one_node n;
  node_init(&n, "EncoderAttention", "tern");
  node_int(&n, "num_heads", 4);
  for (int i = 0; i < 3; i++) node_input(&n, TERN_DTYPE_F32, x, 3, 1, 2, 6);
  fails(&n, TERN_STATUS_SHAPE_MISMATCH, "4 heads");
  n.attrs[0].i = 2;
  node_input(&n, TERN_DTYPE_F32, x, 4, 1, 3, 1, 2);
  fails(&n, TERN_STATUS_SHAPE_MISMATCH, "mask [1, 3, 1, 2]");
}
