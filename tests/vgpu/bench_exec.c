// Speed of the interpreter: warp instructions a second and host thread for arithmetic, memory with all checks on, and tensor cores.
//   vgpu_bench [seconds a case]
// The goals are 20 M on arithmetic, 5 M on memory, 2 M mma.m16n8k8.
#include "runtime/vgpu/exec.h"
#include "tests/vgpu/cu.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEAD ".version 6.4\n.target sm_75\n.address_size 64\n"
#define KERNEL(name, regs, body) \
  ".visible .entry " name "(.param .u64 in, .param .u64 out, .param .u32 n)\n{\n.reg .pred %p<4>;\n.reg .b32 %r<40>;\n.reg .f32 %f<40>;\n" \
  ".reg .b64 %rd<10>;\n" regs "ld.param.u64 %rd1, [in];\nld.param.u64 %rd2, [out];\nld.param.u32 %r1, [n];\nmov.u32 %r2, %tid.x;\nmov.u32 %r3, 0;\n" \
  "mov.u32 %r4, %ctaid.x;\nmov.u32 %r5, %ntid.x;\nmad.lo.u32 %r6, %r4, %r5, %r2;\n" body "}\n"
#define LOOP(body) "L:\n" body "add.u32 %r3, %r3, 1;\nsetp.lt.u32 %p1, %r3, %r1;\n@%p1 bra L;\n"
#define FOUR(x) x x x x

static const char fma_ptx[] = HEAD KERNEL(
    "bench", "",
    "cvt.rn.f32.u32 %f1, %r2;\nmov.f32 %f2, %f1;\nmov.f32 %f3, %f1;\nmov.f32 %f4, %f1;\n" LOOP(FOUR(
        "fma.rn.f32 %f1, %f1, 0f3F7D70A4, %f2;\nfma.rn.f32 %f2, %f2, 0f3F7AE148, %f3;\nfma.rn.f32 %f3, %f3, 0f3F7851EC, %f4;\n"
        "fma.rn.f32 %f4, %f4, 0f3F75C28F, %f1;\n")) "mul.wide.u32 %rd3, %r6, 4;\nadd.u64 %rd4, %rd2, %rd3;\nst.global.f32 [%rd4], %f1;\nret;\n");

static const char int_ptx[] = HEAD KERNEL(
    "bench", "",
    "mov.u32 %r10, %r2;\nmov.u32 %r11, 77;\n" LOOP(FOUR(
        "mad.lo.u32 %r10, %r10, 1664525, 1013904223;\nshr.u32 %r12, %r10, 9;\nxor.b32 %r11, %r11, %r12;\nsetp.lt.s32 %p2, %r11, %r10;\n"
        "selp.b32 %r13, %r10, %r11, %p2;\n@%p2 add.s32 %r10, %r10, %r13;\n")) "mul.wide.u32 %rd3, %r6, 4;\nadd.u64 %rd4, %rd2, %rd3;\nst.global.u32 [%rd4], %r10;\nret;\n");

// Copies with 4- and 16-byte accesses, to and fro through shared memory.
static const char memory_ptx[] = HEAD KERNEL(
    "bench", ".shared .align 16 .b8 buf[8192];\n",
    "mul.wide.u32 %rd3, %r6, 16;\nadd.u64 %rd4, %rd1, %rd3;\nadd.u64 %rd5, %rd2, %rd3;\nmul.wide.u32 %rd6, %r6, 4;\nadd.u64 %rd7, %rd2, %rd6;\n"
    "add.u64 %rd8, %rd1, %rd6;\nshl.b32 %r20, %r2, 4;\nmov.u32 %r21, buf;\nadd.u32 %r22, %r20, %r21;\n" LOOP(
        "ld.global.v4.u32 {%r30,%r31,%r32,%r33}, [%rd4];\nst.shared.v4.u32 [%r22], {%r30,%r31,%r32,%r33};\nbar.sync 0;\nld.shared.u32 %r34, [%r22+4];\n"
        "ld.global.u32 %r35, [%rd8];\nadd.u32 %r34, %r34, %r35;\nst.global.u32 [%rd5], %r34;\nbar.sync 0;\n") "ret;\n");

static const char mma_ptx[] = HEAD KERNEL(
    "bench", "",
    "mov.b32 %r10, 0x3C003C00;\nmov.b32 %r11, 0x38003800;\nmov.f32 %f1, 0f00000000;\nmov.f32 %f2, %f1;\nmov.f32 %f3, %f1;\nmov.f32 %f4, %f1;\n" LOOP(FOUR(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r10,%r11}, {%r10}, {%f1,%f2,%f3,%f4};\n"))
    "mul.wide.u32 %rd3, %r6, 4;\nadd.u64 %rd4, %rd2, %rd3;\nst.global.f32 [%rd4], %f1;\nret;\n");

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); // the one thread's own time, on a busy machine too
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct vgpu_code *load(const char *text) {
  struct ptx_error e;
  struct ptx_module *m = ptx_parse(text, strlen(text), &e);
  struct vgpu_code *c = m ? vgpu_decode(m, &e) : NULL;
  if (!c) {
    fprintf(stderr, "%s\n", e.text);
    exit(1);
  }
  vgpu_link(c);
  return c;
}

// share: how many of the loop's instructions count (4 of 7 for mma), 1 for all.
static void run(struct vgpu_pool *pool, const char *name, const char *text, uint64_t in, uint64_t out, double seconds, double share) {
  struct vgpu_code *c = load(text);
  struct vgpu_launch l = {.code = c, .kernel = vgpu_find_func(c, "bench"), .grid = {16, 1, 1}, .block = {256, 1, 1}};
  uint8_t params[24] = {0};
  uint32_t n = 200;
  memcpy(params, &in, 8);
  memcpy(params + 8, &out, 8);
  l.params = params;
  double best = 0, t0 = now();
  do {
    memcpy(params + 16, &n, 4);
    double t = now();
    int r = vgpu_exec(pool, &l);
    t = now() - t;
    if (r) {
      fprintf(stderr, "%s ended with error %d\n", name, r);
      exit(1);
    }
    double rate = (double)l.issued / t;
    best = rate > best ? rate : best;
    if (t < 0.05) n *= 2;
  } while (now() - t0 < seconds);
  printf("%-12s %8.1f M/s per thread\n", name, best * share * 1e-6 / vgpu_pool_threads(pool));
  vgpu_code_free(c);
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 1;
  if (!vg_mem_open(true)) return 1;
  struct vgpu_pool *pool = vgpu_pool_open(1);
  uint64_t in = vg_mem_alloc(1 << 20, 256, VG_MEM_DEVICE, NULL, NULL, true), out = vg_mem_alloc(1 << 20, 256, VG_MEM_DEVICE, NULL, NULL, true);
  if (!pool || !in || !out) return 1;
  printf("interpreter built for %s\n", vgpu_exec_variant());
  run(pool, "fma", fma_ptx, in, out, seconds, 1);
  run(pool, "integer", int_ptx, in, out, seconds, 1);
  run(pool, "memory", memory_ptx, in, out, seconds, 1);
  run(pool, "mma.m16n8k8", mma_ptx, in, out, seconds, 4.0 / 7);
  vgpu_pool_close(pool);
  return 0;
}
