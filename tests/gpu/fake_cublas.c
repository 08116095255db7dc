// A library with cuBLAS's names for tests on the virtual GPU: checks what it is called with, and multiplies in plain loops on the
// device's memory, which it reaches by the same driver library as the program.
#include "runtime/base/half.h"
#include "runtime/gpu/cublas.h"
#include <dlfcn.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

enum { INVALID = 7, FAILED = 13 };

static struct cublasContext {
  int handles, calls, fail_at;
  void *stream;
} state;

static cu_result (*to_host)(void *, cu_pointer, size_t), (*to_device)(cu_pointer, const void *, size_t), (*wait_for)(void *);

EXPORT int fake_cublas_calls(void);
EXPORT int fake_cublas_handles(void);
EXPORT void fake_cublas_fail_at(int call);
EXPORT cublas_status cublasCreate_v2(cublas_handle *handle);
EXPORT cublas_status cublasDestroy_v2(cublas_handle handle);
EXPORT cublas_status cublasSetStream_v2(cublas_handle handle, cu_stream stream);
EXPORT const char *cublasGetStatusString(cublas_status s);
EXPORT cublas_status cublasGemmEx(cublas_handle handle, int op_a, int op_b, int m, int n, int k, const void *alpha, cu_pointer a, int type_a, int lda,
                                  cu_pointer b, int type_b, int ldb, const void *beta, cu_pointer c, int type_c, int ldc, int compute, int algorithm);

int fake_cublas_calls(void) { return state.calls; }
int fake_cublas_handles(void) { return state.handles; }
// The call-th product from now fails; 0: none.
void fake_cublas_fail_at(int call) { state.calls = 0, state.fail_at = call; }

cublas_status cublasCreate_v2(cublas_handle *handle) {
  void *driver = dlopen(getenv("PHI3_VGPU"), RTLD_NOW);
  if (!driver) return FAILED;
  *(void **)&to_host = dlsym(driver, "cuMemcpyDtoH_v2");
  *(void **)&to_device = dlsym(driver, "cuMemcpyHtoD_v2");
  *(void **)&wait_for = dlsym(driver, "cuStreamSynchronize");
  state.handles++;
  *handle = &state;
  return to_host && to_device && wait_for ? 0 : FAILED;
}

cublas_status cublasDestroy_v2(cublas_handle handle) {
  state.handles--;
  return handle == &state ? 0 : INVALID;
}

cublas_status cublasSetStream_v2(cublas_handle handle, cu_stream stream) {
  state.stream = stream;
  return handle == &state && stream ? 0 : INVALID;
}

const char *cublasGetStatusString(cublas_status s) { return s == INVALID ? "an invalid value" : "the product failed"; }

static void *fetch(cu_pointer from, size_t bytes) {
  void *p = malloc(bytes);
  if (p && to_host(p, from, bytes)) free(p), p = NULL;
  return p;
}

// Columns lie lda, ldb, ldc apart. A column of c: sums over k, ascending, in double.
static void multiply(int m, int n, int k, const uint16_t *a, int lda, const uint16_t *b, int ldb, float beta, float *c, int ldc) {
  for (int j = 0; j < n; j++)
    for (int i = 0; i < m; i++) {
      double s = 0;
      for (int l = 0; l < k; l++) s += (double)f16_to_f32(a[(size_t)i * (size_t)lda + (size_t)l]) * f16_to_f32(b[(size_t)j * (size_t)ldb + (size_t)l]);
      float *to = c + (size_t)j * (size_t)ldc + i;
      *to = (float)s + (beta != 0 ? *to : 0); // what is not asked for may be NaN
    }
}

cublas_status cublasGemmEx(cublas_handle handle, int op_a, int op_b, int m, int n, int k, const void *alpha, cu_pointer a, int type_a, int lda, cu_pointer b,
                           int type_b, int ldb, const void *beta, cu_pointer c, int type_c, int ldc, int compute, int algorithm) {
  float scale = *(const float *)alpha, add = *(const float *)beta;
  bool ok = handle == &state && op_a == CUBLAS_TRANSPOSED && op_b == CUBLAS_PLAIN && type_a == CUBLAS_HALF && type_b == CUBLAS_HALF && type_c == CUBLAS_FLOAT &&
            compute == CUBLAS_COMPUTE_FLOAT && algorithm == CUBLAS_ANY_ALGORITHM && m > 0 && n > 0 && k > 0 && lda >= k && ldb >= k && ldc >= m && scale == 1 &&
            (add == 0 || add == 1) && a % 16 == 0 && b % 16 == 0 && c % 16 == 0 && lda % 8 == 0 && ldb % 8 == 0; // else no tensor cores
  if (!ok || wait_for(state.stream)) return INVALID;
  if (++state.calls == state.fail_at) return FAILED;
  size_t c_count = (size_t)(n - 1) * (size_t)ldc + (size_t)m;
  uint16_t *ha = fetch(a, ((size_t)(m - 1) * (size_t)lda + (size_t)k) * 2), *hb = fetch(b, ((size_t)(n - 1) * (size_t)ldb + (size_t)k) * 2);
  float *hc = fetch(c, c_count * 4);
  ok = ha && hb && hc;
  if (ok) multiply(m, n, k, ha, lda, hb, ldb, add, hc, ldc);
  ok = ok && !to_device(c, hc, c_count * 4);
  free(ha), free(hb), free(hc);
  return ok ? 0 : FAILED;
}
