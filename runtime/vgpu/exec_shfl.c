// Exchange between the lanes of a warp. PTX ISA 9.7.9 "shfl.sync", 9.7.13 "vote", "match", "activemask", "bar.warp.sync".
// imm is the locator of the row that names the lanes taking part.
#include "runtime/vgpu/exec_internal.h"

// All lanes named by the lanes m. A lane that runs the instruction but does not name itself is a finding.
static bool named_lanes(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, uint32_t *need) {
  const uint32_t *memb = (const uint32_t *)P((vgpu_loc)d->imm);
  uint32_t all = 0, self = 0;
  for (int i = 0; i < 32; i++) {
    all |= ON(i) ? memb[i] : 0;
    self |= memb[i] & vgpu_lane_bit[i];
  }
  *need = all;
  if (!(m & ~self)) return true;
  unsigned lane = (unsigned)__builtin_ctz(m & ~self);
  return vgpu_report(w, d, lane, VG_MISSING_LANE, "lane %u runs the instruction but its mask 0x%08x does not name it", lane, memb[lane]);
}

#define MEET(w, d, m) \
  { \
    uint32_t need; \
    const struct vgpu_ins *next; \
    if (!named_lanes(w, d, m, &need)) return vgpu_die(w); \
    if (!vgpu_meet(w, d, m, need, &next)) return next; \
  }

// The source lane of lane i, or -1: out of range, it keeps its own.
static int source(unsigned mode, int i, uint32_t b, uint32_t c) {
  int seg = (int)(c >> 8 & 31), clamp = (int)(c & 31), delta = (int)(b & 31);
  int most = (i & seg) | (clamp & ~seg), j;
  switch (mode) {
  case SHFL_UP: j = i - delta; return j >= most ? j : -1;
  case SHFL_DOWN: j = i + delta; break;
  case SHFL_BFLY: j = i ^ delta; break;
  default: j = (i & seg) | (delta & ~seg); break;
  }
  return j <= most ? j : -1;
}

HANDLER(SHFL) {
  MEET(w, d, m)
  const uint32_t *a = (const uint32_t *)P(d->a), *b = (const uint32_t *)P(d->b), *c = (const uint32_t *)P(d->c);
  uint32_t out[32], in_range = 0, absent = 0;
  for (int i = 0; i < 32; i++) {
    int j = source(d->sub, i, b[i], c[i]);
    in_range |= (uint32_t)(j >= 0) << i;
    int from = j >= 0 && j < 32 ? j : i;
    out[i] = a[from];
    absent |= ON(i) && !(m >> from & 1) ? 1u << i : 0;
  }
  if (absent) {
    int i = __builtin_ctz(absent), j = source(d->sub, i, b[i], c[i]);
    if (!vgpu_report(w, d, (unsigned)i, VG_MISSING_LANE, "lane %d reads lane %d, which %s", i, j,
                     w->valid >> j & 1 ? (w->exited >> j & 1 ? "has exited" : "does not take part") : "does not exist"))
      return vgpu_die(w);
  }
  uint32_t *r = (uint32_t *)P(d->dst);
  for (int i = 0; i < 32; i++) r[i] = ON(i) ? out[i] : r[i];
  if (d->e != ~0u) PRED(d->e) = (PRED(d->e) & ~m) | (in_range & m);
  return d + 1;
}

static uint32_t vote(unsigned mode, uint32_t p, uint32_t members) {
  switch (mode) {
  case VOTE_ALL: return (p & members) == members;
  case VOTE_ANY: return (p & members) != 0;
  case VOTE_UNI: return (p & members) == 0 || (p & members) == members;
  default: return p & members;
  }
}

HANDLER(VOTE) { // a: predicate, sub2: negated, sub: mode
  MEET(w, d, m)
  const uint32_t *memb = (const uint32_t *)P((vgpu_loc)d->imm);
  uint32_t p = PRED(d->a), bits = 0;
  if (d->sub2) p = ~p;
  uint32_t *r = d->sub == VOTE_BALLOT ? (uint32_t *)P(d->dst) : NULL;
  for (int i = 0; i < 32; i++) {
    if (!ON(i)) continue;
    uint32_t v = vote(d->sub, p, memb[i] & m);
    if (r) r[i] = v;
    else bits |= v << i;
  }
  if (!r) PRED(d->dst) = (PRED(d->dst) & ~m) | (bits & m);
  return d + 1;
}

static uint64_t value(struct vgpu_warp *w, const struct vgpu_ins *d, int i) {
  return d->width == 8 ? ((const uint64_t *)P(d->a))[i] : ((const uint32_t *)P(d->a))[i];
}

static uint32_t equal_lanes(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t members, int lane) {
  uint32_t same = 0;
  for (int i = 0; i < 32; i++)
    if (members >> i & 1 && value(w, d, i) == value(w, d, lane)) same |= 1u << i;
  return same;
}

HANDLER(MATCH_ANY) {
  MEET(w, d, m)
  const uint32_t *memb = (const uint32_t *)P((vgpu_loc)d->imm);
  uint32_t out[32] = {0}, *r = (uint32_t *)P(d->dst);
  for (int i = 0; i < 32; i++)
    if (ON(i)) out[i] = equal_lanes(w, d, memb[i] & m, i);
  for (int i = 0; i < 32; i++)
    if (ON(i)) r[i] = out[i];
  return d + 1;
}

HANDLER(MATCH_ALL) { // e: predicate, true where all agree
  MEET(w, d, m)
  const uint32_t *memb = (const uint32_t *)P((vgpu_loc)d->imm);
  uint32_t out[32] = {0}, agree = 0, *r = (uint32_t *)P(d->dst);
  for (int i = 0; i < 32; i++) {
    if (!ON(i)) continue;
    uint32_t members = memb[i] & m;
    if (equal_lanes(w, d, members, i) != members) continue;
    out[i] = members;
    agree |= 1u << i;
  }
  for (int i = 0; i < 32; i++)
    if (ON(i) && d->dst != ~0u) r[i] = out[i];
  if (d->e != ~0u) PRED(d->e) = (PRED(d->e) & ~m) | agree;
  return d + 1;
}

HANDLER(ACTIVEMASK) {
  uint32_t *r = (uint32_t *)P(d->dst), v = w->active;
  for (int i = 0; i < 32; i++)
    if (ON(i)) r[i] = v;
  return d + 1;
}

HANDLER(WARPSYNC) {
  MEET(w, d, m)
  return d + 1;
}

void vgpu_ops_warp(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  X(SHFL) X(VOTE) X(MATCH_ANY) X(MATCH_ALL) X(ACTIVEMASK) X(WARPSYNC)
#undef X
}
