// What each kernel of the list in kernels.h must move and compute at the least, from its parameters: tests and benchmarks judge it by that.
#pragma once
#include "runtime/gpu/gpu.h"

struct gpu_cost {
  double bytes;      // of DRAM: each input once, each output once
  double operations; // multiplications and additions, padding left out
};

// What attention's parameters do not tell: the keys that some row sees (of all sequences) and the pairs of a row and a key that it sees.
struct gpu_extent {
  int64_t keys, pairs;
};

struct gpu_kernel_info {
  const char *name;       // the entry point
  const char *parameters; // struct of kernels.h
  size_t parameter_bytes;
  int32_t threads, registers; // of a block, of a thread: at most
  struct gpu_cost (*cost)(const void *parameters, struct gpu_extent x);
};

extern const struct gpu_kernel_info gpu_registry[KERNEL_COUNT];
