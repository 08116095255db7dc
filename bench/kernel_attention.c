// Attention by blocks of queries and by spans of keys, and the merge of spans.
#include "bench/kernel_bench.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double gate = 1e-3; // relative error, NMSE 1e-6

enum { CHECKED = 24 }; // pairs of a row and a head

static bool is_merge(enum gpu_kernel k) { return strstr(gpu_kernel_name(k), "merge") != NULL; }
static bool is_decode(enum gpu_kernel k) { return is_merge(k) || strstr(gpu_kernel_name(k), "decode") != NULL; }

// The name's number; Phi-3's where there is none.
static int32_t head_dim(enum gpu_kernel k) {
  const char *digits = strpbrk(gpu_kernel_name(k) + strlen("phi3"), "0123456789");
  return digits ? atoi(digits) : HEAD_DIM;
}

static bool add_decode(struct case_list *l, enum gpu_kernel k, struct err *e) {
  static const int32_t keys[] = {16, 128, 512, 1024, 2047, 4096}, sequences[] = {1, 4, 16};
  for (size_t s = 0; s < sizeof sequences / sizeof *sequences; s++)
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
      bool phi3 = head_dim(k) == HEAD_DIM;
      if (s > 0 && (!phi3 || keys[i] > WINDOW)) continue;
      if (!phi3 && keys[i] != 512 && keys[i] != 2047) continue;
      struct kernel_case c = {.kernel = k, .family = &attention_family, .variant = "decode", .rows = sequences[s], .keys = keys[i]};
      c.published = (s == 0 && (keys[i] == 2047 || (phi3 && keys[i] == 128))) || (s == 1 && keys[i] == 512);
      if (!case_add(l, &c, e, "sequences:%d/keys:%d", c.rows, c.keys)) return false;
    }
  return true;
}

static bool add_cases(struct case_list *l, enum gpu_kernel k, struct err *e) {
  static const struct {
    int32_t rows, keys;
    bool all_dims, published;
  } shapes[] = {{16, 16, false, false},     {64, 64, false, false},      {128, 128, false, false},  {512, 512, true, true}, {1024, 1024, false, false},
                {2048, 2048, false, true},  {512, 2048, false, false},   {512, 4096, false, false}, {64, 4096, false, false}};
  if (is_decode(k)) return add_decode(l, k, e);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (head_dim(k) != HEAD_DIM && !shapes[i].all_dims) continue;
    struct kernel_case c = {.kernel = k, .family = &attention_family, .variant = "prefill", .rows = shapes[i].rows, .keys = shapes[i].keys, .published = shapes[i].published};
    if (!case_add(l, &c, e, "rows:%d/keys:%d", c.rows, c.keys)) return false;
  }
  return true;
}

struct attention_work {
  const struct kernel_case *c;
  bool decode;
  int32_t dim, sequences, stride, pages, blocks, spans;
  uint16_t *q, *keys, *values; // keys and values in their pages
  int32_t *table;              // [sequences, stride]
  struct phi3_row *row_info;
  struct phi3_queries *queries;
  struct phi3_attention p;
  struct device_buffer in, out, info, tables, blocks_there, k, v, partial;
};

static int32_t position_of(const struct attention_work *w, int32_t row) { return w->decode ? w->c->keys - 1 : w->c->keys - w->c->rows + row; }
static int32_t first_seen(int32_t position) { return position >= WINDOW ? position - WINDOW + 1 : 0; }

static bool make_numbers(struct bench_device *d, struct attention_work *w, uint64_t seed, struct err *e) {
  int64_t width = HEADS * (int64_t)w->dim, page = width * PAGE_TOKENS;
  w->sequences = w->decode ? w->c->rows : 1;
  w->stride = (w->c->keys + PAGE_TOKENS - 1) / PAGE_TOKENS;
  w->pages = w->sequences * w->stride;
  w->q = data_halfs(d, w->c->rows * width, 1, seed, e);
  w->keys = data_halfs(d, w->pages * page, 1, seed + 1, e);
  w->values = data_halfs(d, w->pages * page, 1, seed + 2, e);
  w->table = mem_alloc((size_t)w->pages, sizeof *w->table, "block tables", e);
  if (!w->q || !w->keys || !w->values || !w->table) return false;
  for (int32_t i = 0; i < w->pages; i++) w->table[i] = i;
  for (int32_t i = w->pages - 1; i > 0; i--) { // in no order, as after some time
    int32_t j = (int32_t)(data_random(&seed) % (uint64_t)(i + 1)), t = w->table[i];
    w->table[i] = w->table[j], w->table[j] = t;
  }
  return buffer_open(d, &w->in, w->q, (size_t)(w->c->rows * width) * 2, e) && buffer_open(d, &w->out, NULL, (size_t)(w->c->rows * width) * 2, e) &&
         buffer_open(d, &w->k, w->keys, (size_t)(w->pages * page) * 2, e) && buffer_open(d, &w->v, w->values, (size_t)(w->pages * page) * 2, e) &&
         buffer_open(d, &w->tables, w->table, (size_t)w->pages * sizeof *w->table, e);
}

// Rows, blocks of queries, and spans as runtime/gpu/step.c gives them.
static bool make_step(struct bench_device *d, struct attention_work *w, struct err *e) {
  int32_t rows = w->c->rows, most = 1;
  w->blocks = (rows + PHI3_QUERY_ROWS - 1) / PHI3_QUERY_ROWS;
  w->row_info = mem_alloc((size_t)rows, sizeof *w->row_info, "rows", e);
  w->queries = mem_alloc((size_t)w->blocks, sizeof *w->queries, "blocks of queries", e);
  if (!w->row_info || !w->queries) return false;
  for (int32_t r = 0; r < rows; r++) {
    int32_t at = position_of(w, r), n = at / PHI3_SPAN_KEYS - first_seen(at) / PHI3_SPAN_KEYS + 1;
    w->row_info[r] = (struct phi3_row){.seq = w->decode ? r : 0, .position = at};
    if (n > most) most = n;
  }
  for (int32_t i = 0; i < w->blocks; i++) {
    int32_t left = rows - i * PHI3_QUERY_ROWS;
    w->queries[i] = (struct phi3_queries){i * PHI3_QUERY_ROWS, left < PHI3_QUERY_ROWS ? left : PHI3_QUERY_ROWS};
  }
  for (w->spans = 1; w->spans < most;) w->spans *= 2;
  w->p.max_spans = (WINDOW + 2 * PHI3_SPAN_KEYS - 2) / PHI3_SPAN_KEYS;
  if (w->spans > w->p.max_spans) w->spans = w->p.max_spans;
  size_t partial = GPU_SPLIT_ROWS * (size_t)HEADS * (size_t)w->p.max_spans * ((size_t)w->dim + 2) * sizeof(float);
  return buffer_open(d, &w->info, w->row_info, (size_t)rows * sizeof *w->row_info, e) &&
         buffer_open(d, &w->blocks_there, w->queries, (size_t)w->blocks * sizeof *w->queries, e) && buffer_open(d, &w->partial, NULL, partial, e);
}

static bool open_attention(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct attention_work *w = mem_alloc(1, sizeof *w, "a case", e);
  if (!(*work = w)) return false;
  *w = (struct attention_work){.c = c, .decode = is_decode(c->kernel), .dim = head_dim(c->kernel)};
  if (!make_numbers(d, w, seed, e) || !make_step(d, w, e)) return false;
  struct phi3_attention *p = &w->p;
  p->q = w->in.p, p->out = w->out.p;
  p->rows = c->rows, p->ld = HEADS * w->dim;
  p->heads = p->kv_heads = HEADS, p->head_dim = w->dim;
  p->window = WINDOW;
  p->scale = (float)(1.4426950408889634 / sqrt(w->dim));
  p->row_info = w->info.p, p->queries = w->blocks_there.p, p->partial = w->partial.p;
  p->cache = (struct phi3_cache){w->k.p, w->v.p, w->tables.p, w->stride, PAGE_TOKENS};
  return true;
}

static void close_attention(struct bench_device *d, void *work) {
  struct attention_work *w = work;
  if (!w) return;
  void *owned[] = {w->q, w->keys, w->values, w->table, w->row_info, w->queries};
  struct device_buffer *buffers[] = {&w->in, &w->out, &w->info, &w->tables, &w->blocks_there, &w->k, &w->v, &w->partial};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) mem_free(owned[i]);
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) buffer_close(d, buffers[i]);
  mem_free(w);
}

static bool reset_attention(struct bench_device *d, void *work, struct err *e) {
  struct attention_work *w = work;
  return buffer_poison(d, &w->out, e) && buffer_poison(d, &w->partial, e);
}

static bool launch_attention(struct bench_device *d, void *work, struct err *e) {
  struct attention_work *w = work;
  return gpu_attention(&d->gpu, &w->p, w->decode, w->decode ? w->spans : w->blocks, e);
}

// softmax(q k / sqrt(dim)) v of one row and head, out of the pages.
static void exact(const struct attention_work *w, int32_t row, int32_t head, double *weight, double *out) {
  int32_t position = position_of(w, row), seq = w->row_info[row].seq, dim = w->dim;
  const uint16_t *q = w->q + ((int64_t)row * HEADS + head) * dim;
  double most = -INFINITY, total = 0;
  for (int32_t j = first_seen(position); j <= position; j++) {
    const uint16_t *k = w->keys + (((int64_t)w->table[seq * w->stride + j / PAGE_TOKENS] * HEADS + head) * PAGE_TOKENS + j % PAGE_TOKENS) * dim;
    double score = 0;
    for (int32_t c = 0; c < dim; c++) score += (double)f16_to_f32(q[c]) * f16_to_f32(k[c]);
    weight[j] = score / sqrt(dim);
    most = fmax(most, weight[j]);
  }
  memset(out, 0, (size_t)dim * sizeof *out);
  for (int32_t j = first_seen(position); j <= position; j++) {
    const uint16_t *v = w->values + ((int64_t)w->table[seq * w->stride + j / PAGE_TOKENS] * HEADS + head) * PAGE_TOKENS * dim + j % PAGE_TOKENS;
    double share = exp(weight[j] - most);
    total += share;
    for (int32_t c = 0; c < dim; c++) out[c] += share * f16_to_f32(v[c * PAGE_TOKENS]);
  }
  for (int32_t c = 0; c < dim; c++) out[c] /= total;
}

static bool check_attention(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct attention_work *w = work;
  double row[PHI3_MAX_HEAD_DIM], *weight = mem_alloc((size_t)w->c->keys, sizeof *weight, "the check's weights", e);
  uint16_t *out = weight ? buffer_read(d, &w->out, e) : NULL;
  uint64_t state = 1;
  a->gate = gate;
  for (int i = 0; i < CHECKED && out; i++) {
    int32_t r = i == 0 ? 0 : i == 1 ? w->c->rows - 1 : (int32_t)(data_random(&state) % (uint64_t)w->c->rows);
    int32_t head = i == 0 ? 0 : i == 1 ? HEADS - 1 : (int32_t)(data_random(&state) % HEADS);
    exact(w, r, head, weight, row);
    for (int32_t c = 0; c < w->dim; c++) agreement_add(a, f16_to_f32(out[((int64_t)r * HEADS + head) * w->dim + c]), row[c]);
  }
  if (out) a->unwritten = count_poison_halfs(out, (int64_t)w->c->rows * HEADS * w->dim);
  mem_free(weight);
  mem_free(out);
  return out != NULL;
}

// The merge reads each used span's sums, maximum and weight, and writes the rows.
static struct gpu_cost cost_attention(const void *work) {
  const struct attention_work *w = work;
  struct gpu_extent x = {.keys = (int64_t)w->sequences * (w->c->keys < WINDOW ? w->c->keys : WINDOW)};
  double spans = 0;
  if (!w->decode && w->c->keys > WINDOW) x.keys = w->c->keys - first_seen(position_of(w, 0));
  for (int32_t r = 0; r < w->c->rows; r++) {
    int32_t at = position_of(w, r);
    x.pairs += at - first_seen(at) + 1;
    spans += at / PHI3_SPAN_KEYS - first_seen(at) / PHI3_SPAN_KEYS + 1;
  }
  if (is_merge(w->c->kernel)) return (struct gpu_cost){HEADS * (4 * spans * (w->dim + 2) + 2.0 * w->c->rows * w->dim), HEADS * 2 * spans * w->dim};
  struct gpu_cost c = gpu_registry[w->c->kernel].cost(&w->p, x);
  if (w->decode) c.bytes += HEADS * (4 * spans * (w->dim + 2) - 2.0 * w->c->rows * w->dim); // spans are written in place of rows
  return c;
}

const struct family attention_family = {"struct phi3_attention", add_cases,        open_attention,  close_attention,
                                        reset_attention,         launch_attention, check_attention, cost_attention};
