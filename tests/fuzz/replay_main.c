/* Runs a fuzz target over the files of its corpus folder: the plain-test twin of the fuzzer. With --mutate it goes on with
 * inputs made of them, for compilers without a fuzzer of their own: the same N inputs for the same seed.
 *   replay_NAME [--mutate N] [--seed S] [--keep FILE] FOLDER|FILE...
 * --keep: where the input that ended the process is left. */
#include <dirent.h>
#if !defined(__wasm__)
#  include <signal.h>
#endif
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SANITIZE_ADDRESS__)
#  include <sanitizer/common_interface_defs.h>
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_FILES = 4096, MAX_SIZE = 1 << 20, MOST_CHANGES = 8, MOST_MOVED = 64 };

typedef struct input { uint8_t *data; size_t size; } input;
static input corpus[MAX_FILES];
static int n_corpus;

/* An allocation of exactly the size, so that a sanitizer sees reads beyond it. */
static void try_input(const uint8_t *bytes, size_t size) {
  uint8_t *data = malloc(size ? size : 1);
  if (!data) return;
  if (size) memcpy(data, bytes, size);
  LLVMFuzzerTestOneInput(data, size);
  free(data);
}

static void add(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return;
  if (n_corpus < MAX_FILES && fseek(f, 0, SEEK_END) == 0) {
    long size = ftell(f);
    rewind(f);
    input *in = &corpus[n_corpus];
    in->data = malloc(size > 0 ? (size_t)size : 1);
    if (in->data) in->size = size > 0 ? fread(in->data, 1, (size_t)size, f) : 0, n_corpus++;
  }
  fclose(f);
}

static void add_all(const char *path) {
  DIR *dir = opendir(path);
  if (!dir) {
    add(path);
    return;
  }
  for (struct dirent *e; (e = readdir(dir));) {
    char name[4096];
    if (e->d_name[0] == '.') continue;
    snprintf(name, sizeof name, "%s/%s", path, e->d_name);
    add(name);
  }
  closedir(dir);
}

/* The order must not depend on the file system. */
static int by_content(const void *a, const void *b) {
  const input *x = a, *y = b;
  if (x->size != y->size) return x->size < y->size ? -1 : 1;
  return memcmp(x->data, y->data, x->size);
}

/* ---- mutation ---- */

static uint64_t state; /* SplitMix64 */
static uint64_t next(void) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static size_t below(size_t n) { return n ? (size_t)(next() % n) : 0; }

/* Numbers at the edges of types, over the bytes at `at` as a number of 1, 2, 4 or 8 bytes. */
static void put_edge(uint8_t *bytes, size_t size, size_t at) {
  static const uint64_t edges[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
                                   0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x4000000000000000};
  uint64_t value = edges[below(sizeof edges / sizeof *edges)] + below(3) - 1;
  size_t width = (size_t)1 << below(4);
  for (size_t i = 0; i < width && at + i < size; i++) bytes[at + i] = (uint8_t)(value >> 8 * i);
}

/* One change to the `size` bytes of `bytes` (room for MAX_SIZE); gives the new size. */
static size_t change(uint8_t *bytes, size_t size) {
  size_t at = below(size), length = 1 + below(MOST_MOVED), room = MAX_SIZE - size;
  const input *other = &corpus[below((size_t)n_corpus)];
  if (length > size - at) length = size - at;
  switch (size ? below(8) : 7) {
    case 0: bytes[at] ^= (uint8_t)(1u << below(8)); return size;
    case 1: bytes[at] = (uint8_t)next(); return size;
    case 2: put_edge(bytes, size, at); return size;
    case 3: return at; /* cut */
    case 4: /* take out */
      memmove(bytes + at, bytes + at + length, size - at - length);
      return size - length;
    case 5: /* repeat */
      if (length > room) return size;
      memmove(bytes + at + length, bytes + at, size - at);
      return size + length;
    case 6: { /* copy from elsewhere in it */
      size_t from = below(size);
      if (length > size - from) length = size - from;
      memmove(bytes + at, bytes + from, length);
      return size;
    }
    default: { /* go on as another one does */
      size_t from = below(other->size), rest = other->size - from;
      if (at > MAX_SIZE - rest) return size;
      if (rest) memcpy(bytes + at, other->data + from, rest);
      return at + rest;
    }
  }
}

/* ---- the input that ends the process ---- */

static struct { const char *path; const uint8_t *bytes; size_t size; long number; } tried;

static void keep(void) {
  FILE *f = tried.path && tried.bytes ? fopen(tried.path, "wb") : NULL;
  printf("input %ld ended the process%s%s\n", tried.number, f ? ": it is in " : "", f ? tried.path : "");
  fflush(stdout);
  if (!f) return;
  fwrite(tried.bytes, 1, tried.size, f);
  fclose(f);
}

#if !defined(__wasm__)
static void keep_and_abort(int signal_number) { /* of a target, not in the middle of the C library */
  signal(signal_number, SIG_DFL);
  keep();
  abort();
}
#endif

static void mutate(long count, const char *kept) {
  uint8_t *bytes = malloc(MAX_SIZE);
  tried.path = kept;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_set_death_callback(keep);
#endif
#if !defined(__wasm__)
  signal(SIGABRT, keep_and_abort);
#endif
  for (long n = 0; bytes && n < count; n++) {
    const input *from = &corpus[below((size_t)n_corpus)];
    size_t size = from->size < MAX_SIZE ? from->size : MAX_SIZE;
    if (size) memcpy(bytes, from->data, size);
    for (size_t i = 1 + below(MOST_CHANGES); i > 0; i--) size = change(bytes, size);
    tried.bytes = bytes, tried.size = size, tried.number = n;
    try_input(bytes, size);
  }
  tried.bytes = NULL;
  free(bytes);
}

int main(int argc, char **argv) {
  const char *kept = NULL;
  long mutants = 0;
  for (int i = 1; i < argc; i++) {
    bool last = i + 1 == argc;
    if (!last && !strcmp(argv[i], "--mutate")) mutants = strtol(argv[++i], NULL, 10);
    else if (!last && !strcmp(argv[i], "--seed")) state = strtoull(argv[++i], NULL, 10);
    else if (!last && !strcmp(argv[i], "--keep")) kept = argv[++i];
    else add_all(argv[i]);
  }
  qsort(corpus, (size_t)n_corpus, sizeof *corpus, by_content);
  for (int i = 0; i < n_corpus; i++) try_input(corpus[i].data, corpus[i].size);
  printf("%d inputs replayed\n", n_corpus);
  fflush(stdout);
  if (n_corpus && mutants > 0) {
    mutate(mutants, kept);
    printf("%ld inputs made of them tried\n", mutants);
  }
  for (int i = 0; i < n_corpus; i++) free(corpus[i].data);
  return n_corpus ? 0 : 1; /* an empty corpus would test nothing */
}
