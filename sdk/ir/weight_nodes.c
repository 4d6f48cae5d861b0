/* Nodes that multiply by constant weights, read as one form (weight_blocks.h). */
#include "ir/weight_blocks.h"

static size_t elements(const tern__view *view) {
  size_t n = 1;
  for (int32_t i = 0; i < view->shape.rank; i++) n *= (size_t)view->shape.dims[i];
  return n;
}

static size_t rows_of(const tern__view *x) {
  size_t n = 1;
  for (int32_t i = 0; i + 1 < x->shape.rank; i++) n *= (size_t)x->shape.dims[i];
  return n;
}

static bool is_bias(const tern__view *bias, size_t n) {
  return bias->dtype == TERN_DTYPE_F32 && elements(bias) == n &&
         (bias->shape.rank == 0 || (size_t)bias->shape.dims[bias->shape.rank - 1] == n);
}

/* [N, K], or [K, N] if k_major. */
static tern__weight_source plain_source(const tern__view *w, const uint8_t *data, bool k_major) {
  return (tern__weight_source){.dtype = w->dtype,
                               .data = data,
                               .n = (size_t)w->shape.dims[k_major],
                               .k = (size_t)w->shape.dims[!k_major],
                               .k_major = k_major};
}

bool tern__weight_read_linear(const tern__node *node, const tern__view *const *in, const uint8_t *const *constants,
                              tern__weight_product *out) {
  (void)node;
  if (!constants[1] || in[0]->dtype != TERN_DTYPE_F32) return false;
  *out = (tern__weight_product){plain_source(in[1], constants[1], false), rows_of(in[0]), in[2] ? 2 : -1};
  return true;
}

bool tern__weight_read_gemm(const tern__node *node, const tern__view *const *in, const uint8_t *const *constants,
                            tern__weight_product *out) {
  const tern__view *x = in[0], *w = in[1], *bias = in[2];
  if (!constants[1] || x->dtype != TERN_DTYPE_F32 || x->shape.rank != 2 || w->shape.rank != 2 ||
      tern__node_int(node, "transA", 0) || tern__node_float(node, "alpha", 1) != 1)
    return false;
  *out = (tern__weight_product){plain_source(w, constants[1], !tern__node_int(node, "transB", 0)), rows_of(x),
                                bias ? 2 : -1};
  return !bias || (is_bias(bias, out->source.n) && tern__node_float(node, "beta", 1) == 1);
}

bool tern__weight_read_matmul(const tern__node *node, const tern__view *const *in, const uint8_t *const *constants,
                              tern__weight_product *out) {
  (void)node;
  if (!constants[1] || in[0]->dtype != TERN_DTYPE_F32 || in[0]->shape.rank < 1 || in[1]->shape.rank != 2) return false;
  *out = (tern__weight_product){plain_source(in[1], constants[1], true), rows_of(in[0]), -1};
  return true;
}

static bool sizes_fit(const tern__weight_source *s, const tern__view *const *in) {
  size_t blocks = (s->k + (size_t)s->block_size - 1) / (size_t)s->block_size;
  size_t zeros = s->float_zeros ? s->n * blocks : s->n * ((blocks * (size_t)s->bits + 7) / 8);
  const tern__view *x = in[0];
  return elements(in[1]) == s->n * blocks * (size_t)(s->block_size * s->bits / 8) && elements(in[2]) == s->n * blocks &&
         (!in[3] || elements(in[3]) == zeros) && x->shape.rank > 0 &&
         (size_t)x->shape.dims[x->shape.rank - 1] == s->k && (!in[5] || is_bias(in[5], s->n));
}

bool tern__weight_read_nbits(const tern__node *node, const tern__view *const *in, const uint8_t *const *constants,
                             tern__weight_product *out) {
  const tern__view *w = in[1], *scales = in[2], *zeros = in[3];
  if (!constants[1] || !constants[2] || (zeros && !constants[3]) || in[4] || in[0]->dtype != TERN_DTYPE_F32 ||
      w->dtype != TERN_DTYPE_U8 || (scales->dtype != TERN_DTYPE_F32 && scales->dtype != TERN_DTYPE_F16))
    return false;
  tern__weight_source s = {.dtype = TERN_DTYPE_U8,
                           .data = constants[1],
                           .n = (size_t)tern__node_int(node, "N", 0),
                           .k = (size_t)tern__node_int(node, "K", 0),
                           .bits = (int32_t)tern__node_int(node, "bits", 4),
                           .block_size = (int32_t)tern__node_int(node, "block_size", 32),
                           .scales = constants[2],
                           .scale_dtype = scales->dtype,
                           .zeros = zeros ? constants[3] : NULL,
                           .float_zeros = zeros && zeros->dtype != TERN_DTYPE_U8};
  if ((s.float_zeros && zeros->dtype != scales->dtype) || s.block_size < 16 || (s.bits != 4 && s.bits != 8) ||
      !sizes_fit(&s, in))
    return false;
  *out = (tern__weight_product){s, rows_of(in[0]), in[5] ? 5 : -1};
  return true;
}

bool tern__weight_read_bnb4(const tern__node *node, const tern__view *const *in, const uint8_t *const *constants,
                            tern__weight_product *out) {
  tern__weight_source s = {.dtype = TERN_DTYPE_U8,
                           .data = constants[1],
                           .n = (size_t)tern__node_int(node, "N", 0),
                           .k = (size_t)tern__node_int(node, "K", 0),
                           .bits = 4,
                           .block_size = (int32_t)tern__node_int(node, "block_size", 0),
                           .scales = constants[2],
                           .scale_dtype = TERN_DTYPE_F32,
                           .codes = tern__node_int(node, "quant_type", 1) ? 2 : 1};
  if (!s.data || !s.scales || in[0]->dtype != TERN_DTYPE_F32 || in[2]->dtype != TERN_DTYPE_F32 ||
      s.k % TERN__WEIGHT_BLOCK || s.block_size < TERN__WEIGHT_BLOCK || s.block_size % TERN__WEIGHT_BLOCK)
    return false;
  *out = (tern__weight_product){s, rows_of(in[0]), -1};
  return true;
}

/* True if the view holds one value for all rows or one for each. */
static bool is_per_row(const tern__view *view, size_t n, size_t *step) {
  size_t count = elements(view);
  *step = count == 1 ? 0 : 1;
  return count == 1 || count == n;
}

bool tern__weight_read_channel(const tern__node *node, const tern__view *const *in, const uint8_t *const *constants,
                               tern__weight_product *out) {
  const tern__view *w = in[1], *scale = in[2], *zero = in[3], *bias = in[4];
  if (!constants[1] || !constants[2] || (zero && !constants[3]) || in[0]->dtype != TERN_DTYPE_F32 ||
      in[0]->shape.rank < 1 || w->shape.rank != 2)
    return false;
  tern__weight_source s = plain_source(w, constants[1], tern__node_int(node, "k_major", 0) != 0);
  s.channel = true, s.scales = constants[2], s.scale_dtype = TERN_DTYPE_F32, s.zeros = zero ? constants[3] : NULL;
  if (!is_per_row(scale, s.n, &s.scale_step) || (zero && !is_per_row(zero, s.n, &s.zero_step)) ||
      (bias && !is_bias(bias, s.n)))
    return false;
  *out = (tern__weight_product){s, rows_of(in[0]), bias ? 4 : -1};
  return true;
}
