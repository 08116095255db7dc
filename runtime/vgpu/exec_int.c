// Integer, logic, move and select instructions. PTX ISA 9.7.1, 9.7.2, 9.7.7, 9.7.8, 9.7.9. Every shift, product and division is
// defined for every operand, whatever the PTX does.
#include "runtime/vgpu/exec_lanes.h"

typedef uint16_t u16;
typedef int16_t s16;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
typedef __int128 s128;
typedef unsigned __int128 u128;

// Modular arithmetic: the same bits for signed and unsigned. 16-bit products pass through 32 bits.
#define MODULAR(S, U, W) \
  BINARY(ADD_##S, U, U, U, (W)x + (W)y) \
  BINARY(SUB_##S, U, U, U, (W)x - (W)y) \
  BINARY(MULLO_##S, U, U, U, (W)x *(W)y) \
  TERNARY(MADLO_##S, U, U, U, U, (W)x *(W)y + (W)z) \
  BINARY(AND_##S, U, U, U, x &y) \
  BINARY(OR_##S, U, U, U, x | y) \
  BINARY(XOR_##S, U, U, U, x ^ y) \
  UNARY(NOT_##S, U, U, ~x) \
  UNARY(CNOT_##S, U, U, x == 0) \
  UNARY(NEG_##S, U, U, 0 - (W)x) \
  UNARY(MOV_##S, U, U, x) \
  BINARY(SHL_##S, U, U, u32, y >= sizeof(U) * 8 ? 0 : (W)x << (y & 63)) \
  TERNARY(SLCT_S32_##S, U, U, U, s32, z >= 0 ? x : y) \
  TERNARY(SLCT_F32_##S, U, U, U, float, z >= 0 ? x : y)
MODULAR(B16, u16, u32)
MODULAR(B32, u32, u32)
MODULAR(B64, u64, u64)
UNARY(ABS_B16, u16, s16, x < 0 ? 0u - (u32)x : (u32)x)
UNARY(ABS_B32, u32, s32, x < 0 ? 0u - (u32)x : (u32)x)
UNARY(ABS_B64, u64, s64, x < 0 ? 0u - (u64)x : (u64)x)

#define SHIFT_RIGHT(S, T) BINARY(SHR_##S, T, T, u32, x >> (y < sizeof(T) * 8 ? y : sizeof(T) * 8 - 1))
#define SHIFT_RIGHT_U(S, T) BINARY(SHR_##S, T, T, u32, y < sizeof(T) * 8 ? x >> (y & (sizeof(T) * 8 - 1)) : 0)
SHIFT_RIGHT_U(U16, u16) SHIFT_RIGHT_U(U32, u32) SHIFT_RIGHT_U(U64, u64)
SHIFT_RIGHT(S16, s16) SHIFT_RIGHT(S32, s32) SHIFT_RIGHT(S64, s64)

#define ORDERED(S, T) \
  BINARY(MIN_##S, T, T, T, x < y ? x : y) \
  BINARY(MAX_##S, T, T, T, x > y ? x : y)
#define WIDER(S, T, W, UW, BITS) \
  BINARY(MULHI_##S, T, T, T, (W)((W)x *(W)y) >> BITS) \
  TERNARY(MADHI_##S, T, T, T, T, (UW)((W)((W)x *(W)y) >> BITS) + (UW)z) \
  TERNARY(SAD_##S, T, T, T, T, (UW)(x > y ? (UW)x - (UW)y : (UW)y - (UW)x) + (UW)z)
ORDERED(U16, u16) ORDERED(S16, s16) ORDERED(U32, u32) ORDERED(S32, s32) ORDERED(U64, u64) ORDERED(S64, s64)
WIDER(U16, u16, u32, u32, 16) WIDER(S16, s16, s32, u32, 16) WIDER(U32, u32, u64, u64, 32) WIDER(S32, s32, s64, u64, 32)
WIDER(U64, u64, u128, u128, 64) WIDER(S64, s64, s128, u128, 64)

#define WIDE(S, T, W, UW) \
  BINARY(MULWIDE_##S, W, T, T, (W)x *(W)y) \
  TERNARY(MADWIDE_##S, UW, T, T, UW, (UW)((W)x * (W)y) + z)
WIDE(U16, u16, u32, u32) WIDE(S16, s16, s32, u32) WIDE(U32, u32, u64, u64) WIDE(S32, s32, s64, u64)

// What the hardware's routine gives for a zero divisor: all ones, and the dividend as remainder.
#define DIVIDE_U(S, T) \
  BINARY(DIV_##S, T, T, T, y ? x / y : (T)-1) \
  BINARY(REM_##S, T, T, T, y ? x % y : x)
#define DIVIDE_S(S, T, U) \
  BINARY(DIV_##S, T, T, T, y == 0 ? (T)-1 : y == -1 ? (T)(0 - (U)x) : x / y) \
  BINARY(REM_##S, T, T, T, y == 0 ? x : y == -1 ? 0 : x % y)
DIVIDE_U(U16, u16) DIVIDE_U(U32, u32) DIVIDE_U(U64, u64)
DIVIDE_S(S16, s16, u32) DIVIDE_S(S32, s32, u32) DIVIDE_S(S64, s64, u64)

static inline s32 clamp32(s64 v) { return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (s32)v; }
static inline s32 sign24(s32 v) { return (s32)((u32)v << 8) >> 8; }
static inline u32 zero24(u32 v) { return v & 0xffffff; }
BINARY(ADDSAT_S32, s32, s32, s32, clamp32((s64)x + y))
BINARY(SUBSAT_S32, s32, s32, s32, clamp32((s64)x - y))
TERNARY(MADHISAT_S32, s32, s32, s32, s32, clamp32(((s64)x * y >> 32) + z))
BINARY(MUL24LO_U32, u32, u32, u32, zero24(x) * zero24(y))
BINARY(MUL24LO_S32, u32, s32, s32, (u64)((s64)sign24(x) * sign24(y)))
BINARY(MUL24HI_U32, u32, u32, u32, (u64)zero24(x) * zero24(y) >> 16)
BINARY(MUL24HI_S32, u32, s32, s32, (s64)sign24(x) * sign24(y) >> 16)
TERNARY(MAD24LO_U32, u32, u32, u32, u32, zero24(x) * zero24(y) + z)
TERNARY(MAD24LO_S32, u32, s32, s32, u32, (u32)((s64)sign24(x) * sign24(y)) + z)
TERNARY(MAD24HI_U32, u32, u32, u32, u32, (u32)((u64)zero24(x) * zero24(y) >> 16) + z)
TERNARY(MAD24HI_S32, u32, s32, s32, u32, (u32)((s64)sign24(x) * sign24(y) >> 16) + z)
TERNARY(MAD24HISAT_S32, s32, s32, s32, s32, clamp32((s64)(s32)((s64)sign24(x) * sign24(y) >> 16) + z))

static inline u32 reverse32(u32 x) {
  x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
  x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
  x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(x);
}
static inline u32 leading32(u32 x) { return x ? (u32)__builtin_clz(x) : 32; }
static inline u32 leading64(u64 x) { return x ? (u32)__builtin_clzll(x) : 64; }
UNARY(POPC_B32, u32, u32, __builtin_popcount(x))
UNARY(POPC_B64, u32, u64, __builtin_popcountll(x))
UNARY(CLZ_B32, u32, u32, leading32(x))
UNARY(CLZ_B64, u32, u64, leading64(x))
UNARY(BREV_B32, u32, u32, reverse32(x))
UNARY(BREV_B64, u64, u64, (u64)reverse32((u32)x) << 32 | reverse32((u32)(x >> 32)))

// sub: .shiftamt
static inline u32 find(u32 lead, u32 bits, u32 shift) { return lead == bits ? ~0u : shift ? lead : bits - 1 - lead; }
UNARY(BFIND_U32, u32, u32, find(leading32(x), 32, d->sub))
UNARY(BFIND_S32, u32, s32, find(leading32((u32)(x < 0 ? ~x : x)), 32, d->sub))
UNARY(BFIND_U64, u32, u64, find(leading64(x), 64, d->sub))
UNARY(BFIND_S64, u32, s64, find(leading64((u64)(x < 0 ? ~x : x)), 64, d->sub))

// Bits [pos, pos + len) of x, the sign bit of the field (or of x where the field leaves it) spread above.
static inline u64 extract(u64 x, u32 pos, u32 len, u32 bits, bool is_signed) {
  pos &= 255;
  len &= 255;
  if (!len) return 0;
  u32 top = pos + len - 1 < bits - 1 ? pos + len - 1 : bits - 1;
  u64 sign = is_signed ? x >> top & 1 : 0;
  u64 field = pos < bits ? x >> pos : 0;
  u32 have = pos < bits ? (len < bits - pos ? len : bits - pos) : 0;
  u64 mask = have >= 64 ? ~(u64)0 : ((u64)1 << have) - 1;
  return sign ? field | ~mask : field & mask;
}
TERNARY(BFE_U32, u32, u32, u32, u32, extract(x, y, z, 32, false))
TERNARY(BFE_S32, u32, u32, u32, u32, extract(x, y, z, 32, true))
TERNARY(BFE_U64, u64, u64, u32, u32, extract(x, y, z, 64, false))
TERNARY(BFE_S64, u64, u64, u32, u32, extract(x, y, z, 64, true))

static inline u64 insert(u64 a, u64 b, u32 pos, u32 len, u32 bits) {
  pos &= 255;
  len &= 255;
  if (!len || pos >= bits) return b;
  if (len > bits - pos) len = bits - pos;
  u64 mask = (len >= 64 ? ~(u64)0 : ((u64)1 << len) - 1) << pos;
  return (b & ~mask) | (a << pos & mask);
}
#define INSERT(NAME, T, BITS) \
  HANDLER(NAME) { \
    T *r = (T *)P(d->dst); \
    const T *pa = (const T *)P(d->a), *pb = (const T *)P(d->b); \
    const u32 *pos = (const u32 *)P(d->c), *len = (const u32 *)P(d->e); \
    LANE_LOOPS(T, insert(pa[i], pb[i], pos[i], len[i], BITS)) \
  }
INSERT(BFI_B32, u32, 32)
INSERT(BFI_B64, u64, 64)

static u32 nth_set(u32 mask, u32 base, s32 n) {
  base &= 31;
  if (n == 0) return mask >> base & 1 ? base : ~0u;
  u32 count = (u32)(n < 0 ? -(s64)n : n), seen = 0;
  for (s32 i = (s32)base; i >= 0 && i < 32; i += n < 0 ? -1 : 1)
    if (mask >> i & 1 && ++seen == count) return (u32)i;
  return ~0u;
}
TERNARY(FNS_B32, u32, u32, u32, s32, nth_set(x, y, z))

// sub: 1 wrap, 0 clamp
static inline u32 bit_mask(u32 a, u32 b, u32 wrap) {
  if (wrap) {
    a &= 31;
    b &= 31;
  }
  if (a >= 32 || !b) return 0;
  return (b >= 32 ? ~0u : (1u << b) - 1) << a;
}
static inline u32 extend(u32 a, u32 b, u32 wrap, bool is_signed) {
  if (wrap) b &= 31;
  if (!b) return 0;
  if (b >= 32) return a;
  u32 mask = (1u << b) - 1;
  return is_signed && a >> (b - 1) & 1 ? a | ~mask : a & mask;
}
BINARY(BMSK_B32, u32, u32, u32, bit_mask(x, y, d->sub))
BINARY(SZEXT_U32, u32, u32, u32, extend(x, y, d->sub, false))
BINARY(SZEXT_S32, u32, u32, u32, extend(x, y, d->sub, true))

TERNARY(SHF_L_WRAP, u32, u32, u32, u32, (((u64)y << 32 | x) << (z & 31)) >> 32)
TERNARY(SHF_R_WRAP, u32, u32, u32, u32, ((u64)y << 32 | x) >> (z & 31))
TERNARY(SHF_L_CLAMP, u32, u32, u32, u32, (((u64)y << 32 | x) << (z < 32 ? z : 32)) >> 32)
TERNARY(SHF_R_CLAMP, u32, u32, u32, u32, ((u64)y << 32 | x) >> (z < 32 ? z : 32))

// The table's eight entries as eight masked terms: constant for the whole warp.
HANDLER(LOP3_B32) {
  u32 *r = (u32 *)P(d->dst);
  const u32 *pa = (const u32 *)P(d->a), *pb = (const u32 *)P(d->b), *pc = (const u32 *)P(d->c);
  u32 t[8];
  for (int k = 0; k < 8; k++) t[k] = d->imm >> k & 1 ? ~0u : 0;
  LANE_LOOPS(u32, ({
    u32 x = pa[i], y = pb[i], z = pc[i];
    u32 yz0 = (~z & t[0]) | (z & t[1]), yz1 = (~z & t[2]) | (z & t[3]);
    u32 yz2 = (~z & t[4]) | (z & t[5]), yz3 = (~z & t[6]) | (z & t[7]);
    (~x & ((~y & yz0) | (y & yz1))) | (x & ((~y & yz2) | (y & yz3)));
  }))
}

enum { PRMT_DEFAULT, PRMT_F4E, PRMT_B4E, PRMT_RC8, PRMT_ECL, PRMT_ECR, PRMT_RC16 };
static inline u32 selector(u32 c, u32 mode) {
  u32 k = c & 3;
  switch (mode) {
  case PRMT_F4E: return k | (k + 1) << 4 | (k + 2) << 8 | (k + 3) << 12;
  case PRMT_B4E: return k | ((k + 7) & 7) << 4 | ((k + 6) & 7) << 8 | ((k + 5) & 7) << 12;
  case PRMT_RC8: return k * 0x1111;
  case PRMT_ECL: return k | (k > 1 ? k : 1) << 4 | (k > 2 ? k : 2) << 8 | 3 << 12;
  case PRMT_ECR: return 0 | (k < 1 ? k : 1) << 4 | (k < 2 ? k : 2) << 8 | k << 12;
  case PRMT_RC16: return k & 1 ? 0x3232 : 0x1010;
  default: return c;
  }
}
static inline u32 permute(u32 a, u32 b, u32 s) {
  u64 all = (u64)b << 32 | a;
  u32 r = 0;
  for (int k = 0; k < 4; k++) {
    u32 sel = s >> 4 * k & 15, byte = (u32)(all >> 8 * (sel & 7)) & 255;
    if (sel & 8) byte = byte & 128 ? 255 : 0;
    r |= byte << 8 * k;
  }
  return r;
}
TERNARY(PRMT_B32, u32, u32, u32, u32, permute(x, y, selector(z, d->sub)))

// sub: bit 0 a is signed, bit 1 b is; bit 2 (dp2a) the high half of b
static inline u32 byte_of(u32 v, int k, bool is_signed) {
  u32 b = v >> 8 * k & 255;
  return is_signed ? (u32)(s32)(int8_t)b : b;
}
static inline u32 dot4(u32 a, u32 b, u32 c, u32 sub) {
  for (int k = 0; k < 4; k++) c += byte_of(a, k, sub & 1) * byte_of(b, k, sub & 2);
  return c;
}
static inline u32 dot2(u32 a, u32 b, u32 c, u32 sub) {
  for (int k = 0; k < 2; k++) {
    u32 h = a >> 16 * k & 0xffff;
    if (sub & 1) h = (u32)(s32)(s16)h;
    c += h * byte_of(b, k + (sub & 4 ? 2 : 0), sub & 2);
  }
  return c;
}
TERNARY(DP4A, u32, u32, u32, u32, dot4(x, y, z, d->sub))
TERNARY(DP2A, u32, u32, u32, u32, dot2(x, y, z, d->sub))

// Carry chains. sub: 1 takes the carry flag, 2 sets it; MADC: 4 high half, 8 signed. The flag is the predicate e.
#define CARRY(NAME, T, W, BITS, SUM) \
  HANDLER(NAME) { \
    T *r = (T *)P(d->dst); \
    const T *pa = (const T *)P(d->a), *pb = (const T *)P(d->b), *pc = (const T *)P(d->c); \
    u32 flag = PRED(d->e), out = flag; \
    for (int i = 0; i < 32; i++) { \
      if (!ON(i)) continue; \
      T x = pa[i], y = pb[i], z = pc[i]; \
      W cf = d->sub & 1 ? flag >> i & 1 : 0, v = SUM; \
      (void)z; \
      r[i] = (T)v; \
      out = (out & ~(1u << i)) | (u32)(v >> BITS & 1) << i; \
    } \
    if (d->sub & 2) PRED(d->e) = out; \
    return d + 1; \
  }
static inline u32 product32(u32 x, u32 y, u32 sub) {
  if (!(sub & 4)) return x * y;
  return sub & 8 ? (u32)((s64)(s32)x * (s32)y >> 32) : (u32)((u64)x * y >> 32);
}
static inline u64 product64(u64 x, u64 y, u32 sub) {
  if (!(sub & 4)) return x * y;
  return sub & 8 ? (u64)((s128)(s64)x * (s64)y >> 64) : (u64)((u128)x * y >> 64);
}
CARRY(ADDC_B32, u32, u64, 32, (u64)x + y + cf)
CARRY(SUBC_B32, u32, u64, 32, (u64)x - y - cf)
CARRY(MADC_B32, u32, u64, 32, (u64)product32(x, y, d->sub) + z + cf)
CARRY(ADDC_B64, u64, u128, 64, (u128)x + y + cf)
CARRY(SUBC_B64, u64, u128, 64, (u128)x - y - cf)
CARRY(MADC_B64, u64, u128, 64, (u128)product64(x, y, d->sub) + z + cf)

#define SELECT(S, T) \
  HANDLER(SELP_##S) { \
    T *r = (T *)P(d->dst); \
    const T *pa = (const T *)P(d->a), *pb = (const T *)P(d->b); \
    u32 p = PRED(d->c); \
    if (d->sub) p = ~p; \
    LANE_LOOPS(T, ({ T x = pa[i], y = pb[i]; p & vgpu_lane_bit[i] ? x : y; })) \
  }
SELECT(B16, u16) SELECT(B32, u32) SELECT(B64, u64)

// Predicates. sub: bit 0 negates a, bit 1 negates b.
#define PRED_OP(NAME, EXPR) \
  HANDLER(NAME) { \
    u32 x = PRED(d->a), y = PRED(d->b), *r = &PRED(d->dst); \
    if (d->sub & 1) x = ~x; \
    if (d->sub & 2) y = ~y; \
    (void)y; \
    *r = (*r & ~m) | ((EXPR) & m); \
    return d + 1; \
  }
PRED_OP(MOV_PRED, x)
PRED_OP(NOT_PRED, ~x)
PRED_OP(AND_PRED, x &y)
PRED_OP(OR_PRED, x | y)
PRED_OP(XOR_PRED, x ^ y)

static inline u64 row_get(const void *row, unsigned width, int i) {
  return width == 8 ? ((const u64 *)row)[i] : width == 4 ? ((const u32 *)row)[i] : ((const u16 *)row)[i];
}
static inline void row_put(void *row, unsigned width, int i, u64 v) {
  if (width == 8) ((u64 *)row)[i] = v;
  else if (width == 4) ((u32 *)row)[i] = (u32)v;
  else ((u16 *)row)[i] = (u16)v;
}

// dst = {list[0], list[1], ..}: sub bytes each; locators of bytes are 16-bit rows.
HANDLER(PACK) {
  const vgpu_loc *list = w->block->launch->code->list + d->list;
  unsigned bits = d->sub * 8u;
  u64 mask = (UINT64_C(1) << bits) - 1, v[32] = {0};
  for (unsigned k = 0; k < d->num_list; k++) {
    const void *row = P(list[k]);
    for (int i = 0; i < 32; i++) v[i] |= (row_get(row, d->sub, i) & mask) << bits * k;
  }
  void *r = P(d->dst);
  for (int i = 0; i < 32; i++)
    if (ON(i)) row_put(r, d->width, i, v[i]);
  return d + 1;
}

// {list[0], ..} = a; a locator of ~0 drops its part.
HANDLER(UNPACK) {
  const vgpu_loc *list = w->block->launch->code->list + d->list;
  unsigned bits = d->sub * 8u;
  u64 mask = (UINT64_C(1) << bits) - 1, v[32];
  const void *row = P(d->a);
  for (int i = 0; i < 32; i++) v[i] = row_get(row, d->width, i);
  for (unsigned k = 0; k < d->num_list; k++) {
    if (list[k] == ~0u) continue;
    void *r = P(list[k]);
    for (int i = 0; i < 32; i++)
      if (ON(i)) row_put(r, d->sub, i, v[i] >> bits * k & mask);
  }
  return d + 1;
}

void VARIANT_FN(vgpu_ops_int)(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  VGPU_OPS_INT(X)
#undef X
}
