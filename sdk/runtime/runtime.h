/* What all objects share: allocator, log, thread pool, opened backends. */
#ifndef TERN_RUNTIME_RUNTIME_H
#define TERN_RUNTIME_RUNTIME_H

#include "runtime/backend.h"
#include "runtime/thread_pool.h"

enum { TERN__MAX_DEVICES = 32, TERN__CPU = 0 /* index of the device that is always there */ };

/* An opened device. `which` is what came after the colon of its name, "" for none. */
typedef struct tern__device {
  const tern__backend_api *api;
  tern__backend *backend;
  char which[64];
} tern__device;

typedef struct tern__opening tern__opening; /* a device that a thread of its own opens */

struct tern_runtime {
  _Atomic int32_t refs;
  tern__alloc alloc;
  tern_log log;
  tern__pool *pool;
  char *cache_path;             /* NULL = none */
  tern__mutex mutex;            /* opening devices */
  _Atomic int32_t n_devices;    /* entries only ever join */
  tern__device devices[TERN__MAX_DEVICES];
  tern__mutex left_lock;
  tern__opening *left;          /* openings that nobody waits for any more */
};

tern_status tern__runtime_create(const tern_runtime_desc *desc, tern_runtime **out);
void tern__runtime_ref(tern_runtime *runtime);
void tern__runtime_unref(tern_runtime *runtime);
/* "cpu", "vulkan", "vulkan:WHICH", ...; NULL or "auto" = the CPU. Devices but the CPU are opened when they are first
 * asked for, because that takes a driver's time; one that was lost is opened anew. NO_DEVICE says what there is. */
tern_status tern__runtime_find_device(tern_runtime *runtime, const char *name, int32_t *index);
/* The same in two steps, for who has something else to do while a driver takes its time. begin_device gives the device,
 * or an opening where a thread opens it; that one goes to end_device, which waits for the device and takes over its
 * errors, or to leave_device, which does not: the runtime waits for the thread when it is destroyed. */
tern_status tern__runtime_begin_device(tern_runtime *runtime, const char *name, int32_t *index,
                                       tern__opening **opening);
tern_status tern__runtime_end_device(tern_runtime *runtime, tern__opening *opening, int32_t *index);
void tern__runtime_leave_device(tern_runtime *runtime, tern__opening *opening);
/* Opens the best device of every backend that has one here. */
void tern__runtime_open_all(tern_runtime *runtime);

struct tern_tensor {
  tern_runtime *runtime;
  tern__view view;
  bool owned;
};
tern_status tern__tensor_create(tern_runtime *runtime, tern_dtype dtype, const tern__shape *shape, tern_tensor **out);
/* Its contents are undefined: for who writes all of them. */
tern_status tern__tensor_create_unset(tern_runtime *runtime, tern_dtype dtype, const tern__shape *shape,
                                      tern_tensor **out);
void tern__tensor_destroy(tern_tensor *tensor);

#endif
