// f16 and f16x2 arithmetic. PTX ISA 9.7.4. A sum or product of halves in fp32 and then rounded is the correctly rounded one
// (24 >= 2 * 11 + 2 bits); fma needs the odd rounding below. sub: FP_FTZ, FP_SAT. A NaN is 0x7fff.
#include "runtime/vgpu/exec_lanes.h"
#include "runtime/vgpu/half.h"
#include <math.h>

// x * y is exact in fp64; the sum's last bit is made odd where something was lost, so that rounding again is harmless.
static inline uint16_t fused(float x, float y, float z) {
  double p = (double)x * (double)y, c = (double)z, s = p + c, t = s - p, lost = (p - (s - t)) + (c - t);
  uint64_t u = vgpu_bits64(s);
  uint64_t odd = (lost > 0) == (s > 0) ? u + 1 : u - 1;
  u = lost != 0 && lost == lost && !(u & 1) ? odd : u;
  return vgpu_double_to_half(vgpu_as_double(u), ROUND_N);
}

static inline float operand(uint16_t h, uint8_t flags) {
  float f = vgpu_half_to_float(h);
  return flags & FP_FTZ && fabsf(f) < 0x1p-14f ? vgpu_as_float(vgpu_bits(f) & 0x80000000u) : f;
}

static inline uint16_t result(uint16_t h, uint8_t flags) {
  if (flags & FP_SAT) {
    if (h > 0x7c00) h = 0; // negative or NaN
    else if (h > 0x3c00) h = 0x3c00;
  }
  if (flags & FP_FTZ && !(h & 0x7c00)) h &= 0x8000;
  return h;
}
#define ADD(x, y) vgpu_float_to_half(x + y)
#define SUB(x, y) vgpu_float_to_half(x - y)
#define MUL(x, y) vgpu_float_to_half(x * y)

#define IN(p, h) operand((uint16_t)(p >> 16 * h), s)
#define HALF2(NAME, F) \
  BINARY(NAME##_F16, uint16_t, uint16_t, uint16_t, ({ uint8_t s = d->sub; float a = IN(x, 0), b = IN(y, 0); result(F(a, b), s); })) \
  BINARY(NAME##_F16X2, uint32_t, uint32_t, uint32_t, ({ \
    uint8_t s = d->sub; \
    float a = IN(x, 0), b = IN(y, 0), a2 = IN(x, 1), b2 = IN(y, 1); \
    (uint32_t) result(F(a, b), s) | (uint32_t)result(F(a2, b2), s) << 16; \
  }))
HALF2(ADD, ADD)
HALF2(SUB, SUB)
HALF2(MUL, MUL)
TERNARY(FMA_F16, uint16_t, uint16_t, uint16_t, uint16_t, ({ uint8_t s = d->sub; result(fused(IN(x, 0), IN(y, 0), IN(z, 0)), s); }))
TERNARY(FMA_F16X2, uint32_t, uint32_t, uint32_t, uint32_t, ({
  uint8_t s = d->sub;
  (uint32_t) result(fused(IN(x, 0), IN(y, 0), IN(z, 0)), s) | (uint32_t)result(fused(IN(x, 1), IN(y, 1), IN(z, 1)), s) << 16;
}))

static inline uint16_t tidy(uint16_t h, uint8_t s) { return s & FP_FTZ && !(h & 0x7c00) ? h & 0x8000 : h; }
UNARY(ABS_F16, uint16_t, uint16_t, tidy(x, d->sub) & 0x7fff)
UNARY(NEG_F16, uint16_t, uint16_t, tidy(x, d->sub) ^ 0x8000)
UNARY(ABS_F16X2, uint32_t, uint32_t, (tidy((uint16_t)x, d->sub) | (uint32_t)tidy((uint16_t)(x >> 16), d->sub) << 16) & 0x7fff7fffu)
UNARY(NEG_F16X2, uint32_t, uint32_t, (tidy((uint16_t)x, d->sub) | (uint32_t)tidy((uint16_t)(x >> 16), d->sub) << 16) ^ 0x80008000u)

static inline uint16_t ex2(uint16_t x, uint8_t s) { return vgpu_float_to_half(exp2f(operand(x, s))); }
static inline uint16_t hyperbolic(uint16_t x, uint8_t s) { return vgpu_float_to_half(tanhf(operand(x, s))); }
// Library functions, lane by lane and only where wanted.
#define FUNCTION1(NAME, T, EXPR) \
  HANDLER(NAME) { \
    T *r = (T *)P(d->dst); \
    const T *pa = (const T *)P(d->a); \
    uint8_t s = d->sub; \
    for (int i = 0; i < 32; i++) { \
      if (!ON(i)) continue; \
      T x = pa[i]; \
      r[i] = (T)(EXPR); \
    } \
    return d + 1; \
  }
#define FUNCTION(NAME, F) \
  FUNCTION1(NAME##_F16, uint16_t, F(x, s)) \
  FUNCTION1(NAME##_F16X2, uint32_t, F((uint16_t)x, s) | (uint32_t)F((uint16_t)(x >> 16), s) << 16)
FUNCTION(EX2, ex2)
FUNCTION(TANH, hyperbolic)

// set.cmp.f16x2: imm comparison << 8 | ftz; sub 1: the answer is 1.0 a half, else all ones.
HANDLER(SET_F16X2) {
  uint32_t *r = (uint32_t *)P(d->dst);
  const uint32_t *pa = (const uint32_t *)P(d->a), *pb = (const uint32_t *)P(d->b);
  uint8_t ftz = (uint8_t)(d->imm & FP_FTZ);
  for (int i = 0; i < 32; i++) {
    uint32_t v = 0;
    for (int h = 0; h < 2; h++) {
      float x = operand((uint16_t)(pa[i] >> 16 * h), ftz), y = operand((uint16_t)(pb[i] >> 16 * h), ftz);
      if (vgpu_compare((enum vgpu_cmp)(d->imm >> 8), x, y)) v |= (d->sub ? 0x3c00u : 0xffffu) << 16 * h;
    }
    if (ON(i)) r[i] = v;
  }
  return d + 1;
}

#define ALL(X) \
  X(ADD_F16) X(SUB_F16) X(MUL_F16) X(FMA_F16) X(ABS_F16) X(NEG_F16) X(EX2_F16) X(TANH_F16) X(ADD_F16X2) X(SUB_F16X2) X(MUL_F16X2) \
  X(FMA_F16X2) X(ABS_F16X2) X(NEG_F16X2) X(EX2_F16X2) X(TANH_F16X2) X(SET_F16X2)

void VARIANT_FN(vgpu_ops_half)(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  ALL(X)
#undef X
}
