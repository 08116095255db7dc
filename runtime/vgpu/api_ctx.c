// Contexts: the primary one, created ones, the stack of each thread, limits.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>

#define STACK_DEPTH 64

static _Thread_local struct {
  CUcontext v[STACK_DEPTH];
  int n;
} stack;

static _Thread_local CUstreamCaptureMode capture_mode; // GLOBAL is 0

static struct vg_context primary; // lives for ever; active while retained

CUstreamCaptureMode *vg_thread_capture_mode(void) { return &capture_mode; }

struct vg_context *vg_context_of(CUcontext c) { return vg_handle_get(c, VG_CONTEXT); }

struct vg_context *vg_current(void) { return stack.n ? vg_context_of(stack.v[stack.n - 1]) : NULL; }

static bool start(struct vg_context *c) {
  c->sticky = CUDA_SUCCESS;
  memset(c->limit, 0, sizeof c->limit);
  c->limit[0] = 1024;     // stack
  c->limit[1] = 1 << 20;  // printf
  c->limit[2] = 8 << 20;  // heap
  c->limit[3] = 2, c->limit[4] = 2048, c->limit[5] = 64;
  c->cache_config = c->shared_config = 0;
  c->api_version = 3020;
  c->null_stream = vg_stream_make(c, 0, 0);
  c->thread_stream = vg_stream_make(c, 0, 0);
  c->active = c->null_stream && c->thread_stream;
  return c->active;
}

// Frees what the context owns. leaks: say which memory was never freed.
static void stop(struct vg_context *c, bool leaks) {
  vg_print_flush();
  vg_modules_unload_all(c);
  vg_streams_free_all(c);
  c->null_stream = c->thread_stream = NULL;
  vg_context_free_memory(c, leaks);
  c->active = false;
}

VG_API CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev) {
  API(VG_INIT);
  if (!pctx) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  if (!primary.handle) {
    primary.handle = vg_handle_new(VG_CONTEXT, &primary);
    if (!primary.handle) return CUDA_ERROR_OUT_OF_MEMORY;
    primary.primary = true;
    primary.id = vg_next_id();
  }
  if (!primary.active && !start(&primary)) return CUDA_ERROR_OUT_OF_MEMORY;
  primary.refs++;
  *pctx = primary.handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
  API(VG_INIT);
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  if (!primary.active || !primary.refs) return CUDA_ERROR_INVALID_CONTEXT;
  if (!--primary.refs) stop(&primary, true);
  return CUDA_SUCCESS;
}
ALSO(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease);

VG_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
  API(VG_INIT);
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  if (!primary.active) return CUDA_SUCCESS;
  stop(&primary, true);
  return start(&primary) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
ALSO(cuDevicePrimaryCtxReset_v2, cuDevicePrimaryCtxReset);

VG_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags) {
  API(VG_INIT);
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  if (flags & ~0xffu) return CUDA_ERROR_INVALID_VALUE;
  primary.flags = flags;
  return CUDA_SUCCESS;
}
ALSO(cuDevicePrimaryCtxSetFlags_v2, cuDevicePrimaryCtxSetFlags);

VG_API CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active) {
  API(VG_INIT);
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  if (!flags || !active) return CUDA_ERROR_INVALID_VALUE;
  *flags = primary.flags, *active = primary.active;
  return CUDA_SUCCESS;
}

static CUresult create(CUcontext *pctx, unsigned flags, CUdevice dev) {
  if (!pctx || (flags & ~0xffu)) return CUDA_ERROR_INVALID_VALUE;
  if (dev) return CUDA_ERROR_INVALID_DEVICE;
  if (stack.n == STACK_DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
  struct vg_context *c = calloc(1, sizeof *c);
  if (!c) return CUDA_ERROR_OUT_OF_MEMORY;
  c->flags = flags;
  c->id = vg_next_id();
  c->handle = vg_handle_new(VG_CONTEXT, c);
  if (!c->handle || !start(c)) {
    vg_handle_drop(c->handle);
    free(c);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  stack.v[stack.n++] = *pctx = c->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev) {
  API(VG_INIT);
  return create(pctx, flags, dev);
}

VG_API CUresult cuCtxCreate_v3(CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams, unsigned int flags, CUdevice dev) {
  API(VG_INIT);
  if (numParams < 0 || (numParams && !paramsArray)) return CUDA_ERROR_INVALID_VALUE;
  return numParams ? CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY : create(pctx, flags, dev);
}

VG_API CUresult cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags, CUdevice dev) {
  API(VG_INIT);
  if (ctxCreateParams && ctxCreateParams->numExecAffinityParams) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
  if (ctxCreateParams && ctxCreateParams->cigParams) return CUDA_ERROR_NOT_SUPPORTED;
  return create(pctx, flags, dev);
}

VG_API CUresult cuCtxDestroy_v2(CUcontext ctx) {
  API(VG_INIT);
  struct vg_context *c = vg_context_of(ctx);
  if (!c) return CUDA_ERROR_INVALID_CONTEXT;
  if (c->primary) return CUDA_ERROR_INVALID_CONTEXT;
  if (stack.n && stack.v[stack.n - 1] == ctx) stack.n--;
  stop(c, true);
  vg_handle_drop(ctx);
  free(c);
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxPushCurrent_v2(CUcontext ctx) {
  API(VG_INIT);
  if (!vg_context_of(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  if (stack.n == STACK_DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
  stack.v[stack.n++] = ctx;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxPopCurrent_v2(CUcontext *pctx) {
  API(VG_INIT);
  if (!stack.n) return CUDA_ERROR_INVALID_CONTEXT;
  stack.n--;
  if (pctx) *pctx = stack.v[stack.n];
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxSetCurrent(CUcontext ctx) {
  API(VG_INIT);
  if (ctx && !vg_context_of(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  if (stack.n) stack.n--;
  if (ctx) stack.v[stack.n++] = ctx;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetCurrent(CUcontext *pctx) {
  API(VG_INIT);
  if (!pctx) return CUDA_ERROR_INVALID_VALUE;
  *pctx = stack.n ? stack.v[stack.n - 1] : NULL;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetDevice(CUdevice *device) {
  API(VG_CTX_ANY);
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  *device = 0;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext ctx) {
  API(VG_INIT);
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  if (ctx ? !vg_context_of(ctx) : !vg_current()) return CUDA_ERROR_INVALID_CONTEXT;
  *device = 0;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetFlags(unsigned int *flags) {
  API(VG_CTX_ANY);
  if (!flags) return CUDA_ERROR_INVALID_VALUE;
  *flags = call.ctx->flags;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxSetFlags(unsigned int flags) {
  API(VG_CTX_ANY);
  if (flags & ~0xffu) return CUDA_ERROR_INVALID_VALUE;
  call.ctx->flags = flags;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetId(CUcontext ctx, unsigned long long *ctxId) {
  API(VG_INIT);
  struct vg_context *c = ctx ? vg_context_of(ctx) : vg_current();
  if (!ctxId) return CUDA_ERROR_INVALID_VALUE;
  if (!c) return CUDA_ERROR_INVALID_CONTEXT;
  *ctxId = c->id;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxSynchronize(void) {
  API(VG_CTX | VG_UNSAFE);
  vg_print_flush();
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxSynchronize_v2(CUcontext ctx) {
  API(VG_INIT);
  struct vg_context *c = ctx ? vg_context_of(ctx) : vg_current();
  if (!c) return CUDA_ERROR_INVALID_CONTEXT;
  CUresult r = c->sticky ? c->sticky : vg_capture_unsafe();
  if (!r) vg_print_flush();
  return r;
}

VG_API CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  API(VG_CTX);
  if ((int)limit < 0 || (int)limit >= VG_NUM_LIMITS) return CUDA_ERROR_INVALID_VALUE;
  if ((int)limit > 5) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  if (limit == CU_LIMIT_STACK_SIZE && value > 512 * 1024) return CUDA_ERROR_INVALID_VALUE; // a thread's local memory on this architecture
  if (limit == CU_LIMIT_STACK_SIZE) value = (value + 15) & ~(size_t)15;
  call.ctx->limit[limit] = value;
  if (limit == CU_LIMIT_PRINTF_FIFO_SIZE) vg_print_limit(value);
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetLimit(size_t *pvalue, CUlimit limit) {
  API(VG_CTX);
  if (!pvalue || (int)limit < 0 || (int)limit >= VG_NUM_LIMITS) return CUDA_ERROR_INVALID_VALUE;
  if ((int)limit > 5) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  *pvalue = call.ctx->limit[limit];
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetCacheConfig(CUfunc_cache *pconfig) {
  API(VG_CTX);
  if (!pconfig) return CUDA_ERROR_INVALID_VALUE;
  *pconfig = (CUfunc_cache)call.ctx->cache_config;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  API(VG_CTX);
  if ((int)config < 0 || (int)config > 3) return CUDA_ERROR_INVALID_VALUE;
  call.ctx->cache_config = (int)config;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetSharedMemConfig(CUsharedconfig *pConfig) {
  API(VG_CTX);
  if (!pConfig) return CUDA_ERROR_INVALID_VALUE;
  *pConfig = (CUsharedconfig)1; // banks of 4 bytes, always
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
  API(VG_CTX);
  return (int)config < 0 || (int)config > 2 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int *version) {
  API(VG_INIT);
  struct vg_context *c = ctx ? vg_context_of(ctx) : vg_current();
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  if (!c) return CUDA_ERROR_INVALID_CONTEXT;
  *version = c->api_version;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority) {
  API(VG_CTX);
  if (leastPriority) *leastPriority = 0;
  if (greatestPriority) *greatestPriority = -5;
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxResetPersistingL2Cache(void) {
  API(VG_CTX);
  return CUDA_SUCCESS;
}

VG_API CUresult cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags) {
  API(VG_CTX);
  if (Flags) return CUDA_ERROR_INVALID_VALUE;
  return vg_context_of(peerContext) ? CUDA_ERROR_PEER_ACCESS_UNSUPPORTED : CUDA_ERROR_INVALID_CONTEXT;
}

VG_API CUresult cuCtxDisablePeerAccess(CUcontext peerContext) {
  API(VG_CTX);
  return vg_context_of(peerContext) ? CUDA_ERROR_PEER_ACCESS_NOT_ENABLED : CUDA_ERROR_INVALID_CONTEXT;
}

// The functions' names before they got versions.
ALSO(cuCtxDestroy_v2, cuCtxDestroy);
ALSO(cuCtxPushCurrent_v2, cuCtxPushCurrent);
ALSO(cuCtxPopCurrent_v2, cuCtxPopCurrent);

VG_API CUresult cuCtxAttach(CUcontext *pctx, unsigned int flags) {
  API(VG_CTX);
  if (!pctx || flags) return CUDA_ERROR_INVALID_VALUE;
  *pctx = call.ctx->handle;
  return CUDA_SUCCESS;
}
