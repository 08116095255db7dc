// phi3 bench must give no time when cached and uncached ids differ, or one run's differ from another's: here a backend
// lies.
#include "driver/bench.h"
#include "tests/test.h"
#include <string.h>

enum { PROMPT = 5, NEW = 6 };

struct liar {
  struct backend_ops ops; // the real ones but for `read`
  bool (*read)(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *e);
  bool when_uncached;  // lies where a prompt longer than the first is computed
  int calls, lie_from; // lies from this call on
};

static struct liar liar;

static bool lie(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *e) {
  if (!liar.read(b, s, stage, dst, e)) return false;
  bool uncached = s->seqs[0].position == 0 && s->num_rows == PROMPT + 2;
  if (stage == STAGE_LOGITS && (liar.when_uncached ? uncached : ++liar.calls >= liar.lie_from)) {
    int32_t best = 0;
    for (int32_t i = 1; i < b->model->config.vocab_size; i++)
      if (dst[i] > dst[best]) best = i;
    dst[(best + 1) % b->model->config.vocab_size] = dst[best] + 1;
  }
  return true;
}

static bool measure(bool when_uncached, int lie_from, bool no_uncached, struct err *why) {
  struct err e = {0};
  struct bench_options o = {.engine = engine_defaults(), .new_tokens = NEW, .runs = 2, .no_uncached = no_uncached};
  o.engine.model = "tests/goldens/models/mha";
  struct engine en = {0};
  struct bench b = {.options = &o, .engine = &en};
  assert_ok(engine_open(&en, &o.engine, &e));
  assert_ok(engine_start(&en, &o.engine, PROMPT + NEW, 1, 1, &e));
  for (int32_t i = 0; i < PROMPT; i++) assert_ok(ids_push(&b.prompt, 7 * i + 1, &e));
  struct backend *k = en.forward.backend;
  liar = (struct liar){.ops = *k->ops, .read = k->ops->read, .when_uncached = when_uncached, .lie_from = lie_from};
  liar.ops.read = lie;
  k->ops = &liar.ops;
  bool ok = bench_main(&b, why);
  if (ok) assert_int_equal(b.main.compared, !no_uncached);
  point_free(&b.main);
  ids_free(&b.prompt);
  engine_close(&en);
  return ok;
}

enum { NEVER = 1 << 30 };

static void honest_runs_are_timed(void **state) {
  (void)state;
  struct err e = {0};
  assert_ok(measure(false, NEVER, false, &e));
  assert_ok(measure(false, NEVER, true, &e));
}

static void uncached_ids_that_differ_are_refused(void **state) {
  (void)state;
  struct err e = {0};
  assert_fails(measure(true, 0, false, &e), "new token 2 ");
  assert_non_null(strstr(e.text, "no time is given"));
  assert_ok(measure(true, 0, true, &e)); // the liar is not asked
}

static void a_run_that_differs_is_refused(void **state) {
  (void)state;
  struct err e = {0};
  assert_fails(measure(false, 5 * NEW, false, &e),
               "new token 5 "); // the second of two cached and uncached runs after the warm-up
  assert_fails(measure(false, 2 * NEW, true, &e), "this cached one");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(honest_runs_are_timed),
      cmocka_unit_test(uncached_ids_that_differ_are_refused),
      cmocka_unit_test(a_run_that_differs_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
