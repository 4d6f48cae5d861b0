/* MatMulInteger, MatMulIntegerToFloat, DynamicQuantizeMatMul: kernels/integer_*.wgsl. A constant B is packed by the
 * host, in parts that fit a binding; a computed one by the kernel that packs A. */
#include "gpu/ops/gpu_integer.h"

#include <string.h>

enum { LAYOUT_VERSION = 0x67707538, PLACE = 256, COLUMN_STEP = 64, COLUMNS = 128, ROWS = 4 };

typedef struct pack_immediates { uint32_t rows, k, row_words, row_step, k_step, flip, pad[2]; } pack_immediates;
typedef struct matmul_immediates {
  uint32_t rows, columns, k, words, y_stride, y_first, flags, pad[5];
} matmul_immediates;
typedef struct scale_immediates { uint32_t count, n, flags, pad; } scale_immediates;

enum { A_SIGNED = 1, B_SIGNED = 2, A_ZERO = 4, B_ZERO = 8, A_ZEROS = 16, B_ZEROS = 32 };

/* A product and where its parts are. */
typedef struct integer_call {
  tern__program *program;
  const tern__node *node;
  uint64_t m, n, k, words;
  uint32_t flags;
  const uint8_t *b;                            /* NULL: computed */
  tern__gpu_operand a, a_zero, b_in, b_zero, y; /* bytes; y: int32 */
  uint64_t scratch;                            /* used so far */
} integer_call;

static uint64_t divide_up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
static uint64_t place(uint64_t bytes) { return divide_up(bytes, PLACE) * PLACE; }

static tern__gpu_operand take_scratch(integer_call *call, uint64_t bytes) {
  tern__gpu_operand operand = tern__gpu_scratch(call->scratch, place(bytes));
  call->scratch += operand.size;
  tern__gpu_need_scratch(call->program, call->scratch);
  return operand;
}

/* ---- a constant B ---- */

typedef struct pack_job { const uint8_t *data; uint64_t n, k, words, first, columns; uint8_t flip; } pack_job;

static tern_status build(void *user_data, void *packed) {
  const pack_job *job = user_data;
  uint8_t *words = packed;
  int32_t *sums = (int32_t *)(void *)(words + place(job->columns * job->words * 4));
  memset(packed, 0, job->columns * job->words * 4);
  for (uint64_t c = 0; c < job->columns; c++) {
    int32_t sum = 0;
    for (uint64_t k = 0; k < job->k; k++) {
      uint8_t value = job->data[k * job->n + job->first + c] ^ job->flip;
      words[c * job->words * 4 + k] = value;
      sum += (int8_t)value;
    }
    sums[c] = sum;
  }
  return TERN_OK;
}

static tern_status add_part(integer_call *call, uint64_t first, uint64_t columns, int32_t *index) {
  tern_status status = TERN_OK;
  pack_job *job = tern__gpu_params(call->program, sizeof *job);
  TERN_CHECK_ALLOC(job);
  *job = (pack_job){call->b, call->n, call->k, call->words, first, columns, call->flags & B_SIGNED ? 0 : 0x80};
  uint64_t form[] = {LAYOUT_VERSION, call->n, call->k, first, columns, job->flip};
  uint64_t layout = tern__pack_hash(tern__pack_hash(TERN__PACK_HASH, call->b, call->n * call->k), form, sizeof form);
  tern__gpu_weight weight = {.key = call->b, .layout = layout, .build = build, .user_data = job,
                             .size = place(columns * call->words * 4) + place(columns * 4)};
  TERN_TRY(tern__gpu_add_weight(call->program, &weight, index));
cleanup:
  return status;
}

/* ---- steps ---- */

static tern_status add_pack(integer_call *call, tern__gpu_operand from, uint64_t rows, uint64_t row_step,
                            uint64_t k_step, bool is_signed, tern__gpu_operand out[2]) {
  tern_status status = TERN_OK;
  pack_immediates p = {.rows = (uint32_t)rows, .k = (uint32_t)call->k, .row_words = (uint32_t)call->words,
                       .row_step = (uint32_t)row_step, .k_step = (uint32_t)k_step, .flip = is_signed ? 0 : 0x80};
  uint32_t groups[2];
  out[0] = take_scratch(call, rows * call->words * 4), out[1] = take_scratch(call, rows * 4);
  tern__gpu_groups_1d(call->program, rows, 1, groups);
  TERN_TRY(tern__gpu_add_step(call->program, call->node, TERN__KERNEL_integer_pack,
                              (tern__gpu_operand[]){from, out[0], out[1]}, &p, groups[0], groups[1], 1));
cleanup:
  return status;
}

static tern_status add_product(integer_call *call, const tern__gpu_operand a[2], const tern__gpu_operand b[2],
                               uint64_t first, uint64_t columns) {
  tern_status status = TERN_OK;
  matmul_immediates p = {.rows = (uint32_t)call->m, .columns = (uint32_t)columns, .k = (uint32_t)call->k,
                         .words = (uint32_t)call->words, .y_stride = (uint32_t)call->n, .y_first = (uint32_t)first,
                         .flags = call->flags};
  tern__gpu_operand operands[] = {a[0], a[1], call->y, call->a_zero, call->b_zero, b[0], b[1]};
  TERN_TRY(tern__gpu_add_step(call->program, call->node, TERN__KERNEL_integer_matmul, operands, &p,
                              (uint32_t)divide_up(columns, COLUMNS), (uint32_t)divide_up(call->m, ROWS), 1));
  tern__gpu_cost(call->program, 2 * call->m * columns * call->k, columns * call->k + call->m * (call->k + 4 * columns));
cleanup:
  return status;
}

static tern_status add_steps(integer_call *call) {
  tern_status status = TERN_OK;
  tern__gpu_operand a[2], b[2];
  TERN_TRY(add_pack(call, call->a, call->m, call->k, 1, (call->flags & A_SIGNED) != 0, a));
  if (!call->b) {
    TERN_TRY(add_pack(call, call->b_in, call->n, 1, call->n, (call->flags & B_SIGNED) != 0, b));
    TERN_TRY(add_product(call, a, b, 0, call->n));
    goto cleanup;
  }
  uint64_t step = call->program->backend->info->max_binding_bytes / (call->words * 4) / COLUMN_STEP * COLUMN_STEP;
  for (uint64_t first = 0; first < call->n; first += step) {
    uint64_t columns = call->n - first < step ? call->n - first : step, bytes = place(columns * call->words * 4);
    int32_t index;
    TERN_TRY(add_part(call, first, columns, &index));
    b[0] = (tern__gpu_operand){TERN__GPU_WEIGHT, index, 0, bytes};
    b[1] = (tern__gpu_operand){TERN__GPU_WEIGHT, index, bytes, place(columns * 4)};
    TERN_TRY(add_product(call, a, b, first, columns));
  }
cleanup:
  return status;
}

/* ---- nodes ---- */

static bool zero_fits(const tern__view *zero, uint64_t n) {
  return !zero || tern__gpu_elements(zero) == 1 || (zero->shape.rank == 1 && tern__gpu_elements(zero) == n);
}

/* Sizes, flags and operands of A, B and their zero points; false if they are not for these kernels. a_zero -1: A comes
 * quantized by ourselves. */
static bool read_call(tern__program *program, const tern__node *node, int32_t a_zero, int32_t b_zero,
                      integer_call *out) {
  const tern__view *a = tern__gpu_in(program, node, 0), *b = tern__gpu_in(program, node, 1);
  const tern__view *za = a_zero < 0 ? NULL : tern__gpu_in(program, node, a_zero);
  const tern__view *zb = tern__gpu_in(program, node, b_zero);
  const tern__gpu_info *info = program->backend->info;
  if (a->shape.rank < 2 || b->shape.rank != 2) return false;
  integer_call c = {.program = program, .node = node, .b = tern__gpu_constant(program, node, 1),
                    .m = tern__gpu_product(&a->shape, 0, a->shape.rank - 1), .k = (uint64_t)b->shape.dims[0],
                    .n = (uint64_t)b->shape.dims[1], .a = tern__gpu_input(node, 0), .b_in = tern__gpu_input(node, 1),
                    .b_zero = tern__gpu_input(node, b_zero), .y = tern__gpu_output(node, 0)};
  c.a_zero = a_zero < 0 ? (tern__gpu_operand){TERN__GPU_NONE, -1, 0, 0} : tern__gpu_input(node, a_zero);
  c.words = divide_up(c.k, TERN__GPU_INTEGER_BLOCK) * (TERN__GPU_INTEGER_BLOCK / 4);
  uint64_t rows = c.m > c.n ? c.m : c.n, limit = info->max_binding_bytes;
  if (!c.m || !c.n || !c.k || !zero_fits(za, a->shape.rank == 2 ? c.m : 1) || !zero_fits(zb, c.n) ||
      c.m * c.n * 4 > limit || c.m * c.words * 4 > limit || (!c.b && c.n * c.words * 4 > limit) ||
      limit / (c.words * 4) < COLUMN_STEP || divide_up(rows, ROWS) > info->max_groups)
    return false;
  c.flags = (a->dtype == TERN_DTYPE_I8 ? A_SIGNED : 0) | (b->dtype == TERN_DTYPE_I8 ? B_SIGNED : 0) |
            (za ? A_ZERO : 0) | (zb ? B_ZERO : 0) | (za && tern__gpu_elements(za) > 1 ? A_ZEROS : 0) |
            (zb && tern__gpu_elements(zb) > 1 ? B_ZEROS : 0);
  *out = c;
  return true;
}

tern_status tern__gpu_compile_matmul_integer(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  integer_call call;
  if (!read_call(program, node, 2, 3, &call)) return TERN_OK;
  TERN_TRY(add_steps(&call));
  *taken = true;
cleanup:
  return status;
}

/* The product in scratch, scaled to float32. */
static tern_status add_scaled(integer_call *call, tern__gpu_operand a_scale, int32_t b_scale, int32_t bias,
                              bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *scale = tern__gpu_in(call->program, call->node, b_scale);
  const tern__view *added = tern__gpu_in(call->program, call->node, bias);
  uint64_t n_scales = tern__gpu_elements(scale), count = call->m * call->n;
  uint32_t groups[2];
  if (scale->dtype != TERN_DTYPE_F32 || (n_scales != 1 && n_scales != call->n) ||
      (added && (added->dtype != TERN_DTYPE_F32 || tern__gpu_elements(added) != call->n)))
    return TERN_OK;
  scale_immediates p = {(uint32_t)count, (uint32_t)call->n, (n_scales > 1 ? 1 : 0) | (added ? 2 : 0), 0};
  call->y = take_scratch(call, count * 4);
  TERN_TRY(add_steps(call));
  tern__gpu_groups_1d(call->program, count, 64, groups);
  TERN_TRY(tern__gpu_add_step(call->program, call->node, TERN__KERNEL_integer_scale,
                              (tern__gpu_operand[]){call->y, tern__gpu_output(call->node, 0), a_scale,
                                                    tern__gpu_input(call->node, b_scale),
                                                    tern__gpu_input(call->node, bias)},
                              &p, groups[0], groups[1], 1));
  *taken = true;
cleanup:
  return status;
}

tern_status tern__gpu_compile_matmul_integer_to_float(tern__program *program, const tern__node *node, bool *taken) {
  integer_call call;
  const tern__view *a_scale = tern__gpu_in(program, node, 2);
  if (a_scale->dtype != TERN_DTYPE_F32 || tern__gpu_elements(a_scale) != 1 || !read_call(program, node, 4, 5, &call))
    return TERN_OK;
  return add_scaled(&call, tern__gpu_input(node, 2), 3, 6, taken);
}

tern_status tern__gpu_compile_dynamic_quantize_matmul(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  integer_call call;
  if (!read_call(program, node, -1, 3, &call)) return TERN_OK;
  uint64_t count = call.m * call.k;
  tern__gpu_operand x = call.a, ranges = take_scratch(&call, TERN__GPU_QUANTIZE_RANGES * 8), scale;
  call.a = take_scratch(&call, count), scale = take_scratch(&call, 4), call.a_zero = take_scratch(&call, 4);
  call.flags |= A_ZERO;
  TERN_TRY(tern__gpu_add_dynamic_quantize(program, node, count, x, ranges, call.a, scale, call.a_zero));
  TERN_TRY(add_scaled(&call, scale, 2, 4, taken));
cleanup:
  return status;
}
