// Timed generations, all to the same ids.
#include "driver/bench.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <unistd.h>

enum kind { CACHED, UNCACHED, NUM_KINDS };
static const char *const kind_names[NUM_KINDS] = {"cached", "uncached"};

// The line on a terminal that says what is running and how long it will take.
struct meter {
  const char *name;
  double known[NUM_KINDS]; // seconds of a run, 0 while unknown
  double after;            // seconds that follow the run in progress
  double start, shown;
  double work, done; // of the run in progress
  int64_t run, runs; // run 0: warm-up
  enum kind kind;
  bool visible;
};

static void meter_draw(struct meter *m) {
  double now = now_seconds();
  if (!m->visible || now - m->start < 0.5 || now - m->shown < 0.2) return;
  fprintf(stderr, "\r\033[K%s: %s ", m->name, kind_names[m->kind]);
  if (m->run) fprintf(stderr, "run %lld of %lld", (long long)m->run, (long long)m->runs);
  else fprintf(stderr, "warm-up");
  fprintf(stderr, ", %.0f %%", 100 * m->done / m->work);
  double whole = m->known[m->kind] > 0 ? m->known[m->kind] : m->done > 0 ? (now - m->start) * m->work / m->done : 0;
  double after = m->after + (!m->run && m->kind == UNCACHED ? (double)m->runs * whole : 0);
  if (m->known[CACHED] > 0) fprintf(stderr, ", about %.0f s left", fmax(0, whole - (now - m->start)) + after);
  m->shown = now;
}

static void meter_clear(struct meter *m) {
  if (m->shown > 0) fprintf(stderr, "\r\033[K");
  m->shown = 0;
}

struct recorder {
  struct meter *meter;
  double start, *at;
  int64_t count, prompt;
};

static bool on_id(void *ctx, int32_t id) {
  (void)id;
  struct recorder *r = ctx;
  r->at[r->count++] = now_seconds() - r->start;
  r->meter->done += r->meter->kind == UNCACHED ? (double)(r->prompt + r->count) : 1;
  meter_draw(r->meter);
  return !interrupted();
}

bool timing_init(struct timing *t, int64_t runs, int64_t tokens, struct err *e) {
  *t = (struct timing){.capacity = runs, .tokens = tokens};
  t->at = mem_alloc((size_t)(runs * tokens), sizeof *t->at, "the samples", e);
  if (t->at) t->joules = mem_alloc((size_t)runs, sizeof *t->joules, "the samples", e);
  return t->joules != NULL;
}

static void timing_free(struct timing *t) {
  mem_free(t->at);
  mem_free(t->joules);
}

void point_free(struct point *p) {
  timing_free(&p->cached);
  timing_free(&p->uncached);
  timing_free(&p->paper_cached);
  timing_free(&p->paper_uncached);
  ids_free(&p->ids);
  *p = (struct point){0};
}

void bench_free(struct bench *b) {
  point_free(&b->main);
  for (int64_t i = 0; i < b->num_sweep; i++) point_free(&b->sweep[i]);
  mem_free(b->sweep);
  mem_free(b->rounds);
  ids_free(&b->prompt);
  nvml_close(&b->nvml);
  estimator_close(b->estimator);
}

bool bench_prompt(const struct bench *b, int64_t count, struct ids *out, struct err *e) {
  for (int64_t i = 0; i < count; i++)
    if (!ids_push(out, b->prompt.data[i % b->prompt.count], e)) return false;
  return true;
}

// The first run sets the ids, each later one must repeat them.
static bool check_ids(struct point *p, const struct ids *ids, enum kind kind, struct err *e) {
  bool first = p->ids.count == 0;
  for (int64_t i = 0; i < ids->count; i++) {
    if (first && !ids_push(&p->ids, ids->data[i], e)) return false;
    if (ids->data[i] != p->ids.data[i])
      return err_set(e,
                     "new token %lld is %d in the first run, which used the cache, and %d in this %s one: the ids "
                     "differ, so no time is given",
                     (long long)i, p->ids.data[i], ids->data[i], kind_names[kind]);
  }
  p->compared |= !first && kind == UNCACHED;
  return true;
}

// One generation of one sequence: when each token was there, and its ids.
static bool generate_one(struct bench *b, const struct ids *prompt, struct timing *t, struct meter *m, struct ids *ids,
                         struct err *e) {
  struct recorder r = {.meter = m, .at = t->at + t->runs * t->tokens, .prompt = prompt->count};
  struct generate_options o = {
      .max_new = t->tokens, .ignore_end = true, .sampler = sampler_greedy(), .on_id = on_id, .ctx = &r};
  struct session session;
  struct generated g = {0};
  session_init(&session, &b->engine->forward, m->kind == CACHED, (int32_t)b->options->engine.chunk);
  r.start = now_seconds();
  bool ok = generate(&session, NULL, prompt->data, prompt->count, &o, &g, e);
  session_free(&session);
  if (ok && g.finish == FINISH_CANCELLED) ok = err_set(e, "interrupted");
  if (ok && g.ids.count != t->tokens)
    ok = err_set(e, "%lld of %lld tokens were generated", (long long)g.ids.count, (long long)t->tokens);
  if (ok) *ids = g.ids;
  else generated_free(&g);
  return ok;
}

static double joules_now(const struct bench *b) { return b->nvml.functions ? nvml_read(&b->nvml).joules : NAN; }

// Adds a sample to `t`.
static bool run_once(struct bench *b, struct point *p, const struct ids *prompt, enum kind kind, struct timing *t,
                     struct meter *m, struct err *e) {
  double n = (double)t->tokens, before = joules_now(b);
  struct ids ids = {0};
  m->kind = kind;
  m->start = now_seconds();
  m->done = 0;
  m->work = kind == UNCACHED ? n * (double)prompt->count + n * (n + 1) / 2 : n;
  bool ok = p->batch > 1 ? bench_batch(b, p, prompt, t->at + t->runs * t->tokens, &ids, e)
                         : generate_one(b, prompt, t, m, &ids, e);
  meter_clear(m);
  t->joules[t->runs] = joules_now(b) - before;
  if (ok) ok = check_ids(p, &ids, kind, e);
  ids_free(&ids);
  t->runs += ok;
  return ok;
}

// Batches are decoded with the cache alone.
static int kinds_of(const struct bench *b, const struct point *p) {
  return b->options->no_uncached || p->batch > 1 ? 1 : NUM_KINDS;
}

static bool warm(struct bench *b, struct point *p, const struct ids *prompt, int64_t runs, struct meter *m,
                 struct err *e) {
  for (int kind = CACHED; kind < kinds_of(b, p); kind++) {
    struct timing t;
    bool ok = timing_init(&t, 1, p->new_tokens, e);
    m->after = kind == UNCACHED ? (double)runs * m->known[CACHED] : 0;
    if (ok) ok = run_once(b, p, prompt, (enum kind)kind, &t, m, e);
    m->known[kind] = ok ? t.at[t.tokens - 1] : 0;
    timing_free(&t);
    if (!ok) return false;
  }
  return true;
}

bool bench_point(struct bench *b, struct point *p, const char *name, int64_t runs, bool warm_up, double ahead,
                 struct err *e) {
  struct meter m = {.name = name, .runs = runs, .visible = isatty(STDERR_FILENO)};
  struct ids prompt = {0};
  int kinds = kinds_of(b, p);
  struct timing *timings[NUM_KINDS] = {&p->cached, &p->uncached};
  bool ok = bench_prompt(b, p->prompt_tokens, &prompt, e) && (!warm_up || warm(b, p, &prompt, runs, &m, e));
  for (int kind = CACHED; ok && kind < kinds; kind++) ok = timing_init(timings[kind], runs, p->new_tokens, e);
  for (m.run = 1; ok && m.run <= runs; m.run++)
    for (int kind = CACHED; ok && kind < kinds; kind++) {
      double rest = (double)(runs - m.run);
      m.after = ahead + rest * (m.known[CACHED] + m.known[UNCACHED]) + (kind == CACHED ? m.known[UNCACHED] : 0);
      ok = run_once(b, p, &prompt, (enum kind)kind, timings[kind], &m, e);
      if (ok && !warm_up) m.known[kind] = timings[kind]->at[m.run * p->new_tokens - 1];
    }
  ids_free(&prompt);
  return ok;
}

bool bench_main(struct bench *b, struct err *e) {
  b->main = (struct point){.prompt_tokens = b->prompt.count, .new_tokens = b->options->new_tokens, .batch = 1};
  if (b->nvml.functions) b->before = nvml_read(&b->nvml);
  bool ok = bench_point(b, &b->main, "experiment", b->options->runs, true, 0, e);
  if (b->nvml.functions) b->after = nvml_read(&b->nvml);
  return ok;
}
