// The tables of `phi3 bench`.
#include "driver/bench.h"
#include "driver/text.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { NAME = 11, TIME = 21, TOKEN = 11, RATE = 15, BYTES = 12 };

const char *time_text(struct summary s, char out[TIME_TEXT]) {
  char mean[TEXT_QUANTITY];
  const char *unit = strchr(text_seconds(s.mean, mean), ' ') + 1;
  double sd = s.sd / (strcmp(unit, "s") == 0 ? 1 : strcmp(unit, "ms") == 0 ? 1e-3 : 1e-6);
  int n = snprintf(out, TIME_TEXT, "%s", mean);
  if (s.n > 1) snprintf(out + n, TIME_TEXT - (size_t)n, " ± %.*f %s", text_decimals(sd), sd, unit);
  return out;
}

static void cell(int width, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void cell(int width, const char *fmt, ...) {
  char text[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  text_print(stdout, text, width);
}

static void print_machine(const struct bench *b) {
  printf("Machine     %s, %d cores, %.1f GB; %s\n", b->machine.cpu, b->machine.cores,
         1e-9 * (double)b->machine.memory_bytes, b->machine.os);
}

static void print_card(const struct bench *b) {
  char reasons[NVML_TEXT];
  const struct nvml_reading *r = &b->after;
  printf("Card        %s", b->subject.card);
  if (b->nvml.functions)
    printf(", driver %s; after the experiment %d MHz (memory %d), %.0f W, %.0f °C, clocks held down by: %s",
           b->nvml.card.driver, r->sm_mhz, r->memory_mhz, r->watts, r->celsius, nvml_reasons_text(r->reasons, reasons));
  putchar('\n');
}

static void print_head(const struct bench *b) {
  const struct subject *s = &b->subject;
  char bytes[TEXT_QUANTITY];
  if (b->estimator)
    printf("ESTIMATE    of a Tesla T4 by the virtual GPU; nothing below was timed. Copies and the host's own time are "
           "left out\n");
  printf("Model       %s: %s, %.4g M parameters, %s of weights%s\n", s->name, s->architecture,
         1e-6 * (double)s->parameters, text_bytes(s->weight_bytes, bytes),
         b->estimator ? " in fp16; its shape, with one layer run" : "");
  if (b->estimator) {
    printf("Memory      %.0f GB/s, what cards are seen to read (%s); on paper they have %.0f (%s)\n",
           1e-9 * estimate_bytes_per_second[0], estimate_memory[0], 1e-9 * estimate_bytes_per_second[1],
           estimate_memory[1]);
    if (b->options->blocks < 0)
      printf("Replayed    attention in full; of a projection's blocks some whole waves, within 1.5 %% of all\n");
    return;
  }
  print_machine(b);
  if (s->card[0]) print_card(b);
  const struct backend *backend = b->engine->forward.backend;
  printf("Computing   %s, %d thread%s", s->device, backend->options.threads, backend->options.threads == 1 ? "" : "s");
  if (b->num_rounds)
    printf("; this machine reads %.4g GB/s and makes %.4g GFLOP/s of fp32 multiply-adds",
           1e-9 * b->rounds[0].read_bytes, 1e-9 * b->rounds[0].multiply_adds);
  putchar('\n');
}

static void print_kind(const struct bench *b, const char *name, const struct point *p, const struct timing *t) {
  char text[TIME_TEXT], half[TEXT_QUANTITY], most[TEXT_QUANTITY];
  double rate = timing_rate(t), joules = timing_joules(t), read = point_bandwidth(b, p);
  cell(NAME, "%s", name);
  cell(TIME, "%s", time_text(timing_seconds(t), text));
  cell(TIME, "%s", time_text(timing_first(t), text));
  cell(TOKEN, "%s", t->tokens > 1 ? text_seconds(timing_quantile(t, 0.5), half) : "-");
  cell(TOKEN, "%s", t->tokens > 1 ? text_seconds(timing_quantile(t, 0.95), most) : "-");
  cell(t == &p->cached || !isnan(joules) ? RATE : 0, "%.*f tokens/s", text_decimals(rate), rate);
  if (t == &p->cached) {
    cell(BYTES, "%.*f GB/s", text_decimals(1e-9 * read), 1e-9 * read);
    if (b->subject.roof > 0) cell(isnan(joules) ? 0 : 8, "%.0f %%", 100 * point_share(b, p));
  }
  if (!isnan(joules)) printf("%.3g J/token", joules / (double)(p->batch * t->tokens));
  putchar('\n');
}

static double times_of(const struct point *p) {
  return timing_seconds(&p->uncached).mean / timing_seconds(&p->cached).mean;
}

static void print_check(const struct bench *b) {
  const struct point *p = &b->main;
  if (b->estimator) {
    printf("Experiment  %lld tokens of prompt, %lld new\n", (long long)p->prompt_tokens, (long long)p->new_tokens);
    printf("Check       %s\n\n",
           p->compared
               ? "on the virtual GPU a narrow model of this block gives the same ids with the cache and without it"
               : "not made");
    return;
  }
  printf("Experiment  %lld tokens of prompt, %lld new, %lld run%s after a warm-up\n", (long long)p->prompt_tokens,
         (long long)p->new_tokens, (long long)p->cached.runs, p->cached.runs == 1 ? "" : "s");
  printf("Check       %s\n\n", p->compared ? "with the cache and without it the same ids come out"
                                           : "without --no-uncached the ids would be compared");
}

static void print_experiment(const struct bench *b) {
  const struct point *p = &b->main;
  print_check(b);
  cell(NAME, "%s", b->estimator ? "estimated" : "");
  cell(TIME, "whole");
  cell(TIME, "first token");
  cell(TOKEN, "token p50");
  cell(TOKEN, "p95");
  cell(RATE, "after the first");
  cell(BYTES, "%s", "  read");
  cell(0, "%s\n", b->subject.roof_text);
  print_kind(b, "cached", p, &p->cached);
  if (p->uncached.runs) {
    print_kind(b, "uncached", p, &p->uncached);
    printf("\nThe cache makes it %.*f times as fast.\n", text_decimals(times_of(p)), times_of(p));
  }
  if (p->paper_cached.runs) {
    char cached[TEXT_QUANTITY], uncached[TEXT_QUANTITY] = "";
    printf("With the memory at %.0f GB/s: %s cached%s%s%s.\n", 1e-9 * estimate_bytes_per_second[1],
           text_seconds(timing_seconds(&p->paper_cached).mean, cached), p->uncached.runs ? ", " : "",
           p->uncached.runs ? text_seconds(timing_seconds(&p->paper_uncached).mean, uncached) : "",
           p->uncached.runs ? " uncached" : "");
  }
  char bytes[TEXT_QUANTITY];
  if (!b->subject.card[0] && !b->estimator && b->subject.pass_bytes < (double)b->machine.cache_bytes)
    printf("The weights fit in the processor's cache (%s), so they may be read faster than the machine's memory.\n",
           text_bytes(b->machine.cache_bytes, bytes));
}

// Where a step's time goes.
static void print_breakdown(const struct breakdown *d, const char *what) {
  double total = 0, launches = 0;
  char text[TEXT_QUANTITY];
  for (int op = 0; op < ESTIMATE_OPS; op++) {
    total += d->times[op] * estimate_total(&d->cost[op], 0);
    launches += d->times[op] * d->cost[op].launches;
  }
  printf("\n%s: %s, %.0f launches\n", what, text_seconds(total, text), launches);
  cell(16, "  operation");
  cell(12, "each");
  cell(-7, "times");
  cell(-9, "share");
  cell(-12, "GB/s");
  printf("  bound\n");
  for (int op = 0; op < ESTIMATE_OPS; op++) {
    const struct estimate_cost *c = &d->cost[op];
    double each = estimate_total(c, 0);
    cell(16, "  %s", estimate_op_names[op]);
    cell(12, "%s", text_seconds(each, text));
    cell(-7, "%.0f", d->times[op]);
    cell(-9, "%.1f %%", 100 * each * d->times[op] / total);
    cell(-12, "%.0f", 1e-9 * c->bytes / c->seconds[0]);
    printf("  %s\n", c->bound);
  }
}

static void print_point(const struct point *p) {
  char text[TIME_TEXT];
  if (p->skipped) {
    printf("left out: %s\n", p->skipped);
    return;
  }
  cell(TIME, "%s", time_text(timing_seconds(&p->cached), text));
  if (p->uncached.runs) {
    cell(TIME, "%s", time_text(timing_seconds(&p->uncached), text));
    cell(-5, "%.*f", text_decimals(times_of(p)), times_of(p));
  }
  putchar('\n');
}

static void print_lengths(const struct bench *b) {
  printf("  prompt     new   ");
  cell(TIME, "cached");
  if (!b->options->no_uncached) {
    cell(TIME, "uncached");
    cell(-5, "times");
  }
  putchar('\n');
  for (int64_t i = 0; i < b->num_sweep; i++) {
    const struct point *p = &b->sweep[i];
    if (p->batch > 1) continue;
    printf("%8lld %7lld   ", (long long)p->prompt_tokens, (long long)p->new_tokens);
    print_point(p);
  }
}

static void print_batch(const struct bench *b, const struct point *p) {
  char text[TIME_TEXT], token[TEXT_QUANTITY];
  double rate = timing_rate(&p->cached) * (double)p->batch;
  printf("%7lld    ", (long long)p->batch);
  if (p->skipped) {
    printf("left out: %s\n", p->skipped);
    return;
  }
  cell(TIME, "%s", time_text(timing_seconds(&p->cached), text));
  cell(TOKEN, "%s", p->new_tokens > 1 ? text_seconds(timing_quantile(&p->cached, 0.5), token) : "-");
  cell(RATE, "%.*f tokens/s", text_decimals(rate), rate);
  cell(0, "%.2f times one sequence's", rate / timing_rate(&b->main.cached));
  putchar('\n');
}

static void print_batches(const struct bench *b) {
  bool head = false;
  for (int64_t i = 0; i < b->num_sweep; i++) {
    if (b->sweep[i].batch == 1) continue;
    if (!head) {
      printf("\nSequences at once, the experiment's lengths each, with the cache\n  batch    ");
      cell(TIME, "whole");
      cell(TOKEN, "step p50");
      printf("of all\n");
    }
    head = true;
    print_batch(b, &b->sweep[i]);
  }
}

void bench_print(const struct bench *b) {
  print_head(b);
  print_experiment(b);
  if (b->estimator) {
    char title[96];
    snprintf(title, sizeof title, "A token at position %lld with the cache", (long long)b->decode.position);
    print_breakdown(&b->decode, title);
    snprintf(title, sizeof title, "The pass over %lld tokens of prompt", (long long)b->prefill.rows);
    print_breakdown(&b->prefill, title);
  }
  if (b->num_sweep == 0) return;
  if (b->estimator) printf("\nSweep, estimated\n");
  else printf("\nSweep, %lld run%s each\n", (long long)b->options->sweep_runs, b->options->sweep_runs == 1 ? "" : "s");
  print_lengths(b);
  print_batches(b);
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
  return 1e-9 * c->decode_tokens * b->subject.pass_bytes;
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
