/* mmap with the POSIX calls; its twin for WebAssembly is file_map_wasm.c, one for Windows will be file_map_win32.c. */

#include "base/file_map.h"

#include <string.h>

char *tern__path_join(tern__arena *arena, const char *dir, const char *name) {
  size_t n = strlen(dir);
  return tern__arena_printf(arena, n && dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}

#if !defined(__wasm__)
#  include <errno.h>
#  include <fcntl.h>
#  include <sys/mman.h>
#  include <sys/stat.h>
#  include <unistd.h>

static const uint8_t nothing[1] = {0};

tern_status tern__file_map_open(const char *path, tern__file_map *out) {
  tern_status status = TERN_OK;
  *out = (tern__file_map){NULL, 0};
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      TERN_FAIL(TERN_STATUS_NOT_FOUND, "no file '%s'; check the path", path);
    TERN_FAIL(TERN_STATUS_IO, "cannot open '%s' (errno %d); check its permissions", path, errno);
  }
  if (fstat(fd, &st) != 0) TERN_FAIL(TERN_STATUS_IO, "cannot stat '%s' (errno %d)", path, errno);
  if (!S_ISREG(st.st_mode)) TERN_FAIL(TERN_STATUS_IO, "'%s' is not a regular file", path);
  if ((uint64_t)st.st_size > SIZE_MAX) TERN_FAIL(TERN_STATUS_UNSUPPORTED, "'%s' is too large to map here", path);
  if (st.st_size == 0) {
    out->data = nothing;
    goto cleanup;
  }
  void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) TERN_FAIL(TERN_STATUS_IO, "cannot map '%s' (errno %d)", path, errno);
  out->data = data;
  out->size = (size_t)st.st_size;
cleanup:
  if (fd >= 0) close(fd);
  return status;
}

void tern__file_map_close(tern__file_map *map) {
  if (map->data && map->size) munmap((void *)(uintptr_t)map->data, map->size);
  *map = (tern__file_map){NULL, 0};
}

void tern__file_map_release_pages(const tern__file_map *map, size_t offset, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t begin = (offset + page - 1) / page * page, end = (offset + size) / page * page;
  if (map->size && end > begin && end <= map->size)
    madvise((void *)(uintptr_t)(map->data + begin), end - begin, MADV_DONTNEED);
}

bool tern__path_is_dir(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool tern__path_exists(const char *path) { return access(path, F_OK) == 0; }
#endif
