/* What a WebAssembly build asks of its host (bindings/web, or the tests' loader): it has no system of its own. Every
 * function here is an import of module "tern". */
#ifndef TERN_BASE_HOST_WASM_H
#define TERN_BASE_HOST_WASM_H

#include <stddef.h>
#include <stdint.h>

#define TERN_HOST(name) __attribute__((import_module("tern"), import_name(name))) extern

typedef enum tern__host_kind { TERN__HOST_NOTHING = 0, TERN__HOST_FILE = 1, TERN__HOST_FOLDER = 2 } tern__host_kind;

/* What `path` (not NUL-terminated) names. The bytes of a file lie in this module's memory, 64-byte aligned, and stay
 * there: the host put them there before it called, so that a model of gigabytes exists once. With out == NULL the host
 * only looks. */
typedef struct tern__host_bytes { const uint8_t *data; size_t size; } tern__host_bytes;
TERN_HOST("file") int32_t tern__host_file(const char *path, size_t path_size, tern__host_bytes *out);

/* Monotonic milliseconds with a fraction. */
TERN_HOST("now") double tern__host_now(void);
/* Threads that tern__host_thread can still start, and the calling one. */
TERN_HOST("cpus") int32_t tern__host_cpus(void);
/* Makes another thread call tern__thread_main(thread); 0: there is none left. */
TERN_HOST("thread") int32_t tern__host_thread(void *thread);
/* Nonzero once the caller wants the run stopped that was given this token. A thread that computes receives no messages,
 * so it has to ask; the host makes this cheap. */
TERN_HOST("cancelled") int32_t tern__host_cancelled(const void *cancel);

#undef TERN_HOST
#endif
