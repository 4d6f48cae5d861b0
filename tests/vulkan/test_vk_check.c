/* A driver that answers wrongly: to a plain kernel, and the device is refused; to one of an optional feature, and the
 * feature is not used. */
#include "vk_hooks.h"
#include "vk_hooked_runtime.h"
#include "validated.h"

#include "gpu/gpu_chain.h"
#include "gpu/gpu_check.h"
#include "gpu/ops/gpu_attention.h"

#include <string.h>

static const char *describe(hooked *h) {
  static char text[400];
  tern_device_info info = {.struct_size = sizeof info};
  OK(tern_runtime_device(h->runtime, 1, &info));
  snprintf(text, sizeof text, "%s", info.description);
  return text;
}

/* What the device says of itself, before anything is tried. */
static uint32_t features_said(void) {
  rig r;
  rig_open(&r, NULL, &hook_table);
  uint32_t features = r.device->info.features;
  rig_close(&r);
  return features;
}

Test(vk_check, a_right_driver) {
  hooked h;
  uint32_t expected = features_said() & tern__gpu_probed_features;
  /* float16 arithmetic is used with matrices, and not without */
  if (!(expected & TERN__GPU_HAS_COOPERATIVE_MATRIX)) expected &= ~(uint32_t)TERN__GPU_HAS_F16;
  hooked_open(&h);
  cr_expect_eq(h.warnings[0], 0, "%s", h.warnings);
  cr_expect_eq(h.runtime->devices[1].backend->info->features, expected);
  cr_expect_str_eq(describe(&h), h.device_name);
  hooked_close(&h);
}

static void check_without_subgroups(hooked *h, const char *why) {
  const tern__gpu_info *info = h->runtime->devices[1].backend->info;
  cr_expect_eq(info->features & TERN__GPU_HAS_SUBGROUPS, 0u);
  cr_expect(strstr(h->warnings, "subgroup operations are not used") && strstr(h->warnings, info->driver) &&
                strstr(h->warnings, h->device_name) && strstr(h->warnings, why),
            "%s", h->warnings);
  cr_expect(strstr(describe(h), "without subgroup operations"), "%s", describe(h));
}

Test(vk_check, wrong_subgroups) {
  hooked h;
  if (!(features_said() & TERN__GPU_HAS_SUBGROUPS)) cr_skip_test("the driver has no subgroups");
  hook.wrong_kernel = "linear_subgroup";
  hooked_open(&h);
  check_without_subgroups(&h, "kernel linear_subgroup1_f32 gave -12345 where");
  hooked_close(&h);
}

Test(vk_check, subgroups_that_do_not_compile) {
  hooked h;
  if (!(features_said() & TERN__GPU_HAS_SUBGROUPS)) cr_skip_test("the driver has no subgroups");
  hook.fail_kernel = "linear_subgroup";
  hooked_open(&h);
  check_without_subgroups(&h, "vkCreateComputePipelines");
  hooked_close(&h);
}

static bool runs_attention_step(void) {
  rig r;
  rig_open(&r, NULL, &hook_table);
  const tern__gpu_info *info = &r.device->info;
  bool runs = info->features & TERN__GPU_HAS_SUBGROUPS && info->features & TERN__GPU_HAS_COHERENT &&
              tern__gpu_attention_unit(info);
  rig_close(&r);
  return runs;
}

Test(vk_check, memory_that_is_not_coherent) {
  hooked h;
  if (!runs_attention_step()) cr_skip_test("the driver's subgroups are too small for the kernel that tries it");
  hook.wrong_kernel = "attention_step";
  hooked_open(&h);
  const tern__gpu_info *info = h.runtime->devices[1].backend->info;
  cr_expect_eq(info->features & TERN__GPU_HAS_COHERENT, 0u);
  cr_expect(strstr(h.warnings, "coherent buffers are not used: kernel attention_step_64 gave -12345 where"), "%s",
            h.warnings);
  cr_expect(strstr(describe(&h), "without coherent buffers"), "%s", describe(&h));
  hooked_close(&h);
}

/* ---- chains ---- */

static bool has_coherent(const hooked *h) {
  return h->runtime->devices[1].backend->info->features & TERN__GPU_HAS_COHERENT;
}

Test(vk_check, chains_that_work) {
  if (synchronization_is_validated()) cr_skip_test("skipped: runs as chains_check.*, without the validation layer");
  for (int card = 0; card < 2; card++) { /* with as many workgroups as for a card, too */
    hooked h;
    hook.card = card;
    hooked_open(&h);
    tern__backend *backend = h.runtime->devices[1].backend;
    if (has_coherent(&h)) {
      OK(tern__gpu_chain_check(backend));
      cr_expect(atomic_load(&backend->chains_checked) && !atomic_load(&backend->no_chains));
      cr_expect_eq(h.warnings[0], 0, "%s", h.warnings);
    }
    hooked_close(&h);
  }
}

static void check_no_chains(hooked *h, const char *why) {
  hooked_open(h);
  tern__backend *backend = h->runtime->devices[1].backend;
  if (has_coherent(h)) {
    OK(tern__gpu_chain_check(backend));
    cr_expect(atomic_load(&backend->no_chains));
    cr_expect(strstr(h->warnings, "kernels that wait for each other are not used") && strstr(h->warnings, why), "%s",
              h->warnings);
    h->warnings[0] = 0;
    OK(tern__gpu_chain_check(backend)); /* once is enough */
    cr_expect_eq(h->warnings[0], 0, "%s", h->warnings);
  }
  hooked_close(h);
}

Test(vk_check, chains_that_compute_wrongly) {
  hooked h;
  hook.wrong_kernel = "chain_check";
  check_no_chains(&h, "kernel chain_check gave 0 where 4 is right");
}

Test(vk_check, chains_that_do_not_compile) {
  hooked h;
  hook.fail_kernel = "chain_check";
  check_no_chains(&h, "vkCreateComputePipelines");
}

/* Lost or out of memory is what it is, and says nothing of chains. */
Test(vk_check, chains_on_a_device_that_is_lost) {
  static const struct { const char *call; VkResult result; tern_status status; } faults[] = {
      {"QueueSubmit", VK_ERROR_DEVICE_LOST, TERN_STATUS_DEVICE_LOST},
      {"CreateBuffer", VK_ERROR_OUT_OF_DEVICE_MEMORY, TERN_STATUS_OUT_OF_MEMORY}};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    hooked h;
    hooked_open(&h);
    tern__backend *backend = h.runtime->devices[1].backend;
    if (has_coherent(&h)) {
      hook.fail_name = faults[i].call, hook.fail_nth = 1, hook.result = faults[i].result;
      hook.failed = NULL, hook.named_calls = 0;
      cr_expect_eq(tern__gpu_chain_check(backend), faults[i].status, "%s", tern_last_error());
      cr_expect(strstr(tern_last_error(), faults[i].call), "%s", tern_last_error());
      cr_expect(!atomic_load(&backend->chains_checked) && !atomic_load(&backend->no_chains));
      hook.fail_name = NULL;
    }
    hooked_close(&h);
  }
}

static void check_refused(const char *kernel) {
  hooked h;
  hook.wrong_kernel = kernel;
  hooked_start(&h, NULL);
  cr_assert_eq(hooked_try_device(&h), TERN_STATUS_NO_DEVICE, "%s", tern_last_error());
  cr_expect(strstr(tern_last_error(), "computes wrong results") && strstr(tern_last_error(), kernel) &&
                strstr(tern_last_error(), "device 'cpu'"),
            "%s", tern_last_error());
  hooked_close(&h);
}

Test(vk_check, wrong_products) { check_refused("linear_direct"); }
/* As a graphics card, whose kernels are others. */
Test(vk_check, wrong_products_on_a_card) {
  hook.card = true;
  check_refused("linear_vec");
}

/* Out of memory or lost is what it is, no wrong result. */
Test(vk_check, faults_on_the_way) {
  static const struct { const char *call; VkResult result; tern_status status; } faults[] = {
      {"QueueSubmit", VK_ERROR_DEVICE_LOST, TERN_STATUS_DEVICE_LOST},
      {"CreateComputePipelines", VK_ERROR_OUT_OF_DEVICE_MEMORY, TERN_STATUS_OUT_OF_MEMORY},
      {"CreateBuffer", VK_ERROR_OUT_OF_DEVICE_MEMORY, TERN_STATUS_OUT_OF_MEMORY}};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
    for (uint32_t nth = 1; nth <= 2; nth++) {
      hooked h;
      hooked_start(&h, NULL);
      hook.fail_name = faults[i].call, hook.fail_nth = nth, hook.result = faults[i].result;
      hook.failed = NULL, hook.named_calls = 0;
      tern_status status = hooked_try_device(&h);
      cr_expect_eq(status, hook.failed ? faults[i].status : TERN_OK, "%s %u: %s", faults[i].call, nth,
                   tern_last_error());
      if (hook.failed) cr_expect(strstr(tern_last_error(), faults[i].call), "%s", tern_last_error());
      hooked_close(&h);
    }
}

/* A kernel that needs more than that would never be used. */
Test(vk_check, all_features_have_probes) {
  for (int k = 0; k < TERN__KERNEL_COUNT; k++)
    cr_expect_eq(tern__gpu_kernels[k].needs & ~tern__gpu_probed_features, 0u,
                 "kernel %s needs a feature that gpu_check.c has no probe for", tern__gpu_kernels[k].name);
}
