// One streaming multiprocessor, replaying the traces of the blocks it is given.
#ifndef VGPU_T4_SM_H
#define VGPU_T4_SM_H

#include "runtime/vgpu/t4_code.h"
#include "runtime/vgpu/t4_mem.h"
#include "runtime/vgpu/t4_trace.h"

struct t4_sm_stats {
  uint64_t issued;                   // warp instructions
  uint64_t slots;                    // scheduler cycles with a resident warp
  uint64_t unit_busy[T4_NUM_UNITS];  // cycles a pipe was taken, all schedulers (MEM: the SM's one load/store unit)
  uint64_t shared_cycles, shared_extra; // of the load/store unit in shared accesses; those beyond one an access
  uint64_t resident_warps;           // sum over cycles
  uint64_t active_cycles;            // with a block resident
  uint64_t l1_accesses, l1_misses;   // sectors
};

struct t4_sm;
// num_slots registers a warp. NULL: no memory.
struct t4_sm *t4_sm_open(const struct t4_table *t, const struct t4_code *c, struct t4_mem *m, unsigned index,
                         unsigned l1_bytes);
void t4_sm_close(struct t4_sm *s);
// Gives it a block; the caller keeps to the occupancy.
void t4_sm_start_block(struct t4_sm *s, const struct t4_block_trace *b, uint64_t now);
unsigned t4_sm_blocks(const struct t4_sm *s); // resident
// One cycle; in and out as for t4_mem_step. Returns the next cycle in which it has something to do without news from memory.
uint64_t t4_sm_step(struct t4_sm *s, uint64_t now, struct t4_queue *out, struct t4_queue *in);
const struct t4_sm_stats *t4_sm_stats(const struct t4_sm *s); // NULL: memory ran out

// t4_l1.c: the L1 of one SM: tags only.
struct t4_l1;
struct t4_l1 *t4_l1_open(const struct t4_table *t, unsigned bytes); // NULL: no memory
void t4_l1_close(struct t4_l1 *c);
bool t4_l1_hit(struct t4_l1 *c, uint32_t sector);      // a load finds it
void t4_l1_fill(struct t4_l1 *c, uint32_t sector);     // data has come
void t4_l1_store(struct t4_l1 *c, uint32_t sector, uint32_t mask); // written through; whole sectors are kept

#endif
