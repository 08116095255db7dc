// What a launch did, block by block and warp by warp, as small as the timing model can live with.
#ifndef VGPU_T4_TRACE_H
#define VGPU_T4_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A straight run of instructions, all with the same active lanes.
struct t4_visit {
  uint32_t pc;     // the first
  uint32_t num;    // PTX instructions
  uint32_t access; // its first access record
};

// One traced instruction: memory or barrier.
struct t4_access {
  uint32_t run;     // global, local: first of num_runs
  uint16_t num_runs;
  uint16_t cost;    // shared: wavefronts; 0: no lane took part. Barrier: threads awaited (0: all)
  uint8_t barrier;  // its number
  uint8_t space;    // enum vgpu_space as it turned out (generic accesses)
  uint8_t waits;    // barrier: sync, not arrive
};

// Neighbouring sectors of 32 bytes.
struct t4_run {
  uint32_t sector; // address / 32, modulo 2^32
  uint16_t count;
  uint16_t repeat; // times each is requested (atomics on the same bytes)
  uint32_t mask;   // stores: bytes written of each; all ones: whole
};

struct t4_warp_trace {
  struct t4_visit *visits;
  struct t4_access *accesses;
  struct t4_run *runs;
  uint32_t num_visits, num_accesses, num_runs;
  uint32_t cap_visits, cap_accesses, cap_runs;
  uint64_t instructions;
};

struct t4_block_trace {
  uint32_t num_warps;
  struct t4_warp_trace *warps;
};

struct t4_trace {
  struct t4_block_trace *blocks; // from 0 on, up to the first whose warps are NULL (not traced) or num_traced
  uint64_t num_traced;           // length of blocks
  uint64_t num_blocks;           // of the grid
};

// Appending; false: no memory (the trace is then good for nothing and is freed by its owner).
bool t4_trace_visit(struct t4_warp_trace *w, uint32_t pc, bool new_run);
struct t4_access *t4_trace_access(struct t4_warp_trace *w);
bool t4_trace_sector(struct t4_warp_trace *w, struct t4_access *a, uint64_t sector, uint32_t mask, unsigned repeat);
size_t t4_trace_bytes(const struct t4_block_trace *b);
uint64_t t4_trace_instructions(const struct t4_block_trace *b);
void t4_block_trace_free(struct t4_block_trace *b);

#endif
