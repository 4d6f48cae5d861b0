/* Written beside its place under a name of its own, then renamed. In a browser there is no such place. */
#include "base/file_write.h"

#include <stdbool.h>

#if defined(__wasm__)
tern_status tern__file_replace(const char *path, const void *data, size_t size) {
  (void)data, (void)size;
  return tern__fail(TERN_STATUS_UNSUPPORTED, "'%s' cannot be written here", path);
}
#else
#  include <errno.h>
#  include <fcntl.h>
#  include <stdatomic.h>
#  include <stdio.h>
#  include <string.h>
#  include <sys/stat.h>
#  include <unistd.h>

enum { MAX_PATH = 4096, TRIES = 16 };

static void make_folders(char *path) {
  for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
    *at = 0;
    (void)mkdir(path, 0700); /* what cannot be made fails when it is written to */
    *at = '/';
  }
}

static bool write_all(int fd, const char *data, size_t size) {
  while (size) {
    ssize_t n = write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n, size -= (size_t)n;
  }
  return true;
}

/* Other threads and processes may be writing the same file: the first free name is taken. */
static int open_beside(const char *path, char *name, size_t size) {
  for (int i = 0; i < TRIES; i++) {
    if ((size_t)snprintf(name, size, "%s.%ld.%d", path, (long)getpid(), i) >= size) {
      errno = ENAMETOOLONG;
      return -1;
    }
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

tern_status tern__file_replace(const char *path, const void *data, size_t size) {
  tern_status status = TERN_OK;
  char name[MAX_PATH];
  if (strlen(path) + 32 > sizeof name)
    return tern__fail(TERN_STATUS_IO, "cannot write '%.64s...': its path is too long", path);
  memcpy(name, path, strlen(path) + 1);
  make_folders(name);
  int fd = open_beside(path, name, sizeof name);
  if (fd < 0) TERN_FAIL(TERN_STATUS_IO, "cannot write '%s' (errno %d); check its permissions", path, errno);
  bool written = write_all(fd, data, size);
  int reason = errno;
  if (close(fd) != 0 && written) written = false, reason = errno;
  if (written && rename(name, path) != 0) written = false, reason = errno;
  if (written) return TERN_OK;
  (void)unlink(name);
  TERN_FAIL(TERN_STATUS_IO, "cannot write %zu bytes to '%s' (errno %d); is the disk full?", size, path, reason);
cleanup:
  return status;
}
#endif
