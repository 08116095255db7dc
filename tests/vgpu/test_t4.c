// The timing model on programs whose cost is known from the ceilings and latencies themselves.
#include "tests/vgpu/t4_build.h"
#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#define BASE UINT64_C(0x10000000)

static const struct t4_table *T4;

static struct t4_estimate run(const struct program *p, unsigned threads, unsigned registers, unsigned smem) {
  struct t4_launch l = {&p->code, &p->trace, threads, registers, smem, 0};
  struct t4_estimate e;
  assert_true(t4_estimate_launch(T4, &l, &e));
  return e;
}

#define assert_between(x, low, high) \
  do { \
    double value = (x); \
    if (!(value >= (low) && value <= (high))) fail_msg("%s is %.4g, not in [%.4g, %.4g]", #x, value, (double)(low), (double)(high)); \
  } while (0)

static void test_tables(void **state) {
  (void)state;
  assert_non_null(t4_table_named("t4"));
  assert_non_null(t4_table_named("t4_eff"));
  assert_null(t4_table_named("v100"));
  // 16 channels, 32 bytes in 4 clocks.
  assert_between(16 * 32 / 4.0 * t4_table_named("t4")->dram_mhz / 1e3, 319, 321);
  assert_between(16 * 32 / 4.0 * t4_table_named("t4_eff")->dram_mhz / 1e3, 255, 257);
  assert_int_equal(t4_timing_mma(16, 8, 8, 16, true).interval, 8);
  assert_int_equal(t4_timing_mma(8, 8, 16, 8, false).interval, 4);
}

static void test_occupancy(void **state) {
  (void)state;
  struct {
    unsigned threads, registers, shared, blocks;
    const char *why;
  } all[] = {{256, 44, 6144, 4, "threads"},   {1024, 28, 256, 1, "threads"},   {32, 16, 0, 16, "blocks"},
             {256, 128, 0, 2, "registers"},   {128, 255, 0, 2, "registers"},   {64, 32, 20000, 3, "shared memory"},
             {128, 32, 65536, 1, "shared memory"}, {96, 168, 0, 3, "registers"}};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    struct t4_occupancy o = t4_occupancy_of(T4, all[i].threads, all[i].registers, all[i].shared);
    assert_int_equal(o.blocks, all[i].blocks);
    assert_string_equal(o.limited_by, all[i].why);
  }
  assert_int_equal(t4_occupancy_of(T4, 1024, 128, 0).blocks, 0); // does not fit at all
}

// One warp, each load needs the one before it: cycles a load, to lines `step` bytes apart, `trips` times over `span` lines.
static double chase(unsigned loads, unsigned span, unsigned step, bool bypass) {
  struct program p = {0};
  emit(&p, bypass ? T4_GLOBAL_ATOM : T4_GLOBAL_LOAD, T_MEM, 1, 1, 0, 0);
  emit(&p, T4_CONTROL, T_BRA, 0, 0);
  emit(&p, T4_EXIT, T_EXIT, 0, 0);
  finish(&p);
  grid(&p, 1, 1);
  on(&p, 0, 0);
  for (unsigned i = 0; i < loads; i++) {
    visit(&p, 0, 2);
    touch(&p, BASE + (uint64_t)(i % span) * step, 1, 1, 1, 0);
  }
  visit(&p, 2, 1);
  struct t4_estimate e = run(&p, 32, 16, 0);
  assert_int_equal(e.bound, T4_LIMIT_LATENCY);
  release(&p);
  return e.cycles / loads;
}

static void test_latencies(void **state) {
  (void)state;
  assert_between(chase(64, 64, 4096, false), 350, 600);      // memory
  double first = chase(64, 64, 32, true), both = chase(128, 64, 32, true);
  assert_between(2 * both - first, 190, 260);                // L2: the second trip of atomics, which do not stop at L1
  first = chase(64, 64, 32, false), both = chase(128, 64, 32, false);
  assert_between(2 * both - first, 32, 50);                  // L1
}

// `blocks` of 8 warps, each instruction 16 sectors; loads, then stores, 4 of each a warp.
static void make_copy(struct program *p, uint64_t blocks, bool store) {
  for (unsigned j = 0; j < 4; j++) emit(p, T4_GLOBAL_LOAD, T_MEM, 1, 1, 1 + j, 0);
  for (unsigned j = 0; j < 4 && store; j++) emit(p, T4_GLOBAL_STORE, T_MEM, 0, 2, 1 + j, 0);
  emit(p, T4_EXIT, T_EXIT, 0, 0);
  finish(p);
  grid(p, blocks, 8);
  for (uint64_t b = 0; b < blocks; b++)
    for (unsigned w = 0; w < 8; w++) {
      on(p, b, w);
      visit(p, 0, p->code.num_ops);
      for (unsigned j = 0; j < (store ? 8 : 4); j++)
        touch(p, BASE + (j / 4) * (blocks << 14) + (b << 14) + (j % 4 << 12) + w * 512, 16, 1, 1, j < 4 ? 0 : UINT32_MAX);
    }
}

// 4 MiB read: each byte once, at 90 to 100 % of 320 GB/s.
static void test_stream(void **state) {
  (void)state;
  struct program p = {0};
  make_copy(&p, 256, false);
  struct t4_estimate e = run(&p, 256, 24, 0);
  double bytes = 256 * 16384.0;
  assert_true(e.dram_read == bytes && e.dram_write == 0);
  assert_true(e.l2_accesses == bytes / 32 && e.l2_misses == bytes / 32 && e.l1_accesses == bytes / 32);
  assert_between(bytes / e.us / 1e3, 280, 320);
  assert_int_equal(e.bound, T4_LIMIT_DRAM);
  release(&p);
}

// What stays dirty in the 4 MiB of L2 is not written: 8 MiB read, 8 MiB written by the kernel.
static void test_copy_writes_back(void **state) {
  (void)state;
  struct program p = {0};
  make_copy(&p, 512, true);
  struct t4_estimate e = run(&p, 256, 24, 0);
  assert_true(e.dram_read == 512 * 16384.0);
  assert_between(e.dram_write, 8.39e6 - 4.2e6, 8.39e6 - 1e6);
  release(&p);
}

// A MiB read over and over: from memory once, then from L2.
static void test_repeated_sweep(void **state) {
  (void)state;
  struct program p = {0};
  const unsigned sweeps = 6;
  emit(&p, T4_GLOBAL_ATOM, T_MEM, 1, 1, 1, 0); // past L1
  emit(&p, T4_BARRIER, T_BAR, 0, 0);
  emit(&p, T4_EXIT, T_EXIT, 0, 0);
  finish(&p);
  grid(&p, 64, 8);
  for (unsigned b = 0; b < 64; b++)
    for (unsigned w = 0; w < 8; w++) {
      on(&p, b, w);
      for (unsigned s = 0; s < sweeps; s++) {
        visit(&p, 0, 2);
        touch(&p, BASE + (b * 8 + w) * 2048, 64, 1, 1, 0);
        barrier(&p);
      }
      visit(&p, 2, 1);
    }
  struct t4_estimate e = run(&p, 256, 24, 0);
  assert_true(e.dram_read == 1048576);
  assert_true(e.l2_accesses == sweeps * 1048576 / 32.0 && e.l2_misses == 1048576 / 32);
  release(&p);
}

// A loop of `per_trip` equal instructions on `warps` warps a block.
static struct t4_estimate loop(struct program *p, unsigned blocks, unsigned warps, unsigned per_trip, unsigned trips,
                               enum t4_kind kind, struct t4_timing t, unsigned wavefronts) {
  for (unsigned i = 0; i < per_trip; i++) emit(p, kind, t, 1, 2, 1 + i, 30u, 31u);
  emit(p, T4_CONTROL, T_BRA, 0, 0);
  emit(p, T4_EXIT, T_EXIT, 0, 0);
  finish(p);
  grid(p, blocks, warps);
  for (unsigned b = 0; b < blocks; b++)
    for (unsigned w = 0; w < warps; w++) {
      on(p, b, w);
      for (unsigned k = 0; k < trips; k++) {
        visit(p, 0, per_trip + 1);
        for (unsigned i = 0; i < per_trip && kind == T4_SHARED_LOAD; i++) shared(p, wavefronts);
      }
      visit(p, per_trip + 1, 1);
    }
  return run(p, warps * 32, 32, 0);
}

static void test_pipes(void **state) {
  (void)state;
  struct {
    struct t4_timing t;
    enum t4_limit bound;
  } all[] = {{T_FP, T4_LIMIT_FP32},
             {T_INT, T4_LIMIT_ISSUE}, // the integer pipe counts as issue
             {T_SFU, T4_LIMIT_SFU},
             {t4_timing_of(VGPU_CLASS_FP64), T4_LIMIT_FP64},
             {t4_timing_mma(16, 8, 8, 16, true), T4_LIMIT_TENSOR}};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    struct program p = {0};
    struct t4_estimate e = loop(&p, 40, 16, 8, 20, T4_ALU, all[i].t, 0);
    assert_int_equal(e.bound, all[i].bound);
    double least = 4.0 * 8 * 20 * all[i].t.interval; // 4 warps a scheduler
    assert_between(e.cycles, least * 0.99, least * 1.15 + 120); // the last of each pipe is not waited for
    release(&p);
  }
}

// A chain of dependent multiply-adds in one warp: about 9 cycles each at PTX level (4 in the pipe, the rest around it).
static void test_dependent_chain(void **state) {
  (void)state;
  struct program p = {0};
  for (unsigned i = 0; i < 100; i++) emit(&p, T4_ALU, T_FP, 1, 2, 1u, 1u, 2u);
  emit(&p, T4_EXIT, T_EXIT, 0, 0);
  finish(&p);
  grid(&p, 1, 1);
  on(&p, 0, 0);
  visit(&p, 0, 101);
  struct t4_estimate e = run(&p, 32, 16, 0);
  assert_between(e.cycles / 100, 7, 11);
  assert_int_equal(e.bound, T4_LIMIT_LATENCY);
  release(&p);
}

static void test_shared_conflicts(void **state) {
  (void)state;
  double before = 0;
  for (unsigned ways = 1; ways <= 32; ways *= 2) {
    struct program p = {0};
    struct t4_estimate e = loop(&p, 40, 16, 4, 20, T4_SHARED_LOAD, T_MEM, ways);
    double least = 16.0 * 4 * 20 * ways; // one unit an SM
    assert_between(e.cycles, least * 0.99, least * 1.1 + 250);
    assert_true(e.cycles > before);
    if (ways > 1) assert_int_equal(e.bound, T4_LIMIT_SHARED);
    before = e.cycles;
    release(&p);
  }
}

// Every lane adds to one word: the slice does one at a time.
static void test_atomics_on_one_address(void **state) {
  (void)state;
  struct program p = {0};
  emit(&p, T4_GLOBAL_ATOM, T_MEM, 0, 1, 0u);
  emit(&p, T4_EXIT, T_EXIT, 0, 0);
  finish(&p);
  grid(&p, 40, 8);
  for (unsigned b = 0; b < 40; b++)
    for (unsigned w = 0; w < 8; w++) {
      on(&p, b, w);
      visit(&p, 0, 2);
      touch(&p, BASE, 1, 1, 32, UINT32_MAX);
    }
  struct t4_estimate e = run(&p, 256, 16, 0);
  assert_int_equal(e.bound, T4_LIMIT_ATOMIC);
  assert_between(e.cycles, 40 * 8 * 32, 40 * 8 * 32 + 1200);
  assert_true(e.l2_accesses == 40 * 8 * 32 && e.dram_read == 32);
  release(&p);
}

// 40 SMs of one block each: one block more costs another wave.
static void test_partial_wave(void **state) {
  (void)state;
  struct program p = {0}, q = {0};
  struct t4_estimate one = loop(&p, 40, 32, 8, 20, T4_ALU, T_FP, 0), more = loop(&q, 41, 32, 8, 20, T4_ALU, T_FP, 0);
  assert_between(more.cycles / one.cycles, 1.9, 2.1);
  assert_int_equal(more.bound, T4_LIMIT_FP32); // of the SM that runs last
  release(&p);
  release(&q);
}

// Warps wait for the slowest of their block.
static void test_barrier(void **state) {
  (void)state;
  struct program p = {0};
  for (unsigned i = 0; i < 50; i++) emit(&p, T4_ALU, T_FP, 1, 2, 1u, 1u, 2u);
  emit(&p, T4_CONTROL, T_BRA, 0, 0);
  emit(&p, T4_BARRIER, T_BAR, 0, 0);
  for (unsigned i = 0; i < 50; i++) emit(&p, T4_ALU, T_FP, 1, 2, 1u, 1u, 2u);
  emit(&p, T4_EXIT, T_EXIT, 0, 0);
  finish(&p);
  grid(&p, 1, 4);
  for (unsigned w = 0; w < 4; w++) {
    on(&p, 0, w);
    if (w == 0) visit(&p, 0, 51); // warp 0 has work before the barrier, warp 3 after it
    visit(&p, 51, 1);
    barrier(&p);
    if (w == 3) visit(&p, 52, 50);
    visit(&p, 102, 1);
  }
  struct t4_estimate e = run(&p, 128, 16, 0);
  assert_between(e.cycles, 100 * 7, 100 * 11);
  release(&p);
}

// Half of the grid replayed, the rest taken to go on alike.
static void test_sampling(void **state) {
  (void)state;
  struct program p = {0};
  make_copy(&p, 1024, false);
  struct t4_estimate all = run(&p, 256, 24, 0);
  p.trace.num_traced = 480; // three waves
  struct t4_estimate some = run(&p, 256, 24, 0);
  assert_int_equal(some.replayed, 480);
  assert_between(some.cycles / all.cycles, 0.95, 1.05);
  assert_between(some.dram_read / all.dram_read, 0.999, 1.001);
  assert_int_equal(some.bound, all.bound);
  release(&p);
}

static uint32_t random_below(uint32_t *seed, uint32_t n) {
  *seed = *seed * 1664525 + 1013904223;
  return (uint32_t)((uint64_t)(*seed >> 8) * n >> 24);
}

// Random straight code: the scheduled order is a permutation that keeps every dependence on registers.
static void test_schedule_keeps_dependences(void **state) {
  (void)state;
  uint32_t seed = 20240607;
  print_message("seed %u\n", seed);
  for (unsigned round = 0; round < 200; round++) {
    struct program p = {0};
    unsigned n = 3 + random_below(&seed, 60), regs = 2 + random_below(&seed, 20);
    for (unsigned i = 0; i < n; i++) {
      bool load = random_below(&seed, 4) == 0;
      emit(&p, load ? T4_GLOBAL_LOAD : T4_ALU, load ? T_MEM : T_FP, 1, 2, random_below(&seed, regs), random_below(&seed, regs),
           random_below(&seed, regs));
    }
    emit(&p, T4_EXIT, T_EXIT, 0, 0);
    finish(&p);
    uint32_t at[80];
    memset(at, 0xff, sizeof at);
    for (unsigned i = 0; i <= n; i++) {
      assert_true(p.code.order[i] <= n && at[p.code.order[i]] == UINT32_MAX);
      at[p.code.order[i]] = i;
    }
    assert_int_equal(at[n], n); // the exit stays last
    for (unsigned i = 0; i < n; i++)
      for (unsigned k = i + 1; k < n; k++) {
        const uint16_t *a = p.code.slots + p.code.ops[i].slots, *b = p.code.slots + p.code.ops[k].slots;
        bool depends = a[0] == b[0] || a[0] == b[1] || a[0] == b[2] || a[1] == b[0] || a[2] == b[0];
        if (depends) assert_true(at[i] < at[k]);
      }
    release(&p);
  }
}

// Two loads, each with its arithmetic: both loads come first.
static void test_schedule_hoists_loads(void **state) {
  (void)state;
  struct program p = {0};
  for (unsigned i = 0; i < 2; i++) {
    emit(&p, T4_GLOBAL_LOAD, T_MEM, 1, 1, 1 + i, 0u);
    for (unsigned k = 0; k < 4; k++) emit(&p, T4_ALU, T_FP, 1, 2, 10 + i, 10 + i, 1 + i);
  }
  emit(&p, T4_EXIT, T_EXIT, 0, 0);
  finish(&p);
  assert_true(p.code.order[0] + p.code.order[1] == 0 + 5);
  release(&p);
}

// Loads among tensor instructions that can go: never two loads side by side.
static void test_schedule_deals_loads_out(void **state) {
  (void)state;
  enum { N = 6 };
  struct program p = {0};
  for (unsigned i = 0; i < N; i++) emit(&p, T4_SHARED_LOAD, T_MEM, 1, 1, 1 + i, 0u);
  for (unsigned i = 0; i < N; i++) emit(&p, T4_ALU, t4_timing_mma(16, 8, 8, 16, true), 1, 2, 20 + i, 20 + i, 19u);
  emit(&p, T4_EXIT, T_EXIT, 0, 0);
  finish(&p);
  for (unsigned i = 0; i + 1 < 2 * N; i++) assert_true((p.code.order[i] < N) != (p.code.order[i + 1] < N));
  release(&p);
}

static void test_nothing_to_replay(void **state) {
  (void)state;
  struct program p = {0};
  emit(&p, T4_EXIT, T_EXIT, 0, 0);
  finish(&p);
  grid(&p, 3, 1);
  struct t4_launch l = {&p.code, &p.trace, 32, 16, 0, 0};
  struct t4_estimate e;
  for (int i = 0; i < 3; i++) t4_block_trace_free(&p.trace.blocks[i]);
  assert_false(t4_estimate_launch(T4, &l, &e)); // no block was traced
  release(&p);
}

static int open_table(void **state) {
  (void)state;
  T4 = t4_table_named("t4");
  return T4 ? 0 : 1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tables),          cmocka_unit_test(test_occupancy),
      cmocka_unit_test(test_latencies),       cmocka_unit_test(test_stream),
      cmocka_unit_test(test_copy_writes_back), cmocka_unit_test(test_repeated_sweep),
      cmocka_unit_test(test_pipes),           cmocka_unit_test(test_dependent_chain),
      cmocka_unit_test(test_shared_conflicts), cmocka_unit_test(test_atomics_on_one_address),
      cmocka_unit_test(test_partial_wave),    cmocka_unit_test(test_barrier),
      cmocka_unit_test(test_sampling),        cmocka_unit_test(test_schedule_keeps_dependences),
      cmocka_unit_test(test_schedule_hoists_loads), cmocka_unit_test(test_schedule_deals_loads_out),
      cmocka_unit_test(test_nothing_to_replay),
  };
  return cmocka_run_group_tests(tests, open_table, NULL);
}
