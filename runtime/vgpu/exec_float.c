// fp32 and fp64 arithmetic in round-to-nearest, and the approximate functions. PTX ISA 9.7.3. f32 results that are NaN are the
// canonical 0x7fffffff; an f64 NaN is the first NaN operand made quiet, else 0xfff8000000000000. Other roundings and .sat
// are exec_slow.c's. The .approx functions are nearly correctly rounded: better than the hardware's documented errors.
#include "runtime/vgpu/exec_lanes.h"
#include "runtime/vgpu/half.h"
#include <math.h>

#define CANON(v) vgpu_canon(v)
#define FLUSH(v) vgpu_flush(v)
#define F32_PAIR(NAME, EXPR) \
  BINARY(NAME##_F32, float, float, float, CANON(EXPR)) \
  BINARY(NAME##_F32_FTZ, float, float, float, ({ x = FLUSH(x); y = FLUSH(y); FLUSH(CANON(EXPR)); }))
F32_PAIR(ADD, x + y)
F32_PAIR(SUB, x - y)
F32_PAIR(MUL, x *y)
TERNARY(FMA_F32, float, float, float, float, CANON(VGPU_FMA(x, y, z)))
TERNARY(FMA_F32_FTZ, float, float, float, float, ({ x = FLUSH(x); y = FLUSH(y); z = FLUSH(z); FLUSH(CANON(VGPU_FMA(x, y, z))); }))

static inline double quiet(double x) { return vgpu_as_double(vgpu_bits64(x) | UINT64_C(1) << 51); }
static inline double nan2(double v, double x, double y) {
  double n = x != x ? quiet(x) : y != y ? quiet(y) : vgpu_as_double(VGPU_NAN64);
  return v == v ? v : n;
}
static inline double nan3(double v, double x, double y, double z) {
  double n = x != x ? quiet(x) : y != y ? quiet(y) : z != z ? quiet(z) : vgpu_as_double(VGPU_NAN64);
  return v == v ? v : n;
}
BINARY(ADD_F64, double, double, double, nan2(x + y, x, y))
BINARY(SUB_F64, double, double, double, nan2(x - y, x, y))
BINARY(MUL_F64, double, double, double, nan2(x *y, x, y))
TERNARY(FMA_F64, double, double, double, double, nan3(__builtin_fma(x, y, z), x, y, z))

// The number wins over a NaN, -0 is below +0.
static inline float min32(float x, float y) {
  float v = x < y ? x : y < x ? y : vgpu_as_float(vgpu_bits(x) | vgpu_bits(y));
  return x != x ? (y != y ? vgpu_as_float(VGPU_NAN32) : y) : y != y ? x : v;
}
static inline float max32(float x, float y) {
  float v = x > y ? x : y > x ? y : vgpu_as_float(vgpu_bits(x) & vgpu_bits(y));
  return x != x ? (y != y ? vgpu_as_float(VGPU_NAN32) : y) : y != y ? x : v;
}
static inline double min64(double x, double y) {
  double v = x < y ? x : y < x ? y : vgpu_as_double(vgpu_bits64(x) | vgpu_bits64(y));
  return x != x ? (y != y ? quiet(x) : y) : y != y ? x : v;
}
static inline double max64(double x, double y) {
  double v = x > y ? x : y > x ? y : vgpu_as_double(vgpu_bits64(x) & vgpu_bits64(y));
  return x != x ? (y != y ? quiet(x) : y) : y != y ? x : v;
}
static inline float maybe_flush(float x, bool ftz) { return ftz ? FLUSH(x) : x; }
#define FTZ (d->sub & FP_FTZ)
BINARY(MIN_F32, float, float, float, min32(maybe_flush(x, FTZ), maybe_flush(y, FTZ)))
BINARY(MAX_F32, float, float, float, max32(maybe_flush(x, FTZ), maybe_flush(y, FTZ)))
BINARY(MIN_F64, double, double, double, min64(x, y))
BINARY(MAX_F64, double, double, double, max64(x, y))
UNARY(ABS_F32, float, float, vgpu_as_float(vgpu_bits(maybe_flush(x, FTZ)) & 0x7fffffffu))
UNARY(NEG_F32, float, float, vgpu_as_float(vgpu_bits(maybe_flush(x, FTZ)) ^ 0x80000000u))
UNARY(ABS_F64, uint64_t, uint64_t, x & ~UINT64_C(0) >> 1)
UNARY(NEG_F64, uint64_t, uint64_t, x ^ UINT64_C(1) << 63)
BINARY(COPYSIGN_F32, uint32_t, uint32_t, uint32_t, (x & 0x80000000u) | (y & 0x7fffffffu))
BINARY(COPYSIGN_F64, uint64_t, uint64_t, uint64_t, (x & UINT64_C(1) << 63) | (y & ~UINT64_C(0) >> 1))

// Library functions, lane by lane and only where wanted.
#define FUNCTION(NAME, EXPR) \
  HANDLER(NAME) { \
    float *r = (float *)P(d->dst); \
    const float *pa = (const float *)P(d->a); \
    bool ftz = FTZ; \
    for (int i = 0; i < 32; i++) { \
      if (!ON(i)) continue; \
      float x = maybe_flush(pa[i], ftz); \
      r[i] = maybe_flush(CANON(EXPR), ftz); \
    } \
    return d + 1; \
  }
FUNCTION(EX2_F32, exp2f(x))
FUNCTION(LG2_F32, log2f(x))
FUNCTION(SIN_F32, sinf(x))
FUNCTION(COS_F32, cosf(x))
FUNCTION(TANH_F32, tanhf(x))
UNARY(RSQRT_F32, float, float, ({ x = maybe_flush(x, FTZ); maybe_flush(CANON((float)(1.0 / sqrt((double)x))), FTZ); }))

// rcp/rsqrt.approx.ftz.f64: the upper 32 bits count, the lower are zero.
static inline double coarse(double v) { return vgpu_as_double(vgpu_bits64(v) & ~UINT64_C(0xffffffff)); }
static inline double flush64(double v) { return fabs(v) < 0x1p-1022 ? copysign(0, v) : v; }
UNARY(RCP_FTZ_F64, double, double, x != x ? vgpu_as_double(UINT64_C(0x7fffffff00000000)) : flush64(coarse(1.0 / flush64(coarse(x)))))
UNARY(RSQRT_FTZ_F64, double, double, x != x || x < 0 ? vgpu_as_double(UINT64_C(0x7fffffff00000000)) : coarse(1.0 / sqrt(flush64(coarse(x)))))
UNARY(RSQRT_F64, double, double, nan2(1.0 / sqrt(x), x, x))

#define FAST(X) \
  X(ADD_F32) X(SUB_F32) X(MUL_F32) X(FMA_F32) X(ADD_F32_FTZ) X(SUB_F32_FTZ) X(MUL_F32_FTZ) X(FMA_F32_FTZ) X(ADD_F64) X(SUB_F64) \
  X(MUL_F64) X(FMA_F64) X(MIN_F32) X(MAX_F32) X(MIN_F64) X(MAX_F64) X(ABS_F32) X(NEG_F32) X(ABS_F64) X(NEG_F64) X(COPYSIGN_F32) \
  X(COPYSIGN_F64) X(EX2_F32) X(LG2_F32) X(SIN_F32) X(COS_F32) X(TANH_F32) X(RSQRT_F32) X(RCP_FTZ_F64) X(RSQRT_FTZ_F64) X(RSQRT_F64)

void VARIANT_FN(vgpu_ops_float)(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  FAST(X)
#undef X
}
