/* Creating and sharing the runtime; tensors. */
#include "runtime/runtime.h"

#include <stdio.h>
#include <string.h>

tern_status tern__runtime_create(const tern_runtime_desc *desc, tern_runtime **out) {
  tern_status status = TERN_OK;
  tern__alloc alloc;
  *out = NULL;
  tern__alloc_init(&alloc, &desc->allocator, desc->budget_bytes);
  tern_runtime *runtime = tern__alloc_aligned(&alloc, sizeof *runtime, 16);
  if (!runtime) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for the runtime");
  memset(runtime, 0, sizeof *runtime);
  atomic_init(&runtime->refs, 1);
  tern__alloc_init(&runtime->alloc, &desc->allocator, desc->budget_bytes);
  runtime->log = desc->log;
  int32_t n_threads = desc->n_threads > 0 ? desc->n_threads : tern__online_cpus();
  TERN_TRY(tern__pool_create(&runtime->alloc, n_threads, &runtime->pool));
  size_t n_apis;
  const tern__backend_api *const *apis = tern__backend_list(&n_apis);
  tern__backend_env env = {&runtime->alloc, &runtime->log, runtime->pool};
  for (size_t i = 0; i < n_apis && i < TERN__MAX_BACKENDS; i++) {
    tern__backend *backend = NULL;
    tern_status opened = apis[i]->open(&env, &backend);
    if (opened == TERN_STATUS_NO_DEVICE) continue; /* a build may hold backends that this machine lacks */
    TERN_TRY(opened);
    runtime->apis[runtime->n_backends] = apis[i];
    runtime->backends[runtime->n_backends++] = backend;
  }
  *out = runtime, runtime = NULL;
cleanup:
  tern__runtime_unref(runtime);
  return status;
}

void tern__runtime_ref(tern_runtime *runtime) { atomic_fetch_add(&runtime->refs, 1); }

void tern__runtime_unref(tern_runtime *runtime) {
  if (!runtime || atomic_fetch_sub(&runtime->refs, 1) != 1) return;
  for (int32_t i = 0; i < runtime->n_backends; i++) runtime->apis[i]->close(runtime->backends[i]);
  tern__pool_destroy(runtime->pool);
  tern_allocator fns = runtime->alloc.fns;
  fns.free(fns.user_data, runtime, sizeof *runtime, 16);
}

tern_status tern__runtime_find_device(tern_runtime *runtime, const char *name, int32_t *index) {
  char list[128] = "";
  *index = 0;
  if (!name || strcmp(name, "auto") == 0) return TERN_OK;
  for (int32_t i = 0; i < runtime->n_backends; i++) {
    if (strcmp(runtime->apis[i]->name, name) == 0) {
      *index = i;
      return TERN_OK;
    }
    size_t n = strlen(list);
    snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", runtime->apis[i]->name);
  }
  return tern__fail(TERN_STATUS_NO_DEVICE, "no device '%s' here; this build and machine have: %s", name, list);
}

tern_status tern__tensor_create(tern_runtime *runtime, tern_dtype dtype, const tern__shape *shape, tern_tensor **out) {
  tern_status status = TERN_OK;
  tern_tensor *tensor = NULL;
  size_t bytes;
  *out = NULL;
  if (!tern__shape_bytes(dtype, shape, &bytes) || dtype == TERN_DTYPE_STRING)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "a tensor of type %s cannot have this shape", tern_dtype_name(dtype));
  tensor = tern__calloc(&runtime->alloc, 1, sizeof *tensor);
  TERN_CHECK_ALLOC(tensor);
  tensor->view = (tern__view){dtype, *shape, NULL, bytes};
  tensor->view.data = tern__alloc_aligned(&runtime->alloc, bytes, 64);
  if (!tensor->view.data)
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "no memory for a tensor of %zu bytes", bytes);
  memset(tensor->view.data, 0, bytes);
  tensor->owned = true;
  tensor->runtime = runtime;
  tern__runtime_ref(runtime);
  *out = tensor, tensor = NULL;
cleanup:
  if (tensor) tern__free(&runtime->alloc, tensor);
  return status;
}

void tern__tensor_destroy(tern_tensor *tensor) {
  if (!tensor) return;
  tern_runtime *runtime = tensor->runtime;
  if (tensor->owned) tern__free_aligned(&runtime->alloc, tensor->view.data, tensor->view.size_bytes, 64);
  tern__free(&runtime->alloc, tensor);
  tern__runtime_unref(runtime);
}
