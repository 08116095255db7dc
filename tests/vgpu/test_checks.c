// Every kind of check: a planted error must be found at the right place, its clean twin must not be reported, in any order of
// blocks and warps. The kernels are checks.cu; checks.ptx is what nvcc makes of it, so that no nvcc is needed here.
#include "tests/vgpu/cu.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "tests/vgpu/"
#define N      256 // elements of every buffer
#define NONE   (-1)

struct plan {
  const char *kernel, *args; // y buffer, x written buffer, u unwritten, f freed, 0 null, c the constant table, iNUM an int
  int kind;                  // NONE: clean
  int error;                 // of the synchronisation after it
  unsigned grid, block, shared;
  const char *says;          // part of the finding's text, or NULL
};

static const struct plan plans[] = {
    {"oob_load", "y x i1", VG_OUT_OF_BOUNDS, 700, 2, 128, 0, "block (1,0,0), thread (127,0,0)"},
    {"oob_load", "y x i1000000", VG_OUT_OF_BOUNDS, 700, 2, 128, 0, NULL},
    {"oob_load_clean", "y x i256", NONE, 0, 4, 128, 0, NULL},
    {"oob_store", "y i1", VG_OUT_OF_BOUNDS, 700, 2, 128, 0, "thread (0,0,0)"},
    {"null_store", "0", VG_OUT_OF_BOUNDS, 700, 1, 32, 0, "null pointer"},
    {"null_store", "y", NONE, 0, 1, 32, 0, NULL},
    {"oob_atomic", "y i256", VG_OUT_OF_BOUNDS, 700, 1, 32, 0, "0 bytes past the end"},
    {"oob_atomic", "y i255", NONE, 0, 3, 64, 0, NULL},
    {"freed_load", "y f", VG_USE_AFTER_FREE, 700, 1, 64, 0, "which was freed"},
    {"freed_load", "y x", NONE, 0, 1, 64, 0, NULL},
    {"misaligned", "y x", VG_MISALIGNED, 716, 1, 64, 0, "not a multiple of 4"},
    {"const_store", "y c", VG_WRITE_CONST, 0, 1, 32, 0, "variable table"},
    {"oob_shared", "y i1", VG_OUT_OF_BOUNDS, 719, 1, 64, 256, "thread (63,0,0)"},
    {"oob_shared_clean", "y i1", NONE, 0, 1, 64, 256, NULL},
    {"uninit_global", "y u", VG_UNINIT_GLOBAL, 0, 1, 64, 0, "nothing was written"},
    {"uninit_global", "y x", NONE, 0, 1, 64, 0, NULL},
    {"uninit_shared", "y", VG_UNINIT_SHARED, 0, 1, 64, 0, "shared offset 20"},
    {"uninit_shared_clean", "y", NONE, 0, 1, 64, 0, NULL},
    {"race_raw", "y", VG_RACE_SHARED, 0, 1, 128, 0, NULL},
    {"race_raw_clean", "y", NONE, 0, 1, 128, 0, NULL},
    {"race_war", "y", VG_RACE_SHARED, 0, 1, 128, 0, NULL},
    {"race_war_clean", "y", NONE, 0, 1, 128, 0, NULL},
    {"race_waw", "y", VG_RACE_SHARED, 0, 1, 64, 0, NULL},
    {"race_waw", "y", VG_RACE_SHARED, 0, 1, 32, 0, NULL}, // within one instruction
    {"race_waw_clean", "y", NONE, 0, 1, 128, 0, NULL},
    {"race_warp", "y", VG_RACE_SHARED, 0, 1, 32, 0, NULL},
    {"race_warp_clean", "y", NONE, 0, 1, 32, 0, NULL},
    {"race_histogram", "y x", VG_RACE_SHARED, 0, 1, 64, 0, NULL},
    {"race_histogram_clean", "y x", NONE, 0, 1, 64, 0, NULL},
    {"race_loop", "y i3", VG_RACE_SHARED, 0, 1, 128, 0, NULL},
    {"race_loop_clean", "y i3", NONE, 0, 1, 128, 0, NULL},
    {"race_blocks", "y", VG_RACE_GLOBAL, 0, 2, 128, 0, "block"},
    {"race_blocks", "y", NONE, 0, 1, 256, 0, NULL}, // one block does not race with itself here: each thread its own word
    {"race_blocks_clean", "y x", NONE, 0, 2, 128, 0, NULL},
    {"race_overlap", "y", VG_RACE_GLOBAL, 0, 4, 32, 0, "wrote"},
    {"race_overlap_clean", "y", NONE, 0, 4, 32, 0, NULL},
    {"race_bytes_clean", "y", NONE, 0, 64, 1, 0, NULL},
    {"last_block", "y x", VG_RACE_GLOBAL, 0, 16, 1, 0, NULL},
    {"last_block_clean", "y x", NONE, 0, 16, 64, 0, NULL},
    {"barrier_missing", "y", VG_BARRIER, 702, 1, 64, 0, NULL},
    {"barrier_clean", "y", NONE, 0, 1, 96, 0, NULL},
    {"missing_lane", "y", VG_MISSING_LANE, 0, 1, 32, 0, NULL},
    {"missing_lane_clean", "y", NONE, 0, 1, 32, 0, NULL},
    {"unnamed_lane", "y", VG_MISSING_LANE, 0, 1, 32, 0, "does not name it"},
    {"asserts", "x", VG_ASSERT, 710, 1, 64, 0, "x[threadIdx.x] != 3"},
    {"traps", "i5", VG_TRAP, 719, 1, 64, 0, "thread (5,0,0)"},
    {"traps", "i64", NONE, 0, 1, 64, 0, NULL},
};

static char *ptx;        // what is loaded
static char *source;     // checks.cu
static const char *seed; // for messages

static char *slurp(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *p = calloc(1, 1 << 22);
  size_t n = p ? fread(p, 1, (1 << 22) - 1, f) : 0;
  fclose(f);
  if (p) p[n] = 0;
  return p;
}

// The line of checks.cu that says "// HERE kernel"; 0: none.
static int marked_line(const char *kernel) {
  char mark[64];
  snprintf(mark, sizeof mark, "// HERE %s\n", kernel);
  const char *at = strstr(source, mark);
  int line = 1;
  for (const char *p = source; at && p < at; p++) line += *p == '\n';
  return at ? line : 0;
}

struct buffers {
  CUdeviceptr y, x, u, f, c;
};

static void make_buffers(struct buffers *b, CUmodule m) {
  int host[N];
  for (int i = 0; i < N; i++) host[i] = i;
  OK(cuMemAlloc_v2(&b->y, sizeof host));
  OK(cuMemAlloc_v2(&b->x, sizeof host));
  OK(cuMemAlloc_v2(&b->u, sizeof host));
  OK(cuMemAlloc_v2(&b->f, sizeof host));
  OK(cuMemcpyHtoD_v2(b->x, host, sizeof host));
  OK(cuMemcpyHtoD_v2(b->f, host, sizeof host));
  OK(cuMemsetD8_v2(b->y, 0, sizeof host));
  OK(cuModuleGetGlobal_v2(&b->c, NULL, m, "table"));
  OK(cuMemFree_v2(b->f));
}

static void free_buffers(const struct buffers *b) { // fails in a context that a fault has ended: the context frees them then
  cuMemFree_v2(b->y), cuMemFree_v2(b->x), cuMemFree_v2(b->u);
}

static int launch(const struct plan *p, CUmodule m, const struct buffers *b) {
  CUfunction f;
  uint64_t value[8];
  void *params[8];
  int n = 0;
  for (const char *a = p->args; *a; a += strcspn(a, " "), a += *a == ' ', n++) {
    value[n] = *a == 'y' ? b->y : *a == 'x' ? b->x : *a == 'u' ? b->u : *a == 'f' ? b->f : *a == 'c' ? b->c : *a == 'i' ? (uint64_t)atoi(a + 1) : 0;
    params[n] = &value[n];
  }
  OK(cuModuleGetFunction(&f, m, p->kernel));
  OK(cuLaunchKernel(f, p->grid, 1, 1, p->block, 1, 1, p->shared, NULL, params, NULL));
  return (int)cuCtxSynchronize();
}

static void judge(const struct plan *p, int error) {
  char place[80];
  if (p->kind == NONE) {
    if (vgpuFindings(-1) || error) fail_msg("%s, seed %s: false alarm: %s (error %d)", p->kernel, seed, vgpuFindingText(0), error);
    return;
  }
  if (!vgpuFindings(p->kind)) fail_msg("%s, seed %s: not found; error %d, %s", p->kernel, seed, error, vgpuFindingText(0));
  if (error != p->error) fail_msg("%s, seed %s: error %d instead of %d", p->kernel, seed, error, p->error);
  snprintf(place, sizeof place, "checks.cu:%d,", marked_line(p->kernel));
  for (unsigned i = 0; i < vgpuFindings(-1); i++) {
    const char *text = vgpuFindingText(i);
    if (vgpuFindingKind(i) != p->kind) fail_msg("%s, seed %s: found something else too: %s", p->kernel, seed, text);
    if (!strstr(text, p->kernel) || !strstr(text, "PTX line ")) fail_msg("no kernel or PTX line in: %s", text);
    bool inlined = strstr(text, ".hpp:") || strstr(text, ", in "); // an intrinsic's own file or function
    if (!inlined && p->kind != VG_RACE_SHARED && !strstr(text, place)) fail_msg("%s not in: %s", place, text);
    if (p->says && !strstr(text, p->says)) fail_msg("'%s' not in: %s", p->says, text);
  }
  for (unsigned i = 0; i < vgpuFindings(-1); i++)
    if (strstr(vgpuFindingText(i), place) || strstr(vgpuFindingText(i), ".hpp:") || strstr(vgpuFindingText(i), ", in ")) return; // a race has two sides, one is the marked
  fail_msg("%s, seed %s: %s not in: %s", p->kernel, seed, place, vgpuFindingText(0));
}

static void set_seed(unsigned s) {
  static char text[16];
  snprintf(text, sizeof text, "%u", s);
  setenv("VGPU_SEED", text, 1);
  seed = text;
}

// Under the thread sanitizer a kernel whose blocks race is a race of the interpreter's own threads: there it is left out.
static bool races_for_real(const struct plan *p) {
#ifdef __SANITIZE_THREAD__
  return p->kind == VG_RACE_GLOBAL || !strcmp(p->kernel, "race_overlap_clean");
#else
  (void)p;
  return false;
#endif
}

// A clean kernel may run again in its context, a planted one has mostly ended it.
static void run(const struct plan *p, unsigned seeds) {
  CUcontext ctx;
  CUmodule m;
  for (unsigned s = 0; s < seeds && !races_for_real(p);) {
    OK(cuCtxCreate_v2(&ctx, 0, 0));
    OK(cuModuleLoadData(&m, ptx));
    do {
      struct buffers b;
      set_seed(s++);
      make_buffers(&b, m);
      vgpuFindingsReset();
      int error = launch(p, m, &b);
      judge(p, error);
      free_buffers(&b);
    } while (p->kind == NONE && s < seeds);
    OK(cuCtxDestroy_v2(ctx));
    vgpuFindingsReset();
  }
}

static void test_planted(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) run(&plans[i], 6);
}

static void test_clean_many_orders(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
    if (plans[i].kind == NONE) run(&plans[i], 100);
}

static const char *nvcc(void) {
  if (!system("command -v nvcc >/dev/null 2>&1")) return "nvcc";
  return access("/usr/local/cuda/bin/nvcc", X_OK) ? NULL : "/usr/local/cuda/bin/nvcc";
}

static void test_compiled_here(void **state) { // by the nvcc of this machine: as usual, and without optimization
  (void)state;
  if (!nvcc()) {
    print_message("no nvcc: only the committed PTX was run\n");
    skip();
  }
  static const char *const how[] = {"-lineinfo", "-G"};
  char *kept = ptx;
  for (int i = 0; i < 2; i++) {
    char out[] = "/tmp/vgpu_checks_XXXXXX", cmd[256];
    close(mkstemp(out));
    snprintf(cmd, sizeof cmd, "%s -ptx %s -arch=sm_75 -o %s " FOLDER "checks.cu", nvcc(), how[i], out);
    assert_int_equal(system(cmd), 0);
    ptx = slurp(out);
    unlink(out);
    assert_non_null(ptx);
    for (size_t k = 0; k < sizeof plans / sizeof *plans; k++) run(&plans[k], 2);
    free(ptx);
  }
  ptx = kept;
}

static void test_counts(void **state) { // once per place, with a count
  (void)state;
  CUcontext ctx;
  CUmodule m;
  struct buffers b;
  OK(cuCtxCreate_v2(&ctx, 0, 0));
  OK(cuModuleLoadData(&m, ptx));
  make_buffers(&b, m);
  vgpuFindingsReset();
  const struct plan p = {"uninit_global", "y u", VG_UNINIT_GLOBAL, 0, 1, 64, 0, NULL};
  for (int i = 0; i < 3; i++) assert_int_equal(launch(&p, m, &b), 0);
  assert_int_equal(vgpuFindings(VG_UNINIT_GLOBAL), 1);
  assert_int_equal(vgpuFindingCount(0), 6); // two warps, three launches
  free_buffers(&b);
  OK(cuCtxDestroy_v2(ctx));
  vgpuFindingsReset();
}

static void test_sticky(void **state) { // a faulted context fails until it is gone
  (void)state;
  CUcontext ctx;
  CUmodule m;
  CUdeviceptr d;
  struct buffers b;
  OK(cuCtxCreate_v2(&ctx, 0, 0));
  OK(cuModuleLoadData(&m, ptx));
  make_buffers(&b, m);
  const struct plan p = {"null_store", "0", VG_OUT_OF_BOUNDS, 700, 1, 32, 0, NULL};
  assert_int_equal(launch(&p, m, &b), 700);
  IS(700, cuCtxSynchronize());
  IS(700, cuMemAlloc_v2(&d, 4));
  IS(700, cuMemcpyHtoD_v2(b.x, &d, 4));
  IS(700, cuStreamSynchronize(NULL));
  OK(cuCtxDestroy_v2(ctx));
  OK(cuCtxCreate_v2(&ctx, 0, 0));
  OK(cuMemAlloc_v2(&d, 4));
  OK(cuMemFree_v2(d));
  OK(cuCtxDestroy_v2(ctx));
  vgpuFindingsReset();
}

static void test_leak(void **state) {
  (void)state;
  CUcontext ctx;
  CUdeviceptr a, b;
  OK(cuCtxCreate_v2(&ctx, 0, 0));
  OK(cuMemAlloc_v2(&a, 100));
  OK(cuMemAlloc_v2(&b, 50));
  OK(cuMemFree_v2(b));
  IS(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(b)); // twice
  assert_int_equal(vgpuFindings(VG_BAD_HOST_CALL), 1);
  OK(cuCtxDestroy_v2(ctx));
  assert_int_equal(vgpuFindings(VG_LEAK), 1);
  assert_non_null(strstr(vgpuFindingText(1), "1 allocations of device memory, 100 bytes"));
  vgpuFindingsReset();
}

static void test_printf(void **state) {
  (void)state;
  CUcontext ctx;
  CUmodule m;
  CUfunction f;
  char path[] = "/tmp/vgpu_printf_XXXXXX";
  int n = 7, fd = mkstemp(path), keep = dup(1);
  void *params[] = {&n};
  assert_true(fd >= 0 && keep >= 0);
  OK(cuCtxCreate_v2(&ctx, 0, 0));
  OK(cuModuleLoadData(&m, ptx));
  OK(cuModuleGetFunction(&f, m, "prints"));
  fflush(stdout);
  dup2(fd, 1);
  CUresult launched = cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
  off_t before = lseek(fd, 0, SEEK_END);
  CUresult synced = cuCtxSynchronize();
  fflush(stdout);
  dup2(keep, 1);
  close(keep);
  OK(launched);
  OK(synced);
  assert_int_equal(before, 0); // nothing is seen before the synchronisation
  char *text = slurp(path);
  close(fd);
  unlink(path);
  assert_string_equal(text, "thread 0 of 7:  0.00|ab    |1099511627776|z|ff|%\nthread 1 of 7:  1.50|ab    |1099511627776|z|ff|%\n");
  free(text);
  OK(cuCtxDestroy_v2(ctx));
}

static int setup(void **state) {
  (void)state;
  ptx = slurp(FOLDER "checks.ptx");
  source = slurp(FOLDER "checks.cu");
  return !ptx || !source || cuInit(0);
}

static int teardown(void **state) {
  (void)state;
  free(ptx), free(source);
  return 0;
}

int main(void) {
  setenv("VGPU_LOG", "/dev/null", 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_planted), cmocka_unit_test(test_clean_many_orders), cmocka_unit_test(test_compiled_here), cmocka_unit_test(test_counts),
      cmocka_unit_test(test_sticky),  cmocka_unit_test(test_leak),              cmocka_unit_test(test_printf),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
