// Every function of the list in cuda.h succeeds and does nothing, unless fake_cuda.c has it.
#include "runtime/gpu/cuda.h"

#define SUCCEED(name, symbol, parameters)                                \
  cu_result succeed_##name(void) __asm__(symbol) __attribute__((weak));  \
  cu_result succeed_##name(void) { return 0; }
CUDA_FUNCTIONS(SUCCEED)
