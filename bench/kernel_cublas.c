// cuBLAS on the same matrices: the yardstick of our prefill projections. Only the product, which is all that cuBLAS has of them.
#include "bench/kernel_bench.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

static const double gate = 1e-5;

enum { CHECKED = 256 };

static const struct {
  const char *name;
  int32_t features, k;
} matrices[] = {{"qkv", 3 * HIDDEN, HIDDEN}, {"o", HIDDEN, HIDDEN}, {"gate_up", 2 * INTERMEDIATE, HIDDEN}, {"down", HIDDEN, INTERMEDIATE}};

bool cublas_cases(struct case_list *l, struct err *e) {
  static const int32_t rows[] = {1, 16, 64, 128, 256, 512, 1024, 2048};
  for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++)
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      struct kernel_case c = {.kernel = KERNEL_COUNT, .family = &cublas_family, .variant = matrices[m].name, .rows = rows[i], .k = matrices[m].k,
                              .features = matrices[m].features, .published = rows[i] == 512};
      if (!case_add(l, &c, e, "cublas/%s/rows:%d", c.variant, c.rows)) return false;
    }
  return true;
}

struct cublas_work {
  const struct kernel_case *c;
  uint16_t *w, *x;
  struct device_buffer weights, in, out;
  struct cublas_product p;
};

static bool open_work(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct cublas_work *w = mem_alloc(1, sizeof *w, "a case", e);
  if (!(*work = w)) return false;
  w->c = c;
  int64_t weights = (int64_t)c->features * c->k, inputs = (int64_t)c->rows * c->k;
  w->w = data_halfs(d, weights, 1 / sqrt(c->k), seed, e);
  w->x = data_halfs(d, inputs, 1, seed + 1, e);
  if (!w->w || !w->x || !buffer_open(d, &w->weights, w->w, (size_t)weights * 2, e) || !buffer_open(d, &w->in, w->x, (size_t)inputs * 2, e) ||
      !buffer_open(d, &w->out, NULL, (size_t)c->rows * (size_t)c->features * 4, e))
    return false;
  w->p = (struct cublas_product){w->weights.p, w->in.p, w->out.p, c->rows, c->features, c->k, c->k, c->k, c->features, false};
  return true;
}

static void close_work(struct bench_device *d, void *work) {
  struct cublas_work *w = work;
  if (!w) return;
  buffer_close(d, &w->weights), buffer_close(d, &w->in), buffer_close(d, &w->out);
  mem_free(w->w), mem_free(w->x), mem_free(w);
}

static bool reset(struct bench_device *d, void *work, struct err *e) { return buffer_poison(d, &((struct cublas_work *)work)->out, e); }

static bool launch(struct bench_device *d, void *work, struct err *e) { return cublas_multiply(&d->cublas, &((struct cublas_work *)work)->p, e); }

static bool check(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct cublas_work *w = work;
  float *out = buffer_read(d, &w->out, e);
  uint64_t state = 1;
  a->gate = gate;
  for (int i = 0; i < CHECKED && out; i++) {
    int64_t r = (int64_t)(data_random(&state) % (uint64_t)w->c->rows), f = (int64_t)(data_random(&state) % (uint64_t)w->c->features);
    double sum = 0;
    for (int64_t k = 0; k < w->c->k; k++) sum += (double)f16_to_f32(w->x[r * w->c->k + k]) * f16_to_f32(w->w[f * w->c->k + k]);
    agreement_add(a, out[r * w->c->features + f], sum);
  }
  if (out) a->unwritten = count_poison_floats(out, (int64_t)w->c->rows * w->c->features);
  mem_free(out);
  return out != NULL;
}

static struct gpu_cost cost(const void *work) {
  const struct cublas_work *w = work;
  double n = w->c->features, k = w->c->k, rows = w->c->rows;
  return (struct gpu_cost){2 * n * k + 2 * rows * k + 4 * rows * n, 2 * n * k * rows};
}

const struct family cublas_family = {NULL, NULL, open_work, close_work, reset, launch, check, cost};
