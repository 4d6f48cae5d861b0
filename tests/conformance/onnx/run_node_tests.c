/* Runs test cases in the ONNX backend test layout: DIR/model.onnx, DIR/test_data_set_N/{input,output}_I.pb. Prints a line a
 * case: "pass NAME", "fail NAME: why" or "unsupported NAME: why". node_tests.py holds the result to expected.txt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/onnx_reader.h"
#include "ops/op_harness.h"

enum { MAX_TENSORS = 64 };

typedef struct tolerance { double rtol, atol; } tolerance;

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

typedef struct tensors { tern__view views[MAX_TENSORS]; uint8_t *bytes[MAX_TENSORS]; size_t n; } tensors;

static void free_tensors(tensors *t) {
  for (size_t i = 0; i < t->n; i++) free(t->bytes[i]);
}

static tern_status read_tensors(tern__alloc *alloc, tern__arena *arena, const char *folder, const char *kind, tensors *out) {
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
    TERN_TRY(tern__onnx_read_tensor(alloc, arena, out->bytes[i], size, &name, &v->dtype, &v->shape, &data, &v->size_bytes));
    v->data = (void *)(uintptr_t)data;
  }
cleanup:
  return status;
}

/* The expected halves were rounded between many steps, tern's once: two units in the last place apart at most. */
static double rtol_of(tern_dtype dtype, double rtol) {
  double units = dtype == TERN_DTYPE_BF16 ? 1.0 / 64 : dtype == TERN_DTYPE_F16 ? 1.0 / 512 : 0;
  return rtol > units ? rtol : units;
}

/* An empty `why` is a pass. */
static tern_status run_set(const tern__graph *graph, tern__alloc *alloc, const char *folder, tolerance limits, char *why,
                           size_t why_size) {
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
    if (!harness_close(&views[graph->outputs[i]], &want.views[i], rtol_of(want.views[i].dtype, limits.rtol), limits.atol, text, sizeof text))
      snprintf(why, why_size, "output %zu: %s", i, text);
  }
cleanup:
  free_tensors(&in);
  free_tensors(&want);
  tern__arena_deinit(&arena);
  return status;
}

static tern_status run_case(const char *folder, char *why, size_t why_size) {
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
  if (status == TERN_OK && !*why && alloc.live_bytes) snprintf(why, why_size, "leaked %llu bytes", (unsigned long long)alloc.live_bytes);
  return status;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char why[512];
    const char *name = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
    tern_status status = run_case(argv[i], why, sizeof why);
    if (status == TERN_STATUS_UNSUPPORTED) printf("unsupported %s: %s\n", name, tern_last_error());
    else if (status != TERN_OK) printf("fail %s: %s\n", name, tern_last_error());
    else if (*why) printf("fail %s: %s\n", name, why);
    else printf("pass %s\n", name);
    fflush(stdout);
  }
  return 0;
}
