// attention by blocks of queries and by spans of keys, and the merge, against softmax in double over the same fp16 numbers.
#include "tests/gpu/gpu_test.h"
#include "runtime/base/mem.h"
#include <limits.h>
#include <math.h>

enum { MAX_SEQS = 7 };
enum kind { PLAIN, DOMINANT, LARGE, ONE_SEEN }; // scores: moderate; one key far above; near fp16's limits; window 1

struct shape {
  int32_t less;            // than the head size that the kernel is made for
  int32_t heads, kv_heads, window, page_size;
  struct { int32_t position, rows; } seqs[MAX_SEQS]; // rows 0: no more
  enum kind kind;
};

// For the prefill kernel: edges of tiles (32), blocks of queries (64), spans (256) and windows; unequal lengths together.
static const struct shape blocks[] = {
    {0, 2, 1, 0, 16, {{0, 1}}, PLAIN},
    {0, 3, 3, 0, 16, {{0, 65}, {31, 2}, {255, 3}}, PLAIN},
    {8, 4, 2, 0, 32, {{0, 33}, {240, 64}}, DOMINANT},
    {0, 2, 2, 33, 16, {{0, 100}, {500, 30}}, PLAIN},
    {16, 2, 1, 1, 16, {{0, 17}, {64, 5}}, ONE_SEEN},
    {0, 1, 1, 256, 48, {{511, 3}, {250, 20}}, LARGE},
    {24, 17, 1, 0, 16, {{30, 4}}, PLAIN},
};
// For the decode kernel: rows of many sequences, and several of one.
static const struct shape spans[] = {
    {0, 2, 1, 0, 16, {{0, 1}}, PLAIN},
    {0, 3, 3, 0, 16, {{31, 1}, {32, 1}, {255, 1}, {256, 1}, {0, 1}, {511, 1}, {15, 2}}, PLAIN},
    {8, 4, 2, 0, 32, {{300, 5}}, DOMINANT},
    {0, 2, 2, 33, 16, {{31, 1}, {32, 1}, {33, 1}, {600, 1}}, PLAIN},
    {16, 2, 1, 1, 16, {{0, 1}, {64, 1}}, ONE_SEEN},
    {0, 1, 1, 256, 48, {{255, 1}, {256, 1}, {511, 1}, {700, 1}}, LARGE},
    {24, 17, 1, 0, 16, {{30, 1}, {512, 1}}, PLAIN},
    {0, 60, 2, 0, 16, {{40, 1}}, PLAIN}, // 16 query heads and 14 more for each
};
// The window of Phi-3 at its edges, on one head of its size.
static const struct shape phi3[] = {{0, 1, 1, 2047, 16, {{2045, 5}}, PLAIN}, {0, 2, 1, 2047, 16, {{2046, 1}, {2047, 1}, {2048, 1}, {4095, 1}}, DOMINANT}};

static bool by_spans(enum gpu_kernel k) { return k >= KERNEL_attention_decode_32; }
static int32_t head_size(enum gpu_kernel k) {
  static const int32_t sizes[] = {32, 64, 80, 96, 128};
  if (k == KERNEL_attention_merge) return 96;
  return sizes[k - (by_spans(k) ? KERNEL_attention_decode_32 : KERNEL_attention_prefill_32)];
}

static int base_shapes(enum gpu_kernel k) { return by_spans(k) ? sizeof spans / sizeof *spans : sizeof blocks / sizeof *blocks; }
int attention_shapes(enum gpu_kernel k) { return base_shapes(k) + (head_size(k) == 96 ? 2 : 0); }

struct work {
  struct shape s;
  int32_t dim, rows, num_seqs, pages, stride;
  uint16_t *q, *keys, *values; // keys, values: [seq][position][kv_head][dim], as the sequences have them
  int64_t longest;
  struct phi3_row *info;
  int32_t *table;
};

static struct err e;

static uint16_t *vector(struct work *w, uint16_t *base, int32_t seq, int64_t position, int32_t kv_head) {
  return base + (((int64_t)seq * w->longest + position) * w->s.kv_heads + kv_head) * w->dim;
}

static void make(struct work *w, uint64_t *seed) {
  struct shape *s = &w->s;
  for (; w->num_seqs < MAX_SEQS && s->seqs[w->num_seqs].rows; w->num_seqs++) {
    int64_t length = s->seqs[w->num_seqs].position + s->seqs[w->num_seqs].rows;
    if (length > w->longest) w->longest = length;
    w->rows += s->seqs[w->num_seqs].rows;
  }
  double scale = s->kind == LARGE ? 5000 : 1;
  int64_t vectors = (int64_t)w->num_seqs * w->longest * s->kv_heads;
  w->q = random_halfs(seed, w->rows, s->heads * w->dim, s->heads * w->dim, s->kind == LARGE ? 0.001 : 1, false);
  w->keys = random_halfs(seed, vectors, w->dim, w->dim, scale, false);
  w->values = random_halfs(seed, vectors, w->dim, w->dim, scale, false);
  w->info = calloc((size_t)w->rows, sizeof *w->info);
  for (int32_t i = 0, r = 0; i < w->num_seqs; i++)
    for (int32_t j = 0; j < s->seqs[i].rows; j++) w->info[r++] = (struct phi3_row){i, s->seqs[i].position + j, 0};
  if (s->kind == DOMINANT) // one key in ten is twenty times as long
    for (int64_t i = 0; i < vectors; i++)
      if (test_random(seed) % 10 == 0)
        for (int32_t c = 0; c < w->dim; c++) w->keys[i * w->dim + c] = f32_to_f16(20 * f16_to_f32(w->keys[i * w->dim + c]));
  // Pages in random order; what no query sees (behind the window, beyond the end) is NaN, and its page may be missing.
  w->stride = (int32_t)((w->longest + s->page_size - 1) / s->page_size);
  w->pages = w->num_seqs * w->stride;
  w->table = calloc((size_t)w->pages, sizeof *w->table);
  for (int32_t i = 0; i < w->pages; i++) w->table[i] = i;
  for (int32_t i = w->pages - 1; i > 0; i--) {
    int32_t j = (int32_t)(test_random(seed) % (uint64_t)(i + 1)), t = w->table[i];
    w->table[i] = w->table[j], w->table[j] = t;
  }
}

static int64_t first_seen(const struct work *w, int64_t position) { return w->s.window && position >= w->s.window ? position - w->s.window + 1 : 0; }

// Pages as kernels.h lays them out.
static void fill_pages(struct work *w, uint16_t *k, uint16_t *v) {
  struct shape *s = &w->s;
  int64_t page = (int64_t)s->kv_heads * s->page_size * w->dim;
  memset(k, 0xff, (size_t)(w->pages * page) * 2);
  memset(v, 0xff, (size_t)(w->pages * page) * 2);
  for (int32_t i = 0; i < w->num_seqs; i++) {
    int64_t first = first_seen(w, s->seqs[i].position) / s->page_size * s->page_size; // tokens of that page before the window are stored still
    for (int64_t p = first; p < s->seqs[i].position + s->seqs[i].rows; p++)
      for (int32_t h = 0; h < s->kv_heads; h++)
        for (int32_t c = 0; c < w->dim; c++) {
          int64_t head = w->table[i * w->stride + p / s->page_size] * page + (int64_t)h * s->page_size * w->dim;
          k[head + p % s->page_size * w->dim + c] = vector(w, w->keys, i, p, h)[c];
          v[head + (int64_t)c * s->page_size + p % s->page_size] = vector(w, w->values, i, p, h)[c];
        }
    for (int64_t b = 0; b < first / s->page_size; b++) w->table[i * w->stride + b] = -1; // evicted
  }
}

static void exact(struct work *w, int32_t row, int32_t head, double *out) {
  int32_t seq = w->info[row].seq, kv = head / (w->s.heads / w->s.kv_heads);
  int64_t position = w->info[row].position, first = first_seen(w, position);
  const uint16_t *q = w->q + ((int64_t)row * w->s.heads + head) * w->dim;
  double *weight = malloc((size_t)(position + 1) * sizeof *weight), most = -INFINITY, total = 0;
  for (int64_t j = first; j <= position; j++) {
    double score = 0;
    for (int32_t c = 0; c < w->dim; c++) score += (double)f16_to_f32(q[c]) * f16_to_f32(vector(w, w->keys, seq, j, kv)[c]);
    weight[j] = score / sqrt(w->dim);
    most = fmax(most, weight[j]);
  }
  for (int32_t c = 0; c < w->dim; c++) out[c] = 0;
  for (int64_t j = first; j <= position; j++) {
    double p = exp(weight[j] - most);
    total += p;
    for (int32_t c = 0; c < w->dim; c++) out[c] += p * f16_to_f32(vector(w, w->values, seq, j, kv)[c]);
  }
  for (int32_t c = 0; c < w->dim; c++) out[c] /= total;
  free(weight);
}

static void check_result(struct work *w, const uint16_t *out, const char *what) {
  double row[PHI3_MAX_HEAD_DIM];
  struct measure m = {0};
  for (int32_t r = 0; r < w->rows; r++)
    for (int32_t h = 0; h < w->s.heads; h++) {
      exact(w, r, h, row);
      for (int32_t c = 0; c < w->dim; c++) measure_add(&m, f16_to_f32(out[((int64_t)r * w->s.heads + h) * w->dim + c]), row[c]);
    }
  measure_check(&m, 1e-6, true, what);
}

static struct outcome run(struct work *w, bool split, const char *what, bool check) {
  struct shape *s = &w->s;
  int64_t page = (int64_t)s->kv_heads * s->page_size * w->dim;
  uint16_t *k = malloc((size_t)(w->pages * page) * 2), *v = malloc((size_t)(w->pages * page) * 2);
  assert_true(k && v);
  fill_pages(w, k, v);
  struct phi3_queries *queries = calloc((size_t)w->rows, sizeof *queries);
  int32_t blocks_of_queries = 0, most = 1;
  for (int32_t i = 0, r = 0; i < w->num_seqs; r += s->seqs[i++].rows)
    for (int32_t j = 0; j < s->seqs[i].rows; j += PHI3_QUERY_ROWS)
      queries[blocks_of_queries++] = (struct phi3_queries){r + j, s->seqs[i].rows - j < PHI3_QUERY_ROWS ? s->seqs[i].rows - j : PHI3_QUERY_ROWS};
  for (int32_t r = 0; r < w->rows; r++) {
    int32_t n = (int32_t)(w->info[r].position / PHI3_SPAN_KEYS - first_seen(w, w->info[r].position) / PHI3_SPAN_KEYS + 1);
    most = n > most ? n : most;
  }
  int32_t max_spans = most + 1; // one more than anyone needs
  size_t halfs = (size_t)w->rows * (size_t)(s->heads * w->dim) * 2;
  struct buffer b[] = {buffer_open(w->q, halfs), buffer_open(NULL, halfs), buffer_open(w->info, (size_t)w->rows * sizeof *w->info),
                       buffer_open(k, (size_t)(w->pages * page) * 2), buffer_open(v, (size_t)(w->pages * page) * 2), buffer_open(w->table, (size_t)w->pages * 4),
                       buffer_open(queries, (size_t)w->rows * sizeof *queries),
                       buffer_open(NULL, GPU_SPLIT_ROWS * (size_t)s->heads * (size_t)max_spans * ((size_t)w->dim + 2) * 4)};
  struct phi3_attention p = {.q = b[0].p, .out = b[1].p, .rows = w->rows, .ld = s->heads * w->dim, .heads = s->heads, .kv_heads = s->kv_heads, .head_dim = w->dim,
                             .window = s->window ? s->window : INT32_MAX, .scale = (float)(1.4426950408889634 / sqrt(w->dim)), .row_info = b[2].p,
                             .cache = {b[3].p, b[4].p, b[5].p, w->stride, s->page_size}, .queries = b[6].p, .partial = b[7].p, .max_spans = max_spans};
  assert_ok(gpu_attention(test_device(), &p, split, split ? max_spans : blocks_of_queries, &e));
  struct outcome o = {buffer_read(&b[1], what), halfs};
  for (size_t i = 0; i < sizeof b / sizeof *b; i++) {
    free(buffer_read(&b[i], what));
    buffer_close(&b[i]);
  }
  if (check) check_result(w, o.data, what);
  free(k), free(v), free(queries);
  return o;
}

// Both ways of cutting up the work must give the same bits for every row.
static void check_other_way(struct work *w, bool split, const struct outcome *o, const char *what) {
  struct outcome other = run(w, !split, what, false);
  const uint16_t *a = o->data, *b = other.data;
  for (size_t i = 0; i < o->bytes / 2; i++)
    if (a[i] != b[i]) fail_msg("%s: element %zu is %#x by spans or by blocks and %#x the other way", what, i, a[i], b[i]);
  free(other.data);
}

struct outcome case_attention(enum gpu_kernel k, int shape, uint64_t seed, bool check) {
  bool split = by_spans(k);
  struct work w = {.s = shape < base_shapes(k) ? (split ? spans : blocks)[shape] : phi3[shape - base_shapes(k)]};
  w.dim = head_size(k) - w.s.less < 8 ? 8 : head_size(k) - w.s.less;
  if (gpu_head_size(w.dim) != head_size(k)) w.dim = head_size(k);
  char what[160];
  snprintf(what, sizeof what, "%s, shape %d, head size %d", gpu_kernel_name(k), shape, w.dim);
  make(&w, &seed);
  struct outcome o = run(&w, split, what, check);
  if (check) check_other_way(&w, split, &o, what);
  free(w.q), free(w.keys), free(w.values), free(w.info), free(w.table);
  return o;
}
