// Loads and stores of every space, type, vector width and register width against plain C. Three blocks a kernel: lanes side by side,
// lanes permuted, odd lanes only.
#include "tests/vgpu/lab.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

enum { BLOCKS = 3, OUT = 4096, SLOTS = 32768 }; // the buffer: 512 bytes of input, results at OUT, global slots for stores at SLOTS

static const struct type {
  const char *name;
  unsigned bytes;
  bool is_signed;
} types[] = {{"u8", 1, 0}, {"s8", 1, 1}, {"b8", 1, 0}, {"u16", 2, 0}, {"s16", 2, 1}, {"b16", 2, 0}, {"u32", 4, 0}, {"s32", 4, 1},
             {"b32", 4, 0}, {"f32", 4, 0}, {"u64", 8, 0}, {"s64", 8, 1}, {"b64", 8, 0}, {"f64", 8, 0}};
enum { NUM_TYPES = sizeof types / sizeof *types };

enum place { GLOBAL, SHARED, LOCAL, CONSTANT, PARAM, PARAM_FIXED, NUM_PLACES };
static const char *const place_names[] = {"global", "shared", "local", "const", "param", "param"};
static const struct form {
  enum place place;
  const char *load, *store; // NULL: there is none
  bool generic;
} forms[] = {{GLOBAL, "ld.global", "st.global", 0}, {GLOBAL, "ld.global.nc", NULL, 0}, {GLOBAL, "ld.volatile.global", "st.volatile.global", 0},
             {GLOBAL, "ld.relaxed.gpu.global", "st.relaxed.sys.global", 0}, {GLOBAL, "ld.acquire.gpu.global", "st.release.gpu.global", 0},
             {GLOBAL, "ld.weak.global.cg", "st.weak.global.wb", 0}, {GLOBAL, "ldu.global", NULL, 0}, {GLOBAL, "ld.global.nc.L1::no_allocate", "st.global.cs", 0},
             {GLOBAL, "ld", "st", 1}, {GLOBAL, "ld.volatile", "st.volatile", 1}, {SHARED, "ld.shared", "st.shared", 0},
             {SHARED, "ld.volatile.shared", "st.volatile.shared", 0}, {SHARED, "ld.acquire.cta.shared", "st.release.cta.shared", 0}, {SHARED, "ld", "st", 1},
             {LOCAL, "ld.local", "st.local", 0}, {LOCAL, "ld", "st", 1}, {CONSTANT, "ld.const", NULL, 0}, {CONSTANT, "ld", NULL, 1},
             {PARAM, "ld.param", NULL, 0}, {PARAM_FIXED, "ld.param", NULL, 0}};
enum { NUM_FORMS = sizeof forms / sizeof *forms };

static uint8_t in[LAB_TABLE]; // 16 bytes a lane

static void fresh_input(void) {
  for (int i = 0; i < LAB_TABLE; i++) in[i] = (uint8_t)lab_random();
  for (int i = 0; i < LAB_TABLE; i += 7) in[i] = (uint8_t[]){0x80, 0xff, 0x7f, 0}[lab_random() % 4];
  memset(lab.host, 0, 65536);
  memcpy(lab.host, in, sizeof in);
}

// To `at`: the address of 16-byte slot s of the place; the slot holds the input's bytes (or 0xee, for stores).
static void head(struct text *t, enum place p, unsigned reg_bytes, bool generic, bool fill) {
  t->n = 0;
  put(t, LAB_HEAD);
  if (p == CONSTANT) {
    put(t, ".const .align 16 .b8 table[%d] = {", LAB_TABLE);
    for (int i = 0; i < LAB_TABLE; i++) put(t, "%s%d", i ? "," : "", in[i]);
    put(t, "};\n");
  }
  put(t, ".visible .entry k(.param .u64 p, .param .align 16 .b8 q[%d])\n{\n.reg .b64 base, at, from, out, wide;\n.reg .b32 t, s, c, w<4>;\n.reg .pred g, odd;\n"
         ".reg .b%u r<4>;\n.shared .align 16 .b8 sh[512];\n.local .align 16 .b8 lo[64];\n", LAB_TABLE, reg_bytes * 8);
  put(t, "ld.param.u64 base, [p];\nmov.u32 t, %%tid.x;\nmov.u32 c, %%ctaid.x;\nmov.u32 s, t;\nsetp.eq.u32 g, c, 1;\n@g xor.b32 s, t, 21;\nand.b32 w0, t, 1;\n"
         "setp.ne.u32 odd, w0, 0;\nsetp.ne.or.u32 odd, c, 2, odd;\nmad.lo.u32 w0, c, 32, t;\nmad.wide.u32 out, w0, 64, base;\n");
  put(t, "mad.wide.u32 from, s, 16, base;\n");
  if (fill) put(t, "mov.u32 w0, 0xeeeeeeee;\nmov.u32 w1, w0;\nmov.u32 w2, w0;\nmov.u32 w3, w0;\n");
  else put(t, "ld.global.v4.u32 {w0,w1,w2,w3}, [from];\n");
  switch (p) {
  case GLOBAL:
    if (fill) put(t, "mul.wide.u32 wide, c, 512;\nadd.u64 at, from, wide;\nadd.u64 at, at, %d;\nst.global.v4.u32 [at], {w0,w1,w2,w3};\n", SLOTS);
    else put(t, "mov.u64 at, from;\n");
    break;
  case SHARED: put(t, "mov.u64 at, sh;\nmad.wide.u32 at, s, 16, at;\nst.shared.v4.u32 [at], {w0,w1,w2,w3};\n"); break;
  case LOCAL: put(t, "mov.u64 at, lo;\nand.b32 c, s, 3;\nmad.wide.u32 at, c, 16, at;\nst.local.v4.u32 [at], {w0,w1,w2,w3};\n"); break;
  case CONSTANT: put(t, "mov.u64 at, table;\nmad.wide.u32 at, s, 16, at;\n"); break;
  case PARAM: put(t, "mov.u64 at, q;\nmad.wide.u32 at, s, 16, at;\n"); break;
  default: break;
  }
  if (generic) put(t, "cvta.%s.u64 at, at;\n", place_names[p]);
}

static void registers(struct text *t, unsigned vec) {
  if (vec == 1) put(t, "r0");
  else put(t, vec == 2 ? "{r0,r1}" : "{r0,r1,r2,r3}");
}

// What the register holds for element k of 16 bytes.
static uint64_t element(const uint8_t *bytes, const struct type *y, unsigned k, unsigned reg_bytes) {
  uint64_t v = 0;
  for (unsigned b = 0; b < y->bytes; b++) v |= (uint64_t)bytes[k * y->bytes + b] << 8 * b;
  if (y->is_signed && v >> (8 * y->bytes - 1)) v |= y->bytes == 8 ? 0 : ~0ull << 8 * y->bytes;
  return reg_bytes == 8 ? v : v & ((1ull << 8 * reg_bytes) - 1);
}

static bool check_load(const struct form *f, const struct type *y, unsigned vec, unsigned reg) {
  for (unsigned b = 0; b < BLOCKS; b++)
    for (unsigned t = 0; t < 32; t++)
      for (unsigned k = 0; k < vec; k++) {
        uint64_t got;
        unsigned slot = f->place == PARAM_FIXED ? 3 : b == 1 ? t ^ 21 : t;
        uint64_t want = b < 2 || t & 1 ? element(in + 16 * slot, y, k, reg) : 77;
        memcpy(&got, lab.host + OUT + (b * 32 + t) * 64 + 8 * k, 8);
        if (got == want) continue;
        print_message("%s (%s).v%u.%s to %u bytes, block %u lane %u element %u: %#llx, expected %#llx\n", f->load, place_names[f->place], vec, y->name, reg, b, t,
                      k, (unsigned long long)got, (unsigned long long)want);
        return false;
      }
  return true;
}

static bool try_load(const struct form *f, const struct type *y, unsigned vec, unsigned reg) {
  static struct text t;
  fresh_input();
  head(&t, f->place, reg, f->generic, false);
  for (unsigned k = 0; k < vec; k++) put(&t, "mov.b%u r%u, 77;\n", reg * 8, k);
  put(&t, "bar.warp.sync 0xffffffff;\n@odd %s%s%s.%s ", f->load, vec > 1 ? ".v" : "", vec == 2 ? "2" : vec == 4 ? "4" : "", y->name);
  registers(&t, vec);
  put(&t, f->place == PARAM_FIXED ? ", [q+48];\n" : ", [at];\n");
  for (unsigned k = 0; k < vec; k++) put(&t, "st.global.b%u [out+%u], r%u;\n", reg * 8, OUT + 8 * k, k);
  put(&t, "ret;\n}\n");
  return lab_run(t.s, BLOCKS, 32, in) && check_load(f, y, vec, reg);
}

static bool try_store(const struct form *f, const struct type *y, unsigned vec, unsigned reg) {
  static struct text t;
  fresh_input();
  head(&t, f->place, reg, f->generic, true);
  put(&t, "mad.wide.u32 wide, t, 16, base;\n"); // element k of the register is at 4 k: wider ones overlap
  for (unsigned k = 0; k < vec; k++) {
    if (reg == 8) put(&t, "ld.global.b32 w0, [wide+%u];\nxor.b32 w1, w0, 0x5a5a5a5a;\nmov.b64 r%u, {w0, w1};\n", 4 * k, k);
    else put(&t, "ld.global.b%u r%u, [wide+%u];\n", reg * 8, k, 4 * k);
  }
  put(&t, "bar.warp.sync 0xffffffff;\n@odd %s%s%s.%s [at], ", f->store, vec > 1 ? ".v" : "", vec == 2 ? "2" : vec == 4 ? "4" : "", y->name);
  registers(&t, vec);
  put(&t, ";\nld%s%s.v4.u32 {w0,w1,w2,w3}, [at];\nst.global.v4.u32 [out+%d], {w0,w1,w2,w3};\nret;\n}\n", f->generic ? "" : ".", f->generic ? "" : place_names[f->place], OUT);
  if (!lab_run(t.s, BLOCKS, 32, in)) return false;
  for (unsigned b = 0; b < BLOCKS; b++)
    for (unsigned l = 0; l < 32; l++) {
      uint8_t want[16];
      memset(want, 0xee, 16);
      for (unsigned k = 0; k < vec && (b < 2 || l & 1); k++)
        for (unsigned i = 0; i < y->bytes; i++) want[k * y->bytes + i] = in[16 * l + 4 * k + i % 4] ^ (i < 4 ? 0 : 0x5a);
      if (!memcmp(want, lab.host + OUT + (b * 32 + l) * 64, 16)) continue;
      print_message("%s (%s).v%u.%s from %u bytes is wrong in block %u, lane %u\n", f->store, place_names[f->place], vec, y->name, reg, b, l);
      return false;
    }
  return true;
}

// Every type and vector width in every form from its own register size; in the plain forms also from wider ones.
static int sweep(bool (*try)(const struct form *, const struct type *, unsigned, unsigned), bool stores) {
  int wrong = 0;
  for (int f = 0; f < NUM_FORMS; f++)
    for (int y = 0; y < NUM_TYPES && (!stores || forms[f].store); y++)
      for (unsigned vec = 1; vec <= 4 && vec * types[y].bytes <= 16; vec *= 2) {
        unsigned natural = types[y].bytes < 2 ? 2 : types[y].bytes;
        bool plain = !strchr(stores ? forms[f].store : forms[f].load + 2, '.') || forms[f].place != GLOBAL || f == 0;
        bool can_widen = types[y].name[0] != 'f';
        for (unsigned reg = natural; reg <= (plain && can_widen ? 8u : natural); reg *= 2) wrong += !try(&forms[f], &types[y], vec, reg);
      }
  return wrong;
}

void test_loads(void **state) {
  (void)state;
  assert_int_equal(sweep(try_load, false), 0);
}

void test_stores(void **state) {
  (void)state;
  assert_int_equal(sweep(try_store, true), 0);
}

// st.param and ld.param of calls: out and back through a function.
void test_function_parameters(void **state) {
  (void)state;
  static struct text t;
  for (int y = 0; y < NUM_TYPES; y++)
    for (unsigned vec = 1; vec <= 4 && vec * types[y].bytes <= 16; vec *= 2) {
      unsigned reg = types[y].bytes < 2 ? 2 : types[y].bytes;
      const char *v = vec == 1 ? "" : vec == 2 ? ".v2" : ".v4", *n = types[y].name, *r = vec == 1 ? "r0" : vec == 2 ? "{r0,r1}" : "{r0,r1,r2,r3}";
      fresh_input();
      t.n = 0;
      put(&t, LAB_HEAD ".func (.param .align 16 .b8 y[32]) f(.param .align 16 .b8 x[32])\n{\n.reg .b%u r<4>;\nld.param%s.%s %s, [x+16];\nst.param%s.%s [y], %s;\nret;\n}\n", reg * 8,
          v, n, r, v, n, r);
      put(&t, ".visible .entry k(.param .u64 p)\n{\n.reg .b64 base, at, out;\n.reg .b32 t;\n.reg .b%u r<4>;\n.param .align 16 .b8 a[32], b[32];\nld.param.u64 base, [p];\nmov.u32 t, "
              "%%tid.x;\nmad.wide.u32 at, t, 16, base;\nmad.wide.u32 out, t, 64, base;\nld.global%s.%s %s, [at];\nst.param%s.%s [a+16], %s;\ncall (b), f, (a);\n"
              "ld.param%s.%s %s, [b];\n", reg * 8, v, n, r, v, n, r, v, n, r);
      for (unsigned k = 0; k < vec; k++) put(&t, "st.global.b%u [out+%u], r%u;\n", reg * 8, OUT + 8 * k, k);
      put(&t, "ret;\n}\n");
      assert_true(lab_run(t.s, 1, 32, NULL));
      for (unsigned l = 0; l < 32; l++)
        for (unsigned k = 0; k < vec; k++) {
          uint64_t got;
          memcpy(&got, lab.host + OUT + l * 64 + 8 * k, 8);
          if (got != element(in + 16 * l, &types[y], k, reg)) fail_msg("a parameter %s.%s is wrong in lane %u", v, n, l);
        }
    }
}

// One generic instruction whose lanes point to three spaces.
void test_mixed_generic(void **state) {
  (void)state;
  static struct text t;
  fresh_input();
  head(&t, LOCAL, 4, true, false);
  put(&t, "rem.u32 w0, t, 3;\nsetp.eq.u32 g, w0, 1;\n@g mad.wide.u32 at, t, 16, base;\nsetp.eq.u32 g, w0, 2;\nmov.u64 wide, sh;\nmad.wide.u32 wide, t, 16, wide;\n"
          "ld.global.v4.u32 {w0,w1,w2,w3}, [from];\nst.shared.v4.u32 [wide], {w0,w1,w2,w3};\ncvta.shared.u64 wide, wide;\n@g mov.u64 at, wide;\n"
          "ld.v2.u32 {r0,r1}, [at];\nxor.b32 r1, r1, r0;\nst.u32 [at+8], r1;\nmov.u32 r2, r1;\nisspacep.local g, at;\n@!g atom.add.u32 r2, [at+8], 3;\n"
          "@g add.u32 w0, r1, 3;\n@g st.u32 [at+8], w0;\nld.u32 r3, [at+8];\nst.global.v4.u32 [out+%d], {r0,r1,r2,r3};\nret;\n}\n", OUT);
  assert_true(lab_run(t.s, 1, 32, in));
  for (unsigned l = 0; l < 32; l++) {
    uint32_t x[4], got[4];
    memcpy(x, in + 16 * l, 16);
    memcpy(got, lab.host + OUT + l * 64, 16);
    assert_int_equal(got[0], x[0]);
    assert_int_equal(got[1], x[0] ^ x[1]);
    assert_int_equal(got[2], x[0] ^ x[1]);
    assert_int_equal(got[3], (x[0] ^ x[1]) + 3);
  }
}

// isspacep, cvta to and fro, prefetch and fences (which change nothing).
void test_spaces(void **state) {
  (void)state;
  static struct text t;
  static const char *const asked[] = {"global", "shared", "local", "const"};
  for (int p = GLOBAL; p <= CONSTANT; p++) {
    fresh_input();
    head(&t, (enum place)p, 4, false, false);
    put(&t, "cvta.%s.u64 from, at;\ncvta.to.%s.u64 wide, from;\nsetp.eq.u64 g, wide, at;\nselp.u32 r0, 16, 0, g;\n", place_names[p], place_names[p]);
    for (int k = 0; k < 4; k++) put(&t, "isspacep.%s g, from;\nselp.u32 r1, %d, 0, g;\nor.b32 r0, r0, r1;\n", asked[k], 1 << k);
    put(&t, "prefetch.global.L2 [base];\nprefetchu.L1 [from];\nmembar.cta;\nmembar.gl;\nmembar.sys;\nfence.acq_rel.gpu;\nfence.sc.cta;\nst.global.u32 [out+%d], r0;\nret;\n}\n", OUT);
    assert_true(lab_run(t.s, 1, 32, in));
    for (unsigned l = 0; l < 32; l++) { // constants lie in global memory's window too
      uint32_t got;
      memcpy(&got, lab.host + OUT + l * 64, 4);
      assert_int_equal(got & (p == CONSTANT ? ~1u : ~0u), 16u | 1u << p);
    }
  }
}
