/* Two different devices in one process, at once, on two threads (with_driver.sh both), and none at all. */
#include "vk_rig.h"

enum { N = 500 };

typedef struct user {
  rig r;
  const char *which;
  float y[N];
  tern__thread thread;
} user;

static void *use(void *arg) {
  user *u = arg;
  float x[N];
  tern__gpu_buffer *in;
  for (int i = 0; i < N; i++) x[i] = (float)(i - 100);
  rig_open(&u->r, u->which, NULL);
  for (int round = 0; round < 20; round++) {
    OK(u->r.api->buffer_create(u->r.device, TERN__GPU_DEVICE, sizeof x, &in));
    OK(u->r.api->write(u->r.device, in, 0, x, sizeof x));
    rig_run_unary(&u->r, TERN__KERNEL_unary_relu, in, u->y, N);
    u->r.api->buffer_destroy(u->r.device, in);
  }
  return NULL;
}

Test(both_devices, compute_the_same) {
  user users[2] = {{.which = "llvmpipe"}, {.which = "swiftshader"}};
  for (int i = 0; i < 2; i++) OK(tern__thread_start(&users[i].thread, use, &users[i]));
  for (int i = 0; i < 2; i++) tern__thread_join(&users[i].thread);
  cr_assert(strstr(users[0].r.device->info.name, "llvmpipe"));
  cr_assert(strstr(users[1].r.device->info.name, "SwiftShader"));
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < N; i++) cr_assert_eq(users[k].y[i], i < 100 ? 0.0f : (float)(i - 100));
  rig_close(&users[0].r);
  rig_close(&users[1].r);
}

Test(both_devices, are_listed_when_neither_is_meant) {
  rig r;
  cr_assert_eq(rig_try_open(&r, "GeForce", NULL), TERN_STATUS_NO_DEVICE);
  cr_assert(strstr(tern_last_error(), "llvmpipe") && strstr(tern_last_error(), "SwiftShader"), "%s",
            tern_last_error());
  cr_assert_eq(atomic_load(&r.alloc.live_bytes), 0u);
}

Test(both_devices, no_driver_is_no_device) {
  rig r;
  setenv("VK_ICD_FILENAMES", "/nonexistent.json", 1);
  setenv("VK_DRIVER_FILES", "/nonexistent.json", 1);
  cr_assert_eq(rig_try_open(&r, NULL, NULL), TERN_STATUS_NO_DEVICE);
  cr_assert(strlen(tern_last_error()) > 20);
  cr_assert_eq(atomic_load(&r.alloc.live_bytes), 0u);
}
