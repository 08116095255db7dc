// What the kernels share: mma.m16n8k8 and its register layout, loads, and the one pattern of a row's sum of squares.
#pragma once
#include "kernels.h"
#include <cuda_fp16.h>

#define PHI3_KERNEL extern "C" __global__ void

// d += a b for a 16 x 8 (row) and b 8 x 8 (column), fp16 in, fp32 sum. Lane l: a0 = row l / 4, k 2 (l % 4) + 0..1; a1 =
// row l / 4 + 8, the same k; b = k 2 (l % 4) + 0..1, column l / 4; d[0..1] = row l / 4, columns 2 (l % 4) + 0..1;
// d[2..3] = row l / 4 + 8. PTX ISA, 9.7.14, "mma.m16n8k8".
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a0), "r"(a1), "r"(b));
}

// d = a b.
__device__ __forceinline__ void mma_m16n8k8_first(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%7,%7,%7};"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
               : "r"(a0), "r"(a1), "r"(b), "f"(0.0f));
}

__device__ __forceinline__ uint32_t word(const uint4 &v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

__device__ __forceinline__ uint32_t pack_half2(float lo, float hi) {
  __half2 h = __floats2half2_rn(lo, hi);
  return *reinterpret_cast<uint32_t *>(&h);
}

// What passes fp16's range becomes its largest value, so that one such activation does not make the rest NaN; NaN stays
// NaN.
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

__device__ __forceinline__ float4 load_float4(const float4 *p) { // the compiler would cut it in two where it sees fit
  float4 v;
  asm volatile("ld.global.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p) : "memory");
  return v;
}

__device__ __forceinline__ float add_squares(const float4 &v, float s) {
  return __fmaf_rn(v.w, v.w, __fmaf_rn(v.z, v.z, __fmaf_rn(v.y, v.y, __fmaf_rn(v.x, v.x, s))));
}

// The sum of squares of a row of n fp32 values, a multiple of four. Chain c of 128 adds the pieces c, c + 128, ... of
// four values in ascending order; a butterfly adds 32 neighbouring chains, and the four sums are added as (0 + 1) + (2
// + 3). Every kernel that norms a row uses this pattern, so that its bits do not depend on which one did: here one warp
// has all chains, in rmsnorm a warp has 32 of them.
constexpr int NORM_CHAINS = 128;
__device__ __forceinline__ float sum_of_chains(const float (&w)[4]) { return __fadd_rn(__fadd_rn(w[0], w[1]), __fadd_rn(w[2], w[3])); }

__device__ __forceinline__ float sum_of_squares(const float *x, int n) {
  constexpr int AT_ONCE = 2; // pieces of each chain on their way
  const float4 *pieces = reinterpret_cast<const float4 *>(x);
  float s[4] = {};
  for (int i = threadIdx.x % 32; i < n / 4; i += NORM_CHAINS * AT_ONCE) {
    float4 v[AT_ONCE][4];
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++)
#pragma unroll
      for (int c = 0; c < 4; c++) {
        const int at = i + NORM_CHAINS * u + 32 * c;
        v[u][c] = load_float4(pieces + min(at, n / 4 - 1));
        if (at >= n / 4) v[u][c] = make_float4(0, 0, 0, 0);
      }
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++)
#pragma unroll
      for (int c = 0; c < 4; c++) s[c] = add_squares(v[u][c], s[c]);
  }
#pragma unroll
  for (int c = 0; c < 4; c++) s[c] = warp_sum(s[c]);
  return sum_of_chains(s);
}

// x / sqrt(mean(x^2) + eps) * g, rounded to fp16.
__device__ __forceinline__ float inverse_rms(float sum, int n, float eps) { return rsqrtf(__fadd_rn(__fdiv_rn(sum, (float)n), eps)); }
__device__ __forceinline__ float normed(float x, float inverse, float gain) { return __fmul_rn(__fmul_rn(x, inverse), gain); }

// Four normed values as fp16.
__device__ __forceinline__ uint2 normed_halfs(const float4 &v, float inverse, const float4 &g) {
  return make_uint2(pack_half2(saturated(normed(v.x, inverse, g.x)), saturated(normed(v.y, inverse, g.y))),
                    pack_half2(saturated(normed(v.z, inverse, g.z)), saturated(normed(v.w, inverse, g.w))));
}
