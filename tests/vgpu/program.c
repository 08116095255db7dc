#include "tests/vgpu/program.h"

const char program_ptx[] = ".version 6.4\n.target sm_75\n.address_size 64\n"
                          ".global .align 4 .u32 counter = 5;\n"
                          ".const .align 4 .f32 table[2] = {0f3F800000, 0f40000000};\n"
                          ".visible .entry saxpy(.param .u64 y, .param .u64 x, .param .f32 a, .param .u32 n)\n{\n"
                          "  .reg .pred %p<2>;\n  .reg .b32 %r<6>;\n  .reg .f32 %f<5>;\n  .reg .b64 %rd<8>;\n"
                          "  ld.param.u64 %rd1, [y];\n  ld.param.u64 %rd2, [x];\n  ld.param.f32 %f1, [a];\n  ld.param.u32 %r1, [n];\n"
                          "  mov.u32 %r2, %ctaid.x;\n  mov.u32 %r3, %ntid.x;\n  mov.u32 %r4, %tid.x;\n"
                          "  mad.lo.s32 %r5, %r2, %r3, %r4;\n  setp.ge.u32 %p1, %r5, %r1;\n  @%p1 bra done;\n"
                          "  mul.wide.u32 %rd3, %r5, 4;\n  add.s64 %rd4, %rd1, %rd3;\n  add.s64 %rd5, %rd2, %rd3;\n"
                          "  ld.global.f32 %f2, [%rd5];\n  ld.global.f32 %f3, [%rd4];\n  fma.rn.f32 %f4, %f1, %f2, %f3;\n"
                          "  st.global.f32 [%rd4], %f4;\ndone:\n  ret;\n}\n"
                          ".visible .entry big(.param .u64 y)\n.maxntid 128, 1, 1\n{\n  .reg .b64 %rd<2>;\n"
                          "  .shared .align 4 .b8 s[40960];\n  ld.param.u64 %rd1, [y];\n  st.shared.u64 [s], %rd1;\n  ret;\n}\n";

CUcontext ctx;
CUmodule module;
CUfunction saxpy;

int open_context(void **state) {
  (void)state;
  return cuInit(0) || cuCtxCreate_v2(&ctx, 0, 0) || cuModuleLoadData(&module, program_ptx) || cuModuleGetFunction(&saxpy, module, "saxpy");
}

int close_context(void **state) {
  (void)state;
  vgpuFail(NULL);
  int r = cuCtxDestroy_v2(ctx) != CUDA_SUCCESS;
  vgpuFindingsReset();
  return r;
}

CUresult run_saxpy(CUdeviceptr y, CUdeviceptr x, float a, unsigned n, CUstream s) {
  void *params[] = {&y, &x, &a, &n};
  return cuLaunchKernel(saxpy, (n + 127) / 128, 1, 1, 128, 1, 1, 0, s, params, NULL);
}

CUdeviceptr floats(size_t n, float value) {
  CUdeviceptr p;
  unsigned bits;
  memcpy(&bits, &value, 4);
  OK(cuMemAlloc_v2(&p, n * 4));
  OK(cuMemsetD32_v2(p, bits, n));
  return p;
}

void expect(CUdeviceptr p, size_t n, float value) {
  float *host = malloc(n * 4);
  OK(cuMemcpyDtoH_v2(host, p, n * 4));
  for (size_t i = 0; i < n; i++)
    if (!(host[i] == value)) fail_msg("element %zu of %zu is %g instead of %g", i, n, (double)host[i], (double)value);
  free(host);
}
