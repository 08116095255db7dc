// The T4 estimate of one launch: a cycle-approximate replay of its trace, and the times that each ceiling alone would allow.
// An estimate, never a measurement.
#ifndef VGPU_T4_H
#define VGPU_T4_H

#include "runtime/vgpu/t4_code.h"
#include "runtime/vgpu/t4_trace.h"

enum t4_limit {
  T4_LIMIT_DRAM, T4_LIMIT_L2, T4_LIMIT_SHARED, T4_LIMIT_LSU, T4_LIMIT_ISSUE, T4_LIMIT_FP32, T4_LIMIT_INT, T4_LIMIT_SFU,
  T4_LIMIT_FP64, T4_LIMIT_TENSOR, T4_LIMIT_ATOMIC, T4_LIMIT_LATENCY, T4_NUM_LIMITS
};
extern const char *const t4_limit_name[T4_NUM_LIMITS];

// How many blocks of a kernel an SM takes, and what forbids one more.
struct t4_occupancy {
  unsigned blocks, warps;
  const char *limited_by; // "threads", "blocks", "registers", "shared memory"
};
// shared: static and dynamic bytes. blocks 0: the launch cannot run.
struct t4_occupancy t4_occupancy_of(const struct t4_table *t, unsigned threads, unsigned registers, unsigned shared);

struct t4_launch {
  const struct t4_code *code;
  const struct t4_trace *trace;  // blocks from 0 on without a gap are replayed
  unsigned threads, registers, shared; // of a block; per thread; bytes
  double lanes;                  // mean share of lanes that execute; 0: not known
};

struct t4_estimate {
  struct t4_occupancy occupancy;
  uint64_t blocks, replayed;      // of the grid; of those in the trace
  double waves;
  double cycles, us;              // of the whole grid
  double limit_us[T4_NUM_LIMITS]; // LATENCY: the estimate, when it names the bound, else 0
  enum t4_limit bound;
  double share;                   // of the estimate that the bound's limit makes up
  enum t4_limit close;            // another limit nearly as large; the bound itself: none
  double dram_read, dram_write;   // bytes
  double l2_accesses, l2_misses;  // sectors
  double l1_accesses, l1_misses;
  double launch_us;               // to be added by who wants it
  double warps_resident;          // mean over the SMs' active cycles
};

// false: no memory, or nothing in the trace.
bool t4_estimate_launch(const struct t4_table *t, const struct t4_launch *l, struct t4_estimate *e);

#endif
