/* Any bytes as a GGUF file: open, read the vocabulary, build the graph. The input is copied to a block of its
 * own size, so that ASan sees reads behind its end. The seeds: make_gguf_corpus.py. */
#include <stdlib.h>
#include <string.h>

#include "formats/arch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tern_status status = TERN_OK;
  tern__alloc alloc;
  tern__arena arena;
  tern__gguf *gguf = NULL;
  tern__graph *graph = NULL;
  tern__gguf_vocab vocab;
  tern__arch_info info;
  uint8_t *copy = malloc(size ? size : 1);
  if (!copy) return 0;
  if (size) memcpy(copy, data, size);
  tern__alloc_init(&alloc, NULL, (uint64_t)256 << 20);
  tern__arena_init(&arena, &alloc);
  TERN_TRY(tern__gguf_open(&alloc, copy, size, &gguf));
  status = tern__gguf_read_vocab(gguf, &arena, &vocab); /* the graph does not need one */
  TERN_TRY(tern__arch_build(gguf, 64, &alloc, &arena, &graph, &info));
cleanup:
  tern__graph_destroy(graph);
  tern__arena_deinit(&arena);
  tern__gguf_close(gguf);
  free(copy);
  if (alloc.live_bytes || (status != TERN_OK && !*tern_last_error()))
    abort(); /* a leak, or an error without a sentence */
  return 0;
}
