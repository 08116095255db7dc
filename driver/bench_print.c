// The tables of `phi3 bench`.
#include "driver/bench.h"
#include "driver/text.h"
#include <math.h>
#include <stdarg.h>

enum { NAME = 11, TIME = 21, RATE = 18, BYTES = 14 };

// Three digits, and never an exponent.
static int decimals(double v) {
  if (v <= 0) return 0;
  int d = 2 - (int)floor(log10(v));
  return d < 0 ? 0 : d > 3 ? 3 : d;
}

// "6.21 s ± 2.22 s"
static const char *time_text(struct summary s, char out[64]) {
  static const struct {
    const char *name;
    double seconds;
  } units[] = {{"s", 1}, {"ms", 1e-3}, {"µs", 1e-6}};
  int u = s.mean >= 1 ? 0 : s.mean >= 1e-3 ? 1 : 2;
  double mean = s.mean / units[u].seconds, sd = s.sd / units[u].seconds;
  int n = snprintf(out, 64, "%.*f %s", decimals(mean), mean, units[u].name);
  if (s.n > 1) snprintf(out + n, 64 - (size_t)n, " ± %.*f %s", decimals(sd), sd, units[u].name);
  return out;
}

static void cell(int width, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void cell(int width, const char *fmt, ...) {
  char text[128];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  text_print(stdout, text, width);
}

static void print_head(const struct bench *b) {
  const struct model *m = &b->engine->model;
  const struct backend *backend = b->engine->forward.backend;
  printf("Model       %s: %s, %.4g M parameters, %.4g MB of weights\n", m->path, m->config.architecture,
         1e-6 * (double)m->num_params, 1e-6 * (double)m->weight_bytes);
  printf("Machine     %s, %d cores, %.1f GB; %s\n", b->machine.cpu, b->machine.cores,
         1e-9 * (double)b->machine.memory_bytes, b->machine.os);
  printf("Computing   %s, %d threads", backend->ops->name, backend->options.threads);
  if (b->num_rounds)
    printf("; this machine reads %.4g GB/s and makes %.4g GFLOP/s of fp32 multiply-adds",
           1e-9 * b->rounds[0].read_bytes, 1e-9 * b->rounds[0].multiply_adds);
  putchar('\n');
}

static void print_kind(const struct bench *b, const char *name, const struct timing *t, bool bytes) {
  char text[64];
  double rate = timing_rate(t), read = rate * (double)weight_bytes_per_pass(&b->engine->model);
  cell(NAME, "%s", name);
  cell(TIME, "%s", time_text(timing_seconds(t), text));
  cell(TIME, "%s", time_text(timing_first(t), text));
  cell(bytes ? RATE : 0, "%.*f tokens/s", decimals(rate), rate);
  if (bytes) {
    cell(BYTES, "%.*f GB/s", decimals(1e-9 * read), 1e-9 * read);
    if (b->num_rounds) cell(0, "%.0f %%", 100 * read / b->rounds[0].read_bytes);
  }
  putchar('\n');
}

static void print_experiment(const struct bench *b) {
  const struct point *p = &b->main;
  printf("Experiment  %lld tokens of prompt, %lld new, %lld run%s after a warm-up\n", (long long)p->prompt_tokens,
         (long long)p->new_tokens, (long long)p->cached.runs, p->cached.runs == 1 ? "" : "s");
  printf("Check       %s\n\n", p->compared ? "with the cache and without it the same ids come out"
                                           : "without --no-uncached the ids would be compared");
  cell(NAME, "%s", "");
  cell(TIME, "whole");
  cell(TIME, "first token");
  cell(RATE, "after it");
  cell(BYTES, "weights read");
  cell(0, "%s\n", b->num_rounds ? "of the machine's" : "");
  print_kind(b, "cached", &p->cached, true);
  if (p->uncached.runs) {
    print_kind(b, "uncached", &p->uncached, false);
    double times = timing_seconds(&p->uncached).mean / timing_seconds(&p->cached).mean;
    printf("\nThe cache makes it %.*f times as fast.\n", decimals(times), times);
  }
  if (weight_bytes_per_pass(&b->engine->model) < b->machine.cache_bytes)
    printf(
        "The weights fit in the processor's cache (%.4g MB), so they may be read faster than the machine's memory.\n",
        1e-6 * (double)b->machine.cache_bytes);
}

static void print_point(const struct point *p) {
  char text[64];
  printf("%8lld%8lld   ", (long long)p->prompt_tokens, (long long)p->new_tokens);
  if (p->skipped) {
    printf("left out: %s\n", p->skipped);
    return;
  }
  cell(TIME, "%s", time_text(timing_seconds(&p->cached), text));
  if (p->uncached.runs) {
    cell(TIME, "%s", time_text(timing_seconds(&p->uncached), text));
    double times = timing_seconds(&p->uncached).mean / timing_seconds(&p->cached).mean;
    cell(-5, "%.*f", decimals(times), times);
  }
  putchar('\n');
}

void bench_print(const struct bench *b) {
  print_head(b);
  print_experiment(b);
  if (b->num_sweep == 0) return;
  printf("\nSweep, %lld run%s each\n  prompt     new   ", (long long)b->options->sweep_runs,
         b->options->sweep_runs == 1 ? "" : "s");
  cell(TIME, "cached");
  if (!b->options->no_uncached) {
    cell(TIME, "uncached");
    cell(-5, "times");
  }
  putchar('\n');
  for (int64_t i = 0; i < b->num_sweep; i++) print_point(&b->sweep[i]);
}

static struct summary of_rounds(const struct bench *b,
                                double (*figure)(const struct bench *b, const struct ceiling *c)) {
  double x[MAX_ROUNDS];
  for (int64_t i = 0; i < b->num_rounds; i++) x[i] = figure(b, &b->rounds[i]);
  return summarize(x, b->num_rounds, 1);
}

static double read_gb(const struct bench *b, const struct ceiling *c) { return (void)b, 1e-9 * c->read_bytes; }

static double multiply_gflop(const struct bench *b, const struct ceiling *c) {
  return (void)b, 1e-9 * c->multiply_adds;
}

static double decode_gb(const struct bench *b, const struct ceiling *c) {
  return 1e-9 * c->decode_tokens * (double)weight_bytes_per_pass(&b->engine->model);
}

static double prefill_gflop(const struct bench *b, const struct ceiling *c) {
  return (void)b, 1e-9 * c->prefill_operations;
}

static double decode_share(const struct bench *b, const struct ceiling *c) {
  return 100 * decode_gb(b, c) / read_gb(b, c);
}

static double prefill_share(const struct bench *b, const struct ceiling *c) {
  return 100 * prefill_gflop(b, c) / multiply_gflop(b, c);
}

static void print_row(const struct bench *b, const char *name, const char *unit,
                      double (*figure)(const struct bench *, const struct ceiling *)) {
  struct summary s = of_rounds(b, figure);
  cell(34, "%s", name);
  cell(-9, "%.*f", decimals(s.mean), s.mean);
  printf(" ± ");
  cell(8, "%.*f", decimals(s.sd), s.sd);
  printf("%s\n", unit);
}

void bench_print_roof(const struct bench *b) {
  char name[64];
  print_head(b);
  printf("\nCeilings of the machine and what the model makes of them, side by side in %lld rounds\n",
         (long long)b->num_rounds);
  print_row(b, "memory read", "GB/s", read_gb);
  snprintf(name, sizeof name, "decode, %lld tokens after %lld", (long long)b->decode_tokens,
           (long long)b->decode_prompt);
  print_row(b, name, "GB/s of weights", decode_gb);
  print_row(b, "", "% of memory read", decode_share);
  print_row(b, "fp32 multiply-adds", "GFLOP/s", multiply_gflop);
  snprintf(name, sizeof name, "prefill, %lld tokens", (long long)b->prefill_tokens);
  print_row(b, name, "GFLOP/s", prefill_gflop);
  print_row(b, "", "% of the multiply-adds", prefill_share);
}
