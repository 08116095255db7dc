// The choice of the next id, against runtime/sampler.c's candidates.
#include "bench/kernel_bench.h"
#include "runtime/base/mem.h"
#include "runtime/sampler.h"
#include <math.h>
#include <string.h>

enum { THREADS = 1024 };

static const struct way {
  const char *name;
  float temperature, top_p;
  int32_t top_k;
} ways[] = {{"greedy", 0, 1, 0}, {"temperature", 1, 1, 0}, {"top_k_50_top_p_0.9", 1, 0.9f, 50}};

static bool add_cases(struct case_list *l, enum gpu_kernel k, struct err *e) {
  static const int32_t rows[] = {1, 16};
  for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      struct kernel_case c = {.kernel = k, .family = &sample_family, .variant = ways[w].name, .rows = rows[i], .published = rows[i] == 1 && w != 1};
      if (!case_add(l, &c, e, "%s/rows:%d", c.variant, c.rows)) return false;
    }
  return true;
}

struct sample_work {
  const struct kernel_case *c;
  const struct way *way;
  float *logits;
  uint64_t *random; // units of 2^-64
  struct phi3_sample p;
  struct device_buffer in, shares, ids;
};

static bool open_sample(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct sample_work *w = mem_alloc(1, sizeof *w, "a case", e);
  if (!(*work = w)) return false;
  w->c = c;
  for (w->way = ways; strcmp(w->way->name, c->variant) != 0;) w->way++;
  w->logits = data_floats(d, (int64_t)c->rows * VOCAB, 3, seed, e);
  w->random = w->logits ? mem_alloc((size_t)c->rows, sizeof *w->random, "random numbers", e) : NULL;
  if (!w->random) return false;
  for (int32_t r = 0; r < c->rows; r++) w->random[r] = data_random(&seed) >> 11 << 11;
  if (!buffer_open(d, &w->in, w->logits, (size_t)c->rows * VOCAB * 4, e) || !buffer_open(d, &w->shares, w->random, (size_t)c->rows * 8, e) ||
      !buffer_open(d, &w->ids, NULL, (size_t)c->rows * 4, e))
    return false;
  w->p = (struct phi3_sample){w->in.p, w->shares.p, w->ids.p, c->rows, VOCAB, w->way->top_k, w->way->temperature, w->way->top_p, 0};
  return true;
}

static void close_sample(struct bench_device *d, void *work) {
  struct sample_work *w = work;
  if (!w) return;
  buffer_close(d, &w->in), buffer_close(d, &w->shares), buffer_close(d, &w->ids);
  mem_free(w->logits), mem_free(w->random), mem_free(w);
}

static bool reset_sample(struct bench_device *d, void *work, struct err *e) { return buffer_poison(d, &((struct sample_work *)work)->ids, e); }

static bool launch_sample(struct bench_device *d, void *work, struct err *e) {
  struct sample_work *w = work;
  return gpu_launch(&d->gpu, w->c->kernel, (unsigned[]){(unsigned)w->c->rows, 1, 1}, THREADS, 0, &w->p, e);
}

// Whether the drawn share falls on this id; rounding may move a candidate's edge a little.
static bool fits(struct sampler *s, const struct sample_work *w, int32_t row, int32_t id, struct err *e) {
  static const double slack = 2e-5;
  int32_t n = sampler_candidates(s, w->logits + (int64_t)row * VOCAB, NULL, 0, e);
  double share = (double)w->random[row] * 0x1p-64, before = 0;
  if (w->way->temperature <= 0) return n > 0 && s->candidates[0].id == id;
  for (int32_t i = 0; i < n; before += s->candidates[i++].probability)
    if (s->candidates[i].id == id) return share >= before - slack && share <= before + s->candidates[i].probability + slack;
  return false;
}

static bool check_sample(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct sample_work *w = work;
  struct sampler_options o = {w->way->temperature, w->way->top_k, w->way->top_p, 0, 1, 0};
  struct sampler s;
  if (!sampler_init(&s, VOCAB, &o, e)) return false;
  int32_t *ids = buffer_read(d, &w->ids, e);
  for (int32_t r = 0; r < w->c->rows && ids; r++) agreement_add(a, fits(&s, w, r, ids[r], e) ? 1 : 0, 1); // a wrong id is an error of 1
  sampler_free(&s);
  mem_free(ids);
  return ids != NULL;
}

static struct gpu_cost cost_sample(const void *work) {
  const struct sample_work *w = work;
  return gpu_registry[w->c->kernel].cost(&w->p, (struct gpu_extent){0});
}

const struct family sample_family = {"struct phi3_sample", add_cases, open_sample, close_sample, reset_sample, launch_sample, check_sample, cost_sample};
