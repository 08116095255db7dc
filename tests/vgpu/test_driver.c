// The driver API as a program meets it: right calls, wrong calls, handles that are not, two threads.
#include "tests/vgpu/program.h"
#include <pthread.h>

static void test_before_init(void **state) { // must come first
  (void)state;
  int n;
  CUdevice d;
  IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&n));
  IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGet(&d, 0));
  IS(CUDA_ERROR_NOT_INITIALIZED, cuCtxSynchronize());
  IS(CUDA_ERROR_INVALID_VALUE, cuInit(1));
  OK(cuDriverGetVersion(&n));
  assert_true(n >= 11080);
  OK(cuInit(0));
  OK(cuInit(0));
}

static void test_device(void **state) {
  (void)state;
  char name[64], bus[32];
  int v;
  size_t bytes;
  CUdevice d;
  CUuuid id;
  OK(cuDeviceGetCount(&v));
  assert_int_equal(v, 1);
  OK(cuDeviceGet(&d, 0));
  IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&d, 1));
  IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&d, -1));
  IS(CUDA_ERROR_INVALID_VALUE, cuDeviceGet(NULL, 0));
  OK(cuDeviceGetName(name, sizeof name, 0));
  assert_string_equal(name, "Tesla T4");
  OK(cuDeviceGetName(name, 4, 0));
  assert_string_equal(name, "Tes");
  OK(cuDeviceTotalMem_v2(&bytes, 0));
  assert_true(bytes > (size_t)14 << 30 && bytes < (size_t)16 << 30);
  static const int facts[][2] = {{16, 40}, {75, 7}, {76, 5}, {97, 65536}, {8, 49152}, {1, 1024}, {10, 32}, {38, 4194304}, {39, 1024}, {82, 65536}, {106, 16}};
  for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
    OK(cuDeviceGetAttribute(&v, facts[i][0], 0));
    assert_int_equal(v, facts[i][1]);
  }
  IS(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&v, 0, 0));
  IS(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&v, 100000, 0));
  IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetAttribute(&v, 16, 3));
  OK(cuDeviceGetUuid(&id, 0));
  OK(cuDeviceGetPCIBusId(bus, sizeof bus, 0));
  OK(cuDeviceGetByPCIBusId(&d, bus));
}

static void test_errors(void **state) {
  (void)state;
  const char *s;
  OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &s));
  assert_string_equal(s, "CUDA_ERROR_ILLEGAL_ADDRESS");
  OK(cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &s));
  assert_string_equal(s, "an illegal memory access was encountered");
  OK(cuGetErrorString(CUDA_SUCCESS, &s));
  assert_string_equal(s, "no error");
  IS(CUDA_ERROR_INVALID_VALUE, cuGetErrorName((CUresult)12345, &s));
  assert_null(s);
}

static void test_contexts(void **state) {
  (void)state;
  CUcontext a, b, now, primary;
  unsigned flags;
  int active;
  IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxSynchronize());
  OK(cuCtxGetCurrent(&now));
  assert_null(now);
  OK(cuCtxCreate_v2(&a, 0, 0));
  OK(cuCtxCreate_v4(&b, NULL, 0, 0));
  OK(cuCtxGetCurrent(&now));
  assert_ptr_equal(now, b);
  OK(cuCtxPopCurrent_v2(&now));
  assert_ptr_equal(now, b);
  OK(cuCtxGetCurrent(&now));
  assert_ptr_equal(now, a);
  OK(cuCtxPushCurrent_v2(b));
  OK(cuCtxDestroy_v2(b));
  IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxDestroy_v2(b));
  IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(BAD));
  IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxPushCurrent_v2(b));
  OK(cuCtxDestroy_v2(a));
  IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxSynchronize());
  OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
  assert_false(active);
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  OK(cuDevicePrimaryCtxRetain(&now, 0));
  assert_ptr_equal(primary, now);
  OK(cuCtxSetCurrent(primary));
  OK(cuCtxSynchronize());
  OK(cuDevicePrimaryCtxRelease_v2(0));
  OK(cuCtxSynchronize());
  OK(cuDevicePrimaryCtxRelease_v2(0));
  IS(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxSynchronize());
  IS(CUDA_ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease_v2(0));
  OK(cuCtxSetCurrent(NULL));
}

static void test_modules(void **state) {
  (void)state;
  CUmodule m;
  CUfunction f;
  CUdeviceptr p;
  size_t n;
  unsigned value;
  float table[2];
  char log[512] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, (void *)sizeof log};
  OK(cuModuleGetGlobal_v2(&p, &n, module, "counter"));
  assert_int_equal(n, 4);
  OK(cuMemcpyDtoH_v2(&value, p, 4));
  assert_int_equal(value, 5);
  OK(cuModuleGetGlobal_v2(&p, &n, module, "table"));
  OK(cuMemcpyDtoH_v2(table, p, 8));
  assert_true(table[0] == 1 && table[1] == 2);
  IS(CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal_v2(&p, &n, module, "nothing"));
  IS(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&f, module, "nothing"));
  IS(CUDA_ERROR_INVALID_HANDLE, cuModuleGetFunction(&f, BAD, "saxpy"));
  IS(CUDA_ERROR_INVALID_PTX, cuModuleLoadDataEx(&m, ".version 6.4\n.target sm_75\n.address_size 64\n.visible .entry k() { frob.u32 %r1; }", 2, options, values));
  assert_non_null(strstr(log, "line 4"));
  assert_non_null(strstr(log, "frob"));
  assert_int_equal((uintptr_t)values[1], strlen(log));
  IS(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, cuModuleLoadData(&m, ".version 99.0\n.target sm_75\n.address_size 64\n"));
  IS(CUDA_ERROR_INVALID_PTX, cuModuleLoadData(&m, ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k() { ret; }"));
  IS(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, "\x01\x02\x03\x04garbage"));
  IS(CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(&m, NULL));
  IS(CUDA_ERROR_FILE_NOT_FOUND, cuModuleLoad(&m, "/nowhere/at/all.ptx"));
  OK(cuModuleLoad(&m, "tests/vgpu/data/zstd.fatbin"));
  OK(cuModuleGetFunction(&f, m, "twice"));
  OK(cuModuleUnload(m));
  IS(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(m));
  IS(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
}

static void test_library(void **state) {
  (void)state;
  CUlibrary lib;
  CUkernel k;
  CUfunction f;
  CUdeviceptr y = floats(10, 1), x = floats(10, 2);
  float a = 3;
  unsigned n = 10, count;
  void *params[] = {&y, &x, &a, &n};
  OK(cuLibraryLoadData(&lib, program_ptx, NULL, NULL, 0, NULL, NULL, 0));
  OK(cuLibraryGetKernelCount(&count, lib));
  assert_int_equal(count, 2);
  OK(cuLibraryGetKernel(&k, lib, "saxpy"));
  OK(cuKernelGetFunction(&f, k));
  OK(cuLaunchKernel((CUfunction)k, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
  OK(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
  expect(y, 10, 13);
  OK(cuLibraryUnload(lib));
  IS(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel((CUfunction)k, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
  OK(cuMemFree_v2(y));
  OK(cuMemFree_v2(x));
}

static void test_link(void **state) {
  (void)state;
  CUlinkState s;
  CUmodule m;
  CUfunction f;
  void *cubin;
  size_t size;
  OK(cuLinkCreate_v2(0, NULL, NULL, &s));
  OK(cuLinkAddData_v2(s, CU_JIT_INPUT_PTX, (void *)(uintptr_t)program_ptx, strlen(program_ptx) + 1, "a.ptx", 0, NULL, NULL));
  IS(CUDA_ERROR_NOT_SUPPORTED, cuLinkAddData_v2(s, CU_JIT_INPUT_PTX, (void *)(uintptr_t)program_ptx, strlen(program_ptx) + 1, "b.ptx", 0, NULL, NULL));
  OK(cuLinkComplete(s, &cubin, &size));
  OK(cuModuleLoadData(&m, cubin));
  OK(cuLinkDestroy(s));
  IS(CUDA_ERROR_INVALID_HANDLE, cuLinkDestroy(s));
  OK(cuModuleGetFunction(&f, m, "saxpy"));
  OK(cuModuleUnload(m));
}

static void test_launch_limits(void **state) {
  (void)state;
  CUdeviceptr y = floats(4, 0);
  CUfunction big;
  int v, blocks;
  void *params[] = {&y, &y, &v, &v}, *none[] = {&y};
  v = 0;
  OK(cuModuleGetFunction(&big, module, "big"));
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(saxpy, 0, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(saxpy, 1, 1, 1, 1025, 1, 1, 0, NULL, params, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(saxpy, 1, 1, 1, 1, 1, 65, 0, NULL, params, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(saxpy, 1, 1, 1, 64, 32, 1, 0, NULL, params, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(saxpy, 1, 65536, 1, 32, 1, 1, 0, NULL, params, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(saxpy, 1, 1, 1, 32, 1, 1, 49153, NULL, params, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(saxpy, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL));
  IS(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel(BAD, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
  IS(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel(saxpy, 1, 1, 1, 32, 1, 1, 0, BAD, params, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(big, 1, 1, 1, 129, 1, 1, 0, NULL, none, NULL)); // over its launch bounds
  OK(cuLaunchKernel(saxpy, 1, 1, 1, 32, 1, 1, 49152, NULL, params, NULL));
  OK(cuFuncSetAttribute(saxpy, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 65536));
  OK(cuLaunchKernel(saxpy, 1, 1, 1, 32, 1, 1, 65536, NULL, params, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(saxpy, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 65537));
  OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, big));
  assert_int_equal(v, 40960);
  OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, big));
  assert_int_equal(v, 128);
  OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_NUM_REGS, saxpy));
  assert_true(v >= 8 && v <= 40);
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, saxpy, 256, 0));
  assert_int_equal(blocks, 4);
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, saxpy, 32, 0));
  assert_int_equal(blocks, 16);
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, saxpy, 64, 20000));
  assert_int_equal(blocks, 3);
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, big, 64, 0));
  assert_int_equal(blocks, 1);
  IS(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, cuLaunchCooperativeKernel(saxpy, 161, 1, 1, 256, 1, 1, 0, NULL, params));
  OK(cuMemFree_v2(y));
}

static void test_extra_params(void **state) {
  (void)state;
  CUdeviceptr y = floats(100, 1), x = floats(100, 2);
  struct { CUdeviceptr y, x; float a; unsigned n; } args = {y, x, 5, 100};
  size_t size = sizeof args;
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &args, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
  OK(cuLaunchKernel(saxpy, 1, 1, 1, 128, 1, 1, 0, NULL, NULL, extra));
  expect(y, 100, 11);
  size = 8;
  IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(saxpy, 1, 1, 1, 128, 1, 1, 0, NULL, NULL, extra));
  CUlaunchConfig config = {.gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 128, .blockDimY = 1, .blockDimZ = 1};
  void *params[] = {&y, &x, &args.a, &args.n};
  OK(cuLaunchKernelEx(&config, saxpy, params, NULL));
  expect(y, 100, 21);
  OK(cuMemFree_v2(y));
  OK(cuMemFree_v2(x));
}

static void host_add(void *p) { *(int *)p += 1; }

static void host_calls_driver(void *p) {
  CUdeviceptr d;
  *(int *)p = (int)cuMemAlloc_v2(&d, 4); // not allowed there
}

static void test_streams_events(void **state) {
  (void)state;
  CUstream s, t;
  CUevent a, b, untimed;
  CUdeviceptr y = floats(1000, 1), x = floats(1000, 2);
  float ms = -1;
  int least, greatest, calls = 0, priority;
  unsigned flags;
  OK(cuCtxGetStreamPriorityRange(&least, &greatest));
  assert_true(greatest < least);
  OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  OK(cuStreamCreateWithPriority(&t, 0, -100));
  OK(cuStreamGetPriority(t, &priority));
  assert_int_equal(priority, greatest);
  OK(cuStreamGetFlags(s, &flags));
  assert_int_equal(flags, CU_STREAM_NON_BLOCKING);
  OK(cuEventCreate(&a, 0));
  OK(cuEventCreate(&b, 0));
  OK(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
  IS(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, a, b)); // not recorded
  OK(cuEventQuery(a));
  OK(cuEventRecord(a, s));
  OK(run_saxpy(y, x, 1, 1000, s));
  OK(cuEventRecord(b, s));
  OK(cuEventRecord(untimed, s));
  OK(cuStreamWaitEvent(t, b, 0));
  OK(run_saxpy(y, x, 1, 1000, t));
  OK(cuLaunchHostFunc(t, host_add, &calls));
  OK(cuLaunchHostFunc(t, host_add, &calls));
  OK(cuStreamSynchronize(t));
  OK(cuStreamQuery(s));
  assert_int_equal(calls, 2);
  OK(cuLaunchHostFunc(t, host_calls_driver, &calls));
  assert_int_equal(calls, CUDA_ERROR_NOT_PERMITTED);
  OK(cuEventSynchronize(b));
  OK(cuEventElapsedTime(&ms, a, b));
  assert_true(ms >= 0 && ms < 60000);
  IS(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, a, untimed));
  expect(y, 1000, 5);
  IS(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(BAD));
  IS(CUDA_ERROR_INVALID_HANDLE, cuStreamDestroy_v2(NULL));
  IS(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(BAD, s));
  IS(CUDA_ERROR_INVALID_HANDLE, cuEventRecord((CUevent)(void *)s, s)); // a handle of another kind
  OK(cuEventDestroy_v2(a));
  IS(CUDA_ERROR_INVALID_HANDLE, cuEventDestroy_v2(a));
  OK(cuEventDestroy_v2(b));
  OK(cuEventDestroy_v2(untimed));
  OK(cuStreamDestroy_v2(s));
  IS(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(s));
  OK(cuStreamDestroy_v2(t));
  OK(cuMemFree_v2(y));
  OK(cuMemFree_v2(x));
}

static void *work(void *arg) {
  CUstream s;
  float want = 1;
  if (cuCtxSetCurrent(ctx)) return "no context";
  if (cuStreamCreate(&s, CU_STREAM_NON_BLOCKING)) return "no stream";
  for (int i = 0; i < 30; i++, want = 1) {
    CUdeviceptr y, x;
    float back[500];
    if (cuMemAlloc_v2(&y, 2000) || cuMemAlloc_v2(&x, 2000)) return "no memory";
    if (cuMemsetD32Async(y, 0x3f800000, 500, s) || cuMemsetD32Async(x, 0x3f800000, 500, s)) return "memset";
    for (int k = 0; k < 5; k++, want += 2)
      if (run_saxpy(y, x, 2, 500, s)) return "launch";
    if (cuMemcpyDtoHAsync_v2(back, y, 2000, s) || cuStreamSynchronize(s)) return "copy";
    for (int k = 0; k < 500; k++)
      if (!(back[k] == want)) return "wrong result";
    if (cuMemFree_v2(y) || cuMemFree_v2(x)) return "free";
  }
  if (cuStreamDestroy_v2(s)) return "destroy";
  return arg;
}

static void test_two_threads(void **state) {
  (void)state;
  pthread_t t[3];
  for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&t[i], NULL, work, NULL), 0);
  for (int i = 0; i < 3; i++) {
    void *said;
    pthread_join(t[i], &said);
    if (said) fail_msg("%s", (char *)said);
  }
}

static void test_wild_handles(void **state) { // anything for a handle: an error, never a crash
  (void)state;
  uintptr_t seed = 88172645463325252u;
  for (int i = 0; i < 20000; i++) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    void *h = (void *)(i % 3 ? seed >> (i % 48) : (uintptr_t)i);
    CUfunction f;
    int v;
    assert_int_not_equal(cuModuleGetFunction(&f, h, "x"), 0);
    assert_int_not_equal(cuFuncGetAttribute(&v, 0, h), 0);
    assert_int_not_equal(cuEventQuery(h), 0);
    assert_int_not_equal(cuGraphDestroy(h), 0);
    assert_int_not_equal(cuGraphExecDestroy(h), 0);
    if ((uintptr_t)h > 2) assert_int_not_equal(cuStreamQuery(h), 0);
  }
}

int main(void) {
  setenv("VGPU_LOG", "/dev/null", 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_before_init), cmocka_unit_test(test_device),    cmocka_unit_test(test_errors),
      cmocka_unit_test(test_contexts),    WITH_CONTEXT(test_modules),       WITH_CONTEXT(test_library),
      WITH_CONTEXT(test_link),            WITH_CONTEXT(test_launch_limits), WITH_CONTEXT(test_extra_params),
      WITH_CONTEXT(test_streams_events),  WITH_CONTEXT(test_two_threads),   WITH_CONTEXT(test_wild_handles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
