/* Ops that move or convert elements: Transpose, Cast between the types that graphs compute with. */
#include "cpu/cpu_program.h"

#include <string.h>

enum { CHUNK_ELEMENTS = 16 * 1024 };

/* ---- Transpose: rows of the result are gathered with one stride ---- */

typedef struct transpose_params {
  int32_t rank;                    /* of a row's index */
  size_t dims[TERN_MAX_RANK], steps[TERN_MAX_RANK];
  size_t n, step, rows, rows_per_chunk, size;
} transpose_params;

#define GATHER(T)                                                                       \
  {                                                                                     \
    const T *from = (const T *)(const void *)x;                                         \
    T *to = (T *)(void *)y;                                                             \
    for (size_t i = 0; i < n; i++) to[i] = from[i * step];                              \
    break;                                                                              \
  }

static void gather_row(const uint8_t *x, uint8_t *y, size_t n, size_t step, size_t size) {
  if (step == 1) {
    memcpy(y, x, n * size);
    return;
  }
  switch (size) {
    case 1: GATHER(uint8_t)
    case 2: GATHER(uint16_t)
    case 4: GATHER(uint32_t)
    default: GATHER(uint64_t)
  }
}

static tern_status run_transpose(const tern__cpu_step *step, const tern__cpu_context *context,
                                 uint32_t chunk) {
  const transpose_params *p = step->params;
  size_t row = (size_t)chunk * p->rows_per_chunk, end = row + p->rows_per_chunk;
  (void)context;
  for (; row < p->rows && row < end; row++) {
    size_t at = 0, rest = row;
    for (int32_t i = p->rank; i-- > 0; rest /= p->dims[i]) at += rest % p->dims[i] * p->steps[i];
    gather_row((const uint8_t *)step->in[0]->data + at * p->size,
               (uint8_t *)step->out[0]->data + row * p->n * p->size, p->n, p->step, p->size);
  }
  return TERN_OK;
}

tern_status tern__cpu_compile_transpose(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, 0), *y = tern__cpu_out(program, node, 0);
  const tern__dtype_info *info = tern__dtype_info_of(x->dtype);
  size_t count, strides[TERN_MAX_RANK], stride = 1;
  const int64_t *order = tern__node_ints(node, "perm", &count);
  int32_t rank = x->shape.rank;
  if (!info || info->block_elements != 1 || rank < 1 || (order && count != (size_t)rank)) return TERN_OK;
  if (x->dtype == TERN_DTYPE_I4 || x->dtype == TERN_DTYPE_U4 || ((uintptr_t)x->data & 7)) return TERN_OK;
  size_t size = info->block_bytes;
  if (size != 1 && size != 2 && size != 4 && size != 8) return TERN_OK;
  transpose_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  for (int32_t i = rank; i-- > 0; stride *= (size_t)x->shape.dims[i]) strides[i] = stride;
  p->size = size, p->rank = rank - 1;
  for (int32_t i = 0; i < rank; i++) {
    int64_t from = order ? order[i] : rank - 1 - i;
    if (from < 0 || from >= rank) return TERN_OK;
    p->dims[i] = (size_t)y->shape.dims[i], p->steps[i] = strides[from];
  }
  p->n = p->dims[rank - 1], p->step = p->steps[rank - 1], p->rows = tern__cpu_elements(y) / p->n;
  p->rows_per_chunk = CHUNK_ELEMENTS / p->n > 0 ? CHUNK_ELEMENTS / p->n : 1;
  TERN_TRY(
      tern__cpu_add_step(program, node, run_transpose, tern__cpu_divide_up(p->rows, p->rows_per_chunk), p));
  *taken = true;
cleanup:
  return status;
}

/* ---- Cast ---- */

static tern_status run_cast(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  size_t from = (size_t)chunk * CHUNK_ELEMENTS, n = tern__cpu_elements(step->out[0]) - from;
  const void *x = step->in[0]->data;
  void *y = step->out[0]->data;
  if (n > CHUNK_ELEMENTS) n = CHUNK_ELEMENTS;
  switch (step->in[0]->dtype) {
    case TERN_DTYPE_F16:
      context->kernels->f16_to_f32((const uint16_t *)x + from, (float *)y + from, n);
      break;
    case TERN_DTYPE_F32:
      context->kernels->f32_to_f16((const float *)x + from, (uint16_t *)y + from, n);
      break;
    default:
      for (size_t i = from; i < from + n; i++) ((float *)y)[i] = (float)((const int32_t *)x)[i];
  }
  return TERN_OK;
}

tern_status tern__cpu_compile_cast(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, 0), *y = tern__cpu_out(program, node, 0);
  bool widen = (x->dtype == TERN_DTYPE_F16 || x->dtype == TERN_DTYPE_I32) && y->dtype == TERN_DTYPE_F32;
  if (!widen && !(x->dtype == TERN_DTYPE_F32 && y->dtype == TERN_DTYPE_F16)) return TERN_OK;
  if ((uintptr_t)x->data & 3) return TERN_OK;
  TERN_TRY(tern__cpu_add_step(program, node, run_cast,
                              tern__cpu_divide_up(tern__cpu_elements(y), CHUNK_ELEMENTS), NULL));
  *taken = true;
cleanup:
  return status;
}
