// Functions: attributes, cache preferences, parameters, occupancy.
#include "runtime/vgpu/api.h"
#include <string.h>

#define SHARED_OPT_IN 65536

static CUresult get(int *pi, CUfunction_attribute attrib, const struct vg_function *f) {
  switch ((int)attrib) {
  case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: {
    uint32_t warp = (f->regs * 32 + 255) / 256 * 256, fit = 65536 / 4 / (warp ? warp : 256) * 4 * 32; // what its registers leave
    *pi = (int)(fit < f->code->max_threads ? fit : f->code->max_threads);
    break;
  }
  case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *pi = (int)f->code->static_shared; break;
  case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *pi = (int)f->code->const_bytes; break;
  case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *pi = (int)f->local_bytes; break;
  case CU_FUNC_ATTRIBUTE_NUM_REGS: *pi = (int)f->regs; break;
  case CU_FUNC_ATTRIBUTE_PTX_VERSION: *pi = f->module->code->ptx->sm; break;
  case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *pi = 75; break;
  case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA: *pi = 0; break;
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *pi = (int)f->max_dynamic_shared; break;
  case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *pi = f->carveout; break;
  default:
    if ((int)attrib < CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET || (int)attrib > CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE)
      return CUDA_ERROR_INVALID_VALUE;
    *pi = 0;
  }
  return CUDA_SUCCESS;
}

static CUresult set(struct vg_function *f, CUfunction_attribute attrib, int value) {
  if (attrib == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
    if (value < 0 || (uint64_t)value + f->code->static_shared > SHARED_OPT_IN) return CUDA_ERROR_INVALID_VALUE;
    f->max_dynamic_shared = (uint32_t)value;
    return CUDA_SUCCESS;
  }
  if (attrib == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
    if (value < -1 || value > 100) return CUDA_ERROR_INVALID_VALUE;
    f->carveout = value;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE; // the others are facts, or about clusters
}

VG_API CUresult cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc) {
  API(VG_CTX);
  struct vg_function *f = vg_function_of(hfunc);
  if (!pi) return CUDA_ERROR_INVALID_VALUE;
  return f ? get(pi, attrib, f) : CUDA_ERROR_INVALID_HANDLE;
}

VG_API CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value) {
  API(VG_CTX);
  struct vg_function *f = vg_function_of(hfunc);
  return f ? set(f, attrib, value) : CUDA_ERROR_INVALID_HANDLE;
}

VG_API CUresult cuKernelGetAttribute(int *pi, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev) {
  API(VG_INIT);
  struct vg_function *f = vg_handle_get(kernel, VG_KERNEL);
  if (!pi) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  return f ? get(pi, attrib, f) : CUDA_ERROR_INVALID_HANDLE;
}

VG_API CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel, CUdevice dev) {
  API(VG_INIT);
  struct vg_function *f = vg_handle_get(kernel, VG_KERNEL);
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  return f ? set(f, attrib, val) : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult set_cache(struct vg_function *f, int config) {
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  if (config < 0 || config > 3) return CUDA_ERROR_INVALID_VALUE;
  f->cache_config = config;
  return CUDA_SUCCESS;
}

VG_API CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config) {
  API(VG_CTX);
  return set_cache(vg_function_of(hfunc), (int)config);
}

VG_API CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev) {
  API(VG_INIT);
  return dev ? CUDA_ERROR_INVALID_DEVICE : set_cache(vg_handle_get(kernel, VG_KERNEL), (int)config);
}

VG_API CUresult cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig config) {
  API(VG_CTX);
  if (!vg_function_of(hfunc)) return CUDA_ERROR_INVALID_HANDLE;
  return (int)config < 0 || (int)config > 2 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

VG_API CUresult cuFuncGetModule(CUmodule *hmod, CUfunction hfunc) {
  API(VG_CTX);
  struct vg_function *f = vg_function_of(hfunc);
  if (!hmod) return CUDA_ERROR_INVALID_VALUE;
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  *hmod = f->module->handle;
  return CUDA_SUCCESS;
}

static CUresult name_of(const char **name, const struct vg_function *f) {
  if (!name) return CUDA_ERROR_INVALID_VALUE;
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  *name = f->code->name;
  return CUDA_SUCCESS;
}

VG_API CUresult cuFuncGetName(const char **name, CUfunction hfunc) {
  API(VG_INIT);
  return name_of(name, vg_function_of(hfunc));
}

VG_API CUresult cuKernelGetName(const char **name, CUkernel hfunc) {
  API(VG_INIT);
  return name_of(name, vg_handle_get(hfunc, VG_KERNEL));
}

static CUresult param_info(const struct vg_function *f, size_t index, size_t *offset, size_t *size) {
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  if (!offset) return CUDA_ERROR_INVALID_VALUE;
  size_t at = 0;
  for (const struct ptx_var *p = f->code->ptx->params; p; p = p->next, index--) {
    if (p->align > 1) at = (at + p->align - 1) / p->align * p->align;
    if (!index) {
      *offset = at;
      if (size) *size = p->size;
      return CUDA_SUCCESS;
    }
    at += p->size;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

VG_API CUresult cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t *paramOffset, size_t *paramSize) {
  API(VG_CTX);
  return param_info(vg_function_of(func), paramIndex, paramOffset, paramSize);
}

VG_API CUresult cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t *paramOffset, size_t *paramSize) {
  API(VG_INIT);
  return param_info(vg_handle_get(kernel, VG_KERNEL), paramIndex, paramOffset, paramSize);
}

VG_API CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function) {
  API(VG_CTX);
  if (!state) return CUDA_ERROR_INVALID_VALUE;
  if (!vg_function_of(function)) return CUDA_ERROR_INVALID_HANDLE;
  *state = (CUfunctionLoadingState)1;
  return CUDA_SUCCESS;
}

VG_API CUresult cuFuncLoad(CUfunction function) {
  API(VG_CTX);
  return vg_function_of(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// ---- occupancy ----

static CUresult max_blocks(int *numBlocks, CUfunction func, int blockSize, size_t dynamicSMemSize) {
  struct vg_function *f = vg_function_of(func);
  if (!numBlocks || blockSize <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  *numBlocks = vg_blocks_per_sm(f, (unsigned)blockSize, dynamicSMemSize);
  return CUDA_SUCCESS;
}

VG_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *numBlocks, CUfunction func, int blockSize, size_t dynamicSMemSize) {
  API(VG_CTX);
  return max_blocks(numBlocks, func, blockSize, dynamicSMemSize);
}

VG_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *numBlocks, CUfunction func, int blockSize, size_t dynamicSMemSize,
                                                                     unsigned int flags) {
  API(VG_CTX);
  return flags > 1 ? CUDA_ERROR_INVALID_VALUE : max_blocks(numBlocks, func, blockSize, dynamicSMemSize);
}

// The block size with the most resident threads; the largest of them.
static CUresult best_block(int *minGridSize, int *blockSize, CUfunction func, CUoccupancyB2DSize size_of, size_t fixed, int limit) {
  struct vg_function *f = vg_function_of(func);
  if (!minGridSize || !blockSize || limit < 0) return CUDA_ERROR_INVALID_VALUE;
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  int most = 0, max = (int)f->code->max_threads;
  if (limit && limit < max) max = limit;
  *minGridSize = *blockSize = 0;
  for (int step = (max + 31) / 32 * 32; step > 0; step -= 32) {
    int block = step < max ? step : max, n = vg_blocks_per_sm(f, (unsigned)block, size_of ? size_of(block) : fixed);
    if (n * block <= most) continue;
    most = n * block, *blockSize = block, *minGridSize = n * 40;
  }
  return CUDA_SUCCESS;
}

VG_API CUresult cuOccupancyMaxPotentialBlockSize(int *minGridSize, int *blockSize, CUfunction func, CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                 size_t dynamicSMemSize, int blockSizeLimit) {
  API(VG_CTX);
  return best_block(minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize, blockSizeLimit);
}

VG_API CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *minGridSize, int *blockSize, CUfunction func, CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                          size_t dynamicSMemSize, int blockSizeLimit, unsigned int flags) {
  API(VG_CTX);
  if (flags > 1) return CUDA_ERROR_INVALID_VALUE;
  return best_block(minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize, blockSizeLimit);
}

VG_API CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *dynamicSmemSize, CUfunction func, int numBlocks, int blockSize) {
  API(VG_CTX);
  struct vg_function *f = vg_function_of(func);
  if (!dynamicSmemSize || numBlocks <= 0 || blockSize <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (!f) return CUDA_ERROR_INVALID_HANDLE;
  if (vg_blocks_per_sm(f, (unsigned)blockSize, 0) < numBlocks) return CUDA_ERROR_INVALID_VALUE;
  size_t each = (size_t)(65536 / numBlocks) / 256 * 256, fixed = f->code->static_shared;
  *dynamicSmemSize = each > fixed ? each - fixed : 0;
  return CUDA_SUCCESS;
}
