#include "runtime/gpu/gpu.h"
#include <stdarg.h>
#include <stdio.h>
#ifdef PHI3_NVTX
#include <nvtx3/nvToolsExt.h>

void gpu_range_push(const char *fmt, ...) {
  char text[64];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  nvtxRangePushA(text);
}

void gpu_range_pop(void) { nvtxRangePop(); }
#else
void gpu_range_push(const char *fmt, ...) { (void)fmt; }
void gpu_range_pop(void) {}
#endif
