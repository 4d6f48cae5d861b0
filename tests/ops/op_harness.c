#include "ops/op_harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "formats/onnx_reader.h"

static tern_status run_node(const tern__graph *graph, const tern__node *node, tern__view *views,
                            tern__arena *arena) {
  tern_status status = TERN_OK;
  tern__view *in = tern__arena_calloc(arena, (size_t)node->n_inputs + 1, sizeof *in);
  tern__view *out = tern__arena_calloc(arena, (size_t)node->n_outputs + 1, sizeof *out);
  if (!in || !out) TERN_CHECK_ALLOC(NULL);
  for (int32_t i = 0; i < node->n_inputs; i++)
    if (node->inputs[i] >= 0) in[i] = views[node->inputs[i]];
  for (int32_t i = 0; i < node->n_outputs; i++) out[i].shape.rank = -1;
  tern__op_call call = {node, graph, in, out, node->n_inputs, node->n_outputs, graph->alloc, NULL, NULL};
  TERN_TRY(node->op->infer(&call));
  for (int32_t i = 0; i < node->n_outputs; i++) {
    if (node->outputs[i] < 0) {
      out[i].dtype = TERN_DTYPE_NONE;
      continue;
    }
    if (!tern__shape_bytes(out[i].dtype, &out[i].shape, &out[i].size_bytes))
      TERN_FAIL(TERN_STATUS_INTERNAL, "node '%s' (%s): output %d has no shape or type", node->name,
                node->op->name, i);
    if (out[i].size_bytes > (size_t)1 << 30)
      TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "node '%s': too large for a test", node->name);
    out[i].data = tern__arena_alloc(arena, out[i].size_bytes);
    TERN_CHECK_ALLOC(out[i].data);
    memset(out[i].data, 0x5a, out[i].size_bytes); /* references must write all of it */
  }
  TERN_TRY(node->op->reference(&call));
  for (int32_t i = 0; i < node->n_outputs; i++)
    if (node->outputs[i] >= 0) views[node->outputs[i]] = out[i];
cleanup:
  return status;
}

tern_status harness_run(const tern__graph *graph, const tern__view *feeds, size_t n_feeds, tern__arena *arena,
                        tern__view **out) {
  tern_status status = TERN_OK;
  tern__view *views = tern__arena_calloc(arena, tern__array_count(graph->values) + 1, sizeof *views);
  TERN_CHECK_ALLOC(views);
  for (size_t v = 0; v < tern__array_count(graph->values); v++) {
    const tern__value *value = &graph->values[v];
    if (value->data)
      views[v] = (tern__view){value->dtype, value->shape, (void *)(uintptr_t)value->data, value->size_bytes};
  }
  for (size_t i = 0; i < n_feeds && i < tern__array_count(graph->inputs); i++)
    views[graph->inputs[i]] = feeds[i];
  for (size_t n = 0; n < tern__array_count(graph->nodes); n++)
    TERN_TRY(run_node(graph, &graph->nodes[n], views, arena));
  *out = views;
cleanup:
  return status;
}

double harness_at(const tern__view *v, size_t i) {
  const uint8_t *p = v->data;
#define TERN_X(dtype, T)                    \
  case TERN_DTYPE_##dtype: {                \
    T x;                                    \
    memcpy(&x, p + i * sizeof x, sizeof x); \
    return (double)x;                       \
  }
  switch (v->dtype) {
    TERN_X(F32, float)
    TERN_X(F64, double) TERN_X(I8, int8_t) TERN_X(U8, uint8_t) TERN_X(I16, int16_t) TERN_X(U16, uint16_t)
        TERN_X(I32, int32_t) TERN_X(U32, uint32_t) TERN_X(I64, int64_t) TERN_X(U64, uint64_t)
            TERN_X(BOOL, uint8_t) case TERN_DTYPE_F16
        : return tern__f16_to_f32((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
    case TERN_DTYPE_BF16: return tern__bf16_to_f32((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
    case TERN_DTYPE_U4: return p[i / 2] >> i % 2 * 4 & 15;
    case TERN_DTYPE_I4: return ((p[i / 2] >> i % 2 * 4 & 15) ^ 8) - 8;
    default: return NAN;
  }
#undef TERN_X
}

bool harness_close(const tern__view *got, const tern__view *want, double rtol, double atol, char *why,
                   size_t why_size) {
  char a[96], b[96];
  size_t n = 0;
  if (got->dtype != want->dtype || !tern__shape_equal(&got->shape, &want->shape) ||
      !tern__shape_count(&want->shape, &n)) {
    snprintf(why, why_size, "%s %s instead of %s %s", tern_dtype_name(got->dtype),
             tern__shape_text(&got->shape, a, sizeof a), tern_dtype_name(want->dtype),
             tern__shape_text(&want->shape, b, sizeof b));
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    double x = harness_at(got, i), y = harness_at(want, i);
    if (x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= atol + rtol * fabs(y)) continue;
    snprintf(why, why_size, "element %zu is %.9g instead of %.9g", i, x, y);
    return false;
  }
  return true;
}

uint8_t *harness_read_file(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  *size = 0;
  if (!f) return NULL;
  fseek(f, 0, SEEK_END);
  long length = ftell(f);
  rewind(f);
  uint8_t *data = malloc(length > 0 ? (size_t)length : 1);
  if (data && length > 0) *size = fread(data, 1, (size_t)length, f);
  fclose(f);
  return data;
}

/* ------------------------------------------------------------------------------------------------ cases in
 * folders */

enum { MAX_TENSORS = 64 };

typedef struct tolerance {
  double rtol, atol;
} tolerance;

/* The case's own, from tolerance.txt; else those of onnx.backend.test's loader. */
static tolerance read_tolerance(const char *folder) {
  char path[4096], text[128];
  tolerance t = {1e-3, 1e-7}, own;
  snprintf(path, sizeof path, "%s/tolerance.txt", folder);
  FILE *f = fopen(path, "r");
  if (f && fgets(text, sizeof text, f) && sscanf(text, "%lf %lf", &own.rtol, &own.atol) == 2) t = own;
  if (f) fclose(f);
  return t;
}

typedef struct tensors {
  tern__view views[MAX_TENSORS];
  uint8_t *bytes[MAX_TENSORS];
  size_t n;
} tensors;

static void free_tensors(tensors *t) {
  for (size_t i = 0; i < t->n; i++) free(t->bytes[i]);
}

static tern_status read_tensors(tern__alloc *alloc, tern__arena *arena, const char *folder, const char *kind,
                                tensors *out) {
  tern_status status = TERN_OK;
  out->n = 0;
  for (size_t i = 0; i < MAX_TENSORS; i++) {
    char path[4096];
    size_t size;
    const char *name;
    const void *data;
    snprintf(path, sizeof path, "%s/%s_%zu.pb", folder, kind, i);
    out->bytes[i] = harness_read_file(path, &size);
    if (!out->bytes[i]) break;
    out->n++;
    tern__view *v = &out->views[i];
    *v = (tern__view){TERN_DTYPE_NONE};
    if (!size) continue; /* an optional input that is absent */
    TERN_TRY(tern__onnx_read_tensor(alloc, arena, out->bytes[i], size, &name, &v->dtype, &v->shape, &data,
                                    &v->size_bytes));
    v->data = (void *)(uintptr_t)data;
  }
cleanup:
  return status;
}

/* The expected halves were rounded between many steps, tern's once: two units in the last place apart at
 * most. */
static double rtol_of(tern_dtype dtype, double rtol) {
  double units = dtype == TERN_DTYPE_BF16 ? 1.0 / 64 : dtype == TERN_DTYPE_F16 ? 1.0 / 512 : 0;
  return rtol > units ? rtol : units;
}

/* An empty `why` is a pass. */
static tern_status run_set(const tern__graph *graph, tern__alloc *alloc, const char *folder, tolerance limits,
                           char *why, size_t why_size) {
  tern_status status = TERN_OK;
  tern__arena arena;
  tensors in = {.n = 0}, want = {.n = 0};
  tern__view *views;
  tern__arena_init(&arena, alloc);
  TERN_TRY(read_tensors(alloc, &arena, folder, "input", &in));
  TERN_TRY(read_tensors(alloc, &arena, folder, "output", &want));
  TERN_TRY(harness_run(graph, in.views, in.n, &arena, &views));
  if (want.n != tern__array_count(graph->outputs)) snprintf(why, why_size, "%zu outputs expected", want.n);
  for (size_t i = 0; i < want.n && !*why; i++) {
    char text[256];
    if (!harness_close(&views[graph->outputs[i]], &want.views[i], rtol_of(want.views[i].dtype, limits.rtol),
                       limits.atol, text, sizeof text))
      snprintf(why, why_size, "output %zu: %s", i, text);
  }
cleanup:
  free_tensors(&in);
  free_tensors(&want);
  tern__arena_deinit(&arena);
  return status;
}

tern_status harness_run_case(const char *folder, char *why, size_t why_size) {
  tern_status status = TERN_OK;
  tern__alloc alloc;
  tern__arena arena;
  tern__graph *graph = NULL;
  tern__onnx_files files = {0};
  char path[4096];
  size_t size;
  tolerance limits = read_tolerance(folder);
  *why = 0;
  tern__alloc_init(&alloc, NULL, 0);
  tern__arena_init(&arena, &alloc);
  snprintf(path, sizeof path, "%s/model.onnx", folder);
  uint8_t *model = harness_read_file(path, &size);
  if (!model) TERN_FAIL(TERN_STATUS_NOT_FOUND, "no model.onnx");
  TERN_TRY(tern__onnx_read(&alloc, &arena, model, size, path, &graph, &files));
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++)
    if (graph->values[graph->inputs[i]].dtype == TERN_DTYPE_NONE)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "input %zu is no tensor of a known type", i);
  for (int set = 0; !*why; set++) {
    snprintf(path, sizeof path, "%s/test_data_set_%d", folder, set);
    if (!tern__path_is_dir(path)) break;
    TERN_TRY(run_set(graph, &alloc, path, limits, why, why_size));
  }
cleanup:
  tern__graph_destroy(graph);
  tern__onnx_files_close(&alloc, &files);
  tern__arena_deinit(&arena);
  free(model);
  if (status == TERN_OK && !*why && alloc.live_bytes)
    snprintf(why, why_size, "leaked %llu bytes", (unsigned long long)alloc.live_bytes);
  return status;
}
