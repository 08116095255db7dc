// The PTX reader and decoder: what they accept, what they refuse and how they say it, and that no text crashes them: mutated and cut
// modules of every kind of statement (the seed is printed; VGPU_TEST_SEED repeats a run).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/vgpu/exec_internal.h"

#define HEAD ".version 7.5\n.target sm_75\n.address_size 64\n"

// One of each kind of statement.
static const char good[] = HEAD
    "/* a comment */ // another\n.file 1 \"a.cu\"\n"
    ".extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);\n"
    ".func (.param .b32 r) g (.param .b32 a);\n"
    ".global .align 8 .u64 fp[2] = {g, 0};\n.global .align 4 .f32 t[2][2] = {{1.5, 0f3F800000}, {-2.0, 0d3FF0000000000000}};\n"
    ".const .align 4 .b8 c[8] = {1, 0x2, 0b11, 04, (1+2)*3};\n.global .u64 pt = generic(t)+4;\n.extern .shared .align 16 .b8 dyn[];\n"
    ".func (.param .b32 r) g (.param .b32 a)\n{\n.reg .b32 %x<4>;\n.local .align 8 .b8 depot[16];\n.reg .b64 %q<3>;\nmov.u64 %q1, depot;\n"
    "ld.param.u32 %x1, [a];\nst.local.u32 [%q1+4], %x1;\nld.local.u32 %x2, [%q1+4];\nst.param.b32 [r+0], %x2;\nret;\n}\n"
    ".visible .entry k(.param .u64 p, .param .align 8 .b8 s[24])\n.maxntid 128, 1, 1\n.minnctapersm 2\n{\n"
    ".reg .pred %p<5>;\n.reg .b16 %h<5>;\n.reg .b32 %r<20>;\n.reg .f32 %f<5>;\n.reg .b64 %rd<9>;\n.reg .v2 .u32 %v;\n.shared .align 4 .b8 sh[64];\n"
    ".loc 1 12 3\nld.param.u64 %rd1, [p];\nld.param.v2.u32 {%r1, %r2}, [s+8];\nmov.u32 %r3, %tid.x;\nmov.u64 %rd2, fp;\nld.global.u64 %rd3, [%rd2];\n"
    "setp.lt.and.u32 %p1|%p2, %r3, 7, %p3;\n@!%p1 bra $L_1;\nmov.u32 %r4, sh;\nst.shared.v4.b32 [%r4+16], {%r1, %r2, %r3, 5};\nbar.sync 0;\n"
    "{\n.reg .b32 t1;\n.param .b32 a0;\nst.param.b32 [a0+0], %r3;\n.param .b32 r0;\ncall.uni (r0), g, (a0);\nld.param.b32 t1, [r0+0];\n"
    "proto : .callprototype (.param .b32 _) _ (.param .b32 _);\ncall (r0), %rd3, (a0), proto;\nadd.s32 %r5, t1, -1;\n}\n"
    "$L_1:\n.pragma \"nounroll\";\nfma.rn.f32 %f1, %f2, 0f3F800000, 1.5;\ncvt.rzi.s32.f32 %r6, %f1;\nmov.b64 {%r7, _}, %rd1;\n"
    "ts: .branchtargets $L_2, $L_3;\nand.b32 %r8, %r3, 1;\nbrx.idx %r8, ts;\n$L_2:\natom.global.add.u32 %r9, [%rd1], 1;\nshfl.sync.bfly.b32 %r10|%p3, %r9, 1, 31, -1;\n$L_3:\n"
    "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3}, {%f1,%f2,%f3,%f4};\n"
    "mov.u32 %r11, dyn;\nldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r12, %r13}, [%r11];\nadd.u32 %v.x, %r12, 1;\nlop3.b32 %r14, %v.x, %r2, %r3, 0x96;\nexit;\n}\n"
    ".section .debug_str {\n.b8 1,2,3\n.b32 k\n}\n";

static struct vgpu_code *load(const char *text, size_t size, struct ptx_error *e) {
  struct ptx_module *m = ptx_parse(text, size, e);
  return m ? vgpu_decode(m, e) : NULL;
}

static void test_accepts(void **state) {
  (void)state;
  struct ptx_error e;
  struct vgpu_code *c = load(good, sizeof good - 1, &e);
  if (!c) fail_msg("%s", e.text);
  const struct vgpu_func *k = vgpu_find_func(c, "k");
  assert_non_null(k);
  assert_int_equal(k->param_bytes, 32);
  assert_int_equal(k->static_shared, 64);
  assert_int_equal(k->dynamic_align, 16);
  assert_int_equal(k->max_threads, 128);
  assert_true(k->uses_barrier);
  struct ptx_var *t = vgpu_find_var(c, "t"), *pt = vgpu_find_var(c, "pt"), *consts = vgpu_find_var(c, "c");
  float values[4];
  uint8_t bytes[8];
  t->address = 0x1000;
  vgpu_var_bytes(c, t, (uint8_t *)values);
  assert_true(values[0] == 1.5f && values[1] == 1 && values[2] == -2 && values[3] == 1);
  vgpu_var_bytes(c, consts, bytes);
  assert_memory_equal(bytes, ((uint8_t[]){1, 2, 3, 4, 9, 0, 0, 0}), 8);
  uint64_t address;
  vgpu_var_bytes(c, pt, (uint8_t *)&address);
  assert_int_equal(address, 0x1004);
  int n = 0;
  for (struct ptx_var *v = NULL; (v = vgpu_next_var(c, v));) n++;
  assert_int_equal(n, 4);
  vgpu_link(c);
  struct vg_where where;
  vgpu_locate(c, k->first, &where);
  assert_int_equal(where.line, 12);
  assert_string_equal(where.file, "a.cu");
  vgpu_code_free(c);
}

#define BODY(text) HEAD ".entry k(.param .u64 p)\n{\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<9>;\n.reg .b16 %h<9>;\n.reg .pred %p<3>;\n" text "\nret;\n}\n"

static void test_refuses(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
    enum ptx_status status;
  } cases[] = {
      {"", "begins with .version", PTX_SYNTAX},
      {".version 99.0\n.target sm_75\n", "version", PTX_VERSION},
      {".version 7.0\n.target sm_80\n.address_size 64\n", "sm_80", PTX_TARGET},
      {".version 8.0\n.target sm_90a\n.address_size 64\n", "sm_90a", PTX_TARGET},
      {BODY("frobnicate.u32 %r1, %r2;"), "line 11: 'frobnicate.u32 %r1, %r2;': unknown instruction", PTX_SYNTAX},
      {BODY("cp.async.ca.shared.global [%r1], [%rd1], 16;"), "'cp.async.ca.shared.global [%r1], [%rd1], 16;': needs sm_80", PTX_FEATURE},
      {BODY("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%f1,%f2,%f3,%f4};"), "shape", PTX_FEATURE},
      {BODY("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2}, {%r3}, {%f1,%f2,%f3,%f4};"), "bf16 needs sm_80", PTX_FEATURE},
      {BODY("redux.sync.add.s32 %r1, %r2, %r3;"), "needs sm_80", PTX_FEATURE},
      {BODY("min.f16 %h1, %h2, %h3;"), "sm_80", PTX_FEATURE},
      {BODY("fma.rn.relu.f16 %h1, %h2, %h3, %h4;"), "relu", PTX_FEATURE},
      {BODY("min.NaN.f32 %f1, %f2, %f3;"), "NaN", PTX_FEATURE},
      {BODY("shfl.bfly.b32 %r1, %r2, 1, 31;"), ".sync", PTX_FEATURE},
      {BODY("add.u32 %r1, %rd2, %r3;"), "64 bits where 32", PTX_SYNTAX},
      {BODY("add.u32 %r1, %r2;"), "operands", PTX_SYNTAX},
      {BODY("add.u32 %r1, %r2, %nope;"), "'%nope'", PTX_FEATURE},
      {BODY("add.u32 %r1, %r2, %r12;"), "'%r12'", PTX_FEATURE},
      {BODY("bra NOWHERE;"), "'NOWHERE' is not defined", PTX_SYNTAX},
      {BODY("{ L: }\nbra L;"), "'L' is not defined", PTX_SYNTAX},
      {BODY("ld.param.u32 %r1, [p+6];"), "beyond", PTX_SYNTAX},
      {BODY("st.const.u32 [%rd1], %r1;"), "constant memory", PTX_SYNTAX},
      {BODY("tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%rd1, {%f1,%f2}];"), "textures", PTX_FEATURE},
      {BODY("mov.u32 %r1, 5") , "expected", PTX_SYNTAX},
      {HEAD ".global .u32 x[2] = {1,2,3};\n", "more initializers", PTX_SYNTAX},
      {HEAD ".entry k() { ", "no end", PTX_SYNTAX},
      {HEAD ".extern .func f();\n.entry k() { call f; }", "unresolved function 'f'", PTX_FEATURE}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    struct ptx_error e;
    struct vgpu_code *c = load(cases[k].text, strlen(cases[k].text), &e);
    if (c) fail_msg("accepted: %s", cases[k].text);
    if (!strstr(e.text, cases[k].says) || e.status != cases[k].status) fail_msg("'%s' (%d) instead of '%s' (%d)", e.text, (int)e.status, cases[k].says, (int)cases[k].status);
  }
}

static void test_handlers(void **state) {
  (void)state;
  for (int k = 0; k < VGPU_NUM_OPS; k++) assert_non_null(vgpu_op_handlers()[k]);
}

static uint64_t seed, memory;
static uint32_t random_below(size_t n) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return n ? (uint32_t)(seed >> 11) % (uint32_t)n : 0;
}

static const char *const words[] = {"{", "}", "(", ")", "[", "]", ";", ",", ":", "|", "!", "-", "0", "1", "4294967295", "-1", "0f7F800000", "1e999", ".reg", ".b32", ".f16x2",
                                    ".v4", "%r1", "%rd1", "%p1", "%f1", "$L_1", "ret", "bra", "call", "ld", "st", "mov", "setp", "mma", "wmma.load.a", ".param", ".shared",
                                    ".sync", "@", "%p<", "<99999999>", "[99999999999]", "_", ".entry", ".func", ".align 3", "%tid.w", "WARP_SZ", "\"", "/*", "%clock64", "vprintf"};

static size_t mutate(char *text, size_t n, size_t cap) {
  for (uint32_t k = 1 + random_below(4); k; k--) {
    size_t at = random_below(n), len = 1 + random_below(20);
    switch (random_below(6)) {
    case 0: text[at] = (char)random_below(256); break;
    case 1: n = at + 1; break; // cut
    case 2: // drop a piece
      if (at + len < n) memmove(text + at, text + at + len, n - at - len), n -= len;
      break;
    case 3: // say a piece twice
      if (at + len < n && n + len < cap) memmove(text + at + len, text + at, n - at), n += len;
      break;
    case 4: { // copy a piece elsewhere
      size_t from = random_below(n);
      if (at + len < n && from + len < n) memmove(text + at, text + from, len);
      break;
    }
    default: {
      const char *w = words[random_below(sizeof words / sizeof *words)];
      len = strlen(w);
      if (at + len < n) memcpy(text + at, w, len);
    }
    }
  }
  return n;
}

// Whatever was accepted is run: it may end in any error, but must end.
static void execute(struct vgpu_pool *pool, struct vgpu_code *c) {
  static uint8_t params[4096];
  const struct vgpu_func *k = vgpu_find_func(c, "k");
  if (!k || !k->ptx->is_entry || k->static_shared > 65536 || k->stack_bytes > 65536) return;
  for (struct ptx_var *v = NULL; (v = vgpu_next_var(c, v));) v->address = memory;
  vgpu_link(c);
  memcpy(params, &memory, sizeof memory);
  struct vgpu_launch l = {.code = c, .kernel = k, .grid = {2, 1, 1}, .block = {48, 1, 1}, .dynamic_shared = 64, .params = params, .seed = seed, .watchdog = 50000};
  vgpu_exec(pool, &l);
}

static void fuzz(struct vgpu_pool *pool, const char *text, size_t size, int rounds) {
  size_t cap = size + 1000;
  char *copy = malloc(cap);
  int accepted = 0;
  for (int k = 0; k < rounds; k++) {
    struct ptx_error e;
    memcpy(copy, text, size);
    size_t n = mutate(copy, size, cap);
    struct vgpu_code *c = load(copy, n, &e);
    if (c) execute(pool, c), vg_forget_module(c), vgpu_code_free(c), accepted++;
    else assert_true(e.status != PTX_OK && e.text[0]);
  }
  free(copy);
  assert_true(accepted < rounds);
}

static void test_fuzz(void **state) {
  (void)state;
  const char *given = getenv("VGPU_TEST_SEED");
  seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ull | 1;
  print_message("VGPU_TEST_SEED=%llu\n", (unsigned long long)seed);
  setenv("VGPU_LOG", "/dev/null", 1); // thousands of findings, all deserved
  assert_true(vg_mem_open(true));
  struct vgpu_pool *pool = vgpu_pool_open(1);
  memory = vg_mem_alloc(4096, 256, VG_MEM_DEVICE, NULL, NULL, true);
  assert_true(pool && memory);
  fuzz(pool, good, sizeof good - 1, 20000);
  vgpu_pool_close(pool);
  bool again;
  assert_true(vg_mem_free(memory, VG_MEM_DEVICE, &again));
  vgpuFindingsReset();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_accepts), cmocka_unit_test(test_refuses), cmocka_unit_test(test_handlers), cmocka_unit_test(test_fuzz)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
