/* SPIR-V of kernels, packed in generated/kernel_spirv.c (kernels/compiler/src/pack.rs says how). */
#ifndef TERN_VK_SPIRV_H
#define TERN_VK_SPIRV_H

#include "base/memory.h"
#include "gpu/gpu_kernel.h"

typedef struct tern__vk_packed_module {
  uint32_t at;       /* in the packed bytes */
  uint32_t coded;    /* bytes once unpacked */
  uint32_t words;    /* of SPIR-V */
  int32_t before;    /* the module of its family that it continues, -1 = none */
} tern__vk_packed_module;

extern const uint8_t tern__vk_packed_bytes[];
extern const size_t tern__vk_packed_size;
extern const tern__vk_packed_module tern__vk_packed_modules[TERN__KERNEL_COUNT];

/* The module in words; tern__free it. */
tern_status tern__vk_kernel_spirv(tern__alloc *alloc, tern__gpu_kernel_id id, uint32_t **words, size_t *n);

#endif
