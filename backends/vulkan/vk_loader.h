/* The Vulkan loader, found at run time, and the functions of one instance. The only file that sees volk.h.
 *
 * volk keeps the functions of the last instance in globals; tern may be in a process twice and open several
 * devices at once, so those globals are never written: every device has its own tables, filled through one
 * callback. Whoever gives `hooks` sees each function on its way into a table and may put another in its place
 * (tests do). */
#ifndef TERN_VK_LOADER_H
#define TERN_VK_LOADER_H

#include "base/status.h"

#include <stdbool.h>

#define VK_NO_PROTOTYPES
/* Made by CMake: volk's globals get our prefix, so that they collide with nobody's. */
#include <vk_volk_names.h>
#include <volk.h>

typedef struct tern__vk_hooks {
  void *user_data;
  /* What to call for `name` instead of `function`. */
  PFN_vkVoidFunction (*wrap)(void *user_data, const char *name, PFN_vkVoidFunction function);
} tern__vk_hooks;

/* VK_KHR_cooperative_matrix is younger than the oldest headers that tern builds with. */
#ifndef VK_KHR_cooperative_matrix
#  define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#  define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#  define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
typedef enum VkScopeKHR { VK_SCOPE_SUBGROUP_KHR = 3 } VkScopeKHR;
typedef enum VkComponentTypeKHR {
  VK_COMPONENT_TYPE_FLOAT16_KHR = 0,
  VK_COMPONENT_TYPE_FLOAT32_KHR = 1
} VkComponentTypeKHR;
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
  VkStructureType sType;
  void *pNext;
  VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
  VkStructureType sType;
  void *pNext;
  uint32_t MSize, NSize, KSize;
  VkComponentTypeKHR AType, BType, CType, ResultType;
  VkBool32 saturatingAccumulation;
  VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice, uint32_t *, VkCooperativeMatrixPropertiesKHR *);
#endif

#define TERN__VK_INSTANCE_FUNCTIONS(X)      \
  X(DestroyInstance)                        \
  X(EnumeratePhysicalDevices)               \
  X(EnumerateDeviceExtensionProperties)     \
  X(GetPhysicalDeviceProperties2)           \
  X(GetPhysicalDeviceFeatures2)             \
  X(GetPhysicalDeviceQueueFamilyProperties) \
  X(GetPhysicalDeviceMemoryProperties2)     \
  X(CreateDevice)                           \
  X(GetDeviceProcAddr)                      \
  X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR) /* NULL where no driver has it */

typedef struct tern__vk_instance {
  void *library;
  VkInstance handle;
  tern__vk_hooks hooks;
  PFN_vkGetInstanceProcAddr get_proc;
#define X(name) PFN_vk##name name;
  TERN__VK_INSTANCE_FUNCTIONS(X)
#undef X
} tern__vk_instance;

/* NO_DEVICE without a loader, a driver, or Vulkan 1.1. `hooks` may be NULL. */
tern_status tern__vk_instance_open(const tern__vk_hooks *hooks, tern__vk_instance *out);
void tern__vk_instance_close(tern__vk_instance *instance);
/* Fills `table` with the functions of `device`. */
void tern__vk_load_device_table(const tern__vk_instance *instance, VkDevice device,
                                struct VolkDeviceTable *table);

/* vk_volk.c: volk's list of device functions, each asked of `load`. */
void tern__vk_volk_fill_table(struct VolkDeviceTable *table, void *context,
                              PFN_vkVoidFunction (*load)(void *context, const char *name));

#endif
