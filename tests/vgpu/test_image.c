// Images: the decompressors against data from the tools, fat binaries from nvcc, and both against damage.
#include "runtime/vgpu/fatbin.h"
#include "runtime/vgpu/nvinfo.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA "tests/vgpu/data/"

static uint8_t *slurp(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  size_t cap = 1 << 22;
  uint8_t *p = malloc(cap);
  *n = p ? fread(p, 1, cap, f) : 0;
  fclose(f);
  uint8_t *exact = malloc(*n ? *n : 1); // so that a sanitizer sees one byte too far
  if (exact && p) memcpy(exact, p, *n);
  free(p);
  return exact;
}

static bool have(const char *tool) {
  char cmd[256];
  snprintf(cmd, sizeof cmd, "command -v %s >/dev/null 2>&1", tool);
  return !system(cmd);
}

// Text with repetition, noise and long runs: every kind of block and length.
static uint8_t *sample(size_t n, unsigned seed) {
  uint8_t *p = malloc(n ? n : 1);
  for (size_t i = 0; p && i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    unsigned r = seed >> 16;
    if (i > 300 && r % 7) p[i] = p[i - 1 - r % 300]; // mostly copies
    else p[i] = (uint8_t)(i / 5000 % 3 == 2 ? (unsigned)'a' : i / 5000 % 3 ? r : (unsigned)"the quick brown fox "[r % 20]);
  }
  return p;
}

static void round_trip(const char *compress, bool zstd, size_t n, unsigned seed) {
  char in[] = "/tmp/vgpu_in_XXXXXX", out[64], cmd[512];
  int fd = mkstemp(in);
  assert_true(fd >= 0);
  uint8_t *plain = sample(n, seed);
  assert_non_null(plain);
  assert_int_equal(write(fd, plain, n), n);
  close(fd);
  snprintf(out, sizeof out, "%s.c", in);
  snprintf(cmd, sizeof cmd, compress, in, out);
  assert_int_equal(system(cmd), 0);
  size_t packed_n;
  uint8_t *packed = slurp(out, &packed_n), *back = malloc(n + 1);
  assert_non_null(packed);
  if (zstd) {
    assert_int_equal(vg_zstd(packed, packed_n, back, n), n);
    assert_memory_equal(back, plain, n);
    if (n) assert_int_equal(vg_zstd(packed, packed_n, back, n - 1), -1); // no room for the last byte
  } else { // an lz4 frame: magic, flags, block size, header checksum; then blocks of u32 size
    size_t at = 7, done = 0;
    for (;;) {
      uint32_t size;
      memcpy(&size, packed + at, 4);
      at += 4;
      if (!size) break;
      uint32_t stored = size & 0x7fffffff;
      if (size >> 31) memcpy(back + done, packed + at, stored), done += stored;
      else {
        long got = vg_lz4_block(packed + at, stored, back + done, n - done);
        assert_true(got >= 0);
        done += (size_t)got;
      }
      at += stored;
    }
    assert_int_equal(done, n);
    assert_memory_equal(back, plain, n);
  }
  free(packed), free(back), free(plain);
  unlink(in), unlink(out);
}

static const size_t sizes[] = {1, 2, 5, 255, 256, 1000, 65535, 65536, 131072, 131073, 400000};

static void test_zstd_tool(void **state) {
  (void)state;
  if (!have("zstd")) skip();
  static const char *const how[] = {"zstd -q -f -1 %s -o %s", "zstd -q -f -3 --no-check %s -o %s", "zstd -q -f -19 %s -o %s",
                                    "zstd -q -f --fast=4 %s -o %s"};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (size_t k = 0; k < 4; k++) round_trip(how[k], true, sizes[i], 17u + (unsigned)(i * 4 + k));
}

static void test_lz4_tool(void **state) {
  (void)state;
  if (!have("lz4")) skip();
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    round_trip("lz4 -q -f -BI -B7 %s %s", false, sizes[i], 5u + (unsigned)i);
    round_trip("lz4 -q -f -9 -BI -B7 %s %s", false, sizes[i], 50u + (unsigned)i);
  }
}

static const char *const images[] = {DATA "zstd.fatbin", DATA "lz4.fatbin", DATA "plain.fatbin"};

static void test_nvcc_images(void **state) {
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    size_t n;
    uint8_t *p = slurp(images[i], &n);
    assert_non_null(p);
    struct vg_image img;
    char why[256];
    assert_int_equal(vg_image_open(p, n, &img, why, sizeof why), 0);
    assert_non_null(strstr(img.ptx, ".visible .entry twice("));
    assert_int_equal(strlen(img.ptx), img.ptx_len);
    vg_image_free(&img);
    assert_int_equal(vg_image_open(p, 0, &img, why, sizeof why), 0); // as a driver gets it: without a size
    vg_image_free(&img);
    struct { uint32_t magic, version; const void *data; void *file; } wrapper = {0x466243b1, 1, p, NULL};
    assert_int_equal(vg_image_open(&wrapper, 0, &img, why, sizeof why), 0);
    vg_image_free(&img);
    free(p);
  }
}

static void test_registers(void **state) { // plain.fatbin also holds machine code for sm_75
  (void)state;
  size_t n;
  uint8_t *p = slurp(DATA "plain.fatbin", &n);
  assert_non_null(p);
  struct vg_image img;
  char why[256];
  assert_int_equal(vg_image_open(p, n, &img, why, sizeof why), 0);
  assert_int_equal(img.num_info, 1);
  assert_string_equal(img.info[0].name, "twice");
  assert_int_equal(img.info[0].regs, 8); // ptxas -v: "Used 8 registers"
  vg_image_free(&img);
  free(p);
}

static void test_damage(void **state) { // every truncation, every byte changed: an error or some text, never a crash
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    size_t n;
    uint8_t *p = slurp(images[i], &n);
    assert_non_null(p);
    unsigned refused = 0;
    for (size_t k = 0; k < n; k++) {
      uint8_t *cut = malloc(k ? k : 1);
      memcpy(cut, p, k);
      struct vg_image img;
      char why[256];
      if (k) {
        int r = vg_image_open(cut, k, &img, why, sizeof why);
        refused += r != 0;
        if (r) assert_true(why[0]);
        vg_image_free(&img);
      }
      free(cut);
      for (unsigned bit = 1; bit < 256; bit *= 9) {
        p[k] ^= (uint8_t)bit;
        if (vg_image_open(p, n, &img, why, sizeof why)) refused++;
        vg_image_free(&img);
        p[k] ^= (uint8_t)bit;
      }
    }
    assert_true(refused > n / 2);
    free(p);
  }
}

static void test_refusals(void **state) {
  (void)state;
  struct vg_image img;
  char why[256];
  static const uint8_t elf[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
  assert_int_equal(vg_image_open(elf, sizeof elf, &img, why, sizeof why), 209);
  assert_non_null(strstr(why, "cubin"));
  static const uint8_t noise[64] = {1, 2, 3, 4, 5};
  assert_int_equal(vg_image_open(noise, sizeof noise, &img, why, sizeof why), 200);
  assert_int_equal(vg_image_open("", 0, &img, why, sizeof why), 200);
  size_t n; // only PTX for a newer device: the entry's architecture made 80
  uint8_t *p = slurp(DATA "zstd.fatbin", &n);
  assert_non_null(p);
  p[16 + 28] = 80;
  assert_int_equal(vg_image_open(p, n, &img, why, sizeof why), 209);
  assert_non_null(strstr(why, "sm_80"));
  p[16 + 28] = 70;
  assert_int_equal(vg_image_open(p, n, &img, why, sizeof why), 0); // older PTX runs
  vg_image_free(&img);
  free(p);
}

static void test_zstd_noise(void **state) { // random bytes after a right header
  (void)state;
  unsigned seed = 12345;
  uint8_t *in = malloc(200), *out = malloc(1000);
  assert_true(in && out);
  print_message("seed %u\n", seed);
  for (int t = 0; t < 20000; t++) {
    size_t n = 10 + (size_t)(rand_r(&seed) % 190);
    for (size_t i = 0; i < n; i++) in[i] = (uint8_t)(rand_r(&seed) >> 7);
    static const uint8_t head[6] = {0x28, 0xb5, 0x2f, 0xfd, 0, 0x58};
    memcpy(in, head, 6);
    uint32_t block = (uint32_t)(n - 9) << 3 | 4 | 1; // one compressed block that fits
    in[6] = (uint8_t)block, in[7] = (uint8_t)(block >> 8), in[8] = (uint8_t)(block >> 16);
    long r = vg_zstd(in, n, out, 1000);
    assert_true(r >= -1 && r <= 1000);
    assert_true(vg_lz4_block(in + 9, n - 9, out, 1000) <= 1000);
  }
  free(in), free(out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_zstd_tool), cmocka_unit_test(test_lz4_tool), cmocka_unit_test(test_nvcc_images), cmocka_unit_test(test_registers),
      cmocka_unit_test(test_damage),    cmocka_unit_test(test_refusals), cmocka_unit_test(test_zstd_noise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
