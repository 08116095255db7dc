// A block: its warps' constant rows, the loop that runs instructions, and the order in which warps have their turn.
#include "runtime/vgpu/exec_internal.h"
#include <stdlib.h>

enum { SMS = 40 };

struct vgpu_block *vgpu_block_open(void) {
  struct vgpu_block *b = aligned_alloc(64, (sizeof *b + 63) & ~(size_t)63);
  if (!b) return NULL;
  memset(b, 0, sizeof *b);
  size_t bytes = 32 * sizeof *b->warps;
  b->warps = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
  if (!b->warps || !vg_worker_init(&b->vg)) {
    free(b->warps);
    free(b);
    return NULL;
  }
  memset(b->warps, 0, bytes);
  b->vg_ready = true;
  return b;
}

void vgpu_block_close(struct vgpu_block *b) {
  if (!b) return;
  for (int k = 0; k < 32; k++) vgpu_warp_free(&b->warps[k]);
  vg_worker_free(&b->vg);
  free(b->warps);
  free(b);
}

static void fill(struct vgpu_warp *w, enum vgpu_special s, uint32_t v) {
  for (int i = 0; i < 32; i++) w->special[s][i] = v;
}

static uint32_t dynamic_offset(const struct vgpu_func *k) {
  uint32_t a = k->dynamic_align > 16 ? k->dynamic_align : 16;
  return (k->static_shared + a - 1) & ~(a - 1);
}

static uint32_t shared_bytes(const struct vgpu_launch *l) {
  return l->dynamic_shared ? dynamic_offset(l->kernel) + l->dynamic_shared : l->kernel->static_shared;
}

// Rows that stay the same for the whole launch.
static void launch_rows(struct vgpu_block *b, struct vgpu_warp *w) {
  const struct vgpu_launch *l = b->launch;
  for (uint32_t i = 0; i < 32; i++) {
    uint32_t t = w->index * 32u + i;
    w->special[SP_TID_X][i] = t % l->block[0];
    w->special[SP_TID_Y][i] = t / l->block[0] % l->block[1];
    w->special[SP_TID_Z][i] = t / l->block[0] / l->block[1];
    w->special[SP_LANEID][i] = i;
    w->special[SP_LANEMASK_EQ][i] = 1u << i;
    w->special[SP_LANEMASK_LT][i] = (1u << i) - 1;
    w->special[SP_LANEMASK_LE][i] = (2u << i) - 1;
    w->special[SP_LANEMASK_GE][i] = ~0u << i;
    w->special[SP_LANEMASK_GT][i] = ~((2u << i) - 1);
  }
  for (int k = 0; k < 3; k++) {
    fill(w, SP_NTID_X + (enum vgpu_special)k, l->block[k]);
    fill(w, SP_NCTAID_X + (enum vgpu_special)k, l->grid[k]);
  }
  fill(w, SP_WARPID, w->index);
  fill(w, SP_NWARPID, b->num_warps);
  fill(w, SP_NSMID, SMS);
  fill(w, SP_DYNAMIC_SMEM, l->dynamic_shared);
  fill(w, SP_TOTAL_SMEM, shared_bytes(l));
  fill(w, SP_DYNAMIC_BASE, dynamic_offset(l->kernel));
  fill(w, SP_GRIDID_LO, 1);
  fill(w, SP_ZERO, 0);
}

// Memory for a warp's frames and its lanes' local memory. false: none.
static bool prepare_warp(struct vgpu_block *b, struct vgpu_warp *w, uint32_t k, uint32_t local) {
  const struct vgpu_code *c = b->launch->code;
  w->block = b;
  w->index = (uint8_t)k;
  if (b->frame_cap < c->max_frame) return false; // set by the caller
  if (w->local_bytes < local || !w->local) {
    free(w->local);
    w->local = calloc(32, local ? local : 16);
    w->local_bytes = w->local ? local : 0;
    if (!w->local) return false;
  }
  w->local_bytes = local;
  launch_rows(b, w);
  return true;
}

static uint32_t local_need(const struct vgpu_launch *l) {
  uint32_t limit = l->stack_limit ? l->stack_limit : 1024, need = l->kernel->stack_bytes;
  if (l->kernel->recursive) need = need > limit ? need + limit : limit;
  return (need + 15) & ~15u;
}

static bool prepare(struct vgpu_block *b, uint64_t serial) {
  const struct vgpu_launch *l = b->launch;
  b->num_threads = l->block[0] * l->block[1] * l->block[2];
  b->num_warps = (b->num_threads + 31) / 32;
  if (b->frame_cap < l->code->max_frame) {
    for (uint32_t k = 0; k < 32; k++) vgpu_warp_free(&b->warps[k]);
    for (uint32_t k = 0; k < 32; k++) b->warps[k].local_bytes = 0;
    b->frame_cap = l->code->max_frame;
  }
  for (uint32_t k = 0; k < b->num_warps; k++)
    if (!prepare_warp(b, &b->warps[k], k, local_need(l))) return false;
  b->prepared = serial;
  return true;
}

static void start_warp(struct vgpu_block *b, struct vgpu_warp *w, uint32_t sm) {
  for (int k = 0; k < 3; k++) fill(w, SP_CTAID_X + (enum vgpu_special)k, b->index[k]);
  fill(w, SP_SMID, sm);
  uint32_t left = b->num_threads - w->index * 32u;
  w->valid = left >= 32 ? ~0u : (1u << left) - 1;
  w->issued = 0;
  vgpu_warp_start(w, b->launch->kernel);
}

bool vgpu_block_start(struct vgpu_block *b, struct vgpu_launch *l, struct vg_launch *check, uint64_t serial, uint64_t id, unsigned worker) {
  b->launch = l;
  b->check = check;
  b->id = id;
  b->worker = worker;
  b->index[0] = (uint32_t)(id % l->grid[0]);
  b->index[1] = (uint32_t)(id / l->grid[0] % l->grid[1]);
  b->index[2] = (uint32_t)(id / l->grid[0] / l->grid[1]);
  if (b->prepared != serial && !prepare(b, serial)) return false;
  if (!vg_block_begin(&b->vg, check, id, b->index, shared_bytes(l))) return false;
  b->issued = 0;
  b->alive_threads = b->num_threads;
  b->waiting_bars = 0;
  memset(b->bar, 0, sizeof b->bar);
  b->rng = l->seed ^ (id + 1) * UINT64_C(0x9e3779b97f4a7c15);
  b->turn = 0;
  for (uint32_t k = 0; k < b->num_warps; k++) {
    struct vgpu_warp *w = &b->warps[k];
    vgpu_warp_reclaim(w);
    w->root = vgpu_frame_take(w);
    if (!w->root) return false;
    start_warp(b, w, (uint32_t)(id % SMS));
  }
  b->seen = l->observer ? l->observer->block_begin(l->observer->ctx, worker, id, b->num_warps) : NULL;
  return true;
}

static inline uint32_t guarded(const struct vgpu_warp *w, const struct vgpu_ins *d) {
  uint32_t g = d->guard, p;
  memcpy(&p, w->base[0] + (g & 0x7ffffffcu), 4);
  return w->active & (p ^ (0 - (g >> 31)));
}

static void run_plain(struct vgpu_warp *w, const struct vgpu_ins *d) {
  uint64_t n = 0;
  do {
    uint32_t m = w->active;
    n++;
    if (d->guard) {
      m = guarded(w, d);
      if (!m) {
        d++;
        continue;
      }
    }
    d = d->fn(w, d, m);
  } while (d);
  w->issued += n;
}

static void tell(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t active, uint32_t m) {
  const struct vgpu_observer *o = w->block->launch->observer;
  uint64_t bar[32] = {0};
  const uint64_t *addr = w->seen_addr;
  if (d->cls == VGPU_CLASS_BAR) {
    unsigned lane = (unsigned)__builtin_ctz(active);
    bar[0] = ((const uint32_t *)P(d->a))[lane];
    bar[1] = d->sub & BAR_HAS_COUNT ? ((const uint32_t *)P(d->b))[lane] : 0;
    addr = bar;
  }
  o->issue(w->block->seen, w->index, vgpu_pc(w, d), active, m, addr ? w->seen_space : VGPU_SPACE_NONE, addr);
}

// With an observer: each instruction is told after its effect, when its addresses are known; barriers and what may change the frame
// before it.
static void run_observed(struct vgpu_warp *w, const struct vgpu_ins *d) {
  do {
    uint32_t active = w->active, m = d->guard ? guarded(w, d) : active;
    const struct vgpu_ins *at = d;
    w->issued++;
    w->seen_addr = NULL;
    w->seen_space = VGPU_SPACE_NONE;
    bool after = at->cls >= VGPU_CLASS_LOAD && at->cls <= VGPU_CLASS_PREFETCH;
    if (!after && at->cls != VGPU_CLASS_NONE) {
      uint32_t told = m;
      if (at->op == OP_BRA_PRED) told &= at->sub ? ~PRED(at->a) : PRED(at->a);
      tell(w, at, active, told);
    }
    d = m ? d->fn(w, d, m) : d + 1;
    if (after) tell(w, at, active, m);
  } while (d);
}

static bool is_ready(const struct vgpu_warp *w) {
  for (int i = 0; i < 32; i++)
    if (w->paths[i].state == PATH_READY) return true;
  return false;
}

static void run_warp(struct vgpu_warp *w) {
  struct vgpu_path *p = w->path && w->path->state == PATH_READY && !w->spins ? w->path : vgpu_pick_path(w);
  if (!p) return;
  vgpu_use_path(w, p);
  if (w->block->launch->seed) w->fuel = 20 + (int)(vgpu_random(&w->block->rng) % 2000);
  if (w->block->launch->observer) run_observed(w, p->pc);
  else run_plain(w, p->pc);
}

static uint64_t issued(struct vgpu_block *b) {
  for (uint32_t k = 0; k < b->num_warps; k++) {
    b->issued += b->warps[k].issued;
    b->warps[k].issued = 0;
  }
  return b->issued;
}

// The next warp that can run, in order or at random; NULL: none can.
static struct vgpu_warp *next_warp(struct vgpu_block *b) {
  if (b->launch->seed) b->turn = (uint32_t)(vgpu_random(&b->rng) % b->num_warps);
  for (uint32_t i = 0; i < b->num_warps; i++) {
    struct vgpu_warp *w = &b->warps[(b->turn + i) % b->num_warps];
    if (!is_ready(w)) continue;
    b->turn = w->index + 1u;
    return w;
  }
  return NULL;
}

static bool unstick(struct vgpu_block *b) {
  for (uint32_t k = 0; k < b->num_warps; k++)
    if (vgpu_unstick(&b->warps[k])) return true;
  return false;
}

bool vgpu_block_run(struct vgpu_block *b, uint64_t budget) {
  uint64_t end = issued(b) + budget;
  b->spun = false;
  while (b->alive_threads) {
    if (vg_launch_stopped(b->check)) return true;
    struct vgpu_warp *w = next_warp(b);
    if (w) run_warp(w);
    else if (!unstick(b) && !vgpu_deadlock(b)) return true;
    if (issued(b) >= end) return !b->alive_threads;
  }
  return true;
}

void vgpu_block_finish(struct vgpu_block *b) {
  issued(b);
  if (b->launch->observer && b->seen) b->launch->observer->block_end(b->seen);
  b->seen = NULL;
  vg_block_end(&b->vg);
}
