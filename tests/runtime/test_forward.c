// The forward pass against Hugging Face's logits and hidden states. That the bits do not depend on how it is cut up: tests/exactness.
#include "tests/test.h"
#include "tests/runtime/goldens.h"
#include "runtime/base/mem.h"
#include <math.h>

static struct err e;

static const struct backend_options plain = {.threads = 2, .page_size = 16, .num_pages = 64, .max_rows = 320, .max_logits = 320};

// Logits of all tokens, `chunk` at a time.
static float *all_logits(struct forward *f, struct sequence *s, const int32_t *ids, int32_t count, int32_t chunk, bool long_rope) {
  int64_t vocab = f->backend->model->config.vocab_size;
  float *logits = mem_alloc((size_t)(count * vocab), sizeof *logits, "logits", &e);
  for (int32_t at = 0; at < count; at += chunk) {
    int32_t n = count - at < chunk ? count - at : chunk;
    struct forward_input in = {s, ids + at, n, long_rope, LOGITS_ALL};
    assert_ok(forward_run(f, &in, 1, &e));
    assert_ok(forward_read(f, STAGE_LOGITS, logits + at * vocab, &e));
  }
  return logits;
}

static float *golden_logits(const struct golden *g, const struct backend_options *options, int32_t chunk) {
  struct opened o;
  struct sequence s = {0};
  opened_open(&o, g->model_path, options);
  int32_t n = (int32_t)g->ids.shape[0];
  float *logits = all_logits(&o.forward, &s, g->ids.data, n, chunk, forward_long_rope(&o.model.config, n));
  sequence_free(&s, &o.forward.pages);
  opened_close(&o);
  return logits;
}

static void check_close(const struct golden *g, void *ctx) {
  const struct backend_options *options = ctx;
  int64_t vocab = g->logits.shape[1];
  float *logits = golden_logits(g, options, plain.max_rows), *wanted = g->logits.data;
  double worst = 0;
  for (int32_t i = 0; i < g->num_rows; i++) {
    double error = relative_error(logits + g->rows[i] * vocab, wanted + i * vocab, vocab);
    if (!(error <= 1e-5)) fail_msg("%s: row %d: relative error %g", g->name, g->rows[i], error);
    worst = fmax(worst, error);
  }
  printf("%-22s worst row %.2e\n", g->name, worst);
  mem_free(logits);
}

static void fp32_agrees_with_hugging_face(void **state) {
  (void)state;
  struct backend_options o = plain;
  printf("%d cases\n", goldens_each(check_close, &o));
}

static void check_close_fp64(const struct golden *g, void *ctx) {
  if (!g->logits_fp64.data) return;
  struct backend_options o = plain;
  o.fp64 = true;
  int64_t vocab = g->logits.shape[1];
  float *logits = golden_logits(g, &o, plain.max_rows);
  const double *wanted = g->logits_fp64.data;
  for (int32_t i = 0; i < g->num_rows; i++) {
    double diff = 0, norm = 0;
    for (int64_t j = 0; j < vocab; j++) {
      double w = wanted[i * vocab + j], d = (double)logits[g->rows[i] * vocab + j] - w;
      if (!isfinite(d)) fail_msg("%s: row %d: not finite", g->name, i);
      diff += d * d, norm += w * w;
    }
    // What is left is the rounding of the read to fp32.
    if (!(sqrt(diff / norm) <= 1e-7)) fail_msg("%s: row %d: relative error %g", g->name, g->rows[i], sqrt(diff / norm));
  }
  ++*(int *)ctx;
  mem_free(logits);
}

static void fp64_agrees_with_the_fp64_goldens(void **state) {
  (void)state;
  int checked = 0;
  goldens_each(check_close_fp64, &checked);
  assert_true(checked > 0);
}

struct hidden_check {
  const struct golden *golden;
  int seen;
};

static bool compare_hidden(void *ctx, struct backend *b, const struct step *s, enum operation op, int32_t layer, struct err *er) {
  struct hidden_check *h = ctx;
  if (op != OP_MLP_OUT && op != OP_LOGITS) return true;
  int64_t hidden = b->model->config.hidden_size;
  char name[64], path[600];
  if (op == OP_LOGITS) snprintf(name, sizeof name, "hidden_norm.npy");
  else snprintf(name, sizeof name, "hidden_%02d.npy", layer);
  snprintf(path, sizeof path, "%s/%s", h->golden->case_path, name);
  struct npy wanted;
  if (!npy_read(&wanted, path, er)) return false;
  float *x = mem_alloc((size_t)(s->num_rows * hidden), sizeof *x, "hidden states", er);
  if (!x || !b->ops->read(b, s, op == OP_LOGITS ? STAGE_NORM : STAGE_HIDDEN, x, er)) return false;
  for (int32_t i = 0; i < s->num_rows; i++) {
    double error = relative_error(x + i * hidden, (float *)wanted.data + i * hidden, hidden);
    if (!(error <= 1e-5)) return err_set(er, "%s: row %d: relative error %g", path, i, error);
  }
  h->seen++;
  mem_free(x);
  npy_free(&wanted);
  return true;
}

static void check_hidden(const struct golden *g, void *ctx) {
  if (!g->hidden_layers) return;
  struct opened o;
  struct sequence s = {0};
  struct hidden_check h = {g, 0};
  opened_open(&o, g->model_path, &plain);
  o.forward.observer = (struct forward_observer){.after = compare_hidden, .ctx = &h};
  int32_t n = (int32_t)g->ids.shape[0];
  struct forward_input in = {&s, g->ids.data, n, forward_long_rope(&o.model.config, n), LOGITS_ALL};
  assert_ok(forward_run(&o.forward, &in, 1, &e));
  assert_int_equal(h.seen, g->hidden_layers + 1);
  sequence_free(&s, &o.forward.pages);
  opened_close(&o);
  ++*(int *)ctx;
}

static void hidden_states_agree_with_hugging_face(void **state) {
  (void)state;
  int checked = 0;
  goldens_each(check_hidden, &checked);
  assert_true(checked > 0);
}

static void bad_inputs_are_refused(void **state) {
  (void)state;
  struct opened o;
  struct sequence s = {0};
  opened_open(&o, "tests/goldens/models/mha", &plain);
  int32_t ids[400] = {0};
  struct forward_input in = {&s, ids, 0, false, LOGITS_LAST};
  assert_fails(forward_run(&o.forward, &in, 1, &e), "no new token");
  assert_fails(forward_run(&o.forward, &in, 0, &e), "empty batch");
  in.count = 321;
  assert_fails(forward_run(&o.forward, &in, 1, &e), "321");
  in.count = 2;
  ids[1] = o.model.config.vocab_size;
  assert_fails(forward_run(&o.forward, &in, 1, &e), "vocabulary");
  ids[1] = -1;
  assert_fails(forward_run(&o.forward, &in, 1, &e), "vocabulary");
  assert_int_equal(s.length, 0);
  sequence_free(&s, &o.forward.pages);
  opened_close(&o);
}

// Every allocation of opening and running fails once; the error says so and nothing leaks.
static void every_allocation_may_fail(void **state) {
  (void)state;
  for (long k = 1;; k++) {
    struct model m;
    struct forward f = {0};
    struct sequence s = {0};
    int32_t ids[3] = {1, 2, 3};
    struct forward_input in = {&s, ids, 3, false, LOGITS_LAST};
    e.no_memory = false;
    mem_fail_from(k);
    bool opened = model_open(&m, "tests/goldens/models/sharded", &e);
    struct backend_options options = plain;
    options.threads = 1 + (int)(k % 2);
    struct backend *b = opened ? cpu_backend_open(&m, &options, &e) : NULL;
    bool ok = b && forward_open(&f, b, &e);
    ok = ok && forward_run(&f, &in, 1, &e);
    mem_fail_from(0);
    if (f.backend) sequence_free(&s, &f.pages);
    forward_close(&f);
    if (opened) model_close(&m);
    if (ok) {
      assert_true(k > 10);
      return;
    }
    if (!e.no_memory) fail_msg("allocation %ld: the error '%s' does not say that memory is short", k, e.text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fp32_agrees_with_hugging_face),
                                     cmocka_unit_test(fp64_agrees_with_the_fp64_goldens),
                                     cmocka_unit_test(hidden_states_agree_with_hugging_face),
                                     cmocka_unit_test(bad_inputs_are_refused),
                                     cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
