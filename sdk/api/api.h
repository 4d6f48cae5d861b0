/* Helpers of the API layer: descs are copied in with their size checked, NULL arguments are named. */
#ifndef TERN_API_API_H
#define TERN_API_API_H

#include "ir/graph.h"

/* Copies a caller's desc of struct_size bytes into `out` of `out_size`: a shorter (older) one is zero-filled;
 * a longer one must be zero in the part not known here. NULL desc = all zero. min_size = the size of the
 * first released layout. */
tern_status tern__desc_read(const char *what, const void *desc, size_t min_size, void *out, size_t out_size);
/* Writes an info struct back to a caller whose struct may be older (struct_size set by the caller). */
tern_status tern__info_write(const char *what, void *out, const void *info, size_t info_size);
/* ids[index], one of the graph's inputs or outputs, for the caller. */
tern_status tern__io_info(const tern__graph *graph, const tern__value_id *ids, int32_t index, tern_io_info *out);

#define TERN_REQUIRE(arg)                                                                            \
  do {                                                                                               \
    if (!(arg)) return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "%s: %s is NULL", __func__, #arg);   \
  } while (0)

#endif
