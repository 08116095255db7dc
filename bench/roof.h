// What this machine can do at most, measured: the ceilings that benchmarks are held against.
#pragma once
#include "runtime/base/err.h"

struct roof {
  double read_bytes_per_second; // of memory too large for any cache, read in order
  double flops;                 // fp32 multiply-adds from registers, each counted as two operations
};

// Measures on so many threads (0: one per processor), with the instructions that the CPU backend uses: the best of
// several tries, about half a second in all. Takes 256 MiB for the time being.
bool roof_measure(struct roof *r, int threads, struct err *e);
