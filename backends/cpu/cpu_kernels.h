/* The kernels of one instruction set, as a table. Bodies: kernels/ (written once over simd/); builds: isa/.
 */
#ifndef TERN_CPU_KERNELS_H
#define TERN_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Linear: weights in panels of 16 rows ---- */

enum {
  TERN__CPU_PANEL = 16,      /* rows (output columns) of a panel */
  TERN__CPU_BLOCK = 32,      /* activations that share a scale; K is padded to it in quantized panels */
  TERN__CPU_ROW_BLOCK = 128, /* most rows of one call */
  TERN__CPU_X_MAX = 127 *
                    128 /* largest quantized activation: hi * 128 + lo with both parts in a signed byte */
};

typedef enum tern__cpu_weight_kind {
  TERN__CPU_WEIGHT_F32, /* [K][16] */
  TERN__CPU_WEIGHT_F16,
  TERN__CPU_WEIGHT_BF16,
  TERN__CPU_WEIGHT_Q4, /* blocks of 32 k: 256 bytes of nibbles, scales[16], mins[16] */
  TERN__CPU_WEIGHT_Q5, /* blocks of 32 k: 256 bytes of nibbles, 64 of fifth bits, scales[16] in f16 */
  TERN__CPU_WEIGHT_Q8  /* blocks of 32 k: 512 bytes, scales[16] (two such if scale_block is 16), mins[16]
                          likewise */
} tern__cpu_weight_kind;

/* Lines of 64 bytes of integers in a block of a quantized kind. */
static inline int tern__cpu_block_lines(int kind) {
  return kind == TERN__CPU_WEIGHT_Q4 ? 4 : kind == TERN__CPU_WEIGHT_Q5 ? 5 : 8;
}

/* Q4, Q5 and Q8 panels, a block of 32 k. Weight = scale * (q - offset) + min.
 * Q4: four lines of [16 rows][4 bytes], q in 0..15. In the 32-bit word of a row in line j, nibble n of
 * halfword h is k = 8 j + 2 n + h: shifted and masked by 0x000f000f a word holds k and k + 1 as 16-bit
 * values. Q5: q in -16..15 as the nibbles of q + 16, and a line of [16 rows][32 bits]: bit 4 j + n + 16 h is the
 * fifth bit of k. Q8: eight lines of [16 rows][4 bytes], q in -128..127, offset 0. Line j holds k = 8 (j / 2) + 2 (j
 * % 2) + {0, 4, 1, 5}. */
typedef struct tern__cpu_weight_format {
  uint8_t kind;
  uint8_t scale_block;  /* k that share a scale: 32, or 16 with Q8 */
  uint8_t offset;
  bool f32_scales;      /* else f16; mins have the scales' type */
  bool has_min;
  uint16_t block_bytes; /* of 32 k of a panel */
} tern__cpu_weight_format;

/* Activations quantized per 32: x = scale * q. The order of q within 8 is the kernel set's own. */
typedef struct tern__cpu_rows {
  int16_t *q;     /* [rows][K padded to 32] */
  float *scales;  /* [rows][K / 32] */
  float *sums;     /* [rows][K / 32][2]: scale times the sum of q, and that of the second half alone */
} tern__cpu_rows;

typedef struct tern__cpu_linear_call {
  tern__cpu_weight_format format;
  const uint8_t *panels;   /* of the first panel */
  size_t panel_bytes;
  size_t n_panels, k;
  const float *x;          /* [m][ldx]; NULL: rows */
  size_t ldx;
  tern__cpu_rows rows;
  size_t m;                /* <= TERN__CPU_ROW_BLOCK */
  float *y;                /* [m][ldy], from the first panel's first column on */
  size_t ldy, n;           /* n: columns to write, at most 16 n_panels */
  const float *bias;       /* [n] or NULL */
  uint8_t *scratch;        /* TERN__CPU_LINEAR_SCRATCH bytes, 64-byte aligned */
} tern__cpu_linear_call;

static inline size_t tern__cpu_padded(size_t k) {
  return (k + TERN__CPU_BLOCK - 1) / TERN__CPU_BLOCK * TERN__CPU_BLOCK;
}

enum { TERN__CPU_LINEAR_SCRATCH = 20 * 1024 + 2 * TERN__CPU_ROW_BLOCK * TERN__CPU_PANEL * 4 };

/* Integer products: y = sum over k of q_x * q_w, wrapping, for Q8 panels without scales (block_bytes 512). */
typedef struct tern__cpu_linear_i32_call {
  const uint8_t *panels;
  size_t panel_bytes, n_panels, k; /* k: padded to 32 */
  const int16_t *q;        /* [m][k], as `arrange` leaves it */
  size_t m;                /* <= TERN__CPU_ROW_BLOCK */
  int32_t *y;              /* [m][ldy] */
  size_t ldy, n;
  uint8_t *scratch;        /* as above */
} tern__cpu_linear_i32_call;

/* ---- weights of signed bytes with one scale a row ---- */

/* TERN__CPU_GROUP: most activations that share a scale: 1024 * 127 * 128 * 128 fits 32 bits. */
enum {
  TERN__CPU_GROUP = 1024,
  TERN__CPU_CHANNEL_SCRATCH = 16 * 1024 + TERN__CPU_ROW_BLOCK * TERN__CPU_PANEL * 4 * 2
};

/* y = x W^T + bias; weight = scale * q + min. Panels: K / 32 blocks of Q8 without scales, f32 scales[16], mins[16]. */
typedef struct tern__cpu_channel_call {
  const uint8_t *panels;   /* of the first panel */
  size_t panel_bytes, n_panels, k;
  bool has_min;
  const float *x;          /* [m][ldx], weights are widened to f32; NULL: q */
  size_t ldx;
  const int16_t *q;        /* [m][K padded to 32], as quantize_channel leaves it */
  const float *scales, *sums; /* [m][groups]: of q, and the sum of x */
  size_t group, groups;    /* k that share a scale, a multiple of 32; K / group rounded up */
  size_t m;                /* <= TERN__CPU_ROW_BLOCK */
  float *y;                /* [m][ldy], from the first panel's first column on */
  size_t ldy, n;           /* n: columns to write, at most 16 n_panels */
  const float *bias;       /* [n] or NULL */
  uint8_t *scratch;        /* TERN__CPU_CHANNEL_SCRATCH bytes, 64-byte aligned */
} tern__cpu_channel_call;

/* ---- attention ---- */

/* `n_queries` vectors against keys and values in f16 or f32 rows, online softmax over keys [begin, end). Key
 * j is visible to query i iff first[i] <= j < last[i]; mask[i * mask_stride + j * mask_step] is added to its
 * score. Results are unnormalised: out[i] = sum of p v, maximum[i] and sum[i] of p; so ranges of keys can be
 * merged. */
/* Weights that a thread will read next, and asks for while memory has little else to do: the lines up to `end` are not
 * asked for yet. */
typedef struct tern__cpu_asking { const uint8_t *at, *end; } tern__cpu_asking;

static inline void tern__cpu_ask(tern__cpu_asking *a, int lines) {
  for (; lines > 0 && a->at < a->end; lines--, a->at += 64) __builtin_prefetch(a->at, 0, 2);
}

typedef struct tern__cpu_attention_call {
  const float *q;              /* [n_queries][q_stride], already scaled */
  size_t q_stride, n_queries;
  const void *k, *v;           /* row 0; rows are kv_stride elements apart */
  size_t kv_stride;
  bool f16;
  size_t d;
  const int32_t *first, *last; /* per query; both NULL: all keys */
  size_t begin, end;
  float softcap;               /* 0 = none */
  const float *mask;           /* NULL = none */
  size_t mask_stride, mask_step;
  float *out;                  /* [n_queries][out_stride] */
  size_t out_stride;
  float *maximum, *sum;        /* [n_queries] */
  float *scratch;              /* tern__cpu_attention_scratch(d) bytes, 64-byte aligned, for many queries;
                                  NULL: few. Sums are in another order, so the choice must depend on shapes alone */
  const void *next_k;          /* of few queries: the keys that the thread's next call begins with; NULL = none */
  tern__cpu_asking *asking;    /* of few queries, which read little: what else to ask for; NULL = nothing */
} tern__cpu_attention_call;

enum { TERN__CPU_ATTENTION_GROUP = 32, TERN__CPU_ATTENTION_SLAB = 64, TERN__CPU_ATTENTION_KEYS = 64 };

static inline size_t tern__cpu_attention_scratch(size_t d) {
  return sizeof(float) * (d * TERN__CPU_ATTENTION_GROUP +
                          TERN__CPU_ATTENTION_KEYS * (TERN__CPU_ATTENTION_GROUP + TERN__CPU_ATTENTION_SLAB));
}

/* ---- elementwise ---- */

typedef enum tern__cpu_unary {
#define TERN_X(name) TERN__CPU_##name,
#include "cpu/cpu_unary.def"
#undef TERN_X
  TERN__CPU_UNARY_COUNT
} tern__cpu_unary;

typedef enum tern__cpu_binary {
  TERN__CPU_ADD, TERN__CPU_SUB, TERN__CPU_MUL, TERN__CPU_DIV, TERN__CPU_MAX, TERN__CPU_MIN, TERN__CPU_POW,
  TERN__CPU_SILU_MUL, TERN__CPU_GELU_ERF_MUL, TERN__CPU_GELU_TANH_MUL, /* f(a) * b */
  TERN__CPU_ADD_GELU_ERF, TERN__CPU_ADD_GELU_TANH,                     /* f(a + b) */
  TERN__CPU_BINARY_COUNT
} tern__cpu_binary;

typedef struct tern__cpu_kernels {
  const char *name;
  bool asks_ahead;             /* weights are asked for before they are read: it pays */
  /* K values -> padded_k quantized ones with scales and sums. */
  void (*quantize_row)(const float *x, size_t k, size_t padded_k, int16_t *q, float *scales, float *sums);
  void (*arrange)(int16_t *q, size_t padded_k); /* into the order that `linear` wants */
  void (*linear)(const tern__cpu_linear_call *call);
  void (*linear_i32)(const tern__cpu_linear_i32_call *call);
  /* K values -> quantized ones, a scale and a sum per group. */
  void (*quantize_channel)(const float *x, size_t k, size_t group, int16_t *q, float *scales, float *sums);
  void (*channel)(const tern__cpu_channel_call *call);
  void (*attention)(const tern__cpu_attention_call *call);
  /* y = a op b over n elements; steps are 1 (array) or 0 (one value). */
  void (*binary[TERN__CPU_BINARY_COUNT])(const float *a, size_t a_step, const float *b, size_t b_step,
                                         float *y, size_t n);
  void (*unary[TERN__CPU_UNARY_COUNT])(const float *x, float *y, size_t n);
  /* y = x / sqrt(mean(x^2) + epsilon) * weight [+ bias]; layer norm subtracts the mean first. weight, bias
   * may be NULL. */
  void (*rms_norm)(const float *x, const float *weight, float *y, size_t n, float epsilon);
  void (*layer_norm)(const float *x, const float *weight, const float *bias, float *y, size_t n,
                     float epsilon, float *mean, float *inverse_deviation);
  void (*softmax)(const float *x, float *y, size_t n);
  /* c[m][n] = a[m][k] b, strided: b(k, n) at b[k * b_k + n * b_n]. */
  void (*matmul)(const float *a, size_t lda, const float *b, size_t ldb_k, size_t ldb_n, float *c, size_t ldc,
                 size_t m, size_t n, size_t k, float *scratch);
  void (*f16_to_f32)(const void *x, float *y, size_t n);
  void (*f32_to_f16)(const float *x, void *y, size_t n);
  void (*range)(const float *x, size_t n, float *low, float *high); /* smallest and largest; n > 0 */
} tern__cpu_kernels;

extern const tern__cpu_kernels tern__cpu_kernels_scalar, tern__cpu_kernels_avx2, tern__cpu_kernels_avx512,
    tern__cpu_kernels_neon, tern__cpu_kernels_neon_dotprod, tern__cpu_kernels_neon_i8mm,
    tern__cpu_kernels_wasm128;

#endif
