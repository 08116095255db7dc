// The T4 as the estimate sees it: every ceiling and latency that the model uses. The values and the source of each stand
// in t4_table.c, and nowhere else.
#ifndef VGPU_T4_TABLE_H
#define VGPU_T4_TABLE_H

#include "runtime/vgpu/decode.h"

enum t4_unit { T4_FP, T4_INT, T4_SFU, T4_DP, T4_TENSOR, T4_MEM, T4_NUM_UNITS };

// How long a class of instructions keeps its pipe (cycles of one scheduler's quarter of the SM) and takes to its result.
struct t4_timing {
  uint8_t unit;     // enum t4_unit
  uint16_t latency; // cycles in the pipe, operand fetch and write-back not included
  uint16_t interval; // cycles until the pipe takes the next one
};

struct t4_table {
  const char *name;
  // the chip
  unsigned num_sms, schedulers, max_warps, max_blocks, max_threads;
  unsigned registers, register_unit, warp_allocation, shared_unit, shared_max, l1_shared_total;
  double clock_mhz;
  // front end and register file
  unsigned collectors, banks, bank_reads;
  unsigned fetch_width; // instructions fetched per warp at once
  unsigned result_delay; // cycles from the last pipe stage to a dependent issue
  unsigned fp_lost, int_lost; // eighths of a cycle that bank conflicts cost an instruction of a full pipe, on average
  // shared memory and L1
  unsigned shared_latency, l1_latency, l1_sectors_per_cycle, l1_queue, l1_sets, l1_mshr;
  unsigned fill_regs_per_cycle; // registers of one scheduler that returning data can write a cycle
  unsigned fill_gap;       // quarter cycles lost after a reply that takes more than one
  // network and L2
  unsigned slices, l2_sets, l2_ways, l2_latency, l2_mshr, l2_to_dram_queue;
  unsigned dram_path_latency; // controller and crossing of clock domains
  // memory
  unsigned channels, dram_queue, dram_banks, dram_groups;
  double dram_mhz; // command clock
  unsigned burst, ccd_long, rrd, rcd, ras, rp, cl, wl, wtr, rtw;
  // ceilings for the limits
  double fma_per_clock_sm_tensor_f16;
  double launch_us;
};

const struct t4_table *t4_table_named(const char *name); // "t4", "t4_eff"; NULL: no such configuration
struct t4_timing t4_timing_of(enum vgpu_class cls);
struct t4_timing t4_timing_mma(unsigned m, unsigned n, unsigned k, unsigned bits, bool f32_accumulate);

#endif
