/* Puts itself between tern and the Vulkan driver: hides features, plays a graphics card with memory of its
 * own, and makes the n-th call fail. State is static: one device at a time. */
#ifndef TERN_TESTS_VK_HOOKS_H
#define TERN_TESTS_VK_HOOKS_H

#include "vk_rig.h"

/* Every function that tern calls and that can fail. */
#define HOOKED(X)                                                                                            \
  X(EnumerateInstanceVersion, (uint32_t *a), (a))                                                            \
  X(EnumerateInstanceExtensionProperties, (const char *a, uint32_t *b, VkExtensionProperties *c), (a, b, c)) \
  X(CreateInstance, (const VkInstanceCreateInfo *a, const VkAllocationCallbacks *b, VkInstance *c),          \
    (a, b, c))                                                                                               \
  X(EnumeratePhysicalDevices, (VkInstance a, uint32_t *b, VkPhysicalDevice *c), (a, b, c))                   \
  X(EnumerateDeviceExtensionProperties,                                                                      \
    (VkPhysicalDevice a, const char *b, uint32_t *c, VkExtensionProperties *d), (a, b, c, d))                \
  X(CreateDevice,                                                                                            \
    (VkPhysicalDevice a, const VkDeviceCreateInfo *b, const VkAllocationCallbacks *c, VkDevice *d),          \
    (a, b, c, d))                                                                                            \
  X(CreateSemaphore,                                                                                         \
    (VkDevice a, const VkSemaphoreCreateInfo *b, const VkAllocationCallbacks *c, VkSemaphore *d),            \
    (a, b, c, d))                                                                                            \
  X(CreateFence, (VkDevice a, const VkFenceCreateInfo *b, const VkAllocationCallbacks *c, VkFence *d),       \
    (a, b, c, d))                                                                                            \
  X(CreateCommandPool,                                                                                       \
    (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c, VkCommandPool *d),        \
    (a, b, c, d))                                                                                            \
  X(AllocateCommandBuffers, (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c),          \
    (a, b, c))                                                                                               \
  X(BeginCommandBuffer, (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b))                      \
  X(EndCommandBuffer, (VkCommandBuffer a), (a))                                                              \
  X(CreateBuffer, (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d),    \
    (a, b, c, d))                                                                                            \
  X(AllocateMemory,                                                                                          \
    (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c, VkDeviceMemory *d),          \
    (a, b, c, d))                                                                                            \
  X(MapMemory, (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e, void **f), \
    (a, b, c, d, e, f))                                                                                      \
  X(BindBufferMemory, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d), (a, b, c, d))              \
  X(FlushMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c))              \
  X(InvalidateMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c))         \
  X(CreateDescriptorSetLayout,                                                                               \
    (VkDevice a, const VkDescriptorSetLayoutCreateInfo *b, const VkAllocationCallbacks *c,                   \
     VkDescriptorSetLayout *d),                                                                              \
    (a, b, c, d))                                                                                            \
  X(CreatePipelineLayout,                                                                                    \
    (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineLayout *d),  \
    (a, b, c, d))                                                                                            \
  X(CreatePipelineCache,                                                                                     \
    (VkDevice a, const VkPipelineCacheCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineCache *d),    \
    (a, b, c, d))                                                                                            \
  X(MergePipelineCaches, (VkDevice a, VkPipelineCache b, uint32_t c, const VkPipelineCache *d),              \
    (a, b, c, d))                                                                                            \
  X(GetPipelineCacheData, (VkDevice a, VkPipelineCache b, size_t *c, void *d), (a, b, c, d))                 \
  X(CreateShaderModule,                                                                                      \
    (VkDevice a, const VkShaderModuleCreateInfo *b, const VkAllocationCallbacks *c, VkShaderModule *d),      \
    (a, b, c, d))                                                                                            \
  X(CreateComputePipelines,                                                                                  \
    (VkDevice a, VkPipelineCache b, uint32_t c, const VkComputePipelineCreateInfo *d,                        \
     const VkAllocationCallbacks *e, VkPipeline *f),                                                         \
    (a, b, c, d, e, f))                                                                                      \
  X(CreateDescriptorPool,                                                                                    \
    (VkDevice a, const VkDescriptorPoolCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorPool *d),  \
    (a, b, c, d))                                                                                            \
  X(AllocateDescriptorSets, (VkDevice a, const VkDescriptorSetAllocateInfo *b, VkDescriptorSet *c),          \
    (a, b, c))                                                                                               \
  X(CreateQueryPool,                                                                                         \
    (VkDevice a, const VkQueryPoolCreateInfo *b, const VkAllocationCallbacks *c, VkQueryPool *d),            \
    (a, b, c, d))                                                                                            \
  X(GetQueryPoolResults,                                                                                     \
    (VkDevice a, VkQueryPool b, uint32_t c, uint32_t d, size_t e, void *f, VkDeviceSize g,                   \
     VkQueryResultFlags h),                                                                                  \
    (a, b, c, d, e, f, g, h))                                                                                \
  X(QueueSubmit, (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d), (a, b, c, d))                    \
  X(GetSemaphoreCounterValue, (VkDevice a, VkSemaphore b, uint64_t *c), (a, b, c))                           \
  X(WaitSemaphores, (VkDevice a, const VkSemaphoreWaitInfo *b, uint64_t c), (a, b, c))                       \
  X(WaitForFences, (VkDevice a, uint32_t b, const VkFence *c, VkBool32 d, uint64_t e), (a, b, c, d, e))      \
  X(GetFenceStatus, (VkDevice a, VkFence b), (a, b))                                                         \
  X(ResetFences, (VkDevice a, uint32_t b, const VkFence *c), (a, b, c))                                      \
  X(QueueWaitIdle, (VkQueue a), (a))                                                                         \
  X(DeviceWaitIdle, (VkDevice a), (a))

/* What the tests ask for, and what happened. */
static struct {
  bool no_timeline;           /* fences must do */
  const char *fail_kernel;    /* kernels of this entry point do not compile */
  bool no_push_descriptors;   /* sets must do */
  bool card;                  /* memory of its own, not visible to the host; the host's is not coherent */
  uint64_t card_bytes;        /* of the card; 0 = 1 GiB */
  uint32_t max_allocations;   /* 0 = the driver's */
  uint32_t fail_at;           /* this call fails, counted from 1; 0 = none */
  const char *fail_name;      /* or: calls of this function fail: */
  uint32_t fail_nth;          /* this one, counted from 1; 0 = each */
  bool from_then_on;          /* and all later ones */
  bool stays_lost;            /* after it, all calls fail the same way */
  VkResult result;            /* with this */
  _Atomic uint32_t calls;     /* so far */
  _Atomic uint32_t named_calls; /* of fail_name */
  const char *failed;         /* the function that failed */
  uint64_t card_used;
  const char *wrong_kernel;   /* dispatches of this entry point do nothing */
  VkPipeline wrong_pipelines[8];
} hook;

static _Thread_local bool hook_wrong_is_bound; /* threads record commands of their own */

#define X(name, params, args) static PFN_vk##name hook_real_##name;
HOOKED(X)
#undef X

static bool hook_fails(const char *name) {
  uint32_t call = atomic_fetch_add(&hook.calls, 1) + 1;
  bool now = call == hook.fail_at;
  if (hook.fail_name && !strcmp(hook.fail_name, name)) {
    uint32_t n = atomic_fetch_add(&hook.named_calls, 1) + 1;
    now |= n == hook.fail_nth || !hook.fail_nth || (hook.from_then_on && n > hook.fail_nth);
  }
  if (now && !hook.failed) hook.failed = name;
  return now || (hook.stays_lost && hook.failed);
}

/* ---- the card: type 0 is the device's, type 1 and 2 are the host's, 2 cached; all of them lie in the real
 * type 0 ---- */

enum { CARD_HEAP = 0, HOST_HEAP = 1 };

static PFN_vkGetPhysicalDeviceMemoryProperties2 hook_real_memory_properties;
static PFN_vkGetPhysicalDeviceProperties2 hook_real_properties;
static PFN_vkGetPhysicalDeviceFeatures2 hook_real_features;
static PFN_vkGetBufferMemoryRequirements hook_real_requirements;
static PFN_vkFreeMemory hook_real_free;
static struct {
  VkDeviceMemory memory;
  uint64_t size;
} hook_card_memory[64];

static VKAPI_ATTR void VKAPI_CALL hook_memory_properties(VkPhysicalDevice device,
                                                         VkPhysicalDeviceMemoryProperties2 *p) {
  hook_real_memory_properties(device, p);
  if (!hook.card) return;
  VkPhysicalDeviceMemoryProperties *m = &p->memoryProperties;
  m->memoryHeapCount = 2, m->memoryTypeCount = 3;
  m->memoryHeaps[CARD_HEAP] =
      (VkMemoryHeap){hook.card_bytes ? hook.card_bytes : 1u << 30, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  m->memoryHeaps[HOST_HEAP] = (VkMemoryHeap){1u << 30, 0};
  m->memoryTypes[0] = (VkMemoryType){VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, CARD_HEAP};
  m->memoryTypes[1] = (VkMemoryType){VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT, HOST_HEAP};
  m->memoryTypes[2] =
      (VkMemoryType){VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, HOST_HEAP};
}

static VKAPI_ATTR void VKAPI_CALL hook_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *p) {
  hook_real_properties(device, p);
  if (hook.card) {
    p->properties.deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    p->properties.limits.nonCoherentAtomSize = 256;
  }
  if (hook.max_allocations) p->properties.limits.maxMemoryAllocationCount = hook.max_allocations;
}

static VKAPI_ATTR void VKAPI_CALL hook_features(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *p) {
  hook_real_features(device, p);
  for (VkBaseOutStructure *s = p->pNext; s && hook.no_timeline; s = s->pNext)
    if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES)
      ((VkPhysicalDeviceTimelineSemaphoreFeatures *)s)->timelineSemaphore = VK_FALSE;
}

static VKAPI_ATTR void VKAPI_CALL hook_requirements(VkDevice device, VkBuffer buffer,
                                                    VkMemoryRequirements *needs) {
  hook_real_requirements(device, buffer, needs);
  if (hook.card) needs->memoryTypeBits = 7;
}

static VkResult hook_card_allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                   VkDeviceMemory *memory) {
  VkMemoryAllocateInfo real = *info;
  real.memoryTypeIndex = 0;
  if (info->memoryTypeIndex != 0) return hook_real_AllocateMemory(device, &real, NULL, memory);
  if (hook.card_used + info->allocationSize > (hook.card_bytes ? hook.card_bytes : 1u << 30))
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  VkResult result = hook_real_AllocateMemory(device, &real, NULL, memory);
  for (size_t i = 0; result == VK_SUCCESS && i < 64; i++)
    if (!hook_card_memory[i].memory) {
      hook_card_memory[i].memory = *memory, hook_card_memory[i].size = info->allocationSize;
      hook.card_used += info->allocationSize;
      break;
    }
  return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_free(VkDevice device, VkDeviceMemory memory,
                                            const VkAllocationCallbacks *callbacks) {
  for (size_t i = 0; memory && i < 64; i++)
    if (hook_card_memory[i].memory == memory)
      hook.card_used -= hook_card_memory[i].size, hook_card_memory[i].memory = VK_NULL_HANDLE;
  hook_real_free(device, memory, callbacks);
}

/* ---- failing ---- */

/* A lost device still ends its work before these return. */
static bool hook_waits(const char *name) { return hook.stays_lost && strstr(name, "WaitIdle"); }

#define X(name, params, args)                                    \
  static VKAPI_ATTR VkResult VKAPI_CALL hook_##name params {     \
    bool fails = hook_fails(#name);                              \
    if (fails && hook_waits(#name)) (void)hook_real_##name args; \
    return fails ? hook.result : hook_real_##name args;          \
  }
HOOKED(X)
#undef X

static VKAPI_ATTR VkResult VKAPI_CALL hook_allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkDeviceMemory *memory) {
  if (!hook.card) return hook_AllocateMemory(device, info, callbacks, memory);
  if (hook_fails("AllocateMemory")) return hook.result;
  return hook_card_allocate(device, info, memory);
}

/* ---- a driver that answers wrongly ---- */

static PFN_vkCmdBindPipeline hook_real_bind;
static PFN_vkCmdDispatch hook_real_dispatch;

static VKAPI_ATTR VkResult VKAPI_CALL hook_pipelines(VkDevice device, VkPipelineCache cache, uint32_t n,
                                                     const VkComputePipelineCreateInfo *info,
                                                     const VkAllocationCallbacks *callbacks, VkPipeline *out) {
  if (hook.fail_kernel && !strcmp(info->stage.pName, hook.fail_kernel)) return VK_ERROR_UNKNOWN;
  VkResult result = hook_CreateComputePipelines(device, cache, n, info, callbacks, out);
  if (result != VK_SUCCESS || !hook.wrong_kernel || strcmp(info->stage.pName, hook.wrong_kernel)) return result;
  for (size_t i = 0; i < 8; i++)
    if (!hook.wrong_pipelines[i]) {
      hook.wrong_pipelines[i] = *out;
      break;
    }
  return result;
}

static VKAPI_ATTR void VKAPI_CALL hook_bind(VkCommandBuffer commands, VkPipelineBindPoint point, VkPipeline pipeline) {
  hook_wrong_is_bound = false;
  for (size_t i = 0; i < 8; i++) hook_wrong_is_bound |= hook.wrong_kernel && hook.wrong_pipelines[i] == pipeline;
  hook_real_bind(commands, point, pipeline);
}

static VKAPI_ATTR void VKAPI_CALL hook_dispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
  if (!hook_wrong_is_bound) hook_real_dispatch(commands, x, y, z);
}

static VKAPI_ATTR VkResult VKAPI_CALL hook_extensions(VkPhysicalDevice physical, const char *layer, uint32_t *n,
                                                      VkExtensionProperties *list) {
  VkResult result = hook_EnumerateDeviceExtensionProperties(physical, layer, n, list);
  for (uint32_t i = 0; list && hook.no_push_descriptors && i < *n; i++)
    if (!strcmp(list[i].extensionName, "VK_KHR_push_descriptor")) list[i].extensionName[0] = '_';
  return result;
}

static PFN_vkVoidFunction hook_wrap(void *user_data, const char *name, PFN_vkVoidFunction function) {
  function = chains_wrap(user_data, name, function);
#define SPECIAL(vk_name, real, ours)       \
  if (!strcmp(name, vk_name)) {            \
    memcpy(&real, &function, sizeof real); \
    return (PFN_vkVoidFunction)ours;       \
  }
  SPECIAL("vkAllocateMemory", hook_real_AllocateMemory, hook_allocate)
  SPECIAL("vkEnumerateDeviceExtensionProperties", hook_real_EnumerateDeviceExtensionProperties, hook_extensions)
  SPECIAL("vkFreeMemory", hook_real_free, hook_free)
  SPECIAL("vkGetPhysicalDeviceMemoryProperties2", hook_real_memory_properties, hook_memory_properties)
  SPECIAL("vkGetPhysicalDeviceProperties2", hook_real_properties, hook_properties)
  SPECIAL("vkGetPhysicalDeviceFeatures2", hook_real_features, hook_features)
  SPECIAL("vkGetBufferMemoryRequirements", hook_real_requirements, hook_requirements)
  SPECIAL("vkCreateComputePipelines", hook_real_CreateComputePipelines, hook_pipelines)
  SPECIAL("vkCmdBindPipeline", hook_real_bind, hook_bind)
  SPECIAL("vkCmdDispatch", hook_real_dispatch, hook_dispatch)
#define X(hooked, params, args) SPECIAL("vk" #hooked, hook_real_##hooked, hook_##hooked)
  HOOKED(X)
#undef X
  return function;
}

static const tern__vk_hooks hook_table = {NULL, hook_wrap};

#endif
