/* Under the layer's synchronization validation (with_driver.sh --validate). It knows barriers alone and takes what kernels
 * wait for themselves (kernels/include/chain.wgsl) for hazards: tests under it do without chains, and vulkan_tests.cmake
 * runs what has chains without it, too. */
#ifndef TERN_TESTS_VALIDATED_H
#define TERN_TESTS_VALIDATED_H

#include <stdbool.h>
#include <stdlib.h>

static inline bool synchronization_is_validated(void) { return getenv("VK_LAYER_SETTINGS_PATH") != NULL; }

#endif
