// The sampler against distributions computed from the definitions, and the stop filter against a plain search.
#include "tests/test.h"
#include "runtime/base/mem.h"
#include "runtime/sampler.h"
#include "runtime/stop.h"
#include <math.h>

static struct err e;

enum { VOCAB = 40 };

// The definition, step by step as Hugging Face's processors state it: each works on the scores of the whole vocabulary and sets what it
// drops to -infinity.
static void soft(const double *scores, double *p) {
  double most = -INFINITY, sum = 0;
  for (int i = 0; i < VOCAB; i++) most = fmax(most, scores[i]);
  for (int i = 0; i < VOCAB; i++) sum += p[i] = exp(scores[i] - most);
  for (int i = 0; i < VOCAB; i++) p[i] /= sum;
}

static void distribution(const float *logits, const struct sampler_options *o, const int32_t *history, int n, double *p) {
  double s[VOCAB];
  for (int i = 0; i < VOCAB; i++) {
    bool seen = false;
    for (int j = 0; j < n; j++) seen |= history[j] == i;
    float penalized = logits[i] < 0 ? logits[i] * o->repetition_penalty : logits[i] / o->repetition_penalty;
    s[i] = (double)((seen ? penalized : logits[i]) / o->temperature);
  }
  if (o->top_k > 0)
    for (int i = 0, larger; i < VOCAB; i++) { // dropped if k scores are larger
      larger = 0;
      for (int j = 0; j < VOCAB; j++) larger += s[j] > s[i];
      if (larger >= o->top_k) p[i] = -INFINITY;
      else p[i] = s[i];
    }
  else memcpy(p, s, sizeof s);
  memcpy(s, p, sizeof s);
  soft(s, p);
  double keep[VOCAB];
  for (int i = 0; i < VOCAB; i++) { // kept while what is more probable does not reach top_p
    double before = 0;
    for (int j = 0; j < VOCAB; j++)
      if (p[j] > p[i] || (p[j] == p[i] && j < i)) before += p[j];
    keep[i] = o->top_p >= 1 || before < (double)o->top_p ? s[i] : -INFINITY;
  }
  soft(keep, p);
  double most = 0;
  for (int i = 0; i < VOCAB; i++) most = fmax(most, p[i]);
  for (int i = 0; i < VOCAB; i++)
    if (p[i] < (double)o->min_p * most) keep[i] = -INFINITY;
  soft(keep, p);
}

static void candidates_have_the_exact_distribution(void **state) {
  (void)state;
  uint64_t seed = test_seed();
  for (int round = 0; round < 500; round++) {
    float logits[VOCAB];
    for (int i = 0; i < VOCAB; i++) logits[i] = (float)(8 * test_uniform(&seed) - 4);
    if (round % 4 == 0)
      for (int i = 0; i < VOCAB; i++) logits[i] = roundf(logits[i]); // ties
    int32_t history[5];
    for (int i = 0; i < 5; i++) history[i] = (int32_t)(test_random(&seed) % VOCAB);
    struct sampler_options o = sampler_greedy();
    o.temperature = 0.25f + (float)test_uniform(&seed);
    if (round & 1) o.top_k = 1 + (int32_t)(test_random(&seed) % (VOCAB + 5));
    if (round & 2) o.top_p = (float)test_uniform(&seed);
    if (round & 4) o.min_p = (float)test_uniform(&seed) / 4;
    if (round & 8) o.repetition_penalty = 1 + (float)test_uniform(&seed);
    double expected[VOCAB], got[VOCAB] = {0};
    distribution(logits, &o, history, 5, expected);
    struct sampler s;
    assert_ok(sampler_init(&s, VOCAB, &o, &e));
    int32_t n = sampler_candidates(&s, logits, history, 5, &e);
    assert_true(n >= 1);
    for (int i = 0; i < n; i++) got[s.candidates[i].id] = s.candidates[i].probability;
    for (int i = 0; i < VOCAB; i++)
      if (!(fabs(got[i] - expected[i]) <= 1e-9)) fail_msg("round %d id %d: %.12g, expected %.12g", round, i, got[i], expected[i]);
    sampler_free(&s);
  }
}

// Four equal logits have a quarter each, exactly: what a limit just reaches, and who comes first.
static void limits_that_are_just_reached(void **state) {
  (void)state;
  struct sampler s;
  const float logits[4] = {1, 1, 1, 1};
  struct sampler_options o = sampler_greedy();
  o.temperature = 1;
  o.top_p = 0.5f;
  assert_ok(sampler_init(&s, 4, &o, &e));
  assert_int_equal(sampler_candidates(&s, logits, NULL, 0, &e), 2);
  assert_int_equal(s.candidates[0].id, 0);
  assert_int_equal(s.candidates[1].id, 1);
  sampler_free(&s);
  o.top_p = 1;
  o.min_p = 1;
  assert_ok(sampler_init(&s, 4, &o, &e));
  assert_int_equal(sampler_candidates(&s, logits, NULL, 0, &e), 4);
  sampler_free(&s);
}

static void draws_follow_the_distribution(void **state) {
  (void)state;
  enum { DRAWS = 200000 };
  uint64_t seed = test_seed();
  float logits[VOCAB];
  for (int i = 0; i < VOCAB; i++) logits[i] = (float)(4 * test_uniform(&seed));
  struct sampler_options o = sampler_greedy();
  o.temperature = 1;
  o.seed = test_random(&seed);
  double p[VOCAB], chi2 = 0;
  distribution(logits, &o, NULL, 0, p);
  int count[VOCAB] = {0};
  struct sampler s;
  assert_ok(sampler_init(&s, VOCAB, &o, &e));
  for (int i = 0; i < DRAWS; i++) count[sampler_pick(&s, logits, NULL, 0, &e)]++;
  sampler_free(&s);
  for (int i = 0; i < VOCAB; i++) chi2 += pow(count[i] - DRAWS * p[i], 2) / (DRAWS * p[i]);
  printf("chi-square %.1f with %d degrees of freedom\n", chi2, VOCAB - 1);
  assert_true(chi2 < 95); // p < 1e-6 for 39 degrees of freedom
}

// The id is the one at which the running sum passes the random number, to the last digits: a threshold that is a little off turns few draws.
static void draws_fall_at_the_running_sum(void **state) {
  (void)state;
  uint64_t seed = test_seed();
  float logits[VOCAB];
  for (int i = 0; i < VOCAB; i++) logits[i] = (float)(4 * test_uniform(&seed));
  struct sampler_options o = sampler_greedy();
  o.temperature = 1;
  o.top_k = 3;
  o.seed = test_random(&seed);
  struct sampler s;
  assert_ok(sampler_init(&s, VOCAB, &o, &e));
  for (int round = 0; round < 20000; round++) {
    struct sampler twin = s;
    double u = sampler_random(&twin), sum = 0, nearest = 1;
    int32_t id = sampler_pick(&s, logits, NULL, 0, &e), expected = -1;
    for (int32_t i = 0; i < 3; i++) {
      sum += s.candidates[i].probability;
      nearest = fmin(nearest, fabs(u - sum));
      if (expected < 0 && u < sum) expected = s.candidates[i].id;
    }
    if (nearest > 1e-12 && id != expected) fail_msg("round %d: id %d for %.17g, expected %d", round, id, u, expected);
  }
  sampler_free(&s);
}

static void the_same_seed_draws_the_same(void **state) {
  (void)state;
  float logits[VOCAB] = {0};
  int32_t first[50];
  for (int round = 0; round < 2; round++) {
    struct sampler_options o = sampler_greedy();
    o.temperature = 1;
    o.seed = 42;
    struct sampler s;
    assert_ok(sampler_init(&s, VOCAB, &o, &e));
    for (int i = 0; i < 50; i++) {
      int32_t id = sampler_pick(&s, logits, NULL, 0, &e);
      if (round == 0) first[i] = id;
      else assert_int_equal(id, first[i]);
    }
    sampler_free(&s);
  }
}

static void greedy_takes_the_first_largest_and_refuses_nan(void **state) {
  (void)state;
  float logits[VOCAB] = {0};
  logits[7] = logits[9] = 3;
  struct sampler_options o = sampler_greedy();
  struct sampler s;
  assert_ok(sampler_init(&s, VOCAB, &o, &e));
  assert_int_equal(sampler_pick(&s, logits, NULL, 0, &e), 7);
  s.options.repetition_penalty = 1.5f;
  int32_t history[] = {9, 2};
  assert_int_equal(sampler_pick(&s, logits, history + 1, 1, &e), 7);
  logits[5] = 2; // as the ninth is with its penalty
  logits[7] = 0;
  assert_int_equal(sampler_pick(&s, logits, history, 2, &e), 5);
  s.options.repetition_penalty = 1;
  logits[20] = NAN;
  assert_int_equal(sampler_pick(&s, logits, NULL, 0, &e), -1);
  assert_non_null(strstr(e.text, "id 20"));
  logits[20] = INFINITY;
  assert_int_equal(sampler_pick(&s, logits, NULL, 0, &e), -1);
  for (int i = 0; i < VOCAB; i++) logits[i] = -INFINITY;
  assert_int_equal(sampler_pick(&s, logits, NULL, 0, &e), -1);
  logits[3] = -5;
  assert_int_equal(sampler_pick(&s, logits, NULL, 0, &e), 3);
  sampler_free(&s);
  o.temperature = 1e-40f; // overflows every quotient
  o.seed = 1;
  logits[4] = 2;
  assert_ok(sampler_init(&s, VOCAB, &o, &e));
  assert_int_equal(sampler_pick(&s, logits, NULL, 0, &e), 4);
  sampler_free(&s);
}

// Text fed in random pieces comes out up to the first stop text, whatever the pieces.
static void stop_texts_end_the_stream(void **state) {
  (void)state;
  uint64_t seed = test_seed();
  static const char *const stops[] = {"aba", "bb", "abcab"};
  for (int round = 0; round < 3000; round++) {
    char text[64] = "", shown[65] = "";
    size_t len = test_random(&seed) % 60, cut = len, at = 0, out = 0;
    for (size_t i = 0; i < len; i++) text[i] = "abc"[test_random(&seed) % 3];
    int32_t num = (int32_t)(test_random(&seed) % 4);
    for (int32_t i = 0; i < num; i++) {
      const char *hit = strstr(text, stops[i]);
      if (hit && (size_t)(hit - text) < cut) cut = (size_t)(hit - text);
    }
    struct stop_filter f;
    bool found = false;
    assert_ok(stop_filter_init(&f, stops, num, &e));
    while (!found) {
      size_t piece = test_random(&seed) % 5, n;
      if (piece > len - at) piece = len - at;
      bool last = at + piece == len;
      const char *ready;
      assert_ok(stop_filter_push(&f, text + at, piece, last, &ready, &n, &found, &e));
      memcpy(shown + out, ready, n);
      out += n;
      at += piece;
      if (last) break;
    }
    stop_filter_free(&f);
    assert_int_equal(out, cut);
    assert_memory_equal(shown, text, cut);
    assert_int_equal(found, cut < len);
  }
  struct stop_filter f;
  assert_fails(stop_filter_init(&f, (const char *const[]){""}, 1, &e), "empty");
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  struct sampler_options o = sampler_greedy();
  for (long k = 1; k <= 4; k++) {
    struct sampler s;
    mem_fail_from(k);
    bool ok = sampler_init(&s, VOCAB, &o, &e);
    mem_fail_from(0);
    assert_int_equal(ok, k == 4);
    sampler_free(&s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(candidates_have_the_exact_distribution),
                                     cmocka_unit_test(limits_that_are_just_reached),
                                     cmocka_unit_test(draws_follow_the_distribution),
                                     cmocka_unit_test(draws_fall_at_the_running_sum),
                                     cmocka_unit_test(the_same_seed_draws_the_same),
                                     cmocka_unit_test(greedy_takes_the_first_largest_and_refuses_nan),
                                     cmocka_unit_test(stop_texts_end_the_stream),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
