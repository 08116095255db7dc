// What a pointer is: the attributes of cuPointerGetAttribute.
#include "runtime/vgpu/api.h"
#include <string.h>

static CUmemorytype memory_type(const struct vg_alloc *a) {
  return (CUmemorytype)(a->kind == VG_MEM_HOST || a->kind == VG_MEM_REGISTERED ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
}

static bool on_host(const struct vg_alloc *a) { return !a->delta; }

static CUcontext context_handle(const struct vg_alloc *a) { return a->owner ? ((struct vg_context *)a->owner)->handle : NULL; }

static CUresult get(void *data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  struct vg_alloc *a = vg_mem_find(ptr);
  if (attribute == CU_POINTER_ATTRIBUTE_MAPPED) {
    *(int *)data = a != NULL;
    return CUDA_SUCCESS;
  }
  if (!a) return CUDA_ERROR_INVALID_VALUE;
  switch ((int)attribute) {
  case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)data = context_handle(a); break;
  case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *(unsigned *)data = memory_type(a); break;
  case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)data = ptr; break;
  case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    if (!on_host(a)) return CUDA_ERROR_INVALID_VALUE;
    *(void **)data = (void *)(uintptr_t)ptr;
    break;
  case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: *(int *)data = 1; break;
  case CU_POINTER_ATTRIBUTE_BUFFER_ID: *(unsigned long long *)data = a->serial; break;
  case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(int *)data = a->kind == VG_MEM_MANAGED; break;
  case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)data = 0; break;
  case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: *(int *)data = 0; break;
  case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(CUdeviceptr *)data = a->base; break;
  case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)data = a->size; break;
  case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES: *(unsigned long long *)data = 0; break;
  case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS: *(unsigned *)data = 3; break;
  case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: *(CUmemoryPool *)data = (CUmemoryPool)a->pool; break;
  default: return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

VG_API CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  API(VG_INIT);
  return data ? get(data, attribute, ptr) : CUDA_ERROR_INVALID_VALUE;
}

// Bytes that an attribute's value takes.
static size_t value_size(int attribute) {
  switch (attribute) {
  case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: case CU_POINTER_ATTRIBUTE_IS_MANAGED:
  case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: case CU_POINTER_ATTRIBUTE_MAPPED:
  case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS: return 4;
  default: return 8;
  }
}

// Unknown pointers are no error here: their attributes read as zero.
VG_API CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr) {
  API(VG_INIT);
  if (!numAttributes || !attributes || !data) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < numAttributes; i++) {
    if (!data[i] || (int)attributes[i] < 1 || (int)attributes[i] > 21) return CUDA_ERROR_INVALID_VALUE;
    if (!get(data[i], attributes[i], ptr)) continue;
    memset(data[i], 0, value_size((int)attributes[i]));
    if (attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) *(int *)data[i] = -2;
  }
  return CUDA_SUCCESS;
}

VG_API CUresult cuPointerSetAttribute(const void *value, CUpointer_attribute attribute, CUdeviceptr ptr) {
  API(VG_CTX);
  if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS) return CUDA_ERROR_INVALID_VALUE;
  return vg_mem_find(ptr) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
