// Halves, and what several handlers need of floating point. Integer code that compilers vectorize; the same bits everywhere.
#ifndef VGPU_HALF_H
#define VGPU_HALF_H

#include "runtime/vgpu/ops.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline float vgpu_as_float(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static inline uint32_t vgpu_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}
static inline double vgpu_as_double(uint64_t u) {
  double f;
  memcpy(&f, &u, 8);
  return f;
}
static inline uint64_t vgpu_bits64(double f) {
  uint64_t u;
  memcpy(&u, &f, 8);
  return u;
}

// Exact. The exponent is rebiased by a product, which makes subnormals right too.
static inline float vgpu_half_to_float(uint16_t h) {
  uint32_t u = vgpu_bits(vgpu_as_float((uint32_t)(h & 0x7fffu) << 13) * 0x1p112f);
  u |= (h & 0x7c00u) == 0x7c00u ? 0x7f800000u | (uint32_t)(h & 0x3ffu) << 13 : 0;
  return vgpu_as_float(u | (uint32_t)(h & 0x8000u) << 16);
}

// To nearest, ties to even. A NaN becomes the canonical 0x7fff, as PTX says.
static inline uint16_t vgpu_float_to_half(float f) {
  uint32_t u = vgpu_bits(f), sign = u >> 16 & 0x8000u;
  u &= 0x7fffffffu;
  uint32_t small = vgpu_bits(vgpu_as_float(u < 0x38800000u ? u : 0) + 0.5f) - 0x3f000000u; // below 2^-14
  uint32_t normal = (u - 0x38000000u + 0xfffu + (u >> 13 & 1u)) >> 13;
  uint32_t r = u < 0x38800000u ? small : normal;
  r = u >= 0x477ff000u ? 0x7c00u : r;
  r |= sign;
  return (uint16_t)(u > 0x7f800000u ? 0x7fffu : r);
}

// A double to half in any rounding mode; FP_SAT is the caller's. Scalar.
static inline uint16_t vgpu_double_to_half(double v, enum vgpu_round mode) {
  uint64_t u = vgpu_bits64(v);
  uint32_t sign = (uint32_t)(u >> 63) << 15;
  u &= ~UINT64_C(0) >> 1;
  if (u > UINT64_C(0x7ff0000000000000)) return 0x7fff;
  if (u == UINT64_C(0x7ff0000000000000)) return (uint16_t)(sign | 0x7c00);
  bool away = (mode == ROUND_P && !sign) || (mode == ROUND_M && sign);
  int e = (int)(u >> 52) - 1023;
  if (e > 15) return (uint16_t)(sign | (mode == ROUND_N || away ? 0x7c00 : 0x7bff));
  uint64_t frac = (u & ((UINT64_C(1) << 52) - 1)) | (u >> 52 ? UINT64_C(1) << 52 : 0);
  int shift = e < -14 ? 42 + (-14 - e) : 42; // bits dropped
  if (shift > 62) shift = 62;
  if (!(u >> 52)) frac = u ? 1 : 0, shift = 62; // a double's subnormal: anything above zero
  uint64_t kept = frac >> shift, rest = frac & ((UINT64_C(1) << shift) - 1), tie = UINT64_C(1) << (shift - 1);
  if (mode == ROUND_N ? rest > tie || (rest == tie && kept & 1) : away && rest) kept++;
  uint32_t r = e < -14 ? (uint32_t)kept : (uint32_t)kept + ((uint32_t)(e + 14) << 10); // the leading 1 adds one to the exponent
  return (uint16_t)(sign | (r >= 0x7c00 ? (mode == ROUND_N || away ? 0x7c00 : 0x7bff) : r));
}

static inline bool vgpu_compare(enum vgpu_cmp cmp, double x, double y) {
  bool unordered = x != x || y != y;
  switch (cmp) {
  case CMP_EQ: return x == y;
  case CMP_NE: return !unordered && x != y;
  case CMP_LT: return x < y;
  case CMP_LE: return x <= y;
  case CMP_GT: return x > y;
  case CMP_GE: return x >= y;
  case CMP_EQU: return unordered || x == y;
  case CMP_NEU: return unordered || x != y;
  case CMP_LTU: return unordered || x < y;
  case CMP_LEU: return unordered || x <= y;
  case CMP_GTU: return unordered || x > y;
  case CMP_GEU: return unordered || x >= y;
  case CMP_NUM: return !unordered;
  default: return unordered;
  }
}

// fmaf without the instruction, for CPUs that lack it. The product is exact in fp64; of the sum, whose error is exact too, the last bit is
// made odd where something was lost, so that rounding once more, to 24 bits, is as if done at once.
static inline float vgpu_soft_fma(float x, float y, float z) {
  double p = (double)x * (double)y, c = (double)z, s = p + c, t = s - p, lost = (p - (s - t)) + (c - t);
  uint64_t u = vgpu_bits64(s), up = lost > 0, inexact = up | (uint64_t)(lost < 0), inward = up ^ (uint64_t)(s > 0);
  u += ((inexact & ~u) ^ (0 - inward)) + inward; // infinities and NaN are never inexact
  return (float)vgpu_as_double(u);
}
#if defined __FMA__ || defined __ARM_FEATURE_FMA
#define VGPU_FMA(x, y, z) __builtin_fmaf(x, y, z)
#else
#define VGPU_FMA(x, y, z) vgpu_soft_fma(x, y, z)
#endif

#define VGPU_NAN32 0x7fffffffu // what f32 instructions answer with
#define VGPU_NAN64 UINT64_C(0xfff8000000000000)

static inline float vgpu_canon(float v) { return vgpu_as_float(v == v ? vgpu_bits(v) : VGPU_NAN32); }
static inline float vgpu_flush(float v) {
  uint32_t u = vgpu_bits(v);
  return vgpu_as_float(u & 0x7f800000u ? u : u & 0x80000000u);
}
// To [0, 1]; NaN gives +0, as does -0.
static inline float vgpu_saturate(float v) { return v > 0 ? (v < 1 ? v : 1.0f) : 0.0f; }

#endif
