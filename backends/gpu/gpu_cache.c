/* One file per device, driver and set of kernels: NAME-UUID-HASH.kernels. Its contents are the device's own matter
 * (tern__gpu_api.cache_read), its size and a hash included; a damaged or foreign one is ignored and written anew. */
#include "gpu/gpu_cache.h"

#include <stdio.h>
#include <string.h>

#include "base/file_map.h"
#include "base/file_write.h"
#include "base/hash.h"

/* The driver by its version, the kernels by their table: their code is the device's to compare. */
static char *path_of(tern__backend *backend) {
  const tern__gpu_info *info = backend->info;
  char uuid[2 * sizeof info->uuid + 1];
  uint64_t hash = tern__hash(TERN__HASH_START, info->driver, strlen(info->driver));
  for (int k = 0; k < TERN__KERNEL_COUNT; k++) {
    const tern__gpu_kernel *kernel = &tern__gpu_kernels[k];
    hash = tern__hash(hash, kernel->name, strlen(kernel->name) + 1);
    hash = tern__hash(hash, kernel->workgroup, sizeof kernel->workgroup);
  }
  for (size_t i = 0; i < sizeof info->uuid; i++) snprintf(uuid + 2 * i, 3, "%02x", info->uuid[i]);
  size_t room = strlen(backend->env.cache_path) + strlen(backend->api->name) + sizeof uuid + 40;
  char *path = tern__calloc(backend->env.alloc, room, 1);
  if (path)
    snprintf(path, room, "%s/%s-%s-%016llx.kernels", backend->env.cache_path, backend->api->name, uuid,
             (unsigned long long)hash);
  return path;
}

void tern__gpu_cache_load(tern__backend *backend) {
  tern__gpu_cache *cache = &backend->cache;
  tern__file_map file = {NULL, 0};
  size_t size = 0;
  if (!backend->env.cache_path || !*backend->env.cache_path ||
      backend->api->cache_read(backend->device, NULL, &size) != TERN_OK || !size)
    return;
  cache->path = path_of(backend);
  if (!cache->path || tern__file_map_open(cache->path, &file) != TERN_OK) return;
  if (backend->api->cache_load(backend->device, file.data, file.size) == TERN_OK)
    cache->size = file.size, cache->hash = tern__hash(TERN__HASH_START, file.data, file.size);
  else
    tern__log(backend->env.log, TERN_LOG_WARNING, "kernels kept in '%s' are not used: %s", cache->path,
              tern_last_error());
  tern__file_map_close(&file);
}

static void save(tern__backend *backend, bool closing) {
  tern__gpu_cache *cache = &backend->cache;
  size_t size = 0;
  if (backend->api->cache_read(backend->device, NULL, &size) != TERN_OK || !size) return;
  if (size == cache->size && !closing) return;
  void *data = tern__alloc_aligned(backend->env.alloc, size, 64);
  size_t room = size;
  if (data && backend->api->cache_read(backend->device, data, &size) == TERN_OK && size <= room) {
    uint64_t hash = tern__hash(TERN__HASH_START, data, size);
    tern_status status = TERN_OK;
    if (size != cache->size || hash != cache->hash) status = tern__file_replace(cache->path, data, size);
    if (status == TERN_OK) cache->size = size, cache->hash = hash;
    else {
      cache->failed = true;
      tern__log(backend->env.log, TERN_LOG_WARNING, "compiled kernels are not kept: %s", tern_last_error());
    }
  }
  if (data) tern__free_aligned(backend->env.alloc, data, room, 64);
}

void tern__gpu_cache_save(tern__backend *backend, bool closing) {
  tern__gpu_cache *cache = &backend->cache;
  if (!cache->path || cache->failed) return;
  /* Another thread that is at it will have it all, or the next one. */
  if (atomic_exchange(&cache->busy, 1)) return;
  save(backend, closing);
  atomic_store(&cache->busy, 0);
}

void tern__gpu_cache_close(tern__backend *backend) {
  tern__gpu_cache_save(backend, true);
  tern__free(backend->env.alloc, backend->cache.path);
  backend->cache.path = NULL;
}
