// The interpreter's face: running a kernel over a grid. One warp at a time per thread, blocks spread over threads.
//
// Address space (generic, 64 bit). Global and constant memory lie wherever mem.h put them, outside the three windows.
#ifndef VGPU_EXEC_H
#define VGPU_EXEC_H

#include "runtime/vgpu/counters.h"
#include "runtime/vgpu/decode.h"

#define VGPU_SHARED_WINDOW 0x0001000000000000ull // + offset in the block's shared memory
#define VGPU_LOCAL_WINDOW 0x0001000100000000ull  // + offset in the thread's local memory
#define VGPU_PARAM_WINDOW 0x0001000200000000ull  // + offset in the kernel's parameters (read only)
#define VGPU_FUNC_WINDOW 0x0001000300000000ull   // + 16 * (1 + function index): function pointers
#define VGPU_WINDOW_SIZE 0x0000000100000000ull

struct vgpu_mem;   // mem.h: device memory
struct vgpu_check; // check.h: where errors are gathered

// Where something happened. lane -1: the whole warp.
struct vgpu_site {
  const struct vgpu_code *code;
  const struct vgpu_func *kernel;
  uint32_t pc;
  uint32_t block[3], thread[3];
};

struct vgpu_launch {
  struct vgpu_code *code;
  const struct vgpu_func *kernel; // an entry of it
  uint32_t grid[3], block[3];
  uint32_t dynamic_shared;
  const uint8_t *params;          // kernel->param_bytes packed as PTX lays them out (each at its own alignment)
  struct vgpu_mem *mem;
  struct vgpu_check *check;
  const struct vgpu_observer *observer; // NULL: none
  uint64_t seed;                  // 0: blocks and warps in order; else the order is drawn from it
  unsigned threads;               // worker threads, at least 1
  uint32_t stack_limit;           // cuCtxSetLimit(STACK_SIZE): local bytes a thread of a recursive kernel may take beyond
                                  // its static need; 0: 1024
  bool checks;                    // VGPU_CHECK
  bool cooperative;               // all blocks must be resident at once
  uint64_t sample;                // n > 1: only every n-th block is run (the observer's wish); 0 or 1: all
  uint64_t issued;                // out: warp instructions issued
  int error;                      // out: 0 or the CUresult that ended the launch
};

// Runs the launch to its end. Returns launch->error: CUDA_SUCCESS 0, ILLEGAL_ADDRESS 700, LAUNCH_OUT_OF_RESOURCES 701,
// LAUNCH_TIMEOUT 702, ASSERT 710, HARDWARE_STACK_ERROR 714, ILLEGAL_INSTRUCTION 715, MISALIGNED_ADDRESS 716,
// INVALID_PC 718, LAUNCH_FAILED 719 (trap and the like), OUT_OF_MEMORY 2. Errors found are told to launch->check.
int vgpu_exec(struct vgpu_launch *launch);

// Which build of the interpreter runs here: "baseline", "avx2", "avx512".
const char *vgpu_exec_variant(void);

#endif
