// Block barriers. PTX ISA 9.7.13 "barrier". Lanes are counted one by one; a warp whose living lanes have all come counts as 32 where
// the instruction gives a count. Threads that have exited are not waited for, as on the card, but that is a finding.
#include "runtime/vgpu/exec_internal.h"
#include <stdio.h>

static uint32_t lanes_in(const struct vgpu_block *b, const struct vgpu_barrier *bar) {
  if (!bar->want) return bar->arrived;
  uint32_t n = 0;
  for (uint32_t k = 0; k < b->num_warps; k++) {
    const struct vgpu_warp *w = &b->warps[k];
    uint32_t lanes = bar->lanes[k];
    n += lanes && !(w->valid & ~w->exited & ~lanes) ? 32 : (uint32_t)__builtin_popcount(lanes);
  }
  return n;
}

static bool is_complete(const struct vgpu_block *b, const struct vgpu_barrier *bar) {
  return bar->arrived && (bar->want ? lanes_in(b, bar) >= bar->want : bar->arrived == b->alive_threads);
}

// bar.red: the answer in each waiting lane.
static void give_result(const struct vgpu_path *p, const struct vgpu_ins *d, const struct vgpu_barrier *bar) {
  if (d->sub & BAR_RED_POPC) {
    uint32_t *r = (uint32_t *)(p->frame->regs + (d->dst & ~3u)), m = p->mask;
    for (int i = 0; i < 32; i++)
      if (ON(i)) r[i] = bar->popc;
  } else if (d->sub & (BAR_RED_AND | BAR_RED_OR)) {
    uint32_t *r = (uint32_t *)(p->frame->regs + (d->dst & ~3u));
    bool v = d->sub & BAR_RED_AND ? bar->popc == bar->voters : bar->popc > 0;
    *r = (*r & ~p->mask) | (v ? p->mask : 0);
  }
}

static bool report_exited(struct vgpu_block *b, const struct vgpu_barrier *bar) {
  if (bar->want || b->alive_threads == b->num_threads) return true;
  unsigned first = (unsigned)__builtin_ctz(bar->warps);
  for (uint32_t k = 0; k < b->num_warps; k++)
    if (b->warps[k].exited) {
      struct vgpu_warp *w = &b->warps[first];
      return vgpu_report(w, bar->at[first], (unsigned)__builtin_ctz(bar->lanes[first]), VG_MISSING_LANE,
                         "the barrier is not reached by all: %u of %u threads have exited, the first of them thread %u",
                         b->num_threads - b->alive_threads, b->num_threads,
                         k * 32 + (unsigned)__builtin_ctz(b->warps[k].exited));
    }
  return true;
}

static bool complete(struct vgpu_block *b, uint32_t id) {
  struct vgpu_barrier *bar = &b->bar[id];
  if (!report_exited(b, bar)) return false;
  for (uint32_t k = 0; k < b->num_warps; k++) {
    if (!(bar->warps >> k & 1)) continue;
    for (int i = 0; i < 32; i++) {
      struct vgpu_path *p = &b->warps[k].paths[i];
      if (p->state != PATH_BAR || p->bar != id) continue;
      give_result(p, p->pc, bar);
      p->pc++;
      p->state = PATH_READY;
    }
  }
  vg_sync_block(&b->vg, bar->warps);
  memset(bar, 0, sizeof *bar);
  b->waiting_bars &= ~(1u << id);
  return true;
}

bool vgpu_barriers_after_exit(struct vgpu_block *b) {
  for (uint32_t m = b->waiting_bars; m; m &= m - 1) {
    uint32_t id = (uint32_t)__builtin_ctz(m);
    if (is_complete(b, &b->bar[id]) && !complete(b, id)) return false;
  }
  return true;
}

static uint32_t lane_value(struct vgpu_warp *w, vgpu_loc loc) { return ((const uint32_t *)P(loc))[__builtin_ctz(w->active)]; }

// All lanes of the path come to the barrier. A lane in it already waits elsewhere in the warp.
const struct vgpu_ins *vgpu_barrier(struct vgpu_warp *w, const struct vgpu_ins *d) {
  struct vgpu_block *b = w->block;
  uint32_t id = lane_value(w, d->a), want = d->sub & BAR_HAS_COUNT ? lane_value(w, d->b) : 0, k = w->index, m = w->active;
  if (id > 15) {
    vgpu_report(w, d, 32, VG_ILLEGAL, "barrier %u does not exist (0 to 15 do)", id);
    return vgpu_die(w);
  }
  if (d->sub & BAR_HAS_COUNT && (want == 0 || want % 32 || want > 1024 + 31)) {
    vgpu_report(w, d, 32, VG_ILLEGAL, "barrier for %u threads: the count must be a multiple of 32 up to the block's size", want);
    return vgpu_die(w);
  }
  struct vgpu_barrier *bar = &b->bar[id];
  if (bar->lanes[k] && bar->at[k] != d && d->sub & BAR_ALIGNED) {
    const struct vgpu_code *c = b->launch->code;
    if (!vgpu_report(w, d, (unsigned)__builtin_ctz(m), VG_MISSING_LANE,
                     "the barrier is reached by a part of the warp (0x%08x); lanes 0x%08x wait at the one in line %d", m, bar->lanes[k],
                     c->meta[bar->at[k] - c->ins].line))
      return vgpu_die(w);
  }
  bar->arrived += (uint32_t)__builtin_popcount(m & ~bar->lanes[k]);
  bar->lanes[k] |= m;
  bar->warps |= 1u << k;
  bar->at[k] = d;
  bar->want = want;
  b->waiting_bars |= 1u << id;
  if (d->sub & (BAR_RED_POPC | BAR_RED_AND | BAR_RED_OR)) {
    uint32_t p = PRED(d->c);
    if (d->sub2) p = ~p;
    bar->popc += (uint32_t)__builtin_popcount(p & m);
    bar->voters += (uint32_t)__builtin_popcount(m);
  }
  if (d->sub & BAR_ARRIVE) return is_complete(b, bar) && !complete(b, id) ? vgpu_die(w) : d + 1;
  w->path->pc = d;
  w->path->state = PATH_BAR;
  w->path->bar = id;
  if (is_complete(b, bar)) return complete(b, id) ? d + 1 : vgpu_die(w);
  return vgpu_suspend(w, d, PATH_BAR);
}

static int line_of(const struct vgpu_block *b, const struct vgpu_ins *d) {
  const struct vgpu_code *c = b->launch->code;
  return c->meta[d - c->ins].line;
}

// A lane that lives but does not wait at barrier `id`.
static bool find_absent(struct vgpu_block *b, uint32_t id, char *text, size_t size) {
  for (uint32_t k = 0; k < b->num_warps; k++) {
    struct vgpu_warp *w = &b->warps[k];
    uint32_t absent = w->valid & ~w->exited & ~b->bar[id].lanes[k];
    if (!absent) continue;
    unsigned lane = (unsigned)__builtin_ctz(absent);
    int n = snprintf(text, size, "thread %u ", k * 32 + lane);
    for (int i = 0; i < 32; i++) {
      const struct vgpu_path *p = &w->paths[i];
      if (p->state != PATH_BAR || !(p->mask >> lane & 1)) continue;
      snprintf(text + n, size - (size_t)n, "waits at barrier %u in line %d", p->bar, line_of(b, p->pc));
      return true;
    }
    snprintf(text + n, size - (size_t)n, "went another way and waits for its warp");
    return true;
  }
  snprintf(text, size, "its count of %u threads cannot be reached", b->bar[id].want);
  return true;
}

// Nothing in the block can run.
bool vgpu_deadlock(struct vgpu_block *b) {
  for (uint32_t k = 0; k < b->num_warps; k++) {
    struct vgpu_warp *w = &b->warps[k];
    for (int i = 0; i < 32; i++) {
      struct vgpu_path *p = &w->paths[i];
      if (p->state != PATH_BAR) continue;
      char text[128];
      find_absent(b, p->bar, text, sizeof text);
      vgpu_report(w, p->pc, (unsigned)__builtin_ctz(p->mask), VG_BARRIER, "barrier %u is never reached by all: %u threads wait in it, but %s",
                  p->bar, b->bar[p->bar].arrived, text);
      vgpu_die(w);
      return false;
    }
  }
  struct vgpu_warp *w = &b->warps[0];
  vgpu_report(w, b->launch->code->ins + b->launch->kernel->first, 32, VG_BARRIER, "no thread of the block can go on");
  vgpu_die(w);
  return false;
}
