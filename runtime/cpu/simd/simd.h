// One machine vector of fp32 and what the tuned loops need of it. The files of this folder are compiled once per
// instruction set (CPU_ISA names it): 16 lanes with AVX-512 (v4), 8 with AVX2 (v3), 4 with SSE2 or NEON
// (baseline). Sums differ between instruction sets in their last bits, never within one.
#pragma once
#include "runtime/base/half.h"
#include <stdint.h>
#include <string.h>

#define CPU_JOIN2(a, b) a##_##b
#define CPU_JOIN(a, b)  CPU_JOIN2(a, b)
#define CPU_NAME(f)     CPU_JOIN(f, CPU_ISA)
#define INLINE          static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

#if defined __AVX512F__
#include <immintrin.h>
enum { VW = 16 }; // lanes
#elif defined __AVX2__
#include <immintrin.h>
enum { VW = 8 };
#elif defined __SSE2__
#include <emmintrin.h>
enum { VW = 4 };
#elif defined __aarch64__
#include <arm_neon.h>
enum { VW = 4 };
#else
#error "vectors are written for x86-64 and aarch64"
#endif

typedef float vf __attribute__((vector_size(VW * 4)));
typedef int32_t vi __attribute__((vector_size(VW * 4)));
typedef float v4f __attribute__((vector_size(16)));

INLINE vf vf_load(const void *p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}

INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }

INLINE vf vf_set(float f) { return f - (vf){0}; }

// The first `n` < VW floats, then zeros.
INLINE vf vf_load_first(const float *p, int64_t n) {
  vf v = {0};
  memcpy(&v, p, (size_t)n * sizeof *p);
  return v;
}

INLINE void vf_store_first(float *p, vf v, int64_t n) { memcpy(p, &v, (size_t)n * sizeof *p); }

INLINE vf vf_select(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }

// a b + c, rounded once where the machine has the instruction.
INLINE vf vf_fma(vf a, vf b, vf c) {
#if defined __AVX512F__
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined __AVX2__
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined __aarch64__
  return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

// Lanes added by halves: l and l + VW / 2, and so on down to four.
INLINE v4f vf_to_4(vf a) {
#if defined __AVX512F__
  typedef float v8f __attribute__((vector_size(32)));
  v8f b = (v8f)_mm512_castps512_ps256((__m512)a) +
          (v8f)_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)a), 1));
  return (v4f)_mm256_castps256_ps128((__m256)b) + (v4f)_mm256_extractf128_ps((__m256)b, 1);
#elif defined __AVX2__
  return (v4f)_mm256_castps256_ps128((__m256)a) + (v4f)_mm256_extractf128_ps((__m256)a, 1);
#else
  return a;
#endif
}

// Lanes of a (0 to 3) and b (4 to 7).
#if defined __clang__ || __GNUC__ >= 12
#define SHUFFLE4(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t v4i __attribute__((vector_size(16)));
#define SHUFFLE4(a, b, ...) __builtin_shuffle(a, b, (v4i){__VA_ARGS__})
#endif

// The sums over the lanes of four vectors, each by the same tree: to four lanes, then (0 + 2) + (1 + 3).
INLINE v4f vf_sum4(vf a, vf b, vf c, vf d) {
  v4f a4 = vf_to_4(a), b4 = vf_to_4(b), c4 = vf_to_4(c), d4 = vf_to_4(d);
  v4f ab = SHUFFLE4(a4, b4, 0, 4, 1, 5) + SHUFFLE4(a4, b4, 2, 6, 3, 7);
  v4f cd = SHUFFLE4(c4, d4, 0, 4, 1, 5) + SHUFFLE4(c4, d4, 2, 6, 3, 7);
  return SHUFFLE4(ab, cd, 0, 1, 4, 5) + SHUFFLE4(ab, cd, 2, 3, 6, 7);
}

// sum[r] = vf_sum4(a[r][0], a[r][1], a[r][2], a[r][3]) for up to four rows, by the same tree. Four rows of wide vectors
// are added side by side, in half as many instructions: between tiles it is these that keep multiply-adds waiting.
INLINE void vf_sum4_rows(int rows, const vf a[][4], v4f sum[]) {
#if defined __AVX512F__
  if (rows == 4) {
    vf c[4]; // four lanes of each of four rows
    UNROLL for (int i = 0; i < 4; i++) {
      __m512d r0 = (__m512d)a[0][i], r1 = (__m512d)a[1][i], r2 = (__m512d)a[2][i], r3 = (__m512d)a[3][i];
      vf ab = (vf)_mm512_shuffle_f64x2(r0, r1, 0x44) + (vf)_mm512_shuffle_f64x2(r0, r1, 0xee);
      vf cd = (vf)_mm512_shuffle_f64x2(r2, r3, 0x44) + (vf)_mm512_shuffle_f64x2(r2, r3, 0xee);
      c[i] = (vf)_mm512_shuffle_f32x4((__m512)ab, (__m512)cd, 0x88) +
             (vf)_mm512_shuffle_f32x4((__m512)ab, (__m512)cd, 0xdd);
    }
    vf pairs[2]; // (0 + 2), (1 + 3) of two outputs
    UNROLL for (int i = 0; i < 2; i++) {
      __m512d x = (__m512d)c[2 * i], y = (__m512d)c[2 * i + 1];
      pairs[i] = (vf)_mm512_unpacklo_pd(x, y) + (vf)_mm512_unpackhi_pd(x, y);
    }
    __m512 x = (__m512)pairs[0], y = (__m512)pairs[1];
    vf all = (vf)_mm512_shuffle_ps(x, y, 0x88) + (vf)_mm512_shuffle_ps(x, y, 0xdd);
    memcpy(sum, &all, sizeof all);
    return;
  }
#endif
  UNROLL for (int r = 0; r < rows; r++) sum[r] = vf_sum4(a[r][0], a[r][1], a[r][2], a[r][3]);
}

INLINE float vf_sum(vf a) {
  v4f b = vf_to_4(a);
  return (b[0] + b[2]) + (b[1] + b[3]);
}

INLINE vf vf_max(vf a, vf b) { return vf_select(a > b, a, b); }

INLINE float vf_max_lane(vf a) {
#if defined __AVX512F__
  return _mm512_reduce_max_ps((__m512)a);
#else
  float m = a[0];
  for (int i = 1; i < VW; i++) m = a[i] > m ? a[i] : m;
  return m;
#endif
}

// VW unsigned bytes as integers.
INLINE vi vi_from_u8(const uint8_t *p) {
#if defined __AVX512F__
  return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
#elif defined __AVX2__
  return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
#else
  uint32_t four;
  memcpy(&four, p, sizeof four);
#ifdef __SSE2__
  __m128i zero = _mm_setzero_si128();
  return (vi)_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128((int)four), zero), zero);
#else
  return (vi)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
#endif
#endif
}

// VW signed bytes as integers.
INLINE vi vi_from_s8(const uint8_t *p) {
#if defined __AVX512F__
  return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p));
#elif defined __AVX2__
  return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p));
#else
  return (vi_from_u8(p) ^ 128) - 128;
#endif
}

INLINE vi vi_from_u16(const void *p) {
#if defined __AVX512F__
  return (vi)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
#elif defined __AVX2__
  return (vi)_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
#elif defined __SSE2__
  return (vi)_mm_unpacklo_epi16(_mm_loadl_epi64((const void *)p), _mm_setzero_si128());
#else
  uint16x4_t h;
  memcpy(&h, p, sizeof h);
  return (vi)vmovl_u16(h);
#endif
}

INLINE vf vf_from_i32(vi v) { return __builtin_convertvector(v, vf); }

// VW bfloat16 values.
INLINE vf vf_from_bf16(const void *p) { return (vf)(vi_from_u16(p) << 16); }

// VW fp16 values, exact.
INLINE vf vf_from_f16(const void *p) {
#if defined __AVX512F__
  return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
#elif defined __AVX2__
  return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
#elif defined __aarch64__
  float16x4_t h;
  memcpy(&h, p, sizeof h);
  return (vf)vcvt_f32_f16(h);
#else
  vi h = vi_from_u16(p), magnitude = h & 0x7fff;
  vf finite = (vf)(magnitude << 13) * 0x1p112f; // also makes subnormals normal
  vi special = 0x7f800000 | magnitude << 13;    // infinity, NaN
  vf value = vf_select(magnitude >= 0x7c00, (vf)special, finite);
  return (vf)((vi)value | (h & 0x8000) << 16);
#endif
}

// One fp16 value, for the scales of quantized blocks.
INLINE float f32_from_f16(const uint8_t *p) {
  uint16_t h;
  memcpy(&h, p, sizeof h);
#if defined __AVX2__
  return _cvtsh_ss(h);
#else
  return f16_to_f32(h);
#endif
}

// One fp16 value in every lane.
INLINE vf vf_set_f16(const uint8_t *p) {
#if defined __AVX512F__
  int16_t h;
  memcpy(&h, p, sizeof h);
  return (vf)_mm512_cvtph_ps(_mm256_set1_epi16(h));
#else
  return vf_set(f32_from_f16(p));
#endif
}

// 2^k p, rounded once, for k of -151 to 128.
INLINE vf vf_scale(vf p, vi k) {
#if defined __AVX512F__
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)vf_from_i32(k));
#else
  vi half = k >> 1; // in two factors, so that both are normal numbers
  return p * (vf)((half + 127) << 23) * (vf)((k - half + 127) << 23);
#endif
}

// The one of a vector and a bound; NaN stays NaN.
INLINE vf vf_at_most(vf x, float bound) {
#if defined __AVX512F__
  return (vf)_mm512_min_ps((__m512)vf_set(bound), (__m512)x);
#else
  return vf_select(x > bound, vf_set(bound), x);
#endif
}

INLINE vf vf_at_least(vf x, float bound) {
#if defined __AVX512F__
  return (vf)_mm512_max_ps((__m512)vf_set(bound), (__m512)x);
#else
  return vf_select(x < bound, vf_set(bound), x);
#endif
}

// exp(x) to within 2 ulp over the whole range; 0 below -104, infinity above 88.73, NaN for NaN. x = n ln 2 + r with the
// two-part ln 2 of Cody and Waite, a polynomial of degree 6 for exp(r) with Cephes' coefficients, and 2^n so that
// subnormal results round once.
INLINE vf vf_exp(vf x) {
  const vf magic = vf_set(0x1.8p23f); // adding it rounds to an integer
  x = vf_at_least(vf_at_most(x, 89.0f), -104.0f);
  vf t = vf_fma(x, vf_set(1.44269504f), magic), n = t - magic;
  vf r = vf_fma(n, vf_set(-0.693359375f), x); // exact: this part of ln 2 has 9 bits
  r = vf_fma(n, vf_set(2.12194440e-4f), r);
  vf p = vf_fma(vf_set(1.9875691500e-4f), r, vf_set(1.3981999507e-3f));
  p = vf_fma(p, r, vf_set(8.3334519073e-3f));
  p = vf_fma(p, r, vf_set(4.1665795894e-2f));
  p = vf_fma(p, r, vf_set(1.6666665459e-1f));
  p = vf_fma(p, r, vf_set(5.0000001201e-1f));
  p = vf_fma(p, r * r, r) + 1.0f;
  return vf_scale(p, (vi)t - (vi)magic);
}
