// Branches, calls, exits and what else changes the path. PTX ISA 9.7.12, 9.7.19. Handlers return what runs next; NULL: the warp's turn
// is over (its paths say where they stand).
#include "runtime/vgpu/exec_internal.h"
#include <time.h>

HANDLER(JOIN) {
  (void)m;
  w->issued--; // no instruction of the machine
  return vgpu_arrive(w, d);
}

static inline const struct vgpu_ins *jump(struct vgpu_warp *w, const struct vgpu_ins *target) {
  return --w->fuel > 0 ? target : vgpu_yield(w, target);
}

HANDLER(BRA) {
  (void)m;
  return jump(w, w->block->launch->code->ins + d->target);
}

HANDLER(BRA_PRED) { // a: the predicate, sub: negated
  uint32_t taken = PRED(d->a);
  if (d->sub) taken = ~taken;
  taken &= m;
  if (!taken) return d + 1;
  const struct vgpu_ins *target = w->block->launch->code->ins + d->target;
  if (taken == m) return jump(w, target);
  w->fuel--;
  return vgpu_branch(w, d, taken, target);
}

HANDLER(BRX) { // a: the index, list: pcs
  const struct vgpu_code *c = w->block->launch->code;
  const uint32_t *index = (const uint32_t *)P(d->a);
  uint32_t mask[32];
  const struct vgpu_ins *target[32];
  int n = 0;
  for (uint32_t left = m; left;) {
    unsigned lane = (unsigned)__builtin_ctz(left);
    uint32_t k = index[lane];
    if (k >= d->num_list) {
      vgpu_report(w, d, lane, VG_BAD_CALL, "branch index %u of a table with %u targets", k, d->num_list);
      return vgpu_die(w);
    }
    mask[n] = 0;
    for (int i = 0; i < 32; i++)
      if (left >> i & 1 && c->list[d->list + index[i]] == c->list[d->list + k]) mask[n] |= 1u << i;
    target[n] = c->ins + c->list[d->list + k];
    left &= ~mask[n++];
  }
  return n == 1 ? jump(w, target[0]) : vgpu_branch_many(w, d, n, mask, target);
}

static void copy_row(uint8_t *to, const uint8_t *from, uint32_t bytes, uint32_t m) {
  for (uint32_t k = 0; k < (bytes + 3) / 4; k++) {
    uint32_t *r = (uint32_t *)(void *)(to + k * 128);
    const uint32_t *a = (const uint32_t *)(const void *)(from + k * 128);
    for (int i = 0; i < 32; i++)
      if (ON(i)) r[i] = a[i];
  }
}

static const struct vgpu_ins *enter(struct vgpu_warp *w, const struct vgpu_ins *d, const struct vgpu_func *f) {
  const struct vgpu_code *c = w->block->launch->code;
  uint32_t m = w->active;
  if (f->builtin || !f->num) return vgpu_call_builtin(w, d, f, m);
  struct vgpu_frame *from = w->frame, *g;
  uint32_t base = from->local_base + ((from->func->local_bytes + 32 + 15) & ~15u); // as if 32 bytes of registers were saved
  if (base + f->local_bytes > w->local_bytes || !(g = vgpu_frame_take(w))) {
    vgpu_report(w, d, (unsigned)__builtin_ctz(m), VG_STACK, "the stack is exhausted at a depth of %u calls (%u bytes a thread)", from->depth,
                w->local_bytes);
    return vgpu_die(w);
  }
  g->caller = from;
  g->func = f;
  g->call = d;
  g->lanes = m;
  g->local_base = base;
  g->depth = from->depth + 1;
  const vgpu_loc *args = c->list + d->list + f->num_rets;
  for (uint32_t k = 0; k < f->num_params; k++) copy_row(g->regs + (f->param_locs[k] & ~3u), P(args[k]), f->param_sizes[k], m);
  w->path->frame = w->frame = g;
  w->base[0] = g->regs;
  if (--w->fuel <= 0) return vgpu_yield(w, c->ins + f->first);
  return c->ins + f->first;
}

HANDLER(CALL) {
  (void)m;
  return enter(w, d, &w->block->launch->code->funcs[d->target]);
}

// a: function pointers; lanes that call different functions take turns.
HANDLER(CALL_INDIRECT) {
  const struct vgpu_code *c = w->block->launch->code;
  const uint64_t *to = (const uint64_t *)P(d->a);
  unsigned lane = (unsigned)__builtin_ctz(m);
  uint64_t f = (to[lane] - VGPU_FUNC_WINDOW) / 16 - 1;
  if (to[lane] >> 60 != VGPU_FUNC_WINDOW >> 60 || to[lane] % 16 || f >= c->num_funcs || c->funcs[f].ptx->is_entry) {
    vgpu_report(w, d, lane, VG_BAD_CALL, "call through 0x%llx, which is no function", (unsigned long long)to[lane]);
    return vgpu_die(w);
  }
  if (c->funcs[f].num_params + c->funcs[f].num_rets != d->num_list || c->funcs[f].num_rets != d->sub) {
    vgpu_report(w, d, lane, VG_BAD_CALL, "call of %s with %u parameters, which takes %u", c->funcs[f].name, d->num_list - d->sub,
                c->funcs[f].num_params);
    return vgpu_die(w);
  }
  uint32_t others = 0;
  for (int i = 0; i < 32; i++)
    if (ON(i) && to[i] != to[lane]) others |= 1u << i;
  if (others) { // they come back to this instruction when these lanes have gone on
    const struct vgpu_ins *next = vgpu_branch(w, d, others, d);
    if (!next) return NULL;
  }
  return enter(w, d, &c->funcs[f]);
}

HANDLER(RET) { // of a .func; all lanes of the path
  (void)m;
  const struct vgpu_code *c = w->block->launch->code;
  struct vgpu_frame *f = w->frame, *to = f->caller;
  const struct vgpu_func *fn = f->func;
  const struct vgpu_ins *call = f->call;
  for (uint32_t k = 0; k < fn->num_rets; k++) {
    vgpu_loc loc = c->list[call->list + k];
    if (loc != ~0u) copy_row(to->regs + (loc & ~3u), f->regs + (fn->ret_locs[k] & ~3u), fn->ret_sizes[k], w->active);
  }
  w->path->frame = w->frame = to;
  w->base[0] = to->regs;
  f->lanes &= ~w->active;
  if (!f->lanes) vgpu_frame_give(w, f);
  (void)d;
  return call + 1;
}

HANDLER(EXIT) {
  struct vgpu_block *b = w->block;
  const struct vgpu_ins *next = vgpu_lanes_exit(w, d + 1, m);
  if (b->waiting_bars && !vgpu_barriers_after_exit(b)) return vgpu_die(w);
  if (!next) {
    struct vgpu_path *p = vgpu_pick_path(w);
    if (p && w->path->state == PATH_FREE) {
      vgpu_use_path(w, p);
      return p->pc;
    }
  }
  return next;
}

HANDLER(BAR) {
  (void)m;
  return vgpu_barrier(w, d);
}

HANDLER(TRAP) {
  vgpu_report(w, d, (unsigned)__builtin_ctz(m), VG_TRAP, "trap");
  return vgpu_die(w);
}

HANDLER(BRKPT) {
  vgpu_report(w, d, (unsigned)__builtin_ctz(m), VG_TRAP, "breakpoint without a debugger");
  return vgpu_die(w);
}

HANDLER(NANOSLEEP) {
  (void)m;
  w->spins = true;
  return vgpu_yield(w, d + 1);
}

// Warp instructions issued stand for cycles; %globaltimer is the host's clock. sub: 0 %clock, 1 %clock_hi, 2 %clock64,
// 3 %globaltimer, 4 %globaltimer_lo, 5 %globaltimer_hi, 6 zero (%pm and the like)
HANDLER(CLOCK) {
  uint64_t v = w->block->issued + w->issued;
  if (d->sub >= 3) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    v = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    w->spins = true;
  }
  if (d->sub == 1 || d->sub == 5) v >>= 32;
  if (d->sub == 6) v = 0;
  void *r = P(d->dst);
  for (int i = 0; i < 32; i++) {
    if (!ON(i)) continue;
    if (d->width == 8) ((uint64_t *)r)[i] = v;
    else ((uint32_t *)r)[i] = (uint32_t)v;
  }
  return d + 1;
}

HANDLER(NOP) {
  (void)w, (void)m;
  return d + 1;
}

void vgpu_ops_control(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  VGPU_OPS_CONTROL(X)
#undef X
}
