// Counts of whole launches, from PTX to profile, against counts worked out by hand; the JSON that comes out of it.
#include "tests/vgpu/sim_run.h"
#include "runtime/vgpu/decode.h"
#include "runtime/vgpu/profile.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct sim_module *module;
static struct vgpu_counts k;
static struct t4_estimate e;

static void launch(const char *line) {
  char text[256];
  snprintf(text, sizeof text, "%s", line);
  assert_true(sim_run(module, text, 32, "t4", &k, &e));
}

// 4 warps of 32 loads of 4 bytes, 1, 2, 8 and 100 floats apart.
static void test_loads(void **state) {
  (void)state;
  unsigned steps[] = {1, 2, 8, 100, 0}, sectors[] = {4, 8, 32, 32, 1};
  for (int i = 0; i < 5; i++) {
    char line[128];
    snprintf(line, sizeof line, "load_stride\t1\t1\t128\t1\t0\tin:f32:16384 out:f32:32 int:%u\t-", steps[i]);
    launch(line);
    assert_int_equal(k.warps, 4);
    assert_int_equal(k.warp_instructions, 4 * 11);
    assert_int_equal(k.global_requests[0], 4);
    assert_int_equal(k.global_sectors[0], 4 * sectors[i]);
    assert_int_equal(k.global_ideal[0], 4 * (sectors[i] < 4 ? sectors[i] : 4));
    assert_int_equal(k.global_requests[1], 0); // the guarded store never runs, but is issued
    assert_int_equal(k.by_class[VGPU_CLASS_STORE], 4);
    assert_int_equal(k.lane_instructions, 4 * 32 * 10);
    unsigned unique = i == 0 ? 16 : i == 1 ? 32 : i == 4 ? 1 : 128; // sectors of the whole block
    assert_true(e.dram_read == unique * 32.0);
    assert_true(e.l2_misses == unique);
  }
}

static void test_divergence(void **state) {
  (void)state;
  launch("split\t2\t1\t64\t1\t0\tout:f32:64\t-");
  assert_int_equal(k.warps, 4);
  assert_int_equal(k.branches, 4 * 2); // the split, and the jump over the other side
  assert_int_equal(k.divergent_branches, 4);
  // 5 + 3 (even side) + 1 (odd side) + 4 instructions; the sides with 16 lanes each.
  assert_int_equal(k.warp_instructions, 4 * 13);
  assert_int_equal(k.lane_instructions, 4 * (9 * 32 + 4 * 16));
  assert_int_equal(k.global_requests[1], 4);
  assert_int_equal(k.global_sectors[1], 16);
}

static void test_branches_together(void **state) {
  (void)state;
  launch("together\t1\t1\t64\t1\t0\tout:f32:64\t-");
  assert_int_equal(k.branches, 2 * 2);
  assert_int_equal(k.divergent_branches, 0);
}

static void test_local(void **state) {
  (void)state;
  launch("local_words\t1\t1\t64\t1\t0\tout:f32:64\t-");
  assert_int_equal(k.local_requests[1], 2 * 4); // words of two warps
  assert_int_equal(k.local_sectors[1], 2 * 4 * 4);
  assert_int_equal(k.local_requests[0], 2 * 2);
  assert_int_equal(k.local_sectors[0], 2 * 2 * 4);
}

static void test_shared(void **state) {
  (void)state;
  for (unsigned step = 1; step <= 32; step *= 2) {
    char line[128];
    snprintf(line, sizeof line, "shared_stride\t1\t1\t64\t1\t0\tout:f32:32 int:%u\t-", step);
    launch(line);
    assert_int_equal(k.shared_requests[0], 2);
    assert_int_equal(k.shared_requests[1], 2);
    assert_int_equal(k.shared_wavefronts[0], 2 * step);
    assert_int_equal(k.shared_wavefronts[1], 2 * step);
    assert_int_equal(k.shared_ideal[0], 2);
    assert_int_equal(k.barriers, 2);
  }
}

static void test_matrices(void **state) {
  (void)state;
  launch("matrices\t1\t1\t32\t1\t0\tout:f32:32\t-");
  assert_int_equal(k.by_class[VGPU_CLASS_LDMATRIX], 2);
  assert_int_equal(k.shared_wavefronts[0], 4 + 4 * 8);
  assert_int_equal(k.shared_ideal[0], 4 + 4);
  assert_int_equal(k.shared_wavefronts[1], 32 + 4); // 16-byte stores 128 bytes apart, and side by side
}

static void test_atomics(void **state) {
  (void)state;
  launch("same_word\t3\t1\t64\t1\t0\tout:f32:32\t-");
  assert_int_equal(k.atomic_requests, 6);
  assert_int_equal(k.atomic_lanes, 192);
  assert_int_equal(k.atomic_transactions, 192); // all on one word: one after the other
  assert_true(e.l2_accesses == 192 && e.dram_read == 32);
}

static void test_tensor(void **state) {
  (void)state;
  launch("tensor\t1\t1\t64\t1\t0\tout:f32:32\t-");
  assert_int_equal(k.tensor_fma, 2 * 16 * 8 * 8);
  assert_int_equal(k.sfu_lanes, 64);
  assert_int_equal(k.by_class[VGPU_CLASS_TENSOR], 2);
}

static void record(struct vgpu_profile *p, const char *kernel, uint32_t blocks) {
  static struct vgpu_code code; // of no functions: nothing is run
  struct vgpu_launch_facts facts = {.kernel = kernel, .code = &code, .grid = {blocks, 1, 1}, .block = {32, 1, 1}};
  struct vgpu_profile_launch *l = vgpu_profile_begin(p, &facts);
  assert_non_null(l);
  vgpu_profile_end(l, true);
}

// The file holds what was recorded; names are escaped; the report reads it.
static void test_file_and_report(void **state) {
  (void)state;
  char path[] = "/tmp/vgpu_profile_XXXXXX", command[256];
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  struct vgpu_profile *p = vgpu_profile_open_with(path, "t4_eff", 0);
  assert_non_null(p);
  record(p, "first", 1);
  record(p, "second \"quoted\"\\", 2);
  record(p, "first", 1);
  assert_int_equal(vgpu_profile_count(p), 3);
  assert_null(vgpu_profile_estimate(p, 0)); // nothing ran
  assert_true(vgpu_profile_close(p));
  char text[16384];
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  assert_non_null(strstr(text, "\"memory_configuration\": \"t4_eff\""));
  assert_non_null(strstr(text, "second \\\"quoted\\\"\\\\"));
  assert_non_null(strstr(text, "{\"kernel\": \"first\", \"launches\": 2"));
  if (!system("python3 -c pass 2>/dev/null")) {
    snprintf(command, sizeof command, "scripts/vgpu_report --limits %s >/dev/null && scripts/vgpu_report --launches %s >/dev/null", path, path);
    assert_int_equal(system(command), 0);
  } else print_message("no python3: the report is not run\n");
  unlink(path);
}

static void test_settings(void **state) {
  (void)state;
  const char *error = NULL;
  unsetenv("VGPU_PROFILE");
  assert_null(vgpu_profile_open(&error)); // off unless asked for
  assert_null(error);
  setenv("VGPU_PROFILE", "/nowhere/at/all.json", 1);
  setenv("VGPU_T4", "v100", 1);
  struct vgpu_profile *p = vgpu_profile_open(&error);
  assert_non_null(p);
  assert_non_null(error);
  assert_false(vgpu_profile_close(p)); // cannot be written, and says so
  unsetenv("VGPU_T4");
  setenv("VGPU_SAMPLE", "-3", 1);
  error = NULL;
  p = vgpu_profile_open(&error);
  assert_non_null(error);
  vgpu_profile_close(p);
  unsetenv("VGPU_SAMPLE");
  unsetenv("VGPU_PROFILE");
}

static int open_module(void **state) {
  (void)state;
  module = sim_open("tests/vgpu/data/counts.ptx");
  return module ? 0 : 1;
}

static int close_module(void **state) {
  (void)state;
  sim_close(module);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_loads),    cmocka_unit_test(test_divergence), cmocka_unit_test(test_branches_together), cmocka_unit_test(test_local), cmocka_unit_test(test_shared),
      cmocka_unit_test(test_matrices), cmocka_unit_test(test_atomics),    cmocka_unit_test(test_tensor),
      cmocka_unit_test(test_file_and_report), cmocka_unit_test(test_settings),
  };
  return cmocka_run_group_tests(tests, open_module, close_module);
}
