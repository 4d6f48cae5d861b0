/* Growth of stb_ds arrays through tern__alloc. */
#include <string.h>

#include "base/array.h"

void *tern__array_grow(tern__alloc *alloc, void *array, size_t element_size, size_t extra) {
  size_t length = array ? stbds_header(array)->length : 0, capacity = array ? stbds_header(array)->capacity : 0;
  size_t need, bytes;
  if (!tern__add_size(length, extra, &need)) return NULL;
  if (array && need <= capacity) return array;
  if (need < capacity * 2) need = capacity * 2;
  if (need < 4) need = 4;
  if (!tern__mul_size(need, element_size, &bytes) ||
      !tern__add_size(bytes, sizeof(stbds_array_header), &bytes))
    return NULL;
  stbds_array_header *header = tern__realloc(alloc, array ? (void *)stbds_header(array) : NULL, bytes);
  if (!header) return NULL;
  if (!array) memset(header, 0, sizeof *header);
  header->capacity = need;
  return header + 1;
}

void tern__array_release(tern__alloc *alloc, void *array) {
  if (array) tern__free(alloc, stbds_header(array));
}
