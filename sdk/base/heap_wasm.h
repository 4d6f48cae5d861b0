/* The heap of a WebAssembly build. The C library's own has no lock and rounds large blocks up to a power of two, which
 * half of 4 GiB does not bear: here large blocks are runs of 64 KiB pages, and both are behind a lock. */
#ifndef TERN_BASE_HEAP_WASM_H
#define TERN_BASE_HEAP_WASM_H

#include <stddef.h>

/* NULL = no memory. `size` and `align` are given back with the block. Any thread. */
void *tern__heap_alloc(size_t size, size_t align);
void tern__heap_free(void *ptr, size_t size, size_t align);

#endif
