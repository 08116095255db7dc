// What the kernels share: mma.m16n8k8 and its register layout, loads, and the one pattern of a row's sum of squares.
#pragma once
#include "kernels.h"
#include <cuda_fp16.h>

#define PHI3_KERNEL extern "C" __global__ void

// d += a b for a 16 x 8 (row) and b 8 x 8 (column), fp16 in, fp32 sum. Lane l: a0 = row l / 4, k 2 (l % 4) + 0..1; a1 = row l / 4 + 8, the same k;
// b = k 2 (l % 4) + 0..1, column l / 4; d[0..1] = row l / 4, columns 2 (l % 4) + 0..1; d[2..3] = row l / 4 + 8. PTX ISA, 9.7.14, "mma.m16n8k8".
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a0), "r"(a1), "r"(b));
}

__device__ __forceinline__ uint32_t word(const uint4 &v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

__device__ __forceinline__ uint32_t pack_half2(float lo, float hi) {
  __half2 h = __floats2half2_rn(lo, hi);
  return *reinterpret_cast<uint32_t *>(&h);
}

// What passes fp16's range becomes its largest value, so that one such activation does not make the rest NaN; NaN stays NaN.
__device__ __forceinline__ float saturated(float v) { return v > 65504.0f ? 65504.0f : v < -65504.0f ? -65504.0f : v; }

__device__ __forceinline__ uint16_t half_bits(float v) { return __half_as_ushort(__float2half_rn(saturated(v))); }

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int o = 16; o; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
  return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int o = 16; o; o /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
  return v;
}

// A 16-byte load that is read once: past L1 where the hardware allows it.
__device__ __forceinline__ uint4 load_stream(const void *p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}

// The sum of squares of a row of n fp32 values, a multiple of four, by one warp: lane l adds the pieces l, l + 32, ... of four values in ascending order, a
// butterfly adds the lanes. Every kernel that norms a row uses this pattern, so that its bits do not depend on which one did. Eight loads at a time: a row is
// one or two latencies long.
__device__ __forceinline__ float sum_of_squares(const float *x, int n) {
  constexpr int AT_ONCE = 8;
  const float4 *pieces = reinterpret_cast<const float4 *>(x);
  float s = 0;
  for (int i = threadIdx.x % 32; i < n / 4; i += 32 * AT_ONCE) {
    float4 v[AT_ONCE];
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++) v[u] = i + 32 * u < n / 4 ? pieces[i + 32 * u] : make_float4(0, 0, 0, 0);
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++) {
      s = __fmaf_rn(v[u].x, v[u].x, s);
      s = __fmaf_rn(v[u].y, v[u].y, s);
      s = __fmaf_rn(v[u].z, v[u].z, s);
      s = __fmaf_rn(v[u].w, v[u].w, s);
    }
  }
  return warp_sum(s);
}

// x / sqrt(mean(x^2) + eps) * g, rounded to fp16.
__device__ __forceinline__ float inverse_rms(float sum, int n, float eps) { return rsqrtf(__fadd_rn(__fdiv_rn(sum, (float)n), eps)); }
__device__ __forceinline__ float normed(float x, float inverse, float gain) { return __fmul_rn(__fmul_rn(x, inverse), gain); }

// Four normed values as fp16.
__device__ __forceinline__ uint2 normed_halfs(const float4 &v, float inverse, const float4 &g) {
  return make_uint2(pack_half2(saturated(normed(v.x, inverse, g.x)), saturated(normed(v.y, inverse, g.y))),
                    pack_half2(saturated(normed(v.z, inverse, g.z)), saturated(normed(v.w, inverse, g.w))));
}
