// atom and red. PTX ISA 9.7.12. Lanes act one after the other. sub: enum vgpu_atom; type; a: address; b, c: operands; dst ~0: red.
// Blocks run on several threads, so global memory is changed by the host's own atomics.
#include "runtime/vgpu/exec_access.h"
#include "runtime/vgpu/half.h"
#include <math.h>

static uint64_t int_result(unsigned op, unsigned type, uint64_t old, uint64_t b, uint64_t c) {
  bool wide = type == PTX_U64 || type == PTX_S64 || type == PTX_B64, is_signed = type == PTX_S32 || type == PTX_S64;
  int64_t so = wide ? (int64_t)old : (int32_t)old, sb = wide ? (int64_t)b : (int32_t)b;
  switch (op) {
  case ATOM_ADD: return old + b;
  case ATOM_MIN: return is_signed ? (so < sb ? old : b) : old < b ? old : b;
  case ATOM_MAX: return is_signed ? (so > sb ? old : b) : old > b ? old : b;
  case ATOM_INC: return old >= b ? 0 : old + 1;
  case ATOM_DEC: return old == 0 || old > b ? b : old - 1;
  case ATOM_AND: return old & b;
  case ATOM_OR: return old | b;
  case ATOM_XOR: return old ^ b;
  case ATOM_EXCH: return b;
  default: return old == b ? c : old;
  }
}

static uint16_t add_half(uint16_t x, uint16_t y) { return vgpu_float_to_half(vgpu_half_to_float(x) + vgpu_half_to_float(y)); }

// flush: global fp32 sums flush subnormals, shared ones do not.
static uint64_t result(const struct vgpu_ins *d, uint64_t old, uint64_t b, uint64_t c, bool flush) {
  if (d->sub != ATOM_ADD) return int_result(d->sub, d->type, old, b, c);
  switch (d->type) {
  case PTX_F32: {
    float x = vgpu_as_float((uint32_t)old), y = vgpu_as_float((uint32_t)b);
    if (!flush) return vgpu_bits(vgpu_canon(x + y));
    return vgpu_bits(vgpu_flush(vgpu_canon(vgpu_flush(x) + vgpu_flush(y))));
  }
  case PTX_F64: return vgpu_bits64(vgpu_as_double(old) + vgpu_as_double(b));
  case PTX_F16: return add_half((uint16_t)old, (uint16_t)b);
  case PTX_F16X2: return add_half((uint16_t)old, (uint16_t)b) | (uint32_t)add_half((uint16_t)(old >> 16), (uint16_t)(b >> 16)) << 16;
  default: return old + b;
  }
}

#define UPDATE(T) \
  { \
    T *at = (T *)(void *)p, old = __atomic_load_n(at, __ATOMIC_RELAXED), want; \
    do want = (T)result(d, old, b, c, flush); \
    while (!__atomic_compare_exchange_n(at, &old, want, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)); \
    return old; \
  }
static uint64_t update(const struct vgpu_ins *d, uint8_t *p, uint64_t b, uint64_t c, bool flush) {
  if (d->width == 8) UPDATE(uint64_t)
  if (d->width == 2) UPDATE(uint16_t)
  UPDATE(uint32_t)
}

static uint64_t get(const void *row, unsigned width, int i) {
  return width == 8 ? ((const uint64_t *)row)[i] : width == 4 ? ((const uint32_t *)row)[i] : ((const uint16_t *)row)[i];
}

static uint8_t *local_word(struct vgpu_warp *w, int lane) {
  return (uint8_t *)&w->local[(size_t)(w->lane_addr[lane] / 4) * 32 + (unsigned)lane];
}

static bool atomic_part(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, unsigned space, uint64_t old[32]) {
  struct vg_access *a = &w->access;
  bool shared = space == PTX_SHARED;
  memcpy(a->addr, w->lane_addr, sizeof a->addr);
  a->active = m;
  a->pc = vgpu_pc(w, d);
  a->width = d->width;
  a->op = VG_ATOMIC;
  a->data = NULL;
  w->seen_space = shared ? VGPU_SPACE_SHARED : VGPU_SPACE_GLOBAL;
  if (space == PTX_LOCAL || space == PTX_PARAM) {
    for (int i = 0; i < 32; i++)
      if (ON(i) && (space == PTX_PARAM || d->width > 4 || w->lane_addr[i] % d->width || w->lane_addr[i] + d->width > w->local_bytes))
        return vgpu_report(w, d, (unsigned)i, VG_OUT_OF_BOUNDS, "atomic at local or parameter memory"), false;
    w->seen_space = VGPU_SPACE_LOCAL;
    for (int i = 0; i < 32; i++) a->ptr[i] = ON(i) ? local_word(w, i) + (w->lane_addr[i] & 3) : NULL;
  } else if (!(shared ? vg_shared_access(&w->block->vg, w->index, a) : vg_global_access(&w->block->vg, w->index, a))) {
    return false;
  }
  const void *b = P(d->b), *c = P(d->c);
  for (int i = 0; i < 32; i++)
    if (ON(i)) old[i] = update(d, a->ptr[i], get(b, d->width, i), d->sub == ATOM_CAS ? get(c, d->width, i) : 0, !shared);
  return true;
}

static const struct vgpu_ins *ATOM(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m) {
  uint64_t old[32];
  vgpu_addresses(w, d);
  w->seen_addr = w->lane_addr;
  w->spins = true;
  for (uint32_t left = m; left;) {
    uint32_t part = left;
    unsigned s = d->space;
    if (s == PTX_GENERIC) part = vgpu_same_space(w, left, &s);
    left &= ~part;
    if (!atomic_part(w, d, part, s, old)) return vgpu_die(w);
  }
  if (d->dst == ~0u) return d + 1;
  void *r = P(d->dst);
  for (int i = 0; i < 32; i++) {
    if (!ON(i)) continue;
    if (d->width == 8) ((uint64_t *)r)[i] = old[i];
    else if (d->width == 4) ((uint32_t *)r)[i] = (uint32_t)old[i];
    else ((uint16_t *)r)[i] = (uint16_t)old[i];
  }
  return d + 1;
}

void vgpu_ops_atom(vgpu_op_fn *t) { t[OP_ATOM] = ATOM; }
