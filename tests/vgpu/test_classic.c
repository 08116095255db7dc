// classic.cu at one level of optimization (VGPU_TEST_PTX), through the driver API, against plain C. Every kernel runs under many
// seeds (blocks and warps in other orders) and must give one answer and no finding.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/vgpu/cu.h"
#include "runtime/vgpu/half.h"

static CUmodule module;
static uint32_t rng = 12345;

static uint32_t random_bits(void) {
  rng ^= rng << 13;
  rng ^= rng >> 17;
  return rng ^= rng << 5;
}
static float random_float(void) { return (float)(random_bits() >> 8) * 0x1p-23f - 1; }

static CUdeviceptr upload(const void *data, size_t bytes) {
  CUdeviceptr p;
  OK(cuMemAlloc_v2(&p, bytes));
  if (data) OK(cuMemcpyHtoD_v2(p, data, bytes));
  else OK(cuMemsetD8_v2(p, 0, bytes));
  return p;
}

static uint64_t answers; // a hash of all that was downloaded

static void download(void *to, CUdeviceptr p, size_t bytes) {
  OK(cuMemcpyDtoH_v2(to, p, bytes));
  OK(cuMemFree_v2(p));
  for (size_t i = 0; i < bytes; i++) answers = (answers ^ ((const uint8_t *)to)[i]) * 0x100000001b3;
}

static void launch(const char *name, unsigned gx, unsigned gy, unsigned bx, unsigned by, unsigned shared, void **args) {
  CUfunction f;
  OK(cuModuleGetFunction(&f, module, name));
  OK(cuLaunchKernel(f, gx, gy, 1, bx, by, 1, shared, NULL, args, NULL));
  OK(cuCtxSynchronize());
  if (vgpuFindings(-1)) print_message("%s: %s\n", name, vgpuFindingText(0));
  assert_int_equal(vgpuFindings(-1), 0);
}

static void assert_near(double got, double want, double tolerance, const char *what, int i) {
  if (!(fabs(got - want) <= tolerance)) fail_msg("%s[%d]: %.9g, expected %.9g", what, i, got, want);
}

static void test_reduction(void **state) {
  (void)state;
  int n = 20011;
  float *in = malloc((size_t)n * 4), out, want = 0;
  for (int i = 0; i < n; i++) want += in[i] = (float)(random_bits() % 8); // exact in any order
  CUdeviceptr a = upload(in, (size_t)n * 4), b = upload(NULL, 4);
  launch("reduction", 37, 1, 256, 1, 0, (void *[]){&a, &b, &n});
  download(&out, b, 4);
  OK(cuMemFree_v2(a));
  free(in);
  assert_true(out == want);
}

static void test_scan(void **state) {
  (void)state;
  enum { N = 3 * 200 };
  int in[N], out[N], s = 0;
  for (int i = 0; i < N; i++) in[i] = (int)(random_bits() % 100) - 50;
  CUdeviceptr a = upload(in, sizeof in), b = upload(NULL, sizeof out);
  launch("scan", 3, 1, 200, 1, 200 * 4, (void *[]){&a, &b});
  download(out, b, sizeof out);
  OK(cuMemFree_v2(a));
  for (int i = 0; i < N; i++) {
    s = i % 200 ? s + in[i] : in[i];
    assert_int_equal(out[i], s);
  }
}

static void test_transpose(void **state) {
  (void)state;
  int rows = 70, cols = 45;
  float in[70 * 45], out[70 * 45];
  for (int i = 0; i < rows * cols; i++) in[i] = random_float();
  CUdeviceptr a = upload(in, sizeof in), b = upload(NULL, sizeof out);
  launch("transpose", 2, 3, 32, 8, 0, (void *[]){&a, &b, &rows, &cols});
  download(out, b, sizeof out);
  OK(cuMemFree_v2(a));
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < cols; j++) assert_true(out[j * rows + i] == in[i * cols + j]);
}

static void test_histogram(void **state) {
  (void)state;
  int n = 5000;
  unsigned char *in = malloc((size_t)n);
  uint32_t out[256], want[256] = {0};
  for (int i = 0; i < n; i++) want[in[i] = (unsigned char)(random_bits() % 7 * 31)]++;
  CUdeviceptr a = upload(in, (size_t)n), b = upload(NULL, sizeof out);
  launch("histogram", 9, 1, 96, 1, 0, (void *[]){&a, &b, &n});
  download(out, b, sizeof out);
  OK(cuMemFree_v2(a));
  free(in);
  assert_memory_equal(out, want, sizeof out);
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void test_bitonic(void **state) {
  (void)state;
  uint32_t in[512], out[512];
  for (int i = 0; i < 512; i++) in[i] = random_bits() % 300;
  CUdeviceptr a = upload(in, sizeof in);
  launch("bitonic", 1, 1, 256, 1, 0, (void *[]){&a});
  download(out, a, sizeof out);
  qsort(in, 512, 4, by_value);
  assert_memory_equal(in, out, sizeof in);
}

static void test_matmul(void **state) {
  (void)state;
  enum { N = 50 };
  int n = N;
  static float a[N * N], b[N * N], c[N * N];
  for (int i = 0; i < N * N; i++) a[i] = random_float(), b[i] = random_float();
  CUdeviceptr pa = upload(a, sizeof a), pb = upload(b, sizeof b), pc = upload(NULL, sizeof c);
  launch("matmul", 4, 4, 16, 16, 0, (void *[]){&pa, &pb, &pc, &n});
  download(c, pc, sizeof c);
  OK(cuMemFree_v2(pa));
  OK(cuMemFree_v2(pb));
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      double s = 0;
      for (int k = 0; k < N; k++) s += (double)a[i * N + k] * b[k * N + j];
      assert_near(c[i * N + j], s, N * 0x1p-23 * 2, "matmul", i * N + j);
    }
}

static void random_halves(uint16_t *h, int n) {
  for (int i = 0; i < n; i++) h[i] = vgpu_float_to_half(random_float());
}

static void test_wmma(void **state) {
  (void)state;
  enum { KK = 48 };
  int k = KK;
  uint16_t a[16 * KK], b[16 * KK];
  float c[256];
  random_halves(a, 16 * KK);
  random_halves(b, 16 * KK);
  CUdeviceptr pa = upload(a, sizeof a), pb = upload(b, sizeof b), pc = upload(NULL, sizeof c);
  launch("wmma_matmul", 1, 1, 32, 1, 0, (void *[]){&pa, &pb, &pc, &k});
  download(c, pc, sizeof c);
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) {
      double s = 0;
      for (int p = 0; p < KK; p++) s += (double)vgpu_half_to_float(a[i * KK + p]) * vgpu_half_to_float(b[j * KK + p]);
      assert_near(c[i * 16 + j], 2 * s, KK * 0x1p-22, "wmma", i * 16 + j);
    }
  uint16_t h[256];
  CUdeviceptr ph = upload(NULL, sizeof h);
  launch("wmma_half", 1, 1, 32, 1, 0, (void *[]){&pa, &pb, &ph});
  download(h, ph, sizeof h);
  for (int i = 0; i < 32; i++)
    for (int j = 0; j < 8; j++) {
      double s = 1;
      for (int p = 0; p < 16; p++) s += (double)vgpu_half_to_float(a[p * 32 + i]) * vgpu_half_to_float(b[p * 8 + j]);
      assert_near(vgpu_half_to_float(h[j * 32 + i]), s, fabs(s) * 0x1p-10 + 0x1p-14, "wmma half", i * 8 + j);
    }
  signed char ia[128], ib[512];
  int ic[256];
  for (int i = 0; i < 128; i++) ia[i] = (signed char)random_bits();
  for (int i = 0; i < 512; i++) ib[i] = (signed char)random_bits();
  CUdeviceptr qa = upload(ia, sizeof ia), qb = upload(ib, sizeof ib), qc = upload(NULL, sizeof ic);
  launch("wmma_int", 1, 1, 32, 1, 0, (void *[]){&qa, &qb, &qc});
  download(ic, qc, sizeof ic);
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 32; j++) {
      int s = 7;
      for (int p = 0; p < 16; p++) s += ia[i * 16 + p] * ib[j * 16 + p];
      assert_int_equal(ic[i * 32 + j], s);
    }
  OK(cuMemFree_v2(pa));
  OK(cuMemFree_v2(pb));
  OK(cuMemFree_v2(qa));
  OK(cuMemFree_v2(qb));
}

static void test_mma(void **state) {
  (void)state;
  uint16_t a[256], b[128];
  float c[128];
  random_halves(a, 256);
  random_halves(b, 128);
  CUdeviceptr pa = upload(a, sizeof a), pb = upload(b, sizeof b), pc = upload(NULL, sizeof c);
  launch("mma_matmul", 1, 1, 32, 1, 0, (void *[]){&pa, &pb, &pc});
  download(c, pc, sizeof c);
  OK(cuMemFree_v2(pa));
  OK(cuMemFree_v2(pb));
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 8; j++) {
      double s = 0;
      for (int p = 0; p < 16; p++) s += (double)vgpu_half_to_float(a[i * 16 + p]) * vgpu_half_to_float(b[p * 8 + j]);
      assert_near(c[i * 8 + j], s, 0x1p-19, "mma", i * 8 + j);
    }
}

static int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static void test_calls(void **state) {
  (void)state;
  int out[64];
  CUdeviceptr p = upload(NULL, sizeof out);
  launch("recursion", 1, 1, 64, 1, 0, (void *[]){&p});
  OK(cuMemcpyDtoH_v2(out, p, sizeof out));
  for (int i = 0; i < 64; i++) assert_int_equal(out[i], fibonacci(i % 12));
  launch("pointers", 1, 1, 64, 1, 0, (void *[]){&p});
  OK(cuMemcpyDtoH_v2(out, p, sizeof out));
  for (int i = 0; i < 64; i++) assert_int_equal(out[i], i % 2 ? (i + 1) * (i + 1) : 2 * (i + 1));
  launch("table", 1, 1, 64, 1, 0, (void *[]){&p});
  static const int digits[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
  OK(cuMemcpyDtoH_v2(out, p, sizeof out));
  for (int i = 0; i < 64; i++) assert_int_equal(out[i], digits[i * 7 & 15]);
  int k = 7;
  launch("local_arrays", 1, 1, 64, 1, 0, (void *[]){&p, &k});
  download(out, p, sizeof out);
  for (int t = 0; t < 64; t++) {
    int a[20], s = 0;
    for (int i = 0; i < 20; i++) a[i] = i * t;
    a[k] += 5;
    for (int i = 0; i < 20; i++) s += a[i * k % 20] - (i % 10 - k);
    assert_int_equal(out[t], s);
  }
  struct {
    int key[3];
    double value;
  } arg = {{10, 20, 30}, 8};
  double d[40];
  p = upload(NULL, sizeof d);
  launch("structs", 1, 1, 40, 1, 0, (void *[]){&arg, &p});
  download(d, p, sizeof d);
  for (int i = 0; i < 40; i++) assert_true(d[i] == arg.key[i % 3] + i + 4.0);
}

static void test_votes(void **state) {
  (void)state;
  int in[64];
  uint32_t out[64 * 4];
  for (int i = 0; i < 64; i++) in[i] = (int)(random_bits() % 8);
  CUdeviceptr a = upload(in, sizeof in), b = upload(NULL, sizeof out);
  launch("votes", 1, 1, 64, 1, 0, (void *[]){&a, &b});
  download(out, b, sizeof out);
  OK(cuMemFree_v2(a));
  for (int i = 0; i < 64; i++) {
    uint32_t ballot = 0, same = 0, odd = 0, any = 0;
    for (int l = 0; l < 32; l++) {
      int v = in[i / 32 * 32 + l];
      ballot |= (uint32_t)(v > 2) << l;
      same |= (uint32_t)(v == in[i]) << l;
      odd |= (uint32_t)(l < 20 && (v & 1)) << l;
      any |= v == 7;
    }
    assert_int_equal(out[i * 4], ballot);
    assert_int_equal(out[i * 4 + 1], same);
    assert_int_equal(out[i * 4 + 2], i % 32 < 20 ? odd : 0);
    assert_int_equal(out[i * 4 + 3], any | 14);
  }
}

static double ulps(double want) { return fmax(fabs(want), 1e-30); }

static void test_math(void **state) {
  (void)state;
  double in[32], out[32 * 4];
  float fin[32], fout[32 * 8];
  for (int i = 0; i < 32; i++) fin[i] = (float)(in[i] = 0.01 + i * 0.37);
  CUdeviceptr a = upload(in, sizeof in), b = upload(NULL, sizeof out), c = upload(fin, sizeof fin), d = upload(NULL, sizeof fout);
  launch("doubles", 1, 1, 32, 1, 0, (void *[]){&a, &b});
  launch("singles", 1, 1, 32, 1, 0, (void *[]){&c, &d});
  download(out, b, sizeof out);
  download(fout, d, sizeof fout);
  OK(cuMemFree_v2(a));
  OK(cuMemFree_v2(c));
  for (int i = 0; i < 32; i++) {
    double x = in[i], y = (double)fin[i];
    const double want[4] = {sqrt(x) + 1 / x, fma(x, x, -1), sin(x), exp(-x) * log(x)};
    for (int k = 0; k < 4; k++) assert_near(out[i * 4 + k], want[k], 4e-16 * ulps(want[k]) + 2e-17, "double", i * 4 + k);
    const double single[8] = {sqrt(y) / (y + 1), exp(-y), log(y), sin((double)(fin[i] * 1000)), pow(y, (double)1.7f), tanh(y - 2), fmod((double)(fin[i] * 100), (double)3.3f),
                              rint((double)(fin[i] * 10)) + floor(y) - 7};
    for (int k = 0; k < 8; k++) assert_near(fout[i * 8 + k], single[k], 6e-7 * ulps(single[k]) + 1e-9, "single", i * 8 + k);
  }
}

static int divergence(int i) {
  int s = 0;
  for (int a = 0; a < i % 17; a++) {
    if (a == 11) break;
    if (a % 3 == i % 3) continue;
    for (int b = a; b < i % 7 + a; b++) s += a * b + 1;
  }
  switch (i % 9) {
  case 0: s += 5; break;
  case 1: s = (s - 7) * 3; break;
  case 2: s *= 3; break;
  case 3: s ^= 0x55; break;
  case 4: s = (int)((unsigned)s << 2); break;
  case 5: s = -s; break;
  case 6: s += i; break;
  default: s += 1000;
  }
  if (i % 2) {
    while (s > 10 && (s & 1) == 0) s /= 2;
  } else if (i % 5 == 0) s = s % 13 + 1;
  return s;
}

static void test_divergence(void **state) {
  (void)state;
  int n = 1000, out[1000];
  CUdeviceptr p = upload(NULL, sizeof out);
  launch("divergence", 8, 1, 128, 1, 0, (void *[]){&p, &n});
  download(out, p, sizeof out);
  for (int i = 0; i < n; i++) assert_int_equal(out[i], divergence(i));
}

static void test_waiting(void **state) {
  (void)state;
  int total, out[256], data[60];
  CUdeviceptr p = upload(NULL, sizeof out);
  launch("spin_lock", 5, 1, 64, 1, 0, (void *[]){&p});
  OK(cuMemcpyDtoH_v2(&total, p, 4));
  assert_int_equal(total, 320);
  launch("spin_wait", 3, 1, 48, 1, 0, (void *[]){&p});
  OK(cuMemcpyDtoH_v2(&total, p, 4));
  assert_int_equal(total, 144);
  launch("barriers", 1, 1, 128, 1, 0, (void *[]){&p});
  OK(cuMemcpyDtoH_v2(out, p, sizeof out));
  for (int t = 0; t < 128; t++) {
    assert_int_equal(out[t], t < 64 ? (63 - t) * 3 : (t - 64) * 3 + 1);
    assert_int_equal(out[128 + t], 64 + 1000 + 10000);
  }
  launch("warp_sync", 1, 1, 32, 1, 0, (void *[]){&p});
  download(out, p, sizeof out);
  for (int l = 0; l < 32; l++) assert_int_equal(out[l], l < 16 ? l + 216 : l + 84);
  CUdeviceptr arrived, q = upload(NULL, sizeof data);
  OK(cuModuleGetGlobal_v2(&arrived, NULL, module, "arrived"));
  OK(cuMemsetD32_v2(arrived, 0, 1));
  launch("grid_barrier", 30, 1, 64, 1, 0, (void *[]){&q});
  download(data, q, sizeof data);
  for (int i = 0; i < 30; i++) assert_int_equal(data[30 + i], 30 * 31 / 2);
}

static void test_atomics(void **state) {
  (void)state;
  enum { N = 300 };
  int in[8] = {1000, -1, 0, -1, 0, 0, 0, 0}, out[8], x = 0;
  for (int i = 0; i < N; i++) x ^= i;
  CUdeviceptr a = upload(in, sizeof in), f = upload(NULL, 4), q = upload(NULL, 32);
  launch("atomics", 3, 1, 100, 1, 0, (void *[]){&a, &f, &q});
  float sum;
  uint64_t wide[4];
  download(out, a, sizeof out);
  download(&sum, f, 4);
  download(wide, q, sizeof wide);
  assert_int_equal(out[0], -5);
  assert_int_equal(out[1], (N - 1) * 3);
  assert_int_equal(out[2], 0x7fffffff);
  assert_int_equal(out[3], ~0x7f);
  assert_int_equal(out[4], x);
  assert_int_equal(out[5], N % 100);
  assert_int_equal(out[6], 1001 - N);
  assert_int_equal(out[7], -2 * N);
  assert_true(sum == N);
  assert_int_equal(wide[0], 3 * N);
  assert_true(vgpu_as_double(wide[1]) == 0.5 * N);
  assert_true(vgpu_half_to_float((uint16_t)wide[2]) == N && vgpu_half_to_float((uint16_t)(wide[2] >> 16)) == 2 * N);
  assert_int_equal(wide[3], 0); // all are below
}

// All of the above again under other orders of blocks and warps: no findings, and the same bits each time.
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { SEEDS = 3 };
#else
enum { SEEDS = 100 };
#endif
static void test_seeds(void **state) {
  static void (*const tests[])(void **) = {test_reduction, test_scan,  test_transpose, test_histogram, test_bitonic,    test_matmul,  test_wmma,
                                           test_mma,       test_calls, test_votes,     test_math,      test_divergence, test_atomics};
  uint64_t first = 0;
  for (int seed = 0; seed < SEEDS; seed++) {
    char text[16];
    snprintf(text, sizeof text, "%d", seed * 7919 + 1);
    setenv("VGPU_SEED", text, 1);
    rng = 12345, answers = 0;
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) tests[k](state);
    if (!seed) first = answers;
    if (answers != first) fail_msg("VGPU_SEED=%s gives another answer", text);
    if (seed % 10 == 0) test_waiting(state); // spins, so it takes as long as the others together
  }
}

static int set_up(void **state) {
  (void)state;
  FILE *f = fopen(VGPU_TEST_PTX, "rb");
  if (!f) return -1;
  char *text = calloc(1, 4 << 20), log[1024] = "";
  size_t n = fread(text, 1, (4 << 20) - 1, f);
  fclose(f);
  CUdevice dev;
  CUcontext ctx;
  OK(cuInit(0));
  OK(cuDeviceGet(&dev, 0));
  OK(cuDevicePrimaryCtxRetain(&ctx, dev));
  OK(cuCtxSetCurrent(ctx));
  CUjit_option options[2] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  int r = (int)cuModuleLoadDataEx(&module, text, 2, options, (void *[]){log, (void *)sizeof log});
  if (r) print_message("load: %d %s\n", r, log);
  free(text);
  return r || !n;
}

int main(void) {
  FILE *f = fopen(VGPU_TEST_PTX, "rb");
  if (!f) {
    printf("skipped: no nvcc made %s\n", VGPU_TEST_PTX);
    return 77;
  }
  fclose(f);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reduction), cmocka_unit_test(test_scan), cmocka_unit_test(test_transpose), cmocka_unit_test(test_histogram),
      cmocka_unit_test(test_bitonic), cmocka_unit_test(test_matmul), cmocka_unit_test(test_wmma), cmocka_unit_test(test_mma),
      cmocka_unit_test(test_calls), cmocka_unit_test(test_votes), cmocka_unit_test(test_math), cmocka_unit_test(test_divergence),
      cmocka_unit_test(test_waiting), cmocka_unit_test(test_atomics), cmocka_unit_test(test_seeds)};
  return cmocka_run_group_tests(tests, set_up, NULL);
}
