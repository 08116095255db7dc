// Divergence. A warp is a set of paths: lanes at one place, with a chain of nodes that say where they meet others again.
//
// A branch that splits a path makes a node at the immediate post-dominator (a JOIN instruction there); each side runs until it
// comes to the node's JOIN and is put away; when all expected lanes have come they go on as one path. Threads are
// nevertheless scheduled independently, as on sm_70 and later: paths of a warp take turns, a path that waits for lanes at a
// .sync instruction or at a barrier does not stop the others, and when a path spins on memory (a lock held by lanes that
// already wait at its node) the waiting lanes are sent on (vgpu_starve).
#include "runtime/vgpu/exec_internal.h"
#include <stdio.h>
#include <stdlib.h>

const uint32_t vgpu_lane_bit[32] = {
#define B4(k) 1u << (k), 1u << ((k) + 1), 1u << ((k) + 2), 1u << ((k) + 3)
    B4(0), B4(4), B4(8), B4(12), B4(16), B4(20), B4(24), B4(28)};

enum { FUEL = 2000 }; // taken branches in a turn

static struct vgpu_node *node_take(struct vgpu_warp *w) {
  struct vgpu_node *n = w->free_nodes, *all;
  if (n) {
    w->free_nodes = n->parent;
    all = n->all;
  } else {
    n = malloc(sizeof *n);
    if (!n) return NULL;
    all = w->all_nodes;
    w->all_nodes = n;
  }
  *n = (struct vgpu_node){.all = all};
  return n;
}

static void node_give(struct vgpu_warp *w, struct vgpu_node *n) {
  n->parent = w->free_nodes;
  w->free_nodes = n;
}

struct vgpu_frame *vgpu_frame_take(struct vgpu_warp *w) {
  struct vgpu_frame *f = w->free_frames;
  if (f) {
    w->free_frames = f->caller;
    return f;
  }
  size_t bytes = (sizeof *f + w->block->frame_cap + 63) & ~(size_t)63;
  f = aligned_alloc(64, bytes);
  if (!f) return NULL;
  memset(f, 0, bytes);
  f->all = w->all_frames;
  return w->all_frames = f;
}

void vgpu_warp_reclaim(struct vgpu_warp *w) {
  w->free_frames = NULL;
  w->free_nodes = NULL;
  w->root = NULL;
  for (struct vgpu_frame *f = w->all_frames; f; f = f->all) vgpu_frame_give(w, f);
  for (struct vgpu_node *n = w->all_nodes; n; n = n->all) node_give(w, n);
}

void vgpu_warp_free(struct vgpu_warp *w) {
  for (struct vgpu_frame *f = w->all_frames, *n; f; f = n) {
    n = f->all;
    free(f);
  }
  for (struct vgpu_node *f = w->all_nodes, *n; f; f = n) {
    n = f->all;
    free(f);
  }
  free(w->local);
  w->all_frames = w->free_frames = w->root = NULL;
  w->all_nodes = w->free_nodes = NULL;
  w->local = NULL;
}

void vgpu_frame_give(struct vgpu_warp *w, struct vgpu_frame *f) {
  f->caller = w->free_frames;
  w->free_frames = f;
}

// Makes p the path that runs.
void vgpu_use_path(struct vgpu_warp *w, struct vgpu_path *p) {
  w->path = p;
  w->active = p->mask;
  w->frame = p->frame;
  w->base[0] = p->frame->regs;
  w->fuel = FUEL;
  w->spins = false;
}

static struct vgpu_path *new_path(struct vgpu_warp *w) {
  for (int i = 0; i < 32; i++)
    if (w->paths[i].state == PATH_FREE) return &w->paths[i];
  abort(); // paths are disjoint sets of lanes: there are never more than 32
}

// A ready path: the one after the last that ran, so that all have their turn.
struct vgpu_path *vgpu_pick_path(struct vgpu_warp *w) {
  int first = w->path ? (int)(w->path - w->paths) : 0;
  for (int i = 1; i <= 32; i++) {
    struct vgpu_path *p = &w->paths[(first + i) & 31];
    if (p->state == PATH_READY) return p;
  }
  return NULL;
}

static const struct vgpu_ins *switch_path(struct vgpu_warp *w) {
  struct vgpu_path *p = vgpu_pick_path(w);
  if (!p) return NULL;
  vgpu_use_path(w, p);
  return p->pc;
}

// The lanes that wait at n go on from its JOIN, as a path of n's parent.
static void release(struct vgpu_warp *w, struct vgpu_node *n, uint32_t lanes) {
  struct vgpu_path *p = new_path(w);
  *p = (struct vgpu_path){.state = PATH_READY, .mask = lanes, .pc = n->at, .frame = n->frame, .node = n->parent};
  n->arrived &= ~lanes;
  n->expected &= ~lanes;
}

// The path that runs stands at a JOIN. Returns what to run next.
const struct vgpu_ins *vgpu_arrive(struct vgpu_warp *w, const struct vgpu_ins *d) {
  struct vgpu_path *p = w->path;
  for (;;) {
    struct vgpu_node *n = p->node;
    if (!n || n->at != d || n->frame != p->frame) return d + 1;
    n->arrived |= p->mask;
    if (n->arrived != n->expected) {
      p->state = PATH_FREE;
      return switch_path(w);
    }
    p->mask = w->active = n->expected;
    p->node = n->parent;
    node_give(w, n);
  }
}

// Lanes `taken` of the path branch to target, the rest go on after d. Both are proper parts. d->imm: pc of the JOIN or -1.
const struct vgpu_ins *vgpu_branch(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t taken, const struct vgpu_ins *target) {
  struct vgpu_path *p = w->path;
  const struct vgpu_ins *join = d->imm < 0 ? NULL : w->block->launch->code->ins + d->imm;
  struct vgpu_node *n = p->node;
  if (join && !(n && n->at == join && n->frame == p->frame)) {
    n = node_take(w);
    if (!n) {
      vgpu_report(w, d, 32, VG_STACK, "the host has no memory for another divergent branch");
      return vgpu_die(w);
    }
    n->parent = p->node;
    n->at = join;
    n->frame = p->frame;
    n->expected = p->mask;
    p->node = n;
  }
  uint32_t rest = p->mask & ~taken;
  if (target == join && join) { // nothing on the way: they wait at once
    n->arrived |= taken;
    p->mask = w->active = rest;
    return d + 1;
  }
  if (d + 1 == join && d->op == OP_BRA_PRED) {
    n->arrived |= rest;
    p->mask = w->active = taken;
    return target;
  }
  struct vgpu_path *q = new_path(w);
  *q = (struct vgpu_path){.state = PATH_READY, .mask = taken, .pc = target, .frame = p->frame, .node = p->node};
  p->mask = w->active = rest;
  return d + 1;
}

// Lanes are gone for good: every node above expects them no more. Nodes whose other lanes have all come are released.
static void forget_lanes(struct vgpu_warp *w, struct vgpu_node *n, uint32_t lanes) {
  while (n) {
    struct vgpu_node *parent = n->parent;
    n->expected &= ~lanes;
    if (!n->expected) {
      node_give(w, n);
    } else if (n->arrived == n->expected) {
      release(w, n, n->arrived);
      node_give(w, n);
    }
    n = parent;
  }
}

const struct vgpu_ins *vgpu_lanes_exit(struct vgpu_warp *w, const struct vgpu_ins *next, uint32_t lanes) {
  struct vgpu_path *p = w->path;
  w->exited |= lanes;
  w->block->alive_threads -= (uint32_t)__builtin_popcount(lanes);
  p->mask &= ~lanes;
  w->active = p->mask;
  if (!p->mask) p->state = PATH_FREE;
  for (struct vgpu_frame *f = p->frame; f;) {
    struct vgpu_frame *caller = f->caller;
    f->lanes &= ~lanes;
    if (!f->lanes && f != w->root) vgpu_frame_give(w, f);
    f = caller;
  }
  forget_lanes(w, p->node, lanes);
  return p->mask ? next : switch_path(w);
}

// The path's turn is over; another of this warp or another warp goes on.
const struct vgpu_ins *vgpu_yield(struct vgpu_warp *w, const struct vgpu_ins *next) {
  w->path->pc = next;
  if (w->spins) {
    vgpu_starve(w);
    w->block->spun = true;
  }
  return NULL;
}

const struct vgpu_ins *vgpu_suspend(struct vgpu_warp *w, const struct vgpu_ins *pc, enum vgpu_path_state state) {
  w->path->pc = pc;
  w->path->state = state;
  return switch_path(w);
}

// Lanes that wait for the path which spins are sent on: they may be what it waits for.
void vgpu_starve(struct vgpu_warp *w) {
  for (struct vgpu_node *n = w->path->node; n; n = n->parent)
    if (n->arrived) release(w, n, n->arrived);
}

// No path of the warp can run, but some wait at .sync instructions. Those whose lanes have all exited go on; lanes that a
// bar.warp.sync waits for and that wait at a node are sent on, as nothing binds them to wait; else the waiting ends and
// vgpu_meet reports who is missing. false: no path waits so.
bool vgpu_unstick(struct vgpu_warp *w) {
  struct vgpu_path *stuck = NULL;
  for (int i = 0; i < 32; i++) {
    struct vgpu_path *p = &w->paths[i];
    if (p->state != PATH_SYNC) continue;
    stuck = p;
    if (!(p->need & ~w->exited & ~p->mask)) {
      p->state = PATH_READY;
      return true;
    }
    if (p->pc->op != OP_WARPSYNC) continue;
    for (struct vgpu_node *n = p->node; n; n = n->parent)
      if (n->arrived & p->need) {
        release(w, n, n->arrived);
        return true;
      }
  }
  if (!stuck) return false;
  stuck->state = PATH_READY;
  stuck->need = ~0u;
  return true;
}

void vgpu_warp_start(struct vgpu_warp *w, const struct vgpu_func *kernel) {
  struct vgpu_code *c = w->block->launch->code;
  memset(w->paths, 0, sizeof w->paths);
  struct vgpu_frame *f = w->root;
  f->caller = NULL;
  f->func = kernel;
  f->call = NULL;
  f->lanes = w->valid;
  f->local_base = f->depth = 0;
  w->exited = 0;
  w->base[1] = c->constants;
  w->base[2] = (uint8_t *)w->special;
  w->base[3] = NULL;
  w->paths[0] = (struct vgpu_path){.state = PATH_READY, .mask = w->valid, .pc = c->ins + kernel->first, .frame = f};
  vgpu_use_path(w, &w->paths[0]);
}

// Waits p for the same meeting as the path that runs at d?
static bool is_meeting(const struct vgpu_warp *w, const struct vgpu_path *p, const struct vgpu_ins *d) {
  if (p->state != PATH_SYNC) return false;
  return p->pc->op == OP_WARPSYNC ? d->op == OP_WARPSYNC : p->pc == d && p->frame == w->frame;
}

// Lanes at d, those of the path included. With `wake` the others will go on behind their instruction.
static uint32_t waiters(struct vgpu_warp *w, const struct vgpu_ins *d, bool wake) {
  uint32_t have = w->path->mask;
  for (int i = 0; i < 32; i++) {
    struct vgpu_path *p = &w->paths[i];
    if (!is_meeting(w, p, d)) continue;
    have |= p->mask;
    if (!wake) continue;
    p->pc++;
    p->need = 0;
    p->state = PATH_READY;
  }
  return have;
}

// What a lane that is named but absent does, for the message.
static const char *whereabouts(struct vgpu_warp *w, unsigned lane, int *line) {
  const struct vgpu_code *c = w->block->launch->code;
  *line = 0;
  if (w->exited >> lane & 1) return "has exited";
  for (int i = 0; i < 32; i++) {
    struct vgpu_path *p = &w->paths[i];
    if (p->state == PATH_FREE || !(p->mask >> lane & 1)) continue;
    *line = c->meta[p->pc - c->ins].line;
    if (p == w->path) return "is predicated off";
    return p->state == PATH_BAR ? "waits at the barrier in" : p->state == PATH_SYNC ? "waits in" : "has come to";
  }
  return "has gone past it";
}

static bool missing(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, uint32_t absent) {
  unsigned lane = (unsigned)__builtin_ctz(absent), asker = (unsigned)__builtin_ctz(m);
  int line;
  const char *what = whereabouts(w, lane, &line);
  char where[32] = "";
  if (line) snprintf(where, sizeof where, " line %d", line);
  return vgpu_report(w, d, asker, VG_MISSING_LANE, "lane %u is named but is not there: it %s%s (named and absent 0x%08x, present 0x%08x)", lane,
                     what, where, absent, m);
}

bool vgpu_meet(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, uint32_t need, const struct vgpu_ins **next) {
  uint32_t live = need & w->valid & ~w->exited, absent = live & ~m;
  *next = d + 1;
  if (!absent) {
    uint32_t gone = need & w->valid & w->exited;
    if (gone && d->op != OP_WARPSYNC && !missing(w, d, m, gone)) return *next = vgpu_die(w), false;
    vg_sync_warp(&w->block->vg, w->index);
    return true;
  }
  if (absent & w->active) { // here, but its guard keeps it out
    if (!missing(w, d, m, absent & w->active)) return *next = vgpu_die(w), false;
    return true;
  }
  if (w->path->need == ~0u && w->path->state == PATH_READY) { // vgpu_settle gave up waiting
    w->path->need = 0;
    if (!missing(w, d, m, absent)) return *next = vgpu_die(w), false;
    return true;
  }
  if (live & ~waiters(w, d, false)) {
    w->path->need = live;
    *next = vgpu_suspend(w, d, PATH_SYNC);
    return false;
  }
  uint32_t met = waiters(w, d, true); // the last has come: it runs the instruction for all
  if (d->op == OP_WARPSYNC) {         // nothing to run; the others may stand in other frames
    vg_sync_warp(&w->block->vg, w->index);
    return false;
  }
  w->active = met;
  uint32_t all = w->active;
  if (d->guard) all &= PRED((d->guard & 0x7fffffffu) - 1) ^ (0 - (d->guard >> 31));
  *next = d->fn(w, d, all);
  w->active = w->path->mask;
  return false;
}

// Lanes mask[k] of the path go to target[k]; d->imm: pc of the JOIN or -1.
const struct vgpu_ins *vgpu_branch_many(struct vgpu_warp *w, const struct vgpu_ins *d, int n, const uint32_t *mask,
                                        const struct vgpu_ins *const *target) {
  for (int k = 0; k + 1 < n; k++) {
    const struct vgpu_ins *next = vgpu_branch(w, d, mask[k], target[k]);
    if (!next) return NULL;
  }
  return target[n - 1];
}
