/* A whole file, read-only in memory. */
#ifndef TERN_BASE_FILE_MAP_H
#define TERN_BASE_FILE_MAP_H

#include "base/memory.h"

typedef struct tern__file_map { const uint8_t *data; size_t size; } tern__file_map;

/* NOT_FOUND or IO, naming the path. An empty file gives size 0 and non-NULL data. */
tern_status tern__file_map_open(const char *path, tern__file_map *out);
void tern__file_map_close(tern__file_map *map); /* zeroed or already closed is fine */
/* Gives the pages within [offset, offset + size) back; they stay readable, and come from the system's cache again. */
void tern__file_map_release_pages(const tern__file_map *map, size_t offset, size_t size);

bool tern__path_is_dir(const char *path);
bool tern__path_exists(const char *path);
/* "dir/name" in the arena; `name` may hold slashes. */
char *tern__path_join(tern__arena *arena, const char *dir, const char *name);

#endif
