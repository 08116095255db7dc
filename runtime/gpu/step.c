// What changes from step to step, on its way to the device: ids, rows, blocks of queries, logit rows, block tables. Kernels and graphs find it at the same
// addresses each time.
#include "runtime/gpu/gpu.h"
#include "runtime/base/mem.h"
#include <string.h>

static size_t take(size_t *at, size_t bytes) {
  size_t offset = *at;
  *at += (bytes + 15) / 16 * 16;
  return offset;
}

struct gpu_step_arrays gpu_step_layout(const struct backend_options *o) {
  size_t rows = (size_t)o->max_rows, logits = (size_t)o->max_logits, at = 0;
  struct gpu_step_arrays a;
  a.ids = take(&at, rows * sizeof(int32_t));
  a.row_info = take(&at, rows * sizeof(struct phi3_row));
  a.queries = take(&at, rows * sizeof(struct phi3_queries));
  a.logit_rows = take(&at, logits * sizeof(int32_t));
  a.bytes = at; // the random numbers come after the logits, not with the step
  a.random = take(&at, logits * sizeof(uint64_t));
  return a;
}

bool gpu_open_step(struct gpu *g, struct err *e) {
  g->host_arrays = mem_alloc(g->at.bytes, 1, "the step's arrays", e);
  if (g->host_arrays) g->host_tables = mem_alloc((size_t)g->base.options.max_rows * (size_t)g->table_stride, sizeof *g->host_tables, "the block tables", e);
  return g->host_tables != NULL;
}

static int32_t spans_of_row(const struct gpu *g, int64_t position) {
  int32_t window = g->base.model->config.sliding_window;
  int64_t first = window && position >= window ? position - window + 1 : 0;
  return (int32_t)(position / PHI3_SPAN_KEYS - first / PHI3_SPAN_KEYS + 1);
}

// Rows, blocks of queries and the table of one sequence.
static void put_seq(struct gpu *g, const struct step_seq *q, int32_t index, int32_t *spans) {
  struct phi3_row *rows = (struct phi3_row *)(g->host_arrays + g->at.row_info);
  struct phi3_queries *queries = (struct phi3_queries *)(g->host_arrays + g->at.queries);
  for (int32_t r = 0; r < q->num_rows; r++) {
    int64_t position = q->position + r;
    rows[q->first_row + r] = (struct phi3_row){index, (int32_t)position, q->long_rope && g->base.model->config.rope == ROPE_LONGROPE};
    int32_t n = spans_of_row(g, position);
    if (n > *spans) *spans = n;
  }
  for (int32_t r = 0; r < q->num_rows; r += PHI3_QUERY_ROWS) {
    int32_t left = q->num_rows - r;
    queries[g->num_queries++] = (struct phi3_queries){q->first_row + r, left < PHI3_QUERY_ROWS ? left : PHI3_QUERY_ROWS};
  }
  int64_t blocks = (q->position + q->num_rows - 1) / g->base.options.page_size + 1;
  memcpy(g->host_tables + (int64_t)index * g->table_stride, q->block_table, (size_t)blocks * sizeof *q->block_table);
}

bool gpu_send_step(struct gpu *g, const struct step *s, struct err *e) {
  const struct cuda *c = &g->d.cuda;
  int32_t spans = 1;
  if (!backend_check_step(&g->base, s, e)) return false;
  for (int32_t i = 0; i < s->num_seqs; i++)
    if (s->seqs[i].position + s->seqs[i].num_rows > g->max_positions)
      return err_set(e, "sequence %d reaches position %lld, but the backend was opened for %d", i, (long long)(s->seqs[i].position + s->seqs[i].num_rows), g->max_positions);
  memcpy(g->host_arrays + g->at.ids, s->ids, (size_t)s->num_rows * sizeof *s->ids);
  if (s->num_logits) memcpy(g->host_arrays + g->at.logit_rows, s->logit_rows, (size_t)s->num_logits * sizeof *s->logit_rows);
  g->num_queries = 0;
  for (int32_t i = 0; i < s->num_seqs; i++) put_seq(g, &s->seqs[i], i, &spans);
  g->split = s->num_rows <= PHI3_DECODE_ROWS || s->num_seqs == s->num_rows;
  for (g->spans = 1; g->spans < spans;) g->spans *= 2; // few graphs; blocks beyond a row's spans end at once
  if (g->spans > g->max_spans) g->spans = g->max_spans;
  size_t tables = (size_t)s->num_seqs * (size_t)g->table_stride * sizeof *g->host_tables;
  return cuda_check(c, c->to_device_async(g->arrays, g->host_arrays, g->at.bytes, g->d.stream), "sending the step", e) &&
         cuda_check(c, c->to_device_async(g->tables, g->host_tables, tables, g->d.stream), "sending the block tables", e);
}
