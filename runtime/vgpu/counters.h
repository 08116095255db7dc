// What a profiler would count, and how the interpreter tells it.
//
// The interpreter knows one small interface: an observer that it calls for every issued warp instruction. A NULL
// observer costs one predictable branch. Everything behind the observer (counters, traces, the T4 model) is on this side.
//
// Contract with the interpreter
//   - `block_begin` is called before the first instruction of a block, `block_end` after its last. One block is run by
//     one thread at a time; different blocks may be run by different threads at once.
//   - `issue` is called once per issued warp instruction, in the warp's own program order, before or after its effect.
//     `pc` is the number of the instruction in its module's one flat array of decoded instructions (functions included).
//     `active` holds the lanes that are on this path, `mask` those of them whose guard lets the instruction execute
//     (so mask is a subset of active; a fully predicated-off instruction is still issued with mask 0).
//     For a taken or untaken branch mask holds the lanes that take it.
//   - `addr` is NULL except for instructions that touch memory (ld, st, atom, red, ldmatrix, prefetch): then 32 generic or
//     window addresses as the state space has them (global: device address; shared: byte offset in the block's shared
//     window; local: offset in the thread's local memory; const and param: anything). Lanes outside `mask` are ignored.
//     For a generic instruction `space` tells where lane addresses fell after translation; addresses are then as for
//     that space. For bar/barrier addr[0] is the barrier's number and addr[1] the count of threads (0: all).
#ifndef VGPU_COUNTERS_H
#define VGPU_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vgpu_space { VGPU_SPACE_NONE, VGPU_SPACE_GLOBAL, VGPU_SPACE_SHARED, VGPU_SPACE_LOCAL, VGPU_SPACE_CONST,
                  VGPU_SPACE_PARAM };

struct vgpu_observer {
  void *ctx;
  void *(*block_begin)(void *ctx, unsigned worker, uint64_t block, unsigned num_warps); // the handle for the other two
  void (*issue)(void *block, unsigned warp, uint32_t pc, uint32_t active, uint32_t mask, enum vgpu_space space,
                const uint64_t *addr);
  void (*block_end)(void *block);
};

// Counts of one launch, exact for the blocks that ran.
enum { VGPU_NUM_CLASSES = 40 };

struct vgpu_counts {
  uint64_t blocks, warps;
  uint64_t warp_instructions;           // PTX instructions issued by warps, predicated-off ones too; without cvta (VGPU_INS_FREE)
  uint64_t lane_instructions;           // sum of executing lanes
  uint64_t by_class[VGPU_NUM_CLASSES];  // warp instructions by enum vgpu_class
  uint64_t global_requests[2];          // loads, stores (atomics apart) with a lane that takes part
  uint64_t global_sectors[2];           // 32-byte sectors they touch
  uint64_t global_ideal[2];             // sectors had the lanes' bytes lain side by side (never above global_sectors)
  uint64_t local_requests[2], local_sectors[2]; // spills and local arrays
  uint64_t shared_requests[2];          // loads (ldmatrix too), stores
  uint64_t shared_wavefronts[2], shared_ideal[2];
  uint64_t atomic_requests, atomic_transactions, atomic_lanes; // global atomics; 32-byte transactions; lanes
  uint64_t shared_atomics;
  uint64_t tensor_fma;                  // multiply-adds done by mma
  uint64_t sfu_lanes;                   // special-function results
  uint64_t branches, divergent_branches;
  uint64_t barriers;                    // warps that reached one
};

struct vgpu_code;
struct vgpu_func;
struct t4_trace;
struct t4_code;
struct vgpu_counters;

// What the T4 model is to replay of a launch: the blocks with the lowest numbers, as many as this allows. Where there are enough, whole
// waves are left out, so that the sample ends with a partial wave as the grid does.
struct vgpu_sample {
  size_t bytes;          // of the trace
  uint64_t instructions; // of warps
  uint64_t blocks;       // 0: any number; raised to three waves
  uint64_t wave;         // blocks that the chip holds at once
};

// Counters for one launch of a kernel. sample: also keep its trace; NULL: don't. origin: device address, a multiple of 256, that the
// trace's sectors are counted from, so that equal programs have equal traces wherever their memory lies. NULL: no memory.
struct vgpu_counters *vgpu_counters_open(const struct vgpu_code *code, const struct vgpu_func *kernel, uint64_t num_blocks,
                                         const struct vgpu_sample *sample, uint64_t origin);
void vgpu_counters_close(struct vgpu_counters *c);
const struct vgpu_observer *vgpu_counters_observer(struct vgpu_counters *c);
const struct vgpu_counts *vgpu_counters_get(const struct vgpu_counters *c);
const struct t4_trace *vgpu_counters_trace(const struct vgpu_counters *c); // NULL: none kept
const struct t4_code *vgpu_counters_code(const struct vgpu_counters *c);

// The rules, for one warp instruction. Sectors of global memory that the lanes in mask touch with `bytes` each: sorted, without
// repetition, at most 32 * (bytes / 32 + 2); written[i] gets the bytes of sector i that are touched. Returns their number.
enum { VGPU_MAX_SECTORS = 32 * 3 };
unsigned vgpu_sectors(uint32_t mask, const uint64_t *addr, unsigned bytes, uint64_t *sectors, uint32_t *written);
// Passes that the 32 banks of 4 bytes need: a warp at once for up to 4 bytes a lane, a half-warp for 8, a quarter for 16; lanes
// that want the same word share it, and a group that asks only for words already fetched is free.
unsigned vgpu_shared_wavefronts(uint32_t mask, const uint64_t *addr, unsigned bytes);
unsigned vgpu_shared_ideal(uint32_t mask, const uint64_t *addr, unsigned bytes); // the same bytes without conflicts
// ldmatrix: one pass a matrix of eight 16-byte rows whose addresses are in lanes 8m .. 8m + 7.
unsigned vgpu_ldmatrix_wavefronts(uint32_t mask, const uint64_t *addr, unsigned matrices);
// Transactions of an atomic: lanes that update the same bytes cannot share one. repeat[i] for sector i.
unsigned vgpu_atomic_transactions(uint32_t mask, const uint64_t *addr, unsigned bytes, uint64_t *sectors, uint32_t *repeat);

#endif
