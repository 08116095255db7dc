// The CPU backend's own operations on one layer of Phi-3-mini's shape, with random fp16 weights: what a GPU's kernels do in several launches is one
// operation here.
#include "bench/kernel_bench.h"
#include "driver/synth.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

static const double gate = 1e-5; // relative error of fp32 sums

enum { MAX_ROWS = 2048, CHECKED_ROWS = 3, CHECKED_OUTPUTS = 64 };

struct cpu_side {
  struct model model;
  struct backend *backend;
};

bool cpu_side_open(struct cpu_side **out, struct err *e) {
  struct cpu_side *s = *out = mem_alloc(1, sizeof *s, "the CPU's side", e);
  struct config c = {0};
  if (!s || !synth_like(&c, "phi-3-mini-4k", e)) return false;
  c.num_layers = 1;
  struct backend_options o = {.page_size = PAGE_TOKENS, .num_pages = POSITIONS / PAGE_TOKENS, .max_rows = MAX_ROWS, .max_logits = 1, .max_positions = POSITIONS};
  bool ok = synth_model(&s->model, &c, "phi-3-mini-4k", e) && (s->backend = cpu_backend_open(&s->model, &o, e)) != NULL;
  config_free(&c);
  return ok;
}

void cpu_side_close(struct cpu_side *s) {
  if (!s) return;
  if (s->backend) s->backend->ops->close(s->backend);
  model_close(&s->model);
  mem_free(s);
}

static bool add(struct case_list *l, enum operation op, int32_t rows, int32_t keys, struct err *e) {
  struct kernel_case c = {.kernel = KERNEL_COUNT, .family = &cpu_family, .variant = operation_names[op], .rows = rows, .keys = keys, .published = true};
  return keys ? case_add(l, &c, e, "%s/rows:%d/keys:%d", c.variant, rows, keys) : case_add(l, &c, e, "%s/rows:%d", c.variant, rows);
}

bool cpu_cases(struct case_list *l, struct err *e) {
  static const int32_t rows[] = {1, 16, 128, 512}, keys[] = {128, 512, 2047};
  *l = (struct case_list){0};
  for (int op = 0; op < OP_COUNT; op++) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows && op != OP_ATTENTION; i++)
      if ((op != OP_LOGITS || rows[i] == 1) && !add(l, (enum operation)op, rows[i], 0, e)) return false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && op == OP_ATTENTION; i++)
      if (!add(l, OP_ATTENTION, 1, keys[i], e) || (keys[i] == 512 && !add(l, OP_ATTENTION, 512, 512, e))) return false;
  }
  return true;
}

struct cpu_work {
  const struct kernel_case *c;
  enum operation op;
  struct step step;
  struct step_seq seq;
  int32_t *ids, *table, logit_row;
  float *x, *q, *in, *out;          // residual stream; queries; what the operation reads besides; what came of it
  float *keys, *values;             // [keys, hidden]
};

static enum operation op_of(const struct kernel_case *c) {
  int op = 0;
  while (strcmp(operation_names[op], c->variant) != 0) op++;
  return (enum operation)op;
}

// The pages' content: a step of all positions, and the one after it that is timed.
static bool fill_cache(struct bench_device *d, struct cpu_work *w, uint64_t seed, struct err *e) {
  struct backend *b = d->cpu->backend;
  struct step all = w->step;
  struct step_seq seq = {.num_rows = w->c->keys, .block_table = w->table};
  all.num_rows = w->c->keys, all.seqs = &seq, all.num_logits = 0;
  w->keys = data_floats(d, (int64_t)w->c->keys * HIDDEN, 1, seed, e);
  w->values = data_floats(d, (int64_t)w->c->keys * HIDDEN, 1, seed + 1, e);
  return w->keys && w->values && b->ops->embed(b, &all, e) && b->ops->write_cache(b, &all, 0, w->keys, w->values, e);
}

static bool open_cpu(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct cpu_work *w = mem_alloc(1, sizeof *w, "a case", e);
  if (!(*work = w)) return false;
  *w = (struct cpu_work){.c = c, .op = op_of(c)};
  int64_t most = c->keys > c->rows ? c->keys : c->rows, in_width = w->op == OP_MLP_OUT ? INTERMEDIATE : HIDDEN, out_width = w->op == OP_LOGITS ? VOCAB : INTERMEDIATE;
  w->ids = mem_alloc((size_t)most, sizeof *w->ids, "ids", e);
  w->table = w->ids ? mem_alloc(POSITIONS / PAGE_TOKENS, sizeof *w->table, "a block table", e) : NULL;
  w->out = w->table ? mem_alloc((size_t)c->rows * (size_t)out_width, sizeof *w->out, "outputs", e) : NULL;
  if (!w->out || !(w->x = data_residual(d, c->rows, HIDDEN, seed, e)) || !(w->in = data_floats(d, c->rows * in_width, 1, seed + 1, e))) return false;
  for (int64_t i = 0; i < most; i++) w->ids[i] = (int32_t)(data_random(&seed) % VOCAB);
  for (int32_t i = 0; i < POSITIONS / PAGE_TOKENS; i++) w->table[i] = POSITIONS / PAGE_TOKENS - 1 - i;
  w->logit_row = c->rows - 1;
  w->seq = (struct step_seq){.num_rows = c->rows, .position = c->keys ? c->keys - c->rows : 0, .block_table = w->table};
  w->step = (struct step){.num_rows = c->rows, .ids = w->ids, .seqs = &w->seq, .num_seqs = 1, .logit_rows = &w->logit_row, .num_logits = 1};
  return !c->keys || fill_cache(d, w, seed + 2, e);
}

static void close_cpu(struct bench_device *d, void *work) {
  struct cpu_work *w = work;
  (void)d;
  if (!w) return;
  void *owned[] = {w->ids, w->table, w->x, w->in, w->out, w->keys, w->values};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) mem_free(owned[i]);
  mem_free(w);
}

static bool reset_cpu(struct bench_device *d, void *work, struct err *e) {
  struct cpu_work *w = work;
  struct backend *b = d->cpu->backend;
  static const int stages[OP_COUNT] = {[OP_ATTENTION] = STAGE_QUERY, [OP_ATTENTION_OUT] = STAGE_MIXED, [OP_MLP_OUT] = STAGE_MLP};
  bool reads = w->op == OP_ATTENTION || w->op == OP_ATTENTION_OUT || w->op == OP_MLP_OUT;
  return b->ops->embed(b, &w->step, e) && b->ops->write(b, &w->step, STAGE_HIDDEN, w->x, e) && (!reads || b->ops->write(b, &w->step, (enum stage)stages[w->op], w->in, e));
}

static bool launch_cpu(struct bench_device *d, void *work, struct err *e) {
  struct cpu_work *w = work;
  struct backend *b = d->cpu->backend;
  switch (w->op) {
  case OP_EMBED: return b->ops->embed(b, &w->step, e);
  case OP_ATTENTION_IN: return b->ops->attention_in(b, &w->step, 0, e);
  case OP_ATTENTION: return b->ops->attention(b, &w->step, 0, e);
  case OP_ATTENTION_OUT: return b->ops->attention_out(b, &w->step, 0, e);
  case OP_MLP_IN: return b->ops->mlp_in(b, &w->step, 0, e);
  case OP_MLP_OUT: return b->ops->mlp_out(b, &w->step, 0, e);
  default: return b->ops->logits(b, &w->step, e);
  }
}

// --- check

static double dot(const struct matrix *m, int64_t row, const double *x, float *scratch) {
  double sum = 0;
  matrix_row_f32(m, row, scratch);
  for (int64_t i = 0; i < m->cols; i++) sum += x[i] * scratch[i];
  return sum;
}

static void normed(const struct cpu_side *s, const struct tensor *gain, const float *x, double *y, float *scratch) {
  double sum = 0;
  tensor_to_f32(gain, scratch);
  for (int64_t i = 0; i < HIDDEN; i++) sum += (double)x[i] * x[i];
  for (int64_t i = 0; i < HIDDEN; i++) y[i] = x[i] / sqrt(sum / HIDDEN + s->model.config.rms_eps) * scratch[i];
}

static double rotated(const struct matrix *qkv, int64_t feature, int64_t position, const double *x, float *scratch) {
  enum { HALF = HEAD_DIM / 2 };
  int64_t c = feature % HEAD_DIM;
  double angle = (double)position * pow(10000, -2.0 * (double)(c % HALF) / HEAD_DIM), y = dot(qkv, feature, x, scratch);
  double partner = dot(qkv, feature - c + (c + HALF) % HEAD_DIM, x, scratch);
  return y * cos(angle) + (c < HALF ? -1 : 1) * partner * sin(angle);
}

static double attended(const struct cpu_work *w, int64_t row, int64_t feature) {
  int64_t position = w->seq.position + row, first = position >= WINDOW ? position - WINDOW + 1 : 0, head = feature - feature % HEAD_DIM;
  double total = 0, sum = 0, most = -INFINITY;
  for (int pass = 0; pass < 2; pass++)
    for (int64_t j = first; j <= position; j++) {
      double score = 0;
      for (int64_t c = 0; c < HEAD_DIM; c++) score += (double)w->in[row * HIDDEN + head + c] * w->keys[j * HIDDEN + head + c];
      score /= sqrt(HEAD_DIM);
      if (pass == 0) most = fmax(most, score);
      else total += exp(score - most), sum += exp(score - most) * w->values[j * HIDDEN + feature];
    }
  return sum / total;
}

// The output `feature` of a row; `x` is the row that the projection reads.
static double expected(const struct cpu_side *s, const struct cpu_work *w, int64_t row, int64_t feature, const double *x, float *scratch) {
  const struct layer_weights *l = s->model.layers;
  double gate_value;
  switch (w->op) {
  case OP_EMBED: return matrix_row_f32(&s->model.embed, w->ids[row], scratch), scratch[feature];
  case OP_ATTENTION_IN: return rotated(&l->qkv, feature, w->seq.position + row, x, scratch);
  case OP_ATTENTION: return attended(w, row, feature);
  case OP_ATTENTION_OUT: return w->x[row * HIDDEN + feature] + dot(&l->o, feature, x, scratch);
  case OP_MLP_IN: gate_value = dot(&l->gate_up, feature, x, scratch); return gate_value / (1 + exp(-gate_value)) * dot(&l->gate_up, feature + INTERMEDIATE, x, scratch);
  case OP_MLP_OUT: return w->x[row * HIDDEN + feature] + dot(&l->down, feature, x, scratch);
  default: return dot(&s->model.head, feature, x, scratch);
  }
}

static void input_row(const struct cpu_side *s, const struct cpu_work *w, int64_t row, double *x, float *scratch) {
  const struct layer_weights *l = s->model.layers;
  int64_t width = w->op == OP_MLP_OUT ? INTERMEDIATE : HIDDEN;
  const struct tensor *gain = w->op == OP_ATTENTION_IN ? l->input_norm : w->op == OP_MLP_IN ? l->post_attention_norm : w->op == OP_LOGITS ? s->model.norm : NULL;
  if (gain) normed(s, gain, w->x + row * HIDDEN, x, scratch);
  else
    for (int64_t i = 0; i < width; i++) x[i] = w->in[row * width + i];
}

static bool check_cpu(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  static const int stages[OP_COUNT] = {STAGE_HIDDEN, STAGE_QUERY, STAGE_MIXED, STAGE_HIDDEN, STAGE_MLP, STAGE_HIDDEN, STAGE_LOGITS};
  struct cpu_work *w = work;
  struct backend *b = d->cpu->backend;
  int64_t width = w->op == OP_MLP_IN ? INTERMEDIATE : w->op == OP_LOGITS ? VOCAB : HIDDEN;
  float *scratch = mem_alloc(VOCAB, sizeof *scratch, "a row of weights", e);
  double *x = scratch ? mem_alloc(INTERMEDIATE, sizeof *x, "a row of the check", e) : NULL;
  bool ok = x && b->ops->read(b, &w->step, (enum stage)stages[w->op], w->out, e);
  uint64_t state = 1;
  a->gate = gate;
  for (int i = 0; i < CHECKED_ROWS && ok; i++) {
    int64_t row = w->op == OP_LOGITS || i == 1 ? w->c->rows - 1 : i == 0 ? 0 : (int64_t)(data_random(&state) % (uint64_t)w->c->rows);
    input_row(d->cpu, w, row, x, scratch);
    for (int j = 0; j < CHECKED_OUTPUTS; j++) {
      int64_t f = j == 0 ? 0 : j == 1 ? width - 1 : (int64_t)(data_random(&state) % (uint64_t)width);
      agreement_add(a, w->out[(w->op == OP_LOGITS ? 0 : row) * width + f], expected(d->cpu, w, row, f, x, scratch));
    }
  }
  mem_free(scratch), mem_free(x);
  return ok;
}

// Weights as stored, activations in fp32; keys and values in fp32 pages.
static struct gpu_cost cost_cpu(const void *work) {
  static const double outputs[OP_COUNT] = {[OP_ATTENTION_IN] = 3 * HIDDEN, [OP_ATTENTION_OUT] = HIDDEN, [OP_MLP_IN] = 2 * INTERMEDIATE, [OP_MLP_OUT] = HIDDEN, [OP_LOGITS] = VOCAB};
  const struct cpu_work *w = work;
  double rows = w->op == OP_LOGITS ? 1 : w->c->rows, k = w->op == OP_MLP_OUT ? INTERMEDIATE : HIDDEN, n = outputs[w->op], pairs = 0;
  if (w->op == OP_EMBED) return (struct gpu_cost){.bytes = 6 * rows * HIDDEN};
  if (w->op != OP_ATTENTION) return (struct gpu_cost){2 * n * k + 4 * rows * (k + n), 2 * n * k * rows};
  for (int64_t at = w->seq.position; at < w->c->keys; at++) pairs += at < WINDOW ? (double)at + 1 : WINDOW;
  return (struct gpu_cost){8.0 * HIDDEN * w->c->keys + 8.0 * HIDDEN * rows, 4 * pairs * HIDDEN};
}

const struct family cpu_family = {NULL, NULL, open_cpu, close_cpu, reset_cpu, launch_cpu, check_cpu, cost_cpu};
