// Sectors, wavefronts and transactions of one warp instruction against counts worked out by hand.
#include "runtime/vgpu/counters.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static const uint32_t ALL = UINT32_MAX;

static void stride(uint64_t *addr, uint64_t base, uint64_t step) {
  for (int i = 0; i < 32; i++) addr[i] = base + (uint64_t)i * step;
}

static unsigned sectors(uint32_t mask, uint64_t base, uint64_t step, unsigned bytes) {
  uint64_t addr[32], s[VGPU_MAX_SECTORS];
  uint32_t w[VGPU_MAX_SECTORS];
  stride(addr, base, step);
  return vgpu_sectors(mask, addr, bytes, s, w);
}

// 32 lanes of 4, 8 and 16 bytes side by side: 128, 256 and 512 bytes.
static void test_coalesced(void **state) {
  (void)state;
  assert_int_equal(sectors(ALL, 4096, 4, 4), 4);
  assert_int_equal(sectors(ALL, 4096, 8, 8), 8);
  assert_int_equal(sectors(ALL, 4096, 16, 16), 16);
  assert_int_equal(sectors(ALL, 4096, 2, 2), 2);
  assert_int_equal(sectors(ALL, 4096, 1, 1), 1);
  assert_int_equal(sectors(0xffff, 4096, 4, 4), 2); // half of the lanes
  assert_int_equal(sectors(0, 4096, 4, 4), 0);
}

static void test_strided_and_shifted(void **state) {
  (void)state;
  assert_int_equal(sectors(ALL, 4096, 8, 4), 8);    // every second float
  assert_int_equal(sectors(ALL, 4096, 16, 4), 16);  // every fourth
  assert_int_equal(sectors(ALL, 4096, 32, 4), 32);  // one a sector
  assert_int_equal(sectors(ALL, 4096, 4096, 4), 32);
  assert_int_equal(sectors(ALL, 4096, 0, 4), 1);    // all the same
  assert_int_equal(sectors(ALL, 4096 + 4, 4, 4), 5); // one float off: 128 bytes over five sectors
  assert_int_equal(sectors(ALL, 4096 + 16, 16, 16), 17);
  assert_int_equal(sectors(1, 4096 + 24, 4, 16), 2); // one lane across a border
}

// The bytes a store touches of each sector, in whatever order the lanes come.
static void test_store_masks(void **state) {
  (void)state;
  uint64_t addr[32], s[VGPU_MAX_SECTORS];
  uint32_t w[VGPU_MAX_SECTORS];
  for (int i = 0; i < 32; i++) addr[i] = 8192 + (uint64_t)(31 - i) * 4;
  assert_int_equal(vgpu_sectors(ALL, addr, 4, s, w), 4);
  for (unsigned i = 0; i < 4; i++) {
    assert_int_equal(s[i], 8192 / 32 + i); // sorted
    assert_int_equal(w[i], UINT32_MAX);
  }
  assert_int_equal(vgpu_sectors(2, addr, 4, s, w), 1); // lane 1: the word before the last
  assert_int_equal(w[0], 0x0f000000u);
}

static unsigned wavefronts(uint32_t mask, uint64_t base, uint64_t step, unsigned bytes) {
  uint64_t addr[32];
  stride(addr, base, step);
  return vgpu_shared_wavefronts(mask, addr, bytes);
}

// Words 1, 2, 4, .. 32 apart: so many lanes meet in each bank.
static void test_conflicts_4_bytes(void **state) {
  (void)state;
  for (unsigned k = 1; k <= 32; k *= 2) assert_int_equal(wavefronts(ALL, 0, 4 * k, 4), k);
  for (unsigned k = 1; k <= 33; k += 2) assert_int_equal(wavefronts(ALL, 0, 4 * k, 4), 1); // odd strides never conflict
  assert_int_equal(wavefronts(ALL, 64, 0, 4), 1);      // one word for all: a broadcast
  assert_int_equal(wavefronts(0xffff, 0, 128, 4), 16); // half of the lanes
  assert_int_equal(wavefronts(0, 0, 128, 4), 0);
  assert_int_equal(wavefronts(ALL, 0, 2, 2), 1);       // two halves a word
  assert_int_equal(wavefronts(ALL, 0, 1, 1), 1);
}

// 8 bytes a lane: two half-warps; 16: four quarters.
static void test_conflicts_wide(void **state) {
  (void)state;
  assert_int_equal(wavefronts(ALL, 0, 8, 8), 2);
  for (unsigned k = 1; k <= 16; k *= 2) assert_int_equal(wavefronts(ALL, 0, 8 * k, 8), 2 * k);
  assert_int_equal(wavefronts(ALL, 0, 128, 8), 32); // all in one pair of banks
  assert_int_equal(wavefronts(ALL, 0, 16, 16), 4);
  for (unsigned k = 1; k <= 8; k *= 2) assert_int_equal(wavefronts(ALL, 0, 16 * k, 16), 4 * k);
  assert_int_equal(wavefronts(ALL, 0, 16 * 9, 16), 4); // padded rows of 144 bytes
  assert_int_equal(wavefronts(ALL, 0, 0, 16), 1);      // the same 16 bytes for all
  assert_int_equal(wavefronts(0xff, 0, 16, 16), 1);    // a quarter alone
}

// Half-warps are judged apart: each reads two rows of 16 banks, whole-warp counting would see half of the conflicts.
static void test_half_warps_apart(void **state) {
  (void)state;
  uint64_t addr[32];
  for (unsigned i = 0; i < 32; i++) addr[i] = (i / 16) * 64 + (i % 8) * 8 + (i % 16 / 8) * 128;
  assert_int_equal(vgpu_shared_wavefronts(ALL, addr, 8), 4);
}

static void test_ideal(void **state) {
  (void)state;
  uint64_t addr[32];
  stride(addr, 0, 128);
  assert_int_equal(vgpu_shared_ideal(ALL, addr, 4), 1);
  assert_int_equal(vgpu_shared_ideal(ALL, addr, 8), 2);
  assert_int_equal(vgpu_shared_ideal(ALL, addr, 16), 4);
  stride(addr, 0, 0);
  assert_int_equal(vgpu_shared_ideal(ALL, addr, 16), 1);
}

// Eight rows of 16 bytes a matrix. Rows 64 bytes apart: every second one meets; 80 bytes apart: none.
static void test_ldmatrix(void **state) {
  (void)state;
  uint64_t addr[32];
  stride(addr, 0, 16);
  assert_int_equal(vgpu_ldmatrix_wavefronts(ALL, addr, 4), 4);
  assert_int_equal(vgpu_ldmatrix_wavefronts(ALL, addr, 2), 2);
  assert_int_equal(vgpu_ldmatrix_wavefronts(ALL, addr, 1), 1);
  stride(addr, 0, 64);
  assert_int_equal(vgpu_ldmatrix_wavefronts(ALL, addr, 4), 4 * 4); // 8 rows over 2 places of 16 bytes
  stride(addr, 0, 128);
  assert_int_equal(vgpu_ldmatrix_wavefronts(ALL, addr, 4), 4 * 8);
  stride(addr, 0, 80);
  assert_int_equal(vgpu_ldmatrix_wavefronts(ALL, addr, 4), 4);
}

static void test_atomics(void **state) {
  (void)state;
  uint64_t addr[32], s[VGPU_MAX_SECTORS];
  uint32_t r[VGPU_MAX_SECTORS];
  stride(addr, 4096, 0);
  assert_int_equal(vgpu_atomic_transactions(ALL, addr, 4, s, r), 1);
  assert_int_equal(r[0], 32); // one address: lane after lane
  stride(addr, 4096, 4);
  assert_int_equal(vgpu_atomic_transactions(ALL, addr, 4, s, r), 4);
  for (int i = 0; i < 4; i++) assert_int_equal(r[i], 1);
  for (int i = 0; i < 32; i++) addr[i] = 4096 + (uint64_t)(i % 2) * 4; // two words of one sector, 16 lanes each
  assert_int_equal(vgpu_atomic_transactions(ALL, addr, 4, s, r), 1);
  assert_int_equal(r[0], 16);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_coalesced),     cmocka_unit_test(test_strided_and_shifted), cmocka_unit_test(test_store_masks),
      cmocka_unit_test(test_conflicts_4_bytes), cmocka_unit_test(test_conflicts_wide),  cmocka_unit_test(test_half_warps_apart),
      cmocka_unit_test(test_ideal),         cmocka_unit_test(test_ldmatrix),            cmocka_unit_test(test_atomics),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
