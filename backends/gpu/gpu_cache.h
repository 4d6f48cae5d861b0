/* What a device's driver compiled, kept in the runtime's cache folder (tern_runtime_desc.cache_path). */
#ifndef TERN_GPU_CACHE_H
#define TERN_GPU_CACHE_H

#include "gpu/gpu_program.h"

/* Gives the device what is kept for it. Nothing that can go wrong here is an error: it is compiled again. */
void tern__gpu_cache_load(tern__backend *backend);
/* Writes the file if there is more to keep than it has; `closing`: also if it is not what it should be. */
void tern__gpu_cache_save(tern__backend *backend, bool closing);
void tern__gpu_cache_close(tern__backend *backend);

#endif
