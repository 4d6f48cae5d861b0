/* What the GPU backends' shared host logic asks of a device: backends/vulkan answers over volk, backends/webgpu over
 * the browser. No type of either API appears here.
 *
 * A device's functions may be called from any thread (unless it is one_thread); it locks what it must. Failures leave
 * out parameters NULL and say what could not be had, of which size, and what to try. */
#ifndef TERN_GPU_DEVICE_H
#define TERN_GPU_DEVICE_H

#include "gpu/gpu_kernel.h"
#include "runtime/backend.h"

typedef struct tern__gpu_device tern__gpu_device;
typedef struct tern__gpu_buffer tern__gpu_buffer;
typedef struct tern__gpu_pipeline tern__gpu_pipeline;
typedef struct tern__gpu_commands tern__gpu_commands;

/* Of a kernel; WebGPU's are at most 8 of them. */
enum { TERN__GPU_MAX_BINDINGS = 11, TERN__GPU_MAX_IMMEDIATE = 64 };

/* Where a buffer lives. */
typedef enum tern__gpu_memory {
  TERN__GPU_DEVICE = 1,  /* device-local: weights, arenas, KV caches. Written by `write`, copies and kernels */
  TERN__GPU_UPLOAD,      /* host-mapped, small: inputs and parameters; kernels and copies read it */
  TERN__GPU_READBACK     /* host-mapped and cached: results; a destination of copies, and of kernels where the device
                            binds_readback */
} tern__gpu_memory;

/* Where things may begin within a buffer: covers every device's binding_alignment. */
enum { TERN__GPU_PLACE = 256 };
static inline uint64_t tern__gpu_place(uint64_t bytes) {
  return (bytes + TERN__GPU_PLACE - 1) / TERN__GPU_PLACE * TERN__GPU_PLACE;
}

typedef struct tern__gpu_info {
  const char *name;            /* "llvmpipe (LLVM 15.0.6, 256 bits)" */
  const char *driver;          /* name and version, for messages and cache keys */
  uint8_t uuid[16];            /* of device and driver; zero where the API has none */
  uint64_t memory_bytes;       /* device-local heap; 0 = not known */
  uint64_t max_buffer_bytes;   /* of one buffer */
  uint64_t max_binding_bytes;  /* of one binding: larger data is bound in slices */
  uint32_t binding_alignment;  /* of a binding's offset, a power of two, at most TERN__GPU_PLACE */
  uint32_t max_groups;         /* workgroups of a dispatch in each dimension */
  uint32_t max_invocations;    /* of a workgroup */
  uint32_t shared_bytes;       /* workgroup memory */
  uint32_t subgroup_min, subgroup_max; /* invocations of a subgroup; 0 = no subgroups */
  uint32_t features;           /* TERN__GPU_HAS_*: what kernels may use. A failed probe clears its bit */
  bool unified;                /* device memory is the host's */
  bool software;               /* the host's CPU plays the device: chosen by name, or where there is no other */
  bool binds_readback;         /* kernels may write READBACK buffers */
  bool one_thread;             /* only the thread that opened it may call the device */
} tern__gpu_info;

/* A part of a buffer, in bytes. Offsets of bindings are multiples of binding_alignment, those of copies of 4; sizes
 * are multiples of 4. */
typedef struct tern__gpu_range { tern__gpu_buffer *buffer; uint64_t offset, size; } tern__gpu_range;

typedef struct tern__gpu_dispatch {
  tern__gpu_pipeline *pipeline;
  const tern__gpu_range *ranges; /* as many as the kernel has bindings, in their order */
  const void *immediates;        /* the kernel's immediate_bytes */
  uint32_t groups[3];
} tern__gpu_dispatch;

/* gpu_dispatch.c, for devices: whether a range of a buffer of that size is one, and INTERNAL if a dispatch is not
 * within what `info` allows. */
typedef uint64_t tern__gpu_size_fn(const tern__gpu_buffer *buffer);
bool tern__gpu_inside(const tern__gpu_range *range, uint64_t buffer_size);
tern_status tern__gpu_check_dispatch(const tern__gpu_info *info, tern__gpu_size_fn *size_of,
                                     const tern__gpu_kernel *kernel, const tern__gpu_dispatch *dispatch);

typedef struct tern__gpu_api {
  const char *name;
  /* `which`: part of a device's name, its UUID in hex, or NULL for the best one. NO_DEVICE where there is none; the
   * message lists what there is. */
  tern_status (*open)(const tern__backend_env *env, const char *which, tern__gpu_device **out);
  void (*close)(tern__gpu_device *device); /* everything made from it is destroyed before */
  tern__gpu_info *(*info)(tern__gpu_device *device);

  /* Contents are undefined. OUT_OF_MEMORY names size and memory left. */
  tern_status (*buffer_create)(tern__gpu_device *device, tern__gpu_memory memory, uint64_t size,
                               tern__gpu_buffer **out);
  /* NULL is fine; no run may be using it. */
  void (*buffer_destroy)(tern__gpu_device *device, tern__gpu_buffer *buffer);
  /* The host's address of an UPLOAD or READBACK buffer, for its lifetime; NULL for DEVICE. */
  void *(*buffer_host)(tern__gpu_buffer *buffer);
  /* After the host wrote part of an UPLOAD buffer, before the submit that reads it; after a wait, before the host
   * reads part of a READBACK buffer. */
  tern_status (*flush)(tern__gpu_device *device, const tern__gpu_range *range);
  tern_status (*invalidate)(tern__gpu_device *device, const tern__gpu_range *range);
  /* Copies host memory into a DEVICE buffer, staged; `data` may go once it returns. Done before the work of any later
   * submit starts. */
  tern_status (*write)(tern__gpu_device *device, tern__gpu_buffer *buffer, uint64_t offset, const void *data,
                       size_t size);

  /* Starts to compile a kernel that `pipeline` will ask for; NULL where only `pipeline` compiles. */
  tern_status (*pipeline_start)(tern__gpu_device *device, tern__gpu_kernel_id kernel);
  /* Compiles a kernel; may take long, several may be compiled at once. Cached by the device: the same kernel twice
   * gives the same pipeline, which lives until close. */
  tern_status (*pipeline)(tern__gpu_device *device, tern__gpu_kernel_id kernel, tern__gpu_pipeline **out);

  /* Work recorded once, submitted any number of times, one submit at a time. Dispatches and copies between two
   * barriers run in any order and at once; a barrier makes all writes before it visible to all after it. What one
   * submit wrote is visible to the next one, and to the host once it was waited for. */
  tern_status (*commands_create)(tern__gpu_device *device, tern__gpu_commands **out);
  tern_status (*dispatch)(tern__gpu_commands *commands, const tern__gpu_dispatch *dispatch);
  tern_status (*copy)(tern__gpu_commands *commands, const tern__gpu_range *from, const tern__gpu_range *to);
  tern_status (*barrier)(tern__gpu_commands *commands);
  tern_status (*commands_finish)(tern__gpu_commands *commands); /* recording ends */
  void (*commands_destroy)(tern__gpu_commands *commands);       /* NULL is fine; waits if it still runs */

  /* Starts work; *ticket is for wait. Tickets of a device grow and finish in order. */
  tern_status (*submit)(tern__gpu_device *device, tern__gpu_commands *commands, uint64_t *ticket);
  /* Waits for a ticket, at most timeout_ns (TIMEOUT); a device whose waits cannot be cut short looks only whether
   * that is zero. DEVICE_LOST if the device is gone: it stays so. */
  tern_status (*wait)(tern__gpu_device *device, uint64_t ticket, uint64_t timeout_ns);

  /* Device time of the last waited run of `commands`, per dispatch in recording order, in nanoseconds; 0 = the number
   * of dispatches recorded with timestamps (none unless `profile` was called before recording). */
  void (*profile)(tern__gpu_commands *commands, bool on);
  size_t (*timestamps)(tern__gpu_commands *commands, uint64_t *nanoseconds, size_t capacity);

  /* What the pipeline cache holds, to be kept on disk, and giving it back right after open; a foreign or damaged one
   * is ignored. size 0 where the API has none. */
  tern_status (*cache_read)(tern__gpu_device *device, void *data, size_t *size); /* data NULL: just the size */
  tern_status (*cache_load)(tern__gpu_device *device, const void *data, size_t size);
} tern__gpu_api;

#endif
