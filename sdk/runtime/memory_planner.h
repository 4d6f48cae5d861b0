/* Places values with known lifetimes into one arena. */
#ifndef TERN_RUNTIME_MEMORY_PLANNER_H
#define TERN_RUNTIME_MEMORY_PLANNER_H

#include "base/memory.h"

typedef struct tern__lifetime {
  size_t size_bytes;
  int32_t first, last; /* steps that write and last read it, both included */
  size_t offset;       /* result */
} tern__lifetime;

/* Gives every entry an offset (64-byte aligned) so that no two that live at the same step overlap; *total =
 * arena size. */
tern_status tern__plan_memory(tern__alloc *alloc, tern__lifetime *lifetimes, size_t count, size_t *total);

#endif
