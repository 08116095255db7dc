// Loads, stores, ldmatrix and wmma fragments. PTX ISA 9.7.9, 9.7.14. In a vgpu_ins: a is the address row of sub2 bytes an element,
// imm its offset, width the bytes of one element in memory, vec their number, sub the bytes of the register(s).
#include "runtime/vgpu/exec_access.h"
#include "runtime/vgpu/exec_lanes.h"

static inline const vgpu_loc *list_of(const struct vgpu_warp *w, const struct vgpu_ins *d) {
  return w->block->launch->code->list + d->list;
}

// Element k of every lane from buf (stride bytes a lane) to a register row.
#define SPREAD(T, R) \
  { \
    R *r = (R *)row; \
    for (int i = 0; i < 32; i++) { \
      T v; \
      memcpy(&v, buf + (unsigned)i * stride, sizeof v); \
      r[i] = ON(i) ? (R)v : r[i]; \
    } \
  }
static void to_row(uint8_t *row, const uint8_t *buf, unsigned stride, const struct vgpu_ins *d, uint32_t m) {
  bool is_signed = d->type >= PTX_S8 && d->type <= PTX_S64;
  switch (d->width << 4 | d->sub) {
  case 0x44:
    if (stride == 4 && m == ~0u) memcpy(row, buf, 128);
    else SPREAD(uint32_t, uint32_t)
    break;
  case 0x88:
    if (stride == 8 && m == ~0u) memcpy(row, buf, 256);
    else SPREAD(uint64_t, uint64_t)
    break;
  case 0x22: SPREAD(uint16_t, uint16_t) break;
  case 0x12: if (is_signed) SPREAD(int8_t, int16_t) else SPREAD(uint8_t, uint16_t) break;
  case 0x14: if (is_signed) SPREAD(int8_t, int32_t) else SPREAD(uint8_t, uint32_t) break;
  case 0x18: if (is_signed) SPREAD(int8_t, int64_t) else SPREAD(uint8_t, uint64_t) break;
  case 0x24: if (is_signed) SPREAD(int16_t, int32_t) else SPREAD(uint16_t, uint32_t) break;
  case 0x28: if (is_signed) SPREAD(int16_t, int64_t) else SPREAD(uint16_t, uint64_t) break;
  case 0x48: if (is_signed) SPREAD(int32_t, int64_t) else SPREAD(uint32_t, uint64_t) break;
  default: break; // decode admits no others
  }
}

#define COLLECT(R, T) \
  { \
    const R *r = (const R *)(const void *)row; \
    for (int i = 0; i < 32; i++) { \
      T v = (T)r[i]; \
      memcpy(buf + (unsigned)i * stride, &v, sizeof v); \
    } \
  }
static void from_row(const uint8_t *row, uint8_t *buf, unsigned stride, const struct vgpu_ins *d) {
  switch (d->width << 4 | d->sub) {
  case 0x44:
    if (stride == 4) memcpy(buf, row, 128);
    else COLLECT(uint32_t, uint32_t)
    break;
  case 0x88: COLLECT(uint64_t, uint64_t) break;
  case 0x22: COLLECT(uint16_t, uint16_t) break;
  case 0x12: COLLECT(uint16_t, uint8_t) break;
  case 0x14: COLLECT(uint32_t, uint8_t) break;
  case 0x18: COLLECT(uint64_t, uint8_t) break;
  case 0x24: COLLECT(uint32_t, uint16_t) break;
  case 0x28: COLLECT(uint64_t, uint16_t) break;
  case 0x48: COLLECT(uint64_t, uint32_t) break;
  default: break;
  }
}

HANDLER(LD) {
  unsigned total = (unsigned)d->width * d->vec;
  vgpu_addresses(w, d);
  if (!vgpu_read(w, d, m, d->space, total, w->scratch)) return vgpu_die(w);
  if (d->vec == 1) {
    if (d->dst != ~0u) to_row(P(d->dst), w->scratch, total, d, m);
    return d + 1;
  }
  const vgpu_loc *list = list_of(w, d);
  for (unsigned k = 0; k < d->vec; k++)
    if (list[k] != ~0u) to_row(P(list[k]), w->scratch + k * d->width, total, d, m);
  return d + 1;
}

HANDLER(ST) {
  unsigned total = (unsigned)d->width * d->vec;
  vgpu_addresses(w, d);
  if (d->vec == 1) {
    from_row(P(d->b), w->scratch, total, d);
  } else {
    const vgpu_loc *list = list_of(w, d);
    for (unsigned k = 0; k < d->vec; k++) from_row(P(list[k]), w->scratch + k * d->width, total, d);
  }
  return vgpu_write(w, d, m, d->space, total, w->scratch) ? d + 1 : vgpu_die(w);
}

// A kernel's parameter at a constant offset: one value for all lanes.
HANDLER(LD_PARAM) {
  const uint8_t *p = w->block->launch->params + d->imm;
  const vgpu_loc *list = list_of(w, d);
  for (unsigned k = 0; k < d->vec; k++) {
    vgpu_loc loc = d->vec == 1 ? d->dst : list[k];
    if (loc != ~0u) to_row(P(loc), p + k * d->width, 0, d, m);
  }
  return d + 1;
}

// Parameters of a .func and of calls lie in the frame, a row for every 4 bytes; imm is the byte offset from a.
HANDLER(LD_SLOT) {
  const vgpu_loc *list = list_of(w, d);
  const uint8_t *first = P(d->a);
  for (unsigned k = 0; k < d->vec; k++) {
    vgpu_loc loc = d->vec == 1 ? d->dst : list[k];
    if (loc == ~0u) continue;
    unsigned at = (unsigned)d->imm + k * d->width;
    const uint8_t *row = first + at / 4 * 128;
    for (unsigned i = 0; i < 32; i++) {
      memcpy(w->scratch + i * 8, row + i * 4 + (at & 3), d->width < 4 ? d->width : 4);
      if (d->width == 8) memcpy(w->scratch + i * 8 + 4, row + 128 + i * 4, 4);
    }
    to_row(P(loc), w->scratch, 8, d, m);
  }
  return d + 1;
}

HANDLER(ST_SLOT) {
  const vgpu_loc *list = list_of(w, d);
  uint8_t *first = P(d->a);
  for (unsigned k = 0; k < d->vec; k++) {
    unsigned at = (unsigned)d->imm + k * d->width;
    uint8_t *row = first + at / 4 * 128;
    from_row(P(d->vec == 1 ? d->b : list[k]), w->scratch, 8, d);
    for (unsigned i = 0; i < 32; i++) {
      if (!ON(i)) continue;
      memcpy(row + i * 4 + (at & 3), w->scratch + i * 8, d->width < 4 ? d->width : 4);
      if (d->width == 8) memcpy(row + 128 + i * 4, w->scratch + i * 8 + 4, 4);
    }
  }
  return d + 1;
}

HANDLER(PREFETCH) {
  vgpu_addresses(w, d);
  w->seen_addr = w->lane_addr;
  w->seen_space = VGPU_SPACE_GLOBAL;
  (void)m;
  return d + 1;
}

HANDLER(FENCE) { // sub: of block scope only
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  vg_fence(&w->block->vg, w->index, d->sub);
  (void)m;
  return d + 1;
}

HANDLER(MOV_LOCAL) { // the address of a .local variable: imm into this call's part of the stack
  uint64_t v = w->frame->local_base + (uint64_t)d->imm;
  if (d->width == 8) {
    uint64_t *r = (uint64_t *)P(d->dst);
    LANES r[i] = ON(i) ? v : r[i];
  } else {
    uint32_t *r = (uint32_t *)P(d->dst);
    LANES r[i] = ON(i) ? (uint32_t)v : r[i];
  }
  return d + 1;
}

HANDLER(ISSPACEP) {
  vgpu_addresses(w, d);
  uint32_t v = 0;
  for (int i = 0; i < 32; i++) {
    uint64_t a = w->lane_addr[i], top = a >> 60;
    bool in = false;
    if (!ON(i)) continue;
    if (d->space == PTX_SHARED) in = top == VG_SHARED_WINDOW >> 60;
    else if (d->space == PTX_LOCAL) in = top == VG_LOCAL_WINDOW >> 60;
    else if (d->space == PTX_PARAM) in = top == VGPU_PARAM_WINDOW >> 60;
    else if (!top) {
      struct vg_alloc *alloc = d->space == PTX_CONST ? vg_mem_find(a) : NULL;
      in = d->space == PTX_GLOBAL || (alloc && alloc->kind == VG_MEM_CONST);
    }
    v |= (uint32_t)in << i;
  }
  PRED(d->dst) = (PRED(d->dst) & ~m) | (v & m);
  return d + 1;
}

// Lane 8k + r names row r of matrix k. Lane l gets row l / 4, halves 2 (l % 4) and the next; .trans (sub): column l / 4.
HANDLER(LDMATRIX) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  unsigned n = d->vec;
  uint32_t rows = n == 4 ? ~0u : (1u << 8 * n) - 1;
  vgpu_addresses(w, d);
  if (!vgpu_read(w, d, rows & m, d->space, 16, w->scratch)) return vgpu_die(w);
  const vgpu_loc *list = list_of(w, d);
  const uint16_t *h = (const uint16_t *)(const void *)w->scratch;
  for (unsigned k = 0; k < n; k++) {
    if (list[k] == ~0u) continue;
    uint32_t *r = (uint32_t *)P(list[k]);
    const uint16_t *t = h + k * 64;
    for (unsigned i = 0; i < 32; i++) {
      unsigned a = i / 4, b = i % 4 * 2;
      uint32_t v = d->sub ? t[b * 8 + a] | (uint32_t)t[(b + 1) * 8 + a] << 16 : t[a * 8 + b] | (uint32_t)t[a * 8 + b + 1] << 16;
      if (ON(i)) r[i] = v;
    }
  }
  return d + 1;
}

// Fragments. imm of the instruction is 0; list: registers; type: of an element, c: the stride row (elements) or ~0 for dense.
// Element e of lane l is number l * per_lane + e, counted along memory (A and B) or along rows (C and D), so that fragments of A
// and B are contiguous pieces whatever the layout. e packs: rows << 16 | columns << 8 | per_lane; sub: column major;
// vec: 1 = A or B. Halves of A and B are held twice by nobody: registers past the last element repeat it.
struct shape {
  unsigned rows, cols, per_lane, bits;
  bool column, along_memory;
};

static struct shape shape_of(const struct vgpu_ins *d) {
  return (struct shape){.rows = d->e >> 16 & 255, .cols = d->e >> 8 & 255, .per_lane = d->e & 255, .bits = d->width,
                        .column = d->sub & 1, .along_memory = d->vec == 1};
}

// Byte offset of the chunk that starts at element e of lane l.
static uint64_t chunk_offset(const struct shape *s, uint64_t stride, unsigned lane, unsigned e) {
  unsigned n = lane * s->per_lane + e, minor_len, major, minor;
  if (s->along_memory || !s->column) {
    minor_len = s->column ? s->rows : s->cols;
    major = n / minor_len;
    minor = n % minor_len;
  } else { // C by rows, memory by columns
    minor = n / s->cols;
    major = n % s->cols;
  }
  return (major * stride + minor) * s->bits / 8;
}

static unsigned chunk_elements(const struct shape *s) {
  if (!s->along_memory && s->column) return 1;
  unsigned minor = s->column ? s->rows : s->cols, n = s->per_lane;
  while (n > minor || n * s->bits > 128) n /= 2;
  return n;
}

static void fragment_addresses(struct vgpu_warp *w, const struct vgpu_ins *d, const struct shape *s, unsigned e, const uint64_t base[32]) {
  for (unsigned i = 0; i < 32; i++) {
    uint64_t stride = d->c != ~0u ? ((const uint32_t *)P(d->c))[i] : s->column ? s->rows : s->cols;
    w->lane_addr[i] = base[i] + chunk_offset(s, stride, i, e);
  }
}

HANDLER(WMMA_LOAD) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  struct shape s = shape_of(d);
  const vgpu_loc *list = list_of(w, d);
  uint64_t base[32];
  uint8_t frag[32][64] = {{0}};
  vgpu_addresses(w, d);
  memcpy(base, w->lane_addr, sizeof base);
  unsigned chunk = chunk_elements(&s), bytes = chunk * s.bits / 8, all = s.per_lane * s.bits / 8;
  for (unsigned e = 0; e < s.per_lane; e += chunk) {
    fragment_addresses(w, d, &s, e, base);
    if (!vgpu_read(w, d, m, d->space, bytes, w->scratch)) return vgpu_die(w);
    for (unsigned i = 0; i < 32; i++) memcpy(frag[i] + e * s.bits / 8, w->scratch + i * bytes, bytes);
  }
  for (unsigned k = 0; k < d->num_list; k++) {
    uint32_t *r = (uint32_t *)P(list[k]);
    for (unsigned i = 0; i < 32; i++)
      if (ON(i)) memcpy(&r[i], frag[i] + k * 4 % all, 4); // past the end: the elements again
  }
  return d + 1;
}

HANDLER(WMMA_STORE) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  struct shape s = shape_of(d);
  const vgpu_loc *list = list_of(w, d);
  uint64_t base[32];
  uint8_t frag[32][64];
  vgpu_addresses(w, d);
  memcpy(base, w->lane_addr, sizeof base);
  for (unsigned k = 0; k < d->num_list; k++)
    for (unsigned i = 0; i < 32; i++) memcpy(frag[i] + k * 4, P(list[k]) + i * 4, 4);
  unsigned chunk = chunk_elements(&s), bytes = chunk * s.bits / 8;
  for (unsigned e = 0; e < s.per_lane; e += chunk) {
    fragment_addresses(w, d, &s, e, base);
    for (unsigned i = 0; i < 32; i++) memcpy(w->scratch + i * bytes, frag[i] + e * s.bits / 8, bytes);
    if (!vgpu_write(w, d, m, d->space, bytes, w->scratch)) return vgpu_die(w);
  }
  return d + 1;
}

#define HERE(X) \
  X(LD) X(ST) X(LD_PARAM) X(LD_SLOT) X(ST_SLOT) X(PREFETCH) X(LDMATRIX) X(ISSPACEP) X(MOV_LOCAL) X(WMMA_LOAD) X(WMMA_STORE) X(FENCE)

void VARIANT_FN(vgpu_ops_mem)(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  HERE(X)
#undef X
}
