// fp16 and bfloat16 to fp32 and back, exact one way and round-to-nearest-even the other. Plain integer code: the same bits
// on every machine. IEEE 754-2019, section 3.6.
#pragma once
#include <stdint.h>
#include <string.h>

static inline float f32_from_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

static inline uint32_t f32_to_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

static inline float bf16_to_f32(uint16_t h) { return f32_from_bits((uint32_t)h << 16); }

static inline uint16_t f32_to_bf16(float f) {
  uint32_t u = f32_to_bits(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u); // a NaN stays one
  return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline float f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 1023u;
  if (exponent == 31) return f32_from_bits(sign | 0x7f800000u | fraction << 13);
  if (exponent) return f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
  float subnormal = (float)fraction * 0x1p-24f; // exact
  return sign ? -subnormal : subnormal;
}

static inline uint16_t f32_to_f16(float f) {
  uint32_t u = f32_to_bits(f), sign = u >> 16 & 0x8000u;
  u &= 0x7fffffffu;
  if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (u >> 13 & 1023u)); // a NaN stays one
  if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);                    // rounds to 65536 or more: infinity
  if (u < 0x38800000u) { // below 2^-14: adding 0.5 rounds at the last place of a subnormal half
    float r = f32_from_bits(u) + 0.5f;
    return (uint16_t)(sign | (f32_to_bits(r) - 0x3f000000u));
  }
  return (uint16_t)(sign | ((u - 0x38000000u + 0xfffu + (u >> 13 & 1u)) >> 13));
}
