/* Opening a device, buffers, recorded work, tickets: what gpu_device.h promises, on a driver that needs no
 * GPU (with_driver.sh gives one). */
#include "vk_rig.h"

#define N 1000

Test(vk_device, says_what_it_is) {
  rig r;
  rig_open(&r, NULL, NULL);
  const tern__gpu_info *info = r.api->info(r.device);
  cr_assert_gt(strlen(info->name), 0u);
  cr_assert_gt(strlen(info->driver), 0u);
  cr_assert(info->software, "%s", info->name);
  cr_assert_geq(info->max_binding_bytes, 1u << 27);
  cr_assert_leq(info->binding_alignment, 256u);
  cr_assert_geq(info->max_groups, 65535u);
  cr_assert_geq(info->max_invocations, 128u);
  cr_assert_geq(info->shared_bytes, 16384u);
  cr_assert(info->features & TERN__GPU_HAS_SUBGROUPS);
  printf("%s; %s; features %u, subgroups %u\n", info->name, info->driver, info->features, info->subgroup_max);
  rig_close(&r);
}

Test(vk_device, runs_a_kernel) {
  rig r;
  float x[N], *y;
  tern__gpu_buffer *in, *out, *back;
  tern__gpu_commands *c;
  uint64_t ticket;
  rig_open(&r, NULL, NULL);
  for (int i = 0; i < N; i++) x[i] = (float)(i - N / 2) * 0.01f;
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, sizeof x, &in));
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, sizeof x, &out));
  OK(r.api->buffer_create(r.device, TERN__GPU_READBACK, sizeof x, &back));
  OK(r.api->write(r.device, in, 0, x, sizeof x));
  OK(r.api->commands_create(r.device, &c));
  OK(rig_add_unary(&r, c, TERN__KERNEL_unary_exp, in, out, N));
  OK(r.api->barrier(c));
  tern__gpu_range from = {out, 0, sizeof x}, to = {back, 0, sizeof x};
  OK(r.api->copy(c, &from, &to));
  OK(r.api->commands_finish(c));
  OK(r.api->submit(r.device, c, &ticket));
  OK(r.api->wait(r.device, ticket, UINT64_MAX));
  OK(r.api->invalidate(r.device, &to));
  y = r.api->buffer_host(back);
  for (int i = 0; i < N; i++)
    cr_assert_float_eq(y[i] / expf(x[i]), 1, 1e-6, "exp(%g) = %g", (double)x[i], (double)y[i]);
  r.api->commands_destroy(c);
  r.api->buffer_destroy(r.device, in);
  r.api->buffer_destroy(r.device, out);
  r.api->buffer_destroy(r.device, back);
  rig_close(&r);
}
