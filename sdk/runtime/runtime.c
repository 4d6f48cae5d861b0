/* Creating and sharing the runtime; tensors. */
#include "runtime/runtime.h"

#include <stdio.h>
#include <string.h>

#if defined(__wasm__)
enum { OPENS_ASIDE = false }; /* in a browser a device belongs to the thread that asked for it */
#else
enum { OPENS_ASIDE = true };
#endif
enum { ERROR_TEXT = 1024 };

struct tern__opening {
  tern_runtime *runtime;        /* outlives it: waits for the thread before it goes */
  const tern__backend_api *api;
  char which[sizeof((tern__device *)0)->which];
  tern__thread thread;
  tern_status status;           /* of the thread, when it has ended */
  char error[ERROR_TEXT];
  int32_t index;
  tern__opening *next;          /* of those that were left */
};

static const tern__backend_api *find_backend(const char *name, size_t size) {
  size_t n;
  const tern__backend_api *const *apis = tern__backend_list(&n);
  for (size_t i = 0; i < n; i++)
    if (strlen(apis[i]->name) == size && memcmp(apis[i]->name, name, size) == 0) return apis[i];
  return NULL;
}

static bool lost(const tern__device *device) {
  return device->api->device && device->api->device->lost(device->backend);
}

/* Without waiting for one that is being opened. */
static bool is_open(tern_runtime *runtime, const tern__backend_api *api, const char *which, int32_t *index) {
  int32_t n = atomic_load(&runtime->n_devices);
  for (int32_t i = 0; i < n; i++) {
    const tern__device *device = &runtime->devices[i];
    if (device->api != api || strcmp(device->which, which) != 0 || lost(device)) continue;
    *index = i;
    return true;
  }
  return false;
}

/* The device if it is open already, else opens it. A lost one is opened anew: those who used it keep the old one. */
static tern_status open_device(tern_runtime *runtime, const tern__backend_api *api, const char *which, int32_t *index) {
  tern_status status = TERN_OK;
  tern__mutex_lock(&runtime->mutex);
  int32_t n = runtime->n_devices;
  tern__device *device = &runtime->devices[n];
  if (is_open(runtime, api, which, index)) goto cleanup;
  if (n == TERN__MAX_DEVICES || strlen(which) >= sizeof device->which)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "device '%s:%s': %s", api->name, which,
              n == TERN__MAX_DEVICES ? "a runtime opens at most 32, lost ones included" : "the name is too long");
  tern__backend_env env = {&runtime->alloc, &runtime->log, runtime->pool, runtime->cache_path};
  TERN_TRY(api->open(&env, which[0] ? which : NULL, &device->backend));
  device->api = api;
  memcpy(device->which, which, strlen(which) + 1);
  *index = n;
  atomic_store(&runtime->n_devices, n + 1);
cleanup:
  tern__mutex_unlock(&runtime->mutex);
  return status;
}

tern_status tern__runtime_create(const tern_runtime_desc *desc, tern_runtime **out) {
  tern_status status = TERN_OK;
  tern__alloc alloc;
  *out = NULL;
  tern__alloc_init(&alloc, &desc->allocator, desc->budget_bytes);
  tern_runtime *runtime = tern__alloc_aligned(&alloc, sizeof *runtime, 16);
  if (!runtime) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for the runtime");
  memset(runtime, 0, sizeof *runtime);
  atomic_init(&runtime->refs, 1);
  tern__mutex_init(&runtime->mutex);
  tern__mutex_init(&runtime->left_lock);
  tern__alloc_init(&runtime->alloc, &desc->allocator, desc->budget_bytes);
  runtime->log = desc->log;
  if (desc->cache_path && *desc->cache_path) {
    size_t size = strlen(desc->cache_path) + 1;
    runtime->cache_path = tern__calloc(&runtime->alloc, size, 1);
    TERN_CHECK_ALLOC(runtime->cache_path);
    memcpy(runtime->cache_path, desc->cache_path, size);
  }
  int32_t n_threads = desc->n_threads > 0 ? desc->n_threads : tern__online_cpus();
  TERN_TRY(tern__pool_create(&runtime->alloc, n_threads, &runtime->pool));
  size_t n;
  int32_t index;
  TERN_TRY(open_device(runtime, tern__backend_list(&n)[0], "", &index)); /* the CPU, whatever it is called here */
  *out = runtime, runtime = NULL;
cleanup:
  tern__runtime_unref(runtime);
  return status;
}

/* ---- a device that a thread opens ---- */

static void *open_aside(void *arg) {
  tern__opening *opening = arg;
  opening->status = open_device(opening->runtime, opening->api, opening->which, &opening->index);
  if (opening->status != TERN_OK) snprintf(opening->error, sizeof opening->error, "%s", tern_last_error());
  return NULL;
}

tern_status tern__runtime_begin_device(tern_runtime *runtime, const char *name, int32_t *index,
                                       tern__opening **out) {
  size_t size = name ? strcspn(name, ":") : 0;
  const tern__backend_api *api = name ? find_backend(name, size) : NULL;
  const char *which = name && name[size] ? name + size + 1 : "";
  *out = NULL;
  /* The CPU is there at once. */
  if (!OPENS_ASIDE || !api || !api->device || strlen(which) >= sizeof (*out)->which ||
      is_open(runtime, api, which, index))
    return tern__runtime_find_device(runtime, name, index);
  tern__opening *opening = tern__calloc(&runtime->alloc, 1, sizeof *opening);
  if (opening) {
    opening->runtime = runtime, opening->api = api;
    memcpy(opening->which, which, strlen(which) + 1);
    if (tern__thread_start(&opening->thread, open_aside, opening) == TERN_OK) {
      *out = opening;
      return TERN_OK;
    }
    tern__free(&runtime->alloc, opening);
  }
  return tern__runtime_find_device(runtime, name, index); /* without a thread, then */
}

tern_status tern__runtime_end_device(tern_runtime *runtime, tern__opening *opening, int32_t *index) {
  tern__thread_join(&opening->thread);
  tern_status status = opening->status;
  *index = status == TERN_OK ? opening->index : TERN__CPU;
  if (status != TERN_OK) tern__error_set(opening->error);
  tern__free(&runtime->alloc, opening);
  return status;
}

void tern__runtime_leave_device(tern_runtime *runtime, tern__opening *opening) {
  tern__mutex_lock(&runtime->left_lock);
  opening->next = runtime->left, runtime->left = opening;
  tern__mutex_unlock(&runtime->left_lock);
}

static void end_left(tern_runtime *runtime) {
  for (tern__opening *opening = runtime->left, *next; opening; opening = next) {
    int32_t index;
    next = opening->next;
    (void)tern__runtime_end_device(runtime, opening, &index);
  }
  runtime->left = NULL;
}

/* ---- */

void tern__runtime_ref(tern_runtime *runtime) { atomic_fetch_add(&runtime->refs, 1); }

void tern__runtime_unref(tern_runtime *runtime) {
  if (!runtime || atomic_fetch_sub(&runtime->refs, 1) != 1) return;
  end_left(runtime);
  for (int32_t i = 0; i < runtime->n_devices; i++) runtime->devices[i].api->close(runtime->devices[i].backend);
  tern__mutex_deinit(&runtime->mutex);
  tern__mutex_deinit(&runtime->left_lock);
  tern__pool_destroy(runtime->pool);
  tern__free(&runtime->alloc, runtime->cache_path);
  tern_allocator fns = runtime->alloc.fns;
  fns.free(fns.user_data, runtime, sizeof *runtime, 16);
}

void tern__runtime_open_all(tern_runtime *runtime) {
  size_t n;
  const tern__backend_api *const *apis = tern__backend_list(&n);
  int32_t index;
  for (size_t i = 0; i < n; i++) (void)open_device(runtime, apis[i], "", &index);
}

tern_status tern__runtime_find_device(tern_runtime *runtime, const char *name, int32_t *index) {
  tern_status status = TERN_OK;
  char list[128] = "";
  size_t n, at = 0;
  *index = TERN__CPU;
  if (!name || strcmp(name, "auto") == 0) return TERN_OK;
  size_t size = strcspn(name, ":");
  const tern__backend_api *api = find_backend(name, size);
  if (api) {
    TERN_TRY(open_device(runtime, api, name[size] ? name + size + 1 : "", index));
    goto cleanup;
  }
  const tern__backend_api *const *apis = tern__backend_list(&n);
  for (size_t i = 0; i < n && at + 1 < sizeof list; i++)
    at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", apis[i]->name);
  TERN_FAIL(TERN_STATUS_NO_DEVICE, "no device '%s' here; this build has: %s", name, list);
cleanup:
  return status;
}

/* A large tensor's pages are large, too: to find and clear small ones takes longer than to fill them. */
static size_t tensor_align(size_t bytes) { return bytes >= (size_t)4 << 20 ? TERN__LARGE_ALIGN : 64; }

tern_status tern__tensor_create(tern_runtime *runtime, tern_dtype dtype, const tern__shape *shape, tern_tensor **out) {
  tern_status status = tern__tensor_create_unset(runtime, dtype, shape, out);
  if (status == TERN_OK) memset((*out)->view.data, 0, (*out)->view.size_bytes);
  return status;
}

tern_status tern__tensor_create_unset(tern_runtime *runtime, tern_dtype dtype, const tern__shape *shape,
                                      tern_tensor **out) {
  tern_status status = TERN_OK;
  tern_tensor *tensor = NULL;
  size_t bytes;
  *out = NULL;
  if (!tern__shape_bytes(dtype, shape, &bytes) || dtype == TERN_DTYPE_STRING)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "a tensor of type %s cannot have this shape", tern_dtype_name(dtype));
  tensor = tern__calloc(&runtime->alloc, 1, sizeof *tensor);
  TERN_CHECK_ALLOC(tensor);
  tensor->view = (tern__view){dtype, *shape, NULL, bytes};
  tensor->view.data = tern__alloc_aligned(&runtime->alloc, bytes, tensor_align(bytes));
  if (!tensor->view.data)
    TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "no memory for a tensor of %zu bytes", bytes);
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
  if (tensor->owned)
    tern__free_aligned(&runtime->alloc, tensor->view.data, tensor->view.size_bytes,
                       tensor_align(tensor->view.size_bytes));
  tern__free(&runtime->alloc, tensor);
  tern__runtime_unref(runtime);
}
