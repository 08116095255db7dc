#include "runtime/compare.h"
#include "runtime/base/mem.h"
#include "runtime/logits.h"
#include <math.h>
#include <string.h>

const char *const compare_point_names[POINT_COUNT] = {"embed",
                                                      "attention_in.query",
                                                      "attention_in.keys",
                                                      "attention_in.values",
                                                      "attention",
                                                      "attention_out",
                                                      "mlp_in",
                                                      "mlp_out",
                                                      "norm",
                                                      "logits"};

bool compare_point_in_layer(enum compare_point p) { return p >= POINT_QUERY && p <= POINT_MLP_OUT; }

struct compare_cell *lockstep_cell(const struct lockstep *l, int32_t layer, enum compare_point p) {
  return &l->cells[layer * POINT_COUNT + (int32_t)p];
}

// --- gates ---

#define NONE INFINITY

// The one table of what two backends may differ by, as sums of squares of the error over those of the result.
//
// From the same input (FEED_REFERENCE). fp32: a sum of k products in chains of some hundred terms errs by a few units
// of 2^-24 times the root of the chain's length, 2e-6 in all. fp16: what is stored in 11 bits has an NMSE of 4e-8;
// embed and norm do nothing else, attention_out and mlp_out read what both share and add in fp32, so that only weights
// are rounded; the others round their normed input, their weights and their result, attention its weights and its
// result. Own: fp32's logits agree within 1e-5, as with Hugging Face; fp16's operations within 1e-2, and the whole
// model is held by the divergence of its logits.
// clang-format off
static const struct gate_row {
  double embed, attention_in, attention, attention_out, mlp_in, mlp_out, norm, logits, divergence, same_top;
} gates[3][2] = {
    //                                  embed    _in    attention  _out   mlp_in mlp_out  norm   logits    KL    same top
    [COMPARE_FP32]  [FEED_OWN]       = {1e-10,  1e-10,  1e-10,  1e-10,  1e-10,  1e-10,  1e-10,  1e-10,  1e-8,  0.995},
    [COMPARE_FP32]  [FEED_REFERENCE] = {4e-12,  4e-12,  4e-12,  4e-12,  4e-12,  4e-12,  4e-12,  4e-12,  1e-8,  0.995},
    [COMPARE_FP16]  [FEED_OWN]       = {1e-7,   1e-4,   1e-4,   1e-4,   1e-4,   1e-4,   1e-4,   1e-4,   1e-4,  0.995},
    [COMPARE_FP16]  [FEED_REFERENCE] = {1e-7,   1e-6,   1e-6,   1e-7,   1e-6,   1e-7,   1e-7,   1e-6,   1e-4,  0.995},
    [COMPARE_OTHER] [FEED_OWN]       = {NONE,   NONE,   NONE,   NONE,   NONE,   NONE,   NONE,   NONE,   NONE,  0},
    [COMPARE_OTHER] [FEED_REFERENCE] = {NONE,   NONE,   NONE,   NONE,   NONE,   NONE,   NONE,   NONE,   NONE,  0},
};
// clang-format on

struct compare_gates compare_gates_of(enum compare_kind kind, enum compare_feed feed) {
  const struct gate_row *g = &gates[kind][feed];
  return (struct compare_gates){.nmse = {[POINT_EMBED] = g->embed,
                                         [POINT_QUERY] = g->attention_in,
                                         [POINT_KEYS] = g->attention_in,
                                         [POINT_VALUES] = g->attention_in,
                                         [POINT_ATTENTION] = g->attention,
                                         [POINT_ATTENTION_OUT] = g->attention_out,
                                         [POINT_MLP_IN] = g->mlp_in,
                                         [POINT_MLP_OUT] = g->mlp_out,
                                         [POINT_NORM] = g->norm,
                                         [POINT_LOGITS] = g->logits},
                                .divergence = g->divergence,
                                .same_top = g->same_top};
}

static bool is_fp16(const struct backend *b) {
  return !b->options.fp64 && b->options.page_type == PAGE_F16;
} // a GPU's pages always are

enum compare_kind compare_kind_of(const struct lockstep *l) {
  if (l->a->model != l->b->model) return COMPARE_OTHER;
  return is_fp16(l->a) || is_fp16(l->b) ? COMPARE_FP16 : COMPARE_FP32;
}

double compare_nmse(const struct compare_cell *c) {
  if (c->num_bad) return INFINITY;
  if (c->error == 0) return 0;
  return c->error / c->reference; // infinite for a reference of zeros
}

bool compare_cell_passes(const struct compare_cell *c, double nmse) {
  return c->num_bad == 0 && (isinf(nmse) || c->error <= nmse * c->reference + c->rounding);
}

bool compare_logits_pass(const struct compare_logits *l, const struct compare_gates *g) {
  if (l->bad_rows) return false;
  bool same = l->rows < COMPARE_TOP_ROWS || (double)l->same_top >= g->same_top * (double)l->rows;
  return same && l->divergence <= g->divergence * (double)l->rows;
}

// --- looking ---

struct view {
  const float *a, *b, *before; // `before` NULL: errors are measured against a
  const int32_t *rows;         // of the step; NULL: all in order
  int64_t count, width;
};

static int64_t position_of(const struct step *s, int32_t row) {
  const struct step_seq *q = s->seqs;
  while (row >= q->first_row + q->num_rows) q++;
  return q->position + row - q->first_row;
}

static void look_at(struct compare_cell *c, const struct compare_value *v, float before, bool has_before) {
  c->count++;
  c->largest_a = fmaxf(c->largest_a, fabsf(v->a));
  c->largest_b = fmaxf(c->largest_b, fabsf(v->b));
  if (!isfinite(v->a) || !isfinite(v->b)) {
    if (v->a == v->b) return; // the same infinity
    if (c->num_bad++ == 0) c->first_bad = *v;
    return;
  }
  double a = (double)v->a, d = (double)v->b - a, size = has_before ? a - (double)before : a;
  c->error += d * d;
  c->reference += size * size;
  if (has_before) c->rounding += a * a * 0x1p-46; // fp32 of both, half a unit in 24 bits each
  if (fabs(d) > fabs((double)c->worst.b - (double)c->worst.a)) c->worst = *v;
}

static void look(struct compare_cell *c, const struct step *s, const struct view *v) {
  for (int64_t r = 0; r < v->count; r++) {
    struct compare_value at = {.position = position_of(s, v->rows ? v->rows[r] : (int32_t)r)};
    for (int64_t i = 0; i < v->width; i++) {
      int64_t j = r * v->width + i;
      at.channel = i;
      at.a = v->a[j];
      at.b = v->b[j];
      look_at(c, &at, v->before ? v->before[j] : 0, v->before != NULL);
    }
  }
}

static void look_at_logits(struct compare_logits *l, const struct step *s, const float *a, const float *b,
                           int64_t vocab) {
  int32_t most = vocab < 5 ? (int32_t)vocab : 5, a_top[5], b_top[5];
  for (int32_t r = 0; r < s->num_logits; r++, a += vocab, b += vocab) {
    l->rows++;
    if (logits_find_bad(a, vocab) >= 0 || logits_find_bad(b, vocab) >= 0) {
      l->bad_rows++;
      continue;
    }
    logits_top(a, vocab, most, a_top);
    logits_top(b, vocab, most, b_top);
    l->same_top += a_top[0] == b_top[0];
    for (int32_t i = 0; i < most; i++)
      for (int32_t j = 0; j < most; j++) l->same_five += a_top[i] == b_top[j];
    double d = logits_divergence(a, b, vocab);
    l->divergence += d;
    if (l->rows == 1 || d > l->worst) {
      l->worst = d;
      l->worst_position = position_of(s, s->logit_rows[r]);
    }
  }
}

static int64_t stage_width(const struct config *c, enum stage stage) {
  switch (stage) {
  case STAGE_HIDDEN:
  case STAGE_NORM: return c->hidden_size;
  case STAGE_QUERY:
  case STAGE_MIXED: return (int64_t)c->num_heads * c->head_dim;
  case STAGE_MLP: return c->intermediate_size;
  case STAGE_LOGITS: break;
  }
  return c->vocab_size;
}

static bool read_both(struct lockstep *l, const struct step *s, enum stage stage, struct err *e) {
  return l->a->ops->read(l->a, s, stage, l->x, e) && l->b->ops->read(l->b, s, stage, l->y, e);
}

static bool look_at_stage(struct lockstep *l, const struct step *s, int32_t layer, enum compare_point p,
                          enum stage stage, bool added, struct err *e) {
  if (l->watch != WATCH_ALL) return true;
  if (!read_both(l, s, stage, e)) return false;
  bool of_logits = stage == STAGE_NORM || stage == STAGE_LOGITS;
  struct view v = {.a = l->x, .b = l->y, .before = added && l->feed == FEED_REFERENCE ? l->before : NULL};
  v.rows = of_logits ? s->logit_rows : NULL;
  v.count = of_logits ? s->num_logits : s->num_rows;
  v.width = stage_width(&l->base.model->config, stage);
  look(lockstep_cell(l, layer, p), s, &v);
  return true;
}

static bool look_at_cache(struct lockstep *l, const struct step *s, int32_t layer, struct err *e) {
  if (l->watch != WATCH_ALL) return true;
  const struct config *c = &l->base.model->config;
  int64_t width = (int64_t)c->num_kv_heads * c->head_dim, n = s->num_rows * width;
  if (!l->a->ops->read_cache(l->a, s, layer, l->x, l->x + n, e) ||
      !l->b->ops->read_cache(l->b, s, layer, l->y, l->y + n, e))
    return false;
  look(lockstep_cell(l, layer, POINT_KEYS), s,
       &(struct view){.a = l->x, .b = l->y, .count = s->num_rows, .width = width});
  look(lockstep_cell(l, layer, POINT_VALUES), s,
       &(struct view){.a = l->x + n, .b = l->y + n, .count = s->num_rows, .width = width});
  return true;
}

// --- feeding ---

// The reference's values go to b, and come back as b stores them.
static bool share(struct lockstep *l, const struct step *s, enum stage stage, struct err *e) {
  return l->a->ops->read(l->a, s, stage, l->x, e) && l->b->ops->write(l->b, s, stage, l->x, e) &&
         l->b->ops->read(l->b, s, stage, l->x, e) && l->a->ops->write(l->a, s, stage, l->x, e);
}

static bool share_cache(struct lockstep *l, const struct step *s, int32_t layer, struct err *e) {
  const struct config *c = &l->base.model->config;
  float *keys = l->x, *values = l->x + (int64_t)s->num_rows * c->num_kv_heads * c->head_dim;
  return l->a->ops->read_cache(l->a, s, layer, keys, values, e) &&
         l->b->ops->write_cache(l->b, s, layer, keys, values, e) &&
         l->b->ops->read_cache(l->b, s, layer, keys, values, e) &&
         l->a->ops->write_cache(l->a, s, layer, keys, values, e);
}

static bool fed(const struct lockstep *l) { return l->watch == WATCH_ALL && l->feed == FEED_REFERENCE; }

// The residual stream is every operation's input but attention's.
static bool feed_hidden(struct lockstep *l, const struct step *s, struct err *e) {
  if (!fed(l)) return true;
  if (!share(l, s, STAGE_HIDDEN, e)) return false;
  memcpy(l->before, l->x, (size_t)s->num_rows * (size_t)l->base.model->config.hidden_size * sizeof *l->x);
  return true;
}

static bool feed_stage(struct lockstep *l, const struct step *s, enum stage stage, struct err *e) {
  return !fed(l) || share(l, s, stage, e);
}

static bool feed_cache(struct lockstep *l, const struct step *s, int32_t layer, struct err *e) {
  return !fed(l) || share_cache(l, s, layer, e);
}

// --- the operations ---

static bool told(bool ok, const struct backend *b, const char *which, struct err *e) {
  return ok || err_context(e, "%s (%s)", which, b->ops->name);
}

#define BOTH(l, call_a, call_b) (told(call_a, (l)->a, "a", e) && told(call_b, (l)->b, "b", e))
#define BOTH_LAYER(operation)   BOTH(l, l->a->ops->operation(l->a, s, layer, e), l->b->ops->operation(l->b, s, layer, e))

static bool begin_step(struct backend *b, const struct step *s, bool observed, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  observed |= l->watch == WATCH_ALL;
  return BOTH(l, !l->a->ops->begin_step || l->a->ops->begin_step(l->a, s, observed, e),
              !l->b->ops->begin_step || l->b->ops->begin_step(l->b, s, observed, e));
}

// What a backend put off is there now.
static bool end_step(struct backend *b, const struct step *s, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  if (!BOTH(l, !l->a->ops->end_step || l->a->ops->end_step(l->a, s, e),
            !l->b->ops->end_step || l->b->ops->end_step(l->b, s, e)))
    return false;
  if (l->watch == WATCH_NOTHING || s->num_logits == 0) return true;
  if (!read_both(l, s, STAGE_LOGITS, e)) return false;
  look_at_logits(&l->logits, s, l->x, l->y, b->model->config.vocab_size);
  return true;
}

static bool embed(struct backend *b, const struct step *s, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return BOTH(l, l->a->ops->embed(l->a, s, e), l->b->ops->embed(l->b, s, e)) &&
         look_at_stage(l, s, 0, POINT_EMBED, STAGE_HIDDEN, false, e);
}

static bool attention_in(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return feed_hidden(l, s, e) && BOTH_LAYER(attention_in) &&
         look_at_stage(l, s, layer, POINT_QUERY, STAGE_QUERY, false, e) && look_at_cache(l, s, layer, e);
}

static bool attention(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return feed_stage(l, s, STAGE_QUERY, e) && feed_cache(l, s, layer, e) && BOTH_LAYER(attention) &&
         look_at_stage(l, s, layer, POINT_ATTENTION, STAGE_MIXED, false, e);
}

static bool attention_out(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return feed_stage(l, s, STAGE_MIXED, e) && feed_hidden(l, s, e) && BOTH_LAYER(attention_out) &&
         look_at_stage(l, s, layer, POINT_ATTENTION_OUT, STAGE_HIDDEN, true, e);
}

static bool mlp_in(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return feed_hidden(l, s, e) && BOTH_LAYER(mlp_in) && look_at_stage(l, s, layer, POINT_MLP_IN, STAGE_MLP, false, e);
}

static bool mlp_out(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return feed_stage(l, s, STAGE_MLP, e) && feed_hidden(l, s, e) && BOTH_LAYER(mlp_out) &&
         look_at_stage(l, s, layer, POINT_MLP_OUT, STAGE_HIDDEN, true, e);
}

static bool logits(struct backend *b, const struct step *s, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return feed_hidden(l, s, e) && BOTH(l, l->a->ops->logits(l->a, s, e), l->b->ops->logits(l->b, s, e)) &&
         look_at_stage(l, s, 0, POINT_NORM, STAGE_NORM, false, e) &&
         look_at_stage(l, s, 0, POINT_LOGITS, STAGE_LOGITS, false, e);
}

static bool copy_page(struct backend *b, int32_t from, int32_t to, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return BOTH(l, l->a->ops->copy_page(l->a, from, to, e), l->b->ops->copy_page(l->b, from, to, e));
}

static bool read_a(struct backend *b, const struct step *s, enum stage stage, float *dst, struct err *e) {
  struct lockstep *l = lockstep_of(b);
  return l->a->ops->read(l->a, s, stage, dst, e);
}

static void close_both(struct backend *b) {
  struct lockstep *l = lockstep_of(b);
  l->a->ops->close(l->a);
  l->b->ops->close(l->b);
  mem_free(l->cells);
  mem_free(l->x);
  mem_free(l->y);
  mem_free(l->before);
  mem_free(l);
}

static const struct backend_ops lockstep_ops = {.name = "lockstep",
                                                .begin_step = begin_step,
                                                .end_step = end_step,
                                                .embed = embed,
                                                .attention_in = attention_in,
                                                .attention = attention,
                                                .attention_out = attention_out,
                                                .mlp_in = mlp_in,
                                                .mlp_out = mlp_out,
                                                .logits = logits,
                                                .copy_page = copy_page,
                                                .read = read_a,
                                                .close = close_both};

// --- opening ---

static bool check_number(const char *what, int64_t a, int64_t b, struct err *e) {
  return a == b || err_set(e, "the two models are not of one shape: a has a %s of %lld, b of %lld", what, (long long)a,
                           (long long)b);
}

static bool check_shapes(const struct backend *a, const struct backend *b, struct err *e) {
  const struct config *p = &a->model->config, *q = &b->model->config;
  return check_number("number of layers", p->num_layers, q->num_layers, e) &&
         check_number("hidden size", p->hidden_size, q->hidden_size, e) &&
         check_number("number of heads", p->num_heads, q->num_heads, e) &&
         check_number("number of key-value heads", p->num_kv_heads, q->num_kv_heads, e) &&
         check_number("head size", p->head_dim, q->head_dim, e) &&
         check_number("MLP width", p->intermediate_size, q->intermediate_size, e) &&
         check_number("vocabulary", p->vocab_size, q->vocab_size, e) &&
         check_number("sliding window", p->sliding_window, q->sliding_window, e);
}

static bool alloc_buffers(struct lockstep *l, struct err *e) {
  const struct config *c = &l->base.model->config;
  int64_t rows = l->base.options.max_rows, most = rows * 2 * c->num_kv_heads * c->head_dim;
  for (enum stage stage = STAGE_HIDDEN; stage <= STAGE_LOGITS; stage++) {
    int64_t n =
        stage_width(c, stage) * (stage == STAGE_NORM || stage == STAGE_LOGITS ? l->base.options.max_logits : rows);
    if (n > most) most = n;
  }
  if (!(l->cells = mem_alloc((size_t)c->num_layers * POINT_COUNT, sizeof *l->cells, "the comparison's table", e)))
    return false;
  l->x = mem_alloc((size_t)most, sizeof *l->x, "a stage of a; use a smaller --chunk", e);
  if (l->x) l->y = mem_alloc((size_t)most, sizeof *l->y, "a stage of b; use a smaller --chunk", e);
  if (l->y) l->before = mem_alloc((size_t)(rows * c->hidden_size), sizeof *l->before, "the residual stream", e);
  return l->before != NULL;
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

struct backend *lockstep_open(struct backend *a, struct backend *b, struct err *e) {
  struct lockstep *l = mem_alloc(1, sizeof *l, "the lockstep", e);
  if (!l) {
    a->ops->close(a);
    b->ops->close(b);
    return NULL;
  }
  *l = (struct lockstep){.base = {.ops = &lockstep_ops, .model = a->model, .options = a->options}, .a = a, .b = b};
  struct backend_options *o = &l->base.options;
  o->num_pages = least(a->options.num_pages, b->options.num_pages);
  o->max_rows = least(a->options.max_rows, b->options.max_rows);
  o->max_logits = least(a->options.max_logits, b->options.max_logits);
  bool ok = a->options.page_size == b->options.page_size ||
            err_set(e, "a has pages of %d tokens, b of %d; they must be the same", a->options.page_size,
                    b->options.page_size);
  if (ok && check_shapes(a, b, e) && alloc_buffers(l, e)) return &l->base;
  close_both(&l->base);
  return NULL;
}
