#include "runtime/sampler.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

struct sampler_options sampler_greedy(void) {
  return (struct sampler_options){.top_p = 1, .repetition_penalty = 1};
}

bool sampler_init(struct sampler *s, int32_t vocab_size, const struct sampler_options *o, struct err *e) {
  *s = (struct sampler){.options = *o, .vocab_size = vocab_size, .state = o->seed};
  s->candidates = mem_alloc((size_t)vocab_size, sizeof *s->candidates, "the sampler", e);
  if (s->candidates) s->spare = mem_alloc((size_t)vocab_size, sizeof *s->spare, "the sampler", e);
  if (s->spare) s->seen = mem_alloc((size_t)vocab_size, 1, "the sampler", e);
  if (s->seen) return true;
  sampler_free(s);
  return false;
}

void sampler_free(struct sampler *s) {
  mem_free(s->candidates);
  mem_free(s->spare);
  mem_free(s->seen);
  *s = (struct sampler){0};
}

// SplitMix64: Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
double sampler_random(struct sampler *s) {
  uint64_t z = s->state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

// A number that is the smaller the larger the logit is; equal for the two zeros.
static uint32_t rank(float logit) {
  uint32_t bits;
  logit += 0.0f;
  memcpy(&bits, &logit, sizeof bits);
  return bits >> 31 ? bits : bits ^ 0x7fffffff;
}

// By falling logit, those of one logit in the order in which they stand: a radix sort, least digit first, as a
// comparison sort of a whole vocabulary takes a third of a small model's time.
static void sort(struct sampler *s) {
  enum { BITS = 11, DIGITS = 1 << BITS };
  for (int shift = 0; shift < 32; shift += BITS) {
    int32_t start[DIGITS + 1] = {0};
    for (int32_t i = 0; i < s->vocab_size; i++) start[(rank(s->candidates[i].logit) >> shift) % DIGITS + 1]++;
    for (int d = 1; d < DIGITS; d++) start[d] += start[d - 1];
    for (int32_t i = 0; i < s->vocab_size; i++)
      s->spare[start[(rank(s->candidates[i].logit) >> shift) % DIGITS]++] = s->candidates[i];
    struct candidate *sorted = s->spare;
    s->spare = s->candidates;
    s->candidates = sorted;
  }
}

static void penalize(struct sampler *s, const int32_t *history, int64_t n) {
  float penalty = s->options.repetition_penalty;
  if (penalty == 1) return;
  for (int64_t i = 0; i < n; i++) {
    int32_t id = history[i];
    if (id < 0 || id >= s->vocab_size || s->seen[id]) continue;
    s->seen[id] = 1;
    float *l = &s->candidates[id].logit;
    *l = *l < 0 ? *l * penalty : *l / penalty;
  }
  for (int64_t i = 0; i < n; i++)
    if (history[i] >= 0 && history[i] < s->vocab_size) s->seen[history[i]] = 0;
}

// Probabilities of the first n, which are in falling order.
static void softmax(struct candidate *c, int32_t n) {
  double sum = 0;
  for (int32_t i = 0; i < n; i++) sum += c[i].probability = exp((double)c[i].logit - c[0].logit);
  for (int32_t i = 0; i < n; i++) c[i].probability /= sum;
}

static int32_t cut(struct candidate *c, int32_t n, const struct sampler_options *o) {
  if (o->top_k > 0 && o->top_k < n) {
    float smallest = c[o->top_k - 1].logit;
    while (c[n - 1].logit < smallest) n--;
  }
  while (n > 1 && c[n - 1].logit == -INFINITY) n--;
  softmax(c, n);
  if (o->top_p < 1) {
    double before = c[0].probability;
    int32_t keep = 1;
    while (keep < n && before < (double)o->top_p) before += c[keep++].probability;
    n = keep;
  }
  double least = (double)o->min_p * c[0].probability;
  while (n > 1 && c[n - 1].probability < least) n--;
  softmax(c, n);
  return n;
}

// The largest of n numbers, in columns, so that the compiler makes vectors of them.
static float largest(const float *x, int32_t n) {
  enum { COLUMNS = 16 };
  float max[COLUMNS], all = -INFINITY;
  int32_t i = 0;
  for (int c = 0; c < COLUMNS; c++) max[c] = -INFINITY;
  for (; i + COLUMNS <= n; i += COLUMNS)
    for (int c = 0; c < COLUMNS; c++) max[c] = x[i + c] > max[c] ? x[i + c] : max[c];
  for (int c = 0; c < COLUMNS; c++) all = max[c] > all ? max[c] : all;
  for (; i < n; i++) all = x[i] > all ? x[i] : all;
  return all;
}

static bool check(const float *logits, int32_t n, struct err *e) {
  int bad = 0;
  for (int32_t i = 0; i < n; i++) bad |= !(logits[i] < INFINITY);
  for (int32_t i = 0; bad && i < n; i++)
    if (!(logits[i] < INFINITY))
      return err_set(
          e, "the logit of id %d is %f: the model's weights or this backend are broken; run phi3 trace to see where", i,
          (double)logits[i]);
  return largest(logits, n) > -INFINITY ||
         err_set(
             e,
             "every logit is -infinity: the model's weights or this backend are broken; run phi3 trace to see where");
}

static bool load(struct sampler *s, const float *logits, struct err *e) {
  if (!check(logits, s->vocab_size, e)) return false;
  for (int32_t i = 0; i < s->vocab_size; i++) s->candidates[i] = (struct candidate){.id = i, .logit = logits[i]};
  return true;
}

int32_t sampler_candidates(struct sampler *s, const float *logits, const int32_t *history, int64_t n, struct err *e) {
  if (!load(s, logits, e)) return 0;
  penalize(s, history, n);
  if (s->options.temperature > 0)
    for (int32_t i = 0; i < s->vocab_size; i++) s->candidates[i].logit /= s->options.temperature;
  sort(s);
  if (s->candidates[0].logit == INFINITY) { // a tiny temperature overflowed: what is left is the largest
    s->candidates[0].logit = 0;
    s->candidates[0].probability = 1;
    return 1;
  }
  return cut(s->candidates, s->vocab_size, &s->options);
}

static int32_t greedy(struct sampler *s, const float *logits, const int32_t *history, int64_t n, struct err *e) {
  int32_t best = 0;
  if (s->options.repetition_penalty == 1) {
    if (!check(logits, s->vocab_size, e)) return -1;
    float max = largest(logits, s->vocab_size);
    while (logits[best] != max) best++;
    return best;
  }
  if (!load(s, logits, e)) return -1;
  penalize(s, history, n);
  for (int32_t i = 1; i < s->vocab_size; i++)
    if (s->candidates[i].logit > s->candidates[best].logit) best = i;
  return best;
}

int32_t sampler_pick(struct sampler *s, const float *logits, const int32_t *history, int64_t n, struct err *e) {
  if (s->options.temperature <= 0) return greedy(s, logits, history, n, e);
  int32_t count = sampler_candidates(s, logits, history, n, e);
  if (!count) return -1;
  double u = sampler_random(s);
  for (int32_t i = 0; i < count - 1; i++) {
    if (u < s->candidates[i].probability) return s->candidates[i].id;
    u -= s->candidates[i].probability;
  }
  return s->candidates[count - 1].id;
}
