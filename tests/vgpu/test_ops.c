// Every instruction and type against plain C (op_table.inc), on edges and random operands (all 65536 halves where it is unary), with
// all lanes and with every other lane; memory, warp and tensor operations in the ops_*.c files. Then: no operation of the interpreter's
// list may be without a test.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "runtime/vgpu/half.h"
#include "tests/vgpu/lab.h"
#include "tests/vgpu/op_reference.h"

static const struct row {
  const char *text, *kinds;
} rows[] = {
#define T(text, kinds, expr) {text, kinds},
#include "tests/vgpu/op_table.inc"
#undef T
};
enum { NUM_ROWS = sizeof rows / sizeof *rows, RECORD = 48, BLOCK = 128, SAMPLES = 2048 };

enum { BASE = __COUNTER__ };
static uint64_t answer(int k, const uint64_t *s) {
  switch (k) {
#define T(text, kinds, expr) \
  case __COUNTER__ - BASE - 1: return (uint64_t)(expr);
#include "tests/vgpu/op_table.inc"
#undef T
  default: abort();
  }
}

static uint64_t edge(char kind) {
  static const uint64_t e32[] = {0, 1, 2, 3, 31, 32, 33, 63, 64, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x7fffff, 0x800000, 0xffffff, 0x7fffffff, 0x80000000,
                                 0xffffffff, 0xfffffffe, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x807fffff,
                                 0x00800000, 0x7f7fffff, 0x3effffff, 0x3f000000, 0x4f000000, 0x4effffff, 0x4f800000, 0xcf000000, 0x5f000000, 0x477fe000, 0x477ff000, 0x33000000, 0x33000001, 0x387fe000};
  static const uint64_t e64[] = {0, 1, 2, 31, 32, 63, 64, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, ~0ull, 1ull << 63, ~0ull >> 1, 0x3ff0ull << 48, 0xbff0ull << 48,
                                 0x7ff0ull << 48, 0xfff0ull << 48, 0x7ff8ull << 48, 0x7ff0000000000001, 0xfff8000000001234, 0x000fffffffffffff, 0x0010000000000000,
                                 0x7fefffffffffffff, 0x41e0000000000000, 0x41dfffffffc00000, 0xc1e0000000000000, 0xc1e0000000200000, 0x43e0000000000000, 0x43f0000000000000, 0x3fe0000000000000,
                                 0x3ff8000000000000, 0x47efffffe0000000, 0x47f0000000000000, 0x36a0000000000000, 0x3690000000000001};
  static const uint64_t e16[] = {0, 1, 2, 15, 16, 255, 0x3ff, 0x400, 0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff, 0x8000, 0x7fff, 0x8001};
  uint64_t r = lab_random();
  switch (kind) {
  case 'l': return e64[r % (sizeof e64 / 8)];
  case 'h': return e16[r % (sizeof e16 / 8)];
  default: return e32[r % (sizeof e32 / 8)];
  }
}

static uint64_t operand(char kind) {
  uint64_t high = lab_random() << (kind == 'h' ? 16 : kind == 'r' ? 32 : 1);
  switch (lab_random() % 8) {
  case 0: case 1: case 2: return kind == 'l' ? edge(kind) : (edge(kind) & (kind == 'h' ? 0xffff : kind == 'r' ? 0xffffffff : 1)) | high;
  case 3: return lab_random() % 70 | (kind == 'l' ? 0 : high & ~0xffffull);
  case 4: if (kind == 'r') return (bits32((float)(int32_t)lab_random() * 0x1p-20f)) | high; // floats of middling size
          if (kind == 'l') return bits64((double)(int64_t)lab_random() * 0x1p-40);
          return lab_random();
  default: return lab_random();
  }
}

static const char *reg_type(char kind) { return kind == 'h' ? "b16" : kind == 'r' ? "b32" : kind == 'l' ? "b64" : "pred"; }

// k(base): reads a, b, c, e of the record, stores d for all lanes at 32 and for every other lane at 40.
static void write_kernel(struct text *out, const char *text, const char *kinds) {
  static const char names[] = "abce";
  out->n = 0;
  put(out, LAB_HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .b64 base;\n.reg .b32 w, i;\n.reg .pred g;\n");
  for (size_t k = 0; kinds[k + 1]; k++) put(out, ".reg .%s %c;\n", reg_type(kinds[k + 1]), names[k]);
  put(out, "ld.param.u64 base, [p];\nmov.u32 i, %%ctaid.x;\nmov.u32 w, %%tid.x;\nmad.lo.u32 i, i, %d, w;\nmad.wide.u32 base, i, %d, base;\nand.b32 w, w, 1;\n"
      "setp.ne.u32 g, w, 0;\n", BLOCK, RECORD);
  for (size_t k = 0; kinds[k + 1]; k++) {
    if (kinds[k + 1] == 'p') put(out, "ld.global.u32 w, [base+%zu];\nand.b32 w, w, 1;\nsetp.ne.u32 %c, w, 0;\n", 8 * k, names[k]);
    else put(out, "ld.global.%s %c, [base+%zu];\n", reg_type(kinds[k + 1]), names[k], 8 * k);
  }
  for (int half_warp = 0; half_warp < 2; half_warp++) {
    put(out, "{\n.reg .%s d;\n", reg_type(kinds[0]));
    if (half_warp && kinds[0] == 'p') put(out, "setp.ne.u32 d, 0, 0;\n@!g bra SKIP;\n");
    else if (half_warp) put(out, "mov.%s d, 0;\n@!g bra SKIP;\n", reg_type(kinds[0]));
    put(out, "%s\n%s", text, half_warp ? "SKIP:\n" : "");
    if (kinds[0] == 'p') put(out, "selp.u32 w, 1, 0, d;\nst.global.u32 [base+%d], w;\n}\n", 32 + 8 * half_warp);
    else put(out, "st.global.%s [base+%d], d;\n}\n", reg_type(kinds[0]), 32 + 8 * half_warp);
  }
  put(out, "ret;\n}\n");
}

static bool run(const char *text, const char *kinds, int samples) {
  static struct text t;
  write_kernel(&t, text, kinds);
  return lab_run(t.s, (uint32_t)samples / BLOCK, BLOCK, NULL);
}

static uint64_t masked(uint64_t v, char kind) { return kind == 'h' ? v & 0xffff : kind == 'r' ? v & 0xffffffff : kind == 'p' ? v & 1 : v; }

static bool check(int k, const uint64_t *s, int lane) {
  uint64_t want = masked(answer(k, s), rows[k].kinds[0]);
  for (int half_warp = 0; half_warp < 2; half_warp++) {
    uint64_t expected = half_warp && !(lane & 1) ? 0 : want, got = masked(s[4 + half_warp], rows[k].kinds[0]);
    if (got == expected) continue;
    print_message("%s with a %#llx b %#llx c %#llx e %#llx: %#llx, expected %#llx%s\n", rows[k].text, (unsigned long long)s[0], (unsigned long long)s[1],
               (unsigned long long)s[2], (unsigned long long)s[3], (unsigned long long)got, (unsigned long long)expected, half_warp ? " (half the lanes)" : "");
    return false;
  }
  return true;
}

static void test_table(void **state) {
  (void)state;
  int wrong = 0;
  for (int k = 0; k < NUM_ROWS; k++) {
    const char *kinds = rows[k].kinds;
    bool all_halves = kinds[1] == 'h' && !kinds[2];
    int samples = all_halves ? 65536 : SAMPLES;
    uint64_t(*s)[RECORD / 8] = (void *)lab.host;
    memset(lab.host, 0, (size_t)samples * RECORD);
    for (int i = 0; i < samples; i++)
      for (int j = 0; kinds[j + 1]; j++) s[i][j] = all_halves ? (uint64_t)i : operand(kinds[j + 1]);
    bool right = run(rows[k].text, kinds, samples);
    for (int i = 0; right && i < samples; i++) right = check(k, s[i], i % BLOCK);
    wrong += !right;
  }
  assert_int_equal(wrong, 0);
}

// The approximate functions: |got - want| within the hardware's documented error.
static double reciprocal_root(double x) { return 1 / sqrt(x); }
static double reciprocal(double x) { return 1 / x; }
static const struct near {
  const char *text, *kinds;
  double (*f)(double);
  double relative, absolute, lo, hi;
} nears[] = {{"ex2.approx.f32 d, a;", "rr", exp2, 0x1p-22, 0x1p-149, -140, 127}, {"ex2.approx.ftz.f32 d, a;", "rr", exp2, 0x1p-22, 0, -120, 127},
             {"lg2.approx.f32 d, a;", "rr", log2, 0x1p-22, 0x1p-22, 1e-30, 1e30}, {"sin.approx.f32 d, a;", "rr", sin, 0, 0x1p-20, -3.14, 3.14},
             {"cos.approx.f32 d, a;", "rr", cos, 0, 0x1p-20, -3.14, 3.14}, {"tanh.approx.f32 d, a;", "rr", tanh, 0x1p-11, 0, -9, 9},
             {"rsqrt.approx.f32 d, a;", "rr", reciprocal_root, 0x1p-22, 0, 1e-30, 1e30}, {"rsqrt.approx.ftz.f32 d, a;", "rr", reciprocal_root, 0x1p-22, 0, 1e-30, 1e30},
             {"sqrt.approx.f32 d, a;", "rr", sqrt, 0x1p-22, 0, 0, 1e30}, {"rcp.approx.f32 d, a;", "rr", reciprocal, 0x1p-23, 0, 1e-30, 1e30},
             {"rcp.approx.ftz.f64 d, a;", "ll", reciprocal, 0x1p-19, 0, 1e-30, 1e30}, {"rsqrt.approx.ftz.f64 d, a;", "ll", reciprocal_root, 0x1p-19, 0, 1e-30, 1e30},
             {"rsqrt.approx.f64 d, a;", "ll", reciprocal_root, 0x1p-50, 0, 1e-30, 1e30}, {"ex2.approx.f16 d, a;", "hh", exp2, 0x1p-9, 0, -10, 15},
             {"tanh.approx.f16 d, a;", "hh", tanh, 0x1p-10, 0, -5, 5}, {"ex2.approx.f16x2 d, a;", "rr", NULL, 0, 0, 0, 0},
             {"tanh.approx.f16x2 d, a;", "rr", NULL, 0, 0, 0, 0}};

static uint64_t encode(double v, char kind) { return kind == 'l' ? bits64(v) : kind == 'r' ? bits32((float)v) : to_half(v, 0); }
static double decode(uint64_t v, char kind) { return kind == 'l' ? f64_of(v) : kind == 'r' ? (double)f32_of(v) : (double)half((uint16_t)v); }

static void test_approximate(void **state) {
  (void)state;
  for (size_t k = 0; k < sizeof nears / sizeof *nears; k++) {
    const struct near *n = &nears[k];
    char kind = n->kinds[0];
    uint64_t(*s)[RECORD / 8] = (void *)lab.host;
    for (int i = 0; i < SAMPLES; i++) s[i][0] = n->f ? encode(n->lo + (n->hi - n->lo) * (double)(lab_random() >> 11) * 0x1p-53, kind) : lab_random() % 0x7c00 * 0x10001;
    assert_true(run(n->text, n->kinds, SAMPLES));
    for (int i = 0; i < SAMPLES; i++) {
      if (!n->f) { // halves in pairs are what single ones are
        assert_int_equal(s[i][4] & 0xffff, s[i][4] >> 16 & 0xffff);
        continue;
      }
      double x = decode(s[i][0], kind), want = n->f(x), got = decode(s[i][4], kind);
      if (!(fabs(got - want) <= n->relative * fabs(want) + n->absolute)) fail_msg("%s of %.9g: %.9g, expected %.9g", n->text, x, got, want);
    }
  }
}

// What stands in for fmaf where the CPU has none: all triples of edges, random ones, and sums that nearly cancel or nearly tie.
static void test_soft_fma(void **state) {
  (void)state;
  static const uint32_t edges[] = {0, 1, 2, 0x7fffff, 0x800000, 0x800001, 0xffffff, 0x33800000, 0x33800001, 0x3effffff, 0x3f000000, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fffffff,
                                   0x4b7fffff, 0x5f800000, 0x7f000000, 0x7f7fffff, 0x7f800000, 0x7fc00000, 0x1fc00001, 0x20000000, 0x34000000};
  enum { N = sizeof edges / sizeof *edges, MANY = 1000000 };
  for (int k = 0; k < N * N * N * 8 + MANY; k++) {
    uint64_t r = lab_random();
    int j = k / 8;
    uint32_t a = edges[j % N] | (uint32_t)(k & 1) << 31, b = edges[j / N % N] | (uint32_t)(k & 2) << 30, c = edges[j / N / N % N] | (uint32_t)(k & 4) << 29;
    if (j >= N * N * N) a = (uint32_t)r, b = (uint32_t)(r >> 32), c = (uint32_t)lab_random();
    if (j >= N * N * N && k % 3 == 0) { // c near the product, or 24 bits or so from it
      float product = f32_of(a) * f32_of(b), shift = ldexpf(1, k % 9 == 0 ? 0 : (int)(lab_random() % 60) - 30);
      c = bits32(-product * shift) + (uint32_t)(lab_random() % 5) - 2;
    }
    uint32_t want = canon(fmaf(f32_of(a), f32_of(b), f32_of(c))), got = canon(vgpu_soft_fma(f32_of(a), f32_of(b), f32_of(c)));
    if (got != want) fail_msg("fma of %#x %#x %#x: %#x, expected %#x", a, b, c, got, want);
  }
}

static void test_coverage(void **state) {
  (void)state;
  static const struct {
    int op;
    const char *name;
  } list[] = {
#define X(n) {OP_##n, #n},
      VGPU_OPS(X)
#undef X
  };
  int missing = 0;
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (!lab.covered[list[i].op]) print_message("no test reaches %s\n", list[i].name), missing++;
  assert_int_equal(missing, 0);
}

// Of those that are many in one.
static void test_coverage_within(void **state) {
  (void)state;
  static const struct {
    int op, num;
    const char *name;
  } list[] = {{OP_ATOM, ATOM_CAS + 1, "atom"}, {OP_SHFL, SHFL_IDX + 1, "shfl"}, {OP_VOTE, VOTE_BALLOT + 1, "vote"}, {OP_MMA_INT, 4, "mma of integers"}, {OP_MMA_F16, 4, "mma of halves"},
              {OP_MMA_M8N8K4, 4, "mma.m8n8k4"}, {OP_LDMATRIX, 2, "ldmatrix"}};
  int missing = 0;
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    for (int k = 0; k < list[i].num; k++)
      if (!lab.covered_sub[list[i].op][k]) print_message("no test reaches form %d of %s\n", k, list[i].name), missing++;
  assert_int_equal(missing, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_soft_fma), cmocka_unit_test(test_table), cmocka_unit_test(test_approximate), cmocka_unit_test(test_loads), cmocka_unit_test(test_stores), cmocka_unit_test(test_function_parameters),
      cmocka_unit_test(test_mixed_generic), cmocka_unit_test(test_spaces), cmocka_unit_test(test_atomics), cmocka_unit_test(test_shuffles), cmocka_unit_test(test_votes),
      cmocka_unit_test(test_matches), cmocka_unit_test(test_block_reductions), cmocka_unit_test(test_arrive), cmocka_unit_test(test_control), cmocka_unit_test(test_recursion), cmocka_unit_test(test_trap),
      cmocka_unit_test(test_ldmatrix), cmocka_unit_test(test_movmatrix), cmocka_unit_test(test_mma_half), cmocka_unit_test(test_mma_special), cmocka_unit_test(test_mma_integer),
      cmocka_unit_test(test_wmma), cmocka_unit_test(test_coverage), cmocka_unit_test(test_coverage_within)};
  return cmocka_run_group_tests(tests, lab_open, lab_close);
}
