// Which prompt and output lengths are measured, and the measuring of them.
#include "driver/bench.h"
#include "runtime/base/mem.h"
#include <math.h>

// Tokens computed without the cache: the whole sequence for each new token.
static double uncached_work(int64_t prompt, int64_t new_tokens) {
  double p = (double)prompt, n = (double)new_tokens;
  return n * p + n * (n - 1) / 2;
}

// Seconds of one run of each kind, by the experiment's speed.
static double expected_seconds(const struct bench *b, const struct point *p) {
  double work = uncached_work(p->prompt_tokens, p->new_tokens), first = timing_first(&b->main.cached).mean;
  double token = (timing_seconds(&b->main.cached).mean - first) / fmax(1, (double)b->main.new_tokens - 1);
  double seconds = first / (double)b->main.prompt_tokens * (double)p->prompt_tokens + token * (double)p->new_tokens;
  if (p->batch > 1) return seconds * (double)p->batch; // at most: what is read once for all makes it less
  if (b->main.uncached.runs)
    seconds += timing_seconds(&b->main.uncached).mean * work / uncached_work(b->main.prompt_tokens, b->main.new_tokens);
  return seconds;
}

static void fit_positions(struct bench *b, int64_t positions) {
  for (int64_t i = 0; i < b->num_sweep; i++)
    if (b->sweep[i].prompt_tokens > positions - b->sweep[i].new_tokens)
      b->sweep[i].skipped = "more tokens than the model has positions";
}

// Skips the dearest points until the rest fits in the time; returns what the rest takes.
static double fit_time(struct bench *b) {
  double runs = (double)b->options->sweep_runs, most = (double)b->options->sweep_seconds, total = 0;
  for (int64_t i = 0; i < b->num_sweep; i++)
    if (!b->sweep[i].skipped) total += runs * expected_seconds(b, &b->sweep[i]);
  while (total > most) {
    struct point *dearest = NULL;
    for (int64_t i = 0; i < b->num_sweep; i++) {
      struct point *p = &b->sweep[i];
      if (!p->skipped && (!dearest || expected_seconds(b, p) > expected_seconds(b, dearest))) dearest = p;
    }
    if (!dearest) break;
    dearest->skipped = "the sweep would take too long; see --sweep-seconds";
    total -= runs * expected_seconds(b, dearest);
  }
  return fmax(0, total);
}

bool bench_plan(struct bench *b, const struct ids *prompts, const struct ids *outputs, const struct ids *batches,
                int64_t positions, struct err *e) {
  const struct bench_options *o = b->options;
  b->sweep = mem_alloc((size_t)(prompts->count * outputs->count + batches->count), sizeof *b->sweep, "the sweep", e);
  if (!b->sweep) return false;
  for (int64_t i = 0; i < outputs->count; i++)
    for (int64_t j = 0; j < prompts->count; j++)
      b->sweep[b->num_sweep++] =
          (struct point){.prompt_tokens = prompts->data[j], .new_tokens = outputs->data[i], .batch = 1};
  for (int64_t i = 0; i < batches->count; i++)
    if (batches->data[i] > 1)
      b->sweep[b->num_sweep++] =
          (struct point){.prompt_tokens = b->prompt.count, .new_tokens = o->new_tokens, .batch = batches->data[i]};
  fit_positions(b, positions);
  return true;
}

bool bench_sweep(struct bench *b, struct err *e) {
  double ahead = fit_time(b);
  for (int64_t i = 0; i < b->num_sweep; i++) {
    struct point *p = &b->sweep[i];
    if (p->skipped) continue;
    char name[64];
    int n =
        snprintf(name, sizeof name, "sweep, %lld + %lld tokens", (long long)p->prompt_tokens, (long long)p->new_tokens);
    if (p->batch > 1) snprintf(name + n, sizeof name - (size_t)n, ", %lld sequences", (long long)p->batch);
    ahead -= (double)b->options->sweep_runs * expected_seconds(b, p);
    if (!bench_point(b, p, name, b->options->sweep_runs, false, fmax(0, ahead), e)) return false;
  }
  return true;
}
