/* Every allocation of the host's memory fails once. */
#include "vk_hooks.h"

typedef struct failing {
  long count, fail_at, live;
} failing;

static void *failing_alloc(void *user_data, size_t size, size_t align) {
  failing *f = user_data;
  if (++f->count == f->fail_at) return NULL;
  f->live++;
  if (align < sizeof(void *)) align = sizeof(void *);
  return aligned_alloc(align, (size + align - 1) / align * align);
}

static void failing_free(void *user_data, void *ptr, size_t size, size_t align) {
  (void)size, (void)align;
  ((failing *)user_data)->live--;
  free(ptr);
}

static tern_status life(failing *f) {
  tern_status status = TERN_OK;
  tern__alloc alloc;
  tern_allocator fns = {failing_alloc, failing_free, f};
  tern__alloc_init(&alloc, &fns, 0);
  rig r = {.env = {.alloc = &alloc}, .api = &tern__gpu_api_vulkan};
  tern__gpu_buffer *x = NULL, *y = NULL;
  tern__gpu_commands *c = NULL;
  uint64_t ticket;
  float one[300] = {1};
  TERN_TRY(tern__vk_open(&r.env, NULL, &hook_table, &r.device));
  TERN_TRY(r.api->buffer_create(r.device, TERN__GPU_DEVICE, sizeof one, &x));
  TERN_TRY(r.api->buffer_create(r.device, TERN__GPU_DEVICE, sizeof one, &y));
  TERN_TRY(r.api->write(r.device, x, 0, one, sizeof one));
  TERN_TRY(r.api->commands_create(r.device, &c));
  r.api->profile(c, true);
  for (int i = 0; i < 40; i++)
    TERN_TRY(rig_add_unary(&r, c, TERN__KERNEL_unary_neg, x, y, 300)); /* two set pools */
  TERN_TRY(r.api->commands_finish(c));
  TERN_TRY(r.api->submit(r.device, c, &ticket));
  TERN_TRY(r.api->wait(r.device, ticket, UINT64_MAX));
cleanup:
  r.api->commands_destroy(c);
  if (r.device) {
    r.api->buffer_destroy(r.device, x);
    r.api->buffer_destroy(r.device, y);
  }
  r.api->close(r.device);
  return status;
}

static void fail_each(void) {
  failing f = {0};
  OK(life(&f));
  long total = f.count;
  cr_assert_gt(total, 15);
  for (long k = 1; k <= total; k++) {
    f = (failing){0, k, 0};
    tern_status status = life(&f);
    cr_assert_eq(f.live, 0, "allocation %ld: %ld leaked", k, f.live);
    cr_assert_eq(status, TERN_STATUS_OUT_OF_MEMORY, "allocation %ld: %s", k, tern_status_name(status));
  }
}

Test(vk_oom, each_allocation_fails_once) {
  hook.card = true;
  fail_each();
}
Test(vk_oom, with_fences) {
  hook.card = true, hook.no_timeline = true;
  fail_each();
}
