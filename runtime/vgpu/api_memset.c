// cuMemset*: one and two dimensions, 8, 16 and 32 bits, at once or in a stream.
#include "runtime/vgpu/api.h"

static CUresult set(struct vg_context *ctx, CUdeviceptr dst, size_t pitch, unsigned value, unsigned size, size_t width, size_t height,
                    bool now, CUstream stream) {
  struct vg_work w = {.kind = VG_WORK_SET,
                      .set = {.dst = dst, .pitch = pitch, .value = value, .elementSize = size, .width = width, .height = height}};
  if (!now) return vg_submit(ctx, stream, &w);
  CUresult r = vg_capture_implicit(ctx);
  return r ? r : vg_run(ctx, &w);
}

// Defines the four functions of one element size and their per-thread names.
#define MEMSET(name, name2d, type, size)                                                                                       \
  VG_API CUresult cuMemset##name##_v2(CUdeviceptr dstDevice, type value, size_t N) {                                           \
    API(VG_CTX);                                                                                                               \
    return set(call.ctx, dstDevice, 0, value, size, N, 1, true, NULL);                                                         \
  }                                                                                                                            \
  ALSO(cuMemset##name##_v2, cuMemset##name##_v2_ptds);                                                                         \
  VG_API CUresult cuMemset##name##Async(CUdeviceptr dstDevice, type value, size_t N, CUstream hStream) {                       \
    API(VG_CTX);                                                                                                               \
    return set(call.ctx, dstDevice, 0, value, size, N, 1, false, hStream);                                                     \
  }                                                                                                                            \
  ALSO(cuMemset##name##Async, cuMemset##name##Async_ptsz);                                                                     \
  VG_API CUresult cuMemset##name2d##_v2(CUdeviceptr dstDevice, size_t dstPitch, type value, size_t Width, size_t Height) {     \
    API(VG_CTX);                                                                                                               \
    return set(call.ctx, dstDevice, dstPitch, value, size, Width, Height, true, NULL);                                         \
  }                                                                                                                            \
  ALSO(cuMemset##name2d##_v2, cuMemset##name2d##_v2_ptds);                                                                     \
  VG_API CUresult cuMemset##name2d##Async(CUdeviceptr dstDevice, size_t dstPitch, type value, size_t Width, size_t Height,     \
                                          CUstream hStream) {                                                                  \
    API(VG_CTX);                                                                                                               \
    return set(call.ctx, dstDevice, dstPitch, value, size, Width, Height, false, hStream);                                     \
  }                                                                                                                            \
  ALSO(cuMemset##name2d##Async, cuMemset##name2d##Async_ptsz)

MEMSET(D8, D2D8, unsigned char, 1);
MEMSET(D16, D2D16, unsigned short, 2);
MEMSET(D32, D2D32, unsigned int, 4);
