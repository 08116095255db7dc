#include "runtime/cpu/cpu.h"
#include <math.h>

void rmsnorm_f64(const double *x, const float *gain, int64_t n, double eps, double *y) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
  double inverse = 1 / sqrt(sum / (double)n + eps);
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * inverse * gain[i];
}

struct norm_work {
  struct cpu *c;
  const float *gain;
  const int32_t *rows;
};

static void norm_f64(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct norm_work *w = ctx;
  const struct config *m = &w->c->base.model->config;
  (void)thread;
  for (int64_t i = begin; i < end; i++)
    rmsnorm_f64(row_f64(&w->c->x, w->rows ? w->rows[i] : i), w->gain, m->hidden_size, m->rms_eps,
                row_f64(&w->c->norm, i));
}

static void norm_f32(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct norm_work *w = ctx;
  const struct config *m = &w->c->base.model->config;
  (void)thread;
  for (int64_t i = begin; i < end; i++)
    w->c->kernels->rmsnorm(row_f32(&w->c->x, w->rows ? w->rows[i] : i), w->gain, m->hidden_size, (float)m->rms_eps,
                           row_f32(&w->c->norm, i));
}

void rmsnorm_rows_f64(struct cpu *c, const float *gain, const int32_t *rows, int32_t count) {
  pool_for(c->pool, count, 4, norm_f64, &(struct norm_work){c, gain, rows});
}

void rmsnorm_rows_f32(struct cpu *c, const float *gain, const int32_t *rows, int32_t count) {
  pool_for(c->pool, count, 4, norm_f32, &(struct norm_work){c, gain, rows});
}
