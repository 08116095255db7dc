#include "runtime/cpu/cpu.h"
#include "runtime/base/mem.h"

struct linear_work {
  struct cpu *c;
  const struct matrix *w;
  const struct rows *x, *y;
  int32_t count;
  bool add;
};

static void outputs_f64(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct linear_work *t = ctx;
  float *weights = (float *)(t->c->row + thread * t->w->cols); // as many floats as fit; doubles leave room
  for (int64_t o = begin; o < end; o++) {
    matrix_row_f32(t->w, o, weights);
    for (int32_t r = 0; r < t->count; r++) {
      const double *x = row_f64(t->x, r);
      double sum = 0;
      for (int64_t k = 0; k < t->w->cols; k++) sum += x[k] * weights[k];
      double *y = row_f64(t->y, r) + o;
      *y = t->add ? *y + sum : sum;
    }
  }
}

void linear_f64(struct cpu *c, const struct matrix *w, const struct rows *x, int32_t count, const struct rows *y,
                bool add) {
  pool_for(c->pool, w->rows, 16, outputs_f64, &(struct linear_work){c, w, x, y, count, add});
}

// Rows that are worth converting the weights for once more, and those that one thread brings to fixed point.
enum { MIN_ROWS = 96, FEW_ROWS = 8 };

int32_t linear_panel(int32_t count) { return count <= 64 ? 32 : LINEAR_PANEL; }

int32_t linear_rows(const struct cpu *c, int32_t count) {
  int32_t threads = pool_threads(c->pool), blocks = (count + LINEAR_ROWS - 1) / LINEAR_ROWS;
  while (blocks < threads && count / (blocks + 1) >= MIN_ROWS) blocks++;
  int32_t rows = (count + blocks - 1) / blocks;
  return (rows + LINEAR_TILES - 1) / LINEAR_TILES * LINEAR_TILES;
}

static void find_rows(const struct matrix *w, int64_t first, int32_t count, struct weight_rows *rows) {
  for (int32_t o = 0; o < count; o += rows++->count)
    rows->count = (int32_t)matrix_stored_rows(w, first + o, count - o, &rows->data, &rows->type);
}

void linear_block(struct cpu *c, const struct matrix *w, int64_t first, int32_t num_outputs, const struct rows *x,
                  int64_t row, int32_t count, float *out, struct linear_scratch *scratch) {
  struct weight_rows rows[LINEAR_PANEL];
  find_rows(w, first, num_outputs, rows);
  struct linear_task t = {.w = rows, .num_rows = count, .k = w->cols, .x = row_f32(x, row), .ldx = x->ld, .out = out};
  if (c->fixed) t.fixed = c->fixed + row * fixed_steps(w->cols);
  for (const struct weight_rows *next = rows; num_outputs; num_outputs -= t.num_outputs) {
    bool fixed = cpu_kernels_fix(c->kernels, next->type);
    t.w = next;
    for (t.num_outputs = 0; t.num_outputs < num_outputs && cpu_kernels_fix(c->kernels, next->type) == fixed; next++)
      t.num_outputs += next->count;
    (fixed ? c->kernels->linear_fixed : c->kernels->linear)(&t, scratch);
    t.out += t.num_outputs;
  }
}

static bool has_fixed(const struct cpu *c, const struct matrix *w) {
  for (int32_t i = 0; i < w->num_parts; i++)
    if (cpu_kernels_fix(c->kernels, w->parts[i].tensor->type)) return true;
  return false;
}

bool linear_alloc(struct cpu *c, const struct matrix *w, int64_t rows, struct err *e) {
  int64_t steps = rows * fixed_steps(w->cols);
  if (!has_fixed(c, w) || steps <= c->num_fixed) return true;
  mem_free(c->fixed);
  c->num_fixed = steps;
  c->fixed = mem_alloc((size_t)steps, sizeof *c->fixed, "activations in fixed point", e);
  return c->fixed != NULL;
}

struct fix_work {
  struct cpu *c;
  const struct rows *x;
  int64_t k;
};

static void fix_rows(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct fix_work *t = ctx;
  (void)thread;
  for (int64_t r = begin; r < end; r++) t->c->kernels->fix(row_f32(t->x, r), t->k, t->c->fixed + r * fixed_steps(t->k));
}

void linear_fix(struct cpu *c, const struct matrix *w, const struct rows *x, int32_t count) {
  if (!has_fixed(c, w)) return;
  struct fix_work t = {c, x, w->cols};
  if (count < FEW_ROWS) fix_rows(&t, 0, count, 0); // sooner done than handed out
  else pool_for(c->pool, count, 1, fix_rows, &t);
}

static void put_row(const float *sum, int32_t count, bool add, float *y) {
  for (int32_t o = 0; o < count; o++) y[o] = add ? y[o] + sum[o] : sum[o];
}

// Sums of `count` rows from `row` on, of outputs whose weights are stored from the `first`-th row on.
static void put_outputs(const struct linear_work *t, int64_t row, int32_t count, int64_t first, int32_t num_outputs,
                        const float *sums) {
  int64_t at[LINEAR_PANEL];
  bool in_order = matrix_stored_in_order(t->w);
  for (int32_t o = 0; !in_order && o < num_outputs; o++) at[o] = matrix_row_stored_at(t->w, first + o);
  for (int32_t r = 0; r < count; r++, sums += LINEAR_PANEL) {
    float *y = row_f32(t->y, row + r);
    if (in_order) put_row(sums, num_outputs, t->add, y + first);
    else
      for (int32_t o = 0; o < num_outputs; o++) put_row(sums + o, 1, t->add, y + at[o]);
  }
}

// An item is a panel of outputs for a block of rows, outputs in the order in which their weights are stored. The panels
// of one block follow each other, so that a thread has the same rows in every operation and finds them in its caches.
static void items_f32(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct linear_work *t = ctx;
  struct cpu_scratch *s = &t->c->scratch[thread];
  int32_t panel = linear_panel(t->count);
  int32_t rows = linear_rows(t->c, t->count);
  int64_t panels = (t->w->rows + panel - 1) / panel;
  for (int64_t item = begin; item < end; item++) {
    int64_t first = item % panels * panel, row = item / panels * rows;
    int32_t num_outputs = t->w->rows - first < panel ? (int32_t)(t->w->rows - first) : panel;
    int32_t count = t->count - row < rows ? (int32_t)(t->count - row) : rows;
    linear_block(t->c, t->w, first, num_outputs, t->x, row, count, s->out[0], &s->linear);
    put_outputs(t, row, count, first, num_outputs, s->out[0]);
  }
}

void linear_f32(struct cpu *c, const struct matrix *w, const struct rows *x, int32_t count, const struct rows *y,
                bool add) {
  int32_t panel = linear_panel(count), rows = linear_rows(c, count);
  int64_t items = (w->rows + panel - 1) / panel * ((count + rows - 1) / rows);
  linear_fix(c, w, x, count);
  pool_for(c->pool, items, 1, items_f32, &(struct linear_work){c, w, x, y, count, add});
}
