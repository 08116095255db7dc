// cuGetProcAddress.
#include "runtime/vgpu/api.h"

VG_API CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags, CUdriverProcAddressQueryResult *symbolStatus) {
  bool known;
  if (!symbol || !pfn || flags > 3) return CUDA_ERROR_INVALID_VALUE;
  *pfn = vg_proc_find(symbol, cudaVersion, (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0, &known);
  int status = *pfn ? CU_GET_PROC_ADDRESS_SUCCESS : known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  if (symbolStatus) *symbolStatus = (CUdriverProcAddressQueryResult)status;
  return *pfn || symbolStatus ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

VG_API CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags) {
  bool known;
  if (!symbol || !pfn || flags > 3) return CUDA_ERROR_INVALID_VALUE;
  *pfn = vg_proc_find(symbol, cudaVersion, (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0, &known);
  return *pfn ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
ALSO(cuGetProcAddress_v2, cuGetProcAddress_v2_ptsz);
ALSO(cuGetProcAddress, cuGetProcAddress_ptsz);
