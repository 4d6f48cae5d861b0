/* Every Vulkan call that can fail is made to fail once, in the middle of a device's life: the status is
 * right, the sentence names the call, nothing is leaked (neither by us, nor, says the validation layer, in
 * the driver), no result is wrong, and the device goes on or stays lost. */
#include "vk_hooks.h"

enum { N = 300, MANY = 60 };

typedef struct life {
  rig r;
  tern__gpu_buffer *in, *out, *upload, *back, *large;
  tern__gpu_commands *c;
  float x[N];
} life;

/* Everything that a device is for; *wrong is set if a result is not what it must be. */
static tern_status use(life *l, bool *wrong) {
  tern_status status = TERN_OK;
  const tern__gpu_api *api = l->r.api;
  tern__gpu_device *device = l->r.device;
  uint64_t ticket, ns[4];
  static uint8_t cache[1 << 16];
  size_t size = sizeof cache;
  l->r.api->info(device)->software = true; /* a wait that spins makes a number of calls that nobody knows */
  TERN_TRY(api->buffer_create(device, TERN__GPU_DEVICE, sizeof l->x, &l->in));
  TERN_TRY(api->buffer_create(device, TERN__GPU_DEVICE, sizeof l->x, &l->out));
  TERN_TRY(api->buffer_create(device, TERN__GPU_UPLOAD, sizeof l->x, &l->upload));
  TERN_TRY(api->buffer_create(device, TERN__GPU_READBACK, sizeof l->x, &l->back));
  TERN_TRY(api->buffer_create(device, TERN__GPU_DEVICE, 34 << 20, &l->large));
  TERN_TRY(api->write(device, l->in, 0, l->x, sizeof l->x));
  TERN_TRY(api->commands_create(device, &l->c));
  api->profile(l->c, true);
  TERN_TRY(rig_add_unary(&l->r, l->c, TERN__KERNEL_unary_neg, l->in, l->out, N));
  TERN_TRY(api->barrier(l->c));
  tern__gpu_range first = {l->upload, 0, 4}, second = {l->out, 4, 4};
  TERN_TRY(api->copy(l->c, &first, &second)); /* out[1] comes from the host */
  TERN_TRY(api->barrier(l->c));
  tern__gpu_range from = {l->out, 0, sizeof l->x}, to = {l->back, 0, sizeof l->x};
  TERN_TRY(api->copy(l->c, &from, &to));
  TERN_TRY(api->commands_finish(l->c));
  for (int run = 0; run < 3; run++) {
    *(float *)api->buffer_host(l->upload) = (float)run;
    TERN_TRY(api->flush(device, &first));
    TERN_TRY(api->submit(device, l->c, &ticket));
    TERN_TRY(api->wait(device, ticket, UINT64_MAX));
    TERN_TRY(api->invalidate(device, &to));
    const float *y = api->buffer_host(l->back);
    for (int i = 0; i < N; i++) *wrong |= y[i] != (i == 1 ? (float)run : -l->x[i]);
    size_t n = api->timestamps(l->c, ns, 4);
    *wrong |= n > 1;
  }
  TERN_TRY(api->cache_read(device, cache, &size));
  TERN_TRY(api->cache_load(device, cache, size));
cleanup:
  return status;
}

static void drop(life *l) {
  const tern__gpu_api *api = l->r.api;
  tern__gpu_buffer **buffers[] = {&l->in, &l->out, &l->upload, &l->back, &l->large};
  api->commands_destroy(l->c), l->c = NULL;
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
    api->buffer_destroy(l->r.device, *buffers[i]), *buffers[i] = NULL;
}

static tern_status expected(VkResult result) {
  switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return TERN_STATUS_OUT_OF_MEMORY;
    case VK_ERROR_DEVICE_LOST: return TERN_STATUS_DEVICE_LOST;
    default: return TERN_STATUS_UNSUPPORTED;
  }
}

/* Calls after whose failure the rest may go on. */
static bool may_be_survived(const char *name, VkResult result) {
  static const char *const names[] = {"GetQueryPoolResults", "QueueWaitIdle", "DeviceWaitIdle"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(name, names[i])) return true;
  /* A smaller block or another type of memory may still be had. */
  return (!strcmp(name, "AllocateMemory") || !strcmp(name, "MapMemory")) &&
         result == VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static void reset(uint32_t fail_at, VkResult result) {
  bool card = hook.card, no_timeline = hook.no_timeline, stays_lost = hook.stays_lost;
  memset(&hook, 0, sizeof hook);
  hook.card = card, hook.no_timeline = no_timeline, hook.stays_lost = stays_lost;
  hook.fail_at = fail_at, hook.result = result;
}

static void check_lost(life *l) {
  tern__gpu_buffer *b;
  tern__gpu_commands *c;
  tern__gpu_pipeline *p;
  uint64_t ticket;
  size_t size = 0;
  const tern__gpu_api *api = l->r.api;
  tern__gpu_device *d = l->r.device;
  cr_assert_eq(api->buffer_create(d, TERN__GPU_DEVICE, 64, &b), TERN_STATUS_DEVICE_LOST);
  cr_assert_eq(api->pipeline(d, TERN__KERNEL_unary_neg, &p), TERN_STATUS_DEVICE_LOST);
  cr_assert_eq(api->commands_create(d, &c), TERN_STATUS_DEVICE_LOST);
  cr_assert_eq(api->wait(d, 0, 0), TERN_STATUS_DEVICE_LOST);
  cr_assert_eq(api->cache_read(d, NULL, &size), TERN_STATUS_DEVICE_LOST);
  cr_assert_eq(api->cache_load(d, NULL, 0), TERN_STATUS_DEVICE_LOST);
  if (l->in) cr_assert_eq(api->write(d, l->in, 0, l->x, 4), TERN_STATUS_DEVICE_LOST);
  if (l->c) cr_assert_eq(api->submit(d, l->c, &ticket), TERN_STATUS_DEVICE_LOST);
  cr_assert(strstr(tern_last_error(), "open it again"), "%s", tern_last_error());
}

/* One life in which call `fail_at` fails. False if there were not so many calls: how often a wait has to look
 * differs by one or two. */
static bool fail_one(uint32_t fail_at, VkResult result) {
  life l = {0};
  bool wrong = false;
  reset(fail_at, result);
  for (int i = 0; i < N; i++) l.x[i] = (float)i + 0.5f;
  tern_status status = rig_try_open(&l.r, NULL, &hook_table);
  bool opened = status == TERN_OK;
  if (opened) status = use(&l, &wrong);
  const char *failed = hook.failed;
  cr_assert(!wrong, "%s (call %u): a wrong result", failed, fail_at);
  if (!failed)
    OK(status);
  else if (status == TERN_OK)
    cr_assert(may_be_survived(failed, result), "%s (call %u) failed and nobody said so", failed, fail_at);
  else {
    cr_assert(status == expected(result) || (!opened && status == TERN_STATUS_NO_DEVICE),
              "%s (call %u): %s: %s", failed, fail_at, tern_status_name(status), tern_last_error());
    cr_assert(strlen(tern_last_error()) > 20);
  }
  if (opened && status == TERN_STATUS_DEVICE_LOST) check_lost(&l);
  if (opened) drop(&l);
  if (failed && opened && status != TERN_STATUS_DEVICE_LOST) { /* as if nothing had been */
    OK(use(&l, &wrong));
    cr_assert(!wrong, "after %s (call %u): a wrong result", failed, fail_at);
    drop(&l);
  }
  if (opened) l.r.api->close(l.r.device);
  cr_assert_eq(atomic_load(&l.r.alloc.live_bytes), 0u, "%s (call %u) leaks %llu bytes", failed, fail_at,
               (unsigned long long)l.r.alloc.live_bytes);
  cr_assert_eq(hook.card_used, 0u);
  return failed != NULL;
}

/* How many calls a life makes when all goes well. */
static uint32_t count_calls(void) {
  life l = {0};
  bool wrong = false;
  reset(0, VK_SUCCESS);
  for (int i = 0; i < N; i++) l.x[i] = (float)i + 0.5f;
  rig_open(&l.r, NULL, &hook_table);
  OK(use(&l, &wrong));
  cr_assert(!wrong);
  uint32_t calls = hook.calls;
  drop(&l);
  rig_close(&l.r);
  return calls;
}

static void fail_each(VkResult result) {
  uint32_t calls = count_calls();
  cr_assert_gt(calls, (uint32_t)MANY);
  uint32_t k = 1;
  while (fail_one(k, result)) k++;
  cr_assert_geq(k + 10, calls, "%u of about %u calls failed", k - 1, calls);
}

Test(vk_faults, no_host_memory) { fail_each(VK_ERROR_OUT_OF_HOST_MEMORY); }
Test(vk_faults, no_device_memory) { fail_each(VK_ERROR_OUT_OF_DEVICE_MEMORY); }
Test(vk_faults, lost_once) { fail_each(VK_ERROR_DEVICE_LOST); }
Test(vk_faults, no_reason) { fail_each(VK_ERROR_UNKNOWN); }
Test(vk_faults, on_a_card) {
  hook.card = true;
  fail_each(VK_ERROR_OUT_OF_DEVICE_MEMORY);
  fail_each(VK_ERROR_OUT_OF_HOST_MEMORY);
}
Test(vk_faults, with_fences) {
  hook.card = true, hook.no_timeline = true;
  fail_each(VK_ERROR_OUT_OF_HOST_MEMORY);
  fail_each(VK_ERROR_DEVICE_LOST);
}
Test(vk_faults, stays_lost) {
  hook.card = true, hook.stays_lost = true;
  fail_each(VK_ERROR_DEVICE_LOST);
}
