/* Whether a device computes what it is asked to. */
#ifndef TERN_GPU_CHECK_H
#define TERN_GPU_CHECK_H

#include "gpu/gpu_program.h"

/* Features that a probe exists for. What a device says about others is not believed: a kernel that needs one of them
 * brings its probe along. */
extern const uint32_t tern__gpu_probed_features;

/* Runs a known product by a plain kernel, and by one of each feature that the device has. A wrong plain one is
 * NO_DEVICE; a wrong or failing one of a feature takes that feature from info->features, with a warning in the log. */
tern_status tern__gpu_check(tern__backend *backend);

#endif
