// Checks: every memory access and synchronisation of a kernel comes through here, and what is wrong is reported.
//
// The interpreter owns the data movement, this room owns the judgement. One `vg_launch` per kernel launch, one `vg_worker`
// per host thread that runs blocks (reused for all the blocks and launches of that thread).
//
//   vg_launch_begin(&launch);                       once; locate/module/kernel/grid/block filled in before
//     vg_block_begin(w, &launch, ...)               per block, on the worker's thread
//       vg_global_access(w, warp, &a)               per load, store, atomic: true -> a.ptr[lane] is where the bytes are
//       vg_shared_access(w, warp, &a)
//       vg_sync_block / vg_sync_warp / vg_fence     per barrier, *.sync instruction, membar/fence
//       vg_report(...)                              what the interpreter itself finds
//     vg_block_end(w)
//   vg_launch_end(&launch)                          returns the launch's CUresult
//
// After a function returned false the launch is doomed: stop issuing, unwind all blocks (vg_launch_stopped tells the others).
//
// VGPU_CHECK=on (default): all checks. =strict: a finding of any kind also fails the launch (719 where the real driver would have
// given none). =off: only what protects the process and what the hardware itself would trap (bounds, alignment).
#ifndef VGPU_CHECK_H
#define VGPU_CHECK_H

#include "runtime/vgpu/mem.h"
#include <stdarg.h>

#define VG_LANES 32

enum vg_finding_kind {
  VG_OUT_OF_BOUNDS,   // 700 global, 719 shared, local, param
  VG_USE_AFTER_FREE,  // 700
  VG_MISALIGNED,      // 716
  VG_WRITE_CONST,     // 700
  VG_UNINIT_GLOBAL,   // warns
  VG_UNINIT_SHARED,   // warns
  VG_RACE_SHARED,     // warns
  VG_RACE_GLOBAL,     // warns
  VG_BARRIER,         // 702: warps wait that can never be released (a real device hangs until its watchdog)
  VG_MISSING_LANE,    // warns: shfl, vote, match, mma, bar.warp.sync naming lanes that are not there
  VG_LAUNCH_LIMIT,    // the launch itself is refused (block size, shared memory, registers)
  VG_ASSERT,          // 710
  VG_TRAP,            // 719
  VG_ILLEGAL,         // 715 instruction that cannot run
  VG_BAD_CALL,        // 718 indirect branch or call to no function
  VG_STACK,           // 719 call depth or local memory exhausted
  VG_LEAK,            // at exit, warns
  VG_BAD_HOST_CALL,   // double free and the like, warns
  VG_NUM_KINDS
};

// Where in the program: filled by the launch's locate() only when there is something to report.
struct vg_where {
  const char *kernel;   // or device function
  const char *ptx_text; // the instruction's text, may be NULL
  uint32_t ptx_line;    // 0: unknown
  const char *file;     // CUDA source, NULL without -lineinfo
  uint32_t line;
};

struct vg_launch {
  // Filled by the caller of vg_launch_begin.
  const char *kernel;
  uint32_t grid[3], block[3];
  const void *module;
  void (*locate)(const void *module, uint32_t pc, struct vg_where *out);
  // Kept here.
  _Atomic int error;     // CUresult; 0 while all is well
  uint32_t epoch;        // of the race cells
  bool races;            // more than one block, and checks are on
  struct vg_order *order; // happens-before between blocks (race.h)
};

enum vg_op { VG_LOAD, VG_STORE, VG_ATOMIC, VG_LOAD_STRONG, VG_STORE_STRONG }; // strong: volatile, relaxed, acquire, release

// One warp's access. In: addr, active, pc, width, op, data. Out: ptr, base.
struct vg_access {
  uint64_t addr[VG_LANES]; // global: device address; shared: byte offset in the block's shared memory
  uint32_t active;         // lanes that access (0 is fine)
  uint32_t pc;             // the instruction's number in its module, unique in the launch
  uint16_t width;          // bytes per lane: 1, 2, 4, 8, 16 (all of a vector access)
  uint8_t op;              // enum vg_op
  const uint8_t *data;     // stores: lane i's new bytes at data + i * width; lets two equal stores pass. NULL: unknown
  uint8_t *ptr[VG_LANES];  // host address for every active lane
  uint8_t *base;           // all 32 lanes active and lane i at base + i * width; else NULL (then use ptr)
};

struct vg_span { // a cached lookup
  uint64_t lo, size;
  struct vg_alloc *alloc;
  uint64_t generation;
};

#define VG_SPANS 64

struct vg_worker {
  struct vg_launch *launch;
  uint64_t block_id;        // linear
  uint32_t block_idx[3];
  uint32_t num_warps, num_threads;
  uint8_t *shared;          // the block's shared memory, shared_size bytes, 256-byte aligned; contents are garbage at first
  uint32_t shared_size;
  struct vg_span span[VG_SPANS];
  struct vg_shared_state *state; // race.c: shadow and clocks of the block
  uint64_t acquired;        // race.h: the launch's clock when this block last read through an atomic
  uint32_t phase;           // publications of this block so far, 15 at most
  bool fenced;              // a fence since the last publication
  bool acquiring;           // an atomic or strong load since `acquired` was read
  bool checks;              // VGPU_CHECK is not off
};

// A zeroed or fresh worker made ready. false: no memory.
bool vg_worker_init(struct vg_worker *w);
void vg_worker_free(struct vg_worker *w);

void vg_launch_begin(struct vg_launch *l);
int vg_launch_end(struct vg_launch *l);
static inline bool vg_launch_stopped(const struct vg_launch *l) { return atomic_load_explicit(&l->error, memory_order_relaxed) != 0; }

// Sets w->shared (its own memory, kept between blocks) and forgets the last block. false: no memory, the launch has failed.
bool vg_block_begin(struct vg_worker *w, struct vg_launch *l, uint64_t block_id, const uint32_t block_idx[3], uint32_t shared_size);
void vg_block_end(struct vg_worker *w);

bool vg_global_access(struct vg_worker *w, unsigned warp, struct vg_access *a);
bool vg_shared_access(struct vg_worker *w, unsigned warp, struct vg_access *a);

// All warps of `warps` (bit per warp) have met at a block barrier and go on.
void vg_sync_block(struct vg_worker *w, uint32_t warps);
// A *.sync instruction of one warp (bar.warp.sync, shfl, vote, match, mma, ldmatrix, ...): orders its lanes.
void vg_sync_warp(struct vg_worker *w, unsigned warp);
// membar/fence of gpu or system scope (scope_block false) or block scope. Call it also before an atom/red/st.release and
// after an atom/ld.acquire of that scope.
void vg_fence(struct vg_worker *w, unsigned warp, bool scope_block);

// How VGPU_CHECK stands: 0 off, 1 on, 2 strict.
int vg_check_mode(void);

// A finding of the interpreter's own at one lane (lane >= 32: the whole warp). Returns false when the launch must end.
bool vg_report(struct vg_worker *w, unsigned warp, unsigned lane, uint32_t pc, enum vg_finding_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
// The same with the launch's error given: 0 only warns.
bool vg_report_error(struct vg_worker *w, unsigned warp, unsigned lane, uint32_t pc, enum vg_finding_kind kind, int error,
                     const char *fmt, ...) __attribute__((format(printf, 7, 8)));
// Same for what is outside a kernel.
void vg_report_host(enum vg_finding_kind kind, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// A module is unloaded: its address no longer stands for the places found in it.
void vg_forget_module(const void *module);
// Says how often each finding came, at exit.
void vg_report_summary(void);

// The buffer of a kernel's printf: text is appended by the kernel's threads and goes to stdout at vg_print_flush (called by
// the driver API where a program synchronises, and at exit).
void vg_print(const char *text, size_t len);
void vg_print_flush(void);
void vg_print_limit(size_t bytes); // cuCtxSetLimit PRINTF_FIFO_SIZE; default 1 MiB
size_t vg_print_get_limit(void);
// Formats as CUDA's printf: fmt as in the kernel, args the packed vprintf buffer (device layout, each argument aligned to its
// size). read(ctx, addr, buf, cap) fetches a device string for %s, false if it cannot. Returns the number of arguments, or -1 for a
// null format, as vprintf does.
int vg_printf(const char *fmt, const uint8_t *args, size_t args_size,
              bool (*read)(void *ctx, uint64_t addr, char *buf, size_t cap), void *ctx);

// For programs and tests: how many findings (places, not repetitions) so far, of one kind or of all (-1), and their text.
#define VG_EXPORT __attribute__((visibility("default")))
VG_EXPORT unsigned vgpuFindings(int kind);
VG_EXPORT const char *vgpuFindingText(unsigned i); // NULL past the last; valid until vgpuFindingsReset
VG_EXPORT int vgpuFindingKind(unsigned i);
VG_EXPORT unsigned long long vgpuFindingCount(unsigned i); // occurrences at that place
VG_EXPORT void vgpuFindingsReset(void);
VG_EXPORT const char *vgpuFindingKindName(int kind);
// The environment's VGPU_FAIL, set by the program itself; NULL or "" for none. Counting starts anew. One that cannot be read is a
// finding, and cuInit fails until there is another.
VG_EXPORT void vgpuFail(const char *spec);
// The function whose call was made to fail since then, the last one; NULL for none.
VG_EXPORT const char *vgpuFailed(void);
// on_call(name) is told of each call before anything comes of it, on the thread that makes it, and may call vgpuFail; NULL: nobody.
VG_EXPORT void vgpuOnCall(void (*on_call)(const char *name));

#endif
