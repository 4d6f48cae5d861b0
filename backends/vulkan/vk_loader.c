/* Opens the system's Vulkan loader and makes an instance. */
#include "vulkan/vk_loader.h"
#include "vulkan/vk_result.h"

#include <string.h>

#if defined(_WIN32)
#  include <windows.h>
static void *open_library(void) { return (void *)LoadLibraryA("vulkan-1.dll"); }
static void *find_symbol(void *library, const char *name) {
  return (void *)(uintptr_t)GetProcAddress((HMODULE)library, name);
}
static void close_library(void *library) { FreeLibrary((HMODULE)library); }
#else
#  include <dlfcn.h>
/* NODELETE: drivers leave threads and thread-local destructors behind, so what was loaded stays mapped. */
static void *open_library(void) {
#  if defined(__APPLE__)
  static const char *const names[] = {"libvulkan.dylib", "libvulkan.1.dylib", "libMoltenVK.dylib"};
#  elif defined(__ANDROID__)
  static const char *const names[] = {"libvulkan.so"};
#  else
  static const char *const names[] = {"libvulkan.so.1", "libvulkan.so"};
#  endif
  void *library = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++)
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  return library;
}
static void *find_symbol(void *library, const char *name) { return dlsym(library, name); }
static void close_library(void *library) { dlclose(library); }
#endif

static PFN_vkVoidFunction load(const tern__vk_instance *instance, VkInstance handle, const char *name) {
  PFN_vkVoidFunction function = instance->get_proc(handle, name);
  return function && instance->hooks.wrap ? instance->hooks.wrap(instance->hooks.user_data, name, function)
                                          : function;
}

typedef struct device_context {
  const tern__vk_instance *instance;
  VkDevice device;
} device_context;

static PFN_vkVoidFunction load_for_device(void *context, const char *name) {
  const device_context *c = context;
  PFN_vkVoidFunction function = c->instance->GetDeviceProcAddr(c->device, name);
  const tern__vk_hooks *hooks = &c->instance->hooks;
  return function && hooks->wrap ? hooks->wrap(hooks->user_data, name, function) : function;
}

void tern__vk_load_device_table(const tern__vk_instance *instance, VkDevice device,
                                struct VolkDeviceTable *table) {
  device_context context = {instance, device};
  tern__vk_volk_fill_table(table, &context, load_for_device);
}

static bool has_extension(const VkExtensionProperties *list, uint32_t count, const char *name) {
  for (uint32_t i = 0; i < count; i++)
    if (!strcmp(list[i].extensionName, name)) return true;
  return false;
}

static tern_status create(tern__vk_instance *instance, uint32_t version) {
  PFN_vkCreateInstance create_instance = (PFN_vkCreateInstance)load(instance, NULL, "vkCreateInstance");
  PFN_vkEnumerateInstanceExtensionProperties enumerate = (PFN_vkEnumerateInstanceExtensionProperties)load(
      instance, NULL, "vkEnumerateInstanceExtensionProperties");
  if (!create_instance || !enumerate)
    return tern__fail(TERN_STATUS_NO_DEVICE, "the Vulkan loader lacks functions");
  /* Drivers on top of another API (MoltenVK) are listed only for those who say that they know. */
  VkExtensionProperties list[64];
  uint32_t count = sizeof list / sizeof *list;
  VkResult result = enumerate(NULL, &count, list);
  if (result < 0) return tern__vk_status(result, "Vulkan", "vkEnumerateInstanceExtensionProperties");
  const char *extension = "VK_KHR_portability_enumeration";
  bool portability = has_extension(list, count, extension);
  VkApplicationInfo application = {VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                   NULL,
                                   "tern",
                                   0,
                                   "tern",
                                   0,
                                   version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3};
  VkInstanceCreateInfo info = {
      VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, NULL, 0, &application, 0, NULL, 0, NULL};
  if (portability) {
    info.flags = 0x00000001; /* VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR */
    info.enabledExtensionCount = 1, info.ppEnabledExtensionNames = &extension;
  }
  result = create_instance(&info, NULL, &instance->handle);
  if (result != VK_SUCCESS) instance->handle = NULL;
  return result == VK_SUCCESS ? TERN_OK : tern__vk_status(result, "Vulkan", "vkCreateInstance");
}

tern_status tern__vk_instance_open(const tern__vk_hooks *hooks, tern__vk_instance *out) {
  tern_status status = TERN_OK;
  memset(out, 0, sizeof *out);
  if (hooks) out->hooks = *hooks;
  out->library = open_library();
  if (!out->library)
    TERN_FAIL(TERN_STATUS_NO_DEVICE, "no Vulkan on this machine: its loader (libvulkan) is not installed");
  out->get_proc = (PFN_vkGetInstanceProcAddr)(uintptr_t)find_symbol(out->library, "vkGetInstanceProcAddr");
  if (!out->get_proc)
    TERN_FAIL(TERN_STATUS_NO_DEVICE, "libvulkan has no vkGetInstanceProcAddr: it is not a Vulkan loader");
  uint32_t version = VK_API_VERSION_1_0;
  PFN_vkEnumerateInstanceVersion get_version =
      (PFN_vkEnumerateInstanceVersion)load(out, NULL, "vkEnumerateInstanceVersion");
  if (!get_version || get_version(&version) != VK_SUCCESS || version < VK_API_VERSION_1_1)
    TERN_FAIL(TERN_STATUS_NO_DEVICE, "the Vulkan loader is version 1.0; tern needs 1.1");
  TERN_TRY(create(out, version));
#define X(name) out->name = (PFN_vk##name)load(out, out->handle, "vk" #name);
  TERN__VK_INSTANCE_FUNCTIONS(X)
#undef X
cleanup:
  if (status != TERN_OK) tern__vk_instance_close(out);
  return status;
}

void tern__vk_instance_close(tern__vk_instance *instance) {
  if (instance->handle && instance->DestroyInstance) instance->DestroyInstance(instance->handle, NULL);
  if (instance->library) close_library(instance->library);
  memset(instance, 0, sizeof *instance);
}
