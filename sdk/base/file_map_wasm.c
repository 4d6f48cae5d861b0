/* Files under WebAssembly: the host holds a table of paths and bytes; see base/host_wasm.h. */
#if defined(__wasm__)
#  include "base/file_map.h"

#  include <string.h>

#  include "base/host_wasm.h"

static const uint8_t nothing[1] = {0};

static int32_t look(const char *path, tern__host_bytes *out) { return tern__host_file(path, strlen(path), out); }

tern_status tern__file_map_open(const char *path, tern__file_map *out) {
  tern__host_bytes bytes = {NULL, 0};
  *out = (tern__file_map){NULL, 0};
  int32_t kind = look(path, &bytes);
  if (kind == TERN__HOST_NOTHING)
    return tern__fail(TERN_STATUS_NOT_FOUND, "no file '%s' was loaded; give it together with the model", path);
  if (kind != TERN__HOST_FILE) return tern__fail(TERN_STATUS_IO, "'%s' is not a regular file", path);
  *out = (tern__file_map){bytes.size ? bytes.data : nothing, bytes.size};
  return TERN_OK;
}

void tern__file_map_close(tern__file_map *map) { *map = (tern__file_map){NULL, 0}; }

void tern__file_map_release_pages(const tern__file_map *map, size_t offset, size_t size) {
  (void)map, (void)offset, (void)size; /* linear memory has no pages to give back */
}

bool tern__path_is_dir(const char *path) { return look(path, NULL) == TERN__HOST_FOLDER; }
bool tern__path_exists(const char *path) { return look(path, NULL) != TERN__HOST_NOTHING; }
#endif
