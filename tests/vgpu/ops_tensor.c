// ldmatrix, movmatrix, mma and wmma against products in fp64 and whole numbers. Where an element of a fragment lives is written here from
// the PTX manual's tables ("Matrix Fragments for mma..."), apart from the interpreter.
#include "tests/vgpu/lab.h"
#include "tests/vgpu/op_reference.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

enum { IN_A = 0, IN_B = 4096, IN_C = 8192, OUT = 16384 }; // fragments: register r of lane l at 4 (32 r + l)

static uint16_t half_bits(double v) { return to_half(v, 0); }

void test_ldmatrix(void **state) {
  (void)state;
  static struct text t;
  for (int k = 0; k < 3 * 2 * 2 * 4; k++) {
    unsigned n = 1u << k % 3, trans = k / 3 % 2, generic = k / 6 % 2;
    uint16_t m[32][8];
    uint32_t row_of[32], got[4][32];
    for (int i = 0; i < 32; i++) {
      row_of[i] = (uint32_t)i;
      for (int j = 0; j < 8; j++) m[i][j] = (uint16_t)lab_random();
    }
    for (unsigned i = 8 * n - 1; i > 0; i--) { // rows lie anywhere
      unsigned j = (unsigned)(lab_random() % (i + 1)), swap = row_of[i];
      row_of[i] = row_of[j], row_of[j] = swap;
    }
    memset(lab.host, 0, OUT + 1024);
    memcpy(lab.host, m, sizeof m);
    for (unsigned i = 0; i < 32; i++) {
      uint32_t at = i < 8 * n ? row_of[i] * 16 : 0x00fffff1; // lanes past the last row: their addresses are not looked at
      memcpy(lab.host + IN_B + 4 * i, &at, 4);
    }
    t.n = 0;
    put(&t, LAB_HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .b64 base, at, out;\n.reg .b32 t, a, r<4>;\n.shared .align 16 .b8 sh[512];\nld.param.u64 base, [p];\nmov.u32 t, %%tid.x;\n"
            "mad.wide.u32 out, t, 16, base;\nld.global.v4.u32 {r0,r1,r2,r3}, [out];\nmov.u64 at, sh;\nmad.wide.u32 at, t, 16, at;\nst.shared.v4.u32 [at], {r0,r1,r2,r3};\n"
            "bar.warp.sync 0xffffffff;\nmad.wide.u32 out, t, 4, base;\nld.global.u32 a, [out+%d];\nmov.u64 at, sh;\n%smad.wide.u32 at, a, 1, at;\n", IN_B, generic ? "cvta.shared.u64 at, at;\n" : "");
    put(&t, "ldmatrix.sync.aligned.m8n8.x%u%s%s.b16 {%s}, [at];\n", n, trans ? ".trans" : "", generic ? "" : ".shared", n == 1 ? "r0" : n == 2 ? "r0,r1" : "r0,r1,r2,r3");
    for (unsigned r = 0; r < n; r++) put(&t, "st.global.u32 [out+%u], r%u;\n", OUT + 128 * r, r);
    put(&t, "ret;\n}\n");
    assert_true(lab_run(t.s, 1, 32, NULL));
    memcpy(got, lab.host + OUT, sizeof got);
    for (unsigned r = 0; r < n; r++)
      for (unsigned l = 0; l < 32; l++)
        for (unsigned e = 0; e < 2; e++) {
          unsigned row = trans ? l % 4 * 2 + e : l / 4, col = trans ? l / 4 : l % 4 * 2 + e;
          assert_int_equal(got[r][l] >> 16 * e & 0xffff, m[row_of[8 * r + row]][col]);
        }
  }
}

// A kernel that loads `na`, `nb`, `nc` registers of fragments, does the text and stores nd registers.
static void fragments(struct text *t, unsigned nd, unsigned na, unsigned nb, unsigned nc, const char *op) {
  t->n = 0;
  put(t, LAB_HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .b64 mine;\n.reg .b32 t, a<8>, b<8>, c<8>, d<8>;\nld.param.u64 mine, [p];\nmov.u32 t, %%tid.x;\nmad.wide.u32 mine, t, 4, mine;\n");
  for (unsigned r = 0; r < na; r++) put(t, "ld.global.u32 a%u, [mine+%u];\n", r, IN_A + 128 * r);
  for (unsigned r = 0; r < nb; r++) put(t, "ld.global.u32 b%u, [mine+%u];\n", r, IN_B + 128 * r);
  for (unsigned r = 0; r < nc; r++) put(t, "ld.global.u32 c%u, [mine+%u];\n", r, IN_C + 128 * r);
  put(t, "%s ", op);
  const unsigned n[4] = {nd, na, nb, nc};
  for (int k = 0; k < 4; k++) {
    if (!n[k]) continue;
    put(t, "%s%s", k ? ", " : "", nb ? "{" : "");
    for (unsigned r = 0; r < n[k]; r++) put(t, "%s%c%u", r ? "," : "", "dabc"[k], r);
    put(t, nb ? "}" : "");
  }
  put(t, ";\n");
  for (unsigned r = 0; r < nd; r++) put(t, "st.global.u32 [mine+%u], d%u;\n", OUT + 128 * r, r);
  put(t, "ret;\n}\n");
}

void test_movmatrix(void **state) {
  (void)state;
  static struct text t;
  uint16_t in[8][8], got[8][8];
  for (int i = 0; i < 64; i++) in[i / 8][i % 8] = (uint16_t)lab_random();
  memcpy(lab.host, in, sizeof in); // lane l: row l / 4, columns 2 (l % 4) and the next
  fragments(&t, 1, 1, 0, 0, "movmatrix.sync.aligned.m8n8.trans.b16");
  assert_true(lab_run(t.s, 1, 32, NULL));
  memcpy(got, lab.host + OUT, sizeof got);
  for (int i = 0; i < 64; i++) assert_int_equal(got[i / 8][i % 8], in[i % 8][i / 8]);
}

// ---- mma of halves ----
struct where {
  unsigned row, col;
};
struct half_shape {
  const char *name;
  unsigned m, n, k, quads; // quads: independent products in one instruction
  unsigned a_regs, b_regs; // of two halves
  unsigned elements;       // of C and D in a lane
};
static const struct half_shape m16n8k8 = {"m16n8k8", 16, 8, 8, 1, 2, 1, 4}, m8n8k4 = {"m8n8k4", 8, 8, 4, 4, 2, 2, 8};

static struct where place_a(const struct half_shape *s, unsigned lane, unsigned i, bool by_columns) {
  if (s->k == 8) return (struct where){lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + i % 2};
  unsigned high = lane < 16 ? 0 : 4;
  return by_columns ? (struct where){i + high, lane % 4} : (struct where){lane % 4 + high, i};
}
static struct where place_b(const struct half_shape *s, unsigned lane, unsigned i, bool by_columns) {
  if (s->k == 8) return (struct where){lane % 4 * 2 + i, lane / 4};
  unsigned high = lane < 16 ? 0 : 4;
  return by_columns ? (struct where){i, lane % 4 + high} : (struct where){lane % 4, i + high};
}
static struct where place_c(const struct half_shape *s, unsigned lane, unsigned i, bool f32) {
  if (s->k == 8) return (struct where){lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + i % 2};
  unsigned high = lane < 16 ? 0 : 4;
  return f32 ? (struct where){(lane & 1) + (i & 2) + high, (i & 4) + (lane & 2) + (i & 1)} : (struct where){lane % 4 + high, i};
}

struct half_case {
  const struct half_shape *s;
  bool ca, cb, d32, c32;
  double a[4][16][8], b[4][8][8], c[4][16][8];
};

static void set_half(unsigned base, unsigned lane, unsigned i, double v) {
  uint16_t h = half_bits(v);
  memcpy(lab.host + base + i / 2 * 128 + lane * 4 + i % 2 * 2, &h, 2);
}
static unsigned quad(const struct half_shape *s, unsigned lane) { return s->quads == 1 ? 0 : lane % 16 / 4; }

static bool run_half(const struct half_case *x, double got[4][16][8]) {
  static struct text t;
  const struct half_shape *s = x->s;
  char op[128];
  memset(lab.host, 0, OUT + 1024);
  for (unsigned l = 0; l < 32; l++) {
    unsigned q = quad(s, l);
    for (unsigned i = 0; i < 2 * s->a_regs; i++) {
      struct where w = place_a(s, l, i, x->ca);
      set_half(IN_A, l, i, x->a[q][w.row][w.col]);
    }
    for (unsigned i = 0; i < 2 * s->b_regs; i++) {
      struct where w = place_b(s, l, i, x->cb);
      set_half(IN_B, l, i, x->b[q][w.row][w.col]);
    }
    for (unsigned i = 0; i < s->elements; i++) {
      struct where w = place_c(s, l, i, x->c32);
      float f = (float)x->c[q][w.row][w.col];
      if (x->c32) memcpy(lab.host + IN_C + 128 * i + 4 * l, &f, 4);
      else set_half(IN_C, l, i, f);
    }
  }
  snprintf(op, sizeof op, "mma.sync.aligned.%s.%s.%s.%s.f16.f16.%s", s->name, x->ca ? "col" : "row", x->cb ? "col" : "row", x->d32 ? "f32" : "f16", x->c32 ? "f32" : "f16");
  fragments(&t, s->elements / (x->d32 ? 1 : 2), s->a_regs, s->b_regs, s->elements / (x->c32 ? 1 : 2), op);
  if (!lab_run(t.s, 1, 32, NULL)) return false;
  for (unsigned l = 0; l < 32; l++)
    for (unsigned i = 0; i < s->elements; i++) {
      struct where w = place_c(s, l, i, x->d32);
      float f;
      uint16_t h;
      memcpy(&f, lab.host + OUT + (x->d32 ? 128 * i + 4 * l : 0), 4);
      memcpy(&h, lab.host + OUT + i / 2 * 128 + l * 4 + i % 2 * 2, 2);
      got[quad(s, l)][w.row][w.col] = x->d32 ? (double)f : (double)half(h);
    }
  return true;
}

// whole: small whole numbers, whose sums are exact in any format and order.
static double some_half(bool whole) { return whole ? (double)(int)(lab_random() % 17) - 8 : half(half_bits(((double)(lab_random() >> 11) * 0x1p-52 - 1) * (lab_random() % 8 ? 1 : 100))); }

static void draw(struct half_case *x, bool whole) {
  for (unsigned q = 0; q < 4; q++)
    for (unsigned i = 0; i < 16; i++)
      for (unsigned j = 0; j < 8; j++) {
        x->a[q][i][j] = some_half(whole), x->c[q][i][j] = some_half(whole);
        if (i < 8) x->b[q][i][j] = some_half(whole);
      }
}

static void check_half(const struct half_case *x, bool whole) {
  double got[4][16][8];
  const struct half_shape *s = x->s;
  assert_true(run_half(x, got));
  for (unsigned q = 0; q < s->quads; q++)
    for (unsigned i = 0; i < s->m; i++)
      for (unsigned j = 0; j < s->n; j++) {
        double want = x->c[q][i][j], size = fabs(want);
        for (unsigned k = 0; k < s->k; k++) want += x->a[q][i][k] * x->b[q][k][j], size += fabs(x->a[q][i][k] * x->b[q][k][j]);
        double bound = whole ? 0 : size * (s->k + 1) * 0x1p-23 + (x->d32 ? 0 : fabs(want) * 0x1p-11 + 0x1p-25); // fp32 sums, then one rounding to D
        if (!(fabs(got[q][i][j] - want) <= bound)) fail_msg("mma.%s product %u, %u %u: %.9g, expected %.9g within %.3g", s->name, q, i, j, got[q][i][j], want, bound);
      }
}

void test_mma_half(void **state) {
  (void)state;
  static struct half_case x;
  for (int k = 0; k < 16; k++)
    for (int round = 0; round < 6; round++) {
      x = (struct half_case){.s = &m8n8k4, .ca = k & 1, .cb = k & 2, .d32 = k & 4, .c32 = k & 8};
      draw(&x, round & 1);
      check_half(&x, round & 1);
      if (k & 3) continue;
      x.s = &m16n8k8, x.cb = true;
      check_half(&x, round & 1);
    }
}

// Infinities and NaN go where the sums say and nowhere else; an fp16 result overflows to infinity.
void test_mma_special(void **state) {
  (void)state;
  static struct half_case x;
  double got[4][16][8];
  for (int d32 = 0; d32 < 2; d32++) {
    x = (struct half_case){.s = &m16n8k8, .cb = true, .d32 = d32, .c32 = d32};
    draw(&x, true);
    x.a[0][3][5] = (double)NAN;
    for (int j = 0; j < 8; j++) x.a[0][11][j] = 0;
    x.a[0][11][2] = (double)INFINITY, x.b[0][2][4] = 2, x.b[0][2][6] = -1, x.b[0][2][7] = 0;
    for (int j = 0; j < 8; j++) x.a[0][14][j] = 60000, x.b[0][j][1] = 8;
    assert_true(run_half(&x, got));
    for (int i = 0; i < 16; i++)
      for (int j = 0; j < 8; j++)
        if (i != 11) assert_true(!isnan(got[0][i][j]) == (i != 3));
    assert_true(isinf(got[0][11][4]) && got[0][11][4] > 0 && isinf(got[0][11][6]) && got[0][11][6] < 0 && isnan(got[0][11][7]));
    assert_true(d32 ? got[0][14][1] > 3e6 && isfinite(got[0][14][1]) : isinf(got[0][14][1]));
  }
}

// ---- mma of whole numbers ----
static int64_t wrapped(int64_t v, bool clamp) {
  if (clamp) return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v;
  return (int32_t)(uint32_t)(uint64_t)v;
}

// Element `e` of a lane's 32-bit register holds, of A, row lane / 4 and column per * (lane % 4) + e; of B the same with row and column exchanged.
static void check_integer(unsigned bits, bool sa, bool sb, bool clamp, bool extreme) {
  static struct text t;
  static int a[8][128], b[128][8];
  int32_t c[8][8];
  unsigned per = 32 / bits, depth = 4 * per;
  char op[128];
  memset(lab.host, 0, OUT + 1024);
  for (unsigned l = 0; l < 32; l++) {
    uint32_t ra = extreme ? (sa && bits > 1 ? (bits == 8 ? 0x80808080u : 0x88888888u) : ~0u) : (uint32_t)lab_random(), rb = extreme ? ra : (uint32_t)lab_random();
    memcpy(lab.host + IN_A + 4 * l, &ra, 4);
    memcpy(lab.host + IN_B + 4 * l, &rb, 4);
    for (unsigned e = 0; e < per; e++) {
      int x = (int)((uint64_t)ra >> e * bits & ((1ull << bits) - 1)), y = (int)((uint64_t)rb >> e * bits & ((1ull << bits) - 1));
      if (sa && x >> (bits - 1)) x -= 1 << bits;
      if (sb && y >> (bits - 1)) y -= 1 << bits;
      a[l / 4][l % 4 * per + e] = x, b[l % 4 * per + e][l / 4] = y;
    }
    for (unsigned e = 0; e < 2; e++) {
      c[l / 4][l % 4 * 2 + e] = extreme ? (lab_random() & 1 ? INT32_MAX : INT32_MIN) : (int32_t)lab_random();
      memcpy(lab.host + IN_C + 128 * e + 4 * l, &c[l / 4][l % 4 * 2 + e], 4);
    }
  }
  if (bits == 1) snprintf(op, sizeof op, "mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc");
  else snprintf(op, sizeof op, "mma.sync.aligned.m8n8k%u.row.col%s.s32.%c%u.%c%u.s32", depth, clamp ? ".satfinite" : "", sa ? 's' : 'u', bits, sb ? 's' : 'u', bits);
  fragments(&t, 2, 1, 1, 2, op);
  assert_true(lab_run(t.s, 1, 32, NULL));
  for (unsigned l = 0; l < 32; l++)
    for (unsigned e = 0; e < 2; e++) {
      unsigned i = l / 4, j = l % 4 * 2 + e;
      int64_t want = c[i][j];
      int32_t got;
      memcpy(&got, lab.host + OUT + 128 * e + 4 * l, 4);
      for (unsigned k = 0; k < depth; k++) want += bits == 1 ? a[i][k] != b[k][j] : a[i][k] * b[k][j];
      if (got != wrapped(want, clamp)) fail_msg("%s, %u %u: %d, expected %lld", op, i, j, got, (long long)wrapped(want, clamp));
    }
}

void test_mma_integer(void **state) {
  (void)state;
  for (int k = 0; k < 64; k++) check_integer(k & 1 ? 8 : 4, k & 2, k & 4, k & 8, k & 16);
  for (int k = 0; k < 4; k++) check_integer(1, false, false, false, k & 1);
}

// ---- wmma: load, product and store, where nothing is known of the fragments ----
struct wmma_case {
  unsigned m, n, k, bits;      // 16: halves
  bool sa, sb, d32, c32, clamp;
  bool ca, cb, cc, cd;         // by columns
  const char *space;           // "global", "shared" or "" for generic
  unsigned pad;                // elements between rows beyond the dense ones
};

static double a_value[32][128], b_value[128][32], c_value[32][32];

// Writes element (i, j) of a matrix of `rows` x `cols` at `base`.
static void set_element(unsigned base, unsigned rows, unsigned cols, bool by_columns, unsigned pad, unsigned bits, unsigned i, unsigned j, double v) {
  unsigned n = by_columns ? j * (rows + pad) + i : i * (cols + pad) + j;
  uint8_t *p = lab.host + base;
  if (bits == 32) memcpy(p + 4 * n, &(float){(float)v}, 4);
  else if (bits == 33) memcpy(p + 4 * n, &(int32_t){(int32_t)v}, 4); // s32
  else if (bits == 16) memcpy(p + 2 * n, &(uint16_t){half_bits(v)}, 2);
  else if (bits == 8) p[n] = (uint8_t)(int)v;
  else p[n * bits / 8] = (uint8_t)((p[n * bits / 8] & ~(((1u << bits) - 1) << n * bits % 8)) | ((unsigned)(int)v & ((1u << bits) - 1)) << n * bits % 8);
}

static double whole_number(unsigned bits, bool is_signed) { return bits == 1 ? (double)(lab_random() & 1) : (double)(lab_random() % (1u << bits)) - (is_signed ? 1 << (bits - 1) : 0); }

static void draw_wmma(const struct wmma_case *x) {
  bool half = x->bits == 16;
  for (unsigned i = 0; i < x->m; i++)
    for (unsigned k = 0; k < x->k; k++) a_value[i][k] = half ? some_half(false) : whole_number(x->bits, x->sa);
  for (unsigned k = 0; k < x->k; k++)
    for (unsigned j = 0; j < x->n; j++) b_value[k][j] = half ? some_half(false) : whole_number(x->bits, x->sb);
  for (unsigned i = 0; i < x->m; i++)
    for (unsigned j = 0; j < x->n; j++) c_value[i][j] = half ? some_half(false) : (double)(int32_t)lab_random() / (x->clamp ? 1 : 4);
  for (unsigned i = 0; i < x->m && !half; i++)
    for (unsigned j = 0; j < x->n; j++) c_value[i][j] = x->clamp && (i + j) % 3 == 0 ? 2147483647.0 : trunc(c_value[i][j]);
  memset(lab.host, 0, 4 * OUT);
  for (unsigned i = 0; i < x->m; i++) {
    for (unsigned k = 0; k < x->k; k++) set_element(IN_A, x->m, x->k, x->ca, x->pad, x->bits, i, k, a_value[i][k]);
    for (unsigned j = 0; j < x->n; j++) set_element(IN_C, x->m, x->n, x->cc, x->pad, half ? (x->c32 ? 32 : 16) : 33, i, j, c_value[i][j]);
  }
  for (unsigned k = 0; k < x->k; k++)
    for (unsigned j = 0; j < x->n; j++) set_element(IN_B, x->k, x->n, x->cb, x->pad, x->bits, k, j, b_value[k][j]);
}

static void list(struct text *t, char c, unsigned n) {
  put(t, "{");
  for (unsigned r = 0; r < n; r++) put(t, "%s%c%u", r ? "," : "", c, r);
  put(t, "}");
}

static const char *order(bool by_columns) { return by_columns ? "col" : "row"; }

// The four matrices lie in the buffer or, for shared and generic space, in a copy of its first 32 KiB in shared memory.
static void write_wmma(struct text *t, const struct wmma_case *x) {
  bool half = x->bits == 16, copy = strcmp(x->space, "global") != 0;
  unsigned na = half ? 8 : x->m * x->k * x->bits / 1024, nb = half ? 8 : x->k * x->n * x->bits / 1024, nc = half ? (x->c32 ? 8 : 4) : x->m * x->n / 32, nd = half ? (x->d32 ? 8 : 4) : nc;
  char shape[32], ta[8], tb[8];
  const char *tc = !half ? "s32" : x->c32 ? "f32" : "f16", *td = !half ? "s32" : x->d32 ? "f32" : "f16", *dot = *x->space ? "." : "";
  snprintf(shape, sizeof shape, "m%un%uk%u", x->m, x->n, x->k);
  snprintf(ta, sizeof ta, "%c%u", half ? 'f' : x->bits == 1 ? 'b' : x->sa ? 's' : 'u', x->bits);
  snprintf(tb, sizeof tb, "%c%u", half ? 'f' : x->bits == 1 ? 'b' : x->sb ? 's' : 'u', x->bits);
  t->n = 0;
  put(t, LAB_HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .b64 base, from, to, at;\n.reg .b32 t, s, a<8>, b<8>, c<8>, d<8>;\n.reg .pred g;\n.shared .align 32 .b8 sh[32768];\n"
         "ld.param.u64 base, [p];\nmov.u32 t, %%tid.x;\nmov.u64 at, base;\n");
  if (copy) put(t, "mov.u64 at, sh;\nmul.wide.u32 from, t, 16;\nadd.u64 to, from, at;\nadd.u64 from, from, base;\nmov.u32 s, 0;\nCOPY:\nld.global.v4.u32 {a0,a1,a2,a3}, [from];\n"
                   "st.shared.v4.u32 [to], {a0,a1,a2,a3};\nadd.u64 from, from, 512;\nadd.u64 to, to, 512;\nadd.u32 s, s, 1;\nsetp.lt.u32 g, s, 64;\n@g bra COPY;\nbar.warp.sync -1;\n");
  if (!*x->space) put(t, "cvta.shared.u64 at, at;\n");
#define STRIDE(by_columns, rows, cols) ((by_columns ? rows : cols) + x->pad)
  put(t, "wmma.load.a.sync.aligned.%s.%s%s%s.%s ", order(x->ca), shape, dot, x->space, ta), list(t, 'a', na), put(t, ", [at+%d], %u;\n", IN_A, STRIDE(x->ca, x->m, x->k));
  put(t, "wmma.load.b.sync.aligned.%s.%s%s%s.%s ", order(x->cb), shape, dot, x->space, tb), list(t, 'b', nb), put(t, ", [at+%d], %u;\n", IN_B, STRIDE(x->cb, x->k, x->n));
  put(t, "wmma.load.c.sync.aligned.%s.%s%s%s.%s ", order(x->cc), shape, dot, x->space, tc), list(t, 'c', nc), put(t, ", [at+%d]", IN_C);
  if (x->pad) put(t, ", %u", STRIDE(x->cc, x->m, x->n)); // without a stride: dense
  put(t, ";\nwmma.mma%s.sync.aligned.%s.%s.%s.", x->bits == 1 ? ".xor.popc" : "", order(x->ca), order(x->cb), shape);
  if (half) put(t, "%s.%s ", td, tc);
  else put(t, "s32.%s.%s.s32%s ", ta, tb, x->clamp ? ".satfinite" : "");
  list(t, 'd', nd), put(t, ", "), list(t, 'a', na), put(t, ", "), list(t, 'b', nb), put(t, ", "), list(t, 'c', nc);
  put(t, ";\nwmma.store.d.sync.aligned.%s.%s%s%s.%s [at+%d], ", order(x->cd), shape, dot, x->space, td, OUT), list(t, 'd', nd);
  put(t, ", %u;\n", STRIDE(x->cd, x->m, x->n));
  if (copy) put(t, "bar.warp.sync -1;\nmov.u32 s, 0;\nmul.wide.u32 from, t, 16;\nadd.u64 from, from, base;\nmov.u64 to, sh;\nmad.wide.u32 to, t, 16, to;\nBACK:\n"
                   "ld.shared.v4.u32 {a0,a1,a2,a3}, [to];\nst.global.v4.u32 [from], {a0,a1,a2,a3};\nadd.u64 from, from, 512;\nadd.u64 to, to, 512;\nadd.u32 s, s, 1;\nsetp.lt.u32 g, s, 64;\n"
                   "@g bra BACK;\n");
  put(t, "ret;\n}\n");
}

static void check_wmma(const struct wmma_case *x) {
  static struct text t;
  draw_wmma(x);
  write_wmma(&t, x);
  assert_true(lab_run(t.s, 1, 32, NULL));
  for (unsigned i = 0; i < x->m; i++)
    for (unsigned j = 0; j < x->n; j++) {
      unsigned n = x->cd ? j * (x->m + x->pad) + i : i * (x->n + x->pad) + j;
      double want = c_value[i][j], size = fabs(want), got;
      for (unsigned k = 0; k < x->k; k++) {
        double p = x->bits == 1 ? a_value[i][k] != b_value[k][j] : a_value[i][k] * b_value[k][j];
        want += p, size += fabs(p);
      }
      uint32_t word;
      uint16_t h;
      memcpy(&word, lab.host + OUT + 4 * n, 4);
      memcpy(&h, lab.host + OUT + 2 * n, 2);
      got = x->bits != 16 ? (double)(int32_t)word : x->d32 ? (double)f32_of(word) : (double)half(h);
      double bound = x->bits != 16 ? 0 : size * (x->k + 1) * 0x1p-23 + (x->d32 ? 0 : fabs(want) * 0x1p-11 + 0x1p-25);
      if (x->bits != 16) want = (double)wrapped((int64_t)want, x->clamp);
      if (!(fabs(got - want) <= bound)) fail_msg("%u %u: %.9g, expected %.9g within %.3g, of\n%s", i, j, got, want, bound, t.s);
    }
}

void test_wmma(void **state) {
  (void)state;
  static const unsigned shapes[3][2] = {{16, 16}, {32, 8}, {8, 32}};
  static const char *const spaces[] = {"global", "shared", ""};
  for (int k = 0; k < 3 * 16; k++) { // every layout of the four matrices
    struct wmma_case x = {.m = shapes[k % 3][0], .n = shapes[k % 3][1], .k = 16, .ca = k / 3 & 1, .cb = k / 3 & 2, .cc = k / 3 & 4, .cd = k / 3 & 8};
    for (int types = 0; types < 4; types++) {
      x.space = spaces[lab_random() % 3], x.pad = lab_random() & 1 ? 16 : 0;
      x.bits = 16, x.d32 = types & 1, x.c32 = types & 2;
      check_wmma(&x);
      x.bits = 8, x.sa = x.sb = types & 1, x.clamp = types & 2;
      check_wmma(&x);
    }
  }
  for (int k = 0; k < 12; k++) {
    struct wmma_case x = {.m = 8, .n = 8, .k = k & 1 ? 128 : 32, .bits = k & 1 ? 1 : 4, .sa = k & 2, .sb = k & 2, .cb = true, .cc = k & 4, .cd = k & 8, .space = spaces[k % 3], .pad = 0};
    check_wmma(&x);
  }
}
