// The driver API as a program meets it: right calls, wrong calls, handles that are not, failures on demand, two threads.
#include "tests/vgpu/cu.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAD ((void *)(uintptr_t)0x123456780)

static const char ptx[] = ".version 6.4\n.target sm_75\n.address_size 64\n"
                          ".global .align 4 .u32 counter = 5;\n"
                          ".const .align 4 .f32 table[2] = {0f3F800000, 0f40000000};\n"
                          ".visible .entry saxpy(.param .u64 y, .param .u64 x, .param .f32 a, .param .u32 n)\n{\n"
                          "  .reg .pred %p<2>;\n  .reg .b32 %r<6>;\n  .reg .f32 %f<5>;\n  .reg .b64 %rd<8>;\n"
                          "  ld.param.u64 %rd1, [y];\n  ld.param.u64 %rd2, [x];\n  ld.param.f32 %f1, [a];\n  ld.param.u32 %r1, [n];\n"
                          "  mov.u32 %r2, %ctaid.x;\n  mov.u32 %r3, %ntid.x;\n  mov.u32 %r4, %tid.x;\n"
                          "  mad.lo.s32 %r5, %r2, %r3, %r4;\n  setp.ge.u32 %p1, %r5, %r1;\n  @%p1 bra done;\n"
                          "  mul.wide.u32 %rd3, %r5, 4;\n  add.s64 %rd4, %rd1, %rd3;\n  add.s64 %rd5, %rd2, %rd3;\n"
                          "  ld.global.f32 %f2, [%rd5];\n  ld.global.f32 %f3, [%rd4];\n  fma.rn.f32 %f4, %f1, %f2, %f3;\n"
                          "  st.global.f32 [%rd4], %f4;\ndone:\n  ret;\n}\n"
                          ".visible .entry big(.param .u64 y)\n.maxntid 128, 1, 1\n{\n  .reg .b64 %rd<2>;\n"
                          "  .shared .align 4 .b8 s[40960];\n  ld.param.u64 %rd1, [y];\n  st.shared.u64 [s], %rd1;\n  ret;\n}\n";

static CUcontext ctx;
static CUmodule module;
static CUfunction saxpy;

static int open_context(void **state) {
  (void)state;
  return cuInit(0) || cuCtxCreate_v2(&ctx, 0, 0) || cuModuleLoadData(&module, ptx) || cuModuleGetFunction(&saxpy, module, "saxpy");
}

static int close_context(void **state) {
  (void)state;
  vgpuFail(NULL);
  int r = cuCtxDestroy_v2(ctx) != CUDA_SUCCESS;
  vgpuFindingsReset();
  return r;
}

static CUresult run_saxpy(CUdeviceptr y, CUdeviceptr x, float a, unsigned n, CUstream s) {
  void *params[] = {&y, &x, &a, &n};
  return cuLaunchKernel(saxpy, (n + 127) / 128, 1, 1, 128, 1, 1, 0, s, params, NULL);
}

static CUdeviceptr floats(size_t n, float value) {
  CUdeviceptr p;
  unsigned bits;
  memcpy(&bits, &value, 4);
  OK(cuMemAlloc_v2(&p, n * 4));
  OK(cuMemsetD32_v2(p, bits, n));
  return p;
}

static void expect(CUdeviceptr p, size_t n, float value) {
  float *host = malloc(n * 4);
  OK(cuMemcpyDtoH_v2(host, p, n * 4));
  for (size_t i = 0; i < n; i++)
    if (!(host[i] == value)) fail_msg("element %zu of %zu is %g instead of %g", i, n, (double)host[i], (double)value);
  free(host);
}

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

static void test_memory(void **state) {
  (void)state;
  CUdeviceptr p, q, base;
  size_t bytes, free0, free1, total, pitch;
  IS(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&p, 0));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(NULL, 4));
  IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&p, (size_t)17 << 30));
  IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&p, SIZE_MAX));
  OK(cuMemGetInfo_v2(&free0, &total));
  OK(cuMemAlloc_v2(&p, (size_t)10 << 30)); // a card's memory, not this machine's
  OK(cuMemGetInfo_v2(&free1, &total));
  assert_true(free0 - free1 >= (size_t)10 << 30);
  IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&q, (size_t)6 << 30));
  OK(cuMemFree_v2(p));
  OK(cuMemGetInfo_v2(&free1, &total));
  assert_int_equal(free0, free1);
  OK(cuMemAlloc_v2(&p, 1000));
  assert_int_equal(p % 256, 0);
  OK(cuMemGetAddressRange_v2(&base, &bytes, p + 999));
  assert_true(base == p && bytes == 1000);
  IS(CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange_v2(&base, &bytes, p + 1000));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(p + 4));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(12345));
  OK(cuMemFree_v2(0));
  OK(cuMemFree_v2(p));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(p));
  OK(cuMemAllocPitch_v2(&p, &pitch, 100, 7, 4));
  assert_true(pitch >= 100 && pitch % 256 == 0);
  OK(cuMemFree_v2(p));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch_v2(&p, &pitch, 100, 7, 5));
}

static void test_host_memory(void **state) {
  (void)state;
  float *p, own[64] = {1};
  CUdeviceptr d, y = floats(64, 1), m;
  unsigned flags;
  int managed;
  OK(cuMemHostAlloc((void **)&p, 64 * 4, CU_MEMHOSTALLOC_DEVICEMAP));
  for (int i = 0; i < 64; i++) p[i] = 3;
  OK(cuMemHostGetDevicePointer_v2(&d, p, 0));
  OK(cuMemHostGetFlags(&flags, p));
  assert_true(flags & CU_MEMHOSTALLOC_DEVICEMAP);
  OK(run_saxpy(y, d, 2, 64, NULL)); // a kernel reads pinned memory
  expect(y, 64, 7);
  OK(cuMemFreeHost(p));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(p));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(own));
  OK(cuMemHostRegister_v2(own, sizeof own, 0));
  IS(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister_v2(own, sizeof own, 0));
  OK(run_saxpy((uintptr_t)own, y, 1, 64, NULL));
  assert_true(own[0] == 8 && own[63] == 7);
  OK(cuMemHostUnregister(own));
  IS(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(own));
  OK(cuMemAllocManaged(&m, 256, CU_MEM_ATTACH_GLOBAL));
  memset((void *)(uintptr_t)m, 0, 256);
  OK(run_saxpy(m, y, 1, 64, NULL));
  assert_true(((float *)(uintptr_t)m)[5] == 7);
  OK(cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, m));
  assert_int_equal(managed, 1);
  OK(cuMemFree_v2(m));
  OK(cuMemFree_v2(y));
}

static void test_pointer_attributes(void **state) {
  (void)state;
  CUdeviceptr p = floats(10, 0);
  unsigned type;
  size_t size;
  int x = 0;
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p));
  assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
  OK(cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, p + 8));
  assert_int_equal(size, 40);
  IS(CUDA_ERROR_INVALID_VALUE, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)&x));
  CUpointer_attribute list[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void *out[] = {&type, &size};
  OK(cuPointerGetAttributes(2, list, out, (uintptr_t)&x));
  assert_true(!type && !size);
  OK(cuMemFree_v2(p));
}

static void test_copies(void **state) {
  (void)state;
  unsigned char a[300], b[300];
  CUdeviceptr p, q;
  for (int i = 0; i < 300; i++) a[i] = (unsigned char)(i * 7);
  OK(cuMemAlloc_v2(&p, 300));
  OK(cuMemAlloc_v2(&q, 300));
  OK(cuMemcpyHtoD_v2(p, a, 300));
  OK(cuMemcpyDtoD_v2(q + 1, p, 299));
  OK(cuMemcpyDtoH_v2(b, q + 1, 299));
  assert_memory_equal(a, b, 299);
  OK(cuMemcpy((uintptr_t)b, p, 300)); // unified addressing finds out which is which
  assert_memory_equal(a, b, 300);
  OK(cuMemcpyHtoD_v2(p, a, 0));
  // past the ends, from all sides
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(p, a, 301));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(p + 1, a, 300));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(b, p + 300, 1));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(b, p - 1, 2));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD_v2(q, p, 400));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(p, a, SIZE_MAX));
  // not memory at all
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(p, NULL, 4));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(0, a, 4));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2((uintptr_t)a, a, 4));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(p, (void *)16, 4));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2((void *)16, p, 4));
  OK(cuMemsetD16_v2(p, 0xabcd, 150));
  OK(cuMemcpyDtoH_v2(b, p, 300));
  for (int i = 0; i < 300; i += 2) assert_true(b[i] == 0xcd && b[i + 1] == 0xab);
  IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD16_v2(p + 1, 0, 1));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(p, 0, 76));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(p, 0, 301));
  OK(cuMemFree_v2(p));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(b, p, 1)); // freed
  OK(cuMemFree_v2(q));
}

static void test_copies_2d(void **state) {
  (void)state;
  unsigned char a[5][8], b[3][4];
  CUdeviceptr p;
  size_t pitch;
  for (int i = 0; i < 40; i++) a[i / 8][i % 8] = (unsigned char)i;
  OK(cuMemAllocPitch_v2(&p, &pitch, 8, 5, 4));
  CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = a, .srcPitch = 8, .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = p,
                     .dstPitch = pitch, .WidthInBytes = 8, .Height = 5};
  OK(cuMemcpy2D_v2(&c));
  CUDA_MEMCPY2D d = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = p, .srcPitch = pitch, .srcXInBytes = 2, .srcY = 1,
                     .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = b, .dstPitch = 4, .WidthInBytes = 4, .Height = 3};
  OK(cuMemcpy2D_v2(&d));
  for (int y = 0; y < 3; y++) assert_memory_equal(b[y], &a[y + 1][2], 4);
  d.srcY = 3; // two rows are left
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&d));
  d.srcY = 1, d.dstPitch = 3;
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&d));
  d.dstPitch = 4, d.srcY = SIZE_MAX / 2;
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&d));
  d.srcY = 1, d.srcMemoryType = 9;
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(&d));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(NULL));
  OK(cuMemsetD2D8_v2(p, pitch, 9, 3, 5));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD2D8_v2(p, 2, 9, 3, 5));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD2D8_v2(p, pitch, 9, 3, 6));
  OK(cuMemFree_v2(p));
}

static void test_pools(void **state) {
  (void)state;
  CUmemoryPool pool;
  CUdeviceptr p;
  cuuint64_t used;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  OK(cuMemAllocAsync(&p, 1 << 20, NULL));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  assert_int_equal(used, 1 << 20);
  OK(cuMemFreeAsync(p, NULL));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  assert_int_equal(used, 0);
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(p, NULL));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemPoolDestroy(pool));
  IS(CUDA_ERROR_INVALID_HANDLE, cuMemAllocAsync(&p, 8, BAD));
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
  OK(cuLibraryLoadData(&lib, ptx, NULL, NULL, 0, NULL, NULL, 0));
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
  OK(cuLinkAddData_v2(s, CU_JIT_INPUT_PTX, (void *)(uintptr_t)ptx, sizeof ptx, "a.ptx", 0, NULL, NULL));
  IS(CUDA_ERROR_NOT_SUPPORTED, cuLinkAddData_v2(s, CU_JIT_INPUT_PTX, (void *)(uintptr_t)ptx, sizeof ptx, "b.ptx", 0, NULL, NULL));
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

#define WITH_CONTEXT(test) cmocka_unit_test_setup_teardown(test, open_context, close_context)

int main(void) {
  setenv("VGPU_LOG", "/dev/null", 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_before_init), cmocka_unit_test(test_device),       cmocka_unit_test(test_errors),        cmocka_unit_test(test_contexts),
      WITH_CONTEXT(test_memory),          WITH_CONTEXT(test_host_memory),      WITH_CONTEXT(test_pointer_attributes), WITH_CONTEXT(test_copies),
      WITH_CONTEXT(test_copies_2d),       WITH_CONTEXT(test_pools),            WITH_CONTEXT(test_modules),           WITH_CONTEXT(test_library),
      WITH_CONTEXT(test_link),            WITH_CONTEXT(test_launch_limits),    WITH_CONTEXT(test_extra_params),      WITH_CONTEXT(test_streams_events),
      WITH_CONTEXT(test_two_threads),     WITH_CONTEXT(test_failures_on_demand), WITH_CONTEXT(test_unreadable_failures), WITH_CONTEXT(test_lost_device),     WITH_CONTEXT(test_wild_handles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
