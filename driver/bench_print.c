// The tables of `phi3 bench`.
#include "driver/bench.h"
#include "driver/text.h"
#include <stdarg.h>
#include <string.h>

enum { NAME = 11, TIME = 21, RATE = 18, BYTES = 14 };

// "6.21 s ± 2.22 s", the deviation in the unit of the mean.
static const char *time_text(struct summary s, char out[64]) {
  char mean[TEXT_QUANTITY];
  const char *unit = strchr(text_seconds(s.mean, mean), ' ') + 1;
  double sd = s.sd / (strcmp(unit, "s") == 0 ? 1 : strcmp(unit, "ms") == 0 ? 1e-3 : 1e-6);
  int n = snprintf(out, 64, "%s", mean);
  if (s.n > 1) snprintf(out + n, 64 - (size_t)n, " ± %.*f %s", text_decimals(sd), sd, unit);
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
  char bytes[TEXT_QUANTITY];
  printf("Model       %s: %s, %.4g M parameters, %s of weights\n", m->path, m->config.architecture,
         1e-6 * (double)m->num_params, text_bytes(m->weight_bytes, bytes));
  printf("Machine     %s, %d cores, %.1f GB; %s\n", b->machine.cpu, b->machine.cores,
         1e-9 * (double)b->machine.memory_bytes, b->machine.os);
  printf("Computing   %s, %d thread%s", backend->ops->name, backend->options.threads,
         backend->options.threads == 1 ? "" : "s");
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
  cell(bytes ? RATE : 0, "%.*f tokens/s", text_decimals(rate), rate);
  if (bytes) {
    cell(BYTES, "%.*f GB/s", text_decimals(1e-9 * read), 1e-9 * read);
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
    printf("\nThe cache makes it %.*f times as fast.\n", text_decimals(times), times);
  }
  char bytes[TEXT_QUANTITY];
  if (weight_bytes_per_pass(&b->engine->model) < b->machine.cache_bytes)
    printf("The weights fit in the processor's cache (%s), so they may be read faster than the machine's memory.\n",
           text_bytes(b->machine.cache_bytes, bytes));
}

static void print_point(const struct point *p) {
  char text[64];
  printf("%8lld %7lld   ", (long long)p->prompt_tokens, (long long)p->new_tokens);
  if (p->skipped) {
    printf("left out: %s\n", p->skipped);
    return;
  }
  cell(TIME, "%s", time_text(timing_seconds(&p->cached), text));
  if (p->uncached.runs) {
    cell(TIME, "%s", time_text(timing_seconds(&p->uncached), text));
    double times = timing_seconds(&p->uncached).mean / timing_seconds(&p->cached).mean;
    cell(-5, "%.*f", text_decimals(times), times);
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
  cell(-9, "%.*f", text_decimals(s.mean), s.mean);
  printf(" ± ");
  cell(8, "%.*f", text_decimals(s.sd), s.sd);
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
