/* Reading and writing structs across versions of the ABI. */
#include <string.h>

#include "api/api.h"

tern_status tern__desc_read(const char *what, const void *desc, size_t min_size, void *out, size_t out_size) {
  tern_status status = TERN_OK;
  uint32_t size = (uint32_t)out_size;
  memset(out, 0, out_size);
  if (!desc) goto cleanup;
  memcpy(&size, desc, sizeof size);
  if (size < min_size)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT,
              "%s: struct_size is %u, expected at least %zu; initialise it with its _INIT macro", what, size,
              min_size);
  if (size > 65536)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "%s: struct_size is %u; initialise it with its _INIT macro", what,
              size);
  for (size_t i = out_size; i < size; i++)
    if (((const unsigned char *)desc)[i])
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "%s: a member that this version of tern does not know is set", what);
  memcpy(out, desc, size < out_size ? size : out_size);
  size = (uint32_t)out_size;
cleanup:
  memcpy(out, &size, sizeof size);
  return status;
}

tern_status tern__info_write(const char *what, void *out, const void *info, size_t info_size) {
  uint32_t size;
  memcpy(&size, out, sizeof size);
  if (size < 8 || size > 65536)
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "%s: set struct_size to sizeof the struct first", what);
  memcpy((char *)out + 4, (const char *)info + 4, (size < info_size ? size : info_size) - 4);
  return TERN_OK;
}
