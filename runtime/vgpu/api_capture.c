// Stream capture: streams that write down their work as a graph instead of doing it.
#include "runtime/vgpu/api.h"
#include <stdlib.h>

static struct vg_capture *captures; // those not ended

void vg_capture_release(struct vg_capture *c) {
  if (--c->refs) return;
  for (struct vg_capture **p = &captures; *p; p = &(*p)->next)
    if (*p == c) {
      *p = c->next;
      break;
    }
  if (!c->ended && !c->into_existing) vg_graph_free(c->graph); // nobody took it
  free(c);
}

void vg_capture_leave(struct vg_stream *s) {
  if (!s->capture) return;
  struct vg_capture *c = s->capture;
  s->capture = NULL;
  s->tail.n = 0;
  vg_capture_release(c);
}

bool vg_capture_uses(const struct vg_graph *g) {
  for (struct vg_capture *c = captures; c; c = c->next)
    if (!c->ended && c->graph == g) return true;
  return false;
}

CUresult vg_capture_add(struct vg_stream *s, const struct vg_work *w) {
  struct vg_capture *c = s->capture;
  if (c->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  struct vg_node *n = vg_graph_add(c->graph, w, s->tail.v, s->tail.n);
  if (!n || !vg_set_assign(&s->tail, &n, 1)) {
    c->invalid = true;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  return CUDA_SUCCESS;
}

CUresult vg_capture_unsafe(void) {
  CUstreamCaptureMode mine = *vg_thread_capture_mode();
  bool forbidden = false;
  for (struct vg_capture *c = captures; c && mine != CU_STREAM_CAPTURE_MODE_RELAXED; c = c->next) {
    bool here = c->thread == vg_thread_id() && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    bool anywhere = mine == CU_STREAM_CAPTURE_MODE_GLOBAL && c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (c->ended || (!here && !anywhere)) continue;
    c->invalid = true;
    forbidden = true;
  }
  return forbidden ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

struct blocked {
  const struct vg_context *ctx;
  bool found;
};

static bool blocks(void *object, void *arg) {
  struct vg_stream *s = object;
  struct blocked *b = arg;
  if (s->ctx == b->ctx && s->capture && s != s->ctx->thread_stream && !(s->flags & CU_STREAM_NON_BLOCKING)) {
    s->capture->invalid = true;
    b->found = true;
  }
  return true;
}

CUresult vg_capture_blocks_legacy(const struct vg_context *ctx) {
  if (!captures) return CUDA_SUCCESS;
  struct blocked b = {ctx, false};
  vg_handle_each(VG_STREAM, blocks, &b);
  return b.found ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

CUresult vg_capture_implicit(struct vg_context *ctx) {
  CUresult r = vg_capture_blocks_legacy(ctx);
  return r ? r : vg_capture_unsafe();
}

// ---- begin and end ----

static CUresult begin(struct vg_context *ctx, CUstream stream, CUstreamCaptureMode mode, struct vg_graph *into, struct vg_node_set *deps) {
  struct vg_stream *s = vg_stream_of(ctx, stream);
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if ((int)mode < 0 || (int)mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
  if (s == ctx->null_stream) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (s->capture) return CUDA_ERROR_ILLEGAL_STATE;
  struct vg_capture *c = calloc(1, sizeof *c);
  struct vg_graph *g = into ? into : vg_graph_new(true);
  if (!c || !g || (deps && !vg_set_assign(&s->tail, deps->v, deps->n))) {
    free(c);
    if (g && !into) vg_graph_free(g);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *c = (struct vg_capture){.id = vg_next_id(), .refs = 1, .graph = g, .origin = s->handle, .mode = mode, .thread = vg_thread_id(),
                           .into_existing = into != NULL, .first = g->num, .next = captures};
  captures = c;
  s->capture = c;
  if (!deps) s->tail.n = 0;
  return CUDA_SUCCESS;
}

VG_API CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) {
  API(VG_CTX);
  return begin(call.ctx, hStream, mode, NULL, NULL);
}
ALSO(cuStreamBeginCapture_v2, cuStreamBeginCapture_v2_ptsz);

VG_API CUresult cuStreamBeginCapture(CUstream hStream) {
  API(VG_CTX);
  return begin(call.ctx, hStream, CU_STREAM_CAPTURE_MODE_GLOBAL, NULL, NULL);
}
ALSO(cuStreamBeginCapture, cuStreamBeginCapture_ptsz);

VG_API CUresult cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
                                            size_t numDependencies, CUstreamCaptureMode mode) {
  API(VG_CTX);
  (void)dependencyData; // ports belong to programmatic launches, which a T4 has not
  struct vg_graph *g = vg_handle_get(hGraph, VG_GRAPH);
  if (!g || (numDependencies && !dependencies)) return CUDA_ERROR_INVALID_VALUE;
  if (vg_capture_uses(g)) return CUDA_ERROR_ILLEGAL_STATE;
  struct vg_node_set deps = {0};
  CUresult r = CUDA_SUCCESS;
  for (size_t i = 0; i < numDependencies && !r; i++) {
    struct vg_node *n = vg_handle_get(dependencies[i], VG_NODE);
    r = !n || n->graph != g ? CUDA_ERROR_INVALID_VALUE : vg_set_add(&deps, n) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (!r) r = begin(call.ctx, hStream, mode, g, &deps);
  vg_set_free(&deps);
  return r;
}
ALSO(cuStreamBeginCaptureToGraph, cuStreamBeginCaptureToGraph_ptsz);

// Marks everything that the nodes in `from` wait for, themselves included. Deps come before their node in the array or were
// linked later; repeat until nothing changes.
static bool all_joined(const struct vg_capture *c, const struct vg_node_set *from) {
  struct vg_graph *g = c->graph;
  for (size_t i = 0; i < g->num; i++) g->nodes[i]->mark = 0;
  for (size_t i = 0; i < from->n; i++) from->v[i]->mark = 1;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = g->num; i-- > 0;) {
      struct vg_node *n = g->nodes[i];
      for (size_t k = 0; n->mark && k < n->deps.n; k++)
        if (!n->deps.v[k]->mark) n->deps.v[k]->mark = 1, changed = true;
    }
  }
  for (size_t i = c->first; i < g->num; i++)
    if (!g->nodes[i]->mark) return false;
  return true;
}

static bool leave_if(void *object, void *arg) {
  struct vg_stream *s = object;
  if (s->capture == arg) vg_capture_leave(s);
  return true;
}

// Ends the capture for all its streams; keeps the caller's reference.
static void finish(struct vg_capture *c) {
  c->refs++;
  vg_handle_each(VG_STREAM, leave_if, c);
}

VG_API CUresult cuStreamEndCapture(CUstream hStream, CUgraph *phGraph) {
  API(VG_CTX);
  struct vg_stream *s = vg_stream_of(call.ctx, hStream);
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if (!phGraph) return CUDA_ERROR_INVALID_VALUE;
  *phGraph = NULL;
  struct vg_capture *c = s->capture;
  if (!c) return CUDA_ERROR_ILLEGAL_STATE;
  if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && c->thread != vg_thread_id()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  if (c->origin != s->handle) {
    c->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  }
  CUresult r = c->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : all_joined(c, &s->tail) ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  struct vg_graph *g = c->graph;
  bool own = !c->into_existing;
  finish(c);
  c->ended = true; // the graph is the user's now, or gone
  c->graph = NULL;
  vg_capture_release(c);
  if (!r) *phGraph = g->handle;
  else if (own) vg_graph_free(g);
  return r;
}
ALSO(cuStreamEndCapture, cuStreamEndCapture_ptsz);

// ---- queries ----

static CUstreamCaptureStatus status_of(const struct vg_stream *s) {
  return (CUstreamCaptureStatus)(!s->capture ? CU_STREAM_CAPTURE_STATUS_NONE
                                             : s->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE);
}

VG_API CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus) {
  API(VG_CTX);
  struct vg_stream *s = vg_stream_of(call.ctx, hStream);
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if (!captureStatus) return CUDA_ERROR_INVALID_VALUE;
  CUresult r = s == call.ctx->null_stream ? vg_capture_blocks_legacy(call.ctx) : CUDA_SUCCESS;
  if (!r) *captureStatus = status_of(s);
  return r;
}
ALSO(cuStreamIsCapturing, cuStreamIsCapturing_ptsz);

static CUresult info(struct vg_context *ctx, CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph, const CUgraphNode **deps,
                     size_t *num) {
  struct vg_stream *s = vg_stream_of(ctx, stream);
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if (!status) return CUDA_ERROR_INVALID_VALUE;
  if (s == ctx->null_stream) {
    CUresult r = vg_capture_blocks_legacy(ctx);
    if (r) return r;
  }
  *status = status_of(s);
  if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  if (id) *id = s->capture->id;
  if (graph) *graph = s->capture->graph->handle;
  if (num) *num = s->tail.n;
  if (!deps) return CUDA_SUCCESS;
  CUgraphNode *h = realloc(s->handles, (s->tail.n + 1) * sizeof *h);
  if (!h) return CUDA_ERROR_OUT_OF_MEMORY;
  for (size_t i = 0; i < s->tail.n; i++) h[i] = s->tail.v[i]->handle;
  *deps = s->handles = h;
  return CUDA_SUCCESS;
}

VG_API CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out) {
  API(VG_CTX);
  return info(call.ctx, hStream, captureStatus_out, id_out, NULL, NULL, NULL);
}
ALSO(cuStreamGetCaptureInfo, cuStreamGetCaptureInfo_ptsz);

VG_API CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out, CUgraph *graph_out,
                                          const CUgraphNode **dependencies_out, size_t *numDependencies_out) {
  API(VG_CTX);
  return info(call.ctx, hStream, captureStatus_out, id_out, graph_out, dependencies_out, numDependencies_out);
}
ALSO(cuStreamGetCaptureInfo_v2, cuStreamGetCaptureInfo_v2_ptsz);

VG_API CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out, CUgraph *graph_out,
                                          const CUgraphNode **dependencies_out, const CUgraphEdgeData **edgeData_out, size_t *numDependencies_out) {
  API(VG_CTX);
  if (edgeData_out) *edgeData_out = NULL;
  return info(call.ctx, hStream, captureStatus_out, id_out, graph_out, dependencies_out, numDependencies_out);
}
ALSO(cuStreamGetCaptureInfo_v3, cuStreamGetCaptureInfo_v3_ptsz);

static CUresult update(struct vg_context *ctx, CUstream stream, const CUgraphNode *deps, size_t num, unsigned flags) {
  struct vg_stream *s = vg_stream_of(ctx, stream);
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES || (num && !deps)) return CUDA_ERROR_INVALID_VALUE;
  if (!s->capture) return CUDA_ERROR_ILLEGAL_STATE;
  for (size_t i = 0; i < num; i++) {
    struct vg_node *n = vg_handle_get(deps[i], VG_NODE);
    if (!n || n->graph != s->capture->graph) return CUDA_ERROR_INVALID_VALUE;
  }
  if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES) s->tail.n = 0;
  for (size_t i = 0; i < num; i++)
    if (!vg_set_add(&s->tail, vg_handle_get(deps[i], VG_NODE))) return CUDA_ERROR_OUT_OF_MEMORY;
  return CUDA_SUCCESS;
}

VG_API CUresult cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode *dependencies, size_t numDependencies, unsigned int flags) {
  API(VG_CTX);
  return update(call.ctx, hStream, dependencies, numDependencies, flags);
}
ALSO(cuStreamUpdateCaptureDependencies, cuStreamUpdateCaptureDependencies_ptsz);

VG_API CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
                                                     size_t numDependencies, unsigned int flags) {
  API(VG_CTX);
  (void)dependencyData;
  return update(call.ctx, hStream, dependencies, numDependencies, flags);
}
ALSO(cuStreamUpdateCaptureDependencies_v2, cuStreamUpdateCaptureDependencies_v2_ptsz);

VG_API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
  API(VG_INIT);
  if (!mode || (int)*mode < 0 || (int)*mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
  CUstreamCaptureMode old = *vg_thread_capture_mode();
  *vg_thread_capture_mode() = *mode;
  *mode = old;
  return CUDA_SUCCESS;
}
