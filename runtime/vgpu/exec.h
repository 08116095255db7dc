// The interpreter's face: running a kernel over a grid. One warp at a time per thread, blocks spread over threads.
//
// Address space (generic, 64 bit): global and constant memory lie where mem.h put them; shared and local memory in mem.h's
// windows; the kernel's parameters and the functions in two more.
#ifndef VGPU_EXEC_H
#define VGPU_EXEC_H

#include "runtime/vgpu/check.h"
#include "runtime/vgpu/counters.h"
#include "runtime/vgpu/decode.h"

#define VGPU_PARAM_WINDOW (UINT64_C(3) << 60) // + offset in the kernel's parameters (read only)
#define VGPU_FUNC_WINDOW (UINT64_C(4) << 60)  // + 16 * (1 + function index): function pointers

struct vgpu_launch {
  struct vgpu_code *code;
  const struct vgpu_func *kernel; // an entry of it
  uint32_t grid[3], block[3];
  uint32_t dynamic_shared;
  const uint8_t *params;          // kernel->param_bytes, packed as PTX lays them out (each at its own alignment)
  const struct vgpu_observer *observer; // NULL: none
  uint64_t seed;                  // 0: blocks and warps in order; else the order is drawn from it
  uint32_t stack_limit;           // cuCtxSetLimit(STACK_SIZE): local bytes that a thread of a recursive kernel may take beyond
                                  // its static need; 0: 1024
  bool cooperative;               // all blocks must be resident at once
  uint64_t sample;                // n > 1: only every n-th block is run (the observer's wish); 0 or 1: all
  uint64_t watchdog;              // warp instructions after which the launch ends with 702; 0: none
  uint64_t issued;                // out: warp instructions issued
};

// Host threads that run blocks; kept between launches. One launch at a time: others wait for their turn.
struct vgpu_pool;
struct vgpu_pool *vgpu_pool_open(unsigned threads); // NULL: no memory
unsigned vgpu_pool_threads(const struct vgpu_pool *p);
void vgpu_pool_close(struct vgpu_pool *p);

// Runs the launch to its end, between vg_launch_begin and vg_launch_end. The CUresult that ended it: 0,
// LAUNCH_OUT_OF_RESOURCES 701, ILLEGAL_ADDRESS 700, ..., OUT_OF_MEMORY 2.
int vgpu_exec(struct vgpu_pool *p, struct vgpu_launch *l);

// The locate() of check.h: module is a struct vgpu_code.
void vgpu_locate(const void *code, uint32_t pc, struct vg_where *out);

// Which build of the interpreter runs here: "baseline", "avx2", "avx512".
const char *vgpu_exec_variant(void);

#endif
