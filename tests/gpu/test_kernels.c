// Every kernel of the list in kernels.h on every shape of its case: against fp64, under many schedules, with its guards, and its figures in the machine code.
#include "tests/gpu/gpu_test.h"
#include "runtime/gpu/registry.h"
#include <dlfcn.h>

static struct err e;

static const struct {
  enum gpu_kernel first, last;
  kernel_case run;
  int (*shapes)(enum gpu_kernel);
} families[] = {
    {KERNEL_embed_rows, KERNEL_copy_pages, case_rows, rows_shapes},
    {KERNEL_linear_store, KERNEL_decode_norm_qkv, case_linear, linear_shapes},
    {KERNEL_attention_prefill_32, KERNEL_attention_merge, case_attention, attention_shapes},
    {KERNEL_sample_rows, KERNEL_sample_rows, case_sample, sample_shapes},
    {KERNEL_unpack_rows, KERNEL_apply_qkv, case_linear, linear_shapes},
};

// Calls `each` for every kernel, or for those in whose names PHI3_TEST_KERNELS occurs; a kernel without a case is a failure.
static int walk(void (*each)(enum gpu_kernel k, kernel_case run, int shapes, uint64_t seed), uint64_t seed) {
  int cases = 0;
  const char *only = getenv("PHI3_TEST_KERNELS");
  for (enum gpu_kernel k = 0; k < KERNEL_COUNT; k++) {
    int found = 0;
    if (only && !strstr(gpu_kernel_name(k), only)) continue;
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
      if (k < families[f].first || k > families[f].last) continue;
      int n = families[f].shapes(k);
      if (n < 1) fail_msg("%s has no shapes", gpu_kernel_name(k));
      each(k, families[f].run, n, seed);
      found += n;
    }
    if (!found) fail_msg("%s has no case", gpu_kernel_name(k));
    cases += found;
  }
  if (!cases) fail_msg("no kernel's name has '%s' in it", only ? only : "");
  const char *first = "";
  unsigned findings = test_findings(&first);
  if (findings) fail_msg("%u findings of the virtual GPU, the first: %s", findings, first);
  return cases;
}

static void all_shapes(enum gpu_kernel k, kernel_case run, int shapes, uint64_t seed) {
  int most = getenv("PHI3_TEST_QUICK") && shapes > 2 ? 2 : shapes; // the small ones come first
  for (int s = 0; s < most; s++) free(run(k, s, seed, true).data);
}

static void kernels_agree_with_fp64(void **state) {
  (void)state;
  test_device();
  uint64_t seed = test_seed();
  printf("%d cases\n", walk(all_shapes, seed));
}

static int schedules(void) {
  const char *s = getenv("PHI3_TEST_SCHEDULES");
  return s ? atoi(s) : 100;
}

// The schedules are spread over the shapes: a shape's first run is the answer of all its others.
static void all_schedules(enum gpu_kernel k, kernel_case run, int shapes, uint64_t seed) {
  int most = shapes < 2 ? shapes : 2; // the small ones come first
  for (int s = 0; s < most; s++) {
    test_schedule(0);
    struct outcome first = run(k, s, seed, false);
    for (int i = s + 1; i <= schedules(); i += most) {
      test_schedule((uint64_t)i);
      struct outcome again = run(k, s, seed, false);
      if (again.bytes != first.bytes || memcmp(again.data, first.data, first.bytes)) fail_msg("%s, shape %d: schedule %d gives other bits", gpu_kernel_name(k), s, i);
      free(again.data);
    }
    free(first.data);
  }
  test_schedule(0);
}

static void bits_do_not_depend_on_the_schedule(void **state) {
  (void)state;
  test_device();
  walk(all_schedules, test_seed());
}

static int attribute(enum gpu_kernel k, int what) {
  int v;
  assert_ok(cuda_check(&test_device()->cuda, test_device()->cuda.function_attribute_get(&v, what, test_device()->kernels[k]), "a kernel's figures", &e));
  return v;
}

// Blocks that an SM has room for, static shared memory counted.
static int resident(enum gpu_kernel k) {
  cu_result (*occupancy)(int *, cu_function, int, size_t);
  int blocks = 0;
  *(void **)&occupancy = dlsym(test_device()->cuda.library, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  assert_true(occupancy != NULL);
  assert_ok(cuda_check(&test_device()->cuda, occupancy(&blocks, test_device()->kernels[k], gpu_registry[k].threads, 0), "a kernel's occupancy", &e));
  return blocks;
}

// What kernels.h promises: as many as the registers of an SM and its 1024 threads allow. Shared memory must not be less.
static int promised(enum gpu_kernel k) {
  enum { REGISTERS = 65536, THREADS = 1024, BLOCKS = 16 };
  int by_registers = REGISTERS / (gpu_registry[k].threads * gpu_registry[k].registers), by_threads = THREADS / gpu_registry[k].threads;
  int least = by_registers < by_threads ? by_registers : by_threads;
  return least < BLOCKS ? least : BLOCKS;
}

// Of the sm_75 machine code: what the header comments reason with.
static void machine_code_keeps_its_figures(void **state) {
  (void)state;
  test_device();
  if (!test_device_is_virtual()) { // another architecture has other registers
    printf("not compared on a real device\n");
    return;
  }
  for (enum gpu_kernel k = 0; k < KERNEL_COUNT; k++) {
    int used = attribute(k, CU_FUNCTION_REGISTERS), local = attribute(k, CU_FUNCTION_LOCAL), shared = attribute(k, CU_FUNCTION_SHARED);
    int blocks = resident(k);
    printf("%-28s %3d registers, %5d bytes of shared memory, %d local, %2d blocks of %4d threads an SM\n", gpu_kernel_name(k), used, shared, local, blocks,
           gpu_registry[k].threads);
    if (promised(k) < 1 || blocks < promised(k)) fail_msg("%s: %d blocks an SM, kernels.h allows for %d", gpu_kernel_name(k), blocks, promised(k));
    if (local) fail_msg("%s: %d bytes of local memory: it spills", gpu_kernel_name(k), local);
    if (used < 1 || used > gpu_registry[k].registers) fail_msg("%s: %d registers, kernels.h allows %d", gpu_kernel_name(k), used, gpu_registry[k].registers);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(kernels_agree_with_fp64), cmocka_unit_test(bits_do_not_depend_on_the_schedule),
                                     cmocka_unit_test(machine_code_keeps_its_figures)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  test_device_close();
  return failed;
}
