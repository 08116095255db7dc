// Memory: device, pinned, registered and managed allocations, pools, pointer attributes.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PITCH_ALIGN 512

static struct vg_pool default_pool = {.is_default = true, .reuse = {0, 1, 1, 1}};

static CUresult alloc_device(struct vg_context *ctx, CUdeviceptr *dptr, size_t bytes) {
  if (!dptr || !bytes) return CUDA_ERROR_INVALID_VALUE;
  uint64_t p = vg_mem_alloc(bytes, 512, VG_MEM_DEVICE, NULL, ctx, false);
  if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
  *dptr = p;
  return CUDA_SUCCESS;
}

static void leave_pool(const struct vg_alloc *a) {
  struct vg_pool *pool = vg_handle_get(a->pool, VG_POOL);
  if (a->pool && pool) pool->used -= a->size;
}

static CUresult free_device(CUdeviceptr dptr, const char *who) {
  if (!dptr) return CUDA_SUCCESS;
  struct vg_alloc *a = vg_mem_find(dptr);
  if (a && a->base == dptr && a->kind == VG_MEM_DEVICE) leave_pool(a);
  bool managed = a && a->base == dptr && a->kind == VG_MEM_MANAGED, again = false;
  size_t size = a ? a->size : 0;
  if (!vg_mem_free(dptr, managed ? VG_MEM_MANAGED : VG_MEM_DEVICE, &again)) {
    if (again) vg_report_host(VG_BAD_HOST_CALL, "%s: 0x%llx was freed before", who, (unsigned long long)dptr);
    else if (a) vg_report_host(VG_BAD_HOST_CALL, "%s: 0x%llx lies in an allocation but is not what an allocation returned", who, (unsigned long long)dptr);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (managed) munmap((void *)(uintptr_t)dptr, size);
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
  API(VG_CTX);
  uint64_t f, t;
  vg_mem_info(&f, &t);
  if (free_bytes) *free_bytes = f;
  if (total) *total = t;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize) {
  API(VG_CTX | VG_UNSAFE);
  return alloc_device(call.ctx, dptr, bytesize);
}

VG_API CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes, size_t Height, unsigned int ElementSizeBytes) {
  API(VG_CTX | VG_UNSAFE);
  bool element_ok = ElementSizeBytes == 4 || ElementSizeBytes == 8 || ElementSizeBytes == 16;
  if (!pPitch || !WidthInBytes || !Height || !element_ok) return CUDA_ERROR_INVALID_VALUE;
  size_t pitch, bytes;
  if (__builtin_add_overflow(WidthInBytes, PITCH_ALIGN - 1, &pitch)) return CUDA_ERROR_INVALID_VALUE;
  pitch = pitch / PITCH_ALIGN * PITCH_ALIGN;
  if (pitch > INT32_MAX) return CUDA_ERROR_INVALID_VALUE;
  if (__builtin_mul_overflow(pitch, Height, &bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  CUresult r = alloc_device(call.ctx, dptr, bytes);
  if (!r) *pPitch = pitch;
  return r;
}

VG_API CUresult cuMemFree_v2(CUdeviceptr dptr) {
  API(VG_CTX | VG_UNSAFE);
  return free_device(dptr, "cuMemFree");
}

VG_API CUresult cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr) {
  API(VG_CTX);
  struct vg_alloc *a = vg_mem_find(dptr);
  if (!a) return CUDA_ERROR_NOT_FOUND;
  if (pbase) *pbase = a->base;
  if (psize) *psize = a->size;
  return CUDA_SUCCESS;
}

// ---- host memory that the device sees ----

static void *map_host(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

static CUresult alloc_host(struct vg_context *ctx, void **pp, size_t bytes, unsigned flags, enum vg_mem_kind kind) {
  if (!pp || !bytes) return CUDA_ERROR_INVALID_VALUE;
  void *p = map_host(bytes);
  if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
  if (!vg_mem_adopt(p, bytes, kind, ctx, flags)) {
    munmap(p, bytes);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *pp = p;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags) {
  API(VG_CTX | VG_UNSAFE);
  if (Flags & ~7u) return CUDA_ERROR_INVALID_VALUE;
  return alloc_host(call.ctx, pp, bytesize, Flags | CU_MEMHOSTALLOC_DEVICEMAP, VG_MEM_HOST);
}

VG_API CUresult cuMemAllocHost_v2(void **pp, size_t bytesize) {
  API(VG_CTX | VG_UNSAFE);
  return alloc_host(call.ctx, pp, bytesize, CU_MEMHOSTALLOC_DEVICEMAP, VG_MEM_HOST);
}

VG_API CUresult cuMemFreeHost(void *p) {
  API(VG_CTX | VG_UNSAFE);
  struct vg_alloc *a = p ? vg_mem_find((uintptr_t)p) : NULL;
  size_t bytes = a ? a->size : 0;
  if (!p || !vg_mem_free((uintptr_t)p, VG_MEM_HOST, NULL)) return CUDA_ERROR_INVALID_VALUE;
  munmap(p, bytes);
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags) {
  API(VG_CTX | VG_UNSAFE);
  if (!p || !bytesize || (Flags & ~0xfu)) return CUDA_ERROR_INVALID_VALUE;
  if (Flags & 4) return CUDA_ERROR_NOT_SUPPORTED; // IOMEMORY
  return vg_mem_adopt(p, bytesize, VG_MEM_REGISTERED, call.ctx, Flags) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}
ALSO(cuMemHostRegister_v2, cuMemHostRegister);

VG_API CUresult cuMemHostUnregister(void *p) {
  API(VG_CTX | VG_UNSAFE);
  if (!p) return CUDA_ERROR_INVALID_VALUE;
  return vg_mem_free((uintptr_t)p, VG_MEM_REGISTERED, NULL) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

static struct vg_alloc *host_alloc(const void *p) {
  struct vg_alloc *a = vg_mem_find((uintptr_t)p);
  return a && (a->kind == VG_MEM_HOST || a->kind == VG_MEM_REGISTERED) ? a : NULL;
}

VG_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags) {
  API(VG_CTX);
  if (!pdptr || Flags || !host_alloc(p)) return CUDA_ERROR_INVALID_VALUE;
  *pdptr = (uintptr_t)p;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemHostGetFlags(unsigned int *pFlags, void *p) {
  API(VG_CTX);
  struct vg_alloc *a = host_alloc(p);
  if (!pFlags || !a) return CUDA_ERROR_INVALID_VALUE;
  *pFlags = a->flags;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags) {
  API(VG_CTX | VG_UNSAFE);
  void *p;
  if (!dptr || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)) return CUDA_ERROR_INVALID_VALUE;
  CUresult r = alloc_host(call.ctx, &p, bytesize, flags, VG_MEM_MANAGED);
  if (!r) *dptr = (uintptr_t)p;
  return r;
}

static CUresult in_managed(CUdeviceptr p, size_t count) {
  struct vg_alloc *a;
  if (!count || !vg_mem_range(p, count, NULL, &a)) return CUDA_ERROR_INVALID_VALUE;
  return a->kind == VG_MEM_MANAGED ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// Managed memory lies in one place: where it is wanted changes nothing.
VG_API CUresult cuMemPrefetchAsync(CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream) {
  API(VG_CTX);
  if (dstDevice > 0 || dstDevice < -1) return CUDA_ERROR_INVALID_DEVICE;
  return vg_stream_of(call.ctx, hStream) ? in_managed(devPtr, count) : CUDA_ERROR_INVALID_HANDLE;
}
ALSO(cuMemPrefetchAsync, cuMemPrefetchAsync_ptsz);

VG_API CUresult cuMemPrefetchAsync_v2(CUdeviceptr devPtr, size_t count, CUmemLocation location, unsigned int flags, CUstream hStream) {
  API(VG_CTX);
  if (flags || (location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id)) return CUDA_ERROR_INVALID_VALUE;
  return vg_stream_of(call.ctx, hStream) ? in_managed(devPtr, count) : CUDA_ERROR_INVALID_HANDLE;
}
ALSO(cuMemPrefetchAsync_v2, cuMemPrefetchAsync_v2_ptsz);

VG_API CUresult cuMemAdvise(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUdevice device) {
  API(VG_CTX);
  if ((int)advice < 1 || (int)advice > 6) return CUDA_ERROR_INVALID_VALUE;
  if (device > 0 || device < -1) return CUDA_ERROR_INVALID_DEVICE;
  return in_managed(devPtr, count);
}

VG_API CUresult cuMemAdvise_v2(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUmemLocation location) {
  API(VG_CTX);
  (void)location;
  if ((int)advice < 1 || (int)advice > 6) return CUDA_ERROR_INVALID_VALUE;
  return in_managed(devPtr, count);
}

VG_API CUresult cuStreamAttachMemAsync(CUstream hStream, CUdeviceptr dptr, size_t length, unsigned int flags) {
  API(VG_CTX);
  if (!vg_stream_of(call.ctx, hStream)) return CUDA_ERROR_INVALID_HANDLE;
  if (flags != 1 && flags != 2 && flags != 4) return CUDA_ERROR_INVALID_VALUE;
  struct vg_alloc *a = vg_mem_find(dptr);
  return a && a->base == dptr && (!length || length == a->size) ? in_managed(dptr, 1) : CUDA_ERROR_INVALID_VALUE;
}
ALSO(cuStreamAttachMemAsync, cuStreamAttachMemAsync_ptsz);

// ---- pools ----

static struct vg_pool *pool_of(CUmemoryPool p) { return vg_handle_get(p, VG_POOL); }

static CUmemoryPool default_handle(void) {
  if (!default_pool.handle) default_pool.handle = vg_handle_new(VG_POOL, &default_pool);
  return default_pool.handle;
}

static CUresult alloc_async(struct vg_context *ctx, CUdeviceptr *dptr, size_t bytes, CUmemoryPool handle, CUstream stream) {
  struct vg_stream *s = vg_stream_of(ctx, stream);
  struct vg_pool *pool = pool_of(handle);
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if (!pool) return CUDA_ERROR_INVALID_VALUE;
  if (s->capture) { // allocation nodes are not modelled
    s->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  CUresult r = alloc_device(ctx, dptr, bytes);
  if (r) return r;
  vg_mem_find(*dptr)->pool = pool->handle;
  pool->used += bytes;
  if (pool->used > pool->used_high) pool->used_high = pool->used;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream) {
  API(VG_CTX);
  return alloc_async(call.ctx, dptr, bytesize, default_handle(), hStream);
}
ALSO(cuMemAllocAsync, cuMemAllocAsync_ptsz);

VG_API CUresult cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream) {
  API(VG_CTX);
  return alloc_async(call.ctx, dptr, bytesize, pool, hStream);
}
ALSO(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync_ptsz);

VG_API CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
  API(VG_CTX);
  struct vg_stream *s = vg_stream_of(call.ctx, hStream);
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if (s->capture) {
    s->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return dptr ? free_device(dptr, "cuMemFreeAsync") : CUDA_ERROR_INVALID_VALUE;
}
ALSO(cuMemFreeAsync, cuMemFreeAsync_ptsz);

VG_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice dev) {
  API(VG_INIT);
  if (!pool_out) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  *pool_out = default_handle();
  return CUDA_SUCCESS;
}

VG_API CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev) {
  API(VG_INIT);
  if (!pool) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  *pool = default_handle();
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *poolProps) {
  API(VG_INIT);
  if (!pool || !poolProps || poolProps->allocType != CU_MEM_ALLOCATION_TYPE_PINNED) return CUDA_ERROR_INVALID_VALUE;
  if (poolProps->location.type != CU_MEM_LOCATION_TYPE_DEVICE || poolProps->location.id) return CUDA_ERROR_INVALID_VALUE;
  if (poolProps->handleTypes) return CUDA_ERROR_NOT_SUPPORTED;
  struct vg_pool *p = calloc(1, sizeof *p);
  if (!p) return CUDA_ERROR_OUT_OF_MEMORY;
  *p = (struct vg_pool){.reuse = {0, 1, 1, 1}};
  p->handle = vg_handle_new(VG_POOL, p);
  if (!p->handle) {
    free(p);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *pool = p->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  API(VG_INIT);
  struct vg_pool *p = pool_of(pool);
  if (!p || p->is_default) return CUDA_ERROR_INVALID_VALUE;
  vg_handle_drop(pool);
  free(p);
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep) {
  API(VG_INIT);
  (void)minBytesToKeep; // nothing is kept in reserve
  return pool_of(pool) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VG_API CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value) {
  API(VG_INIT);
  struct vg_pool *p = pool_of(pool);
  if (!p || !value) return CUDA_ERROR_INVALID_VALUE;
  if ((int)attr >= 1 && (int)attr <= 3) {
    p->reuse[attr] = *(int *)value != 0;
    return CUDA_SUCCESS;
  }
  if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
    p->release_threshold = *(cuuint64_t *)value;
    return CUDA_SUCCESS;
  }
  bool high = attr == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH || attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH;
  if (!high || *(cuuint64_t *)value) return CUDA_ERROR_INVALID_VALUE; // the marks can only be reset
  p->used_high = p->used;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void *value) {
  API(VG_INIT);
  struct vg_pool *p = pool_of(pool);
  if (!p || !value) return CUDA_ERROR_INVALID_VALUE;
  if ((int)attr >= 1 && (int)attr <= 3) *(int *)value = p->reuse[attr];
  else if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) *(cuuint64_t *)value = p->release_threshold;
  else if (attr == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT || attr == CU_MEMPOOL_ATTR_USED_MEM_CURRENT) *(cuuint64_t *)value = p->used;
  else if (attr == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH || attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH) *(cuuint64_t *)value = p->used_high;
  else return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count) {
  API(VG_INIT);
  if (!pool_of(pool) || (count && !map)) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; i++)
    if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || map[i].location.id) return CUDA_ERROR_INVALID_DEVICE;
  return CUDA_SUCCESS;
}

VG_API CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool memPool, CUmemLocation *location) {
  API(VG_INIT);
  if (!flags || !location || !pool_of(memPool)) return CUDA_ERROR_INVALID_VALUE;
  *flags = (CUmemAccess_flags)(location->type == CU_MEM_LOCATION_TYPE_DEVICE && !location->id ? 3 : 0);
  return CUDA_SUCCESS;
}

// ---- leaks ----

struct leaks {
  const void *owner; // NULL: anybody's
  uint64_t count, bytes, first_serial, first_size;
};

static void count_leak(const struct vg_alloc *a, void *arg) {
  struct leaks *l = arg;
  if (a->kind != VG_MEM_DEVICE || (l->owner && a->owner != l->owner)) return;
  if (!l->count++ || a->serial < l->first_serial) l->first_serial = a->serial, l->first_size = a->size;
  l->bytes += a->size;
}

static void say_leaks(const void *owner, const char *when) {
  struct leaks l = {.owner = owner};
  vg_mem_each(count_leak, &l);
  if (l.count && vg_check_mode())
    vg_report_host(VG_LEAK, "%llu allocations of device memory, %llu bytes, were never freed when %s; the first is #%llu of %llu bytes",
                   (unsigned long long)l.count, (unsigned long long)l.bytes, when, (unsigned long long)l.first_serial, (unsigned long long)l.first_size);
}

void vg_report_leaks(void) { say_leaks(NULL, "the program ended"); }

void vg_context_free_memory(struct vg_context *ctx, bool report) {
  if (report) say_leaks(ctx, "their context was destroyed");
  for (struct vg_alloc *a; (a = vg_mem_first_of(ctx));) {
    enum vg_mem_kind kind = a->kind;
    uint64_t base = a->base, size = a->size;
    if (kind == VG_MEM_DEVICE) leave_pool(a);
    vg_mem_free(base, kind, NULL);
    if (kind == VG_MEM_HOST || kind == VG_MEM_MANAGED) munmap((void *)(uintptr_t)base, size);
  }
}
