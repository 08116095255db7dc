// Failures on demand (VGPU_FAIL), lists of them that cannot be read, and a device that is lost.
#include "tests/vgpu/program.h"

static void test_failures_on_demand(void **state) {
  (void)state;
  CUdeviceptr p, y = floats(4, 0);
  vgpuFail("cuMemAlloc:2");
  OK(cuMemAlloc_v2(&p, 4));
  OK(cuMemFree_v2(p));
  IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&p, 4));
  OK(cuMemAlloc_v2(&p, 4)); // once only
  OK(cuMemFree_v2(p));
  vgpuFail("all:3:oom");
  OK(cuCtxSynchronize());
  OK(cuCtxSynchronize());
  IS(CUDA_ERROR_OUT_OF_MEMORY, cuCtxSynchronize());
  vgpuFail("cuLaunchKernel:1");
  IS(CUDA_ERROR_LAUNCH_FAILED, run_saxpy(y, y, 1, 4, NULL));
  IS(CUDA_ERROR_LAUNCH_FAILED, cuCtxSynchronize()); // sticky
  vgpuFail(NULL);
}

// A list that cannot be read is a finding that quotes it, and fails cuInit rather than nothing.
static void test_unreadable_failures(void **state) {
  (void)state;
  static const struct {
    const char *spec, *says;
  } cases[] = {{"cuMemAlloc", "'cuMemAlloc': a colon"},
               {"cuMemAlocc:1", "'cuMemAlocc:1': the driver API has no such function"},
               {":1", "no such function"},
               {"cuMemAlloc:", "number of the call"},
               {"cuMemAlloc:0", "calls count from 1"},
               {"cuMemAlloc:-1", "calls count from 1"},
               {"cuMemAlloc:1x", "calls count from 1"},
               {"all:99999999999999999999", "calls count from 1"},
               {"all:1:om", "oom, launch, lost"},
               {"all:1:0", "oom, launch, lost"},
               {"all:1:1000", "oom, launch, lost"},
               {"all:1:2:3", "oom, launch, lost"},
               {"cuMemAlloc:1,,all:2", "'': a colon"},
               {"all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1,all:1", "too many"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    vgpuFail(cases[i].spec);
    assert_int_equal(vgpuFindings(VG_BAD_HOST_CALL), 1);
    if (!strstr(vgpuFindingText(0), cases[i].says)) fail_msg("VGPU_FAIL=%s: %s", cases[i].spec, vgpuFindingText(0));
    IS(CUDA_ERROR_INVALID_VALUE, cuInit(0));
    OK(cuCtxSynchronize());
    vgpuFindingsReset();
  }
  static const char *const good[] = {"cuMemAlloc_v2:1", "cuCtxGetCurrent:18446744073709551615:999", "all:9:lost,", "", NULL};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    vgpuFail(good[i]);
    OK(cuInit(0));
    assert_int_equal(vgpuFindings(-1), 0);
  }
  vgpuFail(NULL);
}

static void test_lost_device(void **state) {
  (void)state;
  CUdeviceptr p;
  vgpuFail("cuMemAlloc:1:lost");
  IS(CUDA_ERROR_UNKNOWN, cuMemAlloc_v2(&p, 4));
  IS(CUDA_ERROR_UNKNOWN, cuCtxSynchronize());
  IS(CUDA_ERROR_UNKNOWN, cuMemAlloc_v2(&p, 4));
  vgpuFail(NULL);
}

int main(void) {
  setenv("VGPU_LOG", "/dev/null", 0);
  const struct CMUnitTest tests[] = {
      WITH_CONTEXT(test_failures_on_demand), WITH_CONTEXT(test_unreadable_failures), WITH_CONTEXT(test_lost_device),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
