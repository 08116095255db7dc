// Stored weights to vectors of fp32, in the order of k. The values are those of dtype_to_f32 to the bit: every product of a scale and a
// quantized integer has at most 24 bits and is exact, and at most one sum follows.
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

// Scales of a block: value = d q + m, d for each 32 elements (each 16 with Q6_K).
struct scales {
  float d[16], m[8];
};

// Q4_K and Q5_K: eight scales and eight minima of 6 bits in 12 bytes.
INLINE void k_scales(const uint8_t *block, struct scales *s) {
  float d = f32_from_f16(block), dmin = f32_from_f16(block + 2);
  uint32_t w[3], sc[2], mn[2];
  memcpy(w, block + 4, sizeof w);
  sc[0] = w[0] & 0x3f3f3f3f;
  mn[0] = w[1] & 0x3f3f3f3f;
  sc[1] = (w[2] & 0x0f0f0f0f) | (w[0] >> 6 & 0x03030303) << 4;
  mn[1] = (w[2] >> 4 & 0x0f0f0f0f) | (w[1] >> 6 & 0x03030303) << 4;
  uint8_t b[VW < 8 ? 16 : 2 * VW] = {0};
  memcpy(b, sc, 8);
  memcpy(b + sizeof b / 2, mn, 8);
  for (int i = 0; i < 8; i += VW) {
    vf scale = vf_from_i32(vi_from_u8(b + i)) * d, min = vf_from_i32(vi_from_u8(b + sizeof b / 2 + i)) * -dmin;
    memcpy(s->d + i, &scale, VW > 8 ? 32 : sizeof scale);
    memcpy(s->m + i, &min, VW > 8 ? 32 : sizeof min);
  }
}

INLINE void load_scales(enum dtype t, const uint8_t *block, struct scales *s) {
  if (t == DTYPE_Q4_K || t == DTYPE_Q5_K) {
    k_scales(block, s);
  } else if (t == DTYPE_Q6_K) {
    float d = f32_from_f16(block + 208);
    for (int i = 0; i < 16; i += VW) vf_store(s->d + i, vf_from_i32(vi_from_s8(block + 192 + i)) * d);
  } else {
    s->d[0] = f32_from_f16(block);
    s->m[0] = t == DTYPE_Q4_1 ? f32_from_f16(block + 2) : t == DTYPE_Q4_0 ? -8 * s->d[0] : 0;
  }
}

// d q + m for integers of 4 bits, whose higher bits are ignored.
struct affine {
  vf d, m;
};

INLINE struct affine affine_make(float d, float m) {
#if defined __AVX512F__
  vf q = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return (struct affine){.d = vf_fma(q, vf_set(d), vf_set(m))}; // all sixteen values
#else
  return (struct affine){vf_set(d), vf_set(m)};
#endif
}

INLINE vf affine_at(struct affine a, vi q) {
#if defined __AVX512F__
  return (vf)_mm512_permutexvar_ps((__m512i)q, (__m512)a.d);
#else
  return vf_fma(vf_from_i32(q & 15), a.d, a.m);
#endif
}

// Elements [32 j, 32 j + 32) of a block.
INLINE void unpack(enum dtype t, const uint8_t *block, int j, const struct scales *s, vf w[32 / VW]) {
  if (t == DTYPE_Q8_0) {
    vf d = vf_set(s->d[0]);
    UNROLL for (int i = 0; i < 32 / VW; i++) w[i] = vf_from_i32(vi_from_s8(block + 2 + i * VW)) * d;
  } else if (t == DTYPE_Q4_0 || t == DTYPE_Q4_1) { // byte i: element i in the low half, i + 16 in the high one
    const uint8_t *q = block + (t == DTYPE_Q4_0 ? 2 : 4);
    struct affine a = affine_make(s->d[0], s->m[0]);
    UNROLL for (int i = 0; i < 16 / VW; i++) {
      vi b = vi_from_u8(q + i * VW);
      w[i] = affine_at(a, b);
      w[i + 16 / VW] = affine_at(a, b >> 4);
    }
  } else if (t == DTYPE_Q4_K) { // 32 bytes hold elements 64 n + i low, 64 n + 32 + i high
    const uint8_t *q = block + 16 + j / 2 * 32;
    struct affine a = affine_make(s->d[j], s->m[j]);
    UNROLL for (int i = 0; i < 32 / VW; i++) w[i] = affine_at(a, vi_from_u8(q + i * VW) >> (j & 1) * 4);
  } else if (t == DTYPE_Q5_K) { // as Q4_K, the fifth bits in 32 bytes before
    const uint8_t *q = block + 48 + j / 2 * 32;
    vf d = vf_set(s->d[j]), m = vf_set(s->m[j]);
    UNROLL for (int i = 0; i < 32 / VW; i++) {
      vi low = vi_from_u8(q + i * VW) >> (j & 1) * 4 & 15, high = (vi_from_u8(block + 16 + i * VW) >> j & 1) << 4;
      w[i] = vf_fma(vf_from_i32(low | high), d, m);
    }
  } else { // Q6_K: halves of 128 elements; four bits in 64 bytes, two bits in 32
    const uint8_t *low = block + j / 4 * 64 + (j & 1) * 32, *high = block + 128 + j / 4 * 32;
    UNROLL for (int i = 0; i < 32 / VW; i++) {
      vi q = (vi_from_u8(low + i * VW) >> (j & 2) * 2 & 15) | (vi_from_u8(high + i * VW) >> (j & 3) * 2 & 3) << 4;
      w[i] = vf_from_i32(q - 32) * s->d[2 * j + i * VW / 16];
    }
  }
}
