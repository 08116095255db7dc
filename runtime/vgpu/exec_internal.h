// What the interpreter's files share: the state of a warp and of a block, and the macros that handlers are made of.
#ifndef VGPU_EXEC_INTERNAL_H
#define VGPU_EXEC_INTERNAL_H

#include "runtime/vgpu/exec.h"
#include "runtime/vgpu/ops.h"
#include <string.h>

// The compiler is told that lanes are independent: a source may be the destination itself, never part of it.
#if defined(__clang__)
#define IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define IVDEP _Pragma("GCC ivdep")
#endif
#define LANES IVDEP for (int i = 0; i < 32; i++)

#define P(loc) (w->base[(loc) & 3] + ((loc) & ~3u))
#define PRED(loc) (*(uint32_t *)P(loc))
#define HANDLER(name) static const struct vgpu_ins *name(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m)

extern const uint32_t vgpu_lane_bit[32];
#define ON(i) (m & vgpu_lane_bit[i])

struct vgpu_block;

// Lanes of one call of one function: registers, and the way back.
struct vgpu_frame {
  struct vgpu_frame *all;    // every frame of the warp
  struct vgpu_frame *caller; // or the next free one
  const struct vgpu_func *func;
  const struct vgpu_ins *call; // the call instruction, in the caller
  uint32_t lanes;              // that have not returned
  uint32_t local_base;         // of its .local variables
  uint32_t depth;
  _Alignas(64) uint8_t regs[];
};

// Where lanes that took different ways meet again.
struct vgpu_node {
  struct vgpu_node *all;    // every node of the warp
  struct vgpu_node *parent; // or the next free one
  const struct vgpu_ins *at; // the JOIN
  struct vgpu_frame *frame;
  uint32_t expected, arrived;
};

enum vgpu_path_state { PATH_FREE, PATH_READY, PATH_SYNC, PATH_BAR };

// Lanes at one place of the program.
struct vgpu_path {
  enum vgpu_path_state state;
  uint32_t mask;
  const struct vgpu_ins *pc;
  struct vgpu_frame *frame;
  struct vgpu_node *node;
  uint32_t need;  // SYNC: lanes waited for
  uint32_t bar;   // BAR: its number
};

// Special values, base 2 of locators: rows of 32 lanes.
enum vgpu_special {
  SP_TID_X, SP_TID_Y, SP_TID_Z, SP_LANEID, SP_NTID_X, SP_NTID_Y, SP_NTID_Z, SP_CTAID_X, SP_CTAID_Y, SP_CTAID_Z, SP_NCTAID_X,
  SP_NCTAID_Y, SP_NCTAID_Z, SP_WARPID, SP_NWARPID, SP_SMID, SP_NSMID, SP_LANEMASK_EQ, SP_LANEMASK_LE, SP_LANEMASK_LT,
  SP_LANEMASK_GE, SP_LANEMASK_GT, SP_DYNAMIC_SMEM, SP_TOTAL_SMEM, SP_DYNAMIC_BASE, SP_GRIDID_LO, SP_ZERO, SP_NUM
};

struct vgpu_warp {
  uint8_t *base[4];          // frame, constants, special values
  uint32_t active;           // lanes of the path that runs
  int fuel;                  // taken branches until others have a turn
  bool spins;                // since the last turn something was read that others may write
  uint8_t index;             // in the block
  uint32_t valid, exited;    // lanes that exist; that have ended
  struct vgpu_path *path;    // that runs
  struct vgpu_block *block;
  struct vgpu_frame *frame;  // of the path
  uint64_t issued;
  const uint64_t *seen_addr; // for the observer: addresses of the last memory instruction
  enum vgpu_space seen_space;
  struct vgpu_path paths[32];
  struct vgpu_node *free_nodes, *all_nodes;
  struct vgpu_frame *free_frames, *all_frames, *root;
  uint32_t *local;           // lane-interleaved words: word k of lane l at [32 * k + l]
  uint32_t local_bytes;      // of each lane
  uint64_t rng;
  _Alignas(64) uint32_t special[SP_NUM][32];
  struct vg_access access;
  uint64_t lane_addr[32];
  _Alignas(64) uint8_t scratch[32 * 64];
};

struct vgpu_barrier {
  uint32_t arrived;        // threads
  uint32_t want;           // threads, 0: all that live
  uint32_t warps;          // that have lanes in it
  uint32_t lanes[32];      // that wait (or have arrived), by warp
  uint32_t popc;           // bar.red: lanes with a true predicate
  uint32_t voters;
  const struct vgpu_ins *at[32]; // the instruction by which the warp came
};

struct vgpu_block {
  struct vgpu_launch *launch;
  struct vg_launch *check;
  struct vg_worker vg;
  bool vg_ready;
  uint64_t id;
  uint32_t index[3];
  uint32_t num_threads, num_warps, live_warps, alive_threads;
  struct vgpu_warp *warps;      // 32 of them
  uint32_t ready_warps;         // of them have their memory
  uint32_t frame_cap, local_cap; // bytes, of each warp's frames and of each lane's local memory
  uint64_t prepared;            // serial of the launch that its constant rows are for
  struct vgpu_barrier bar[16];
  void *seen;                   // the observer's handle
  uint64_t issued;
  uint64_t rng;
  uint32_t turn;
  bool spun;                    // a warp has spun on memory in this slice
  uint32_t waiting_bars;        // bit per barrier with lanes in it
  unsigned worker;
};

// Tables of handlers, one for each build of the hot files.
const vgpu_op_fn *vgpu_op_handlers(void); // of the best build for this machine

#define VGPU_CAT2(a, b) a##_##b
#define VGPU_CAT(a, b) VGPU_CAT2(a, b)
#ifndef VGPU_VARIANT
#define VGPU_VARIANT base
#endif
#define VARIANT_FN(name) VGPU_CAT(name, VGPU_VARIANT)
#define DECLARE_VARIANTS(name) \
  void name##_base(vgpu_op_fn *t); \
  void name##_avx2(vgpu_op_fn *t); \
  void name##_avx512(vgpu_op_fn *t);
DECLARE_VARIANTS(vgpu_ops_int)
DECLARE_VARIANTS(vgpu_ops_setp)
DECLARE_VARIANTS(vgpu_ops_float)
DECLARE_VARIANTS(vgpu_ops_half)
DECLARE_VARIANTS(vgpu_ops_cvt)
DECLARE_VARIANTS(vgpu_ops_mem)
DECLARE_VARIANTS(vgpu_ops_mma)
void vgpu_ops_atom(vgpu_op_fn *t);
void vgpu_ops_slow(vgpu_op_fn *t);
void vgpu_ops_warp(vgpu_op_fn *t);
void vgpu_ops_control(vgpu_op_fn *t);

// exec_warp.c: paths, reconvergence, frames
void vgpu_warp_start(struct vgpu_warp *w, const struct vgpu_func *kernel);
const struct vgpu_ins *vgpu_branch(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t taken, const struct vgpu_ins *target);
const struct vgpu_ins *vgpu_branch_many(struct vgpu_warp *w, const struct vgpu_ins *d, int n, const uint32_t *mask,
                                        const struct vgpu_ins *const *target);
const struct vgpu_ins *vgpu_arrive(struct vgpu_warp *w, const struct vgpu_ins *d);
const struct vgpu_ins *vgpu_lanes_exit(struct vgpu_warp *w, const struct vgpu_ins *next, uint32_t lanes);
const struct vgpu_ins *vgpu_yield(struct vgpu_warp *w, const struct vgpu_ins *next);
const struct vgpu_ins *vgpu_suspend(struct vgpu_warp *w, const struct vgpu_ins *pc, enum vgpu_path_state state);
void vgpu_starve(struct vgpu_warp *w);
bool vgpu_unstick(struct vgpu_warp *w);
struct vgpu_path *vgpu_pick_path(struct vgpu_warp *w);
void vgpu_use_path(struct vgpu_warp *w, struct vgpu_path *p);
void vgpu_warp_reclaim(struct vgpu_warp *w); // all frames and nodes are free again
void vgpu_warp_free(struct vgpu_warp *w);
struct vgpu_frame *vgpu_frame_take(struct vgpu_warp *w);
void vgpu_frame_give(struct vgpu_warp *w, struct vgpu_frame *f);
// Before a .sync instruction of lanes m which names the lanes `need`: true when they are all here. Else *next is what to run
// (NULL: leave the warp).
bool vgpu_meet(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, uint32_t need, const struct vgpu_ins **next);

// exec_block.c
struct vgpu_block *vgpu_block_open(void);
void vgpu_block_close(struct vgpu_block *b);
// Makes b ready to run block `id` of the launch. false: no memory, or the launch has failed.
bool vgpu_block_start(struct vgpu_block *b, struct vgpu_launch *l, struct vg_launch *check, uint64_t serial, uint64_t id, unsigned worker);
// Runs it for about `budget` warp instructions. true: it has ended.
bool vgpu_block_run(struct vgpu_block *b, uint64_t budget);
void vgpu_block_finish(struct vgpu_block *b);

// exec_barrier.c
const struct vgpu_ins *vgpu_barrier(struct vgpu_warp *w, const struct vgpu_ins *d);
bool vgpu_barriers_after_exit(struct vgpu_block *b); // false: the launch has failed
bool vgpu_deadlock(struct vgpu_block *b);            // reports who waits where; false: the launch has failed

// exec_builtin.c: vprintf and the like
const struct vgpu_ins *vgpu_call_builtin(struct vgpu_warp *w, const struct vgpu_ins *d, const struct vgpu_func *f, uint32_t m);

// exec_report.c
bool vgpu_report(struct vgpu_warp *w, const struct vgpu_ins *d, unsigned lane, enum vg_finding_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
const struct vgpu_ins *vgpu_die(struct vgpu_warp *w); // leaves the loop: the launch has failed

static inline uint32_t vgpu_pc(const struct vgpu_warp *w, const struct vgpu_ins *d) {
  return (uint32_t)(d - w->block->launch->code->ins);
}

static inline uint64_t vgpu_random(uint64_t *s) { // splitmix64
  uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

#endif
