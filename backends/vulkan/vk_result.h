/* From VkResult to a tern_status with a sentence. */
#ifndef TERN_VK_RESULT_H
#define TERN_VK_RESULT_H

#include "vulkan/vk_loader.h"

const char *tern__vk_result_name(VkResult result);
/* "NAME: CALL failed: what it means (VK_ERROR_...); what to try". `call` says which call, and of which size.
 */
tern_status tern__vk_status(VkResult result, const char *device_name, const char *call, ...)
    TERN_PRINTF(3, 4);

#endif
