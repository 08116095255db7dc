// The CUDA driver API as far as it is used here, found at run time: libcuda, or the virtual GPU's library in its place. Types and values are
// those of cuda.h, CUDA 11.8 to 13.
#pragma once
#include "runtime/base/err.h"
#include <stdint.h>

typedef int cu_result; // 0: success
typedef int cu_device;
typedef uint64_t cu_pointer;
typedef struct CUctx_st *cu_context;
typedef struct CUmod_st *cu_module;
typedef struct CUfunc_st *cu_function;
typedef struct CUstream_st *cu_stream;
typedef struct CUevent_st *cu_event;
typedef struct CUgraph_st *cu_graph;
typedef struct CUgraphExec_st *cu_graph_exec;

enum { // CUdevice_attribute
  CU_ATTRIBUTE_SHARED_OPTIN = 97,
  CU_ATTRIBUTE_MULTIPROCESSORS = 16,
  CU_ATTRIBUTE_MEMORY_CLOCK = 36, // kHz
  CU_ATTRIBUTE_MEMORY_BUS = 37,   // bits
  CU_ATTRIBUTE_MAJOR = 75,
  CU_ATTRIBUTE_MINOR = 76,
};
enum { CU_FUNCTION_SHARED = 1, CU_FUNCTION_LOCAL = 3, CU_FUNCTION_REGISTERS = 4, CU_FUNCTION_MAX_DYNAMIC_SHARED = 8 }; // CUfunction_attribute
enum { CU_CAPTURE_THREAD_LOCAL = 1 };          // CUstreamCaptureMode
enum { CU_STREAM_NONBLOCKING = 1 };
enum { // CUresult
  CU_ERROR_OUT_OF_MEMORY = 2,
  CU_ERROR_NO_DEVICE = 100,
  CU_ERROR_INVALID_IMAGE = 200,
  CU_ERROR_NO_BINARY = 209,
  CU_ERROR_INVALID_PTX = 218,
  CU_ERROR_UNSUPPORTED_PTX = 222,
  CU_ERROR_NOT_FOUND = 500,
};

// name, the library's symbol, parameters. One list makes the struct and the look-up.
#define CUDA_FUNCTIONS(F)                                                                                                            \
  F(init, "cuInit", (unsigned flags))                                                                                                \
  F(driver_version, "cuDriverGetVersion", (int *version))                                                                            \
  F(device_count, "cuDeviceGetCount", (int *count))                                                                                  \
  F(device_get, "cuDeviceGet", (cu_device *device, int ordinal))                                                                     \
  F(device_name, "cuDeviceGetName", (char *name, int len, cu_device device))                                                         \
  F(device_pci, "cuDeviceGetPCIBusId", (char *text, int len, cu_device device))                                                      \
  F(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, cu_device device))                                         \
  F(context_retain, "cuDevicePrimaryCtxRetain", (cu_context *context, cu_device device))                                             \
  F(context_release, "cuDevicePrimaryCtxRelease_v2", (cu_device device))                                                             \
  F(context_set, "cuCtxSetCurrent", (cu_context context))                                                                            \
  F(mem_info, "cuMemGetInfo_v2", (size_t *free_bytes, size_t *total))                                                                \
  F(mem_alloc, "cuMemAlloc_v2", (cu_pointer *p, size_t bytes))                                                                       \
  F(mem_free, "cuMemFree_v2", (cu_pointer p))                                                                                        \
  F(to_device, "cuMemcpyHtoD_v2", (cu_pointer to, const void *from, size_t bytes))                                                   \
  F(to_host, "cuMemcpyDtoH_v2", (void *to, cu_pointer from, size_t bytes))                                                           \
  F(to_device_async, "cuMemcpyHtoDAsync_v2", (cu_pointer to, const void *from, size_t bytes, cu_stream stream))                      \
  F(set_words, "cuMemsetD32Async", (cu_pointer p, unsigned value, size_t count, cu_stream stream))                                   \
  F(module_load, "cuModuleLoadData", (cu_module *module, const void *image))                                                         \
  F(module_unload, "cuModuleUnload", (cu_module module))                                                                             \
  F(get_function, "cuModuleGetFunction", (cu_function *function, cu_module module, const char *name))                                \
  F(function_attribute_set, "cuFuncSetAttribute", (cu_function function, int attribute, int value))                                  \
  F(function_attribute_get, "cuFuncGetAttribute", (int *value, int attribute, cu_function function))                                 \
  F(launch, "cuLaunchKernel",                                                                                                        \
    (cu_function function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,            \
     cu_stream stream, void **parameters, void **extra))                                                                             \
  F(stream_create, "cuStreamCreate", (cu_stream *stream, unsigned flags))                                                            \
  F(stream_destroy, "cuStreamDestroy_v2", (cu_stream stream))                                                                        \
  F(stream_wait, "cuStreamSynchronize", (cu_stream stream))                                                                          \
  F(event_create, "cuEventCreate", (cu_event *event, unsigned flags))                                                                \
  F(event_destroy, "cuEventDestroy_v2", (cu_event event))                                                                            \
  F(event_record, "cuEventRecord", (cu_event event, cu_stream stream))                                                               \
  F(event_wait, "cuEventSynchronize", (cu_event event))                                                                              \
  F(event_elapsed, "cuEventElapsedTime", (float *milliseconds, cu_event start, cu_event end))                                        \
  F(capture_begin, "cuStreamBeginCapture_v2", (cu_stream stream, int mode))                                                          \
  F(capture_end, "cuStreamEndCapture", (cu_stream stream, cu_graph *graph))                                                          \
  F(graph_instantiate, "cuGraphInstantiateWithFlags", (cu_graph_exec *exec, cu_graph graph, unsigned long long flags))               \
  F(graph_launch, "cuGraphLaunch", (cu_graph_exec exec, cu_stream stream))                                                           \
  F(graph_destroy, "cuGraphDestroy", (cu_graph graph))                                                                               \
  F(graph_exec_destroy, "cuGraphExecDestroy", (cu_graph_exec exec))                                                                  \
  F(error_name, "cuGetErrorName", (cu_result result, const char **text))                                                             \
  F(error_string, "cuGetErrorString", (cu_result result, const char **text))

struct cuda {
  void *library;
  const char *library_name; // as it was opened
#define CUDA_MEMBER(name, symbol, parameters) cu_result(*name) parameters;
  CUDA_FUNCTIONS(CUDA_MEMBER)
#undef CUDA_MEMBER
};

// Opens libcuda, or with `virtual_gpu` the virtual GPU's library: beside the executable, or where $PHI3_VGPU says.
bool cuda_open(struct cuda *c, bool virtual_gpu, struct err *e);
void cuda_close(struct cuda *c);
// True for success; else an error that names the operation ("allocating the weights") and the driver's reason.
bool cuda_check(const struct cuda *c, cu_result result, const char *operation, struct err *e);
