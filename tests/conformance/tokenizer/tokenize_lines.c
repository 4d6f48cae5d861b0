/* Drives tern's tokenizers for the comparison scripts:
 *   tokenize_lines (--json PATH | --vocab DUMP) [--no-special] [--plain] [--decode] [--stream]
 * stdin: records of a little-endian u32 size and as many bytes: a text, or with --decode i32 ids.
 * stdout: encode: a line of ids for each record; --decode: records again; with --stream the text comes out of
 * a tern__text_stream (checked to come in whole characters). DUMP is what dump_vocab.py writes: a GGUF file's
 * tokenizer.ggml.* metadata. */
#include "base/array.h"
#include "base/file_map.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what) {
  fprintf(stderr, "tokenize_lines: %s: %s\n", what, tern_last_error());
  exit(1);
}

static const uint8_t *at;
static uint32_t u32(void) { uint32_t v; memcpy(&v, at, 4); at += 4; return v; }
/* What a dump holds is kept to the end, where the leak checker finds it. */
static void *kept[16];
static void *keep(void *block) {
  static size_t n;
  if (n == sizeof kept / sizeof *kept) abort();
  return kept[n++] = block;
}
static char *text(void) {
  uint32_t n = u32();
  char *s = n == UINT32_MAX ? NULL : keep(calloc(1, n + 1));
  if (s) memcpy(s, at, n), at += n;
  return s;
}
static const char *const *strings(size_t *n, size_t **sizes) {
  *n = u32();
  const char **list = keep(calloc(*n + 1, sizeof *list));
  *sizes = keep(calloc(*n + 1, sizeof **sizes));
  for (size_t i = 0; i < *n; i++) (*sizes)[i] = u32(), list[i] = (const char *)at, at += (*sizes)[i];
  return list;
}

static tern_status open_dump(tern__alloc *alloc, const char *path, tern__tokenizer **out) {
  tern__file_map map;
  tern_status status = tern__file_map_open(path, &map);
  if (status != TERN_OK) return status;
  at = map.data;
  tern__vocab_source s = {0};
  size_t *sizes, n;
  s.model = text(), s.pre = text(), s.chat_template = text();
  s.tokens = strings(&s.n_tokens, &sizes), s.token_sizes = sizes;
  s.merges = strings(&s.n_merges, &sizes), s.merge_sizes = sizes;
  n = u32();
  float *scores = n ? keep(malloc(n * 4)) : NULL;
  if (n) memcpy(scores, at, n * 4), at += n * 4;
  n = u32();
  int32_t *types = n ? keep(malloc(n * 4)) : NULL;
  if (n) memcpy(types, at, n * 4), at += n * 4;
  s.scores = scores, s.types = types;
  int32_t *fields[] = {&s.bos_id,  &s.eos_id,           &s.eot_id,
                       &s.unk_id,  &s.pad_id,           &s.add_bos,
                       &s.add_eos, &s.add_space_prefix, &s.remove_extra_whitespaces};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) *fields[i] = (int32_t)u32();
  status = tern__tokenizer_from_vocab(alloc, &s, out);
  tern__file_map_close(&map);
  return status;
}

static void decode(const tern__tokenizer *t, tern__alloc *alloc, const int32_t *ids, size_t n, uint32_t flags,
                   bool stream, char **out) {
  if (!stream) {
    if (tern__tokenizer_decode(t, alloc, ids, n, flags, out) != TERN_OK) die("decode");
    return;
  }
  tern__text_stream s;
  tern__text_stream_init(&s, t, alloc, flags);
  for (size_t i = 0; i < n; i++) {
    size_t before = tern__array_count(*out);
    if (tern__text_stream_push(&s, ids[i], out) != TERN_OK) die("push");
    size_t added = tern__array_count(*out) - before;
    if (added && tern__utf8_valid_prefix(*out + before, added) != added) die("a piece splits a character");
  }
  if (tern__text_stream_flush(&s, out) != TERN_OK) die("flush");
  tern__text_stream_deinit(&s);
}

int main(int argc, char **argv) {
  const char *json = NULL, *vocab = NULL;
  uint32_t flags = 0, size;
  bool decoding = false, stream = false;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--json") && i + 1 < argc) json = argv[++i];
    else if (!strcmp(argv[i], "--vocab") && i + 1 < argc) vocab = argv[++i];
    else if (!strcmp(argv[i], "--no-special")) flags |= TERN_TOKENIZE_NO_SPECIAL;
    else if (!strcmp(argv[i], "--plain")) flags |= TERN_TOKENIZE_PLAIN_SPECIAL;
    else if (!strcmp(argv[i], "--decode")) decoding = true;
    else if (!strcmp(argv[i], "--stream")) decoding = stream = true;
    else return fprintf(stderr, "tokenize_lines: what is %s?\n", argv[i]), 2;
  }
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  tern__tokenizer *t = NULL;
  if ((json ? tern__tokenizer_open(&alloc, json, NULL, &t) : open_dump(&alloc, vocab ? vocab : "", &t)) != TERN_OK)
    die("open");
  char *buffer = NULL, *out = NULL;
  int32_t *ids = NULL;
  while (fread(&size, 4, 1, stdin) == 1) {
    buffer = realloc(buffer, size + 1u);
    if (size && fread(buffer, size, 1, stdin) != 1) die("short record");
    tern__array_clear(ids);
    tern__array_clear(out);
    if (decoding) {
      decode(t, &alloc, (const int32_t *)(void *)buffer, size / 4, flags, stream, &out);
      uint32_t n = (uint32_t)tern__array_count(out);
      fwrite(&n, 4, 1, stdout);
      if (n) fwrite(out, n, 1, stdout);
      continue;
    }
    if (tern__tokenizer_encode(t, &alloc, buffer, size, flags, &ids) != TERN_OK) die("encode");
    for (size_t i = 0; i < tern__array_count(ids); i++) printf(i ? " %d" : "%d", (int)ids[i]);
    putchar('\n');
  }
  free(buffer);
  TERN_ARRAY_FREE(&alloc, ids);
  TERN_ARRAY_FREE(&alloc, out);
  tern__tokenizer_close(t);
  if (alloc.live_bytes)
    return fprintf(stderr, "tokenize_lines: %llu bytes leaked\n", (unsigned long long)alloc.live_bytes), 1;
  return 0;
}
