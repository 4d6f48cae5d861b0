/* com.microsoft.GatherBlockQuantized: rows of a table of bytes with float32 scales; a chunk is a few rows. */
#include "cpu/cpu_program.h"

enum { CHUNK_ELEMENTS = 4 * 1024 };

typedef struct gather_params {
  size_t rows, columns, block, blocks, n, per_chunk;
} gather_params;

static int64_t index_at(const tern__view *indices, size_t i) {
  return indices->dtype == TERN_DTYPE_I64 ? ((const int64_t *)indices->data)[i] : ((const int32_t *)indices->data)[i];
}

static void widen_row(const gather_params *p, const uint8_t *q, const float *scales, const uint8_t *zeros, float *y) {
  for (size_t b = 0; b < p->blocks; b++) {
    size_t first = b * p->block, end = first + p->block < p->columns ? first + p->block : p->columns;
    int zero = zeros ? zeros[b] : 128;
    float scale = scales[b];
    for (size_t e = first; e < end; e++) y[e] = (float)(q[e] - zero) * scale;
  }
}

static tern_status run_gather(const tern__cpu_step *step, const tern__cpu_context *context, uint32_t chunk) {
  tern_status status = TERN_OK;
  const gather_params *p = step->params;
  size_t from = (size_t)chunk * p->per_chunk, end = from + p->per_chunk < p->n ? from + p->per_chunk : p->n;
  (void)context;
  for (size_t i = from; i < end; i++) {
    int64_t row = index_at(step->in[1], i);
    if (row < 0) row += (int64_t)p->rows;
    if (row < 0 || (size_t)row >= p->rows)
      TERN_FAIL(TERN_STATUS_SHAPE_MISMATCH, "node '%s' (GatherBlockQuantized): index %lld is out of range",
                step->node->name, (long long)row);
    widen_row(p, (const uint8_t *)step->in[0]->data + (size_t)row * p->columns,
              (const float *)step->in[2]->data + (size_t)row * p->blocks,
              step->in[3] ? (const uint8_t *)step->in[3]->data + (size_t)row * p->blocks : NULL,
              (float *)step->out[0]->data + i * p->columns);
  }
cleanup:
  return status;
}

tern_status tern__cpu_compile_gather_block_quantized(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  const tern__view *x = tern__cpu_in(program, node, 0), *indices = tern__cpu_in(program, node, 1),
                   *scales = tern__cpu_in(program, node, 2);
  int64_t block = tern__node_int(node, "block_size", 128);
  if (x->dtype != TERN_DTYPE_U8 || tern__node_int(node, "bits", 4) != 8 || x->shape.rank != 2 || block < 1 ||
      scales->dtype != TERN_DTYPE_F32 || ((uintptr_t)scales->data & 3) || ((uintptr_t)indices->data & 7))
    return TERN_OK;
  gather_params *p = tern__cpu_params(program, sizeof *p);
  TERN_CHECK_ALLOC(p);
  p->rows = (size_t)x->shape.dims[0], p->columns = (size_t)x->shape.dims[1], p->block = (size_t)block;
  p->blocks = tern__cpu_divide_up(p->columns, p->block), p->n = tern__cpu_elements(indices);
  p->per_chunk = CHUNK_ELEMENTS / p->columns > 0 ? CHUNK_ELEMENTS / p->columns : 1;
  TERN_TRY(tern__cpu_add_step(program, node, run_gather, tern__cpu_divide_up(p->n, p->per_chunk), p));
  *taken = true;
cleanup:
  return status;
}
