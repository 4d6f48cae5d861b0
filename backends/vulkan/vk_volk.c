/* volk, compiled as part of tern from the system's source. Its globals are renamed (vk_volk_names.h) and
 * never written: only its list of device functions is used, with a table and a callback of ours. */
#include "vulkan/vk_loader.h"

#if defined(__GNUC__)
#  pragma GCC diagnostic ignored "-Wunused-parameter"
#endif
#include <volk.c>

void tern__vk_volk_fill_table(struct VolkDeviceTable *table, void *context,
                              PFN_vkVoidFunction (*load)(void *context, const char *name)) {
  volkGenLoadDeviceTable(table, context, load);
}
