// Sums, divergences and the largest of rows of logits, against their definitions.
#include "tests/test.h"
#include "runtime/logits.h"
#include <math.h>

static uint64_t seed;

static void by_hand(void **state) {
  (void)state;
  const float p[] = {logf(0.5f), logf(0.5f)}, q[] = {logf(0.25f), logf(0.75f)}, none[] = {-INFINITY, 0},
              inf[] = {-INFINITY, -INFINITY};
  assert_true(fabs(logits_log_sum(p, 2)) < 1e-7);
  assert_true(fabs(logits_divergence(p, q, 2) - (0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75))) < 1e-7);
  assert_true(logits_divergence(p, p, 2) == 0);
  assert_true(isinf(logits_divergence(p, none, 2)));                // q rules out what p does not
  assert_true(fabs(logits_divergence(none, p, 2) - log(2)) < 1e-7); // what p rules out does not count
  assert_true(logits_log_sum(inf, 2) == -INFINITY);
  const float large[] = {10000, 10000}, small[] = {-10000, -10001};
  assert_true(fabs(logits_log_sum(large, 2) - 10000 - log(2)) < 1e-9);
  assert_true(fabs(logits_log_sum(small, 2) + 10000 - log1p(exp(-1))) < 1e-9);
}

static void bad_logits_are_found_first(void **state) {
  (void)state;
  float x[9] = {0};
  x[2] = -INFINITY;
  assert_int_equal(logits_find_bad(x, 9), -1);
  for (int i = 0; i < 9; i++)
    for (int kind = 0; kind < 3; kind++) {
      float y[9];
      memcpy(y, x, sizeof y);
      y[i] = kind == 0 ? NAN : kind == 1 ? -NAN : INFINITY;
      assert_int_equal(logits_find_bad(y, 9), i);
    }
}

// Counted, not sorted: place of id i among all.
static int place(const float *x, int n, int i) {
  int before = 0;
  for (int j = 0; j < n; j++) before += x[j] > x[i] || (x[j] == x[i] && j < i);
  return before;
}

static void the_largest_come_in_order(void **state) {
  (void)state;
  for (int round = 0; round < 3000; round++) {
    float x[40];
    int n = 1 + (int)(test_random(&seed) % 40), k = 1 + (int)(test_random(&seed) % (uint64_t)n);
    for (int i = 0; i < n; i++) x[i] = round % 2 ? (float)test_uniform(&seed) : (float)(test_random(&seed) % 5); // ties
    if (round % 7 == 0) x[n / 2] = -INFINITY;
    int32_t ids[40];
    memset(ids, 0xff, sizeof ids);
    logits_top(x, n, k, ids);
    for (int i = 0; i < n; i++) {
      int at = place(x, n, i);
      if (at < k) assert_int_equal(ids[at], i);
    }
    for (int i = k; i < 40; i++) assert_int_equal(ids[i], -1); // nothing is written behind
  }
}

static void divergence_is_the_definition(void **state) {
  (void)state;
  for (int round = 0; round < 200; round++) {
    enum { N = 60 };
    float p[N], q[N];
    long double ps = 0, qs = 0, d = 0;
    for (int i = 0; i < N; i++) {
      p[i] = (float)(20 * test_uniform(&seed) - 10);
      q[i] = round % 2 ? p[i] + (float)(1e-3 * test_uniform(&seed)) : (float)(20 * test_uniform(&seed) - 10);
      ps += expl(p[i]), qs += expl(q[i]);
    }
    for (int i = 0; i < N; i++) d += expl(p[i]) / ps * (logl(expl(p[i]) / ps) - logl(expl(q[i]) / qs));
    double found = logits_divergence(p, q, N);
    if (!(fabs(found - (double)d) <= 1e-13 * (1 + (double)d)))
      fail_msg("round %d: %.17g, expected %.17g", round, found, (double)d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand), cmocka_unit_test(bad_logits_are_found_first),
                                     cmocka_unit_test(the_largest_come_in_order),
                                     cmocka_unit_test(divergence_is_the_definition)};
  seed = test_seed();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
