#include "runtime/cpu/cpu.h"
#include <math.h>

struct attention_work {
  struct cpu *c;
  const struct step *s;
  int32_t layer;
};

static double score_f64(const struct attention_work *w, const struct step_seq *seq, const double *q, int64_t key,
                        int32_t kv_head) {
  const struct config *m = &w->c->base.model->config;
  int64_t size = w->c->base.options.page_size;
  const double *keys = (const double *)cache_keys(w->c, seq->block_table[key / size], w->layer, kv_head) + key % size;
  double sum = 0;
  for (int32_t d = 0; d < m->head_dim; d++) sum += q[d] * keys[d * size];
  return sum / sqrt(m->head_dim);
}

// One row and head: the largest score first, then the weighted sum of the values.
static void head_f64(const struct attention_work *w, int32_t row, int32_t head) {
  struct cpu *c = w->c;
  const struct config *m = &c->base.model->config;
  const struct step_seq *seq = step_seq_of(w->s, row);
  int64_t position = seq->position + row - seq->first_row, size = c->base.options.page_size;
  int64_t first = m->sliding_window && position >= m->sliding_window ? position - m->sliding_window + 1 : 0;
  int32_t kv_head = head / (m->num_heads / m->num_kv_heads);
  const double *q = row_f64(&c->qkv, row) + (int64_t)head * m->head_dim;
  double *out = row_f64(&c->mixed, row) + (int64_t)head * m->head_dim, max = -INFINITY, total = 0;
  for (int64_t j = first; j <= position; j++) max = fmax(max, score_f64(w, seq, q, j, kv_head));
  for (int32_t d = 0; d < m->head_dim; d++) out[d] = 0;
  for (int64_t j = first; j <= position; j++) {
    double p = exp(score_f64(w, seq, q, j, kv_head) - max);
    const double *values =
        (const double *)cache_values(c, seq->block_table[j / size], w->layer, kv_head) + j % size * m->head_dim;
    total += p;
    for (int32_t d = 0; d < m->head_dim; d++) out[d] += p * values[d];
  }
  for (int32_t d = 0; d < m->head_dim; d++) out[d] /= total;
}

static void heads_f64(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct attention_work *w = ctx;
  int32_t heads = w->c->base.model->config.num_heads;
  (void)thread;
  for (int64_t i = begin; i < end; i++) head_f64(w, (int32_t)(i / heads), (int32_t)(i % heads));
}

bool attention_f64(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  (void)e;
  pool_for(c->pool, (int64_t)s->num_rows * b->model->config.num_heads, 1, heads_f64,
           &(struct attention_work){c, s, layer});
  return true;
}

// Blocks of (row, head) pairs that share one key-value head: `group` heads of each row.
static int64_t num_blocks(const struct step_seq *q, int32_t group) {
  return ((int64_t)q->num_rows * group + ATTENTION_ROWS - 1) / ATTENTION_ROWS;
}

static void block_f32(const struct attention_work *w, const struct step_seq *seq, int32_t kv_head, int64_t block,
                      int thread) {
  struct cpu *c = w->c;
  const struct config *m = &c->base.model->config;
  int32_t group = m->num_heads / m->num_kv_heads;
  int64_t first = block * ATTENTION_ROWS, pairs = (int64_t)seq->num_rows * group - first;
  struct attention_task t = {.cache = {.keys = cache_keys(c, 0, w->layer, kv_head),
                                       .values = cache_values(c, 0, w->layer, kv_head),
                                       .page_bytes = c->page_bytes,
                                       .page_size = c->base.options.page_size,
                                       .head_dim = m->head_dim,
                                       .f16 = c->base.options.page_type == PAGE_F16,
                                       .block_table = seq->block_table},
                             .num_pairs = pairs < ATTENTION_ROWS ? (int32_t)pairs : ATTENTION_ROWS,
                             .window = m->sliding_window,
                             .scale = (float)(1 / sqrt(m->head_dim))};
  for (int32_t p = 0; p < t.num_pairs; p++) {
    int64_t row = (first + p) / group, head = (int64_t)kv_head * group + (first + p) % group;
    t.position[p] = seq->position + row;
    t.q[p] = row_f32(&c->qkv, seq->first_row + row) + head * m->head_dim;
    t.out[p] = row_f32(&c->mixed, seq->first_row + row) + head * m->head_dim;
  }
  c->kernels->attention(&t, &c->scratch[thread].attention);
}

// Items: for each sequence, for each block, for each key-value head.
static void items_f32(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct attention_work *w = ctx;
  const struct config *m = &w->c->base.model->config;
  int32_t group = m->num_heads / m->num_kv_heads;
  for (int64_t item = begin; item < end; item++) {
    const struct step_seq *seq = w->s->seqs;
    int64_t i = item;
    for (; i >= num_blocks(seq, group) * m->num_kv_heads; seq++) i -= num_blocks(seq, group) * m->num_kv_heads;
    block_f32(w, seq, (int32_t)(i % m->num_kv_heads), i / m->num_kv_heads, thread);
  }
}

bool attention_f32(struct backend *b, const struct step *s, int32_t layer, struct err *e) {
  struct cpu *c = cpu_of(b);
  const struct config *m = &b->model->config;
  int64_t items = 0;
  for (int32_t n = 0; n < s->num_seqs; n++)
    items += num_blocks(&s->seqs[n], m->num_heads / m->num_kv_heads) * m->num_kv_heads;
  (void)e;
  pool_for(c->pool, items, 1, items_f32, &(struct attention_work){c, s, layer});
  return true;
}
