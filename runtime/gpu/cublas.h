// cuBLAS as far as --gemm cublas needs it, found at run time. Values are those of cublas_api.h, CUDA 11.8 to 13.
#pragma once
#include "runtime/gpu/cuda.h"

typedef int cublas_status; // 0: success
typedef struct cublasContext *cublas_handle;

enum { CUBLAS_PLAIN = 0, CUBLAS_TRANSPOSED = 1 };      // cublasOperation_t
enum { CUBLAS_FLOAT = 0, CUBLAS_HALF = 2 };            // cudaDataType_t
enum { CUBLAS_COMPUTE_FLOAT = 68, CUBLAS_ANY_ALGORITHM = -1 };

// name, the library's symbol, result, parameters. One list makes the struct and the look-up.
#define CUBLAS_FUNCTIONS(F)                                                                                             \
  F(create, "cublasCreate_v2", cublas_status, (cublas_handle *handle))                                                  \
  F(destroy, "cublasDestroy_v2", cublas_status, (cublas_handle handle))                                                 \
  F(set_stream, "cublasSetStream_v2", cublas_status, (cublas_handle handle, cu_stream stream))                          \
  F(gemm, "cublasGemmEx", cublas_status,                                                                                \
    (cublas_handle handle, int op_a, int op_b, int m, int n, int k, const void *alpha, cu_pointer a, int type_a,        \
     int lda, cu_pointer b, int type_b, int ldb, const void *beta, cu_pointer c, int type_c, int ldc, int compute,      \
     int algorithm))                                                                                                    \
  F(status_string, "cublasGetStatusString", const char *, (cublas_status status))

struct cublas {
  void *library;
  cublas_handle handle; // NULL: not in use
#define CUBLAS_MEMBER(name, symbol, result, parameters) result(*name) parameters;
  CUBLAS_FUNCTIONS(CUBLAS_MEMBER)
#undef CUBLAS_MEMBER
};

// Opens the library that $PHI3_CUBLAS names, else libcublas.so of CUDA 13, 12 or 11, on the stream. The virtual GPU runs none
// but a library that is named.
bool cublas_open(struct cublas *b, cu_stream stream, bool virtual_gpu, struct err *e);
void cublas_close(struct cublas *b);
// c = x W^T (added to c with `add`): W fp16 [features, k], rows ldw apart; x fp16 [rows, k], ldx apart; c fp32 [rows, features],
// ldc apart.
struct cublas_product {
  cu_pointer w, x, c;
  int rows, features, k, ldw, ldx, ldc;
  bool add;
};
bool cublas_multiply(struct cublas *b, const struct cublas_product *p, struct err *e);
