// Executable graphs: instantiation, launch, update as a whole; a picture of a graph.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>

static void free_exec(struct vg_exec *e) {
  if (e->handle) vg_handle_drop(e->handle);
  if (e->graph) vg_graph_free(e->graph);
  free(e->order);
  free(e);
}

static CUresult instantiate(struct vg_context *ctx, CUgraphExec *out, CUgraph hGraph, uint64_t flags) {
  struct vg_graph *g = vg_handle_get(hGraph, VG_GRAPH);
  if (!g || !out || flags & ~(uint64_t)15) return CUDA_ERROR_INVALID_VALUE;
  if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) return CUDA_ERROR_NOT_SUPPORTED;
  struct vg_exec *e = calloc(1, sizeof *e);
  if (!e) return CUDA_ERROR_OUT_OF_MEMORY;
  e->ctx = ctx, e->flags = flags;
  CUresult r = vg_graph_order(g, &e->order); // a cycle is the graph's fault, not memory's
  free(e->order);
  e->order = NULL;
  if (!r && !(e->graph = vg_graph_clone(g, false))) r = CUDA_ERROR_OUT_OF_MEMORY;
  if (!r) r = vg_graph_order(e->graph, &e->order);
  if (!r && !(e->handle = vg_handle_new(VG_EXEC, e))) r = CUDA_ERROR_OUT_OF_MEMORY;
  if (r) {
    free_exec(e);
    return r;
  }
  *out = e->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphInstantiateWithFlags(CUgraphExec *phGraphExec, CUgraph hGraph, unsigned long long flags) {
  API(VG_CTX);
  return instantiate(call.ctx, phGraphExec, hGraph, flags);
}

VG_API CUresult cuGraphInstantiate_v2(CUgraphExec *phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode, char *logBuffer, size_t bufferSize) {
  API(VG_CTX);
  if (phErrorNode) *phErrorNode = NULL;
  if (logBuffer && bufferSize) logBuffer[0] = 0;
  return instantiate(call.ctx, phGraphExec, hGraph, 0);
}
ALSO(cuGraphInstantiate_v2, cuGraphInstantiate);

VG_API CUresult cuGraphInstantiateWithParams(CUgraphExec *phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams) {
  API(VG_CTX);
  if (!instantiateParams) return CUDA_ERROR_INVALID_VALUE;
  instantiateParams->hErrNode_out = NULL;
  CUresult r = instantiate(call.ctx, phGraphExec, hGraph, instantiateParams->flags);
  instantiateParams->result_out = (CUgraphInstantiateResult)(r ? CUDA_GRAPH_INSTANTIATE_ERROR : CUDA_GRAPH_INSTANTIATE_SUCCESS);
  return r;
}
ALSO(cuGraphInstantiateWithParams, cuGraphInstantiateWithParams_ptsz);

static struct vg_exec *exec_of(CUgraphExec e) { return vg_handle_get(e, VG_EXEC); }

VG_API CUresult cuGraphExecGetFlags(CUgraphExec hGraphExec, cuuint64_t *flags) {
  API(VG_INIT);
  struct vg_exec *e = exec_of(hGraphExec);
  if (!e || !flags) return CUDA_ERROR_INVALID_VALUE;
  *flags = e->flags;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphExecDestroy(CUgraphExec hGraphExec) {
  API(VG_INIT);
  struct vg_exec *e = exec_of(hGraphExec);
  if (!e) return CUDA_ERROR_INVALID_VALUE;
  if (!e->running) {
    free_exec(e);
    return CUDA_SUCCESS;
  }
  vg_handle_drop(e->handle); // another thread, while a host node runs
  e->handle = NULL;
  e->destroyed = true;
  return CUDA_SUCCESS;
}

CUresult vg_exec_run(struct vg_context *ctx, struct vg_exec *e) {
  e->running++;
  CUresult r = vg_graph_run(ctx, e->graph, e->order);
  if (!--e->running && e->destroyed) free_exec(e);
  return r;
}

VG_API CUresult cuGraphUpload(CUgraphExec hGraph, CUstream hStream) {
  API(VG_CTX);
  if (!exec_of(hGraph)) return CUDA_ERROR_INVALID_VALUE;
  return vg_stream_of(call.ctx, hStream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
ALSO(cuGraphUpload, cuGraphUpload_ptsz);

VG_API CUresult cuGraphLaunch(CUgraphExec hGraph, CUstream hStream) {
  API(VG_CTX);
  struct vg_exec *e = exec_of(hGraph);
  struct vg_stream *s = vg_stream_of(call.ctx, hStream);
  if (!e) return CUDA_ERROR_INVALID_VALUE;
  if (!s) return CUDA_ERROR_INVALID_HANDLE;
  if (s->capture) { // becomes a child graph of what is captured
    struct vg_work w = {.kind = VG_WORK_GRAPH, .graph = e->graph};
    return vg_submit(call.ctx, hStream, &w);
  }
  CUresult r = s == call.ctx->null_stream ? vg_capture_blocks_legacy(call.ctx) : CUDA_SUCCESS;
  return r ? r : vg_exec_run(call.ctx, e);
}
ALSO(cuGraphLaunch, cuGraphLaunch_ptsz);

// ---- update as a whole ----

struct update {
  CUgraphExecUpdateResult result;
  struct vg_node *at; // the node of the new graph that does not fit
};

// Is node i of both graphs the same but for parameters that may change?
static bool fits(const struct vg_node *old, const struct vg_node *new, struct update *u) {
  u->at = (struct vg_node *)new;
  u->result = (CUgraphExecUpdateResult)CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
  if (old->work.kind != new->work.kind) return false;
  u->result = (CUgraphExecUpdateResult)CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
  if (old->deps.n != new->deps.n) return false;
  for (size_t k = 0; k < old->deps.n; k++)
    if (old->deps.v[k]->mark != new->deps.v[k]->mark) return false;
  u->result = (CUgraphExecUpdateResult)CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
  if (old->work.kind == VG_WORK_KERNEL) return old->work.kernel.cooperative == new->work.kernel.cooperative;
  if (old->work.kind == VG_WORK_COPY)
    return old->work.copy.srcMemoryType == new->work.copy.srcMemoryType && old->work.copy.dstMemoryType == new->work.copy.dstMemoryType;
  return true;
}

static bool all_fit(struct vg_graph *old, struct vg_graph *new, struct update *u) {
  *u = (struct update){.result = (CUgraphExecUpdateResult)CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED};
  if (old->num != new->num) return false;
  for (size_t i = 0; i < old->num; i++) old->nodes[i]->mark = new->nodes[i]->mark = i;
  for (size_t i = 0; i < old->num; i++) {
    if (!fits(old->nodes[i], new->nodes[i], u)) return false;
    if (old->nodes[i]->work.kind == VG_WORK_GRAPH && !all_fit(old->nodes[i]->work.graph, new->nodes[i]->work.graph, u)) return false;
  }
  *u = (struct update){.result = (CUgraphExecUpdateResult)CU_GRAPH_EXEC_UPDATE_SUCCESS};
  return true;
}

static CUresult update(CUgraphExec hExec, CUgraph hGraph, struct update *u) {
  struct vg_exec *e = exec_of(hExec);
  struct vg_graph *g = vg_handle_get(hGraph, VG_GRAPH);
  if (!e || !g || e->running) return CUDA_ERROR_INVALID_VALUE;
  if (!all_fit(e->graph, g, u)) return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  struct vg_graph *fresh = vg_graph_clone(g, false);
  struct vg_node **order = NULL;
  CUresult r = fresh ? vg_graph_order(fresh, &order) : CUDA_ERROR_OUT_OF_MEMORY;
  if (r) {
    if (fresh) vg_graph_free(fresh);
    return r;
  }
  for (size_t i = 0; i < g->num; i++) { // setters still name the nodes that the executable graph was made from
    fresh->nodes[i]->original = e->graph->nodes[i]->original;
    fresh->nodes[i]->disabled = e->graph->nodes[i]->disabled;
  }
  vg_graph_free(e->graph);
  free(e->order);
  e->graph = fresh, e->order = order;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode *hErrorNode_out, CUgraphExecUpdateResult *updateResult_out) {
  API(VG_CTX);
  if (!updateResult_out) return CUDA_ERROR_INVALID_VALUE;
  struct update u = {.result = (CUgraphExecUpdateResult)CU_GRAPH_EXEC_UPDATE_ERROR};
  CUresult r = update(hGraphExec, hGraph, &u);
  *updateResult_out = u.result;
  if (hErrorNode_out) *hErrorNode_out = u.at ? u.at->handle : NULL;
  return r;
}

VG_API CUresult cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphExecUpdateResultInfo *resultInfo) {
  API(VG_CTX);
  if (!resultInfo) return CUDA_ERROR_INVALID_VALUE;
  struct update u = {.result = (CUgraphExecUpdateResult)CU_GRAPH_EXEC_UPDATE_ERROR};
  CUresult r = update(hGraphExec, hGraph, &u);
  *resultInfo = (CUgraphExecUpdateResultInfo){.result = u.result, .errorNode = u.at ? u.at->handle : NULL};
  return r;
}

// ---- a picture ----

static const char *kind_name(const struct vg_work *w) {
  switch (w->kind) {
  case VG_WORK_KERNEL: return w->kernel.f->code->name;
  case VG_WORK_COPY: return "memcpy";
  case VG_WORK_SET: return "memset";
  case VG_WORK_HOST: return "host";
  case VG_WORK_GRAPH: return "graph";
  case VG_WORK_WAIT: return "wait event";
  case VG_WORK_RECORD: return "record event";
  default: return "empty";
  }
}

VG_API CUresult cuGraphDebugDotPrint(CUgraph hGraph, const char *path, unsigned int flags) {
  API(VG_INIT);
  struct vg_graph *g = vg_handle_get(hGraph, VG_GRAPH);
  (void)flags;
  if (!g || !path) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < g->num; i++) {
    g->nodes[i]->mark = i;
    const struct vg_work *w = &g->nodes[i]->work;
    if (w->kind == VG_WORK_KERNEL && vg_function_of(w->kernel.handle) != w->kernel.f) return CUDA_ERROR_INVALID_HANDLE;
  }
  FILE *f = fopen(path, "w");
  if (!f) return CUDA_ERROR_OPERATING_SYSTEM;
  fprintf(f, "digraph g {\n");
  for (size_t i = 0; i < g->num; i++) {
    fprintf(f, "  n%zu [label=\"%zu: %s\"];\n", i, i, kind_name(&g->nodes[i]->work));
    for (size_t k = 0; k < g->nodes[i]->deps.n; k++) fprintf(f, "  n%zu -> n%zu;\n", g->nodes[i]->deps.v[k]->mark, i);
  }
  fprintf(f, "}\n");
  return fclose(f) ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS;
}
