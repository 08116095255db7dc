// Stream capture and graphs: what is captured, what is refused, replay, change, update.
#include "tests/vgpu/cu.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const char ptx[] = ".version 7.0\n.target sm_75\n.address_size 64\n"
                          ".visible .entry add(.param .u64 y, .param .u32 v, .param .u32 n)\n{\n"
                          "  .reg .pred %p;\n  .reg .b32 %r<8>;\n  .reg .b64 %rd<4>;\n"
                          "  ld.param.u64 %rd1, [y];\n  ld.param.u32 %r1, [v];\n  ld.param.u32 %r2, [n];\n"
                          "  mov.u32 %r3, %ctaid.x;\n  mov.u32 %r4, %ntid.x;\n  mov.u32 %r5, %tid.x;\n  mad.lo.u32 %r6, %r3, %r4, %r5;\n"
                          "  setp.ge.u32 %p, %r6, %r2;\n  @%p bra done;\n  mul.wide.u32 %rd2, %r6, 4;\n  add.s64 %rd3, %rd1, %rd2;\n"
                          "  ld.global.u32 %r7, [%rd3];\n  add.u32 %r7, %r7, %r1;\n  st.global.u32 [%rd3], %r7;\ndone:\n  ret;\n}\n";

#define N 300

static CUcontext ctx;
static CUmodule module;
static CUfunction add;
static CUstream s, t;
static CUdeviceptr y;

static int setup(void **state) {
  (void)state;
  return cuInit(0) || cuCtxCreate_v2(&ctx, 0, 0) || cuModuleLoadData(&module, ptx) || cuModuleGetFunction(&add, module, "add") ||
         cuStreamCreate(&s, 0) || cuStreamCreate(&t, CU_STREAM_NON_BLOCKING) || cuMemAlloc_v2(&y, N * 4) || cuMemsetD32_v2(y, 0, N);
}

static int teardown(void **state) {
  (void)state;
  int r = cuMemFree_v2(y) || cuCtxDestroy_v2(ctx);
  vgpuFindingsReset();
  return r;
}

static CUresult launch(unsigned v, CUstream stream) {
  unsigned n = N;
  void *params[] = {&y, &v, &n};
  return cuLaunchKernel(add, 3, 1, 1, 128, 1, 1, 0, stream, params, NULL);
}

static void expect(unsigned v) {
  unsigned host[N];
  OK(cuMemcpyDtoH_v2(host, y, sizeof host));
  for (int i = 0; i < N; i++) assert_int_equal(host[i], v);
}

static void host_add(void *p) { *(int *)p += 1; }

static void test_capture_replay(void **state) {
  (void)state;
  CUgraph g;
  CUgraphExec e;
  CUstreamCaptureStatus status;
  size_t n = 0;
  int calls = 0;
  OK(cuStreamIsCapturing(s, &status));
  assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(cuStreamIsCapturing(s, &status));
  assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  OK(cuMemsetD32Async(y, 5, N, s));
  OK(launch(1, s));
  OK(launch(2, s));
  OK(cuLaunchHostFunc(s, host_add, &calls));
  OK(cuStreamEndCapture(s, &g));
  expect(0); // nothing was done
  assert_int_equal(calls, 0);
  OK(cuGraphGetNodes(g, NULL, &n));
  assert_int_equal(n, 4);
  OK(cuGraphInstantiateWithFlags(&e, g, 0));
  OK(cuGraphDestroy(g));
  OK(cuGraphUpload(e, s));
  for (int i = 0; i < 3; i++) OK(cuGraphLaunch(e, s));
  OK(cuStreamSynchronize(s));
  expect(8);
  assert_int_equal(calls, 3);
  OK(cuGraphExecDestroy(e));
  IS(CUDA_ERROR_INVALID_VALUE, cuGraphLaunch(e, s));
}

static void test_fork_join(void **state) {
  (void)state;
  CUevent fork, join;
  CUgraph g;
  CUgraphExec e;
  size_t edges = 0, roots = 0, deps;
  const CUgraphNode *tail;
  cuuint64_t id;
  CUstreamCaptureStatus status;
  OK(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
  OK(cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  OK(launch(1, s));
  OK(cuEventRecord(fork, s));
  OK(cuStreamWaitEvent(t, fork, 0));
  OK(launch(10, t)); // the other stream is captured too
  OK(launch(100, s));
  OK(cuStreamGetCaptureInfo_v2(t, &status, &id, &g, &tail, &deps));
  assert_int_equal(deps, 1);
  OK(cuEventRecord(join, t));
  OK(cuStreamWaitEvent(s, join, 0));
  OK(launch(1000, s));
  OK(cuStreamEndCapture(s, &g));
  OK(cuGraphGetEdges(g, NULL, NULL, &edges));
  assert_int_equal(edges, 4);
  OK(cuGraphGetRootNodes(g, NULL, &roots));
  assert_int_equal(roots, 1);
  OK(cuGraphInstantiateWithFlags(&e, g, 0));
  OK(cuGraphLaunch(e, t));
  expect(1111);
  IS(CUDA_ERROR_CAPTURED_EVENT, cuEventQuery(join));
  OK(cuGraphExecDestroy(e));
  OK(cuGraphDestroy(g));
  OK(cuEventDestroy_v2(fork));
  OK(cuEventDestroy_v2(join));
}

static void test_refused(void **state) {
  (void)state;
  CUgraph g;
  CUevent e, f;
  CUdeviceptr p;
  OK(cuEventCreate(&e, 0));
  OK(cuEventCreate(&f, 0));
  OK(cuEventRecord(f, t));
  IS(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamBeginCapture_v2(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL));
  IS(CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(s, &g));
  struct { CUresult (*f)(CUstream); CUresult first; } waits[] = {{cuStreamSynchronize, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED},
                                                                 {cuStreamQuery, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED}};
  for (int i = 0; i < 2; i++) { // waiting for what is only written down
    OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    IS(CUDA_ERROR_ILLEGAL_STATE, cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    IS(waits[i].first, waits[i].f(s));
    IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, launch(1, s));
    IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
    assert_null(g);
  }
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL)); // allocating in strict mode
  IS(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc_v2(&p, 4));
  IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED)); // and in relaxed
  OK(cuMemAlloc_v2(&p, 4));
  OK(cuStreamEndCapture(s, &g));
  OK(cuMemFree_v2(p));
  OK(cuGraphDestroy(g));
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED)); // the legacy stream would have to wait for it
  IS(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, launch(1, NULL));
  IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
  OK(cuStreamBeginCapture_v2(t, CU_STREAM_CAPTURE_MODE_RELAXED)); // not for a non-blocking one
  OK(launch(1, NULL));
  OK(cuStreamEndCapture(t, &g));
  OK(cuGraphDestroy(g));
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL)); // an event from outside
  IS(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, cuStreamWaitEvent(s, f, 0));
  IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL)); // forked, never joined
  OK(cuEventRecord(e, s));
  OK(cuStreamWaitEvent(t, e, 0));
  OK(launch(1, t));
  IS(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(s, &g));
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL)); // ended in the wrong stream
  OK(cuEventRecord(e, s));
  OK(cuStreamWaitEvent(t, e, 0));
  IS(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, cuStreamEndCapture(t, &g));
  IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
  OK(cuStreamSynchronize(s)); // and all is well again
  OK(launch(1, s));
  OK(cuEventDestroy_v2(e));
  OK(cuEventDestroy_v2(f));
}

static CUDA_KERNEL_NODE_PARAMS node_params(void **params) {
  return (CUDA_KERNEL_NODE_PARAMS){.func = add, .gridDimX = 3, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 128, .blockDimY = 1, .blockDimZ = 1,
                                   .kernelParams = params};
}

static void test_explicit_nodes(void **state) {
  (void)state;
  CUgraph g, clone;
  CUgraphNode set, k1, k2, copy, host, empty, found;
  CUgraphExec e;
  CUgraphNodeType type;
  unsigned v = 3, n = N, out[N];
  int calls = 0;
  void *params[] = {&y, &v, &n};
  CUDA_KERNEL_NODE_PARAMS kp = node_params(params), got;
  CUDA_MEMSET_NODE_PARAMS sp = {.dst = y, .value = 100, .elementSize = 4, .width = N, .height = 1};
  CUDA_MEMCPY3D cp = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = y, .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = out,
                      .WidthInBytes = N * 4, .Height = 1, .Depth = 1};
  CUDA_HOST_NODE_PARAMS hp = {host_add, &calls};
  OK(cuGraphCreate(&g, 0));
  OK(cuGraphAddMemsetNode(&set, g, NULL, 0, &sp, ctx));
  OK(cuGraphAddKernelNode_v2(&k1, g, &set, 1, &kp));
  v = 4;
  OK(cuGraphAddKernelNode_v2(&k2, g, &k1, 1, &kp));
  OK(cuGraphAddEmptyNode(&empty, g, &k2, 1));
  OK(cuGraphAddMemcpyNode(&copy, g, &empty, 1, &cp, ctx));
  OK(cuGraphAddHostNode(&host, g, &copy, 1, &hp));
  IS(CUDA_ERROR_INVALID_VALUE, cuGraphAddEmptyNode(&found, g, (CUgraphNode[]){(CUgraphNode)(void *)g}, 1));
  IS(CUDA_ERROR_INVALID_VALUE, cuGraphAddDependencies(g, &k1, &k2, 1)); // is there already
  OK(cuGraphKernelNodeGetParams_v2(k1, &got));
  assert_int_equal(*(unsigned *)got.kernelParams[1], 3);
  OK(cuGraphNodeGetType(copy, &type));
  assert_int_equal(type, CU_GRAPH_NODE_TYPE_MEMCPY);
  OK(cuGraphInstantiateWithFlags(&e, g, 0));
  OK(cuGraphLaunch(e, s));
  assert_true(out[0] == 107 && out[N - 1] == 107 && calls == 1);
  v = 50; // change one node of the executable graph
  OK(cuGraphExecKernelNodeSetParams_v2(e, k1, &kp));
  OK(cuGraphLaunch(e, s));
  assert_int_equal(out[0], 154);
  OK(cuGraphNodeSetEnabled(e, k2, 0));
  OK(cuGraphLaunch(e, s));
  assert_int_equal(out[0], 150);
  sp.value = 7;
  OK(cuGraphExecMemsetNodeSetParams(e, set, &sp, ctx));
  OK(cuGraphLaunch(e, s));
  assert_int_equal(out[0], 57);
  IS(CUDA_ERROR_INVALID_VALUE, cuGraphExecKernelNodeSetParams_v2(e, set, &kp)); // another kind of node
  OK(cuGraphClone(&clone, g));
  OK(cuGraphNodeFindInClone(&found, k1, clone));
  OK(cuGraphKernelNodeGetParams_v2(found, &got));
  assert_int_equal(*(unsigned *)got.kernelParams[1], 3);
  OK(cuGraphAddDependencies(clone, &found, &found, 0));
  OK(cuGraphDestroyNode(found));
  OK(cuGraphDestroy(clone));
  OK(cuGraphExecDestroy(e));
  OK(cuGraphDestroy(g));
}

static void test_cycle(void **state) {
  (void)state;
  CUgraph g;
  CUgraphNode a, b, c;
  CUgraphExec e;
  OK(cuGraphCreate(&g, 0));
  OK(cuGraphAddEmptyNode(&a, g, NULL, 0));
  OK(cuGraphAddEmptyNode(&b, g, &a, 1));
  OK(cuGraphAddEmptyNode(&c, g, &b, 1));
  OK(cuGraphAddDependencies(g, &c, &a, 1));
  IS(CUDA_ERROR_INVALID_VALUE, cuGraphInstantiateWithFlags(&e, g, 0));
  OK(cuGraphRemoveDependencies(g, &c, &a, 1));
  OK(cuGraphInstantiateWithFlags(&e, g, 0));
  OK(cuGraphLaunch(e, s));
  OK(cuGraphExecDestroy(e));
  OK(cuGraphDestroy(g));
}

static CUgraph captured(unsigned a, unsigned b, bool extra) {
  CUgraph g;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(launch(a, s));
  OK(launch(b, s));
  if (extra) OK(launch(1, s));
  OK(cuStreamEndCapture(s, &g));
  return g;
}

static void test_update(void **state) {
  (void)state;
  CUgraph g = captured(1, 2, false), h = captured(10, 20, false), longer = captured(1, 2, true);
  CUgraphExec e;
  CUgraphExecUpdateResultInfo info;
  OK(cuGraphInstantiateWithFlags(&e, g, 0));
  OK(cuGraphLaunch(e, s));
  expect(3);
  OK(cuGraphExecUpdate_v2(e, h, &info));
  assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  OK(cuGraphLaunch(e, s));
  expect(33);
  IS(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate_v2(e, longer, &info));
  assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  OK(cuGraphLaunch(e, s)); // as before
  expect(63);
  OK(cuGraphDestroy(g));
  OK(cuGraphDestroy(h));
  OK(cuGraphDestroy(longer));
  OK(cuGraphExecDestroy(e));
}

static void test_child(void **state) {
  (void)state;
  CUgraph g, child = captured(1, 2, false), inner;
  CUgraphNode a, b;
  CUgraphExec e;
  OK(cuGraphCreate(&g, 0));
  OK(cuGraphAddChildGraphNode(&a, g, NULL, 0, child));
  OK(cuGraphAddChildGraphNode(&b, g, &a, 1, child));
  OK(cuGraphDestroy(child)); // it was copied
  OK(cuGraphChildGraphNodeGetGraph(a, &inner));
  IS(CUDA_ERROR_INVALID_VALUE, cuGraphDestroy(inner)); // belongs to the node
  OK(cuGraphInstantiateWithFlags(&e, g, 0));
  OK(cuGraphLaunch(e, s));
  expect(6);
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL)); // a launch while capturing becomes a child graph
  OK(cuGraphLaunch(e, s));
  OK(cuStreamEndCapture(s, &child));
  OK(cuGraphExecDestroy(e));
  OK(cuGraphInstantiateWithFlags(&e, child, 0));
  OK(cuGraphLaunch(e, s));
  expect(12);
  OK(cuGraphExecDestroy(e));
  OK(cuGraphDestroy(child));
  OK(cuGraphDestroy(g));
}

static void test_unloaded(void **state) { // a graph outlives its kernel's module
  (void)state;
  CUgraph g = captured(1, 2, false), h;
  CUgraphExec e;
  OK(cuGraphInstantiateWithFlags(&e, g, 0));
  OK(cuModuleUnload(module));
  IS(CUDA_ERROR_INVALID_HANDLE, cuGraphLaunch(e, s));
  assert_int_not_equal(cuGraphClone(&h, g), CUDA_SUCCESS);
  OK(cuGraphExecDestroy(e));
  OK(cuGraphDestroy(g));
}

#define GRAPH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  setenv("VGPU_LOG", "/dev/null", 0);
  const struct CMUnitTest tests[] = {
      GRAPH(test_capture_replay), GRAPH(test_fork_join), GRAPH(test_refused), GRAPH(test_explicit_nodes), GRAPH(test_cycle),
      GRAPH(test_update),         GRAPH(test_child),     GRAPH(test_unloaded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
