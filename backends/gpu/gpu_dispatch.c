/* Our own mistakes in a dispatch, caught before the driver or the browser sees them. */
#include "gpu/gpu_device.h"

bool tern__gpu_inside(const tern__gpu_range *range, uint64_t buffer_size) {
  return range->buffer && range->size && range->size % 4 == 0 && range->offset <= buffer_size &&
         range->size <= buffer_size - range->offset;
}

tern_status tern__gpu_check_dispatch(const tern__gpu_info *info, tern__gpu_size_fn *size_of,
                                     const tern__gpu_kernel *kernel, const tern__gpu_dispatch *dispatch) {
  for (int i = 0; i < kernel->n_bindings; i++) {
    const tern__gpu_range *r = &dispatch->ranges[i];
    uint64_t size = r->buffer ? size_of(r->buffer) : 0;
    if (!tern__gpu_inside(r, size) || r->offset % info->binding_alignment || r->size > info->max_binding_bytes)
      return tern__fail(TERN_STATUS_INTERNAL, "%s: binding %d of kernel %s: %llu bytes at %llu of a buffer of %llu",
                        info->name, i, kernel->name, (unsigned long long)r->size, (unsigned long long)r->offset,
                        (unsigned long long)size);
  }
  for (int i = 0; i < 3; i++)
    if (!dispatch->groups[i] || dispatch->groups[i] > info->max_groups)
      return tern__fail(TERN_STATUS_INTERNAL, "%s: kernel %s in %u x %u x %u workgroups; 1 to %u are allowed",
                        info->name, kernel->name, (unsigned)dispatch->groups[0], (unsigned)dispatch->groups[1],
                        (unsigned)dispatch->groups[2], (unsigned)info->max_groups);
  return TERN_OK;
}
