/* What SPIRV-Cross reads from every SPIR-V module equals the host's table (backends/gpu/gpu_kernel.h):
 * bindings, which are read-only, parameter bytes, workgroup size. And every module translates to MSL and
 * GLSL ES 3.10, but for those whose `needs` that target or this SPIRV-Cross does not have. */
#include <criterion/criterion.h>
#include <spirv_cross/spirv_cross_c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/vk_spirv.h"

/* Why a module with these needs is not translated; by version 2021.01.15+1.3.239. */
static const struct { uint32_t needs; spvc_backend target; const char *reason; } excused[] = {
    {TERN__GPU_HAS_INT8_DOT, SPVC_BACKEND_MSL, "OpSDot is not known to SPIRV-Cross"},
    {TERN__GPU_HAS_INT8_DOT, SPVC_BACKEND_GLSL, "OpSDot is not known to SPIRV-Cross"},
    {TERN__GPU_HAS_COOPERATIVE_MATRIX, SPVC_BACKEND_MSL, "SPV_KHR_cooperative_matrix does not parse"},
    {TERN__GPU_HAS_COOPERATIVE_MATRIX, SPVC_BACKEND_GLSL, "SPV_KHR_cooperative_matrix does not parse"},
    {TERN__GPU_HAS_SUBGROUPS, SPVC_BACKEND_GLSL, "GLSL ES 3.10 has no subgroup operations"},
};

static const char *excuse(const tern__gpu_kernel *kernel, spvc_backend target) {
  for (size_t i = 0; i < sizeof excused / sizeof *excused; i++)
    if ((kernel->needs & excused[i].needs) && (target == excused[i].target || target == SPVC_BACKEND_NONE))
      return excused[i].reason;
  return NULL;
}

/* The packed module, which must be what the compiler wrote beside it. Freed at the next call. */
static const uint32_t *spirv_of(tern__gpu_kernel_id id, size_t *n) {
  static tern__alloc alloc;
  static uint32_t *words;
  char path[512];
  if (words) tern__free(&alloc, words);
  else tern__alloc_init(&alloc, NULL, 0);
  cr_assert_eq(tern__vk_kernel_spirv(&alloc, id, &words, n), TERN_OK, "%s", tern_last_error());
  snprintf(path, sizeof path, "%s/backends/kernels/generated/spirv/%s.spv", TERN_SOURCE_DIR, tern__gpu_kernels[id].name);
  FILE *f = fopen(path, "rb");
  uint32_t *file = malloc((*n + 1) * sizeof *file);
  cr_assert(f && fread(file, sizeof *file, *n + 1, f) == *n && !memcmp(file, words, *n * sizeof *file),
            "%s: the packed module is not the file's", tern__gpu_kernels[id].name);
  fclose(f), free(file);
  return words;
}

static spvc_compiler open_module(spvc_context context, tern__gpu_kernel_id id, spvc_backend target) {
  size_t n;
  const uint32_t *words = spirv_of(id, &n);
  spvc_parsed_ir ir = NULL;
  spvc_compiler compiler = NULL;
  cr_assert(n > 5 && words[0] == 0x07230203, "%s: no SPIR-V", tern__gpu_kernels[id].name);
  cr_assert_eq(spvc_context_parse_spirv(context, words, n, &ir), SPVC_SUCCESS, "%s: %s",
               tern__gpu_kernels[id].name, spvc_context_get_last_error_string(context));
  cr_assert_eq(spvc_context_create_compiler(context, target, ir, SPVC_CAPTURE_MODE_TAKE_OWNERSHIP, &compiler),
               SPVC_SUCCESS);
  return compiler;
}

static size_t resources(spvc_resources all, spvc_resource_type type, const spvc_reflected_resource **list) {
  size_t n = 0;
  cr_assert_eq(spvc_resources_get_resource_list_for_type(all, type, list, &n), SPVC_SUCCESS);
  return n;
}

static void check_bindings(const tern__gpu_kernel *kernel, spvc_compiler compiler, spvc_resources all) {
  const spvc_reflected_resource *list;
  uint32_t seen = 0;
  size_t n = resources(all, SPVC_RESOURCE_TYPE_STORAGE_BUFFER, &list);
  cr_expect_eq(n, kernel->n_bindings, "%s: %zu buffers, the table says %d", kernel->name, n,
               kernel->n_bindings);
  for (size_t i = 0; i < n; i++) {
    unsigned set = spvc_compiler_get_decoration(compiler, list[i].id, SpvDecorationDescriptorSet);
    unsigned binding = spvc_compiler_get_decoration(compiler, list[i].id, SpvDecorationBinding);
    const SpvDecoration *decorations;
    size_t n_decorations;
    bool writable = true;
    cr_assert_eq(
        spvc_compiler_get_buffer_block_decorations(compiler, list[i].id, &decorations, &n_decorations),
        SPVC_SUCCESS);
    for (size_t d = 0; d < n_decorations; d++)
      writable = writable && decorations[d] != SpvDecorationNonWritable;
    writable = writable && !spvc_compiler_has_decoration(compiler, list[i].id, SpvDecorationNonWritable);
    cr_expect(set == 0 && binding < kernel->n_bindings && !(seen >> binding & 1), "%s: set %u, binding %u",
              kernel->name, set, binding);
    seen |= 1u << binding;
    cr_expect_eq(writable, kernel->writable >> binding & 1, "%s: binding %u is writable: %d", kernel->name,
                 binding, writable);
  }
  cr_expect_eq(kernel->writes & ~kernel->writable, 0, "%s: stores to a read-only binding", kernel->name);
  cr_expect_eq(resources(all, SPVC_RESOURCE_TYPE_UNIFORM_BUFFER, &list), 0, "%s: a uniform buffer",
               kernel->name);
}

static void check_parameters(const tern__gpu_kernel *kernel, spvc_compiler compiler, spvc_resources all) {
  const spvc_reflected_resource *list;
  size_t n = resources(all, SPVC_RESOURCE_TYPE_PUSH_CONSTANT, &list), bytes = 0;
  if (n)
    cr_assert_eq(spvc_compiler_get_declared_struct_size(
                     compiler, spvc_compiler_get_type_handle(compiler, list[0].base_type_id), &bytes),
                 SPVC_SUCCESS);
  /* SPIRV-Cross counts to the last member's end; the table also what pads the struct to its alignment. */
  cr_expect(n <= 1 && bytes <= kernel->immediate_bytes && kernel->immediate_bytes < bytes + 16 &&
                kernel->immediate_bytes <= 64 && (n == 1) == (kernel->immediate_bytes > 0),
            "%s: %zu bytes of parameters, the table says %d", kernel->name, bytes, kernel->immediate_bytes);
}

Test(kernel_reflection, equals_the_host_table) {
  cr_assert(TERN__KERNEL_COUNT > 30);
  for (int id = 0; id < TERN__KERNEL_COUNT; id++) {
    const tern__gpu_kernel *kernel = &tern__gpu_kernels[id];
    spvc_context context;
    spvc_resources all;
    if (kernel->needs & TERN__GPU_HAS_COOPERATIVE_MATRIX) continue; /* does not parse: `excused` */
    cr_assert_eq(spvc_context_create(&context), SPVC_SUCCESS);
    spvc_compiler compiler = open_module(context, (tern__gpu_kernel_id)id, SPVC_BACKEND_NONE);
    cr_assert_eq(spvc_compiler_create_shader_resources(compiler, &all), SPVC_SUCCESS);
    check_bindings(kernel, compiler, all);
    check_parameters(kernel, compiler, all);
    for (unsigned d = 0; d < 3; d++)
      cr_expect_eq(spvc_compiler_get_execution_mode_argument_by_index(compiler, SpvExecutionModeLocalSize, d),
                   kernel->workgroup[d], "%s: workgroup size %u", kernel->name, d);
    spvc_context_destroy(context);
  }
}

/* Contractions: what a kernel rounds twice, no driver may round once. */
Test(kernel_reflection, float_arithmetic_is_not_contracted) {
  size_t decorated = 0;
  for (int id = 0; id < TERN__KERNEL_COUNT; id++) {
    size_t n;
    const uint32_t *words = spirv_of((tern__gpu_kernel_id)id, &n);
    uint8_t marked[65536 / 8] = {0};
    cr_assert_lt(words[3], 65536);
    for (size_t i = 5; i < n; i += words[i] >> 16) {
      cr_assert(words[i] >> 16, "%s: malformed", tern__gpu_kernels[id].name);
      uint32_t op = words[i] & 0xffff;
      if (op == SpvOpDecorate && words[i + 2] == SpvDecorationNoContraction)
        marked[words[i + 1] / 8] |= (uint8_t)(1 << words[i + 1] % 8), decorated++;
      if (op == SpvOpFAdd || op == SpvOpFSub || op == SpvOpFMul)
        cr_expect(marked[words[i + 2] / 8] >> words[i + 2] % 8 & 1, "%s: id %u may be contracted",
                  tern__gpu_kernels[id].name, words[i + 2]);
    }
  }
  cr_expect_gt(decorated, 100);
}

static void translate(int id, spvc_backend target) {
  const tern__gpu_kernel *kernel = &tern__gpu_kernels[id];
  spvc_context context;
  spvc_compiler_options options;
  const char *source = NULL;
  if (excuse(kernel, target)) return;
  cr_assert_eq(spvc_context_create(&context), SPVC_SUCCESS);
  spvc_compiler compiler = open_module(context, (tern__gpu_kernel_id)id, target);
  cr_assert_eq(spvc_compiler_create_compiler_options(compiler, &options), SPVC_SUCCESS);
  if (target == SPVC_BACKEND_GLSL) {
    spvc_compiler_options_set_uint(options, SPVC_COMPILER_OPTION_GLSL_VERSION, 310);
    spvc_compiler_options_set_bool(options, SPVC_COMPILER_OPTION_GLSL_ES, SPVC_TRUE);
  } else
    spvc_compiler_options_set_uint(options, SPVC_COMPILER_OPTION_MSL_VERSION, SPVC_MAKE_MSL_VERSION(2, 3, 0));
  cr_assert_eq(spvc_compiler_install_compiler_options(compiler, options), SPVC_SUCCESS);
  spvc_result result = spvc_compiler_compile(compiler, &source);
  cr_expect(result == SPVC_SUCCESS && source && strlen(source) > 100, "%s to %s: %s", kernel->name,
            target == SPVC_BACKEND_GLSL ? "GLSL ES 3.10" : "MSL",
            spvc_context_get_last_error_string(context));
  spvc_context_destroy(context);
}

Test(kernel_reflection, translates_to_msl_and_glsl_es) {
  for (int id = 0; id < TERN__KERNEL_COUNT; id++) {
    translate(id, SPVC_BACKEND_MSL);
    translate(id, SPVC_BACKEND_GLSL);
  }
}
