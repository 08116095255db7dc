#include "runtime/model/dtype.h"
#include "runtime/base/half.h"

// The layouts and formulas of the quantized types are those of ggml (ggml-common.h, ggml-quants.c); multi-byte fields
// are little-endian and may lie at odd addresses.
enum {
  QK = 32,       // elements of a plain quantized block
  QK_K = 256,    // elements of a super-block
  SUB = 32,      // elements that share a scale in Q4_K and Q5_K
  SCALES_K = 12, // bytes of the eight 6-bit scales and minima of Q4_K and Q5_K
  BYTES_Q8_0 = 2 + QK,
  BYTES_Q4_0 = 2 + QK / 2,
  BYTES_Q4_1 = 4 + QK / 2,
  BYTES_Q4_K = 4 + SCALES_K + QK_K / 2,
  BYTES_Q5_K = 4 + SCALES_K + QK_K / 8 + QK_K / 2,
  BYTES_Q6_K = QK_K / 2 + QK_K / 4 + QK_K / 16 + 2
};

static const struct dtype_info infos[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 1, 4},
    [DTYPE_F16] = {"F16", 1, 2},
    [DTYPE_BF16] = {"BF16", 1, 2},
    [DTYPE_Q8_0] = {"Q8_0", QK, BYTES_Q8_0},
    [DTYPE_Q4_0] = {"Q4_0", QK, BYTES_Q4_0},
    [DTYPE_Q4_1] = {"Q4_1", QK, BYTES_Q4_1},
    [DTYPE_Q4_K] = {"Q4_K", QK_K, BYTES_Q4_K},
    [DTYPE_Q5_K] = {"Q5_K", QK_K, BYTES_Q5_K},
    [DTYPE_Q6_K] = {"Q6_K", QK_K, BYTES_Q6_K},
};

const struct dtype_info *dtype_info(enum dtype t) { return &infos[t]; }

int64_t dtype_row_bytes(enum dtype t, int64_t n) { return n / infos[t].block * infos[t].block_bytes; }

static uint16_t load_u16(const uint8_t *p) {
  uint16_t u;
  memcpy(&u, p, sizeof u);
  return u;
}

static float load_f16(const uint8_t *p) { return f16_to_f32(load_u16(p)); }

// Without branches, so that it is vectorized, and without fp32 subnormals, which are slow on many processors.
static void from_f16(const uint8_t *src, float *dst, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t h = load_u16(src + 2 * i), magnitude = h & 0x7fffu;
    uint32_t subnormal = f32_to_bits((float)(int32_t)magnitude * 0x1p-24f); // exact
    uint32_t normal = (magnitude << 13) + (112u << 23); // 127 - 15: the difference of the exponents' biases
    uint32_t special = 0x7f800000u | magnitude << 13;   // infinity and NaN
    uint32_t bits = magnitude < 0x400u ? subnormal : magnitude < 0x7c00u ? normal : special;
    dst[i] = f32_from_bits(bits | (h & 0x8000u) << 16);
  }
}

static void from_bf16(const uint8_t *src, float *dst, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = bf16_to_f32(load_u16(src + 2 * i));
}

// {f16 d; i8 q[32]}: d q
static void block_q8_0(const uint8_t *p, float *dst) {
  float d = load_f16(p);
  for (int i = 0; i < QK; i++) dst[i] = (float)(int8_t)p[2 + i] * d;
}

// {f16 d; u4 q[32]}: d (q - 8); low nibbles are the first half
static void block_q4_0(const uint8_t *p, float *dst) {
  float d = load_f16(p);
  for (int i = 0; i < QK / 2; i++) {
    dst[i] = (float)((p[2 + i] & 15) - 8) * d;
    dst[i + QK / 2] = (float)((p[2 + i] >> 4) - 8) * d;
  }
}

// {f16 d, m; u4 q[32]}: d q + m
static void block_q4_1(const uint8_t *p, float *dst) {
  float d = load_f16(p), m = load_f16(p + 2);
  for (int i = 0; i < QK / 2; i++) {
    dst[i] = (float)(p[4 + i] & 15) * d + m;
    dst[i + QK / 2] = (float)(p[4 + i] >> 4) * d + m;
  }
}

// The j-th of eight 6-bit scales and minima packed in 12 bytes: the first four lie in the low six bits of bytes 0..3
// and 4..7; of the last four the low nibbles lie in bytes 8..11 and the high two bits on top of the first four.
static void scale_min_k(int j, const uint8_t *s, uint8_t *scale, uint8_t *min) {
  if (j < 4) {
    *scale = s[j] & 63;
    *min = s[j + 4] & 63;
  } else {
    *scale = (uint8_t)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
    *min = (uint8_t)(s[j + 4] >> 4 | (s[j] >> 6) << 4);
  }
}

// {f16 d, dmin; u6 scale[8], min[8]; u4 q[256]}: (d scale) q - (dmin min) per 32; 32 bytes hold two such groups, low
// nibbles first. Q5_K has a fifth bit of each element between the scales and the nibbles: bit g of byte i for element i
// of group g.
static void block_k4(const uint8_t *p, const uint8_t *high, const uint8_t *low, float *dst) {
  float d = load_f16(p), dmin = load_f16(p + 2);
  for (int g = 0; g < QK_K / SUB; g++, dst += SUB) {
    uint8_t scale, min;
    scale_min_k(g, p + 4, &scale, &min);
    float d1 = d * (float)scale, m1 = dmin * (float)min;
    const uint8_t *q = low + g / 2 * SUB;
    int shift = g % 2 * 4;
    for (int i = 0; i < SUB; i++) {
      int v = q[i] >> shift & 15;
      if (high) v += (high[i] >> g & 1) << 4;
      dst[i] = d1 * (float)v - m1;
    }
  }
}

static void block_q4_k(const uint8_t *p, float *dst) { block_k4(p, NULL, p + 4 + SCALES_K, dst); }

static void block_q5_k(const uint8_t *p, float *dst) {
  block_k4(p, p + 4 + SCALES_K, p + 4 + SCALES_K + QK_K / 8, dst);
}

// {u4 low[256]; u2 high[256]; i8 scale[16]; f16 d}: (d scale) (q - 32), a scale per 16. Each half of 128 elements has
// 64 bytes of nibbles and 32 bytes of high bits: quarter k takes nibble k/2 of byte 32 (k%2) + i, and bits 2k of high
// byte i.
static void block_q6_k(const uint8_t *p, float *dst) {
  const uint8_t *low = p, *high = p + QK_K / 2;
  const int8_t *scale = (const int8_t *)(high + QK_K / 4);
  float d = load_f16(p + BYTES_Q6_K - 2);
  for (int g = 0; g < QK_K / 16; g++, dst += 16) { // groups of one scale
    int half = g / 8, k = g / 2 % 4, first = g % 2 * 16, low_shift = k / 2 * 4, high_shift = 2 * k;
    const uint8_t *l = low + 64 * half + k % 2 * 32 + first, *h = high + 32 * half + first;
    float ds = d * (float)scale[g];
    for (int i = 0; i < 16; i++) {
      int q = (l[i] >> low_shift & 15) | (h[i] >> high_shift & 3) << 4;
      dst[i] = ds * (float)(q - 32);
    }
  }
}

void dtype_to_f32(enum dtype t, const void *src, float *dst, int64_t n) {
  static void (*const block[DTYPE_COUNT])(const uint8_t *, float *) = {
      [DTYPE_Q8_0] = block_q8_0, [DTYPE_Q4_0] = block_q4_0, [DTYPE_Q4_1] = block_q4_1,
      [DTYPE_Q4_K] = block_q4_k, [DTYPE_Q5_K] = block_q5_k, [DTYPE_Q6_K] = block_q6_k};
  const uint8_t *p = src;
  switch (t) {
  case DTYPE_F32: memcpy(dst, p, (size_t)n * sizeof *dst); return;
  case DTYPE_F16: from_f16(p, dst, n); return;
  case DTYPE_BF16: from_bf16(p, dst, n); return;
  default:
    for (int64_t i = 0; i < n; i += infos[t].block, p += infos[t].block_bytes) block[t](p, dst + i);
  }
}
