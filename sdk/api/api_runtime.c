/* Runtime and tensors. */
#include <string.h>

#include "api/api.h"
#include "runtime/runtime.h"

tern_status tern_runtime_create(const tern_runtime_desc *desc, tern_runtime **out) {
  tern_runtime_desc d;
  TERN_REQUIRE(out);
  *out = NULL;
  tern_status status =
      tern__desc_read("tern_runtime_desc", desc, offsetof(tern_runtime_desc, cache_path), &d, sizeof d);
  if (status != TERN_OK) return status;
  if (d.n_threads < 0 || d.n_threads > 256)
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT,
                      "tern_runtime_desc: n_threads is %d; give 0 (all cores) to 256", d.n_threads);
  if (!d.allocator.alloc != !d.allocator.free)
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT,
                      "tern_runtime_desc: allocator needs both alloc and free, or neither");
  return tern__runtime_create(&d, out);
}

void tern_runtime_destroy(tern_runtime *runtime) { tern__runtime_unref(runtime); }

void tern_runtime_memory(const tern_runtime *runtime, uint64_t *live_bytes, uint64_t *peak_bytes) {
  tern_runtime *r = (tern_runtime *)(uintptr_t)runtime;
  if (live_bytes) *live_bytes = r ? atomic_load(&r->alloc.live_bytes) : 0;
  if (peak_bytes) *peak_bytes = r ? atomic_load(&r->alloc.peak_bytes) : 0;
}

int32_t tern_runtime_n_threads(const tern_runtime *runtime) {
  return runtime ? tern__pool_n_threads(runtime->pool) : 0;
}

int32_t tern_runtime_device_count(const tern_runtime *runtime) {
  if (!runtime) return 0;
  tern__runtime_open_all((tern_runtime *)(uintptr_t)runtime);
  return runtime->n_devices;
}

tern_status tern_runtime_device(const tern_runtime *runtime, int32_t index, tern_device_info *out) {
  TERN_REQUIRE(runtime);
  TERN_REQUIRE(out);
  if (index < 0 || index >= runtime->n_devices)
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "device %d of %d", index, (int)runtime->n_devices);
  const tern__device *device = &runtime->devices[index];
  tern_device_info info = {sizeof info, 0, device->api->name, device->api->describe(device->backend)};
  return tern__info_write("tern_device_info", out, &info, sizeof info);
}

static tern_status read_shape(const char *function, int32_t rank, const int64_t *dims, tern__shape *out) {
  if (rank < 0 || rank > TERN_MAX_RANK)
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "%s: rank is %d; 0 to %d are possible", function, rank,
                      TERN_MAX_RANK);
  if (rank && !dims) return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "%s: dims is NULL", function);
  *out = (tern__shape){.rank = rank};
  for (int32_t i = 0; i < rank; i++) {
    if (dims[i] < 0) return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "%s: dims[%d] is negative", function, i);
    out->dims[i] = dims[i];
  }
  return TERN_OK;
}

tern_status tern_tensor_create(tern_runtime *runtime, tern_dtype dtype, int32_t rank, const int64_t *dims,
                               tern_tensor **out) {
  tern__shape shape;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(runtime);
  tern_status status = read_shape(__func__, rank, dims, &shape);
  return status == TERN_OK ? tern__tensor_create(runtime, dtype, &shape, out) : status;
}

tern_status tern_tensor_wrap(tern_runtime *runtime, tern_dtype dtype, int32_t rank, const int64_t *dims, void *data,
                             size_t size_bytes, tern_tensor **out) {
  tern__shape shape;
  size_t need;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(runtime);
  tern_status status = read_shape(__func__, rank, dims, &shape);
  if (status != TERN_OK) return status;
  if (dtype == TERN_DTYPE_STRING || !tern__shape_bytes(dtype, &shape, &need))
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "tern_tensor_wrap: type %s cannot have this shape",
                      tern_dtype_name(dtype));
  if (need != size_bytes || (!data && need))
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT,
                      "tern_tensor_wrap: the shape needs %zu bytes, %zu are given", need, size_bytes);
  tern_tensor *tensor = tern__calloc(&runtime->alloc, 1, sizeof *tensor);
  if (!tensor) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a tensor");
  tensor->view = (tern__view){dtype, shape, data, need};
  tensor->runtime = runtime;
  tern__runtime_ref(runtime);
  *out = tensor;
  return TERN_OK;
}

void tern_tensor_destroy(tern_tensor *tensor) { tern__tensor_destroy(tensor); }
tern_dtype tern_tensor_dtype(const tern_tensor *tensor) { return tensor ? tensor->view.dtype : TERN_DTYPE_NONE; }
int32_t tern_tensor_rank(const tern_tensor *tensor) { return tensor ? tensor->view.shape.rank : 0; }
const int64_t *tern_tensor_dims(const tern_tensor *tensor) { return tensor ? tensor->view.shape.dims : NULL; }
void *tern_tensor_data(const tern_tensor *tensor) { return tensor ? tensor->view.data : NULL; }
size_t tern_tensor_size_bytes(const tern_tensor *tensor) { return tensor ? tensor->view.size_bytes : 0; }
