// What follows from samples: means, quantiles, bandwidth, and what is known of a model before it runs.
#include "driver/bench.h"
#include "driver/origin.h"
#include <math.h>
#include <string.h>

struct summary summarize(const double *x, int64_t n, int64_t stride) {
  struct summary s = {.n = n};
  for (int64_t i = 0; i < n; i++) s.mean += x[i * stride] / (double)n;
  for (int64_t i = 0; i < n; i++) s.sd += (x[i * stride] - s.mean) * (x[i * stride] - s.mean);
  s.sd = n > 1 ? sqrt(s.sd / (double)(n - 1)) : 0;
  return s;
}

struct summary timing_seconds(const struct timing *t) {
  return summarize(t->at + t->tokens - 1, t->runs, t->tokens);
}

struct summary timing_first(const struct timing *t) {
  return summarize(t->at, t->runs, t->tokens);
}

double timing_rate(const struct timing *t) {
  double seconds = timing_seconds(t).mean - timing_first(t).mean;
  return seconds > 0 ? (double)(t->tokens - 1) / seconds : 0;
}

// Times between tokens that are at most `most`.
static int64_t count_to(const struct timing *t, double most) {
  int64_t n = 0;
  for (int64_t run = 0; run < t->runs; run++)
    for (const double *at = t->at + run * t->tokens, *end = at + t->tokens - 1; at < end; at++) n += at[1] - at[0] <= most;
  return n;
}

// The nearest rank: a time that was measured. Found by halving the range of the bits, which grow with the number: sorting
// would need memory, and could fail.
double timing_quantile(const struct timing *t, double q) {
  int64_t n = (t->tokens - 1) * t->runs, rank = (int64_t)ceil(q * (double)n);
  const double most = INFINITY;
  double v;
  uint64_t low = 0, high;
  if (n < 1) return 0;
  memcpy(&high, &most, sizeof high);
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    memcpy(&v, &middle, sizeof v);
    if (count_to(t, v) >= (rank < 1 ? 1 : rank)) high = middle;
    else low = middle + 1;
  }
  memcpy(&v, &low, sizeof v);
  return v;
}

double timing_joules(const struct timing *t) { return t->runs ? summarize(t->joules, t->runs, 1).mean : NAN; }

// Keys that the queries from position `first` on see, mean of `count`.
static double mean_keys(int64_t first, int64_t count, int64_t window) {
  double sum = 0;
  for (int64_t i = first; i < first + count; i++) sum += (double)(window && i + 1 > window ? window : i + 1);
  return count > 0 ? sum / (double)count : 0;
}

double point_bandwidth(const struct bench *b, const struct point *p) {
  const struct subject *s = &b->subject;
  double rate = timing_rate(&p->cached);
  if (p->decode_bytes > 0) return p->decode_bytes * rate;
  double keys = mean_keys(p->prompt_tokens, p->new_tokens - 1, s->window);
  return rate * (s->pass_bytes + (double)p->batch * keys * s->key_value_bytes);
}

double point_share(const struct bench *b, const struct point *p) {
  return b->subject.roof > 0 ? point_bandwidth(b, p) / b->subject.roof : 0;
}

static int64_t layer_elements(const struct config *c) {
  int64_t q = (int64_t)c->num_heads * c->head_dim, kv = (int64_t)c->num_kv_heads * c->head_dim, h = c->hidden_size;
  return (q + 2 * kv) * h + h * q + 3 * h * (int64_t)c->intermediate_size;
}

// Of a shape: fp16, as the GPU holds it.
static void shape_subject(struct subject *s, const struct config *c) {
  int64_t table = (int64_t)c->vocab_size * c->hidden_size, layers = c->num_layers * layer_elements(c),
          norms = (2 * (int64_t)c->num_layers + 1) * c->hidden_size;
  s->parameters = layers + norms + table * (c->tied_embeddings ? 1 : 2);
  s->weight_bytes = 2 * (s->parameters - norms) + 4 * norms;
  s->pass_bytes = (double)(2 * (layers + table) + 4 * norms);
}

void bench_subject(struct bench *b, const struct config *c, const struct model *m) {
  struct subject *s = &b->subject;
  const char *device = s->device;
  bool cpu = strcmp(device, "cpu") == 0;
  *s = (struct subject){.layers = c->num_layers, .window = c->sliding_window, .device = device};
  snprintf(s->architecture, sizeof s->architecture, "%s", c->architecture);
  shape_subject(s, c);
  snprintf(s->name, sizeof s->name, "%s", origin_model(m ? m->path : c->name));
  snprintf(s->type, sizeof s->type, "%s", m ? dtype_info(m->layers[0].qkv.parts[0].tensor->type)->name : "F16");
  if (m) s->weight_bytes = m->weight_bytes;
  if (m && cpu) s->pass_bytes = (double)weight_bytes_per_pass(m);
  int value = cpu ? (b->options->engine.precision == 1 ? 8 : b->options->engine.pages == PAGE_F16 ? 2 : 4) : 2;
  s->key_value_bytes = 2.0 * value * c->num_layers * c->num_kv_heads * c->head_dim;
}
