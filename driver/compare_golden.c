// One backend's logits against those of a file, such as what another program published for the same ids.
#include "driver/compare.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include "runtime/base/npy.h"
#include <math.h>
#include <string.h>

struct golden {
  struct npy file;
  int64_t rows, columns;
  struct ids at; // position of each row
};

static double element(const struct npy *a, int64_t i) {
  if (strcmp(a->type, "f8") == 0) return ((const double *)a->data)[i];
  if (strcmp(a->type, "f4") == 0) return (double)((const float *)a->data)[i];
  return (double)f16_to_f32(((const uint16_t *)a->data)[i]);
}

static bool read_rows(struct golden *g, const struct compare *c, const struct compare_golden_options *o,
                      struct err *e) {
  bool ok = true;
  if (o->rows && !parse_ids(o->rows, &g->at, e)) return err_context(e, "--golden-rows");
  for (int64_t i = 0; ok && !o->rows && i < g->rows; i++) ok = ids_push(&g->at, (int32_t)i, e);
  if (!ok) return false;
  if (g->at.count != g->rows)
    return err_set(e, "%s has %lld rows, --golden-rows names %lld", o->path, (long long)g->rows,
                   (long long)g->at.count);
  for (int64_t i = 0; i < g->rows; i++)
    if (g->at.data[i] >= c->ids.count)
      return err_set(e, "%s: row %lld is of position %d, but there are %lld tokens", o->path, (long long)i,
                     g->at.data[i], (long long)c->ids.count);
  return true;
}

static bool open_golden(struct golden *g, const struct compare *c, const struct compare_golden_options *o,
                        struct err *e) {
  if (!npy_read(&g->file, o->path, e)) return false;
  const struct npy *a = &g->file;
  bool floats = strcmp(a->type, "f4") == 0 || strcmp(a->type, "f8") == 0 || strcmp(a->type, "f2") == 0;
  if (!floats || a->dims < 1 || npy_count(a) < 1)
    return err_set(e, "%s holds no logits: expected an array [rows, columns] of f2, f4 or f8", o->path);
  g->columns = a->shape[a->dims - 1];
  g->rows = npy_count(a) / g->columns; // [rows, columns], and [1, rows, columns] as PyTorch has it
  if (g->columns > c->en.model.config.vocab_size)
    return err_set(e, "%s has %lld columns, but the vocabulary is %d", o->path, (long long)g->columns,
                   c->en.model.config.vocab_size);
  return read_rows(g, c, o, e);
}

struct totals {
  double error, reference;
  int64_t compared, same_top;
  struct compare_value worst, bad;
  int64_t num_bad;
};

static void add_row(struct totals *t, const struct golden *g, int64_t row, const float *logits) {
  int64_t best_a = 0, best_b = 0;
  for (int64_t i = 0; i < g->columns; i++) {
    double wanted = element(&g->file, row * g->columns + i), d = (double)logits[i] - wanted;
    struct compare_value v = {g->at.data[row], i, (float)wanted, logits[i]};
    if (!isfinite(wanted) || !isfinite(logits[i])) {
      if (t->num_bad++ == 0) t->bad = v;
      continue;
    }
    t->error += d * d;
    t->reference += wanted * wanted;
    t->compared++;
    if (fabs(d) > fabs((double)t->worst.b - (double)t->worst.a)) t->worst = v;
    if (wanted > element(&g->file, row * g->columns + best_a)) best_a = i;
    if (logits[i] > logits[best_b]) best_b = i;
  }
  t->same_top += best_a == best_b;
}

// Runs the ids and looks at each chunk's rows.
static bool run_ids(struct compare *c, const struct golden *g, float *logits, struct totals *t, struct err *e) {
  struct forward *f = &c->en.forward;
  struct sequence sequence = {0};
  struct progress progress;
  int64_t chunk = c->options->a.chunk, vocab = c->en.model.config.vocab_size;
  bool ok = true, long_rope = forward_long_rope(&c->en.model.config, c->ids.count);
  progress_init(&progress, f, c->ids.count);
  for (int64_t at = 0, n; ok && at < c->ids.count; at += n) {
    n = c->ids.count - at < chunk ? c->ids.count - at : chunk;
    struct forward_input in = {&sequence, c->ids.data + at, (int32_t)n, long_rope, LOGITS_ALL};
    ok = forward_run(f, &in, 1, e) && forward_read(f, STAGE_LOGITS, logits, e);
    for (int64_t r = 0; ok && r < g->rows; r++)
      if (g->at.data[r] >= at && g->at.data[r] < at + n) add_row(t, g, r, logits + (g->at.data[r] - at) * vocab);
  }
  f->observer = (struct forward_observer){0};
  sequence_free(&sequence, &f->pages);
  return ok;
}

static bool judge(const struct totals *t, const struct golden *g, const char *path, double limit, struct err *e) {
  if (t->num_bad)
    return err_set(e, "%lld logits are not finite, the first at position %lld, id %lld: the file has %g, the model %g",
                   (long long)t->num_bad, (long long)t->bad.position, (long long)t->bad.channel, (double)t->bad.a,
                   (double)t->bad.b);
  double error = t->error == 0 ? 0 : sqrt(t->error / t->reference);
  printf("Golden      %s: %lld rows of %lld logits\n", path, (long long)g->rows, (long long)g->columns);
  printf("Error       %.3g relative (gate: %.3g); largest %.3g at position %lld, id %lld: golden %g, here %g\n", error,
         limit, fabs((double)t->worst.b - (double)t->worst.a), (long long)t->worst.position,
         (long long)t->worst.channel, (double)t->worst.a, (double)t->worst.b);
  printf("Same top    %lld of %lld rows\n", (long long)t->same_top, (long long)g->rows);
  return error <= limit ||
         err_set(e, "%s: the logits' relative error is %.3g, past the gate of %.3g", path, error, limit);
}

bool compare_golden(struct compare *c, const struct compare_golden_options *o, struct err *e) {
  struct golden g = {0};
  struct totals t = {0};
  const struct engine_options *a = &c->options->a;
  int64_t chunk = a->chunk < c->ids.count ? a->chunk : c->ids.count;
  float *logits = NULL;
  bool ok = open_golden(&g, c, o, e) && engine_start(&c->en, a, c->ids.count, 1, (int32_t)chunk, e);
  if (ok)
    ok = (logits = mem_alloc((size_t)chunk * (size_t)c->en.model.config.vocab_size, sizeof *logits,
                             "the logits; use a smaller --chunk", e)) != NULL;
  ok = ok && run_ids(c, &g, logits, &t, e);
  if (ok) {
    char name[COMPARE_NAME];
    const struct backend *b = c->en.forward.backend;
    bool half = strcmp(b->ops->name, "cpu") != 0 || (!b->options.fp64 && b->options.page_type == PAGE_F16);
    printf("Model       %s on %s\n", c->en.model.path, compare_backend_name(b, name));
    ok = judge(&t, &g, o->path, o->max_error >= 0 ? (double)o->max_error : half ? 1e-2 : 1e-5, e);
  }
  mem_free(logits);
  npy_free(&g.file);
  ids_free(&g.at);
  return ok;
}
