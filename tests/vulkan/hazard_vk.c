/* Does what it must not, so that the validation layer has something to find: shows that a silent layer means something.
 *   hazard_vk read    a kernel reads what another writes, without a barrier
 *   hazard_vk leak    a buffer outlives its device */
#define TERN_CRITERION_NO_MAIN
#include "vk_rig.h"

static int fail(const char *what) {
  printf("%s: %s\n", what, tern_last_error());
  return 2;
}

int main(int argc, char **argv) {
  rig r;
  tern__gpu_buffer *x, *y, *z;
  tern__gpu_commands *c;
  uint64_t ticket;
  if (argc != 2) return 2;
  if (rig_try_open(&r, NULL, NULL)) return fail("open");
  if (r.api->buffer_create(r.device, TERN__GPU_DEVICE, 4096, &x) ||
      r.api->buffer_create(r.device, TERN__GPU_DEVICE, 4096, &y) ||
      r.api->buffer_create(r.device, TERN__GPU_DEVICE, 4096, &z))
    return fail("buffers");
  if (!strcmp(argv[1], "read")) {
    if (r.api->commands_create(r.device, &c) || rig_add_unary(&r, c, TERN__KERNEL_unary_neg, x, y, 1024) ||
        rig_add_unary(&r, c, TERN__KERNEL_unary_neg, y, z, 1024) || r.api->commands_finish(c) ||
        r.api->submit(r.device, c, &ticket) || r.api->wait(r.device, ticket, UINT64_MAX))
      return fail("run");
    r.api->commands_destroy(c);
    r.api->buffer_destroy(r.device, z);
  }
  r.api->buffer_destroy(r.device, x);
  r.api->buffer_destroy(r.device, y);
  r.api->close(r.device);
  return 0;
}
