// The whole backend over a fake model: each stage against double, the same bits however the work is cut, refusals, and
// memory running out.
#include "tests/cpu/fake.h"
#include "runtime/base/mem.h"
#include "runtime/cache/pages.h"
#include <math.h>

static uint64_t seed;
static struct err e;
static double short_factor[] = {1, 1.1, 1.2, 1.3, 1.5, 2, 2, 2}, long_factor[] = {1, 1.5f, 2, 4, 8, 16, 20, 30};

static const struct config configs[] = {
    {.architecture = "plain",
     .hidden_size = 64,
     .num_heads = 4,
     .num_kv_heads = 4,
     .head_dim = 16,
     .rotary_dim = 16,
     .intermediate_size = 96},
    {.architecture = "odd",
     .hidden_size = 50,
     .num_heads = 6,
     .num_kv_heads = 2,
     .head_dim = 24,
     .rotary_dim = 16,
     .intermediate_size = 75,
     .sliding_window = 21},
    {.architecture = "one head",
     .hidden_size = 33,
     .num_heads = 3,
     .num_kv_heads = 1,
     .head_dim = 80,
     .rotary_dim = 40,
     .intermediate_size = 17,
     .sliding_window = 1},
    {.architecture = "wide",
     .hidden_size = 256,
     .num_heads = 2,
     .num_kv_heads = 1,
     .head_dim = 128,
     .rotary_dim = 128,
     .intermediate_size = 256,
     .sliding_window = 64},
    {.architecture = "long",
     .hidden_size = 48,
     .num_heads = 2,
     .num_kv_heads = 2,
     .head_dim = 16,
     .rotary_dim = 16,
     .intermediate_size = 40,
     .rope = ROPE_LONGROPE,
     .rope_scale = 1.19},
};
enum { NUM_CONFIGS = sizeof configs / sizeof *configs, TOKENS = 75 };

static struct config config_of(int i) {
  struct config c = configs[i];
  c.num_layers = FAKE_LAYERS;
  c.vocab_size = 77;
  c.max_positions = c.original_max_positions = 4096;
  c.rms_eps = 1e-5;
  c.rope_theta = 10000;
  c.bos_id = c.pad_id = -1;
  if (c.rope == ROPE_LONGROPE) c.short_factor = short_factor, c.long_factor = long_factor;
  else c.rope_scale = 1;
  return c;
}

static struct backend_options options_of(int threads, int32_t page_size) {
  return (struct backend_options){.threads = threads,
                                  .page_size = page_size,
                                  .num_pages = 2 * (TOKENS / page_size + 1) + 4,
                                  .max_rows = 2 * TOKENS,
                                  .max_logits = 2 * TOKENS};
}

// One sequence's pages, in an order of their own.
struct pages_of {
  int32_t table[TOKENS + 1];
};

static struct pages_of pages_make(const struct backend_options *o, int32_t first, bool backwards) {
  struct pages_of p;
  int32_t n = TOKENS / o->page_size + 1;
  for (int32_t i = 0; i < n; i++) p.table[i] = first + (backwards ? n - 1 - i : i);
  return p;
}

static void random_ids(int32_t *ids, int32_t n) {
  for (int32_t i = 0; i < n; i++) ids[i] = (int32_t)(test_random(&seed) % 77);
}

typedef void (*stage_fn)(void *ctx, struct backend *b, const struct step *s, enum stage stage, int32_t layer);

static void run_step(struct backend *b, const struct step *s, stage_fn seen, void *ctx) {
  assert_ok(b->ops->embed(b, s, &e));
  if (seen) seen(ctx, b, s, STAGE_HIDDEN, -1);
  for (int32_t l = 0; l < b->model->config.num_layers; l++) {
    assert_ok(b->ops->attention_in(b, s, l, &e));
    if (seen) seen(ctx, b, s, STAGE_QUERY, l);
    assert_ok(b->ops->attention(b, s, l, &e));
    if (seen) seen(ctx, b, s, STAGE_MIXED, l);
    assert_ok(b->ops->attention_out(b, s, l, &e));
    assert_ok(b->ops->mlp_in(b, s, l, &e));
    if (seen) seen(ctx, b, s, STAGE_MLP, l);
    assert_ok(b->ops->mlp_out(b, s, l, &e));
    if (seen) seen(ctx, b, s, STAGE_HIDDEN, l);
  }
  assert_ok(b->ops->logits(b, s, &e));
  if (seen) seen(ctx, b, s, STAGE_NORM, b->model->config.num_layers);
  if (seen) seen(ctx, b, s, STAGE_LOGITS, b->model->config.num_layers);
}

// Expected stages, in the order in which they are seen.
struct expected {
  double *x[8 * FAKE_LAYERS];
  int64_t width[8 * FAKE_LAYERS];
  int count, at;
  double limit, worst;
  const char *what;
};

static void keep(void *ctx, enum stage stage, int32_t layer, const double *x, int64_t width) {
  struct expected *w = ctx;
  (void)stage, (void)layer;
  w->width[w->count] = width;
  w->x[w->count] = malloc((size_t)(TOKENS * width) * sizeof(double));
  memcpy(w->x[w->count++], x, (size_t)(TOKENS * width) * sizeof(double));
}

static void compare(void *ctx, struct backend *b, const struct step *s, enum stage stage, int32_t layer) {
  struct expected *w = ctx;
  int64_t width = w->width[w->at];
  const double *x = w->x[w->at++];
  struct guarded found;
  guarded_open(&found, TOKENS * width);
  assert_ok(b->ops->read(b, s, stage, found.data, &e));
  guarded_check(&found, "read");
  double wrong = 0, size = 0;
  for (int64_t i = 0; i < TOKENS * width; i++) {
    wrong += (found.data[i] - x[i]) * (found.data[i] - x[i]);
    size += x[i] * x[i];
  }
  assert_true(size > 0);
  if (!(sqrt(wrong / size) <= w->limit))
    fail_msg("%s: stage %d of layer %d: relative error %.3g", w->what, stage, layer, sqrt(wrong / size));
  w->worst = fmax(w->worst, sqrt(wrong / size));
  guarded_close(&found);
}

static void check_stages(const struct fake *f, const struct backend_options *o, double limit, bool long_rope) {
  int32_t ids[TOKENS], rows[TOKENS];
  struct expected w = {.limit = limit, .what = f->model.config.architecture};
  struct pages_of p = pages_make(o, 1, true);
  struct step_seq q = {0, TOKENS, 0, p.table, long_rope};
  struct step s = {TOKENS, ids, &q, 1, rows, TOKENS};
  random_ids(ids, TOKENS);
  for (int32_t i = 0; i < TOKENS; i++) rows[i] = i;
  fake_forward(f, ids, TOKENS, long_rope, keep, &w);
  struct backend *b = cpu_backend_open(&f->model, o, &e);
  if (!b) fail_msg("%s", e.text);
  run_step(b, &s, compare, &w);
  assert_int_equal(w.at, w.count);
  b->ops->close(b);
  for (int i = 0; i < w.count; i++) free(w.x[i]);
  printf("%-9s %s worst stage %.1e\n", w.what,
         o->fp64                    ? "fp64"
         : o->page_type == PAGE_F16 ? "fp16 pages"
                                    : "fp32",
         w.worst);
}

static void each_stage_is_what_the_model_says(void **state) {
  (void)state;
  for (int i = 0; i < NUM_CONFIGS; i++) {
    struct config c = config_of(i);
    struct fake f;
    fake_open(&f, &c, (enum dtype[]){DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_Q4_K, DTYPE_Q8_0}[i], &seed);
    struct backend_options o = options_of(2, 16);
    check_stages(&f, &o, 2e-6, false);
    check_stages(&f, &o, 2e-6, true);
    o.fp64 = true;
    check_stages(&f, &o, 1e-7, false); // the rounding of the read to fp32
    o.fp64 = false;
    o.page_type = PAGE_F16;
    check_stages(&f, &o, 1e-3, false);
    fake_close(&f);
  }
}

// Logits of TOKENS tokens, fed in pieces beside a second sequence that comes in pieces of its own.
static void run_pieces(const struct fake *f, const struct backend_options *o, const int32_t *ids, int32_t piece,
                       bool beside, float *logits) {
  struct backend *b = cpu_backend_open(&f->model, o, &e);
  if (!b) fail_msg("%s", e.text);
  int32_t half = o->num_pages / 2, vocab = f->model.config.vocab_size;
  struct pages_of mine = pages_make(o, beside ? half : 0, beside), other = pages_make(o, 0, false);
  for (int32_t at = 0; at < TOKENS; at += piece) {
    int32_t n = TOKENS - at < piece ? TOKENS - at : piece, more = beside ? 1 + at % 5 : 0, all[2 * TOKENS],
            rows[2 * TOKENS];
    if (at + more > TOKENS) more = 0;
    for (int32_t i = 0; i < more; i++) all[i] = (at + i) % 77;
    memcpy(all + more, ids + at, (size_t)n * sizeof *all);
    for (int32_t i = 0; i < n; i++) rows[i] = more + i;
    struct step_seq q[2] = {{0, more, 0, other.table, false}, {more, n, at, mine.table, false}};
    struct step s = {more + n, all, more ? q : q + 1, more ? 2 : 1, rows, n};
    run_step(b, &s, NULL, NULL);
    assert_ok(b->ops->read(b, &s, STAGE_LOGITS, logits + (int64_t)at * vocab, &e));
  }
  b->ops->close(b);
}

static void bits_do_not_depend_on_how_the_work_is_cut(void **state) {
  (void)state;
  for (int i = 0; i < NUM_CONFIGS; i++) {
    struct config c = config_of(i);
    struct fake f;
    int32_t ids[TOKENS];
    float *first = malloc(TOKENS * 77 * sizeof *first), *again = malloc(TOKENS * 77 * sizeof *again);
    random_ids(ids, TOKENS);
    fake_open(&f, &c, (enum dtype[]){DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q6_K, DTYPE_Q4_0}[i], &seed);
    for (int n = 0; n < 6; n++) {
      static const int threads[] = {1, 2, 3, 7, 2, 3}, pieces[] = {TOKENS, 1, 7, 16, 40, 3},
                       sizes[] = {16, 64, 5, 1, 7, 16};
      struct backend_options o = options_of(threads[n], sizes[n]);
      run_pieces(&f, &o, ids, pieces[n], n > 2, n ? again : first);
      if (n) fail_unless_same(first, again, TOKENS * 77, c.architecture);
    }
    free(first);
    free(again);
    fake_close(&f);
  }
}

static void pages_are_copied_whole(void **state) {
  struct config c = config_of(1);
  struct fake f;
  int32_t ids[17], row = 0;
  float before[77], after[77];
  (void)state;
  c.sliding_window = 0;
  fake_open(&f, &c, DTYPE_F32, &seed);
  struct backend_options o = options_of(2, 16);
  struct backend *b = cpu_backend_open(&f.model, &o, &e);
  if (!b) fail_msg("%s", e.text);
  assert_int_equal(backend_page_bytes(&c, &o), 2 * FAKE_LAYERS * 2 * 24 * 16 * 4);
  random_ids(ids, 17);
  int32_t table[2] = {0, 1};
  struct step_seq q = {0, 16, 0, table, false};
  run_step(b, &(struct step){16, ids, &q, 1, &row, 1}, NULL, NULL);
  q = (struct step_seq){0, 1, 16, table, false};
  struct step last = {1, ids + 16, &q, 1, &row, 1};
  run_step(b, &last, NULL, NULL);
  assert_ok(b->ops->read(b, &last, STAGE_LOGITS, before, &e));
  assert_ok(b->ops->copy_page(b, 0, 4, &e));
  table[0] = 4;
  run_step(b, &last, NULL, NULL);
  assert_ok(b->ops->read(b, &last, STAGE_LOGITS, after, &e));
  fail_unless_same(before, after, 77, "logits over a copied page");
  assert_fails(b->ops->copy_page(b, 0, o.num_pages, &e), "page");
  assert_fails(b->ops->copy_page(b, -1, 0, &e), "page");
  b->ops->close(b);
  fake_close(&f);
}

static void bad_steps_are_refused(void **state) {
  struct config c = config_of(0);
  struct fake f;
  int32_t ids[4] = {0, 1, 2, 3}, table[2] = {0, PAGE_NONE}, row = 0;
  struct step_seq q = {0, 4, 0, table, false};
  (void)state;
  fake_open(&f, &c, DTYPE_F32, &seed);
  struct backend_options good = options_of(1, 16);
  good.max_rows = 4, good.max_logits = 1;
  struct backend *b = cpu_backend_open(&f.model, &good, &e);
  if (!b) fail_msg("%s", e.text);
  struct step s = {4, ids, &q, 1, &row, 1}, bad = s;
  assert_ok(b->ops->embed(b, &s, &e));
  bad.num_rows = 5;
  assert_fails(b->ops->embed(b, &bad, &e), "5 tokens");
  bad = s, bad.num_logits = 2;
  assert_fails(b->ops->embed(b, &bad, &e), "2 rows of logits");
  bad = s, bad.num_seqs = 0;
  assert_fails(b->ops->embed(b, &bad, &e), "have 0 rows");
  row = 4;
  assert_fails(b->ops->embed(b, &s, &e), "row 4");
  row = 0, ids[3] = 77;
  assert_fails(b->ops->embed(b, &s, &e), "id 77");
  ids[3] = -1;
  assert_fails(b->ops->embed(b, &s, &e), "id -1");
  ids[3] = 3, q.position = 14;
  assert_fails(b->ops->embed(b, &s, &e), "page -1");
  table[1] = good.num_pages;
  assert_fails(b->ops->embed(b, &s, &e), "pages 0..");
  q.position = -1;
  assert_fails(b->ops->embed(b, &s, &e), "negative");
  q.position = 0;
  assert_fails(b->ops->read(b, &s, (enum stage)99, NULL, &e), "stage 99");
  b->ops->close(b);
  fake_close(&f);
}

static void bad_options_are_refused(void **state) {
  struct config c = config_of(0);
  struct fake f;
  (void)state;
  fake_open(&f, &c, DTYPE_F32, &seed);
  const struct backend_options good = options_of(1, 16);
  const struct {
    struct backend_options o;
    const char *word;
  } bad[] = {
      {{.page_size = 0, .num_pages = 1, .max_rows = 1}, "0 tokens"},
      {{.page_size = 1, .num_pages = -1, .max_rows = 1}, "-1 pages"},
      {{.page_size = 1, .num_pages = 1, .max_rows = 0}, "steps of 0 tokens"},
      {{.page_size = 1, .num_pages = 1, .max_rows = 1, .max_logits = -1}, "-1 rows"},
      {{.page_size = 1, .num_pages = 1, .max_rows = 1, .threads = -1}, "-1 threads"},
      {{.page_size = 1, .num_pages = 1, .max_rows = 1, .page_type = (enum page_type)7}, "page type 7"},
      {{.page_size = INT32_MAX, .num_pages = INT32_MAX, .max_rows = 1}, "too large"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_fails(cpu_backend_open(&f.model, &bad[i].o, &e), bad[i].word);
  setenv("PHI3_ISA", "mmx", 1);
  assert_fails(cpu_backend_open(&f.model, &good, &e), "PHI3_ISA=mmx");
  unsetenv("PHI3_ISA");
  fake_close(&f);
}

static void every_allocation_may_fail(void **state) {
  struct config c = config_of(4);
  struct fake f;
  (void)state;
  fake_open(&f, &c, DTYPE_Q4_0, &seed);
  for (int fp64 = 0; fp64 < 2; fp64++) {
    struct backend_options o = options_of(3, 16);
    struct backend *b = NULL;
    long k = 1;
    for (o.fp64 = fp64; !b; k++) {
      mem_fail_from(k);
      b = cpu_backend_open(&f.model, &o, &e);
      mem_fail_from(0);
      if (!b) assert_true(e.no_memory && strstr(e.text, "memory"));
      assert_true(k < 100);
    }
    assert_true(k > 10);
    b->ops->close(b);
  }
  fake_close(&f);
}

// What an instruction set computes on this machine is near what the others do.
static void each_instruction_set_runs_the_model(void **state) {
  const struct cpu_kernels *kernels;
  struct config c = config_of(3);
  struct fake f;
  (void)state;
  fake_open(&f, &c, DTYPE_Q5_K, &seed);
  for (int i = 0; (kernels = isa_next(&i));) {
    struct backend_options o = options_of(2, 16);
    setenv("PHI3_ISA", kernels->isa, 1);
    check_stages(&f, &o, 2e-6, false);
  }
  unsetenv("PHI3_ISA");
  fake_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_stage_is_what_the_model_says),
      cmocka_unit_test(each_instruction_set_runs_the_model),
      cmocka_unit_test(bits_do_not_depend_on_how_the_work_is_cut),
      cmocka_unit_test(pages_are_copied_whole),
      cmocka_unit_test(bad_steps_are_refused),
      cmocka_unit_test(bad_options_are_refused),
      cmocka_unit_test(every_allocation_may_fail),
  };
  seed = test_seed();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
