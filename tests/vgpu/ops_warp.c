// Exchange between lanes, block barriers that reduce, and control flow, against plain C written from the PTX manual's own rules. Every
// exchange is run by all lanes and by the odd lanes alone.
#include "tests/vgpu/lab.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

enum { OUT = 8192 };

// Lane t's record: in 32 bytes at 32 t: a, b, c (32 bits), wide (64 bits at 16); out 8 bytes at OUT + 8 t.
struct record {
  uint32_t a, b, c, pad;
  uint64_t wide, more;
};
static struct record in[128];

static void head(struct text *t, bool odd_only) {
  t->n = 0;
  put(t, LAB_HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .b64 base, mine, out, wide;\n.reg .b32 t, a, b, c, d, e;\n.reg .pred r, q, g;\nld.param.u64 base, [p];\nmov.u32 t, %%tid.x;\n"
         "mad.wide.u32 mine, t, 32, base;\nmad.wide.u32 out, t, 8, base;\nld.global.u32 a, [mine];\nld.global.u32 b, [mine+4];\nld.global.u32 c, [mine+8];\nld.global.u64 wide, [mine+16];\n"
         "mov.u32 d, 0xdddddddd;\nmov.u32 e, 0;\nand.b32 e, a, 1;\nsetp.ne.u32 r, e, 0;\nmov.u32 e, 0;\n");
  if (odd_only) put(t, "and.b32 e, t, 1;\nsetp.eq.u32 g, e, 0;\nmov.u32 e, 0;\n@g bra OUT;\n");
}

static void tail(struct text *t) { put(t, "OUT:\nst.global.v2.u32 [out+%d], {d, e};\nret;\n}\n", OUT); }

static bool go(const struct text *t, unsigned threads, uint32_t got[][2]) {
  memset(lab.host, 0, OUT + 1024);
  memcpy(lab.host, in, sizeof in);
  if (!lab_run(t->s, 1, threads, NULL)) return false;
  memcpy(got, lab.host + OUT, threads * 8);
  return true;
}

// The manual's "shfl" in its own terms. The lane read, and whether it was in range.
static unsigned shuffled(const char *mode, unsigned lane, uint32_t b, uint32_t c, bool *in_range) {
  int bval = b & 31, cval = c & 31, segmask = c >> 8 & 31, max = ((int)lane & segmask) | (cval & ~segmask), min = (int)lane & segmask, j = (int)lane;
  if (!strcmp(mode, "up")) j = (int)lane - bval, *in_range = j >= max;
  else if (!strcmp(mode, "down")) j = (int)lane + bval, *in_range = j <= max;
  else if (!strcmp(mode, "bfly")) j = (int)lane ^ bval, *in_range = j <= max;
  else j = min | (bval & ~segmask), *in_range = j <= max;
  return *in_range ? (unsigned)j : lane;
}

static void shuffle(const char *mode, bool odd_only, bool predicate, int kind) {
  static struct text t;
  uint32_t got[32][2], width = 1u << lab_random() % 6, clamp = kind ? (uint32_t)lab_random() % 32 : !strcmp(mode, "up") ? 0 : 31;
  uint32_t segments = kind == 2 ? (uint32_t)lab_random() % 32 : 32 - width; // kind 2: any mask
  for (int i = 0; i < 32; i++) {
    in[i] = (struct record){.a = (uint32_t)lab_random(), .b = (uint32_t)lab_random(), .c = segments << 8 | clamp};
    if (odd_only) in[i].b = !strcmp(mode, "idx") ? in[i].b | 1 : in[i].b & ~1u; // from odd lanes to odd lanes
  }
  head(&t, odd_only);
  put(&t, "shfl.sync.%s.b32 d%s, a, b, c, %s;\n%s", mode, predicate ? "|q" : "", odd_only ? "0xaaaaaaaa" : "-1", predicate ? "selp.u32 e, 1, 0, q;\n" : "");
  tail(&t);
  assert_true(go(&t, 32, got));
  for (unsigned i = 0; i < 32; i++) {
    bool in_range;
    unsigned j = shuffled(mode, i, in[i].b, in[i].c, &in_range), off = odd_only && !(i & 1);
    uint32_t want = off ? 0xdddddddd : in[j].a, want_p = predicate && !off && in_range;
    if (got[i][0] != want || got[i][1] != want_p)
      fail_msg("shfl.%s lane %u b %u c %#x: %#x %u, expected %#x %u", mode, i, in[i].b & 31, in[i].c, got[i][0], got[i][1], want, want_p);
  }
}

void test_shuffles(void **state) {
  (void)state;
  static const char *const modes[] = {"up", "down", "bfly", "idx"};
  for (int m = 0; m < 4; m++)
    for (int how = 0; how < 12; how++)
      for (int round = 0; round < 12; round++) shuffle(modes[m], how & 1, how & 2, how / 4);
}

void test_votes(void **state) {
  (void)state;
  static struct text t;
  static const char *const modes[] = {"all.pred q", "any.pred q", "uni.pred q", "ballot.b32 d"};
  uint32_t got[32][2];
  for (int k = 0; k < 4 * 2 * 2 * 5; k++) {
    int mode = k % 4, odd_only = k / 4 % 2, negated = k / 8 % 2, pattern = k / 16;
    uint32_t p = pattern == 0 ? 0 : pattern == 1 ? ~0u : pattern == 2 ? 0x55555555 : pattern == 3 ? ~(1u << lab_random() % 32) : (uint32_t)lab_random();
    for (int i = 0; i < 32; i++) in[i] = (struct record){.a = p >> i & 1};
    head(&t, odd_only);
    put(&t, "vote.sync.%s, %sr, %s;\n%s", modes[mode], negated ? "!" : "", odd_only ? "0xaaaaaaaa" : "0xffffffff", mode < 3 ? "selp.u32 d, 1, 0, q;\n" : "");
    tail(&t);
    assert_true(go(&t, 32, got));
    uint32_t members = odd_only ? 0xaaaaaaaa : ~0u, set = (negated ? ~p : p) & members;
    uint32_t want = mode == 0 ? set == members : mode == 1 ? set != 0 : mode == 2 ? set == 0 || set == members : set;
    for (unsigned i = 0; i < 32; i++)
      if (got[i][0] != (members >> i & 1 ? want : 0xdddddddd)) fail_msg("vote.%s of %#x among %#x, lane %u: %#x", modes[mode], set, members, i, got[i][0]);
  }
}

void test_matches(void **state) {
  (void)state;
  static struct text t;
  uint32_t got[32][2];
  for (int k = 0; k < 2 * 2 * 2 * 6; k++) {
    bool all = k & 1, wide = k & 2, odd_only = k & 4;
    uint64_t values[4] = {1, wide ? 1ull << 32 | 1 : 2, ~0ull, 0}; // differ in the upper half alone
    for (int i = 0; i < 32; i++) {
      uint64_t v = values[k / 8 < 2 ? (i == 5 && k / 8 ? 1 : 0) : lab_random() % 4];
      in[i] = (struct record){.a = (uint32_t)v, .wide = v};
    }
    head(&t, odd_only);
    put(&t, "match.%s.sync.%s %s, %s, %s;\n%sand.b32 c, t, 0;\nactivemask.b32 c;\n", all ? "all" : "any", wide ? "b64" : "b32", all ? "d|q" : "d", wide ? "wide" : "a",
        odd_only ? "0xaaaaaaaa" : "-1", all ? "selp.u32 e, 1, 0, q;\n" : "");
    put(&t, "xor.b32 c, c, %s;\nshl.b32 c, c, 1;\nor.b32 e, e, c;\n", odd_only ? "0xaaaaaaaa" : "0xffffffff"); // activemask: exactly these lanes
    tail(&t);
    assert_true(go(&t, 32, got));
    uint32_t members = odd_only ? 0xaaaaaaaa : ~0u;
    for (unsigned i = 0; i < 32; i++) {
      uint32_t same = 0;
      for (unsigned j = 0; j < 32; j++) same |= (uint32_t)(members >> j & 1 && (wide ? in[j].wide == in[i].wide : in[j].a == in[i].a)) << j;
      bool on = members >> i & 1, agree = same == members;
      if (got[i][0] != (!on ? 0xdddddddd : all && !agree ? 0 : same) || got[i][1] != (on && all && agree))
        fail_msg("match.%s lane %u: %#x %u", all ? "all" : "any", i, got[i][0], got[i][1]);
    }
  }
}

void test_block_reductions(void **state) {
  (void)state;
  static struct text t;
  static const char *const modes[] = {"popc", "and", "or"};
  static const struct {
    const char *before, *after, *id, *count;
  } spellings[] = {{"bar.red", "", "3", ""}, {"barrier.red", "", "b", "96, "}, {"barrier.cta.red", ".aligned", "b", ""}};
  uint32_t got[96][2];
  for (int k = 0; k < 3 * 2 * 4 * 3; k++) {
    int mode = k % 3, negated = k / 3 % 2, pattern = k / 6 % 4, spelling = k / 24;
    unsigned count = 0;
    for (int i = 0; i < 96; i++) {
      bool p = pattern == 0 ? 0 : pattern == 1 ? 1 : pattern == 2 ? i == 70 : lab_random() & 1;
      in[i] = (struct record){.a = p, .b = 3};
      count += p != negated;
    }
    head(&t, false);
    put(&t, "%s.%s%s.%s, %s, %s%sr;\n", spellings[spelling].before, modes[mode], spellings[spelling].after, mode ? "pred q" : "u32 d", spellings[spelling].id,
        spellings[spelling].count, negated ? "!" : "");
    if (mode) put(&t, "selp.u32 d, 1, 0, q;\n");
    tail(&t);
    assert_true(go(&t, 96, got));
    uint32_t want = mode == 0 ? count : mode == 1 ? count == 96 : count > 0;
    for (int i = 0; i < 96; i++)
      if (got[i][0] != want) fail_msg("%s.%s of %u of 96: %u", spellings[spelling].before, modes[mode], count, got[i][0]);
  }
}

// One warp arrives and goes on, the other waits for it.
void test_arrive(void **state) {
  (void)state;
  static struct text t;
  uint32_t got[64][2];
  for (int i = 0; i < 64; i++) in[i] = (struct record){.a = (uint32_t)lab_random()};
  head(&t, false);
  put(&t, ".shared .u32 box[32];\nmov.u64 wide, box;\nand.b32 b, t, 31;\nmad.wide.u32 wide, b, 4, wide;\nsetp.lt.u32 q, t, 32;\n@!q bra TAKE;\nst.shared.u32 [wide], a;\nbar.arrive 1, 64;\n"
          "bra OUT;\nTAKE:\nbar.sync 1, 64;\nld.shared.u32 d, [wide];\n");
  tail(&t);
  assert_true(go(&t, 64, got));
  for (int i = 32; i < 64; i++) assert_int_equal(got[i][0], in[i - 32].a);
}

// Tables of branches, calls direct and through pointers, returns and exits in part of a warp, clocks.
void test_control(void **state) {
  (void)state;
  static struct text t;
  uint32_t got[32][2];
  for (int i = 0; i < 32; i++) in[i] = (struct record){.a = (uint32_t)lab_random(), .b = (uint32_t)lab_random() % 3};
  head(&t, false);
  const char *functions = ".func (.reg .b32 y) twice(.reg .b32 x)\n{\nadd.u32 y, x, x;\nret;\n}\n.func (.reg .b32 y) odd_or_negated(.reg .b32 x)\n{\n.reg .pred o;\n.reg .b32 z;\nand.b32 z, x, 1;\n"
                          "setp.ne.u32 o, z, 0;\nmov.u32 y, x;\n@o ret;\nneg.s32 y, x;\nret;\n}\n";
  char *entry = strstr(t.s, ".visible");
  static struct text u;
  u.n = 0;
  put(&u, "%.*s%s%s", (int)(entry - t.s), t.s, functions, entry);
  put(&u, "ts: .branchtargets A, B, C;\nproto: .callprototype (.reg .b32 _) _ (.reg .b32 _);\n.reg .b64 c0, c1;\n.reg .b32 k0, k1;\nmov.u64 c0, %%clock64;\nmov.u32 k0, %%clock;\n"
          "brx.idx b, ts;\nA:\ncall.uni (d), twice, (a);\nbra MEET;\nB:\ncall (d), odd_or_negated, (a);\nbra MEET;\nC:\nmov.u64 wide, twice;\nand.b32 c, a, 4;\nsetp.ne.u32 q, c, 0;\n"
          "@q mov.u64 wide, odd_or_negated;\ncall (d), wide, (a), proto;\nMEET:\npmevent 1;\nnanosleep.u32 10;\nmov.u64 c1, %%clock64;\nmov.u32 k1, %%clock;\nsetp.ge.u64 q, c1, c0;\n"
          "selp.u32 e, 1, 0, q;\nand.b32 c, a, 8;\nsetp.ne.u32 q, c, 0;\n@!q bra OUT;\nst.global.v2.u32 [out+%d], {d, e};\nexit;\n", OUT);
  tail(&u);
  assert_true(go(&u, 32, got));
  for (int i = 0; i < 32; i++) {
    uint32_t a = in[i].a, twice = a + a, other = a & 1 ? a : -a;
    assert_int_equal(got[i][0], in[i].b == 0 ? twice : in[i].b == 1 ? other : a & 4 ? other : twice);
    assert_int_equal(got[i][1], 1);
  }
}

// .local variables of a function that calls itself: each call has its own.
void test_recursion(void **state) {
  (void)state;
  static struct text t;
  uint32_t got[32][2];
  for (int i = 0; i < 32; i++) in[i] = (struct record){.a = (uint32_t)lab_random() % 8};
  head(&t, false);
  static struct text u;
  char *entry = strstr(t.s, ".visible");
  u.n = 0;
  put(&u, "%.*s.func (.param .u32 y) sum(.param .u32 x)\n{\n.local .u32 mine;\n.reg .b32 n, r;\n.reg .b64 at;\n.reg .pred z;\n.param .u32 a, b;\nld.param.u32 n, [x];\n"
          "mov.u64 at, mine;\nmov.u32 r, mine;\nst.local.u32 [at], n;\nsetp.eq.u32 z, n, 0;\nmov.u32 r, 0;\n@z bra DONE;\nsub.u32 n, n, 1;\nst.param.u32 [a], n;\n"
          "call (b), sum, (a);\nld.param.u32 r, [b];\nDONE:\nld.local.u32 n, [mine];\nadd.u32 r, r, n;\nst.param.u32 [y], r;\nret;\n}\n%s",
      (int)(entry - t.s), t.s, entry);
  put(&u, ".param .u32 arg, res;\nst.param.u32 [arg], a;\ncall (res), sum, (arg);\nld.param.u32 d, [res];\n");
  tail(&u);
  assert_true(go(&u, 32, got));
  for (int i = 0; i < 32; i++) assert_int_equal(got[i][0], in[i].a * (in[i].a + 1) / 2);
}

void test_trap(void **state) {
  (void)state;
  static const char *const words[] = {"trap", "brkpt"};
  static struct text t;
  for (int k = 0; k < 2; k++) {
    t.n = 0;
    put(&t, LAB_HEAD ".visible .entry k(.param .u64 p)\n{\n%s;\nret;\n}\n", words[k]);
    print_message("expected: a finding on '%s'\n", words[k]);
    assert_int_not_equal(lab_launch(t.s, 1, 32, NULL), 0);
    vgpuFindingsReset();
  }
}
