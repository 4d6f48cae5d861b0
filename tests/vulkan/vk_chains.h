/* Synchronization validation (layer 1.3.239) finds what a shader stores to through one access chain, not
 * through a chain on a chain: modules are given to the layer with chains combined, else it would call every
 * kernel a reader. */
#ifndef TERN_TESTS_VK_CHAINS_H
#define TERN_TESTS_VK_CHAINS_H

#include "vulkan/vk_loader.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SPIRV_HEADER = 5, OP_ACCESS_CHAIN = 65 };

/* A copy of the module in which every access chain starts at a variable. *words is its size. */
static inline uint32_t *combine_chains(const uint32_t *code, size_t *words) {
  size_t n = *words, used = SPIRV_HEADER;
  const uint32_t **chain = calloc(code[3], sizeof *chain); /* by result id: the combined instruction */
  uint32_t *out = malloc(n * 4 * sizeof *out);             /* a chain grows by those below it */
  memcpy(out, code, SPIRV_HEADER * sizeof *out);
  for (size_t at = SPIRV_HEADER; at < n; at += code[at] >> 16) {
    uint32_t length = code[at] >> 16;
    uint32_t *to = out + used;
    memcpy(to, code + at, length * sizeof *to);
    if ((code[at] & 0xffff) == OP_ACCESS_CHAIN) { /* length, type, result, base, indices */
      const uint32_t *base = chain[code[at + 3]];
      if (base) {
        uint32_t below = (base[0] >> 16) - 4;
        memmove(to + 4 + below, to + 4, (length - 4) * sizeof *to);
        memcpy(to + 3, base + 3, (below + 1) * sizeof *to);
        length += below;
        to[0] = length << 16 | OP_ACCESS_CHAIN;
      }
      chain[to[2]] = to;
    }
    used += length;
  }
  free(chain);
  *words = used;
  return out;
}

/* The layer's, the same for every device; devices may be opened on several threads. */
static _Atomic(PFN_vkCreateShaderModule) chains_real;

static VKAPI_ATTR VkResult VKAPI_CALL chains_create(VkDevice device, const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkShaderModule *module) {
  VkShaderModuleCreateInfo combined = *info;
  size_t words = info->codeSize / 4;
  uint32_t *code = combine_chains(info->pCode, &words);
  combined.pCode = code, combined.codeSize = words * 4;
  VkResult result = atomic_load(&chains_real)(device, &combined, callbacks, module);
  free(code);
  return result;
}

static PFN_vkVoidFunction chains_wrap(void *user_data, const char *name, PFN_vkVoidFunction function) {
  (void)user_data;
  if (strcmp(name, "vkCreateShaderModule")) return function;
  atomic_store(&chains_real, (PFN_vkCreateShaderModule)function);
  return (PFN_vkVoidFunction)chains_create;
}

static const tern__vk_hooks chains_table = {NULL, chains_wrap};

#endif
