// What a profiler would count, and how the interpreter tells it.
//
// The interpreter knows one small interface: an observer that it calls for every issued warp instruction. A NULL
// observer costs one predictable branch. Everything behind the observer (counters, traces, the T4 model) is on this side.
//
// Contract with the interpreter
//   - `block_begin` is called before the first instruction of a block, `block_end` after its last. One block is run by
//     one thread at a time; different blocks may be run by different threads at once. `worker` is the number of the
//     thread, < the number given to counters_open.
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

#endif
