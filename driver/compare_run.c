#include "driver/compare.h"
#include "runtime/base/mem.h"
#include "runtime/logits.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool open_model_b(struct compare *c, struct err *e) {
  if (!c->options->model_b) return true;
  char *path = model_find(c->options->model_b, e);
  c->own_b = path && model_open(&c->model_b, path, e);
  mem_free(path);
  return c->own_b;
}

static bool open_both(struct compare *c, struct err *e) {
  const struct compare_options *o = c->options;
  int64_t tokens = c->ids.count + o->new_tokens, chunk = o->a.chunk < c->ids.count ? o->a.chunk : c->ids.count;
  if (!open_model_b(c, e)) return err_context(e, "b");
  struct backend *a = engine_backend(&c->en.model, &o->a, tokens, 1, (int32_t)chunk, e);
  if (!a) return err_context(e, "a");
  struct backend *b = engine_backend(c->own_b ? &c->model_b : &c->en.model, &o->b, tokens, 1, (int32_t)chunk, e);
  if (!b) {
    a->ops->close(a);
    return err_context(e, "b");
  }
  struct backend *both = lockstep_open(a, b, e);
  if (!both || !forward_open(&c->en.forward, both, e)) return false;
  c->lockstep = lockstep_of(both);
  return true;
}

// The whole text; the sequence keeps it.
static bool run_text(struct compare *c, struct sequence *sequence, enum compare_watch watch, struct err *e) {
  struct forward *f = &c->en.forward;
  struct progress progress;
  int64_t chunk = c->options->a.chunk;
  bool ok = true, long_rope = forward_long_rope(&c->en.model.config, c->ids.count);
  c->lockstep->watch = watch;
  c->lockstep->feed = c->options->feed;
  c->lockstep->logits = (struct compare_logits){0};
  progress_init(&progress, f, c->ids.count);
  for (int64_t at = 0, n; ok && at < c->ids.count; at += n) {
    n = c->ids.count - at < chunk ? c->ids.count - at : chunk;
    struct forward_input in = {sequence, c->ids.data + at, (int32_t)n, long_rope, LOGITS_ALL};
    ok = forward_run(f, &in, 1, e);
  }
  f->observer = (struct forward_observer){0};
  return ok;
}

// The best next ids of both after the last step. `margin`: by which a prefers its own to b's.
static bool best(struct compare *c, int32_t *a, int32_t *b, float *margin, struct err *e) {
  struct lockstep *l = c->lockstep;
  const struct step *s = &c->en.forward.step;
  int64_t vocab = c->en.model.config.vocab_size, last = (s->num_logits - 1) * vocab;
  if (!l->a->ops->read(l->a, s, STAGE_LOGITS, l->x, e) || !l->b->ops->read(l->b, s, STAGE_LOGITS, l->y, e))
    return false;
  logits_top(l->x + last, vocab, 1, a);
  logits_top(l->y + last, vocab, 1, b);
  *margin = l->x[last + *a] - l->x[last + *b];
  return true;
}

// While both choose the same, one sequence serves both.
static bool run_greedy(struct compare *c, struct session *session, struct err *e) {
  struct compare_greedy *g = &c->greedy;
  int64_t room = c->en.model.config.max_positions;
  c->lockstep->watch = WATCH_NOTHING;
  for (;;) {
    if (g->agreed == c->options->new_tokens || interrupted()) return true;
    if (!best(c, &g->a, &g->b, &g->margin, e)) return false;
    if ((g->differ = g->a != g->b)) return true;
    g->agreed++;
    if (session->tokens.count == room) return true;
    if (!session_feed(session, &g->a, 1, NULL, e)) return false;
  }
}

static bool continue_text(struct compare *c, struct sequence *sequence, struct err *e) {
  struct session session;
  session_init(&session, &c->en.forward, true, (int32_t)c->options->a.chunk);
  session.sequence = *sequence; // what the text left in the cache
  session.long_rope = forward_long_rope(&c->en.model.config, c->ids.count);
  *sequence = (struct sequence){0};
  bool ok = true;
  for (int64_t i = 0; ok && i < c->ids.count; i++) ok = ids_push(&session.tokens, c->ids.data[i], e);
  ok = ok && run_greedy(c, &session, e);
  session_free(&session);
  return ok;
}

static void set_gates(struct compare *c) {
  const struct compare_options *o = c->options;
  c->gates = compare_gates_of(compare_kind_of(c->lockstep), o->feed);
  for (int p = 0; p < POINT_COUNT && o->max_nmse >= 0; p++) c->gates.nmse[p] = (double)o->max_nmse;
  if (o->max_divergence >= 0) c->gates.divergence = (double)o->max_divergence;
  if (o->min_same_top >= 0) c->gates.same_top = (double)o->min_same_top;
}

bool compare_run(struct compare *c, struct err *e) {
  struct sequence sequence = {0};
  if (!open_both(c, e)) return false;
  set_gates(c);
  bool ok = run_text(c, &sequence, WATCH_ALL, e);
  if (ok && c->options->feed == FEED_REFERENCE) { // the logits so far are the last operation's alone
    sequence_free(&sequence, &c->en.forward.pages);
    ok = run_text(c, &sequence, WATCH_LOGITS, e);
  }
  ok = ok && continue_text(c, &sequence, e);
  sequence_free(&sequence, &c->en.forward.pages);
  return ok;
}

void compare_free(struct compare *c) {
  engine_close(&c->en);
  if (c->own_b) model_close(&c->model_b);
  ids_free(&c->ids);
}

static void add_line(const struct compare *c, struct compare_line *lines, int64_t *count, int32_t layer,
                     enum compare_point p) {
  const struct compare_cell *cell = lockstep_cell(c->lockstep, layer, p);
  if (cell->count)
    lines[(*count)++] = (struct compare_line){
        layer, p, cell, compare_nmse(cell), c->gates.nmse[p], compare_cell_passes(cell, c->gates.nmse[p])};
}

struct compare_line *compare_lines(const struct compare *c, int64_t *count, struct err *e) {
  int32_t layers = c->en.model.config.num_layers;
  struct compare_line *lines = mem_alloc((size_t)layers * POINT_COUNT, sizeof *lines, "the table", e);
  *count = 0;
  if (!lines) return NULL;
  add_line(c, lines, count, 0, POINT_EMBED);
  for (int32_t layer = 0; layer < layers; layer++)
    for (enum compare_point p = POINT_QUERY; compare_point_in_layer(p); p++) add_line(c, lines, count, layer, p);
  add_line(c, lines, count, 0, POINT_NORM);
  add_line(c, lines, count, 0, POINT_LOGITS);
  return lines;
}

static int worse(const void *x, const void *y) {
  const struct compare_line *p = x, *q = y;
  if (p->nmse != q->nmse) return p->nmse > q->nmse ? -1 : 1;
  if (p->cell->num_bad != q->cell->num_bad) return p->cell->num_bad > q->cell->num_bad ? -1 : 1;
  if (p->layer != q->layer) return p->layer < q->layer ? -1 : 1;
  return (int)p->point - (int)q->point;
}

void compare_sort(struct compare_line *lines, int64_t count) { qsort(lines, (size_t)count, sizeof *lines, worse); }

const char *compare_line_name(const struct compare_line *l, char out[COMPARE_NAME]) {
  if (compare_point_in_layer(l->point))
    snprintf(out, COMPARE_NAME, "layer %d %s", l->layer, compare_point_names[l->point]);
  else snprintf(out, COMPARE_NAME, "%s", compare_point_names[l->point]);
  return out;
}

const char *compare_backend_name(const struct backend *b, char out[COMPARE_NAME]) {
  bool cpu = strcmp(b->ops->name, "cpu") == 0;
  const char *how = !cpu                               ? ""
                    : b->options.fp64                  ? " fp64"
                    : b->options.page_type == PAGE_F16 ? " fp32, fp16 pages"
                                                       : " fp32";
  snprintf(out, COMPARE_NAME, "%s%s", b->ops->name, how);
  return out;
}

static bool bad_value(const struct compare_line *l, const char *name, struct err *e) {
  const struct compare_value *v = &l->cell->first_bad;
  return err_set(
      e, "%s: %lld values are NaN or infinite on one side, the first at position %lld, channel %lld: a has %g, b %g",
      name, (long long)l->cell->num_bad, (long long)v->position, (long long)v->channel, (double)v->a, (double)v->b);
}

bool compare_verdict(const struct compare *c, const struct compare_line *lines, int64_t count, struct err *e) {
  const struct compare_logits *l = &c->lockstep->logits;
  char name[COMPARE_NAME];
  int64_t first = -1, past = 0;
  for (int64_t i = 0; i < count; i++) { // in the order of the schedule: the first one is where to look
    if (lines[i].cell->num_bad) return bad_value(&lines[i], compare_line_name(&lines[i], name), e);
    if (lines[i].passes) continue;
    if (first < 0) first = i;
    past++;
  }
  if (first >= 0)
    return err_set(e, "%lld of %lld operations are past their gates, the first of them %s: NMSE %.3g, gate %.3g",
                   (long long)past, (long long)count, compare_line_name(&lines[first], name), lines[first].nmse,
                   lines[first].gate);
  if (l->bad_rows) return err_set(e, "the logits of %lld tokens are NaN or infinite", (long long)l->bad_rows);
  if (!compare_logits_pass(l, &c->gates))
    return err_set(e,
                   "the logits are past their gates: mean KL divergence %.3g (at most %.3g), same most probable token "
                   "%.2f %% (at least %.2f %%)",
                   l->divergence / (double)l->rows, c->gates.divergence, 100 * (double)l->same_top / (double)l->rows,
                   100 * c->gates.same_top);
  return true;
}
