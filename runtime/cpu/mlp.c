#include "runtime/cpu/cpu.h"
#include <math.h>

struct mlp_work {
  struct cpu *c;
  const struct matrix *gate_up;
  int32_t count;
};

static void outputs_f64(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct mlp_work *t = ctx;
  const struct matrix *w = t->gate_up;
  float *gate_weights = (float *)(t->c->row + thread * w->cols), *up_weights = gate_weights + w->cols;
  for (int64_t o = begin; o < end; o++) {
    matrix_row_f32(w, o, gate_weights);
    matrix_row_f32(w, w->rows / 2 + o, up_weights);
    for (int32_t r = 0; r < t->count; r++) {
      const double *x = row_f64(&t->c->norm, r);
      double gate = 0, up = 0;
      for (int64_t k = 0; k < w->cols; k++) {
        gate += x[k] * gate_weights[k];
        up += x[k] * up_weights[k];
      }
      row_f64(&t->c->mlp, r)[o] = gate / (1 + exp(-gate)) * up;
    }
  }
}

void mlp_rows_f64(struct cpu *c, const struct matrix *gate_up, int32_t count) {
  pool_for(c->pool, gate_up->rows / 2, 16, outputs_f64, &(struct mlp_work){c, gate_up, count});
}

// An item is a panel of gates and the ups that belong to them, for a block of rows: neither is ever stored.
static void items_f32(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct mlp_work *t = ctx;
  struct cpu *c = t->c;
  struct cpu_scratch *s = &c->scratch[thread];
  int32_t panel = linear_panel(t->count), rows = linear_rows(c, t->count);
  int64_t width = t->gate_up->rows / 2, panels = (width + panel - 1) / panel;
  for (int64_t item = begin; item < end; item++) {
    int64_t first = item % panels * panel, row = item / panels * rows;
    int32_t num_outputs = width - first < panel ? (int32_t)(width - first) : panel;
    int32_t count = t->count - row < rows ? (int32_t)(t->count - row) : rows;
    for (int i = 0; i < 2; i++)
      linear_block(c, t->gate_up, i * width + first, num_outputs, &c->norm, row, count, s->out[i], &s->linear);
    for (int32_t r = 0; r < count; r++)
      c->kernels->silu_mul(s->out[0] + r * LINEAR_PANEL, s->out[1] + r * LINEAR_PANEL, num_outputs,
                           row_f32(&c->mlp, row + r) + first);
  }
}

void mlp_rows_f32(struct cpu *c, const struct matrix *gate_up, int32_t count) {
  int32_t panel = linear_panel(count), rows = linear_rows(c, count);
  int64_t items = (gate_up->rows / 2 + panel - 1) / panel * ((count + rows - 1) / rows);
  linear_fix(c, gate_up, &c->norm, count);
  pool_for(c->pool, items, 1, items_f32, &(struct mlp_work){c, gate_up, count});
}
