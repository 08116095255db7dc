// Conversions. PTX ISA 9.7.9, "cvt", "cvt.pack". The common ones are loops; CVT_INT and CVT_ANY do every pair, lane by lane.
// type: of the result, sub: enum ptx_type of the source, width and vec: bytes of the two registers, sub2: enum vgpu_round,
// imm: CVT_* below.
#include "runtime/vgpu/exec_lanes.h"
#include "runtime/vgpu/half.h"
#include "runtime/vgpu/cvt.h"
#include <fenv.h>
#include <math.h>

UNARY(CVT_F32_S32, float, int32_t, (float)x)
UNARY(CVT_F32_U32, float, uint32_t, (float)x)
UNARY(CVT_F32_F64, float, double, vgpu_canon((float)x))
UNARY(CVT_F64_F32, double, float, (double)x)
UNARY(CVT_F32_F16, float, uint16_t, vgpu_canon(vgpu_half_to_float(x)))
UNARY(CVT_F16_F32, uint16_t, float, vgpu_float_to_half(x))
UNARY(CVT_F64_S32, double, int32_t, (double)x)
UNARY(CVT_S64_S32, int64_t, int32_t, x)
UNARY(CVT_U64_U32, uint64_t, uint32_t, x)
UNARY(CVT_U32_U64, uint32_t, uint64_t, x)
UNARY(CVT_U32_U16, uint32_t, uint16_t, x)
UNARY(CVT_S32_S16, int32_t, int16_t, x)
UNARY(CVT_U16_U32, uint16_t, uint32_t, x)
// Clamped before the cast, which is defined only within the range.
UNARY(CVT_S32_F32_RZ, int32_t, float, ({
  float c = x < -0x1p31f ? -0x1p31f : x > 0x1.fffffep30f ? 0x1.fffffep30f : x;
  int32_t v = x == x ? (int32_t)(x == x ? c : 0.0f) : 0;
  x >= 0x1p31f ? INT32_MAX : v;
}))
UNARY(CVT_U32_F32_RZ, uint32_t, float, ({
  float c = x > 0 ? (x < 0x1.fffffep31f ? x : 0x1.fffffep31f) : 0.0f;
  x >= 0x1p32f ? UINT32_MAX : (uint32_t)(int64_t)c;
}))

static inline uint64_t get(const void *row, unsigned width, int i) {
  return width == 8 ? ((const uint64_t *)row)[i] : width == 4 ? ((const uint32_t *)row)[i] : ((const uint16_t *)row)[i];
}
static inline void put(void *row, unsigned width, int i, uint64_t v) {
  if (width == 8) ((uint64_t *)row)[i] = v;
  else if (width == 4) ((uint32_t *)row)[i] = (uint32_t)v;
  else ((uint16_t *)row)[i] = (uint16_t)v;
}

HANDLER(CVT_INT) {
  void *r = P(d->dst);
  const void *a = P(d->a);
  for (int i = 0; i < 32; i++)
    if (ON(i)) put(r, d->width, i, vgpu_cvt_int(get(a, d->vec, i), d->sub, d->type, d->imm & CVT_SAT));
  return d + 1;
}

HANDLER(CVT_ANY) {
  void *r = P(d->dst);
  const void *a = P(d->a);
  for (int i = 0; i < 32; i++)
    if (ON(i)) put(r, d->width, i, vgpu_cvt(get(a, d->vec, i), d->sub, d->type, d->sub2, (unsigned)d->imm));
  return d + 1;
}

// type: the part's (u16 .. s8), sub: bits of a part, sub2: a and b are signed; c below them where there is one.
HANDLER(CVT_PACK) {
  uint32_t *r = (uint32_t *)P(d->dst);
  const uint32_t *a = (const uint32_t *)P(d->a), *b = (const uint32_t *)P(d->b), *c = (const uint32_t *)P(d->c);
  int64_t most = d->vec ? (INT64_C(1) << (d->sub - 1)) - 1 : (INT64_C(1) << d->sub) - 1, least = d->vec ? -most - 1 : 0;
  uint32_t mask = (1u << d->sub) - 1;
  for (int i = 0; i < 32; i++) {
    int64_t x = d->sub2 ? (int64_t)(int32_t)a[i] : (int64_t)a[i], y = d->sub2 ? (int64_t)(int32_t)b[i] : (int64_t)b[i];
    x = x > most ? most : x < least ? least : x;
    y = y > most ? most : y < least ? least : y;
    uint32_t v = ((uint32_t)x & mask) << d->sub | ((uint32_t)y & mask);
    if (d->sub < 16) v |= c[i] << 2 * d->sub;
    if (ON(i)) r[i] = v;
  }
  return d + 1;
}

void VARIANT_FN(vgpu_ops_cvt)(vgpu_op_fn *t) {
#define X(n) t[OP_##n] = n;
  VGPU_OPS_CVT(X)
#undef X
}
