/* Files that tern may write: caches, in a folder that the caller named. */
#ifndef TERN_BASE_FILE_WRITE_H
#define TERN_BASE_FILE_WRITE_H

#include "base/status.h"

/* Makes `path` hold these bytes, or leaves it as it was: who opens it sees the old file or the new one, never half of
 * one. Folders above it are made where they are missing (for their user alone). IO names the path. */
tern_status tern__file_replace(const char *path, const void *data, size_t size);

#endif
