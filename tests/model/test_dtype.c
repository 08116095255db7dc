// Stored types: against the formats' definitions in double, and against the gguf package's values.
#include "tests/test.h"
#include "runtime/base/half.h"
#include "runtime/base/npy.h"
#include "runtime/model/dtype.h"
#include <math.h>

static struct err e;

// The value of a half by IEEE 754.
static double half_value(uint16_t h) {
  int exponent = h >> 10 & 31, fraction = h & 1023;
  double v = exponent == 31 ? (fraction ? NAN : INFINITY)
             : exponent     ? ldexp(1024 + fraction, exponent - 25)
                            : ldexp(fraction, -24);
  return h & 0x8000 ? -v : v;
}

static void every_half_and_bfloat_is_exact(void **state) {
  (void)state;
  enum { ALL = 65536 };
  uint16_t *bits = malloc(ALL * sizeof *bits);
  float *out = malloc(ALL * sizeof *out);
  for (int i = 0; i < ALL; i++) bits[i] = (uint16_t)i;
  dtype_to_f32(DTYPE_F16, bits, out, ALL);
  for (int i = 0; i < ALL; i++) {
    double expected = half_value((uint16_t)i);
    if (isnan(expected)) assert_true(isnan(out[i]));
    else assert_true((double)out[i] == expected && !signbit(out[i]) == !(i & 0x8000));
  }
  dtype_to_f32(DTYPE_BF16, bits, out, ALL);
  for (int i = 0; i < ALL; i++) assert_int_equal(f32_to_bits(out[i]), (uint32_t)i << 16);
  free(bits);
  free(out);
}

static double half_at(const uint8_t *p) { return half_value((uint16_t)(p[0] | p[1] << 8)); }

// `count` bits from bit `at` on.
static int bits_at(const uint8_t *p, int at, int count) {
  int v = 0;
  for (int i = 0; i < count; i++) v |= (p[(at + i) / 8] >> (at + i) % 8 & 1) << i;
  return v;
}

// Element i of the 6-bit scales (or minima) of Q4_K and Q5_K: 12 bytes s; scale j < 4 in bits 0-5 of s[j], min j < 4 in
// those of s[4 + j]; for j >= 4 low bits in the halves of s[4 + j], high bits in bits 6-7 of s[j - 4] and s[j].
static int scale_k(const uint8_t *s, int j) {
  return j < 4 ? s[j] & 63 : bits_at(s + 4 + j, 0, 4) + 16 * bits_at(s + j - 4, 6, 2);
}
static int min_k(const uint8_t *s, int j) {
  return j < 4 ? s[4 + j] & 63 : bits_at(s + 4 + j, 4, 4) + 16 * bits_at(s + j, 6, 2);
}

// Element i of a block, by the format's definition.
static double element(enum dtype t, const uint8_t *p, int i) {
  int nibble32 = i < 16 ? 0 : 4; // of byte i % 16
  switch (t) {
  case DTYPE_Q8_0: return half_at(p) * (p[2 + i] < 128 ? p[2 + i] : p[2 + i] - 256);
  case DTYPE_Q4_0: return half_at(p) * (bits_at(p + 2 + i % 16, nibble32, 4) - 8);
  case DTYPE_Q4_1: return half_at(p) * bits_at(p + 4 + i % 16, nibble32, 4) + half_at(p + 2);
  case DTYPE_Q4_K:
  case DTYPE_Q5_K: {
    int group = i / 32, k = i % 32;
    const uint8_t *nibbles = p + 16 + (t == DTYPE_Q5_K ? 32 : 0);
    int q = bits_at(nibbles + i / 64 * 32 + k, group % 2 * 4, 4);
    if (t == DTYPE_Q5_K) q += 16 * bits_at(p + 16 + k, group, 1);
    return half_at(p) * scale_k(p + 4, group) * q - half_at(p + 2) * min_k(p + 4, group);
  }
  case DTYPE_Q6_K: {
    int half = i / 128, r = i % 128, quarter = r / 32, k = r % 32, s = p[192 + i / 16];
    int low = bits_at(p + 64 * half + quarter % 2 * 32 + k, quarter / 2 * 4, 4),
        high = bits_at(p + 128 + 32 * half + k, 2 * quarter, 2);
    return half_at(p + 208) * (s < 128 ? s : s - 256) * (low + 16 * high - 32);
  }
  default: return NAN;
  }
}

static const enum dtype quantized[] = {DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
static const int scale_at[DTYPE_COUNT][2] = {
    [DTYPE_Q4_1] = {0, 2}, [DTYPE_Q4_K] = {0, 2}, [DTYPE_Q5_K] = {0, 2}, [DTYPE_Q6_K] = {208, 208}};
enum { NUM_QUANTIZED = sizeof quantized / sizeof *quantized, MAX_BLOCK = 256, MAX_BYTES = 210, BLOCKS = 64 };

// A block of random bytes whose scales are numbers.
static void random_block(enum dtype t, uint8_t *p, uint64_t *rng) {
  for (int i = 0; i < dtype_info(t)->block_bytes; i++) p[i] = (uint8_t)test_random(rng);
  for (int i = 0; i < 2; i++) {
    uint16_t h = f32_to_f16((float)(test_uniform(rng) * 4 - 2));
    memcpy(p + scale_at[t][i], &h, sizeof h);
  }
}

// Three roundings to fp32 at most, of numbers no larger than the two terms of the formula.
static double bound(enum dtype t, const uint8_t *p, double v) {
  double offset = t == DTYPE_Q4_1 ? half_at(p + 2) : t == DTYPE_Q4_K || t == DTYPE_Q5_K ? half_at(p + 2) * 63 : 0;
  return 3 * 0x1p-24 * (fabs(v) + 2 * fabs(offset));
}

static void blocks_follow_their_definition(void **state) {
  (void)state;
  uint64_t rng = test_seed();
  uint8_t *bytes = malloc(BLOCKS * MAX_BYTES + 1);
  float *out = malloc(BLOCKS * MAX_BLOCK * sizeof *out);
  for (int n = 0; n < NUM_QUANTIZED; n++) {
    const struct dtype_info *info = dtype_info(quantized[n]);
    uint8_t *p = bytes + 1; // rows of a file may begin anywhere
    for (int b = 0; b < BLOCKS; b++) random_block(quantized[n], p + b * info->block_bytes, &rng);
    dtype_to_f32(quantized[n], p, out, BLOCKS * info->block);
    double largest = 0;
    for (int i = 0; i < BLOCKS * info->block; i++) {
      const uint8_t *block = p + i / info->block * info->block_bytes;
      double expected = element(quantized[n], block, i % info->block), d = fabs((double)out[i] - expected);
      if (!(d <= bound(quantized[n], block, expected)))
        fail_msg("%s: block %d element %d is %.9g, expected %.9g", info->name, i / info->block, i % info->block,
                 (double)out[i], expected);
      largest = fmax(largest, fabs(expected));
    }
    assert_true(largest > 1);
  }
  free(bytes);
  free(out);
}

static void blocks_match_the_gguf_package_to_the_bit(void **state) {
  (void)state;
  for (int n = 0; n < NUM_QUANTIZED; n++) {
    const struct dtype_info *info = dtype_info(quantized[n]);
    char path[128];
    struct npy blocks, values;
    snprintf(path, sizeof path, "tests/model/goldens/%s.blocks.npy", info->name);
    assert_ok(npy_read(&blocks, path, &e));
    snprintf(path, sizeof path, "tests/model/goldens/%s.values.npy", info->name);
    assert_ok(npy_read(&values, path, &e));
    assert_int_equal(blocks.shape[1], info->block_bytes);
    assert_int_equal(values.shape[1], info->block);
    assert_int_equal(blocks.shape[0], values.shape[0]);
    int64_t count = npy_count(&values);
    assert_true(count > 0);
    float *out = malloc((size_t)count * sizeof *out);
    dtype_to_f32(quantized[n], blocks.data, out, count);
    assert_memory_equal(out, values.data, (size_t)count * sizeof *out);
    free(out);
    npy_free(&blocks);
    npy_free(&values);
  }
}

static void rows_have_their_bytes(void **state) {
  (void)state;
  static const struct {
    enum dtype type;
    int64_t elements, bytes;
  } rows[] = {{DTYPE_F32, 3, 12},     {DTYPE_F16, 3, 6},      {DTYPE_BF16, 5, 10},
              {DTYPE_Q8_0, 64, 68},   {DTYPE_Q4_0, 96, 54},   {DTYPE_Q4_1, 32, 20},
              {DTYPE_Q4_K, 512, 288}, {DTYPE_Q5_K, 256, 176}, {DTYPE_Q6_K, 256, 210}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_int_equal(dtype_row_bytes(rows[i].type, rows[i].elements), rows[i].bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_half_and_bfloat_is_exact),
      cmocka_unit_test(blocks_follow_their_definition),
      cmocka_unit_test(blocks_match_the_gguf_package_to_the_bit),
      cmocka_unit_test(rows_have_their_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
