// The kernels that touch each row once: embedding, norm, rotation, append, copy of a page, weights in plain order.
#include "bench/kernel_bench.h"
#include "runtime/base/half.h"
#include "runtime/base/mem.h"
#include <math.h>
#include <string.h>

static const double gate_f16 = 3.2e-4; // relative error, NMSE 1e-7

enum { THREADS = 128, CHECKED = 4 };

static const int32_t all_rows[] = {1, 16, 512, 2048};

static bool add_rows(struct case_list *l, enum gpu_kernel k, const struct family *f, const char *variant, int32_t published, struct err *e) {
  for (size_t i = 0; i < sizeof all_rows / sizeof *all_rows; i++) {
    struct kernel_case c = {.kernel = k, .family = f, .variant = variant, .rows = all_rows[i], .published = all_rows[i] == 1 || all_rows[i] == published};
    if (!case_add(l, &c, e, "%s%srows:%d", variant, variant[0] ? "/" : "", c.rows)) return false;
  }
  return true;
}

// What these cases hold: host inputs, and the device's buffers in the order in which each family makes them.
struct rows_work {
  const struct kernel_case *c;
  uint16_t *halfs, *more_halfs;
  float *floats, *gain, *add;
  int32_t *ids, *table;
  struct phi3_row *row_info;
  union {
    struct phi3_embed embed;
    struct phi3_rmsnorm rmsnorm;
    struct phi3_rope rope;
    struct phi3_append append;
    struct phi3_copy_page copy;
    struct phi3_unpack unpack;
  } p;
  struct device_buffer b[8];
};

static struct rows_work *open_work(const struct kernel_case *c, void **work, struct err *e) {
  struct rows_work *w = mem_alloc(1, sizeof *w, "a case", e);
  if (w) w->c = c;
  return *work = w;
}

static void close_rows(struct bench_device *d, void *work) {
  struct rows_work *w = work;
  if (!w) return;
  void *owned[] = {w->halfs, w->more_halfs, w->floats, w->gain, w->add, w->ids, w->table, w->row_info};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) mem_free(owned[i]);
  for (size_t i = 0; i < sizeof w->b / sizeof *w->b; i++) buffer_close(d, &w->b[i]);
  mem_free(w);
}

// The i-th row that a check looks at: the first, the last, and some between.
static int64_t checked_row(int i, int64_t rows, uint64_t *state) { return i == 0 ? 0 : i == 1 ? rows - 1 : (int64_t)(data_random(state) % (uint64_t)rows); }

static bool make_rows(struct bench_device *d, struct rows_work *w, struct device_buffer *b, struct err *e) {
  w->row_info = mem_alloc((size_t)w->c->rows, sizeof *w->row_info, "rows", e);
  for (int32_t r = 0; r < w->c->rows && w->row_info; r++) w->row_info[r] = (struct phi3_row){.position = r};
  return w->row_info && buffer_open(d, b, w->row_info, (size_t)w->c->rows * sizeof *w->row_info, e);
}

// Pages for the rows, the last one first.
static bool make_table(struct bench_device *d, struct rows_work *w, struct device_buffer *b, int32_t pages, struct err *e) {
  w->table = mem_alloc((size_t)pages, sizeof *w->table, "a block table", e);
  for (int32_t i = 0; i < pages && w->table; i++) w->table[i] = pages - 1 - i;
  return w->table && buffer_open(d, b, w->table, (size_t)pages * sizeof *w->table, e);
}

// --- embed: table, ids, x

static bool add_embed(struct case_list *l, enum gpu_kernel k, struct err *e) { return add_rows(l, k, &embed_family, "", 512, e); }

static bool open_embed(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct rows_work *w = open_work(c, work, e);
  if (!w || !(w->halfs = data_halfs(d, (int64_t)VOCAB * HIDDEN, 0.02, seed, e)) || !(w->ids = mem_alloc((size_t)c->rows, sizeof *w->ids, "ids", e))) return false;
  for (int32_t r = 0; r < c->rows; r++) w->ids[r] = (int32_t)(data_random(&seed) % VOCAB);
  if (!buffer_open(d, &w->b[0], w->halfs, (size_t)VOCAB * HIDDEN * 2, e) || !buffer_open(d, &w->b[1], w->ids, (size_t)c->rows * 4, e) ||
      !buffer_open(d, &w->b[2], NULL, (size_t)c->rows * HIDDEN * 4, e))
    return false;
  w->p.embed = (struct phi3_embed){w->b[0].p, w->b[1].p, w->b[2].p, c->rows, HIDDEN};
  return true;
}

static bool reset_embed(struct bench_device *d, void *work, struct err *e) { return buffer_poison(d, &((struct rows_work *)work)->b[2], e); }

static bool launch_rows(struct bench_device *d, void *work, struct err *e) {
  struct rows_work *w = work;
  return gpu_launch(&d->gpu, w->c->kernel, (unsigned[]){(unsigned)w->c->rows, 1, 1}, THREADS, 0, &w->p, e);
}

static bool check_embed(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct rows_work *w = work;
  float *x = buffer_read(d, &w->b[2], e);
  for (int64_t r = 0; r < w->c->rows && x; r++)
    for (int64_t i = 0; i < HIDDEN; i++) agreement_add(a, x[r * HIDDEN + i], f16_to_f32(w->halfs[w->ids[r] * (int64_t)HIDDEN + i]));
  if (x) a->unwritten = count_poison_floats(x, (int64_t)w->c->rows * HIDDEN);
  mem_free(x);
  return x != NULL;
}

static struct gpu_cost cost_rows(const void *work) {
  const struct rows_work *w = work;
  return gpu_registry[w->c->kernel].cost(&w->p, (struct gpu_extent){0});
}

const struct family embed_family = {"struct phi3_embed", add_embed, open_embed, close_rows, reset_embed, launch_rows, check_embed, cost_rows};

// --- rmsnorm: x, gain, y, add

static bool add_rmsnorm(struct case_list *l, enum gpu_kernel k, struct err *e) {
  return add_rows(l, k, &rmsnorm_family, "norm", 512, e) && add_rows(l, k, &rmsnorm_family, "add_norm", 0, e);
}

static bool open_rmsnorm(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct rows_work *w = open_work(c, work, e);
  int64_t count = (int64_t)c->rows * HIDDEN;
  bool add = strcmp(c->variant, "add_norm") == 0;
  if (!w || !(w->floats = data_residual(d, c->rows, HIDDEN, seed, e)) || !(w->gain = data_floats(d, HIDDEN, 1, seed + 1, e)) ||
      (add && !(w->add = data_floats(d, count, 1, seed + 2, e))))
    return false;
  if (!buffer_open(d, &w->b[0], w->floats, (size_t)count * 4, e) || !buffer_open(d, &w->b[1], w->gain, HIDDEN * 4, e) || !buffer_open(d, &w->b[2], NULL, (size_t)count * 2, e) ||
      (add && !buffer_open(d, &w->b[3], w->add, (size_t)count * 4, e)))
    return false;
  w->p.rmsnorm = (struct phi3_rmsnorm){.x = w->b[0].p, .add = w->b[3].p, .gain = w->b[1].p, .y = w->b[2].p, .rows = c->rows, .hidden = HIDDEN, .ldy = HIDDEN, .eps = 1e-5f};
  return true;
}

static bool reset_rmsnorm(struct bench_device *d, void *work, struct err *e) {
  struct rows_work *w = work;
  return buffer_write(d, &w->b[0], w->floats, e) && buffer_poison(d, &w->b[2], e);
}

static bool launch_rmsnorm(struct bench_device *d, void *work, struct err *e) { return gpu_rmsnorm(&d->gpu, &((struct rows_work *)work)->p.rmsnorm, e); }

static bool check_rmsnorm(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct rows_work *w = work;
  uint16_t *y = buffer_read(d, &w->b[2], e);
  uint64_t state = 1;
  a->gate = gate_f16;
  for (int n = 0; n < CHECKED && y; n++) {
    int64_t r = checked_row(n, w->c->rows, &state) * HIDDEN;
    double sum = 0;
    for (int64_t i = 0; i < HIDDEN; i++) {
      float x = w->floats[r + i] + (w->add ? w->add[r + i] : 0);
      sum += (double)x * x;
    }
    for (int64_t i = 0; i < HIDDEN; i++) agreement_add(a, f16_to_f32(y[r + i]), (w->floats[r + i] + (w->add ? w->add[r + i] : 0)) / sqrt(sum / HIDDEN + 1e-5) * w->gain[i]);
  }
  if (y) a->unwritten = count_poison_halfs(y, (int64_t)w->c->rows * HIDDEN);
  mem_free(y);
  return y != NULL;
}

const struct family rmsnorm_family = {"struct phi3_rmsnorm", add_rmsnorm, open_rmsnorm, close_rows, reset_rmsnorm, launch_rmsnorm, check_rmsnorm, cost_rows};

// --- rope, in place: x, row_info, angles

static bool add_rope(struct case_list *l, enum gpu_kernel k, struct err *e) { return add_rows(l, k, &rope_family, "", 512, e); }

static bool open_rope(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct rows_work *w = open_work(c, work, e);
  if (!w || !(w->halfs = data_halfs(d, (int64_t)c->rows * HIDDEN, 1, seed, e)) || !(w->floats = data_rope(POSITIONS, HEAD_DIM, e))) return false;
  if (!buffer_open(d, &w->b[0], w->halfs, (size_t)c->rows * HIDDEN * 2, e) || !make_rows(d, w, &w->b[1], e) ||
      !buffer_open(d, &w->b[2], w->floats, (size_t)POSITIONS * HEAD_DIM * 4, e))
    return false;
  w->p.rope = (struct phi3_rope){w->b[0].p, w->b[1].p, w->b[2].p, POSITIONS, HEAD_DIM / 2, c->rows, HEADS, HEAD_DIM};
  return true;
}

static bool reset_rope(struct bench_device *d, void *work, struct err *e) {
  struct rows_work *w = work;
  return buffer_write(d, &w->b[0], w->halfs, e);
}

static bool check_rope(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  enum { HALF = HEAD_DIM / 2 };
  struct rows_work *w = work;
  uint16_t *y = buffer_read(d, &w->b[0], e);
  uint64_t state = 1;
  a->gate = gate_f16;
  for (int n = 0; n < CHECKED && y; n++) {
    int64_t r = checked_row(n, w->c->rows, &state);
    for (int64_t i = 0; i < HIDDEN; i++) {
      const uint16_t *x = w->halfs + r * HIDDEN + i;
      const float *at = w->floats + w->row_info[r].position * HEAD_DIM + 2 * (i % HALF);
      bool low = i % HEAD_DIM < HALF;
      agreement_add(a, f16_to_f32(y[r * HIDDEN + i]), f16_to_f32(*x) * (double)at[0] + (low ? -1 : 1) * (double)f16_to_f32(x[low ? HALF : -HALF]) * at[1]);
    }
  }
  mem_free(y);
  return y != NULL;
}

const struct family rope_family = {"struct phi3_rope", add_rope, open_rope, close_rows, reset_rope, launch_rows, check_rope, cost_rows};

// --- append: k, v, row_info, block table, keys, values

static bool add_append(struct case_list *l, enum gpu_kernel k, struct err *e) { return add_rows(l, k, &append_family, "", 512, e); }

static int32_t pages_of(const struct kernel_case *c) { return (c->rows + PAGE_TOKENS - 1) / PAGE_TOKENS; }

static bool open_append(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct rows_work *w = open_work(c, work, e);
  size_t bytes = (size_t)c->rows * HIDDEN * 2, stored = (size_t)pages_of(c) * PAGE_TOKENS * HIDDEN * 2;
  if (!w || !(w->halfs = data_halfs(d, (int64_t)c->rows * HIDDEN, 1, seed, e)) || !(w->more_halfs = data_halfs(d, (int64_t)c->rows * HIDDEN, 1, seed + 1, e))) return false;
  if (!buffer_open(d, &w->b[0], w->halfs, bytes, e) || !buffer_open(d, &w->b[1], w->more_halfs, bytes, e) || !make_rows(d, w, &w->b[2], e) ||
      !make_table(d, w, &w->b[3], pages_of(c), e) || !buffer_open(d, &w->b[4], NULL, stored, e) || !buffer_open(d, &w->b[5], NULL, stored, e))
    return false;
  w->p.append = (struct phi3_append){w->b[0].p, w->b[1].p, w->b[2].p, {w->b[4].p, w->b[5].p, w->b[3].p, pages_of(c), PAGE_TOKENS}, c->rows, HEADS, HEAD_DIM};
  return true;
}

static bool reset_append(struct bench_device *d, void *work, struct err *e) {
  struct rows_work *w = work;
  return buffer_poison(d, &w->b[4], e) && buffer_poison(d, &w->b[5], e);
}

static bool check_append(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct rows_work *w = work;
  uint16_t *k = buffer_read(d, &w->b[4], e), *v = k ? buffer_read(d, &w->b[5], e) : NULL;
  int64_t stored = (int64_t)pages_of(w->c) * PAGE_TOKENS * HIDDEN;
  for (int64_t r = 0; r < w->c->rows && v; r++)
    for (int64_t i = 0; i < HIDDEN; i++) {
      int64_t slot = r % PAGE_TOKENS, base = (w->table[r / PAGE_TOKENS] * (int64_t)HEADS + i / HEAD_DIM) * HEAD_DIM * PAGE_TOKENS;
      agreement_add(a, f16_to_f32(k[base + slot * HEAD_DIM + i % HEAD_DIM]), f16_to_f32(w->halfs[r * HIDDEN + i]));
      agreement_add(a, f16_to_f32(v[base + i % HEAD_DIM * PAGE_TOKENS + slot]), f16_to_f32(w->more_halfs[r * HIDDEN + i]));
    }
  if (v) a->unwritten = count_poison_halfs(k, stored) + count_poison_halfs(v, stored) - 2 * (stored - (int64_t)w->c->rows * HIDDEN);
  bool ok = v != NULL;
  mem_free(k), mem_free(v);
  return ok;
}

const struct family append_family = {"struct phi3_append", add_append, open_append, close_rows, reset_append, launch_rows, check_append, cost_rows};

// --- copy of a page in all layers: keys, values

enum { LAYERS = 32, PAGES = 2, PAGE_HALFS = PAGE_TOKENS * HIDDEN, COPY_THREADS = 256 };

static bool add_copy(struct case_list *l, enum gpu_kernel k, struct err *e) {
  struct kernel_case c = {.kernel = k, .family = &copy_family, .variant = "", .rows = PAGE_TOKENS, .published = true};
  return case_add(l, &c, e, "layers:%d", LAYERS);
}

static bool open_copy(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct rows_work *w = open_work(c, work, e);
  enum { COUNT = LAYERS * PAGES * PAGE_HALFS };
  if (!w || !(w->halfs = data_halfs(d, COUNT, 1, seed, e)) || !(w->more_halfs = data_halfs(d, COUNT, 1, seed + 1, e)) ||
      !buffer_open(d, &w->b[0], w->halfs, COUNT * 2, e) || !buffer_open(d, &w->b[1], w->more_halfs, COUNT * 2, e))
    return false;
  w->p.copy = (struct phi3_copy_page){w->b[0].p, w->b[1].p, PAGES * PAGE_HALFS, PAGE_HALFS, 0, 1};
  return true;
}

static bool reset_copy(struct bench_device *d, void *work, struct err *e) {
  struct rows_work *w = work;
  return buffer_write(d, &w->b[0], w->halfs, e) && buffer_write(d, &w->b[1], w->more_halfs, e);
}

static bool launch_copy(struct bench_device *d, void *work, struct err *e) {
  struct rows_work *w = work;
  return gpu_launch(&d->gpu, w->c->kernel, (unsigned[]){PAGE_HALFS / 8 / COPY_THREADS, LAYERS, 2}, COPY_THREADS, 0, &w->p, e);
}

static bool check_copy(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct rows_work *w = work;
  bool ok = true;
  for (int i = 0; i < 2 && ok; i++) {
    const uint16_t *from = i ? w->more_halfs : w->halfs;
    uint16_t *to = buffer_read(d, &w->b[i], e);
    ok = to != NULL;
    for (int64_t layer = 0; layer < LAYERS && ok; layer++)
      for (int64_t j = 0; j < PAGE_HALFS; j++) agreement_add(a, f16_to_f32(to[(layer * PAGES + 1) * PAGE_HALFS + j]), f16_to_f32(from[layer * PAGES * PAGE_HALFS + j]));
    mem_free(to);
  }
  return ok;
}

static struct gpu_cost cost_copy(const void *work) {
  (void)work;
  return (struct gpu_cost){.bytes = 8.0 * PAGE_HALFS * LAYERS}; // keys and values, read and written
}

const struct family copy_family = {"struct phi3_copy_page", add_copy, open_copy, close_rows, reset_copy, launch_copy, check_copy, cost_copy};

// --- unpack: packed weights, plain ones. The order is what kernels.h says of struct phi3_weights.

static const struct {
  const char *name;
  int32_t rows, k;
} matrices[] = {{"o", HIDDEN, HIDDEN}, {"qkv", 3 * HIDDEN, HIDDEN}, {"gate_up", 2 * INTERMEDIATE, HIDDEN}, {"down", HIDDEN, INTERMEDIATE}};

static bool add_unpack(struct case_list *l, enum gpu_kernel k, struct err *e) {
  for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
    struct kernel_case c = {.kernel = k, .family = &unpack_family, .variant = matrices[i].name, .features = matrices[i].rows, .k = matrices[i].k, .published = i == 0};
    if (!case_add(l, &c, e, "%s", c.variant)) return false;
  }
  return true;
}

static bool open_unpack(struct bench_device *d, const struct kernel_case *c, uint64_t seed, void **work, struct err *e) {
  struct rows_work *w = open_work(c, work, e);
  int64_t count = (int64_t)c->features * c->k;
  if (!w || !(w->halfs = data_halfs(d, count, 1, seed, e)) || !buffer_open(d, &w->b[0], w->halfs, (size_t)count * 2, e) || !buffer_open(d, &w->b[1], NULL, (size_t)count * 2, e))
    return false;
  w->p.unpack = (struct phi3_unpack){{w->b[0].p, c->features / PHI3_TILE_ROWS, c->k / PHI3_GROUP_K}, w->b[1].p};
  return true;
}

static bool reset_unpack(struct bench_device *d, void *work, struct err *e) { return buffer_poison(d, &((struct rows_work *)work)->b[1], e); }

static bool launch_unpack(struct bench_device *d, void *work, struct err *e) { return gpu_unpack(&d->gpu, &((struct rows_work *)work)->p.unpack, e); }

static bool check_unpack(struct bench_device *d, void *work, struct agreement *a, struct err *e) {
  struct rows_work *w = work;
  uint16_t *plain = buffer_read(d, &w->b[1], e);
  int64_t groups = w->c->k / PHI3_GROUP_K;
  for (int64_t r = 0; r < w->c->features && plain; r++)
    for (int64_t i = 0; i < w->c->k; i++) {
      int64_t at = (((r / 16 * groups + i / 32) * 2 + r % 16 / 8) * 32 + r % 8 * 4 + i % 32 / 8) * 8 + i % 8;
      agreement_add(a, f16_to_f32(plain[r * w->c->k + i]), f16_to_f32(w->halfs[at]));
    }
  if (plain) a->unwritten = count_poison_halfs(plain, (int64_t)w->c->features * w->c->k);
  mem_free(plain);
  return plain != NULL;
}

const struct family unpack_family = {"struct phi3_unpack", add_unpack, open_unpack, close_rows, reset_unpack, launch_unpack, check_unpack, cost_rows};
