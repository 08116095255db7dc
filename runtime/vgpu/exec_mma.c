// Tensor cores. PTX ISA 9.7.14. Products are exact; sums are made in fp32, in order of k, starting from C, each rounded to nearest;
// an fp16 result is rounded once at the end. (The card's order and rounding are not documented; its sums are as exact as this or
// a little less.) Integer sums wrap, or clamp with .satfinite.
#include "runtime/vgpu/exec_internal.h"
#include "runtime/vgpu/half.h"

static inline const vgpu_loc *list_of(const struct vgpu_warp *w, const struct vgpu_ins *d) {
  return w->block->launch->code->list + d->list;
}

// d (m x n) += a (m x k) * b (k x n), all dense. Loops over columns vectorize.
static inline void multiply(float *restrict c, const float *restrict a, const float *restrict b, int m, int n, int k) {
  for (int i = 0; i < m; i++)
    for (int p = 0; p < k; p++) {
      float x = a[i * k + p];
      for (int j = 0; j < n; j++) c[i * n + j] += x * b[p * n + j];
    }
}

static void halves(float *out, const uint8_t *row) { // 32 registers of two halves -> 64 floats
  const uint16_t *h = (const uint16_t *)(const void *)row;
  for (int i = 0; i < 64; i++) out[i] = vgpu_half_to_float(h[i]);
}

// m16n8k8. Registers: D, A0 A1, B0, C. Lane l holds row l / 4 (and + 8), columns 2 (l % 4) and the next of A and C; of B rows
// 2 (l % 4) and the next of column l / 4. sub: 1 D is fp32, 2 C is.
HANDLER(MMA_F16) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  const vgpu_loc *l = list_of(w, d);
  unsigned nd = d->sub & 1 ? 4 : 2;
  float a[16 * 8], b[8 * 8], c[16 * 8], t[64];
  halves(a, P(l[nd])); // lane l, element e at 2 l + e is row l / 4, column 2 (l % 4) + e: already row major
  halves(a + 64, P(l[nd + 1]));
  halves(t, P(l[nd + 2]));
  for (int j = 0; j < 8; j++)
    for (int k = 0; k < 8; k++) b[k * 8 + j] = t[j * 8 + k];
  if (d->sub & 2) {
    for (int h = 0; h < 2; h++) {
      const float *c0 = (const float *)(void *)P(l[nd + 3 + 2 * h]), *c1 = (const float *)(void *)P(l[nd + 4 + 2 * h]);
      for (int i = 0; i < 32; i++) c[h * 64 + 2 * i] = c0[i], c[h * 64 + 2 * i + 1] = c1[i];
    }
  } else {
    halves(c, P(l[nd + 3]));
    halves(c + 64, P(l[nd + 4]));
  }
  multiply(c, a, b, 16, 8, 8);
  for (unsigned h = 0; h < 2; h++) {
    const float *s = c + h * 64;
    if (d->sub & 1) {
      float *d0 = (float *)(void *)P(l[2 * h]), *d1 = (float *)(void *)P(l[2 * h + 1]);
      for (int i = 0; i < 32; i++) d0[i] = vgpu_canon(s[2 * i]), d1[i] = vgpu_canon(s[2 * i + 1]);
    } else {
      uint16_t *dh = (uint16_t *)(void *)P(l[h]);
      for (int i = 0; i < 64; i++) dh[i] = vgpu_float_to_half(s[i]);
    }
  }
  return d + 1;
}

static uint32_t reg(struct vgpu_warp *w, vgpu_loc loc, unsigned lane) { return ((const uint32_t *)(void *)P(loc))[lane]; }
static float half_of(struct vgpu_warp *w, const vgpu_loc *l, unsigned lane, unsigned e) {
  return vgpu_half_to_float((uint16_t)(reg(w, l[e / 2], lane) >> 16 * (e & 1)));
}

// m8n8k4: four products of 8 x 8 x 4, each by a quad pair (lanes 4q..4q+3 and 16 more). sub as above; sub2: 1 A by columns, 2 B by
// columns.
static void quad_element(bool f32, unsigned lane, unsigned e, unsigned *row, unsigned *col) {
  unsigned high = lane >= 16 ? 4 : 0;
  if (f32) {
    *row = (lane & 1) + (e & 2) + high;
    *col = (e & 4) + (lane & 2) + (e & 1);
  } else {
    *row = lane % 4 + high;
    *col = e;
  }
}

static void quad_product(struct vgpu_warp *w, const struct vgpu_ins *d, unsigned q, float out[32][8]) {
  const vgpu_loc *l = list_of(w, d);
  unsigned nd = d->sub & 1 ? 8 : 4;
  float a[8 * 4] = {0}, b[4 * 8] = {0}, c[64] = {0};
  for (unsigned t = 0; t < 8; t++) {
    unsigned lane = q * 4 + t % 4 + (t >= 4 ? 16 : 0), high = t >= 4 ? 4 : 0, r, s;
    for (unsigned i = 0; i < 4; i++) {
      if (d->sub2 & 1) a[(i + high) * 4 + t % 4] = half_of(w, l + nd, lane, i);
      else a[(t % 4 + high) * 4 + i] = half_of(w, l + nd, lane, i);
      if (d->sub2 & 2) b[i * 8 + t % 4 + high] = half_of(w, l + nd + 2, lane, i);
      else b[t % 4 * 8 + i + high] = half_of(w, l + nd + 2, lane, i);
    }
    for (unsigned i = 0; i < 8; i++) {
      quad_element(d->sub & 2, lane, i, &r, &s);
      c[r * 8 + s] = d->sub & 2 ? vgpu_as_float(reg(w, l[nd + 4 + i], lane)) : half_of(w, l + nd + 4, lane, i);
    }
  }
  multiply(c, a, b, 8, 8, 4);
  for (unsigned t = 0; t < 8; t++) {
    unsigned lane = q * 4 + t % 4 + (t >= 4 ? 16 : 0), r, s;
    for (unsigned i = 0; i < 8; i++) {
      quad_element(d->sub & 1, lane, i, &r, &s);
      out[lane][i] = c[r * 8 + s];
    }
  }
}

HANDLER(MMA_M8N8K4) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  const vgpu_loc *l = list_of(w, d);
  float out[32][8];
  for (unsigned q = 0; q < 4; q++) quad_product(w, d, q, out);
  for (unsigned i = 0; i < 32; i++)
    for (unsigned e = 0; e < 8; e++) {
      if (d->sub & 1) ((float *)(void *)P(l[e]))[i] = vgpu_canon(out[i][e]);
      else ((uint16_t *)(void *)P(l[e / 2]))[2 * i + (e & 1)] = vgpu_float_to_half(out[i][e]);
    }
  return d + 1;
}

// Element e of a register of integers of `bits` bits.
static int32_t int_element(uint32_t v, unsigned e, unsigned bits, bool is_signed) {
  uint32_t x = v >> e * bits;
  if (bits == 32) return (int32_t)x;
  x &= (1u << bits) - 1;
  return is_signed && x >> (bits - 1) ? (int32_t)(x | ~0u << bits) : (int32_t)x;
}

static int32_t finish(int64_t v, bool clamp) {
  if (clamp) v = v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v;
  return (int32_t)(uint32_t)(uint64_t)v;
}

// m8n8k16 of bytes, m8n8k32 of nibbles. width: bits of an element; sub: 1 A is signed, 2 B is; sub2: .satfinite.
HANDLER(MMA_INT) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  const vgpu_loc *l = list_of(w, d); // D0 D1 A B C0 C1
  unsigned n = 32 / d->width;
  int32_t a[8][32], b[8][32], out[2][32];
  for (unsigned i = 0; i < 32; i++)
    for (unsigned e = 0; e < n; e++) {
      a[i / 4][i % 4 * n + e] = int_element(reg(w, l[2], i), e, d->width, d->sub & 1);
      b[i / 4][i % 4 * n + e] = int_element(reg(w, l[3], i), e, d->width, d->sub & 2);
    }
  for (unsigned i = 0; i < 32; i++)
    for (unsigned e = 0; e < 2; e++) {
      const int32_t *x = a[i / 4], *y = b[i % 4 * 2 + e];
      int32_t s = 0;
      for (unsigned k = 0; k < 4 * n; k++) s += x[k] * y[k];
      out[e][i] = finish((int64_t)(int32_t)reg(w, l[4 + e], i) + s, d->sub2);
    }
  memcpy(P(l[0]), out[0], 128);
  memcpy(P(l[1]), out[1], 128);
  return d + 1;
}

// m8n8k128 of bits: the count of ones of a xor b (sub 1: and).
HANDLER(MMA_B1) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  const vgpu_loc *l = list_of(w, d);
  uint32_t out[2][32];
  for (unsigned i = 0; i < 32; i++)
    for (unsigned e = 0; e < 2; e++) {
      uint32_t s = reg(w, l[4 + e], i);
      for (unsigned k = 0; k < 4; k++) {
        uint32_t x = reg(w, l[2], i / 4 * 4 + k), y = reg(w, l[3], (i % 4 * 2 + e) * 4 + k);
        s += (uint32_t)__builtin_popcount(d->sub ? x & y : x ^ y);
      }
      out[e][i] = s;
    }
  memcpy(P(l[0]), out[0], 128);
  memcpy(P(l[1]), out[1], 128);
  return d + 1;
}

// wmma. e: m << 16 | n << 8 | k; type: PTX_F16, or of integers with width bits; sub: 1 D is fp32, 2 C is; sub2: 1 A by columns, 2 B by
// columns; imm: 1 A signed, 2 B signed, 4 .satfinite, 8 bits combined by and. Registers D, A, B, C. Fragments as in exec_mem.c.
struct fragment {
  const vgpu_loc *regs;
  unsigned per_lane, rows, cols;
  bool column;
};

static inline void place(const struct fragment *f, unsigned r, unsigned c, unsigned *lane, unsigned *e) {
  unsigned n = f->column ? c * f->rows + r : r * f->cols + c;
  *lane = n / f->per_lane;
  *e = n % f->per_lane;
}

static void gather_halves(struct vgpu_warp *w, const struct fragment *f, float *out) {
  for (unsigned r = 0; r < f->rows; r++)
    for (unsigned c = 0; c < f->cols; c++) {
      unsigned lane, e;
      place(f, r, c, &lane, &e);
      out[r * f->cols + c] = half_of(w, f->regs, lane, e);
    }
}

static void wmma_half(struct vgpu_warp *w, const struct vgpu_ins *d, const struct fragment f[4]) {
  float a[32 * 16], b[16 * 32], c[256];
  gather_halves(w, &f[1], a);
  gather_halves(w, &f[2], b);
  if (d->sub & 2)
    for (unsigned n = 0; n < 256; n++) c[n] = vgpu_as_float(reg(w, f[3].regs[n % 8], n / 8));
  else gather_halves(w, &f[3], c);
  multiply(c, a, b, (int)f[1].rows, (int)f[2].cols, (int)f[1].cols);
  for (unsigned n = 0; n < 256; n++) {
    if (d->sub & 1) ((float *)(void *)P(f[0].regs[n % 8]))[n / 8] = vgpu_canon(c[n]);
    else ((uint16_t *)(void *)P(f[0].regs[n % 8 / 2]))[n / 8 * 2 + (n & 1)] = vgpu_float_to_half(c[n]);
  }
}

static void gather_ints(struct vgpu_warp *w, const struct fragment *f, unsigned bits, bool is_signed, int32_t *out) {
  unsigned per_reg = 32 / bits;
  for (unsigned r = 0; r < f->rows; r++)
    for (unsigned c = 0; c < f->cols; c++) {
      unsigned lane, e;
      place(f, r, c, &lane, &e);
      out[r * f->cols + c] = int_element(reg(w, f->regs[e / per_reg], lane), e % per_reg, bits, is_signed);
    }
}

static void wmma_int(struct vgpu_warp *w, const struct vgpu_ins *d, const struct fragment f[4]) {
  int32_t a[1024], b[1024], out[256];
  unsigned rows = f[1].rows, cols = f[2].cols, depth = f[1].cols;
  gather_ints(w, &f[1], d->width, d->imm & 1, a);
  gather_ints(w, &f[2], d->width, d->imm & 2, b);
  for (unsigned i = 0; i < rows; i++)
    for (unsigned j = 0; j < cols; j++) {
      unsigned n = i * cols + j;
      int64_t s = (int32_t)reg(w, f[3].regs[n % f[3].per_lane], n / f[3].per_lane);
      for (unsigned k = 0; k < depth; k++) {
        int32_t x = a[i * depth + k], y = b[k * cols + j];
        s += d->width == 1 ? (d->imm & 8 ? x & y & 1 : (x ^ y) & 1) : x * y;
      }
      out[n] = finish(s, d->imm & 4);
    }
  for (unsigned n = 0; n < rows * cols; n++) ((int32_t *)(void *)P(f[0].regs[n % f[0].per_lane]))[n / f[0].per_lane] = out[n];
}

HANDLER(WMMA_MMA) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  const vgpu_loc *l = list_of(w, d);
  unsigned rows = d->e >> 16, cols = d->e >> 8 & 255, k = d->e & 255, per_reg = 32 / d->width;
  bool half = d->type == PTX_F16;
  unsigned nd = half ? (d->sub & 1 ? 8 : 4) : rows * cols / 32;
  unsigned na = half ? 8 : rows * k / 32 / per_reg, nb = half ? 8 : k * cols / 32 / per_reg;
  struct fragment f[4] = {{l, rows * cols / 32, rows, cols, false},
                          {l + nd, rows * k / 32, rows, k, d->sub2 & 1},
                          {l + nd + na, k * cols / 32, k, cols, d->sub2 & 2},
                          {l + nd + na + nb, rows * cols / 32, rows, cols, false}};
  if (half) wmma_half(w, d, f);
  else wmma_int(w, d, f);
  return d + 1;
}

// movmatrix.m8n8.trans.b16: an 8 x 8 matrix of halves, two a lane, transposed.
HANDLER(MOVMATRIX) {
  const struct vgpu_ins *next;
  if (!vgpu_meet(w, d, m, ~0u, &next)) return next;
  uint16_t t[64], *r = (uint16_t *)(void *)P(d->dst);
  memcpy(t, P(d->a), sizeof t);
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 8; j++) r[i * 8 + j] = t[j * 8 + i];
  return d + 1;
}

void VARIANT_FN(vgpu_ops_mma)(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  X(MMA_F16) X(MMA_M8N8K4) X(MMA_INT) X(MMA_B1) X(WMMA_MMA) X(MOVMATRIX)
#undef X
}
