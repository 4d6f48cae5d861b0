/* Reads arbitrary bytes as an ONNX model and, if that works, runs its operators on small inputs. */
#include <stdlib.h>
#include <string.h>

#include "formats/onnx_reader.h"
#include "ops/op_harness.h"

/* What the library's own interpreter would refuse: unknown dims become 2, inputs are zeros. */
static void run(tern__alloc *alloc, const tern__graph *graph) {
  tern__arena arena;
  tern__view *views, feeds[8];
  size_t n = tern__array_count(graph->inputs);
  tern__arena_init(&arena, alloc);
  for (size_t i = 0; i < n && n <= 8; i++) {
    const tern__value *v = &graph->values[graph->inputs[i]];
    feeds[i] = (tern__view){v->dtype, v->shape, NULL, 0};
    if (feeds[i].shape.rank < 0) feeds[i].shape.rank = 0;
    for (int32_t d = 0; d < feeds[i].shape.rank; d++)
      if (feeds[i].shape.dims[d] < 0) feeds[i].shape.dims[d] = 2;
    if (!tern__shape_bytes(feeds[i].dtype, &feeds[i].shape, &feeds[i].size_bytes) ||
        feeds[i].size_bytes > 1 << 16)
      n = SIZE_MAX;
    else if (!(feeds[i].data = tern__arena_alloc(&arena, feeds[i].size_bytes))) n = SIZE_MAX;
  }
  if (n <= 8) (void)harness_run(graph, feeds, n, &arena, &views);
  tern__arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tern__alloc alloc;
  tern__arena arena;
  tern__graph *graph = NULL;
  tern__onnx_files files = {0};
  tern__alloc_init(&alloc, NULL, (uint64_t)64 << 20);
  tern__arena_init(&arena, &alloc);
  if (tern__onnx_read(&alloc, &arena, data, size, NULL, &graph, &files) == TERN_OK) run(&alloc, graph);
  tern__graph_destroy(graph);
  tern__onnx_files_close(&alloc, &files);
  tern__arena_deinit(&arena);
  if (alloc.live_bytes) abort(); /* a leak */
  return 0;
}
