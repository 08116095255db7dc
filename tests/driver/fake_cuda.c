// A CUDA driver of a card that is not there, for what phi3 says about drivers and cards that do not suit it. The device's memory is the host's; kernels do
// nothing. In the environment: FAKE_CUDA_DEVICES (-1: cuInit says that there is none), FAKE_CUDA_VERSION (as cuDriverGetVersion: 12040 is 12.4),
// FAKE_CUDA_CAPABILITY (75 is 7.5), FAKE_CUDA_FREE (bytes), FAKE_CUDA_LOAD (what loading a module returns), FAKE_CUDA_PEAK (a file for
// the host's anonymous memory in KiB: at the start, and the most at any copy to the device; the device's memory is shared, so it does not count). Every other function of the list in cuda.h
// succeeds: see fake_cuda_rest.c.
#include "runtime/gpu/cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static long long told(const char *name, long long otherwise) {
  const char *v = getenv(name);
  return v ? strtoll(v, NULL, 10) : otherwise;
}

static int anything; // what handles point to

static long anonymous_kib(void) {
  char line[128];
  long kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f)) sscanf(line, "RssAnon: %ld", &kib);
  if (f) fclose(f);
  return kib;
}

static void note_peak(void) {
  static long first, most;
  const char *path = getenv("FAKE_CUDA_PEAK");
  long now = path ? anonymous_kib() : 0;
  if (!first) first = now;
  if (now <= most) return;
  most = now;
  FILE *f = fopen(path, "w");
  if (!f) return;
  fprintf(f, "%ld %ld\n", first, most);
  fclose(f);
}

cu_result cuInit(unsigned flags) { return note_peak(), (void)flags, told("FAKE_CUDA_DEVICES", 1) < 0 ? CU_ERROR_NO_DEVICE : 0; }
cu_result cuDriverGetVersion(int *version) { return *version = (int)told("FAKE_CUDA_VERSION", 13000), 0; }
cu_result cuDeviceGetCount(int *count) { return *count = (int)told("FAKE_CUDA_DEVICES", 1), 0; }
cu_result cuDeviceGet(cu_device *device, int ordinal) { return *device = ordinal, 0; }
cu_result cuDeviceGetName(char *name, int len, cu_device device) { return (void)device, strncpy(name, "Imaginary T4", (size_t)len), 0; }

cu_result cuDeviceGetAttribute(int *value, int attribute, cu_device device) {
  int capability = (int)told("FAKE_CUDA_CAPABILITY", 75);
  (void)device;
  *value = attribute == CU_ATTRIBUTE_MAJOR ? capability / 10 : attribute == CU_ATTRIBUTE_MINOR ? capability % 10 : attribute == CU_ATTRIBUTE_SHARED_OPTIN ? 65536 : 40;
  return 0;
}

cu_result cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
  *free_bytes = (size_t)told("FAKE_CUDA_FREE", 16000000000);
  return *total = *free_bytes, 0;
}
enum { HEADER = 4096 }; // before each block, with its size

cu_result cuMemAlloc_v2(cu_pointer *p, size_t bytes) {
  char *block = mmap(NULL, bytes + HEADER, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return CU_ERROR_OUT_OF_MEMORY;
  *(size_t *)block = bytes + HEADER;
  return *p = (cu_pointer)(uintptr_t)(block + HEADER), 0;
}
cu_result cuMemFree_v2(cu_pointer p) {
  size_t *block = (size_t *)(uintptr_t)(p - HEADER);
  return munmap(block, *block), 0;
}
cu_result cuMemcpyHtoD_v2(cu_pointer to, const void *from, size_t bytes) { return note_peak(), memcpy((void *)(uintptr_t)to, from, bytes), 0; }
cu_result cuMemcpyDtoH_v2(void *to, cu_pointer from, size_t bytes) { return memcpy(to, (void *)(uintptr_t)from, bytes), 0; }
cu_result cuMemcpyHtoDAsync_v2(cu_pointer to, const void *from, size_t bytes, cu_stream stream) { return (void)stream, cuMemcpyHtoD_v2(to, from, bytes); }
cu_result cuModuleLoadData(cu_module *module, const void *image) { return (void)image, *module = (cu_module)&anything, (cu_result)told("FAKE_CUDA_LOAD", 0); }
cu_result cuModuleGetFunction(cu_function *function, cu_module module, const char *name) { return (void)module, (void)name, *function = (cu_function)&anything, 0; }
cu_result cuStreamCreate(cu_stream *stream, unsigned flags) { return (void)flags, *stream = (cu_stream)&anything, 0; }
cu_result cuStreamEndCapture(cu_stream stream, cu_graph *graph) { return (void)stream, *graph = (cu_graph)&anything, 0; }
cu_result cuGraphInstantiateWithFlags(cu_graph_exec *exec, cu_graph graph, unsigned long long flags) { return (void)graph, (void)flags, *exec = (cu_graph_exec)&anything, 0; }
cu_result cuGetErrorName(cu_result result, const char **text) { return *text = result == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU" : "CUDA_ERROR_UNKNOWN", 0; }
cu_result cuGetErrorString(cu_result result, const char **text) { return (void)result, *text = "a made-up reason", 0; }
cu_result cuDevicePrimaryCtxRetain(cu_context *context, cu_device device) { return (void)device, *context = (cu_context)&anything, 0; }
