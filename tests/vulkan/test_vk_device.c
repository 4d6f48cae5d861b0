/* Opening a device, buffers, recorded work, tickets: what gpu_device.h promises, on a driver that needs no
 * GPU (with_driver.sh gives one). */
#include "vk_hooks.h"

#define N 1000

Test(vk_device, says_what_it_is) {
  rig r;
  rig_open(&r, NULL, NULL);
  const tern__gpu_info *info = r.api->info(r.device);
  cr_assert_gt(strlen(info->name), 0u);
  cr_assert_gt(strlen(info->driver), 0u);
  cr_assert_eq(info->software, strstr(info->name, "llvmpipe") || strstr(info->name, "SwiftShader"), "%s",
               info->name);
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
  float x[N], y[N];
  tern__gpu_buffer *in;
  rig_open(&r, NULL, NULL);
  for (int i = 0; i < N; i++) x[i] = (float)(i - N / 2) * 0.01f;
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, sizeof x, &in));
  OK(r.api->write(r.device, in, 0, x, sizeof x));
  rig_run_unary(&r, TERN__KERNEL_unary_exp, in, y, N);
  /* math_exp is good to 2 ulp. */
  for (int i = 0; i < N; i++)
    cr_assert_float_eq(y[i] / expf(x[i]), 1, 3e-7, "exp(%g) = %g", (double)x[i], (double)y[i]);
  r.api->buffer_destroy(r.device, in);
  rig_close(&r);
}

Test(vk_device, is_chosen_by_name_or_uuid) {
  rig r;
  char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE], uuid[40] = "";
  rig_open(&r, NULL, NULL);
  snprintf(name, sizeof name, "%s", r.device->info.name);
  for (int i = 0; i < 16; i++)
    snprintf(uuid + strlen(uuid), 4, "%s%02X", i == 4 || i == 6 ? "-" : "", r.device->info.uuid[i]);
  rig_close(&r);
  rig_open(&r, uuid, NULL);
  cr_assert_str_eq(r.device->info.name, name);
  rig_close(&r);
  name[8] = 0;
  for (int i = 0; name[i]; i++) name[i] ^= name[i] >= 'a' && name[i] <= 'z' ? 0x20 : 0;
  rig_open(&r, name, NULL);
  rig_close(&r);
  cr_assert_eq(rig_try_open(&r, "no such card", NULL), TERN_STATUS_NO_DEVICE);
  cr_assert(strstr(tern_last_error(), "no Vulkan device is called \"no such card\"; there are: \""), "%s",
            tern_last_error());
  cr_assert_eq(atomic_load(&r.alloc.live_bytes), 0u);
}

/* Two runtimes in one process, each with the device. */
Test(vk_device, opens_twice) {
  rig a, b;
  float x = -3, y;
  tern__gpu_buffer *in;
  rig_open(&a, NULL, NULL);
  rig_open(&b, NULL, NULL);
  OK(b.api->buffer_create(b.device, TERN__GPU_DEVICE, 4, &in));
  rig_close(&a); /* what the other one loaded goes on working */
  OK(b.api->write(b.device, in, 0, &x, 4));
  rig_run_unary(&b, TERN__KERNEL_unary_abs, in, &y, 1);
  cr_assert_eq(y, 3);
  b.api->buffer_destroy(b.device, in);
  rig_close(&b);
}

Test(vk_device, kernels_that_it_cannot_run_are_refused) {
  rig r;
  tern__gpu_pipeline *p;
  rig_open(&r, NULL, NULL);
  r.api->info(r.device)->max_invocations = 32;
  cr_assert_eq(r.api->pipeline(r.device, TERN__KERNEL_unary_exp, &p), TERN_STATUS_UNSUPPORTED);
  cr_assert(strstr(tern_last_error(), "unary_exp"), "%s", tern_last_error());
  cr_assert_null(p);
  r.api->info(r.device)->max_invocations = 64;
  OK(r.api->pipeline(r.device, TERN__KERNEL_unary_exp, &p));
  rig_close(&r);
}

Test(vk_device, pipeline_cache_comes_and_goes) {
  rig r;
  tern__gpu_pipeline *p;
  size_t size = 0, again;
  rig_open(&r, NULL, &hook_table);
  OK(r.api->pipeline(r.device, TERN__KERNEL_unary_exp, &p));
  OK(r.api->cache_read(r.device, NULL, &size));
  cr_assert_geq(size, sizeof(VkPipelineCacheHeaderVersionOne));
  uint8_t *data = malloc(size), *bad = malloc(size);
  again = size;
  OK(r.api->cache_read(r.device, data, &again));
  cr_assert_leq(again, size);
  size = sizeof(VkPipelineCacheHeaderVersionOne) - 10;
  cr_assert_eq(r.api->cache_read(r.device, bad, &size), TERN_STATUS_INVALID_ARGUMENT);
  rig_close(&r);
  rig_open(&r, NULL, &hook_table);
  OK(r.api->cache_load(r.device, data, again));
  OK(r.api->cache_load(r.device, NULL, 0));
  /* Cut anywhere, and with any byte damaged, it is ignored: the driver never sees it. */
  hook.fail_name = "CreatePipelineCache", hook.result = VK_ERROR_DEVICE_LOST;
  for (size_t cut = 0; cut < again; cut += 1 + cut / 64) OK(r.api->cache_load(r.device, data, cut));
  for (size_t i = 0; i < again; i += 1 + i / 64) {
    memcpy(bad, data, again);
    bad[i] ^= 0x55;
    OK(r.api->cache_load(r.device, bad, again));
  }
  cr_assert_null(hook.failed);
  hook.fail_name = NULL;
  OK(r.api->pipeline(r.device, TERN__KERNEL_unary_exp, &p));
  rig_close(&r);
  free(data), free(bad);
}
