// Inside of the driver API: objects, handles, the call frame. Everything runs under one lock; work is done when it is
// submitted (a legal schedule of every stream), so that a stream is only a place for ordering rules, capture and timestamps.
#ifndef VGPU_API_H
#define VGPU_API_H

#include "runtime/vgpu/cuabi.h"
#include "runtime/vgpu/check.h"
#include "runtime/vgpu/exec.h"
#include "runtime/vgpu/fatbin.h"
#include "runtime/vgpu/mem.h"
#include <stdbool.h>
#include <stdio.h>

enum vg_object_kind {
  VG_NONE, VG_CONTEXT, VG_STREAM, VG_EVENT, VG_MODULE, VG_FUNCTION, VG_LIBRARY, VG_KERNEL, VG_GRAPH, VG_NODE, VG_EXEC, VG_POOL, VG_LINK
};

struct vg_graph;
struct vg_node;
struct vg_stream;

#define VG_NUM_LIMITS 9

struct vg_context {
  CUcontext handle;
  uint64_t id;
  bool primary, active;
  int refs;              // retains of the primary context
  unsigned flags, api_version;
  CUresult sticky;       // after a kernel fault: every later call fails with it
  size_t limit[VG_NUM_LIMITS];
  int cache_config, shared_config;
  struct vg_stream *null_stream, *thread_stream;
};

// Streams being captured into one graph share this.
struct vg_capture {
  uint64_t id;
  int refs;
  struct vg_graph *graph;
  CUstream origin;
  CUstreamCaptureMode mode;
  unsigned long thread;  // that began it
  bool invalid, ended;
  bool into_existing;    // cuStreamBeginCaptureToGraph: the graph is the user's
  size_t first;          // the graph's nodes from this one on are the capture's
  struct vg_capture *next;
};

struct vg_node_set {
  struct vg_node **v;
  size_t n, cap;
};

struct vg_stream {
  CUstream handle;
  struct vg_context *ctx;
  unsigned flags;
  int priority;
  uint64_t id;
  struct vg_capture *capture;
  struct vg_node_set tail; // what the next captured node depends on
  CUgraphNode *handles;  // tail's handles, as last given to the user
  CUlaunchAttributeValue attr[16];
};

struct vg_event {
  CUevent handle;
  struct vg_context *ctx;
  unsigned flags;
  bool recorded;
  double ms;
  struct vg_capture *capture; // last recorded in a capturing stream
  struct vg_node_set tail;
};

struct vg_module;

struct vg_function {
  CUfunction handle;
  CUkernel kernel;       // its name in a library, if it is there
  struct vg_module *module;
  const struct vgpu_func *code;
  uint32_t regs, local_bytes;
  bool regs_from_ptxas;
  uint32_t max_dynamic_shared; // as raised by cuFuncSetAttribute
  int carveout, cache_config;
};

struct vg_module {
  CUmodule handle;
  CUlibrary library;     // NULL for a plain module
  struct vg_context *ctx;
  struct vgpu_code *code;
  struct vg_function *functions;
  uint32_t num_functions;
};

enum vg_work_kind {
  VG_WORK_KERNEL = CU_GRAPH_NODE_TYPE_KERNEL, VG_WORK_COPY = CU_GRAPH_NODE_TYPE_MEMCPY, VG_WORK_SET = CU_GRAPH_NODE_TYPE_MEMSET,
  VG_WORK_HOST = CU_GRAPH_NODE_TYPE_HOST, VG_WORK_GRAPH = CU_GRAPH_NODE_TYPE_GRAPH, VG_WORK_EMPTY = CU_GRAPH_NODE_TYPE_EMPTY,
  VG_WORK_WAIT = CU_GRAPH_NODE_TYPE_WAIT_EVENT, VG_WORK_RECORD = CU_GRAPH_NODE_TYPE_EVENT_RECORD,
};

struct vg_kernel_work {
  struct vg_function *f;
  CUfunction handle;      // f's: it may have been unloaded since
  CUkernel kernel;        // as given, if a node was made with one
  unsigned grid[3], block[3], shared;
  bool cooperative;
  int priority;
  uint8_t *params;        // packed; in a node owned by it
  void **pointers;        // a node's view of params as kernelParams, owned
};

struct vg_work {
  enum vg_work_kind kind;
  union {
    struct vg_kernel_work kernel;
    CUDA_MEMCPY3D copy;
    CUDA_MEMSET_NODE_PARAMS set;
    CUDA_HOST_NODE_PARAMS host;
    struct vg_graph *graph; // a node's own clone
    CUevent event;
  };
  CUstream stream;       // for add-callback style host work
};

struct vg_node {
  CUgraphNode handle;
  struct vg_graph *graph;
  struct vg_work work;
  struct vg_node_set deps; // what it waits for
  CUgraphNode original;  // the node that this one is a clone of
  bool disabled;
  size_t mark;           // scratch of graph walks
};

struct vg_graph {
  CUgraph handle;        // NULL: inside of an executable graph
  struct vg_node **nodes;
  size_t num, cap;
  struct vg_node *parent; // the node that this child graph belongs to
};

struct vg_exec {
  CUgraphExec handle;
  struct vg_context *ctx;
  struct vg_graph *graph; // a clone
  struct vg_node **order; // topological
  uint64_t flags;
  int running;
  bool destroyed;        // while running: freed afterwards
};

struct vg_pool {
  CUmemoryPool handle;
  uint64_t release_threshold, used, used_high;
  int reuse[4];
  bool is_default;
};

// ---- api_core.c: handles and calls ----
// A handle is never used again, so that a destroyed object is known as such. NULL: no memory.
void *vg_handle_new(enum vg_object_kind kind, void *object);
void *vg_handle_get(const void *handle, enum vg_object_kind kind); // the object, NULL if there is none
void vg_handle_drop(const void *handle);
// Calls f for every object of a kind.
void vg_handle_each(enum vg_object_kind kind, bool (*f)(void *object, void *arg), void *arg);

enum vg_needs {
  VG_NOTHING = 0,
  VG_INIT = 1,    // cuInit was called
  VG_CTX = 2,     // a context is current and has not failed
  VG_CTX_ANY = 4, // a context is current, failed or not
  VG_UNSAFE = 8,  // not allowed while a stream is being captured in strict mode
};

struct vg_call {
  CUresult result;
  struct vg_context *ctx;
  bool locked;
};
struct vg_call vg_enter(const char *name, int needs);
void vg_leave(struct vg_call *c);
// Opens an API function: takes the lock for its length and returns early with the error if there is one.
#define API(needs)                                                                                                             \
  struct vg_call call __attribute__((cleanup(vg_leave), unused)) = vg_enter(__func__, (needs));                                \
  if (call.result) return call.result

// Exports a per-thread-default-stream name for a function that does not care.
#define ALSO(name, other) extern VG_API __typeof__(name) other __attribute__((alias(#name)))

// Runs a host function of the user's without the lock.
void vg_call_user(void (*f)(void *), void *arg);
void vg_call_user_stream(CUstreamCallback f, CUstream s, CUresult r, void *arg);
double vg_now_ms(void);
unsigned long vg_thread_id(void);
uint64_t vg_next_id(void);
bool vg_initialized(void);

// ---- api_stub.c ----
// The newest variant of `symbol` that a program built for `version` knows. *known: the name exists at all.
void *vg_proc_find(const char *symbol, int version, bool threads, bool *known);
bool vg_name_known(const char *name); // a function's, with or without its version

// ---- api_ctx.c ----
struct vg_context *vg_current(void);
struct vg_context *vg_context_of(CUcontext c); // NULL: not a live context
CUstreamCaptureMode *vg_thread_capture_mode(void);

// ---- api_module.c ----
void vg_modules_unload_all(struct vg_context *ctx);
CUresult vg_module_load(struct vg_context *ctx, const void *image, size_t size, unsigned n, CUjit_option *options, void **values,
                        struct vg_module **out);
void vg_module_unload(struct vg_module *m);
struct vg_function *vg_function_of(CUfunction f); // also takes a CUkernel
CUresult vg_read_file(const char *path, char **data, size_t *size);

// ---- api_launch.c ----
// Checks a launch against function and device.
CUresult vg_kernel_check(struct vg_context *ctx, const struct vg_kernel_work *k);
// Packs kernelParams or extra into fresh memory (NULL with *bytes 0 for a kernel without parameters).
CUresult vg_kernel_pack(const struct vg_function *f, void **params, void **extra, uint8_t **out);
CUresult vg_kernel_run(struct vg_context *ctx, struct vg_kernel_work *k);
int vg_blocks_per_sm(const struct vg_function *f, unsigned threads, size_t shared);
void vg_launch_shutdown(void);

// ---- api_copy.c ----
CUresult vg_copy_check(const CUDA_MEMCPY3D *c);
CUresult vg_copy_run(const CUDA_MEMCPY3D *c);
CUresult vg_set_check(const CUDA_MEMSET_NODE_PARAMS *s);
CUresult vg_set_run(const CUDA_MEMSET_NODE_PARAMS *s);

// ---- api_mem.c ----
void vg_context_free_memory(struct vg_context *ctx, bool report);
void vg_report_leaks(void);

// ---- api_stream.c ----
struct vg_stream *vg_stream_of(struct vg_context *ctx, CUstream s); // takes the special handles
struct vg_stream *vg_stream_make(struct vg_context *ctx, unsigned flags, int priority);
void vg_stream_free(struct vg_stream *s);
void vg_streams_free_all(struct vg_context *ctx);
// Does the work, or adds it to the graph being captured. The stream is checked here.
CUresult vg_submit(struct vg_context *ctx, CUstream stream, struct vg_work *w);
CUresult vg_run(struct vg_context *ctx, struct vg_work *w); // now
// May this thread do something unsafe? Invalidates the captures that forbid it if not.
CUresult vg_capture_unsafe(void);
// A synchronous operation on the legacy stream while a blocking stream is captured.
CUresult vg_capture_implicit(struct vg_context *ctx);

// ---- api_capture.c ----
void vg_capture_release(struct vg_capture *c); // drops one reference
void vg_capture_leave(struct vg_stream *s);
bool vg_capture_uses(const struct vg_graph *g);
// The next node of a captured stream.
CUresult vg_capture_add(struct vg_stream *s, const struct vg_work *w);
// The legacy stream would have to wait for a captured stream: not allowed, and those captures are void.
CUresult vg_capture_blocks_legacy(const struct vg_context *ctx);

// ---- api_event.c ----
void vg_event_record_now(struct vg_event *e);
void vg_event_free(struct vg_event *e);

// ---- api_graph.c ----
struct vg_graph *vg_graph_new(bool with_handle);
void vg_graph_free(struct vg_graph *g);
struct vg_graph *vg_graph_clone(const struct vg_graph *g, bool with_handles);
// Adds a node; the work is copied (kernel parameters too). NULL: no memory.
struct vg_node *vg_graph_add(struct vg_graph *g, const struct vg_work *w, struct vg_node *const *deps, size_t num_deps);
CUresult vg_graph_order(struct vg_graph *g, struct vg_node ***order); // INVALID_VALUE for a cycle
CUresult vg_graph_run(struct vg_context *ctx, struct vg_graph *g, struct vg_node **order);
CUresult vg_work_copy(struct vg_work *to, const struct vg_work *from);
void vg_work_free(struct vg_work *w);
CUresult vg_exec_run(struct vg_context *ctx, struct vg_exec *e);
bool vg_set_add(struct vg_node_set *s, struct vg_node *n);
bool vg_set_assign(struct vg_node_set *s, struct vg_node *const *v, size_t n);
void vg_set_free(struct vg_node_set *s);

#endif
