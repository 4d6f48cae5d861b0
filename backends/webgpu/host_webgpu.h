/* What the WebGPU device asks of its host (bindings/web/src/gpu.js): imports of module "tern_gpu". Objects are positive
 * integers. Functions that return a tern_status leave the sentence of a failure for `error`. The host was given adapter
 * and device before the module started, so that nothing here is asynchronous but what is said to suspend: the stack of
 * C sleeps there while the browser goes on (JavaScript Promise Integration). */
#ifndef TERN_HOST_WEBGPU_H
#define TERN_HOST_WEBGPU_H

#include <stddef.h>
#include <stdint.h>

#define TERN_HOST(name) __attribute__((import_module("tern_gpu"), import_name(name))) extern

/* gpu.js writes it: all members of 8 bytes, then those of 4, then text. */
typedef struct tern__host_gpu_facts {
  double max_buffer_bytes, max_binding_bytes;
  uint32_t binding_alignment, max_groups, max_invocations, max_size[3], shared_bytes;
  uint32_t subgroup_min, subgroup_max; /* 0 = no subgroups */
  uint32_t features;                   /* TERN__GPU_HAS_* */
  uint32_t software;
  char name[128], driver[128];
} tern__host_gpu_facts;

/* A binding; `buffer` is an object. */
typedef struct tern__host_gpu_range { double offset, size; int32_t buffer, pad; } tern__host_gpu_range;

/* NO_DEVICE where the host has none, or none whose name holds `which` (not NUL-terminated). */
TERN_HOST("open") int32_t tern__host_gpu_open(const char *which, size_t which_size, tern__host_gpu_facts *out);
/* The sentence of the last failure, NUL-terminated, cut to fit. */
TERN_HOST("error") void tern__host_gpu_error(char *out, size_t capacity);

/* memory: tern__gpu_memory. host: the mirror of a READBACK buffer, which `wait` fills; else NULL. May suspend: whether
 * a large buffer could be had is known late. */
TERN_HOST("buffer") int32_t tern__host_gpu_buffer(int32_t memory, double size, void *host, int32_t *out);
TERN_HOST("buffer_destroy") void tern__host_gpu_buffer_destroy(int32_t buffer);
/* Offset and size are multiples of 4. */
TERN_HOST("write") int32_t tern__host_gpu_write(int32_t buffer, double offset, const void *data, size_t size);

/* Starts to compile a kernel, by its name in kernels.js; `kernel` is its number from now on. */
TERN_HOST("compile")
int32_t tern__host_gpu_compile(int32_t kernel, const char *name, uint32_t n_bindings, uint32_t immediate_bytes);
/* Suspends until it is compiled. */
TERN_HOST("compiled") int32_t tern__host_gpu_compiled(int32_t kernel);

TERN_HOST("commands") int32_t tern__host_gpu_commands(void);
TERN_HOST("profile") void tern__host_gpu_profile(int32_t commands, int32_t on);
TERN_HOST("dispatch")
int32_t tern__host_gpu_dispatch(int32_t commands, int32_t kernel, const tern__host_gpu_range *ranges,
                                const void *immediates, uint32_t x, uint32_t y, uint32_t z);
TERN_HOST("copy")
int32_t tern__host_gpu_copy(int32_t commands, int32_t from, double from_offset, int32_t to, double to_offset,
                            double size);
TERN_HOST("finish") int32_t tern__host_gpu_finish(int32_t commands);
TERN_HOST("commands_destroy") void tern__host_gpu_commands_destroy(int32_t commands);

/* Tickets are 1, 2, 3 ... */
TERN_HOST("submit") int32_t tern__host_gpu_submit(int32_t commands, double *ticket);
/* -1 while the ticket is not done; then what `wait` would return, which would not suspend. */
TERN_HOST("poll") int32_t tern__host_gpu_poll(double ticket);
/* Suspends until the ticket is done; then what it copied to READBACK buffers is in their mirrors. */
TERN_HOST("wait") int32_t tern__host_gpu_wait(double ticket);
/* Of the last waited run of the commands; how many there are. */
TERN_HOST("timestamps") size_t tern__host_gpu_timestamps(int32_t commands, uint64_t *nanoseconds, size_t capacity);

#undef TERN_HOST
#endif
