/* Growable arrays: stb_ds arrays whose growth is reserved first through tern__alloc, so that it can fail with a
 * status. stb_ds itself then never allocates. Use:
 *   int *ids = NULL;  TERN_ARRAY_PUSH(alloc, ids, 7);  tern__array_count(ids);  TERN_ARRAY_FREE(alloc, ids); */
#ifndef TERN_BASE_ARRAY_H
#define TERN_BASE_ARRAY_H

#include "base/memory.h"

/* stb_ds may only ever touch blocks that tern__array_grow made; a growth of its own would be a defect. */
#define STBDS_REALLOC(context, ptr, size) ((void)(context), (void)(ptr), (void)(size), (void *)0)
#define STBDS_FREE(context, ptr) ((void)(context), (void)(ptr))
#define STBDS_NO_SHORT_NAMES
#include <stb/stb_ds.h>

/* Room for `extra` more elements; returns the array (maybe moved), or NULL without change when there is no memory. */
void *tern__array_grow(tern__alloc *alloc, void *array, size_t element_size, size_t extra);
void tern__array_release(tern__alloc *alloc, void *array);

#define tern__array_count(a) ((size_t)stbds_arrlenu(a))
/* Adds an element for which there is room (after TERN_ARRAY_RESERVE). */
#define tern__array_put(a, ...) ((void)((a)[stbds_header(a)->length++] = (__VA_ARGS__)))
#define TERN_ARRAY_RESERVE(alloc, a, extra)                                                          \
  do {                                                                                               \
    void *grown_ = tern__array_grow((alloc), (a), sizeof *(a), (extra));                             \
    if (!grown_) TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "out of memory in %s", __func__);              \
    (a) = grown_;                                                                                    \
  } while (0)
/* Into room that was reserved before. */
#define TERN_ARRAY_PUT(a, ...) ((a)[stbds_header(a)->length++] = (__VA_ARGS__))
#define TERN_ARRAY_PUSH(alloc, a, ...)       \
  do {                                       \
    TERN_ARRAY_RESERVE(alloc, a, 1);         \
    TERN_ARRAY_PUT(a, __VA_ARGS__);          \
  } while (0)
/* Appends n elements; `from` may be NULL for uninitialised ones. */
#define TERN_ARRAY_APPEND(alloc, a, from, n)                                                         \
  do {                                                                                               \
    size_t n_ = (n), at_ = tern__array_count(a);                                                     \
    const void *from_ = (from);                                                                      \
    TERN_ARRAY_RESERVE(alloc, a, n_);                                                                \
    stbds_header(a)->length += n_;                                                                   \
    if (from_ && n_) memcpy((a) + at_, from_, n_ * sizeof *(a));                                     \
  } while (0)
#define tern__array_pop(a) stbds_arrpop(a)
#define tern__array_clear(a) ((a) ? (void)(stbds_header(a)->length = 0) : (void)0)
#define tern__array_truncate(a, n) ((a) ? (void)(stbds_header(a)->length = (n)) : (void)0)
#define TERN_ARRAY_FREE(alloc, a) (tern__array_release((alloc), (a)), (a) = NULL)

#endif
