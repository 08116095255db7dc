// Floating point with directed rounding, .sat, division and square root: the processor's own rounding modes around a plain loop.
// sub: FP_FTZ, FP_SAT, FP_APPROX; sub2: enum vgpu_round.
#include "runtime/vgpu/exec_internal.h"
#include "runtime/vgpu/half.h"
#include <fenv.h>
#include <math.h>

static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

// One loop a function, reached through a pointer, so that no operation moves across a change of mode.
#define LOOP(NAME, T, EXPR) \
  static void NAME(T *r, const T *a, const T *b, const T *c) { \
    (void)b, (void)c; \
    for (int i = 0; i < 32; i++) r[i] = EXPR; \
  }
#define LOOPS(S, T, FMA, SQRT) \
  LOOP(add_##S, T, a[i] + b[i]) \
  LOOP(sub_##S, T, a[i] - b[i]) \
  LOOP(mul_##S, T, a[i] * b[i]) \
  LOOP(fma_##S, T, FMA(a[i], b[i], c[i])) \
  LOOP(div_##S, T, a[i] / b[i]) \
  LOOP(sqrt_##S, T, SQRT(a[i])) \
  LOOP(rcp_##S, T, 1 / a[i])
LOOPS(f32, float, fmaf, sqrtf)
LOOPS(f64, double, fma, sqrt)

typedef void (*loop32)(float *, const float *, const float *, const float *);
typedef void (*loop64)(double *, const double *, const double *, const double *);

static const struct vgpu_ins *run32(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, loop32 f, int sources) {
  float in[3][32] = {{0}}, out[32];
  const vgpu_loc loc[3] = {d->a, d->b, d->c};
  for (int k = 0; k < sources; k++) {
    memcpy(in[k], P(loc[k]), sizeof in[k]);
    if (d->sub & FP_FTZ)
      for (int i = 0; i < 32; i++) in[k][i] = vgpu_flush(in[k][i]);
  }
  loop32 volatile g = f;
  if (d->sub2) fesetround(modes[d->sub2]);
  g(out, in[0], in[1], in[2]);
  if (d->sub2) fesetround(FE_TONEAREST);
  float *r = (float *)P(d->dst);
  for (int i = 0; i < 32; i++) {
    float v = out[i] == out[i] ? out[i] : vgpu_as_float(VGPU_NAN32);
    if (d->sub & FP_FTZ) v = vgpu_flush(v);
    if (d->sub & FP_SAT) v = vgpu_saturate(v);
    if (ON(i)) r[i] = v;
  }
  return d + 1;
}

static const struct vgpu_ins *run64(struct vgpu_warp *w, const struct vgpu_ins *d, uint32_t m, loop64 f, int sources) {
  double in[3][32] = {{0}}, out[32];
  const vgpu_loc loc[3] = {d->a, d->b, d->c};
  for (int k = 0; k < sources; k++) memcpy(in[k], P(loc[k]), sizeof in[k]);
  loop64 volatile g = f;
  if (d->sub2) fesetround(modes[d->sub2]);
  g(out, in[0], in[1], in[2]);
  if (d->sub2) fesetround(FE_TONEAREST);
  double *r = (double *)P(d->dst);
  for (int i = 0; i < 32; i++) {
    double v = out[i];
    if (v != v) {
      v = vgpu_as_double(VGPU_NAN64);
      for (int k = sources - 1; k >= 0; k--)
        if (in[k][i] != in[k][i]) v = vgpu_as_double(vgpu_bits64(in[k][i]) | UINT64_C(1) << 51);
    }
    if (ON(i)) r[i] = v;
  }
  return d + 1;
}

#define SLOW(X) \
  X(ADD_F32_X, run32, add_f32, 2) X(SUB_F32_X, run32, sub_f32, 2) X(MUL_F32_X, run32, mul_f32, 2) X(FMA_F32_X, run32, fma_f32, 3) \
  X(DIV_F32, run32, div_f32, 2) X(SQRT_F32, run32, sqrt_f32, 1) X(RCP_F32, run32, rcp_f32, 1) X(ADD_F64_X, run64, add_f64, 2) \
  X(SUB_F64_X, run64, sub_f64, 2) X(MUL_F64_X, run64, mul_f64, 2) X(FMA_F64_X, run64, fma_f64, 3) X(DIV_F64, run64, div_f64, 2) \
  X(SQRT_F64, run64, sqrt_f64, 1) X(RCP_F64, run64, rcp_f64, 1)
#define X(n, run, f, k) HANDLER(n) { return run(w, d, m, f, k); }
SLOW(X)
#undef X

void vgpu_ops_slow(vgpu_op_fn *t) {
#define X(n, run, f, k) t[OP_##n] = n;
  SLOW(X)
#undef X
}
