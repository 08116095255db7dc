#include "runtime/gpu/cublas.h"
#include <dlfcn.h>
#include <stdlib.h>

static bool check(const struct cublas *b, cublas_status s, const char *operation, struct err *e) {
  if (!s) return true;
  const char *text = b->status_string(s);
  return err_set(e, "cuBLAS: %s failed: %s (status %d); use --gemm own", operation, text ? text : "no further word from it", s);
}

static void *open_library(const char **name) {
  static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so"};
  const char *given = getenv("PHI3_CUBLAS");
  *name = given ? given : "libcublas.so (of CUDA 11.8 to 13)";
  if (given) return dlopen(given, RTLD_NOW | RTLD_LOCAL);
  void *library = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  return library;
}

bool cublas_open(struct cublas *b, cu_stream stream, bool virtual_gpu, struct err *e) {
  *b = (struct cublas){0};
  if (virtual_gpu && !getenv("PHI3_CUBLAS"))
    return err_set(e, "cuBLAS needs a real GPU: it is machine code, which the virtual one does not run; use --gemm own");
  const char *name;
  b->library = open_library(&name);
  if (!b->library) return err_set(e, "cuBLAS: %s cannot be opened; install CUDA's libraries, or use --gemm own", name);
#define CUBLAS_LOOK_UP(member, symbol, result, parameters)                                                             \
  *(void **)&b->member = dlsym(b->library, symbol);                                                                    \
  if (!b->member) return err_set(e, "cuBLAS: %s has no function %s; install one of CUDA 11.8 or later", name, symbol);
  CUBLAS_FUNCTIONS(CUBLAS_LOOK_UP)
#undef CUBLAS_LOOK_UP
  return check(b, b->create(&b->handle), "starting", e) && check(b, b->set_stream(b->handle, stream), "setting the stream", e);
}

// The library stays loaded, like the driver's.
void cublas_close(struct cublas *b) {
  if (b->handle) b->destroy(b->handle);
  *b = (struct cublas){0};
}

// cuBLAS counts by columns: its c is [features, rows], its a = W^T stored as [k, features], its b = x^T [k, rows].
bool cublas_multiply(struct cublas *b, const struct cublas_product *p, struct err *e) {
  const float one = 1, zero = 0;
  return check(b,
               b->gemm(b->handle, CUBLAS_TRANSPOSED, CUBLAS_PLAIN, p->features, p->rows, p->k, &one, p->w, CUBLAS_HALF, p->ldw, p->x,
                       CUBLAS_HALF, p->ldx, p->add ? &one : &zero, p->c, CUBLAS_FLOAT, p->ldc, CUBLAS_COMPUTE_FLOAT,
                       CUBLAS_ANY_ALGORITHM),
               "multiplying", e);
}
