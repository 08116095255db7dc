// Loops over one row: norm, activation, exponential, conversion. Bound by memory or too short to matter; each is one
// pass of vectors and a last, partial one.
#include "runtime/cpu/simd/names.h"
#include <math.h>

// Lane l sums the squares of k = l (mod VW) in ascending order; the lanes are added by vf_sum's tree.
void CPU_NAME(rmsnorm)(const float *x, const float *gain, int64_t n, float eps, float *y) {
  vf acc = {0};
  int64_t k = 0;
  for (; k + VW <= n; k += VW) acc = vf_fma(vf_load(x + k), vf_load(x + k), acc);
  vf last = vf_load_first(x + k, n - k);
  acc = vf_fma(last, last, acc);
  vf inverse = vf_set((float)(1 / sqrt((double)vf_sum(acc) / (double)n + (double)eps)));
  for (k = 0; k + VW <= n; k += VW) vf_store(y + k, vf_load(x + k) * inverse * vf_load(gain + k));
  vf_store_first(y + k, last * inverse * vf_load_first(gain + k, n - k), n - k);
}

INLINE vf silu(vf z) { return z / (vf_exp(-z) + 1.0f); }

void CPU_NAME(silu_mul)(const float *gate, const float *up, int64_t n, float *y) {
  int64_t k = 0;
  for (; k + VW <= n; k += VW) vf_store(y + k, silu(vf_load(gate + k)) * vf_load(up + k));
  if (k < n) vf_store_first(y + k, silu(vf_load_first(gate + k, n - k)) * vf_load_first(up + k, n - k), n - k);
}

void CPU_NAME(exp)(const float *x, int64_t n, float *y) {
  int64_t k = 0;
  for (; k + VW <= n; k += VW) vf_store(y + k, vf_exp(vf_load(x + k)));
  if (k < n) vf_store_first(y + k, vf_exp(vf_load_first(x + k, n - k)), n - k);
}

void CPU_NAME(to_f16)(const float *src, uint16_t *dst, int64_t n) {
  int64_t k = 0;
#if defined __AVX512F__
  for (; k + VW <= n; k += VW)
    _mm256_storeu_si256((void *)(dst + k), _mm512_cvtps_ph(_mm512_loadu_ps(src + k), _MM_FROUND_TO_NEAREST_INT));
#elif defined __AVX2__
  for (; k + VW <= n; k += VW)
    _mm_storeu_si128((void *)(dst + k), _mm256_cvtps_ph(_mm256_loadu_ps(src + k), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; k < n; k++) dst[k] = f32_to_f16(src[k]);
}
