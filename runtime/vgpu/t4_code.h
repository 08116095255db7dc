// A kernel's instructions as the timing model needs them: pipe, latency, registers, basic blocks and the order in which a
// compiler's scheduler would issue each block.
#ifndef VGPU_T4_CODE_H
#define VGPU_T4_CODE_H

#include "runtime/vgpu/t4_table.h"

enum t4_kind {
  T4_SKIP,   // gone in machine code: costs nothing
  T4_ALU, T4_SHARED_LOAD, T4_SHARED_STORE, T4_GLOBAL_LOAD, T4_GLOBAL_STORE, T4_GLOBAL_ATOM,
  T4_CONST,  // loads of parameters and constants: the constant cache, taken as always hit
  T4_BARRIER, T4_FENCE, T4_CONTROL, T4_EXIT
};

struct t4_op {
  uint8_t unit, kind, num_dst, num_src;
  uint16_t latency, interval;
  uint32_t slots;       // first of num_dst + num_src slot numbers in t4_code.slots
  uint32_t block;       // its basic block
  uint16_t mem_ordinal; // which of its block's traced accesses it is
  bool traced;          // has an access record (memory of any space but const and param, and barriers)
};

struct t4_block {
  uint32_t first, num; // instructions, in PTX order
  uint32_t order;      // first of num instruction numbers in t4_code.order: the scheduled order
};

struct t4_code {
  struct t4_op *ops;
  uint32_t num_ops;
  uint16_t *slots;
  uint32_t num_slots;  // registers that a warp's scoreboard has
  uint32_t cap_list, num_list; // of slots[]
  struct t4_block *blocks;
  uint32_t num_blocks;
  uint32_t *order;
};

// The model's view of a decoded module for one kernel. false: no memory.
bool t4_code_build(struct t4_code *c, const struct vgpu_code *code, const struct vgpu_func *kernel);
// Puts each block's instructions in the order a list scheduler gives them (already called by t4_code_build).
bool t4_schedule(struct t4_code *c);
void t4_code_free(struct t4_code *c);

#endif
