// The list of layouts.h as NVIDIA's cuda.h says, where this machine has one of CUDA 13 (older ones lack some of the types).
#ifdef VG_USE_CUDA_H
#define __CUDA_API_VERSION_INTERNAL 1
#include <cuda.h>
#endif
#include <stddef.h>

struct layout;
const struct layout *vgpu_layouts_of_cuda_h(void);

#if defined VG_USE_CUDA_H && CUDA_VERSION >= 13000
#include "tests/vgpu/layouts.h"
const struct layout *vgpu_layouts_of_cuda_h(void) { return layouts; }
#else
const struct layout *vgpu_layouts_of_cuda_h(void) { return NULL; }
#endif
