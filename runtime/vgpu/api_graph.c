// Graphs: nodes, edges, clones, order, execution of a list of nodes.
#include "runtime/vgpu/api.h"
#include <stdlib.h>
#include <string.h>

bool vg_set_add(struct vg_node_set *s, struct vg_node *n) {
  for (size_t i = 0; i < s->n; i++)
    if (s->v[i] == n) return true;
  if (s->n == s->cap) {
    size_t cap = s->cap ? s->cap * 2 : 4;
    struct vg_node **v = realloc(s->v, cap * sizeof *v);
    if (!v) return false;
    s->v = v, s->cap = cap;
  }
  s->v[s->n++] = n;
  return true;
}

bool vg_set_assign(struct vg_node_set *s, struct vg_node *const *v, size_t n) {
  s->n = 0;
  for (size_t i = 0; i < n; i++)
    if (!vg_set_add(s, v[i])) return false;
  return true;
}

void vg_set_free(struct vg_node_set *s) {
  free(s->v);
  *s = (struct vg_node_set){0};
}

static bool set_remove(struct vg_node_set *s, const struct vg_node *n) {
  for (size_t i = 0; i < s->n; i++) {
    if (s->v[i] != n) continue;
    memmove(s->v + i, s->v + i + 1, (s->n - i - 1) * sizeof *s->v);
    s->n--;
    return true;
  }
  return false;
}

// ---- work that a node owns ----

static CUresult copy_kernel(struct vg_kernel_work *to, const struct vg_kernel_work *from) {
  uint32_t bytes = from->f->code->param_bytes, n = from->f->code->num_params, at = 0, i = 0;
  *to = *from;
  to->params = calloc(1, bytes + 16);
  to->pointers = calloc(n + 1, sizeof *to->pointers);
  if (!to->params || !to->pointers) {
    free(to->params);
    free(to->pointers);
    to->params = NULL, to->pointers = NULL;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (bytes && from->params) memcpy(to->params, from->params, bytes);
  for (const struct ptx_var *p = from->f->code->ptx->params; p && i < n; p = p->next) {
    if (p->align > 1) at = (at + p->align - 1) / p->align * p->align;
    to->pointers[i++] = to->params + at;
    at += (uint32_t)p->size;
  }
  return CUDA_SUCCESS;
}

CUresult vg_work_copy(struct vg_work *to, const struct vg_work *from) {
  *to = *from;
  if (from->kind == VG_WORK_KERNEL) {
    if (vg_function_of(from->kernel.handle) != from->kernel.f) return CUDA_ERROR_INVALID_HANDLE;
    return copy_kernel(&to->kernel, &from->kernel);
  }
  if (from->kind != VG_WORK_GRAPH) return CUDA_SUCCESS;
  to->graph = vg_graph_clone(from->graph, true);
  return to->graph ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void vg_work_free(struct vg_work *w) {
  if (w->kind == VG_WORK_KERNEL) {
    free(w->kernel.params);
    free(w->kernel.pointers);
  }
  if (w->kind == VG_WORK_GRAPH && w->graph) vg_graph_free(w->graph);
}

// ---- graphs ----

struct vg_graph *vg_graph_new(bool with_handle) {
  struct vg_graph *g = calloc(1, sizeof *g);
  if (!g || !with_handle) return g;
  g->handle = vg_handle_new(VG_GRAPH, g);
  if (g->handle) return g;
  free(g);
  return NULL;
}

static void free_node(struct vg_node *n) {
  if (n->handle) vg_handle_drop(n->handle);
  vg_work_free(&n->work);
  vg_set_free(&n->deps);
  free(n);
}

void vg_graph_free(struct vg_graph *g) {
  for (size_t i = 0; i < g->num; i++) free_node(g->nodes[i]);
  if (g->handle) vg_handle_drop(g->handle);
  free(g->nodes);
  free(g);
}

static struct vg_node *add_empty(struct vg_graph *g, bool with_handle) {
  if (g->num == g->cap) {
    size_t cap = g->cap ? g->cap * 2 : 16;
    struct vg_node **v = realloc(g->nodes, cap * sizeof *v);
    if (!v) return NULL;
    g->nodes = v, g->cap = cap;
  }
  struct vg_node *n = calloc(1, sizeof *n);
  if (!n) return NULL;
  n->graph = g;
  n->work.kind = VG_WORK_EMPTY;
  if (with_handle && !(n->handle = vg_handle_new(VG_NODE, n))) {
    free(n);
    return NULL;
  }
  g->nodes[g->num++] = n;
  return n;
}

struct vg_node *vg_graph_add(struct vg_graph *g, const struct vg_work *w, struct vg_node *const *deps, size_t num_deps) {
  struct vg_node *n = add_empty(g, true);
  if (!n) return NULL;
  CUresult r = vg_work_copy(&n->work, w);
  if (r) n->work.kind = VG_WORK_EMPTY;
  if (!r && n->work.kind == VG_WORK_GRAPH) n->work.graph->parent = n;
  if (!r && vg_set_assign(&n->deps, deps, num_deps)) return n;
  g->num--;
  free_node(n);
  return NULL;
}

static bool clone_into(struct vg_graph *to, const struct vg_graph *from, bool with_handles) {
  for (size_t i = 0; i < from->num; i++) from->nodes[i]->mark = i;
  for (size_t i = 0; i < from->num; i++) {
    struct vg_node *n = add_empty(to, with_handles), *o = from->nodes[i];
    if (!n) return false;
    if (vg_work_copy(&n->work, &o->work)) {
      n->work.kind = VG_WORK_EMPTY;
      return false;
    }
    if (n->work.kind == VG_WORK_GRAPH) n->work.graph->parent = n;
    n->original = o->handle;
    n->disabled = o->disabled;
  }
  for (size_t i = 0; i < from->num; i++)
    for (size_t k = 0; k < from->nodes[i]->deps.n; k++)
      if (!vg_set_add(&to->nodes[i]->deps, to->nodes[from->nodes[i]->deps.v[k]->mark])) return false;
  return true;
}

struct vg_graph *vg_graph_clone(const struct vg_graph *g, bool with_handles) {
  struct vg_graph *c = vg_graph_new(with_handles);
  if (c && !clone_into(c, g, with_handles)) {
    vg_graph_free(c);
    return NULL;
  }
  return c;
}

// Depth first over what each node waits for; mark: 0 new, 1 + the next dependency to look at, SIZE_MAX done.
CUresult vg_graph_order(struct vg_graph *g, struct vg_node ***out) {
  struct vg_node **order = malloc((g->num + 1) * sizeof *order), **path = malloc((g->num + 1) * sizeof *path);
  size_t done = 0, depth = 0;
  CUresult r = order && path ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  for (size_t i = 0; i < g->num; i++) g->nodes[i]->mark = 0;
  for (size_t i = 0; i < g->num && !r; i++) {
    if (g->nodes[i]->mark) continue;
    path[depth++] = g->nodes[i];
    g->nodes[i]->mark = 1;
    while (depth && !r) {
      struct vg_node *n = path[depth - 1];
      if (n->mark - 1 == n->deps.n) {
        n->mark = SIZE_MAX;
        order[done++] = n;
        depth--;
        continue;
      }
      struct vg_node *d = n->deps.v[n->mark++ - 1];
      if (d->mark && d->mark != SIZE_MAX) r = CUDA_ERROR_INVALID_VALUE; // a cycle
      else if (!d->mark) d->mark = 1, path[depth++] = d;
    }
  }
  free(path);
  if (r) {
    free(order);
    order = NULL;
  }
  *out = order;
  return r;
}

CUresult vg_graph_run(struct vg_context *ctx, struct vg_graph *g, struct vg_node **order) {
  for (size_t i = 0; i < g->num; i++) {
    if (order[i]->disabled) continue;
    CUresult r = vg_run(ctx, &order[i]->work);
    if (r) return r;
    if (ctx->sticky) return CUDA_SUCCESS; // a kernel faulted: the rest is not run, the next call tells
  }
  return CUDA_SUCCESS;
}

// ---- the functions ----

static struct vg_graph *graph_of(CUgraph g) { return vg_handle_get(g, VG_GRAPH); }
static struct vg_node *node_of(CUgraphNode n) { return vg_handle_get(n, VG_NODE); }

VG_API CUresult cuGraphCreate(CUgraph *phGraph, unsigned int flags) {
  API(VG_INIT);
  if (!phGraph || flags) return CUDA_ERROR_INVALID_VALUE;
  struct vg_graph *g = vg_graph_new(true);
  if (!g) return CUDA_ERROR_OUT_OF_MEMORY;
  *phGraph = g->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphDestroy(CUgraph hGraph) {
  API(VG_INIT);
  struct vg_graph *g = graph_of(hGraph);
  if (!g || g->parent || vg_capture_uses(g)) return CUDA_ERROR_INVALID_VALUE;
  vg_graph_free(g);
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphClone(CUgraph *phGraphClone, CUgraph originalGraph) {
  API(VG_INIT);
  struct vg_graph *g = graph_of(originalGraph);
  if (!g || !phGraphClone) return CUDA_ERROR_INVALID_VALUE;
  struct vg_graph *c = vg_graph_clone(g, true);
  if (!c) return CUDA_ERROR_OUT_OF_MEMORY;
  *phGraphClone = c->handle;
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphNodeFindInClone(CUgraphNode *phNode, CUgraphNode hOriginalNode, CUgraph hClonedGraph) {
  API(VG_INIT);
  struct vg_graph *g = graph_of(hClonedGraph);
  if (!g || !phNode || !node_of(hOriginalNode)) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < g->num; i++) {
    if (g->nodes[i]->original != hOriginalNode) continue;
    *phNode = g->nodes[i]->handle;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

VG_API CUresult cuGraphDestroyNode(CUgraphNode hNode) {
  API(VG_INIT);
  struct vg_node *n = node_of(hNode);
  if (!n || vg_capture_uses(n->graph)) return CUDA_ERROR_INVALID_VALUE;
  struct vg_graph *g = n->graph;
  size_t at = 0;
  for (size_t i = 0; i < g->num; i++) {
    if (g->nodes[i] == n) at = i;
    set_remove(&g->nodes[i]->deps, n);
  }
  memmove(g->nodes + at, g->nodes + at + 1, (g->num - at - 1) * sizeof *g->nodes);
  g->num--;
  free_node(n);
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType *type) {
  API(VG_INIT);
  struct vg_node *n = node_of(hNode);
  if (!n || !type) return CUDA_ERROR_INVALID_VALUE;
  *type = (CUgraphNodeType)n->work.kind;
  return CUDA_SUCCESS;
}

// Lists are given as the driver gives them: a NULL array asks for the length; what is beyond the list is set to NULL.
struct list {
  CUgraphNode *v;
  size_t cap, n;
};

static void put(struct list *l, CUgraphNode n) {
  if (l->v && l->n < l->cap) l->v[l->n] = n;
  l->n++;
}

static CUresult give(struct list *l, size_t *num) {
  for (size_t i = l->n; l->v && i < l->cap; i++) l->v[i] = NULL;
  *num = l->v && l->n > l->cap ? l->cap : l->n;
  return CUDA_SUCCESS;
}

static CUresult nodes_of(CUgraph hGraph, CUgraphNode *nodes, size_t *num, bool roots) {
  struct vg_graph *g = graph_of(hGraph);
  if (!g || !num) return CUDA_ERROR_INVALID_VALUE;
  struct list l = {nodes, *num, 0};
  for (size_t i = 0; i < g->num; i++)
    if (!roots || !g->nodes[i]->deps.n) put(&l, g->nodes[i]->handle);
  return give(&l, num);
}

VG_API CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode *nodes, size_t *numNodes) {
  API(VG_INIT);
  return nodes_of(hGraph, nodes, numNodes, false);
}

VG_API CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode *rootNodes, size_t *numRootNodes) {
  API(VG_INIT);
  return nodes_of(hGraph, rootNodes, numRootNodes, true);
}

static void no_ports(CUgraphEdgeData *e, size_t n) {
  if (e) memset(e, 0, n * sizeof *e);
}

static CUresult edges(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, size_t *num) {
  struct vg_graph *g = graph_of(hGraph);
  if (!g || !num || !from != !to) return CUDA_ERROR_INVALID_VALUE;
  struct list a = {from, *num, 0}, b = {to, *num, 0};
  for (size_t i = 0; i < g->num; i++)
    for (size_t k = 0; k < g->nodes[i]->deps.n; k++) put(&a, g->nodes[i]->deps.v[k]->handle), put(&b, g->nodes[i]->handle);
  give(&a, num);
  return give(&b, num);
}

VG_API CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, size_t *numEdges) {
  API(VG_INIT);
  return edges(hGraph, from, to, numEdges);
}

VG_API CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *edgeData, size_t *numEdges) {
  API(VG_INIT);
  CUresult r = edges(hGraph, from, to, numEdges);
  if (!r) no_ports(from ? edgeData : NULL, *numEdges);
  return r;
}

static CUresult neighbours(CUgraphNode hNode, CUgraphNode *out, size_t *num, bool dependents) {
  struct vg_node *n = node_of(hNode);
  if (!n || !num) return CUDA_ERROR_INVALID_VALUE;
  struct list l = {out, *num, 0};
  for (size_t i = 0; !dependents && i < n->deps.n; i++) put(&l, n->deps.v[i]->handle);
  for (size_t i = 0; dependents && i < n->graph->num; i++)
    for (size_t k = 0; k < n->graph->nodes[i]->deps.n; k++)
      if (n->graph->nodes[i]->deps.v[k] == n) put(&l, n->graph->nodes[i]->handle);
  return give(&l, num);
}

VG_API CUresult cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode *dependencies, size_t *numDependencies) {
  API(VG_INIT);
  return neighbours(hNode, dependencies, numDependencies, false);
}

VG_API CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode *dependencies, CUgraphEdgeData *edgeData, size_t *numDependencies) {
  API(VG_INIT);
  CUresult r = neighbours(hNode, dependencies, numDependencies, false);
  if (!r) no_ports(dependencies ? edgeData : NULL, *numDependencies);
  return r;
}

VG_API CUresult cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode *dependentNodes, size_t *numDependentNodes) {
  API(VG_INIT);
  return neighbours(hNode, dependentNodes, numDependentNodes, true);
}

VG_API CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode *dependentNodes, CUgraphEdgeData *edgeData, size_t *numDependentNodes) {
  API(VG_INIT);
  CUresult r = neighbours(hNode, dependentNodes, numDependentNodes, true);
  if (!r) no_ports(dependentNodes ? edgeData : NULL, *numDependentNodes);
  return r;
}

static CUresult link_nodes(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to, size_t num, bool add) {
  struct vg_graph *g = graph_of(hGraph);
  if (!g || (num && (!from || !to))) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < num; i++) { // all are right before one is changed
    struct vg_node *a = node_of(from[i]), *b = node_of(to[i]);
    if (!a || !b || a->graph != g || b->graph != g || a == b) return CUDA_ERROR_INVALID_VALUE;
    bool there = false;
    for (size_t k = 0; k < b->deps.n; k++) there |= b->deps.v[k] == a;
    if (there == add) return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < num; i++) {
    struct vg_node *a = node_of(from[i]), *b = node_of(to[i]);
    if (!add) set_remove(&b->deps, a);
    else if (!vg_set_add(&b->deps, a)) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  return CUDA_SUCCESS;
}

VG_API CUresult cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to, size_t numDependencies) {
  API(VG_INIT);
  return link_nodes(hGraph, from, to, numDependencies, true);
}

VG_API CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *edgeData,
                                          size_t numDependencies) {
  API(VG_INIT);
  (void)edgeData;
  return link_nodes(hGraph, from, to, numDependencies, true);
}

VG_API CUresult cuGraphRemoveDependencies(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to, size_t numDependencies) {
  API(VG_INIT);
  return link_nodes(hGraph, from, to, numDependencies, false);
}

VG_API CUresult cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *edgeData,
                                             size_t numDependencies) {
  API(VG_INIT);
  (void)edgeData;
  return link_nodes(hGraph, from, to, numDependencies, false);
}
