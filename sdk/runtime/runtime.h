/* What all objects share: allocator, log, thread pool, opened backends. */
#ifndef TERN_RUNTIME_RUNTIME_H
#define TERN_RUNTIME_RUNTIME_H

#include "runtime/backend.h"
#include "runtime/thread_pool.h"

enum { TERN__MAX_BACKENDS = 8 };

struct tern_runtime {
  _Atomic int32_t refs;
  tern__alloc alloc;
  tern_log log;
  tern__pool *pool;
  int32_t n_backends;
  const tern__backend_api *apis[TERN__MAX_BACKENDS];
  tern__backend *backends[TERN__MAX_BACKENDS];
};

tern_status tern__runtime_create(const tern_runtime_desc *desc, tern_runtime **out);
void tern__runtime_ref(tern_runtime *runtime);
void tern__runtime_unref(tern_runtime *runtime);
/* "cpu", ...; NULL or "auto" = the best. NO_DEVICE lists what there is. */
tern_status tern__runtime_find_device(tern_runtime *runtime, const char *name, int32_t *index);

struct tern_tensor {
  tern_runtime *runtime;
  tern__view view;
  bool owned;
};
tern_status tern__tensor_create(tern_runtime *runtime, tern_dtype dtype, const tern__shape *shape, tern_tensor **out);
void tern__tensor_destroy(tern_tensor *tensor);

#endif
