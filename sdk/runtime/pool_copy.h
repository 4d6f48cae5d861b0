/* memcpy by all threads of a pool: one alone moves large results at a fraction of what memory gives, least of all into
 * pages that the system has to find first. */
#ifndef TERN_RUNTIME_POOL_COPY_H
#define TERN_RUNTIME_POOL_COPY_H

#include "runtime/thread_pool.h"

/* As memcpy. Small ones are made by the caller alone. */
void tern__pool_copy(tern__pool *pool, int32_t max_threads, void *to, const void *from, size_t size);

#endif
