/* Tables of rotary position embedding (RoFormer, arXiv:2104.09864). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/arch_builder.h"
#include "ir/quants.h"

static double horner(double z, const double c[6]) {
  return c[0] + z * (c[1] + z * (c[2] + z * (c[3] + z * (c[4] + z * c[5]))));
}

/* sin and cos of x in [0, 10^6) to better than 1e-14, without branches, so that a compiler can vectorise the
 * loop over it: the tables of a long context are millions of values and are made while a user waits.
 * Reduction by pi/2 in two parts and the kernels of fdlibm (k_sin.c, k_cos.c). */
static void sin_cos(double x, float *sin_x, float *cos_x) {
  static const double sin_terms[6] = {-1.66666666666666324348e-01, 8.33333333332248946124e-03,
                                      -1.98412698298579493134e-04, 2.75573137070700676789e-06,
                                      -2.50507602534068634195e-08, 1.58969099521155010221e-10};
  static const double cos_terms[6] = {4.16666666666666019037e-02,  -1.38888888888741095749e-03,
                                      2.48015872894767294178e-05,  -2.75573143513906633035e-07,
                                      2.08757232129817482790e-09,  -1.13596475577881948265e-11};
  int32_t k = (int32_t)(x * 0.63661977236758134308 + 0.5); /* quarter turns */
  double r = x - k * 1.57079632673412561417 - k * 6.07710050650619224932e-11, z = r * r;
  double s = r + r * z * horner(z, sin_terms), c = 1 - 0.5 * z + z * z * horner(z, cos_terms);
  double a = k & 1 ? c : s, b = k & 1 ? s : c;
  *sin_x = (float)(k & 2 ? -a : a);
  *cos_x = (float)((k + 1) & 2 ? -b : b);
}

/* llama.cpp's recipe (ggml_rope_cache_init): angles in float, each the one before times a float ratio. At
 * position 8000 its rounding moves an angle by up to some 1e-3, as Hugging Face's own float recipe does in
 * another way, so the one the file's usual engine takes is the one that gives its tokens. */
static tern_status fill_tables(float *cos_table, float *sin_table, int64_t positions, int64_t half, float ratio,
                               float scale, const float *factors, const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  for (int64_t p = 0; p < positions; p++) {
    float theta = (float)p;
    TERN_TRY(tern__cancel_check(cancel, "computing rotary tables"));
    for (int64_t i = 0; i < half; i++, theta *= ratio) {
      float angle = scale * (factors ? theta / factors[i] : theta);
      sin_cos((double)angle, &sin_table[p * half + i], &cos_table[p * half + i]);
    }
  }
cleanup:
  return status;
}

/* rope_freqs.weight: what Llama 3.1's scaling divides each frequency by. */
static tern_status read_factors(tern__arch_builder *b, const float **out) {
  tern_status status = TERN_OK;
  tern__value_id id;
  *out = NULL;
  TERN_TRY(tern__arch_weight(b, "rope_freqs.weight", false, 0, b->rotary_dim / 2, &id));
  if (id < 0) goto cleanup;
  *out = b->graph->values[id].data;
  for (int64_t i = 0; i < b->rotary_dim / 2; i++)
    if (!((*out)[i] >= 0.1f && (*out)[i] < 1e6f))
      TERN_FAIL(TERN_STATUS_CORRUPT, "tensor 'rope_freqs.weight' has an impossible factor at %lld",
                (long long)i);
cleanup:
  return status;
}

tern_status tern__arch_rotary_tables(tern__arch_builder *b, double base, double scale, bool with_factors,
                                     tern__arch_rotary *out) {
  tern_status status = TERN_OK;
  const float *factors = NULL;
  int64_t dims[2] = {b->info->context_length, b->rotary_dim / 2};
  float *tables[2];
  size_t count = (size_t)dims[0] * (size_t)dims[1];
  char name[64];
  if (!(base >= 1 && base <= 1e12) || !(scale > 0 && scale <= 8))
    TERN_FAIL(TERN_STATUS_CORRUPT, "%s: rotary base %g or scale %g is out of range", b->info->architecture,
              base, scale);
  if (with_factors) TERN_TRY(read_factors(b, &factors));
  for (int i = 0; i < 2; i++) {
    tables[i] = tern__arena_alloc_raw(b->graph->arena, count * sizeof(float));
    TERN_CHECK_ALLOC(tables[i]);
    snprintf(name, sizeof name, "%s_cache.%g.%g", i ? "sin" : "cos", base, scale);
    TERN_TRY(tern__graph_add_constant(b->graph, name, TERN_DTYPE_F32, 2, dims, tables[i],
                                      count * sizeof(float), i ? &out->sin : &out->cos));
  }
  float ratio = (float)pow((double)(float)base, (double)(-2.0f / (float)b->rotary_dim));
  TERN_TRY(fill_tables(tables[0], tables[1], dims[0], dims[1], ratio, (float)scale, factors, b->gguf->cancel));
cleanup:
  return status;
}

tern_status tern__arch_rotary_scale(tern__arch_builder *b, double *out) {
  tern_status status = TERN_OK;
  char key[128];
  const char *type;
  double factor;
  *out = 1;
  snprintf(key, sizeof key, "%s.rope.scaling.type", b->info->architecture);
  TERN_TRY(tern__gguf_string(b->gguf, key, "linear", &type));
  if (strcmp(type, "none") == 0) goto cleanup;
  if (strcmp(type, "linear") != 0)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "key '%s' is '%s'; none, linear and Llama 3's rope_freqs are supported", key, type);
  TERN_TRY(tern__arch_number(b, "rope.scale_linear", 0, &factor)); /* its older name */
  TERN_TRY(tern__arch_number(b, "rope.scaling.factor", factor, &factor));
  if (factor < 0)
    TERN_FAIL(TERN_STATUS_CORRUPT, "key '%s.rope.scaling.factor' is negative", b->info->architecture);
  if (factor > 0) *out = (double)(1.0f / (float)factor);
cleanup:
  return status;
}
