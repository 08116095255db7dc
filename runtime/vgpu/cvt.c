// See cvt.h. PTX ISA 9.7.9 "cvt": float to integer clamps; NaN becomes 0, or the top bit alone if either side has 64 bits.
#include "runtime/vgpu/cvt.h"
#include "runtime/vgpu/half.h"
#include "runtime/vgpu/ptx.h"
#include <fenv.h>
#include <math.h>

static bool is_float(int t) { return t == PTX_F16 || t == PTX_F32 || t == PTX_F64; }
static bool is_signed(int t) { return t >= PTX_S8 && t <= PTX_S64; }

static unsigned bits_of(int t) {
  static const uint8_t bits[] = {[PTX_B8] = 8, [PTX_B16] = 16, [PTX_B32] = 32, [PTX_B64] = 64, [PTX_U8] = 8, [PTX_U16] = 16,
                                 [PTX_U32] = 32, [PTX_U64] = 64, [PTX_S8] = 8, [PTX_S16] = 16, [PTX_S32] = 32, [PTX_S64] = 64,
                                 [PTX_F16] = 16, [PTX_F32] = 32, [PTX_F64] = 64};
  return t >= 0 && (size_t)t < sizeof bits && bits[t] ? bits[t] : 32;
}

static uint64_t chop(uint64_t v, int t) {
  unsigned b = bits_of(t);
  if (b == 64) return v;
  v &= (UINT64_C(1) << b) - 1;
  return is_signed(t) && v >> (b - 1) & 1 ? v | ~UINT64_C(0) << b : v;
}

uint64_t vgpu_cvt_int(uint64_t v, int from, int to, bool sat) {
  v = chop(v, from);
  if (!sat) return chop(v, to);
  unsigned b = bits_of(to);
  bool negative = is_signed(from) && v >> 63;
  uint64_t most = is_signed(to) ? (UINT64_C(1) << (b - 1)) - 1 : b == 64 ? ~UINT64_C(0) : (UINT64_C(1) << b) - 1;
  if (!negative) return v > most ? most : v;
  if (!is_signed(to)) return 0;
  return (int64_t)v < -(int64_t)most - 1 ? chop(most + 1, to) : v;
}

// |v| rounded to `bits` significant bits; exact as a double when bits <= 53.
static double round_integer(uint64_t mag, bool negative, unsigned bits, int mode) {
  unsigned have = mag ? 64 - (unsigned)__builtin_clzll(mag) : 0;
  if (have > bits) {
    unsigned shift = have - bits;
    uint64_t kept = mag >> shift, rest = mag & ((UINT64_C(1) << shift) - 1), tie = UINT64_C(1) << (shift - 1);
    bool away = (mode == ROUND_P && !negative) || (mode == ROUND_M && negative);
    if (mode == ROUND_N ? rest > tie || (rest == tie && kept & 1) : away && rest) kept++;
    double r = ldexp((double)kept, (int)shift);
    return negative ? -r : r;
  }
  return negative ? -(double)mag : (double)mag;
}

static float narrow(double v, int mode) {
  static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  if (mode == ROUND_N) return (float)v;
  volatile double in = v;
  fesetround(modes[mode]);
  volatile float out = (float)in;
  fesetround(FE_TONEAREST);
  return out;
}

static double integral(double v, int mode) {
  switch (mode) {
  case ROUND_Z: return trunc(v);
  case ROUND_M: return floor(v);
  case ROUND_P: return ceil(v);
  default: return nearbyint(v);
  }
}

static uint64_t to_integer(double v, int from, int to, int mode) {
  unsigned b = bits_of(to);
  if (v != v) return from != PTX_F64 && b != 64 ? 0 : chop(UINT64_C(1) << (b - 1), to);
  v = integral(v, mode);
  if (is_signed(to)) {
    double limit = ldexp(1, (int)b - 1);
    if (v >= limit) return (UINT64_C(1) << (b - 1)) - 1;
    if (v < -limit) return chop(UINT64_C(1) << (b - 1), to);
    return (uint64_t)(int64_t)v;
  }
  if (v >= ldexp(1, (int)b)) return b == 64 ? ~UINT64_C(0) : (UINT64_C(1) << b) - 1;
  return v > 0 ? (uint64_t)v : 0;
}

static uint64_t store_float(double v, int to, int mode, unsigned flags) {
  bool sat = flags & CVT_SAT;
  if (sat) v = v > 0 ? (v < 1 ? v : 1) : 0;
  if (to == PTX_F64) return vgpu_bits64(v);
  if (to == PTX_F16) return vgpu_double_to_half(v, (enum vgpu_round)mode);
  float f = narrow(v, mode);
  if (f != f) return VGPU_NAN32;
  if (flags & CVT_FTZ) f = vgpu_flush(f);
  return vgpu_bits(f);
}

uint64_t vgpu_cvt(uint64_t v, int from, int to, int mode, unsigned flags) {
  if (!is_float(from) && !is_float(to)) return vgpu_cvt_int(v, from, to, flags & CVT_SAT);
  if (!is_float(from)) {
    v = chop(v, from);
    bool negative = is_signed(from) && v >> 63;
    uint64_t mag = negative ? 0 - v : v;
    if (to == PTX_F16 && mag < UINT64_C(1) << 53) return store_float(negative ? -(double)mag : (double)mag, to, mode, flags);
    return store_float(round_integer(mag, negative, to == PTX_F64 ? 53 : 24, mode), to, mode, flags);
  }
  double x = from == PTX_F64 ? vgpu_as_double(v) : from == PTX_F32 ? (double)vgpu_as_float((uint32_t)v)
                                                                   : (double)vgpu_half_to_float((uint16_t)v);
  if (from == PTX_F32 && flags & CVT_FTZ) x = (double)vgpu_flush(vgpu_as_float((uint32_t)v));
  if (from == PTX_F16 && x != x) x = NAN;
  if (!is_float(to)) return to_integer(x, from, to, mode);
  if (flags & CVT_INTEGRAL) x = integral(x, mode), mode = ROUND_N;
  return store_float(x, to, mode, flags);
}
