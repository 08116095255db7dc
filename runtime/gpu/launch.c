#include "runtime/gpu/gpu.h"

static const char *const names[KERNEL_COUNT] = {
#define GPU_KERNEL_NAME(name) "phi3_" #name,
    GPU_KERNELS(GPU_KERNEL_NAME)
#undef GPU_KERNEL_NAME
};

const char *gpu_kernel_name(enum gpu_kernel k) { return names[k]; }

bool gpu_launch(struct gpu *g, enum gpu_kernel k, const unsigned grid[3], unsigned threads, unsigned shared, void *parameters, struct err *e) {
  if (g->recording == RECORD_REPLAY) return true; // the graph holds it
  void *arguments[] = {parameters};
  return cuda_check(&g->cuda, g->cuda.launch(g->kernels[k], grid[0], grid[1], grid[2], threads, 1, 1, shared, g->stream, arguments, NULL), names[k], e);
}
