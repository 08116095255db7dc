// Copies and memsets: all are a 3D copy or a 2D set, checked against the allocations before a byte moves.
#include "runtime/vgpu/api.h"
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

// One side of a copy.
struct side {
  int type; // CUmemorytype
  const void *host;
  CUdeviceptr device;
  size_t x, y, z, pitch, slice; // slice: bytes from one 2D plane to the next
  uint8_t *at;                  // host address of the first byte
  uint64_t addr;                // device address of it
  struct vg_alloc *alloc;       // NULL: plain host memory
};

static bool mul_add(size_t a, size_t b, size_t *sum) {
  size_t p;
  return !__builtin_mul_overflow(a, b, &p) && !__builtin_add_overflow(p, *sum, sum);
}

// Is the memory there? A system call that reads it says so instead of a signal. Where it is not permitted all is believed.
static bool readable(const uint8_t *p) {
  char byte;
  struct iovec to = {&byte, 1}, from = {(void *)(uintptr_t)p, 1};
  return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

static bool probe(const uint8_t *p, size_t bytes) {
  static int permitted = -1; // does the probe work at all? racing threads find the same
  if (__atomic_load_n(&permitted, __ATOMIC_RELAXED) < 0) {
    uint8_t here = 0;
    __atomic_store_n(&permitted, readable(&here), __ATOMIC_RELAXED);
  }
  if (!__atomic_load_n(&permitted, __ATOMIC_RELAXED)) return p != NULL;
  return readable(p) && readable(p + bytes - 1);
}

// Finds the memory and checks that all of the region lies in it.
static CUresult resolve(struct side *s, size_t width, size_t height, size_t depth) {
  if (s->type == CU_MEMORYTYPE_ARRAY) return CUDA_ERROR_NOT_SUPPORTED;
  if (s->type != CU_MEMORYTYPE_HOST && s->type != CU_MEMORYTYPE_DEVICE && s->type != CU_MEMORYTYPE_UNIFIED) return CUDA_ERROR_INVALID_VALUE;
  uint64_t base = s->type == CU_MEMORYTYPE_HOST ? (uint64_t)(uintptr_t)s->host : s->device;
  size_t rows = s->slice; // given as rows; 0: as many as are copied
  if (!s->pitch) s->pitch = width + s->x;
  if (s->pitch < width || (s->pitch < width + s->x && (height > 1 || depth > 1 || s->y || s->z))) return CUDA_ERROR_INVALID_VALUE;
  if (!rows) rows = height + s->y;
  if (__builtin_mul_overflow(rows, s->pitch, &s->slice)) return CUDA_ERROR_INVALID_VALUE;
  size_t first = s->x, extent = width;
  if (!mul_add(s->y, s->pitch, &first) || !mul_add(s->z, s->slice, &first)) return CUDA_ERROR_INVALID_VALUE;
  if (!mul_add(height - 1, s->pitch, &extent) || !mul_add(depth - 1, s->slice, &extent)) return CUDA_ERROR_INVALID_VALUE;
  if (!base || __builtin_add_overflow(base, (uint64_t)first, &s->addr)) return CUDA_ERROR_INVALID_VALUE;
  if (vg_mem_range(s->addr, extent, &s->at, &s->alloc)) return CUDA_SUCCESS;
  if (s->type == CU_MEMORYTYPE_DEVICE || vg_mem_find(s->addr)) return CUDA_ERROR_INVALID_VALUE;
  s->at = (uint8_t *)(uintptr_t)s->addr;
  s->alloc = NULL;
  return probe(s->at, extent) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult both(const CUDA_MEMCPY3D *c, struct side *src, struct side *dst) {
  *src = (struct side){.type = (int)c->srcMemoryType, .host = c->srcHost, .device = c->srcDevice, .x = c->srcXInBytes, .y = c->srcY,
                       .z = c->srcZ, .pitch = c->srcPitch, .slice = c->srcHeight};
  *dst = (struct side){.type = (int)c->dstMemoryType, .host = c->dstHost, .device = c->dstDevice, .x = c->dstXInBytes, .y = c->dstY,
                       .z = c->dstZ, .pitch = c->dstPitch, .slice = c->dstHeight};
  if (!c->WidthInBytes || !c->Height || !c->Depth) return CUDA_SUCCESS;
  CUresult r = resolve(src, c->WidthInBytes, c->Height, c->Depth);
  return r ? r : resolve(dst, c->WidthInBytes, c->Height, c->Depth);
}

CUresult vg_copy_check(const CUDA_MEMCPY3D *c) {
  struct side src, dst;
  return both(c, &src, &dst);
}

static void copy_row(const struct side *src, const struct side *dst, size_t from, size_t to, size_t bytes) {
  memmove(dst->at + to, src->at + from, bytes);
  if (!dst->alloc) return;
  if (src->alloc) vg_mem_copy_marks(dst->alloc, dst->addr + to, src->alloc, src->addr + from, bytes);
  else vg_mem_mark(dst->alloc, dst->addr + to, bytes);
}

CUresult vg_copy_run(const CUDA_MEMCPY3D *c) {
  struct side src, dst;
  CUresult r = both(c, &src, &dst);
  if (r || !c->WidthInBytes || !c->Height || !c->Depth) return r;
  bool dense = src.pitch == c->WidthInBytes && dst.pitch == c->WidthInBytes;
  for (size_t z = 0; z < c->Depth; z++) {
    size_t from = z * src.slice, to = z * dst.slice;
    if (dense) {
      copy_row(&src, &dst, from, to, c->WidthInBytes * c->Height);
      continue;
    }
    for (size_t y = 0; y < c->Height; y++) copy_row(&src, &dst, from + y * src.pitch, to + y * dst.pitch, c->WidthInBytes);
  }
  return CUDA_SUCCESS;
}

CUresult vg_set_check(const CUDA_MEMSET_NODE_PARAMS *s) {
  if (s->elementSize != 1 && s->elementSize != 2 && s->elementSize != 4) return CUDA_ERROR_INVALID_VALUE;
  if (s->dst % s->elementSize || (s->height > 1 && s->pitch % s->elementSize)) return CUDA_ERROR_INVALID_VALUE;
  if (!s->width || !s->height) return CUDA_SUCCESS;
  size_t row, extent;
  if (__builtin_mul_overflow(s->width, (size_t)s->elementSize, &row)) return CUDA_ERROR_INVALID_VALUE;
  if (s->height > 1 && s->pitch < row) return CUDA_ERROR_INVALID_VALUE;
  extent = row;
  if (!mul_add(s->height - 1, s->height > 1 ? s->pitch : 0, &extent)) return CUDA_ERROR_INVALID_VALUE;
  return vg_mem_range(s->dst, extent, NULL, NULL) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static void fill(uint8_t *p, size_t n, unsigned size, unsigned value) {
  if (size == 1) {
    memset(p, (int)(value & 255), n);
    return;
  }
  memcpy(p, &value, size); // little-endian, as every host we know
  for (size_t done = size, all = n * size, chunk; done < all; done += chunk) {
    chunk = done < all - done ? done : all - done;
    memcpy(p + done, p, chunk);
  }
}

CUresult vg_set_run(const CUDA_MEMSET_NODE_PARAMS *s) {
  CUresult r = vg_set_check(s);
  if (r || !s->width || !s->height) return r;
  for (size_t y = 0; y < s->height; y++) {
    uint64_t at = s->dst + y * (s->height > 1 ? s->pitch : 0);
    uint8_t *host;
    struct vg_alloc *a;
    if (!vg_mem_range(at, s->width * s->elementSize, &host, &a)) return CUDA_ERROR_INVALID_VALUE;
    fill(host, s->width, s->elementSize, s->value);
    vg_mem_mark(a, at, s->width * s->elementSize);
  }
  return CUDA_SUCCESS;
}

// ---- the functions ----

static CUresult copy_now(struct vg_context *ctx, const CUDA_MEMCPY3D *c) {
  CUresult r = vg_capture_implicit(ctx);
  if (r) return r;
  return vg_copy_run(c);
}

static CUresult copy_later(struct vg_context *ctx, const CUDA_MEMCPY3D *c, CUstream s) {
  struct vg_work w = {.kind = VG_WORK_COPY, .copy = *c};
  return vg_submit(ctx, s, &w);
}

static CUDA_MEMCPY3D line(CUmemorytype dst_type, uint64_t dst, CUmemorytype src_type, uint64_t src, size_t n) {
  CUDA_MEMCPY3D c = {.srcMemoryType = src_type, .dstMemoryType = dst_type, .srcPitch = n, .dstPitch = n, .WidthInBytes = n, .Height = 1, .Depth = 1};
  if (src_type == CU_MEMORYTYPE_HOST) c.srcHost = (const void *)(uintptr_t)src;
  else c.srcDevice = src;
  if (dst_type == CU_MEMORYTYPE_HOST) c.dstHost = (void *)(uintptr_t)dst;
  else c.dstDevice = dst;
  return c;
}

static CUDA_MEMCPY3D plane(const CUDA_MEMCPY2D *p) {
  return (CUDA_MEMCPY3D){.srcXInBytes = p->srcXInBytes, .srcY = p->srcY, .srcMemoryType = p->srcMemoryType, .srcHost = p->srcHost,
                         .srcDevice = p->srcDevice, .srcArray = p->srcArray, .srcPitch = p->srcPitch, .dstXInBytes = p->dstXInBytes,
                         .dstY = p->dstY, .dstMemoryType = p->dstMemoryType, .dstHost = p->dstHost, .dstDevice = p->dstDevice,
                         .dstArray = p->dstArray, .dstPitch = p->dstPitch, .WidthInBytes = p->WidthInBytes, .Height = p->Height, .Depth = 1};
}

#define H CU_MEMORYTYPE_HOST
#define D CU_MEMORYTYPE_DEVICE
#define U CU_MEMORYTYPE_UNIFIED

VG_API CUresult cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount) {
  API(VG_CTX);
  CUDA_MEMCPY3D c = line(D, dstDevice, H, (uintptr_t)srcHost, ByteCount);
  return copy_now(call.ctx, &c);
}
ALSO(cuMemcpyHtoD_v2, cuMemcpyHtoD_v2_ptds);

VG_API CUresult cuMemcpyDtoH_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount) {
  API(VG_CTX);
  CUDA_MEMCPY3D c = line(H, (uintptr_t)dstHost, D, srcDevice, ByteCount);
  CUresult r = copy_now(call.ctx, &c);
  if (!r) vg_print_flush();
  return r;
}
ALSO(cuMemcpyDtoH_v2, cuMemcpyDtoH_v2_ptds);

VG_API CUresult cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount) {
  API(VG_CTX);
  CUDA_MEMCPY3D c = line(D, dstDevice, D, srcDevice, ByteCount);
  return copy_now(call.ctx, &c);
}
ALSO(cuMemcpyDtoD_v2, cuMemcpyDtoD_v2_ptds);

VG_API CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount) {
  API(VG_CTX);
  CUDA_MEMCPY3D c = line(U, dst, U, src, ByteCount);
  CUresult r = copy_now(call.ctx, &c);
  if (!r) vg_print_flush();
  return r;
}
ALSO(cuMemcpy, cuMemcpy_ptds);

VG_API CUresult cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount) {
  API(VG_CTX);
  if (!vg_context_of(dstContext) || !vg_context_of(srcContext)) return CUDA_ERROR_INVALID_CONTEXT;
  CUDA_MEMCPY3D c = line(D, dstDevice, D, srcDevice, ByteCount);
  return copy_now(call.ctx, &c);
}
ALSO(cuMemcpyPeer, cuMemcpyPeer_ptds);

VG_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream) {
  API(VG_CTX);
  CUDA_MEMCPY3D c = line(D, dstDevice, H, (uintptr_t)srcHost, ByteCount);
  return copy_later(call.ctx, &c, hStream);
}
ALSO(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync_v2_ptsz);

VG_API CUresult cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  API(VG_CTX);
  CUDA_MEMCPY3D c = line(H, (uintptr_t)dstHost, D, srcDevice, ByteCount);
  return copy_later(call.ctx, &c, hStream);
}
ALSO(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync_v2_ptsz);

VG_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  API(VG_CTX);
  CUDA_MEMCPY3D c = line(D, dstDevice, D, srcDevice, ByteCount);
  return copy_later(call.ctx, &c, hStream);
}
ALSO(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync_v2_ptsz);

VG_API CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream) {
  API(VG_CTX);
  CUDA_MEMCPY3D c = line(U, dst, U, src, ByteCount);
  return copy_later(call.ctx, &c, hStream);
}
ALSO(cuMemcpyAsync, cuMemcpyAsync_ptsz);

VG_API CUresult cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount,
                                  CUstream hStream) {
  API(VG_CTX);
  if (!vg_context_of(dstContext) || !vg_context_of(srcContext)) return CUDA_ERROR_INVALID_CONTEXT;
  CUDA_MEMCPY3D c = line(D, dstDevice, D, srcDevice, ByteCount);
  return copy_later(call.ctx, &c, hStream);
}
ALSO(cuMemcpyPeerAsync, cuMemcpyPeerAsync_ptsz);

VG_API CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *pCopy) {
  API(VG_CTX);
  if (!pCopy) return CUDA_ERROR_INVALID_VALUE;
  CUDA_MEMCPY3D c = plane(pCopy);
  return copy_now(call.ctx, &c);
}
ALSO(cuMemcpy2D_v2, cuMemcpy2D_v2_ptds);
ALSO(cuMemcpy2D_v2, cuMemcpy2DUnaligned_v2);
ALSO(cuMemcpy2D_v2, cuMemcpy2DUnaligned_v2_ptds);

VG_API CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *pCopy, CUstream hStream) {
  API(VG_CTX);
  if (!pCopy) return CUDA_ERROR_INVALID_VALUE;
  CUDA_MEMCPY3D c = plane(pCopy);
  return copy_later(call.ctx, &c, hStream);
}
ALSO(cuMemcpy2DAsync_v2, cuMemcpy2DAsync_v2_ptsz);

VG_API CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *pCopy) {
  API(VG_CTX);
  return pCopy ? copy_now(call.ctx, pCopy) : CUDA_ERROR_INVALID_VALUE;
}
ALSO(cuMemcpy3D_v2, cuMemcpy3D_v2_ptds);

VG_API CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *pCopy, CUstream hStream) {
  API(VG_CTX);
  return pCopy ? copy_later(call.ctx, pCopy, hStream) : CUDA_ERROR_INVALID_VALUE;
}
ALSO(cuMemcpy3DAsync_v2, cuMemcpy3DAsync_v2_ptsz);
