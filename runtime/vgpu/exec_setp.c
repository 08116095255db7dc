// Comparisons. PTX ISA 9.7.6. A result is one bit a lane; with NaN the ordered comparisons are false, the ...u ones true.
#include "runtime/vgpu/exec_lanes.h"
#include "runtime/vgpu/half.h"
#include <math.h>

// p = r op c, q = !r op c. sub: enum vgpu_bool, sub2: c is negated; dst and e may be ~0.
static inline const struct vgpu_ins *store_bits(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, uint32_t r) {
  uint32_t q = ~r;
  if (d->sub) {
    uint32_t c = PRED(d->c);
    if (d->sub2) c = ~c;
    r = d->sub == BOOL_AND ? r & c : d->sub == BOOL_OR ? r | c : r ^ c;
    q = d->sub == BOOL_AND ? q & c : d->sub == BOOL_OR ? q | c : q ^ c;
  }
  if (d->dst != ~0u) PRED(d->dst) = (PRED(d->dst) & ~m) | (r & m);
  if (d->e != ~0u) PRED(d->e) = (PRED(d->e) & ~m) | (q & m);
  return d + 1;
}

#define COMPARE(NAME, T, EXPR) \
  HANDLER(NAME) { \
    const T *pa = (const T *)P(d->a), *pb = (const T *)P(d->b); \
    uint32_t bits = 0; \
    LANES { \
      T x = pa[i], y = pb[i]; \
      bits |= (EXPR) ? vgpu_lane_bit[i] : 0; \
    } \
    return store_bits(w, d, m, bits); \
  }
#define COMPARE_ALL(S, T) \
  COMPARE(SETP_EQ_##S, T, x == y) COMPARE(SETP_NE_##S, T, x != y) COMPARE(SETP_LT_##S, T, x < y) \
  COMPARE(SETP_LE_##S, T, x <= y) COMPARE(SETP_GT_##S, T, x > y) COMPARE(SETP_GE_##S, T, x >= y)
COMPARE_ALL(U16, uint16_t) COMPARE_ALL(S16, int16_t) COMPARE_ALL(U32, uint32_t) COMPARE_ALL(S32, int32_t)
COMPARE_ALL(U64, uint64_t) COMPARE_ALL(S64, int64_t)

// imm: FP_FTZ flushes subnormal operands, which a comparison can see.
static inline float in32(float x, bool ftz) { return ftz && fabsf(x) < 0x1p-126f ? x * 0 : x; }
static inline double in64(double x, bool ftz) { return (void)ftz, x; }
static inline float in16(uint16_t x, bool ftz) {
  float f = vgpu_half_to_float(x);
  return ftz && fabsf(f) < 0x1p-14f ? f * 0 : f;
}
#define COMPARE_F(NAME, T, F, IN, EXPR) \
  HANDLER(NAME) { \
    const T *pa = (const T *)P(d->a), *pb = (const T *)P(d->b); \
    uint32_t bits = 0; \
    bool ftz = d->imm & FP_FTZ; \
    LANES { \
      F x = IN(pa[i], ftz), y = IN(pb[i], ftz); \
      bits |= (EXPR) ? vgpu_lane_bit[i] : 0; \
    } \
    return store_bits(w, d, m, bits); \
  }
#define NANS (x != x || y != y)
#define COMPARE_FLOAT(S, T, F, IN) \
  COMPARE_F(SETP_EQ_##S, T, F, IN, x == y) COMPARE_F(SETP_NE_##S, T, F, IN, x < y || x > y) COMPARE_F(SETP_LT_##S, T, F, IN, x < y) \
  COMPARE_F(SETP_LE_##S, T, F, IN, x <= y) COMPARE_F(SETP_GT_##S, T, F, IN, x > y) COMPARE_F(SETP_GE_##S, T, F, IN, x >= y) \
  COMPARE_F(SETP_EQU_##S, T, F, IN, x == y || NANS) COMPARE_F(SETP_NEU_##S, T, F, IN, x != y) COMPARE_F(SETP_LTU_##S, T, F, IN, !(x >= y)) \
  COMPARE_F(SETP_LEU_##S, T, F, IN, !(x > y)) COMPARE_F(SETP_GTU_##S, T, F, IN, !(x <= y)) COMPARE_F(SETP_GEU_##S, T, F, IN, !(x < y)) \
  COMPARE_F(SETP_NUM_##S, T, F, IN, !NANS) COMPARE_F(SETP_NAN_##S, T, F, IN, NANS)
COMPARE_FLOAT(F32, float, float, in32)
COMPARE_FLOAT(F64, double, double, in64)
COMPARE_FLOAT(F16, uint16_t, float, in16)

// p|q = a cmp b by halves: p the low one, q the high one. imm: comparison << 8 | FP_FTZ; sub, sub2 as above.
HANDLER(SETP_F16X2) {
  const uint32_t *pa = (const uint32_t *)P(d->a), *pb = (const uint32_t *)P(d->b);
  uint32_t r[2] = {0, 0};
  for (int i = 0; i < 32; i++)
    for (int h = 0; h < 2; h++) {
      float x = in16((uint16_t)(pa[i] >> 16 * h), d->imm & FP_FTZ), y = in16((uint16_t)(pb[i] >> 16 * h), d->imm & FP_FTZ);
      r[h] |= (uint32_t)vgpu_compare((enum vgpu_cmp)(d->imm >> 8), x, y) << i;
    }
  vgpu_loc dst[2] = {d->dst, d->e};
  for (int h = 0; h < 2; h++) {
    if (dst[h] == ~0u) continue;
    uint32_t v = r[h];
    if (d->sub) {
      uint32_t c = PRED(d->c);
      if (d->sub2) c = ~c;
      v = d->sub == BOOL_AND ? v & c : d->sub == BOOL_OR ? v | c : v ^ c;
    }
    PRED(dst[h]) = (PRED(dst[h]) & ~m) | (v & m);
  }
  return d + 1;
}

// set: the predicate a (made by the setp before) becomes all ones, 1 or 1.0 of the type. imm: the value for true.
HANDLER(SETP_COMBINE) {
  uint32_t p = PRED(d->a);
  void *r = P(d->dst);
  for (int i = 0; i < 32; i++) {
    if (!ON(i)) continue;
    if (d->width == 4) ((uint32_t *)r)[i] = p >> i & 1 ? (uint32_t)d->imm : 0;
    else ((uint16_t *)r)[i] = p >> i & 1 ? (uint16_t)d->imm : 0;
  }
  return d + 1;
}

enum { TEST_FINITE, TEST_INFINITE, TEST_NUMBER, TEST_NAN, TEST_NORMAL, TEST_SUBNORMAL };
static inline bool test_class(int what, int c) {
  switch (what) {
  case TEST_FINITE: return c != FP_INFINITE && c != FP_NAN;
  case TEST_INFINITE: return c == FP_INFINITE;
  case TEST_NUMBER: return c != FP_NAN;
  case TEST_NAN: return c == FP_NAN;
  case TEST_NORMAL: return c == FP_NORMAL;
  default: return c == FP_SUBNORMAL;
  }
}
#define TEST(NAME, T) \
  HANDLER(NAME) { \
    const T *pa = (const T *)P(d->a); \
    uint32_t v = 0; \
    for (int i = 0; i < 32; i++) v |= (uint32_t)test_class(d->sub, fpclassify(pa[i])) << i; \
    PRED(d->dst) = (PRED(d->dst) & ~m) | (v & m); \
    return d + 1; \
  }
TEST(TESTP_F32, float)
TEST(TESTP_F64, double)

void VARIANT_FN(vgpu_ops_setp)(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  VGPU_OPS_SETP(X)
#undef X
}
