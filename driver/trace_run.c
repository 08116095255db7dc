#include "driver/trace.h"
#include "runtime/base/mem.h"
#include "runtime/base/npy.h"
#include "runtime/model/utf8.h"
#include <math.h>
#include <string.h>

static bool add_stage(struct trace *t, int64_t width, const char *dump, struct err *e, const char *fmt,
                      int32_t number) {
  struct trace_stage *s = &t->stages[t->num_stages++];
  *s = (struct trace_stage){.width = width};
  snprintf(s->name, sizeof s->name, fmt, number);
  return !dump || stage_file_open(&s->file, dump, s->name, t->ids.count, width, e);
}

static bool make_stages(struct trace *t, const struct forward *f, const char *dump, struct err *e) {
  const struct config *c = &t->engine->model.config;
  int64_t hidden = c->hidden_size, widest = hidden > c->vocab_size ? hidden : c->vocab_size;
  t->stages = mem_alloc((size_t)c->num_layers + 3, sizeof *t->stages, "the stages", e);
  if (!t->stages) return false;
  t->rows = mem_alloc((size_t)f->backend->options.max_rows * (size_t)widest, sizeof *t->rows,
                      "a stage's rows; use a smaller --chunk", e);
  if (!t->rows || (dump && !file_make_dir(dump, e))) return false;
  bool ok = add_stage(t, hidden, dump, e, "embedding", 0);
  for (int32_t i = 0; ok && i < c->num_layers; i++) ok = add_stage(t, hidden, dump, e, "layer_%02d", i);
  return ok && add_stage(t, hidden, dump, e, "norm", 0) && add_stage(t, c->vocab_size, dump, e, "logits", 0);
}

struct watcher {
  struct trace *trace;
  struct forward_observer inner; // progress bar and Ctrl-C
};

// Reads a stage of the step just computed: all rows, in the order of the prompt.
static bool take(struct trace *t, struct trace_stage *s, struct backend *b, const struct step *step, enum stage stage,
                 struct err *e) {
  if (!b->ops->read(b, step, stage, t->rows, e)) return false;
  size_t count = (size_t)step->num_rows * (size_t)s->width;
  for (size_t i = 0; i < count; i++) s->squares += (double)t->rows[i] * (double)t->rows[i];
  size_t shown = s->width < TRACE_FIRST ? (size_t)s->width : TRACE_FIRST;
  memcpy(s->first, t->rows + count - (size_t)s->width, shown * sizeof *s->first);
  return !s->file.file || stage_file_add(&s->file, t->rows, count, e);
}

static bool after(void *ctx, struct backend *b, const struct step *step, enum operation op, int32_t layer,
                  struct err *e) {
  struct watcher *w = ctx;
  struct trace *t = w->trace;
  struct trace_stage *norm = &t->stages[t->num_stages - 2], *logits = norm + 1;
  if (w->inner.after && !w->inner.after(w->inner.ctx, b, step, op, layer, e)) return false;
  if (op == OP_EMBED) return take(t, &t->stages[0], b, step, STAGE_HIDDEN, e);
  if (op == OP_MLP_OUT) return take(t, &t->stages[1 + layer], b, step, STAGE_HIDDEN, e);
  if (op == OP_LOGITS) return take(t, norm, b, step, STAGE_NORM, e) && take(t, logits, b, step, STAGE_LOGITS, e);
  return true;
}

// The prompt's whole length decides on longrope's factors, however it is cut.
static bool run_chunks(struct trace *t, struct forward *f, int64_t chunk, struct err *e) {
  struct sequence sequence = {0};
  bool ok = true, long_rope = forward_long_rope(&t->engine->model.config, t->ids.count);
  for (int64_t at = 0, n; ok && at < t->ids.count; at += n) {
    n = t->ids.count - at < chunk ? t->ids.count - at : chunk;
    struct forward_input in = {&sequence, t->ids.data + at, (int32_t)n, long_rope, LOGITS_ALL};
    ok = forward_run(f, &in, 1, e);
    if (ok && at + n == t->ids.count) {
      int64_t vocab = t->stages[t->num_stages - 1].width;
      memmove(t->rows, t->rows + (n - 1) * vocab, (size_t)vocab * sizeof *t->rows);
    }
  }
  sequence_free(&sequence, &f->pages);
  return ok;
}

// All files are complete before the first one takes its name.
static bool finish_dump(struct trace *t, const char *dump, struct err *e) {
  for (int32_t i = 0; i < t->num_stages; i++)
    if (!stage_file_close(&t->stages[i].file, e)) return false;
  char *path = file_join(dump, "ids.npy", e);
  bool ok = path != NULL;
  for (int32_t i = 0; ok && i < t->num_stages; i++) ok = stage_file_rename(&t->stages[i].file, e);
  ok = ok && npy_write(path, "i4", 1, &t->ids.count, t->ids.data, e);
  mem_free(path);
  for (int32_t i = 0; !ok && i < t->num_stages; i++) stage_file_undo(&t->stages[i].file);
  return ok;
}

bool trace_run(struct trace *t, struct forward *f, int64_t chunk, const char *dump, struct err *e) {
  struct watcher w = {t, f->observer};
  int64_t most = f->backend->options.max_rows;
  if (!make_stages(t, f, dump, e)) return false;
  f->observer = (struct forward_observer){.after = after, .ctx = &w};
  bool ok = run_chunks(t, f, chunk < most ? chunk : most, e);
  f->observer = w.inner;
  return ok && (!dump || finish_dump(t, dump, e));
}

// The prompt's text. An id may be a row of the embedding without a piece: it has no text.
static bool decode(struct trace *t, struct err *e) {
  struct buffer text = {0};
  struct decoder *d = decoder_open(t->engine->tokenizer, false, e);
  bool ok = d != NULL;
  size_t len;
  for (int64_t i = 0; ok && i <= t->ids.count; i++) {
    const char *s = "";
    len = 0;
    if (i == t->ids.count) s = decoder_finish(d, &len, e);
    else if (tokenizer_piece(t->engine->tokenizer, t->ids.data[i], NULL)) s = decoder_push(d, t->ids.data[i], &len, e);
    ok = s && buffer_append(&text, s, len, e);
  }
  if (d) decoder_close(d);
  t->text = (struct trace_text){text.data, text.len};
  return ok;
}

// What the candidate stands for, unless it has no piece or is only a part of a character.
static bool candidate_text(const struct trace *t, struct trace_candidate *c, struct err *e) {
  const struct tokenizer *tokenizer = t->engine->tokenizer;
  if (!tokenizer || !tokenizer_piece(tokenizer, c->id, NULL)) return true;
  struct trace_text *text = &c->text;
  if (!(text->data = tokenizer_token_text(tokenizer, c->id, &text->len, e))) return false;
  if (utf8_valid(text->data, text->len) == text->len) return true;
  mem_free(text->data);
  *text = (struct trace_text){0};
  return true;
}

static bool rank_error(const struct trace *t, struct err *e) {
  for (int32_t i = 0; i < t->num_stages; i++)
    if (!isfinite(t->stages[i].squares))
      return err_set(e, "%s is the first stage with a value that is not finite", t->stages[i].name);
  return false;
}

bool trace_rank(struct trace *t, int64_t count, struct err *e) {
  struct sampler s;
  struct sampler_options greedy = sampler_greedy();
  if (!sampler_init(&s, t->engine->model.config.vocab_size, &greedy, e)) return false;
  int32_t n = sampler_candidates(&s, t->rows, NULL, 0, e);
  bool ok = n > 0 || rank_error(t, e);
  if (n > count) n = (int32_t)count;
  if (ok) ok = (t->top = mem_alloc((size_t)n, sizeof *t->top, "the candidates", e)) != NULL;
  if (ok && t->engine->tokenizer) ok = decode(t, e);
  for (; ok && t->num_top < n; t->num_top++) {
    struct candidate from = s.candidates[t->num_top];
    t->top[t->num_top] = (struct trace_candidate){from.id, from.logit, from.probability, {0}};
    ok = candidate_text(t, &t->top[t->num_top], e);
  }
  sampler_free(&s);
  return ok;
}

void trace_free(struct trace *t) {
  for (int32_t i = 0; i < t->num_stages; i++) stage_file_free(&t->stages[i].file);
  for (int32_t i = 0; i < t->num_top; i++) mem_free(t->top[i].text.data);
  mem_free(t->top);
  mem_free(t->stages);
  mem_free(t->rows);
  mem_free(t->text.data);
  ids_free(&t->ids);
  *t = (struct trace){0};
}
