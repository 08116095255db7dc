// Every atomic operation and type in global, shared and generic space, eight lanes on each of four addresses. PTX leaves the order of the
// lanes open: the values that came back must be those of some order, and the memory what that order leaves.
#include "tests/vgpu/lab.h"
#include "tests/vgpu/op_reference.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

enum { OUT = 4096, FINAL = 8192, GLOBALS = 16384, GROUPS = 4, LANES = 8 };

enum what { INTEGER, BOUND, FLOAT, DOUBLE, HALF, HALF2 };
static uint64_t sum32(uint64_t o, uint64_t b, bool flushes) {
  float x = f32_of(o), y = f32_of(b);
  return flushes ? canon(flush(flush(x) + flush(y))) : canon(x + y);
}
#define S32(v) ((int32_t)(v))
#define S64(v) ((int64_t)(v))
#define U32(v) ((uint32_t)(v))
#define HSUM(x, y) to_half((double)half((uint16_t)(x)) + half((uint16_t)(y)), 0)
static const struct row {
  const char *name;
  unsigned bytes;
  enum what what;
} rows[] = {
#define A(name, bytes, what, expr) {name, bytes, what},
#define ATOMS \
  A("add.u32", 4, INTEGER, o + b) A("add.s32", 4, INTEGER, o + b) A("add.u64", 8, INTEGER, o + b) A("add.f32", 4, FLOAT, sum32(o, b, flushes)) \
  A("add.f64", 8, DOUBLE, bits64(f64_of(o) + f64_of(b))) A("add.noftz.f16", 2, HALF, HSUM(o, b)) \
  A("add.noftz.f16x2", 4, HALF2, two(HSUM(o, b), HSUM(o >> 16, b >> 16))) A("min.u32", 4, INTEGER, U32(o) < U32(b) ? o : b) \
  A("min.s32", 4, INTEGER, S32(o) < S32(b) ? o : b) A("min.u64", 8, INTEGER, o < b ? o : b) A("min.s64", 8, INTEGER, S64(o) < S64(b) ? o : b) \
  A("max.u32", 4, INTEGER, U32(o) > U32(b) ? o : b) A("max.s32", 4, INTEGER, S32(o) > S32(b) ? o : b) A("max.u64", 8, INTEGER, o > b ? o : b) \
  A("max.s64", 8, INTEGER, S64(o) > S64(b) ? o : b) A("and.b32", 4, INTEGER, o &b) A("and.b64", 8, INTEGER, o &b) A("or.b32", 4, INTEGER, o | b) \
  A("or.b64", 8, INTEGER, o | b) A("xor.b32", 4, INTEGER, o ^ b) A("xor.b64", 8, INTEGER, o ^ b) A("inc.u32", 4, BOUND, o >= b ? 0 : o + 1) \
  A("dec.u32", 4, BOUND, o == 0 || o > b ? b : o - 1) A("exch.b32", 4, INTEGER, b) A("exch.b64", 8, INTEGER, b) A("cas.b16", 2, INTEGER, o == b ? c : o) \
  A("cas.b32", 4, INTEGER, o == b ? c : o) A("cas.b64", 8, INTEGER, o == b ? c : o)
    ATOMS
#undef A
};
enum { NUM_ROWS = sizeof rows / sizeof *rows };

enum { BASE = __COUNTER__ };
static uint64_t result(int k, uint64_t o, uint64_t b, uint64_t c, bool flushes) {
  (void)flushes;
  switch (k) {
#define A(name, bytes, what, expr) \
  case __COUNTER__ - BASE - 1: return (uint64_t)(expr);
    ATOMS
#undef A
  default: return 0;
  }
}

static uint64_t masked(uint64_t v, unsigned bytes) { return bytes == 8 ? v : v & ((1ull << 8 * bytes) - 1); }

// exact: sums come out the same in any order.
static uint64_t operand(const struct row *r, bool exact) {
  uint64_t x = lab_random();
  int small = (int)(x % 64) - 32;
  switch (r->what) {
  case FLOAT:
    if (!exact && x % 5 == 0) return x >> 40 & 0x807fffff; // subnormal
    return bits32(exact ? (float)small : (float)(int32_t)(x >> 20) * 0x1p-15f);
  case DOUBLE: return bits64(exact ? small : (double)(int64_t)x * 0x1p-33);
  case HALF: return exact ? to_half(small, 0) : x >> 9 & 0x77ff;
  case HALF2: return exact ? two(to_half(small, 0), to_half(small / 2, 0)) : (x >> 9 & 0x77ff77ff);
  case BOUND: return x % 5;
  default:
    if (!strncmp(r->name, "cas", 3)) return x % 3;
    return x % 4 ? x >> 3 : (uint64_t[]){0, ~0ull, 1ull << 63, 0x80000000, 0x7fffffff, ~0ull >> 1}[x / 4 % 6];
  }
}

struct group {
  int row;
  bool flushes;
  uint64_t old[LANES], b[LANES], c[LANES], final;
};

// Is there an order of the lanes not yet in `done`, from value v on?
static bool some_order(const struct group *g, uint64_t v, unsigned done) {
  unsigned bytes = rows[g->row].bytes;
  if (done == (1u << LANES) - 1) return v == g->final;
  for (int i = 0; i < LANES; i++)
    if (!(done >> i & 1) && g->old[i] == v && some_order(g, masked(result(g->row, v, g->b[i], g->c[i], g->flushes), bytes), done | 1u << i)) return true;
  return false;
}

static void write_kernel(struct text *t, const struct row *r, bool shared, bool generic, bool red) {
  const char *space = shared ? "shared" : "global";
  bool cas = !strncmp(r->name, "cas", 3);
  t->n = 0;
  put(t, LAB_HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .b64 base, at, mine;\n.reg .b32 t, g;\n.reg .pred first;\n.reg .b%u b, c, d, v;\n.shared .align 8 .b8 sh[32];\n", r->bytes * 8);
  put(t, "ld.param.u64 base, [p];\nmov.u32 t, %%tid.x;\nand.b32 g, t, 3;\nsetp.lt.u32 first, t, 4;\nmad.wide.u32 mine, t, 24, base;\n");
  if (shared) put(t, "mov.u64 at, sh;\nmad.wide.u32 at, g, 8, at;\n");
  else put(t, "mad.wide.u32 at, g, 8, base;\nadd.u64 at, at, %d;\n", GLOBALS);
  put(t, "ld.global.b%u b, [mine];\nld.global.b%u c, [mine+8];\n@first ld.global.b%u v, [mine+16];\n@first st.%s.b%u [at], v;\nbar.warp.sync 0xffffffff;\n", r->bytes * 8, r->bytes * 8,
      r->bytes * 8, space, r->bytes * 8);
  if (generic) put(t, "cvta.%s.u64 at, at;\n", space);
  put(t, "mov.b%u d, 0;\n%s%s%s.%s %s[at], b%s;\nbar.warp.sync 0xffffffff;\nst.global.b%u [mine+%d], d;\n", r->bytes * 8, red ? "red" : "atom", generic ? "" : ".", generic ? "" : space,
      r->name, red ? "" : "d, ", cas ? ", c" : "", r->bytes * 8, OUT);
  put(t, "@first ld%s%s.b%u v, [at];\nmad.wide.u32 mine, t, 8, base;\n@first st.global.b%u [mine+%d], v;\nret;\n}\n", generic ? "" : ".", generic ? "" : space, r->bytes * 8,
      r->bytes * 8, FINAL);
}

static bool try(int k, bool shared, bool generic, bool red) {
  static struct text t;
  const struct row *r = &rows[k];
  uint64_t in[32][3], final[GROUPS];
  memset(lab.host, 0, GLOBALS + 64);
  for (int i = 0; i < 32; i++)
    for (int j = 0; j < 3; j++) in[i][j] = masked(r->what == BOUND && j == 0 ? in[i & 3][0] * (i >= 4) + operand(r, red) * (i < 4) : operand(r, red), r->bytes);
  memcpy(lab.host, in, sizeof in);
  write_kernel(&t, r, shared, generic, red);
  if (!lab_run(t.s, 1, 32, NULL)) return false;
  memcpy(final, lab.host + FINAL, sizeof final);
  for (int g = 0; g < GROUPS; g++) {
    struct group one = {.row = k, .flushes = !shared, .final = final[g]};
    uint64_t all = in[g][2];
    for (int i = 0; i < LANES; i++) {
      int lane = g + GROUPS * i;
      one.b[i] = in[lane][0], one.c[i] = in[lane][1];
      memcpy(&one.old[i], lab.host + OUT + lane * 24, 8);
      all = masked(result(k, all, one.b[i], one.c[i], !shared), r->bytes);
    }
    if (red ? all == final[g] : some_order(&one, in[g][2], 0)) continue;
    print_message("%s.%s in %s%s space, address %d: from %#llx to %#llx is no order of the lanes\n", red ? "red" : "atom", r->name, generic ? "generic " : "", shared ? "shared" : "global",
                  g, (unsigned long long)in[g][2], (unsigned long long)final[g]);
    return false;
  }
  return true;
}

void test_atomics(void **state) {
  (void)state;
  int wrong = 0;
  for (int k = 0; k < NUM_ROWS; k++)
    for (int how = 0; how < 8; how++) {
      if (how & 4 && (!strncmp(rows[k].name, "cas", 3) || !strncmp(rows[k].name, "exch", 4))) continue; // there is no such red
      for (int round = 0; round < 4; round++) wrong += !try(k, how & 1, how & 2, how & 4);
    }
  assert_int_equal(wrong, 0);
}
