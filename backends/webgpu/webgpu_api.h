/* What backends/webgpu offers: the device interface of backends/gpu. */
#ifndef TERN_WEBGPU_API_H
#define TERN_WEBGPU_API_H

#include "gpu/gpu_device.h"

extern const tern__gpu_api tern__gpu_api_webgpu;

#endif
