#include "driver/perplexity.h"
#include "driver/compare.h"
#include "driver/origin.h"
#include "runtime/base/mem.h"
#include "runtime/logits.h"
#include <math.h>
#include <string.h>

bool next_span(struct span *s, int64_t tokens, int64_t window, int64_t stride) {
  int64_t before = s->end;
  if (before == tokens) return false;
  if (before > 0) s->begin += stride;
  s->end = tokens - s->begin < window ? tokens : s->begin + window;
  s->first_target = before > s->begin + 1 ? before : s->begin + 1;
  return true;
}

// A step's rows of logits; row i predicts targets[i] and is counted as token first + i.
struct work {
  struct perplexity *p;
  const int32_t *targets;
  int64_t first;
};

static void score_rows(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct work *w = ctx;
  struct perplexity *p = w->p;
  int64_t vocab = p->en.model.config.vocab_size;
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    struct score *s = &p->scores[w->first + i];
    float *logits = p->logits + i * vocab;
    double log_sum;
    *s = (struct score){0};
    if ((s->bad = logits_find_bad(logits, vocab) >= 0 || !isfinite(log_sum = logits_log_sum(logits, vocab)))) continue;
    s->loss = log_sum - (double)logits[w->targets[i]];
    if (p->writer.file) base_fill(&p->head, p->writer.records + i * p->writer.record_bytes, logits, log_sum, s->loss);
    if (p->options->against) base_compare(&p->base, w->first + i, logits, vocab, s);
  }
}

static bool score_step(struct perplexity *p, const int32_t *targets, int64_t rows, struct err *e) {
  struct work w = {p, targets, p->done};
  if (!forward_read(&p->en.forward, STAGE_LOGITS, p->logits, e)) return false;
  pool_for(p->pool, rows, 1, score_rows, &w);
  for (int64_t i = 0; i < rows; i++)
    if (p->scores[p->done + i].bad)
      return err_set(
          e, "the logits that predict token %lld are NaN or infinite; run phi3 compare to see where that begins",
          (long long)(targets + i - p->ids.data));
  p->done += rows;
  return !p->writer.file || base_add(&p->writer, rows, e);
}

// Tokens [begin, end - 1) are fed, the last one only predicted; logits are made where a target is counted.
static bool run_span(struct perplexity *p, const struct span *s, struct err *e) {
  struct forward *f = &p->en.forward;
  struct sequence sequence = {0};
  int64_t chunk = f->backend->options.max_rows;
  bool ok = true, long_rope = forward_long_rope(&p->en.model.config, s->end - s->begin);
  for (int64_t at = s->begin, n; ok && at < s->end - 1; at += n) {
    bool counted = at + 1 >= s->first_target;
    int64_t end = counted ? s->end - 1 : s->first_target - 1;
    n = end - at < chunk ? end - at : chunk;
    struct forward_input in = {&sequence, p->ids.data + at, (int32_t)n, long_rope, counted ? LOGITS_ALL : LOGITS_NONE};
    ok = forward_run(f, &in, 1, e) && (!counted || score_step(p, p->ids.data + at + 1, n, e));
  }
  sequence_free(&sequence, &f->pages);
  return ok;
}

static void set_head(struct perplexity *p) {
  const struct config *c = &p->en.model.config;
  int64_t top = p->options->top;
  char device[COMPARE_NAME];
  compare_backend_name(p->en.forward.backend, device);
  p->head = (struct base_header){.magic = {'P', 'H', 'I', '3', 'B', 'A', 'S', 'E'},
                                 .version = BASE_VERSION,
                                 .vocab = (uint32_t)c->vocab_size,
                                 .layers = (uint32_t)c->num_layers,
                                 .hidden = (uint32_t)c->hidden_size,
                                 .top = (uint32_t)(top < 1 || top > c->vocab_size ? c->vocab_size : top),
                                 .tokens = p->ids.count,
                                 .window = p->window,
                                 .stride = p->stride,
                                 .rows = p->count};
  snprintf(p->head.model, sizeof p->head.model, "%.60s", origin_model(p->en.model.path));
  snprintf(p->head.device, sizeof p->head.device, "%.30s", device);
}

static bool prepare(struct perplexity *p, struct err *e) {
  const struct engine_options *o = &p->options->engine;
  int64_t longest = p->window < p->ids.count ? p->window : p->ids.count,
          chunk = o->chunk < longest ? o->chunk : longest;
  if (!engine_start(&p->en, o, longest, 1, (int32_t)chunk, e)) return false;
  chunk = p->en.forward.backend->options.max_rows;
  set_head(p);
  p->logits = mem_alloc((size_t)chunk * (size_t)p->en.model.config.vocab_size, sizeof *p->logits,
                        "the logits; use a smaller --chunk", e);
  if (p->logits) p->scores = mem_alloc((size_t)p->count, sizeof *p->scores, "the scores", e);
  if (p->scores) p->pool = pool_open((int)o->threads, e);
  return p->pool && (!p->options->save || base_create(&p->writer, p->options->save, &p->head, p->ids.data, chunk, e));
}

bool perplexity_run(struct perplexity *p, struct err *e) {
  struct progress progress;
  int64_t fed = 0;
  if (!prepare(p, e)) return false;
  for (struct span s = {0}; next_span(&s, p->ids.count, p->window, p->stride);) fed += s.end - s.begin - 1;
  double start = now_seconds();
  progress_init(&progress, &p->en.forward, fed);
  bool ok = true;
  for (struct span s = {0}; ok && next_span(&s, p->ids.count, p->window, p->stride);) ok = run_span(p, &s, e);
  p->en.forward.observer = (struct forward_observer){0};
  p->seconds = now_seconds() - start;
  return ok && (!p->options->save || base_finish(&p->writer, e));
}

void perplexity_free(struct perplexity *p) {
  base_drop(&p->writer);
  base_close(&p->base);
  pool_close(p->pool);
  mem_free(p->logits);
  mem_free(p->scores);
  ids_free(&p->ids);
  engine_close(&p->en);
}
