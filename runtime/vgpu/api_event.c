// Events. Their time is the host's monotonic clock when they were recorded: what the interpreter took, not what a T4 would take.
#include "runtime/vgpu/api.h"
#include <stdlib.h>

#define EVENT_FLAGS 7u

void vg_event_record_now(struct vg_event *e) {
  if (e->capture) vg_capture_release(e->capture);
  e->capture = NULL;
  e->tail.n = 0;
  e->recorded = true;
  e->ms = vg_now_ms();
}

void vg_event_free(struct vg_event *e) {
  if (e->capture) vg_capture_release(e->capture);
  vg_handle_drop(e->handle);
  vg_set_free(&e->tail);
  free(e);
}

static struct vg_event *event_of(CUevent e) { return vg_handle_get(e, VG_EVENT); }

VG_API CUresult cuEventCreate(CUevent *phEvent, unsigned int Flags) {
  API(VG_CTX);
  bool shared = Flags & CU_EVENT_INTERPROCESS;
  if (!phEvent || (Flags & ~EVENT_FLAGS) || (shared && !(Flags & CU_EVENT_DISABLE_TIMING))) return CUDA_ERROR_INVALID_VALUE;
  if (shared) return CUDA_ERROR_NOT_SUPPORTED;
  struct vg_event *e = calloc(1, sizeof *e);
  if (!e) return CUDA_ERROR_OUT_OF_MEMORY;
  e->ctx = call.ctx, e->flags = Flags;
  e->handle = vg_handle_new(VG_EVENT, e);
  if (!e->handle) {
    free(e);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *phEvent = e->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuEventDestroy_v2(CUevent hEvent) {
  API(VG_CTX_ANY);
  struct vg_event *e = event_of(hEvent);
  if (!e) return CUDA_ERROR_INVALID_HANDLE;
  vg_event_free(e);
  return CUDA_SUCCESS;
}
ALSO(cuEventDestroy_v2, cuEventDestroy);

static CUresult record(struct vg_context *ctx, CUevent hEvent, CUstream hStream, unsigned flags) {
  struct vg_event *e = event_of(hEvent);
  struct vg_stream *s = vg_stream_of(ctx, hStream);
  if (!e || !s || e->ctx != ctx) return CUDA_ERROR_INVALID_HANDLE;
  if (flags > 1) return CUDA_ERROR_INVALID_VALUE;
  if (s->capture && !flags) { // a mark in the graph being captured
    if (s->capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!vg_set_assign(&e->tail, s->tail.v, s->tail.n)) return CUDA_ERROR_OUT_OF_MEMORY;
    s->capture->refs++;
    if (e->capture) vg_capture_release(e->capture);
    e->capture = s->capture;
    e->recorded = false;
    return CUDA_SUCCESS;
  }
  struct vg_work w = {.kind = VG_WORK_RECORD, .event = hEvent};
  return vg_submit(ctx, hStream, &w);
}

VG_API CUresult cuEventRecord(CUevent hEvent, CUstream hStream) {
  API(VG_CTX);
  return record(call.ctx, hEvent, hStream, 0);
}
ALSO(cuEventRecord, cuEventRecord_ptsz);

VG_API CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags) {
  API(VG_CTX);
  return record(call.ctx, hEvent, hStream, flags);
}
ALSO(cuEventRecordWithFlags, cuEventRecordWithFlags_ptsz);

// Joins a stream to the capture that the event marks.
static CUresult join(struct vg_stream *s, struct vg_event *e) {
  struct vg_capture *c = e->capture;
  if (c->ended) return CUDA_ERROR_CAPTURED_EVENT;
  if (c->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (s == s->ctx->null_stream) {
    c->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  if (s->capture && s->capture != c) {
    s->capture->invalid = c->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  if (!s->capture) {
    s->capture = c;
    c->refs++;
    s->tail.n = 0;
  }
  for (size_t i = 0; i < e->tail.n; i++)
    if (!vg_set_add(&s->tail, e->tail.v[i])) return CUDA_ERROR_OUT_OF_MEMORY;
  return CUDA_SUCCESS;
}

VG_API CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags) {
  API(VG_CTX);
  struct vg_event *e = event_of(hEvent);
  struct vg_stream *s = vg_stream_of(call.ctx, hStream);
  if (!e || !s) return CUDA_ERROR_INVALID_HANDLE;
  if (Flags > 1) return CUDA_ERROR_INVALID_VALUE;
  if (e->capture) return join(s, e);
  if (!s->capture) return CUDA_SUCCESS; // recorded work is done work
  if (!Flags) {
    s->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  struct vg_work w = {.kind = VG_WORK_WAIT, .event = hEvent};
  return vg_submit(call.ctx, hStream, &w);
}
ALSO(cuStreamWaitEvent, cuStreamWaitEvent_ptsz);

static CUresult ready(struct vg_event *e) {
  if (!e) return CUDA_ERROR_INVALID_HANDLE;
  if (!e->capture) return CUDA_SUCCESS;
  e->capture->invalid = true;
  return CUDA_ERROR_CAPTURED_EVENT;
}

VG_API CUresult cuEventQuery(CUevent hEvent) {
  API(VG_CTX);
  return ready(event_of(hEvent));
}

VG_API CUresult cuEventSynchronize(CUevent hEvent) {
  API(VG_CTX);
  CUresult r = ready(event_of(hEvent));
  if (!r) vg_print_flush();
  return r;
}

VG_API CUresult cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd) {
  API(VG_CTX);
  struct vg_event *a = event_of(hStart), *b = event_of(hEnd);
  if (!pMilliseconds) return CUDA_ERROR_INVALID_VALUE;
  if (!a || !b || a->ctx != b->ctx) return CUDA_ERROR_INVALID_HANDLE;
  if (a->capture || b->capture) return CUDA_ERROR_CAPTURED_EVENT;
  if (!a->recorded || !b->recorded || ((a->flags | b->flags) & CU_EVENT_DISABLE_TIMING)) return CUDA_ERROR_INVALID_HANDLE;
  *pMilliseconds = (float)(b->ms - a->ms);
  return CUDA_SUCCESS;
}
ALSO(cuEventElapsedTime, cuEventElapsedTime_v2);
