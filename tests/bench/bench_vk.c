/* bench_vk [DEVICE [chains]]: what the Vulkan device's parts cost: `write` by each of its ways, submits and
 * waits, resubmitted chains of small dispatches, pipelines. Figures go to docs/performance.md; nothing is
 * asserted. */
#include "vulkan/vk_api.h"
#include "vulkan/vk_device.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct unary_params {
  uint32_t count;
  float alpha, beta;
  uint32_t pad;
} unary_params;

static const tern__gpu_api *const api = &tern__gpu_api_vulkan;
static tern__gpu_device *device;

static void must(tern_status status, const char *what) {
  if (status == TERN_OK) return;
  printf("%s: %s\n", what, tern_last_error());
  exit(1);
}
#define MUST(call) must(call, #call)

static double ms_since(uint64_t start) { return (double)(tern__now_ns() - start) * 1e-6; }

/* Until the device has it. */
static void finish(void) {
  tern__gpu_commands *c;
  uint64_t ticket;
  MUST(api->commands_create(device, &c));
  MUST(api->commands_finish(c));
  MUST(api->submit(device, c, &ticket));
  MUST(api->wait(device, ticket, UINT64_MAX));
  api->commands_destroy(c);
}

enum { STRAIGHT, STAGED };
static const char *const ways[] = {"straight (mapped)", "staged"};

static void bench_write(const char *source, const uint8_t *data, uint64_t size) {
  tern__gpu_buffer *b;
  MUST(api->buffer_create(device, TERN__GPU_DEVICE, size, &b));
  uint8_t *host = b->host;
  for (int way = STRAIGHT; way <= STAGED; way++) {
    if (way == STRAIGHT && !host) continue;
    b->host = way == STRAIGHT ? host : NULL;
    double best = 1e30;
    for (int run = 0; run < 5; run++) {
      uint64_t start = tern__now_ns();
      MUST(api->write(device, b, 0, data, size));
      finish();
      if (ms_since(start) < best) best = ms_since(start);
    }
    printf("  %-18s %-20s %6.0f MiB: %8.2f ms, %6.2f GB/s\n", source, ways[way], (double)size / 1048576, best,
           (double)size / best * 1e-6);
  }
  b->host = host;
  api->buffer_destroy(device, b);
}

/* As weights are written (gpu_prepare.c): threads that each have a piece in their core's cache. */
enum { PIECE = 256 << 10, MOST_THREADS = 64 };
typedef struct writers {
  tern__gpu_buffer *b;
  uint64_t size;
  _Atomic uint64_t next;
} writers;

static void *write_pieces(void *arg) {
  writers *w = arg;
  uint8_t *piece = aligned_alloc(4096, PIECE);
  uint64_t at;
  if (!piece) exit(1);
  memset(piece, 7, PIECE);
  while ((at = atomic_fetch_add(&w->next, PIECE)) < w->size) MUST(api->write(device, w->b, at, piece, PIECE));
  free(piece);
  return NULL;
}

static void bench_threads(uint64_t size) {
  tern__gpu_buffer *b;
  MUST(api->buffer_create(device, TERN__GPU_DEVICE, size, &b));
  uint8_t *host = b->host;
  int32_t cpus = tern__online_cpus();
  for (int way = STRAIGHT; way <= STAGED; way++) {
    if (way == STRAIGHT && !host) continue;
    b->host = way == STRAIGHT ? host : NULL;
    for (int32_t n = 1; n <= cpus && n <= MOST_THREADS; n *= 2) {
      double best = 1e30;
      for (int run = 0; run < 3; run++) {
        writers w = {b, size, 0};
        tern__thread threads[MOST_THREADS];
        uint64_t start = tern__now_ns();
        for (int32_t i = 0; i < n; i++) MUST(tern__thread_start(&threads[i], write_pieces, &w));
        for (int32_t i = 0; i < n; i++) tern__thread_join(&threads[i]);
        finish();
        if (ms_since(start) < best) best = ms_since(start);
      }
      printf("  pieces, %2d threads %-20s %6.0f MiB: %8.2f ms, %6.2f GB/s\n", (int)n, ways[way],
             (double)size / 1048576, best, (double)size / best * 1e-6);
    }
  }
  b->host = host;
  api->buffer_destroy(device, b);
}

/* What staging in the host's own memory would give at best: the device fetches it. */
static void bench_fetch(uint64_t size) {
  tern__gpu_buffer *from, *to;
  tern__gpu_commands *c;
  uint64_t ticket;
  double best = 1e30;
  MUST(api->buffer_create(device, TERN__GPU_READBACK, size, &from));
  MUST(api->buffer_create(device, TERN__GPU_DEVICE, size, &to));
  memset(api->buffer_host(from), 7, size);
  MUST(api->commands_create(device, &c));
  tern__gpu_range source = {from, 0, size}, destination = {to, 0, size};
  MUST(api->copy(c, &source, &destination));
  MUST(api->commands_finish(c));
  for (int run = 0; run < 5; run++) {
    uint64_t start = tern__now_ns();
    MUST(api->submit(device, c, &ticket));
    MUST(api->wait(device, ticket, UINT64_MAX));
    if (ms_since(start) < best) best = ms_since(start);
  }
  printf("  copied by the device from the host's cached memory, %.0f MiB: %.2f ms, %.2f GB/s\n",
         (double)size / 1048576, best, (double)size / best * 1e-6);
  api->commands_destroy(c);
  api->buffer_destroy(device, from);
  api->buffer_destroy(device, to);
}

static void bench_writes(void) {
  const uint64_t sizes[] = {256 << 10, 4 << 20, 64 << 20, 512 << 20};
  char path[] = "/tmp/bench_vk_XXXXXX";
  int file = mkstemp(path);
  uint8_t *data = aligned_alloc(4096, sizes[3]);
  if (file < 0 || !data) exit(1);
  unlink(path);
  for (uint64_t i = 0; i < sizes[3]; i++) data[i] = (uint8_t)(i * 7);
  if (write(file, data, sizes[3]) != (ssize_t)sizes[3]) exit(1);
  uint8_t *map = mmap(NULL, sizes[3], PROT_READ, MAP_PRIVATE, file, 0);
  if (map == MAP_FAILED) exit(1);
  printf("write\n");
  for (int i = 0; i < 4; i++) bench_write("from memory", data, sizes[i]);
  for (int i = 1; i < 4; i++) bench_write("from a mapped file", map, sizes[i]);
  bench_threads(sizes[3]);
  bench_fetch(sizes[2]);
  munmap(map, sizes[3]);
  close(file);
  free(data);
}

static void bench_chain(uint32_t dispatches, bool barriers) {
  tern__gpu_buffer *x, *y;
  tern__gpu_commands *c;
  tern__gpu_pipeline *p;
  uint64_t ticket;
  MUST(api->buffer_create(device, TERN__GPU_DEVICE, 4096, &x));
  MUST(api->buffer_create(device, TERN__GPU_DEVICE, 4096, &y));
  MUST(api->pipeline(device, TERN__KERNEL_unary_neg, &p));
  uint64_t start = tern__now_ns();
  MUST(api->commands_create(device, &c));
  unary_params params = {1024, 0, 0, 0};
  for (uint32_t i = 0; i < dispatches; i++) {
    tern__gpu_range ranges[2] = {{i % 2 ? y : x, 0, 4096}, {i % 2 ? x : y, 0, 4096}};
    tern__gpu_dispatch d = {p, ranges, &params, {16, 1, 1}};
    MUST(api->dispatch(c, &d));
    if (barriers) MUST(api->barrier(c));
  }
  MUST(api->commands_finish(c));
  double record = ms_since(start), best = 1e30;
  for (int run = 0; run < 200; run++) {
    start = tern__now_ns();
    MUST(api->submit(device, c, &ticket));
    MUST(api->wait(device, ticket, UINT64_MAX));
    if (ms_since(start) < best) best = ms_since(start);
  }
  printf("  %4u dispatches%s: recorded in %8.1f us, submit and wait %8.1f us, %6.2f us each\n", dispatches,
         barriers ? " and barriers" : "             ", record * 1e3, best * 1e3, best * 1e3 / dispatches);
  api->commands_destroy(c);
  api->buffer_destroy(device, x);
  api->buffer_destroy(device, y);
}

int main(int argc, char **argv) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  tern__backend_env env = {.alloc = &alloc};
  uint64_t start = tern__now_ns();
  MUST(api->open(&env, argc > 1 ? argv[1] : NULL, &device));
  const tern__gpu_info *info = api->info(device);
  printf("%s; %s; opened in %.1f ms\n", info->name, info->driver, ms_since(start));
  printf("features %u, subgroup %u, memory %.1f GiB, binding <= %.0f MiB at %u, %s, budget %s\n",
         info->features, info->subgroup_max, (double)info->memory_bytes / (1 << 30),
         (double)info->max_binding_bytes / (1 << 20), info->binding_alignment,
         device->queue.timeline ? "timeline" : "fences",
         device->features.memory_budget ? "known" : "not known");
  for (uint32_t i = 0; i < device->features.memory.memoryTypeCount; i++)
    printf(
        "  memory type %u: flags %x, heap %u of %.1f GiB\n", i,
        device->features.memory.memoryTypes[i].propertyFlags,
        device->features.memory.memoryTypes[i].heapIndex,
        (double)device->features.memory.memoryHeaps[device->features.memory.memoryTypes[i].heapIndex].size /
            (1 << 30));
  printf("runs\n");
  bench_chain(1, false);
  bench_chain(82, true);
  bench_chain(1000, true);
  bench_chain(1000, false);
  if (argc <= 2) bench_writes();
  start = tern__now_ns();
  tern__gpu_pipeline *p;
  int made = 0;
  for (int k = 0; k < TERN__KERNEL_COUNT; k++)
    made += api->pipeline(device, (tern__gpu_kernel_id)k, &p) == TERN_OK;
  printf("%d of %d kernels compiled on one thread in %.0f ms\n", made, TERN__KERNEL_COUNT, ms_since(start));
  api->close(device);
  return 0;
}
