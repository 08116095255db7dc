// The answers that op_table.inc names, in plain C, written apart from the interpreter.
#ifndef VGPU_TEST_OP_REFERENCE_H
#define VGPU_TEST_OP_REFERENCE_H

#include <fenv.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define H(k) ((uint16_t)s[k])
#define R(k) ((uint32_t)s[k])
#define L(k) (s[k])
#define B(k) ((bool)(s[k] & 1))
#define SH(k) ((int)(int16_t)s[k])
#define SR(k) ((int64_t)(int32_t)s[k])
#define SL(k) ((int64_t)s[k])
#define F(k) f32_of(s[k])
#define D(k) f64_of(s[k])
#define HF(k) half((uint16_t)s[k])
#define LO(k) ((uint16_t)s[k])
#define HI(k) ((uint16_t)(s[k] >> 16))

static inline float f32_of(uint64_t v) {
  uint32_t u = (uint32_t)v;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static inline double f64_of(uint64_t v) {
  double f;
  memcpy(&f, &v, 8);
  return f;
}
static inline uint32_t bits32(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}
static inline uint64_t bits64(double f) {
  uint64_t u;
  memcpy(&u, &f, 8);
  return u;
}

// integers
static inline uint32_t clamp(int64_t v) { return (uint32_t)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v); }
static inline int64_t s24(uint32_t v) { return v & 0x800000 ? (int64_t)(v & 0xffffff) - (1 << 24) : (int64_t)(v & 0xffffff); }
static inline uint32_t ones(uint64_t v) {
  uint32_t n = 0;
  for (; v; v >>= 1) n += v & 1;
  return n;
}
static inline int top_bit(uint64_t v) {
  int n = -1;
  for (; v; v >>= 1) n++;
  return n;
}
static inline uint64_t reversed(uint64_t v, int bits) {
  uint64_t r = 0;
  for (int i = 0; i < bits; i++) r |= (v >> i & 1) << (bits - 1 - i);
  return r;
}
static inline uint64_t field(uint64_t a, uint32_t pos, uint32_t len, int bits, bool is_signed) { // the manual's loop
  pos &= 255, len &= 255;
  uint64_t r = 0;
  int msb = bits - 1;
  bool sign = is_signed && len && (pos + len - 1 > (uint32_t)msb ? a >> msb & 1 : a >> (pos + len - 1) & 1);
  for (int i = 0; i <= msb; i++) r |= (uint64_t)((uint32_t)i < len && pos + (uint32_t)i <= (uint32_t)msb ? a >> (pos + (uint32_t)i) & 1 : sign) << i;
  return r;
}
static inline uint64_t put_field(uint64_t a, uint64_t b, uint32_t pos, uint32_t len, int bits) {
  pos &= 255, len &= 255;
  for (uint32_t i = 0; i < len && pos + i < (uint32_t)bits; i++) b = (b & ~(1ull << (pos + i))) | (a >> i & 1) << (pos + i);
  return b;
}
static inline uint32_t nth(uint32_t mask, uint32_t base, int32_t n) {
  if (!n) return mask >> base & 1 ? base : ~0u;
  int64_t left = n < 0 ? -(int64_t)n : n;
  for (int i = (int)base; i >= 0 && i < 32; i += n < 0 ? -1 : 1)
    if (mask >> i & 1 && !--left) return (uint32_t)i;
  return ~0u;
}
static inline uint32_t mask_from(uint32_t a, uint32_t b) {
  uint32_t r = 0;
  for (uint64_t i = a; i < 32 && i < (uint64_t)a + b; i++) r |= 1u << i;
  return r;
}
static inline uint32_t table3(int t, uint32_t a, uint32_t b, uint32_t c) {
  uint32_t r = 0;
  for (int i = 0; i < 32; i++) r |= (uint32_t)(t >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i;
  return r;
}
static inline uint64_t pair(uint32_t lo, uint32_t hi) { return lo | (uint64_t)hi << 32; }
static inline uint32_t byte_n(uint32_t a, uint32_t b, uint32_t sel) {
  uint32_t v = (uint32_t)(pair(a, b) >> (sel & 7) * 8) & 255;
  return sel & 8 ? (v & 128 ? 255 : 0) : v;
}
static inline uint32_t bytes4(uint32_t a, uint32_t b, uint32_t s0, uint32_t s1, uint32_t s2, uint32_t s3) {
  return byte_n(a, b, s0) | byte_n(a, b, s1) << 8 | byte_n(a, b, s2) << 16 | byte_n(a, b, s3) << 24;
}
static inline uint32_t dot(uint32_t a, uint32_t b, uint32_t c, int n, bool sa, bool sb, int first) {
  int64_t sum = c;
  for (int i = 0; i < n; i++) {
    int w = 32 / n;
    int64_t x = a >> i * w & ((1u << w) - 1), y = b >> (i + first) * 8 & 255;
    if (sa && x >> (w - 1)) x -= 1 << w;
    if (sb && y >> 7) y -= 256;
    sum += x * y;
  }
  return (uint32_t)sum;
}
static inline uint32_t byte_sat(int64_t v) { return (uint32_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

// fp32 and fp64
static inline uint32_t canon(float f) { return f != f ? 0x7fffffffu : bits32(f); }
static inline uint32_t flushed(uint64_t u) { return (uint32_t)u & 0x7f800000 ? (uint32_t)u : (uint32_t)u & 0x80000000; }
static inline float flush(float f) { return f32_of(flushed(bits32(f))); }
static inline float saturated(float f) { return !(f > 0) ? 0 : f > 1 ? 1 : f; }
#define OP32(name, expr) static inline uint64_t name(const uint64_t *s) { volatile float a = F(0), b = F(1), c = F(2), r = expr; (void)b, (void)c; return canon(r); }
OP32(add32, a + b) OP32(sub32, a - b) OP32(mul32, a * b) OP32(div32, a / b) OP32(fma32, fmaf(a, b, c)) OP32(sqrt32, sqrtf(a)) OP32(rcp32, 1.0f / a)
static inline uint64_t nan_rule(const uint64_t *s, int n, double r) {
  if (r == r) return bits64(r);
  for (int i = 0; i < n; i++)
    if (D(i) != D(i)) return s[i] | 1ull << 51;
  return 0xfff8ull << 48;
}
#define OP64(name, n, expr) static inline uint64_t name(const uint64_t *s) { volatile double a = D(0), b = D(1), c = D(2), r = expr; (void)b, (void)c; return nan_rule(s, n, r); }
OP64(add64, 2, a + b) OP64(sub64, 2, a - b) OP64(mul64, 2, a * b) OP64(div64, 2, a / b) OP64(fma64, 3, fma(a, b, c)) OP64(sqrt64, 1, sqrt(a)) OP64(rcp64, 1, 1.0 / a)
static inline uint64_t rounded(int mode, uint64_t (*f)(const uint64_t *), const uint64_t *s) {
  uint64_t (*volatile g)(const uint64_t *) = f;
  fesetround(mode);
  uint64_t r = g(s);
  fesetround(FE_TONEAREST);
  return r;
}
static inline uint32_t minmax32(float x, float y, bool max) {
  if (x != x) return canon(y);
  if (y != y) return canon(x);
  if (x == 0 && y == 0) return bits32(max == !signbit(x) ? x : y);
  return bits32(max == (x > y) ? x : y);
}
static inline uint64_t minmax64(double x, double y, bool max) {
  if (x != x) return y != y ? bits64(x) | 1ull << 51 : bits64(y);
  if (y != y) return bits64(x);
  if (x == 0 && y == 0) return bits64(max == !signbit(x) ? x : y);
  return bits64(max == (x > y) ? x : y);
}

// halves: by value, with ldexp and the C library's rounding functions
static inline float half(uint16_t h) {
  int e = h >> 10 & 31, m = h & 1023;
  float v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexpf((float)(m + 1024), e - 25) : ldexpf((float)m, -24);
  return h >> 15 ? -v : v;
}
static inline uint16_t to_half_mode(double v, int mode) {
  if (v != v) return 0x7fff;
  uint16_t sign = signbit(v) ? 0x8000 : 0;
  if (isinf(v)) return sign | 0x7c00;
  int e;
  frexp(v, &e); // |v| in [2^(e-1), 2^e)
  int quantum = (v == 0 || e - 1 < -14 ? -14 : e - 1) - 10;
  double q = ldexp(v, -quantum);
  q = mode == FE_TONEAREST ? rint(q) : mode == FE_TOWARDZERO ? trunc(q) : mode == FE_DOWNWARD ? floor(q) : ceil(q);
  double a = fabs(ldexp(q, quantum));
  if (a == 0 && v != 0 && fabs(v) < 0x1p-1000) a = mode == (sign ? FE_DOWNWARD : FE_UPWARD) ? 0x1p-24 : 0;
  if (a > 65504) return sign | (mode == FE_TONEAREST || mode == (sign ? FE_DOWNWARD : FE_UPWARD) ? 0x7c00 : 0x7bff);
  if (a < 0x1p-14) return sign | (uint16_t)ldexp(a, 24);
  frexp(a, &e);
  return sign | (uint16_t)((e - 1 + 15) << 10 | ((int)ldexp(a, 10 - (e - 1)) & 1023));
}
static inline uint16_t to_half(double v, int unused) { return (void)unused, to_half_mode(v, FE_TONEAREST); }
static inline uint16_t fma_half(float x, float y, float z) { // exact in units of 2^-48
  double plain = (double)x * y + z;
  if (!isfinite(plain)) return to_half(plain, 0);
  __int128 n = (__int128)ldexp(x, 24) * (__int128)ldexp(y, 24) + (__int128)ldexp(z, 24) * (1 << 24);
  if (!n) return to_half(plain, 0);
  unsigned __int128 m = (unsigned __int128)(n < 0 ? -n : n);
  int msb = m >> 64 ? 64 + top_bit((uint64_t)(m >> 64)) : top_bit((uint64_t)m), q = msb - 10 < 24 ? 24 : msb - 10;
  unsigned __int128 kept = m >> q, rest = m - (kept << q), tie = (unsigned __int128)1 << (q - 1);
  if (rest > tie || (rest == tie && kept & 1)) kept++;
  double v = ldexp((double)kept, q - 48);
  return to_half(n < 0 ? -v : v, 0);
}
static inline uint16_t sat_half(uint16_t h) { return half(h) > 0 ? (half(h) > 1 ? 0x3c00 : h) : 0; }
static inline uint16_t ftz_half(uint16_t h) { return h & 0x7c00 ? h : h & 0x8000; }
static inline uint32_t two(uint16_t lo, uint16_t hi) { return lo | (uint32_t)hi << 16; }

// conversions; a long double holds every 64-bit integer
static inline uint32_t ld_to_f32(long double v, int mode) {
  volatile long double in = v;
  fesetround(mode);
  volatile float r = (float)in;
  fesetround(FE_TONEAREST);
  return canon(r);
}
static inline uint64_t ld_to_f64(long double v, int mode) {
  volatile long double in = v;
  fesetround(mode);
  volatile double r = (double)in;
  fesetround(FE_TONEAREST);
  return bits64(r);
}
static inline uint64_t widened(float f) { return bits64((double)f); }
static inline uint64_t to_int(double v, int bits, bool is_signed, bool from_f64) {
  uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1, top = 1ull << (bits - 1);
  if (v != v) return from_f64 || bits == 64 ? top : 0;
  if (is_signed) {
    if (v >= ldexp(1, bits - 1)) return top - 1;
    if (v < -ldexp(1, bits - 1)) return top;
    return (uint64_t)(int64_t)v & mask;
  }
  return v <= 0 ? 0 : v >= ldexp(1, bits) ? mask : (uint64_t)v;
}

#endif
