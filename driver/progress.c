#include "driver/driver.h"
#include <stdio.h>
#include <unistd.h>

enum { WIDTH = 30 };

static const double first_shown_after = 0.5, shown_every = 0.1; // seconds

static void draw(struct progress *p, double now) {
  int full = (int)(p->done * WIDTH / p->total);
  double left = p->done > 0 ? (now - p->start) * (double)(p->total - p->done) / (double)p->done : 0;
  fprintf(stderr, "\rprompt [");
  for (int i = 0; i < WIDTH; i++) fputc(i < full ? '#' : ' ', stderr);
  fprintf(stderr, "] %lld of %lld tokens, %.0f s left ", (long long)p->done, (long long)p->total, left);
  p->shown = now;
}

static void clear(struct progress *p) {
  if (p->shown > 0) fprintf(stderr, "\r\033[K");
  p->shown = 0;
}

static bool after(void *ctx, struct backend *b, const struct step *s, enum operation op, int32_t layer, struct err *e) {
  struct progress *p = ctx;
  int32_t layers = b->model->config.num_layers;
  if (interrupted()) {
    clear(p);
    return err_set(e, "interrupted");
  }
  if (!p->visible || p->done >= p->total || op != OP_MLP_OUT) return true;
  double now = now_seconds();
  if (layer == layers - 1) p->done += s->num_rows;
  if (p->done >= p->total) clear(p);
  else if (now - p->start > first_shown_after && now - p->shown > shown_every) draw(p, now);
  return true;
}

void progress_init(struct progress *p, struct forward *f, int64_t total) {
  *p = (struct progress){.total = total, .start = now_seconds(), .visible = isatty(STDERR_FILENO)};
  f->observer = (struct forward_observer){.after = after, .ctx = p, .lazy = true};
}
