/* Runs a fuzz target over the files of its corpus folder: the plain-test twin of the fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return 0;
  if (fseek(f, 0, SEEK_END) != 0) return fclose(f), 0;
  long size = ftell(f);
  rewind(f);
  /* An allocation of exactly the size, so that a sanitizer sees reads beyond it. */
  uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
  size_t n = size > 0 ? fread(data, 1, (size_t)size, f) : 0;
  fclose(f);
  LLVMFuzzerTestOneInput(data, n);
  free(data);
  return 1;
}

int main(int argc, char **argv) {
  int files = 0;
  for (int i = 1; i < argc; i++) {
    DIR *dir = opendir(argv[i]);
    if (!dir) {
      files += replay(argv[i]);
      continue;
    }
    for (struct dirent *e; (e = readdir(dir));) {
      char path[4096];
      if (e->d_name[0] == '.') continue;
      snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
      files += replay(path);
    }
    closedir(dir);
  }
  printf("%d inputs replayed\n", files);
  return files ? 0 : 1; /* an empty corpus would test nothing */
}
