// Device, host and pooled memory through the driver API, its attributes, and copies in one and two dimensions.
#include "tests/vgpu/program.h"

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

int main(void) {
  setenv("VGPU_LOG", "/dev/null", 0);
  const struct CMUnitTest tests[] = {
      WITH_CONTEXT(test_memory), WITH_CONTEXT(test_host_memory), WITH_CONTEXT(test_pointer_attributes),
      WITH_CONTEXT(test_copies), WITH_CONTEXT(test_copies_2d), WITH_CONTEXT(test_pools),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
