// Streams. Work is done when it is submitted, in the order of submission: what any stream may observe of the others is then right.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>

struct vg_stream *vg_stream_make(struct vg_context *ctx, unsigned flags, int priority) {
  struct vg_stream *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->ctx = ctx, s->flags = flags, s->priority = priority, s->id = vg_next_id();
  s->handle = vg_handle_new(VG_STREAM, s);
  if (s->handle) return s;
  free(s);
  return NULL;
}

void vg_stream_free(struct vg_stream *s) {
  if (s->capture && s->capture->origin == s->handle) s->capture->invalid = true;
  vg_capture_leave(s);
  vg_handle_drop(s->handle);
  vg_set_free(&s->tail);
  free(s->handles);
  free(s);
}

struct find {
  const struct vg_context *ctx;
  void *found;
};

static bool stream_of_context(void *object, void *arg) {
  struct vg_stream *s = object;
  struct find *f = arg;
  if (s->ctx == f->ctx) f->found = s;
  return !f->found;
}

static bool event_of_context(void *object, void *arg) {
  struct vg_event *e = object;
  struct find *f = arg;
  if (e->ctx == f->ctx) f->found = e;
  return !f->found;
}

void vg_streams_free_all(struct vg_context *ctx) {
  for (struct find f = {ctx, NULL}; vg_handle_each(VG_EVENT, event_of_context, &f), f.found; f.found = NULL) vg_event_free(f.found);
  for (struct find f = {ctx, NULL}; vg_handle_each(VG_STREAM, stream_of_context, &f), f.found; f.found = NULL) vg_stream_free(f.found);
}

struct vg_stream *vg_stream_of(struct vg_context *ctx, CUstream s) {
  if (!s || s == CU_STREAM_LEGACY) return ctx->null_stream;
  if (s == CU_STREAM_PER_THREAD) return ctx->thread_stream;
  struct vg_stream *p = vg_handle_get(s, VG_STREAM);
  return p && p->ctx == ctx ? p : NULL;
}

CUresult vg_run(struct vg_context *ctx, struct vg_work *w) {
  switch (w->kind) {
  case VG_WORK_KERNEL: {
    if (vg_function_of(w->kernel.handle) != w->kernel.f) return CUDA_ERROR_INVALID_HANDLE; // its module was unloaded
    return vg_kernel_run(ctx, &w->kernel);
  }
  case VG_WORK_COPY: return vg_copy_run(&w->copy);
  case VG_WORK_SET: return vg_set_run(&w->set);
  case VG_WORK_HOST: vg_call_user(w->host.fn, w->host.userData); return CUDA_SUCCESS;
  case VG_WORK_RECORD: {
    struct vg_event *e = vg_handle_get(w->event, VG_EVENT);
    if (!e) return CUDA_ERROR_INVALID_HANDLE;
    vg_event_record_now(e);
    return CUDA_SUCCESS;
  }
  case VG_WORK_GRAPH: {
    struct vg_node **order;
    CUresult r = vg_graph_order(w->graph, &order);
    if (!r) r = vg_graph_run(ctx, w->graph, order);
    free(order);
    return r;
  }
  default: return CUDA_SUCCESS; // empty, or a wait for what has happened
  }
}

CUresult vg_submit(struct vg_context *ctx, CUstream stream, struct vg_work *w) {
  struct vg_stream *s = vg_stream_of(ctx, stream);
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if (s->capture) return vg_capture_add(s, w);
  if (s == ctx->null_stream) {
    CUresult r = vg_capture_blocks_legacy(ctx);
    if (r) return r;
  }
  return vg_run(ctx, w);
}

// ---- the functions ----

static CUresult create(struct vg_context *ctx, CUstream *phStream, unsigned flags, int priority) {
  if (!phStream || flags > CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
  struct vg_stream *s = vg_stream_make(ctx, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority);
  if (!s) return CUDA_ERROR_OUT_OF_MEMORY;
  *phStream = s->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuStreamCreate(CUstream *phStream, unsigned int Flags) {
  API(VG_CTX);
  return create(call.ctx, phStream, Flags, 0);
}

VG_API CUresult cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority) {
  API(VG_CTX);
  return create(call.ctx, phStream, flags, priority);
}

VG_API CUresult cuStreamDestroy_v2(CUstream hStream) {
  API(VG_CTX_ANY);
  struct vg_stream *s = vg_handle_get(hStream, VG_STREAM);
  if (!s || s == s->ctx->null_stream || s == s->ctx->thread_stream) return CUDA_ERROR_INVALID_HANDLE;
  vg_stream_free(s);
  return CUDA_SUCCESS;
}
ALSO(cuStreamDestroy_v2, cuStreamDestroy);

// Opens a query of a stream: `s` is the stream, or the function has returned.
#define STREAM_QUERY(pointer)                                                                                                  \
  API(VG_CTX);                                                                                                                 \
  struct vg_stream *s = vg_stream_of(call.ctx, hStream);                                                                       \
  if (!s) return CUDA_ERROR_INVALID_HANDLE;                                                                                    \
  if (!(pointer)) return CUDA_ERROR_INVALID_VALUE

VG_API CUresult cuStreamGetPriority(CUstream hStream, int *priority) {
  STREAM_QUERY(priority);
  *priority = s->priority;
  return CUDA_SUCCESS;
}
ALSO(cuStreamGetPriority, cuStreamGetPriority_ptsz);

VG_API CUresult cuStreamGetFlags(CUstream hStream, unsigned int *flags) {
  STREAM_QUERY(flags);
  *flags = s->flags;
  return CUDA_SUCCESS;
}
ALSO(cuStreamGetFlags, cuStreamGetFlags_ptsz);

VG_API CUresult cuStreamGetId(CUstream hStream, unsigned long long *streamId) {
  STREAM_QUERY(streamId);
  *streamId = s->id;
  return CUDA_SUCCESS;
}
ALSO(cuStreamGetId, cuStreamGetId_ptsz);

VG_API CUresult cuStreamGetDevice(CUstream hStream, CUdevice *device) {
  STREAM_QUERY(device);
  (void)s;
  *device = 0;
  return CUDA_SUCCESS;
}
ALSO(cuStreamGetDevice, cuStreamGetDevice_ptsz);

VG_API CUresult cuStreamGetCtx(CUstream hStream, CUcontext *pctx) {
  STREAM_QUERY(pctx);
  *pctx = s->ctx->handle;
  return CUDA_SUCCESS;
}
ALSO(cuStreamGetCtx, cuStreamGetCtx_ptsz);

VG_API CUresult cuStreamGetCtx_v2(CUstream hStream, CUcontext *pCtx, CUgreenCtx *pGreenCtx) {
  STREAM_QUERY(pCtx && pGreenCtx);
  *pCtx = s->ctx->handle;
  *pGreenCtx = NULL;
  return CUDA_SUCCESS;
}
ALSO(cuStreamGetCtx_v2, cuStreamGetCtx_v2_ptsz);

VG_API CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue *value_out) {
  STREAM_QUERY(value_out);
  if ((int)attr < 1 || (int)attr > 15) return CUDA_ERROR_INVALID_VALUE;
  *value_out = s->attr[attr];
  if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY) value_out->priority = s->priority;
  return CUDA_SUCCESS;
}
ALSO(cuStreamGetAttribute, cuStreamGetAttribute_ptsz);

VG_API CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue *value) {
  STREAM_QUERY(value);
  if ((int)attr < 1 || (int)attr > 15) return CUDA_ERROR_INVALID_VALUE;
  s->attr[attr] = *value;
  if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY) s->priority = value->priority;
  return CUDA_SUCCESS;
}
ALSO(cuStreamSetAttribute, cuStreamSetAttribute_ptsz);

VG_API CUresult cuStreamCopyAttributes(CUstream dst, CUstream src) {
  API(VG_CTX);
  struct vg_stream *d = vg_stream_of(call.ctx, dst), *s = vg_stream_of(call.ctx, src);
  if (!d || !s) return CUDA_ERROR_INVALID_HANDLE;
  memcpy(d->attr, s->attr, sizeof d->attr);
  return CUDA_SUCCESS;
}
ALSO(cuStreamCopyAttributes, cuStreamCopyAttributes_ptsz);

// A captured stream has done nothing yet that one could wait for.
static CUresult not_capturing(struct vg_stream *s) {
  if (s->capture) {
    s->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (s == s->ctx->null_stream) return vg_capture_blocks_legacy(s->ctx);
  return vg_capture_unsafe();
}

VG_API CUresult cuStreamQuery(CUstream hStream) {
  STREAM_QUERY(true);
  return not_capturing(s);
}
ALSO(cuStreamQuery, cuStreamQuery_ptsz);

VG_API CUresult cuStreamSynchronize(CUstream hStream) {
  STREAM_QUERY(true);
  CUresult r = not_capturing(s);
  if (!r) vg_print_flush();
  return r;
}
ALSO(cuStreamSynchronize, cuStreamSynchronize_ptsz);

VG_API CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData) {
  STREAM_QUERY(fn);
  (void)s;
  struct vg_work w = {.kind = VG_WORK_HOST, .host = {.fn = fn, .userData = userData}};
  return vg_submit(call.ctx, hStream, &w);
}
ALSO(cuLaunchHostFunc, cuLaunchHostFunc_ptsz);

VG_API CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags) {
  STREAM_QUERY(callback && !flags);
  if (s->capture) {
    s->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  vg_call_user_stream(callback, hStream, CUDA_SUCCESS, userData);
  return CUDA_SUCCESS;
}
ALSO(cuStreamAddCallback, cuStreamAddCallback_ptsz);
