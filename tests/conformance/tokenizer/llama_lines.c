/* The oracle's side of compare_tokenizers.py: llama.cpp's own tokens, vocabulary only.
 *   llama_lines MODEL.gguf [--special] [--parse] [--decode]     records and lines of ids as of tokenize_lines
 * Build: cc llama_lines.c -I LLAMA/include -I LLAMA/ggml/include -L LLAMA/build/bin -lllama
 * -Wl,-rpath,LLAMA/build/bin */
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quiet(enum ggml_log_level level, const char *text, void *user) {
  (void)level, (void)text, (void)user;
}

static void decode(const struct llama_vocab *vocab, const char *record, uint32_t size) {
  size_t room = size * 32u + 64; /* no token of the models compared here is longer than 128 bytes */
  char *text = malloc(room);
  int n = llama_detokenize(vocab, (const llama_token *)(const void *)record, (int)(size / 4), text, (int)room,
                           false, true);
  uint32_t out = n < 0 ? 0 : (uint32_t)n;
  fwrite(&out, 4, 1, stdout);
  fwrite(text, 1, out, stdout);
  free(text);
}

int main(int argc, char **argv) {
  bool special = false, parse = false, decoding = false;
  for (int i = 2; i < argc; i++) {
    special |= !strcmp(argv[i], "--special"), parse |= !strcmp(argv[i], "--parse");
    decoding |= !strcmp(argv[i], "--decode");
  }
  llama_log_set(quiet, NULL);
  llama_backend_init();
  struct llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  struct llama_model *model = argc > 1 ? llama_model_load_from_file(argv[1], params) : NULL;
  if (!model) return fprintf(stderr, "llama_lines: cannot load the model\n"), 1;
  const struct llama_vocab *vocab = llama_model_get_vocab(model);
  uint32_t size;
  char *text = NULL;
  llama_token *ids = NULL;
  while (fread(&size, 4, 1, stdin) == 1) {
    text = realloc(text, size + 1u);
    ids = realloc(ids, (size + 16u) * sizeof *ids);
    if (size && fread(text, size, 1, stdin) != 1) return 1;
    if (decoding) {
      decode(vocab, text, size);
      continue;
    }
    int n = llama_tokenize(vocab, text, (int)size, ids, (int)size + 16, special, parse);
    if (n < 0) return fprintf(stderr, "llama_lines: %d ids do not fit\n", -n), 1;
    for (int i = 0; i < n; i++) printf(i ? " %d" : "%d", ids[i]);
    putchar('\n');
  }
  return 0;
}
