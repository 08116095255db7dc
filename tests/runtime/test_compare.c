// The lockstep of two backends: what is planted in one operation of one layer is found there and, fed with the
// reference's values, nowhere else. Argument: the device that plays b.
#include "tests/runtime/device.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include "runtime/compare.h"
#include <math.h>

static struct err e;

enum { TOKENS = 23 };

static const struct backend_options plain = {
    .threads = 2, .page_size = 16, .num_pages = 16, .max_rows = 64, .max_logits = 64};

// --- a backend with a mistake ---

static struct plant {
  enum compare_point point;
  int32_t layer;
  float factor; // on every value; NaN or infinite: on one value alone
  bool one;     // also a number in place of one value alone,
  int spared;   // and not in the first steps
  struct backend_ops ops;
  const struct backend_ops *good;
} plant;

enum { BAD_ROW = 7, BAD_CHANNEL = 3 };

static void spoil(float *x, int64_t rows, int64_t width) {
  if (plant.one && plant.spared-- != 0) return;
  if (plant.one || !isfinite(plant.factor)) x[BAD_ROW * width + BAD_CHANNEL] = plant.factor;
  else
    for (int64_t i = 0; i < rows * width; i++) x[i] *= plant.factor;
}

static bool planted(enum compare_point p, int32_t layer) { return plant.point == p && plant.layer == layer; }

static float *room(const struct backend *b) {
  int64_t widest = (int64_t)b->model->config.intermediate_size + b->model->config.hidden_size +
                   2ll * b->model->config.num_heads * b->model->config.head_dim;
  float *x = mem_alloc((size_t)(b->options.max_rows * widest), sizeof *x, "a stage", &e);
  assert_non_null(x);
  return x;
}

static bool spoil_stage(struct backend *b, const struct step *s, enum stage stage, int64_t width, struct err *er) {
  float *x = room(b);
  bool ok = plant.good->read(b, s, stage, x, er);
  spoil(x, s->num_rows, width);
  ok = ok && plant.good->write(b, s, stage, x, er);
  mem_free(x);
  return ok;
}

static bool spoil_cache(struct backend *b, const struct step *s, int32_t layer, bool keys, struct err *er) {
  int64_t width = (int64_t)b->model->config.num_kv_heads * b->model->config.head_dim;
  float *x = room(b), *values = x + s->num_rows * width;
  bool ok = plant.good->read_cache(b, s, layer, x, values, er);
  spoil(keys ? x : values, s->num_rows, width);
  ok = ok && plant.good->write_cache(b, s, layer, x, values, er);
  mem_free(x);
  return ok;
}

static int64_t heads_width(const struct backend *b) {
  return (int64_t)b->model->config.num_heads * b->model->config.head_dim;
}

static bool bad_embed(struct backend *b, const struct step *s, struct err *er) {
  return plant.good->embed(b, s, er) &&
         (plant.point != POINT_EMBED || spoil_stage(b, s, STAGE_HIDDEN, b->model->config.hidden_size, er));
}

static bool bad_attention_in(struct backend *b, const struct step *s, int32_t layer, struct err *er) {
  return plant.good->attention_in(b, s, layer, er) &&
         (!planted(POINT_QUERY, layer) || spoil_stage(b, s, STAGE_QUERY, heads_width(b), er)) &&
         (!planted(POINT_KEYS, layer) || spoil_cache(b, s, layer, true, er)) &&
         (!planted(POINT_VALUES, layer) || spoil_cache(b, s, layer, false, er));
}

static bool bad_attention(struct backend *b, const struct step *s, int32_t layer, struct err *er) {
  return plant.good->attention(b, s, layer, er) &&
         (!planted(POINT_ATTENTION, layer) || spoil_stage(b, s, STAGE_MIXED, heads_width(b), er));
}

static bool bad_attention_out(struct backend *b, const struct step *s, int32_t layer, struct err *er) {
  return plant.good->attention_out(b, s, layer, er) &&
         (!planted(POINT_ATTENTION_OUT, layer) || spoil_stage(b, s, STAGE_HIDDEN, b->model->config.hidden_size, er));
}

static bool bad_mlp_in(struct backend *b, const struct step *s, int32_t layer, struct err *er) {
  return plant.good->mlp_in(b, s, layer, er) &&
         (!planted(POINT_MLP_IN, layer) || spoil_stage(b, s, STAGE_MLP, b->model->config.intermediate_size, er));
}

static bool bad_mlp_out(struct backend *b, const struct step *s, int32_t layer, struct err *er) {
  return plant.good->mlp_out(b, s, layer, er) &&
         (!planted(POINT_MLP_OUT, layer) || spoil_stage(b, s, STAGE_HIDDEN, b->model->config.hidden_size, er));
}

// The last operation's results are nobody's input: they are spoiled as they are read.
static bool bad_read(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *er) {
  if (!plant.good->read(b, s, stage, dst, er)) return false;
  if (stage == STAGE_NORM && plant.point == POINT_NORM) spoil(dst, s->num_logits, b->model->config.hidden_size);
  if (stage == STAGE_LOGITS && plant.point == POINT_LOGITS) spoil(dst, s->num_logits, b->model->config.vocab_size);
  return true;
}

static void plant_in(struct backend *b, enum compare_point p, int32_t layer, float factor) {
  plant = (struct plant){.point = p, .layer = layer, .factor = factor, .ops = *b->ops, .good = b->ops};
  plant.ops.embed = bad_embed;
  plant.ops.attention_in = bad_attention_in;
  plant.ops.attention = bad_attention;
  plant.ops.attention_out = bad_attention_out;
  plant.ops.mlp_in = bad_mlp_in;
  plant.ops.mlp_out = bad_mlp_out;
  plant.ops.read = bad_read;
  b->ops = &plant.ops;
}

// --- running ---

struct pair {
  struct model model;
  struct forward forward;
  struct lockstep *lockstep;
};

// a: the CPU in fp64; b: the device.
static void pair_open(struct pair *p, const char *model, enum compare_feed feed) {
  struct backend_options exact = plain;
  exact.fp64 = true;
  *p = (struct pair){0};
  assert_ok(model_open(&p->model, model, &e));
  struct backend *a = cpu_backend_open(&p->model, &exact, &e);
  struct backend *b = device_backend(&p->model, &plain, &e);
  if (!a || !b) fail_msg("%s", e.text);
  struct backend *both = lockstep_open(a, b, &e);
  if (!both) fail_msg("%s", e.text);
  p->lockstep = lockstep_of(both);
  p->lockstep->watch = WATCH_ALL;
  p->lockstep->feed = feed;
  assert_ok(forward_open(&p->forward, both, &e));
}

static void pair_close(struct pair *p) {
  forward_close(&p->forward);
  model_close(&p->model);
}

static void run_ids(struct pair *p, const int32_t *ids, int32_t count, int32_t chunk, bool long_rope) {
  struct sequence s = {0};
  for (int32_t at = 0; at < count; at += chunk) {
    struct forward_input in = {&s, ids + at, count - at < chunk ? count - at : chunk, long_rope, LOGITS_ALL};
    assert_ok(forward_run(&p->forward, &in, 1, &e));
  }
  sequence_free(&s, &p->forward.pages);
}

static void run_some(struct pair *p, int32_t chunk) {
  int32_t ids[TOKENS];
  for (int32_t i = 0; i < TOKENS; i++) ids[i] = (i * 37 + 11) % p->model.config.vocab_size;
  run_ids(p, ids, TOKENS, chunk, false);
}

typedef void (*cell_fn)(const struct pair *p, const struct compare_cell *c, int32_t layer, enum compare_point point,
                        double gate, void *ctx);

static int each_cell(const struct pair *p, cell_fn fn, void *ctx) {
  struct compare_gates gates = compare_gates_of(compare_kind_of(p->lockstep), p->lockstep->feed);
  int n = 0;
  for (int32_t layer = 0; layer < p->model.config.num_layers; layer++)
    for (int point = 0; point < POINT_COUNT; point++) {
      if (layer > 0 && !compare_point_in_layer((enum compare_point)point)) continue;
      fn(p, lockstep_cell(p->lockstep, layer, (enum compare_point)point), layer, (enum compare_point)point,
         gates.nmse[point], ctx);
      n++;
    }
  return n;
}

struct closeness {
  const char *name;
  double worst; // share of a gate
  enum compare_point point;
};

static void must_pass(const struct pair *p, const struct compare_cell *c, int32_t layer, enum compare_point point,
                      double gate, void *ctx) {
  struct closeness *close = ctx;
  if (c->count == 0) fail_msg("%s: layer %d: %s was not looked at", close->name, layer, compare_point_names[point]);
  if (!(c->reference > 0))
    fail_msg("%s: layer %d: %s is zero everywhere", close->name, layer, compare_point_names[point]);
  if (!compare_cell_passes(c, gate))
    fail_msg("%s: layer %d: %s: NMSE %g, gate %g, %lld bad, feed %d", close->name, layer, compare_point_names[point],
             compare_nmse(c), gate, (long long)c->num_bad, p->lockstep->feed);
  if (compare_nmse(c) / gate > close->worst) *close = (struct closeness){close->name, compare_nmse(c) / gate, point};
}

// Whether the operation that makes `point` comes before the planted one.
static bool comes_before(int32_t layer, enum compare_point point) {
  if (plant.point == POINT_EMBED || point >= POINT_NORM) return false;
  if (point == POINT_EMBED || plant.point >= POINT_NORM) return true;
  return layer < plant.layer || (layer == plant.layer && point < plant.point);
}

static void only_planted_fails(const struct pair *p, const struct compare_cell *c, int32_t layer,
                               enum compare_point point, double gate, void *ctx) {
  bool here = point == plant.point && layer == plant.layer, own = p->lockstep->feed == FEED_OWN;
  (void)ctx;
  if (here && compare_cell_passes(c, gate))
    fail_msg("%s of layer %d passes though it is wrong: NMSE %g", compare_point_names[point], layer, compare_nmse(c));
  if (!here && (!own || comes_before(layer, point)) && !compare_cell_passes(c, gate))
    fail_msg("%s of layer %d fails, NMSE %g, but the mistake is in %s of layer %d", compare_point_names[point], layer,
             compare_nmse(c), compare_point_names[plant.point], plant.layer);
}

static void is_not_worse(const struct pair *p, const struct compare_cell *c, int32_t layer, enum compare_point point,
                         double gate, void *ctx) {
  (void)p, (void)gate;
  double *most = ctx;
  if (!(point == plant.point && layer == plant.layer)) *most = fmax(*most, compare_nmse(c));
}

// --- tests ---

static void each_planted_mistake(float factor, enum compare_feed feed) {
  for (int point = 0; point < POINT_COUNT; point++)
    for (int32_t layer = 0; layer < 2; layer++) {
      if (layer && !compare_point_in_layer((enum compare_point)point)) continue;
      struct pair p;
      pair_open(&p, "tests/goldens/models/mha", feed);
      plant_in(p.lockstep->b, (enum compare_point)point, layer, factor);
      run_some(&p, 9);
      each_cell(&p, only_planted_fails, NULL);
      double others = 0, here = compare_nmse(lockstep_cell(p.lockstep, layer, (enum compare_point)point));
      each_cell(&p, is_not_worse, &others);
      if (feed == FEED_REFERENCE && !(here > others))
        fail_msg("%s of layer %d is not the worst: %g, another %g", compare_point_names[point], layer, here, others);
      pair_close(&p);
    }
}

static void a_planted_mistake_is_found_where_it_is(void **state) {
  (void)state;
  each_planted_mistake(1.01f, FEED_REFERENCE);
}

static void fed_its_own_values_the_first_one_past_its_gate_is_the_mistake(void **state) {
  (void)state;
  each_planted_mistake(1.05f, FEED_OWN);
}

static void a_nan_is_found_where_it_is(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -INFINITY};
  for (int i = 0; i < 3; i++) {
    if (i && !device_is_cpu()) break; // fp16 stages saturate
    struct pair p;
    pair_open(&p, "tests/goldens/models/mha", FEED_REFERENCE);
    plant_in(p.lockstep->b, POINT_MLP_IN, 1, bad[i]);
    run_some(&p, TOKENS);
    const struct compare_cell *c = lockstep_cell(p.lockstep, 1, POINT_MLP_IN);
    assert_int_equal(c->num_bad, 1);
    assert_int_equal(c->first_bad.position, BAD_ROW);
    assert_int_equal(c->first_bad.channel, BAD_CHANNEL);
    assert_true(isfinite(c->first_bad.a) && !isfinite(c->first_bad.b));
    assert_true(isinf(compare_nmse(c)) && !compare_cell_passes(c, 1e30) && !compare_cell_passes(c, INFINITY));
    each_cell(&p, only_planted_fails, NULL);
    pair_close(&p);
  }
}

static void the_largest_error_is_told_with_its_place(void **state) {
  (void)state;
  struct pair p;
  pair_open(&p, "tests/goldens/models/mha", FEED_REFERENCE);
  plant_in(p.lockstep->b, POINT_MLP_IN, 1, 100);
  plant.one = true;
  plant.spared = 1;
  run_some(&p, BAD_ROW + 2); // three steps or more
  const struct compare_value *worst = &lockstep_cell(p.lockstep, 1, POINT_MLP_IN)->worst;
  assert_int_equal(worst->position, BAD_ROW + 2 + BAD_ROW);
  assert_int_equal(worst->channel, BAD_CHANNEL);
  assert_true(fabsf(worst->a) < 100 && worst->b == 100);
  pair_close(&p);
}

// An operation that adds to the residual stream is judged by what it adds: here a hundredth of the whole is far more.
static void the_residual_stream_hides_no_error(void **state) {
  (void)state;
  static const enum compare_point points[] = {POINT_ATTENTION_OUT, POINT_MLP_OUT};
  for (int i = 0; i < 2; i++) {
    struct pair p;
    pair_open(&p, "tests/goldens/models/outliers", FEED_REFERENCE);
    plant_in(p.lockstep->b, points[i], 1, 1.01f);
    run_some(&p, TOKENS);
    double nmse = compare_nmse(lockstep_cell(p.lockstep, 1, points[i]));
    if (!(nmse > 10 * 0.01 * 0.01)) fail_msg("%s: NMSE %g", compare_point_names[points[i]], nmse);
    pair_close(&p);
  }
}

static void logits_that_are_no_numbers_are_counted(void **state) {
  (void)state;
  struct pair p;
  pair_open(&p, "tests/goldens/models/mha", FEED_OWN);
  plant_in(p.lockstep->b, POINT_LOGITS, 0, NAN);
  run_some(&p, TOKENS);
  struct compare_gates g = {.divergence = INFINITY};
  assert_int_equal(p.lockstep->logits.rows, TOKENS);
  assert_int_equal(p.lockstep->logits.bad_rows, 1);
  assert_false(compare_logits_pass(&p.lockstep->logits, &g));
  pair_close(&p);
}

static void logits_gates(void **state) {
  (void)state;
  struct compare_gates g = compare_gates_of(COMPARE_FP16, FEED_OWN);
  struct compare_logits l = {.rows = 1000, .same_top = 995, .divergence = 0.1};
  assert_true(compare_logits_pass(&l, &g));
  l.same_top = 994;
  assert_false(compare_logits_pass(&l, &g));
  l.same_top = 1000, l.divergence = 0.1001;
  assert_false(compare_logits_pass(&l, &g));
  l.divergence = NAN;
  assert_false(compare_logits_pass(&l, &g));
  l = (struct compare_logits){.rows = COMPARE_TOP_ROWS - 1, .same_top = 190}; // too few to tell half a per cent
  assert_true(compare_logits_pass(&l, &g));
}

// Every golden case within the built-in gates, by the prefill and the decode path.
// The design's numbers, written down again: a gate that is widened by mistake is seen.
static void gates_are_the_designs(void **state) {
  (void)state;
  static const double fp16[POINT_COUNT] = {
      [POINT_EMBED] = 1e-7,     [POINT_QUERY] = 1e-6,         [POINT_KEYS] = 1e-6,   [POINT_VALUES] = 1e-6,
      [POINT_ATTENTION] = 1e-6, [POINT_ATTENTION_OUT] = 1e-7, [POINT_MLP_IN] = 1e-6, [POINT_MLP_OUT] = 1e-7,
      [POINT_NORM] = 1e-7,      [POINT_LOGITS] = 1e-6};
  struct compare_gates alone = compare_gates_of(COMPARE_FP16, FEED_REFERENCE),
                       own = compare_gates_of(COMPARE_FP32, FEED_OWN);
  for (int p = 0; p < POINT_COUNT; p++) {
    assert_true(alone.nmse[p] <= fp16[p] * (1 + 1e-9));   // elementwise 1e-7, projections and attention 1e-6
    assert_true(own.nmse[p] <= 1e-5 * 1e-5 * (1 + 1e-9)); // fp32: a relative error of 1e-5
  }
  for (int feed = FEED_OWN; feed <= FEED_REFERENCE; feed++) {
    struct compare_gates g = compare_gates_of(COMPARE_FP16, (enum compare_feed)feed);
    assert_true(g.divergence <= 1e-4 && g.same_top >= 0.995);
  }
}

static void an_operation_passes_up_to_its_gate(void **state) {
  (void)state;
  struct compare_cell c = {.count = 4, .error = 0.99e-6, .reference = 1};
  assert_true(compare_cell_passes(&c, 1e-6));
  c.error = 1.01e-6;
  assert_false(compare_cell_passes(&c, 1e-6));
  c.rounding = 0.02e-6; // what storing the stream costs is nobody's error
  assert_true(compare_cell_passes(&c, 1e-6));
}

static void check_gates(const struct golden *g, void *ctx) {
  int32_t n = (int32_t)g->ids.shape[0] < 48 ? (int32_t)g->ids.shape[0] : 48;
  for (int feed = FEED_OWN; feed <= FEED_REFERENCE; feed++) {
    struct pair p;
    pair_open(&p, g->model_path, (enum compare_feed)feed);
    run_ids(&p, g->ids.data, n, n > 4 ? n - 3 : n, forward_long_rope(&p.model.config, n));
    run_ids(&p, g->ids.data, n < 4 ? n : 4, 1, false);
    struct closeness close = {.name = g->name};
    each_cell(&p, must_pass, &close);
    printf("%-22s feed %-9s nearest to its gate: %-20s %.2f of it\n", g->name, feed == FEED_OWN ? "own" : "reference",
           compare_point_names[close.point], close.worst);
    struct compare_gates gates = compare_gates_of(compare_kind_of(p.lockstep), (enum compare_feed)feed);
    if (!compare_logits_pass(&p.lockstep->logits, &gates))
      fail_msg("%s: mean divergence %g of %lld rows", g->name,
               p.lockstep->logits.divergence / (double)p.lockstep->logits.rows, (long long)p.lockstep->logits.rows);
    pair_close(&p);
  }
  ++*(int *)ctx;
}

static void all_goldens_are_within_the_gates(void **state) {
  (void)state;
  int cases = 0;
  goldens_each(check_gates, &cases);
  assert_true(cases > 0);
}

static void has_no_error(const struct pair *p, const struct compare_cell *c, int32_t layer, enum compare_point point,
                         double gate, void *ctx) {
  (void)p, (void)gate, (void)ctx;
  if (c->count == 0 || c->error != 0 || c->num_bad || compare_nmse(c) != 0)
    fail_msg("%s of layer %d: error %g", compare_point_names[point], layer, c->error);
}

// The same arithmetic with other threads: nothing differs, and what is read after `write` is what was written.
static void equal_backends_have_no_error(void **state) {
  (void)state;
  for (int feed = FEED_OWN; feed <= FEED_REFERENCE; feed++) {
    struct pair p = {0};
    struct backend_options one = plain;
    one.threads = 1;
    assert_ok(model_open(&p.model, "tests/goldens/models/hd96_window", &e));
    struct backend *a = device_backend(&p.model, &plain, &e), *b = device_backend(&p.model, &one, &e);
    if (!a || !b) fail_msg("%s", e.text);
    struct backend *both = lockstep_open(a, b, &e);
    assert_non_null(both);
    p.lockstep = lockstep_of(both);
    p.lockstep->watch = WATCH_ALL;
    p.lockstep->feed = (enum compare_feed)feed;
    assert_ok(forward_open(&p.forward, both, &e));
    run_some(&p, 7);
    assert_int_equal(each_cell(&p, has_no_error, NULL), 7 * 2 + 3);
    assert_int_equal(p.lockstep->logits.same_top, TOKENS);
    assert_int_equal(p.lockstep->logits.same_five, 5 * TOKENS);
    assert_true(p.lockstep->logits.divergence == 0);
    pair_close(&p);
  }
}

// Numbers that fp16 holds: what is written comes back to the bit, in rows of two sequences across page edges.
static void what_is_written_is_read(void **state) {
  (void)state;
  struct opened o;
  uint64_t seed = test_seed();
  device_open(&o, "tests/goldens/models/gqa", &plain);
  struct backend *b = o.forward.backend;
  const struct config *c = &o.model.config;
  struct sequence s[2] = {{0}, {0}};
  int32_t ids[40] = {0};
  struct forward_input in[2] = {{&s[0], ids, 13, false, LOGITS_NONE}, {&s[1], ids, 20, false, LOGITS_NONE}};
  assert_ok(forward_run(&o.forward, in, 2, &e));
  int64_t widths[] = {c->hidden_size, heads_width(b), heads_width(b), c->intermediate_size},
          kv = (int64_t)c->num_kv_heads * c->head_dim;
  const enum stage stages[] = {STAGE_HIDDEN, STAGE_QUERY, STAGE_MIXED, STAGE_MLP};
  float x[40 * 512], y[40 * 512];
  for (int i = 0; i < 40 * 512; i++)
    x[i] = f16_to_f32((uint16_t)(test_random(&seed) % 0x7800)); // finite and not negative
  for (int i = 0; i < 4; i++) {
    assert_true(widths[i] <= 512);
    assert_ok(b->ops->write(b, &o.forward.step, stages[i], x, &e));
    assert_ok(b->ops->read(b, &o.forward.step, stages[i], y, &e));
    assert_memory_equal(x, y, (size_t)(33 * widths[i]) * sizeof *x);
  }
  assert_ok(b->ops->write_cache(b, &o.forward.step, 0, x, x + 33 * kv, &e));
  assert_ok(b->ops->read_cache(b, &o.forward.step, 0, y, y + 33 * kv, &e));
  assert_memory_equal(x, y, (size_t)(2 * 33 * kv) * sizeof *x);
  assert_fails(b->ops->write(b, &o.forward.step, STAGE_LOGITS, x, &e), "cannot be written");
  assert_fails(b->ops->write(b, &o.forward.step, STAGE_NORM, x, &e), "cannot be written");
  for (int i = 0; i < 2; i++) sequence_free(&s[i], &o.forward.pages);
  opened_close(&o);
}

// Keys and values that were read in one place and written in another give attention the same bits.
static void pages_can_be_rebuilt_from_what_was_read(void **state) {
  (void)state;
  struct opened o;
  device_open(&o, "tests/goldens/models/gqa", &plain); // one layer
  struct backend *b = o.forward.backend;
  int64_t kv = (int64_t)o.model.config.num_kv_heads * o.model.config.head_dim, vocab = o.model.config.vocab_size;
  int32_t ids[24], other[24] = {0};
  for (int i = 0; i < 24; i++) ids[i] = (i * 13 + 5) % (int32_t)vocab;
  struct sequence s = {0}, t = {0};
  float *keys = mem_alloc((size_t)(2 * 23 * kv), sizeof *keys, "keys", &e),
        *logits = mem_alloc((size_t)(2 * vocab), sizeof *logits, "logits", &e);
  for (int i = 0; i < 2;
       i++) { // the second sequence begins with other tokens, but gets the first one's keys and values
    struct forward_input begin = {i ? &t : &s, i ? other : ids, 23, false, LOGITS_NONE},
                         last = {i ? &t : &s, ids + 23, 1, false, LOGITS_LAST};
    assert_ok(forward_run(&o.forward, &begin, 1, &e));
    if (i == 0) assert_ok(b->ops->read_cache(b, &o.forward.step, 0, keys, keys + 23 * kv, &e));
    else assert_ok(b->ops->write_cache(b, &o.forward.step, 0, keys, keys + 23 * kv, &e));
    assert_ok(forward_run(&o.forward, &last, 1, &e));
    assert_ok(forward_read(&o.forward, STAGE_LOGITS, logits + i * vocab, &e));
  }
  assert_memory_equal(logits, logits + vocab, (size_t)vocab * sizeof *logits);
  sequence_free(&s, &o.forward.pages);
  sequence_free(&t, &o.forward.pages);
  mem_free(keys);
  mem_free(logits);
  opened_close(&o);
}

static void unlike_pairs_are_refused(void **state) {
  (void)state;
  struct model m, other;
  assert_ok(model_open(&m, "tests/goldens/models/mha", &e));
  assert_ok(model_open(&other, "tests/goldens/models/gqa", &e));
  struct backend_options pages = plain;
  pages.page_size = 32;
  struct backend *a = cpu_backend_open(&m, &plain, &e), *b = cpu_backend_open(&other, &plain, &e);
  assert_fails(lockstep_open(a, b, &e), "not of one shape: a has a number of layers of 2, b of 1");
  a = cpu_backend_open(&m, &plain, &e), b = cpu_backend_open(&m, &pages, &e);
  assert_fails(lockstep_open(a, b, &e), "pages of 16 tokens, b of 32");
  model_close(&m);
  model_close(&other);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  struct model m;
  assert_ok(model_open(&m, "tests/goldens/models/mha", &e));
  for (long k = 1;; k++) {
    struct backend *a = cpu_backend_open(&m, &plain, &e), *b = cpu_backend_open(&m, &plain, &e);
    assert_true(a && b);
    mem_fail_from(k);
    struct backend *both = lockstep_open(a, b, &e);
    mem_fail_from(0);
    if (both) {
      both->ops->close(both);
      assert_int_equal(k, 6);
      break;
    }
    assert_true(e.no_memory);
  }
  model_close(&m);
}

static void the_device_had_no_finding(void **state) {
  (void)state;
  device_check_findings();
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_planted_mistake_is_found_where_it_is),
                                     cmocka_unit_test(fed_its_own_values_the_first_one_past_its_gate_is_the_mistake),
                                     cmocka_unit_test(a_nan_is_found_where_it_is),
                                     cmocka_unit_test(the_residual_stream_hides_no_error),
                                     cmocka_unit_test(logits_that_are_no_numbers_are_counted),
                                     cmocka_unit_test(the_largest_error_is_told_with_its_place),
                                     cmocka_unit_test(logits_gates),
                                     cmocka_unit_test(gates_are_the_designs),
                                     cmocka_unit_test(an_operation_passes_up_to_its_gate),
                                     cmocka_unit_test(all_goldens_are_within_the_gates),
                                     cmocka_unit_test(equal_backends_have_no_error),
                                     cmocka_unit_test(what_is_written_is_read),
                                     cmocka_unit_test(pages_can_be_rebuilt_from_what_was_read),
                                     cmocka_unit_test(unlike_pairs_are_refused),
                                     cmocka_unit_test(every_allocation_may_fail),
                                     cmocka_unit_test(the_device_had_no_finding)};
  device_choose(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
