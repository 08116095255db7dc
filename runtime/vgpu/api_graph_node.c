// Graph nodes: made from their parameters, read, changed; in graphs and in executable graphs.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>

static struct vg_node *node_of(CUgraphNode n, enum vg_work_kind kind) {
  struct vg_node *p = vg_handle_get(n, VG_NODE);
  return p && p->work.kind == kind ? p : NULL;
}

// ---- work from parameters. What the work owns is freed by the caller after it has been copied. ----

static CUresult kernel_work(struct vg_context *ctx, struct vg_work *w, const CUDA_KERNEL_NODE_PARAMS *p) {
  if (!p) return CUDA_ERROR_INVALID_VALUE;
  struct vg_function *f = p->func ? vg_function_of(p->func) : vg_handle_get(p->kern, VG_KERNEL);
  if (!f) return p->func || p->kern ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
  *w = (struct vg_work){.kind = VG_WORK_KERNEL,
                        .kernel = {.f = f, .handle = f->handle, .kernel = p->func ? NULL : p->kern,
                                   .grid = {p->gridDimX, p->gridDimY, p->gridDimZ},
                                   .block = {p->blockDimX, p->blockDimY, p->blockDimZ}, .shared = p->sharedMemBytes}};
  CUresult r = vg_kernel_check(ctx, &w->kernel);
  return r ? r : vg_kernel_pack(f, p->kernelParams, p->extra, &w->kernel.params);
}

static CUDA_KERNEL_NODE_PARAMS widen(const CUDA_KERNEL_NODE_PARAMS_v1 *p) {
  CUDA_KERNEL_NODE_PARAMS q = {.func = p->func, .gridDimX = p->gridDimX, .gridDimY = p->gridDimY, .gridDimZ = p->gridDimZ,
                               .blockDimX = p->blockDimX, .blockDimY = p->blockDimY, .blockDimZ = p->blockDimZ,
                               .sharedMemBytes = p->sharedMemBytes, .kernelParams = p->kernelParams, .extra = p->extra};
  return q;
}

static CUresult copy_work(struct vg_work *w, const CUDA_MEMCPY3D *p) {
  if (!p) return CUDA_ERROR_INVALID_VALUE;
  *w = (struct vg_work){.kind = VG_WORK_COPY, .copy = *p};
  return vg_copy_check(p);
}

static CUresult set_work(struct vg_work *w, const CUDA_MEMSET_NODE_PARAMS *p) {
  if (!p) return CUDA_ERROR_INVALID_VALUE;
  *w = (struct vg_work){.kind = VG_WORK_SET, .set = *p};
  return vg_set_check(p);
}

static CUresult host_work(struct vg_work *w, const CUDA_HOST_NODE_PARAMS *p) {
  if (!p || !p->fn) return CUDA_ERROR_INVALID_VALUE;
  *w = (struct vg_work){.kind = VG_WORK_HOST, .host = {.fn = p->fn, .userData = p->userData}};
  return CUDA_SUCCESS;
}

static CUresult graph_work(struct vg_work *w, CUgraph child) {
  struct vg_graph *g = vg_handle_get(child, VG_GRAPH);
  if (!g) return CUDA_ERROR_INVALID_VALUE;
  *w = (struct vg_work){.kind = VG_WORK_GRAPH, .graph = g};
  return CUDA_SUCCESS;
}

static CUresult event_work(struct vg_work *w, enum vg_work_kind kind, CUevent event) {
  if (!vg_handle_get(event, VG_EVENT)) return CUDA_ERROR_INVALID_HANDLE;
  *w = (struct vg_work){.kind = kind, .event = event};
  return CUDA_SUCCESS;
}

static CUresult any_work(struct vg_context *ctx, struct vg_work *w, CUgraphNodeParams *p) {
  if (!p) return CUDA_ERROR_INVALID_VALUE;
  switch ((int)p->type) {
  case CU_GRAPH_NODE_TYPE_KERNEL: {
    CUDA_KERNEL_NODE_PARAMS k;
    memcpy(&k, &p->kernel, sizeof k);
    return kernel_work(ctx, w, &k);
  }
  case CU_GRAPH_NODE_TYPE_MEMCPY: return copy_work(w, &p->memcpy.copyParams);
  case CU_GRAPH_NODE_TYPE_MEMSET: {
    CUDA_MEMSET_NODE_PARAMS s = {.dst = p->memset.dst, .pitch = p->memset.pitch, .value = p->memset.value,
                                 .elementSize = p->memset.elementSize, .width = p->memset.width, .height = p->memset.height};
    return set_work(w, &s);
  }
  case CU_GRAPH_NODE_TYPE_HOST: {
    CUDA_HOST_NODE_PARAMS h = {.fn = p->host.fn, .userData = p->host.userData};
    return host_work(w, &h);
  }
  case CU_GRAPH_NODE_TYPE_GRAPH: return graph_work(w, p->graph.graph);
  case CU_GRAPH_NODE_TYPE_EMPTY: *w = (struct vg_work){.kind = VG_WORK_EMPTY}; return CUDA_SUCCESS;
  case CU_GRAPH_NODE_TYPE_WAIT_EVENT: return event_work(w, VG_WORK_WAIT, p->eventWait.event);
  case CU_GRAPH_NODE_TYPE_EVENT_RECORD: return event_work(w, VG_WORK_RECORD, p->eventRecord.event);
  default: return CUDA_ERROR_NOT_SUPPORTED;
  }
}

// ---- adding ----

// Adds a node; `made` is how making the work went. Frees what the work holds.
static CUresult add(CUgraphNode *out, CUgraph hGraph, const CUgraphNode *deps, size_t num, struct vg_work *w, CUresult made) {
  struct vg_graph *g = vg_handle_get(hGraph, VG_GRAPH);
  struct vg_node_set set = {0};
  CUresult r = made;
  if (!r && (!g || !out || (num && !deps) || (w->kind == VG_WORK_GRAPH && w->graph == g))) r = CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < num && !r; i++) {
    struct vg_node *d = vg_handle_get(deps[i], VG_NODE);
    if (!d || d->graph != g) r = CUDA_ERROR_INVALID_VALUE;
    else if (!vg_set_add(&set, d)) r = CUDA_ERROR_OUT_OF_MEMORY;
    else if (set.n != i + 1) r = CUDA_ERROR_INVALID_VALUE; // the same twice
  }
  struct vg_node *n = r ? NULL : vg_graph_add(g, w, set.v, set.n);
  if (!r && !n) r = CUDA_ERROR_OUT_OF_MEMORY;
  if (!r) *out = n->handle;
  if (w->kind == VG_WORK_KERNEL) free(w->kernel.params);
  vg_set_free(&set);
  return r;
}

VG_API CUresult cuGraphAddKernelNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                        const CUDA_KERNEL_NODE_PARAMS *nodeParams) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = kernel_work(call.ctx, &w, nodeParams);
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddKernelNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                     const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
  API(VG_CTX);
  if (!nodeParams) return CUDA_ERROR_INVALID_VALUE;
  CUDA_KERNEL_NODE_PARAMS p = widen(nodeParams);
  struct vg_work w = {0};
  CUresult r = kernel_work(call.ctx, &w, &p);
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddMemcpyNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                     const CUDA_MEMCPY3D *copyParams, CUcontext ctx) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = vg_context_of(ctx) ? copy_work(&w, copyParams) : CUDA_ERROR_INVALID_VALUE;
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddMemsetNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                     const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = vg_context_of(ctx) ? set_work(&w, memsetParams) : CUDA_ERROR_INVALID_VALUE;
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddHostNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                   const CUDA_HOST_NODE_PARAMS *nodeParams) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = host_work(&w, nodeParams);
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddChildGraphNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                         CUgraph childGraph) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = graph_work(&w, childGraph);
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddEmptyNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies) {
  API(VG_INIT);
  struct vg_work w = {.kind = VG_WORK_EMPTY};
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, CUDA_SUCCESS);
}

VG_API CUresult cuGraphAddEventRecordNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                          CUevent event) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = event_work(&w, VG_WORK_RECORD, event);
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddEventWaitNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                                        CUevent event) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = event_work(&w, VG_WORK_WAIT, event);
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddNode(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, size_t numDependencies,
                               CUgraphNodeParams *nodeParams) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = any_work(call.ctx, &w, nodeParams);
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

VG_API CUresult cuGraphAddNode_v2(CUgraphNode *phGraphNode, CUgraph hGraph, const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData,
                                  size_t numDependencies, CUgraphNodeParams *nodeParams) {
  API(VG_CTX);
  (void)dependencyData;
  struct vg_work w = {0};
  CUresult r = any_work(call.ctx, &w, nodeParams);
  return add(phGraphNode, hGraph, dependencies, numDependencies, &w, r);
}

// ---- changing ----

// Gives a node new work of its own kind. Frees what the work holds.
static CUresult change(struct vg_node *n, struct vg_work *w, CUresult made) {
  struct vg_work own = {0};
  CUresult r = made;
  if (!r && (!n || n->work.kind != w->kind)) r = CUDA_ERROR_INVALID_VALUE;
  if (!r) r = vg_work_copy(&own, w);
  if (!r) {
    if (own.kind == VG_WORK_KERNEL) own.kernel.cooperative = n->work.kernel.cooperative, own.kernel.priority = n->work.kernel.priority;
    vg_work_free(&n->work);
    n->work = own;
    if (own.kind == VG_WORK_GRAPH) own.graph->parent = n;
  }
  if (w->kind == VG_WORK_KERNEL) free(w->kernel.params);
  return r;
}

// The node of an executable graph that was made from this one, in child graphs too.
static struct vg_node *find_made(struct vg_graph *g, CUgraphNode original) {
  for (size_t i = 0; i < g->num; i++) {
    if (g->nodes[i]->original == original) return g->nodes[i];
    struct vg_node *in = g->nodes[i]->work.kind == VG_WORK_GRAPH ? find_made(g->nodes[i]->work.graph, original) : NULL;
    if (in) return in;
  }
  return NULL;
}

static struct vg_node *made_from(CUgraphExec hExec, CUgraphNode hNode) {
  struct vg_exec *e = vg_handle_get(hExec, VG_EXEC);
  return e && hNode ? find_made(e->graph, hNode) : NULL;
}

// Defines the setters of one kind, for a node and for its image in an executable graph.
#define SETTERS(set_name, exec_name, type, arg, make, ...)                                                                     \
  VG_API CUresult set_name(CUgraphNode hNode, type arg) {                                                                      \
    API(VG_CTX);                                                                                                               \
    struct vg_work w = {0};                                                                                                    \
    CUresult r = make;                                                                                                         \
    return change(vg_handle_get(hNode, VG_NODE), &w, r);                                                                       \
  }                                                                                                                            \
  VG_API CUresult exec_name(CUgraphExec hGraphExec, CUgraphNode hNode, type arg __VA_ARGS__) {                                 \
    API(VG_CTX);                                                                                                               \
    struct vg_work w = {0};                                                                                                    \
    CUresult r = make;                                                                                                         \
    return change(made_from(hGraphExec, hNode), &w, r);                                                                        \
  }

SETTERS(cuGraphKernelNodeSetParams_v2, cuGraphExecKernelNodeSetParams_v2, const CUDA_KERNEL_NODE_PARAMS *, nodeParams,
        kernel_work(call.ctx, &w, nodeParams))
SETTERS(cuGraphHostNodeSetParams, cuGraphExecHostNodeSetParams, const CUDA_HOST_NODE_PARAMS *, nodeParams, host_work(&w, nodeParams))
SETTERS(cuGraphEventRecordNodeSetEvent, cuGraphExecEventRecordNodeSetEvent, CUevent, event, event_work(&w, VG_WORK_RECORD, event))
SETTERS(cuGraphEventWaitNodeSetEvent, cuGraphExecEventWaitNodeSetEvent, CUevent, event, event_work(&w, VG_WORK_WAIT, event))
SETTERS(cuGraphNodeSetParams, cuGraphExecNodeSetParams, CUgraphNodeParams *, nodeParams, any_work(call.ctx, &w, nodeParams))

static CUresult change_v1(struct vg_context *ctx, struct vg_node *n, const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
  if (!nodeParams) return CUDA_ERROR_INVALID_VALUE;
  CUDA_KERNEL_NODE_PARAMS p = widen(nodeParams);
  struct vg_work w = {0};
  CUresult r = kernel_work(ctx, &w, &p);
  return change(n, &w, r);
}

VG_API CUresult cuGraphKernelNodeSetParams(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
  API(VG_CTX);
  return change_v1(call.ctx, vg_handle_get(hNode, VG_NODE), nodeParams);
}

VG_API CUresult cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
  API(VG_CTX);
  return change_v1(call.ctx, made_from(hGraphExec, hNode), nodeParams);
}

VG_API CUresult cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUDA_MEMCPY3D *nodeParams) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = copy_work(&w, nodeParams);
  return change(vg_handle_get(hNode, VG_NODE), &w, r);
}

VG_API CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode, const CUDA_MEMCPY3D *copyParams, CUcontext ctx) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = vg_context_of(ctx) ? copy_work(&w, copyParams) : CUDA_ERROR_INVALID_VALUE;
  return change(made_from(hGraphExec, hNode), &w, r);
}

VG_API CUresult cuGraphMemsetNodeSetParams(CUgraphNode hNode, const CUDA_MEMSET_NODE_PARAMS *nodeParams) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = set_work(&w, nodeParams);
  return change(vg_handle_get(hNode, VG_NODE), &w, r);
}

VG_API CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode, const CUDA_MEMSET_NODE_PARAMS *memsetParams, CUcontext ctx) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = vg_context_of(ctx) ? set_work(&w, memsetParams) : CUDA_ERROR_INVALID_VALUE;
  return change(made_from(hGraphExec, hNode), &w, r);
}

VG_API CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode, CUgraph childGraph) {
  API(VG_CTX);
  struct vg_work w = {0};
  CUresult r = graph_work(&w, childGraph);
  return change(made_from(hGraphExec, hNode), &w, r);
}

static struct vg_node *image_of(CUgraphExec hExec, CUgraphNode hNode) {
  struct vg_node *n = made_from(hExec, hNode);
  bool may = n && (n->work.kind == VG_WORK_KERNEL || n->work.kind == VG_WORK_COPY || n->work.kind == VG_WORK_SET);
  return may ? n : NULL; // only these can be switched off
}

VG_API CUresult cuGraphNodeSetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int isEnabled) {
  API(VG_INIT);
  struct vg_node *n = image_of(hGraphExec, hNode);
  if (!n) return CUDA_ERROR_INVALID_VALUE;
  n->disabled = !isEnabled;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphNodeGetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int *isEnabled) {
  API(VG_INIT);
  struct vg_node *n = image_of(hGraphExec, hNode);
  if (!n || !isEnabled) return CUDA_ERROR_INVALID_VALUE;
  *isEnabled = !n->disabled;
  return CUDA_SUCCESS;
}

// ---- reading ----

VG_API CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS *nodeParams) {
  API(VG_INIT);
  struct vg_node *n = node_of(hNode, VG_WORK_KERNEL);
  if (!n || !nodeParams) return CUDA_ERROR_INVALID_VALUE;
  const struct vg_kernel_work *k = &n->work.kernel;
  *nodeParams = (CUDA_KERNEL_NODE_PARAMS){.func = k->kernel ? NULL : k->handle, .gridDimX = k->grid[0], .gridDimY = k->grid[1],
                                          .gridDimZ = k->grid[2], .blockDimX = k->block[0], .blockDimY = k->block[1],
                                          .blockDimZ = k->block[2], .sharedMemBytes = k->shared, .kernelParams = k->pointers,
                                          .kern = k->kernel};
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphKernelNodeGetParams(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS_v1 *nodeParams) {
  API(VG_INIT);
  struct vg_node *n = node_of(hNode, VG_WORK_KERNEL);
  if (!n || !nodeParams) return CUDA_ERROR_INVALID_VALUE;
  const struct vg_kernel_work *k = &n->work.kernel;
  *nodeParams = (CUDA_KERNEL_NODE_PARAMS_v1){.func = k->handle, .gridDimX = k->grid[0], .gridDimY = k->grid[1], .gridDimZ = k->grid[2],
                                             .blockDimX = k->block[0], .blockDimY = k->block[1], .blockDimZ = k->block[2],
                                             .sharedMemBytes = k->shared, .kernelParams = k->pointers};
  return CUDA_SUCCESS;
}

// Defines the reader of one kind.
#define GETTER(name, type, kind, field)                                                                                        \
  VG_API CUresult name(CUgraphNode hNode, type *out) {                                                                         \
    API(VG_INIT);                                                                                                              \
    struct vg_node *n = node_of(hNode, kind);                                                                                  \
    if (!n || !out) return CUDA_ERROR_INVALID_VALUE;                                                                           \
    *out = n->work.field;                                                                                                      \
    return CUDA_SUCCESS;                                                                                                       \
  }

GETTER(cuGraphMemcpyNodeGetParams, CUDA_MEMCPY3D, VG_WORK_COPY, copy)
GETTER(cuGraphMemsetNodeGetParams, CUDA_MEMSET_NODE_PARAMS, VG_WORK_SET, set)
GETTER(cuGraphHostNodeGetParams, CUDA_HOST_NODE_PARAMS, VG_WORK_HOST, host)
GETTER(cuGraphEventRecordNodeGetEvent, CUevent, VG_WORK_RECORD, event)
GETTER(cuGraphEventWaitNodeGetEvent, CUevent, VG_WORK_WAIT, event)
GETTER(cuGraphChildGraphNodeGetGraph, CUgraph, VG_WORK_GRAPH, graph->handle)

VG_API CUresult cuGraphKernelNodeGetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr, CUkernelNodeAttrValue *value_out) {
  API(VG_INIT);
  struct vg_node *n = node_of(hNode, VG_WORK_KERNEL);
  if (!n || !value_out || (int)attr < 1 || (int)attr > 16) return CUDA_ERROR_INVALID_VALUE;
  memset(value_out, 0, sizeof *value_out);
  if (attr == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) value_out->cooperative = n->work.kernel.cooperative;
  if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY) value_out->priority = n->work.kernel.priority;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphKernelNodeSetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr, const CUkernelNodeAttrValue *value) {
  API(VG_INIT);
  struct vg_node *n = node_of(hNode, VG_WORK_KERNEL);
  if (!n || !value || (int)attr < 1 || (int)attr > 16) return CUDA_ERROR_INVALID_VALUE;
  if (attr == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) n->work.kernel.cooperative = value->cooperative != 0;
  if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY) n->work.kernel.priority = value->priority;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode dst, CUgraphNode src) {
  API(VG_INIT);
  struct vg_node *d = node_of(dst, VG_WORK_KERNEL), *s = node_of(src, VG_WORK_KERNEL);
  if (!d || !s) return CUDA_ERROR_INVALID_VALUE;
  d->work.kernel.cooperative = s->work.kernel.cooperative;
  d->work.kernel.priority = s->work.kernel.priority;
  return CUDA_SUCCESS;
}
