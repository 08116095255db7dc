// The whole forward pass on the GPU: near the CPU's and Hugging Face's. That the bits do not depend on how it is cut up: tests/exactness.
#include "tests/gpu/gpu_test.h"
#include "tests/runtime/goldens.h"
#include "runtime/base/mem.h"
#include "runtime/generate.h"
#include <math.h>

static struct err e;

static const struct backend_options plain = {.threads = 2, .page_size = 16, .num_pages = 64, .max_rows = 960, .max_logits = 960};

static void open_on_gpu(struct opened *o, const char *model, const struct backend_options *options) {
  test_device(); // skips where there is none
  *o = (struct opened){0};
  assert_ok(model_open(&o->model, model, &e));
  struct backend *b = gpu_backend_open(&o->model, options, test_device_is_virtual(), &e);
  if (!b) fail_msg("%s: %s", model, e.text);
  assert_ok(forward_open(&o->forward, b, &e));
}

static void no_findings(void) {
  const char *first = "";
  unsigned n = test_findings(&first);
  if (n) fail_msg("%u findings of the virtual GPU, the first: %s", n, first);
}

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

static float *logits_of(struct opened *o, const struct golden *g, int32_t count, int32_t chunk) {
  struct sequence s = {0};
  float *logits = all_logits(&o->forward, &s, g->ids.data, count, chunk, forward_long_rope(&o->model.config, g->ids.shape[0]));
  sequence_free(&s, &o->forward.pages);
  return logits;
}

// Divergence of the distributions, in nats, and whether the most probable token is the same.
static double divergence(const float *p, const float *q, int64_t n, bool *same_top) {
  int64_t p_top = 0, q_top = 0;
  double p_sum = 0, q_sum = 0, d = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(p[i]) || !isfinite(q[i])) return INFINITY;
    if (p[i] > p[p_top]) p_top = i;
    if (q[i] > q[q_top]) q_top = i;
  }
  for (int64_t i = 0; i < n; i++) p_sum += exp((double)p[i] - p[p_top]), q_sum += exp((double)q[i] - q[q_top]);
  for (int64_t i = 0; i < n; i++) {
    double lp = (double)p[i] - p[p_top] - log(p_sum), lq = (double)q[i] - q[q_top] - log(q_sum);
    d += exp(lp) * (lp - lq);
  }
  *same_top = p_top == q_top;
  return d;
}

struct totals {
  double divergence, error;
  int64_t rows, same_top, cases;
};

static void add_totals(struct totals *t, const float *expected, const float *found, int64_t rows, int64_t vocab) {
  for (int64_t r = 0; r < rows; r++) {
    bool same = false;
    t->divergence += divergence(expected + r * vocab, found + r * vocab, vocab, &same);
    t->error = fmax(t->error, relative_error(found + r * vocab, expected + r * vocab, vocab));
    t->same_top += same;
    t->rows++;
  }
}

static void check_totals(const struct totals *t, const char *name) {
  printf("%-22s %5lld rows: divergence %.2e, same top %.2f %%, worst row's relative error %.2e\n", name, (long long)t->rows, t->divergence / (double)t->rows,
         100 * (double)t->same_top / (double)t->rows, t->error);
  if (!(t->divergence / (double)t->rows <= 1e-4)) fail_msg("%s: mean divergence %g", name, t->divergence / (double)t->rows);
  if (!(t->error <= 1e-2)) fail_msg("%s: relative error %g", name, t->error);
}

// Against Hugging Face's logits.
static void check_close(const struct golden *g, void *ctx) {
  struct totals *all = ctx, t = {0};
  struct opened o;
  open_on_gpu(&o, g->model_path, &plain);
  int64_t vocab = g->logits.shape[1];
  int32_t n = (int32_t)g->ids.shape[0];
  float *logits = logits_of(&o, g, n, n);
  for (int32_t i = 0; i < g->num_rows; i++) add_totals(&t, (float *)g->logits.data + i * vocab, logits + g->rows[i] * vocab, 1, vocab);
  check_totals(&t, g->name);
  all->rows += t.rows, all->same_top += t.same_top, all->divergence += t.divergence, all->error = fmax(all->error, t.error);
  mem_free(logits);
  forward_close(&o.forward);
  model_close(&o.model);
}

static void logits_agree_with_hugging_face(void **state) {
  (void)state;
  struct totals t = {0};
  goldens_each(check_close, &t);
  check_totals(&t, "all");
  if (!((double)t.same_top >= 0.995 * (double)t.rows)) fail_msg("same top token in %lld of %lld rows", (long long)t.same_top, (long long)t.rows);
  no_findings();
}

// Each stage of each layer near the CPU's; the observer makes the steps run operation by operation.
struct stages {
  struct opened *cpu;
  int compared;
};

static bool compare_stage(void *ctx, struct backend *b, const struct step *s, enum operation op, int32_t layer, struct err *er) {
  static const enum stage stage_after[OP_COUNT] = {STAGE_HIDDEN, STAGE_QUERY, STAGE_MIXED, STAGE_HIDDEN, STAGE_MLP, STAGE_HIDDEN, STAGE_NORM};
  struct stages *t = ctx;
  struct backend *cpu = t->cpu->forward.backend;
  const struct config *c = &b->model->config;
  bool (*const ops[])(struct backend *, const struct step *, int32_t, struct err *) = {cpu->ops->attention_in, cpu->ops->attention, cpu->ops->attention_out,
                                                                                   cpu->ops->mlp_in, cpu->ops->mlp_out};
  if (!(op == OP_EMBED ? cpu->ops->embed(cpu, s, er) : op == OP_LOGITS ? cpu->ops->logits(cpu, s, er) : ops[op - OP_ATTENTION_IN](cpu, s, layer, er))) return false;
  enum stage stage = stage_after[op];
  int64_t heads = (int64_t)c->num_heads * c->head_dim, width = stage == STAGE_MLP ? c->intermediate_size : stage == STAGE_HIDDEN || stage == STAGE_NORM ? c->hidden_size : heads;
  int64_t n = width * (stage == STAGE_NORM ? s->num_logits : s->num_rows);
  float *x = mem_alloc((size_t)n, sizeof *x, "a stage", er), *y = mem_alloc((size_t)n, sizeof *y, "a stage", er);
  bool ok = x && y && b->ops->read(b, s, stage, x, er) && cpu->ops->read(cpu, s, stage, y, er);
  double error = ok ? relative_error(x, y, n) : 0;
  if (ok && !(error <= 1e-2)) ok = err_set(er, "%s of layer %d: relative error %g", operation_names[op], layer, error);
  t->compared++;
  mem_free(x), mem_free(y);
  return ok;
}

static void check_stages(const struct golden *g, void *ctx) {
  struct opened gpu, cpu;
  struct backend_options options = plain;
  options.page_type = PAGE_F16;
  open_on_gpu(&gpu, g->model_path, &plain);
  opened_open(&cpu, g->model_path, &options);
  struct stages t = {&cpu, 0};
  gpu.forward.observer = (struct forward_observer){.after = compare_stage, .ctx = &t};
  int32_t n = (int32_t)g->ids.shape[0], half = n / 2;
  bool long_rope = forward_long_rope(&gpu.model.config, n);
  struct sequence s = {0};
  for (int32_t at = 0; at < n && n > 1; at += half) { // by the prefill kernels, and what is left by the decode kernels
    struct forward_input in = {&s, (int32_t *)g->ids.data + at, n - at < half ? n - at : half, long_rope, LOGITS_LAST};
    assert_ok(forward_run(&gpu.forward, &in, 1, &e));
  }
  *(int *)ctx += t.compared;
  sequence_free(&s, &gpu.forward.pages);
  forward_close(&gpu.forward), model_close(&gpu.model);
  opened_close(&cpu);
}

static void stages_agree_with_the_cpu(void **state) {
  (void)state;
  int compared = 0;
  goldens_each(check_stages, &compared);
  assert_true(compared > 0);
  no_findings();
}

static void generate_ids(struct opened *o, const struct golden *g, bool cache, struct sampler_options sampler, struct generated *out) {
  struct session s;
  struct generate_options options = {.max_new = 24, .ignore_end = true, .sampler = sampler};
  session_init(&s, &o->forward, cache, 7);
  assert_ok(generate(&s, NULL, g->ids.data, g->ids.shape[0] < 20 ? g->ids.shape[0] : 20, &options, out, &e));
  session_free(&s);
}

// Greedy and sampled, cached and not; the backend chooses the ids itself.
static void check_generate(const struct golden *g, void *ctx) {
  struct opened o;
  (void)ctx;
  if (g->ids.shape[0] > 60) return;
  open_on_gpu(&o, g->model_path, &plain);
  for (int sampled = 0; sampled < 2; sampled++) {
    struct sampler_options sampler = sampler_greedy();
    if (sampled) sampler.temperature = 0.8f, sampler.top_k = 20, sampler.top_p = 0.95f, sampler.seed = 7;
    struct generated with, without;
    generate_ids(&o, g, true, sampler, &with);
    generate_ids(&o, g, false, sampler, &without);
    assert_int_equal(with.ids.count, 24);
    assert_int_equal(without.ids.count, 24);
    assert_memory_equal(with.ids.data, without.ids.data, 24 * sizeof *with.ids.data);
    for (int i = 0; !sampled && i < g->num_greedy && i < 24 && g->ids.shape[0] <= 20; i++) assert_int_equal(with.ids.data[i], g->greedy[i]);
    generated_free(&with), generated_free(&without);
  }
  forward_close(&o.forward);
  model_close(&o.model);
}

static void generation_is_the_same_without_the_cache(void **state) {
  (void)state;
  goldens_each(check_generate, NULL);
  no_findings();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(logits_agree_with_hugging_face), cmocka_unit_test(stages_agree_with_the_cpu),
                                     cmocka_unit_test(generation_is_the_same_without_the_cache)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  test_device_close();
  return failed;
}
