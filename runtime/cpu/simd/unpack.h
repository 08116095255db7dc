// Stored weights to vectors of fp32, in the order of k. The values are those of dtype_to_f32 to the bit: every product
// of a scale and a quantized integer has at most 24 bits and is exact, and at most one sum follows.
#pragma once
#include "runtime/cpu/simd/simd.h"
#include "runtime/model/dtype.h"

// Elements and bytes of a block as it is walked: floats go vector by vector.
INLINE int64_t unit_elements(enum dtype t) {
  switch (t) {
  case DTYPE_Q8_0:
  case DTYPE_Q4_0:
  case DTYPE_Q4_1: return 32;
  case DTYPE_Q4_K:
  case DTYPE_Q5_K:
  case DTYPE_Q6_K: return 256;
  default: return VW;
  }
}

INLINE int64_t unit_bytes(enum dtype t) {
  switch (t) {
  case DTYPE_F32: return VW * 4;
  case DTYPE_Q8_0: return 34;
  case DTYPE_Q4_0: return 18;
  case DTYPE_Q4_1: return 20;
  case DTYPE_Q4_K: return 144;
  case DTYPE_Q5_K: return 176;
  case DTYPE_Q6_K: return 210;
  default: return VW * 2;
  }
}

INLINE bool is_float(enum dtype t) { return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16; }

// VW weights of a float type.
INLINE vf load_floats(enum dtype t, const uint8_t *p) {
  return t == DTYPE_F32 ? vf_load(p) : t == DTYPE_F16 ? vf_from_f16(p) : vf_from_bf16(p);
}

// The last n < VW weights of a row, then zeros.
INLINE vf load_last_floats(enum dtype t, const uint8_t *p, int64_t n) {
  uint8_t bytes[VW * 4] = {0};
  memcpy(bytes, p, (size_t)(n * (t == DTYPE_F32 ? 4 : 2)));
  return load_floats(t, bytes);
}

// Bytes of a K type, whose bits are put together before they are spread over lanes.
enum { BYTES = VW == 4 ? 16 : 32 };
typedef uint8_t vb __attribute__((vector_size(BYTES)));

INLINE vb vb_load(const uint8_t *p) {
  vb v;
  memcpy(&v, p, sizeof v);
  return v;
}

// Bytes [VW i, VW i + VW) as signed integers.
INLINE vi spread(vb b, int i) {
#if defined __AVX512F__
  return (vi)_mm512_cvtepi8_epi32(i ? _mm256_extracti128_si256((__m256i)b, 1) : _mm256_castsi256_si128((__m256i)b));
#elif defined __AVX2__
  __m128i half = i & 2 ? _mm256_extracti128_si256((__m256i)b, 1) : _mm256_castsi256_si128((__m256i)b);
  return (vi)_mm256_cvtepi8_epi32(i & 1 ? _mm_bsrli_si128(half, 8) : half);
#elif defined __SSE2__ // each byte four times, then shifted down
  __m128i two = i & 2 ? _mm_unpackhi_epi8((__m128i)b, (__m128i)b) : _mm_unpacklo_epi8((__m128i)b, (__m128i)b);
  return (vi)_mm_srai_epi32(i & 1 ? _mm_unpackhi_epi16(two, two) : _mm_unpacklo_epi16(two, two), 24);
#else
  int16x8_t two = i & 2 ? vmovl_high_s8((int8x16_t)b) : vmovl_s8(vget_low_s8((int8x16_t)b));
  return (vi)(i & 1 ? vmovl_high_s16(two) : vmovl_s16(vget_low_s16(two)));
#endif
}

// Eight bytes as eight floats.
INLINE void floats_of_bytes(uint64_t bytes, float factor, float dst[8]) {
#if defined __AVX2__
  _mm256_storeu_ps(dst, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128((int64_t)bytes))),
                                      _mm256_set1_ps(factor)));
#else
  for (int i = 0; i < 8; i++) dst[i] = (float)(int8_t)(bytes >> 8 * i) * factor;
#endif
}

// The scales of a K block: value = d[j] q + m[j] for the j-th 32 elements; d for each 16 with Q6_K.
struct scales {
  float d[16], m[8];
};

// Q4_K and Q5_K pack eight scales and eight minima of 6 bits in 12 bytes.
INLINE void load_scales(enum dtype t, const uint8_t *block, struct scales *s) {
  if (t == DTYPE_Q6_K) {
    uint64_t scale[2];
    memcpy(scale, block + 192, sizeof scale);
    float d = f32_from_f16(block + 208);
    floats_of_bytes(scale[0], d, s->d);
    floats_of_bytes(scale[1], d, s->d + 8);
  } else if (t == DTYPE_Q4_K || t == DTYPE_Q5_K) {
    uint32_t w[3];
    memcpy(w, block + 4, sizeof w);
    uint64_t scale = (w[0] & 0x3f3f3f3f) | (uint64_t)((w[2] & 0x0f0f0f0f) | (w[0] >> 6 & 0x03030303) << 4) << 32;
    uint64_t min = (w[1] & 0x3f3f3f3f) | (uint64_t)((w[2] >> 4 & 0x0f0f0f0f) | (w[1] >> 6 & 0x03030303) << 4) << 32;
    floats_of_bytes(scale, f32_from_f16(block), s->d);
    floats_of_bytes(min, -f32_from_f16(block + 2), s->m);
  }
  __asm__("" : "+m"(*s)); // to be broadcast from memory, which costs no shuffle
}

// d q + m for integers of 4 bits, whose higher bits are ignored.
struct affine {
  vf d, m;
};

INLINE struct affine affine_make(vf d, vf m) {
#if defined __AVX512F__
  const vf q = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return (struct affine){.d = vf_fma(q, d, m)}; // all sixteen values
#else
  return (struct affine){d, m};
#endif
}

INLINE vf affine_at(struct affine a, vi q) {
#if defined __AVX512F__
  return (vf)_mm512_permutexvar_ps((__m512i)q, (__m512)a.d);
#else
  return vf_fma(vf_from_i32(q & 15), a.d, a.m);
#endif
}

// A plain block of 32.
INLINE void unpack_plain(enum dtype t, const uint8_t *block, vf w[32 / VW]) {
  vf d = vf_set_f16(block);
  if (t == DTYPE_Q8_0) {
    UNROLL for (int i = 0; i < 32 / VW; i++) w[i] = vf_from_i32(vi_from_s8(block + 2 + i * VW)) * d;
    return;
  }
  // Byte i: element i in the low half, i + 16 in the high one.
  const uint8_t *q = block + (t == DTYPE_Q4_0 ? 2 : 4);
  struct affine a = affine_make(d, t == DTYPE_Q4_0 ? d * -8.0f : vf_set_f16(block + 2));
  UNROLL for (int i = 0; i < 16 / VW; i++) {
    vi b = vi_from_u8(q + i * VW);
    w[i] = affine_at(a, b);
    w[i + 16 / VW] = affine_at(a, b >> 4);
  }
}

// Elements [32 j, 32 j + 32) of a K block. Q4_K: 32 bytes hold elements 64 n + i low, 64 n + 32 + i high. Q5_K: the
// fifth bits in 32 bytes before. Q6_K: halves of 128 elements, their low four bits in 64 bytes, their high two in 32.
INLINE void unpack_k(enum dtype t, const uint8_t *block, int j, const struct scales *s, vf w[32 / VW]) {
  if (t == DTYPE_Q4_K) {
    const uint8_t *q = block + 16 + j / 2 * 32;
    struct affine a = affine_make(vf_set(s->d[j]), vf_set(s->m[j]));
    UNROLL for (int i = 0; i < 32 / VW; i++) w[i] = affine_at(a, vi_from_u8(q + i * VW) >> (j & 1) * 4);
  } else if (t == DTYPE_Q5_K) {
    const uint8_t *low = block + 48 + j / 2 * 32, *high = block + 16;
    UNROLL for (int b = 0; b < 32; b += BYTES) {
      vb q = (vb_load(low + b) >> (j & 1) * 4 & 15) | (vb_load(high + b) >> j & 1) << 4;
      UNROLL for (int i = 0; i < BYTES / VW; i++) w[b / VW + i] =
          vf_fma(vf_from_i32(spread(q, i)), vf_set(s->d[j]), vf_set(s->m[j]));
    }
  } else {
    const uint8_t *low = block + j / 4 * 64 + (j & 1) * 32, *high = block + 128 + j / 4 * 32;
    UNROLL for (int b = 0; b < 32; b += BYTES) {
      vb q = ((vb_load(low + b) >> (j & 2) * 2 & 15) | (vb_load(high + b) >> (j & 3) * 2 & 3) << 4) - 32;
      UNROLL for (int i = 0; i < BYTES / VW; i++) w[b / VW + i] =
          vf_from_i32(spread(q, i)) * s->d[2 * j + (b + i * VW) / 16];
    }
  }
}
