// Stored weights to vectors of fp32, in the order of k. The values are those of dtype_to_f32 to the bit: every product
// of a scale and a quantized integer has at most 24 bits and is exact, and at most one sum follows.
#pragma once
#include "runtime/cpu/kernels.h"
#include "runtime/cpu/simd/simd.h"

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

// Bytes whose bits are put together before they are spread over lanes.
enum { BYTES = VW == 4 ? 16 : 32 };
typedef uint8_t vb __attribute__((vector_size(BYTES)));
typedef uint16_t vh __attribute__((vector_size(BYTES)));

INLINE vb vb_load(const uint8_t *p) {
  vb v;
  memcpy(&v, p, sizeof v);
  return v;
}

// Shifts by pairs of bytes, which is one instruction: a byte's own bits are right, those shifted into it are to be
// masked.
INLINE vb vb_shift(vb b, int right) { return right < 0 ? (vb)((vh)b << -right) : (vb)((vh)b >> right); }

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

// Scales of a chunk of a row as fp32, to be broadcast from memory, which costs no shuffle. Q8_0 and Q4_0: d of each
// block; Q4_1: d and m of each; Q4_K and Q5_K: eight d, then eight m, of each; Q6_K: sixteen d of each. The halves of
// plain blocks are brought together first and converted many at a time.
enum { SCALES = LINEAR_CHUNK / 16 };
struct scales {
  float of[SCALES];
  uint8_t halves[SCALES * 2];
};

INLINE int64_t unit_scales(enum dtype t) { return unit_elements(t) == 256 ? 16 : t == DTYPE_Q4_1 ? 2 : 1; }

// Q4_K and Q5_K pack eight scales and eight minima of 6 bits in 12 bytes: packed[0] and packed[1], a byte each.
INLINE void unpack_scales_k(const uint8_t *block, uint64_t packed[2]) {
  uint32_t w[3];
  memcpy(w, block + 4, sizeof w);
  packed[0] = (w[0] & 0x3f3f3f3f) | (uint64_t)((w[2] & 0x0f0f0f0f) | (w[0] >> 6 & 0x03030303) << 4) << 32;
  packed[1] = (w[1] & 0x3f3f3f3f) | (uint64_t)((w[2] >> 4 & 0x0f0f0f0f) | (w[1] >> 6 & 0x03030303) << 4) << 32;
}

INLINE void load_scales_k(enum dtype t, const uint8_t *block, float *s) {
  uint64_t packed[2];
  if (t == DTYPE_Q6_K) memcpy(packed, block + 192, sizeof packed);
  else unpack_scales_k(block, packed);
  floats_of_bytes(packed[0], f32_from_f16(block + (t == DTYPE_Q6_K ? 208 : 0)), s);
  floats_of_bytes(packed[1], t == DTYPE_Q6_K ? f32_from_f16(block + 208) : -f32_from_f16(block + 2), s + 8);
}

// Takes those of block `b` of the chunk.
INLINE void gather_scales(enum dtype t, const uint8_t *row, int64_t b, struct scales *s) {
  const uint8_t *block = row + b * unit_bytes(t);
  size_t bytes = 2 * (size_t)unit_scales(t);
  if (unit_elements(t) == 256) load_scales_k(t, block, s->of + b * unit_scales(t));
  else memcpy(s->halves + (size_t)b * bytes, block, bytes);
}

// Makes them ready when those of all `blocks` blocks have been gathered.
INLINE void convert_scales(enum dtype t, int64_t blocks, struct scales *s) {
  if (unit_elements(t) == 256) return;
  for (int64_t i = 0; i < blocks * unit_scales(t); i += VW) vf_store(s->of + i, vf_from_f16(s->halves + 2 * i));
}

// d q + m for integers of 4 bits, whose higher bits are ignored.
struct affine {
  vf d, m;
};

INLINE struct affine affine_make(float d, float m) {
#if defined __AVX512F__
  const vf q = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return (struct affine){.d = q * vf_set(d) + vf_set(m)}; // all sixteen values; the products are exact
#else
  return (struct affine){vf_set(d), vf_set(m)};
#endif
}

// d (q - 8)
INLINE struct affine affine_make_8(float d) {
#if defined __AVX512F__
  const vf q = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
  return (struct affine){.d = q * vf_set(d)};
#else
  return (struct affine){vf_set(d), vf_set(d * -8.0f)};
#endif
}

INLINE vf affine_at(struct affine a, vi q) {
#if defined __AVX512F__
  return (vf)_mm512_permutexvar_ps((__m512i)q, (__m512)a.d);
#else
  return vf_fma(vf_from_i32(q & 15), a.d, a.m);
#endif
}

// A plain block of 32. Byte i of four bits: element i in the low half, i + 16 in the high one.
INLINE void unpack_plain(enum dtype t, const uint8_t *block, const float *s, vf w[32 / VW]) {
  if (t == DTYPE_Q8_0) {
    UNROLL for (int i = 0; i < 32 / VW; i++) w[i] = vf_from_i32(vi_from_s8(block + 2 + i * VW)) * vf_set(s[0]);
    return;
  }
  const uint8_t *q = block + (t == DTYPE_Q4_0 ? 2 : 4);
  struct affine a = t == DTYPE_Q4_0 ? affine_make_8(s[0]) : affine_make(s[0], s[1]);
  UNROLL for (int i = 0; i < 16 / VW; i++) {
    vi b = vi_from_u8(q + i * VW);
    w[i] = affine_at(a, b);
    w[i + 16 / VW] = affine_at(a, b >> 4);
  }
}

// Elements [32 j, 32 j + 32) of a K block. Q4_K: 32 bytes hold elements 64 n + i low, 64 n + 32 + i high. Q5_K: the
// fifth bits in 32 bytes before. Q6_K: halves of 128 elements, their low four bits in 64 bytes, their high two in 32.
INLINE void unpack_k(enum dtype t, const uint8_t *block, int j, const float *s, vf w[32 / VW]) {
  if (t == DTYPE_Q4_K) {
    const uint8_t *q = block + 16 + j / 2 * 32;
    struct affine a = affine_make(s[j], s[8 + j]);
    UNROLL for (int i = 0; i < 32 / VW; i++) {
      vi b = vi_from_u8(q + i * VW);
      w[i] = affine_at(a, j & 1 ? b >> 4 : b);
    }
  } else if (t == DTYPE_Q5_K) {
    const uint8_t *low = block + 48 + j / 2 * 32, *high = block + 16;
    UNROLL for (int b = 0; b < 32; b += BYTES) {
      vb q = (vb_shift(vb_load(low + b), (j & 1) * 4) & 15) | (vb_shift(vb_load(high + b), j - 4) & 16);
      UNROLL for (int i = 0; i < BYTES / VW; i++) w[b / VW + i] =
          vf_fma(vf_from_i32(spread(q, i)), vf_set(s[j]), vf_set(s[8 + j]));
    }
  } else {
    const uint8_t *low = block + j / 4 * 64 + (j & 1) * 32, *high = block + 128 + j / 4 * 32;
    UNROLL for (int b = 0; b < 32; b += BYTES) {
      vb q = (vb_shift(vb_load(low + b), (j & 2) * 2) & 15) | (vb_shift(vb_load(high + b), (j & 3) * 2 - 4) & 48);
      UNROLL for (int i = 0; i < BYTES / VW; i++) w[b / VW + i] =
          vf_from_i32(spread(q - 32, i)) * vf_set(s[2 * j + (b + i * VW) / 16]);
    }
  }
}

// Elements [32 j, 32 j + 32) of a block whose scales begin at s.
INLINE void unpack(enum dtype t, const uint8_t *block, int j, const float *s, vf w[32 / VW]) {
  if (unit_elements(t) == 32) unpack_plain(t, block, s, w);
  else unpack_k(t, block, j, s, w);
}
