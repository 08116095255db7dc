#include "runtime/gpu/gpu.h"
#include <stdarg.h>
#include <stdio.h>
#ifdef PHI3_NVTX
#include <nvtx3/nvToolsExt.h> // headers alone: they find the listener by themselves, at run time
#else
#define nvtxRangePushA(text) ((void)(text))
#define nvtxRangePop() ((void)0)
#endif

void gpu_range_push(struct gpu *g, const char *fmt, ...) {
  char text[64];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  nvtxRangePushA(text);
  g->open_ranges++;
}

void gpu_range_pop(struct gpu *g) {
  nvtxRangePop();
  g->open_ranges--;
}

void gpu_range_pop_all(struct gpu *g) {
  while (g->open_ranges > 0) gpu_range_pop(g);
  g->layer_range = false;
}
